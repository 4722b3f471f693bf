#include <stdio.h>

#include "base/human.h"
#include "base/when.h"
#include "tools/verbs.h"

struct totals {
	struct catalogue_totals sum;
	uint64_t index_bytes;
	double   bytes_per_packet; /* all that lies on the disk */
};

static enum err
totals_read(struct archive *a, struct totals *t)
{
	struct catalogue *c = archive_catalogue(a);
	TRY(archive_index_bytes(a, &t->index_bytes));
	TRY(catalogue_begin(c));
	enum err e = catalogue_sum(c, 0, &t->sum);
	catalogue_end(c);
	if (e == OK && t->sum.records > 0)
		t->bytes_per_packet = (double)(t->sum.file_bytes + t->index_bytes) / (double)t->sum.records;
	return e;
}

/* Scripts depend on these keys: docs/json.md. */
static enum err
print_json(const struct totals *t)
{
	const struct catalogue_totals *s = &t->sum;
	struct json j = report_json();
	json_u64(&j, "packets", s->records);
	json_u64(&j, "wire_bytes", s->wire_bytes);
	json_u64(&j, "captured_bytes", s->captured_bytes);
	json_u64(&j, "stored_bytes", s->file_bytes);
	json_u64(&j, "index_bytes", t->index_bytes);
	if (s->records > 0)
		json_real(&j, "bytes_per_packet", t->bytes_per_packet);
	else
		json_null(&j, "bytes_per_packet");
	json_u64(&j, "missing_packets", s->missing);
	json_bool(&j, "sampled", s->left_out > 0);
	json_u64(&j, "landed_records", s->landed_records);
	json_u64(&j, "landed_bytes", s->landed_bytes);
	json_u64(&j, "segments", s->segments);
	json_u64(&j, "streams", s->streams);
	report_time(&j, "from", s->first_ns, s->records > 0);
	report_time(&j, "until", report_until(s->last_ns), s->records > 0);
	json_end(&j);
	return json_finish(&j, "standard output");
}

static void
print_text(const struct totals *t)
{
	const struct catalogue_totals *s = &t->sum;
	char text[HUMAN_BYTES], when[WHEN_TEXT_BYTES];
	printf("packets           %s\n", human_count(text, s->records));
	printf("on the wire       %s\n", human_size(text, s->wire_bytes));
	printf("captured          %s\n", human_size(text, s->captured_bytes));
	printf("stored            %s\n", human_size(text, s->file_bytes));
	printf("index             %s\n", human_size(text, t->index_bytes));
	if (s->records > 0)
		printf("bytes per packet  %.2f\n", t->bytes_per_packet);
	if (s->landed_records > 0)
		printf("of these          %s packets landed, not yet merged\n", human_count(text, s->landed_records));
	if (s->missing > 0)
		printf("missing           %s packets that monitors lost%s: atoll ls gaps\n", human_count(text, s->missing),
		       s->left_out ? " or left out, sampling" : "");
	printf("segments          %s\n", human_count(text, s->segments));
	printf("streams           %s\n", human_count(text, s->streams));
	if (s->records == 0)
		return;
	when_format(when, s->first_ns);
	printf("from              %s\n", when);
	when_format(when, report_until(s->last_ns));
	printf("until             %s\n", when);
}

static enum err
run(const struct given *g)
{
	struct archive *a = NULL;
	struct totals t = { 0 };
	TRY(given_archive(&a, g, ARCHIVE_READ));
	enum err e = totals_read(a, &t);
	archive_close(&a);
	TRY(e);
	if (given_flag(g, "json"))
		TRY(print_json(&t));
	else
		print_text(&t);
	if (t.sum.lost_segments > 0)
		return fail(ERR_PARTIAL, "%llu segments are lost and not counted: atoll fsck names them",
		            (unsigned long long)t.sum.lost_segments);
	return OK;
}

static const struct example examples[] = {
	{ "atoll -A traces stat", "how much is there, and what it takes on the disk" },
	{ "atoll -A traces stat --json | jq .bytes_per_packet", "one figure of it" },
	{ 0 },
};

const struct verb verb_stat = {
	.name = "stat",
	.summary = "sizes and counts of the archive",
	.arguments = "",
	.details = "bytes per packet: all segments and the index, over the packets. Times are UTC; until is just after the last\n"
	           "packet.",
	.examples = examples,
	.run = run,
};
