#include "anonymize/prefix_key.h"

#include <sodium.h>
#include <string.h>

#include "base/bytes.h"

/* --- the portable engine --- */

static bool
always(void)
{
	return true;
}

/* The four blocks of one task. */
static void
blocks(const struct prefix_key *k, const struct prefix_operand *operand, unsigned task, uint8_t *out)
{
	const struct prefix_operand *o = &operand[task / PREFIX_QUADS];
	unsigned quad = task % PREFIX_QUADS;
	for (unsigned lane = 0; lane < 4; lane++, out += 16) {
		const uint8_t *mask = k->mask[quad][lane], *constant = k->constant[0][quad][lane];
		uint64_t first, second;
		if (k->pfx) {
			unsigned shift = 125 - 4 * quad + lane; /* 1..128: what is not before the position falls out */
			const uint8_t *whole = o->shifted[0][3];
			unsigned __int128 v = load_le64(whole) | (unsigned __int128)load_le64(whole + 8) << 64;
			v = shift == 128 ? 0 : v >> shift;
			first = __builtin_bswap64((uint64_t)(v >> 64));
			second = __builtin_bswap64((uint64_t)v);
		} else {
			first = load_le64(o->shifted[0][0]) & load_le64(mask);
			second = load_le64(o->shifted[0][0] + 8) & load_le64(mask + 8);
		}
		store_le64(out, first ^ load_le64(constant));
		store_le64(out + 8, second ^ load_le64(constant + 8));
	}
}

static void
portable_flips(const struct prefix_key *k, const struct prefix_operand *operand, const uint16_t *task, size_t n, uint8_t *out)
{
	enum { BATCH = 64 }; /* tasks, 4 KiB of blocks: many for nettle to interleave, few enough for the first-level cache */
	uint8_t plain[BATCH * 64], first[BATCH * 64], second[BATCH * 64];
	for (size_t done = 0; done < n; done += BATCH) {
		size_t count = n - done < BATCH ? n - done : BATCH;
		for (size_t i = 0; i < count; i++)
			blocks(k, operand, task[done + i], plain + i * 64);
		aes128_encrypt(&k->aes[0], count * 64, first, plain);
		if (k->pfx)
			aes128_encrypt(&k->aes[1], count * 64, second, plain);
		for (size_t i = 0; i < count; i += 2) {
			unsigned bits = 0;
			const uint8_t *a = first + i * 64, *b = second + i * 64;
			for (unsigned block = 0; block < 8; block++)
				bits |= (k->pfx ? (a[block * 16 + 15] ^ b[block * 16 + 15]) & 1u : a[block * 16] >> 7) << block;
			out[(done + i) / 2] = (uint8_t)bits;
		}
	}
}

static const struct prefix_engine prefix_portable = { "portable", false, always, portable_flips };

/* --- choosing one --- */

const struct prefix_engine *const *
prefix_engines(size_t *count)
{
	static const struct prefix_engine *const all[] = {
#ifdef __x86_64__
		&prefix_vaes, &prefix_aesni,
#endif
		&prefix_portable,
	};
	*count = sizeof all / sizeof *all;
	return all;
}

const struct prefix_engine *
prefix_engine_best(void)
{
	size_t count;
	const struct prefix_engine *const *engine = prefix_engines(&count);
	while (!(*engine)->usable())
		engine++;
	return *engine;
}

/* --- key set-up --- */

/* The tables of Crypto-PAn: masks choose the bits before the position, constants hold the others, of the pad. */
static void
cryptopan_tables(struct prefix_key *k, const uint8_t pad[16])
{
	for (unsigned position = 0; position < 128; position++) {
		unsigned quad = position / 4, lane = 3 - position % 4;
		for (unsigned i = 0; i < 16; i++) {
			unsigned before = position > 8 * i ? position - 8 * i : 0; /* bits of this byte */
			uint8_t mask = before >= 8 ? 0xff : (uint8_t)(0xff00u >> before);
			k->mask[quad][lane][i] = mask;
			k->constant[0][quad][lane][i] = pad[i] & (uint8_t)~mask;
		}
	}
}

/* The tables of ipcrypt-pfx: masks turn the bytes of the shifted number around, constants hold the delimiter. */
static void
pfx_tables(struct prefix_key *k)
{
	for (unsigned position = 0; position < 128; position++) {
		unsigned quad = position / 4, lane = 3 - position % 4, skip = (128 - position) / 8;
		for (unsigned i = 0; i < 16; i++)
			k->mask[quad][lane][i] = 15 - i + skip < 16 ? (uint8_t)(15 - i + skip) : 0x80;
		memset(k->constant[0][quad][lane], 0, 16);
		k->constant[0][quad][lane][15 - position / 8] = (uint8_t)(1u << position % 8);
	}
}

/* What engines with instructions need besides: round keys, the first of them in the constants. */
static void
add_rounds(struct prefix_key *k, const uint8_t key[PREFIX_KEY_BYTES])
{
#ifdef __x86_64__
	memcpy(k->constant[1], k->constant[0], sizeof k->constant[1]);
	for (unsigned half = 0; half < 1u + k->pfx; half++) {
		prefix_aesni_expand(k->round[half], key + 16 * half);
		uint8_t *constant = &k->constant[half][0][0][0];
		for (size_t i = 0; i < sizeof k->constant[half]; i++)
			constant[i] ^= k->round[half][0][i % 16];
	}
	bool one = k->pfx ? (k->round[0][10][15] ^ k->round[1][10][15]) & 1 : k->round[0][10][0] >> 7;
	k->answer = one ? UINT32_MAX : 0;
#endif
}

enum err
prefix_key_init(struct prefix_key *k, enum scheme_kind kind, enum family family, const uint8_t key[PREFIX_KEY_BYTES],
                const struct prefix_engine *engine)
{
	if (kind == SCHEME_PFX && sodium_memcmp(key, key + 16, 16) == 0)
		return fail(ERR_DENIED, "the two halves of the ipcrypt-pfx key are equal: addresses would stay as they are");
	k->pfx = kind == SCHEME_PFX;
	k->engine = engine;
	k->first_quad = k->pfx && family == FAMILY_IP4 ? 24 : 0;
	aes128_set_encrypt_key(&k->aes[0], key);
	if (k->pfx) {
		aes128_set_encrypt_key(&k->aes[1], key + 16);
		pfx_tables(k);
	} else {
		uint8_t pad[16];
		aes128_encrypt(&k->aes[0], sizeof pad, pad, key + 16);
		cryptopan_tables(k, pad);
		sodium_memzero(pad, sizeof pad);
	}
	if (engine->adds_first_key)
		add_rounds(k, key);
	k->top_quads = 0;
	return OK;
}
