/* Packet columns from somebody hostile who has the key: the decoder answers with what the bytes say or refuses them, within
 * its bounds, and what it hands out holds together.
 *
 * Input: how, seed, then
 *   how even  operations on the streams of a block that was really encoded (from frames made of the seed), so that lengths
 *             agree and the fuzzer gets to the values: stream, kind, place, value (8 bytes each)
 *   how odd   chunks as they are: chunk, length, bytes
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "archive/block_read.h"
#include "archive/frames.h"
#include "archive/packet_decode.h"
#include "archive/packet_encode.h"
#include "archive/seal.h"
#include "tests/support/draft.h"
#include "tests/support/filter_cases.h"

#define STREAM_BYTES_MAX 4096u /* a stream may grow to this */
#define RECORDS_MAX      60u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct packet_encoder encoder;
static struct packet_decoder *decoder;
static struct packer *packer;
static struct block_examiner *examiner;
static struct frames *frames;

struct plane {
	uint8_t  p[STREAM_BYTES_MAX];
	uint32_t n;
};
static struct plane planes[STREAM_COUNT];

static const uint8_t chunk_of[STREAM_COUNT] = {
#define F(id, chunk, effort, room, description) CHUNK_##chunk,
	PACKET_STREAMS(F)
#undef F
};

static void
open_all(void)
{
	if (decoder)
		return;
	if (packet_encoder_init(&encoder) != OK || packet_decoder_open(&decoder) != OK || packer_open(&packer) != OK ||
	    seal_start() != OK || block_examiner_open(&examiner) != OK ||
	    frames_open(&frames, 1 << 20) != OK)
		abort();
}

/* --- what came out --- */

static uint64_t
look_flows(const struct batch *b)
{
	uint64_t sum = 0;
	assert(b->conversations >= 1 && b->conversations <= b->count);
	assert(b->start[0] == 0 && b->start[b->conversations] == b->count);
	for (uint32_t c = 0; c < b->conversations; c++)
		assert(b->start[c] < b->start[c + 1]);
	for (uint32_t i = 0; i < 2 * b->conversations; i++) {
		const struct flow *f = &b->flows[i];
		assert(f->net <= NET_IP6 && f->transport <= TRANSPORT_ICMP6 && f->link < b->link_count);
		if (f->net == NET_IP4)
			assert(f->src < b->ip4_count && f->dst < b->ip4_count);
		if (f->net == NET_IP6)
			assert(f->src < b->ip6_count && f->dst < b->ip6_count);
	}
	for (uint32_t i = 1; i < b->ip4_count; i++)
		assert(b->ip4[i - 1] < b->ip4[i]);
	for (uint32_t i = 1; i < b->ip6_count; i++)
		assert(memcmp(b->ip6[i - 1], b->ip6[i], 16) < 0);
	for (uint32_t i = 0; i < b->link_count; i++)
		for (uint32_t k = 0; k < b->links[i].len; k++)
			sum += b->links[i].bytes[k];
	return sum;
}

static uint64_t
look_rows(const struct batch *b, unsigned columns)
{
	static uint8_t seen[BLOCK_RECORDS_MAX];
	uint64_t sum = 0;
	if (columns & BATCH_ORDER) {
		memset(seen, 0, b->count);
		for (uint32_t i = 0; i < b->count; i++) {
			assert(b->row_of[i] < b->count && !seen[b->row_of[i]]);
			seen[b->row_of[i]] = 1;
		}
	}
	for (uint32_t row = 0; row < b->count; row++) {
		sum += columns & BATCH_DIR ? b->dir[row] : 0;
		assert(!(columns & BATCH_DIR) || b->dir[row] <= 1);
		sum += columns & BATCH_TS ? b->ts[row] : 0;
		sum += columns & BATCH_TIME ? b->time[row] : 0;
		sum += columns & BATCH_WIRE_LEN ? b->wire_len[row] : 0;
		sum += columns & BATCH_CAP_LEN ? b->cap_len[row] : 0;
		sum += columns & BATCH_TCP_FLAGS ? b->tcp_flags[row] : 0;
		sum += columns & BATCH_IP ? b->tos[row] + b->ttl[row] + b->ip_len[row] + b->ip_id[row] + b->ip_frag[row] : 0;
		sum += columns & BATCH_TCP ? b->tcp_seq[row] + b->tcp_ack[row] + b->tcp_win[row] : 0;
	}
	return sum;
}

static uint64_t
look_bytes(const struct batch *b, unsigned columns)
{
	uint64_t sum = 0, total = 0;
	for (uint32_t row = 0; row < b->count; row++) {
		const uint8_t *p = NULL;
		uint32_t n = 0;
		bool raw = b->flows[2 * batch_conversation(b, row)].net == NET_RAW;
		if (!(columns & BATCH_BYTES) && !(raw && columns & BATCH_RAW))
			continue;
		if (batch_bytes(b, row, &p, &n) != OK)
			return sum;
		total += n;
		assert(total <= BLOCK_BYTES_MAX);
		assert(!(columns & BATCH_CAP_LEN) || b->cap_len[row] == n);
		for (uint32_t k = 0; k < n; k++)
			sum += p[k];
	}
	return sum;
}

#define ROW_FUZZED (BATCH_BYTES | BATCH_CAP_LEN | BATCH_IP | BATCH_TCP)

/* Every fourth conversation, and every other row of half of these; before anything else was decoded. */
static bool
look_selected(unsigned columns)
{
	static uint8_t conversations[BLOCK_RECORDS_MAX], rows[BLOCK_RECORDS_MAX];
	static volatile uint64_t sink;
	const struct selection sel = { conversations, rows };
	const struct batch *b = NULL;
	uint64_t sum = 0;
	if (packet_decode(decoder, 0, &b) != OK)
		return false;
	for (uint32_t c = 0; c < b->conversations; c++)
		conversations[c] = c % 4 ? 0 : 1 + c / 4 % 2;
	for (uint32_t i = 0; i < b->count; i++)
		rows[i] = i % 2;
	columns |= BATCH_SELECTED | BATCH_RAW | BATCH_WIRE_LEN | BATCH_DIR | BATCH_TCP_FLAGS;
	if (packet_decode_selected(decoder, columns, &sel, &b) != OK)
		return false;
	for (uint32_t i = 0; i < b->selected_count; i++) {
		uint32_t row = b->selected[i].row, c = b->selected[i].conversation, n = 0;
		const uint8_t *p = NULL;
		assert(c < b->conversations && row >= b->start[c] && row < b->start[c + 1]);
		assert(b->dir[row] < 2 && (conversations[c] == 1 || rows[row]));
		sum += b->selected[i].time + b->wire_len[row] + b->tcp_flags[row];
		if ((b->flows[2 * c].net == NET_RAW || columns & BATCH_BYTES) && batch_bytes(b, row, &p, &n) == OK && n)
			sum += p[n - 1];
	}
	sink = sum;
	(void)sink;
	return true;
}

/* In two goes, as a query does that looks at some columns first. */
static bool
look(unsigned first)
{
	static volatile uint64_t sink;
	const struct batch *b = NULL;
	unsigned columns = first & BATCH_ALL;
	if (first & BATCH_SELECTED && !look_selected(first & ROW_FUZZED))
		return false;
	for (unsigned go = 0; go < 2; go++) {
		if (packet_decode(decoder, columns, &b) != OK)
			return false;
		sink = look_flows(b) + look_rows(b, columns) + look_bytes(b, columns);
		columns = BATCH_ALL;
	}
	(void)sink;
	return true;
}

/* --- streams of a real block --- */

static const uint16_t linktypes[] = { 1, 101, 113, 1, 0, 276, 105, 1 };

/* A TCP conversation with time stamps and SACK, whose predictions hold mostly: noise has none of that. */
static void
add_talk(struct dice *dice, uint32_t records)
{
	uint32_t seq[2] = { dice_roll(dice, 1000), 5000 }, stamp[2] = { 100, 900 }, behind[2] = { 0 };
	uint16_t id[2] = { 1, 7 };
	struct draft d;
	for (uint32_t i = 0; i < records; i++) {
		unsigned dir = dice_roll(dice, 2), payload = dice_roll(dice, 3) * 10;
		uint8_t options[24] = { 1, 1, 8, 10, [12] = 1, 1, 5, 10 };
		stamp[dir] += dice_roll(dice, 2) * dice_roll(dice, 400);
		id[dir] += (uint16_t)(dice_roll(dice, 4) ? 1 : dice_roll(dice, 3) * 256);
		store_be32(options + 4, stamp[dir]);
		store_be32(options + 8, dice_roll(dice, 4) ? stamp[!dir] : dice_roll(dice, 5));
		store_be32(options + 16, seq[!dir] + 10);
		store_be32(options + 20, seq[!dir] + 20);
		draft_start(&d);
		draft_ethernet(&d, 0x0800);
		draft_ip4(&d, dir ? 2 : 1, dir ? 1 : 2, 6, NULL, 0);
		store_be16(d.p + d.ip_at + 4, id[dir]);
		draft_tcp(&d, dir ? 80 : 4000, dir ? 4000 : 80, seq[dir] + dice_roll(dice, 8) / 7,
		          dice_roll(dice, 3) ? seq[!dir] : behind[!dir], 16, options, dice_roll(dice, 4) ? 12 : 24);
		draft_fill(&d, payload);
		draft_finish(&d);
		if (dice_roll(dice, 6) == 0)
			d.p[d.l4_at + 17] ^= 1;
		draft_add(&d, frames, 0, 1);
		behind[dir] = seq[dir];
		seq[dir] += payload;
	}
}

static void
make_planes(uint32_t seed)
{
	struct dice dice = { seed };
	frames_reset(frames);
	uint32_t records = 1 + dice_roll(&dice, RECORDS_MAX);
	if (dice_roll(&dice, 2))
		add_talk(&dice, dice_roll(&dice, records + 1));
	while (frames->count < records)
		make_frames(frames, &dice, linktypes[dice_roll(&dice, 8)], 1 + dice_roll(&dice, 30));
	frames->count = records;
	for (uint32_t i = 0; i < records; i++)
		frames->v[i].ts_ns = dice_roll(&dice, 3) ? i * 1000 : (uint64_t)dice_roll(&dice, UINT32_MAX) << dice_roll(&dice, 33);
	packet_encode(&encoder, frames, dice_roll(&dice, 2));
	for (unsigned i = 0; i < STREAM_COUNT; i++) {
		size_t bytes = (size_t)(encoder.at[i] - encoder.start[i]);
		planes[i].n = bytes < STREAM_BYTES_MAX ? (uint32_t)bytes : STREAM_BYTES_MAX;
		memcpy(planes[i].p, encoder.start[i], planes[i].n);
	}
}

static void
change(struct plane *p, const uint8_t *op)
{
	uint32_t at = load_le16(op + 2), value = load_le32(op + 4);
	uint32_t place = p->n ? at % p->n : 0;
	switch (op[1] % 6) {
	case 0: /* a value */
		if (p->n)
			p->p[place] = (uint8_t)value;
		break;
	case 1: /* a bit */
		if (p->n)
			p->p[place] ^= (uint8_t)(1u << value % 8);
		break;
	case 2: /* several bytes */
		if (p->n >= 4)
			store_le32(p->p + (place <= p->n - 4 ? place : p->n - 4), value);
		break;
	case 3: /* shorter */
		p->n = place;
		break;
	case 4: /* longer */
		for (uint32_t more = 1 + at % 64; more > 0 && p->n < STREAM_BYTES_MAX; more--)
			p->p[p->n++] = (uint8_t)value;
		break;
	default: /* as another one */
		*p = planes[value % STREAM_COUNT];
		break;
	}
}

static bool
decode_planes(uint32_t records, unsigned skipped, unsigned effort)
{
	static uint8_t chunks[STREAM_COUNT * (STREAM_BYTES_MAX + 16)]; /* the decoder unpacks pieces of them later */
	struct writer w = writer_of(chunks, sizeof chunks);
	packet_decoder_begin(decoder, records, 1, SAMPLER_ALL);
	for (unsigned c = 0; c < CHUNK_COUNT; c++) {
		uint8_t *chunk = w.at;
		if (c + 1 == skipped)
			continue;
		for (unsigned i = 0; i < STREAM_COUNT; i++)
			if (chunk_of[i] == c)
				pack(packer, planes[i].p, planes[i].n, effort, &w);
		if (packet_decoder_chunk(decoder, c, chunk, (size_t)(w.at - chunk)) != OK)
			return false;
	}
	return true;
}

/* The same as a sealed block that a monitor sends. */
static void
examine_planes(uint32_t records, unsigned skipped, unsigned effort)
{
	static uint8_t bytes[1024 + STREAM_COUNT * (STREAM_BYTES_MAX + 64)];
	static const uint8_t key[BLOCK_KEY_BYTES];
	uint32_t chunks = CHUNK_COUNT - (skipped >= 1 && skipped <= CHUNK_COUNT), i = 0;
	uint8_t *table = bytes + BLOCK_HEADER_BYTES, *at = table + chunks * BLOCK_CHUNK_BYTES;
	struct writer w = writer_of(at, sizeof bytes - (size_t)(at - bytes));
	uint8_t *starts[CHUNK_COUNT];
	for (unsigned c = 0; c < CHUNK_COUNT; c++) {
		if (c + 1 == skipped)
			continue;
		starts[i] = w.at;
		for (unsigned s = 0; s < STREAM_COUNT; s++)
			if (chunk_of[s] == c)
				pack(packer, planes[s].p, planes[s].n, effort, &w);
		assert(writer_room(&w, SEAL_TAG_BYTES));
		store_le32(table + i * BLOCK_CHUNK_BYTES, c);
		store_le32(table + i * BLOCK_CHUNK_BYTES + 4, (uint32_t)(w.at - starts[i]));
		i++;
	}
	struct block_header h = { BLOCK_MAGIC, BLOCK_VERSION, 1, (uint16_t)chunks, records, (uint32_t)(w.at - bytes), 1, 0 };
	struct writer head = writer_of(bytes, BLOCK_HEADER_BYTES);
#define F(codec, type, name, description) writer_##codec(&head, h.name);
	BLOCK_HEADER(F)
#undef F
	for (i = 0; i < chunks; i++) {
		uint32_t n = load_le32(table + i * BLOCK_CHUNK_BYTES + 4);
		seal_chunk(key, bytes, load_le32(table + i * BLOCK_CHUNK_BYTES), starts[i], n - SEAL_TAG_BYTES, starts[i]);
	}
	struct block b;
	for (unsigned depth = EXAMINE_INDEX; depth <= EXAMINE_ALL; depth++)
		if (block_examine(examiner, bytes, h.stored_bytes, key, 12345, depth, &b) == OK)
			for (uint32_t k = 1; k < b.ip4_count; k++)
				assert(b.ip4[k - 1] < b.ip4[k]);
}

static void
try_streams(const uint8_t *data, size_t n)
{
	if (n < 8)
		return;
	make_planes(load_le32(data));
	unsigned first = load_le16(data + 4), skipped = data[6] % 64, effort = data[7] % (PACK_BYTES + 1u);
	uint32_t records = frames->count;
	bool touched = skipped >= 1 && skipped <= CHUNK_COUNT;
	for (data += 8, n -= 8; n >= 8; data += 8, n -= 8) {
		touched = true;
		if (data[0] == 255)
			records = 1 + load_le16(data + 2) % BLOCK_RECORDS_MAX;
		else
			change(&planes[data[0] % STREAM_COUNT], data);
	}
	bool cut = false; /* streams of more than STREAM_BYTES_MAX */
	for (unsigned i = 0; i < STREAM_COUNT; i++)
		cut |= encoder.at[i] - encoder.start[i] > STREAM_BYTES_MAX;
	bool ok = decode_planes(records, skipped, effort) && look(first);
	examine_planes(records, skipped, effort);
	assert(ok || touched || cut);
}

static void
try_chunks(const uint8_t *data, size_t n)
{
	struct reader r = reader_of(data, n);
	unsigned first = reader_le16(&r);
	packet_decoder_begin(decoder, 1u + reader_le16(&r), 1, SAMPLER_ALL);
	uint8_t *chunks[CHUNK_COUNT] = { NULL }; /* each alone, so that reading on is noticed, as long as the decoder has the block */
	enum err e = OK;
	while (reader_left(&r) >= 3 && e == OK) {
		unsigned chunk = reader_u8(&r) % CHUNK_COUNT;
		size_t bytes = reader_le16(&r);
		if (bytes > reader_left(&r))
			bytes = reader_left(&r);
		const uint8_t *p = reader_view(&r, bytes);
		if (!p || chunks[chunk] || !(chunks[chunk] = malloc(bytes + 1)))
			break;
		memcpy(chunks[chunk], p, bytes);
		e = packet_decoder_chunk(decoder, chunk, chunks[chunk], bytes);
	}
	if (e == OK)
		(void)look(first);
	for (unsigned c = 0; c < CHUNK_COUNT; c++)
		free(chunks[c]);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	open_all();
	if (n < 1)
		return 0;
	if (data[0] % 2)
		try_chunks(data + 1, n - 1);
	else
		try_streams(data + 1, n - 1);
	return 0;
}
