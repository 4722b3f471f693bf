/* Text comes out as it was written, up to its bound. */
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static void
gives_what_was_written(void **state)
{
	(void)state;
	for (size_t n = 0; n < 40000; n = 3 * n + 1) {
		struct text t;
		char *out = NULL;
		assert_int_equal(text_open(&t, 40000), OK);
		for (size_t i = 0; i < n; i++)
			fputc('a' + (int)(i % 26), t.to);
		assert_int_equal(text_close(&t, &out), OK);
		assert_int_equal(strlen(out), n);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(out[i], 'a' + (int)(i % 26));
		free(out);
	}
}

static void
a_longer_one_is_an_error(void **state)
{
	(void)state;
	struct text t;
	char *out = (char *)"unchanged";
	assert_int_equal(text_open(&t, 100), OK);
	fprintf(t.to, "%100d", 1);
	assert_int_equal(text_close(&t, &out), OK);
	assert_int_equal(strlen(out), 100);
	free(out);
	out = (char *)"unchanged";
	assert_int_equal(text_open(&t, 100), OK);
	fprintf(t.to, "%101d", 1);
	assert_int_equal(text_close(&t, &out), ERR_LIMIT);
	assert_string_equal(out, "unchanged");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_what_was_written),
		cmocka_unit_test(a_longer_one_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
