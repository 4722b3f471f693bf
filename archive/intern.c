#include "archive/intern.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "archive/seal.h"
#include "base/bytes.h"

enum err
intern_init(struct intern *t, uint32_t count_max)
{
	TRY(seal_start());
	uint32_t slots_max = INTERN_SLOTS_MIN;
	while (slots_max / 2 < count_max)
		slots_max *= 2;
	*t = (struct intern){ .slots = calloc(slots_max, sizeof *t->slots), .age = 1, .slots_max = slots_max };
	t->slot_count = INTERN_SLOTS_MIN;
	t->keys = malloc(count_max * sizeof *t->keys);
	randombytes_buf(&t->seed, sizeof t->seed);
	return t->slots && t->keys ? OK : fail(ERR_NOMEM, "out of memory");
}

void
intern_grow(struct intern *t)
{
	if (t->slot_count == t->slots_max)
		return;
	t->slot_count = t->slot_count * 4 < t->slots_max ? t->slot_count * 4 : t->slots_max;
	t->age++;
	for (uint32_t number = 0; number < t->count; number++) {
		uint32_t at = (uint32_t)hash64(t->keys[number] ^ t->seed);
		while (t->slots[at & (t->slot_count - 1)].age == t->age)
			at++;
		t->slots[at & (t->slot_count - 1)] = (struct intern_slot){ t->keys[number], number, t->age };
	}
}

void
intern_fini(struct intern *t)
{
	free(t->slots);
	free(t->keys);
	*t = (struct intern){ 0 };
}

enum err
strings_init(struct strings *s, uint32_t count_max, uint32_t bytes_max)
{
	*s = (struct strings){ 0 };
	enum err e = intern_init(&s->index, count_max);
	s->bytes = malloc((size_t)bytes_max + 8);
	s->at = malloc((count_max + 1) * sizeof *s->at);
	s->tag = malloc(count_max * sizeof *s->tag);
	if (e != OK || !s->bytes || !s->at || !s->tag) {
		strings_fini(s);
		return fail(ERR_NOMEM, "out of memory");
	}
	strings_reset(s);
	return OK;
}

void
strings_fini(struct strings *s)
{
	intern_fini(&s->index);
	free(s->bytes);
	free(s->at);
	free(s->tag);
	*s = (struct strings){ 0 };
}

void
strings_reset(struct strings *s)
{
	intern_reset(&s->index);
	s->used = 0;
	s->at[0] = 0;
}

static uint64_t
hash_bytes(uint64_t tag, const uint8_t *p, uint32_t n)
{
	uint64_t h = tag ^ (uint64_t)n << 56;
	for (; n >= 8; p += 8, n -= 8)
		h = hash64(h ^ load_le64(p));
	uint64_t last = 0;
	memcpy(&last, p, n);
	return hash64(h ^ last);
}

uint32_t
strings_add(struct strings *s, uint64_t tag, const uint8_t *p, uint32_t n)
{
	for (uint64_t h = hash_bytes(tag ^ s->index.seed, p, n);; h = hash64(h + 1)) {
		bool fresh;
		uint32_t number = intern_key(&s->index, h, &fresh);
		if (fresh) {
			s->tag[number] = tag;
			memcpy(s->bytes + s->used, p, n);
			s->used += n;
			s->at[number + 1] = s->used;
			return number;
		}
		uint32_t at = s->at[number];
		if (s->tag[number] == tag && s->at[number + 1] - at == n && memcmp(s->bytes + at, p, n) == 0)
			return number;
	}
}
