/* Selected records one after another: of one stream segment by segment (the earlier start first), in each in capture
 * order; of several merged in order of time (records of equal time in the order of streams, and within a stream as
 * captured).
 *
 * Merging looks at one window of time after the other: what lies in it is read from all streams into a pool (query/pool.h) and
 * given out in order. So memory is bounded however many streams there are and however they overlap.
 */
#ifndef QUERY_RECORDS_H
#define QUERY_RECORDS_H

#include "query/scan.h"

/* The columns that it reads besides the filter's; and those of a listing of one stream: no bytes behind the headers, no
 * checksums. What people are shown is a quarter of it, and does without BATCH_IP and BATCH_TCP. */
#define RECORD_COLUMNS  ((unsigned)(BATCH_BYTES | BATCH_SELECTED | BATCH_WIRE_LEN))
#define LISTING_COLUMNS ((unsigned)(BATCH_RAW | BATCH_SELECTED | BATCH_WIRE_LEN | BATCH_DIR | BATCH_TCP_FLAGS))
#define FIELDS_COLUMNS  (LISTING_COLUMNS | (unsigned)(BATCH_CAP_LEN | BATCH_IP | BATCH_TCP))

enum listing {
	LISTING_NONE,   /* records have bytes */
	LISTING_SHORT,  /* LISTING_COLUMNS do */
	LISTING_FIELDS, /* all columns but the bytes: FIELDS_COLUMNS */
};
#define RECORDS_MERGE_JOBS_MAX 2u

struct record {
	uint64_t ts_ns;
	uint32_t wire_len, cap_len;
	uint16_t linktype, iface;
	uint32_t stream;               /* index into plan_streams() */
	const uint8_t *bytes;          /* cap_len, and FRAMES_SLACK that may be read; valid during the call */
	/* A record of a listing that is IP has no bytes (NULL, cap_len 0). It is this row of this conversation of the batch,
	 * which has the listing's columns; NULL otherwise. */
	const struct batch *batch;
	uint32_t row, conversation;
};

struct records_sink {
	enum listing listing; /* what it is content with */
	/* One at a time. END stops. */
	enum err (*record)(void *arg, const struct record *r);
	void     (*notice)(void *arg, const char *sentence);         /* as in scan.h */
	void     (*step)(void *arg, uint64_t blocks, uint64_t records);
	void *arg;
};

/* BATCH_ columns that the sink's records take, besides the filter's. */
unsigned records_columns(const struct plan *p, enum listing listing);
/* The plan must be at its start. */
enum err records_run(struct plan *p, const struct filter *f, unsigned jobs, const struct records_sink *sink,
                     struct scan_counts *counts);

#endif
