/* A simulated monitor: signed parcels of sealed blocks, made the same each time, for tests of what receives them. Aborts on any
 * error of its own. Not thread-safe.
 *
 *     sender_open(&m, store, "mon", 1);                     enrolled, unless it is
 *     sending_begin(&s, &m, "eth0", 1);                     a stream, epoch 1
 *     struct sent *p = send_block(&s, 100);                 its next parcel: 100 records
 *     send_land(store, &m, p, now_ns, &answer, &mark);      what the ingest process and the store do with it
 *     digest_add(&want, &p->digest); sent_free(&p);
 *     archive_digest(store_archive(store), "mon/eth0", 0, UINT64_MAX, &have);
 */
#ifndef TESTS_SUPPORT_SENDER_H
#define TESTS_SUPPORT_SENDER_H

#include <stdio.h>

#include "archive/frames.h"
#include "index/reception.h"

struct digest {           /* of a set of records, each with its time, lengths and bytes; order does not matter */
	uint64_t records, sum;
};
void digest_add(struct digest *d, const struct digest *more);

struct sender {
	uint32_t number;
	uint8_t  sign_public[32], sign_secret[64], ingest[32], archive[16];
};

struct sending {
	const struct sender *of;
	char     stream[STREAM_NAME_BYTES];
	uint64_t epoch, sequence;
	uint8_t  previous[PARCEL_HASH_BYTES];
	uint64_t next_ns;             /* time of the next record; they are 1 us apart */
	uint32_t number;              /* of the next record */
	uint32_t sampled;
	enum sampler_kind sampler;
	uint64_t lost_kernel, lost_interface, lost_spool, lost_policy;
	bool     counts_at_once;      /* a loss has what was dropped in its own counter, too */
	uint64_t counts_part;         /* or so many of it */
};

struct sent {
	struct parcel p;
	uint8_t       front[PARCEL_FRONT_BYTES_MAX], key[BLOCK_KEY_BYTES];
	uint8_t      *block;
	struct digest digest;
};

void sender_open(struct sender *m, struct store *s, const char *name, uint8_t seed);
void sending_begin(struct sending *s, const struct sender *m, const char *stream, uint64_t epoch);
struct sent *send_block(struct sending *s, uint32_t records);
/* The next parcel of these frames, whose times are their own; without a digest. */
struct sent *send_frames(struct sending *s, const struct frames *f, bool headers_only);
/* So many parcels are dropped, with so many records: one parcel that says so. */
struct sent *send_loss(struct sending *s, uint32_t parcels, uint64_t records);
void sent_free(struct sent **p);
/* Parses, verifies and examines it, then store_land(). */
enum err send_land(struct store *s, const struct sender *m, const struct sent *p, uint64_t now_ns, enum landing_answer *answer,
                   struct feed_mark *mark);
void sender_release(void); /* buffers */

/* A parcel as a spool keeps it: the same bytes each time. sent_read(): NULL at the end. */
void sent_write(const struct sent *p, FILE *f);
struct sent *sent_read(FILE *f);

/* The records of a stream (NULL: all) in [from_ns, until_ns); fails where a query would. *notices counts what could not be read
 * (NULL: then it aborts). */
enum err archive_digest(struct archive *a, const char *stream, uint64_t from_ns, uint64_t until_ns, struct digest *d,
                        uint64_t *notices);

#endif
