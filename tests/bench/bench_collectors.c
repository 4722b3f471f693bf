/* Many collectors at once, in one process, each with its own keys, session and stream: what a fleet of quiet monitors is to an
 * archive.
 *
 *     bench_collectors SECONDS LOG < lines "HOST:PORT CODE", one for each collector
 *
 * Each collector enrols with its code, then makes RECORDS packets a second and sends a parcel of them when the oldest is
 * BLOCK_NS old, as a real one does, and a report each second. The collectors' seconds are spread evenly. LOG gets a line for
 * each parcel: when its first packet was made, when it was sent, when it was acknowledged (ns since 1970 UTC; 0: never). The
 * first line on stdout, "connected N", says that all are there; the last is "parcels N acknowledged N". */
#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "archive/block.h"
#include "archive/seal.h"
#include "base/io.h"
#include "ingest/dial.h"
#include "archive/ticket.h"
#include "ingest/enrolment.h"
#include "ingest/identity.h"
#include "ingest/session.h"

#define COLLECTORS_MAX 1024u
#define PARCELS_MAX    4096u           /* of one collector */
#define RECORDS        8u              /* in a parcel */
#define BLOCK_NS       1000000000ull
#define DRAIN_NS       5000000000ull   /* for the last acknowledgements */

struct sent { uint64_t made_ns, sent_ns, acked_ns; };

struct collector {
	struct identity *id;
	struct session  *session;
	int      fd;
	uint64_t next_ns;              /* when its next parcel is due, steady clock; 0: its mark has not come */
	uint64_t epoch, sequence, acked;
	uint8_t  chain[PARCEL_HASH_BYTES];
	uint8_t *bytes;                /* of the parcel that goes out */
	struct sent log[PARCELS_MAX];
};

struct fleet {
	struct collector *v;           /* count */
	unsigned count, connected;
	struct frames *frames;
	struct block_encoder *encoder;
};

static uint64_t
now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t steady(void) { return now(CLOCK_MONOTONIC); }

/* --- a parcel --- */

/* UDP packets of 42 bytes, as if made evenly over the last second; the first one a second ago. */
static void
frames_make(struct frames *f, unsigned host, uint64_t first_ns)
{
	static const uint8_t head[42] = {
		0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00,
		0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 0, 198, 51, 100, 7,
		0x10, 0x00, 0, 53, 0, 8, 0, 0,
	};
	frames_reset(f);
	for (unsigned i = 0; i < RECORDS; i++) {
		uint8_t *p = f->bytes + f->used_bytes;
		memcpy(p, head, sizeof head);
		p[28] = (uint8_t)(host >> 8);
		p[29] = (uint8_t)host;
		f->v[f->count++] = (struct frame){ .ts_ns = first_ns + i * (BLOCK_NS / RECORDS), .wire_len = 60,
			                           .cap_len = sizeof head, .at = f->used_bytes, .linktype = 1 };
		f->used_bytes += sizeof head;
	}
}

static enum err
parcel_make(struct fleet *f, struct collector *c, uint32_t *n)
{
	struct sent *log = &c->log[c->sequence];
	struct block b;
	uint8_t key[BLOCK_KEY_BYTES], front[PARCEL_FRONT_BYTES_MAX];
	log->sent_ns = now(CLOCK_REALTIME);
	log->made_ns = log->sent_ns - BLOCK_NS;
	frames_make(f->frames, (unsigned)(c - f->v), log->made_ns);
	TRY(block_encode(f->encoder, f->frames, true, &b));
	randombytes_buf(key, sizeof key);
	block_seal(f->encoder, &b, key);
	struct parcel p = { .kind = PARCEL_BLOCK, .epoch = c->epoch, .sequence = ++c->sequence, .made_ns = log->sent_ns,
		            .records = RECORDS, .first_ns = b.info.first_ns, .last_ns = b.info.last_ns,
		            .captured_bytes = b.info.captured_bytes, .stream = "eth0", .block = b.stored,
		            .block_bytes = b.stored_bytes };
	memcpy(p.archive, c->id->archive, sizeof p.archive);
	memcpy(p.monitor, c->id->sign_public, sizeof p.monitor);
	memcpy(p.previous, c->chain, sizeof p.previous);
	parcel_sign(&p, c->id->sign_secret, c->id->ingest, key, front);
	memcpy(c->chain, p.self, sizeof c->chain);
	free(c->bytes);
	*n = p.front_bytes + p.block_bytes;
	c->bytes = malloc(*n);
	if (!c->bytes)
		return fail(ERR_NOMEM, "no memory for a parcel");
	memcpy(c->bytes, front, p.front_bytes);
	memcpy(c->bytes + p.front_bytes, b.stored, b.stored_bytes);
	return OK;
}

static enum err
parcel_send(struct fleet *f, struct collector *c)
{
	struct wire_message m = { .type = WIRE_TYPE_PARCEL }, r = { .type = WIRE_TYPE_REPORT };
	if (!session_room(c->session, WIRE_TYPE_PARCEL) || c->sequence == PARCELS_MAX)
		return OK;
	r.report = (struct wire_report){ .stream = "eth0", .clock_ns = now(CLOCK_REALTIME), .sampled = 1,
		                         .packets = c->sequence * RECORDS };
	TRY(session_send(c->session, &r, steady()));
	TRY(parcel_make(f, c, &m.parcel.bytes_count));
	m.parcel.bytes = c->bytes;
	c->next_ns += BLOCK_NS;
	return session_send(c->session, &m, steady());
}

/* --- conversation --- */

static enum err
take_message(struct fleet *f, struct collector *c, const struct wire_message *m)
{
	static const struct wire_message ask = { .type = WIRE_TYPE_FEED_ASK, .feed_ask.stream = "eth0" };
	switch (m->type) {
	case WIRE_TYPE_WELCOME:
		return session_send(c->session, &ask, steady());
	case WIRE_TYPE_MARK:
		c->epoch = now(CLOCK_REALTIME);
		c->next_ns = steady() + BLOCK_NS + BLOCK_NS * (uint64_t)(c - f->v) / f->count;
		f->connected++;
		return OK;
	case WIRE_TYPE_ACK:
		for (; c->acked < m->ack.sequence && c->acked < c->sequence; c->acked++)
			c->log[c->acked].acked_ns = now(CLOCK_REALTIME);
		return OK;
	case WIRE_TYPE_REFUSED:
		return fail(ERR_DENIED, "refused: %s", m->refused.sentence);
	default:
		return OK;
	}
}

static enum err
take_events(struct fleet *f, struct collector *c)
{
	static const struct wire_message hello = { .type = WIRE_TYPE_HELLO,
		                                   .hello = { .software = "bench_collectors", .streams = 1 } };
	struct session_event event;
	enum err e;
	while ((e = session_next(c->session, steady(), &event)) == OK) {
		if (event.kind == SESSION_READY)
			TRY(session_send(c->session, &hello, steady()));
		else if (event.kind == SESSION_MESSAGE)
			TRY(take_message(f, c, &event.message));
	}
	return e == END ? OK : e;
}

static enum err
serve(struct fleet *f, struct collector *c, bool readable, bool sending)
{
	if (readable)
		TRY(dial_receive(c->session, c->fd, steady()));
	TRY(take_events(f, c));
	if (sending && c->next_ns && steady() >= c->next_ns)
		TRY(parcel_send(f, c));
	TRY(dial_flush(c->session, c->fd, steady()));
	return session_tick(c->session, steady());
}

/* One round: waits at most 5 ms for whoever has something to say. */
static enum err
round_of(struct fleet *f, bool sending)
{
	static struct pollfd p[COLLECTORS_MAX];
	const uint8_t *out;
	for (unsigned i = 0; i < f->count; i++) {
		bool waits = session_output(f->v[i].session, steady(), &out) > 0;
		p[i] = (struct pollfd){ .fd = f->v[i].fd, .events = (short)(POLLIN | (waits ? POLLOUT : 0)) };
	}
	if (poll(p, f->count, 5) < 0 && errno != EINTR)
		return fail_errno("poll");
	for (unsigned i = 0; i < f->count; i++) {
		enum err e = serve(f, &f->v[i], p[i].revents & (POLLIN | POLLHUP | POLLERR), sending);
		if (e != OK)
			return fail_prefix(e, "collector %u: ", i + 1);
	}
	return OK;
}

static bool
all_acked(const struct fleet *f)
{
	for (unsigned i = 0; i < f->count; i++)
		if (f->v[i].acked < f->v[i].sequence)
			return false;
	return true;
}

static enum err
run(struct fleet *f, uint64_t seconds)
{
	while (f->connected < f->count)
		TRY(round_of(f, false));
	printf("connected %u\n", f->count);
	fflush(stdout);
	uint64_t end = steady() + seconds * 1000000000u;
	while (steady() < end)
		TRY(round_of(f, true));
	while (steady() < end + DRAIN_NS && !all_acked(f))
		TRY(round_of(f, false));
	return OK;
}

/* --- the fleet --- */

static enum err
collector_enrol(struct collector *c, const char *url, const char *code)
{
	struct ticket t;
	TRY(identity_make(&c->id, NULL));
	TRY(identity_address(c->id, url));
	TRY(ticket_parse(&t, code));
	memcpy(c->id->archive_key, t.archive, sizeof c->id->archive_key);
	return enrolment(c->id, t.secret);
}

static enum err
fleet_enrol(struct fleet *f)
{
	char url[300], code[300];
	while (f->count < COLLECTORS_MAX && scanf("%299s %299s", url, code) == 2)
		TRY(collector_enrol(&f->v[f->count++], url, code));
	for (unsigned i = 0; i < f->count; i++) {
		struct collector *c = &f->v[i];
		TRY(dial(&c->fd, c->id->host, c->id->port, -1));
		TRY(session_open_collector(&c->session, c->id->noise_secret, c->id->archive_key, steady()));
	}
	return OK;
}

static enum err
write_log(const struct fleet *f, const char *path)
{
	uint64_t parcels = 0, acked = 0;
	FILE *out = fopen(path, "w");
	if (!out)
		return fail_errno("%s", path);
	for (unsigned i = 0; i < f->count; i++) {
		const struct collector *c = &f->v[i];
		for (uint64_t k = 0; k < c->sequence; k++)
			fprintf(out, "%llu %llu %llu\n", (unsigned long long)c->log[k].made_ns, (unsigned long long)c->log[k].sent_ns,
			        (unsigned long long)c->log[k].acked_ns);
		parcels += c->sequence;
		acked += c->acked;
	}
	printf("parcels %llu acknowledged %llu\n", (unsigned long long)parcels, (unsigned long long)acked);
	return fclose(out) == 0 ? OK : fail_errno("%s", path);
}

int
main(int argc, char **argv)
{
	struct fleet f = { 0 };
	if (argc != 3) {
		fprintf(stderr, "usage: bench_collectors SECONDS LOG < HOST:PORT CODE lines\n");
		return 2;
	}
	enum err e = seal_start();
	f.v = calloc(COLLECTORS_MAX, sizeof *f.v);
	if (e == OK && !f.v)
		e = fail(ERR_NOMEM, "no memory");
	if (e == OK)
		e = frames_open(&f.frames, 1u << 20);
	if (e == OK)
		e = block_encoder_open(&f.encoder);
	if (e == OK)
		e = fleet_enrol(&f);
	if (e == OK)
		e = run(&f, strtoull(argv[1], NULL, 10));
	if (e == OK)
		e = write_log(&f, argv[2]);
	if (e != OK)
		fprintf(stderr, "%s\n", err_text());
	for (unsigned i = 0; i < f.count; i++) {
		session_close(&f.v[i].session);
		io_close(&f.v[i].fd);
		identity_close(&f.v[i].id);
		free(f.v[i].bytes);
	}
	block_encoder_close(&f.encoder);
	frames_close(&f.frames);
	free(f.v);
	return e == OK ? 0 : 1;
}
