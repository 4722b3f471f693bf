/* An arena: memory that is handed out piece by piece and taken back all at once. Only what is used becomes resident, in
 * large pages where the system has them, so that a short query does not pay a thousand page faults. Built with
 * AddressSanitizer the gaps between pieces are poisoned: an overrun is found as it is with malloc. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct arena {
	uint8_t *base;
	size_t   room, used;
};

enum err arena_init(struct arena *a, size_t room_bytes);
void     arena_fini(struct arena *a);
void     arena_reset(struct arena *a);
/* n bytes, aligned for anything; not cleared. NULL when the arena is used up. */
void    *arena_take(struct arena *a, size_t n);

#endif
