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
void     conversations_prefetch(const struct conversations *c, const struct conversation_key *k);
/* The record's conversation times two, plus its direction. */
uint32_t conversations_add(struct conversations *c, const struct conversation_key *k, const uint8_t *p,
                           uint32_t link_bytes);

/* What the records of direction 0 share. Addresses in network order, IPv4 in the first four bytes. */
struct tuple {
	uint8_t  src[16], dst[16];
	uint16_t sport, dport;
	uint8_t  net, transport, proto, first_proto, flags;
};
void conversation_tuple(const struct conversation *v, struct tuple *t);

#endif
