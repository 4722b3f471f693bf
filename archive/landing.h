/* A landing file: what monitors sent, in the order of its arrival, all streams in one file, append only. It holds parcels until
 * they are merged into segments (index/reception.h).
 *
 *   landing file = LANDING_HEADER, records
 *   record = LANDING_RECORD, sealed key, front of the parcel (header, name, signature), block (none for a loss)
 *
 * The key of the block is sealed under the landing file's key (zeros for a loss), which the keystore holds as it holds a
 * segment's: destroying that one destroys all. The record's header is additional data, and holds the hash of the front,
 * which holds the hash of the block: so all of a record is authentic when the sealed key opens.
 *
 * A crash leaves a torn tail: records that were not synced may be missing in part, in any order.
 */
#ifndef ARCHIVE_LANDING_H
#define ARCHIVE_LANDING_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/parcel.h"
#include "archive/seal.h"
#include "archive/segment.h"
#include "base/err.h"

#define LANDING_MAGIC        0x444e414cu /* "LAND" */
#define LANDING_RECORD_MAGIC 0x4345524cu /* "LREC" */
#define LANDING_VERSION      1u

/* F(codec, size, name, meaning) */
#define LANDING_HEADER(F)                                                                                  \
	F(le32, 4, magic, "\"LAND\"")                                                                      \
	F(le32, 4, version, "1")                                                                           \
	F(le64, 8, id, "number of the file, of the same numbers as segments")                              \
	F(le32, 4, key_slot, "slot of the keystore that holds its key")                                    \
	F(bytes, 16, archive, "archive id")                                                                \
	F(bytes, 8, check, "first bytes of BLAKE2b-256 over all before")

#define LANDING_RECORD(F)                                                                                  \
	F(le32, 4, magic, "\"LREC\"")                                                                      \
	F(le32, 4, bytes, "of the whole record")                                                           \
	F(le32, 4, stream, "stream number")                                                                \
	F(le32, 4, monitor, "monitor number")                                                              \
	F(le32, 4, cuts, "how often the file was cut back before this was written; part of the nonce")     \
	F(le32, 4, front_bytes, "of the parcel, all but its block")                                        \
	F(le32, 4, block_bytes, "0 for a loss")                                                            \
	F(le32, 4, records, "in the block, as examined; as all that follow, 0 for a loss")                 \
	F(le64, 8, first_ns, "earliest record")                                                            \
	F(le64, 8, last_ns, "latest record")                                                               \
	F(le64, 8, wire_bytes, "sum over the records")                                                     \
	F(le64, 8, captured_bytes, "sum over the records")                                                 \
	F(le32, 4, sampled, "as in the block's header")                                                    \
	F(u8, 1, sampler, "as in the block's header")                                                      \
	F(le64, 8, arrived_ns, "when it came, ns since 1970 UTC")                                          \
	F(bytes, 32, parcel, "BLAKE2b-256 of the front: the hash of the parcel")                           \
	F(bytes, 8, check, "first bytes of BLAKE2b-256 over all before")

enum {
#define F(codec, size, name, meaning) +size
	LANDING_HEADER_BYTES = 0 LANDING_HEADER(F),
	LANDING_RECORD_BYTES = 0 LANDING_RECORD(F),
#undef F
};
#define LANDING_PREFIX_BYTES (LANDING_RECORD_BYTES + SEALED_BLOCK_KEY_BYTES) /* of a record, before the parcel */
#define LANDING_FILE_BYTES_MAX (LANDING_BYTES_MAX + PARCEL_BYTES_MAX + LANDING_PREFIX_BYTES)

struct landing_name {
	uint8_t  archive[ARCHIVE_ID_BYTES];
	uint64_t id;
	uint32_t key_slot;
};

struct landing_record {
#define F(codec, size, name, meaning) PARCEL_C_##codec(size, name)
	LANDING_RECORD(F)
#undef F
};

struct landing_entry {
	uint64_t at, next;              /* file offsets of this record and behind it */
	struct landing_record record;
	uint8_t key[BLOCK_KEY_BYTES];   /* of the block; who took the entry wipes it */
	struct parcel parcel;           /* pointers are valid until the next call; zero after landing_key() */
};

struct landing;

/* --- writing --- */
/* Makes path (ERR_EXISTS) and writes the header. key is copied. */
enum err landing_create(struct landing **out, const char *path, const struct landing_name *name,
                        const uint8_t key[SEGMENT_KEY_BYTES]);
/* Appends a parcel. info: as examined, NULL for a loss; key: the block's, NULL for a loss. Sets at, next and record of *out. A
 * failed write is taken back: ERR_FULL and others leave the file as it was, but when that fails, too: then ERR_IO. */
enum err landing_append(struct landing *l, const struct parcel *p, const struct block_info *info,
                        const uint8_t key[BLOCK_KEY_BYTES], uint32_t monitor, uint32_t stream, uint64_t arrived_ns,
                        struct landing_entry *out);
/* Takes back what was appended behind `bytes`. */
enum err landing_cut(struct landing *l, uint64_t bytes);
enum err landing_sync(struct landing *l); /* fdatasync */
uint64_t landing_bytes(const struct landing *l); /* written so far; of one that is read: when it was opened */

/* --- reading --- */
/* The clear name. ERR_FORMAT: not a landing file, or its header is damaged; ERR_UNSUPPORTED: version. */
enum err landing_read_name(const char *path, struct landing_name *name);
enum err landing_open(struct landing **out, const char *path, const uint8_t key[SEGMENT_KEY_BYTES]);
void     landing_close(struct landing **l); /* of either kind */
const struct landing_name *landing_name_of(const struct landing *l);
const char                *landing_path(const struct landing *l);
int                        landing_fd(const struct landing *l);

/* The record at this offset, all of it verified but the signature: seal, front, block. END: the file ends here; ERR_FORMAT,
 * ERR_DENIED: damaged or cut short (the sentence names file and offset). */
enum err landing_read(struct landing *l, uint64_t at, struct landing_entry *out);
/* Header and key of the block only. */
enum err landing_key(struct landing *l, uint64_t at, struct landing_entry *out);
/* The first offset behind `at` where a record's header is whole and opens, to go on behind damage. END: there is none. */
enum err landing_resync(struct landing *l, uint64_t at, uint64_t *next);
/* The block of a record as a segment's block table would have it, with its file offset; hash is zero unless the entry has its
 * parcel. */
struct block_info landing_block_info(const struct landing_entry *e);

#endif
