/* A table for a person's eyes: cells are kept until table_close(), then printed in columns as wide as they need. Control
 * bytes in cells are shown as "?". After TABLE_ROWS_MAX rows what is there is printed, so that memory stays bounded. */
#ifndef BASE_TABLE_H
#define BASE_TABLE_H

#include <stdio.h>

#include "base/err.h"

#define TABLE_COLUMNS_MAX 32u
#define TABLE_ROWS_MAX    4096u

struct table;

/* heads: NULL-terminated; one that starts with ">" is aligned to the right. ERR_NOMEM. */
enum err table_open(struct table **out, FILE *to, const char *const *heads);
/* As many cells as heads; copied. ERR_NOMEM. */
enum err table_row(struct table *t, const char *const *cells);
/* Prints what is left and frees. ERR_IO (ERR_FULL, ...) when the output failed. NULL-safe. */
enum err table_close(struct table **t);

#endif
