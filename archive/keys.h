/* The keystore: a file of fixed slots, each one segment key wrapped by the owner key.
 *
 * One key per segment, in a slot that is overwritten in place when the segment is deleted: deleting the slot shreds the
 * segment, and no copy of it stays in a copy-on-write page or an older version of the file (a rewritten file would leave
 * its old blocks on the disk). The owner key lies in the archive directory (mode 0600) or wherever --key-file says.
 *
 * Keys in memory are sodium_malloc'ed, wiped on close, and never in argv, a log line or a message.
 */
#ifndef ARCHIVE_KEYS_H
#define ARCHIVE_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/segment.h"
#include "base/err.h"

#define KEYSTORE_VERSION      1u
#define KEYSTORE_HEADER_BYTES 512u /* one sector; slot n starts at KEYSTORE_HEADER_BYTES + n * KEYSTORE_SLOT_BYTES */
#define KEYSTORE_SLOT_BYTES   128u /* divides a sector: a slot is written whole or not at all */

/* The header: what is not listed is zero. */
#define KEYSTORE_HEADER(F)                                                                    \
	F(bytes, 8, magic, "ATOLLKEY")                                                        \
	F(le32, 4, version, "1")                                                              \
	F(le32, 4, slot_bytes, "128")                                                         \
	F(bytes, 16, archive, "archive id")                                                   \
	F(bytes, 32, proof, "BLAKE2b-256 of the bytes before, keyed with the owner key")      \
	F(bytes, 16, checksum, "BLAKE2b-128 of the bytes before: damage, told from a wrong key")

/* One slot: all zero when empty or shredded. */
#define KEYSTORE_SLOT(F)                                                                      \
	F(le64, 8, segment, "segment id, 1..")                                                \
	F(bytes, 24, nonce, "random")                                                         \
	F(bytes, 48, wrapped, "XChaCha20-Poly1305-IETF of the segment key under the key derived for " \
	                      "\"segment keys\"; additional data: archive id, slot (le32), segment (le64)")

struct keystore;

/* Makes dir/keystore (0600), and after it the owner key at key_path (0600; NULL: dir/owner.key). Both durable on return.
 * ERR_EXISTS when one of them is there. */
enum err keystore_create(const char *dir, const char *key_path, const uint8_t archive[ARCHIVE_ID_BYTES]);
/* Whether the file there is an owner key of this archive, or the beginning of one: what a killed keystore_create() leaves.
 * empty: an empty file counts as such a beginning. */
bool     keystore_owner_begun(const char *key_path, const uint8_t archive[ARCHIVE_ID_BYTES], bool empty);
/* ERR_ABSENT: no keystore or owner key (the sentence tells --key-file); ERR_DENIED: the owner key is not this
 * keystore's; ERR_FORMAT: damaged header. writable takes an exclusive lock (ERR_BUSY). */
enum err keystore_open(struct keystore **out, const char *dir, const char *key_path, bool writable);
void     keystore_close(struct keystore **k);
/* Keeps writers away (not readers) until it is closed: for a reader that a writer can not see otherwise. ERR_BUSY: a writer is
 * at work. Nothing for a keystore that is open for writing. */
enum err keystore_hold(struct keystore *k);
void     keystore_archive_id(const struct keystore *k, uint8_t archive[ARCHIVE_ID_BYTES]);

/* A fresh random key for segment id, durable on return. */
enum err keystore_add(struct keystore *k, uint64_t segment, uint32_t *slot, uint8_t key[SEGMENT_KEY_BYTES]);
/* ERR_ABSENT: the slot is empty or was shredded (the segment was deleted); ERR_DENIED: it does not open. */
enum err keystore_get(struct keystore *k, uint32_t slot, uint64_t segment, uint8_t key[SEGMENT_KEY_BYTES]);
/* Overwrites the slot with zeros in place, durable on return. Idempotent. The slot may serve another segment afterwards:
 * check keystore_slot() before shredding for a segment of an old record. */
enum err keystore_shred(struct keystore *k, uint32_t slot);
/* For recovery and fsck: how many slots the file has, and which segment one of them is for (ERR_ABSENT: empty). */
enum err keystore_slots(struct keystore *k, uint32_t *count);
enum err keystore_slot(struct keystore *k, uint32_t slot, uint64_t *segment);
/* A subkey for another purpose (the segment filter's hash, ...): keyed BLAKE2b of the owner key over label. */
void     keystore_derive(const struct keystore *k, const char *label, uint8_t out[32]);

#endif
