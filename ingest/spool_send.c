#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "base/log.h"
#include "base/when.h"
#include "ingest/spool_parts.h"

#define ACKNOWLEDGED UINT32_MAX

/* --- a session begins --- */

void
spool_rewind(struct spool *s)
{
	pthread_mutex_lock(&s->lock);
	if (s->read_number > s->doubt_number)
		s->doubt_number = s->read_number;
	s->read_number = s->read_at = 0;
	s->flight_head = s->flight_count = 0;
	s->flight_bytes = 0;
	for (unsigned i = 0; i < s->stream_count; i++)
		s->streams[i].resumed = false;
	pthread_mutex_unlock(&s->lock);
}

/* The bytes of a stream that wait, anew. Errors of reading are met again when the sender reads. */
static void
recount(struct spool *s, uint32_t stream)
{
	char path[PATH_BYTES];
	struct spool_place *st = &s->streams[stream];
	st->row.spool_bytes = 0;
	for (uint32_t i = 0; i < s->file_count; i++) {
		const struct spool_file *f = &s->files[i];
		uint64_t last = 0, length;
		struct parcel p;
		int fd = -1;
		for (uint32_t k = 0; k < f->part_count; k++)
			if (f->parts[k].stream == stream)
				last = f->parts[k].last;
		if (last <= st->row.acked || spool_file_path(s, f->number, path) != OK || io_open(&fd, path) != OK)
			continue;
		spool_walk_begin(s->walk, fd, path, f->readable_bytes);
		for (uint64_t at = 0; spool_walk_front(s->walk, at, &p, &length) == OK; at += length)
			if (strcmp(p.stream, (const char *)st->row.name) == 0 && p.epoch == st->row.epoch &&
			    p.sequence > st->row.acked)
				st->row.spool_bytes += length;
		io_close(&fd);
	}
	io_close(&s->read_fd); /* its look into a file is gone */
}

static enum err
reverted(const struct spool *s, const struct spool_place *st, const struct spool_mark *mark)
{
	return fail(ERR_DENIED, "the archive has parcels of stream \"%s\" (epoch %" PRIu64 ", up to %" PRIu64 ") not made in %s (epoch "
	                        "%" PRIu64 ", up to %" PRIu64 "): this folder is a copy, or was brought back from a backup. If no "
	                        "other monitor has this identity, remove the folder: what it holds is given up and a new epoch begins",
	            (const char *)st->row.name, mark->epoch, mark->sequence, s->dir, st->row.epoch, st->row.sequence);
}

/* Whether the chain at the mark is ours: what `previous` of our next parcel says, or where our chain ends. True when that can not
 * be told: the archive compares, too, when the next parcel comes. */
static bool
is_ours(struct spool *s, uint32_t stream, const struct spool_mark *mark)
{
	char path[PATH_BYTES];
	const struct spool_place *st = &s->streams[stream];
	bool ours = true, found = false;
	if (mark->sequence == st->row.sequence)
		return memcmp(mark->chain, st->row.chain, sizeof mark->chain) == 0;
	for (uint32_t i = 0; i < s->file_count && !found; i++) {
		const struct spool_file *f = &s->files[i];
		uint64_t length;
		struct parcel p;
		int fd = -1;
		bool may_have = false;
		for (uint32_t k = 0; k < f->part_count; k++)
			may_have |= f->parts[k].stream == stream && f->parts[k].last > mark->sequence;
		if (!may_have || spool_file_path(s, f->number, path) != OK || io_open(&fd, path) != OK)
			continue;
		spool_walk_begin(s->walk, fd, path, f->readable_bytes);
		for (uint64_t at = 0; !found && spool_walk_front(s->walk, at, &p, &length) == OK; at += length) {
			uint64_t first = p.kind == PARCEL_LOSS ? p.from_sequence : p.sequence;
			found = strcmp(p.stream, (const char *)st->row.name) == 0 && p.epoch == st->row.epoch && first == mark->sequence + 1;
			if (found)
				ours = memcmp(p.previous, mark->chain, sizeof p.previous) == 0;
		}
		io_close(&fd);
	}
	io_close(&s->read_fd); /* its look into a file is gone */
	return ours;
}

static enum err
resume(struct spool *s, unsigned stream, const struct spool_mark *mark)
{
	struct spool_place *st = &s->streams[stream];
	if (mark->epoch >= st->row.epoch && st->row.sequence == 0) /* new here, known there, and its clock was ahead */
		st->row.epoch = mark->epoch + 1;
	/* An epoch of the future was begun by a clock that was ahead, in a folder that is gone: what was made since is new there.
	 * Any other larger epoch may have had these parcels before it. */
	if (mark->epoch > st->row.epoch && mark->epoch > when_now() && mark->epoch < UINT64_MAX && st->row.acked == 0) {
		log_line(LOG_WARNED, "stream \"%s\": the archive knows it from a clock that was ahead: its parcels go on behind that",
		         (const char *)st->row.name);
		TRY(spool_epoch_anew(s, st, mark->epoch + 1));
	}
	if (mark->epoch > st->row.epoch || (mark->epoch == st->row.epoch && mark->sequence > st->row.sequence))
		return reverted(s, st, mark);
	/* of a copy of this folder, whose parcels would be taken for ours */
	if (mark->epoch == st->row.epoch && mark->sequence > st->row.acked && !is_ours(s, stream, mark))
		return reverted(s, st, mark);
	st->read_sequence = 0;
	memset(st->read_chain, 0, sizeof st->read_chain);
	if (mark->epoch == st->row.epoch) {
		st->read_sequence = mark->sequence;
		memcpy(st->read_chain, mark->chain, sizeof st->read_chain);
	}
	if (st->read_sequence > st->row.acked) {
		st->row.acked = st->read_sequence;
		s->dirty = true;
		recount(s, stream);
		pthread_cond_broadcast(&s->changed);
	} else if (st->read_sequence < st->row.acked) {
		log_line(LOG_WARNED, "stream \"%s\": the archive stands at parcel %" PRIu64 ", but had acknowledged %" PRIu64
		                     ": it lost what is between, and is told so",
		         (const char *)st->row.name, st->read_sequence, st->row.acked);
	}
	st->resumed = true;
	return spool_reap(s, false);
}

enum err
spool_resume(struct spool *s, unsigned stream, const struct spool_mark *mark)
{
	pthread_mutex_lock(&s->lock);
	enum err e = resume(s, stream, mark);
	pthread_mutex_unlock(&s->lock);
	return e;
}

void
spool_refuse(struct spool *s, const char *stream, uint64_t sequence)
{
	pthread_mutex_lock(&s->lock);
	struct spool_place *st = spool_place_named(s, stream);
	if (st)
		st->refused = sequence;
	pthread_mutex_unlock(&s->lock);
}

/* --- reading --- */

static enum err
parcel_room(struct spool *s, uint64_t n)
{
	if (n <= s->parcel_room)
		return OK;
	uint8_t *grown = realloc(s->parcel, n);
	if (!grown)
		return fail(ERR_NOMEM, "no memory for a parcel of %" PRIu64 " bytes", n);
	s->parcel = grown;
	s->parcel_room = (uint32_t)n;
	return OK;
}

/* Puts a LOSS for all from where the archive stands up to `sequence` into s->parcel. like: where its records and counters come
 * from; hash: of the last one. */
static enum err
make_loss(struct spool *s, struct spool_place *st, const struct parcel *like, uint64_t sequence, uint64_t records,
          const uint8_t hash[PARCEL_HASH_BYTES], uint32_t *n)
{
	struct parcel p = *like;
	TRY(parcel_room(s, PARCEL_FRONT_BYTES_MAX));
	p.kind = PARCEL_LOSS;
	p.block = NULL;
	p.block_bytes = 0;
	p.sequence = sequence;
	p.from_sequence = st->read_sequence + 1;
	p.records = records;
	p.made_ns = when_now();
	memcpy(p.previous, st->read_chain, sizeof p.previous);
	memcpy(p.hash, hash, sizeof p.hash);
	parcel_sign(&p, s->id->sign_secret, s->ingest, NULL, s->parcel);
	*n = p.front_bytes;
	st->read_sequence = sequence;
	memcpy(st->read_chain, hash, sizeof st->read_chain);
	return OK;
}

/* The parcel whose front is p, whole; or, when it is damaged or refused, a LOSS in its place. */
static enum err
give_whole(struct spool *s, const struct spool_file *f, struct spool_place *st, const struct parcel *front, uint64_t length,
           uint32_t *n)
{
	struct parcel p;
	bool bad = st->refused == front->sequence && st->refused != 0;
	TRY(parcel_room(s, length));
	enum err e = io_pread(s->read_fd, s->parcel, length, s->read_at, s->walk->path);
	if (e == OK && !bad && f->recovered) {
		e = parcel_parse(s->parcel, length, &p);
		if (e == OK)
			e = parcel_verify(&p);
	}
	if (e != OK) {
		log_line(LOG_FAILED, "%s: byte %" PRIu64 ": %s; counted as lost", s->walk->path, s->read_at, err_text());
		bad = true;
	}
	if (bad && front->sequence > st->given_up) { /* once, however often it is sent; the next parcel that is made says so */
		st->given_up = front->sequence;
		st->row.lost_spool += front->kind == PARCEL_BLOCK ? front->records : 0;
		s->dirty = true;
	}
	if (bad)
		return make_loss(s, st, front, front->sequence, front->records, parcel_chain(front), n);
	*n = (uint32_t)length;
	st->read_sequence = front->sequence;
	memcpy(st->read_chain, parcel_chain(front), sizeof st->read_chain);
	return OK;
}

static void
take_off(struct spool *s, const struct spool_place *st, uint64_t bytes)
{
	uint32_t at = (s->flight_head + s->flight_count++) % SENDER_FLIGHT_MAX;
	s->flight[at] = (struct spool_flight){ (uint32_t)(st - s->streams), st->read_sequence, bytes };
	s->flight_bytes += bytes;
}

/* One parcel of the file that is being read. END: it says nothing that the archive wants; go on. */
static enum err
read_parcel(struct spool *s, struct spool_file *f, uint32_t *n, unsigned *stream)
{
	struct parcel p;
	uint64_t length;
	enum err e = spool_walk_front(s->walk, s->read_at, &p, &length);
	if (e != OK) { /* what lies behind is made up for by a loss, once a later parcel tells how long it is */
		log_line(LOG_FAILED, "%s; what follows in this file is lost", err_text());
		f->readable_bytes = s->read_at;
		return END;
	}
	struct spool_place *st = spool_place_named(s, p.stream);
	if (!st || p.epoch != st->row.epoch || (st->resumed && p.sequence <= st->read_sequence)) {
		s->read_at += length;
		return END;
	}
	*stream = (unsigned)(st - s->streams);
	if (!st->resumed)
		return fail(ERR_ABSENT, "where the archive stands with stream \"%s\" is not known yet", p.stream);
	if (parcel_first(&p) > st->read_sequence + 1) {
		uint64_t missing = parcel_first(&p) - 1 - st->read_sequence;
		TRY(make_loss(s, st, &p, parcel_first(&p) - 1, missing, p.previous, n));
		take_off(s, st, 0);
		return OK;
	}
	if (p.kind == PARCEL_LOSS && parcel_first(&p) <= st->read_sequence)
		TRY(make_loss(s, st, &p, p.sequence, p.records, p.hash, n));
	else
		TRY(give_whole(s, f, st, &p, length, n));
	take_off(s, st, length);
	s->read_at += length;
	return OK;
}

/* Opens the file at the reading position, or the next one. END: all that is durable was read. */
static enum err
read_file(struct spool *s, struct spool_file **out, char path[PATH_BYTES])
{
	for (;;) {
		struct spool_file *f = spool_file_find(s, s->read_number);
		if (!f || f->number > s->durable_number)
			return END;
		if (f->number != s->read_number) {
			s->read_number = f->number;
			s->read_at = 0;
		}
		uint64_t end = f->number == s->durable_number && s->durable_bytes < f->readable_bytes ? s->durable_bytes
		                                                                                      : f->readable_bytes;
		if (s->read_at >= end) {
			if (f->number == s->durable_number)
				return END;
			s->read_number++;
			s->read_at = 0;
			continue;
		}
		TRY(spool_file_path(s, f->number, path));
		if (s->read_fd < 0 || s->read_fd_number != f->number) {
			io_close(&s->read_fd);
			TRY(io_open(&s->read_fd, path));
			s->read_fd_number = f->number;
			spool_walk_begin(s->walk, s->read_fd, path, end);
		}
		s->walk->fd = s->read_fd;
		s->walk->path = path;
		if (s->walk->end != end) /* grown since */
			spool_walk_begin(s->walk, s->read_fd, path, end);
		*out = f;
		return OK;
	}
}

enum err
spool_read(struct spool *s, const uint8_t **bytes, uint32_t *n, unsigned *stream)
{
	char path[PATH_BYTES];
	struct spool_file *f;
	enum err e = OK;
	pthread_mutex_lock(&s->lock);
	if (s->error != OK)
		e = fail(s->error, "%s", s->sentence);
	else if (s->flight_count == SENDER_FLIGHT_MAX)
		e = END;
	for (bool again = e == OK; again;) {
		again = false;
		e = read_file(s, &f, path);
		if (e == OK) {
			e = read_parcel(s, f, n, stream);
			again = e == END;
		}
	}
	*bytes = s->parcel;
	pthread_mutex_unlock(&s->lock);
	return e;
}

/* --- acknowledgements --- */

static enum err
acknowledge(struct spool *s, struct spool_place *st, uint64_t sequence)
{
	uint32_t stream = (uint32_t)(st - s->streams);
	for (uint32_t i = 0; i < s->flight_count; i++) {
		struct spool_flight *f = &s->flight[(s->flight_head + i) % SENDER_FLIGHT_MAX];
		if (f->stream != stream || f->sequence > sequence)
			continue;
		f->stream = ACKNOWLEDGED;
		s->flight_bytes -= f->bytes;
		st->row.spool_bytes -= f->bytes < st->row.spool_bytes ? f->bytes : st->row.spool_bytes;
	}
	while (s->flight_count && s->flight[s->flight_head].stream == ACKNOWLEDGED) {
		s->flight_head = (s->flight_head + 1) % SENDER_FLIGHT_MAX;
		s->flight_count--;
	}
	if (sequence > st->row.acked)
		st->row.acked = sequence;
	st->row.acked_ns = when_now();
	s->dirty = true;
	pthread_cond_broadcast(&s->changed);
	return spool_reap(s, false);
}

enum err
spool_acknowledge(struct spool *s, const char *stream, uint64_t epoch, uint64_t sequence)
{
	enum err e = OK;
	pthread_mutex_lock(&s->lock);
	struct spool_place *st = spool_place_named(s, stream);
	if (!st || epoch != st->row.epoch || !st->resumed || sequence > st->read_sequence)
		e = fail(ERR_FORMAT, "the archive acknowledges parcel %" PRIu64 " of stream \"%s\", which was not sent", sequence, stream);
	else
		e = acknowledge(s, st, sequence);
	pthread_mutex_unlock(&s->lock);
	return e;
}
