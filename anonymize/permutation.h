/* Keyed permutations of small things: ports, VLAN identifiers, MAC addresses. Equal values stay equal, different ones stay
 * different, and the key undoes it. Like any permutation of few values they hide a value, not how often it occurs.
 *
 * Up to 16 bits: a table, shuffled (Fisher and Yates; Knuth, volume 2, 3.4.2, algorithm P) with numbers drawn without bias from
 * a ChaCha20 keystream: every order of the values is as probable as any other.
 * Halves of MAC addresses: FF1 (NIST SP 800-38G), ten Feistel rounds of AES-128, here over 22 and 24 binary digits, above the
 * million values that its revision 1 demands. */
#ifndef ANONYMIZE_PERMUTATION_H
#define ANONYMIZE_PERMUTATION_H

#include <nettle/aes.h>
#include <stdint.h>

#define PERMUTATION_KEY_BYTES 32u
#define PORTS 65536u
#define VLANS 4096u

/* map[v] is the new value of v, back[map[v]] is v. All ports take part. */
void ports_shuffle(uint16_t map[PORTS], uint16_t back[PORTS], const uint8_t key[PERMUTATION_KEY_BYTES]);
/* 0 (no VLAN, priority only) and 4095 (reserved) stay: IEEE 802.1Q, table 9-2. */
void vlans_shuffle(uint16_t map[VLANS], uint16_t back[VLANS], const uint8_t key[PERMUTATION_KEY_BYTES]);

/* FF1 without tweak, for numbers of an even number of digits, in two halves of fewer than 2^32 values each. */
struct ff1 {
	struct aes128_ctx aes;
	uint8_t  first[16]; /* what the block that is always the same leaves in the CBC-MAC */
	uint32_t size;      /* values of a half: radix to the number of its digits */
	unsigned bytes;     /* that such a value takes */
};

void ff1_init(struct ff1 *f, const uint8_t key[16], unsigned radix, unsigned digits);
/* half[0]: the left digits. */
void ff1_encrypt(const struct ff1 *f, uint32_t half[2]);
void ff1_decrypt(const struct ff1 *f, uint32_t half[2]);

/* MAC addresses, each half under a key of its own: addresses of one vendor (OUI) stay together, and the group bit and the local
 * bit stay (IEEE 802, 8.2). Broadcast stays; the one address that would become broadcast takes what broadcast would have
 * become. The caller wipes the struct. */
struct macmap {
	struct ff1 vendor, device;
};

void macmap_init(struct macmap *m, const uint8_t key[PERMUTATION_KEY_BYTES]);
/* out may be in. */
void macmap_map(const struct macmap *m, const uint8_t in[6], uint8_t out[6]);
void macmap_unmap(const struct macmap *m, const uint8_t in[6], uint8_t out[6]);

#endif
