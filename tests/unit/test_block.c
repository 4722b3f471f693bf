/* Blocks of made-up records there and back: what is rare, broken or extreme in traffic. Real and generated traffic is in
 * test_block_real.c. */
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

#include "archive/block.h"
#include "archive/dissect.h"
#include "base/bytes.h"
#include "tests/support/block_trip.h"
#include "tests/support/draft.h"
#include "tests/support/filter_cases.h"

static struct trip *trip;
static struct frames *frames;

static int
open_all(void **state)
{
	(void)state;
	return trip_open(&trip, NULL) != OK || frames_open(&frames, BLOCK_BYTES_MAX) != OK;
}

static int
close_all(void **state)
{
	(void)state;
	trip_close(&trip);
	frames_close(&frames);
	return 0;
}

static int
empty(void **state)
{
	(void)state;
	frames_reset(frames);
	return 0;
}

/* Whole, and cut to headers. */
static void
both_ways(void)
{
	for (unsigned headers_only = 0; headers_only < 2; headers_only++) {
		const char *said = trip_run(trip, frames, headers_only);
		if (said)
			fail_msg("%s%s", headers_only ? "headers only: " : "", said);
	}
}

static struct frame *
add(const struct draft *d)
{
	return draft_add(d, frames, 1700000000000000000 + frames->count * 1000ull, LINK_ETHERNET);
}

/* Ethernet, IPv4, TCP with a few bytes of payload. */
static void
plain_tcp(struct draft *d, uint32_t src, uint32_t dst, uint16_t sport, uint16_t dport)
{
	draft_start(d);
	draft_ethernet(d, ETHER_IP4);
	draft_ip4(d, src, dst, PROTO_TCP, NULL, 0);
	draft_tcp(d, sport, dport, 1000, 2000, 24, NULL, 0);
	draft_fill(d, 9);
	draft_finish(d);
}

/* --- lengths --- */

static void
keeps_one_record_and_one_without_bytes(void **state)
{
	(void)state;
	static const uint16_t linktypes[] = { LINK_NULL, LINK_ETHERNET, LINK_RAW, LINK_SLL, LINK_SLL2, 105, 65535 };
	struct draft d;
	for (size_t i = 0; i < sizeof linktypes / sizeof linktypes[0]; i++) {
		frames_reset(frames);
		draft_start(&d);
		draft_add(&d, frames, 5, linktypes[i]);
		both_ways();
		frames->v[0].wire_len = 1514;
		both_ways();
	}
	frames_reset(frames);
	plain_tcp(&d, 1, 2, 3, 4);
	add(&d);
	both_ways();
}

static void
keeps_65536_records_without_bytes(void **state)
{
	(void)state;
	struct draft d;
	draft_start(&d);
	for (uint32_t i = 0; i < BLOCK_RECORDS_MAX; i++) {
		struct frame *f = add(&d);
		f->wire_len = i * 65537;
		f->iface = (uint16_t)i; /* every one another link header */
	}
	both_ways();
}

static void
keeps_wire_lengths_that_contradict_the_capture(void **state)
{
	(void)state;
	static const uint32_t lengths[] = { 0, 1, 13, 14, 33, 34, 53, 59, 60, 61, 62, 63, 64, 65535, 65549, 65550, UINT32_MAX - 14,
		UINT32_MAX - 1, UINT32_MAX };
	struct draft d;
	for (unsigned kind = 0; kind < 3; kind++)
		for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
			draft_start(&d);
			draft_ethernet(&d, kind == 0 ? ETHER_IP4 : kind == 1 ? ETHER_IP6 : 0x88cc);
			if (kind == 0)
				draft_ip4(&d, 1, 2, PROTO_UDP, NULL, 0);
			else if (kind == 1)
				draft_ip6(&d, 1, 2, PROTO_UDP);
			draft_udp(&d, 7, 8);
			draft_fill(&d, (uint32_t)i);
			draft_finish(&d);
			add(&d)->wire_len = lengths[i];
		}
	both_ways();
}

static void
keeps_records_of_eight_mebibytes(void **state)
{
	(void)state;
	struct draft d;
	plain_tcp(&d, 1, 2, 3, 4);
	for (unsigned i = 0; i < 2; i++) {
		struct frame *f = add(&d);
		uint32_t rest = RECORD_BYTES_MAX - f->cap_len;
		for (uint32_t k = 0; k < rest; k++)
			frames->bytes[frames->used_bytes + k] = (uint8_t)(k * k >> 7);
		frames->used_bytes += rest;
		f->cap_len = RECORD_BYTES_MAX;
		f->wire_len = i ? RECORD_BYTES_MAX : 99;
		f->linktype = i ? LINK_ETHERNET : 147;
	}
	both_ways();
}

static void
keeps_every_ip_length_with_every_checksum(void **state)
{
	(void)state;
	static const uint16_t lengths[] = { 0, 1, 19, 20, 27, 28, 29, 40, 41, 47, 48, 49, 1500, 65535 };
	struct draft d;
	for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
		for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
			draft_start(&d);
			draft_ethernet(&d, k % 2 ? ETHER_IP6 : ETHER_IP4);
			if (k % 2)
				draft_ip6(&d, 1, 2, PROTO_UDP);
			else
				draft_ip4(&d, 1, 2, PROTO_UDP, NULL, 0);
			draft_udp(&d, 7, 8);
			draft_fill(&d, 20);
			draft_finish(&d);
			store_be16(d.p + 14 + (k % 2 ? 4 : 2), lengths[i]);
			store_be16(d.p + d.l4_at + 4, lengths[k]);
			add(&d);
		}
	both_ways();
}

/* --- times --- */

static void
with_times(const uint64_t *times, uint32_t n)
{
	struct draft d;
	plain_tcp(&d, 1, 2, 3, 4);
	frames_reset(frames);
	for (uint32_t i = 0; i < n; i++)
		draft_add(&d, frames, times[i], LINK_ETHERNET);
	both_ways();
}

static void
keeps_times_at_both_ends_of_their_range(void **state)
{
	(void)state;
	static const uint64_t end = UINT64_MAX, us = UINT64_MAX / 1000 * 1000, s = UINT64_MAX / 1000000000 * 1000000000,
	                      half = (uint64_t)1 << 63;
	const uint64_t sets[][6] = {
		{ 0, 0, 0, 0, 0, 0 },
		{ end, end, end, end, end, end },
		{ 0, end, 0, end, 1, end - 1 },
		{ 0, us, 0, us, 1000, us - 1000 },
		{ us, 0, us - 1000, 2000, us, 0 },
		{ 0, s, 0, s, 1000000000, s },
		{ s, 0, s, 0, 0, s },
		{ 0, half, end, half - 1, half + 1, 0 },
		{ 0, half / 1000 * 1000, us, 1000, half / 1000 * 1000 + 1000, 0 },
		{ 5, 4, 3, 2, 1, 0 },
		{ 0, UINT32_MAX, 2ull * UINT32_MAX + 1, 2ull * UINT32_MAX, 0, 1ull << 33 },
		{ 0, UINT32_MAX * 1000ull, 3ull * UINT32_MAX * 1000, UINT32_MAX * 1000ull, 0, 7000 },
	};
	for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++)
		for (uint32_t n = 1; n <= 6; n++)
			with_times(sets[i], n);
}

static void
keeps_times_in_any_order(void **state)
{
	(void)state;
	struct dice dice = { 3 };
	static uint64_t times[3000];
	const uint32_t n = sizeof times / sizeof times[0];
	static const uint64_t units[] = { 1, 1000, 1000000, 1000000000 };
	for (unsigned shape = 0; shape < 4; shape++)
		for (unsigned u = 0; u < 4; u++) {
			uint64_t now = 1700000000000000000;
			for (uint32_t i = 0; i < n; i++) {
				uint64_t step = dice_roll(&dice, 1000) * units[u];
				bool back = shape == 1 ? dice_roll(&dice, 2) : shape == 2 ? dice_roll(&dice, 50) == 0 : false;
				now += back ? 0 - step : step;
				times[i] = shape == 3 ? (uint64_t)dice_roll(&dice, UINT32_MAX) * units[u] : now;
			}
			with_times(times, n);
		}
}

/* --- tuples --- */

static void
keeps_65536_records_of_one_conversation(void **state)
{
	(void)state;
	struct draft d;
	for (uint32_t i = 0; i < BLOCK_RECORDS_MAX; i++) {
		bool back = i * 7 % 3 == 0;
		plain_tcp(&d, back ? 9 : 5, back ? 5 : 9, back ? 80 : 4000, back ? 4000 : 80);
		store_be32(d.p + d.l4_at + 4, i * (back ? 1460 : 9));
		add(&d);
	}
	both_ways();
}

static void
keeps_65536_records_of_as_many_conversations(void **state)
{
	(void)state;
	struct draft d;
	for (uint32_t i = 0; i < BLOCK_RECORDS_MAX; i++) {
		plain_tcp(&d, i * 2654435761u, i * 40503u, (uint16_t)(i * 31), (uint16_t)(i * 7));
		add(&d);
	}
	both_ways();
	for (uint32_t i = 0; i < BLOCK_RECORDS_MAX; i++) { /* the same with IPv6 addresses, all different */
		struct frame *f = &frames->v[i];
		uint8_t *p = frames->bytes + f->at;
		memmove(p + 54, p + 34, 9); /* 43 bytes behind the link header: IPv6 and three more */
		store_be16(p + 12, ETHER_IP6);
		memset(p + 14, 0, 40);
		p[14] = 0x60;
		p[20] = 59;
		store_be32(p + 22 + 12 - i % 13, i * 2654435761u);
		store_be32(p + 38 + i % 12, ~i);
	}
	both_ways();
}

/* Strings of options are numbered; a block can have two new ones with each record. */
static void
keeps_65536_records_with_as_many_different_ip_and_tcp_options(void **state)
{
	(void)state;
	struct draft d;
	for (uint32_t i = 0; i < BLOCK_RECORDS_MAX; i++) {
		uint8_t ip[8] = { 7, 7, 4 }, tcp[8] = { 253, 8 };
		store_be32(ip + 3, i);
		store_be32(tcp + 2, ~i);
		draft_start(&d);
		draft_ethernet(&d, ETHER_IP4);
		draft_ip4(&d, 1, 2, PROTO_TCP, ip, sizeof ip);
		draft_tcp(&d, 3, 4, i, 0, 16, tcp, sizeof tcp);
		draft_finish(&d);
		add(&d);
	}
	both_ways();
}

static void
keeps_icmp_questions_and_answers_in_both_orders(void **state)
{
	(void)state;
	struct draft d;
	for (unsigned type = 0; type < 256; type++)
		for (unsigned turn = 0; turn < 4; turn++) {
			bool v6 = turn / 2;
			draft_start(&d);
			draft_ethernet(&d, v6 ? ETHER_IP6 : ETHER_IP4);
			if (v6)
				draft_ip6(&d, turn % 2 ? 9 : 3, turn % 2 ? 3 : 9, PROTO_ICMP6);
			else
				draft_ip4(&d, turn % 2 ? 9 : 3, turn % 2 ? 3 : 9, PROTO_ICMP, NULL, 0);
			draft_icmp(&d, (uint8_t)type, (uint8_t)(type % 3), type / 4);
			draft_fill(&d, type % 40);
			draft_finish(&d);
			add(&d);
		}
	both_ways();
}

/* The one case in which a checksum has two right values: all that it covers is zero. */
static void
keeps_an_icmp_message_of_zeros_with_every_checksum_near_zero(void **state)
{
	(void)state;
	static const uint16_t sums[] = { 0, 0xffff, 1, 0xfffe, 0, 0xffff, 0xffff, 0, 0x8000 };
	struct draft d;
	for (size_t i = 0; i < sizeof sums / sizeof sums[0]; i++)
		for (uint32_t payload = 0; payload < 3; payload++) {
			draft_start(&d);
			draft_ethernet(&d, ETHER_IP4);
			draft_ip4(&d, 1, 2, PROTO_ICMP, NULL, 0);
			draft_icmp(&d, 0, 0, 0);
			draft_number(&d, 0, payload);
			draft_finish(&d);
			store_be16(d.p + d.l4_at + 2, sums[i]);
			add(&d);
		}
	both_ways();
}

static void
keeps_records_from_a_host_to_itself(void **state)
{
	(void)state;
	struct draft d;
	for (unsigned i = 0; i < 60; i++) {
		uint16_t sport = i % 3 ? 5 : 6, dport = i % 5 ? 5 : 6;
		plain_tcp(&d, 0x7f000001, 0x7f000001, sport, dport);
		store_be32(d.p + d.l4_at + 4, i * 9);
		add(&d);
		draft_start(&d);
		draft_ethernet(&d, ETHER_IP6);
		draft_ip6(&d, 1, 1, i % 2 ? PROTO_ICMP6 : PROTO_UDP);
		if (i % 2)
			draft_icmp(&d, i % 4 == 1 ? 128 : 129, 0, i / 2);
		else
			draft_udp(&d, sport, dport);
		draft_fill(&d, i);
		draft_finish(&d);
		add(&d);
	}
	both_ways();
}

static void
keeps_more_link_headers_for_one_conversation_than_are_looked_up(void **state)
{
	(void)state;
	struct draft d;
	for (unsigned i = 0; i < 3000; i++) {
		bool back = i % 3 == 0;
		plain_tcp(&d, back ? 9 : 5, back ? 5 : 9, back ? 80 : 4000, back ? 4000 : 80);
		store_be16(d.p + 4, (uint16_t)(i % 200)); /* destination MAC */
		add(&d);
	}
	both_ways();
}

/* --- headers --- */

static void
put_rich(struct draft *d, unsigned kind)
{
	static const uint8_t tcp_options[32] = { 2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7, 5, 10, 0, 0, 0, 9,
		0, 0, 0, 12, 0, 0 };
	static const uint8_t ip_options[12] = { 148, 4, 0, 0, 7, 7, 4, 1, 2, 3, 4, 0 };
	static const uint8_t extensions[32] = { 60, 0, 1, 4, 0, 0, 0, 0, 43, 0, 1, 4, 0, 0, 0, 0, 44, 0, 4, 0, 0, 0, 0, 0,
		PROTO_TCP, 0, 0, 1, 0, 0, 1, 2 };
	draft_start(d);
	draft_ethernet(d, ETHER_QINQ);
	draft_tag(d, 100, ETHER_VLAN);
	draft_tag(d, 0x2000 | 7, kind == 2 ? ETHER_MPLS : kind == 1 ? ETHER_IP6 : ETHER_IP4);
	if (kind == 2)
		draft_number(d, 0x0001004000020140, 8);
	if (kind == 1) {
		draft_ip6(d, 1, 2, PROTO_HOP_BY_HOP);
		draft_put(d, extensions, sizeof extensions);
		draft_transport_here(d, PROTO_TCP);
	} else {
		draft_ip4(d, 1, 2, PROTO_TCP, ip_options, sizeof ip_options);
	}
	draft_tcp(d, 1000, 80, 1, 2, 24, tcp_options, sizeof tcp_options);
	draft_fill(d, 13);
	draft_finish(d);
}

static void
keeps_every_truncation_of_rich_packets(void **state)
{
	(void)state;
	struct draft d;
	for (unsigned kind = 0; kind < 3; kind++) {
		put_rich(&d, kind);
		for (uint32_t whole = d.n, n = 0; n <= whole; n++) {
			d.n = n;
			add(&d)->wire_len = whole;
			add(&d);
		}
	}
	both_ways();
}

static void
keeps_every_flipped_bit_of_rich_packets(void **state)
{
	(void)state;
	struct draft d;
	for (unsigned kind = 0; kind < 3; kind++) {
		put_rich(&d, kind);
		for (uint32_t bit = 0; bit < 8 * d.n; bit++) {
			d.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
			add(&d);
			d.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (bit % 16 == 0)
				add(&d); /* what is predicted from it comes right again */
		}
	}
	both_ways();
}

static void
keeps_every_length_and_kind_of_tcp_option(void **state)
{
	(void)state;
	struct dice dice = { 4 };
	struct draft d;
	for (unsigned i = 0; i < 6000; i++) {
		uint8_t options[40];
		uint32_t n = dice_roll(&dice, 11) * 4;
		for (uint32_t k = 0; k < n; k++)
			options[k] = (uint8_t)dice_roll(&dice, dice_roll(&dice, 2) ? 12 : 256);
		if (n >= 12 && dice_roll(&dice, 2))
			memcpy(options, "\1\1\5\12", 4);
		draft_start(&d);
		draft_ethernet(&d, ETHER_IP4);
		draft_ip4(&d, 5, 6, PROTO_TCP, NULL, 0);
		draft_tcp(&d, 1, 2, dice_roll(&dice, 3), dice_roll(&dice, 3) * 0x7fffffff, (uint8_t)dice_roll(&dice, 256), options, n);
		draft_finish(&d);
		if (dice_roll(&dice, 8) == 0) /* a data offset that is too small, or says more than there is */
			d.p[d.l4_at + 12] = (uint8_t)dice_roll(&dice, 256);
		if (dice_roll(&dice, 8) == 0)
			store_be16(d.p + d.l4_at + 18, (uint16_t)dice_roll(&dice, 3));
		add(&d);
	}
	both_ways();
}

static void
keeps_up_to_20_tags_and_20_labels(void **state)
{
	(void)state;
	static const uint16_t tags[] = { ETHER_VLAN, ETHER_QINQ, ETHER_QINQ_OLD };
	struct draft d;
	for (unsigned vlans = 0; vlans <= 20; vlans++)
		for (unsigned labels = 0; labels <= 20; labels++) {
			uint16_t inner = labels ? labels % 2 ? ETHER_MPLS : ETHER_MPLS_MULTI : ETHER_IP4;
			draft_start(&d);
			draft_ethernet(&d, vlans ? tags[vlans % 3] : inner);
			for (unsigned i = 0; i < vlans; i++)
				draft_tag(&d, (uint16_t)(i * 300), i + 1 < vlans ? tags[i % 3] : inner);
			for (unsigned i = 0; i < labels; i++)
				draft_number(&d, 0x00100040 + i * 0x1000 + (i + 1 == labels) * 0x100, 4);
			draft_ip4(&d, 1, 2, PROTO_UDP, NULL, 0);
			draft_udp(&d, 3, 4);
			draft_finish(&d);
			add(&d);
		}
	both_ways();
}

static void
keeps_udp_checksums_that_are_zero_or_wrong_or_right(void **state)
{
	(void)state;
	struct draft d;
	for (unsigned i = 0; i < 400; i++) {
		draft_start(&d);
		draft_ethernet(&d, i % 2 ? ETHER_IP6 : ETHER_IP4);
		if (i % 2)
			draft_ip6(&d, 1, 2, PROTO_UDP);
		else
			draft_ip4(&d, 1, 2, PROTO_UDP, NULL, 0);
		draft_udp(&d, 3, 4);
		draft_number(&d, i < 200 ? 0 : i * 1234567u, 4); /* equal payloads, then others */
		draft_finish(&d);
		if (i % 5 == 0)
			store_be16(d.p + d.l4_at + 6, 0);
		else if (i % 5 == 1)
			d.p[d.l4_at + 6] ^= 1;
		struct frame *f = add(&d);
		if (i % 3 == 0)
			f->cap_len -= 2; /* its payload is cut: the checksum can only be as last time */
	}
	both_ways();
}

static void
keeps_extension_headers_up_to_and_over_the_limit(void **state)
{
	(void)state;
	static const uint8_t kinds[] = { 0, 43, 60, 135, 51 };
	struct draft d;
	for (unsigned units = 0; units < 70; units++)
		for (unsigned k = 0; k < 5; k++) {
			draft_start(&d);
			draft_ethernet(&d, ETHER_IP6);
			draft_ip6(&d, 1, 2, kinds[k]);
			draft_number(&d, PROTO_UDP, 1);
			draft_number(&d, units, 1);
			draft_fill(&d, k == 4 ? units * 4 + 6 : units * 8 + 6);
			draft_transport_here(&d, PROTO_UDP);
			draft_udp(&d, 3, 4);
			draft_fill(&d, 5);
			draft_finish(&d);
			add(&d);
		}
	both_ways();
}

static void
keeps_every_fragment_of_both_families(void **state)
{
	(void)state;
	struct draft d;
	for (unsigned i = 0; i < 600; i++) {
		uint16_t frag = (uint16_t)(i % 3 ? 0x2000 | i * 185 / 8 : i);
		draft_start(&d);
		draft_ethernet(&d, i % 2 ? ETHER_IP6 : ETHER_IP4);
		if (i % 2) {
			draft_ip6(&d, 1, 2, PROTO_FRAGMENT);
			draft_number(&d, PROTO_UDP, 1);
			draft_number(&d, i % 7 ? 0 : 5, 1);
			draft_number(&d, (uint16_t)(i % 4 ? i * 185 & 0xfff8 : i % 16), 2);
			draft_number(&d, i, 4);
			draft_transport_here(&d, PROTO_UDP);
		} else {
			draft_ip4(&d, 1, 2, PROTO_UDP, NULL, 0);
			store_be16(d.p + d.ip_at + 6, frag);
		}
		draft_udp(&d, 3, 4);
		draft_fill(&d, i % 50);
		draft_finish(&d);
		add(&d);
	}
	both_ways();
}

/* --- mixtures --- */

static void
keeps_random_frames_of_all_link_types_and_interfaces_together(void **state)
{
	(void)state;
	static const uint16_t linktypes[] = { 0, 1, 12, 14, 101, 108, 113, 228, 229, 276, 105, 147 };
	struct dice dice = { 5 };
	for (unsigned round = 0; round < 6; round++) {
		frames_reset(frames);
		for (unsigned i = 0; i < 800; i++)
			make_frames(frames, &dice, linktypes[dice_roll(&dice, 12)], dice_roll(&dice, 12));
		for (uint32_t i = 0; i < frames->count; i++) {
			frames->v[i].iface = (uint16_t)(dice_roll(&dice, 3) * 32767);
			frames->v[i].ts_ns = 1700000000000000000 + i * 10 + dice_roll(&dice, 1000);
		}
		both_ways();
	}
}

static void
takes_no_more_records_and_bytes_than_a_block_holds(void **state)
{
	(void)state;
	struct block_encoder *e = NULL;
	struct block b = { 0 };
	assert_int_equal(block_encoder_open(&e), OK);
	assert_int_equal(block_encode(e, frames, false, &b), ERR_LIMIT); /* none */
	struct draft d;
	draft_start(&d);
	for (unsigned i = 0; i < 3; i++) {
		add(&d)->cap_len = RECORD_BYTES_MAX;
		frames->v[i].at = 0;
	}
	assert_int_equal(block_encode(e, frames, false, &b), ERR_LIMIT);
	block_encoder_close(&e);
	block_encoder_close(&e);
}

/* Habits of packing are learned from block to block, and from nothing else. */
static void
the_same_blocks_in_the_same_order_give_the_same_bytes_in_every_encoder(void **state)
{
	(void)state;
	struct block_encoder *e[2] = { NULL, NULL };
	struct dice dice = { 6 };
	static const uint8_t key[BLOCK_KEY_BYTES];
	make_frames(frames, &dice, LINK_ETHERNET, 3000);
	assert_int_equal(block_encoder_open(&e[0]), OK);
	assert_int_equal(block_encoder_open(&e[1]), OK);
	for (unsigned round = 0; round < 8; round++) {
		struct block b[2];
		frames->count = round % 3 == 1 ? 100 : 3000;
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(block_encode(e[i], frames, round % 3 == 1, &b[i]), OK);
			/* the block's header is written with the seal; so is the tag of each chunk */
			block_seal(e[i], &b[i], key);
		}
		assert_int_equal(b[0].stored_bytes, b[1].stored_bytes);
		assert_memory_equal(b[0].stored, b[1].stored, b[0].stored_bytes);
	}
	block_encoder_close(&e[0]);
	block_encoder_close(&e[1]);
}

int
main(void)
{
#define CASE(test) cmocka_unit_test_setup(test, empty)
	const struct CMUnitTest tests[] = {
		CASE(keeps_one_record_and_one_without_bytes),
		CASE(keeps_65536_records_without_bytes),
		CASE(keeps_wire_lengths_that_contradict_the_capture),
		CASE(keeps_records_of_eight_mebibytes),
		CASE(keeps_every_ip_length_with_every_checksum),
		CASE(keeps_times_at_both_ends_of_their_range),
		CASE(keeps_times_in_any_order),
		CASE(keeps_65536_records_of_one_conversation),
		CASE(keeps_65536_records_of_as_many_conversations),
		CASE(keeps_65536_records_with_as_many_different_ip_and_tcp_options),
		CASE(keeps_icmp_questions_and_answers_in_both_orders),
		CASE(keeps_an_icmp_message_of_zeros_with_every_checksum_near_zero),
		CASE(keeps_records_from_a_host_to_itself),
		CASE(keeps_more_link_headers_for_one_conversation_than_are_looked_up),
		CASE(keeps_every_truncation_of_rich_packets),
		CASE(keeps_every_flipped_bit_of_rich_packets),
		CASE(keeps_every_length_and_kind_of_tcp_option),
		CASE(keeps_up_to_20_tags_and_20_labels),
		CASE(keeps_udp_checksums_that_are_zero_or_wrong_or_right),
		CASE(keeps_extension_headers_up_to_and_over_the_limit),
		CASE(keeps_every_fragment_of_both_families),
		CASE(keeps_random_frames_of_all_link_types_and_interfaces_together),
		CASE(takes_no_more_records_and_bytes_than_a_block_holds),
		CASE(the_same_blocks_in_the_same_order_give_the_same_bytes_in_every_encoder),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
