#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/noise.h"
#include "tests/support/unit.h"

#define TEXT_MAX 256

static int
begin(void **state)
{
	(void)state;
	return sodium_init() < 0 ? -1 : 0;
}

/* --- published vectors (cacophony, snow): JSON, read as far as these files need it --- */

struct bytes {
	uint8_t p[TEXT_MAX];
	size_t  n;
};

/* The hex string behind the next "name": before end; false when there is none. */
static bool
find_hex(const char **at, const char *end, const char *name, struct bytes *out)
{
	char want[64];
	snprintf(want, sizeof want, "\"%s\": \"", name);
	const char *p = strstr(*at, want);
	if (p == NULL || p >= end)
		return false;
	p += strlen(want);
	const char *quote = strchr(p, '"');
	assert_non_null(quote);
	assert_int_equal(sodium_hex2bin(out->p, sizeof out->p, p, (size_t)(quote - p), NULL, &out->n, NULL), 0);
	*at = quote;
	return true;
}

static struct bytes
get_hex(const char *at, const char *end, const char *name)
{
	struct bytes b;
	assert_true(find_hex(&at, end, name, &b));
	return b;
}

/* Both sides of one vector; returns the number of messages compared. */
static unsigned
run_vector(const char *at, const char *end)
{
	struct bytes prologue = get_hex(at, end, "init_prologue"), i_static = get_hex(at, end, "init_static");
	struct bytes r_static = get_hex(at, end, "resp_static"), peer = get_hex(at, end, "init_remote_static");
	struct bytes i_ephemeral = get_hex(at, end, "init_ephemeral"), r_ephemeral = get_hex(at, end, "resp_ephemeral");
	struct bytes payload, want, hash;
	const char *from_top = at;
	struct noise i, r;
	struct noise_cipher from[2], to[2]; /* of the initiator, of the responder */
	uint8_t public[NOISE_KEY_BYTES], shared[NOISE_KEY_BYTES], out[TEXT_MAX + NOISE_FIRST_BYTES], back[TEXT_MAX];
	unsigned count = 0;

	noise_public(public, r_static.p);
	assert_memory_equal(public, peer.p, sizeof public);
	noise_initiate(&i, prologue.p, prologue.n, i_static.p, peer.p);
	noise_respond(&r, prologue.p, prologue.n, public);
	for (; find_hex(&at, end, "payload", &payload); count++) {
		assert_true(find_hex(&at, end, "ciphertext", &want));
		if (count == 0) {
			assert_int_equal(noise_write_first(&i, i_ephemeral.p, payload.p, payload.n, out), OK);
			noise_read_ephemeral(&r, out);
			assert_int_equal(noise_dh(shared, r_static.p, r.peer_ephemeral), OK);
			assert_int_equal(noise_read_static(&r, shared, out + NOISE_EPHEMERAL_BYTES), OK);
			noise_public(public, i_static.p);
			assert_memory_equal(r.peer_static, public, sizeof public);
			assert_int_equal(noise_dh(shared, r_static.p, r.peer_static), OK);
			assert_int_equal(noise_read_payload(&r, shared, out + NOISE_EPHEMERAL_BYTES + NOISE_STATIC_BYTES,
			                                    payload.n + NOISE_TAG_BYTES, back), OK);
			assert_int_equal(want.n, NOISE_FIRST_BYTES + payload.n);
		} else if (count == 1) {
			assert_int_equal(noise_write_second(&r, r_ephemeral.p, payload.p, payload.n, out), OK);
			assert_int_equal(noise_read_second(&i, out, payload.n + NOISE_SECOND_BYTES, back), OK);
			assert_int_equal(want.n, NOISE_SECOND_BYTES + payload.n);
			noise_split(&i, &from[0], &to[0]);
			noise_split(&r, &from[1], &to[1]);
		} else {
			unsigned side = count % 2;
			assert_int_equal(noise_encrypt(&from[side], NULL, 0, payload.p, payload.n, out), OK);
			assert_int_equal(noise_decrypt(&to[!side], NULL, 0, out, payload.n + NOISE_TAG_BYTES, back), OK);
		}
		assert_memory_equal(out, want.p, want.n);
		assert_memory_equal(back, payload.p, payload.n);
	}
	if (find_hex(&from_top, end, "handshake_hash", &hash)) {
		assert_memory_equal(i.hash, hash.p, NOISE_HASH_BYTES);
		assert_memory_equal(r.hash, hash.p, NOISE_HASH_BYTES);
	}
	return count;
}

static void
agrees_with_the_published_vectors(void **state)
{
	(void)state;
	static char text[1 << 20];
	const char *shared = getenv("ATOLL_SHARED");
	char path[4096];
	snprintf(path, sizeof path, "%s/vectors/noise/noise_25519_chachapoly_blake2b.json", shared ? shared : "../shared");
	FILE *f = fopen(path, "r");
	if (f == NULL) {
		print_message("skipped: no %s\n", path);
		skip();
	}
	size_t n = fread(text, 1, sizeof text - 1, f);
	fclose(f);
	text[n] = 0;
	static const char name[] = "\"protocol_name\": \"", pattern[] = "\"protocol_name\": \"" NOISE_PROTOCOL "\"";
	unsigned vectors = 0, messages = 0;
	for (const char *at = text; (at = strstr(at, pattern)) != NULL; vectors++) {
		at += sizeof pattern - 1;
		const char *end = strstr(at, name);
		messages += run_vector(at, end ? end : text + n);
	}
	print_message("%u vectors of %s, %u messages\n", vectors, NOISE_PROTOCOL, messages);
	assert_true(vectors >= 2 && messages >= 10);
}

/* --- our own --- */

static const uint8_t i_secret[NOISE_KEY_BYTES] = "initiator's static secret......";
static const uint8_t r_secret[NOISE_KEY_BYTES] = "responder's static secret......";
static const uint8_t i_once[NOISE_KEY_BYTES] = "initiator's ephemeral secret...";
static const uint8_t r_once[NOISE_KEY_BYTES] = "responder's ephemeral secret...";
static uint8_t r_public[NOISE_KEY_BYTES];

/* What the responder makes of message 1. */
static enum err
respond(struct noise *r, const char *prologue, const uint8_t *secret, const uint8_t first[NOISE_FIRST_BYTES],
        uint8_t second[NOISE_SECOND_BYTES])
{
	uint8_t shared[NOISE_KEY_BYTES];
	noise_respond(r, prologue, strlen(prologue), r_public);
	noise_read_ephemeral(r, first);
	TRY(noise_dh(shared, secret, r->peer_ephemeral));
	TRY(noise_read_static(r, shared, first + NOISE_EPHEMERAL_BYTES));
	TRY(noise_dh(shared, secret, r->peer_static));
	TRY(noise_read_payload(r, shared, first + NOISE_EPHEMERAL_BYTES + NOISE_STATIC_BYTES, NOISE_TAG_BYTES, NULL));
	return noise_write_second(r, r_once, NULL, 0, second);
}

static void
shake(struct noise *i, uint8_t first[NOISE_FIRST_BYTES], struct noise *r, uint8_t second[NOISE_SECOND_BYTES])
{
	noise_public(r_public, r_secret);
	noise_initiate(i, "atoll", 5, i_secret, r_public);
	assert_int_equal(noise_write_first(i, i_once, NULL, 0, first), OK);
	assert_int_equal(respond(r, "atoll", r_secret, first, second), OK);
}

/* Golden values from a second implementation (Python's hashlib and hmac). */
static void
fixed_keys_give_golden_messages_and_keys(void **state)
{
	(void)state;
	static const char want_first[] =
		"29eac87da42aaee74fef6142f0d07ab12c722fb81ededec635494e6a13b5b946"
		"5c0d89a2a431fde9cddfaaf4078406209296690d8373c7923d27eef838976550"
		"4350a99a2533517d915b6bbf97f25cee872e65a91bebc790ca5279009e39877f";
	static const char want_second[] =
		"fe115c71d9f563bb19710d72883f26a4691ae9d1e8245eb31fddc08188ec5a67"
		"ef9f69f6e167b900651b2c8521843462";
	static const char want_keys[] =
		"d6601a74ab4280ed967178a440f7bc77a431a1defe88dee6e47016e696c97109"
		"cd5b529c3ffc650ab720f613eae1dc94ad04e9e0bff81b845f060859e91f28d1";
	static const char want_rekeyed[] =
		"b69903d529faf927c7f850307c0d760f8c1ea286caaa543dbf4774ff948053c4";
	struct noise i, r;
	struct noise_cipher send[2], receive[2];
	uint8_t first[NOISE_FIRST_BYTES], second[NOISE_SECOND_BYTES];
	char hex[2 * NOISE_FIRST_BYTES + 1];
	shake(&i, first, &r, second);
	assert_string_equal(sodium_bin2hex(hex, sizeof hex, first, sizeof first), want_first);
	assert_string_equal(sodium_bin2hex(hex, sizeof hex, second, sizeof second), want_second);
	assert_int_equal(noise_read_second(&i, second, sizeof second, NULL), OK);
	noise_split(&i, &send[0], &receive[0]);
	noise_split(&r, &send[1], &receive[1]);
	assert_memory_equal(&send[0], &receive[1], sizeof send[0]);
	assert_memory_equal(&send[1], &receive[0], sizeof send[0]);
	assert_memory_equal(i.hash, r.hash, sizeof i.hash);
	uint8_t keys[2 * NOISE_KEY_BYTES];
	memcpy(keys, send[0].key, NOISE_KEY_BYTES);
	memcpy(keys + NOISE_KEY_BYTES, send[1].key, NOISE_KEY_BYTES);
	assert_string_equal(sodium_bin2hex(hex, sizeof hex, keys, sizeof keys), want_keys);
	noise_rekey(&send[0]);
	assert_int_equal(send[0].nonce, 0);
	assert_string_equal(sodium_bin2hex(hex, sizeof hex, send[0].key, NOISE_KEY_BYTES), want_rekeyed);
	/* what is kept is not secret */
	assert_true(sodium_is_zero(i.chain, sizeof i.chain) && sodium_is_zero(i.static_secret, sizeof i.static_secret) &&
	            sodium_is_zero(i.own_secret, sizeof i.own_secret) && sodium_is_zero(i.cipher.key, sizeof i.cipher.key));
}

static void
refuses_every_flipped_bit_of_either_message(void **state)
{
	(void)state;
	struct noise i, r;
	uint8_t first[NOISE_FIRST_BYTES], second[NOISE_SECOND_BYTES], ignored[NOISE_SECOND_BYTES];
	shake(&i, first, &r, second);
	for (size_t bit = 0; bit < 8 * NOISE_FIRST_BYTES; bit++) {
		struct noise other;
		first[bit / 8] ^= (uint8_t)(1u << bit % 8);
		/* (X25519 ignores the last bit of a point; the hash does not) */
		assert_int_equal(respond(&other, "atoll", r_secret, first, ignored), ERR_DENIED);
		assert_int_equal(other.step, NOISE_OVER);
		first[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t bit = 0; bit < 8 * NOISE_SECOND_BYTES; bit++) {
		struct noise copy = i;
		second[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(noise_read_second(&copy, second, sizeof second, NULL), ERR_DENIED);
		second[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(noise_read_second(&i, second, sizeof second, NULL), OK);
}

static void
refuses_a_short_second_message(void **state)
{
	(void)state;
	struct noise i, r;
	uint8_t first[NOISE_FIRST_BYTES], second[NOISE_SECOND_BYTES];
	shake(&i, first, &r, second);
	for (size_t n = 0; n < sizeof second; n++) {
		struct noise copy = i;
		assert_int_equal(noise_read_second(&copy, second, n, NULL), ERR_FORMAT);
	}
}

static void
another_prologue_or_key_ends_the_handshake(void **state)
{
	(void)state;
	struct noise i, r;
	uint8_t first[NOISE_FIRST_BYTES], second[NOISE_SECOND_BYTES];
	shake(&i, first, &r, second);
	assert_int_equal(respond(&r, "atolL", r_secret, first, second), ERR_DENIED);
	assert_int_equal(respond(&r, "atol", r_secret, first, second), ERR_DENIED);
	assert_int_equal(respond(&r, "atoll", i_secret, first, second), ERR_DENIED);
	/* an initiator that pins another responder */
	noise_public(first, i_once);
	noise_initiate(&i, "atoll", 5, i_secret, first);
	assert_int_equal(noise_write_first(&i, i_once, NULL, 0, first), OK);
	assert_int_equal(respond(&r, "atoll", r_secret, first, second), ERR_DENIED);
}

/* Points that any secret agrees with (RFC 7748, section 6.1). */
static void
refuses_keys_of_small_order(void **state)
{
	(void)state;
	static const char *const points[] = {
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
		"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	};
	struct noise i, r;
	uint8_t first[NOISE_FIRST_BYTES], second[NOISE_SECOND_BYTES], point[NOISE_KEY_BYTES], shared[NOISE_KEY_BYTES];
	for (size_t k = 0; k < sizeof points / sizeof *points; k++) {
		assert_int_equal(sodium_hex2bin(point, sizeof point, points[k], 64, NULL, NULL, NULL), 0);
		assert_int_equal(noise_dh(shared, r_secret, point), ERR_DENIED);
		noise_initiate(&i, "atoll", 5, i_secret, point);
		assert_int_equal(noise_write_first(&i, i_once, NULL, 0, first), ERR_DENIED);
		shake(&i, first, &r, second);
		memcpy(second, point, sizeof point);
		assert_int_equal(noise_read_second(&i, second, sizeof second, NULL), ERR_DENIED);
	}
	/* a shared secret of zeros, given by whoever holds the key */
	static const uint8_t zeros[NOISE_KEY_BYTES];
	shake(&i, first, &r, second);
	noise_respond(&r, "atoll", 5, r_public);
	noise_read_ephemeral(&r, first);
	assert_int_equal(noise_read_static(&r, zeros, first + NOISE_EPHEMERAL_BYTES), ERR_DENIED);
}

static void
ciphers_refuse_change_replay_and_the_last_nonce(void **state)
{
	(void)state;
	struct noise_cipher send = { "a key", 0 }, receive = send;
	uint8_t out[64], back[64];
	for (unsigned n = 0; n < 40; n++) {
		assert_int_equal(noise_encrypt(&send, "ad", 2, (const uint8_t *)"some words", 10, out), OK);
		for (unsigned bit = 0; bit < 26 * 8; bit++) {
			out[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_int_equal(noise_decrypt(&receive, "ad", 2, out, 26, back), ERR_DENIED);
			out[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		for (size_t less = 1; less <= 26; less++)
			assert_int_equal(noise_decrypt(&receive, "ad", 2, out, 26 - less, back), ERR_DENIED);
		assert_int_equal(noise_decrypt(&receive, "da", 2, out, 26, back), ERR_DENIED);
		assert_int_equal(receive.nonce, n);
		assert_int_equal(noise_decrypt(&receive, "ad", 2, out, 26, back), OK);
		assert_memory_equal(back, "some words", 10);
		assert_int_equal(noise_decrypt(&receive, "ad", 2, out, 26, back), ERR_DENIED);
		if (n % 7 == 3) {
			noise_rekey(&send);
			noise_rekey(&receive);
		}
	}
	send.nonce = receive.nonce = UINT64_MAX - 1;
	assert_int_equal(noise_encrypt(&send, NULL, 0, NULL, 0, out), OK);
	assert_int_equal(noise_decrypt(&receive, NULL, 0, out, 16, back), OK);
	assert_int_equal(noise_encrypt(&send, NULL, 0, NULL, 0, out), ERR_LIMIT);
	assert_int_equal(noise_decrypt(&receive, NULL, 0, out, 16, back), ERR_LIMIT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_the_published_vectors),
		cmocka_unit_test(fixed_keys_give_golden_messages_and_keys),
		cmocka_unit_test(refuses_every_flipped_bit_of_either_message),
		cmocka_unit_test(refuses_a_short_second_message),
		cmocka_unit_test(another_prologue_or_key_ends_the_handshake),
		cmocka_unit_test(refuses_keys_of_small_order),
		cmocka_unit_test(ciphers_refuse_change_replay_and_the_last_nonce),
	};
	return cmocka_run_group_tests(tests, begin, NULL);
}
