/* The reverse of packet_encode.c; the model is in packet_model.h. */
#include "archive/packet_decode.h"

#include <assert.h>
#include <stdlib.h>

#include "archive/dissect.h"
#include "archive/packet_rows.h"
#include "archive/packet_select.h"

static const struct {
	size_t room;
	uint8_t chunk;
	bool pieces;
	const char *name;
} streams[STREAM_COUNT] = {
#define F(id, chunk, effort, room, description) { room, CHUNK_##chunk, PACK_##effort == PACK_PIECES, #id },
	PACKET_STREAMS(F)
#undef F
};

static const char *const chunk_names[CHUNK_COUNT] = {
#define F(id, description) #id,
	PACKET_CHUNKS(F)
#undef F
};

const char *
packet_chunk_name(unsigned chunk)
{
	return chunk < CHUNK_COUNT ? chunk_names[chunk] : "unknown";
}

const char *
packet_stream_name(unsigned stream)
{
	return stream < STREAM_COUNT ? streams[stream].name : "unknown";
}

/* The most that one block can take: all streams at their largest, stored and unpacked, and the columns made from them. */
static const size_t arena_bytes = (size_t)BLOCK_RECORDS_MAX * (0
#define F(id, chunk, effort, room, description) + 2 * (room)
	PACKET_STREAMS(F)
#undef F
	+ 768) + BLOCK_BYTES_MAX;

enum err
packet_decoder_open(struct packet_decoder **out, const struct packet_view *view)
{
	struct packet_decoder *d = calloc(1, sizeof *d);
	if (!d)
		return fail(ERR_NOMEM, "out of memory");
	enum err e = unpacker_open(&d->unpacker);
	if (e == OK)
		e = arena_init(&d->arena, arena_bytes);
	if (e == OK && view)
		e = view->open(view->arg, &d->view_state);
	d->view = view;
	if (e != OK) {
		packet_decoder_close(&d);
		return e;
	}
	*out = d;
	return OK;
}

void
packet_decoder_close(struct packet_decoder **out)
{
	struct packet_decoder *d = *out;
	if (!d)
		return;
	if (d->view_state)
		d->view->close(d->view_state);
	unpacker_close(&d->unpacker);
	arena_fini(&d->arena);
	free(d);
	*out = NULL;
}

unsigned
packet_chunks_for(unsigned columns)
{
	unsigned need = 1u << CHUNK_DICTIONARY;
	if (columns & (BATCH_ORDER | BATCH_TIME | BATCH_TS | BATCH_SELECTED))
		need |= 1u << CHUNK_ORDER;
	if (columns & (BATCH_TIME | BATCH_TIME_ALONE | BATCH_TS | BATCH_SELECTED))
		need |= 1u << CHUNK_TIME;
	if (columns & BATCH_WIRE_LEN)
		need |= 1u << CHUNK_WIRE_LEN;
	if (columns & BATCH_DIR)
		need |= 1u << CHUNK_SHAPE;
	if (columns & BATCH_TCP_FLAGS)
		need |= 1u << CHUNK_TCP_FLAGS;
	if (columns & ROW_COLUMNS)
		need |= 1u << CHUNK_SHAPE | 1u << CHUNK_STRINGS | 1u << CHUNK_IP | 1u << CHUNK_TRANSPORT |
		        1u << CHUNK_WIRE_LEN | 1u << CHUNK_TCP_FLAGS;
	if (columns & (ROW_COLUMNS | BATCH_RAW))
		need |= 1u << CHUNK_RAW;
	if (columns & BATCH_BYTES)
		need |= 1u << CHUNK_CHECKSUM | 1u << CHUNK_BYTES;
	return need;
}

unsigned
packet_decoder_columns(const struct packet_decoder *d, unsigned columns)
{
	return d->view && columns & BATCH_CAP_LEN ? columns | (unsigned)BATCH_BYTES : columns;
}

void
packet_decoder_begin(struct packet_decoder *d, uint32_t records, uint32_t sampled, uint8_t sampler)
{
	assert(records > 0 && records <= BLOCK_RECORDS_MAX);
	memset(d->length, 0, sizeof d->length);
	memset(d->packed, 0, sizeof d->packed);
	for (unsigned i = 0; i < STREAM_COUNT; i++)
		d->stream[i] = d->nothing;
	arena_reset(&d->arena);
	d->have_cursors = false;
	d->records = records;
	d->chunks = d->columns = 0;
	d->batch = (struct batch){ .count = records, .sampled = sampled, .sampler = sampler, .decoder = d };
}

unsigned
packet_decoder_chunks(const struct packet_decoder *d)
{
	return d->chunks;
}

enum err
packet_decoder_room(struct packet_decoder *d, uint32_t n, uint8_t **out)
{
	uint8_t *p;
	TAKE_ROOM(d, p, n);
	*out = p;
	return OK;
}

enum err
packet_decoder_chunk(struct packet_decoder *d, enum packet_chunk chunk, const uint8_t *p, size_t n)
{
	struct reader r = reader_of(p, n);
	for (unsigned i = 0; i < STREAM_COUNT; i++) {
		if (streams[i].chunk != chunk)
			continue;
		struct packed *v = &d->packed[i];
		uint32_t room = (uint32_t)(streams[i].room * BLOCK_RECORDS_MAX);
		TRY(unpack_look(&r, v));
		if (v->raw_bytes > room)
			return fail(ERR_FORMAT, "column %s of %u bytes where at most %u can be", streams[i].name, v->raw_bytes, room);
		TAKE_ROOM(d, d->stream[i], v->raw_bytes + PACK_SLACK);
		if (!streams[i].pieces)
			TRY(unpack_range(d->unpacker, v, d->stream[i], 0, v->raw_bytes));
		d->length[i] = v->raw_bytes;
	}
	d->chunks |= 1u << chunk;
	return reader_done(&r) ? OK : fail(ERR_FORMAT, "bytes behind the last column stream");
}

enum err
packet_streams_need(struct packet_decoder *d, unsigned first_stream, unsigned planes, uint32_t first, uint32_t end)
{
	for (unsigned i = first_stream; i < first_stream + planes; i++) {
		assert(streams[i].pieces);
		enum err e = first < end ? unpack_range(d->unpacker, &d->packed[i], d->stream[i], first, end) : OK;
		if (e != OK)
			return fail_prefix(e, "column %s: ", chunk_names[streams[i].chunk]);
	}
	return OK;
}

/* --- dictionary --- */

static enum err
need_lengths(const struct packet_decoder *d, unsigned first, unsigned planes, uint32_t n)
{
	for (unsigned i = 0; i < planes; i++)
		if (d->length[first + i] != n)
			return fail(ERR_FORMAT, "column %s has %u values, expected %u",
			            packet_stream_name(first + i), d->length[first + i], n);
	return OK;
}

static enum err
decode_links(struct packet_decoder *d)
{
	uint32_t n = d->length[STREAM_LINK_META] / 5, at = 0;
	if (n == 0 || d->length[STREAM_LINK_META] % 5 || n > BLOCK_RECORDS_MAX)
		return fail(ERR_FORMAT, "link header table of odd length");
	TAKE_ROOM(d, d->links, n * sizeof *d->links);
	for (uint32_t i = 0; i < n; i++) {
		const uint8_t *meta = d->stream[STREAM_LINK_META] + 5 * i;
		const uint8_t *bytes = d->stream[STREAM_LINK_BYTES] + at;
		if (meta[4] > LINK_BYTES_MAX || meta[4] > d->length[STREAM_LINK_BYTES] - at)
			return fail(ERR_FORMAT, "link header longer than its table");
		at += meta[4];
		struct dissection x;
		dissect_link(load_le16(meta), bytes, meta[4], &x);
		d->links[i] = (struct link){
			.linktype = load_le16(meta),
			.iface = load_le16(meta + 2),
			.ethertype = x.mpls ? ETHER_MPLS : x.ethertype,
			.vlans = x.vlans,
			.mpls = x.mpls,
			.vlan = x.vlan,
			.macs = load_le16(meta) == LINK_ETHERNET && meta[4] >= 14,
			.len = meta[4],
			.bytes = bytes,
		};
	}
	if (at != d->length[STREAM_LINK_BYTES])
		return fail(ERR_FORMAT, "link header table with bytes left over");
	d->batch.links = d->links;
	d->batch.link_count = n;
	return OK;
}

static enum err
decode_addresses(struct packet_decoder *d)
{
	uint32_t n = d->length[STREAM_IP40], before = 0;
	TRY(need_lengths(d, STREAM_IP40, 4, n));
	TAKE_ROOM(d, d->ip4, (n + 1) * sizeof *d->ip4);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t step = (uint32_t)d->stream[STREAM_IP40][i] | (uint32_t)d->stream[STREAM_IP41][i] << 8 |
		                (uint32_t)d->stream[STREAM_IP42][i] << 16 | (uint32_t)d->stream[STREAM_IP43][i] << 24;
		if (i > 0 && (step == 0 || step > UINT32_MAX - before))
			return fail(ERR_FORMAT, "IPv4 addresses out of order");
		d->ip4[i] = before += step;
	}
	if (d->length[STREAM_IP6] % 16)
		return fail(ERR_FORMAT, "IPv6 address table of odd length");
	uint32_t n6 = d->length[STREAM_IP6] / 16;
	for (uint32_t i = 1; i < n6; i++)
		if (memcmp(d->stream[STREAM_IP6] + 16 * (i - 1), d->stream[STREAM_IP6] + 16 * i, 16) >= 0)
			return fail(ERR_FORMAT, "IPv6 addresses out of order");
	d->batch.ip4 = d->ip4;
	d->batch.ip4_count = n;
	d->batch.ip6 = (const uint8_t (*)[16])d->stream[STREAM_IP6];
	d->batch.ip6_count = n6;
	return OK;
}

/* Net, transport and flags that can go together, as dissect() gives them. */
static bool
kind_makes_sense(const struct flow *f)
{
	if (f->net > NET_IP6 || f->transport > TRANSPORT_ICMP6 || f->flags > (FLOW_FRAGMENT | FLOW_EXTENSIONS))
		return false;
	if (f->net == NET_RAW)
		return f->transport == TRANSPORT_NONE && f->flags == 0;
	if (f->net == NET_IP4 && (f->flags & FLOW_EXTENSIONS || f->transport == TRANSPORT_ICMP6))
		return false;
	if (f->net == NET_IP6 && f->transport == TRANSPORT_ICMP)
		return false;
	return !(f->flags & FLOW_FRAGMENT) || f->transport == TRANSPORT_NONE;
}

struct dictionary_at {
	uint32_t address, port;
};

static inline uint32_t
plane2(const struct packet_decoder *d, unsigned stream, uint32_t i)
{
	return d->stream[stream][i] | (uint32_t)d->stream[stream + 1][i] << 8;
}

static enum err
decode_flow(struct packet_decoder *d, uint32_t c, struct dictionary_at *at)
{
	struct flow f = { 0 };
	uint32_t kind = plane2(d, STREAM_KIND0, c), path = plane2(d, STREAM_PATH0, c);
	if (kind >= d->length[STREAM_KINDS] / 5 || path >= d->length[STREAM_PATHS] / 4)
		return fail(ERR_FORMAT, "conversation %u of an unknown kind or path", c);
	const uint8_t *k = d->stream[STREAM_KINDS] + 5 * kind, *l = d->stream[STREAM_PATHS] + 4 * path;
	f.net = k[0];
	f.transport = k[1];
	f.proto = k[2];
	f.first_proto = k[3];
	f.flags = k[4];
	if (!kind_makes_sense(&f))
		return fail(ERR_FORMAT, "conversation %u of an impossible kind", c);
	uint32_t back_link = load_le16(l + 2);
	f.link = load_le16(l);
	if (f.link >= d->batch.link_count || back_link >= d->batch.link_count)
		return fail(ERR_FORMAT, "conversation %u with an unknown link header", c);
	if (f.net != NET_RAW) {
		uint32_t i = at->address++, room = f.net == NET_IP4 ? d->batch.ip4_count : d->batch.ip6_count;
		if (i >= d->length[STREAM_SRC0])
			return fail(ERR_FORMAT, "conversation %u without addresses", c);
		f.src = plane2(d, STREAM_SRC0, i) | (uint32_t)d->stream[STREAM_SRC2][i] << 16;
		f.dst = plane2(d, STREAM_DST0, i) | (uint32_t)d->stream[STREAM_DST2][i] << 16;
		if (f.src >= room || f.dst >= room)
			return fail(ERR_FORMAT, "conversation %u with an unknown address", c);
	}
	if (f.transport != TRANSPORT_NONE) {
		uint32_t i = at->port++;
		if (i >= d->length[STREAM_SPORT0])
			return fail(ERR_FORMAT, "conversation %u without ports", c);
		f.sport = (uint16_t)plane2(d, STREAM_SPORT0, i);
		f.dport = (uint16_t)plane2(d, STREAM_DPORT0, i);
	}
	struct flow back = f;
	back.link = back_link;
	back.src = f.dst;
	back.dst = f.src;
	if (f.transport == TRANSPORT_ICMP || f.transport == TRANSPORT_ICMP6) {
		if (f.sport > 255 || f.dport > 255)
			return fail(ERR_FORMAT, "conversation %u with an impossible ICMP type", c);
		back.sport = icmp_answer(f.transport, (uint8_t)f.sport);
	} else {
		back.sport = f.dport;
		back.dport = f.sport;
	}
	d->flows[2 * c] = f;
	d->flows[2 * c + 1] = back;
	return OK;
}

/* The sums of what a checksum covers of addresses and ports, as if added in memory. */
static struct view_change
sums_of(const struct packet_decoder *d, const struct flow *f)
{
	struct view_change s = { 0 };
	if (f->net == NET_IP4)
		s.addresses = __builtin_bswap16((uint16_t)fold16((uint64_t)d->ip4[f->src] + d->ip4[f->dst]));
	else if (f->net == NET_IP6)
		s.addresses = (uint16_t)fold16(sum_words(d->batch.ip6[f->src], 16) + sum_words(d->batch.ip6[f->dst], 16));
	if (f->transport != TRANSPORT_ICMP && f->transport != TRANSPORT_ICMP6)
		s.ports = __builtin_bswap16((uint16_t)fold16((uint64_t)f->sport + f->dport));
	return s;
}

static enum err
view_dictionary(struct packet_decoder *d, uint32_t conversations)
{
	struct packet_dictionary x = {
		.links = d->links,
		.link_bytes = d->stream[STREAM_LINK_BYTES],
		.ip4 = d->ip4,
		.flows = d->flows,
		.link_count = d->batch.link_count,
		.ip4_count = d->batch.ip4_count,
		.ip6_count = d->batch.ip6_count,
		.conversations = conversations,
	};
	TAKE_ROOM(d, d->behind, conversations * sizeof *d->behind);
	TAKE_ROOM(d, d->changes, 2 * conversations * sizeof *d->changes);
	memset(d->behind, 0, conversations * sizeof *d->behind);
	for (uint32_t i = 0; i < 2 * conversations; i++)
		d->changes[i] = sums_of(d, &d->flows[i]);
	x.ip6 = (uint8_t (*)[16])d->stream[STREAM_IP6];
	x.behind = d->behind;
	TRY(d->view->dictionary(d->view_state, &x));
	for (uint32_t i = 0; i < 2 * conversations; i++) {
		struct view_change now = sums_of(d, &d->flows[i]);
		d->changes[i].addresses = sum_less(d->changes[i].addresses, now.addresses);
		d->changes[i].ports = sum_less(d->changes[i].ports, now.ports);
	}
	return OK;
}

static enum err
decode_dictionary(struct packet_decoder *d)
{
	uint32_t n = d->length[STREAM_ROWS0], row = 0;
	TRY(decode_links(d));
	TRY(decode_addresses(d));
	TRY(need_lengths(d, STREAM_ROWS0, 2, n));
	TRY(need_lengths(d, STREAM_KIND0, 2, n));
	TRY(need_lengths(d, STREAM_PATH0, 2, n));
	TRY(need_lengths(d, STREAM_SRC0, 3, d->length[STREAM_SRC0]));
	TRY(need_lengths(d, STREAM_DST0, 3, d->length[STREAM_SRC0]));
	TRY(need_lengths(d, STREAM_SPORT0, 2, d->length[STREAM_SPORT0]));
	TRY(need_lengths(d, STREAM_DPORT0, 2, d->length[STREAM_SPORT0]));
	if (n == 0)
		return fail(ERR_FORMAT, "no conversations");
	TAKE_ROOM(d, d->flows, 2 * n * sizeof *d->flows);
	TAKE_ROOM(d, d->start, (n + 1) * sizeof *d->start);
	TAKE_ROOM(d, d->extra, n * sizeof *d->extra);
	struct dictionary_at at = { 0 };
	struct reader extra = reader_of(d->stream[STREAM_EXTRA], d->length[STREAM_EXTRA]);
	uint64_t behind[2] = { 0 }; /* in BYTES, in RAW_BYTES */
	uint32_t raw_rows = 0;
	for (uint32_t c = 0; c < n; c++) {
		TRY(decode_flow(d, c, &at));
		d->start[c] = row;
		uint32_t rows = plane2(d, STREAM_ROWS0, c) + 1;
		if (rows > d->records - row)
			return fail(ERR_FORMAT, "more rows than records");
		row += rows;
		bool raw = d->flows[2 * c].net == NET_RAW;
		uint64_t bytes = get_varint(&extra);
		if (bytes > BLOCK_BYTES_MAX - behind[raw])
			return fail(ERR_FORMAT, "more bytes than a block can hold");
		d->extra[c] = (struct extra){ (uint32_t)behind[raw], (uint32_t)bytes, raw_rows };
		behind[raw] += bytes;
		raw_rows += raw ? rows : 0;
	}
	d->start[n] = row;
	d->bytes_expected = (uint32_t)behind[0];
	d->raw_expected = (uint32_t)behind[1];
	d->raw_rows = raw_rows;
	if (row != d->records || at.address != d->length[STREAM_SRC0] || at.port != d->length[STREAM_SPORT0] ||
	    !reader_done(&extra))
		return fail(ERR_FORMAT, "dictionary with values left over");
	d->batch.flows = d->flows;
	d->batch.start = d->start;
	if (d->view)
		TRY(view_dictionary(d, n));
	d->batch.conversations = n;
	return OK;
}

/* --- order and time --- */

/* How often each step occurs; ERR_FORMAT for one that does not exist. */
static enum err
count_steps(const uint8_t *step, uint32_t n, uint32_t count[STEP_COUNT])
{
	uint32_t fresh = 0, back = 0, beyond = 0;
	for (uint32_t i = 0; i < n; i++) {
		fresh += step[i] == STEP_NEW;
		back += step[i] == STEP_BACK;
		beyond += step[i] >= STEP_COUNT;
	}
	count[STEP_NEW] = fresh;
	count[STEP_BACK] = back;
	return beyond ? fail(ERR_FORMAT, "an order step that does not exist") : OK;
}

enum err
packet_order_check(const struct packet_decoder *d)
{
	uint32_t count[STEP_COUNT] = { 0 };
	TRY(need_lengths(d, STREAM_STEP, 1, d->records));
	TRY(count_steps(d->stream[STREAM_STEP], d->records, count));
	TRY(need_lengths(d, STREAM_BACK0, 2, count[STEP_BACK]));
	if (count[STEP_NEW] != d->batch.conversations)
		return fail(ERR_FORMAT, "an order of %u conversations, not %u", count[STEP_NEW], d->batch.conversations);
	return OK;
}

enum err
packet_marks_check(const struct packet_decoder *d, unsigned stream, uint32_t bytes)
{
	uint32_t marks = (d->records - 1) / PACK_PIECE_BYTES;
	return need_lengths(d, stream, 1, marks * bytes);
}

static enum err
decode_order(struct packet_decoder *d)
{
	uint32_t n = d->records, conversations = d->batch.conversations, opened = 0, last = 0, before_last = 0, back = 0;
	const uint8_t *step = d->stream[STREAM_STEP];
	TRY(packet_order_check(d));
	TAKE_ROOM(d, d->row_of, n * sizeof *d->row_of);
	TAKE_ROOM(d, d->next_row, conversations * sizeof *d->next_row);
	TAKE_ROOM(d, d->follower, conversations * sizeof *d->follower);
	uint32_t *next_row = d->next_row, *row_of = d->row_of;
	uint16_t *follower = d->follower;
	const uint8_t *back0 = d->stream[STREAM_BACK0], *back1 = d->stream[STREAM_BACK1];
	memcpy(next_row, d->start, conversations * sizeof *next_row);
	memset(follower, 0xff, conversations * sizeof *follower);
	for (uint32_t i = 0; i < n; i++) {
		/* Which way it goes can not be foreseen: choose without branches. One byte behind the last BACK is read, not
		 * used (streams have that room). */
		uint32_t how = step[i], far = opened - 1 - (back0[back] | (uint32_t)back1[back] << 8), now = last;
		now = how == STEP_FOLLOWER ? follower[last] : now;
		now = how == STEP_RETURN ? before_last : now;
		now = how == STEP_NEW ? opened : now;
		now = how == STEP_BACK ? far : now;
		opened += how == STEP_NEW;
		back += how == STEP_BACK;
		if (now >= opened)
			return fail(ERR_FORMAT, "record %u of an unknown conversation", i);
		row_of[i] = next_row[now]++;
		follower[last] = (uint16_t)now;
		before_last = last;
		last = now;
	}
	/* Rows are as many as records: when no conversation has too few, none has too many. */
	for (uint32_t c = 0; c < conversations; c++)
		if (next_row[c] != d->start[c + 1])
			return fail(ERR_FORMAT, "conversation %u with another number of records than rows", c);
	d->batch.row_of = row_of;
	return OK;
}

static enum err
decode_times(struct packet_decoder *d)
{
	uint32_t n = d->records;
	struct reader head = reader_of(d->stream[STREAM_TIME_HEAD], d->length[STREAM_TIME_HEAD]);
	struct reader jumps = reader_of(d->stream[STREAM_TIME_JUMP], d->length[STREAM_TIME_JUMP]);
	bool is_signed = reader_u8(&head) & 1;
	uint64_t unit = reader_le32(&head), now = reader_le64(&head);
	if (!reader_done(&head) || d->length[STREAM_TIME_JUMP] % 12)
		return fail(ERR_FORMAT, "time header of odd length");
	TRY(need_lengths(d, STREAM_TIME0, 4, n));
	TRY(packet_marks_check(d, STREAM_TIME_AT, 8));
	TRY(packet_streams_need(d, STREAM_TIME0, 4, 0, n));
	TAKE_ROOM(d, d->times, n * sizeof *d->times);
	const uint8_t *p0 = d->stream[STREAM_TIME0], *p1 = d->stream[STREAM_TIME1], *p2 = d->stream[STREAM_TIME2],
	              *p3 = d->stream[STREAM_TIME3];
	uint32_t jump = reader_left(&jumps) ? reader_le32(&jumps) : UINT32_MAX;
	for (uint32_t i = 0; i < n; i++) {
		if (i % PACK_PIECE_BYTES == 0 && i > 0 && load_le64(packet_mark(d, STREAM_TIME_AT, 8, i)) != now)
			return fail(ERR_FORMAT, "record %u has another time than TIME_AT says", i - 1);
		uint64_t v = (uint32_t)p0[i] | (uint32_t)p1[i] << 8 | (uint32_t)p2[i] << 16 | (uint32_t)p3[i] << 24;
		uint64_t step = is_signed ? v >> 1 ^ (0 - (v & 1)) : v;
		now += step * unit;
		if (i == jump) {
			now = reader_le64(&jumps);
			jump = reader_left(&jumps) ? reader_le32(&jumps) : UINT32_MAX;
		}
		d->times[i] = now;
	}
	if (!reader_done(&jumps))
		return fail(ERR_FORMAT, "time jumps out of order");
	d->batch.time = d->batch.captured = d->times;
	if (!d->view)
		return OK;
	uint64_t *shown;
	TAKE_ROOM(d, shown, n * sizeof *shown);
	for (uint32_t i = 0; i < n; i++)
		shown[i] = time_map(&d->view->time, d->times[i]);
	d->batch.time = shown;
	return OK;
}

static enum err
decode_times_by_row(struct packet_decoder *d)
{
	TAKE_ROOM(d, d->ts, d->records * sizeof *d->ts);
	for (uint32_t i = 0; i < d->records; i++)
		d->ts[d->row_of[i]] = d->batch.time[i];
	d->batch.ts = d->ts;
	return OK;
}

/* --- simple columns --- */

static enum err
decode_wire_len(struct packet_decoder *d)
{
	TRY(need_lengths(d, STREAM_WIRE0, 4, d->records));
	TRY(packet_streams_need(d, STREAM_WIRE0, 4, 0, d->records));
	TAKE_ROOM(d, d->wire_len, d->records * sizeof *d->wire_len);
	const uint8_t *p0 = d->stream[STREAM_WIRE0], *p1 = d->stream[STREAM_WIRE1], *p2 = d->stream[STREAM_WIRE2],
	              *p3 = d->stream[STREAM_WIRE3];
	for (uint32_t i = 0; i < d->records; i++)
		d->wire_len[i] = (uint32_t)p0[i] | (uint32_t)p1[i] << 8 | (uint32_t)p2[i] << 16 | (uint32_t)p3[i] << 24;
	d->batch.wire_len = d->wire_len;
	return OK;
}

static bool
shape_makes_sense(uint32_t word)
{
	return word >> SHAPE_BITS == 0 && SHAPE_GET(word, CAP) <= CAP_STORED && SHAPE_GET(word, SUM) <= SUM_ZERO &&
	       SHAPE_GET(word, TSVAL) <= TSVAL_STORED && SHAPE_GET(word, TSECR) <= TSECR_STORED &&
	       SHAPE_GET(word, SACKS) <= 4;
}

static enum err
decode_shapes(struct packet_decoder *d)
{
	uint32_t shapes = d->length[STREAM_SHAPES] / 4, wide = d->length[STREAM_SHAPE_WIDE0], at = 0;
	if (d->length[STREAM_SHAPES] % 4 || shapes > BLOCK_RECORDS_MAX)
		return fail(ERR_FORMAT, "shape table of odd length");
	TRY(need_lengths(d, STREAM_SHAPE, 1, d->records));
	TRY(need_lengths(d, STREAM_SHAPE_WIDE0, 2, wide));
	TRY(packet_marks_check(d, STREAM_SHAPE_WIDE_AT, 4));
	TRY(packet_streams_need(d, STREAM_SHAPE, 1, 0, d->records));
	TAKE_ROOM(d, d->shape_words, shapes * sizeof *d->shape_words);
	TAKE_ROOM(d, d->shape, d->records * sizeof *d->shape);
	TAKE_ROOM(d, d->dir, d->records);
	for (uint32_t i = 0; i < shapes; i++) {
		d->shape_words[i] = load_le32(d->stream[STREAM_SHAPES] + 4 * i);
		if (!shape_makes_sense(d->shape_words[i]))
			return fail(ERR_FORMAT, "impossible shape");
	}
	for (uint32_t i = 0; i < d->records; i++) {
		if (i % PACK_PIECE_BYTES == 0 && i > 0 && load_le32(packet_mark(d, STREAM_SHAPE_WIDE_AT, 4, i)) != at)
			return fail(ERR_FORMAT, "shape numbers are not where SHAPE_WIDE_AT says");
		uint32_t number = d->stream[STREAM_SHAPE][i];
		if (number == 255) {
			if (at == wide)
				return fail(ERR_FORMAT, "shape numbers end early");
			number += plane2(d, STREAM_SHAPE_WIDE0, at++);
		}
		if (number >= shapes)
			return fail(ERR_FORMAT, "unknown shape");
		d->shape[i] = (uint16_t)number;
		d->dir[i] = SHAPE_GET(d->shape_words[number], DIR);
	}
	if (at != wide)
		return fail(ERR_FORMAT, "shape numbers left over");
	d->batch.dir = d->dir;
	return OK;
}

static enum err
decode_tcp_flags(struct packet_decoder *d)
{
	uint32_t at = 0;
	TRY(packet_streams_need(d, STREAM_TCP_FLAGS, 1, 0, d->length[STREAM_TCP_FLAGS]));
	TAKE_ROOM(d, d->tcp_flags, d->records);
	for (uint32_t c = 0; c < d->batch.conversations; c++) {
		uint32_t row = d->start[c], rows = d->start[c + 1] - row;
		if (d->flows[2 * c].transport != TRANSPORT_TCP) {
			memset(d->tcp_flags + row, 0, rows);
			continue;
		}
		if (rows > d->length[STREAM_TCP_FLAGS] - at)
			return fail(ERR_FORMAT, "TCP flags end early");
		memcpy(d->tcp_flags + row, d->stream[STREAM_TCP_FLAGS] + at, rows);
		at += rows;
	}
	if (at != d->length[STREAM_TCP_FLAGS])
		return fail(ERR_FORMAT, "TCP flags left over");
	d->batch.tcp_flags = d->tcp_flags;
	return OK;
}

enum err
packet_decode(struct packet_decoder *d, unsigned columns, const struct batch **out)
{
	static const struct {
		unsigned columns; /* any of these */
		enum err (*decode)(struct packet_decoder *d);
	} steps[] = {
		{ BATCH_ORDER | BATCH_TIME | BATCH_TS, decode_order },
		{ BATCH_TIME | BATCH_TIME_ALONE | BATCH_TS, decode_times },
		{ BATCH_TS, decode_times_by_row },
		{ BATCH_WIRE_LEN | ROW_COLUMNS, decode_wire_len },
		{ BATCH_DIR | ROW_COLUMNS, decode_shapes },
		{ BATCH_TCP_FLAGS | ROW_COLUMNS, decode_tcp_flags },
	};
	if (d->batch.conversations == 0)
		TRY(decode_dictionary(d));
	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
		if (columns & steps[i].columns && !(d->columns & steps[i].columns))
			TRY(steps[i].decode(d));
	unsigned rows = columns & ~d->columns & (ROW_COLUMNS | BATCH_RAW);
	if (rows)
		TRY(packet_rows_begin(d, rows));
	d->columns |= columns;
	*out = &d->batch;
	return OK;
}

enum err
packet_decode_selected(struct packet_decoder *d, unsigned columns, const struct selection *sel, const struct batch **out)
{
	/* Fields and frames are decoded from these whole columns. */
	unsigned part = (columns | d->columns) & ROW_COLUMNS ? 0 : columns & PART_COLUMNS & ~d->columns;
	unsigned fields = columns & FIELD_COLUMNS & ~d->columns;
	if (d->view && columns & BATCH_CAP_LEN)
		fields = 0; /* all rows */
	unsigned whole = fields ? PART_COLUMNS : 0;
	TRY(packet_decode(d, whole | (columns & ~(part | fields | (unsigned)BATCH_SELECTED)), out));
	TRY(packet_select_columns(d, part, sel));
	if (fields)
		TRY(packet_rows_select(d, sel));
	return columns & BATCH_SELECTED ? packet_select_records(d, sel) : OK;
}
