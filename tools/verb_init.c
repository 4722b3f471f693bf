#include <stdio.h>

#include "base/human.h"
#include "tools/verbs.h"

static enum err
run(const struct given *g)
{
	const char *const *arguments;
	const char *dir = given_arguments(g, &arguments) > 0 ? arguments[0] : given_text(g, "archive", NULL);
	if (!dir)
		return fail(ERR_USAGE, "say where: atoll init DIR");
	const char *key_file = given_text(g, "key-file", NULL);
	TRY(archive_init(dir, key_file));
	if (given_flag(g, "json")) {
		struct json j = report_json();
		json_text(&j, "archive", dir);
		json_text(&j, "key_file", key_file);
		json_end(&j);
		return json_finish(&j, "standard output");
	}
	char shown[256];
	if (!given_flag(g, "quiet")) {
		printf("%s is an archive now\n", human_text(shown, sizeof shown, dir));
		if (key_file)
			printf("owner key: %s\n", human_text(shown, sizeof shown, key_file));
		else
			printf("owner key: %s/owner.key (keep a copy elsewhere: without it nothing can be read)\n", shown);
	}
	return OK;
}

static const struct example examples[] = {
	{ "atoll init traces", "makes the archive, with its owner key in traces/owner.key" },
	{ "atoll init traces --key-file ~/traces.key", "keeps the owner key apart from the data" },
	{ 0 },
};

const struct verb verb_init = {
	.name = "init",
	.summary = "make an archive",
	.arguments = "DIR",
	.most = 1,
	.details = "DIR is missing or empty, on a file system of this machine (not NFS or the like). What an init that was killed\n"
	           "left there is no obstacle: the same command makes the archive.",
	.examples = examples,
	.run = run,
};
