#include <stdio.h>

#include "base/human.h"
#include "index/control.h"
#include "index/monitors.h"
#include "tools/verbs.h"

static enum err
revoke_local(const struct given *g, const char *dir, const char *name, bool *code_only)
{
	struct store *s = NULL;
	TRY(store_open(&s, dir, given_text(g, "key-file", NULL)));
	enum err e = monitors_revoke(s, name, code_only);
	store_close(&s);
	return e;
}

static enum err
run(const struct given *g)
{
	const char *const *arguments, *dir;
	char shown[64];
	bool code_only;
	int fd;
	given_arguments(g, &arguments);
	TRY(given_archive_dir(&dir, g));
	enum err e = control_dial(&fd, dir);
	bool running = e == OK;
	if (e == END)
		e = revoke_local(g, dir, arguments[0], &code_only);
	else if (e == OK)
		e = control_ask_revoke(&fd, arguments[0], &code_only);
	if (e != OK)
		return e;
	if (given_flag(g, "json")) {
		struct json j = report_json();
		json_text(&j, "monitor", arguments[0]);
		json_text(&j, "state", code_only ? "withdrawn" : "revoked");
		json_end(&j);
		return json_finish(&j, "standard output");
	}
	human_text(shown, sizeof shown, arguments[0]);
	if (code_only && !given_flag(g, "quiet"))
		printf("the code for %s is withdrawn: no monitor has enrolled with it\n", shown);
	else if (!given_flag(g, "quiet"))
		printf("%s is revoked%s; what it sent stays\n", shown,
		       running ? ", its session ends now" : "");
	return OK;
}

static const struct example examples[] = {
	{ "atoll -A traces revoke roof", "nothing more is taken from this monitor; its records stay" },
	{ "atoll -A traces enroll roof", "and how it comes back, with new keys" },
	{ 0 },
};

const struct verb verb_revoke = {
	.name = "revoke",
	.summary = "take nothing more from a monitor",
	.arguments = "NAME",
	.least = 1,
	.most = 1,
	.details = "Ends its session at once when a server is running, and voids a code that waits for it; of a name that has only a\n"
	           "code it withdraws that. What it sent stays. Revoking it again does nothing. JSON: docs/json.md.",
	.examples = examples,
	.run = run,
};
