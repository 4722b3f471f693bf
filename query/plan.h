/* The plan of a query: which blocks must be looked at, and why the others need not be.
 *
 * Segments are taken by stream and time from the catalogue; its segment filters skip those that can not hold an address
 * that the filter requires. plan_next() then opens one segment after the other and picks its blocks by time and by the
 * segment's address, port and protocol tables.
 *
 * What monitors sent and is not merged into segments yet is in the same snapshot (query/landed.h): a query sees each record once,
 * whatever is merged while it runs.
 */
#ifndef QUERY_PLAN_H
#define QUERY_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "anonymize/view.h"
#include "base/when.h"
#include "index/archive_dir.h"
#include "query/filter.h"
#include "query/losses.h"

/* What is asked for. All borrowed. */
struct request {
	const char *const *streams;  /* names; none: all streams */
	unsigned stream_count;
	struct span span;            /* of captured times: a view's are translated (view_unmap_span()) */
	const struct filter *filter;
	const struct view *view;     /* what is shown of the records; NULL: what was captured */
};

struct plan_stream {
	uint32_t id;
	char name[STREAM_NAME_BYTES];
};

/* Counted while planning. Skipped ones are counted once, for the first reason that applied. */
struct plan_counts {
	uint64_t segments, segments_by_time, segments_by_address;
	uint64_t segments_missing;   /* segments and landing files lost, or removed while the query ran: the answer is partial */
	uint64_t blocks, blocks_by_time, blocks_by_index;
	uint64_t blocks_left, records_left;
	uint64_t landed_blocks, landed_records, landed_bytes; /* not in segments yet; the blocks are among those above */
};

/* What was said of a segment already: a plan that is narrowed to one window of time after another says it once. */
struct plan_said {
	bool missing, unreadable, fault;
	uint64_t damaged, refused;   /* blocks */
};

struct plan_segment {
	struct segment *segment;     /* open; owned by the plan until plan_release() */
	uint32_t stream;             /* index into plan_streams() */
	uint32_t number;             /* in the order of plan_next(), also of narrowed plans */
	uint64_t blocks;             /* to look at, one bit each */
	struct span span;            /* the request's, less what was removed from this segment */
	bool landed;                 /* its blocks lie in landing files; segment stays the plan's */
	unsigned users;
	struct plan_said *said;      /* the plan's */
	char fault[ERR_TEXT_BYTES];  /* why its tables could not be asked, so that all blocks in time are looked at;
	                              * or what else of it is damaged, at no cost; "" */
};

struct plan;

/* ERR_ABSENT: a stream that does not exist (the sentence names the nearest). Uses the archive's catalogue only here. */
enum err plan_open(struct plan **out, struct archive *a, const struct request *r);
void     plan_close(struct plan **p);
unsigned plan_streams(const struct plan *p, const struct plan_stream **streams);
const struct view *plan_view(const struct plan *p);
/* The next segment with blocks to look at, in the order of streams as asked for (all: by number) and of time; END. */
enum err plan_next(struct plan *p, struct plan_segment **out);
void     plan_release(struct plan *p, struct plan_segment **s);
const struct plan_counts *plan_counts(const struct plan *p);
/* What is missing in the range of the request, in the snapshot of the plan. */
const struct losses *plan_losses(const struct plan *p);
/* The i-th segment of the request, 0.., as the catalogue had it (id 0: blocks that landed; records and times only), and its index
 * into plan_streams(); NULL behind the last. Those that the index says can not match are not among them. */
const struct segment_row *plan_source(const struct plan *p, uint32_t i, uint32_t *stream);
const struct request *plan_request(const struct plan *p);
void     plan_counts_add(struct plan_counts *sum, const struct plan_counts *c);
/* How many of the streams have segments to look at. */
unsigned plan_streams_used(const struct plan *p);
/* The time from the first to behind the last record that may be selected, as the catalogue knows it; false: none. */
bool     plan_extent(const struct plan *p, struct span *extent);
/* The width of time from here on that holds about so many records, if those of each segment are spread evenly over its span; at
 * least 1 ns, at most up to the end of the extent. */
uint64_t plan_even_width(const struct plan *p, uint64_t at, uint64_t records);
/* How much of the plan is done, of *total (0: not known). In records, those of skipped blocks and segments included; scanned:
 * records in the blocks looked at. Of a narrowed plan: about as many as lie before the end of its window. */
uint64_t plan_progress(const struct plan *p, uint64_t scanned, uint64_t *total);
/* From the start again. */
void     plan_rewind(struct plan *p);
/* Looks at nothing outside this span from now on, and only at blocks that start in `starts` (rewinds, too). */
void     plan_narrow(struct plan *p, struct span span, struct span starts);

#endif
