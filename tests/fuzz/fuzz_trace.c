/* A trace of any kind: every frame lies in its buffer, counts agree, and neither the pieces in which the bytes come nor the
 * room for them change the records. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "archive/frames.h"
#include "ingest/trace.h"

#define RECORDS_MAX 200000u /* of a packed bomb */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct seen {
	uint64_t records, hash;
	enum err end;
};

static uint64_t
mix(uint64_t hash, uint64_t v)
{
	return (hash ^ v) * UINT64_C(0x100000001b3) + (hash >> 29);
}

static void
look(const struct frames *f, struct seen *s, uint64_t *captured)
{
	assert(f->count <= BLOCK_RECORDS_MAX && f->used_bytes <= f->room_bytes);
	uint32_t before = 0;
	for (uint32_t i = 0; i < f->count; i++) {
		const struct frame *r = &f->v[i];
		assert(r->at >= before && r->at <= f->used_bytes && r->cap_len <= f->used_bytes - r->at);
		assert(r->cap_len <= RECORD_BYTES_MAX);
		before = r->at + r->cap_len;
		*captured += r->cap_len;
		s->hash = mix(mix(s->hash, r->ts_ns), (uint64_t)r->wire_len << 32 | r->cap_len);
		s->hash = mix(s->hash, (uint64_t)r->linktype << 16 | r->iface);
		for (uint32_t k = 0; k < r->cap_len; k++)
			s->hash = mix(s->hash, f->bytes[r->at + k]);
	}
	s->records += f->count;
}

static struct seen
read_all(const uint8_t *data, size_t n, size_t piece, struct frames *f)
{
	struct seen s = { 0 };
	struct trace *t = NULL;
	s.end = trace_open_memory(&t, data, n, piece, "fuzz");
	if (s.end != OK)
		return s;
	uint64_t captured = 0;
	while (s.end == OK && s.records < RECORDS_MAX) {
		s.end = trace_fill(t, f);
		assert(s.end != OK || f->count > 0);
		look(f, &s, &captured);
	}
	struct trace_stats stats;
	trace_stats(t, &stats);
	assert(stats.records == s.records && stats.captured_bytes == captured);
	for (uint32_t i = 0; i < f->count; i++)
		assert(f->v[i].iface < stats.interface_count);
	if (s.end != OK)
		assert(trace_fill(t, f) == s.end && f->count == 0);
	trace_close(&t);
	return s;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct frames *large, *small;
	if (!large && (frames_open(&large, BLOCK_BYTES_MAX) != OK || frames_open(&small, TRACE_ROOM_BYTES_MIN) != OK))
		abort();
	if (n < 1)
		return 0;
	size_t piece = data[0] & 15u;
	struct seen one = read_all(data + 1, n - 1, 0, large);
	struct seen two = read_all(data + 1, n - 1, piece, large);
	struct seen three = read_all(data + 1, n - 1, piece, small);
	if (one.end == END || two.end == END)
		assert(one.end == two.end && one.records == two.records && one.hash == two.hash);
	if (three.end == END)
		assert(one.end == END && one.records == three.records && one.hash == three.hash);
	else
		assert(three.end != OK || three.records >= RECORDS_MAX);
	return 0;
}
