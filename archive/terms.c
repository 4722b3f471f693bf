#include "archive/terms.h"

#include <stdlib.h>
#include <string.h>

#include "archive/radix.h"
#include "base/bytes.h"

enum err
terms_init(struct terms *t)
{
	uint32_t n = TERMS_ADDRESSES_MAX;
	*t = (struct terms){
		.ip4 = malloc(n * sizeof *t->ip4),
		.ip6 = malloc(n * sizeof *t->ip6),
		.ports = malloc(65536 * sizeof *t->ports),
		.sort = malloc(2 * (size_t)n * sizeof *t->sort),
	};
	if (t->ip4 && t->ip6 && t->ports && t->sort)
		return OK;
	terms_fini(t);
	return fail(ERR_NOMEM, "out of memory");
}

void
terms_fini(struct terms *t)
{
	free(t->ip4);
	free(t->ip6);
	free(t->ports);
	free(t->sort);
	*t = (struct terms){ 0 };
}

void
terms_reset(struct terms *t)
{
	t->ip4_count = t->ip6_count = t->port_count = t->proto_count = t->ip4_noted = 0;
	memset(t->port_seen, 0, sizeof t->port_seen);
	memset(t->proto_seen, 0, sizeof t->proto_seen);
	t->opaque = false;
}

void
terms_in_order(struct terms *t)
{
	t->ip4_noted = t->ip4_count;
}

void
terms_ip6(struct terms *t, const uint8_t address[16])
{
	memcpy(t->ip6[t->ip6_count++], address, 16);
}

static inline void
note_port(struct terms *t, uint16_t port)
{
	t->port_seen[port / 64] |= (uint64_t)1 << port % 64;
}

/* An IP header that is cut short or contradicts itself, n bytes of it: what libpcap's `host`, `port` and `proto` would
 * still find there, at fixed offsets and without our doubts. */
static void
note_raw_ip4(struct terms *t, const uint8_t *ip, uint32_t n)
{
	if (n >= 10)
		t->proto_seen[ip[9]] = 1;
	if (n >= 16)
		terms_ip4(t, load_be32(ip + 12));
	if (n >= 20)
		terms_ip4(t, load_be32(ip + 16));
	uint32_t header = n ? (ip[0] & 15) * 4u : 0;
	if (n >= header + 2)
		note_port(t, load_be16(ip + header));
	if (n >= header + 4)
		note_port(t, load_be16(ip + header + 2));
}

/* The address at `at`, as far as it was captured: `net` looks at no more 32-bit words than the prefix has. */
static void
note_raw_ip6_address(struct terms *t, const uint8_t *ip, uint32_t n, uint32_t at)
{
	if (n < at + 4)
		return;
	uint32_t there = n - at < 16 ? (n - at) & ~3u : 16;
	uint8_t address[16] = { 0 };
	memcpy(address, ip + at, there);
	terms_ip6(t, address);
}

static void
note_raw_ip6(struct terms *t, const uint8_t *ip, uint32_t n)
{
	if (n >= 7)
		t->proto_seen[ip[6]] = 1;
	note_raw_ip6_address(t, ip, n, 8);
	note_raw_ip6_address(t, ip, n, 24);
	if (n >= 41)
		t->proto_seen[ip[40]] = 1;
	if (n >= 42)
		note_port(t, load_be16(ip + 40));
	if (n >= 44)
		note_port(t, load_be16(ip + 42));
}

/* libpcap's `host` also looks into ARP and RARP, and behind PPPoE. */
void
terms_raw(struct terms *t, const uint8_t *p, uint32_t n, const struct dissection *d, uint16_t linktype)
{
	uint32_t at = d->link_bytes, type = d->ethertype;
	if (type == ETHER_ARP || type == ETHER_RARP) {
		if (n - at >= 18)
			terms_ip4(t, load_be32(p + at + 14));
		if (n - at >= 28)
			terms_ip4(t, load_be32(p + at + 24));
		return;
	}
	if (type == ETHER_PPPOE && n - at >= 8) {
		uint16_t ppp = load_be16(p + at + 6);
		type = ppp == 0x21 ? ETHER_IP4 : ppp == 0x57 ? ETHER_IP6 : 0;
		at += 8;
	} else if (!dissect_knows(linktype)) {
		t->opaque = true;
		return;
	} else if (type == 0) {
		/* Link types without an ethertype: libpcap may take it for either. */
		note_raw_ip4(t, p + at, n - at);
		note_raw_ip6(t, p + at, n - at);
	}
	if (type == ETHER_IP4)
		note_raw_ip4(t, p + at, n - at);
	else if (type == ETHER_IP6)
		note_raw_ip6(t, p + at, n - at);
}

void
terms_flow(struct terms *t, uint8_t net, uint8_t transport, uint8_t proto, uint8_t first_proto, uint8_t flags, uint16_t sport,
           uint16_t dport)
{
	if (transport == TRANSPORT_TCP || transport == TRANSPORT_UDP || transport == TRANSPORT_SCTP) {
		note_port(t, sport);
		note_port(t, dport);
	}
	/* Of a chain of extension headers libpcap sees one in the middle: be on the safe side. */
	if (flags & FLOW_EXTENSIONS)
		memset(t->proto_seen, 1, sizeof t->proto_seen);
	else if (net != NET_RAW)
		t->proto_seen[proto] = t->proto_seen[first_proto] = 1;
}

static int
compare_ip6(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

/* The addresses that came in no order, in front, go among those that came in order. */
static void
merge_noted_ip4(struct terms *t)
{
	uint32_t noted = t->ip4_noted, n = 0, i = 0, k = noted;
	if (noted == 0)
		return;
	for (i = 0; i < noted; i++)
		t->sort[i] = t->ip4[i];
	radix_sort(t->sort, t->sort + TERMS_ADDRESSES_MAX, noted, 0, 32);
	/* What is written never reaches what is still to be read: there are as many before it. */
	for (i = 0; i < noted || k < t->ip4_count;) {
		bool from_noted = k == t->ip4_count || (i < noted && (uint32_t)t->sort[i] <= t->ip4[k]);
		uint32_t address = from_noted ? (uint32_t)t->sort[i++] : t->ip4[k++];
		if (n == 0 || address != t->ip4[n - 1])
			t->ip4[n++] = address;
	}
	t->ip4_count = n;
}

static bool
ascending_ip6(const struct terms *t)
{
	for (uint32_t i = 1; i < t->ip6_count; i++)
		if (compare_ip6(t->ip6[i - 1], t->ip6[i]) > 0)
			return false;
	return true;
}

void
terms_finish(struct terms *t)
{
	uint32_t n = 0;
	merge_noted_ip4(t);
	if (!ascending_ip6(t))
		qsort(t->ip6, t->ip6_count, sizeof *t->ip6, compare_ip6);
	for (uint32_t i = 0; i < t->ip6_count; i++)
		if (i == 0 || memcmp(t->ip6[i], t->ip6[n - 1], 16) != 0)
			memmove(t->ip6[n++], t->ip6[i], 16);
	t->ip6_count = n;

	for (uint32_t i = 0; i < 65536 / 64; i++)
		for (uint64_t word = t->port_seen[i]; word; word &= word - 1)
			t->ports[t->port_count++] = (uint16_t)(i * 64 + (uint32_t)__builtin_ctzll(word));
	for (uint32_t i = 0; i < 256; i++)
		if (t->proto_seen[i])
			t->protos[t->proto_count++] = (uint8_t)i;
}
