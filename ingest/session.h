/* One connection between a collector and an archive, as bytes in and bytes out: preamble, Noise handshake, frames, messages,
 * heart beats, new keys. No sockets, no clock (now_ns is CLOCK_MONOTONIC of the caller), no thread; the owner's loop is
 *
 *     poll for reading when session_input() gives room, for writing when session_output() gives bytes, until session_deadline()
 *     n = recv(fd, p, session_input(s, &p));      session_received(s, n, now_ns);
 *     while ((e = session_next(s, now_ns, &event)) == OK) ... act, session_send() ...
 *     n = send(fd, p, session_output(s, now_ns, &p));    session_sent(s, n, now_ns);
 *     e = session_tick(s, now_ns);
 *     anything but OK and END, or session_finished(): session_close()
 *
 * The order of a session:
 *
 *     collector                               archive
 *     open; SESSION_READY                     open; SESSION_WANT_DH twice
 *     session_send(HELLO)           ->        message HELLO  (or SESSION_STRANGER: it was refused)
 *     message WELCOME               <-        session_send(WELCOME): from now on the other messages
 *     or: session_send(ENROL)       ->        message ENROL
 *     message ENROLLED or REFUSED   <-        session_send(ENROLLED or REFUSED): then it is finished
 *
 * Until WELCOME is sent an archive buffers a few KiB for a peer, and a replayed first message gives nothing: the first frame
 * that opens proves that the peer holds its key and is here now. After it, at most one parcel and two frames. A collector
 * holds a few KiB for what an archive says, and borrows the parcel that it sends.
 *
 * Hostile bytes end the session with an error whose sentence says why, never the process. The errors of session_next(),
 * session_received() and session_tick(): ERR_FORMAT, ERR_LIMIT (the peer broke the protocol), ERR_DENIED (not authentic: another
 * key, changed or replayed bytes), ERR_UNSUPPORTED (no common version), ERR_IO (timeout, or the peer closed), ERR_NOMEM.
 * After one of them a session is good for session_close() only; its every call gives that code again.
 */
#ifndef INGEST_SESSION_H
#define INGEST_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "ingest/noise.h"
#include "ingest/wire.h"

struct session; /* sodium_malloc'ed: locked, wiped, a few pages with their guards */

/* Archive: what is this key to us? WIRE_REFUSAL_NONE: an enrolled monitor. Asked once, when HELLO came from that key. */
typedef enum wire_refusal session_admit(void *arg, const uint8_t key[NOISE_KEY_BYTES]);

/* secret: the monitor's X25519 key; archive: the public key of the archive, pinned. ERR_NOMEM. */
enum err session_open_collector(struct session **out, const uint8_t secret[NOISE_KEY_BYTES],
                                const uint8_t archive[NOISE_KEY_BYTES], uint64_t now_ns);
/* public: of the archive's identity key, whose secret is elsewhere. ERR_NOMEM. */
enum err session_open_archive(struct session **out, const uint8_t public[NOISE_KEY_BYTES], session_admit *admit, void *arg,
                              uint64_t now_ns);
void     session_close(struct session **s); /* wipes; sets *s to NULL */

/* --- bytes in --- */

/* Where received bytes go: *p with room for the returned count. 0: events wait to be taken first, or the session is over. */
size_t   session_input(struct session *s, uint8_t **p);
/* n bytes were put there; 0: the peer closed (the events before that can still be taken; then session_next() gives ERR_IO, or
 * END when the session was finished or said BYE). */
void     session_received(struct session *s, size_t n, uint64_t now_ns);

enum session_event_kind {
	SESSION_READY,    /* collector: the handshake is done; say HELLO or ENROL */
	SESSION_WANT_DH,  /* archive: session_dh_done() with the shared secret of the identity key and event.key */
	SESSION_MESSAGE,  /* event.message; never PING or REKEY */
	SESSION_STRANGER, /* archive: HELLO from event.key, which admit() refused: REFUSED goes out, then it is finished */
};

struct session_event {
	enum session_event_kind kind;
	uint8_t                 key[NOISE_KEY_BYTES];
	enum wire_refusal       refusal;  /* of SESSION_STRANGER */
	struct wire_message     message;  /* a parcel's bytes are a view, valid until the next call with this session but
	                                   * session_send(), session_output(), session_sent(), session_room() */
};

/* The next event. END: there is none until more bytes come, or the answer of session_dh_done(). Whoever can not take more for
 * now calls it later and calls session_excuse(). */
enum err session_next(struct session *s, uint64_t now_ns, struct session_event *event);
/* Answer to SESSION_WANT_DH; NULL: whoever has the key refused it (small order, or gone). */
void     session_dh_done(struct session *s, const uint8_t *shared);

/* --- bytes out --- */

/* Whether a message of this type may be sent now. False when it is not its turn (above), while a parcel is still going out,
 * while too much waits to be sent, after BYE, and when the session is over. */
bool     session_room(const struct session *s, enum wire_type type);
/* Frames and encrypts. A parcel's bytes are borrowed until session_parcel_out() is false or the session is closed.
 * ERR_BUSY: session_room() is false, nothing was done. ERR_LIMIT: a parcel of more than PARCEL_BYTES_MAX. ERR_NOMEM. A type that
 * is not this side's is our bug. */
enum err session_send(struct session *s, const struct wire_message *m, uint64_t now_ns);
bool     session_parcel_out(const struct session *s);
/* Bytes to send: *p, the returned count; 0: none. Valid until the next call. */
size_t   session_output(struct session *s, uint64_t now_ns, const uint8_t **p);
void     session_sent(struct session *s, size_t n, uint64_t now_ns); /* n of them were */
/* No more events; finished once what waits is sent. */
void     session_end(struct session *s);
/* It ended in order and all is sent: shut the connection down for writing, read on for a moment (what comes is dropped; closing
 * with bytes unread would make TCP take back what was sent last), close it. */
bool     session_finished(const struct session *s);

/* --- time --- */

/* When to call session_tick() at the latest. */
uint64_t session_deadline(const struct session *s);
/* Says PING when it is time. ERR_IO: the handshake takes too long, or the peer is silent or takes nothing. */
enum err session_tick(struct session *s, uint64_t now_ns);
/* The owner did not read until now: the peer's silence so far is not its fault. */
void     session_excuse(struct session *s, uint64_t now_ns);

/* --- who --- */

/* The peer's static public key. Archive: NULL until the peer proved it (HELLO, ENROL or STRANGER came). */
const uint8_t *session_peer(const struct session *s);

#endif
