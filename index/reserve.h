/* DIR/reserve: room on the disk that is kept for removing, so that a full disk can be made room on. A removal writes before it
 * frees: lines of the manifest, pages of the index. Its content means nothing; without the file (a copy, a restored backup)
 * the next writer makes it again, as soon as there is room. */
#ifndef INDEX_RESERVE_H
#define INDEX_RESERVE_H

#include <stdint.h>

#include "base/err.h"

#define RESERVE_BYTES         (256u << 10) /* the least: some pages twice over, and what a commit of a landing file takes */
#define RESERVE_SEGMENT_BYTES 4096u        /* for each segment: its rows and its filter's pages, in two transactions */

/* Makes it hold room for removing so many segments, unless it does. ERR_FULL: there is not as much. */
enum err reserve_keep(const char *dir, uint64_t segments);
/* Gives the room back to the disk; reserve_keep() afterwards. */
enum err reserve_release(const char *dir);

#endif
