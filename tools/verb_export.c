#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/human.h"
#include "query/records.h"
#include "query/tracefile.h"
#include "tools/selectors.h"
#include "tools/verbs.h"

struct export {
	struct selected *selected;
	const struct plan_stream *streams;
	struct tracefile *file;
	uint64_t limit;
	/* The interface of the record before: most records have the same. */
	uint32_t last_id;
	struct record last;
	bool have_last;
};

static enum err
find_interface(struct export *x, const struct record *r, uint32_t *id)
{
	if (x->have_last && r->stream == x->last.stream && r->iface == x->last.iface && r->linktype == x->last.linktype) {
		*id = x->last_id;
		return OK;
	}
	const struct plan_stream *s = &x->streams[r->stream];
	TRY(tracefile_interface(x->file, s->id, r->iface, r->linktype, s->name, id));
	x->last = *r;
	x->last_id = *id;
	x->have_last = true;
	return OK;
}

static enum err
write_record(void *arg, const struct record *r)
{
	struct export *x = arg;
	uint32_t id;
	TRY(find_interface(x, r, &id));
	TRY(tracefile_append(x->file, id, r->ts_ns, r->wire_len, r->cap_len, r->bytes));
	return tracefile_records(x->file) == x->limit ? END : OK;
}

static void
notice(void *arg, const char *sentence)
{
	selected_notice(((struct export *)arg)->selected, sentence);
}

static void
step(void *arg, uint64_t blocks, uint64_t records)
{
	(void)records;
	struct export *x = arg;
	selected_step(x->selected, blocks, tracefile_records(x->file));
}

static void
report(const struct selected *s, const char *path, uint64_t packets, uint64_t bytes, bool as_json)
{
	/* With the trace on standard output the report goes to standard error. */
	bool on_stdout = strcmp(path, "-") != 0;
	if (as_json && on_stdout) {
		struct json j = report_json();
		selected_json(s, &j);
		json_text(&j, "file", path);
		json_u64(&j, "packets", packets);
		json_u64(&j, "bytes", bytes);
		selected_losses_json(s, &j);
		json_u64(&j, "segments_missing", plan_counts(s->plan)->segments_missing);
		json_u64(&j, "damaged", s->counts.damaged);
		json_end(&j);
	} else if (!s->quiet) {
		char count[HUMAN_BYTES], size[HUMAN_BYTES], file[PATH_BYTES];
		fprintf(on_stdout ? stdout : stderr, "%s: %s packets, %s\n", human_text(file, sizeof file, path), human_count(count, packets),
		        human_size(size, bytes));
	}
}

static enum err
run_export(struct selected *s, const struct given *g, const char *path, enum tracefile_format format)
{
	struct export x = { .selected = s, .limit = given_count(g, "limit", UINT64_MAX) };
	struct records_sink sink = { .record = write_record, .notice = notice, .step = step, .arg = &x };
	TRY(tracefile_open(&x.file, path, format));
	enum err e;
	do {
		plan_streams(s->plan, &x.streams);
		x.have_last = false;
		e = records_run(s->plan, s->filter, s->jobs, &sink, &s->counts);
	} while (e == OK && tracefile_records(x.file) < x.limit && (e = selected_next(s)) == OK);
	progress_fini(&s->progress);
	if (e == OK || e == END)
		e = tracefile_finish(x.file);
	uint64_t packets = tracefile_records(x.file), bytes = tracefile_bytes(x.file);
	tracefile_close(&x.file);
	TRY(e);
	report(s, path, packets, bytes, given_flag(g, "json"));
	return selected_outcome(s, packets > 0);
}

/* An output inside the archive could take the place of its owner key. */
static enum err
not_in_archive(const struct given *g, const char *path)
{
	const char *dir, *key = given_text(g, "key-file", NULL);
	char file[PATH_BYTES], folder[PATH_BYTES], archive[PATH_MAX], place[PATH_MAX], key_place[PATH_MAX];
	TRY(given_archive_dir(&dir, g));
	TRY(tracefile_place(path, file));
	const char *slash = strrchr(file, '/');
	snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - file) + 1 : 1, slash ? file : ".");
	if (!realpath(dir, archive) || !realpath(folder, place))
		return OK; /* opening them says what is wrong */
	size_t n = strlen(archive);
	if (strncmp(place, archive, n) == 0 && (place[n] == '/' || place[n] == 0))
		return fail(ERR_USAGE, "%s lies in the archive itself: name another place", path);
	if (key && realpath(key, key_place) && strcmp(file, key_place) == 0)
		return fail(ERR_USAGE, "%s is the owner key: name another place", path);
	return OK;
}

static enum err
run(const struct given *g)
{
	struct selected s;
	const char *path = given_text(g, "output", NULL), *name = given_text(g, "format", NULL);
	enum tracefile_format format = TRACEFILE_PCAP;
	const char *policy = given_text(g, "policy", NULL);
	if (!given_flag(g, "raw") && !policy)
		return fail(ERR_USAGE, "say what may be seen: --policy P (`atoll policy ls`), or --raw for addresses as they were captured");
	if (given_flag(g, "raw") && policy)
		return fail(ERR_USAGE, "--raw and --policy exclude each other");
	if (!path)
		return fail(ERR_USAGE, "say where to: -o FILE, or -o - for standard output");
	size_t n = strlen(path);
	if (!name)
		name = n > 7 && strcmp(path + n - 7, ".pcapng") == 0 ? "pcapng" : "pcap";
	if (strcmp(name, "pcapng") == 0)
		format = TRACEFILE_PCAPNG;
	else if (strcmp(name, "pcap") != 0)
		return fail(ERR_USAGE, "--format %s: there is pcap and pcapng", name);
	if (given_count(g, "limit", 1) == 0)
		return fail(ERR_USAGE, "--limit 0: at least 1");
	TRY(not_in_archive(g, path));
	TRY(selected_open(&s, g, policy, "export"));
	selected_echo(&s);
	enum err e = run_export(&s, g, path, format);
	selected_close(&s);
	return e;
}

static const struct option_spec options[] = {
	SELECTOR_OPTIONS,
	POLICY_OPTION,
	{ "raw", 0, OPTION_FLAG, NULL, NULL, "packets as they were captured, with their addresses: for the archive's owner" },
	{ "output", 'o', OPTION_TEXT, "FILE", NULL, "where to; - is standard output" },
	{ "format", 0, OPTION_TEXT, "FORM", NULL, "pcap (default) or pcapng (default for FILE.pcapng)" },
	{ "limit", 'n', OPTION_COUNT, "N", NULL, "at most so many packets" },
	{ 0 },
};

const struct verb verb_export = {
	.name = "export",
	.summary = "write packets to a trace file",
	.arguments = "",
	.options = { options },
	.details = "Times keep their nanoseconds. Packets of one stream come segment by segment (a segment is what was imported\n"
	           "together, some million packets; the one that starts earlier first) and within it as they were captured; when\n"
	           "several streams have packets in the range, strictly in order of time. pcap holds one link type; pcapng\n"
	           "any, with an interface for each stream and link type. The file appears under its name when\n"
	           "it is complete: a new one for its owner only (mode 0600), one that replaces another with the mode of that.\n"
	           "What was lost before it came to the archive (`atoll ls gaps`) is a warning on standard error, and the exit code 0.",
	.examples = (const struct example[]){
		{ "atoll -A DIR export --raw -f \"host 10.0.0.1\" -o host.pcap", "all packets of one host" },
		{ "atoll -A DIR export --raw --from 2026-11-01 --until 2026-11-02 -o day.pcapng", "one day of all streams" },
		{ "atoll -A DIR export --raw -s eth0 -o - | tcpdump -nr -", "into another program" },
		{ 0 },
	},
	.run = run,
};
