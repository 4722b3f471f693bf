/* Days and months of keys: each time is in exactly one, and inside of what is said of it. */
#include "anonymize/key_epoch.h"
#include "tests/support/unit.h"

static uint64_t
at(const char *text)
{
	uint64_t ns;
	MUST(when_parse(&ns, text, 0));
	return ns;
}

static void
epochs_are_utc_days_and_months(void **state)
{
	(void)state;
	assert_int_equal(key_epoch_of(POLICY_DAY, at("1970-01-01T23:59:59.999999999Z")), 0);
	assert_int_equal(key_epoch_of(POLICY_DAY, at("2026-11-22")), 20779);
	assert_int_equal(key_epoch_of(POLICY_MONTH, at("1970-12-31T23:59:59Z")), 11);
	assert_int_equal(key_epoch_of(POLICY_MONTH, at("2026-11-22")), 56 * 12 + 10);
	assert_int_equal(key_epoch_of(POLICY_ALL, at("2026-11-22")), 0);
	struct span month = key_epoch_span(POLICY_MONTH, at("2024-02-29T12:00:00Z"));
	assert_int_equal(month.from_ns, at("2024-02-01"));
	assert_int_equal(month.until_ns, at("2024-03-01"));
	struct span day = key_epoch_span(POLICY_DAY, at("2024-12-31T00:00:00Z"));
	assert_int_equal(day.from_ns, at("2024-12-31"));
	assert_int_equal(day.until_ns, at("2025-01-01"));
}

static void
epochs_follow_on_each_other_up_to_the_last_time(void **state)
{
	(void)state;
	enum policy_rule rules[] = { POLICY_DAY, POLICY_MONTH };
	for (unsigned r = 0; r < 2; r++) {
		uint64_t next = 0, number = 0, time = 0;
		while (time != UINT64_MAX) {
			struct span s = key_epoch_span(rules[r], time);
			assert_int_equal(s.from_ns, next);
			assert_int_equal(key_epoch_of(rules[r], s.from_ns), number);
			assert_int_equal(key_epoch_of(rules[r], s.until_ns - 1), number);
			number++;
			time = next = s.until_ns;
		}
		assert_true(number > 584 * 12);
	}
	assert_int_equal(key_epoch_span(POLICY_ALL, 1).until_ns, UINT64_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(epochs_are_utc_days_and_months),
		cmocka_unit_test(epochs_follow_on_each_other_up_to_the_last_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
