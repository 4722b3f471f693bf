/* Frames as a sealed segment file in a scratch place, opened for reading: what the tests of the read path start from. */
#ifndef TESTS_SUPPORT_SEALED_FRAMES_H
#define TESTS_SUPPORT_SEALED_FRAMES_H

#include "archive/frames.h"
#include "archive/segment.h"

/* One stream of blocks of per_block frames each (the last may have fewer); at most SEGMENT_BLOCKS_MAX blocks. The file is
 * gone from its folder already. Closed with segment_close(). */
enum err sealed_frames(struct segment **out, const struct frames *f, uint32_t per_block);
/* Buffers kept between calls. */
void     sealed_frames_release(void);

#endif
