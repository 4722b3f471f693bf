#include "tests/support/tiny_collector.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/support/draft.h"

static uint64_t
clock_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void
tiny_init(struct tiny *t, unsigned number, const uint8_t archive_key[32])
{
	uint8_t seed[32] = { (uint8_t)number, (uint8_t)(number >> 8), 1 };
	*t = (struct tiny){ .fd = -1 };
	memcpy(t->archive_key, archive_key, 32);
	crypto_box_seed_keypair(t->noise_public, t->noise_secret, seed);
	crypto_sign_seed_keypair(t->sign_public, t->sign_secret, seed);
	if (block_encoder_open(&t->encoder) != OK || frames_open(&t->frames, 1u << 20) != OK)
		abort();
}

void
tiny_fini(struct tiny *t)
{
	tiny_hang_up(t);
	block_encoder_close(&t->encoder);
	frames_close(&t->frames);
	free(t->parcel);
}

void
tiny_hang_up(struct tiny *t)
{
	session_close(&t->session);
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}

/* One round of the session's loop, at most ms long. END: no event; OK: *event; else it is over. */
static enum err
step(struct tiny *t, struct session_event *event, uint64_t until)
{
	for (;;) {
		const uint8_t *out;
		uint8_t *in;
		size_t n;
		uint64_t now = clock_now();
		if (!t->session)
			return ERR_IO;
		enum err e = session_next(t->session, now, event);
		if (e != END || (now >= until && session_output(t->session, now, &out) == 0))
			return e;
		if (session_finished(t->session))
			return ERR_IO;
		n = session_output(t->session, now, &out);
		if (n > 0) {
			ssize_t sent = send(t->fd, out, n, MSG_NOSIGNAL | MSG_DONTWAIT);
			if (sent > 0)
				session_sent(t->session, (size_t)sent, now);
		}
		struct pollfd p = { .fd = t->fd, .events = (short)(POLLIN | (n > 0 ? POLLOUT : 0)) };
		poll(&p, 1, until > now ? (int)((until - now) / 1000000 + 1) : 1);
		if (p.revents & (POLLIN | POLLHUP | POLLERR) && (n = session_input(t->session, &in)) > 0) {
			ssize_t got = recv(t->fd, in, n, MSG_DONTWAIT);
			session_received(t->session, got > 0 ? (size_t)got : 0, clock_now());
		}
	}
}

bool
tiny_connect(struct tiny *t, uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct session_event event;
	tiny_hang_up(t);
	t->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (t->fd < 0 || connect(t->fd, (struct sockaddr *)&to, sizeof to) < 0 ||
	    session_open_collector(&t->session, t->noise_secret, t->archive_key, clock_now()) != OK)
		return false;
	return step(t, &event, clock_now() + 5000000000u) == OK && event.kind == SESSION_READY;
}

bool
tiny_wait(struct tiny *t, enum wire_type type, struct wire_message *m, unsigned ms)
{
	uint64_t until = clock_now() + ms * 1000000ull;
	struct session_event event;
	while (step(t, &event, until) == OK) {
		if (event.kind == SESSION_MESSAGE && event.message.type == type) {
			*m = event.message;
			return true;
		}
	}
	return false;
}

bool
tiny_ended(struct tiny *t, unsigned ms)
{
	uint64_t until = clock_now() + ms * 1000000ull;
	struct session_event event;
	enum err e;
	while ((e = step(t, &event, until)) == OK)
		continue;
	return e != END || (t->session && session_finished(t->session));
}

bool
tiny_say(struct tiny *t, const struct wire_message *m)
{
	return t->session && session_send(t->session, m, clock_now()) == OK;
}

bool
tiny_enrol(struct tiny *t, uint16_t port, const uint8_t code[16])
{
	struct wire_message m = { .type = WIRE_TYPE_ENROL, .enrol.software = "tiny" };
	memcpy(m.enrol.secret, code, 16);
	memcpy(m.enrol.sign_key, t->sign_public, 32);
	if (!tiny_connect(t, port) || !tiny_say(t, &m) || !tiny_wait(t, WIRE_TYPE_ENROLLED, &m, 5000))
		return false;
	memcpy(t->archive, m.enrolled.archive, 16);
	memcpy(t->ingest_key, m.enrolled.ingest_key, 32);
	snprintf(t->name, sizeof t->name, "%s", m.enrolled.monitor);
	tiny_hang_up(t);
	return true;
}

bool
tiny_hello(struct tiny *t, uint16_t port)
{
	struct wire_message m = { .type = WIRE_TYPE_HELLO, .hello = { .software = "tiny", .streams = 1 } };
	if (!tiny_connect(t, port) || !tiny_say(t, &m) || !tiny_wait(t, WIRE_TYPE_WELCOME, &m, 5000))
		return false;
	memcpy(t->archive, m.welcome.archive, 16);
	memcpy(t->ingest_key, m.welcome.ingest_key, 32);
	return true;
}

bool
tiny_ask(struct tiny *t, const char *stream, struct wire_message *mark)
{
	struct wire_message m = { .type = WIRE_TYPE_FEED_ASK };
	snprintf(m.feed_ask.stream, sizeof m.feed_ask.stream, "%s", stream);
	return tiny_say(t, &m) && tiny_wait(t, WIRE_TYPE_MARK, mark, 5000);
}

static void
make_frames(struct tiny *t, unsigned packets, uint64_t first_ns)
{
	frames_reset(t->frames);
	for (unsigned i = 0; i < packets; i++) {
		struct draft d;
		draft_start(&d);
		draft_ethernet(&d, 0x0800);
		draft_ip4(&d, 0x0a000000u + i % 200, 0xc6336407u, 17, NULL, 0);
		draft_udp(&d, (uint16_t)(1000 + i % 50), 53);
		draft_fill(&d, 10);
		draft_finish(&d);
		draft_add(&d, t->frames, first_ns + i, 1);
	}
}

void
tiny_make(struct tiny *t, const char *stream, uint64_t epoch, uint64_t sequence, const uint8_t *previous, unsigned packets,
          uint64_t first_ns, enum tiny_fault fault)
{
	uint8_t key[BLOCK_KEY_BYTES], front[PARCEL_FRONT_BYTES_MAX];
	struct block b;
	make_frames(t, packets, first_ns);
	randombytes_buf(key, sizeof key);
	if (block_encode(t->encoder, t->frames, false, &b) != OK)
		abort();
	block_seal(t->encoder, &b, key);
	struct parcel p = {
		.kind = PARCEL_BLOCK, .epoch = epoch, .sequence = sequence, .made_ns = first_ns, .records = b.info.records,
		.first_ns = b.info.first_ns, .last_ns = b.info.last_ns,
		.captured_bytes = b.info.captured_bytes + (fault == TINY_CLAIM), .block_bytes = b.stored_bytes,
	};
	snprintf(p.stream, sizeof p.stream, "%s", stream);
	memcpy(p.archive, t->archive, sizeof p.archive);
	memcpy(p.monitor, t->sign_public, sizeof p.monitor);
	p.archive[0] ^= fault == TINY_ARCHIVE;
	p.monitor[0] ^= fault == TINY_MONITOR;
	if (previous)
		memcpy(p.previous, previous, sizeof p.previous);
	free(t->parcel);
	t->parcel = malloc(PARCEL_FRONT_BYTES_MAX + (size_t)b.stored_bytes);
	if (!t->parcel)
		abort();
	uint8_t *stored = t->parcel + PARCEL_FRONT_BYTES_MAX; /* moved down to the front below */
	memcpy(stored, b.stored, b.stored_bytes);
	stored[b.stored_bytes - 1] ^= fault == TINY_BLOCK; /* signed like that: correct, and garbage */
	p.block = stored;
	parcel_sign(&p, t->sign_secret, fault == TINY_OTHER_KEY ? t->noise_public : t->ingest_key, key, front);
	memcpy(t->parcel, front, p.front_bytes);
	memmove(t->parcel + p.front_bytes, stored, b.stored_bytes);
	t->parcel[p.front_bytes - 1] ^= fault == TINY_SIGNATURE;
	t->parcel_bytes = p.front_bytes + b.stored_bytes;
	memcpy(t->chain, p.self, sizeof t->chain);
}

bool
tiny_send(struct tiny *t)
{
	struct wire_message m = { .type = WIRE_TYPE_PARCEL, .parcel = { .bytes = t->parcel, .bytes_count = t->parcel_bytes } };
	if (!tiny_say(t, &m))
		return false;
	while (session_parcel_out(t->session)) { /* the parcel is borrowed until then; what comes meanwhile waits for tiny_wait() */
		const uint8_t *out;
		size_t n = session_output(t->session, clock_now(), &out);
		ssize_t sent = n ? send(t->fd, out, n, MSG_NOSIGNAL) : 0;
		if (sent < 0)
			return false;
		session_sent(t->session, (size_t)sent, clock_now());
	}
	return true;
}

bool
tiny_deliver(struct tiny *t, uint64_t sequence)
{
	struct wire_message m;
	if (!tiny_send(t))
		return false;
	while (tiny_wait(t, WIRE_TYPE_ACK, &m, 5000))
		if (m.ack.sequence >= sequence)
			return true;
	return false;
}
