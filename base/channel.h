/* Messages over a stream socket between two processes, neither of which trusts the other: le32 length, u8 kind, bytes. Never
 * blocks; what the socket does not take waits here, up to a bound.
 *
 *     poll for reading, and for writing when channel_waiting() is not 0
 *     while ((e = channel_receive(c, &m)) == OK) ...      END: nothing more now
 *     channel_send(c, kind, parts, count)
 *     channel_flush(c)
 */
#ifndef BASE_CHANNEL_H
#define BASE_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define CHANNEL_HEAD_BYTES 5u
#define CHANNEL_PARTS_MAX  8u

struct channel_part { const void *bytes; size_t n; };

struct channel_message {
	uint8_t        kind;
	const uint8_t *bytes; /* n of them, valid until the next channel_receive() */
	size_t         n;
};

struct channel_buffer { uint8_t *bytes; size_t room, begin, end; };

struct channel {
	int    fd;             /* owned; -1: closed */
	size_t message_bytes;  /* most of one message, without head */
	size_t waiting_bytes;  /* most that waits to be sent */
	struct channel_buffer in, out;
};

/* Takes fd and makes it non-blocking. */
void     channel_init(struct channel *c, int fd, size_t message_bytes, size_t waiting_bytes);
void     channel_fini(struct channel *c);
bool     channel_is_open(const struct channel *c);
/* END: no whole message now. ERR_IO: the other side is gone; ERR_LIMIT: it sent a longer message than may be; ERR_NOMEM. After
 * an error the channel is closed. */
enum err channel_receive(struct channel *c, struct channel_message *m);
/* Sends the parts as one message, all of it or what the socket takes, and keeps the rest. ERR_FULL: more than waiting_bytes
 * would wait: nothing was sent. ERR_IO: the other side is gone; ERR_NOMEM: then the channel is closed. */
enum err channel_send(struct channel *c, uint8_t kind, const struct channel_part *parts, size_t count);
enum err channel_flush(struct channel *c);
size_t   channel_waiting(const struct channel *c);
/* Whether a message of n bytes would be taken now. */
bool     channel_has_room(const struct channel *c, size_t n);

#endif
