/* A test that starts itself again as `TEST walk ARCHIVE ACK` under tests/fault/shim.c, to be stopped at one of its steps:
 *
 *     struct faulted w;
 *     if (!faulted_begin(&w)) skip();
 *     archive_init(w.fresh, NULL);                      each run begins with a copy of it
 *     faulted_count(&w);                                and ends without a fault the first time: w.archive is complete
 *     faulted_walk(&w, kinds, count, my_case);
 *     faulted_end(&w);
 *
 * Aborts on any error of its own. */
#ifndef TESTS_SUPPORT_FAULTED_H
#define TESTS_SUPPORT_FAULTED_H

#include <stdbool.h>

#include "base/limits.h"

#define FAULTED_STEPS_MAX 2000u

struct faulted {
	char     top[PATH_BYTES];                     /* a scratch folder in memory; in it: */
	char     fresh[PATH_BYTES], archive[PATH_BYTES];
	char     ack[PATH_BYTES];                     /* where the walked process says what is done */
	unsigned steps, runs;
	bool     writes[FAULTED_STEPS_MAX + 1];       /* step n (from 1 on) writes bytes */
};

/* A fault of the shim without its step ("kill", "errno:EIO"); "+" at its end: that step and all later ones. torn and short come
 * at the steps that write. "after" would be superfluous: it leaves the disk as a kill at the next step does. */
struct faulted_kind {
	const char *fault;
	unsigned    stride; /* every so many steps; sanitized programs, which take ten times as long to start, take larger strides */
};

/* What is tried with each fault, w->archive having been made from w->fresh, w->ack being empty. */
typedef void faulted_case(const struct faulted *w, const char *fault);

/* Finds the shim; false and a word when there is none. */
bool faulted_begin(struct faulted *w);
void faulted_end(struct faulted *w);
void faulted_count(struct faulted *w);
void faulted_walk(struct faulted *w, const struct faulted_kind *kinds, unsigned count, faulted_case *each);

/* Runs the walked process with this fault ("kill:7"; NULL: none); calls on files below w->archive are its steps. Returns the wait
 * status. */
int  faulted_run(const struct faulted *w, const char *fault);

#endif
