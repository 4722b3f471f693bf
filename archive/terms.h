/* What the index wants to know of a block: the distinct addresses, ports and protocols at any place where libpcap's `host`,
 * `port` and `proto` could look. Collected by the encoder from frames and by the examiner from decoded columns. */
#ifndef ARCHIVE_TERMS_H
#define ARCHIVE_TERMS_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/dissect.h"
#include "base/err.h"
#include "base/limits.h"

/* Those of the block's dictionary, and two for each record that was not understood (its link type may let libpcap take it
 * for IPv4 as well as IPv6). */
#define TERMS_ADDRESSES_MAX (4u * BLOCK_RECORDS_MAX)

struct terms {
	uint32_t *ip4;             /* host order */
	uint8_t (*ip6)[16];
	uint16_t *ports;           /* after terms_finish(), as protos */
	uint8_t   protos[256];
	uint32_t  ip4_count, ip6_count, port_count, proto_count;
	uint32_t  ip4_noted;       /* of ip4: in no order; those behind are in order */
	bool      opaque;          /* records in which libpcap might see addresses that we do not */
	uint64_t  port_seen[65536 / 64];
	uint8_t   proto_seen[256];
	uint64_t *sort;            /* two times TERMS_ADDRESSES_MAX */
};

enum err terms_init(struct terms *t);
void     terms_fini(struct terms *t);
void     terms_reset(struct terms *t);
/* From here on to terms_finish() the IPv4 addresses come in ascending order, distinct: those of a dictionary. They need no
 * sorting then. */
void     terms_in_order(struct terms *t);

/* At most TERMS_ADDRESSES_MAX addresses of either family between resets: who calls sees to it. */
static inline void
terms_ip4(struct terms *t, uint32_t address)
{
	t->ip4[t->ip4_count++] = address;
}
void     terms_ip6(struct terms *t, const uint8_t address[16]);
/* Ports and protocols of a flow, as in struct flow. */
void     terms_flow(struct terms *t, uint8_t net, uint8_t transport, uint8_t proto, uint8_t first_proto, uint8_t flags,
                    uint16_t sport, uint16_t dport);
/* A frame that was not understood, n captured bytes of it. */
void     terms_raw(struct terms *t, const uint8_t *p, uint32_t n, const struct dissection *d, uint16_t linktype);
/* All lists ascending and distinct. */
void     terms_finish(struct terms *t);

#endif
