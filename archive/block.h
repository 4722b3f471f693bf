/* A block: up to BLOCK_RECORDS_MAX records of one stream as sealed chunks, and what the index wants to know of them.
 *
 *   stored block = header (BLOCK_HEADER), chunk table (BLOCK_CHUNK each), sealed chunks
 *
 * The header and table lie in the clear: they tell sizes only. The header is authenticated with each chunk (seal.h), all of
 * it by the hash of the whole stored block, which segment footers and parcels hold.
 */
#ifndef ARCHIVE_BLOCK_H
#define ARCHIVE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/frames.h"
#include "archive/packet_model.h"
#include "archive/segment.h"

#define BLOCK_MAGIC   0x314b4c42u /* "BLK1" */
#define BLOCK_VERSION 3u

#define BLOCK_HEADER(F)                                                        \
	F(le32, uint32_t, magic, "\"BLK1\"")                                   \
	F(u8, uint8_t, version, "3")                                           \
	F(u8, uint8_t, kind, "record kind: 1 packet")                          \
	F(le16, uint16_t, chunks, "entries of the chunk table")                \
	F(le32, uint32_t, records, "1..65536")                                 \
	F(le32, uint32_t, stored_bytes, "of the whole block, this header included") \
	F(le32, uint32_t, sampled, "these are one in so many records of the source, 1..") \
	F(le32, uint32_t, sampler, "how they were chosen: 0 all, 1 every Nth, 2 at random, 3 by flow")
#define BLOCK_CHUNK(F)                                                         \
	F(le32, uint32_t, id, "column chunk; ascending")                       \
	F(le32, uint32_t, sealed_bytes, "with the 16-byte tag")

#define BLOCK_HEADER_BYTES 24u
#define BLOCK_CHUNK_BYTES  8u

struct block_header {
#define F(codec, type, name, description) type name;
	BLOCK_HEADER(F)
#undef F
};

/* A block and what the index wants to know of it. All pointers belong to the encoder (or whoever made it) and are valid until
 * its next block. */
struct block {
	const uint8_t *stored;     /* stored_bytes; of block_encode(): sealed once block_seal() was called */
	uint32_t stored_bytes;
	struct block_info info;    /* at and hash are filled by the segment */
	const uint32_t *ip4;       /* distinct addresses for the index, ascending: see segment_find_ip4() */
	const uint8_t (*ip6)[16];
	const uint16_t *ports;     /* distinct, ascending */
	const uint8_t *protos;
	uint32_t ip4_count, ip6_count, port_count, proto_count;
	bool opaque;               /* holds records in which libpcap might see addresses that we do not */
	uint32_t chunk_count;
};

struct block_encoder;              /* buffers for one block, and habits of packing; one per thread */
enum err block_encoder_open(struct block_encoder **out);
void     block_encoder_close(struct block_encoder **e);
/* Encodes 1..BLOCK_RECORDS_MAX frames. headers_only cuts each frame after its innermost transport header. ERR_LIMIT when
 * in holds more bytes than a block may; ERR_NOMEM. */
enum err block_encode(struct block_encoder *e, const struct frames *in, bool headers_only, struct block *out);
/* Writes the header and seals in place. Once per block, under a key used for nothing else. */
void     block_seal(struct block_encoder *e, struct block *b, const uint8_t key[BLOCK_KEY_BYTES]);

#endif
