/* Batches for tests, made straight from frames: no codec between. Conversations, rows and columns are as archive/batch.h
 * says. One batch at a time; not thread-safe. */
#ifndef TESTS_SUPPORT_MAKE_BATCH_H
#define TESTS_SUPPORT_MAKE_BATCH_H

#include "archive/batch.h"
#include "archive/frames.h"

/* All columns; valid until the next call. frames must outlive it. */
enum err test_batch_of(const struct frames *f, const struct batch **out);
/* A copy that has only the columns asked for, the others NULL, so that reading one that was not asked for crashes. */
struct batch test_batch_with(const struct batch *b, unsigned columns);
void     test_batch_release(void);
/* Row -> index into frames->v, of the last batch. */
uint32_t *test_frame_of(void);
/* How often batch_bytes() rebuilt a record. */
extern unsigned long test_bytes_calls;

#endif
