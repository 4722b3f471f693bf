/* One frame read plainly: written from the RFCs and the definitions in archive/batch.h and archive/dissect.h, sharing no code
 * with dissect.c and the block codec, which tests hold against it. Slow and simple. */
#ifndef TESTS_SUPPORT_PLAIN_PARSE_H
#define TESTS_SUPPORT_PLAIN_PARSE_H

#include <stdbool.h>
#include <stdint.h>

struct plain {
	unsigned net, transport;         /* enum net, enum transport */
	unsigned proto, first_proto;
	bool     fragment, extensions;   /* FLOW_FRAGMENT, FLOW_EXTENSIONS */
	unsigned link_bytes, vlans, vlan, mpls;
	unsigned ethertype;              /* behind the VLAN tags, as in struct link */
	bool     macs;
	unsigned transport_at, end;      /* offsets; NET_RAW: link_bytes */
	uint8_t  src[16], dst[16];       /* four bytes of them for IPv4 */
	unsigned sport, dport;
	unsigned tos, ttl, ip_len, ip_id, ip_frag;
	unsigned tcp_flags, tcp_win;
	uint32_t tcp_seq, tcp_ack;
};

void plain_parse(uint16_t linktype, const uint8_t *p, uint32_t n, struct plain *out);

#endif
