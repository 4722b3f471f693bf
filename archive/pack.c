#include "archive/pack.h"

#include <assert.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/limits.h"

enum mode { MODE_STORED, MODE_REPEATED, MODE_ZSTD };

struct packer {
	ZSTD_CCtx *zstd;
	enum pack_effort effort; /* that zstd is set to */
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

static void
packer_set(struct packer *pk, enum pack_effort effort)
{
	/* Measured on 774,520 real header packets: minMatch 4 instead of level 1's 7 makes tables of link headers, options
	 * and addresses a fifth smaller; they are few bytes, so the slower search does not show. */
	int level = effort == PACK_TEXT ? 3 : 1;
	ZSTD_CCtx_reset(pk->zstd, ZSTD_reset_parameters);
	ZSTD_CCtx_setParameter(pk->zstd, ZSTD_c_compressionLevel, level);
	ZSTD_CCtx_setParameter(pk->zstd, ZSTD_c_contentSizeFlag, 0);
	ZSTD_CCtx_setParameter(pk->zstd, ZSTD_c_checksumFlag, 0);
	if (effort == PACK_TEXT)
		ZSTD_CCtx_setParameter(pk->zstd, ZSTD_c_minMatch, 4);
	pk->effort = effort;
}

enum err
packer_open(struct packer **out)
{
	struct packer *pk = calloc(1, sizeof *pk);
	if (!pk)
		return fail(ERR_NOMEM, "out of memory");
	pk->zstd = ZSTD_createCCtx();
	if (!pk->zstd) {
		free(pk);
		return fail(ERR_NOMEM, "out of memory");
	}
	packer_set(pk, PACK_PLANE);
	*out = pk;
	return OK;
}

void
packer_close(struct packer **p)
{
	if (!*p)
		return;
	ZSTD_freeCCtx((*p)->zstd);
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
pack_zstd(struct packer *pk, const uint8_t *p, uint32_t n, struct writer *w)
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
	size_t got = ZSTD_compress2(pk->zstd, w->at + fixed + 5, want, p, n);
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

void
pack(struct packer *pk, const uint8_t *p, uint32_t n, enum pack_effort effort, struct writer *w)
{
	if (is_repeated(p, n)) {
		writer_u8(w, MODE_REPEATED);
		put_varint(w, n);
		writer_u8(w, p[0]);
		return;
	}
	if (effort != PACK_STORE && n >= 16) {
		if ((effort == PACK_TEXT) != (pk->effort == PACK_TEXT))
			packer_set(pk, effort);
		if (pack_zstd(pk, p, n, w))
			return;
	}
	writer_u8(w, MODE_STORED);
	put_varint(w, n);
	writer_put(w, p, n);
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
