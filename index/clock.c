#include "index/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"

#define KEEP_NS     3600000000000ull
#define DIGITS_MAX  19u /* of a time in ns that fits int64_t */

enum err
clock_open(struct clock_trust *t, const char *dir, uint64_t steady_ns)
{
	char text[DIGITS_MAX + 3] = "";
	size_t n = 0;
	int fd = -1;
	*t = (struct clock_trust){ .known = false };
	TRY(io_path(t->path, dir, "clock"));
	TRY(io_path(t->temp, dir, "clock.tmp"));
	if (io_open(&fd, t->path) != OK)
		return OK;
	if (io_read(fd, text, sizeof text - 1, &n, t->path) != OK)
		n = 0;
	io_close(&fd);
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || digits > DIGITS_MAX || n != digits + 1 || text[digits] != '\n')
		return OK;
	uint64_t wall_ns = strtoull(text, NULL, 10);
	if (wall_ns > INT64_MAX)
		return OK;
	clock_confirm(t, wall_ns, steady_ns);
	t->kept_ns = wall_ns;
	return OK;
}

void
clock_confirm(struct clock_trust *t, uint64_t wall_ns, uint64_t steady_ns)
{
	t->ahead_ns = (int64_t)(wall_ns - steady_ns);
	t->known = true;
	if (wall_ns < t->kept_ns)
		t->kept_ns = 0;
}

bool
clock_believed(struct clock_trust *t, uint64_t wall_ns, uint64_t steady_ns)
{
	int64_t ahead_ns = (int64_t)(wall_ns - steady_ns);
	if (!t->known || ahead_ns - t->ahead_ns > (int64_t)CLOCK_AHEAD_NS)
		return false;
	if (ahead_ns > t->ahead_ns)
		t->ahead_ns = ahead_ns;
	return true;
}

enum err
clock_keep(struct clock_trust *t, uint64_t wall_ns)
{
	char line[DIGITS_MAX + 2];
	int fd = -1;
	if (wall_ns < t->kept_ns || wall_ns - t->kept_ns < KEEP_NS)
		return OK;
	t->kept_ns = wall_ns; /* tried again in an hour */
	enum err e = io_unlink(t->temp);
	if (e != OK && e != ERR_ABSENT)
		return e;
	TRY(io_create(&fd, t->temp, 0600));
	int n = snprintf(line, sizeof line, "%" PRIu64 "\n", wall_ns);
	e = io_write(fd, line, (size_t)n, t->temp);
	io_close(&fd);
	return e == OK ? io_rename(t->temp, t->path) : e;
}
