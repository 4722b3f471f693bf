#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"

static enum err
open_as(int *fd, const char *path, int flags, mode_t mode)
{
	int n;
	do
		n = open(path, flags | O_CLOEXEC, mode);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return fail_errno("%s", path);
	*fd = n;
	return OK;
}

enum err
io_open(int *fd, const char *path)
{
	return open_as(fd, path, O_RDONLY, 0);
}

enum err
io_create(int *fd, const char *path, mode_t mode)
{
	return open_as(fd, path, O_RDWR | O_CREAT | O_EXCL, mode);
}

enum err
io_open_write(int *fd, const char *path)
{
	return open_as(fd, path, O_RDWR, 0);
}

void
io_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

enum err
io_read(int fd, void *p, size_t n, size_t *got, const char *name)
{
	size_t done = 0;
	while (done < n) {
		ssize_t r = read(fd, (uint8_t *)p + done, n - done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return fail_errno("%s: read failed", name);
		if (r == 0)
			break;
		done += (size_t)r;
	}
	*got = done;
	return OK;
}

enum err
io_pread(int fd, void *p, size_t n, uint64_t at, const char *name)
{
	size_t done = 0;
	while (done < n) {
		ssize_t r = pread(fd, (uint8_t *)p + done, n - done, (off_t)(at + done));
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return fail_errno("%s: read failed at byte %llu", name, (unsigned long long)(at + done));
		if (r == 0)
			return fail(ERR_FORMAT, "%s: ends at byte %llu, expected %zu more", name,
			            (unsigned long long)(at + done), n - done);
		done += (size_t)r;
	}
	return OK;
}

enum err
io_write(int fd, const void *p, size_t n, const char *name)
{
	size_t done = 0;
	while (done < n) {
		ssize_t r = write(fd, (const uint8_t *)p + done, n - done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return fail_errno("%s: write failed", name);
		done += (size_t)r;
	}
	return OK;
}

enum err
io_pwrite(int fd, const void *p, size_t n, uint64_t at, const char *name)
{
	size_t done = 0;
	while (done < n) {
		ssize_t r = pwrite(fd, (const uint8_t *)p + done, n - done, (off_t)(at + done));
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return fail_errno("%s: write failed at byte %llu", name, (unsigned long long)(at + done));
		done += (size_t)r;
	}
	return OK;
}

enum err
io_size(int fd, uint64_t *bytes, const char *name)
{
	struct stat st;
	if (fstat(fd, &st) < 0)
		return fail_errno("%s", name);
	*bytes = (uint64_t)st.st_size;
	return OK;
}

enum err
io_datasync(int fd, const char *name)
{
	if (fdatasync(fd) < 0)
		return fail_errno("%s: could not be made durable", name);
	return OK;
}

void
io_writeback(int fd, uint64_t at, uint64_t n)
{
	(void)sync_file_range(fd, (off64_t)at, (off64_t)n, SYNC_FILE_RANGE_WRITE); /* a hint: io_datasync() tells what fails */
}

enum err
io_settle(int fd, uint64_t at, uint64_t n, const char *name)
{
	const unsigned all = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;
	if (sync_file_range(fd, (off64_t)at, (off64_t)n, all) < 0)
		return fail_errno("%s: could not be made durable", name);
	return OK;
}

enum err
io_rename(const char *from, const char *to)
{
	if (rename(from, to) < 0)
		return fail_errno("%s: rename to %s", from, to);
	return OK;
}

enum err
io_unlink(const char *path)
{
	if (unlink(path) < 0)
		return fail_errno("%s: remove", path);
	return OK;
}

enum err
io_mkdir(const char *path, mode_t mode)
{
	if (mkdir(path, mode) < 0)
		return fail_errno("%s", path);
	return OK;
}

enum err
io_sync_dir(const char *path)
{
	int fd = -1;
	TRY(open_as(&fd, path, O_RDONLY | O_DIRECTORY, 0));
	enum err e = OK;
	if (fsync(fd) < 0)
		e = fail_errno("%s: folder could not be made durable", path);
	io_close(&fd);
	return e;
}

bool
io_read_only(const char *path)
{
	return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) < 0 && (errno == EACCES || errno == EPERM || errno == EROFS);
}

enum err
io_path(char *out, const char *dir, const char *format, ...)
{
	int n = snprintf(out, PATH_BYTES, "%s/", dir);
	if (n < 0 || n >= PATH_BYTES)
		return fail(ERR_LIMIT, "%s: path longer than %d bytes", dir, PATH_BYTES);
	va_list args;
	va_start(args, format);
	int m = vsnprintf(out + n, (size_t)(PATH_BYTES - n), format, args);
	va_end(args);
	if (m < 0 || m >= PATH_BYTES - n)
		return fail(ERR_LIMIT, "%s: path longer than %d bytes", dir, PATH_BYTES);
	return OK;
}
