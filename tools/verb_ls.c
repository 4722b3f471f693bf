#include <stdio.h>
#include <string.h>

#include "base/human.h"
#include "base/table.h"
#include "base/when.h"
#include "tools/verbs.h"

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

/* One row of either list. */
struct line {
	char name[STREAM_NAME_BYTES], count[HUMAN_BYTES], wire[HUMAN_BYTES], stored[HUMAN_BYTES], parts[HUMAN_BYTES];
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
	return table_row(t, (const char *const[]){ row->name, l.count, l.wire, l.stored, l.parts, l.from, l.until });
}

static enum err
list_streams(struct catalogue *c, struct json *j, struct table *t)
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
list_segments(struct catalogue *c, struct json *j, struct table *t)
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

/* In one snapshot of the catalogue. */
static enum err
list(struct catalogue *c, bool segments, struct json *j, struct table *t)
{
	TRY(catalogue_begin(c));
	enum err e = segments ? list_segments(c, j, t) : list_streams(c, j, t);
	catalogue_end(c);
	return e;
}

static enum err
print_json(struct catalogue *c, bool segments)
{
	struct json j = report_json();
	json_array(&j, segments ? "segments" : "streams");
	TRY(list(c, segments, &j, NULL));
	json_end(&j);
	json_end(&j);
	return json_finish(&j, "standard output");
}

static enum err
print_table(struct catalogue *c, bool segments)
{
	static const char *const stream_heads[] = { "stream", ">packets", ">on the wire", ">stored", ">segments", "from", "until",
		NULL };
	static const char *const segment_heads[] = { "segment", "stream", ">packets", ">on the wire", ">stored", ">blocks", "from",
		"until", "state", NULL };
	struct table *t = NULL;
	TRY(table_open(&t, stdout, segments ? segment_heads : stream_heads));
	enum err e = list(c, segments, NULL, t);
	enum err closed = table_close(&t);
	return e != OK ? e : closed;
}

static enum err
run(const struct given *g)
{
	static const char *const lists[] = { "streams", "segments", NULL };
	const char *const *arguments;
	bool segments = false;
	if (given_arguments(g, &arguments) > 0) {
		segments = strcmp(arguments[0], "segments") == 0;
		if (!segments && strcmp(arguments[0], "streams") != 0) {
			const char *near = options_nearest(arguments[0], lists);
			char shown[64];
			return fail(ERR_USAGE, "there is no list of %s; did you mean %s?",
			            human_text(shown, sizeof shown, arguments[0]), near ? near : "streams or segments");
		}
	}
	struct archive *a = NULL;
	TRY(given_archive(&a, g, ARCHIVE_READ));
	enum err e = given_flag(g, "json") ? print_json(archive_catalogue(a), segments)
	                                   : print_table(archive_catalogue(a), segments);
	archive_close(&a);
	return e;
}

static const struct example examples[] = {
	{ "atoll -A traces ls", "the streams, with what they hold" },
	{ "atoll -A traces ls segments --json", "every segment file, for a script" },
	{ 0 },
};

const struct verb verb_ls = {
	.name = "ls",
	.summary = "list streams or segments",
	.arguments = "[streams|segments]",
	.most = 1,
	.details = "Times are UTC; until is just after the last packet.",
	.examples = examples,
	.run = run,
};
