/* The part of a session until the keys are there: preamble, and the two Noise messages. */
#include <assert.h>
#include <sodium.h>
#include <string.h>

#include "ingest/session_parts.h"

static void
put_noise(struct session *s, size_t n, uint64_t now_ns)
{
	store_le16(s->output.p + s->output.end, (uint16_t)n);
	session_output_done(s, SESSION_LENGTH_BYTES + n, now_ns);
}

static enum err
read_preamble(struct session *s, uint64_t now_ns)
{
	uint8_t both[2 * WIRE_PREAMBLE_BYTES];
	unsigned version;
	const uint8_t *p = session_take(s, WIRE_PREAMBLE_BYTES);
	if (p == NULL)
		return END;
	TRY(wire_preamble_read(p, &version));
	memcpy(both + (s->archive ? 0 : WIRE_PREAMBLE_BYTES), p, WIRE_PREAMBLE_BYTES);
	wire_preamble(both + (s->archive ? WIRE_PREAMBLE_BYTES : 0));
	if (s->archive) {
		noise_respond(&s->noise, both, sizeof both, s->identity);
		s->state = STATE_FIRST;
		return OK;
	}
	noise_initiate(&s->noise, both, sizeof both, s->secret, s->identity);
	sodium_memzero(s->secret, sizeof s->secret);
	uint8_t *out = session_output_room(s, SESSION_LENGTH_BYTES + NOISE_FIRST_BYTES);
	TRY(noise_write_first(&s->noise, NULL, NULL, 0, out + SESSION_LENGTH_BYTES));
	put_noise(s, NOISE_FIRST_BYTES, now_ns);
	s->state = STATE_SECOND;
	return OK;
}

static enum err
read_first(struct session *s, struct session_event *event)
{
	const uint8_t *p;
	size_t n;
	TRY(session_take_noise(s, NOISE_FIRST_BYTES, NOISE_FIRST_BYTES, &p, &n));
	if (p == NULL)
		return END;
	memcpy(s->first, p, NOISE_FIRST_BYTES);
	noise_read_ephemeral(&s->noise, s->first);
	event->kind = SESSION_WANT_DH;
	memcpy(event->key, s->noise.peer_ephemeral, NOISE_KEY_BYTES);
	s->answered = false;
	s->state = STATE_WAIT_ES;
	return OK;
}

void
session_dh_done(struct session *s, const uint8_t *shared)
{
	if (s->over != OK || s->state == STATE_ENDING)
		return;
	assert((s->state == STATE_WAIT_ES || s->state == STATE_WAIT_SS) && !s->answered);
	if (shared)
		memcpy(s->shared, shared, NOISE_KEY_BYTES);
	else
		sodium_memzero(s->shared, NOISE_KEY_BYTES);
	s->answered = true;
}

static enum err
read_static(struct session *s, struct session_event *event)
{
	if (!s->answered)
		return END;
	enum err e = noise_read_static(&s->noise, s->shared, s->first + NOISE_EPHEMERAL_BYTES);
	if (e != OK)
		return fail_prefix(e, "the handshake fails: the collector has another key for this archive, or its bytes were changed: ");
	event->kind = SESSION_WANT_DH;
	memcpy(event->key, s->noise.peer_static, NOISE_KEY_BYTES);
	s->answered = false;
	s->state = STATE_WAIT_SS;
	return OK;
}

static enum err
answer_first(struct session *s, uint64_t now_ns)
{
	if (!s->answered)
		return END;
	uint8_t *out = session_output_room(s, SESSION_LENGTH_BYTES + NOISE_SECOND_BYTES);
	enum err e = noise_read_payload(&s->noise, s->shared, s->first + NOISE_EPHEMERAL_BYTES + NOISE_STATIC_BYTES,
	                                NOISE_TAG_BYTES, NULL);
	sodium_memzero(s->shared, sizeof s->shared);
	sodium_memzero(s->first, sizeof s->first);
	if (e == OK)
		e = noise_write_second(&s->noise, NULL, NULL, 0, out + SESSION_LENGTH_BYTES);
	if (e != OK)
		return fail_prefix(e, "the handshake fails: ");
	put_noise(s, NOISE_SECOND_BYTES, now_ns);
	noise_split(&s->noise, &s->send, &s->receive);
	s->rekeyed_ns = now_ns;
	s->state = STATE_GREETING;
	return END; /* no event: the monitor is not known until its first frame opens */
}

static enum err
read_second(struct session *s, uint64_t now_ns, struct session_event *event)
{
	const uint8_t *p;
	size_t n;
	TRY(session_take_noise(s, NOISE_SECOND_BYTES, NOISE_SECOND_BYTES, &p, &n));
	if (p == NULL)
		return END;
	enum err e = noise_read_second(&s->noise, p, n, NULL);
	if (e != OK)
		return fail_prefix(e, "the handshake fails: whoever answers does not have the archive's key, or bytes were changed: ");
	noise_split(&s->noise, &s->send, &s->receive);
	s->rekeyed_ns = now_ns;
	s->state = STATE_GREETING;
	event->kind = SESSION_READY;
	return OK;
}

enum err
session_shake(struct session *s, uint64_t now_ns, struct session_event *event)
{
	for (;;)
		switch (s->state) {
		case STATE_PREAMBLE:
			TRY(read_preamble(s, now_ns));
			break;
		case STATE_FIRST:
			return read_first(s, event);
		case STATE_WAIT_ES:
			return read_static(s, event);
		case STATE_WAIT_SS:
			return answer_first(s, now_ns);
		default:
			return read_second(s, now_ns, event);
		}
}
