#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/io.h"
#include "base/log.h"
#include "ingest/spool_parts.h"

#define NAME_AT 6u /* of name_bytes in a parcel's header */

/* --- one file --- */

void
spool_walk_begin(struct spool_walk *w, int fd, const char *path, uint64_t end)
{
	w->fd = fd;
	w->path = path;
	w->end = end;
	w->at = w->have = 0;
}

/* At least n bytes at this offset, or as many as the file has. */
static enum err
walk_look(struct spool_walk *w, uint64_t at, uint64_t n, const uint8_t **p, uint64_t *got)
{
	uint64_t left = w->end - at;
	n = n < left ? n : left;
	if (at < w->at || at - w->at > w->have || n > w->have - (at - w->at)) {
		uint64_t want = left < sizeof w->buffer ? left : sizeof w->buffer;
		w->have = 0;
		TRY(io_pread(w->fd, w->buffer, want, at, w->path));
		w->at = at;
		w->have = want;
	}
	*p = w->buffer + (at - w->at);
	*got = n;
	return OK;
}

enum err
spool_walk_front(struct spool_walk *w, uint64_t at, struct parcel *p, uint64_t *length)
{
	const uint8_t *bytes;
	uint64_t got;
	if (at == w->end)
		return END;
	TRY(walk_look(w, at, PARCEL_FRONT_BYTES_MAX, &bytes, &got));
	if (got < PARCEL_HEADER_BYTES)
		return fail(ERR_FORMAT, "%s: ends at byte %" PRIu64 ", inside a parcel", w->path, w->end);
	enum err e = parcel_length(bytes, got, length);
	if (e != OK)
		return fail_prefix(e, "%s: byte %" PRIu64 ": ", w->path, at);
	uint64_t front = (uint64_t)PARCEL_HEADER_BYTES + load_le16(bytes + NAME_AT) + PARCEL_SIGN_BYTES;
	if (*length > w->end - at || front > got)
		return fail(ERR_FORMAT, "%s: ends at byte %" PRIu64 ", inside a parcel", w->path, w->end);
	e = parcel_parse_front(bytes, front, p);
	return e == OK ? OK : fail_prefix(e, "%s: byte %" PRIu64 ": ", w->path, at);
}

enum err
spool_file_path(const struct spool *s, uint64_t number, char path[PATH_BYTES])
{
	return io_path(path, s->dir, "%016" PRIu64 ".parcels", number);
}

/* --- the list of files --- */

struct spool_file *
spool_file_add(struct spool *s, uint64_t number)
{
	if (s->file_count == s->file_room) {
		uint32_t room = s->file_room ? 2 * s->file_room : 16;
		struct spool_file *grown = realloc(s->files, room * sizeof *grown);
		if (!grown)
			return NULL;
		s->files = grown;
		s->file_room = room;
	}
	struct spool_file *f = &s->files[s->file_count++];
	*f = (struct spool_file){ .number = number };
	return f;
}

struct spool_file *
spool_file_find(struct spool *s, uint64_t number)
{
	uint32_t low = 0, high = s->file_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (s->files[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low < s->file_count ? &s->files[low] : NULL;
}

void
spool_file_forget(struct spool *s, uint32_t index)
{
	s->used_bytes -= s->files[index].bytes;
	free(s->files[index].parts);
	memmove(&s->files[index], &s->files[index + 1], (s->file_count - index - 1) * sizeof *s->files);
	s->file_count--;
}

enum err
spool_file_note(struct spool_file *f, uint32_t stream, uint64_t first, uint64_t last)
{
	for (uint32_t i = f->part_count; i-- > 0;)
		if (f->parts[i].stream == stream) {
			f->parts[i].last = last;
			return OK;
		}
	if (f->part_count == f->part_room) {
		uint32_t room = f->part_room ? 2 * f->part_room : 4;
		struct spool_part *grown = realloc(f->parts, room * sizeof *grown);
		if (!grown)
			return fail(ERR_NOMEM, "no memory for the spool's list of files");
		f->parts = grown;
		f->part_room = room;
	}
	f->parts[f->part_count++] = (struct spool_part){ stream, first, last };
	return OK;
}

/* --- the start --- */

enum err
spool_foreign(const char *dir)
{
	return fail(ERR_DENIED, "%s: holds parcels of another identity, from an earlier enrolment of this monitor, and the archive will "
	                        "not take them: remove the folder to give them up", dir);
}

static int
by_number(const void *a, const void *b)
{
	const struct spool_file *x = a, *y = b;
	return (x->number > y->number) - (x->number < y->number);
}

static enum err
list_entry(struct spool *s, const char *name)
{
	char path[PATH_BYTES];
	size_t n = strlen(name);
	if (n > 4 && strcmp(name + n - 4, ".new") == 0) { /* of one who died while writing it */
		TRY(io_path(path, s->dir, "%s", name));
		return io_unlink(path);
	}
	char *end;
	if (n != 24 || strspn(name, "0123456789") != 16 || strcmp(name + 16, ".parcels") != 0)
		return OK;
	if (!spool_file_add(s, strtoull(name, &end, 10)))
		return fail(ERR_NOMEM, "no memory for the spool's list of files");
	return OK;
}

static enum err
list_files(struct spool *s)
{
	DIR *d = opendir(s->dir);
	if (!d)
		return fail_errno("%s", s->dir);
	enum err e = OK;
	for (;;) {
		errno = 0;
		struct dirent *entry = readdir(d);
		if (!entry && errno)
			e = fail_errno("%s", s->dir);
		if (!entry || e != OK)
			break;
		e = list_entry(s, entry->d_name);
		if (e != OK)
			break;
	}
	closedir(d);
	if (s->file_count)
		qsort(s->files, s->file_count, sizeof *s->files, by_number);
	s->next_number = s->file_count ? s->files[s->file_count - 1].number + 1 : 1;
	return e;
}

/* What a parcel tells of its stream. */
static void
learn(struct spool_place *st, const struct parcel *p)
{
	struct spool_stream *row = &st->row;
	if (p->epoch > row->epoch) { /* the state is older than this chain */
		row->epoch = p->epoch;
		row->sequence = row->acked = row->packets = 0;
		row->lost_kernel = row->lost_interface = row->lost_spool = row->lost_policy = 0;
		st->found_first = st->found_last = 0;
	}
	if (st->found_first == 0)
		st->found_first = parcel_first(p);
	st->found_last = p->sequence;
	if (p->sequence <= row->sequence)
		return;
	row->sequence = p->sequence;
	memcpy(row->chain, parcel_chain(p), sizeof row->chain);
	if (p->kind == PARCEL_BLOCK)
		row->packets += p->records;
#define MORE(field) row->field = p->field > row->field ? p->field : row->field
	MORE(lost_kernel);
	MORE(lost_interface);
	MORE(lost_spool);
	MORE(lost_policy);
#undef MORE
	if (p->source_records > 0) {
		memcpy(row->source, p->source, sizeof row->source);
		row->source_records = p->source_records;
	}
}

static enum err
take(struct spool *s, struct spool_file *f, const struct parcel *p)
{
	struct spool_place *st = spool_place_named(s, p->stream);
	if (memcmp(p->monitor, s->id->sign_public, sizeof p->monitor) != 0)
		return s->known ? fail(ERR_FORMAT, "%s: a parcel of another identity", s->walk->path) : spool_foreign(s->dir);
	if (!st)
		TRY(spool_place_add(s, p->stream, &st));
	if (p->epoch < st->row.epoch)
		return OK; /* of a chain that is over */
	learn(st, p);
	f->losses = f->losses && p->kind == PARCEL_LOSS;
	return spool_file_note(f, (uint32_t)(st - s->streams), parcel_first(p), p->sequence);
}

/* The last file may end in what was being written when the process or the machine stopped. */
static enum err
verify(struct spool *s, struct spool_walk *w, uint64_t at, uint64_t length)
{
	struct parcel p;
	if (length > s->parcel_room) {
		uint8_t *grown = realloc(s->parcel, length);
		if (!grown)
			return fail(ERR_NOMEM, "no memory for a parcel of %" PRIu64 " bytes", length);
		s->parcel = grown;
		s->parcel_room = (uint32_t)length;
	}
	TRY(io_pread(w->fd, s->parcel, length, at, w->path));
	TRY(parcel_parse(s->parcel, length, &p));
	return parcel_verify(&p);
}

static enum err
scan_parcels(struct spool *s, struct spool_file *f, struct spool_walk *w, bool last)
{
	struct parcel p;
	uint64_t length;
	for (;;) {
		enum err e = spool_walk_front(w, f->readable_bytes, &p, &length);
		if (e == OK && last) {
			e = verify(s, w, f->readable_bytes, length);
			if (e == ERR_DENIED)
				e = fail_prefix(ERR_FORMAT, "%s: byte %" PRIu64 ": ", w->path, f->readable_bytes);
		}
		TRY(e);
		TRY(take(s, f, &p));
		f->readable_bytes += length;
	}
}

/* Cuts what is behind the last good parcel. */
static enum err
cut(struct spool_file *f, int fd, const char *path)
{
	log_line(LOG_WARNED, "%s: %" PRIu64 " bytes behind the last whole parcel were being written when it stopped; cut", path,
	         f->bytes - f->readable_bytes);
	if (ftruncate(fd, (off_t)f->readable_bytes) < 0)
		return fail_errno("%s: cut to %" PRIu64 " bytes", path, f->readable_bytes);
	f->bytes = f->readable_bytes;
	return io_datasync(fd, path);
}

static bool
is_damage(enum err e)
{
	return e == ERR_FORMAT || e == ERR_LIMIT || e == ERR_UNSUPPORTED;
}

static enum err
scan_file(struct spool *s, struct spool_file *f, bool last)
{
	char path[PATH_BYTES];
	int fd = -1;
	TRY(spool_file_path(s, f->number, path));
	TRY(last ? io_open_write(&fd, path) : io_open(&fd, path));
	enum err e = io_size(fd, &f->bytes, path);
	f->recovered = f->losses = true;
	if (e == OK) {
		s->used_bytes += f->bytes;
		spool_walk_begin(s->walk, fd, path, f->bytes);
		e = scan_parcels(s, f, s->walk, last);
		if (e == END) {
			e = OK;
		} else if (last && is_damage(e)) {
			s->used_bytes -= f->bytes - f->readable_bytes;
			e = cut(f, fd, path);
		} else if (is_damage(e)) {
			log_line(LOG_FAILED, "%s; what follows in this file is lost", err_text());
			e = OK;
		}
	}
	io_close(&fd);
	return e;
}

/* A crash between putting losses in place of a file and removing the one before, whose losses they include. */
static enum err
remove_covered(struct spool *s)
{
	char path[PATH_BYTES];
	for (uint32_t i = s->file_count; i-- > 1;) {
		const struct spool_file *f = &s->files[i], *before = &s->files[i - 1];
		bool covered = f->losses && before->losses && before->part_count > 0;
		for (uint32_t k = 0; covered && k < before->part_count; k++) {
			bool found = false;
			for (uint32_t m = 0; m < f->part_count; m++)
				found = found || (f->parts[m].stream == before->parts[k].stream &&
				                  f->parts[m].first <= before->parts[k].first);
			covered = found;
		}
		if (!covered)
			continue;
		TRY(spool_file_path(s, before->number, path));
		TRY(io_unlink(path));
		spool_file_forget(s, i - 1);
	}
	return OK;
}

static void
settle(struct spool_place *st)
{
	if (st->found_first > st->row.acked + 1)
		st->row.acked = st->found_first - 1; /* what is gone from the front was acknowledged */
	if (st->row.acked > st->row.sequence)
		st->row.acked = st->row.sequence;
}

enum err
spool_scan(struct spool *s)
{
	TRY(list_files(s));
	for (uint32_t i = 0; i < s->file_count; i++)
		TRY(scan_file(s, &s->files[i], i + 1 == s->file_count));
	TRY(remove_covered(s));
	for (unsigned i = 0; i < s->stream_count; i++)
		settle(&s->streams[i]);
	return OK;
}
