/* Writing a segment again without its removed records (those before hidden_until_ns). */
#ifndef INDEX_TRIM_H
#define INDEX_TRIM_H

#include <stdint.h>

#include "base/err.h"
#include "index/store.h"

/* All segments of the archive that hold removed records; *segments counts the ones done. Stops between segments when
 * interrupted (ERR_INTERRUPTED): the rest stays hidden, and the next call goes on. ERR_FORMAT: a block can not be read; its
 * segment is left as it is. */
enum err trim_segments(struct store *s, uint64_t *segments);

#endif
