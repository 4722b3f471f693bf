/* Small numbers for repeated things: 64-bit keys, or byte strings. Open addressing; forgetting everything costs one
 * increment, because blocks come one after another. The caller knows how many different things there can be. */
#ifndef ARCHIVE_INTERN_H
#define ARCHIVE_INTERN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

#define INTERN_SLOTS_MIN 1024u /* small tables stay in the cache; they grow as they fill */

struct intern_slot {
	uint64_t key;
	uint32_t number;
	uint32_t age; /* valid when equal to the table's */
};

struct intern {
	struct intern_slot *slots;
	uint64_t *keys; /* by number */
	uint64_t seed; /* random: what a hostile sender can not know, it can not make collide */
	uint32_t age, count, slot_count, slots_max;
};

/* For at most count_max different things. ERR_NOMEM. */
enum err intern_init(struct intern *t, uint32_t count_max);
void     intern_fini(struct intern *t);
static inline void
intern_reset(struct intern *t)
{
	t->age++;
	t->count = 0;
	t->slot_count = INTERN_SLOTS_MIN;
}

void intern_grow(struct intern *t);

static inline uint64_t
hash64(uint64_t x)
{
	x ^= x >> 32;
	x *= 0x9e3779b97f4a7c15ull;
	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ull;
	return x ^ x >> 32;
}

/* The number of key, counted from 0 in order of first appearance; *fresh tells whether this was the first. */
static inline uint32_t
intern_key(struct intern *t, uint64_t key, bool *fresh)
{
	for (uint32_t at = (uint32_t)hash64(key ^ t->seed);; at++) {
		struct intern_slot *s = &t->slots[at & (t->slot_count - 1)];
		if (s->age != t->age) {
			*s = (struct intern_slot){ key, t->count, t->age };
			t->keys[t->count] = key;
			*fresh = true;
			if (++t->count > t->slot_count / 2)
				intern_grow(t);
			return t->count - 1;
		}
		if (s->key == key) {
			*fresh = false;
			return s->number;
		}
	}
}

/* A table of strings of at most 255 bytes with a tag each. */
struct strings {
	struct intern index; /* by hash of tag and bytes; equal hashes of different strings probe on */
	uint8_t  *bytes;     /* all strings, one after another */
	uint32_t *at;        /* start of each; at[count] is the end */
	uint64_t *tag;
	uint32_t  used;
};

/* For at most count_max different strings with bytes_max bytes together. ERR_NOMEM. */
enum err strings_init(struct strings *s, uint32_t count_max, uint32_t bytes_max);
void     strings_fini(struct strings *s);
void     strings_reset(struct strings *s);
uint32_t strings_add(struct strings *s, uint64_t tag, const uint8_t *p, uint32_t n);

#endif
