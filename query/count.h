/* Packets and bytes of a selection: the cheapest sink. It reads no more than flow dictionaries and lengths, and of blocks
 * that are selected whole nothing at all. */
#ifndef QUERY_COUNT_H
#define QUERY_COUNT_H

#include "query/scan.h"

struct count {
	uint64_t packets, wire_bytes;
};

/* notice and step of how are used, nothing else of it. */
enum err count_run(struct plan *p, const struct filter *f, unsigned jobs, const struct scan_sink *how,
                   struct count *count, struct scan_counts *counts);
/* The columns that it reads besides the filter's. */
#define COUNT_COLUMNS ((unsigned)BATCH_WIRE_LEN)

#endif
