#include "archive/dissect.h"

uint8_t
icmp_answer(uint8_t transport, uint8_t type)
{
	if (transport == TRANSPORT_ICMP6)
		return type == 128 || type == 129 ? type ^ 1 : type;
	if (type == 0 || type == 8)
		return type ^ 8;
	if (type == 13 || type == 15 || type == 17)
		return type + 1;
	if (type == 14 || type == 16 || type == 18)
		return type - 1;
	return type;
}

/* The transport header at d->transport_at, when it is whole; otherwise d is left without one. */
static bool
find_transport(const uint8_t *p, uint32_t n, struct dissection *d)
{
	uint32_t at = d->transport_at, left = n - at, need;
	d->end = at;
	d->transport = TRANSPORT_NONE;
	if (d->flags & FLOW_FRAGMENT)
		return true;
	switch (d->proto) {
	case PROTO_TCP:
		if (left < 20)
			return false;
		need = (uint32_t)(p[at + 12] >> 4) * 4;
		if (need < 20 || need > left)
			return false;
		d->transport = TRANSPORT_TCP;
		break;
	case PROTO_UDP:
		need = 8;
		d->transport = TRANSPORT_UDP;
		break;
	case PROTO_SCTP:
		need = 12;
		d->transport = TRANSPORT_SCTP;
		break;
	case PROTO_ICMP:
		if (d->net != NET_IP4)
			return true;
		need = 8;
		d->transport = TRANSPORT_ICMP;
		break;
	case PROTO_ICMP6:
		if (d->net != NET_IP6)
			return true;
		need = 8;
		d->transport = TRANSPORT_ICMP6;
		break;
	default:
		return true;
	}
	if (need > left)
		return false;
	d->end = at + need;
	return true;
}

static bool
find_ip4(const uint8_t *p, uint32_t n, uint32_t at, struct dissection *d)
{
	if (n - at < 20 || p[at] >> 4 != 4)
		return false;
	uint32_t header = (uint32_t)(p[at] & 15) * 4;
	if (header < 20 || header > n - at)
		return false;
	d->net = NET_IP4;
	d->proto = d->first_proto = p[at + 9];
	if (load_be16(p + at + 6) & 0x1fff)
		d->flags |= FLOW_FRAGMENT;
	d->transport_at = at + header;
	return find_transport(p, n, d);
}

/* Steps over the extension headers of RFC 8200, and the authentication header of RFC 4302. */
static bool
find_ip6(const uint8_t *p, uint32_t n, uint32_t at, struct dissection *d)
{
	if (n - at < 40 || p[at] >> 4 != 6)
		return false;
	d->net = NET_IP6;
	uint8_t next = d->first_proto = p[at + 6];
	at += 40;
	uint32_t fixed_end = at;
	while (next == PROTO_HOP_BY_HOP || next == PROTO_ROUTING || next == PROTO_DESTINATION || next == PROTO_FRAGMENT ||
	       next == PROTO_AUTH || next == PROTO_MOBILITY) {
		if (n - at < 8)
			return false;
		uint32_t bytes = next == PROTO_FRAGMENT ? 8 : next == PROTO_AUTH ? (p[at + 1] + 2u) * 4 : (p[at + 1] + 1u) * 8;
		if (bytes > n - at || at + bytes - fixed_end > DISSECT_EXTENSIONS_MAX)
			return false;
		d->flags |= FLOW_EXTENSIONS;
		bool later_fragment = next == PROTO_FRAGMENT && (load_be16(p + at + 2) & 0xfff8);
		next = p[at];
		at += bytes;
		if (later_fragment) {
			d->flags |= FLOW_FRAGMENT;
			break;
		}
	}
	d->proto = next;
	d->transport_at = at;
	return find_transport(p, n, d);
}

static bool
find_net(const uint8_t *p, uint32_t n, uint32_t at, struct dissection *d)
{
	if (at >= n)
		return false;
	return p[at] >> 4 == 4 ? find_ip4(p, n, at, d) : find_ip6(p, n, at, d);
}

/* From the ethertype at type_at on: VLAN tags and MPLS labels. Sets link_bytes to what follows them and returns it. */
static uint32_t
find_tags(const uint8_t *p, uint32_t n, uint32_t type_at, struct dissection *d)
{
	uint32_t at = type_at + 2;
	uint16_t type = load_be16(p + type_at);
	while ((type == ETHER_VLAN || type == ETHER_QINQ || type == ETHER_QINQ_OLD) && d->vlans < DISSECT_TAGS_MAX &&
	       n - at >= 4) {
		if (d->vlans++ == 0)
			d->vlan = load_be16(p + at) & 0xfff;
		type = load_be16(p + at + 2);
		at += 4;
	}
	d->ethertype = type;
	if (type == ETHER_MPLS || type == ETHER_MPLS_MULTI) {
		bool bottom = false;
		while (!bottom && d->mpls < DISSECT_TAGS_MAX && n - at >= 4) {
			bottom = p[at + 2] & 1;
			d->mpls++;
			at += 4;
		}
		/* RFC 3032 gives no type behind the stack: the first nibble tells (RFC 4928, section 3). */
		if (bottom && at < n && p[at] >> 4 == 4)
			d->ethertype = ETHER_IP4;
		else if (bottom && at < n && p[at] >> 4 == 6)
			d->ethertype = ETHER_IP6;
	}
	d->link_bytes = (uint8_t)at;
	return at;
}

static bool
find_by_ethertype(const uint8_t *p, uint32_t n, struct dissection *d)
{
	uint32_t at = d->link_bytes;
	if (d->ethertype == ETHER_IP4)
		return find_ip4(p, n, at, d);
	if (d->ethertype == ETHER_IP6)
		return find_ip6(p, n, at, d);
	return false;
}

/* The address families that BSD systems and Linux write into LINK_NULL and LINK_LOOP headers. */
static bool
find_by_family(uint32_t family, const uint8_t *p, uint32_t n, struct dissection *d)
{
	d->link_bytes = 4;
	if (family == 2)
		return find_ip4(p, n, 4, d);
	if (family == 10 || family == 24 || family == 28 || family == 30)
		return find_ip6(p, n, 4, d);
	return false;
}

static bool
find_link(uint16_t linktype, const uint8_t *p, uint32_t n, struct dissection *d)
{
	switch (linktype) {
	case LINK_ETHERNET:
		if (n < 14)
			return false;
		find_tags(p, n, 12, d);
		return find_by_ethertype(p, n, d);
	case LINK_RAW_BSD:
	case LINK_RAW_OPENBSD:
	case LINK_RAW:
		return find_net(p, n, 0, d);
	case LINK_IPV4:
		return n > 0 && find_ip4(p, n, 0, d);
	case LINK_IPV6:
		return n > 0 && find_ip6(p, n, 0, d);
	case LINK_NULL:
		if (n < 4)
			return false;
		return find_by_family(p[0] | p[1] ? load_le32(p) : load_be32(p), p, n, d);
	case LINK_LOOP:
		if (n < 4)
			return false;
		return find_by_family(load_be32(p), p, n, d);
	case LINK_SLL:
		if (n < 16)
			return false;
		find_tags(p, n, 14, d);
		return find_by_ethertype(p, n, d);
	case LINK_SLL2:
		if (n < 20)
			return false;
		d->ethertype = load_be16(p);
		d->link_bytes = 20;
		return find_by_ethertype(p, n, d);
	default:
		return false;
	}
}

void
dissect(uint16_t linktype, const uint8_t *p, uint32_t n, struct dissection *d)
{
	*d = (struct dissection){ 0 };
	if (find_link(linktype, p, n, d))
		return;
	d->net = NET_RAW;
	d->transport = TRANSPORT_NONE;
	d->proto = d->first_proto = 0;
	d->flags = 0;
	d->transport_at = d->end = d->link_bytes;
}

bool
dissect_knows(uint16_t linktype)
{
	switch (linktype) {
	case LINK_NULL:
	case LINK_ETHERNET:
	case LINK_RAW_BSD:
	case LINK_RAW_OPENBSD:
	case LINK_RAW:
	case LINK_LOOP:
	case LINK_SLL:
	case LINK_IPV4:
	case LINK_IPV6:
	case LINK_SLL2:
		return true;
	default:
		return false;
	}
}

void
dissect_link(uint16_t linktype, const uint8_t *p, uint32_t n, struct dissection *d)
{
	*d = (struct dissection){ .link_bytes = (uint8_t)n };
	if (linktype == LINK_ETHERNET && n >= 14)
		find_tags(p, n, 12, d);
	else if (linktype == LINK_SLL && n >= 16)
		find_tags(p, n, 14, d);
	else if (linktype == LINK_SLL2 && n >= 20)
		d->ethertype = load_be16(p);
	d->link_bytes = (uint8_t)n;
}

static uint32_t headers_behind_ip(const struct dissection *d, const uint8_t *p, uint32_t n, unsigned depth);

/* at: an inner IP header. The bytes before it are kept whatever it is. */
static uint32_t
inner_ip(const uint8_t *p, uint32_t n, uint32_t at, unsigned depth)
{
	if (depth == 0 || at >= n)
		return at < n ? at : n;
	struct dissection d = { 0 };
	if (find_net(p, n, at, &d))
		return headers_behind_ip(&d, p, n, depth - 1);
	if (d.transport_at <= at)
		return at;
	/* Less than the whole transport header is there (a quote in an ICMP error, a small snaplen): keep its fixed part. */
	uint32_t fixed = d.proto == PROTO_TCP ? 20 : d.proto == PROTO_SCTP ? 12 : 8;
	return fixed > n - d.transport_at ? n : d.transport_at + fixed;
}

static uint32_t
inner_ethernet(const uint8_t *p, uint32_t n, uint32_t at, unsigned depth)
{
	if (n - at < 14)
		return at;
	struct dissection d = { 0 };
	uint32_t inner = find_tags(p + at, n - at, 12, &d) + at;
	return d.ethertype == ETHER_IP4 || d.ethertype == ETHER_IP6 ? inner_ip(p, n, inner, depth) : inner;
}

/* RFC 2784, RFC 2890; version 1 (RFC 2637) carries PPP, which is left alone. */
static uint32_t
behind_gre(const uint8_t *p, uint32_t n, uint32_t at, unsigned depth)
{
	if (n - at < 4)
		return n;
	uint32_t bytes = 4u + (p[at] & 0x80 ? 4 : 0) + (p[at] & 0x20 ? 4 : 0) + (p[at] & 0x10 ? 4 : 0);
	if (bytes > n - at)
		return n;
	uint16_t type = load_be16(p + at + 2);
	at += bytes;
	if (type == ETHER_IP4 || type == ETHER_IP6)
		return inner_ip(p, n, at, depth);
	return type == ETHER_TEB && depth ? inner_ethernet(p, n, at, depth) : at;
}

/* An ICMP or ICMPv6 error quotes the packet it is about (RFC 792, RFC 4443); neighbour discovery has a fixed part
 * behind the first 8 bytes (RFC 4861). */
static uint32_t
behind_icmp(const struct dissection *d, const uint8_t *p, uint32_t n, unsigned depth)
{
	uint8_t type = p[d->transport_at];
	uint32_t more = 0;
	if (d->transport == TRANSPORT_ICMP && (type == 3 || type == 4 || type == 5 || type == 11 || type == 12))
		return inner_ip(p, n, d->end, depth);
	if (d->transport == TRANSPORT_ICMP6) {
		if (type >= 1 && type <= 4)
			return inner_ip(p, n, d->end, depth);
		more = type == 134 ? 8 : type == 135 || type == 136 ? 16 : type == 137 ? 32 : 0;
	}
	return more > n - d->end ? n : d->end + more;
}

static uint32_t
headers_behind_ip(const struct dissection *d, const uint8_t *p, uint32_t n, unsigned depth)
{
	if (d->flags & FLOW_FRAGMENT)
		return d->end;
	if (d->transport == TRANSPORT_ICMP || d->transport == TRANSPORT_ICMP6)
		return behind_icmp(d, p, n, depth);
	/* VXLAN (RFC 7348): 8 bytes with the I flag, then an Ethernet frame. */
	if (d->transport == TRANSPORT_UDP && load_be16(p + d->transport_at + 2) == PORT_VXLAN && n - d->end >= 8 &&
	    p[d->end] == 8 && depth)
		return inner_ethernet(p, n, d->end + 8, depth);
	if (d->transport != TRANSPORT_NONE)
		return d->end;
	if (d->proto == PROTO_IP4_IN || d->proto == PROTO_IP6_IN)
		return inner_ip(p, n, d->end, depth);
	if (d->proto == PROTO_GRE)
		return behind_gre(p, n, d->end, depth);
	return d->end;
}

uint32_t
dissect_headers_end(const struct dissection *d, const uint8_t *p, uint32_t n)
{
	if (d->transport == TRANSPORT_TCP)
		return d->end;
	if (d->net != NET_RAW)
		return headers_behind_ip(d, p, n, DISSECT_TUNNELS_MAX);
	if (d->ethertype == ETHER_IP4 || d->ethertype == ETHER_IP6)
		return inner_ip(p, n, d->link_bytes, DISSECT_TUNNELS_MAX);
	if (d->ethertype == ETHER_ARP || d->ethertype == ETHER_RARP) {
		/* RFC 826: 8 bytes, then two hardware and two protocol addresses. */
		uint32_t at = d->link_bytes;
		uint32_t bytes = n - at < 8 ? n - at : 8 + 2u * (p[at + 4] + p[at + 5]);
		return bytes > n - at ? n : at + bytes;
	}
	return d->link_bytes;
}
