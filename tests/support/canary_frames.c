#include "tests/support/canary_frames.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* A frame grows from its end to its start, so that each header knows what follows it. */
struct stack {
	uint8_t  room[2048];
	uint32_t at;
	struct canaries *c;
	struct frames *f;
};

static uint8_t *
push(struct stack *s, uint32_t n)
{
	if (n > s->at)
		abort();
	s->at -= n;
	memset(s->room + s->at, 0, n);
	return s->room + s->at;
}

static uint32_t
behind(const struct stack *s)
{
	return sizeof s->room - s->at;
}

/* --- canaries --- */

static void
plant(struct stack *s, uint8_t *p, uint8_t bytes)
{
	struct canaries *c = s->c;
	if (c->count == CANARIES_MAX)
		abort();
	struct canary *v = &c->v[c->count++];
	v->bytes = bytes;
	for (unsigned i = 0; i < bytes; i++) {
		c->state = c->state * 6364136223846793005u + 1442695040888963407u;
		v->address[i] = (uint8_t)(c->state >> 56) | 1; /* no zeros: they are everywhere */
	}
	if (bytes == 4)
		v->address[0] = (uint8_t)(v->address[0] % 90 + 30); /* of no class that could be kept */
	else if (bytes == 16)
		v->address[0] = 0x26;
	else
		v->address[0] &= 0xfc;
	memcpy(p, v->address, bytes);
}

static void plant4(struct stack *s, uint8_t *p) { plant(s, p, 4); }
static void plant6(struct stack *s, uint8_t *p) { plant(s, p, 16); }
static void plant_mac(struct stack *s, uint8_t *p) { plant(s, p, 6); }

static void
put4(struct stack *s)
{
	plant4(s, push(s, 4));
}

static void
put6(struct stack *s)
{
	plant6(s, push(s, 16));
}

static void
put_text(struct stack *s)
{
	uint8_t four[4], six[16];
	char text[INET6_ADDRSTRLEN], say[160];
	plant4(s, four);
	plant6(s, six);
	int n = snprintf(say, sizeof say, "GET / HTTP/1.1\r\nX-Forwarded-For: %u.%u.%u.%u, %s\r\n\r\n", four[0], four[1], four[2], four[3],
	                 inet_ntop(AF_INET6, six, text, sizeof text));
	memcpy(push(s, (uint32_t)n), say, (size_t)n);
}

static void
put_bytes(struct stack *s, const char *bytes, uint32_t n)
{
	memcpy(push(s, n), bytes, n);
}

/* --- headers --- */

static uint16_t
sum(uint32_t start, const uint8_t *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		start += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (start > 0xffff)
		start = (start & 0xffff) + (start >> 16);
	return (uint16_t)start;
}

static void
transport_sum(struct stack *s, uint32_t l4, uint8_t proto, const uint8_t *addresses, uint32_t bytes)
{
	uint8_t *p = s->room + l4;
	uint32_t n = (uint32_t)sizeof s->room - l4;
	uint32_t at = proto == 6 ? 16 : proto == 17 ? 6 : proto == 1 || proto == 58 ? 2 : 0;
	if (at == 0)
		return;
	store_be16(p + at, 0);
	uint16_t right = (uint16_t)~sum(proto == 1 ? 0 : sum(proto + n, addresses, bytes), p, n);
	store_be16(p + at, proto == 17 && right == 0 ? 0xffff : right);
}

static void
put_udp(struct stack *s, uint16_t sport, uint16_t dport)
{
	uint32_t n = behind(s) + 8;
	uint8_t *p = push(s, 8);
	store_be16(p, sport);
	store_be16(p + 2, dport);
	store_be16(p + 4, (uint16_t)n);
}

static void
put_tcp(struct stack *s, uint16_t sport, uint16_t dport)
{
	/* NOP NOP time stamp, NOP NOP SACK; an unknown option with an address */
	static const uint8_t options[] = { 1, 1, 8, 10, 0, 1, 2, 3, 0, 3, 2, 1, 1, 1, 5, 10, 0, 0, 9, 1, 0, 0, 9, 9, 253, 8, 0, 1 };
	put4(s);
	memcpy(push(s, sizeof options), options, sizeof options);
	uint8_t *p = push(s, 20);
	store_be16(p, sport);
	store_be16(p + 2, dport);
	store_be32(p + 4, 0x11223344);
	store_be32(p + 8, 0x55667788);
	p[12] = 13 << 4;
	p[13] = 0x18;
	store_be16(p + 14, 512);
}

static void
put_icmp(struct stack *s, uint8_t type, uint8_t code, uint32_t rest)
{
	uint8_t *p = push(s, 8);
	p[0] = type;
	p[1] = code;
	store_be32(p + 4, rest);
}

/* options: bytes of them, which are there already. */
static void
put_ip4(struct stack *s, uint8_t proto, uint32_t options)
{
	uint32_t l4 = s->at + options, n = behind(s) + 20;
	uint8_t *p = push(s, 20);
	p[0] = (uint8_t)(0x45 + options / 4);
	store_be16(p + 2, (uint16_t)n);
	store_be16(p + 4, 0x4321);
	p[8] = 61;
	p[9] = proto;
	plant4(s, p + 12);
	plant4(s, p + 16);
	store_be16(p + 10, (uint16_t)~sum(0, p, 20 + options));
	transport_sum(s, l4, proto, p + 12, 8);
}

/* extensions: bytes of extension headers, which are there already; proto: behind them. */
static void
put_ip6(struct stack *s, uint8_t first, uint8_t proto, uint32_t extensions)
{
	uint32_t l4 = s->at + extensions, n = behind(s);
	uint8_t *p = push(s, 40);
	store_be32(p, 6u << 28 | 0x54321);
	store_be16(p + 4, (uint16_t)n);
	p[6] = first;
	p[7] = 61;
	plant6(s, p + 8);
	plant6(s, p + 24);
	transport_sum(s, l4, proto, p + 8, 32);
}

static void
put_ethernet(struct stack *s, uint16_t type)
{
	uint8_t *p = push(s, 14);
	plant_mac(s, p);
	plant_mac(s, p + 6);
	store_be16(p + 12, type);
}

static void
end_frame(struct stack *s, uint16_t linktype, uint32_t trailer)
{
	struct frames *f = s->f;
	uint8_t tail[64];
	uint32_t n = behind(s);
	for (uint32_t i = 0; i < trailer; i++)
		plant4(s, tail + 4 * i);
	if (f->count < BLOCK_RECORDS_MAX && n + 4 * trailer <= f->room_bytes - f->used_bytes) {
		f->v[f->count] = (struct frame){ .ts_ns = 1700000000000000000u + f->count * 1000u, .wire_len = n + 4 * trailer,
			                         .cap_len = n + 4 * trailer, .at = f->used_bytes, .linktype = linktype };
		f->count++;
		memcpy(f->bytes + f->used_bytes, s->room + s->at, n);
		memcpy(f->bytes + f->used_bytes + n, tail, 4 * trailer);
		f->used_bytes += n + 4 * trailer;
	}
	s->at = sizeof s->room;
}

static void
end_ip4(struct stack *s, uint8_t proto)
{
	put_ip4(s, proto, 0);
	put_ethernet(s, 0x0800);
	end_frame(s, 1, 0);
}

static void
end_ip6(struct stack *s, uint8_t proto)
{
	put_ip6(s, proto, proto, 0);
	put_ethernet(s, 0x86dd);
	end_frame(s, 1, 0);
}

/* --- kinds of frames --- */

static void
plain_ones(struct stack *s)
{
	put_text(s);
	put_tcp(s, 40000, 80);
	end_ip4(s, 6);
	put_text(s);
	put_tcp(s, 40001, 443);
	end_ip6(s, 6);
	put_text(s);
	put_udp(s, 4000, 5000);
	end_ip4(s, 17);
	put_text(s);
	put_udp(s, 4000, 5000);
	end_ip6(s, 17);
	put_udp(s, 7, 7);
	put_ip4(s, 17, 0);
	put_ethernet(s, 0x0800);
	end_frame(s, 1, 5); /* padding */
}

static void
ip4_options(struct stack *s)
{
	static const uint8_t heads[][4] = { { 1, 7, 11, 12 }, { 1, 7, 11, 4 }, { 1, 131, 11, 4 }, { 1, 137, 11, 8 }, { 68, 12, 13, 1 },
		                            { 68, 12, 5, 3 }, { 1, 82, 11, 7 }, { 1, 200, 11, 0 } };
	for (size_t i = 0; i < sizeof heads / sizeof heads[0]; i++) {
		put_udp(s, 9, 9);
		put4(s);
		put4(s);
		memcpy(push(s, 4), heads[i], 4);
		put_ip4(s, 17, 12);
		put_ethernet(s, 0x0800);
		end_frame(s, 1, 0);
	}
}

/* One address in each kind of extension header, in front of UDP. */
static void
ip6_extensions(struct stack *s)
{
	static const struct { uint8_t first, head[8]; uint8_t addresses; } kinds[] = {
		{ 43, { 17, 4, 0, 1 }, 2 },               { 43, { 17, 2, 2, 1 }, 1 },   { 43, { 17, 2, 3, 1 }, 1 },
		{ 43, { 17, 4, 4, 1, 1 }, 2 },            { 43, { 17, 2, 253, 1 }, 1 }, { 60, { 17, 2, 1, 2, 0, 0, 0xc9, 16 }, 1 },
		{ 60, { 17, 2, 1, 2, 0, 0, 0x3e, 16 }, 1 },{ 0, { 17, 2, 1, 2, 0, 0, 0x1e, 16 }, 1 },
		{ 51, { 17, 4, 0, 0, 1, 2, 3, 4 }, 1 },   { 135, { 59, 2, 5 }, 1 },
	};
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
		put_udp(s, 9, 9);
		for (unsigned k = 0; k < kinds[i].addresses; k++)
			put6(s);
		memcpy(push(s, 8), kinds[i].head, 8);
		put_ip6(s, kinds[i].first, 17, 8 + 16u * kinds[i].addresses);
		put_ethernet(s, 0x86dd);
		end_frame(s, 1, 0);
	}
	/* A later fragment, an earlier one. */
	for (uint8_t offset = 0; offset < 2; offset++) {
		put6(s);
		put_udp(s, 9, 9);
		static const uint8_t head[8] = { 17, 0, 0, 1, 1, 2, 3, 4 };
		memcpy(push(s, 8), head, 8);
		s->room[s->at + 2] = offset;
		put_ip6(s, 44, 0, 8);
		put_ethernet(s, 0x86dd);
		end_frame(s, 1, 0);
	}
	put6(s);
	put_ip4(s, 99, 0);
	uint8_t *p = s->room + s->at;
	store_be16(p + 6, 99);
	p[9] = 17;
	store_be16(p + 10, 0);
	store_be16(p + 10, (uint16_t)~sum(0, p, 20));
	put_ethernet(s, 0x0800);
	end_frame(s, 1, 0);
}

/* A packet inside of something else. */
static void
put_inner(struct stack *s, unsigned kind)
{
	put_text(s);
	if (kind % 3 == 0)
		put_tcp(s, 1000, 2000);
	else if (kind % 3 == 1)
		put_udp(s, 1000, 2000);
	else
		put_icmp(s, kind & 1 ? 128 : 8, 0, 0x12340001);
	if (kind & 1)
		put_ip6(s, kind % 3 == 0 ? 6 : kind % 3 == 1 ? 17 : 58, kind % 3 == 0 ? 6 : kind % 3 == 1 ? 17 : 58, 0);
	else
		put_ip4(s, kind % 3 == 0 ? 6 : kind % 3 == 1 ? 17 : 1, 0);
}

static void
icmp(struct stack *s)
{
	static const uint8_t errors4[] = { 3, 4, 5, 11, 12 }, errors6[] = { 1, 2, 3, 4 };
	for (unsigned i = 0; i < 15; i++) {
		put4(s); /* as in an extension of RFC 5837 */
		put_inner(s, 2 * i);
		put_icmp(s, errors4[i % 5], 0, 0);
		if (i % 5 == 2)
			plant4(s, s->room + s->at + 4);
		end_ip4(s, 1);
	}
	for (unsigned i = 0; i < 12; i++) {
		put6(s);
		put_inner(s, 2 * i + 1);
		put_icmp(s, errors6[i % 4], 0, 1280);
		end_ip6(s, 58);
	}
	for (uint8_t type = 0; type < 20; type++) {
		put4(s);
		put4(s);
		put_icmp(s, type, 0, 0x00010002);
		if (type == 9 || type == 6)
			plant4(s, s->room + s->at + 4);
		end_ip4(s, 1);
	}
}

static void
neighbours(struct stack *s)
{
	for (uint8_t type = 130; type <= 143; type++) {
		uint32_t addresses = type == 137 ? 2 : type == 133 || type == 134 || type == 143 ? 0 : 1;
		put6(s);
		put_bytes(s, "\x19\x03\0\0\0\0\x01\0", 8); /* RDNSS */
		put6(s);
		put_bytes(s, "\x03\x04\x40\xc0\0\0\x01\0\0\0\x01\0\0\0\0\0", 16); /* prefix */
		put6(s);
		put_bytes(s, "\x18\x03\x40\0\0\0\x01\0", 8); /* route */
		plant_mac(s, push(s, 6));
		put_bytes(s, "\x01\x01", 2);
		plant_mac(s, push(s, 6));
		put_bytes(s, "\x02\x01", 2);
		plant_mac(s, push(s, 6));
		put_bytes(s, "\x0e\x01", 2); /* nonce */
		if (type == 134)
			put_bytes(s, "\0\0\0\x01\0\0\0\x01", 8);
		if (type == 143) {
			put6(s);
			put6(s);
			put_bytes(s, "\x04\0\0\x01", 4);
		}
		for (; addresses > 0; addresses--)
			put6(s);
		put_icmp(s, type, 0, type == 143 ? 1 : 0x40000708);
		end_ip6(s, 58);
	}
}

static void
arp(struct stack *s)
{
	static const uint16_t types[] = { 0x0806, 0x8035, 0x0806 };
	for (size_t i = 0; i < 3; i++) {
		put4(s);
		plant_mac(s, push(s, 6));
		put4(s);
		plant_mac(s, push(s, 6));
		put_bytes(s, i < 2 ? "\0\x01\x08\0\x06\x04\0\x01" : "\0\x01\x08\x01\x06\x04\0\x02", 8);
		put_ethernet(s, types[i]);
		end_frame(s, 1, 4);
	}
}

static void
put_tunnel(struct stack *s, unsigned kind, bool inner6)
{
	switch (kind) {
	case 0:
		put_ip4(s, inner6 ? 41 : 4, 0);
		break;
	case 1:
		put_ip6(s, inner6 ? 41 : 4, inner6 ? 41 : 4, 0);
		break;
	case 2:
		put_bytes(s, inner6 ? "\x30\0\x86\xdd" : "\x30\0\x08\0", 4);
		s->at -= 8; /* a key that is an address, and a number, behind these four */
		memmove(s->room + s->at, s->room + s->at + 8, 4);
		plant4(s, s->room + s->at + 4);
		memset(s->room + s->at + 8, 7, 4);
		put_ip4(s, 47, 0);
		break;
	case 3:
		put_ethernet(s, inner6 ? 0x86dd : 0x0800);
		put_bytes(s, "\0\0\x65\x58", 4);
		put_ip6(s, 47, 47, 0);
		break;
	default:
		put_ethernet(s, inner6 ? 0x86dd : 0x0800);
		put_bytes(s, "\x08\0\0\0\0\0\x07\0", 8);
		put_udp(s, 55555, 4789);
		put_ip4(s, 17, 0);
	}
}

static void
tunnels(struct stack *s)
{
	for (unsigned depth = 1; depth <= 5; depth++) {
		for (unsigned kind = 0; kind < 5; kind++) {
			put_inner(s, kind + depth);
			bool inner6 = (kind + depth) & 1;
			for (unsigned i = 0; i < depth; i++) {
				put_tunnel(s, (kind + i) % 5, inner6);
				inner6 = (kind + i) % 5 == 1 || (kind + i) % 5 == 3;
			}
			put_ethernet(s, inner6 ? 0x86dd : 0x0800);
			end_frame(s, 1, 0);
		}
	}
}

static void
names(struct stack *s, uint16_t port)
{
	/* client subnet, AAAA, A, a name with an address in it */
	put4(s);
	put_bytes(s, "\0\0\x29\x10\0\0\0\0\0\0\x0c\0\x08\0\x08\0\x01\x20\0", 19);
	put6(s);
	put_bytes(s, "\xc0\x0c\0\x1c\0\x01\0\0\0\x3c\0\x10", 12);
	put4(s);
	put_bytes(s, "\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04", 12);
	uint8_t four[4];
	char name[64];
	plant4(s, four);
	int n = snprintf(name, sizeof name, "%u.%u.%u.%u", four[0], four[1], four[2], four[3]);
	put_bytes(s, "\0\0\x01\0\x01", 5);
	put_bytes(s, name, (uint32_t)n);
	*push(s, 1) = (uint8_t)n;
	put_bytes(s, "\x12\x34\x81\x80\0\x01\0\x02\0\0\0\x01", 12);
	put_udp(s, port, port == 53 ? 33333 : port);
}

static void
applications(struct stack *s)
{
	static const uint8_t routing[] = { 2, 46, 88, 89, 103, 112, 124, 50, 51, 55, 94, 115, 137, 139 };
	names(s, 53);
	end_ip4(s, 17);
	names(s, 53);
	end_ip6(s, 17);
	names(s, 5353);
	end_ip4(s, 17);
	for (size_t i = 0; i < sizeof routing; i++) {
		put4(s);
		put6(s);
		plant_mac(s, push(s, 6));
		put_bytes(s, "\x02\x01\0\x2c", 4);
		put4(s);
		put4(s);
		i % 2 ? end_ip4(s, routing[i]) : end_ip6(s, routing[i]);
	}
	/* SCTP INIT with addresses */
	put6(s);
	put_bytes(s, "\0\x06\0\x14", 4);
	put4(s);
	put_bytes(s, "\0\x05\0\x08\x01\0\0\x30", 8);
	put4(s); /* verification tag, and checksum */
	put4(s);
	put_bytes(s, "\x13\x88\x13\x89", 4);
	end_ip4(s, 132);
	/* DHCP: four addresses, and that of the client's hardware */
	plant_mac(s, push(s, 6));
	for (unsigned i = 0; i < 4; i++)
		put4(s);
	put_bytes(s, "\x02\x01\x06\0\x39\x03\xf3\x26\0\0\0\0", 12);
	put_udp(s, 67, 68);
	end_ip4(s, 17);
	put6(s);
	put_bytes(s, "\x07\x01\x02\x03\0\x05\0\x18", 8);
	put_udp(s, 546, 547);
	end_ip6(s, 17);
	/* BGP OPEN: an identifier */
	put4(s);
	put_bytes(s, "\x04\xfd\xe8\0\xb4", 5);
	put_tcp(s, 33000, 179);
	end_ip4(s, 6);
}

static void
links(struct stack *s)
{
	static const uint16_t raw[] = { 12, 14, 101 }, unknown[] = { 105, 147, 195, 50 };
	static const uint16_t types[] = { 0x88cc, 0x8864, 0x88f7, 0x0026, 0x1234, 0x9000 };
	for (unsigned i = 0; i < 12; i++) {
		bool six = i & 1;
		put_inner(s, i);
		if (i < 6) {
			put_bytes(s, six ? "\0\x07\x86\xdd" : "\0\x07\x08\0", 4);
			if (i < 4)
				put_bytes(s, "\0\x08\x81\0", 4);
			put_ethernet(s, i < 2 ? 0x88a8 : 0x8100);
			end_frame(s, 1, 0);
		} else if (i < 8) {
			put_bytes(s, "\0\x01\x01\x40", 4);
			put_ethernet(s, 0x8847);
			end_frame(s, 1, 0);
		} else {
			end_frame(s, i < 11 ? raw[i - 8] : 229, 0);
		}
	}
	for (unsigned i = 0; i < 4; i++) {
		put_inner(s, i);
		uint8_t *p = push(s, 4);
		p[i < 2 ? 0 : 3] = i & 1 ? 10 : 2;
		end_frame(s, i < 2 ? 0 : 108, 0);
	}
	for (unsigned i = 0; i < 6; i++) { /* cooked: of Ethernet, of a tunnel whose addresses are IPv4, of Infiniband */
		static const uint8_t bytes[] = { 6, 4, 8 };
		put_inner(s, i);
		uint8_t *p = push(s, i < 3 ? 16 : 20), *address = p + (i < 3 ? 6 : 12);
		if (i % 3 == 0)
			plant_mac(s, address);
		else
			plant4(s, address);
		p[i < 3 ? 5 : 11] = bytes[i % 3];
		store_be16(p + (i < 3 ? 14 : 0), i & 1 ? 0x86dd : 0x0800);
		if (i % 3 == 2)
			plant4(s, address + 4);
		end_frame(s, i < 3 ? 113 : 276, 0);
	}
	for (unsigned i = 0; i < 6; i++) {
		put_text(s);
		plant_mac(s, push(s, 6));
		put4(s);
		put_ethernet(s, types[i]);
		end_frame(s, 1, 0);
	}
	for (unsigned i = 0; i < 5; i++) {
		put_inner(s, i);
		plant_mac(s, push(s, 6));
		put4(s);
		end_frame(s, i < 4 ? unknown[i] : 0, 0); /* and a family that is none */
	}
}

void
canary_frames(struct frames *f, struct canaries *c)
{
	struct stack s = { .at = sizeof s.room, .c = c, .f = f };
	plain_ones(&s);
	ip4_options(&s);
	ip6_extensions(&s);
	icmp(&s);
	neighbours(&s);
	arp(&s);
	tunnels(&s);
	applications(&s);
	links(&s);
}

void
canary_cuts(struct frames *f, uint32_t first, uint32_t step)
{
	for (uint32_t i = first, end = f->count; i < end; i++) {
		for (uint32_t n = i % step; n < f->v[i].cap_len && f->count < BLOCK_RECORDS_MAX; n += step) {
			if (n > f->room_bytes - f->used_bytes)
				return;
			struct frame *v = &f->v[f->count++];
			*v = f->v[i];
			v->cap_len = n;
			v->at = f->used_bytes;
			memcpy(f->bytes + v->at, f->bytes + f->v[i].at, n);
			f->used_bytes += n;
		}
	}
}

/* --- the search --- */

static bool
has(const uint8_t *p, uint32_t n, const void *what, size_t bytes)
{
	return memmem(p, n, what, bytes);
}

static bool
has_text(const uint8_t *p, uint32_t n, const struct canary *c)
{
	char text[INET6_ADDRSTRLEN], hex[33] = "";
	const uint8_t *a = c->address;
	if (c->bytes == 6)
		snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3], a[4], a[5]);
	else
		inet_ntop(c->bytes == 4 ? AF_INET : AF_INET6, a, text, sizeof text);
	for (unsigned i = 0; i < c->bytes; i++)
		snprintf(hex + 2 * i, 3, "%02x", a[i]);
	if (has(p, n, text, strlen(text)) || has(p, n, hex, 2u * c->bytes))
		return true;
	for (unsigned i = 0; hex[i]; i++)
		hex[i] = (char)toupper((unsigned char)hex[i]);
	return has(p, n, hex, 2u * c->bytes);
}

uint32_t
canary_find(const struct canaries *c, uint32_t from, const uint8_t *p, uint32_t n)
{
	for (uint32_t i = from; i < c->count; i++) {
		const struct canary *v = &c->v[i];
		uint8_t back[16];
		for (unsigned k = 0; k < v->bytes; k++)
			back[k] = v->address[v->bytes - 1 - k];
		if (has(p, n, v->address, v->bytes) || has(p, n, back, v->bytes) || has_text(p, n, v))
			return i;
	}
	return c->count;
}
