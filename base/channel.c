#include "base/channel.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/bytes.h"

#define READ_BYTES   (256u << 10) /* room offered to one read: more than a socket buffer's usual 208 KiB */
#define KEPT_BYTES   (4u << 20)   /* a buffer that grew beyond this is given back once it is empty */

void
channel_init(struct channel *c, int fd, size_t message_bytes, size_t waiting_bytes)
{
	*c = (struct channel){ .fd = fd, .message_bytes = message_bytes, .waiting_bytes = waiting_bytes };
	int flags = fcntl(fd, F_GETFL);
	if (flags >= 0)
		(void)fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

void
channel_fini(struct channel *c)
{
	if (c->fd >= 0)
		close(c->fd);
	free(c->in.bytes);
	free(c->out.bytes);
	*c = (struct channel){ .fd = -1 };
}

bool
channel_is_open(const struct channel *c)
{
	return c->fd >= 0;
}

/* Ends the channel and says why. */
static enum err
broken(struct channel *c, enum err e)
{
	channel_fini(c);
	return e;
}

/* Room for n bytes behind what is there. */
static enum err
buffer_reserve(struct channel_buffer *b, size_t n)
{
	if (b->begin == b->end)
		b->begin = b->end = 0;
	if (n <= b->room - b->end)
		return OK;
	size_t there = b->end - b->begin;
	if (b->begin > 0 && n <= b->room - there && there <= b->room / 2) {
		memmove(b->bytes, b->bytes + b->begin, there);
	} else {
		size_t room = there + n > 2 * b->room ? there + n : 2 * b->room;
		uint8_t *p = malloc(room);
		if (!p)
			return fail(ERR_NOMEM, "no memory for a message of %zu bytes", n);
		if (there)
			memcpy(p, b->bytes + b->begin, there);
		free(b->bytes);
		b->bytes = p;
		b->room = room;
	}
	b->begin = 0;
	b->end = there;
	return OK;
}

static void
buffer_relax(struct channel_buffer *b)
{
	if (b->begin < b->end || b->room <= KEPT_BYTES)
		return;
	free(b->bytes);
	*b = (struct channel_buffer){ 0 };
}

/* OK with a message taken; END when it is not whole yet, then *lacks says how much to make room for. */
static enum err
take(struct channel *c, struct channel_message *m, size_t *lacks)
{
	struct channel_buffer *b = &c->in;
	size_t there = b->end - b->begin;
	*lacks = READ_BYTES;
	if (there < CHANNEL_HEAD_BYTES)
		return END;
	const uint8_t *p = b->bytes + b->begin;
	size_t n = load_le32(p);
	if (n > c->message_bytes)
		return broken(c, fail(ERR_LIMIT, "a message of %zu bytes, at most %zu", n, c->message_bytes));
	if (n > there - CHANNEL_HEAD_BYTES) {
		size_t missing = n - (there - CHANNEL_HEAD_BYTES);
		*lacks = missing > READ_BYTES ? missing : READ_BYTES;
		return END;
	}
	*m = (struct channel_message){ .kind = p[4], .bytes = p + CHANNEL_HEAD_BYTES, .n = n };
	b->begin += CHANNEL_HEAD_BYTES + n;
	return OK;
}

enum err
channel_receive(struct channel *c, struct channel_message *m)
{
	if (c->fd < 0)
		return fail(ERR_IO, "the other process is gone");
	for (;;) {
		size_t lacks;
		enum err e = take(c, m, &lacks);
		if (e != END)
			return e;
		buffer_relax(&c->in);
		e = buffer_reserve(&c->in, lacks);
		if (e != OK)
			return broken(c, e);
		ssize_t n = recv(c->fd, c->in.bytes + c->in.end, c->in.room - c->in.end, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			buffer_relax(&c->in);
			return END;
		}
		if (n <= 0)
			return broken(c, fail(ERR_IO, "the other process is gone"));
		c->in.end += (size_t)n;
	}
}

size_t
channel_waiting(const struct channel *c)
{
	return c->out.end - c->out.begin;
}

bool
channel_has_room(const struct channel *c, size_t n)
{
	return channel_waiting(c) == 0 || (n <= c->waiting_bytes && channel_waiting(c) <= c->waiting_bytes - n);
}

/* What the socket takes of v; ERR_IO. */
static enum err
put(struct channel *c, struct iovec *v, size_t count, size_t *sent)
{
	struct msghdr h = { .msg_iov = v, .msg_iovlen = count };
	ssize_t n;
	do
		n = sendmsg(c->fd, &h, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
		return broken(c, fail(ERR_IO, "the other process is gone"));
	*sent = n < 0 ? 0 : (size_t)n;
	return OK;
}

enum err
channel_flush(struct channel *c)
{
	if (c->fd < 0)
		return fail(ERR_IO, "the other process is gone");
	while (channel_waiting(c)) {
		size_t sent;
		struct iovec v = { c->out.bytes + c->out.begin, channel_waiting(c) };
		TRY(put(c, &v, 1, &sent));
		if (sent == 0)
			return OK;
		c->out.begin += sent;
	}
	buffer_relax(&c->out);
	return OK;
}

enum err
channel_send(struct channel *c, uint8_t kind, const struct channel_part *parts, size_t count)
{
	uint8_t head[CHANNEL_HEAD_BYTES];
	struct iovec v[CHANNEL_PARTS_MAX + 1] = { { head, sizeof head } };
	size_t n = 0, sent = 0;
	assert(count <= CHANNEL_PARTS_MAX);
	if (c->fd < 0)
		return fail(ERR_IO, "the other process is gone");
	for (size_t i = 0; i < count; i++) {
		v[i + 1] = (struct iovec){ (void *)(uintptr_t)parts[i].bytes, parts[i].n };
		n += parts[i].n;
	}
	assert(n <= c->message_bytes);
	store_le32(head, (uint32_t)n);
	head[4] = kind;
	if (!channel_has_room(c, n + sizeof head))
		return fail(ERR_FULL, "more than %zu bytes wait for the other process", c->waiting_bytes);
	if (channel_waiting(c) == 0)
		TRY(put(c, v, count + 1, &sent));
	for (size_t i = 0; i < count + 1; i++) {
		size_t skip = sent < v[i].iov_len ? sent : v[i].iov_len;
		sent -= skip;
		if (skip == v[i].iov_len)
			continue;
		enum err e = buffer_reserve(&c->out, v[i].iov_len - skip);
		if (e != OK)
			return broken(c, e); /* half a message is out */
		memcpy(c->out.bytes + c->out.end, (uint8_t *)v[i].iov_base + skip, v[i].iov_len - skip);
		c->out.end += v[i].iov_len - skip;
	}
	return OK;
}
