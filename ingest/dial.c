#include "ingest/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/io.h"
#include "base/limits.h"

/* OK, or errno's number in *why. */
static enum err
wait_connected(int fd, int wake_fd, int *why)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLOUT }, { .fd = wake_fd, .events = POLLIN } };
	int n;
	do
		n = poll(p, 2, (int)(SENDER_CONNECT_NS / 1000000));
	while (n < 0 && errno == EINTR);
	*why = n < 0 ? errno : n == 0 ? ETIMEDOUT : 0;
	if (n > 0 && p[1].revents)
		return fail(ERR_INTERRUPTED, "interrupted");
	if (n <= 0)
		return ERR_IO;
	socklen_t bytes = sizeof *why;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, why, &bytes) < 0)
		*why = errno;
	return *why == 0 ? OK : ERR_IO;
}

static enum err
try_address(int *out, const struct addrinfo *a, int wake_fd, int *why)
{
	int on = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	enum err e = OK;
	if (fd < 0) {
		*why = errno;
		return ERR_IO;
	}
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
		*why = errno;
		e = errno == EINPROGRESS ? wait_connected(fd, wake_fd, why) : ERR_IO;
	}
	if (e != OK) {
		io_close(&fd);
		return e;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* only slower without */
	*out = fd;
	return OK;
}

enum err
dial(int *fd, const char *host, uint16_t port, int wake_fd)
{
	char service[8];
	struct addrinfo *list = NULL, hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	snprintf(service, sizeof service, "%u", port);
	int found = getaddrinfo(host, service, &hints, &list);
	if (found == EAI_ADDRFAMILY || found == EAI_NONAME) { /* AI_ADDRCONFIG hides ::1 where only loopback has IPv6 */
		hints.ai_flags = 0;
		found = getaddrinfo(host, service, &hints, &list);
	}
	if (found != 0)
		return fail(ERR_IO, "%s: %s", host, found == EAI_SYSTEM ? strerror(errno) : gai_strerror(found));
	enum err e = ERR_IO;
	int why = 0;
	for (const struct addrinfo *a = list; a && e == ERR_IO; a = a->ai_next)
		e = try_address(fd, a, wake_fd, &why);
	freeaddrinfo(list);
	return e == ERR_IO ? fail(ERR_IO, "%s port %u: %s", host, port, strerror(why)) : e;
}

enum err
dial_flush(struct session *session, int fd, uint64_t now_ns)
{
	const uint8_t *p;
	for (size_t n; (n = session_output(session, now_ns, &p)) > 0;) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return OK;
		if (sent < 0)
			return fail_errno("the connection to the archive broke");
		session_sent(session, (size_t)sent, now_ns);
	}
	return OK;
}

enum err
dial_receive(struct session *session, int fd, uint64_t now_ns)
{
	uint8_t *p;
	size_t room = session_input(session, &p);
	if (room == 0)
		return OK;
	ssize_t got = recv(fd, p, room, 0);
	if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
		return OK;
	if (got < 0)
		return fail_errno("the connection to the archive broke");
	session_received(session, (size_t)got, now_ns);
	return OK;
}
