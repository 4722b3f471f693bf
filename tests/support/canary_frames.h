/* Frames with an address of its own at every place where one can stand: headers, options, extension headers, quotes, neighbour
 * discovery, ARP, tunnels in tunnels, routing protocols, DHCP, DNS, SCTP, payload as text, padding, unknown link types. Lengths and
 * checksums are right. What is planted is in a list, and can be searched for in any bytes. */
#ifndef TESTS_SUPPORT_CANARY_FRAMES_H
#define TESTS_SUPPORT_CANARY_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/frames.h"

#define CANARIES_MAX 16384u

struct canary {
	uint8_t bytes; /* 4, 16 or 6 */
	uint8_t address[16];
};

struct canaries {
	uint64_t state; /* the seed at first */
	uint32_t count;
	struct canary v[CANARIES_MAX];
};

/* One frame of each kind, with canaries of their own. Adds to f while there is room. */
void canary_frames(struct frames *f, struct canaries *c);
/* Adds each frame from first on once more for each length that it can be cut to (step 1), or for some of them. */
void canary_cuts(struct frames *f, uint32_t first, uint32_t step);

/* The first canary from `from` on that is in p[0..n) as its bytes in this or the reverse order, or as text (dotted, colons, hex);
 * c->count: none. */
uint32_t canary_find(const struct canaries *c, uint32_t from, const uint8_t *p, uint32_t n);

#endif
