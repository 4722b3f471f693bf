/* One byte stream (a plane of a column, a table of strings) to its stored form and back: as it is, one repeated byte, or
 * a zstd frame, whichever is smallest. The only caller of zstd for columns.
 *
 *   stored stream = u8 mode, varint raw_bytes, [varint stored_bytes], data
 *
 * A plane with a byte for each record is cut into pieces that are compressed one by one, so that who wants few of the records
 * decompresses the pieces where these stand:
 *
 *   data of pieces = le16 stored bytes of each piece, then the pieces
 */
#ifndef ARCHIVE_PACK_H
#define ARCHIVE_PACK_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"

/* Bytes of a piece, and the most pieces of a stream. Measured for one host of 10 million packets, against whole planes: a quarter
 * fewer instructions, encoding 1 % more of them; with pieces half as long another 5 % fewer, and 3 % more. */
#define PACK_PIECE_BYTES 16384u
#define PACK_PIECES_MAX  4u

/* How a stream is compressed; a hint that changes size and speed, never the format. */
enum pack_effort {
	PACK_STORE, /* close to random: not tried */
	PACK_PLANE, /* byte planes of numbers: zstd -1; long ones with a small table of matches */
	PACK_PIECES,/* planes of which some rows may be wanted: the same, in pieces */
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
/* A stored stream before it is unpacked. Its data is a view of what it was read from. */
struct packed {
	const uint8_t *data;
	uint32_t stored_bytes, raw_bytes;
	uint8_t  mode;
	uint8_t  there;            /* pieces of the raw bytes that were unpacked: bits */
	uint16_t piece_bytes[PACK_PIECES_MAX];
};

/* Steps over one stored stream: all that its header and the directory of its pieces say is checked. ERR_FORMAT: damaged. */
enum err unpack_look(struct reader *r, struct packed *v);
/* Makes the raw bytes first .. end <= raw_bytes of a stream at out, which is the same at each call, with room for raw_bytes.
 * What was unpacked before is not unpacked again. ERR_FORMAT: damaged. */
enum err unpack_range(struct unpacker *u, struct packed *v, uint8_t *out, uint32_t first, uint32_t end);
/* Reads one stored stream from r into out (room bytes) and sets *n. ERR_FORMAT: damaged, or longer than room: found before
 * anything is decompressed. */
enum err unpack(struct unpacker *u, struct reader *r, uint8_t *out, uint32_t room, uint32_t *n);

/* Room behind an unpacked stream that readers of it may touch. */
#define PACK_SLACK 32u

void     put_varint(struct writer *w, uint64_t v);
uint64_t get_varint(struct reader *r); /* LEB128, at most 10 bytes; fails r on overflow */

#endif
