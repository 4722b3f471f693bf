/* A conversation: a small state machine that sends one packet (or a few) each time it is its turn and says how long until
 * the next one. */
#ifndef TESTS_GEN_TALK_H
#define TESTS_GEN_TALK_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/gen/frame.h"
#include "tests/gen/hosts.h"
#include "tests/gen/trace_out.h"

struct net {
	struct hosts  hosts;
	struct chance chance;
	struct trace  trace;
};

struct talk {
	uint8_t  kind, step, after; /* after: the step to go on with when an aside is done */
	bool     v6;
	bool     zero_udp, bad_sums;
	uint8_t  tos;
	uint32_t host[2];
	uint16_t port[2];
	uint16_t mss;
	struct path path;
	uint64_t rtt_ns, left, rounds; /* left: bytes of this answer still to send */
	uint32_t flow_label, count, burst, window;
	uint32_t seq[2], ack[2], stamp[2]; /* stamp: the last timestamp each side sent */
	uint32_t again_seq, again_len;     /* a lost segment to send again */
	uint32_t answer_seq;               /* where the answer starts */
	bool     timestamps, upload;
	uint16_t receive[2];
	uint8_t  scale[2];
};

/* A new conversation that starts at now_ns. */
void talk_start(struct talk *t, struct net *n, uint64_t now_ns);
/* One turn. Returns the ns until the next; 0 when it is over. */
uint64_t talk_turn(struct talk *t, struct net *n, uint64_t now_ns);
/* Turns talk i into one of the steady sources (spanning tree, LLDP) of the network; false when there are no more. */
bool     talk_start_steady(struct talk *t, struct net *n, uint32_t i);

/* tests/gen/tcp.c */
void     tcp_start(struct talk *t, struct net *n);
uint64_t tcp_turn(struct talk *t, struct net *n, uint64_t now_ns);

/* What all kinds share: the packet of one side with addresses, TTL and identification filled in. */
void     talk_packet(struct packet *p, struct talk *t, struct net *n, uint8_t side, uint8_t proto);

#endif
