/* A test that starts itself again as `TEST walk ARCHIVE ACK` under tests/fault/shim.c, to be stopped at one of its steps. Faults
 * are those of the shim ("kill:7"). Aborts on any error of its own. */
#ifndef TESTS_SUPPORT_FAULTED_H
#define TESTS_SUPPORT_FAULTED_H

#include <stdbool.h>

/* Finds the shim; false and a word when there is none. */
bool faulted_ready(void);
/* Runs the walk with this fault (NULL: none); calls on files below archive are its steps. Returns the wait status. */
int  faulted_run(const char *archive, const char *ack, const char *fault);
/* Runs it without a fault, which must go well; how many steps it has. scratch: a file for the number. */
long faulted_steps(const char *archive, const char *ack, const char *scratch);

#endif
