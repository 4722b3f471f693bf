#include "query/packet_row.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "archive/dissect.h"
#include "base/bytes.h"
#include "base/when.h"

enum column_type { TYPE_u8, TYPE_u16, TYPE_u32, TYPE_u64, TYPE_addr, TYPE_mac, TYPE_bytes };

static const struct {
	const char *name;
	enum column_type type;
	bool is_time;
} columns[PACKET_COLUMN_COUNT] = {
#define F(id, name, type, unit, meaning, description) { #name, TYPE_##type, PACKET_##id == PACKET_TS },
	PACKET_COLUMNS(F)
#undef F
};

const char *
packet_column_name(enum packet_column c)
{
	return columns[c].name;
}

static void
set(struct packet_row *row, enum packet_column c, uint64_t v)
{
	row->there[c] = true;
	row->number[c] = v;
}

static void
point(struct packet_row *row, enum packet_column c, const uint8_t *p)
{
	row->there[c] = true;
	row->bytes[c] = p;
}

static void
read_ip(struct packet_row *row, const uint8_t *ip, const struct dissection *d)
{
	set(row, PACKET_PROTO, d->proto);
	if (d->net == NET_IP4) {
		row->family = 4;
		point(row, PACKET_SRC, ip + 12);
		point(row, PACKET_DST, ip + 16);
		set(row, PACKET_TOS, ip[1]);
		set(row, PACKET_TTL, ip[8]);
		set(row, PACKET_IP_LEN, load_be16(ip + 2));
		set(row, PACKET_IP_ID, load_be16(ip + 4));
		set(row, PACKET_IP_FRAG, load_be16(ip + 6));
		row->later_fragment = row->number[PACKET_IP_FRAG] & 0x1fff;
		return;
	}
	row->family = 6;
	point(row, PACKET_SRC, ip + 8);
	point(row, PACKET_DST, ip + 24);
	set(row, PACKET_TOS, load_be32(ip) >> 20 & 255);
	set(row, PACKET_TTL, ip[7]);
	set(row, PACKET_IP_LEN, load_be16(ip + 4) + 40u);
}

static void
read_transport(struct packet_row *row, const uint8_t *l4, const struct dissection *d)
{
	if (d->transport == TRANSPORT_ICMP || d->transport == TRANSPORT_ICMP6) {
		set(row, PACKET_SPORT, l4[0]);
		set(row, PACKET_DPORT, l4[1]);
	} else if (d->transport != TRANSPORT_NONE) {
		set(row, PACKET_SPORT, load_be16(l4));
		set(row, PACKET_DPORT, load_be16(l4 + 2));
	}
	if (d->transport != TRANSPORT_TCP)
		return;
	set(row, PACKET_TCP_FLAGS, l4[13]);
	set(row, PACKET_TCP_SEQ, load_be32(l4 + 4));
	set(row, PACKET_TCP_ACK, load_be32(l4 + 8));
	set(row, PACKET_TCP_WIN, load_be16(l4 + 14));
}

static void
read_addresses(struct packet_row *row, const struct batch *b, const struct flow *f)
{
	if (f->net == NET_IP4) {
		row->family = 4;
		store_be32(row->ip4[0], b->ip4[f->src]);
		store_be32(row->ip4[1], b->ip4[f->dst]);
		point(row, PACKET_SRC, row->ip4[0]);
		point(row, PACKET_DST, row->ip4[1]);
		return;
	}
	row->family = 6;
	point(row, PACKET_SRC, b->ip6[f->src]);
	point(row, PACKET_DST, b->ip6[f->dst]);
}

static void
read_fields(struct packet_row *row, const struct batch *b, uint32_t i, const struct flow *f)
{
	set(row, PACKET_CAP_LEN, b->cap_len[i]);
	set(row, PACKET_TOS, b->tos[i]);
	set(row, PACKET_TTL, b->ttl[i]);
	set(row, PACKET_IP_LEN, b->ip_len[i]);
	if (f->net == NET_IP4) {
		set(row, PACKET_IP_ID, b->ip_id[i]);
		set(row, PACKET_IP_FRAG, b->ip_frag[i]);
	}
	if (f->transport == TRANSPORT_TCP) {
		set(row, PACKET_TCP_SEQ, b->tcp_seq[i]);
		set(row, PACKET_TCP_ACK, b->tcp_ack[i]);
		set(row, PACKET_TCP_WIN, b->tcp_win[i]);
	}
}

/* What read_frame() finds in an IP record's bytes, as far as the batch has it. */
static void
read_batch(struct packet_row *row, const struct record *r)
{
	const struct batch *b = r->batch;
	const struct flow *f = &b->flows[2 * r->conversation + b->dir[r->row]];
	const struct link *l = &b->links[f->link];
	if (l->ethertype)
		set(row, PACKET_ETHERTYPE, f->net == NET_IP4 ? ETHER_IP4 : ETHER_IP6); /* behind MPLS labels, too */
	if (l->vlans)
		set(row, PACKET_VLAN, l->vlan);
	if (l->macs) {
		point(row, PACKET_ETH_DST, l->bytes);
		point(row, PACKET_ETH_SRC, l->bytes + 6);
	}
	row->transport = f->transport;
	row->later_fragment = f->net == NET_IP4 && f->flags & FLOW_FRAGMENT;
	set(row, PACKET_PROTO, f->proto);
	read_addresses(row, b, f);
	if (f->transport != TRANSPORT_NONE) {
		set(row, PACKET_SPORT, f->sport);
		set(row, PACKET_DPORT, f->dport);
	}
	if (f->transport == TRANSPORT_TCP)
		set(row, PACKET_TCP_FLAGS, b->tcp_flags[r->row]);
	if (b->cap_len)
		read_fields(row, b, r->row, f);
}

static void
read_frame(struct packet_row *row, const struct record *r)
{
	struct dissection d;
	dissect(r->linktype, r->bytes, r->cap_len, &d);
	set(row, PACKET_CAP_LEN, r->cap_len);
	if (d.ethertype)
		set(row, PACKET_ETHERTYPE, d.ethertype);
	if (d.vlans)
		set(row, PACKET_VLAN, d.vlan);
	if (r->linktype == LINK_ETHERNET && r->cap_len >= 12) {
		point(row, PACKET_ETH_DST, r->bytes);
		point(row, PACKET_ETH_SRC, r->bytes + 6);
	}
	row->transport = d.transport;
	if (d.net == NET_RAW)
		return;
	read_ip(row, r->bytes + d.link_bytes, &d);
	read_transport(row, r->bytes + d.transport_at, &d);
}

void
packet_row_read(struct packet_row *row, const struct record *r)
{
	*row = (struct packet_row){ .record = r };
	set(row, PACKET_TS, r->ts_ns);
	set(row, PACKET_WIRE_LEN, r->wire_len);
	set(row, PACKET_LINKTYPE, r->linktype);
	set(row, PACKET_IFACE, r->iface);
	if (r->batch)
		read_batch(row, r);
	else
		read_frame(row, r);
}

/* inet_ntop() and snprintf() take 0.3 us; a listing has two of these in each row. */
static char *
number_text(char *to, unsigned v)
{
	char digits[10];
	unsigned n = 0;
	do
		digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n > 0)
		*to++ = digits[--n];
	*to = 0;
	return to;
}

static void
ip4_text(const uint8_t *a, char out[PACKET_TEXT_BYTES])
{
	for (unsigned i = 0; i < 4; i++) {
		out = number_text(out, a[i]);
		*out++ = '.';
	}
	out[-1] = 0;
}

static void
mac_text(const uint8_t *m, char out[PACKET_TEXT_BYTES])
{
	snprintf(out, PACKET_TEXT_BYTES, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

void
packet_column_text(const struct packet_row *row, enum packet_column c, char out[PACKET_TEXT_BYTES])
{
	out[0] = 0;
	if (!row->there[c])
		return;
	if (columns[c].type == TYPE_addr && row->family == 4)
		ip4_text(row->bytes[c], out);
	else if (columns[c].type == TYPE_addr)
		inet_ntop(AF_INET6, row->bytes[c], out, PACKET_TEXT_BYTES);
	else if (columns[c].type == TYPE_mac)
		mac_text(row->bytes[c], out);
	else if (columns[c].is_time)
		when_format(out, row->number[c]);
	else
		snprintf(out, PACKET_TEXT_BYTES, "%llu", (unsigned long long)row->number[c]);
}

void
packet_column_json(const struct packet_row *row, enum packet_column c, struct json *j)
{
	char text[PACKET_TEXT_BYTES];
	if (!row->there[c])
		return;
	if (columns[c].type == TYPE_addr || columns[c].type == TYPE_mac || columns[c].is_time) {
		packet_column_text(row, c, text);
		json_text(j, columns[c].name, text);
	} else {
		json_u64(j, columns[c].name, row->number[c]);
	}
}

void
packet_end_text(const struct packet_row *row, bool source, char out[PACKET_TEXT_BYTES])
{
	enum packet_column address = source ? PACKET_SRC : PACKET_DST, port = source ? PACKET_SPORT : PACKET_DPORT;
	packet_column_text(row, address, out);
	if (!out[0]) {
		packet_column_text(row, source ? PACKET_ETH_SRC : PACKET_ETH_DST, out);
		return;
	}
	bool ported = row->transport == TRANSPORT_TCP || row->transport == TRANSPORT_UDP ||
	              row->transport == TRANSPORT_SCTP;
	if (!ported)
		return;
	char bare[PACKET_TEXT_BYTES], *end = out + strlen(out);
	if (row->family == 4) {
		*end = ':';
		number_text(end + 1, (unsigned)row->number[port]);
		return;
	}
	memcpy(bare, out, sizeof bare);
	snprintf(out, PACKET_TEXT_BYTES, "[%.46s]:%u", bare, (unsigned)row->number[port]);
}

void
packet_proto_text(const struct packet_row *row, char out[PACKET_TEXT_BYTES])
{
	static const struct {
		uint8_t proto;
		const char *name;
	} known[] = {
		{ 1, "ICMP" }, { 2, "IGMP" }, { 4, "IPIP" }, { 6, "TCP" }, { 17, "UDP" }, { 41, "IPv6" }, { 47, "GRE" },
		{ 50, "ESP" }, { 51, "AH" }, { 58, "ICMPv6" }, { 89, "OSPF" }, { 103, "PIM" }, { 112, "VRRP" },
		{ 132, "SCTP" },
	};
	if (!row->there[PACKET_PROTO]) {
		uint64_t type = row->number[PACKET_ETHERTYPE];
		if (!row->there[PACKET_ETHERTYPE])
			snprintf(out, PACKET_TEXT_BYTES, "link %u", (unsigned)row->number[PACKET_LINKTYPE]);
		else if (type == ETHER_ARP)
			snprintf(out, PACKET_TEXT_BYTES, "ARP");
		else if (type < 1536)
			snprintf(out, PACKET_TEXT_BYTES, "LLC");
		else
			snprintf(out, PACKET_TEXT_BYTES, "0x%04x", (unsigned)type);
		return;
	}
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (known[i].proto == row->number[PACKET_PROTO]) {
			snprintf(out, PACKET_TEXT_BYTES, "%s", known[i].name);
			return;
		}
	snprintf(out, PACKET_TEXT_BYTES, "%u", (unsigned)row->number[PACKET_PROTO]);
}

void
packet_info_text(const struct packet_row *row, char out[PACKET_TEXT_BYTES])
{
	static const char *const flags[8] = { "FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR" };
	size_t at = 0;
	out[0] = 0;
	if (row->there[PACKET_VLAN])
		at += (size_t)snprintf(out, PACKET_TEXT_BYTES, "vlan %u ", (unsigned)row->number[PACKET_VLAN]);
	if (row->transport == TRANSPORT_ICMP || row->transport == TRANSPORT_ICMP6)
		at += (size_t)snprintf(out + at, PACKET_TEXT_BYTES - at, "type %u code %u ",
		                       (unsigned)row->number[PACKET_SPORT], (unsigned)row->number[PACKET_DPORT]);
	/* with a tag before at most 9 + 8 * 4 bytes */
	for (unsigned i = 0; row->there[PACKET_TCP_FLAGS] && i < 8; i++)
		if (row->number[PACKET_TCP_FLAGS] >> i & 1) {
			memcpy(out + at, flags[i], 3);
			out[at + 3] = ' ';
			at += 4;
		}
	if (row->later_fragment)
		at += (size_t)snprintf(out + at, PACKET_TEXT_BYTES - at, "fragment ");
	if (at)
		out[at - 1] = 0;
}
