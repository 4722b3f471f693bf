/* The dictionary of a packet block (conversations, addresses, ports, link headers), and the distinct addresses, ports and
 * protocols that the index wants to know. */
#include <stdlib.h>

#include "archive/packet_encode.h"
#include "archive/radix.h"

/* --- what frames that are not understood may hold, for the index --- */

static inline void
note_port(struct packet_encoder *e, uint16_t port)
{
	e->port_seen[port / 64] |= (uint64_t)1 << port % 64;
}

/* An IP header that is cut short or contradicts itself, n bytes of it: what libpcap's `host`, `port` and `proto` would
 * still find there, at fixed offsets and without our doubts. */
static void
note_raw_ip4(struct packet_encoder *e, const uint8_t *ip, uint32_t n)
{
	if (n >= 10)
		e->protos[ip[9]] = 1;
	if (n >= 16)
		e->ip4[e->ip4_count++] = load_be32(ip + 12);
	if (n >= 20)
		e->ip4[e->ip4_count++] = load_be32(ip + 16);
	uint32_t header = n ? (ip[0] & 15) * 4u : 0;
	if (n >= header + 2)
		note_port(e, load_be16(ip + header));
	if (n >= header + 4)
		note_port(e, load_be16(ip + header + 2));
}

/* The address at `at`, as far as it was captured: `net` looks at no more 32-bit words than the prefix has. */
static void
note_raw_ip6_address(struct packet_encoder *e, const uint8_t *ip, uint32_t n, uint32_t at)
{
	if (n < at + 4)
		return;
	uint32_t there = n - at < 16 ? (n - at) & ~3u : 16;
	uint8_t *address = e->ip6[e->ip6_count++].address;
	memset(address, 0, 16);
	memcpy(address, ip + at, there);
}

static void
note_raw_ip6(struct packet_encoder *e, const uint8_t *ip, uint32_t n)
{
	if (n >= 7)
		e->protos[ip[6]] = 1;
	note_raw_ip6_address(e, ip, n, 8);
	note_raw_ip6_address(e, ip, n, 24);
	if (n >= 41)
		e->protos[ip[40]] = 1;
	if (n >= 42)
		note_port(e, load_be16(ip + 40));
	if (n >= 44)
		note_port(e, load_be16(ip + 42));
}

/* libpcap's `host` also looks into ARP and RARP, and behind PPPoE. */
void
packet_note_raw(struct packet_encoder *e, const uint8_t *p, uint32_t n, const struct dissection *d, uint16_t linktype)
{
	uint32_t at = d->link_bytes, type = d->ethertype;
	if (type == ETHER_ARP || type == ETHER_RARP) {
		if (n - at >= 18)
			e->ip4[e->ip4_count++] = load_be32(p + at + 14);
		if (n - at >= 28)
			e->ip4[e->ip4_count++] = load_be32(p + at + 24);
		return;
	}
	if (type == ETHER_PPPOE && n - at >= 8) {
		uint16_t ppp = load_be16(p + at + 6);
		type = ppp == 0x21 ? ETHER_IP4 : ppp == 0x57 ? ETHER_IP6 : 0;
		at += 8;
	} else if (!dissect_knows(linktype)) {
		e->opaque = true;
		return;
	} else if (type == 0) {
		/* Link types without an ethertype: libpcap may take it for either. */
		note_raw_ip4(e, p + at, n - at);
		note_raw_ip6(e, p + at, n - at);
	}
	if (type == ETHER_IP4)
		note_raw_ip4(e, p + at, n - at);
	else if (type == ETHER_IP6)
		note_raw_ip6(e, p + at, n - at);
}

/* --- the dictionary --- */

static void
encode_links(struct packet_encoder *e)
{
	const struct strings *links = &e->conversations.links;
	for (uint32_t i = 0; i < links->index.count; i++) {
		uint32_t n = links->at[i + 1] - links->at[i];
		put_le(e, STREAM_LINK_META, links->tag[i], 4);
		put_le(e, STREAM_LINK_META, n, 1);
	}
	memcpy(e->at[STREAM_LINK_BYTES], links->bytes, links->used);
	e->at[STREAM_LINK_BYTES] += links->used;
}

/* Sorts the IPv4 addresses of all conversations, stores them and gives each end its index. */
static void
encode_ip4_addresses(struct packet_encoder *e, uint32_t *index_of_end)
{
	uint32_t n = 0, distinct = 0, before = 0;
	for (uint32_t c = 0; c < e->conversations.count; c++) {
		const struct tuple *t = &e->tuples[c];
		if (t->net != NET_IP4)
			continue;
		e->sort[n++] = (uint64_t)load_be32(t->src) << 32 | c * 2;
		e->sort[n++] = (uint64_t)load_be32(t->dst) << 32 | (c * 2 + 1);
	}
	radix_sort(e->sort, e->sort_spare, n, 32, 64);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t address = (uint32_t)(e->sort[i] >> 32);
		if (i == 0 || address != before) {
			PUT4(e, IP4, address - before);
			e->ip4[e->ip4_count++] = before = address;
			distinct++;
		}
		index_of_end[(uint32_t)e->sort[i]] = distinct - 1;
	}
}

static int
compare_ip6(const void *a, const void *b)
{
	return memcmp(((const struct ip6_reference *)a)->address, ((const struct ip6_reference *)b)->address, 16);
}

static void
encode_ip6_addresses(struct packet_encoder *e, uint32_t *index_of_end)
{
	struct ip6_reference *v6 = e->ip6 + e->ip6_count; /* behind those noted for the index only */
	uint32_t n = 0, distinct = 0;
	for (uint32_t c = 0; c < e->conversations.count; c++) {
		const struct tuple *t = &e->tuples[c];
		if (t->net != NET_IP6)
			continue;
		for (uint32_t end = 0; end < 2; end++) {
			v6[n].end = c * 2 + end;
			memcpy(v6[n++].address, end ? t->dst : t->src, 16);
		}
	}
	qsort(v6, n, sizeof *v6, compare_ip6);
	for (uint32_t i = 0; i < n; i++) {
		if (i == 0 || memcmp(v6[i].address, v6[i - 1].address, 16) != 0) {
			memcpy(e->at[STREAM_IP6], v6[i].address, 16);
			e->at[STREAM_IP6] += 16;
			distinct++;
		}
		index_of_end[v6[i].end] = distinct - 1;
	}
	e->ip6_count += n;
}

static void
note_transport(struct packet_encoder *e, const struct tuple *v)
{
	if (v->transport == TRANSPORT_TCP || v->transport == TRANSPORT_UDP || v->transport == TRANSPORT_SCTP) {
		note_port(e, v->sport);
		note_port(e, v->dport);
	}
	/* Of a chain of extension headers libpcap sees one in the middle: be on the safe side. */
	if (v->flags & FLOW_EXTENSIONS)
		memset(e->protos, 1, sizeof e->protos);
	else if (v->net != NET_RAW)
		e->protos[v->proto] = e->protos[v->first_proto] = 1;
}

void
packet_encode_dictionary(struct packet_encoder *e)
{
	uint32_t *index = e->address_index;
	for (uint32_t c = 0; c < e->conversations.count; c++)
		conversation_tuple(&e->conversations.v[c], &e->tuples[c]);
	encode_links(e);
	encode_ip4_addresses(e, index);
	encode_ip6_addresses(e, index);
	for (uint32_t c = 0; c < e->conversations.count; c++) {
		const struct conversation *v = &e->conversations.v[c];
		const struct tuple *t = &e->tuples[c];
		uint64_t kind = t->net | (uint64_t)t->transport << 8 | (uint64_t)t->proto << 16 |
		                (uint64_t)t->first_proto << 24 | (uint64_t)t->flags << 32;
		bool fresh;
		uint32_t number = intern_key(&e->kinds, kind, &fresh);
		if (fresh)
			put_le(e, STREAM_KINDS, kind, 5);
		PUT2(e, KIND, number);
		/* A direction without records gets the link header of the other one. */
		uint64_t path = v->link[0] | (v->link[1] == LINK_UNSET ? v->link[0] : v->link[1]) << 16;
		number = intern_key(&e->paths, path, &fresh);
		if (fresh)
			put_le(e, STREAM_PATHS, path, 4);
		PUT2(e, PATH, number);
		PUT2(e, ROWS, v->rows - 1);
		if (t->net != NET_RAW) {
			PUT3(e, SRC, index[c * 2]);
			PUT3(e, DST, index[c * 2 + 1]);
		}
		if (t->transport != TRANSPORT_NONE) {
			PUT2(e, SPORT, t->sport);
			PUT2(e, DPORT, t->dport);
		}
		note_transport(e, t);
	}
}

/* --- for the index --- */

void
packet_finish_index(struct packet_encoder *e)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < e->ip4_count; i++)
		e->sort[i] = e->ip4[i];
	radix_sort(e->sort, e->sort_spare, e->ip4_count, 0, 32);
	for (uint32_t i = 0; i < e->ip4_count; i++)
		if (i == 0 || e->sort[i] != e->sort[i - 1])
			e->ip4[n++] = (uint32_t)e->sort[i];
	e->ip4_count = n;

	qsort(e->ip6, e->ip6_count, sizeof *e->ip6, compare_ip6);
	n = 0;
	for (uint32_t i = 0; i < e->ip6_count; i++)
		if (i == 0 || memcmp(e->ip6[i].address, e->ip6[i - 1].address, 16) != 0)
			memcpy(e->ip6_addresses[n++], e->ip6[i].address, 16);
	e->ip6_count = n;

	for (uint32_t i = 0; i < 65536 / 64; i++)
		for (uint64_t word = e->port_seen[i]; word; word &= word - 1)
			e->ports[e->port_count++] = (uint16_t)(i * 64 + (uint32_t)__builtin_ctzll(word));
	for (uint32_t i = 0; i < 256; i++)
		if (e->protos[i])
			e->protos[e->proto_count++] = (uint8_t)i;
}
