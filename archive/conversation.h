/* The conversations of one block: both directions of a five-tuple, under one link header each way.
 *
 * A record belongs to the conversation whose addresses, ports and protocols it has, in either orientation, and whose link
 * header of that direction is the record's; the first record of a direction sets it. Frames that were not understood form
 * conversations by link header. ICMP queries and their answers are one conversation.
 */
#ifndef ARCHIVE_CONVERSATION_H
#define ARCHIVE_CONVERSATION_H

#include <stdint.h>

#include "archive/dissect.h"
#include "archive/frames.h"
#include "archive/intern.h"
#include "base/bytes.h"

#define LINK_UNSET 0xffffffffu

/* One cache line: it is what each record's look-up touches. */
struct conversation {
	uint64_t ends[4];   /* the two addresses, lower end first: IPv4 both in ends[0]; IPv6 two words each */
	uint64_t what;      /* ports of lower and higher end, net, transport, proto, first_proto, flags */
	uint32_t link[2];   /* numbers in links, by direction */
	uint32_t rows;
	uint32_t follower;  /* conversation of the record that came after the last record of this one */
	uint32_t next_row;  /* while records are put in conversation order */
	uint32_t turned;    /* 1: direction 0 goes from the higher end to the lower */
};

struct conversations {
	struct conversation *v;
	uint64_t *slots;    /* hash in the high half, number + 1 in the low; 0: free */
	uint64_t  seed;
	uint32_t  count, slot_count, remembered;
	struct strings links; /* tag: linktype, iface << 16 */
};

enum err conversations_init(struct conversations *c);
void     conversations_fini(struct conversations *c);
void     conversations_reset(struct conversations *c);

/* Looking up goes in three steps, each for a group of records before the next, so that the cache misses of a group
 * overlap. Steps and records in order. */
struct conversation_key {
	struct conversation v;
	uint64_t hash, tag;
};
void     conversations_key(struct conversations *c, struct conversation_key *k, const struct frame *f, const uint8_t *p,
                           const struct dissection *d);
/* The same for a frame that dissect_usual() knows. */
static inline void conversations_key_usual(const struct conversations *c, struct conversation_key *k, const struct frame *f,
                                           const uint8_t *p);
static inline void conversations_prefetch(const struct conversations *c, const struct conversation_key *k);
/* The record's conversation times two, plus its direction. */
static inline uint32_t conversations_find(struct conversations *c, const struct conversation_key *k, const uint8_t *p,
                                          uint32_t link_bytes);

/* What the records of direction 0 share. Addresses in network order, IPv4 in the first four bytes. */
struct tuple {
	uint8_t  src[16], dst[16];
	uint16_t sport, dport;
	uint8_t  net, transport, proto, first_proto, flags;
};
void conversation_tuple(const struct conversation *v, struct tuple *t);

/* --- inline parts --- */

/* The place of a slot is the low bits of its hash's high half, so that slots can move without their conversations. */
static inline uint32_t
conversations_place(const struct conversations *c, uint64_t slot)
{
	return (uint32_t)(slot >> 32) & (c->slot_count - 1);
}

static inline uint64_t
fold_product(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* Of the first end's word, and the word that tells what it is: all there is of an IPv4 conversation. */
static inline uint64_t
conversation_hash(uint64_t seed, uint64_t end, uint64_t what)
{
	return fold_product(end ^ seed, what ^ 0x9e3779b97f4a7c15ull);
}

static inline uint64_t
conversation_hash_end(uint64_t seed, uint64_t h)
{
	return fold_product(h, 0x94d049bb133111ebull ^ seed);
}

static inline uint64_t
conversation_what(unsigned net, unsigned flags, unsigned transport, unsigned proto, unsigned first_proto)
{
	return (uint64_t)net << 32 | (uint64_t)flags << 34 | (uint64_t)transport << 36 | (uint64_t)proto << 40 |
	       (uint64_t)first_proto << 48;
}

static inline uint64_t
conversation_tag(const struct frame *f, uint32_t link_bytes)
{
	return f->linktype | (uint64_t)f->iface << 16 | (uint64_t)link_bytes << 32;
}

/* Two IPv4 addresses and two ports as they stand in the headers, lower end first; returns whether they were turned. Which
 * way a record goes can not be foreseen: rotated, not chosen, because compilers make branches of choices. */
static inline uint32_t
conversation_order_ip4(struct conversation *k, uint64_t addresses, uint32_t ports)
{
	uint64_t other = addresses << 32 | addresses >> 32;
	uint32_t turned = (addresses > other) | ((addresses == other) & (ports >> 16 > (ports & 0xffff)));
	uint32_t by = turned * 32;
	k->ends[0] = addresses << by | addresses >> (-by & 63);
	k->ends[1] = k->ends[2] = k->ends[3] = 0;
	return turned;
}

/* Ports as the lower end sees them, its own in the low half. */
static inline uint32_t
conversation_order_ports(uint32_t ports, uint32_t turned)
{
	uint32_t by = 16 - turned * 16;
	return ports << by | ports >> (-by & 31);
}

static inline void
conversations_key_usual(const struct conversations *c, struct conversation_key *k, const struct frame *f, const uint8_t *p)
{
	const uint64_t tcp = conversation_what(NET_IP4, 0, TRANSPORT_TCP, PROTO_TCP, PROTO_TCP);
	const uint64_t udp = conversation_what(NET_IP4, 0, TRANSPORT_UDP, PROTO_UDP, PROTO_UDP);
	uint32_t ports = load_be32(p + DISSECT_USUAL_TRANSPORT_AT);
	k->v.turned = conversation_order_ip4(&k->v, load_be64(p + 26), ports);
	k->v.what = (tcp + (udp - tcp) * (p[23] == PROTO_UDP)) | conversation_order_ports(ports, k->v.turned);
	k->tag = conversation_tag(f, DISSECT_USUAL_LINK_BYTES);
	k->hash = conversation_hash_end(c->seed, conversation_hash(c->seed, k->v.ends[0], k->v.what));
	__builtin_prefetch(&c->slots[conversations_place(c, k->hash)]);
}

static inline void
conversations_prefetch(const struct conversations *c, const struct conversation_key *k)
{
	uint32_t number = (uint32_t)c->slots[conversations_place(c, k->hash)];
	__builtin_prefetch(&c->v[number - (number != 0)]);
}

static inline bool
conversations_same_ends(const struct conversation *a, const struct conversation *b)
{
	return ((a->ends[0] ^ b->ends[0]) | (a->ends[1] ^ b->ends[1]) | (a->ends[2] ^ b->ends[2]) |
	        (a->ends[3] ^ b->ends[3]) | (a->what ^ b->what)) == 0;
}

/* The tag has the length in it. */
static inline bool
conversations_same_link(const struct strings *s, uint32_t link, uint64_t tag, const uint8_t *p, uint32_t n)
{
	return s->tag[link] == tag && bytes_equal(s->bytes + s->at[link], p, n);
}

/* What conversations_find() does when the first slot does not have it. */
uint32_t conversations_add(struct conversations *c, const struct conversation_key *k, const uint8_t *p,
                           uint32_t link_bytes);

static inline uint32_t
conversations_find(struct conversations *c, const struct conversation_key *k, const uint8_t *p, uint32_t link_bytes)
{
	uint64_t slot = c->slots[conversations_place(c, k->hash)];
	uint32_t number = (uint32_t)slot - 1; /* of a free slot: none */
	if ((slot ^ k->hash) >> 32 == 0 && number < c->count) {
		const struct conversation *v = &c->v[number];
		uint32_t dir = k->v.turned != v->turned; /* with both ends the same always 0 */
		if (conversations_same_ends(v, &k->v) && v->link[dir] != LINK_UNSET &&
		    conversations_same_link(&c->links, v->link[dir], k->tag, p, link_bytes))
			return number * 2 + dir;
	}
	return conversations_add(c, k, p, link_bytes);
}

#endif
