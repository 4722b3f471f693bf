/* The http process: /metrics (Prometheus text) and /healthz, GET and HEAD, over libmicrohttpd. It holds no key and opens no
 * file; its numbers come over a link from the store process (base/vitals.h), at most once a second.
 *
 * libmicrohttpd 0.9.75 takes requests that others read differently (conflicting lengths, bare line feeds, NULs in headers), so
 * each connection's first bytes are looked at before it sees them (api/rawhead.h), and every connection ends after one answer:
 * there is no second request to smuggle.
 *
 * Who comes to a loopback address has to ask for "localhost" or an address (421 else): the page of another site, to whose name this
 * machine's address was given, reads nothing here (DNS rebinding). Elsewhere any name will do.
 *
 * At most HTTP_CONNECTIONS_MAX at once; more wait in the backlog. One that has not sent its head or taken its answer after
 * HTTP_SECONDS_MAX is closed.
 */
#ifndef API_HTTP_H
#define API_HTTP_H

#include <stdbool.h>

#include "base/err.h"

#define HTTP_CONNECTIONS_MAX      32u
#define HTTP_CONNECTION_BYTES_MAX (32u << 10) /* memory of one in libmicrohttpd */
#define HTTP_SECONDS_MAX          5u
#define HTTP_VITALS_MS            2000u       /* to wait for the store process: then 503 */

struct http_settings {
	int      listener;   /* bound and listening, TCP */
	unsigned store;      /* role number of the store process */
	bool     no_sandbox;
};

/* As a process_role's run (base/process.h); arg: struct http_settings. Returns after POST_STOP. */
enum err http_run(int post, void *arg);

/* --- its parts, for tests --- */
struct http;
enum err http_open(struct http **out, int listener); /* takes the listener; ERR_NOMEM, ERR_IO */
void     http_close(struct http **h);
/* Numbers come over this one from now on; takes it. -1: none. */
void     http_link(struct http *h, int fd);
/* Waits at most a second for something to do, or until `other` (-1: none) is readable, and does it. */
enum err http_step(struct http *h, int other);

#endif
