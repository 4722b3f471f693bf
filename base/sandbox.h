/* What a process may do from now on: one call, before it touches input.
 *
 * A process that is still root becomes nobody when it needs no files, and else keeps no capability but those that open files.
 * Limits (rlimits), no new privileges (execve of a set-uid program), files and TCP (Landlock, as far as the kernel has it: what
 * it has not is said in the log), system calls (seccomp: an allow list by duty; any other kills the process, which its parent
 * logs and restarts). Threads that are made later inherit it. With sanitizers, which need more than any list, there is nothing
 * but the limits that they can bear, and the log says so.
 */
#ifndef BASE_SANDBOX_H
#define BASE_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#if defined(__SANITIZE_ADDRESS__)
#define PROGRAM_IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PROGRAM_IS_SANITIZED 1
#endif
#endif
#ifndef PROGRAM_IS_SANITIZED
#define PROGRAM_IS_SANITIZED 0
#endif

/* System calls by duty. Every process may compute, allocate (never executable), wait, read and write what it has open, get
 * descriptors over a socket, and end. None may execve, fork, trace, or send signals to another. */
enum sandbox_calls {
	SANDBOX_ACCEPT = 1,  /* take connections from a socket that it has, set options of sockets */
	SANDBOX_FILES = 2,   /* open, make, rename and remove files (Landlock says which), make them durable, lock them */
	SANDBOX_THREADS = 4,
	SANDBOX_LOCAL = 8,   /* make and bind Unix sockets */
};

struct sandbox {
	unsigned           calls;        /* enum sandbox_calls */
	const char *const *read;         /* files and folders with all below; NULL-ended; NULL: none */
	const char *const *change;       /* the same, to change, make and remove there too */
	uint64_t           memory_bytes; /* of its own: heap and private mappings, not mapped files; 0: no limit */
	uint64_t           files;        /* descriptors; 0: as many as now */
	bool               off;          /* the operator wants none, to debug: said in the log */
};

/* ERR_UNSUPPORTED: no seccomp in this kernel; ERR_ABSENT: no such path; ERR_IO. What the process may do then is not known: it
 * is to exit. */
enum err sandbox_enter(const struct sandbox *s);

/* Root becomes this user, with its group, no others, and no capability. NULL: the user "atoll", and when there is none root
 * stays for those processes that need files (the log says so). Anybody else: nothing happens; ERR_DENIED when another was named.
 * ERR_ABSENT: no such user. */
enum err sandbox_user(const char *name);
/* Root becomes this user for good, with its group and no others. ERR_DENIED: it could go back; ERR_IO. */
struct passwd;
enum err sandbox_become(const struct passwd *user);

#endif
