/* What an archive makes of the parcels of a spool, with its rules: next in the chain or known before. */
#ifndef TESTS_SUPPORT_SPOOL_MODEL_H
#define TESTS_SUPPORT_SPOOL_MODEL_H

#include "ingest/spool.h"

#define MODEL_STREAMS   4u
#define MODEL_SEQUENCES 2048u

struct model_stream {
	char     name[SPOOL_NAME_BYTES];
	uint64_t epoch, sequence;
	uint8_t  chain[PARCEL_HASH_BYTES];
	uint64_t records, lost_records, losses, repeated;
	uint64_t lost[SPOOL_CAUSES];         /* of the last parcel */
	uint64_t source_records;
	uint64_t lost_from, lost_to;         /* of the last loss */
	uint8_t  kind[MODEL_SEQUENCES];      /* enum parcel_kind by sequence; 0: never came. What a loss covers is one */
	uint8_t  self[MODEL_SEQUENCES][PARCEL_HASH_BYTES];
};

/* Plain data: it can be written to a file and read back. */
struct model {
	struct model_stream streams[MODEL_STREAMS];
	unsigned count;
	char     wrong[256];                 /* the first rule that was broken; "" while none was */
};

struct model_stream *model_stream(struct model *m, const char *name);
/* One parcel. */
void model_take(struct model *m, const uint8_t *bytes, uint32_t n);
/* A session: resumes, reads all that is there, takes it, and acknowledges it when `acknowledge`. At most `most` parcels. Returns
 * how many came; errors of the spool abort the test, unless final (may be NULL) takes them. taken (may be NULL) is called after
 * each parcel, before its acknowledgement. */
unsigned model_session(struct model *m, struct spool *s, unsigned most, bool acknowledge, enum err *final,
                       void (*taken)(void *arg), void *arg);

/* An enrolled identity that is always the same. Aborts on errors, as all below. */
struct identity *model_identity(void);
/* A block of so many bytes with so many records; its bytes follow from seed. */
enum err model_append(struct spool *s, unsigned stream, uint32_t block_bytes, uint64_t records, uint64_t seed);

#endif
