/* The records of decoded blocks as frames again, to encode them anew: a segment without its removed records, small blocks
 * joined. */
#ifndef ARCHIVE_REFRAME_H
#define ARCHIVE_REFRAME_H

#include "archive/batch.h"
#include "archive/frames.h"

/* Adds the records from from_ns on, in capture order, with the block's sampling. b has BATCH_ALL. ERR_LIMIT: they do not fit;
 * ERR_FORMAT: a frame can not be rebuilt. Then f is as it was. */
enum err reframe_add(struct frames *f, const struct batch *b, uint64_t from_ns);

#endif
