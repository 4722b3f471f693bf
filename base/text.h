/* Text written with stdio into memory. open_memstream() alone does not say when there was no memory for all of it: what does not
 * fit is dropped and fclose() returns 0 (glibc 2.36). */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stddef.h>
#include <stdio.h>

#include "base/err.h"

struct text {
	FILE  *to;    /* write here */
	char  *bytes; /* opaque */
	size_t n, most;
};

/* Room for most bytes from the start. ERR_NOMEM. */
enum err text_open(struct text *t, size_t most);
/* The text, NUL-terminated, malloc'ed. ERR_LIMIT: it became longer than that. *out is unchanged on failure. */
enum err text_close(struct text *t, char **out);

#endif
