/* What a view does with addresses: a scheme for each family, and classes of addresses that keep their place.
 *
 * A kept class is a prefix that is mapped onto itself: the flips of the positions on the way to it are 0 for every address that
 * takes this way, so that the whole stays a bijection that preserves prefixes, and no other address is mapped into the class.
 * It costs something: addresses near a kept prefix show the bits that they share with it.
 *
 * One thread at a time; each worker has its own. */
#ifndef ANONYMIZE_ADDRESSES_H
#define ANONYMIZE_ADDRESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "anonymize/addrmap.h"

/* Classes of addresses (RFC 6890, RFC 5771, RFC 4291). F(id, name, description) */
#define ADDRESS_CLASSES(F)                                                                                     \
	F(SPECIAL, special, "this host, loopback, link-local prefix, documentation, reserved")                 \
	F(MULTICAST, multicast, "multicast; of IPv6 solicited-node groups the prefix")                         \
	F(PRIVATE, private, "RFC 1918, shared space of RFC 6598, and the first byte of IPv6 unique local ones") \
	F(BROADCAST, broadcast, "255.255.255.255")

enum address_class {
#define F(id, name, description) ADDRESS_##id,
	ADDRESS_CLASSES(F)
#undef F
	ADDRESS_CLASSES_COUNT
};

struct address_rules {
	struct scheme ip4, ip6;
	bool keep[ADDRESS_CLASSES_COUNT];
};

struct addresses;

/* The keys of both families, each as addrmap_open() wants them; copied. ERR_USAGE: a scheme that does not fit an address's place
 * (scheme_fits); else as addrmap_open(). */
enum err addresses_open(struct addresses **out, const struct address_rules *rules, const uint8_t key4[ADDRMAP_KEY_BYTES],
                        const uint8_t key6[ADDRMAP_KEY_BYTES]);
void     addresses_close(struct addresses **a);

/* n addresses, IPv4 in host order, in place. Sorted ones cost least. */
void addresses_map4(struct addresses *a, uint32_t *v, size_t n);
void addresses_map6(struct addresses *a, uint8_t (*v)[16], size_t n);

/* Which captured addresses are shown inside this prefix of the view: those inside the prefix that takes its place, or some more
 * (a superset). Bits behind the prefix become 0. *bits is IPv4's 0..32 or IPv6's 0..128. END: none is. ERR_UNSUPPORTED: it
 * can not be told (ndx; det but for whole addresses). */
enum err addresses_unmap4(struct addresses *a, uint32_t *address, unsigned *bits);
enum err addresses_unmap6(struct addresses *a, uint8_t address[16], unsigned *bits);

#endif
