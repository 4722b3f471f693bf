#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/when.h"
#include "ingest/spool_parts.h"

/* What becomes of the parcels of one stream. */
struct loss {
	uint32_t stream;
	struct parcel p;        /* of the last one, with the sums of all */
	uint64_t from;
	uint8_t  previous[PARCEL_HASH_BYTES];
	uint64_t bytes;         /* that they take in the spool */
	uint64_t dropped;       /* records that were not lost before */
	uint8_t  front[PARCEL_FRONT_BYTES_MAX];
};

struct losses {
	struct loss *v;
	uint32_t count, room;
};

uint64_t
spool_kept_number(const struct spool *s)
{
	return s->doubt_number > s->read_number ? s->doubt_number : s->read_number;
}

static enum err
loss_add(struct losses *all, uint32_t stream, const struct parcel *p, uint64_t length)
{
	struct loss *l = NULL;
	for (uint32_t i = 0; i < all->count && !l; i++)
		if (all->v[i].stream == stream)
			l = &all->v[i];
	if (!l) {
		if (all->count == all->room)
			return fail(ERR_NOMEM, "more streams in a file of the spool than it should have");
		l = &all->v[all->count++];
		l->stream = stream;
		l->from = parcel_first(p);
		memcpy(l->previous, p->previous, sizeof l->previous);
		l->p = *p;
	} else {
		uint64_t records = l->p.records + p->records, captured = l->p.captured_bytes + p->captured_bytes;
		uint64_t first = p->first_ns < l->p.first_ns ? p->first_ns : l->p.first_ns;
		uint64_t last = p->last_ns > l->p.last_ns ? p->last_ns : l->p.last_ns;
		l->p = *p;
		l->p.records = records;
		l->p.captured_bytes = captured;
		l->p.first_ns = first;
		l->p.last_ns = last;
	}
	memcpy(l->p.hash, parcel_chain(p), sizeof l->p.hash);
	l->bytes += length;
	if (p->kind == PARCEL_BLOCK)
		l->dropped += p->records;
	return OK;
}

static enum err
gather(struct spool *s, const struct spool_file *f, struct losses *all)
{
	char path[PATH_BYTES];
	struct parcel p;
	uint64_t length;
	int fd = -1;
	TRY(spool_file_path(s, f->number, path));
	TRY(io_open(&fd, path));
	spool_walk_begin(s->walk, fd, path, f->readable_bytes);
	enum err e = OK;
	for (uint64_t at = 0; e == OK && (e = spool_walk_front(s->walk, at, &p, &length)) == OK; at += length) {
		const struct spool_place *st = spool_place_named(s, p.stream);
		if (st && p.epoch == st->row.epoch && p.sequence > st->row.acked)
			e = loss_add(all, (uint32_t)(st - s->streams), &p, length);
	}
	io_close(&fd);
	io_close(&s->read_fd); /* its look into a file is gone */
	return e == END ? OK : e;
}

static enum err
put_losses(struct spool *s, const char *path, const struct losses *all, uint64_t *bytes)
{
	int fd = -1;
	enum err e = io_unlink(path);
	if (e != OK && e != ERR_ABSENT)
		return e;
	TRY(io_create(&fd, path, 0600));
	e = OK;
	*bytes = 0;
	for (uint32_t i = 0; i < all->count && e == OK; i++) {
		struct loss *l = &all->v[i];
		l->p.kind = PARCEL_LOSS;
		l->p.block = NULL;
		l->p.block_bytes = 0;
		l->p.from_sequence = l->from;
		l->p.made_ns = when_now();
		memcpy(l->p.previous, l->previous, sizeof l->p.previous);
		parcel_sign(&l->p, s->id->sign_secret, s->ingest, NULL, l->front);
		e = io_write(fd, l->front, l->p.front_bytes, path);
		*bytes += l->p.front_bytes;
	}
	if (e == OK)
		e = io_datasync(fd, path);
	io_close(&fd);
	return e;
}

/* Puts the losses in place of file `index` and removes the one before when they include its losses. */
static enum err
replace(struct spool *s, uint32_t index, bool merge, const struct losses *all)
{
	char path[PATH_BYTES], next[PATH_BYTES];
	struct spool_file *f = &s->files[index];
	uint64_t bytes;
	TRY(spool_file_path(s, f->number, path));
	TRY(io_path(next, s->dir, "%016" PRIu64 ".new", f->number));
	TRY(put_losses(s, next, all, &bytes));
	TRY(io_rename(next, path));
	TRY(io_sync_dir(s->dir));
	s->used_bytes = s->used_bytes - f->bytes + bytes;
	f->bytes = f->readable_bytes = bytes;
	if (s->durable_number == f->number)
		s->durable_bytes = bytes;
	f->losses = true;
	f->recovered = false;
	f->part_count = 0;
	for (uint32_t i = 0; i < all->count; i++) {
		const struct loss *l = &all->v[i];
		struct spool_stream *row = &s->streams[l->stream].row;
		TRY(spool_file_note(f, l->stream, l->from, l->p.sequence)); /* never more than before: no allocation */
		row->spool_bytes -= l->bytes < row->spool_bytes ? l->bytes : row->spool_bytes;
		row->spool_bytes += l->p.front_bytes;
	}
	if (!merge)
		return OK;
	TRY(spool_file_path(s, s->files[index - 1].number, path));
	TRY(io_unlink(path));
	spool_file_forget(s, index - 1);
	return OK;
}

static enum err
drop(struct spool *s, uint32_t index, bool merge, bool again)
{
	uint32_t parts = s->files[index].part_count + (merge ? s->files[index - 1].part_count : 0);
	struct losses all = { .v = calloc(parts + 1, sizeof *all.v), .room = parts + 1 };
	uint64_t dropped = 0, number = s->files[index].number;
	if (!all.v)
		return fail(ERR_NOMEM, "no memory to drop parcels of the spool");
	enum err e = merge ? gather(s, &s->files[index - 1], &all) : OK;
	if (e == OK)
		e = gather(s, &s->files[index], &all);
	for (uint32_t i = 0; i < all.count && e == OK && !again; i++) {
		s->streams[all.v[i].stream].row.lost_spool += all.v[i].dropped;
		dropped += all.v[i].dropped;
	}
	if (e == OK && !again) {
		s->dropping = number;
		enum err w = spool_state_write(s);
		if (w != OK && w != ERR_FULL) /* full: a crash now would leave the counters behind; the losses are told all the same */
			e = w;
	}
	if (e == OK)
		e = replace(s, index, merge, &all);
	for (uint32_t i = 0; i < all.count && e != OK && !again; i++)
		s->streams[all.v[i].stream].row.lost_spool -= all.v[i].dropped;
	s->dropping = 0;
	s->dirty = true;
	free(all.v);
	if (e == OK && !again)
		log_line(LOG_WARNED, "%s: full: %" PRIu64 " packets of %u streams were dropped, the oldest that were not sent", s->dir,
		         dropped, (unsigned)all.count);
	return e;
}

enum err
spool_drop_oldest(struct spool *s)
{
	uint64_t kept = spool_kept_number(s);
	uint32_t i = 0;
	while (i < s->file_count && (s->files[i].number <= kept || s->files[i].losses))
		i++;
	if (i == s->file_count || s->files[i].bytes == 0)
		return END;
	if (i + 1 == s->file_count && s->fd >= 0) {
		if (s->syncing)
			return END; /* it is full for as long as the disk works */
		TRY(spool_file_end(s));
	}
	enum err e = drop(s, i, i > 0 && s->files[i - 1].losses && s->files[i - 1].number > kept, false);
	return e == OK || e == ERR_FULL ? e : spool_break(s, e);
}

enum err
spool_drop_finish(struct spool *s)
{
	const struct spool_file *f = s->dropping ? spool_file_find(s, s->dropping) : NULL;
	enum err e = OK;
	if (f && f->number == s->dropping && !f->losses && f->part_count > 0) {
		uint32_t i = (uint32_t)(f - s->files);
		e = drop(s, i, i > 0 && s->files[i - 1].losses, true);
	}
	s->dropping = 0;
	return e;
}
