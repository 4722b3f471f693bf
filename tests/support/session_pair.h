/* A collector's and an archive's session with the wire between them in memory: what one sends the other receives, in pieces,
 * with bits flipped, recorded, cut. The owners behind them do the least that the protocol asks for. */
#ifndef TESTS_SUPPORT_SESSION_PAIR_H
#define TESTS_SUPPORT_SESSION_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ingest/session.h"

enum pair_side { COLLECTOR = 0, ARCHIVE = 1 };

#define PAIR_TAPE_BYTES (1u << 16)
#define NO_BIT          SIZE_MAX

struct pair {
	struct session *s[2];
	enum err        e[2];          /* how each stands: OK, or the error that ended it */
	char            why[2][ERR_TEXT_BYTES];
	uint8_t         monitor_secret[32], monitor_public[32], archive_secret[32], archive_public[32];
	uint64_t        now_ns;

	/* what the owners do */
	bool              enrols;      /* the collector says ENROL, not HELLO */
	bool              silent;      /* the owners answer nothing but SESSION_WANT_DH */
	bool              refuses_dh;  /* the holder of the key gives no shared secret */
	enum wire_refusal admits;      /* what the archive thinks of the monitor's key */

	/* the wire, by sender */
	size_t  piece;                 /* at most so many bytes at once; 0: any */
	size_t  flip[2];               /* bit to flip, counted from the first byte sent */
	size_t  cut[2];                /* the connection is closed after so many bytes; SIZE_MAX: never */
	size_t  sent[2];               /* so far */
	uint8_t tape[2][PAIR_TAPE_BYTES]; /* the first bytes */

	/* what arrived, by receiver */
	unsigned            events[2], messages[2][256], strangers, wants;
	struct wire_message last[2];
	uint64_t            parcel_bytes, parcel_sum;
};

void pair_open(struct pair *p);
/* Moves bytes and takes events until nothing moves. */
void pair_run(struct pair *p);
void pair_close(struct pair *p);

/* Sends a message of one side, which has room, and runs. */
void pair_say(struct pair *p, enum pair_side side, const struct wire_message *m);
/* One frame with these bytes, encrypted as if side had sent it, is received by the other; and run. */
void pair_say_raw(struct pair *p, enum pair_side side, const void *bytes, size_t n);
/* Gives bytes to one side's session as received, and takes the events. n 0: the peer closed. */
void pair_feed(struct pair *p, enum pair_side to, const uint8_t *bytes, size_t n);
/* A sum over bytes that tells their order. */
uint64_t pair_sum(uint64_t sum, const uint8_t *bytes, size_t n);

#endif
