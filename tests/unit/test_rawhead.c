#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/metrics.h"
#include "api/rawhead.h"
#include "tests/support/unit.h"

#define HOST_LINE "Host: a\r\n"
#define GET "GET /metrics HTTP/1.1\r\n" HOST_LINE

static unsigned
checked(const char *text, size_t n)
{
	size_t head;
	uint8_t *copy = malloc(n + 1); /* so that a read past the end is seen */
	memcpy(copy, text, n);
	unsigned status = rawhead_check(copy, n, &head);
	if (status == RAWHEAD_GOOD)
		assert_true(head <= n);
	free(copy);
	return status;
}

#define V(status, text) { status, sizeof text - 1, text }
static const struct {
	unsigned status;
	size_t   n;
	const char *text;
} requests[] = {
	V(200, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(200, "HEAD /metrics?x=1 HTTP/1.1\r\nhOST:\t127.0.0.1:7714 \r\nAccept: */*\r\nAccept: text/plain\r\n\r\n"),
	V(200, "GET / HTTP/1.0\r\n\r\n"),
	V(200, GET "Content-Length: 0\r\n\r\n"),
	V(200, GET "User-Agent: \xc3\xa4\r\nX-Empty:\r\n\r\n"),
	V(200, GET "\r\nGET / HTTP/1.1\r\n"), /* what follows is not looked at: the connection ends */
	/* two readers could differ */
	V(501, GET "Transfer-Encoding: chunked\r\n\r\n"),
	V(501, GET "Transfer-Encoding: identity\r\n\r\n"),
	V(501, GET "Content-Length: 0\r\nTRANSFER-ENCODING: x\r\n\r\n"),
	V(400, GET "Transfer-Encoding : chunked\r\n\r\n"),
	V(400, GET "Transfer-Encoding\t: chunked\r\n\r\n"),
	V(400, GET " Transfer-Encoding: chunked\r\n\r\n"),
	V(400, GET "X: y\r\n folded\r\n\r\n"),
	V(400, GET "X: y\n\r\n"),
	V(400, GET "X: y\r\r\n\r\n"),
	V(400, GET "X: a\rb\r\n\r\n"),
	V(400, "GET / HTTP/1.1\nHost: a\n\n"),
	V(400, GET "X: a\0b\r\n\r\n"),
	V(400, GET "X\0: a\r\n\r\n"),
	V(400, GET "X: a\x1b[0m\r\n\r\n"),
	V(400, GET "X: \x7f\r\n\r\n"),
	V(400, GET "Host: b\r\n\r\n"),
	V(400, GET "host: a\r\n\r\n"),
	V(400, GET "Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
	V(413, GET "Content-Length: 5\r\nContent-Length: 0\r\n\r\n"),
	V(413, GET "Content-Length: 5\r\n\r\nhello"),
	V(413, GET "Content-Length: +0\r\n\r\n"),
	V(413, GET "Content-Length: 0, 0\r\n\r\n"),
	V(413, GET "Content-Length: 00\r\n\r\n"),
	V(413, GET "Content-Length:\r\n\r\n"),
	V(413, GET "Content-Length: 18446744073709551616\r\n\r\n"),
	V(400, GET "Authorization: a\r\nauthorization: b\r\n\r\n"),
	V(400, GET "Range: bytes=0-\r\nRange: bytes=1-\r\n\r\n"),
	V(400, GET "Cookie: a\r\nCookie: b\r\n\r\n"),
	V(417, GET "Expect: 100-continue\r\n\r\n"),
	V(400, GET ": x\r\n\r\n"),
	V(400, GET "no colon\r\n\r\n"),
	V(400, GET "a b: c\r\n\r\n"),
	V(400, GET "a(b: c\r\n\r\n"),
	/* the host */
	V(400, "GET / HTTP/1.1\r\n\r\n"),
	V(400, "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
	V(400, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
	V(400, "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
	V(400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
	V(400, "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"),
	/* the request line */
	V(405, "POST / HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(405, "get / HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(405, "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(405, "PRI * HTTP/1.1\r\n\r\n"),
	V(505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
	V(505, "GET / HTTP/0.9\r\n\r\n"),
	V(505, "GET / HTTP/1.2\r\n\r\n"),
	V(400, "GET /\r\n\r\n"),
	V(400, "GET / HTTP/1.1 \r\nHost: a\r\n\r\n"),
	V(400, "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(400, "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(400, "GET / a HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(400, "GET /# HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(400, "GET /\x80 HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(400, "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(400, "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(400, "GET * HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(400, "GET / http/1.1\r\nHost: a\r\n\r\n"),
	V(400, "GET / HTTP/11\r\nHost: a\r\n\r\n"),
	V(400, " GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(400, "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
	V(400, "\x16\x03\x01\x02\x00"),
	V(0, ""),
	V(0, "G"),
};

static void
what_two_readers_could_take_differently_is_refused(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
		unsigned status = checked(requests[i].text, requests[i].n);
		if (status != requests[i].status)
			print_message("# request %zu (%s): %u\n", i, requests[i].text, status);
		assert_int_equal(status, requests[i].status);
	}
}

static void
a_part_of_a_good_head_is_never_refused(void **state)
{
	(void)state;
	const char *text = requests[1].text;
	for (size_t n = 0; n < requests[1].n; n++)
		assert_int_equal(checked(text, n), RAWHEAD_MORE);
	assert_int_equal(checked(text, requests[1].n), RAWHEAD_GOOD);
}

static void
what_is_too_long_is_refused(void **state)
{
	(void)state;
	char text[2 * RAWHEAD_BYTES_MAX];
	int n = snprintf(text, sizeof text, "GET /%0*d HTTP/1.1\r\nHost: a\r\n\r\n", (int)RAWHEAD_TARGET_MAX - 1, 0);
	assert_int_equal(checked(text, (size_t)n), 200);
	n = snprintf(text, sizeof text, "GET /%0*d HTTP/1.1\r\nHost: a\r\n\r\n", (int)RAWHEAD_TARGET_MAX, 0);
	assert_int_equal(checked(text, (size_t)n), 414);
	n = snprintf(text, sizeof text, "GET /%0*d", (int)RAWHEAD_BYTES_MAX, 0);
	assert_int_equal(checked(text, (size_t)n), 414);
	n = snprintf(text, sizeof text, GET "X: %0*d\r\n\r\n", (int)RAWHEAD_BYTES_MAX, 0);
	assert_int_equal(checked(text, (size_t)n), 431);
	n = snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\n");
	for (unsigned i = 1; i < RAWHEAD_FIELDS_MAX; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, "X: %u\r\n", i);
	snprintf(text + n, sizeof text - (size_t)n, "\r\n");
	assert_int_equal(checked(text, (size_t)n + 2), 200);
	n += snprintf(text + n, sizeof text - (size_t)n, "X: y\r\n\r\n");
	assert_int_equal(checked(text, (size_t)n), 431);
}

static void
no_byte_flipped_or_random_is_read_past_the_end(void **state)
{
	(void)state;
	char text[256];
	uint32_t seed = 1;
	memcpy(text, requests[1].text, requests[1].n);
	for (size_t bit = 0; bit < 8 * requests[1].n; bit++) {
		text[bit / 8] ^= (char)(1 << bit % 8);
		(void)checked(text, requests[1].n);
		text[bit / 8] ^= (char)(1 << bit % 8);
	}
	for (unsigned round = 0; round < 20000; round++) {
		static const char letters[] = "GETHAD /:.1P\r\n\t abHost";
		size_t n = round % 60;
		for (size_t i = 0; i < n; i++) {
			seed = seed * 1664525u + 1013904223u;
			text[i] = letters[(seed >> 16) % (sizeof letters - 1)];
		}
		(void)checked(text, n);
	}
}

static void
metrics_are_told_once_each_with_bounded_labels(void **state)
{
	(void)state;
	struct vitals v = { .commit_ns = 1500000001, .restarts = 7, .monitor_count = METRICS_MONITORS_MAX + 5 };
	char *text = NULL;
	size_t n;
	v.monitors = calloc(v.monitor_count, sizeof *v.monitors);
	for (uint32_t i = 0; i < v.monitor_count; i++) {
		v.monitors[i].id = i + 1;
		snprintf(v.monitors[i].name, sizeof v.monitors[i].name, "m%u", i);
	}
	v.monitors[0].state = 1;
	v.monitors[1].clock_offset_ns = (uint64_t)-1500000000ll;
	v.monitors[1].lost_spool = 3;
	assert_int_equal(metrics_text(&v, &text, &n), OK);
	assert_int_equal(strlen(text), n);
	assert_non_null(strstr(text, "# TYPE atoll_restarts_total counter\natoll_restarts_total 7\n"));
	assert_non_null(strstr(text, "\natoll_commit_seconds_sum 1.500000001\n"));
	assert_non_null(strstr(text, "\natoll_monitors{state=\"revoked\"} 1\n"));
	assert_non_null(strstr(text, "\natoll_monitors_left_out 4\n"));
	assert_non_null(strstr(text, "\natoll_monitor_clock_offset_seconds{monitor=\"m1\"} -1.500000000\n"));
	assert_non_null(strstr(text, "\natoll_monitor_lost_packets_total{monitor=\"m1\",cause=\"spool\"} 3\n"));
	assert_null(strstr(text, "\"m0\""));
	assert_non_null(strstr(text, "\"m1000\""));
	assert_null(strstr(text, "\"m1001\""));
	for (char *at = text; (at = strstr(at, "# TYPE ")); at++) { /* each once, and its lines follow at once */
		char name[128];
		assert_int_equal(sscanf(at, "# TYPE %127s", name), 1);
		size_t length = strlen(name);
		char *line = strchr(at, '\n') + 1;
		assert_true(strncmp(line, name, length) == 0 && (line[length] == ' ' || line[length] == '{'));
		char again[160];
		snprintf(again, sizeof again, "# TYPE %s ", name);
		assert_null(strstr(at + 1, again));
	}
	free(text);
	snprintf(v.monitors[2].name, sizeof v.monitors[2].name, "a\"} 1");
	assert_int_equal(metrics_text(&v, &text, &n), ERR_FORMAT);
	free(v.monitors);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_two_readers_could_take_differently_is_refused),
		cmocka_unit_test(a_part_of_a_good_head_is_never_refused),
		cmocka_unit_test(what_is_too_long_is_refused),
		cmocka_unit_test(no_byte_flipped_or_random_is_read_past_the_end),
		cmocka_unit_test(metrics_are_told_once_each_with_bounded_labels),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
