#include "ingest/session.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "ingest/session_parts.h"

#define FRAME_OVERHEAD (SESSION_LENGTH_BYTES + NOISE_TAG_BYTES)
#define PIECE_BYTES_MAX (WIRE_FRAME_BYTES_MAX - NOISE_TAG_BYTES) /* of a parcel in one frame */
#define SMALL_BYTES_MAX (FRAME_OVERHEAD + WIRE_HEAD_BYTES + WIRE_SMALL_BODY_BYTES_MAX)
#define REKEY_BYTES     (FRAME_OVERHEAD + WIRE_HEAD_BYTES)
#define INPUT_SMALL     (SESSION_LENGTH_BYTES + WIRE_SMALL_FRAME_BYTES_MAX)
#define BODY_SMALL      (WIRE_HEAD_BYTES + WIRE_SMALL_BODY_BYTES_MAX + WIRE_SMALL_FRAME_BYTES_MAX)
#define BODY_LARGE      (WIRE_HEAD_BYTES + PARCEL_BYTES_MAX + WIRE_FRAME_BYTES_MAX)

_Static_assert(SMALL_BYTES_MAX - SESSION_LENGTH_BYTES <= WIRE_SMALL_FRAME_BYTES_MAX, "a small message fits a small frame");
_Static_assert(INPUT_SMALL >= SESSION_LENGTH_BYTES + NOISE_FIRST_BYTES + WIRE_PREAMBLE_BYTES, "so do preamble and handshake");

/* --- life --- */

static enum err
over(struct session *s, enum err e)
{
	s->over = e;
	s->parcel_left = 0;
	s->proven = false;
	noise_wipe(&s->noise);
	sodium_memzero(&s->send, sizeof s->send);
	sodium_memzero(&s->receive, sizeof s->receive);
	return e;
}

static enum err
buffer_open(struct session_buffer *b, size_t room)
{
	b->p = malloc(room);
	if (b->p == NULL)
		return fail(ERR_NOMEM, "no memory for a connection");
	b->room = room;
	return OK;
}

static enum err
buffer_grow(struct session_buffer *b, size_t room)
{
	uint8_t *p = realloc(b->p, room);
	if (p == NULL)
		return fail(ERR_NOMEM, "no memory for the parcels of a connection");
	b->p = p;
	b->room = room;
	return OK;
}

/* Moves what is there to the front. */
static void
buffer_pack(struct session_buffer *b)
{
	if (b->at == 0)
		return;
	memmove(b->p, b->p + b->at, b->end - b->at);
	b->end -= b->at;
	b->at = 0;
}

static size_t
buffer_used(const struct session_buffer *b)
{
	return b->end - b->at;
}

static enum err
open_session(struct session **out, bool archive, uint64_t now_ns)
{
	if (sodium_init() < 0)
		return fail(ERR_IO, "libsodium found no source of random numbers");
	struct session *s = sodium_malloc(sizeof *s);
	if (s == NULL)
		return fail(ERR_NOMEM, "no lockable memory for the keys of a connection");
	memset(s, 0, sizeof *s);
	s->archive = archive;
	s->begun_ns = s->heard_ns = s->said_ns = s->taken_ns = s->rekeyed_ns = now_ns;
	enum err e = buffer_open(&s->input, INPUT_SMALL);
	if (e == OK)
		e = buffer_open(&s->body, BODY_SMALL);
	if (e == OK)
		e = buffer_open(&s->output, archive ? SESSION_ANSWER_BYTES : SESSION_OUTPUT_BYTES);
	if (e != OK) {
		session_close(&s);
		return e;
	}
	wire_preamble(s->output.p);
	s->output.end = WIRE_PREAMBLE_BYTES;
	*out = s;
	return OK;
}

enum err
session_open_collector(struct session **out, const uint8_t secret[NOISE_KEY_BYTES], const uint8_t archive[NOISE_KEY_BYTES],
                       uint64_t now_ns)
{
	TRY(open_session(out, false, now_ns));
	memcpy((*out)->secret, secret, NOISE_KEY_BYTES);
	memcpy((*out)->identity, archive, NOISE_KEY_BYTES);
	return OK;
}

enum err
session_open_archive(struct session **out, const uint8_t public[NOISE_KEY_BYTES], session_admit *admit, void *arg,
                     uint64_t now_ns)
{
	TRY(open_session(out, true, now_ns));
	memcpy((*out)->identity, public, NOISE_KEY_BYTES);
	(*out)->admit = admit;
	(*out)->admit_arg = arg;
	return OK;
}

void
session_close(struct session **s)
{
	if (*s == NULL)
		return;
	free((*s)->input.p);
	free((*s)->body.p);
	free((*s)->output.p);
	sodium_free(*s); /* wipes */
	*s = NULL;
}

const uint8_t *
session_peer(const struct session *s)
{
	if (!s->archive)
		return s->identity;
	return s->proven ? s->noise.peer_static : NULL;
}

/* --- bytes in --- */

size_t
session_input(struct session *s, uint8_t **p)
{
	if (s->over != OK || s->closed)
		return 0;
	if (s->state == STATE_ENDING)
		s->input.at = s->input.end = 0; /* read and dropped */
	if (s->input.room - s->input.end <= s->input.room / 2)
		buffer_pack(&s->input);
	*p = s->input.p + s->input.end;
	return s->input.room - s->input.end;
}

void
session_received(struct session *s, size_t n, uint64_t now_ns)
{
	assert(n <= s->input.room - s->input.end);
	if (n == 0) {
		s->closed = true;
		return;
	}
	if (buffer_used(&s->input) == 0)
		s->frame_ns = now_ns;
	s->heard_ns = now_ns;
	s->input.end += n;
}

/* n bytes of input, or NULL when they are not there yet. */
const uint8_t *
session_take(struct session *s, size_t n)
{
	if (buffer_used(&s->input) < n)
		return NULL;
	const uint8_t *p = s->input.p + s->input.at;
	s->input.at += n;
	if (s->input.at == s->input.end)
		s->input.at = s->input.end = 0;
	return p;
}

/* The next Noise message of most bytes at most: *n and *p; OK with *p NULL: not there yet. */
enum err
session_take_noise(struct session *s, size_t least, size_t most, const uint8_t **p, size_t *n)
{
	*p = NULL;
	if (buffer_used(&s->input) < SESSION_LENGTH_BYTES)
		return OK;
	*n = load_le16(s->input.p + s->input.at);
	if (*n < least || *n > most)
		return fail(ERR_FORMAT, "a frame of %zu bytes where %zu to %zu are allowed", *n, least, most);
	const uint8_t *whole = session_take(s, SESSION_LENGTH_BYTES + *n);
	if (whole)
		*p = whole + SESSION_LENGTH_BYTES;
	return OK;
}

/* --- bytes out --- */

/* Room for n bytes at the end of output, which has it. */
uint8_t *
session_output_room(struct session *s, size_t n)
{
	if (n > s->output.room - s->output.end)
		buffer_pack(&s->output);
	assert(n <= s->output.room - s->output.end);
	return s->output.p + s->output.end;
}

void
session_output_done(struct session *s, size_t n, uint64_t now_ns)
{
	if (buffer_used(&s->output) == 0)
		s->taken_ns = now_ns;
	s->output.end += n;
	s->said_ns = now_ns;
}

static enum err
put_frame(struct session *s, const uint8_t *p, size_t n, uint64_t now_ns)
{
	uint8_t *out = session_output_room(s, FRAME_OVERHEAD + n);
	store_le16(out, (uint16_t)(n + NOISE_TAG_BYTES));
	TRY(noise_encrypt(&s->send, NULL, 0, p, n, out + SESSION_LENGTH_BYTES));
	session_output_done(s, FRAME_OVERHEAD + n, now_ns);
	s->sent_bytes += n;
	return OK;
}

/* A message, with its parcel left for session_output(); a new key before it when it is time. */
static enum err
put_message(struct session *s, const struct wire_message *m, uint64_t now_ns)
{
	uint8_t bytes[WIRE_HEAD_BYTES + WIRE_SMALL_BODY_BYTES_MAX];
	if (s->sent_bytes >= SESSION_REKEY_BYTES || now_ns - s->rekeyed_ns >= SESSION_REKEY_NS) {
		struct writer w = writer_of(bytes, sizeof bytes);
		wire_encode(&(struct wire_message){ .type = WIRE_TYPE_REKEY }, &w);
		TRY(put_frame(s, bytes, (size_t)(w.at - bytes), now_ns));
		noise_rekey(&s->send);
		s->sent_bytes = 0;
		s->rekeyed_ns = now_ns;
	}
	struct writer w = writer_of(bytes, sizeof bytes);
	wire_encode(m, &w);
	assert(writer_ok(&w));
	TRY(put_frame(s, bytes, (size_t)(w.at - bytes), now_ns));
	sodium_memzero(bytes, sizeof bytes);
	return OK;
}

static bool
room_for_small(const struct session *s)
{
	return s->parcel_left == 0 && s->output.room - buffer_used(&s->output) >= SMALL_BYTES_MAX + REKEY_BYTES;
}

bool
session_room(const struct session *s, enum wire_type type)
{
	if (s->over != OK || s->bye || !room_for_small(s))
		return false;
	if (s->state == STATE_GREETING && !s->archive)
		return type == WIRE_TYPE_HELLO || type == WIRE_TYPE_ENROL;
	if (s->state == STATE_ASKED && s->archive)
		return type == (s->enrols ? WIRE_TYPE_ENROLLED : WIRE_TYPE_WELCOME) || type == WIRE_TYPE_REFUSED;
	if (s->state != STATE_OPEN)
		return false;
	switch (type) {
	case WIRE_TYPE_FEED_ASK:
	case WIRE_TYPE_PARCEL:
	case WIRE_TYPE_REPORT:
	case WIRE_TYPE_BYE:
		return !s->archive;
	case WIRE_TYPE_MARK:
	case WIRE_TYPE_ACK:
	case WIRE_TYPE_WAIT:
	case WIRE_TYPE_GO:
	case WIRE_TYPE_REFUSED:
		return s->archive;
	default:
		return false;
	}
}

/* What saying m makes of the session. */
static void
said(struct session *s, const struct wire_message *m)
{
	switch (m->type) {
	case WIRE_TYPE_ENROL:
	case WIRE_TYPE_HELLO:
		s->enrols = m->type == WIRE_TYPE_ENROL;
		s->state = STATE_ASKED;
		break;
	case WIRE_TYPE_WELCOME:
		s->state = STATE_OPEN;
		break;
	case WIRE_TYPE_ENROLLED:
		s->state = STATE_ENDING;
		break;
	case WIRE_TYPE_REFUSED:
		if (s->state == STATE_ASKED || m->refused.stream[0] == 0)
			s->state = STATE_ENDING;
		break;
	case WIRE_TYPE_PARCEL:
		s->parcel = m->parcel.bytes;
		s->parcel_left = m->parcel.bytes_count;
		break;
	case WIRE_TYPE_BYE:
		s->bye = true;
		break;
	default:
		break;
	}
}

enum err
session_send(struct session *s, const struct wire_message *m, uint64_t now_ns)
{
	assert(wire_from(m->type) == (s->archive ? WIRE_FROM_ARCHIVE : WIRE_FROM_COLLECTOR));
	if (s->over != OK)
		return fail(s->over, "the session has ended");
	if (!session_room(s, m->type))
		return fail(ERR_BUSY, "%s can not be sent now", wire_name(m->type));
	if (m->type == WIRE_TYPE_PARCEL && m->parcel.bytes_count > PARCEL_BYTES_MAX)
		return fail(ERR_LIMIT, "a parcel of %u bytes, at most %u are allowed", m->parcel.bytes_count, PARCEL_BYTES_MAX);
	if (m->type == WIRE_TYPE_WELCOME)
		TRY(buffer_grow(&s->input, SESSION_INPUT_BYTES));
	enum err e = put_message(s, m, now_ns);
	if (e != OK)
		return over(s, e);
	said(s, m);
	return OK;
}

bool
session_parcel_out(const struct session *s)
{
	return s->parcel_left != 0;
}

size_t
session_output(struct session *s, uint64_t now_ns, const uint8_t **p)
{
	if (s->over != OK)
		return 0;
	while (s->parcel_left) {
		size_t n = s->parcel_left < PIECE_BYTES_MAX ? s->parcel_left : PIECE_BYTES_MAX;
		if (FRAME_OVERHEAD + n > s->output.room - buffer_used(&s->output))
			break;
		enum err e = put_frame(s, s->parcel, n, now_ns);
		if (e != OK) {
			(void)over(s, e);
			return 0;
		}
		s->parcel += n;
		s->parcel_left -= n;
	}
	*p = s->output.p + s->output.at;
	return buffer_used(&s->output);
}

void
session_sent(struct session *s, size_t n, uint64_t now_ns)
{
	assert(n <= buffer_used(&s->output));
	if (n == 0)
		return;
	s->taken_ns = now_ns;
	s->output.at += n;
	if (s->output.at == s->output.end)
		s->output.at = s->output.end = 0;
}

void
session_end(struct session *s)
{
	if (s->over == OK)
		s->state = STATE_ENDING;
}

bool
session_finished(const struct session *s)
{
	return s->over == OK && s->state == STATE_ENDING && (s->closed || buffer_used(&s->output) == 0);
}

/* --- messages --- */

/* Gives back what a large parcel needed; called when body is empty. */
static void
body_reset(struct session *s)
{
	s->body.at = s->body.end = 0;
	if (s->body.room > SESSION_KEEP_BYTES)
		(void)buffer_grow(&s->body, SESSION_KEEP_BYTES); /* smaller: it can stay as it is */
}

/* Room behind what is in body for n bytes: it grows as they come, not as a message says how long it will be. */
static enum err
body_reserve(struct session *s, size_t n)
{
	struct session_buffer *b = &s->body;
	buffer_pack(b);
	if (n <= b->room - b->end)
		return OK;
	assert(n <= BODY_LARGE - b->end);
	size_t room = b->room < BODY_LARGE / 2 ? 2 * b->room : BODY_LARGE;
	return buffer_grow(b, n <= room - b->end ? room : b->end + n);
}

/* Decrypts the next frame behind what is in body. END: it is not there yet. */
static enum err
read_frame(struct session *s)
{
	const uint8_t *p;
	size_t n;
	size_t most = s->archive && s->state == STATE_OPEN ? WIRE_FRAME_BYTES_MAX : WIRE_SMALL_FRAME_BYTES_MAX;
	TRY(session_take_noise(s, NOISE_TAG_BYTES + 1, most, &p, &n));
	if (p == NULL)
		return END;
	if (s->received_frames >= SESSION_REKEY_FRAMES_MAX)
		return fail(ERR_LIMIT, "too many frames without a new key");
	TRY(body_reserve(s, n - NOISE_TAG_BYTES));
	enum err e = noise_decrypt(&s->receive, NULL, 0, p, n, s->body.p + s->body.end);
	if (e != OK)
		return fail_prefix(e, "a frame that was changed, replayed or lost on the way: ");
	s->received_frames++;
	s->body.end += n - NOISE_TAG_BYTES;
	return OK;
}

/* Whether the peer may say this now. */
static bool
may_hear(const struct session *s, unsigned type)
{
	if (!(wire_from(type) & (s->archive ? WIRE_FROM_COLLECTOR : WIRE_FROM_ARCHIVE)) || (s->archive && s->bye))
		return false;
	if (s->state == STATE_GREETING)
		return s->archive && (type == WIRE_TYPE_HELLO || type == WIRE_TYPE_ENROL);
	if (type == WIRE_TYPE_PING || type == WIRE_TYPE_REKEY)
		return true;
	if (s->state == STATE_ASKED && s->archive)
		return type == WIRE_TYPE_BYE;
	if (s->state == STATE_ASKED)
		return type == (s->enrols ? WIRE_TYPE_ENROLLED : WIRE_TYPE_WELCOME) || type == WIRE_TYPE_REFUSED;
	return type != WIRE_TYPE_HELLO && type != WIRE_TYPE_ENROL && type != WIRE_TYPE_WELCOME && type != WIRE_TYPE_ENROLLED;
}

/* The next message, when all of it is in body. END: it is not. */
static enum err
take_message(struct session *s, struct wire_message *m)
{
	unsigned type;
	uint32_t n;
	size_t have = buffer_used(&s->body);
	const uint8_t *p = s->body.p + s->body.at;
	if (have < WIRE_HEAD_BYTES)
		return END;
	TRY(wire_read_head(p, &type, &n));
	if (!may_hear(s, type))
		return fail(ERR_FORMAT, "a message %s where it does not belong", wire_name(type));
	if (n > have - WIRE_HEAD_BYTES)
		return END;
	TRY(wire_decode(type, p + WIRE_HEAD_BYTES, n, m));
	s->body.at += WIRE_HEAD_BYTES + n;
	return OK;
}

/* The first message of a collector: it proved that it holds its key. */
static enum err
greeted(struct session *s, uint64_t now_ns, struct session_event *event)
{
	enum wire_refusal refusal = WIRE_REFUSAL_NONE;
	s->enrols = event->message.type == WIRE_TYPE_ENROL;
	s->state = STATE_ASKED;
	s->proven = true;
	memcpy(event->key, s->noise.peer_static, NOISE_KEY_BYTES);
	if (!s->enrols)
		refusal = s->admit(s->admit_arg, s->noise.peer_static);
	if (refusal == WIRE_REFUSAL_NONE)
		return OK;
	struct wire_message m = { .type = WIRE_TYPE_REFUSED };
	m.refused.code = (uint8_t)refusal;
	snprintf(m.refused.sentence, sizeof m.refused.sentence, "this monitor is refused: %s", wire_refusal_name(refusal));
	TRY(put_message(s, &m, now_ns));
	s->state = STATE_ENDING;
	event->kind = SESSION_STRANGER;
	event->refusal = refusal;
	return OK;
}

/* A message that was taken; OK: it is an event; END: it was for the session itself. */
static enum err
heard(struct session *s, uint64_t now_ns, struct session_event *event)
{
	const struct wire_message *m = &event->message;
	event->kind = SESSION_MESSAGE;
	switch (m->type) {
	case WIRE_TYPE_PING:
		return END;
	case WIRE_TYPE_REKEY:
		if (buffer_used(&s->body) != 0)
			return fail(ERR_FORMAT, "a message REKEY that is not the last of its frame");
		noise_rekey(&s->receive);
		s->received_frames = 0;
		return END;
	case WIRE_TYPE_HELLO:
	case WIRE_TYPE_ENROL:
		return greeted(s, now_ns, event);
	case WIRE_TYPE_BYE:
		s->bye = true;
		return OK;
	case WIRE_TYPE_WELCOME:
		s->state = STATE_OPEN;
		return OK;
	case WIRE_TYPE_ENROLLED:
		s->state = STATE_ENDING;
		return OK;
	case WIRE_TYPE_REFUSED:
		if (s->state == STATE_ASKED || m->refused.stream[0] == 0) {
			s->state = STATE_ENDING;
			s->parcel_left = 0;
		}
		return OK;
	default:
		return OK;
	}
}

static enum err
read_message(struct session *s, uint64_t now_ns, struct session_event *event)
{
	for (;;) {
		enum err e = take_message(s, &event->message);
		if (e == OK)
			e = heard(s, now_ns, event);
		else if (e == END) {
			if (buffer_used(&s->body) == 0)
				body_reset(s);
			TRY(read_frame(s));
			s->frame_ns = now_ns;
			continue;
		}
		if (e != END)
			return e;
	}
}

/* --- events --- */

enum err
session_next(struct session *s, uint64_t now_ns, struct session_event *event)
{
	if (s->over != OK)
		return fail(s->over, "the session has ended");
	if (s->state == STATE_ENDING)
		return END;
	enum err e = END;
	if (s->state < STATE_GREETING)
		e = session_shake(s, now_ns, event);
	if (e == END && s->state >= STATE_GREETING)
		e = read_message(s, now_ns, event);
	if (e == END && s->closed) {
		if (!s->bye)
			e = fail(ERR_IO, s->state < STATE_GREETING ? "the connection was closed during the handshake"
			                                     : "the connection was closed");
		else
			s->state = STATE_ENDING;
	}
	return e == OK || e == END ? e : over(s, e);
}

/* --- time --- */

static bool
handshakes(const struct session *s)
{
	return s->state <= STATE_GREETING;
}

uint64_t
session_deadline(const struct session *s)
{
	uint64_t at = s->heard_ns + SESSION_SILENCE_NS;
	if (handshakes(s) && s->begun_ns + SESSION_HANDSHAKE_NS < at)
		at = s->begun_ns + SESSION_HANDSHAKE_NS;
	if (buffer_used(&s->output) && s->taken_ns + SESSION_SILENCE_NS < at)
		at = s->taken_ns + SESSION_SILENCE_NS;
	if (buffer_used(&s->input) && s->frame_ns + SESSION_FRAME_NS < at)
		at = s->frame_ns + SESSION_FRAME_NS;
	if ((s->state == STATE_ASKED || s->state == STATE_OPEN) && !s->bye && room_for_small(s) && s->said_ns + SESSION_PING_NS < at)
		at = s->said_ns + SESSION_PING_NS;
	return at;
}

enum err
session_tick(struct session *s, uint64_t now_ns)
{
	if (s->over != OK)
		return fail(s->over, "the session has ended");
	if (handshakes(s) && now_ns - s->begun_ns >= SESSION_HANDSHAKE_NS)
		return over(s, fail(ERR_IO, "no handshake within %llu s",
		                    (unsigned long long)(SESSION_HANDSHAKE_NS / 1000000000u)));
	if (now_ns - s->heard_ns >= SESSION_SILENCE_NS)
		return over(s, fail(ERR_IO, "nothing was heard for %llu s",
		                    (unsigned long long)(SESSION_SILENCE_NS / 1000000000u)));
	if (buffer_used(&s->input) && now_ns - s->frame_ns >= SESSION_FRAME_NS)
		return over(s, fail(ERR_IO, "a frame is not complete after %llu s",
		                    (unsigned long long)(SESSION_FRAME_NS / 1000000000u)));
	if (buffer_used(&s->output) && now_ns - s->taken_ns >= SESSION_SILENCE_NS)
		return over(s, fail(ERR_IO, "the other side took nothing for %llu s",
		                    (unsigned long long)(SESSION_SILENCE_NS / 1000000000u)));
	if ((s->state == STATE_ASKED || s->state == STATE_OPEN) && !s->bye && room_for_small(s) &&
	    now_ns - s->said_ns >= SESSION_PING_NS) {
		enum err e = put_message(s, &(struct wire_message){ .type = WIRE_TYPE_PING }, now_ns);
		if (e != OK)
			return over(s, e);
	}
	return OK;
}

void
session_excuse(struct session *s, uint64_t now_ns)
{
	s->heard_ns = s->frame_ns = now_ns;
}
