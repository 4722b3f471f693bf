/* The inside of a collector: shared by collector.c, collector_live.c, collector_push.c and collector_status.c. */
#ifndef INGEST_COLLECTOR_PARTS_H
#define INGEST_COLLECTOR_PARTS_H

#include <pthread.h>
#include <stdatomic.h>

#include "archive/block.h"
#include "ingest/collector.h"

struct collector {
	char     dir[PATH_BYTES];
	const struct identity *id;
	struct spool  *spool;
	struct sender *sender;
	_Atomic uint32_t sampled[SPOOL_STREAMS_MAX]; /* rate of the live ones */

	/* the thread that makes the spool durable */
	pthread_t       syncer;
	bool            syncing;
	pthread_mutex_t lock;
	pthread_cond_t  wanted;
	bool            unsynced, stop;
};

/* Something was appended: it becomes durable, and is sent, soon. */
void     collector_appended(struct collector *c);
/* Encodes, seals and appends frames as one parcel; p: made_ns, source, source_records given. ERR_FULL: no room in the spool. */
enum err collector_put(struct collector *c, struct block_encoder *encoder, const struct frames *f, bool headers_only,
                       unsigned stream, struct parcel *p);
/* The second half alone. */
enum err collector_put_block(struct collector *c, const struct block *b, const uint8_t key[BLOCK_KEY_BYTES], unsigned stream,
                             struct parcel *p);

#endif
