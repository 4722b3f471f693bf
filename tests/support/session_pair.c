#include "tests/support/session_pair.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "ingest/session_parts.h"

static enum wire_refusal
admit(void *arg, const uint8_t key[NOISE_KEY_BYTES])
{
	struct pair *p = arg;
	assert(memcmp(key, p->monitor_public, NOISE_KEY_BYTES) == 0);
	return p->admits;
}

void
pair_open(struct pair *p)
{
	if (sodium_init() < 0)
		assert(!"libsodium");
	memset(p, 0, sizeof *p);
	memset(p->monitor_secret, 'm', sizeof p->monitor_secret);
	memset(p->archive_secret, 'a', sizeof p->archive_secret);
	noise_public(p->monitor_public, p->monitor_secret);
	noise_public(p->archive_public, p->archive_secret);
	p->flip[0] = p->flip[1] = NO_BIT;
	p->cut[0] = p->cut[1] = SIZE_MAX;
	p->now_ns = 1000;
	enum err e = session_open_collector(&p->s[COLLECTOR], p->monitor_secret, p->archive_public, p->now_ns);
	if (e == OK)
		e = session_open_archive(&p->s[ARCHIVE], p->archive_public, admit, p, p->now_ns);
	assert(e == OK);
}

void
pair_close(struct pair *p)
{
	session_close(&p->s[0]);
	session_close(&p->s[1]);
	session_close(&p->s[1]); /* again is fine */
}

uint64_t
pair_sum(uint64_t sum, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		sum = (sum ^ bytes[i]) * 0x100000001b3u;
	return sum;
}

static void
answer(struct pair *p, enum pair_side side, const struct wire_message *m)
{
	if (session_room(p->s[side], m->type)) {
		enum err e = session_send(p->s[side], m, p->now_ns);
		assert(e == OK);
	}
}

static void
archive_hears(struct pair *p, const struct wire_message *m)
{
	struct wire_message a = { 0 };
	switch (m->type) {
	case WIRE_TYPE_ENROL:
		a.type = WIRE_TYPE_ENROLLED;
		snprintf(a.enrolled.monitor, sizeof a.enrolled.monitor, "roof");
		break;
	case WIRE_TYPE_HELLO:
		a.type = WIRE_TYPE_WELCOME;
		snprintf(a.welcome.monitor, sizeof a.welcome.monitor, "roof");
		break;
	case WIRE_TYPE_FEED_ASK:
		a.type = WIRE_TYPE_MARK;
		snprintf(a.mark.stream, sizeof a.mark.stream, "%s", m->feed_ask.stream);
		break;
	case WIRE_TYPE_PARCEL:
		a.type = WIRE_TYPE_ACK;
		a.ack.sequence = p->messages[ARCHIVE][WIRE_TYPE_PARCEL];
		break;
	case WIRE_TYPE_BYE:
		session_end(p->s[ARCHIVE]);
		return;
	default:
		return;
	}
	answer(p, ARCHIVE, &a);
}

static void
collector_ready(struct pair *p)
{
	struct wire_message m = { .type = p->enrols ? WIRE_TYPE_ENROL : WIRE_TYPE_HELLO };
	if (!p->enrols)
		m.hello.streams = 1;
	answer(p, COLLECTOR, &m);
}

static void
act(struct pair *p, enum pair_side side, const struct session_event *event)
{
	uint8_t shared[NOISE_KEY_BYTES];
	p->events[side]++;
	switch (event->kind) {
	case SESSION_WANT_DH:
		p->wants++;
		session_dh_done(p->s[side],
		                !p->refuses_dh && noise_dh(shared, p->archive_secret, event->key) == OK ? shared : NULL);
		break;
	case SESSION_READY:
		if (!p->silent)
			collector_ready(p);
		break;
	case SESSION_STRANGER:
		p->strangers++;
		break;
	case SESSION_MESSAGE:
		p->messages[side][event->message.type]++;
		p->last[side] = event->message;
		if (event->message.type == WIRE_TYPE_PARCEL) {
			p->parcel_bytes += event->message.parcel.bytes_count;
			p->parcel_sum = pair_sum(0, event->message.parcel.bytes, event->message.parcel.bytes_count);
		}
		if (side == ARCHIVE && !p->silent)
			archive_hears(p, &event->message);
		break;
	}
}

static bool
events(struct pair *p, enum pair_side side)
{
	struct session_event event;
	bool moved = false;
	enum err e = p->e[side];
	while (e == OK && (e = session_next(p->s[side], p->now_ns, &event)) == OK) {
		act(p, side, &event);
		moved = true;
	}
	if (e != END && p->e[side] == OK) {
		p->e[side] = e;
		snprintf(p->why[side], sizeof p->why[side], "%s", err_text());
	}
	return moved;
}

/* What of n bytes of sender goes over at once, into bytes. */
static size_t
carry(struct pair *p, enum pair_side from, const uint8_t *out, size_t n, uint8_t *bytes)
{
	size_t at = p->sent[from];
	if (p->piece && n > p->piece)
		n = p->piece;
	if (n > p->cut[from] - at)
		n = p->cut[from] - at;
	memcpy(bytes, out, n);
	if (p->flip[from] / 8 >= at && p->flip[from] / 8 - at < n)
		bytes[p->flip[from] / 8 - at] ^= (uint8_t)(1u << p->flip[from] % 8);
	for (size_t i = 0; i < n && at + i < PAIR_TAPE_BYTES; i++)
		p->tape[from][at + i] = bytes[i];
	p->sent[from] += n;
	return n;
}

static bool
move(struct pair *p, enum pair_side from)
{
	struct session *to = p->s[!from];
	const uint8_t *out;
	uint8_t *in;
	if (p->e[from] != OK || p->e[!from] != OK || p->sent[from] == p->cut[from])
		return false;
	size_t n = session_output(p->s[from], p->now_ns, &out), room = session_input(to, &in);
	if (n == 0 || room == 0)
		return false;
	n = carry(p, from, out, n < room ? n : room, in);
	session_sent(p->s[from], n, p->now_ns);
	if (n)
		session_received(to, n, p->now_ns);
	if (p->sent[from] == p->cut[from])
		session_received(to, 0, p->now_ns);
	return n != 0;
}

void
pair_run(struct pair *p)
{
	for (bool moved = true; moved;) {
		moved = false;
		for (enum pair_side side = COLLECTOR; side <= ARCHIVE; side++) {
			moved |= move(p, side);
			moved |= events(p, !side);
			moved |= events(p, side);
		}
	}
}

void
pair_say(struct pair *p, enum pair_side side, const struct wire_message *m)
{
	enum err e = session_send(p->s[side], m, p->now_ns);
	assert(e == OK);
	pair_run(p);
}

void
pair_feed(struct pair *p, enum pair_side to, const uint8_t *bytes, size_t n)
{
	uint8_t *in;
	if (n == 0)
		session_received(p->s[to], 0, p->now_ns);
	while (n && p->e[to] == OK) {
		size_t room = session_input(p->s[to], &in), m = n < room ? n : room;
		if (room == 0)
			break;
		memcpy(in, bytes, m);
		session_received(p->s[to], m, p->now_ns);
		bytes += m;
		n -= m;
		(void)events(p, to);
	}
	(void)events(p, to);
}

void
pair_say_raw(struct pair *p, enum pair_side side, const void *bytes, size_t n)
{
	static uint8_t frame[2 + WIRE_FRAME_BYTES_MAX];
	assert(n <= WIRE_FRAME_BYTES_MAX - NOISE_TAG_BYTES);
	pair_run(p);
	store_le16(frame, (uint16_t)(n + NOISE_TAG_BYTES));
	enum err e = noise_encrypt(&p->s[side]->send, NULL, 0, bytes, n, frame + 2);
	assert(e == OK);
	pair_feed(p, !side, frame, 2 + n + NOISE_TAG_BYTES);
	pair_run(p);
}
