/* An archive that keeps nothing: for tests and measurements of a collector alone. It speaks the wire, verifies parcels, holds
 * them against the rules of a feed (next in the chain, or known), acknowledges, and counts.
 *
 *     sink [--examine] [--cut N] [--mute] [--refuse CODE] [--wait-ms N] [--forget]
 *
 * Prints "PORT CODE" (the code enrols any number of monitors), then, for each line on stdin, a line of JSON with what came so
 * far; ends with stdin.
 *     --examine     decodes each block (else only hash and signature are verified)
 *     --trust       verifies nothing: for measurements
 *     --cut N       closes the connection after every Nth parcel, before it is acknowledged
 *     --refuse CODE refuses HELLO with this code of wire.h
 *     --refuse-parcel CODE  refuses parcel 3 of each stream
 *     --wait-ms N   says WAIT for so long after every 10th parcel
 *     --forget N    when a session begins, stands N parcels before where it stood (an archive from a backup); once
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "archive/block_read.h"
#include "archive/parcel.h"
#include "archive/ticket.h"
#include "base/when.h"
#include "ingest/session.h"

#define STREAMS_ALL     64
#define CONNECTIONS_ALL 16
#define HISTORY         65536

struct stream {
	char     name[STREAM_NAME_BYTES];
	uint64_t epoch, sequence;
	uint8_t  chain[PARCEL_HASH_BYTES];
	uint8_t  monitor[32];
	uint64_t parcels, records, lost_records, losses, repeated, epochs, wire_bytes, captured_bytes, sampled_records;
	uint64_t first_ns, last_ns, max_delay_ns;
	struct parcel last;
	uint8_t (*chains)[PARCEL_HASH_BYTES]; /* by sequence, of this epoch */
};

struct connection {
	int      fd;
	struct session *session;
	bool     welcomed;
	struct stream *acks[STREAMS_ALL]; /* to be acknowledged */
	unsigned ack_count;
};

static struct {
	bool     examine, trust, mute;
	unsigned cut, refuse, refuse_parcel, wait_ms, forget;
	uint8_t  noise_public[32], noise_secret[32], ingest_public[32], ingest_secret[32], archive[16];
	struct stream streams[STREAMS_ALL];
	unsigned stream_count;
	uint64_t parcels, bytes, sessions, forks, gaps, bad, reports, enrolled;
	char     problem[ERR_TEXT_BYTES];
	struct block_examiner *examiner;
	struct connection connections[CONNECTIONS_ALL];
} it;

static uint64_t
now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static void
problem(uint64_t *counter, const char *what)
{
	(*counter)++;
	snprintf(it.problem, sizeof it.problem, "%s: %s", what, err_text());
}

static struct stream *
stream_named(const char *name)
{
	for (unsigned i = 0; i < it.stream_count; i++)
		if (strcmp(it.streams[i].name, name) == 0)
			return &it.streams[i];
	assert(it.stream_count < STREAMS_ALL);
	struct stream *st = &it.streams[it.stream_count++];
	snprintf(st->name, sizeof st->name, "%s", name);
	st->chains = calloc(HISTORY, sizeof *st->chains);
	assert(st->chains);
	return st;
}

/* --- parcels --- */

static enum wire_refusal
examine(struct stream *st, const struct parcel *p)
{
	uint8_t key[BLOCK_KEY_BYTES];
	struct block b;
	if (it.trust || p->kind == PARCEL_LOSS)
		return WIRE_REFUSAL_NONE;
	if (parcel_verify(p) != OK || parcel_open_key(p->sealed_key, it.ingest_public, it.ingest_secret, key) != OK) {
		problem(&it.bad, "parcel");
		return WIRE_REFUSAL_DAMAGED;
	}
	if (!it.examine)
		return WIRE_REFUSAL_NONE;
	if (block_examine(it.examiner, p->block, p->block_bytes, key, p->captured_bytes, EXAMINE_ALL, &b) != OK ||
	    b.info.records != p->records) {
		problem(&it.bad, "block");
		return WIRE_REFUSAL_DAMAGED;
	}
	st->wire_bytes += b.info.wire_bytes;
	st->captured_bytes += b.info.captured_bytes;
	st->sampled_records += (uint64_t)b.info.sampled * b.info.records;
	return WIRE_REFUSAL_NONE;
}

static void
land(struct stream *st, const struct parcel *p)
{
	const uint8_t *chain = p->kind == PARCEL_LOSS ? p->hash : p->self;
	if (p->epoch != st->epoch)
		st->epochs++;
	st->epoch = p->epoch;
	st->sequence = p->sequence;
	memcpy(st->chain, chain, sizeof st->chain);
	memcpy(st->chains[p->sequence % HISTORY], chain, sizeof st->chain);
	st->parcels++;
	if (p->kind == PARCEL_LOSS) {
		st->losses++;
		st->lost_records += p->records;
	} else {
		st->records += p->records;
		uint64_t now = when_now();
		if (p->first_ns < now && now - p->first_ns > st->max_delay_ns)
			st->max_delay_ns = now - p->first_ns;
	}
	if (st->first_ns == 0 || p->first_ns < st->first_ns)
		st->first_ns = p->first_ns;
	if (p->last_ns > st->last_ns)
		st->last_ns = p->last_ns;
	st->last = *p;
}

/* The rules of a feed. */
static enum wire_refusal
take_parcel(const struct wire_parcel *m, struct parcel *p, struct stream **out)
{
	static const uint8_t zero[PARCEL_HASH_BYTES];
	it.bytes += m->bytes_count;
	it.parcels++;
	if (parcel_parse(m->bytes, m->bytes_count, p) != OK) {
		problem(&it.bad, "parcel");
		return WIRE_REFUSAL_DAMAGED;
	}
	struct stream *st = *out = stream_named(p->stream);
	uint64_t first = p->kind == PARCEL_LOSS ? p->from_sequence : p->sequence;
	if (p->epoch == st->epoch && p->sequence <= st->sequence) {
		const uint8_t *chain = p->kind == PARCEL_LOSS ? p->hash : p->self;
		st->repeated++;
		if (memcmp(chain, st->chains[p->sequence % HISTORY], sizeof st->chain) != 0 && p->kind == PARCEL_BLOCK) {
			it.forks++;
			return WIRE_REFUSAL_QUARANTINED;
		}
		return WIRE_REFUSAL_NONE;
	}
	bool next = p->epoch == st->epoch && first == st->sequence + 1;
	bool fresh = p->epoch > st->epoch && first == 1 && memcmp(p->previous, zero, sizeof zero) == 0;
	if (!next && !fresh) {
		it.gaps++;
		return WIRE_REFUSAL_OUT_OF_ORDER;
	}
	if (next && memcmp(p->previous, st->chain, sizeof st->chain) != 0) {
		it.forks++;
		return WIRE_REFUSAL_QUARANTINED;
	}
	if (st->parcels && next && (p->lost_kernel < st->last.lost_kernel || p->lost_spool < st->last.lost_spool ||
	                            p->lost_policy < st->last.lost_policy || p->lost_interface < st->last.lost_interface)) {
		it.bad++;
		snprintf(it.problem, sizeof it.problem, "losses decrease in parcel %llu", (unsigned long long)p->sequence);
	}
	enum wire_refusal why = examine(st, p);
	if (why == WIRE_REFUSAL_NONE && it.refuse_parcel && p->sequence == 3 && p->kind == PARCEL_BLOCK)
		why = (enum wire_refusal)it.refuse_parcel;
	if (why == WIRE_REFUSAL_NONE)
		land(st, p);
	return why;
}

/* --- one connection --- */

static enum wire_refusal
admit(void *arg, const uint8_t key[NOISE_KEY_BYTES])
{
	(void)arg;
	(void)key;
	return (enum wire_refusal)it.refuse;
}

static void
say(struct connection *c, struct wire_message *m)
{
	if (session_send(c->session, m, now_ns()) != OK)
		fprintf(stderr, "sink: %s\n", err_text());
}

static void
acknowledge(struct connection *c)
{
	for (unsigned i = 0; i < c->ack_count && session_room(c->session, WIRE_TYPE_ACK); i++) {
		const struct stream *st = c->acks[i];
		struct wire_message m = { .type = WIRE_TYPE_ACK, .ack = { .epoch = st->epoch, .sequence = st->sequence } };
		memcpy(m.ack.stream, st->name, sizeof m.ack.stream);
		say(c, &m);
	}
	c->ack_count = 0;
}

static bool
parcel(struct connection *c, const struct wire_parcel *in)
{
	struct parcel p;
	struct stream *st = NULL;
	enum wire_refusal why = take_parcel(in, &p, &st);
	if (it.cut && it.parcels % it.cut == 0)
		return false;
	if (why != WIRE_REFUSAL_NONE) {
		struct wire_message m = { .type = WIRE_TYPE_REFUSED, .refused = { .code = (uint8_t)why } };
		if (st) {
			memcpy(m.refused.stream, st->name, sizeof m.refused.stream);
			m.refused.epoch = p.epoch;
			m.refused.sequence = p.sequence;
		}
		snprintf(m.refused.sentence, sizeof m.refused.sentence, "as the sink sees it");
		say(c, &m);
		return true;
	}
	if (it.wait_ms && it.parcels % 10 == 0) {
		struct wire_message m = { .type = WIRE_TYPE_WAIT, .wait = { .milliseconds = it.wait_ms, .reason = "a test" } };
		say(c, &m);
	}
	for (unsigned i = 0; i < c->ack_count; i++)
		if (c->acks[i] == st)
			return true;
	if (!it.mute)
		c->acks[c->ack_count++] = st;
	return true;
}

static void
mark(struct connection *c, const struct wire_feed_ask *ask)
{
	struct stream *st = stream_named(ask->stream);
	if (it.forget && st->sequence > it.forget) {
		st->sequence -= it.forget;
		memcpy(st->chain, st->chains[st->sequence % HISTORY], sizeof st->chain);
		it.forget = 0;
	}
	struct wire_message m = { .type = WIRE_TYPE_MARK, .mark = { .epoch = st->epoch, .sequence = st->sequence } };
	memcpy(m.mark.stream, st->name, sizeof m.mark.stream);
	memcpy(m.mark.chain, st->chain, sizeof m.mark.chain);
	say(c, &m);
}

static bool
message(struct connection *c, const struct wire_message *in)
{
	struct wire_message m = { 0 };
	switch (in->type) {
	case WIRE_TYPE_ENROL:
		it.enrolled++;
		m.type = WIRE_TYPE_ENROLLED;
		memcpy(m.enrolled.archive, it.archive, sizeof it.archive);
		memcpy(m.enrolled.ingest_key, it.ingest_public, sizeof it.ingest_public);
		snprintf(m.enrolled.monitor, sizeof m.enrolled.monitor, "roof");
		say(c, &m);
		return true;
	case WIRE_TYPE_HELLO:
		it.sessions++;
		m.type = WIRE_TYPE_WELCOME;
		memcpy(m.welcome.archive, it.archive, sizeof it.archive);
		memcpy(m.welcome.ingest_key, it.ingest_public, sizeof it.ingest_public);
		m.welcome.clock_ns = when_now();
		snprintf(m.welcome.monitor, sizeof m.welcome.monitor, "roof");
		say(c, &m);
		return true;
	case WIRE_TYPE_FEED_ASK:
		mark(c, &in->feed_ask);
		return true;
	case WIRE_TYPE_PARCEL:
		return parcel(c, &in->parcel);
	case WIRE_TYPE_REPORT:
		it.reports++;
		return true;
	case WIRE_TYPE_BYE:
		session_end(c->session);
		return true;
	default:
		return true;
	}
}

static bool
events(struct connection *c)
{
	struct session_event event;
	enum err e;
	while ((e = session_next(c->session, now_ns(), &event)) == OK) {
		uint8_t shared[NOISE_KEY_BYTES];
		if (event.kind == SESSION_WANT_DH)
			session_dh_done(c->session, noise_dh(shared, it.noise_secret, event.key) == OK ? shared : NULL);
		else if (event.kind == SESSION_MESSAGE && !message(c, &event.message))
			return false;
	}
	acknowledge(c);
	return e == END && !session_finished(c->session);
}

static bool
output(struct connection *c)
{
	const uint8_t *p;
	for (size_t n; (n = session_output(c->session, now_ns(), &p)) > 0;) {
		ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0)
			return errno == EAGAIN || errno == EINTR;
		session_sent(c->session, (size_t)sent, now_ns());
	}
	return true;
}

static bool
input(struct connection *c)
{
	uint8_t *p;
	size_t room = session_input(c->session, &p);
	ssize_t got = room ? recv(c->fd, p, room, MSG_DONTWAIT) : -1;
	if (got < 0)
		return room == 0 || errno == EAGAIN || errno == EINTR;
	session_received(c->session, (size_t)got, now_ns());
	return true;
}

static void
hang_up(struct connection *c)
{
	(void)output(c);
	session_close(&c->session);
	close(c->fd);
	*c = (struct connection){ .fd = -1 };
}

static void
serve(struct connection *c, short revents)
{
	bool good = true;
	if (revents & (POLLIN | POLLHUP | POLLERR))
		good = input(c);
	good = good && events(c) && output(c) && session_tick(c->session, now_ns()) == OK;
	if (!good)
		hang_up(c);
}

/* --- the program --- */

static void
report(void)
{
	printf("{\"parcels\": %llu, \"bytes\": %llu, \"sessions\": %llu, \"enrolled\": %llu, \"forks\": %llu, \"gaps\": %llu, "
	       "\"bad\": %llu, \"reports\": %llu, "
	       "\"problem\": \"%s\", \"streams\": {",
	       (unsigned long long)it.parcels, (unsigned long long)it.bytes,
	       (unsigned long long)it.sessions, (unsigned long long)it.enrolled, (unsigned long long)it.forks,
	       (unsigned long long)it.gaps, (unsigned long long)it.bad, (unsigned long long)it.reports, it.problem);
	for (unsigned i = 0; i < it.stream_count; i++) {
		const struct stream *st = &it.streams[i];
#define NUMBER(name, value) printf("\"" name "\": %llu, ", (unsigned long long)(value))
		printf("%s\"%s\": {", i ? ", " : "", st->name);
		NUMBER("epoch", st->epoch);
		NUMBER("sequence", st->sequence);
		NUMBER("parcels", st->parcels);
		NUMBER("records", st->records);
		NUMBER("losses", st->losses);
		NUMBER("lost_records", st->lost_records);
		NUMBER("repeated", st->repeated);
		NUMBER("epochs", st->epochs);
		NUMBER("wire_bytes", st->wire_bytes);
		NUMBER("captured_bytes", st->captured_bytes);
		NUMBER("sampled_records", st->sampled_records);
		NUMBER("max_delay_ns", st->max_delay_ns);
		NUMBER("lost_kernel", st->last.lost_kernel);
		NUMBER("lost_interface", st->last.lost_interface);
		NUMBER("lost_spool", st->last.lost_spool);
		NUMBER("lost_policy", st->last.lost_policy);
		printf("\"source_records\": %llu}", (unsigned long long)st->last.source_records);
#undef NUMBER
	}
	printf("}}\n");
	fflush(stdout);
}

static int
listen_here(uint16_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
	const char *wanted = getenv("SINK_PORT");
	a.sin_port = htons((uint16_t)(wanted ? strtoul(wanted, NULL, 10) : 0));
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 16) < 0 ||
	    getsockname(fd, (struct sockaddr *)&a, &n) < 0)
		return -1;
	*port = ntohs(a.sin_port);
	return fd;
}

static void
accept_one(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	for (unsigned i = 0; i < CONNECTIONS_ALL && fd >= 0; i++) {
		struct connection *c = &it.connections[i];
		if (c->session)
			continue;
		c->fd = fd;
		if (session_open_archive(&c->session, it.noise_public, admit, NULL, now_ns()) == OK)
			return;
		break;
	}
	if (fd >= 0)
		close(fd);
}

static void
loop(int listener)
{
	char line[64];
	for (;;) {
		struct pollfd p[CONNECTIONS_ALL + 2] = { { .fd = 0, .events = POLLIN }, { .fd = listener, .events = POLLIN } };
		for (unsigned i = 0; i < CONNECTIONS_ALL; i++) {
			struct connection *c = &it.connections[i];
			const uint8_t *bytes;
			p[i + 2].fd = c->session ? c->fd : -1;
			p[i + 2].events = POLLIN;
			if (c->session && session_output(c->session, now_ns(), &bytes) > 0)
				p[i + 2].events |= POLLOUT;
		}
		if (poll(p, CONNECTIONS_ALL + 2, 200) < 0 && errno != EINTR)
			return;
		for (unsigned i = 0; i < CONNECTIONS_ALL; i++)
			if (it.connections[i].session && p[i + 2].fd >= 0)
				serve(&it.connections[i], p[i + 2].revents);
		if (p[1].revents)
			accept_one(listener);
		if (p[0].revents) {
			ssize_t n = read(0, line, sizeof line);
			if (n <= 0)
				return;
			report();
		}
	}
}

static unsigned
number_after(int argc, char **argv, const char *name)
{
	for (int i = 1; i + 1 < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return (unsigned)strtoul(argv[i + 1], NULL, 10);
	return 0;
}

static bool
flag(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], name) == 0)
			return true;
	return false;
}

/* The same keys in each run with the same SINK_SEED. */
static void
keys(void)
{
	uint8_t seed[randombytes_SEEDBYTES] = { 7 }, bytes[80];
	const char *text = getenv("SINK_SEED");
	crypto_generichash(seed, sizeof seed, (const uint8_t *)(text ? text : ""), text ? strlen(text) : 0, NULL, 0);
	randombytes_buf_deterministic(bytes, sizeof bytes, seed);
	memcpy(it.noise_secret, bytes, 32);
	memcpy(it.ingest_secret, bytes + 32, 32);
	memcpy(it.archive, bytes + 64, 16);
	noise_public(it.noise_public, it.noise_secret);
	noise_public(it.ingest_public, it.ingest_secret);
}

int
main(int argc, char **argv)
{
	char code[TICKET_CODE_CHARS + 1];
	struct ticket ticket = { .secret = { 1 } };
	uint16_t port = 0;
	if (sodium_init() < 0)
		return 1;
	keys();
	it.examine = flag(argc, argv, "--examine");
	it.trust = flag(argc, argv, "--trust");
	it.mute = flag(argc, argv, "--mute");
	it.cut = number_after(argc, argv, "--cut");
	it.refuse = number_after(argc, argv, "--refuse");
	it.refuse_parcel = number_after(argc, argv, "--refuse-parcel");
	it.wait_ms = number_after(argc, argv, "--wait-ms");
	it.forget = number_after(argc, argv, "--forget");
	int listener = listen_here(&port);
	if (listener < 0 || block_examiner_open(&it.examiner) != OK) {
		fprintf(stderr, "sink: %s\n", listener < 0 ? strerror(errno) : err_text());
		return 1;
	}
	memcpy(ticket.archive, it.noise_public, sizeof ticket.archive);
	ticket_format(code, &ticket);
	printf("%u %s\n", port, code);
	fflush(stdout);
	loop(listener);
	return 0;
}
