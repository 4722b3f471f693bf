/* Bounded cursors over bytes. Readers fail sticky: after the first read past the end every read gives zero and
 * reader_ok() is false, so that a parser reads straight through and checks once. Nothing here allocates. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t load_le16(const uint8_t *p) { uint16_t v; memcpy(&v, p, 2); return v; }
static inline uint32_t load_le32(const uint8_t *p) { uint32_t v; memcpy(&v, p, 4); return v; }
static inline uint64_t load_le64(const uint8_t *p) { uint64_t v; memcpy(&v, p, 8); return v; }
static inline uint16_t load_be16(const uint8_t *p) { return __builtin_bswap16(load_le16(p)); }
static inline uint32_t load_be32(const uint8_t *p) { return __builtin_bswap32(load_le32(p)); }
static inline uint64_t load_be64(const uint8_t *p) { return __builtin_bswap64(load_le64(p)); }
static inline void store_le16(uint8_t *p, uint16_t v) { memcpy(p, &v, 2); }
static inline void store_le32(uint8_t *p, uint32_t v) { memcpy(p, &v, 4); }
static inline void store_le64(uint8_t *p, uint64_t v) { memcpy(p, &v, 8); }
static inline void store_be16(uint8_t *p, uint16_t v) { store_le16(p, __builtin_bswap16(v)); }
static inline void store_be32(uint8_t *p, uint32_t v) { store_le32(p, __builtin_bswap32(v)); }
static inline void store_be64(uint8_t *p, uint64_t v) { store_le64(p, __builtin_bswap64(v)); }
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "loads and stores assume a little-endian machine");

/* memcmp(a, b, n) == 0 for short runs, without the call. */
static inline bool
bytes_equal(const uint8_t *a, const uint8_t *b, size_t n)
{
	if (n < 8) {
		for (size_t i = 0; i < n; i++)
			if (a[i] != b[i])
				return false;
		return true;
	}
	for (size_t i = 0; i < n - 8; i += 8)
		if (load_le64(a + i) != load_le64(b + i))
			return false;
	return load_le64(a + n - 8) == load_le64(b + n - 8);
}

struct reader {
	const uint8_t *at, *end;
	bool failed;
};

static inline struct reader
reader_of(const void *p, size_t n)
{
	return (struct reader){ p, (const uint8_t *)p + n, false };
}

/* A view of the next n bytes, or NULL (and failed) when there are fewer. */
static inline const uint8_t *
reader_view(struct reader *r, size_t n)
{
	if (r->failed || n > (size_t)(r->end - r->at)) {
		r->failed = true;
		return NULL;
	}
	const uint8_t *p = r->at;
	r->at += n;
	return p;
}

/* The next n bytes copied to out; zeros when there are fewer. */
static inline void
reader_get(struct reader *r, void *out, size_t n)
{
	const uint8_t *p = reader_view(r, n);
	if (p)
		memcpy(out, p, n);
	else
		memset(out, 0, n);
}

static inline size_t reader_left(const struct reader *r) { return r->failed ? 0 : (size_t)(r->end - r->at); }
static inline bool reader_ok(const struct reader *r) { return !r->failed; }
static inline bool reader_done(const struct reader *r) { return !r->failed && r->at == r->end; }
static inline uint8_t reader_u8(struct reader *r) { const uint8_t *p = reader_view(r, 1); return p ? *p : 0; }
static inline uint16_t reader_le16(struct reader *r) { const uint8_t *p = reader_view(r, 2); return p ? load_le16(p) : 0; }
static inline uint32_t reader_le32(struct reader *r) { const uint8_t *p = reader_view(r, 4); return p ? load_le32(p) : 0; }
static inline uint64_t reader_le64(struct reader *r) { const uint8_t *p = reader_view(r, 8); return p ? load_le64(p) : 0; }

/* A writer over a caller-owned buffer; sticky like the reader. */
struct writer {
	uint8_t *at, *end;
	bool failed;
};

static inline struct writer
writer_of(void *p, size_t n)
{
	return (struct writer){ p, (uint8_t *)p + n, false };
}

static inline uint8_t *
writer_room(struct writer *w, size_t n)
{
	if (w->failed || n > (size_t)(w->end - w->at)) {
		w->failed = true;
		return NULL;
	}
	uint8_t *p = w->at;
	w->at += n;
	return p;
}

static inline bool writer_ok(const struct writer *w) { return !w->failed; }
static inline void writer_u8(struct writer *w, uint8_t v) { uint8_t *p = writer_room(w, 1); if (p) *p = v; }
static inline void writer_le16(struct writer *w, uint16_t v) { uint8_t *p = writer_room(w, 2); if (p) store_le16(p, v); }
static inline void writer_le32(struct writer *w, uint32_t v) { uint8_t *p = writer_room(w, 4); if (p) store_le32(p, v); }
static inline void writer_le64(struct writer *w, uint64_t v) { uint8_t *p = writer_room(w, 8); if (p) store_le64(p, v); }
static inline void
writer_put(struct writer *w, const void *src, size_t n)
{
	uint8_t *p = writer_room(w, n);
	if (p && n)
		memcpy(p, src, n);
}

#endif
