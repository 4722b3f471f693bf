#include <sodium.h>
#include <string.h>

#include "anonymize/subkey.h"
#include "tests/support/unit.h"

static const uint8_t master[SUBKEY_BYTES] = { 1, 2, 3 }, policy[SUBKEY_BYTES] = { 4 }, policy2[SUBKEY_BYTES] = { 5 };

static void
another_of_any_item_gives_another_key(void **state)
{
	(void)state;
	/* the first, then one change each; and pairs that a sloppy encoding would take for the same */
	static const struct { struct subkey_scope scope; const char *field, *scheme; unsigned family; } v[] = {
		{ { "d", 1, "r", policy }, "address", "pfx", 4 }, { { "e", 1, "r", policy }, "address", "pfx", 4 },
		{ { "d", 2, "r", policy }, "address", "pfx", 4 }, { { "d", 1, "s", policy }, "address", "pfx", 4 },
		{ { "d", 1, NULL, policy }, "address", "pfx", 4 }, { { "d", 1, "r", policy2 }, "address", "pfx", 4 },
		{ { "d", 1, "r", policy }, "mac", "pfx", 4 }, { { "d", 1, "r", policy }, "address", "cryptopan", 4 },
		{ { "d", 1, "r", policy }, "address", "pfx", 6 }, { { "d", 1, "r", policy }, "addressp", "fx", 4 },
		{ { "dr", 1, "r", policy }, "address", "pfx", 4 }, { { "d", 1, "rr", policy }, "address", "pfx", 4 },
	};
	enum { N = sizeof v / sizeof *v };
	uint8_t out[N + 1][SUBKEY_BYTES], again[SUBKEY_BYTES], other[SUBKEY_BYTES] = { 9 };
	for (unsigned i = 0; i < N; i++)
		assert_int_equal(subkey_derive(out[i], master, &v[i].scope, v[i].field, v[i].scheme, v[i].family), OK);
	assert_int_equal(subkey_derive(out[N], other, &v[0].scope, v[0].field, v[0].scheme, v[0].family), OK);
	for (unsigned i = 0; i <= N; i++)
		for (unsigned j = 0; j < i; j++)
			assert_memory_not_equal(out[i], out[j], SUBKEY_BYTES);
	assert_int_equal(subkey_derive(again, master, &v[0].scope, v[0].field, v[0].scheme, v[0].family), OK);
	assert_memory_equal(again, out[0], SUBKEY_BYTES);
}

static void
a_key_stays_what_it_was_in_earlier_releases(void **state)
{
	(void)state;
	uint8_t out[SUBKEY_BYTES];
	char hex[2 * SUBKEY_BYTES + 1];
	/* python3: hashlib.blake2b(items, digest_size=32, key=master), each item as struct.pack("<I", len) + bytes */
	static const char known[] = "94d43d9296aa112136d14dff77869bb8f49b15fa1df577a0c765ee8a3e83349a";
	assert_int_equal(subkey_derive(out, master, &(struct subkey_scope){ "d", 1, "r", policy }, "address", "pfx", 4), OK);
	assert_string_equal(sodium_bin2hex(hex, sizeof hex, out, sizeof out), known);
}

static void
what_was_forgotten_is_not_taken_for_a_wish(void **state)
{
	(void)state;
	uint8_t out[SUBKEY_BYTES] = { 7 };
	assert_int_equal(subkey_derive(out, master, &(struct subkey_scope){ "d", 1, "", policy }, "address", "pfx", 4), ERR_USAGE);
	assert_non_null(strstr(err_text(), "recipient"));
	assert_int_equal(subkey_derive(out, master, &(struct subkey_scope){ "", 1, "r", policy }, "address", "pfx", 4), ERR_USAGE);
	assert_int_equal(subkey_derive(out, master, &(struct subkey_scope){ NULL, 1, "r", policy }, "address", "pfx", 4), ERR_USAGE);
	assert_int_equal(subkey_derive(out, master, &(struct subkey_scope){ "d", 1, "r", NULL }, "address", "pfx", 4), ERR_USAGE);
	assert_int_equal(subkey_derive(out, master, &(struct subkey_scope){ "d", 1, "r", policy }, "", "pfx", 4), ERR_USAGE);
	assert_int_equal(subkey_derive(out, master, &(struct subkey_scope){ "d", 1, "r", policy }, "mac", "", 0), ERR_USAGE);
	assert_int_equal(out[0], 7);
}

int
main(void)
{
	if (sodium_init() < 0)
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_of_any_item_gives_another_key),
		cmocka_unit_test(a_key_stays_what_it_was_in_earlier_releases),
		cmocka_unit_test(what_was_forgotten_is_not_taken_for_a_wish),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
