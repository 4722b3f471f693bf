/* For the files that make the gate: gate.c (loop, listening), gate_connection.c (one connection), gate_link.c (the store). */
#ifndef INGEST_GATE_PARTS_H
#define INGEST_GATE_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/arrival.h"
#include "archive/block_read.h"
#include "base/channel.h"
#include "base/log.h"
#include "ingest/gate.h"
#include "ingest/session.h"

#define GATE_PENDING_MAX       16u          /* parcels of a connection that wait for their key or their turn: a commit of the */
#define GATE_PENDING_BYTES     (10u << 20)  /* store, which gives no keys meanwhile, takes as long as examining ten full ones */
#define GATE_PENDING_BYTES_MAX (128u << 20) /* of all connections */
#define GATE_LINK_BYTES        (8u << 20)   /* wait for the store before parcels are held back */
#define GATE_LINK_BYTES_MAX    (64u << 20)  /* ... and the link is given up: the rest is small messages */
#define GATE_TICK_NS           100000000u
#define GATE_CLOSING_NS        2000000000u  /* a last word may take so long to be sent */
#define GATE_DRAIN_NS          4000000000u  /* at the end: for what is in flight to be answered */
#define GATE_BURST_BYTES_MIN   (256u << 10) /* of a monitor's rate */
#define GATE_WAIT_MS           15000u       /* what WAIT says; repeated every GATE_WAIT_AGAIN_NS */
#define GATE_WAIT_AGAIN_NS     10000000000u
#define GATE_EXAMINED_WHOLE    4u           /* first parcels of a session, of which every frame is rebuilt; */
#define GATE_EXAMINED_ONE_IN   32u          /* later one in so many, at random: 100 ns more for each of its packets, where all
                                             * else of the gate is 50 */
#define GATE_SLOT_BITS         12u          /* of a connection's number; GATE_CONNECTIONS_MAX = 1 << GATE_SLOT_BITS */

struct gate_stream {               /* what a session is to be told of one of its streams */
	char     name[STREAM_NAME_BYTES];
	bool     ack_due, mark_due, refusal_due, in_flight;
	uint64_t ack_epoch, ack_sequence, sent_epoch, sent_sequence;
	uint64_t mark_epoch, mark_sequence;
	uint8_t  mark_chain[PARCEL_HASH_BYTES];
	uint8_t  refusal;          /* enum wire_refusal */
	uint64_t refused_epoch, refused_sequence;
	char     sentence[WIRE_TEXT_BYTES];
};

struct gate_parcel {
	uint64_t      request;
	struct parcel parcel;      /* into bytes */
	bool          ready;       /* its key is here, or it needs none */
	uint8_t       key[BLOCK_KEY_BYTES];
	size_t        n;
	uint8_t       bytes[];     /* n */
};

/* How far a connection is. Only a recorded first message can show an enrolled key without having it, and it is through when
 * the handshake's time is. */
enum gate_stage {
	STAGE_EARLY,    /* no first message yet */
	STAGE_LATE,     /* it came: the store has work with it, or its key is not enrolled */
	STAGE_ENROLLED, /* it came with the key of a monitor */
	STAGE_MONITOR,  /* which that is, is proved */
	STAGE_COUNT_OF
};

/* What is counted together: an IPv4 address, or an IPv6 /64. */
struct gate_origin {
	uint8_t  prefix[16];
	uint32_t connections[STAGE_COUNT_OF];
	struct gate_origin *next;
};

struct connection {
	uint64_t number;           /* serial << GATE_SLOT_BITS | slot */
	int      fd;
	struct session *session;
	struct gate_origin *origin;
	enum gate_stage stage;
	char     address[ARRIVAL_NAME_BYTES];
	uint64_t accepted_ns, closing_ns, wait_told_ns, filled_ns;
	int64_t  tokens;           /* bytes that its monitor may send */
	uint16_t requests;
	uint64_t asked;            /* request of DH or ENROL that is open; 0: none */
	bool     dh_due;           /* its handshake waits for its turn: then DH with dh_peer */
	uint8_t  dh_peer[32];
	bool     readable, writable, admitted, proved, told_begin, goodbye;
	struct arrival_monitor monitor; /* id 0 until HELLO */
	uint32_t examined;
	struct gate_parcel *pending[GATE_PENDING_MAX]; /* owned */
	unsigned pending_count;
	uint64_t pending_bytes;
	struct gate_stream *streams;
	uint32_t stream_count, stream_room;
	char     reason[WIRE_TEXT_BYTES]; /* why it ends */
};

struct gate {
	struct gate_limits limits;
	const struct gate_settings *settings;
	int      post, epoll;
	bool     ready_told, stopping, listening, hold;
	char     hold_reason[WIRE_TEXT_BYTES];
	uint64_t now_ns, stop_ns, tick_ns, accept_again_ns;
	double   handshakes;       /* tokens */
	struct channel store;
	bool     link_writable_wanted;
	bool     have_identity, have_monitors;
	struct arrival_identity identity;
	struct arrival_monitor *monitors; /* by noise_key */
	uint32_t monitor_count;
	struct connection *slots[GATE_CONNECTIONS_MAX];
	struct gate_origin *origins; /* of these; owned */
	uint32_t count, serial, turn; /* turn: the slot that is the first in this round */
	uint64_t pending_bytes;
	struct block_examiner *examiner;
	struct arrival_numbers numbers, told_numbers;
	uint64_t numbers_ns;
	struct log_brake refusals, evictions, strangers, ends;
};

#define GATE_TAG_POST  1u
#define GATE_TAG_STORE 2u
#define GATE_TAG_LISTEN 16u /* + index; connections have larger numbers */

/* --- gate_connection.c --- */
void connection_open(struct gate *g, int fd, const uint8_t prefix[16], const char *address);
struct gate_origin *connection_origin(const struct gate *g, const uint8_t prefix[16]); /* NULL: no connection from there */
uint32_t connection_strangers(const struct gate_origin *o); /* those that are no monitor's yet */
/* One fair turn. True: it may have more to do at once. It may be closed after it. */
bool connection_turn(struct gate *g, struct connection *c);
void connection_tick(struct gate *g, struct connection *c);
/* At once; reason (may be NULL: c->reason) goes to the store and the log. */
void connection_close(struct gate *g, struct connection *c, const char *reason);
/* Says why, sends what waits, closes. */
void connection_refuse(struct gate *g, struct connection *c, enum wire_refusal code, const char *sentence);
struct connection  *connection_find(struct gate *g, uint64_t number);
/* Whether all that it sent is answered; the answers may still wait in the session. */
bool connection_answered(const struct connection *c);
struct gate_stream *connection_stream(struct connection *c, const char *name); /* NULL: not there */

/* --- gate_parcel.c --- */
/* Takes the parcel in: copies it, asks for its key. False: the connection ends. */
bool gate_parcel_take(struct gate *g, struct connection *c, const uint8_t *bytes, size_t n);
/* Examines and hands over the first one, if it is ready and the store takes it. True: it did. */
bool gate_parcel_pass(struct gate *g, struct connection *c);
/* A stream of which the collector wants to know where it stands. False: the connection ends. */
bool gate_stream_ask(struct gate *g, struct connection *c, const char *name);
void gate_parcels_drop(struct gate *g, struct connection *c);

/* --- gate_link.c --- */
void gate_link_open(struct gate *g, int fd);
void gate_link_lost(struct gate *g);
/* Messages from the store; and what waits for it. */
void gate_link_serve(struct gate *g);
/* False: the link is lost. */
bool gate_tell(struct gate *g, const struct arrival_message *m);
const struct arrival_monitor *gate_monitor(const struct gate *g, const uint8_t noise_key[32]);

#endif
