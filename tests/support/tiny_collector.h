/* A collector in the test's own process, one step at a time, so that a test can also do what no collector does. */
#ifndef TESTS_SUPPORT_TINY_COLLECTOR_H
#define TESTS_SUPPORT_TINY_COLLECTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/block.h"
#include "archive/parcel.h"
#include "ingest/session.h"

struct tiny {
	uint8_t  noise_public[32], noise_secret[32], sign_public[32], sign_secret[64];
	uint8_t  archive_key[32];               /* the archive's, pinned */
	uint8_t  archive[16], ingest_key[32];   /* as WELCOME or ENROLLED said */
	char     name[STREAM_NAME_BYTES];
	int      fd;
	struct session *session;
	struct block_encoder *encoder;
	struct frames *frames;
	uint8_t *parcel;                        /* of tiny_make(): parcel_bytes */
	uint32_t parcel_bytes;
	uint8_t  chain[PARCEL_HASH_BYTES];      /* of the last tiny_make() */
};

/* What is to be wrong with a parcel. */
enum tiny_fault { TINY_GOOD, TINY_SIGNATURE, TINY_BLOCK, TINY_OTHER_KEY, TINY_CLAIM, TINY_ARCHIVE, TINY_MONITOR };

void tiny_init(struct tiny *t, unsigned number, const uint8_t archive_key[32]);
void tiny_fini(struct tiny *t);
/* To 127.0.0.1, and through the handshake; false within 5 s. */
bool tiny_connect(struct tiny *t, uint16_t port);
void tiny_hang_up(struct tiny *t);
bool tiny_say(struct tiny *t, const struct wire_message *m);
/* False: refused, or cut. */
bool tiny_enrol(struct tiny *t, uint16_t port, const uint8_t code[16]);
bool tiny_hello(struct tiny *t, uint16_t port);
/* A parcel of some UDP packets with times from first_ns on; previous: NULL is zero. */
void tiny_make(struct tiny *t, const char *stream, uint64_t epoch, uint64_t sequence, const uint8_t *previous, unsigned packets,
               uint64_t first_ns, enum tiny_fault fault);
bool tiny_send(struct tiny *t);
/* The next message of this type within ms; others are passed over. False: none came, or the session ended. */
bool tiny_wait(struct tiny *t, enum wire_type type, struct wire_message *m, unsigned ms);
/* Whether the session ends within ms. */
bool tiny_ended(struct tiny *t, unsigned ms);
/* Sends tiny_make()'s and waits until it is acknowledged. */
bool tiny_deliver(struct tiny *t, uint64_t sequence);
bool tiny_ask(struct tiny *t, const char *stream, struct wire_message *mark);

#endif
