#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/when.h"
#include "base/log.h"
#include "tests/support/scratch.h"
#include "tests/support/spool_model.h"
#include "tests/support/unit.h"

#define BLOCK 3000u
#define ALL   UINT32_MAX

static struct identity *id;
static char folder[PATH_BYTES], dir[PATH_BYTES];
static struct model model;

static int
begin(void **state)
{
	(void)state;
	model = (struct model){ 0 };
	scratch_make(folder);
	snprintf(dir, sizeof dir, "%.4000s/spool", folder);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	scratch_remove(folder);
	return 0;
}

static struct spool *
open_spool(uint64_t bytes_max, uint32_t file_bytes, uint64_t window_bytes, enum spool_policy policy)
{
	struct spool_options o = { bytes_max, file_bytes, window_bytes, policy };
	struct spool *s = NULL;
	enum err e = spool_open(&s, dir, id, &o);
	if (e != OK)
		print_message("%s\n", err_text());
	assert_int_equal(e, OK);
	return s;
}

static struct spool *
open_large(void)
{
	return open_spool(1 << 20, 16384, 16384, SPOOL_STOP);
}

static unsigned
stream_of(struct spool *s, const char *name)
{
	unsigned stream;
	assert_int_equal(spool_stream(s, name, &stream), OK);
	return stream;
}

static void
fill(struct spool *s, const char *name, unsigned count, uint64_t seed)
{
	unsigned stream = stream_of(s, name);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(model_append(s, stream, BLOCK, 10, seed + i), OK);
	assert_int_equal(spool_sync(s), OK);
}

static void
close_spool(struct spool *s)
{
	assert_int_equal(spool_close(&s), OK);
}

static unsigned
file_count(void)
{
	char pattern[PATH_BYTES];
	glob_t g;
	snprintf(pattern, sizeof pattern, "%.4000s/*.parcels", dir);
	unsigned n = glob(pattern, 0, NULL, &g) == 0 ? (unsigned)g.gl_pathc : 0;
	globfree(&g);
	return n;
}

/* Path of the file at this place, from the end when negative. */
static void
file_path(int place, char path[PATH_BYTES])
{
	char pattern[PATH_BYTES];
	glob_t g;
	snprintf(pattern, sizeof pattern, "%.4000s/*.parcels", dir);
	assert_int_equal(glob(pattern, 0, NULL, &g), 0);
	snprintf(path, PATH_BYTES, "%s", g.gl_pathv[place < 0 ? (int)g.gl_pathc + place : place]);
	globfree(&g);
}

static void
assert_right(void)
{
	if (*model.wrong)
		print_message("%s\n", model.wrong);
	assert_string_equal(model.wrong, "");
}

/* --- in order --- */

static void
parcels_arrive_once_and_in_order_and_their_files_go(void **state)
{
	(void)state;
	struct spool *s = open_large();
	fill(s, "eth0", 30, 1);
	fill(s, "eth1", 20, 100);
	assert_in_range(file_count(), 8, 12);
	assert_int_equal(model_session(&model, s, ALL, true, NULL, NULL, NULL), 50);
	assert_right();
	assert_int_equal(model_stream(&model, "eth0")->records, 300);
	assert_int_equal(model_stream(&model, "eth1")->records, 200);
	assert_int_equal(model_stream(&model, "eth0")->repeated, 0);
	assert_true(spool_wait_empty(s, 0));
	close_spool(s);
	assert_int_equal(file_count(), 0);
	/* the place is remembered without parcels */
	s = open_large();
	fill(s, "eth0", 5, 200);
	assert_int_equal(model_session(&model, s, ALL, true, NULL, NULL, NULL), 5);
	assert_right();
	assert_int_equal(model_stream(&model, "eth0")->sequence, 35);
	close_spool(s);
}

static void
what_is_not_durable_is_not_given(void **state)
{
	(void)state;
	struct spool *s = open_large();
	unsigned stream = stream_of(s, "eth0");
	assert_int_equal(model_append(s, stream, BLOCK, 10, 1), OK);
	assert_true(spool_unsynced(s));
	assert_int_equal(model_session(&model, s, ALL, true, NULL, NULL, NULL), 0);
	assert_int_equal(spool_sync(s), OK);
	assert_false(spool_unsynced(s));
	assert_int_equal(model_session(&model, s, ALL, true, NULL, NULL, NULL), 1);
	assert_right();
	close_spool(s);
}

static void
a_lost_session_is_made_up_for(void **state)
{
	(void)state;
	struct spool *s = open_large();
	fill(s, "eth0", 40, 1);
	assert_int_equal(model_session(&model, s, 17, false, NULL, NULL, NULL), 17); /* arrived, not acknowledged */
	assert_int_equal(model_session(&model, s, ALL, true, NULL, NULL, NULL), 23);
	assert_right();
	assert_int_equal(model_stream(&model, "eth0")->repeated, 0); /* the mark told */
	assert_int_equal(model_stream(&model, "eth0")->records, 400);
	close_spool(s);
	assert_int_equal(file_count(), 0);
}

static void
waiting_bytes_are_those_of_what_is_not_acknowledged(void **state)
{
	(void)state;
	struct spool_totals t;
	struct spool_stream row;
	struct spool *s = open_large();
	fill(s, "eth0", 10, 1);
	spool_totals(s, &t);
	assert_int_equal(t.waiting_bytes, t.bytes);
	uint64_t each = t.bytes / 10;
	model_session(&model, s, 4, true, NULL, NULL, NULL);
	spool_totals(s, &t);
	assert_int_equal(t.waiting_bytes, 6 * each);
	close_spool(s);
	s = open_large();
	spool_totals(s, &t);
	assert_int_equal(t.waiting_bytes, 6 * each);
	model_session(&model, s, 3, false, NULL, NULL, NULL);
	model_session(&model, s, 0, false, NULL, NULL, NULL);
	model_session(&model, s, 1, true, NULL, NULL, NULL); /* the mark acknowledges three, the archive one */
	spool_stream_get(s, 0, &row);
	assert_int_equal(row.acked, 8);
	assert_int_equal(row.spool_bytes, 2 * each);
	close_spool(s);
}

static void
counters_and_source_travel_with_the_parcels(void **state)
{
	(void)state;
	struct spool_stream row;
	struct spool *s = open_large();
	unsigned stream = stream_of(s, "eth0");
	spool_lose(s, stream, SPOOL_LOST_KERNEL, 5);
	spool_lose(s, stream, SPOOL_LOST_POLICY, 90);
	fill(s, "eth0", 1, 1);
	spool_lose(s, stream, SPOOL_LOST_INTERFACE, 2);
	fill(s, "eth0", 1, 2);
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	const struct model_stream *st = model_stream(&model, "eth0");
	assert_int_equal(st->lost[SPOOL_LOST_KERNEL], 5);
	assert_int_equal(st->lost[SPOOL_LOST_POLICY], 90);
	assert_int_equal(st->lost[SPOOL_LOST_INTERFACE], 2);
	spool_lose(s, stream, SPOOL_LOST_SPOOL, 7);
	close_spool(s);
	s = open_large();
	spool_stream_get(s, stream_of(s, "eth0"), &row);
	assert_int_equal(row.lost_kernel, 5);
	assert_int_equal(row.lost_spool, 7);
	assert_int_equal(row.packets, 20);
	close_spool(s);
}

/* --- damage --- */

static void
every_truncation_of_the_last_file_leaves_what_is_whole(void **state)
{
	(void)state;
	char path[PATH_BYTES];
	static uint8_t whole[4 * (BLOCK + PARCEL_FRONT_BYTES_MAX)];
	size_t n;
	int fd = -1;
	struct spool *s = open_spool(1 << 20, 1 << 20, 0, SPOOL_STOP);
	fill(s, "eth0", 3, 1);
	close_spool(s);
	file_path(-1, path);
	assert_int_equal(io_open(&fd, path), OK);
	assert_int_equal(io_read(fd, whole, sizeof whole, &n, path), OK);
	io_close(&fd);
	size_t each = n / 3;
	char state_path[PATH_BYTES];
	snprintf(state_path, sizeof state_path, "%.4000s/state", dir);
	for (size_t cut = 0; cut < n; cut += cut % each < 700 ? 1 : 97) {
		model = (struct model){ 0 };
		unlink(state_path); /* it would remember that there were three */
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		assert_int_equal(io_write(fd, whole, cut, path), OK);
		io_close(&fd);
		s = open_spool(1 << 20, 1 << 20, 0, SPOOL_STOP);
		fill(s, "eth0", 1, 50);
		assert_int_equal(model_session(&model, s, ALL, true, NULL, NULL, NULL), cut / each + 1);
		assert_right();
		assert_int_equal(model_stream(&model, "eth0")->losses, 0);
		close_spool(s);
		assert_int_equal(file_count(), 0);
	}
}

static void
every_flipped_bit_of_the_last_parcel_is_noticed(void **state)
{
	(void)state;
	char path[PATH_BYTES], state_path[PATH_BYTES];
	uint8_t byte;
	struct spool *s = open_spool(1 << 20, 1 << 20, 0, SPOOL_STOP);
	fill(s, "eth0", 2, 1);
	close_spool(s);
	snprintf(state_path, sizeof state_path, "%.4000s/state", dir);
	file_path(-1, path);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	for (off_t at = st.st_size / 2; at < st.st_size; at += 13) {
		int fd = open(path, O_RDWR);
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 1 << at % 8;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		close(fd);
		unlink(state_path);
		s = open_spool(1 << 20, 1 << 20, 0, SPOOL_STOP);
		struct spool_stream row;
		spool_stream_get(s, 0, &row);
		assert_int_equal(row.sequence, 1);
		fill(s, "eth0", 1, 2);
		close_spool(s);
		assert_int_equal(stat(path, &st), 0);
	}
}

static void
a_damaged_parcel_in_an_older_file_is_told_as_a_loss(void **state)
{
	(void)state;
	char path[PATH_BYTES];
	struct spool *s = open_large();
	fill(s, "eth0", 20, 1);
	close_spool(s);
	file_path(1, path);
	int fd = open(path, O_RDWR);
	uint8_t byte;
	assert_int_equal(pread(fd, &byte, 1, 2000), 1); /* in a block */
	byte ^= 4;
	assert_int_equal(pwrite(fd, &byte, 1, 2000), 1);
	close(fd);
	s = open_large();
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	assert_right();
	assert_int_equal(model_stream(&model, "eth0")->losses, 1);
	assert_int_equal(model_stream(&model, "eth0")->lost_records, 10);
	assert_int_equal(model_stream(&model, "eth0")->records, 190);
	close_spool(s);
}

static void
a_ruined_older_file_is_bridged_by_a_loss(void **state)
{
	(void)state;
	char path[PATH_BYTES];
	struct spool *s = open_large();
	fill(s, "eth0", 30, 1);
	close_spool(s);
	file_path(1, path);
	assert_int_equal(truncate(path, 100), 0);
	s = open_large();
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	assert_right();
	const struct model_stream *st = model_stream(&model, "eth0");
	assert_int_equal(st->losses, 1);
	assert_int_equal(st->records + 10 * (st->lost_to - st->lost_from + 1), 300);
	assert_int_equal(st->sequence, 30);
	close_spool(s);
}

static void
a_lost_state_is_made_again_from_the_files(void **state)
{
	(void)state;
	char path[PATH_BYTES];
	struct spool *s = open_large();
	fill(s, "eth0", 20, 1);
	model_session(&model, s, 12, true, NULL, NULL, NULL);
	close_spool(s);
	snprintf(path, sizeof path, "%.4000s/state", dir);
	unlink(path);
	s = open_large();
	fill(s, "eth0", 5, 100);
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	assert_right();
	assert_int_equal(model_stream(&model, "eth0")->records, 250);
	assert_int_equal(model_stream(&model, "eth0")->sequence, 25);
	close_spool(s);
}

static void
a_lost_spool_begins_a_larger_epoch(void **state)
{
	(void)state;
	struct spool *s = open_large();
	fill(s, "eth0", 3, 1);
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	close_spool(s);
	scratch_remove(dir);
	model_stream(&model, "eth0")->epoch += 1ull << 60; /* its clock was ahead */
	s = open_large();
	unsigned stream = stream_of(s, "eth0");
	struct spool_mark mark = { model_stream(&model, "eth0")->epoch, 3, { 0 } };
	spool_rewind(s);
	assert_int_equal(spool_resume(s, stream, &mark), OK);
	fill(s, "eth0", 2, 9);
	assert_int_equal(model_session(&model, s, ALL, true, NULL, NULL, NULL), 2);
	assert_right();
	assert_int_equal(model_stream(&model, "eth0")->records, 50);
	close_spool(s);
}

/* The same, but packets were captured before the archive could be asked. */
static void
what_waits_gets_a_larger_epoch_when_a_clock_was_ahead(void **state)
{
	(void)state;
	enum err e;
	struct spool *s = open_large();
	fill(s, "eth0", 3, 1);
	fill(s, "eth1", 1, 50);
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	close_spool(s);
	scratch_remove(dir);
	s = open_large();
	for (unsigned i = 0; i < 8; i++) {
		fill(s, "eth0", 3, 100 + 10 * i);
		fill(s, "eth1", 1, 200 + 10 * i);
	}
	close_spool(s);
	s = open_large();
	struct spool_totals t;
	spool_totals(s, &t);
	assert_in_range(t.files, 2, 100);
	model_stream(&model, "eth0")->epoch += 1ull << 60;
	assert_int_equal(model_session(&model, s, 5, true, NULL, NULL, NULL), 5);
	close_spool(s);
	s = open_large(); /* it is remembered */
	fill(s, "eth0", 2, 300);
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	assert_right();
	assert_int_equal(model_stream(&model, "eth0")->sequence, 26);
	assert_int_equal(model_stream(&model, "eth0")->records, 290);
	assert_int_equal(model_stream(&model, "eth0")->losses, 0);
	assert_int_equal(model_stream(&model, "eth1")->records, 90);
	close_spool(s);
	/* not of the future: another machine, or a spool that was brought back, whose parcels may be there already */
	scratch_remove(dir);
	s = open_large();
	fill(s, "eth1", 1, 400);
	model_stream(&model, "eth1")->epoch = when_now();
	model_session(&model, s, ALL, true, &e, NULL, NULL);
	assert_int_equal(e, ERR_DENIED);
	close_spool(s);
}

/* --- archives that stand elsewhere --- */

static void
an_archive_that_has_more_than_was_made_ends_it(void **state)
{
	(void)state;
	enum err e;
	struct spool *s = open_large();
	fill(s, "eth0", 3, 1);
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	model_stream(&model, "eth0")->sequence = 9;
	fill(s, "eth0", 1, 7);
	model_session(&model, s, ALL, true, &e, NULL, NULL);
	assert_int_equal(e, ERR_DENIED);
	assert_non_null(strstr(err_text(), "copy"));
	close_spool(s);
}

static void
an_archive_from_a_backup_gets_a_loss_for_what_it_forgot(void **state)
{
	(void)state;
	struct spool *s = open_large();
	fill(s, "eth0", 10, 1);
	model_session(&model, s, 4, true, NULL, NULL, NULL);
	struct model backup = model;
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	model = backup;
	fill(s, "eth0", 2, 50);
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	assert_right();
	const struct model_stream *st = model_stream(&model, "eth0");
	assert_int_equal(st->sequence, 12);
	assert_int_equal(st->losses, 1);
	assert_int_equal(st->lost_to, 10);
	close_spool(s);
}

static void
a_refused_parcel_goes_as_a_loss(void **state)
{
	(void)state;
	struct spool *s = open_large();
	fill(s, "eth0", 6, 1);
	model_session(&model, s, 2, true, NULL, NULL, NULL);
	spool_refuse(s, "eth0", 3);
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	assert_right();
	assert_int_equal(model_stream(&model, "eth0")->losses, 1);
	assert_int_equal(model_stream(&model, "eth0")->lost_records, 10);
	assert_int_equal(model_stream(&model, "eth0")->records, 50);
	struct spool_stream row;
	spool_stream_get(s, 0, &row);
	assert_int_equal(row.lost_spool, 10); /* shown here, and by the archive with the next parcel */
	close_spool(s);
}

static void
acknowledgements_of_what_was_not_sent_are_refused(void **state)
{
	(void)state;
	struct spool_stream row;
	struct spool *s = open_large();
	fill(s, "eth0", 3, 1);
	spool_stream_get(s, 0, &row);
	assert_int_equal(spool_acknowledge(s, "eth0", row.epoch, 1), ERR_FORMAT);
	model_session(&model, s, 1, false, NULL, NULL, NULL);
	assert_int_equal(spool_acknowledge(s, "eth0", row.epoch, 2), ERR_FORMAT);
	assert_int_equal(spool_acknowledge(s, "eth0", row.epoch + 1, 1), ERR_FORMAT);
	assert_int_equal(spool_acknowledge(s, "eth9", row.epoch, 1), ERR_FORMAT);
	assert_int_equal(spool_acknowledge(s, "eth0", row.epoch, 1), OK);
	assert_int_equal(spool_acknowledge(s, "eth0", row.epoch, 1), OK);
	close_spool(s);
}

/* --- full --- */

#define SMALL_BYTES (40 * 1024)

static void
a_full_spool_stops(void **state)
{
	(void)state;
	struct spool_totals t;
	struct spool *s = open_spool(SMALL_BYTES, 8192, 8192, SPOOL_STOP);
	unsigned stream = stream_of(s, "eth0"), count = 0;
	enum err e;
	while ((e = model_append(s, stream, BLOCK, 10, count)) == OK)
		count++;
	assert_int_equal(e, ERR_FULL);
	spool_totals(s, &t);
	assert_true(t.full && t.bytes <= SMALL_BYTES && t.bytes + BLOCK + PARCEL_FRONT_BYTES_MAX > SMALL_BYTES);
	assert_false(spool_wait_room(s, BLOCK, 0));
	spool_lose(s, stream, SPOOL_LOST_SPOOL, 10);
	assert_int_equal(spool_sync(s), OK);
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	assert_true(spool_wait_room(s, BLOCK, 0));
	fill(s, "eth0", 1, 99);
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	assert_right();
	const struct model_stream *st = model_stream(&model, "eth0");
	assert_int_equal(st->records, 10 * (count + 1));
	assert_int_equal(st->losses, 0);
	assert_int_equal(st->lost[SPOOL_LOST_SPOOL], 10);
	assert_int_equal(model_append(s, stream, SMALL_BYTES, 10, 1), ERR_LIMIT);
	close_spool(s);
}

static void
a_full_spool_drops_the_oldest_and_keeps_the_chain(void **state)
{
	(void)state;
	struct spool_totals t;
	struct spool *s = open_spool(SMALL_BYTES, 8192, 8192, SPOOL_OLDEST);
	unsigned a = stream_of(s, "eth0"), b = stream_of(s, "eth1");
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(model_append(s, i % 3 ? a : b, BLOCK, 10, i), OK);
		spool_totals(s, &t);
		assert_true(t.bytes <= SMALL_BYTES);
		if (i % 7 == 0)
			assert_int_equal(spool_sync(s), OK);
		if (i == 55) { /* what was dropped is remembered */
			close_spool(s);
			s = open_spool(SMALL_BYTES, 8192, 8192, SPOOL_OLDEST);
		}
	}
	assert_int_equal(spool_sync(s), OK);
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	assert_right();
	const struct model_stream *x = model_stream(&model, "eth0"), *y = model_stream(&model, "eth1");
	assert_int_equal(x->sequence + y->sequence, 100);
	assert_int_equal(x->records + y->records + x->lost_records + y->lost_records, 1000);
	assert_true(x->losses >= 1 && x->losses <= 3 && y->losses >= 1 && y->losses <= 3);
	fill(s, "eth0", 1, 500); /* what is made from now on counts what was dropped */
	fill(s, "eth1", 1, 501);
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	assert_right();
	assert_int_equal(x->lost[SPOOL_LOST_SPOOL], x->lost_records);
	assert_int_equal(y->lost[SPOOL_LOST_SPOOL], y->lost_records);
	close_spool(s);
}

static void
what_may_have_been_sent_is_not_dropped(void **state)
{
	(void)state;
	struct spool *s = open_spool(SMALL_BYTES, 8192, 8192, SPOOL_OLDEST);
	unsigned a = stream_of(s, "eth0");
	for (unsigned i = 0; i < 9; i++)
		assert_int_equal(model_append(s, a, BLOCK, 10, i), OK);
	assert_int_equal(spool_sync(s), OK);
	model_session(&model, s, 4, false, NULL, NULL, NULL); /* arrived; the connection was cut before that was known */
	for (unsigned i = 9; i < 60; i++)
		assert_int_equal(model_append(s, a, BLOCK, 10, i), OK);
	assert_int_equal(spool_sync(s), OK);
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	assert_right();
	const struct model_stream *st = model_stream(&model, "eth0");
	assert_int_equal(st->sequence, 60);
	assert_int_equal(st->records + st->lost_records, 600);
	assert_int_equal(st->losses, 1);
	assert_true(st->lost_from > 4);
	close_spool(s);
}

static void
a_loss_that_the_archive_knows_in_part_is_cut_to_fit(void **state)
{
	(void)state;
	struct spool *s = open_spool(SMALL_BYTES, 8192, 1, SPOOL_OLDEST);
	unsigned a = stream_of(s, "eth0");
	for (unsigned i = 0; i < 12; i++)
		assert_int_equal(model_append(s, a, BLOCK, 10, i), OK);
	assert_int_equal(spool_sync(s), OK);
	model_session(&model, s, 6, true, NULL, NULL, NULL);
	struct model later = model;
	model_session(&later, s, 3, false, NULL, NULL, NULL);
	close_spool(s);
	s = open_spool(SMALL_BYTES, 8192, 1, SPOOL_OLDEST); /* that they were sent is forgotten, and almost nothing is kept for it */
	for (unsigned i = 12; i < 60; i++)
		assert_int_equal(model_append(s, a, BLOCK, 10, i), OK);
	assert_int_equal(spool_sync(s), OK);
	model = later;
	model_session(&model, s, ALL, true, NULL, NULL, NULL);
	assert_right();
	assert_int_equal(model_stream(&model, "eth0")->sequence, 60);
	close_spool(s);
}

/* --- the folder --- */

static void
one_process_at_a_time(void **state)
{
	(void)state;
	struct spool *s = open_large(), *second = NULL;
	struct spool_options o = { 0 };
	assert_int_equal(spool_open(&second, dir, id, &o), ERR_BUSY);
	assert_null(second);
	close_spool(s);
	close_spool(open_large());
}

static void
a_spool_of_another_identity_is_refused(void **state)
{
	(void)state;
	char path[PATH_BYTES];
	struct spool_options o = { 0 };
	struct identity *other = NULL;
	struct spool *s = open_large();
	fill(s, "eth0", 1, 1);
	close_spool(s);
	assert_int_equal(identity_make(&other, NULL), OK);
	assert_int_equal(spool_open(&s, dir, other, &o), ERR_DENIED);
	snprintf(path, sizeof path, "%.4000s/state", dir);
	unlink(path);
	assert_int_equal(spool_open(&s, dir, other, &o), ERR_DENIED);
	identity_close(&other);
	close_spool(open_large());
}

static void
names_of_streams_are_checked(void **state)
{
	(void)state;
	unsigned stream;
	struct spool *s = open_large();
	static const char *const bad[] = { "", ".", ".hidden", "a/b", "a b", "a\n",
		"0123456789012345678901234567890123456789012345678901234567890123" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(spool_stream(s, bad[i], &stream), ERR_USAGE);
	assert_int_equal(spool_stream(s, "eth0.100:1@x+y-z_A", &stream), OK);
	close_spool(s);
}

static void
damaged_states_are_said_and_done_without(void **state)
{
	(void)state;
	char path[PATH_BYTES];
	struct spool *s = open_large();
	fill(s, "eth0", 4, 1);
	close_spool(s);
	snprintf(path, sizeof path, "%.4000s/state", dir);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	for (off_t at = 0; at < st.st_size; at += at < 100 ? 1 : 11) {
		int fd = open(path, O_RDWR);
		uint8_t byte;
		assert_int_equal(pread(fd, &byte, 1, at), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		close(fd);
		struct spool_options o = { 0 };
		enum err e = spool_open(&s, dir, id, &o);
		if (at >= 8 && at < 12) { /* the version */
			assert_int_equal(e, ERR_UNSUPPORTED);
			fd = open(path, O_RDWR);
			byte ^= 0x10;
			assert_int_equal(pwrite(fd, &byte, 1, at), 1);
			close(fd);
			continue;
		}
		assert_int_equal(e, OK);
		struct spool_stream row;
		spool_stream_get(s, 0, &row);
		assert_int_equal(row.sequence, 4);
		close_spool(s);
	}
}

static void
pushed_files_are_remembered(void **state)
{
	(void)state;
	const uint8_t one[32] = { 1 }, two[32] = { 2 }, three[32] = { 3 };
	struct spool_source known;
	struct spool *s = open_large();
	unsigned stream = stream_of(s, "x");
	static const uint8_t key[BLOCK_KEY_BYTES];
	uint8_t block[100] = { 0 };
	struct parcel p = { .block = block, .block_bytes = 100, .records = 7, .source_records = 7 };
	assert_int_equal(spool_source_find(s, one, &known), ERR_ABSENT);
	assert_int_equal(spool_source_begin(s, stream, one), OK);
	memcpy(p.source, one, 32);
	assert_int_equal(spool_append(s, stream, &p, key), OK);
	close_spool(s);
	s = open_large();
	assert_int_equal(spool_source_find(s, one, &known), OK);
	assert_int_equal(known.records, 7);
	assert_false(known.complete);
	assert_string_equal(known.stream, "x");
	/* another file begins before the end of the first */
	assert_int_equal(spool_source_begin(s, stream, two), OK);
	p = (struct parcel){ .block = block, .block_bytes = 100, .records = 9, .source_records = 9 };
	memcpy(p.source, two, 32);
	assert_int_equal(spool_append(s, stream, &p, key), OK);
	assert_int_equal(spool_source_end(s, stream, two, 9), OK);
	close_spool(s);
	s = open_large();
	assert_int_equal(spool_source_find(s, one, &known), OK);
	assert_int_equal(known.records, 7);
	assert_false(known.complete);
	assert_int_equal(spool_source_find(s, two, &known), OK);
	assert_true(known.complete);
	assert_int_equal(spool_source_find(s, three, &known), ERR_ABSENT);
	/* and the end of the first is known later */
	assert_int_equal(spool_source_end(s, stream, one, 30), OK);
	assert_int_equal(spool_source_find(s, one, &known), OK);
	assert_true(known.complete);
	assert_int_equal(known.records, 30);
	close_spool(s);
}

static void
one_can_look_while_it_runs(void **state)
{
	(void)state;
	struct spool_stream *rows;
	struct spool_totals t;
	assert_int_equal(spool_look(dir, &rows, &t), ERR_ABSENT);
	struct spool *s = open_large();
	fill(s, "eth0", 4, 1);
	assert_int_equal(spool_look(dir, &rows, &t), OK);
	assert_true(t.bytes > 4 * BLOCK);
	free(rows);
	close_spool(s);
	assert_int_equal(spool_look(dir, &rows, &t), OK);
	assert_int_equal(t.streams, 1);
	assert_int_equal(rows[0].sequence, 4);
	free(rows);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
		TEST(parcels_arrive_once_and_in_order_and_their_files_go),
		TEST(what_is_not_durable_is_not_given),
		TEST(a_lost_session_is_made_up_for),
		TEST(waiting_bytes_are_those_of_what_is_not_acknowledged),
		TEST(counters_and_source_travel_with_the_parcels),
		TEST(every_truncation_of_the_last_file_leaves_what_is_whole),
		TEST(every_flipped_bit_of_the_last_parcel_is_noticed),
		TEST(a_damaged_parcel_in_an_older_file_is_told_as_a_loss),
		TEST(a_ruined_older_file_is_bridged_by_a_loss),
		TEST(a_lost_state_is_made_again_from_the_files),
		TEST(a_lost_spool_begins_a_larger_epoch),
		TEST(what_waits_gets_a_larger_epoch_when_a_clock_was_ahead),
		TEST(an_archive_that_has_more_than_was_made_ends_it),
		TEST(an_archive_from_a_backup_gets_a_loss_for_what_it_forgot),
		TEST(a_refused_parcel_goes_as_a_loss),
		TEST(acknowledgements_of_what_was_not_sent_are_refused),
		TEST(a_full_spool_stops),
		TEST(a_full_spool_drops_the_oldest_and_keeps_the_chain),
		TEST(what_may_have_been_sent_is_not_dropped),
		TEST(a_loss_that_the_archive_knows_in_part_is_cut_to_fit),
		TEST(one_process_at_a_time),
		TEST(a_spool_of_another_identity_is_refused),
		TEST(names_of_streams_are_checked),
		TEST(damaged_states_are_said_and_done_without),
		TEST(pushed_files_are_remembered),
		TEST(one_can_look_while_it_runs),
	};
	id = model_identity();
	scratch_in_memory();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	identity_close(&id);
	return failed;
}
