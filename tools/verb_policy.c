#include <stdio.h>
#include <string.h>

#include "anonymize/policy.h"
#include "base/human.h"
#include "base/table.h"
#include "tools/verbs.h"

static const char *const changes[] = {
	[POLICY_SAME] = "the same", [POLICY_LESS] = "shows less", [POLICY_MORE] = "shows more", [POLICY_OTHER] = "shows other things",
};

static void
hash_hex(char out[2 * POLICY_HASH_BYTES + 1], const uint8_t hash[POLICY_HASH_BYTES])
{
	for (unsigned i = 0; i < POLICY_HASH_BYTES; i++)
		snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

/* --- ls --- */

static enum err
list(const struct given *g, const char *const *names)
{
	static const char *const heads[] = { "name", "title", "hash", NULL };
	bool as_json = given_flag(g, "json");
	struct json j = { .to = stdout };
	struct table *t = NULL;
	enum err e = OK;
	if (as_json) {
		j = report_json();
		json_array(&j, "policies");
	} else {
		e = table_open(&t, stdout, heads);
	}
	for (const struct policy_preset *s = policy_presets; e == OK && s->name; s++) {
		uint8_t hash[POLICY_HASH_BYTES];
		char hex[2 * POLICY_HASH_BYTES + 1];
		struct policy p;
		e = policy_load(&p, s->name, NULL, NULL);
		e = e == OK ? policy_hash(&p, hash) : e;
		if (e != OK)
			break;
		hash_hex(hex, hash);
		if (as_json) {
			json_object(&j, NULL);
			json_text(&j, "name", s->name);
			json_text(&j, "title", p.policy_title.s);
			json_text(&j, "hash", hex);
			json_end(&j);
		} else {
			snprintf(hex + 16, 4, "...");
			e = table_row(t, (const char *const[]){ s->name, p.policy_title.s, hex });
		}
	}
	if (as_json) {
		json_end(&j);
		json_end(&j);
		return e == OK ? json_finish(&j, "standard output") : e;
	}
	enum err closed = table_close(&t);
	return e == OK ? closed : e;
}

/* --- check --- */

struct checking {
	struct json *json;
	unsigned     mistakes;
};

/* A sentence as a line of its own; with --json they go into a list. */
static void
see_sentence(void *arg, bool mistake, const char *sentence)
{
	struct checking *c = arg;
	char shown[ERR_TEXT_BYTES];
	c->mistakes += mistake;
	if (c->json) {
		json_object(c->json, NULL);
		json_bool(c->json, "mistake", mistake);
		json_text(c->json, "sentence", sentence);
		json_end(c->json);
	} else {
		fprintf(stderr, "%s%s\n", mistake ? "" : "warning: ", human_text(shown, sizeof shown, sentence));
	}
}

static enum err
check(const struct given *g, const char *const *names)
{
	struct json j;
	struct checking c = { .json = NULL };
	uint8_t hash[POLICY_HASH_BYTES];
	char hex[2 * POLICY_HASH_BYTES + 1];
	struct policy p;
	if (given_flag(g, "json")) {
		j = report_json();
		json_array(&j, "told");
		c.json = &j;
	}
	enum err e = policy_load(&p, names[0], see_sentence, &c);
	e = e == OK ? policy_hash(&p, hash) : e;
	if (e == OK)
		hash_hex(hex, hash);
	if (c.json) {
		json_end(&j);
		json_bool(&j, "good", e == OK);
		json_text(&j, "hash", e == OK ? hex : NULL);
		json_end(&j);
		TRY(json_finish(&j, "standard output"));
	} else if (e == OK && !given_flag(g, "quiet")) {
		printf("policy in order, hash %s\n", hex);
	}
	return c.mistakes ? fail(ERR_USAGE, "%u %s", c.mistakes, c.mistakes == 1 ? "mistake" : "mistakes") : e;
}

/* --- show --- */

static enum err
show_setting(void *arg, const struct policy_setting *s, const char *value)
{
	struct json *j = arg;
	json_object(j, NULL);
	json_text(j, "section", s->section);
	json_text(j, "key", s->key);
	json_text(j, "value", value);
	json_text(j, "values", s->values);
	json_text(j, "default", s->otherwise);
	json_bool(j, "published", s->published);
	json_text(j, "sentence", s->sentence);
	json_end(j);
	return OK;
}

static enum err
show(const struct given *g, const char *const *names)
{
	uint8_t hash[POLICY_HASH_BYTES];
	char hex[2 * POLICY_HASH_BYTES + 1];
	struct policy p;
	TRY(policy_load(&p, names[0], NULL, NULL));
	TRY(policy_hash(&p, hash));
	hash_hex(hex, hash);
	if (given_flag(g, "json")) {
		struct json j = report_json();
		json_text(&j, "name", p.policy_name.s);
		json_text(&j, "title", p.policy_title.s);
		json_text(&j, "hash", hex);
		json_array(&j, "settings");
		TRY(policy_walk(&p, show_setting, &j));
		json_end(&j);
		json_end(&j);
		return json_finish(&j, "standard output");
	}
	if (given_flag(g, "canonical")) {
		policy_canonical(&p, stdout);
		return OK;
	}
	printf("# hash %s\n", hex);
	policy_print(&p, stdout);
	return OK;
}

/* --- diff --- */

struct differing {
	struct table *table;
	struct json  *json;
	unsigned      count[POLICY_OTHER + 1];
};

static enum err
see_difference(void *arg, const struct policy_setting *s, const char *a, const char *b, enum policy_change change)
{
	static const char *const words[] = { "same", "less", "more", "other" };
	struct differing *d = arg;
	d->count[change]++;
	if (d->table)
		return table_row(d->table, (const char *const[]){ s->section, s->key, *a ? a : "-", *b ? b : "-", changes[change] });
	json_object(d->json, NULL);
	json_text(d->json, "section", s->section);
	json_text(d->json, "key", s->key);
	json_text(d->json, "a", a);
	json_text(d->json, "b", b);
	json_text(d->json, "b_shows", words[change]);
	json_end(d->json);
	return OK;
}

static enum err
diff(const struct given *g, const char *const *names)
{
	const char *heads[] = { "section", "key", names[0], names[1], names[1], NULL };
	struct differing d = { .table = NULL };
	struct policy a, b;
	TRY(policy_load(&a, names[0], NULL, NULL));
	TRY(policy_load(&b, names[1], NULL, NULL));
	if (given_flag(g, "json")) {
		struct json j = report_json();
		d.json = &j;
		json_array(&j, "differences");
		TRY(policy_diff(&a, &b, see_difference, &d));
		json_end(&j);
		json_end(&j);
		return json_finish(&j, "standard output");
	}
	TRY(table_open(&d.table, stdout, heads));
	enum err e = policy_diff(&a, &b, see_difference, &d);
	enum err closed = table_close(&d.table);
	TRY(e == OK ? closed : e);
	if (!given_flag(g, "quiet"))
		printf("%s shows more in %u, less in %u, other things in %u\n", names[1], d.count[POLICY_MORE], d.count[POLICY_LESS],
		       d.count[POLICY_OTHER]);
	return OK;
}

/* --- the verb --- */

static const struct act {
	const char *name, *arguments;
	unsigned    count;
	enum err  (*run)(const struct given *g, const char *const *names);
} acts[] = {
	{ "ls", "", 0, list },
	{ "check", " NAME|FILE", 1, check },
	{ "show", " NAME|FILE", 1, show },
	{ "diff", " A B", 2, diff },
};
#define ACTS (sizeof acts / sizeof *acts)

static enum err
run(const struct given *g)
{
	const char *const *arguments, *names[ACTS + 1], *near;
	char shown[64];
	unsigned count = given_arguments(g, &arguments);
	for (size_t i = 0; i < ACTS; i++) {
		names[i] = acts[i].name;
		if (strcmp(arguments[0], acts[i].name) != 0)
			continue;
		if (count != acts[i].count + 1)
			return fail(ERR_USAGE, "is written atoll policy %s%s", acts[i].name, acts[i].arguments);
		if (given_flag(g, "canonical") && acts[i].run != show)
			return fail(ERR_USAGE, "--canonical is for atoll policy show");
		return acts[i].run(g, arguments + 1);
	}
	names[ACTS] = NULL;
	near = options_nearest(arguments[0], names);
	return fail(ERR_USAGE, "does not know what to do with \"%s\"; did you mean %s?", human_text(shown, sizeof shown, arguments[0]),
	            near ? near : "ls, check, show or diff");
}

static const struct option_spec options[] = {
	{ "canonical", 0, OPTION_FLAG, NULL, NULL, "show: the rules alone, as they are hashed" },
	{ 0 },
};

static const struct example examples[] = {
	{ "atoll policy ls", "the policies that come with the program, from private to open" },
	{ "atoll policy show open > mine.policy", "all settings of one, to begin with" },
	{ "atoll policy check mine.policy", "looks for mistakes and contradictions, prints the hash" },
	{ "atoll policy diff open mine.policy", "what differs, and whether it shows more or less" },
	{ "atoll policy show --canonical open | b2sum -l 256", "the hash, with another's program" },
	{ 0 },
};

const struct verb verb_policy = {
	.name = "policy",
	.summary = "list, check, show or compare policies: what a dataset shows",
	.arguments = "ls | check NAME|FILE | show NAME|FILE | diff A B",
	.least = 1,
	.most = 3,
	.options = { options },
	.details = "A word with \".\" or \"/\" in it is a file, any other word a policy that comes with the program.\n"
	           "docs/example.policy has every setting with what it may be, docs/anonymization.md says how to choose.\n"
	           "JSON: docs/json.md.",
	.examples = examples,
	.run = run,
};
