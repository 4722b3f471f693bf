/* A scratch folder for a test, programs run for it, and the folder of real data. What can not fail in a working test ends it
 * (abort). */
#ifndef TESTS_SUPPORT_SCRATCH_H
#define TESTS_SUPPORT_SCRATCH_H

#include <stdbool.h>

#include "base/limits.h"

/* From now on scratch_make() makes its folders in memory, where there is room: for tests that sync a thousand times and are not
 * about the disk. */
void scratch_in_memory(void);
/* A fresh folder below TMPDIR (or /tmp), and its removal with all that is in it. */
void scratch_make(char dir[PATH_BYTES]);
void scratch_remove(const char *dir);
void scratch_empty(const char *dir);
void scratch_copy(const char *from, const char *to); /* whole trees; to must not exist */
/* Runs a program; its output goes to the file when that is not NULL, and what it says on stderr nowhere. Returns its status, -1
 * when there is no such program. */
int  scratch_run(char *const argv[], const char *output);

/* Where a file of the real data should be (ATOLL_SHARED, default ../shared); false and a word when it is not there. */
bool shared_path(char path[PATH_BYTES], const char *name);
/* Unpacks a .tar.zst of it; false and a word when it is not there. */
bool shared_unpack(const char *name, const char *into);

#endif
