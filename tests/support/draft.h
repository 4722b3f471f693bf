/* Frames put together piece by piece, for tests: link header, tags, IP, transport, payload; then lengths and checksums are
 * made right, and a test breaks what it wants broken. */
#ifndef TESTS_SUPPORT_DRAFT_H
#define TESTS_SUPPORT_DRAFT_H

#include <stdint.h>

#include "archive/frames.h"

#define DRAFT_BYTES_MAX 4096u

struct draft {
	uint8_t  p[DRAFT_BYTES_MAX];
	uint32_t n;
	uint32_t ip_at, l4_at; /* of the outermost ones; 0: none */
	uint8_t  version, proto;
};

void draft_start(struct draft *d);
void draft_put(struct draft *d, const void *p, uint32_t n);
void draft_number(struct draft *d, uint64_t v, unsigned bytes);  /* big-endian */
void draft_fill(struct draft *d, uint32_t n);                    /* payload: a pattern */
void draft_ethernet(struct draft *d, uint16_t type);             /* 02:00:00:00:00:02 to 02:00:00:00:00:01 */
void draft_tag(struct draft *d, uint16_t tag, uint16_t type);    /* VLAN: behind a type that says so */
/* n bytes of options: a multiple of 4. */
void draft_ip4(struct draft *d, uint32_t src, uint32_t dst, uint8_t proto, const void *options, uint32_t n);
/* 2001:db8::src to 2001:db8::dst. */
void draft_ip6(struct draft *d, uint32_t src, uint32_t dst, uint8_t next);
void draft_tcp(struct draft *d, uint16_t sport, uint16_t dport, uint32_t seq, uint32_t ack, uint8_t flags,
               const void *options, uint32_t n);
void draft_udp(struct draft *d, uint16_t sport, uint16_t dport);
void draft_icmp(struct draft *d, uint8_t type, uint8_t code, uint32_t rest);
/* The transport starts here: extension headers went before it. */
void draft_transport_here(struct draft *d, uint8_t proto);
/* IP length, IPv4 header checksum, UDP length, transport checksum. */
void draft_finish(struct draft *d);
/* The draft as one more record, wire length as captured. Aborts when there is no room. */
struct frame *draft_add(const struct draft *d, struct frames *f, uint64_t ts_ns, uint16_t linktype);

#endif
