/* Frames to streams; see packet_model.h for the model. Three passes: over the records in capture order (dissect, find the
 * conversation, order and time), over the records of each conversation (predict, keep what missed), over the streams
 * (pack). Nothing is allocated per block. */
#include "archive/packet_encode.h"

#include <stdlib.h>

#include "archive/radix.h"

static const size_t stream_room[STREAM_COUNT] = {
#define F(id, chunk, effort, room, description) room,
	PACKET_STREAMS(F)
#undef F
};

enum err
packet_encoder_init(struct packet_encoder *e)
{
	*e = (struct packet_encoder){ 0 };
	enum err error = conversations_init(&e->conversations);
	if (error == OK)
		error = strings_init(&e->strings, STRINGS_MAX, BLOCK_BYTES_MAX);
	if (error == OK)
		error = intern_init(&e->shapes, BLOCK_RECORDS_MAX);
	if (error == OK)
		error = intern_init(&e->kinds, BLOCK_RECORDS_MAX);
	if (error == OK)
		error = intern_init(&e->paths, BLOCK_RECORDS_MAX);
	if (error == OK)
		error = terms_init(&e->terms);
	const size_t n = BLOCK_RECORDS_MAX;
	e->places = malloc(n * sizeof *e->places);
	e->rows = malloc((n + PREFETCH_ROWS) * sizeof *e->rows);
	e->conversation = malloc(n * sizeof *e->conversation);
	e->shape = malloc(n * sizeof *e->shape);
	e->shape_word = malloc(n * sizeof *e->shape_word);
	e->shape_count = malloc(n * sizeof *e->shape_count);
	e->sort = malloc(2 * n * sizeof *e->sort);
	e->sort_spare = malloc(2 * n * sizeof *e->sort_spare);
	e->ip6 = malloc(2 * n * sizeof *e->ip6);
	e->values = malloc(n * sizeof *e->values);
	e->tuples = malloc(n * sizeof *e->tuples);
	e->address_index = malloc(2 * n * sizeof *e->address_index);
	bool ok = error == OK && e->places && e->rows && e->conversation && e->shape && e->shape_word && e->shape_count && e->sort &&
	          e->sort_spare && e->ip6 && e->tuples && e->values && e->address_index;
	for (unsigned i = 0; i < STREAM_COUNT && ok; i++) {
		e->start[i] = malloc(stream_room[i] * n + PACK_SLACK);
		ok = e->start[i] != NULL;
	}
	if (!ok) {
		packet_encoder_fini(e);
		return fail(ERR_NOMEM, "out of memory");
	}
	return OK;
}

void
packet_encoder_fini(struct packet_encoder *e)
{
	conversations_fini(&e->conversations);
	strings_fini(&e->strings);
	intern_fini(&e->shapes);
	intern_fini(&e->kinds);
	intern_fini(&e->paths);
	terms_fini(&e->terms);
	free(e->places);
	free(e->rows);
	free(e->conversation);
	free(e->shape);
	free(e->sort);
	free(e->sort_spare);
	free(e->ip6);
	free(e->shape_word);
	free(e->shape_count);
	free(e->values);
	free(e->tuples);
	free(e->address_index);
	for (unsigned i = 0; i < STREAM_COUNT; i++)
		free(e->start[i]);
	*e = (struct packet_encoder){ 0 };
}

/* n values to four planes. */
static void
put_planes(struct packet_encoder *e, enum packet_stream first, const uint32_t *v, uint32_t n)
{
	for (unsigned plane = 0; plane < 4; plane++) {
		uint8_t *out = e->at[first + plane];
		for (uint32_t i = 0; i < n; i++)
			out[i] = (uint8_t)(v[i] >> 8 * plane);
		e->at[first + plane] += n;
	}
}

/* --- pass 1: capture order --- */

/* Where the steps go, held in registers: any byte that is stored might change the encoder, as far as the compiler knows. */
struct steps {
	struct conversation *v;
	uint8_t *step, *back0, *back1;
	uint32_t last, before_last;
};

/* Which way it goes can not be foreseen: chosen without branches, as in the decoder. */
static inline void
encode_step(struct steps *s, uint32_t number, uint32_t fallen_behind, bool fresh)
{
	uint32_t step = STEP_BACK;
	step = number == s->before_last ? (uint32_t)STEP_RETURN : step;
	step = number == s->v[s->last].follower ? (uint32_t)STEP_FOLLOWER : step;
	step = number == s->last ? (uint32_t)STEP_AGAIN : step;
	step = fresh ? (uint32_t)STEP_NEW : step;
	*s->step++ = (uint8_t)step;
	*s->back0 = (uint8_t)fallen_behind;
	*s->back1 = (uint8_t)(fallen_behind >> 8);
	s->back0 += step == STEP_BACK;
	s->back1 += step == STEP_BACK;
	s->v[s->last].follower = number;
	s->before_last = s->last;
	s->last = number;
}

#define GROUP 64u /* records that go through the steps of a look-up together */
#define AHEAD_BYTES 1536u

/* One record on its way through the steps. */
struct sighting {
	struct conversation_key key;
	struct place place;
	uint32_t link_bytes;
};

/* Any frame: dissected, and noted for the index when it is not understood. */
static __attribute__((noinline)) void
sight_any(struct packet_encoder *e, const struct frame *f, const uint8_t *p, bool headers_only, struct sighting *s)
{
	struct dissection d;
	dissect(f->linktype, p, f->cap_len, &d);
	conversations_key(&e->conversations, &s->key, f, p, &d);
	uint32_t cap = headers_only ? dissect_headers_end(&d, p, f->cap_len) : f->cap_len;
	s->place = (struct place){ f->at, f->wire_len, cap, 0, (uint16_t)d.transport_at, (uint16_t)d.end };
	s->link_bytes = d.link_bytes;
	if (d.net == NET_RAW)
		terms_raw(&e->terms, p, cap, &d, f->linktype);
}

/* The same at once for the usual frame. */
static inline void
sight(struct packet_encoder *e, const struct frame *f, const uint8_t *p, bool headers_only, struct sighting *s)
{
	uint32_t end = dissect_usual(f->linktype, p, f->cap_len);
	if (end == 0) {
		sight_any(e, f, p, headers_only, s);
		return;
	}
	conversations_key_usual(&e->conversations, &s->key, f, p);
	s->place = (struct place){ f->at, f->wire_len, headers_only ? end : f->cap_len, 0, DISSECT_USUAL_TRANSPORT_AT,
		                   (uint16_t)end };
	s->link_bytes = DISSECT_USUAL_LINK_BYTES;
}

static void
encode_group(struct packet_encoder *e, const struct frames *in, uint32_t first, uint32_t n, bool headers_only)
{
	struct sighting sightings[GROUP];
	const struct frame *f = in->v + first;
	uint64_t before = first ? f[-1].ts_ns : 0, below_us = 0;
	uint32_t back = 0;
	for (uint32_t i = 0; i < n; i++) {
		/* The processor alone fetches too late. */
		__builtin_prefetch((const void *)((uintptr_t)in->bytes + f[i].at + AHEAD_BYTES));
		sight(e, &f[i], in->bytes + f[i].at, headers_only, &sightings[i]);
		below_us |= f[i].ts_ns % 1000;
		back += f[i].ts_ns < before;
		before = f[i].ts_ns;
	}
	e->below_us |= below_us;
	e->times_back += back;
	for (uint32_t i = 0; i < n; i++)
		conversations_prefetch(&e->conversations, &sightings[i].key);
	struct steps steps = { e->conversations.v, e->at[STREAM_STEP], e->at[STREAM_BACK0], e->at[STREAM_BACK1], e->last,
		               e->before_last };
	uint64_t captured = 0, wire = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct sighting *s = &sightings[i];
		uint32_t count_before = e->conversations.count;
		uint32_t flow = conversations_find(&e->conversations, &s->key, in->bytes + s->place.at, s->link_bytes);
		s->place.dir = flow & 1;
		e->conversation[first + i] = flow / 2;
		e->places[first + i] = s->place;
		steps.v[flow / 2].rows++;
		captured += s->place.cap_len;
		wire += s->place.wire_len;
		encode_step(&steps, flow / 2, e->conversations.count - 1 - flow / 2, flow / 2 == count_before);
	}
	e->at[STREAM_STEP] = steps.step;
	e->at[STREAM_BACK0] = steps.back0;
	e->at[STREAM_BACK1] = steps.back1;
	e->last = steps.last;
	e->before_last = steps.before_last;
	e->captured_bytes += captured;
	e->wire_bytes += wire;
}

static void
encode_in_capture_order(struct packet_encoder *e, const struct frames *in, bool headers_only)
{
	e->last = e->before_last = 0;
	for (uint32_t i = 0; i < in->count; i += GROUP)
		encode_group(e, in, i, in->count - i < GROUP ? in->count - i : GROUP, headers_only);
}

/* --- times --- */

static void
encode_times(struct packet_encoder *e, const struct frames *in)
{
	uint32_t unit = e->below_us ? 1 : 1000;
	bool is_signed = e->times_back > in->count / 16; /* not mostly ascending */
	uint64_t before = in->v[0].ts_ns;
	put_le(e, STREAM_TIME_HEAD, is_signed, 1);
	put_le(e, STREAM_TIME_HEAD, unit, 4);
	put_le(e, STREAM_TIME_HEAD, before, 8);
	uint64_t first = before, last = before;
	for (uint32_t i = 0; i < in->count; i++) {
		if (i % PACK_PIECE_BYTES == 0 && i > 0)
			put_le(e, STREAM_TIME_AT, before, 8);
		uint64_t now = in->v[i].ts_ns;
		int64_t step = (int64_t)(now - before);
		/* The common units divide without a division instruction. */
		step = unit == 1000 ? step / 1000 : unit == 1 ? step : step / (int64_t)unit;
		uint64_t v = is_signed ? (uint64_t)step << 1 ^ (uint64_t)(step >> 63) : (uint64_t)step;
		/* What is no multiple of the unit wrapped: it spans more than half of all times. */
		if (__builtin_expect(v > UINT32_MAX || (uint64_t)step * unit != now - before, 0)) {
			put_le(e, STREAM_TIME_JUMP, i, 4);
			put_le(e, STREAM_TIME_JUMP, now, 8);
			v = 0;
		}
		e->values[i] = (uint32_t)v;
		before = now;
		first = now < first ? now : first;
		last = now > last ? now : last;
	}
	put_planes(e, STREAM_TIME0, e->values, in->count);
	e->first_ns = first;
	e->last_ns = last;
}

/* --- pass 2: conversation order --- */

/* What the encoder of one record hands from layer to layer. */
struct row {
	const uint8_t *p;        /* the frame */
	uint32_t wire_len, cap_len;
	uint32_t ip_at, transport_at, end;
	uint32_t payload_bytes;  /* of IP: transport header and data, as the IP length says */
	uint64_t pseudo;         /* sum of the pseudo header's addresses */
	uint32_t shape;
};

/* All of these are one function for each kind of conversation (see encode_conversation). */
#define INLINE static inline __attribute__((always_inline))

INLINE void
encode_ip_string(struct packet_encoder *e, struct row *r, struct side *s, const uint8_t *p, uint32_t n)
{
	if ((n | s->ip_string) == 0)
		return;
	uint32_t number = n == 0 ? 0 : strings_add(&e->strings, 0, p, n);
	if (number != s->ip_string) {
		r->shape |= SHAPE_SET(IP_STRING, 1);
		PUT3(e, IP_STRING, number);
		s->ip_string = number;
	}
}

INLINE void
encode_ip_common(struct packet_encoder *e, struct row *r, struct side *s, uint8_t tos, uint8_t ttl, uint32_t ip_len,
                 uint32_t stored_len)
{
	if ((tos ^ s->tos) | (ttl ^ s->ttl)) {
		r->shape |= SHAPE_SET(TOS, tos != s->tos) | SHAPE_SET(TTL, ttl != s->ttl);
		if (tos != s->tos)
			PUT1(e, TOS, tos);
		if (ttl != s->ttl)
			PUT1(e, TTL, ttl);
		s->tos = tos;
		s->ttl = ttl;
	}
	if (ip_len != ip_len_expected(r->wire_len, r->ip_at, r->end)) {
		r->shape |= SHAPE_SET(IP_LEN, 1);
		PUT2(e, IP_LEN, stored_len);
	}
	uint32_t header = r->transport_at - r->ip_at;
	r->payload_bytes = ip_len > header ? ip_len - header : 0;
}

INLINE void
encode_ip4(struct packet_encoder *e, struct row *r, struct side *s)
{
	const uint8_t *ip = r->p + r->ip_at;
	uint32_t header = r->transport_at - r->ip_at;
	uint16_t id = load_be16(ip + 4), frag = load_be16(ip + 6);
	uint16_t step = id - s->ip_id;
	unsigned how = choose(step == s->ip_id_step, IP_ID_STEP, IP_ID_STORED);
	how = choose(step == 0, IP_ID_SAME, how);
	how = choose(step == 1, IP_ID_NEXT, how);
	r->shape |= SHAPE_SET(IP_ID, how);
	PUT2_IF(e, IP_ID, step, how == IP_ID_STORED);
	s->ip_id = id;
	s->ip_id_step = step;
	if (frag != s->frag) {
		r->shape |= SHAPE_SET(FRAG, 1);
		PUT2(e, FRAG, frag);
		s->frag = frag;
	}
	r->pseudo = (uint64_t)load_le32(ip + 12) + load_le32(ip + 16);
	uint16_t sum = load_le16(ip + 10);
	uint64_t words = r->pseudo + load_le32(ip) + load_le32(ip + 4) + load_le16(ip + 8);
	if (header > 20)
		words += sum_words(ip + 20, header - 20);
	if (sum != checksum_of(words)) {
		r->shape |= SHAPE_SET(IP_SUM, 1);
		PUT2(e, IP_SUM, sum);
	}
	uint32_t ip_len = load_be16(ip + 2);
	encode_ip_common(e, r, s, ip[1], ip[8], ip_len, ip_len);
	encode_ip_string(e, r, s, ip + 20, header - 20);
}

INLINE void
encode_ip6(struct packet_encoder *e, struct row *r, struct side *s)
{
	const uint8_t *ip = r->p + r->ip_at;
	uint32_t word = load_be32(ip), label = word & 0xfffff;
	if (label != s->label) {
		r->shape |= SHAPE_SET(FRAG, 1);
		PUT3(e, LABEL, label);
		s->label = label;
	}
	uint32_t payload = load_be16(ip + 4);
	encode_ip_common(e, r, s, (uint8_t)(word >> 20), ip[7], payload + 40, payload);
	encode_ip_string(e, r, s, ip + 40, r->transport_at - r->ip_at - 40);
	r->pseudo = sum_words(ip + 8, 32);
}

/* The sum of a transport header; header is a multiple of 4. */
INLINE uint64_t
header_sum(const uint8_t *l4, uint32_t fixed, uint32_t header)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i < fixed; i += 4)
		sum += load_le32(l4 + i);
	for (uint32_t i = fixed; i < header; i += 4)
		sum += load_le32(l4 + i);
	return sum;
}

/* The checksum at sum_at of a transport header, which and the pseudo header sum up to `headers` (the field included);
 * length: what it covers, pseudo header included if any. What holds can not be foreseen: chosen without branches. */
INLINE void
encode_sum(struct packet_encoder *e, struct row *r, struct side *s, uint32_t sum_at, uint32_t header, uint32_t length,
           uint64_t headers, uint64_t pseudo, bool zero_is_none)
{
	const uint8_t *l4 = r->p + r->transport_at;
	uint16_t field = load_le16(l4 + sum_at);
	uint32_t folded = fold16(headers - field), all = folded;
	bool whole = (length >= header) & (r->cap_len - r->transport_at >= length);
	uint32_t data = choose(whole, length - header, 0);
	if (__builtin_expect(data != 0, 0))
		all = fold16(folded + sum_words(l4 + header, data));
	uint16_t right = (uint16_t)~all;
	if (zero_is_none)
		right = right == 0 ? 0xffff : right;
	unsigned how = field == fold16(pseudo) ? (unsigned)SUM_PSEUDO : (unsigned)SUM_STORED;
	how = field == (uint16_t)~fold16_of_two(folded + s->payload_sum) ? (unsigned)SUM_LAST : how;
	how = field == 0 ? (unsigned)SUM_ZERO : how;
	how = (whole & (field == right)) ? (unsigned)SUM_RIGHT : how;
	store_le16(e->at[STREAM_SUM], field);
	e->at[STREAM_SUM] += how == SUM_STORED ? 2 : 0;
	s->payload_sum = payload_sum_of(field, folded);
	r->shape |= SHAPE_SET(SUM, how);
}

INLINE uint64_t
pseudo_sum(const struct row *r, uint32_t length, uint8_t proto)
{
	return r->pseudo + __builtin_bswap16((uint16_t)length) + (length >> 16) + ((uint32_t)proto << 8);
}

INLINE void
encode_timestamps(struct packet_encoder *e, struct row *r, struct side *s, const struct side *o, uint32_t val, uint32_t ecr)
{
	uint32_t step = val - s->tsval;
	if (step > 255) {
		r->shape |= SHAPE_SET(TSVAL, TSVAL_STORED);
		PUT4(e, TSVAL, zigzag(step));
	} else {
		r->shape |= SHAPE_SET(TSVAL, step > 0 ? TSVAL_SMALL : TSVAL_SAME);
		*e->at[STREAM_TSVAL_STEP] = (uint8_t)step;
		e->at[STREAM_TSVAL_STEP] += step > 0;
	}
	s->tsval = val;
	unsigned how = choose(ecr == s->tsecr, TSECR_SAME, TSECR_STORED);
	how = choose(ecr == o->tsval, TSECR_OTHER, how);
	r->shape |= SHAPE_SET(TSECR, how);
	if (how == TSECR_STORED)
		PUT4(e, TSECR, zigzag(ecr - s->tsecr));
	s->tsecr = ecr;
}

INLINE void
set_tcp_string(struct packet_encoder *e, struct row *r, struct side *s, uint32_t number)
{
	if (number == s->tcp_string)
		return;
	r->shape |= SHAPE_SET(TCP_STRING, 1);
	PUT3(e, TCP_STRING, number);
	s->tcp_string = number;
}

INLINE void
encode_tcp_options(struct packet_encoder *e, struct row *r, struct side *s, const struct side *o, uint32_t header)
{
	const uint8_t *tcp = r->p + r->transport_at;
	/* No options, or a time stamp behind two NOPs: nearly all records. */
	bool plain = header == 20, stamped = header == 32 && load_le32(tcp + 20) == TCP_NOP_NOP_TIMESTAMP;
	uint32_t usual = e->usual_string[stamped][tcp[12] & 15];
	if ((plain || stamped) && usual) {
		set_tcp_string(e, r, s, usual);
		if (stamped)
			encode_timestamps(e, r, s, o, load_be32(tcp + 24), load_be32(tcp + 28));
		return;
	}
	struct tcp_options at = tcp_options_find(tcp + 20, header - 20);
	uint8_t string[44];
	string[0] = tcp[12];
	memcpy(string + 1, tcp + 20, header - 20);
	if (at.timestamp_at)
		memset(string + 1 + at.timestamp_at - 20, 0, 8);
	if (at.sack_at)
		memset(string + 1 + at.sack_at - 20, 0, 8u * at.sack_blocks);
	uint32_t number = strings_add(&e->strings, 1, string, header - 19);
	set_tcp_string(e, r, s, number);
	if (plain || stamped)
		e->usual_string[stamped][tcp[12] & 15] = number;
	if (at.sack_at) {
		r->shape |= SHAPE_SET(SACKS, at.sack_blocks);
		uint32_t ack = load_be32(tcp + 8);
		for (uint32_t i = 0; i < 2u * at.sack_blocks; i++)
			PUT4(e, SACK, load_be32(tcp + at.sack_at + 4 * i) - ack);
	}
	if (at.timestamp_at)
		encode_timestamps(e, r, s, o, load_be32(tcp + at.timestamp_at), load_be32(tcp + at.timestamp_at + 4));
}

INLINE void
encode_tcp(struct packet_encoder *e, struct row *r, struct side *s, const struct side *o)
{
	const uint8_t *tcp = r->p + r->transport_at;
	uint32_t header = (uint32_t)(tcp[12] >> 4) * 4;
	uint32_t seq = load_be32(tcp + 4), ack = load_be32(tcp + 8);
	uint16_t win = load_be16(tcp + 14), urg = load_be16(tcp + 18);
	uint32_t data = r->payload_bytes > header ? r->payload_bytes - header : 0;
	PUT1(e, TCP_FLAGS, tcp[13]);
	uint32_t expected = s->seen ? s->next_seq : o->ack;
	if (seq != expected) {
		r->shape |= SHAPE_SET(SEQ, 1);
		PUT4(e, SEQ, zigzag(seq - expected));
	}
	side_sent(s, seq, data, tcp[13]);
	unsigned how = choose(o->seen & (ack == o->next_seq_before), ACK_BUT_LAST, ACK_STORED);
	how = choose(ack == s->ack, ACK_SAME, how);
	how = choose(o->seen & (ack == o->next_seq), ACK_ALL, how);
	r->shape |= SHAPE_SET(ACK, how);
	if (how == ACK_STORED)
		PUT4(e, ACK, zigzag(ack - (s->seen ? s->ack : o->next_seq)));
	s->ack = ack;
	r->shape |= SHAPE_SET(WIN, win != s->win);
	PUT2_IF(e, WIN, (uint32_t)(win - s->win), win != s->win);
	s->win = win;
	if (urg != 0) {
		r->shape |= SHAPE_SET(URG, 1);
		PUT2(e, URG, urg);
	}
	encode_tcp_options(e, r, s, o, header);
	uint64_t pseudo = pseudo_sum(r, r->payload_bytes, PROTO_TCP);
	encode_sum(e, r, s, 16, header, r->payload_bytes, header_sum(tcp, 20, header) + pseudo, pseudo, false);
}

INLINE void
encode_udp(struct packet_encoder *e, struct row *r, struct side *s)
{
	const uint8_t *udp = r->p + r->transport_at;
	uint32_t length = load_be16(udp + 4);
	if (length != r->payload_bytes) {
		r->shape |= SHAPE_SET(SEQ, 1);
		PUT2(e, UDP_LEN, length);
	}
	uint64_t pseudo = pseudo_sum(r, length, PROTO_UDP);
	encode_sum(e, r, s, 6, 8, length, header_sum(udp, 8, 8) + pseudo, pseudo, true);
}

INLINE void
encode_rest(struct packet_encoder *e, struct row *r, struct side *s, const struct side *o, uint32_t rest)
{
	if (rest == s->rest) {
		r->shape |= SHAPE_SET(ACK, REST_SAME);
	} else if (rest == s->rest + 1) {
		r->shape |= SHAPE_SET(ACK, REST_NEXT);
	} else if (rest == o->rest) {
		r->shape |= SHAPE_SET(ACK, REST_OTHER);
	} else {
		r->shape |= SHAPE_SET(ACK, REST_STORED);
		PUT4(e, REST, rest);
	}
	s->rest = rest;
}

INLINE void
encode_transport(struct packet_encoder *e, struct row *r, unsigned transport, struct side *s, const struct side *o)
{
	const uint8_t *l4 = r->p + r->transport_at;
	switch (transport) {
	case TRANSPORT_TCP:
		encode_tcp(e, r, s, o);
		break;
	case TRANSPORT_UDP:
		encode_udp(e, r, s);
		break;
	case TRANSPORT_ICMP:
		encode_rest(e, r, s, o, load_be32(l4 + 4));
		encode_sum(e, r, s, 2, 8, r->payload_bytes, header_sum(l4, 8, 8), 0, false);
		break;
	case TRANSPORT_ICMP6:
		encode_rest(e, r, s, o, load_be32(l4 + 4));
		uint64_t pseudo = pseudo_sum(r, r->payload_bytes, PROTO_ICMP6);
		encode_sum(e, r, s, 2, 8, r->payload_bytes, header_sum(l4, 8, 8) + pseudo, pseudo, false);
		break;
	case TRANSPORT_SCTP:
		encode_rest(e, r, s, o, load_be32(l4 + 4));
		put_le(e, STREAM_SUM, load_le32(l4 + 8), 4);
		break;
	default:
		break;
	}
}

/* Captured length, and the bytes behind the headers. Returns how many these are. */
INLINE uint32_t
encode_behind(struct packet_encoder *e, struct row *r)
{
	if (r->cap_len == r->end) {
		r->shape |= SHAPE_SET(CAP, CAP_HEADERS);
		return 0;
	}
	if (r->cap_len == r->wire_len) {
		r->shape |= SHAPE_SET(CAP, CAP_WIRE);
	} else {
		r->shape |= SHAPE_SET(CAP, CAP_STORED);
		PUT4(e, CAP, r->cap_len);
	}
	uint32_t n = r->cap_len - r->end;
	memcpy(e->at[STREAM_BYTES], r->p + r->end, n);
	e->at[STREAM_BYTES] += n;
	return n;
}

static inline uint32_t
encode_raw(struct packet_encoder *e, const struct row *r)
{
	uint32_t n = r->cap_len - r->end;
	PUT4(e, RAW_LEN, n);
	memcpy(e->at[STREAM_RAW_BYTES], r->p + r->end, n);
	e->at[STREAM_RAW_BYTES] += n;
	return n;
}

INLINE uint16_t
number_shape(struct packet_encoder *e, uint32_t shape)
{
	struct shape_number *recent = &e->recent_shapes[shape * 0x9e3779b1u >> 24];
	if (recent->shape != shape) {
		bool fresh;
		recent->shape = shape;
		recent->number = intern_key(&e->shapes, shape, &fresh);
		if (fresh)
			e->shape_word[recent->number] = shape;
	}
	return (uint16_t)recent->number;
}

/* The rows of one conversation. Where net and transport are constants, only their code remains. */
INLINE void
encode_rows(struct packet_encoder *e, const struct frames *in, const struct conversation *v, uint32_t row, unsigned net,
            unsigned transport)
{
	struct side sides[2] = { 0 };
	uint64_t extra = 0;
	const uint32_t *link_at = e->conversations.links.at;
	uint32_t ip_at = link_at[v->link[0] + 1] - link_at[v->link[0]];
	uint32_t ip_at_1 = v->link[1] == LINK_UNSET ? ip_at : link_at[v->link[1] + 1] - link_at[v->link[1]];
	/* In registers, as struct steps is. */
	const uint8_t *bytes = in->bytes;
	uint32_t *wire_len = e->values;
	uint16_t *shape = e->shape;
	const struct place *at = &e->rows[row];
	for (uint32_t last = row + v->rows; row < last; row++, at++) {
		/* The records of a conversation are far apart: fetch their headers ahead. */
		const uint8_t *ahead = bytes + at[PREFETCH_ROWS].at;
		__builtin_prefetch(ahead);
		__builtin_prefetch(ahead + 64);
		uint32_t dir = at->dir;
		struct side *s = &sides[dir];
		const struct side *o = &sides[dir ^ 1];
		struct row r = {
			.p = bytes + at->at,
			.wire_len = at->wire_len,
			.cap_len = at->cap_len,
			.ip_at = dir ? ip_at_1 : ip_at,
			.transport_at = at->transport_at,
			.end = at->end,
			.shape = SHAPE_SET(DIR, dir),
		};
		wire_len[row] = r.wire_len;
		if (net == NET_IP4)
			encode_ip4(e, &r, s);
		else if (net == NET_IP6)
			encode_ip6(e, &r, s);
		encode_transport(e, &r, transport, s, o);
		s->seen = true;
		extra += net == NET_RAW ? encode_raw(e, &r) : encode_behind(e, &r);
		shape[row] = number_shape(e, r.shape);
	}
	struct writer w = writer_of(e->at[STREAM_EXTRA], 10);
	put_varint(&w, extra);
	e->at[STREAM_EXTRA] = w.at;
}

static void
encode_conversation(struct packet_encoder *e, const struct frames *in, const struct conversation *v, uint32_t row)
{
	unsigned net = v->what >> 32 & 3, transport = v->what >> 36 & 15;
	if (net == NET_IP4 && transport == TRANSPORT_TCP)
		encode_rows(e, in, v, row, NET_IP4, TRANSPORT_TCP);
	else if (net == NET_IP4 && transport == TRANSPORT_UDP)
		encode_rows(e, in, v, row, NET_IP4, TRANSPORT_UDP);
	else if (net == NET_IP6 && transport == TRANSPORT_TCP)
		encode_rows(e, in, v, row, NET_IP6, TRANSPORT_TCP);
	else
		encode_rows(e, in, v, row, net, transport);
}

static void
encode_in_conversation_order(struct packet_encoder *e, const struct frames *in)
{
	struct conversation *v = e->conversations.v;
	uint32_t row = 0;
	for (uint32_t c = 0; c < e->conversations.count; c++) {
		v[c].next_row = row;
		row += v[c].rows;
	}
	for (uint32_t i = 0; i < in->count; i++)
		e->rows[v[e->conversation[i]].next_row++] = e->places[i];
	memset(e->rows + in->count, 0, PREFETCH_ROWS * sizeof *e->rows);
	row = 0;
	for (uint32_t c = 0; c < e->conversations.count; c++) {
		encode_conversation(e, in, &v[c], row);
		row += v[c].rows;
	}
	put_planes(e, STREAM_WIRE0, e->values, in->count);
}

/* Shapes get their final numbers, most frequent first, so that one byte does for nearly all. */
static void
encode_shapes(struct packet_encoder *e, uint32_t records)
{
	uint32_t shapes = e->shapes.count;
	uint32_t *count = e->shape_count;
	memset(count, 0, shapes * sizeof *count);
	for (uint32_t i = 0; i < records; i++)
		count[e->shape[i]]++;
	for (uint32_t i = 0; i < shapes; i++)
		e->sort[i] = (uint64_t)(UINT32_MAX - count[i]) << 32 | i;
	radix_sort(e->sort, e->sort_spare, shapes, 32, 64);
	for (uint32_t i = 0; i < shapes; i++) {
		uint32_t first = (uint32_t)e->sort[i];
		put_le(e, STREAM_SHAPES, e->shape_word[first], 4);
		count[first] = i;
	}
	uint8_t *out = e->at[STREAM_SHAPE];
	for (uint32_t i = 0; i < records; i++) {
		if (i % PACK_PIECE_BYTES == 0 && i > 0)
			put_le(e, STREAM_SHAPE_WIDE_AT, (uint64_t)(e->at[STREAM_SHAPE_WIDE0] - e->start[STREAM_SHAPE_WIDE0]), 4);
		uint32_t number = count[e->shape[i]];
		out[i] = (uint8_t)(number < 255 ? number : 255);
		if (number >= 255)
			PUT2(e, SHAPE_WIDE, number - 255);
	}
	e->at[STREAM_SHAPE] = out + records;
}

static void
encode_strings(struct packet_encoder *e)
{
	const struct strings *s = &e->strings;
	for (uint32_t i = 0; i < s->index.count; i++)
		put_le(e, STREAM_STRING_LENGTHS, s->at[i + 1] - s->at[i], 1);
	memcpy(e->at[STREAM_STRING_BYTES], s->bytes, s->used);
	e->at[STREAM_STRING_BYTES] += s->used;
}

void
packet_encode(struct packet_encoder *e, const struct frames *in, bool headers_only)
{
	conversations_reset(&e->conversations);
	strings_reset(&e->strings);
	strings_add(&e->strings, 0, (const uint8_t *)"", 0);
	intern_reset(&e->shapes);
	intern_reset(&e->kinds);
	intern_reset(&e->paths);
	memset(e->recent_shapes, 0xff, sizeof e->recent_shapes); /* no shape has all bits set */
	memset(e->usual_string, 0, sizeof e->usual_string); /* string 0 is empty: no TCP header has it */
	memcpy(e->at, e->start, sizeof e->at);
	terms_reset(&e->terms);
	e->wire_bytes = e->captured_bytes = e->below_us = 0;
	e->times_back = 0;

	encode_in_capture_order(e, in, headers_only);
	encode_times(e, in);
	encode_in_conversation_order(e, in);
	encode_shapes(e, in->count);
	encode_strings(e);
	packet_encode_dictionary(e);
	terms_finish(&e->terms);
}
