/* What collector and archive say to each other, as bytes: each message is one table here, from which come its struct, its
 * encoder and decoder and the tables of docs/wire.md.
 *
 *   connection = preamble each way, two Noise messages, then frames     (ingest/session.h)
 *   message    = le32 bytes of the body, u8 type, body                  (in the decrypted bytes of the frames)
 *
 * A message begins and ends anywhere in a frame and may span any number of them. Nothing here allocates. One message has one
 * encoding: decoders refuse a body that is too short or too long, a text with control bytes, a code that is not in the table.
 */
#ifndef INGEST_WIRE_H
#define INGEST_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"

#define WIRE_VERSION    1u /* lowest and highest that this program speaks */
#define WIRE_MAGIC      "ATOLLWIR"
#define WIRE_HEAD_BYTES 5u /* le32 body bytes, u8 type */

/* In the clear, from each side, before Noise; both, the collector's first, are Noise's prologue, so who tampers with them
 * makes the handshake fail. The highest version that both speak is spoken. */
#define WIRE_PREAMBLE(F)                                                     \
	F(bytes, 8, magic, "\"ATOLLWIR\"")                                   \
	F(le16, 2, lowest, "version that is spoken")                         \
	F(le16, 2, highest, "version that is spoken")
#define WIRE_PREAMBLE_BYTES 12u

void     wire_preamble(uint8_t out[WIRE_PREAMBLE_BYTES]);
/* The version to speak with whoever sent this. ERR_FORMAT: not a preamble; ERR_UNSUPPORTED: no version in common. */
enum err wire_preamble_read(const uint8_t p[WIRE_PREAMBLE_BYTES], unsigned *version);

/* F(kind, name, meaning). Kinds: u8; le32; le64; id, 16 bytes; key, hash, 32 bytes; name (at most STREAM_NAME_BYTES - 1) and
 * text (at most WIRE_TEXT_BYTES - 1): one length byte, then bytes of UTF-8 without control bytes (0..31, 127); rest: all
 * that is left, a view into the received bytes. Clocks are ns since 1970 UTC. */
#define WIRE_ENROL(F)                                                                                       \
	F(id, secret, "of the enrolment code: single use")                                                  \
	F(key, sign_key, "Ed25519 public key of the monitor, with which it will sign its parcels")          \
	F(text, software, "name and version of the collector, for the operator")

#define WIRE_HELLO(F)                                                                                       \
	F(text, software, "name and version of the collector, for the operator")                            \
	F(le64, clock_ns, "the monitor's clock")                                                            \
	F(le32, streams, "that the monitor is about to feed")

#define WIRE_FEED_ASK(F)                                                                                    \
	F(name, stream, "as in its parcels")

#define WIRE_PARCEL(F)                                                                                      \
	F(rest, bytes, "the parcel")

#define WIRE_REPORT(F)                                                                                      \
	F(name, stream, "as in its parcels")                                                                \
	F(le64, clock_ns, "the monitor's clock")                                                            \
	F(le64, spool_bytes, "in the spool, of this stream")                                                \
	F(le64, spool_parcels, "in the spool, of this stream")                                              \
	F(le64, packets, "seen by the capture since the epoch began, lost ones not counted")                \
	F(le64, lost_kernel, "since the epoch began: dropped by the kernel")                                \
	F(le64, lost_interface, "dropped by the interface or its driver")                                   \
	F(le64, lost_spool, "dropped from the spool, or for want of room in it")                            \
	F(le64, lost_policy, "left out on purpose: sampling, shedding")                                     \
	F(le32, sampled, "one in so many packets is kept at this time, 1..")

#define WIRE_BYE(F)

#define WIRE_ENROLLED(F)                                                                                    \
	F(id, archive, "archive id, which parcels name")                                                    \
	F(key, ingest_key, "X25519 public key for which block keys are sealed")                             \
	F(name, monitor, "the name under which the archive keeps this monitor's streams")

#define WIRE_WELCOME(F)                                                                                     \
	F(id, archive, "archive id")                                                                        \
	F(key, ingest_key, "X25519 public key for which block keys are sealed from now on")                 \
	F(le64, clock_ns, "the archive's clock")                                                            \
	F(name, monitor, "the name of this monitor")

#define WIRE_MARK(F)                                                                                        \
	F(name, stream, "as in FEED_ASK")                                                                   \
	F(le64, epoch, "of the last parcel that is durable; 0: none ever was")                              \
	F(le64, sequence, "of that parcel; the next is this + 1, or 1 of a larger epoch")                   \
	F(hash, chain, "what `previous` of the next parcel has to be")

#define WIRE_ACK(F)                                                                                         \
	F(name, stream, "as in its parcels")                                                                \
	F(le64, epoch, "of the parcel")                                                                     \
	F(le64, sequence, "this parcel and all before it are durable")

#define WIRE_WAIT(F)                                                                                        \
	F(le32, milliseconds, "how long no parcel is welcome; a later WAIT replaces it, GO ends it")        \
	F(text, reason, "for the operator")

#define WIRE_GO(F)

#define WIRE_REFUSED(F)                                                                                     \
	F(u8, code, "why: one of the codes below")                                                          \
	F(name, stream, "of the parcel that is refused; empty: the session is, and ends")                   \
	F(le64, epoch, "of that parcel; 0 when it could not be read")                                       \
	F(le64, sequence, "of that parcel; 0 when it could not be read")                                    \
	F(text, sentence, "for the operator")

#define WIRE_PING(F)

#define WIRE_REKEY(F)

/* M(TABLE, noun, type, from, meaning); from: COLLECTOR, ARCHIVE, BOTH. */
#define WIRE_MESSAGES(M)                                                                                    \
	M(ENROL, enrol, 1, COLLECTOR, "instead of HELLO, from a key that is not enrolled")                  \
	M(HELLO, hello, 2, COLLECTOR, "first message of an enrolled monitor")                               \
	M(FEED_ASK, feed_ask, 3, COLLECTOR, "where does this stream stand? Answered by MARK")               \
	M(PARCEL, parcel, 4, COLLECTOR, "answered by ACK or REFUSED, some time")                            \
	M(REPORT, report, 5, COLLECTOR, "how a stream is doing; every 10 s or so, without answer")          \
	M(BYE, bye, 6, COLLECTOR, "nothing more will come; the archive closes the connection")              \
	M(ENROLLED, enrolled, 65, ARCHIVE, "answer to ENROL; the archive closes the connection")            \
	M(WELCOME, welcome, 66, ARCHIVE, "answer to HELLO")                                                 \
	M(MARK, mark, 67, ARCHIVE, "answer to FEED_ASK")                                                    \
	M(ACK, ack, 68, ARCHIVE, "parcels are durable and can be forgotten")                                \
	M(WAIT, wait, 69, ARCHIVE, "send no parcels for a while")                                           \
	M(GO, go, 70, ARCHIVE, "parcels are welcome again")                                                 \
	M(REFUSED, refused, 71, ARCHIVE, "a parcel or the session is refused")                              \
	M(PING, ping, 129, BOTH, "nothing else was to be said; without answer")                             \
	M(REKEY, rekey, 130, BOTH, "the sender's next frame is under a new key; last in its frame")

/* F(NAME, code, meaning, what a collector does) */
#define WIRE_REFUSALS(F)                                                                                    \
	F(NOT_ENROLLED, 1, "no monitor has this key, or the enrolment code is unknown, used or expired", "ask the operator for a code") \
	F(REVOKED, 2, "the monitor was revoked", "keep the spool, ask the operator")                        \
	F(QUARANTINED, 3, "two parcels claimed one place in a stream: the monitor was copied", "keep the spool, ask the operator") \
	F(WRONG_ARCHIVE, 4, "the parcel names another archive or monitor, or its key does not open", "ask the operator") \
	F(DAMAGED, 5, "the parcel or its block is not well-formed, or the signature is wrong", "ask for the mark; drop it if it is refused again") \
	F(OUT_OF_ORDER, 6, "it is not the next parcel of the stream", "ask for the mark, go on from there") \
	F(TOO_LARGE, 7, "larger than a limit of the archive", "drop it as a loss")                          \
	F(QUOTA, 8, "no room, or too fast", "ask for the mark after a while")                               \
	F(VERSION, 9, "a parcel or block version that the archive does not know", "keep the spool, ask the operator")

#define WIRE_C_u8(name)   uint8_t name;
#define WIRE_C_le32(name) uint32_t name;
#define WIRE_C_le64(name) uint64_t name;
#define WIRE_C_id(name)   uint8_t name[16];
#define WIRE_C_key(name)  uint8_t name[32];
#define WIRE_C_hash(name) uint8_t name[32];
#define WIRE_C_name(name) char name[STREAM_NAME_BYTES];
#define WIRE_C_text(name) char name[WIRE_TEXT_BYTES];
#define WIRE_C_rest(name) const uint8_t *name; uint32_t name##_count;
#define WIRE_MEMBER(kind, name, meaning) WIRE_C_##kind(name)
#define WIRE_STRUCT(TABLE, noun, type, from, meaning) struct wire_##noun { WIRE_##TABLE(WIRE_MEMBER) };
WIRE_MESSAGES(WIRE_STRUCT)
#undef WIRE_STRUCT
#undef WIRE_MEMBER

enum wire_type {
#define M(TABLE, noun, type, from, meaning) WIRE_TYPE_##TABLE = type,
	WIRE_MESSAGES(M)
#undef M
};

enum wire_refusal {
	WIRE_REFUSAL_NONE = 0,
#define F(name, code, meaning, remedy) WIRE_REFUSAL_##name = code,
	WIRE_REFUSALS(F)
#undef F
};

enum wire_from { WIRE_FROM_COLLECTOR = 1, WIRE_FROM_ARCHIVE = 2, WIRE_FROM_BOTH = 3 };

struct wire_message {
	enum wire_type type;
	union {
#define M(TABLE, noun, type, from, meaning) struct wire_##noun noun;
		WIRE_MESSAGES(M)
#undef M
	};
};

/* "PARCEL"; NULL: no such type. */
const char *wire_name(unsigned type);
/* Who may say it; 0: no such type. */
unsigned    wire_from(unsigned type);
/* "out of order"; "unknown" when it is no code. */
const char *wire_refusal_name(unsigned code);

/* Head and body, a `rest` field excepted, which the caller sends behind it. The length in the head counts it. Texts are cut
 * to their bounds, control bytes in them become '?'. w fails sticky. */
void     wire_encode(const struct wire_message *m, struct writer *w);
/* The head. ERR_FORMAT: no such type; ERR_LIMIT: longer than such a message may be. */
enum err wire_read_head(const uint8_t head[WIRE_HEAD_BYTES], unsigned *type, uint32_t *body_bytes);
/* A body of exactly n bytes; a `rest` field is a view into it. ERR_FORMAT; m is then unchanged. */
enum err wire_decode(unsigned type, const uint8_t *body, size_t n, struct wire_message *m);

#endif
