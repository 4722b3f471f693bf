#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/options.h"
#include "tests/support/unit.h"

/* What the verb saw in the last run. */
static struct seen {
	bool ran, quiet, count;
	char archive[64], from[64];
	uint64_t limit;
	unsigned streams, arguments;
	char stream[64], argument[64];
} seen;

static enum err answer; /* what the verb returns */

static enum err
find_run(const struct given *g)
{
	const char *const *list, *const *arguments;
	seen = (struct seen){ .ran = true };
	seen.quiet = given_flag(g, "quiet");
	seen.count = given_flag(g, "count");
	snprintf(seen.archive, sizeof seen.archive, "%s", given_text(g, "archive", "none"));
	snprintf(seen.from, sizeof seen.from, "%s", given_text(g, "from", "none"));
	seen.limit = given_count(g, "limit", 99);
	seen.streams = given_list(g, "stream", &list);
	if (seen.streams > 0)
		snprintf(seen.stream, sizeof seen.stream, "%s", list[seen.streams - 1]);
	seen.arguments = given_arguments(g, &arguments);
	if (seen.arguments > 0)
		snprintf(seen.argument, sizeof seen.argument, "%s", arguments[seen.arguments - 1]);
	return answer == OK ? OK : (fail)(answer, "the verb failed");
}

static enum err
bare_run(const struct given *g)
{
	(void)g;
	seen = (struct seen){ .ran = true };
	return OK;
}

static const struct option_spec common[] = {
	{ "archive", 'A', OPTION_TEXT, "DIR", "TEST_ARCHIVE", "the archive" },
	{ "quiet", 'q', OPTION_FLAG, NULL, NULL, "no progress" },
	{ 0 },
};
static const struct option_spec find_options[] = {
	{ "from", 0, OPTION_TEXT, "T", NULL, "first time" },
	{ "count", 'c', OPTION_FLAG, NULL, NULL, "count only" },
	{ 0 },
};
static const struct option_spec find_more[] = {
	{ "limit", 'n', OPTION_COUNT, "N", "TEST_LIMIT", "at most" },
	{ "stream", 's', OPTION_LIST, "S", NULL, "a stream" },
	{ 0 },
};
static const struct example find_examples[] = { { "tool find --count", "counts" }, { 0 } };
static const struct verb find = { .name = "find", .summary = "finds", .arguments = "[WHERE]", .most = 1,
	.options = { find_options, find_more }, .examples = find_examples, .run = find_run };
static const struct verb bare = { .name = "bare", .summary = "does little", .arguments = "FILE", .least = 1, .most = 1,
	.examples = find_examples, .run = bare_run };
static const struct verb *const verbs[] = { &find, &bare, NULL };
static const struct program program = { "tool", "1.2", "finds things", common, verbs };

/* Runs a command line (words separated by blanks) with stdout and stderr put aside; the exit code. */
static int
tool(const char *line, char *out, size_t n)
{
	char words[512], *argv[32];
	int argc = 0;
	snprintf(words, sizeof words, "%s", line);
	for (char *rest = words, *word; (word = strsep(&rest, " "));)
		argv[argc++] = word;
	argv[argc] = NULL;
	seen = (struct seen){ 0 };
	fflush(stdout);
	fflush(stderr);
	int kept[2] = { dup(1), dup(2) };
	FILE *aside = tmpfile();
	assert_non_null(aside);
	dup2(fileno(aside), 1);
	dup2(fileno(aside), 2);
	int code = options_main(&program, argc, argv);
	fflush(stdout);
	fflush(stderr);
	dup2(kept[0], 1);
	dup2(kept[1], 2);
	close(kept[0]);
	close(kept[1]);
	rewind(aside);
	size_t got = fread(out, 1, n - 1, aside);
	out[got] = '\0';
	fclose(aside);
	return code;
}

static char out[8192];

static void
reads_options_and_arguments_in_any_order(void **state)
{
	(void)state;
	assert_int_equal(tool("tool -A dir find x --from 5 --limit=12 -sa --stream b -qc", out, sizeof out), 0);
	assert_true(seen.ran && seen.quiet && seen.count);
	assert_string_equal(seen.archive, "dir");
	assert_string_equal(seen.from, "5");
	assert_true(seen.limit == 12);
	assert_int_equal(seen.streams, 2);
	assert_string_equal(seen.stream, "b");
	assert_string_equal(seen.argument, "x");
	assert_int_equal(tool("tool find", out, sizeof out), 0);
	assert_true(seen.ran && !seen.quiet && !seen.count && seen.limit == 99 && seen.streams == 0 && seen.arguments == 0);
	assert_int_equal(tool("tool find -- --from", out, sizeof out), 0);
	assert_string_equal(seen.argument, "--from");
	assert_int_equal(tool("tool find - -n3", out, sizeof out), 0);
	assert_string_equal(seen.argument, "-");
	assert_true(seen.limit == 3);
	assert_int_equal(tool("tool find --from=", out, sizeof out), 0);
	assert_string_equal(seen.from, "");
}

static void
refuses_what_makes_no_sense(void **state)
{
	(void)state;
	static const char *const rows[][2] = {
		{ "tool", "say what to do" },
		{ "tool fnid", "did you mean find?" },
		{ "tool fi", "did you mean find?" },
		{ "tool xyzzy", "unknown verb xyzzy (" },
		{ "tool find --form 5", "did you mean --from?" },
		{ "tool find --lim 5", "did you mean --limit?" },
		{ "tool find --zzzzzzzz", "unknown option --zzzzzzzz (" },
		{ "tool find -z", "unknown option -z" },
		{ "tool find --from", "--from wants a value: --from T" },
		{ "tool find -n", "-n wants a value: -n N" },
		{ "tool find --limit many", "--limit: \"many\" is not a whole number" },
		{ "tool find --limit -1", "not a whole number" },
		{ "tool find --from 1 --from 2", "--from is given twice" },
		{ "tool find --count=yes", "--count takes no value" },
		{ "tool find a b", "does not know what to do with \"b\"" },
		{ "tool bare", "wants FILE" },
		{ "tool bare --from 5 x", "unknown option --from" },
	};
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		int code = tool(rows[i][0], out, sizeof out);
		if (code != 2 || seen.ran || !strstr(out, rows[i][1]) || strncmp(out, "tool", 4) != 0)
			fail_msg("%s: exit %d, %s", rows[i][0], code, out);
	}
}

static void
hostile_words_are_not_echoed_raw(void **state)
{
	(void)state;
	assert_int_equal(tool("tool \x1b[2J", out, sizeof out), 2);
	assert_null(strchr(out, '\x1b'));
	assert_int_equal(tool("tool find --\x1b[2J", out, sizeof out), 2);
	assert_null(strchr(out, '\x1b'));
	assert_int_equal(tool("tool find -\x1b", out, sizeof out), 2);
	assert_null(strchr(out, '\x1b'));
	assert_int_equal(tool("tool find a \x1b[2J", out, sizeof out), 2);
	assert_null(strchr(out, '\x1b'));
}

static void
takes_defaults_from_the_environment(void **state)
{
	(void)state;
	setenv("TEST_ARCHIVE", "from-env", 1);
	setenv("TEST_LIMIT", "5", 1);
	assert_int_equal(tool("tool find", out, sizeof out), 0);
	assert_string_equal(seen.archive, "from-env");
	assert_true(seen.limit == 5);
	assert_int_equal(tool("tool find -A given --limit 6", out, sizeof out), 0);
	assert_string_equal(seen.archive, "given");
	assert_true(seen.limit == 6);
	setenv("TEST_LIMIT", "x", 1);
	assert_int_equal(tool("tool find", out, sizeof out), 2);
	assert_non_null(strstr(out, "TEST_LIMIT: --limit"));
	unsetenv("TEST_LIMIT");
	unsetenv("TEST_ARCHIVE");
}

static void
help_starts_with_examples(void **state)
{
	(void)state;
	static const char *const lines[] = { "tool help find", "tool find --help", "tool find -h", "tool --help find" };
	for (unsigned i = 0; i < sizeof lines / sizeof *lines; i++) {
		assert_int_equal(tool(lines[i], out, sizeof out), 0);
		assert_false(seen.ran);
		const char *examples = strstr(out, "tool find --count"), *options = strstr(out, "--from T");
		assert_true(examples && options && examples < options);
		assert_non_null(strstr(out, "-A, --archive DIR"));
	}
	assert_int_equal(tool("tool help", out, sizeof out), 0);
	assert_true(strstr(out, "finds things") && strstr(out, "bare"));
	assert_int_equal(tool("tool help fidn", out, sizeof out), 2);
	assert_non_null(strstr(out, "did you mean find?"));
	assert_int_equal(tool("tool --version", out, sizeof out), 0);
	assert_string_equal(out, "tool 1.2\n");
}

static void
errors_become_the_documented_exit_codes(void **state)
{
	(void)state;
	static const struct {
		enum err e;
		int code;
	} rows[] = {
		{ OK, 0 }, { ERR_IO, 1 }, { ERR_NOMEM, 1 }, { ERR_FORMAT, 1 }, { ERR_LIMIT, 1 }, { ERR_DENIED, 4 },
		{ ERR_USAGE, 2 }, { ERR_EXISTS, 1 }, { ERR_ABSENT, 5 }, { ERR_FULL, 1 }, { ERR_BUSY, 1 },
		{ ERR_INTERRUPTED, 130 }, { ERR_UNSUPPORTED, 1 }, { ERR_PARTIAL, 3 },
	};
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		answer = rows[i].e;
		assert_int_equal(tool("tool find", out, sizeof out), rows[i].code);
		assert_true(seen.ran);
		assert_true((rows[i].e == OK) == (*out == '\0'));
	}
	assert_string_equal(out, "tool find: the verb failed\n");
	answer = OK;
}

static void
knows_near_names_from_far_ones(void **state)
{
	(void)state;
	static const char *const names[] = { "import", "export", "query", "rm", "ls", "stat", "fsck", NULL };
	assert_string_equal(options_nearest("imprt", names), "import");
	assert_string_equal(options_nearest("improt", names), "import");
	assert_string_equal(options_nearest("exprot", names), "export");
	assert_string_equal(options_nearest("stats", names), "stat");
	assert_string_equal(options_nearest("qu", names), "query");
	assert_string_equal(options_nearest("ll", names), "ls");
	assert_null(options_nearest("frobnicate", names));
	assert_null(options_nearest("", names));
	char longest[500];
	memset(longest, 'x', sizeof longest);
	longest[sizeof longest - 1] = '\0';
	assert_null(options_nearest(longest, names));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_options_and_arguments_in_any_order),
		cmocka_unit_test(refuses_what_makes_no_sense),
		cmocka_unit_test(hostile_words_are_not_echoed_raw),
		cmocka_unit_test(takes_defaults_from_the_environment),
		cmocka_unit_test(help_starts_with_examples),
		cmocka_unit_test(errors_become_the_documented_exit_codes),
		cmocka_unit_test(knows_near_names_from_far_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
