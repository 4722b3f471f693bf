#include "archive/pack.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* For the one parameter that asks for Huffman codes without matches. Should a libzstd not know it, literals stay as they
 * are, and no stream finds that way worth its while. */
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include "base/limits.h"

enum mode { MODE_STORED, MODE_REPEATED, MODE_ZSTD, MODE_PIECES };

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
/* Nor is a plane compressed that would shrink by less than an eighth. Measured on 10 million packets: 0.2 % larger; readers of a
 * few records, who unpack all of the dictionary, take 1 % fewer instructions. */
#define PLANE_WORTH 8u
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

/* A zstd frame at the end of w; its bytes, or 0 and nothing when it would save nothing. */
static size_t
put_frame(ZSTD_CCtx *zstd, const uint8_t *p, uint32_t n, struct writer *w)
{
	size_t room = (size_t)(w->end - w->at), want = room < n ? room : n;
	size_t got = w->failed ? 0 : ZSTD_compress2(zstd, w->at, want, p, n);
	if (w->failed || ZSTD_isError(got) || got + 4 >= n)
		return 0;
	w->at += got;
	return got;
}

/* Tries zstd right into w behind the room for the header; true when it saved something. */
static bool
pack_zstd(ZSTD_CCtx *zstd, const uint8_t *p, uint32_t n, struct writer *w)
{
	const struct writer before = *w;
	writer_u8(w, MODE_ZSTD);
	put_varint(w, n);
	uint8_t *head_end = w->at;
	writer_room(w, 5);
	size_t got = put_frame(zstd, p, n, w);
	if (got == 0) {
		*w = before;
		return false;
	}
	w->at = head_end;
	put_varint(w, got);
	memmove(w->at, head_end + 5, got);
	w->at += got;
	return true;
}

/* The same piece by piece. A piece of one byte is that byte repeated, one of as many bytes as it has raw is as it is. */
static bool
pack_pieces(ZSTD_CCtx *zstd, const uint8_t *p, uint32_t n, struct writer *w)
{
	const struct writer before = *w;
	uint32_t pieces = (n + PACK_PIECE_BYTES - 1) / PACK_PIECE_BYTES;
	writer_u8(w, MODE_PIECES);
	put_varint(w, n);
	uint8_t *directory = writer_room(w, 2 * pieces);
	for (uint32_t at = 0; at < n && !w->failed; at += PACK_PIECE_BYTES, directory += 2) {
		uint32_t m = n - at < PACK_PIECE_BYTES ? n - at : PACK_PIECE_BYTES;
		size_t stored = 1;
		if (is_repeated(p + at, m)) {
			writer_u8(w, p[at]);
		} else if ((stored = put_frame(zstd, p + at, m, w)) == 0) {
			stored = m;
			writer_put(w, p + at, m);
		}
		store_le16(directory, (uint16_t)stored);
	}
	if (!w->failed && w->at - before.at + 4 < n)
		return true;
	*w = before;
	return false;
}

static void
pack_way(struct packer *pk, const uint8_t *p, uint32_t n, enum pack_effort effort, enum way way, struct writer *w)
{
	bool pieces = effort == PACK_PIECES && n > PACK_PIECE_BYTES && n <= PACK_PIECES_MAX * PACK_PIECE_BYTES;
	bool long_plane = (effort == PACK_PLANE || effort == PACK_PIECES) && n >= LONG_PLANE_BYTES;
	ZSTD_CCtx *zstd = way == WAY_HUFFMAN ? pk->huffman : long_plane ? pk->long_plane : pk->matches;
	if (way != WAY_STORED && (pieces ? pack_pieces(zstd, p, n, w) : pack_zstd(zstd, p, n, w)))
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
best_way(const uint8_t *p, uint32_t n, enum pack_effort effort, size_t matches)
{
	size_t huffman = guess_huffman(p, n), worth = n / (effort == PACK_PLANE ? PLANE_WORTH : 128);
	if (matches + worth >= n && huffman + worth >= n)
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
	enum way way = best_way(p, n, effort, stored);
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

/* The directory of a stream in pieces. */
static enum err
look_at_pieces(struct reader *r, struct packed *v)
{
	uint64_t stored = 0;
	if (v->raw_bytes > PACK_PIECES_MAX * PACK_PIECE_BYTES)
		return fail(ERR_FORMAT, "column stream of too many pieces");
	for (uint32_t at = 0, i = 0; at < v->raw_bytes; at += PACK_PIECE_BYTES, i++) {
		uint32_t raw = v->raw_bytes - at < PACK_PIECE_BYTES ? v->raw_bytes - at : PACK_PIECE_BYTES;
		v->piece_bytes[i] = reader_le16(r);
		if (v->piece_bytes[i] == 0 || v->piece_bytes[i] > raw)
			return fail(ERR_FORMAT, "column stream with a piece of %u bytes for %u", v->piece_bytes[i], raw);
		stored += v->piece_bytes[i];
	}
	v->stored_bytes = (uint32_t)stored;
	return OK;
}

enum err
unpack_look(struct reader *r, struct packed *v)
{
	uint8_t mode = reader_u8(r);
	uint64_t raw = get_varint(r), stored = mode == MODE_ZSTD ? get_varint(r) : mode == MODE_STORED ? raw : 1;
	if (!reader_ok(r) || mode > MODE_PIECES || raw > CHUNK_BYTES_MAX || stored > CHUNK_BYTES_MAX || (mode == MODE_ZSTD && raw == 0))
		return fail(ERR_FORMAT, "column stream header is damaged");
	*v = (struct packed){ .mode = mode, .raw_bytes = (uint32_t)raw, .stored_bytes = (uint32_t)stored };
	if (mode == MODE_PIECES)
		TRY(look_at_pieces(r, v));
	v->data = reader_view(r, v->stored_bytes);
	return reader_ok(r) ? OK : fail(ERR_FORMAT, "column stream ends early");
}

static enum err
open_frame(struct unpacker *u, const uint8_t *data, uint32_t stored, uint8_t *out, uint32_t raw)
{
	/* One call with a bounded output: zstd never writes more than raw bytes, whatever the frame says. */
	size_t got = ZSTD_decompressDCtx(u->zstd, out, raw, data, stored);
	return !ZSTD_isError(got) && got == raw ? OK : fail(ERR_FORMAT, "column stream does not decompress");
}

/* Piece i of a stream, whatever its mode, but for a frame of all of it. */
static enum err
unpack_piece(struct unpacker *u, const struct packed *v, uint32_t i, uint8_t *out)
{
	uint32_t first = i * PACK_PIECE_BYTES, at = 0;
	uint32_t raw = v->raw_bytes - first < PACK_PIECE_BYTES ? v->raw_bytes - first : PACK_PIECE_BYTES;
	out += first;
	if (v->mode == MODE_REPEATED) {
		memset(out, v->data[0], raw);
		return OK;
	}
	if (v->mode == MODE_STORED) {
		memcpy(out, v->data + first, raw);
		return OK;
	}
	for (uint32_t k = 0; k < i; k++)
		at += v->piece_bytes[k];
	if (v->piece_bytes[i] == raw)
		memcpy(out, v->data + at, raw);
	else if (v->piece_bytes[i] == 1)
		memset(out, v->data[at], raw);
	else
		return open_frame(u, v->data + at, v->piece_bytes[i], out, raw);
	return OK;
}

/* A stream that is not made piece by piece. */
static enum err
unpack_whole(struct unpacker *u, const struct packed *v, uint8_t *out)
{
	if (v->mode == MODE_ZSTD)
		return open_frame(u, v->data, v->stored_bytes, out, v->raw_bytes);
	if (v->mode == MODE_REPEATED)
		memset(out, v->data[0], v->raw_bytes);
	else
		memcpy(out, v->data, v->raw_bytes);
	return OK;
}

enum err
unpack_range(struct unpacker *u, struct packed *v, uint8_t *out, uint32_t first, uint32_t end)
{
	const uint32_t most = PACK_PIECES_MAX * PACK_PIECE_BYTES;
	assert(first <= end && end <= v->raw_bytes);
	if (first == end)
		return OK;
	if (v->mode == MODE_ZSTD || v->raw_bytes > most) {
		if (!v->there)
			TRY(unpack_whole(u, v, out));
		v->there = 1;
		return OK;
	}
	for (uint32_t i = first / PACK_PIECE_BYTES; i <= (end - 1) / PACK_PIECE_BYTES; i++) {
		if (v->there >> i & 1)
			continue;
		TRY(unpack_piece(u, v, i, out));
		v->there |= (uint8_t)(1u << i);
	}
	return OK;
}

enum err
unpack(struct unpacker *u, struct reader *r, uint8_t *out, uint32_t room, uint32_t *n)
{
	struct packed v;
	TRY(unpack_look(r, &v));
	if (v.raw_bytes > room)
		return fail(ERR_FORMAT, "column stream of %u bytes where at most %u can be", v.raw_bytes, room);
	TRY(unpack_range(u, &v, out, 0, v.raw_bytes));
	*n = v.raw_bytes;
	return OK;
}
