/* Thirty-two blocks in flight: eight registers of four. Of the last AES round only the S-box of one byte matters, so that
 * round is not run: the byte is taken out of all thirty-two blocks into one register, where GF2P8AFFINEINVQB is the S-box. */
#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>

#include "anonymize/prefix_key.h"
#include "base/bytes.h"

#define ISA    "aes,vaes,gfni,avx512f,avx512bw,avx512vl,avx512vbmi"
#define INLINE static inline __attribute__((always_inline, target(ISA)))

static bool
usable(void)
{
	unsigned a, b, c, d;
	/* clang's __builtin_cpu_supports does not know vaes; the system's part, saving the registers, is asked for with avx512 */
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & bit_VAES) && (c & bit_GFNI) && __builtin_cpu_supports("aes") &&
	       __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi");
}

/* The S-box of one byte of each block of eight tasks after nine rounds under one key: that of task t and lane l in byte
 * 16 * l + t. */
INLINE __m512i
last_bytes(const struct prefix_key *k, bool pfx, unsigned half, const struct prefix_operand *operand, const uint16_t *task)
{
	__m512i x[8];
	for (unsigned i = 0; i < 8; i++) {
		unsigned quad = task[i] % PREFIX_QUADS;
		const struct prefix_operand *o = &operand[task[i] / PREFIX_QUADS];
		__m512i mask = _mm512_load_si512(k->mask[quad]), constant = _mm512_load_si512(k->constant[half][quad]);
		if (pfx) {
			__m512i number = _mm512_load_si512(o->shifted[quad % 2]);
			x[i] = _mm512_xor_si512(_mm512_shuffle_epi8(number, mask), constant);
		} else {
			__m512i address = _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)o->shifted[0][0]));
			x[i] = _mm512_ternarylogic_epi32(address, mask, constant, 0x6a); /* (address & mask) ^ constant */
		}
	}
	for (unsigned r = 1; r < 10; r++) {
		__m512i key = _mm512_broadcast_i32x4(_mm_load_si128((const __m128i *)k->round[half][r]));
		for (unsigned i = 0; i < 8; i++)
			x[i] = _mm512_aesenc_epi128(x[i], key);
	}
	/* ShiftRows of the last round brings byte 0 to 0, and 11 to 15 */
	__m512i byte = _mm512_set1_epi8(pfx ? 11 : 0), all = _mm512_setzero_si512();
	for (unsigned i = 0; i < 8; i++)
		all = _mm512_mask_shuffle_epi8(all, 0x0001000100010001ull << i, x[i], byte);
	return _mm512_gf2p8affineinv_epi64_epi8(all, _mm512_set1_epi64((long long)0xf1e3c78f1f3e7cf8ull), 0x63);
}

INLINE void
run(const struct prefix_key *k, bool pfx, const struct prefix_operand *operand, const uint16_t *task, size_t n, uint8_t *out)
{
	/* to byte 4 * t + l; the upper half is not used */
	const __m512i order = _mm512_castsi256_si512(_mm256_setr_epi8(0, 16, 32, 48, 1, 17, 33, 49, 2, 18, 34, 50, 3, 19, 35, 51,
	                                                              4, 20, 36, 52, 5, 21, 37, 53, 6, 22, 38, 54, 7, 23, 39, 55));
	const __m512i wanted = _mm512_set1_epi8(pfx ? 1 : (char)0x80);
	for (size_t i = 0; i < n; i += PREFIX_STEP) {
		__m512i bytes = last_bytes(k, pfx, 0, operand, task + i);
		if (pfx)
			bytes = _mm512_xor_si512(bytes, last_bytes(k, pfx, 1, operand, task + i));
		uint64_t bits = _mm512_test_epi8_mask(_mm512_permutexvar_epi8(order, bytes), wanted);
		store_le32(out + i / 2, (uint32_t)bits ^ k->answer);
	}
}

__attribute__((target(ISA))) static void
flips(const struct prefix_key *k, const struct prefix_operand *operand, const uint16_t *task, size_t n, uint8_t *out)
{
	if (k->pfx)
		run(k, true, operand, task, n, out);
	else
		run(k, false, operand, task, n, out);
}

const struct prefix_engine prefix_vaes = { "vaes", true, usable, flips };
#endif
