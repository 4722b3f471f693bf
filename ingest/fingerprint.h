/* A fingerprint of a content, to notice a second import of the same: of a file before it is read, of a stream while it passes
 * by. The same bytes have the same fingerprint either way; packed bytes another one than what they unpack to.
 *
 * Its first half is BLAKE2b-128 of the first MiB: all that can be known of a stream before it must be stored. The second half
 * is BLAKE2b-128 over pieces of 4 KiB, each behind the last by 1/32 of its distance from the start (some 220 in a GB), the last
 * MiB, and the size (64-bit little-endian). So of up to 2 MiB every byte counts. Hashing all of a larger file would cost as
 * much as importing it: two files of the same size that differ only in bytes that were not looked at have the same
 * fingerprint.
 */
#ifndef INGEST_FINGERPRINT_H
#define INGEST_FINGERPRINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define TRACE_FINGERPRINT_BYTES       32
#define TRACE_FINGERPRINT_HEAD_BYTES  16          /* of these: the first half */
#define TRACE_FINGERPRINT_START_BYTES (1u << 20)  /* that the first half is of */
#define TRACE_FINGERPRINT_WHOLE_BYTES (2u << 20)  /* a larger file is sampled */

/* Of a regular file. ERR_IO. */
enum err fingerprint_file(int fd, const char *name, uint8_t out[TRACE_FINGERPRINT_BYTES]);

/* Of a stream. A MiB of memory. */
struct fingerprint;
enum err fingerprint_open(struct fingerprint **out);
void     fingerprint_close(struct fingerprint **f);
/* The next n bytes; 0: it ended. */
void     fingerprint_see(struct fingerprint *f, const void *bytes, size_t n);
/* Of what was seen. Before the end the second half is zero, and *whole false. */
void     fingerprint_get(const struct fingerprint *f, uint8_t out[TRACE_FINGERPRINT_BYTES], bool *whole);

#endif
