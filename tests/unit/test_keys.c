#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "archive/keys.h"
#include "base/bytes.h"
#include "tests/support/make_archive.h"
#include "tests/support/unit.h"

static char dir[PATH_BYTES];
static uint8_t id[ARCHIVE_ID_BYTES];

static int
begin(void **state)
{
	(void)state;
	if (sodium_init() < 0)
		return -1;
	scratch_make(dir);
	randombytes_buf(id, sizeof id);
	return keystore_create(dir, NULL, id) == OK ? 0 : -1;
}

static int
end(void **state)
{
	(void)state;
	scratch_remove(dir);
	return 0;
}

static size_t
load(const char *name, uint8_t *bytes, size_t room)
{
	char path[2 * PATH_BYTES];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	size_t n = fread(bytes, 1, room, f);
	fclose(f);
	return n;
}

static void
save(const char *name, const uint8_t *bytes, size_t n)
{
	char path[2 * PATH_BYTES];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	fclose(f);
}

static enum err
open_and_close(void)
{
	struct keystore *k = NULL;
	enum err e = keystore_open(&k, dir, NULL, false);
	keystore_close(&k);
	return e;
}

static void
gives_back_the_key_of_each_segment(void **state)
{
	(void)state;
	struct keystore *k = NULL;
	uint8_t keys[20][SEGMENT_KEY_BYTES], got[SEGMENT_KEY_BYTES];
	uint32_t slots[20];
	assert_int_equal(keystore_open(&k, dir, NULL, true), OK);
	for (uint32_t i = 0; i < 20; i++)
		assert_int_equal(keystore_add(k, 100 + i, &slots[i], keys[i]), OK);
	keystore_close(&k);
	assert_int_equal(keystore_open(&k, dir, NULL, false), OK);
	for (uint32_t i = 0; i < 20; i++) {
		uint64_t segment;
		assert_int_equal(keystore_get(k, slots[i], 100 + i, got), OK);
		assert_memory_equal(got, keys[i], sizeof got);
		assert_int_equal(keystore_slot(k, slots[i], &segment), OK);
		assert_int_equal(segment, 100 + i);
		for (uint32_t j = 0; j < i; j++)
			assert_memory_not_equal(keys[i], keys[j], sizeof got);
	}
	uint32_t count;
	assert_int_equal(keystore_slots(k, &count), OK);
	assert_int_equal(count, 20);
	keystore_close(&k);
}

static void
a_shredded_key_is_gone_from_the_file(void **state)
{
	(void)state;
	struct keystore *k = NULL;
	uint8_t key[SEGMENT_KEY_BYTES], bytes[4096];
	uint32_t slot, again;
	assert_int_equal(keystore_open(&k, dir, NULL, true), OK);
	assert_int_equal(keystore_add(k, 7, &slot, key), OK);
	assert_int_equal(keystore_add(k, 8, &again, key), OK);
	assert_int_equal(keystore_shred(k, slot), OK);
	assert_int_equal(keystore_shred(k, slot), OK);
	size_t n = load("keystore", bytes, sizeof bytes);
	assert_int_equal(n, KEYSTORE_HEADER_BYTES + 2 * KEYSTORE_SLOT_BYTES);
	assert_true(sodium_is_zero(bytes + KEYSTORE_HEADER_BYTES + slot * KEYSTORE_SLOT_BYTES, KEYSTORE_SLOT_BYTES));
	assert_int_equal(keystore_get(k, slot, 7, key), ERR_ABSENT);
	/* the slot serves another segment: the old one stays gone */
	assert_int_equal(keystore_add(k, 9, &again, key), OK);
	assert_int_equal(again, slot);
	assert_int_equal(keystore_get(k, slot, 7, key), ERR_ABSENT);
	assert_non_null(strstr(err_text(), "destroyed"));
	assert_int_equal(keystore_get(k, slot, 9, key), OK);
	assert_int_equal(keystore_get(k, 1000, 9, key), ERR_ABSENT);
	keystore_close(&k);
}

static void
tells_a_wrong_owner_key_from_damage(void **state)
{
	(void)state;
	char other[PATH_BYTES], path[2 * PATH_BYTES];
	struct keystore *k = NULL;
	uint8_t other_id[ARCHIVE_ID_BYTES] = { 1 };
	scratch_make(other);
	assert_int_equal(keystore_create(other, NULL, other_id), OK);
	snprintf(path, sizeof path, "%s/owner.key", other);
	assert_int_equal(keystore_open(&k, dir, path, false), ERR_DENIED);
	assert_non_null(strstr(err_text(), "--key-file"));
	/* same archive id, other key */
	scratch_remove(other);
	assert_int_equal(mkdir(other, 0700), 0);
	assert_int_equal(keystore_create(other, NULL, id), OK);
	assert_int_equal(keystore_open(&k, dir, path, false), ERR_DENIED);
	unlink(path);
	assert_int_equal(keystore_open(&k, dir, path, false), ERR_ABSENT);
	assert_non_null(strstr(err_text(), "--key-file"));
	assert_null(k);
	scratch_remove(other);
}

static void
refuses_every_truncation_and_bit_flip_of_the_header(void **state)
{
	(void)state;
	uint8_t whole[KEYSTORE_HEADER_BYTES], changed[KEYSTORE_HEADER_BYTES];
	assert_int_equal(load("keystore", whole, sizeof whole), sizeof whole);
	for (size_t n = 0; n < sizeof whole; n += 7) {
		save("keystore", whole, n);
		assert_int_equal(open_and_close(), ERR_FORMAT);
	}
	for (size_t bit = 0; bit < sizeof whole * 8; bit += bit < 640 ? 1 : 61) {
		memcpy(changed, whole, sizeof whole);
		changed[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		save("keystore", changed, sizeof changed);
		assert_int_equal(open_and_close(), ERR_FORMAT);
	}
	save("keystore", whole, sizeof whole);
	assert_int_equal(open_and_close(), OK);
}

static void
refuses_every_truncation_and_bit_flip_of_the_owner_key(void **state)
{
	(void)state;
	uint8_t whole[256], changed[256];
	size_t n = load("owner.key", whole, sizeof whole);
	for (size_t short_by = 2; short_by <= n; short_by++) {
		save("owner.key", whole, n - short_by);
		assert_int_equal(open_and_close(), ERR_FORMAT);
	}
	save("owner.key", whole, n - 1); /* without its newline it is whole */
	assert_int_equal(open_and_close(), OK);
	for (size_t bit = 0; bit < (n - 1) * 8; bit++) {
		memcpy(changed, whole, n);
		changed[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		if (changed[bit / 8] == (whole[bit / 8] ^ 0x20) && bit / 8 > 17)
			continue; /* upper case hex reads the same */
		save("owner.key", changed, n);
		assert_int_equal(open_and_close(), ERR_FORMAT);
	}
}

static void
a_flipped_bit_in_a_slot_never_gives_a_key(void **state)
{
	(void)state;
	struct keystore *k = NULL;
	uint8_t key[SEGMENT_KEY_BYTES], bytes[KEYSTORE_HEADER_BYTES + KEYSTORE_SLOT_BYTES];
	uint32_t slot;
	assert_int_equal(keystore_open(&k, dir, NULL, true), OK);
	assert_int_equal(keystore_add(k, 5, &slot, key), OK);
	assert_int_equal(load("keystore", bytes, sizeof bytes), sizeof bytes);
	for (size_t bit = 0; bit < 80 * 8; bit++) {
		bytes[KEYSTORE_HEADER_BYTES + bit / 8] ^= (uint8_t)(1u << (bit % 8));
		save("keystore", bytes, sizeof bytes);
		struct keystore *r = NULL;
		assert_int_equal(keystore_open(&r, dir, NULL, false), OK);
		assert_int_equal(keystore_get(r, slot, 5, key), ERR_DENIED);
		keystore_close(&r);
		bytes[KEYSTORE_HEADER_BYTES + bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	keystore_close(&k);
}

static void
a_second_writer_is_told_who_holds_it(void **state)
{
	(void)state;
	int ready[2], leave[2];
	char c, want[64];
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(leave), 0);
	pid_t child = fork();
	if (child == 0) {
		struct keystore *k = NULL;
		close(leave[1]);
		enum err e = keystore_open(&k, dir, NULL, true);
		(void)!write(ready[1], e == OK ? "y" : "n", 1);
		(void)!read(leave[0], &c, 1);
		_exit(0);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	struct keystore *k = NULL;
	assert_int_equal(keystore_open(&k, dir, NULL, true), ERR_BUSY);
	snprintf(want, sizeof want, "process %d", (int)child);
	assert_non_null(strstr(err_text(), want));
	assert_int_equal(keystore_open(&k, dir, NULL, false), OK);
	keystore_close(&k);
	close(leave[1]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_int_equal(keystore_open(&k, dir, NULL, true), OK);
	keystore_close(&k);
	close(ready[0]), close(ready[1]), close(leave[0]);
}

static void
files_are_private_and_never_replaced(void **state)
{
	(void)state;
	char path[2 * PATH_BYTES];
	struct stat st;
	static const char *const names[] = { "keystore", "owner.key" };
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_mode & 07777, 0600);
	}
	uint8_t before[256], after[256];
	size_t n = load("owner.key", before, sizeof before);
	assert_int_equal(keystore_create(dir, NULL, id), ERR_EXISTS);
	assert_int_equal(load("owner.key", after, sizeof after), n);
	assert_memory_equal(before, after, n);
	snprintf(path, sizeof path, "%s/keystore", dir);
	unlink(path);
	assert_int_equal(keystore_create(dir, NULL, id), ERR_EXISTS); /* the owner key is there */
	assert_int_equal(access(path, F_OK), -1);
}

static void
subkeys_differ_by_label(void **state)
{
	(void)state;
	struct keystore *k = NULL;
	uint8_t a[32], b[32], c[32];
	assert_int_equal(keystore_open(&k, dir, NULL, false), OK);
	keystore_derive(k, "catalogue", a);
	keystore_derive(k, "manifest", b);
	keystore_derive(k, "catalogue", c);
	assert_memory_not_equal(a, b, 32);
	assert_memory_equal(a, c, 32);
	keystore_close(&k);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(gives_back_the_key_of_each_segment, begin, end),
		cmocka_unit_test_setup_teardown(a_shredded_key_is_gone_from_the_file, begin, end),
		cmocka_unit_test_setup_teardown(tells_a_wrong_owner_key_from_damage, begin, end),
		cmocka_unit_test_setup_teardown(refuses_every_truncation_and_bit_flip_of_the_header, begin, end),
		cmocka_unit_test_setup_teardown(refuses_every_truncation_and_bit_flip_of_the_owner_key, begin, end),
		cmocka_unit_test_setup_teardown(a_flipped_bit_in_a_slot_never_gives_a_key, begin, end),
		cmocka_unit_test_setup_teardown(a_second_writer_is_told_who_holds_it, begin, end),
		cmocka_unit_test_setup_teardown(files_are_private_and_never_replaced, begin, end),
		cmocka_unit_test_setup_teardown(subkeys_differ_by_label, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
