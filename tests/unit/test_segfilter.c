#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "index/segfilter.h"
#include "tests/support/unit.h"

static const uint8_t key[SEGFILTER_KEY_BYTES] = "0123456789abcde";

static uint64_t seed = 1;
static uint32_t
random32(void)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 32);
}

static int
compare32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int
compare128(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

/* n sorted distinct addresses with an even last octet: odd ones are never in. */
static uint32_t *
even_addresses(uint32_t n, uint32_t spread)
{
	uint32_t *v = calloc(n, sizeof *v);
	for (uint32_t i = 0; i < n; i++)
		v[i] = spread ? 0x0a000000 + i * 2 : random32() & ~1u;
	qsort(v, n, sizeof *v, compare32);
	for (uint32_t i = 1; i < n; i++)
		if (v[i] <= v[i - 1])
			v[i] = v[i - 1] + 2;
	return v;
}

static bool
may_hold4(const uint8_t *filter, size_t n, uint32_t address, unsigned bits)
{
	uint8_t addr[16] = { 0 };
	bool maybe = false;
	store_be32(addr, address);
	assert_int_equal(segfilter_find(filter, n, key, 7, 4, bits, addr, &maybe), OK);
	return maybe;
}

static void
holds_every_address_and_every_net_around_it(void **state)
{
	(void)state;
	uint8_t *filter = NULL;
	size_t n;
	uint32_t *v = even_addresses(3000, 0);
	uint8_t (*v6)[16] = calloc(500, 16);
	for (uint32_t i = 0; i < 500; i++)
		for (uint32_t b = 0; b < 4; b++)
			store_le32(v6[i] + 4 * b, b < 2 ? random32() & 0xff : random32());
	qsort(v6, 500, 16, compare128);
	struct segfilter_addresses a = { v, (const uint8_t (*)[16])v6, 3000, 500, false };
	assert_int_equal(segfilter_build(&filter, &n, key, 7, &a), OK);
	assert_int_equal(segfilter_check(filter, n, key, 7), OK);
	for (uint32_t i = 0; i < 3000; i++)
		for (unsigned bits = 0; bits <= 32; bits++) {
			uint32_t behind = bits < 32 ? random32() & (0xffffffffu >> bits) : 0;
			assert_true(may_hold4(filter, n, v[i] ^ behind, bits));
		}
	for (uint32_t i = 0; i < 500; i++)
		for (unsigned bits = 0; bits <= 128; bits++) {
			uint8_t addr[16];
			bool maybe = false;
			memcpy(addr, v6[i], 16);
			for (unsigned b = bits; b < 128; b++)
				if (random32() & 1)
					addr[b / 8] ^= (uint8_t)(0x80u >> (b % 8));
			assert_int_equal(segfilter_find(filter, n, key, 7, 6, bits, addr, &maybe), OK);
			assert_true(maybe);
		}
	free(filter);
	free(v);
	free(v6);
}

static void
says_yes_wrongly_for_less_than_one_percent(void **state)
{
	(void)state;
	static const uint32_t sizes[] = { 1, 40, 1000, 50000, 300000 };
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (uint32_t spread = 0; spread < 2; spread++) {
			uint8_t *filter = NULL;
			size_t n;
			uint32_t *v = even_addresses(sizes[i], spread), wrong = 0;
			struct segfilter_addresses a = { .ip4 = v, .ip4_count = sizes[i] };
			assert_int_equal(segfilter_build(&filter, &n, key, 7, &a), OK);
			for (uint32_t t = 0; t < 200000; t++)
				wrong += may_hold4(filter, n, random32() | 1, 32);
			print_message("# %u addresses: %zu bytes, %.1f bits per address, %.2f %% false\n", sizes[i], n,
			              8.0 * (double)n / sizes[i], wrong / 2000.0);
			assert_true(wrong < 2000);
			free(filter);
			free(v);
		}
}

static void
the_same_addresses_give_the_same_bytes_under_one_key_only(void **state)
{
	(void)state;
	uint8_t *x = NULL, *y = NULL, *z = NULL;
	size_t n, m;
	uint32_t *v = even_addresses(200, 0);
	struct segfilter_addresses a = { .ip4 = v, .ip4_count = 200 };
	static const uint8_t other[SEGFILTER_KEY_BYTES] = "another key....";
	assert_int_equal(segfilter_build(&x, &n, key, 7, &a), OK);
	assert_int_equal(segfilter_build(&y, &m, key, 7, &a), OK);
	assert_int_equal(n, m);
	assert_memory_equal(x, y, n);
	assert_int_equal(segfilter_build(&z, &m, other, 7, &a), OK);
	assert_int_equal(n, m);
	assert_memory_not_equal(x + SEGFILTER_HEADER_BYTES, z + SEGFILTER_HEADER_BYTES, n - SEGFILTER_HEADER_BYTES);
	assert_int_equal(segfilter_check(x, n, other, 7), ERR_FORMAT);
	assert_int_equal(segfilter_check(x, n, key, 8), ERR_FORMAT); /* another segment's */
	free(x), free(y), free(z), free(v);
}

static void
an_empty_filter_says_no_and_a_full_one_yes(void **state)
{
	(void)state;
	uint8_t *filter = NULL;
	size_t n;
	struct segfilter_addresses a = { 0 };
	assert_int_equal(segfilter_build(&filter, &n, key, 7, &a), OK);
	assert_false(may_hold4(filter, n, 0x01020304, 32));
	assert_false(may_hold4(filter, n, 0x01020304, 17));
	assert_true(may_hold4(filter, n, 0x01020304, 15)); /* not kept */
	free(filter);
	a.all = true;
	assert_int_equal(segfilter_build(&filter, &n, key, 7, &a), OK);
	assert_int_equal(n, SEGFILTER_HEADER_BYTES);
	assert_true(may_hold4(filter, n, 0x01020304, 32));
	free(filter);
}

static void
refuses_lists_that_are_not_sorted(void **state)
{
	(void)state;
	static const uint32_t twice[] = { 1, 1 }, down[] = { 2, 1 };
	static const uint8_t six[2][16] = { { 2 }, { 1 } };
	uint8_t *filter = NULL;
	size_t n;
	struct segfilter_addresses a = { .ip4 = twice, .ip4_count = 2 };
	assert_int_equal(segfilter_build(&filter, &n, key, 7, &a), ERR_FORMAT);
	a.ip4 = down;
	assert_int_equal(segfilter_build(&filter, &n, key, 7, &a), ERR_FORMAT);
	a = (struct segfilter_addresses){ .ip6 = six, .ip6_count = 2 };
	assert_int_equal(segfilter_build(&filter, &n, key, 7, &a), ERR_FORMAT);
	assert_null(filter);
}

static void
refuses_every_truncation_and_notices_every_bit_flip(void **state)
{
	(void)state;
	uint8_t *filter = NULL;
	size_t n;
	uint32_t *v = even_addresses(1500, 0);
	struct segfilter_addresses a = { .ip4 = v, .ip4_count = 1500 };
	uint8_t addr[16] = { 0 };
	bool maybe;
	assert_int_equal(segfilter_build(&filter, &n, key, 7, &a), OK);
	for (size_t short_by = 1; short_by <= n; short_by++) {
		uint8_t *part = malloc(n - short_by + 1); /* its end is the heap block's end */
		memcpy(part, filter, n - short_by);
		assert_int_equal(segfilter_check(part, n - short_by, key, 7), ERR_FORMAT);
		assert_int_equal(segfilter_find(part, n - short_by, key, 7, 4, 32, addr, &maybe), ERR_FORMAT);
		free(part);
	}
	for (size_t bit = 0; bit < n * 8; bit++) {
		filter[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		assert_int_not_equal(segfilter_check(filter, n, key, 7), OK);
		/* a lookup that is answered is answered rightly */
		store_be32(addr, v[bit % 1500]);
		maybe = false;
		if (segfilter_find(filter, n, key, 7, 4, 32, addr, &maybe) == OK)
			assert_true(maybe);
		filter[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
	free(filter);
	free(v);
}

int
main(void)
{
	if (sodium_init() < 0)
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_every_address_and_every_net_around_it),
		cmocka_unit_test(says_yes_wrongly_for_less_than_one_percent),
		cmocka_unit_test(the_same_addresses_give_the_same_bytes_under_one_key_only),
		cmocka_unit_test(an_empty_filter_says_no_and_a_full_one_yes),
		cmocka_unit_test(refuses_lists_that_are_not_sorted),
		cmocka_unit_test(refuses_every_truncation_and_notices_every_bit_flip),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
