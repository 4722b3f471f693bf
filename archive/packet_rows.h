/* The decoder's state, and the part of it that walks the records of a conversation: predicted fields, and the frames
 * rebuilt from them. Used by packet_decode.c only. */
#ifndef ARCHIVE_PACKET_ROWS_H
#define ARCHIVE_PACKET_ROWS_H

#include "archive/packet_decode.h"
#include "base/arena.h"

#define FIELD_COLUMNS ((unsigned)(BATCH_CAP_LEN | BATCH_IP | BATCH_TCP))
#define ROW_COLUMNS   (FIELD_COLUMNS | (unsigned)BATCH_BYTES)

/* Streams of which a record takes a number of values that its shape and its conversation's kind tell. */
#define ROW_USES(F)                                                                                  \
	F(IP_ID) F(FRAG) F(LABEL) F(TOS) F(TTL) F(IP_SUM) F(IP_LEN) F(IP_STRING) F(SEQ) F(UDP_LEN) F(ACK) F(REST) F(WIN) \
	F(URG) F(TCP_STRING) F(TSVAL_STEP) F(TSVAL) F(TSECR) F(SACK) F(CAP) F(SUM) F(SCTP_SUM)

enum row_use {
#define F(id) USE_##id,
	ROW_USES(F)
#undef F
	USE_COUNT
};
#define USE_LANES 32
#define NOT_BUILT UINT32_MAX
/* A conversation can have this number when each record of a block has its own; then none follows another. */
#define NO_FOLLOWER UINT16_MAX

typedef uint8_t use_lanes __attribute__((vector_size(USE_LANES)));

union uses {               /* of one record with one shape */
	use_lanes v;
	uint8_t n[USE_LANES];
};

typedef uint32_t use_sums __attribute__((vector_size(4 * USE_LANES)));
union use_totals {         /* of all records */
	use_sums v;
	uint32_t n[USE_LANES];
};

struct cursors {           /* where a conversation's values start in each of those streams */
	uint32_t at[USE_COUNT];
};

struct packet_decoder {
	struct batch batch;
	struct unpacker *unpacker;
	struct arena arena;        /* of one block: streams and columns */
	uint8_t *stream[STREAM_COUNT];
	struct packed packed[STREAM_COUNT]; /* those of PACK_PIECES: views of their opened chunk */
	uint8_t nothing[64];       /* streams whose chunk was not loaded, or is not there because all of it is empty */
	uint32_t length[STREAM_COUNT];
	uint32_t records;
	unsigned chunks, columns;  /* what was unpacked and decoded of this block */

	struct link *links;
	uint32_t *ip4;
	struct flow *flows;
	uint32_t *start;
	uint32_t *next_row, *row_of;
	uint16_t *follower;        /* by conversation: the one that followed last; NO_FOLLOWER at first */
	uint64_t *times, *ts;
	uint8_t  *dir, *tcp_flags, *tos, *ttl;
	uint32_t *wire_len, *cap_len, *ip_len, *tcp_seq, *tcp_ack;
	uint16_t *ip_id, *ip_frag, *tcp_win;

	uint32_t *shape_words;     /* by shape number */
	uint16_t *shape;           /* by row */
	union uses *uses;          /* by shape number */
	struct cursors *cursors;   /* by conversation */
	struct extra {             /* by conversation: its bytes in BYTES, or in RAW_BYTES when not IP */
		uint32_t at, bytes;
		uint32_t raw_row;  /* not IP: where its values in RAW_LEN start */
	} *extra;
	uint32_t bytes_expected, raw_expected, raw_rows;
	uint32_t *string_at;       /* by string: where it starts in STRING_BYTES */
	uint32_t string_count;

	bool have_cursors;
	union use_totals use_total;

	uint32_t *image_len;       /* by row, once built */
	uint32_t *image_at;        /* by row: where its frame is in image; NOT_BUILT */
	uint16_t *link_of;         /* by row, once built */
	uint8_t  *image;
	uint32_t image_bytes, image_room;
};

/* Room for this block in the decoder's arena. */
#define TAKE_ROOM(d, p, n)                                                             \
	do {                                                                           \
		if (!((p) = arena_take(&(d)->arena, (n))))                             \
			return fail(ERR_FORMAT, "more columns than a block can have"); \
	} while (0)

/* Unpacks values first .. end of neighbouring streams of PACK_PIECES; there must be so many. */
enum err packet_streams_need(struct packet_decoder *d, unsigned first_stream, unsigned planes, uint32_t first, uint32_t end);
/* Whether a stream has a mark of so many bytes for all PACK_PIECE_BYTES records but the first. */
enum err packet_marks_check(const struct packet_decoder *d, unsigned stream, uint32_t bytes);
/* The mark in front of a record, which is not one of the first PACK_PIECE_BYTES. */
static inline const uint8_t *
packet_mark(const struct packet_decoder *d, unsigned stream, uint32_t bytes, uint32_t record)
{
	return d->stream[stream] + (record / PACK_PIECE_BYTES - 1) * bytes;
}
/* Whether there are as many order steps of each kind as the records, conversations and BACK take. */
enum err packet_order_check(const struct packet_decoder *d);
/* Prepares rows: cursors, and the columns asked for. */
enum err packet_rows_begin(struct packet_decoder *d, unsigned columns);
/* FIELD_COLUMNS of selected conversations only. */
enum err packet_rows_select(struct packet_decoder *d, const struct selection *sel);
/* batch_bytes(). */
enum err packet_row_bytes(struct packet_decoder *d, uint32_t row, const uint8_t **bytes, uint32_t *n);

#endif
