#include "tests/gen/hosts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define QUANTILES 4096u
#define ZIPF      1.05 /* between DNS names' 0.9 and web servers' 1.2 */

uint64_t
chance_bits(struct chance *c)
{
	/* wyrand (Wang Yi, public domain) */
	c->state += 0xa0761d6478bd642full;
	unsigned __int128 product = (unsigned __int128)c->state * (c->state ^ 0xe7037ed1a0b428dbull);
	return (uint64_t)(product >> 64) ^ (uint64_t)product;
}

uint32_t
chance_below(struct chance *c, uint32_t n)
{
	return (uint32_t)((chance_bits(c) >> 32) * n >> 32);
}

bool
chance_in(struct chance *c, uint32_t per_million)
{
	return chance_below(c, 1000000) < per_million;
}

uint64_t
chance_exponential(struct chance *c, uint64_t mean)
{
	static uint32_t table[QUANTILES]; /* 20 bits of fraction */
	if (table[0] == 0)
		for (uint32_t i = 0; i < QUANTILES; i++)
			table[i] = (uint32_t)(-log((i + 0.5) / QUANTILES) * (1 << 20)) + 1;
	uint64_t bits = chance_bits(c);
	uint64_t value = (uint64_t)((unsigned __int128)mean * table[bits % QUANTILES] >> 20);
	return value + (value * (bits >> 52) >> 18); /* up to 1.6 % more: times are not multiples of a table */
}

uint64_t
chance_pareto(struct chance *c, uint64_t least, double shape, uint64_t most)
{
	double u = ((double)(chance_bits(c) >> 11) + 0.5) / 9007199254740992.0;
	double value = (double)least / pow(u, 1 / shape);
	return value < (double)most ? (uint64_t)value : most;
}

static void
zipf_fill(struct hosts *h)
{
	uint32_t n = h->count;
	double *weight = malloc(n * sizeof *weight), total = 0;
	uint32_t *small = malloc(n * sizeof *small), *large = malloc(n * sizeof *large), smalls = 0, larges = 0;
	if (!weight || !small || !large) {
		perror("gen");
		exit(1);
	}
	for (uint32_t i = 0; i < n; i++)
		total += weight[i] = pow(i + 1, -ZIPF);
	for (uint32_t i = 0; i < n; i++) {
		weight[i] *= n / total;
		if (weight[i] < 1)
			small[smalls++] = i;
		else
			large[larges++] = i;
	}
	for (uint32_t i = 0; i < n; i++) {
		h->alias[i] = i;
		h->share[i] = UINT32_MAX;
	}
	while (smalls > 0 && larges > 0) {
		uint32_t s = small[--smalls], l = large[larges - 1];
		h->share[s] = (uint32_t)(weight[s] * UINT32_MAX);
		h->alias[s] = l;
		weight[l] -= 1 - weight[s];
		if (weight[l] < 1) {
			larges--;
			small[smalls++] = l;
		}
	}
	free(weight);
	free(small);
	free(large);
}

static void
host_fill(struct host *h, uint32_t i, struct chance *c)
{
	static const uint8_t ttls[] = { 64, 64, 64, 128, 128, 255, 60, 53 };
	static const uint8_t vendors[][3] = { { 0x00, 0x1b, 0x21 }, { 0x3c, 0xfd, 0xfe }, { 0x52, 0x54, 0x00 }, { 0x00, 0x50, 0x56 } };
	uint64_t bits = chance_bits(c);
	if (i % 4 == 0) {
		h->ip4 = 0x0a000000 | ((i / 4 + 1) & 0xffffff) | (chance_in(c, 500000) ? 0x200000 : 0); /* local: 10.0.0.0/8 */
	} else {
		uint32_t net = 0x010000 + (i / 48 * 2654435761u >> 8) % 0xdf0000; /* 48 hosts share a /24 of 1.0.0.0 to 223.255.255.0 */
		if (net >> 16 == 10 || net >> 16 == 127)
			net ^= 0x400000;
		h->ip4 = net << 8 | (1 + (uint32_t)(bits & 0xff) % 254);
	}
	store_be64(h->ip6, 0x20010db800000000ull | (uint64_t)(i / 16 * 2246822519u >> 16) << 16 | (i / 16 & 3));
	store_be64(h->ip6 + 8, bits & 4 ? (bits >> 8 & 0xffff) + 1 : chance_bits(c) & ~(1ull << 57));
	h->dual = (bits >> 3 & 3) == 0;
	h->offload = i % 64 == 9;
	memcpy(h->mac, vendors[bits >> 11 & 3], 3);
	h->mac[3] = (uint8_t)(i >> 16);
	h->mac[4] = (uint8_t)(i >> 8);
	h->mac[5] = (uint8_t)i;
	h->ttl = ttls[bits >> 13 & 7];
	h->ip_id = (uint8_t)((bits >> 16) % 3);
	h->ip_id_next = (uint16_t)(bits >> 20);
	h->stamp_ns = bits >> 40 & 1 ? 1000000 : 4000000;
	h->stamp_base = (uint32_t)chance_bits(c);
}

void
hosts_open(struct hosts *h, uint32_t count, struct chance *c)
{
	*h = (struct hosts){ .count = count };
	h->v = calloc(count, sizeof *h->v);
	h->alias = calloc(count, sizeof *h->alias);
	h->share = calloc(count, sizeof *h->share);
	if (!h->v || !h->alias || !h->share) {
		perror("gen");
		exit(1);
	}
	for (uint32_t i = 0; i < count; i++)
		host_fill(&h->v[i], i, c);
	zipf_fill(h);
}

void
hosts_close(struct hosts *h)
{
	free(h->v);
	free(h->alias);
	free(h->share);
}

uint32_t
hosts_pick(const struct hosts *h, struct chance *c)
{
	uint64_t bits = chance_bits(c);
	uint32_t i = (uint32_t)((bits >> 32) * h->count >> 32);
	return (uint32_t)bits <= h->share[i] ? i : h->alias[i];
}
