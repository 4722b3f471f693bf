/* Rows of what monitors send: landing files, the parcels that wait in them, feeds, gaps. */
#include <string.h>

#include "index/catalogue_inside.h"
#include "index/feed.h"

static struct key
key_landed(uint32_t stream, uint64_t epoch, uint64_t sequence)
{
	struct key k = key32(ROW_KIND_LANDED, stream);
	key_add64(&k, epoch);
	key_add64(&k, sequence);
	return k;
}

static struct key
key_gap(const struct gap_row *row)
{
	struct key k = key32(ROW_KIND_GAP, row->stream);
	key_add64(&k, row->epoch);
	key_add64(&k, row->sequence);
	k.bytes[k.n++] = row->cause;
	return k;
}

static struct key
key_feed(uint32_t stream, bool merged)
{
	return key32(merged ? TAG_MERGED : ROW_KIND_FEED, stream);
}

/* --- landing files --- */

enum err
catalogue_landing(struct catalogue *c, uint64_t id, struct landing_row *row)
{
	struct key k = key64(ROW_KIND_LANDING, id);
	enum err e = catalogue_row_get(c, ROW_KIND_LANDING, &k, row, sizeof *row);
	return e == ERR_ABSENT ? fail(e, "no landing file %016llx in the index", (unsigned long long)id) : e;
}

enum err
catalogue_next_landing(struct catalogue *c, struct landing_row *row)
{
	struct key k = key64(ROW_KIND_LANDING, row->id);
	return catalogue_row_find(c, ROW_KIND_LANDING, &k, true, row, sizeof *row);
}

enum err
catalogue_put_landing(struct catalogue *c, const struct landing_row *row)
{
	struct key k = key64(ROW_KIND_LANDING, row->id);
	return catalogue_row_put(c, ROW_KIND_LANDING, &k, row);
}

enum err
catalogue_forget_landing(struct catalogue *c, uint64_t id)
{
	struct key k = key64(ROW_KIND_LANDING, id);
	return kv_delete(c->kv, k.bytes, k.n);
}

/* --- what waits --- */

enum err
catalogue_next_landed(struct catalogue *c, struct landed_row *row)
{
	struct key k = key_landed(row->stream, row->epoch, row->sequence);
	return catalogue_row_find(c, ROW_KIND_LANDED, &k, true, row, sizeof *row);
}

enum err
catalogue_next_landed_of(struct catalogue *c, uint32_t stream, struct landed_row *row)
{
	struct landed_row next = *row;
	next.stream = stream;
	TRY(catalogue_next_landed(c, &next));
	if (next.stream != stream)
		return END;
	*row = next;
	return OK;
}

/* One more or one less that waits in its file. A file that is not known any more (a rebuild without it) is not counted. */
static enum err
landing_count(struct catalogue *c, uint64_t id, int change)
{
	struct landing_row row;
	enum err e = catalogue_landing(c, id, &row);
	if (e == ERR_ABSENT)
		return OK;
	if (e != OK)
		return e;
	if (change < 0 && row.waiting == 0)
		return catalogue_damaged("a landing file's count");
	row.waiting += (uint32_t)change;
	return catalogue_put_landing(c, &row);
}

enum err
catalogue_put_landed(struct catalogue *c, const struct landed_row *row)
{
	struct key k = key_landed(row->stream, row->epoch, row->sequence);
	TRY(landing_count(c, row->landing, 1));
	return catalogue_row_put(c, ROW_KIND_LANDED, &k, row);
}

/* Those of the stream up to this place: they are in a segment now. */
static enum err
landed_drop(struct catalogue *c, uint32_t stream, uint64_t epoch, uint64_t sequence)
{
	struct landed_row row = { .stream = stream };
	enum err e;
	while ((e = catalogue_next_landed_of(c, stream, &row)) == OK) {
		if (row.epoch > epoch || (row.epoch == epoch && row.sequence > sequence))
			return OK;
		struct key k = key_landed(stream, row.epoch, row.sequence);
		TRY(kv_delete(c->kv, k.bytes, k.n));
		TRY(landing_count(c, row.landing, -1));
	}
	return e == END ? OK : e;
}

enum err
catalogue_sum_landed(struct catalogue *c, uint32_t stream, struct catalogue_totals *t)
{
	struct landed_row row = { .stream = stream };
	enum err e;
	while ((e = stream ? catalogue_next_landed_of(c, stream, &row) : catalogue_next_landed(c, &row)) == OK) {
		if (row.block_bytes == 0)
			continue;
		t->landed_blocks++;
		t->landed_records += row.records;
		t->landed_bytes += row.block_bytes;
		t->records += row.records;
		t->wire_bytes += row.wire_bytes;
		t->captured_bytes += row.captured_bytes;
		t->file_bytes += row.block_bytes;
		t->first_ns = row.first_ns < t->first_ns ? row.first_ns : t->first_ns;
		t->last_ns = row.last_ns > t->last_ns ? row.last_ns : t->last_ns;
	}
	return e == END ? OK : e;
}

enum err
catalogue_sum_missing(struct catalogue *c, uint32_t stream, struct catalogue_totals *t)
{
	struct feed_row row = { .stream = stream ? stream - 1 : 0 };
	enum err e;
	while ((e = catalogue_next_feed(c, false, &row)) == OK && (stream == 0 || row.stream == stream)) {
		for (enum gap_cause cause = GAP_KERNEL; cause < GAP_CAUSES; cause++)
			feed_sum(&t->missing, feed_lost(&row, cause));
		feed_sum(&t->left_out, feed_lost(&row, GAP_POLICY));
	}
	return e == END ? OK : e;
}

/* --- feeds and gaps --- */

enum err
catalogue_feed(struct catalogue *c, uint32_t stream, bool merged, struct feed_row *row)
{
	struct key k = key_feed(stream, merged);
	enum err e = catalogue_row_get(c, ROW_KIND_FEED, &k, row, sizeof *row);
	return e == ERR_ABSENT ? fail(e, "no monitor feeds stream number %u", stream) : e;
}

enum err
catalogue_next_feed(struct catalogue *c, bool merged, struct feed_row *row)
{
	struct key k = key_feed(row->stream, merged);
	const uint8_t *found, *value;
	size_t found_bytes, n;
	union row next;
	TRY(kv_find(c->kv, k.bytes, k.n, true, &found, &found_bytes, &value, &n));
	if (found[0] != k.bytes[0])
		return END;
	TRY(kv_check(c->kv, found, found_bytes, value, &n));
	if (row_decode(ROW_KIND_FEED, &next, value, n) != OK)
		return catalogue_damaged("feed");
	*row = next.feed;
	return OK;
}

enum err
catalogue_put_feed(struct catalogue *c, const struct feed_row *row)
{
	struct key k = key_feed(row->stream, false);
	return catalogue_row_put(c, ROW_KIND_FEED, &k, row);
}

/* The stream's gaps behind what is merged so far, up to what the line merges: the lines that follow say them anew, joined. */
static enum err
gaps_drop(struct catalogue *c, const struct feed_row *line)
{
	struct feed_row merged = { 0 };
	enum err e = catalogue_feed(c, line->stream, true, &merged);
	if (e != OK && e != ERR_ABSENT)
		return e;
	struct gap_row gap = { .stream = line->stream, .epoch = merged.merged_epoch, .sequence = merged.merged, .cause = UINT8_MAX };
	while ((e = catalogue_next_gap(c, &gap)) == OK && gap.stream == line->stream &&
	       (gap.epoch < line->merged_epoch || (gap.epoch == line->merged_epoch && gap.sequence <= line->merged))) {
		struct key k = key_gap(&gap);
		TRY(kv_delete(c->kv, k.bytes, k.n));
	}
	return e == END ? OK : e;
}

enum err
catalogue_merge_feed(struct catalogue *c, const struct feed_row *line)
{
	struct feed_row now;
	struct key k = key_feed(line->stream, true);
	TRY(gaps_drop(c, line));
	TRY(catalogue_row_put(c, ROW_KIND_FEED, &k, line));
	TRY(landed_drop(c, line->stream, line->merged_epoch, line->merged));
	enum err e = catalogue_feed(c, line->stream, false, &now);
	if (e != OK && e != ERR_ABSENT)
		return e;
	if (e == ERR_ABSENT || !feed_reached(&now, line->epoch, line->sequence))
		return catalogue_put_feed(c, line);
	now.merged_epoch = line->merged_epoch;
	now.merged = line->merged;
	now.lost_archive = line->lost_archive;
	return catalogue_put_feed(c, &now);
}

enum err
catalogue_next_gap(struct catalogue *c, struct gap_row *row)
{
	struct key k = key_gap(row);
	return catalogue_row_find(c, ROW_KIND_GAP, &k, true, row, sizeof *row);
}

enum err
catalogue_next_merged_gap(struct catalogue *c, struct gap_row *row)
{
	struct feed_row feed = { 0 };
	enum err e;
	while ((e = catalogue_next_gap(c, row)) == OK) {
		if (feed.stream != row->stream) {
			e = catalogue_feed(c, row->stream, true, &feed);
			if (e != OK && e != ERR_ABSENT)
				return e;
			if (e == ERR_ABSENT)
				feed = (struct feed_row){ .stream = row->stream };
		}
		if (row->epoch < feed.epoch || (row->epoch == feed.epoch && row->sequence <= feed.sequence))
			return OK;
	}
	return e;
}

enum err
catalogue_put_gap(struct catalogue *c, const struct gap_row *row)
{
	struct key k = key_gap(row);
	return catalogue_row_put(c, ROW_KIND_GAP, &k, row);
}

enum err
catalogue_add_gap(struct catalogue *c, const struct gap_row *row)
{
	struct key k = key_gap(row);
	struct gap_row sum;
	enum err e = catalogue_row_get(c, ROW_KIND_GAP, &k, &sum, sizeof sum);
	if (e == ERR_ABSENT)
		return catalogue_put_gap(c, row);
	if (e != OK)
		return e;
	sum.first_ns = row->first_ns < sum.first_ns ? row->first_ns : sum.first_ns;
	sum.last_ns = row->last_ns > sum.last_ns ? row->last_ns : sum.last_ns;
	feed_sum(&sum.records, row->records);
	return catalogue_put_gap(c, &sum);
}

/* --- checks --- */

/* Whether the feed's numbers of losses are the sums of the gaps up to its place: all, or of what is merged, those up to there. */
static enum err
check_losses(struct catalogue *c, const struct feed_row *feed, bool merged)
{
	struct feed_row sums = { .stream = feed->stream };
	struct gap_row gap = { .stream = feed->stream };
	enum err e;
	while ((e = catalogue_next_gap(c, &gap)) == OK && gap.stream == feed->stream)
		if (!merged || feed_reached(feed, gap.epoch, gap.sequence))
			feed_count_gap(&sums, &gap);
	if (e != OK && e != END)
		return e;
	for (enum gap_cause cause = GAP_KERNEL; cause < GAP_CAUSES; cause++)
		if (feed_lost(&sums, cause) != feed_lost(feed, cause))
			return catalogue_damaged("a stream's gaps are not what was lost");
	return OK;
}

enum err
catalogue_feed_relations(struct catalogue *c, const uint8_t *key)
{
	struct stream_row stream;
	struct feed_row feed, merged;
	struct landed_row landed;
	struct landing_row landing;
	if (key[0] != ROW_KIND_LANDED && key[0] != ROW_KIND_FEED && key[0] != TAG_MERGED && key[0] != ROW_KIND_GAP)
		return OK;
	uint32_t number = load_be32(key + 1);
	TRY(catalogue_stream(c, number, &stream));
	if (catalogue_feed(c, number, false, &feed) != OK)
		return catalogue_damaged("a stream's feed");
	if (key[0] == TAG_MERGED) {
		TRY(catalogue_feed(c, number, true, &merged));
		if (merged.merged_epoch != feed.merged_epoch || merged.merged != feed.merged)
			return catalogue_damaged("what is merged of a feed");
		TRY(check_losses(c, &merged, true));
	}
	if (key[0] == ROW_KIND_FEED)
		TRY(check_losses(c, &feed, false));
	if (key[0] != ROW_KIND_LANDED)
		return OK;
	struct key k = { .n = 21 };
	memcpy(k.bytes, key, k.n);
	TRY(catalogue_row_get(c, ROW_KIND_LANDED, &k, &landed, sizeof landed));
	if (landed.epoch > feed.epoch || (landed.epoch == feed.epoch && landed.sequence > feed.sequence) ||
	    landed.epoch < feed.merged_epoch || (landed.epoch == feed.merged_epoch && landed.sequence <= feed.merged))
		return catalogue_damaged("a landed parcel's place");
	if (catalogue_landing(c, landed.landing, &landing) != OK)
		return catalogue_damaged("a landed parcel's file");
	return OK;
}
