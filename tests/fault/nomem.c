/* Stands between a program and libc (LD_PRELOAD) and lets memory run out: the Nth call that asks for memory fails with ENOMEM.
 * Counted are, in the program and in the libraries it uses, from main() on (libc's own calls of these, too):
 *
 *     malloc calloc realloc reallocarray aligned_alloc memalign posix_memalign valloc mmap
 *
 *     ATOLL_NOMEM=N           call N fails
 *                 N+          so do all later ones
 *                 count:FILE  none fails; FILE gets two lines at the end: how many calls there were, and the numbers of those
 *                             that stand for all: the first and the last with the same stack of callers
 *
 * A value that is none of these ends the process with a message. With several threads the number of a call is not the same in
 * every run.
 */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* glibc's own, so that nothing has to be looked up before memory can be had */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t count, size_t n);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t alignment, size_t n);

static atomic_long calls;
static atomic_bool started;
static long at_call;
static bool and_later;
static const char *count_path;

/* Counting: calls by their stacks. */
#define STACKS_MAX 65536u
static struct { uint64_t hash; long first, last; } stacks[STACKS_MAX];
static pthread_mutex_t stacks_lock = PTHREAD_MUTEX_INITIALIZER;

static void __attribute__((constructor))
start(void)
{
	const char *text = getenv("ATOLL_NOMEM");
	if (text == NULL || *text == 0)
		return;
	if (strncmp(text, "count:", 6) == 0 && text[6]) {
		void *frames[1];
		count_path = text + 6;
		(void)backtrace(frames, 1); /* the first one asks for memory */
	} else {
		char *end;
		at_call = strtol(text, &end, 10);
		and_later = *end == '+';
		if (end == text || at_call < 1 || end[and_later] != 0) {
			static const char words[] = "nomem shim: not understood\n";
			(void)syscall(SYS_write, 2, words, sizeof words - 1);
			_exit(125);
		}
	}
	atomic_store(&started, true);
}

static void __attribute__((destructor))
end(void)
{
	atomic_store(&started, false);
	FILE *f = count_path ? fopen(count_path, "w") : NULL;
	if (f == NULL)
		return;
	fprintf(f, "%ld\n", atomic_load(&calls));
	for (size_t i = 0; i < STACKS_MAX; i++) {
		if (stacks[i].first)
			fprintf(f, "%ld ", stacks[i].first);
		if (stacks[i].last)
			fprintf(f, "%ld ", stacks[i].last);
	}
	fprintf(f, "\n");
	fclose(f);
}

static void
note_stack(long n)
{
	void *frames[64];
	uint64_t hash = 1;
	int depth = backtrace(frames, sizeof frames / sizeof *frames);
	for (int i = 0; i < depth; i++)
		hash = (hash ^ (uintptr_t)frames[i]) * 0x9e3779b97f4a7c15u, hash ^= hash >> 29;
	pthread_mutex_lock(&stacks_lock);
	size_t at = hash % STACKS_MAX;
	for (size_t tries = 0; stacks[at].first && stacks[at].hash != hash; at = (at + 1) % STACKS_MAX)
		if (++tries == STACKS_MAX)
			abort();
	stacks[at].hash = hash;
	if (stacks[at].first)
		stacks[at].last = n;
	else
		stacks[at].first = n;
	pthread_mutex_unlock(&stacks_lock);
}

/* Counts a call. True: it fails. */
static bool
fails(void)
{
	if (!atomic_load(&started))
		return false;
	long n = atomic_fetch_add(&calls, 1) + 1;
	if (count_path)
		note_stack(n);
	if (at_call == 0 || (n != at_call && !(and_later && n > at_call)))
		return false;
	errno = ENOMEM;
	return true;
}

void *
malloc(size_t n)
{
	return fails() ? NULL : __libc_malloc(n);
}

void *
calloc(size_t count, size_t n)
{
	return fails() ? NULL : __libc_calloc(count, n);
}

void *
realloc(void *p, size_t n)
{
	return fails() ? NULL : __libc_realloc(p, n);
}

void *
reallocarray(void *p, size_t count, size_t n)
{
	if (n && count > SIZE_MAX / n) {
		errno = ENOMEM;
		return NULL;
	}
	return fails() ? NULL : __libc_realloc(p, count * n);
}

void *
memalign(size_t alignment, size_t n)
{
	return fails() ? NULL : __libc_memalign(alignment, n);
}

void *
aligned_alloc(size_t alignment, size_t n)
{
	return fails() ? NULL : __libc_memalign(alignment, n);
}

void *
valloc(size_t n)
{
	return fails() ? NULL : __libc_memalign((size_t)sysconf(_SC_PAGESIZE), n);
}

/* returns the error */
int
posix_memalign(void **p, size_t alignment, size_t n)
{
	if (fails())
		return ENOMEM;
	void *got = __libc_memalign(alignment, n);
	if (got == NULL)
		return ENOMEM;
	*p = got;
	return 0;
}

void *
mmap(void *p, size_t n, int protection, int flags, int fd, off_t at)
{
	if (fails())
		return MAP_FAILED;
	long got = syscall(SYS_mmap, p, n, protection, flags, fd, at);
	return (void *)got;
}

void *
mmap64(void *p, size_t n, int protection, int flags, int fd, off64_t at)
{
	return mmap(p, n, protection, flags, fd, at);
}
