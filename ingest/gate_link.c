/* The gate's side of the link to the store process. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/process.h"
#include "ingest/gate_parts.h"

void
gate_link_open(struct gate *g, int fd)
{
	gate_link_lost(g);
	memset(&g->told_numbers, 0, sizeof g->told_numbers);
	channel_init(&g->store, fd, ARRIVAL_MESSAGE_BYTES, GATE_LINK_BYTES_MAX);
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u64 = GATE_TAG_STORE };
	if (epoll_ctl(g->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
		gate_link_lost(g);
}

/* Sessions can not go on without it: what they sent and was not acknowledged they send again. */
void
gate_link_lost(struct gate *g)
{
	channel_fini(&g->store);
	g->have_identity = g->have_monitors = false;
	for (uint32_t i = 0; i < GATE_CONNECTIONS_MAX; i++)
		if (g->slots[i])
			connection_close(g, g->slots[i], "the store process started again");
}

bool
gate_tell(struct gate *g, const struct arrival_message *m)
{
	if (!channel_is_open(&g->store))
		return false;
	enum err e = arrival_send(&g->store, m);
	if (e == OK)
		return true;
	log_line(LOG_WARNED, "link to the store: %s", err_text());
	channel_fini(&g->store); /* the loop sees it: not here, in the midst of a connection's turn */
	return false;
}

static int
compare_monitors(const void *a, const void *b)
{
	return memcmp(((const struct arrival_monitor *)a)->noise_key, ((const struct arrival_monitor *)b)->noise_key, 32);
}

const struct arrival_monitor *
gate_monitor(const struct gate *g, const uint8_t noise_key[32])
{
	struct arrival_monitor wanted;
	memcpy(wanted.noise_key, noise_key, sizeof wanted.noise_key);
	return g->monitor_count ? bsearch(&wanted, g->monitors, g->monitor_count, sizeof wanted, compare_monitors) : NULL;
}

/* Ends the sessions of those that may not send any more. */
static void
cut(struct gate *g)
{
	for (uint32_t i = 0; i < GATE_CONNECTIONS_MAX; i++) {
		struct connection *c = g->slots[i];
		if (!c || c->monitor.id == 0 || c->closing_ns)
			continue;
		const struct arrival_monitor *m = gate_monitor(g, c->monitor.noise_key);
		if (m && m->id == c->monitor.id && m->state == ARRIVAL_STATE_ENROLLED)
			continue;
		if (m && m->state == ARRIVAL_STATE_QUARANTINED)
			connection_refuse(g, c, WIRE_REFUSAL_QUARANTINED, "this monitor is quarantined: the archive's operator knows why");
		else
			connection_refuse(g, c, WIRE_REFUSAL_REVOKED, "this monitor was revoked");
	}
}

static enum err
take_monitors(struct gate *g, const struct arrival_monitors *in)
{
	uint32_t n = in->entries_count / ARRIVAL_MONITOR_BYTES;
	if (in->entries_count % ARRIVAL_MONITOR_BYTES || n > ARRIVAL_MONITORS_MAX)
		return fail(ERR_FORMAT, "a damaged table of monitors");
	struct arrival_monitor *v = calloc(n ? n : 1, sizeof *v);
	if (!v)
		return fail(ERR_NOMEM, "no memory for the table of monitors");
	for (uint32_t i = 0; i < n; i++) {
		if (!arrival_monitor_at(in, i, &v[i])) {
			free(v);
			return fail(ERR_FORMAT, "a damaged table of monitors");
		}
	}
	qsort(v, n, sizeof *v, compare_monitors);
	free(g->monitors);
	g->monitors = v;
	g->monitor_count = n;
	g->have_monitors = true;
	cut(g);
	return OK;
}

static void
take_shared(struct gate *g, const struct arrival_shared *in)
{
	struct connection *c = connection_find(g, in->request >> 16);
	if (!c || c->asked != in->request)
		return;
	c->asked = 0;
	session_dh_done(c->session, in->good ? in->secret : NULL);
}

static void
take_key(struct gate *g, const struct arrival_key *in)
{
	struct connection *c = connection_find(g, in->request >> 16);
	for (unsigned i = 0; c && i < c->pending_count; i++) {
		struct gate_parcel *p = c->pending[i];
		if (p->request != in->request || p->ready)
			continue;
		if (!in->good) {
			connection_refuse(g, c, WIRE_REFUSAL_WRONG_ARCHIVE, "the block's key was sealed for another archive");
			return;
		}
		memcpy(p->key, in->key, sizeof p->key);
		p->ready = true;
		return;
	}
}

static void
take_enrolled(struct gate *g, const struct arrival_enrolled *in)
{
	struct connection *c = connection_find(g, in->request >> 16);
	if (!c || c->asked != in->request)
		return;
	c->asked = 0;
	if (!in->good) {
		connection_refuse(g, c, WIRE_REFUSAL_NOT_ENROLLED, in->sentence);
		return;
	}
	struct wire_message m = { .type = WIRE_TYPE_ENROLLED };
	memcpy(m.enrolled.archive, g->identity.archive, sizeof m.enrolled.archive);
	memcpy(m.enrolled.ingest_key, g->identity.ingest_public, sizeof m.enrolled.ingest_key);
	snprintf(m.enrolled.monitor, sizeof m.enrolled.monitor, "%s", in->name);
	if (session_send(c->session, &m, g->now_ns) != OK)
		log_line(LOG_WARNED, "monitor %s at %s is enrolled, but could not be told: %s", in->name, c->address, err_text());
	snprintf(c->reason, sizeof c->reason, "enrolled as %s", in->name);
	c->closing_ns = g->now_ns + GATE_CLOSING_NS;
	session_end(c->session);
}

static void
take_mark(struct gate *g, const struct arrival_mark *in)
{
	struct connection *c = connection_find(g, in->session);
	struct gate_stream *s = c ? connection_stream(c, in->stream) : NULL;
	if (!s)
		return;
	s->mark_due = true;
	s->mark_epoch = in->epoch;
	s->mark_sequence = in->sequence;
	memcpy(s->mark_chain, in->chain, sizeof s->mark_chain);
}

static void
take_ack(struct gate *g, const struct arrival_ack *in)
{
	struct connection *c = connection_find(g, in->session);
	struct gate_stream *s = c ? connection_stream(c, in->stream) : NULL;
	if (!s)
		return;
	s->ack_due = true;
	s->ack_epoch = in->epoch;
	s->ack_sequence = in->sequence;
	if (in->epoch > s->sent_epoch || (in->epoch == s->sent_epoch && in->sequence >= s->sent_sequence))
		s->in_flight = false;
}

static void
take_refused(struct gate *g, const struct arrival_refused *in)
{
	static const uint8_t codes[ARRIVAL_REFUSAL_COUNT_OF] = {
		[0] = WIRE_REFUSAL_DAMAGED,
		[ARRIVAL_NOT_NEXT] = WIRE_REFUSAL_OUT_OF_ORDER,
		[ARRIVAL_FORK] = WIRE_REFUSAL_QUARANTINED,
		[ARRIVAL_NO_ROOM] = WIRE_REFUSAL_QUOTA,
		[ARRIVAL_NOT_ALLOWED] = WIRE_REFUSAL_REVOKED,
		[ARRIVAL_BROKEN] = WIRE_REFUSAL_DAMAGED,
	};
	struct connection *c = connection_find(g, in->session);
	struct gate_stream *s = c ? connection_stream(c, in->stream) : NULL;
	if (!s)
		return;
	s->in_flight = false;
	s->refusal_due = true;
	s->refusal = codes[in->why < ARRIVAL_REFUSAL_COUNT_OF ? in->why : 0];
	s->refused_epoch = in->epoch;
	s->refused_sequence = in->sequence;
	snprintf(s->sentence, sizeof s->sentence, "%s", in->sentence);
	log_braked(&g->refusals, LOG_WARNED, "%s/%s: parcel %llu was refused: %s", c->monitor.name, in->stream,
	           (unsigned long long)in->sequence, in->sentence);
}

static enum err
take(struct gate *g, const struct arrival_message *m)
{
	if (m->kind == ARRIVAL_KIND_IDENTITY) {
		g->identity = m->identity;
		g->have_identity = true;
		return OK;
	}
	if (!g->have_identity)
		return fail(ERR_FORMAT, "%s before IDENTITY", arrival_kind_name(m->kind));
	switch (m->kind) {
	case ARRIVAL_KIND_MONITORS: return take_monitors(g, &m->monitors);
	case ARRIVAL_KIND_SHARED:   take_shared(g, &m->shared); break;
	case ARRIVAL_KIND_KEY:      take_key(g, &m->key); break;
	case ARRIVAL_KIND_ENROLLED: take_enrolled(g, &m->enrolled); break;
	case ARRIVAL_KIND_MARK:     take_mark(g, &m->mark); break;
	case ARRIVAL_KIND_ACK:      take_ack(g, &m->ack); break;
	case ARRIVAL_KIND_REFUSED:  take_refused(g, &m->refused); break;
	case ARRIVAL_KIND_HOLD:
		g->hold = m->hold.full;
		snprintf(g->hold_reason, sizeof g->hold_reason, "%s", m->hold.sentence);
		break;
	default:
		break;
	}
	return OK;
}

void
gate_link_serve(struct gate *g)
{
	struct channel_message in;
	struct arrival_message m;
	enum err e = channel_flush(&g->store);
	while (e == OK) {
		e = channel_receive(&g->store, &in);
		if (e == OK)
			e = arrival_decode(&in, ARRIVAL_TO_INGEST, &m);
		if (e == OK)
			e = take(g, &m);
		sodium_memzero(&m, sizeof m);
	}
	if (e != END) {
		log_line(LOG_WARNED, "link to the store: %s", err_text());
		gate_link_lost(g);
		return;
	}
	if (g->have_identity && g->have_monitors && !g->ready_told) {
		g->ready_told = true;
		post_ready(g->post);
	}
}
