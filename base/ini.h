/* INI text, read in one place for the configuration and for policies.
 *
 *     # comment (a line of its own; ; too)
 *     [section]
 *     key = value
 *
 * UTF-8 without control characters but the tab, lines of at most INI_LINE_BYTES_MAX bytes that end with LF or CR LF. Blanks around
 * names and values do not count; a value goes to the end of its line, so it may hold # and =. A fault is told and reading goes on.
 *
 *     struct ini_faults faults = { .place = "x.conf" };
 *     struct ini ini;
 *     ini_begin(&ini, text, n, &faults);
 *     while (ini_next(&ini))
 *             if (ini.key == NULL) ... [ini.section] begins ... else ... ini.key = ini.value in [ini.section] ...
 */
#ifndef BASE_INI_H
#define BASE_INI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/limits.h"

#define INI_LINE_BYTES_MAX 4096u /* 64 IPv6 prefixes in one value */

/* Who hears of faults, and how many there were. */
struct ini_faults {
	void      (*see)(void *arg, const char *sentence); /* NULL: nobody */
	void       *arg;
	const char *place;                 /* where it reads: a file, a variable; stands before each sentence */
	unsigned    line;                  /* after the place; 0: none */
	unsigned    count;
	char        first[ERR_TEXT_BYTES]; /* sentence */
};

void ini_fault(struct ini_faults *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* OK without faults; else ERR_USAGE with the first one, and how many more there are: what tells them all. */
enum err ini_verdict(const struct ini_faults *f, const char *what);

/* A whole file or pipe, malloc'ed and followed by a NUL. ERR_LIMIT: longer than most bytes; ERR_ABSENT, ERR_IO, ERR_NOMEM. */
enum err ini_read(const char *path, size_t most, char **text, size_t *n);

struct ini {
	const char *section, *key, *value; /* what ini_next() found; they last until the next call. key NULL: the section begins */
	struct ini_faults *faults;
	const char *at, *end;
	bool        begun;                 /* a section began, or it was told that none did */
	char        name[INI_LINE_BYTES_MAX + 1], text[INI_LINE_BYTES_MAX + 1];
};

/* Borrows text (n bytes) and f, whose line it keeps. */
void ini_begin(struct ini *i, const char *text, size_t n, struct ini_faults *f);
/* The next section or setting; false at the end. What is neither has been told. */
bool ini_next(struct ini *i);
/* The settings of the section that began are passed over: it was told that there is none of this name. */
void ini_skip_section(struct ini *i);

/* What may be written: a table that ends with { NULL, NULL }, the settings of a section together. A row without a key is a section
 * that the caller reads itself. */
struct ini_name {
	const char *section, *key;
};

#define INI_NAMES_MAX 128u

bool ini_section_known(const struct ini_name *names, const char *section);
/* The row of [section] key; -1: told, with the nearest name, or where else there is one. */
int  ini_find(struct ini_faults *f, const struct ini_name *names, const char *section, const char *key);
void ini_unknown_section(struct ini_faults *f, const struct ini_name *names, const char *section);
/* Whether it is set for the first time in this text; otherwise told. *on is the line where it was set, 0 at first. */
bool ini_first(struct ini_faults *f, const char *key, unsigned *on);

#endif
