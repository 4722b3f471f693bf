#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sandbox.h"
#include "index/catalogue.h"
#include "index/kv.h"
#include "index/segfilter.h"
#include "tests/support/make_archive.h"
#include "tests/support/unit.h"

static const uint8_t key[CATALOGUE_KEY_BYTES] = "catalogue key of this test.....";
static char dir[PATH_BYTES], file[2 * PATH_BYTES];
static const struct state_row first_state = { .version = CATALOGUE_VERSION, .next_segment = 1, .next_stream = 1 };

static int
begin(void **state)
{
	(void)state;
	scratch_make(dir);
	snprintf(file, sizeof file, "%s/data.mdb", dir);
	return catalogue_create(dir, key, &first_state) == OK ? 0 : -1;
}

static int
end(void **state)
{
	(void)state;
	scratch_remove(dir);
	return 0;
}

static struct catalogue *
opened(bool writable, uint64_t map_bytes)
{
	struct catalogue *c = NULL;
	enum err e = catalogue_open(&c, dir, key, writable, map_bytes);
	if (e != OK)
		print_message("# %s\n", err_text());
	assert_int_equal(e, OK);
	return c;
}

static struct segment_row
row_of(uint64_t id, uint32_t stream, uint64_t first_ns, uint64_t last_ns)
{
	return (struct segment_row){ .id = id, .stream = stream, .slot = (uint32_t)id, .blocks = 1, .records = 10 * id,
		.first_ns = first_ns, .last_ns = last_ns, .file_bytes = 100, .footer_bytes = 10 };
}

static enum err
put_some(struct catalogue *c, void *arg)
{
	const struct segment_row *rows = arg;
	TRY(catalogue_put_stream(c, &(struct stream_row){ .id = 1, .name = "one" }));
	TRY(catalogue_put_stream(c, &(struct stream_row){ .id = 2, .name = "two" }));
	for (; rows->id; rows++)
		TRY(catalogue_put_segment(c, rows));
	return OK;
}

static char *
dump_of(struct catalogue *c)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	enum err e = catalogue_begin(c);
	if (e == OK)
		e = catalogue_dump(c, f);
	catalogue_end(c);
	fclose(f);
	if (e == OK)
		return text;
	free(text);
	return NULL;
}

static unsigned
in_range(struct catalogue *c, uint32_t stream, uint64_t from, uint64_t until, uint64_t *ids)
{
	struct segment_row row = { 0 };
	unsigned n = 0;
	enum err e;
	while ((e = catalogue_next_in_range(c, stream, from, until, &row)) == OK)
		ids[n++] = row.id;
	assert_int_equal(e, END);
	return n;
}

static void
finds_the_segments_of_a_time_range(void **state)
{
	(void)state;
	struct catalogue *c = opened(true, 0);
	struct segment_row rows[] = { row_of(1, 1, 100, 199), row_of(2, 1, 200, 299), row_of(3, 1, 150, 1000),
		row_of(4, 2, 0, UINT64_MAX), row_of(5, 1, 300, 300), { 0 } };
	rows[1].state = SEGMENT_LOST;
	uint64_t ids[8];
	assert_int_equal(catalogue_update(c, put_some, rows), OK);
	assert_int_equal(catalogue_begin(c), OK);
	assert_int_equal(in_range(c, 1, 0, UINT64_MAX, ids), 4);
	assert_true(ids[0] == 1 && ids[1] == 3 && ids[2] == 2 && ids[3] == 5); /* by time */
	assert_int_equal(in_range(c, 1, 0, 100, ids), 0);
	assert_int_equal(in_range(c, 1, 0, 101, ids), 1);
	assert_int_equal(in_range(c, 1, 199, 200, ids), 2);
	assert_int_equal(in_range(c, 1, 300, 301, ids), 2);
	assert_true(ids[0] == 3 && ids[1] == 5);
	assert_int_equal(in_range(c, 1, 301, 1000, ids), 1);
	assert_int_equal(in_range(c, 1, 1001, UINT64_MAX, ids), 0);
	assert_int_equal(in_range(c, 2, 5, 6, ids), 1);
	assert_int_equal(in_range(c, 3, 0, UINT64_MAX, ids), 0);
	struct catalogue_totals totals;
	assert_int_equal(catalogue_sum(c, 1, &totals), OK);
	assert_int_equal(totals.segments, 3);
	assert_int_equal(totals.lost_segments, 1);
	assert_int_equal(totals.records, 10 + 30 + 50);
	assert_true(totals.first_ns == 100 && totals.last_ns == 1000);
	catalogue_end(c);
	catalogue_close(&c);
}

static void
agrees_with_a_linear_search_over_random_ranges(void **state)
{
	(void)state;
	struct catalogue *c = opened(true, 0);
	struct segment_row rows[201] = { 0 };
	uint64_t ids[201];
	for (uint64_t i = 0; i < 200; i++) {
		uint64_t first = randombytes_uniform(10000);
		uint64_t span = i % 50 == 0 ? randombytes_uniform(3000) : randombytes_uniform(40);
		rows[i] = row_of(i + 1, 1, first, first + span);
		rows[i].state = i % 7 == 0 ? SEGMENT_DELETING : SEGMENT_LIVE;
		rows[i].hidden_until_ns = i % 5 == 0 ? first + span / 2 : 0;
	}
	assert_int_equal(catalogue_update(c, put_some, rows), OK);
	assert_int_equal(catalogue_begin(c), OK);
	for (int t = 0; t < 3000; t++) {
		uint64_t from = randombytes_uniform(11000), until = from + randombytes_uniform(t % 3 ? 50 : 5000);
		unsigned want = 0, have = in_range(c, 1, from, until, ids);
		for (uint64_t i = 0; i < 200; i++)
			want += rows[i].state != SEGMENT_DELETING && rows[i].first_ns < until && rows[i].last_ns >= from &&
			        rows[i].hidden_until_ns < until;
		assert_int_equal(have, want);
	}
	catalogue_end(c);
	catalogue_close(&c);
}

static enum err
forget_some(struct catalogue *c, void *arg)
{
	for (const uint64_t *id = arg; *id; id++)
		TRY(catalogue_forget_segment(c, *id));
	return OK;
}

static void
forgetting_leaves_what_was_before(void **state)
{
	(void)state;
	struct catalogue *c = opened(true, 0);
	struct segment_row keep[] = { row_of(1, 1, 100, 199), row_of(2, 2, 5, 50), { 0 } };
	struct segment_row more[] = { row_of(3, 1, 100, 900), row_of(4, 2, 1, 2), row_of(5, 1, 7, 8), { 0 } };
	uint64_t ids[] = { 3, 4, 5, 0 };
	assert_int_equal(catalogue_update(c, put_some, keep), OK);
	char *before = dump_of(c);
	assert_int_equal(catalogue_update(c, put_some, more), OK);
	char *between = dump_of(c);
	assert_string_not_equal(before, between);
	assert_int_equal(catalogue_update(c, forget_some, ids), OK);
	char *after = dump_of(c);
	assert_string_equal(before, after);
	assert_int_equal(catalogue_update(c, forget_some, ids), ERR_ABSENT);
	free(before), free(between), free(after);
	catalogue_close(&c);
}

static enum err
put_then_fail(struct catalogue *c, void *arg)
{
	TRY(put_some(c, arg));
	return ERR_INTERRUPTED;
}

static void
a_failed_change_leaves_nothing(void **state)
{
	(void)state;
	struct catalogue *c = opened(true, 0);
	struct segment_row rows[] = { row_of(1, 1, 100, 199), { 0 } };
	char *before = dump_of(c);
	assert_int_equal(catalogue_update(c, put_then_fail, rows), ERR_INTERRUPTED);
	char *after = dump_of(c);
	assert_string_equal(before, after);
	assert_int_equal(catalogue_update(c, put_some, rows), OK);
	free(before), free(after);
	catalogue_close(&c);
}

static enum err
put_filter(struct catalogue *c, void *arg)
{
	static uint8_t bytes[100000];
	return catalogue_put_filter(c, *(uint64_t *)arg, bytes, sizeof bytes);
}

static void
a_full_map_grows(void **state)
{
	(void)state;
	struct catalogue *c = opened(true, 64u << 10);
	for (uint64_t i = 1; i <= 60; i++)
		assert_int_equal(catalogue_update(c, put_filter, &i), OK);
	assert_int_equal(catalogue_begin(c), OK);
	const uint8_t *filter;
	size_t n;
	for (uint64_t i = 1; i <= 60; i++) {
		assert_int_equal(catalogue_filter(c, i, &filter, &n), OK);
		assert_int_equal(n, 100000);
	}
	catalogue_end(c);
	catalogue_close(&c);
	c = opened(false, 64u << 10); /* a reader with too small an idea of it */
	assert_int_equal(catalogue_begin(c), OK);
	assert_int_equal(catalogue_filter(c, 60, &filter, &n), OK);
	catalogue_end(c);
	catalogue_close(&c);
}

/* A child that opens, says so, waits for a byte, reads again, and exits with 0 when it saw what it should. */
static pid_t
reader_child(int ready, int go, uint64_t filters)
{
	pid_t child = fork();
	if (child != 0)
		return child;
	struct catalogue *c = NULL;
	char byte;
	const uint8_t *filter;
	size_t n;
	int status = 1;
	if (catalogue_open(&c, dir, key, false, 64u << 10) == OK && write(ready, "r", 1) == 1 && read(go, &byte, 1) == 1 &&
	    catalogue_begin(c) == OK && catalogue_filter(c, filters, &filter, &n) == OK && n == 100000)
		status = 0;
	_exit(status);
}

static void
a_reader_follows_a_map_that_another_process_grew(void **state)
{
	(void)state;
	int ready[2], go[2], status;
	char byte;
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	pid_t child = reader_child(ready[1], go[0], 20);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	struct catalogue *c = opened(true, 64u << 10);
	for (uint64_t i = 1; i <= 20; i++)
		assert_int_equal(catalogue_update(c, put_filter, &i), OK);
	assert_int_equal(write(go[1], "g", 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	catalogue_close(&c);
	close(ready[0]), close(ready[1]), close(go[0]), close(go[1]);
}

/* A child that holds a snapshot until a byte comes: then it must still see nothing, and the new state afterwards. */
static pid_t
snapshot_child(int ready, int go)
{
	pid_t child = fork();
	if (child != 0)
		return child;
	struct catalogue *c = NULL;
	struct segment_row row;
	char byte;
	bool good = catalogue_open(&c, dir, key, false, 0) == OK && catalogue_begin(c) == OK && write(ready, "r", 1) == 1 &&
	            read(go, &byte, 1) == 1 && catalogue_segment(c, 1, &row) == ERR_ABSENT;
	catalogue_end(c);
	good = good && catalogue_begin(c) == OK && catalogue_segment(c, 1, &row) == OK;
	_exit(good ? 0 : 1);
}

static void
a_reader_keeps_its_snapshot_while_a_writer_commits(void **state)
{
	(void)state;
	int ready[2], go[2], status;
	char byte;
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	pid_t child = snapshot_child(ready[1], go[0]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	struct catalogue *c = opened(true, 0);
	for (uint64_t i = 1; i <= 20; i++) {
		struct segment_row rows[] = { row_of(i, 1, i, i), { 0 } };
		assert_int_equal(catalogue_update(c, put_some, rows), OK);
	}
	assert_int_equal(write(go[1], "g", 1), 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	catalogue_close(&c);
	close(ready[0]), close(ready[1]), close(go[0]), close(go[1]);
}

static void
readers_that_were_killed_do_not_use_the_table_up(void **state)
{
	(void)state;
	for (int i = 0; i < 140; i++) { /* the table has room for 126 */
		pid_t child = fork();
		if (child == 0) {
			struct catalogue *c = NULL;
			if (catalogue_open(&c, dir, key, false, 0) != OK || catalogue_begin(c) != OK)
				_exit(1);
			kill(getpid(), SIGKILL);
		}
		int status;
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
	}
	struct catalogue *c = opened(false, 0);
	catalogue_close(&c);
}

static void
too_many_readers_are_told_to_wait(void **state)
{
	(void)state;
	int ready[2], hold[2];
	pid_t children[126];
	char byte;
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(hold), 0);
	for (int i = 0; i < 126; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			struct catalogue *c = NULL;
			close(hold[1]);
			byte = catalogue_open(&c, dir, key, false, 0) == OK && catalogue_begin(c) == OK ? 'y' : 'n';
			(void)!write(ready[1], &byte, 1);
			(void)!read(hold[0], &byte, 1);
			_exit(0);
		}
		assert_int_equal(read(ready[0], &byte, 1), 1);
		assert_int_equal(byte, 'y');
	}
	struct catalogue *c = NULL;
	assert_int_equal(catalogue_open(&c, dir, key, false, 0), ERR_BUSY);
	assert_null(c);
	close(hold[1]);
	for (int i = 0; i < 126; i++)
		waitpid(children[i], NULL, 0);
	c = opened(false, 0);
	catalogue_close(&c);
	close(ready[0]), close(ready[1]), close(hold[0]);
}

static void
use_after_fork_is_an_assertion(void **state)
{
	(void)state;
	struct catalogue *c = opened(false, 0);
	int status;
	pid_t child = fork();
	if (child == 0) {
		close(2);
		(void)catalogue_begin(c);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
	catalogue_close(&c);
}

/* --- damage --- */

static enum err
put_filled(struct catalogue *c, void *arg)
{
	uint64_t from = *(uint64_t *)arg;
	static uint8_t addresses[16];
	for (uint64_t i = from; i < from + 40; i++) {
		struct segment_row row = row_of(i, 1, i * 100, i * 100 + 99);
		uint32_t ip4[60];
		uint8_t *filter = NULL;
		size_t n;
		for (uint32_t k = 0; k < 60; k++)
			ip4[k] = (uint32_t)i << 16 | k;
		struct segfilter_addresses a = { .ip4 = ip4, .ip4_count = i % 5 ? 3 : 60 };
		TRY(catalogue_put_segment(c, &row));
		TRY(segfilter_build(&filter, &n, catalogue_filter_key(c), i, &a));
		enum err e = catalogue_put_filter(c, i, filter, n);
		free(filter);
		TRY(e);
	}
	struct import_row import = { .stream = 1, .runs = 1, .title = "a file" };
	memcpy(import.fingerprint, addresses, sizeof addresses);
	TRY(catalogue_put_import(c, &import));
	TRY(catalogue_put_removal(c, 3, &(struct removal_row){ .stream = 1 }));
	return catalogue_put_stream(c, &(struct stream_row){ .id = 1, .name = "one" });
}

static void
filled(void)
{
	struct catalogue *c = opened(true, 0);
	uint64_t from = 1, ids[] = { 3, 5, 8, 0 };
	for (; from < 160; from += 40)
		assert_int_equal(catalogue_update(c, put_filled, &from), OK);
	assert_int_equal(catalogue_update(c, forget_some, ids), OK);
	catalogue_close(&c);
}

static enum err
touch(struct catalogue *c, void *arg)
{
	(void)arg;
	TRY(catalogue_put_stream(c, &(struct stream_row){ .id = 9, .name = "nine" }));
	for (uint64_t id = 20; id < 24; id++)
		TRY(catalogue_forget_segment(c, id));
	struct segment_row rows[] = { row_of(500, 1, 1, 2), row_of(501, 1, 1, 2), { 0 } };
	return put_some(c, rows);
}

static void
ignore(void *arg, const char *sentence)
{
	(void)sentence;
	++*(unsigned *)arg;
}

/* Opens the damaged file, reads all of it, and writes to it when it opens for writing. What reads must be the state as it
 * was; anything else is an error. Returns whether it was noticed. */
static bool
survives(const char *before, bool writable, const char *what)
{
	struct catalogue *c = NULL;
	unsigned faults = 0;
	enum err e = catalogue_open(&c, dir, key, writable, 0);
	if (e != OK) {
		assert_true(e == ERR_FORMAT || e == ERR_UNSUPPORTED);
		assert_non_null(strstr(err_text(), "atoll rebuild"));
		return true;
	}
	char *now = dump_of(c);
	bool reads = now != NULL, lies = reads && strcmp(now, before) != 0;
	free(now);
	if (lies)
		print_message("# %s\n", what);
	assert_false(lies);
	assert_int_equal(catalogue_begin(c), OK);
	(void)catalogue_check(c, ignore, &faults);
	catalogue_end(c);
	if (writable)
		(void)catalogue_update(c, touch, NULL);
	catalogue_close(&c);
	return !reads || faults > 0;
}

struct image {
	uint8_t *bytes;
	size_t   n;
};

static struct image
image_load(void)
{
	struct stat st;
	int fd = open(file, O_RDONLY);
	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	struct image i = { malloc((size_t)st.st_size), (size_t)st.st_size };
	assert_int_equal(read(fd, i.bytes, i.n), i.n);
	close(fd);
	return i;
}

static void
image_save(const struct image *i, size_t n)
{
	int fd = open(file, O_WRONLY | O_TRUNC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, i->bytes, n), n);
	close(fd);
}

static void
overwriting_any_512_bytes_never_crashes_and_never_lies(void **state)
{
	(void)state;
	filled();
	struct catalogue *c = opened(false, 0);
	char *before = dump_of(c);
	catalogue_close(&c);
	struct image i = image_load();
	uint8_t kept[512];
	unsigned noticed = 0, harmless = 0;
	for (size_t at = 0; at < i.n; at += PROGRAM_IS_SANITIZED ? 5 * 512 : 512)
		for (int how = 0; how < 8; how++) {
			memcpy(kept, i.bytes + at, 512);
			if (how < 2)
				memset(i.bytes + at, how ? 0xff : 0, 512);
			else if (how < 4)
				randombytes_buf(i.bytes + at, 512);
			else if (how < 6) /* bytes of another place */
				memcpy(i.bytes + at, i.bytes + (at + 512u * (unsigned)(how * 7)) % i.n / 512 * 512, 512);
			else
				for (int k = 0; k < 3; k++)
					i.bytes[at + randombytes_uniform(512)] ^= (uint8_t)(1u << randombytes_uniform(8));
			image_save(&i, i.n);
			char what[64];
			snprintf(what, sizeof what, "byte %zu, damage %d", at, how);
			if (survives(before, how & 1, what))
				noticed++;
			else
				harmless++;
			memcpy(i.bytes + at, kept, 512);
		}
	print_message("# %zu bytes: %u damages noticed, %u in unused room\n", i.n, noticed, harmless);
	assert_true(noticed > harmless / 4);
	free(i.bytes);
	free(before);
}

static void
every_truncation_is_noticed(void **state)
{
	(void)state;
	filled();
	struct catalogue *c = opened(false, 0);
	char *before = dump_of(c);
	catalogue_close(&c);
	struct image i = image_load();
	for (size_t n = 0; n < i.n; n += n % 4096 == 0 && n ? 3583 : 513) {
		image_save(&i, n);
		(void)survives(before, n & 1, "cut off"); /* what was cut off may have been free pages */
		assert_true(n > i.n / 2 || survives(before, false, "cut off"));
	}
	unlink(file);
	assert_int_equal(catalogue_open(&c, dir, key, false, 0), ERR_ABSENT);
	assert_non_null(strstr(err_text(), "atoll rebuild"));
	free(i.bytes);
	free(before);
}

static void
another_archives_key_reads_nothing(void **state)
{
	(void)state;
	struct catalogue *c = NULL;
	assert_int_equal(catalogue_open(&c, dir, (const uint8_t *)"a key of 32 bytes, but another..", false, 0), ERR_FORMAT);
	assert_null(c);
}

int
main(void)
{
	if (sodium_init() < 0)
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(finds_the_segments_of_a_time_range, begin, end),
		cmocka_unit_test_setup_teardown(agrees_with_a_linear_search_over_random_ranges, begin, end),
		cmocka_unit_test_setup_teardown(forgetting_leaves_what_was_before, begin, end),
		cmocka_unit_test_setup_teardown(a_failed_change_leaves_nothing, begin, end),
		cmocka_unit_test_setup_teardown(a_full_map_grows, begin, end),
		cmocka_unit_test_setup_teardown(a_reader_follows_a_map_that_another_process_grew, begin, end),
		cmocka_unit_test_setup_teardown(a_reader_keeps_its_snapshot_while_a_writer_commits, begin, end),
		cmocka_unit_test_setup_teardown(readers_that_were_killed_do_not_use_the_table_up, begin, end),
		cmocka_unit_test_setup_teardown(too_many_readers_are_told_to_wait, begin, end),
		cmocka_unit_test_setup_teardown(use_after_fork_is_an_assertion, begin, end),
		cmocka_unit_test_setup_teardown(overwriting_any_512_bytes_never_crashes_and_never_lies, begin, end),
		cmocka_unit_test_setup_teardown(every_truncation_is_noticed, begin, end),
		cmocka_unit_test_setup_teardown(another_archives_key_reads_nothing, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
