/* A pool of records that are merged by time: what was read of several streams and is not given out yet.
 *
 * Records are added block by block, as captured. Those that follow each other in order of time are a run; giving out merges
 * the runs. So streams that were captured in order cost one comparison for each record, and a stretch of one stream before
 * the next record of any other hardly that.
 */
#ifndef QUERY_POOL_H
#define QUERY_POOL_H

#include <stdbool.h>

#include "query/records.h"

#define POOL_BYTES    (64u << 20) /* holds any record; a block of 65,536 records of 75 bytes takes 7 MiB */
#define POOL_RUNS_MAX 65536u      /* of blocks in no order at all: as many as records */

struct pool;

enum err pool_open(struct pool **out);
void     pool_close(struct pool **p);
struct pool_fill {
	uint32_t bytes, records;   /* bytes: of POOL_BYTES */
};
struct pool_fill pool_fill(const struct pool *p);
/* Takes back what was added since it was as full as this: just opened or after giving out. */
void     pool_cut(struct pool *p, struct pool_fill fill);
/* Copies a record. place: of equal times the one with the smaller place comes first, then the one that was added first. ERR_LIMIT:
 * there is no room. */
enum err pool_add(struct pool *p, const struct record *r, uint32_t place);
/* Gives out the records up to this time (inclusive) in order of time, and keeps the others. Stops when see() does. */
enum err pool_give_out(struct pool *p, uint64_t last_ns, enum err (*see)(void *arg, const struct record *r), void *arg);

#endif
