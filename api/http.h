/* The http process: /metrics (Prometheus text) and /healthz, GET and HEAD, over libmicrohttpd. It holds no key and opens no file;
 * its numbers come over a socketpair from the store process (base/vitals.h), at most once a second.
 *
 * libmicrohttpd 0.9.75 takes requests that others read differently (conflicting lengths, bare line feeds, NULs in headers), so
 * each connection's first bytes are looked at before it sees them (api/rawhead.h), and every connection ends after one answer:
 * there is no second request to smuggle.
 */
#ifndef API_HTTP_H
#define API_HTTP_H

#include "base/err.h"

#define HTTP_CONNECTIONS_MAX        32u
#define HTTP_CONNECTION_BYTES_MAX   (16u << 10) /* memory of one in libmicrohttpd */
#define HTTP_SECONDS_MAX            5u          /* for a request, and for its answer */
#define HTTP_VITALS_MS              2000u       /* to wait for the store process: then 503 */

/* Serves until SIGINT or SIGTERM (base/interrupt.h: watch before) or until the store process closes its end: OK. Takes
 * listen_fd (listening, TCP) and vitals_fd; closes both. ERR_IO, ERR_NOMEM: could not start. Calls of its own: accept4, recv,
 * send, setsockopt, shutdown, close, poll, and what libmicrohttpd needs with epoll (epoll_create1, epoll_ctl, epoll_wait, pipe2 or
 * eventfd2, sendmsg, writev, fcntl, clock_gettime, getsockopt, mmap). */
enum err http_run(int listen_fd, int vitals_fd);

#endif
