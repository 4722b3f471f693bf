#include "archive/arrival.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "archive/block_read.h"
#include "base/bytes.h"

/* A message is all fields but the contents of views, in the order of the table (a text as le16 length and bytes, a view as its
 * le32 length), then the contents of the views in that order. */
#define HEAD_BYTES_MAX (4u * ARRIVAL_TEXT_BYTES + STREAM_NAME_BYTES)

struct outgoing {
	struct writer       w;
	struct channel_part parts[CHANNEL_PARTS_MAX];
	size_t              count;
};

static void
put_text(struct outgoing *o, const char *text, size_t size)
{
	size_t n = strnlen(text, size);
	assert(n < size);
	writer_le16(&o->w, (uint16_t)n);
	writer_put(&o->w, text, n);
}

static void
put_view(struct outgoing *o, const uint8_t *bytes, uint32_t n, size_t size)
{
	assert(n <= size && o->count < CHANNEL_PARTS_MAX);
	writer_le32(&o->w, n);
	if (n)
		o->parts[o->count++] = (struct channel_part){ bytes, n };
}

#define PUT_u8(o, from, size, name)    writer_u8(&(o)->w, (from)->name);
#define PUT_le32(o, from, size, name)  writer_le32(&(o)->w, (from)->name);
#define PUT_le64(o, from, size, name)  writer_le64(&(o)->w, (from)->name);
#define PUT_bytes(o, from, size, name) writer_put(&(o)->w, (from)->name, size);
#define PUT_text(o, from, size, name)  put_text(o, (from)->name, size);
#define PUT_view(o, from, size, name)  put_view(o, (from)->name, (from)->name##_count, size);
#define F(kind, size, name, meaning)   PUT_##kind(o, from, size, name)
#define M(TABLE, noun, number, to, meaning)                                                    \
	static void put_##noun(struct outgoing *o, const struct arrival_##noun *from)          \
	{                                                                                      \
		ARRIVAL_##TABLE(F)                                                             \
	}
ARRIVAL_MESSAGES(M)
#undef M
#undef F

enum err
arrival_send(struct channel *c, const struct arrival_message *m)
{
	uint8_t head[HEAD_BYTES_MAX];
	struct outgoing o = { .w = writer_of(head, sizeof head), .count = 1 };
	switch (m->kind) {
#define M(TABLE, noun, number, to, meaning)        \
	case ARRIVAL_KIND_##TABLE:                 \
		put_##noun(&o, &m->noun);          \
		break;
		ARRIVAL_MESSAGES(M)
#undef M
	}
	assert(writer_ok(&o.w));
	o.parts[0] = (struct channel_part){ head, (size_t)(o.w.at - head) };
	return channel_send(c, (uint8_t)m->kind, o.parts, o.count);
}

/* Fills text when it has n < size bytes without NUL. */
static bool
get_text(struct reader *r, char *text, size_t size)
{
	size_t n = reader_le16(r);
	const uint8_t *p = n < size ? reader_view(r, n) : NULL;
	if (!p || memchr(p, 0, n))
		return false;
	memcpy(text, p, n);
	memset(text + n, 0, size - n);
	return true;
}

static bool
get_count(struct reader *r, uint32_t *n, size_t size)
{
	*n = reader_le32(r);
	return *n <= size;
}

static bool
get_view(struct reader *r, const uint8_t **bytes, uint32_t n)
{
	*bytes = reader_view(r, n);
	return reader_ok(r);
}

/* All but the views, then the views. */
#define GET_u8(r, to, size, name)    (to)->name = reader_u8(r);
#define GET_le32(r, to, size, name)  (to)->name = reader_le32(r);
#define GET_le64(r, to, size, name)  (to)->name = reader_le64(r);
#define GET_bytes(r, to, size, name) reader_get(r, (to)->name, size);
#define GET_text(r, to, size, name)  good = good && get_text(r, (to)->name, size);
#define GET_view(r, to, size, name)  good = good && get_count(r, &(to)->name##_count, size);
#define SEE_u8(r, to, name)
#define SEE_le32(r, to, name)
#define SEE_le64(r, to, name)
#define SEE_bytes(r, to, name)
#define SEE_text(r, to, name)
#define SEE_view(r, to, name)          good = good && get_view(r, &(to)->name, (to)->name##_count);
#define F(kind, size, name, meaning)   GET_##kind(r, to, size, name)
#define FV(kind, size, name, meaning)  SEE_##kind(r, to, name)
#define M(TABLE, noun, number, side, meaning)                                                  \
	static bool get_##noun(struct reader *r, struct arrival_##noun *to)                    \
	{                                                                                      \
		bool good = true;                                                              \
		ARRIVAL_##TABLE(F)                                                             \
		ARRIVAL_##TABLE(FV)                                                            \
		return good && reader_done(r);                                                 \
	}
ARRIVAL_MESSAGES(M)
#undef M
#undef F
#undef FV

enum err
arrival_decode(const struct channel_message *in, enum arrival_to side, struct arrival_message *m)
{
	struct arrival_message out = { .kind = (enum arrival_kind)in->kind };
	struct reader r = reader_of(in->bytes, in->n);
	bool good = false;
	switch (in->kind) {
#define M(TABLE, noun, number, to, meaning)                                    \
	case number:                                                           \
		good = side == ARRIVAL_TO_##to && get_##noun(&r, &out.noun);   \
		break;
		ARRIVAL_MESSAGES(M)
#undef M
	default:
		break;
	}
	if (!good)
		return fail(ERR_FORMAT, "the other process sent a damaged message (%s, %zu bytes)", arrival_kind_name(in->kind), in->n);
	*m = out;
	return OK;
}

const char *
arrival_kind_name(unsigned kind)
{
	switch (kind) {
#define M(TABLE, noun, number, to, meaning) case number: return #TABLE;
		ARRIVAL_MESSAGES(M)
#undef M
	default:
		return "unknown";
	}
}

/* --- the table of monitors --- */

#define ENTRY_le32(w, from, size, name)  writer_le32(w, (from)->name);
#define ENTRY_bytes(w, from, size, name) writer_put(w, (from)->name, size);

void
arrival_monitor_put(const struct arrival_monitor *monitor, uint8_t out[ARRIVAL_MONITOR_BYTES])
{
	struct writer w = writer_of(out, ARRIVAL_MONITOR_BYTES);
#define F(kind, size, name, meaning) ENTRY_##kind(&w, monitor, size, name)
	ARRIVAL_MONITOR(F)
#undef F
	assert(writer_ok(&w) && w.at == w.end);
}

static void
read_monitor(struct reader *r, struct arrival_monitor *to)
{
#define F(kind, size, name, meaning) GET_##kind(r, to, size, name)
	ARRIVAL_MONITOR(F)
#undef F
}

bool
arrival_monitor_at(const struct arrival_monitors *m, uint32_t i, struct arrival_monitor *out)
{
	if (i >= m->entries_count / ARRIVAL_MONITOR_BYTES)
		return false;
	struct reader r = reader_of(m->entries + (size_t)i * ARRIVAL_MONITOR_BYTES, ARRIVAL_MONITOR_BYTES);
	read_monitor(&r, out);
	return reader_done(&r) && out->state <= ARRIVAL_STATE_QUARANTINED && out->name[0] &&
	       memchr(out->name, 0, sizeof out->name);
}

/* --- a block's terms --- */

enum err
arrival_terms_init(struct arrival_terms *t)
{
	*t = (struct arrival_terms){
		.ip4 = malloc(ARRIVAL_ADDRESSES_MAX * sizeof *t->ip4),
		.ip6 = malloc(ARRIVAL_ADDRESSES_MAX * sizeof *t->ip6),
		.ports = malloc(ARRIVAL_PORTS_MAX * sizeof *t->ports),
		.protos = malloc(256),
	};
	if (t->ip4 && t->ip6 && t->ports && t->protos)
		return OK;
	arrival_terms_fini(t);
	return fail(ERR_NOMEM, "no memory for the terms of a block");
}

void
arrival_terms_fini(struct arrival_terms *t)
{
	free(t->ip4);
	free(t->ip6);
	free(t->ports);
	free(t->protos);
	*t = (struct arrival_terms){ 0 };
}

/* Copies the lists and holds that they ascend, which whoever searches them relies on. */
static bool
copy_terms(struct arrival_terms *t, const struct arrival_parcel *m)
{
	uint32_t n4 = m->ip4_count / 4, n6 = m->ip6_count / 16, ports = m->ports_count / 2;
	bool good = m->ip4_count % 4 == 0 && m->ip6_count % 16 == 0 && m->ports_count % 2 == 0;
	if (!good)
		return false;
	for (uint32_t i = 0; i < n4; i++) {
		t->ip4[i] = load_le32(m->ip4 + 4 * (size_t)i);
		good = good && (i == 0 || t->ip4[i] > t->ip4[i - 1]);
	}
	if (n6)
		memcpy(t->ip6, m->ip6, m->ip6_count);
	for (uint32_t i = 1; i < n6; i++)
		good = good && memcmp(t->ip6[i - 1], t->ip6[i], 16) < 0;
	for (uint32_t i = 0; i < ports; i++) {
		t->ports[i] = load_le16(m->ports + 2 * (size_t)i);
		good = good && (i == 0 || t->ports[i] > t->ports[i - 1]);
	}
	if (m->protos_count)
		memcpy(t->protos, m->protos, m->protos_count);
	for (uint32_t i = 1; i < m->protos_count; i++)
		good = good && t->protos[i] > t->protos[i - 1];
	return good;
}

enum err
arrival_block(struct arrival_terms *t, const struct arrival_parcel *m, const struct parcel *p, struct block *out)
{
	struct block_info info;
	if (p->kind != PARCEL_BLOCK || m->block_count != p->block_bytes)
		return fail(ERR_FORMAT, "a parcel without its block");
	TRY(block_header_info(m->block, m->block_count, &info));
	if (info.records != p->records || info.sampled != m->sampled || info.sampler != m->sampler || m->opaque > 1)
		return fail(ERR_FORMAT, "a block that is not what its parcel says");
	if (!copy_terms(t, m))
		return fail(ERR_FORMAT, "a block whose terms do not ascend");
	info.first_ns = p->first_ns;
	info.last_ns = p->last_ns;
	info.wire_bytes = m->wire_bytes;
	info.captured_bytes = p->captured_bytes;
	memcpy(info.hash, p->hash, sizeof info.hash);
	*out = (struct block){
		.stored = m->block,
		.stored_bytes = m->block_count,
		.info = info,
		.ip4 = t->ip4,
		.ip6 = (const uint8_t (*)[16])t->ip6,
		.ports = t->ports,
		.protos = t->protos,
		.ip4_count = m->ip4_count / 4,
		.ip6_count = m->ip6_count / 16,
		.port_count = m->ports_count / 2,
		.proto_count = m->protos_count,
		.opaque = m->opaque,
	};
	return OK;
}

void
arrival_parcel_of(const struct parcel *p, const struct block *b, struct arrival_parcel *m)
{
	m->front = p->front;
	m->front_count = p->front_bytes;
	if (!b)
		return;
	m->wire_bytes = b->info.wire_bytes;
	m->sampled = b->info.sampled;
	m->sampler = b->info.sampler;
	m->opaque = b->opaque;
	m->block = p->block;
	m->block_count = p->block_bytes;
	m->ip4 = (const uint8_t *)b->ip4;
	m->ip4_count = b->ip4_count * 4;
	m->ip6 = (const uint8_t *)b->ip6;
	m->ip6_count = b->ip6_count * 16;
	m->ports = (const uint8_t *)b->ports;
	m->ports_count = b->port_count * 2;
	m->protos = b->protos;
	m->protos_count = b->proto_count;
}
