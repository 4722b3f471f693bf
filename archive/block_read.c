#include "archive/block_read.h"

#include <assert.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "archive/packet_decode.h"
#include "archive/seal.h"
#include "archive/terms.h"
#include "base/bytes.h"
#include "base/io.h"

struct chunk_table {
	uint8_t  header[BLOCK_HEADER_BYTES];
	uint32_t count;
	struct {
		uint32_t id, sealed_bytes, at; /* at: from the start of the block */
	} v[CHUNK_COUNT];
};

struct block_decoder {
	struct packet_decoder *packet;
	uint64_t serial;             /* of the block that it holds; 0: nothing */
	struct chunk_table table;    /* of that block */
	uint8_t *stored;             /* its opened chunks, each where it stands in the block; room of packet's */
};

uint64_t
block_serials(uint32_t n)
{
	static _Atomic uint64_t next = 1;
	return atomic_fetch_add(&next, n);
}

enum err
block_decoder_open(struct block_decoder **out, const struct packet_view *view)
{
	struct block_decoder *d = calloc(1, sizeof *d);
	if (!d)
		return fail(ERR_NOMEM, "out of memory");
	enum err e = packet_decoder_open(&d->packet, view);
	if (e != OK) {
		free(d);
		return e;
	}
	*out = d;
	return OK;
}

void
block_decoder_close(struct block_decoder **d)
{
	if (!*d)
		return;
	packet_decoder_close(&(*d)->packet);
	free(*d);
	*d = NULL;
}

/* p holds the block's first n bytes; enough for header and table of CHUNK_COUNT, or all of the block. */
static enum err
parse_block_header(const struct block_info *info, const uint8_t *p, size_t n, struct chunk_table *table)
{
	struct reader r = reader_of(p, n);
	struct block_header h;
#define F(codec, type, name, description) h.name = reader_##codec(&r);
	BLOCK_HEADER(F)
#undef F
	if (!reader_ok(&r) || h.magic != BLOCK_MAGIC || h.records != info->records || h.stored_bytes != info->stored_bytes ||
	    h.sampled != info->sampled || h.sampler != info->sampler)
		return fail(ERR_FORMAT, "the header is damaged");
	if (h.version != BLOCK_VERSION || h.kind != 1)
		return fail(ERR_UNSUPPORTED, "version %u, kind %u of block; this program knows version %u, kind 1", h.version,
		            h.kind, BLOCK_VERSION);
	uint64_t at = BLOCK_HEADER_BYTES + (uint64_t)h.chunks * BLOCK_CHUNK_BYTES;
	if (h.chunks > CHUNK_COUNT)
		return fail(ERR_FORMAT, "the header is damaged");
	memcpy(table->header, p, sizeof table->header);
	table->count = h.chunks;
	for (uint32_t i = 0; i < h.chunks; i++) {
		uint32_t id = reader_le32(&r), sealed = reader_le32(&r);
		if (!reader_ok(&r) || id >= CHUNK_COUNT || (i > 0 && id <= table->v[i - 1].id) ||
		    sealed < SEAL_TAG_BYTES || at > info->stored_bytes || sealed > info->stored_bytes - at)
			return fail(ERR_FORMAT, "the chunk table is damaged");
		table->v[i].id = id;
		table->v[i].sealed_bytes = sealed;
		table->v[i].at = (uint32_t)at;
		at += sealed;
	}
	return at == info->stored_bytes ? OK : fail(ERR_FORMAT, "the chunk table is damaged");
}

/* Reads the chunks first .. end of the table, which lie one behind the other. */
static enum err
read_chunks(const struct stored_block *b, struct block_decoder *d, uint32_t first, uint32_t end, uint64_t *bytes_read)
{
	const struct chunk_table *t = &d->table;
	uint32_t at = t->v[first].at, n = t->v[end - 1].at + t->v[end - 1].sealed_bytes - at;
	if (b->bytes)
		return OK;
	*bytes_read += n;
	return io_pread(b->fd, d->stored + at, n, b->info->at + at, b->path);
}

/* A chunk is decrypted where it was read; one of a block in memory, which is not ours to change, into the decoder's room. */
static enum err
open_chunk(const struct stored_block *b, struct block_decoder *d, uint32_t i)
{
	uint32_t id = d->table.v[i].id, at = d->table.v[i].at, n = d->table.v[i].sealed_bytes;
	uint8_t *p = d->stored + at;
	enum err e = unseal_chunk(b->key, d->table.header, id, b->bytes ? b->bytes + at : p, n, p);
	if (e == OK)
		e = packet_decoder_chunk(d->packet, id, p, n - SEAL_TAG_BYTES);
	return e == OK ? OK : fail_prefix(e, "column %s: ", packet_chunk_name(id));
}

static enum err
load_chunks(const struct stored_block *b, struct block_decoder *d, unsigned chunks, uint64_t *bytes_read)
{
	const struct chunk_table *t = &d->table;
	for (uint32_t i = 0; i < t->count;) {
		uint32_t first = i;
		while (i < t->count && chunks >> t->v[i].id & 1)
			i++;
		if (i > first)
			TRY(read_chunks(b, d, first, i, bytes_read));
		else
			i++;
		for (uint32_t k = first; k < i && chunks >> t->v[k].id & 1; k++)
			TRY(open_chunk(b, d, k));
	}
	return OK;
}

static enum err
read_block_header(const struct stored_block *b, struct chunk_table *table, uint64_t *bytes_read)
{
	uint8_t head[BLOCK_HEADER_BYTES + CHUNK_COUNT * BLOCK_CHUNK_BYTES];
	size_t n = b->info->stored_bytes < sizeof head ? b->info->stored_bytes : sizeof head;
	if (b->bytes)
		return parse_block_header(b->info, b->bytes, n, table);
	TRY(io_pread(b->fd, head, n, b->info->at, b->path));
	*bytes_read += n;
	return parse_block_header(b->info, head, n, table);
}

enum err
block_cost(const struct stored_block *b, unsigned columns, uint64_t *bytes)
{
	struct chunk_table table;
	unsigned chunks = packet_chunks_for(columns);
	uint64_t n = 0;
	TRY(read_block_header(b, &table, &n));
	for (uint32_t i = 0; i < table.count; i++)
		n += chunks >> table.v[i].id & 1 ? table.v[i].sealed_bytes : 0;
	*bytes = n;
	return OK;
}

static enum err
begin_block(struct block_decoder *d, const struct stored_block *b, uint64_t *bytes_read)
{
	packet_decoder_begin(d->packet, b->info->records, b->info->sampled, b->info->sampler);
	TRY(packet_decoder_room(d->packet, b->info->stored_bytes, &d->stored));
	return read_block_header(b, &d->table, bytes_read);
}

static enum err
load(struct block_decoder *d, const struct stored_block *b, unsigned columns, const struct selection *sel,
     const struct batch **out, uint64_t *bytes_read)
{
	uint64_t held = d->serial, ignored = 0;
	bytes_read = bytes_read ? bytes_read : &ignored;
	d->serial = 0; /* until all went well */
	columns = packet_decoder_columns(d->packet, columns);
	if (held != b->serial)
		TRY(begin_block(d, b, bytes_read));
	TRY(load_chunks(b, d, packet_chunks_for(columns) & ~packet_decoder_chunks(d->packet), bytes_read));
	TRY(sel ? packet_decode_selected(d->packet, columns, sel, out) : packet_decode(d->packet, columns, out));
	d->serial = b->serial;
	return OK;
}

enum err
block_load(struct block_decoder *d, const struct stored_block *b, unsigned columns, const struct batch **out,
           uint64_t *bytes_read)
{
	return load(d, b, columns, NULL, out, bytes_read);
}

enum err
block_load_selected(struct block_decoder *d, const struct stored_block *b, unsigned columns, const struct selection *sel,
                    const struct batch **out, uint64_t *bytes_read)
{
	return load(d, b, columns, sel, out, bytes_read);
}

/* --- checks --- */

/* Sums and extremes over the records. */
static void
sum_up(const struct batch *b, struct block_info *info)
{
	info->wire_bytes = info->last_ns = 0;
	info->first_ns = UINT64_MAX;
	for (uint32_t row = 0; row < b->count; row++)
		info->wire_bytes += b->wire_len[row];
	for (uint32_t i = 0; i < b->count; i++) {
		info->first_ns = b->time[i] < info->first_ns ? b->time[i] : info->first_ns;
		info->last_ns = b->time[i] > info->last_ns ? b->time[i] : info->last_ns;
	}
}

static uint64_t
captured_bytes_of(const struct batch *b)
{
	uint64_t sum = 0;
	for (uint32_t row = 0; row < b->count; row++)
		sum += b->cap_len[row];
	return sum;
}

static enum err
rebuild_all(const struct batch *b)
{
	for (uint32_t row = 0; row < b->count; row++) {
		const uint8_t *p = NULL;
		uint32_t n = 0;
		TRY(batch_bytes(b, row, &p, &n));
	}
	return OK;
}

enum err
block_check(struct block_decoder *d, const struct stored_block *b)
{
	const struct block_info *info = b->info;
	const struct batch *batch = NULL;
	struct block_info sums = { 0 };
	uint8_t hash[SEGMENT_HASH_BYTES];
	/* Decode first: it can name the column. */
	TRY(block_load(d, b, BATCH_ALL, &batch, NULL));
	sum_up(batch, &sums);
	if (sums.wire_bytes != info->wire_bytes || captured_bytes_of(batch) != info->captured_bytes ||
	    sums.first_ns != info->first_ns || sums.last_ns != info->last_ns)
		return fail(ERR_FORMAT, "the records are not those that the block table describes");
	TRY(rebuild_all(batch));
	d->serial = 0; /* its room is used for other bytes now */
	packet_decoder_begin(d->packet, info->records, info->sampled, info->sampler);
	TRY(packet_decoder_room(d->packet, info->stored_bytes, &d->stored));
	TRY(io_pread(b->fd, d->stored, info->stored_bytes, info->at, b->path));
	crypto_generichash(hash, sizeof hash, d->stored, info->stored_bytes, NULL, 0);
	if (memcmp(hash, info->hash, sizeof hash) != 0)
		return fail(ERR_FORMAT, "the stored bytes are not those that were written");
	return OK;
}

/* --- blocks from elsewhere --- */

struct block_examiner {
	struct block_decoder *decoder;
	struct terms terms;
};

enum err
block_examiner_open(struct block_examiner **out)
{
	struct block_examiner *x = calloc(1, sizeof *x);
	if (!x)
		return fail(ERR_NOMEM, "out of memory");
	enum err e = block_decoder_open(&x->decoder, NULL);
	if (e == OK)
		e = terms_init(&x->terms);
	if (e != OK) {
		block_examiner_close(&x);
		return e;
	}
	*out = x;
	return OK;
}

void
block_examiner_close(struct block_examiner **x)
{
	if (!*x)
		return;
	block_decoder_close(&(*x)->decoder);
	terms_fini(&(*x)->terms);
	free(*x);
	*x = NULL;
}

enum err
block_header_info(const uint8_t *bytes, uint32_t n, struct block_info *info)
{
	struct chunk_table table;
	struct reader r = reader_of(bytes, n);
	struct block_header h;
#define F(codec, type, name, description) h.name = reader_##codec(&r);
	BLOCK_HEADER(F)
#undef F
	if (!reader_ok(&r) || h.stored_bytes != n || h.records == 0 || h.records > BLOCK_RECORDS_MAX || h.sampled == 0 ||
	    h.sampler >= SAMPLER_COUNT_OF || (h.sampler == SAMPLER_ALL && h.sampled != 1))
		return fail(ERR_FORMAT, "the block's header is damaged");
	struct block_info i = {
		.stored_bytes = n,
		.records = h.records,
		.sampled = h.sampled,
		.sampler = (uint8_t)h.sampler,
	};
	TRY(parse_block_header(&i, bytes, n, &table));
	*info = i;
	return OK;
}

static enum err
note_terms(struct terms *t, const struct batch *b)
{
	if (b->ip4_count > 2 * BLOCK_RECORDS_MAX || b->ip6_count > 2 * BLOCK_RECORDS_MAX)
		return fail(ERR_LIMIT, "more addresses than a block can have");
	terms_reset(t);
	for (uint32_t c = 0; c < b->conversations; c++) {
		const struct flow *f = &b->flows[2 * c];
		terms_flow(t, f->net, f->transport, f->proto, f->first_proto, f->flags, f->sport, f->dport);
		for (uint32_t row = b->start[c]; f->net == NET_RAW && row < b->start[c + 1]; row++) {
			const uint8_t *p = NULL;
			uint32_t n = 0;
			struct dissection d;
			TRY(batch_bytes(b, row, &p, &n));
			uint16_t linktype = b->links[b->flows[2 * c + b->dir[row]].link].linktype;
			dissect(linktype, p, n, &d);
			terms_raw(t, p, n, &d, linktype);
		}
	}
	terms_in_order(t);
	for (uint32_t i = 0; i < b->ip4_count; i++)
		terms_ip4(t, b->ip4[i]);
	for (uint32_t i = 0; i < b->ip6_count; i++)
		terms_ip6(t, b->ip6[i]);
	terms_finish(t);
	return OK;
}

/* The terms, in x until its next block. */
static void
terms_out(const struct terms *t, struct block *out)
{
	out->ip4 = t->ip4;
	out->ip6 = (const uint8_t (*)[16])t->ip6;
	out->ports = t->ports;
	out->protos = t->protos;
	out->ip4_count = t->ip4_count;
	out->ip6_count = t->ip6_count;
	out->port_count = t->port_count;
	out->proto_count = t->proto_count;
	out->opaque = t->opaque;
}

enum err
block_terms(struct block_examiner *x, const struct stored_block *stored, struct block *out)
{
	const struct batch *b = NULL;
	TRY(block_load(x->decoder, stored, BATCH_DIR | BATCH_RAW, &b, NULL));
	TRY(note_terms(&x->terms, b));
	*out = (struct block){ .info = *stored->info };
	terms_out(&x->terms, out);
	return OK;
}

enum err
block_examine(struct block_examiner *x, const uint8_t *bytes, uint32_t n, const uint8_t key[BLOCK_KEY_BYTES],
              uint64_t claimed_captured_bytes, enum examine depth, struct block *out)
{
	unsigned columns = depth == EXAMINE_ALL ? BATCH_ALL : BATCH_DIR | BATCH_TIME_ALONE | BATCH_WIRE_LEN | BATCH_RAW;
	struct block_info info;
	const struct batch *b = NULL;
	TRY(block_header_info(bytes, n, &info));
	struct stored_block stored = { .serial = block_serials(1), .info = &info, .key = key, .fd = -1, .bytes = bytes };
	TRY(block_load(x->decoder, &stored, columns, &b, NULL));
	x->decoder->serial = 0; /* info is about to go */
	sum_up(b, &info);
	info.captured_bytes = claimed_captured_bytes;
	if (claimed_captured_bytes > BLOCK_BYTES_MAX)
		return fail(ERR_LIMIT, "a block of more than %u captured bytes", BLOCK_BYTES_MAX);
	if (depth == EXAMINE_ALL && captured_bytes_of(b) != claimed_captured_bytes)
		return fail(ERR_FORMAT, "a block with another number of captured bytes than claimed");
	if (depth == EXAMINE_ALL)
		TRY(rebuild_all(b));
	TRY(note_terms(&x->terms, b));
	*out = (struct block){ .stored = bytes, .stored_bytes = n, .info = info };
	terms_out(&x->terms, out);
	return OK;
}
