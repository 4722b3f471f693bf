#include <stdio.h>
#include <string.h>

#include "base/human.h"
#include "base/table.h"
#include "base/when.h"
#include "query/losses.h"
#include "tools/verbs.h"

struct listing {
	const struct list *of;
	const char *const *streams; /* none: all */
	unsigned           stream_count;
	struct span        span;
};

static bool
is_asked_for(const struct listing *l, const char *stream)
{
	for (unsigned i = 0; i < l->stream_count; i++)
		if (strcmp(l->streams[i], stream) == 0)
			return true;
	return l->stream_count == 0;
}

static const char *
state_name(uint8_t state)
{
	switch (state) {
	case SEGMENT_LIVE:
		return "live";
	case SEGMENT_DELETING:
		return "deleting";
	default:
		return "lost";
	}
}

/* One row of any list. */
struct line {
	char name[STREAM_NAME_BYTES], count[HUMAN_BYTES], wire[HUMAN_BYTES], stored[HUMAN_BYTES], parts[HUMAN_BYTES];
	char missing[HUMAN_BYTES + 8];
	char from[WHEN_TEXT_BYTES], until[WHEN_TEXT_BYTES];
};

static void
line_fill(struct line *l, uint64_t records, uint64_t wire_bytes, uint64_t stored_bytes, uint64_t first_ns, uint64_t last_ns)
{
	human_count(l->count, records);
	human_size(l->wire, wire_bytes);
	human_size(l->stored, stored_bytes);
	snprintf(l->from, sizeof l->from, "-");
	snprintf(l->until, sizeof l->until, "-");
	if (records == 0)
		return;
	when_format(l->from, first_ns);
	when_format(l->until, report_until(last_ns));
}

static enum err
stream_json(struct json *j, const struct stream_row *row, const struct catalogue_totals *sum)
{
	json_object(j, NULL);
	json_text(j, "name", row->name);
	json_u64(j, "packets", sum->records);
	json_u64(j, "wire_bytes", sum->wire_bytes);
	json_u64(j, "captured_bytes", sum->captured_bytes);
	json_u64(j, "stored_bytes", sum->file_bytes);
	json_u64(j, "landed_records", sum->landed_records);
	json_u64(j, "landed_bytes", sum->landed_bytes);
	json_u64(j, "segments", sum->segments);
	json_u64(j, "lost_segments", sum->lost_segments);
	json_u64(j, "missing_packets", sum->missing);
	json_bool(j, "sampled", sum->left_out > 0);
	report_time(j, "from", sum->first_ns, sum->records > 0);
	report_time(j, "until", report_until(sum->last_ns), sum->records > 0);
	json_end(j);
	return OK;
}

static enum err
stream_line(struct table *t, const struct stream_row *row, const struct catalogue_totals *sum)
{
	struct line l;
	line_fill(&l, sum->records, sum->wire_bytes, sum->file_bytes, sum->first_ns, sum->last_ns);
	snprintf(l.parts, sizeof l.parts, "%llu%s%s", (unsigned long long)sum->segments, sum->landed_blocks ? " + landed" : "",
	         sum->lost_segments ? " + lost" : "");
	char count[HUMAN_BYTES];
	snprintf(l.missing, sizeof l.missing, "%s%s", sum->left_out ? "sampled " : "", human_count(count, sum->missing));
	return table_row(t, (const char *const[]){ row->name, l.count, l.wire, l.stored, l.parts, l.missing, l.from, l.until });
}

static enum err
list_streams(struct catalogue *c, const struct listing *l, struct json *j, struct table *t)
{
	struct stream_row row = { 0 };
	enum err e;
	while ((e = catalogue_next_stream(c, &row)) == OK) {
		struct catalogue_totals sum;
		TRY(catalogue_sum(c, row.id, &sum));
		TRY(j ? stream_json(j, &row, &sum) : stream_line(t, &row, &sum));
	}
	return e == END ? OK : e;
}

static enum err
segment_json(struct json *j, const struct segment_row *row, const char *stream)
{
	json_object(j, NULL);
	json_u64(j, "id", row->id);
	json_text(j, "stream", stream);
	json_text(j, "state", state_name(row->state));
	json_u64(j, "blocks", row->blocks);
	json_u64(j, "packets", row->records);
	json_u64(j, "wire_bytes", row->wire_bytes);
	json_u64(j, "captured_bytes", row->captured_bytes);
	json_u64(j, "stored_bytes", row->file_bytes);
	report_time(j, "from", row->first_ns, true);
	report_time(j, "until", report_until(row->last_ns), true);
	report_time(j, "hidden_until", row->hidden_until_ns, row->hidden_until_ns > 0);
	json_hex(j, "root", row->root, sizeof row->root);
	json_end(j);
	return OK;
}

static enum err
segment_line(struct table *t, const struct segment_row *row, const char *stream)
{
	struct line l;
	char id[HUMAN_BYTES];
	line_fill(&l, row->records, row->wire_bytes, row->file_bytes, row->first_ns, row->last_ns);
	snprintf(id, sizeof id, "%016llx", (unsigned long long)row->id);
	snprintf(l.parts, sizeof l.parts, "%u", row->blocks);
	return table_row(t, (const char *const[]){ id, stream, l.count, l.wire, l.stored, l.parts, l.from, l.until,
	                                           state_name(row->state) });
}

static enum err
list_segments(struct catalogue *c, const struct listing *l, struct json *j, struct table *t)
{
	struct segment_row row = { 0 };
	struct stream_row stream = { 0 };
	enum err e;
	while ((e = catalogue_next_segment(c, &row)) == OK) {
		if (stream.id != row.stream)
			TRY(catalogue_stream(c, row.stream, &stream));
		TRY(j ? segment_json(j, &row, stream.name) : segment_line(t, &row, stream.name));
	}
	return e == END ? OK : e;
}

/* --- gaps --- */

static enum err
gap_json(struct json *j, const struct gap_row *row, const char *stream)
{
	json_object(j, NULL);
	json_text(j, "stream", stream);
	report_time(j, "from", row->first_ns, true);
	report_time(j, "until", report_until(row->last_ns), true);
	json_text(j, "cause", gap_cause_name(row->cause));
	json_u64(j, "packets", row->records);
	json_end(j);
	return OK;
}

static enum err
gap_line(struct table *t, const struct gap_row *row, const char *stream)
{
	struct line l;
	line_fill(&l, row->records, 0, 0, row->first_ns, row->last_ns);
	return table_row(t, (const char *const[]){ stream, l.from, l.until, gap_cause_name(row->cause), l.count });
}

static enum err
list_gaps(struct catalogue *c, const struct listing *l, struct json *j, struct table *t)
{
	struct stream_row stream = { 0 };
	enum err e;
	while ((e = catalogue_next_stream(c, &stream)) == OK) {
		struct gap_row row = { 0 };
		if (!is_asked_for(l, stream.name))
			continue;
		while ((e = losses_next(c, stream.id, &l->span, &row)) == OK)
			TRY(j ? gap_json(j, &row, stream.name) : gap_line(t, &row, stream.name));
		if (e != END)
			return e;
	}
	return e == END ? OK : e;
}

/* --- */

static const struct list {
	const char *name;
	enum err (*list)(struct catalogue *c, const struct listing *l, struct json *j, struct table *t);
	const char *heads[10];
} lists[] = {
	{ "streams", list_streams,
	  { "stream", ">packets", ">on the wire", ">stored", ">segments", ">missing", "from", "until" } },
	{ "segments", list_segments,
	  { "segment", "stream", ">packets", ">on the wire", ">stored", ">blocks", "from", "until", "state" } },
	{ "gaps", list_gaps, { "stream", "from", "until", "cause", ">packets" } },
};
#define LISTS (sizeof lists / sizeof *lists)

/* In one snapshot of the catalogue. */
static enum err
list(struct catalogue *c, const struct listing *l, struct json *j, struct table *t)
{
	struct stream_row row;
	TRY(catalogue_begin(c));
	enum err e = OK;
	for (unsigned i = 0; i < l->stream_count && e == OK; i++)
		e = catalogue_stream_named(c, l->streams[i], &row);
	if (e == OK)
		e = l->of->list(c, l, j, t);
	catalogue_end(c);
	return e;
}

static enum err
print_json(struct catalogue *c, const struct listing *l)
{
	struct json j = report_json();
	json_array(&j, l->of->name);
	TRY(list(c, l, &j, NULL));
	json_end(&j);
	json_end(&j);
	return json_finish(&j, "standard output");
}

static enum err
print_table(struct catalogue *c, const struct listing *l)
{
	struct table *t = NULL;
	TRY(table_open(&t, stdout, l->of->heads));
	enum err e = list(c, l, NULL, t);
	enum err closed = table_close(&t);
	return e != OK ? e : closed;
}

static enum err
list_named(const struct list **out, const char *name)
{
	const char *names[LISTS + 1] = { NULL };
	char shown[64];
	for (unsigned i = 0; i < LISTS; i++) {
		names[i] = lists[i].name;
		if (strcmp(lists[i].name, name) == 0) {
			*out = &lists[i];
			return OK;
		}
	}
	const char *near = options_nearest(name, names);
	return fail(ERR_USAGE, "there is no list of %s; did you mean %s?", human_text(shown, sizeof shown, name),
	            near ? near : "streams, segments or gaps");
}

static enum err
run(const struct given *g)
{
	const char *const *arguments, *from = given_text(g, "from", NULL), *until = given_text(g, "until", NULL);
	struct listing l = { .of = &lists[0] };
	if (given_arguments(g, &arguments) > 0)
		TRY(list_named(&l.of, arguments[0]));
	l.stream_count = given_list(g, "stream", &l.streams);
	if (l.of->list != list_gaps && (l.stream_count || from || until))
		return fail(ERR_USAGE, "--stream, --from and --until are for `ls gaps`");
	TRY(span_parse(&l.span, from, until, when_now()));
	struct archive *a = NULL;
	TRY(given_archive(&a, g, ARCHIVE_READ));
	enum err e = given_flag(g, "json") ? print_json(archive_catalogue(a), &l) : print_table(archive_catalogue(a), &l);
	archive_close(&a);
	return e;
}

static const struct option_spec options[] = {
	{ "from", 0, OPTION_TEXT, "T", NULL, "gaps from this time on: RFC 3339, epoch seconds, now-6h" },
	{ "until", 0, OPTION_TEXT, "T", NULL, "up to, not including, this time" },
	{ "stream", 's', OPTION_LIST, "NAME", NULL, "only gaps of this stream" },
	{ 0 },
};

static const struct example examples[] = {
	{ "atoll -A traces ls", "the streams, with what they hold" },
	{ "atoll -A traces ls segments --json", "every segment file, for a script" },
	{ "atoll -A traces ls gaps --from now-1d -s roof/eth0", "what is missing of the last day, and why" },
	{ 0 },
};

const struct verb verb_ls = {
	.name = "ls",
	.summary = "list streams, segments or gaps",
	.arguments = "[streams|segments|gaps]",
	.most = 1,
	.options = { options },
	.details = "Times are UTC; until is just after the last packet. missing: packets that a monitor lost, of all times. gaps: what\n"
	           "is missing between two times, by cause: kernel (the capture was too slow), interface, spool (no room on the\n"
	           "monitor), policy (left out on purpose: sampling), archive (received, but damaged before it was merged).",
	.examples = examples,
	.run = run,
};
