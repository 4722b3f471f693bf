/* A source of bytes: a file, standard input or memory, unpacked on the way when its content says that it is packed.
 *
 * gzip, zstd, xz and lz4 (frame format) are recognised by their magic, never by name. Members or frames that follow each
 * other are one stream, whatever their format; skippable frames (pzstd, lz4) and zero padding between members are passed
 * over. Anything else at the start of the file is handed out as it is, read straight into the caller's memory.
 *
 * Nothing is mapped: a file that shrinks while it is read ends early, it does not raise SIGBUS. Memory is bounded by
 * INFLATE_WINDOW_BYTES and a few hundred KiB, whatever the input declares.
 */
#ifndef INGEST_INFLATE_H
#define INGEST_INFLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The largest history that packed input may ask for: 128 MiB, as zstd's own program allows, for `zstd --long` and the ultra
 * levels. With it an import stays below 256 MiB (measured: 185 MiB). */
#define INFLATE_WINDOW_LOG   27
#define INFLATE_WINDOW_BYTES (1u << INFLATE_WINDOW_LOG)
/* For liblzma, its own state included: the 64 MiB dictionary of `xz -9` takes 65 MiB. */
#define INFLATE_XZ_BYTES     (68u << 20)
#define INFLATE_AHEAD_BYTES  (1u << 20)

struct inflate;

/* path "-" is standard input (left open on close). Reads nothing yet but opens the file. ERR_ABSENT, ERR_DENIED, ERR_IO,
 * ERR_NOMEM; ERR_USAGE: a directory. */
enum err inflate_open(struct inflate **out, const char *path);
/* Reads from bytes (borrowed until close), at most piece_bytes at a time as a slow pipe would (0: no limit). name is for
 * messages. */
enum err inflate_open_memory(struct inflate **out, const void *bytes, size_t n, size_t piece_bytes, const char *name);
void     inflate_close(struct inflate **s); /* sets *s to NULL */

/* Up to n (> 0) unpacked bytes, as many as come without waiting twice: OK with *got >= 1, or END. Bytes before any damage
 * are delivered first; then ERR_FORMAT (damaged or cut off), ERR_LIMIT (a window above the limit), ERR_UNSUPPORTED (a
 * feature that this build's library does not know), ERR_IO or ERR_INTERRUPTED (base/interrupt.h; also while waiting for a
 * pipe), with *got = 0 and a sentence that names file, offset and reason. END and errors are sticky: the same answer is
 * given again. */
enum err inflate_read(struct inflate *s, void *p, size_t n, size_t *got);

/* Calls see() with all stored bytes as they are read, and with n = 0 at the end. Before the first read. */
void     inflate_watch(struct inflate *s, void (*see)(void *arg, const void *bytes, size_t n), void *arg);
/* Waits until n (at most INFLATE_AHEAD_BYTES) bytes as stored were read in all, or as many as there are; reads hand them out,
 * also after an interrupt. What ends it early is for the next read to say. ERR_NOMEM. */
enum err inflate_ahead(struct inflate *s, size_t n);
bool     inflate_is_stream(const struct inflate *s); /* it can not be read twice */
int      inflate_fd(const struct inflate *s);        /* of a file */

/* "gzip", "zstd", "xz", "lz4", or "" for plain bytes; valid after the first read. The first member's. */
const char *inflate_format(const struct inflate *s);
const char *inflate_name(const struct inflate *s);      /* the path, or "standard input" */
uint64_t    inflate_in_bytes(const struct inflate *s);  /* read of the file so far, as stored; for progress */
uint64_t    inflate_out_bytes(const struct inflate *s); /* handed out so far */
uint64_t    inflate_size(const struct inflate *s);      /* of the file as stored; 0: unknown (a pipe) */

#endif
