/* The gate: the ingest process. It listens to collectors, decrypts their sessions, examines their parcels, and hands
 * them to the store process (archive/arrival.h). It has no disk, no LMDB and no key of the archive.
 *
 * Nobody gets more than a turn: one parcel per session and round, so many bytes per second per monitor (then its connection is
 * just not read), one session per monitor (a newer one takes the place of the older), so many connections per address before
 * it is known whose they are: at this limit the oldest goes, so that a flood pushes itself out and not the honest one behind the
 * same address. What waits here is bounded; when the store is slow, nothing is read.
 */
#ifndef INGEST_GATE_H
#define INGEST_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define GATE_LISTENERS_MAX 8u

/* 0 means no limit, where it is not said otherwise. */
struct gate_limits {
	uint32_t connections;        /* in all, 1..GATE_CONNECTIONS_MAX */
	uint32_t strangers;          /* of one address (IPv6: one /64), that are no monitor's yet */
	uint32_t handshakes;         /* per second, all together: first messages that cost the store something */
	uint64_t monitor_bytes;      /* per second and monitor */
	uint32_t streams;            /* of one session, 1..GATE_STREAMS_MAX */
};
#define GATE_CONNECTIONS_MAX 4096u
#define GATE_STREAMS_MAX     256u
#define GATE_LIMITS_DEFAULT \
	{ .connections = 1024, .strangers = 256, .handshakes = 500, .monitor_bytes = 0, .streams = GATE_STREAMS_MAX }

struct gate_settings {
	struct gate_limits limits;   /* what POST_SETTINGS replaces */
	unsigned listeners;
	int      listener[GATE_LISTENERS_MAX];
	unsigned store;              /* role number of the store process */
	bool     no_sandbox;
};

/* As a process_role's run (base/process.h); arg: struct gate_settings. Returns after POST_STOP. */
enum err gate_run(int post, void *arg);
/* ERR_USAGE: what of it is out of bounds. */
enum err gate_limits_check(const struct gate_limits *l);

#endif
