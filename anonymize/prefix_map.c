#include "anonymize/prefix_map.h"

#include <string.h>

#include "base/bytes.h"

enum { CHUNK = 64 }; /* addresses at a time: their operands, 8 KiB, stay in the first-level cache */

typedef unsigned __int128 u128;

static u128
load_be128(const uint8_t *p)
{
	return (u128)load_be64(p) << 64 | load_be64(p + 8);
}

static void
store_be128(uint8_t *p, u128 v)
{
	store_be64(p, (uint64_t)(v >> 64));
	store_be64(p + 8, (uint64_t)v);
}

static void
store_le128(uint8_t *p, u128 v)
{
	store_le64(p, (uint64_t)v);
	store_le64(p + 8, (uint64_t)(v >> 64));
}

static void
operand6(const struct prefix_key *k, struct prefix_operand *o, u128 address)
{
	if (!k->pfx) {
		store_be128(o->shifted[0][0], address);
		return;
	}
	for (unsigned shift = 0; shift < 8; shift++)
		store_le128(o->shifted[(shift + 3) % 8 / 4][(shift + 3) % 4], address >> shift);
}

static void
operand4(const struct prefix_key *k, struct prefix_operand *o, uint32_t address)
{
	if (!k->pfx) {
		store_le64(o->shifted[0][0], __builtin_bswap32(address));
		store_le64(o->shifted[0][0] + 8, 0);
		return;
	}
	uint64_t mapped = 0xffffull << 32 | address; /* ::ffff:a.b.c.d */
	for (unsigned shift = 0; shift < 8; shift++) {
		uint8_t *at = o->shifted[(shift + 3) % 8 / 4][(shift + 3) % 4];
		store_le64(at, mapped >> shift);
		store_le64(at + 8, 0);
	}
}

/* Lists the quads of one operand, the last one first; the caller counts those that it wants. */
static inline void
list_quads(uint16_t *task, size_t operand, unsigned first_quad, unsigned quads)
{
	for (unsigned i = 0; i < quads; i++)
		task[i] = (uint16_t)(operand * PREFIX_QUADS + first_quad + quads - 1 - i);
}

/* Runs the tasks, in steps: those that fill the last one up are answered like the others and not looked at. */
static void
answer(const struct prefix_key *k, const struct prefix_operand *operand, uint16_t *task, size_t n, uint8_t *bits)
{
	size_t whole = (n + PREFIX_STEP - 1) / PREFIX_STEP * PREFIX_STEP;
	memset(task + n, 0, (whole - n) * sizeof *task);
	k->engine->flips(k, operand, task, whole, bits);
}

/* --- IPv4 --- */

struct before4 {
	uint32_t address, flips;
	bool     any;
};

static void
map4_chunk(const struct prefix_key *k, const uint32_t *in, uint32_t *out, size_t n, struct before4 *before)
{
	struct prefix_operand operand[CHUNK];
	uint16_t task[CHUNK * 8 + PREFIX_STEP];
	uint8_t  from[CHUNK]; /* the first quad that is computed, 8: none */
	uint8_t  bits[CHUNK * 4 + 8];
	size_t   tasks = 0;
	uint32_t address = before->address;
	for (size_t i = 0; i < n; i++) {
		uint32_t differ = in[i] ^ address;
		unsigned known = differ ? (unsigned)__builtin_clz(differ) + 1 : 32;
		known = i == 0 && !before->any ? 0 : known;
		address = in[i];
		from[i] = (uint8_t)(known / 4 > k->top_quads ? known / 4 : k->top_quads);
		operand4(k, &operand[i], address);
		list_quads(task + tasks, i, k->first_quad, 8);
		tasks += 8u - from[i];
	}
	answer(k, operand, task, tasks, bits);
	uint32_t flips = before->flips;
	for (size_t i = 0, at = 0; i < n; i++) {
		unsigned count = 8u - from[i];
		uint64_t fresh = load_le64(bits + at / 2) >> at % 2 * 4, low = (1ull << count * 4) - 1;
		address = in[i];
		uint32_t top = from[i] == k->top_quads ? (uint32_t)k->top[address >> (32 - PREFIX_TOP_BITS)] << 20 : flips;
		flips = (uint32_t)((top & ~low) | (fresh & low));
		out[i] = address ^ flips;
		at += count;
	}
	*before = (struct before4){ address, flips, true };
}

void
prefix_map4(const struct prefix_key *k, const uint32_t *in, uint32_t *out, size_t n)
{
	struct before4 before = { 0 };
	for (size_t i = 0; i < n; i += CHUNK)
		map4_chunk(k, in + i, out + i, n - i < CHUNK ? n - i : CHUNK, &before);
}

/* The first quad whose flips are not those of the entry before this one in the table. */
static unsigned
top_from(uint32_t entry)
{
	return entry % 256 == 0 ? 0 : entry % 16 == 0 ? 1 : 2;
}

/* Only quads 0 to 2 are run, and each once for the addresses that share it. */
void
prefix_map_top(struct prefix_key *k)
{
	struct prefix_operand operand[CHUNK];
	uint16_t task[CHUNK * 2 + PREFIX_STEP];
	uint8_t  bits[CHUNK + PREFIX_STEP];
	unsigned flips = 0;
	for (uint32_t i = 0; i < 1u << PREFIX_TOP_BITS; i += CHUNK) {
		size_t tasks = 0, at = 0;
		for (uint32_t j = 0; j < CHUNK; j++) {
			operand4(k, &operand[j], (i + j) << (32 - PREFIX_TOP_BITS));
			for (unsigned quad = top_from(i + j); quad < PREFIX_TOP_QUADS; quad++)
				task[tasks++] = (uint16_t)(j * PREFIX_QUADS + k->first_quad + quad);
		}
		answer(k, operand, task, tasks, bits);
		for (uint32_t j = 0; j < CHUNK; j++) {
			for (unsigned quad = top_from(i + j); quad < PREFIX_TOP_QUADS; quad++, at++) {
				unsigned shift = 4 * (PREFIX_TOP_QUADS - 1 - quad);
				flips = (flips & ~(0xfu << shift)) | (unsigned)(bits[at / 2] >> at % 2 * 4 & 0xf) << shift;
			}
			k->top[i + j] = (uint16_t)flips;
		}
	}
	k->top_quads = PREFIX_TOP_QUADS;
}

/* --- IPv6 --- */

struct before6 {
	u128 address, flips;
	bool any;
};

/* Bits of how many leading positions a and b have in common. */
static unsigned
common6(u128 a, u128 b)
{
	uint64_t high = (uint64_t)((a ^ b) >> 64), low = (uint64_t)(a ^ b);
	return high ? (unsigned)__builtin_clzll(high) : low ? 64 + (unsigned)__builtin_clzll(low) : 128;
}

static void
map6_chunk(const struct prefix_key *k, const uint8_t (*in)[16], uint8_t (*out)[16], size_t n, struct before6 *before)
{
	struct prefix_operand operand[CHUNK];
	uint16_t task[CHUNK * PREFIX_QUADS + PREFIX_STEP];
	uint8_t  from[CHUNK]; /* the first quad that is computed, 32: none */
	uint8_t  bits[CHUNK * PREFIX_QUADS / 2 + 32];
	size_t   tasks = 0;
	u128 address = before->address;
	for (size_t i = 0; i < n; i++) {
		u128 next = load_be128(in[i]);
		unsigned known = i == 0 && !before->any ? 0 : common6(address, next) + 1;
		address = next;
		from[i] = (uint8_t)(known / 4);
		operand6(k, &operand[i], address);
		list_quads(task + tasks, i, 0, PREFIX_QUADS);
		tasks += PREFIX_QUADS - from[i];
	}
	answer(k, operand, task, tasks, bits);
	u128 flips = before->flips;
	for (size_t i = 0, at = 0; i < n; i++) {
		unsigned count = PREFIX_QUADS - from[i], shift = at % 2 * 4;
		const uint8_t *p = bits + at / 2;
		u128 fresh = load_le64(p) | (u128)load_le64(p + 8) << 64;
		fresh = fresh >> shift | (shift ? (u128)p[16] << (128 - shift) : 0);
		u128 low = count == PREFIX_QUADS ? ~(u128)0 : ((u128)1 << count * 4) - 1;
		flips = (flips & ~low) | (fresh & low);
		address = load_be128(in[i]);
		store_be128(out[i], address ^ flips);
		at += count;
	}
	*before = (struct before6){ address, flips, true };
}

void
prefix_map6(const struct prefix_key *k, const uint8_t (*in)[16], uint8_t (*out)[16], size_t n)
{
	struct before6 before = { 0 };
	for (size_t i = 0; i < n; i += CHUNK)
		map6_chunk(k, in + i, out + i, n - i < CHUNK ? n - i : CHUNK, &before);
}

/* --- back --- */

/* The flip of one position, 0.. of the address in the operand. */
static unsigned
flip(const struct prefix_key *k, const struct prefix_operand *operand, unsigned position)
{
	uint16_t task[PREFIX_STEP] = { (uint16_t)(k->first_quad + position / 4) };
	uint8_t bits[PREFIX_STEP / 2];
	k->engine->flips(k, operand, task, PREFIX_STEP, bits);
	return bits[0] >> (3 - position % 4) & 1;
}

uint32_t
prefix_unmap4(const struct prefix_key *k, uint32_t mapped, unsigned bits)
{
	struct prefix_operand operand;
	uint32_t raw = 0;
	for (unsigned i = 0; i < bits; i++) {
		operand4(k, &operand, raw);
		raw |= ((mapped >> (31 - i) & 1) ^ flip(k, &operand, i)) << (31 - i);
	}
	return raw;
}

void
prefix_unmap6(const struct prefix_key *k, const uint8_t mapped[16], unsigned bits, uint8_t out[16])
{
	struct prefix_operand operand;
	u128 view = load_be128(mapped), raw = 0;
	for (unsigned i = 0; i < bits; i++) {
		operand6(k, &operand, raw);
		raw |= (u128)((unsigned)(view >> (127 - i) & 1) ^ flip(k, &operand, i)) << (127 - i);
	}
	store_be128(out, raw);
}
