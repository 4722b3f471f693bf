#include "tests/support/plain_parse.h"

#include <string.h>

#include "archive/batch.h"

/* A big-endian number of some bytes. */
static uint32_t
number(const uint8_t *p, unsigned bytes)
{
	uint32_t v = 0;
	while (bytes-- > 0)
		v = v << 8 | *p++;
	return v;
}

/* Transport header at x->transport_at; false when it is not whole. */
static bool
parse_transport(const uint8_t *p, uint32_t n, struct plain *x)
{
	const uint8_t *t = p + x->transport_at;
	uint32_t left = n - x->transport_at, header = 0;
	bool v4 = x->net == NET_IP4;
	if (x->fragment) {
		x->end = x->transport_at;
		return true;
	}
	if (x->proto == 6) {
		if (left < 20 || t[12] / 16 < 5)
			return false;
		header = t[12] / 16 * 4u;
		x->transport = TRANSPORT_TCP;
	} else if (x->proto == 17) {
		header = 8;
		x->transport = TRANSPORT_UDP;
	} else if (x->proto == 132) {
		header = 12;
		x->transport = TRANSPORT_SCTP;
	} else if (x->proto == 1 && v4) {
		header = 8;
		x->transport = TRANSPORT_ICMP;
	} else if (x->proto == 58 && !v4) {
		header = 8;
		x->transport = TRANSPORT_ICMP6;
	}
	if (left < header)
		return false;
	x->end = x->transport_at + header;
	if (x->transport == TRANSPORT_ICMP || x->transport == TRANSPORT_ICMP6) {
		x->sport = t[0];
		x->dport = t[1];
	} else if (x->transport != TRANSPORT_NONE) {
		x->sport = number(t, 2);
		x->dport = number(t + 2, 2);
	}
	if (x->transport == TRANSPORT_TCP) {
		x->tcp_seq = number(t + 4, 4);
		x->tcp_ack = number(t + 8, 4);
		x->tcp_flags = t[13];
		x->tcp_win = number(t + 14, 2);
	}
	return true;
}

static bool
parse_ip4(const uint8_t *p, uint32_t n, struct plain *x)
{
	const uint8_t *ip = p + x->link_bytes;
	uint32_t left = n - x->link_bytes;
	if (left < 20 || ip[0] / 16 != 4 || ip[0] % 16 < 5 || ip[0] % 16 * 4u > left)
		return false;
	x->net = NET_IP4;
	x->tos = ip[1];
	x->ip_len = number(ip + 2, 2);
	x->ip_id = number(ip + 4, 2);
	x->ip_frag = number(ip + 6, 2);
	x->ttl = ip[8];
	x->proto = x->first_proto = ip[9];
	memcpy(x->src, ip + 12, 4);
	memcpy(x->dst, ip + 16, 4);
	x->fragment = x->ip_frag % 0x2000 != 0;
	x->transport_at = x->link_bytes + ip[0] % 16 * 4u;
	return parse_transport(p, n, x);
}

/* Bytes of an extension header that starts at h, 0 when this next-header value is none. */
static uint32_t
extension_bytes(unsigned next, const uint8_t *h)
{
	switch (next) {
	case 0:   /* hop-by-hop options */
	case 43:  /* routing */
	case 60:  /* destination options */
	case 135: /* mobility */
		return 8u + h[1] * 8u;
	case 44:  /* fragment */
		return 8;
	case 51:  /* authentication: RFC 4302 counts words less two */
		return 8u + h[1] * 4u;
	default:
		return 0;
	}
}

static bool
parse_ip6(const uint8_t *p, uint32_t n, struct plain *x)
{
	static const uint8_t none[2] = { 0 };
	const uint8_t *ip = p + x->link_bytes;
	uint32_t left = n - x->link_bytes, at = 40;
	if (left < 40 || ip[0] / 16 != 6)
		return false;
	x->net = NET_IP6;
	x->tos = number(ip, 2) >> 4 & 255;
	x->ip_len = number(ip + 4, 2) + 40;
	x->ttl = ip[7];
	memcpy(x->src, ip + 8, 16);
	memcpy(x->dst, ip + 24, 16);
	unsigned next = x->first_proto = ip[6];
	while (!x->fragment && extension_bytes(next, none) != 0) {
		if (left - at < 8)
			return false;
		uint32_t bytes = extension_bytes(next, ip + at);
		if (left - at < bytes || at + bytes - 40 > 255)
			return false;
		x->extensions = true;
		x->fragment = next == 44 && number(ip + at + 2, 2) / 8 != 0;
		next = ip[at];
		at += bytes;
	}
	x->proto = next;
	x->transport_at = x->link_bytes + at;
	return parse_transport(p, n, x);
}

/* By the version nibble, as raw IP has it. */
static bool
parse_ip(const uint8_t *p, uint32_t n, struct plain *x)
{
	if (n == x->link_bytes)
		return false;
	return p[x->link_bytes] / 16 == 4 ? parse_ip4(p, n, x) : parse_ip6(p, n, x);
}

static bool
parse_ethertype(const uint8_t *p, uint32_t n, uint32_t type_at, struct plain *x)
{
	uint32_t at = type_at + 2;
	unsigned type = number(p + type_at, 2);
	while ((type == 0x8100 || type == 0x88a8 || type == 0x9100) && x->vlans < 8 && n - at >= 4) {
		if (x->vlans == 0)
			x->vlan = number(p + at, 2) % 4096;
		x->vlans++;
		type = number(p + at + 2, 2);
		at += 4;
	}
	x->ethertype = type;
	bool bottom = false, labels = type == 0x8847 || type == 0x8848;
	while (labels && !bottom && x->mpls < 8 && n - at >= 4) {
		bottom = p[at + 2] % 2;
		x->mpls++;
		at += 4;
	}
	x->link_bytes = at;
	if (labels) {
		unsigned version = bottom && at < n ? p[at] / 16 : 0;
		return version == 4 ? parse_ip4(p, n, x) : version == 6 && parse_ip6(p, n, x);
	}
	return type == 0x0800 ? parse_ip4(p, n, x) : type == 0x86dd && parse_ip6(p, n, x);
}

static bool
parse_family(uint32_t family, const uint8_t *p, uint32_t n, struct plain *x)
{
	x->link_bytes = 4;
	if (family == 2)
		return parse_ip4(p, n, x);
	return (family == 10 || family == 24 || family == 28 || family == 30) && parse_ip6(p, n, x);
}

static bool
parse_link(uint16_t linktype, const uint8_t *p, uint32_t n, struct plain *x)
{
	switch (linktype) {
	case 0: /* the capturing machine's byte order: a family is small */
		if (n < 4)
			return false;
		return parse_family(p[0] || p[1] ? (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0]
		                                 : number(p, 4), p, n, x);
	case 1:
		x->macs = n >= 14;
		return n >= 14 && parse_ethertype(p, n, 12, x);
	case 12:
	case 14:
	case 101:
		return parse_ip(p, n, x);
	case 108:
		return n >= 4 && parse_family(number(p, 4), p, n, x);
	case 113:
		return n >= 16 && parse_ethertype(p, n, 14, x);
	case 228:
		return parse_ip4(p, n, x);
	case 229:
		return parse_ip6(p, n, x);
	case 276:
		if (n < 20)
			return false;
		x->link_bytes = 20;
		x->ethertype = number(p, 2);
		return x->ethertype == 0x0800 ? parse_ip4(p, n, x) : x->ethertype == 0x86dd && parse_ip6(p, n, x);
	default:
		return false;
	}
}

void
plain_parse(uint16_t linktype, const uint8_t *p, uint32_t n, struct plain *out)
{
	struct plain x = { 0 };
	if (!parse_link(linktype, p, n, &x)) {
		/* Only the link header counts then. */
		struct plain raw = {
			.link_bytes = x.link_bytes,
			.vlans = x.vlans,
			.vlan = x.vlan,
			.mpls = x.mpls,
			.ethertype = x.ethertype,
			.macs = x.macs,
			.transport_at = x.link_bytes,
			.end = x.link_bytes,
		};
		x = raw;
	}
	*out = x;
}
