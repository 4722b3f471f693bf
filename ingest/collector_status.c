#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/human.h"
#include "base/io.h"
#include "base/when.h"
#include "ingest/collector_parts.h"

#define TITLE "atoll-collect status 1"

/* A line for each of these: name, a blank, a number. */
#define STATUS_NUMBERS(F)                                          \
	F(pid, st->pid)                                            \
	F(written_ns, st->written_ns)                              \
	F(phase, st->sender.phase)                                 \
	F(connected_ns, st->sender.connected_ns)                   \
	F(acked_ns, st->sender.acked_ns)                           \
	F(sent_bytes, st->sender.sent_bytes)                       \
	F(sent_parcels, st->sender.sent_parcels)                   \
	F(sessions, st->sender.sessions)                           \
	F(clock_offset_ns, st->sender.clock_offset_ns)             \
	F(error, st->sender.error)

/* And one for each stream: these, then its name. */
#define STREAM_NUMBERS(F)                                          \
	F(epoch) F(sequence) F(acked) F(acked_ns) F(packets) F(lost_kernel) F(lost_interface) F(lost_spool) F(lost_policy) \
	F(source_records) F(spool_bytes)

static void
put(FILE *f, struct collector *c, const struct collector_status *st, unsigned streams)
{
	fprintf(f, TITLE "\n");
#define F(name, value) fprintf(f, #name " %" PRIu64 "\n", (uint64_t)value);
	STATUS_NUMBERS(F)
#undef F
	fprintf(f, "sentence %s\n", st->sender.sentence);
	for (unsigned i = 0; i < streams; i++) {
		struct spool_stream row;
		spool_stream_get(c->spool, i, &row);
		fprintf(f, "stream");
#define F(name) fprintf(f, " %" PRIu64, row.name);
		STREAM_NUMBERS(F)
#undef F
		fprintf(f, " %u %s\n", (unsigned)c->sampled[i], (const char *)row.name);
	}
}

enum err
collector_status_write(struct collector *c)
{
	char path[PATH_BYTES], next[PATH_BYTES];
	struct spool_totals t;
	TRY(io_path(path, c->dir, "spool/status"));
	TRY(io_path(next, c->dir, "spool/status.new"));
	struct collector_status *st = calloc(1, sizeof *st);
	FILE *f = st ? fopen(next, "we") : NULL;
	if (!f) {
		free(st);
		return fail_errno("%s", next);
	}
	st->pid = (uint64_t)getpid();
	st->written_ns = when_now();
	sender_status(c->sender, &st->sender);
	spool_totals(c->spool, &t);
	put(f, c, st, t.streams);
	free(st);
	bool bad = ferror(f);
	if (fclose(f) != 0 || bad)
		return fail_errno("%s", next);
	return io_rename(next, path);
}

/* --- reading --- */

static enum err
stream_line(struct collector_status *out, const char *line, const char *path)
{
	if (out->streams == SPOOL_STREAMS_MAX)
		return fail(ERR_FORMAT, "%s: too many streams", path);
	struct spool_stream *row = &out->stream[out->streams].row;
	char *end;
	*row = (struct spool_stream){ 0 };
#define F(name)                                \
	row->name = strtoull(line, &end, 10);  \
	if (end == line)                       \
		return fail(ERR_FORMAT, "%s: damaged", path); \
	line = end;
	STREAM_NUMBERS(F)
#undef F
	out->stream[out->streams].sampled = (uint32_t)strtoul(line, &end, 10);
	size_t n = strcspn(end + (*end == ' '), "\n");
	if (end == line || *end != ' ' || n == 0 || n >= SPOOL_NAME_BYTES)
		return fail(ERR_FORMAT, "%s: damaged", path);
	memcpy(row->name, end + 1, n);
	out->streams++;
	return OK;
}

static enum err
number_line(struct collector_status *st, const char *line, const char *path)
{
	char name[32];
	uint64_t value;
	if (sscanf(line, "%31s %" SCNu64, name, &value) != 2)
		return fail(ERR_FORMAT, "%s: damaged", path);
#define F(key, field)               \
	if (strcmp(name, #key) == 0) \
		field = value;
	STATUS_NUMBERS(F)
#undef F
	return OK;
}

static enum err
take_line(struct collector_status *out, const char *line, const char *path)
{
	if (strncmp(line, "sentence ", 9) == 0) {
		snprintf(out->sender.sentence, sizeof out->sender.sentence, "%.*s", (int)strcspn(line + 9, "\n"), line + 9);
		return OK;
	}
	if (strncmp(line, "stream ", 7) == 0)
		return stream_line(out, line + 7, path);
	return number_line(out, line, path);
}

enum err
collector_status_read(struct collector_status *out, const char *dir)
{
	char path[PATH_BYTES], line[ERR_TEXT_BYTES + 64];
	TRY(io_path(path, dir, "spool/status"));
	FILE *f = fopen(path, "re");
	if (!f)
		return fail_errno("%s", path);
	memset(out, 0, sizeof *out);
	enum err e = OK;
	if (!fgets(line, sizeof line, f) || strcmp(line, TITLE "\n") != 0)
		e = fail(ERR_FORMAT, "%s: not the status of a collector", path);
	while (e == OK && fgets(line, sizeof line, f))
		e = take_line(out, line, path);
	fclose(f);
	uint64_t now = when_now();
	if (e == OK && (out->sender.phase > SENDER_OVER || out->sender.error > ERR_PARTIAL))
		e = fail(ERR_FORMAT, "%s: damaged", path);
	out->running = out->pid > 0 && (kill((pid_t)out->pid, 0) == 0 || errno == EPERM) && out->written_ns <= now &&
	               now - out->written_ns < COLLECTOR_STATUS_NS;
	return e;
}
