/* What lands, and what does not: each parcel exactly once. */
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "index/fsck.h"
#include "index/rebuild.h"
#include "tests/support/site.h"
#include "tests/support/unit.h"

/* In place of libc's: which landing files were made durable? */
static unsigned landings_synced;

int
fdatasync(int fd)
{
	char link[64], path[PATH_BYTES];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, sizeof path - 1);
	path[n < 0 ? 0 : n] = 0;
	landings_synced += strstr(path, "/landing/") != NULL;
	return (int)syscall(SYS_fdatasync, fd);
}

static void
feed_of(const char *stream, struct feed_row *feed)
{
	struct catalogue *c = archive_catalogue(store_archive(site.store));
	struct stream_row row;
	MUST(catalogue_begin(c));
	MUST(catalogue_stream_named(c, stream, &row));
	MUST(catalogue_feed(c, row.id, false, feed));
	catalogue_end(c);
}

static unsigned
gaps_of(const char *stream, struct gap_row *gaps, unsigned most)
{
	struct catalogue *c = archive_catalogue(store_archive(site.store));
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
	struct digest want = { 0 }, none = { 0 }, other = { 0 };
	sending_begin(&s, &site.one, "eth0", 5);
	sending_begin(&t, &site.two, "eth0", 6);
	site_give(&site.one, send_block(&s, 10), &want);
	assert_true(store_landing_bytes(site.store) > 0);
	SITE_HOLDS("one/eth0", &none);
	site_commit();
	assert_int_equal(store_landing_bytes(site.store), 0);
	SITE_HOLDS("one/eth0", &want);
	site_give(&site.two, send_block(&t, 7), &other);
	site_give(&site.one, send_block(&s, 20), &want);
	site_commit();
	site_commit(); /* nothing to do */
	SITE_HOLDS("one/eth0", &want);
	SITE_HOLDS("two/eth0", &other);
	site_is_in_order();
	SITE_HOLDS("one/eth0", &want);
	struct catalogue_totals totals;
	MUST(catalogue_begin(archive_catalogue(store_archive(site.store))));
	MUST(catalogue_sum(archive_catalogue(store_archive(site.store)), 0, &totals));
	catalogue_end(archive_catalogue(store_archive(site.store)));
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
	sending_begin(&s, &site.one, "eth0", 5);
	for (unsigned i = 0; i < 6; i++) {
		p[i] = send_block(&s, 5 + i);
		if (i < 5)
			digest_add(&want, &p[i]->digest);
	}
	MUST(store_mark(site.store, site.one.number, "eth0", &mark));
	assert_int_equal(mark.epoch, 0);
	assert_int_equal(site_land(&site.one, p[1], &mark), LANDED_NOT_NEXT);
	assert_int_equal(mark.sequence, 0);
	assert_int_equal(site_land(&site.one, p[0], &mark), LANDED);
	assert_int_equal(mark.sequence, 1);
	assert_int_equal(site_land(&site.one, p[0], &mark), LANDED_BEFORE); /* in the same group */
	assert_int_equal(mark.sequence, 1);
	assert_memory_equal(mark.chain, p[0]->p.self, sizeof mark.chain);
	assert_int_equal(site_land(&site.one, p[2], &mark), LANDED_NOT_NEXT);
	assert_int_equal(mark.sequence, 0); /* what is certain */
	MUST(store_mark(site.store, site.one.number, "eth0", &mark));
	assert_int_equal(mark.sequence, 0);
	site_commit();
	MUST(store_mark(site.store, site.one.number, "eth0", &mark));
	assert_int_equal(mark.sequence, 1);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(site_land(&site.one, p[i], &mark), i == 0 ? LANDED_BEFORE : LANDED);
		assert_int_equal(site_land(&site.one, p[i / 2], NULL), LANDED_BEFORE);
		assert_int_equal(mark.epoch, 5);
		if (i % 2)
			site_commit();
		if (i == 3)
			site_reopen();
	}
	site_commit();
	site_reopen();
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(site_land(&site.one, p[i], NULL), LANDED_BEFORE);
	SITE_HOLDS(NULL, &want);
	site_is_in_order();
	struct feed_row feed;
	feed_of("one/eth0", &feed);
	assert_int_equal(feed.parcels, 5);
	assert_int_equal(feed.records, want.records);
	assert_int_equal(feed.monitor, site.one.number);
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
	struct digest want = { 0 };
	sending_begin(&s, &site.one, "eth0", 5);
	site_give(&site.one, send_block(&s, 5), &want);
	copy = s;
	site_give(&site.one, send_block(&s, 6), &want);
	struct sent *fork = send_block(&copy, 7), *behind = send_block(&copy, 8);
	assert_int_equal(site_land(&site.one, fork, &mark), LANDED_FORK);
	assert_int_equal(site_land(&site.one, behind, &mark), LANDED_FORK); /* its `previous` is another */
	site_commit();
	assert_int_equal(site_land(&site.one, fork, &mark), LANDED_FORK);
	assert_int_equal(mark.sequence, 2);
	sent_free(&fork), sent_free(&behind);
	struct sending later;
	sending_begin(&later, &site.one, "eth0", 6);
	memset(later.previous, 1, sizeof later.previous);
	fork = send_block(&later, 1);
	assert_int_equal(site_land(&site.one, fork, NULL), LANDED_FORK); /* the first of an epoch has none before */
	sent_free(&fork);
	SITE_HOLDS(NULL, &want);
}

static void
a_larger_epoch_begins_a_new_chain(void **state)
{
	(void)state;
	struct sending s, later;
	struct digest want = { 0 };
	struct feed_mark mark;
	struct feed_row feed;
	sending_begin(&s, &site.one, "eth0", 5);
	s.lost_kernel = 3;
	site_give(&site.one, send_block(&s, 5), &want);
	struct sent *old = send_block(&s, 6);
	sending_begin(&later, &site.one, "eth0", 9);
	later.lost_kernel = 4;
	struct sent *first = send_block(&later, 7), *second = send_block(&later, 8);
	assert_int_equal(site_land(&site.one, second, NULL), LANDED_NOT_NEXT);
	assert_int_equal(site_land(&site.one, first, &mark), LANDED);
	digest_add(&want, &first->digest);
	assert_int_equal(mark.epoch, 9);
	assert_int_equal(site_land(&site.one, old, &mark), LANDED_NOT_NEXT);
	assert_int_equal(site_land(&site.one, second, &mark), LANDED);
	digest_add(&want, &second->digest);
	site_commit();
	site_reopen();
	assert_int_equal(site_land(&site.one, old, &mark), LANDED_NOT_NEXT);
	assert_int_equal(mark.epoch, 9);
	assert_int_equal(mark.sequence, 2);
	feed_of("one/eth0", &feed);
	assert_int_equal(feed.past_kernel, 3);
	assert_int_equal(feed.lost_kernel, 4);
	SITE_HOLDS(NULL, &want);
	site_is_in_order();
	sent_free(&old), sent_free(&first), sent_free(&second);
}

static void
losses_become_gaps(void **state)
{
	(void)state;
	struct sending s;
	struct gap_row gaps[8];
	struct feed_row feed;
	struct digest want = { 0 };
	sending_begin(&s, &site.one, "eth0", 5);
	site_give(&site.one, send_block(&s, 5), &want);
	s.lost_kernel = 10;
	s.lost_policy = 20;
	struct sent *p = send_block(&s, 6);
	uint64_t from = 5 * 1000000000000u + 4000, until = p->p.last_ns;
	site_give(&site.one, p, &want);
	struct sent *loss = send_loss(&s, 3, 100);
	uint64_t loss_first = loss->p.first_ns, loss_last = loss->p.last_ns;
	assert_int_equal(loss->p.from_sequence, 3);
	assert_int_equal(site_land(&site.one, loss, NULL), LANDED);
	assert_int_equal(site_land(&site.one, loss, NULL), LANDED_BEFORE);
	sent_free(&loss);
	s.lost_interface = 1;
	site_give(&site.one, send_block(&s, 7), &want);
	site_commit();
	SITE_HOLDS(NULL, &want);
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
	site_is_in_order();
}

static void
streams_are_the_monitors_own(void **state)
{
	(void)state;
	struct digest of_two = { 0 }, of_eth1 = { 0 };
	struct sending s;
	struct sent *p;
	enum landing_answer answer;
	struct feed_mark mark;
	sending_begin(&s, &site.one, "two/eth0", 5); /* becomes one/two/eth0 */
	site_give(&site.one, send_block(&s, 5), &of_two);
	site_commit();
	SITE_HOLDS("one/two/eth0", &of_two);
	sending_begin(&s, &site.one, "bad\nname", 5);
	p = send_block(&s, 5);
	assert_int_equal(send_land(site.store, &site.one, p, 1, &answer, &mark), ERR_USAGE);
	sent_free(&p);
	memset(s.stream, 'x', sizeof s.stream - 1); /* too long with the monitor's name before it */
	sending_begin(&s, &site.one, "", 5);
	memset(s.stream, 'x', sizeof s.stream - 1);
	p = send_block(&s, 5);
	assert_int_equal(send_land(site.store, &site.one, p, 1, &answer, &mark), ERR_USAGE);
	sent_free(&p);
	sending_begin(&s, &site.one, "eth1", 5); /* and it goes on */
	site_give(&site.one, send_block(&s, 5), &of_eth1);
	site_commit();
	SITE_HOLDS("one/eth1", &of_eth1);
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
	struct digest want = { 0 };
	enum landing_answer answer;
	struct feed_mark mark;
	struct landing_row row = { 0 };
	char path[PATH_BYTES];
	sending_begin(&s, &site.one, "eth0", 5);
	site_give(&site.one, send_block(&s, 20000), &want);
	site_commit();
	MUST(catalogue_begin(archive_catalogue(store_archive(site.store))));
	MUST(catalogue_next_landing(archive_catalogue(store_archive(site.store)), &row));
	catalogue_end(archive_catalogue(store_archive(site.store)));
	MUST(archive_landing_path(store_archive(site.store), row.id, path));
	uint64_t before = file_bytes(path);
	assert_int_equal(before, row.bytes);
	struct sent *p = send_block(&s, 20000);
	struct rlimit limit = { before + 1000, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(send_land(site.store, &site.one, p, ++site.now_ns, &answer, &mark), ERR_FULL);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	assert_int_equal(file_bytes(path), before);
	SITE_HOLDS(NULL, &want);
	assert_int_equal(site_land(&site.one, p, NULL), LANDED); /* there is room again */
	digest_add(&want, &p->digest);
	sent_free(&p);
	site_give(&site.one, send_block(&s, 3), &want);
	site_commit();
	SITE_HOLDS(NULL, &want);
	site_is_in_order();
	SITE_HOLDS(NULL, &want);
}

static void
what_was_not_committed_is_taken_up_or_comes_again(void **state)
{
	(void)state;
	struct sending s;
	struct digest want = { 0 };
	sending_begin(&s, &site.one, "eth0", 5);
	site_give(&site.one, send_block(&s, 10), &want);
	site_commit();
	struct sent *p = send_block(&s, 11);
	assert_int_equal(site_land(&site.one, p, NULL), LANDED);
	site_reopen(); /* without a commit: written, and so taken up */
	digest_add(&want, &p->digest);
	SITE_HOLDS(NULL, &want);
	assert_int_equal(site_land(&site.one, p, NULL), LANDED_BEFORE);
	sent_free(&p);
	site_give(&site.one, send_block(&s, 12), &want);
	site_commit();
	SITE_HOLDS(NULL, &want);
	site_is_in_order();
}

/* The landing file is cut at every byte of what was not committed. */
/* Whoever wrote it was killed: it lies in the kernel's memory, and a collector forgets it once the mark counts it. */
static void
a_tail_is_durable_before_it_counts(void **state)
{
	(void)state;
	struct sending s;
	struct feed_mark mark;
	sending_begin(&s, &site.one, "eth0", 5);
	site_give(&site.one, send_block(&s, 1), NULL);
	site_commit();
	site_give(&site.one, send_block(&s, 1), NULL);
	unsigned before = landings_synced;
	site_reopen();
	MUST(store_mark(site.store, site.one.number, "eth0", &mark));
	assert_int_equal(mark.sequence, 2);
	assert_int_equal(landings_synced, before + 1);
	site_reopen();
	assert_int_equal(landings_synced, before + 1);
}

static void
a_torn_tail_is_cut_off(void **state)
{
	(void)state;
	struct sending s;
	struct sent *p[3];
	struct digest base = { 0 };
	char path[PATH_BYTES], copy[PATH_BYTES], copy_file[PATH_BYTES];
	sending_begin(&s, &site.one, "eth0", 5);
	site_give(&site.one, send_block(&s, 10), &base);
	site_commit();
	MUST(io_path(path, site.dir, "landing/%016x.land", 1));
	uint64_t ends[4] = { file_bytes(path) };
	for (unsigned i = 0; i < 3; i++) {
		p[i] = i == 1 ? send_loss(&s, 2, 5) : send_block(&s, 10 + i);
		assert_int_equal(site_land(&site.one, p[i], NULL), LANDED);
		ends[i + 1] = file_bytes(path);
	}
	store_close(&site.store);
	MUST(io_path(copy, site.top, "copy"));
	MUST(io_path(copy_file, copy, "landing/%016x.land", 1));
	for (uint64_t cut = ends[0]; cut <= ends[3]; cut += cut + 7 < ends[3] ? 7 : 1) {
		struct digest want = base;
		unsigned whole = 0;
		scratch_copy(site.dir, copy);
		/* the archive above was opened and closed after: what it has applied is nothing of the tail */
		assert_int_equal(truncate(copy_file, (off_t)cut), 0);
		MUST(store_open(&site.store, copy, NULL));
		for (; whole < 3 && ends[whole + 1] <= cut; whole++)
			digest_add(&want, &p[whole]->digest);
		SITE_HOLDS(NULL, &want);
		assert_int_equal(file_bytes(copy_file), ends[whole]);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(site_land(&site.one, p[i], NULL), i < whole ? LANDED_BEFORE : LANDED);
			if (i >= whole)
				digest_add(&want, &p[i]->digest);
		}
		site_commit();
		SITE_HOLDS(NULL, &want);
		store_close(&site.store);
		scratch_remove(copy);
	}
	for (unsigned i = 0; i < 3; i++)
		sent_free(&p[i]);
	MUST(store_open(&site.store, site.dir, NULL));
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
				sending_begin(&s[i], i % 2 ? &site.one : &site.two, i / 2 ? "a" : "b", 5 + i);
			if (k == 7)
				sending_begin(&s[i], i % 2 ? &site.one : &site.two, i / 2 ? "a" : "b", 50 + i);
			s[i].lost_kernel += k % 3;
			p[i][k] = k % 5 == 4 ? send_loss(&s[i], 2, 9) : send_block(&s[i], 1 + k);
			digest_add(&want, &p[i][k]->digest);
		}
	uint32_t dice = 1;
	while (done < STREAMS) {
		dice = dice * 1664525 + 1013904223;
		unsigned i = dice >> 30, k = (dice >> 20) % PARCELS;
		enum landing_answer answer = site_land(i % 2 ? &site.one : &site.two, p[i][k], NULL);
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
			site_commit();
		if (dice % 64 == 63)
			site_reopen();
	}
	site_commit();
	SITE_HOLDS(NULL, &want);
	site_is_in_order();
	SITE_HOLDS(NULL, &want);
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
		sending_begin(&s, &site.one, name, 5);
		struct sent *p = send_block(&s, 1);
		assert_int_equal(site_land(&site.one, p, &mark), i < MONITOR_STREAMS_MAX ? LANDED : LANDED_QUOTA);
		sent_free(&p);
	}
	sending_begin(&s, &site.two, "s0", 5);
	site_give(&site.two, send_block(&s, 1), NULL);
	site_commit();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, site_make, site_unmake)

int
main(void)
{
	if (sodium_init() < 0)
		return 1;
	scratch_in_memory();
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
		TEST(a_tail_is_durable_before_it_counts),
		TEST(a_torn_tail_is_cut_off),
		TEST(any_order_of_arrival_comes_to_the_same),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	sender_release();
	return failed;
}
