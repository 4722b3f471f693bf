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
/* The captured bytes of a row of the last batch. A test that uses these batches defines batch_bytes() by it, in place of the
 * decoder's. */
enum err test_batch_bytes(const struct batch *b, uint32_t row, const uint8_t **bytes, uint32_t *n);
/* How often test_batch_bytes() was asked. */
extern unsigned long test_bytes_calls;

#endif
