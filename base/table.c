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
	char    *rows_of[]; /* TABLE_ROWS_MAX: each row's cells one behind the other, with their NULs */
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
	struct table *t = calloc(1, sizeof *t + TABLE_ROWS_MAX * sizeof *t->rows_of);
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
print_spaces(FILE *to, unsigned n)
{
	static const char spaces[] = "                                ";
	for (; n >= sizeof spaces - 1; n -= (unsigned)sizeof spaces - 1)
		fwrite(spaces, 1, sizeof spaces - 1, to);
	fwrite(spaces, 1, n, to);
}

static void
print_cell(const struct table *t, unsigned c, const char *cell, size_t bytes)
{
	unsigned pad = t->width[c] - width_of(cell);
	bool last = c + 1 == t->columns;
	if (t->right[c])
		print_spaces(t->to, pad);
	fwrite(cell, 1, bytes, t->to);
	if (last)
		putc('\n', t->to);
	else
		print_spaces(t->to, 2 + (t->right[c] ? 0 : pad));
}

static void
print_rows(struct table *t)
{
	for (unsigned c = 0; !t->headed && c < t->columns; c++)
		print_cell(t, c, t->heads[c], strlen(t->heads[c]));
	t->headed = true;
	for (unsigned r = 0; r < t->rows; r++) {
		const char *cell = t->rows_of[r];
		for (unsigned c = 0; c < t->columns; c++) {
			size_t bytes = strlen(cell);
			print_cell(t, c, cell, bytes);
			cell += bytes + 1;
		}
		free(t->rows_of[r]);
	}
	t->rows = 0;
}

enum err
table_row(struct table *t, const char *const *cells)
{
	if (t->rows == TABLE_ROWS_MAX)
		print_rows(t);
	size_t bytes = 0;
	for (unsigned c = 0; c < t->columns; c++)
		bytes += strlen(cells[c]) + 1;
	char *row = malloc(bytes);
	if (!row)
		return fail(ERR_NOMEM, "no memory for a row of a table");
	t->rows_of[t->rows++] = row;
	for (unsigned c = 0; c < t->columns; c++) {
		size_t n = strlen(cells[c]) + 1;
		human_text(row, n, cells[c]);
		unsigned width = width_of(row);
		if (width > t->width[c])
			t->width[c] = width;
		row += n;
	}
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
