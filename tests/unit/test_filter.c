#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "query/bpf.h"
#include "query/bpf_run.h"
#include "query/filter_lex.h"
#include "query/filter_parts.h"
#include "tests/support/filter_cases.h"
#include "tests/support/unit.h"

#include <pcap/bpf.h>

/* The refusal must name this column (0: none) and have these words. */
static void
expect_refusal(const char *expression, unsigned column, const char *words)
{
	struct filter *f = NULL;
	char where[32] = "filter: ";
	enum err e = filter_open(&f, expression, NULL);
	if (column)
		snprintf(where, sizeof where, "filter, column %u: ", column);
	bool right = e == ERR_USAGE && strncmp(err_text(), where, strlen(where)) == 0 && strstr(err_text(), words);
	if (!right)
		printf("# `%s`: %s\n", expression, e == OK ? "accepted" : err_text());
	assert_true(right);
	assert_null(f);
}

static void
a_refusal_names_the_column_and_the_fix(void **state)
{
	(void)state;
	expect_refusal("net 10/8", 5, "write 10.0.0.0/8");
	expect_refusal("tcp and host 10/8", 14, "write net 10.0.0.0/8");
	expect_refusal("tcp and net 10.0.0.1/8", 13, "non-network bits set");
	expect_refusal("host 10.0.0.0/8", 6, "write net instead of host");
	expect_refusal("prot 80", 1, "did you mean 'port'?");
	expect_refusal("tcp prt 80", 5, "did you mean 'port'?");
	expect_refusal("host localhost", 6, "names of hosts");
	expect_refusal("host www.example.org", 6, "not looked up");
	expect_refusal("src example.org", 5, "not looked up");
	expect_refusal("ether host router", 12, "not looked up");
	expect_refusal("net loopback", 5, "not looked up");
	expect_refusal("gateway router", 9, "not looked up");
	expect_refusal("gateway 10.0.0.1", 9, "not looked up");
	expect_refusal("host 10.0.0.1 or router", 18, "not looked up");
	expect_refusal("host 10.0.0.1 and (10.0.0.2 or router)", 32, "not looked up");
	expect_refusal("tcp.port == 80", 1, "Wireshark");
	expect_refusal("ip.addr == 10.0.0.1", 1, "Wireshark");
	expect_refusal("(tcp", 1, "never closed");
	expect_refusal("tcp and ((port 80)", 9, "never closed");
	expect_refusal("tcp)", 4, "no parenthesis is open");
	expect_refusal("tcp port", 9, "ends where a value should follow");
	expect_refusal("tcp and", 8, "ends where a term");
	expect_refusal("10.0.0.1", 1, "Write host, net or port");
	expect_refusal("tcp 80", 5, "'and' or 'or'");
	expect_refusal("tcp udp", 5, "'and' or 'or'");
	expect_refusal("tcp or 80", 8, "Write host, net or port before it");
	expect_refusal("tcp[13] & 2", 12, "a comparison");
	expect_refusal("tcp[13", 7, "']'");
	expect_refusal("port 80-90", 6, "portrange");
	expect_refusal("port 80 - 90", 6, "portrange 80-90");
	expect_refusal("tcp and port 99999", 14, "illegal port number");
	expect_refusal("udp port nosuchservice", 10, "unknown port");
	expect_refusal("tcp ; udp", 5, "';'");
	expect_refusal("port 08", 6, "octal");
	expect_refusal("port 99999999999", 6, "32 bits");
	expect_refusal("port 80 or (443 or tcp)", 20, "values only");
	expect_refusal("1 = 2", 1, "no packet can match");
	expect_refusal("tcp host 10.0.0.1", 10, "");
}

static void
an_empty_expression_matches_everything(void **state)
{
	(void)state;
	static const char *const blank[] = { NULL, "", " ", "\t \n" };
	for (uint32_t i = 0; i < sizeof blank / sizeof blank[0]; i++) {
		struct filter *f = NULL;
		struct filter_state *s = NULL;
		const struct filter_net *nets;
		uint32_t n;
		unsigned need = 99;
		uint32_t start[2] = { 0, 0 };
		struct batch b = { .conversations = 1, .start = start };
		assert_int_equal(filter_open(&f, blank[i], NULL), OK);
		assert_true(filter_is_all(f));
		assert_false(filter_nets(f, &nets, &n));
		assert_int_equal(filter_columns(f), 0);
		assert_string_equal(filter_text(f), "");
		assert_int_equal(filter_state_open(&s, f), OK);
		assert_int_equal(filter_flows(s, &b, &need), OK);
		assert_int_equal(need, 0);
		assert_int_equal(filter_selection(s).conversation[0], 1);
		filter_state_close(&s);
		filter_close(&f);
		filter_close(&f);
	}
}

/* The scanner's words are libpcap's words: as the name of a host each is a syntax error, not an unknown name. Otherwise a
 * word could be taken for a keyword here and be looked up there. */
static void
every_keyword_is_one_of_libpcap(void **state)
{
	(void)state;
	for (uint32_t i = 0; filter_word(i); i++) {
		char text[128];
		struct bpf *b = NULL;
		snprintf(text, sizeof text, "host 10.0.0.1 and port %s", filter_word(i));
		enum err e = bpf_open(&b, 1, text);
		bool keyword = e == OK || (e == ERR_USAGE && strstr(err_text(), "syntax error"));
		if (!keyword)
			printf("# %s: %s\n", filter_word(i), err_text());
		bpf_close(&b);
		assert_true(keyword);
	}
}

static void
writes_out_what_is_inherited(void **state)
{
	(void)state;
	static const struct {
		const char *expression, *text;
	} rows[] = {
		{ "port 80 or 443", "(port 80) or (port 443)" },
		{ "tcp port (80 or 443) and host 10.0.0.1", "((tcp port 80) or (tcp port 443)) and (host 10.0.0.1)" },
		{ "tcp or udp and port 53", "((tcp) or (udp)) and (port 53)" },
		{ "not host 10.0.0.1 and 10.0.0.2", "(not (host 10.0.0.1)) and (host 10.0.0.2)" },
		{ "src or dst net 10 && ! arp", "(src or dst net 10) and (not (arp))" },
		{ "  tcp[13]&2!=0", "tcp [ 13 ] & 2 != 0" },
	};
	for (uint32_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct filter *f = NULL;
		char bare[256];
		assert_int_equal(filter_open(&f, rows[i].expression, NULL), OK);
		size_t n = strlen(filter_text(f));
		/* and / or put the whole in parentheses as well */
		bool pair = filter_text(f)[0] == '(' && filter_text(f)[1] == '(';
		snprintf(bare, sizeof bare, "%.*s", (int)(pair ? n - 2 : n), filter_text(f) + (pair ? 1 : 0));
		if (strcmp(bare, rows[i].text) != 0 && strcmp(filter_text(f), rows[i].text) != 0)
			printf("# `%s`: %s\n", rows[i].expression, filter_text(f));
		assert_true(strcmp(bare, rows[i].text) == 0 || strcmp(filter_text(f), rows[i].text) == 0);
		assert_true(f->indexed);
		filter_close(&f);
	}
}

static void
expect_plan(const char *expression, const char *plan)
{
	struct filter *f = NULL;
	assert_int_equal(filter_open(&f, expression, NULL), OK);
	assert_string_equal(filter_plan(f), plan);
	filter_close(&f);
}

static void
the_plan_says_what_runs_where(void **state)
{
	(void)state;
	expect_plan("tcp port 443", "columns: flows; index: tcp port 443");
	expect_plan("len > 1000", "columns: flows, wire_len; index: none");
	expect_plan("tcp[tcpflags] & tcp-syn != 0", "columns: flows, tcp_flags; index: tcp [ tcpflags ] & tcp-syn != 0");
	expect_plan("host 10.0.0.1", "columns: flows; bpf: rows not understood; index: host 10.0.0.1");
	expect_plan("tcp port 80 and tcp[100] = 1",
	            "columns: flows; bpf: rows that these leave open; index: (tcp port 80 and tcp [ 100 ] = 1)");
	expect_plan("ether[200] = 1", "bpf: all rows; index: none");
	expect_plan("not host 10.0.0.1", "columns: flows; bpf: rows not understood; index: none");
}

static void
long_and_deep_expressions_are_taken_or_refused(void **state)
{
	(void)state;
	char *text = malloc(FILTER_TEXT_BYTES_MAX + 100);
	struct filter *f = NULL;
	assert_non_null(text);
	size_t at = 0;
	for (unsigned i = 0; i < 150; i++)
		at += (size_t)snprintf(text + at, 100, "%shost 10.0.%u.%u", i ? " or " : "", i / 256, i % 256);
	assert_int_equal(filter_open(&f, text, NULL), OK);
	const struct filter_net *nets;
	uint32_t n = 0;
	assert_true(filter_nets(f, &nets, &n));
	assert_int_equal(n, 150);
	filter_close(&f);
	at = 0;
	for (unsigned i = 0; i <= FILTER_TERMS_MAX; i++)
		at += (size_t)snprintf(text + at, 100, "%sport %u", i ? " or " : "", i);
	assert_int_equal(filter_open(&f, text, NULL), ERR_LIMIT);
	memset(text, '(', 300);
	memcpy(text + 300, "tcp", 4);
	assert_int_equal(filter_open(&f, text, NULL), ERR_LIMIT);
	memset(text, '!', 300);
	assert_int_equal(filter_open(&f, text, NULL), ERR_LIMIT);
	memset(text, ' ', FILTER_TEXT_BYTES_MAX + 50);
	memcpy(text + FILTER_TEXT_BYTES_MAX + 50, "tcp", 4);
	assert_int_equal(filter_open(&f, text, NULL), ERR_LIMIT);
	free(text);
}

/* A chain of IPv6 headers in which an authentication header leads back to an earlier one: libpcap runs in it for ever. */
static void
a_circle_of_headers_is_no_match(void **state)
{
	(void)state;
	uint8_t packet[14 + 40 + 48] = { [12] = 0x86, 0xdd, [14] = 0x60, [20] = 60 };
	struct bpf *b = NULL;
	uint8_t *x = packet + 14; /* x[40]: destination options; x[48]: authentication, which sets the offset to 40 */
	x[40] = 51;
	x[41] = 0;
	x[48] = 60;
	x[49] = 8;
	assert_int_equal(bpf_open(&b, 1, "ip6 protochain 6"), OK);
	assert_false(bpf_match(b, packet, sizeof packet, sizeof packet));
	x[40] = 6;
	assert_true(bpf_match(b, packet, sizeof packet, sizeof packet));
	bpf_close(&b);
}

/* The interpreter for those programs gives libpcap's answer on all others, too. */
static void
the_careful_interpreter_is_libpcaps(void **state)
{
	(void)state;
	static const uint16_t linktypes[] = { 1, 101, 113, 0 };
	char *text;
	uint32_t count, compared = 0;
	struct listed *l = read_expressions(&text, &count);
	struct dice d = { 5 };
	struct frames *f;
	assert_int_equal(frames_open(&f, 1u << 20), OK);
	for (uint32_t t = 0; t < 4; t++) {
		frames_reset(f);
		make_frames(f, &d, linktypes[t], 300);
		for (uint32_t i = 0; i < count; i++) {
			struct bpf *b = NULL;
			uint32_t n;
			if (l[i].mark != ' ' || bpf_open(&b, linktypes[t], l[i].text) != OK)
				continue;
			const struct bpf_insn *code = bpf_code(b, &n);
			bool trusted = !bpf_jumps_back(code, n) && !bpf_reads_unset(code, n);
			for (uint32_t k = 0; trusted && k < f->count; k++) {
				const struct frame *v = &f->v[k];
				const uint8_t *p = f->bytes + v->at;
				bool theirs = bpf_filter(code, p, v->wire_len, v->cap_len) != 0;
				if (bpf_run(code, n, p, v->wire_len, v->cap_len) != theirs)
					printf("# `%s` frame %u\n", l[i].text, k);
				assert_int_equal(bpf_run(code, n, p, v->wire_len, v->cap_len), theirs);
				compared++;
			}
			bpf_close(&b);
		}
	}
	printf("# %u answers compared\n", compared);
	frames_close(&f);
	free(l);
	free(text);
}

static void
a_filter_wrong_for_a_link_type_names_it(void **state)
{
	(void)state;
	struct filter *f = NULL;
	struct filter_state *s = NULL;
	unsigned need;
	struct link raw = { .linktype = 101, .bytes = (const uint8_t *)"" };
	struct flow flows[2] = { { .net = NET_RAW }, { .net = NET_RAW } };
	uint32_t start[2] = { 0, 1 };
	struct batch b = { .count = 1, .conversations = 1, .link_count = 1, .links = &raw, .flows = flows, .start = start };
	assert_int_equal(filter_open(&f, "ether host 1:2:3:4:5:6", NULL), OK);
	assert_int_equal(filter_state_open(&s, f), OK);
	assert_int_equal(filter_flows(s, &b, &need), OK);
	assert_int_equal(need, 0);
	assert_int_equal(filter_selection(s).conversation[0], 0);
	assert_non_null(filter_refused(s));
	assert_non_null(strstr(filter_refused(s), "RAW (Raw IP)"));
	filter_state_close(&s);
	filter_close(&f);
	/* what no packet of a link type can match is no error */
	assert_int_equal(filter_open(&f, "arp", NULL), OK);
	assert_int_equal(filter_state_open(&s, f), OK);
	assert_int_equal(filter_flows(s, &b, &need), OK);
	assert_int_equal(need, 0);
	assert_int_equal(filter_selection(s).conversation[0], 0);
	assert_null(filter_refused(s));
	filter_state_close(&s);
	filter_close(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_refusal_names_the_column_and_the_fix),
		cmocka_unit_test(an_empty_expression_matches_everything),
		cmocka_unit_test(every_keyword_is_one_of_libpcap),
		cmocka_unit_test(writes_out_what_is_inherited),
		cmocka_unit_test(the_plan_says_what_runs_where),
		cmocka_unit_test(long_and_deep_expressions_are_taken_or_refused),
		cmocka_unit_test(a_circle_of_headers_is_no_match),
		cmocka_unit_test(the_careful_interpreter_is_libpcaps),
		cmocka_unit_test(a_filter_wrong_for_a_link_type_names_it),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
