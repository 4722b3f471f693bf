/* cmocka with the headers that it wants. Its macro fail() would break the declaration of ours, so ours comes first. */
#ifndef TESTS_SUPPORT_UNIT_H
#define TESTS_SUPPORT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#include <cmocka.h>

/* A call that has to go well: when not, the test fails with the error's own words. */
#define MUST(call) must(call, __FILE__, __LINE__)
void must(enum err e, const char *file, int line);

#endif
