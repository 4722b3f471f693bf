/* Messages and preambles: hostile bytes are refused, or mean one message whose bytes are the same again. */
#include <stdlib.h>
#include <string.h>

#include "ingest/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t again[WIRE_HEAD_BYTES + WIRE_SMALL_BODY_BYTES_MAX];
	struct wire_message m;
	unsigned type, version;
	uint32_t n;
	if (size >= WIRE_PREAMBLE_BYTES && wire_preamble_read(data, &version) == OK && version != WIRE_VERSION)
		abort();
	if (size < WIRE_HEAD_BYTES || wire_read_head(data, &type, &n) != OK)
		return 0;
	size_t have = size - WIRE_HEAD_BYTES < n ? size - WIRE_HEAD_BYTES : n;
	uint8_t *body = malloc(have + 1); /* so that reading on is noticed */
	if (body == NULL)
		return 0;
	memcpy(body, data + WIRE_HEAD_BYTES, have);
	if (wire_decode(type, body, have, &m) == OK && have == n) {
		struct writer w = writer_of(again, sizeof again);
		wire_encode(&m, &w);
		size_t got = (size_t)(w.at - again);
		if (!writer_ok(&w) || memcmp(again, data, got) != 0)
			abort();
		if (type == WIRE_TYPE_PARCEL ? m.parcel.bytes != body || m.parcel.bytes_count != n : got != WIRE_HEAD_BYTES + n)
			abort();
	}
	free(body);
	return 0;
}
