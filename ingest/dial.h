/* A TCP connection to a name or address, given up when it takes too long or when somebody wakes us. */
#ifndef INGEST_DIAL_H
#define INGEST_DIAL_H

#include <stdint.h>

#include "base/err.h"
#include "ingest/session.h"

/* Tries the addresses of host in turn, each for SENDER_CONNECT_NS at most. *fd: non-blocking, no delay, close-on-exec. wake_fd
 * (-1: none): readable means give up (ERR_INTERRUPTED). ERR_IO: not found or not reached; the sentence says which. */
enum err dial(int *fd, const char *host, uint16_t port, int wake_fd);
/* Received bytes into the session, the session's bytes out, as far as the kernel takes them. ERR_IO: the connection broke. */
enum err dial_receive(struct session *session, int fd, uint64_t now_ns);
enum err dial_flush(struct session *session, int fd, uint64_t now_ns);

#endif
