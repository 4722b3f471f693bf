#include "base/ini.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/human.h"
#include "base/io.h"
#include "base/options.h"
#include "base/utf8.h"

/* --- faults --- */

void
ini_fault(struct ini_faults *f, const char *format, ...)
{
	char what[ERR_TEXT_BYTES / 2], sentence[ERR_TEXT_BYTES];
	va_list args;
	va_start(args, format);
	vsnprintf(what, sizeof what, format, args);
	va_end(args);
	if (f->line)
		snprintf(sentence, sizeof sentence, "%.400s:%u: %s", f->place, f->line, what);
	else
		snprintf(sentence, sizeof sentence, "%.400s: %s", f->place, what);
	if (f->count++ == 0)
		snprintf(f->first, sizeof f->first, "%s", sentence);
	if (f->see)
		f->see(f->arg, sentence);
}

enum err
ini_verdict(const struct ini_faults *f, const char *what)
{
	if (f->count == 0)
		return OK;
	if (f->count == 1)
		return fail(ERR_USAGE, "%s", f->first);
	return fail(ERR_USAGE, "%s (and %u more: %s)", f->first, f->count - 1, what);
}

/* --- bytes and lines --- */

enum err
ini_read(const char *path, size_t most, char **text, size_t *n)
{
	int fd = -1;
	size_t got = 0;
	TRY(io_open(&fd, path));
	char *all = malloc(most + 1); /* a pipe has no size to ask for */
	enum err e = all ? io_read(fd, all, most + 1, &got, path) : fail(ERR_NOMEM, "%s: no memory to read it", path);
	if (e == OK && got > most)
		e = fail(ERR_LIMIT, "%s: longer than %zu bytes", path, most);
	io_close(&fd);
	if (e != OK) {
		free(all);
		return e;
	}
	all[got] = 0;
	*n = got;
	*text = all;
	return OK;
}

void
ini_begin(struct ini *i, const char *text, size_t n, struct ini_faults *f)
{
	i->section = i->key = i->value = NULL;
	i->faults = f;
	i->at = text;
	i->end = text + n;
	i->begun = false;
	f->line = 0;
}

static char *
trimmed(char *text)
{
	while (*text == ' ' || *text == '\t')
		text++;
	for (size_t n = strlen(text); n > 0 && (text[n - 1] == ' ' || text[n - 1] == '\t'); n--)
		text[n - 1] = 0;
	return text;
}

/* Where the first byte is that may not stand in a line. n: none. */
static size_t
plain(const char *line, size_t n)
{
	size_t at = 0;
	while (at < n && (at += utf8_plain((const uint8_t *)line + at, n - at)) < n && line[at] == '\t')
		at++;
	return at;
}

/* The next line into i->text; false: it was told what is wrong with it. */
static bool
line_take(struct ini *i)
{
	size_t left = (size_t)(i->end - i->at);
	const char *line = i->at, *stop = memchr(line, '\n', left);
	size_t n = stop ? (size_t)(stop - line) : left;
	i->at = stop ? stop + 1 : i->end;
	i->faults->line++;
	n -= n > 0 && line[n - 1] == '\r';
	if (n > INI_LINE_BYTES_MAX) {
		ini_fault(i->faults, "longer than %u bytes", INI_LINE_BYTES_MAX);
		return false;
	}
	size_t good = plain(line, n);
	if (good < n) {
		uint8_t c = (uint8_t)line[good];
		ini_fault(i->faults, "%s (byte %zu)", c == 0 ? "a NUL byte" : c < ' ' || c == 0x7f || c == 0xc2 ?
		          "a control character" : "not UTF-8", good + 1);
		return false;
	}
	memcpy(i->text, line, n);
	i->text[n] = 0;
	return true;
}

/* [section]; false: told. */
static bool
section_line(struct ini *i, char *line)
{
	size_t n = strlen(line);
	i->begun = true;
	i->key = i->value = NULL;
	i->section = NULL;
	if (line[n - 1] != ']') {
		ini_fault(i->faults, "a section is written [NAME]");
		return false;
	}
	memcpy(i->name, line + 1, n - 2);
	i->name[n - 2] = 0;
	i->section = i->name;
	return true;
}

/* key = value; false: told, or it is of a section that is passed over. */
static bool
setting_line(struct ini *i, char *line)
{
	char shown[64], *equals = strchr(line, '=');
	if (equals == NULL) {
		ini_fault(i->faults, "\"%s\" is neither KEY = VALUE nor [SECTION] nor # comment", human_text(shown, sizeof shown, line));
		return false;
	}
	*equals = 0;
	i->key = trimmed(line);
	i->value = trimmed(equals + 1);
	if (!i->begun)
		ini_fault(i->faults, "%s stands in no section", human_text(shown, sizeof shown, i->key));
	i->begun = true; /* told once */
	return i->section != NULL;
}

bool
ini_next(struct ini *i)
{
	while (i->at < i->end) {
		if (!line_take(i))
			continue;
		char *line = trimmed(i->text);
		if (*line == 0 || *line == '#' || *line == ';')
			continue;
		if (*line == '[' ? section_line(i, line) : setting_line(i, line))
			return true;
	}
	return false;
}

void
ini_skip_section(struct ini *i)
{
	i->section = NULL;
}

/* --- names --- */

bool
ini_section_known(const struct ini_name *names, const char *section)
{
	for (; names->section; names++)
		if (strcmp(names->section, section) == 0)
			return true;
	return false;
}

void
ini_unknown_section(struct ini_faults *f, const struct ini_name *names, const char *section)
{
	const char *sections[INI_NAMES_MAX + 1];
	char shown[64];
	size_t n = 0;
	for (; names->section; names++) {
		assert(n < INI_NAMES_MAX);
		if (n == 0 || strcmp(names->section, sections[n - 1]) != 0)
			sections[n++] = names->section;
	}
	sections[n] = NULL;
	const char *near = options_nearest(section, sections);
	ini_fault(f, "there is no section [%s]%s%s%s", human_text(shown, sizeof shown, section), near ? "; did you mean [" : "",
	          near ? near : "", near ? "]?" : "");
}

int
ini_find(struct ini_faults *f, const struct ini_name *names, const char *section, const char *key)
{
	const char *keys[INI_NAMES_MAX + 1], *elsewhere = NULL;
	char shown[64];
	size_t n = 0;
	for (const struct ini_name *at = names; at->section; at++) {
		bool here = strcmp(at->section, section) == 0, same = at->key && strcmp(at->key, key) == 0;
		assert(n < INI_NAMES_MAX);
		if (here && same)
			return (int)(at - names);
		if (here && at->key)
			keys[n++] = at->key;
		if (same && elsewhere == NULL)
			elsewhere = at->section;
	}
	keys[n] = NULL;
	const char *near = options_nearest(key, keys);
	human_text(shown, sizeof shown, key);
	if (near == NULL && elsewhere)
		ini_fault(f, "there is no %s in [%s], but in [%s]", shown, section, elsewhere);
	else
		ini_fault(f, "there is no %s in [%s]%s%s%s", shown, section, near ? "; did you mean " : "", near ? near : "",
		          near ? "?" : "");
	return -1;
}

bool
ini_first(struct ini_faults *f, const char *key, unsigned *on)
{
	if (*on) {
		ini_fault(f, "%s is set on line %u already", key, *on);
		return false;
	}
	*on = f->line;
	return true;
}
