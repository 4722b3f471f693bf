/* The http process with its sandbox, asked over raw sockets, and beside it a process that answers for the store. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "api/http.h"
#include "base/sandbox.h"
#include "base/vitals.h"
#include "tests/support/unit.h"

static pid_t    server, store;
static uint16_t port;
static int      parent_end; /* closed when this process ends: then the others end too */

/* Answers each question with one monitor. */
static void
store_run(int link)
{
	struct vitals_desk d;
	struct vitals v = { .started_ns = 1, .monitor_count = 1 };
	v.monitors = calloc(1, sizeof *v.monitors);
	v.monitors[0].id = 1;
	snprintf(v.monitors[0].name, sizeof v.monitors[0].name, "roof");
	if (vitals_desk_init(&d, link) != OK)
		_exit(1);
	for (;;) {
		bool asked;
		poll(&(struct pollfd){ .fd = link, .events = vitals_desk_pending(&d) ? POLLOUT : POLLIN }, 1, -1);
		if (vitals_desk_serve(&d, &asked) == END)
			_exit(0);
		if (asked && vitals_desk_answer(&d, &v) != OK)
			_exit(2);
	}
}

static void
server_run(int listener, int link, int other)
{
	struct http *h = NULL;
	if (http_open(&h, listener) != OK)
		_exit(1);
	http_link(h, link);
	if (sandbox_enter(&(struct sandbox){ .calls = SANDBOX_ACCEPT, .memory_bytes = 1u << 30 }) != OK)
		_exit(2);
	char byte;
	while (recv(other, &byte, 1, MSG_DONTWAIT) != 0)
		if (http_step(h, other) != OK)
			_exit(3);
	http_close(&h);
	_exit(0);
}

static int
begin(void **state)
{
	(void)state;
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int link[2], other[2], listener = socket(AF_INET, SOCK_STREAM, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, 64) < 0 ||
	    getsockname(listener, (struct sockaddr *)&a, &n) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, link) < 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, other) < 0)
		return -1;
	port = ntohs(a.sin_port);
	if ((server = fork()) == 0) {
		close(link[1]), close(other[1]);
		server_run(listener, link[0], other[0]);
	}
	close(link[0]), close(other[0]), close(listener);
	parent_end = other[1];
	if ((store = fork()) == 0) {
		close(parent_end);
		store_run(link[1]);
	}
	close(link[1]);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	int status = 0;
	close(parent_end);
	if (waitpid(server, &status, 0) != server || status != 0) {
		print_message("# the server ended with %x\n", (unsigned)status);
		return -1;
	}
	if (store > 0) {
		kill(store, SIGKILL);
		waitpid(store, NULL, 0);
	}
	return 0;
}

static int
dial(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct timeval limit = { .tv_sec = 20 };
	assert_true(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

/* All that comes until the server closes; -1: it did not in 20 s. */
static ssize_t
answer_of(int fd, char *out, size_t room)
{
	size_t have = 0;
	ssize_t n;
	while (have + 1 < room && (n = recv(fd, out + have, room - have - 1, 0)) > 0)
		have += (size_t)n;
	out[have] = 0;
	bool late = n < 0 && errno == EAGAIN;
	close(fd);
	return late ? -1 : (ssize_t)have;
}

static ssize_t
asked(const char *request, size_t n, char *out, size_t room)
{
	int fd = dial();
	assert_int_equal(send(fd, request, n, MSG_NOSIGNAL), n);
	return answer_of(fd, out, room);
}

static char text[1 << 20];

#define ASK(request) asked(request, sizeof(request) - 1, text, sizeof text)
#define STARTS(words) assert_int_equal(strncmp(text, words, sizeof(words) - 1), 0)

static void
metrics_and_health_are_served(void **state)
{
	(void)state;
	assert_true(ASK("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") > 0);
	STARTS("HTTP/1.1 200 OK\r\n");
	assert_non_null(strstr(text, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	assert_non_null(strstr(text, "\r\nConnection: close\r\n"));
	assert_non_null(strstr(text, "\natoll_monitor_connected{monitor=\"roof\"} 0\n"));
	assert_true(ASK("GET /healthz HTTP/1.0\r\n\r\n") > 0);
	STARTS("HTTP/1.1 200 OK\r\n");
	assert_non_null(strstr(text, "\r\n\r\nok\n"));
	assert_true(ASK("HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") > 0);
	STARTS("HTTP/1.1 200 OK\r\n");
	assert_string_equal(text + strlen(text) - 4, "\r\n\r\n");
	assert_true(ASK("GET /other HTTP/1.1\r\nHost: localhost\r\n\r\n") > 0);
	STARTS("HTTP/1.1 404 ");
	assert_true(ASK("GET /metrics?x=%00&y HTTP/1.1\r\nHost: localhost\r\n\r\n") > 0);
	STARTS("HTTP/1.1 200 ");
	assert_true(ASK("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9713\r\n\r\n") > 0);
	STARTS("HTTP/1.1 200 ");
	assert_true(ASK("GET /metrics HTTP/1.1\r\nHost: [::1]:9713\r\n\r\n") > 0);
	STARTS("HTTP/1.1 200 ");
	assert_true(ASK("GET /%6detrics HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n") > 0);
	STARTS("HTTP/1.1 200 ");
}

static void
hostile_requests_get_one_refusal_and_the_connection_ends(void **state)
{
	(void)state;
#define R(status, request) { status, sizeof request - 1, request }
	static const struct { const char *status; size_t n; const char *request; } v[] = {
		R("501", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		R("501", "POST /healthz HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
		R("413", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
		R("413", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 34\r\n\r\nGET /metrics HTTP/1.1\r\nHost: b\r\n\r\n"),
		R("400", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: b\r\n\r\n"),
		R("400", "GET /healthz HTTP/1.1\nHost: a\n\n"),
		R("400", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n"),
		R("400", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: a\rb\r\n\r\n"),
		R("400", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n X: a\r\n\r\n"),
		R("400", "GET /healthz HTTP/1.1\r\nHost : a\r\n\r\n"),
		R("400", "GET /healthz HTTP/1.1\r\n\r\n"),
		R("405", "POST /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		R("405", "OPTIONS /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		R("400", "GET http://a/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		R("417", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n\r\n"),
		R("505", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
		R("421", "GET /metrics HTTP/1.1\r\nHost: rebound.example\r\n\r\n"),
		R("421", "GET /metrics HTTP/1.1\r\nHost: localhost.example:80\r\n\r\n"),
		R("421", "GET /metrics HTTP/1.1\r\nHOST:\t127.0.0.1.example \r\n\r\n"),
		R("421", "GET /metrics HTTP/1.1\r\nX: y\r\nhost: :80\r\n\r\n"),
		R("400", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		R("400", "\0\0\0\0"),
	};
	for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
		const char *wanted = i == 1 ? "405" : v[i].status; /* the method comes first */
		assert_true(asked(v[i].request, v[i].n, text, sizeof text) > 0);
		if (strncmp(text, "HTTP/1.1 ", 9) != 0 || strncmp(text + 9, wanted, 3) != 0)
			print_message("# request %zu: %.40s\n", i, text);
		assert_int_equal(strncmp(text + 9, wanted, 3), 0);
		assert_null(strstr(text + 9, "HTTP/1.1 ")); /* one answer */
	}
	assert_true(ASK("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") > 0);
	STARTS("HTTP/1.1 200 ");
}

static void
a_second_request_is_not_answered(void **state)
{
	(void)state;
	(void)ASK("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
	          "GET /metrics HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
	if (text[0])
		STARTS("HTTP/1.1 200 ");
	assert_null(strstr(text, "atoll_"));
	assert_null(strstr(text + (text[0] != 0), "HTTP/1.1"));
}

static void
a_request_in_many_pieces_is_whole(void **state)
{
	(void)state;
	static const char request[] = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: y\r\n\r\n";
	int fd = dial(), one = 1;
	assert_int_equal(setsockopt(fd, IPPROTO_TCP, 1, &one, sizeof one), 0);
	for (size_t i = 0; i < sizeof request - 1; i++) {
		assert_int_equal(send(fd, request + i, 1, MSG_NOSIGNAL), 1);
		nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
	}
	assert_true(answer_of(fd, text, sizeof text) > 0);
	STARTS("HTTP/1.1 200 ");
}

static uint64_t
cpu_ticks(pid_t pid)
{
	char path[64], line[1024] = "";
	unsigned long user, kernel;
	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof line, f));
	fclose(f);
	assert_int_equal(sscanf(strrchr(line, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel), 2);
	return user + kernel;
}

static void
slow_ones_are_sent_away_and_cost_nothing(void **state)
{
	(void)state;
	int idle[2 * HTTP_CONNECTIONS_MAX];
	for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) {
		idle[i] = dial();
		if (i % 2)
			assert_int_equal(send(idle[i], "GET / HTTP/1.1\r\nHo", 18, MSG_NOSIGNAL), 18);
	}
	uint64_t before = cpu_ticks(server);
	assert_true(ASK("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") > 0); /* when those before it were closed */
	STARTS("HTTP/1.1 200 ");
	uint64_t took = cpu_ticks(server) - before;
	print_message("# %u ms of processor while 64 connections waited\n", (unsigned)(took * 1000 / (uint64_t)sysconf(_SC_CLK_TCK)));
#if !PROGRAM_IS_SANITIZED
	assert_in_range(took, 0, (uint64_t)sysconf(_SC_CLK_TCK)); /* it does not spin */
#endif
	for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
		close(idle[i]);
}

static void
without_the_store_it_says_so(void **state)
{
	(void)state;
	kill(store, SIGSTOP);
	assert_true(ASK("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") > 0);
	STARTS("HTTP/1.1 503 ");
	assert_non_null(strstr(text, "does not answer"));
	kill(store, SIGCONT);
	nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 100000000 }, NULL);
	assert_true(ASK("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") > 0);
	STARTS("HTTP/1.1 200 ");
	kill(store, SIGKILL);
	waitpid(store, NULL, 0);
	store = 0;
	nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 100000000 }, NULL);
	assert_true(ASK("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n") > 0);
	STARTS("HTTP/1.1 503 ");
}

int
main(void)
{
	signal(SIGPIPE, SIG_IGN);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(metrics_and_health_are_served, begin, end),
		cmocka_unit_test_setup_teardown(hostile_requests_get_one_refusal_and_the_connection_ends, begin, end),
		cmocka_unit_test_setup_teardown(a_second_request_is_not_answered, begin, end),
		cmocka_unit_test_setup_teardown(a_request_in_many_pieces_is_whole, begin, end),
		cmocka_unit_test_setup_teardown(slow_ones_are_sent_away_and_cost_nothing, begin, end),
		cmocka_unit_test_setup_teardown(without_the_store_it_says_so, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
