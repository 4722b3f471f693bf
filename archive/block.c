#include "archive/block.h"

#include <assert.h>
#include <stdlib.h>

#include "archive/packet_encode.h"
#include "archive/seal.h"

#define KIND_PACKET 1u

static const struct {
	uint8_t chunk, effort;
} streams[STREAM_COUNT] = {
#define F(id, chunk, effort, room, description) { CHUNK_##chunk, PACK_##effort },
	PACKET_STREAMS(F)
#undef F
};

struct block_encoder {
	struct packet_encoder packet;
	struct packer *packer;
	struct pack_habit habits[STREAM_COUNT];
	uint8_t *out;
	size_t   room;
	uint32_t records;
};

static const size_t room_each = 0
#define F(id, chunk, effort, room, description) + (room)
	PACKET_STREAMS(F)
#undef F
	;

enum err
block_encoder_open(struct block_encoder **out)
{
	struct block_encoder *e = calloc(1, sizeof *e);
	if (!e)
		return fail(ERR_NOMEM, "out of memory");
	enum err error = packet_encoder_init(&e->packet);
	if (error == OK)
		error = packer_open(&e->packer);
	e->room = room_each * BLOCK_RECORDS_MAX + STREAM_COUNT * pack_bound(0) +
	          CHUNK_COUNT * (BLOCK_CHUNK_BYTES + SEAL_TAG_BYTES) + BLOCK_HEADER_BYTES;
	e->out = malloc(e->room); /* the worst case; only what is used becomes resident */
	if (error == OK && !e->out)
		error = fail(ERR_NOMEM, "out of memory");
	if (error != OK) {
		block_encoder_close(&e);
		return error;
	}
	*out = e;
	return OK;
}

void
block_encoder_close(struct block_encoder **e)
{
	if (!*e)
		return;
	packet_encoder_fini(&(*e)->packet);
	packer_close(&(*e)->packer);
	free((*e)->out);
	free(*e);
	*e = NULL;
}

/* Packs the streams of one chunk; returns false and leaves w alone when all of them are empty. */
static bool
pack_chunk(struct block_encoder *e, unsigned chunk, struct writer *w)
{
	const struct packet_encoder *p = &e->packet;
	bool any = false;
	for (unsigned i = 0; i < STREAM_COUNT; i++)
		any |= streams[i].chunk == chunk && p->at[i] != p->start[i];
	if (!any)
		return false;
	for (unsigned i = 0; i < STREAM_COUNT; i++)
		if (streams[i].chunk == chunk)
			pack_learned(e->packer, p->start[i], (uint32_t)(p->at[i] - p->start[i]), streams[i].effort,
			             &e->habits[i], w);
	return true;
}

static void
pack_block(struct block_encoder *e, struct block *b)
{
	uint8_t *table = e->out + BLOCK_HEADER_BYTES;
	struct writer w = writer_of(table + CHUNK_COUNT * BLOCK_CHUNK_BYTES,
	                            e->room - BLOCK_HEADER_BYTES - CHUNK_COUNT * BLOCK_CHUNK_BYTES);
	uint8_t *chunks = w.at;
	uint32_t count = 0;
	for (unsigned i = 0; i < CHUNK_COUNT; i++) {
		uint8_t *start = w.at;
		if (!pack_chunk(e, i, &w))
			continue;
		writer_room(&w, SEAL_TAG_BYTES);
		store_le32(table + count * BLOCK_CHUNK_BYTES, i);
		store_le32(table + count * BLOCK_CHUNK_BYTES + 4, (uint32_t)(w.at - start));
		count++;
	}
	assert(writer_ok(&w));
	size_t sealed = (size_t)(w.at - chunks);
	memmove(table + count * BLOCK_CHUNK_BYTES, chunks, sealed);
	b->stored = e->out;
	b->chunk_count = count;
	b->stored_bytes = (uint32_t)(BLOCK_HEADER_BYTES + count * BLOCK_CHUNK_BYTES + sealed);
}

enum err
block_encode(struct block_encoder *e, const struct frames *in, bool headers_only, struct block *out)
{
	uint64_t captured = 0;
	for (uint32_t i = 0; i < in->count; i++)
		captured += in->v[i].cap_len;
	if (in->count == 0 || in->count > BLOCK_RECORDS_MAX || captured > BLOCK_BYTES_MAX)
		return fail(ERR_LIMIT, "a block takes 1 to %u records with at most %u bytes", BLOCK_RECORDS_MAX,
		            BLOCK_BYTES_MAX);
	struct packet_encoder *p = &e->packet;
	packet_encode(p, in, headers_only);
	struct block b = {
		.info = {
			.records = in->count,
			.first_ns = p->first_ns,
			.last_ns = p->last_ns,
			.wire_bytes = p->wire_bytes,
			.captured_bytes = p->captured_bytes,
			.sampled = in->sampled ? in->sampled : 1,
			.sampler = in->sampler,
		},
		.ip4 = p->terms.ip4,
		.ip6 = (const uint8_t (*)[16])p->terms.ip6,
		.ports = p->terms.ports,
		.protos = p->terms.protos,
		.ip4_count = p->terms.ip4_count,
		.ip6_count = p->terms.ip6_count,
		.port_count = p->terms.port_count,
		.proto_count = p->terms.proto_count,
		.opaque = p->terms.opaque,
	};
	pack_block(e, &b);
	*out = b;
	return OK;
}

void
block_seal(struct block_encoder *e, struct block *b, const uint8_t key[BLOCK_KEY_BYTES])
{
	assert(b->stored == e->out);
	struct writer w = writer_of(e->out, BLOCK_HEADER_BYTES);
	struct block_header h = {
		.magic = BLOCK_MAGIC,
		.version = BLOCK_VERSION,
		.kind = KIND_PACKET,
		.chunks = (uint16_t)b->chunk_count,
		.records = b->info.records,
		.stored_bytes = b->stored_bytes,
		.sampled = b->info.sampled,
		.sampler = b->info.sampler,
	};
#define F(codec, type, field, description) writer_##codec(&w, h.field);
	BLOCK_HEADER(F)
#undef F
	uint8_t *table = e->out + BLOCK_HEADER_BYTES, *at = table + b->chunk_count * BLOCK_CHUNK_BYTES;
	for (uint32_t i = 0; i < b->chunk_count; i++) {
		uint32_t id = load_le32(table + i * BLOCK_CHUNK_BYTES);
		uint32_t sealed = load_le32(table + i * BLOCK_CHUNK_BYTES + 4);
		seal_chunk(key, e->out, id, at, sealed - SEAL_TAG_BYTES, at);
		at += sealed;
	}
	b->info.stored_bytes = b->stored_bytes;
}
