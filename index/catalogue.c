#include "index/catalogue.h"

#include <assert.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "index/catalogue_inside.h"
#include "index/segfilter.h"

#define TAG_TIME   'T'
#define TAG_FILTER 'F'
#define TAG_SPAN   'Z'

_Static_assert(KV_CHECK_KEY_BYTES + SEGFILTER_KEY_BYTES == CATALOGUE_KEY_BYTES, "one key, two uses");

static struct key
key_time(uint32_t stream, uint64_t first_ns, uint64_t segment)
{
	struct key k = key32(TAG_TIME, stream);
	key_add64(&k, first_ns);
	key_add64(&k, segment);
	return k;
}

static struct key
key_hash(char tag, const uint8_t hash[32])
{
	struct key k = key_tag(tag);
	memcpy(k.bytes + 1, hash, 32);
	k.n += 32;
	return k;
}

static struct key
key_import(const uint8_t fingerprint[FINGERPRINT_BYTES])
{
	return key_hash(ROW_KIND_IMPORT, fingerprint);
}

enum err
catalogue_damaged(const char *what)
{
	return fail(ERR_FORMAT, "index damaged (%s): run atoll rebuild", what);
}

/* --- opening --- */

static enum err
first_state(struct kv *kv, void *arg)
{
	uint8_t bytes[ROW_BYTES_MAX];
	struct writer w = writer_of(bytes, sizeof bytes);
	row_encode(ROW_KIND_STATE, arg, &w);
	struct key k = key_tag(ROW_KIND_STATE);
	return kv_put(kv, k.bytes, k.n, bytes, (size_t)(w.at - bytes));
}

enum err
catalogue_create(const char *folder, const uint8_t key[CATALOGUE_KEY_BYTES], const struct state_row *state)
{
	TRY(kv_create(folder));
	struct kv *kv = NULL;
	struct state_row row = *state;
	TRY(kv_open(&kv, folder, key, &(struct kv_options){ .writable = true }));
	enum err e = kv_update(kv, first_state, &row);
	kv_close(&kv);
	return e;
}

bool
catalogue_is_unseen(const char *folder)
{
	return kv_is_unseen(folder);
}

enum err
catalogue_open(struct catalogue **out, const char *folder, const uint8_t key[CATALOGUE_KEY_BYTES], bool writable,
               uint64_t map_bytes)
{
	struct catalogue *c = calloc(1, sizeof *c);
	if (c == NULL)
		return fail(ERR_NOMEM, "%s: no memory to open the index", folder);
	memcpy(c->key, key, sizeof c->key);
	struct state_row state;
	enum err e = kv_open(&c->kv, folder, c->key, &(struct kv_options){ .writable = writable, .map_bytes = map_bytes });
	if (e == OK)
		e = catalogue_begin(c);
	if (e == OK)
		e = catalogue_state(c, &state);
	if (c->kv)
		catalogue_end(c);
	if (e == OK && state.version != CATALOGUE_VERSION)
		e = fail(ERR_UNSUPPORTED, "%s: index version %u, this program knows %u: run atoll rebuild", folder,
		         state.version, CATALOGUE_VERSION);
	if (e == ERR_ABSENT && c->kv) /* the file is there, its state row is not */
		e = catalogue_damaged("no state row");
	if (e != OK) {
		catalogue_close(&c);
		return e;
	}
	*out = c;
	return OK;
}

void
catalogue_close(struct catalogue **c)
{
	if (*c == NULL)
		return;
	kv_close(&(*c)->kv);
	sodium_memzero((*c)->key, sizeof (*c)->key);
	free(*c);
	*c = NULL;
}

const uint8_t *
catalogue_filter_key(const struct catalogue *c)
{
	return c->key + KV_CHECK_KEY_BYTES;
}

/* --- reading --- */

enum err
catalogue_begin(struct catalogue *c)
{
	return kv_begin(c->kv);
}

void
catalogue_end(struct catalogue *c)
{
	kv_end(c->kv);
}

enum err
catalogue_row_get(struct catalogue *c, enum row_kind kind, const struct key *k, void *out, size_t out_bytes)
{
	const uint8_t *value;
	size_t n;
	union row row;
	TRY(kv_get(c->kv, k->bytes, k->n, &value, &n));
	if (row_decode(kind, &row, value, n) != OK)
		return catalogue_damaged(row_word(kind));
	memcpy(out, &row, out_bytes);
	return OK;
}

enum err
catalogue_row_find(struct catalogue *c, enum row_kind kind, struct key *k, bool after, void *out, size_t out_bytes)
{
	const uint8_t *found, *value;
	size_t found_bytes, n;
	union row row;
	TRY(kv_find(c->kv, k->bytes, k->n, after, &found, &found_bytes, &value, &n));
	if (found[0] != (uint8_t)kind)
		return END;
	TRY(kv_check(c->kv, found, found_bytes, value, &n));
	if (found_bytes > sizeof k->bytes || row_decode(kind, &row, value, n) != OK)
		return catalogue_damaged(row_word(kind));
	memcpy(k->bytes, found, found_bytes);
	k->n = (uint8_t)found_bytes;
	memcpy(out, &row, out_bytes);
	return OK;
}

enum err
catalogue_state(struct catalogue *c, struct state_row *row)
{
	struct key k = key_tag(ROW_KIND_STATE);
	return catalogue_row_get(c, ROW_KIND_STATE, &k, row, sizeof *row);
}

enum err
catalogue_stream(struct catalogue *c, uint32_t id, struct stream_row *row)
{
	struct key k = key32(ROW_KIND_STREAM, id);
	enum err e = catalogue_row_get(c, ROW_KIND_STREAM, &k, row, sizeof *row);
	return e == ERR_ABSENT ? fail(e, "no stream number %u", id) : e;
}

enum err
catalogue_stream_named(struct catalogue *c, const char *name, struct stream_row *row)
{
	struct stream_row r = { .id = 0 };
	enum err e;
	while ((e = catalogue_next_stream(c, &r)) == OK)
		if (strcmp(r.name, name) == 0) {
			*row = r;
			return OK;
		}
	return e == END ? fail(ERR_ABSENT, "no stream \"%s\" in this archive: atoll ls streams names them", name) : e;
}

enum err
catalogue_segment(struct catalogue *c, uint64_t id, struct segment_row *row)
{
	struct key k = key64(ROW_KIND_SEGMENT, id);
	enum err e = catalogue_row_get(c, ROW_KIND_SEGMENT, &k, row, sizeof *row);
	return e == ERR_ABSENT ? fail(e, "no segment %016" PRIx64 " in the index", id) : e;
}

enum err
catalogue_import(struct catalogue *c, const uint8_t fingerprint[FINGERPRINT_BYTES], struct import_row *row)
{
	struct key k = key_import(fingerprint);
	enum err e = catalogue_row_get(c, ROW_KIND_IMPORT, &k, row, sizeof *row);
	return e == ERR_ABSENT ? fail(e, "never imported") : e;
}

enum err
catalogue_next_stream(struct catalogue *c, struct stream_row *row)
{
	struct key k = key32(ROW_KIND_STREAM, row->id);
	return catalogue_row_find(c, ROW_KIND_STREAM, &k, true, row, sizeof *row);
}

enum err
catalogue_next_segment(struct catalogue *c, struct segment_row *row)
{
	struct key k = key64(ROW_KIND_SEGMENT, row->id);
	return catalogue_row_find(c, ROW_KIND_SEGMENT, &k, true, row, sizeof *row);
}

enum err
catalogue_next_import(struct catalogue *c, bool first, struct import_row *row)
{
	struct key k = first ? key_tag(ROW_KIND_IMPORT) : key_import(row->fingerprint);
	return catalogue_row_find(c, ROW_KIND_IMPORT, &k, true, row, sizeof *row);
}

enum err
catalogue_next_removal(struct catalogue *c, uint64_t *line, struct removal_row *row)
{
	struct key k = key64(ROW_KIND_REMOVAL, *line);
	TRY(catalogue_row_find(c, ROW_KIND_REMOVAL, &k, true, row, sizeof *row));
	if (k.n != 9)
		return catalogue_damaged("removal");
	*line = load_be64(k.bytes + 1);
	return OK;
}

enum err
catalogue_monitor(struct catalogue *c, uint32_t id, struct monitor_row *row)
{
	struct key k = key32(ROW_KIND_MONITOR, id);
	enum err e = catalogue_row_get(c, ROW_KIND_MONITOR, &k, row, sizeof *row);
	return e == ERR_ABSENT ? fail(e, "no monitor number %u", id) : e;
}

enum err
catalogue_next_monitor(struct catalogue *c, struct monitor_row *row)
{
	struct key k = key32(ROW_KIND_MONITOR, row->id);
	return catalogue_row_find(c, ROW_KIND_MONITOR, &k, true, row, sizeof *row);
}

enum err
catalogue_ticket(struct catalogue *c, const uint8_t hash[32], struct ticket_row *row)
{
	struct key k = key_hash(ROW_KIND_TICKET, hash);
	return catalogue_row_get(c, ROW_KIND_TICKET, &k, row, sizeof *row);
}

enum err
catalogue_next_ticket(struct catalogue *c, bool first, struct ticket_row *row)
{
	struct key k = first ? key_tag(ROW_KIND_TICKET) : key_hash(ROW_KIND_TICKET, row->hash);
	return catalogue_row_find(c, ROW_KIND_TICKET, &k, true, row, sizeof *row);
}

/* The longest span of a segment of this stream, 0 when it has none. */
static enum err
span_get(struct catalogue *c, uint32_t stream, uint64_t *span_ns)
{
	struct key k = key32(TAG_SPAN, stream);
	const uint8_t *value;
	size_t n;
	*span_ns = 0;
	enum err e = kv_get(c->kv, k.bytes, k.n, &value, &n);
	if (e == ERR_ABSENT)
		return OK;
	if (e != OK)
		return e;
	if (n != 8)
		return catalogue_damaged("span");
	*span_ns = load_le64(value);
	return OK;
}

/* One entry of the time index; its key goes back into k. */
static enum err
time_find(struct catalogue *c, struct key *k, bool after, uint64_t *last_ns)
{
	const uint8_t *found, *value;
	size_t found_bytes, n;
	uint32_t stream = load_be32(k->bytes + 1);
	TRY(kv_find(c->kv, k->bytes, k->n, after, &found, &found_bytes, &value, &n));
	if (found[0] != TAG_TIME || found_bytes != 21 || load_be32(found + 1) != stream)
		return END;
	TRY(kv_check(c->kv, found, found_bytes, value, &n));
	if (n != 8)
		return catalogue_damaged("time");
	memcpy(k->bytes, found, found_bytes);
	k->n = (uint8_t)found_bytes;
	*last_ns = load_le64(value);
	return OK;
}

enum err
catalogue_next_in_range(struct catalogue *c, uint32_t stream, uint64_t from_ns, uint64_t until_ns, struct segment_row *row)
{
	struct key k = key_time(stream, row->first_ns, row->id);
	bool after = row->id != 0;
	if (!after) {
		uint64_t span_ns;
		TRY(span_get(c, stream, &span_ns));
		k = key_time(stream, from_ns > span_ns ? from_ns - span_ns : 0, 0);
	}
	for (;; after = true) {
		uint64_t last_ns;
		struct segment_row r;
		TRY(time_find(c, &k, after, &last_ns));
		if (load_be64(k.bytes + 5) >= until_ns && until_ns != UINT64_MAX)
			return END;
		if (last_ns < from_ns)
			continue;
		enum err e = catalogue_segment(c, load_be64(k.bytes + 13), &r);
		if (e == ERR_ABSENT || (e == OK && (r.stream != stream || r.first_ns != load_be64(k.bytes + 5))))
			return catalogue_damaged("time index");
		if (e != OK)
			return e;
		if (r.state == SEGMENT_DELETING || r.hidden_until_ns >= until_ns || r.hidden_until_ns > r.last_ns)
			continue;
		*row = r;
		return OK;
	}
}

enum err
catalogue_next_of_stream(struct catalogue *c, uint32_t stream, struct segment_row *row)
{
	struct key k = key_time(stream, row->first_ns, row->id);
	uint64_t last_ns;
	TRY(time_find(c, &k, row->id != 0, &last_ns));
	return catalogue_segment(c, load_be64(k.bytes + 13), row);
}

enum err
catalogue_filter(struct catalogue *c, uint64_t segment, const uint8_t **filter, size_t *n)
{
	struct key k = key64(TAG_FILTER, segment);
	return kv_get_raw(c->kv, k.bytes, k.n, filter, n);
}

enum err
catalogue_may_hold(struct catalogue *c, uint64_t segment, unsigned family, unsigned bits, const uint8_t addr[16], bool *maybe)
{
	const uint8_t *filter;
	size_t n;
	enum err e = catalogue_filter(c, segment, &filter, &n);
	if (e == ERR_ABSENT) {
		*maybe = true;
		return OK;
	}
	return e != OK ? e : segfilter_find(filter, n, catalogue_filter_key(c), segment, family, bits, addr, maybe);
}

enum err
catalogue_sum(struct catalogue *c, uint32_t stream, struct catalogue_totals *totals)
{
	struct catalogue_totals t = { .first_ns = UINT64_MAX };
	struct stream_row s = { .id = stream ? stream - 1 : 0 };
	enum err e;
	while ((e = catalogue_next_stream(c, &s)) == OK && (stream == 0 || s.id == stream)) {
		t.streams++;
		TRY(catalogue_sum_segments(c, s.id, &t));
	}
	if (e != OK && e != END)
		return e;
	TRY(catalogue_sum_landed(c, stream, &t));
	TRY(catalogue_sum_missing(c, stream, &t));
	if (t.records == 0)
		t.first_ns = 0;
	*totals = t;
	return OK;
}

/* --- changing --- */

static enum err
run_change(struct kv *kv, void *arg)
{
	struct catalogue *c = arg;
	assert(kv == c->kv);
	return c->change(c, c->change_arg);
}

enum err
catalogue_update(struct catalogue *c, catalogue_change *change, void *arg)
{
	c->change = change;
	c->change_arg = arg;
	return kv_update(c->kv, run_change, c);
}

enum err
catalogue_row_put(struct catalogue *c, enum row_kind kind, const struct key *k, const void *row)
{
	uint8_t bytes[ROW_BYTES_MAX];
	struct writer w = writer_of(bytes, sizeof bytes);
	row_encode(kind, row, &w);
	assert(writer_ok(&w));
	return kv_put(c->kv, k->bytes, k->n, bytes, (size_t)(w.at - bytes));
}

enum err
catalogue_put_state(struct catalogue *c, const struct state_row *row)
{
	struct key k = key_tag(ROW_KIND_STATE);
	return catalogue_row_put(c, ROW_KIND_STATE, &k, row);
}

enum err
catalogue_put_stream(struct catalogue *c, const struct stream_row *row)
{
	struct key k = key32(ROW_KIND_STREAM, row->id);
	return catalogue_row_put(c, ROW_KIND_STREAM, &k, row);
}

enum err
catalogue_put_import(struct catalogue *c, const struct import_row *row)
{
	struct key k = key_import(row->fingerprint);
	return catalogue_row_put(c, ROW_KIND_IMPORT, &k, row);
}

enum err
catalogue_put_removal(struct catalogue *c, uint64_t line, const struct removal_row *row)
{
	struct key k = key64(ROW_KIND_REMOVAL, line);
	return catalogue_row_put(c, ROW_KIND_REMOVAL, &k, row);
}

enum err
catalogue_put_monitor(struct catalogue *c, const struct monitor_row *row)
{
	struct key k = key32(ROW_KIND_MONITOR, row->id);
	return catalogue_row_put(c, ROW_KIND_MONITOR, &k, row);
}

enum err
catalogue_put_ticket(struct catalogue *c, const struct ticket_row *row)
{
	struct key k = key_hash(ROW_KIND_TICKET, row->hash);
	return catalogue_row_put(c, ROW_KIND_TICKET, &k, row);
}

enum err
catalogue_forget_ticket(struct catalogue *c, const uint8_t hash[32])
{
	struct key k = key_hash(ROW_KIND_TICKET, hash);
	return kv_delete(c->kv, k.bytes, k.n);
}

enum err
catalogue_put_filter(struct catalogue *c, uint64_t segment, const void *filter, size_t n)
{
	struct key k = key64(TAG_FILTER, segment);
	return kv_put_raw(c->kv, k.bytes, k.n, filter, n);
}

static enum err
number_put(struct catalogue *c, const struct key *k, uint64_t v)
{
	uint8_t bytes[8];
	store_le64(bytes, v);
	return kv_put(c->kv, k->bytes, k->n, bytes, sizeof bytes);
}

enum err
catalogue_put_segment(struct catalogue *c, const struct segment_row *row)
{
	struct segment_row before;
	enum err e = catalogue_segment(c, row->id, &before);
	if (e != OK && e != ERR_ABSENT)
		return e;
	bool known = e == OK;
	if (known && (before.stream != row->stream || before.first_ns != row->first_ns))
		return catalogue_damaged("a segment that moved");
	struct key k = key64(ROW_KIND_SEGMENT, row->id);
	TRY(catalogue_row_put(c, ROW_KIND_SEGMENT, &k, row));
	k = key_time(row->stream, row->first_ns, row->id);
	TRY(number_put(c, &k, row->last_ns));
	TRY(catalogue_totals_change(c, known ? &before : NULL, row));
	uint64_t span_ns;
	TRY(span_get(c, row->stream, &span_ns));
	k = key32(TAG_SPAN, row->stream);
	return row->last_ns - row->first_ns > span_ns ? number_put(c, &k, row->last_ns - row->first_ns) : OK;
}

/* After a segment with the longest span went: look at all that are left. */
static enum err
span_renew(struct catalogue *c, uint32_t stream)
{
	struct key k = key_time(stream, 0, 0);
	uint64_t last_ns, span_ns = 0;
	enum err e;
	for (bool after = false; (e = time_find(c, &k, after, &last_ns)) == OK; after = true) {
		uint64_t first_ns = load_be64(k.bytes + 5);
		if (last_ns - first_ns > span_ns)
			span_ns = last_ns - first_ns;
	}
	if (e != END)
		return e;
	k = key32(TAG_SPAN, stream);
	if (span_ns)
		return number_put(c, &k, span_ns);
	e = kv_delete(c->kv, k.bytes, k.n);
	return e == ERR_ABSENT ? OK : e;
}

enum err
catalogue_forget_segment(struct catalogue *c, uint64_t id)
{
	struct segment_row row;
	TRY(catalogue_segment(c, id, &row));
	struct key k = key64(ROW_KIND_SEGMENT, id);
	TRY(kv_delete(c->kv, k.bytes, k.n));
	k = key_time(row.stream, row.first_ns, id);
	TRY(kv_delete(c->kv, k.bytes, k.n));
	TRY(catalogue_totals_change(c, &row, NULL));
	k = key64(TAG_FILTER, id);
	enum err e = kv_delete(c->kv, k.bytes, k.n);
	if (e != OK && e != ERR_ABSENT)
		return e;
	uint64_t span_ns;
	TRY(span_get(c, row.stream, &span_ns));
	return row.last_ns - row.first_ns == span_ns ? span_renew(c, row.stream) : OK;
}

/* --- all of it --- */

/* One entry as a line of text; ERR_FORMAT when it is damaged or of no kind. */
static enum err
entry_print(struct catalogue *c, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t n, char *line,
            size_t room)
{
	if (key[0] == TAG_FILTER) {
		uint8_t hash[16];
		char hex[33];
		if (key_bytes != 9)
			return catalogue_damaged("filter");
		TRY(segfilter_check(value, n, catalogue_filter_key(c), load_be64(key + 1)));
		(void)crypto_generichash(hash, sizeof hash, value, n, NULL, 0);
		sodium_bin2hex(hex, sizeof hex, hash, sizeof hash);
		snprintf(line, room, "filter id=%" PRIu64 " bytes=%zu hash=%s", load_be64(key + 1), n, hex);
		return OK;
	}
	TRY(kv_check(c->kv, key, key_bytes, value, &n));
	if (key[0] == TAG_TIME && key_bytes == 21 && n == 8) {
		snprintf(line, room, "time stream=%u first_ns=%" PRIu64 " id=%" PRIu64 " last_ns=%" PRIu64, load_be32(key + 1),
		         load_be64(key + 5), load_be64(key + 13), load_le64(value));
		return OK;
	}
	if (key[0] == TAG_SPAN && key_bytes == 5 && n == 8) {
		snprintf(line, room, "span stream=%u span_ns=%" PRIu64, load_be32(key + 1), load_le64(value));
		return OK;
	}
	if (key[0] == TAG_TOTALS && key_bytes == 5)
		return catalogue_totals_print(load_be32(key + 1), value, n, line, room);
	char text[ROW_TEXT_MAX];
	union row row;
	bool merged = key[0] == TAG_MERGED;
	enum row_kind kind = merged ? ROW_KIND_FEED : (enum row_kind)key[0];
	static const struct { uint8_t kind, key_bytes; } known[] = {
		{ ROW_KIND_STATE, 1 }, { ROW_KIND_STREAM, 5 }, { ROW_KIND_SEGMENT, 9 },
		{ ROW_KIND_IMPORT, 1 + FINGERPRINT_BYTES }, { ROW_KIND_REMOVAL, 9 },
		{ ROW_KIND_MONITOR, 5 }, { ROW_KIND_TICKET, 1 + 32 }, { ROW_KIND_LANDING, 9 }, { ROW_KIND_LANDED, 21 },
		{ ROW_KIND_FEED, 5 }, { ROW_KIND_GAP, 22 },
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].kind == kind && known[i].key_bytes == key_bytes) {
			if (row_decode(kind, &row, value, n) != OK)
				return catalogue_damaged(row_word(kind));
			row_print(kind, &row, text);
			if (kind == ROW_KIND_REMOVAL)
				snprintf(line, room, "removal line=%" PRIu64 " %s", load_be64(key + 1), text);
			else
				snprintf(line, room, "%s%s %s", merged ? "merged " : "", row_word(kind), text);
			return OK;
		}
	return catalogue_damaged("an entry of no kind");
}

/* What an entry needs elsewhere. */
static enum err
entry_relations(struct catalogue *c, const uint8_t *key, size_t key_bytes, const uint8_t *value, size_t n)
{
	const uint8_t *other;
	size_t other_bytes;
	if (key[0] == TAG_FILTER || key[0] == TAG_TIME) {
		struct segment_row row;
		return catalogue_segment(c, load_be64(key + (key[0] == TAG_FILTER ? 1 : 13)), &row);
	}
	if (key[0] == TAG_TOTALS)
		return catalogue_totals_check(c, load_be32(key + 1));
	if (key[0] != ROW_KIND_SEGMENT)
		return catalogue_feed_relations(c, key);
	union row row;
	TRY(kv_check(c->kv, key, key_bytes, value, &n));
	TRY(row_decode(ROW_KIND_SEGMENT, &row, value, n));
	const struct segment_row *s = &row.segment;
	struct stream_row stream;
	uint64_t span_ns;
	if (load_be64(key + 1) != s->id)
		return catalogue_damaged("a segment's number");
	TRY(catalogue_stream(c, s->stream, &stream));
	TRY(span_get(c, s->stream, &span_ns));
	if (s->last_ns - s->first_ns > span_ns)
		return catalogue_damaged("span of a stream");
	struct key totals = key32(TAG_TOTALS, s->stream);
	if (s->state != SEGMENT_DELETING && kv_get(c->kv, totals.bytes, totals.n, &other, &other_bytes) != OK)
		return catalogue_damaged("a stream without totals");
	struct key k = key_time(s->stream, s->first_ns, s->id);
	if (kv_get(c->kv, k.bytes, k.n, &other, &other_bytes) != OK || other_bytes != 8 ||
	    load_le64(other) != s->last_ns)
		return catalogue_damaged("time index");
	if (s->state == SEGMENT_LIVE && catalogue_filter(c, s->id, &other, &other_bytes) != OK)
		return catalogue_damaged("a segment without filter");
	return OK;
}

/* Calls each() for every entry, in order. */
typedef enum err entry_each(struct catalogue *c, const struct key *k, const uint8_t *value, size_t n, void *arg);

static enum err
entries(struct catalogue *c, entry_each *each, void *arg)
{
	struct key k = key_tag(0);
	for (;;) {
		const uint8_t *found, *value;
		size_t found_bytes, n;
		enum err e = kv_find(c->kv, k.bytes, k.n, true, &found, &found_bytes, &value, &n);
		if (e != OK)
			return e == END ? OK : e;
		if (found_bytes > sizeof k.bytes)
			return catalogue_damaged("a key too long");
		memcpy(k.bytes, found, found_bytes);
		k.n = (uint8_t)found_bytes;
		TRY(each(c, &k, value, n, arg));
	}
}

static enum err
dump_entry(struct catalogue *c, const struct key *k, const uint8_t *value, size_t n, void *arg)
{
	char line[ROW_TEXT_MAX + 64];
	TRY(entry_print(c, k->bytes, k->n, value, n, line, sizeof line));
	return fprintf(arg, "%s\n", line) < 0 ? fail(ERR_IO, "write failed") : OK;
}

enum err
catalogue_dump(struct catalogue *c, FILE *out)
{
	return entries(c, dump_entry, out);
}

struct checking {
	void (*see)(void *arg, const char *sentence);
	void *arg;
};

static enum err
check_entry(struct catalogue *c, const struct key *k, const uint8_t *value, size_t n, void *arg)
{
	const struct checking *checking = arg;
	char line[ROW_TEXT_MAX + 64];
	enum err e = entry_print(c, k->bytes, k->n, value, n, line, sizeof line);
	if (e == OK)
		e = entry_relations(c, k->bytes, k->n, value, n);
	if (e == ERR_NOMEM || e == ERR_IO)
		return e;
	if (e != OK)
		checking->see(checking->arg, err_text());
	return OK;
}

enum err
catalogue_check(struct catalogue *c, void (*see)(void *arg, const char *sentence), void *arg)
{
	struct checking checking = { see, arg };
	return entries(c, check_entry, &checking);
}
