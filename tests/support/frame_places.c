#include "tests/support/frame_places.h"

#include <string.h>

#include "base/bytes.h"

struct look {
	const uint8_t *p, *q;
	struct frame_places *out;
	bool quoted;
};

/* What a transport's checksum covers besides itself. */
struct pseudo {
	unsigned version;
	uint32_t ip_at, length;
	bool     part;
};

static void look_ip(struct look l, uint32_t at, uint32_t end, unsigned depth);
static void look_ethernet(struct look l, uint32_t at, uint32_t end, unsigned depth);

uint32_t
place_bytes(const struct place_of *x)
{
	static const uint32_t bytes[] = { [PLACE_IP4] = 4, [PLACE_IP6] = 16, [PLACE_MAC] = 6, [PLACE_IP_SUM] = 2, [PLACE_SUM] = 2 };
	return bytes[x->kind];
}

static void
put(struct look l, struct place_of x)
{
	if (l.out->count < PLACES_MAX)
		l.out->v[l.out->count++] = x;
}

static void
put_address(struct look l, enum place_kind kind, uint32_t at, bool option)
{
	put(l, (struct place_of){ .kind = kind, .at = at, .option = option, .bits = kind == PLACE_IP4 ? 32 : 128 });
}

/* RFC 1071. */
static uint32_t
add_words(uint32_t sum, const uint8_t *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static void
put_sum(struct look l, const struct pseudo *x, uint8_t proto, uint32_t at, uint32_t field, uint32_t length, uint32_t end)
{
	enum sum_state state;
	uint32_t sum = 0;
	if (length < field + 2 - at)
		length = field + 2 - at; /* a UDP length below 8 */
	if (proto == 17 && load_be16(l.q + field) == 0) {
		state = SUM_IS_NONE;
	} else if (length > end - at || x->part) {
		state = SUM_IS_OPEN;
	} else {
		if (proto != 1)
			sum = add_words(proto + length, l.q + x->ip_at + (x->version == 4 ? 12 : 8), x->version == 4 ? 8 : 32);
		state = add_words(sum, l.q + at, length) == 0xffff ? SUM_IS_RIGHT : SUM_IS_WRONG;
	}
	put(l, (struct place_of){ .kind = PLACE_SUM, .at = field, .state = state });
}

/* --- DNS --- */

static uint32_t
skip_name(const uint8_t *p, uint32_t at, uint32_t end)
{
	while (at < end && p[at] != 0 && p[at] < 64)
		at += p[at] + 1u;
	if (at >= end || (p[at] >= 64 && p[at] < 192))
		return end + 1;
	return at + (p[at] ? 2 : 1);
}

static void
look_subnets(struct look l, uint32_t at, uint32_t end)
{
	while (at + 4 <= end) {
		uint32_t code = load_be16(l.p + at), n = load_be16(l.p + at + 2);
		if (n > end - at - 4)
			return;
		uint32_t family = n >= 4 ? load_be16(l.p + at + 4) : 0, bits = n >= 4 ? l.p[at + 6] : 0;
		if (code == 8 && ((family == 1 && n == 8 && bits <= 32) || (family == 2 && n == 20 && bits <= 128)))
			put(l, (struct place_of){ family == 1 ? PLACE_IP4 : PLACE_IP6, at + 8, false, (uint8_t)bits, 0 });
		at += 4 + n;
	}
}

static void
look_dns(struct look l, uint32_t at, uint32_t end)
{
	if (end - at < 12)
		return;
	uint32_t questions = load_be16(l.p + at + 4);
	uint32_t records = load_be16(l.p + at + 6) + load_be16(l.p + at + 8) + load_be16(l.p + at + 10);
	at += 12;
	for (; questions > 0 && at <= end; questions--)
		at = skip_name(l.p, at, end) + 4;
	for (; records > 0 && at < end; records--) {
		at = skip_name(l.p, at, end);
		if (at > end || end - at < 10)
			return;
		uint32_t type = load_be16(l.p + at), n = load_be16(l.p + at + 8);
		at += 10;
		if (n > end - at)
			return;
		if (type == 1 && n == 4)
			put_address(l, PLACE_IP4, at, false);
		else if (type == 28 && n == 16)
			put_address(l, PLACE_IP6, at, false);
		else if (type == 41)
			look_subnets(l, at, at + n);
		at += n;
	}
}

/* --- transports --- */

static void
look_udp(struct look l, uint32_t at, uint32_t end, unsigned depth)
{
	uint32_t sport = load_be16(l.p + at), dport = load_be16(l.p + at + 2), length = load_be16(l.p + at + 4);
	if (length >= 8 && length < end - at)
		end = at + length;
	if (length < 8)
		return;
	at += 8;
	if (dport == 4789 && end - at >= 8 && l.p[at] == 8) {
		if (depth)
			look_ethernet(l, at + 8, end, depth - 1);
	} else if (sport == 53 || dport == 53 || sport == 5353 || dport == 5353) {
		look_dns(l, at, end);
	}
}

static void
look_nd(struct look l, uint8_t type, uint32_t at, uint32_t end)
{
	uint32_t addresses = type == 137 ? 2 : type == 133 || type == 134 ? 0 : 1;
	for (; addresses > 0; addresses--, at += 16) {
		if (end - at < 16)
			return;
		put_address(l, PLACE_IP6, at, false);
	}
	if (type < 133)
		return;
	at += type == 134 ? 8 : 0;
	while (at + 8 <= end && l.p[at + 1] && l.p[at + 1] * 8u <= end - at) {
		uint32_t n = l.p[at + 1] * 8u;
		if (l.p[at] <= 2 && l.p[at] >= 1 && n == 8)
			put_address(l, PLACE_MAC, at + 2, false);
		if (l.p[at] == 3 && n == 32)
			put(l, (struct place_of){ PLACE_IP6, at + 16, false, l.p[at + 2] < 128 ? l.p[at + 2] : 128, 0 });
		for (uint32_t i = 8; l.p[at] == 25 && i + 16 <= n; i += 16)
			put_address(l, PLACE_IP6, at + i, false);
		at += n;
	}
}

static void
look_icmp(struct look l, const struct pseudo *x, uint32_t at, uint32_t end, unsigned depth)
{
	uint8_t type = l.p[at];
	put_sum(l, x, x->version == 4 ? 1 : 58, at, at + 2, x->length, end);
	if (x->version == 4 && type == 5)
		put_address(l, PLACE_IP4, at + 4, false);
	bool error = x->version == 4 ? type == 3 || type == 4 || type == 5 || type == 11 || type == 12 : type >= 1 && type <= 4;
	if (x->version == 6 && type >= 130 && type <= 137 && !l.quoted)
		look_nd(l, type, at + 8, end);
	if (error && !l.quoted) {
		l.quoted = true;
		look_ip(l, at + 8, end, depth);
	}
}

static void
look_gre(struct look l, uint32_t at, uint32_t end, unsigned depth)
{
	if (end - at < 4 || l.p[at + 1] & 7 || l.p[at] & 0x40)
		return;
	uint32_t type = load_be16(l.p + at + 2);
	uint32_t bytes = 4u + (l.p[at] & 0x80 ? 4 : 0) + (l.p[at] & 0x20 ? 4 : 0) + (l.p[at] & 0x10 ? 4 : 0);
	if (bytes > end - at)
		return;
	if (type == 0x0800 || type == 0x86dd)
		look_ip(l, at + bytes, end, depth);
	else if (type == 0x6558)
		look_ethernet(l, at + bytes, end, depth);
}

static void
look_transport(struct look l, const struct pseudo *x, uint8_t proto, uint32_t at, uint32_t end, unsigned depth)
{
	uint32_t n = end - at;
	if (proto == 6 && n >= 20 && l.p[at + 12] >> 4 >= 5 && (l.p[at + 12] >> 4) * 4u <= n)
		put_sum(l, x, 6, at, at + 16, x->length, end);
	else if (proto == 17 && n >= 8) {
		put_sum(l, x, 17, at, at + 6, load_be16(l.p + at + 4), end);
		look_udp(l, at, end, depth);
	} else if (((proto == 1 && x->version == 4) || (proto == 58 && x->version == 6)) && n >= 8)
		look_icmp(l, x, at, end, depth);
	else if ((proto == 4 || proto == 41) && depth)
		look_ip(l, at, end, depth - 1);
	else if (proto == 47 && depth)
		look_gre(l, at, end, depth - 1);
}

/* --- IP --- */

static void
look_ip4_options(struct look l, uint32_t at, uint32_t end)
{
	while (at < end && l.p[at] != 0) {
		uint8_t kind = l.p[at];
		if (kind == 1) {
			at++;
			continue;
		}
		if (end - at < 2 || l.p[at + 1] < 2 || l.p[at + 1] > end - at)
			return;
		uint32_t n = l.p[at + 1], pointer = n > 2 ? l.p[at + 2] : 0, flag = n > 3 ? l.p[at + 3] & 15 : 0;
		bool route = kind == 7 || kind == 131 || kind == 137;
		for (uint32_t i = 3; route && i + 4 <= n; i += 4)
			if (kind != 7 || i + 1 < pointer)
				put_address(l, PLACE_IP4, at + i, true);
		for (uint32_t i = 4; kind == 68 && (flag == 1 || flag == 3) && i + 8 <= n; i += 8)
			if (flag == 3 || i + 1 < pointer)
				put_address(l, PLACE_IP4, at + i, true);
		at += n;
	}
}

static void
look_ip4(struct look l, uint32_t at, uint32_t end, unsigned depth)
{
	uint32_t header = end - at >= 20 ? (l.p[at] & 15) * 4u : 0;
	if (header < 20 || header > end - at)
		return;
	uint32_t total = load_be16(l.p + at + 2);
	bool right = add_words(0, l.q + at, header) == 0xffff;
	put(l, (struct place_of){ .kind = PLACE_IP_SUM, .at = at + 10, .state = right ? SUM_IS_RIGHT : SUM_IS_WRONG });
	put_address(l, PLACE_IP4, at + 12, false);
	put_address(l, PLACE_IP4, at + 16, false);
	look_ip4_options(l, at + 20, at + header);
	if (total >= header && total < end - at)
		end = at + total;
	if (load_be16(l.p + at + 6) & 0x1fff)
		return;
	struct pseudo x = { 4, at, total > header ? total - header : 0, l.p[at + 6] & 0x20 };
	if (x.length == 0)
		x.part = true; /* nothing is said of how long it is */
	look_transport(l, &x, l.p[at + 9], at + header, end, depth);
}

static void
look_ip6_options(struct look l, uint32_t at, uint32_t end)
{
	while (at + 2 <= end) {
		uint32_t n = l.p[at] == 0 ? 1 : l.p[at + 1] + 2u;
		if (n > end - at)
			return;
		if (l.p[at] == 0xc9 && n == 18)
			put_address(l, PLACE_IP6, at + 2, true);
		at += n;
	}
}

static void
look_ip6_route(struct look l, uint32_t at, uint32_t n)
{
	uint8_t type = l.p[at + 2];
	uint32_t room = (n - 8) / 16, count = type == 0 ? room : type == 2 ? n == 24 : type == 4 ? l.p[at + 4] + 1u : 0;
	for (uint32_t i = 0; i < count && i < room; i++)
		put_address(l, PLACE_IP6, at + 8 + 16 * i, true);
}

static void
look_ip6(struct look l, uint32_t at, uint32_t end, unsigned depth)
{
	if (end - at < 40)
		return;
	uint32_t total = 40u + load_be16(l.p + at + 4), here = at + 40;
	uint8_t next = l.p[at + 6];
	bool part = false;
	put_address(l, PLACE_IP6, at + 8, false);
	put_address(l, PLACE_IP6, at + 24, false);
	if (total > 40 && total < end - at)
		end = at + total;
	while (next == 0 || next == 43 || next == 44 || next == 51 || next == 60 || next == 135) {
		if (end - here < 8)
			return;
		uint32_t n = next == 44 ? 8 : next == 51 ? (l.p[here + 1] + 2u) * 4 : (l.p[here + 1] + 1u) * 8;
		if (n > end - here)
			return;
		if (next == 0 || next == 60)
			look_ip6_options(l, here + 2, here + n);
		if (next == 43)
			look_ip6_route(l, here, n);
		if (next == 44 && load_be16(l.p + here + 2) >> 3)
			return;
		part |= next == 44 && l.p[here + 3] & 1;
		next = l.p[here];
		here += n;
	}
	struct pseudo x = { 6, at, total > here - at ? total - (here - at) : 0, part };
	if (x.length == 0)
		x.part = true;
	look_transport(l, &x, next, here, end, depth);
}

static void
look_ip(struct look l, uint32_t at, uint32_t end, unsigned depth)
{
	if (at >= end)
		return;
	if (l.p[at] >> 4 == 4)
		look_ip4(l, at, end, depth);
	else if (l.p[at] >> 4 == 6)
		look_ip6(l, at, end, depth);
}

/* --- links --- */

static void
look_by_type(struct look l, uint32_t type_at, uint32_t at, uint32_t end, bool tags, unsigned depth)
{
	uint32_t type = load_be16(l.p + type_at);
	for (unsigned i = 0; tags && i < 8 && (type == 0x8100 || type == 0x88a8 || type == 0x9100) && end - at >= 4; i++, at += 4)
		type = load_be16(l.p + at + 2);
	bool labels = tags && (type == 0x8847 || type == 0x8848), bottom = false;
	for (unsigned i = 0; labels && i < 8 && !bottom && end - at >= 4; i++, at += 4)
		bottom = l.p[at + 2] & 1;
	if ((labels && bottom) || type == 0x0800 || type == 0x86dd)
		look_ip(l, at, end, depth);
	if ((type == 0x0806 || type == 0x8035) && end - at >= 28 && load_be16(l.p + at + 2) == 0x0800 && l.p[at + 4] == 6 &&
	    l.p[at + 5] == 4) {
		put_address(l, PLACE_MAC, at + 8, false);
		put_address(l, PLACE_IP4, at + 14, false);
		put_address(l, PLACE_MAC, at + 18, false);
		put_address(l, PLACE_IP4, at + 24, false);
	}
}

static void
look_ethernet(struct look l, uint32_t at, uint32_t end, unsigned depth)
{
	if (end - at < 14)
		return;
	put_address(l, PLACE_MAC, at, false);
	put_address(l, PLACE_MAC, at + 6, false);
	look_by_type(l, at + 12, at + 14, end, true, depth);
}

void
frame_places(uint16_t linktype, const uint8_t *p, uint32_t n, const uint8_t *other, struct frame_places *out)
{
	struct look l = { p, other, out, false };
	out->count = 0;
	switch (linktype) {
	case 0:
	case 108:
		if (n >= 4)
			look_ip(l, 4, n, 9);
		break;
	case 1:
		look_ethernet(l, 0, n, 9);
		break;
	case 113:
		if (n >= 16 && load_be16(p + 4) == 6)
			put_address(l, PLACE_MAC, 6, false);
		if (n >= 16)
			look_by_type(l, 14, 16, n, true, 9);
		break;
	case 276:
		if (n >= 20 && p[11] == 6)
			put_address(l, PLACE_MAC, 12, false);
		if (n >= 20)
			look_by_type(l, 0, 20, n, false, 9);
		break;
	default:
		look_ip(l, 0, n, 9);
	}
}
