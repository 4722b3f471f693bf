#include "query/filter_value.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/bytes.h"

/* Next headers that can stand before others: a record may have one in the middle of its chain, where the segment's table
 * of protocols does not see it but libpcap does (behind a fragment header). */
static bool
is_extension(uint32_t proto)
{
	return proto == 0 || proto == 43 || proto == 44 || proto == 50 || proto == 51 || proto == 60 || proto == 135 ||
	       proto == 139 || proto == 140 || proto == 253 || proto == 254;
}

static void
set_proto(uint32_t proto, struct term *t)
{
	if (proto < 256 && !is_extension(proto))
		t->proto = (int16_t)proto;
}

/* -1: none or not certain. */
static int
number_of(uint8_t protocol)
{
	switch (protocol) {
	case PROTOCOL_SCTP:
		return 132;
	case PROTOCOL_TCP:
		return 6;
	case PROTOCOL_UDP:
		return 17;
	case PROTOCOL_ICMP:
		return 1;
	case PROTOCOL_IGMP:
		return 2;
	case PROTOCOL_IGRP:
		return 9;
	case PROTOCOL_PIM:
		return 103;
	case PROTOCOL_VRRP:
		return 112;
	case PROTOCOL_ICMP6:
		return 58;
	default:
		return -1;
	}
}

void
filter_protocol_implies(uint8_t protocol, struct term *t)
{
	int number = number_of(protocol);
	if (number >= 0)
		set_proto((uint32_t)number, t);
}

/* Decimal parts of an address, as libpcap reads them; returns how many bits they fill, 0 for anything odd. */
static unsigned
read_ip4(const char *s, uint32_t n, uint32_t *out)
{
	uint32_t addr = 0, part = 0;
	unsigned bits = 0;
	for (uint32_t i = 0; i <= n; i++) {
		if (i == n || s[i] == '.') {
			if (part > 255 || bits == 32)
				return 0;
			addr = addr << 8 | part;
			bits += 8;
			part = 0;
		} else if (s[i] >= '0' && s[i] <= '9' && part < 256) {
			part = part * 10 + (uint32_t)(s[i] - '0');
		} else {
			return 0;
		}
	}
	*out = addr;
	return bits;
}

static void
set_net4(uint32_t addr, uint32_t mask, struct term *t)
{
	uint32_t bits = mask == UINT32_MAX ? 32 : (uint32_t)__builtin_clz(~mask); /* the leading ones of any mask */
	if (bits == 0) /* libpcap does not even look whether there is an address */
		return;
	t->family = 4;
	t->bits = (uint8_t)bits;
	store_be32(t->addr, addr & (UINT32_MAX << (32 - bits)));
}

static void
address4(const char *text, const struct token *value, const struct token *more, struct term *t)
{
	uint32_t addr, mask;
	unsigned bits = read_ip4(text + value->at, value->len, &addr);
	if (bits == 0)
		return;
	addr = bits == 32 ? addr : addr << (32 - bits);
	mask = UINT32_MAX << (32 - bits);
	if (more && more->kind == WORD_NUMBER) {
		if (more->number > 32)
			return;
		mask = more->number ? UINT32_MAX << (32 - more->number) : 0;
	} else if (more) {
		unsigned mask_bits = read_ip4(text + more->at, more->len, &mask);
		if (mask_bits == 0)
			return;
		mask = mask_bits == 32 ? mask : mask << (32 - mask_bits);
	}
	set_net4(addr, mask, t);
}

static void
address6(const char *text, const struct token *value, const struct token *more, struct term *t)
{
	char name[64];
	if (value->len >= sizeof name || (more && (more->kind != WORD_NUMBER || more->number > 128)))
		return;
	memcpy(name, text + value->at, value->len);
	name[value->len] = '\0';
	if (inet_pton(AF_INET6, name, t->addr) != 1)
		return;
	if (more && more->number == 0) /* as above */
		return;
	t->family = 6;
	t->bits = (uint8_t)(more ? more->number : 128);
	for (unsigned i = 0; i < 16; i++) {
		unsigned kept = t->bits <= i * 8 ? 0 : t->bits - i * 8 >= 8 ? 8 : t->bits - i * 8;
		t->addr[i] &= (uint8_t)(0xff00 >> kept);
	}
}

static void
address(const char *text, uint8_t protocol, uint16_t type, const struct token *value, const struct token *more,
        struct term *t)
{
	bool ip4 = protocol == PROTOCOL_NONE || protocol == PROTOCOL_IP || protocol == PROTOCOL_ARP || protocol == PROTOCOL_RARP;
	bool ip6 = protocol == PROTOCOL_NONE || protocol == PROTOCOL_IP6;
	if (value->kind == WORD_IP4 && ip4) {
		address4(text, value, more, t);
	} else if (value->kind == WORD_IP6 && ip6) {
		address6(text, value, more, t);
	} else if (value->kind == WORD_NUMBER && ip4 && !more) {
		uint32_t addr = value->number, mask = UINT32_MAX;
		/* `net 10` is 10.0.0.0/8, but `host 10` is 0.0.0.10 */
		while (type == WORD_NET && addr && !(addr >> 24)) {
			addr <<= 8;
			mask <<= 8;
		}
		set_net4(addr, mask, t);
	}
}

/* A service name as getaddrinfo(3) finds it, the lowest and highest port of all its protocols. It has no host part, so
 * that nothing is asked of the network. */
static bool
service_ports(const char *name, uint16_t *first, uint16_t *last)
{
	struct addrinfo *found = NULL, any = { .ai_family = AF_UNSPEC };
	if (getaddrinfo(NULL, name, &any, &found) != 0)
		return false;
	*first = UINT16_MAX;
	*last = 0;
	for (const struct addrinfo *a = found; a; a = a->ai_next) {
		uint16_t port = 0;
		if (a->ai_family == AF_INET)
			port = ntohs(((const struct sockaddr_in *)(const void *)a->ai_addr)->sin_port);
		else if (a->ai_family == AF_INET6)
			port = ntohs(((const struct sockaddr_in6 *)(const void *)a->ai_addr)->sin6_port);
		else
			continue;
		*first = port < *first ? port : *first;
		*last = port > *last ? port : *last;
	}
	freeaddrinfo(found);
	return *first <= *last;
}

static void
ports(const char *text, uint16_t type, const struct token *value, struct term *t)
{
	char name[64];
	if (value->kind == WORD_NUMBER && value->number <= 65535) {
		t->first_port = t->last_port = (uint16_t)value->number;
		t->has_port = true;
		return;
	}
	if (value->kind != WORD_NAME || value->len >= sizeof name)
		return;
	memcpy(name, text + value->at, value->len);
	name[value->len] = '\0';
	if (type == WORD_PORT && name[0] != '\\') {
		t->has_port = service_ports(name, &t->first_port, &t->last_port);
		return;
	}
	/* a range of numbers, in either order as libpcap takes it; one with names implies nothing */
	char *dash = NULL, *end = NULL;
	if (type != WORD_PORTRANGE || name[0] < '0' || name[0] > '9')
		return;
	unsigned long a = strtoul(name, &dash, 10);
	if (*dash != '-' || dash[1] < '0' || dash[1] > '9')
		return;
	unsigned long b = strtoul(dash + 1, &end, 10);
	if (*end != '\0' || a > 65535 || b > 65535 || name[0] == '0' || dash[1] == '0')
		return;
	t->first_port = (uint16_t)(a < b ? a : b);
	t->last_port = (uint16_t)(a < b ? b : a);
	t->has_port = true;
}

static void
protocol_value(const char *text, uint8_t protocol, const struct token *value, struct term *t)
{
	if (protocol != PROTOCOL_NONE && protocol != PROTOCOL_IP && protocol != PROTOCOL_IP6)
		return;
	if (value->kind == WORD_NUMBER) {
		set_proto(value->number, t);
		return;
	}
	char name[64], buffer[1024];
	struct protoent entry, *found = NULL;
	if (value->kind != WORD_NAME || value->len >= sizeof name)
		return;
	uint32_t skip = text[value->at] == '\\' ? 1 : 0;
	memcpy(name, text + value->at + skip, value->len - skip);
	name[value->len - skip] = '\0';
	if (getprotobyname_r(name, &entry, buffer, sizeof buffer, &found) == 0 && found)
		set_proto((uint32_t)found->p_proto, t);
}

void
filter_value_implies(const char *text, uint8_t protocol, uint16_t type, const struct token *value,
                     const struct token *more, struct term *t)
{
	switch (type) {
	case 0:
	case WORD_HOST:
	case WORD_NET:
		address(text, protocol, type, value, more, t);
		return;
	case WORD_PORT:
	case WORD_PORTRANGE:
		if (more)
			return;
		ports(text, type, value, t);
		filter_protocol_implies(protocol, t);
		return;
	case WORD_PROTO:
		if (!more)
			protocol_value(text, protocol, value, t);
		return;
	default:
		return; /* protochain, gateway */
	}
}
