#include "tests/support/wire_samples.h"

#include <assert.h>
#include <string.h>

#define SAMPLE_MAX 1000u

const enum wire_type wire_types[] = {
#define M(TABLE, noun, type, from, meaning) WIRE_TYPE_##TABLE,
	WIRE_MESSAGES(M)
#undef M
};
const size_t wire_type_count = sizeof wire_types / sizeof *wire_types;

static uint32_t
next(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void
fill(uint32_t *seed, void *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((uint8_t *)out)[i] = (uint8_t)next(seed);
}

static void
fill_text(uint32_t *seed, char *out, size_t room)
{
	size_t n = next(seed) % 4 == 0 ? room - 1 : next(seed) % room;
	for (size_t i = 0; i < n; i++)
		out[i] = (char)(32 + next(seed) % 95);
	out[n] = 0;
}

static const uint8_t *
fill_rest(uint32_t *seed, uint32_t *count)
{
	static uint8_t bytes[SAMPLE_MAX];
	*count = next(seed) % (SAMPLE_MAX + 1);
	fill(seed, bytes, *count);
	return bytes;
}

#define FILL_u8(to)   to = (uint8_t)(1 + next(&seed) % WIRE_REFUSAL_VERSION);
#define FILL_le32(to) fill(&seed, &to, sizeof to);
#define FILL_le64(to) fill(&seed, &to, sizeof to);
#define FILL_id(to)   fill(&seed, to, sizeof to);
#define FILL_key(to)  fill(&seed, to, sizeof to);
#define FILL_hash(to) fill(&seed, to, sizeof to);
#define FILL_name(to) fill_text(&seed, to, sizeof to);
#define FILL_text(to) fill_text(&seed, to, sizeof to);
#define FILL_rest(to) to = fill_rest(&seed, &to##_count);

void
wire_sample(struct wire_message *m, enum wire_type type, uint32_t seed)
{
	memset(m, 0, sizeof *m);
	m->type = type;
	switch (type) {
#define F(kind, name, meaning) FILL_##kind(v->name)
#define M(TABLE, noun, number, from, meaning)     \
	case WIRE_TYPE_##TABLE: {                 \
		struct wire_##noun *v = &m->noun; \
		(void)v;                          \
		WIRE_##TABLE(F)                   \
		break;                            \
	}
		WIRE_MESSAGES(M)
#undef M
#undef F
	}
}

#define SAME_u8(name)   && a->name == b->name
#define SAME_le32(name) && a->name == b->name
#define SAME_le64(name) && a->name == b->name
#define SAME_id(name)   && memcmp(a->name, b->name, 16) == 0
#define SAME_key(name)  && memcmp(a->name, b->name, 32) == 0
#define SAME_hash(name) && memcmp(a->name, b->name, 32) == 0
#define SAME_name(name) && strcmp(a->name, b->name) == 0
#define SAME_text(name) && strcmp(a->name, b->name) == 0
#define SAME_rest(name) && a->name##_count == b->name##_count && memcmp(a->name, b->name, a->name##_count) == 0

bool
wire_same(const struct wire_message *x, const struct wire_message *y)
{
	if (x->type != y->type)
		return false;
	switch (x->type) {
#define F(kind, name, meaning) SAME_##kind(name)
#define M(TABLE, noun, number, from, meaning)                          \
	case WIRE_TYPE_##TABLE: {                                      \
		const struct wire_##noun *a = &x->noun, *b = &y->noun; \
		(void)a, (void)b;                                      \
		return true WIRE_##TABLE(F);                           \
	}
		WIRE_MESSAGES(M)
#undef M
#undef F
	}
	return false;
}

size_t
wire_whole(const struct wire_message *m, uint8_t *out)
{
	struct writer w = writer_of(out, WIRE_HEAD_BYTES + WIRE_SMALL_BODY_BYTES_MAX + SAMPLE_MAX);
	wire_encode(m, &w);
	if (m->type == WIRE_TYPE_PARCEL)
		writer_put(&w, m->parcel.bytes, m->parcel.bytes_count);
	assert(writer_ok(&w));
	return (size_t)(w.at - out);
}
