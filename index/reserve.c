#include "index/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/limits.h"

static enum err
make_room(int fd, uint64_t bytes, const char *path)
{
	struct stat st;
	int rc;
	if (fstat(fd, &st) < 0)
		return fail_errno("%s", path);
	if ((uint64_t)st.st_blocks * 512 >= bytes)
		return OK;
	do
		rc = fallocate(fd, 0, 0, (off_t)bytes);
	while (rc < 0 && errno == EINTR);
	return rc == 0 || errno == EOPNOTSUPP || errno == ENOSYS ? OK : fail_errno("%s", path);
}

enum err
reserve_keep(const char *dir, uint64_t segments)
{
	char path[PATH_BYTES];
	int fd = -1;
	TRY(io_path(path, dir, "reserve"));
	enum err e = io_open_write(&fd, path);
	if (e == ERR_ABSENT)
		e = io_create(&fd, path, 0600);
	if (e == OK)
		e = make_room(fd, RESERVE_BYTES + segments * RESERVE_SEGMENT_BYTES, path);
	io_close(&fd);
	return e;
}

enum err
reserve_release(const char *dir)
{
	char path[PATH_BYTES];
	int fd = -1;
	TRY(io_path(path, dir, "reserve"));
	enum err e = io_open_write(&fd, path);
	if (e == ERR_ABSENT)
		return OK;
	if (e == OK && ftruncate(fd, 0) < 0)
		e = fail_errno("%s", path);
	io_close(&fd);
	return e;
}
