#include "ingest/enrolment.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/interrupt.h"
#include "base/io.h"
#include "base/when.h"
#include "ingest/dial.h"
#include "ingest/session.h"

#define SOFTWARE "atoll-collect 0.1.0"

static uint64_t
now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* Says `first` when the handshake is done. END: no answer yet. */
static enum err
take_events(struct session *s, const struct wire_message *first, struct wire_message *answer)
{
	struct session_event event;
	for (;;) {
		TRY(session_next(s, now_ns(), &event));
		if (event.kind == SESSION_READY)
			TRY(session_send(s, first, now_ns()));
		else if (event.kind == SESSION_MESSAGE) {
			*answer = event.message;
			return OK;
		}
	}
}

static enum err
converse(struct session *s, int fd, const struct wire_message *first, struct wire_message *answer)
{
	for (;;) {
		const uint8_t *out;
		enum err e = take_events(s, first, answer);
		if (e != END)
			return e;
		if (session_finished(s))
			return fail(ERR_IO, "the archive closed the connection without an answer");
		TRY(dial_flush(s, fd, now_ns()));
		TRY(session_tick(s, now_ns()));
		TRY(interrupt_check());
		struct pollfd p = { .fd = fd, .events = POLLIN };
		if (session_output(s, now_ns(), &out) > 0)
			p.events |= POLLOUT;
		if (poll(&p, 1, 200) < 0 && errno != EINTR)
			return fail_errno("poll");
		if (p.revents & (POLLIN | POLLHUP | POLLERR))
			TRY(dial_receive(s, fd, now_ns()));
	}
}

/* One connection: a question and its answer. */
static enum err
exchange(const struct identity *id, const struct wire_message *first, struct wire_message *answer)
{
	struct session *s = NULL;
	int fd = -1;
	TRY(dial(&fd, id->host, id->port, -1));
	enum err e = session_open_collector(&s, id->noise_secret, id->archive_key, now_ns());
	if (e == OK)
		e = converse(s, fd, first, answer);
	if (e != OK)
		e = fail_prefix(e, "%s:%u, which may be another archive than the one that gave the code: ", id->host, id->port);
	session_close(&s);
	io_close(&fd);
	return e;
}

static void
adopt(struct identity *id, const uint8_t archive[16], const uint8_t ingest[32], const char *monitor)
{
	memcpy(id->archive, archive, sizeof id->archive);
	memcpy(id->ingest, ingest, sizeof id->ingest);
	snprintf(id->monitor, sizeof id->monitor, "%.63s", monitor); /* MONITOR_NAME_BYTES of the archive */
	id->enrolled = true;
}

enum err
enrolment(struct identity *id, const uint8_t secret[16])
{
	struct wire_message question = { .type = WIRE_TYPE_ENROL, .enrol = { .software = SOFTWARE } }, answer;
	char refusal[WIRE_TEXT_BYTES];
	memcpy(question.enrol.secret, secret, sizeof question.enrol.secret);
	memcpy(question.enrol.sign_key, id->sign_public, sizeof question.enrol.sign_key);
	TRY(exchange(id, &question, &answer));
	if (answer.type == WIRE_TYPE_ENROLLED) {
		adopt(id, answer.enrolled.archive, answer.enrolled.ingest_key, answer.enrolled.monitor);
		return OK;
	}
	if (answer.type != WIRE_TYPE_REFUSED)
		return fail(ERR_FORMAT, "%s:%u: answered %s to an enrolment", id->host, id->port, wire_name(answer.type));
	memcpy(refusal, answer.refused.sentence, sizeof refusal);
	/* an earlier attempt may have used the code up without hearing of it */
	question = (struct wire_message){ .type = WIRE_TYPE_HELLO, .hello = { .software = SOFTWARE, .clock_ns = when_now() } };
	if (exchange(id, &question, &answer) == OK && answer.type == WIRE_TYPE_WELCOME) {
		adopt(id, answer.welcome.archive, answer.welcome.ingest_key, answer.welcome.monitor);
		return OK;
	}
	return fail(ERR_DENIED, "%s:%u refuses the enrolment: %s", id->host, id->port, refusal);
}
