/* Stands between a program and libc (LD_PRELOAD) and makes the calls that change files fail, fall short or kill the process
 * at step N. The calls counted, each as one step, in the program and in the libraries it uses (LMDB too):
 *
 *     write pwrite writev pwritev fsync fdatasync sync_file_range msync rename renameat renameat2 unlink unlinkat remove
 *     rmdir ftruncate truncate fallocate posix_fallocate mkdir mkdirat link symlink open openat creat (the last three only
 *     when they may make a file)
 *
 * Calls on descriptors 0 to 2 and stdio's own writes are not counted. One process each: a child counts from its parent's
 * number on.
 *
 *     ATOLL_FAULT=kill:N          SIGKILL instead of step N
 *                 torn:N          half of what step N would write, then SIGKILL (like kill:N for other calls); cut where a
 *                                 disk would, at a sector of 512 bytes of the file, so a smaller write is not done
 *                 after:N         SIGKILL right after step N
 *                 errno:NAME:N    step N fails with that error (EIO, ENOSPC, ...) and is not done
 *                 errno:NAME:N+   so do all later ones
 *                 short:N         step N writes half (like nothing for other calls)
 *                 count:FILE      writes the number of steps so far to FILE, after each
 *     ATOLL_FAULT_DIR=DIR         counts only calls on files below DIR
 *     ATOLL_FAULT_SEND=1          counts send, sendto, sendmsg, too, on whatever socket
 *     ATOLL_FAULT_PROCESS=NAME    counts only in processes of this name (prctl(2), PR_SET_NAME)
 *     ATOLL_FAULT_ONCE=FILE       what is to happen happens in one process only: the first that makes FILE
 *     ATOLL_FAULT_LOG=FILE        appends "N call path" for each step
 *
 * A value that is none of these ends the process with a message: a test that walks nothing would pass.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum mode { NONE, KILL, TORN, AFTER, ERRNO, SHORT, COUNT };

static enum mode mode;
static long at_step;
static int error_number;
static bool and_later;
static char below[PATH_MAX];
static char count_path[PATH_MAX], log_path[PATH_MAX], once_path[PATH_MAX];
static char process_name[17];
static bool count_sends;
static atomic_long steps;

static void
complain(const char *text)
{
	static const char head[] = "fault shim: not understood: ";
	(void)syscall(SYS_write, 2, head, sizeof head - 1);
	(void)syscall(SYS_write, 2, text, strlen(text));
	(void)syscall(SYS_write, 2, "\n", 1);
	_exit(125);
}

static int
error_named(const char *name, size_t n)
{
	static const struct { const char *name; int number; } known[] = {
		{ "EIO", EIO },       { "ENOSPC", ENOSPC }, { "EDQUOT", EDQUOT }, { "EINTR", EINTR },   { "EAGAIN", EAGAIN },
		{ "ENOMEM", ENOMEM }, { "EROFS", EROFS },   { "EACCES", EACCES }, { "EMFILE", EMFILE }, { "EFBIG", EFBIG },
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strlen(known[i].name) == n && memcmp(known[i].name, name, n) == 0)
			return known[i].number;
	return 0;
}

static void
parse_step(const char *all, const char *digits)
{
	char *end;
	at_step = strtol(digits, &end, 10);
	and_later = mode == ERRNO && *end == '+';
	if (end == digits || at_step < 1 || end[and_later] != 0)
		complain(all);
}

static void
parse_fault(const char *f)
{
	static const struct { const char *word; enum mode mode; } words[] = {
		{ "kill:", KILL }, { "torn:", TORN }, { "after:", AFTER }, { "short:", SHORT },
	};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strncmp(f, words[i].word, strlen(words[i].word)) == 0) {
			mode = words[i].mode;
			parse_step(f, f + strlen(words[i].word));
			return;
		}
	if (strncmp(f, "count:", 6) == 0 && f[6]) {
		mode = COUNT;
		snprintf(count_path, sizeof count_path, "%s", f + 6);
		return;
	}
	const char *colon = strncmp(f, "errno:", 6) == 0 ? strchr(f + 6, ':') : NULL;
	if (colon == NULL || (error_number = error_named(f + 6, (size_t)(colon - f - 6))) == 0)
		complain(f);
	mode = ERRNO;
	parse_step(f, colon + 1);
}

static void __attribute__((constructor))
start(void)
{
	const char *fault = getenv("ATOLL_FAULT"), *dir = getenv("ATOLL_FAULT_DIR"), *log = getenv("ATOLL_FAULT_LOG");
	if (dir && *dir && realpath(dir, below) == NULL)
		snprintf(below, sizeof below, "%s", dir);
	if (log && *log)
		snprintf(log_path, sizeof log_path, "%s", log);
	const char *once = getenv("ATOLL_FAULT_ONCE"), *process = getenv("ATOLL_FAULT_PROCESS"), *sends = getenv("ATOLL_FAULT_SEND");
	if (once && *once)
		snprintf(once_path, sizeof once_path, "%s", once);
	if (process && *process)
		snprintf(process_name, sizeof process_name, "%s", process);
	count_sends = sends && *sends;
	if (fault && *fault)
		parse_fault(fault);
}

/* A process that was named later counts from then on. */
static bool
is_meant(void)
{
	char name[17] = "";
	return process_name[0] == 0 || (prctl(PR_GET_NAME, name) == 0 && strcmp(name, process_name) == 0);
}

/* Whether it is this process's turn; only asked when something is to happen. */
static bool
is_first(void)
{
	if (once_path[0] == 0)
		return true;
	long fd = syscall(SYS_openat, AT_FDCWD, once_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	(void)syscall(SYS_close, (int)fd);
	return true;
}

/* Our own files, past the wrappers below. */
static void
put(const char *path, int flags, const char *text, size_t n)
{
	long fd = syscall(SYS_openat, AT_FDCWD, path, flags | O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	(void)syscall(SYS_write, (int)fd, text, n);
	(void)syscall(SYS_close, (int)fd);
}

static bool
is_below(const char *path)
{
	size_t n = strlen(below);
	return n == 0 || (strncmp(path, below, n) == 0 && (path[n] == '/' || path[n] == 0));
}

/* The absolute path, the last component not followed; out[0] = 0 when it can not be told. */
static void
absolute(int dirfd, const char *path, char out[PATH_MAX])
{
	char joined[2 * PATH_MAX], folder[PATH_MAX], link[64];
	out[0] = 0;
	if (path[0] == '/') {
		snprintf(joined, sizeof joined, "%s", path);
	} else {
		ssize_t n = -1;
		if (dirfd == AT_FDCWD) {
			n = getcwd(folder, sizeof folder) ? (ssize_t)strlen(folder) : -1;
		} else {
			snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
			n = readlink(link, folder, sizeof folder - 1);
		}
		if (n < 0)
			return;
		folder[n] = 0;
		snprintf(joined, sizeof joined, "%s/%s", folder, path);
	}
	char *slash = strrchr(joined, '/');
	*slash = 0;
	if (realpath(*joined ? joined : "/", folder))
		snprintf(out, PATH_MAX, "%.*s/%s", PATH_MAX / 2, folder, slash + 1);
}

/* Counts a step. True: it is not to be done and errno is set. */
static bool
count(const char *call, const char *path, bool *now)
{
	*now = false;
	int kept = errno;
	bool meant = is_meant();
	errno = kept;
	if (!meant)
		return false;
	long n = atomic_fetch_add(&steps, 1) + 1;
	char line[PATH_MAX + 64];
	if (log_path[0]) {
		int bytes = snprintf(line, sizeof line, "%ld %s %s\n", n, call, path);
		put(log_path, O_APPEND, line, (size_t)bytes);
	}
	if (mode == COUNT) {
		int bytes = snprintf(line, sizeof line, "%ld\n", n);
		put(count_path, O_TRUNC, line, (size_t)bytes);
	}
	*now = mode != NONE && mode != COUNT && (n == at_step || (and_later && n > at_step)) && is_first();
	errno = kept;
	if (*now && mode == KILL)
		(void)kill(getpid(), SIGKILL);
	if (*now && mode == ERRNO) {
		errno = error_number;
		return true;
	}
	return false;
}

/* The same, of a call on this path. */
static bool
step(const char *call, const char *path, bool *now)
{
	*now = false;
	return is_below(path) && count(call, path, now);
}

static bool
step_fd(const char *call, int fd, bool *now)
{
	char link[64], path[PATH_MAX];
	*now = false;
	if (fd <= 2)
		return false;
	int kept = errno;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path - 1);
	errno = kept;
	path[n < 0 ? 0 : n] = 0;
	return step(call, path, now);
}

static bool
step_path(const char *call, int dirfd, const char *name, bool *now)
{
	char path[PATH_MAX];
	int kept = errno;
	absolute(dirfd, name, path);
	errno = kept;
	return step(call, path, now);
}

/* After the call of this step. */
static void
stepped(bool now)
{
	if (now && (mode == AFTER || mode == TORN))
		(void)kill(getpid(), SIGKILL);
}

/* How much of n bytes to write at this offset (negative: it has none) a write of this step does. */
static size_t
part(bool now, size_t n, off64_t at)
{
	if (now && mode == SHORT && n > 1)
		return n / 2;
	if (!now || mode != TORN)
		return n;
	if (at < 0)
		return n / 2;
	off64_t end = (at + (off64_t)n / 2) & ~(off64_t)511;
	return end > at ? (size_t)(end - at) : 0;
}

static off64_t
offset_of(int fd)
{
	int kept = errno;
	off64_t at = lseek64(fd, 0, SEEK_CUR);
	errno = kept;
	return at;
}

#define NEXT(type, name, ...)                                             \
	static type (*next)(__VA_ARGS__);                                 \
	if (next == NULL)                                                 \
		next = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define ON_FD(name, result_type, fd, parameters, call, ...)               \
	result_type name parameters                                       \
	{                                                                 \
		NEXT(result_type, name, __VA_ARGS__);                     \
		bool now;                                                 \
		if (step_fd(#name, fd, &now))                             \
			return -1;                                        \
		result_type r = call;                                     \
		stepped(now);                                             \
		return r;                                                 \
	}

#define ON_PATH(name, dirfd, path, parameters, call, ...)                 \
	int name parameters                                               \
	{                                                                 \
		NEXT(int, name, __VA_ARGS__);                             \
		bool now;                                                 \
		if (step_path(#name, dirfd, path, &now))                  \
			return -1;                                        \
		int r = call;                                             \
		stepped(now);                                             \
		return r;                                                 \
	}

ON_FD(write, ssize_t, fd, (int fd, const void *p, size_t n), next(fd, p, part(now, n, offset_of(fd))), int, const void *,
      size_t)
ON_FD(pwrite, ssize_t, fd, (int fd, const void *p, size_t n, off_t at), next(fd, p, part(now, n, at), at), int, const void *,
      size_t, off_t)
ON_FD(pwrite64, ssize_t, fd, (int fd, const void *p, size_t n, off64_t at), next(fd, p, part(now, n, at), at), int,
      const void *, size_t, off64_t)
ON_FD(fsync, int, fd, (int fd), next(fd), int)
ON_FD(fdatasync, int, fd, (int fd), next(fd), int)
ON_FD(ftruncate, int, fd, (int fd, off_t n), next(fd, n), int, off_t)
ON_FD(ftruncate64, int, fd, (int fd, off64_t n), next(fd, n), int, off64_t)
ON_FD(fallocate, int, fd, (int fd, int how, off_t at, off_t n), next(fd, how, at, n), int, int, off_t, off_t)
ON_FD(fallocate64, int, fd, (int fd, int how, off64_t at, off64_t n), next(fd, how, at, n), int, int, off64_t, off64_t)
ON_FD(sync_file_range, int, fd, (int fd, off64_t at, off64_t n, unsigned how), next(fd, at, n, how), int, off64_t, off64_t,
      unsigned)

/* Sockets are below no folder. */
#define ON_SOCKET(name, parameters, call, ...)                            \
	ssize_t name parameters                                           \
	{                                                                 \
		NEXT(ssize_t, name, __VA_ARGS__);                         \
		bool now = false;                                         \
		if (count_sends && count(#name, "socket", &now))          \
			return -1;                                        \
		ssize_t r = call;                                         \
		stepped(now);                                             \
		return r;                                                 \
	}

ON_SOCKET(send, (int fd, const void *p, size_t n, int flags), next(fd, p, part(now, n, -1), flags), int, const void *, size_t, int)
ON_SOCKET(sendto, (int fd, const void *p, size_t n, int flags, const struct sockaddr *to, socklen_t room),
          next(fd, p, part(now, n, -1), flags, to, room), int, const void *, size_t, int, const struct sockaddr *, socklen_t)
ON_SOCKET(sendmsg, (int fd, const struct msghdr *m, int flags), next(fd, m, flags), int, const struct msghdr *, int)

/* Making a process, and what connects it, counts with the sends. */
int
socketpair(int domain, int type, int protocol, int fds[2])
{
	NEXT(int, socketpair, int, int, int, int *);
	bool now = false;
	if (count_sends && count("socketpair", "socket", &now))
		return -1;
	int r = next(domain, type, protocol, fds);
	stepped(now);
	return r;
}

pid_t
fork(void)
{
	NEXT(pid_t, fork, void);
	bool now = false;
	if (count_sends && count("fork", "process", &now))
		return -1;
	pid_t r = next();
	if (r != 0)
		stepped(now);
	return r;
}

/* These two write the first half of their vectors, at least one, when they are to do part. */
static int
vectors(bool now, int n)
{
	return now && (mode == SHORT || mode == TORN) && n > 1 ? n / 2 : n;
}
ON_FD(writev, ssize_t, fd, (int fd, const struct iovec *v, int n), next(fd, v, vectors(now, n)), int, const struct iovec *,
      int)
ON_FD(pwritev, ssize_t, fd, (int fd, const struct iovec *v, int n, off_t at), next(fd, v, vectors(now, n), at), int,
      const struct iovec *, int, off_t)
ON_FD(pwritev64, ssize_t, fd, (int fd, const struct iovec *v, int n, off64_t at), next(fd, v, vectors(now, n), at), int,
      const struct iovec *, int, off64_t)

ON_PATH(unlink, AT_FDCWD, path, (const char *path), next(path), const char *)
ON_PATH(remove, AT_FDCWD, path, (const char *path), next(path), const char *)
ON_PATH(rmdir, AT_FDCWD, path, (const char *path), next(path), const char *)
ON_PATH(unlinkat, dirfd, path, (int dirfd, const char *path, int flags), next(dirfd, path, flags), int, const char *, int)
ON_PATH(rename, AT_FDCWD, to, (const char *from, const char *to), next(from, to), const char *, const char *)
ON_PATH(renameat, to_fd, to, (int from_fd, const char *from, int to_fd, const char *to), next(from_fd, from, to_fd, to), int,
        const char *, int, const char *)
ON_PATH(renameat2, to_fd, to, (int from_fd, const char *from, int to_fd, const char *to, unsigned flags),
        next(from_fd, from, to_fd, to, flags), int, const char *, int, const char *, unsigned)
ON_PATH(truncate, AT_FDCWD, path, (const char *path, off_t n), next(path, n), const char *, off_t)
ON_PATH(link, AT_FDCWD, to, (const char *from, const char *to), next(from, to), const char *, const char *)
ON_PATH(symlink, AT_FDCWD, to, (const char *from, const char *to), next(from, to), const char *, const char *)
ON_PATH(mkdir, AT_FDCWD, path, (const char *path, mode_t permissions), next(path, permissions), const char *, mode_t)
ON_PATH(mkdirat, dirfd, path, (int dirfd, const char *path, mode_t permissions), next(dirfd, path, permissions), int,
        const char *, mode_t)

/* returns the error, does not set errno */
int
posix_fallocate(int fd, off_t at, off_t n)
{
	NEXT(int, posix_fallocate, int, off_t, off_t);
	bool now;
	if (step_fd("posix_fallocate", fd, &now))
		return error_number;
	int r = next(fd, at, n);
	stepped(now);
	return r;
}

int
msync(void *p, size_t n, int flags)
{
	NEXT(int, msync, void *, size_t, int);
	bool now;
	if (step("msync", below, &now))
		return -1;
	int r = next(p, n, flags);
	stepped(now);
	return r;
}

/* the mode is there only with O_CREAT or O_TMPFILE */
#define MAKES(flags) (((flags) & O_CREAT) || ((flags) & O_TMPFILE) == O_TMPFILE)

#define ON_OPEN(name, dirfd, parameters, call, ...)                       \
	int name parameters                                               \
	{                                                                 \
		NEXT(int, name, __VA_ARGS__, ...);                        \
		mode_t permissions = 0;                                   \
		bool now = false;                                         \
		if (MAKES(flags)) {                                       \
			va_list args;                                     \
			va_start(args, flags);                            \
			permissions = va_arg(args, mode_t);               \
			va_end(args);                                     \
			if (step_path(#name, dirfd, path, &now))          \
				return -1;                                \
		}                                                         \
		int fd = call;                                            \
		stepped(now);                                             \
		return fd;                                                \
	}

ON_OPEN(open, AT_FDCWD, (const char *path, int flags, ...), next(path, flags, permissions), const char *, int)
ON_OPEN(open64, AT_FDCWD, (const char *path, int flags, ...), next(path, flags, permissions), const char *, int)
ON_OPEN(openat, dirfd, (int dirfd, const char *path, int flags, ...), next(dirfd, path, flags, permissions), int, const char *,
        int)
ON_OPEN(openat64, dirfd, (int dirfd, const char *path, int flags, ...), next(dirfd, path, flags, permissions), int,
        const char *, int)
ON_PATH(creat, AT_FDCWD, path, (const char *path, mode_t permissions), next(path, permissions), const char *, mode_t)
