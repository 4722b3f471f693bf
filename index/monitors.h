/* Monitors: the collectors that may send. A monitor is known by two public keys (Noise's X25519, and Ed25519, which signs its
 * parcels) and a name; the streams that it feeds are called NAME/STREAM, so none can write into another's.
 *
 * A monitor enrols with a ticket: a random code, single use, of which the archive keeps a hash until it expires. All of this
 * is durable when a call returns. Times are ns since 1970 UTC.
 */
#ifndef INDEX_MONITORS_H
#define INDEX_MONITORS_H

#include "archive/ticket.h"
#include "base/vitals.h"
#include "index/store.h"

#define TICKET_TTL_NS_MAX (30ull * 86400u * 1000000000u) /* of a code: 30 days */

/* Key pairs of the archive, derived from the owner key. */
struct archive_identity {
	uint8_t noise_public[32], noise_secret[32];   /* who the archive is: Noise static key, pinned by collectors */
	uint8_t ingest_public[32], ingest_secret[32]; /* what block keys are sealed for */
};
/* Into memory that is the caller's to wipe. */
void     monitors_identity(struct keystore *k, struct archive_identity *out);

/* A code for a monitor of this name, good from now_ns until expires_ns; a code given before for this name is void from then on,
 * and expired ones are forgotten. ERR_USAGE: not a name, or not 1 ns .. TICKET_TTL_NS_MAX from now; ERR_EXISTS: an enrolled
 * monitor has it; ERR_LIMIT: MONITORS_MAX. */
enum err monitors_ticket(struct store *s, const char *name, uint64_t now_ns, uint64_t expires_ns, uint8_t code[TICKET_BYTES]);
/* Uses the code up and enrols the keys. ERR_DENIED: no such code, used, or expired (one sentence for all three); ERR_EXISTS:
 * one of the keys is enrolled already. A revoked or quarantined monitor of that name is enrolled again: same number and
 * streams, new keys, and its parcels start a larger epoch. A monitor that asks again with the code and keys that it was
 * enrolled with (it did not get the answer) is told so again: OK, and nothing changes. */
enum err monitors_enrol(struct store *s, const uint8_t code[TICKET_BYTES], const uint8_t noise_key[32],
                        const uint8_t sign_key[32], uint64_t now_ns, struct monitor_row *out);
/* Its codes are void then, too. *code_only: there was no monitor, only a code for one. ERR_ABSENT: not even that (the sentence
 * names the nearest). Idempotent for a monitor. */
enum err monitors_revoke(struct store *s, const char *name, bool *code_only);
/* A monitor whose chain of parcels forked; reason is one sentence for the operator. */
enum err monitors_quarantine(struct store *s, uint32_t id, const char *reason);

/* The monitor with this Noise key, whatever its state. ERR_ABSENT. In a snapshot of the catalogue (as the next). */
enum err monitors_find(struct catalogue *c, const uint8_t noise_key[32], struct monitor_row *out);
/* Makes v->monitors from the rows: number, name, state, reason, and what the archive has of each: seen_ns (of its last
 * parcel), last_ns, records, parcels, stored_*, landed_blocks, lost_*, gaps. The rest is zero, for who knows the sessions to fill
 * in, as are the server's numbers but stored_*, landed_*, segments and streams. Behind the monitors come the names that have only
 * a code: VITALS_INVITED. One pass over streams, gaps and landed
 * parcels: once a second is fine. ERR_NOMEM. v is the caller's to vitals_fini(). */
enum err monitors_vitals(struct catalogue *c, struct vitals *v);

#endif
