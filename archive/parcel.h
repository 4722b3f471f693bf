/* A parcel: what a monitor keeps in its spool, sends, and gets acknowledged, one by one: a sealed block of one stream with
 * a signed header. It carries its own place in the stream, so that an archive takes each exactly once:
 *
 *   epoch     a chain of parcels; a monitor begins a larger one when it lost its state (ns since 1970 when it began)
 *   sequence  1, 2, ... within the epoch
 *   previous  hash of the parcel before; two parcels that claim the same place give a monitor away that was copied
 *
 *   parcel = PARCEL_HEADER, stream name, signature (Ed25519 over all before it), block
 *
 * The hash of a parcel is BLAKE2b-256 of everything but the block (whose hash the header holds). The key of the block's
 * chunks is sealed for the archive's ingest key (libsodium's crypto_box_seal: X25519, XSalsa20-Poly1305), so a monitor
 * can not open what it spooled.
 */
#ifndef ARCHIVE_PARCEL_H
#define ARCHIVE_PARCEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/segment.h"
#include "base/err.h"
#include "base/limits.h"

#define PARCEL_MAGIC   0x4c435250u /* "PRCL" */
#define PARCEL_VERSION 1u

#define PARCEL_HASH_BYTES       32u
#define PARCEL_SIGN_BYTES       64u /* Ed25519 signature, and libsodium's secret key */
#define PARCEL_MONITOR_BYTES    32u /* Ed25519 public key */
#define PARCEL_SEALED_KEY_BYTES 80u /* crypto_box_seal of BLOCK_KEY_BYTES */
#define INGEST_KEY_BYTES        32u /* X25519, either half */

enum parcel_kind {
	PARCEL_BLOCK = 1, /* records */
	PARCEL_LOSS = 2,  /* parcels were dropped from the spool; no block */
};

/* F(codec, size, name, meaning): codecs le8 le32 le64 bytes. Losses count packets since the epoch began and never decrease. */
#define PARCEL_HEADER(F)                                                                                   \
	F(le32, 4, magic, "\"PRCL\"")                                                                      \
	F(u8, 1, version, "1")                                                                             \
	F(u8, 1, kind, "1 block, 2 loss")                                                                  \
	F(le16, 2, name_bytes, "of the stream's name")                                                     \
	F(bytes, 16, archive, "archive id")                                                                \
	F(bytes, 32, monitor, "Ed25519 public key")                                                        \
	F(le64, 8, epoch, "ns since 1970, UTC")                                                            \
	F(le64, 8, sequence, "1..")                                                                        \
	F(bytes, 32, previous, "hash of the parcel before; zero in the first of an epoch")                 \
	F(le64, 8, made_ns, "the monitor's clock when it was made, ns since 1970 UTC")                     \
	F(le64, 8, records, "in the block, or lost with the dropped parcels")                              \
	F(le64, 8, first_ns, "earliest of these records")                                                  \
	F(le64, 8, last_ns, "latest")                                                                      \
	F(le64, 8, captured_bytes, "sum over these records")                                               \
	F(le64, 8, lost_kernel, "packets dropped by the kernel: the capture was too slow")                 \
	F(le64, 8, lost_interface, "dropped by the interface or its driver")                               \
	F(le64, 8, lost_spool, "dropped from the spool, or for want of room in it")                        \
	F(le64, 8, lost_policy, "left out on purpose: sampling, shedding")                                 \
	F(bytes, 32, source, "fingerprint of the file that is pushed; zero: a live capture")               \
	F(le64, 8, source_records, "of this file that are in parcels up to this one")                      \
	F(le64, 8, from_sequence, "loss: the first sequence that was dropped; this parcel takes the place of the last") \
	F(bytes, 32, hash, "BLAKE2b-256 of the block; loss: the hash of the last parcel that was dropped, " \
	                   "which `previous` of the next one names")                                       \
	F(le32, 4, block_bytes, "0 for a loss")                                                            \
	F(bytes, 80, sealed_key, "key of the block for the archive's ingest key; zero for a loss")

#define PARCEL_C_u8(size, name)    uint8_t name;
#define PARCEL_C_le16(size, name)  uint16_t name;
#define PARCEL_C_le32(size, name)  uint32_t name;
#define PARCEL_C_le64(size, name)  uint64_t name;
#define PARCEL_C_bytes(size, name) uint8_t name[size];

enum {
#define F(codec, size, name, meaning) +size
	PARCEL_HEADER_BYTES = 0 PARCEL_HEADER(F), /* without name and signature */
#undef F
};
#define PARCEL_FRONT_BYTES_MAX (PARCEL_HEADER_BYTES + STREAM_NAME_BYTES - 1 + PARCEL_SIGN_BYTES) /* all but the block */

struct parcel {
#define F(codec, size, name, meaning) PARCEL_C_##codec(size, name)
	PARCEL_HEADER(F)
#undef F
	char           stream[STREAM_NAME_BYTES];
	const uint8_t *front;      /* as stored: header, name, signature */
	uint32_t       front_bytes;
	const uint8_t *block;      /* block_bytes, behind front; NULL for a loss */
	uint8_t        self[PARCEL_HASH_BYTES]; /* the hash of this parcel */
};

/* Fills p's magic, version, name_bytes, hash and sealed_key (kind block), writes header, name and signature to front and
 * sets p->front, front_bytes, self. p->stream is the stream's name; for a block p->block and block_bytes are the sealed
 * block and key its key; a loss has neither (NULL) and p->hash is given. sign: libsodium's Ed25519 secret key. */
void     parcel_sign(struct parcel *p, const uint8_t sign[PARCEL_SIGN_BYTES], const uint8_t ingest[INGEST_KEY_BYTES],
                     const uint8_t key[BLOCK_KEY_BYTES], uint8_t front[PARCEL_FRONT_BYTES_MAX]);
/* The front alone, of a parcel that was parsed and has another place now: hash and sealed key are those it has. */
void     parcel_sign_again(struct parcel *p, const uint8_t sign[PARCEL_SIGN_BYTES], uint8_t front[PARCEL_FRONT_BYTES_MAX]);

/* Whether a monitor may call a stream so: 1 to 63 of a-z A-Z 0-9 . _ - : @ +, not beginning with a dot. It is shown in terminals
 * and pages, and is one part of MONITOR/STREAM. */
bool     parcel_is_name(const char *name);
/* How long the parcel is that starts with these n >= PARCEL_HEADER_BYTES bytes: to know how much to read. ERR_FORMAT. */
enum err parcel_length(const uint8_t *bytes, size_t n, uint64_t *length);
/* Takes exactly n bytes apart; pointers are into bytes. Checks shape and bounds only. ERR_FORMAT, ERR_LIMIT,
 * ERR_UNSUPPORTED: version or kind. */
enum err parcel_parse(const uint8_t *bytes, size_t n, struct parcel *p);
/* The front alone: p->block is NULL. For who keeps it apart from the block. */
enum err parcel_parse_front(const uint8_t *bytes, size_t n, struct parcel *p);
/* Signature by p->monitor, and the block's hash (of p->block, block_bytes). ERR_DENIED says which. */
enum err parcel_verify(const struct parcel *p);
/* The key of the block, with the archive's ingest key pair. ERR_DENIED: sealed for another. */
enum err parcel_open_key(const uint8_t sealed_key[PARCEL_SEALED_KEY_BYTES], const uint8_t ingest_public[INGEST_KEY_BYTES],
                         const uint8_t ingest_secret[INGEST_KEY_BYTES], uint8_t key[BLOCK_KEY_BYTES]);

#endif
