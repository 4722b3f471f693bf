#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "base/human.h"
#include "base/table.h"
#include "tools/verbs.h"

/* A fault as a line of its own; with --json they go into a list. */
struct checking {
	struct json *json;
	unsigned     faults;
};

static void
see_fault(void *arg, const char *sentence)
{
	struct checking *c = arg;
	char shown[ERR_TEXT_BYTES];
	c->faults++;
	if (c->json)
		json_text(c->json, NULL, sentence);
	else
		fprintf(stderr, "%s\n", human_text(shown, sizeof shown, sentence));
}

static enum err
check(const struct given *g, const char *path)
{
	struct json j;
	struct checking c = { .json = NULL };
	struct config *config = NULL;
	if (given_flag(g, "json")) {
		j = report_json();
		json_array(&j, "faults");
		c.json = &j;
	}
	enum err e = config_load(&config, path, environ, see_fault, &c);
	if (c.json) {
		json_end(&j);
		json_bool(&j, "good", e == OK);
		json_end(&j);
		TRY(json_finish(&j, "standard output"));
	} else if (e == OK && !given_flag(g, "quiet")) {
		printf("configuration in order\n");
	}
	config_close(&config);
	return c.faults ? fail(ERR_USAGE, "%u %s", c.faults, c.faults == 1 ? "mistake" : "mistakes") : e;
}

static enum err
show_line(void *arg, const char *section, const char *key, const char *value, const char *where)
{
	return table_row(arg, (const char *const[]){ section, key, *value ? value : "-", where });
}

static enum err
show_json(void *arg, const char *section, const char *key, const char *value, const char *where)
{
	struct json *j = arg;
	json_object(j, NULL);
	json_text(j, "section", section);
	json_text(j, "key", key);
	json_text(j, "value", value);
	json_text(j, "from", where);
	json_end(j);
	return OK;
}

static enum err
show(const struct given *g, const char *path)
{
	static const char *const heads[] = { "section", "key", "value", "from", NULL };
	struct config *config = NULL;
	struct table *t = NULL;
	TRY(config_load(&config, path, environ, NULL, NULL));
	enum err e;
	if (given_flag(g, "json")) {
		struct json j = report_json();
		json_array(&j, "settings");
		e = config_walk(config, show_json, &j);
		json_end(&j);
		json_end(&j);
		e = e == OK ? json_finish(&j, "standard output") : e;
	} else {
		e = table_open(&t, stdout, heads);
		e = e == OK ? config_walk(config, show_line, t) : e;
		enum err closed = table_close(&t);
		e = e == OK ? closed : e;
	}
	config_close(&config);
	return e;
}

static enum err
run(const struct given *g)
{
	static const char *const acts[] = { "check", "show", NULL };
	const char *const *arguments, *path = given_text(g, "config", NULL);
	char shown[64];
	given_arguments(g, &arguments);
	if (strcmp(arguments[0], "check") == 0)
		return check(g, path);
	if (strcmp(arguments[0], "show") == 0)
		return show(g, path);
	const char *near = options_nearest(arguments[0], acts);
	return fail(ERR_USAGE, "does not know what to do with \"%s\"; did you mean %s?", human_text(shown, sizeof shown, arguments[0]),
	            near ? near : "check or show");
}

static const struct option_spec options[] = { CONFIG_OPTION, { 0 } };

static const struct example examples[] = {
	{ "atoll config check", "looks for mistakes in /etc/atoll/atoll.conf and its .d folder" },
	{ "atoll config show --config test.conf", "what holds, and where each value comes from" },
	{ "ATOLL_LIMITS_CONNECTIONS=50 atoll config show --json", "the same with a value from the environment" },
	{ 0 },
};

const struct verb verb_config = {
	.name = "config",
	.summary = "check or show the configuration of the server",
	.arguments = "check|show",
	.least = 1,
	.most = 1,
	.options = { options },
	.details = "docs/atoll.conf has every setting with its default. Files are read in this order: FILE, then FILE.d/*.conf; a later\n"
	           "value takes the place of an earlier one, and ATOLL_SECTION_KEY in the environment that of all. JSON: docs/json.md.",
	.examples = examples,
	.run = run,
};
