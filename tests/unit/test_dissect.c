#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

#include "archive/dissect.h"
#include "base/bytes.h"
#include "tests/support/draft.h"
#include "tests/support/filter_cases.h"
#include "tests/support/plain_parse.h"

static const uint16_t linktypes[] = { 0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 105 };
#define LINKTYPES (sizeof linktypes / sizeof linktypes[0])

/* The frame alone in memory, with the slack that may be read, filled with `slack`. */
static uint8_t *
alone(const uint8_t *p, uint32_t n, uint8_t slack)
{
	uint8_t *copy = malloc(n + FRAMES_SLACK);
	assert_non_null(copy);
	memcpy(copy, p, n);
	memset(copy + n, slack, FRAMES_SLACK);
	return copy;
}

static void
compare_with_plain(uint16_t linktype, const uint8_t *p, uint32_t n)
{
	struct dissection d, other;
	struct plain x;
	uint8_t *zeros = alone(p, n, 0), *ones = alone(p, n, 0xff);
	dissect(linktype, zeros, n, &d);
	dissect(linktype, ones, n, &other);
	assert_memory_equal(&d, &other, sizeof d);
	uint32_t end = dissect_headers_end(&d, zeros, n);
	assert_int_equal(dissect_headers_end(&d, ones, n), end);
	assert_in_range(end, d.end, n);
	plain_parse(linktype, p, n, &x);
	/* the short cut of the encoder: all that it leaves out is as it says, and the commonest frames take it */
	uint32_t usual = dissect_usual(linktype, zeros, n);
	assert_int_equal(dissect_usual(linktype, ones, n), usual);
	bool tunnel = x.transport == TRANSPORT_UDP && load_be16(zeros + x.transport_at + 2) == PORT_VXLAN;
	bool ported = (x.transport == TRANSPORT_TCP || x.transport == TRANSPORT_UDP) && !tunnel;
	bool expected = linktype == LINK_ETHERNET && x.net == NET_IP4 && ported && x.link_bytes == 14 && x.transport_at == 34;
	assert_int_equal(usual, expected ? end : 0);
	if (expected)
		assert_int_equal(d.end, end);
	assert_int_equal(d.net, x.net);
	assert_int_equal(d.transport, x.transport);
	assert_int_equal(d.proto, x.proto);
	assert_int_equal(d.first_proto, x.first_proto);
	assert_int_equal(d.flags, (x.fragment ? FLOW_FRAGMENT : 0) | (x.extensions ? FLOW_EXTENSIONS : 0));
	assert_int_equal(d.link_bytes, x.link_bytes);
	assert_int_equal(d.vlans, x.vlans);
	assert_int_equal(d.vlan, x.vlan);
	assert_int_equal(d.mpls, x.mpls);
	assert_int_equal(d.transport_at, x.transport_at);
	assert_int_equal(d.end, x.end);
	/* what the reader makes of the link header alone */
	struct dissection link;
	dissect_link(linktype, zeros, d.link_bytes, &link);
	assert_int_equal(link.vlans, x.vlans);
	assert_int_equal(link.vlan, x.vlan);
	assert_int_equal(link.mpls, x.mpls);
	if (!x.mpls)
		assert_int_equal(link.ethertype, x.ethertype);
	free(zeros);
	free(ones);
}

static void
agrees_with_a_plain_reading_of_random_frames(void **state)
{
	(void)state;
	struct frames *f = NULL;
	struct dice dice = { 7 };
	assert_int_equal(frames_open(&f, BLOCK_BYTES_MAX), OK);
	for (size_t i = 0; i < LINKTYPES; i++) {
		frames_reset(f);
		make_frames(f, &dice, linktypes[i], 3000);
		for (uint32_t k = 0; k < f->count; k++)
			compare_with_plain(linktypes[i], f->bytes + f->v[k].at, f->v[k].cap_len);
	}
	frames_close(&f);
}

static void
agrees_with_a_plain_reading_of_noise_and_of_every_truncation(void **state)
{
	(void)state;
	struct frames *f = NULL;
	struct dice dice = { 8 };
	uint8_t noise[120];
	assert_int_equal(frames_open(&f, 1 << 20), OK);
	for (size_t i = 0; i < LINKTYPES; i++) {
		frames_reset(f);
		make_frames(f, &dice, linktypes[i], 40);
		for (uint32_t k = 0; k < f->count; k++)
			for (uint32_t n = 0; n <= f->v[k].cap_len; n++)
				compare_with_plain(linktypes[i], f->bytes + f->v[k].at, n);
		for (uint32_t k = 0; k < 2000; k++) {
			for (uint32_t b = 0; b < sizeof noise; b++)
				noise[b] = (uint8_t)dice_roll(&dice, 256);
			compare_with_plain(linktypes[i], noise, dice_roll(&dice, sizeof noise + 1));
		}
	}
	frames_close(&f);
}

/* --- where --headers-only cuts --- */

static uint32_t
kept(const struct draft *d, uint16_t linktype)
{
	struct dissection x;
	uint8_t *p = alone(d->p, d->n, 0x55);
	dissect(linktype, p, d->n, &x);
	uint32_t end = dissect_headers_end(&x, p, d->n);
	free(p);
	return end;
}

/* Adds payload: what is kept must end before it. */
static void
assert_cut_here(struct draft *d)
{
	uint32_t headers = d->n;
	draft_fill(d, 100);
	draft_finish(d);
	assert_int_equal(kept(d, LINK_ETHERNET), headers);
}

static void
keeps_through_the_transport_header(void **state)
{
	(void)state;
	struct draft d;
	static const uint8_t options[12] = { 1, 1, 8, 10 };
	draft_start(&d);
	draft_ethernet(&d, ETHER_IP4);
	draft_ip4(&d, 1, 2, PROTO_TCP, options, 12);
	draft_tcp(&d, 1, 2, 3, 4, 16, options, 12);
	assert_cut_here(&d);
	draft_start(&d);
	draft_ethernet(&d, ETHER_VLAN);
	draft_tag(&d, 7, ETHER_IP6);
	draft_ip6(&d, 1, 2, PROTO_UDP);
	draft_udp(&d, 5, 6);
	assert_cut_here(&d);
	draft_start(&d);
	draft_ethernet(&d, ETHER_IP4);
	draft_ip4(&d, 1, 2, 89, NULL, 0); /* OSPF: no transport that is understood */
	assert_cut_here(&d);
	draft_start(&d);
	draft_ethernet(&d, ETHER_IP4);
	draft_ip4(&d, 1, 2, PROTO_ICMP, NULL, 0);
	draft_icmp(&d, 8, 0, 1);
	assert_cut_here(&d);
}

static void
put_inner_tcp(struct draft *d)
{
	draft_ip4(d, 3, 4, PROTO_TCP, NULL, 0);
	draft_tcp(d, 1, 2, 3, 4, 16, NULL, 0);
}

static void
keeps_through_the_innermost_header_of_tunnels(void **state)
{
	(void)state;
	struct draft d;
	draft_start(&d); /* IP in IP */
	draft_ethernet(&d, ETHER_IP4);
	draft_ip4(&d, 1, 2, PROTO_IP4_IN, NULL, 0);
	put_inner_tcp(&d);
	assert_cut_here(&d);
	draft_start(&d); /* IPv4 in IPv6 */
	draft_ethernet(&d, ETHER_IP6);
	draft_ip6(&d, 1, 2, PROTO_IP4_IN);
	put_inner_tcp(&d);
	assert_cut_here(&d);
	draft_start(&d); /* GRE with checksum, key and sequence number */
	draft_ethernet(&d, ETHER_IP4);
	draft_ip4(&d, 1, 2, PROTO_GRE, NULL, 0);
	draft_number(&d, 0xb0000800, 4);
	draft_fill(&d, 12);
	put_inner_tcp(&d);
	assert_cut_here(&d);
	draft_start(&d); /* GRE, Ethernet, VLAN */
	draft_ethernet(&d, ETHER_IP4);
	draft_ip4(&d, 1, 2, PROTO_GRE, NULL, 0);
	draft_number(&d, 0x00006558, 4);
	draft_ethernet(&d, ETHER_VLAN);
	draft_tag(&d, 1, ETHER_IP4);
	put_inner_tcp(&d);
	assert_cut_here(&d);
	draft_start(&d); /* VXLAN */
	draft_ethernet(&d, ETHER_IP4);
	draft_ip4(&d, 1, 2, PROTO_UDP, NULL, 0);
	draft_udp(&d, 40000, 4789);
	draft_number(&d, 0x0800000000000100, 8);
	draft_ethernet(&d, ETHER_IP4);
	put_inner_tcp(&d);
	assert_cut_here(&d);
	draft_start(&d); /* MPLS, two labels */
	draft_ethernet(&d, ETHER_MPLS);
	draft_number(&d, 0x0001004000020140, 8);
	put_inner_tcp(&d);
	assert_cut_here(&d);
}

static void
follows_eight_tunnels_and_no_more(void **state)
{
	(void)state;
	for (unsigned depth = 1; depth <= 12; depth++) {
		struct draft d;
		draft_start(&d);
		draft_ethernet(&d, ETHER_IP4);
		for (unsigned i = 0; i < depth; i++)
			draft_ip4(&d, 1, 2, PROTO_IP4_IN, NULL, 0);
		uint32_t after_all = d.n + 40;
		put_inner_tcp(&d);
		draft_fill(&d, 60);
		draft_finish(&d);
		uint32_t expected = depth <= DISSECT_TUNNELS_MAX ? after_all : 14 + 20 * (DISSECT_TUNNELS_MAX + 1);
		assert_int_equal(kept(&d, LINK_ETHERNET), expected);
	}
}

static void
keeps_what_an_icmp_error_quotes(void **state)
{
	(void)state;
	struct draft d;
	draft_start(&d);
	draft_ethernet(&d, ETHER_IP4);
	draft_ip4(&d, 1, 2, PROTO_ICMP, NULL, 0);
	draft_icmp(&d, 3, 1, 0);
	draft_ip4(&d, 2, 3, PROTO_UDP, NULL, 0);
	draft_udp(&d, 33434, 33435);
	assert_cut_here(&d);
	draft_start(&d); /* RFC 792: eight bytes of the quoted packet's transport: all there is of TCP */
	draft_ethernet(&d, ETHER_IP4);
	draft_ip4(&d, 1, 2, PROTO_ICMP, NULL, 0);
	draft_icmp(&d, 11, 0, 0);
	draft_ip4(&d, 2, 3, PROTO_TCP, NULL, 0);
	draft_fill(&d, 8);
	draft_finish(&d);
	assert_int_equal(kept(&d, LINK_ETHERNET), d.n);
	draft_start(&d);
	draft_ethernet(&d, ETHER_IP6);
	draft_ip6(&d, 1, 2, PROTO_ICMP6);
	draft_icmp(&d, 1, 4, 0);
	draft_ip6(&d, 2, 3, PROTO_UDP);
	draft_udp(&d, 33434, 33435);
	assert_cut_here(&d);
	draft_start(&d); /* neighbour solicitation: its target */
	draft_ethernet(&d, ETHER_IP6);
	draft_ip6(&d, 1, 2, PROTO_ICMP6);
	draft_icmp(&d, 135, 0, 0);
	draft_fill(&d, 16);
	assert_cut_here(&d);
}

static void
keeps_arp_whole_and_of_the_unknown_the_link_header(void **state)
{
	(void)state;
	struct draft d;
	draft_start(&d);
	draft_ethernet(&d, ETHER_ARP);
	draft_number(&d, 0x0001080006040001, 8);
	draft_fill(&d, 20);
	assert_cut_here(&d);
	draft_start(&d);
	draft_ethernet(&d, 0x88cc);
	assert_cut_here(&d);
	draft_start(&d);
	draft_fill(&d, 50);
	assert_int_equal(kept(&d, 105), 0); /* a link type that is not understood: nothing is known to be a header */
}

static void
an_answer_has_the_type_of_its_question(void **state)
{
	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		assert_int_equal(icmp_answer(TRANSPORT_ICMP, icmp_answer(TRANSPORT_ICMP, (uint8_t)type)), type);
		assert_int_equal(icmp_answer(TRANSPORT_ICMP6, icmp_answer(TRANSPORT_ICMP6, (uint8_t)type)), type);
	}
	assert_int_equal(icmp_answer(TRANSPORT_ICMP, 8), 0);
	assert_int_equal(icmp_answer(TRANSPORT_ICMP, 13), 14);
	assert_int_equal(icmp_answer(TRANSPORT_ICMP, 3), 3);
	assert_int_equal(icmp_answer(TRANSPORT_ICMP6, 128), 129);
	assert_int_equal(icmp_answer(TRANSPORT_ICMP6, 135), 135);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_with_a_plain_reading_of_random_frames),
		cmocka_unit_test(agrees_with_a_plain_reading_of_noise_and_of_every_truncation),
		cmocka_unit_test(keeps_through_the_transport_header),
		cmocka_unit_test(keeps_through_the_innermost_header_of_tunnels),
		cmocka_unit_test(follows_eight_tunnels_and_no_more),
		cmocka_unit_test(keeps_what_an_icmp_error_quotes),
		cmocka_unit_test(keeps_arp_whole_and_of_the_unknown_the_link_header),
		cmocka_unit_test(an_answer_has_the_type_of_its_question),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
