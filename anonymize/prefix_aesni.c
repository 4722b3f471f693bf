/* Eight blocks in flight with AES-NI: its latency, on every processor that has it, is covered by that many. */
#ifdef __x86_64__
#include <immintrin.h>

#include "anonymize/prefix_key.h"
#include "base/bytes.h"

#define TARGET __attribute__((target("aes,ssse3")))
#define INLINE static inline __attribute__((always_inline, target("aes,ssse3")))

static bool
usable(void)
{
	return __builtin_cpu_supports("aes") && __builtin_cpu_supports("ssse3");
}

TARGET static __m128i
next_round(__m128i before, __m128i assist)
{
	before = _mm_xor_si128(before, _mm_slli_si128(before, 4));
	before = _mm_xor_si128(before, _mm_slli_si128(before, 8));
	return _mm_xor_si128(before, _mm_shuffle_epi32(assist, 0xff));
}

TARGET void
prefix_aesni_expand(uint8_t round[11][16], const uint8_t key[16])
{
	__m128i k = _mm_loadu_si128((const __m128i *)key);
	_mm_storeu_si128((__m128i *)round[0], k);
#define NEXT(i, constant) _mm_storeu_si128((__m128i *)round[i], k = next_round(k, _mm_aeskeygenassist_si128(k, constant)))
	NEXT(1, 0x01);
	NEXT(2, 0x02);
	NEXT(3, 0x04);
	NEXT(4, 0x08);
	NEXT(5, 0x10);
	NEXT(6, 0x20);
	NEXT(7, 0x40);
	NEXT(8, 0x80);
	NEXT(9, 0x1b);
	NEXT(10, 0x36);
#undef NEXT
}

INLINE __m128i
load(const uint8_t *p)
{
	return _mm_load_si128((const __m128i *)p);
}

/* The eight blocks of two tasks under one key, encrypted. */
INLINE void
encrypt(__m128i x[8], const struct prefix_key *k, bool pfx, unsigned half, const struct prefix_operand *operand,
        const uint16_t task[2])
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned quad = task[i / 4] % PREFIX_QUADS, lane = i % 4;
		const struct prefix_operand *o = &operand[task[i / 4] / PREFIX_QUADS];
		__m128i mask = load(k->mask[quad][lane]), constant = load(k->constant[half][quad][lane]);
		x[i] = pfx ? _mm_shuffle_epi8(load(o->shifted[quad % 2][lane]), mask) :
		             _mm_and_si128(load(o->shifted[0][0]), mask);
		x[i] = _mm_xor_si128(x[i], constant);
	}
	for (unsigned r = 1; r < 10; r++) {
		__m128i key = load(k->round[half][r]);
		for (unsigned i = 0; i < 8; i++)
			x[i] = _mm_aesenc_si128(x[i], key);
	}
	/* without the last round key: prefix_key.answer adds the one bit of it that counts */
	for (unsigned i = 0; i < 8; i++)
		x[i] = _mm_aesenclast_si128(x[i], _mm_setzero_si128());
}

/* The highest bit of the first byte of each block. */
INLINE unsigned
first_bits(const __m128i x[8])
{
	__m128i a = _mm_unpacklo_epi16(_mm_unpacklo_epi8(x[0], x[1]), _mm_unpacklo_epi8(x[2], x[3]));
	__m128i b = _mm_unpacklo_epi16(_mm_unpacklo_epi8(x[4], x[5]), _mm_unpacklo_epi8(x[6], x[7]));
	return (unsigned)_mm_movemask_epi8(_mm_unpacklo_epi32(a, b)) & 0xff;
}

/* The lowest bit of the last byte of each block. */
INLINE unsigned
last_bits(const __m128i x[8])
{
	__m128i a = _mm_unpackhi_epi16(_mm_unpackhi_epi8(x[0], x[1]), _mm_unpackhi_epi8(x[2], x[3]));
	__m128i b = _mm_unpackhi_epi16(_mm_unpackhi_epi8(x[4], x[5]), _mm_unpackhi_epi8(x[6], x[7]));
	return (unsigned)_mm_movemask_epi8(_mm_slli_epi16(_mm_unpackhi_epi32(a, b), 7)) >> 8;
}

TARGET static void
flips(const struct prefix_key *k, const struct prefix_operand *operand, const uint16_t *task, size_t n, uint8_t *out)
{
	__m128i x[8], y[8];
	for (size_t i = 0; i < n; i += 2) {
		unsigned bits;
		if (k->pfx) {
			encrypt(x, k, true, 0, operand, task + i);
			encrypt(y, k, true, 1, operand, task + i);
			for (unsigned j = 0; j < 8; j++)
				x[j] = _mm_xor_si128(x[j], y[j]);
			bits = last_bits(x);
		} else {
			encrypt(x, k, false, 0, operand, task + i);
			bits = first_bits(x);
		}
		out[i / 2] = (uint8_t)(bits ^ k->answer);
	}
}

const struct prefix_engine prefix_aesni = { "aesni", true, usable, flips };
#endif
