/* A segment: an immutable file of up to SEGMENT_BLOCKS_MAX sealed blocks of one stream, with a sealed footer that holds
 * the block table, the distinct addresses, ports and protocols with the set of blocks each occurs in, and the root of a
 * hash tree over the stored bytes. docs/format.md has the layout.
 *
 * A set of blocks of one segment is a 64-bit word: bit i is block i.
 */
#ifndef ARCHIVE_SEGMENT_H
#define ARCHIVE_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

#define SEGMENT_KEY_BYTES  32
#define BLOCK_KEY_BYTES    32
#define SEGMENT_HASH_BYTES 32
#define ARCHIVE_ID_BYTES   16

struct segment_name {              /* in the clear in the file's first bytes; also additional data of every seal */
	uint8_t  archive[ARCHIVE_ID_BYTES];
	uint64_t id;               /* 1.., never used twice in an archive */
	uint32_t key_slot;         /* which key of the keystore opens it */
	uint32_t stream;           /* stream number */
};

struct block_info {
	uint64_t at;               /* file offset of the stored block */
	uint32_t stored_bytes;
	uint32_t records;
	uint64_t first_ns, last_ns;/* earliest and latest record (not necessarily the first and last one) */
	uint64_t wire_bytes, captured_bytes; /* sums over the records */
	uint32_t sampled;          /* the records are one in so many of the source's, 1.. */
	uint8_t  sampler;          /* enum sampler_kind (frames.h) */
	uint8_t  hash[SEGMENT_HASH_BYTES];   /* BLAKE2b-256 of the stored block */
};

struct segment_totals {
	uint32_t blocks;
	uint64_t records, wire_bytes, captured_bytes;
	uint64_t first_ns, last_ns;
	uint64_t file_bytes;       /* all of the file */
	uint64_t footer_bytes;     /* of these, footer (block table and address, port, protocol tables) */
	uint8_t  root[SEGMENT_HASH_BYTES];
};

/* --- writing: one writer, then never again --- */
struct block;                      /* archive/block.h: an encoded, not yet sealed block */
struct segment_writer;

/* Creates path (ERR_EXISTS when there) for blocks of the named stream. key is copied. stream_name goes into the footer,
 * so that an index can be rebuilt from segments alone. */
enum err segment_create(struct segment_writer **out, const char *path, const struct segment_name *name,
                        const uint8_t key[SEGMENT_KEY_BYTES], const char *stream_name);
/* Appends a block sealed under this key, which goes into the footer. */
enum err segment_append(struct segment_writer *w, const struct block *b, const uint8_t key[BLOCK_KEY_BYTES]);
/* The same with the hash of the stored block, when who calls has made it already. */
enum err segment_append_hashed(struct segment_writer *w, const struct block *b, const uint8_t key[BLOCK_KEY_BYTES],
                               const uint8_t hash[SEGMENT_HASH_BYTES]);
/* Seals an encoded block under a fresh random key and appends it. */
struct block_encoder;
enum err segment_seal(struct segment_writer *w, struct block_encoder *e, struct block *b);
uint32_t segment_block_count(const struct segment_writer *w);
/* True when the next block belongs into a new segment. */
bool     segment_full(const struct segment_writer *w);
/* Waits until a few more MiB of what was appended are on the disk; *settled: all is. For who can not wait long in
 * segment_finish(). */
enum err segment_settle(struct segment_writer *w, bool *settled);
/* Writes the footer and makes the file durable (fdatasync). The writer stays open for segment_writer_close(). */
enum err segment_finish(struct segment_writer *w, struct segment_totals *totals);
void     segment_writer_close(struct segment_writer **w);

/* --- reading --- */
struct segment;

/* The clear name of a segment file, from the header or else a trailer, to look up its key. ERR_FORMAT when the file is
 * none or damaged in all of these,
 * ERR_UNSUPPORTED for another format version (both named). */
enum err segment_read_name(const char *path, struct segment_name *name);
/* Opens and authenticates header, trailer and block table; where one of these is damaged its copy is taken. ERR_FORMAT
 * names what is damaged; ERR_DENIED: the key is not this segment's (or header and trailers were changed). */
enum err segment_open(struct segment **out, const char *path, const uint8_t key[SEGMENT_KEY_BYTES]);
void     segment_close(struct segment **s);
/* What was damaged at opening and made up for by a copy, in a sentence that names file and part; "": nothing was seen. Not
 * all copies are looked at then: segment_check_index() does. */
const char                  *segment_fault(const struct segment *s);
const struct segment_name   *segment_name_of(const struct segment *s);
const struct segment_totals *segment_totals_of(const struct segment *s);
const char                  *segment_stream_name(const struct segment *s);
const struct block_info     *segment_blocks(const struct segment *s); /* segment_totals_of()->blocks of them */

/* Up to SEGMENT_BLOCKS_MAX blocks of one stream that lie in landing files (archive/landing.h), read as if they were a
 * segment's; every block is in the answer of each find below. Copies infos and keys; fd and path are borrowed until
 * segment_close(). Sentences name path and offset. */
struct landed_block {
	const struct block_info *info;
	const uint8_t *key;        /* BLOCK_KEY_BYTES */
	int            fd;
	const char    *path;
};
enum err segment_of_landed(struct segment **out, uint32_t stream, const struct landed_block *v, uint32_t n);

/* Which blocks hold at least one record with an IPv4 address in [first, last] (host order), as source or destination, at
 * any place where libpcap's `host` could look, ARP included. */
enum err segment_find_ip4(struct segment *s, uint32_t first, uint32_t last, uint64_t *blocks);
enum err segment_find_ip6(struct segment *s, const uint8_t first[16], const uint8_t last[16], uint64_t *blocks);
/* The same for a TCP, UDP or SCTP port range, and for an IP protocol or next header. Blocks with records whose headers
 * were not understood (opaque) are in every answer. */
enum err segment_find_port(struct segment *s, uint16_t first, uint16_t last, uint64_t *blocks);
enum err segment_find_proto(struct segment *s, uint8_t proto, uint64_t *blocks);
/* All distinct addresses (for a rebuild of the segment filter); arrays owned by the segment. */
enum err segment_all_addresses(struct segment *s, const uint32_t **ip4, uint32_t *ip4_count,
                               const uint8_t (**ip6)[16], uint32_t *ip6_count);

/* For fsck: authenticates every page of the tables and every copy of header, main page and trailer, and holds the footer
 * and the block table against the root of the hash tree. Does not look at the blocks themselves. The sentence names segment
 * and table or copy, the first damaged one. */
enum err segment_check_index(struct segment *s);

/* For fsck, of a segment whose index and blocks are whole: whether the tables are those that its records make (they were made
 * by who examined the blocks, which may have been another process). Reads all blocks. ERR_FORMAT names the table. */
struct block_examiner;
enum err segment_check_terms(struct segment *s, struct block_examiner *x);

/* A block decoder: buffers for one block at a time, reused. One per thread; any number of segments. */
struct batch;
struct block_decoder;
struct packet_view;
/* view: what to show (archive/packet_view.h), borrowed; NULL: what was captured. */
enum err block_decoder_open(struct block_decoder **out, const struct packet_view *view);
void     block_decoder_close(struct block_decoder **d);
/* Decodes the asked columns (BATCH_ bits) of one block, adding to what the decoder already holds of it, so that a query
 * can look at the flows first and at more only where it must. *out is valid until another block is loaded, or close.
 * ERR_FORMAT names segment file, block and column. bytes_read (may be NULL) grows by what was read from the file. */
enum err segment_load(struct segment *s, uint32_t block, struct block_decoder *d, unsigned columns,
                      const struct batch **out, uint64_t *bytes_read);
/* The same, when only rows of selected conversations are wanted: others may hold anything in wire_len, dir, tcp_flags,
 * BATCH_CAP_LEN, BATCH_IP and BATCH_TCP, unless these were loaded before without a selection. BATCH_SELECTED gives
 * batch.selected. */
struct selection;
enum err segment_load_selected(struct segment *s, uint32_t block, struct block_decoder *d, unsigned columns,
                               const struct selection *sel, const struct batch **out, uint64_t *bytes_read);
/* What segment_load() would read for these columns: reads the block's header only. */
enum err segment_cost(struct segment *s, uint32_t block, unsigned columns, uint64_t *bytes);
/* Authenticates and hashes one stored block without decoding; then decodes all columns. For fsck: the sentence names
 * segment, block and column. */
enum err segment_check_block(struct segment *s, uint32_t block, struct block_decoder *d);

#endif
