#include "index/rebuild.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/limits.h"
#include "index/archive_dir.h"
#include "index/reception.h"
#include "index/recovery.h"
#include "index/store.h"

#define NEW_MANIFEST "manifest.new"
#define NEW_INDEX    "index.new"
#define COPY_LINES   1000u /* of a renewed manifest in one change: one fdatasync each */

struct rebuild {
	struct archive        *archive;
	void                 (*see)(void *arg, const char *sentence);
	void                  *see_arg;
	struct rebuild_report *report;
	struct manifest       *renewed; /* manifest.new while it is filled */
	uint64_t               renewed_lines;
	bool                   adopt;   /* take up unknown segment files */
};

static void __attribute__((format(printf, 2, 3)))
say(struct rebuild *r, const char *format, ...)
{
	char sentence[ERR_TEXT_BYTES];
	va_list args;
	va_start(args, format);
	vsnprintf(sentence, sizeof sentence, format, args);
	va_end(args);
	if (r->see)
		r->see(r->see_arg, sentence);
}

static void
see_loss(void *arg, const char *sentence)
{
	struct rebuild *r = arg;
	say(r, "lost: %s", sentence);
}

static enum err
remove_file(const char *dir, const char *name)
{
	char path[PATH_BYTES];
	TRY(io_path(path, dir, "%s", name));
	enum err e = io_unlink(path);
	return e == ERR_ABSENT ? OK : e;
}

static enum err
remove_index(const char *dir, const char *name)
{
	char folder[PATH_BYTES];
	TRY(io_path(folder, dir, "%s", name));
	if (access(folder, F_OK) < 0 && errno == ENOENT)
		return OK;
	TRY(remove_file(folder, "data.mdb"));
	TRY(remove_file(folder, "lock.mdb"));
	return rmdir(folder) < 0 ? fail_errno("%s: remove", folder) : OK;
}

/* --- a new manifest --- */

static enum err
renewed_flush(struct rebuild *r)
{
	uint64_t end, sequence;
	if (r->renewed_lines == 0)
		return OK;
	r->renewed_lines = 0;
	return manifest_commit(r->renewed, &end, &sequence);
}

static enum err
renewed_add(struct rebuild *r, enum row_kind kind, const void *row)
{
	TRY(manifest_add(r->renewed, kind, row));
	return ++r->renewed_lines == COPY_LINES ? renewed_flush(r) : OK;
}

/* The lines that a whole index amounts to. */
static enum err
copy_catalogue(struct rebuild *r, struct catalogue *c)
{
	struct stream_row stream = { .id = 0 };
	struct segment_row segment = { .id = 0 };
	struct import_row import;
	struct removal_row removal;
	struct monitor_row monitor = { .id = 0 };
	struct feed_row feed = { .stream = 0 };
	struct gap_row gap = { .stream = 0 };
	uint64_t line = 0;
	enum err e;
	while ((e = catalogue_next_stream(c, &stream)) == OK)
		TRY(renewed_add(r, ROW_KIND_STREAM, &stream));
	while (e == END && (e = catalogue_next_monitor(c, &monitor)) == OK) {
		TRY(renewed_add(r, ROW_KIND_MONITOR, &monitor));
		e = END;
	}
	while (e == END && (e = catalogue_next_segment(c, &segment)) == OK) {
		struct segment_row row = segment;
		struct drop_row drop = { row.id };
		row.state = SEGMENT_LIVE;
		TRY(renewed_add(r, ROW_KIND_SEGMENT, &row));
		if (segment.state == SEGMENT_DELETING)
			TRY(renewed_add(r, ROW_KIND_DROP, &drop));
		e = END;
	}
	for (bool first = true; e == END && (e = catalogue_next_import(c, first, &import)) == OK; first = false) {
		TRY(renewed_add(r, ROW_KIND_IMPORT, &import));
		e = END;
	}
	while (e == END && (e = catalogue_next_feed(c, true, &feed)) == OK) {
		TRY(renewed_add(r, ROW_KIND_FEED, &feed));
		e = END;
	}
	while (e == END && (e = catalogue_next_merged_gap(c, &gap)) == OK) {
		TRY(renewed_add(r, ROW_KIND_GAP, &gap));
		e = END;
	}
	while (e == END && (e = catalogue_next_removal(c, &line, &removal)) == OK) {
		TRY(renewed_add(r, ROW_KIND_REMOVAL, &removal));
		e = END;
	}
	return e == END ? OK : e;
}

static enum err
copy_lines(struct rebuild *r, struct manifest *old)
{
	struct manifest_line line;
	enum err e;
	manifest_seek(old, manifest_start(old));
	while ((e = manifest_next(old, &line)) == OK)
		TRY(renewed_add(r, line.kind, &line.row));
	return e == END ? OK : e;
}

static void
count_fault(void *arg, const char *sentence)
{
	(void)sentence;
	++*(uint64_t *)arg;
}

/* Lines from the old index when it opens without a fault, else from the old manifest (NULL: it can not be read at all). */
static enum err
renewed_fill(struct rebuild *r, struct manifest *old)
{
	struct catalogue *c = NULL;
	enum err e = archive_open_catalogue(r->archive, "index", &c);
	bool whole = false;
	if (e == OK && catalogue_begin(c) == OK) {
		uint64_t faults = 0;
		whole = catalogue_check(c, count_fault, &faults) == OK && faults == 0;
	}
	if (whole) {
		say(r, "the manifest is made again from the index");
		e = copy_catalogue(r, c);
	} else {
		say(r, "the manifest is made again from its own lines: notes of imports and removals in damaged ones are lost");
		e = old ? copy_lines(r, old) : OK;
	}
	if (c)
		catalogue_end(c);
	catalogue_close(&c);
	return e == OK ? renewed_flush(r) : e;
}

static enum err
manifest_renew(struct rebuild *r, struct manifest **m)
{
	const char *dir = archive_path(r->archive);
	uint8_t key[MANIFEST_KEY_BYTES], id[MANIFEST_ID_BYTES], archive[ARCHIVE_ID_BYTES];
	TRY(remove_file(dir, NEW_MANIFEST));
	keystore_derive(archive_keystore(r->archive), ARCHIVE_MANIFEST_LABEL, key);
	archive_id(r->archive, archive);
	enum err e = manifest_create(dir, NEW_MANIFEST, key, archive, id);
	sodium_memzero(key, sizeof key);
	if (e == OK)
		e = archive_open_manifest(r->archive, NEW_MANIFEST, &r->renewed);
	if (e == OK)
		e = manifest_resume(r->renewed, &(struct manifest_scan){ .good_end = manifest_start(r->renewed) });
	if (e == OK)
		e = renewed_fill(r, *m);
	if (e == OK) {
		manifest_close(m);
		*m = r->renewed;
		r->renewed = NULL;
		r->report->manifest_renewed = true;
	}
	manifest_close(&r->renewed);
	return e;
}

/* Whether the old index has followed this manifest further than its whole lines go: then its end is damaged, not torn. */
static bool
index_went_further(struct rebuild *r, const struct manifest *m, uint64_t good_end)
{
	struct catalogue *c = NULL;
	struct state_row state;
	uint8_t id[MANIFEST_ID_BYTES];
	manifest_id(m, id);
	bool further = archive_open_catalogue(r->archive, "index", &c) == OK && catalogue_begin(c) == OK &&
	               catalogue_state(c, &state) == OK && memcmp(state.manifest, id, sizeof id) == 0 &&
	               state.applied_bytes > good_end;
	if (c)
		catalogue_end(c);
	catalogue_close(&c);
	return further;
}

/* The manifest to build from, ready for appending; *scan says how far it goes. */
static enum err
manifest_prepare(struct rebuild *r, struct manifest **m, struct manifest_scan *scan)
{
	enum err e = archive_open_manifest(r->archive, "manifest", m);
	if (e != OK && e != ERR_ABSENT && e != ERR_FORMAT)
		return e;
	if (e != OK) {
		say(r, "%s", err_text());
	} else {
		TRY(manifest_scan(*m, manifest_start(*m), 0, scan));
		if (index_went_further(r, *m, scan->good_end) && scan->damaged_lines++ == 0)
			scan->damage_at = scan->good_end;
		r->report->damaged_lines = scan->damaged_lines;
		if (scan->damaged_lines)
			say(r, "manifest: %" PRIu64 " damaged or missing lines, the first at byte %" PRIu64, scan->damaged_lines,
			    scan->damage_at);
	}
	/* a torn tail is nearly always an interrupted commit; together with a lost index it may also be damage */
	r->adopt = e != OK || scan->damaged_lines || scan->torn;
	if (e == OK && scan->damaged_lines == 0)
		return manifest_resume(*m, scan);
	TRY(manifest_renew(r, m));
	return manifest_scan(*m, manifest_start(*m), 0, scan);
}

/* --- a new index --- */

static enum err
index_prepare(struct rebuild *r, struct manifest *m)
{
	const char *dir = archive_path(r->archive);
	char folder[PATH_BYTES];
	uint8_t key[CATALOGUE_KEY_BYTES];
	struct state_row state = { .version = CATALOGUE_VERSION, .next_segment = 1, .next_stream = 1 };
	archive_id(r->archive, state.archive);
	manifest_id(m, state.manifest);
	state.applied_bytes = manifest_start(m);
	TRY(remove_index(dir, NEW_INDEX));
	TRY(io_path(folder, dir, NEW_INDEX));
	TRY(io_mkdir(folder, 0700));
	keystore_derive(archive_keystore(r->archive), ARCHIVE_CATALOGUE_LABEL, key);
	enum err e = catalogue_create(folder, key, &state);
	sodium_memzero(key, sizeof key);
	return e;
}

/* Codes for enrolment are in no manifest. */
static void
tickets_tell(struct rebuild *r)
{
	struct catalogue *c = NULL;
	struct ticket_row row;
	unsigned lost = 0;
	if (archive_open_catalogue(r->archive, "index", &c) == OK && catalogue_begin(c) == OK)
		while (catalogue_next_ticket(c, lost == 0, &row) == OK)
			lost++;
	if (c)
		catalogue_end(c);
	catalogue_close(&c);
	if (lost)
		say(r, "%u codes for enrolment are void now: atoll enroll gives new ones", lost);
}

/* --- unknown segment files --- */

struct unknown {
	struct rebuild *rebuild;
	uint64_t       *ids;
	size_t          count, room;
};

static enum err
unknown_collect(void *arg, uint64_t id, bool temp)
{
	struct unknown *u = arg;
	struct segment_row row;
	if (temp)
		return OK;
	enum err e = catalogue_segment(archive_catalogue(u->rebuild->archive), id, &row);
	if (e != ERR_ABSENT)
		return e;
	if (u->count == u->room) {
		size_t room = u->room ? 2 * u->room : 16;
		uint64_t *ids = realloc(u->ids, room * sizeof *ids);
		if (ids == NULL)
			return fail(ERR_NOMEM, "no memory for a list of %zu segments", room);
		u->ids = ids;
		u->room = room;
	}
	u->ids[u->count++] = id;
	return OK;
}

/* Adds the stream's line when its number is not known yet. */
static enum err
stream_add(struct rebuild *r, const struct segment *s)
{
	struct stream_row row, other;
	struct catalogue *c = archive_catalogue(r->archive);
	TRY(catalogue_begin(c));
	enum err e = catalogue_stream(c, segment_name_of(s)->stream, &row);
	if (e == ERR_ABSENT && catalogue_stream_named(c, segment_stream_name(s), &other) == OK)
		e = fail(ERR_FORMAT, "stream \"%s\" has number %u elsewhere and %u here", segment_stream_name(s), other.id,
		         segment_name_of(s)->stream);
	catalogue_end(c);
	if (e != ERR_ABSENT)
		return e;
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	row = (struct stream_row){ .id = segment_name_of(s)->stream, .created_ns = (uint64_t)now.tv_sec * 1000000000u };
	if (row.id == 0 || row.id > STREAMS_MAX)
		return fail(ERR_FORMAT, "stream number %u", row.id);
	snprintf(row.name, sizeof row.name, "%s", segment_stream_name(s));
	return manifest_add(archive_manifest(r->archive), ROW_KIND_STREAM, &row);
}

static enum err
adopt_opened(struct rebuild *r, const struct segment *s)
{
	struct manifest *m = archive_manifest(r->archive);
	struct manifest_scan scan;
	struct state_row state;
	uint64_t end;
	struct segment_row row = recovery_row(segment_name_of(s), segment_totals_of(s));
	enum err e = stream_add(r, s);
	if (e == OK)
		e = manifest_add(m, ROW_KIND_SEGMENT, &row);
	if (e != OK) {
		manifest_discard(m);
		return e;
	}
	TRY(manifest_commit(m, &end, &scan.sequence));
	TRY(catalogue_begin(archive_catalogue(r->archive)));
	e = catalogue_state(archive_catalogue(r->archive), &state);
	catalogue_end(archive_catalogue(r->archive));
	if (e == OK)
		e = manifest_scan(m, state.applied_bytes, state.sequence, &scan);
	if (e == OK)
		e = recovery_replay(archive_catalogue(r->archive), m, &scan);
	if (e == OK) {
		r->report->adopted++;
		say(r, "segment %016" PRIx64 ": taken up again (%" PRIu64 " records of stream \"%s\"); if its import was "
		    "interrupted, going on with it may repeat these", row.id, row.records, segment_stream_name(s));
	}
	return e;
}

static enum err
adopt(struct rebuild *r, uint64_t id)
{
	struct segment_name name;
	uint8_t key[SEGMENT_KEY_BYTES];
	char path[PATH_BYTES], aside[PATH_BYTES];
	struct segment *s = NULL;
	TRY(archive_segment_path(r->archive, id, path));
	enum err e = segment_read_name(path, &name);
	if (e == OK && name.id != id)
		e = fail(ERR_FORMAT, "%s: is segment %016" PRIx64, path, name.id);
	if (e == OK)
		e = keystore_get(archive_keystore(r->archive), name.key_slot, id, key);
	if (e == ERR_ABSENT) /* removed: the key went first */
		return io_unlink(path);
	if (e == OK)
		e = segment_open(&s, path, key);
	sodium_memzero(key, sizeof key);
	if (e == OK)
		e = adopt_opened(r, s);
	segment_close(&s);
	if (e != ERR_FORMAT && e != ERR_DENIED && e != ERR_UNSUPPORTED)
		return e;
	say(r, "unknown and unreadable, renamed to NAME.damaged: %s", err_text());
	if (snprintf(aside, sizeof aside, "%s.damaged", path) >= (int)sizeof aside)
		return fail(ERR_LIMIT, "%s: path too long", path);
	r->report->unreadable++;
	return io_rename(path, aside);
}

static enum err
adopt_all(struct rebuild *r)
{
	struct unknown u = { .rebuild = r };
	TRY(catalogue_begin(archive_catalogue(r->archive)));
	enum err e = recovery_files(r->archive, unknown_collect, &u);
	catalogue_end(archive_catalogue(r->archive));
	if (u.count > STORE_OPEN_SEGMENTS_MAX)
		r->adopt = true; /* more than a killed writer leaves: the manifest is an older copy */
	for (size_t i = 0; e == OK && r->adopt && i < u.count; i++)
		e = adopt(r, u.ids[i]);
	free(u.ids);
	return e;
}

/* --- all of it --- */

static enum err
exchange(struct rebuild *r)
{
	const char *dir = archive_path(r->archive);
	char fresh[PATH_BYTES], place[PATH_BYTES], old[PATH_BYTES];
	TRY(io_path(fresh, dir, NEW_INDEX));
	TRY(io_path(place, dir, "index"));
	TRY(io_path(old, dir, "index.old"));
	TRY(remove_file(fresh, "lock.mdb"));
	TRY(io_sync_dir(fresh));
	if (r->report->manifest_renewed) {
		char from[PATH_BYTES], to[PATH_BYTES];
		TRY(io_path(from, dir, NEW_MANIFEST));
		TRY(io_path(to, dir, "manifest"));
		TRY(io_rename(from, to));
	}
	if (renameat2(AT_FDCWD, fresh, AT_FDCWD, place, RENAME_EXCHANGE) < 0) {
		/* no old one, or a file system that can not exchange: then for a moment there is none */
		TRY(remove_index(dir, "index.old"));
		enum err e = io_rename(place, old);
		if (e != OK && e != ERR_ABSENT)
			return e;
		TRY(io_rename(fresh, place));
	}
	TRY(io_sync_dir(dir));
	TRY(remove_index(dir, NEW_INDEX)); /* now the old one */
	return remove_index(dir, "index.old");
}

static enum err
build(struct rebuild *r)
{
	struct manifest *m = NULL;
	struct catalogue *c = NULL;
	struct manifest_scan scan = { 0 };
	struct recovery_report recovered = { 0 };
	enum err e = manifest_prepare(r, &m, &scan);
	if (e == OK)
		tickets_tell(r);
	if (e == OK)
		e = index_prepare(r, m);
	if (e == OK)
		e = archive_open_catalogue(r->archive, NEW_INDEX, &c);
	if (e != OK) {
		manifest_close(&m);
		return e;
	}
	archive_set_parts(r->archive, c, m);
	e = recovery_replay(c, m, &scan);
	if (e == OK)
		e = adopt_all(r);
	if (e == OK)
		e = recovery_settle(r->archive, true, see_loss, r, &recovered);
	if (e == OK)
		e = recovery_landings(r->archive, true, see_loss, r, &recovered);
	r->report->landed = recovered.landed;
	r->report->lost_landings = recovered.lost_landings;
	archive_set_parts(r->archive, NULL, NULL);
	return e == OK ? exchange(r) : e;
}

/* Opens it as every writer does, which clears up what is left over, and counts. */
static enum err
finish(const char *dir, const char *key_path, struct rebuild_report *report)
{
	struct archive *a = NULL;
	struct segment_row row = { .id = 0 };
	TRY(archive_open(&a, dir, key_path, ARCHIVE_WRITE));
	struct catalogue *c = archive_catalogue(a);
	enum err e = catalogue_begin(c);
	while (e == OK && (e = catalogue_next_segment(c, &row)) == OK) {
		bool lost = row.state == SEGMENT_LOST;
		*(lost ? &report->lost_segments : &report->segments) += 1;
		*(lost ? &report->lost_records : &report->records) += row.records;
	}
	archive_close(&a);
	return e == END ? OK : e;
}

/* A rebuild that failed leaves nothing of its own: LMDB and the new manifest are made from what is still there. Returns e,
 * with its sentence. */
static enum err
discard(const char *dir, enum err e)
{
	char sentence[ERR_TEXT_BYTES];
	snprintf(sentence, sizeof sentence, "%s", err_text());
	enum err ignored = remove_index(dir, NEW_INDEX);
	if (ignored == OK)
		ignored = remove_file(dir, NEW_MANIFEST);
	(void)ignored;
	return fail(e, "%s", sentence);
}

/* Whether all that waits in landing files can be read, as far as the index knows; true also when that can not be told. */
static bool
landings_whole(const char *dir, const char *key_path)
{
	struct archive *a = NULL;
	struct landing *l = NULL;
	struct landing_row file = { 0 };
	struct landed_row row = { 0 };
	struct landing_entry entry;
	bool whole = true;
	if (archive_open(&a, dir, key_path, ARCHIVE_READ) != OK)
		return true;
	struct catalogue *c = archive_catalogue(a);
	bool begun = catalogue_begin(c) == OK;
	while (begun && whole && catalogue_next_landed(c, &row) == OK) {
		if (file.id != row.landing) {
			landing_close(&l);
			whole = catalogue_landing(c, row.landing, &file) == OK && archive_open_landing(a, &file, &l) == OK;
		}
		whole = whole && landing_read(l, row.at, &entry) == OK;
	}
	sodium_memzero(&entry, sizeof entry);
	catalogue_end(c);
	landing_close(&l);
	archive_close(&a);
	return whole;
}

/* What an index that is still there knows of parcels that can not be read any more would be forgotten in a new one: merging
 * makes gaps of them, which the manifest keeps. When that does not go, the rebuild goes on without. */
static void
note_lost_parcels(struct rebuild *r, const char *dir, const char *key_path)
{
	struct store *s = NULL;
	bool more = true;
	if (landings_whole(dir, key_path))
		return;
	enum err e = store_open(&s, dir, key_path);
	while (e == OK && more)
		e = reception_tend(s, NULL, 0, true, &more);
	store_close(&s);
	say(r, "lost: parcels of monitors that waited in landing files%s%s", e == OK ? ": the gaps are noted" : ": ",
	    e == OK ? "" : err_text());
}

enum err
rebuild_run(const char *dir, const char *key_path, void (*see)(void *arg, const char *sentence), void *arg,
            struct rebuild_report *report)
{
	struct rebuild_report fresh = { 0 };
	struct rebuild r = { .see = see, .see_arg = arg, .report = &fresh };
	note_lost_parcels(&r, dir, key_path);
	TRY(archive_open(&r.archive, dir, key_path, ARCHIVE_BARE));
	enum err e = build(&r);
	if (e != OK)
		e = discard(dir, e);
	archive_close(&r.archive);
	if (e == OK)
		e = finish(dir, key_path, &fresh);
	if (e == OK)
		*report = fresh;
	return e;
}
