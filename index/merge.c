/* Merging: from landing files into segments. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "archive/block_read.h"
#include "archive/reframe.h"
#include "index/reception_inside.h"
#include "index/recovery.h"

#define FILLINGS_MAX      (STORE_OPEN_SEGMENTS_MAX - 1u) /* one is left for who rewrites a segment */
#define FILLINGS_LIVE_MAX (FILLINGS_MAX - 2u)            /* filled as parcels land; the others are for what waits */
#define FILL_IDLE_NS      10000000000ull                 /* a segment that nothing came for in so long makes room for another */
#define GAP_JOIN_NS       60000000000ull
#define STEP_NS           30000000ull

struct merger {
	struct block_examiner *examiner;
	struct block_decoder  *decoder;
	struct block_encoder  *encoder;
	struct landing        *reading;
	uint64_t               reading_id;
};

static struct catalogue *catalogue_of(struct reception *r) { return archive_catalogue(store_archive(r->store)); }

void
merger_close(struct merger **m)
{
	if (!*m)
		return;
	block_examiner_close(&(*m)->examiner);
	block_decoder_close(&(*m)->decoder);
	block_encoder_close(&(*m)->encoder);
	landing_close(&(*m)->reading);
	free(*m);
	*m = NULL;
}

static enum err
merger_of(struct reception *r)
{
	if (r->merger)
		return OK;
	r->merger = calloc(1, sizeof *r->merger);
	if (!r->merger)
		return fail(ERR_NOMEM, "no memory for merging");
	enum err e = block_examiner_open(&r->merger->examiner);
	if (e == OK)
		e = block_decoder_open(&r->merger->decoder, NULL);
	if (e == OK)
		e = block_encoder_open(&r->merger->encoder);
	if (e != OK)
		merger_close(&r->merger);
	return e;
}

static uint64_t
monotonic_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- a segment being filled --- */

/* As of the last parcel that was put into a segment, committed or not. */
static const struct feed_row *
position(const struct feed *f)
{
	return f->filling ? &f->filling->state : f->ready ? &f->ready->state : &f->merged;
}

static bool
caught_up(const struct feed *f)
{
	return feed_reached(position(f), f->durable.epoch, f->durable.sequence);
}

static void
fill_free(struct reception *r, struct filling **out)
{
	struct filling *fill = *out;
	if (!fill)
		return;
	store_segment_abort(r->store, &fill->segment);
	frames_close(&fill->join);
	free(fill->gaps);
	free(fill);
	*out = NULL;
	r->fillings--;
}

void
merge_abort(struct reception *r, struct feed *f, bool all)
{
	bool both = all || (f->ready && !feed_reached(&f->durable, f->ready->state.epoch, f->ready->state.sequence));
	if (both || (f->filling && !feed_reached(&f->durable, f->filling->state.epoch, f->filling->state.sequence)))
		fill_free(r, &f->filling);
	if (both)
		fill_free(r, &f->ready);
}

/* Gives up the segment that nothing came for longest; false when there is none. */
static bool
evict_idle(struct reception *r, uint64_t now_ns)
{
	struct feed *idle = NULL;
	for (uint32_t i = 0; i < r->feed_count; i++) {
		struct feed *f = r->feeds[i];
		if (f->filling && !f->ready && now_ns > f->filling->used_ns && now_ns - f->filling->used_ns >= FILL_IDLE_NS &&
		    (!idle || f->filling->used_ns < idle->filling->used_ns))
			idle = f;
	}
	if (idle)
		merge_abort(r, idle, true);
	return idle != NULL;
}

/* ERR_BUSY: enough segments are open. */
static enum err
fill_begin(struct reception *r, struct feed *f, uint32_t most, uint64_t now_ns)
{
	TRY(merger_of(r));
	if (r->fillings >= most && !evict_idle(r, now_ns))
		return ERR_BUSY;
	struct filling *fill = calloc(1, sizeof *fill);
	if (!fill)
		return fail(ERR_NOMEM, "no memory for merging");
	fill->state = *position(f);
	fill->used_ns = now_ns;
	f->filling = fill;
	r->fillings++;
	return OK;
}

static bool
fill_is_full(const struct filling *fill)
{
	return fill->segment && segment_full(store_segment_writer(fill->segment));
}

static enum err
fill_segment(struct reception *r, struct filling *fill, struct segment_writer **w)
{
	if (!fill->segment)
		TRY(store_segment_begin(r->store, fill->state.stream, &fill->segment));
	*w = store_segment_writer(fill->segment);
	return OK;
}

static enum err
put_block(struct reception *r, struct filling *fill, const struct block *b, const struct parcel *p,
          const uint8_t key[BLOCK_KEY_BYTES])
{
	struct segment_writer *w;
	struct block stored = *b;
	stored.stored = p->block;
	stored.stored_bytes = stored.info.stored_bytes = p->block_bytes;
	TRY(fill_segment(r, fill, &w));
	return segment_append_hashed(w, &stored, key, p->hash);
}

/* The joined small blocks become a block. */
static enum err
join_flush(struct reception *r, struct filling *fill)
{
	struct segment_writer *w;
	struct block b;
	if (!fill->join || fill->join->count == 0)
		return OK;
	TRY(fill_segment(r, fill, &w));
	TRY(block_encode(r->merger->encoder, fill->join, false, &b));
	TRY(segment_seal(w, r->merger->encoder, &b));
	frames_reset(fill->join);
	return OK;
}

static bool
joins(const struct filling *fill, const struct landed_row *row)
{
	const struct frames *join = fill->join;
	if (row->block_bytes == 0 || block_is_full(row->records, row->captured_bytes))
		return false;
	return !join || join->count == 0 ||
	       (join->sampled == row->sampled && join->sampler == (enum sampler_kind)row->sampler &&
	        row->records <= BLOCK_RECORDS_MAX - join->count && row->captured_bytes <= join->room_bytes - join->used_bytes);
}

/* Losses of one cause that follow on each other within GAP_JOIN_NS become one: a monitor that samples tells of some in each
 * parcel. */
static enum err
note_gap(struct filling *fill, const struct gap_row *gap)
{
	TRY(gaps_room(&fill->gaps, &fill->gap_room, fill->gap_count + 1));
	for (uint32_t i = fill->gap_count; i-- > 0;) {
		struct gap_row *last = &fill->gaps[i];
		if (last->cause != gap->cause)
			continue;
		if (last->epoch != gap->epoch || gap->first_ns < last->first_ns ||
		    (gap->first_ns > last->last_ns && gap->first_ns - last->last_ns > GAP_JOIN_NS))
			break;
		last->sequence = gap->sequence;
		last->last_ns = gap->last_ns > last->last_ns ? gap->last_ns : last->last_ns;
		feed_sum(&last->records, gap->records);
		return OK;
	}
	fill->gaps[fill->gap_count++] = *gap;
	return OK;
}

/* What it tells of losses is in the catalogue: line_gaps(). */
static void
note_parcel(struct filling *fill, const struct parcel *p, uint32_t records, uint64_t last_ns, uint64_t arrived_ns)
{
	struct gap_row told[FEED_GAPS_MAX];
	(void)feed_apply(&fill->state, p, records, last_ns, arrived_ns, told);
	fill->parcels++;
}

/* --- as parcels land --- */

static enum err
put_landed(struct reception *r, struct feed *f, const struct arrival *a)
{
	const struct parcel *p = a->parcel;
	if (!a->block) {
		if (f->filling)
			note_parcel(f->filling, p, 0, 0, a->now_ns);
		return OK;
	}
	const struct block_info *info = &a->block->info;
	if (!block_is_full(info->records, info->captured_bytes))
		return OK;
	if (f->filling)
		TRY(join_flush(r, f->filling));
	if (f->filling && fill_is_full(f->filling)) {
		if (f->ready)
			return OK;
		f->ready = f->filling;
		f->filling = NULL;
	}
	if (!f->filling)
		TRY(fill_begin(r, f, FILLINGS_LIVE_MAX, a->now_ns));
	TRY(put_block(r, f->filling, a->block, p, a->key));
	f->filling->used_ns = a->now_ns;
	note_parcel(f->filling, p, info->records, info->last_ns, a->now_ns);
	return OK;
}

void
merge_landed(struct reception *r, struct feed *f, const struct feed_row *before, const struct arrival *a)
{
	const struct feed_row *at = position(f);
	if (at->epoch != before->epoch || at->sequence != before->sequence)
		return;
	enum err e = put_landed(r, f, a);
	if (e != OK && e != ERR_BUSY) /* a full disk, say: what was put so far is still in the landing file */
		merge_abort(r, f, true);
}

/* --- from landing files --- */

static bool
is_damage(enum err e)
{
	return e == ERR_ABSENT || e == ERR_FORMAT || e == ERR_DENIED || e == ERR_LIMIT || e == END;
}

/* An error that is not damage: index and system. */
static enum err
not_damage(enum err e)
{
	char kept[ERR_TEXT_BYTES];
	snprintf(kept, sizeof kept, "%s", err_text());
	return fail(is_damage(e) ? ERR_IO : e, "%s", kept);
}

static enum err
reading_open(struct reception *r, const struct landed_row *row)
{
	struct merger *m = r->merger;
	struct landing_row landing;
	char path[PATH_BYTES];
	if (m->reading && m->reading_id == row->landing && row->at < landing_bytes(m->reading))
		return OK;
	landing_close(&m->reading);
	TRY(catalogue_begin(catalogue_of(r)));
	enum err e = catalogue_landing(catalogue_of(r), row->landing, &landing);
	catalogue_end(catalogue_of(r));
	if (e != OK)
		return not_damage(e);
	TRY(archive_landing_path(store_archive(r->store), row->landing, path));
	e = archive_open_landing(store_archive(r->store), &landing, &m->reading);
	if (e != OK)
		return access(path, R_OK) < 0 && errno != ENOENT ? not_damage(e) : e; /* only its mode is wrong */
	m->reading_id = row->landing;
	return OK;
}

static enum err
read_parcel(struct reception *r, const struct landed_row *row, struct landing_entry *entry)
{
	TRY(reading_open(r, row));
	TRY(landing_read(r->merger->reading, row->at, entry));
	const struct parcel *p = &entry->parcel;
	if (entry->record.stream != row->stream || p->epoch != row->epoch || p->sequence != row->sequence ||
	    p->block_bytes != row->block_bytes)
		return fail(ERR_FORMAT, "%s: another parcel at byte %llu than the index knows", landing_path(r->merger->reading),
		            (unsigned long long)row->at);
	return OK;
}

/* *lost: what landed can not be read. */
static enum err
copy_block(struct reception *r, struct filling *fill, const struct landing_entry *entry, bool *lost)
{
	const struct parcel *p = &entry->parcel;
	struct block b;
	enum err e = block_examine(r->merger->examiner, p->block, p->block_bytes, entry->key, entry->record.captured_bytes,
	                           EXAMINE_INDEX, &b);
	*lost = is_damage(e);
	if (e != OK)
		return *lost ? OK : e;
	return put_block(r, fill, &b, p, entry->key);
}

/* *joined false: it does not let itself be joined. */
static enum err
join_block(struct reception *r, struct filling *fill, const struct landing_entry *entry, bool *joined)
{
	struct block_info info = landing_block_info(entry);
	struct stored_block stored = {
		.serial = block_serials(1),
		.info = &info,
		.key = entry->key,
		.fd = -1,
		.path = landing_path(r->merger->reading),
		.bytes = entry->parcel.block,
	};
	const struct batch *b;
	if (!fill->join)
		TRY(frames_open(&fill->join, BLOCK_BYTES_MAX));
	enum err e = block_load(r->merger->decoder, &stored, BATCH_ALL, &b, NULL);
	if (e == OK)
		e = reframe_add(fill->join, b, 0);
	*joined = e == OK;
	return is_damage(e) ? OK : e;
}

/* A block that does not let itself be joined (a frame can not be rebuilt, or is of another length than was claimed) is copied
 * as it is: what of it can be read, can be read there. *full: there was no room for that. */
static enum err
take_block(struct reception *r, struct filling *fill, const struct landed_row *row, const struct landing_entry *entry,
           bool *lost, bool *full)
{
	bool joined = false;
	if (joins(fill, row)) {
		TRY(join_block(r, fill, entry, &joined));
		if (joined)
			return OK;
		TRY(join_flush(r, fill));
		*full = fill_is_full(fill);
		if (*full)
			return OK;
	}
	return copy_block(r, fill, entry, lost);
}

/* A parcel that can not be read any more: it becomes a gap. */
static enum err
take_lost(struct filling *fill, const struct landed_row *row)
{
	struct gap_row lost;
	feed_apply_lost(&fill->state, row, &lost);
	fill->parcels++;
	return row->block_bytes ? note_gap(fill, &lost) : OK;
}

/* Puts the feed's next parcel into its segment. *full: there was no room. END: all are in. */
static enum err
take_next(struct reception *r, struct feed *f, bool *full)
{
	struct filling *fill = f->filling;
	const struct feed_row *at = &fill->state;
	struct landed_row row = { .stream = at->stream, .epoch = at->epoch, .sequence = at->sequence };
	struct landing_entry entry;
	*full = false;
	if (caught_up(f))
		return END;
	TRY(catalogue_begin(catalogue_of(r)));
	enum err e = catalogue_next_landed_of(catalogue_of(r), at->stream, &row);
	catalogue_end(catalogue_of(r));
	if (e != OK)
		return e == END ? fail(ERR_IO, "the index lost parcels that landed: run atoll rebuild") : e;
	if (!joins(fill, &row) && row.block_bytes)
		TRY(join_flush(r, fill));
	*full = fill_is_full(fill) || fill->parcels >= MERGE_BLOCKS_MAX;
	if (*full)
		return OK;
	bool lost = false;
	e = read_parcel(r, &row, &entry);
	if (is_damage(e))
		return take_lost(fill, &row);
	if (e == OK && row.block_bytes)
		e = take_block(r, fill, &row, &entry, &lost, full);
	if (e == OK && lost)
		e = take_lost(fill, &row);
	else if (e == OK && !*full)
		note_parcel(fill, &entry.parcel, row.records, row.last_ns, row.arrived_ns);
	sodium_memzero(entry.key, sizeof entry.key);
	return e;
}

/* --- commit --- */

/* The gaps that the line's parcels, and reports between them, told: each once, as the catalogue has them. */
static enum err
line_gaps(struct reception *r, const struct feed *f, struct filling *fill, struct feed_row *line)
{
	struct feed_row sums = f->merged;
	struct gap_row gap = { .stream = line->stream, .epoch = f->merged.epoch, .sequence = f->merged.sequence, .cause = UINT8_MAX };
	TRY(catalogue_begin(catalogue_of(r)));
	enum err e;
	while ((e = catalogue_next_gap(catalogue_of(r), &gap)) == OK && gap.stream == line->stream &&
	       feed_reached(line, gap.epoch, gap.sequence)) {
		feed_count_gap(&sums, &gap);
		e = note_gap(fill, &gap);
		if (e != OK)
			break;
	}
	catalogue_end(catalogue_of(r));
	feed_set_losses(line, &sums);
	return e == END ? OK : e;
}

static enum err
fill_lines(struct reception *r, const struct feed *f, struct filling *fill, struct change *c, struct feed_row *line)
{
	*line = fill->state;
	if (sodium_is_zero(line->chain, sizeof line->chain) && line->epoch == f->durable.epoch &&
	    line->sequence == f->durable.sequence) { /* the last one is damaged: what it said is known all the same */
		*line = f->durable;
		line->lost_archive = fill->state.lost_archive;
	}
	line->merged_epoch = line->epoch;
	line->merged = line->sequence;
	TRY(line_gaps(r, f, fill, line));
	TRY(CHANGE_ADD(c, FEED, line));
	for (uint32_t i = 0; i < fill->gap_count; i++)
		TRY(CHANGE_ADD(c, GAP, &fill->gaps[i]));
	return OK;
}

static void
feed_merged(struct feed *f, const struct feed_row *line)
{
	struct feed_row *rows[] = { &f->row, &f->durable };
	for (unsigned i = 0; i < 2; i++) {
		rows[i]->merged_epoch = line->merged_epoch;
		rows[i]->merged = line->merged;
		rows[i]->lost_archive = line->lost_archive;
	}
	f->merged = *line;
}

/* The feed's oldest segment being filled. On failure all of the feed's are given up: the parcels are in landing files. */
static enum err
fill_commit(struct reception *r, struct feed *f)
{
	struct change c = { 0 };
	struct feed_row line;
	if (r->landed_count)
		TRY(group_commit(r)); /* what is in the segment must have landed */
	struct filling **place = f->ready ? &f->ready : &f->filling;
	if (!*place)
		return OK;
	enum err e = join_flush(r, *place);
	if (e == OK)
		e = fill_lines(r, f, *place, &c, &line);
	if (e == OK && (*place)->segment)
		e = store_segment_commit_change(r->store, &(*place)->segment, &c);
	else if (e == OK)
		e = change_commit(r->store, &c);
	else
		free(c.v);
	if (e != OK) {
		char kept[ERR_TEXT_BYTES];
		snprintf(kept, sizeof kept, "%s", err_text());
		merge_abort(r, f, true);
		return fail(e, "%s", kept);
	}
	fill_free(r, place);
	feed_merged(f, &line);
	r->emptied = true;
	f->pressed = false;
	return feed_recount(r, f);
}

/* The same, once the disk has taken the segment's blocks, for which it waits piece by piece until the deadline (*more): the commit
 * itself has then little to wait for. */
static enum err
fill_settle(struct reception *r, struct feed *f, uint64_t deadline_ns, bool *more)
{
	const struct filling *fill = f->ready ? f->ready : f->filling;
	bool settled = !fill || !fill->segment;
	enum err e = OK;
	*more = true;
	while (e == OK && !settled && monotonic_ns() < deadline_ns)
		e = segment_settle(store_segment_writer(fill->segment), &settled);
	if (e == OK)
		return settled ? fill_commit(r, f) : OK;
	char kept[ERR_TEXT_BYTES];
	snprintf(kept, sizeof kept, "%s", err_text());
	if (e == ERR_IO)
		store_stop(r->store);
	merge_abort(r, f, true);
	return fail(e, "%s", kept);
}

/* --- steps --- */

static bool
is_old(const struct reception *r, const struct feed *f, uint64_t now_ns)
{
	return now_ns < f->oldest_ns || now_ns - f->oldest_ns >= r->merge_age_ns; /* before: the clock was set back */
}

static bool
wants_merging(const struct reception *r, const struct feed *f, uint64_t now_ns, bool force)
{
	return f->waiting > 0 &&
	       (force || f->pressed || f->full >= SEGMENT_BLOCKS_MAX || f->waiting >= MERGE_BLOCKS_MAX || is_old(r, f, now_ns) ||
	        (f->filling && (!caught_up(f) || fill_is_full(f->filling))));
}

/* Works on one feed until it is done, a segment is committed, or the time is over (*more). */
static enum err
merge_feed(struct reception *r, struct feed *f, uint64_t now_ns, bool force, uint64_t deadline_ns, bool *more)
{
	if (f->ready)
		return fill_settle(r, f, deadline_ns, more);
	if (!wants_merging(r, f, now_ns, force))
		return OK;
	if (!f->filling) {
		enum err e = fill_begin(r, f, FILLINGS_MAX, now_ns);
		*more = e == ERR_BUSY && force; /* forced, others' are committed first */
		if (e != OK)
			return e == ERR_BUSY ? OK : e;
	}
	enum err e;
	bool full = false;
	while ((e = take_next(r, f, &full)) == OK && !full)
		if (monotonic_ns() >= deadline_ns) {
			*more = true;
			return OK;
		}
	if (e != OK && e != END) {
		char kept[ERR_TEXT_BYTES];
		snprintf(kept, sizeof kept, "%s", err_text());
		merge_abort(r, f, true);
		return fail(e, "%s", kept);
	}
	full |= fill_is_full(f->filling);
	if (!full && !force && !f->pressed && f->waiting < MERGE_BLOCKS_MAX && !is_old(r, f, now_ns))
		return OK; /* it stays open for what lands next */
	return fill_settle(r, f, deadline_ns, more);
}

/* One landing file in which nothing waits. */
static enum err
destroy_one(struct reception *r, bool *more)
{
	struct landing_row row = { 0 };
	uint64_t current = r->landing ? landing_name_of(r->landing)->id : 0;
	enum err e = catalogue_begin(catalogue_of(r));
	if (e != OK)
		return e;
	do
		e = catalogue_next_landing(catalogue_of(r), &row);
	while (e == OK && (row.waiting > 0 || row.id == current));
	catalogue_end(catalogue_of(r));
	r->emptied = e == OK;
	*more = e == OK;
	if (e != OK)
		return e == END ? OK : e;
	if (r->merger && r->merger->reading_id == row.id)
		landing_close(&r->merger->reading);
	e = recovery_destroy_landing(store_archive(r->store), &row);
	if (e != OK && e != ERR_FULL)
		store_stop(r->store); /* the next writer goes on */
	return e;
}

enum err
merge_step(struct reception *r, uint64_t now_ns, bool force, bool *more)
{
	uint64_t deadline_ns = monotonic_ns() + STEP_NS;
	if (force)
		TRY(group_commit(r));
	for (uint32_t i = 0; i < r->feed_count; i++) {
		struct feed *f = r->feeds[(r->turn + i) % r->feed_count];
		bool goes_on = false;
		TRY(merge_feed(r, f, now_ns, force, deadline_ns, &goes_on));
		*more |= goes_on;
		if (goes_on && monotonic_ns() >= deadline_ns) {
			r->turn = (r->turn + i) % r->feed_count;
			return OK;
		}
	}
	if (!*more && r->emptied)
		return destroy_one(r, more);
	return OK;
}
