/* Stands between a program and libc (LD_PRELOAD) and writes down every call that changes files below a folder, with its data, so
 * that a test can work out what a disk may hold when the power fails at any moment (tests/e2e/powerloss.py).
 *
 *     ATOLL_RECORD=FILE       what was done is appended to FILE, a line for each call that went well
 *     ATOLL_RECORD_DIR=DIR    only below DIR (absolute)
 *
 *     create PATH             a file that was not there
 *     write PATH AT HEX       also of pwrite, writev, pwritev
 *     dsync PATH AT HEX       the same through a descriptor with O_DSYNC or O_SYNC
 *     size PATH N             ftruncate, truncate, O_TRUNC
 *     sync PATH               fsync, fdatasync; of a folder, too
 *     mkdir PATH | remove PATH | rename FROM TO | exchange ONE OTHER | link FROM TO
 *
 * PATH is absolute and may hold no blank. For programs of one thread.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char below[PATH_MAX], record_path[PATH_MAX];

static void __attribute__((constructor))
start(void)
{
	const char *file = getenv("ATOLL_RECORD"), *dir = getenv("ATOLL_RECORD_DIR");
	if (file)
		snprintf(record_path, sizeof record_path, "%s", file);
	if (dir)
		snprintf(below, sizeof below, "%s", dir);
}

static bool
is_below(const char *path)
{
	size_t n = strlen(below);
	return record_path[0] && strncmp(path, below, n) == 0 && (path[n] == '/' || path[n] == 0);
}

static bool
path_of_fd(int fd, char out[PATH_MAX])
{
	char link[64];
	int kept = errno;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, out, PATH_MAX - 1);
	errno = kept;
	out[n < 0 ? 0 : n] = 0;
	return n > 0 && is_below(out);
}

/* Absolute, the last component not followed. */
static bool
path_of_name(int dirfd, const char *name, char out[PATH_MAX])
{
	char joined[2 * PATH_MAX], folder[PATH_MAX];
	int kept = errno;
	if (name[0] == '/')
		snprintf(joined, sizeof joined, "%s", name);
	else if (dirfd == AT_FDCWD && getcwd(folder, sizeof folder))
		snprintf(joined, sizeof joined, "%s/%s", folder, name);
	else if (dirfd != AT_FDCWD && path_of_fd(dirfd, folder))
		snprintf(joined, sizeof joined, "%s/%s", folder, name);
	else
		joined[0] = 0;
	char *slash = strrchr(joined, '/');
	out[0] = 0;
	if (slash) {
		*slash = 0;
		if (realpath(*joined ? joined : "/", folder))
			snprintf(out, PATH_MAX, "%.*s/%s", PATH_MAX / 2, folder, slash + 1);
	}
	errno = kept;
	return is_below(out);
}

static void
put(const char *text, size_t n)
{
	int kept = errno;
	long fd = syscall(SYS_openat, AT_FDCWD, record_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || syscall(SYS_write, (int)fd, text, n) != (long)n)
		abort();
	(void)syscall(SYS_close, (int)fd);
	errno = kept;
}

static void
note(const char *what, const char *path, const char *more)
{
	char line[3 * PATH_MAX];
	int n = snprintf(line, sizeof line, "%s %s%s%s\n", what, path, *more ? " " : "", more);
	put(line, (size_t)n);
}

static void
note_write(int fd, const char *path, const void *p, size_t n, off64_t at)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *bytes = p;
	bool synchronous = fcntl(fd, F_GETFL) & (O_DSYNC | O_SYNC);
	char *line = malloc(PATH_MAX + 64 + 2 * n);
	if (line == NULL)
		abort();
	size_t used = (size_t)snprintf(line, PATH_MAX + 64, "%s %s %lld ", synchronous ? "dsync" : "write", path, (long long)at);
	for (size_t i = 0; i < n; i++) {
		line[used++] = digits[bytes[i] >> 4];
		line[used++] = digits[bytes[i] & 15];
	}
	line[used++] = '\n';
	put(line, used);
	free(line);
}

#define NEXT(type, name, ...)                                             \
	static type (*next)(__VA_ARGS__);                                 \
	if (next == NULL)                                                 \
		next = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

/* --- data --- */

ssize_t
write(int fd, const void *p, size_t n)
{
	NEXT(ssize_t, write, int, const void *, size_t);
	char path[PATH_MAX];
	bool noted = fd > 2 && path_of_fd(fd, path);
	struct stat st;
	off64_t at = 0;
	if (noted)
		at = fcntl(fd, F_GETFL) & O_APPEND ? (fstat(fd, &st) == 0 ? st.st_size : 0) : lseek64(fd, 0, SEEK_CUR);
	ssize_t done = next(fd, p, n);
	if (noted && done > 0)
		note_write(fd, path, p, (size_t)done, at);
	return done;
}

ssize_t
pwrite64(int fd, const void *p, size_t n, off64_t at)
{
	NEXT(ssize_t, pwrite64, int, const void *, size_t, off64_t);
	char path[PATH_MAX];
	ssize_t done = next(fd, p, n, at);
	if (done > 0 && path_of_fd(fd, path))
		note_write(fd, path, p, (size_t)done, at);
	return done;
}

ssize_t
pwrite(int fd, const void *p, size_t n, off_t at)
{
	return pwrite64(fd, p, n, at);
}

/* one after the other: the same to whoever looks at the file later */
ssize_t
pwritev64(int fd, const struct iovec *v, int count, off64_t at)
{
	ssize_t sum = 0;
	for (int i = 0; i < count; i++) {
		ssize_t done = pwrite64(fd, v[i].iov_base, v[i].iov_len, at + sum);
		if (done < 0)
			return sum ? sum : -1;
		sum += done;
		if ((size_t)done < v[i].iov_len)
			break;
	}
	return sum;
}

ssize_t
pwritev(int fd, const struct iovec *v, int count, off_t at)
{
	return pwritev64(fd, v, count, at);
}

ssize_t
writev(int fd, const struct iovec *v, int count)
{
	ssize_t sum = 0;
	for (int i = 0; i < count; i++) {
		ssize_t done = write(fd, v[i].iov_base, v[i].iov_len);
		if (done < 0)
			return sum ? sum : -1;
		sum += done;
		if ((size_t)done < v[i].iov_len)
			break;
	}
	return sum;
}

static void
note_size(const char *path, long long n)
{
	char text[32];
	snprintf(text, sizeof text, "%lld", n);
	note("size", path, text);
}

int
ftruncate64(int fd, off64_t n)
{
	NEXT(int, ftruncate64, int, off64_t);
	char path[PATH_MAX];
	int r = next(fd, n);
	if (r == 0 && path_of_fd(fd, path))
		note_size(path, n);
	return r;
}

int
ftruncate(int fd, off_t n)
{
	return ftruncate64(fd, n);
}

int
fsync(int fd)
{
	NEXT(int, fsync, int);
	char path[PATH_MAX];
	int r = next(fd);
	if (r == 0 && path_of_fd(fd, path))
		note("sync", path, "");
	return r;
}

int
fdatasync(int fd)
{
	NEXT(int, fdatasync, int);
	char path[PATH_MAX];
	int r = next(fd);
	if (r == 0 && path_of_fd(fd, path))
		note("sync", path, "");
	return r;
}

/* --- names --- */

#define ON_NAME(name, what, dirfd, path, parameters, call, ...)           \
	int name parameters                                               \
	{                                                                 \
		NEXT(int, name, __VA_ARGS__);                             \
		char absolute[PATH_MAX];                                  \
		bool noted = path_of_name(dirfd, path, absolute);         \
		int r = call;                                             \
		if (r == 0 && noted)                                      \
			note(what, absolute, "");                         \
		return r;                                                 \
	}

#define ON_TWO(name, what, parameters, call, ...)                         \
	int name parameters                                               \
	{                                                                 \
		NEXT(int, name, __VA_ARGS__);                             \
		char a[PATH_MAX], b[PATH_MAX];                            \
		bool noted = path_of_name(AT_FDCWD, from, a) && path_of_name(AT_FDCWD, to, b); \
		int r = call;                                             \
		if (r == 0 && noted)                                      \
			note(what, a, b);                                 \
		return r;                                                 \
	}

ON_NAME(mkdir, "mkdir", AT_FDCWD, path, (const char *path, mode_t permissions), next(path, permissions), const char *, mode_t)
ON_NAME(unlink, "remove", AT_FDCWD, path, (const char *path), next(path), const char *)
ON_NAME(rmdir, "remove", AT_FDCWD, path, (const char *path), next(path), const char *)
ON_NAME(remove, "remove", AT_FDCWD, path, (const char *path), next(path), const char *)
ON_NAME(unlinkat, "remove", dirfd, path, (int dirfd, const char *path, int flags), next(dirfd, path, flags), int, const char *, int)
ON_TWO(rename, "rename", (const char *from, const char *to), next(from, to), const char *, const char *)

int
renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
	NEXT(int, renameat2, int, const char *, int, const char *, unsigned);
	char a[PATH_MAX], b[PATH_MAX];
	bool noted = path_of_name(from_fd, from, a) && path_of_name(to_fd, to, b);
	int r = next(from_fd, from, to_fd, to, flags);
	if (r == 0 && noted)
		note(flags & RENAME_EXCHANGE ? "exchange" : "rename", a, b);
	return r;
}

ON_TWO(link, "link", (const char *from, const char *to), next(from, to), const char *, const char *)

#define ON_OPEN(name, dirfd, parameters, call, ...)                       \
	int name parameters                                               \
	{                                                                 \
		NEXT(int, name, __VA_ARGS__, ...);                        \
		char absolute[PATH_MAX];                                  \
		mode_t permissions = 0;                                   \
		int kept = errno;                                         \
		bool noted = false, there = false;                        \
		if (flags & O_CREAT) {                                    \
			va_list args;                                     \
			va_start(args, flags);                            \
			permissions = va_arg(args, mode_t);               \
			va_end(args);                                     \
		}                                                         \
		if (flags & (O_CREAT | O_TRUNC)) {                        \
			noted = path_of_name(dirfd, path, absolute);      \
			there = noted && faccessat(dirfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0; \
		}                                                         \
		errno = kept;                                             \
		int fd = call;                                            \
		if (fd >= 0 && noted && !there)                           \
			note("create", absolute, "");                     \
		if (fd >= 0 && noted && there && (flags & O_TRUNC))       \
			note_size(absolute, 0);                           \
		return fd;                                                \
	}

ON_OPEN(open, AT_FDCWD, (const char *path, int flags, ...), next(path, flags, permissions), const char *, int)
ON_OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), next(path, flags, permissions), const char *, int)
ON_OPEN(openat, dirfd, (int dirfd, const char *path, int flags, ...), next(dirfd, path, flags, permissions), int, const char *,
        int)
ON_OPEN(openat64, dirfd, (int dirfd, const char *path, int flags, ...), next(dirfd, path, flags, permissions), int,
        const char *, int)
