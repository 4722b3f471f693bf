/* Reading sealed blocks, wherever they lie: in a segment, in a landing file, or in memory as they came from a monitor. */
#ifndef ARCHIVE_BLOCK_READ_H
#define ARCHIVE_BLOCK_READ_H

#include "archive/batch.h"
#include "archive/block.h"

/* All borrowed for the call. */
struct stored_block {
	uint64_t serial;               /* no other block has it: what a decoder holds of a block it need not read again */
	const struct block_info *info; /* at: file offset; not used when bytes is given */
	const uint8_t *key;            /* BLOCK_KEY_BYTES */
	int            fd;
	const char    *path;
	const uint8_t *bytes;          /* info->stored_bytes of them in memory; NULL: in the file */
};

/* n serials in a row that nobody else has; the first. */
uint64_t block_serials(uint32_t n);

/* Decodes the asked columns (BATCH_ bits), adding to what the decoder already holds of this block. *out is valid until
 * another block is loaded, or close. ERR_FORMAT, ERR_DENIED name the column. bytes_read (may be NULL) grows by what was
 * read from the file. */
enum err block_load(struct block_decoder *d, const struct stored_block *b, unsigned columns, const struct batch **out,
                    uint64_t *bytes_read);
/* The same for the rows of a selection only: see segment_load_selected(). */
enum err block_load_selected(struct block_decoder *d, const struct stored_block *b, unsigned columns,
                             const struct selection *sel, const struct batch **out, uint64_t *bytes_read);
/* What block_load() would read for these columns: reads the block's header only. */
enum err block_cost(const struct stored_block *b, unsigned columns, uint64_t *bytes);
/* Decodes all columns and rebuilds all frames, and holds sums and hash against info. */
enum err block_check(struct block_decoder *d, const struct stored_block *b);

/* What is in a block that somebody sent: its header, checked for itself (magic, version, sizes against n, sampling), as an
 * info without times, sums and hash. The rest of info is filled by block_examine(). ERR_FORMAT, ERR_UNSUPPORTED. */
enum err block_header_info(const uint8_t *bytes, uint32_t n, struct block_info *info);

/* How far block_examine() looks. */
enum examine {
	EXAMINE_INDEX, /* dictionary, times, lengths on the wire: all that the index is made of. 20 ns a record. The captured bytes
	                * are as claimed, and the order of the records or a frame may still turn out inconsistent when it is read */
	EXAMINE_ALL,   /* and the order, and every frame is rebuilt: 130 ns a record */
};

/* Looks through a block that somebody sent: opens and decodes its columns and makes from them, as block_encode() does, what
 * the index wants to know (out; pointers belong to x until its next block). bytes: n of them, borrowed by out; claimed: the
 * sum of captured bytes that the sender says. ERR_DENIED: not sealed under this key; ERR_FORMAT, ERR_LIMIT,
 * ERR_UNSUPPORTED: it contradicts itself or its claim. */
struct block_examiner;                /* buffers for one block, reused */
enum err block_examiner_open(struct block_examiner **out);
void     block_examiner_close(struct block_examiner **x);
enum err block_examine(struct block_examiner *x, const uint8_t *bytes, uint32_t n, const uint8_t key[BLOCK_KEY_BYTES],
                       uint64_t claimed_captured_bytes, enum examine depth, struct block *out);
/* What the index wants to know of a block that is stored here, for who holds it against what the index has: of out only info and
 * the terms. Errors of block_load(). */
enum err block_terms(struct block_examiner *x, const struct stored_block *stored, struct block *out);

#endif
