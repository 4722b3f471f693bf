#include "archive/packet_select.h"

#include <string.h>

/* --- columns by row --- */

static enum err
need_length(const struct packet_decoder *d, unsigned stream, unsigned planes, uint32_t n)
{
	for (unsigned i = 0; i < planes; i++)
		if (d->length[stream + i] != n)
			return fail(ERR_FORMAT, "column %s has %u values, expected %u", packet_stream_name(stream + i),
			            d->length[stream + i], n);
	return OK;
}

static enum err
select_wire_len(struct packet_decoder *d, const struct selection *sel)
{
	TRY(need_length(d, STREAM_WIRE0, 4, d->records));
	if (!d->batch.wire_len)
		TAKE_ROOM(d, d->wire_len, d->records * sizeof *d->wire_len);
	const uint8_t *p0 = d->stream[STREAM_WIRE0], *p1 = d->stream[STREAM_WIRE1], *p2 = d->stream[STREAM_WIRE2],
	              *p3 = d->stream[STREAM_WIRE3];
	for (uint32_t c = 0; c < d->batch.conversations; c++) {
		if (!sel->conversation[c])
			continue;
		TRY(packet_streams_need(d, STREAM_WIRE0, 4, d->start[c], d->start[c + 1]));
		for (uint32_t i = d->start[c]; i < d->start[c + 1]; i++)
			d->wire_len[i] = (uint32_t)p0[i] | (uint32_t)p1[i] << 8 | (uint32_t)p2[i] << 16 | (uint32_t)p3[i] << 24;
	}
	d->batch.wire_len = d->wire_len;
	return OK;
}

static uint32_t
count_wide(const uint8_t *shape, uint32_t first, uint32_t end)
{
	uint32_t n = 0;
	for (uint32_t i = first; i < end; i++)
		n += shape[i] == 255;
	return n;
}

static enum err
select_directions(struct packet_decoder *d, const struct selection *sel)
{
	const uint8_t *shape = d->stream[STREAM_SHAPE], *words = d->stream[STREAM_SHAPES], *wide0 = d->stream[STREAM_SHAPE_WIDE0],
	              *wide1 = d->stream[STREAM_SHAPE_WIDE1];
	uint32_t shapes = d->length[STREAM_SHAPES] / 4, wide = d->length[STREAM_SHAPE_WIDE0], at = 0, counted = 0;
	TRY(need_length(d, STREAM_SHAPE, 1, d->records));
	TRY(need_length(d, STREAM_SHAPE_WIDE0, 2, wide));
	TRY(packet_marks_check(d, STREAM_SHAPE_WIDE_AT, 4));
	if (!d->batch.dir)
		TAKE_ROOM(d, d->dir, d->records);
	for (uint32_t c = 0; c < d->batch.conversations; c++) {
		if (!sel->conversation[c])
			continue;
		uint32_t piece = d->start[c] - d->start[c] % PACK_PIECE_BYTES;
		if (counted < piece) {
			counted = piece;
			at = load_le32(packet_mark(d, STREAM_SHAPE_WIDE_AT, 4, piece));
		}
		TRY(packet_streams_need(d, STREAM_SHAPE, 1, counted, d->start[c + 1]));
		if (wide)
			at += count_wide(shape, counted, d->start[c]);
		counted = d->start[c + 1];
		for (uint32_t i = d->start[c]; i < counted; i++) {
			uint32_t number = shape[i];
			if (number == 255) {
				if (at >= wide)
					return fail(ERR_FORMAT, "shape numbers end early");
				number += wide0[at] | (uint32_t)wide1[at] << 8;
				at++;
			}
			if (number >= shapes)
				return fail(ERR_FORMAT, "unknown shape");
			d->dir[i] = SHAPE_GET(load_le32(words + 4 * number), DIR);
		}
	}
	d->batch.dir = d->dir;
	return OK;
}

static enum err
select_tcp_flags(struct packet_decoder *d, const struct selection *sel)
{
	uint32_t at = 0, length = d->length[STREAM_TCP_FLAGS];
	if (!d->batch.tcp_flags)
		TAKE_ROOM(d, d->tcp_flags, d->records);
	for (uint32_t c = 0; c < d->batch.conversations; c++) {
		uint32_t row = d->start[c], rows = d->start[c + 1] - row;
		bool tcp = d->flows[2 * c].transport == TRANSPORT_TCP;
		if (tcp && rows > length - at)
			return fail(ERR_FORMAT, "TCP flags end early");
		if (sel->conversation[c] && tcp) {
			TRY(packet_streams_need(d, STREAM_TCP_FLAGS, 1, at, at + rows));
			memcpy(d->tcp_flags + row, d->stream[STREAM_TCP_FLAGS] + at, rows);
		} else if (sel->conversation[c]) {
			memset(d->tcp_flags + row, 0, rows);
		}
		at += tcp ? rows : 0;
	}
	if (at != length)
		return fail(ERR_FORMAT, "TCP flags left over");
	d->batch.tcp_flags = d->tcp_flags;
	return OK;
}

enum err
packet_select_columns(struct packet_decoder *d, unsigned columns, const struct selection *sel)
{
	if (columns & BATCH_WIRE_LEN)
		TRY(select_wire_len(d, sel));
	if (columns & BATCH_DIR)
		TRY(select_directions(d, sel));
	if (columns & BATCH_TCP_FLAGS)
		TRY(select_tcp_flags(d, sel));
	return OK;
}

/* --- records in capture order --- */

/* Which of the candidates an order step takes: all bits or none. */
static const struct picks {
	uint32_t last, before_last, opened, back, follower, unused[3];
} picks[8] = {
	[STEP_AGAIN] = { .last = UINT32_MAX },     [STEP_FOLLOWER] = { .follower = UINT32_MAX },
	[STEP_RETURN] = { .before_last = UINT32_MAX }, [STEP_NEW] = { .opened = UINT32_MAX },
	[STEP_BACK] = { .back = UINT32_MAX },
};

/* Which records belong to selected conversations: their record numbers, conversations and rows. *count: rows of these
 * conversations; gets how many of them are selected. What comes behind the last one is not looked at. */
static enum err
find_records(struct packet_decoder *d, const struct selection *sel, uint32_t *number, struct selected_row *out, uint32_t *count)
{
	const uint8_t *step = d->stream[STREAM_STEP], *back0 = d->stream[STREAM_BACK0], *back1 = d->stream[STREAM_BACK1];
	const uint8_t *conversation = sel->conversation;
	uint16_t *follower = d->follower;
	uint32_t *next_row = d->next_row;
	uint32_t n = d->records, opened = 0, last = 0, before_last = 0, back = 0, found = 0, left = *count;
	TRY(packet_order_check(d));
	for (uint32_t i = 0; i < n && left; i++) {
		/* As decode_order() in packet_decode.c; which way it goes can not be foreseen, and a compiler makes branches of
		 * conditions. One byte behind the last BACK is read, not used (streams have that room). */
		const struct picks *p = &picks[step[i] & 7];
		uint32_t far = opened - 1 - (back0[back] | (uint32_t)back1[back] << 8);
		uint32_t now = (last & p->last) | (before_last & p->before_last) | (opened & p->opened) | (far & p->back);
		now |= follower[last] & p->follower; /* what takes longest comes last: each record waits for the one before */
		opened -= p->opened;
		back -= p->back;
		if (now >= opened)
			return fail(ERR_FORMAT, "record %u of an unknown conversation", i);
		follower[last] = (uint16_t)now;
		before_last = last;
		last = now;
		if (!conversation[now])
			continue;
		uint32_t row = next_row[now]++;
		left--;
		if (row >= d->start[now + 1])
			return fail(ERR_FORMAT, "conversation %u with another number of records than rows", now);
		if (conversation[now] == 2 && !sel->row[row])
			continue;
		number[found] = i;
		out[found++] = (struct selected_row){ .row = row, .conversation = now };
	}
	if (left)
		return fail(ERR_FORMAT, "fewer records of a conversation than rows");
	*count = found;
	return OK;
}

/* The sum of the time steps of records first .. end, in units. */
static inline __attribute__((always_inline)) uint64_t
sum_steps(const struct packet_decoder *d, const bool is_signed, uint32_t first, uint32_t end)
{
	const uint8_t *p0 = d->stream[STREAM_TIME0], *p1 = d->stream[STREAM_TIME1], *p2 = d->stream[STREAM_TIME2],
	              *p3 = d->stream[STREAM_TIME3];
	uint64_t sum = 0;
	for (uint32_t i = first; i < end; i++) {
		uint32_t v = (uint32_t)p0[i] | (uint32_t)p1[i] << 8 | (uint32_t)p2[i] << 16 | (uint32_t)p3[i] << 24;
		sum += is_signed ? (uint64_t)(int64_t)(int32_t)unzigzag(v) : v;
	}
	return sum;
}

static enum err
find_times(struct packet_decoder *d, const uint32_t *number, struct selected_row *out, uint32_t count)
{
	struct reader head = reader_of(d->stream[STREAM_TIME_HEAD], d->length[STREAM_TIME_HEAD]);
	bool is_signed = reader_u8(&head) & 1;
	uint64_t unit = reader_le32(&head), now = reader_le64(&head);
	uint32_t jumps = d->length[STREAM_TIME_JUMP] / 12, jump = 0, at = 0;
	if (!reader_done(&head) || d->length[STREAM_TIME_JUMP] % 12)
		return fail(ERR_FORMAT, "time header of odd length");
	TRY(need_length(d, STREAM_TIME0, 4, d->records));
	TRY(packet_marks_check(d, STREAM_TIME_AT, 8));
	for (uint32_t k = 0; k < count; k++) {
		uint32_t end = number[k] + 1, piece = number[k] - number[k] % PACK_PIECE_BYTES;
		if (at < piece) {
			at = piece;
			now = load_le64(packet_mark(d, STREAM_TIME_AT, 8, piece));
			while (jump < jumps && load_le32(d->stream[STREAM_TIME_JUMP] + 12 * jump) < piece)
				jump++;
		}
		TRY(packet_streams_need(d, STREAM_TIME0, 4, at, end));
		/* the last jump up to this record, if there is one, sets the time */
		for (; jump < jumps; jump++) {
			const uint8_t *p = d->stream[STREAM_TIME_JUMP] + 12 * jump;
			uint32_t record = load_le32(p);
			if (record >= end)
				break;
			if (record < at)
				return fail(ERR_FORMAT, "time jumps out of order");
			now = load_le64(p + 4);
			at = record + 1;
		}
		now += unit * (is_signed ? sum_steps(d, true, at, end) : sum_steps(d, false, at, end));
		at = end;
		out[k].captured = now;
		out[k].time = d->view ? time_map(&d->view->time, now) : now;
	}
	return OK;
}

enum err
packet_select_records(struct packet_decoder *d, const struct selection *sel)
{
	uint32_t conversations = d->batch.conversations, most = 0;
	uint32_t *number;
	struct selected_row *out;
	for (uint32_t c = 0; c < conversations; c++)
		most += sel->conversation[c] ? d->start[c + 1] - d->start[c] : 0;
	TAKE_ROOM(d, number, most * sizeof *number);
	TAKE_ROOM(d, out, most * sizeof *out);
	TAKE_ROOM(d, d->next_row, conversations * sizeof *d->next_row);
	TAKE_ROOM(d, d->follower, conversations * sizeof *d->follower);
	memcpy(d->next_row, d->start, conversations * sizeof *d->next_row);
	memset(d->follower, 0xff, conversations * sizeof *d->follower);
	uint32_t count = most;
	TRY(find_records(d, sel, number, out, &count));
	TRY(find_times(d, number, out, count));
	d->batch.selected = out;
	d->batch.selected_count = count;
	return OK;
}
