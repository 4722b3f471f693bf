#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/human.h"
#include "base/table.h"
#include "tests/support/unit.h"

static void
numbers_read_well(void **state)
{
	(void)state;
	char out[HUMAN_BYTES];
	assert_string_equal(human_size(out, 0), "0 B");
	assert_string_equal(human_size(out, 999), "999 B");
	assert_string_equal(human_size(out, 1000), "1.0 kB");
	assert_string_equal(human_size(out, 999949), "999.9 kB");
	assert_string_equal(human_size(out, 999950), "1.0 MB");
	assert_string_equal(human_size(out, 964413807), "964.4 MB");
	assert_string_equal(human_size(out, UINT64_MAX), "18.4 EB");
	assert_string_equal(human_count(out, 0), "0");
	assert_string_equal(human_count(out, 999), "999");
	assert_string_equal(human_count(out, 10000000), "10,000,000");
	assert_string_equal(human_count(out, UINT64_MAX), "18,446,744,073,709,551,615");
	assert_string_equal(human_rough(out, 0), "0");
	assert_string_equal(human_rough(out, 7.04e6), "7.0 M");
	assert_string_equal(human_rough(out, 38e6), "38 M");
	assert_string_equal(human_duration(out, 0.012), "12 ms");
	assert_string_equal(human_duration(out, 3.44), "3.4 s");
	assert_string_equal(human_duration(out, 59.96), "1 min 00 s");
	assert_string_equal(human_duration(out, 125), "2 min 05 s");
	assert_string_equal(human_duration(out, 3840), "1 h 04 min");
	assert_string_equal(human_duration(out, 86400 * 3 + 7200), "3 d 02 h");
}

static void
whole_numbers_are_parsed_strictly(void **state)
{
	(void)state;
	uint64_t n = 7;
	assert_int_equal(number_parse(&n, "18446744073709551615", "--limit"), OK);
	assert_true(n == UINT64_MAX);
	static const char *const bad[] = { "", "-1", "+1", " 1", "1 ", "1k", "0x1", "18446744073709551616", "1.0" };
	for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
		n = 7;
		assert_int_equal(number_parse(&n, bad[i], "--limit"), ERR_USAGE);
		assert_non_null(strstr(err_text(), "--limit"));
		assert_int_equal(n, 7);
	}
}

static void
foreign_text_can_not_steer_a_terminal(void **state)
{
	(void)state;
	char out[16];
	assert_string_equal(human_text(out, sizeof out, "a\x1b[2Jb\n"), "a?[2Jb?");
	assert_string_equal(human_text(out, sizeof out, "\xc2\x9b" "1m"), "?\x9b" "1m");
	assert_string_equal(human_text(out, 4, "abcdef"), "abc");
	assert_string_equal(human_text(out, sizeof out, "\xc3\xa9"), "\xc3\xa9");
}

static void
tables_align_their_columns(void **state)
{
	(void)state;
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);
	struct table *t = NULL;
	assert_int_equal(table_open(&t, to, (const char *const[]){ "stream", ">packets", "from", NULL }), OK);
	assert_int_equal(table_row(t, (const char *const[]){ "eth0", "12", "a" }), OK);
	assert_int_equal(table_row(t, (const char *const[]){ "\xc3\xa9th-long", "1,234,567", "b\x1b" }), OK);
	assert_int_equal(table_close(&t), OK);
	assert_null(t);
	fclose(to);
	assert_string_equal(text, "stream      packets  from\n"
	                          "eth0             12  a\n"
	                          "\xc3\xa9th-long  1,234,567  b?\n");
	free(text);
}

static void
a_long_table_is_printed_in_parts(void **state)
{
	(void)state;
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);
	struct table *t = NULL;
	assert_int_equal(table_open(&t, to, (const char *const[]){ "n", NULL }), OK);
	for (unsigned i = 0; i < TABLE_ROWS_MAX * 2 + 5; i++)
		assert_int_equal(table_row(t, (const char *const[]){ "x" }), OK);
	assert_int_equal(table_close(&t), OK);
	fclose(to);
	assert_int_equal(n, 2 * (TABLE_ROWS_MAX * 2 + 5 + 1));
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_read_well),
		cmocka_unit_test(whole_numbers_are_parsed_strictly),
		cmocka_unit_test(foreign_text_can_not_steer_a_terminal),
		cmocka_unit_test(tables_align_their_columns),
		cmocka_unit_test(a_long_table_is_printed_in_parts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
