#include <dirent.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/io.h"
#include "base/when.h"
#include "ingest/spool_parts.h"

#define STATE_MAGIC "ATOLLSPL"
#define SUM_BYTES   32u
#define PUSHED_READ 512u /* records at once */

enum {
#define F(codec, size, name, meaning) +size
	HEAD_BYTES = 0 SPOOL_STATE(F),
	ROW_BYTES = 0 SPOOL_STREAM(F),
	SOURCE_BYTES = 0 SPOOL_SOURCE(F),
#undef F
	SOURCE_SUM_BYTES = 16,
};

struct state_head {
#define F(codec, size, name, meaning) PARCEL_C_##codec(size, name)
	SPOOL_STATE(F)
#undef F
};

struct source_record {
#define F(codec, size, name, meaning) PARCEL_C_##codec(size, name)
	SPOOL_SOURCE(F)
#undef F
};

#define READ_le32(r, size, to)     (to) = reader_le32(r)
#define READ_le64(r, size, to)     (to) = reader_le64(r)
#define READ_bytes(r, size, to)    reader_get(r, to, size)
#define WRITE_le32(w, size, from)  writer_le32(w, from)
#define WRITE_le64(w, size, from)  writer_le64(w, from)
#define WRITE_bytes(w, size, from) writer_put(w, from, size)

/* --- the state --- */

static enum err
read_whole(const char *path, uint8_t **bytes, uint64_t *n)
{
	int fd = -1;
	TRY(io_open(&fd, path));
	enum err e = io_size(fd, n, path);
	if (e == OK && (*n < HEAD_BYTES + SUM_BYTES || *n > HEAD_BYTES + SPOOL_STREAMS_MAX * (uint64_t)ROW_BYTES + SUM_BYTES))
		e = fail(ERR_FORMAT, "%s: %llu bytes: damaged", path, (unsigned long long)*n);
	*bytes = NULL;
	if (e == OK && !(*bytes = malloc(*n)))
		e = fail(ERR_NOMEM, "%s: no memory for %llu bytes", path, (unsigned long long)*n);
	if (e == OK)
		e = io_pread(fd, *bytes, *n, 0, path);
	io_close(&fd);
	if (e != OK)
		free(*bytes);
	return e;
}

static enum err
rows_parse(struct reader *r, const char *path, struct spool_stream *rows, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct spool_stream *row = &rows[i];
#define F(codec, size, name, meaning) READ_##codec(r, size, row->name);
		SPOOL_STREAM(F)
#undef F
		if (row->name[0] == 0 || row->name[SPOOL_NAME_BYTES - 1] != 0 || row->acked > row->sequence)
			return fail(ERR_FORMAT, "%s: stream %u contradicts itself", path, i);
	}
	return OK;
}

static enum err
state_parse(const char *path, const uint8_t *bytes, uint64_t n, struct state_head *head, struct spool_stream **rows)
{
	uint8_t sum[SUM_BYTES];
	struct reader r = reader_of(bytes, n - SUM_BYTES);
#define F(codec, size, name, meaning) READ_##codec(&r, size, head->name);
	SPOOL_STATE(F)
#undef F
	if (memcmp(head->magic, STATE_MAGIC, sizeof head->magic) != 0)
		return fail(ERR_FORMAT, "%s: not the state of a spool", path);
	if (head->version != SPOOL_VERSION)
		return fail(ERR_UNSUPPORTED, "%s: version %u; this program knows %u", path, head->version, SPOOL_VERSION);
	crypto_generichash(sum, sizeof sum, bytes, n - SUM_BYTES, NULL, 0);
	if (memcmp(sum, bytes + n - SUM_BYTES, SUM_BYTES) != 0 || head->streams > SPOOL_STREAMS_MAX ||
	    n != HEAD_BYTES + head->streams * (uint64_t)ROW_BYTES + SUM_BYTES)
		return fail(ERR_FORMAT, "%s: damaged", path);
	*rows = calloc(head->streams + 1, sizeof **rows);
	if (!*rows)
		return fail(ERR_NOMEM, "%s: no memory", path);
	enum err e = rows_parse(&r, path, *rows, head->streams);
	if (e != OK)
		free(*rows);
	return e;
}

enum err
spool_state_read(const char *dir, uint8_t monitor[PARCEL_MONITOR_BYTES], uint64_t *dropping, struct spool_stream **streams,
                 unsigned *count)
{
	char path[PATH_BYTES];
	uint8_t *bytes;
	uint64_t n;
	struct state_head head;
	TRY(io_path(path, dir, "state"));
	TRY(read_whole(path, &bytes, &n));
	enum err e = state_parse(path, bytes, n, &head, streams);
	free(bytes);
	TRY(e);
	memcpy(monitor, head.monitor, PARCEL_MONITOR_BYTES);
	*dropping = head.dropping;
	*count = head.streams;
	return OK;
}

static uint64_t
monotonic_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static enum err
put_file(const struct spool *s, const uint8_t *bytes, size_t n)
{
	char path[PATH_BYTES], next[PATH_BYTES];
	int fd = -1;
	TRY(io_path(path, s->dir, "state"));
	TRY(io_path(next, s->dir, "state.new"));
	enum err e = io_unlink(next); /* of a write that found no room */
	if (e != OK && e != ERR_ABSENT)
		return e;
	TRY(io_create(&fd, next, 0600));
	e = io_write(fd, bytes, n, next);
	if (e == OK)
		e = io_datasync(fd, next);
	io_close(&fd);
	if (e == OK)
		e = io_rename(next, path);
	return e == OK ? io_sync_dir(s->dir) : e;
}

enum err
spool_state_write(struct spool *s)
{
	size_t n = HEAD_BYTES + s->stream_count * (size_t)ROW_BYTES + SUM_BYTES;
	struct state_head head = { .version = SPOOL_VERSION, .streams = s->stream_count, .dropping = s->dropping };
	uint8_t *bytes = malloc(n);
	if (!bytes)
		return fail(ERR_NOMEM, "no memory for the spool's state");
	memcpy(head.magic, STATE_MAGIC, sizeof head.magic);
	memcpy(head.monitor, s->id->sign_public, sizeof head.monitor);
	struct writer w = writer_of(bytes, n);
#define F(codec, size, name, meaning) WRITE_##codec(&w, size, head.name);
	SPOOL_STATE(F)
#undef F
	for (unsigned i = 0; i < s->stream_count; i++) {
		const struct spool_stream *row = &s->streams[i].row;
#define F(codec, size, name, meaning) WRITE_##codec(&w, size, row->name);
		SPOOL_STREAM(F)
#undef F
	}
	crypto_generichash(writer_room(&w, SUM_BYTES), SUM_BYTES, bytes, n - SUM_BYTES, NULL, 0);
	enum err e = put_file(s, bytes, n);
	free(bytes);
	s->state_ns = monotonic_ns();
	if (e == OK)
		s->dirty = false;
	return e;
}

/* --- files that were pushed --- */

static bool
source_parse(struct source_record *r, const uint8_t bytes[SOURCE_BYTES])
{
	uint8_t sum[SOURCE_SUM_BYTES];
	struct reader in = reader_of(bytes, SOURCE_BYTES);
#define F(codec, size, name, meaning) READ_##codec(&in, size, r->name);
	SPOOL_SOURCE(F)
#undef F
	crypto_generichash(sum, sizeof sum, bytes, SOURCE_BYTES - SOURCE_SUM_BYTES, NULL, 0);
	return memcmp(sum, r->checksum, sizeof sum) == 0 && r->stream[SPOOL_NAME_BYTES - 1] == 0;
}

/* The last word on a source. Records whose checksum is wrong (torn) say nothing. */
static enum err
source_search(int fd, const char *path, const uint8_t source[TRACE_FINGERPRINT_BYTES], struct spool_source *out, bool *found)
{
	uint8_t *bytes = malloc(PUSHED_READ * SOURCE_BYTES);
	size_t got = PUSHED_READ * SOURCE_BYTES;
	enum err e = bytes ? OK : fail(ERR_NOMEM, "%s: no memory", path);
	while (e == OK && got == PUSHED_READ * SOURCE_BYTES) {
		e = io_read(fd, bytes, PUSHED_READ * SOURCE_BYTES, &got, path);
		for (size_t at = 0; e == OK && at + SOURCE_BYTES <= got; at += SOURCE_BYTES) {
			struct source_record r;
			if (memcmp(bytes + at, source, TRACE_FINGERPRINT_BYTES) != 0 || !source_parse(&r, bytes + at))
				continue;
			if (*found && out->complete && r.complete == 0)
				continue; /* it was pushed again, and that was not ended */
			memcpy(out->stream, r.stream, sizeof out->stream);
			out->records = r.records;
			out->complete = r.complete == 1;
			*found = true;
		}
	}
	free(bytes);
	return e;
}

enum err
spool_source_find(struct spool *s, const uint8_t source[TRACE_FINGERPRINT_BYTES], struct spool_source *out)
{
	char path[PATH_BYTES];
	int fd = -1;
	bool found = false;
	TRY(io_path(path, s->dir, "pushed"));
	enum err e = io_open(&fd, path);
	if (e == OK)
		e = source_search(fd, path, source, out, &found);
	io_close(&fd);
	if (e != OK && e != ERR_ABSENT)
		return e;
	if (found && out->complete)
		return OK;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->stream_count; i++) {
		const struct spool_stream *row = &s->streams[i].row;
		if (memcmp(row->source, source, sizeof row->source) != 0 || row->source_records == 0)
			continue;
		memcpy(out->stream, row->name, sizeof out->stream);
		out->records = row->source_records;
		out->complete = false;
		found = true;
	}
	pthread_mutex_unlock(&s->lock);
	return found ? OK : fail(ERR_ABSENT, "never pushed from here");
}

static enum err
source_write(struct spool *s, const struct source_record *r)
{
	char path[PATH_BYTES];
	uint8_t bytes[SOURCE_BYTES];
	int fd = -1;
	uint64_t n = 0;
	struct writer w = writer_of(bytes, sizeof bytes);
#define F(codec, size, name, meaning) WRITE_##codec(&w, size, r->name);
	SPOOL_SOURCE(F)
#undef F
	crypto_generichash(bytes + SOURCE_BYTES - SOURCE_SUM_BYTES, SOURCE_SUM_BYTES, bytes, SOURCE_BYTES - SOURCE_SUM_BYTES, NULL,
	                   0);
	TRY(io_path(path, s->dir, "pushed"));
	enum err e = io_open_write(&fd, path);
	bool made = e == ERR_ABSENT;
	if (made)
		e = io_create(&fd, path, 0600);
	TRY(e);
	e = io_size(fd, &n, path);
	if (e == OK) /* over a torn record, whose length is no multiple */
		e = io_pwrite(fd, bytes, sizeof bytes, n - n % SOURCE_BYTES, path);
	if (e == OK)
		e = io_datasync(fd, path);
	io_close(&fd);
	return e == OK && made ? io_sync_dir(s->dir) : e;
}

enum err
spool_source_begin(struct spool *s, unsigned stream, const uint8_t source[TRACE_FINGERPRINT_BYTES])
{
	struct spool_source last = { 0 };
	struct source_record r = { 0 };
	pthread_mutex_lock(&s->lock);
	struct spool_stream row = s->streams[stream].row;
	pthread_mutex_unlock(&s->lock);
	enum err e = OK;
	if (memcmp(row.source, source, sizeof row.source) != 0 && row.source_records > 0) {
		e = spool_source_find(s, row.source, &last);
		if (e == OK && !last.complete) {
			memcpy(r.source, row.source, sizeof r.source);
			memcpy(r.stream, row.name, sizeof r.stream);
			r.records = row.source_records;
			e = source_write(s, &r);
		}
	}
	return e == ERR_ABSENT ? OK : e;
}

enum err
spool_source_end(struct spool *s, unsigned stream, const uint8_t source[TRACE_FINGERPRINT_BYTES], uint64_t records)
{
	struct source_record r = { .records = records, .complete = 1 };
	TRY(spool_sync(s));
	pthread_mutex_lock(&s->lock);
	memcpy(r.stream, s->streams[stream].row.name, sizeof r.stream);
	pthread_mutex_unlock(&s->lock);
	memcpy(r.source, source, sizeof r.source);
	return source_write(s, &r);
}

/* --- looking --- */

static enum err
look_files(const char *dir, struct spool_totals *totals)
{
	DIR *d = opendir(dir);
	if (!d)
		return fail_errno("%s", dir);
	for (struct dirent *entry; (entry = readdir(d));) {
		struct stat st;
		size_t n = strlen(entry->d_name);
		if (n != 24 || strcmp(entry->d_name + 16, ".parcels") != 0 ||
		    fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue; /* a file may go while we look */
		totals->files++;
		totals->bytes += (uint64_t)st.st_size;
	}
	closedir(d);
	return OK;
}

enum err
spool_look(const char *dir, struct spool_stream **streams, struct spool_totals *totals)
{
	uint8_t monitor[PARCEL_MONITOR_BYTES];
	uint64_t dropping;
	*totals = (struct spool_totals){ 0 };
	*streams = NULL;
	TRY(look_files(dir, totals));
	enum err e = spool_state_read(dir, monitor, &dropping, streams, &totals->streams);
	if (e == ERR_ABSENT && !(*streams = calloc(1, sizeof **streams)))
		return fail(ERR_NOMEM, "no memory");
	return e == ERR_ABSENT ? OK : e;
}
