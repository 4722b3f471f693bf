#include <stdio.h>
#include <string.h>

#include "ingest/wire.h"
#include "tests/support/unit.h"
#include "tests/support/wire_samples.h"

#define ROOM (WIRE_HEAD_BYTES + WIRE_SMALL_BODY_BYTES_MAX + 1000)

static enum err
decode_whole(const uint8_t *p, size_t n, struct wire_message *m)
{
	unsigned type;
	uint32_t body;
	if (n < WIRE_HEAD_BYTES)
		return ERR_FORMAT;
	TRY(wire_read_head(p, &type, &body));
	return wire_decode(type, p + WIRE_HEAD_BYTES, n - WIRE_HEAD_BYTES, m);
}

static void
gives_back_every_message(void **state)
{
	(void)state;
	uint8_t bytes[ROOM];
	struct wire_message m, back;
	for (size_t i = 0; i < wire_type_count; i++)
		for (uint32_t seed = 0; seed < 500; seed++) {
			wire_sample(&m, wire_types[i], seed);
			size_t n = wire_whole(&m, bytes);
			assert_int_equal(load_le32(bytes), n - WIRE_HEAD_BYTES);
			assert_int_equal(bytes[4], wire_types[i]);
			assert_int_equal(decode_whole(bytes, n, &back), OK);
			assert_true(wire_same(&m, &back));
			if (wire_types[i] != WIRE_TYPE_PARCEL)
				assert_in_range(n, WIRE_HEAD_BYTES, WIRE_HEAD_BYTES + WIRE_SMALL_BODY_BYTES_MAX);
		}
}

static void
golden_bytes(void **state)
{
	(void)state;
	uint8_t bytes[ROOM];
	struct wire_message ack = { .type = WIRE_TYPE_ACK, .ack = { .stream = "eth0", .epoch = 0x0102030405060708, .sequence = 9 } };
	static const uint8_t ack_bytes[] = { 21, 0, 0, 0, 68, 4, 'e', 't', 'h', '0', 8, 7, 6, 5, 4, 3, 2, 1, 9, 0, 0, 0, 0, 0, 0, 0 };
	assert_int_equal(wire_whole(&ack, bytes), sizeof ack_bytes);
	assert_memory_equal(bytes, ack_bytes, sizeof ack_bytes);

	struct wire_message hello = { .type = WIRE_TYPE_HELLO, .hello = { .software = "me 1", .clock_ns = 5, .streams = 2 } };
	static const uint8_t hello_bytes[] = { 17, 0, 0, 0, 2, 4, 'm', 'e', ' ', '1', 5, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0 };
	assert_int_equal(wire_whole(&hello, bytes), sizeof hello_bytes);
	assert_memory_equal(bytes, hello_bytes, sizeof hello_bytes);

	struct wire_message refused = { .type = WIRE_TYPE_REFUSED,
		                        .refused = { .code = WIRE_REFUSAL_QUOTA, .stream = "a", .sequence = 7, .sentence = "full" } };
	static const uint8_t refused_bytes[] = { 24, 0, 0, 0, 71, 8, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 0,
		                                 7,  0, 0, 0, 0,  0, 0, 0,  4, 'f', 'u', 'l', 'l' };
	assert_int_equal(wire_whole(&refused, bytes), sizeof refused_bytes);
	assert_memory_equal(bytes, refused_bytes, sizeof refused_bytes);

	struct wire_message parcel = { .type = WIRE_TYPE_PARCEL, .parcel = { .bytes = (const uint8_t *)"xyz", .bytes_count = 3 } };
	static const uint8_t parcel_bytes[] = { 3, 0, 0, 0, 4, 'x', 'y', 'z' };
	assert_int_equal(wire_whole(&parcel, bytes), sizeof parcel_bytes);
	assert_memory_equal(bytes, parcel_bytes, sizeof parcel_bytes);

	static const uint8_t bye_bytes[] = { 0, 0, 0, 0, 6 };
	assert_int_equal(wire_whole(&(struct wire_message){ .type = WIRE_TYPE_BYE }, bytes), sizeof bye_bytes);
	assert_memory_equal(bytes, bye_bytes, sizeof bye_bytes);

	static const uint8_t preamble[] = { 'A', 'T', 'O', 'L', 'L', 'W', 'I', 'R', 1, 0, 1, 0 };
	wire_preamble(bytes);
	assert_memory_equal(bytes, preamble, sizeof preamble);
	assert_int_equal(sizeof preamble, WIRE_PREAMBLE_BYTES);
}

static void
refuses_every_truncation_and_every_longer_body(void **state)
{
	(void)state;
	uint8_t bytes[ROOM];
	struct wire_message m, kept;
	for (size_t i = 0; i < wire_type_count; i++)
		for (uint32_t seed = 0; seed < 20; seed++) {
			wire_sample(&m, wire_types[i], seed);
			size_t n = wire_whole(&m, bytes) - WIRE_HEAD_BYTES;
			if (wire_types[i] == WIRE_TYPE_PARCEL)
				continue; /* any number of bytes */
			memset(&m, 7, sizeof m);
			kept = m;
			for (size_t less = 0; less < n; less++)
				assert_int_equal(wire_decode(wire_types[i], bytes + WIRE_HEAD_BYTES, less, &m), ERR_FORMAT);
			assert_int_equal(wire_decode(wire_types[i], bytes + WIRE_HEAD_BYTES, n + 1, &m), ERR_FORMAT);
			assert_memory_equal(&m, &kept, sizeof m);
		}
}

static void
a_flipped_bit_is_refused_or_another_message(void **state)
{
	(void)state;
	uint8_t bytes[ROOM], again[ROOM];
	struct wire_message m, back;
	for (size_t i = 0; i < wire_type_count; i++) {
		wire_sample(&m, wire_types[i], (uint32_t)i);
		size_t n = wire_whole(&m, bytes);
		for (size_t bit = 0; bit < 8 * n; bit++) {
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (decode_whole(bytes, n, &back) == OK && load_le32(bytes) == n - WIRE_HEAD_BYTES) {
				assert_false(wire_same(&m, &back));
				assert_int_equal(wire_whole(&back, again), n);
				assert_memory_equal(bytes, again, n);
			}
			bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
}

static void
refuses_heads_that_are_too_long_or_of_no_type(void **state)
{
	(void)state;
	uint8_t head[WIRE_HEAD_BYTES];
	unsigned type = 77;
	uint32_t n = 88;
	struct wire_message m;
	for (unsigned t = 0; t < 256; t++) {
		head[4] = (uint8_t)t;
		store_le32(head, 0);
		assert_int_equal(wire_read_head(head, &type, &n), wire_name(t) ? OK : ERR_FORMAT);
		assert_int_equal(wire_from(t) != 0, wire_name(t) != NULL);
		if (wire_name(t) == NULL) {
			assert_int_equal(wire_decode(t, head, 0, &m), ERR_FORMAT);
			continue;
		}
		uint32_t most = t == WIRE_TYPE_PARCEL ? PARCEL_BYTES_MAX : WIRE_SMALL_BODY_BYTES_MAX;
		store_le32(head, most);
		assert_int_equal(wire_read_head(head, &type, &n), OK);
		assert_int_equal(n, most);
		assert_int_equal(type, t);
		store_le32(head, most + 1);
		assert_int_equal(wire_read_head(head, &type, &n), ERR_LIMIT);
		store_le32(head, UINT32_MAX);
		assert_int_equal(wire_read_head(head, &type, &n), ERR_LIMIT);
	}
}

static void
refuses_control_bytes_and_codes_that_are_none(void **state)
{
	(void)state;
	struct wire_message m;
	uint8_t ask[] = { 3, 'a', 'b', 'c' };
	for (unsigned c = 0; c < 256; c++) {
		ask[2] = (uint8_t)c;
		assert_int_equal(wire_decode(WIRE_TYPE_FEED_ASK, ask, sizeof ask, &m), c < 32 || c == 127 ? ERR_FORMAT : OK);
	}
	uint8_t name[1 + 255];
	memset(name, 'n', sizeof name);
	name[0] = STREAM_NAME_BYTES - 1;
	assert_int_equal(wire_decode(WIRE_TYPE_FEED_ASK, name, STREAM_NAME_BYTES, &m), OK);
	name[0] = STREAM_NAME_BYTES;
	assert_int_equal(wire_decode(WIRE_TYPE_FEED_ASK, name, STREAM_NAME_BYTES + 1, &m), ERR_FORMAT);
	uint8_t refused[1 + 1 + 16 + 1] = { 0 };
	for (unsigned c = 0; c < 256; c++) {
		refused[0] = (uint8_t)c;
		assert_int_equal(wire_decode(WIRE_TYPE_REFUSED, refused, sizeof refused, &m),
		                 c >= 1 && c <= WIRE_REFUSAL_VERSION ? OK : ERR_FORMAT);
		assert_non_null(wire_refusal_name(c));
	}
	assert_string_equal(wire_refusal_name(WIRE_REFUSAL_NOT_ENROLLED), "not enrolled");
	assert_string_equal(wire_refusal_name(WIRE_REFUSAL_OUT_OF_ORDER), "out of order");
	assert_string_equal(wire_refusal_name(WIRE_REFUSAL_VERSION), "unsupported version");
}

static void
texts_are_cut_and_cleaned_when_sent(void **state)
{
	(void)state;
	uint8_t bytes[ROOM];
	struct wire_message m = { .type = WIRE_TYPE_WAIT }, back;
	memset(m.wait.reason, 'x', sizeof m.wait.reason); /* no NUL */
	assert_int_equal(decode_whole(bytes, wire_whole(&m, bytes), &back), OK);
	assert_int_equal(strlen(back.wait.reason), WIRE_TEXT_BYTES - 1);
	memcpy(m.wait.reason + WIRE_TEXT_BYTES - 3, "\xe2\x82\xac", 3); /* a character that does not fit any more */
	assert_int_equal(decode_whole(bytes, wire_whole(&m, bytes), &back), OK);
	assert_int_equal(strlen(back.wait.reason), WIRE_TEXT_BYTES - 3);
	snprintf(m.wait.reason, sizeof m.wait.reason, "disk\nfull\x7f");
	assert_int_equal(decode_whole(bytes, wire_whole(&m, bytes), &back), OK);
	assert_string_equal(back.wait.reason, "disk?full?");
	struct writer w = writer_of(bytes, 8);
	wire_encode(&m, &w);
	assert_false(writer_ok(&w));
}

static void
preambles_agree_on_a_version_or_not(void **state)
{
	(void)state;
	static const struct {
		uint16_t lowest, highest;
		enum err e;
	} cases[] = { { 1, 1, OK },          { 1, 2, OK },          { 1, 65535, OK },      { 2, 2, ERR_UNSUPPORTED },
		      { 2, 9, ERR_UNSUPPORTED }, { 0, 0, ERR_FORMAT }, { 0, 1, ERR_FORMAT }, { 2, 1, ERR_FORMAT } };
	uint8_t p[WIRE_PREAMBLE_BYTES];
	unsigned version = 0;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		wire_preamble(p);
		store_le16(p + 8, cases[i].lowest);
		store_le16(p + 10, cases[i].highest);
		assert_int_equal(wire_preamble_read(p, &version), cases[i].e);
	}
	assert_int_equal(version, WIRE_VERSION);
	memcpy(p, "SSH-2.0-OpenSSH_9", WIRE_PREAMBLE_BYTES);
	assert_int_equal(wire_preamble_read(p, &version), ERR_FORMAT);
	assert_non_null(strstr(err_text(), "does not speak"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_back_every_message),
		cmocka_unit_test(golden_bytes),
		cmocka_unit_test(refuses_every_truncation_and_every_longer_body),
		cmocka_unit_test(a_flipped_bit_is_refused_or_another_message),
		cmocka_unit_test(refuses_heads_that_are_too_long_or_of_no_type),
		cmocka_unit_test(refuses_control_bytes_and_codes_that_are_none),
		cmocka_unit_test(texts_are_cut_and_cleaned_when_sent),
		cmocka_unit_test(preambles_agree_on_a_version_or_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
