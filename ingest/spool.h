/* The spool: parcels on a monitor's disk, from the moment they are made until the archive has acknowledged them.
 *
 *   DIR/lock                         held while a process uses the spool
 *   DIR/state                        SPOOL_STATE and SPOOL_STREAM rows; written whole, renamed over the old one
 *   DIR/pushed                       files that were pushed: SPOOL_SOURCE records, appended
 *   DIR/NNNNNNNNNNNNNNNN.parcels     parcels of all streams, one behind the other, as they were made
 *
 * spool_append() signs a parcel in its place (epoch, sequence, chain) and writes it; spool_sync() makes what was appended
 * durable; only what is durable is given to the sender, so that a place is never signed twice with other content, whatever
 * happens. A file is removed when all in it is acknowledged, after the state that remembers where its streams stand is durable.
 * At the start the state is corrected from the files, which may be ahead of it; the tail of the last file is cut behind the
 * last parcel that is whole and has its signature and hash.
 *
 * The files together are at most bytes_max. When a parcel finds no room:
 *   SPOOL_STOP    spool_append() refuses it (ERR_FULL): the caller waits (spool_wait_room) or drops and counts (spool_lose)
 *   SPOOL_OLDEST  the oldest file that can not have reached the archive is replaced by a LOSS parcel for each of its streams,
 *                 which keeps the chain; its records are counted as lost_spool. When there is none: as SPOOL_STOP
 * Not dropped is what may have been sent but is not known to be acknowledged (SENDER_WINDOW_BYTES at most).
 *
 * Loss counters: lost_spool of a parcel counts what was dropped before it was made; a LOSS parcel carries the counters of the
 * last parcel that it replaces, so that they never decrease along the chain.
 *
 * A sender reads parcels in order, from where the archive stands: spool_resume() for each stream, then spool_read(). When
 * parcels are missing between there and what the spool has (a file of the spool is damaged, or the archive went back to a
 * backup), a LOSS parcel is made on the fly that bridges them.
 *
 * Threads: appends to one stream by one thread at a time; one sender; everything else from any thread.
 *
 * Errors: ERR_FULL: no room, or the disk is full; nothing was kept and the spool goes on. ERR_IO (also of fsync) is final: every
 * later append and sync gives it again; the next start reads again what is there.
 */
#ifndef INGEST_SPOOL_H
#define INGEST_SPOOL_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/parcel.h"
#include "base/err.h"
#include "ingest/identity.h"
#include "ingest/trace.h"

#define SPOOL_VERSION 1u

#define SPOOL_STATE(F)                                                                          \
	F(bytes, 8, magic, "ATOLLSPL")                                                          \
	F(le32, 4, version, "1")                                                                \
	F(le32, 4, streams, "rows that follow, then BLAKE2b-256 of all before it")              \
	F(bytes, 32, monitor, "Ed25519 public key that signed the parcels")                     \
	F(le64, 8, dropping, "number of the file that is being replaced by losses; 0: none")

#define SPOOL_STREAM(F)                                                                         \
	F(bytes, 64, name, "padded with zeros")                                                 \
	F(le64, 8, epoch, "ns since 1970, UTC")                                                 \
	F(le64, 8, sequence, "of the last parcel made; 0: none yet")                            \
	F(bytes, 32, chain, "its hash")                                                         \
	F(le64, 8, acked, "sequence up to which the archive has acknowledged")                  \
	F(le64, 8, acked_ns, "when it last did; 0: never")                                      \
	F(le64, 8, packets, "in parcels since the epoch began")                                 \
	F(le64, 8, lost_kernel, "as in parcels")                                                \
	F(le64, 8, lost_interface, "")                                                          \
	F(le64, 8, lost_spool, "")                                                              \
	F(le64, 8, lost_policy, "")                                                             \
	F(bytes, 32, source, "fingerprint of the file that is being pushed; zero: none")        \
	F(le64, 8, source_records, "of it that are in parcels")

#define SPOOL_SOURCE(F)                                                                         \
	F(bytes, 32, source, "fingerprint")                                                     \
	F(bytes, 64, stream, "padded with zeros")                                               \
	F(le64, 8, records, "of it that are in parcels")                                        \
	F(le64, 8, complete, "1: that was all of it; 0: another file was begun before its end") \
	F(bytes, 16, checksum, "BLAKE2b-128 of the bytes before")

enum spool_policy { SPOOL_STOP, SPOOL_OLDEST };
enum spool_cause { SPOOL_LOST_KERNEL, SPOOL_LOST_INTERFACE, SPOOL_LOST_SPOOL, SPOOL_LOST_POLICY, SPOOL_CAUSES };

struct spool_options {
	uint64_t bytes_max;      /* 0: SPOOL_BYTES_DEFAULT */
	uint32_t file_bytes;     /* 0: SPOOL_FILE_BYTES, or an eighth of bytes_max */
	uint64_t window_bytes;   /* what a sender may have under way; 0: SENDER_WINDOW_BYTES */
	enum spool_policy policy;
};

struct spool_stream {
#define F(codec, size, name, meaning) PARCEL_C_##codec(size, name)
	SPOOL_STREAM(F)
#undef F
	uint64_t spool_bytes;   /* not acknowledged */
};

struct spool_totals {
	unsigned streams;
	uint64_t bytes, bytes_max; /* of the files */
	uint64_t waiting_bytes;    /* of parcels that are not acknowledged */
	uint64_t flight_bytes;     /* of these, read by the sender */
	uint64_t files;
	bool     full;             /* the last append found no room */
};

struct spool;

/* Makes dir (0700) when it is not there. id: borrowed. ERR_BUSY: another process has it (the sentence says so); ERR_DENIED: the
 * parcels in it were signed by another identity; ERR_LIMIT: more streams than SPOOL_STREAMS_MAX. What was cut or is damaged is
 * said in the log. */
enum err spool_open(struct spool **out, const char *dir, const struct identity *id, const struct spool_options *o);
/* Makes all durable and writes the state; then, or on an error too, frees everything and sets *s to NULL. */
enum err spool_close(struct spool **s);
/* Another key of the archive, from the next parcel on. */
void     spool_ingest_key(struct spool *s, const uint8_t ingest[INGEST_KEY_BYTES]);

/* The stream of this name, made when there is none. ERR_USAGE: not a name (1..63 bytes of a-z A-Z 0-9 . _ - : @ +, not beginning
 * with a dot); ERR_LIMIT. */
enum err spool_stream(struct spool *s, const char *name, unsigned *stream);
void     spool_stream_get(struct spool *s, unsigned stream, struct spool_stream *out);
void     spool_totals(struct spool *s, struct spool_totals *out);
/* n packets more were lost in this way; the next parcel says so. */
void     spool_lose(struct spool *s, unsigned stream, enum spool_cause cause, uint64_t n);

/* Signs and writes a parcel of kind block: of p are taken block, block_bytes, records, first_ns, last_ns, captured_bytes, made_ns,
 * source, source_records; the rest is filled in. key: the block's. ERR_FULL, ERR_IO, ERR_LIMIT (larger than a parcel or than the
 * spool may be); the stream is then as before. */
enum err spool_append(struct spool *s, unsigned stream, struct parcel *p, const uint8_t key[BLOCK_KEY_BYTES]);
enum err spool_sync(struct spool *s);
bool     spool_unsynced(struct spool *s);
/* Until there is room for a parcel with so many bytes of block, or so long. False: there is none. */
bool     spool_wait_room(struct spool *s, uint32_t block_bytes, unsigned milliseconds);
/* Until all is acknowledged (of what was appended before the call), or so long. */
bool     spool_wait_empty(struct spool *s, unsigned milliseconds);

/* --- files that are pushed --- */

struct spool_source {
	char     stream[SPOOL_NAME_BYTES]; /* where it went */
	uint64_t records;                  /* so many are in parcels */
	bool     complete;
};
/* What was pushed of this file, in this folder's memory. ERR_ABSENT: nothing. */
enum err spool_source_find(struct spool *s, const uint8_t source[TRACE_FINGERPRINT_BYTES], struct spool_source *out);
/* From now on the parcels of stream may name this source; one that was begun there and not ended is remembered with its
 * records. Durable. */
enum err spool_source_begin(struct spool *s, unsigned stream, const uint8_t source[TRACE_FINGERPRINT_BYTES]);
/* All of it is in parcels: makes them and this durable. */
enum err spool_source_end(struct spool *s, unsigned stream, const uint8_t source[TRACE_FINGERPRINT_BYTES], uint64_t records);

/* --- the sender's side --- */

struct spool_mark { /* where the archive stands */
	uint64_t epoch, sequence;
	uint8_t  chain[PARCEL_HASH_BYTES];
};

/* A new session begins: nothing is under way any more, spool_read() starts at the oldest. */
void     spool_rewind(struct spool *s);
/* What the archive has of this stream: up to there it is acknowledged. ERR_DENIED: it has more than this spool ever made, so the
 * folder was copied or is older than what was sent; the sentence says what to do. */
enum err spool_resume(struct spool *s, unsigned stream, const struct spool_mark *mark);
/* The next durable parcel, n bytes, valid until the next call. END: none for now. Parcels of streams that were not resumed
 * since the last rewind stop it: *stream tells, ERR_ABSENT. */
enum err spool_read(struct spool *s, const uint8_t **bytes, uint32_t *n, unsigned *stream);
/* Acknowledged up to sequence. ERR_FORMAT: of what was never sent. */
enum err spool_acknowledge(struct spool *s, const char *stream, uint64_t epoch, uint64_t sequence);
/* The archive will never take this one: from the next rewind on a LOSS is sent in its place. */
void     spool_refuse(struct spool *s, const char *stream, uint64_t sequence);

/* --- looking, without the lock --- */

/* The streams as the state file tells (*streams malloc'ed), and the bytes of the files. ERR_ABSENT: no spool. */
enum err spool_look(const char *dir, struct spool_stream **streams, struct spool_totals *totals);

#endif
