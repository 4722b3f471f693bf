/* Frames to a block, a segment file and back, with everything on the way compared: bytes, times, lengths, order, flows and
 * columns against tests/support/plain_parse.h, sums, index tables, columns loaded one group after another. */
#ifndef TESTS_SUPPORT_BLOCK_TRIP_H
#define TESTS_SUPPORT_BLOCK_TRIP_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/batch.h"
#include "archive/frames.h"
#include "archive/segment.h"

struct packet_view;
struct trip;

/* Buffers, and a scratch file (in memory where the system has /dev/shm). view: for trip_view(), borrowed; NULL: for trip_run(). */
enum err trip_open(struct trip **out, const struct packet_view *view);
void     trip_close(struct trip **t);

/* One block. NULL: all was as it should be; otherwise what was not, valid until the next call. */
const char *trip_run(struct trip *t, const struct frames *in, bool headers_only);
/* One block through the view: shown becomes the frames that come out, in capture order; their bytes, read plainly, agree with all
 * columns of the view's batch, and so does what is loaded piece by piece or for a selection. */
const char *trip_view(struct trip *t, const struct frames *in, struct frames *shown);
/* The stored bytes of the last segment file. */
uint64_t    trip_stored_bytes(const struct trip *t);

/* --- its parts --- */
/* The batch (all columns loaded) holds exactly these frames. */
const char *trip_compare(const struct frames *in, bool headers_only, const struct batch *b);
/* Every address, port and protocol that a plain reading finds in the batch's records is in the tables for this block. */
const char *trip_find_all(struct segment *s, uint32_t block, const struct batch *b);
/* A fresh scratch path below /dev/shm or TMPDIR, and its removal. */
void        trip_scratch(char path[PATH_BYTES], const char *name);

#endif
