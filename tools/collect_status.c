#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/human.h"
#include "base/limits.h"
#include "base/io.h"
#include "base/when.h"
#include "tools/collect.h"

static const char *
phase_of(const struct collector_status *st)
{
	return st->running ? sender_phase_name(st->sender.phase) : "not running";
}

static void
print_stream_json(struct json *j, const struct spool_stream *row, uint32_t sampled)
{
	json_object(j, NULL);
	json_text(j, "name", (const char *)row->name);
	json_u64(j, "epoch", row->epoch);
	json_u64(j, "sequence", row->sequence);
	json_u64(j, "acknowledged", row->acked);
	collect_json_time(j, "last_acknowledgement", row->acked_ns);
	json_u64(j, "waiting_parcels", row->sequence - row->acked);
	json_u64(j, "waiting_bytes", row->spool_bytes);
	json_u64(j, "packets", row->packets);
	json_object(j, "lost");
	json_u64(j, "kernel", row->lost_kernel);
	json_u64(j, "interface", row->lost_interface);
	json_u64(j, "spool", row->lost_spool);
	json_u64(j, "policy", row->lost_policy);
	json_end(j);
	if (sampled)
		json_u64(j, "one_in", sampled);
	else
		json_null(j, "one_in");
	json_end(j);
}

static enum err
print_json(const struct identity *id, const struct collector_status *st, const struct spool_totals *t)
{
	struct json j = collect_json();
	json_text(&j, "monitor", id->monitor);
	json_text(&j, "host", id->host);
	json_u64(&j, "port", id->port);
	json_bool(&j, "enrolled", id->enrolled);
	json_bool(&j, "running", st->running);
	json_text(&j, "phase", phase_of(st));
	collect_json_time(&j, "connected", st->sender.connected_ns);
	json_i64(&j, "archive_clock_offset_ns", st->sender.clock_offset_ns);
	json_text(&j, "error", st->sender.error == OK ? NULL : st->sender.sentence);
	json_object(&j, "spool");
	json_u64(&j, "bytes", t->bytes);
	json_u64(&j, "files", t->files);
	json_end(&j);
	json_array(&j, "streams");
	for (unsigned i = 0; i < st->streams; i++)
		print_stream_json(&j, &st->stream[i].row, st->stream[i].sampled);
	json_end(&j);
	json_end(&j);
	return json_finish(&j, "standard output");
}

static void
print_text(const struct identity *id, const struct collector_status *st, const struct spool_totals *t)
{
	char size[HUMAN_BYTES], ago[HUMAN_BYTES], packets[HUMAN_BYTES];
	uint64_t now = when_now();
	printf("monitor \"%s\" of the archive at %s port %u: %s\n", id->monitor, id->host, id->port, phase_of(st));
	if (st->sender.error != OK)
		printf("last error: %s\n", st->sender.sentence);
	printf("spool: %s in %llu files\n", human_size(size, t->bytes), (unsigned long long)t->files);
	for (unsigned i = 0; i < st->streams; i++) {
		const struct spool_stream *row = &st->stream[i].row;
		printf("stream %s: %s packets, %llu parcels wait (%s)", (const char *)row->name, human_count(packets, row->packets),
		       (unsigned long long)(row->sequence - row->acked), human_size(size, row->spool_bytes));
		if (row->acked_ns && row->acked_ns <= now)
			printf(", last acknowledged %s ago", human_duration(ago, (double)(now - row->acked_ns) / NS_PER_S));
		if (st->stream[i].sampled > 1)
			printf(", keeping one in %u", st->stream[i].sampled);
		printf("\n  lost: kernel %llu, interface %llu, spool %llu, policy %llu\n", (unsigned long long)row->lost_kernel,
		       (unsigned long long)row->lost_interface, (unsigned long long)row->lost_spool,
		       (unsigned long long)row->lost_policy);
	}
}

/* What a running collector says, or what the last one left. */
static enum err
gather(const char *dir, struct collector_status *st, struct spool_totals *t)
{
	char path[PATH_BYTES];
	struct spool_stream *rows = NULL;
	TRY(io_path(path, dir, "spool"));
	enum err e = collector_status_read(st, dir);
	if (e != OK)
		memset(st, 0, sizeof *st);
	e = spool_look(path, &rows, t);
	if (e == ERR_ABSENT)
		return OK; /* nothing was ever collected */
	TRY(e);
	if (!st->running) {
		st->streams = t->streams;
		for (unsigned i = 0; i < t->streams; i++)
			st->stream[i].row = rows[i];
	}
	free(rows);
	return OK;
}

static enum err
run(const struct given *g)
{
	const char *dir = collect_dir(g);
	struct identity *id = NULL;
	struct spool_totals t = { 0 };
	TRY(identity_load(&id, dir));
	struct collector_status *st = calloc(1, sizeof *st);
	enum err e = st ? gather(dir, st, &t) : fail(ERR_NOMEM, "no memory");
	if (e == OK && given_flag(g, "json"))
		e = print_json(id, st, &t);
	else if (e == OK)
		print_text(id, st, &t);
	free(st);
	identity_close(&id);
	return e;
}

const struct verb collect_status = {
	.name = "status",
	.summary = "how the collector in this folder is doing",
	.arguments = "",
	.options = { NULL },
	.details = "Reads what the collector writes down each second, or what the last one left; disturbs nothing.",
	.examples = (const struct example[]){
		{ "atoll-collect status --json", "spool depth, last acknowledgement, losses by cause" },
		{ 0 },
	},
	.run = run,
};
