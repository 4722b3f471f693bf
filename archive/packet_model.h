/* How packet records become byte streams: the tables that encoder and decoder share.
 *
 * Records are grouped into conversations (both directions of a five-tuple under one pair of link headers). Within a
 * conversation each header field is predicted from the records before it; one word per record, its shape, says which
 * predictions held, and only what missed is stored. Columns are in conversation order, so that neighbours in a column are
 * neighbours in a conversation; the ORDER chunk has the interleaving, the TIME chunk the times, both in capture order.
 *
 * Exactness does not rest on the model: the encoder compares every prediction with the bytes and stores what differs.
 */
#ifndef ARCHIVE_PACKET_MODEL_H
#define ARCHIVE_PACKET_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/batch.h"
#include "archive/pack.h"
#include "base/bytes.h"

/* Chunks: what is sealed, read and decrypted as one. F(id, description) */
#define PACKET_CHUNKS(F)                                                                             \
	F(DICTIONARY, "conversations, addresses, ports, link headers")                               \
	F(ORDER, "which conversation each record in capture order belongs to")                       \
	F(TIME, "time steps in capture order")                                                       \
	F(WIRE_LEN, "length on the wire")                                                            \
	F(SHAPE, "direction, and which predictions held")                                            \
	F(TCP_FLAGS, "TCP flags")                                                                    \
	F(STRINGS, "IP options, extension headers, TCP options with time stamps and SACK edges blanked") \
	F(IP, "IP fields that were not predicted")                                                   \
	F(TRANSPORT, "transport fields that were not predicted")                                     \
	F(CHECKSUM, "transport checksums that were not predicted")                                   \
	F(BYTES, "captured bytes behind the headers")                                                \
	F(RAW, "frames of which only the link header was understood")

enum packet_chunk {
#define F(id, description) CHUNK_##id,
	PACKET_CHUNKS(F)
#undef F
	CHUNK_COUNT
};

/* Streams, in the order in which they lie in their chunks. F(id, chunk, effort, room, description): room is the most
 * bytes the stream can have for each record that a block may hold. Multi-byte values are planes: id0 holds the low
 * bytes of all values, id1 the next, ... */
#define PLANES2(F, id, chunk, effort, room, description)                                             \
	F(id##0, chunk, effort, room, description) F(id##1, chunk, effort, room, "")
#define PLANES3(F, id, chunk, effort, room, description)                                             \
	PLANES2(F, id, chunk, effort, room, description) F(id##2, chunk, effort, room, "")
#define PLANES4(F, id, chunk, effort, room, description)                                             \
	PLANES3(F, id, chunk, effort, room, description) F(id##3, chunk, effort, room, "")

#define PACKET_STREAMS(F)                                                                            \
	F(KINDS, DICTIONARY, TEXT, 5, "5 bytes each: net, transport, proto, first_proto, flags of struct flow") \
	PLANES2(F, KIND, DICTIONARY, PLANE, 1, "per conversation: index into KINDS")                 \
	PLANES2(F, ROWS, DICTIONARY, PLANE, 1, "per conversation: records - 1")                      \
	F(LINK_META, DICTIONARY, TEXT, 5, "per link header: le16 linktype, le16 iface, u8 bytes")   \
	F(LINK_BYTES, DICTIONARY, TEXT, 84, "the link headers")                                     \
	F(PATHS, DICTIONARY, TEXT, 4, "4 bytes each: le16 link of direction 0, le16 link of direction 1") \
	PLANES2(F, PATH, DICTIONARY, PLANE, 1, "per conversation: index into PATHS")                 \
	PLANES4(F, IP4, DICTIONARY, PLANE, 2, "distinct IPv4 addresses, ascending: difference to the one before") \
	F(IP6, DICTIONARY, TEXT, 32, "distinct IPv6 addresses, ascending")                           \
	PLANES3(F, SRC, DICTIONARY, PLANE, 1, "per IP conversation: index of the source address of direction 0") \
	PLANES3(F, DST, DICTIONARY, PLANE, 1, "per IP conversation: index of the destination address of direction 0") \
	PLANES2(F, SPORT, DICTIONARY, PLANE, 1, "per conversation with a transport: source port or ICMP type of direction 0") \
	PLANES2(F, DPORT, DICTIONARY, PLANE, 1, "per conversation with a transport: destination port or ICMP code") \
	F(EXTRA, DICTIONARY, TEXT, 10, "per conversation: varint, bytes of its records in BYTES, or in RAW_BYTES when not IP") \
	F(STEP, ORDER, PLANE, 1, "per record: enum order_step")                                      \
	PLANES2(F, BACK, ORDER, PLANE, 1, "per STEP_BACK: how many conversations opened since that one") \
	PLANES4(F, TIME, TIME, PIECES, 1, "per record: time since the record before, in units; see TIME_HEAD") \
	F(TIME_HEAD, TIME, TEXT, 1, "u8 signed, le32 unit in ns, le64 first time in ns")            \
	F(TIME_JUMP, TIME, TEXT, 12, "le32 record, le64 time in ns: where the step does not fit")    \
	F(TIME_AT, TIME, STORE, 1, "per 16384 records but the first ones: le64 time of the record before them, in ns") \
	PLANES4(F, WIRE, WIRE_LEN, PIECES, 1, "per record: length on the wire")                       \
	F(SHAPES, SHAPE, TEXT, 4, "distinct shapes, most frequent first: le32 each")                 \
	F(SHAPE, SHAPE, PIECES, 1, "per record: index into SHAPES, or 255")                          \
	PLANES2(F, SHAPE_WIDE, SHAPE, PLANE, 1, "per 255: index - 255")                              \
	F(SHAPE_WIDE_AT, SHAPE, STORE, 1, "per 16384 records but the first ones: le32, 255s before them") \
	F(TCP_FLAGS, TCP_FLAGS, PIECES, 1, "per TCP record")                                          \
	F(STRING_LENGTHS, STRINGS, TEXT, 3, "length of each string")                                 \
	F(STRING_BYTES, STRINGS, TEXT, 255, "the strings")                                           \
	PLANES2(F, IP_ID, IP, PLANE, 1, "difference to the IPv4 identification before")              \
	F(TTL, IP, PLANE, 1, "")                                                                     \
	F(TOS, IP, PLANE, 1, "")                                                                     \
	PLANES2(F, FRAG, IP, PLANE, 1, "IPv4 flags and fragment offset")                             \
	PLANES3(F, LABEL, IP, PLANE, 1, "IPv6 flow label")                                           \
	PLANES2(F, IP_LEN, IP, PLANE, 1, "IPv4 total length, IPv6 payload length")                   \
	PLANES2(F, IP_SUM, IP, PLANE, 1, "IPv4 header checksum that is wrong")                       \
	PLANES3(F, IP_STRING, IP, PLANE, 1, "string of options or extension headers")                \
	PLANES4(F, SEQ, TRANSPORT, PLANE, 1, "zigzag: sequence number less the expected one")        \
	PLANES4(F, ACK, TRANSPORT, PLANE, 1, "zigzag: acknowledgement less the last one")            \
	PLANES2(F, WIN, TRANSPORT, PLANE, 1, "window less the last one")                             \
	PLANES2(F, URG, TRANSPORT, PLANE, 1, "urgent pointer that is not 0")                         \
	PLANES3(F, TCP_STRING, TRANSPORT, PLANE, 1, "string: data offset byte, options")             \
	F(TSVAL_STEP, TRANSPORT, PLANE, 1, "time stamp less the last one, 1 to 255")                 \
	PLANES4(F, TSVAL, TRANSPORT, PLANE, 1, "zigzag: time stamp less the last one")               \
	PLANES4(F, TSECR, TRANSPORT, PLANE, 1, "zigzag: echoed time stamp less the last one")        \
	PLANES4(F, SACK, TRANSPORT, PLANE, 8, "SACK edge less the acknowledgement")                  \
	PLANES2(F, UDP_LEN, TRANSPORT, PLANE, 1, "UDP length that is not the IP payload's")          \
	PLANES4(F, REST, TRANSPORT, PLANE, 1, "ICMP: bytes 4 to 7; SCTP: verification tag")          \
	PLANES4(F, CAP, TRANSPORT, PLANE, 1, "captured length that is not predicted")                \
	F(SUM, CHECKSUM, STORE, 4, "2 bytes as in the packet; SCTP: 4 bytes")                        \
	F(BYTES, BYTES, BYTES, 256, "per IP record with bytes behind its headers: these")            \
	PLANES4(F, RAW_LEN, RAW, PLANE, 1, "per record that is not IP: bytes behind its link header")\
	F(RAW_BYTES, RAW, BYTES, 256, "these bytes")

enum packet_stream {
#define F(id, chunk, effort, room, description) STREAM_##id,
	PACKET_STREAMS(F)
#undef F
	STREAM_COUNT
};

enum order_step {
	STEP_AGAIN,    /* the conversation of the record before */
	STEP_FOLLOWER, /* the one that followed last time */
	STEP_RETURN,   /* the one of the record before the record before */
	STEP_NEW,      /* the next new one */
	STEP_BACK,     /* as BACK says */
	STEP_COUNT
};

/* Shape: one 32-bit word per record. F(id, bits, description) */
#define PACKET_SHAPE(F)                                                                              \
	F(DIR, 1, "direction")                                                                       \
	F(CAP, 2, "IP: captured length: 0 end of headers, 1 as on the wire, 2 in CAP")                 \
	F(IP_ID, 2, "0 last + 1, 1 last, 2 last + last step, 3 in IP_ID")                            \
	F(FRAG, 1, "1 in FRAG (IPv6: LABEL), 0 as last")                                             \
	F(TOS, 1, "1 in TOS, 0 as last")                                                             \
	F(TTL, 1, "1 in TTL, 0 as last")                                                             \
	F(IP_SUM, 1, "1 in IP_SUM, 0 right")                                                         \
	F(IP_LEN, 1, "1 in IP_LEN, 0 as the wire length implies")                                    \
	F(IP_STRING, 1, "1 in IP_STRING, 0 as last")                                                 \
	F(SUM, 3, "transport checksum: 0 in SUM, 1 right, 2 that of the pseudo header, 3 as if the payload were the last one, 4 zero") \
	F(SEQ, 1, "TCP: 1 in SEQ, 0 expected; UDP: 1 in UDP_LEN")                                    \
	F(ACK, 2, "TCP: 0 all the other side sent, 1 as last, 2 all but the other side's last, 3 in ACK; ICMP and SCTP: REST: 0 as last, 1 last + 1, 2 as the other side's, 3 in REST") \
	F(WIN, 1, "1 in WIN, 0 as last")                                                             \
	F(URG, 1, "1 in URG, 0 zero")                                                                \
	F(TCP_STRING, 1, "1 in TCP_STRING, 0 as last")                                               \
	F(TSVAL, 2, "0 as last, 1 in TSVAL_STEP, 2 in TSVAL")                                        \
	F(TSECR, 2, "0 the other side's last TSVAL, 1 as last, 2 in TSECR")                          \
	F(SACKS, 3, "SACK blocks, 0 to 4")

enum {
#define F(id, bits, description) SHAPE_AT_##id, SHAPE_LAST_##id = SHAPE_AT_##id + (bits) - 1,
	PACKET_SHAPE(F)
#undef F
	SHAPE_BITS
};
enum {
#define F(id, bits, description) SHAPE_MASK_##id = (1 << (bits)) - 1,
	PACKET_SHAPE(F)
#undef F
};
_Static_assert(PACK_PIECE_BYTES == 16384, "as TIME_AT and SHAPE_WIDE_AT say");
_Static_assert(SHAPE_BITS <= 32, "a shape is one 32-bit word");
#define SHAPE_GET(word, id) (((word) >> SHAPE_AT_##id) & SHAPE_MASK_##id)
#define SHAPE_SET(id, value) ((uint32_t)(value) << SHAPE_AT_##id)

enum { CAP_HEADERS, CAP_WIRE, CAP_STORED };
enum { IP_ID_NEXT, IP_ID_SAME, IP_ID_STEP, IP_ID_STORED };
enum { SUM_STORED, SUM_RIGHT, SUM_PSEUDO, SUM_LAST, SUM_ZERO };
enum { ACK_ALL, ACK_SAME, ACK_BUT_LAST, ACK_STORED };
enum { REST_SAME, REST_NEXT, REST_OTHER, REST_STORED };
enum { TSVAL_SAME, TSVAL_SMALL, TSVAL_STORED };
enum { TSECR_OTHER, TSECR_SAME, TSECR_STORED };

#define STRINGS_MAX      (2u * BLOCK_RECORDS_MAX + 1u) /* each record may bring IP and TCP options; the empty one */
#define STRING_BYTES_MAX 255u
#define LINK_BYTES_MAX   (20u + 4u * 2u * 8u)

/* What is remembered of one direction of a conversation. All zero at its start. */
struct side {
	bool     seen;
	uint8_t  tos, ttl;
	uint16_t ip_id, ip_id_step, frag, win;
	uint32_t label;
	uint32_t ip_string, tcp_string;
	uint32_t next_seq, next_seq_before; /* expected, and expected before the last record that moved it */
	uint32_t ack, tsval, tsecr, rest;
	uint32_t payload_sum;               /* 16-bit one's complement sum that the last checksum implied */
};

/* condition ? yes : no where it can not be foreseen: compilers like to make a branch of that. */
static inline uint32_t
choose(bool condition, uint32_t yes, uint32_t no)
{
	return no ^ ((yes ^ no) & (0u - condition));
}

static inline uint32_t zigzag(uint32_t v) { return (v << 1) ^ (uint32_t)((int32_t)v >> 31); }
static inline uint32_t unzigzag(uint32_t v) { return (v >> 1) ^ (0u - (v & 1)); }

/* End-around carry; 0 only for 0. The upper half of a sum with its halves swapped is the sum of the halves, carry included. */
static inline uint32_t
fold16(uint64_t s)
{
	uint32_t half = (uint32_t)((s + (s << 32 | s >> 32)) >> 32);
	return (half + (half << 16 | half >> 16)) >> 16;
}

/* The same for the sum of two folded ones. */
static inline uint32_t fold16_of_two(uint32_t s) { return (s & 0xffff) + (s >> 16); }

/* One's complement sum of 16-bit words in memory order, unfolded (RFC 1071: order of bytes does not matter). */
static inline uint64_t
sum_words(const uint8_t *p, uint32_t n)
{
	uint64_t s = 0;
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t v = load_le64(p);
		s += (v & 0xffffffff) + (v >> 32);
	}
	if (n >= 4) {
		s += load_le32(p);
		p += 4;
		n -= 4;
	}
	if (n >= 2) {
		s += load_le16(p);
		p += 2;
		n -= 2;
	}
	if (n)
		s += *p;
	return s;
}

/* The checksum field, in memory order, for the sum of everything else. */
static inline uint16_t checksum_of(uint64_t sum) { return (uint16_t)~fold16(sum); }

/* The sum of the payload that a checksum field implies, given the folded sum of all headers: checksum_of(headers + it) == field
 * (or its other zero; the encoder compares). */
static inline uint32_t
payload_sum_of(uint16_t field, uint32_t headers_folded)
{
	return fold16_of_two((uint32_t)(uint16_t)~field + (uint16_t)~headers_folded);
}

/* IP length that the wire length implies: a short Ethernet frame is padded to 60 bytes, otherwise the packet fills it. */
static inline uint32_t
ip_len_expected(uint32_t wire_len, uint32_t link_bytes, uint32_t headers_end)
{
	/* & rather than &&: neither can be foreseen. */
	return choose((wire_len <= 60) & (wire_len >= headers_end), headers_end, wire_len) - link_bytes;
}

/* TCP: moves the expectation after a record. */
static inline void
side_sent(struct side *s, uint32_t seq, uint32_t payload_bytes, uint8_t flags)
{
	uint32_t next = seq + payload_bytes + ((flags >> 1) & 1) + (flags & 1);
	uint32_t moves = ((int32_t)(next - s->next_seq) > 0) | !s->seen;
	s->next_seq_before = choose(moves, s->next_seq, s->next_seq_before);
	s->next_seq = choose(moves, next, s->next_seq);
}

/* TCP options (RFC 9293 3.1, RFC 7323, RFC 2018): where the time stamp and the SACK edges are. */
struct tcp_options {
	uint8_t timestamp_at; /* offset of TSval in the TCP header, 0: none */
	uint8_t sack_at;      /* offset of the first edge, 0: none */
	uint8_t sack_blocks;  /* 1..4 */
};

#define TCP_NOP_NOP_TIMESTAMP 0x0a080101u /* the first four bytes, little-endian */

/* n bytes of options. */
static inline struct tcp_options
tcp_options_find(const uint8_t *options, uint32_t n)
{
	struct tcp_options o = { 0 };
	/* by far the most frequent: NOP NOP TS */
	if (n == 12 && load_le32(options) == TCP_NOP_NOP_TIMESTAMP) {
		o.timestamp_at = 24;
		return o;
	}
	for (uint32_t at = 0; at < n && options[at] != 0;) {
		if (options[at] == 1) {
			at++;
			continue;
		}
		if (n - at < 2 || options[at + 1] < 2 || options[at + 1] > n - at)
			break;
		uint8_t bytes = options[at + 1];
		if (options[at] == 8 && bytes == 10 && !o.timestamp_at) {
			o.timestamp_at = (uint8_t)(20 + at + 2);
		} else if (options[at] == 5 && bytes >= 10 && bytes <= 34 && bytes % 8 == 2 && !o.sack_at) {
			o.sack_at = (uint8_t)(20 + at + 2);
			o.sack_blocks = bytes / 8;
		}
		at += bytes;
	}
	return o;
}

#endif
