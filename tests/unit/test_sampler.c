#include <math.h>
#include <sodium.h>
#include <string.h>

#include "archive/dissect.h"
#include "base/bytes.h"
#include "ingest/sampler.h"
#include "tests/support/unit.h"

#define ROUNDS 1000000u

static const uint8_t seed[SAMPLER_SEED_BYTES] = "thirty-two bytes of a test seed";

/* |count - n p| within five standard deviations of a binomial. */
static void
assert_share(double count, double n, double p)
{
	double sigma = sqrt(n * p * (1 - p));
	if (fabs(count - n * p) > 5 * sigma)
		print_message("%.0f of %.0f, expected %.0f +- %.0f\n", count, n, n * p, sigma);
	assert_true(fabs(count - n * p) <= 5 * sigma);
}

static void
every_nth_is_exact(void **state)
{
	(void)state;
	static const uint32_t rates[] = { 1, 2, 3, 7, 100, 65536 };
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		struct sampler s;
		sampler_init(&s, SAMPLER_COUNT, rates[i], seed);
		for (uint32_t k = 0; k < 200000; k++)
			assert_int_equal(sampler_keeps(&s, LINK_ETHERNET, NULL, 0), k % rates[i] == 0);
	}
}

static void
random_choice_has_its_share_and_no_memory(void **state)
{
	(void)state;
	static const uint32_t rates[] = { 1, 2, 3, 10, 1000 };
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		struct sampler s;
		double p = 1.0 / rates[i], kept = 0, pairs = 0, gaps = 0, squares = 0;
		uint32_t last = 0;
		bool before = false;
		sampler_init(&s, SAMPLER_RANDOM, rates[i], seed);
		for (uint32_t k = 0; k < ROUNDS; k++) {
			bool now = sampler_keeps(&s, LINK_ETHERNET, NULL, 0);
			if (now) {
				gaps += k - last;
				squares += (double)(k - last) * (k - last);
				last = k;
			}
			kept += now;
			pairs += now && before;
			before = now;
		}
		if (rates[i] == 1) {
			assert_true(kept == ROUNDS);
			continue;
		}
		assert_share(kept, ROUNDS, p);
		assert_share(pairs, ROUNDS, p * p); /* independent of the one before, a little wider than binomial */
		double mean = gaps / kept, variance = squares / kept - mean * mean;
		assert_true(fabs(mean - rates[i]) < 5 * rates[i] / sqrt(kept));
		assert_true(fabs(variance / ((1 - p) / (p * p)) - 1) < 0.3);
	}
}

static void
a_seed_repeats_its_choice_and_another_does_not(void **state)
{
	(void)state;
	struct sampler a, b, c;
	const uint8_t other[SAMPLER_SEED_BYTES] = { 1 };
	unsigned same = 0;
	sampler_init(&a, SAMPLER_RANDOM, 10, seed);
	sampler_init(&b, SAMPLER_RANDOM, 10, seed);
	sampler_init(&c, SAMPLER_RANDOM, 10, other);
	for (uint32_t k = 0; k < 10000; k++) {
		bool x = sampler_keeps(&a, 1, NULL, 0);
		assert_int_equal(x, sampler_keeps(&b, 1, NULL, 0));
		same += x == sampler_keeps(&c, 1, NULL, 0);
	}
	assert_in_range(same, 7500, 9000); /* 0.82 by chance */
}

/* --- flows --- */

static uint8_t packet[200 + FRAMES_SLACK];

static void
put_ends(uint8_t *src, uint8_t *dst, size_t n, uint64_t flow, bool back)
{
	uint8_t a[16] = { 10, 1 }, b[16] = { 172, 16 };
	store_be32(a + n - 4, 0x0a000000u | (uint32_t)(flow * 2654435761u >> 8 & 0xffffff));
	store_be32(b + n - 4, 0xac100000u | (uint32_t)(flow & 0xffff));
	memcpy(src, back ? b : a, n);
	memcpy(dst, back ? a : b, n);
}

/* TCP over IPv4 of this flow, in one of its directions. Returns its length. */
static uint32_t
make_ip4(uint64_t flow, bool back, uint16_t fragment)
{
	memset(packet, 0, sizeof packet);
	uint8_t *ip = packet + 14, *tcp = ip + 20;
	store_be16(packet + 12, ETHER_IP4);
	packet[back ? 0 : 6] = 2;
	ip[0] = 0x45;
	store_be16(ip + 2, 60);
	store_be16(ip + 6, fragment);
	ip[8] = 64;
	ip[9] = PROTO_TCP;
	put_ends(ip + 12, ip + 16, 4, flow, back);
	uint16_t a = (uint16_t)(1024 + flow % 60000), b = 443;
	store_be16(tcp, back ? b : a);
	store_be16(tcp + 2, back ? a : b);
	tcp[12] = 0x50;
	if ((fragment & 0x1fff) != 0)
		memset(tcp, 0xee, 20); /* payload */
	return 74;
}

static uint32_t
make_ip6(uint64_t flow, bool back)
{
	memset(packet, 0, sizeof packet);
	uint8_t *ip = packet + 14, *udp = ip + 40;
	store_be16(packet + 12, ETHER_IP6);
	ip[0] = 0x60;
	store_be16(ip + 4, 8);
	ip[6] = PROTO_UDP;
	put_ends(ip + 8, ip + 24, 16, flow, back);
	uint16_t a = (uint16_t)(1024 + flow % 60000), b = 53;
	store_be16(udp, back ? b : a);
	store_be16(udp + 2, back ? a : b);
	store_be16(udp + 4, 8);
	return 62;
}

static bool
keeps(struct sampler *s, uint32_t n)
{
	return sampler_keeps(s, LINK_ETHERNET, packet, n);
}

static void
both_directions_of_a_flow_go_together_and_flows_have_their_share(void **state)
{
	(void)state;
	static const uint32_t rates[] = { 2, 16, 100 };
	for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
		struct sampler s, finer;
		double kept4 = 0, kept6 = 0;
		sampler_init(&s, SAMPLER_FLOW, rates[i], seed);
		sampler_init(&finer, SAMPLER_FLOW, 2 * rates[i], seed);
		for (uint64_t flow = 0; flow < 50000; flow++) {
			bool there = keeps(&s, make_ip4(flow, false, 0));
			assert_int_equal(there, keeps(&s, make_ip4(flow, true, 0)));
			kept4 += there;
			if (keeps(&finer, make_ip4(flow, false, 0)))
				assert_true(there); /* nested */
			there = keeps(&s, make_ip6(flow, false));
			assert_int_equal(there, keeps(&s, make_ip6(flow, true)));
			kept6 += there;
		}
		assert_share(kept4, 50000, 1.0 / rates[i]);
		assert_share(kept6, 50000, 1.0 / rates[i]);
	}
}

static void
all_fragments_of_a_packet_go_together(void **state)
{
	(void)state;
	struct sampler s;
	sampler_init(&s, SAMPLER_FLOW, 4, seed);
	for (uint64_t flow = 0; flow < 2000; flow++) {
		bool first = keeps(&s, make_ip4(flow, false, 0x2000));
		assert_int_equal(first, keeps(&s, make_ip4(flow, false, 0x2003)));
		assert_int_equal(first, keeps(&s, make_ip4(flow, false, 0x0010)));
		assert_int_equal(first, keeps(&s, make_ip4(flow, true, 0x0010)));
	}
}

static void
what_is_not_ip_goes_by_its_link_header(void **state)
{
	(void)state;
	struct sampler s;
	double kept = 0;
	sampler_init(&s, SAMPLER_FLOW, 8, seed);
	for (uint32_t pair = 0; pair < 20000; pair++) {
		memset(packet, 0, sizeof packet);
		store_be32(packet, pair);
		store_be32(packet + 6, ~pair);
		store_be16(packet + 12, 0x88cc);
		bool there = keeps(&s, 60);
		store_be32(packet, ~pair);
		store_be32(packet + 6, pair);
		assert_int_equal(there, keeps(&s, 60));
		kept += there;
	}
	assert_share(kept, 20000, 1.0 / 8);
}

static void
garbage_of_any_length_is_decided_on(void **state)
{
	(void)state;
	static const uint16_t types[] = { LINK_NULL, LINK_ETHERNET, LINK_RAW, LINK_SLL, LINK_SLL2, LINK_IPV6, 147, 65535 };
	struct sampler s;
	uint8_t start[randombytes_SEEDBYTES] = { 0 };
	sampler_init(&s, SAMPLER_FLOW, 2, seed);
	for (uint32_t i = 0; i < 200000; i++) {
		if (i % 8 == 0) {
			store_le32(start, i);
			randombytes_buf_deterministic(packet, sizeof packet, start);
			packet[14] = i % 16 ? 0x45 : 0x60;
			store_be16(packet + 12, i % 16 ? ETHER_IP4 : ETHER_IP6);
		}
		bool there = sampler_keeps(&s, types[i % 8], packet, i % 180);
		assert_int_equal(there, sampler_keeps(&s, types[i % 8], packet, i % 180));
	}
}

static void
frames_say_how_they_were_chosen(void **state)
{
	(void)state;
	struct sampler s;
	struct frames f = { 0 };
	sampler_init(&s, SAMPLER_FLOW, 1, seed);
	sampler_mark(&s, &f);
	assert_int_equal(f.sampler, SAMPLER_ALL);
	assert_int_equal(f.sampled, 1);
	assert_false(sampler_looks(&s));
	sampler_rate(&s, 8);
	sampler_mark(&s, &f);
	assert_int_equal(f.sampler, SAMPLER_FLOW);
	assert_int_equal(f.sampled, 8);
	assert_true(sampler_looks(&s));
}

static void
ways_of_sampling_are_read(void **state)
{
	(void)state;
	enum sampler_kind kind = SAMPLER_ALL;
	uint32_t rate = 0;
	static const char *const bad[] = { "", "every", "every:", "every:0", "every:-1", "every:65537", "flow:x", "random:1.5",
		"sometimes:3", "10" };
	assert_int_equal(sampler_parse(&kind, &rate, "every:10"), OK);
	assert_true(kind == SAMPLER_COUNT && rate == 10);
	assert_int_equal(sampler_parse(&kind, &rate, "random:1"), OK);
	assert_true(kind == SAMPLER_RANDOM && rate == 1);
	assert_int_equal(sampler_parse(&kind, &rate, "flow:65536"), OK);
	assert_true(kind == SAMPLER_FLOW && rate == 65536);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(sampler_parse(&kind, &rate, bad[i]), ERR_USAGE);
	assert_true(kind == SAMPLER_FLOW && rate == 65536);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_nth_is_exact),
		cmocka_unit_test(random_choice_has_its_share_and_no_memory),
		cmocka_unit_test(a_seed_repeats_its_choice_and_another_does_not),
		cmocka_unit_test(both_directions_of_a_flow_go_together_and_flows_have_their_share),
		cmocka_unit_test(all_fragments_of_a_packet_go_together),
		cmocka_unit_test(what_is_not_ip_goes_by_its_link_header),
		cmocka_unit_test(garbage_of_any_length_is_decided_on),
		cmocka_unit_test(frames_say_how_they_were_chosen),
		cmocka_unit_test(ways_of_sampling_are_read),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
