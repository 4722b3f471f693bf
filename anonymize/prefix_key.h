/* The pseudorandom function of the two prefix-preserving schemes: for each position of an address one bit, the flip, that
 * depends on the key and on the address bits before that position. An address is mapped by adding (xor) its flips.
 *
 * With len bits before the position, the flip is
 *   Crypto-PAn   the first bit of AES(K, P), P = those bits || bits len..127 of AES(K, pad); key: K || pad
 *   ipcrypt-pfx  the last bit of AES(K1, P) xor AES(K2, P), P = zeros || 1 || those bits; key: K1 || K2. IPv4 addresses
 *                stand for ::ffff:a.b.c.d, so that their positions are 96..127
 * Four neighbouring positions are a quad. An engine computes quads of any addresses in any order: all of the scheme's work
 * is in that one loop.
 *
 * Known weakness of Crypto-PAn, kept because others' tools must agree: where an address bit equals the pad bit, the next
 * position encrypts the same block and gets the same flip. ipcrypt-pfx has a delimiter bit against that. */
#ifndef ANONYMIZE_PREFIX_KEY_H
#define ANONYMIZE_PREFIX_KEY_H

#include <nettle/aes.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>

#include "anonymize/scheme.h"

#define PREFIX_KEY_BYTES 32u
#define PREFIX_QUADS     32u /* of 128 positions */
#define PREFIX_STEP      8u  /* tasks come in multiples of this */
#define PREFIX_TOP_BITS  11u /* of an IPv4 address that tell the flips of its first 12 positions */
#define PREFIX_TOP_QUADS 3u  /* the same in quads */

/* An address as the engines want it. Crypto-PAn: in network order in the first 16 bytes (IPv4 in the first four).
 * ipcrypt-pfx: as a little-endian 128-bit number, shifted right by 5, 6, 7, 0 bits (for even quads) and 1, 2, 3, 4. */
struct prefix_operand {
	alignas(64) uint8_t shifted[2][4][16];
};

struct prefix_key;

/* A task is operand << 5 | quad. The answer has four bits per task, the first task's in the lowest bits of the first byte,
 * and of those the lowest is that of the last position: the tasks of an address, listed from its last quad on, give its
 * flips as one little-endian number. */
struct prefix_engine {
	const char *name;
	bool adds_first_key; /* the constants hold the first round key already */
	bool (*usable)(void); /* on this machine */
	void (*flips)(const struct prefix_key *k, const struct prefix_operand *operand, const uint16_t *task, size_t n, uint8_t *out);
};

struct prefix_key {
	/* a quad's four blocks, the last position first: Crypto-PAn: (address & mask) ^ constant; ipcrypt-pfx: the operand's
	 * row quad % 2, its bytes chosen by mask (as PSHUFB does), ^ constant */
	alignas(64) uint8_t mask[PREFIX_QUADS][4][16];
	uint8_t constant[2][PREFIX_QUADS][4][16];
	uint8_t round[2][11][16];  /* for the engines that use instructions */
	struct aes128_ctx aes[2];  /* for the one that uses nettle */
	bool     pfx;              /* both halves are AES keys */
	unsigned first_quad;       /* of the family's addresses */
	unsigned top_quads;        /* whose flips are in top: 0 or PREFIX_TOP_QUADS */
	uint32_t answer;           /* xor of every 32 answered bits: what the last round key adds */
	uint16_t top[1 << PREFIX_TOP_BITS]; /* IPv4: flips of the first 12 positions by the first 11 bits (prefix_map.h) */
	const struct prefix_engine *engine;
};

/* The engines of this build, fastest first: "vaes" (AVX-512 with VAES, GFNI and VBMI), "aesni", "portable" (nettle). */
const struct prefix_engine *const *prefix_engines(size_t *count);
/* The fastest that this machine can run. */
const struct prefix_engine *prefix_engine_best(void);

/* kind is SCHEME_PFX or SCHEME_CRYPTOPAN. engine must be usable. ERR_DENIED: the halves of an ipcrypt-pfx key are equal (every
 * flip would be 0). k stands in memory of the caller, who wipes it. */
enum err prefix_key_init(struct prefix_key *k, enum scheme_kind kind, enum family family, const uint8_t key[PREFIX_KEY_BYTES],
                         const struct prefix_engine *engine);

extern const struct prefix_engine prefix_vaes, prefix_aesni;
/* The eleven round keys. Only where prefix_aesni is usable. */
void prefix_aesni_expand(uint8_t round[11][16], const uint8_t key[16]);

#endif
