/* Addresses through a prefix-preserving key, and back.
 *
 * Neighbours in the array share work: what an address has in common with the one before it is not computed again, so that
 * a sorted array without repetitions (a block's dictionary) costs the blocks of its trie, about 9 per IPv4 address instead of
 * 32. Any order is right, and so are repetitions. Not constant-time: how much is shared depends on the addresses. */
#ifndef ANONYMIZE_PREFIX_MAP_H
#define ANONYMIZE_PREFIX_MAP_H

#include "anonymize/prefix_key.h"

/* n addresses in host order. in and out may be the same. */
void prefix_map4(const struct prefix_key *k, const uint32_t *in, uint32_t *out, size_t n);
/* n addresses in network order. in and out may be the same. */
void prefix_map6(const struct prefix_key *k, const uint8_t (*in)[16], uint8_t (*out)[16], size_t n);

/* The prefix of so many bits that is mapped to this one; bits of the argument behind it do not matter, of the answer they
 * are 0. One bit after the other: microseconds. */
uint32_t prefix_unmap4(const struct prefix_key *k, uint32_t mapped, unsigned bits);
void     prefix_unmap6(const struct prefix_key *k, const uint8_t mapped[16], unsigned bits, uint8_t out[16]);

/* Fills k->top, worth its 8,736 blocks when more than some hundreds of IPv4 addresses will be mapped: 20 blocks each instead of
 * 32. Does not change what they are mapped to. */
void prefix_map_top(struct prefix_key *k);

#endif
