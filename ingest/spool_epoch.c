/* A stream whose parcels get a larger epoch, because the archive knows it from a clock that was ahead. */
#include <string.h>

#include "base/io.h"
#include "ingest/spool_parts.h"

struct anew {
	struct spool_place *st;
	uint64_t epoch, last; /* last: sequence that chain belongs to */
	uint8_t  chain[PARCEL_HASH_BYTES];
};

/* The stream's parcels of one file, signed anew in their places: a front is as long as before, and its block stays. One that is
 * torn by a crash goes as a loss. */
static enum err
file_anew(struct spool *s, struct anew *a, const struct spool_file *f)
{
	char path[PATH_BYTES];
	uint8_t front[PARCEL_FRONT_BYTES_MAX];
	struct parcel p;
	uint64_t length;
	int fd = -1;
	TRY(spool_file_path(s, f->number, path));
	TRY(io_open_write(&fd, path));
	spool_walk_begin(s->walk, fd, path, f->readable_bytes);
	enum err e = OK;
	for (uint64_t at = 0; e == OK && (e = spool_walk_front(s->walk, at, &p, &length)) == OK; at += length) {
		if (strcmp(p.stream, (const char *)a->st->row.name) != 0 || p.epoch != a->st->row.epoch)
			continue;
		p.epoch = a->epoch;
		if (parcel_first(&p) == a->last + 1)
			memcpy(p.previous, a->chain, sizeof p.previous);
		parcel_sign_again(&p, s->id->sign_secret, front);
		e = io_pwrite(fd, front, p.front_bytes, at, path);
		a->last = p.sequence;
		memcpy(a->chain, parcel_chain(&p), sizeof a->chain);
	}
	if (e == END)
		e = io_datasync(fd, path);
	io_close(&fd);
	return e;
}

enum err
spool_epoch_anew(struct spool *s, struct spool_place *st, uint64_t epoch)
{
	struct anew a = { .st = st, .epoch = epoch };
	enum err e = spool_file_end(s);
	for (uint32_t i = 0; i < s->file_count && e == OK; i++)
		e = file_anew(s, &a, &s->files[i]);
	io_close(&s->read_fd); /* its look into a file is gone */
	if (e != OK)
		return spool_break(s, e);
	st->row.epoch = epoch;
	if (a.last == st->row.sequence)
		memcpy(st->row.chain, a.chain, sizeof st->row.chain);
	return spool_state_write(s);
}
