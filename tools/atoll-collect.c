/* atoll-collect: the program on a monitor. Each verb is a file tools/collect_*.c. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "tools/collect.h"

static const struct option_spec common[] = {
	{ "dir", 'C', OPTION_TEXT, "DIR", "ATOLL_COLLECT", "where identity and spool are (default: " COLLECTOR_DIR ")" },
	{ "json", 0, OPTION_FLAG, NULL, NULL, "report as JSON" },
	{ "quiet", 'q', OPTION_FLAG, NULL, NULL, "no progress, no summary" },
	{ 0 },
};

static const struct verb *const verbs[] = { &collect_enroll, &collect_run, &collect_push, &collect_status, NULL };

int
main(int argc, char **argv)
{
	static const struct program program = {
		.name = "atoll-collect",
		.version = "0.1.0",
		.summary = "capture packets and send them to an archive",
		.common = common,
		.verbs = verbs,
	};
	/* started without one of them, the next file that is opened would get its number and be written messages into */
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd)
			abort();
	signal(SIGPIPE, SIG_IGN);
	interrupt_watch();
	log_open("collect");
	return options_main(&program, argc, argv);
}
