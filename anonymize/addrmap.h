/* Addresses to pseudonyms under one scheme and key, for one family, and back. No policy: which addresses, and what of special
 * ones, the caller knows.
 *
 *	struct addrmap *m = NULL;
 *	TRY(addrmap_open(&m, (struct scheme){ SCHEME_PFX }, FAMILY_IP4, key, NULL));
 *	addrmap_map4(m, batch->ip4, mapped, batch->ip4_count);          once for each distinct address of a block
 *	addrmap_gather4(out, mapped, index, n);                         and then by index
 *
 * Any array may be mapped; a sorted one without repetitions costs least (prefix_map.h). Nothing is remembered from one block to
 * the next: with a table of the latest 131,072 addresses, 24 blocks of a trace of 10 M packets took 2.1 ms instead of 3.4 in
 * ipcrypt-pfx, which is 1 % of their export, and those of the real corpus three times as long, for page faults.
 *
 * After addrmap_open() nothing changes: threads may share one. It lies in sodium_malloc memory, which addrmap_close() wipes.
 * Not constant-time in the addresses: who may not see them must not share the core. */
#ifndef ANONYMIZE_ADDRMAP_H
#define ANONYMIZE_ADDRMAP_H

#include <stddef.h>
#include <stdint.h>

#include "anonymize/scheme.h"

#define ADDRMAP_KEY_BYTES 32u
#define ADDRMAP_NDX_BYTES 32u /* tweak and ciphertext */

struct addrmap;
struct prefix_engine;

/* key: pfx K1 || K2; cryptopan AES key || pad; det the first 16 bytes; ndx data key || tweak key; the others ignore it. It is
 * copied. engine: one of prefix_key.h that is usable; NULL: the fastest. Before the key is used the engine has to give the right
 * answer to a published question. ERR_DENIED: equal halves of a pfx or ndx key. ERR_UNSUPPORTED: a wrong answer. ERR_NOMEM. */
enum err addrmap_open(struct addrmap **out, struct scheme scheme, enum family family, const uint8_t key[ADDRMAP_KEY_BYTES],
                      const struct prefix_engine *engine);
void     addrmap_close(struct addrmap **m);

/* n addresses, IPv4 in host order, IPv6 in network order; out may be in. The scheme fits the family (scheme_fits). */
void addrmap_map4(const struct addrmap *m, const uint32_t *in, uint32_t *out, size_t n);
void addrmap_map6(const struct addrmap *m, const uint8_t (*in)[16], uint8_t (*out)[16], size_t n);

/* What the view's prefix of so many bits was before: filters on a view name networks of the view. Bits behind the prefix do not
 * matter and come back as 0. raw_bits is bits, or less with truncate, where all of a longer prefix became this one.
 * END: no address is mapped into it (of a truncated view). ERR_UNSUPPORTED: det has no networks but 0 and 128 bits, ndx and IPv4
 * det have no addresses that fit. */
enum err addrmap_unmap4(const struct addrmap *m, uint32_t view, unsigned bits, uint32_t *raw, unsigned *raw_bits);
enum err addrmap_unmap6(const struct addrmap *m, const uint8_t view[16], unsigned bits, uint8_t raw[16], unsigned *raw_bits);

/* det and ndx, for columns with room: n addresses of 16 bytes (IPv4 as ::ffff:a.b.c.d), out n times scheme_bytes().
 * ndx takes its tweaks from a keystream, that of the first address being number occurrence: the same request gives the same
 * bytes, and no two addresses of a dataset may have the same number. Not the draft's random tweak, but as good to whoever has
 * no key: a tweak is 16 bytes of ChaCha20. out and in do not overlap. */
void addrmap_wide(const struct addrmap *m, const uint8_t (*in)[16], uint64_t occurrence, uint8_t *out, size_t n);
/* One of them back, scheme_bytes() of it. ERR_FORMAT: not the pseudonym of an IPv4 address under this key (any 16 bytes are an
 * IPv6 address). */
enum err addrmap_unwide(const struct addrmap *m, const uint8_t *pseudonym, uint8_t out[16]);

/* out[i] = mapped[index[i]] */
static inline void
addrmap_gather4(uint32_t *restrict out, const uint32_t *restrict mapped, const uint32_t *restrict index, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = mapped[index[i]];
}

static inline void
addrmap_gather6(uint8_t (*restrict out)[16], const uint8_t (*restrict mapped)[16], const uint32_t *restrict index, size_t n)
{
	for (size_t i = 0; i < n; i++)
		__builtin_memcpy(out[i], mapped[index[i]], 16);
}

#endif
