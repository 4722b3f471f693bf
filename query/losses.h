/* What is missing in a range: the gaps (index/rows.h) of the streams asked for that overlap it. A gap counts with all of its
 * packets: how many of them lie in the range, or would match a filter, nobody knows. */
#ifndef QUERY_LOSSES_H
#define QUERY_LOSSES_H

#include "base/when.h"
#include "index/catalogue.h"

struct losses {
	uint64_t gaps, packets;
	uint64_t by_cause[GAP_CAUSES];
};

/* In a snapshot of the catalogue: the stream's next gap behind *row that overlaps the span (zeroed: the first); END. */
enum err losses_next(struct catalogue *c, uint32_t stream, const struct span *span, struct gap_row *row);
/* Adds those of the stream. */
enum err losses_find(struct catalogue *c, uint32_t stream, const struct span *span, struct losses *losses);

#endif
