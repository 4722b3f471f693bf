/* The dictionary of a packet block: conversations, addresses, ports, link headers. */
#include <stdlib.h>
#include <string.h>

#include "archive/packet_encode.h"
#include "archive/radix.h"

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
			terms_ip4(&e->terms, before = address);
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
	struct ip6_reference *v6 = e->ip6;
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
			terms_ip6(&e->terms, v6[i].address);
			distinct++;
		}
		index_of_end[v6[i].end] = distinct - 1;
	}
}

void
packet_encode_dictionary(struct packet_encoder *e)
{
	uint32_t *index = e->address_index;
	terms_in_order(&e->terms);
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
		terms_flow(&e->terms, t->net, t->transport, t->proto, t->first_proto, t->flags, t->sport, t->dport);
	}
}
