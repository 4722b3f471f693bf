#include "archive/pack.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* For the one parameter that asks for Huffman codes without matches. Should a libzstd not know it, literals stay as they
 * are, and no stream finds that way worth its while. */
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include "base/limits.h"

enum mode { MODE_STORED, MODE_REPEATED, MODE_ZSTD };

/* Ways to compress. */
enum way {
	WAY_MATCHES,
	WAY_HUFFMAN, /* a zstd frame without matches */
	WAY_STORED,
};

/* A way is looked at again after some blocks, twice as many each time that nothing changed; and at once when the stream has
 * become another one: by an eighth in what it shrinks to, by half in length. */
#define HABIT_BLOCKS_MIN 2u
#define HABIT_BLOCKS_MAX 32u
/* What tells how far Huffman codes would get: some pieces of a stream. */
#define SAMPLE_PIECES 8u
#define SAMPLE_PIECE_BYTES 512u
/* Matches are given up when that costs less than 1/24 of the raw bytes: they take 2 to 3 ns for each of these. */
#define MATCHES_WORTH 24u
/* From here on a table of matches of 8 KiB, which leaves room for the data in the first-level cache. Measured on 774,520
 * real header packets: a tenth faster, 0.0015 of 3.6 bytes larger. */
#define LONG_PLANE_BYTES 16384u
#define LONG_PLANE_TABLE 11

struct packer {
	ZSTD_CCtx *matches, *long_plane, *huffman;
};

struct unpacker {
	ZSTD_DCtx *zstd;
};

void
put_varint(struct writer *w, uint64_t v)
{
	while (v >= 128) {
		writer_u8(w, (uint8_t)(v | 128));
		v >>= 7;
	}
	writer_u8(w, (uint8_t)v);
}

uint64_t
get_varint(struct reader *r)
{
	uint64_t v = 0;
	for (unsigned shift = 0; shift < 64; shift += 7) {
		uint8_t b = reader_u8(r);
		if (shift == 63 && b > 1)
			break;
		v |= (uint64_t)(b & 127) << shift;
		if (b < 128)
			return v;
	}
	r->failed = true;
	return 0;
}

static ZSTD_CCtx *
open_context(int level)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	if (!c)
		return NULL;
	ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, level);
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0);
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 0);
	return c;
}

enum err
packer_open(struct packer **out)
{
	struct packer *pk = calloc(1, sizeof *pk);
	if (!pk)
		return fail(ERR_NOMEM, "out of memory");
	pk->matches = open_context(1);
	pk->long_plane = open_context(1);
	/* The fastest level looks for a match once in 128 KiB; it would also leave literals alone, so they are asked for. */
	pk->huffman = open_context(ZSTD_minCLevel());
	if (!pk->matches || !pk->long_plane || !pk->huffman) {
		packer_close(&pk);
		return fail(ERR_NOMEM, "out of memory");
	}
	ZSTD_CCtx_setParameter(pk->long_plane, ZSTD_c_hashLog, LONG_PLANE_TABLE);
	ZSTD_CCtx_setParameter(pk->huffman, ZSTD_c_literalCompressionMode, ZSTD_ps_enable);
	*out = pk;
	return OK;
}

void
packer_close(struct packer **p)
{
	if (!*p)
		return;
	ZSTD_freeCCtx((*p)->matches);
	ZSTD_freeCCtx((*p)->long_plane);
	ZSTD_freeCCtx((*p)->huffman);
	free(*p);
	*p = NULL;
}

static bool
is_repeated(const uint8_t *p, uint32_t n)
{
	return n > 1 && memcmp(p, p + 1, n - 1) == 0;
}

/* Tries zstd right into w behind the room for the header; true when it saved something. */
static bool
pack_zstd(ZSTD_CCtx *zstd, const uint8_t *p, uint32_t n, struct writer *w)
{
	uint8_t head[16];
	struct writer h = writer_of(head, sizeof head);
	writer_u8(&h, MODE_ZSTD);
	put_varint(&h, n);
	size_t fixed = (size_t)(h.at - head);
	size_t room = (size_t)(w->end - w->at);
	if (w->failed || room < fixed + 5)
		return false;
	size_t want = room - fixed - 5 < n ? room - fixed - 5 : n;
	size_t got = ZSTD_compress2(zstd, w->at + fixed + 5, want, p, n);
	if (ZSTD_isError(got) || got + 4 >= n)
		return false;
	uint8_t *frame = w->at + fixed + 5;
	put_varint(&h, got);
	size_t used = (size_t)(h.at - head);
	memmove(w->at + used, frame, got);
	memcpy(w->at, head, used);
	w->at += used + got;
	return true;
}

static void
pack_way(struct packer *pk, const uint8_t *p, uint32_t n, enum pack_effort effort, enum way way, struct writer *w)
{
	bool long_plane = effort == PACK_PLANE && n >= LONG_PLANE_BYTES;
	if (way != WAY_STORED &&
	    pack_zstd(way == WAY_HUFFMAN ? pk->huffman : long_plane ? pk->long_plane : pk->matches, p, n, w))
		return;
	writer_u8(w, MODE_STORED);
	put_varint(w, n);
	writer_put(w, p, n);
}

/* About how many bytes Huffman codes would take. */
static size_t
guess_huffman(const uint8_t *p, uint32_t n)
{
	uint32_t count[256] = { 0 }, sampled = 0, distinct = 0;
	uint32_t piece = n < SAMPLE_PIECE_BYTES ? n : SAMPLE_PIECE_BYTES;
	uint32_t step = n / SAMPLE_PIECES > piece ? n / SAMPLE_PIECES : piece;
	for (uint32_t at = 0; piece <= n - at; at += step, sampled += piece) {
		for (uint32_t i = at; i < at + piece; i++)
			count[p[i]]++;
		if (step > n - at)
			break;
	}
	float bits = 0;
	for (unsigned i = 0; i < 256; i++) {
		if (count[i] == 0)
			continue;
		float length = log2f((float)sampled / (float)count[i]);
		bits += (float)count[i] * (length < 1 ? 1 : length);
		distinct++;
	}
	return (size_t)(bits / 8 / (float)sampled * (float)n) + distinct / 3;
}

/* Which way would have been best for a stream that takes `matches` bytes with matches. */
static enum way
best_way(const uint8_t *p, uint32_t n, size_t matches)
{
	size_t huffman = guess_huffman(p, n);
	if (matches + n / 128 >= n && huffman + n / 128 >= n)
		return WAY_STORED;
	return huffman <= matches + n / MATCHES_WORTH ? WAY_HUFFMAN : WAY_MATCHES;
}

static bool
differs(uint32_t now, uint32_t then, uint32_t part)
{
	return now > then + then / part || now < then - then / part;
}

/* Without matches, as was best lately; false (and w as it was) when that is no longer sure. */
static bool
pack_as_before(struct packer *pk, const uint8_t *p, uint32_t n, enum pack_effort effort, struct pack_habit *habit,
               struct writer *w)
{
	const struct writer before = *w;
	if (habit->way == WAY_MATCHES || habit->left == 0 || differs(n, habit->raw, 2))
		return false;
	pack_way(pk, p, n, effort, habit->way, w);
	uint32_t stored = (uint32_t)((uint64_t)(w->at - before.at) * habit->raw / n);
	bool first = habit->left == habit->pause; /* until then it was a guess */
	if (differs(stored, habit->stored, first ? 4 : 8)) {
		*w = before;
		return false;
	}
	habit->stored = first ? stored : habit->stored;
	habit->left--;
	return true;
}

void
pack_learned(struct packer *pk, const uint8_t *p, uint32_t n, enum pack_effort effort, struct pack_habit *habit,
             struct writer *w)
{
	if (n < 16 || effort == PACK_STORE || is_repeated(p, n)) {
		pack(pk, p, n, effort, w);
		return;
	}
	if (pack_as_before(pk, p, n, effort, habit, w))
		return;
	const struct writer before = *w;
	pack_way(pk, p, n, effort, WAY_MATCHES, w);
	if (habit->way == WAY_MATCHES && habit->left > 0) {
		habit->left--;
		return;
	}
	size_t stored = (size_t)(w->at - before.at);
	enum way way = best_way(p, n, stored);
	bool same = way == habit->way && habit->pause > 0;
	habit->pause = !same ? HABIT_BLOCKS_MIN : habit->pause < HABIT_BLOCKS_MAX ? habit->pause * 2 : HABIT_BLOCKS_MAX;
	habit->way = (uint8_t)way;
	habit->left = habit->pause;
	habit->raw = n;
	habit->stored = (uint32_t)(way == WAY_HUFFMAN ? guess_huffman(p, n) : stored);
}

void
pack(struct packer *pk, const uint8_t *p, uint32_t n, enum pack_effort effort, struct writer *w)
{
	if (is_repeated(p, n)) {
		writer_u8(w, MODE_REPEATED);
		put_varint(w, n);
		writer_u8(w, p[0]);
		return;
	}
	pack_way(pk, p, n, effort, effort == PACK_STORE || n < 16 ? WAY_STORED : WAY_MATCHES, w);
}

enum err
unpacker_open(struct unpacker **out)
{
	struct unpacker *u = calloc(1, sizeof *u);
	if (!u)
		return fail(ERR_NOMEM, "out of memory");
	u->zstd = ZSTD_createDCtx();
	if (!u->zstd) {
		free(u);
		return fail(ERR_NOMEM, "out of memory");
	}
	*out = u;
	return OK;
}

void
unpacker_close(struct unpacker **u)
{
	if (!*u)
		return;
	ZSTD_freeDCtx((*u)->zstd);
	free(*u);
	*u = NULL;
}

/* Header of a stored stream; *data views its stored bytes. */
static enum err
stream_header(struct reader *r, uint8_t *mode, uint64_t *raw, uint64_t *stored, const uint8_t **data)
{
	*mode = reader_u8(r);
	*raw = get_varint(r);
	if (*mode == MODE_STORED)
		*stored = *raw;
	else if (*mode == MODE_REPEATED)
		*stored = 1;
	else if (*mode == MODE_ZSTD)
		*stored = get_varint(r);
	else
		r->failed = true;
	if (!reader_ok(r) || *raw > CHUNK_BYTES_MAX)
		return fail(ERR_FORMAT, "column stream header is damaged");
	*data = reader_view(r, *stored);
	if (!reader_ok(r))
		return fail(ERR_FORMAT, "column stream ends early");
	return OK;
}

enum err
unpack(struct unpacker *u, struct reader *r, uint8_t *out, uint32_t room, uint32_t *n)
{
	uint8_t mode = 0;
	uint64_t raw = 0, stored = 0;
	const uint8_t *data = NULL;
	TRY(stream_header(r, &mode, &raw, &stored, &data));
	if (raw > room)
		return fail(ERR_FORMAT, "column stream of %llu bytes where at most %u can be",
		            (unsigned long long)raw, room);
	if (mode == MODE_REPEATED) {
		memset(out, data[0], raw);
	} else if (mode == MODE_STORED) {
		if (raw)
			memcpy(out, data, raw);
	} else {
		/* One call with a bounded output: zstd never writes more than raw bytes, whatever the frame says. */
		size_t got = ZSTD_decompressDCtx(u->zstd, out, raw, data, stored);
		if (ZSTD_isError(got) || got != raw)
			return fail(ERR_FORMAT, "column stream does not decompress");
	}
	*n = (uint32_t)raw;
	return OK;
}

enum err
unpack_skip(struct reader *r, uint32_t *n)
{
	uint8_t mode = 0;
	uint64_t raw = 0, stored = 0;
	const uint8_t *data = NULL;
	TRY(stream_header(r, &mode, &raw, &stored, &data));
	*n = (uint32_t)raw;
	return OK;
}
