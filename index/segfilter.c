#include "index/segfilter.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define SECTOR_BITS ((SEGFILTER_SECTOR_BYTES - SEGFILTER_CHECK_BYTES) * 8)

_Static_assert(SEGFILTER_KEY_BYTES == crypto_shorthash_siphashx24_KEYBYTES, "one key for terms and checks");
_Static_assert(SEGFILTER_PROBES * 12 <= 96, "twelve bits of hash for each probe, 32 for the sector");

#define SIZE_le32 4
#define SIZE_le64 8
#define BYTES_OF(kind, name, meaning) +SIZE_##kind
_Static_assert(0 SEGFILTER_HEADER(BYTES_OF) == SEGFILTER_HEADER_BYTES, "as encoded");

/* One term: family, prefix length, the address with the bits behind the prefix zero. */
struct term {
	uint8_t bytes[18];
	uint8_t n;
};

static struct term
term_of(unsigned family, unsigned bits, const uint8_t *addr)
{
	struct term t = { .n = family == 4 ? 6 : 18 };
	t.bytes[0] = (uint8_t)family;
	t.bytes[1] = (uint8_t)bits;
	memcpy(t.bytes + 2, addr, bits / 8); /* all kept lengths are whole bytes */
	return t;
}

struct place {
	uint32_t sector;
	uint16_t bit[SEGFILTER_PROBES];
};

static struct place
term_place(const struct term *t, const uint8_t *key, uint32_t sectors)
{
	uint8_t hash[crypto_shorthash_siphashx24_BYTES];
	crypto_shorthash_siphashx24(hash, t->bytes, t->n, key);
	struct place p;
	p.sector = (uint32_t)((uint64_t)load_le32(hash) * sectors >> 32);
	unsigned __int128 rest = load_le64(hash + 8) | (unsigned __int128)load_le32(hash + 4) << 64;
	for (unsigned i = 0; i < SEGFILTER_PROBES; i++, rest >>= 12)
		p.bit[i] = (uint16_t)(((uint32_t)rest & 0xfff) * SECTOR_BITS >> 12);
	return p;
}

static uint32_t
check_of(const uint8_t *bytes, size_t n, const uint8_t *key)
{
	uint8_t hash[crypto_shorthash_BYTES];
	crypto_shorthash(hash, bytes, n, key);
	return load_le32(hash);
}

/* Sectors carry their number in the check, so that one in another's place is noticed. */
static uint32_t
sector_check(const uint8_t *sector, uint32_t number, const uint8_t *key)
{
	return check_of(sector, SEGFILTER_SECTOR_BYTES - SEGFILTER_CHECK_BYTES, key) ^ number;
}

/* --- building --- */

struct builder {
	uint8_t       *sectors; /* NULL: count only */
	uint32_t       sector_count;
	const uint8_t *key;
	uint64_t       terms;
};

static void
builder_add(struct builder *b, unsigned family, unsigned bits, const uint8_t *addr)
{
	b->terms++;
	if (b->sectors == NULL)
		return;
	struct term t = term_of(family, bits, addr);
	struct place p = term_place(&t, b->key, b->sector_count);
	uint8_t *sector = b->sectors + (size_t)p.sector * SEGFILTER_SECTOR_BYTES;
	for (unsigned i = 0; i < SEGFILTER_PROBES; i++)
		sector[p.bit[i] >> 3] |= (uint8_t)(1u << (p.bit[i] & 7));
}

/* Every address, and each of its prefixes once (the lists are sorted; false when they are not). */
static bool
builder_run(struct builder *b, const struct segfilter_addresses *a)
{
	const uint32_t *ip4 = a->ip4;
	const uint8_t (*ip6)[16] = a->ip6;
	for (uint32_t i = 0; i < a->ip4_count; i++) {
		if (i > 0 && ip4[i - 1] >= ip4[i])
			return false;
		uint8_t addr[4];
		store_be32(addr, ip4[i]);
		if (i == 0 || (ip4[i] ^ ip4[i - 1]) >> 16)
			builder_add(b, 4, 16, addr);
		if (i == 0 || (ip4[i] ^ ip4[i - 1]) >> 8)
			builder_add(b, 4, 24, addr);
		builder_add(b, 4, 32, addr);
	}
	for (uint32_t i = 0; i < a->ip6_count; i++) {
		if (i > 0 && memcmp(ip6[i - 1], ip6[i], 16) >= 0)
			return false;
		if (i == 0 || memcmp(ip6[i], ip6[i - 1], 6) != 0)
			builder_add(b, 6, 48, ip6[i]);
		if (i == 0 || memcmp(ip6[i], ip6[i - 1], 8) != 0)
			builder_add(b, 6, 64, ip6[i]);
		builder_add(b, 6, 128, ip6[i]);
	}
	return true;
}

enum err
segfilter_build(uint8_t **out, size_t *n, const uint8_t key[SEGFILTER_KEY_BYTES], uint64_t segment,
                const struct segfilter_addresses *addresses)
{
	struct builder b = { .key = key };
	if (!builder_run(&b, addresses))
		return fail(ERR_FORMAT, "the segment's address table is not sorted");
	uint64_t terms = b.terms;
	uint64_t sectors = (terms * SEGFILTER_TERM_BITS + SECTOR_BITS - 1) / SECTOR_BITS;
	if (sectors == 0)
		sectors = 1; /* holds nothing: says no to everything */
	if (addresses->all || sectors > SEGFILTER_BYTES_MAX / SEGFILTER_SECTOR_BYTES)
		sectors = 0;
	size_t bytes = SEGFILTER_HEADER_BYTES + (size_t)sectors * SEGFILTER_SECTOR_BYTES;
	uint8_t *filter = calloc(1, bytes);
	if (filter == NULL)
		return fail(ERR_NOMEM, "no memory for a segment filter of %zu bytes", bytes);
	struct writer w = writer_of(filter, SEGFILTER_HEADER_BYTES);
	writer_le32(&w, SEGFILTER_VERSION);
	writer_le32(&w, (uint32_t)sectors);
	writer_le64(&w, segment);
	writer_le64(&w, terms);
	writer_le32(&w, check_of(filter, SEGFILTER_HEADER_BYTES - 4, key));
	assert(writer_ok(&w));
	if (sectors) {
		b = (struct builder){ filter + SEGFILTER_HEADER_BYTES, (uint32_t)sectors, key, 0 };
		(void)builder_run(&b, addresses);
	}
	for (uint32_t i = 0; i < sectors; i++) {
		uint8_t *sector = filter + SEGFILTER_HEADER_BYTES + (size_t)i * SEGFILTER_SECTOR_BYTES;
		store_le32(sector + SEGFILTER_SECTOR_BYTES - SEGFILTER_CHECK_BYTES, sector_check(sector, i, key));
	}
	*out = filter;
	*n = bytes;
	return OK;
}

/* --- asking --- */

static enum err
damaged(void)
{
	return fail(ERR_FORMAT, "index damaged (a segment filter): run atoll rebuild");
}

static enum err
header_read(const uint8_t *filter, size_t n, const uint8_t *key, uint64_t segment, uint32_t *sectors)
{
	struct reader r = reader_of(filter, n);
	uint32_t version = reader_le32(&r), count = reader_le32(&r);
	uint64_t of = reader_le64(&r);
	(void)reader_le64(&r);
	uint32_t check = reader_le32(&r);
	if (!reader_ok(&r) || check != check_of(filter, SEGFILTER_HEADER_BYTES - 4, key))
		return damaged();
	if (version != SEGFILTER_VERSION)
		return fail(ERR_UNSUPPORTED, "segment filter version %u, this program knows %u: run atoll rebuild", version,
		            SEGFILTER_VERSION);
	if (of != segment || count > SEGFILTER_BYTES_MAX / SEGFILTER_SECTOR_BYTES ||
	    reader_left(&r) != (size_t)count * SEGFILTER_SECTOR_BYTES)
		return damaged();
	*sectors = count;
	return OK;
}

/* The kept length to ask for, 0 when none is short enough. */
static unsigned
kept_length(unsigned family, unsigned bits)
{
	if (family == 4)
		return bits >= 32 ? 32 : bits >= 24 ? 24 : bits >= 16 ? 16 : 0;
	return bits >= 128 ? 128 : bits >= 64 ? 64 : bits >= 48 ? 48 : 0;
}

enum err
segfilter_find(const uint8_t *filter, size_t n, const uint8_t key[SEGFILTER_KEY_BYTES], uint64_t segment, unsigned family,
               unsigned bits, const uint8_t addr[16], bool *maybe)
{
	assert((family == 4 && bits <= 32) || (family == 6 && bits <= 128));
	uint32_t sectors;
	TRY(header_read(filter, n, key, segment, &sectors));
	unsigned kept = kept_length(family, bits);
	*maybe = true;
	if (sectors == 0 || kept == 0)
		return OK;
	struct term t = term_of(family, kept, addr);
	struct place p = term_place(&t, key, sectors);
	const uint8_t *sector = filter + SEGFILTER_HEADER_BYTES + (size_t)p.sector * SEGFILTER_SECTOR_BYTES;
	if (load_le32(sector + SEGFILTER_SECTOR_BYTES - SEGFILTER_CHECK_BYTES) != sector_check(sector, p.sector, key))
		return damaged();
	for (unsigned i = 0; i < SEGFILTER_PROBES; i++)
		*maybe &= sector[p.bit[i] >> 3] >> (p.bit[i] & 7) & 1;
	return OK;
}

enum err
segfilter_check(const uint8_t *filter, size_t n, const uint8_t key[SEGFILTER_KEY_BYTES], uint64_t segment)
{
	uint32_t sectors;
	TRY(header_read(filter, n, key, segment, &sectors));
	for (uint32_t i = 0; i < sectors; i++) {
		const uint8_t *sector = filter + SEGFILTER_HEADER_BYTES + (size_t)i * SEGFILTER_SECTOR_BYTES;
		if (load_le32(sector + SEGFILTER_SECTOR_BYTES - SEGFILTER_CHECK_BYTES) != sector_check(sector, i, key))
			return damaged();
	}
	return OK;
}
