/* The sender: one thread that keeps a session with the archive and moves parcels from the spool to it: connects (again after a
 * loss, with growing pauses and jitter), asks where each stream stands, sends from there with at most window_bytes under way,
 * takes acknowledgements, reports how streams do.
 *
 * What ends it for good: refusals that only an operator can lift (not enrolled, revoked, quarantined, wrong archive, version)
 * and a folder that was copied (spool_resume). All else is tried again.
 */
#ifndef INGEST_SENDER_H
#define INGEST_SENDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "ingest/identity.h"
#include "ingest/spool.h"

struct sender;

struct sender_options {
	const struct identity *identity; /* borrowed, as the spool */
	struct spool *spool;
	uint64_t      window_bytes;      /* 0: SENDER_WINDOW_BYTES */
	/* How a stream samples at this time, for reports; NULL: 1. */
	uint32_t    (*sampled)(void *arg, unsigned stream);
	void         *arg;
};

enum sender_phase { SENDER_WAITING, SENDER_CONNECTING, SENDER_CONNECTED, SENDER_HELD, SENDER_OVER };

struct sender_status {
	enum sender_phase phase;
	uint64_t connected_ns;         /* CLOCK_REALTIME of the last WELCOME; 0: never */
	uint64_t acked_ns;             /* of the last acknowledgement */
	uint64_t sent_bytes, sent_parcels, sessions;
	int64_t  clock_offset_ns;      /* the archive's clock less ours, at the last WELCOME */
	enum err error;                /* of SENDER_OVER: why; else of the last lost connection */
	char     sentence[ERR_TEXT_BYTES];
};

enum err sender_start(struct sender **out, const struct sender_options *o);
/* There is something new in the spool. Any thread. */
void     sender_wake(struct sender *s);
void     sender_status(struct sender *s, struct sender_status *out);
/* Says BYE when connected, ends the thread, sets *s to NULL. */
void     sender_stop(struct sender **s);
const char *sender_phase_name(enum sender_phase phase);

#endif
