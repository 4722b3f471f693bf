#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "base/when.h"
#include "index/change.h"
#include "index/fsck.h"
#include "index/monitors.h"
#include "index/rebuild.h"
#include "tests/support/archive_check.h"
#include "tests/support/faulted.h"
#include "tests/support/make_archive.h"
#include "tests/support/unit.h"

#define NOW  1795286635000000000ull
#define MINUTE 60000000000ull

static char dir[PATH_BYTES];
static bool code_only;
static struct store *s;

static int
begin(void **state)
{
	(void)state;
	scratch_make(dir);
	return archive_init(dir, NULL) == OK && store_open(&s, dir, NULL) == OK ? 0 : -1;
}

static int
end(void **state)
{
	(void)state;
	store_close(&s);
	scratch_remove(dir);
	return 0;
}

static void
again(void)
{
	store_close(&s);
	MUST(store_open(&s, dir, NULL));
}

struct keys {
	uint8_t noise[32], sign[32];
};

static struct keys
keys_of(uint32_t n)
{
	struct keys k = { 0 };
	store_le32(k.noise, 2 * n + 1);
	store_le32(k.sign, 2 * n + 2);
	return k;
}

static enum err
enrol(const uint8_t code[TICKET_BYTES], uint32_t keys, uint64_t now_ns, struct monitor_row *row)
{
	struct keys k = keys_of(keys);
	return monitors_enrol(s, code, k.noise, k.sign, now_ns, row);
}

static void
enrolled(const char *name, uint32_t keys, struct monitor_row *row)
{
	uint8_t code[TICKET_BYTES];
	MUST(monitors_ticket(s, name, NOW, NOW + MINUTE, code));
	MUST(enrol(code, keys, NOW + 1, row));
}

static struct monitor_row
monitor(uint32_t id)
{
	struct monitor_row row;
	MUST(catalogue_begin(archive_catalogue(store_archive(s))));
	MUST(catalogue_monitor(archive_catalogue(store_archive(s)), id, &row));
	catalogue_end(archive_catalogue(store_archive(s)));
	return row;
}

static void
a_code_enrols_once(void **state)
{
	(void)state;
	uint8_t code[TICKET_BYTES];
	struct monitor_row row, kept = { .id = 99 };
	MUST(monitors_ticket(s, "roof", NOW, NOW + MINUTE, code));
	MUST(enrol(code, 1, NOW + 5, &row));
	assert_int_equal(row.id, 1);
	assert_int_equal(row.state, MONITOR_ENROLLED);
	assert_int_equal(row.enrolled_ns, NOW + 5);
	assert_string_equal(row.name, "roof");
	assert_int_equal(enrol(code, 2, NOW + 6, &kept), ERR_DENIED);
	assert_int_equal(kept.id, 99);
	again();
	assert_int_equal(enrol(code, 2, NOW + 6, &kept), ERR_DENIED);
	struct monitor_row stored = monitor(1);
	assert_true(row_equal(ROW_KIND_MONITOR, &stored, &row));
}

static void
who_did_not_get_the_answer_may_ask_again(void **state)
{
	(void)state;
	uint8_t code[TICKET_BYTES];
	struct monitor_row row, second;
	MUST(monitors_ticket(s, "roof", NOW, NOW + MINUTE, code));
	MUST(enrol(code, 1, NOW, &row));
	MUST(enrol(code, 1, NOW + 10 * MINUTE, &second));
	assert_true(row_equal(ROW_KIND_MONITOR, &second, &row));
	MUST(monitors_revoke(s, "roof", &code_only));
	assert_int_equal(enrol(code, 1, NOW, &second), ERR_DENIED);
}

static void
unknown_used_and_expired_codes_get_one_sentence(void **state)
{
	(void)state;
	uint8_t code[TICKET_BYTES], other[TICKET_BYTES] = { 1 };
	char first[ERR_TEXT_BYTES];
	struct monitor_row row;
	MUST(monitors_ticket(s, "roof", NOW, NOW + MINUTE, code));
	assert_int_equal(enrol(other, 1, NOW, &row), ERR_DENIED);
	snprintf(first, sizeof first, "%s", err_text());
	assert_int_equal(enrol(code, 1, NOW + MINUTE, &row), ERR_DENIED);
	assert_string_equal(err_text(), first);
	assert_int_equal(enrol(code, 1, NOW - TICKET_TTL_NS_MAX, &row), ERR_DENIED); /* the clock was set back */
	assert_string_equal(err_text(), first);
	MUST(enrol(code, 1, NOW + MINUTE - 1, &row));
	assert_int_equal(enrol(code, 2, NOW, &row), ERR_DENIED);
	assert_string_equal(err_text(), first);
}

static void
a_later_code_voids_the_earlier_one(void **state)
{
	(void)state;
	uint8_t code[2][TICKET_BYTES];
	struct monitor_row row;
	MUST(monitors_ticket(s, "roof", NOW, NOW + MINUTE, code[0]));
	MUST(monitors_ticket(s, "roof", NOW, NOW + MINUTE, code[1]));
	assert_int_equal(enrol(code[0], 1, NOW, &row), ERR_DENIED);
	MUST(enrol(code[1], 1, NOW, &row));
	MUST(monitors_ticket(s, "cellar", NOW, NOW + MINUTE, code[0]));
	MUST(monitors_revoke(s, "cellar", &code_only)); /* no monitor yet, but a code */
	assert_int_equal(enrol(code[0], 2, NOW, &row), ERR_DENIED);
	assert_int_equal(monitors_revoke(s, "cellar", &code_only), ERR_ABSENT);
}

static void
names_and_times_are_checked(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "a/b", "a b", ".a", "-a", "a\n", "\xc3\xa4",
		"0123456789012345678901234567890123456789012345678901234567890123" };
	uint8_t code[TICKET_BYTES] = { 7 }, same[TICKET_BYTES] = { 7 };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(monitors_ticket(s, bad[i], NOW, NOW + MINUTE, code), ERR_USAGE);
	assert_int_equal(monitors_ticket(s, "a", NOW, NOW, code), ERR_USAGE);
	assert_int_equal(monitors_ticket(s, "a", NOW, NOW - 1, code), ERR_USAGE);
	assert_int_equal(monitors_ticket(s, "a", NOW, NOW + TICKET_TTL_NS_MAX + 1, code), ERR_USAGE);
	assert_memory_equal(code, same, sizeof code);
	MUST(monitors_ticket(s, "A9_.-012345678901234567890123456789012345678901234567890123456", NOW, NOW + MINUTE, code));
}

static void
a_name_and_a_key_are_enrolled_once(void **state)
{
	(void)state;
	uint8_t code[TICKET_BYTES];
	struct monitor_row row;
	struct keys one = keys_of(1), two = keys_of(2);
	enrolled("roof", 1, &row);
	assert_int_equal(monitors_ticket(s, "roof", NOW, NOW + MINUTE, code), ERR_EXISTS);
	MUST(monitors_ticket(s, "cellar", NOW, NOW + MINUTE, code));
	assert_int_equal(monitors_enrol(s, code, one.noise, two.sign, NOW, &row), ERR_EXISTS);
	assert_int_equal(monitors_enrol(s, code, two.noise, one.sign, NOW, &row), ERR_EXISTS);
	MUST(monitors_enrol(s, code, two.noise, two.sign, NOW, &row)); /* the code was not used up by that */
	assert_int_equal(row.id, 2);
}

static void
a_revoked_one_comes_back_with_new_keys_as_the_same_number(void **state)
{
	(void)state;
	uint8_t code[TICKET_BYTES];
	struct monitor_row row;
	enrolled("roof", 1, &row);
	enrolled("cellar", 2, &row);
	MUST(monitors_revoke(s, "roof", &code_only));
	MUST(monitors_revoke(s, "roof", &code_only));
	assert_int_equal(monitor(1).state, MONITOR_REVOKED);
	MUST(monitors_quarantine(s, 2, "its chain\nforked"));
	MUST(monitors_quarantine(s, 2, "later"));
	assert_string_equal(monitor(2).reason, "its chain?forked");
	MUST(monitors_ticket(s, "roof", NOW, NOW + MINUTE, code));
	assert_int_equal(enrol(code, 1, NOW, &row), ERR_EXISTS);
	MUST(enrol(code, 3, NOW, &row));
	assert_int_equal(row.id, 1);
	MUST(monitors_ticket(s, "cellar", NOW, NOW + MINUTE, code));
	MUST(enrol(code, 4, NOW, &row));
	assert_int_equal(row.id, 2);
	assert_int_equal(row.state, MONITOR_ENROLLED);
	assert_string_equal(row.reason, "");
	MUST(monitors_revoke(s, "roof", &code_only));
	MUST(monitors_quarantine(s, 1, "too late"));
	assert_int_equal(monitor(1).state, MONITOR_REVOKED);
	assert_int_equal(monitors_revoke(s, "rof", &code_only), ERR_ABSENT);
	assert_non_null(strstr(err_text(), "did you mean \"roof\""));
	assert_int_equal(monitors_quarantine(s, 9, "no such"), ERR_ABSENT);
}

static void
find_goes_by_the_noise_key(void **state)
{
	(void)state;
	struct monitor_row row;
	struct keys k = keys_of(2);
	enrolled("roof", 1, &row);
	enrolled("cellar", 2, &row);
	struct catalogue *c = archive_catalogue(store_archive(s));
	MUST(catalogue_begin(c));
	MUST(monitors_find(c, k.noise, &row));
	assert_string_equal(row.name, "cellar");
	assert_int_equal(monitors_find(c, k.sign, &row), ERR_ABSENT);
	catalogue_end(c);
}

static void
a_rebuild_keeps_monitors_and_says_that_codes_are_void(void **state)
{
	(void)state;
	uint8_t code[TICKET_BYTES];
	struct monitor_row row;
	struct rebuild_report report;
	enrolled("roof", 1, &row);
	enrolled("cellar", 2, &row);
	MUST(monitors_quarantine(s, 2, "100 % \"wrong\""));
	store_close(&s);
	char *before = test_archive_dump(dir, NULL);
	MUST(rebuild_run(dir, NULL, NULL, NULL, &report));
	char *after = test_archive_dump(dir, NULL);
	assert_string_equal(before, after);
	assert_non_null(strstr(after, "monitor id=2 state=2"));
	free(before), free(after);
	MUST(store_open(&s, dir, NULL));
	MUST(monitors_ticket(s, "attic", NOW, NOW + MINUTE, code));
	store_close(&s);
	struct fsck_report checked;
	MUST(fsck_run(dir, NULL, &(struct fsck_options){ 0 }, &checked));
	assert_int_equal(checked.faults, 0);
	MUST(rebuild_run(dir, NULL, NULL, NULL, &report));
	MUST(store_open(&s, dir, NULL));
	assert_int_equal(enrol(code, 3, NOW, &row), ERR_DENIED);
}

static enum err
many_change(struct catalogue *c, void *arg)
{
	(void)arg;
	for (uint32_t i = 2; i <= MONITORS_MAX; i++) {
		struct keys k = keys_of(i);
		struct monitor_row row = { .id = i };
		memcpy(row.noise_key, k.noise, 32);
		memcpy(row.sign_key, k.sign, 32);
		snprintf(row.name, sizeof row.name, "m%u", i);
		TRY(catalogue_put_monitor(c, &row));
	}
	return OK;
}

static void
there_is_a_limit(void **state)
{
	(void)state;
	uint8_t code[TICKET_BYTES], first[TICKET_BYTES];
	struct monitor_row row;
	struct vitals v;
	struct catalogue *c = archive_catalogue(store_archive(s));
	enrolled("m1", 1, &row);
	MUST(monitors_ticket(s, "early", NOW, NOW + MINUTE, first));
	MUST(catalogue_update(c, many_change, NULL));
	assert_int_equal(monitors_ticket(s, "more", NOW, NOW + MINUTE, code), ERR_LIMIT);
	assert_int_equal(enrol(first, MONITORS_MAX + 1, NOW, &row), ERR_LIMIT);
	MUST(monitors_revoke(s, "m4096", &code_only));
	MUST(monitors_ticket(s, "m4096", NOW, NOW + MINUTE, code)); /* takes no new place */
	MUST(enrol(code, MONITORS_MAX + 2, NOW, &row));
	MUST(catalogue_begin(c));
	MUST(monitors_vitals(c, &v));
	catalogue_end(c);
	assert_int_equal(v.monitor_count, MONITORS_MAX);
	assert_string_equal(vitals_find(&v, 4095)->name, "m4095");
	vitals_fini(&v);
}

static enum err
feed_change(struct catalogue *c, void *arg)
{
	const uint32_t *stream = arg;
	struct feed_row feeds[] = {
		{ .stream = stream[0], .monitor = 1, .epoch = 1, .sequence = 2, .last_ns = NOW + 7, .arrived_ns = NOW + 9, .parcels = 2,
		  .records = 20, .past_kernel = 1, .lost_kernel = 2, .lost_spool = 5 },
		{ .stream = stream[1], .monitor = 1, .epoch = 1, .sequence = 1, .last_ns = NOW + 8, .arrived_ns = NOW + 5, .parcels = 1,
		  .records = 10, .lost_kernel = 4, .lost_archive = 1 },
	};
	TRY(catalogue_put_feed(c, &feeds[0]));
	return catalogue_put_feed(c, &feeds[1]);
}

static void
numbers_are_those_of_the_streams_that_it_feeds(void **state)
{
	(void)state;
	static const char *const names[] = { "roof/eth0", "roof/eth1", "roof", "roofs/eth0", "cellar/x" };
	struct monitor_row row;
	struct vitals v;
	uint32_t stream[5];
	enrolled("roof", 1, &row);
	enrolled("cellar", 2, &row);
	for (uint32_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct test_segment t = { .first_ns = NOW + i, .blocks = 1, .per_block = 10 };
		MUST(store_stream(s, names[i], &stream[i]));
		MUST(test_segment_commit(s, stream[i], &t, NULL, 0));
	}
	MUST(catalogue_update(archive_catalogue(store_archive(s)), feed_change, stream));
	MUST(catalogue_begin(archive_catalogue(store_archive(s))));
	MUST(monitors_vitals(archive_catalogue(store_archive(s)), &v));
	catalogue_end(archive_catalogue(store_archive(s)));
	assert_int_equal(v.monitor_count, 2);
	assert_int_equal(v.stored_records, 50);
	assert_int_equal(v.streams, 5);
	assert_int_equal(v.monitors[0].stored_records, 20);
	assert_int_equal(v.monitors[0].last_ns, NOW + 8);
	assert_int_equal(v.monitors[0].seen_ns, NOW + 9);
	assert_int_equal(v.monitors[0].records, 30);
	assert_int_equal(v.monitors[0].parcels, 3);
	assert_int_equal(v.monitors[0].lost_kernel, 7);
	assert_int_equal(v.monitors[0].lost_spool, 5);
	assert_int_equal(v.monitors[0].lost_archive, 1);
	assert_int_equal(v.monitors[1].stored_records, 0);
	vitals_fini(&v);
}

static void
the_two_key_pairs_are_the_archives_own(void **state)
{
	(void)state;
	struct archive_identity one, two;
	uint8_t public[32];
	monitors_identity(archive_keystore(store_archive(s)), &one);
	again();
	monitors_identity(archive_keystore(store_archive(s)), &two);
	assert_memory_equal(&one, &two, sizeof one);
	assert_memory_not_equal(one.noise_secret, one.ingest_secret, 32);
	assert_int_equal(crypto_scalarmult_base(public, one.noise_secret), 0);
	assert_memory_equal(public, one.noise_public, 32);
}

/* --- killed at each step --- */

static void
codes_that_wait_are_shown(void **state)
{
	(void)state;
	struct vitals v = { 0 };
	uint8_t code[TICKET_BYTES];
	uint64_t now_ns = when_now();
	MUST(monitors_ticket(s, "roof", now_ns, now_ns + 1000000000000u, code));
	MUST(monitors_enrol(s, code, (const uint8_t[32]){ 1 }, (const uint8_t[32]){ 2 }, now_ns, &(struct monitor_row){ 0 }));
	MUST(monitors_revoke(s, "roof", &code_only));
	assert_false(code_only);
	MUST(monitors_ticket(s, "roof", now_ns, now_ns + 2000000000000u, code));
	MUST(monitors_ticket(s, "late", now_ns, now_ns + 1, code));
	MUST(monitors_ticket(s, "cellar", now_ns, now_ns + 3000000000000u, code));
	struct catalogue *c = archive_catalogue(store_archive(s));
	MUST(catalogue_begin(c));
	MUST(monitors_vitals(c, &v));
	catalogue_end(c);
	assert_int_equal(v.monitor_count, 2); /* not the expired one */
	assert_int_equal(v.monitors[0].state, MONITOR_REVOKED);
	assert_int_equal(v.monitors[0].code_expires_ns, now_ns + 2000000000000u);
	assert_string_equal(v.monitors[1].name, "cellar");
	assert_int_equal(v.monitors[1].state, VITALS_INVITED);
	vitals_fini(&v);
	MUST(monitors_revoke(s, "cellar", &code_only));
	assert_true(code_only);
}

static const uint8_t walk_code[TICKET_BYTES] = "walk";

static enum err
walk_ticket(struct catalogue *c, void *arg)
{
	struct ticket_row t = { .expires_ns = NOW + MINUTE, .name = "roof" };
	(void)arg;
	(void)crypto_generichash(t.hash, sizeof t.hash, walk_code, sizeof walk_code, NULL, 0);
	return catalogue_put_ticket(c, &t);
}

/* Enrols, quarantines, revokes; acknowledges each by one byte in the file. */
static int
walk_child(const char *archive, const char *ack_path)
{
	struct monitor_row row;
	int ack = open(ack_path, O_WRONLY | O_APPEND);
	enum err e = store_open(&s, archive, NULL);
	if (e == OK)
		e = enrol(walk_code, 1, NOW, &row);
	if (e == OK && write(ack, "E", 1) == 1)
		e = monitors_quarantine(s, 1, "a test");
	if (e == OK && write(ack, "Q", 1) == 1)
		e = monitors_revoke(s, "roof", &code_only);
	if (e == OK && write(ack, "R", 1) != 1)
		e = ERR_IO;
	store_close(&s);
	return e == OK ? 0 : 9;
}

/* What was acknowledged is so; a code and its monitor are never there both; the code does not work for anybody else. */
static void
walk_case(const struct faulted *w, const char *fault)
{
	char done[8] = "";
	uint8_t hash[32];
	struct monitor_row row = { .id = 0 };
	struct ticket_row ticket;
	(void)faulted_run(w, fault);
	int fd = open(w->ack, O_RDONLY);
	assert_true(read(fd, done, sizeof done - 1) >= 0);
	close(fd);
	if (store_open(&s, w->archive, NULL) != OK) {
		print_message("# %s: %s\n", fault, err_text());
		assert_true(false);
	}
	struct catalogue *c = archive_catalogue(store_archive(s));
	(void)crypto_generichash(hash, sizeof hash, walk_code, sizeof walk_code, NULL, 0);
	MUST(catalogue_begin(c));
	enum err found = catalogue_next_monitor(c, &row), there = catalogue_ticket(c, hash, &ticket);
	catalogue_end(c);
	assert_true((found == OK) != (there == OK));
	assert_true(found == OK || !strchr(done, 'E'));
	assert_true(!strchr(done, 'Q') || row.state != MONITOR_ENROLLED);
	assert_true(!strchr(done, 'R') || row.state == MONITOR_REVOKED);
	if (found == OK)
		assert_int_equal(enrol(walk_code, 2, NOW, &row), ERR_DENIED);
	else
		MUST(enrol(walk_code, 2, NOW, &row));
	store_close(&s);
	archive_is_clean(w->archive, fault);
}

static void
a_code_is_used_up_once_whatever_step_dies(void **state)
{
	(void)state;
	static const struct faulted_kind kinds[] = {
		{ "kill", 1 }, { "torn", 1 }, { "errno:EIO", 1 }, { "errno:ENOSPC+", 1 }, { "short", 1 },
	};
	struct faulted w;
	if (!faulted_begin(&w))
		skip();
	MUST(archive_init(w.fresh, NULL));
	MUST(store_open(&s, w.fresh, NULL));
	MUST(catalogue_update(archive_catalogue(store_archive(s)), walk_ticket, NULL));
	store_close(&s);
	faulted_count(&w);
	assert_in_range(w.steps, 10, 200);
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
	scratch_in_memory();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_code_enrols_once, begin, end),
		cmocka_unit_test_setup_teardown(who_did_not_get_the_answer_may_ask_again, begin, end),
		cmocka_unit_test_setup_teardown(unknown_used_and_expired_codes_get_one_sentence, begin, end),
		cmocka_unit_test_setup_teardown(a_later_code_voids_the_earlier_one, begin, end),
		cmocka_unit_test_setup_teardown(names_and_times_are_checked, begin, end),
		cmocka_unit_test_setup_teardown(a_name_and_a_key_are_enrolled_once, begin, end),
		cmocka_unit_test_setup_teardown(a_revoked_one_comes_back_with_new_keys_as_the_same_number, begin, end),
		cmocka_unit_test_setup_teardown(find_goes_by_the_noise_key, begin, end),
		cmocka_unit_test_setup_teardown(a_rebuild_keeps_monitors_and_says_that_codes_are_void, begin, end),
		cmocka_unit_test_setup_teardown(there_is_a_limit, begin, end),
		cmocka_unit_test_setup_teardown(codes_that_wait_are_shown, begin, end),
		cmocka_unit_test_setup_teardown(numbers_are_those_of_the_streams_that_it_feeds, begin, end),
		cmocka_unit_test_setup_teardown(the_two_key_pairs_are_the_archives_own, begin, end),
		cmocka_unit_test(a_code_is_used_up_once_whatever_step_dies),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
