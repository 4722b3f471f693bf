/* A collector at work: interfaces or a trace file -> frames -> encode, seal -> spool -> archive.
 *
 *   live     for each interface a thread that fills frames, one thread that encodes what is full or old
 *   push     `jobs` threads that read (in turn), encode (at once) and append (in turn)
 *   both     a thread that makes the spool durable, the sender (sender.h)
 *
 * Memory: buffers are made at the start; BLOCK_RECORDS_MAX frames and their bytes for each interface and one more, or for each
 * job of a push, and an encoder (12 MiB) for each thread that encodes.
 */
#ifndef INGEST_COLLECTOR_H
#define INGEST_COLLECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "ingest/capture.h"
#include "ingest/identity.h"
#include "ingest/sender.h"
#include "ingest/spool.h"
#include "ingest/trace.h"

struct collector; /* spool, the thread that makes it durable, and the sender */

/* The spool is dir/spool; id and dir are borrowed. ERR_ABSENT: the identity is not enrolled; as spool_open(). */
enum err collector_open(struct collector **out, const char *dir, const struct identity *id, const struct spool_options *o);
/* Makes all durable, waits up to wait_ms for acknowledgements, says BYE; frees everything and sets *c to NULL, also on an error.
 * What is not acknowledged stays in the spool. */
enum err collector_close(struct collector **c, unsigned wait_ms);
struct spool *collector_spool(struct collector *c);
/* OK, or why it can not go on: the spool's or the sender's last word. */
enum err collector_check(struct collector *c);
void     collector_sender_status(struct collector *c, struct sender_status *out);

/* --- how it is doing --- */

struct collector_status {
	bool     running;            /* written within COLLECTOR_STATUS_NS by a process that is there */
	uint64_t pid, written_ns;    /* clock of the machine */
	struct sender_status sender;
	unsigned streams;
	struct {
		struct spool_stream row;
		uint32_t sampled;    /* now; 0: not live */
	} stream[SPOOL_STREAMS_MAX];
};
#define COLLECTOR_STATUS_NS 5000000000u

/* dir/spool/status, which a collector writes each second; not durable. */
enum err collector_status_write(struct collector *c);
/* ERR_ABSENT: there is none; ERR_FORMAT. *out is large: not on a stack. */
enum err collector_status_read(struct collector_status *out, const char *dir);

/* --- live --- */

struct live_options {
	enum sampler_kind sampler;
	uint32_t rate;
	bool     shed;               /* raise the rate under overload */
	bool     headers_only;
	uint8_t  seed[SAMPLER_SEED_BYTES];
};

/* Runs until a signal came (interrupt_seen(): OK, all is in the spool), all interfaces are gone (ERR_IO), or it can not go on.
 * captures: count of them, open, the caller's; each feeds the stream of its name. tick (may be NULL) is called each second. */
enum err collector_live(struct collector *c, struct capture *const *captures, unsigned count, const struct live_options *o,
                        void (*tick)(void *arg), void *arg);

/* --- push --- */

struct push_options {
	const char *stream;
	unsigned jobs;               /* 0: one for each processor, two at most */
	bool     headers_only, again;
	/* Called now and then, by one thread at a time: bytes of the file that were read, and its records that are in the spool. */
	void   (*step)(void *arg, uint64_t done_bytes, uint64_t records);
	void    *arg;
};

struct push_result {
	uint64_t before;             /* records that were pushed earlier */
	uint64_t records, captured_bytes, stored_bytes, parcels; /* now */
	uint64_t skipped_blocks;
	char     format[64];
	bool     known;              /* all of it was pushed earlier, into stream */
	char     stream[SPOOL_NAME_BYTES];
	bool     damaged;            /* not readable to its end; damage says why */
	char     damage[ERR_TEXT_BYTES];
};

/* All of one file into the spool; waits for room. ERR_USAGE: it was begun in another stream; ERR_INTERRUPTED: what was read by
 * then is durable, the same call goes on from there; other errors as of trace and spool. */
enum err collector_push(struct collector *c, const char *path, const struct push_options *o, struct push_result *result);

#endif
