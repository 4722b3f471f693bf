/* Sealing: every stored chunk (a column of a block, a page of a footer) is encrypted and authenticated on its own, so that
 * a scan of two columns decrypts two columns.
 *
 * ChaCha20-Poly1305 (RFC 8439, libsodium's _ietf) under the segment's key. The key is used for one segment only, which is
 * written once, and each (block, chunk) pair is sealed once: the nonce is these two numbers. The additional data names
 * archive, segment, stream and place, so that a chunk moved elsewhere does not open.
 */
#ifndef ARCHIVE_SEAL_H
#define ARCHIVE_SEAL_H

#include <stddef.h>
#include <stdint.h>

#include "archive/segment.h"
#include "base/err.h"

#define SEAL_TAG_BYTES   16u
#define SEAL_FOOTER      0xffffffffu /* block number of footer pages */

/* Makes libsodium ready; before anything else of it, any number of times. ERR_UNSUPPORTED: it can not (no random source). */
enum err seal_start(void);

/* out gets n + SEAL_TAG_BYTES bytes; out may be p. */
void seal(const uint8_t key[SEGMENT_KEY_BYTES], const struct segment_name *name, uint32_t block, uint32_t chunk,
          const uint8_t *p, size_t n, uint8_t *out);
/* n sealed bytes; out gets n - SEAL_TAG_BYTES; out may be p. ERR_DENIED when they are not authentic. */
enum err unseal(const uint8_t key[SEGMENT_KEY_BYTES], const struct segment_name *name, uint32_t block, uint32_t chunk,
                const uint8_t *p, size_t n, uint8_t *out);

#endif
