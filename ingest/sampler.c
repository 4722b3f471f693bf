#include "ingest/sampler.h"

#include <assert.h>
#include <math.h>
#include <sodium.h>
#include <string.h>

#include "archive/dissect.h"
#include "base/bytes.h"
#include "base/human.h"

/* --- the generator: xoshiro256** (Blackman, Vigna, 2018; public domain) --- */

static uint64_t
rotate(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static uint64_t
random_next(uint64_t s[4])
{
	uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}

/* In (0, 1]. */
static double
random_real(uint64_t s[4])
{
	return ((double)(random_next(s) >> 11) + 1) * 0x1p-53;
}

/* How many to leave out before the next that is kept, when each is kept with probability 1/N. */
static uint32_t
geometric(struct sampler *s)
{
	double gap = floor(log(random_real(s->state)) / s->log_keep);
	return gap < 4e9 ? (uint32_t)gap : 4000000000u;
}

/* --- the rate --- */

void
sampler_rate(struct sampler *s, uint32_t rate)
{
	assert(rate >= 1 && rate <= SAMPLING_RATE_MAX);
	s->rate = rate;
	s->gap = 0;
	s->threshold = UINT64_MAX / rate;
	if (rate == 1)
		return;
	s->log_keep = log1p(-1.0 / rate);
	if (s->kind == SAMPLER_RANDOM)
		s->gap = geometric(s);
}

void
sampler_init(struct sampler *s, enum sampler_kind kind, uint32_t rate, const uint8_t seed[SAMPLER_SEED_BYTES])
{
	*s = (struct sampler){ .kind = kind };
	memcpy(s->key, seed, sizeof s->key);
	for (int i = 0; i < 4; i++)
		s->state[i] = load_le64(seed + 8 * i);
	s->state[0] |= 1; /* all zero is the one state that stays */
	for (int i = 0; i < 16; i++)
		random_next(s->state);
	sampler_rate(s, rate);
}

enum err
sampler_parse(enum sampler_kind *kind, uint32_t *rate, const char *text)
{
	static const struct {
		const char *name;
		enum sampler_kind kind;
	} known[] = { { "every:", SAMPLER_COUNT }, { "random:", SAMPLER_RANDOM }, { "flow:", SAMPLER_FLOW } };
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
		size_t n = strlen(known[i].name);
		uint64_t value;
		if (strncmp(text, known[i].name, n) != 0)
			continue;
		TRY(number_parse(&value, text + n, "the sampling rate"));
		if (value < 1 || value > SAMPLING_RATE_MAX)
			return fail(ERR_USAGE, "one in 1 to %u packets can be kept, not one in %llu", SAMPLING_RATE_MAX,
			            (unsigned long long)value);
		*kind = known[i].kind;
		*rate = (uint32_t)value;
		return OK;
	}
	char shown[64];
	return fail(ERR_USAGE, "\"%s\" is no way of sampling; there are every:N, random:N and flow:N",
	            human_text(shown, sizeof shown, text));
}

void
sampler_mark(const struct sampler *s, struct frames *f)
{
	assert(f->count == 0);
	f->sampler = s->rate > 1 ? s->kind : SAMPLER_ALL;
	f->sampled = s->rate;
}

/* --- by flow --- */

#define FLOW_KEY_BYTES 40u

/* Both ends in a fixed order, so that both directions give the same key. */
static size_t
put_ends(uint8_t *key, const uint8_t *src, const uint8_t *dst, size_t n, const uint8_t *sport, const uint8_t *dport,
         size_t m)
{
	int order = memcmp(src, dst, n);
	if (order == 0)
		order = memcmp(sport, dport, m);
	const uint8_t *first = order <= 0 ? src : dst, *second = order <= 0 ? dst : src;
	memcpy(key, first, n);
	memcpy(key + n, second, n);
	memcpy(key + 2 * n, order <= 0 ? sport : dport, m);
	memcpy(key + 2 * n + m, order <= 0 ? dport : sport, m);
	return 2 * (n + m);
}

/* First and later fragments must go the same way, and later ones have no ports: none of them counts. With IPv6 all extension
 * headers are taken for fragments: to tell them apart the chain would have to be walked. */
static bool
is_fragment(const struct dissection *d, const uint8_t *ip)
{
	if (d->net == NET_IP4)
		return (load_be16(ip + 6) & 0x3fff) != 0;
	return d->flags & (FLOW_FRAGMENT | FLOW_EXTENSIONS);
}

static size_t
flow_key(uint8_t key[FLOW_KEY_BYTES], uint16_t linktype, const uint8_t *p, uint32_t n)
{
	struct dissection d;
	dissect(linktype, p, n, &d);
	const uint8_t *ip = p + d.link_bytes;
	if (d.net == NET_RAW) {
		key[0] = 2;
		store_le16(key + 1, linktype);
		store_le16(key + 3, d.ethertype);
		if (linktype == LINK_ETHERNET && n >= 12)
			return 5 + put_ends(key + 5, p + 6, p, 6, p, p, 0);
		return 5;
	}
	bool fragment = is_fragment(&d, ip);
	bool ports = (d.transport == TRANSPORT_TCP || d.transport == TRANSPORT_UDP || d.transport == TRANSPORT_SCTP) && !fragment;
	const uint8_t *at = p + d.transport_at;
	key[0] = d.net == NET_IP6;
	key[1] = d.net == NET_IP6 && fragment ? 0 : d.proto;
	if (d.net == NET_IP4)
		return 2 + put_ends(key + 2, ip + 12, ip + 16, 4, at, at + 2, ports ? 2 : 0);
	return 2 + put_ends(key + 2, ip + 8, ip + 24, 16, at, at + 2, ports ? 2 : 0);
}

static bool
flow_keeps(const struct sampler *s, uint16_t linktype, const uint8_t *p, uint32_t n)
{
	uint8_t key[FLOW_KEY_BYTES], hash[crypto_shorthash_BYTES];
	size_t bytes = flow_key(key, linktype, p, n);
	crypto_shorthash(hash, key, bytes, s->key);
	return load_le64(hash) <= s->threshold;
}

bool
sampler_keeps(struct sampler *s, uint16_t linktype, const uint8_t *p, uint32_t n)
{
	if (s->rate == 1)
		return true;
	if (s->kind == SAMPLER_FLOW)
		return flow_keeps(s, linktype, p, n);
	if (s->gap > 0) {
		s->gap--;
		return false;
	}
	s->gap = s->kind == SAMPLER_COUNT ? s->rate - 1 : geometric(s);
	return true;
}
