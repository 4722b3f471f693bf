/* A stored stream: what it says of itself, all of it, and parts of it. Data: two bytes for each range, then the stream. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "archive/pack.h"

#define RANGES 4
#define ROOM   (1u << 20)

static struct unpacker *unpacker;
static uint8_t *whole, *parts;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (!unpacker && (unpacker_open(&unpacker) != OK || !(whole = malloc(ROOM + PACK_SLACK)) ||
	                  !(parts = malloc(ROOM + PACK_SLACK))))
		abort();
	if (n < 2 * RANGES)
		return 0;
	struct reader r = reader_of(data + 2 * RANGES, n - 2 * RANGES), again = r;
	struct packed v;
	uint32_t got = 0;
	enum err looked = unpack_look(&r, &v), e = unpack(unpacker, &again, whole, ROOM, &got);
	assert(looked == OK || e != OK);
	if (looked != OK || v.raw_bytes > ROOM)
		return 0;
	for (unsigned i = 0; i < RANGES; i++) {
		uint32_t first = v.raw_bytes ? data[2 * i] * 509u % v.raw_bytes : 0;
		uint32_t end = first + data[2 * i + 1] * 257u % (v.raw_bytes - first + 1);
		enum err part = unpack_range(unpacker, &v, parts, first, end);
		assert(part == OK || e != OK);
		if (e == OK)
			assert(got == v.raw_bytes && memcmp(parts + first, whole + first, end - first) == 0);
	}
	return 0;
}
