/* A batch: the decoded columns of one block, which filters, anonymizers, modules and exports all work on.
 *
 * Rows are in flow order: the rows of conversation 0 first, then those of conversation 1, and so on; inside a
 * conversation in capture order. row_of[i] gives the row of the i-th record in capture order. A conversation is a pair of
 * flows, one for each direction: flow 2c has the direction of the conversation's first record, flow 2c+1 the opposite
 * one (its entry is valid even when no record went that way).
 *
 * A test on addresses, ports or protocol is answered once per flow, not per record; the records of conversation c are the
 * rows start[c] .. start[c+1], and dir[row] (0 or 1) tells the flow: 2c + dir[row].
 */
#ifndef ARCHIVE_BATCH_H
#define ARCHIVE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/packet_schema.h"
#include "base/err.h"
#include "base/limits.h"

enum net { NET_RAW, NET_IP4, NET_IP6 };
enum transport { TRANSPORT_NONE, TRANSPORT_TCP, TRANSPORT_UDP, TRANSPORT_SCTP, TRANSPORT_ICMP, TRANSPORT_ICMP6 };

/* The link header of some records: their bytes from the start up to the IP header (all of a NET_RAW record's link header
 * that was understood). Distinct headers are stored once per block. */
struct link {
	uint16_t linktype;
	uint16_t iface;
	uint16_t ethertype; /* of what follows the VLAN tags (an MPLS one when labels follow); 0: the link type has none */
	uint8_t  vlans;     /* VLAN tags (802.1Q, 802.1ad, 0x9100) */
	uint8_t  mpls;      /* MPLS labels */
	uint16_t vlan;      /* outer tag's identifier, 0 without */
	uint8_t  macs;      /* 1: an Ethernet header: destination in bytes[0..5], source in bytes[6..11] */
	uint8_t  len;
	const uint8_t *bytes; /* len of them; borrowed from the batch */
};

enum {
	FLOW_FRAGMENT = 1,   /* records are fragments other than the first: no transport header in them */
	FLOW_EXTENSIONS = 2, /* IPv6 extension headers lie between the IPv6 header and the transport */
	FLOW_HIDDEN = 4,     /* the view shows none of these records (archive/packet_view.h); never stored */
};

/* What all records of one direction share. For NET_IP4 and NET_IP6 the captured bytes hold the whole IP header (options,
 * extension headers), and for a transport other than TRANSPORT_NONE all of its header: TCP with options, UDP 8, SCTP 12,
 * ICMP 8, ICMPv6 8 bytes. A record of which less was captured, or whose headers contradict themselves, is NET_RAW. */
struct flow {
	uint8_t  net;         /* enum net */
	uint8_t  transport;   /* enum transport */
	uint8_t  proto;       /* IPv4 protocol; IPv6: next header of the last header understood; 0 for NET_RAW */
	uint8_t  first_proto; /* IPv4 protocol; IPv6: next header field of the fixed header */
	uint8_t  flags;       /* FLOW_ */
	uint16_t sport, dport;/* ports; ICMP type and code; 0 for TRANSPORT_NONE */
	uint32_t link;        /* index into batch.links */
	uint32_t src, dst;    /* index into batch.ip4 or batch.ip6 */
};

/* Rows: one byte per conversation (0 none, 1 all rows, 2 look at rows) and one byte per row (0 or 1; valid only for
 * conversations with 2). */
struct selection {
	const uint8_t *conversation;
	const uint8_t *row;
};

struct selected_row {
	uint64_t time, captured; /* captured: as in struct batch, for the order of records, never to be shown */
	uint32_t row, conversation;
};

struct batch {
	uint32_t count;             /* records */
	uint32_t sampled;           /* they are one in so many of the source's, 1.. */
	uint8_t  sampler;           /* enum sampler_kind (frames.h) */
	uint32_t conversations;     /* flows are twice as many */
	uint32_t link_count, ip4_count, ip6_count;
	const struct link *links;
	const uint32_t    *ip4;     /* distinct IPv4 addresses of the block, host order; ascending unless it is a view */
	const uint8_t    (*ip6)[16];/* distinct IPv6 addresses; ascending unless it is a view */
	const struct flow *flows;   /* 2 * conversations */
	const uint32_t    *start;   /* conversations + 1 */

	/* Columns by row; NULL unless asked for (BATCH_ bits of batch_load). */
	const uint8_t  *dir;        /* BATCH_DIR */
	const uint64_t *ts;         /* BATCH_TS: the same by row */
	const uint32_t *wire_len;   /* BATCH_WIRE_LEN */
	const uint32_t *cap_len;    /* BATCH_CAP_LEN */
	const uint32_t *row_of;     /* BATCH_ORDER, BATCH_TIME: capture order -> row */
	const uint64_t *time;       /* BATCH_TIME, BATCH_TIME_ALONE: ns since 1970, in capture order: that of record i, row row_of[i] */
	const uint64_t *captured;   /* as time, and not the view's: for choosing records by time, never to be shown */
	const uint8_t  *tcp_flags;  /* BATCH_TCP_FLAGS; 0 in rows that are not TCP */
	const uint8_t  *tos, *ttl;  /* BATCH_IP: 0 in NET_RAW rows, as all of these */
	const uint32_t *ip_len;     /* BATCH_IP */
	const uint16_t *ip_id, *ip_frag; /* BATCH_IP; 0 for IPv6 */
	const uint32_t *tcp_seq, *tcp_ack; /* BATCH_TCP */
	const uint16_t *tcp_win;    /* BATCH_TCP */

	const struct selected_row *selected; /* BATCH_SELECTED: in capture order */
	uint32_t           selected_count;

	struct packet_decoder *decoder; /* for batch_bytes() */
};

enum {
	BATCH_DIR = 1,
	BATCH_TS = 2,
	BATCH_WIRE_LEN = 4,
	BATCH_CAP_LEN = 8,
	BATCH_ORDER = 16,
	BATCH_TCP_FLAGS = 32,
	BATCH_IP = 64,
	BATCH_TCP = 128,
	BATCH_BYTES = 256, /* allows batch_bytes() */
	BATCH_RAW = 512,   /* allows batch_bytes() for rows of NET_RAW flows; much less to read than BATCH_BYTES */
	BATCH_TIME = 1024,
	BATCH_ALL = 2047,
	BATCH_SELECTED = 2048, /* only with a selection: segment_load_selected() */
	BATCH_TIME_ALONE = 4096, /* time, but not row_of: a block whose times are asked for as such */
};

/* The conversation with this row. */
uint32_t batch_conversation(const struct batch *b, uint32_t row);

/* The captured bytes of one row, rebuilt: *bytes is valid until another block is loaded, with FRAMES_SLACK bytes behind
 * that may be read. Wants BATCH_BYTES (or BATCH_RAW). The rows of a conversation are rebuilt together when the first of
 * them is asked for. ERR_FORMAT: the block contradicts itself (a hostile sender); the sentence names the column. Not
 * thread-safe on one batch. */
enum err batch_bytes(const struct batch *b, uint32_t row, const uint8_t **bytes, uint32_t *n);
/* The link header of a row after batch_bytes() gave its bytes. */
const struct link *batch_link(const struct batch *b, uint32_t row);

#endif
