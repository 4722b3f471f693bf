/* Building frames: link header with tags and labels, a tunnel around, the IP header, then a transport header and payload.
 * Payload is a slice of one fixed pattern whose checksum is known from prefix sums, so that a packet of 1,500 bytes costs no
 * more to make than its headers. */
#ifndef TESTS_GEN_FRAME_H
#define TESTS_GEN_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/gen/trace_out.h"

enum tunnel { TUNNEL_NONE, TUNNEL_GRE, TUNNEL_GRE_KEY, TUNNEL_IPIP, TUNNEL_VXLAN };

/* How the packets of one conversation travel; side 0 started it. */
struct path {
	uint8_t  mac[2][6];
	uint8_t  vlans;  /* 0..2 */
	uint16_t vlan[2];
	uint8_t  labels; /* MPLS, 0..2 */
	uint32_t label[2];
	uint8_t  tunnel;
	uint32_t tunnel_ip[2]; /* host order */
	uint32_t tunnel_id;    /* GRE key, VXLAN network */
	bool     pads;   /* short frames are padded to 60 bytes */
};

enum checksum { CHECKSUM_GOOD, CHECKSUM_BAD, CHECKSUM_ZERO, CHECKSUM_PARTIAL /* left to the network card */ };

struct packet {
	const struct path *path;
	uint8_t  side;      /* who sends: 0 or 1 */
	bool     v6;
	uint8_t  src[16], dst[16]; /* four bytes of them for IPv4 */
	uint8_t  proto, ttl, tos;
	uint16_t ip_id;
	bool     dont_fragment;
	bool     router_alert;  /* IPv4 option, IPv6 hop-by-hop header */
	bool     bad_ip_sum;
	uint32_t flow_label;

	uint8_t  head[640]; /* transport header and what precedes the pattern; an even number of bytes */
	uint32_t head_len;
	uint32_t sum_at;    /* offset of the transport checksum in head; 0: none */
	bool     pseudo;    /* the checksum covers the pseudo header */
	uint8_t  checksum;  /* enum checksum */
	uint32_t pattern_at, pattern_len;
};

/* Prepares the pattern; once. */
void pattern_fill(uint64_t seed);
/* A place for pattern_at that follows from two numbers: the same segment sent again has the same payload. */
uint32_t pattern_place(uint32_t a, uint32_t b);
/* One packet, or several fragments (8-byte multiples of piece bytes) when piece is not 0. */
void packet_send(struct trace *t, uint64_t ts_ns, struct packet *p, uint32_t piece);
/* A frame that is not IP: type (or length) and bytes after the tags. */
void frame_send(struct trace *t, uint64_t ts_ns, const uint8_t dst[6], const struct path *path, uint8_t side, uint16_t type,
                const uint8_t *bytes, uint32_t n);

#endif
