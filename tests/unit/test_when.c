#include <string.h>

#include "base/when.h"
#include "tests/support/unit.h"

#define NOW (1763748245ull * NS_PER_S) /* 2025-11-21T18:04:05Z */

static void
reads_what_people_write(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t ns;
	} rows[] = {
		{ "1970-01-01T00:00:00Z", 0 },
		{ "2025-11-21T18:04:05Z", NOW },
		{ "2025-11-21 18:04:05", NOW },
		{ "2025-11-21t18:04:05z", NOW },
		{ "2025-11-21T20:04:05+02:00", NOW },
		{ "2025-11-21T20:04:05+0200", NOW },
		{ "2025-11-21T12:34:05-05:30", NOW },
		{ "2025-11-21T18:04", NOW - 5ull * NS_PER_S },
		{ "2025-11-21", NOW - 65045ull * NS_PER_S },
		{ "2025-11-21T18:04:05.000000001Z", NOW + 1 },
		{ "2025-11-21T18:04:05.5Z", NOW + 500000000 },
		{ "2025-11-21T18:04:05,25Z", NOW + 250000000 },
		{ "2024-02-29", 1709164800ull * NS_PER_S },
		{ "2000-02-29", 951782400ull * NS_PER_S },
		{ "2016-12-31T23:59:60Z", 1483228800ull * NS_PER_S },
		{ "2554-07-21T23:34:33.709551615Z", UINT64_MAX },
		{ "0", 0 },
		{ "1763748245", NOW },
		{ "1763748245.5", NOW + 500000000 },
		{ "1763748245.000000001", NOW + 1 },
		{ "18446744073.709551615", UINT64_MAX },
		{ "now", NOW },
		{ "now-6h", NOW - 6 * 3600ull * NS_PER_S },
		{ "now-90m", NOW - 90 * 60ull * NS_PER_S },
		{ "now-1s", NOW - NS_PER_S },
		{ "now-2d", NOW - 2 * 86400ull * NS_PER_S },
		{ "now-1w", NOW - 7 * 86400ull * NS_PER_S },
		{ "now+1m", NOW + 60ull * NS_PER_S },
	};
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint64_t ns = 1;
		if (when_parse(&ns, rows[i].text, NOW) != OK)
			fail_msg("%s: %s", rows[i].text, err_text());
		if (ns != rows[i].ns)
			fail_msg("%s: got %llu", rows[i].text, (unsigned long long)ns);
	}
}

static void
refuses_bad_times_and_leaves_the_output_alone(void **state)
{
	(void)state;
	static const char *const rows[] = {
		"", " ", "x", "yesterday", "-1", "+5", "nowish", "now-", "now-h", "now-6", "now-6y", "now-6hh", "now 6h",
		"now-99999999999999999999h", "now-5000w", "now+900000w", "2025-11", "2025-11-", "2025-13-01",
		"2025-00-10", "2025-11-31", "2023-02-29", "1900-02-29", "1969-12-31", "2555-01-01", "9999-12-31T00:00:00Z",
		"2025-11-21T", "2025-11-21T18", "2025-11-21T24:00:00Z", "2025-11-21T18:60:00Z", "2025-11-21T18:04:61Z",
		"2025-11-21T18:04:05.Z", "2025-11-21T18:04:05.1234567891Z", "2025-11-21T18:04:05 CET", "2025-11-21T18:04:05+2",
		"2025-11-21T18:04:05+24:00", "2025-11-21T18:04:05+02:60", "2025-11-21T18:04:05Zjunk", "2025-11-21Z",
		"1970-01-01T00:00:00+01:00", "18446744073.709551616", "18446744074", "99999999999999999999999", "12.", "12.x",
		"1e9", "0x10", "1763748245 ", "12:30", "2554-07-21T23:34:33.709551616Z", "2025-11-21T18:04:05\n",
	};
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint64_t ns = 77;
		enum err e = when_parse(&ns, rows[i], NOW);
		if (e != ERR_USAGE)
			fail_msg("\"%s\" was read as %llu", rows[i], (unsigned long long)ns);
		assert_int_equal(ns, 77);
		assert_non_null(strstr(err_text(), "time \""));
	}
}

static void
every_prefix_of_a_time_is_read_or_refused_without_harm(void **state)
{
	(void)state;
	const char full[] = "2025-11-21T18:04:05.123456789+02:00";
	for (size_t n = 0; n < sizeof full; n++) {
		char *text = test_malloc(n + 1);
		memcpy(text, full, n);
		text[n] = '\0';
		uint64_t ns;
		enum err e = when_parse(&ns, text, NOW);
		assert_true(e == OK || e == ERR_USAGE);
		test_free(text);
	}
}

static void
writes_utc_with_nine_digits_and_reads_it_back(void **state)
{
	(void)state;
	char text[WHEN_TEXT_BYTES];
	when_format(text, NOW + 7);
	assert_string_equal(text, "2025-11-21T18:04:05.000000007Z");
	when_format(text, UINT64_MAX);
	assert_string_equal(text, "2554-07-21T23:34:33.709551615Z");
	uint64_t ns = 1, back;
	for (unsigned i = 0; i < 20000; i++) {
		ns = ns * 6364136223846793005ull + 1442695040888963407ull;
		when_format(text, ns);
		assert_int_equal(when_parse(&back, text, NOW), OK);
		assert_true(back == ns);
	}
}

static void
ranges_are_half_open_and_never_empty(void **state)
{
	(void)state;
	struct span span = { 1, 2 };
	assert_int_equal(span_parse(&span, NULL, NULL, NOW), OK);
	assert_true(span.from_ns == 0 && span.until_ns == UINT64_MAX);
	assert_int_equal(span_parse(&span, "now-6h", "now", NOW), OK);
	assert_true(span.from_ns == NOW - 6 * 3600ull * NS_PER_S && span.until_ns == NOW);
	struct span kept = span;
	assert_int_equal(span_parse(&span, "10", "10", NOW), ERR_USAGE);
	assert_int_equal(span_parse(&span, "11", "10", NOW), ERR_USAGE);
	assert_int_equal(span_parse(&span, NULL, "0", NOW), ERR_USAGE);
	assert_int_equal(span_parse(&span, "bad", "10", NOW), ERR_USAGE);
	assert_memory_equal(&span, &kept, sizeof span);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_people_write),
		cmocka_unit_test(refuses_bad_times_and_leaves_the_output_alone),
		cmocka_unit_test(every_prefix_of_a_time_is_read_or_refused_without_harm),
		cmocka_unit_test(writes_utc_with_nine_digits_and_reads_it_back),
		cmocka_unit_test(ranges_are_half_open_and_never_empty),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
