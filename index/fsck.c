#include "index/fsck.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/block_read.h"
#include "base/io.h"
#include "base/limits.h"
#include "index/archive_dir.h"
#include "index/rebuild.h"
#include "index/reception_inside.h"
#include "index/recovery.h"

/* What the manifest amounts to, to compare with: in the archive, or, when that is read-only, in a temporary folder. */
#define SHADOW_INDEX "index.check"

struct fsck {
	const struct fsck_options *options;
	struct fsck_report        *report;
	struct archive            *archive;
	struct block_decoder      *decoder;
	struct block_examiner     *examiner;
	uint64_t                   repairable; /* faults that a rebuild mends */
	uint64_t                   done_bytes, all_bytes;
	char                       shadow[PATH_BYTES];
};

static void __attribute__((format(printf, 2, 3)))
fault(struct fsck *f, const char *format, ...)
{
	char sentence[ERR_TEXT_BYTES];
	va_list args;
	va_start(args, format);
	vsnprintf(sentence, sizeof sentence, format, args);
	va_end(args);
	f->report->faults++;
	if (f->options->see)
		f->options->see(f->options->arg, sentence);
}

/* A fault that a rebuild mends. */
static void
fault_mendable(void *arg, const char *sentence)
{
	struct fsck *f = arg;
	f->repairable++;
	fault(f, "%s", sentence);
}

#define FAULT_MENDABLE(f, ...) ((f)->repairable++, fault(f, __VA_ARGS__))

/* Errors that say something of the archive, not of this machine. */
static bool
is_fault(enum err e)
{
	return e == ERR_FORMAT || e == ERR_ABSENT || e == ERR_DENIED || e == ERR_UNSUPPORTED || e == ERR_LIMIT;
}

/* --- blocks --- */

static void
progress(struct fsck *f, uint64_t bytes)
{
	f->done_bytes += bytes;
	if (f->options->progress)
		f->options->progress(f->options->arg, f->done_bytes, f->all_bytes);
}

static enum err
check_blocks(struct fsck *f, struct segment *s)
{
	const struct block_info *blocks = segment_blocks(s);
	for (uint32_t i = 0; i < segment_totals_of(s)->blocks; i++) {
		enum err e = f->options->quick ? OK : segment_check_block(s, i, f->decoder);
		if (is_fault(e)) {
			fault(f, "%s (%u records lost)", err_text(), blocks[i].records);
			f->report->lost_blocks++;
			f->report->lost_records += blocks[i].records;
		} else if (e != OK) {
			return e;
		}
		f->report->blocks++;
		progress(f, blocks[i].stored_bytes);
	}
	f->report->records += segment_totals_of(s)->records;
	return OK;
}

/* The tables against the records, when both are whole. */
static enum err
check_terms(struct fsck *f, struct segment *s)
{
	enum err e = f->options->quick ? OK : segment_check_terms(s, f->examiner);
	if (is_fault(e))
		fault(f, "%s", err_text());
	return is_fault(e) ? OK : e;
}

/* --- segments --- */

static bool
totals_agree(const struct segment_row *row, const struct segment *s)
{
	struct segment_row want = recovery_row(segment_name_of(s), segment_totals_of(s));
	want.hidden_until_ns = row->hidden_until_ns;
	return row_equal(ROW_KIND_SEGMENT, &want, row);
}

static enum err
check_filter(struct fsck *f, const struct segment_row *row, struct segment *s)
{
	struct catalogue *c = archive_catalogue(f->archive);
	uint8_t *want = NULL;
	const uint8_t *have;
	size_t want_bytes, have_bytes;
	enum err e = recovery_filter(f->archive, s, &want, &want_bytes);
	if (is_fault(e)) {
		fault(f, "%s", err_text());
		return OK;
	}
	if (e == OK)
		e = catalogue_begin(c);
	if (e == OK) {
		e = catalogue_filter(c, row->id, &have, &have_bytes);
		if (e == OK && (have_bytes != want_bytes || memcmp(have, want, want_bytes) != 0))
			FAULT_MENDABLE(f, "segment %016" PRIx64 ": its filter in the index is not the segment's", row->id);
		catalogue_end(c);
	}
	free(want);
	return is_fault(e) ? OK : e; /* a missing one was told by catalogue_check() */
}

/* The next row and its stream, in a snapshot as short as that: a long one would keep LMDB from using pages again. */
static enum err
next_row(struct fsck *f, struct segment_row *row, struct stream_row *stream)
{
	struct catalogue *c = archive_catalogue(f->archive);
	TRY(catalogue_begin(c));
	enum err e = catalogue_next_segment(c, row);
	if (e == OK && catalogue_stream(c, row->stream, stream) != OK)
		stream->name[0] = 0; /* catalogue_check() told */
	catalogue_end(c);
	return e;
}

/* Whether another process has removed it since its row was read. */
static bool
removed_since(struct fsck *f, const struct segment_row *row)
{
	struct catalogue *c = archive_catalogue(f->archive);
	struct segment_row now;
	char kept[ERR_TEXT_BYTES];
	snprintf(kept, sizeof kept, "%s", err_text());
	enum err e = catalogue_begin(c);
	if (e == OK) {
		e = catalogue_segment(c, row->id, &now);
		catalogue_end(c);
	}
	bool removed = e == ERR_ABSENT || (e == OK && now.state == SEGMENT_DELETING);
	(void)fail(ERR_ABSENT, "%s", kept);
	return removed;
}

/* All of a segment but its blocks. A repair leaves what is damaged here as it is: segment files are never changed. */
static enum err
check_index(struct fsck *f, struct segment *s)
{
	const char *seen = segment_fault(s);
	if (seen[0])
		fault(f, "%s", seen);
	enum err e = segment_check_index(s);
	if (is_fault(e) && strcmp(err_text(), seen) != 0)
		fault(f, "%s", err_text());
	return e;
}

static enum err
check_opened(struct fsck *f, const struct segment_row *row, const struct stream_row *stream, struct segment *s)
{
	f->report->segments++;
	enum err index = check_index(f, s);
	if (index != OK && !is_fault(index))
		return index;
	if (row->state == SEGMENT_LOST)
		FAULT_MENDABLE(f, "segment %016" PRIx64 ": marked as lost, but it opens", row->id);
	else if (!totals_agree(row, s))
		FAULT_MENDABLE(f, "segment %016" PRIx64 ": its totals in the index are not those of the file", row->id);
	else if (index == OK)
		TRY(check_filter(f, row, s));
	if (stream->name[0] && strcmp(stream->name, segment_stream_name(s)) != 0)
		fault(f, "segment %016" PRIx64 ": is of stream \"%s\", the index says \"%s\"", row->id, segment_stream_name(s),
		      stream->name);
	uint64_t lost = f->report->lost_blocks;
	TRY(check_blocks(f, s));
	return index == OK && f->report->lost_blocks == lost ? check_terms(f, s) : OK;
}

static enum err
check_segment(struct fsck *f, const struct segment_row *row, const struct stream_row *stream)
{
	struct segment *s = NULL;
	if (row->state == SEGMENT_DELETING) /* in progress, beside a writer */
		return OK;
	enum err e = archive_open_segment(f->archive, row, &s);
	if (e == OK) {
		e = check_opened(f, row, stream, s);
		segment_close(&s);
		return e;
	}
	if (!is_fault(e) || (e == ERR_ABSENT && removed_since(f, row)))
		return is_fault(e) ? OK : e;
	fault(f, "segment %016" PRIx64 " (%" PRIu64 " records lost): %s", row->id, row->records, err_text());
	f->repairable += row->state != SEGMENT_LOST; /* then it is known */
	f->report->lost_segments++;
	f->report->lost_records += row->records;
	return OK;
}

static enum err
check_segments(struct fsck *f)
{
	struct catalogue *c = archive_catalogue(f->archive);
	struct segment_row row = { .id = 0 };
	struct stream_row stream = { .id = 0 };
	struct catalogue_totals totals;
	TRY(catalogue_begin(c));
	enum err e = catalogue_sum(c, 0, &totals);
	catalogue_end(c);
	if (e != OK)
		return e;
	f->all_bytes = totals.file_bytes - totals.footer_bytes;
	while ((e = next_row(f, &row, &stream)) == OK)
		TRY(check_segment(f, &row, &stream));
	return e == END ? OK : e;
}

/* --- landing files --- */

struct waiting { /* a parcel that waits, and its file, opened once for all that follow each other in it */
	struct landed_row  row;
	struct landing_row file;
	struct landing    *landing;
};

static enum err
next_waiting(struct fsck *f, struct waiting *w)
{
	struct catalogue *c = archive_catalogue(f->archive);
	uint64_t before = w->file.id;
	TRY(catalogue_begin(c));
	enum err e = catalogue_next_landed(c, &w->row);
	if (e == OK && catalogue_landing(c, w->row.landing, &w->file) != OK)
		w->file = (struct landing_row){ .id = w->row.landing }; /* catalogue_check() told */
	catalogue_end(c);
	if (e != OK || before != w->file.id || (w->landing && w->row.at >= landing_bytes(w->landing)))
		landing_close(&w->landing);
	return e;
}

/* Whether it was merged since its row was read. */
static bool
merged_since(struct fsck *f, const struct landed_row *row)
{
	struct catalogue *c = archive_catalogue(f->archive);
	struct feed_row feed;
	char kept[ERR_TEXT_BYTES];
	snprintf(kept, sizeof kept, "%s", err_text());
	bool merged = catalogue_begin(c) == OK && catalogue_feed(c, row->stream, false, &feed) == OK &&
	              (feed.merged_epoch > row->epoch || (feed.merged_epoch == row->epoch && feed.merged >= row->sequence));
	catalogue_end(c);
	(void)fail(ERR_ABSENT, "%s", kept);
	return merged;
}

static enum err
check_record(struct fsck *f, struct waiting *w)
{
	struct landing_entry entry;
	struct segment *s = NULL;
	if (!w->landing)
		TRY(archive_open_landing(f->archive, &w->file, &w->landing));
	enum err e = landing_read(w->landing, w->row.at, &entry);
	if (e != OK)
		return e == END ? fail(ERR_FORMAT, "%s: cut short at byte %" PRIu64, landing_path(w->landing), w->row.at) : e;
	struct landed_row want = landed_row_of(w->row.landing, &entry.parcel, &entry);
	struct block_info info = landing_block_info(&entry);
	struct landed_block block = { &info, entry.key, landing_fd(w->landing), landing_path(w->landing) };
	if (!row_equal(ROW_KIND_LANDED, &want, &w->row))
		e = fail(ERR_FORMAT, "%s: another parcel at byte %" PRIu64 " than the index knows", landing_path(w->landing),
		         w->row.at);
	if (e == OK && w->row.block_bytes && !f->options->quick) {
		e = segment_of_landed(&s, w->row.stream, &block, 1);
		if (e == OK)
			e = segment_check_block(s, 0, f->decoder);
		segment_close(&s);
	}
	sodium_memzero(entry.key, sizeof entry.key);
	return e;
}

/* What is damaged in them is mended by merging what waits, which makes gaps of it. */
static enum err
check_landings(struct fsck *f)
{
	struct waiting w = { 0 };
	enum err e;
	while ((e = next_waiting(f, &w)) == OK) {
		e = check_record(f, &w);
		f->report->landed++;
		progress(f, w.row.block_bytes);
		if (e == OK)
			continue;
		if (!is_fault(e))
			break;
		if (merged_since(f, &w.row))
			continue;
		FAULT_MENDABLE(f, "%s (%u records lost that were not merged yet; a repair notes the gap)", err_text(),
		               w.row.records);
		f->report->lost_records += w.row.records;
	}
	landing_close(&w.landing);
	return e == END ? OK : e;
}

/* --- the index against the manifest --- */

/* Equal but for what is the catalogue's own: lost segments. */
static bool
segments_agree(const struct segment_row *a, const struct segment_row *b)
{
	struct segment_row x = *a, y = *b;
	x.state = y.state = SEGMENT_LIVE;
	return row_equal(ROW_KIND_SEGMENT, &x, &y);
}

#define AGREE_LOOP(noun, begin_a, begin_b, next_a, next_b, equal, what)                                    \
	do {                                                                                               \
		struct noun##_row a = begin_a, b = begin_b;                                                \
		for (;;) {                                                                                 \
			enum err ea = next_a, eb = next_b;                                                 \
			if (ea == END && eb == END)                                                        \
				break;                                                                     \
			if ((ea != OK && ea != END) || (eb != OK && eb != END))                            \
				return ea != OK && ea != END ? ea : eb;                                    \
			if (ea != eb || !(equal)) {                                                        \
				fault_mendable(f, "the index's " what " are not those of the manifest");   \
				break;                                                                     \
			}                                                                                  \
		}                                                                                          \
	} while (0)

/* The next segment that is not dropped. */
static enum err
next_kept(struct catalogue *c, struct segment_row *row)
{
	enum err e;
	do
		e = catalogue_next_segment(c, row);
	while (e == OK && row->state == SEGMENT_DELETING);
	return e;
}

static enum err
compare(struct fsck *f, struct catalogue *have, struct catalogue *want)
{
	bool first_a = true, first_b = true;
	uint64_t line_a = 0, line_b = 0;
	AGREE_LOOP(stream, { 0 }, { 0 }, catalogue_next_stream(have, &a), catalogue_next_stream(want, &b),
	           row_equal(ROW_KIND_STREAM, &a, &b), "streams");
	AGREE_LOOP(segment, { 0 }, { 0 }, next_kept(have, &a), next_kept(want, &b), segments_agree(&a, &b), "segments");
	AGREE_LOOP(import, { 0 }, { 0 }, catalogue_next_import(have, first_a, &a), catalogue_next_import(want, first_b, &b),
	           (first_a = first_b = false, row_equal(ROW_KIND_IMPORT, &a, &b)), "imports");
	AGREE_LOOP(monitor, { 0 }, { 0 }, catalogue_next_monitor(have, &a), catalogue_next_monitor(want, &b),
	           row_equal(ROW_KIND_MONITOR, &a, &b), "monitors");
	AGREE_LOOP(feed, { 0 }, { 0 }, catalogue_next_feed(have, true, &a), catalogue_next_feed(want, true, &b),
	           row_equal(ROW_KIND_FEED, &a, &b), "feeds");
	AGREE_LOOP(gap, { 0 }, { 0 }, catalogue_next_merged_gap(have, &a), catalogue_next_merged_gap(want, &b),
	           row_equal(ROW_KIND_GAP, &a, &b), "gaps");
	AGREE_LOOP(removal, { 0 }, { 0 }, catalogue_next_removal(have, &line_a, &a),
	           catalogue_next_removal(want, &line_b, &b), line_a == line_b && row_equal(ROW_KIND_REMOVAL, &a, &b), "removals");
	return OK;
}

static enum err
shadow_remove(const char *folder)
{
	static const char *const names[] = { "data.mdb", "lock.mdb", "." };
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char path[PATH_BYTES];
		TRY(io_path(path, folder, "%s", names[i]));
		if (names[i][0] == '.')
			snprintf(path, sizeof path, "%s", folder);
		if (remove(path) < 0 && errno != ENOENT)
			return fail_errno("%s: remove", path);
	}
	return OK;
}

/* A new folder for it. */
static enum err
shadow_folder(struct fsck *f)
{
	if (!f->report->read_only) {
		TRY(io_path(f->shadow, archive_path(f->archive), SHADOW_INDEX));
		TRY(shadow_remove(f->shadow)); /* of an fsck that was killed */
		return io_mkdir(f->shadow, 0700);
	}
	const char *temp = getenv("TMPDIR");
	TRY(io_path(f->shadow, temp && *temp ? temp : "/tmp", "atoll-fsck.XXXXXX"));
	if (mkdtemp(f->shadow) == NULL)
		return fail_errno("%s: a read-only archive is checked with a temporary index: name a folder for it with TMPDIR",
		                  f->shadow);
	return OK;
}

static enum err
shadow_make(struct fsck *f, const struct manifest_scan *scan, struct catalogue **shadow)
{
	struct manifest *m = archive_manifest(f->archive);
	uint8_t key[CATALOGUE_KEY_BYTES];
	struct state_row state = { .version = CATALOGUE_VERSION, .applied_bytes = manifest_start(m) };
	keystore_derive(archive_keystore(f->archive), ARCHIVE_CATALOGUE_LABEL, key);
	enum err e = catalogue_create(f->shadow, key, &state);
	if (e == OK)
		e = catalogue_open(shadow, f->shadow, key, true, 0);
	sodium_memzero(key, sizeof key);
	return e == OK ? recovery_replay(*shadow, m, scan) : e;
}

static enum err
check_manifest(struct fsck *f)
{
	struct manifest *m = archive_manifest(f->archive);
	struct manifest_scan scan;
	struct state_row state;
	TRY(catalogue_state(archive_catalogue(f->archive), &state));
	TRY(manifest_scan(m, manifest_start(m), 0, &scan));
	if (scan.good_end < state.applied_bytes && scan.damaged_lines++ == 0)
		scan.damage_at = scan.good_end;
	if (scan.damaged_lines) {
		FAULT_MENDABLE(f, "manifest: %" PRIu64 " damaged or missing lines, the first at byte %" PRIu64, scan.damaged_lines,
		               scan.damage_at);
	}
	if (scan.damaged_lines || f->report->beside_writer)
		return OK;
	if (state.applied_bytes < scan.good_end || scan.torn) /* only in a read-only archive: a writer would have finished it */
		f->report->unfinished = true;
	if (state.applied_bytes < scan.good_end)
		return OK;
	struct catalogue *shadow = NULL;
	TRY(shadow_folder(f));
	enum err e = shadow_make(f, &scan, &shadow);
	if (e == OK)
		e = catalogue_begin(shadow);
	if (e == OK) {
		e = compare(f, archive_catalogue(f->archive), shadow);
		catalogue_end(shadow);
	}
	catalogue_close(&shadow);
	enum err removed = shadow_remove(f->shadow);
	return e == OK ? removed : e;
}

/* --- files and keys --- */

static enum err
check_landing_files(struct fsck *f)
{
	char folder[PATH_BYTES];
	TRY(archive_landing_folder(f->archive, folder));
	DIR *d = opendir(folder);
	if (d == NULL)
		return errno == ENOENT ? OK : fail_errno("%s", folder);
	for (struct dirent *entry; (entry = readdir(d));) {
		const char *name = entry->d_name;
		size_t n = strlen(name);
		uint64_t id;
		struct landing_row row;
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || (n > 8 && strcmp(name + n - 8, ".damaged") == 0))
			continue;
		if (!archive_landing_id(name, &id))
			fault(f, "%s/%s: not a landing file's name", folder, name);
		else if (!f->report->beside_writer && !f->report->read_only &&
		         catalogue_landing(archive_catalogue(f->archive), id, &row) != OK)
			FAULT_MENDABLE(f, "%s/%s: the index does not know this landing file", folder, name);
	}
	closedir(d);
	return OK;
}

static enum err
check_files(struct fsck *f)
{
	char folder[PATH_BYTES], key[PATH_BYTES];
	struct stat st;
	TRY(archive_segments_folder(f->archive, folder));
	DIR *d = opendir(folder);
	if (d == NULL)
		return fail_errno("%s", folder);
	for (struct dirent *entry; (entry = readdir(d));) {
		uint64_t id;
		bool temp;
		struct segment_row row;
		const char *name = entry->d_name;
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		size_t n = strlen(name);
		if (n > 8 && strcmp(name + n - 8, ".damaged") == 0)
			continue; /* put aside by a repair, and told then */
		if (!archive_segment_id(name, &id, &temp))
			fault(f, "%s/%s: not a segment's name", folder, name);
		else if (!f->report->beside_writer && !f->report->read_only && /* there a killed writer's may still lie */
		         (temp || catalogue_segment(archive_catalogue(f->archive), id, &row) != OK))
			FAULT_MENDABLE(f, "%s/%s: the index does not know this segment", folder, name);
	}
	closedir(d);
	TRY(check_landing_files(f));
	TRY(io_path(key, archive_path(f->archive), "owner.key"));
	if (stat(key, &st) == 0 && (st.st_mode & 077))
		fault(f, "%s: others may read it (mode %04o): chmod 600", key, (unsigned)st.st_mode & 07777);
	return OK;
}

/* Everything but the segments: quick, and what the writer's lock is held for. */
static enum err
look_index(struct fsck *f)
{
	struct catalogue *c = archive_catalogue(f->archive);
	TRY(catalogue_begin(c));
	enum err e = catalogue_check(c, fault_mendable, f);
	if (e == OK)
		e = check_manifest(f);
	if (e == OK)
		e = check_files(f);
	catalogue_end(c);
	return e;
}

/* --- without an index --- */

static enum err
bare_file(void *arg, uint64_t id, bool temp)
{
	struct fsck *f = arg;
	struct segment_name name;
	struct segment *s = NULL;
	uint8_t key[SEGMENT_KEY_BYTES];
	char path[PATH_BYTES];
	if (temp)
		return OK;
	TRY(archive_segment_path(f->archive, id, path));
	enum err e = segment_read_name(path, &name);
	if (e == OK)
		e = keystore_get(archive_keystore(f->archive), name.key_slot, name.id, key);
	if (e == ERR_ABSENT) /* removed */
		return OK;
	if (e == OK)
		e = segment_open(&s, path, key);
	sodium_memzero(key, sizeof key);
	if (e == OK) {
		f->report->segments++;
		e = check_index(f, s);
		e = e == OK || is_fault(e) ? check_blocks(f, s) : e;
	}
	segment_close(&s);
	if (!is_fault(e))
		return e;
	fault(f, "%s", err_text());
	f->report->lost_segments++;
	return OK;
}

/* Each segment file for itself: the index or the manifest can not be opened. */
static enum err
look_bare(struct fsck *f, const char *dir, const char *key_path)
{
	fault_mendable(f, err_text());
	TRY(archive_open(&f->archive, dir, key_path, f->report->read_only ? ARCHIVE_BARE_READ : ARCHIVE_BARE));
	return recovery_files(f->archive, bare_file, f);
}

/* With no writer beside it where that can be had. */
static enum err
open_alone(struct fsck *f, const char *dir, const char *key_path)
{
	enum err e;
	f->report->read_only = !f->options->repair && archive_is_read_only(dir);
	if (!f->report->read_only) {
		e = archive_open(&f->archive, dir, key_path, ARCHIVE_WRITE);
		f->report->beside_writer = e == ERR_BUSY;
		return e == ERR_BUSY ? archive_open(&f->archive, dir, key_path, ARCHIVE_READ) : e;
	}
	TRY(archive_open(&f->archive, dir, key_path, ARCHIVE_READ));
	e = keystore_hold(archive_keystore(f->archive));
	f->report->beside_writer = e == ERR_BUSY;
	return e == ERR_BUSY ? OK : e;
}

static enum err
look_once(struct fsck *f, const char *dir, const char *key_path)
{
	enum err e = open_alone(f, dir, key_path);
	if (e == OK) {
		e = look_index(f);
		if (e == OK && !f->report->beside_writer && !f->report->read_only) { /* others may write while the blocks are read */
			archive_close(&f->archive);
			e = archive_open(&f->archive, dir, key_path, ARCHIVE_READ);
		}
		if (e == OK)
			e = check_segments(f);
		if (e == OK)
			e = check_landings(f);
	} else if (e == ERR_FORMAT || e == ERR_ABSENT) {
		/* the index, the manifest, or something that not even the bare parts open without: then that says so */
		e = look_bare(f, dir, key_path);
	}
	archive_close(&f->archive);
	return e;
}

enum err
fsck_run(const char *dir, const char *key_path, const struct fsck_options *options, struct fsck_report *report)
{
	struct fsck_report first = { 0 };
	struct fsck f = { .options = options, .report = &first };
	TRY(block_decoder_open(&f.decoder, NULL));
	enum err e = block_examiner_open(&f.examiner);
	if (e == OK)
		e = look_once(&f, dir, key_path);
	if (e == OK && options->repair && f.repairable) {
		struct rebuild_report rebuilt = { 0 };
		struct fsck_options silent = { .quick = true };
		struct fsck_report second = { 0 };
		struct fsck again = { .options = &silent, .report = &second, .decoder = f.decoder, .examiner = f.examiner };
		e = rebuild_run(dir, key_path, options->see, options->arg, &rebuilt);
		if (e == OK)
			e = look_once(&again, dir, key_path);
		if (e == OK) { /* what is still not right then, lost segments apart, was not mended */
			first.repaired = again.repairable < f.repairable ? f.repairable - again.repairable : 0;
			first.lost_segments = rebuilt.lost_segments;
			if (rebuilt.lost_records > first.lost_records)
				first.lost_records = rebuilt.lost_records;
		}
	}
	block_decoder_close(&f.decoder);
	block_examiner_close(&f.examiner);
	if (e == OK)
		*report = first;
	return e;
}
