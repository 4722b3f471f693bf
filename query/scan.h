/* The scan: runs the blocks of a plan through the filter and hands what is selected to a sink, on several threads.
 *
 * Each worker of a crew (base/crew.h) decodes, filters and prepares one block at a time; results are delivered one after the
 * other in the order of the plan. A block that can not be read is reported and
 * left out; the rest still reads.
 */
#ifndef QUERY_SCAN_H
#define QUERY_SCAN_H

#include "query/plan.h"

/* One block with at least one selected record. */
struct scan_block {
	const struct plan_segment *segment;
	uint32_t block;
	const struct block_info *info;
	const struct batch *batch;     /* with the sink's columns; NULL when all records are selected and the sink said so */
	const uint8_t *conversation;   /* by conversation: 0 no row, 1 all rows, 2 as row[] says */
	const uint8_t *row;            /* by row: 0 or 1; of all conversations when the sink wants by_row, else of those with 2 */
	uint32_t selected;             /* records */
};

struct scan_sink {
	unsigned columns;              /* BATCH_ bits */
	bool     no_batch_for_all;     /* do not load a block of which all records are selected */
	bool     by_row;               /* fill row[] for all conversations */
	/* On the worker's thread, for different workers at the same time. May be NULL. */
	enum err (*prepare)(void *arg, unsigned worker, const struct scan_block *b);
	/* In the order of blocks, one at a time, on the thread of the worker that prepared; b as there. END stops the scan. */
	enum err (*deliver)(void *arg, unsigned worker, const struct scan_block *b);
	/* A sentence about something that could not be read; one at a time. */
	void     (*notice)(void *arg, const char *sentence);
	/* After each block, also those without a selected record. May be NULL. */
	void     (*step)(void *arg, uint64_t blocks, uint64_t records);
	void *arg;
};

struct scan_counts {
	uint64_t blocks, records;      /* looked at */
	uint64_t bytes_read;
	uint64_t damaged;              /* segments and blocks that could not be read */
	uint64_t refused;              /* blocks with records of link types that the filter is not for (filter_refused()) */
};

/* Runs from the plan's present position with crew_size(jobs) workers. OK also when the sink stopped it. *counts is added
 * to. An error of the plan comes after the blocks before it. */
enum err scan_run(struct plan *p, const struct filter *f, unsigned jobs, const struct scan_sink *sink,
                  struct scan_counts *counts);

#endif
