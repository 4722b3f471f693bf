#include "tests/support/archive_check.h"

#include <stdlib.h>
#include <string.h>

#include "index/fsck.h"
#include "index/rebuild.h"
#include "tests/support/make_archive.h"
#include "tests/support/unit.h"

static void
print_fault(void *arg, const char *sentence)
{
	print_message("# %s: %s\n", *(const char *const *)arg, sentence);
}

void
archive_is_clean(const char *dir, const char *what)
{
	struct fsck_report report;
	MUST(fsck_run(dir, NULL, &(struct fsck_options){ .see = print_fault, .arg = &what }, &report));
	assert_int_equal(report.faults, 0);
}

void
archive_rebuilds_to_itself(const char *dir, const char *what)
{
	struct rebuild_report report;
	char *before = test_archive_dump(dir, NULL);
	MUST(rebuild_run(dir, NULL, print_fault, &what, &report));
	char *after = test_archive_dump(dir, NULL);
	assert_non_null(before);
	assert_non_null(after);
	if (strcmp(before, after) != 0)
		print_message("# %s: the index made again is another\n", what);
	assert_string_equal(before, after);
	free(before), free(after);
}
