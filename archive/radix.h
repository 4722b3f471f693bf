/* Sorting 64-bit words by some of their bits, stable, in linear time. */
#ifndef ARCHIVE_RADIX_H
#define ARCHIVE_RADIX_H

#include <stdint.h>
#include <string.h>

/* Sorts v[0..n) by bits first_bit .. last_bit - 1; spare has room for n. */
static inline void
radix_sort(uint64_t *v, uint64_t *spare, uint32_t n, unsigned first_bit, unsigned last_bit)
{
	enum { BITS = 11, BUCKETS = 1 << BITS };
	uint64_t *from = v, *to = spare;
	for (unsigned shift = first_bit; shift < last_bit; shift += BITS) {
		unsigned bits = last_bit - shift < BITS ? last_bit - shift : BITS;
		uint64_t mask = ((uint64_t)1 << bits) - 1;
		uint32_t at[BUCKETS] = { 0 };
		for (uint32_t i = 0; i < n; i++)
			at[from[i] >> shift & mask]++;
		uint32_t sum = 0;
		for (uint32_t i = 0; i <= mask; i++) {
			uint32_t c = at[i];
			at[i] = sum;
			sum += c;
		}
		for (uint32_t i = 0; i < n; i++)
			to[at[from[i] >> shift & mask]++] = from[i];
		uint64_t *swap = from;
		from = to;
		to = swap;
	}
	if (from != v)
		memcpy(v, from, n * sizeof *v);
}

#endif
