#include "tests/gen/talk.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"

enum kind { TCP, DNS, QUIC, RTP, NTP, ECHO, UNREACHABLE, ARP, NEIGHBOUR, BIG_UDP, REPORT, SCTP, SPANNING_TREE, LLDP };

#define MS 1000000ull
#define S  1000000000ull

/* Conversations of a kind per million. Packets per conversation differ: TCP has most of the packets. */
static const struct {
	uint8_t  kind;
	uint32_t per_million;
} mix[] = {
	{ DNS, 300000 }, { QUIC, 60000 }, { RTP, 4000 }, { NTP, 20000 }, { ECHO, 20000 }, { UNREACHABLE, 15000 },
	{ ARP, 30000 }, { NEIGHBOUR, 10000 }, { BIG_UDP, 5000 }, { REPORT, 4000 }, { SCTP, 2000 },
};

static uint8_t
kind_pick(struct chance *c)
{
	uint32_t at = chance_below(c, 1000000);
	for (unsigned i = 0; i < sizeof mix / sizeof *mix; i++) {
		if (at < mix[i].per_million)
			return mix[i].kind;
		at -= mix[i].per_million;
	}
	return TCP;
}

static void
path_fill(struct path *p, const struct talk *t, struct net *n)
{
	struct chance *c = &n->chance;
	for (unsigned side = 0; side < 2; side++)
		memcpy(p->mac[side], n->hosts.v[t->host[side]].mac, 6);
	if (t->host[1] % 4 != 0) { /* not local: through one of two routers */
		static const uint8_t routers[2][6] = { { 0, 0, 0x5e, 0, 1, 1 }, { 0, 0, 0x5e, 0, 1, 2 } };
		memcpy(p->mac[1], routers[t->host[1] & 1], 6);
	}
	p->pads = chance_in(c, 400000);
	uint32_t at = chance_below(c, 1000);
	if (at < 60) {
		p->vlans = 1;
		p->vlan[0] = (uint16_t)(10 + chance_below(c, 8) * 10);
	} else if (at < 70) {
		p->vlans = 2;
		p->vlan[0] = (uint16_t)(1000 + chance_below(c, 4));
		p->vlan[1] = (uint16_t)(100 + chance_below(c, 20));
	} else if (at < 85) {
		p->labels = (uint8_t)(1 + chance_below(c, 2));
		p->label[0] = 16 + chance_below(c, 500);
		p->label[1] = 299776 + chance_below(c, 64);
	} else if (at < 115) {
		p->tunnel = (uint8_t)(TUNNEL_GRE + chance_below(c, 4));
		p->tunnel_ip[0] = 0xac100001 + chance_below(c, 4);
		p->tunnel_ip[1] = 0xac100101 + chance_below(c, 16);
		p->tunnel_id = 1 + chance_below(c, 4000);
	}
}

void
talk_start(struct talk *t, struct net *n, uint64_t now_ns)
{
	struct chance *c = &n->chance;
	(void)now_ns;
	*t = (struct talk){ .kind = kind_pick(c) };
	t->host[0] = hosts_pick(&n->hosts, c) & ~3u; /* local hosts start, mostly */
	t->host[1] = hosts_pick(&n->hosts, c);
	if (t->host[1] == t->host[0])
		t->host[1] = (t->host[0] + 1) % n->hosts.count;
	if (chance_in(c, 100000)) {
		uint32_t h = t->host[0];
		t->host[0] = t->host[1];
		t->host[1] = h;
	}
	t->v6 = n->hosts.v[t->host[0]].dual && chance_in(c, 550000);
	t->zero_udp = chance_in(c, 150000);
	t->bad_sums = chance_in(c, 3000);
	t->tos = chance_in(c, 50000) ? (uint8_t)(chance_below(c, 64) << 2) : 0;
	t->flow_label = (uint32_t)chance_bits(c) & 0xfffff;
	path_fill(&t->path, t, n);
	t->rtt_ns = 200000 + chance_exponential(c, 30 * MS);
	t->port[0] = (uint16_t)(32768 + chance_below(c, 20000));
	t->rounds = 1;
	if (t->kind == TCP)
		tcp_start(t, n);
	if (t->kind == QUIC)
		t->left = chance_pareto(c, 4000, 1.2, 100000000);
	if (t->kind == RTP) {
		t->rounds = 50 + chance_exponential(c, 3000);
		t->port[0] = (uint16_t)(16384 + 2 * chance_below(c, 6000));
		t->port[1] = (uint16_t)(16384 + 2 * chance_below(c, 6000));
		t->seq[0] = (uint32_t)chance_bits(c);
	}
	if (t->kind == ECHO)
		t->rounds = 1 + chance_exponential(c, 6);
	if (t->kind == SCTP)
		t->rounds = 2 + chance_exponential(c, 20);
	if (t->kind == ARP || t->kind == NEIGHBOUR || t->kind == REPORT) {
		t->path.tunnel = TUNNEL_NONE;
		t->path.labels = 0;
		t->host[1] = (t->host[1] & ~3u) != t->host[0] ? t->host[1] & ~3u : t->host[1];
		memcpy(t->path.mac[1], n->hosts.v[t->host[1]].mac, 6);
		t->v6 = t->kind == NEIGHBOUR || (t->kind == REPORT && t->v6);
	}
}

void
talk_packet(struct packet *p, struct talk *t, struct net *n, uint8_t side, uint8_t proto)
{
	struct chance *c = &n->chance;
	struct host *from = &n->hosts.v[t->host[side]], *to = &n->hosts.v[t->host[!side]];
	*p = (struct packet){ .path = &t->path, .side = side, .v6 = t->v6, .proto = proto, .tos = t->tos, .ttl = from->ttl };
	if (t->v6) {
		memcpy(p->src, from->ip6, 16);
		memcpy(p->dst, to->ip6, 16);
	} else {
		store_be32(p->src, from->ip4);
		store_be32(p->dst, to->ip4);
	}
	if (t->host[side] % 4 != 0 && p->ttl > 24)
		p->ttl = (uint8_t)(p->ttl - 3 - t->host[side] % 20); /* hops on the way here */
	p->ip_id = from->ip_id == 1 ? from->ip_id_next++ : from->ip_id == 2 ? (uint16_t)chance_bits(c) : 0;
	p->dont_fragment = proto == 6 || from->ip_id == 0;
	p->flow_label = t->flow_label ^ (side ? 0x5a5a5 : 0);
	uint32_t at = chance_below(c, 100000);
	p->checksum = at < 60 || t->bad_sums ? CHECKSUM_BAD : from->offload ? CHECKSUM_PARTIAL : CHECKSUM_GOOD;
	if (proto == 17 && t->zero_udp && !t->v6)
		p->checksum = CHECKSUM_ZERO;
	if (proto == 1 || proto == 58)
		p->checksum = at < 60 ? CHECKSUM_BAD : CHECKSUM_GOOD; /* cards do not fill these in */
	p->bad_ip_sum = at >= 99990;
}

/* head_len bytes of application data are in p->head[8..]; pattern bytes follow. */
static void
udp_send(struct net *n, uint64_t now, struct packet *p, uint16_t sport, uint16_t dport, uint32_t head_len, uint32_t pattern_len,
         uint32_t piece)
{
	store_be16(p->head, sport);
	store_be16(p->head + 2, dport);
	store_be16(p->head + 4, (uint16_t)(8 + head_len + pattern_len));
	p->head_len = 8 + head_len;
	p->pattern_at = pattern_place((uint32_t)chance_bits(&n->chance), p->flow_label);
	p->pattern_len = pattern_len;
	p->sum_at = 6;
	p->pseudo = true;
	packet_send(&n->trace, now, p, piece);
}

static uint64_t
dns_turn(struct talk *t, struct net *n, uint64_t now)
{
	struct chance *c = &n->chance;
	uint8_t side = t->step;
	struct packet p;
	talk_packet(&p, t, n, side, 17);
	if (side == 0) {
		t->seq[0] = (uint32_t)chance_bits(c);
		t->count = chance_below(c, 5); /* answers */
		t->window = chance_below(c, 200000);
	}
	uint8_t *d = p.head + 8;
	bool aaaa = t->seq[0] >> 16 & 1;
	store_be16(d, (uint16_t)t->seq[0]);
	store_be16(d + 2, side == 0 ? 0x0100 : t->count ? 0x8180 : 0x8183);
	store_be16(d + 4, 1);
	store_be16(d + 6, side == 0 ? 0 : (uint16_t)t->count);
	store_be32(d + 8, 0);
	uint8_t *at = d + 13;
	at[-1] = (uint8_t)snprintf((char *)at, 16, "host%u", t->window);
	at += at[-1];
	memcpy(at, "\7example\3net", 13);
	at += 13;
	store_be16(at, aaaa ? 28 : 1);
	store_be16(at + 2, 1);
	at += 4;
	for (uint32_t i = 0; side == 1 && i < t->count; i++) {
		store_be16(at, 0xc00c);
		store_be16(at + 2, aaaa ? 28 : 1);
		store_be16(at + 4, 1);
		store_be32(at + 6, 60 * (1 + chance_below(c, 60)));
		store_be16(at + 10, aaaa ? 16 : 4);
		for (unsigned k = 0; k < (aaaa ? 16u : 4u); k++)
			at[12 + k] = (uint8_t)chance_bits(c);
		at += aaaa ? 28 : 16;
	}
	uint32_t len = (uint32_t)(at - d);
	udp_send(n, now, &p, side == 0 ? t->port[0] : 53, side == 0 ? 53 : t->port[0], len, 0, 0);
	t->step = 1;
	return side == 0 && !chance_in(c, 20000) ? 300000 + t->rtt_ns / 2 : 0; /* some are never answered */
}

static uint64_t
quic_turn(struct talk *t, struct net *n, uint64_t now)
{
	struct chance *c = &n->chance;
	uint8_t side = t->step % 4 != 0; /* the client acknowledges every third */
	struct packet p;
	talk_packet(&p, t, n, side, 17);
	uint32_t len = side == 0 ? 30 + chance_below(c, 20) : t->left < 1200 ? 40 + (uint32_t)t->left : 1240;
	p.head[8] = 0x40 | (uint8_t)chance_below(c, 0x40); /* short header */
	p.head[9] = (uint8_t)t->flow_label | 0x81;
	t->step = (t->step + 1) % 4;
	udp_send(n, now, &p, side == 0 ? t->port[0] : 443, side == 0 ? 443 : t->port[0], 2, len, 0);
	if (side == 0)
		return t->rtt_ns;
	t->left = t->left > 1200 ? t->left - 1200 : 0;
	return t->left ? 5000 + chance_exponential(c, 30000) : 0;
}

static uint64_t
rtp_turn(struct talk *t, struct net *n, uint64_t now)
{
	struct packet p;
	t->tos = 0xb8;
	talk_packet(&p, t, n, 0, 17);
	uint8_t *d = p.head + 8;
	store_be16(d, 0x8000);
	store_be16(d + 2, (uint16_t)t->seq[0]);
	store_be32(d + 4, t->seq[0] * 160);
	store_be32(d + 8, t->flow_label);
	t->seq[0]++;
	udp_send(n, now, &p, t->port[0], t->port[1], 12, 160, 0);
	return t->rounds-- > 1 ? 19900000 + chance_exponential(&n->chance, 100000) : 0;
}

static uint64_t
ntp_turn(struct talk *t, struct net *n, uint64_t now)
{
	uint8_t side = t->step++;
	struct packet p;
	talk_packet(&p, t, n, side, 17);
	uint8_t *d = p.head + 8;
	store_be32(d, side == 0 ? 0x230006ec : 0x240206ec);
	uint32_t seconds = (uint32_t)(now / S + 2208988800u); /* since 1900 */
	for (unsigned i = 1; i < 12; i++)
		store_be32(d + 4 * i, side == 0 && i < 10 ? 0 : i % 2 ? (uint32_t)chance_bits(&n->chance) : seconds);
	udp_send(n, now, &p, 123, 123, 48, 0, 0);
	return side == 0 ? t->rtt_ns : 0;
}

static uint64_t
echo_turn(struct talk *t, struct net *n, uint64_t now)
{
	uint8_t side = t->step;
	struct packet p;
	talk_packet(&p, t, n, side, t->v6 ? 58 : 1);
	p.head[0] = t->v6 ? 128 + side : side == 0 ? 8 : 0;
	p.head[1] = 0;
	store_be16(p.head + 4, t->port[0]);
	store_be16(p.head + 6, (uint16_t)(t->count + 1));
	store_be64(p.head + 8, now / S); /* as ping does: the time, then a ramp */
	store_be64(p.head + 16, 0x08090a0b0c0d0e0full);
	p.head_len = 24;
	p.pattern_at = 0;
	p.pattern_len = 40;
	p.sum_at = 2;
	p.pseudo = t->v6;
	packet_send(&n->trace, now, &p, 0);
	t->step = !side;
	if (side == 0)
		return chance_in(&n->chance, 30000) ? 0 : t->rtt_ns;
	t->count++;
	return t->rounds-- > 1 ? S - t->rtt_ns % S : 0;
}

/* A router or the host itself says that a packet of the other side could not be delivered, and quotes it. */
static uint64_t
unreachable_turn(struct talk *t, struct net *n, uint64_t now)
{
	struct chance *c = &n->chance;
	if (t->step == 0) { /* the packet to be quoted: UDP to a closed port, or traceroute's */
		struct packet p;
		talk_packet(&p, t, n, 0, 17);
		t->port[1] = (uint16_t)(33434 + chance_below(c, 90));
		p.ttl = (uint8_t)(1 + chance_below(c, 12));
		t->seq[0] = p.ip_id;
		udp_send(n, now, &p, t->port[0], t->port[1], 0, 32, 0);
		t->step = 1;
		return t->rtt_ns;
	}
	struct packet p;
	talk_packet(&p, t, n, 1, t->v6 ? 58 : 1);
	uint8_t *q = p.head + 8;
	bool expired = chance_in(c, 500000);
	memset(p.head, 0, 8);
	p.head[0] = t->v6 ? (expired ? 3 : 1) : expired ? 11 : 3;
	p.head[1] = expired ? 0 : t->v6 ? 4 : 3;
	if (t->v6) {
		store_be32(q, 0x60000000);
		store_be16(q + 4, 40);
		q[6] = 17;
		q[7] = 1;
		memcpy(q + 8, p.dst, 16);
		memcpy(q + 24, p.src, 16);
		q += 40;
	} else {
		memset(q, 0, 20);
		store_be16(q, 0x4500);
		store_be16(q + 2, 60);
		store_be16(q + 4, (uint16_t)t->seq[0]);
		q[8] = 1;
		q[9] = 17;
		memcpy(q + 12, p.dst, 4);
		memcpy(q + 16, p.src, 4);
		q += 20;
	}
	store_be16(q, t->port[0]);
	store_be16(q + 2, t->port[1]);
	store_be16(q + 4, 40);
	store_be16(q + 6, 0);
	p.head_len = (uint32_t)(q + 8 - p.head);
	p.sum_at = 2;
	p.pseudo = t->v6;
	packet_send(&n->trace, now, &p, 0);
	return 0;
}

static uint64_t
arp_turn(struct talk *t, struct net *n, uint64_t now)
{
	static const uint8_t all[6] = { 255, 255, 255, 255, 255, 255 };
	uint8_t side = t->step++, arp[28];
	const struct host *from = &n->hosts.v[t->host[side]], *to = &n->hosts.v[t->host[!side]];
	store_be64(arp, 0x0001080006040000ull | (side ? 2 : 1));
	memcpy(arp + 8, t->path.mac[side], 6);
	store_be32(arp + 14, from->ip4);
	memset(arp + 18, 0, 6);
	if (side)
		memcpy(arp + 18, t->path.mac[0], 6);
	store_be32(arp + 24, to->ip4);
	frame_send(&n->trace, now, side ? t->path.mac[0] : all, &t->path, side, 0x0806, arp, sizeof arp);
	return side == 0 && chance_in(&n->chance, 700000) ? 50000 + chance_exponential(&n->chance, 300000) : 0;
}

static uint64_t
neighbour_turn(struct talk *t, struct net *n, uint64_t now)
{
	uint8_t side = t->step++;
	struct packet p;
	talk_packet(&p, t, n, side, 58);
	p.ttl = 255;
	p.tos = 0;
	p.flow_label = 0;
	p.checksum = CHECKSUM_GOOD;
	memset(p.head, 0, 8);
	p.head[0] = side ? 136 : 135;
	if (side)
		p.head[4] = 0x60; /* solicited, override */
	memcpy(p.head + 8, side ? p.src : p.dst, 16);
	p.head[24] = side ? 2 : 1; /* link-layer address option */
	p.head[25] = 1;
	memcpy(p.head + 26, t->path.mac[side], 6);
	p.head_len = 32;
	p.sum_at = 2;
	p.pseudo = true;
	packet_send(&n->trace, now, &p, 0);
	return side == 0 ? 50000 + chance_exponential(&n->chance, 400000) : 0;
}

/* A datagram over the MTU, in fragments. */
static uint64_t
big_udp_turn(struct talk *t, struct net *n, uint64_t now)
{
	struct chance *c = &n->chance;
	struct packet p;
	talk_packet(&p, t, n, 0, 17);
	p.dont_fragment = false;
	p.ip_id = (uint16_t)chance_bits(c);
	if (p.checksum == CHECKSUM_PARTIAL)
		p.checksum = CHECKSUM_GOOD;
	uint32_t len = 1600 + chance_below(c, 12000);
	udp_send(n, now, &p, t->port[0], (uint16_t)(20000 + t->port[0] % 1000), 0, len, t->path.tunnel ? 1376 : 1440);
	return 0;
}

/* Multicast membership: IGMP with the router alert option, MLD with a hop-by-hop header. */
static uint64_t
report_turn(struct talk *t, struct net *n, uint64_t now)
{
	struct packet p;
	talk_packet(&p, t, n, 0, t->v6 ? 58 : 2);
	p.ttl = 1;
	p.router_alert = true;
	p.dont_fragment = false;
	p.checksum = CHECKSUM_GOOD;
	p.sum_at = 2;
	memset(p.head, 0, 32);
	uint32_t group = chance_below(&n->chance, 64);
	if (t->v6) {
		static const uint8_t all[16] = { 0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16 };
		memcpy(p.dst, all, 16);
		p.head[0] = 131;
		memcpy(p.head + 8, all, 16);
		p.head[23] = (uint8_t)group;
		p.head_len = 24;
		p.pseudo = true;
	} else {
		store_be32(p.dst, 0xe0000100 + group);
		p.head[0] = 0x16;
		store_be32(p.head + 4, 0xe0000100 + group);
		p.head_len = 8;
	}
	packet_send(&n->trace, now, &p, 0);
	return 0;
}

static uint64_t
sctp_turn(struct talk *t, struct net *n, uint64_t now)
{
	uint8_t side = (uint8_t)(t->rounds & 1);
	struct packet p;
	talk_packet(&p, t, n, side, 132);
	store_be16(p.head, side ? 2905 : t->port[0]);
	store_be16(p.head + 2, side ? t->port[0] : 2905);
	store_be32(p.head + 4, t->flow_label + side);
	store_be32(p.head + 8, 0); /* CRC32c not filled in: left to the card, as captures at the sender show it */
	store_be32(p.head + 12, side ? 0x05000008 : 0x04000008);   /* heartbeat and its acknowledgement */
	store_be32(p.head + 16, 0x00010004);
	p.head_len = 20;
	packet_send(&n->trace, now, &p, 0);
	return t->rounds-- > 1 ? 30 * MS + chance_exponential(&n->chance, 400 * MS) : 0;
}

static uint64_t
steady_turn(struct talk *t, struct net *n, uint64_t now)
{
	static const uint8_t bridges[6] = { 1, 0x80, 0xc2, 0, 0, 0 }, nearest[6] = { 1, 0x80, 0xc2, 0, 0, 0x0e };
	uint8_t bytes[46] = { 0 };
	if (t->kind == SPANNING_TREE) {
		bytes[0] = bytes[1] = 0x42;
		bytes[2] = 3;
		store_be16(bytes + 8, 0x8000);
		memcpy(bytes + 10, t->path.mac[0], 6);
		store_be16(bytes + 20, 0x8000);
		memcpy(bytes + 22, t->path.mac[0], 6);
		store_be16(bytes + 28, 0x8001);
		store_be16(bytes + 32, 0x1400);
		store_be16(bytes + 34, 0x0200);
		store_be16(bytes + 36, 0x0f00);
		frame_send(&n->trace, now, bridges, &t->path, 0, 38, bytes, sizeof bytes);
		return 2 * S;
	}
	store_be16(bytes, 1 << 9 | 7);
	bytes[2] = 4;
	memcpy(bytes + 3, t->path.mac[0], 6);
	store_be16(bytes + 9, 2 << 9 | 5);
	memcpy(bytes + 11, "\5eth0", 5);
	store_be16(bytes + 16, 3 << 9 | 2);
	store_be16(bytes + 18, 120);
	frame_send(&n->trace, now, nearest, &t->path, 0, 0x88cc, bytes, sizeof bytes);
	return 30 * S;
}

bool
talk_start_steady(struct talk *t, struct net *n, uint32_t i)
{
	if (i >= 4)
		return false;
	*t = (struct talk){ .kind = i % 2 ? LLDP : SPANNING_TREE };
	memcpy(t->path.mac[0], n->hosts.v[i / 2].mac, 6);
	t->path.mac[0][0] = 0x02;
	return true;
}

uint64_t
talk_turn(struct talk *t, struct net *n, uint64_t now_ns)
{
	switch (t->kind) {
	case TCP:
		return tcp_turn(t, n, now_ns);
	case DNS:
		return dns_turn(t, n, now_ns);
	case QUIC:
		return quic_turn(t, n, now_ns);
	case RTP:
		return rtp_turn(t, n, now_ns);
	case NTP:
		return ntp_turn(t, n, now_ns);
	case ECHO:
		return echo_turn(t, n, now_ns);
	case UNREACHABLE:
		return unreachable_turn(t, n, now_ns);
	case ARP:
		return arp_turn(t, n, now_ns);
	case NEIGHBOUR:
		return neighbour_turn(t, n, now_ns);
	case BIG_UDP:
		return big_udp_turn(t, n, now_ns);
	case REPORT:
		return report_turn(t, n, now_ns);
	case SCTP:
		return sctp_turn(t, n, now_ns);
	default:
		return steady_turn(t, n, now_ns);
	}
}
