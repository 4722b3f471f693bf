#include "api/http.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "api/metrics.h"
#include "api/mhd.h"
#include "api/rawhead.h"
#include "base/io.h"
#include "base/limits.h"
#include "base/process.h"
#include "base/sandbox.h"
#include "base/vitals.h"

#define TICK_MS 1000
#define NUMBERS_MS 1000u /* older ones are asked for again */

/* A connection whose head is not whole; then it is libmicrohttpd's. */
struct waiting {
	int      fd; /* -1: free */
	uint64_t since_ms;
	bool     refused; /* has its answer; what it still sends is thrown away until it closes */
	size_t   seen, thrown;
};

struct http {
	struct mhd          lib;
	struct MHD_Daemon  *mhd;
	int                 listener, mhd_fd;
	struct waiting      waiting[HTTP_CONNECTIONS_MAX];
	int                 link;
	struct vitals_asker asker;
	char               *text; /* of /metrics; NULL: there are no numbers, and why says so */
	size_t              text_bytes;
	char                why[ERR_TEXT_BYTES];
	uint64_t            asked_ms; /* 0: never */
};

static uint64_t
clock_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000u + (uint64_t)t.tv_nsec / 1000000u;
}

/* --- numbers --- */

static enum err
numbers_ask(struct http *h)
{
	struct vitals v = { 0 };
	if (h->link < 0)
		return fail(ERR_BUSY, "the store process is not there");
	enum err e = vitals_ask(&h->asker, HTTP_VITALS_MS, &v);
	if (e == ERR_IO)
		http_link(h, -1);
	if (e == OK)
		e = metrics_text(&v, &h->text, &h->text_bytes);
	vitals_fini(&v);
	return e;
}

static void
numbers_renew(struct http *h)
{
	uint64_t now = clock_ms();
	if (h->asked_ms && now - h->asked_ms < NUMBERS_MS)
		return;
	free(h->text);
	h->text = NULL;
	if (numbers_ask(h) != OK)
		snprintf(h->why, sizeof h->why, "%s\n", err_text());
	h->asked_ms = clock_ms();
}

void
http_link(struct http *h, int fd)
{
	vitals_asker_fini(&h->asker);
	io_close(&h->link);
	h->link = fd;
	vitals_asker_init(&h->asker, fd);
	h->asked_ms = 0;
}

/* --- answers --- */

static enum MHD_Result
respond(struct http *h, struct MHD_Connection *connection, unsigned status, const char *type, const char *body, size_t n)
{
	struct MHD_Response *r = h->lib.create_response_from_buffer(n, (void *)(uintptr_t)body, MHD_RESPMEM_MUST_COPY);
	if (r == NULL)
		return MHD_NO;
	enum MHD_Result good = h->lib.add_response_header(r, "Content-Type", type);
	if (good == MHD_YES)
		good = h->lib.add_response_header(r, "Connection", "close");
	if (good == MHD_YES)
		good = h->lib.add_response_header(r, "Cache-Control", "no-store");
	if (good == MHD_YES)
		good = h->lib.add_response_header(r, "X-Content-Type-Options", "nosniff");
	if (good == MHD_YES)
		good = h->lib.queue_response(connection, status, r);
	h->lib.destroy_response(r);
	return good;
}

static enum MHD_Result
handle(void *arg, struct MHD_Connection *connection, const char *url, const char *method, const char *version, const char *upload,
       size_t *upload_bytes, void **state)
{
	struct http *h = arg;
	static const char plain[] = "text/plain; charset=utf-8", absent[] = "there are /metrics and /healthz\n";
	if (strcmp(url, "/metrics") != 0 && strcmp(url, "/healthz") != 0)
		return respond(h, connection, MHD_HTTP_NOT_FOUND, plain, absent, sizeof absent - 1);
	numbers_renew(h);
	if (h->text == NULL)
		return respond(h, connection, MHD_HTTP_SERVICE_UNAVAILABLE, plain, h->why, strlen(h->why));
	if (strcmp(url, "/healthz") == 0)
		return respond(h, connection, MHD_HTTP_OK, plain, "ok\n", 3);
	return respond(h, connection, MHD_HTTP_OK, METRICS_CONTENT_TYPE, h->text, h->text_bytes);
}

/* --- opening --- */

enum err
http_open(struct http **out, int listener)
{
	tzset(); /* reads /etc/localtime now: gmtime_r() would for the first Date, in the sandbox */
	struct http *h = calloc(1, sizeof *h);
	int flags = fcntl(listener, F_GETFL);
	if (h == NULL || flags < 0 || fcntl(listener, F_SETFL, flags | O_NONBLOCK) < 0) {
		enum err e = h ? fail_errno("listening socket") : fail(ERR_NOMEM, "no memory to serve HTTP");
		io_close(&listener);
		free(h);
		return e;
	}
	h->listener = listener;
	h->link = -1;
	vitals_asker_init(&h->asker, -1);
	for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		h->waiting[i].fd = -1;
	enum err loaded = mhd_open(&h->lib);
	if (loaded != OK) {
		http_close(&h);
		return loaded;
	}
	h->mhd = h->lib.start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL, handle, h, MHD_OPTION_CONNECTION_LIMIT,
	                          HTTP_CONNECTIONS_MAX + 4u, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HTTP_CONNECTION_BYTES_MAX,
	                          MHD_OPTION_CONNECTION_TIMEOUT, HTTP_SECONDS_MAX, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
	const union MHD_DaemonInfo *info = h->mhd ? h->lib.get_daemon_info(h->mhd, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (info == NULL || info->epoll_fd < 0) {
		http_close(&h);
		return fail(ERR_IO, "libmicrohttpd does not start");
	}
	h->mhd_fd = info->epoll_fd;
	*out = h;
	return OK;
}

void
http_close(struct http **http)
{
	struct http *h = *http;
	if (h == NULL)
		return;
	for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		io_close(&h->waiting[i].fd);
	if (h->mhd)
		h->lib.stop_daemon(h->mhd);
	mhd_close(&h->lib);
	io_close(&h->listener);
	http_link(h, -1);
	free(h->text);
	free(h);
	*http = NULL;
}

/* --- connections before they are libmicrohttpd's --- */

static unsigned
connection_count(const struct http *h)
{
	const union MHD_DaemonInfo *info = h->lib.get_daemon_info(h->mhd, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
	unsigned count = info ? info->num_connections : 0;
	for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		count += h->waiting[i].fd >= 0;
	return count;
}

static void
refuse(struct waiting *w, unsigned status)
{
	char answer[160];
	const char *words = status == 405 ? "Method Not Allowed\r\nAllow: GET, HEAD"
	                  : status == 413 ? "Content Too Large"
	                  : status == 414 ? "URI Too Long"
	                  : status == 417 ? "Expectation Failed"
	                  : status == 421 ? "Misdirected Request"
	                  : status == 431 ? "Request Header Fields Too Large"
	                  : status == 501 ? "Not Implemented"
	                  : status == 505 ? "HTTP Version Not Supported"
	                                  : "Bad Request";
	int n = snprintf(answer, sizeof answer, "HTTP/1.1 %u %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", status, words);
	int one = 1;
	w->refused = true; /* closed after the client closed: a reset could take the answer back */
	(void)setsockopt(w->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
	if (send(w->fd, answer, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT) != n || shutdown(w->fd, SHUT_WR) < 0)
		io_close(&w->fd);
}

static void
discard(struct waiting *w)
{
	char bytes[4096];
	ssize_t n = recv(w->fd, bytes, sizeof bytes, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	w->thrown += n > 0 ? (size_t)n : 0;
	if (n <= 0 || w->thrown > 16 * RAWHEAD_BYTES_MAX)
		io_close(&w->fd);
}

/* Whether the client came to an address that only this machine has: then a browser here may be somebody else's tool. */
static bool
on_loopback(int fd)
{
	struct sockaddr_storage a = { 0 };
	socklen_t n = sizeof a;
	if (getsockname(fd, (struct sockaddr *)&a, &n) < 0)
		return true;
	if (a.ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)&a)->sin_addr.s_addr) >> 24 == 127;
	const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)&a)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(six) || (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127);
}

/* Bytes came: they stay in the socket until the head is whole and good. */
static void
look(struct http *h, struct waiting *w)
{
	uint8_t bytes[RAWHEAD_BYTES_MAX];
	size_t head;
	int one = 1;
	ssize_t n = recv(w->fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || (size_t)n == w->seen) { /* the same bytes again: no more will come */
		io_close(&w->fd);
		return;
	}
	unsigned status = rawhead_check(bytes, (size_t)n, &head);
	if (status == RAWHEAD_MORE) {
		w->seen = (size_t)n;
		int more = (int)n + 1; /* what is there already wakes nobody */
		if (setsockopt(w->fd, SOL_SOCKET, SO_RCVLOWAT, &more, sizeof more) < 0)
			io_close(&w->fd);
		return;
	}
	if (status == RAWHEAD_GOOD && on_loopback(w->fd) && !rawhead_is_local(bytes, head))
		status = 421;
	if (status != RAWHEAD_GOOD) {
		refuse(w, status);
		return;
	}
	struct sockaddr_storage peer;
	socklen_t length = sizeof peer;
	int fd = w->fd;
	w->fd = -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
	if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0)
		io_close(&fd);
	else
		(void)h->lib.add_connection(h->mhd, fd, (struct sockaddr *)&peer, length); /* closes it when it can not */
}

static void
take(struct http *h)
{
	struct waiting *place = NULL;
	for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		if (h->waiting[i].fd < 0)
			place = &h->waiting[i];
	if (place == NULL)
		return;
	int fd = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		*place = (struct waiting){ .fd = fd, .since_ms = clock_ms() };
}

static int
patience(struct http *h)
{
	MHD_UNSIGNED_LONG_LONG ms;
	return h->lib.get_timeout(h->mhd, &ms) == MHD_YES && ms < TICK_MS ? (int)ms : TICK_MS;
}

enum err
http_step(struct http *h, int other)
{
	struct pollfd p[3 + HTTP_CONNECTIONS_MAX];
	p[0] = (struct pollfd){ .fd = other, .events = POLLIN };
	p[1] = (struct pollfd){ .fd = connection_count(h) < HTTP_CONNECTIONS_MAX ? h->listener : -1, .events = POLLIN };
	p[2] = (struct pollfd){ .fd = h->mhd_fd, .events = POLLIN };
	for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		p[3 + i] = (struct pollfd){ .fd = h->waiting[i].fd, .events = POLLIN | POLLRDHUP };
	int n = poll(p, sizeof p / sizeof *p, patience(h));
	if (n < 0 && errno != EINTR)
		return fail_errno("poll");
	for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
		struct waiting *w = &h->waiting[i];
		if (w->fd >= 0 && n > 0 && p[3 + i].revents)
			w->refused ? discard(w) : look(h, w);
		if (w->fd >= 0 && clock_ms() - w->since_ms > HTTP_SECONDS_MAX * 1000u)
			io_close(&w->fd);
	}
	if (n > 0 && p[1].revents)
		take(h);
	return h->lib.run(h->mhd) == MHD_YES ? OK : fail(ERR_IO, "libmicrohttpd stopped");
}

/* --- the process --- */

enum err
http_run(int post, void *arg)
{
	const struct http_settings *s = arg;
	struct http *h = NULL;
	TRY(http_open(&h, s->listener));
	enum err e = sandbox_enter(&(struct sandbox){ .calls = SANDBOX_ACCEPT, .memory_bytes = 1u << 30, .off = s->no_sandbox });
	if (e == OK)
		post_ready(post);
	while (e == OK) {
		struct post p;
		e = post_receive(post, &p);
		if (e == OK && p.kind == POST_STOP)
			break;
		if (e == OK && p.kind == POST_LINK && p.peer == s->store) {
			http_link(h, p.fd);
			continue;
		}
		if (e == OK)
			io_close(&p.fd);
		e = e == END ? http_step(h, post) : e;
	}
	http_close(&h);
	return e;
}
