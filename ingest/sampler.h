/* Leaving packets out on purpose, in ways from which every later count can be scaled up again (RFC 5475, section 5):
 *
 *   every Nth       systematic count-based: the first, then each Nth
 *   at random       uniform probabilistic with 1/N: geometric gaps from a seeded generator (xoshiro256**)
 *   by flow         all packets of one in N flows: a keyed hash (SipHash-2-4) of the five-tuple, the same both ways. What has
 *                   no ports (other protocols; all fragments, with IPv6 all that has extension headers) goes by addresses
 *                   and protocol; what is not IP by its link header. Kept at N and M > N are nested: what is kept at M is kept at N
 *
 * Not thread-safe. The key and seed are the caller's, so that several collectors can pick the same flows.
 */
#ifndef INGEST_SAMPLER_H
#define INGEST_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/frames.h"

#define SAMPLER_SEED_BYTES 32u

struct sampler {
	enum sampler_kind kind;
	uint32_t rate;      /* N, 1..SAMPLING_RATE_MAX; 1 keeps all */
	uint32_t gap;       /* packets to leave out before the next that is kept: every Nth and at random */
	uint64_t threshold; /* by flow: kept when the hash is not above */
	double   log_keep;  /* ln(1 - 1/N) */
	uint64_t state[4];
	uint8_t  key[16];
};

/* rate 1 with any kind is SAMPLER_ALL until sampler_rate() raises it. */
void     sampler_init(struct sampler *s, enum sampler_kind kind, uint32_t rate, const uint8_t seed[SAMPLER_SEED_BYTES]);
/* Another rate from the next packet on. Frames that were chosen at one rate only belong in one block. */
void     sampler_rate(struct sampler *s, uint32_t rate);
/* "every:10", "random:10", "flow:10". ERR_USAGE says what there is. */
enum err sampler_parse(enum sampler_kind *kind, uint32_t *rate, const char *text);

/* Whether the next packet is kept; p needs not be read for every Nth and at random. n captured bytes, and FRAMES_SLACK more may
 * be read. */
bool     sampler_keeps(struct sampler *s, uint16_t linktype, const uint8_t *p, uint32_t n);
/* Whether it looks at bytes. */
static inline bool
sampler_looks(const struct sampler *s)
{
	return s->kind == SAMPLER_FLOW && s->rate > 1;
}
/* Says in f how its frames were chosen; f is empty. */
void     sampler_mark(const struct sampler *s, struct frames *f);

#endif
