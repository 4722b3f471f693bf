#include "tests/support/sealed_frames.h"

#include "archive/block.h"
#include "archive/seal.h"
#include "base/io.h"
#include "tests/support/block_trip.h"

static struct block_encoder *encoder;

void
sealed_frames_release(void)
{
	block_encoder_close(&encoder);
}

static enum err
write_blocks(struct segment_writer *w, const struct frames *f, uint32_t per_block)
{
	for (uint32_t at = 0; at < f->count; at += per_block) {
		struct block b;
		struct frames part = *f;
		part.v += at;
		part.count = f->count - at < per_block ? f->count - at : per_block;
		TRY(block_encode(encoder, &part, false, &b));
		TRY(segment_seal(w, encoder, &b));
	}
	return OK;
}

enum err
sealed_frames(struct segment **out, const struct frames *f, uint32_t per_block)
{
	static const struct segment_name name = { .id = 1, .stream = 1 };
	static const uint8_t key[SEGMENT_KEY_BYTES] = { 1, 2, 3 };
	struct segment_writer *w = NULL;
	struct segment_totals totals;
	char path[PATH_BYTES];
	TRY(seal_start());
	if (!encoder)
		TRY(block_encoder_open(&encoder));
	trip_scratch(path, "frames.seg");
	TRY(segment_create(&w, path, &name, key, "eth0"));
	enum err e = write_blocks(w, f, per_block);
	if (e == OK)
		e = segment_finish(w, &totals);
	segment_writer_close(&w);
	if (e == OK)
		e = segment_open(out, path, key);
	enum err gone = io_unlink(path);
	return e != OK ? e : gone;
}
