/* What lands, and what does not: each parcel exactly once. */
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "index/fsck.h"
#include "index/rebuild.h"
#include "tests/support/make_archive.h"
#include "tests/support/sender.h"
#include "tests/support/unit.h"

static char top[PATH_BYTES], dir[PATH_BYTES];
static struct store *store;
static struct sender one, two;
static uint64_t now_ns;

static void
must(enum err e, int line)
{
	if (e != OK)
		print_message("# line %d: %s: %s\n", line, err_name(e), err_text());
	assert_int_equal(e, OK);
}
#define MUST(call) must(call, __LINE__)

static int
make(void **state)
{
	(void)state;
	scratch_make(top);
	MUST(io_path(dir, top, "a"));
	MUST(archive_init(dir, NULL));
	MUST(store_open(&store, dir, NULL));
	sender_open(&one, store, "one", 1);
	sender_open(&two, store, "two", 2);
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

static void
reopen(void)
{
	store_close(&store);
	MUST(store_open(&store, dir, NULL));
}

static enum landing_answer
land(const struct sender *m, const struct sent *p, struct feed_mark *mark)
{
	enum landing_answer answer;
	struct feed_mark m_;
	MUST(send_land(store, m, p, now_ns += 1000, &answer, mark ? mark : &m_));
	return answer;
}

static void
commit(void)
{
	MUST(store_land_commit(store));
}

/* Lands and forgets. */
static struct digest
give(const struct sender *m, struct sent *p)
{
	struct digest d = p->digest;
	assert_int_equal(land(m, p, NULL), LANDED);
	sent_free(&p);
	return d;
}

static void
holds(const char *stream, const struct digest *want, int line)
{
	struct digest have;
	MUST(archive_digest(store_archive(store), stream, 0, UINT64_MAX, &have, NULL));
	if (have.records != want->records || have.sum != want->sum)
		print_message("# line %d: %llu records, not %llu\n", line, (unsigned long long)have.records,
		              (unsigned long long)want->records);
	assert_int_equal(have.records, want->records);
	assert_int_equal(have.sum, want->sum);
}
#define HOLDS(stream, want) holds(stream, want, __LINE__)

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
	MUST(fsck_run(dir, NULL, &(struct fsck_options){ .see = print_fault }, &report));
	assert_int_equal(report.faults, 0);
	MUST(store_open(&store, dir, NULL));
}

static void
feed_of(const char *stream, struct feed_row *feed)
{
	struct catalogue *c = archive_catalogue(store_archive(store));
	struct stream_row row;
	MUST(catalogue_begin(c));
	MUST(catalogue_stream_named(c, stream, &row));
	MUST(catalogue_feed(c, row.id, false, feed));
	catalogue_end(c);
}

static unsigned
gaps_of(const char *stream, struct gap_row *gaps, unsigned most)
{
	struct catalogue *c = archive_catalogue(store_archive(store));
	struct stream_row row;
	struct gap_row gap = { 0 };
	unsigned n = 0;
	MUST(catalogue_begin(c));
	MUST(catalogue_stream_named(c, stream, &row));
	while (catalogue_next_gap(c, &gap) == OK)
		if (gap.stream == row.id && n < most)
			gaps[n++] = gap;
	catalogue_end(c);
	return n;
}

/* --- */

static void
what_landed_is_found_from_the_commit_on(void **state)
{
	(void)state;
	struct sending s, t;
	struct digest want = { 0 }, none = { 0 }, other;
	sending_begin(&s, &one, "eth0", 5);
	sending_begin(&t, &two, "eth0", 6);
	struct digest d = give(&one, send_block(&s, 10));
	digest_add(&want, &d);
	assert_true(store_landing_bytes(store) > 0);
	HOLDS("one/eth0", &none);
	commit();
	assert_int_equal(store_landing_bytes(store), 0);
	HOLDS("one/eth0", &want);
	other = give(&two, send_block(&t, 7));
	d = give(&one, send_block(&s, 20));
	digest_add(&want, &d);
	commit();
	commit(); /* nothing to do */
	HOLDS("one/eth0", &want);
	HOLDS("two/eth0", &other);
	is_in_order();
	HOLDS("one/eth0", &want);
	struct catalogue_totals totals;
	MUST(catalogue_begin(archive_catalogue(store_archive(store))));
	MUST(catalogue_sum(archive_catalogue(store_archive(store)), 0, &totals));
	catalogue_end(archive_catalogue(store_archive(store)));
	assert_int_equal(totals.records, 37);
	assert_int_equal(totals.landed_records, 37);
	assert_int_equal(totals.landed_blocks, 3);
	assert_int_equal(totals.segments, 0);
	assert_int_equal(totals.streams, 2);
}

static void
each_parcel_counts_once(void **state)
{
	(void)state;
	struct sending s;
	struct sent *p[6];
	struct digest want = { 0 };
	struct feed_mark mark;
	sending_begin(&s, &one, "eth0", 5);
	for (unsigned i = 0; i < 6; i++) {
		p[i] = send_block(&s, 5 + i);
		if (i < 5)
			digest_add(&want, &p[i]->digest);
	}
	MUST(store_mark(store, one.number, "eth0", &mark));
	assert_int_equal(mark.epoch, 0);
	assert_int_equal(land(&one, p[1], &mark), LANDED_NOT_NEXT);
	assert_int_equal(mark.sequence, 0);
	assert_int_equal(land(&one, p[0], &mark), LANDED);
	assert_int_equal(mark.sequence, 1);
	assert_int_equal(land(&one, p[0], &mark), LANDED_BEFORE); /* in the same group */
	assert_int_equal(mark.sequence, 1);
	assert_memory_equal(mark.chain, p[0]->p.self, sizeof mark.chain);
	assert_int_equal(land(&one, p[2], &mark), LANDED_NOT_NEXT);
	assert_int_equal(mark.sequence, 0); /* what is certain */
	MUST(store_mark(store, one.number, "eth0", &mark));
	assert_int_equal(mark.sequence, 0);
	commit();
	MUST(store_mark(store, one.number, "eth0", &mark));
	assert_int_equal(mark.sequence, 1);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(land(&one, p[i], &mark), i == 0 ? LANDED_BEFORE : LANDED);
		assert_int_equal(land(&one, p[i / 2], NULL), LANDED_BEFORE);
		assert_int_equal(mark.epoch, 5);
		if (i % 2)
			commit();
		if (i == 3)
			reopen();
	}
	commit();
	reopen();
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(land(&one, p[i], NULL), LANDED_BEFORE);
	HOLDS(NULL, &want);
	is_in_order();
	struct feed_row feed;
	feed_of("one/eth0", &feed);
	assert_int_equal(feed.parcels, 5);
	assert_int_equal(feed.records, want.records);
	assert_int_equal(feed.monitor, one.number);
	assert_memory_equal(feed.chain, p[4]->p.self, sizeof feed.chain);
	for (unsigned i = 0; i < 6; i++)
		sent_free(&p[i]);
}

static void
another_parcel_in_the_same_place_is_a_fork(void **state)
{
	(void)state;
	struct sending s, copy;
	struct feed_mark mark;
	struct digest want = { 0 }, d;
	sending_begin(&s, &one, "eth0", 5);
	d = give(&one, send_block(&s, 5));
	digest_add(&want, &d);
	copy = s;
	d = give(&one, send_block(&s, 6));
	digest_add(&want, &d);
	struct sent *fork = send_block(&copy, 7), *behind = send_block(&copy, 8);
	assert_int_equal(land(&one, fork, &mark), LANDED_FORK);
	assert_int_equal(land(&one, behind, &mark), LANDED_FORK); /* its `previous` is another */
	commit();
	assert_int_equal(land(&one, fork, &mark), LANDED_FORK);
	assert_int_equal(mark.sequence, 2);
	sent_free(&fork), sent_free(&behind);
	struct sending later;
	sending_begin(&later, &one, "eth0", 6);
	memset(later.previous, 1, sizeof later.previous);
	fork = send_block(&later, 1);
	assert_int_equal(land(&one, fork, NULL), LANDED_FORK); /* the first of an epoch has none before */
	sent_free(&fork);
	HOLDS(NULL, &want);
}

static void
a_larger_epoch_begins_a_new_chain(void **state)
{
	(void)state;
	struct sending s, later;
	struct digest want = { 0 }, d;
	struct feed_mark mark;
	struct feed_row feed;
	sending_begin(&s, &one, "eth0", 5);
	s.lost_kernel = 3;
	d = give(&one, send_block(&s, 5));
	digest_add(&want, &d);
	struct sent *old = send_block(&s, 6);
	sending_begin(&later, &one, "eth0", 9);
	later.lost_kernel = 4;
	struct sent *first = send_block(&later, 7), *second = send_block(&later, 8);
	assert_int_equal(land(&one, second, NULL), LANDED_NOT_NEXT);
	assert_int_equal(land(&one, first, &mark), LANDED);
	digest_add(&want, &first->digest);
	assert_int_equal(mark.epoch, 9);
	assert_int_equal(land(&one, old, &mark), LANDED_NOT_NEXT);
	assert_int_equal(land(&one, second, &mark), LANDED);
	digest_add(&want, &second->digest);
	commit();
	reopen();
	assert_int_equal(land(&one, old, &mark), LANDED_NOT_NEXT);
	assert_int_equal(mark.epoch, 9);
	assert_int_equal(mark.sequence, 2);
	feed_of("one/eth0", &feed);
	assert_int_equal(feed.past_kernel, 3);
	assert_int_equal(feed.lost_kernel, 4);
	HOLDS(NULL, &want);
	is_in_order();
	sent_free(&old), sent_free(&first), sent_free(&second);
}

static void
losses_become_gaps(void **state)
{
	(void)state;
	struct sending s;
	struct gap_row gaps[8];
	struct feed_row feed;
	struct digest want = { 0 }, d;
	sending_begin(&s, &one, "eth0", 5);
	d = give(&one, send_block(&s, 5));
	digest_add(&want, &d);
	s.lost_kernel = 10;
	s.lost_policy = 20;
	struct sent *p = send_block(&s, 6);
	d = p->digest;
	uint64_t from = 5 * 1000000000000u + 4000, until = p->p.last_ns;
	give(&one, p);
	digest_add(&want, &d);
	struct sent *loss = send_loss(&s, 3, 100);
	uint64_t loss_first = loss->p.first_ns, loss_last = loss->p.last_ns;
	assert_int_equal(loss->p.from_sequence, 3);
	assert_int_equal(land(&one, loss, NULL), LANDED);
	assert_int_equal(land(&one, loss, NULL), LANDED_BEFORE);
	sent_free(&loss);
	s.lost_interface = 1;
	d = give(&one, send_block(&s, 7));
	digest_add(&want, &d);
	commit();
	HOLDS(NULL, &want);
	assert_int_equal(gaps_of("one/eth0", gaps, 8), 4);
	assert_int_equal(gaps[0].cause, GAP_KERNEL);
	assert_int_equal(gaps[0].sequence, 2);
	assert_int_equal(gaps[0].records, 10);
	assert_int_equal(gaps[0].first_ns, from);
	assert_int_equal(gaps[0].last_ns, until);
	assert_int_equal(gaps[1].cause, GAP_POLICY);
	assert_int_equal(gaps[1].records, 20);
	assert_int_equal(gaps[2].cause, GAP_SPOOL);
	assert_int_equal(gaps[2].sequence, 5);
	assert_int_equal(gaps[2].records, 100);
	assert_int_equal(gaps[2].first_ns, loss_first);
	assert_int_equal(gaps[2].last_ns, loss_last);
	assert_int_equal(gaps[3].cause, GAP_INTERFACE);
	assert_int_equal(gaps[3].sequence, 6);
	feed_of("one/eth0", &feed);
	assert_int_equal(feed.lost_kernel, 10);
	assert_int_equal(feed.lost_interface, 1);
	assert_int_equal(feed.lost_spool, 100);
	assert_int_equal(feed.lost_policy, 20);
	assert_int_equal(feed.parcels, 4);
	is_in_order();
}

static void
streams_are_the_monitors_own(void **state)
{
	(void)state;
	struct sending s;
	struct sent *p;
	enum landing_answer answer;
	struct feed_mark mark;
	sending_begin(&s, &one, "two/eth0", 5); /* becomes one/two/eth0 */
	struct digest d = give(&one, send_block(&s, 5));
	commit();
	HOLDS("one/two/eth0", &d);
	sending_begin(&s, &one, "bad\nname", 5);
	p = send_block(&s, 5);
	assert_int_equal(send_land(store, &one, p, 1, &answer, &mark), ERR_USAGE);
	sent_free(&p);
	memset(s.stream, 'x', sizeof s.stream - 1); /* too long with the monitor's name before it */
	sending_begin(&s, &one, "", 5);
	memset(s.stream, 'x', sizeof s.stream - 1);
	p = send_block(&s, 5);
	assert_int_equal(send_land(store, &one, p, 1, &answer, &mark), ERR_USAGE);
	sent_free(&p);
	sending_begin(&s, &one, "eth1", 5); /* and it goes on */
	d = give(&one, send_block(&s, 5));
	commit();
	HOLDS("one/eth1", &d);
}

static uint64_t
file_bytes(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static void
a_full_disk_takes_back_what_did_not_land(void **state)
{
	(void)state;
	struct sending s;
	struct digest want, d;
	enum landing_answer answer;
	struct feed_mark mark;
	struct landing_row row = { 0 };
	char path[PATH_BYTES];
	sending_begin(&s, &one, "eth0", 5);
	want = give(&one, send_block(&s, 20000));
	commit();
	MUST(catalogue_begin(archive_catalogue(store_archive(store))));
	MUST(catalogue_next_landing(archive_catalogue(store_archive(store)), &row));
	catalogue_end(archive_catalogue(store_archive(store)));
	MUST(archive_landing_path(store_archive(store), row.id, path));
	uint64_t before = file_bytes(path);
	assert_int_equal(before, row.bytes);
	struct sent *p = send_block(&s, 20000);
	struct rlimit limit = { before + 1000, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(send_land(store, &one, p, ++now_ns, &answer, &mark), ERR_FULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	assert_int_equal(file_bytes(path), before);
	HOLDS(NULL, &want);
	assert_int_equal(land(&one, p, NULL), LANDED); /* there is room again */
	digest_add(&want, &p->digest);
	sent_free(&p);
	d = give(&one, send_block(&s, 3));
	digest_add(&want, &d);
	commit();
	HOLDS(NULL, &want);
	is_in_order();
	HOLDS(NULL, &want);
}

static void
what_was_not_committed_is_taken_up_or_comes_again(void **state)
{
	(void)state;
	struct sending s;
	struct digest want, d;
	sending_begin(&s, &one, "eth0", 5);
	want = give(&one, send_block(&s, 10));
	commit();
	struct sent *p = send_block(&s, 11);
	assert_int_equal(land(&one, p, NULL), LANDED);
	reopen(); /* without a commit: written, and so taken up */
	digest_add(&want, &p->digest);
	HOLDS(NULL, &want);
	assert_int_equal(land(&one, p, NULL), LANDED_BEFORE);
	sent_free(&p);
	d = give(&one, send_block(&s, 12));
	digest_add(&want, &d);
	commit();
	HOLDS(NULL, &want);
	is_in_order();
}

/* The landing file is cut at every byte of what was not committed. */
static void
a_torn_tail_is_cut_off(void **state)
{
	(void)state;
	struct sending s;
	struct sent *p[3];
	struct digest base;
	char path[PATH_BYTES], copy[PATH_BYTES], copy_file[PATH_BYTES];
	sending_begin(&s, &one, "eth0", 5);
	base = give(&one, send_block(&s, 10));
	commit();
	MUST(io_path(path, dir, "landing/%016x.land", 1));
	uint64_t ends[4] = { file_bytes(path) };
	for (unsigned i = 0; i < 3; i++) {
		p[i] = i == 1 ? send_loss(&s, 2, 5) : send_block(&s, 10 + i);
		assert_int_equal(land(&one, p[i], NULL), LANDED);
		ends[i + 1] = file_bytes(path);
	}
	store_close(&store);
	MUST(io_path(copy, top, "copy"));
	MUST(io_path(copy_file, copy, "landing/%016x.land", 1));
	for (uint64_t cut = ends[0]; cut <= ends[3]; cut += cut + 7 < ends[3] ? 7 : 1) {
		struct digest want = base;
		unsigned whole = 0;
		scratch_copy(dir, copy);
		/* the archive above was opened and closed after: what it has applied is nothing of the tail */
		assert_int_equal(truncate(copy_file, (off_t)cut), 0);
		MUST(store_open(&store, copy, NULL));
		for (; whole < 3 && ends[whole + 1] <= cut; whole++)
			digest_add(&want, &p[whole]->digest);
		HOLDS(NULL, &want);
		assert_int_equal(file_bytes(copy_file), ends[whole]);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(land(&one, p[i], NULL), i < whole ? LANDED_BEFORE : LANDED);
			if (i >= whole)
				digest_add(&want, &p[i]->digest);
		}
		commit();
		HOLDS(NULL, &want);
		store_close(&store);
		scratch_remove(copy);
	}
	for (unsigned i = 0; i < 3; i++)
		sent_free(&p[i]);
	MUST(store_open(&store, dir, NULL));
}

/* Two monitors with two streams each; parcels come in a random order, some twice, some too early, and the archive is opened
 * anew in between. */
static void
any_order_of_arrival_comes_to_the_same(void **state)
{
	(void)state;
	enum { STREAMS = 4, PARCELS = 12 };
	struct sending s[STREAMS];
	struct sent *p[STREAMS][PARCELS];
	struct digest want = { 0 };
	unsigned at[STREAMS] = { 0 }, done = 0;
	for (unsigned i = 0; i < STREAMS; i++)
		for (unsigned k = 0; k < PARCELS; k++) {
			if (k == 0)
				sending_begin(&s[i], i % 2 ? &one : &two, i / 2 ? "a" : "b", 5 + i);
			if (k == 7)
				sending_begin(&s[i], i % 2 ? &one : &two, i / 2 ? "a" : "b", 50 + i);
			s[i].lost_kernel += k % 3;
			p[i][k] = k % 5 == 4 ? send_loss(&s[i], 2, 9) : send_block(&s[i], 1 + k);
			digest_add(&want, &p[i][k]->digest);
		}
	uint32_t dice = 1;
	while (done < STREAMS) {
		dice = dice * 1664525 + 1013904223;
		unsigned i = dice >> 30, k = (dice >> 20) % PARCELS;
		enum landing_answer answer = land(i % 2 ? &one : &two, p[i][k], NULL);
		if (k == at[i]) {
			assert_int_equal(answer, LANDED);
			done += ++at[i] == PARCELS;
		} else if (k > at[i]) {
			if (k == 7) { /* an epoch may begin before the one before it is over */
				assert_int_equal(answer, LANDED);
				for (; at[i] < 7; at[i]++) { /* then the rest of that is refused */
					want.records -= p[i][at[i]]->digest.records;
					want.sum -= p[i][at[i]]->digest.sum;
				}
				at[i]++;
			} else {
				assert_int_equal(answer, LANDED_NOT_NEXT);
			}
		} else {
			assert_true(answer == (k < 7 && at[i] > 7 ? LANDED_NOT_NEXT : LANDED_BEFORE));
		}
		if (dice % 64 < 20)
			commit();
		if (dice % 64 == 63)
			reopen();
	}
	commit();
	HOLDS(NULL, &want);
	is_in_order();
	char *before, *after;
	struct rebuild_report report;
	store_close(&store);
	before = test_archive_dump(dir, NULL);
	MUST(rebuild_run(dir, NULL, print_fault, NULL, &report));
	after = test_archive_dump(dir, NULL);
	assert_string_equal(before, after);
	free(before), free(after);
	MUST(store_open(&store, dir, NULL));
	HOLDS(NULL, &want);
	for (unsigned i = 0; i < STREAMS; i++)
		for (unsigned k = 0; k < PARCELS; k++)
			sent_free(&p[i][k]);
}

static void
no_monitor_uses_up_the_numbers_of_streams(void **state)
{
	(void)state;
	struct sending s;
	struct feed_mark mark;
	char name[16];
	for (unsigned i = 0; i <= MONITOR_STREAMS_MAX; i++) {
		snprintf(name, sizeof name, "s%u", i);
		sending_begin(&s, &one, name, 5);
		struct sent *p = send_block(&s, 1);
		assert_int_equal(land(&one, p, &mark), i < MONITOR_STREAMS_MAX ? LANDED : LANDED_QUOTA);
		sent_free(&p);
	}
	sending_begin(&s, &two, "s0", 5);
	(void)give(&two, send_block(&s, 1));
	commit();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int
main(void)
{
	if (sodium_init() < 0)
		return 1;
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 0);
	const struct CMUnitTest tests[] = {
		TEST(what_landed_is_found_from_the_commit_on),
		TEST(each_parcel_counts_once),
		TEST(another_parcel_in_the_same_place_is_a_fork),
		TEST(a_larger_epoch_begins_a_new_chain),
		TEST(losses_become_gaps),
		TEST(streams_are_the_monitors_own),
		TEST(no_monitor_uses_up_the_numbers_of_streams),
		TEST(a_full_disk_takes_back_what_did_not_land),
		TEST(what_was_not_committed_is_taken_up_or_comes_again),
		TEST(a_torn_tail_is_cut_off),
		TEST(any_order_of_arrival_comes_to_the_same),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	sender_release();
	return failed;
}
