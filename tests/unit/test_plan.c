/* Which segments and blocks a query looks at, and which it need not. */
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/made_streams.h"

#define S UINT64_C(1000000000)

/* Stream "one": segments 0 (times 100..199 s), 1 (200..299), 2 (300..399), each of four blocks of 25 s;
 * stream "two": segment 3 (150..349), two blocks of 100 s. One record a second. */
static int
make(void **state)
{
	(void)state;
	uint64_t times[200];
	made_open();
	for (uint32_t segment = 0; segment < 3; segment++) {
		for (uint32_t i = 0; i < 100; i++)
			times[i] = (100 * (segment + 1) + i) * S;
		made_segment("one", times, 100, 25);
	}
	for (uint32_t i = 0; i < 200; i++)
		times[i] = (150 + i) * S;
	made_segment("two", times, 200, 100);
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

/* Runs through a plan; *order gets stream * 1000 + blocks of each segment opened. */
static uint32_t
walk(struct plan *p, uint64_t *order, uint32_t most)
{
	struct plan_segment *s;
	uint32_t n = 0;
	enum err e;
	while ((e = plan_next(p, &s)) == OK) {
		assert_int_not_equal(s->blocks, 0);
		if (n < most)
			order[n] = s->stream * 1000 + s->blocks;
		n++;
		plan_release(p, &s);
		assert_null(s);
	}
	assert_int_equal(e, END);
	assert_int_equal(plan_next(p, &s), END);
	return n;
}

static void
expect(struct plan *p, uint32_t n, const uint64_t *wanted)
{
	uint64_t order[8] = { 0 };
	assert_int_equal(walk(p, order, 8), n);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(order[i], wanted[i]);
}
#define EXPECT(p, n, ...) expect(p, n, (const uint64_t[]){ __VA_ARGS__ })

static void
without_selectors_everything_is_looked_at(void **state)
{
	(void)state;
	struct plan *p = made_plan(NULL, 0, 0, NULL);
	EXPECT(p, 4, 15, 15, 15, 1003);
	const struct plan_counts *c = plan_counts(p);
	assert_int_equal(c->segments, 4);
	assert_int_equal(c->segments_by_time + c->segments_by_address + c->segments_missing, 0);
	assert_int_equal(c->blocks, 14);
	assert_int_equal(c->blocks_left, 14);
	assert_int_equal(c->records_left, 500);
	assert_int_equal(plan_streams_used(p), 2);
	const struct plan_stream *streams;
	assert_int_equal(plan_streams(p, &streams), 2);
	assert_string_equal(streams[0].name, "one");
	assert_string_equal(streams[1].name, "two");
}

static void
a_range_skips_segments_and_blocks(void **state)
{
	(void)state;
	struct plan *p = made_plan(NULL, 210 * S, 230 * S, NULL);
	EXPECT(p, 2, 3, 1001);
	const struct plan_counts *c = plan_counts(p);
	assert_int_equal(c->segments, 4);
	assert_int_equal(c->segments_by_time, 2);
	assert_int_equal(c->blocks, 6);
	assert_int_equal(c->blocks_by_time, 3);
	assert_int_equal(c->blocks_left, 3);
	assert_int_equal(c->records_left, 150);
}

static void
from_is_inside_and_until_is_outside(void **state)
{
	(void)state;
	static const char *const one[] = { "one", NULL };
	EXPECT(made_plan(one, 199 * S, 200 * S, NULL), 1, 8);       /* its last record */
	EXPECT(made_plan(one, 199 * S, 200 * S + 1, NULL), 2, 8, 1);/* and the first of the next */
	assert_int_equal(walk(made_plan(one, 199 * S + 1, 200 * S, NULL), NULL, 0), 0);
	assert_int_equal(walk(made_plan(one, 0, 100 * S, NULL), NULL, 0), 0);
	EXPECT(made_plan(one, 0, 100 * S + 1, NULL), 1, 1);
	EXPECT(made_plan(one, 399 * S, 0, NULL), 1, 8);
	assert_int_equal(walk(made_plan(one, 399 * S + 1, 0, NULL), NULL, 0), 0);
	EXPECT(made_plan(one, 124 * S, 125 * S, NULL), 1, 1);       /* the blocks' edges */
	EXPECT(made_plan(one, 125 * S, 126 * S, NULL), 1, 2);
	EXPECT(made_plan(one, 124 * S, 125 * S + 1, NULL), 1, 3);
}

static void
streams_come_in_the_order_asked_for_and_once(void **state)
{
	(void)state;
	static const char *const both[] = { "two", "one", "two", NULL };
	struct plan *p = made_plan(both, 0, 0, NULL);
	const struct plan_stream *streams;
	assert_int_equal(plan_streams(p, &streams), 2);
	assert_string_equal(streams[0].name, "two");
	EXPECT(p, 4, 3, 1015, 1015, 1015);
	static const char *const one[] = { "one", NULL };
	p = made_plan(one, 0, 0, NULL);
	assert_int_equal(plan_streams_used(p), 1);
	EXPECT(p, 3, 15, 15, 15);
	assert_int_equal(plan_counts(p)->segments, 3);
}

static void
an_unknown_stream_is_absent_and_the_near_one_named(void **state)
{
	(void)state;
	static const char *const names[] = { "tow", "nothinglikeit", "on\x1b[e" };
	for (size_t i = 0; i < 3; i++) {
		struct plan *p = NULL;
		struct filter *f = NULL;
		assert_int_equal(filter_open(&f, NULL, NULL), OK);
		struct request r = { &names[i], 1, { 0, UINT64_MAX }, f, NULL };
		assert_int_equal(plan_open(&p, made_archive(), &r), ERR_ABSENT);
		assert_null(p);
		assert_int_equal(strstr(err_text(), "two") != NULL, i == 0);
		assert_null(strchr(err_text(), 0x1b));
		filter_close(&f);
	}
}

static void
an_address_skips_segments_and_blocks(void **state)
{
	(void)state;
	/* Record n of stream "one" has the source 10.1.0.n: number 130 is in the second block of the second segment. */
	struct plan *p = made_plan(NULL, 0, 0, "host 10.1.0.130");
	EXPECT(p, 1, 2);
	const struct plan_counts *c = plan_counts(p);
	assert_int_equal(c->segments_by_address, 3);
	assert_int_equal(c->blocks, 4);
	assert_int_equal(c->blocks_by_index, 3);
	assert_int_equal(c->records_left, 25);
	EXPECT(made_plan(NULL, 0, 0, "net 10.2.0.0/16"), 1, 1003);
	EXPECT(made_plan(NULL, 0, 0, "host 198.51.100.7"), 4, 15, 15, 15, 1003);
	assert_int_equal(walk(made_plan(NULL, 0, 0, "host 203.0.113.1"), NULL, 0), 0);
	assert_int_equal(walk(made_plan(NULL, 0, 0, "udp port 9"), NULL, 0), 0);
	assert_int_equal(plan_counts(made_plan(NULL, 0, 0, "udp port 9"))->segments_by_address, 0);
	EXPECT(made_plan(NULL, 0, 0, "host 10.1.0.130 or host 10.1.0.10"), 2, 1, 2);
	EXPECT(made_plan(NULL, 0, 0, "not host 10.1.0.130"), 4, 15, 15, 15, 1003);
}

static void
what_is_skipped_is_counted_for_the_first_reason(void **state)
{
	(void)state;
	struct plan *p = made_plan(NULL, 100 * S, 150 * S, "host 10.2.0.1");
	assert_int_equal(walk(p, NULL, 0), 0);
	const struct plan_counts *c = plan_counts(p);
	assert_int_equal(c->segments, 4);
	assert_int_equal(c->segments_by_time, 3);
	assert_int_equal(c->segments_by_address, 1);
	assert_int_equal(c->blocks, 0);
}

static void
rewinds_and_narrows(void **state)
{
	(void)state;
	struct plan *p = made_plan(NULL, 0, 0, NULL);
	EXPECT(p, 4, 15, 15, 15, 1003);
	plan_rewind(p);
	EXPECT(p, 4, 15, 15, 15, 1003);
	plan_narrow(p, (struct span){ 320 * S, 330 * S }, (struct span){ 0, UINT64_MAX });
	EXPECT(p, 2, 3, 1002);
	plan_narrow(p, (struct span){ 0, 1 }, (struct span){ 0, UINT64_MAX });
	assert_int_equal(walk(p, NULL, 0), 0);
	plan_narrow(p, (struct span){ 0, UINT64_MAX }, (struct span){ 0, UINT64_MAX });
	EXPECT(p, 4, 15, 15, 15, 1003);
	struct plan_segment *s;
	plan_narrow(p, (struct span){ 320 * S, 330 * S }, (struct span){ 0, UINT64_MAX });
	assert_int_equal(plan_next(p, &s), OK);
	assert_int_equal(s->span.from_ns, 320 * S);
	assert_int_equal(s->span.until_ns, 330 * S);
	plan_release(p, &s);
}

static void
knows_its_extent(void **state)
{
	(void)state;
	struct span e;
	assert_true(plan_extent(made_plan(NULL, 0, 0, NULL), &e));
	assert_int_equal(e.from_ns, 100 * S);
	assert_int_equal(e.until_ns, 399 * S + 1);
	assert_true(plan_extent(made_plan(NULL, 170 * S, 180 * S, NULL), &e));
	assert_int_equal(e.from_ns, 170 * S);
	assert_int_equal(e.until_ns, 180 * S);
	assert_false(plan_extent(made_plan(NULL, 500 * S, 0, NULL), &e));
}

static void
widths_follow_the_segments_density(void **state)
{
	(void)state;
	struct plan *p = made_plan(NULL, 0, 0, NULL);
	assert_in_range(plan_even_width(p, 100 * S, 40), 39 * S, 41 * S);
	assert_in_range(plan_even_width(p, 200 * S, 100), 49 * S, 51 * S);  /* both streams */
	assert_int_equal(plan_even_width(p, 360 * S, 50), 39 * S + 1);      /* no more are left */
	assert_int_equal(plan_even_width(p, 399 * S + 1, 50), 1);
	assert_int_equal(plan_even_width(p, 200 * S, 0), 1);
	assert_int_equal(plan_even_width(made_plan(NULL, 500 * S, 0, NULL), 0, 50), 1);
}

static void
knows_how_far_it_is(void **state)
{
	(void)state;
	uint64_t total;
	struct plan *p = made_plan(NULL, 0, 0, NULL);
	assert_int_equal(plan_progress(p, 0, &total), 0);
	assert_int_equal(total, 500);
	(void)walk(p, NULL, 0);
	assert_int_equal(plan_progress(p, 25, &total), 25);
	assert_int_equal(plan_progress(p, 500, &total), 500);
	/* skipped blocks and segments are done when they are passed */
	p = made_plan(NULL, 170 * S, 180 * S, NULL);
	(void)walk(p, NULL, 0);
	assert_int_equal(plan_progress(p, plan_counts(p)->records_left, &total), 300);
	assert_int_equal(total, 300);
	/* in windows */
	p = made_plan(NULL, 0, 0, NULL);
	plan_narrow(p, (struct span){ 100 * S, 200 * S }, (struct span){ 0, UINT64_MAX });
	assert_in_range(plan_progress(p, 0, &total), 148, 152);
	assert_int_equal(total, 500);
	plan_narrow(p, (struct span){ 200 * S, 399 * S + 1 }, (struct span){ 0, UINT64_MAX });
	assert_int_equal(plan_progress(p, 0, &total), 500);
}

static void
a_missing_file_is_counted_and_the_rest_goes_on(void **state)
{
	(void)state;
	char path[PATH_BYTES];
	made_segment_path(1, path);
	assert_int_equal(unlink(path), 0);
	struct plan *p = made_plan(NULL, 0, 0, NULL);
	EXPECT(p, 3, 15, 15, 1003);
	assert_int_equal(plan_counts(p)->segments_missing, 1);
	/* A range that does not need it is whole. */
	p = made_plan(NULL, 0, 150 * S, NULL);
	EXPECT(p, 1, 3);
	assert_int_equal(plan_counts(p)->segments_missing, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_selectors_everything_is_looked_at),
		cmocka_unit_test(a_range_skips_segments_and_blocks),
		cmocka_unit_test(from_is_inside_and_until_is_outside),
		cmocka_unit_test(streams_come_in_the_order_asked_for_and_once),
		cmocka_unit_test(an_unknown_stream_is_absent_and_the_near_one_named),
		cmocka_unit_test(an_address_skips_segments_and_blocks),
		cmocka_unit_test(what_is_skipped_is_counted_for_the_first_reason),
		cmocka_unit_test(rewinds_and_narrows),
		cmocka_unit_test(knows_its_extent),
		cmocka_unit_test(widths_follow_the_segments_density),
		cmocka_unit_test(knows_how_far_it_is),
		cmocka_unit_test(a_missing_file_is_counted_and_the_rest_goes_on), /* the last: it removes one */
	};
	return cmocka_run_group_tests(tests, make, unmake);
}
