/* Sealing: every stored chunk (a column of a block, a page of a footer) is encrypted and authenticated on its own, so that
 * a scan of two columns decrypts two columns.
 *
 * ChaCha20-Poly1305 (RFC 8439, libsodium's _ietf). A block has a key of its own, which is used for its chunks only: so a
 * block is sealed where it is made, on a monitor as well as here, and its stored bytes are the same wherever they lie
 * (spool, wire, landing file, segment). The additional data is the block's header. The pages of a segment's footer, which
 * hold the keys of its blocks, are sealed under the segment's key; the additional data names archive, segment and stream.
 * The number of the chunk or page is the nonce: each is sealed once.
 */
#ifndef ARCHIVE_SEAL_H
#define ARCHIVE_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "archive/block.h"
#include "archive/segment.h"
#include "base/err.h"

#define SEAL_TAG_BYTES         16u
#define SEALED_BLOCK_KEY_BYTES (BLOCK_KEY_BYTES + SEAL_TAG_BYTES)

/* Makes libsodium ready; before anything else of it, any number of times. ERR_UNSUPPORTED: it can not (no random source). */
enum err seal_start(void);

/* out gets n + SEAL_TAG_BYTES bytes; out may be p. */
void     seal_chunk(const uint8_t key[BLOCK_KEY_BYTES], const uint8_t header[BLOCK_HEADER_BYTES], uint32_t chunk,
                    const uint8_t *p, size_t n, uint8_t *out);
void     seal_page(const uint8_t key[SEGMENT_KEY_BYTES], const struct segment_name *name, uint32_t page, const uint8_t *p,
                   size_t n, uint8_t *out);
/* The key of a landed block under the landing file's key: the nonce is the record's file offset and how often the file was
 * cut back before, so that no two seals share one; ad is the record's header. out gets SEALED_BLOCK_KEY_BYTES. */
void     seal_block_key(const uint8_t key[SEGMENT_KEY_BYTES], uint64_t at, uint32_t cuts, const void *ad, size_t ad_bytes,
                        const uint8_t block_key[BLOCK_KEY_BYTES], uint8_t out[SEALED_BLOCK_KEY_BYTES]);
enum err unseal_block_key(const uint8_t key[SEGMENT_KEY_BYTES], uint64_t at, uint32_t cuts, const void *ad, size_t ad_bytes,
                          const uint8_t sealed[SEALED_BLOCK_KEY_BYTES], uint8_t block_key[BLOCK_KEY_BYTES]);
/* n sealed bytes; out gets n - SEAL_TAG_BYTES; out may be p. ERR_DENIED when they are not authentic. */
enum err unseal_chunk(const uint8_t key[BLOCK_KEY_BYTES], const uint8_t header[BLOCK_HEADER_BYTES], uint32_t chunk,
                      const uint8_t *p, size_t n, uint8_t *out);
enum err unseal_page(const uint8_t key[SEGMENT_KEY_BYTES], const struct segment_name *name, uint32_t page,
                     const uint8_t *p, size_t n, uint8_t *out);

/* For the wire (Noise's ChaChaPoly): the nonce is 32 zero bits and number, additional data may be NULL. Rules as above. */
void     seal_frame(const uint8_t key[32], uint64_t number, const void *ad, size_t ad_bytes, const uint8_t *p, size_t n,
                    uint8_t *out);
enum err unseal_frame(const uint8_t key[32], uint64_t number, const void *ad, size_t ad_bytes, const uint8_t *p, size_t n,
                      uint8_t *out);

#endif
