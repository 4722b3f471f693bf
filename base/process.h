/* A daemon as a parent that supervises and children that have one duty each.
 *
 * The parent forks a child for every role, again when one ends for whatever reason, and never gives up: 0.1 s later, doubling
 * up to 5 s as long as it ends soon after its start. It parses nothing but what its children say over the post.
 *
 * A child has open: stdin, stdout, stderr, what its role keeps (listening sockets), and the post, a socket to the parent over
 * which it gets its links (a stream socket to another role's process, made anew whenever one of the two starts), new settings
 * and the word to stop. It can not be traced or dumped, ignores SIGINT, SIGTERM, SIGHUP and SIGPIPE (a service manager signals
 * all processes; the parent decides who stops when), and dies when the parent dies. A role that can not look at the post may
 * watch for SIGTERM, which comes with the word to stop.
 *
 *     enum err run(int post, void *arg)     in a child
 *     {
 *             ... sandbox_enter() ... post_ready(post);
 *             poll post and links: post_receive(post, &p) -> POST_LINK, POST_SETTINGS, POST_STOP (finish, return OK)
 *     }
 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PROCESS_ROLES_MAX 4u
#define PROCESS_KEEP_MAX  16u         /* descriptors of one role */
#define POST_BYTES_MAX    4096u       /* settings of one role */
#define PROCESS_STOP_NS   10000000000u/* what is not gone so long after the word to stop is killed */

enum post_kind {
	POST_LINK = 1, /* to a child: fd is a link to the process of role `peer`; an earlier one is over; code: restarts so far */
	POST_SETTINGS, /* to a child: its role's settings anew, bytes of them */
	POST_STOP,     /* to a child: finish what was begun, then return */
	POST_READY,    /* to the parent: up */
	POST_FAILED,   /* to the parent: code (enum err) and sentence; sent by the frame when run() returns an error */
	POST_NOTE,     /* to the parent: a line for `systemctl status` */
};

struct post {
	enum post_kind kind;
	unsigned       peer, code;
	int            fd;     /* -1, or the receiver's to close */
	size_t         bytes;
	uint8_t        data[POST_BYTES_MAX + 1]; /* with a NUL behind */
};

struct process_role {
	const char *name;      /* "store": in the log, in ps */
	enum err  (*run)(int post, void *arg);
	void       *arg;       /* as it is in the parent when the child is forked */
	unsigned    links;     /* bits of the roles that it has a link with; both sides say so */
	const int  *keep;      /* keep_count descriptors */
	unsigned    keep_count;
	const void *settings;  /* what POST_SETTINGS carries; settings_bytes <= POST_BYTES_MAX */
	size_t      settings_bytes;
};

struct supervision {
	const struct process_role *roles; /* started in this order, stopped one after the other in the reverse one */
	unsigned count;
	/* SIGHUP came: reads settings again into where roles[].settings point; its error is logged, and all stays as it was. May be
	 * NULL. */
	enum err (*reload)(void *arg);
	void    *arg;
};

/* The parent's loop, until SIGTERM or SIGINT: OK when all ended well; a second signal, half a second later or more, kills at
 * once. When a role fails before all were up the first time: stops all, and returns its error with its sentence. Tells systemd
 * (base/notify.h). */
enum err supervise(const struct supervision *s);

/* --- in a child --- */

/* ERR_IO: the parent is gone. END: nothing there now (the post does not block). */
enum err post_receive(int post, struct post *out);
void     post_ready(int post);
void     post_note(int post, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Stops being traceable and dumpable, and asks to be killed when the parent goes; again after each change of user. */
void     process_seclude(void);

#endif
