#include "anonymize/addresses.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

struct kept4 {
	uint32_t prefix;
	uint8_t  bits, class;
};

struct kept6 {
	uint8_t prefix[16];
	uint8_t bits, class;
	bool    inside; /* the rest of the address stays, too */
};

#define IP4(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

static const struct kept4 kept4[] = {
	{ IP4(0, 0, 0, 0), 8, ADDRESS_SPECIAL },      { IP4(127, 0, 0, 0), 8, ADDRESS_SPECIAL },
	{ IP4(169, 254, 0, 0), 16, ADDRESS_SPECIAL }, { IP4(192, 0, 2, 0), 24, ADDRESS_SPECIAL },
	{ IP4(198, 51, 100, 0), 24, ADDRESS_SPECIAL },{ IP4(203, 0, 113, 0), 24, ADDRESS_SPECIAL },
	{ IP4(224, 0, 0, 0), 4, ADDRESS_MULTICAST },  { IP4(10, 0, 0, 0), 8, ADDRESS_PRIVATE },
	{ IP4(172, 16, 0, 0), 12, ADDRESS_PRIVATE },  { IP4(192, 168, 0, 0), 16, ADDRESS_PRIVATE },
	{ IP4(100, 64, 0, 0), 10, ADDRESS_PRIVATE },  { IP4(255, 255, 255, 255), 32, ADDRESS_BROADCAST },
};

/* Interface identifiers are made from hardware addresses, and solicited-node groups end with 24 bits of an address: of these
 * only the prefix stays. */
static const struct kept6 kept6[] = {
	{ { 0 }, 128, ADDRESS_SPECIAL, true },
	{ { [15] = 1 }, 128, ADDRESS_SPECIAL, true },
	{ { 0xfe, 0x80 }, 64, ADDRESS_SPECIAL, false },
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32, ADDRESS_SPECIAL, true },
	{ { 0xff, 0x02, [11] = 1, 0xff }, 104, ADDRESS_MULTICAST, false },
	{ { 0xff, 0x01 }, 104, ADDRESS_MULTICAST, true },
	{ { 0xff, 0x02 }, 104, ADDRESS_MULTICAST, true },
	{ { 0xff, 0x05 }, 104, ADDRESS_MULTICAST, true },
	{ { 0xff }, 8, ADDRESS_MULTICAST, false },
	{ { 0xfc }, 7, ADDRESS_PRIVATE, false },
};

#define KEPT4 (sizeof kept4 / sizeof kept4[0])
#define KEPT6 (sizeof kept6 / sizeof kept6[0])

struct addresses {
	struct address_rules rules;
	struct addrmap *map4, *map6;
	struct kept4 kept4[KEPT4]; /* of the classes that are kept */
	struct kept6 kept6[KEPT6];
	size_t kept4_count, kept6_count;
	uint32_t *raw4;            /* what a map's input was */
	uint8_t (*raw6)[16];
	size_t room4, room6;
};

#define MAP_AT_ONCE 4096u

enum err
addresses_open(struct addresses **out, const struct address_rules *rules, const uint8_t key4[ADDRMAP_KEY_BYTES],
               const uint8_t key6[ADDRMAP_KEY_BYTES])
{
	if (!scheme_fits(rules->ip4, FAMILY_IP4) || !scheme_fits(rules->ip6, FAMILY_IP6))
		return fail(ERR_USAGE, "%s pseudonyms of %s addresses need more room than an address has: take pfx, cryptopan or truncate/N",
		            scheme_name(scheme_fits(rules->ip4, FAMILY_IP4) ? rules->ip6.kind : rules->ip4.kind),
		            scheme_fits(rules->ip4, FAMILY_IP4) ? "IPv6" : "IPv4");
	struct addresses *a = calloc(1, sizeof *a);
	if (!a)
		return fail(ERR_NOMEM, "out of memory");
	a->rules = *rules;
	for (size_t i = 0; i < KEPT4; i++)
		if (rules->keep[kept4[i].class])
			a->kept4[a->kept4_count++] = kept4[i];
	for (size_t i = 0; i < KEPT6; i++)
		if (rules->keep[kept6[i].class])
			a->kept6[a->kept6_count++] = kept6[i];
	enum err e = addrmap_open(&a->map4, rules->ip4, FAMILY_IP4, key4, NULL);
	if (e == OK)
		e = addrmap_open(&a->map6, rules->ip6, FAMILY_IP6, key6, NULL);
	a->raw4 = malloc(MAP_AT_ONCE * sizeof *a->raw4);
	a->raw6 = malloc(MAP_AT_ONCE * sizeof *a->raw6);
	if (e == OK && (!a->raw4 || !a->raw6))
		e = fail(ERR_NOMEM, "out of memory");
	if (e != OK) {
		addresses_close(&a);
		return e;
	}
	*out = a;
	return OK;
}

void
addresses_close(struct addresses **out)
{
	struct addresses *a = *out;
	if (!a)
		return;
	addrmap_close(&a->map4);
	addrmap_close(&a->map6);
	free(a->raw4);
	free(a->raw6);
	free(a);
	*out = NULL;
}

/* --- kept prefixes --- */

/* How many of the first bits stay as they are. The same for the captured address and for the shown one: they agree in these
 * bits, and in the one in which they leave the way to a kept prefix. */
static unsigned
kept_bits4(const struct addresses *a, uint32_t v)
{
	unsigned most = 0;
	for (size_t i = 0; i < a->kept4_count; i++) {
		uint32_t differ = v ^ a->kept4[i].prefix;
		unsigned common = differ ? (unsigned)__builtin_clz(differ) : 32;
		unsigned bits = common >= a->kept4[i].bits ? 32 : common + 1;
		most = bits > most ? bits : most;
	}
	return most;
}

static unsigned
common_bits6(const uint8_t a[16], const uint8_t b[16])
{
	uint64_t high = load_be64(a) ^ load_be64(b), low = load_be64(a + 8) ^ load_be64(b + 8);
	return high ? (unsigned)__builtin_clzll(high) : low ? 64 + (unsigned)__builtin_clzll(low) : 128;
}

static unsigned
kept_bits6(const struct addresses *a, const uint8_t v[16])
{
	unsigned most = 0;
	for (size_t i = 0; i < a->kept6_count; i++) {
		const struct kept6 *k = &a->kept6[i];
		unsigned common = common_bits6(v, k->prefix);
		unsigned bits = common < k->bits ? common + 1 : k->inside ? 128 : k->bits;
		most = bits > most ? bits : most;
	}
	return most;
}

/* The first bits of raw, the others of mapped. */
static uint32_t
join4(uint32_t raw, uint32_t mapped, unsigned bits)
{
	uint32_t mask = bits == 0 ? 0 : UINT32_MAX << (32 - bits);
	return (raw & mask) | (mapped & ~mask);
}

static void
join6(const uint8_t raw[16], uint8_t mapped[16], unsigned bits)
{
	memcpy(mapped, raw, bits / 8);
	if (bits % 8) {
		uint8_t mask = (uint8_t)(0xff00 >> bits % 8);
		mapped[bits / 8] = (raw[bits / 8] & mask) | (mapped[bits / 8] & (uint8_t)~mask);
	}
}

/* A scheme with positions of its own for each bit keeps prefixes; another keeps whole addresses or nothing of them. */
static bool
bit_by_bit(struct scheme s)
{
	return scheme_keeps_prefixes(s) && scheme_reversible(s);
}

static unsigned
kept_bits(struct scheme s, unsigned bits, unsigned all)
{
	return bit_by_bit(s) || bits == all ? bits : 0;
}

void
addresses_map4(struct addresses *a, uint32_t *v, size_t n)
{
	for (size_t some; n; v += some, n -= some) {
		some = n < MAP_AT_ONCE ? n : MAP_AT_ONCE;
		memcpy(a->raw4, v, some * sizeof *v);
		addrmap_map4(a->map4, a->raw4, v, some);
		for (size_t i = 0; a->kept4_count && i < some; i++)
			v[i] = join4(a->raw4[i], v[i], kept_bits(a->rules.ip4, kept_bits4(a, a->raw4[i]), 32));
	}
}

void
addresses_map6(struct addresses *a, uint8_t (*v)[16], size_t n)
{
	for (size_t some; n; v += some, n -= some) {
		some = n < MAP_AT_ONCE ? n : MAP_AT_ONCE;
		memcpy(a->raw6, v, some * sizeof *v);
		addrmap_map6(a->map6, (const uint8_t (*)[16])a->raw6, v, some);
		for (size_t i = 0; a->kept6_count && i < some; i++)
			join6(a->raw6[i], v[i], kept_bits(a->rules.ip6, kept_bits6(a, a->raw6[i]), 128));
	}
}

/* --- and back --- */

/* Bit after bit: the flip of a position depends on the bits before it, which are known by then. */
static void
unmap_bits4(struct addresses *a, uint32_t *address, unsigned bits)
{
	uint32_t raw = 0;
	for (unsigned i = 0; i < bits; i++) {
		uint32_t bit = (uint32_t)1 << (31 - i), shown = raw;
		addresses_map4(a, &shown, 1);
		raw |= (shown ^ *address) & bit;
	}
	*address = raw;
}

static void
unmap_bits6(struct addresses *a, uint8_t address[16], unsigned bits)
{
	uint8_t raw[16] = { 0 }, shown[1][16];
	for (unsigned i = 0; i < bits; i++) {
		memcpy(shown[0], raw, 16);
		addresses_map6(a, shown, 1);
		raw[i / 8] |= (shown[0][i / 8] ^ address[i / 8]) & (uint8_t)(0x80 >> i % 8);
	}
	memcpy(address, raw, 16);
}

static enum err
unmap_other(struct scheme s, unsigned *bits, bool *same)
{
	*same = s.kind == SCHEME_TRUNCATE || s.kind == SCHEME_DROP; /* kept ones, too, are inside the shorter prefix */
	if (*same && *bits > s.bits)
		*bits = s.bits;
	return s.kind == SCHEME_NDX ? fail(ERR_UNSUPPORTED, "ndx pseudonyms do not tell addresses") : OK;
}

enum err
addresses_unmap4(struct addresses *a, uint32_t *address, unsigned *bits)
{
	bool same;
	if (bit_by_bit(a->rules.ip4)) {
		unmap_bits4(a, address, *bits);
		return OK;
	}
	TRY(unmap_other(a->rules.ip4, bits, &same));
	*address = join4(*address, 0, *bits);
	return same ? OK : addrmap_unmap4(a->map4, *address, *bits, address, bits);
}

enum err
addresses_unmap6(struct addresses *a, uint8_t address[16], unsigned *bits)
{
	bool same;
	uint8_t shown[16] = { 0 };
	if (bit_by_bit(a->rules.ip6)) {
		unmap_bits6(a, address, *bits);
		return OK;
	}
	TRY(unmap_other(a->rules.ip6, bits, &same));
	join6(address, shown, *bits);
	memcpy(address, shown, 16);
	same |= *bits == 128 && kept_bits6(a, shown) == 128;
	return same ? OK : addrmap_unmap6(a->map6, shown, *bits, address, bits);
}
