/* What filters ask the index: a block or segment that holds a match is never skipped, and what should be skipped is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/segment.h"
#include "base/bytes.h"
#include "query/bpf.h"
#include "query/filter_parts.h"
#include "tests/support/filter_cases.h"
#include "tests/support/sealed_frames.h"
#include "tests/support/unit.h"

#define PER_BLOCK 6u

static const uint16_t linktypes[] = { 1, 1, 1, 113, 101, 276, 0, 108, 12, 228, 229, 9, 105 };
#define SETS (sizeof linktypes / sizeof linktypes[0])

static struct tally {
	unsigned long asked, blocks, looked_at, needed, with_nets;
} tally;

static bool
address_in(const struct filter_net *net, const uint8_t *address)
{
	for (unsigned bit = 0; bit < net->bits; bit++)
		if ((net->addr[bit / 8] ^ address[bit / 8]) >> (7 - bit % 8) & 1)
			return false;
	return true;
}

/* Whether one of the segment's addresses is in one of the nets: what a segment filter answers, without its false alarms. */
static bool
segment_has(struct segment *s, const struct filter_net *nets, uint32_t count)
{
	const uint32_t *ip4;
	const uint8_t (*ip6)[16];
	uint32_t n4, n6;
	assert_int_equal(segment_all_addresses(s, &ip4, &n4, &ip6, &n6), OK);
	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t k = 0; nets[i].family == 4 && k < n4; k++) {
			uint8_t address[4];
			store_be32(address, ip4[k]);
			if (address_in(&nets[i], address))
				return true;
		}
		for (uint32_t k = 0; nets[i].family == 6 && k < n6; k++)
			if (address_in(&nets[i], ip6[k]))
				return true;
	}
	return false;
}

/* opaque: the segment holds records whose addresses are not in its tables, so that nothing follows from these. */
static bool
check_segment(struct filter *f, const char *text, const struct frames *in, struct segment *s, bool opaque)
{
	struct bpf *bpf = NULL;
	uint64_t found = 0, needed = 0;
	const struct filter_net *nets;
	uint32_t count;
	if (bpf_open(&bpf, in->v[0].linktype, text) != OK)
		return true;
	for (uint32_t i = 0; i < in->count; i++)
		if (bpf_match(bpf, in->bytes + in->v[i].at, in->v[i].wire_len, in->v[i].cap_len))
			needed |= 1ull << i / PER_BLOCK;
	bpf_close(&bpf);
	assert_int_equal(filter_blocks(f, s, &found), OK);
	bool fine = (needed & ~found) == 0;
	if (!fine) {
		uint32_t block = (uint32_t)__builtin_ctzll(needed & ~found);
		printf("# `%s` linktype %u: block %u has a match and would be skipped; %s\n", text, in->v[0].linktype, block,
		       filter_plan(f));
		for (uint32_t i = block * PER_BLOCK; i < (block + 1) * PER_BLOCK && i < in->count; i++) {
			printf("#   ");
			for (uint32_t k = 0; k < in->v[i].cap_len && k < 90; k++)
				printf("%02x", in->bytes[in->v[i].at + k]);
			printf("\n");
		}
	}
	if (filter_nets(f, &nets, &count)) {
		tally.with_nets++;
		if (needed && !opaque && !segment_has(s, nets, count)) {
			printf("# `%s` linktype %u: the segment has a match and would be skipped; %s\n", text, in->v[0].linktype,
			       filter_plan(f));
			fine = false;
		}
	}
	tally.asked++;
	tally.blocks += segment_totals_of(s)->blocks;
	tally.looked_at += (unsigned long)__builtin_popcountll(found);
	tally.needed += (unsigned long)__builtin_popcountll(needed);
	return fine;
}

static void
report(const char *what)
{
	printf("# %s: %lu filters x segments of %lu blocks: %lu blocks looked at, %lu had a match; %lu with networks for the "
	       "segment filter\n", what, tally.asked, tally.blocks, tally.looked_at, tally.needed, tally.with_nets);
	memset(&tally, 0, sizeof tally);
}

static bool
is_opaque(struct segment *s)
{
	uint64_t found = 0;
	const uint8_t address[16] = { 0x3f, 0xfe, 9, 9, 9, 9 }; /* in no frame */
	assert_int_equal(segment_find_ip6(s, address, address, &found), OK);
	return found != 0;
}

static void
skips_no_block_with_a_match_for_the_list(void **state)
{
	(void)state;
	char *text;
	uint32_t n, wrong = 0, taken = 0, understood = 0;
	struct dice d = { 11 };
	struct frames *in;
	struct listed *l = read_expressions(&text, &n);
	struct filter **f = calloc(n, sizeof *f);
	assert_int_equal(frames_open(&in, 4u << 20), OK);
	for (uint32_t i = 0; i < n; i++)
		if (filter_open(&f[i], l[i].text, NULL) == OK) {
			taken++;
			understood += f[i]->indexed;
			if (!f[i]->indexed)
				printf("# `%s`: our reading is not libpcap's, so no index\n", l[i].text);
		}
	for (uint32_t set = 0; set < SETS; set++) {
		struct segment *s = NULL;
		frames_reset(in);
		make_frames(in, &d, linktypes[set], SEGMENT_BLOCKS_MAX * PER_BLOCK);
		assert_int_equal(sealed_frames(&s, in, PER_BLOCK), OK);
		bool opaque = is_opaque(s);
		for (uint32_t i = 0; i < n && wrong < 10; i++)
			wrong += f[i] && !check_segment(f[i], l[i].text, in, s, opaque);
		segment_close(&s);
	}
	printf("# %u expressions, %u read as libpcap reads them\n", taken, understood);
	report("list");
	for (uint32_t i = 0; i < n; i++)
		filter_close(&f[i]);
	free(f);
	free(l);
	free(text);
	frames_close(&in);
	sealed_frames_release();
	assert_int_equal(wrong, 0);
	assert_int_equal(understood, taken);
}

static void
skips_no_block_with_a_match_for_random_expressions(void **state)
{
	(void)state;
	static char text[4096];
	const char *seed = getenv("FILTER_SEED"), *rounds = getenv("FILTER_RANDOM");
	struct dice d = { seed ? strtoull(seed, NULL, 10) : 12 };
	uint32_t wrong = 0, understood = 0, taken = 0, count = rounds ? (uint32_t)strtoul(rounds, NULL, 10) : 3000;
	struct frames *in;
	struct segment *s = NULL;
	bool opaque = false;
	assert_int_equal(frames_open(&in, 4u << 20), OK);
	for (uint32_t i = 0; i < count && wrong < 10; i++) {
		if (i % 40 == 0) {
			segment_close(&s);
			frames_reset(in);
			make_frames(in, &d, linktypes[i / 40 % SETS], SEGMENT_BLOCKS_MAX * PER_BLOCK);
			assert_int_equal(sealed_frames(&s, in, PER_BLOCK), OK);
			opaque = is_opaque(s);
		}
		struct filter *f = NULL;
		make_expression(&d, text, sizeof text);
		if (filter_open(&f, text, NULL) != OK)
			continue;
		taken++;
		understood += f->indexed;
		if (!f->indexed)
			printf("# `%s`: our reading is not libpcap's: %s\n", text, filter_text(f));
		wrong += !check_segment(f, text, in, s, opaque);
		filter_close(&f);
	}
	printf("# %u random expressions, %u read as libpcap reads them\n", taken, understood);
	report("random");
	segment_close(&s);
	frames_close(&in);
	sealed_frames_release();
	assert_int_equal(wrong, 0);
	assert_true(understood * 100ul >= taken * 99ul);
}

/* The networks that a filter requires, as text; "-" for none. */
static void
expect_nets(const char *expression, const char *wanted)
{
	struct filter *f = NULL;
	const struct filter_net *nets;
	uint32_t count;
	char got[1024] = "-";
	assert_int_equal(filter_open(&f, expression, NULL), OK);
	if (filter_nets(f, &nets, &count)) {
		size_t at = 0;
		for (uint32_t i = 0; i < count; i++) {
			const uint8_t *a = nets[i].addr;
			at += (size_t)snprintf(got + at, sizeof got - at, nets[i].family == 4 ? "%s%u.%u.%u.%u/%u" : "%s%02x%02x:%02x%02x/%u",
			                       i ? " " : "", a[0], a[1], a[2], a[3], nets[i].bits);
		}
	}
	if (strcmp(got, wanted) != 0)
		printf("# `%s`\n", expression);
	assert_string_equal(got, wanted);
	filter_close(&f);
}

static void
concludes_networks_from_and_and_or(void **state)
{
	(void)state;
	expect_nets("host 10.0.0.1", "10.0.0.1/32");
	expect_nets("net 10", "10.0.0.0/8");
	expect_nets("host 10.1", "10.1.0.0/16");
	expect_nets("net 10.0.0.0 mask 255.0.255.0", "10.0.0.0/8");
	expect_nets("src host 10.0.0.1 and tcp port 80", "10.0.0.1/32");
	expect_nets("host 10.0.0.1 or 10.0.0.2", "10.0.0.1/32 10.0.0.2/32");
	expect_nets("net 10.0.0.0/8 and host 10.0.0.1", "10.0.0.1/32");
	expect_nets("(host 10.0.0.1 or host 10.0.0.2) and net 192.168.0.0/16", "192.168.0.0/16");
	expect_nets("host 2001:db8::1", "2001:0db8/128");
	expect_nets("net 2001:db8::/32 or host 10.0.0.1", "2001:0db8/32 10.0.0.1/32");
	expect_nets("arp host 10.0.0.1", "10.0.0.1/32");
	expect_nets("vlan and host 10.0.0.1", "10.0.0.1/32");
	expect_nets("vlan 5 and vlan and mpls and host 10.0.0.1", "10.0.0.1/32");
	/* nothing follows */
	expect_nets("tcp port 80", "-");
	expect_nets("not host 10.0.0.1", "-");
	expect_nets("host 10.0.0.1 or tcp port 80", "-");
	expect_nets("net 0.0.0.0/0", "-");
	expect_nets("vlan or host 10.0.0.1", "-");
	expect_nets("not vlan and host 10.0.0.1", "-");
	expect_nets("(vlan and host 10.0.0.1) or host 10.0.0.2", "-");
	expect_nets("geneve and host 10.0.0.1", "-");
	expect_nets("pppoes and host 10.0.0.1", "-");
	expect_nets("ip[12:4] = 0x0a000001", "-");
	expect_nets("ether host 0:1:2:3:4:5", "-");
	/* what stands before such a word does not move */
	expect_nets("host 10.0.0.1 and geneve", "10.0.0.1/32");
	expect_nets("host 10.0.0.1 and not vlan", "10.0.0.1/32");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(skips_no_block_with_a_match_for_the_list),
		cmocka_unit_test(skips_no_block_with_a_match_for_random_expressions),
		cmocka_unit_test(concludes_networks_from_and_and_or),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
