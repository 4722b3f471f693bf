/* Options and extension headers: each kind as it should become; every truncation, flipped bits and random bytes judged by code that
 * is not theirs. */
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/support/rewritten.h"

#define BYTES_MAX 2048u

/* "e4*16 00 1" as bytes: hex, each may be repeated. */
static size_t
bytes_of(const char *text, uint8_t out[BYTES_MAX])
{
	size_t n = 0;
	while (*text) {
		char *end;
		unsigned long value = strtoul(text, &end, 16), times = 1;
		if (*end == '*')
			times = strtoul(end + 1, &end, 10);
		for (; times > 0; times--)
			out[n++] = (uint8_t)value;
		text = *end == ' ' ? end + 1 : end;
	}
	return n;
}

struct kind {
	const char *raw, *becomes;
};

static const struct kind tcp_kinds[] = { /* with time stamps kept */
	{ "", "" },
	{ "1 1 8 a 1 2 3 4 5 6 7 8", "1 1 8 a 1 2 3 4 5 6 7 8" },
	{ "2 4 5 b4 4 2 8 a 1*8 1 3 3 7", "2 4 5 b4 4 2 8 a 1*8 1 3 3 7" },
	{ "1 1 5 a 0*7 5 0*8", "1 1 5 a 0*7 5 0*8" },
	{ "5 22 7*32", "5 22 7*32" },
	{ "5 2a 7*40", "1*42" },               /* five SACK blocks */
	{ "5 b 7*9", "1*11" },
	{ "2 3 9 3 4 1 1 4 3 9", "1*10" },     /* known kinds of other lengths */
	{ "8 a 7*8 8 a 9*8", "8 a 7*8 1*10" }, /* a second one may be anything */
	{ "5 a 7*8 5 a 9*8", "5 a 7*8 1*10" },
	{ "1e c 7*10 13 12 7*16", "1*30" },    /* MPTCP, MD5 */
	{ "22 a 7*8", "1*10" },                /* fast open cookie */
	{ "3 3 7 0 9 9 9 9", "3 3 7 0*5" },    /* behind the end */
	{ "1 2 1 9 9", "1*5" },                /* a length below 2 */
	{ "1 2 9 9 9", "1*5" },                /* longer than what is left */
	{ "8", "1" },
};

static const struct kind ip4_kinds[] = {
	{ "", "" },
	{ "1 7 b 8 7*4 9*4", "1 7 b 8 e4*4 0*4" },           /* one recorded, one free */
	{ "7 b c 7*4 9*4 0", "7 b c e4*8 0" },               /* full */
	{ "7 b 4 7*8 0", "7 b 4 0*8 0" },
	{ "83 b 8 7*4 9*4 1", "83 b 8 e4*8 1" },             /* a source route also says where it goes */
	{ "89 7 4 7*4 1", "89 7 4 e4*4 1" },
	{ "7 b 9 7*8 1", "1*12" },                           /* pointer between addresses, too small, too large */
	{ "7 b 0 7*8 1", "1*12" },
	{ "83 b 10 7*8 1", "1*12" },
	{ "83 a 4 7*7 1 1", "1*12" },                        /* no multiple of addresses */
	{ "7 3 4", "7 3 4" },
	{ "44 c 9 f0 7*8", "44 c 9 f0 0*8" },                /* times alone, overflow kept */
	{ "44 14 d 1 7*4 8*4 9*4 a*4", "44 14 d 1 e4*4 0*4 0*4 0*4" },
	{ "44 14 5 3 7*4 8*4 9*4 a*4", "44 14 5 3 e4*4 0*4 e4*4 0*4" },
	{ "44 14 9 3 7*16", "1*20" },                        /* pointer inside a pair */
	{ "44 c 5 2 7*8", "1*12" },                          /* no such flag */
	{ "44 10 5 1 7*12", "1*16" },                        /* half a pair */
	{ "44 3 5 1", "1*4" },
	{ "94 4 0 0", "94 4 0 0" }, { "94 4 0 7", "1*4" },
	{ "82 b 7*9 0", "1*11 0" },                          /* security */
	{ "86 6 0 0 0 1 5 4 7 7", "1*10" },                  /* CIPSO */
	{ "0 7*7", "0*8" }, { "1 7", "1*2" }, { "7 1 7 7", "1*4" },
};

static const struct { uint8_t first; struct kind kind; struct ip6_chain told; } ip6_kinds[] = {
	{ 6, { "7*8", "7*8" }, { 0, 6, false, false, true } },
	{ 0, { "6 0 5 2 0 0 1 0 7*3", "6 0 5 2 0 0 1 0 7*3" }, { 8, 6, false, false, true } },
	{ 60, { "6 0 1 4 7*4", "6 0 1 4 0*4" }, { 8, 6, false, false, true } },
	{ 60, { "6 0 4 1 9 1 1 7", "6 0 4 1 9 1 1 0" }, { 8, 6, false, false, true } },
	{ 0, { "3a 0 c2 4 0 1 0 0", "3a 0 c2 4 0 1 0 0" }, { 8, 58, false, false, true } },
	{ 0, { "3a 0 c2 4 0 0 ff ff", "3a 0 1 4 0*4" }, { 8, 58, false, false, true } },
	{ 60, { "3a 0 c2 4 0 1 0 0", "3a 0 1 4 0*4" }, { 8, 58, false, false, true } },
	{ 60, { "3b 2 1 2 0 0 c9 10 7*16", "3b 2 1 2 0 0 c9 10 e6*16" }, { 24, 59, false, false, true } },
	{ 60, { "3b 2 1 2 0 0 c9 f 7*15 0", "3b 2 1 2 0 0 1 f 0*16" }, { 24, 59, false, false, true } },
	{ 60, { "3b 0 63 4 7*4", "3b 0 1 4 0*4" }, { 8, 59, false, false, true } },
	{ 60, { "3b 0 0 0 0 5 7 7", "3b 0 0 0 0 1 1 0" }, { 8, 59, false, false, true } }, /* longer than what is left */
	{ 60, { "3b 0 0 0 0 0 0 7", "3b 0 0 0 0 0 0 0" }, { 8, 59, false, false, true } }, /* no length */
	{ 43, { "6 4 0 2 7*4 8*16 9*16", "6 4 0 2 0*4 e6*32" }, { 40, 6, false, false, true } },
	{ 43, { "6 4 0 3 7*4 8*32", "6 4 0 0*37" }, { 40, 6, false, false, true } },       /* more left than there are */
	{ 43, { "6 3 0 1 7*4 8*24", "6 3 0 0*29" }, { 32, 6, false, false, true } },       /* half an address */
	{ 43, { "6 0 0 0 7*4", "6 0 0 0 0*4" }, { 8, 6, false, false, true } },
	{ 43, { "6 2 2 1 7*4 8*16", "6 2 2 1 0*4 e6*16" }, { 24, 6, false, false, true } },
	{ 43, { "6 2 2 2 7*4 8*16", "6 2 2 0*21" }, { 24, 6, false, false, true } },
	{ 43, { "6 4 4 1 1 7 7 7 8*16 9*16", "6 4 4 1 1 0 0 0 e6*32" }, { 40, 6, false, false, true } },
	{ 43, { "6 5 4 2 1 7 7 7 8*32 5 6 7*6", "6 5 4 2 1 0 0 0 e6*32 0*8" }, { 48, 6, false, false, true } }, /* with a TLV */
	{ 43, { "6 4 4 1 2 7 7 7 8*32", "6 4 4 0*37" }, { 40, 6, false, false, true } },   /* three segments in two */
	{ 43, { "6 4 4 3 1 7 7 7 8*32", "6 4 4 0*37" }, { 40, 6, false, false, true } },
	{ 43, { "6 2 3 1 7*4 8*16", "6 2 3 0*21" }, { 24, 6, false, false, true } },       /* RPL's compressed addresses */
	{ 44, { "11 7 0 1 7*4 9*4", "11 0 0 1 f1*4 9*4" }, { 8, 17, false, true, true } },
	{ 44, { "0 7 ff ff 7*4 9*4", "0 0 ff f9 f1*4 9*4" }, { 8, 0, true, true, true } }, /* nothing follows a later fragment */
	{ 51, { "6 4 7*22 9", "6 4 0*22 9" }, { 24, 6, false, false, true } },
	{ 51, { "6 0 7*6 9*4", "6 0 0*6 9*4" }, { 8, 6, false, false, true } },
	{ 135, { "3b 1 5 7 1 2 7*10", "3b 1 5 0*13" }, { 16, 59, false, false, true } },
	{ 0, { "3c 0 1 4 7*4 2c 0 1 4 7*4 6 0 0 0 7*4 9*20", "3c 0 1 4 0*4 2c 0 1 4 0*4 6 0 0 0 f1*4 9*20" },
	  { 24, 6, false, false, true } },
	{ 0, { "2b 0 1 4 7*4 6 2 7*14", "2b 0 1 4 0*4 0*16" }, { 8, 43, false, false, false } }, /* cut */
	{ 0, { "7*7", "0*7" }, { 0, 0, false, false, false } },
	{ 0, { "", "" }, { 0, 0, false, false, false } },
	{ 132, { "", "" }, { 0, 132, false, false, true } },
};

static void
becomes(const uint8_t *p, size_t n, const struct kind *k)
{
	uint8_t wanted[BYTES_MAX];
	size_t m = bytes_of(k->becomes, wanted);
	if (m != n || memcmp(p, wanted, n) != 0)
		print_message("# %s\n", k->raw);
	assert_int_equal(n, m);
	assert_memory_equal(p, wanted, n);
}

static void
each_option_of_tcp_stays_or_becomes_nops(void **state)
{
	(void)state;
	uint8_t p[BYTES_MAX];
	for (size_t i = 0; i < sizeof tcp_kinds / sizeof *tcp_kinds; i++) {
		size_t n = bytes_of(tcp_kinds[i].raw, p);
		tcp_options_rewrite(p, n, TCP_TIMESTAMPS_KEEP, true, 0);
		becomes(p, n, &tcp_kinds[i]);
	}
}

static void
time_stamps_and_sack_edges_follow_the_rule(void **state)
{
	(void)state;
	uint8_t p[BYTES_MAX];
	size_t n = bytes_of("1 1 8 a 7*8 8 a 9*8", p);
	tcp_options_rewrite(p, n, TCP_TIMESTAMPS_BLANK, true, 5);
	becomes(p, n, &(struct kind){ "blank", "1 1 8 a 0*8 1*10" });
	tcp_options_rewrite(p, n, TCP_TIMESTAMPS_DROP, true, 5);
	becomes(p, n, &(struct kind){ "drop", "1*22" });
	n = bytes_of("5 12 0 0 0 5 ff ff ff ff 0*8", p);
	tcp_options_rewrite(p, n, TCP_TIMESTAMPS_KEEP, true, 3);
	becomes(p, n, &(struct kind){ "shift", "5 12 0 0 0 8 0 0 0 2 0 0 0 3 0 0 0 3" });
	options_drop(p, n);
	becomes(p, n, &(struct kind){ "all dropped", "1*18" });
}

static void
each_option_of_ip4_stays_or_becomes_nops(void **state)
{
	(void)state;
	uint8_t p[BYTES_MAX];
	for (size_t i = 0; i < sizeof ip4_kinds / sizeof *ip4_kinds; i++) {
		size_t n = bytes_of(ip4_kinds[i].raw, p);
		ip4_options_rewrite(p, n, &marking);
		becomes(p, n, &ip4_kinds[i]);
	}
}

static void
each_extension_header_keeps_its_frame(void **state)
{
	(void)state;
	uint8_t p[BYTES_MAX];
	for (size_t i = 0; i < sizeof ip6_kinds / sizeof *ip6_kinds; i++) {
		size_t n = bytes_of(ip6_kinds[i].kind.raw, p);
		struct ip6_chain c = ip6_extensions_rewrite(p, n, ip6_kinds[i].first, &marking);
		becomes(p, n, &ip6_kinds[i].kind);
		assert_int_equal(c.end, ip6_kinds[i].told.end);
		assert_int_equal(c.proto, ip6_kinds[i].told.proto);
		assert_int_equal(c.later_fragment, ip6_kinds[i].told.later_fragment);
		assert_int_equal(c.more_fragments, ip6_kinds[i].told.more_fragments);
		assert_int_equal(c.whole, ip6_kinds[i].told.whole);
	}
}

/* All three over the same bytes, on the heap so that a sanitizer sees one too far. */
static void
judged(const uint8_t *raw, size_t n, uint8_t first)
{
	for (unsigned how = 0; how < 5; how++) {
		uint8_t *p = malloc(n ? n : 1);
		assert_non_null(p);
		memcpy(p, raw, n);
		if (how < 3) {
			tcp_options_rewrite(p, n, (enum tcp_timestamps)how, true, 0);
			assert_true(rewritten_tcp(p, n, (enum tcp_timestamps)how));
		} else if (how == 3) {
			ip4_options_rewrite(p, n, &marking);
			assert_true(rewritten_ip4(p, n));
		} else {
			struct ip6_chain c = ip6_extensions_rewrite(p, n, first, &marking);
			assert_true(rewritten_ip6(p, raw, n, first, c));
		}
		free(p);
	}
}

static void
every_truncation_and_every_changed_byte_is_handled(void **state)
{
	(void)state;
	uint8_t p[BYTES_MAX];
	size_t tcp = sizeof tcp_kinds / sizeof *tcp_kinds, ip4 = sizeof ip4_kinds / sizeof *ip4_kinds;
	size_t count = tcp + ip4 + sizeof ip6_kinds / sizeof *ip6_kinds;
	for (size_t i = 0; i < count; i++) {
		const char *raw = i < tcp ? tcp_kinds[i].raw : i < tcp + ip4 ? ip4_kinds[i - tcp].raw : ip6_kinds[i - tcp - ip4].kind.raw;
		uint8_t first = i < tcp + ip4 ? 60 : ip6_kinds[i - tcp - ip4].first;
		size_t n = bytes_of(raw, p);
		for (size_t cut = 0; cut <= n; cut++)
			judged(p, cut, first);
		for (size_t at = 0; at < n; at++)
			for (unsigned bit = 0; bit < 8; bit++) {
				p[at] ^= (uint8_t)(1 << bit);
				judged(p, n, first);
				p[at] ^= (uint8_t)(1 << bit);
			}
	}
}

static void
random_bytes_leave_nothing_but_what_is_understood(void **state)
{
	(void)state;
	static const uint8_t likely[] = { 0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 16, 24, 43, 44, 51, 60, 68, 131, 135, 137, 148, 0xc2, 0xc9 };
	static const uint8_t firsts[] = { 0, 43, 44, 51, 60, 135 };
	uint64_t seed = 4;
	uint8_t p[256];
	for (unsigned round = 0; round < 60000; round++) {
		size_t n = round % sizeof p;
		for (size_t i = 0; i < n; i++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			uint32_t v = (uint32_t)(seed >> 32);
			p[i] = v & 256 ? (uint8_t)v : likely[(v >> 9) % sizeof likely];
		}
		judged(p, n, firsts[round % sizeof firsts]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_option_of_tcp_stays_or_becomes_nops),
		cmocka_unit_test(time_stamps_and_sack_edges_follow_the_rule),
		cmocka_unit_test(each_option_of_ip4_stays_or_becomes_nops),
		cmocka_unit_test(each_extension_header_keeps_its_frame),
		cmocka_unit_test(every_truncation_and_every_changed_byte_is_handled),
		cmocka_unit_test(random_bytes_leave_nothing_but_what_is_understood),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
