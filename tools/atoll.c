/* atoll: the command line. Each verb is a file tools/verb_*.c. */
#include <fcntl.h>
#include <stdlib.h>

#include "base/interrupt.h"
#include "tools/verbs.h"

static const struct option_spec common[] = {
	{ "archive", 'A', OPTION_TEXT, "DIR", "ATOLL_ARCHIVE", "the archive" },
	{ "key-file", 0, OPTION_TEXT, "FILE", "ATOLL_KEY_FILE", "owner key kept outside of the archive" },
	{ "json", 0, OPTION_FLAG, NULL, NULL, "report as JSON" },
	{ "quiet", 'q', OPTION_FLAG, NULL, NULL, "no progress, no summary" },
	{ 0 },
};

static const struct verb *const verbs[] = {
	&verb_init, &verb_import, &verb_ls, &verb_stat, &verb_query, &verb_export, &verb_rm, &verb_fsck, &verb_rebuild,
	&verb_enroll, &verb_monitors, &verb_revoke, &verb_config, &verb_policy,
	&verb_serve, NULL,
};

/* Started without one of them (`atoll ... >&-`), the next file that is opened, the keystore say, would get its number, and
 * messages would be written into it. What stands in for it can not be used, so that writing there still fails. */
static void
standard_streams_fill(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
			abort();
}

int
main(int argc, char **argv)
{
	static const struct program program = {
		.name = "atoll",
		.version = "0.1.0",
		.summary = "an archive for packet traces: import, find, export",
		.common = common,
		.verbs = verbs,
	};
	standard_streams_fill();
	interrupt_watch();
	return options_main(&program, argc, argv);
}
