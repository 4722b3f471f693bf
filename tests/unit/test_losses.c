/* Each packet that is missing stands in one gap row, and the sums of these rows are the numbers that `atoll monitors` shows,
 * whatever order parcels, losses, reports, merges, restarts and rebuilds come in. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "index/feed.h"
#include "index/fsck.h"
#include "index/rebuild.h"
#include "tests/support/make_archive.h"
#include "tests/support/sender.h"
#include "tests/support/unit.h"

static char top[PATH_BYTES], dir[PATH_BYTES];
static struct store *store;
static struct sender one;
static uint64_t now_ns, chance;

static int
make(void **state)
{
	(void)state;
	scratch_make(top);
	MUST(io_path(dir, top, "a"));
	MUST(archive_init(dir, NULL));
	MUST(store_open(&store, dir, NULL));
	sender_open(&one, store, "one", 1);
	now_ns = 1000000000000u;
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

static uint64_t
below(uint64_t n)
{
	chance ^= chance << 13; /* xorshift64 */
	chance ^= chance >> 7;
	chance ^= chance << 17;
	return chance % n;
}

static void
print_fault(void *arg, const char *sentence)
{
	(void)arg;
	print_message("# %s\n", sentence);
}

static void
is_in_order(void)
{
	struct fsck_report report;
	store_close(&store);
	MUST(fsck_run(dir, NULL, &(struct fsck_options){ .see = print_fault, .quick = true }, &report));
	assert_int_equal(report.faults, 0);
	MUST(store_open(&store, dir, NULL));
}

static void
merge(void)
{
	for (bool more = true; more;)
		MUST(reception_tend(store, NULL, now_ns, true, &more));
}

static void
land(struct sent *p)
{
	enum landing_answer answer;
	struct feed_mark mark;
	MUST(send_land(store, &one, p, now_ns += 1000, &answer, &mark));
	assert_int_equal(answer, LANDED);
	sent_free(&p);
}

/* Of stream one/eth0. */
static void
feed_read(struct feed_row *feed)
{
	struct catalogue *c = archive_catalogue(store_archive(store));
	struct stream_row row;
	MUST(catalogue_begin(c));
	MUST(catalogue_stream_named(c, "one/eth0", &row));
	MUST(catalogue_feed(c, row.id, false, feed));
	catalogue_end(c);
}

static unsigned
gaps_read(struct gap_row *gaps, unsigned most)
{
	struct catalogue *c = archive_catalogue(store_archive(store));
	struct gap_row gap = { 0 };
	unsigned n = 0;
	MUST(catalogue_begin(c));
	while (catalogue_next_gap(c, &gap) == OK && n < most)
		gaps[n++] = gap;
	catalogue_end(c);
	return n;
}

static bool
report_now(const struct sending *s)
{
	bool news;
	const struct feed_report r = { s->next_ns, s->lost_kernel, s->lost_interface, s->lost_spool, s->lost_policy };
	MUST(store_report(store, one.number, s->stream, &r, &news));
	return news;
}

/* --- */

static void
a_report_tells_what_was_lost_after_the_last_parcel(void **state)
{
	(void)state;
	struct sending s;
	struct gap_row gaps[8];
	struct feed_row feed;
	sending_begin(&s, &one, "eth0", 5);
	assert_false(report_now(&s)); /* of a stream that is not known yet */
	s.lost_kernel = 3;
	land(send_block(&s, 10));
	uint64_t last_ns = s.next_ns - 1000;
	MUST(store_land_commit(store));
	assert_false(report_now(&s));
	s.lost_kernel = 10;
	s.next_ns += 5000000000u;
	assert_true(report_now(&s));
	assert_false(report_now(&s)); /* told before */
	MUST(store_land_commit(store));
	store_close(&store);
	MUST(store_open(&store, dir, NULL));
	assert_false(report_now(&s));
	assert_int_equal(gaps_read(gaps, 8), 2);
	assert_int_equal(gaps[1].cause, GAP_KERNEL);
	assert_int_equal(gaps[1].records, 7);
	assert_int_equal(gaps[1].sequence, 2);
	assert_int_equal(gaps[1].first_ns, last_ns);
	assert_int_equal(gaps[1].last_ns, s.next_ns);
	s.lost_kernel = 8; /* a monitor that forgot what it said */
	assert_false(report_now(&s));
	s.lost_kernel = 12;
	land(send_block(&s, 10)); /* has the seven, and two more */
	MUST(store_land_commit(store));
	assert_int_equal(gaps_read(gaps, 8), 2);
	assert_int_equal(gaps[1].records, 9);
	feed_read(&feed);
	assert_int_equal(feed_lost(&feed, GAP_KERNEL), 12);
	merge();
	is_in_order();
}

static void
a_pushed_file_is_not_missing_until_today(void **state)
{
	(void)state;
	struct sending s;
	struct gap_row gaps[2];
	sending_begin(&s, &one, "eth0", 5);
	struct sent *p = send_block(&s, 10);
	p->p.source[0] = 1;
	parcel_sign_again(&p->p, one.sign_secret, p->front);
	uint64_t last_ns = p->p.last_ns;
	land(p);
	s.lost_policy = 4;
	s.next_ns += 1000000000000000000u;
	assert_true(report_now(&s));
	MUST(store_land_commit(store));
	assert_int_equal(gaps_read(gaps, 2), 1);
	assert_int_equal(gaps[0].first_ns, last_ns);
	assert_int_equal(gaps[0].last_ns, last_ns);
}

/* A collector whose spool is full for long drops again and again, and joins its losses: the counter of the last parcel that went
 * has those before it. */
static void
a_loss_may_have_a_part_of_itself_in_its_counter(void **state)
{
	(void)state;
	struct sending s;
	struct feed_row feed;
	sending_begin(&s, &one, "eth0", 5);
	land(send_block(&s, 10));
	s.counts_part = 30;
	land(send_loss(&s, 4, 100));
	s.counts_part = 0;
	MUST(store_land_commit(store));
	feed_read(&feed);
	assert_int_equal(feed_lost(&feed, GAP_SPOOL), 100);
	land(send_block(&s, 10));
	MUST(store_land_commit(store));
	feed_read(&feed);
	assert_int_equal(feed_lost(&feed, GAP_SPOOL), 100);
	assert_int_equal(feed.ahead_spool, 0);
	is_in_order();
}

static void
what_a_spool_dropped_is_missing_once(void **state)
{
	(void)state;
	for (unsigned at_once = 0; at_once < 2; at_once++) {
		struct sending s;
		struct gap_row gaps[8];
		struct feed_row feed;
		sending_begin(&s, &one, at_once ? "eth1" : "eth0", 5);
		s.counts_at_once = at_once;
		land(send_block(&s, 10));
		land(send_loss(&s, 3, 100));
		s.lost_spool -= 100;
		land(send_block(&s, 10)); /* made before the drop */
		s.lost_spool += 100;
		land(send_block(&s, 10)); /* made after it */
		s.lost_spool += 11;
		land(send_block(&s, 10));
		MUST(store_land_commit(store));
		if (at_once)
			continue;
		assert_int_equal(gaps_read(gaps, 8), 2);
		assert_int_equal(gaps[0].records, 100);
		assert_int_equal(gaps[1].records, 11);
		feed_read(&feed);
		assert_int_equal(feed_lost(&feed, GAP_SPOOL), 111);
		assert_int_equal(feed.ahead_spool, 0);
	}
	merge();
	struct gap_row all[8];
	assert_int_equal(gaps_read(all, 8), 2); /* joined: within seconds of each other */
	assert_int_equal(all[0].records, 111);
	assert_int_equal(all[1].records, 111);
	is_in_order();
}

/* What a report told of an epoch that no parcel ends is kept when parcels of the next one are merged. */
static void
an_epochs_end_keeps_its_report(void **state)
{
	(void)state;
	struct sending s;
	struct gap_row gaps[8];
	struct feed_row feed;
	struct rebuild_report rebuilt;
	sending_begin(&s, &one, "eth0", 5);
	land(send_block(&s, 10));
	merge();
	s.lost_interface = 9;
	assert_true(report_now(&s));
	MUST(store_land_commit(store));
	sending_begin(&s, &one, "eth0", 6);
	s.lost_interface = 2;
	land(send_block(&s, 10));
	merge();
	for (unsigned i = 0; i < 2; i++) {
		feed_read(&feed);
		assert_int_equal(feed.past_interface, 9);
		assert_int_equal(feed.lost_interface, 2);
		assert_int_equal(gaps_read(gaps, 8), 2);
		is_in_order();
		store_close(&store);
		MUST(rebuild_run(dir, NULL, NULL, NULL, &rebuilt));
		MUST(store_open(&store, dir, NULL));
	}
}

static enum err
put_gap(struct catalogue *c, void *arg)
{
	return catalogue_put_gap(c, arg);
}

static void
fsck_notices_a_gap_too_many(void **state)
{
	(void)state;
	struct sending s;
	struct gap_row gaps[4];
	struct fsck_report report;
	sending_begin(&s, &one, "eth0", 5);
	s.lost_kernel = 1;
	land(send_block(&s, 10));
	MUST(store_land_commit(store));
	merge();
	assert_int_equal(gaps_read(gaps, 4), 1);
	struct catalogue *c = archive_catalogue(store_archive(store));
	struct gap_row more = gaps[0];
	more.sequence = 2;
	MUST(catalogue_update(c, put_gap, &more));
	store_close(&store);
	MUST(fsck_run(dir, NULL, &(struct fsck_options){ .quick = true }, &report));
	assert_int_equal(report.faults, 1);
	MUST(fsck_run(dir, NULL, &(struct fsck_options){ .quick = true, .repair = true }, &report));
	MUST(store_open(&store, dir, NULL));
	is_in_order();
	assert_int_equal(gaps_read(gaps, 4), 1);
}

/* --- in any order --- */

struct monitor {
	struct sending s;
	uint64_t past[FEED_GAPS_MAX]; /* of epochs that are over, as the archive knows them */
	uint64_t behind;              /* dropped, and not in the counters of parcels that were made before the drop */
	unsigned behind_parcels;
	bool     certain;             /* the archive knows all that was lost so far */
};

static uint64_t *
counter(struct monitor *m, unsigned i)
{
	uint64_t *v[FEED_GAPS_MAX] = { &m->s.lost_kernel, &m->s.lost_interface, &m->s.lost_spool, &m->s.lost_policy };
	return v[i];
}

static void
parcel(struct monitor *m)
{
	uint64_t behind = m->behind_parcels ? m->behind : 0;
	if (behind)
		m->behind_parcels--;
	m->s.lost_spool -= behind;
	land(send_block(&m->s, 1 + (uint32_t)below(40)));
	m->s.lost_spool += behind;
	if (m->behind_parcels == 0)
		m->behind = 0;
	m->certain = behind == 0;
}

static void
drop(struct monitor *m)
{
	uint64_t records = 1 + below(200), behind = m->s.counts_at_once ? 0 : m->behind;
	m->s.lost_spool -= behind;
	land(send_loss(&m->s, 1 + (uint32_t)below(5), records));
	m->s.lost_spool += behind;
	m->behind += records;
	m->behind_parcels = (unsigned)below(4);
	if (m->behind_parcels == 0)
		m->behind = 0;
	m->certain = false;
}

static void
epoch(struct monitor *m)
{
	static const enum gap_cause causes[FEED_GAPS_MAX] = { GAP_KERNEL, GAP_INTERFACE, GAP_SPOOL, GAP_POLICY };
	struct feed_row feed;
	MUST(store_land_commit(store));
	feed_read(&feed);
	for (unsigned i = 0; i < FEED_GAPS_MAX; i++) {
		uint64_t knows = feed_lost(&feed, causes[i]), lost = m->past[i] + *counter(m, i);
		assert_true(m->certain ? knows == lost : knows <= lost);
		m->past[i] = knows;
	}
	uint64_t next_ns = m->s.next_ns;
	sending_begin(&m->s, &one, "eth0", m->s.epoch + 1 + below(3));
	m->s.next_ns = next_ns;
	m->s.counts_at_once = below(2);
	m->behind = m->behind_parcels = 0;
	parcel(m);
}

static void
rebuild(struct monitor *m)
{
	struct rebuild_report rebuilt;
	merge();
	store_close(&store);
	MUST(rebuild_run(dir, NULL, NULL, NULL, &rebuilt));
	MUST(store_open(&store, dir, NULL));
	m->certain = false; /* what only a report told is told again */
}

static void
settled(struct monitor *m)
{
	static const enum gap_cause causes[FEED_GAPS_MAX] = { GAP_KERNEL, GAP_INTERFACE, GAP_SPOOL, GAP_POLICY };
	struct feed_row feed;
	(void)report_now(&m->s);
	MUST(store_land_commit(store));
	m->certain = true;
	feed_read(&feed);
	for (unsigned i = 0; i < FEED_GAPS_MAX; i++)
		assert_int_equal(feed_lost(&feed, causes[i]), m->past[i] + *counter(m, i));
}

static void
step(struct monitor *m)
{
	uint64_t what = below(100);
	if (what < 35) {
		*counter(m, (unsigned)below(FEED_GAPS_MAX)) += 1 + below(50);
		m->certain = false;
	} else if (what < 70) {
		parcel(m);
	} else if (what < 76) {
		drop(m);
	} else if (what < 82) {
		MUST(store_land_commit(store));
	} else if (what < 90 && m->behind == 0) {
		settled(m);
	} else if (what < 93) {
		merge();
	} else if (what < 96) {
		store_close(&store); /* what was not committed was acknowledged to nobody */
		MUST(store_open(&store, dir, NULL));
	} else if (what < 98) {
		epoch(m);
	} else if (below(4) == 0) {
		rebuild(m);
	}
	m->s.next_ns += below(3) == 0 ? below(200000000000u) : 0;
}

static void
gaps_and_counters_agree_in_any_order(void **state)
{
	(void)state;
	const char *asked = getenv("LOSSES_ROUNDS");
	unsigned long rounds = asked ? strtoul(asked, NULL, 10) : 8;
	for (unsigned round = 0; round < rounds; round++) {
		struct monitor m = { .certain = true };
		chance = 0x9e3779b97f4a7c15u * (round + 1);
		sending_begin(&m.s, &one, "eth0", 1 + round * 1000u);
		if (round) {
			struct feed_row feed;
			feed_read(&feed);
			m.past[0] = feed_lost(&feed, GAP_KERNEL);
			m.past[1] = feed_lost(&feed, GAP_INTERFACE);
			m.past[2] = feed_lost(&feed, GAP_SPOOL);
			m.past[3] = feed_lost(&feed, GAP_POLICY);
		}
		parcel(&m);
		for (unsigned i = 0; i < 200; i++) {
			step(&m);
			if (i % 50 == 49)
				is_in_order();
		}
		m.behind = 0;
		settled(&m);
		merge();
		is_in_order();
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)
	const struct CMUnitTest tests[] = {
		TEST(a_report_tells_what_was_lost_after_the_last_parcel),
		TEST(a_pushed_file_is_not_missing_until_today),
		TEST(a_loss_may_have_a_part_of_itself_in_its_counter),
		TEST(what_a_spool_dropped_is_missing_once),
		TEST(an_epochs_end_keeps_its_report),
		TEST(fsck_notices_a_gap_too_many),
		TEST(gaps_and_counters_agree_in_any_order),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	sender_release();
	return failed;
}
