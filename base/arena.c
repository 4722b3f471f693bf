#include "base/arena.h"

#include <sys/mman.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer) && !defined(__SANITIZE_ADDRESS__)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define POISON(p, n)   ASAN_POISON_MEMORY_REGION(p, n)
#define UNPOISON(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
#else
#define POISON(p, n)   ((void)(p))
#define UNPOISON(p, n) ((void)(p))
#endif

#define ALIGNMENT 64u      /* a cache line */
#define GAP       64u      /* poisoned, behind each piece */
#define HUGE_PAGE (2u << 20)

enum err
arena_init(struct arena *a, size_t room_bytes)
{
	size_t room = (room_bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
	void *p = mmap(NULL, room + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return fail_errno("%zu bytes of memory", room);
	/* Trim to whole large pages. */
	size_t front = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
	if (front)
		munmap(p, front);
	munmap((uint8_t *)p + front + room, HUGE_PAGE - front);
	*a = (struct arena){ .base = (uint8_t *)p + front, .room = room };
	/* Large pages are only a wish. Each block fills the first; the rest of one of which few records are wanted is touched here
	 * and there, and ends within the second: to clear all of that would take longer than the page faults. */
	madvise(a->base, HUGE_PAGE, MADV_HUGEPAGE);
	if (room > 2 * HUGE_PAGE)
		madvise(a->base + 2 * HUGE_PAGE, room - 2 * HUGE_PAGE, MADV_HUGEPAGE);
	POISON(a->base, a->room);
	return OK;
}

void
arena_fini(struct arena *a)
{
	if (a->base) {
		UNPOISON(a->base, a->room);
		munmap(a->base, a->room);
	}
	*a = (struct arena){ 0 };
}

void
arena_reset(struct arena *a)
{
	POISON(a->base, a->used);
	a->used = 0;
}

void *
arena_take(struct arena *a, size_t n)
{
	if (n > a->room - a->used || a->room - a->used - n < ALIGNMENT + GAP)
		return NULL;
	uint8_t *p = a->base + a->used;
	a->used += (n + GAP + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	UNPOISON(p, n);
	return p;
}
