#include "ingest/wire.h"

#include <assert.h>
#include <string.h>

#define MAGIC_BYTES 8u

/* --- preamble --- */

void
wire_preamble(uint8_t out[WIRE_PREAMBLE_BYTES])
{
	memcpy(out, WIRE_MAGIC, MAGIC_BYTES);
	store_le16(out + 8, WIRE_VERSION);
	store_le16(out + 10, WIRE_VERSION);
}

enum err
wire_preamble_read(const uint8_t p[WIRE_PREAMBLE_BYTES], unsigned *version)
{
	unsigned lowest = load_le16(p + 8), highest = load_le16(p + 10);
	if (memcmp(p, WIRE_MAGIC, MAGIC_BYTES) != 0)
		return fail(ERR_FORMAT, "the other side does not speak Atoll's protocol: check host and port");
	if (lowest == 0 || lowest > highest)
		return fail(ERR_FORMAT, "the other side says it speaks versions %u to %u", lowest, highest);
	if (lowest > WIRE_VERSION || highest < WIRE_VERSION)
		return fail(ERR_UNSUPPORTED, "the other side speaks versions %u to %u of the protocol, this program %u: update the older one",
		            lowest, highest, WIRE_VERSION);
	*version = WIRE_VERSION;
	return OK;
}

/* --- names --- */

const char *
wire_name(unsigned type)
{
	switch (type) {
#define M(TABLE, noun, number, from, meaning) \
	case number:                          \
		return #TABLE;
		WIRE_MESSAGES(M)
#undef M
	}
	return NULL;
}

unsigned
wire_from(unsigned type)
{
	switch (type) {
#define M(TABLE, noun, number, from, meaning) \
	case number:                          \
		return WIRE_FROM_##from;
		WIRE_MESSAGES(M)
#undef M
	}
	return 0;
}

const char *
wire_refusal_name(unsigned code)
{
	static const char *const names[] = { "none", "not enrolled", "revoked", "quarantined", "wrong archive", "damaged",
		                             "out of order", "too large", "quota", "unsupported version" };
#define F(name, number, meaning, remedy) +1
	_Static_assert(sizeof names / sizeof *names == 1 WIRE_REFUSALS(F), "a name for each code");
#undef F
	return code < sizeof names / sizeof *names ? names[code] : "unknown";
}

/* --- encoding --- */

/* At most room - 1 bytes of text, whole UTF-8 characters as far as the text has them. */
static void
put_text(struct writer *w, const char *text, size_t room)
{
	size_t n = strnlen(text, room);
	if (n == room)
		for (n = room - 1; n > 0 && ((uint8_t)text[n] & 0xc0) == 0x80;)
			n--;
	writer_u8(w, (uint8_t)n);
	uint8_t *p = writer_room(w, n);
	for (size_t i = 0; p && i < n; i++)
		p[i] = (uint8_t)text[i] < 32 || text[i] == 127 ? '?' : (uint8_t)text[i];
}

#define PUT_u8(from)   writer_u8(w, from);
#define PUT_le32(from) writer_le32(w, from);
#define PUT_le64(from) writer_le64(w, from);
#define PUT_id(from)   writer_put(w, from, 16);
#define PUT_key(from)  writer_put(w, from, 32);
#define PUT_hash(from) writer_put(w, from, 32);
#define PUT_name(from) put_text(w, from, STREAM_NAME_BYTES);
#define PUT_text(from) put_text(w, from, WIRE_TEXT_BYTES);
#define PUT_rest(from) rest = from##_count; /* sent by the caller, behind this */

static uint32_t
encode_body(const struct wire_message *m, struct writer *w)
{
	uint32_t rest = 0;
	switch (m->type) {
#define F(kind, name, meaning) PUT_##kind(v->name)
#define M(TABLE, noun, number, from, meaning)              \
	case WIRE_TYPE_##TABLE: {                          \
		const struct wire_##noun *v = &m->noun;    \
		(void)v;                                   \
		WIRE_##TABLE(F)                            \
		return rest;                               \
	}
		WIRE_MESSAGES(M)
#undef M
#undef F
	}
	assert(!"a type of the table");
}

void
wire_encode(const struct wire_message *m, struct writer *w)
{
	uint8_t *head = writer_room(w, WIRE_HEAD_BYTES);
	uint32_t rest = encode_body(m, w);
	if (!writer_ok(w))
		return;
	store_le32(head, (uint32_t)(w->at - head) - WIRE_HEAD_BYTES + rest);
	head[4] = (uint8_t)m->type;
}

/* --- decoding --- */

static void
get_text(struct reader *r, char *out, size_t room)
{
	size_t n = reader_u8(r);
	const uint8_t *p = reader_view(r, n);
	if (p == NULL || n >= room) {
		r->failed = true;
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (p[i] < 32 || p[i] == 127)
			r->failed = true;
	memcpy(out, p, n);
	out[n] = 0;
}

#define GET_u8(to)   to = reader_u8(&r);
#define GET_le32(to) to = reader_le32(&r);
#define GET_le64(to) to = reader_le64(&r);
#define GET_id(to)   reader_get(&r, to, 16);
#define GET_key(to)  reader_get(&r, to, 32);
#define GET_hash(to) reader_get(&r, to, 32);
#define GET_name(to) get_text(&r, to, STREAM_NAME_BYTES);
#define GET_text(to) get_text(&r, to, WIRE_TEXT_BYTES);
#define GET_rest(to)                                 \
	to##_count = (uint32_t)reader_left(&r);      \
	to = reader_view(&r, reader_left(&r));

/* Whether the body was the message's, all of it. */
static bool
decode_body(unsigned type, struct reader r, struct wire_message *m)
{
	switch (type) {
#define F(kind, name, meaning) GET_##kind(v->name)
#define M(TABLE, noun, number, from, meaning)        \
	case number: {                               \
		struct wire_##noun *v = &m->noun;    \
		(void)v;                             \
		WIRE_##TABLE(F)                      \
		break;                               \
	}
		WIRE_MESSAGES(M)
#undef M
#undef F
	}
	return reader_done(&r);
}

enum err
wire_read_head(const uint8_t head[WIRE_HEAD_BYTES], unsigned *type, uint32_t *body_bytes)
{
	uint32_t n = load_le32(head);
	const char *name = wire_name(head[4]);
	if (name == NULL)
		return fail(ERR_FORMAT, "a message of type %u, which this version does not have", head[4]);
	uint32_t most = head[4] == WIRE_TYPE_PARCEL ? PARCEL_BYTES_MAX : WIRE_SMALL_BODY_BYTES_MAX;
	if (n > most)
		return fail(ERR_LIMIT, "a message %s of %u bytes, at most %u are allowed", name, n, most);
	*type = head[4];
	*body_bytes = n;
	return OK;
}

enum err
wire_decode(unsigned type, const uint8_t *body, size_t n, struct wire_message *m)
{
	struct wire_message got = { .type = (enum wire_type)type };
	const char *name = wire_name(type);
	if (name == NULL)
		return fail(ERR_FORMAT, "a message of type %u, which this version does not have", type);
	if (!decode_body(type, reader_of(body, n), &got))
		return fail(ERR_FORMAT, "a message %s of %zu bytes that is not well-formed", name, n);
	if (type == WIRE_TYPE_REFUSED && (got.refused.code == WIRE_REFUSAL_NONE || got.refused.code > WIRE_REFUSAL_VERSION))
		return fail(ERR_FORMAT, "a refusal with code %u, which this version does not have", got.refused.code);
	*m = got;
	return OK;
}
