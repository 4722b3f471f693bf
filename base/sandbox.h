/* What a process may do from now on: one call, before it touches input.
 *
 * Limits (rlimits), no new privileges (execve of a set-uid program), files (Landlock, as far as the kernel has it: what it has
 * not is said in the log), system calls (seccomp: an allow list by duty; any other kills the process, which its parent logs and
 * restarts). Inherited by all threads made later. With sanitizers (they need more than any list) there are only the limits
 * that they can bear, and the log says so.
 */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* System calls by duty. Every process may compute, allocate, wait, read and write what it has open, and end. */
enum sandbox_calls {
	SANDBOX_ACCEPT = 1,   /* take connections, look at peers, set options of sockets */
	SANDBOX_FILES = 2,    /* open, make, rename and remove files (which ones: Landlock), make them durable */
	SANDBOX_THREADS = 4,
	SANDBOX_LOCAL = 8,    /* make and bind Unix sockets */
	SANDBOX_DELIVER = 16, /* get descriptors over a socket (recvmsg is there anyway); send signals to itself only */
};

struct sandbox {
	const char        *role;
	unsigned           calls;
	const char *const *read;     /* files and folders with all below; NULL-ended; NULL: none */
	const char *const *change;   /* the same, to change, make and remove there too */
	uint64_t           memory_bytes; /* address space; 0: no limit */
	uint64_t           files;    /* open at once; 0: as it is */
	bool               off;      /* the operator wants none (to debug): said in the log */
};

/* ERR_UNSUPPORTED: no seccomp in this kernel; ERR_IO. What happened to the process then is not known: it is to exit. */
enum err sandbox_enter(const struct sandbox *s);

/* Root becomes this user, with its group and no others, and no capability. NULL: "atoll", and when there is no such user root
 * stays (the log says so). Anybody else: nothing happens; ERR_DENIED when a name was given and it is not oneself. ERR_ABSENT:
 * no such user. */
enum err sandbox_user(const char *name);

#endif
