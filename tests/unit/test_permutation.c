#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#include "anonymize/permutation.h"
#include "tests/support/unit.h"

static uint8_t key[PERMUTATION_KEY_BYTES];
static uint16_t map[PORTS], back[PORTS], other[PORTS];

static int
begin(void **state)
{
	(void)state;
	randombytes_buf(key, sizeof key);
	return 0;
}

static void
every_port_becomes_another_and_comes_back(void **state)
{
	(void)state;
	static uint8_t seen[PORTS];
	unsigned stayed = 0;
	memset(seen, 0, sizeof seen);
	ports_shuffle(map, back, key);
	for (unsigned v = 0; v < PORTS; v++) {
		assert_false(seen[map[v]]);
		seen[map[v]] = 1;
		assert_int_equal(back[map[v]], v);
		stayed += map[v] == v;
	}
	assert_true(stayed < 20); /* one by chance */
	ports_shuffle(other, back, key);
	assert_memory_equal(map, other, sizeof map);
	key[31] ^= 1;
	ports_shuffle(other, back, key);
	assert_memory_not_equal(map, other, sizeof map);
}

static void
vlans_without_a_meaning_of_their_own_stay_put(void **state)
{
	(void)state;
	uint32_t where[VLANS] = { 0 };
	for (unsigned round = 0; round < 200; round++) {
		begin(NULL);
		vlans_shuffle(map, back, key);
		assert_int_equal(map[0], 0);
		assert_int_equal(map[4095], 4095);
		for (unsigned v = 0; v < VLANS; v++)
			assert_int_equal(back[map[v]], v);
		where[map[1]]++;
	}
	for (unsigned v = 0; v < VLANS; v++)
		assert_true(where[v] < 8); /* VLAN 1 goes everywhere alike */
}

static void
ff1_gives_the_sample_of_its_standard(void **state)
{
	(void)state;
	/* NIST, FF1samples.pdf, sample 1 */
	static const uint8_t sample[16] = { 0x2b, 0x7e, 0x15, 0x16, 0x28, 0xae, 0xd2, 0xa6,
	                                     0xab, 0xf7, 0x15, 0x88, 0x09, 0xcf, 0x4f, 0x3c };
	struct ff1 f;
	uint32_t half[2] = { 1234, 56789 };
	ff1_init(&f, sample, 10, 10);
	ff1_encrypt(&f, half);
	assert_int_equal(half[0], 24334);
	assert_int_equal(half[1], 77484);
	ff1_decrypt(&f, half);
	assert_int_equal(half[0], 1234);
	assert_int_equal(half[1], 56789);
}

static void
all_halves_of_a_mac_address_are_taken_once(void **state)
{
	(void)state;
	static uint8_t seen[1 << 22];
	struct ff1 f;
	memset(seen, 0, sizeof seen);
	ff1_init(&f, key, 2, 22);
	for (uint32_t v = 0; v < 1u << 22; v++) {
		uint32_t half[2] = { v >> 11, v & 0x7ff };
		ff1_encrypt(&f, half);
		assert_true(half[0] < 2048 && half[1] < 2048);
		seen[half[0] << 11 | half[1]] = 1;
	}
	assert_null(memchr(seen, 0, sizeof seen));
}

static void
mac_addresses_keep_vendors_together_and_group_and_local_bits(void **state)
{
	(void)state;
	struct macmap m;
	for (unsigned round = 0; round < 2000; round++) {
		uint8_t a[6], b[6], x[6], y[6], again[6];
		begin(NULL);
		macmap_init(&m, key);
		randombytes_buf(a, sizeof a);
		randombytes_buf(b, sizeof b);
		memcpy(b, a, 3);
		macmap_map(&m, a, x);
		macmap_map(&m, b, y);
		assert_int_equal(a[0] & 3, x[0] & 3);
		assert_memory_equal(x, y, 3);
		assert_int_equal(memcmp(a, b, 6) == 0, memcmp(x, y, 6) == 0);
		macmap_unmap(&m, x, again);
		assert_memory_equal(again, a, 6);
		memcpy(again, a, 6);
		macmap_map(&m, again, again);
		assert_memory_equal(again, x, 6);
	}
}

static void
broadcast_stays_and_what_would_become_it_moves(void **state)
{
	(void)state;
	static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct macmap m;
	uint8_t out[6], mapped[6];
	macmap_init(&m, key);
	macmap_map(&m, broadcast, out);
	assert_memory_equal(out, broadcast, 6);
	macmap_unmap(&m, broadcast, out);
	assert_memory_equal(out, broadcast, 6);
	/* the address that the two halves alone would turn into broadcast */
	uint32_t vendor[2] = { 0x7ff, 0x7ff }, device[2] = { 0xfff, 0xfff };
	ff1_decrypt(&m.vendor, vendor);
	ff1_decrypt(&m.device, device);
	uint32_t v = vendor[0] << 11 | vendor[1], d = device[0] << 12 | device[1];
	uint8_t rare[6] = { (uint8_t)(v >> 16 << 2 | 3), (uint8_t)(v >> 8), (uint8_t)v,
	                    (uint8_t)(d >> 16), (uint8_t)(d >> 8), (uint8_t)d };
	macmap_map(&m, rare, mapped);
	assert_memory_not_equal(mapped, broadcast, 6);
	macmap_unmap(&m, mapped, out);
	assert_memory_equal(out, rare, 6);
}

int
main(void)
{
	if (sodium_init() < 0)
		return 1;
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup(name, begin)
		TEST(every_port_becomes_another_and_comes_back),
		TEST(vlans_without_a_meaning_of_their_own_stay_put),
		TEST(ff1_gives_the_sample_of_its_standard),
		TEST(all_halves_of_a_mac_address_are_taken_once),
		TEST(mac_addresses_keep_vendors_together_and_group_and_local_bits),
		TEST(broadcast_stays_and_what_would_become_it_moves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
