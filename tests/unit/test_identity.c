#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "ingest/identity.h"
#include "tests/support/scratch.h"
#include "tests/support/spool_model.h"
#include "tests/support/unit.h"

static char folder[PATH_BYTES], dir[PATH_BYTES], path[PATH_BYTES];
static struct identity *id;

static int
begin(void **state)
{
	(void)state;
	scratch_make(folder);
	snprintf(dir, sizeof dir, "%.4000s/collect", folder);
	snprintf(path, sizeof path, "%.4000s/collect/identity", folder);
	id = model_identity();
	memset(id->archive_key, 7, sizeof id->archive_key);
	id->port = 1234;
	return identity_store(dir, id) == OK ? 0 : -1;
}

static int
end(void **state)
{
	(void)state;
	identity_close(&id);
	scratch_remove(folder);
	return 0;
}

static void
an_identity_comes_back_as_it_was(void **state)
{
	(void)state;
	struct stat st;
	struct identity *again = NULL;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(identity_load(&again, dir), OK);
	assert_memory_equal(again->seed, id->seed, sizeof id->seed);
	assert_memory_equal(again->noise_secret, id->noise_secret, 32);
	assert_memory_equal(again->noise_public, id->noise_public, 32);
	assert_memory_equal(again->sign_secret, id->sign_secret, 64);
	assert_memory_equal(again->sign_public, id->sign_public, 32);
	assert_memory_equal(again->archive_key, id->archive_key, 32);
	assert_memory_equal(again->archive, id->archive, 16);
	assert_memory_equal(again->ingest, id->ingest, 32);
	assert_string_equal(again->monitor, "roof");
	assert_string_equal(again->host, "127.0.0.1");
	assert_int_equal(again->port, 1234);
	assert_true(again->enrolled);
	identity_close(&again);
	id->enrolled = false;
	assert_int_equal(identity_store(dir, id), OK); /* over the old one */
	assert_int_equal(identity_load(&again, dir), OK);
	assert_false(again->enrolled);
	identity_close(&again);
	identity_close(&again);
}

static void
keys_follow_from_the_seed_alone(void **state)
{
	(void)state;
	struct identity *a = NULL, *b = NULL, *c = NULL;
	const uint8_t seed[IDENTITY_SEED_BYTES] = { 0 };
	assert_int_equal(identity_make(&a, seed), OK);
	assert_int_equal(identity_make(&b, NULL), OK);
	assert_int_equal(identity_make(&c, NULL), OK);
	/* changing these would make every monitor a stranger */
	char hex[17];
	snprintf(hex, sizeof hex, "%02x%02x%02x%02x%02x%02x%02x%02x", a->noise_public[0], a->noise_public[1], a->noise_public[2],
	         a->noise_public[3], a->sign_public[0], a->sign_public[1], a->sign_public[2], a->sign_public[3]);
	assert_string_equal(hex, "a91e757bc72a869c");
	assert_memory_not_equal(a->noise_secret, a->sign_secret, 32);
	assert_memory_not_equal(b->seed, c->seed, 32);
	assert_memory_not_equal(b->noise_public, c->noise_public, 32);
	identity_close(&a);
	identity_close(&b);
	identity_close(&c);
}

static void
one_that_others_may_read_is_refused(void **state)
{
	(void)state;
	struct identity *again = NULL;
	static const mode_t modes[] = { 0640, 0604, 0660, 0666, 0601 };
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		assert_int_equal(chmod(path, modes[i]), 0);
		assert_int_equal(identity_load(&again, dir), ERR_DENIED);
		assert_null(again);
	}
}

static void
every_truncation_and_every_flipped_bit_is_refused(void **state)
{
	(void)state;
	struct identity *again = NULL;
	uint8_t bytes[1024];
	size_t n;
	int fd = -1;
	assert_int_equal(io_open_write(&fd, path), OK);
	assert_int_equal(io_read(fd, bytes, sizeof bytes, &n, path), OK);
	for (size_t at = 0; at < n; at++)
		for (int bit = 0; bit < 8; bit += 3) {
			uint8_t byte = bytes[at] ^ (uint8_t)(1 << bit);
			assert_int_equal(io_pwrite(fd, &byte, 1, at, path), OK);
			enum err e = identity_load(&again, dir);
			assert_true(e == ERR_FORMAT || e == ERR_UNSUPPORTED);
			assert_int_equal(io_pwrite(fd, &bytes[at], 1, at, path), OK);
		}
	for (size_t cut = n; cut-- > 0;) {
		assert_int_equal(ftruncate(fd, (off_t)cut), 0);
		assert_int_equal(identity_load(&again, dir), ERR_FORMAT);
	}
	assert_null(again);
	io_close(&fd);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(identity_load(&again, dir), ERR_ABSENT);
	assert_non_null(strstr(err_text(), "enroll"));
}

static void
what_a_crash_left_does_not_matter(void **state)
{
	(void)state;
	char next[PATH_BYTES];
	struct identity *again = NULL;
	snprintf(next, sizeof next, "%.4000s/collect/identity.new", folder);
	int fd = open(next, O_CREAT | O_WRONLY, 0644);
	assert_int_equal(write(fd, "half", 4), 4);
	close(fd);
	assert_int_equal(identity_load(&again, dir), OK);
	identity_close(&again);
	assert_int_equal(identity_store(dir, id), OK);
	assert_int_equal(identity_load(&again, dir), OK);
	identity_close(&again);
}

static void
addresses_are_read(void **state)
{
	(void)state;
	static const struct { const char *url, *host; unsigned port; } good[] = {
		{ "atoll://archive.example.net", "archive.example.net", WIRE_PORT }, { "archive", "archive", WIRE_PORT },
		{ "atoll://10.0.0.5:99", "10.0.0.5", 99 }, { "10.0.0.5:65535", "10.0.0.5", 65535 },
		{ "atoll://[2001:db8::1]:5", "2001:db8::1", 5 }, { "[::1]", "::1", WIRE_PORT }, { "atoll://h/", "h", WIRE_PORT },
		{ "[fe80::1%eth0]:7", "fe80::1%eth0", 7 },
	};
	static const char *const bad[] = { "", "atoll://", ":5", "h:0", "h:65536", "h:x", "h:", "http://h", "h/path", "[::1", "h h",
		"[]:5", "a\nb", "h:99999999999999999999" };
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(identity_address(id, good[i].url), OK);
		assert_string_equal(id->host, good[i].host);
		assert_int_equal(id->port, good[i].port);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		if (identity_address(id, bad[i]) != ERR_USAGE)
			print_message("%s was taken\n", bad[i]);
		assert_int_equal(identity_address(id, bad[i]), ERR_USAGE);
	}
	assert_string_equal(id->host, "fe80::1%eth0");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
		TEST(an_identity_comes_back_as_it_was),
		TEST(keys_follow_from_the_seed_alone),
		TEST(one_that_others_may_read_is_refused),
		TEST(every_truncation_and_every_flipped_bit_is_refused),
		TEST(what_a_crash_left_does_not_matter),
		TEST(addresses_are_read),
	};
	scratch_in_memory();
	scratch_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
