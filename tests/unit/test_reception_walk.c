/* A process that receives and merges is stopped at each of its steps in each way that tests/fault/shim.c knows. Then what was
 * acknowledged is there, nothing is there twice, the archive is in order, and the same parcels, sent again, come to the same. */
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/support/archive_check.h"
#include "tests/support/faulted.h"
#include "tests/support/make_archive.h"
#include "tests/support/sender.h"
#include "tests/support/unit.h"

enum { STREAMS = 2, PARCELS = 7 };
static const char *const names[STREAMS] = { "walk/a", "walk/b" };

/* What the monitor has in its spool, as the judge reads it; and how often the walked process went on after a full disk. */
static struct sent *spool[STREAMS * PARCELS];
static unsigned parcels, over_full;

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
walk_verify(const struct faulted *w, const char *fault, bool all)
{
	struct archive *a = NULL;
	uint8_t acks[64];
	int fd = open(w->ack, O_RDONLY);
	ssize_t got = read(fd, acks, sizeof acks);
	close(fd);
	unsigned acknowledged = got > 0 ? acks[got - 1] : 0;
	enum err e = archive_open(&a, w->archive, NULL, ARCHIVE_READ);
	if (e != OK)
		print_message("# %s: %s\n", fault, err_text());
	assert_int_equal(e, OK);
	for (unsigned stream = 0; stream < STREAMS; stream++) {
		struct digest have = { 0 }, want = { 0 };
		e = archive_digest(a, names[stream], 0, UINT64_MAX, &have, NULL);
		assert_true(e == OK || (e == ERR_ABSENT && acknowledged == 0));
		unsigned i = stream;
		for (; i < parcels && (all || i < acknowledged || want.records != have.records); i += STREAMS)
			digest_add(&want, &spool[i]->digest);
		if (want.records != have.records || want.sum != have.sum)
			print_message("# %s: %llu records, acknowledged %u\n", fault, (unsigned long long)have.records, acknowledged);
		assert_int_equal(want.records, have.records);
		assert_int_equal(want.sum, have.sum);
	}
	archive_close(&a);
	archive_is_clean(w->archive, fault);
	if (all)
		archive_rebuilds_to_itself(w->archive, fault);
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
		struct sent *p = i == 4 ? send_loss(t, 2, 3) : send_block(t, i % 7 == 1 ? BLOCK_RECORDS_MAX / 2 + 1 : 20);
		sent_write(p, f);
		sent_free(&p);
	}
	fclose(f);
}

static void
walk_case(const struct faulted *w, const char *fault)
{
	int status = faulted_run(w, fault);
	over_full += status == 0 && strncmp(fault, "errno:ENOSPC:", 13) == 0 && fault[strlen(fault) - 1] != '+';
	walk_verify(w, fault, false);
	status = faulted_run(w, NULL);
	if (status != 0)
		print_message("# %s: going on failed\n", fault);
	assert_int_equal(status, 0);
	walk_verify(w, fault, true);
}

static void
nothing_acknowledged_is_lost_at_any_step(void **state)
{
	(void)state;
	static const struct faulted_kind kinds[] = {
		{ "kill", 1 }, { "torn", 5 }, { "errno:EIO", 5 }, { "errno:ENOSPC+", 5 }, { "errno:ENOSPC", 5 }, { "errno:EINTR", 5 },
		{ "short", 5 },
	};
	struct faulted w;
	char from[PATH_BYTES], to[PATH_BYTES];
	if (!faulted_begin(&w))
		skip();
	prepare(w.fresh);
	spool_path(from, w.fresh);
	spool_path(to, w.archive);
	assert_int_equal(rename(from, to), 0);
	parcels = spool_read(w.archive, spool);
	assert_int_equal(parcels, STREAMS * PARCELS);
	faulted_count(&w);
	assert_in_range(w.steps, 60, FAULTED_STEPS_MAX);
	walk_verify(&w, "none", true);
	faulted_walk(&w, kinds, sizeof kinds / sizeof *kinds, walk_case);
	print_message("# went on after a full disk %u times\n", over_full);
	assert_true(over_full > 0);
	for (unsigned i = 0; i < parcels; i++)
		sent_free(&spool[i]);
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
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	sender_release();
	return failed;
}
