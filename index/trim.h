/* Writing a segment again without its removed records (those before hidden_until_ns). */
#ifndef INDEX_TRIM_H
#define INDEX_TRIM_H

#include <stdint.h>

#include "base/err.h"
#include "index/store.h"

struct trim_result {
	uint64_t segments;         /* done */
	uint64_t records;          /* that went from them */
};

/* All segments of the archive that hold removed records. Stops between segments when interrupted (ERR_INTERRUPTED) or the disk is
 * full (ERR_FULL): the rest stays hidden, and the next call goes on. ERR_FORMAT: a block can not be read; its segment is left
 * as it is. On an error too *result tells what was done. */
enum err trim_segments(struct store *s, struct trim_result *result);
/* How many records before until_ns a segment shows that would have to be rewritten without them. */
enum err trim_count(struct archive *a, const struct segment_row *row, uint64_t until_ns, uint64_t *records);

#endif
