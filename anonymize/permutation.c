#include "anonymize/permutation.h"

#include <assert.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"

/* --- tables --- */

struct draws {
	const uint8_t *key;
	uint64_t block; /* of the keystream, the next one */
	uint8_t  bytes[1024];
	unsigned at;
};

/* A number below bound, each as probable: those that would make the first few likelier are drawn again. */
static uint32_t
draw(struct draws *d, uint32_t bound)
{
	static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
	for (;;) {
		if (d->at == sizeof d->bytes) {
			memset(d->bytes, 0, sizeof d->bytes);
			crypto_stream_chacha20_xor_ic(d->bytes, d->bytes, sizeof d->bytes, nonce, d->block, d->key);
			d->block += sizeof d->bytes / 64;
			d->at = 0;
		}
		uint32_t r = load_le32(d->bytes + d->at);
		d->at += 4;
		if (r >= -bound % bound)
			return r % bound;
	}
}

/* Shuffles the values first .. end - 1; the others of the table stay. */
static void
shuffle(uint16_t *map, uint16_t *back, uint32_t size, uint32_t first, uint32_t end, const uint8_t key[PERMUTATION_KEY_BYTES])
{
	struct draws d = { .key = key, .at = sizeof d.bytes };
	for (uint32_t v = 0; v < size; v++)
		map[v] = (uint16_t)v;
	for (uint32_t v = end - 1; v > first; v--) {
		uint32_t other = first + draw(&d, v - first + 1);
		uint16_t swap = map[v];
		map[v] = map[other];
		map[other] = swap;
	}
	for (uint32_t v = 0; v < size; v++)
		back[map[v]] = (uint16_t)v;
	sodium_memzero(&d, sizeof d);
}

void
ports_shuffle(uint16_t map[PORTS], uint16_t back[PORTS], const uint8_t key[PERMUTATION_KEY_BYTES])
{
	shuffle(map, back, PORTS, 0, PORTS, key);
}

void
vlans_shuffle(uint16_t map[VLANS], uint16_t back[VLANS], const uint8_t key[PERMUTATION_KEY_BYTES])
{
	shuffle(map, back, VLANS, 1, VLANS - 1, key);
}

/* --- FF1: names as in the standard where it has any --- */

void
ff1_init(struct ff1 *f, const uint8_t key[16], unsigned radix, unsigned digits)
{
	uint64_t size = 1;
	assert(digits % 2 == 0);
	for (unsigned i = 0; i < digits / 2; i++) {
		size *= radix;
		assert(size <= UINT32_MAX);
	}
	f->size = (uint32_t)size;
	f->bytes = (39 - (unsigned)__builtin_clz(f->size - 1)) / 8;
	uint8_t p[16] = { 1, 2, 1, 0, (uint8_t)(radix >> 8), (uint8_t)radix, 10, (uint8_t)(digits / 2), 0, 0, 0, (uint8_t)digits };
	aes128_set_encrypt_key(&f->aes, key);
	aes128_encrypt(&f->aes, sizeof p, f->first, p);
}

/* What round i adds to one half because of the other. */
static uint32_t
ff1_round(const struct ff1 *f, unsigned i, uint32_t other)
{
	uint8_t q[16] = { 0 }, r[16];
	store_be32(q + 12, other);
	q[15 - f->bytes] = (uint8_t)i;
	for (unsigned j = 0; j < 16; j++)
		q[j] ^= f->first[j];
	aes128_encrypt(&f->aes, sizeof q, r, q);
	return (uint32_t)(load_be64(r) % f->size); /* halves of at most four bytes: d is 8 */
}

void
ff1_encrypt(const struct ff1 *f, uint32_t half[2])
{
	for (unsigned i = 0; i < 10; i++) {
		uint64_t sum = (uint64_t)half[0] + ff1_round(f, i, half[1]);
		half[0] = half[1];
		half[1] = (uint32_t)(sum % f->size);
	}
}

void
ff1_decrypt(const struct ff1 *f, uint32_t half[2])
{
	for (unsigned i = 10; i-- > 0;) {
		uint64_t sum = (uint64_t)half[1] + f->size - ff1_round(f, i, half[0]);
		half[1] = half[0];
		half[0] = (uint32_t)(sum % f->size);
	}
}

/* --- MAC addresses --- */

static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

void
macmap_init(struct macmap *m, const uint8_t key[PERMUTATION_KEY_BYTES])
{
	ff1_init(&m->vendor, key, 2, 22);
	ff1_init(&m->device, key + 16, 2, 24);
}

/* Both halves through their permutation; the two low bits of the first byte are not part of the vendor's 22. */
static void
halves(const struct macmap *m, void (*run)(const struct ff1 *, uint32_t[2]), const uint8_t in[6], uint8_t out[6])
{
	uint32_t number = (uint32_t)(in[0] >> 2) << 16 | (uint32_t)in[1] << 8 | in[2];
	uint32_t vendor[2] = { number >> 11, number & 0x7ff };
	run(&m->vendor, vendor);
	number = vendor[0] << 11 | vendor[1];
	uint32_t device[2] = { (uint32_t)in[3] << 4 | in[4] >> 4, (in[4] & 0xfu) << 8 | in[5] };
	run(&m->device, device);
	out[0] = (uint8_t)(number >> 16 << 2 | (in[0] & 3));
	store_be16(out + 1, (uint16_t)number);
	out[3] = (uint8_t)(device[0] >> 4);
	store_be16(out + 4, (uint16_t)(device[0] << 12 | device[1]));
}

static void
around_broadcast(const struct macmap *m, void (*run)(const struct ff1 *, uint32_t[2]), const uint8_t in[6], uint8_t out[6])
{
	bool is_broadcast = memcmp(in, broadcast, 6) == 0;
	halves(m, run, in, out);
	if (is_broadcast)
		memcpy(out, broadcast, 6);
	else if (memcmp(out, broadcast, 6) == 0)
		halves(m, run, broadcast, out);
}

void
macmap_map(const struct macmap *m, const uint8_t in[6], uint8_t out[6])
{
	around_broadcast(m, ff1_encrypt, in, out);
}

void
macmap_unmap(const struct macmap *m, const uint8_t in[6], uint8_t out[6])
{
	around_broadcast(m, ff1_decrypt, in, out);
}
