#include "index/recovery.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/limits.h"
#include "index/segfilter.h"
#include "index/store.h"

#define LEFT_KEYS_MAX          (STORE_OPEN_SEGMENTS_MAX + 1u) /* that a killed writer leaves: one is of a new landing file */
#define FILTER_BATCH_MAX       64u        /* segments whose filters go into one transaction, */
#define FILTER_BATCH_BYTES_MAX (8u << 20) /* or until they reach this: bounds memory */

/* --- a growing list of segment rows --- */

struct rows {
	struct segment_row *v;
	size_t              count, room;
};

static enum err
rows_add(struct rows *r, const struct segment_row *row)
{
	if (r->count == r->room) {
		size_t room = r->room ? 2 * r->room : 16;
		struct segment_row *v = realloc(r->v, room * sizeof *v);
		if (v == NULL)
			return fail(ERR_NOMEM, "no memory for a list of %zu segments", room);
		r->v = v;
		r->room = room;
	}
	r->v[r->count++] = *row;
	return OK;
}

static void
rows_fini(struct rows *r)
{
	free(r->v);
	*r = (struct rows){ 0 };
}

/* --- replay --- */

struct replaying {
	struct manifest     *manifest;
	struct manifest_scan scan;
};

enum err
recovery_apply(struct catalogue *c, const struct manifest_line *line, struct state_row *state)
{
	struct segment_row segment;
	enum err e;
	switch (line->kind) {
	case ROW_KIND_STREAM:
		if (line->row.stream.id >= state->next_stream)
			state->next_stream = line->row.stream.id + 1;
		return catalogue_put_stream(c, &line->row.stream);
	case ROW_KIND_SEGMENT:
		if (line->row.segment.id >= state->next_segment)
			state->next_segment = line->row.segment.id + 1;
		return catalogue_put_segment(c, &line->row.segment);
	case ROW_KIND_IMPORT:
		return catalogue_put_import(c, &line->row.import);
	case ROW_KIND_REMOVAL:
		return catalogue_put_removal(c, line->sequence, &line->row.removal);
	case ROW_KIND_DROP:
		e = catalogue_segment(c, line->row.drop.id, &segment);
		if (e == ERR_ABSENT) /* its own line was damaged and is gone */
			return OK;
		if (e != OK)
			return e;
		segment.state = SEGMENT_DELETING;
		return catalogue_put_segment(c, &segment);
	case ROW_KIND_MONITOR: /* uses up the ticket it was enrolled with */
		e = catalogue_forget_ticket(c, line->row.monitor.ticket);
		return e == OK || e == ERR_ABSENT ? catalogue_put_monitor(c, &line->row.monitor) : e;
	case ROW_KIND_FEED:
		return catalogue_merge_feed(c, &line->row.feed);
	case ROW_KIND_GAP:
		return catalogue_put_gap(c, &line->row.gap);
	case ROW_KIND_TICKET:
	case ROW_KIND_LANDING:
	case ROW_KIND_LANDED:
	case ROW_KIND_STATE:
		break;
	}
	return fail(ERR_FORMAT, "a manifest line of no kind");
}

static enum err
replay_change(struct catalogue *c, void *arg)
{
	struct replaying *r = arg;
	struct state_row state;
	struct manifest_line line;
	TRY(catalogue_state(c, &state));
	manifest_seek(r->manifest, state.applied_bytes);
	for (;;) {
		enum err e = manifest_next(r->manifest, &line);
		if (e == END || (e == OK && line.end > r->scan.good_end))
			break;
		if (e != OK)
			return e;
		TRY(recovery_apply(c, &line, &state));
	}
	state.applied_bytes = r->scan.good_end;
	state.sequence = r->scan.sequence;
	return catalogue_put_state(c, &state);
}

enum err
recovery_replay(struct catalogue *c, struct manifest *m, const struct manifest_scan *scan)
{
	struct replaying r = { m, *scan };
	return catalogue_update(c, replay_change, &r);
}

/* --- deletions --- */

static enum err
forget_change(struct catalogue *c, void *arg)
{
	const struct rows *rows = arg;
	for (size_t i = 0; i < rows->count; i++)
		TRY(catalogue_forget_segment(c, rows->v[i].id));
	return OK;
}

static enum err
delete_all(struct archive *a, struct rows *rows)
{
	if (rows->count == 0)
		return OK;
	char path[PATH_BYTES];
	for (size_t i = 0; i < rows->count; i++) { /* keys first: from then on it is gone */
		const struct segment_row *row = &rows->v[i];
		uint64_t owner;
		enum err e = keystore_slot(archive_keystore(a), row->slot, &owner);
		if (e != OK && e != ERR_ABSENT)
			return e;
		if (e == OK && owner == row->id) /* a slot may serve another segment by now */
			TRY(keystore_shred(archive_keystore(a), row->slot));
	}
	for (size_t i = 0; i < rows->count; i++) {
		TRY(archive_segment_path(a, rows->v[i].id, path));
		enum err e = io_unlink(path);
		if (e != OK && e != ERR_ABSENT)
			return e;
	}
	TRY(archive_segments_folder(a, path));
	TRY(io_sync_dir(path));
	return catalogue_update(archive_catalogue(a), forget_change, rows);
}

/* --- filters --- */

struct filtered {
	struct segment_row row;    /* with its new state */
	uint8_t           *filter; /* NULL: lost */
	size_t             bytes;
};

struct filter_batch {
	struct filtered v[FILTER_BATCH_MAX];
	size_t          count, bytes;
};

static enum err
filters_change(struct catalogue *c, void *arg)
{
	const struct filter_batch *b = arg;
	for (size_t i = 0; i < b->count; i++) {
		TRY(catalogue_put_segment(c, &b->v[i].row));
		if (b->v[i].filter)
			TRY(catalogue_put_filter(c, b->v[i].row.id, b->v[i].filter, b->v[i].bytes));
	}
	return OK;
}

static enum err
filters_commit(struct archive *a, struct filter_batch *b)
{
	enum err e = b->count ? catalogue_update(archive_catalogue(a), filters_change, b) : OK;
	for (size_t i = 0; i < b->count; i++)
		free(b->v[i].filter);
	b->count = b->bytes = 0;
	return e;
}

/* An address that is not in the sorted list. */
static uint32_t
address_absent(const uint32_t *ip4, uint32_t count)
{
	uint32_t absent = 0;
	for (uint32_t i = 0; i < count && ip4[i] == absent; i++)
		absent++;
	return absent;
}

enum err
recovery_filter(struct archive *a, struct segment *s, uint8_t **filter, size_t *n)
{
	struct segfilter_addresses addresses;
	uint64_t opaque;
	TRY(segment_all_addresses(s, &addresses.ip4, &addresses.ip4_count, &addresses.ip6, &addresses.ip6_count));
	uint32_t absent = address_absent(addresses.ip4, addresses.ip4_count);
	TRY(segment_find_ip4(s, absent, absent, &opaque)); /* opaque blocks are in every answer */
	addresses.all = opaque != 0;
	return segfilter_build(filter, n, catalogue_filter_key(archive_catalogue(a)), segment_name_of(s)->id, &addresses);
}

static enum err
filter_make(struct archive *a, struct filtered *f)
{
	struct segment *s = NULL;
	TRY(archive_open_segment(a, &f->row, &s));
	enum err e = recovery_filter(a, s, &f->filter, &f->bytes);
	segment_close(&s);
	return e;
}

static enum err
filters_all(struct archive *a, const struct rows *rows, void (*see)(void *arg, const char *sentence), void *arg,
            struct recovery_report *report)
{
	struct filter_batch *b = calloc(1, sizeof *b);
	if (b == NULL)
		return fail(ERR_NOMEM, "no memory to make segment filters");
	enum err e = OK;
	for (size_t i = 0; e == OK && i < rows->count; i++) {
		struct filtered f = { .row = rows->v[i] };
		e = filter_make(a, &f);
		bool lost = e == ERR_ABSENT || e == ERR_FORMAT || e == ERR_DENIED || e == ERR_UNSUPPORTED;
		if (e != OK && !lost)
			break;
		if (lost && see)
			see(arg, err_text());
		report->lost += lost && f.row.state != SEGMENT_LOST;
		f.row.state = lost ? SEGMENT_LOST : SEGMENT_LIVE;
		b->bytes += f.bytes;
		b->v[b->count++] = f;
		e = b->count == FILTER_BATCH_MAX || b->bytes >= FILTER_BATCH_BYTES_MAX ? filters_commit(a, b) : OK;
	}
	if (e == OK)
		e = filters_commit(a, b);
	for (size_t i = 0; i < b->count; i++)
		free(b->v[i].filter);
	free(b);
	return e;
}

/* Which segments want deleting, and which a filter. */
static enum err
settle_plan(struct catalogue *c, bool retry_lost, struct rows *deleting, struct rows *wanting)
{
	struct segment_row row = { .id = 0 };
	enum err e;
	while ((e = catalogue_next_segment(c, &row)) == OK) {
		const uint8_t *filter;
		size_t n;
		if (row.state == SEGMENT_DELETING)
			TRY(rows_add(deleting, &row));
		else if (row.state == SEGMENT_LOST && retry_lost)
			TRY(rows_add(wanting, &row));
		else if (row.state == SEGMENT_LIVE && (e = catalogue_filter(c, row.id, &filter, &n)) == ERR_ABSENT)
			TRY(rows_add(wanting, &row));
		else if (e != OK)
			return e;
	}
	return e == END ? OK : e;
}

enum err
recovery_settle(struct archive *a, bool retry_lost, void (*see)(void *arg, const char *sentence), void *arg,
                struct recovery_report *report)
{
	struct rows deleting = { 0 }, wanting = { 0 };
	enum err e = catalogue_begin(archive_catalogue(a));
	if (e == OK) {
		e = settle_plan(archive_catalogue(a), retry_lost, &deleting, &wanting);
		catalogue_end(archive_catalogue(a));
	}
	if (e == OK)
		e = delete_all(a, &deleting);
	if (e == OK) {
		report->deleted += deleting.count;
		e = filters_all(a, &wanting, see, arg, report);
		if (e == ERR_FULL && !retry_lost) /* queries do without; a writer makes them when there is room */
			e = OK;
	}
	rows_fini(&deleting);
	rows_fini(&wanting);
	return e;
}

/* --- leftovers --- */

enum err
recovery_files(struct archive *a, enum err (*each)(void *arg, uint64_t id, bool temp), void *arg)
{
	char folder[PATH_BYTES];
	TRY(archive_segments_folder(a, folder));
	DIR *d = opendir(folder);
	if (d == NULL)
		return fail_errno("%s", folder);
	enum err e = OK;
	struct dirent *entry;
	while (e == OK && (errno = 0, entry = readdir(d))) {
		uint64_t id;
		bool temp;
		if (archive_segment_id(entry->d_name, &id, &temp))
			e = each(arg, id, temp);
	}
	if (e == OK && errno)
		e = fail_errno("%s", folder);
	closedir(d);
	return e;
}

struct sweep {
	struct archive *archive;
	uint64_t        temps[STORE_OPEN_SEGMENTS_MAX], orphans[STORE_OPEN_SEGMENTS_MAX];
	uint64_t        temp_count, orphan_count, key_count; /* may be more than the lists hold */
	uint64_t       *slot_owner; /* by slot: the segment of the row that has it, 0 when none has */
	uint32_t        slots, keys[LEFT_KEYS_MAX];
};

static enum err
sweep_file(void *arg, uint64_t id, bool temp)
{
	struct sweep *s = arg;
	struct segment_row row;
	if (temp) {
		if (s->temp_count < STORE_OPEN_SEGMENTS_MAX)
			s->temps[s->temp_count] = id;
		s->temp_count++;
		return OK;
	}
	enum err e = catalogue_segment(archive_catalogue(s->archive), id, &row);
	if (e != ERR_ABSENT)
		return e;
	if (s->orphan_count < STORE_OPEN_SEGMENTS_MAX)
		s->orphans[s->orphan_count] = id;
	s->orphan_count++;
	return OK;
}

/* Slots that no row has. A slot that has a row, but another segment's number in it, is damage: left to fsck. */
static enum err
sweep_slots(struct sweep *s)
{
	struct archive *a = s->archive;
	TRY(keystore_slots(archive_keystore(a), &s->slots));
	s->slot_owner = calloc((size_t)s->slots + 1, sizeof *s->slot_owner);
	if (s->slot_owner == NULL)
		return fail(ERR_NOMEM, "no memory for %u key slots", s->slots);
	struct segment_row row = { .id = 0 };
	enum err e;
	while ((e = catalogue_next_segment(archive_catalogue(a), &row)) == OK)
		if (row.slot < s->slots)
			s->slot_owner[row.slot] = row.id;
	struct landing_row landing = { 0 };
	while (e == END && (e = catalogue_next_landing(archive_catalogue(a), &landing)) == OK) {
		if (landing.slot < s->slots)
			s->slot_owner[landing.slot] = landing.id;
		e = END;
	}
	if (e != END)
		return e;
	for (uint32_t slot = 0; slot < s->slots; slot++) {
		uint64_t id;
		if (s->slot_owner[slot] != 0)
			continue;
		e = keystore_slot(archive_keystore(a), slot, &id);
		if (e != OK && e != ERR_ABSENT)
			return e;
		if (e == OK && s->key_count++ < LEFT_KEYS_MAX)
			s->keys[s->key_count - 1] = slot;
	}
	return OK;
}

static enum err
sweep_look(struct sweep *s)
{
	TRY(catalogue_begin(archive_catalogue(s->archive)));
	enum err e = recovery_files(s->archive, sweep_file, s);
	if (e == OK)
		e = sweep_slots(s);
	catalogue_end(archive_catalogue(s->archive));
	if (e != OK)
		return e;
	if (s->orphan_count > STORE_OPEN_SEGMENTS_MAX || s->key_count > LEFT_KEYS_MAX)
		return fail(ERR_FORMAT, "%s: %" PRIu64 " segment files and %" PRIu64 " keys are unknown to the manifest, more than "
		            "an interrupted import leaves: an older copy of it? atoll rebuild takes the segments up",
		            archive_path(s->archive), s->orphan_count, s->key_count);
	return OK;
}

static enum err
sweep_remove(struct sweep *s)
{
	struct archive *a = s->archive;
	char path[PATH_BYTES];
	for (uint64_t i = 0; i < s->temp_count && i < STORE_OPEN_SEGMENTS_MAX; i++) {
		TRY(archive_segment_temp_path(a, s->temps[i], path));
		TRY(io_unlink(path));
	}
	for (uint64_t i = 0; i < s->orphan_count; i++) {
		TRY(archive_segment_path(a, s->orphans[i], path));
		TRY(io_unlink(path));
	}
	if (s->temp_count || s->orphan_count) {
		TRY(archive_segments_folder(a, path));
		TRY(io_sync_dir(path));
	}
	for (uint64_t i = 0; i < s->key_count; i++)
		TRY(keystore_shred(archive_keystore(a), s->keys[i]));
	return OK;
}

enum err
recovery_sweep(struct archive *a, struct recovery_report *report)
{
	for (;;) { /* again while there are more temporary files than the list holds */
		struct sweep s = { .archive = a };
		enum err e = sweep_look(&s);
		if (e == OK)
			e = sweep_remove(&s);
		free(s.slot_owner);
		if (e != OK)
			return e;
		report->temps += s.temp_count < STORE_OPEN_SEGMENTS_MAX ? s.temp_count : STORE_OPEN_SEGMENTS_MAX;
		report->orphans += s.orphan_count;
		report->keys += s.key_count;
		if (s.temp_count <= STORE_OPEN_SEGMENTS_MAX)
			return OK;
	}
}

/* --- all of it --- */

enum err
recovery_run(struct archive *a, struct recovery_report *report)
{
	struct state_row state;
	TRY(catalogue_begin(archive_catalogue(a)));
	enum err e = catalogue_state(archive_catalogue(a), &state);
	catalogue_end(archive_catalogue(a));
	if (e != OK)
		return e;
	struct manifest_scan scan;
	TRY(manifest_scan(archive_manifest(a), state.applied_bytes, state.sequence, &scan));
	if (scan.damaged_lines)
		return fail(ERR_FORMAT, "%s: manifest damaged at byte %" PRIu64 ": run atoll fsck --repair", archive_path(a),
		            scan.damage_at);
	TRY(manifest_resume(archive_manifest(a), &scan));
	if (scan.good_end > state.applied_bytes) {
		TRY(recovery_replay(archive_catalogue(a), archive_manifest(a), &scan));
		report->replayed_lines += scan.lines;
	}
	TRY(recovery_settle(a, false, NULL, NULL, report));
	TRY(recovery_landings(a, false, NULL, NULL, report));
	return recovery_sweep(a, report);
}

struct segment_row
recovery_row(const struct segment_name *name, const struct segment_totals *totals)
{
	struct segment_row row = {
		.id = name->id,
		.stream = name->stream,
		.slot = name->key_slot,
		.state = SEGMENT_LIVE,
		.blocks = totals->blocks,
		.records = totals->records,
		.wire_bytes = totals->wire_bytes,
		.captured_bytes = totals->captured_bytes,
		.first_ns = totals->first_ns,
		.last_ns = totals->last_ns,
		.file_bytes = totals->file_bytes,
		.footer_bytes = totals->footer_bytes,
	};
	memcpy(row.root, totals->root, sizeof row.root);
	return row;
}
