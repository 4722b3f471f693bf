#include "base/vitals.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"

#define COUNT(kind, name, metric, label, help) +1
#define SERVER_BYTES  (8u * (0 VITALS_SERVER(COUNT)))
#define MONITOR_BYTES (8u * (0 VITALS_MONITOR(COUNT)))
#define FRONT_BYTES   (4u + SERVER_BYTES + 4u)
#define ONE_BYTES_MIN (4u + 1u + 1u + 1u + MONITOR_BYTES)
#define ONE_BYTES_MAX (ONE_BYTES_MIN + VITALS_NAME_BYTES - 1u + VITALS_REASON_BYTES - 1u)
#define MESSAGE_BYTES_MAX (FRONT_BYTES + VITALS_MONITORS_MAX * ONE_BYTES_MAX)

void
vitals_fini(struct vitals *v)
{
	free(v->monitors);
	*v = (struct vitals){ 0 };
}

struct vitals_monitor *
vitals_find(const struct vitals *v, uint32_t id)
{
	size_t low = 0, high = v->monitor_count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (v->monitors[middle].id == id)
			return &v->monitors[middle];
		if (v->monitors[middle].id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

#define PUT(kind, name, metric, label, help) writer_le64(w, from->name);
#define GET(kind, name, metric, label, help) to->name = reader_le64(r);

static void
text_put(struct writer *w, const char *text, size_t room)
{
	size_t n = strnlen(text, room - 1);
	writer_u8(w, (uint8_t)n);
	writer_put(w, text, n);
}

/* Into zeroed memory. */
static void
text_get(struct reader *r, char *text, size_t room)
{
	size_t n = reader_u8(r);
	if (n >= room)
		r->failed = true;
	else
		reader_get(r, text, n);
}

static void
monitor_put(struct writer *w, const struct vitals_monitor *from)
{
	writer_le32(w, from->id);
	writer_u8(w, from->state);
	text_put(w, from->name, sizeof from->name);
	text_put(w, from->reason, sizeof from->reason);
	VITALS_MONITOR(PUT)
}

static void
monitor_get(struct reader *r, struct vitals_monitor *to)
{
	to->id = reader_le32(r);
	to->state = reader_u8(r);
	text_get(r, to->name, sizeof to->name);
	text_get(r, to->reason, sizeof to->reason);
	VITALS_MONITOR(GET)
}

static void
server_put(struct writer *w, const struct vitals *from)
{
	writer_le32(w, VITALS_MAGIC);
	VITALS_SERVER(PUT)
	writer_le32(w, from->monitor_count);
}

static void
server_get(struct reader *r, struct vitals *to)
{
	r->failed |= reader_le32(r) != VITALS_MAGIC;
	VITALS_SERVER(GET)
	to->monitor_count = reader_le32(r);
}

/* With `before` bytes of room in front. */
static enum err
encode(const struct vitals *v, size_t before, uint8_t **bytes, size_t *n)
{
	assert(v->monitor_count <= VITALS_MONITORS_MAX);
	size_t room = before + FRONT_BYTES + (size_t)v->monitor_count * ONE_BYTES_MAX;
	uint8_t *p = malloc(room);
	if (p == NULL)
		return fail(ERR_NOMEM, "no memory for the numbers of %u monitors", v->monitor_count);
	struct writer w = writer_of(p + before, room - before);
	server_put(&w, v);
	for (uint32_t i = 0; i < v->monitor_count; i++)
		monitor_put(&w, &v->monitors[i]);
	assert(writer_ok(&w));
	*bytes = p;
	*n = (size_t)(w.at - p);
	return OK;
}

enum err
vitals_encode(const struct vitals *v, uint8_t **bytes, size_t *n)
{
	return encode(v, 0, bytes, n);
}

enum err
vitals_decode(struct vitals *v, const void *bytes, size_t n)
{
	struct reader r = reader_of(bytes, n);
	struct vitals fresh = { 0 };
	server_get(&r, &fresh);
	if (!reader_ok(&r) || fresh.monitor_count > VITALS_MONITORS_MAX ||
	    fresh.monitor_count > reader_left(&r) / ONE_BYTES_MIN)
		return fail(ERR_FORMAT, "numbers of a server of another version");
	fresh.monitors = calloc((size_t)fresh.monitor_count + 1, sizeof *fresh.monitors);
	if (fresh.monitors == NULL)
		return fail(ERR_NOMEM, "no memory for the numbers of %u monitors", fresh.monitor_count);
	bool ordered = true;
	for (uint32_t i = 0; i < fresh.monitor_count; i++) {
		monitor_get(&r, &fresh.monitors[i]);
		ordered = ordered && (i == 0 || fresh.monitors[i].id > fresh.monitors[i - 1].id);
	}
	if (!reader_done(&r) || !ordered) {
		vitals_fini(&fresh);
		return fail(ERR_FORMAT, "numbers of a server of another version");
	}
	*v = fresh;
	return OK;
}

/* --- asking --- */

static uint64_t
clock_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/* Waits until fd is ready or the time is over. */
static enum err
wait_for(int fd, short events, uint64_t until_ms)
{
	for (;;) {
		uint64_t now = clock_ms();
		struct pollfd p = { .fd = fd, .events = events };
		int n = now < until_ms ? poll(&p, 1, (int)(until_ms - now)) : 0;
		if (n > 0)
			return OK;
		if (n == 0)
			return fail(ERR_BUSY, "the store process does not answer");
		if (errno != EINTR)
			return fail_errno("poll");
	}
}

void
vitals_asker_init(struct vitals_asker *a, int fd)
{
	*a = (struct vitals_asker){ .fd = fd };
}

void
vitals_asker_fini(struct vitals_asker *a)
{
	free(a->body);
	*a = (struct vitals_asker){ .fd = -1 };
}

/* Until have is n. */
static enum err
receive(struct vitals_asker *a, uint8_t *bytes, size_t n, uint64_t until_ms)
{
	while (a->have < n) {
		TRY(wait_for(a->fd, POLLIN, until_ms));
		ssize_t got = recv(a->fd, bytes + a->have, n - a->have, MSG_DONTWAIT);
		if (got == 0)
			return fail(ERR_IO, "the store process is gone");
		if (got > 0)
			a->have += (size_t)got;
		else if (errno != EINTR && errno != EAGAIN)
			return fail_errno("the store process");
	}
	return OK;
}

static enum err
ask(struct vitals_asker *a)
{
	ssize_t sent;
	do
		sent = send(a->fd, "?", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	if (sent != 1)
		return fail(ERR_IO, "the store process is gone");
	a->asked = true;
	a->have = 0;
	return OK;
}

enum err
vitals_ask(struct vitals_asker *a, unsigned timeout_ms, struct vitals *v)
{
	uint64_t until_ms = clock_ms() + timeout_ms;
	if (!a->asked)
		TRY(ask(a));
	if (a->body == NULL) {
		TRY(receive(a, a->head, sizeof a->head, until_ms));
		a->n = load_le32(a->head);
		a->body = a->n <= MESSAGE_BYTES_MAX ? malloc(a->n + 1) : NULL;
		if (a->body == NULL)
			return fail(ERR_IO, "the store process: no room for %zu bytes of numbers", a->n);
		a->have = 0;
	}
	TRY(receive(a, a->body, a->n, until_ms));
	enum err e = vitals_decode(v, a->body, a->n);
	free(a->body);
	a->body = NULL;
	a->asked = false;
	return e == OK ? OK : fail(ERR_IO, "the store process sent something else than numbers");
}

/* --- answering --- */

enum err
vitals_desk_init(struct vitals_desk *d, int fd)
{
	*d = (struct vitals_desk){ .fd = fd };
	int flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? fail_errno("socketpair of the http process") : OK;
}

void
vitals_desk_fini(struct vitals_desk *d)
{
	free(d->out);
	*d = (struct vitals_desk){ .fd = -1 };
}

bool
vitals_desk_pending(const struct vitals_desk *d)
{
	return d->out != NULL;
}

static enum err
desk_flush(struct vitals_desk *d)
{
	while (d->out) {
		ssize_t n = send(d->fd, d->out + d->at, d->n - d->at, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return OK;
		if (n < 0)
			return END;
		d->at += (size_t)n;
		if (d->at == d->n) {
			free(d->out);
			d->out = NULL;
		}
	}
	return OK;
}

enum err
vitals_desk_serve(struct vitals_desk *d, bool *asked)
{
	uint8_t question;
	*asked = false;
	TRY(desk_flush(d));
	if (d->out) /* one answer at a time; the next question waits in the socket */
		return OK;
	ssize_t n = recv(d->fd, &question, 1, 0);
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		return END;
	*asked = n > 0;
	return OK;
}

enum err
vitals_desk_answer(struct vitals_desk *d, const struct vitals *v)
{
	assert(d->out == NULL);
	TRY(encode(v, 4, &d->out, &d->n));
	store_le32(d->out, (uint32_t)(d->n - 4));
	d->at = 0;
	return desk_flush(d);
}
