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
	uint32_t seq, ack, tsval, tsecr; /* SACK edges are kept relative to ack */
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
	uint64_t time_quantum_ns;   /* times are cut to multiples of it, 1.., ... */
	uint64_t time_shift_ns;     /* ... and shifted back by this much, a multiple of it, to no less than 0 */
};

static inline uint64_t
packet_view_time(const struct packet_view *v, uint64_t time)
{
	uint64_t t = time - time % v->time_quantum_ns;
	return t > v->time_shift_ns ? t - v->time_shift_ns : 0;
}

/* A checksum that is wrong for certain, and does not tell how wrong the original was. */
static inline uint16_t checksum_wrong(uint16_t right) { return right ^ 0x5a5a; }

#endif
