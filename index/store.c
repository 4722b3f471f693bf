#include "index/store.h"

#include <assert.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/limits.h"
#include "base/utf8.h"
#include "base/when.h"
#include "index/change.h"
#include "index/recovery.h"
#include "index/reserve.h"

#define STORE_RESERVE_STEP 64u /* segments that the reserve grows by */

struct store_segment {
	struct segment_name    name;
	struct segment_writer *writer;
	uint8_t               *key; /* sodium_malloc'ed */
	char                   temp[PATH_BYTES];
};

struct store {
	struct archive       *archive;
	bool                  stopped;
	uint64_t              next_segment;
	uint32_t              next_stream;
	uint64_t              segments;   /* at most so many are there; what is kept for removing them */
	uint64_t              reserved;
	struct store_segment *open[STORE_OPEN_SEGMENTS_MAX];
	struct reception     *reception;
};

static struct catalogue *catalogue_of(struct store *s) { return archive_catalogue(s->archive); }

static uint64_t
now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

enum err
store_running(const struct store *s)
{
	if (s->stopped)
		return fail(ERR_IO, "%s: stopped after an earlier failure: start again", archive_path(s->archive));
	return OK;
}

void
store_stop(struct store *s)
{
	s->stopped = true;
}

uint64_t
store_next_id(struct store *s)
{
	return s->next_segment++;
}

struct reception **
store_reception(struct store *s)
{
	return &s->reception;
}

/* --- one change: manifest lines, then the same rows in the catalogue --- */

enum err
change_add(struct change *c, enum row_kind kind, const void *row, size_t row_bytes)
{
	if (c->count == c->room) {
		size_t room = c->room ? 2 * c->room : 4;
		struct manifest_line *v = realloc(c->v, room * sizeof *v);
		if (v == NULL)
			return fail(ERR_NOMEM, "no memory for a change of %zu lines", room);
		c->v = v;
		c->room = room;
	}
	struct manifest_line *line = &c->v[c->count++];
	memset(line, 0, sizeof *line);
	line->kind = kind;
	memcpy(&line->row, row, row_bytes);
	return OK;
}

static enum err
change_apply(struct catalogue *c, void *arg)
{
	const struct change *change = arg;
	struct state_row state;
	TRY(catalogue_state(c, &state));
	for (size_t i = 0; i < change->count; i++)
		TRY(recovery_apply(c, &change->v[i], &state));
	if (change->filter_of)
		TRY(catalogue_put_filter(c, change->filter_of, change->filter, change->filter_bytes));
	state.applied_bytes = change->end;
	state.sequence = change->sequence;
	return catalogue_put_state(c, &state);
}

enum err
change_commit(struct store *s, struct change *c)
{
	struct manifest *m = archive_manifest(s->archive);
	enum err e = OK;
	for (size_t i = 0; e == OK && i < c->count; i++)
		e = manifest_add(m, c->v[i].kind, &c->v[i].row);
	if (e != OK) {
		manifest_discard(m);
	} else {
		e = manifest_commit(m, &c->end, &c->sequence);
		for (size_t i = 0; i < c->count; i++)
			c->v[i].sequence = c->sequence - c->count + 1 + i;
		if (e == OK)
			e = catalogue_update(catalogue_of(s), change_apply, c);
		s->stopped |= e != OK;
	}
	free(c->v);
	c->v = NULL;
	return e;
}

/* --- open, close --- */

/* Landing files have numbers, too, which the manifest does not know. */
static enum err
behind_landings(struct catalogue *c, uint64_t *next)
{
	struct landing_row row = { 0 };
	enum err e;
	while ((e = catalogue_next_landing(c, &row)) == OK)
		if (row.id >= *next)
			*next = row.id + 1;
	return e == END ? OK : e;
}

static enum err
count_segments(struct catalogue *c, uint64_t *segments)
{
	struct segment_row row = { .id = 0 };
	enum err e;
	while ((e = catalogue_next_segment(c, &row)) == OK)
		++*segments;
	return e == END ? OK : e;
}

/* Rounded up, so that it is not looked at for each segment. */
static enum err
reserve(struct store *s)
{
	uint64_t segments = (s->segments + STORE_RESERVE_STEP) / STORE_RESERVE_STEP * STORE_RESERVE_STEP;
	if (s->reserved >= segments)
		return OK;
	TRY(reserve_keep(archive_path(s->archive), segments));
	s->reserved = segments;
	return OK;
}

enum err
store_open(struct store **out, const char *dir, const char *key_path)
{
	struct store *s = calloc(1, sizeof *s);
	struct state_row state;
	if (s == NULL)
		return fail(ERR_NOMEM, "%s: no memory to open it", dir);
	enum err e = archive_open(&s->archive, dir, key_path, ARCHIVE_WRITE);
	if (e == OK)
		e = catalogue_begin(catalogue_of(s));
	if (e == OK) {
		e = catalogue_state(catalogue_of(s), &state);
		if (e == OK)
			e = behind_landings(catalogue_of(s), &state.next_segment);
		if (e == OK)
			e = count_segments(catalogue_of(s), &s->segments);
		catalogue_end(catalogue_of(s));
	}
	if (e != OK) {
		archive_close(&s->archive);
		free(s);
		return e;
	}
	s->next_segment = state.next_segment;
	s->next_stream = state.next_stream;
	(void)reserve(s); /* for lack of room: who writes a segment is told */
	*out = s;
	return OK;
}

void
store_close(struct store **s)
{
	if (*s == NULL)
		return;
	reception_close(&(*s)->reception);
	for (size_t i = 0; i < STORE_OPEN_SEGMENTS_MAX; i++)
		store_segment_abort(*s, &(*s)->open[i]);
	archive_close(&(*s)->archive);
	free(*s);
	*s = NULL;
}

struct archive *
store_archive(struct store *s)
{
	return s->archive;
}

/* --- streams --- */

enum err
store_stream_name(const char *name)
{
	size_t n = strlen(name);
	if (n == 0 || n >= STREAM_NAME_BYTES)
		return fail(ERR_USAGE, "a stream's name has 1 to %d bytes, this one has %zu", STREAM_NAME_BYTES - 1, n);
	size_t plain = utf8_plain((const uint8_t *)name, n);
	if (plain < n)
		return fail(ERR_USAGE, "a stream's name is UTF-8 text without control characters: this one is not at byte %zu", plain + 1);
	return OK;
}

enum err
store_stream(struct store *s, const char *name, uint32_t *stream)
{
	struct stream_row row = { 0 };
	TRY(store_running(s));
	TRY(store_stream_name(name));
	TRY(catalogue_begin(catalogue_of(s)));
	enum err e = catalogue_stream_named(catalogue_of(s), name, &row);
	catalogue_end(catalogue_of(s));
	if (e == OK)
		*stream = row.id;
	if (e != ERR_ABSENT)
		return e;
	if (s->next_stream >= STREAMS_MAX)
		return fail(ERR_LIMIT, "an archive has at most %u streams", STREAMS_MAX);
	row.id = s->next_stream;
	row.created_ns = now_ns();
	snprintf(row.name, sizeof row.name, "%s", name);
	struct change c = { 0 };
	TRY(CHANGE_ADD(&c, STREAM, &row));
	TRY(change_commit(s, &c));
	*stream = s->next_stream++;
	return OK;
}

/* --- imports --- */

/* before: what becomes of the row that it was; NULL: it was this one. */
static enum err
import_commit(struct store *s, const struct import_row *row, const struct import_row *before)
{
	struct change c = { 0 };
	if (before)
		TRY(CHANGE_ADD(&c, IMPORT, before));
	enum err e = CHANGE_ADD(&c, IMPORT, row);
	if (e == OK)
		return change_commit(s, &c);
	free(c.v);
	return e;
}

static void
second_format(char out[WHEN_TEXT_BYTES], uint64_t ns)
{
	when_format(out, ns);
	memcpy(out + sizeof "2026-01-01T00:00:00" - 1, "Z", 2);
}

/* The removal of the stream's records since the import that reaches furthest; ERR_ABSENT. */
static enum err
removal_since(struct store *s, const struct import_row *import, struct removal_row *furthest)
{
	struct removal_row row;
	uint64_t line = 0;
	bool found = false;
	enum err e;
	while ((e = catalogue_next_removal(catalogue_of(s), &line, &row)) == OK)
		if (row.stream == import->stream && row.removed_ns >= import->begun_ns && (!found || row.until_ns >= furthest->until_ns)) {
			*furthest = row;
			found = true;
		}
	return e != END ? e : found ? OK : ERR_ABSENT;
}

/* What was removed on purpose must not come back because a file still lies somewhere: that is refused, too, and told. */
static enum err
import_refuse(struct store *s, const struct import_row *row)
{
	char when[WHEN_TEXT_BYTES], until[WHEN_TEXT_BYTES], removed[WHEN_TEXT_BYTES], gone[256] = "";
	struct removal_row removal;
	struct stream_row stream = { 0 };
	struct catalogue_totals totals = { 0 };
	TRY(catalogue_begin(catalogue_of(s)));
	enum err e = catalogue_stream(catalogue_of(s), row->stream, &stream);
	if (e == OK)
		e = removal_since(s, row, &removal);
	if (e == OK)
		e = catalogue_sum(catalogue_of(s), row->stream, &totals);
	catalogue_end(catalogue_of(s));
	if (e != OK && e != ERR_ABSENT)
		return e;
	second_format(when, row->begun_ns);
	if (e == OK) {
		second_format(removed, removal.removed_ns);
		if (removal.until_ns == UINT64_MAX)
			snprintf(until, sizeof until, "end");
		else
			when_format(until, removal.until_ns);
		if (totals.segments + totals.lost_segments == 0)
			snprintf(gone, sizeof gone, "; all of that stream was removed on %s (rm --until %s)", removed, until);
		else
			snprintf(gone, sizeof gone, "; what that stream had before %s was removed on %s", until, removed);
	}
	return fail(ERR_EXISTS, "already imported on %s as \"%s\" into stream \"%s\" (%" PRIu64 " records)%s: --again imports it "
	            "once more", when, row->title, stream.name, row->records, gone);
}

static bool
is_head(const uint8_t fingerprint[FINGERPRINT_BYTES])
{
	return sodium_is_zero(fingerprint + FINGERPRINT_HEAD_BYTES, FINGERPRINT_BYTES - FINGERPRINT_HEAD_BYTES);
}

/* How much a row says about this content: 0 nothing, also when nothing was stored. */
static int
import_rank(const struct import_row *row, const uint8_t fingerprint[FINGERPRINT_BYTES])
{
	bool same = memcmp(row->fingerprint, fingerprint, FINGERPRINT_BYTES) == 0;
	if (!row->complete && row->records == 0)
		return 0;
	if (!same && !is_head(row->fingerprint) && !is_head(fingerprint))
		return 0;
	return same ? 3 : row->complete ? 1 : 2;
}

/* Rows of the same beginning stand beside each other, that of the beginning alone first. */
static enum err
import_find(struct catalogue *c, const uint8_t fingerprint[FINGERPRINT_BYTES], struct import_row *found)
{
	struct import_row row = { 0 };
	int best = 0;
	memcpy(row.fingerprint, fingerprint, FINGERPRINT_HEAD_BYTES);
	enum err e = catalogue_import(c, row.fingerprint, &row);
	if (e == ERR_ABSENT)
		e = catalogue_next_import(c, false, &row);
	for (; e == OK && memcmp(row.fingerprint, fingerprint, FINGERPRINT_HEAD_BYTES) == 0; e = catalogue_next_import(c, false, &row)) {
		int rank = import_rank(&row, fingerprint);
		if (rank > best) {
			*found = row;
			best = rank;
		}
	}
	if (e != OK && e != END)
		return e;
	return best ? OK : fail(ERR_ABSENT, "never imported");
}

enum err
store_import_find(struct store *s, const uint8_t fingerprint[FINGERPRINT_BYTES], struct import_row *row)
{
	TRY(catalogue_begin(catalogue_of(s)));
	enum err e = import_find(catalogue_of(s), fingerprint, row);
	catalogue_end(catalogue_of(s));
	return e;
}

/* How often the content of this row was imported to the end. */
static enum err
import_runs(struct store *s, const uint8_t fingerprint[FINGERPRINT_BYTES], uint32_t *runs)
{
	struct import_row row = { 0 };
	TRY(catalogue_begin(catalogue_of(s)));
	enum err e = catalogue_import(catalogue_of(s), fingerprint, &row);
	catalogue_end(catalogue_of(s));
	*runs = e == ERR_ABSENT ? 0 : row.runs - !row.complete;
	return e == ERR_ABSENT ? OK : e;
}

/* What was interrupted goes on, also with --again: that was said when it began. */
static enum err
import_continue(struct store *s, const struct import_row *row, uint32_t stream, bool headers_only)
{
	struct stream_row named = { 0 };
	if (row->stream != stream) {
		TRY(catalogue_begin(catalogue_of(s)));
		enum err e = catalogue_stream(catalogue_of(s), row->stream, &named);
		catalogue_end(catalogue_of(s));
		return e != OK ? e : fail(ERR_USAGE, "its import into stream \"%s\" was interrupted: go on with --stream %s",
		                          named.name, named.name);
	}
	if ((bool)row->headers_only != headers_only)
		return fail(ERR_USAGE, "its import %s --headers-only was interrupted: go on %s it",
		            row->headers_only ? "with" : "without", row->headers_only ? "with" : "without");
	return OK;
}

enum err
store_import_begin(struct store *s, const uint8_t fingerprint[FINGERPRINT_BYTES], const char *title, uint32_t stream,
                   bool headers_only, bool again, struct import_row *import)
{
	struct import_row row = { 0 };
	uint32_t runs;
	TRY(store_running(s));
	enum err e = store_import_find(s, fingerprint, &row);
	if (e != OK && e != ERR_ABSENT)
		return e;
	if (e == OK && row.complete && !again)
		return import_refuse(s, &row);
	if (e == OK && !row.complete) {
		TRY(import_continue(s, &row, stream, headers_only));
		*import = row;
		return OK;
	}
	TRY(import_runs(s, fingerprint, &runs));
	row = (struct import_row){ .stream = stream, .begun_ns = now_ns(), .headers_only = headers_only, .runs = runs + 1 };
	memcpy(row.fingerprint, fingerprint, sizeof row.fingerprint);
	size_t n = strlen(title), skip = n >= sizeof row.title ? n - sizeof row.title + 1 : 0;
	snprintf(row.title, sizeof row.title, "%s", title + skip);
	TRY(import_commit(s, &row, NULL));
	*import = row;
	return OK;
}

enum err
store_import_finish(struct store *s, struct import_row *import, const uint8_t fingerprint[FINGERPRINT_BYTES])
{
	struct import_row row = *import, before = *import;
	bool moves = memcmp(row.fingerprint, fingerprint, sizeof row.fingerprint) != 0;
	TRY(store_running(s));
	row.complete = 1;
	if (moves) {
		TRY(import_runs(s, fingerprint, &row.runs));
		row.runs++;
		memcpy(row.fingerprint, fingerprint, sizeof row.fingerprint);
		before.records = 0; /* nothing to go on with */
	}
	TRY(import_commit(s, &row, moves ? &before : NULL));
	*import = row;
	return OK;
}

/* --- segments --- */

static void
segment_free(struct store *s, struct store_segment **g)
{
	struct store_segment *gone = *g; /* g may be a place of the list */
	*g = NULL;
	for (size_t i = 0; i < STORE_OPEN_SEGMENTS_MAX; i++)
		if (s->open[i] == gone)
			s->open[i] = NULL;
	segment_writer_close(&gone->writer);
	sodium_free(gone->key);
	free(gone);
}

static enum err
segment_create_file(struct store *s, struct store_segment *g)
{
	struct stream_row stream;
	TRY(catalogue_begin(catalogue_of(s)));
	enum err e = catalogue_stream(catalogue_of(s), g->name.stream, &stream);
	catalogue_end(catalogue_of(s));
	if (e != OK)
		return e;
	TRY(archive_segment_temp_path(s->archive, g->name.id, g->temp));
	return segment_create(&g->writer, g->temp, &g->name, g->key, stream.name);
}

enum err
store_segment_begin(struct store *s, uint32_t stream, struct store_segment **out)
{
	TRY(store_running(s));
	size_t place = 0;
	while (place < STORE_OPEN_SEGMENTS_MAX && s->open[place])
		place++;
	if (place == STORE_OPEN_SEGMENTS_MAX)
		return fail(ERR_LIMIT, "at most %u segments are written at once", STORE_OPEN_SEGMENTS_MAX);
	s->segments++;
	TRY(reserve(s));
	struct store_segment *g = calloc(1, sizeof *g);
	if (g == NULL || (g->key = sodium_malloc(SEGMENT_KEY_BYTES)) == NULL) {
		free(g);
		return fail(ERR_NOMEM, "no memory for a segment");
	}
	archive_id(s->archive, g->name.archive);
	g->name.id = s->next_segment;
	g->name.stream = stream;
	enum err e = keystore_add(archive_keystore(s->archive), g->name.id, &g->name.key_slot, g->key);
	if (e != OK) {
		sodium_free(g->key);
		free(g);
		return e;
	}
	s->next_segment++;
	s->open[place] = g;
	e = segment_create_file(s, g);
	if (e != OK) {
		char kept[ERR_TEXT_BYTES];
		snprintf(kept, sizeof kept, "%s", err_text());
		store_segment_abort(s, &g);
		return fail(e, "%s", kept);
	}
	*out = g;
	return OK;
}

struct segment_writer *store_segment_writer(struct store_segment *g) { return g->writer; }
const struct segment_name *store_segment_name(const struct store_segment *g) { return &g->name; }

void
store_segment_abort(struct store *s, struct store_segment **g)
{
	if (*g == NULL)
		return;
	if (!s->stopped) { /* otherwise recovery does it */
		enum err e = io_unlink((*g)->temp);
		if (e == OK || e == ERR_ABSENT)
			e = keystore_shred(archive_keystore(s->archive), (*g)->name.key_slot);
		s->stopped |= e != OK;
	}
	segment_free(s, g);
}

/* As store_segment_abort(), after a failure whose sentence is to stay. Something that could not be made durable stops. */
static enum err
segment_give_up(struct store *s, struct store_segment **g, enum err e)
{
	char kept[ERR_TEXT_BYTES];
	snprintf(kept, sizeof kept, "%s", err_text());
	s->stopped |= e == ERR_IO;
	store_segment_abort(s, g);
	return fail(e, "%s", kept);
}

/* Reads the finished file back, as every reader will, and makes its filter. */
static enum err
segment_verify(struct store *s, const struct store_segment *g, const struct segment_totals *totals, struct change *c,
               uint8_t **filter)
{
	struct segment *segment = NULL;
	TRY(segment_open(&segment, g->temp, g->key));
	enum err e = OK;
	if (memcmp(segment_totals_of(segment)->root, totals->root, sizeof totals->root) != 0)
		e = fail(ERR_IO, "%s: reads back with another root hash", g->temp);
	else if (segment_fault(segment)[0])
		e = fail(ERR_IO, "%s", segment_fault(segment));
	if (e == OK)
		e = recovery_filter(s->archive, segment, filter, &c->filter_bytes);
	segment_close(&segment);
	return e;
}

/* From here on a failure stops the store: recovery finds out how far it came. */
static enum err
segment_publish(struct store *s, struct store_segment *g, const struct segment_totals *totals, struct change *c)
{
	char path[PATH_BYTES], folder[PATH_BYTES];
	struct segment_row row = recovery_row(&g->name, totals);
	TRY(archive_segment_path(s->archive, g->name.id, path));
	TRY(archive_segments_folder(s->archive, folder));
	TRY(io_rename(g->temp, path));
	TRY(io_sync_dir(folder));
	TRY(CHANGE_ADD(c, SEGMENT, &row));
	if (c->count > 1) { /* the segment first: a drop or an import line refers to it */
		struct manifest_line last = c->v[c->count - 1];
		memmove(c->v + 1, c->v, (c->count - 1) * sizeof *c->v);
		c->v[0] = last;
	}
	return change_commit(s, c);
}

/* c: what else goes into the change; its list is freed. */
static enum err
segment_commit(struct store *s, struct store_segment **g, struct change *c)
{
	struct segment_totals totals;
	uint8_t *filter = NULL;
	enum err e = store_running(s);
	if (e == OK && segment_block_count((*g)->writer) == 0)
		e = fail(ERR_USAGE, "a segment without blocks");
	if (e == OK)
		e = segment_finish((*g)->writer, &totals);
	segment_writer_close(&(*g)->writer);
	if (e == OK)
		e = segment_verify(s, *g, &totals, c, &filter);
	if (e != OK) {
		free(c->v);
		return segment_give_up(s, g, e);
	}
	c->filter = filter;
	c->filter_of = (*g)->name.id;
	e = segment_publish(s, *g, &totals, c);
	s->stopped |= e != OK;
	free(filter);
	free(c->v);
	segment_free(s, g);
	return e;
}

enum err
store_segment_commit(struct store *s, struct store_segment **g, const struct import_row *import)
{
	struct change c = { 0 };
	enum err e = import ? CHANGE_ADD(&c, IMPORT, import) : OK;
	return e == OK ? segment_commit(s, g, &c) : segment_give_up(s, g, e);
}

enum err
store_segment_commit_change(struct store *s, struct store_segment **g, struct change *c)
{
	return segment_commit(s, g, c);
}

/* --- removal --- */

static enum err
settle(struct store *s)
{
	struct recovery_report report = { 0 };
	enum err e = recovery_settle(s->archive, false, NULL, NULL, &report);
	s->stopped |= e != OK; /* committed, not completed: the next writer goes on */
	return e;
}

/* A change that makes room, in the room that is kept for it. */
static enum err
change_remove(struct store *s, struct change *c)
{
	enum err e = reserve_release(archive_path(s->archive));
	s->reserved = 0;
	if (e == OK)
		e = change_commit(s, c);
	if (e == OK)
		e = settle(s);
	free(c->v);
	c->v = NULL;
	if (e == OK)
		(void)reserve(s); /* what was freed may be less; then whoever writes a segment is told */
	return e;
}

static enum err
segment_live(struct store *s, uint64_t id, struct segment_row *row)
{
	TRY(store_running(s));
	TRY(catalogue_begin(catalogue_of(s)));
	enum err e = catalogue_segment(catalogue_of(s), id, row);
	catalogue_end(catalogue_of(s));
	return e;
}

enum err
store_segment_replace(struct store *s, struct store_segment **g, uint64_t old)
{
	struct change c = { 0 };
	struct segment_row row;
	struct drop_row drop = { old };
	enum err e = segment_live(s, old, &row);
	if (e == OK)
		e = CHANGE_ADD(&c, DROP, &drop);
	if (e != OK)
		return segment_give_up(s, g, e);
	TRY(segment_commit(s, g, &c));
	return settle(s);
}

enum err
store_drop(struct store *s, uint64_t segment)
{
	struct change c = { 0 };
	struct segment_row row;
	struct drop_row drop = { segment };
	TRY(segment_live(s, segment, &row));
	TRY(CHANGE_ADD(&c, DROP, &drop));
	return change_remove(s, &c);
}

enum err
store_retire(struct store *s, const struct segment_row *row)
{
	struct change c = { 0 };
	struct drop_row drop = { row->id };
	struct removal_row tombstone = {
		.stream = row->stream,
		.until_ns = row->last_ns == UINT64_MAX ? UINT64_MAX : row->last_ns + 1,
		.removed_ns = now_ns(),
		.segments = 1,
		.records = row->records,
	};
	TRY(store_running(s));
	TRY(CHANGE_ADD(&c, REMOVAL, &tombstone));
	enum err e = CHANGE_ADD(&c, DROP, &drop);
	if (e == OK)
		return change_remove(s, &c);
	free(c.v);
	return e;
}

/* An open end takes the last nanosecond, too. */
static bool
is_due(uint64_t ns, uint64_t until_ns)
{
	return ns < until_ns || until_ns == UINT64_MAX;
}

/* The lines of a removal, the tombstone in c->v[0]. */
static enum err
removal_plan(struct store *s, uint32_t stream, uint64_t until_ns, struct change *c, struct store_removal *removal)
{
	struct removal_row tombstone = { .stream = stream, .until_ns = until_ns, .removed_ns = now_ns() };
	struct segment_row row = { .id = 0 };
	enum err e;
	TRY(CHANGE_ADD(c, REMOVAL, &tombstone));
	while ((e = catalogue_next_segment(catalogue_of(s), &row)) == OK) {
		if (row.stream != stream || row.state == SEGMENT_DELETING || !is_due(row.first_ns, until_ns))
			continue;
		if (is_due(row.last_ns, until_ns)) {
			struct drop_row drop = { row.id };
			TRY(CHANGE_ADD(c, DROP, &drop));
			tombstone.segments++;
			tombstone.records += row.records;
			continue;
		}
		removal->straddling++;
		if (row.hidden_until_ns < until_ns) {
			struct segment_row hidden = row;
			hidden.hidden_until_ns = until_ns;
			TRY(CHANGE_ADD(c, SEGMENT, &hidden));
		}
	}
	if (e != END)
		return e;
	c->v[0].row.removal = tombstone;
	removal->segments = tombstone.segments;
	removal->records = tombstone.records;
	return OK;
}

enum err
store_remove(struct store *s, uint32_t stream, uint64_t until_ns, struct store_removal *removal)
{
	struct change c = { 0 };
	struct store_removal r = { 0 };
	TRY(store_running(s));
	TRY(catalogue_begin(catalogue_of(s)));
	enum err e = removal_plan(s, stream, until_ns, &c, &r);
	catalogue_end(catalogue_of(s));
	if (e == OK && c.count > 1)
		e = change_remove(s, &c);
	free(c.v);
	if (e == OK)
		*removal = r;
	return e;
}

enum err
store_next_straddling(struct store *s, struct segment_row *row)
{
	struct segment_row r = *row;
	TRY(catalogue_begin(catalogue_of(s)));
	enum err e;
	do
		e = catalogue_next_segment(catalogue_of(s), &r);
	while (e == OK && (r.hidden_until_ns == 0 || r.state == SEGMENT_DELETING));
	catalogue_end(catalogue_of(s));
	if (e == OK)
		*row = r;
	return e;
}
