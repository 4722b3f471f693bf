/* An archive whose records are known one by one, for tests of what reads it. One at a time; not thread-safe.
 *
 *	made_open();
 *	made_segment("x", times, 1000, 300);                  a segment of four blocks
 *	struct archive *a = made_archive();                   for reading
 *	... made[0 .. made_count - 1] ...
 *	made_close();
 *
 * Record number n of a stream is UDP from 10.STREAM.n/256.n%256 (port 4096) to 198.51.100.7, port 443 for every third and 53
 * for the others; its wire length is 60 + n % 100.
 */
#ifndef TESTS_SUPPORT_MADE_STREAMS_H
#define TESTS_SUPPORT_MADE_STREAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "index/archive_dir.h"
#include "query/plan.h"

#define MADE_BYTES 46u

struct made {
	uint64_t ts_ns;
	uint32_t stream;            /* as numbered by the archive, 1.. */
	uint32_t segment, block;    /* 0.. over all streams; in the segment */
	uint32_t wire_len;
	bool     https;             /* to port 443 */
	uint8_t  bytes[MADE_BYTES];
};
extern struct made *made;           /* in the order in which they were committed */
extern uint32_t made_count, made_segments;

void made_open(void);               /* aborts on any error, as all here */
void made_segment(const char *stream, const uint64_t *times, uint32_t count, uint32_t per_block);
/* Ends writing. Owned here. */
struct archive *made_archive(void);
void made_segment_path(uint32_t segment, char out[PATH_BYTES]);
/* Flips a bit of the middle byte of a segment's file: in its last block when there are two. */
void made_damage(uint32_t segment);
/* So many that the segment does not open. */
void made_ruin(uint32_t segment);
void made_close(void);

/* A request over the made archive: streams NULL-ended (NULL: all), [from, until) (until 0: no end), expression. The plan and
 * the filter are owned here until the next made_plan() or made_close(). */
struct plan   *made_plan(const char *const *streams, uint64_t from_ns, uint64_t until_ns, const char *expression);
struct filter *made_filter(void);

#endif
