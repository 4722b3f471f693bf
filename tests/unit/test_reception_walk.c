/* A process that receives and merges is stopped at each of its steps in each way that tests/fault/shim.c knows. Then what was
 * acknowledged is there, nothing is there twice, the archive is in order, and the same parcels, sent again, come to the same. */
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "index/fsck.h"
#include "index/rebuild.h"
#include "tests/support/faulted.h"
#include "tests/support/make_archive.h"
#include "tests/support/sender.h"
#include "tests/support/unit.h"

enum { STREAMS = 2, PARCELS = 7 };
static const char *const names[STREAMS] = { "walk/a", "walk/b" };

static void
must(enum err e, int line)
{
	if (e != OK)
		print_message("# line %d: %s: %s\n", line, err_name(e), err_text());
	assert_int_equal(e, OK);
}
#define MUST(call) must(call, __LINE__)

static void
print_fault(void *arg, const char *sentence)
{
	print_message("# %s: %s\n", (const char *)arg, sentence);
}

static void
spool_path(char out[PATH_BYTES], const char *archive)
{
	if (snprintf(out, PATH_BYTES, "%s.spool", archive) >= PATH_BYTES)
		abort();
}

/* The spools of both streams, one parcel of each in turn. */
static unsigned
spool_read(const char *archive, struct sent **v)
{
	char path[PATH_BYTES];
	unsigned n = 0;
	spool_path(path, archive);
	FILE *f = fopen(path, "r");
	if (!f)
		abort();
	while (n < STREAMS * PARCELS && (v[n] = sent_read(f)))
		n++;
	fclose(f);
	return n;
}

/* What the walked process does; parcels that are there are not sent anew. */
static enum err
walk(struct store *s, const struct sender *m, struct sent *const *v, unsigned n, int ack)
{
	enum landing_answer answer;
	struct feed_mark mark;
	bool more;
	for (unsigned i = 0; i < n; i++) {
		TRY(send_land(s, m, v[i], 1000 + i, &answer, &mark));
		if (answer != LANDED && answer != LANDED_BEFORE)
			return ERR_USAGE;
		if (i % 3 != 2 && i + 1 < n)
			continue;
		TRY(store_land_commit(s));
		uint8_t count = (uint8_t)(i + 1);
		if (write(ack, &count, 1) != 1)
			return ERR_IO;
		TRY(reception_tend(s, NULL, 1000 + i, false, &more));
		for (more = i % 6 == 5 || i + 1 == n; more;)
			TRY(reception_tend(s, NULL, 1000 + i, true, &more));
	}
	return OK;
}

static int
walk_child(const char *archive, const char *ack_path)
{
	struct store *s = NULL;
	struct sender m;
	struct sent *v[STREAMS * PARCELS];
	int ack = open(ack_path, O_WRONLY | O_APPEND);
	unsigned n = spool_read(archive, v);
	enum err e = store_open(&s, archive, NULL);
	if (e == OK)
		sender_open(&m, s, "walk", 1);
	for (unsigned tries = 0; e == OK && tries < 3; tries++) { /* a full disk may be one no more */
		e = walk(s, &m, v, n, ack);
		if (e != ERR_FULL)
			break;
		e = tries < 2 ? OK : e;
	}
	store_close(&s);
	if (e != OK)
		fprintf(stderr, "# %s: %s\n", err_name(e), err_text());
	return e == OK ? 0 : 9;
}

/* Of each stream there are the first so many parcels, and at least those that were acknowledged. */
static void
walk_verify(const char *archive, const char *ack, struct sent *const *v, unsigned n, bool all, const char *fault)
{
	struct archive *a = NULL;
	uint8_t acks[64];
	char what[64];
	struct fsck_report report;
	int fd = open(ack, O_RDONLY);
	ssize_t got = read(fd, acks, sizeof acks);
	close(fd);
	unsigned acknowledged = got > 0 ? acks[got - 1] : 0;
	enum err e = archive_open(&a, archive, NULL, ARCHIVE_READ);
	if (e != OK)
		print_message("# %s: %s\n", fault, err_text());
	assert_int_equal(e, OK);
	for (unsigned stream = 0; stream < STREAMS; stream++) {
		struct digest have = { 0 }, want = { 0 };
		e = archive_digest(a, names[stream], 0, UINT64_MAX, &have, NULL);
		assert_true(e == OK || (e == ERR_ABSENT && acknowledged == 0));
		unsigned i = stream;
		for (; i < n && (all || i < acknowledged || want.records != have.records); i += STREAMS)
			digest_add(&want, &v[i]->digest);
		if (want.records != have.records || want.sum != have.sum)
			print_message("# %s: %llu records, acknowledged %u\n", fault, (unsigned long long)have.records, acknowledged);
		assert_int_equal(want.records, have.records);
		assert_int_equal(want.sum, have.sum);
	}
	archive_close(&a);
	snprintf(what, sizeof what, "%s", fault);
	MUST(fsck_run(archive, NULL, &(struct fsck_options){ .see = print_fault, .arg = what }, &report));
	assert_int_equal(report.faults, 0);
	if (!all)
		return;
	char *before = test_archive_dump(archive, NULL);
	struct rebuild_report rebuilt;
	MUST(rebuild_run(archive, NULL, NULL, NULL, &rebuilt));
	char *after = test_archive_dump(archive, NULL);
	assert_non_null(before);
	assert_string_equal(before, after);
	free(before), free(after);
}

/* An archive with the monitor enrolled, and beside it what the monitor has in its spool. */
static void
prepare(const char *fresh)
{
	struct store *s = NULL;
	struct sender m;
	struct sending streams[STREAMS];
	char path[PATH_BYTES];
	MUST(archive_init(fresh, NULL));
	MUST(store_open(&s, fresh, NULL));
	sender_open(&m, s, "walk", 1);
	store_close(&s);
	spool_path(path, fresh);
	FILE *f = fopen(path, "w");
	for (unsigned i = 0; i < STREAMS * PARCELS; i++) {
		struct sending *t = &streams[i % STREAMS];
		if (i < STREAMS)
			sending_begin(t, &m, names[i] + sizeof "walk/" - 1, 5 + i);
		t->lost_kernel += i % 4;
		struct sent *p = i == 4 ? send_loss(t, 2, 3) : send_block(t, i % 5 == 1 ? BLOCK_RECORDS_MAX / 2 + 1 : 20);
		sent_write(p, f);
		sent_free(&p);
	}
	fclose(f);
}

static void
nothing_acknowledged_is_lost_at_any_step(void **state)
{
	(void)state;
	static const struct { const char *before, *behind; } modes[] = {
		{ "kill:", "" }, { "after:", "" }, { "torn:", "" }, { "errno:EIO:", "" }, { "errno:ENOSPC:", "+" },
		{ "errno:ENOSPC:", "" }, { "errno:EINTR:", "" }, { "short:", "" },
	};
	if (!faulted_ready())
		skip();
	char top[PATH_BYTES], fresh[PATH_BYTES], archive[PATH_BYTES], ack[PATH_BYTES], count[PATH_BYTES], from[PATH_BYTES];
	char to[PATH_BYTES];
	struct sent *v[STREAMS * PARCELS];
	scratch_make(top);
	MUST(io_path(fresh, top, "fresh"));
	MUST(io_path(archive, top, "a"));
	MUST(io_path(ack, top, "ack"));
	MUST(io_path(count, top, "count"));
	prepare(fresh);
	spool_path(from, fresh);
	spool_path(to, archive);
	assert_int_equal(rename(from, to), 0);
	unsigned n = spool_read(archive, v);
	assert_int_equal(n, STREAMS * PARCELS);
	scratch_copy(fresh, archive);
	close(open(ack, O_CREAT | O_WRONLY, 0600));
	long steps = faulted_steps(archive, ack, count), runs = 0, over_full = 0;
	assert_in_range(steps, 60, 2000);
	walk_verify(archive, ack, v, n, true, "none");
#if defined(__SANITIZE_ADDRESS__)
	const long stride = 29; /* a sanitized process takes ten times as long to start */
#else
	const long stride = 5;
#endif
	for (size_t m = 0; m < sizeof modes / sizeof *modes; m++)
		for (long k = 1 + (long)m % stride; k <= steps; k += m == 0 && stride == 5 ? 1 : stride, runs++) {
			char fault[64];
			snprintf(fault, sizeof fault, "%s%ld%s", modes[m].before, k, modes[m].behind);
			scratch_remove(archive);
			scratch_copy(fresh, archive);
			assert_int_equal(truncate(ack, 0), 0);
			int first = faulted_run(archive, ack, fault);
			over_full += first == 0 && strcmp(modes[m].before, "errno:ENOSPC:") == 0 && modes[m].behind[0] == 0;
			walk_verify(archive, ack, v, n, false, fault);
			int status = faulted_run(archive, ack, NULL);
			if (status != 0)
				print_message("# %s: going on failed\n", fault);
			assert_int_equal(status, 0);
			walk_verify(archive, ack, v, n, true, fault);
		}
	print_message("# %ld steps, %ld runs; went on after a full disk %ld times\n", steps, runs, over_full);
	assert_true(over_full > 0);
	for (unsigned i = 0; i < n; i++)
		sent_free(&v[i]);
	scratch_remove(top);
}

int
main(int argc, char **argv)
{
	if (sodium_init() < 0)
		return 1;
	if (argc == 4 && strcmp(argv[1], "walk") == 0)
		return walk_child(argv[2], argv[3]);
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 0); /* every step is a run of its own: no disk wanted */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_acknowledged_is_lost_at_any_step),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	sender_release();
	return failed;
}
