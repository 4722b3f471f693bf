/* The inside of a session, for its own files (session.c, session_handshake.c) and nobody else. */
#ifndef INGEST_SESSION_PARTS_H
#define INGEST_SESSION_PARTS_H

#include "ingest/session.h"

#define SESSION_LENGTH_BYTES 2u /* le16 before each Noise message */

enum session_state {
	STATE_PREAMBLE, /* waits for the peer's preamble */
	STATE_FIRST,    /* archive: waits for Noise message 1 */
	STATE_WAIT_ES,  /* archive: waits for the first shared secret */
	STATE_WAIT_SS,  /* archive: waits for the second */
	STATE_SECOND,   /* collector: waits for Noise message 2 */
	STATE_GREETING, /* keys are there; no HELLO or ENROL yet */
	STATE_ASKED,    /* HELLO or ENROL was said, the answer is due */
	STATE_OPEN,     /* WELCOME was said */
	STATE_ENDING,   /* nothing more is taken; what waits is sent */
};

/* Bytes [at, end) of room. */
struct session_buffer {
	uint8_t *p;
	size_t   room, at, end;
};

struct session {
	bool               archive;  /* which side this is */
	enum session_state state;
	enum err           over;     /* not OK: it ended with that */
	bool               closed;   /* the peer closed the connection */
	bool               enrols;   /* ENROL, not HELLO, was said */
	bool               bye;      /* BYE was said */
	bool               proven;   /* archive: the peer holds the key that it claims */
	bool               answered; /* session_dh_done() was called */

	session_admit *admit;
	void          *admit_arg;

	struct noise        noise;
	struct noise_cipher send, receive;
	uint8_t             secret[NOISE_KEY_BYTES];   /* collector */
	uint8_t             identity[NOISE_KEY_BYTES]; /* the archive's public key */
	uint8_t             shared[NOISE_KEY_BYTES];
	uint8_t             first[NOISE_FIRST_BYTES];

	struct session_buffer input;       /* as received */
	struct session_buffer body;        /* decrypted */
	struct session_buffer output;      /* to be sent */
	const uint8_t        *parcel;      /* the caller's; what of it is not in output yet */
	size_t                parcel_left;

	uint64_t sent_bytes, received_frames;           /* under the current keys */
	uint64_t rekeyed_ns;                            /* the sending key */
	uint64_t frame_ns;                              /* when the frame that input begins with began to come */
	uint64_t begun_ns, heard_ns, said_ns, taken_ns; /* taken: when the peer last took output, or that began to wait */
};

/* n bytes of input, or NULL when they are not there yet. */
const uint8_t *session_take(struct session *s, size_t n);
/* The next Noise message, of least to most bytes: *n and *p; OK with *p NULL: not there yet. ERR_FORMAT: another length. */
enum err       session_take_noise(struct session *s, size_t least, size_t most, const uint8_t **p, size_t *n);
/* Room for n bytes at the end of output, which has it; session_output_done() when they are there. */
uint8_t       *session_output_room(struct session *s, size_t n);
void           session_output_done(struct session *s, size_t n, uint64_t now_ns);

/* A step of the handshake. OK: an event; END: more bytes or a shared secret are needed, or the keys are there. */
enum err       session_shake(struct session *s, uint64_t now_ns, struct session_event *event);

#endif
