#include <stdio.h>
#include <string.h>

#include "index/rows.h"
#include "tests/support/unit.h"

static const enum row_kind kinds[] = { ROW_KIND_STATE, ROW_KIND_STREAM, ROW_KIND_SEGMENT, ROW_KIND_IMPORT, ROW_KIND_REMOVAL,
	                               ROW_KIND_MONITOR, ROW_KIND_TICKET, ROW_KIND_LANDING, ROW_KIND_LANDED, ROW_KIND_FEED,
	                               ROW_KIND_GAP, ROW_KIND_DROP };
#define KINDS (sizeof kinds / sizeof *kinds)

static union row
row_filled(enum row_kind kind)
{
	union row r;
	memset(&r, 0, sizeof r);
	switch (kind) {
	case ROW_KIND_STATE:
		memset(&r.state, 0x5a, sizeof r.state);
		break;
	case ROW_KIND_STREAM:
		r.stream = (struct stream_row){ .id = 77, .created_ns = 1795286635972994589u, .name = "eth 0 % \xc3\xa9 -" };
		break;
	case ROW_KIND_SEGMENT:
		r.segment = (struct segment_row){ .id = 0x1122334455667788, .stream = 3, .slot = 4, .state = 2, .blocks = 64,
			.records = 4194304, .wire_bytes = 5, .captured_bytes = 6, .first_ns = 7, .last_ns = UINT64_MAX,
			.file_bytes = 9, .footer_bytes = 8, .hidden_until_ns = 10, .root = "0123456789abcdef0123456789abcde" };
		break;
	case ROW_KIND_IMPORT:
		r.import = (struct import_row){ .fingerprint = "fingerprint", .stream = 1, .records = 9, .complete = 1,
			.runs = 2, .title = "-" };
		break;
	case ROW_KIND_REMOVAL:
		r.removal = (struct removal_row){ 1, 2, 3, 4, 5 };
		break;
	case ROW_KIND_MONITOR:
		r.monitor = (struct monitor_row){ .id = 4096, .state = MONITOR_QUARANTINED, .enrolled_ns = 1, .changed_ns = 2,
			.noise_key = "noise", .sign_key = "sign", .ticket = "ticket", .name = "Roof_2.north-east", .reason = "a % b" };
		break;
	case ROW_KIND_TICKET:
		r.ticket = (struct ticket_row){ .hash = "hash", .expires_ns = UINT64_MAX, .name = "a" };
		break;
	case ROW_KIND_LANDING:
		r.landing = (struct landing_row){ 1, 2, SEGMENT_LOST, 3, 4 };
		break;
	case ROW_KIND_LANDED:
		r.landed = (struct landed_row){ .stream = 1, .epoch = 2, .sequence = 3, .landing = 4, .at = 5, .front_bytes = 6,
			.block_bytes = 7, .records = 8, .first_ns = 9, .last_ns = 10, .sampled = 1 };
		break;
	case ROW_KIND_FEED:
		memset(&r.feed, 0xff, sizeof r.feed);
		break;
	case ROW_KIND_GAP:
		r.gap = (struct gap_row){ 1, 2, 3, GAP_ARCHIVE, 4, 5, 6 };
		break;
	case ROW_KIND_DROP:
		r.drop.id = 12;
		break;
	}
	return r;
}

static size_t
encoded(enum row_kind kind, const union row *r, uint8_t bytes[ROW_BYTES_MAX])
{
	struct writer w = writer_of(bytes, ROW_BYTES_MAX);
	row_encode(kind, r, &w);
	assert_true(writer_ok(&w));
	return (size_t)(w.at - bytes);
}

static void
every_row_comes_back_from_bytes_and_from_text(void **state)
{
	(void)state;
	for (size_t i = 0; i < KINDS; i++) {
		union row r = row_filled(kinds[i]), back, zero;
		uint8_t bytes[ROW_BYTES_MAX], again[ROW_BYTES_MAX];
		char text[ROW_TEXT_MAX];
		memset(&zero, 0, sizeof zero);
		size_t n = encoded(kinds[i], &r, bytes);
		back = zero;
		assert_int_equal(row_decode(kinds[i], &back, bytes, n), OK);
		assert_int_equal(encoded(kinds[i], &back, again), n);
		assert_memory_equal(bytes, again, n);
		size_t length = row_print(kinds[i], &r, text);
		assert_int_equal(length, strlen(text));
		back = zero;
		assert_int_equal(row_parse(kinds[i], &back, text, length), OK);
		assert_int_equal(encoded(kinds[i], &back, again), n);
		assert_memory_equal(bytes, again, n);
	}
}

static void
a_segment_row_has_these_bytes(void **state)
{
	(void)state;
	union row r = row_filled(ROW_KIND_SEGMENT);
	uint8_t bytes[ROW_BYTES_MAX];
	size_t n = encoded(ROW_KIND_SEGMENT, &r, bytes);
	static const uint8_t golden[] = {
		0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 3, 0, 0, 0, 4, 0, 0, 0, 2, 64, 0, 0, 0,
		0, 0, 0x40, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0,
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 9, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0,
		10, 0, 0, 0, 0, 0, 0, 0, '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
		'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 0,
	};
	assert_int_equal(n, sizeof golden);
	assert_memory_equal(bytes, golden, n);
}

static void
texts_are_escaped_so_that_a_line_stays_a_line(void **state)
{
	(void)state;
	char text[ROW_TEXT_MAX];
	union row r = { 0 };
	r.stream = (struct stream_row){ .id = 1, .name = "a b%\nc" };
	row_print(ROW_KIND_STREAM, &r, text);
	assert_string_equal(text, "id=1 created_ns=0 name=a%20b%25%0ac");
	r.stream.name[0] = 0;
	row_print(ROW_KIND_STREAM, &r, text);
	assert_string_equal(text, "id=1 created_ns=0 name=-");
	strncpy(r.stream.name, "-", 2);
	row_print(ROW_KIND_STREAM, &r, text);
	assert_string_equal(text, "id=1 created_ns=0 name=%2d");
}

static void
refuses_every_truncation_and_longer_rows(void **state)
{
	(void)state;
	for (size_t i = 0; i < KINDS; i++) {
		union row r = row_filled(kinds[i]), back;
		uint8_t bytes[ROW_BYTES_MAX + 1] = { 0 };
		char text[ROW_TEXT_MAX + 1];
		size_t n = encoded(kinds[i], &r, bytes);
		for (size_t k = 0; k <= n + 1; k++)
			if (k != n)
				assert_int_equal(row_decode(kinds[i], &back, bytes, k), ERR_FORMAT);
		n = row_print(kinds[i], &r, text);
		text[n] = ' ';
		for (size_t k = 0; k <= n + 1; k++) {
			/* cutting a number or an unescaped text short leaves another good one */
			if (k == n || row_parse(kinds[i], &back, text, k) != OK)
				continue;
			char again[ROW_TEXT_MAX];
			assert_int_equal(row_print(kinds[i], &back, again), k);
			assert_memory_equal(again, text, k);
		}
	}
}

static void
what_parses_prints_the_same(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"id=01 created_ns=0 name=x", "id=1  created_ns=0 name=x", "id=1 created_ns=0 name=", "id=1 created_ns=0 name=%41",
		"id=1 created_ns=0 name=%2D", "id=1 created_ns=0 name=%00", "id=1 created_ns=0 name=%2", "id=+1 created_ns=0 name=x",
		"id=1 created_ns=18446744073709551616 name=x", "id=4294967297 created_ns=0 name=x", "id=0 created_ns=0 name=x",
		"created_ns=0 id=1 name=x", "id=1 created_ns=0 name=x extra=1", "id=70000 created_ns=0 name=x", "",
	};
	union row r;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(row_parse(ROW_KIND_STREAM, &r, bad[i], strlen(bad[i])), ERR_FORMAT);
	for (size_t i = 0; i < KINDS; i++) { /* every single-byte change either fails or prints back as it was read */
		union row good = row_filled(kinds[i]);
		char text[ROW_TEXT_MAX], again[ROW_TEXT_MAX];
		size_t n = row_print(kinds[i], &good, text);
		for (size_t k = 0; k < n; k++)
			for (int c = 0; c < 256; c++) {
				char kept = text[k];
				text[k] = (char)c;
				if (row_parse(kinds[i], &r, text, n) == OK) {
					assert_int_equal(row_print(kinds[i], &r, again), n);
					assert_memory_equal(again, text, n);
				}
				text[k] = kept;
			}
	}
}

static void
count_field(void *arg, const char *table, char tag, const char *kind, const char *name, const char *meaning)
{
	assert_true(*table && tag && *kind && *name && *meaning);
	++*(unsigned *)arg;
}

static void
the_tables_can_be_walked_for_the_documentation(void **state)
{
	(void)state;
	unsigned fields = 0;
	row_walk(count_field, &fields);
	assert_true(fields > 30);
	enum row_kind kind;
	for (size_t i = 0; i < KINDS; i++) {
		const char *word = row_word(kinds[i]);
		assert_true(row_kind_of(&kind, word, strlen(word)));
		assert_int_equal(kind, kinds[i]);
	}
	assert_false(row_kind_of(&kind, "segments", 8));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_comes_back_from_bytes_and_from_text),
		cmocka_unit_test(a_segment_row_has_these_bytes),
		cmocka_unit_test(texts_are_escaped_so_that_a_line_stays_a_line),
		cmocka_unit_test(refuses_every_truncation_and_longer_rows),
		cmocka_unit_test(what_parses_prints_the_same),
		cmocka_unit_test(the_tables_can_be_walked_for_the_documentation),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
