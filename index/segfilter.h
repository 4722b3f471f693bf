/* The segment filter: which addresses a segment can hold, in about ten bits each. A host or net query asks it before the
 * segment's file is opened.
 *
 * A Bloom filter over keyed hashes (SipHash-2-4-128 under half of keystore_derive("catalogue"), so that a stolen index tells
 * nothing) of every distinct IPv4 address and its /16 and /24, and every IPv6 address and its /48 and /64. All bits of a
 * term lie in one sector of 512 bytes, whose last four bytes are a check: a lookup reads and verifies one sector, and
 * damage is noticed before it can hide a packet. Ten bits per term and seven probes: less than 1 % false positives
 * (measured 0.9 % with sectors; a plain Bloom filter 0.8 %). A Bloom filter rather than a binary fuse filter (9.04 bits,
 * 0.4 %), because building needs no memory beside the result and can not fail: a segment of 4 M packets from a scan holds
 * 8 M addresses.
 *
 * Layout: SEGFILTER_HEADER, then sectors. The same addresses under the same key give the same bytes.
 */
#ifndef INDEX_SEGFILTER_H
#define INDEX_SEGFILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define SEGFILTER_KEY_BYTES     16u
#define SEGFILTER_VERSION       1u
#define SEGFILTER_TERM_BITS     10u
#define SEGFILTER_PROBES        7u
#define SEGFILTER_SECTOR_BYTES  512u
#define SEGFILTER_CHECK_BYTES   4u
#define SEGFILTER_BYTES_MAX     (32u << 20) /* 26 M terms; a segment with more gets a filter that says yes to all */

/* kind, name, meaning */
#define SEGFILTER_HEADER(F)                                                                \
	F(le32, version, "SEGFILTER_VERSION")                                              \
	F(le32, sectors, "that follow; 0: the filter says yes to everything")              \
	F(le64, segment, "whose filter this is: one under another's key is noticed")       \
	F(le64, terms, "distinct ones")                                                    \
	F(le32, check, "low half of SipHash-2-4 over the bytes before, keyed as the terms")
#define SEGFILTER_HEADER_BYTES 28u

struct segfilter_addresses {
	const uint32_t *ip4; /* sorted ascending, host order */
	const uint8_t (*ip6)[16]; /* sorted ascending */
	uint32_t ip4_count, ip6_count;
	bool     all;        /* the segment may hold addresses that are not listed: the filter says yes to everything */
};

/* Builds the filter of these addresses. *out is malloc'ed. ERR_NOMEM; ERR_FORMAT: not sorted. */
enum err segfilter_build(uint8_t **out, size_t *n, const uint8_t key[SEGFILTER_KEY_BYTES], uint64_t segment,
                         const struct segfilter_addresses *addresses);

/* Whether the segment can hold an address of this net: family 4 or 6, prefix length, address in network byte order (IPv4 in
 * the first four bytes; bits behind the prefix are ignored). A net between two kept lengths asks for the shorter one; a net
 * shorter than /16 or /48 may always be there. ERR_FORMAT: the filter is damaged (anywhere that this lookup reads) or
 * another segment's. */
enum err segfilter_find(const uint8_t *filter, size_t n, const uint8_t key[SEGFILTER_KEY_BYTES], uint64_t segment,
                        unsigned family, unsigned bits, const uint8_t addr[16], bool *maybe);

/* Verifies all of it. ERR_FORMAT. */
enum err segfilter_check(const uint8_t *filter, size_t n, const uint8_t key[SEGFILTER_KEY_BYTES], uint64_t segment);

#endif
