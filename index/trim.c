#include "index/trim.h"

#include "archive/batch.h"
#include "archive/block.h"
#include "archive/reframe.h"
#include "base/interrupt.h"

struct trim {
	struct store         *store;
	struct block_decoder *decoder;
	struct block_encoder *encoder;
	struct frames        *frames;
};

static void
trim_fini(struct trim *t)
{
	block_decoder_close(&t->decoder);
	block_encoder_close(&t->encoder);
	frames_close(&t->frames);
}

static enum err
trim_init(struct trim *t, struct store *s)
{
	*t = (struct trim){ .store = s };
	enum err e = block_decoder_open(&t->decoder, NULL);
	if (e == OK)
		e = block_encoder_open(&t->encoder);
	if (e == OK)
		e = frames_open(&t->frames, BLOCK_BYTES_MAX);
	if (e != OK)
		trim_fini(t);
	return e;
}

/* What is left of the old segment's blocks, block by block, into the new one. */
static enum err
copy_blocks(struct trim *t, struct segment *old, uint64_t from_ns, struct segment_writer *w, uint64_t *records)
{
	const struct segment_totals *totals = segment_totals_of(old);
	const struct block_info *blocks = segment_blocks(old);
	for (uint32_t i = 0; i < totals->blocks; i++) {
		if (blocks[i].last_ns < from_ns)
			continue;
		const struct batch *b;
		TRY(segment_load(old, i, t->decoder, BATCH_ALL, &b, NULL));
		frames_reset(t->frames);
		TRY(reframe_add(t->frames, b, from_ns));
		if (t->frames->count == 0)
			continue;
		struct block block;
		TRY(block_encode(t->encoder, t->frames, false, &block));
		TRY(segment_seal(w, t->encoder, &block));
		*records += t->frames->count;
	}
	return OK;
}

static enum err
trim_one(struct trim *t, const struct segment_row *row, uint64_t *removed)
{
	struct segment *old = NULL;
	struct store_segment *fresh = NULL;
	uint64_t records = 0;
	TRY(archive_open_segment(store_archive(t->store), row, &old));
	enum err e = store_segment_begin(t->store, row->stream, &fresh);
	if (e == OK)
		e = copy_blocks(t, old, row->hidden_until_ns, store_segment_writer(fresh), &records);
	segment_close(&old);
	*removed = row->records - records;
	if (e == OK && records > 0)
		return store_segment_replace(t->store, &fresh, row->id);
	if (fresh)
		store_segment_abort(t->store, &fresh);
	return e == OK ? store_drop(t->store, row->id) : e;
}

enum err
trim_segments(struct store *s, struct trim_result *result)
{
	struct trim t;
	*result = (struct trim_result){ 0 };
	TRY(trim_init(&t, s));
	struct segment_row row = { 0 };
	enum err e;
	while ((e = store_next_straddling(s, &row)) == OK) {
		uint64_t removed = 0;
		e = interrupt_check();
		if (e == OK)
			e = trim_one(&t, &row, &removed);
		if (e != OK)
			break;
		result->segments++;
		result->records += removed;
	}
	trim_fini(&t);
	return e == END ? OK : e;
}

/* In [from_ns, until_ns), by the times alone. */
static enum err
count_block(struct segment *s, uint32_t block, struct block_decoder *d, uint64_t from_ns, uint64_t until_ns, uint64_t *records)
{
	const struct batch *b;
	TRY(segment_load(s, block, d, BATCH_TIME_ALONE, &b, NULL));
	for (uint32_t i = 0; i < b->count; i++)
		*records += b->time[i] >= from_ns && b->time[i] < until_ns;
	return OK;
}

enum err
trim_count(struct archive *a, const struct segment_row *row, uint64_t until_ns, uint64_t *records)
{
	struct segment *s = NULL;
	struct block_decoder *d = NULL;
	uint64_t from_ns = row->hidden_until_ns;
	*records = 0;
	TRY(archive_open_segment(a, row, &s));
	enum err e = block_decoder_open(&d, NULL);
	const struct block_info *blocks = segment_blocks(s);
	for (uint32_t i = 0; e == OK && i < segment_totals_of(s)->blocks; i++)
		if (blocks[i].first_ns >= from_ns && blocks[i].last_ns < until_ns)
			*records += blocks[i].records;
		else if (blocks[i].last_ns >= from_ns && blocks[i].first_ns < until_ns)
			e = count_block(s, i, d, from_ns, until_ns, records);
	block_decoder_close(&d);
	segment_close(&s);
	return e;
}
