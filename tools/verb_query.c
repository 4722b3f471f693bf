#include <stdio.h>
#include <string.h>

#include "base/human.h"
#include "base/table.h"
#include "query/count.h"
#include "query/packet_row.h"
#include "tools/selectors.h"
#include "tools/verbs.h"

enum output { OUTPUT_TABLE, OUTPUT_CSV, OUTPUT_NDJSON };

struct rows {
	struct selected *selected;
	const struct plan_stream *streams;
	enum output output;
	struct table *table;
	uint64_t limit, count;
};

/* --- rows --- */

static enum err
print_table_row(struct rows *out, const struct packet_row *row)
{
	char time[PACKET_TEXT_BYTES], src[PACKET_TEXT_BYTES], dst[PACKET_TEXT_BYTES], proto[PACKET_TEXT_BYTES],
	        length[PACKET_TEXT_BYTES], info[PACKET_TEXT_BYTES], stream[STREAM_NAME_BYTES];
	packet_column_text(row, PACKET_TS, time);
	packet_end_text(row, true, src);
	packet_end_text(row, false, dst);
	packet_proto_text(row, proto);
	packet_column_text(row, PACKET_WIRE_LEN, length);
	packet_info_text(row, info);
	human_text(stream, sizeof stream, out->streams[row->record->stream].name);
	return table_row(out->table, (const char *const[]){ time, stream, src, dst, proto, length, info });
}

static void
print_csv_text(const char *text)
{
	if (!strpbrk(text, ",\"\r\n")) {
		fputs(text, stdout);
		return;
	}
	putchar('"');
	for (; *text; text++) {
		if (*text == '"')
			putchar('"');
		putchar(*text);
	}
	putchar('"');
}

static void
print_csv_row(const struct rows *out, const struct packet_row *row)
{
	char text[PACKET_TEXT_BYTES];
	print_csv_text(out->streams[row->record->stream].name);
	for (unsigned c = 0; c < PACKET_BYTES; c++) {
		packet_column_text(row, c, text);
		putchar(',');
		fputs(text, stdout);
	}
	putchar('\n');
}

static void
print_csv_head(void)
{
	fputs("stream", stdout);
	for (unsigned c = 0; c < PACKET_BYTES; c++)
		printf(",%s", packet_column_name(c));
	putchar('\n');
}

static void
print_json_row(const struct rows *out, const struct packet_row *row)
{
	struct json j = json_to(stdout, JSON_LINE);
	json_object(&j, NULL);
	json_text(&j, "stream", out->streams[row->record->stream].name);
	for (unsigned c = 0; c < PACKET_BYTES; c++)
		packet_column_json(row, c, &j);
	json_end(&j);
}

static enum err
print_record(void *arg, const struct record *r)
{
	struct rows *out = arg;
	struct packet_row row;
	out->count++;
	packet_row_read(&row, r);
	if (out->output == OUTPUT_TABLE)
		TRY(print_table_row(out, &row));
	else if (out->output == OUTPUT_CSV)
		print_csv_row(out, &row);
	else
		print_json_row(out, &row);
	if (ferror(stdout))
		return fail_errno("standard output");
	return out->count == out->limit ? END : OK;
}

static void
rows_notice(void *arg, const char *sentence)
{
	selected_notice(((struct rows *)arg)->selected, sentence);
}

static enum listing
listing_of(enum output output)
{
	return output == OUTPUT_TABLE ? LISTING_SHORT : LISTING_FIELDS;
}

/* A progress line would run into rows on the same terminal: only query --count shows one. */
static enum err
run_rows(struct selected *s, const struct given *g, enum output output)
{
	static const char *const heads[] = { "time", "stream", "source", "destination", "protocol", ">bytes", "info", NULL };
	struct rows out = { .selected = s, .output = output, .limit = given_count(g, "limit", UINT64_MAX) };
	if (output == OUTPUT_TABLE)
		TRY(table_open(&out.table, stdout, heads));
	if (output == OUTPUT_CSV)
		print_csv_head();
	struct records_sink sink = {
		.listing = listing_of(output),
		.record = print_record,
		.notice = rows_notice,
		.arg = &out,
	};
	enum err e;
	do {
		plan_streams(s->plan, &out.streams);
		e = records_run(s->plan, s->filter, s->jobs, &sink, &s->counts);
	} while (e == OK && out.count < out.limit && (e = selected_next(s)) == OK);
	e = e == END ? OK : e;
	enum err closed = table_close(&out.table);
	if (e == OK && closed == OK && fflush(stdout) != 0)
		closed = fail_errno("standard output");
	TRY(e);
	TRY(closed);
	if (out.count == out.limit && !s->quiet)
		fprintf(stderr, "stopped at %llu packets (--limit)\n", (unsigned long long)out.limit);
	return selected_outcome(s, out.count > 0);
}

/* --- count --- */

static void
print_count(const struct count *c)
{
	printf("%llu packets, %llu bytes\n", (unsigned long long)c->packets, (unsigned long long)c->wire_bytes);
	if (c->sampled == 0)
		return;
	printf("sampled: these stand for about %llu packets", (unsigned long long)c->estimated_packets);
	if (!c->by_flow)
		printf(" (+-%.0f)", count_error(c));
	printf(", %llu bytes%s\n", (unsigned long long)c->estimated_bytes, c->by_flow ? " (by flow: how near is not known)" : "");
}

static enum err
run_count(struct selected *s, bool as_json)
{
	struct count count = { 0 };
	struct scan_sink how = { .notice = selected_notice, .step = selected_step, .arg = s };
	enum err e;
	do
		e = count_run(s->plan, s->filter, s->jobs, &how, &count, &s->counts);
	while (e == OK && (e = selected_next(s)) == OK);
	progress_fini(&s->progress);
	if (e != END)
		return e;
	if (as_json) {
		struct json j = report_json();
		selected_json(s, &j);
		json_u64(&j, "packets", count.packets);
		json_u64(&j, "wire_bytes", count.wire_bytes);
		json_u64(&j, "sampled_packets", count.sampled);
		json_u64(&j, "estimated_packets", count.estimated_packets);
		if (count.by_flow)
			json_null(&j, "estimated_packets_error");
		else
			json_real(&j, "estimated_packets_error", count_error(&count));
		json_u64(&j, "estimated_bytes", count.estimated_bytes);
		selected_losses_json(s, &j);
		json_u64(&j, "bytes_read", s->counts.bytes_read);
		json_u64(&j, "segments_missing", epochs_missing(s->epochs));
		json_u64(&j, "damaged", s->counts.damaged);
		json_end(&j);
		TRY(json_finish(&j, "standard output"));
	} else {
		print_count(&count);
	}
	return selected_outcome(s, count.packets > 0);
}

/* --- explain --- */

struct explained {
	struct plan_counts plan; /* of all epochs */
	uint64_t bytes;    /* what the certain columns of the remaining blocks take */
	uint64_t whole;    /* blocks that need not be read: selected whole, and only counted */
};

static enum err
explain_segment(struct selected *s, const struct plan_segment *p, unsigned columns, bool count_only, struct explained *x)
{
	const struct block_info *info = segment_blocks(p->segment);
	for (uint64_t left = p->blocks; left; left &= left - 1) {
		uint32_t block = (uint32_t)__builtin_ctzll(left);
		bool inside = info[block].first_ns >= p->span.from_ns &&
		              (info[block].last_ns < p->span.until_ns || p->span.until_ns == UINT64_MAX);
		uint64_t bytes = 0;
		if (inside && count_only && filter_is_all(s->filter)) {
			x->whole++;
			continue;
		}
		TRY(segment_cost(p->segment, block, columns | (inside ? 0 : (unsigned)BATCH_TIME), &bytes));
		x->bytes += bytes;
	}
	return OK;
}

static void
explain_json(const struct selected *s, const struct explained *x)
{
	const struct plan_counts *p = &x->plan;
	struct json j = report_json();
	selected_json(s, &j);
	if (filter_text(s->filter)[0])
		json_text(&j, "filter", filter_text(s->filter));
	else
		json_null(&j, "filter");
	json_text(&j, "plan", filter_plan(s->filter));
	json_u64(&j, "segments", p->segments);
	json_u64(&j, "segments_skipped_by_time", p->segments_by_time);
	json_u64(&j, "segments_skipped_by_address", p->segments_by_address);
	json_u64(&j, "segments_missing", p->segments_missing);
	json_u64(&j, "landed_blocks", p->landed_blocks);
	json_u64(&j, "landed_records", p->landed_records);
	json_u64(&j, "landed_bytes", p->landed_bytes);
	json_u64(&j, "blocks", p->blocks);
	json_u64(&j, "blocks_skipped_by_time", p->blocks_by_time);
	json_u64(&j, "blocks_skipped_by_index", p->blocks_by_index);
	json_u64(&j, "blocks_counted_unread", x->whole);
	json_u64(&j, "blocks_to_read", p->blocks_left - x->whole);
	json_u64(&j, "packets_to_look_at", p->records_left);
	json_u64(&j, "bytes_to_read", x->bytes);
	selected_losses_json(s, &j);
	json_end(&j);
}

static void
explain_text(const struct selected *s, const struct explained *x)
{
	const struct plan_counts *p = &x->plan;
	char records[HUMAN_BYTES], bytes[HUMAN_BYTES];
	printf("filter    %s\n", filter_is_all(s->filter) ? "all packets" : filter_text(s->filter));
	printf("runs as   %s\n", filter_plan(s->filter));
	printf("segments  %llu: %llu skipped by time, %llu by address, %llu opened, %llu missing\n",
	       (unsigned long long)p->segments, (unsigned long long)p->segments_by_time,
	       (unsigned long long)p->segments_by_address,
	       (unsigned long long)(p->segments - p->segments_by_time - p->segments_by_address),
	       (unsigned long long)p->segments_missing);
	if (p->landed_blocks > 0)
		printf("landed    %s packets in %llu blocks, not yet merged\n", human_count(records, p->landed_records),
		       (unsigned long long)p->landed_blocks);
	printf("blocks    %llu in these: %llu skipped by time, %llu by index, %llu counted unread, %llu to read\n",
	       (unsigned long long)p->blocks, (unsigned long long)p->blocks_by_time,
	       (unsigned long long)p->blocks_by_index, (unsigned long long)x->whole,
	       (unsigned long long)(p->blocks_left - x->whole));
	printf("to read   %s of columns, %s packets to look at\n", human_size(bytes, x->bytes),
	       human_count(records, p->records_left));
}

/* One epoch. */
static enum err
explain_plan(struct selected *s, bool count_only, enum output output, struct explained *x)
{
	unsigned columns = filter_columns(s->filter) |
	                   (count_only ? COUNT_COLUMNS : records_columns(s->plan, listing_of(output)));
	struct plan_segment *p;
	enum err e;
	while ((e = plan_next(s->plan, &p)) != END) {
		if (e == OK && p->fault[0])
			selected_notice(s, p->fault);
		s->counts.damaged += e == OK && p->fault[0];
		if (e == OK)
			e = explain_segment(s, p, columns, count_only, x);
		plan_release(s->plan, &p);
		if (e == ERR_FORMAT || e == ERR_DENIED || e == ERR_UNSUPPORTED) {
			s->counts.damaged++;
			selected_notice(s, err_text());
		} else if (e != OK) {
			return e;
		}
	}
	plan_counts_add(&x->plan, plan_counts(s->plan));
	return OK;
}

static enum err
run_explain(struct selected *s, bool count_only, enum output output, bool as_json)
{
	struct explained x = { 0 };
	enum err e;
	do
		e = explain_plan(s, count_only, output, &x);
	while (e == OK && (e = selected_next(s)) == OK);
	if (e != END)
		return e;
	x.plan.segments_missing = epochs_missing(s->epochs);
	if (as_json)
		explain_json(s, &x);
	else
		explain_text(s, &x);
	return selected_outcome(s, true);
}

/* --- */

static enum err
output_of(const struct given *g, enum output *out)
{
	const char *name = given_text(g, "output", given_flag(g, "json") ? "ndjson" : "table");
	static const char *const names[] = { "table", "csv", "ndjson", NULL };
	for (unsigned i = 0; names[i]; i++)
		if (strcmp(name, names[i]) == 0) {
			*out = i;
			return OK;
		}
	return fail(ERR_USAGE, "--output %s: there is table, csv and ndjson", name);
}

static enum err
run(const struct given *g)
{
	struct selected s;
	enum output output;
	bool count = given_flag(g, "count"), explain = given_flag(g, "explain"), as_json = given_flag(g, "json");
	TRY(output_of(g, &output));
	if (given_count(g, "limit", 1) == 0)
		return fail(ERR_USAGE, "--limit 0: at least 1");
	if (count && given_count(g, "limit", 0))
		return fail(ERR_USAGE, "--count counts all packets: it goes without --limit");
	const char *policy = given_text(g, "policy", NULL);
	TRY(selected_open(&s, g, policy, "query"));
	if (count && s.policy.guards_minimum_group) {
		uint64_t least = s.policy.guards_minimum_group;
		selected_close(&s);
		return fail(ERR_UNSUPPORTED, "the policy leaves out counts of fewer than %llu hosts (minimum_group), and this version can "
		            "not tell how many hosts a count is of: nothing is shown; list the packets instead", (unsigned long long)least);
	}
	selected_echo(&s);
	enum err e = explain ? run_explain(&s, count, output, as_json) : count ? run_count(&s, as_json) : run_rows(&s, g, output);
	selected_close(&s);
	return e;
}

static const struct option_spec options[] = {
	SELECTOR_OPTIONS,
	POLICY_OPTION,
	{ "limit", 'n', OPTION_COUNT, "N", NULL, "at most so many packets" },
	{ "output", 'o', OPTION_TEXT, "FORM", NULL, "table, csv or ndjson" },
	{ "count", 'c', OPTION_FLAG, NULL, NULL, "only how many packets and bytes" },
	{ "explain", 0, OPTION_FLAG, NULL, NULL, "what would be read, and what is skipped and why; reads no packet" },
	{ 0 },
};

const struct verb verb_query = {
	.name = "query",
	.summary = "find packets and list or count them",
	.arguments = "",
	.options = { options },
	.details = "The filter is pcap-filter syntax with tcpdump's answers. The range is half open: [from, until). Packets of one\n"
	           "stream come segment by segment, as they were captured; when several streams have packets in the range, strictly\n"
	           "in order of time. The columns of csv and ndjson are those of docs/format.md. The exit code is 5 when nothing\n"
	           "was found, 3 when something could not be read. What was lost before it came to the archive (`atoll ls gaps`) is\n"
	           "a warning on standard error and does not change the exit code: the answer is all that there is. --count of\n"
	           "sampled packets also says how many they stand for: each times its rate, +- 1.96 sqrt(sum n N (N-1)), which holds\n"
	           "in 95 of 100 cases for packets sampled at random. Of sampled flows the estimate varies more, and none is said.",
	.examples = (const struct example[]){
		{ "atoll -A DIR query --filter \"host 10.0.0.1 and tcp port 443\" --limit 20", "twenty packets of one host" },
		{ "atoll -A DIR query --from now-6h --count", "packets and bytes of the last six hours" },
		{ "atoll -A DIR query -f \"net 10.0.0.0/8\" --explain", "what that would cost" },
		{ "atoll -A DIR query -s eth0 -o csv > packets.csv", "all columns of a stream" },
		{ 0 },
	},
	.run = run,
};
