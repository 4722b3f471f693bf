#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "archive/pack.h"
#include "base/limits.h"
#include "tests/support/filter_cases.h"
#include "tests/support/packing.h"

/* Whether what was packed comes back: the writer's bytes from out on. Returns how many. */
static size_t
comes_back(const uint8_t *p, uint32_t n, const struct writer *w, const uint8_t *out)
{
	assert_true(writer_ok(w));
	size_t stored = (size_t)(w->at - out);
	struct reader r = reader_of(out, stored), skipped = r;
	uint8_t *back = malloc(n + PACK_SLACK);
	uint32_t got = UINT32_MAX;
	assert_non_null(back);
	assert_int_equal(unpack(unpacker, &r, back, n, &got), OK);
	assert_true(reader_done(&r));
	assert_int_equal(got, n);
	assert_memory_equal(back, p, n);
	struct packed look;
	assert_int_equal(unpack_look(&skipped, &look), OK);
	assert_true(reader_done(&skipped));
	assert_int_equal(look.raw_bytes, n);
	/* some of it, then a little more */
	memset(back, 0xaa, n + PACK_SLACK);
	for (uint32_t first = n / 2, end = n / 2 + n / 5; end <= n; first = end - end / 4, end += n / 4 + 1) {
		assert_int_equal(unpack_range(unpacker, &look, back, first, end), OK);
		assert_memory_equal(back + first, p + first, end - first);
	}
	for (uint32_t i = 0; i < PACK_SLACK; i++)
		assert_int_equal(back[n + i], 0xaa);
	free(back);
	return stored;
}

/* Packs, and checks that it comes back. The stored bytes in out; returns how many. */
static size_t
there_and_back(const uint8_t *p, uint32_t n, enum pack_effort effort, uint8_t *out)
{
	struct writer w = writer_of(out, pack_bound(n));
	pack(packer, p, n, effort, &w);
	return comes_back(p, n, &w, out);
}

static void
gives_back_every_kind_of_bytes_at_every_effort(void **state)
{
	(void)state;
	static const uint32_t sizes[] = { 0, 1, 2, 3, 15, 16, 17, 127, 128, 129, 1000, 16383, 16384, 16385, 40000, 65536, 65537, 300000 };
	struct dice d = { 1 };
	uint8_t *p = malloc(300000), *out = malloc(pack_bound(300000));
	assert_true(p && out);
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
		for (unsigned sides = 1; sides <= 256; sides = sides < 4 ? sides + 1 : sides * 4)
			for (unsigned effort = PACK_STORE; effort <= PACK_BYTES; effort++) {
				for (uint32_t k = 0; k < sizes[i]; k++)
					p[k] = (uint8_t)dice_roll(&d, sides);
				there_and_back(p, sizes[i], effort, out);
			}
	free(p);
	free(out);
}

static void
a_repeated_byte_costs_a_few_bytes_and_noise_next_to_nothing_more(void **state)
{
	(void)state;
	struct dice d = { 2 };
	static uint8_t p[65536], out[65536 + 16];
	assert_int_equal(there_and_back(p, sizeof p, PACK_PLANE, out), 5);
	for (size_t k = 0; k < sizeof p; k++)
		p[k] = (uint8_t)dice_roll(&d, 256);
	assert_in_range(there_and_back(p, sizeof p, PACK_PLANE, out), sizeof p, sizeof p + 4);
	assert_in_range(there_and_back(p, sizeof p, PACK_TEXT, out), sizeof p, sizeof p + 4);
	for (size_t k = 0; k < sizeof p; k++)
		p[k] = (uint8_t)dice_roll(&d, 2);
	assert_in_range(there_and_back(p, sizeof p, PACK_PLANE, out), 8000, 20000);
}

enum kind { NOISE, FEW_VALUES, REPEATS, KIND_COUNT };

/* One block of a stream: noise, two values in no order, or a short text again and again. */
static void
make_stream(struct dice *d, enum kind kind, uint8_t *p, uint32_t n)
{
	for (uint32_t k = 0; k < n; k++)
		p[k] = kind == REPEATS && k >= 200 ? p[k - 200] : (uint8_t)dice_roll(d, kind == FEW_VALUES ? 2 : 256);
}

static void
what_was_learned_of_a_stream_is_unlearned_when_it_changes(void **state)
{
	(void)state;
	static uint8_t p[65536], out[65536 + 16];
	struct dice d = { 3 };
	struct pack_habit habit = { 0 };
	uint32_t changed_at = 0, kind = NOISE;
	for (uint32_t block = 0; block < 600; block++) {
		if (dice_roll(&d, 60) == 0) {
			kind = dice_roll(&d, KIND_COUNT);
			changed_at = block;
		}
		uint32_t n = block < 300 ? sizeof p - dice_roll(&d, 1000) : dice_roll(&d, 1 << dice_roll(&d, 17));
		make_stream(&d, kind, p, n);
		struct writer w = writer_of(out, pack_bound(n));
		pack_learned(packer, p, n, PACK_PLANE, &habit, &w);
		size_t stored = comes_back(p, n, &w, out);
		assert_in_range(stored, 2, n + 5);
		/* Two values take 1 bit each; repeats next to nothing, once they were noticed. */
		if (block < 300 && block - changed_at > 33 && kind != NOISE)
			assert_in_range(stored, 2, kind == FEW_VALUES ? n / 8 + 600 : n / 50);
	}
}

static void
the_stored_forms_are_these(void **state)
{
	(void)state;
	uint8_t out[64];
	assert_int_equal(there_and_back((const uint8_t *)"", 0, PACK_PLANE, out), 2);
	assert_memory_equal(out, "\0\0", 2);
	assert_int_equal(there_and_back((const uint8_t *)"x", 1, PACK_PLANE, out), 3);
	assert_memory_equal(out, "\0\1x", 3);
	assert_int_equal(there_and_back((const uint8_t *)"abc", 3, PACK_TEXT, out), 5);
	assert_memory_equal(out, "\0\3abc", 5);
	assert_int_equal(there_and_back((const uint8_t *)"zzzz", 4, PACK_BYTES, out), 3);
	assert_memory_equal(out, "\1\4z", 3);
	uint8_t many[300];
	memset(many, 9, sizeof many);
	assert_int_equal(there_and_back(many, sizeof many, PACK_STORE, out), 4);
	assert_memory_equal(out, "\1\xac\2\t", 4);
}

/* What the sentence of a refusal must not leave: room for more than was allowed. */
static void
refuse(const uint8_t *p, size_t n, uint32_t room)
{
	uint8_t *out = malloc(room + PACK_SLACK);
	uint32_t got = 12345;
	struct reader r = reader_of(p, n);
	assert_non_null(out);
	memset(out, 0xaa, room + PACK_SLACK);
	assert_int_equal(unpack(unpacker, &r, out, room, &got), ERR_FORMAT);
	assert_int_equal(got, 12345);
	for (uint32_t i = room; i < room + PACK_SLACK; i++)
		assert_int_equal(out[i], 0xaa);
	assert_true(strlen(err_text()) > 10);
	free(out);
}

static void
refuses_every_truncation_and_survives_every_bit_flip(void **state)
{
	(void)state;
	struct dice d = { 3 };
	uint8_t p[600], out[616], flipped[616], back[600 + PACK_SLACK];
	for (size_t k = 0; k < sizeof p; k++)
		p[k] = (uint8_t)dice_roll(&d, 5);
	size_t stored = there_and_back(p, sizeof p, PACK_TEXT, out);
	assert_int_equal(out[0], 2); /* zstd */
	for (size_t n = 0; n < stored; n++) {
		uint8_t *part = malloc(n + 1);
		memcpy(part, out, n);
		refuse(part, n, sizeof p);
		free(part);
	}
	for (size_t bit = 0; bit < 8 * stored; bit++) {
		memcpy(flipped, out, stored);
		flipped[bit / 8] ^= (uint8_t)(1u << bit % 8);
		struct reader r = reader_of(flipped, stored);
		uint32_t got = 0;
		if (unpack(unpacker, &r, back, sizeof p, &got) == OK)
			assert_in_range(got, 0, sizeof p);
	}
}

static void
pieces_have_this_form(void **state)
{
	(void)state;
	static const uint8_t golden[] = { 3, 0x82, 0x80, 1, 1, 0, 2, 0, 7, 'x', 'y' };
	uint8_t *p = malloc(PACK_PIECE_BYTES + 2), *out = malloc(pack_bound(PACK_PIECE_BYTES + 2));
	assert_true(p && out);
	memset(p, 7, PACK_PIECE_BYTES);
	memcpy(p + PACK_PIECE_BYTES, "xy", 2);
	assert_int_equal(there_and_back(p, PACK_PIECE_BYTES + 2, PACK_PIECES, out), sizeof golden);
	assert_memory_equal(out, golden, sizeof golden);
	free(p);
	free(out);
}

static void
refuses_every_truncation_of_pieces_and_survives_every_bit_flip(void **state)
{
	(void)state;
	enum { N = 2 * PACK_PIECE_BYTES + 5000 };
	struct dice d = { 5 };
	uint8_t *p = calloc(1, N), *out = malloc(pack_bound(N)), *back = malloc(N + PACK_SLACK);
	assert_true(p && out && back);
	for (size_t k = 0; k < 300; k++)
		p[PACK_PIECE_BYTES + k] = (uint8_t)dice_roll(&d, 5);
	p[N - 1] = 1;
	size_t stored = there_and_back(p, N, PACK_PIECES, out);
	assert_int_equal(out[0], 3);
	assert_in_range(stored, 20, 600);
	for (size_t n = 0; n < stored; n++) {
		uint8_t *part = malloc(n + 1);
		memcpy(part, out, n);
		refuse(part, n, N);
		free(part);
	}
	for (size_t bit = 0; bit < 8 * stored; bit++) {
		out[bit / 8] ^= (uint8_t)(1u << bit % 8);
		struct reader r = reader_of(out, stored);
		uint32_t got = 0;
		if (unpack(unpacker, &r, back, N, &got) == OK)
			assert_in_range(got, 0, N);
		out[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	free(p);
	free(out);
	free(back);
}

static void
refuses_what_is_longer_than_its_room_before_unpacking_it(void **state)
{
	(void)state;
	uint8_t stored[16];
	struct writer w = writer_of(stored, sizeof stored);
	writer_u8(&w, 1); /* repeated: three bytes for all of 17 MiB */
	put_varint(&w, 17u << 20);
	writer_u8(&w, 0);
	refuse(stored, (size_t)(w.at - stored), 65536);
	w = writer_of(stored, sizeof stored);
	writer_u8(&w, 1); /* more than any chunk may have */
	put_varint(&w, UINT64_MAX);
	writer_u8(&w, 0);
	refuse(stored, (size_t)(w.at - stored), 65536);
	refuse((const uint8_t *)"\3\1x", 3, 100);                                 /* no such form */
	refuse((const uint8_t *)"\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\2", 11, 100); /* 65 bits */
	refuse((const uint8_t *)"\0\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\0", 12, 100);
}

/* 256 MiB of zeros are 8 KiB of zstd. Declared as they are they are refused at once; declared as less, zstd stops. */
static void
refuses_a_zstd_bomb_whatever_it_declares(void **state)
{
	(void)state;
	size_t raw = (size_t)256 << 20, bound = 1 << 20;
	uint8_t *zeros = calloc(raw, 1), *bomb = malloc(bound + 32), *frame = malloc(bound);
	assert_true(zeros && bomb && frame);
	size_t packed = ZSTD_compress(frame, bound, zeros, raw, 19);
	assert_false(ZSTD_isError(packed));
	assert_in_range(packed, 1, 32 << 10);
	free(zeros);
	static const uint64_t declared[] = { (uint64_t)256 << 20, CHUNK_BYTES_MAX, 65536, 1, 0 };
	for (size_t i = 0; i < sizeof declared / sizeof declared[0]; i++) {
		struct writer w = writer_of(bomb, bound + 32);
		writer_u8(&w, 2);
		put_varint(&w, declared[i]);
		put_varint(&w, packed);
		writer_put(&w, frame, packed);
		refuse(bomb, (size_t)(w.at - bomb), 65536);
	}
	free(bomb);
	free(frame);
}

static void
varints_of_every_size_come_back(void **state)
{
	(void)state;
	uint8_t p[16];
	for (unsigned bits = 0; bits <= 64; bits++)
		for (int more = -1; more <= 1; more++) {
			uint64_t v = (bits < 64 ? (uint64_t)1 << bits : 0) + (uint64_t)more;
			struct writer w = writer_of(p, sizeof p);
			put_varint(&w, v);
			assert_in_range(w.at - p, 1, 10);
			for (size_t n = 0; n < (size_t)(w.at - p); n++) {
				struct reader cut = reader_of(p, n);
				(void)get_varint(&cut);
				assert_false(reader_ok(&cut));
			}
			struct reader r = reader_of(p, (size_t)(w.at - p));
			assert_true(get_varint(&r) == v);
			assert_true(reader_done(&r));
		}
}

static void
a_writer_without_room_fails_and_is_left_within_its_bounds(void **state)
{
	(void)state;
	struct dice d = { 4 };
	uint8_t p[200], out[256];
	for (size_t k = 0; k < sizeof p; k++)
		p[k] = (uint8_t)dice_roll(&d, 256);
	for (size_t room = 0; room < sizeof p; room++) {
		memset(out, 0xaa, sizeof out);
		struct writer w = writer_of(out, room);
		pack(packer, p, sizeof p, PACK_TEXT, &w);
		assert_false(writer_ok(&w));
		for (size_t i = room; i < sizeof out; i++)
			assert_int_equal(out[i], 0xaa);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_back_every_kind_of_bytes_at_every_effort),
		cmocka_unit_test(a_repeated_byte_costs_a_few_bytes_and_noise_next_to_nothing_more),
		cmocka_unit_test(what_was_learned_of_a_stream_is_unlearned_when_it_changes),
		cmocka_unit_test(the_stored_forms_are_these),
		cmocka_unit_test(refuses_every_truncation_and_survives_every_bit_flip),
		cmocka_unit_test(pieces_have_this_form),
		cmocka_unit_test(refuses_every_truncation_of_pieces_and_survives_every_bit_flip),
		cmocka_unit_test(refuses_what_is_longer_than_its_room_before_unpacking_it),
		cmocka_unit_test(refuses_a_zstd_bomb_whatever_it_declares),
		cmocka_unit_test(varints_of_every_size_come_back),
		cmocka_unit_test(a_writer_without_room_fails_and_is_left_within_its_bounds),
	};
	return cmocka_run_group_tests(tests, packing_open, packing_close);
}
