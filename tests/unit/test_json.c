#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "tests/support/unit.h"

struct memory {
	char  *text;
	size_t n;
	struct json json;
};

static struct memory *
memory_open(enum json_shape shape)
{
	struct memory *m = calloc(1, sizeof *m);
	assert_non_null(m);
	m->json = json_to(open_memstream(&m->text, &m->n), shape);
	return m;
}

static void
memory_check(struct memory *m, const char *wanted)
{
	assert_int_equal(json_finish(&m->json, "memory"), OK);
	fclose(m->json.to);
	assert_string_equal(m->text, wanted);
	assert_int_equal(m->n, strlen(wanted));
	free(m->text);
	free(m);
}

static void
writes_an_object_on_one_line(void **state)
{
	(void)state;
	struct memory *m = memory_open(JSON_LINE);
	struct json *j = &m->json;
	json_object(j, NULL);
	json_text(j, "name", "eth0");
	json_u64(j, "packets", UINT64_MAX);
	json_i64(j, "offset", INT64_MIN);
	json_bool(j, "whole", true);
	json_null(j, "gap");
	json_text(j, "none", NULL);
	json_hex(j, "root", "\x00\xff\x10", 3);
	json_array(j, "list");
	json_u64(j, NULL, 1);
	json_object(j, NULL);
	json_end(j);
	json_array(j, NULL);
	json_end(j);
	json_end(j);
	json_end(j);
	memory_check(m, "{\"name\":\"eth0\",\"packets\":18446744073709551615,\"offset\":-9223372036854775808,"
	                "\"whole\":true,\"gap\":null,\"none\":null,\"root\":\"00ff10\",\"list\":[1,{},[]]}\n");
}

static void
writes_one_document_per_line(void **state)
{
	(void)state;
	struct memory *m = memory_open(JSON_LINE);
	for (unsigned i = 0; i < 3; i++) {
		json_object(&m->json, NULL);
		json_u64(&m->json, "i", i);
		json_end(&m->json);
	}
	memory_check(m, "{\"i\":0}\n{\"i\":1}\n{\"i\":2}\n");
}

static void
indents_when_asked_to(void **state)
{
	(void)state;
	struct memory *m = memory_open(JSON_PRETTY);
	json_object(&m->json, NULL);
	json_u64(&m->json, "a", 1);
	json_array(&m->json, "b");
	json_u64(&m->json, NULL, 2);
	json_u64(&m->json, NULL, 3);
	json_end(&m->json);
	json_array(&m->json, "c");
	json_end(&m->json);
	json_end(&m->json);
	memory_check(m, "{\n  \"a\": 1,\n  \"b\": [\n    2,\n    3\n  ],\n  \"c\": []\n}\n");
}

static void
escapes_hostile_names(void **state)
{
	(void)state;
	static const struct {
		const char *text, *wanted;
	} rows[] = {
		{ "\"\\/\b\f\n\r\t", "\"\\\"\\\\/\\b\\f\\n\\r\\t\"\n" },
		{ "\x01\x1b[31m\x7f", "\"\\u0001\\u001b[31m\\u007f\"\n" },
		{ "\xc2\x85\xc2\xa0", "\"\\u0085\xc2\xa0\"\n" },
		{ "\xe2\x82\xac \xf0\x9f\x90\xa7", "\"\xe2\x82\xac \xf0\x9f\x90\xa7\"\n" },
		{ "a\xff" "b", "\"a\xef\xbf\xbd" "b\"\n" },
		{ "\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\"\n" },                 /* overlong */
		{ "\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"\n" }, /* surrogate */
		{ "\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"\n" },
		{ "\xe2\x82", "\"\xef\xbf\xbd\xef\xbf\xbd\"\n" },                 /* cut short */
		{ "\xe2\x82\"", "\"\xef\xbf\xbd\xef\xbf\xbd\\\"\"\n" },
		{ "\xc3", "\"\xef\xbf\xbd\"\n" },
	};
	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct memory *m = memory_open(JSON_LINE);
		json_text(&m->json, NULL, rows[i].text);
		memory_check(m, rows[i].wanted);
	}
	struct memory *m = memory_open(JSON_LINE);
	json_bytes(&m->json, NULL, "a\0b", 3);
	memory_check(m, "\"a\\u0000b\"\n");
}

static void
reals_read_back_and_nan_is_null(void **state)
{
	(void)state;
	struct memory *m = memory_open(JSON_LINE);
	json_array(&m->json, NULL);
	json_real(&m->json, NULL, 6.1);
	json_real(&m->json, NULL, 0);
	json_real(&m->json, NULL, 1.0 / 3);
	json_real(&m->json, NULL, 1e300);
	json_real(&m->json, NULL, NAN);
	json_real(&m->json, NULL, -INFINITY);
	json_end(&m->json);
	memory_check(m, "[6.1,0,0.3333333333333333,1e+300,null,null]\n");
}

static void
reports_a_full_disk(void **state)
{
	(void)state;
	FILE *full = fopen("/dev/full", "w");
	if (!full)
		skip();
	struct json j = json_to(full, JSON_LINE);
	json_text(&j, NULL, "x");
	assert_int_equal(json_finish(&j, "report"), ERR_FULL);
	assert_non_null(strstr(err_text(), "report"));
	fclose(full);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_an_object_on_one_line),
		cmocka_unit_test(writes_one_document_per_line),
		cmocka_unit_test(indents_when_asked_to),
		cmocka_unit_test(escapes_hostile_names),
		cmocka_unit_test(reals_read_back_and_nan_is_null),
		cmocka_unit_test(reports_a_full_disk),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
