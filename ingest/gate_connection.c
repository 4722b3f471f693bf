/* One connection of the gate. */
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/when.h"
#include "ingest/gate_parts.h"

struct connection *
connection_find(struct gate *g, uint64_t number)
{
	struct connection *c = g->slots[number & (GATE_CONNECTIONS_MAX - 1)];
	return c && c->number == number ? c : NULL;
}

struct gate_stream *
connection_stream(struct connection *c, const char *name)
{
	for (uint32_t i = 0; i < c->stream_count; i++)
		if (strcmp(c->streams[i].name, name) == 0)
			return &c->streams[i];
	return NULL;
}

bool
connection_answered(const struct connection *c)
{
	for (uint32_t i = 0; i < c->stream_count; i++)
		if (c->streams[i].in_flight || c->streams[i].ack_due || c->streams[i].mark_due || c->streams[i].refusal_due)
			return false;
	return c->pending_count == 0;
}

static enum wire_refusal
admit(void *arg, const uint8_t key[NOISE_KEY_BYTES])
{
	const struct arrival_monitor *m = gate_monitor(arg, key);
	return !m                                       ? WIRE_REFUSAL_NOT_ENROLLED
	       : m->state == ARRIVAL_STATE_REVOKED     ? WIRE_REFUSAL_REVOKED
	       : m->state == ARRIVAL_STATE_QUARANTINED ? WIRE_REFUSAL_QUARANTINED
	                                               : WIRE_REFUSAL_NONE;
}

struct gate_origin *
connection_origin(const struct gate *g, const uint8_t prefix[16])
{
	struct gate_origin *o = g->origins;
	while (o && memcmp(o->prefix, prefix, sizeof o->prefix) != 0)
		o = o->next;
	return o;
}

/* One more connection from there; NULL: no memory. */
static struct gate_origin *
origin_enter(struct gate *g, const uint8_t prefix[16])
{
	struct gate_origin *o = connection_origin(g, prefix);
	if (!o) {
		o = calloc(1, sizeof *o);
		if (!o)
			return NULL;
		memcpy(o->prefix, prefix, sizeof o->prefix);
		o->next = g->origins;
		g->origins = o;
	}
	o->connections[STAGE_EARLY]++;
	return o;
}

uint32_t
connection_strangers(const struct gate_origin *o)
{
	return o->connections[STAGE_EARLY] + o->connections[STAGE_LATE] + o->connections[STAGE_ENROLLED];
}

static void
enter_stage(struct connection *c, enum gate_stage stage)
{
	c->origin->connections[c->stage]--;
	c->origin->connections[stage]++;
	c->stage = stage;
}

static void
origin_leave(struct gate *g, struct gate_origin *o, enum gate_stage stage)
{
	o->connections[stage]--;
	if (o->connections[STAGE_MONITOR] + connection_strangers(o))
		return;
	struct gate_origin **at = &g->origins;
	while (*at != o)
		at = &(*at)->next;
	*at = o->next;
	free(o);
}

void
connection_open(struct gate *g, int fd, const uint8_t prefix[16], const char *address)
{
	uint32_t slot = 0;
	while (slot < GATE_CONNECTIONS_MAX && g->slots[slot])
		slot++;
	struct connection *c = slot < GATE_CONNECTIONS_MAX ? calloc(1, sizeof *c) : NULL;
	if (!c || session_open_archive(&c->session, g->identity.noise_public, admit, g, g->now_ns) != OK ||
	    (c->origin = origin_enter(g, prefix)) == NULL) {
		log_braked(&g->refusals, LOG_FAILED, "%s: refused, no memory for its session", address);
		if (c)
			session_close(&c->session);
		free(c);
		close(fd);
		return;
	}
	c->number = (uint64_t)++g->serial << GATE_SLOT_BITS | slot;
	c->fd = fd;
	c->accepted_ns = c->filled_ns = g->now_ns;
	c->tokens = INT64_MAX / 4;
	snprintf(c->address, sizeof c->address, "%s", address);
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.u64 = c->number };
	if (epoll_ctl(g->epoll, EPOLL_CTL_ADD, fd, &e) < 0) {
		origin_leave(g, c->origin, STAGE_EARLY);
		session_close(&c->session);
		close(fd);
		free(c);
		return;
	}
	g->slots[slot] = c;
	g->count++;
}

void
connection_close(struct gate *g, struct connection *c, const char *reason)
{
	reason = reason ? reason : c->reason;
	if (c->told_begin) {
		struct arrival_message m = { .kind = ARRIVAL_KIND_SESSION,
			                     .session = { .session = c->number, .monitor = c->monitor.id } };
		snprintf(m.session.reason, sizeof m.session.reason, "%s", reason);
		snprintf(m.session.address, sizeof m.session.address, "%s", c->address);
		gate_tell(g, &m);
		log_line(LOG_TRACED, "session of %s at %s ended: %s", c->monitor.name, c->address, reason);
	} else {
		log_braked(&g->ends, LOG_TRACED, "connection from %s ended: %s", c->address, reason);
	}
	g->numbers.handshakes_failed += !c->proved;
	gate_parcels_drop(g, c);
	origin_leave(g, c->origin, c->stage);
	session_close(&c->session);
	close(c->fd);
	free(c->streams);
	g->slots[c->number & (GATE_CONNECTIONS_MAX - 1)] = NULL;
	g->count--;
	free(c);
}

void
connection_refuse(struct gate *g, struct connection *c, enum wire_refusal code, const char *sentence)
{
	if (c->closing_ns)
		return;
	snprintf(c->reason, sizeof c->reason, "%s", sentence);
	struct wire_message m = { .type = WIRE_TYPE_REFUSED, .refused.code = code };
	snprintf(m.refused.sentence, sizeof m.refused.sentence, "%s", c->reason);
	if (code != WIRE_REFUSAL_NONE && session_room(c->session, m.type) && session_send(c->session, &m, g->now_ns) != OK)
		log_braked(&g->refusals, LOG_WARNED, "%s could not be told: %s", c->address, err_text());
	if (code != WIRE_REFUSAL_NONE && c->monitor.id)
		log_line(LOG_NOTED, "session of %s at %s is cut: %s", c->monitor.name, c->address, c->reason);
	c->closing_ns = g->now_ns + GATE_CLOSING_NS;
	gate_parcels_drop(g, c);
	session_end(c->session);
}

/* --- what a collector says --- */

/* A new connection takes its part of the
 * handshakes of this second before it costs the store anything, and waits for it. */
static void
ask_dh(struct gate *g, struct connection *c)
{
	if (!c->admitted && g->limits.handshakes) {
		if (g->handshakes < 1)
			return;
		g->handshakes -= 1;
	}
	c->admitted = true;
	c->dh_due = false;
	c->asked = c->number << 16 | ++c->requests;
	struct arrival_message m = { .kind = ARRIVAL_KIND_DH, .dh.request = c->asked };
	memcpy(m.dh.peer, c->dh_peer, sizeof m.dh.peer);
	gate_tell(g, &m);
}

/* The first is of the ephemeral key, the second of the static one. */
static void
take_want_dh(struct gate *g, struct connection *c, const uint8_t peer[32])
{
	const struct arrival_monitor *m = c->stage == STAGE_EARLY ? NULL : gate_monitor(g, peer);
	enter_stage(c, m && m->state == ARRIVAL_STATE_ENROLLED ? STAGE_ENROLLED : STAGE_LATE);
	memcpy(c->dh_peer, peer, sizeof c->dh_peer);
	c->dh_due = true;
	ask_dh(g, c);
}

static bool
take_enrol(struct gate *g, struct connection *c, const struct wire_enrol *in)
{
	c->asked = c->number << 16 | ++c->requests;
	struct arrival_message m = { .kind = ARRIVAL_KIND_ENROL, .enrol.request = c->asked };
	memcpy(m.enrol.code, in->secret, sizeof m.enrol.code);
	memcpy(m.enrol.noise_key, session_peer(c->session), sizeof m.enrol.noise_key);
	memcpy(m.enrol.sign_key, in->sign_key, sizeof m.enrol.sign_key);
	snprintf(m.enrol.software, sizeof m.enrol.software, "%s", in->software);
	snprintf(m.enrol.address, sizeof m.enrol.address, "%s", c->address);
	bool good = gate_tell(g, &m);
	sodium_memzero(&m, sizeof m);
	return good;
}

static bool
take_hello(struct gate *g, struct connection *c, const struct wire_hello *in)
{
	const struct arrival_monitor *monitor = gate_monitor(g, session_peer(c->session));
	if (!monitor || monitor->state != ARRIVAL_STATE_ENROLLED) { /* admit() said so a moment ago */
		connection_close(g, c, "not enrolled");
		return false;
	}
	for (uint32_t i = 0; i < GATE_CONNECTIONS_MAX; i++)
		if (g->slots[i] && g->slots[i] != c && g->slots[i]->monitor.id == monitor->id)
			connection_close(g, g->slots[i], "a newer session took its place");
	c->monitor = *monitor;
	enter_stage(c, STAGE_MONITOR);
	c->tokens = GATE_BURST_BYTES_MIN;
	struct arrival_message m = { .kind = ARRIVAL_KIND_SESSION,
		                     .session = { .session = c->number, .monitor = monitor->id, .begins = 1,
		                                  .clock_ns = in->clock_ns } };
	snprintf(m.session.software, sizeof m.session.software, "%s", in->software);
	snprintf(m.session.address, sizeof m.session.address, "%s", c->address);
	c->told_begin = gate_tell(g, &m);
	struct wire_message w = { .type = WIRE_TYPE_WELCOME, .welcome.clock_ns = when_now() };
	memcpy(w.welcome.archive, g->identity.archive, sizeof w.welcome.archive);
	memcpy(w.welcome.ingest_key, g->identity.ingest_public, sizeof w.welcome.ingest_key);
	snprintf(w.welcome.monitor, sizeof w.welcome.monitor, "%s", monitor->name);
	enum err e = session_send(c->session, &w, g->now_ns);
	if (e != OK) {
		connection_close(g, c, err_text());
		return false;
	}
	log_line(LOG_TRACED, "session of %s at %s began (%s)", monitor->name, c->address, in->software);
	return true;
}

static bool
take_report(struct gate *g, struct connection *c, const struct wire_report *in)
{
	struct arrival_message m = { .kind = ARRIVAL_KIND_REPORT };
	struct arrival_report *r = &m.report;
	*r = (struct arrival_report){
		.monitor = c->monitor.id,
		.clock_ns = in->clock_ns,
		.spool_bytes = in->spool_bytes,
		.spool_parcels = in->spool_parcels,
		.packets = in->packets,
		.lost_kernel = in->lost_kernel,
		.lost_interface = in->lost_interface,
		.lost_spool = in->lost_spool,
		.lost_policy = in->lost_policy,
		.sampled = in->sampled,
	};
	snprintf(r->stream, sizeof r->stream, "%s", in->stream);
	return gate_tell(g, &m);
}

/* False: the connection is over or closing. */
static bool
take_message(struct gate *g, struct connection *c, const struct wire_message *m)
{
	g->numbers.handshakes += !c->proved;
	c->proved = true;
	if (m->type == WIRE_TYPE_ENROL)
		return take_enrol(g, c, &m->enrol);
	if (m->type == WIRE_TYPE_HELLO)
		return take_hello(g, c, &m->hello);
	if (c->monitor.id == 0) {
		connection_close(g, c, "it spoke before its turn");
		return false;
	}
	switch (m->type) {
	case WIRE_TYPE_FEED_ASK:
		return gate_stream_ask(g, c, m->feed_ask.stream);
	case WIRE_TYPE_PARCEL:
		return gate_parcel_take(g, c, m->parcel.bytes, m->parcel.bytes_count);
	case WIRE_TYPE_REPORT:
		return take_report(g, c, &m->report);
	case WIRE_TYPE_BYE:
		snprintf(c->reason, sizeof c->reason, "the collector said goodbye");
		return c->goodbye = true;
	default:
		return true;
	}
}

/* --- turns --- */

/* Whether another event may be taken: what it may be has room. */
static bool
may_take(struct gate *g, const struct connection *c)
{
	return c->asked == 0 && !c->dh_due && c->closing_ns == 0 && c->pending_count < GATE_PENDING_MAX &&
	       c->pending_bytes <= GATE_PENDING_BYTES && !g->stopping &&
	       g->pending_bytes <= GATE_PENDING_BYTES_MAX && channel_is_open(&g->store) &&
	       channel_waiting(&g->store) <= GATE_LINK_BYTES;
}

/* 1: an event was taken; 0: none; -1: the connection is gone. */
static int
take_event(struct gate *g, struct connection *c)
{
	struct session_event event;
	enum err e = session_next(c->session, g->now_ns, &event);
	if (e == END)
		return 0;
	if (e != OK) {
		char why[ERR_TEXT_BYTES];
		snprintf(why, sizeof why, "%s", c->reason[0] ? c->reason : err_text());
		connection_close(g, c, why);
		return -1;
	}
	uint64_t number = c->number;
	switch (event.kind) {
	case SESSION_WANT_DH:
		take_want_dh(g, c, event.key);
		break;
	case SESSION_MESSAGE:
		take_message(g, c, &event.message);
		break;
	case SESSION_STRANGER: {
		char key[65];
		sodium_bin2hex(key, sizeof key, event.key, sizeof event.key);
		log_braked(&g->strangers, LOG_WARNED, "%s: key %s is refused: %s", c->address, key, wire_refusal_name(event.refusal));
		snprintf(c->reason, sizeof c->reason, "refused: %s", wire_refusal_name(event.refusal));
		c->proved = true;
		g->numbers.handshakes_failed++;
		c->closing_ns = g->now_ns + GATE_CLOSING_NS;
		break;
	}
	default:
		break;
	}
	return connection_find(g, number) ? 1 : -1;
}

/* As take_event. */
static int
read_some(struct gate *g, struct connection *c)
{
	uint8_t *p;
	size_t room = session_input(c->session, &p);
	if (room == 0)
		return 0;
	ssize_t n = recv(c->fd, p, room, 0);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
		c->readable = errno == EINTR;
		return 0;
	}
	if (n < 0) {
		connection_close(g, c, strerror(errno));
		return -1;
	}
	session_received(c->session, (size_t)n, g->now_ns);
	c->readable = n > 0;
	c->tokens -= g->limits.monitor_bytes && c->monitor.id ? n : 0;
	return 1;
}

/* What the session is to be told, as far as it takes it. */
static void
say_all(struct gate *g, struct connection *c)
{
	struct wire_message m;
	if (c->monitor.id == 0 || c->closing_ns)
		return;
	if (g->hold && (c->wait_told_ns == 0 || g->now_ns - c->wait_told_ns >= GATE_WAIT_AGAIN_NS) &&
	    session_room(c->session, WIRE_TYPE_WAIT)) {
		m = (struct wire_message){ .type = WIRE_TYPE_WAIT, .wait.milliseconds = GATE_WAIT_MS };
		snprintf(m.wait.reason, sizeof m.wait.reason, "%s", g->hold_reason);
		if (session_send(c->session, &m, g->now_ns) == OK)
			c->wait_told_ns = g->now_ns;
	}
	if (!g->hold && c->wait_told_ns && session_room(c->session, WIRE_TYPE_GO)) {
		m = (struct wire_message){ .type = WIRE_TYPE_GO };
		if (session_send(c->session, &m, g->now_ns) == OK)
			c->wait_told_ns = 0;
	}
	for (uint32_t i = 0; i < c->stream_count; i++) {
		struct gate_stream *s = &c->streams[i];
		if (s->ack_due && session_room(c->session, WIRE_TYPE_ACK)) {
			m = (struct wire_message){ .type = WIRE_TYPE_ACK, .ack = { .epoch = s->ack_epoch, .sequence = s->ack_sequence } };
			memcpy(m.ack.stream, s->name, sizeof m.ack.stream);
			s->ack_due = session_send(c->session, &m, g->now_ns) != OK;
		}
		if (s->refusal_due && session_room(c->session, WIRE_TYPE_REFUSED)) {
			m = (struct wire_message){ .type = WIRE_TYPE_REFUSED,
				                   .refused = { .code = s->refusal, .epoch = s->refused_epoch,
				                                .sequence = s->refused_sequence } };
			memcpy(m.refused.stream, s->name, sizeof m.refused.stream);
			memcpy(m.refused.sentence, s->sentence, sizeof m.refused.sentence);
			s->refusal_due = session_send(c->session, &m, g->now_ns) != OK;
		}
		if (s->mark_due && session_room(c->session, WIRE_TYPE_MARK)) {
			m = (struct wire_message){ .type = WIRE_TYPE_MARK,
				                   .mark = { .epoch = s->mark_epoch, .sequence = s->mark_sequence } };
			memcpy(m.mark.chain, s->mark_chain, sizeof m.mark.chain);
			memcpy(m.mark.stream, s->name, sizeof m.mark.stream);
			s->mark_due = session_send(c->session, &m, g->now_ns) != OK;
		}
	}
}

/* False: the connection is gone. */
static bool
write_some(struct gate *g, struct connection *c)
{
	const uint8_t *p;
	size_t n;
	while (c->writable && (n = session_output(c->session, g->now_ns, &p)) > 0) {
		ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL);
		if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			c->writable = false;
		} else if (sent < 0 && errno != EINTR) {
			connection_close(g, c, c->reason[0] ? NULL : strerror(errno));
			return false;
		} else if (sent > 0) {
			session_sent(c->session, (size_t)sent, g->now_ns);
		}
	}
	if (session_finished(c->session)) {
		connection_close(g, c, c->reason[0] ? NULL : "it is done");
		return false;
	}
	return true;
}

/* Tokens of the monitor's rate. */
static bool
may_read(struct gate *g, struct connection *c)
{
	uint64_t rate = g->limits.monitor_bytes;
	if (!c->readable || !may_take(g, c))
		return false;
	if (rate == 0 || c->monitor.id == 0)
		return true;
	double more = (double)(g->now_ns - c->filled_ns) / 1e9 * (double)rate;
	int64_t most = (int64_t)(rate > GATE_BURST_BYTES_MIN ? rate : GATE_BURST_BYTES_MIN);
	if (more >= 1) {
		c->filled_ns = g->now_ns;
		c->tokens = more > (double)most || c->tokens + (int64_t)more > most ? most : c->tokens + (int64_t)more;
	}
	return c->tokens > 0;
}

bool
connection_turn(struct gate *g, struct connection *c)
{
	uint64_t number = c->number;
	int did = gate_parcel_pass(g, c); /* one parcel a turn */
	if (!connection_find(g, number))
		return true;
	if (c->dh_due)
		ask_dh(g, c);
	if (may_take(g, c)) {
		int n = take_event(g, c);
		if (n == 0 && may_read(g, c))
			n = read_some(g, c);
		if (n < 0)
			return true;
		did |= n;
	}
	say_all(g, c);
	if (c->goodbye && connection_answered(c))
		session_end(c->session); /* the collector waits for our end of it */
	return write_some(g, c) && did;
}

void
connection_tick(struct gate *g, struct connection *c)
{
	if (c->closing_ns && g->now_ns >= c->closing_ns) {
		connection_close(g, c, NULL);
		return;
	}
	if (c->monitor.id && !may_take(g, c))
		session_excuse(c->session, g->now_ns); /* it is we who do not read */
	else if (c->monitor.id && g->limits.monitor_bytes && c->tokens <= 0)
		session_excuse(c->session, g->now_ns);
	if (session_tick(c->session, g->now_ns) != OK)
		connection_close(g, c, c->reason[0] ? NULL : err_text());
}
