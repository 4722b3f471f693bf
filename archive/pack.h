/* One byte stream (a plane of a column, a table of strings) to its stored form and back: as it is, one repeated byte, or
 * a zstd frame, whichever is smallest. The only caller of zstd for columns.
 *
 *   stored stream = u8 mode, varint raw_bytes, [varint stored_bytes], data
 */
#ifndef ARCHIVE_PACK_H
#define ARCHIVE_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/* How a stream is compressed; a hint that changes size and speed, never the format. */
enum pack_effort {
	PACK_STORE, /* close to random: not tried */
	PACK_PLANE, /* byte planes of numbers: zstd -1; long ones with a small table of matches */
	PACK_TEXT,  /* strings and tables: zstd -1 */
	PACK_BYTES, /* packet bytes: the same */
};

/* What was learned about one stream of block after block: in many planes zstd finds no matches worth their time, and
 * Huffman codes alone take a third of it; others do not compress at all. All zero at the start. */
struct pack_habit {
	uint8_t  way;         /* enum way, in pack.c */
	uint8_t  left, pause; /* blocks until the ways are compared again; of how many */
	uint32_t raw, stored; /* bytes at the last comparison */
};

struct packer;   /* zstd contexts; one per thread */
struct unpacker;

enum err packer_open(struct packer **out);
void     packer_close(struct packer **p);
/* Appends the stored form of p[0..n) to w; sticky failure of w when it is too small (pack_bound(n) is enough). */
void     pack(struct packer *pk, const uint8_t *p, uint32_t n, enum pack_effort effort, struct writer *w);
/* The same in the way that was best for this stream lately: the bytes depend on what the habit has seen. */
void     pack_learned(struct packer *pk, const uint8_t *p, uint32_t n, enum pack_effort effort, struct pack_habit *habit,
                      struct writer *w);
static inline size_t pack_bound(size_t n) { return n + 16; }

enum err unpacker_open(struct unpacker **out);
void     unpacker_close(struct unpacker **u);
/* Reads one stored stream from r into out (room bytes; PACK_SLACK more may be written) and sets *n. ERR_FORMAT: damaged,
 * or longer than room: found before anything is decompressed. */
enum err unpack(struct unpacker *u, struct reader *r, uint8_t *out, uint32_t room, uint32_t *n);
/* Steps over one stored stream; *n gets its raw size. */
enum err unpack_skip(struct reader *r, uint32_t *n);

#define PACK_SLACK 32u

void     put_varint(struct writer *w, uint64_t v);
uint64_t get_varint(struct reader *r); /* LEB128, at most 10 bytes; fails r on overflow */

#endif
