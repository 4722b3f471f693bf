#include "tests/support/unit.h"

void
must(enum err e, const char *file, int line)
{
	if (e != OK)
		print_message("# %s:%d: %s: %s\n", file, line, err_name(e), err_text());
	assert_int_equal(e, OK);
}
