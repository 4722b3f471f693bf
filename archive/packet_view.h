/* What a decoder shows instead of what was captured. anonymize/view.h makes such a view from a policy and a key.
 *
 * It applies inside the decoder, because all that leaves a decoder, columns and rebuilt frames alike, must be the view's: filters,
 * exports and modules have no other source. Frames keep their structure: the same link type, headers of the same kinds and
 * lengths at the same places, the same lengths on the wire. Values change, and captured bytes may end earlier.
 *
 *   dictionary()  once per block: addresses, ports, link headers, and which conversations are hidden
 *   row()         once per record of an IP conversation: the fields of its headers
 *   behind()      once per record with captured bytes behind its headers, of conversations for which it is asked
 *   raw()         once per record of which only the link header was understood
 *
 * Checksums are the decoder's: see packet_view_checksum().
 */
#ifndef ARCHIVE_PACKET_VIEW_H
#define ARCHIVE_PACKET_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/batch.h"
#include "archive/packet_model.h"
#include "base/when.h"

/* Times of a view: moved, then rounded down. It never turns an order around, and stays within 0 and UINT64_MAX. */
struct time_rule {
	int64_t  shift_ns;
	uint64_t quantum_ns; /* 1.. */
};

static inline uint64_t
time_map(const struct time_rule *r, uint64_t ns)
{
	uint64_t moved;
	if (__builtin_add_overflow(ns, r->shift_ns, &moved))
		moved = r->shift_ns < 0 ? 0 : UINT64_MAX;
	return r->quantum_ns == 1 ? moved : moved - moved % r->quantum_ns;
}

/* The least raw time that is `view` or later in the view; UINT64_MAX also when there is none. */
static inline uint64_t
time_unmap(const struct time_rule *r, uint64_t view)
{
	uint64_t beyond = view % r->quantum_ns, up = beyond ? r->quantum_ns - beyond : 0, raw;
	if (view == 0)
		return 0;
	if (__builtin_add_overflow(view, up, &view))
		return UINT64_MAX;
	if (__builtin_sub_overflow(view, r->shift_ns, &raw))
		raw = r->shift_ns < 0 ? UINT64_MAX : 0;
	return raw;
}

/* The raw times whose times in the view are in [from, until), no others. Without any it is empty: from_ns == until_ns. */
static inline struct span
time_unmap_span(const struct time_rule *r, struct span view)
{
	struct span raw = { time_unmap(r, view.from_ns), view.until_ns == UINT64_MAX ? UINT64_MAX : time_unmap(r, view.until_ns) };
	if (raw.from_ns > raw.until_ns) /* backwards as it came */
		raw.from_ns = raw.until_ns;
	return raw;
}

struct packet_string {
	const uint8_t *p; /* with 16 bytes behind that may be read */
	uint32_t n, number; /* number: the same in all records of a block that have this string */
};

/* The headers of one record. */
struct packet_fields {
	uint32_t row, word, dir;
	uint32_t wire_len, cap_len;
	struct packet_string ip_string;  /* IPv4 options, IPv6 extension headers */
	struct packet_string tcp_string; /* byte 12 of the header, then the options; time stamps and SACK edges blank */
	struct tcp_options options;
	uint32_t link_bytes, ip_header, transport_header, end;
	uint32_t ip_len, label;
	uint16_t ip_id, frag, ip_sum;
	uint8_t tos, ttl, tcp_flags;
	uint32_t payload_bytes; /* of IP */
	uint32_t seq, ack, tsval, tsecr;
	uint32_t sack_base;     /* SACK edges are kept relative to it */
	uint32_t rest;          /* ICMP: bytes 4 to 7; SCTP: verification tag */
	uint16_t win, urg, udp_len;
	uint32_t sack_at;
};

/* The dictionary of one block, to be changed in place. Counts, lengths and what refers to what stay as they are. */
struct packet_dictionary {
	struct link *links;
	uint8_t     *link_bytes; /* struct link.bytes point into it */
	uint32_t    *ip4;
	uint8_t    (*ip6)[16];
	struct flow *flows;      /* 2 * conversations; FLOW_HIDDEN in both flows of a conversation: none of its records is shown */
	uint32_t link_count, ip4_count, ip6_count, conversations;
	/* By conversation, zero: whether behind() is asked; otherwise captured bytes end with the headers. */
	bool *behind;
};

struct packet_view {
	const void *arg;
	/* A state for one decoder, used by one thread at a time. */
	enum err (*open)(const void *arg, void **state);
	void     (*close)(void *state);
	/* An error ends the reading of the block, and is no damage of it: ERR_USAGE with a sentence. */
	enum err (*dictionary)(void *state, struct packet_dictionary *d);
	/* flow: its number in the dictionary, and as dictionary() left it. */
	void     (*row)(void *state, uint32_t flow_number, const struct flow *flow, struct packet_fields *f);
	/* f as row() left it. Writes what is shown of the n bytes in to out, which has room for n; how many they are. */
	uint32_t (*behind)(void *state, uint32_t flow_number, const struct flow *flow, const struct packet_fields *f,
	                   const uint8_t *in, uint32_t n, uint8_t *out);
	uint32_t (*raw)(void *state, const struct link *link, const uint8_t *in, uint32_t n, uint8_t *out);
	bool     changes_transport; /* row() may change fields behind the IP header */
	bool     zero_checksums;    /* of transports: none is shown */
	struct time_rule time;
};

/* --- checksums of a view --- */

/* What a transport's checksum is made of, as sums. */
struct sums {
	uint64_t pseudo, headers; /* of the pseudo header; of it and the transport header with the checksum zero */
	uint64_t covered;         /* of what was captured of the rest that it covers */
	bool     whole;           /* all of the rest was captured */
};

/* A checksum that is wrong for certain, and does not tell how wrong the original was. */
static inline uint16_t checksum_wrong(uint16_t right) { return right ^ 0x5a5a; }

static inline bool
checksums_agree(uint16_t a, uint16_t b)
{
	return a == b || ((a == 0 || a == 0xffff) && (b == 0 || b == 0xffff)); /* two zeros (RFC 1624) */
}

/* The sum of in[0..n) when its first `shown` bytes are those of out. */
static inline uint64_t
sum_shown(const uint8_t *in, uint32_t n, const uint8_t *out, uint32_t shown)
{
	if (shown >= n)
		return sum_words(out, n);
	uint32_t rest = fold16(sum_words(in + shown, n - shown));
	return sum_words(out, shown) + (shown % 2 ? __builtin_bswap16((uint16_t)rest) : rest);
}

/* The field to show of one that was captured. captured: what it was made of; shown: the same of the view's bytes. What was right
 * is right, what was wrong is wrong; where not all that it covers was captured, it changes by as much as what it covers
 * (RFC 1624). zero_is_none: UDP. */
static inline uint16_t
packet_view_checksum(const struct sums *captured, const struct sums *shown, uint16_t field, bool zero_is_none)
{
	if (zero_is_none && field == 0)
		return 0;
	uint16_t right = checksum_of(captured->headers + captured->covered), now;
	if (captured->whole && checksums_agree(field, right))
		now = checksum_of(shown->headers + shown->covered);
	else if (captured->pseudo && field == fold16(captured->pseudo))
		now = (uint16_t)fold16(shown->pseudo); /* left to a network card, which did not get to it */
	else if (captured->whole)
		now = checksum_wrong(checksum_of(shown->headers + shown->covered));
	else
		now = checksum_of((uint64_t)payload_sum_of(field, fold16(captured->headers)) + shown->headers +
		                  sum_less(shown->covered, captured->covered));
	return zero_is_none && now == 0 ? 0xffff : now;
}

#endif
