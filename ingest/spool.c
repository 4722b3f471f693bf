#include "ingest/spool.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "archive/seal.h"
#include "base/human.h"
#include "base/io.h"
#include "base/log.h"
#include "base/when.h"
#include "ingest/spool_parts.h"

/* Between two writes of the state that nothing but its freshness asks for: an fsync and a rename, 10 ms. */
#define STATE_NS (10ull * NS_PER_S)

static uint64_t
monotonic_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

enum err
spool_break(struct spool *s, enum err e)
{
	if (s->error == OK) {
		s->error = e;
		snprintf(s->sentence, sizeof s->sentence, "%s", err_text());
	}
	pthread_cond_broadcast(&s->changed);
	return e;
}

/* With the lock held: the last word, or OK. */
static enum err
spool_word(const struct spool *s)
{
	return s->error == OK ? OK : fail(s->error, "%s", s->sentence);
}

/* --- streams --- */

struct spool_place *
spool_place_named(struct spool *s, const char *name)
{
	for (unsigned i = 0; i < s->stream_count; i++)
		if (strcmp((const char *)s->streams[i].row.name, name) == 0)
			return &s->streams[i];
	return NULL;
}

enum err
spool_place_add(struct spool *s, const char *name, struct spool_place **out)
{
	char shown[SPOOL_NAME_BYTES];
	if (!parcel_is_name(name))
		return fail(ERR_USAGE, "\"%s\" is no name for a stream: 1 to %u of a-z A-Z 0-9 . _ - : @ +, not beginning with a dot",
		            human_text(shown, sizeof shown, name), SPOOL_NAME_BYTES - 1);
	if (s->stream_count == SPOOL_STREAMS_MAX)
		return fail(ERR_LIMIT, "%s: %u streams, more than a monitor may have: push into one that there is (--stream)", s->dir,
		            SPOOL_STREAMS_MAX);
	struct spool_place *st = &s->streams[s->stream_count++];
	*st = (struct spool_place){ 0 };
	memcpy(st->row.name, name, strlen(name));
	*out = st;
	return OK;
}

enum err
spool_stream(struct spool *s, const char *name, unsigned *stream)
{
	enum err e = OK;
	pthread_mutex_lock(&s->lock);
	struct spool_place *st = spool_place_named(s, name);
	if (!st) {
		e = spool_place_add(s, name, &st);
		if (e == OK)
			st->row.epoch = when_now();
	}
	if (e == OK)
		*stream = (unsigned)(st - s->streams);
	pthread_mutex_unlock(&s->lock);
	return e;
}

void
spool_stream_get(struct spool *s, unsigned stream, struct spool_stream *out)
{
	pthread_mutex_lock(&s->lock);
	*out = s->streams[stream].row;
	pthread_mutex_unlock(&s->lock);
}

void
spool_totals(struct spool *s, struct spool_totals *out)
{
	pthread_mutex_lock(&s->lock);
	*out = (struct spool_totals){
		.streams = s->stream_count,
		.bytes = s->used_bytes,
		.bytes_max = s->options.bytes_max,
		.flight_bytes = s->flight_bytes,
		.files = s->file_count,
		.full = s->full,
	};
	for (unsigned i = 0; i < s->stream_count; i++)
		out->waiting_bytes += s->streams[i].row.spool_bytes;
	pthread_mutex_unlock(&s->lock);
}

void
spool_lose(struct spool *s, unsigned stream, enum spool_cause cause, uint64_t n)
{
	pthread_mutex_lock(&s->lock);
	struct spool_stream *row = &s->streams[stream].row;
	uint64_t *const counters[SPOOL_CAUSES] = { &row->lost_kernel, &row->lost_interface, &row->lost_spool, &row->lost_policy };
	*counters[cause] += n;
	s->dirty = s->dirty || n > 0;
	pthread_mutex_unlock(&s->lock);
}

void
spool_ingest_key(struct spool *s, const uint8_t ingest[INGEST_KEY_BYTES])
{
	pthread_mutex_lock(&s->lock);
	memcpy(s->ingest, ingest, sizeof s->ingest);
	pthread_mutex_unlock(&s->lock);
}

/* --- files --- */

enum err
spool_file_end(struct spool *s)
{
	char path[PATH_BYTES];
	while (s->syncing)
		pthread_cond_wait(&s->changed, &s->lock);
	if (s->fd < 0)
		return OK;
	const struct spool_file *f = &s->files[s->file_count - 1];
	TRY(spool_file_path(s, f->number, path));
	enum err e = io_datasync(s->fd, path);
	if (e != OK)
		return spool_break(s, ERR_IO);
	s->durable_number = f->number;
	s->durable_bytes = f->bytes;
	io_close(&s->fd);
	pthread_cond_broadcast(&s->changed);
	return OK;
}

static enum err
file_begin(struct spool *s)
{
	char path[PATH_BYTES];
	TRY(spool_file_end(s));
	if (s->fd >= 0) /* another thread began one while this one waited */
		return OK;
	TRY(spool_file_path(s, s->next_number, path));
	struct spool_file *f = spool_file_add(s, s->next_number);
	if (!f)
		return fail(ERR_NOMEM, "no memory for the spool's list of files");
	enum err e = io_create(&s->fd, path, 0600);
	if (e == OK)
		e = io_sync_dir(s->dir);
	if (e != OK) {
		if (s->fd >= 0 && io_unlink(path) != OK)
			log_line(LOG_FAILED, "%s", err_text());
		io_close(&s->fd);
		spool_file_forget(s, s->file_count - 1);
		return e;
	}
	f->losses = true;
	s->next_number++;
	return OK;
}

/* All of this file is acknowledged; *elsewhere: the streams in it have later parcels in later files, from which their places
 * can be told after a crash. */
static bool
file_done(const struct spool *s, uint32_t index, bool *elsewhere)
{
	const struct spool_file *f = &s->files[index];
	*elsewhere = true;
	for (uint32_t i = 0; i < f->part_count; i++) {
		const struct spool_part *part = &f->parts[i];
		if (part->last > s->streams[part->stream].row.acked)
			return false;
		bool later = false;
		for (uint32_t k = index + 1; k < s->file_count && !later; k++)
			for (uint32_t m = 0; m < s->files[k].part_count && !later; m++)
				later = s->files[k].parts[m].stream == part->stream;
		*elsewhere = *elsewhere && later;
	}
	return true;
}

enum err
spool_reap(struct spool *s, bool last)
{
	char path[PATH_BYTES];
	bool written = false;
	for (uint32_t i = 0; i < s->file_count;) {
		bool elsewhere, current = i + 1 == s->file_count && s->fd >= 0;
		if (!file_done(s, i, &elsewhere) || (current && (!last || s->files[i].bytes == 0 || s->syncing))) {
			i++;
			continue;
		}
		if (current)
			TRY(spool_file_end(s));
		if (!elsewhere && !written)
			TRY(spool_state_write(s));
		written = written || !elsewhere;
		TRY(spool_file_path(s, s->files[i].number, path));
		enum err e = io_unlink(path);
		if (e != OK && e != ERR_ABSENT)
			return e;
		if (s->read_fd_number == s->files[i].number)
			io_close(&s->read_fd); /* or its bytes stay on the disk */
		spool_file_forget(s, i);
		pthread_cond_broadcast(&s->changed);
	}
	return OK;
}

/* --- room --- */

static enum err
make_room(struct spool *s, uint64_t n)
{
	if (n > s->options.bytes_max)
		return fail(ERR_LIMIT, "%s: a parcel of %llu bytes in a spool of at most %llu", s->dir, (unsigned long long)n,
		            (unsigned long long)s->options.bytes_max);
	if (s->used_bytes + n > s->options.bytes_max)
		TRY(spool_reap(s, true));
	while (s->used_bytes + n > s->options.bytes_max) {
		enum err e = s->options.policy == SPOOL_OLDEST ? spool_drop_oldest(s) : END;
		if (e != OK && e != END)
			return e;
		if (e == END)
			return fail(ERR_FULL, "%s: the spool is full: %llu of %llu bytes wait for the archive", s->dir,
			            (unsigned long long)s->used_bytes, (unsigned long long)s->options.bytes_max);
	}
	return OK;
}

static void
deadline_in(struct timespec *t, unsigned milliseconds)
{
	clock_gettime(CLOCK_MONOTONIC, t);
	t->tv_sec += milliseconds / 1000;
	t->tv_nsec += (long)(milliseconds % 1000) * 1000000;
	if (t->tv_nsec >= (long)NS_PER_S) {
		t->tv_nsec -= (long)NS_PER_S;
		t->tv_sec++;
	}
}

bool
spool_wait_room(struct spool *s, uint32_t block_bytes, unsigned milliseconds)
{
	struct timespec until;
	uint64_t n = (uint64_t)block_bytes + PARCEL_FRONT_BYTES_MAX;
	deadline_in(&until, milliseconds);
	pthread_mutex_lock(&s->lock);
	bool room;
	for (int late = 0;;) {
		/* what the last file holds may be acknowledged, and is freed by the append */
		uint64_t last = s->file_count ? s->files[s->file_count - 1].bytes : 0;
		bool elsewhere;
		if (!s->file_count || !file_done(s, s->file_count - 1, &elsewhere))
			last = 0;
		room = s->options.policy == SPOOL_OLDEST || s->used_bytes - last + n <= s->options.bytes_max;
		if (room || late || s->error != OK)
			break;
		late = pthread_cond_timedwait(&s->changed, &s->lock, &until);
	}
	pthread_mutex_unlock(&s->lock);
	return room;
}

static bool
all_acknowledged(const struct spool *s, const uint64_t *upto, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		if (s->streams[i].row.acked < upto[i])
			return false;
	return true;
}

bool
spool_wait_empty(struct spool *s, unsigned milliseconds)
{
	struct timespec until;
	deadline_in(&until, milliseconds);
	pthread_mutex_lock(&s->lock);
	unsigned count = s->stream_count;
	uint64_t *upto = malloc((count + 1) * sizeof *upto);
	for (unsigned i = 0; upto && i < count; i++)
		upto[i] = s->streams[i].row.sequence;
	bool empty = false;
	for (int late = 0; upto && !(empty = all_acknowledged(s, upto, count)) && !late && s->error == OK;)
		late = pthread_cond_timedwait(&s->changed, &s->lock, &until);
	free(upto);
	pthread_mutex_unlock(&s->lock);
	return empty;
}

/* --- appending --- */

/* Both parts at the end of the last file, or nothing. */
static enum err
write_parcel(struct spool *s, const struct parcel *p)
{
	char path[PATH_BYTES];
	struct spool_file *f = &s->files[s->file_count - 1];
	TRY(spool_file_path(s, f->number, path));
	enum err e = io_pwrite(s->fd, p->front, p->front_bytes, f->bytes, path);
	if (e == OK)
		e = io_pwrite(s->fd, p->block, p->block_bytes, f->bytes + p->front_bytes, path);
	if (e == OK)
		return OK;
	if (e != ERR_FULL)
		return spool_break(s, e);
	char sentence[ERR_TEXT_BYTES];
	snprintf(sentence, sizeof sentence, "%s", err_text());
	if (ftruncate(s->fd, (off_t)f->bytes) < 0)
		return spool_break(s, fail_errno("%s: cut to %llu bytes", path, (unsigned long long)f->bytes));
	return fail(ERR_FULL, "%s", sentence);
}

/* The last file is one to write to. */
static enum err
file_ready(struct spool *s)
{
	if (s->fd >= 0 && s->files[s->file_count - 1].bytes < s->options.file_bytes)
		return OK;
	enum err e = file_begin(s);
	return e == OK || e == ERR_FULL || s->error != OK ? e : spool_break(s, e);
}

/* The disk is full before the spool is: frees what is acknowledged, the last file too, or drops, and writes again. */
static enum err
write_or_free(struct spool *s, const struct parcel *p)
{
	char sentence[ERR_TEXT_BYTES];
	uint64_t used = s->used_bytes;
	enum err e = write_parcel(s, p);
	if (e != ERR_FULL)
		return e;
	snprintf(sentence, sizeof sentence, "%s", err_text());
	TRY(spool_reap(s, true));
	if (s->used_bytes < used || (s->options.policy == SPOOL_OLDEST && spool_drop_oldest(s) == OK)) {
		TRY(file_ready(s));
		return write_parcel(s, p);
	}
	return fail(ERR_FULL, "%s", sentence);
}

static enum err
put_parcel(struct spool *s, unsigned stream, const struct parcel *p)
{
	uint64_t n = (uint64_t)p->front_bytes + p->block_bytes;
	TRY(spool_word(s));
	TRY(make_room(s, n));
	TRY(file_ready(s));
	TRY(write_or_free(s, p));
	enum err e;
	struct spool_file *f = &s->files[s->file_count - 1];
	struct spool_stream *row = &s->streams[stream].row;
	e = spool_file_note(f, stream, p->sequence, p->sequence);
	if (e != OK)
		return spool_break(s, e); /* written, and not to be forgotten */
	f->bytes += n;
	f->readable_bytes = f->bytes;
	f->losses = false;
	s->used_bytes += n;
	row->sequence = p->sequence;
	memcpy(row->chain, p->self, sizeof row->chain);
	row->packets += p->records;
	row->spool_bytes += n;
	if (p->source_records > 0) {
		memcpy(row->source, p->source, sizeof row->source);
		row->source_records = p->source_records;
	}
	s->dirty = true;
	return OK;
}

/* With the lock held. */
static void
place_parcel(const struct spool *s, unsigned stream, struct parcel *p)
{
	const struct spool_stream *row = &s->streams[stream].row;
	p->kind = PARCEL_BLOCK;
	p->epoch = row->epoch;
	p->sequence = row->sequence + 1;
	p->from_sequence = 0;
	p->lost_kernel = row->lost_kernel;
	p->lost_interface = row->lost_interface;
	p->lost_spool = row->lost_spool;
	p->lost_policy = row->lost_policy;
	memcpy(p->previous, row->chain, sizeof p->previous);
	memcpy(p->stream, row->name, sizeof row->name);
	memcpy(p->archive, s->id->archive, sizeof p->archive);
	memcpy(p->monitor, s->id->sign_public, sizeof p->monitor);
}

enum err
spool_append(struct spool *s, unsigned stream, struct parcel *p, const uint8_t key[BLOCK_KEY_BYTES])
{
	uint8_t front[PARCEL_FRONT_BYTES_MAX], ingest[INGEST_KEY_BYTES];
	pthread_mutex_lock(&s->lock);
	for (bool signed_in_place = false; !signed_in_place;) {
		place_parcel(s, stream, p);
		memcpy(ingest, s->ingest, sizeof ingest);
		pthread_mutex_unlock(&s->lock);
		/* a millisecond for hash and signature of a full block, during which others may append to their streams, and the
		 * sender may learn that this stream, new here, has had this epoch */
		parcel_sign(p, s->id->sign_secret, ingest, key, front);
		pthread_mutex_lock(&s->lock);
		signed_in_place = p->epoch == s->streams[stream].row.epoch;
	}
	enum err e = put_parcel(s, stream, p);
	s->full = e == ERR_FULL;
	pthread_mutex_unlock(&s->lock);
	return e;
}

bool
spool_unsynced(struct spool *s)
{
	pthread_mutex_lock(&s->lock);
	const struct spool_file *f = s->fd >= 0 ? &s->files[s->file_count - 1] : NULL;
	bool some = f && s->error == OK && (s->durable_number != f->number || s->durable_bytes < f->bytes);
	pthread_mutex_unlock(&s->lock);
	return some;
}

/* With the lock held; let go while the disk works. */
static enum err
sync_last(struct spool *s)
{
	char path[PATH_BYTES];
	while (s->syncing)
		pthread_cond_wait(&s->changed, &s->lock);
	TRY(spool_word(s));
	if (s->fd < 0)
		return OK;
	const struct spool_file *f = &s->files[s->file_count - 1];
	uint64_t number = f->number, bytes = f->bytes;
	if (s->durable_number == number && s->durable_bytes == bytes)
		return OK;
	TRY(spool_file_path(s, number, path));
	s->syncing = true;
	pthread_mutex_unlock(&s->lock);
	enum err e = io_datasync(s->fd, path);
	pthread_mutex_lock(&s->lock);
	s->syncing = false;
	if (e != OK)
		return spool_break(s, ERR_IO); /* what is on the disk is not known: the next start looks */
	s->durable_number = number;
	s->durable_bytes = bytes;
	pthread_cond_broadcast(&s->changed);
	return OK;
}

enum err
spool_sync(struct spool *s)
{
	pthread_mutex_lock(&s->lock);
	enum err e = sync_last(s);
	if (e == OK && s->dirty && monotonic_ns() - s->state_ns > STATE_NS) {
		enum err w = spool_state_write(s);
		if (w == ERR_FULL)
			log_line(LOG_WARNED, "%s; the spool goes on without", err_text());
		else if (w != OK)
			e = spool_break(s, w);
	}
	pthread_mutex_unlock(&s->lock);
	return e;
}

/* --- opening, closing --- */

static enum err
take_lock(struct spool *s)
{
	char path[PATH_BYTES];
	TRY(io_path(path, s->dir, "lock"));
	do
		s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	while (s->lock_fd < 0 && errno == EINTR);
	if (s->lock_fd < 0)
		return fail_errno("%s", path);
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return OK;
	if (errno != EWOULDBLOCK)
		return fail_errno("%s: lock", path);
	return fail(ERR_BUSY, "%s: another atoll-collect uses this spool; stop it, or give this one a folder and enrolment of its own "
	                      "(-C DIR)", s->dir);
}

static enum err
take_state(struct spool *s)
{
	uint8_t monitor[PARCEL_MONITOR_BYTES];
	struct spool_stream *rows = NULL;
	struct spool_place *st;
	unsigned count = 0;
	enum err e = spool_state_read(s->dir, monitor, &s->dropping, &rows, &count);
	if (e == ERR_ABSENT)
		return OK;
	if (e == ERR_FORMAT) {
		log_line(LOG_FAILED, "%s; streams without parcels in the spool begin a new chain", err_text());
		return OK;
	}
	TRY(e);
	s->known = true;
	if (memcmp(monitor, s->id->sign_public, sizeof monitor) != 0)
		e = spool_foreign(s->dir);
	for (unsigned i = 0; i < count && e == OK; i++) {
		e = spool_place_add(s, (const char *)rows[i].name, &st);
		if (e == OK)
			st->row = rows[i];
		st->row.spool_bytes = 0;
	}
	free(rows);
	return e;
}

/* Bytes that wait, and how far the files go that a sender before us may have sent. */
static enum err
weigh(struct spool *s)
{
	char path[PATH_BYTES];
	uint64_t sum = 0;
	for (uint32_t i = 0; i < s->file_count; i++) {
		const struct spool_file *f = &s->files[i];
		struct parcel p;
		uint64_t length;
		int fd = -1;
		TRY(spool_file_path(s, f->number, path));
		TRY(io_open(&fd, path));
		spool_walk_begin(s->walk, fd, path, f->readable_bytes);
		enum err e = OK;
		if (sum < s->options.window_bytes)
			s->doubt_number = f->number;
		for (uint64_t at = 0; (e = spool_walk_front(s->walk, at, &p, &length)) == OK; at += length) {
			struct spool_place *st = spool_place_named(s, p.stream);
			if (!st || p.epoch != st->row.epoch || p.sequence <= st->row.acked)
				continue;
			st->row.spool_bytes += length;
			sum += length;
		}
		io_close(&fd);
		if (e == ERR_IO || e == ERR_NOMEM)
			return e;
	}
	return OK;
}

static enum err
open_files(struct spool *s)
{
	TRY(take_lock(s));
	TRY(take_state(s));
	TRY(spool_scan(s));
	TRY(spool_drop_finish(s));
	TRY(weigh(s));
	if (s->file_count) {
		const struct spool_file *f = &s->files[s->file_count - 1];
		s->durable_number = f->number;
		s->durable_bytes = f->bytes;
	}
	TRY(spool_reap(s, false));
	return spool_state_write(s);
}

static void
spool_free(struct spool *s)
{
	io_close(&s->fd);
	io_close(&s->read_fd);
	io_close(&s->lock_fd);
	for (uint32_t i = 0; i < s->file_count; i++)
		free(s->files[i].parts);
	free(s->files);
	free(s->streams);
	free(s->parcel);
	free(s->walk);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void
options_settle(struct spool_options *o)
{
	if (o->bytes_max == 0)
		o->bytes_max = SPOOL_BYTES_DEFAULT;
	if (o->file_bytes == 0)
		o->file_bytes = o->bytes_max / 8 < SPOOL_FILE_BYTES ? (uint32_t)(o->bytes_max / 8) : SPOOL_FILE_BYTES;
	if (o->window_bytes == 0)
		o->window_bytes = SENDER_WINDOW_BYTES;
}

enum err
spool_open(struct spool **out, const char *dir, const struct identity *id, const struct spool_options *o)
{
	pthread_condattr_t attributes;
	TRY(seal_start());
	enum err e = io_mkdir(dir, 0700);
	if (e != OK && e != ERR_EXISTS)
		return e;
	struct spool *s = calloc(1, sizeof *s);
	if (!s)
		return fail(ERR_NOMEM, "no memory for the spool");
	s->fd = s->read_fd = s->lock_fd = -1;
	s->id = id;
	s->options = *o;
	options_settle(&s->options);
	memcpy(s->ingest, id->ingest, sizeof s->ingest);
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&s->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	s->streams = calloc(SPOOL_STREAMS_MAX, sizeof *s->streams);
	s->walk = calloc(1, sizeof *s->walk);
	if ((size_t)snprintf(s->dir, sizeof s->dir, "%s", dir) >= sizeof s->dir)
		e = fail(ERR_LIMIT, "%s: path longer than %d bytes", dir, PATH_BYTES);
	else
		e = s->streams && s->walk ? open_files(s) : fail(ERR_NOMEM, "no memory for the spool");
	if (e != OK) {
		spool_free(s);
		return e;
	}
	*out = s;
	return OK;
}

enum err
spool_close(struct spool **out)
{
	struct spool *s = *out;
	*out = NULL;
	if (!s)
		return OK;
	pthread_mutex_lock(&s->lock);
	enum err e = spool_word(s);
	if (e == OK)
		e = spool_file_end(s);
	if (e == OK)
		e = spool_reap(s, true);
	if (e == OK)
		e = spool_state_write(s);
	pthread_mutex_unlock(&s->lock);
	spool_free(s);
	return e;
}
