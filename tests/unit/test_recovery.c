/* A process that imports, removes and rewrites is stopped at each of its steps in each way that tests/fault/shim.c knows;
 * then everything acknowledged must be there, the archive must be in order, and the work must go on to the same end. */
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/archive_check.h"
#include "tests/support/faulted.h"
#include "tests/support/make_archive.h"
#include "tests/support/unit.h"

#define SECOND 1000000000ull

static const uint8_t fingerprint[FINGERPRINT_BYTES] = "what was imported..............";

#define WALK_SEGMENTS 4u
#define WALK_RECORDS  60u

static void
acknowledge(int fd, const char *what, uint64_t n)
{
	char line[64];
	int bytes = snprintf(line, sizeof line, "%s %llu\n", what, (unsigned long long)n);
	if (write(fd, line, (size_t)bytes) != bytes)
		abort();
}

static enum err
walk_imports(struct store *s, uint32_t stream, int ack)
{
	struct import_row import;
	enum err e = store_import_begin(s, fingerprint, "walk.pcap", stream, false, false, &import);
	if (e == ERR_EXISTS)
		return OK;
	if (e != OK)
		return e;
	while (import.records < WALK_SEGMENTS * WALK_RECORDS) {
		uint64_t number = import.records / WALK_RECORDS;
		struct test_segment t = { .first_ns = (number + 1) * SECOND, .blocks = 2, .per_block = WALK_RECORDS / 2 };
		TRY(test_segment_commit(s, stream, &t, &import, 0));
		acknowledge(ack, "segment", number + 1);
	}
	TRY(store_import_finish(s, &import, import.fingerprint));
	acknowledge(ack, "finished", import.records);
	return OK;
}

/* Removes the first two segments and part of the third, which is then written again with one block. */
static enum err
walk_removal(struct store *s, uint32_t stream, int ack)
{
	struct store_removal removal;
	struct segment_row row = { 0 };
	TRY(store_remove(s, stream, 3 * SECOND + WALK_RECORDS / 2 * 1000, &removal));
	acknowledge(ack, "removed", 2);
	enum err e = store_next_straddling(s, &row);
	if (e == OK) {
		struct test_segment t = { .first_ns = row.hidden_until_ns, .blocks = 1, .per_block = WALK_RECORDS / 2 };
		e = test_segment_commit(s, stream, &t, NULL, row.id);
	}
	if (e == OK || e == END)
		acknowledge(ack, "replaced", 3);
	return e == END ? OK : e;
}

/* What the walked process does; it goes on where an earlier one was stopped. */
static int
walk_child(const char *archive, const char *ack_path)
{
	struct store *s = NULL;
	uint32_t stream;
	int ack = open(ack_path, O_WRONLY | O_APPEND);
	enum err e = store_open(&s, archive, NULL);
	if (e == OK)
		e = store_stream(s, "walk", &stream);
	if (e == OK)
		e = walk_imports(s, stream, ack);
	if (e == OK)
		e = walk_removal(s, stream, ack);
	store_close(&s);
	if (e != OK)
		fprintf(stderr, "# %s: %s\n", err_name(e), err_text());
	return e == OK ? 0 : 9;
}

static bool
acknowledged(const char *ack, const char *line)
{
	char text[4096] = "\n";
	FILE *f = fopen(ack, "r");
	size_t n = fread(text + 1, 1, sizeof text - 2, f);
	fclose(f);
	text[n + 1] = 0;
	return strstr(text, line) != NULL;
}

/* What was acknowledged is there, whole; nothing is there twice; what was removed is not. */
static void
walk_verify(const struct faulted *w, const char *fault)
{
	struct archive *a = NULL;
	struct segment_row row = { 0 };
	unsigned of_second[WALK_SEGMENTS + 2] = { 0 };
	enum err e = archive_open(&a, w->archive, NULL, ARCHIVE_READ);
	if (e != OK)
		print_message("# %s: %s\n", fault, err_text());
	assert_int_equal(e, OK);
	MUST(catalogue_begin(archive_catalogue(a)));
	while ((e = catalogue_next_segment(archive_catalogue(a), &row)) == OK)
		if (row.state != SEGMENT_DELETING) {
			assert_int_equal(row.state, SEGMENT_LIVE);
			assert_in_range(row.first_ns / SECOND, 1, WALK_SEGMENTS);
			of_second[row.first_ns / SECOND]++;
		}
	assert_int_equal(e, END);
	for (unsigned i = 1; i <= WALK_SEGMENTS; i++) {
		char line[32];
		snprintf(line, sizeof line, "\nsegment %u\n", i);
		assert_in_range(of_second[i], 0, 1);
		if (i >= 3 && acknowledged(w->ack, line))
			assert_int_equal(of_second[i], 1);
		if (i < 3 && acknowledged(w->ack, line) && of_second[i] == 0) /* then the removal is committed */
			assert_int_equal(of_second[1] + of_second[2], 0);
		if (i < 3 && acknowledged(w->ack, "\nremoved 2\n"))
			assert_int_equal(of_second[i], 0);
	}
	archive_close(&a);
	archive_is_clean(w->archive, fault);
}

static void
walk_is_complete(const struct faulted *w, const char *fault)
{
	struct archive *a = NULL;
	struct catalogue_totals t;
	struct import_row import;
	struct removal_row removal;
	uint64_t line = 0;
	MUST(archive_open(&a, w->archive, NULL, ARCHIVE_WRITE));
	MUST(catalogue_begin(archive_catalogue(a)));
	MUST(catalogue_sum(archive_catalogue(a), 0, &t));
	MUST(catalogue_import(archive_catalogue(a), fingerprint, &import));
	MUST(catalogue_next_removal(archive_catalogue(a), &line, &removal));
	assert_int_equal(catalogue_next_removal(archive_catalogue(a), &line, &removal), END);
	archive_close(&a);
	if (t.segments != 2)
		print_message("# %s: %llu segments\n", fault, (unsigned long long)t.segments);
	assert_int_equal(t.segments, 2);
	assert_int_equal(t.records, WALK_RECORDS + WALK_RECORDS / 2);
	assert_int_equal(t.streams, 1);
	assert_int_equal(import.complete, 1);
	assert_int_equal(import.records, WALK_SEGMENTS * WALK_RECORDS);
	archive_rebuilds_to_itself(w->archive, fault);
}

static void
walk_case(const struct faulted *w, const char *fault)
{
	(void)faulted_run(w, fault);
	walk_verify(w, fault);
	int status = faulted_run(w, NULL);
	if (status != 0)
		print_message("# %s: going on failed\n", fault);
	assert_int_equal(status, 0);
	walk_verify(w, fault);
	walk_is_complete(w, fault);
}

static void
nothing_acknowledged_is_lost_at_any_step(void **state)
{
	(void)state;
	static const struct faulted_kind kinds[] = {
		{ "kill", 1 }, { "torn", 1 }, { "errno:EIO", 1 }, { "errno:ENOSPC+", 2 }, { "errno:EINTR", 2 }, { "short", 1 },
	};
	struct faulted w;
	if (!faulted_begin(&w))
		skip();
	MUST(archive_init(w.fresh, NULL));
	faulted_count(&w);
	assert_in_range(w.steps, 60, FAULTED_STEPS_MAX);
	walk_is_complete(&w, "none");
	faulted_walk(&w, kinds, sizeof kinds / sizeof *kinds, walk_case);
	faulted_end(&w);
}

int
main(int argc, char **argv)
{
	if (sodium_init() < 0)
		return 1;
	if (argc == 4 && strcmp(argv[1], "walk") == 0)
		return walk_child(argv[2], argv[3]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_acknowledged_is_lost_at_any_step),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
