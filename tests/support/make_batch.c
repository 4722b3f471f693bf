#include "tests/support/make_batch.h"

#include <stdlib.h>
#include <string.h>

#include "archive/dissect.h"
#include "base/bytes.h"

unsigned long test_bytes_calls;

/* A flow with its addresses and link header by value: what is looked up. */
struct flow_key {
	uint16_t linktype, iface, sport, dport;
	uint8_t  net, transport, proto, first_proto, flags, link_len;
	uint8_t  src[16], dst[16];
	uint8_t  link[256];
};

struct entry {
	struct flow_key key;
	uint32_t conversation;
	uint8_t  dir;
	bool     used;
};

static struct made {
	struct batch         batch;
	const struct frames *frames;
	uint32_t            *frame_of; /* row -> frame */
	struct entry        *table;
	uint32_t             table_size;
	struct flow_key     *flows;    /* per flow */
	uint32_t            *conversation_of; /* per frame */
	uint8_t             *dir_of;
} made;

static void *
room(size_t n)
{
	void *p = calloc(n ? n : 1, 1);
	if (!p)
		abort();
	return p;
}

void
test_batch_release(void)
{
	const struct batch *b = &made.batch;
	const void *all[] = { b->links, b->ip4, b->ip6, b->flows, b->start, b->dir, b->ts, b->wire_len, b->cap_len, b->row_of,
		b->tcp_flags, b->tos, b->ttl, b->ip_len, b->ip_id, b->ip_frag, b->tcp_seq, b->tcp_ack, b->tcp_win, made.frame_of,
		made.table, made.flows, made.conversation_of, made.dir_of };
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		free((void *)(uintptr_t)all[i]);
	memset(&made, 0, sizeof made);
}

uint32_t *
test_frame_of(void)
{
	return made.frame_of;
}

enum err
test_batch_bytes(const struct batch *b, uint32_t row, const uint8_t **bytes, uint32_t *n)
{
	const struct frame *f = &made.frames->v[made.frame_of[row]];
	test_bytes_calls++;
	*bytes = made.frames->bytes + f->at;
	*n = f->cap_len;
	return OK;
}

struct batch
test_batch_with(const struct batch *b, unsigned columns)
{
	struct batch c = *b;
#define DROP(bit, column) c.column = columns & (bit) ? c.column : NULL
	DROP(BATCH_DIR, dir);
	DROP(BATCH_TS, ts);
	DROP(BATCH_WIRE_LEN, wire_len);
	DROP(BATCH_CAP_LEN, cap_len);
	DROP(BATCH_ORDER, row_of);
	DROP(BATCH_TCP_FLAGS, tcp_flags);
	DROP(BATCH_IP, tos);
	DROP(BATCH_IP, ttl);
	DROP(BATCH_IP, ip_len);
	DROP(BATCH_IP, ip_id);
	DROP(BATCH_IP, ip_frag);
	DROP(BATCH_TCP, tcp_seq);
	DROP(BATCH_TCP, tcp_ack);
	DROP(BATCH_TCP, tcp_win);
#undef DROP
	return c;
}

static void
key_of(const struct frame *f, const uint8_t *p, const struct dissection *d, struct flow_key *k)
{
	memset(k, 0, sizeof *k);
	k->linktype = f->linktype;
	k->iface = f->iface;
	k->net = d->net;
	k->transport = d->transport;
	k->proto = d->proto;
	k->first_proto = d->first_proto;
	k->flags = d->flags;
	k->link_len = d->link_bytes;
	memcpy(k->link, p, d->link_bytes);
	const uint8_t *ip = p + d->link_bytes, *t = p + d->transport_at;
	if (d->net == NET_IP4) {
		memcpy(k->src, ip + 12, 4);
		memcpy(k->dst, ip + 16, 4);
	} else if (d->net == NET_IP6) {
		memcpy(k->src, ip + 8, 16);
		memcpy(k->dst, ip + 24, 16);
	}
	if (d->transport == TRANSPORT_ICMP || d->transport == TRANSPORT_ICMP6) {
		k->sport = t[0];
		k->dport = t[1];
	} else if (d->transport != TRANSPORT_NONE) {
		k->sport = load_be16(t);
		k->dport = load_be16(t + 2);
	}
}

static bool
has_macs(const struct flow_key *k)
{
	return k->linktype == LINK_ETHERNET && k->link_len >= 14;
}

static struct flow_key
turned(const struct flow_key *k)
{
	struct flow_key r = *k;
	memcpy(r.src, k->dst, 16);
	memcpy(r.dst, k->src, 16);
	if (k->transport == TRANSPORT_ICMP || k->transport == TRANSPORT_ICMP6) {
		r.sport = icmp_answer(k->transport, (uint8_t)k->sport);
	} else {
		r.sport = k->dport;
		r.dport = k->sport;
	}
	if (has_macs(k)) {
		memcpy(r.link, k->link + 6, 6);
		memcpy(r.link + 6, k->link, 6);
	}
	return r;
}

static struct entry *
find_entry(const struct flow_key *k)
{
	uint64_t h = 0, word;
	for (size_t i = 0; i + 8 <= sizeof *k; i += 8) {
		memcpy(&word, (const uint8_t *)k + i, 8);
		h = (h ^ word) * 0x9e3779b97f4a7c15u;
		h ^= h >> 31;
	}
	uint32_t at = (uint32_t)h & (made.table_size - 1);
	while (made.table[at].used && memcmp(&made.table[at].key, k, sizeof *k) != 0)
		at = (at + 1) & (made.table_size - 1);
	return &made.table[at];
}

static void
assign_conversations(const struct frames *f)
{
	for (made.table_size = 64; made.table_size < 4 * f->count; made.table_size *= 2)
		;
	made.table = room(made.table_size * sizeof *made.table);
	made.flows = room(2 * (size_t)f->count * sizeof *made.flows);
	made.conversation_of = room(f->count * sizeof *made.conversation_of);
	made.dir_of = room(f->count);
	for (uint32_t i = 0; i < f->count; i++) {
		struct dissection d;
		struct flow_key k, r;
		dissect(f->v[i].linktype, f->bytes + f->v[i].at, f->v[i].cap_len, &d);
		key_of(&f->v[i], f->bytes + f->v[i].at, &d, &k);
		struct entry *e = find_entry(&k);
		if (!e->used) {
			r = turned(&k);
			uint32_t c = made.batch.conversations++;
			made.flows[2 * c] = k;
			made.flows[2 * c + 1] = r;
			*e = (struct entry){ k, c, 0, true };
			struct entry *o = find_entry(&r);
			if (!o->used)
				*o = (struct entry){ r, c, 1, true };
		}
		e = find_entry(&k);
		made.conversation_of[i] = e->conversation;
		made.dir_of[i] = e->dir;
	}
}

static int
compare_u32(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int
compare_16(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

static uint32_t
find_sorted(const void *what, const void *all, uint32_t n, size_t each, int (*compare)(const void *, const void *))
{
	const uint8_t *found = bsearch(what, all, n, each, compare);
	return (uint32_t)((size_t)(found - (const uint8_t *)all) / each);
}

static uint32_t
unique(void *all, uint32_t n, size_t each, int (*compare)(const void *, const void *))
{
	uint8_t *p = all;
	uint32_t kept = 0;
	qsort(all, n, each, compare);
	for (uint32_t i = 0; i < n; i++)
		if (!kept || memcmp(p + (kept - 1) * each, p + i * each, each) != 0)
			memmove(p + kept++ * each, p + i * each, each);
	return kept;
}

static void
fill_addresses(struct batch *b)
{
	uint32_t *ip4 = room((size_t)b->conversations * 2 * sizeof *ip4);
	uint8_t(*ip6)[16] = room((size_t)b->conversations * 2 * 16);
	uint32_t n4 = 0, n6 = 0;
	for (uint32_t i = 0; i < 2 * b->conversations; i += 2) {
		const struct flow_key *k = &made.flows[i];
		if (k->net == NET_IP4) {
			ip4[n4++] = load_be32(k->src);
			ip4[n4++] = load_be32(k->dst);
		} else if (k->net == NET_IP6) {
			memcpy(ip6[n6++], k->src, 16);
			memcpy(ip6[n6++], k->dst, 16);
		}
	}
	b->ip4_count = unique(ip4, n4, sizeof *ip4, compare_u32);
	b->ip6_count = unique(ip6, n6, 16, compare_16);
	b->ip4 = ip4;
	b->ip6 = (const uint8_t(*)[16])ip6;
}

static uint32_t
intern_link(struct batch *b, const struct flow_key *k)
{
	struct link *links = (struct link *)(uintptr_t)b->links;
	for (uint32_t back = 0; back < b->link_count && back < 64; back++) { /* nearly unique is enough */
		const struct link *l = &links[b->link_count - 1 - back];
		if (l->linktype == k->linktype && l->iface == k->iface && l->len == k->link_len &&
		    memcmp(l->bytes, k->link, k->link_len) == 0)
			return b->link_count - 1 - back;
	}
	links[b->link_count] = (struct link){ .linktype = k->linktype, .iface = k->iface, .len = k->link_len,
		                              .macs = has_macs(k), .bytes = k->link };
	return b->link_count++;
}

static void
fill_flows(struct batch *b)
{
	struct flow *flows = room(2 * (size_t)b->conversations * sizeof *flows);
	b->links = room(2 * (size_t)b->conversations * sizeof *b->links);
	for (uint32_t i = 0; i < 2 * b->conversations; i++) {
		const struct flow_key *k = &made.flows[i];
		struct flow *f = &flows[i];
		*f = (struct flow){ .net = k->net, .transport = k->transport, .proto = k->proto, .first_proto = k->first_proto,
			            .flags = k->flags, .sport = k->sport, .dport = k->dport };
		f->link = intern_link(b, k);
		if (k->net == NET_IP4) {
			uint32_t src = load_be32(k->src), dst = load_be32(k->dst);
			f->src = find_sorted(&src, b->ip4, b->ip4_count, 4, compare_u32);
			f->dst = find_sorted(&dst, b->ip4, b->ip4_count, 4, compare_u32);
		} else if (k->net == NET_IP6) {
			f->src = find_sorted(k->src, b->ip6, b->ip6_count, 16, compare_16);
			f->dst = find_sorted(k->dst, b->ip6, b->ip6_count, 16, compare_16);
		}
	}
	b->flows = flows;
}

struct columns {
	uint8_t  *dir, *tcp_flags, *tos, *ttl;
	uint64_t *ts;
	uint32_t *wire_len, *cap_len, *row_of, *ip_len, *tcp_seq, *tcp_ack;
	uint16_t *ip_id, *ip_frag, *tcp_win;
};

static void
fill_row(struct columns *c, uint32_t row, uint32_t i)
{
	const struct frame *f = &made.frames->v[i];
	const uint8_t *p = made.frames->bytes + f->at;
	struct dissection d;
	dissect(f->linktype, p, f->cap_len, &d);
	const uint8_t *ip = p + d.link_bytes, *t = p + d.transport_at;
	c->dir[row] = made.dir_of[i];
	c->ts[row] = f->ts_ns;
	c->wire_len[row] = f->wire_len;
	c->cap_len[row] = f->cap_len;
	c->row_of[i] = row;
	if (d.net == NET_IP4) {
		c->tos[row] = ip[1];
		c->ttl[row] = ip[8];
		c->ip_len[row] = load_be16(ip + 2);
		c->ip_id[row] = load_be16(ip + 4);
		c->ip_frag[row] = load_be16(ip + 6);
	} else if (d.net == NET_IP6) {
		c->tos[row] = (uint8_t)(ip[0] << 4 | ip[1] >> 4);
		c->ttl[row] = ip[7];
		c->ip_len[row] = load_be16(ip + 4) + 40u;
	}
	if (d.transport == TRANSPORT_TCP) {
		c->tcp_seq[row] = load_be32(t + 4);
		c->tcp_ack[row] = load_be32(t + 8);
		c->tcp_flags[row] = t[13];
		c->tcp_win[row] = load_be16(t + 14);
	}
}

static void
fill_rows(struct batch *b)
{
	uint32_t n = b->count, *start = room((b->conversations + 1) * sizeof *start);
	uint32_t *next = room((b->conversations + 1) * sizeof *next);
	struct columns c = { room(n), room(n), room(n), room(n), room(n * 8ul), room(n * 4ul), room(n * 4ul), room(n * 4ul),
		room(n * 4ul), room(n * 4ul), room(n * 4ul), room(n * 2ul), room(n * 2ul), room(n * 2ul) };
	made.frame_of = room(n * 4ul);
	for (uint32_t i = 0; i < n; i++)
		start[made.conversation_of[i] + 1]++;
	for (uint32_t i = 0; i < b->conversations; i++)
		start[i + 1] += start[i];
	memcpy(next, start, b->conversations * sizeof *next);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t row = next[made.conversation_of[i]]++;
		made.frame_of[row] = i;
		fill_row(&c, row, i);
	}
	free(next);
	b->start = start;
	b->dir = c.dir;
	b->tcp_flags = c.tcp_flags;
	b->tos = c.tos;
	b->ttl = c.ttl;
	b->ts = c.ts;
	b->wire_len = c.wire_len;
	b->cap_len = c.cap_len;
	b->row_of = c.row_of;
	b->ip_len = c.ip_len;
	b->tcp_seq = c.tcp_seq;
	b->tcp_ack = c.tcp_ack;
	b->ip_id = c.ip_id;
	b->ip_frag = c.ip_frag;
	b->tcp_win = c.tcp_win;
}

enum err
test_batch_of(const struct frames *f, const struct batch **out)
{
	test_batch_release();
	made.frames = f;
	made.batch.count = f->count;
	assign_conversations(f);
	fill_addresses(&made.batch);
	fill_flows(&made.batch);
	fill_rows(&made.batch);
	*out = &made.batch;
	return OK;
}
