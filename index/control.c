#include "index/control.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/human.h"
#include "base/io.h"
#include "base/when.h"
#include "index/monitors.h"

#define ANSWER_LINE_BYTES (ERR_TEXT_BYTES + 64u)
#define ANSWER_BYTES_MAX  (4u << 20) /* of base/vitals.h, with every monitor */

struct client {
	int      fd; /* -1: free */
	bool     denied; /* gets no other answer than that */
	uint64_t since_ns;
	size_t   have;
	char     line[CONTROL_LINE_BYTES];
	uint8_t *out; /* NULL: the request is not whole yet */
	size_t   at, n;
};

struct control {
	struct store        *store;
	struct control_hooks hooks;
	int                  listener, epoll;
	bool                 listening; /* the listener is in epoll: there is room */
	char                 path[PATH_BYTES];
	struct client        clients[CONTROL_CLIENTS_MAX];
	uint64_t again_ns;    /* it listens again then; 0: no pause */
};

static uint64_t
steady_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- the socket --- */

/* The address of dir/control.sock; *folder is open while it is used when the path is longer than an address holds. */
static enum err
socket_address(struct sockaddr_un *a, const char *dir, int *folder)
{
	char path[PATH_BYTES];
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*folder = -1;
	TRY(io_path(path, dir, CONTROL_NAME));
	if (strlen(path) < sizeof a->sun_path) {
		memcpy(a->sun_path, path, strlen(path));
		return OK;
	}
	*folder = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*folder < 0)
		return fail_errno("%s", dir);
	snprintf(a->sun_path, sizeof a->sun_path, "/proc/self/fd/%d/" CONTROL_NAME, *folder);
	return OK;
}

static enum err
listener_open(struct control *c, const char *dir)
{
	struct sockaddr_un a;
	int folder;
	TRY(io_path(c->path, dir, CONTROL_NAME));
	enum err e = io_unlink(c->path); /* the archive's lock is ours: whoever made it is gone */
	if (e != OK && e != ERR_ABSENT)
		return e;
	TRY(socket_address(&a, dir, &folder));
	c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask = umask(0177);
	bool bound = c->listener >= 0 && bind(c->listener, (struct sockaddr *)&a, sizeof a) == 0;
	int reason = errno;
	umask(mask);
	io_close(&folder);
	errno = reason;
	if (!bound || listen(c->listener, 16) < 0)
		return fail_errno("%s", c->path);
	return OK;
}

static void
watch(struct control *c, int operation, int fd, uint32_t events, uint32_t which)
{
	struct epoll_event event = { .events = events, .data.u32 = which };
	int n = epoll_ctl(c->epoll, operation, fd, &event);
	assert(n == 0); /* our own descriptors; a handful of them */
}

#define AGAIN_NS 200000000u /* after running out of descriptors */
#define WHICH_LISTENER CONTROL_CLIENTS_MAX

static void
listening(struct control *c, bool yes)
{
	if (yes != c->listening)
		watch(c, yes ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, c->listener, EPOLLIN, WHICH_LISTENER);
	c->listening = yes;
}

enum err
control_open(struct control **out, struct store *s, const struct control_hooks *hooks)
{
	struct control *c = calloc(1, sizeof *c);
	if (c == NULL)
		return fail(ERR_NOMEM, "no memory for the control socket");
	c->store = s;
	c->hooks = hooks ? *hooks : (struct control_hooks){ 0 };
	c->listener = -1;
	for (uint32_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		c->clients[i].fd = -1;
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	enum err e = c->epoll < 0 ? fail_errno("epoll") : listener_open(c, archive_path(store_archive(s)));
	if (e != OK) {
		io_close(&c->listener);
		io_close(&c->epoll);
		free(c);
		return e;
	}
	listening(c, true);
	*out = c;
	return OK;
}

static void
client_close(struct control *c, struct client *k)
{
	if (k->fd < 0)
		return;
	io_close(&k->fd); /* takes it out of epoll */
	if (k->out)
		sodium_memzero(k->out, k->n); /* a code may have been in it */
	free(k->out);
	k->out = NULL;
	listening(c, true);
}

void
control_close(struct control **control)
{
	struct control *c = *control;
	if (c == NULL)
		return;
	for (uint32_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		client_close(c, &c->clients[i]);
	io_close(&c->listener);
	io_close(&c->epoll);
	(void)unlink(c->path); /* the next server does it otherwise */
	free(c);
	*control = NULL;
}

int
control_fd(const struct control *c)
{
	return c->epoll;
}

/* --- requests --- */

struct request {
	char *word, *name, *number;
};

/* Words apart by single blanks, at most three. */
static bool
request_split(char *line, struct request *r)
{
	char **words[] = { &r->word, &r->name, &r->number };
	*r = (struct request){ .word = NULL };
	for (size_t i = 0; line; i++) {
		char *blank = strchr(line, ' ');
		if (i == 3 || *line == ' ' || *line == 0)
			return false;
		if (blank)
			*blank++ = 0;
		*words[i] = line;
		line = blank;
	}
	return r->word != NULL;
}

static enum err
answer_text(struct client *k, const char *text)
{
	k->n = strlen(text);
	k->out = (uint8_t *)strdup(text);
	k->at = 0;
	return k->out ? OK : fail(ERR_NOMEM, "no memory for an answer");
}

static enum err
do_ticket(struct control *c, struct client *k, const struct request *r)
{
	struct ticket t;
	struct archive_identity identity;
	uint64_t ttl_ns, now_ns = when_now();
	char code[TICKET_CODE_CHARS + 1], line[ANSWER_LINE_BYTES];
	TRY(number_parse(&ttl_ns, r->number, "ttl"));
	if (ttl_ns > TICKET_TTL_NS_MAX)
		ttl_ns = TICKET_TTL_NS_MAX + 1; /* refused there */
	TRY(monitors_ticket(c->store, r->name, now_ns, now_ns + ttl_ns, t.secret));
	monitors_identity(archive_keystore(store_archive(c->store)), &identity);
	memcpy(t.archive, identity.noise_public, sizeof t.archive);
	sodium_memzero(&identity, sizeof identity);
	ticket_format(code, &t);
	snprintf(line, sizeof line, "ok %s %" PRIu64 " %u\n", code, now_ns + ttl_ns, c->hooks.port);
	enum err e = answer_text(k, line);
	sodium_memzero(&t, sizeof t);
	sodium_memzero(code, sizeof code);
	sodium_memzero(line, sizeof line);
	return e;
}

static enum err
do_monitors(struct control *c, struct client *k)
{
	struct catalogue *catalogue = archive_catalogue(store_archive(c->store));
	struct vitals v = { 0 };
	uint8_t *bytes = NULL;
	size_t n = 0;
	TRY(catalogue_begin(catalogue));
	enum err e = monitors_vitals(catalogue, &v);
	catalogue_end(catalogue);
	if (e != OK)
		return e;
	if (c->hooks.vitals)
		c->hooks.vitals(c->hooks.arg, &v);
	e = vitals_encode(&v, &bytes, &n);
	vitals_fini(&v);
	if (e != OK)
		return e;
	k->out = malloc(n + 3);
	if (k->out) {
		memcpy(k->out, "ok\n", 3);
		memcpy(k->out + 3, bytes, n);
		k->n = n + 3;
		k->at = 0;
	}
	free(bytes);
	return k->out ? OK : fail(ERR_NOMEM, "no memory for an answer");
}

static enum err
do_revoke(struct control *c, struct client *k, const struct request *r)
{
	struct catalogue *catalogue = archive_catalogue(store_archive(c->store));
	struct monitor_row m = { .id = 0 };
	bool code_only;
	TRY(monitors_revoke(c->store, r->name, &code_only));
	if (code_only)
		return answer_text(k, "ok withdrawn\n");
	TRY(catalogue_begin(catalogue));
	enum err e;
	while ((e = catalogue_next_monitor(catalogue, &m)) == OK && strcmp(m.name, r->name) != 0)
		;
	catalogue_end(catalogue);
	if (e == OK && c->hooks.revoked)
		c->hooks.revoked(c->hooks.arg, m.id);
	return e == OK || e == END ? answer_text(k, "ok revoked\n") : e;
}

static enum err
request_do(struct control *c, struct client *k)
{
	struct request r;
	if (k->denied)
		return fail(ERR_DENIED, "the control socket is for root and the server's own user");
	if (!request_split(k->line, &r))
		return fail(ERR_USAGE, "not a request");
	if (strcmp(r.word, "ticket") == 0 && r.number)
		return do_ticket(c, k, &r);
	if (strcmp(r.word, "revoke") == 0 && r.name && !r.number)
		return do_revoke(c, k, &r);
	if (strcmp(r.word, "monitors") == 0 && !r.name)
		return do_monitors(c, k);
	return fail(ERR_UNSUPPORTED, "the running server does not know this request: is it of another version?");
}

/* The line is whole. A store that stopped is more than the client's matter. */
static enum err
client_answer(struct control *c, struct client *k)
{
	enum err e = request_do(c, k);
	if (e == OK)
		return OK;
	char line[ANSWER_LINE_BYTES];
	snprintf(line, sizeof line, "%s %s\n", err_name(e), err_text());
	if (answer_text(k, line) != OK)
		client_close(c, k);
	return e == ERR_IO ? e : OK;
}

/* --- clients --- */

static void
client_accept(struct control *c)
{
	struct client *k = NULL;
	struct ucred peer;
	socklen_t n = sizeof peer;
	unsigned free_count = 0;
	for (uint32_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (c->clients[i].fd < 0) {
			k = &c->clients[i];
			free_count++;
		}
	if (k == NULL)
		return;
	int fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
		c->again_ns = steady_ns() + AGAIN_NS; /* it stays readable: without a pause the loop would spin */
		listening(c, false);
	}
	if (fd < 0)
		return;
	bool denied = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0 || (peer.uid != 0 && peer.uid != geteuid());
	*k = (struct client){ .fd = fd, .denied = denied, .since_ns = steady_ns() };
	watch(c, EPOLL_CTL_ADD, fd, EPOLLIN, (uint32_t)(k - c->clients));
	listening(c, free_count > 1);
}

static enum err
client_read(struct control *c, struct client *k)
{
	ssize_t n = recv(k->fd, k->line + k->have, sizeof k->line - k->have, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return OK;
	if (n <= 0) {
		client_close(c, k);
		return OK;
	}
	k->have += (size_t)n;
	char *end = memchr(k->line, '\n', k->have);
	if (end == NULL && k->have < sizeof k->line)
		return OK;
	if (end == NULL || end + 1 != k->line + k->have || memchr(k->line, 0, k->have)) {
		client_close(c, k); /* too long, more than one line, or no text */
		return OK;
	}
	*end = 0;
	return client_answer(c, k);
}

static void
client_write(struct control *c, struct client *k)
{
	while (k->at < k->n) {
		ssize_t n = send(k->fd, k->out + k->at, k->n - k->at, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			watch(c, EPOLL_CTL_MOD, k->fd, EPOLLOUT, (uint32_t)(k - c->clients));
			return;
		}
		if (n < 0)
			break;
		k->at += (size_t)n;
	}
	client_close(c, k);
}

enum err
control_serve(struct control *c)
{
	struct epoll_event events[CONTROL_CLIENTS_MAX + 1];
	enum err result = OK;
	int n = epoll_wait(c->epoll, events, CONTROL_CLIENTS_MAX + 1, 0);
	for (int i = 0; i < n; i++) {
		struct client *k = events[i].data.u32 < CONTROL_CLIENTS_MAX ? &c->clients[events[i].data.u32] : NULL;
		if (k == NULL) {
			client_accept(c);
			continue;
		}
		enum err e = k->fd >= 0 && k->out == NULL ? client_read(c, k) : OK;
		if (k->fd >= 0 && k->out)
			client_write(c, k);
		result = e != OK ? e : result;
	}
	for (uint32_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
		if (c->clients[i].fd >= 0 && steady_ns() - c->clients[i].since_ns > CONTROL_NS_MAX)
			client_close(c, &c->clients[i]);
	if (c->again_ns && steady_ns() >= c->again_ns) {
		c->again_ns = 0;
		listening(c, true);
	}
	return result;
}

/* --- the other side --- */

enum err
control_dial(int *out, const char *dir)
{
	struct sockaddr_un a;
	int folder;
	struct timeval limit = { .tv_sec = 2 * CONTROL_NS_MAX / 1000000000u };
	TRY(socket_address(&a, dir, &folder));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool there = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
	int reason = errno;
	io_close(&folder);
	if (!there) {
		io_close(&fd);
		if (reason == ENOENT || reason == ECONNREFUSED || reason == ENOTDIR)
			return END;
		errno = reason;
		return fail_errno("%s/" CONTROL_NAME, dir);
	}
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
	*out = fd;
	return OK;
}

/* All that the server answers, with a NUL behind. */
static enum err
answer_read(int fd, uint8_t **out, size_t *n)
{
	size_t room = 4096, have = 0;
	uint8_t *bytes = malloc(room + 1);
	while (bytes) {
		ssize_t got = recv(fd, bytes + have, room - have, 0);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			free(bytes);
			return errno == EAGAIN ? fail(ERR_BUSY, "the running server does not answer") : fail_errno("control socket");
		}
		if (got == 0) {
			bytes[have] = 0;
			*out = bytes;
			*n = have;
			return OK;
		}
		have += (size_t)got;
		if (have < room)
			continue;
		uint8_t *more = room < ANSWER_BYTES_MAX ? realloc(bytes, 2 * room + 1) : NULL;
		if (more == NULL)
			free(bytes);
		bytes = more;
		room *= 2;
	}
	return fail(ERR_NOMEM, "no memory for the answer of the server");
}

static enum err
error_of(const char *line)
{
	size_t n = strcspn(line, " ");
	for (int e = ERR_IO; e <= ERR_PARTIAL; e++)
		if (strlen(err_name((enum err)e)) == n && memcmp(err_name((enum err)e), line, n) == 0)
			return fail((enum err)e, "%s", line[n] ? line + n + 1 : "refused");
	return fail(ERR_IO, "the running server ended the conversation: is it of another version?");
}

/* What follows "ok" in the answer is at *body. */
static enum err
ask(int *fd, const char *request, uint8_t **bytes, uint8_t **body, size_t *n)
{
	ssize_t sent = send(*fd, request, strlen(request), MSG_NOSIGNAL);
	enum err e = sent == (ssize_t)strlen(request) ? OK : fail_errno("control socket");
	if (e == OK)
		e = answer_read(*fd, bytes, n);
	io_close(fd);
	if (e != OK)
		return e;
	if (*n >= 3 && memcmp(*bytes, "ok", 2) == 0 && ((*bytes)[2] == ' ' || (*bytes)[2] == '\n')) {
		*body = *bytes + 3;
		*n -= 3;
		return OK;
	}
	char *line = (char *)*bytes;
	line[strcspn(line, "\n")] = 0;
	e = error_of(line);
	free(*bytes);
	return e;
}

/* Words apart by blanks, up to the end of the line. */
static unsigned
answer_split(char *line, char **words, unsigned most)
{
	unsigned n = 0;
	line[strcspn(line, "\n")] = 0;
	for (char *rest = NULL, *word = strtok_r(line, " ", &rest); word && n < most; word = strtok_r(NULL, " ", &rest))
		words[n++] = word;
	return n;
}

enum err
control_ask_ticket(int *fd, const char *name, uint64_t ttl_ns, struct ticket *t, uint64_t *expires_ns, unsigned *port)
{
	char request[CONTROL_LINE_BYTES];
	uint8_t *bytes, *body;
	size_t n;
	if (!row_is_monitor_name(name)) { /* nothing that could be more than one word */
		io_close(fd);
		return fail(ERR_USAGE, "a monitor's name has 1 to %u of a-z A-Z 0-9 . _ - and starts with a letter, digit or _",
		            MONITOR_NAME_BYTES - 1);
	}
	snprintf(request, sizeof request, "ticket %s %" PRIu64 "\n", name, ttl_ns);
	TRY(ask(fd, request, &bytes, &body, &n));
	char *words[3];
	uint64_t number = 0;
	enum err e = OK;
	if (answer_split((char *)body, words, 3) != 3)
		e = fail(ERR_IO, "the running server gave no code: is it of another version?");
	if (e == OK)
		e = ticket_parse(t, words[0]);
	if (e == OK)
		e = number_parse(expires_ns, words[1], "expires");
	if (e == OK)
		e = number_parse(&number, words[2], "port");
	if (e == OK)
		*port = number <= UINT16_MAX ? (unsigned)number : 0;
	sodium_memzero(bytes, n);
	free(bytes);
	return e;
}

enum err
control_ask_monitors(int *fd, struct vitals *v)
{
	uint8_t *bytes, *body;
	size_t n;
	TRY(ask(fd, "monitors\n", &bytes, &body, &n));
	enum err e = vitals_decode(v, body, n);
	free(bytes);
	return e;
}

enum err
control_ask_revoke(int *fd, const char *name, bool *code_only)
{
	char request[CONTROL_LINE_BYTES], shown[64];
	uint8_t *bytes, *body;
	size_t n;
	if (!row_is_monitor_name(name)) {
		io_close(fd);
		return fail(ERR_ABSENT, "no monitor \"%s\": atoll monitors lists them", human_text(shown, sizeof shown, name));
	}
	snprintf(request, sizeof request, "revoke %s\n", name);
	TRY(ask(fd, request, &bytes, &body, &n));
	*code_only = strcmp((char *)body, "withdrawn\n") == 0;
	free(bytes);
	return OK;
}
