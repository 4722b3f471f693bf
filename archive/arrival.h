/* What the ingest process and the store process say to each other over their link (base/channel.h). Each message is one table
 * here, from which come its struct, its encoder and its decoder.
 *
 * Neither trusts the other. An ingest process that somebody took over can have keys of blocks opened, can withhold parcels, and
 * can hand over index terms that are not the block's: the store looks at the signature and at the hash of the block, but does
 * not decode it, so that only fsck notices. It can not make up a parcel or exchange its block, nor open, change or remove what
 * is stored. A decoder refuses every message that is not exactly as in the table.
 *
 * Requests are answered in any order; the asker numbers them. Sessions are numbered by the ingest process, no number twice
 * while a link lasts. When a link ends all of its sessions, requests and unacknowledged arrivals are over.
 */
#ifndef ARCHIVE_ARRIVAL_H
#define ARCHIVE_ARRIVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/block.h"
#include "archive/parcel.h"
#include "base/channel.h"
#include "base/err.h"
#include "base/limits.h"

#define ARRIVAL_TEXT_BYTES    256u /* a sentence, with the NUL */
#define ARRIVAL_NAME_BYTES    64u  /* a monitor's name, or an address, with the NUL */
#define ARRIVAL_MONITORS_MAX  4096u
#define ARRIVAL_MONITOR_BYTES 136u /* one entry of MONITORS, see ARRIVAL_MONITOR */
#define ARRIVAL_MESSAGE_BYTES (PARCEL_BYTES_MAX + ARRIVAL_TERMS_BYTES + 1024u)
#define ARRIVAL_ADDRESSES_MAX (2u * BLOCK_RECORDS_MAX)
#define ARRIVAL_PORTS_MAX     65536u
#define ARRIVAL_TERMS_BYTES   (ARRIVAL_ADDRESSES_MAX * 20u + ARRIVAL_PORTS_MAX * 2u + 256u)

/* F(kind, size, name, meaning). Kinds: u8, le32, le64; bytes, size of them; text, at most size - 1 bytes without NUL; view, at
 * most size bytes, in the struct a pointer into the message and NAME_count. */
#define ARRIVAL_DH(F)                                                                                      \
	F(le64, 8, request, "number of the request")                                                       \
	F(bytes, 32, peer, "public key")
#define ARRIVAL_OPEN_KEY(F)                                                                                \
	F(le64, 8, request, "number of the request")                                                       \
	F(le32, 4, monitor, "that sent it")                                                                \
	F(bytes, 80, sealed_key, "of the parcel")
#define ARRIVAL_ENROL(F)                                                                                   \
	F(le64, 8, request, "number of the request")                                                       \
	F(bytes, 16, code, "of the ticket")                                                                \
	F(bytes, 32, noise_key, "that the peer proved to have")                                            \
	F(bytes, 32, sign_key, "Ed25519 public key")                                                       \
	F(text, ARRIVAL_TEXT_BYTES, software, "name and version of the collector")                         \
	F(text, ARRIVAL_NAME_BYTES, address, "where it comes from")
#define ARRIVAL_SESSION(F)                                                                                 \
	F(le64, 8, session, "number of the session")                                                       \
	F(le32, 4, monitor, "whose it is")                                                                 \
	F(u8, 1, begins, "1: it begins; 0: it ended")                                                      \
	F(le64, 8, clock_ns, "the monitor's clock when it began")                                          \
	F(text, ARRIVAL_TEXT_BYTES, software, "name and version of the collector")                         \
	F(text, ARRIVAL_NAME_BYTES, address, "where it comes from")                                        \
	F(text, ARRIVAL_TEXT_BYTES, reason, "why it ended")
#define ARRIVAL_ASK_MARK(F)                                                                                \
	F(le64, 8, session, "to which the answer goes")                                                    \
	F(le32, 4, monitor, "whose it is")                                                                 \
	F(text, STREAM_NAME_BYTES, stream, "the monitor's name for it")
#define ARRIVAL_PARCEL(F)                                                                                  \
	F(le64, 8, session, "to which the answer goes")                                                    \
	F(le32, 4, monitor, "whose it is")                                                                 \
	F(le64, 8, wire_bytes, "sum over the records")                                                     \
	F(le32, 4, sampled, "as in the block's header")                                                    \
	F(u8, 1, sampler, "as in the block's header")                                                      \
	F(u8, 1, opaque, "1: some records may hold addresses that are not listed")                         \
	F(view, PARCEL_FRONT_BYTES_MAX, front, "of the parcel")                                            \
	F(view, PARCEL_BYTES_MAX, block, "none for a loss")                                                \
	F(view, ARRIVAL_ADDRESSES_MAX * 4, ip4, "distinct addresses, le32 each, ascending")                \
	F(view, ARRIVAL_ADDRESSES_MAX * 16, ip6, "16 bytes each, ascending")                               \
	F(view, ARRIVAL_PORTS_MAX * 2, ports, "le16 each, ascending")                                      \
	F(view, 256, protos, "one byte each, ascending")
#define ARRIVAL_REPORT(F)                                                                                  \
	F(le32, 4, monitor, "whose it is")                                                                 \
	F(text, STREAM_NAME_BYTES, stream, "the monitor's name for it")                                    \
	F(le64, 8, clock_ns, "the monitor's clock")                                                        \
	F(le64, 8, spool_bytes, "waiting at the monitor")                                                  \
	F(le64, 8, spool_parcels, "waiting at the monitor")                                                \
	F(le64, 8, packets, "seen since the epoch began")                                                  \
	F(le64, 8, lost_kernel, "since the epoch began, as in a parcel")                                   \
	F(le64, 8, lost_interface, "")                                                                     \
	F(le64, 8, lost_spool, "")                                                                         \
	F(le64, 8, lost_policy, "")                                                                        \
	F(le32, 4, sampled, "one in so many packets is kept")
#define ARRIVAL_OFFENCE(F)                                                                                 \
	F(le32, 4, monitor, "that sent something which no collector of ours would")                        \
	F(text, ARRIVAL_TEXT_BYTES, sentence, "what")
#define ARRIVAL_NUMBERS(F)                                                                                 \
	F(le64, 8, handshakes, "since the ingest process started: good ones")                              \
	F(le64, 8, handshakes_failed, "connections that ended before a key was proved, and keys that were refused") \
	F(le64, 8, connections_refused, "at a limit")

#define ARRIVAL_IDENTITY(F)                                                                                \
	F(bytes, 16, archive, "archive id")                                                                \
	F(bytes, 32, noise_public, "the archive's identity key")                                           \
	F(bytes, 32, ingest_public, "the key that block keys are sealed for")
#define ARRIVAL_MONITORS(F)                                                                                \
	F(view, ARRIVAL_MONITORS_MAX * ARRIVAL_MONITOR_BYTES, entries, "all of them, see ARRIVAL_MONITOR")
#define ARRIVAL_SHARED(F)                                                                                  \
	F(le64, 8, request, "number of the request")                                                       \
	F(u8, 1, good, "0: the peer's key is no good one")                                                 \
	F(bytes, 32, secret, "X25519 of identity key and peer")
#define ARRIVAL_KEY(F)                                                                                     \
	F(le64, 8, request, "number of the request")                                                       \
	F(u8, 1, good, "0: sealed for another")                                                            \
	F(bytes, 32, key, "of the block")
#define ARRIVAL_ENROLLED(F)                                                                                \
	F(le64, 8, request, "number of the request")                                                       \
	F(u8, 1, good, "0: refused")                                                                       \
	F(text, ARRIVAL_NAME_BYTES, name, "of the monitor")                                                \
	F(text, ARRIVAL_TEXT_BYTES, sentence, "why it was refused")
#define ARRIVAL_MARK(F)                                                                                    \
	F(le64, 8, session, "number of the session")                                                       \
	F(text, STREAM_NAME_BYTES, stream, "the monitor's name for it")                                    \
	F(le64, 8, epoch, "of the last parcel that is there; 0: none")                                     \
	F(le64, 8, sequence, "of it")                                                                      \
	F(bytes, 32, chain, "its hash")
#define ARRIVAL_ACK(F)                                                                                     \
	F(le64, 8, session, "number of the session")                                                       \
	F(text, STREAM_NAME_BYTES, stream, "the monitor's name for it")                                    \
	F(le64, 8, epoch, "")                                                                              \
	F(le64, 8, sequence, "all parcels up to this one are durable")
#define ARRIVAL_REFUSED(F)                                                                                 \
	F(le64, 8, session, "number of the session")                                                       \
	F(u8, 1, why, "enum arrival_refusal")                                                              \
	F(text, STREAM_NAME_BYTES, stream, "the monitor's name for it")                                    \
	F(le64, 8, epoch, "of the parcel")                                                                 \
	F(le64, 8, sequence, "of the parcel")                                                              \
	F(text, ARRIVAL_TEXT_BYTES, sentence, "for the operator")
#define ARRIVAL_HOLD(F)                                                                                    \
	F(u8, 1, full, "1: nothing lands until it is 0 again")                                             \
	F(text, ARRIVAL_TEXT_BYTES, sentence, "why")

/* M(TABLE, noun, kind, to, meaning) */
#define ARRIVAL_MESSAGES(M)                                                                                \
	M(DH, dh, 1, STORE, "an X25519 with the identity key: SHARED")                                     \
	M(OPEN_KEY, open_key, 2, STORE, "the key of a block: KEY")                                         \
	M(ENROL, enrol, 3, STORE, "use a ticket up: ENROLLED")                                             \
	M(SESSION, session, 4, STORE, "a session began or ended")                                          \
	M(ASK_MARK, ask_mark, 5, STORE, "where a stream stands: MARK")                                     \
	M(PARCEL, parcel, 6, STORE, "an examined parcel: ACK or REFUSED")                                  \
	M(REPORT, report, 7, STORE, "what a monitor says of one of its streams")                           \
	M(OFFENCE, offence, 8, STORE, "three within an hour: quarantine")                                  \
	M(NUMBERS, numbers, 9, STORE, "about once a second, when they changed")                            \
	M(IDENTITY, identity, 65, INGEST, "the first on a link")                                           \
	M(MONITORS, monitors, 66, INGEST, "after IDENTITY and on each change: who is enrolled, revoked, quarantined") \
	M(SHARED, shared, 67, INGEST, "answer to DH")                                                      \
	M(KEY, key, 68, INGEST, "answer to OPEN_KEY")                                                      \
	M(ENROLLED, enrolled, 69, INGEST, "answer to ENROL; MONITORS with it came before")                 \
	M(MARK, mark, 70, INGEST, "answer to ASK_MARK")                                                    \
	M(ACK, ack, 71, INGEST, "parcels are durable")                                                     \
	M(REFUSED, refused, 72, INGEST, "a parcel did not land")                                           \
	M(HOLD, hold, 73, INGEST, "the disk is full, or no more")

/* One entry of MONITORS. */
#define ARRIVAL_MONITOR(F)                                                                                 \
	F(le32, 4, id, "number of the monitor")                                                            \
	F(le32, 4, state, "enum arrival_state")                                                            \
	F(bytes, 32, noise_key, "X25519 public key")                                                       \
	F(bytes, 32, sign_key, "Ed25519 public key")                                                       \
	F(bytes, 64, name, "ends with a NUL")

enum arrival_state { ARRIVAL_STATE_ENROLLED = 0, ARRIVAL_STATE_REVOKED = 1, ARRIVAL_STATE_QUARANTINED = 2 };

enum arrival_refusal {
	ARRIVAL_NOT_NEXT = 1, /* parcels before it are missing, or its epoch is over */
	ARRIVAL_FORK,         /* another parcel has its place: the monitor is quarantined now */
	ARRIVAL_NO_ROOM,      /* quota or disk */
	ARRIVAL_NOT_ALLOWED,  /* not enrolled (any more), or not its parcel */
	ARRIVAL_BROKEN,       /* what was said of it is not so: an ingest process gone wrong, or a bug */
	ARRIVAL_REFUSAL_COUNT_OF
};

#define ARRIVAL_C_u8(size, name)    uint8_t name;
#define ARRIVAL_C_le32(size, name)  uint32_t name;
#define ARRIVAL_C_le64(size, name)  uint64_t name;
#define ARRIVAL_C_bytes(size, name) uint8_t name[size];
#define ARRIVAL_C_text(size, name)  char name[size];
#define ARRIVAL_C_view(size, name)  const uint8_t *name; uint32_t name##_count;
#define F(kind, size, name, meaning) ARRIVAL_C_##kind(size, name)
#define M(TABLE, noun, kind, to, meaning) struct arrival_##noun { ARRIVAL_##TABLE(F) };
ARRIVAL_MESSAGES(M)
struct arrival_monitor { ARRIVAL_MONITOR(F) };
#undef M
#undef F

enum arrival_kind {
#define M(TABLE, noun, kind, to, meaning) ARRIVAL_KIND_##TABLE = kind,
	ARRIVAL_MESSAGES(M)
#undef M
};

enum arrival_to { ARRIVAL_TO_STORE, ARRIVAL_TO_INGEST };

struct arrival_message {
	enum arrival_kind kind;
	union {
#define M(TABLE, noun, number, to, meaning) struct arrival_##noun noun;
		ARRIVAL_MESSAGES(M)
#undef M
	};
};

/* Errors of channel_send(). A text without NUL within its size, or a view longer than it may be, is our bug (assert). */
enum err arrival_send(struct channel *c, const struct arrival_message *m);
/* What came over the channel to this side; views are valid as long as the channel's message. ERR_FORMAT; m is then unchanged. */
enum err arrival_decode(const struct channel_message *in, enum arrival_to side, struct arrival_message *m);
/* The i-th entry; false: there is none, or it is none (a name without NUL or empty, an unknown state). */
bool     arrival_monitor_at(const struct arrival_monitors *m, uint32_t i, struct arrival_monitor *out);
void     arrival_monitor_put(const struct arrival_monitor *monitor, uint8_t out[ARRIVAL_MONITOR_BYTES]);
const char *arrival_kind_name(unsigned kind);

/* Memory for the terms of one block, reused: what is in a message is not aligned. */
struct arrival_terms {
	uint32_t *ip4;
	uint8_t (*ip6)[16];
	uint16_t *ports;
	uint8_t  *protos;
};
enum err arrival_terms_init(struct arrival_terms *t); /* ERR_NOMEM */
void     arrival_terms_fini(struct arrival_terms *t);
/* What landing wants, of a PARCEL message of kind block, whose front is p (parcel_parse_front()): checked against p and the
 * block's header as far as can be done without decoding. Pointers are into message and t. ERR_FORMAT. */
enum err arrival_block(struct arrival_terms *t, const struct arrival_parcel *m, const struct parcel *p, struct block *out);
/* Fills m of an examined block. */
void     arrival_parcel_of(const struct parcel *p, const struct block *b, struct arrival_parcel *m);

#endif
