/* Stands between a program and libc (LD_PRELOAD) and lets memory run out: the Nth call that asks for memory fails with ENOMEM.
 * Counted are, in the program and in the libraries it uses, from main() on (libc's own calls of these, too):
 *
 *     malloc calloc realloc reallocarray aligned_alloc memalign posix_memalign valloc mmap
 *
 *     ATOLL_NOMEM=N           call N fails
 *                 N+          so do all later ones
 *                 count:FILE  none fails; their number is written to FILE at the end
 *
 * A value that is none of these ends the process with a message. With several threads the number of a call is not the same in
 * every run.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
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

static void __attribute__((constructor))
start(void)
{
	const char *text = getenv("ATOLL_NOMEM");
	if (text == NULL || *text == 0)
		return;
	if (strncmp(text, "count:", 6) == 0 && text[6]) {
		count_path = text + 6;
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
	char line[32];
	atomic_store(&started, false);
	if (count_path == NULL)
		return;
	int n = snprintf(line, sizeof line, "%ld\n", atomic_load(&calls));
	long fd = syscall(SYS_openat, AT_FDCWD, count_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	(void)syscall(SYS_write, (int)fd, line, (size_t)n);
	(void)syscall(SYS_close, (int)fd);
}

/* Counts a call. True: it fails. */
static bool
fails(void)
{
	if (!atomic_load(&started))
		return false;
	long n = atomic_fetch_add(&calls, 1) + 1;
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
