#include "archive/conversation.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* One five-tuple under thousands of link headers would be searched in vain each time: after this many the record opens a
 * conversation that is not remembered. That costs bytes, not correctness. */
#define CONVERSATION_TRIES_MAX 64u

#define SLOTS_MAX (2u * BLOCK_RECORDS_MAX)
#define SLOTS_MIN 16384u /* a small table stays in the cache; it grows before a quarter is taken */

_Static_assert(sizeof(struct conversation) == 64, "one cache line");

enum err
conversations_init(struct conversations *c)
{
	*c = (struct conversations){ 0 };
	enum err e = strings_init(&c->links, BLOCK_RECORDS_MAX, 128u * BLOCK_RECORDS_MAX);
	c->v = aligned_alloc(64, BLOCK_RECORDS_MAX * sizeof *c->v);
	c->slots = calloc(2 * SLOTS_MAX, sizeof *c->slots); /* the second half is for growing */
	randombytes_buf(&c->seed, sizeof c->seed);
	if (e != OK || !c->v || !c->slots) {
		conversations_fini(c);
		return fail(ERR_NOMEM, "out of memory");
	}
	return OK;
}

void
conversations_fini(struct conversations *c)
{
	strings_fini(&c->links);
	free(c->v);
	free(c->slots);
	*c = (struct conversations){ 0 };
}

void
conversations_reset(struct conversations *c)
{
	c->slot_count = SLOTS_MIN;
	memset(c->slots, 0, c->slot_count * sizeof *c->slots);
	strings_reset(&c->links);
	c->count = c->remembered = 0;
}

static void
slots_grow(struct conversations *c)
{
	uint32_t before = c->slot_count;
	if (before == SLOTS_MAX)
		return;
	c->slot_count = before * 4 < SLOTS_MAX ? before * 4 : SLOTS_MAX;
	uint64_t *old = c->slots + SLOTS_MAX;
	memcpy(old, c->slots, before * sizeof *old);
	memset(c->slots, 0, c->slot_count * sizeof *c->slots);
	for (uint32_t i = 0; i < before; i++) {
		if (old[i] == 0)
			continue;
		uint32_t at = conversations_place(c, old[i]);
		while (c->slots[at & (c->slot_count - 1)] != 0)
			at++;
		c->slots[at & (c->slot_count - 1)] = old[i];
	}
}

/* Ports as the lower end sees them, its own in the low half: both directions give the same. ICMP has the type as sent by
 * the lower end, whether it asks or answers, and the code. */
static inline uint32_t
ports_in_order(const uint8_t *p, const struct dissection *d, uint32_t ports, bool turned)
{
	if (d->transport == TRANSPORT_ICMP || d->transport == TRANSPORT_ICMP6) {
		const uint8_t *icmp = p + d->transport_at;
		uint8_t type = turned ? icmp_answer(d->transport, icmp[0]) : icmp[0];
		return type | (uint32_t)icmp[1] << 16;
	}
	return conversation_order_ports(ports, turned);
}

/* The key of a record; returns whether it goes from the higher end to the lower. Directions can not be foreseen, so
 * nothing branches on them. */
static inline bool
key_of(struct conversation *k, const uint8_t *p, const struct dissection *d)
{
	const uint8_t *ip = p + d->link_bytes;
	bool ported = d->transport == TRANSPORT_TCP || d->transport == TRANSPORT_UDP || d->transport == TRANSPORT_SCTP;
	uint32_t ports = ported ? load_be32(p + d->transport_at) : 0;
	bool ports_turned = ports >> 16 > (ports & 0xffff), turned = false;
	k->ends[0] = k->ends[1] = k->ends[2] = k->ends[3] = 0;
	if (d->net == NET_IP4) {
		turned = conversation_order_ip4(k, load_be64(ip + 12), ports);
	} else if (d->net == NET_IP6) {
		uint64_t src[2] = { load_be64(ip + 8), load_be64(ip + 16) };
		uint64_t dst[2] = { load_be64(ip + 24), load_be64(ip + 32) };
		bool same = src[0] == dst[0] && src[1] == dst[1];
		turned = same ? ports_turned : src[0] != dst[0] ? src[0] > dst[0] : src[1] > dst[1];
		memcpy(k->ends, turned ? dst : src, 16);
		memcpy(k->ends + 2, turned ? src : dst, 16);
	}
	k->what = conversation_what(d->net, d->flags, d->transport, d->proto, d->first_proto) |
	          ports_in_order(p, d, ports, turned);
	return turned;
}

static inline uint64_t
key_hash(uint64_t seed, const struct conversation *k)
{
	uint64_t h = conversation_hash(seed, k->ends[0], k->what);
	if (k->ends[1] | k->ends[2] | k->ends[3])
		h ^= fold_product(k->ends[1] ^ ~seed, k->ends[2] ^ 0xbf58476d1ce4e5b9ull) + hash64(k->ends[3] ^ seed);
	return conversation_hash_end(seed, h);
}

void
conversations_key(struct conversations *c, struct conversation_key *k, const struct frame *f, const uint8_t *p,
                  const struct dissection *d)
{
	k->tag = conversation_tag(f, d->link_bytes);
	k->v.turned = key_of(&k->v, p, d);
	k->hash = key_hash(c->seed, &k->v);
	if (d->net == NET_RAW)
		k->hash = hash64(k->hash + strings_add(&c->links, k->tag, p, d->link_bytes));
	__builtin_prefetch(&c->slots[conversations_place(c, k->hash)]);
}

uint32_t
conversations_add(struct conversations *c, const struct conversation_key *k, const uint8_t *p, uint32_t link_bytes)
{
	uint32_t tried = 0;
	for (uint32_t at = conversations_place(c, k->hash); tried < CONVERSATION_TRIES_MAX; at++) {
		uint64_t *slot = &c->slots[at & (c->slot_count - 1)];
		if (*slot == 0) {
			*slot = (k->hash & 0xffffffff00000000ull) | (c->count + 1);
			if (++c->remembered > c->slot_count / 4)
				slots_grow(c);
			break;
		}
		if ((*slot ^ k->hash) >> 32)
			continue;
		tried++;
		uint32_t number = (uint32_t)*slot - 1;
		struct conversation *v = &c->v[number];
		if (!conversations_same_ends(v, &k->v))
			continue;
		uint32_t dir = k->v.turned != v->turned; /* with both ends the same always 0 */
		if (v->link[dir] == LINK_UNSET)
			v->link[dir] = strings_add(&c->links, k->tag, p, link_bytes);
		else if (!conversations_same_link(&c->links, v->link[dir], k->tag, p, link_bytes))
			continue;
		return number * 2 + dir;
	}
	struct conversation *v = &c->v[c->count];
	*v = k->v;
	v->link[0] = strings_add(&c->links, k->tag, p, link_bytes);
	v->link[1] = LINK_UNSET;
	v->rows = 0;
	v->follower = LINK_UNSET;
	return c->count++ * 2;
}

void
conversation_tuple(const struct conversation *v, struct tuple *t)
{
	uint16_t low_port = (uint16_t)v->what, high_port = (uint16_t)(v->what >> 16);
	*t = (struct tuple){
		.net = v->what >> 32 & 3,
		.flags = v->what >> 34 & 3,
		.transport = v->what >> 36 & 15,
		.proto = (uint8_t)(v->what >> 40),
		.first_proto = (uint8_t)(v->what >> 48),
	};
	uint8_t low[16] = { 0 }, high[16] = { 0 };
	if (t->net == NET_IP4) {
		store_be32(low, (uint32_t)(v->ends[0] >> 32));
		store_be32(high, (uint32_t)v->ends[0]);
	} else if (t->net == NET_IP6) {
		for (unsigned i = 0; i < 2; i++) {
			store_be64(low + 8 * i, v->ends[i]);
			store_be64(high + 8 * i, v->ends[2 + i]);
		}
	}
	memcpy(t->src, v->turned ? high : low, 16);
	memcpy(t->dst, v->turned ? low : high, 16);
	if (t->transport == TRANSPORT_ICMP || t->transport == TRANSPORT_ICMP6) {
		t->sport = v->turned ? icmp_answer(t->transport, (uint8_t)low_port) : low_port;
		t->dport = high_port;
	} else {
		t->sport = v->turned ? high_port : low_port;
		t->dport = v->turned ? low_port : high_port;
	}
}
