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

/* When the segment's file was written. Its records' own time is that of a monitor's clock, which may be years off: nothing goes
 * before it was here for as long, and what claims to be from the future goes then. */
static uint64_t
written_ns(struct reception *r, const struct segment_row *row)
{
	char path[PATH_BYTES];
	struct stat st;
	if (archive_segment_path(store_archive(r->store), row->id, path) != OK || stat(path, &st) < 0)
		return UINT64_MAX;
	return (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
}

/* What holds for this stream. */
static enum err
limits_of(struct catalogue *c, const struct retention *limits, uint32_t stream, uint64_t *age_ns, uint64_t *bytes)
{
	struct stream_row row;
	*age_ns = limits->age_ns;
	*bytes = limits->stream_bytes;
	if (!limits->config || limits->config->stream_count == 0)
		return OK;
	TRY(catalogue_stream(c, stream, &row));
	config_retention(limits->config, row.name, age_ns, bytes);
	return OK;
}

/* Up to when records of this age are removed; 0: none. */
static uint64_t
old_until(uint64_t age_ns, uint64_t now_ns)
{
	uint64_t step = age_ns / AGE_STEPS > AGE_STEP_NS ? age_ns / AGE_STEPS : AGE_STEP_NS;
	return age_ns == 0 || now_ns <= age_ns ? 0 : (now_ns - age_ns) / step * step;
}

/* Whether the stream has older records than that in a segment that was not written before. In a snapshot. */
static enum err
has_young(struct reception *r, uint32_t stream, uint64_t until_ns, bool *young)
{
	struct segment_row row = { 0 };
	enum err e;
	*young = false;
	while (!*young && (e = catalogue_next_segment(catalogue_of(r), &row)) == OK)
		*young = row.stream == stream && row.state != SEGMENT_DELETING && row.first_ns < until_ns && written_ns(r, &row) >= until_ns;
	return *young || e == END ? OK : e;
}

/* A segment that is too old, *whole or in part. */
static enum err
find_old(struct reception *r, const struct retention *limits, uint64_t now_ns, struct segment_row *found, uint64_t *until_ns,
         bool *whole)
{
	struct catalogue *c = catalogue_of(r);
	struct segment_row row = { 0 };
	uint64_t age_ns, bytes;
	uint32_t stream = 0; /* whose limit until_ns is */
	bool young = false;
	enum err e;
	TRY(catalogue_begin(c));
	while ((e = catalogue_next_segment(c, &row)) == OK) {
		if (row.state == SEGMENT_DELETING)
			continue;
		if (row.stream != stream && (e = limits_of(c, limits, row.stream, &age_ns, &bytes)) != OK)
			break;
		stream = row.stream;
		*until_ns = old_until(age_ns, now_ns);
		*whole = row.last_ns < *until_ns || row.last_ns > now_ns;
		bool part = !*whole && row.first_ns < *until_ns && row.hidden_until_ns < *until_ns;
		if ((!*whole && !part) || written_ns(r, &row) >= *until_ns)
			continue;
		if (part) /* all of the stream's go that are before */
			e = has_young(r, row.stream, *until_ns, &young);
		if (*whole || e != OK || !young)
			break;
	}
	catalogue_end(c);
	*found = row;
	return e;
}

static enum err
retire_old(struct reception *r, const struct retention *limits, uint64_t now_ns, bool *more)
{
	struct segment_row row;
	struct store_removal removal;
	uint64_t until_ns;
	bool whole;
	enum err e = find_old(r, limits, now_ns, &row, &until_ns, &whole);
	if (e != OK)
		return e == END ? OK : e;
	*more = true;
	return whole ? store_retire(r->store, &row) : store_remove(r->store, row.stream, until_ns, &removal);
}

static void
press(struct reception *r, uint32_t stream)
{
	for (uint32_t i = 0; i < r->feed_count; i++)
		if (r->feeds[i]->row.stream == stream)
			r->feeds[i]->pressed = true;
}

/* The oldest segment of the stream that is furthest above its limit; limits NULL: of the largest. END: none is above. */
static enum err
find_large(struct reception *r, const struct retention *limits, struct segment_row *oldest)
{
	struct catalogue *c = catalogue_of(r);
	struct stream_row stream = { 0 };
	struct segment_row row = { 0 };
	struct catalogue_totals t;
	uint64_t most = 0, age_ns, bytes = 0;
	uint32_t of = 0;
	enum err e;
	TRY(catalogue_begin(c));
	while ((e = catalogue_next_stream(c, &stream)) == OK && (e = catalogue_sum(c, stream.id, &t)) == OK) {
		if (limits && (e = limits_of(c, limits, stream.id, &age_ns, &bytes)) != OK)
			break;
		if ((limits && bytes == 0) || t.file_bytes <= bytes)
			continue;
		if (limits && t.segments == 0)
			press(r, stream.id);
		if (t.segments == 0 || t.file_bytes - bytes <= most)
			continue;
		most = t.file_bytes - bytes;
		of = stream.id;
	}
	bool found = false;
	while (e == END && most > 0 && (e = catalogue_next_segment(c, &row)) == OK) {
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
retire_large(struct reception *r, const struct retention *limits, bool *more)
{
	struct segment_row row;
	enum err e = find_large(r, limits, &row);
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
	bool own = limits->config && limits->config->stream_count > 0;
	if ((limits->age_ns || own) && !limits->clock_doubtful)
		TRY(retire_old(r, limits, now_ns, more));
	if (!*more && (limits->stream_bytes || own))
		TRY(retire_large(r, limits, more));
	if (!*more && limits->free_bytes && left < limits->free_bytes)
		TRY(retire_large(r, NULL, more));
	if (!*more)
		r->retention_ns = now_ns + LOOK_NS;
	return OK;
}
