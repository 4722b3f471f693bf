/* From landing files into segments: nothing is lost, nothing is there twice, and the same comes out of a rebuild. */
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "index/fsck.h"
#include "index/rebuild.h"
#include "tests/support/site.h"
#include "tests/support/unit.h"

#define FULL (BLOCK_RECORDS_MAX / 2 + 1) /* records of a block that is copied as it is */

static unsigned
tend(bool force)
{
	unsigned steps = 0;
	for (bool more = true; more; steps++)
		MUST(reception_tend(site.store, NULL, site.now_ns, force, &more));
	return steps;
}

#define HOLDS(want) SITE_HOLDS(NULL, want)

static struct catalogue_totals
totals(void)
{
	struct catalogue_totals t;
	MUST(catalogue_begin(site_catalogue()));
	MUST(catalogue_sum(site_catalogue(), 0, &t));
	catalogue_end(site_catalogue());
	return t;
}

static uint64_t
blocks_in_segments(void)
{
	struct segment_row row = { 0 };
	uint64_t n = 0;
	MUST(catalogue_begin(site_catalogue()));
	while (catalogue_next_segment(site_catalogue(), &row) == OK)
		n += row.state == SEGMENT_LIVE ? row.blocks : 0;
	catalogue_end(site_catalogue());
	return n;
}

static unsigned
landing_files(void)
{
	struct landing_row row = { 0 };
	unsigned n = 0;
	MUST(catalogue_begin(site_catalogue()));
	while (catalogue_next_landing(site_catalogue(), &row) == OK)
		n++;
	catalogue_end(site_catalogue());
	return n;
}

/* --- */

static void
small_blocks_are_joined_into_full_ones(void **state)
{
	(void)state;
	struct sending s;
	struct digest want = { 0 };
	sending_begin(&s, &site.one, "eth0", 5);
	s.lost_kernel = 4;
	for (unsigned i = 0; i < 100; i++) {
		site_give(&site.one, i % 10 == 9 ? send_loss(&s, 1, 3) : send_block(&s, 700), &want);
		if (i % 7 == 0)
			site_commit();
	}
	site_commit();
	assert_int_equal(tend(false), 1); /* nothing is due */
	assert_int_equal(totals().landed_blocks, 90);
	site_is_in_order();
	HOLDS(&want);
	tend(true);
	HOLDS(&want);
	struct catalogue_totals t = totals();
	assert_int_equal(t.landed_blocks, 0);
	assert_int_equal(t.segments, 1);
	assert_int_equal(t.records, 63000);
	assert_int_equal(blocks_in_segments(), 1);
	struct gap_row gap = { 0 };
	MUST(catalogue_begin(site_catalogue()));
	MUST(catalogue_next_gap(site_catalogue(), &gap));
	assert_int_equal(gap.cause, GAP_KERNEL);
	assert_int_equal(gap.sequence, 1);
	MUST(catalogue_next_gap(site_catalogue(), &gap)); /* ten losses within a second are one */
	assert_int_equal(gap.cause, GAP_SPOOL);
	assert_int_equal(gap.records, 30);
	assert_int_equal(gap.sequence, 100);
	assert_int_equal(catalogue_next_gap(site_catalogue(), &gap), END);
	catalogue_end(site_catalogue());
	site_is_in_order();
	HOLDS(&want);
	assert_int_equal(landing_files(), 0);
}

static void
full_blocks_are_copied_as_they_are(void **state)
{
	(void)state;
	struct sending s;
	struct digest want = { 0 };
	uint8_t hashes[3][32];
	sending_begin(&s, &site.one, "eth0", 5);
	for (unsigned i = 0; i < 3; i++) {
		struct sent *p = send_block(&s, FULL);
		memcpy(hashes[i], p->p.hash, 32);
		site_give(&site.one, p, &want);
		site_commit();
	}
	HOLDS(&want);
	tend(true);
	HOLDS(&want);
	struct segment_row row = { 0 };
	struct segment *segment = NULL;
	MUST(catalogue_begin(site_catalogue()));
	MUST(catalogue_next_segment(site_catalogue(), &row));
	catalogue_end(site_catalogue());
	assert_int_equal(row.blocks, 3);
	MUST(archive_open_segment(store_archive(site.store), &row, &segment));
	for (unsigned i = 0; i < 3; i++)
		assert_memory_equal(segment_blocks(segment)[i].hash, hashes[i], 32);
	segment_close(&segment);
	site_is_in_order();
	HOLDS(&want);
}

/* As one stream keeps sending full blocks, with small ones, losses and restarts between: whichever way a block goes into its
 * segment (as it lands, or later from the landing file), it is there once, and what the index finds by is the same. */
static void
live_or_later_comes_to_the_same(void **state)
{
	(void)state;
	struct sending s, t;
	struct digest want = { 0 }, range, expected = { 0 };
	sending_begin(&s, &site.one, "eth0", 5);
	sending_begin(&t, &site.two, "eth0", 6);
	for (unsigned i = 0; i < 24; i++) {
		uint64_t from = s.next_ns;
		struct sent *p = i == 5 ? send_loss(&s, 1, 9) : i % 6 == 2 ? send_block(&s, 500) : send_block(&s, FULL);
		if (i == 13) {
			expected = p->digest;
			range.records = from;
			range.sum = s.next_ns;
		}
		site_give(&site.one, p, &want);
		site_give(&site.two, send_block(&t, 100), &want);
		if (i % 2)
			site_commit();
		if (i % 4 == 3)
			tend(false);
		if (i == 9)
			tend(true);
		if (i == 15)
			site_reopen();
		if (i % 5 == 0) {
			site_commit();
			HOLDS(&want);
		}
	}
	site_commit();
	HOLDS(&want);
	struct digest have;
	MUST(archive_digest(store_archive(site.store), "one/eth0", range.records, range.sum, &have, NULL));
	assert_int_equal(have.sum, expected.sum);
	tend(true);
	HOLDS(&want);
	MUST(archive_digest(store_archive(site.store), "one/eth0", range.records, range.sum, &have, NULL));
	assert_int_equal(have.sum, expected.sum);
	assert_int_equal(totals().landed_blocks, 0);
	site_is_in_order();
	HOLDS(&want);
}

static void
blocks_of_different_sampling_are_not_joined(void **state)
{
	(void)state;
	struct sending s;
	struct digest want = { 0 };
	sending_begin(&s, &site.one, "eth0", 5);
	for (unsigned i = 0; i < 12; i++) {
		s.sampled = i < 4 ? 1 : i < 8 ? 10 : 100;
		s.sampler = i < 4 ? SAMPLER_ALL : SAMPLER_FLOW;
		site_give(&site.one, send_block(&s, 50), &want);
	}
	tend(true);
	HOLDS(&want);
	assert_int_equal(blocks_in_segments(), 3);
	site_is_in_order();
}

static void
a_segment_is_full_with_64_blocks(void **state)
{
	(void)state;
	struct sending s;
	struct digest want = { 0 };
	sending_begin(&s, &site.one, "eth0", 5);
	for (unsigned i = 0; i < 2 * SEGMENT_BLOCKS_MAX + 3; i++) { /* alternating, so that none can be joined */
		s.sampled = 2 + i % 2;
		s.sampler = SAMPLER_COUNT;
		site_give(&site.one, send_block(&s, 3), &want);
	}
	tend(true);
	HOLDS(&want);
	assert_int_equal(totals().segments, 3);
	assert_int_equal(blocks_in_segments(), 2 * SEGMENT_BLOCKS_MAX + 3);
	site_is_in_order();
}

static void
merging_is_due_by_number_and_age(void **state)
{
	(void)state;
	struct sending s, t;
	struct digest want = { 0 };
	sending_begin(&s, &site.one, "eth0", 5);
	sending_begin(&t, &site.two, "eth0", 5);
	site_give(&site.two, send_block(&t, 1), &want);
	for (unsigned i = 0; i < MERGE_BLOCKS_MAX; i++) {
		if (i == MERGE_BLOCKS_MAX - 1) {
			site_commit();
			tend(false);
			assert_int_equal(totals().segments, 0);
		}
		site_give(&site.one, send_block(&s, 2), &want);
	}
	site_commit();
	tend(false);
	assert_int_equal(totals().segments, 1);
	assert_int_equal(totals().landed_records, 1);
	site.now_ns += MERGE_AGE_NS;
	tend(false);
	assert_int_equal(totals().segments, 2);
	assert_int_equal(totals().landed_records, 0);
	HOLDS(&want);
	site_is_in_order();
}

static void
more_streams_than_open_segments_are_merged(void **state)
{
	(void)state;
	enum { STREAMS = 20 };
	struct sending s[STREAMS];
	struct digest want = { 0 };
	for (unsigned i = 0; i < STREAMS; i++) {
		char name[16];
		snprintf(name, sizeof name, "s%u", i);
		sending_begin(&s[i], i % 2 ? &site.one : &site.two, name, 5 + i);
	}
	for (unsigned k = 0; k < 3; k++) {
		for (unsigned i = 0; i < STREAMS; i++)
			site_give(i % 2 ? &site.one : &site.two, send_block(&s[i], k == 1 ? 100 : FULL), &want);
		site_commit();
		tend(false);
	}
	HOLDS(&want);
	tend(true);
	HOLDS(&want);
	assert_int_equal(totals().segments, STREAMS);
	assert_int_equal(totals().landed_records, 0);
	site_is_in_order();
}

/* Landing files are changed when they are large, and go away when all in them is merged. */
static void
landing_files_come_and_go(void **state)
{
	(void)state;
	struct sending s, quiet;
	struct digest want = { 0 };
	sending_begin(&s, &site.one, "eth0", 5);
	sending_begin(&quiet, &site.two, "eth0", 5);
	site_give(&site.two, send_block(&quiet, 5), &want);
	for (unsigned i = 0; i < 6; i++) {
		site_give(&site.one, send_block(&s, FULL), &want);
		site_commit();
		if (i % 2)
			site_reopen(); /* a new file each time */
	}
	assert_int_equal(landing_files(), 3);
	tend(true);
	site_give(&site.one, send_block(&s, 5), &want);
	site_commit();
	tend(false);
	assert_int_equal(landing_files(), 1);
	site_is_in_order();
	HOLDS(&want);
}

/* --- damage --- */

static void
landing_path_of(uint64_t id, char out[PATH_BYTES])
{
	MUST(io_path(out, site.dir, "landing/%016llx.land", (unsigned long long)id));
}

static void
flip(const char *path, uint64_t at)
{
	uint8_t byte;
	int fd = open(path, O_RDWR);
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

static struct landed_row
landed_number(unsigned n)
{
	struct landed_row row = { 0 };
	MUST(catalogue_begin(site_catalogue()));
	for (unsigned i = 0; i <= n; i++)
		MUST(catalogue_next_landed(site_catalogue(), &row));
	catalogue_end(site_catalogue());
	return row;
}

/* Damages parcel `which` of eight; a repair makes a gap of it, and the rest stays, now and after a rebuild. */
static void
damage_one(unsigned which, bool in_block)
{
	struct sending s;
	struct digest want = { 0 }, have;
	struct sent *p;
	struct fsck_report report;
	struct gap_row gap = { 0 };
	struct feed_row feed = { 0 };
	char path[PATH_BYTES];
	uint64_t notices = 0;
	sending_begin(&s, &site.one, "eth0", 5);
	for (unsigned i = 0; i < 8; i++) {
		struct digest ignored = { 0 };
		s.lost_kernel += i;
		p = send_block(&s, 10 + i);
		site_give(&site.one, p, i == which ? &ignored : &want);
	}
	site_commit();
	struct landed_row row = landed_number(which);
	store_close(&site.store);
	landing_path_of(row.landing, path);
	flip(path, row.at + (in_block ? LANDING_PREFIX_BYTES + row.front_bytes + row.block_bytes / 2 : 60));
	MUST(store_open(&site.store, site.dir, NULL));
	MUST(archive_digest(store_archive(site.store), NULL, 0, UINT64_MAX, &have, &notices));
	assert_int_equal(notices, 1);
	assert_int_equal(have.sum, want.sum);
	store_close(&site.store);
	MUST(fsck_run(site.dir, NULL, &(struct fsck_options){ 0 }, &report));
	assert_int_equal(report.faults, 1);
	assert_int_equal(report.lost_records, 10 + which);
	MUST(fsck_run(site.dir, NULL, &(struct fsck_options){ .repair = true }, &report));
	assert_int_equal(report.repaired, 1);
	MUST(store_open(&site.store, site.dir, NULL));
	HOLDS(&want);
	MUST(catalogue_begin(site_catalogue()));
	while (catalogue_next_gap(site_catalogue(), &gap) == OK && gap.cause != GAP_ARCHIVE)
		;
	MUST(catalogue_next_feed(site_catalogue(), false, &feed));
	catalogue_end(site_catalogue());
	assert_int_equal(gap.cause, GAP_ARCHIVE);
	assert_int_equal(gap.records, 10 + which);
	assert_int_equal(gap.sequence, which + 1);
	assert_int_equal(feed.lost_archive, 10 + which);
	assert_int_equal(feed.sequence, 8);
	assert_int_equal(feed.lost_kernel, 28);
	assert_memory_equal(feed.chain, s.previous, sizeof feed.chain);
	site_is_in_order();
	p = send_block(&s, 5); /* and the monitor goes on */
	site_give(&site.one, p, &want);
	site_commit();
	HOLDS(&want);
	site_is_in_order();
}

static void
a_damaged_parcel_becomes_a_gap(void **state)
{
	(void)state;
	damage_one(3, true);
}

static void
so_does_the_first(void **state)
{
	(void)state;
	damage_one(0, false);
}

static void
so_does_the_last(void **state)
{
	(void)state;
	damage_one(7, true);
}

static void
a_missing_landing_file_becomes_gaps(void **state)
{
	(void)state;
	struct sending s;
	struct digest want = { 0 }, ignored = { 0 }, have;
	struct fsck_report report;
	char path[PATH_BYTES];
	uint64_t notices = 0;
	sending_begin(&s, &site.one, "eth0", 5);
	site_give(&site.one, send_block(&s, 10), &want);
	site_commit();
	site_reopen();
	site_give(&site.one, send_block(&s, 11), &ignored);
	site_give(&site.one, send_block(&s, 12), &ignored);
	site_commit();
	struct landed_row row = landed_number(1);
	site_reopen();
	site_give(&site.one, send_block(&s, 13), &want);
	site_commit();
	store_close(&site.store);
	landing_path_of(row.landing, path);
	assert_int_equal(unlink(path), 0);
	struct archive *a = NULL;
	MUST(archive_open(&a, site.dir, NULL, ARCHIVE_READ));
	MUST(archive_digest(a, NULL, 0, UINT64_MAX, &have, &notices)); /* looks again, and then goes on without */
	archive_close(&a);
	assert_int_equal(notices, 1);
	assert_int_equal(have.sum, want.sum);
	notices = 0;
	MUST(store_open(&site.store, site.dir, NULL));
	assert_int_equal(archive_recovered(store_archive(site.store))->lost_landings, 1);
	MUST(archive_digest(store_archive(site.store), NULL, 0, UINT64_MAX, &have, &notices));
	assert_int_equal(notices, 1); /* the answer is partial */
	assert_int_equal(have.sum, want.sum);
	store_close(&site.store);
	MUST(fsck_run(site.dir, NULL, &(struct fsck_options){ 0 }, &report));
	assert_int_equal(report.faults, 2);
	assert_int_equal(report.lost_records, 23);
	MUST(fsck_run(site.dir, NULL, &(struct fsck_options){ .repair = true }, &report));
	assert_int_equal(report.repaired, 2);
	MUST(store_open(&site.store, site.dir, NULL));
	HOLDS(&want);
	site_give(&site.one, send_block(&s, 14), &want);
	site_commit();
	site_is_in_order();
	HOLDS(&want);
}

/* Index and a place in a landing file are gone: what can be read is read, and the feed goes on behind it. */
static void
a_rebuild_without_index_keeps_what_can_be_read(void **state)
{
	(void)state;
	struct sending s;
	struct digest want = { 0 }, ignored = { 0 };
	struct rebuild_report report;
	char path[PATH_BYTES], index[PATH_BYTES];
	sending_begin(&s, &site.one, "eth0", 5);
	for (unsigned i = 0; i < 6; i++)
		site_give(&site.one, send_block(&s, 10 + i), i == 2 ? &ignored : &want);
	site_commit();
	struct landed_row row = landed_number(2);
	store_close(&site.store);
	landing_path_of(row.landing, path);
	flip(path, row.at + 200);
	MUST(io_path(index, site.dir, "index/data.mdb"));
	assert_int_equal(unlink(index), 0);
	MUST(rebuild_run(site.dir, NULL, NULL, NULL, &report));
	assert_int_equal(report.landed, 5);
	MUST(store_open(&site.store, site.dir, NULL));
	HOLDS(&want);
	site_give(&site.one, send_block(&s, 5), &want);
	site_commit();
	tend(true);
	HOLDS(&want);
}

/* --- queries beside --- */

/* Counts the records over and over while another process lands and merges; reports each count. */
static int
watch(int out)
{
	for (;;) {
		struct archive *a = NULL;
		struct digest d;
		uint64_t notices = 0;
		if (archive_open(&a, site.dir, NULL, ARCHIVE_READ) != OK)
			return 2;
		enum err e = archive_digest(a, NULL, 0, UINT64_MAX, &d, &notices);
		archive_close(&a);
		if (e != OK || notices)
			return 3;
		if (write(out, &d, sizeof d) != sizeof d)
			return 0;
	}
}

/* What the watcher sees is always what was committed at some moment: all parcels up to one of them, each record once. */
static void
a_query_during_merges_sees_each_record_once(void **state)
{
	(void)state;
	enum { PARCELS = 300 };
	struct sending s;
	struct digest states[PARCELS + 1] = { { 0 } }, seen;
	int pipes[2];
	unsigned looks = 0, at = 0;
	sending_begin(&s, &site.one, "eth0", 5);
	site_give(&site.one, send_block(&s, 1), &states[0]);
	site_commit();
	tend(true);
	assert_int_equal(pipe(pipes), 0);
	char exe[PATH_BYTES] = { 0 }, number[16];
	snprintf(number, sizeof number, "%d", pipes[1]);
	assert_true(readlink("/proc/self/exe", exe, sizeof exe - 1) > 0);
	pid_t pid = fork();
	if (pid == 0) {
		execl(exe, exe, "watch", site.dir, number, NULL);
		_exit(9);
	}
	close(pipes[1]);
	assert_int_equal(fcntl(pipes[0], F_SETFL, O_NONBLOCK), 0);
	for (unsigned i = 1; i <= PARCELS || looks < 20; i++) {
		unsigned k = i <= PARCELS ? i : PARCELS;
		if (i <= PARCELS) {
			states[i] = states[i - 1];
			site_give(&site.one, send_block(&s, i % 40 == 3 ? FULL : 20), &states[i]);
			site_commit();
			if (i % 10 == 0)
				tend(true); /* merges, and destroys the landing file */
			if (i % 25 == 0)
				site_reopen();
		} else {
			usleep(1000);
		}
		while (read(pipes[0], &seen, sizeof seen) == sizeof seen) {
			while (at < k && (states[at].records != seen.records || states[at].sum != seen.sum))
				at++;
			assert_int_equal(states[at].records, seen.records);
			assert_int_equal(states[at].sum, seen.sum);
			looks++;
		}
		assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	}
	close(pipes[0]);
	int status = -1;
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	print_message("# %u queries\n", looks);
	site_is_in_order();
	HOLDS(&states[PARCELS]);
}

/* --- retention --- */

/* As if all segments had been written then. */
static void
written_at(uint64_t ns)
{
	struct segment_row row = { 0 };
	const struct timespec at = { .tv_sec = (time_t)(ns / 1000000000u) }, times[2] = { at, at };
	char path[PATH_BYTES];
	MUST(catalogue_begin(site_catalogue()));
	while (catalogue_next_segment(site_catalogue(), &row) == OK) {
		MUST(archive_segment_path(store_archive(site.store), row.id, path));
		assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
	}
	catalogue_end(site_catalogue());
}

static void
old_and_large_streams_lose_their_oldest_segments(void **state)
{
	(void)state;
	struct sending s, t;
	struct digest want = { 0 }, ignored = { 0 };
	bool more;
	sending_begin(&s, &site.one, "eth0", 5);
	sending_begin(&t, &site.two, "eth0", 1);
	for (unsigned i = 0; i < 3; i++) {
		s.next_ns = (10 + i) * 1000000000000u;
		t.next_ns = (10 + i) * 1000000000000u;
		site_give(&site.one, send_block(&s, 1000), i < 2 ? &ignored : &want);
		site_give(&site.two, send_block(&t, 3), i < 1 ? &ignored : &want);
		tend(true);
	}
	assert_int_equal(totals().segments, 6);
	uint64_t of_one = 0;
	struct segment_row row = { 0 };
	MUST(catalogue_begin(site_catalogue()));
	while (catalogue_next_segment(site_catalogue(), &row) == OK)
		of_one = row.records == 1000 ? row.file_bytes : of_one;
	catalogue_end(site_catalogue());
	/* older than what is 1,500 s before 12,500 s: the first segment of both; then the second of the large one for its size */
	struct retention limits = { .age_ns = 1500 * 1000000000ull, .stream_bytes = of_one + of_one / 2 };
	site.now_ns = 12500 * 1000000000ull;
	written_at(10000 * 1000000000ull);
	for (more = true; more;)
		MUST(reception_tend(site.store, &limits, site.now_ns, false, &more));
	assert_int_equal(totals().segments, 3);
	HOLDS(&want);
	site_is_in_order();
	limits = (struct retention){ .stop_bytes = UINT64_MAX };
	MUST(reception_tend(site.store, &limits, site.now_ns + 10000000000u, false, &more));
	struct sent *p = send_block(&s, 5);
	enum landing_answer answer;
	struct feed_mark mark;
	MUST(send_land(site.store, &site.one, p, site.now_ns, &answer, &mark));
	assert_int_equal(answer, LANDED_QUOTA);
	limits.stop_bytes = 1;
	MUST(reception_tend(site.store, &limits, site.now_ns + 20000000000u, false, &more));
	MUST(send_land(site.store, &site.one, p, site.now_ns, &answer, &mark));
	assert_int_equal(answer, LANDED);
	sent_free(&p);
}

static void
single_streams_have_limits_of_their_own(void **state)
{
	(void)state;
	struct sending s, t;
	struct digest ignored = { 0 };
	bool more;
	struct config_stream own[2] = { { .age_ns = 1500 * 1000000000ull, .bytes = UINT64_MAX }, { .age_ns = UINT64_MAX, .bytes = 1 } };
	struct config config = { .streams = own, .stream_count = 1 };
	struct retention limits = { .config = &config, .merge_age_ns = 5000000000u };
	sending_begin(&s, &site.one, "eth0", 5);
	sending_begin(&t, &site.two, "eth0", 1);
	snprintf(own[0].name, sizeof own[0].name, "two/eth0");
	snprintf(own[1].name, sizeof own[1].name, "one");
	for (unsigned i = 0; i < 3; i++) {
		s.next_ns = t.next_ns = (10 + i) * 1000000000000u;
		site_give(&site.one, send_block(&s, 100), &ignored);
		site_give(&site.two, send_block(&t, 100), &ignored);
		site_commit();
		MUST(reception_tend(site.store, &limits, site.now_ns, false, &more));
		assert_int_equal(totals().segments, 2 * i); /* they wait */
		site.now_ns += 6000000000u;
		for (more = true; more;)
			MUST(reception_tend(site.store, &limits, site.now_ns, false, &more));
		assert_int_equal(totals().segments, 2 * i + 2); /* for five seconds */
	}
	site.now_ns = 12500 * 1000000000ull;
	limits.clock_doubtful = true;
	for (more = true; more;)
		MUST(reception_tend(site.store, &limits, site.now_ns, false, &more));
	assert_int_equal(totals().segments, 6); /* a clock that is not believed makes nothing old */
	limits.clock_doubtful = false;
	site.now_ns += 2000000000u;
	written_at(12400 * 1000000000ull);
	for (more = true; more;)
		MUST(reception_tend(site.store, &limits, site.now_ns, false, &more));
	assert_int_equal(totals().segments, 6); /* nor does one of a monitor that is far behind */
	written_at(10000 * 1000000000ull);
	site.now_ns += 2000000000u;
	for (more = true; more;)
		MUST(reception_tend(site.store, &limits, site.now_ns, false, &more));
	assert_int_equal(totals().segments, 5); /* by age, of the one stream */
	config.stream_count = 2;
	site.now_ns += 10000000000u;
	for (more = true; more;)
		MUST(reception_tend(site.store, &limits, site.now_ns, false, &more));
	assert_int_equal(totals().segments, 2); /* by size, of the other monitor */
	site_is_in_order();
}

static void
what_landed_counts_for_the_limit_of_its_stream(void **state)
{
	(void)state;
	struct sending s;
	struct digest ignored = { 0 };
	struct retention limits = { .merge_age_ns = UINT64_MAX };
	bool more;
	sending_begin(&s, &site.one, "eth0", 5);
	site_give(&site.one, send_block(&s, 100), &ignored);
	site_commit();
	for (more = true; more;)
		MUST(reception_tend(site.store, &limits, site.now_ns, true, &more));
	limits.stream_bytes = totals().file_bytes + 1;
	site_give(&site.one, send_block(&s, 100), &ignored);
	site_commit();
	assert_int_equal(totals().segments, 1);
	for (unsigned i = 0; i < 3; i++) {
		site.now_ns += 2000000000u;
		for (more = true; more;)
			MUST(reception_tend(site.store, &limits, site.now_ns, false, &more));
	}
	assert_int_equal(totals().records, 100); /* the segment went, what landed is within the limit */
	assert_int_equal(totals().landed_records, 100);
	limits.stream_bytes = 1;
	for (unsigned i = 0; i < 4; i++) {
		site.now_ns += 2000000000u;
		for (more = true; more;)
			MUST(reception_tend(site.store, &limits, site.now_ns, false, &more));
	}
	assert_int_equal(totals().records, 0);
	site_is_in_order();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, site_make, site_unmake)

int
main(int argc, char **argv)
{
	if (sodium_init() < 0)
		return 1;
	if (argc == 4 && strcmp(argv[1], "watch") == 0) {
		snprintf(site.dir, sizeof site.dir, "%s", argv[2]);
		return watch((int)strtol(argv[3], NULL, 10));
	}
	scratch_in_memory();
	const struct CMUnitTest tests[] = {
		TEST(small_blocks_are_joined_into_full_ones),
		TEST(full_blocks_are_copied_as_they_are),
		TEST(live_or_later_comes_to_the_same),
		TEST(blocks_of_different_sampling_are_not_joined),
		TEST(a_segment_is_full_with_64_blocks),
		TEST(merging_is_due_by_number_and_age),
		TEST(more_streams_than_open_segments_are_merged),
		TEST(landing_files_come_and_go),
		TEST(a_damaged_parcel_becomes_a_gap),
		TEST(so_does_the_first),
		TEST(so_does_the_last),
		TEST(a_missing_landing_file_becomes_gaps),
		TEST(a_rebuild_without_index_keeps_what_can_be_read),
		TEST(a_query_during_merges_sees_each_record_once),
		TEST(old_and_large_streams_lose_their_oldest_segments),
		TEST(single_streams_have_limits_of_their_own),
		TEST(what_landed_counts_for_the_limit_of_its_stream),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	sender_release();
	return failed;
}
