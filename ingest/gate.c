#include "ingest/gate.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "archive/seal.h"
#include "base/process.h"
#include "base/sandbox.h"
#include "ingest/gate_parts.h"

#define ACCEPT_AT_ONCE 64u         /* connections taken in one round */
#define ACCEPT_PAUSE_NS 200000000u /* after running out of descriptors */
#define NUMBERS_NS      1000000000u
#define EVENTS_AT_ONCE 256
#define MEMORY_BYTES   (4ull << 30)

_Static_assert(GATE_CONNECTIONS_MAX == 1u << GATE_SLOT_BITS, "a slot fits its bits");

static uint64_t
clock_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

enum err
gate_limits_check(const struct gate_limits *l)
{
	if (l->connections == 0 || l->connections > GATE_CONNECTIONS_MAX)
		return fail(ERR_USAGE, "1 to %u connections, not %u", GATE_CONNECTIONS_MAX, l->connections);
	if (l->streams == 0 || l->streams > GATE_STREAMS_MAX)
		return fail(ERR_USAGE, "1 to %u streams of one session, not %u", GATE_STREAMS_MAX, l->streams);
	if (l->monitor_bytes > INT64_MAX / 4)
		return fail(ERR_USAGE, "a rate of more than %lld bytes a second", (long long)(INT64_MAX / 4));
	return OK;
}

/* --- accepting --- */

/* Text of an address, and the part of it that is counted together: IPv4 whole, IPv6 its /64. */
static void
describe(const struct sockaddr_storage *from, char text[ARRIVAL_NAME_BYTES], uint8_t prefix[16])
{
	const struct sockaddr_in6 *six = (const void *)from;
	const struct sockaddr_in *four = (const void *)from;
	memset(prefix, 0, 16);
	snprintf(text, ARRIVAL_NAME_BYTES, "?");
	if (from->ss_family == AF_INET) {
		inet_ntop(AF_INET, &four->sin_addr, text, ARRIVAL_NAME_BYTES);
		memcpy(prefix + 12, &four->sin_addr, 4);
	} else if (from->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
		inet_ntop(AF_INET, six->sin6_addr.s6_addr + 12, text, ARRIVAL_NAME_BYTES);
		memcpy(prefix + 12, six->sin6_addr.s6_addr + 12, 4);
	} else if (from->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &six->sin6_addr, text, ARRIVAL_NAME_BYTES);
		memcpy(prefix, six->sin6_addr.s6_addr, 8);
	}
}

/* The longest there of those at this stage. */
static struct connection *
oldest_of(const struct gate *g, const struct gate_origin *origin, enum gate_stage stage)
{
	struct connection *oldest = NULL;
	for (uint32_t i = 0; i < GATE_CONNECTIONS_MAX; i++) {
		struct connection *c = g->slots[i];
		if (c && c->origin == origin && c->stage == stage && (!oldest || c->accepted_ns < oldest->accepted_ns))
			oldest = c;
	}
	return oldest;
}

/* Makes room for one more: of this origin, or (NULL) of that with most strangers, the oldest of the stage goes at which most
 * are. So a flood pushes itself out, and at either stage an honest one has the time in which half of the limit comes. False:
 * there is nobody who could go. */
static bool
evict_stranger(struct gate *g, const struct gate_origin *origin)
{
	for (const struct gate_origin *o = origin ? NULL : g->origins; o; o = o->next)
		if (!origin || connection_strangers(o) > connection_strangers(origin))
			origin = o;
	if (!origin)
		return false;
	bool late = origin->connections[STAGE_LATE] > origin->connections[STAGE_EARLY];
	struct connection *c = oldest_of(g, origin, late ? STAGE_LATE : STAGE_EARLY);
	if (!c)
		return false;
	log_braked(&g->evictions, LOG_WARNED, "%s: %u connections from there are no monitor's yet, the oldest goes for a newer one",
	           c->address, connection_strangers(origin));
	g->numbers.connections_refused++;
	connection_close(g, c, "too many connections: it had to go for a newer one");
	return true;
}

static void
admit_connection(struct gate *g, int fd, const struct sockaddr_storage *from)
{
	char address[ARRIVAL_NAME_BYTES];
	uint8_t prefix[16];
	const int one = 1;
	describe(from, address, prefix);
	const struct gate_origin *origin = connection_origin(g, prefix);
	bool crowd = origin && g->limits.strangers && connection_strangers(origin) >= g->limits.strangers;
	if ((crowd && !evict_stranger(g, origin)) || (g->count >= g->limits.connections && !evict_stranger(g, NULL))) {
		g->numbers.connections_refused++;
		log_braked(&g->refusals, LOG_WARNED, "%s: refused, there are %u connections already (limit connections%s)", address,
		           crowd ? g->limits.strangers : g->count, crowd ? "_per_address" : "");
		close(fd);
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	connection_open(g, fd, prefix, address);
}

static void
accept_some(struct gate *g, int listener)
{
	for (unsigned i = 0; i < ACCEPT_AT_ONCE; i++) {
		struct sockaddr_storage from = { 0 };
		socklen_t n = sizeof from;
		int fd = accept4(listener, (struct sockaddr *)&from, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			admit_connection(g, fd, &from);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			log_braked(&g->refusals, LOG_FAILED, "connections can not be taken: %s", strerror(errno));
			g->accept_again_ns = g->now_ns + ACCEPT_PAUSE_NS;
		}
		if (errno != EINTR && errno != ECONNABORTED)
			return;
	}
}

/* Listens while there is a store to ask; others wait in the kernel's queue. */
static void
listen_or_not(struct gate *g)
{
	bool want = !g->stopping && g->have_identity && g->have_monitors && channel_is_open(&g->store) &&
	            g->now_ns >= g->accept_again_ns;
	if (want == g->listening)
		return;
	g->listening = want;
	for (unsigned i = 0; i < g->settings->listeners; i++) {
		struct epoll_event e = { .events = want ? EPOLLIN : 0, .data.u64 = GATE_TAG_LISTEN + i };
		if (epoll_ctl(g->epoll, EPOLL_CTL_MOD, g->settings->listener[i], &e) < 0)
			log_line(LOG_FAILED, "listening: %s", strerror(errno));
	}
}

/* --- the post --- */

static void
take_settings(struct gate *g, const struct post *in)
{
	struct gate_limits l;
	if (in->bytes != sizeof l)
		return;
	memcpy(&l, in->data, sizeof l);
	if (gate_limits_check(&l) == OK)
		g->limits = l;
	else
		log_line(LOG_FAILED, "limits stay as they are: %s", err_text());
}

static enum err
read_post(struct gate *g)
{
	struct post in;
	enum err e;
	while ((e = post_receive(g->post, &in)) == OK) {
		if (in.kind == POST_LINK && in.peer == g->settings->store && in.fd >= 0) {
			gate_link_open(g, in.fd);
			continue;
		}
		if (in.fd >= 0)
			close(in.fd);
		if (in.kind == POST_SETTINGS)
			take_settings(g, &in);
		if (in.kind == POST_STOP && !g->stopping) {
			g->stopping = true;
			g->stop_ns = g->now_ns;
		}
	}
	return e == END ? OK : e;
}

/* --- the loop --- */

static void
tell_numbers(struct gate *g)
{
	struct arrival_message m = { .kind = ARRIVAL_KIND_NUMBERS, .numbers = g->numbers };
	if (g->now_ns - g->numbers_ns < NUMBERS_NS || memcmp(&g->numbers, &g->told_numbers, sizeof g->numbers) == 0)
		return;
	g->numbers_ns = g->now_ns;
	if (gate_tell(g, &m))
		g->told_numbers = g->numbers;
}

static void
tick(struct gate *g)
{
	uint64_t rate = g->limits.handshakes;
	g->handshakes += (double)(g->now_ns - g->tick_ns) / 1e9 * (double)rate;
	g->handshakes = g->handshakes > (double)rate ? (double)rate : g->handshakes;
	g->tick_ns = g->now_ns;
	for (uint32_t i = 0; i < GATE_CONNECTIONS_MAX; i++)
		if (g->slots[i])
			connection_tick(g, g->slots[i]);
	tell_numbers(g);
}

static enum err
take_events(struct gate *g, int patience_ms)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	int n = epoll_wait(g->epoll, events, EVENTS_AT_ONCE, patience_ms);
	if (n < 0 && errno != EINTR)
		return fail_errno("epoll");
	g->now_ns = clock_now();
	for (int i = 0; i < n; i++) {
		uint64_t tag = events[i].data.u64;
		struct connection *c = connection_find(g, tag);
		if (c && events[i].events & ~(uint32_t)EPOLLOUT)
			c->readable = true;
		if (c && events[i].events & EPOLLOUT)
			c->writable = true;
		if (tag == GATE_TAG_POST)
			TRY(read_post(g));
		if (tag >= GATE_TAG_LISTEN && tag < GATE_TAG_LISTEN + g->settings->listeners)
			accept_some(g, g->settings->listener[tag - GATE_TAG_LISTEN]);
	}
	return OK;
}

/* A turn for everybody; whether somebody has more to do at once. */
static bool
turn_all(struct gate *g)
{
	bool more = false;
	uint32_t left = g->count, first = g->turn++; /* each is the first now and then: handshakes are rationed */
	for (uint32_t i = 0; i < GATE_CONNECTIONS_MAX && left; i++) {
		struct connection *c = g->slots[(first + i) % GATE_CONNECTIONS_MAX];
		if (!c)
			continue;
		left--;
		more |= connection_turn(g, c);
	}
	return more;
}

/* At the end: whether all that was handed to the store is answered, and the answers are sent. */
static bool
drained(const struct gate *g)
{
	if (g->now_ns - g->stop_ns >= GATE_DRAIN_NS || !channel_is_open(&g->store))
		return true;
	for (uint32_t i = 0; i < GATE_CONNECTIONS_MAX; i++) {
		const struct connection *c = g->slots[i];
		const uint8_t *p;
		if (!c || c->monitor.id == 0)
			continue;
		if (!connection_answered(c) || (c->writable && session_output(c->session, g->now_ns, &p)))
			return false;
	}
	return true;
}

static enum err
run(struct gate *g)
{
	bool more = false;
	for (;;) {
		TRY(take_events(g, more ? 0 : (int)(GATE_TICK_NS / 1000000)));
		if (channel_is_open(&g->store))
			gate_link_serve(g);
		if (g->now_ns - g->tick_ns >= GATE_TICK_NS)
			tick(g);
		more = turn_all(g);
		if (!channel_is_open(&g->store) && g->have_identity)
			gate_link_lost(g);
		listen_or_not(g);
		if (g->stopping && drained(g))
			return OK;
	}
}

static enum err
watch(struct gate *g, int fd, uint64_t tag, uint32_t what)
{
	struct epoll_event e = { .events = what, .data.u64 = tag };
	return epoll_ctl(g->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? fail_errno("epoll") : OK;
}

static enum err
gate_open(struct gate *g)
{
	g->now_ns = g->tick_ns = clock_now();
	g->handshakes = g->limits.handshakes;
	g->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (g->epoll < 0)
		return fail_errno("epoll");
	TRY(seal_start());
	TRY(block_examiner_open(&g->examiner));
	TRY(watch(g, g->post, GATE_TAG_POST, EPOLLIN));
	for (unsigned i = 0; i < g->settings->listeners; i++)
		TRY(watch(g, g->settings->listener[i], GATE_TAG_LISTEN + i, 0));
	return OK;
}

static void
gate_close(struct gate *g)
{
	for (uint32_t i = 0; i < GATE_CONNECTIONS_MAX; i++)
		if (g->slots[i])
			connection_close(g, g->slots[i], "the archive stops");
	if (channel_is_open(&g->store) && channel_flush(&g->store) != OK)
		log_line(LOG_NOTED, "%s", err_text());
	channel_fini(&g->store);
	block_examiner_close(&g->examiner);
	free(g->monitors);
	if (g->epoll >= 0)
		close(g->epoll);
	free(g);
}

enum err
gate_run(int post, void *arg)
{
	const struct gate_settings *settings = arg;
	struct gate *g = calloc(1, sizeof *g);
	if (!g)
		return fail(ERR_NOMEM, "no memory");
	g->settings = settings;
	g->limits = settings->limits;
	g->post = post;
	g->store.fd = g->epoll = -1;
	enum err e = sandbox_enter(&(struct sandbox){ .calls = SANDBOX_ACCEPT, .memory_bytes = MEMORY_BYTES,
	                                              .files = GATE_CONNECTIONS_MAX + 64, .off = settings->no_sandbox });
	if (e == OK)
		e = gate_limits_check(&g->limits);
	if (e == OK)
		e = gate_open(g);
	if (e == OK)
		e = run(g);
	gate_close(g);
	return e;
}
