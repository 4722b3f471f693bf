#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/amount.h"
#include "base/config.h"
#include "base/ini.h"
#include "base/io.h"
#include "tests/support/make_archive.h"
#include "tests/support/unit.h"

static char dir[PATH_BYTES], path[PATH_BYTES];

static int
begin(void **state)
{
	(void)state;
	scratch_make(dir);
	return io_path(path, dir, "c.conf") == OK ? 0 : -1;
}

static int
end(void **state)
{
	(void)state;
	scratch_remove(dir);
	return 0;
}

static void
put(const char *name, const char *text)
{
	char file[PATH_BYTES];
	assert_int_equal(io_path(file, dir, "%s", name), OK);
	FILE *f = fopen(file, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
}

struct heard {
	unsigned count;
	char     text[8192];
};

static void
hear(void *arg, const char *sentence)
{
	struct heard *h = arg;
	size_t used = strlen(h->text);
	const char *name = strrchr(sentence, '/') && strstr(sentence, "c.conf") ? strstr(sentence, "c.conf") : sentence;
	h->count++;
	snprintf(h->text + used, sizeof h->text - used, "%s\n", name);
}

static struct config *
good(char *const *environment)
{
	struct config *c = NULL;
	enum err e = config_load(&c, path, environment, NULL, NULL);
	if (e != OK)
		print_message("# %s\n", err_text());
	assert_int_equal(e, OK);
	return c;
}

/* The only fault of this text, with this end. */
static void
faulty(const char *text, const char *sentence)
{
	struct config *c = NULL;
	struct heard h = { 0 };
	put("c.conf", text);
	assert_int_equal(config_load(&c, path, NULL, hear, &h), ERR_USAGE);
	assert_null(c);
	char wanted[1024];
	snprintf(wanted, sizeof wanted, "%s\n", sentence);
	assert_string_equal(h.text, wanted);
	assert_int_equal(h.count, 1);
}

static void
an_empty_file_gives_the_defaults(void **state)
{
	(void)state;
	put("c.conf", "");
	struct config *c = good(NULL);
	assert_string_equal(c->server_listen.host, "::");
	assert_int_equal(c->server_listen.port, WIRE_PORT);
	assert_string_equal(c->server_user, "atoll");
	assert_int_equal(c->merge_age, 3600000000000ull);
	assert_int_equal(c->retention_age, 0);
	config_close(&c);
	assert_null(c);
	config_close(&c);
}

static void
every_type_is_read(void **state)
{
	(void)state;
	put("c.conf", "# comment\r\n; another\n[server]\n listen = archive.example:99 \nmetrics =\nuser\t=\tme = you\n"
	              "[limits]\nmonitor_rate=10 MB\nconnections = 7\n[retention]\nage = 30d\nfree_bytes = 3GiB\n[limits]\n"
	              "monitor_bytes = 5");
	struct config *c = good(NULL);
	assert_string_equal(c->server_listen.host, "archive.example");
	assert_int_equal(c->server_listen.port, 99);
	assert_string_equal(c->server_metrics.host, "");
	assert_string_equal(c->server_user, "me = you");
	assert_int_equal(c->limits_monitor_rate, 10000000);
	assert_int_equal(c->limits_connections, 7);
	assert_int_equal(c->limits_monitor_bytes, 5);
	assert_int_equal(c->retention_age, 30ull * 86400 * 1000000000);
	assert_int_equal(c->retention_free_bytes, 3ull << 30);
	config_close(&c);
}

static void
a_mistake_is_told_with_its_place_and_the_nearest_name(void **state)
{
	(void)state;
	faulty("[server]\n\nlissten = x\n", "c.conf:3: there is no lissten in [server]; did you mean listen?");
	faulty("[limts]\nconnections = 4\nnonsense = 1\n", "c.conf:1: there is no section [limts]; did you mean [limits]?");
	faulty("[server]\nage = 1d\n", "c.conf:2: there is no age in [server], but in [retention]");
	faulty("[zzzzzz]\n", "c.conf:1: there is no section [zzzzzz]");
	faulty("[server\n", "c.conf:1: a section is written [NAME]");
	faulty("[stream roof]\n", "c.conf:1: the section of a stream is written [stream \"NAME\"]");
	faulty("[stream]\n", "c.conf:1: the section of a stream is written [stream \"NAME\"]");
	faulty("[stream \"\"]\n", "c.conf:1: the section of a stream is written [stream \"NAME\"]");
	faulty("[stream \"a]\n", "c.conf:1: the section of a stream is written [stream \"NAME\"]");
	faulty("[stream \"a\"]\nbites = 1\n", "c.conf:2: there is no bites in [stream \"a\"]; did you mean bytes?");
	faulty("listen = x\n", "c.conf:1: listen stands in no section");
	faulty("[server]\nlisten\n", "c.conf:2: \"listen\" is neither KEY = VALUE nor [SECTION] nor # comment");
	faulty("[limits]\nconnections = 1\nconnections = 2\n", "c.conf:3: connections is set on line 2 already");
	faulty("[limits]\nconnections = 1\x01\n", "c.conf:2: a control character (byte 16)");
	faulty("[limits]\nconnections = -1\n", "c.conf:2: connections: \"-1\" is not a whole number");
	faulty("[limits]\nconnections = 0\n", "configuration: [limits] connections: at least 1");
	faulty("[retention]\nage = 30\n", "c.conf:2: age: \"30\" is not a duration, like 90s, 15m, 6h, 30d or 2w");
	faulty("[retention]\nstop_bytes = 5 gb\n", "c.conf:2: stop_bytes: \"5 gb\" is not a size, like 500 MB or 64 KiB");
	faulty("[retention]\nfree_bytes = 1 MB\n",
	       "configuration: [retention] stop_bytes is more than free_bytes: everything would stop before anything is removed");
	static const char *const addresses[] = { "x", "x:0", "x:65536", ":5", "a b:5", "::1:5", "[]:5", "[::1]", "x:y", "x:5:5" };
	for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
		char text[128], wanted[256];
		snprintf(text, sizeof text, "[server]\nlisten = %s\n", addresses[i]);
		snprintf(wanted, sizeof wanted, "c.conf:2: listen: \"%s\" is not an address, like 127.0.0.1:7714 or [::]:7713",
		         addresses[i]);
		faulty(text, wanted);
	}
}

static void
all_mistakes_are_told(void **state)
{
	(void)state;
	struct config *c = NULL;
	struct heard h = { 0 };
	put("c.conf", "[limits]\nconnections = x\nmonitor_rate = 5 parsecs\n[other]\n[merge]\nage = soon\n");
	assert_int_equal(config_load(&c, path, NULL, hear, &h), ERR_USAGE);
	assert_int_equal(h.count, 4);
	assert_non_null(strstr(err_text(), "(and 3 more"));
}

static void
the_folder_comes_after_the_file_and_the_environment_last(void **state)
{
	(void)state;
	char folder[PATH_BYTES];
	struct heard h = { 0 };
	struct config *c;
	assert_int_equal(io_path(folder, dir, "c.conf.d"), OK);
	assert_int_equal(mkdir(folder, 0700), 0);
	put("c.conf", "[limits]\nconnections = 1\nconnections_per_address = 1\nmonitor_rate = 1\n");
	put("c.conf.d/20-b.conf", "[limits]\nconnections = 3\n");
	put("c.conf.d/10-a.conf", "[limits]\nconnections = 2\nconnections_per_address = 2\n");
	put("c.conf.d/30.off", "[limits]\nconnections = 4\n");
	put("c.conf.d/.40.conf", "[limits]\nconnections = 5\n");
	c = good(NULL);
	assert_int_equal(c->limits_connections, 3);
	assert_int_equal(c->limits_connections_per_address, 2);
	assert_int_equal(c->limits_monitor_rate, 1);
	config_close(&c);
	static char rate[] = "ATOLL_LIMITS_MONITOR_RATE=2 kB", other[] = "ATOLL_ARCHIVE=/x", home[] = "HOME=/";
	static char wrong[] = "ATOLL_LIMITS_MONITOR_RAT=2 kB", bad[] = "ATOLL_MERGE_AGE=never";
	c = good((char *[]){ other, rate, home, NULL });
	assert_int_equal(c->limits_monitor_rate, 2000);
	config_close(&c);
	assert_int_equal(config_load(&c, path, (char *[]){ wrong, bad, NULL }, hear, &h), ERR_USAGE);
	assert_string_equal(h.text, "ATOLL_LIMITS_MONITOR_RAT: there is no monitor_rat in [limits]; did you mean monitor_rate?\n"
	                            "ATOLL_MERGE_AGE: age: \"never\" is not a duration, like 90s, 15m, 6h, 30d or 2w\n");
}

static void
streams_and_monitors_have_their_own_retention(void **state)
{
	(void)state;
	uint64_t age, bytes;
	put("c.conf", "[retention]\nage = 10d\nstream_bytes = 10 GB\n[stream \"roof\"]\nage = 5d\n[stream \"roof/eth0\"]\nbytes = 1 GB\n"
	              "[stream \"my trace\"]\nage = 0\n");
	struct config *c = good(NULL);
	const uint64_t day = 86400ull * 1000000000;
#define config_retention(...) (age = c->retention_age, bytes = c->retention_stream_bytes, config_retention(__VA_ARGS__))
	config_retention(c, "cellar/eth0", &age, &bytes);
	assert_true(age == 10 * day && bytes == 10000000000);
	config_retention(c, "roof/eth1", &age, &bytes);
	assert_true(age == 5 * day && bytes == 10000000000);
	config_retention(c, "roof/eth0", &age, &bytes);
	assert_true(age == 5 * day && bytes == 1000000000);
	config_retention(c, "my trace", &age, &bytes);
	assert_true(age == 0 && bytes == 10000000000);
	config_retention(c, "roofs/eth0", &age, &bytes);
	assert_true(age == 10 * day);
#undef config_retention
	config_close(&c);
}

static enum err
write_line(void *arg, const char *section, const char *key, const char *value, const char *where)
{
	static char last[256];
	if (strcmp(last, section) != 0)
		fprintf(arg, "[%s]\n", section);
	snprintf(last, sizeof last, "%s", section);
	assert_non_null(where);
	fprintf(arg, "%s = %s\n", key, value);
	return OK;
}

static char *
written(const struct config *c)
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	assert_int_equal(config_walk(c, write_line, f), OK);
	fclose(f);
	return text;
}

static void
what_is_shown_reads_back(void **state)
{
	(void)state;
	put("c.conf", "[server]\nlisten = [::1]:1\nmetrics =\n[limits]\nmonitor_rate = 1536 KiB\n[merge]\nage = 90m\n"
	              "[stream \"x\"]\nage = 1w\nbytes = 7\n");
	struct config *c = good(NULL);
	char *text = written(c);
	config_close(&c);
	put("c.conf", text);
	c = good(NULL);
	char *again = written(c);
	assert_string_equal(text, again);
	assert_non_null(strstr(text, "listen = [::1]:1\n"));
	assert_non_null(strstr(text, "age = 90m\n"));
	free(text);
	free(again);
	config_close(&c);
}

static void
the_example_is_in_order_with_and_without_its_comments(void **state)
{
	(void)state;
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	config_example(f);
	fclose(f);
	put("c.conf", text);
	struct config *c = good(NULL);
	char *defaults = written(c);
	config_close(&c);
	for (char *at = text; (at = strstr(at, "\n#")); at++)
		if (at[2] != ' ')
			at[1] = ' ';
	put("c.conf", text);
	c = good(NULL);
	char *all = written(c);
	assert_int_equal(c->stream_count, 1);
	assert_memory_equal(all, defaults, strlen(defaults));
	free(text), free(all), free(defaults);
	config_close(&c);
}

static void
limits_hold(void **state)
{
	(void)state;
	struct config *c = NULL;
	FILE *f = fopen(path, "w");
	for (unsigned i = 0; i < CONFIG_STREAMS_MAX; i++)
		fprintf(f, "[stream \"%u\"]\nage = 1d\n", i);
	fclose(f);
	c = good(NULL);
	assert_int_equal(c->stream_count, CONFIG_STREAMS_MAX);
	config_close(&c);
	f = fopen(path, "a");
	fprintf(f, "[stream \"more\"]\nage = 1d\n");
	fclose(f);
	assert_int_equal(config_load(&c, path, NULL, NULL, NULL), ERR_USAGE);
	f = fopen(path, "w");
	for (unsigned i = 0; i < INI_LINE_BYTES_MAX + 1; i++)
		fputc('#', f);
	fclose(f);
	assert_int_equal(config_load(&c, path, NULL, NULL, NULL), ERR_USAGE);
	assert_int_equal(truncate(path, CONFIG_FILE_BYTES_MAX + 1), 0);
	assert_int_equal(config_load(&c, path, NULL, NULL, NULL), ERR_LIMIT);
	unlink(path);
	assert_int_equal(config_load(&c, path, NULL, NULL, NULL), ERR_ABSENT);
}

static void
amounts_come_back(void **state)
{
	(void)state;
	static const struct { const char *text, *printed; uint64_t value; } sizes[] = {
		{ "0", "0", 0 }, { "1", "1 B", 1 }, { "1000B", "1 kB", 1000 }, { "64 KiB", "64 KiB", 65536 }, { "5GB", "5 GB", 5000000000 },
		{ "18446744073709551615", "18446744073709551615 B", UINT64_MAX }, { "16384 PiB", NULL, 0 }, { "1 K", NULL, 0 },
		{ "18446744073709551616", NULL, 0 }, { "", NULL, 0 }, { " 1", NULL, 0 }, { "1 ", NULL, 0 }, { "1  MB", NULL, 0 },
		{ "1.5 MB", NULL, 0 }, { "MB", NULL, 0 },
	};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		uint64_t v = 77;
		char out[AMOUNT_BYTES];
		enum err e = size_parse(&v, sizes[i].text, "x");
		assert_int_equal(e, sizes[i].printed ? OK : ERR_USAGE);
		assert_true(v == (sizes[i].printed ? sizes[i].value : 77));
		if (sizes[i].printed)
			assert_string_equal(size_print(out, v), sizes[i].printed);
	}
	uint64_t ns = 77;
	char out[AMOUNT_BYTES];
	assert_int_equal(duration_parse(&ns, "15 m", "x"), OK);
	assert_true(ns == 900000000000ull);
	assert_string_equal(duration_print(out, ns), "15m");
	assert_string_equal(duration_print(out, 14ull * 86400 * 1000000000), "2w");
	assert_string_equal(duration_print(out, 1), "1ns");
	assert_string_equal(duration_print(out, 1500000), "1500us");
	assert_string_equal(duration_print(out, UINT64_MAX), "18446744073709551615ns");
	assert_int_equal(duration_parse(&ns, "18446744073709551615ns", "x"), OK);
	assert_true(ns == UINT64_MAX);
	assert_int_equal(duration_parse(&ns, "15", "x"), ERR_USAGE);
	assert_int_equal(duration_parse(&ns, "1M", "x"), ERR_USAGE);
	assert_int_equal(duration_parse(&ns, "40000w", "x"), ERR_USAGE);
	assert_int_equal(duration_parse(&ns, "0", "x"), OK);
	assert_true(ns == 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_empty_file_gives_the_defaults, begin, end),
		cmocka_unit_test_setup_teardown(every_type_is_read, begin, end),
		cmocka_unit_test_setup_teardown(a_mistake_is_told_with_its_place_and_the_nearest_name, begin, end),
		cmocka_unit_test_setup_teardown(all_mistakes_are_told, begin, end),
		cmocka_unit_test_setup_teardown(the_folder_comes_after_the_file_and_the_environment_last, begin, end),
		cmocka_unit_test_setup_teardown(streams_and_monitors_have_their_own_retention, begin, end),
		cmocka_unit_test_setup_teardown(what_is_shown_reads_back, begin, end),
		cmocka_unit_test_setup_teardown(the_example_is_in_order_with_and_without_its_comments, begin, end),
		cmocka_unit_test_setup_teardown(limits_hold, begin, end),
		cmocka_unit_test(amounts_come_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
