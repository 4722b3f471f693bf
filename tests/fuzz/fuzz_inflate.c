/* Packed bytes of any kind: whatever the pieces they come in, the same bytes and the same end come out, within bounds. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "ingest/inflate.h"

#define OUT_BYTES (1u << 20) /* a bomb is cut off here */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static size_t
unpack(const uint8_t *data, size_t n, size_t piece, size_t step, uint8_t *out, enum err *e)
{
	struct inflate *s = NULL;
	if (inflate_open_memory(&s, data, n, piece, "fuzz") != OK)
		__builtin_trap();
	size_t done = 0;
	*e = OK;
	while (*e == OK && done < OUT_BYTES) {
		size_t got = 0, room = OUT_BYTES - done < step ? OUT_BYTES - done : step;
		*e = inflate_read(s, out + done, room, &got);
		assert(got <= room && (*e == OK) == (got > 0));
		done += got;
	}
	assert(inflate_in_bytes(s) <= n && inflate_out_bytes(s) == done);
	inflate_close(&s);
	return done;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static uint8_t whole[OUT_BYTES], pieces[OUT_BYTES];
	if (n < 1)
		return 0;
	enum err a, b;
	size_t piece = 1 + data[0] % 16u, step = 1 + (data[0] / 16u) * 1000;
	data++;
	n--;
	size_t one = unpack(data, n, 0, OUT_BYTES, whole, &a);
	if (one > 65536) /* slow in small steps, and nothing new */
		step = 65536;
	size_t two = unpack(data, n, piece, step, pieces, &b);
	/* How much a failing decoder gave of its last block depends on the pieces. */
	if (a == END || b == END)
		assert(a == b && one == two);
	assert(memcmp(whole, pieces, one < two ? one : two) == 0);
	return 0;
}
