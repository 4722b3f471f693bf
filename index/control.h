/* The control socket of a running server: DIR/control.sock, mode 0600, by which the verbs that want the store ask the store
 * process while that holds the archive. Peers are root or the server's own user (SO_PEERCRED), all others are refused.
 *
 * One connection, one request, one answer, then both close.
 *
 *     request:  one line, at most CONTROL_LINE_BYTES with the newline, words apart by one blank
 *                   ticket NAME TTL_NS   |   monitors   |   revoke NAME
 *     answer:   ok CODE EXPIRES_NS PORT\n   |   ok\n and a message of base/vitals.h   |   ok revoked\n
 *               (or ok withdrawn\n: there was a code alone). PORT: where collectors connect; 0: not known
 *               or ERROR SENTENCE\n, ERROR as err_name() gives it
 *
 * At most CONTROL_CLIENTS_MAX at once (more wait in the backlog), each for at most CONTROL_NS_MAX.
 */
#ifndef INDEX_CONTROL_H
#define INDEX_CONTROL_H

#include <stdint.h>

#include "archive/ticket.h"
#include "base/vitals.h"
#include "index/store.h"

#define CONTROL_NAME        "control.sock"
#define CONTROL_LINE_BYTES  256u
#define CONTROL_CLIENTS_MAX 8u
#define CONTROL_NS_MAX      5000000000ull

/* --- the server's side: in the loop of the store process --- */
struct control_hooks {
	void *arg;
	/* Adds what the sessions know to v, which monitors_vitals() made. NULL: nothing is known. */
	void (*vitals)(void *arg, struct vitals *v);
	/* This monitor is revoked, durable: cut its session. NULL: there are none. */
	void (*revoked)(void *arg, uint32_t monitor);
	unsigned port; /* where collectors connect; 0: nowhere */
};

struct control;

/* Makes the socket, taking the place of one that a killed server left: call it before the sandbox, with the store open (its
 * lock keeps a second server away). The system calls of the others: accept4, getsockopt, epoll_ctl, epoll_wait, recv, send,
 * close, unlink. ERR_IO, ERR_DENIED. */
enum err control_open(struct control **out, struct store *s, const struct control_hooks *hooks);
/* To be polled for reading. */
int      control_fd(const struct control *c);
/* Does what can be done now, never blocks; when control_fd() is readable, and about once a second for the time limit. An error is
 * the store's own (it stopped): what clients do wrong is their answer. */
enum err control_serve(struct control *c);
void     control_close(struct control **c); /* and removes the socket */

/* --- the other side: verbs --- */
/* END: no server is running there. ERR_DENIED: not yours to ask. */
enum err control_dial(int *fd, const char *dir);
/* Each asks one question and closes the connection. Errors are the server's, or ERR_IO, ERR_BUSY (no answer in time). */
enum err control_ask_ticket(int *fd, const char *name, uint64_t ttl_ns, struct ticket *t, uint64_t *expires_ns, unsigned *port);
enum err control_ask_monitors(int *fd, struct vitals *v);
enum err control_ask_revoke(int *fd, const char *name, bool *code_only);

#endif
