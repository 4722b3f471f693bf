#include <stdio.h>
#include <string.h>

#include "base/human.h"
#include "base/interrupt.h"
#include "base/limits.h"
#include "base/progress.h"
#include "base/when.h"
#include "tools/collect.h"

#define PATIENCE_S 90u /* without an acknowledgement, before it ends with what waits left in the spool: longer than a
                       * half-open connection is believed (SESSION_SILENCE_NS), so that it can connect again */

struct pushed {
	const char *file;
	struct push_result result;
	enum err error;
	char     sentence[ERR_TEXT_BYTES];
};

struct show {
	struct progress progress;
	struct collector *collector;
	uint64_t status_ns, waiting_bytes;
	uint64_t moved_ns; /* steady clock */
	bool forever;
};

/* --- progress --- */

static void
write_status(struct show *s)
{
	uint64_t now = when_now();
	if (now - s->status_ns < NS_PER_S && now >= s->status_ns)
		return;
	s->status_ns = now;
	if (collector_status_write(s->collector) != OK)
		s->status_ns = now; /* only `status` misses it */
}

static void
step(void *arg, uint64_t done_bytes, uint64_t records)
{
	struct show *s = arg;
	progress_step(&s->progress, done_bytes, records);
	write_status(s);
}

static void
step_drain(void *arg)
{
	struct show *s = arg;
	struct spool_totals t;
	spool_totals(collector_spool(s->collector), &t);
	if (t.waiting_bytes != s->waiting_bytes)
		s->moved_ns = when_steady();
	s->waiting_bytes = t.waiting_bytes;
	progress_step(&s->progress, s->progress.total > t.waiting_bytes ? s->progress.total - t.waiting_bytes : 0, 0);
	write_status(s);
}

/* --- one file --- */

/* The stream of a file without --stream: its name without folder and without the endings of traces. */
static void
stream_of_file(char out[SPOOL_NAME_BYTES], const char *file)
{
	size_t n;
	const char *base = trace_stem(file, &n);
	n = n < SPOOL_NAME_BYTES ? n : SPOOL_NAME_BYTES - 1;
	for (size_t i = 0; i < n; i++)
		out[i] = base[i] && strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:@+", base[i])
		                 ? base[i] : '_';
	out[n] = '\0';
	if (out[0] == '.')
		out[0] = '_';
}

static enum err
push_file(const struct given *g, struct show *show, struct pushed *p)
{
	char stream[SPOOL_NAME_BYTES];
	stream_of_file(stream, p->file);
	struct push_options o = {
		.stream = given_text(g, "stream", stream),
		.jobs = (unsigned)given_count(g, "jobs", 0),
		.headers_only = !given_flag(g, "full"),
		.again = given_flag(g, "again"),
		.step = step,
		.arg = show,
	};
	struct trace *t = NULL; /* for the size alone */
	uint64_t size = 0;
	if (strcmp(p->file, "-") != 0) {
		TRY(trace_open(&t, p->file));
		size = trace_size(t);
		trace_close(&t);
	}
	progress_init(&show->progress, p->file, "packets", size, given_flag(g, "quiet") || given_flag(g, "json"));
	enum err e = collector_push(show->collector, p->file, &o, &p->result);
	progress_fini(&show->progress);
	return e;
}

static void
print_line(const struct pushed *p, double seconds)
{
	char packets[HUMAN_BYTES], size[HUMAN_BYTES], took[HUMAN_BYTES], rate[HUMAN_BYTES], before[HUMAN_BYTES], file[PATH_BYTES];
	const struct push_result *r = &p->result;
	human_text(file, sizeof file, p->file);
	if (r->known) {
		printf("%s: its %s packets were pushed before, into stream \"%s\"; --again pushes them once more\n", file,
		       human_count(before, r->before), r->stream);
		return;
	}
	printf("%s: %s packets into stream \"%s\", %s, %s, %s packets/s", file, human_count(packets, r->records), r->stream,
	       human_size(size, r->stored_bytes), human_duration(took, seconds),
	       human_rough(rate, seconds > 0 ? (double)r->records / seconds : 0));
	if (r->before)
		printf("; went on behind %s packets of an interrupted push", human_count(before, r->before));
	putchar('\n');
}

static void
print_json(struct json *j, const struct pushed *p)
{
	const struct push_result *r = &p->result;
	json_object(j, NULL);
	json_text(j, "file", p->file);
	json_text(j, "stream", r->stream);
	json_text(j, "format", *r->format ? r->format : NULL);
	json_u64(j, "packets", r->records);
	json_u64(j, "packets_before", r->before);
	json_bool(j, "pushed_before", r->known);
	json_u64(j, "parcels", r->parcels);
	json_u64(j, "captured_bytes", r->captured_bytes);
	json_u64(j, "stored_bytes", r->stored_bytes);
	json_u64(j, "skipped_blocks", r->skipped_blocks);
	json_text(j, "damage", r->damaged ? r->damage : NULL);
	json_text(j, "error", p->error == OK ? NULL : p->sentence);
	json_end(j);
}

static bool
is_damage(enum err e)
{
	return e == ERR_FORMAT || e == ERR_LIMIT || e == ERR_UNSUPPORTED;
}

/* All files; goes on with the next one after damage, not after what will not go better. */
static enum err
push_all(const struct given *g, struct show *show, struct json *j)
{
	const char *const *files;
	unsigned n = given_arguments(g, &files), damaged = 0;
	for (unsigned i = 0; i < n; i++) {
		struct pushed p = { .file = files[i] };
		uint64_t began = when_now();
		p.error = push_file(g, show, &p);
		if (p.error != OK)
			snprintf(p.sentence, sizeof p.sentence, "%s", err_text());
		if (j)
			print_json(j, &p);
		else if ((p.error == OK || p.result.records > 0) && !given_flag(g, "quiet"))
			print_line(&p, (double)(when_now() - began) / NS_PER_S);
		fflush(stdout);
		if (p.result.damaged || is_damage(p.error)) {
			fprintf(stderr, "atoll-collect push: %s\n", p.result.damaged ? p.result.damage : p.sentence);
			damaged++;
		} else if (p.error != OK) {
			return fail(p.error, "%s%s", p.sentence,
			            p.error == ERR_INTERRUPTED ? "; the same command goes on from here" : "");
		}
	}
	if (damaged)
		return fail(ERR_PARTIAL, "%u of %u files could not be read to the end; what came before is kept", damaged, n);
	return OK;
}

/* --- all of it --- */

static enum err
drain(struct show *s)
{
	char size[HUMAN_BYTES];
	struct spool_totals t;
	spool_totals(collector_spool(s->collector), &t);
	progress_init(&s->progress, "waiting for the archive", NULL, t.waiting_bytes, s->progress.quiet);
	s->moved_ns = when_steady();
	enum err e;
	for (;;) {
		if (spool_wait_empty(collector_spool(s->collector), 200)) {
			e = OK;
			break;
		}
		e = collector_check(s->collector);
		if (e == OK && interrupt_seen())
			e = fail(ERR_INTERRUPTED, "interrupted; what waits in the spool goes with the next push or run");
		if (e != OK)
			break;
		step_drain(s);
		if (!s->forever && when_steady() - s->moved_ns > PATIENCE_S * NS_PER_S) {
			struct sender_status st;
			collector_sender_status(s->collector, &st);
			e = fail(ERR_PARTIAL, "%s wait in the spool, and the archive took nothing for %u seconds (%s%s%s); the next push or "
			                      "run sends them; --wait waits for as long as it takes",
			         human_size(size, s->waiting_bytes), PATIENCE_S, sender_phase_name(st.phase), st.error == OK ? "" : ": ",
			         st.error == OK ? "" : st.sentence);
			break;
		}
	}
	progress_fini(&s->progress);
	return e;
}

static enum err
push(const struct given *g, struct show *show)
{
	char sentence[ERR_TEXT_BYTES] = "";
	bool as_json = given_flag(g, "json");
	struct json j;
	if (as_json) {
		j = collect_json();
		json_array(&j, "pushes");
	}
	enum err e = push_all(g, show, as_json ? &j : NULL);
	snprintf(sentence, sizeof sentence, "%s", err_text());
	enum err drained = e == OK || e == ERR_PARTIAL ? drain(show) : OK;
	if (as_json) {
		json_end(&j);
		json_bool(&j, "acknowledged", drained == OK && (e == OK || e == ERR_PARTIAL));
		json_end(&j);
		TRY(json_finish(&j, "standard output"));
	}
	return drained != OK || e == OK ? drained : fail(e, "%s", sentence);
}

static enum err
run(const struct given *g)
{
	struct identity *id = NULL;
	struct spool_options spool = { 0 };
	struct show show = { .forever = given_flag(g, "wait") };
	char sentence[ERR_TEXT_BYTES];
	TRY(collect_harden());
	TRY(collect_spool_options(g, &spool));
	spool.policy = SPOOL_STOP; /* a file waits */
	TRY(identity_load(&id, collect_dir(g)));
	enum err e = collector_open(&show.collector, collect_dir(g), id, &spool);
	if (e == OK) {
		e = push(g, &show);
		snprintf(sentence, sizeof sentence, "%s", err_text());
		enum err closed = collector_close(&show.collector, 0);
		e = e != OK ? fail(e, "%s", sentence) : closed;
	}
	identity_close(&id);
	return e;
}

static const struct option_spec options[] = {
	{ "stream", 's', OPTION_TEXT, "NAME", NULL, "the stream to put the packets into (default: the file's name)" },
	{ "headers-only", 0, OPTION_FLAG, NULL, NULL, "cut each packet after its innermost transport header (the default)" },
	{ "full", 0, OPTION_FLAG, NULL, NULL, "keep payload too" },
	{ "again", 0, OPTION_FLAG, NULL, NULL, "push a file that was pushed before" },
	{ "wait", 0, OPTION_FLAG, NULL, NULL, "wait for the archive as long as it takes, not 90 seconds" },
	{ "jobs", 'j', OPTION_COUNT, "N", NULL, "threads that encode, 1 or 2 (default: 2 where there are as many processors)" },
	{ 0 },
};

const struct verb collect_push = {
	.name = "push",
	.summary = "send the packets of trace files to the archive",
	.arguments = "FILE...",
	.least = 1,
	.most = 1000000,
	.options = { options, collect_spool_option_specs },
	.details = "Reads pcap and pcapng, also packed with gzip, zstd, xz or lz4; \"-\" is standard input. Ends when the archive has\n"
	           "acknowledged everything. Each packet arrives once: interrupted, the same command goes on where it stopped, and a\n"
	           "file that was pushed is not pushed again.",
	.examples = (const struct example[]){
		{ "atoll-collect push --stream eth0 monday.pcap.zst", "headers of one file, as stream eth0" },
		{ 0 },
	},
	.run = run,
};
