/* The hosts of a generated network and the random numbers of the generator. Everything follows from the seed. */
#ifndef TESTS_GEN_HOSTS_H
#define TESTS_GEN_HOSTS_H

#include <stdbool.h>
#include <stdint.h>

struct chance {
	uint64_t state;
};

uint64_t chance_bits(struct chance *c);
uint32_t chance_below(struct chance *c, uint32_t n);          /* 0..n-1 */
bool     chance_in(struct chance *c, uint32_t per_million);
uint64_t chance_exponential(struct chance *c, uint64_t mean); /* 0..~11 x mean */
uint64_t chance_pareto(struct chance *c, uint64_t least, double shape, uint64_t most);

struct host {
	uint32_t ip4;
	uint8_t  ip6[16];
	bool     dual;      /* has IPv6 too */
	bool     offload;   /* captured before the network card: partial checksums, frames over the MTU */
	uint8_t  mac[6];
	uint8_t  ttl;
	uint8_t  ip_id;     /* 0: zero with DF, 1: a counter of the host, 2: random per packet */
	uint16_t ip_id_next;
	uint32_t stamp_ns;  /* a tick of its TCP timestamps */
	uint32_t stamp_base;
};

struct hosts {
	struct host *v;
	uint32_t count;
	uint32_t *alias; /* Zipf: Walker's alias method */
	uint32_t *share;
};

void hosts_open(struct hosts *h, uint32_t count, struct chance *c);
void hosts_close(struct hosts *h);
uint32_t hosts_pick(const struct hosts *h, struct chance *c); /* Zipf: host 0 is the most popular one */

#endif
