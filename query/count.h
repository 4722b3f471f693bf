/* Packets and bytes of a selection: the cheapest sink. It reads no more than flow dictionaries and lengths, and of blocks
 * that are selected whole nothing at all. */
#ifndef QUERY_COUNT_H
#define QUERY_COUNT_H

#include "query/scan.h"

/* Where packets were sampled one in N, N estimates how many there were for each (Horvitz-Thompson). When they were chosen at
 * random, n of them in a block have the variance n N (N - 1) in that sum, and 1.96 times the root of the variances' sum is half the
 * width of the interval that holds the true number in 95 of 100 cases. Taking every Nth comes close to that (RFC 5475, 5.1)
 * unless the traffic has the same period. Of sampled flows the variance is larger, by flows that nobody knows: no width. */
struct count {
	uint64_t packets, wire_bytes;                   /* as stored */
	uint64_t estimated_packets, estimated_bytes;    /* each times the rate of its block; at most 2^64 - 1 */
	double   variance;                              /* of estimated_packets */
	uint64_t sampled;                               /* of packets: in blocks with a rate larger than 1 */
	bool     by_flow;                               /* some of these were chosen by flow */
};
/* Half the width; 0 when nothing was sampled. */
double   count_error(const struct count *c);

/* Adds to *count and *counts. notice and step of how are used, nothing else of it. */
enum err count_run(struct plan *p, const struct filter *f, unsigned jobs, const struct scan_sink *how,
                   struct count *count, struct scan_counts *counts);
/* The columns that it reads besides the filter's. */
#define COUNT_COLUMNS ((unsigned)BATCH_WIRE_LEN)

#endif
