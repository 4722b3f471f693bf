/* The scan hands each selected record to the sink once, block after block in the order of the plan, with any number of
 * threads, and goes on past what it can not read. */
#include "tests/support/unit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "query/count.h"
#include "query/scan.h"
#include "tests/support/made_streams.h"

#define S    UINT64_C(1000000000)
#define EACH 120u /* records of a segment, in four blocks */
#define ALL  (6 * EACH)

/* Streams "one" and "two", three segments each, a record a second from 1000 s on; within a block times go back now and then. */
static int
make(void **state)
{
	(void)state;
	static const char *const names[] = { "one", "two" };
	uint64_t times[EACH];
	made_open();
	for (uint32_t segment = 0; segment < 6; segment++) {
		for (uint32_t i = 0; i < EACH; i++)
			times[i] = (1000 + segment / 2 * EACH + (i ^ (i % 8 == 4))) * S;
		made_segment(names[segment % 2], times, EACH, EACH / 4);
	}
	(void)made_archive();
	return 0;
}

static int
unmake(void **state)
{
	(void)state;
	made_close();
	return 0;
}

/* What a sink saw. */
struct seen {
	uint8_t  times[ALL];               /* each made record so often */
	uint32_t blocks, records, prepared, notices, steps, last; /* last: number of the made record delivered last */
	uint64_t steps_records;
	uint32_t stop_after;               /* blocks; 0: never */
	enum err stop_with;
	bool     no_batch;                 /* blocks without batch are expected */
	char     notice[ERR_TEXT_BYTES];
	pthread_mutex_t lock;
};

static uint32_t
number_of(const uint8_t *bytes, uint32_t n)
{
	for (uint32_t i = 0; i < made_count; i++)
		if (n == MADE_BYTES && memcmp(bytes, made[i].bytes, n) == 0)
			return i;
	fail_msg("not a made record");
	return 0;
}

static void
see_row(struct seen *seen, const struct scan_block *b, uint32_t i)
{
	const uint8_t *bytes;
	uint32_t n, row = b->batch->row_of[i];
	assert_int_equal(batch_bytes(b->batch, row, &bytes, &n), OK);
	uint32_t number = number_of(bytes, n);
	assert_int_equal(b->batch->time[i], made[number].ts_ns);
	assert_int_equal(b->batch->wire_len[row], made[number].wire_len);
	assert_int_equal(b->block, made[number].block);
	seen->times[number]++;
	seen->records++;
	seen->last = number;
}

static enum err
prepare(void *arg, unsigned worker, const struct scan_block *b)
{
	struct seen *seen = arg;
	assert_true(worker < CREW_MAX);
	assert_int_not_equal(b->selected, 0);
	pthread_mutex_lock(&seen->lock);
	seen->prepared++;
	pthread_mutex_unlock(&seen->lock);
	return OK;
}

static enum err
deliver(void *arg, unsigned worker, const struct scan_block *b)
{
	struct seen *seen = arg;
	(void)worker;
	uint32_t before = seen->records;
	if (seen->no_batch) {
		assert_null(b->batch);
		seen->records += b->selected;
	} else {
		for (uint32_t i = 0; i < b->batch->count; i++)
			if (b->row[b->batch->row_of[i]])
				see_row(seen, b, i);
	}
	assert_int_equal(seen->records - before, b->selected);
	seen->blocks++;
	if (!seen->stop_after || seen->blocks < seen->stop_after)
		return OK;
	return seen->stop_with == END ? END : (fail)(seen->stop_with, "the sink is full"); /* not cmocka's macro */
}

static void
notice(void *arg, const char *sentence)
{
	struct seen *seen = arg;
	seen->notices++;
	snprintf(seen->notice, sizeof seen->notice, "%s", sentence);
}

static void
step(void *arg, uint64_t blocks, uint64_t records)
{
	struct seen *seen = arg;
	seen->steps++;
	assert_int_equal(blocks, seen->steps);
	assert_true(records > seen->steps_records);
	seen->steps_records = records;
}

static enum err
scan(struct plan *p, unsigned jobs, struct seen *seen, struct scan_counts *counts)
{
	struct scan_sink sink = {
		.columns = BATCH_BYTES | BATCH_TIME | BATCH_WIRE_LEN,
		.by_row = true,
		.no_batch_for_all = seen->no_batch,
		.prepare = prepare,
		.deliver = deliver,
		.notice = notice,
		.step = step,
		.arg = seen,
	};
	*counts = (struct scan_counts){ 0 };
	pthread_mutex_init(&seen->lock, NULL);
	enum err e = scan_run(p, made_filter(), jobs, &sink, counts);
	pthread_mutex_destroy(&seen->lock);
	return e;
}

/* Of a block of "one", then of "two", and so on, in the order of the plan. */
static bool
in_order(const char *names, uint32_t a, uint32_t b)
{
	uint32_t first = names && strcmp(names, "two") == 0 ? 2 : 1;
	uint32_t rank_a = made[a].stream == first ? 0 : 1, rank_b = made[b].stream == first ? 0 : 1;
	return rank_a != rank_b ? rank_a < rank_b : a < b;
}

/* Just the records in the range (and to port 443 only), each once. */
static void
assert_seen(const struct seen *seen, uint64_t from_ns, uint64_t until_ns, bool https_only)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < made_count; i++) {
		bool in = made[i].ts_ns >= from_ns && made[i].ts_ns < until_ns && (made[i].https || !https_only);
		assert_int_equal(seen->times[i], in);
		n += in;
	}
	assert_int_equal(seen->records, n);
}

static void
delivers_every_record_once_with_any_number_of_threads(void **state)
{
	(void)state;
	for (unsigned jobs = 0; jobs <= 9; jobs++) {
		struct seen seen = { 0 };
		struct scan_counts counts;
		assert_int_equal(scan(made_plan(NULL, 0, 0, NULL), jobs, &seen, &counts), OK);
		assert_seen(&seen, 0, UINT64_MAX, false);
		assert_int_equal(seen.blocks, 24);
		assert_int_equal(seen.prepared, 24);
		assert_int_equal(seen.steps, 24);
		assert_int_equal(seen.steps_records, ALL);
		assert_int_equal(counts.blocks, 24);
		assert_int_equal(counts.records, ALL);
		assert_int_equal(counts.damaged, 0);
		assert_true(counts.bytes_read > 0);
	}
}

static enum err
deliver_in_order(void *arg, unsigned worker, const struct scan_block *b)
{
	struct seen *seen = arg;
	uint32_t before = seen->last;
	bool first = seen->records == 0;
	TRY(deliver(arg, worker, b));
	assert_true(first || in_order(NULL, before, seen->last));
	return OK;
}

static void
delivers_in_the_order_of_the_plan_with_any_number_of_threads(void **state)
{
	(void)state;
	for (unsigned jobs = 1; jobs <= CREW_MAX; jobs++) {
		struct seen seen = { 0 };
		struct scan_counts counts = { 0 };
		struct scan_sink sink = { .columns = BATCH_BYTES | BATCH_TIME | BATCH_WIRE_LEN, .by_row = true,
			                  .deliver = deliver_in_order, .notice = notice, .arg = &seen };
		struct plan *p = made_plan(NULL, 0, 0, NULL);
		assert_int_equal(scan_run(p, made_filter(), jobs, &sink, &counts), OK);
		assert_seen(&seen, 0, UINT64_MAX, false);
	}
}

static void
cuts_at_the_nanosecond(void **state)
{
	(void)state;
	/* Every pair of edges around some blocks' ends: at a record, just before and just after it. */
	static const uint64_t moments[] = { 1000, 1001, 1029, 1030, 1031, 1059, 1119, 1120, 1239, 1359, 1360 };
	for (size_t i = 0; i < sizeof moments / sizeof *moments; i++)
		for (size_t k = i; k < sizeof moments / sizeof *moments; k++)
			for (int edges = 0; edges < 4; edges++) {
				uint64_t from_ns = moments[i] * S + (edges & 1), until_ns = moments[k] * S + (edges >> 1);
				struct seen seen = { 0 };
				struct scan_counts counts;
				if (from_ns >= until_ns)
					continue;
				assert_int_equal(scan(made_plan(NULL, from_ns, until_ns, NULL), 2, &seen, &counts), OK);
				assert_seen(&seen, from_ns, until_ns, false);
			}
}

static void
selects_by_filter_and_range_together(void **state)
{
	(void)state;
	/* From columns alone, by row, and by libpcap's program. */
	static const char *const expressions[] = { "port 443", "len >= 0 and port 443", "udp[2:2] = 443" };
	for (size_t i = 0; i < 3; i++)
		for (unsigned jobs = 1; jobs <= 3; jobs++) {
			struct seen seen = { 0 };
			struct scan_counts counts;
			assert_int_equal(scan(made_plan(NULL, 1017 * S, 1300 * S + 1, expressions[i]), jobs, &seen, &counts), OK);
			assert_seen(&seen, 1017 * S, 1300 * S + 1, true);
		}
}

static void
blocks_without_a_selected_record_are_not_delivered(void **state)
{
	(void)state;
	struct seen seen = { 0 };
	struct scan_counts counts;
	assert_int_equal(scan(made_plan(NULL, 0, 0, "udp[8:4] = 31"), 2, &seen, &counts), OK);
	assert_int_equal(seen.blocks, 2); /* record 31 of each stream */
	assert_int_equal(seen.prepared, 2);
	assert_int_equal(seen.records, 2);
	assert_int_equal(seen.steps, 24);
	assert_int_equal(counts.records, ALL);
}

static void
whole_blocks_need_no_batch_when_the_sink_says_so(void **state)
{
	(void)state;
	struct seen seen = { .no_batch = true };
	struct scan_counts counts;
	assert_int_equal(scan(made_plan(NULL, 0, 0, NULL), 2, &seen, &counts), OK);
	assert_int_equal(seen.records, ALL);
	assert_int_equal(counts.bytes_read, 0);
}

static void
counts_packets_and_bytes(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++) {
		uint64_t from_ns = i & 1 ? 1044 * S : 0, until_ns = i & 1 ? 1255 * S : UINT64_MAX, bytes = 0, packets = 0;
		bool https = i >> 1;
		for (uint32_t k = 0; k < made_count; k++)
			if (made[k].ts_ns >= from_ns && made[k].ts_ns < until_ns && (made[k].https || !https)) {
				packets++;
				bytes += made[k].wire_len;
			}
		for (unsigned jobs = 1; jobs <= 4; jobs++) {
			struct seen seen = { 0 };
			struct scan_sink how = { .notice = notice, .arg = &seen };
			struct scan_counts counts = { 0 };
			struct count count = { 0 };
			struct plan *p = made_plan(NULL, from_ns, until_ns, https ? "port 443" : NULL);
			assert_int_equal(count_run(p, made_filter(), jobs, &how, &count, &counts), OK);
			assert_int_equal(count.packets, packets);
			assert_int_equal(count.wire_bytes, bytes);
		}
	}
}

static void
end_stops_without_an_error(void **state)
{
	(void)state;
	for (unsigned jobs = 1; jobs <= 5; jobs++)
		for (uint32_t after = 1; after <= 24; after += 6) {
			struct seen seen = { .stop_after = after, .stop_with = END };
			struct scan_counts counts;
			assert_int_equal(scan(made_plan(NULL, 0, 0, NULL), jobs, &seen, &counts), OK);
			assert_int_equal(seen.blocks, after);
		}
}

static void
an_error_of_the_sink_stops_and_is_passed_on(void **state)
{
	(void)state;
	for (unsigned jobs = 1; jobs <= 5; jobs++) {
		struct seen seen = { .stop_after = 3, .stop_with = ERR_FULL };
		struct scan_counts counts;
		assert_int_equal(scan(made_plan(NULL, 0, 0, NULL), jobs, &seen, &counts), ERR_FULL);
		assert_int_equal(seen.blocks, 3);
		assert_string_equal(err_text(), "the sink is full");
		assert_int_equal(seen.notices, 0);
	}
}

static void
a_plan_can_be_scanned_again(void **state)
{
	(void)state;
	struct seen seen = { 0 };
	struct scan_counts counts;
	struct plan *p = made_plan(NULL, 0, 0, NULL);
	assert_int_equal(scan(p, 2, &seen, &counts), OK);
	seen = (struct seen){ 0 };
	assert_int_equal(scan(p, 2, &seen, &counts), OK);
	assert_int_equal(seen.records, 0); /* it stands at its end */
	plan_narrow(p, (struct span){ 1100 * S, 1200 * S }, (struct span){ 0, UINT64_MAX });
	assert_int_equal(scan(p, 2, &seen, &counts), OK);
	assert_seen(&seen, 1100 * S, 1200 * S, false);
}

static void
a_damaged_block_is_named_and_the_rest_delivered(void **state)
{
	(void)state;
	made_damage(2);
	for (unsigned jobs = 1; jobs <= 3; jobs++) {
		struct seen seen = { 0 };
		struct scan_counts counts;
		assert_int_equal(scan(made_plan(NULL, 0, 0, NULL), jobs, &seen, &counts), OK);
		assert_int_equal(counts.damaged, 1);
		assert_int_equal(seen.notices, 1);
		assert_non_null(strstr(seen.notice, "0000000000000003.seg: block "));
		assert_int_equal(seen.records, ALL - EACH / 4);
		uint32_t block = UINT32_MAX; /* of segment 2, the same for all that is missing */
		for (uint32_t i = 0; i < made_count; i++) {
			if (seen.times[i] == 1)
				continue;
			assert_int_equal(seen.times[i], 0);
			assert_int_equal(made[i].segment, 2);
			assert_true(block == UINT32_MAX || block == made[i].block);
			block = made[i].block;
		}
	}
	/* What is not asked for does not disturb. */
	static const char *const two[] = { "two", NULL };
	struct seen seen = { 0 };
	struct scan_counts counts;
	assert_int_equal(scan(made_plan(two, 0, 0, NULL), 2, &seen, &counts), OK);
	assert_int_equal(seen.records, ALL / 2);
	assert_int_equal(counts.damaged + seen.notices, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delivers_every_record_once_with_any_number_of_threads),
		cmocka_unit_test(delivers_in_the_order_of_the_plan_with_any_number_of_threads),
		cmocka_unit_test(cuts_at_the_nanosecond),
		cmocka_unit_test(selects_by_filter_and_range_together),
		cmocka_unit_test(blocks_without_a_selected_record_are_not_delivered),
		cmocka_unit_test(whole_blocks_need_no_batch_when_the_sink_says_so),
		cmocka_unit_test(counts_packets_and_bytes),
		cmocka_unit_test(end_stops_without_an_error),
		cmocka_unit_test(an_error_of_the_sink_stops_and_is_passed_on),
		cmocka_unit_test(a_plan_can_be_scanned_again),
		cmocka_unit_test(a_damaged_block_is_named_and_the_rest_delivered), /* the last: it damages one */
	};
	return cmocka_run_group_tests(tests, make, unmake);
}
