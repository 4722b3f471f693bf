/* Sessions against a hostile peer. The first byte says whose: the archive's or the collector's, and whether the peer sends
 * raw bytes from the start, or has the keys and encrypts what it says rightly (a monitor or archive that went bad). The rest
 * is a program of what peer, owner and clock do. */
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/session_parts.h"
#include "tests/support/wire_samples.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t archive_secret[32] = "archive", archive_public[32], monitor_secret[32] = "monitor";
static volatile uint64_t sink;

struct trial {
	struct session *s;
	uint64_t        now_ns;
	bool            over, answers;
};

static enum wire_refusal
admit(void *arg, const uint8_t key[NOISE_KEY_BYTES])
{
	return *(const bool *)arg ? WIRE_REFUSAL_NONE : WIRE_REFUSAL_REVOKED;
}

static void
say(struct trial *t, enum wire_type type, uint32_t seed)
{
	struct wire_message m;
	wire_sample(&m, type, seed);
	bool room = session_room(t->s, type);
	enum err e = session_send(t->s, &m, t->now_ns);
	if ((e == OK) != room)
		abort();
}

static void
act(struct trial *t, const struct session_event *event)
{
	const struct wire_message *m = &event->message;
	uint8_t shared[32];
	switch (event->kind) {
	case SESSION_READY:
		if (t->answers)
			say(t, WIRE_TYPE_HELLO, 1);
		return;
	case SESSION_WANT_DH:
		session_dh_done(t->s, noise_dh(shared, archive_secret, event->key) == OK ? shared : NULL);
		return;
	case SESSION_STRANGER:
		if (session_peer(t->s) == NULL)
			abort();
		return;
	case SESSION_MESSAGE:
		break;
	}
	if (m->type == WIRE_TYPE_PING || m->type == WIRE_TYPE_REKEY || wire_name(m->type) == NULL)
		abort();
	if (m->type == WIRE_TYPE_PARCEL)
		for (uint32_t i = 0; i < m->parcel.bytes_count; i++)
			sink += m->parcel.bytes[i];
	if (t->answers && m->type == WIRE_TYPE_HELLO)
		say(t, WIRE_TYPE_WELCOME, 2);
	if (t->answers && m->type == WIRE_TYPE_ENROL)
		say(t, WIRE_TYPE_ENROLLED, 3);
}

static void
events(struct trial *t)
{
	struct session_event event;
	enum err e = OK;
	while (!t->over && (e = session_next(t->s, t->now_ns, &event)) == OK)
		act(t, &event);
	if (e != OK && e != END) {
		if (err_text()[0] == 0 || session_finished(t->s))
			abort();
		t->over = true;
	}
}

static void
receive(struct trial *t, const uint8_t *p, size_t n)
{
	uint8_t *in;
	while (n && !t->over) {
		size_t room = session_input(t->s, &in);
		if (room == 0)
			return;
		if (room > n)
			room = n;
		memcpy(in, p, room);
		session_received(t->s, room, t->now_ns);
		p += room;
		n -= room;
		events(t);
	}
}

/* A frame that opens, with these bytes in it. */
static void
receive_sealed(struct trial *t, const uint8_t *p, size_t n)
{
	static uint8_t frame[2 + WIRE_FRAME_BYTES_MAX];
	struct noise_cipher c = t->s->receive;
	if (n > WIRE_FRAME_BYTES_MAX - NOISE_TAG_BYTES || t->s->state < STATE_GREETING ||
	    noise_encrypt(&c, NULL, 0, p, n, frame + 2) != OK)
		return;
	store_le16(frame, (uint16_t)(n + NOISE_TAG_BYTES));
	receive(t, frame, 2 + n + NOISE_TAG_BYTES);
}

static void
send_some(struct trial *t, size_t most)
{
	const uint8_t *out;
	size_t n = session_output(t->s, t->now_ns, &out);
	if (n > SESSION_OUTPUT_BYTES)
		abort();
	for (size_t i = 0; i < n; i += 64)
		sink += out[i];
	session_sent(t->s, n < most ? n : most, t->now_ns);
}

static void
play(struct trial *t, struct reader *r)
{
	static const uint8_t zeros[65519];
	while (!t->over && reader_left(r)) {
		unsigned op = reader_u8(r);
		size_t n = op < 128 ? op : reader_le16(r);
		switch (op % 8) {
		case 0:
		case 1:
		case 2: /* said by the peer */
			n = n < reader_left(r) ? n : reader_left(r);
			receive_sealed(t, reader_view(r, n), n);
			break;
		case 3: /* much of it */
			receive_sealed(t, zeros, n < sizeof zeros ? n : sizeof zeros);
			break;
		case 4:
			n = n < reader_left(r) ? n : reader_left(r);
			receive(t, reader_view(r, n), n);
			break;
		case 5:
			send_some(t, n);
			break;
		case 6: { /* said by the owner */
			enum wire_type type = wire_types[n % wire_type_count];
			if (wire_from(type) == (t->s->archive ? WIRE_FROM_ARCHIVE : WIRE_FROM_COLLECTOR)) {
				say(t, type, op);
				while (session_parcel_out(t->s)) /* its bytes are borrowed */
					send_some(t, SIZE_MAX);
			}
			break;
		}
		default: /* time passes */
			t->now_ns += n % 64 * 1000000000ull;
			if (n % 64 == 63) {
				session_received(t->s, 0, t->now_ns);
				events(t);
			} else if (n % 64 == 62) {
				session_end(t->s);
			} else if (session_tick(t->s, t->now_ns) != OK) {
				t->over = true;
			} else if (session_deadline(t->s) < t->now_ns) {
				abort();
			}
			break;
		}
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || sodium_init() < 0)
		return 0;
	noise_public(archive_public, archive_secret);
	unsigned how = data[0];
	bool admitted = how & 4;
	struct trial t = { .now_ns = 5, .answers = !(how & 8) };
	enum err e = how & 1 ? session_open_archive(&t.s, archive_public, admit, &admitted, t.now_ns)
	                     : session_open_collector(&t.s, monitor_secret, archive_public, t.now_ns);
	if (e != OK)
		return 0;
	struct reader r = reader_of(data + 1, size - 1);
	if (how & 2) {
		t.s->state = STATE_GREETING; /* as after a handshake */
		if (!(how & 1))
			act(&t, &(struct session_event){ .kind = SESSION_READY });
		play(&t, &r);
	} else {
		receive(&t, data + 1, size - 1);
	}
	session_close(&t.s);
	return 0;
}
