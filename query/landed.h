/* Blocks that wait in landing files (index/reception.h), for the planner: as segments of up to SEGMENT_BLOCKS_MAX blocks
 * (archive/segment.h, segment_of_landed()), with the files held open, so that they can be read when a writer has merged and
 * destroyed them meanwhile. */
#ifndef QUERY_LANDED_H
#define QUERY_LANDED_H

#include "base/when.h"
#include "index/archive_dir.h"

/* Landing files opened by one plan. */
struct landed_files {
	struct landed_file {
		struct landing_row row;
		struct landing *landing;      /* NULL: it can not be read */
		char *fault;                  /* why; NULL: gone */
	} *v;
	uint32_t count;
};
void landed_files_fini(struct landed_files *f);

struct landed_counts {
	uint64_t blocks, records, bytes;      /* that wait */
	uint64_t blocks_by_time;              /* of these, outside of the span */
	uint64_t missing;                     /* landing files that are gone */
};

/* Blocks of one stream that lie in the span, in the order in which they came. segment is whoever's takes it to close; NULL
 * when none of them can be read. fault: what can not be read of them, malloc'ed; NULL: nothing. */
struct landed_part {
	struct segment *segment;
	uint64_t first_ns, last_ns, records;
	char *fault;
};
typedef enum err landed_see(void *arg, struct landed_part *part);

/* In a snapshot of the catalogue. ERR_BUSY: a landing file has vanished since the snapshot was taken: take a new one (final:
 * it is counted as missing instead). */
enum err landed_find(struct landed_files *files, struct archive *a, uint32_t stream, const struct span *span, bool final,
                     struct landed_counts *counts, landed_see *see, void *arg);

#endif
