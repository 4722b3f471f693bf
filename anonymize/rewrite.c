#include "anonymize/rewrite.h"

#include <string.h>

#include "anonymize/rewrite_dns.h"
#include "archive/dissect.h"

#define PORT_DNS  53u
#define PORT_MDNS 5353u

/* --- transports --- */

/* What a transport's checksum has of the IP header: sums of the two addresses, as captured and as shown. */
struct addressed {
	uint64_t captured, shown;
	const uint8_t *src, *dst; /* as captured */
	uint32_t bytes;           /* of an address */
	uint32_t length;          /* of the transport header and what follows it, as the IP header says */
	bool     part;            /* more of the packet is in other fragments */
};

/* Shows a checksum. header: bytes of the transport header, of which in has n bytes and more that it covers, out the shown ones, the
 * first `shown` of n. */
static void
show_checksum(const struct view *v, const struct addressed *a, uint8_t proto, uint32_t at, uint32_t header, uint32_t length,
              const uint8_t *in, uint32_t n, uint8_t *out, uint32_t shown)
{
	uint32_t covers = length > header ? length - header : 0, there = n - header < covers ? n - header : covers;
	uint64_t rest = proto ? __builtin_bswap16((uint16_t)length) + (length >> 16) + ((uint64_t)proto << 8) : 0;
	struct sums captured = {
		.pseudo = proto ? a->captured + rest : 0,
		.covered = sum_words(in + header, there),
		.whole = covers == there && !a->part,
	};
	struct sums now = { .pseudo = proto ? a->shown + rest : 0 };
	uint16_t field = load_le16(in + at);
	captured.headers = captured.pseudo + sum_words(in, header) + (uint16_t)~field; /* less the field */
	store_le16(out + at, 0);
	now.headers = now.pseudo + sum_words(out, header);
	now.covered = sum_shown(in + header, there, out + header, shown > header ? shown - header : 0);
	bool udp = proto == PROTO_UDP;
	store_le16(out + at, v->policy.checksums_checksums == POLICY_ADJUST ? packet_view_checksum(&captured, &now, field, udp) : 0);
}

/* Fields of which all bytes are there. */
static uint32_t
whole_fields(uint32_t n, const uint8_t *ends, uint32_t count)
{
	uint32_t end = 0;
	for (uint32_t i = 0; i < count && ends[i] <= n; i++)
		end = ends[i];
	return end;
}

uint32_t
rewrite_payload(struct rewrite w, uint16_t sport, uint16_t dport, const uint8_t *in, uint32_t n, uint8_t *out, bool udp)
{
	const struct policy *p = &w.thread->view->policy;
	uint32_t some = n < p->payload_bytes ? n : (uint32_t)p->payload_bytes;
	if (w.quoted || some == 0)
		return 0;
	if (sport == PORT_DNS || dport == PORT_DNS || sport == PORT_MDNS || dport == PORT_MDNS)
		return udp && p->payload_dns == POLICY_MAP ? rewrite_dns(w.thread, in, some, out) : 0;
	memcpy(out, in, some);
	return some;
}

static void
show_ports(const struct view *v, const uint8_t *in, uint8_t *out)
{
	store_be16(out, view_port(v, load_be16(in)));
	store_be16(out + 2, view_port(v, load_be16(in + 2)));
}

static uint32_t
rewrite_tcp(struct rewrite w, const struct addressed *a, const uint8_t *in, uint32_t n, uint8_t *out)
{
	static const uint8_t ends[] = { 4, 8, 12, 14, 16 };
	const struct view *v = w.thread->view;
	uint8_t whole[20] = { 0 }, shown[20];
	uint32_t header = n >= 20 ? (uint32_t)(in[12] >> 4) * 4 : 0;
	bool all = header >= 20 && header <= n;
	memcpy(whole, in, n < 20 ? n : 20);
	uint16_t sport = load_be16(whole), dport = load_be16(whole + 2);
	show_ports(v, whole, shown);
	uint32_t back_shift = view_seq_shift(v, a->dst, a->src, a->bytes, dport, sport);
	store_be32(shown + 4, view_seq(v, load_be32(whole + 4), view_seq_shift(v, a->src, a->dst, a->bytes, sport, dport)));
	store_be32(shown + 8, view_seq(v, load_be32(whole + 8), back_shift));
	memcpy(shown + 12, whole + 12, 2);
	store_be16(shown + 14, view_window(v, load_be16(whole + 14)));
	store_be16(shown + 16, 0);
	store_be16(shown + 18, view_urgent(v, load_be16(whole + 18)));
	if (!all) {
		uint32_t end = whole_fields(n, ends, sizeof ends);
		memcpy(out, shown, end);
		return end;
	}
	memcpy(out, shown, 20);
	memcpy(out + 20, in + 20, header - 20);
	view_tcp_options(v, out + 20, header - 20, false, back_shift);
	uint32_t data = a->length > header ? a->length - header : 0, end = header;
	end += rewrite_payload(w, sport, dport, in + header, n - header < data ? n - header : data, out + header, false);
	show_checksum(v, a, PROTO_TCP, 16, header, a->length, in, n, out, end);
	return end;
}

static uint32_t
rewrite_udp(struct rewrite w, const struct addressed *a, const uint8_t *in, uint32_t n, uint8_t *out)
{
	static const uint8_t ends[] = { 4, 6 };
	uint8_t whole[8] = { 0 };
	memcpy(whole, in, n < 8 ? n : 8);
	uint16_t sport = load_be16(whole), dport = load_be16(whole + 2), length = load_be16(whole + 4);
	show_ports(w.thread->view, whole, whole);
	if (n < 8) {
		uint32_t end = whole_fields(n, ends, sizeof ends);
		memcpy(out, whole, end);
		return end;
	}
	memcpy(out, whole, 8);
	uint32_t data = length > 8 ? length - 8u : 0, shown = 8;
	shown += rewrite_behind_udp(w, sport, dport, in + 8, n - 8 < data ? n - 8 : data, out + 8);
	show_checksum(w.thread->view, a, PROTO_UDP, 6, 8, length, in, n, out, shown);
	return shown;
}

static uint32_t
rewrite_icmp(struct rewrite w, const struct addressed *a, unsigned version, const uint8_t *in, uint32_t n, uint8_t *out)
{
	if (n < 8) {
		uint32_t end = n < 2 ? 0 : 2;
		memcpy(out, in, end);
		return end;
	}
	memcpy(out, in, 4);
	store_be32(out + 4, rewrite_icmp_rest(w.thread, version, in[0], load_be32(in + 4)));
	uint32_t shown = 8 + rewrite_behind_icmp(w, version, in[0], in + 8, n - 8, out + 8);
	show_checksum(w.thread->view, a, version == 6 ? PROTO_ICMP6 : 0, 2, 8, a->length, in, n, out, shown);
	return shown;
}

static uint32_t
rewrite_sctp(struct rewrite w, const uint8_t *in, uint32_t n, uint8_t *out)
{
	if (n < 4)
		return 0;
	show_ports(w.thread->view, in, out);
	if (n < 12)
		return 4;
	memset(out + 4, 0, 8); /* verification tag, and a CRC over chunks that are not shown */
	return 12;
}

static uint32_t
rewrite_transport(struct rewrite w, const struct addressed *a, unsigned version, uint8_t proto, const uint8_t *in, uint32_t n,
                  uint8_t *out)
{
	switch (proto) {
	case PROTO_TCP:
		return rewrite_tcp(w, a, in, n, out);
	case PROTO_UDP:
		return rewrite_udp(w, a, in, n, out);
	case PROTO_SCTP:
		return rewrite_sctp(w, in, n, out);
	case PROTO_ICMP:
		return version == 4 ? rewrite_icmp(w, a, 4, in, n, out) : 0;
	case PROTO_ICMP6:
		return version == 6 ? rewrite_icmp(w, a, 6, in, n, out) : 0;
	default:
		return rewrite_tunnel(w, proto, in, n, out);
	}
}

/* --- IP --- */

static uint32_t
rewrite_ip4(struct rewrite w, const uint8_t *in, uint32_t n, uint8_t *out)
{
	const struct view *v = w.thread->view;
	uint32_t header = n >= 20 ? (uint32_t)(in[0] & 15) * 4 : 0;
	if (header < 20 || header > n)
		return 0;
	uint32_t total = load_be16(in + 2);
	if (total >= header && total < n)
		n = total; /* behind it: padding */
	memcpy(out, in, header);
	out[1] = view_tos(v, in[1]);
	store_be16(out + 4, view_ip_id(v, load_be16(in + 4)));
	out[8] = view_ttl(v, in[8]);
	store_le16(out + 10, 0);
	view_ip4_bytes(w.thread, out + 12);
	view_ip4_bytes(w.thread, out + 16);
	view_ip4_options(w.thread, out + 20, header - 20);
	uint16_t right = checksum_of(sum_words(out, header));
	store_le16(out + 10, fold16(sum_words(in, header)) == 0xffff ? right : checksum_wrong(right));
	if (load_be16(in + 6) & 0x1fff)
		return header; /* a later fragment: nobody knows what it begins with */
	struct addressed a = {
		.captured = sum_words(in + 12, 8),
		.shown = sum_words(out + 12, 8),
		.src = in + 12,
		.dst = in + 16,
		.bytes = 4,
		.length = total > header ? total - header : 0,
		.part = in[6] & 0x20,
	};
	return header + rewrite_transport(w, &a, 4, in[9], in + header, n - header, out + header);
}

static uint32_t
rewrite_ip6(struct rewrite w, const uint8_t *in, uint32_t n, uint8_t *out)
{
	const struct view *v = w.thread->view;
	if (n < 40)
		return 0;
	uint32_t total = 40u + load_be16(in + 4), word = load_be32(in);
	if (total > 40 && total < n)
		n = total;
	memcpy(out, in, 40);
	store_be32(out, 6u << 28 | (uint32_t)view_tos(v, (uint8_t)(word >> 20)) << 20 | view_label(v, word & 0xfffff));
	out[7] = view_ttl(v, in[7]);
	view_ip6(w.thread, out + 8);
	view_ip6(w.thread, out + 24);
	memcpy(out + 40, in + 40, n - 40);
	struct ip6_chain chain = view_ip6_extensions(w.thread, out + 40, n - 40, in[6]);
	uint32_t at = 40 + (uint32_t)chain.end;
	if (!chain.whole || chain.later_fragment)
		return at;
	struct addressed a = {
		.captured = sum_words(in + 8, 32),
		.shown = sum_words(out + 8, 32),
		.src = in + 8,
		.dst = in + 24,
		.bytes = 16,
		.length = total > at ? total - at : 0,
		.part = chain.more_fragments,
	};
	return at + rewrite_transport(w, &a, 6, chain.proto, in + at, n - at, out + at);
}

uint32_t
rewrite_ip(struct rewrite w, const uint8_t *in, uint32_t n, uint8_t *out)
{
	if (n == 0)
		return 0;
	return in[0] >> 4 == 4 ? rewrite_ip4(w, in, n, out) : in[0] >> 4 == 6 ? rewrite_ip6(w, in, n, out) : 0;
}

/* --- tunnels --- */

/* RFC 2784, RFC 2890. Checksum, key and sequence number are blanked. */
static uint32_t
rewrite_gre(struct rewrite w, const uint8_t *in, uint32_t n, uint8_t *out)
{
	if (n < 4 || in[1] & 7 || in[0] & 0x40)
		return 0; /* version 1 (RFC 2637) carries PPP; source routes (RFC 1701) are not read */
	uint32_t bytes = 4u + (in[0] & 0x80 ? 4 : 0) + (in[0] & 0x20 ? 4 : 0) + (in[0] & 0x10 ? 4 : 0);
	if (bytes > n)
		return 0;
	uint16_t type = load_be16(in + 2);
	memcpy(out, in, 4);
	memset(out + 4, 0, bytes - 4);
	if (type == ETHER_IP4 || type == ETHER_IP6)
		return bytes + rewrite_ip(w, in + bytes, n - bytes, out + bytes);
	return bytes + (type == ETHER_TEB ? rewrite_ethernet(w, in + bytes, n - bytes, out + bytes) : 0);
}

uint32_t
rewrite_tunnel(struct rewrite w, uint8_t proto, const uint8_t *in, uint32_t n, uint8_t *out)
{
	if (w.tunnels == 0)
		return 0;
	w.tunnels--;
	if (proto == PROTO_IP4_IN || proto == PROTO_IP6_IN)
		return rewrite_ip(w, in, n, out);
	return proto == PROTO_GRE ? rewrite_gre(w, in, n, out) : 0;
}

uint32_t
rewrite_behind_udp(struct rewrite w, uint16_t sport, uint16_t dport, const uint8_t *in, uint32_t n, uint8_t *out)
{
	/* VXLAN (RFC 7348): 8 bytes with the I flag, then an Ethernet frame. The network's number is a tag as VLAN's. */
	if (dport != PORT_VXLAN || n < 8 || in[0] != 8)
		return rewrite_payload(w, sport, dport, in, n, out, true);
	if (w.tunnels == 0)
		return 0;
	w.tunnels--;
	memset(out, 0, 8);
	out[0] = in[0];
	if (w.thread->view->policy.link_vlan == POLICY_KEEP)
		memcpy(out + 4, in + 4, 3);
	return 8 + rewrite_ethernet(w, in + 8, n - 8, out + 8);
}

uint32_t
rewrite_ethernet(struct rewrite w, const uint8_t *in, uint32_t n, uint8_t *out)
{
	struct dissection d;
	if (n < 14)
		return 0;
	dissect(LINK_ETHERNET, in, n, &d);
	uint32_t at = d.link_bytes;
	memcpy(out, in, at);
	if (rewrite_link(w.thread, LINK_ETHERNET, out, at) != OK)
		return 0;
	if (d.ethertype == ETHER_IP4 || d.ethertype == ETHER_IP6)
		return at + rewrite_ip(w, in + at, n - at, out + at);
	if (d.ethertype == ETHER_ARP || d.ethertype == ETHER_RARP)
		return at + rewrite_arp(w.thread, in + at, n - at, out + at);
	return at;
}

/* --- ICMP --- */

enum {
	ICMP_UNREACHABLE = 3, ICMP_QUENCH = 4, ICMP_REDIRECT = 5, ICMP_EXCEEDED = 11, ICMP_PARAMETER = 12, ICMP_TIMESTAMP = 13,
	ICMP_MASK_REPLY = 18, ICMP_ECHO_REPLY = 0, ICMP_ECHO = 8,
	ICMP6_UNREACHABLE = 1, ICMP6_TOO_BIG = 2, ICMP6_EXCEEDED = 3, ICMP6_PARAMETER = 4, ICMP6_ECHO = 128, ICMP6_ECHO_REPLY = 129,
	ICMP6_LISTENER_QUERY = 130, ICMP6_LISTENER_DONE = 132, ICMP6_SOLICIT_ROUTER = 133, ICMP6_ROUTER = 134,
	ICMP6_SOLICIT_NEIGHBOUR = 135, ICMP6_NEIGHBOUR = 136, ICMP6_REDIRECT = 137,
};

static bool
is_icmp_error(unsigned version, uint8_t type)
{
	if (version == 6)
		return type >= ICMP6_UNREACHABLE && type <= ICMP6_PARAMETER;
	return (type >= ICMP_UNREACHABLE && type <= ICMP_REDIRECT) || type == ICMP_EXCEEDED || type == ICMP_PARAMETER;
}

static bool
is_nd(unsigned version, uint8_t type)
{
	return version == 6 && type >= ICMP6_LISTENER_QUERY && type <= ICMP6_REDIRECT;
}

bool
rewrite_icmp_has_behind(const struct view_thread *t, unsigned version, uint8_t type)
{
	const struct policy *p = &t->view->policy;
	return (is_icmp_error(version, type) && p->icmp_quotes == POLICY_MAP) || (is_nd(version, type) && p->icmp_nd == POLICY_MAP);
}

uint32_t
rewrite_icmp_rest(struct view_thread *t, unsigned version, uint8_t type, uint32_t rest)
{
	uint32_t echo = (uint32_t)view_echo_id(t->view, (uint16_t)(rest >> 16)) << 16 | (rest & 0xffff);
	if (version == 6) {
		if (type == ICMP6_ECHO || type == ICMP6_ECHO_REPLY)
			return echo;
		if (type == ICMP6_NEIGHBOUR)
			return rest & 0xe0000000u; /* flags */
		/* maximum transfer unit; where the parameter is; hop limit, flags, lifetime */
		return type == ICMP6_TOO_BIG || type == ICMP6_PARAMETER || type == ICMP6_ROUTER ? rest : 0;
	}
	if (type == ICMP_ECHO || type == ICMP_ECHO_REPLY || (type >= ICMP_TIMESTAMP && type <= ICMP_MASK_REPLY))
		return echo;
	if (type == ICMP_REDIRECT)
		return view_ip4(t, rest);
	return type == ICMP_UNREACHABLE ? rest & 0xffff : type == ICMP_PARAMETER ? rest & 0xff000000u : 0;
}

/* One option of neighbour discovery, in place (RFC 4861, RFC 8106, RFC 4191). */
static void
rewrite_nd_option(struct view_thread *t, uint8_t *p, uint32_t n)
{
	uint8_t was[256 * 8];
	memcpy(was, p, n);
	memset(p + 2, 0, n - 2);
	if ((p[0] == 1 || p[0] == 2) && n == 8) {
		memcpy(p + 2, was + 2, 6);
		view_mac(t->view, p + 2);
	} else if (p[0] == 3 && n == 32) {
		uint32_t bits = was[2] < 128 ? was[2] : 128;
		memcpy(p + 2, was + 2, 30);
		memset(p + 12, 0, 4);
		view_ip6(t, p + 16);
		for (uint32_t i = bits; i < 128; i++)
			p[16 + i / 8] &= (uint8_t)~(0x80 >> i % 8);
	} else if (p[0] == 5 && n == 8) {
		memcpy(p + 4, was + 4, 4);
	} else if (p[0] == 25 && n >= 24) {
		memcpy(p + 4, was + 4, 4);
		for (uint32_t at = 8; at + 16 <= n; at += 16) {
			memcpy(p + at, was + at, 16);
			view_ip6(t, p + at);
		}
	}
}

static uint32_t
rewrite_nd(struct view_thread *t, uint8_t type, const uint8_t *in, uint32_t n, uint8_t *out)
{
	/* Bytes before the options, and how many of them are addresses at their end. */
	uint32_t addresses = type == ICMP6_REDIRECT ? 2 : type == ICMP6_SOLICIT_ROUTER || type == ICMP6_ROUTER ? 0 : 1;
	uint32_t at = type == ICMP6_ROUTER ? 8 : 16 * addresses;
	if (n < at)
		return 0;
	memcpy(out, in, at);
	for (uint32_t i = 0; i < addresses; i++)
		view_ip6(t, out + 16 * i);
	if (type <= ICMP6_LISTENER_DONE)
		return at;
	while (n - at >= 8) {
		uint32_t bytes = in[at + 1] * 8u;
		if (bytes == 0 || bytes > n - at)
			break;
		memcpy(out + at, in + at, bytes);
		rewrite_nd_option(t, out + at, bytes);
		at += bytes;
	}
	return at;
}

uint32_t
rewrite_behind_icmp(struct rewrite w, unsigned version, uint8_t type, const uint8_t *in, uint32_t n, uint8_t *out)
{
	if (w.quoted || !rewrite_icmp_has_behind(w.thread, version, type))
		return 0;
	if (is_nd(version, type))
		return rewrite_nd(w.thread, type, in, n, out);
	w.quoted = true;
	return rewrite_ip(w, in, n, out);
}

/* --- ARP and link headers --- */

uint32_t
rewrite_arp(struct view_thread *t, const uint8_t *in, uint32_t n, uint8_t *out)
{
	if (t->view->policy.link_arp != POLICY_MAP || n < 28 || load_be16(in + 2) != ETHER_IP4 || in[4] != 6 || in[5] != 4)
		return 0;
	memcpy(out, in, 28);
	view_mac(t->view, out + 8);
	view_ip4_bytes(t, out + 14);
	view_mac(t->view, out + 18);
	view_ip4_bytes(t, out + 24);
	return 28;
}

/* VLAN tags and MPLS labels behind the type at type_at, as dissect_link() steps over them. */
static void
rewrite_tags(const struct view *v, uint8_t *p, uint32_t n, uint32_t type_at, const struct dissection *d)
{
	uint32_t at = type_at + 2;
	for (unsigned i = 0; i < d->vlans && n - at >= 4; i++, at += 4)
		store_be16(p + at, view_vlan_tag(v, load_be16(p + at)));
	for (unsigned i = 0; i < d->mpls && n - at >= 4; i++, at += 4) {
		uint32_t entry = load_be32(p + at), label = v->policy.link_mpls == POLICY_KEEP ? entry & 0xfffff000u : 0;
		store_be32(p + at, label | (entry & 0x100) | view_ttl(v, (uint8_t)entry));
		p[at + 2] |= (uint8_t)((entry >> 8) & 0x0e & (v->policy.ip_tos == POLICY_KEEP ? 0xff : 0));
	}
}

/* The address of a Linux cooked header: length, then 8 bytes. */
static void
rewrite_cooked(const struct view *v, uint32_t length, uint8_t address[8])
{
	if (length == 6)
		view_mac(v, address);
	else
		memset(address, 0, 6);
	memset(address + 6, 0, 2);
}

/* The address families of LINK_NULL, in either byte order, and LINK_LOOP that are IP. */
static bool
is_ip_family(const uint8_t p[4])
{
	uint32_t family = p[0] | p[1] ? load_le32(p) : load_be32(p);
	return family == 2 || family == 10 || family == 24 || family == 28 || family == 30;
}

enum err
rewrite_link(struct view_thread *t, uint16_t linktype, uint8_t *p, uint32_t n)
{
	struct dissection d;
	dissect_link(linktype, p, n, &d);
	switch (linktype) {
	case LINK_ETHERNET:
		if (n >= 14) {
			view_mac(t->view, p);
			view_mac(t->view, p + 6);
			rewrite_tags(t->view, p, n, 12, &d);
		} else {
			memset(p, 0, n);
		}
		return OK;
	case LINK_SLL:
		if (n >= 16) {
			rewrite_cooked(t->view, load_be16(p + 4), p + 6);
			rewrite_tags(t->view, p, n, 14, &d);
		} else {
			memset(p, 0, n);
		}
		return OK;
	case LINK_SLL2:
		if (n >= 20)
			rewrite_cooked(t->view, p[11], p + 12);
		else
			memset(p, 0, n);
		return OK;
	case LINK_NULL:
	case LINK_LOOP:
		if (n != 4 || !is_ip_family(p))
			memset(p, 0, n);
		return OK;
	default:
		return dissect_knows(linktype) ? OK : fail(ERR_USAGE, "packets of link type %u are not understood", linktype);
	}
}
