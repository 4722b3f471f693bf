/* Counting sampled packets: what they stand for, and what is missing in the range of a query. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "index/archive_dir.h"
#include "ingest/sampler.h"
#include "query/count.h"
#include "tests/support/make_archive.h"
#include "tests/support/sender.h"
#include "tests/support/unit.h"

static char top[PATH_BYTES], dir[PATH_BYTES];
static struct store *store;
static struct sender one;
static struct sending s;

static int
make(void **state)
{
	(void)state;
	scratch_make(top);
	MUST(io_path(dir, top, "a"));
	MUST(archive_init(dir, NULL));
	MUST(store_open(&store, dir, NULL));
	sender_open(&one, store, "one", 1);
	sending_begin(&s, &one, "eth0", 5);
	return 0;
}

static int
unmake(void **state)
{
	(void)state;
	store_close(&store);
	scratch_remove(top);
	return 0;
}

static void
give(uint32_t records, uint32_t sampled, enum sampler_kind sampler)
{
	static uint64_t now_ns = 1000000000000u;
	enum landing_answer answer;
	struct feed_mark mark;
	s.sampled = sampled;
	s.sampler = sampler;
	struct sent *p = send_block(&s, records);
	MUST(send_land(store, &one, p, now_ns += 1000, &answer, &mark));
	assert_int_equal(answer, LANDED);
	sent_free(&p);
	MUST(store_land_commit(store));
}

static void
no_notice(void *arg, const char *sentence)
{
	(void)arg;
	fail_msg("%s", sentence);
}

static void
count(const char *expression, struct span span, struct count *out, struct losses *losses)
{
	struct filter *filter = NULL;
	struct plan *plan = NULL;
	struct scan_counts counts = { 0 };
	struct scan_sink how = { .notice = no_notice };
	MUST(filter_open(&filter, expression, NULL));
	struct request r = { .span = span, .filter = filter };
	MUST(plan_open(&plan, store_archive(store), &r));
	*out = (struct count){ 0 };
	MUST(count_run(plan, filter, 1, &how, out, &counts));
	if (losses)
		*losses = *plan_losses(plan);
	plan_close(&plan);
	filter_close(&filter);
}

static const struct span always = { 0, UINT64_MAX };

static void
each_packet_counts_with_the_rate_of_its_block(void **state)
{
	(void)state;
	struct count c, half;
	give(100, 1, SAMPLER_ALL);
	count("", always, &c, NULL);
	assert_int_equal(c.sampled, 0);
	assert_int_equal(c.estimated_packets, 100);
	assert_int_equal(c.estimated_bytes, c.wire_bytes);
	assert_true(count_error(&c) == 0);
	give(50, 10, SAMPLER_RANDOM);
	give(20, 4, SAMPLER_COUNT);
	for (unsigned merged = 0; merged < 2; merged++) {
		count("", always, &c, NULL);
		assert_int_equal(c.packets, 170);
		assert_int_equal(c.sampled, 70);
		assert_int_equal(c.estimated_packets, 100 + 500 + 80);
		assert_false(c.by_flow);
		assert_true(fabs(count_error(&c) - 1.96 * sqrt(50 * 10 * 9 + 20 * 4 * 3)) < 1e-9);
		assert_true(c.estimated_bytes > c.wire_bytes);
		count("udp", always, &half, NULL); /* decoded, not read from the block's sums */
		assert_int_equal(half.estimated_packets, c.estimated_packets);
		assert_int_equal(half.estimated_bytes, c.estimated_bytes);
		count("ip[4:2] < 120", always, &half, NULL); /* IP identification: the packet's number */
		assert_int_equal(half.packets, 120);
		assert_int_equal(half.estimated_packets, 100 + 20 * 10);
		for (bool more = true; more;)
			MUST(reception_tend(store, NULL, 2000000000000u, true, &more));
	}
	give(5, 100, SAMPLER_FLOW);
	count("", always, &c, NULL);
	assert_true(c.by_flow);
	assert_int_equal(c.estimated_packets, 1180);
}

/* 95 of 100 times the true number is within the error that is said. */
static void
the_error_holds_for_packets_sampled_at_random(void **state)
{
	(void)state;
	enum { TRIALS = 1000, PACKETS = 20000 };
	static const uint32_t rates[] = { 2, 10, 100 };
	for (unsigned i = 0; i < sizeof rates / sizeof *rates; i++) {
		unsigned within = 0;
		for (unsigned trial = 0; trial < TRIALS; trial++) {
			uint8_t seed[SAMPLER_SEED_BYTES] = { (uint8_t)i, (uint8_t)trial, (uint8_t)(trial >> 8) };
			struct sampler sampler;
			struct count c = { 0 };
			sampler_init(&sampler, SAMPLER_RANDOM, rates[i], seed);
			for (unsigned k = 0; k < PACKETS; k++)
				c.packets += sampler_keeps(&sampler, 1, NULL, 0);
			c.estimated_packets = c.packets * rates[i];
			c.variance = (double)c.packets * rates[i] * (rates[i] - 1.0);
			within += fabs((double)c.estimated_packets - PACKETS) <= count_error(&c);
		}
		print_message("# one in %u: %u of %u\n", rates[i], within, TRIALS);
		assert_in_range(within, 925, 975);
	}
}

static void
what_is_missing_in_the_range_is_said_with_the_plan(void **state)
{
	(void)state;
	struct count c;
	struct losses l;
	give(100, 1, SAMPLER_ALL);
	uint64_t first_ns = s.next_ns;
	s.lost_kernel = 7;
	s.next_ns += 1000000000u;
	give(100, 1, SAMPLER_ALL);
	s.lost_policy = 30;
	s.lost_kernel += 2;
	s.next_ns += 1000000000u;
	give(100, 1, SAMPLER_ALL);
	count("", always, &c, &l);
	assert_int_equal(l.gaps, 3);
	assert_int_equal(l.packets, 39);
	assert_int_equal(l.by_cause[GAP_KERNEL], 9);
	assert_int_equal(l.by_cause[GAP_POLICY], 30);
	count("", (struct span){ 0, first_ns }, &c, &l);
	assert_int_equal(l.gaps, 1); /* from the last record on */
	count("", (struct span){ 0, first_ns - 1000 }, &c, &l);
	assert_int_equal(l.gaps, 0);
	assert_int_equal(l.packets, 0);
	count("", (struct span){ first_ns + 1500000000u, UINT64_MAX }, &c, &l);
	assert_int_equal(l.packets, 32);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
	const struct CMUnitTest tests[] = {
		TEST(each_packet_counts_with_the_rate_of_its_block),
		TEST(the_error_holds_for_packets_sampled_at_random),
		TEST(what_is_missing_in_the_range_is_said_with_the_plan),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	sender_release();
	return failed;
}
