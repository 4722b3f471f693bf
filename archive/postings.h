/* Postings: a sorted set of keys (addresses, ports, protocols), each with the blocks of a segment it occurs in, one bit a
 * block. Keys are 128-bit numbers in host order: an IPv4 address, a port or a protocol is a small one. */
#ifndef ARCHIVE_POSTINGS_H
#define ARCHIVE_POSTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/pack.h"
#include "base/bytes.h"
#include "base/err.h"

#define POSTINGS_PAGE 1024u  /* entries: what a look-up of one key decodes */

struct posting {
	uint64_t high, low;  /* the key */
	uint64_t blocks;
};

struct postings {
	struct posting *v, *spare;
	uint32_t count, room;
};

static inline bool
posting_before(const struct posting *a, const struct posting *b)
{
	return a->high != b->high ? a->high < b->high : a->low < b->low;
}

static inline struct posting
posting_of_ip6(const uint8_t address[16], uint64_t blocks)
{
	return (struct posting){ load_be64(address), load_be64(address + 8), blocks };
}

void     postings_fini(struct postings *p);
/* Adds n entries that are in ascending order of keys, none twice. ERR_NOMEM. */
enum err postings_merge(struct postings *p, const struct posting *add, uint32_t n);

/* One page of 1..POSTINGS_PAGE entries to bytes and back. */
size_t   postings_page_bound(void);
void     postings_page_pack(struct packer *pk, const struct posting *v, uint32_t n, struct writer *w);
/* out has room for POSTINGS_PAGE. ERR_FORMAT: damaged or out of order. */
enum err postings_page_unpack(struct unpacker *u, const uint8_t *p, size_t n, struct posting *out, uint32_t *count);

#endif
