#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "archive/ticket.h"
#include "tests/support/unit.h"

static void
gives_the_examples_of_rfc_4648(void **state)
{
	(void)state;
	static const struct { const char *bytes, *text; } v[] = {
		{ "", "" }, { "f", "my" }, { "fo", "mzxq" }, { "foo", "mzxw6" }, { "foob", "mzxw6yq" }, { "fooba", "mzxw6ytb" },
		{ "foobar", "mzxw6ytboi" },
	};
	for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
		char text[32], back[32] = "";
		size_t n = strlen(v[i].bytes);
		base32_encode(text, v[i].bytes, n);
		assert_string_equal(text, v[i].text);
		assert_int_equal(strlen(text), BASE32_CHARS(n));
		assert_int_equal(base32_decode(back, n, text), OK);
		assert_memory_equal(back, v[i].bytes, n);
	}
}

static void
takes_upper_case_and_nothing_else(void **state)
{
	(void)state;
	char back[8];
	assert_int_equal(base32_decode(back, 6, "MZXW6YTBOI"), OK);
	assert_memory_equal(back, "foobar", 6);
	static const char *const bad[] = { "mzxw6ytbo", "mzxw6ytboia", "mzxw6ytbo1", "mzxw6ytbo=", "mzxw6ytbo ", "mzxw6ytboj", "" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(base32_decode(back, 6, bad[i]), ERR_FORMAT);
}

static void
a_code_comes_back_and_a_slip_of_the_hand_is_noticed(void **state)
{
	(void)state;
	struct ticket t, back;
	char code[TICKET_CODE_CHARS + 1], spoilt[TICKET_CODE_CHARS + 1], print[KEY_FINGERPRINT_CHARS + 1];
	randombytes_buf(&t, sizeof t);
	ticket_format(code, &t);
	assert_int_equal(strlen(code), 84);
	assert_int_equal(ticket_parse(&back, code), OK);
	assert_memory_equal(&back, &t, sizeof t);
	for (size_t i = 0; i < TICKET_CODE_CHARS; i++) {
		memcpy(spoilt, code, sizeof code);
		spoilt[i] = spoilt[i] == 'q' ? 'r' : 'q';
		assert_int_equal(ticket_parse(&back, spoilt), ERR_USAGE);
		memcpy(spoilt, code, sizeof code);
		spoilt[i] = 0;
		assert_int_equal(ticket_parse(&back, spoilt), ERR_USAGE);
	}
	ticket_fingerprint(print, t.archive);
	assert_int_equal(strlen(print), 52);
}

int
main(void)
{
	if (sodium_init() < 0)
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_the_examples_of_rfc_4648),
		cmocka_unit_test(takes_upper_case_and_nothing_else),
		cmocka_unit_test(a_code_comes_back_and_a_slip_of_the_hand_is_noticed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
