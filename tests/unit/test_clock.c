#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "index/clock.h"
#include "tests/support/scratch.h"
#include "tests/support/unit.h"

#define DAY  86400000000000ull
#define HOUR 3600000000000ull
#define NOW  (20000 * DAY)

static char dir[PATH_BYTES];

static struct clock_trust
opened(uint64_t steady_ns)
{
	struct clock_trust t;
	assert_int_equal(clock_open(&t, dir, steady_ns), OK);
	return t;
}

static void
write_file(const char *text)
{
	char path[PATH_BYTES];
	assert_int_equal(io_path(path, dir, "clock"), OK);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void
a_clock_is_believed_when_somebody_says_so_and_while_it_runs_on(void **state)
{
	(void)state;
	struct clock_trust t = opened(5);
	assert_false(clock_believed(&t, NOW, 5));
	clock_confirm(&t, NOW, 5);
	assert_true(clock_believed(&t, NOW, 5));
	assert_true(clock_believed(&t, NOW + 400 * DAY, 5 + 400 * DAY));
	assert_true(clock_believed(&t, NOW + 401 * DAY, 5 + 400 * DAY + HOUR)); /* set a little ahead */
	assert_false(clock_believed(&t, NOW + 403 * DAY, 5 + 401 * DAY - HOUR));
}

static void
one_that_jumps_ten_years_ahead_is_not_and_one_that_comes_back_is(void **state)
{
	(void)state;
	struct clock_trust t = opened(0);
	clock_confirm(&t, NOW, 0);
	assert_false(clock_believed(&t, NOW + 3650 * DAY, HOUR));
	assert_false(clock_believed(&t, NOW + 3650 * DAY + HOUR, 2 * HOUR));
	assert_true(clock_believed(&t, NOW + 3 * HOUR, 3 * HOUR));
	assert_true(clock_believed(&t, NOW - 3650 * DAY, 4 * HOUR)); /* makes nothing old */
	assert_true(clock_believed(&t, NOW + 5 * HOUR, 5 * HOUR));
	assert_false(clock_believed(&t, NOW + 3650 * DAY, 6 * HOUR));
	clock_confirm(&t, NOW + 3650 * DAY, 6 * HOUR);
	assert_true(clock_believed(&t, NOW + 3650 * DAY, 6 * HOUR));
}

static void
what_was_believed_is_known_after_a_restart(void **state)
{
	(void)state;
	struct clock_trust t = opened(0);
	clock_confirm(&t, NOW, 0);
	assert_int_equal(clock_keep(&t, NOW), OK);
	t = opened(7 * DAY); /* the machine ran on, the server not */
	assert_true(clock_believed(&t, NOW + HOUR, 7 * DAY));
	t = opened(0);
	assert_false(clock_believed(&t, NOW + 3650 * DAY, 0));
	t = opened(0);
	assert_false(clock_believed(&t, NOW + 2 * DAY, 0));
	clock_confirm(&t, NOW - 5 * DAY, 0); /* it was wrong before */
	assert_int_equal(clock_keep(&t, NOW - 5 * DAY), OK);
	t = opened(0);
	assert_false(clock_believed(&t, NOW, 0));
}

static void
a_damaged_file_is_as_good_as_none(void **state)
{
	(void)state;
	static const char *const texts[] = { "", "\n", "123", "12 34\n", "99999999999999999999\n", "9999999999999999999\n", "-5\n",
		"1728000000000000000\n\n" };
	for (unsigned i = 0; i < sizeof texts / sizeof *texts; i++) {
		write_file(texts[i]);
		assert_false(opened(0).known);
	}
	write_file("1728000000000000000\n");
	assert_true(opened(0).known);
}

static int
begin(void **state)
{
	(void)state;
	scratch_make(dir);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	scratch_remove(dir);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_clock_is_believed_when_somebody_says_so_and_while_it_runs_on, begin, end),
		cmocka_unit_test_setup_teardown(one_that_jumps_ten_years_ahead_is_not_and_one_that_comes_back_is, begin, end),
		cmocka_unit_test_setup_teardown(what_was_believed_is_known_after_a_restart, begin, end),
		cmocka_unit_test_setup_teardown(a_damaged_file_is_as_good_as_none, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
