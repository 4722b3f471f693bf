/* Segment filters: hostile bytes are refused or answer, within their size. With its checks made right (first byte odd) the
 * input reaches the lookup. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "index/segfilter.h"

static const uint8_t key[SEGFILTER_KEY_BYTES];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
ask(const uint8_t *filter, size_t n, const uint8_t addr[16])
{
	bool maybe;
	(void)segfilter_check(filter, n, key, 7);
	for (unsigned bits = 0; bits <= 128; bits += 8) {
		(void)segfilter_find(filter, n, key, 7, 6, bits, addr, &maybe);
		if (bits <= 32)
			(void)segfilter_find(filter, n, key, 7, 4, bits, addr, &maybe);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 17)
		return 0;
	size_t n = size - 17;
	uint8_t *filter = malloc(n ? n : 1), hash[8];
	if (filter == NULL)
		return 0;
	memcpy(filter, data + 17, n);
	if ((data[0] & 1) && n >= SEGFILTER_HEADER_BYTES) {
		crypto_shorthash(hash, filter, SEGFILTER_HEADER_BYTES - 4, key);
		memcpy(filter + SEGFILTER_HEADER_BYTES - 4, hash, 4);
		uint32_t number = 0;
		for (size_t at = SEGFILTER_HEADER_BYTES; at + SEGFILTER_SECTOR_BYTES <= n; at += SEGFILTER_SECTOR_BYTES) {
			crypto_shorthash(hash, filter + at, SEGFILTER_SECTOR_BYTES - 4, key);
			store_le32(filter + at + SEGFILTER_SECTOR_BYTES - 4, load_le32(hash) ^ number++);
		}
	}
	ask(filter, n, data + 1);
	free(filter);
	return 0;
}
