#include "index/rows.h"

#include <assert.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/frames.h"

enum field_kind { KIND_u8, KIND_le32, KIND_le64, KIND_id, KIND_hash, KIND_name, KIND_title };

struct field {
	enum field_kind kind;
	uint16_t        at;   /* in the struct */
	uint16_t        room; /* in the struct */
	const char     *name, *kind_name, *meaning;
};

#define FIELD(struct_name, kind, name, meaning)                                                      \
	{ KIND_##kind, offsetof(struct struct_name, name), sizeof(((struct struct_name *)0)->name), #name, #kind, meaning },
#define FIELD_STATE(kind, name, meaning)   FIELD(state_row, kind, name, meaning)
#define FIELD_STREAM(kind, name, meaning)  FIELD(stream_row, kind, name, meaning)
#define FIELD_SEGMENT(kind, name, meaning) FIELD(segment_row, kind, name, meaning)
#define FIELD_IMPORT(kind, name, meaning)  FIELD(import_row, kind, name, meaning)
#define FIELD_REMOVAL(kind, name, meaning) FIELD(removal_row, kind, name, meaning)
#define FIELD_MONITOR(kind, name, meaning) FIELD(monitor_row, kind, name, meaning)
#define FIELD_TICKET(kind, name, meaning)  FIELD(ticket_row, kind, name, meaning)
#define FIELD_LANDING(kind, name, meaning) FIELD(landing_row, kind, name, meaning)
#define FIELD_LANDED(kind, name, meaning)  FIELD(landed_row, kind, name, meaning)
#define FIELD_FEED(kind, name, meaning)    FIELD(feed_row, kind, name, meaning)
#define FIELD_GAP(kind, name, meaning)     FIELD(gap_row, kind, name, meaning)
#define FIELD_DROP(kind, name, meaning)    FIELD(drop_row, kind, name, meaning)

#define FIELDS(TABLE, noun, tag, meaning) static const struct field fields_##noun[] = { ROW_##TABLE(FIELD_##TABLE) };
ROW_TABLES(FIELDS)

static const struct table {
	enum row_kind       kind;
	const char         *word, *meaning;
	const struct field *fields;
	size_t              count, row_bytes;
} tables[] = {
#define TABLE_ENTRY(TABLE, noun, tag, meaning)                                                       \
	{ ROW_KIND_##TABLE, #noun, meaning, fields_##noun, sizeof fields_##noun / sizeof *fields_##noun, \
	  sizeof(struct noun##_row) },
	ROW_TABLES(TABLE_ENTRY)
};
#define TABLE_COUNT (sizeof tables / sizeof *tables)

static const struct table *
table_of(enum row_kind kind)
{
	for (size_t i = 0; i < TABLE_COUNT; i++)
		if (tables[i].kind == kind)
			return &tables[i];
	assert(!"a row kind is one of the table");
	return NULL;
}

static bool is_text(const struct field *f) { return f->kind == KIND_name || f->kind == KIND_title; }
static bool is_blob(const struct field *f) { return f->kind == KIND_id || f->kind == KIND_hash; }

static uint64_t
number_get(const struct field *f, const void *row)
{
	const uint8_t *p = (const uint8_t *)row + f->at;
	switch (f->kind) {
	case KIND_u8:
		return *p;
	case KIND_le32:
		return load_le32(p);
	default:
		return load_le64(p);
	}
}

static bool
number_set(const struct field *f, void *row, uint64_t v)
{
	uint8_t *p = (uint8_t *)row + f->at;
	switch (f->kind) {
	case KIND_u8:
		*p = (uint8_t)v;
		return v <= UINT8_MAX;
	case KIND_le32:
		store_le32(p, (uint32_t)v);
		return v <= UINT32_MAX;
	default:
		store_le64(p, v);
		return true;
	}
}

bool
row_is_monitor_name(const char *name)
{
	size_t n = strnlen(name, MONITOR_NAME_BYTES);
	if (n == 0 || n == MONITOR_NAME_BYTES || name[0] == '.' || name[0] == '-')
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = name[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

static bool
landed_is_sane(const struct landed_row *r)
{
	return r->block_bytes == 0 ||
	       (r->block_bytes <= PARCEL_BYTES_MAX && r->records >= 1 && r->records <= BLOCK_RECORDS_MAX && r->sampled >= 1 &&
	        r->sampler < SAMPLER_COUNT_OF && r->first_ns <= r->last_ns);
}

static bool
feed_is_sane(const struct feed_row *r)
{
	return r->stream != 0 && r->monitor != 0 && r->ahead_kernel <= r->lost_kernel && r->ahead_interface <= r->lost_interface &&
	       r->ahead_spool <= r->lost_spool && r->ahead_policy <= r->lost_policy;
}

/* Values that a reader would stumble over. */
static bool
row_is_sane(enum row_kind kind, const void *row)
{
	const union row *r = row; /* only the member of this kind is looked at */
	switch (kind) {
	case ROW_KIND_SEGMENT:
		return r->segment.id != 0 && r->segment.state <= SEGMENT_LOST && r->segment.blocks >= 1 &&
		       r->segment.blocks <= SEGMENT_BLOCKS_MAX && r->segment.first_ns <= r->segment.last_ns &&
		       r->segment.footer_bytes <= r->segment.file_bytes;
	case ROW_KIND_IMPORT:
		return r->import.complete <= 1;
	case ROW_KIND_STREAM:
		return r->stream.id != 0 && r->stream.id <= STREAMS_MAX;
	case ROW_KIND_MONITOR:
		return r->monitor.id != 0 && r->monitor.id <= MONITORS_MAX && r->monitor.state <= MONITOR_QUARANTINED &&
		       row_is_monitor_name(r->monitor.name);
	case ROW_KIND_TICKET:
		return row_is_monitor_name(r->ticket.name);
	case ROW_KIND_LANDING:
		return r->landing.id != 0 && (r->landing.state == SEGMENT_LIVE || r->landing.state == SEGMENT_LOST);
	case ROW_KIND_LANDED:
		return r->landed.stream != 0 && r->landed.landing != 0 && landed_is_sane(&r->landed);
	case ROW_KIND_FEED:
		return feed_is_sane(&r->feed);
	case ROW_KIND_GAP:
		return r->gap.stream != 0 && r->gap.cause >= GAP_KERNEL && r->gap.cause < GAP_CAUSES &&
		       r->gap.first_ns <= r->gap.last_ns;
	default:
		return true;
	}
}

void
row_encode(enum row_kind kind, const void *row, struct writer *w)
{
	const struct table *t = table_of(kind);
	assert(row_is_sane(kind, row));
	for (size_t i = 0; i < t->count; i++) {
		const struct field *f = &t->fields[i];
		const uint8_t *p = (const uint8_t *)row + f->at;
		if (is_text(f)) {
			size_t n = strnlen((const char *)p, f->room);
			assert(n < f->room && n <= UINT8_MAX);
			writer_u8(w, (uint8_t)n);
			writer_put(w, p, n);
		} else {
			writer_put(w, p, f->room); /* numbers are little-endian in memory as on disk */
		}
	}
}

bool
row_equal(enum row_kind kind, const void *a, const void *b)
{
	uint8_t bytes[2][ROW_BYTES_MAX];
	struct writer w[2] = { writer_of(bytes[0], ROW_BYTES_MAX), writer_of(bytes[1], ROW_BYTES_MAX) };
	row_encode(kind, a, &w[0]);
	row_encode(kind, b, &w[1]);
	size_t n = (size_t)(w[0].at - bytes[0]);
	return n == (size_t)(w[1].at - bytes[1]) && memcmp(bytes[0], bytes[1], n) == 0;
}

enum err
row_decode(enum row_kind kind, union row *row, const void *bytes, size_t n)
{
	const struct table *t = table_of(kind);
	struct reader r = reader_of(bytes, n);
	union row fresh;
	memset(&fresh, 0, sizeof fresh);
	bool good = true;
	for (size_t i = 0; good && i < t->count; i++) {
		const struct field *f = &t->fields[i];
		size_t length = is_text(f) ? reader_u8(&r) : f->room;
		const uint8_t *p = reader_view(&r, length);
		good = p != NULL && (!is_text(f) || (length < f->room && memchr(p, 0, length) == NULL));
		if (good && length)
			memcpy((uint8_t *)&fresh + f->at, p, length);
	}
	if (!good || !reader_done(&r) || !row_is_sane(kind, &fresh))
		return fail(ERR_FORMAT, "damaged %s row of %zu bytes", t->word, n);
	memcpy(row, &fresh, t->row_bytes);
	return OK;
}

bool
row_in_manifest(enum row_kind kind)
{
	return kind != ROW_KIND_STATE && kind != ROW_KIND_TICKET && kind != ROW_KIND_LANDING && kind != ROW_KIND_LANDED;
}

const char *
row_word(enum row_kind kind)
{
	return table_of(kind)->word;
}

const char *
gap_cause_name(enum gap_cause cause)
{
	static const char *const names[GAP_CAUSES] = { "?", "kernel", "interface", "spool", "policy", "archive" };
	return cause < GAP_CAUSES ? names[cause] : names[0];
}

bool
row_kind_of(enum row_kind *kind, const char *word, size_t n)
{
	for (size_t i = 0; i < TABLE_COUNT; i++)
		if (strlen(tables[i].word) == n && memcmp(tables[i].word, word, n) == 0) {
			*kind = tables[i].kind;
			return true;
		}
	return false;
}

/* --- text --- */

struct text {
	char  *at;
	size_t left; /* with the NUL */
};

static void
text_add(struct text *t, const char *s, size_t n)
{
	assert(n < t->left); /* ROW_TEXT_MAX holds the largest row */
	memcpy(t->at, s, n);
	t->at += n;
	t->left -= n;
	*t->at = 0;
}

static bool
needs_escape(uint8_t c)
{
	return c <= ' ' || c == '%' || c == 0x7f;
}

static void
text_escape(struct text *t, const char *s)
{
	static const char hex[] = "0123456789abcdef";
	if (*s == 0) {
		text_add(t, "-", 1);
		return;
	}
	bool dash = strcmp(s, "-") == 0;
	for (; *s; s++) {
		uint8_t c = (uint8_t)*s;
		if (dash || needs_escape(c))
			text_add(t, (char[]){ '%', hex[c >> 4], hex[c & 15] }, 3);
		else
			text_add(t, s, 1);
	}
}

size_t
row_print(enum row_kind kind, const void *row, char text[ROW_TEXT_MAX])
{
	const struct table *t = table_of(kind);
	struct text out = { text, ROW_TEXT_MAX };
	for (size_t i = 0; i < t->count; i++) {
		const struct field *f = &t->fields[i];
		const uint8_t *p = (const uint8_t *)row + f->at;
		if (i)
			text_add(&out, " ", 1);
		text_add(&out, f->name, strlen(f->name));
		text_add(&out, "=", 1);
		if (is_text(f)) {
			text_escape(&out, (const char *)p);
		} else if (is_blob(f)) {
			for (size_t b = 0; b < f->room; b++) {
				char two[3];
				snprintf(two, sizeof two, "%02x", p[b]);
				text_add(&out, two, 2);
			}
		} else {
			char digits[24];
			int n = snprintf(digits, sizeof digits, "%" PRIu64, number_get(f, row));
			text_add(&out, digits, (size_t)n);
		}
	}
	return (size_t)(out.at - text);
}

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool
parse_number(const struct field *f, void *row, const char *s, size_t n)
{
	uint64_t v = 0;
	if (n == 0 || n > 20 || (n > 1 && s[0] == '0'))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9' || __builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(s[i] - '0'), &v))
			return false;
	}
	return number_set(f, row, v);
}

static bool
parse_blob(const struct field *f, void *row, const char *s, size_t n)
{
	if (n != 2 * (size_t)f->room)
		return false;
	for (size_t i = 0; i < f->room; i++) {
		int high = hex_digit(s[2 * i]), low = hex_digit(s[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		((uint8_t *)row)[f->at + i] = (uint8_t)(high * 16 + low);
	}
	return true;
}

static bool
parse_text(const struct field *f, void *row, const char *s, size_t n)
{
	char *out = (char *)row + f->at;
	size_t used = 0;
	if (n == 0)
		return false;
	if (n == 1 && *s == '-')
		return true;
	for (size_t i = 0; i < n; i++) {
		char c = s[i];
		if (c == '%') {
			if (n - i < 3)
				return false;
			int high = hex_digit(s[i + 1]), low = hex_digit(s[i + 2]);
			c = high < 0 || low < 0 ? 0 : (char)(high * 16 + low);
			if (c == 0 || !(needs_escape((uint8_t)c) || (n == 3 && c == '-')))
				return false;
			i += 2;
		} else if (needs_escape((uint8_t)c)) {
			return false;
		}
		if (used + 1 >= f->room)
			return false;
		out[used++] = c;
	}
	return true;
}

enum err
row_parse(enum row_kind kind, union row *row, const char *text, size_t n)
{
	const struct table *t = table_of(kind);
	const char *at = text, *end = text + n;
	union row fresh;
	memset(&fresh, 0, sizeof fresh);
	bool good = true;
	for (size_t i = 0; good && i < t->count; i++) {
		const struct field *f = &t->fields[i];
		size_t name = strlen(f->name);
		if (i)
			good = at < end && *at++ == ' ';
		if (!good || (size_t)(end - at) <= name || memcmp(at, f->name, name) != 0 || at[name] != '=') {
			good = false;
			break;
		}
		at += name + 1;
		const char *stop = memchr(at, ' ', (size_t)(end - at));
		size_t length = (size_t)((stop ? stop : end) - at);
		good = is_text(f) ? parse_text(f, &fresh, at, length)
		     : is_blob(f) ? parse_blob(f, &fresh, at, length)
		                  : parse_number(f, &fresh, at, length);
		at += length;
	}
	if (!good || at != end || !row_is_sane(kind, &fresh))
		return fail(ERR_FORMAT, "not the text of a %s row", t->word);
	memcpy(row, &fresh, t->row_bytes);
	return OK;
}

void
row_walk(row_see *see, void *arg)
{
	for (size_t i = 0; i < TABLE_COUNT; i++)
		for (size_t j = 0; j < tables[i].count; j++)
			see(arg, tables[i].word, (char)tables[i].kind, tables[i].fields[j].kind_name,
			    tables[i].fields[j].name, tables[i].fields[j].meaning);
}
