#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

#include "archive/intern.h"
#include "base/bytes.h"
#include "tests/support/filter_cases.h"

static void
numbers_keys_in_the_order_of_their_first_appearance(void **state)
{
	(void)state;
	struct intern t;
	bool fresh;
	assert_int_equal(intern_init(&t, BLOCK_RECORDS_MAX), OK);
	for (unsigned round = 0; round < 3; round++) {
		intern_reset(&t);
		/* as many as there may be; keys that differ in the high half only, and zero, among them */
		for (uint32_t i = 0; i < BLOCK_RECORDS_MAX; i++) {
			assert_int_equal(intern_key(&t, (uint64_t)i << (20 * round), &fresh), i);
			assert_true(fresh);
			assert_int_equal(intern_key(&t, (uint64_t)(i / 2) << (20 * round), &fresh), i / 2);
			assert_false(fresh);
		}
		assert_int_equal(t.count, BLOCK_RECORDS_MAX);
	}
	intern_fini(&t);
	intern_fini(&t);
}

static void
forgets_everything_at_a_reset(void **state)
{
	(void)state;
	struct intern t;
	bool fresh;
	assert_int_equal(intern_init(&t, BLOCK_RECORDS_MAX), OK);
	for (uint64_t round = 0; round < 2000; round++) {
		intern_reset(&t);
		for (uint32_t i = 0; i < 5; i++) {
			assert_int_equal(intern_key(&t, i * 7 + round, &fresh), i);
			assert_true(fresh);
		}
	}
	intern_fini(&t);
}

static void
strings_of_every_length_are_told_apart_by_bytes_and_tag(void **state)
{
	(void)state;
	struct strings s;
	uint8_t p[255];
	struct dice d = { 11 };
	for (size_t i = 0; i < sizeof p; i++)
		p[i] = (uint8_t)dice_roll(&d, 256);
	assert_int_equal(strings_init(&s, 3 * 256, 3 * 256 * 128), OK);
	for (unsigned round = 0; round < 3; round++) {
		strings_reset(&s);
		for (uint32_t n = 0; n <= 255; n++)
			for (uint64_t tag = 0; tag < 3; tag++) {
				uint32_t number = strings_add(&s, tag, p, n);
				assert_int_equal(number, n * 3 + tag);
				assert_int_equal(s.at[number + 1] - s.at[number], n);
				assert_memory_equal(s.bytes + s.at[number], p, n);
			}
		for (uint32_t n = 0; n <= 255; n++)
			for (uint64_t tag = 0; tag < 3; tag++)
				assert_int_equal(strings_add(&s, tag, p, n), n * 3 + tag);
		assert_int_equal(s.index.count, 3 * 256);
	}
	strings_fini(&s);
	strings_fini(&s);
}

static void
takes_as_many_long_strings_as_a_block_can_have(void **state)
{
	(void)state;
	struct strings s;
	uint8_t p[255] = { 0 };
	assert_int_equal(strings_init(&s, BLOCK_RECORDS_MAX, BLOCK_RECORDS_MAX * sizeof p), OK);
	for (uint32_t i = 0; i < BLOCK_RECORDS_MAX; i++) {
		store_le32(p + 100, i);
		assert_int_equal(strings_add(&s, 0, p, sizeof p), i);
	}
	for (uint32_t i = 0; i < BLOCK_RECORDS_MAX; i += 77) {
		store_le32(p + 100, i);
		assert_int_equal(strings_add(&s, 0, p, sizeof p), i);
	}
	strings_fini(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_keys_in_the_order_of_their_first_appearance),
		cmocka_unit_test(forgets_everything_at_a_reset),
		cmocka_unit_test(strings_of_every_length_are_told_apart_by_bytes_and_tag),
		cmocka_unit_test(takes_as_many_long_strings_as_a_block_can_have),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
