/* atoll serve: opens the sockets, gives up root, and supervises the processes that do the work. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "api/http.h"
#include "base/config.h"
#include "base/human.h"
#include "base/log.h"
#include "base/process.h"
#include "base/sandbox.h"
#include "index/keeper.h"
#include "ingest/gate.h"
#include "tools/verbs.h"

#define BACKLOG 1024 /* connections that wait in the kernel while the store process starts again */

enum { ROLE_STORE, ROLE_INGEST, ROLE_HTTP, ROLE_COUNT };

struct server {
	const struct given *given;
	struct config_address listen, metrics;
	char   user[CONFIG_TEXT_BYTES]; /* "": the default one, if there is one */
	struct config *config; /* as at the start: the processes have it from there */
	struct keeper_settings keeper;
	struct gate_settings   gate;
	struct http_settings   http;
};

extern char **environ;

/* --- settings --- */

/* HOST:PORT or [IP6]:PORT. */
static enum err
address_parse(struct config_address *out, const char *text, const char *what)
{
	const char *colon = strrchr(text, ':'), *host = text;
	size_t n = colon ? (size_t)(colon - text) : 0;
	uint64_t port = 0;
	if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
		host++;
		n -= 2;
	} else if (memchr(text, ':', n)) {
		n = 0; /* an IPv6 address without brackets */
	}
	if (n == 0 || n >= sizeof out->host)
		return fail(ERR_USAGE, "--%s: HOST:PORT or [IP6]:PORT, not \"%s\"", what, text);
	TRY(number_parse(&port, colon + 1, "a port"));
	if (port > 65535)
		return fail(ERR_USAGE, "--%s: a port is at most 65535", what);
	memcpy(out->host, host, n);
	out->host[n] = 0;
	out->port = (uint16_t)port;
	return OK;
}

static void
see_fault(void *arg, const char *sentence)
{
	unsigned *count = arg;
	if ((*count)++) /* the first is the verb's own sentence */
		fprintf(stderr, "atoll serve: %s\n", sentence);
}

/* What may change while it runs. */
static enum err
limits_of(const struct config *c, struct server *s)
{
	struct gate_limits gate = GATE_LIMITS_DEFAULT;
	const uint64_t most = UINT32_MAX;
	gate.connections = (uint32_t)(c->limits_connections < most ? c->limits_connections : most);
	gate.strangers = (uint32_t)(c->limits_connections_per_address < most ? c->limits_connections_per_address : most);
	gate.handshakes = (uint32_t)(c->limits_handshakes_per_second < most ? c->limits_handshakes_per_second : most);
	gate.monitor_bytes = c->limits_monitor_rate;
	TRY(gate_limits_check(&gate));
	s->gate.limits = gate;
	s->keeper.limits = (struct keeper_limits){
		.retention = { .age_ns = c->retention_age, .stream_bytes = c->retention_stream_bytes,
		               .free_bytes = c->retention_free_bytes, .stop_bytes = c->retention_stop_bytes,
		               .config = s->config, .merge_age_ns = c->merge_age },
		.monitor_bytes = c->limits_monitor_bytes,
	};
	return OK;
}

static enum err
reload(void *arg)
{
	struct server *s = arg;
	struct config *c = NULL;
	TRY(config_load(&c, given_text(s->given, "config", NULL), environ, NULL, NULL));
	enum err e = limits_of(c, s);
	config_close(&c);
	return e;
}

static enum err
settings_read(struct server *s, const struct given *g)
{
	const char *dir, *listen = given_text(g, "listen", NULL), *metrics = given_text(g, "metrics", NULL);
	struct config *c = NULL;
	unsigned faults = 0;
	s->given = g;
	TRY(given_archive_dir(&dir, g));
	if (!realpath(dir, s->keeper.dir))
		return fail_errno("%s", dir);
	const char *key = given_text(g, "key-file", NULL);
	if (key && !realpath(key, s->keeper.key_file))
		return fail_errno("%s", key);
	TRY(config_load(&c, given_text(g, "config", NULL), environ, see_fault, &faults));
	s->config = c;
	s->listen = c->server_listen;
	s->metrics = c->server_metrics;
	const char *user = given_text(g, "user", strcmp(c->server_user, "atoll") == 0 ? "" : c->server_user);
	snprintf(s->user, sizeof s->user, "%s", user);
	enum err e = limits_of(c, s);
	if (e == OK && listen)
		e = address_parse(&s->listen, listen, "listen");
	if (e == OK && metrics && strcmp(metrics, "none") == 0)
		s->metrics = (struct config_address){ 0 };
	else if (e == OK && metrics)
		e = address_parse(&s->metrics, metrics, "metrics");
	s->gate.store = s->http.store = ROLE_STORE;
	s->keeper.port = s->listen.port;
	s->keeper.ingest = ROLE_INGEST;
	s->keeper.http = ROLE_HTTP;
	s->gate.no_sandbox = s->keeper.no_sandbox = s->http.no_sandbox = given_flag(g, "no-sandbox");
	return e;
}

/* --- sockets --- */

static enum err
explain(const struct config_address *a, const char *option, int number)
{
	switch (number) {
	case EADDRINUSE:
		return fail(ERR_BUSY, "%s port %u: in use by another program (another atoll serve?): stop that one, or take "
		            "another port with --%s; `ss -ltnp sport = :%u` tells who it is", a->host, a->port, option, a->port);
	case EACCES:
		return fail(ERR_DENIED, "%s port %u: ports below 1024 are for root (or CAP_NET_BIND_SERVICE): take another one with "
		            "--%s", a->host, a->port, option);
	case EADDRNOTAVAIL:
		return fail(ERR_USAGE, "%s port %u: no interface of this machine has this address: --%s [::]:%u is all of them",
		            a->host, a->port, option, a->port);
	default:
		errno = number;
		return fail_errno("%s port %u", a->host, a->port);
	}
}

/* The number of the error, 0 when it listens. */
static int
listen_once(const struct addrinfo *a, int *fd)
{
	const int one = 1, zero = 0;
	int s = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s < 0)
		return errno;
	(void)setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (a->ai_family == AF_INET6)
		(void)setsockopt(s, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero);
	if (bind(s, a->ai_addr, a->ai_addrlen) == 0 && listen(s, BACKLOG) == 0) {
		*fd = s;
		return 0;
	}
	int number = errno;
	close(s);
	return number;
}

/* The processes of a server that was killed end a moment after it. */
static int
listen_on(const struct addrinfo *a, int *fd)
{
	const struct timespec moment = { .tv_nsec = 50000000 };
	int number = listen_once(a, fd);
	for (unsigned i = 0; number == EADDRINUSE && i < 20; i++) {
		nanosleep(&moment, NULL);
		number = listen_once(a, fd);
	}
	return number;
}

/* Listens on all addresses of the host; a machine without IPv6 has those of IPv4. */
static enum err
listen_all(const struct config_address *a, const char *option, int *fds, unsigned most, unsigned *count)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found = NULL;
	char port[8];
	int last = 0;
	snprintf(port, sizeof port, "%u", a->port);
	int r = getaddrinfo(a->host, port, &hints, &found);
	if (r != 0)
		return fail(ERR_USAGE, "--%s: %s: %s", option, a->host, r == EAI_SYSTEM ? strerror(errno) : gai_strerror(r));
	*count = 0;
	for (const struct addrinfo *i = found; i && *count < most; i = i->ai_next) {
		int number = listen_on(i, &fds[*count]);
		*count += number == 0;
		last = number ? number : last;
	}
	freeaddrinfo(found);
	if (*count == 0 && last == EAFNOSUPPORT && strcmp(a->host, "::") == 0) {
		struct config_address four = { .host = "0.0.0.0", .port = a->port };
		return listen_all(&four, option, fds, most, count);
	}
	return *count ? OK : explain(a, option, last);
}

static void
log_address(int fd, const char *what)
{
	struct sockaddr_storage a = { 0 };
	socklen_t n = sizeof a;
	char host[NI_MAXHOST], port[NI_MAXSERV];
	if (getsockname(fd, (struct sockaddr *)&a, &n) == 0 &&
	    getnameinfo((struct sockaddr *)&a, n, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) == 0)
		log_line(LOG_NOTED, strchr(host, ':') ? "%s on [%s]:%s" : "%s on %s:%s", what, host, port);
}

static enum err
open_sockets(struct server *s)
{
	unsigned n = 0;
	s->http.listener = -1;
	if (s->listen.host[0] == 0)
		return fail(ERR_USAGE, "nowhere to listen: [server] listen, or --listen HOST:PORT");
	TRY(listen_all(&s->listen, "listen", s->gate.listener, GATE_LISTENERS_MAX, &s->gate.listeners));
	for (unsigned i = 0; i < s->gate.listeners; i++)
		log_address(s->gate.listener[i], "collectors are welcome");
	if (s->metrics.host[0] == 0)
		return OK;
	TRY(listen_all(&s->metrics, "metrics", &s->http.listener, 1, &n));
	log_address(s->http.listener, "metrics");
	return OK;
}

/* --- user --- */

/* The processes are to write in the archive as whoever they are now. */
static enum err
check_access(const char *dir)
{
	struct stat st;
	struct passwd *pw;
	char owner[64], me[64];
	if (stat(dir, &st) < 0)
		return fail_errno("%s", dir);
	if (faccessat(AT_FDCWD, dir, R_OK | W_OK | X_OK, AT_EACCESS) == 0)
		return OK;
	pw = getpwuid(st.st_uid);
	snprintf(owner, sizeof owner, "%s", pw ? pw->pw_name : "another user");
	pw = getpwuid(geteuid());
	snprintf(me, sizeof me, "%s", pw ? pw->pw_name : "this user");
	return fail(ERR_DENIED, "%s belongs to %s, and the server runs as %s: chown -R %s %s, or --user %s", dir, owner, me, me, dir,
	            owner);
}

/* --- all together --- */

static enum err
serve(struct server *s)
{
	const struct process_role roles[ROLE_COUNT] = {
		[ROLE_STORE] = { .name = "store", .run = keeper_run, .arg = &s->keeper, .links = 1u << ROLE_INGEST | 1u << ROLE_HTTP,
		                 .settings = &s->keeper.limits, .settings_bytes = sizeof s->keeper.limits },
		[ROLE_INGEST] = { .name = "ingest", .run = gate_run, .arg = &s->gate, .links = 1u << ROLE_STORE,
		                  .keep = s->gate.listener, .keep_count = s->gate.listeners,
		                  .settings = &s->gate.limits, .settings_bytes = sizeof s->gate.limits },
		[ROLE_HTTP] = { .name = "http", .run = http_run, .arg = &s->http, .links = 1u << ROLE_STORE,
		                .keep = &s->http.listener, .keep_count = 1 },
	};
	struct supervision supervision = {
		.roles = roles,
		.count = s->http.listener >= 0 ? ROLE_COUNT : ROLE_HTTP,
		.reload = reload,
		.arg = s,
	};
	return supervise(&supervision);
}

static enum err
run(const struct given *g)
{
	struct server *s = calloc(1, sizeof *s);
	if (!s)
		return fail(ERR_NOMEM, "no memory");
	log_open("serve");
	enum err e = settings_read(s, g);
	if (e == OK)
		e = open_sockets(s);
	if (e == OK)
		e = sandbox_user(s->user[0] ? s->user : NULL);
	if (e == OK)
		e = check_access(s->keeper.dir);
	if (e == OK)
		e = serve(s);
	config_close(&s->config);
	free(s);
	return e;
}

static const struct option_spec options[] = {
	{ "config", 0, OPTION_TEXT, "FILE", "ATOLL_CONFIG", "configuration (default: " CONFIG_PATH_DEFAULT ", if it is there)" },
	{ "listen", 0, OPTION_TEXT, "HOST:PORT", NULL, "where collectors connect" },
	{ "metrics", 0, OPTION_TEXT, "HOST:PORT", NULL, "where /metrics and /healthz are served; none: nowhere" },
	{ "user", 0, OPTION_TEXT, "NAME", NULL, "the user to become when started by root (default: atoll, if there is one)" },
	{ "no-sandbox", 0, OPTION_FLAG, NULL, NULL, "without limits on files and system calls, to debug" },
	{ 0 },
};

const struct verb verb_serve = {
	.name = "serve",
	.summary = "take in what collectors send",
	.arguments = "",
	.options = { options },
	.details = "Runs until SIGTERM or SIGINT, in the foreground; logs to stderr, tells systemd when it is ready. Options count\n"
	           "more than the configuration, of which `atoll config show` gives all settings. SIGHUP reads [limits] and\n"
	           "[retention] again. Queries and exports go on beside it; what changes the archive (import, rm) waits for its end,\n"
	           "except for enroll, monitors and revoke, which ask the server.",
	.examples = (const struct example[]){
		{ "atoll -A DIR serve", "as the configuration says" },
		{ "atoll -A DIR serve --listen 192.0.2.1:7713 --metrics none", "on one address, without metrics" },
		{ 0 },
	},
	.run = run,
};
