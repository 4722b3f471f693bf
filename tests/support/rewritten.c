#include "tests/support/rewritten.h"

#include <string.h>

#include "base/bytes.h"

static void
mark4(void *arg, uint8_t address[4])
{
	(void)arg;
	memset(address, MARK4, 4);
}

static void
mark6(void *arg, uint8_t address[16])
{
	(void)arg;
	memset(address, MARK6, 16);
}

static uint32_t
mark_id(void *arg, uint32_t id)
{
	(void)arg;
	(void)id;
	return MARK_ID;
}

const struct header_rule marking = { .map4 = mark4, .map6 = mark6, .fragment_id = mark_id };

static bool
all(const uint8_t *p, size_t n, uint8_t value)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != value)
			return false;
	return true;
}

bool
rewritten_tcp(const uint8_t *p, size_t n, enum tcp_timestamps timestamps)
{
	bool seen[256] = { false };
	for (size_t at = 0; at < n; at += p[at] == 1 ? 1 : p[at + 1]) {
		if (p[at] == 0)
			return all(p + at, n - at, 0);
		if (p[at] == 1)
			continue;
		if (n - at < 2 || p[at + 1] > n - at || seen[p[at]])
			return false;
		seen[p[at]] = true;
		uint8_t kind = p[at], bytes = p[at + 1];
		bool sack = kind == 5 && (bytes == 10 || bytes == 18 || bytes == 26 || bytes == 34);
		bool stamp = kind == 8 && bytes == 10 && timestamps != TCP_TIMESTAMPS_DROP &&
		             (timestamps == TCP_TIMESTAMPS_KEEP || all(p + at + 2, 8, 0));
		if (!sack && !stamp && !(kind == 2 && bytes == 4) && !(kind == 3 && bytes == 3) && !(kind == 4 && bytes == 2))
			return false;
	}
	return true;
}

static bool
address4(const uint8_t *p, bool there)
{
	return all(p, 4, there ? MARK4 : 0);
}

static bool
ip4_timestamps(const uint8_t *p, size_t bytes)
{
	if (bytes < 4)
		return false;
	switch (p[3] & 15) {
	case 0:
		return bytes % 4 == 0 && all(p + 4, bytes - 4, 0);
	case 1:
	case 3:
		for (size_t at = 4; at < bytes; at += 8)
			if (bytes - at < 8 || !address4(p + at, (p[3] & 15) == 3 || at + 1 < p[2]) || !all(p + at + 4, 4, 0))
				return false;
		return true;
	default:
		return false;
	}
}

bool
rewritten_ip4(const uint8_t *p, size_t n)
{
	for (size_t at = 0; at < n; at += p[at] == 1 ? 1 : p[at + 1]) {
		if (p[at] == 0)
			return all(p + at, n - at, 0);
		if (p[at] == 1)
			continue;
		size_t bytes = n - at < 2 ? 0 : p[at + 1];
		if (bytes < 3 || bytes > n - at)
			return false;
		if (p[at] == 7 || p[at] == 131 || p[at] == 137) {
			for (size_t i = 3; i < bytes; i += 4)
				if (bytes - i < 4 || !address4(p + at + i, p[at] != 7 || i + 1 < p[at + 2]))
					return false;
		} else if (p[at] == 68) {
			if (!ip4_timestamps(p + at, bytes))
				return false;
		} else if (p[at] != 148 || bytes != 4 || p[at + 2] || p[at + 3]) {
			return false;
		}
	}
	return true;
}

static bool
ip6_options(const uint8_t *p, size_t n, uint8_t header)
{
	for (size_t at = 0; at < n; at += p[at] == 0 ? 1 : p[at + 1] + 2u) {
		if (p[at] == 0)
			continue;
		size_t bytes = n - at < 2 ? n : p[at + 1];
		if (bytes > n - at - 2)
			return false;
		bool padding = p[at] == 1 && all(p + at + 2, bytes, 0), home = p[at] == 0xc9 && bytes == 16 && all(p + at + 2, 16, MARK6);
		bool jumbo = p[at] == 0xc2 && bytes == 4 && header == 0 && load_be32(p + at + 2) > 65535;
		if (!padding && !home && !jumbo && !(p[at] == 4 && bytes == 1) && !(p[at] == 5 && bytes == 2))
			return false;
	}
	return true;
}

static bool
ip6_route(const uint8_t *p, size_t bytes)
{
	size_t known = p[2] == 0 ? (bytes - 8) / 16 : p[2] == 2 && bytes == 24 ? 1 : p[2] == 4 ? p[4] + 1u : 0;
	bool blank = all(p + 3, bytes - 3, 0);
	if (blank || known == 0)
		return blank;
	return (p[2] == 4 || p[4] == 0) && all(p + 5, 3, 0) && 8 + 16 * known <= bytes && all(p + 8, 16 * known, MARK6) &&
	       all(p + 8 + 16 * known, bytes - 8 - 16 * known, 0);
}

static bool
ip6_header(uint8_t header, const uint8_t *p, const uint8_t *raw, size_t bytes)
{
	if (p[0] != raw[0] || (header != 44 && p[1] != raw[1]))
		return false;
	switch (header) {
	case 43:
		return ip6_route(p, bytes);
	case 44:
		return p[1] == 0 && p[2] == raw[2] && p[3] == (raw[3] & 0xf9) && load_be32(p + 4) == MARK_ID;
	case 51:
		return all(p + 2, bytes - 2, 0);
	case 135:
		return p[2] == raw[2] && all(p + 3, bytes - 3, 0);
	default:
		return ip6_options(p + 2, bytes - 2, header);
	}
}

bool
rewritten_ip6(const uint8_t *p, const uint8_t *raw, size_t n, uint8_t first, struct ip6_chain told)
{
	size_t at = 0;
	uint8_t next = first;
	bool later = false;
	while (!later && (next == 0 || next == 43 || next == 44 || next == 51 || next == 60 || next == 135)) {
		size_t bytes = n - at < 8 ? 8 : next == 44 ? 8 : next == 51 ? (raw[at + 1] + 2u) * 4 : (raw[at + 1] + 1u) * 8;
		if (bytes > n - at)
			return !told.whole && told.end == at && told.proto == next && all(p + at, n - at, 0);
		if (!ip6_header(next, p + at, raw + at, bytes))
			return false;
		later = next == 44 && load_be16(raw + at + 2) >= 8;
		next = raw[at];
		at += bytes;
	}
	return told.whole && told.end == at && told.proto == next && told.later_fragment == later && memcmp(p + at, raw + at, n - at) == 0;
}
