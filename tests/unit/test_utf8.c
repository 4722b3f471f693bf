/* UTF-8 is told from what only looks like it: decoded by its bits, a character must be the shortest form of a value that is one. */
#include "tests/support/unit.h"

#include <string.h>

#include "base/utf8.h"

static size_t
by_its_bits(const uint8_t p[4])
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
	uint32_t value = n < 2 ? p[0] : p[0] & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if (p[i] >> 6 != 2)
			return 0;
		value = value << 6 | (p[i] & 0x3f);
	}
	return n && value >= least[n] && value <= 0x10ffff && (value < 0xd800 || value > 0xdfff) ? n : 0;
}

static void
knows_every_character_and_no_other(void **state)
{
	(void)state;
	/* all of one to three bytes, and of four those that matter: the forms' edges */
	static const uint8_t edges[] = { 0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff };
	for (uint32_t first = 0; first < 256; first++)
		for (size_t a = 0; a < 256; a++)
			for (size_t b = 0; b < sizeof edges; b++)
				for (size_t c = 0; c < sizeof edges; c++) {
					uint8_t p[4] = { (uint8_t)first, (uint8_t)a, edges[b], edges[c] };
					size_t want = by_its_bits(p);
					assert_int_equal(utf8_length(p, 4), want);
					for (size_t n = 0; n < want; n++)
						assert_int_equal(utf8_length(p, n), 0);
				}
}

static void
finds_the_first_byte_that_is_no_plain_text(void **state)
{
	(void)state;
	static const struct { const char *text; size_t at; } cases[] = {
		{ "", 0 }, { "eth0", 4 }, { "caf\xc3\xa9", 5 }, { "\xe2\x82\xac \xf0\x9f\x90\xbb", 8 }, { "tab\there", 3 }, { "x\x7f", 1 },
		{ "x\x1b[31m", 1 }, { "caf\xe9", 3 }, { "x\xe2\x82", 1 }, { "\xed\xa0\x80", 0 }, { "ab\xc2\x9b", 2 }, { "a\xc2\xa0", 3 },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_int_equal(utf8_plain((const uint8_t *)cases[i].text, strlen(cases[i].text)), cases[i].at);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_every_character_and_no_other),
		cmocka_unit_test(finds_the_first_byte_that_is_no_plain_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
