#include "ingest/sender.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/when.h"
#include "ingest/dial.h"
#include "ingest/session.h"

#define SOFTWARE    "atoll-collect 0.1.0"
#define QUOTA_NS    (5ull * NS_PER_S) /* a refusal for want of room is not asked about sooner */
#define STOP_NS     NS_PER_S          /* for BYE to go out and the archive to close */
#define NO_STREAM   UINT32_MAX

struct sender {
	struct sender_options options;
	pthread_t       thread;
	int             wake, stop_fd;   /* eventfds: new parcels; stop */
	pthread_mutex_t lock;            /* of status */
	atomic_bool     stop;
	struct sender_status status;

	/* of the thread */
	struct session *session;
	int             fd;
	bool            open;            /* WELCOME came */
	bool            goodbye;         /* BYE was said */
	bool            last_word;       /* the error that comes is not to be tried again */
	uint64_t        stop_ns;         /* when stop was seen first; 0: not yet */
	uint32_t        asked;           /* stream whose mark is due; NO_STREAM */
	bool            known[SPOOL_STREAMS_MAX]; /* marks came */
	uint64_t        held_until_ns, report_ns, pause_ns;
	uint64_t        unsent_bytes, unsent_parcels; /* since the status was told */
	uint64_t        last_refused;    /* sequence that was refused as damaged */
	char            last_refused_stream[STREAM_NAME_BYTES];
};

static uint64_t
now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

const char *
sender_phase_name(enum sender_phase phase)
{
	static const char *const names[] = { "waiting", "connecting", "connected", "held", "over" };
	return names[phase];
}

static void
set_phase(struct sender *s, enum sender_phase phase)
{
	pthread_mutex_lock(&s->lock);
	s->status.phase = phase;
	pthread_mutex_unlock(&s->lock);
}

static const char *
archive_name(const struct sender *s, char out[IDENTITY_HOST_BYTES + 8])
{
	snprintf(out, IDENTITY_HOST_BYTES + 8, "%s:%u", s->options.identity->host, s->options.identity->port);
	return out;
}

/* An error after which only an operator can help. */
static enum err
final(struct sender *s, enum err e)
{
	s->last_word = true;
	return e;
}

/* --- what the archive says --- */

static bool
is_final(unsigned code)
{
	return code == WIRE_REFUSAL_NOT_ENROLLED || code == WIRE_REFUSAL_REVOKED || code == WIRE_REFUSAL_QUARANTINED ||
	       code == WIRE_REFUSAL_WRONG_ARCHIVE || code == WIRE_REFUSAL_VERSION;
}

static enum err
refused(struct sender *s, const struct wire_refused *r)
{
	char name[IDENTITY_HOST_BYTES + 8];
	if (is_final(r->code))
		return final(s, fail(ERR_DENIED, "the archive at %s refuses this monitor (%s): %s. What is in the spool stays there; "
		                                 "ask the archive's operator", archive_name(s, name), wire_refusal_name(r->code),
		                     r->sentence));
	if (r->code == WIRE_REFUSAL_TOO_LARGE || r->code == WIRE_REFUSAL_DAMAGED) {
		bool again = s->last_refused == r->sequence && strcmp(s->last_refused_stream, r->stream) == 0;
		s->last_refused = r->sequence;
		memcpy(s->last_refused_stream, r->stream, sizeof s->last_refused_stream);
		if (again || r->code == WIRE_REFUSAL_TOO_LARGE) {
			log_line(LOG_FAILED, "parcel %" PRIu64 " of stream \"%s\" is given up as lost", r->sequence, r->stream);
			spool_refuse(s->options.spool, r->stream, r->sequence);
		}
	}
	if (r->code == WIRE_REFUSAL_QUOTA)
		s->pause_ns = QUOTA_NS;
	return fail(ERR_IO, "the archive refuses parcel %" PRIu64 " of stream \"%s\" (%s): %s", r->sequence, r->stream,
	            wire_refusal_name(r->code), r->sentence);
}

static enum err
welcome(struct sender *s, const struct wire_welcome *w)
{
	const struct identity *id = s->options.identity;
	char name[IDENTITY_HOST_BYTES + 8];
	if (sodium_memcmp(w->archive, id->archive, sizeof id->archive) != 0)
		return final(s, fail(ERR_DENIED, "the archive at %s has the key that is pinned here but another id: it was made anew; "
		                                 "enroll again", archive_name(s, name)));
	spool_ingest_key(s->options.spool, w->ingest_key);
	spool_rewind(s->options.spool);
	s->open = true;
	s->report_ns = 0;
	s->held_until_ns = 0;
	pthread_mutex_lock(&s->lock);
	s->status.phase = SENDER_CONNECTED;
	s->status.connected_ns = when_now();
	s->status.clock_offset_ns = (int64_t)(w->clock_ns - s->status.connected_ns);
	s->status.sessions++;
	s->status.error = OK;
	pthread_mutex_unlock(&s->lock);
	log_line(LOG_NOTED, "connected to %s as monitor %s", archive_name(s, name), w->monitor);
	return OK;
}

static enum err
mark(struct sender *s, const struct wire_mark *m)
{
	struct spool_stream row;
	if (s->asked == NO_STREAM)
		return fail(ERR_FORMAT, "the archive gave a mark that was not asked for");
	spool_stream_get(s->options.spool, s->asked, &row);
	if (strcmp((const char *)row.name, m->stream) != 0)
		return fail(ERR_FORMAT, "the archive gave the mark of stream \"%s\" for \"%s\"", m->stream, (const char *)row.name);
	struct spool_mark at = { .epoch = m->epoch, .sequence = m->sequence };
	memcpy(at.chain, m->chain, sizeof at.chain);
	enum err e = spool_resume(s->options.spool, s->asked, &at);
	if (e != OK)
		return e == ERR_DENIED ? final(s, e) : e;
	s->known[s->asked] = true;
	s->asked = NO_STREAM;
	return OK;
}

static void
wait_said(struct sender *s, const struct wire_wait *w)
{
	if (now_ns() >= s->held_until_ns)
		log_line(LOG_WARNED, "the archive takes nothing for %u ms: %s", w->milliseconds, w->reason);
	s->held_until_ns = now_ns() + (uint64_t)w->milliseconds * 1000000;
	set_phase(s, SENDER_HELD);
}

static enum err
message(struct sender *s, const struct wire_message *m)
{
	switch (m->type) {
	case WIRE_TYPE_WELCOME:
		return welcome(s, &m->welcome);
	case WIRE_TYPE_MARK:
		return mark(s, &m->mark);
	case WIRE_TYPE_ACK:
		TRY(spool_acknowledge(s->options.spool, m->ack.stream, m->ack.epoch, m->ack.sequence));
		pthread_mutex_lock(&s->lock);
		s->status.acked_ns = when_now();
		pthread_mutex_unlock(&s->lock);
		s->pause_ns = 0; /* it works: the next loss of the connection is a new one */
		return OK;
	case WIRE_TYPE_WAIT:
		wait_said(s, &m->wait);
		return OK;
	case WIRE_TYPE_GO:
		s->held_until_ns = 0;
		set_phase(s, SENDER_CONNECTED);
		return OK;
	case WIRE_TYPE_REFUSED:
		return refused(s, &m->refused);
	default:
		return fail(ERR_FORMAT, "the archive said %s, which it should not", wire_name(m->type));
	}
}

static enum err
hello(struct sender *s)
{
	struct spool_totals t;
	struct wire_message m = { .type = WIRE_TYPE_HELLO, .hello = { .software = SOFTWARE, .clock_ns = when_now() } };
	spool_totals(s->options.spool, &t);
	m.hello.streams = t.streams;
	return session_send(s->session, &m, now_ns());
}

static enum err
take_events(struct sender *s)
{
	struct session_event event;
	for (;;) {
		enum err e = session_next(s->session, now_ns(), &event);
		if (e != OK)
			return e == END ? OK : e;
		if (event.kind == SESSION_READY)
			TRY(hello(s));
		else if (event.kind == SESSION_MESSAGE)
			TRY(message(s, &event.message));
	}
}

/* --- what we say --- */

static enum err
ask(struct sender *s, unsigned stream)
{
	struct wire_message m = { .type = WIRE_TYPE_FEED_ASK };
	struct spool_stream row;
	spool_stream_get(s->options.spool, stream, &row);
	memcpy(m.feed_ask.stream, row.name, sizeof row.name);
	s->asked = stream;
	return session_send(s->session, &m, now_ns());
}

/* The next parcels, until the session, the window or the spool has no more. */
static enum err
send_parcels(struct sender *s)
{
	uint64_t window = s->options.window_bytes ? s->options.window_bytes : SENDER_WINDOW_BYTES;
	while (s->open && !s->stop && s->asked == NO_STREAM && now_ns() >= s->held_until_ns &&
	       session_room(s->session, WIRE_TYPE_PARCEL)) {
		struct wire_message m = { .type = WIRE_TYPE_PARCEL };
		struct spool_totals t;
		unsigned stream;
		spool_totals(s->options.spool, &t);
		if (t.flight_bytes >= window)
			return OK;
		enum err e = spool_read(s->options.spool, &m.parcel.bytes, &m.parcel.bytes_count, &stream);
		if (e == END)
			return OK;
		if (e == ERR_ABSENT)
			return ask(s, stream);
		TRY(e);
		TRY(session_send(s->session, &m, now_ns()));
		s->unsent_bytes += m.parcel.bytes_count;
		s->unsent_parcels++;
	}
	return OK;
}

static enum err
report(struct sender *s)
{
	struct spool_totals t;
	spool_totals(s->options.spool, &t);
	for (unsigned i = 0; i < t.streams && session_room(s->session, WIRE_TYPE_REPORT); i++) {
		struct spool_stream row;
		uint32_t sampled = s->options.sampled ? s->options.sampled(s->options.arg, i) : 0;
		if (sampled == 0 && !s->known[i])
			continue;
		spool_stream_get(s->options.spool, i, &row);
		struct wire_message m = { .type = WIRE_TYPE_REPORT };
		m.report = (struct wire_report){
			.clock_ns = when_now(),
			.spool_bytes = row.spool_bytes,
			.spool_parcels = row.sequence - row.acked,
			.packets = row.packets,
			.lost_kernel = row.lost_kernel,
			.lost_interface = row.lost_interface,
			.lost_spool = row.lost_spool,
			.lost_policy = row.lost_policy,
			.sampled = sampled ? sampled : 1,
		};
		memcpy(m.report.stream, row.name, sizeof row.name);
		TRY(session_send(s->session, &m, now_ns()));
	}
	s->report_ns = now_ns() + SENDER_REPORT_NS;
	pthread_mutex_lock(&s->lock);
	s->status.sent_bytes += s->unsent_bytes;
	s->status.sent_parcels += s->unsent_parcels;
	if (s->status.phase == SENDER_HELD && now_ns() >= s->held_until_ns)
		s->status.phase = SENDER_CONNECTED;
	pthread_mutex_unlock(&s->lock);
	s->unsent_bytes = s->unsent_parcels = 0;
	return OK;
}

static enum err
say(struct sender *s)
{
	if (!s->open || s->goodbye)
		return OK;
	if (now_ns() >= s->report_ns && session_room(s->session, WIRE_TYPE_REPORT))
		TRY(report(s));
	TRY(send_parcels(s));
	if (!s->stop || !session_room(s->session, WIRE_TYPE_BYE))
		return OK;
	s->goodbye = true;
	return session_send(s->session, &(struct wire_message){ .type = WIRE_TYPE_BYE }, now_ns());
}

/* As much as the socket takes: a parcel that went out whole makes room for the next one. */
static enum err
say_all(struct sender *s)
{
	uint64_t before;
	do {
		before = s->unsent_parcels;
		TRY(say(s));
		TRY(dial_flush(s->session, s->fd, now_ns()));
	} while (s->unsent_parcels != before);
	return OK;
}

/* --- the connection --- */

static int
milliseconds_until(uint64_t t)
{
	uint64_t now = now_ns(), ms = t > now ? (t - now + 999999) / 1000000 : 0;
	return ms < 60000 ? (int)ms : 60000;
}

/* Waits for the peer, the wake-up, or the next thing to do by the clock. */
static enum err
wait_for_more(struct sender *s)
{
	const uint8_t *out;
	uint8_t *in;
	uint64_t until = session_deadline(s->session), count;
	struct pollfd p[2] = { { .fd = s->fd }, { .fd = s->wake, .events = POLLIN } };
	if (s->open && !s->goodbye && s->report_ns < until)
		until = s->report_ns;
	if (s->stop && s->stop_ns + STOP_NS < until)
		until = s->stop_ns + STOP_NS;
	if (s->held_until_ns > now_ns() && s->held_until_ns < until)
		until = s->held_until_ns;
	if (session_input(s->session, &in) > 0)
		p[0].events |= POLLIN;
	if (session_output(s->session, now_ns(), &out) > 0)
		p[0].events |= POLLOUT;
	if (poll(p, 2, milliseconds_until(until)) < 0)
		return errno == EINTR ? OK : fail_errno("poll");
	if (p[1].revents && read(s->wake, &count, sizeof count) < 0 && errno != EAGAIN && errno != EINTR)
		return fail_errno("eventfd");
	if (p[0].revents & (POLLIN | POLLHUP | POLLERR))
		TRY(dial_receive(s->session, s->fd, now_ns()));
	return OK;
}

/* Stop was asked for, and there is nothing to wait for, or not any longer. */
static bool
stopped(struct sender *s)
{
	if (!s->stop)
		return false;
	if (s->stop_ns == 0)
		s->stop_ns = now_ns();
	return !s->open || now_ns() - s->stop_ns > STOP_NS;
}

static enum err
converse(struct sender *s)
{
	for (;;) {
		TRY(take_events(s));
		if (session_finished(s->session) || stopped(s))
			return OK;
		TRY(say_all(s));
		TRY(session_tick(s->session, now_ns()));
		TRY(wait_for_more(s));
	}
}

static enum err
run_session(struct sender *s)
{
	const struct identity *id = s->options.identity;
	set_phase(s, SENDER_CONNECTING);
	s->open = s->goodbye = false;
	s->asked = NO_STREAM;
	memset(s->known, 0, sizeof s->known);
	enum err e = dial(&s->fd, id->host, id->port, s->stop_fd);
	if (e == OK)
		e = session_open_collector(&s->session, id->noise_secret, id->archive_key, now_ns());
	if (e == OK)
		e = converse(s);
	if (s->session)
		session_close(&s->session);
	io_close(&s->fd);
	return e;
}

/* --- the thread --- */

/* A pause that doubles, more or less a quarter, so that a thousand collectors do not come back at once. */
static void
pause_between(struct sender *s)
{
	s->pause_ns = s->pause_ns ? 2 * s->pause_ns : SENDER_RETRY_MIN_NS;
	if (s->pause_ns > SENDER_RETRY_MAX_NS)
		s->pause_ns = SENDER_RETRY_MAX_NS;
	uint32_t half_us = (uint32_t)(s->pause_ns / 2 / 1000);
	uint64_t until = now_ns() + s->pause_ns * 3 / 4 + randombytes_uniform(half_us) * 1000ull;
	set_phase(s, SENDER_WAITING);
	while (now_ns() < until && !s->stop) {
		struct pollfd p = { .fd = s->stop_fd, .events = POLLIN };
		(void)poll(&p, 1, milliseconds_until(until));
	}
}

static void
note_error(struct sender *s, enum err e, bool final)
{
	pthread_mutex_lock(&s->lock);
	s->status.error = e;
	snprintf(s->status.sentence, sizeof s->status.sentence, "%s", err_text());
	if (final)
		s->status.phase = SENDER_OVER;
	pthread_mutex_unlock(&s->lock);
}

static void *
run_sender(void *arg)
{
	struct sender *s = arg;
	struct log_brake brake = { 0 };
	char name[IDENTITY_HOST_BYTES + 8];
	while (!s->stop) {
		enum err e = run_session(s);
		if (e == OK && s->stop)
			break;
		if (e == OK)
			e = fail(ERR_IO, "the archive ended the session");
		note_error(s, e, s->last_word);
		if (s->last_word)
			break;
		log_braked(&brake, LOG_WARNED, "%s: %s; trying again", archive_name(s, name), err_text());
		pause_between(s);
	}
	return NULL;
}

static void
sender_free(struct sender *s)
{
	io_close(&s->wake);
	io_close(&s->stop_fd);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static void
signal_fd(int fd)
{
	uint64_t one = 1;
	if (write(fd, &one, sizeof one) < 0)
		return; /* full: it is readable already */
}

enum err
sender_start(struct sender **out, const struct sender_options *o)
{
	struct sender *s = calloc(1, sizeof *s);
	if (!s)
		return fail(ERR_NOMEM, "no memory for the sender");
	s->options = *o;
	s->fd = -1;
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&s->lock, NULL);
	enum err e = s->wake < 0 || s->stop_fd < 0 ? fail_errno("eventfd") : OK;
	if (e == OK && pthread_create(&s->thread, NULL, run_sender, s) != 0)
		e = fail(ERR_NOMEM, "no thread for the sender");
	if (e == OK)
		*out = s;
	else
		sender_free(s);
	return e;
}

void
sender_wake(struct sender *s)
{
	signal_fd(s->wake);
}

void
sender_status(struct sender *s, struct sender_status *out)
{
	pthread_mutex_lock(&s->lock);
	*out = s->status;
	pthread_mutex_unlock(&s->lock);
}

void
sender_stop(struct sender **out)
{
	struct sender *s = *out;
	*out = NULL;
	if (!s)
		return;
	s->stop = true;
	signal_fd(s->stop_fd);
	signal_fd(s->wake);
	pthread_join(s->thread, NULL);
	sender_free(s);
}
