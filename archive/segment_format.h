/* The layout of a segment file, once: header, blocks, footer pages, main page twice, trailer twice. docs/format.md is made
 * from these tables. Everything but header and trailers is sealed (seal.h). What a segment can not be read without is there
 * twice: the trailer says all that the header says. */
#ifndef ARCHIVE_SEGMENT_FORMAT_H
#define ARCHIVE_SEGMENT_FORMAT_H

#include <sodium.h>
#include <string.h>

#include "archive/segment.h"
#include "base/bytes.h"

#define SEGMENT_MAGIC         0x47455341u /* "ASEG" */
#define SEGMENT_TRAILER_MAGIC 0x444e4541u /* "AEND" */
#define SEGMENT_VERSION       3u

/* F(codec, type, name, description) */
#define SEGMENT_HEADER(F)                                                        \
	F(le32, uint32_t, magic, "\"ASEG\"")                                     \
	F(le32, uint32_t, version, "3")                                          \
	F(le64, uint64_t, id, "segment number")                                  \
	F(le32, uint32_t, key_slot, "slot of the keystore that holds its key")   \
	F(le32, uint32_t, stream, "stream number")
/* then 16 bytes archive identifier, then the first 8 bytes of BLAKE2b-256 over all before */
#define SEGMENT_HEADER_BYTES  48u

#define SEGMENT_TRAILER(F)                                                       \
	F(le32, uint32_t, magic, "\"AEND\"")                                     \
	F(le32, uint32_t, version, "3")                                          \
	F(le64, uint64_t, id, "segment number, as in the header")                \
	F(le32, uint32_t, key_slot, "as in the header")                          \
	F(le32, uint32_t, stream, "as in the header")                            \
	F(le64, uint64_t, footer_at, "where the footer pages start, behind the last block") \
	F(le64, uint64_t, main_at, "where the first main page starts")           \
	F(le32, uint32_t, main_bytes, "sealed bytes of one main page")           \
	F(le32, uint32_t, blocks, "number of blocks")
/* then 16 bytes archive identifier, 32 bytes root of the hash tree, the first 8 bytes of BLAKE2b-256 over all before */
#define SEGMENT_TRAILER_BYTES  104u
#define SEGMENT_TRAILERS_BYTES (2 * SEGMENT_TRAILER_BYTES) /* the same twice, at the very end */

/* The main page: SEGMENT_TOTALS, le16 length and bytes of the stream's name, BLOCK_ENTRY for each block, then for each of
 * the four tables le32 pages and PAGE_ENTRY for each of them. */
#define SEGMENT_TOTALS(F)                                                        \
	F(le64, uint64_t, records, "")                                           \
	F(le64, uint64_t, wire_bytes, "")                                        \
	F(le64, uint64_t, captured_bytes, "")                                    \
	F(le64, uint64_t, first_ns, "earliest record")                           \
	F(le64, uint64_t, last_ns, "latest record")                              \
	F(le64, uint64_t, opaque, "blocks in which addresses may be that the tables do not have")
#define BLOCK_ENTRY(F)                                                           \
	F(le64, uint64_t, at, "file offset")                                     \
	F(le32, uint32_t, stored_bytes, "")                                      \
	F(le32, uint32_t, records, "")                                           \
	F(le64, uint64_t, first_ns, "earliest record")                           \
	F(le64, uint64_t, last_ns, "latest record")                              \
	F(le64, uint64_t, wire_bytes, "")                                        \
	F(le64, uint64_t, captured_bytes, "")                                    \
	F(le32, uint32_t, sampled, "as in the block's header")                   \
	F(u8, uint8_t, sampler, "as in the block's header")
/* then 32 bytes BLAKE2b-256 of the stored block, 32 bytes key of its chunks */
#define BLOCK_ENTRY_BYTES (53u + SEGMENT_HASH_BYTES + BLOCK_KEY_BYTES)
#define PAGE_ENTRY(F)                                                            \
	F(le64, uint64_t, high, "first key of the page, high half")              \
	F(le64, uint64_t, low, "low half")                                       \
	F(le64, uint64_t, at, "file offset")                                     \
	F(le32, uint32_t, sealed_bytes, "")                                      \
	F(le32, uint32_t, entries, "")
#define PAGE_ENTRY_BYTES 32u

enum segment_table { TABLE_IP4, TABLE_IP6, TABLE_PORT, TABLE_PROTO, TABLE_COUNT };

struct page_entry {
#define F(codec, type, name, description) type name;
	PAGE_ENTRY(F)
#undef F
};

/* Numbers that footer pages are sealed under: 0 the first main page, 1.. the table pages in file order, and the second main
 * page, the same bytes, under a number of its own, because a nonce is used once. */
#define SEGMENT_MAIN_COPY 0xffffffffu

/* Hash tree over leaves as in RFC 6962, section 2.1, with BLAKE2b-256. */
static inline void
hash_node(const uint8_t left[SEGMENT_HASH_BYTES], const uint8_t right[SEGMENT_HASH_BYTES], uint8_t out[SEGMENT_HASH_BYTES])
{
	uint8_t both[1 + 2 * SEGMENT_HASH_BYTES] = { 1 };
	memcpy(both + 1, left, SEGMENT_HASH_BYTES);
	memcpy(both + 1 + SEGMENT_HASH_BYTES, right, SEGMENT_HASH_BYTES);
	crypto_generichash(out, SEGMENT_HASH_BYTES, both, sizeof both, NULL, 0);
}

/* The root over n >= 1 leaf hashes, which are used up. */
static inline void
hash_root(uint8_t (*leaves)[SEGMENT_HASH_BYTES], uint32_t n, uint8_t out[SEGMENT_HASH_BYTES])
{
	/* Pairing neighbours level by level, an odd one moving up alone, gives RFC 6962's tree. */
	for (; n > 1; n = (n + 1) / 2)
		for (uint32_t i = 0; i < n; i += 2) {
			if (i + 1 < n)
				hash_node(leaves[i], leaves[i + 1], leaves[i / 2]);
			else
				memmove(leaves[i / 2], leaves[i], SEGMENT_HASH_BYTES);
		}
	memcpy(out, leaves[0], SEGMENT_HASH_BYTES);
}

static inline void
short_hash(const uint8_t *p, size_t n, uint8_t out[8])
{
	uint8_t hash[SEGMENT_HASH_BYTES];
	crypto_generichash(hash, sizeof hash, p, n, NULL, 0);
	memcpy(out, hash, 8);
}

#endif
