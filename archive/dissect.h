/* Where the headers of one captured frame are. Reads only inside the captured bytes; copies nothing.
 *
 * A frame is understood as far as its headers are whole and consistent; the rest is opaque. dissect() looks at the
 * outermost IP header and its transport, which is what the columns and pcap-filter's primitives speak of.
 * dissect_headers_end() goes on through tunnels to the innermost transport header, for --headers-only.
 */
#ifndef ARCHIVE_DISSECT_H
#define ARCHIVE_DISSECT_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/batch.h"
#include "archive/frames.h"
#include "base/bytes.h"

/* LINKTYPE_ values (https://www.tcpdump.org/linktypes.html) whose link header is understood. */
enum linktype {
	LINK_NULL = 0,        /* 4 bytes address family in the capturing machine's byte order */
	LINK_ETHERNET = 1,
	LINK_RAW_BSD = 12,    /* DLT_RAW as some files carry it: IPv4 or IPv6 */
	LINK_RAW_OPENBSD = 14,
	LINK_RAW = 101,
	LINK_LOOP = 108,      /* as LINK_NULL, network byte order */
	LINK_SLL = 113,       /* Linux cooked v1 */
	LINK_IPV4 = 228,
	LINK_IPV6 = 229,
	LINK_SLL2 = 276,      /* Linux cooked v2 */
};

#define DISSECT_TAGS_MAX    8u   /* VLAN tags, and as many MPLS labels; a frame with more is opaque */
#define DISSECT_EXTENSIONS_MAX 255u /* bytes of IPv6 extension headers; a packet with more is opaque */
#define DISSECT_TUNNELS_MAX 8u   /* nested IP headers that dissect_headers_end() follows */

enum ether_type {
	ETHER_IP4 = 0x0800, ETHER_ARP = 0x0806, ETHER_RARP = 0x8035, ETHER_TEB = 0x6558, ETHER_VLAN = 0x8100,
	ETHER_IP6 = 0x86dd, ETHER_MPLS = 0x8847, ETHER_MPLS_MULTI = 0x8848, ETHER_QINQ = 0x88a8, ETHER_QINQ_OLD = 0x9100,
	ETHER_PPPOE = 0x8864,
};

enum ip_proto {
	PROTO_HOP_BY_HOP = 0, PROTO_ICMP = 1, PROTO_IP4_IN = 4, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_IP6_IN = 41,
	PROTO_ROUTING = 43, PROTO_FRAGMENT = 44, PROTO_GRE = 47, PROTO_AUTH = 51, PROTO_ICMP6 = 58,
	PROTO_NOTHING = 59, PROTO_DESTINATION = 60, PROTO_SCTP = 132, PROTO_MOBILITY = 135,
};

#define PORT_VXLAN 4789u /* UDP, RFC 7348 */

/* Offsets from the start of the frame. */
struct dissection {
	uint8_t  net;         /* enum net */
	uint8_t  transport;   /* enum transport */
	uint8_t  proto, first_proto; /* as in struct flow */
	uint8_t  flags;       /* FLOW_ */
	uint8_t  vlans, mpls;
	uint8_t  link_bytes;  /* link header: 0 .. link_bytes; the IP header starts there */
	uint16_t vlan;        /* outer identifier */
	uint16_t ethertype;   /* 0: none */
	uint32_t transport_at;/* end of the IP header with options and extension headers */
	uint32_t end;         /* end of the headers described here; NET_RAW: link_bytes */
};

/* p holds n captured bytes, and FRAMES_SLACK more may be read. */
void dissect(uint16_t linktype, const uint8_t *p, uint32_t n, struct dissection *d);

#define DISSECT_USUAL_LINK_BYTES   14u
#define DISSECT_USUAL_TRANSPORT_AT 34u

/* Most of all traffic at once, without branches on what it is: untagged Ethernet, IPv4 without options, not a later
 * fragment, TCP, or UDP that is no tunnel. Where the headers end, as dissect() and dissect_headers_end() say; 0: look
 * closer. */
static inline uint32_t
dissect_usual(uint16_t linktype, const uint8_t *p, uint32_t n)
{
	uint32_t tcp = p[23] == PROTO_TCP, udp = p[23] == PROTO_UDP;
	uint32_t tcp_header = (uint32_t)(p[46] >> 4) * 4, header = 8 + ((tcp_header - 8) & (0u - tcp));
	uint32_t usual = (linktype == LINK_ETHERNET) & (n >= 42) & (tcp | udp) & (tcp_header >= tcp * 20) &
	                 (header + DISSECT_USUAL_TRANSPORT_AT <= n) & ((load_le32(p + 12) & 0xffffff) == 0x450008) &
	                 ((load_le16(p + 20) & 0xff1f) == 0) & (tcp | (load_be16(p + 36) != PORT_VXLAN));
	return usual ? header + DISSECT_USUAL_TRANSPORT_AT : 0;
}

/* Bytes to keep with --headers-only: through the innermost transport header (tunnels, and the packet quoted by an ICMP
 * error, included), or through the last header understood; ARP is kept whole. Never more than n. d as dissect() gave it. */
uint32_t dissect_headers_end(const struct dissection *d, const uint8_t *p, uint32_t n);

/* Whether the link header of this type is understood at all. */
bool dissect_knows(uint16_t linktype);

/* Of a link header alone (all n bytes are the link header): ethertype, vlans, vlan, mpls. */
void dissect_link(uint16_t linktype, const uint8_t *p, uint32_t n, struct dissection *d);

/* ICMP: the type of the answer to this type (echo, timestamp, information, mask), or the type itself. */
uint8_t icmp_answer(uint8_t transport, uint8_t type);

#endif
