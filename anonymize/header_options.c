#include "anonymize/header_options.h"

#include <string.h>

#include "base/bytes.h"

/* Kinds of options, of IPv4 and of TCP. */
enum { OPTION_END = 0, OPTION_NOP = 1 };
enum { TCP_MSS = 2, TCP_SCALE = 3, TCP_SACK_PERMITTED = 4, TCP_SACK = 5, TCP_TIMESTAMP = 8 };
enum { IP4_RECORD_ROUTE = 7, IP4_TIMESTAMP = 68, IP4_LOOSE_ROUTE = 131, IP4_STRICT_ROUTE = 137, IP4_ROUTER_ALERT = 148 };
enum { IP6_PAD1 = 0, IP6_PADN = 1, IP6_TUNNEL_LIMIT = 4, IP6_ROUTER_ALERT = 5, IP6_JUMBO = 0xc2, IP6_HOME_ADDRESS = 0xc9 };
enum { HOP_BY_HOP = 0, ROUTING = 43, FRAGMENT = 44, AUTHENTICATION = 51, DESTINATION = 60, MOBILITY = 135 };

void
options_drop(uint8_t *p, size_t n)
{
	memset(p, OPTION_NOP, n);
}

/* The option at the start of n bytes: its length, 1 for NOP; 0: none, the rest has been made zeros (end) or NOPs (no option). */
static size_t
option_bytes(uint8_t *p, size_t n)
{
	if (p[0] == OPTION_NOP)
		return 1;
	if (p[0] == OPTION_END) {
		memset(p, 0, n);
		return 0;
	}
	if (n < 2 || p[1] < 2 || p[1] > n) {
		memset(p, OPTION_NOP, n);
		return 0;
	}
	return p[1];
}

/* --- TCP --- */

static bool
tcp_known(uint8_t kind, size_t bytes)
{
	switch (kind) {
	case TCP_MSS:
		return bytes == 4;
	case TCP_SCALE:
		return bytes == 3;
	case TCP_SACK_PERMITTED:
		return bytes == 2;
	case TCP_SACK:
		return bytes >= 10 && bytes <= 34 && bytes % 8 == 2;
	case TCP_TIMESTAMP:
		return bytes == 10;
	default:
		return false;
	}
}

void
tcp_options_rewrite(uint8_t *p, size_t n, enum tcp_timestamps timestamps, bool sacks, uint32_t sack_shift)
{
	uint32_t seen = (timestamps == TCP_TIMESTAMPS_DROP ? 1u << TCP_TIMESTAMP : 0) | (sacks ? 0 : 1u << TCP_SACK);
	for (size_t at = 0, bytes; at < n && (bytes = option_bytes(p + at, n - at)) > 0; at += bytes) {
		uint8_t *option = p + at, kind = option[0];
		if (kind == OPTION_NOP)
			continue;
		if (!tcp_known(kind, bytes) || seen & 1u << kind) {
			options_drop(option, bytes);
			continue;
		}
		seen |= 1u << kind;
		if (kind == TCP_TIMESTAMP && timestamps == TCP_TIMESTAMPS_BLANK)
			memset(option + 2, 0, 8);
		for (size_t edge = 2; kind == TCP_SACK && edge < bytes; edge += 4)
			store_be32(option + edge, load_be32(option + edge) + sack_shift);
	}
}

/* --- IPv4 --- */

/* Record route, source routes: kind, length, pointer (from 1), addresses. A source route has addresses behind the pointer, too. */
static bool
ip4_route(uint8_t *p, size_t bytes, bool source, const struct header_rule *r)
{
	if (bytes < 3 || (bytes - 3) % 4 || p[2] < 4 || p[2] % 4 || p[2] > bytes + 1)
		return false;
	for (size_t at = 3; at < bytes; at += 4)
		if (source || at + 1 < p[2])
			r->map4(r->arg, p + at);
		else
			memset(p + at, 0, 4);
	return true;
}

/* kind, length, pointer, overflow and flag, then times (flag 0) or pairs of address and time: 1 as recorded, 3 as asked for. */
static bool
ip4_timestamp(uint8_t *p, size_t bytes, const struct header_rule *r)
{
	unsigned flag = bytes < 4 ? 2 : p[3] & 15u, step = flag == 0 ? 4 : 8;
	if ((flag != 0 && flag != 1 && flag != 3) || (bytes - 4) % step || p[2] < 5 || (p[2] - 5u) % step || p[2] > bytes + 1)
		return false;
	for (size_t at = 4; at < bytes; at += step) {
		bool address = flag == 3 || (flag == 1 && at + 1 < p[2]);
		if (address)
			r->map4(r->arg, p + at);
		memset(p + at + (address ? 4 : 0), 0, step - (address ? 4 : 0));
	}
	return true;
}

static bool
ip4_option(uint8_t *p, size_t bytes, const struct header_rule *r)
{
	switch (p[0]) {
	case IP4_RECORD_ROUTE:
		return ip4_route(p, bytes, false, r);
	case IP4_LOOSE_ROUTE:
	case IP4_STRICT_ROUTE:
		return ip4_route(p, bytes, true, r);
	case IP4_TIMESTAMP:
		return ip4_timestamp(p, bytes, r);
	case IP4_ROUTER_ALERT:
		return bytes == 4 && load_be16(p + 2) == 0;
	default:
		return false;
	}
}

void
ip4_options_rewrite(uint8_t *p, size_t n, const struct header_rule *r)
{
	for (size_t at = 0, bytes; at < n && (bytes = option_bytes(p + at, n - at)) > 0; at += bytes)
		if (!ip4_option(p + at, bytes, r))
			options_drop(p + at, bytes);
}

/* --- IPv6 --- */

/* n bytes of padding, 1 to 257. */
static void
pad(uint8_t *p, size_t n)
{
	memset(p, 0, n); /* one byte: Pad1 */
	if (n > 1) {
		p[0] = IP6_PADN;
		p[1] = (uint8_t)(n - 2);
	}
}

/* What an option may keep; bytes are those of its value. */
static bool
ip6_option(uint8_t *p, size_t bytes, uint8_t header, const struct header_rule *r)
{
	switch (p[0]) {
	case IP6_TUNNEL_LIMIT:
		return bytes == 1;
	case IP6_ROUTER_ALERT:
		return bytes == 2;
	case IP6_JUMBO:
		return header == HOP_BY_HOP && bytes == 4 && load_be32(p + 2) > UINT16_MAX;
	case IP6_HOME_ADDRESS:
		if (bytes == 16)
			r->map6(r->arg, p + 2);
		return bytes == 16;
	default:
		return false;
	}
}

/* The options of a header, from p on. */
static void
ip6_options(uint8_t *p, size_t n, uint8_t header, const struct header_rule *r)
{
	for (size_t at = 0, bytes; at < n; at += bytes) {
		bytes = 1;
		if (p[at] == IP6_PAD1)
			continue;
		size_t left = n - at;
		bool whole = left >= 2 && p[at + 1] <= left - 2;
		bytes = whole ? p[at + 1] + 2u : left;
		if (!whole || !ip6_option(p + at, bytes - 2, header, r))
			pad(p + at, bytes);
	}
}

/* How many addresses there are from byte 8 on; 0: none that make sense. */
static size_t
ip6_route_addresses(const uint8_t *p, size_t bytes)
{
	size_t room = (bytes - 8) / 16, last = p[4];
	switch (p[2]) {
	case 0:
		return (bytes - 8) % 16 == 0 && p[3] <= room ? room : 0;
	case 2:
		return bytes == 24 && p[3] <= 1 ? 1 : 0;
	case 4:
		return last < room && p[3] <= last + 1 ? last + 1 : 0; /* RFC 8754, 4.1.1: a reduced header leaves one out */
	default:
		return 0;
	}
}

/* next, length, type, segments left, 4 bytes of the type's own, addresses. */
static void
ip6_route(uint8_t *p, size_t bytes, const struct header_rule *r)
{
	size_t count = ip6_route_addresses(p, bytes);
	if (count == 0)
		p[3] = 0;
	memset(p + (p[2] == 4 && count ? 5 : 4), 0, p[2] == 4 && count ? 3 : 4);
	for (size_t i = 0; i < count; i++)
		r->map6(r->arg, p + 8 + 16 * i);
	memset(p + 8 + 16 * count, 0, bytes - 8 - 16 * count);
}

static size_t
ip6_header_bytes(uint8_t header, const uint8_t *p)
{
	switch (header) {
	case FRAGMENT:
		return 8;
	case AUTHENTICATION:
		return (p[1] + 2u) * 4;
	default:
		return (p[1] + 1u) * 8;
	}
}

static void
ip6_header(uint8_t header, uint8_t *p, size_t bytes, const struct header_rule *r)
{
	if (!r && header != FRAGMENT) {
		memset(p + 2, 0, bytes - 2);
		return;
	}
	switch (header) {
	case ROUTING:
		ip6_route(p, bytes, r);
		break;
	case FRAGMENT:
		p[1] = 0;
		p[3] &= 0xf9;
		store_be32(p + 4, r ? r->fragment_id(r->arg, load_be32(p + 4)) : 0);
		break;
	case AUTHENTICATION:
		memset(p + 2, 0, bytes - 2);
		break;
	case MOBILITY:
		memset(p + 3, 0, bytes - 3); /* the checksum, too: it is over what is not shown */
		break;
	default:
		ip6_options(p + 2, bytes - 2, header, r);
	}
}

static bool
ip6_extension(uint8_t header)
{
	return header == HOP_BY_HOP || header == ROUTING || header == FRAGMENT || header == AUTHENTICATION ||
	       header == DESTINATION || header == MOBILITY;
}

struct ip6_chain
ip6_extensions_rewrite(uint8_t *p, size_t n, uint8_t first, const struct header_rule *r)
{
	struct ip6_chain c = { .proto = first, .whole = true };
	while (ip6_extension(c.proto) && !c.later_fragment) {
		uint8_t *header = p + c.end;
		size_t left = n - c.end, bytes = left < 8 ? 8 : ip6_header_bytes(c.proto, header);
		if (bytes > left) {
			memset(header, 0, left);
			c.whole = false;
			break;
		}
		ip6_header(c.proto, header, bytes, r);
		c.later_fragment = c.proto == FRAGMENT && load_be16(header + 2) >> 3;
		c.more_fragments |= c.proto == FRAGMENT && header[3] & 1;
		c.proto = header[0];
		c.end += bytes;
	}
	return c;
}
