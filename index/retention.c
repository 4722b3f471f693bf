/* What limits of age and space take away, segment by segment. */
#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "index/reception_inside.h"

#define LOOK_NS      1000000000ull  /* how often */
#define AGE_STEPS    64u            /* records are removed in steps of 1/64 of the age (and a minute at least): each is a line */
#define AGE_STEP_NS  60000000000ull

static struct catalogue *catalogue_of(struct reception *r) { return archive_catalogue(store_archive(r->store)); }

static enum err
free_bytes(struct reception *r, uint64_t *bytes)
{
	struct statvfs fs;
	const char *dir = archive_path(store_archive(r->store));
	if (statvfs(dir, &fs) < 0)
		return fail_errno("%s", dir);
	*bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	return OK;
}

/* When the segment's file was written: what counts when its records claim to be from the future. */
static uint64_t
written_ns(struct reception *r, const struct segment_row *row)
{
	char path[PATH_BYTES];
	struct stat st;
	if (archive_segment_path(store_archive(r->store), row->id, path) != OK || stat(path, &st) < 0)
		return UINT64_MAX;
	return (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
}

/* One stream with records that are too old, or one segment from the future that was written too long ago. */
static enum err
find_old(struct reception *r, uint64_t until_ns, uint64_t now_ns, struct segment_row *found, bool *future)
{
	struct catalogue *c = catalogue_of(r);
	struct segment_row row = { 0 };
	enum err e;
	TRY(catalogue_begin(c));
	while ((e = catalogue_next_segment(c, &row)) == OK) {
		if (row.state == SEGMENT_DELETING)
			continue;
		*future = row.last_ns > now_ns && written_ns(r, &row) < until_ns;
		if (*future || (row.first_ns < until_ns && row.hidden_until_ns < until_ns))
			break;
	}
	catalogue_end(c);
	*found = row;
	return e;
}

static enum err
retire_old(struct reception *r, uint64_t age_ns, uint64_t now_ns, bool *more)
{
	uint64_t step = age_ns / AGE_STEPS > AGE_STEP_NS ? age_ns / AGE_STEPS : AGE_STEP_NS;
	struct segment_row row;
	struct store_removal removal;
	bool future;
	if (now_ns <= age_ns)
		return OK;
	uint64_t until_ns = (now_ns - age_ns) / step * step;
	enum err e = find_old(r, until_ns, now_ns, &row, &future);
	if (e != OK)
		return e == END ? OK : e;
	*more = true;
	return future ? store_retire(r->store, &row) : store_remove(r->store, row.stream, until_ns, &removal);
}

/* The oldest segment of the stream with the most bytes, if these are more than `above`. END. */
static enum err
find_large(struct reception *r, uint64_t above, struct segment_row *oldest)
{
	struct catalogue *c = catalogue_of(r);
	struct stream_row stream = { 0 };
	struct segment_row row = { 0 };
	struct catalogue_totals t;
	uint64_t most = 0;
	uint32_t of = 0;
	enum err e;
	TRY(catalogue_begin(c));
	while ((e = catalogue_next_stream(c, &stream)) == OK && (e = catalogue_sum(c, stream.id, &t)) == OK)
		if (t.segments > 0 && t.file_bytes > most) {
			most = t.file_bytes;
			of = stream.id;
		}
	bool found = false;
	while (e == END && most > above && (e = catalogue_next_segment(c, &row)) == OK) {
		e = END;
		if (row.stream == of && row.state == SEGMENT_LIVE && (!found || row.last_ns < oldest->last_ns)) {
			*oldest = row;
			found = true;
		}
	}
	catalogue_end(c);
	return e == END && found ? OK : e;
}

static enum err
retire_large(struct reception *r, uint64_t above, bool *more)
{
	struct segment_row row;
	enum err e = find_large(r, above, &row);
	if (e != OK)
		return e == END ? OK : e;
	*more = true;
	return store_retire(r->store, &row);
}

enum err
retention_step(struct reception *r, const struct retention *limits, uint64_t now_ns, bool *more)
{
	uint64_t left = 0;
	if (now_ns < r->retention_ns && r->retention_ns - now_ns <= LOOK_NS)
		return OK;
	TRY(free_bytes(r, &left));
	r->quota = limits->stop_bytes && left < limits->stop_bytes;
	if (limits->age_ns)
		TRY(retire_old(r, limits->age_ns, now_ns, more));
	if (!*more && limits->stream_bytes)
		TRY(retire_large(r, limits->stream_bytes, more));
	if (!*more && limits->free_bytes && left < limits->free_bytes)
		TRY(retire_large(r, 0, more));
	if (!*more)
		r->retention_ns = now_ns + LOOK_NS;
	return OK;
}
