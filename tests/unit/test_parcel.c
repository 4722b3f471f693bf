/* Parcels: there and back, golden bytes, and that nothing of one can be changed without notice. */
#include "tests/support/unit.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "archive/block.h"
#include "archive/parcel.h"
#include "archive/seal.h"

static uint8_t sign_public[32], sign_secret[64], ingest_public[32], ingest_secret[32];
static const uint8_t block_key[BLOCK_KEY_BYTES] = "key of the block";
static uint8_t block[300];

static int
make_keys(void **state)
{
	static const uint8_t seed[32] = "seed";
	(void)state;
	if (seal_start() != OK)
		return -1;
	crypto_sign_seed_keypair(sign_public, sign_secret, seed);
	crypto_box_seed_keypair(ingest_public, ingest_secret, seed);
	for (size_t i = 0; i < sizeof block; i++)
		block[i] = (uint8_t)(i * 7);
	return 0;
}

static struct parcel
draft(enum parcel_kind kind)
{
	struct parcel p = {
		.kind = kind,
		.archive = "the archive's id",
		.epoch = 1000,
		.sequence = 9,
		.made_ns = 5000,
		.records = 77,
		.first_ns = 3000,
		.last_ns = 4000,
		.captured_bytes = 777,
		.lost_kernel = 1,
		.lost_policy = 4,
		.source_records = 99,
		.stream = "eth0",
	};
	memcpy(p.monitor, sign_public, sizeof p.monitor);
	memset(p.previous, 0x11, sizeof p.previous);
	if (kind == PARCEL_BLOCK) {
		p.block = block;
		p.block_bytes = sizeof block;
	} else {
		memset(p.hash, 0x22, sizeof p.hash);
		p.from_sequence = 5;
	}
	return p;
}

/* The parcel's bytes, malloc'ed at their exact length. */
static uint8_t *
sign(struct parcel *p, size_t *n)
{
	uint8_t front[PARCEL_FRONT_BYTES_MAX];
	parcel_sign(p, sign_secret, ingest_public, p->kind == PARCEL_BLOCK ? block_key : NULL, front);
	*n = p->front_bytes + p->block_bytes;
	uint8_t *bytes = malloc(*n);
	assert_non_null(bytes);
	memcpy(bytes, front, p->front_bytes);
	if (p->block)
		memcpy(bytes + p->front_bytes, p->block, p->block_bytes);
	p->front = NULL;
	return bytes;
}

static void
says_what_was_put_in(void **state)
{
	(void)state;
	for (unsigned kind = PARCEL_BLOCK; kind <= PARCEL_LOSS; kind++) {
		struct parcel in = draft(kind), out;
		size_t n;
		uint64_t length = 0;
		uint8_t *bytes = sign(&in, &n), key[BLOCK_KEY_BYTES];
		assert_int_equal(parcel_length(bytes, PARCEL_HEADER_BYTES, &length), OK);
		assert_int_equal(length, n);
		assert_int_equal(parcel_parse(bytes, n, &out), OK);
		assert_int_equal(parcel_verify(&out), OK);
#define PARCEL_SAME_u8(name)    assert_int_equal(in.name, out.name)
#define PARCEL_SAME_le16(name)  assert_int_equal(in.name, out.name)
#define PARCEL_SAME_le32(name)  assert_int_equal(in.name, out.name)
#define PARCEL_SAME_le64(name)  assert_int_equal(in.name, out.name)
#define PARCEL_SAME_bytes(name) assert_memory_equal(in.name, out.name, sizeof in.name)
#define F(codec, size, name, meaning) PARCEL_SAME_##codec(name);
		PARCEL_HEADER(F)
#undef F
		assert_string_equal(out.stream, "eth0");
		assert_memory_equal(in.self, out.self, sizeof in.self);
		if (kind == PARCEL_BLOCK) {
			assert_memory_equal(out.block, block, sizeof block);
			assert_int_equal(parcel_open_key(out.sealed_key, ingest_public, ingest_secret, key), OK);
			assert_memory_equal(key, block_key, sizeof key);
			assert_int_equal(parcel_open_key(out.sealed_key, sign_public, ingest_secret, key), ERR_DENIED);
		} else {
			assert_null(out.block);
			assert_true(sodium_is_zero(out.sealed_key, sizeof out.sealed_key));
		}
		free(bytes);
	}
}

static void
notices_every_flipped_bit(void **state)
{
	(void)state;
	struct parcel in = draft(PARCEL_BLOCK), out;
	size_t n;
	uint8_t *bytes = sign(&in, &n);
	for (size_t i = 0; i < 8 * n; i++) {
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
		enum err e = parcel_parse(bytes, n, &out);
		if (e == OK)
			e = parcel_verify(&out);
		if (e == OK)
			fail_msg("bit %zu was changed unnoticed", i);
		bytes[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	free(bytes);
}

static void
refuses_every_truncation_and_addition(void **state)
{
	(void)state;
	struct parcel in = draft(PARCEL_BLOCK), out;
	size_t n;
	uint8_t *bytes = sign(&in, &n);
	for (size_t i = 0; i < n; i++) {
		uint8_t *cut = malloc(i + 1);
		assert_non_null(cut);
		memcpy(cut, bytes, i);
		assert_int_not_equal(parcel_parse(cut, i, &out), OK);
		free(cut);
	}
	bytes = realloc(bytes, n + 1);
	assert_non_null(bytes);
	bytes[n] = 0;
	assert_int_not_equal(parcel_parse(bytes, n + 1, &out), OK);
	free(bytes);
}

static void
refuses_what_contradicts_itself(void **state)
{
	(void)state;
	struct parcel out, bad[10];
	for (unsigned i = 0; i < 10; i++)
		bad[i] = draft(i < 7 ? PARCEL_BLOCK : PARCEL_LOSS);
	bad[0].stream[0] = 0;              /* no name */
	bad[1].epoch = 0;
	bad[2].sequence = 0;
	bad[3].records = 0;
	bad[4].first_ns = bad[4].last_ns + 1;
	bad[5].records = BLOCK_RECORDS_MAX + 1;
	bad[6].block_bytes = BLOCK_HEADER_BYTES - 1;
	bad[7].from_sequence = 0;
	bad[8].from_sequence = bad[8].sequence + 1;
	bad[9].records = 0;
	for (unsigned i = 0; i < 10; i++) {
		size_t n;
		uint8_t *bytes = sign(&bad[i], &n);
		if (parcel_parse(bytes, n, &out) == OK)
			fail_msg("took number %u", i);
		free(bytes);
	}
}

static void
is_not_taken_for_another_monitor_s(void **state)
{
	(void)state;
	struct parcel in = draft(PARCEL_BLOCK), out;
	size_t n;
	in.monitor[0] ^= 1; /* signed with the wrong key for it */
	uint8_t *bytes = sign(&in, &n);
	assert_int_equal(parcel_parse(bytes, n, &out), OK);
	assert_int_equal(parcel_verify(&out), ERR_DENIED);
	free(bytes);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(says_what_was_put_in),
		cmocka_unit_test(notices_every_flipped_bit),
		cmocka_unit_test(refuses_every_truncation_and_addition),
		cmocka_unit_test(refuses_what_contradicts_itself),
		cmocka_unit_test(is_not_taken_for_another_monitor_s),
	};
	return cmocka_run_group_tests(tests, make_keys, NULL);
}
