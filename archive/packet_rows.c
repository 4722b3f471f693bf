#include "archive/packet_rows.h"

#include <assert.h>

#include "archive/dissect.h"
#include "archive/frames.h"

/* --- where each conversation's values are --- */

static union uses
uses_of(uint32_t word)
{
	union uses u = { .n = { 0 } };
	u.n[USE_IP_ID] = SHAPE_GET(word, IP_ID) == IP_ID_STORED;
	u.n[USE_FRAG] = u.n[USE_LABEL] = SHAPE_GET(word, FRAG);
	u.n[USE_TOS] = SHAPE_GET(word, TOS);
	u.n[USE_TTL] = SHAPE_GET(word, TTL);
	u.n[USE_IP_SUM] = SHAPE_GET(word, IP_SUM);
	u.n[USE_IP_LEN] = SHAPE_GET(word, IP_LEN);
	u.n[USE_IP_STRING] = SHAPE_GET(word, IP_STRING);
	u.n[USE_SEQ] = u.n[USE_UDP_LEN] = SHAPE_GET(word, SEQ);
	u.n[USE_ACK] = u.n[USE_REST] = SHAPE_GET(word, ACK) == ACK_STORED;
	u.n[USE_WIN] = SHAPE_GET(word, WIN);
	u.n[USE_URG] = SHAPE_GET(word, URG);
	u.n[USE_TCP_STRING] = SHAPE_GET(word, TCP_STRING);
	u.n[USE_TSVAL_STEP] = SHAPE_GET(word, TSVAL) == TSVAL_SMALL;
	u.n[USE_TSVAL] = SHAPE_GET(word, TSVAL) == TSVAL_STORED;
	u.n[USE_TSECR] = SHAPE_GET(word, TSECR) == TSECR_STORED;
	u.n[USE_SACK] = (uint8_t)(2 * SHAPE_GET(word, SACKS));
	u.n[USE_CAP] = SHAPE_GET(word, CAP) == CAP_STORED;
	u.n[USE_SUM] = SHAPE_GET(word, SUM) == SUM_STORED ? 2 : 0;
	u.n[USE_SCTP_SUM] = 4;
	return u;
}

/* Which of the uses a conversation of this kind has at all: 0xff or 0. */
static union uses
mask_of(const struct flow *f)
{
	union uses m = { .n = { 0 } };
	if (f->net == NET_RAW)
		return m;
	m.n[USE_CAP] = 0xff;
	m.n[USE_TOS] = m.n[USE_TTL] = m.n[USE_IP_LEN] = m.n[USE_IP_STRING] = 0xff;
	if (f->net == NET_IP4)
		m.n[USE_IP_ID] = m.n[USE_FRAG] = m.n[USE_IP_SUM] = 0xff;
	else
		m.n[USE_LABEL] = 0xff;
	switch (f->transport) {
	case TRANSPORT_TCP:
		m.n[USE_SEQ] = m.n[USE_ACK] = m.n[USE_WIN] = m.n[USE_URG] = m.n[USE_TCP_STRING] = 0xff;
		m.n[USE_TSVAL_STEP] = m.n[USE_TSVAL] = m.n[USE_TSECR] = m.n[USE_SACK] = m.n[USE_SUM] = 0xff;
		break;
	case TRANSPORT_UDP:
		m.n[USE_UDP_LEN] = m.n[USE_SUM] = 0xff;
		break;
	case TRANSPORT_SCTP:
		m.n[USE_REST] = m.n[USE_SCTP_SUM] = 0xff;
		break;
	case TRANSPORT_ICMP:
	case TRANSPORT_ICMP6:
		m.n[USE_REST] = m.n[USE_SUM] = 0xff;
		break;
	default:
		break;
	}
	return m;
}

/* Adds what the rows of one conversation use. */
static inline void
add_uses(const struct packet_decoder *d, uint32_t row, uint32_t last, const union uses *mask, union use_totals *total)
{
	/* 31 records of at most 8 values fit a byte. */
	while (row < last) {
		union uses sum = { .n = { 0 } };
		uint32_t stop = last - row > 31 ? row + 31 : last;
		for (; row < stop; row++)
			sum.v += d->uses[d->shape[row]].v;
		total->v += __builtin_convertvector(sum.v & mask->v, use_sums);
	}
}

static enum err
need_uses(const struct packet_decoder *d, bool with_sums)
{
	const uint32_t *total = d->use_total.n;
	static const struct {
		uint8_t use, stream, planes;
	} table[] = {
		{ USE_IP_ID, STREAM_IP_ID0, 2 },         { USE_FRAG, STREAM_FRAG0, 2 },
		{ USE_LABEL, STREAM_LABEL0, 3 },         { USE_TOS, STREAM_TOS, 1 },
		{ USE_TTL, STREAM_TTL, 1 },              { USE_IP_SUM, STREAM_IP_SUM0, 2 },
		{ USE_IP_LEN, STREAM_IP_LEN0, 2 },       { USE_IP_STRING, STREAM_IP_STRING0, 3 },
		{ USE_SEQ, STREAM_SEQ0, 4 },             { USE_UDP_LEN, STREAM_UDP_LEN0, 2 },
		{ USE_ACK, STREAM_ACK0, 4 },             { USE_REST, STREAM_REST0, 4 },
		{ USE_WIN, STREAM_WIN0, 2 },             { USE_URG, STREAM_URG0, 2 },
		{ USE_TCP_STRING, STREAM_TCP_STRING0, 3 },{ USE_TSVAL_STEP, STREAM_TSVAL_STEP, 1 },
		{ USE_TSVAL, STREAM_TSVAL0, 4 },         { USE_TSECR, STREAM_TSECR0, 4 },
		{ USE_SACK, STREAM_SACK0, 4 },           { USE_CAP, STREAM_CAP0, 4 },
	};
	for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
		for (unsigned plane = 0; plane < table[i].planes; plane++)
			if (d->length[table[i].stream + plane] != total[table[i].use])
				return fail(ERR_FORMAT, "column %s has %u values, its records take %u",
				            packet_stream_name(table[i].stream), d->length[table[i].stream + plane],
				            total[table[i].use]);
	if (with_sums && d->length[STREAM_SUM] != total[USE_SUM] + total[USE_SCTP_SUM])
		return fail(ERR_FORMAT, "column SUM has %u bytes, its records take %u", d->length[STREAM_SUM],
		            total[USE_SUM] + total[USE_SCTP_SUM]);
	return OK;
}

static enum err
find_cursors(struct packet_decoder *d)
{
	union use_totals total = { .n = { 0 } };
	uint32_t shapes = d->length[STREAM_SHAPES] / 4;
	TAKE_ROOM(d, d->uses, shapes * sizeof *d->uses);
	TAKE_ROOM(d, d->cursors, d->batch.conversations * sizeof *d->cursors);
	for (uint32_t i = 0; i < shapes; i++)
		d->uses[i] = uses_of(d->shape_words[i]);
	union uses mask = { .n = { 0 } };
	for (uint32_t c = 0; c < d->batch.conversations; c++) {
		const struct flow *f = &d->flows[2 * c];
		if (c == 0 || f->net != f[-2].net || f->transport != f[-2].transport)
			mask = mask_of(f);
		memcpy(d->cursors[c].at, total.n, sizeof d->cursors[c].at);
		add_uses(d, d->start[c], d->start[c + 1], &mask, &total);
	}
	d->use_total = total;
	return OK;
}

static enum err
find_strings(struct packet_decoder *d)
{
	uint32_t at = 0;
	d->string_count = d->length[STREAM_STRING_LENGTHS];
	TAKE_ROOM(d, d->string_at, (d->string_count + 1) * sizeof *d->string_at);
	for (uint32_t i = 0; i < d->string_count; i++) {
		d->string_at[i] = at;
		at += d->stream[STREAM_STRING_LENGTHS][i];
	}
	d->string_at[d->string_count] = at;
	if (at != d->length[STREAM_STRING_BYTES] || d->string_count == 0 || d->string_at[1] != 0)
		return fail(ERR_FORMAT, "string table of another length than its strings");
	return OK;
}

/* --- one record after another --- */

struct walk {
	struct packet_decoder *d;
	uint32_t c;
	const struct flow *flow;
	struct cursors at;
	struct side sides[2];
	const uint8_t *behind;       /* the bytes behind the headers of the next row */
	uint32_t behind_left;        /* of the conversation */
	uint32_t raw_row;
	uint32_t sum_at;
};

#define TAKE1(w, id) ((w)->d->stream[STREAM_##id][(w)->at.at[USE_##id]++])

static inline uint32_t
take(const struct packet_decoder *d, unsigned stream, unsigned planes, uint32_t i)
{
	uint32_t v = d->stream[stream][i] | (uint32_t)d->stream[stream + 1][i] << 8;
	if (planes > 2)
		v |= (uint32_t)d->stream[stream + 2][i] << 16;
	if (planes > 3)
		v |= (uint32_t)d->stream[stream + 3][i] << 24;
	return v;
}
#define TAKE(w, id, planes) take((w)->d, STREAM_##id##0, planes, (w)->at.at[USE_##id]++)

static inline struct packet_string
string_of(const struct packet_decoder *d, uint32_t number)
{
	uint32_t at = d->string_at[number];
	return (struct packet_string){ d->stream[STREAM_STRING_BYTES] + at, d->string_at[number + 1] - at, number };
}

static enum err
walk_strings(struct walk *w, struct packet_fields *f, struct side *s)
{
	struct packet_decoder *d = w->d;
	f->ip_header = w->flow->net == NET_IP4 ? 20 : w->flow->net == NET_IP6 ? 40 : 0;
	if (w->flow->net != NET_RAW) {
		if (SHAPE_GET(f->word, IP_STRING))
			s->ip_string = TAKE(w, IP_STRING, 3);
		if (s->ip_string >= d->string_count)
			return fail(ERR_FORMAT, "unknown string of IP options");
		f->ip_string = string_of(d, s->ip_string);
		if (w->flow->net == NET_IP4 && (f->ip_string.n > 40 || f->ip_string.n % 4))
			return fail(ERR_FORMAT, "IPv4 options of an impossible length");
		f->ip_header += f->ip_string.n;
	}
	static const uint8_t fixed[] = {
		[TRANSPORT_NONE] = 0, [TRANSPORT_UDP] = 8, [TRANSPORT_SCTP] = 12, [TRANSPORT_ICMP] = 8, [TRANSPORT_ICMP6] = 8,
	};
	if (w->flow->transport != TRANSPORT_TCP) {
		f->transport_header = fixed[w->flow->transport];
	} else {
		if (SHAPE_GET(f->word, TCP_STRING))
			s->tcp_string = TAKE(w, TCP_STRING, 3);
		if (s->tcp_string >= d->string_count)
			return fail(ERR_FORMAT, "unknown string of TCP options");
		f->tcp_string = string_of(d, s->tcp_string);
		if (f->tcp_string.n == 0 || f->tcp_string.n != (f->tcp_string.p[0] >> 4) * 4u - 19u)
			return fail(ERR_FORMAT, "TCP options of another length than the data offset says");
		f->transport_header = f->tcp_string.n + 19;
	}
	f->end = f->link_bytes + f->ip_header + f->transport_header;
	return OK;
}

static void
walk_ip(struct walk *w, struct packet_fields *f, struct side *s)
{
	uint32_t word = f->word;
	if (w->flow->net == NET_IP4) {
		uint16_t step = 1;
		switch (SHAPE_GET(word, IP_ID)) {
		case IP_ID_SAME:
			step = 0;
			break;
		case IP_ID_STEP:
			step = s->ip_id_step;
			break;
		case IP_ID_STORED:
			step = (uint16_t)TAKE(w, IP_ID, 2);
			break;
		}
		s->ip_id += step;
		s->ip_id_step = step;
		if (SHAPE_GET(word, FRAG))
			s->frag = (uint16_t)TAKE(w, FRAG, 2);
		if (SHAPE_GET(word, IP_SUM))
			f->ip_sum = (uint16_t)TAKE(w, IP_SUM, 2);
	} else if (SHAPE_GET(word, FRAG)) {
		s->label = TAKE(w, LABEL, 3) & 0xfffff;
	}
	f->ip_id = s->ip_id;
	f->frag = s->frag;
	f->label = s->label;
	if (SHAPE_GET(word, TOS))
		s->tos = TAKE1(w, TOS);
	if (SHAPE_GET(word, TTL))
		s->ttl = TAKE1(w, TTL);
	f->tos = s->tos;
	f->ttl = s->ttl;
	if (SHAPE_GET(word, IP_LEN))
		f->ip_len = TAKE(w, IP_LEN, 2) + (w->flow->net == NET_IP6 ? 40 : 0);
	else
		f->ip_len = ip_len_expected(f->wire_len, f->link_bytes, f->end);
	f->payload_bytes = f->ip_len > f->ip_header ? f->ip_len - f->ip_header : 0;
}

static void
walk_timestamps(struct walk *w, struct packet_fields *f, struct side *s, const struct side *o)
{
	/* Values are taken as the shape says; without the option they go nowhere. */
	uint32_t val = s->tsval, ecr = o->tsval;
	if (SHAPE_GET(f->word, TSVAL) == TSVAL_SMALL)
		val += TAKE1(w, TSVAL_STEP);
	else if (SHAPE_GET(f->word, TSVAL) == TSVAL_STORED)
		val += unzigzag(TAKE(w, TSVAL, 4));
	if (SHAPE_GET(f->word, TSECR) == TSECR_SAME)
		ecr = s->tsecr;
	else if (SHAPE_GET(f->word, TSECR) == TSECR_STORED)
		ecr = s->tsecr + unzigzag(TAKE(w, TSECR, 4));
	if (!f->options.timestamp_at)
		return;
	f->tsval = s->tsval = val;
	f->tsecr = s->tsecr = ecr;
}

static void
walk_tcp(struct walk *w, struct packet_fields *f, struct side *s, const struct side *o)
{
	uint32_t word = f->word;
	f->tcp_flags = w->d->tcp_flags[f->row];
	uint32_t data = f->payload_bytes > f->transport_header ? f->payload_bytes - f->transport_header : 0;
	f->seq = s->seen ? s->next_seq : o->ack;
	if (SHAPE_GET(word, SEQ))
		f->seq += unzigzag(TAKE(w, SEQ, 4));
	side_sent(s, f->seq, data, f->tcp_flags);
	switch (SHAPE_GET(word, ACK)) {
	case ACK_ALL:
		f->ack = o->next_seq;
		break;
	case ACK_SAME:
		f->ack = s->ack;
		break;
	case ACK_BUT_LAST:
		f->ack = o->next_seq_before;
		break;
	default:
		f->ack = (s->seen ? s->ack : o->next_seq) + unzigzag(TAKE(w, ACK, 4));
		break;
	}
	s->ack = f->sack_base = f->ack;
	if (SHAPE_GET(word, WIN))
		s->win += (uint16_t)TAKE(w, WIN, 2);
	f->win = s->win;
	f->urg = SHAPE_GET(word, URG) ? (uint16_t)TAKE(w, URG, 2) : 0;
	f->options = tcp_options_find(f->tcp_string.p + 1, f->tcp_string.n - 1);
	f->sack_at = w->at.at[USE_SACK];
	w->at.at[USE_SACK] += 2 * SHAPE_GET(word, SACKS);
	walk_timestamps(w, f, s, o);
}

static void
walk_rest(struct walk *w, struct packet_fields *f, struct side *s, const struct side *o)
{
	switch (SHAPE_GET(f->word, ACK)) {
	case REST_SAME:
		break;
	case REST_NEXT:
		s->rest++;
		break;
	case REST_OTHER:
		s->rest = o->rest;
		break;
	default:
		s->rest = TAKE(w, REST, 4);
		break;
	}
	f->rest = s->rest;
}

/* The fields of the next row; everything but checksums. f is the one of the row before, or of walk_begin(). */
static enum err
walk_row(struct walk *w, uint32_t row, struct packet_fields *f)
{
	struct packet_decoder *d = w->d;
	f->row = row;
	if (w->flow->net != NET_RAW) {
		f->word = d->shape_words[d->shape[row]];
		f->wire_len = d->wire_len[row];
		f->dir = SHAPE_GET(f->word, DIR);
	}
	struct side *s = &w->sides[f->dir];
	const struct side *o = &w->sides[f->dir ^ 1];
	f->link_bytes = d->links[w->flow[f->dir].link].len;
	TRY(walk_strings(w, f, s));
	if (w->flow->net != NET_RAW)
		walk_ip(w, f, s);
	if (w->flow->transport == TRANSPORT_TCP)
		walk_tcp(w, f, s, o);
	else if (w->flow->transport == TRANSPORT_UDP)
		f->udp_len = SHAPE_GET(f->word, SEQ) ? (uint16_t)TAKE(w, UDP_LEN, 2) : (uint16_t)f->payload_bytes;
	else if (w->flow->transport != TRANSPORT_NONE)
		walk_rest(w, f, s, o);
	s->seen = true;
	unsigned cap = SHAPE_GET(f->word, CAP);
	if (w->flow->net == NET_RAW) {
		uint32_t n = take(d, STREAM_RAW_LEN0, 4, w->raw_row++);
		f->cap_len = f->end + (n < BLOCK_BYTES_MAX ? n : BLOCK_BYTES_MAX);
	} else {
		f->cap_len = cap == CAP_HEADERS ? f->end : cap == CAP_WIRE ? f->wire_len : TAKE(w, CAP, 4);
	}
	if (f->cap_len < f->end || f->cap_len - f->end > w->behind_left)
		return fail(ERR_FORMAT, "record with another captured length than its bytes");
	w->behind_left -= f->cap_len - f->end;
	return OK;
}

static void
walk_begin(struct walk *w, struct packet_fields *f, struct packet_decoder *d, uint32_t c)
{
	*f = (struct packet_fields){ 0 }; /* what a kind of conversation has not stays zero in all its rows */
	*w = (struct walk){
		.d = d,
		.c = c,
		.flow = &d->flows[2 * c],
		.behind_left = d->extra[c].bytes,
		.raw_row = d->extra[c].raw_row,
	};
	if (w->flow->net == NET_RAW) {
		w->behind = d->stream[STREAM_RAW_BYTES] + d->extra[c].at;
		return; /* nothing of such a conversation is in the other streams */
	}
	w->behind = d->stream[STREAM_BYTES] + d->extra[c].at;
	w->at = d->cursors[c];
	w->sum_at = w->at.at[USE_SUM] + w->at.at[USE_SCTP_SUM];
}

static enum err
take_columns(struct packet_decoder *d)
{
	uint32_t n = d->records;
	TAKE_ROOM(d, d->cap_len, n * sizeof *d->cap_len);
	TAKE_ROOM(d, d->tos, n);
	TAKE_ROOM(d, d->ttl, n);
	TAKE_ROOM(d, d->ip_len, n * sizeof *d->ip_len);
	TAKE_ROOM(d, d->ip_id, n * sizeof *d->ip_id);
	TAKE_ROOM(d, d->ip_frag, n * sizeof *d->ip_frag);
	TAKE_ROOM(d, d->tcp_seq, n * sizeof *d->tcp_seq);
	TAKE_ROOM(d, d->tcp_ack, n * sizeof *d->tcp_ack);
	TAKE_ROOM(d, d->tcp_win, n * sizeof *d->tcp_win);
	return OK;
}

/* What is shown of the headers. Captured bytes end with them. */
static inline void
view_fields(const struct walk *w, struct packet_fields *f)
{
	f->cap_len = f->end;
	if (w->flow->net != NET_RAW)
		w->d->view->row(w->d->view_state, 2 * w->c + f->dir, &w->flow[f->dir], f);
}

static enum err
decode_columns(struct packet_decoder *d, uint32_t c)
{
	struct walk w;
	struct packet_fields f;
	walk_begin(&w, &f, d, c);
	for (uint32_t row = d->start[c]; row < d->start[c + 1]; row++) {
		TRY(walk_row(&w, row, &f));
		if (d->view)
			view_fields(&w, &f);
		d->cap_len[row] = f.cap_len;
		d->tos[row] = f.tos;
		d->ttl[row] = f.ttl;
		d->ip_len[row] = f.ip_len;
		d->ip_id[row] = f.ip_id;
		d->ip_frag[row] = f.frag;
		d->tcp_seq[row] = f.seq;
		d->tcp_ack[row] = f.ack;
		d->tcp_win[row] = f.win;
	}
	if (w.behind_left != 0)
		return fail(ERR_FORMAT, "bytes left over behind the headers");
	return OK;
}

/* --- frames --- */

/* memcpy() for the short pieces of a header: up to 15 bytes more are read and written (streams and image have that room; what
 * is written too much is overwritten by the next piece). */
static inline void
copy_piece(uint8_t *to, const uint8_t *from, uint32_t n)
{
	for (uint32_t i = 0; i < n; i += 16)
		memcpy(to + i, from + i, 16);
}

static void
build_ip(const struct walk *w, const struct packet_fields *f, uint8_t *ip)
{
	const struct packet_decoder *d = w->d;
	const struct flow *flow = &w->flow[f->dir];
	if (flow->net == NET_IP4) {
		ip[0] = (uint8_t)(0x40 | f->ip_header / 4);
		ip[1] = f->tos;
		store_be16(ip + 2, (uint16_t)f->ip_len);
		store_be16(ip + 4, f->ip_id);
		store_be16(ip + 6, f->frag);
		ip[8] = f->ttl;
		ip[9] = flow->proto;
		store_le16(ip + 10, 0);
		store_be32(ip + 12, d->ip4[flow->src]);
		store_be32(ip + 16, d->ip4[flow->dst]);
		copy_piece(ip + 20, f->ip_string.p, f->ip_string.n);
		uint16_t right = checksum_of(sum_words(ip, f->ip_header));
		store_le16(ip + 10, !SHAPE_GET(f->word, IP_SUM) ? right : d->view ? checksum_wrong(right) : f->ip_sum);
		return;
	}
	store_be32(ip, 6u << 28 | (uint32_t)f->tos << 20 | f->label);
	store_be16(ip + 4, (uint16_t)(f->ip_len - 40));
	ip[6] = flow->first_proto;
	ip[7] = f->ttl;
	memcpy(ip + 8, d->batch.ip6[flow->src], 16);
	memcpy(ip + 24, d->batch.ip6[flow->dst], 16);
	copy_piece(ip + 40, f->ip_string.p, f->ip_string.n);
}

static uint64_t
pseudo_sum(const struct walk *w, const uint8_t *ip, uint32_t length, uint8_t proto)
{
	uint64_t s = w->flow->net == NET_IP4 ? sum_words(ip + 12, 8) : sum_words(ip + 8, 32);
	return s + __builtin_bswap16((uint16_t)length) + (length >> 16) + ((uint32_t)proto << 8);
}

/* The checksum field of a transport header that was captured with this sum of itself (its checksum zero) and the pseudo header. */
static uint16_t
captured_sum(struct walk *w, const struct packet_fields *f, const struct sums *sums, bool zero_is_none)
{
	uint16_t field = 0;
	switch (SHAPE_GET(f->word, SUM)) {
	case SUM_STORED:
		field = load_le16(w->d->stream[STREAM_SUM] + w->sum_at);
		w->sum_at += 2;
		break;
	case SUM_RIGHT:
		/* The encoder says so only when all of it was captured. */
		field = checksum_of(sums->headers + sums->covered);
		if (zero_is_none && field == 0)
			field = 0xffff;
		break;
	case SUM_PSEUDO:
		field = (uint16_t)fold16(sums->pseudo);
		break;
	case SUM_LAST:
		field = checksum_of(sums->headers + w->sides[f->dir].payload_sum);
		break;
	default:
		break;
	}
	w->sides[f->dir].payload_sum = payload_sum_of(field, fold16(sums->headers));
	return field;
}

static void
build_tcp(const struct walk *w, const struct packet_fields *f, uint8_t *tcp)
{
	const struct flow *flow = &w->flow[f->dir];
	store_be16(tcp, flow->sport);
	store_be16(tcp + 2, flow->dport);
	store_be32(tcp + 4, f->seq);
	store_be32(tcp + 8, f->ack);
	tcp[12] = f->tcp_string.p[0];
	tcp[13] = f->tcp_flags;
	store_be16(tcp + 14, f->win);
	store_be16(tcp + 16, 0);
	store_be16(tcp + 18, f->urg);
	copy_piece(tcp + 20, f->tcp_string.p + 1, f->tcp_string.n - 1);
	if (f->options.timestamp_at) {
		store_be32(tcp + f->options.timestamp_at, f->tsval);
		store_be32(tcp + f->options.timestamp_at + 4, f->tsecr);
	}
	uint32_t edges = 2 * SHAPE_GET(f->word, SACKS), room = f->options.sack_at ? 2u * f->options.sack_blocks : 0;
	for (uint32_t i = 0; i < edges && i < room; i++)
		store_be32(tcp + f->options.sack_at + 4 * i, f->sack_base + take(w->d, STREAM_SACK0, 4, f->sack_at + i));
}

static void
build_transport(struct walk *w, const struct packet_fields *f, uint8_t *l4)
{
	const struct flow *flow = &w->flow[f->dir];
	switch (flow->transport) {
	case TRANSPORT_TCP:
		build_tcp(w, f, l4);
		break;
	case TRANSPORT_UDP:
		store_be16(l4, flow->sport);
		store_be16(l4 + 2, flow->dport);
		store_be16(l4 + 4, f->udp_len);
		store_be16(l4 + 6, 0);
		break;
	case TRANSPORT_SCTP:
		store_be16(l4, flow->sport);
		store_be16(l4 + 2, flow->dport);
		store_be32(l4 + 4, f->rest);
		memcpy(l4 + 8, w->d->stream[STREAM_SUM] + w->sum_at, 4);
		w->sum_at += 4;
		break;
	case TRANSPORT_ICMP:
	case TRANSPORT_ICMP6:
		l4[0] = (uint8_t)flow->sport;
		l4[1] = (uint8_t)flow->dport;
		store_be16(l4 + 2, 0);
		store_be32(l4 + 4, f->rest);
		break;
	default:
		break;
	}
}

/* Where the checksum stands in the header, how many bytes from the header on it covers, and under which protocol's pseudo header
 * (0: none). False: there is none of 16 bits. */
static bool
find_checksum(const struct walk *w, const struct packet_fields *f, uint32_t *at, uint32_t *length, uint8_t *proto)
{
	*length = f->payload_bytes;
	switch (w->flow->transport) {
	case TRANSPORT_TCP:
		*at = 16;
		*proto = PROTO_TCP;
		return true;
	case TRANSPORT_UDP:
		*at = 6;
		*length = f->udp_len;
		*proto = PROTO_UDP;
		return true;
	case TRANSPORT_ICMP:
		*at = 2;
		*proto = 0;
		return true;
	case TRANSPORT_ICMP6:
		*at = 2;
		*proto = PROTO_ICMP6;
		return true;
	default:
		return false;
	}
}

/* The transport's checksum, once all that it covers is there. */
static void
build_checksum(struct walk *w, const struct packet_fields *f, const uint8_t *ip, uint8_t *l4)
{
	uint32_t at, length, header = f->transport_header;
	uint8_t proto;
	if (!find_checksum(w, f, &at, &length, &proto))
		return;
	struct sums sums = { .pseudo = proto ? pseudo_sum(w, ip, length, proto) : 0 };
	sums.headers = sums.pseudo + sum_words(l4, header);
	if (SHAPE_GET(f->word, SUM) == SUM_RIGHT) {
		uint32_t there = f->cap_len - (f->end - header), n = length < there ? length : there;
		sums.covered = n > header ? sum_words(l4 + header, n - header) : 0;
	}
	store_le16(l4 + at, captured_sum(w, f, &sums, proto == PROTO_UDP));
}

/* --- frames of a view --- */

/* Whether more of the packet is in other fragments: its transport's checksum covers that, too. */
static bool
more_fragments(const struct flow *flow, const struct packet_fields *f)
{
	uint8_t next = flow->first_proto;
	if (flow->net == NET_IP4)
		return f->frag & 0x2000;
	for (uint32_t at = 0; at < f->ip_string.n;) {
		const uint8_t *header = f->ip_string.p + at;
		if (next == PROTO_FRAGMENT)
			return header[3] & 1;
		at += next == PROTO_AUTH ? (header[1] + 2u) * 4 : (header[1] + 1u) * 8;
		next = header[0];
	}
	return false;
}

/* As build_checksum(), of a view. headers: the sum of the transport header as captured but for ports; in: the n captured bytes
 * behind it, of which `shown` are shown. */
static void
view_checksum(struct walk *w, const struct packet_fields *f, const uint8_t *ip, uint8_t *l4, uint64_t headers, const uint8_t *in,
              uint32_t n, uint32_t shown)
{
	uint32_t at, length, header = f->transport_header;
	uint8_t proto;
	if (!find_checksum(w, f, &at, &length, &proto))
		return;
	const struct flow *flow = &w->flow[f->dir];
	const struct view_change *change = &w->d->changes[2 * w->c + f->dir];
	uint32_t covers = length > header ? length - header : 0, there = covers < n ? covers : n;
	struct sums now = { .pseudo = proto ? pseudo_sum(w, ip, length, proto) : 0 };
	now.headers = now.pseudo + sum_words(l4, header);
	struct sums before = {
		.pseudo = now.pseudo + (proto ? change->addresses : 0),
		.covered = sum_words(in, there),
		.whole = covers <= n && !more_fragments(flow, f),
	};
	before.headers = before.pseudo + headers + change->ports;
	now.covered = shown ? sum_shown(in, there, l4 + header, shown) : before.covered;
	uint16_t field = captured_sum(w, f, &before, proto == PROTO_UDP);
	bool none = w->d->view->zero_checksums;
	store_le16(l4 + at, none ? 0 : packet_view_checksum(&before, &now, field, proto == PROTO_UDP));
}

/* The frame as the view shows it. Returns its length. */
static uint32_t
build_view(struct walk *w, struct packet_fields *f, uint8_t *p)
{
	const struct packet_decoder *d = w->d;
	const struct packet_view *v = d->view;
	const struct flow *flow = &w->flow[f->dir];
	uint32_t n = f->cap_len - f->end, shown = 0;
	if (flow->net == NET_RAW)
		return f->end + v->raw(d->view_state, &d->links[flow->link], w->behind, n, p + f->end);
	uint8_t *ip = p + f->link_bytes, *l4 = ip + f->ip_header;
	uint32_t sum_at = w->sum_at;
	uint64_t headers = 0;
	if (v->changes_transport) {
		build_transport(w, f, l4);
		headers = sum_words(l4, f->transport_header);
		w->sum_at = sum_at;
	}
	v->row(d->view_state, 2 * w->c + f->dir, flow, f);
	build_ip(w, f, ip);
	build_transport(w, f, l4);
	if (!v->changes_transport)
		headers = sum_words(l4, f->transport_header);
	if (flow->transport == TRANSPORT_SCTP)
		memset(l4 + 8, 0, 4); /* a CRC over chunks that are not shown */
	/* Behind the packet there may be padding, with anything in it. */
	uint32_t data = f->payload_bytes > f->transport_header ? f->payload_bytes - f->transport_header : 0;
	n = n < data ? n : data;
	if (d->behind[w->c] && n)
		shown = v->behind(d->view_state, 2 * w->c + f->dir, flow, f, w->behind, n, l4 + f->transport_header);
	view_checksum(w, f, ip, l4, headers, w->behind, n, shown);
	return f->end + shown;
}

/* The frame as it was captured. Returns its length. */
static uint32_t
build_frame(struct walk *w, struct packet_fields *f, uint8_t *p)
{
	uint8_t *ip = p + f->link_bytes;
	if (w->flow->net != NET_RAW) {
		build_ip(w, f, ip);
		build_transport(w, f, ip + f->ip_header);
	}
	if (f->cap_len > f->end)
		memcpy(p + f->end, w->behind, f->cap_len - f->end);
	if (w->flow->net != NET_RAW)
		build_checksum(w, f, ip, ip + f->ip_header);
	return f->cap_len;
}

static enum err
build_conversation(struct packet_decoder *d, uint32_t c)
{
	struct walk w;
	struct packet_fields f;
	walk_begin(&w, &f, d, c);
	for (uint32_t row = d->start[c]; row < d->start[c + 1]; row++) {
		TRY(walk_row(&w, row, &f));
		if (f.cap_len > d->image_room - d->image_bytes)
			return fail(ERR_FORMAT, "more captured bytes than a block can hold");
		uint8_t *p = d->image + d->image_bytes;
		const struct link *link = &d->links[w.flow[f.dir].link];
		uint32_t behind = f.cap_len - f.end;
		copy_piece(p, link->bytes, link->len);
		d->image_len[row] = d->view ? build_view(&w, &f, p) : build_frame(&w, &f, p);
		w.behind += behind;
		d->link_of[row] = (uint16_t)w.flow[f.dir].link;
		d->image_at[row] = d->image_bytes;
		d->image_bytes += d->image_len[row];
	}
	if (w.behind_left != 0)
		return fail(ERR_FORMAT, "bytes left over behind the headers");
	return OK;
}

/* How many bytes a view shows behind headers is known once they are shown: wants BATCH_BYTES. */
static enum err
view_lengths(struct packet_decoder *d, uint32_t c)
{
	uint32_t first = d->start[c];
	if (d->image_at[first] == NOT_BUILT)
		TRY(build_conversation(d, c));
	memcpy(d->cap_len + first, d->image_len + first, (d->start[c + 1] - first) * sizeof *d->cap_len);
	return OK;
}

enum err
packet_row_bytes(struct packet_decoder *d, uint32_t row, const uint8_t **bytes, uint32_t *n)
{
	assert(row < d->records);
	if (d->image_at[row] == NOT_BUILT) {
		uint32_t c = batch_conversation(&d->batch, row);
		assert(d->columns & (d->flows[2 * c].net == NET_RAW ? BATCH_BYTES | BATCH_RAW : BATCH_BYTES));
		TRY(build_conversation(d, c));
	}
	*bytes = d->image + d->image_at[row];
	*n = d->image_len[row];
	return OK;
}

/* Room for frames, or for those of NET_RAW rows only; none is built then. */
static enum err
take_image(struct packet_decoder *d, bool with_bytes)
{
	uint64_t raw = 0;
	TAKE_ROOM(d, d->image_len, d->records * sizeof *d->image_len);
	TAKE_ROOM(d, d->image_at, d->records * sizeof *d->image_at);
	TAKE_ROOM(d, d->link_of, d->records * sizeof *d->link_of);
	for (uint32_t c = 0; c < d->batch.conversations; c++) {
		uint32_t rows = d->start[c + 1] - d->start[c];
		const struct flow *f = &d->flows[2 * c];
		if (with_bytes || f->net == NET_RAW)
			memset(d->image_at + d->start[c], 0xff, rows * sizeof *d->image_at);
		raw += f->net == NET_RAW ? d->extra[c].bytes + (uint64_t)rows * d->links[f->link].len : 0;
	}
	/* Memory is cleared in large pages: a short query that builds a few frames should not touch another one for them. */
	d->image_room = with_bytes || raw > BLOCK_BYTES_MAX ? BLOCK_BYTES_MAX : (uint32_t)raw;
	TAKE_ROOM(d, d->image, d->image_room + FRAMES_SLACK);
	d->image_bytes = 0;
	return OK;
}

static enum err
check_raw(const struct packet_decoder *d)
{
	for (unsigned plane = 0; plane < 4; plane++)
		if (d->length[STREAM_RAW_LEN0 + plane] != d->raw_rows)
			return fail(ERR_FORMAT, "column RAW_LEN has %u values, its records take %u",
			            d->length[STREAM_RAW_LEN0 + plane], d->raw_rows);
	if (d->length[STREAM_RAW_BYTES] != d->raw_expected)
		return fail(ERR_FORMAT, "column RAW_BYTES has %u bytes, its records take %u", d->length[STREAM_RAW_BYTES],
		            d->raw_expected);
	return OK;
}

/* Checks the lengths of what frames are built from, and forgets what was built. */
static enum err
begin_frames(struct packet_decoder *d, bool with_bytes)
{
	TRY(check_raw(d));
	if (with_bytes && d->length[STREAM_BYTES] != d->bytes_expected)
		return fail(ERR_FORMAT, "column BYTES has %u bytes, its records take %u", d->length[STREAM_BYTES],
		            d->bytes_expected);
	return with_bytes || !(d->columns & (BATCH_BYTES | BATCH_RAW)) ? take_image(d, with_bytes) : OK;
}

/* Checks the lengths of what fields are decoded from, and finds where each conversation's are. */
static enum err
begin_fields(struct packet_decoder *d, bool with_sums)
{
	if (!d->have_cursors) {
		TRY(find_strings(d));
		TRY(find_cursors(d));
		d->have_cursors = true;
	}
	return need_uses(d, with_sums);
}

/* sel: NULL for all. All of them are decoded at once: with_lengths when cap_len is asked for, or was. */
static enum err
decode_fields(struct packet_decoder *d, const struct selection *sel, bool with_lengths)
{
	struct batch *b = &d->batch;
	TRY(take_columns(d));
	for (uint32_t c = 0; c < b->conversations; c++) {
		if (sel && !sel->conversation[c])
			continue;
		TRY(decode_columns(d, c));
		if (with_lengths && d->view && (d->behind[c] || d->flows[2 * c].net == NET_RAW))
			TRY(view_lengths(d, c));
	}
	b->cap_len = d->cap_len;
	b->tos = d->tos;
	b->ttl = d->ttl;
	b->ip_len = d->ip_len;
	b->ip_id = d->ip_id;
	b->ip_frag = d->ip_frag;
	b->tcp_seq = d->tcp_seq;
	b->tcp_ack = d->tcp_ack;
	b->tcp_win = d->tcp_win;
	return OK;
}

enum err
packet_rows_begin(struct packet_decoder *d, unsigned columns)
{
	if (columns & ROW_COLUMNS)
		TRY(begin_fields(d, columns & BATCH_BYTES));
	TRY(begin_frames(d, columns & BATCH_BYTES));
	return columns & FIELD_COLUMNS ? decode_fields(d, NULL, (columns | d->columns) & BATCH_CAP_LEN) : OK;
}

enum err
packet_rows_select(struct packet_decoder *d, const struct selection *sel)
{
	TRY(begin_fields(d, false));
	TRY(check_raw(d));
	return decode_fields(d, sel, d->columns & BATCH_CAP_LEN);
}
