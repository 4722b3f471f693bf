#include "base/json.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

struct json
json_to(FILE *to, enum json_shape shape)
{
	return (struct json){ .to = to, .shape = shape, .empty = true };
}

static bool
in_array(const struct json *j)
{
	return j->depth > 0 && (j->arrays >> (j->depth - 1) & 1);
}

static void
new_line(struct json *j)
{
	if (j->shape == JSON_LINE)
		return;
	fputc('\n', j->to);
	for (unsigned i = 0; i < j->depth; i++)
		fputs("  ", j->to);
}

static void
ascii(FILE *to, uint8_t c)
{
	static const char named[] = "\b\f\n\r\t\"\\", letters[] = "bfnrt\"\\";
	const char *at = c ? strchr(named, c) : NULL;
	if (at)
		fprintf(to, "\\%c", letters[at - named]);
	else if (c < 0x20 || c == 0x7f)
		fprintf(to, "\\u%04x", c);
	else
		fputc(c, to);
}

static void
quoted(FILE *to, const uint8_t *p, size_t n)
{
	fputc('"', to);
	for (size_t i = 0; i < n;) {
		if (p[i] < 0x80) {
			ascii(to, p[i++]);
			continue;
		}
		size_t length = utf8_length(p + i, n - i);
		if (length == 0)
			fputs("\xef\xbf\xbd", to);
		else if (length == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0)
			fprintf(to, "\\u%04x", p[i + 1]); /* C1 controls steer terminals too */
		else
			fwrite(p + i, 1, length, to);
		i += length ? length : 1;
	}
	fputc('"', to);
}

/* What stands before a value: the comma, the line, the member's name. */
static void
before(struct json *j, const char *key)
{
	assert((key != NULL) == (j->depth > 0 && !in_array(j)));
	if (!j->empty && j->depth > 0)
		fputc(',', j->to);
	if (j->depth > 0)
		new_line(j);
	j->empty = false;
	if (!key)
		return;
	quoted(j->to, (const uint8_t *)key, strlen(key));
	fputs(j->shape == JSON_LINE ? ":" : ": ", j->to);
}

/* A value at the top is a document: its line ends with it. */
static void
after(struct json *j)
{
	if (j->depth > 0)
		return;
	fputc('\n', j->to);
	j->empty = true;
}

static void
open_level(struct json *j, const char *key, bool array)
{
	before(j, key);
	assert(j->depth < JSON_DEPTH_MAX);
	j->arrays = array ? j->arrays | 1u << j->depth : j->arrays & ~(1u << j->depth);
	j->depth++;
	j->empty = true;
	fputc(array ? '[' : '{', j->to);
}

void
json_object(struct json *j, const char *key)
{
	open_level(j, key, false);
}

void
json_array(struct json *j, const char *key)
{
	open_level(j, key, true);
}

void
json_end(struct json *j)
{
	assert(j->depth > 0);
	bool array = in_array(j);
	j->depth--;
	if (!j->empty)
		new_line(j);
	j->empty = false;
	fputc(array ? ']' : '}', j->to);
	after(j);
}

void
json_bytes(struct json *j, const char *key, const void *bytes, size_t n)
{
	before(j, key);
	quoted(j->to, bytes, n);
	after(j);
}

void
json_text(struct json *j, const char *key, const char *text)
{
	if (text)
		json_bytes(j, key, text, strlen(text));
	else
		json_null(j, key);
}

void
json_hex(struct json *j, const char *key, const void *bytes, size_t n)
{
	before(j, key);
	fputc('"', j->to);
	for (size_t i = 0; i < n; i++)
		fprintf(j->to, "%02x", ((const uint8_t *)bytes)[i]);
	fputc('"', j->to);
	after(j);
}

void
json_u64(struct json *j, const char *key, uint64_t value)
{
	before(j, key);
	fprintf(j->to, "%" PRIu64, value);
	after(j);
}

void
json_i64(struct json *j, const char *key, int64_t value)
{
	before(j, key);
	fprintf(j->to, "%" PRId64, value);
	after(j);
}

void
json_real(struct json *j, const char *key, double value)
{
	if (!isfinite(value)) {
		json_null(j, key);
		return;
	}
	char text[32];
	for (int digits = 6; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	before(j, key);
	fputs(text, j->to);
	after(j);
}

void
json_bool(struct json *j, const char *key, bool value)
{
	before(j, key);
	fputs(value ? "true" : "false", j->to);
	after(j);
}

void
json_null(struct json *j, const char *key)
{
	before(j, key);
	fputs("null", j->to);
	after(j);
}

enum err
json_finish(struct json *j, const char *name)
{
	assert(j->depth == 0);
	if (fflush(j->to) != 0)
		return fail_errno("%s", name);
	if (ferror(j->to))
		return fail(ERR_IO, "%s: write failed", name);
	return OK;
}
