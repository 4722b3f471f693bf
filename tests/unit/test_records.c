/* Records one after another: of one stream as captured, of several in the order of time, compared with a plain stable sort. */
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

#include "query/records.h"
#include "tests/support/made_streams.h"

#define S UINT64_C(1000000000)

/* What must come, as indexes into made[]. */
static uint32_t *wanted;
static uint32_t wanted_count;

struct seen {
	uint32_t count, stop_at;           /* END after so many; 0: never */
	enum err stop_with;
	unsigned notices;
	uint64_t steps;
	const struct plan_stream *streams;
};

static enum err
see(void *arg, const struct record *r)
{
	struct seen *seen = arg;
	if (seen->stop_at && seen->count == seen->stop_at)
		return seen->stop_with == END ? END : (fail)(seen->stop_with, "full"); /* not cmocka's macro */
	assert_true(seen->count < wanted_count);
	const struct made *m = &made[wanted[seen->count++]];
	assert_int_equal(r->ts_ns, m->ts_ns);
	assert_int_equal(r->cap_len, MADE_BYTES);
	assert_memory_equal(r->bytes, m->bytes, MADE_BYTES);
	assert_int_equal(r->wire_len, m->wire_len);
	assert_int_equal(r->linktype, 1);
	assert_int_equal(r->iface, 0);
	assert_int_equal(seen->streams[r->stream].id, m->stream);
	return OK;
}

static void
notice(void *arg, const char *sentence)
{
	(void)sentence;
	((struct seen *)arg)->notices++;
}

static void
step(void *arg, uint64_t blocks, uint64_t records)
{
	(void)blocks, (void)records;
	((struct seen *)arg)->steps++;
}

/* Before: of equal time in the order of streams, then as committed. */
static int
by_time(const void *a, const void *b)
{
	const struct made *x = &made[*(const uint32_t *)a], *y = &made[*(const uint32_t *)b];
	if (x->ts_ns != y->ts_ns)
		return x->ts_ns < y->ts_ns ? -1 : 1;
	if (x->stream != y->stream)
		return x->stream < y->stream ? -1 : 1;
	return x < y ? -1 : 1;
}

static void
want(uint64_t from_ns, uint64_t until_ns, bool https_only, uint32_t stream, bool sorted)
{
	wanted = realloc(wanted, (made_count + 1) * sizeof *wanted);
	assert_non_null(wanted);
	wanted_count = 0;
	for (uint32_t i = 0; i < made_count; i++)
		if (made[i].ts_ns >= from_ns && (made[i].ts_ns < until_ns || !until_ns) && (made[i].https || !https_only) &&
		    (!stream || made[i].stream == stream))
			wanted[wanted_count++] = i;
	if (sorted)
		qsort(wanted, wanted_count, sizeof *wanted, by_time);
}

static enum err
run(struct plan *p, unsigned jobs, struct seen *seen, struct scan_counts *counts)
{
	struct records_sink sink = { .record = see, .notice = notice, .step = step, .arg = seen };
	*counts = (struct scan_counts){ 0 };
	plan_streams(p, &seen->streams);
	return records_run(p, made_filter(), jobs, &sink, counts);
}

static void
expect_all(struct plan *p, unsigned jobs)
{
	struct seen seen = { 0 };
	struct scan_counts counts;
	assert_int_equal(run(p, jobs, &seen, &counts), OK);
	assert_int_equal(seen.count, wanted_count);
	assert_int_equal(seen.notices, 0);
}

static uint64_t
next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static int
end(void **state)
{
	(void)state;
	made_close();
	free(wanted);
	wanted = NULL;
	return 0;
}

static int
begin(void **state)
{
	(void)state;
	made_open();
	return 0;
}

static void
one_stream_comes_as_captured(void **state)
{
	(void)state;
	uint64_t times[500], x = 7;
	for (uint32_t i = 0; i < 500; i++)
		times[i] = 1000 * S + next_random(&x) % (10 * S); /* in no order */
	made_segment("one", times, 500, 200);
	for (unsigned jobs = 1; jobs <= 3; jobs++) {
		want(0, 0, false, 0, false);
		expect_all(made_plan(NULL, 0, 0, NULL), jobs);
		want(1003 * S, 1006 * S, true, 0, false);
		expect_all(made_plan(NULL, 1003 * S, 1006 * S, "port 443"), jobs);
	}
}

static void
several_streams_merge_by_time_then_stream_then_capture(void **state)
{
	(void)state;
	static const char *const names[] = { "a", "b", "c", "d" };
	uint64_t times[300], x = 99;
	/* Few moments, so that there are many ties; disorder; segments and blocks that overlap. */
	for (uint32_t segment = 0; segment < 12; segment++) {
		for (uint32_t i = 0; i < 300; i++)
			times[i] = 1000 * S + segment / 4 * 20 + next_random(&x) % 50;
		made_segment(names[segment % 4], times, 300, 70);
	}
	for (unsigned jobs = 1; jobs <= 3; jobs++) {
		/* Within a stream, segments come in the order of their earliest record; here that is the order of commits. */
		want(0, 0, false, 0, true);
		expect_all(made_plan(NULL, 0, 0, NULL), jobs);
		want(1000 * S + 15, 1000 * S + 44, true, 0, true);
		expect_all(made_plan(NULL, 1000 * S + 15, 1000 * S + 44, "port 443"), jobs);
		static const char *const b[] = { "b", NULL };
		want(0, 0, false, made[300].stream, false);
		expect_all(made_plan(b, 0, 0, NULL), jobs);
	}
}

static void
merges_random_streams(void **state)
{
	(void)state;
	uint64_t times[400], x = 4711;
	for (uint32_t stream = 0; stream < 9; stream++) {
		char name[8];
		snprintf(name, sizeof name, "s%u", stream);
		uint64_t at = next_random(&x) % (100 * S);
		for (uint32_t segment = 0; segment < 1 + stream % 3; segment++) {
			uint32_t n = 1 + (uint32_t)(next_random(&x) % 400);
			for (uint32_t i = 0; i < n; i++) {
				at += next_random(&x) % (stream % 2 ? 1000 : S);
				times[i] = at - (next_random(&x) % 8 == 0 && at > 500 ? next_random(&x) % 500 : 0);
			}
			made_segment(name, times, n, 1 + (uint32_t)(next_random(&x) % 150));
			at += 2000;
		}
	}
	want(0, 0, false, 0, true);
	expect_all(made_plan(NULL, 0, 0, NULL), 2);
	for (int i = 0; i < 40; i++) {
		uint64_t from_ns = next_random(&x) % (150 * S), until_ns = from_ns + 1 + next_random(&x) % (100 * S);
		want(from_ns, until_ns, i % 2, 0, true);
		expect_all(made_plan(NULL, from_ns, until_ns, i % 2 ? "port 443" : NULL), 1 + (unsigned)i % 3);
	}
}

/* Windows that hold nothing are passed over quickly, and the ends of time belong to it. */
static void
merges_over_all_of_time(void **state)
{
	(void)state;
	static const uint64_t one[] = { 0, 1, 5 * S, 5 * S + 1, UINT64_MAX - 2 }, two[] = { 0, 5 * S, UINT64_MAX - 1 },
	                      three[] = { UINT64_MAX - 2, UINT64_MAX - 2 };
	made_segment("one", one, 5, 2);
	made_segment("two", two, 3, 3);
	made_segment("three", three, 2, 1);
	want(0, 0, false, 0, true);
	expect_all(made_plan(NULL, 0, 0, NULL), 2);
	want(1, 5 * S, false, 0, true);
	expect_all(made_plan(NULL, 1, 5 * S, NULL), 2);
	want(UINT64_MAX - 2, 0, false, 0, true);
	expect_all(made_plan(NULL, UINT64_MAX - 2, 0, NULL), 2);
}

static void
end_stops_at_any_record(void **state)
{
	(void)state;
	uint64_t times[100];
	for (uint32_t i = 0; i < 100; i++)
		times[i] = (1000 + i) * S;
	made_segment("one", times, 100, 30);
	for (int merged = 0; merged < 2; merged++) {
		if (merged) { /* the archive is open for reading: begin anew with two streams */
			made_close();
			made_open();
			made_segment("one", times, 100, 30);
			made_segment("two", times, 100, 40);
		}
		want(0, 0, false, 0, true);
		for (uint32_t stop = 1; stop < wanted_count; stop += 7) {
			struct seen seen = { .stop_at = stop, .stop_with = END };
			struct scan_counts counts;
			assert_int_equal(run(made_plan(NULL, 0, 0, NULL), 2, &seen, &counts), OK);
			assert_int_equal(seen.count, stop);
			seen = (struct seen){ .stop_at = stop, .stop_with = ERR_FULL };
			assert_int_equal(run(made_plan(NULL, 0, 0, NULL), 2, &seen, &counts), ERR_FULL);
			assert_string_equal(err_text(), "full");
		}
	}
}

static void
nothing_selected_is_no_error(void **state)
{
	(void)state;
	static const uint64_t times[] = { 5 * S, 6 * S };
	made_segment("one", times, 2, 2);
	made_segment("two", times, 2, 2);
	want(7 * S, 0, false, 0, true);
	assert_int_equal(wanted_count, 0);
	expect_all(made_plan(NULL, 7 * S, 0, NULL), 1);
	expect_all(made_plan(NULL, 0, 0, "tcp"), 1);
	expect_all(made_plan(NULL, 5 * S + 1, 6 * S, NULL), 1);
}

static void
damage_is_noticed_once_and_the_rest_merged(void **state)
{
	(void)state;
	uint64_t times[90];
	for (uint32_t i = 0; i < 90; i++)
		times[i] = (1000 + i) * S;
	made_segment("one", times, 90, 30);
	made_segment("two", times, 90, 90);
	(void)made_archive();
	made_ruin(1);
	want(0, 0, false, 1, true);
	struct seen seen = { 0 };
	struct scan_counts counts;
	assert_int_equal(run(made_plan(NULL, 0, 0, NULL), 2, &seen, &counts), OK);
	assert_int_equal(seen.count, 90);
	assert_int_equal(seen.notices, 1);
	assert_int_equal(counts.damaged, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_stream_comes_as_captured, begin, end),
		cmocka_unit_test_setup_teardown(several_streams_merge_by_time_then_stream_then_capture, begin, end),
		cmocka_unit_test_setup_teardown(merges_random_streams, begin, end),
		cmocka_unit_test_setup_teardown(merges_over_all_of_time, begin, end),
		cmocka_unit_test_setup_teardown(end_stops_at_any_record, begin, end),
		cmocka_unit_test_setup_teardown(nothing_selected_is_no_error, begin, end),
		cmocka_unit_test_setup_teardown(damage_is_noticed_once_and_the_rest_merged, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
