#include "tests/support/make_archive.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/block.h"
#include "archive/frames.h"

static struct frames *frames;
static struct block_encoder *encoder;

/* Ethernet, IPv4, UDP without payload: 42 bytes. */
static void
frame_add(uint64_t ts_ns, uint8_t host, uint32_t n)
{
	uint8_t *p = frames->bytes + frames->used_bytes;
	static const uint8_t head[42] = {
		0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00,
		0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 0, 198, 51, 100, 7,
		0x10, 0x00, 0, 53, 0, 8, 0, 0,
	};
	memcpy(p, head, sizeof head);
	p[27] = host;
	p[28] = (uint8_t)(n >> 8 & 3);
	p[29] = (uint8_t)n;
	struct frame *f = &frames->v[frames->count++];
	*f = (struct frame){ .ts_ns = ts_ns, .wire_len = 60, .cap_len = 42, .at = frames->used_bytes, .linktype = 1 };
	frames->used_bytes += sizeof head;
}

static enum err
buffers_open(void)
{
	if (frames == NULL)
		TRY(frames_open(&frames, 4u << 20));
	return encoder ? OK : block_encoder_open(&encoder);
}

static enum err
block_commit(struct store_segment *g, const struct test_segment *t, uint32_t number)
{
	frames_reset(frames);
	for (uint32_t i = 0; i < t->per_block; i++) {
		uint32_t n = number * t->per_block + i;
		frame_add(t->first_ns + n * 1000ull, t->host, n);
	}
	struct block b;
	TRY(block_encode(encoder, frames, false, &b));
	return segment_seal(store_segment_writer(g), encoder, &b);
}

enum err
test_segment_commit(struct store *s, uint32_t stream, const struct test_segment *t, struct import_row *import, uint64_t old)
{
	struct store_segment *g = NULL;
	TRY(buffers_open());
	TRY(store_segment_begin(s, stream, &g));
	enum err e = OK;
	for (uint32_t i = 0; e == OK && i < t->blocks; i++)
		e = block_commit(g, t, i);
	if (e != OK) {
		store_segment_abort(s, &g);
		return e;
	}
	if (import)
		import->records += (uint64_t)t->blocks * t->per_block;
	return old ? store_segment_replace(s, &g, old) : store_segment_commit(s, &g, import);
}

void
test_archive_release(void)
{
	frames_close(&frames);
	block_encoder_close(&encoder);
}

char *
test_archive_dump(const char *dir, const char *key_path)
{
	struct archive *a = NULL;
	char *text = NULL;
	size_t n = 0;
	if (archive_open(&a, dir, key_path, ARCHIVE_READ) != OK)
		return NULL;
	FILE *f = open_memstream(&text, &n);
	enum err e = catalogue_begin(archive_catalogue(a));
	if (e == OK)
		e = catalogue_dump(archive_catalogue(a), f);
	fclose(f);
	archive_close(&a);
	if (e != OK) {
		free(text);
		return NULL;
	}
	return text;
}
