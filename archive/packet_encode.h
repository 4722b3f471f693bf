/* Frames to the streams of a packet block. Used by the block encoder only. */
#ifndef ARCHIVE_PACKET_ENCODE_H
#define ARCHIVE_PACKET_ENCODE_H

#include "archive/conversation.h"
#include "archive/packet_model.h"
#include "archive/terms.h"

#define PREFETCH_ROWS 16u

struct place {                     /* what pass 1 found in one record */
	uint32_t at;               /* of its bytes */
	uint32_t wire_len;
	uint32_t cap_len : 31;     /* to be kept */
	uint32_t dir : 1;
	uint16_t transport_at, end;
};

struct ip6_reference {
	uint8_t  address[16];
	uint32_t end;              /* conversation times two, plus 1 for the destination */
};

struct packet_encoder {
	struct conversations conversations;
	struct strings strings;    /* number 0 is the empty one */
	struct intern shapes, kinds, paths;
	struct shape_number {
		uint32_t shape, number;
	} recent_shapes[256];      /* in front of shapes */
	uint32_t last, before_last; /* conversations of the records before, in capture order */
	uint32_t *conversation;    /* by record */
	struct place *places;      /* by record */
	struct place *rows;        /* the same by row */
	struct tuple *tuples;      /* by conversation */
	uint32_t *values;          /* one column on its way into planes */
	uint32_t  usual_string[2][16]; /* string of a TCP header without options, and with a time stamp, by byte 12's low half */
	uint16_t *shape;           /* by row, in order of first appearance */
	uint32_t *shape_word, *shape_count;
	uint64_t *sort, *sort_spare;
	uint32_t *address_index;   /* by end of a conversation: two times its number, plus 1 for the destination */
	uint8_t  *start[STREAM_COUNT], *at[STREAM_COUNT];

	struct ip6_reference *ip6;

	struct terms terms;        /* for the index */
	uint64_t  wire_bytes, captured_bytes, first_ns, last_ns;

	/* for the times */
	uint64_t  below_us;        /* not 0: a time is no multiple of 1 us */
	uint32_t  times_back;      /* records that are earlier than the one before */
};

enum err packet_encoder_init(struct packet_encoder *e);
void     packet_encoder_fini(struct packet_encoder *e);
/* Fills the streams (start[] to at[]) and the index fields. */
void     packet_encode(struct packet_encoder *e, const struct frames *in, bool headers_only);

/* --- one value to its planes --- */

#define PUT1(e, id, v) (*(e)->at[STREAM_##id]++ = (uint8_t)(v))
#define PUT2(e, id, v)                                            \
	do {                                                      \
		uint32_t v_ = (v);                                \
		*(e)->at[STREAM_##id##0]++ = (uint8_t)v_;         \
		*(e)->at[STREAM_##id##1]++ = (uint8_t)(v_ >> 8);  \
	} while (0)
/* Stored when the condition holds, without a branch. */
#define PUT2_IF(e, id, v, condition)                              \
	do {                                                      \
		uint32_t y_ = (v);                                \
		bool put_ = (condition);                          \
		*(e)->at[STREAM_##id##0] = (uint8_t)y_;           \
		*(e)->at[STREAM_##id##1] = (uint8_t)(y_ >> 8);    \
		(e)->at[STREAM_##id##0] += put_;                  \
		(e)->at[STREAM_##id##1] += put_;                  \
	} while (0)
#define PUT3(e, id, v)                                            \
	do {                                                      \
		uint32_t w_ = (v);                                \
		PUT2(e, id, w_);                                  \
		*(e)->at[STREAM_##id##2]++ = (uint8_t)(w_ >> 16); \
	} while (0)
#define PUT4(e, id, v)                                            \
	do {                                                      \
		uint32_t x_ = (v);                                \
		PUT3(e, id, x_);                                  \
		*(e)->at[STREAM_##id##3]++ = (uint8_t)(x_ >> 24); \
	} while (0)

static inline void
put_le(struct packet_encoder *e, enum packet_stream id, uint64_t v, unsigned bytes)
{
	store_le64(e->at[id], v);
	e->at[id] += bytes;
}

/* --- packet_dictionary.c --- */

/* Once all records are in conversations: the streams of the dictionary. */
void packet_encode_dictionary(struct packet_encoder *e);

#endif
