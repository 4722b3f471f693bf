/* Lines, sections, names and faults of INI text. What the configuration and policies make of them is tested there. */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ini.h"

static const struct ini_name table[] = {
	{ "time", "shift" }, { "time", "quantum" }, { "ports", "ports" }, { "free", NULL }, { NULL, NULL },
};

/* What is read of n bytes, in one line: "[section]", "key=value", "!sentence". Copied, so that a read behind the end is seen. */
static const char *
reading(const char *text, size_t n)
{
	static char out[16384];
	static struct ini i;
	char *copy = malloc(n ? n : 1), fault[ERR_TEXT_BYTES] = "";
	assert_non_null(copy);
	memcpy(copy, text, n);
	struct ini_faults f = { .place = "x" };
	size_t used = 0;
	out[0] = 0;
	ini_begin(&i, copy, n, &f);
	for (unsigned told = 0;;) {
		bool more = ini_next(&i);
		if (f.count > told) {
			used += (size_t)snprintf(out + used, sizeof out - used, "!%u ", f.count - told);
			told = f.count;
		}
		if (!more)
			break;
		if (i.key == NULL)
			used += (size_t)snprintf(out + used, sizeof out - used, "[%.500s] ", i.section);
		else
			used += (size_t)snprintf(out + used, sizeof out - used, "%s.%.500s=%.500s ", i.section, i.key, i.value);
	}
	snprintf(fault, sizeof fault, "%s", f.first);
	if (f.count)
		snprintf(out + used, sizeof out - used, "%s", fault);
	free(copy);
	return out;
}

static void
reads_lines_of_every_form(void **state)
{
	(void)state;
	static const struct { const char *text, *read; } cases[] = {
		{ "", "" }, { "\n\n", "" }, { "# a = b\n; c\n \t\n", "" }, { "[a]", "[a] " }, { "[a]\r\nb=c\r\n", "[a] a.b=c " },
		{ "[a]\n\tb\t = c = d # e \n", "[a] a.b=c = d # e " }, { "[a]\nb =", "[a] a.b= " }, { "[a]\n= c\n", "[a] a.=c " },
		{ "[a]\nb = caf\xc3\xa9\tx\n", "[a] a.b=caf\xc3\xa9\tx " }, { "[]\n", "[] " }, { "[a] \n[b]\n", "[a] [b] " },
		{ "b = c\nd = e\n", "!1 x:1: b stands in no section" },
		{ "[a\nb = c\n[d]\n", "!1 [d] x:1: a section is written [NAME]" },
		{ "[", "!1 x:1: a section is written [NAME]" },
		{ "\n[a]\nbc\n", "[a] !1 x:3: \"bc\" is neither KEY = VALUE nor [SECTION] nor # comment" },
		{ "# \xff\n", "!1 x:1: not UTF-8 (byte 3)" }, { "#\x1b", "!1 x:1: a control character (byte 2)" },
		{ "#\xc2\x85", "!1 x:1: a control character (byte 2)" }, { "# \t \x7f", "!1 x:1: a control character (byte 5)" },
		{ "#\r\r\n", "!1 x:1: a control character (byte 2)" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_string_equal(reading(cases[i].text, strlen(cases[i].text)), cases[i].read);
	assert_string_equal(reading("[a]\nb = \0c\n", 11), "[a] !1 x:2: a NUL byte (byte 5)");
}

static void
a_line_has_a_longest_length(void **state)
{
	(void)state;
	char line[INI_LINE_BYTES_MAX + 2];
	memset(line, '#', sizeof line);
	line[INI_LINE_BYTES_MAX] = '\n';
	assert_string_equal(reading(line, INI_LINE_BYTES_MAX + 1), "");
	assert_string_equal(reading(line, INI_LINE_BYTES_MAX), "");
	line[INI_LINE_BYTES_MAX] = '#';
	assert_string_equal(reading(line, INI_LINE_BYTES_MAX + 1), "!1 x:1: longer than 4096 bytes");
	line[0] = '[';
	line[INI_LINE_BYTES_MAX - 1] = ']';
	assert_int_equal(reading(line, INI_LINE_BYTES_MAX)[0], '[');
}

static void
a_section_that_is_passed_over_says_nothing_more(void **state)
{
	(void)state;
	static struct ini i;
	struct ini_faults f = { .place = "x" };
	const char *text = "[a]\nb = c\nd = e\n[f]\ng = h\n";
	ini_begin(&i, text, strlen(text), &f);
	assert_true(ini_next(&i));
	ini_skip_section(&i);
	assert_true(ini_next(&i));
	assert_string_equal(i.section, "f");
	assert_null(i.key);
	assert_true(ini_next(&i));
	assert_string_equal(i.key, "g");
	assert_false(ini_next(&i));
	assert_int_equal(f.count, 0);
	assert_int_equal(ini_verdict(&f, "more"), OK);
}

static void
names_are_found_or_the_nearest_is_told(void **state)
{
	(void)state;
	static const struct { const char *section, *key; int at; const char *told; } cases[] = {
		{ "time", "shift", 0, NULL }, { "time", "quantum", 1, NULL }, { "ports", "ports", 2, NULL },
		{ "time", "shft", -1, "x: there is no shft in [time]; did you mean shift?" },
		{ "time", "ports", -1, "x: there is no ports in [time], but in [ports]" },
		{ "free", "ports", -1, "x: there is no ports in [free], but in [ports]" },
		{ "time", "zz\x1bzzz", -1, "x: there is no zz?zzz in [time]" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct ini_faults f = { .place = "x" };
		assert_int_equal(ini_find(&f, table, cases[i].section, cases[i].key), cases[i].at);
		assert_string_equal(f.first, cases[i].told ? cases[i].told : "");
	}
	struct ini_faults f = { .place = "x", .line = 7 };
	assert_true(ini_section_known(table, "free"));
	assert_false(ini_section_known(table, "fre"));
	ini_unknown_section(&f, table, "tme");
	assert_string_equal(f.first, "x:7: there is no section [tme]; did you mean [time]?");
	unsigned on = 0;
	assert_true(ini_first(&f, "shift", &on));
	assert_int_equal(on, 7);
	f.line = 9;
	assert_false(ini_first(&f, "shift", &on));
	assert_int_equal(f.count, 2);
	assert_int_equal(ini_verdict(&f, "atoll x check"), ERR_USAGE);
	assert_string_equal(err_text(), "x:7: there is no section [tme]; did you mean [time]? (and 1 more: atoll x check)");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_lines_of_every_form),
		cmocka_unit_test(a_line_has_a_longest_length),
		cmocka_unit_test(a_section_that_is_passed_over_says_nothing_more),
		cmocka_unit_test(names_are_found_or_the_nearest_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
