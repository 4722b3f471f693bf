#include "base/table.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/human.h"

struct table {
	FILE    *to;
	unsigned columns, rows;
	bool     headed; /* the heads were printed */
	bool     right[TABLE_COLUMNS_MAX];
	unsigned width[TABLE_COLUMNS_MAX];
	const char *heads[TABLE_COLUMNS_MAX]; /* borrowed */
	char    *cells[]; /* TABLE_ROWS_MAX * columns */
};

/* Columns that a UTF-8 text takes, one per character: wide characters are rare in what we print. */
static unsigned
width_of(const char *text)
{
	unsigned n = 0;
	for (; *text; text++)
		n += ((uint8_t)*text & 0xc0) != 0x80;
	return n;
}

enum err
table_open(struct table **out, FILE *to, const char *const *heads)
{
	unsigned columns = 0;
	while (heads[columns])
		columns++;
	assert(columns > 0 && columns <= TABLE_COLUMNS_MAX);
	struct table *t = calloc(1, sizeof *t + (size_t)TABLE_ROWS_MAX * columns * sizeof *t->cells);
	if (!t)
		return fail(ERR_NOMEM, "no memory for a table");
	t->to = to;
	t->columns = columns;
	for (unsigned c = 0; c < columns; c++) {
		t->right[c] = heads[c][0] == '>';
		t->heads[c] = heads[c] + t->right[c];
		t->width[c] = width_of(t->heads[c]);
	}
	*out = t;
	return OK;
}

static void
print_row(const struct table *t, char *const *cells)
{
	for (unsigned c = 0; c < t->columns; c++) {
		unsigned pad = t->width[c] - width_of(cells[c]);
		bool last = c + 1 == t->columns;
		fprintf(t->to, "%*s%s%*s", t->right[c] ? (int)pad : 0, "", cells[c], t->right[c] || last ? 0 : (int)pad, "");
		fputs(last ? "\n" : "  ", t->to);
	}
}

static void
print_rows(struct table *t)
{
	if (!t->headed)
		print_row(t, (char *const *)t->heads);
	t->headed = true;
	for (unsigned r = 0; r < t->rows; r++) {
		print_row(t, t->cells + (size_t)r * t->columns);
		for (unsigned c = 0; c < t->columns; c++) {
			free(t->cells[(size_t)r * t->columns + c]);
			t->cells[(size_t)r * t->columns + c] = NULL;
		}
	}
	t->rows = 0;
}

enum err
table_row(struct table *t, const char *const *cells)
{
	if (t->rows == TABLE_ROWS_MAX)
		print_rows(t);
	char **row = t->cells + (size_t)t->rows * t->columns;
	for (unsigned c = 0; c < t->columns; c++) {
		row[c] = strdup(cells[c]);
		if (!row[c]) {
			while (c-- > 0) {
				free(row[c]);
				row[c] = NULL;
			}
			return fail(ERR_NOMEM, "no memory for a row of a table");
		}
		human_text(row[c], strlen(row[c]) + 1, cells[c]);
		unsigned width = width_of(row[c]);
		if (width > t->width[c])
			t->width[c] = width;
	}
	t->rows++;
	return OK;
}

enum err
table_close(struct table **table)
{
	struct table *t = *table;
	if (!t)
		return OK;
	print_rows(t);
	enum err e = OK;
	if (fflush(t->to) != 0)
		e = fail_errno("output");
	else if (ferror(t->to))
		e = fail(ERR_IO, "output: write failed");
	free(t);
	*table = NULL;
	return e;
}
