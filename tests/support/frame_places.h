/* Where in a frame addresses and checksums stand, read plainly from the RFCs: link headers, IP with options and extension headers,
 * quotes in ICMP errors, neighbour discovery, ARP, tunnels, DNS over UDP. Shares no code with dissect.c and anonymize/. */
#ifndef TESTS_SUPPORT_FRAME_PLACES_H
#define TESTS_SUPPORT_FRAME_PLACES_H

#include <stdbool.h>
#include <stdint.h>

#define PLACES_MAX 512u

enum place_kind { PLACE_IP4, PLACE_IP6, PLACE_MAC, PLACE_IP_SUM, PLACE_SUM };
enum sum_state { SUM_IS_RIGHT, SUM_IS_WRONG, SUM_IS_OPEN, SUM_IS_NONE }; /* open: not all that it covers is there; none: UDP's 0 */

struct place_of {
	enum place_kind kind;
	uint32_t at;
	bool     option; /* addresses in options and extension headers: a policy may blank them */
	uint8_t  bits;   /* addresses: so many are meant, the others are 0 in a view */
	enum sum_state state;
};

struct frame_places {
	uint32_t count;
	struct place_of v[PLACES_MAX];
};

/* What is where is told by p[0..n), whether sums are right by other[0..n), which has the same structure and may be p. */
void frame_places(uint16_t linktype, const uint8_t *p, uint32_t n, const uint8_t *other, struct frame_places *out);

/* Bytes of an address; 2 of a checksum. */
uint32_t place_bytes(const struct place_of *x);

#endif
