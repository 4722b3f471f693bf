/* Parcels from anybody: taken apart or refused; what is taken apart lies inside its bytes; with a right signature put on it,
 * also the block is looked through. */
#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "archive/block_read.h"
#include "archive/parcel.h"
#include "archive/seal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct block_examiner *examiner;

static void
examine(const struct parcel *p)
{
	static const uint8_t key[BLOCK_KEY_BYTES];
	struct block b;
	if (!examiner && (seal_start() != OK || block_examiner_open(&examiner) != OK))
		abort();
	if (block_examine(examiner, p->block, p->block_bytes, key, p->captured_bytes, EXAMINE_ALL, &b) == OK)
		assert(b.info.records > 0 && b.info.first_ns <= b.info.last_ns);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct parcel p;
	uint64_t length;
	uint8_t *alone = malloc(n + 1); /* so that reading on is noticed */
	if (!alone)
		abort();
	memcpy(alone, data, n);
	if (n >= PARCEL_HEADER_BYTES && parcel_length(alone, n, &length) == OK)
		assert(length <= PARCEL_BYTES_MAX);
	if (parcel_parse(alone, n, &p) == OK) {
		assert(p.front == alone && (size_t)p.front_bytes + p.block_bytes == n);
		assert(strlen(p.stream) == p.name_bytes);
		(void)parcel_verify(&p);
		if (p.block)
			examine(&p);
	}
	free(alone);
	return 0;
}
