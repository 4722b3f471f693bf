/* The rows of the catalogue and the lines of the manifest: each is one table here, from which come the struct, the bytes
 * (little-endian, in the order of the table), the text form and the documentation.
 *
 * Text form: "name=value" separated by one blank, in the order of the table. Numbers are decimal, ids and hashes are lower
 * case hex, texts are as they are except for control bytes, blank, '%' and 0x7f, which become %XX; an empty text is "-"
 * and a text "-" is "%2d". Both forms are canonical: one row has one encoding, and decoders refuse any other.
 */
#ifndef INDEX_ROWS_H
#define INDEX_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "archive/segment.h"
#include "base/bytes.h"
#include "base/err.h"
#include "base/limits.h"

#define IMPORT_NAME_BYTES 256u /* with the NUL; a longer file name keeps its end */
#define FINGERPRINT_BYTES 32u
#define FINGERPRINT_HEAD_BYTES 16u /* of the input's beginning alone; what follows is zero until the rest is known */
#define MANIFEST_ID_BYTES 16u
#define MONITOR_NAME_BYTES 64u /* with the NUL: 1..63 of a-z A-Z 0-9 . _ -, not first . or - */
#define MONITORS_MAX      4096u
#define ROW_BYTES_MAX     512u /* any row, encoded */
#define ROW_TEXT_MAX      2048u/* any row, as text, with the NUL: a name may grow threefold */

enum segment_state {
	SEGMENT_LIVE = 0,
	SEGMENT_DELETING = 1, /* removed or replaced: invisible; key and file are being destroyed */
	SEGMENT_LOST = 2,     /* committed and never removed, but its file or key is gone: counted, not readable */
};

/* Why records are missing. */
enum gap_cause {
	GAP_KERNEL = 1,    /* dropped by the monitor's kernel: the capture was too slow */
	GAP_INTERFACE = 2, /* dropped by the interface or its driver */
	GAP_SPOOL = 3,     /* dropped from the monitor's spool, or for want of room in it */
	GAP_POLICY = 4,    /* left out on purpose: sampling, shedding */
	GAP_ARCHIVE = 5,   /* received, but damaged here before they were merged into a segment */
	GAP_CAUSES,
};

enum monitor_state { MONITOR_ENROLLED = 0, MONITOR_REVOKED = 1, MONITOR_QUARANTINED = 2 };

/* kind, name, meaning. Kinds: u8, le32, le64, id (16 bytes), hash (32 bytes), name (STREAM_NAME_BYTES), title
 * (IMPORT_NAME_BYTES; both texts: one length byte, then the bytes). */
#define ROW_STATE(F)                                                                            \
	F(le32, version, "of this table set: CATALOGUE_VERSION")                                \
	F(id, archive, "archive id")                                                            \
	F(id, manifest, "id of the manifest that this index follows")                           \
	F(le64, applied_bytes, "of the manifest; what follows is not in the index yet")         \
	F(le64, sequence, "number of the last manifest line applied")                           \
	F(le64, next_segment, "larger than any segment id committed so far")                    \
	F(le32, next_stream, "larger than any stream number used so far")

#define ROW_STREAM(F)                                                                           \
	F(le32, id, "stream number, 1..")                                                       \
	F(le64, created_ns, "since 1970 UTC")                                                   \
	F(name, name, "as given with --stream")

#define ROW_SEGMENT(F)                                                                          \
	F(le64, id, "segment id, 1..")                                                          \
	F(le32, stream, "stream number")                                                        \
	F(le32, slot, "keystore slot of its key")                                               \
	F(u8, state, "enum segment_state")                                                      \
	F(le32, blocks, "1..SEGMENT_BLOCKS_MAX")                                                \
	F(le64, records, "all blocks")                                                          \
	F(le64, wire_bytes, "sum over the records")                                             \
	F(le64, captured_bytes, "sum over the records")                                         \
	F(le64, first_ns, "earliest record")                                                    \
	F(le64, last_ns, "latest record")                                                       \
	F(le64, file_bytes, "all of the file")                                                  \
	F(le64, footer_bytes, "of these, footer")                                               \
	F(le64, hidden_until_ns, "records before this time were removed: do not show them; 0: none") \
	F(hash, root, "of the segment's hash tree")

#define ROW_IMPORT(F)                                                                           \
	F(hash, fingerprint, "of the imported content; second half zero: of its beginning only")            \
	F(le32, stream, "stream number")                                                        \
	F(le64, begun_ns, "when this run began")                                                \
	F(le64, records, "of the input that are committed: where an interrupted import goes on") \
	F(u8, complete, "1 when the whole input was imported")                                  \
	F(u8, headers_only, "1 when packets were cut after their headers")                      \
	F(le32, runs, "1.. (more than one with --again)")                                       \
	F(title, title, "file name")

#define ROW_REMOVAL(F)                                                                          \
	F(le32, stream, "stream number")                                                        \
	F(le64, until_ns, "records before this time were removed")                              \
	F(le64, removed_ns, "when")                                                             \
	F(le64, segments, "removed whole")                                                      \
	F(le64, records, "in these")

#define ROW_MONITOR(F)                                                                          \
	F(le32, id, "monitor number, 1..MONITORS_MAX")                                          \
	F(u8, state, "enum monitor_state")                                                      \
	F(le64, enrolled_ns, "when, since 1970 UTC")                                            \
	F(le64, changed_ns, "when its state last changed")                                      \
	F(hash, noise_key, "X25519 public key: who it is in a session")                         \
	F(hash, sign_key, "Ed25519 public key: signs its parcels")                              \
	F(hash, ticket, "of the code that enrolled it: it and its ticket are used up")          \
	F(name, name, "1..63 of a-z A-Z 0-9 . _ -; its streams are called NAME/STREAM")         \
	F(title, reason, "of a quarantine, for the operator")

/* Index only: a rebuild loses them. */
#define ROW_TICKET(F)                                                                           \
	F(hash, hash, "BLAKE2b-256 of the code's secret")                                       \
	F(le64, expires_ns, "since 1970 UTC")                                                   \
	F(name, name, "of the monitor that it enrols")

/* A landing file. Index only. */
#define ROW_LANDING(F)                                                                          \
	F(le64, id, "number of the file, of the same numbers as segments")                      \
	F(le32, slot, "keystore slot of its key")                                               \
	F(u8, state, "enum segment_state: 0 there, 2 lost")                                     \
	F(le64, bytes, "of the file: those that are in this index")                             \
	F(le32, waiting, "parcels in it that are not merged yet")

/* A parcel that waits in a landing file. Index only. */
#define ROW_LANDED(F)                                                                           \
	F(le32, stream, "stream number")                                                        \
	F(le64, epoch, "of the parcel")                                                         \
	F(le64, sequence, "of the parcel")                                                      \
	F(le64, landing, "number of the landing file")                                          \
	F(le64, at, "where in it the record starts")                                            \
	F(le32, front_bytes, "of the parcel, all but its block")                                \
	F(le32, block_bytes, "0 for a loss")                                                    \
	F(le32, records, "in the block; as all that follow, 0 for a loss")                      \
	F(le64, first_ns, "earliest record")                                                    \
	F(le64, last_ns, "latest record")                                                       \
	F(le64, wire_bytes, "sum over the records")                                             \
	F(le64, captured_bytes, "sum over the records")                                         \
	F(le32, sampled, "these are one in so many records of the source")                      \
	F(u8, sampler, "how they were chosen")                                                  \
	F(le64, arrived_ns, "when it came")

/* What a stream got from its monitor. The manifest has it as of the last parcel that was merged. */
#define ROW_FEED(F)                                                                             \
	F(le32, stream, "stream number")                                                        \
	F(le32, monitor, "monitor number")                                                      \
	F(le64, epoch, "of the last parcel")                                                    \
	F(le64, sequence, "of the last parcel")                                                 \
	F(hash, chain, "its hash, which the next one names")                                    \
	F(le64, merged_epoch, "of the last parcel that is in a segment")                        \
	F(le64, merged, "its sequence")                                                         \
	F(hash, source, "fingerprint of the file that is pushed; zero: a live capture")         \
	F(le64, source_records, "of this file that came")                                       \
	F(le64, last_ns, "latest record")                                                       \
	F(le64, arrived_ns, "when the last parcel came")                                        \
	F(le64, parcels, "so far")                                                              \
	F(le64, records, "so far")                                                              \
	F(le64, past_kernel, "lost in epochs before this one: dropped by the kernel")           \
	F(le64, past_interface, "dropped by the interface")                                     \
	F(le64, past_spool, "dropped from the spool")                                           \
	F(le64, past_policy, "left out on purpose")                                             \
	F(le64, lost_kernel, "lost in this epoch, as the monitor says: dropped by the kernel")  \
	F(le64, lost_interface, "dropped by the interface")                                     \
	F(le64, lost_spool, "dropped from the spool")                                           \
	F(le64, lost_policy, "left out on purpose")                                             \
	F(le64, ahead_kernel, "of these, not in parcels' counters yet: told by a report")   \
	F(le64, ahead_interface, "not in parcels' counters yet")                                \
	F(le64, ahead_spool, "not in parcels' counters yet: told by a report or a loss parcel") \
	F(le64, ahead_policy, "not in parcels' counters yet")                                   \
	F(le64, lost_archive, "of all epochs: received, but damaged before they were merged")

#define ROW_GAP(F)                                                                              \
	F(le32, stream, "stream number")                                                        \
	F(le64, epoch, "of the parcel that told")                                               \
	F(le64, sequence, "of the parcel that told; of the last of several that follow on each other; told by a report: of the " \
	                  "parcel that comes next") \
	F(u8, cause, "enum gap_cause")                                                          \
	F(le64, first_ns, "they are missing between this time")                                 \
	F(le64, last_ns, "and this")                                                            \
	F(le64, records, "missing")

/* Manifest only: the segment is removed or was replaced; its key and file are to be destroyed. */
#define ROW_DROP(F)                                                                             \
	F(le64, id, "segment id")

#define ROW_TABLES(T)                                                                           \
	T(STATE, state, 'A', "where the index stands; one row")                                 \
	T(STREAM, stream, 'S', "by stream number")                                              \
	T(SEGMENT, segment, 'G', "by segment id")                                               \
	T(IMPORT, import, 'I', "by fingerprint")                                                \
	T(REMOVAL, removal, 'R', "tombstones, by number of the manifest line")                  \
	T(MONITOR, monitor, 'M', "by monitor number")                                           \
	T(TICKET, ticket, 'K', "index only: codes for enrolment, by hash")                      \
	T(LANDING, landing, 'J', "index only: landing files, by number")                        \
	T(LANDED, landed, 'L', "index only: parcels that wait in them, by stream, epoch, sequence") \
	T(FEED, feed, 'E', "by stream")                                                         \
	T(GAP, gap, 'P', "by stream, epoch, sequence, cause")                                   \
	T(DROP, drop, 'D', "manifest only: a segment is removed or replaced")

#define ROW_C_u8(name)    uint8_t name;
#define ROW_C_le32(name)  uint32_t name;
#define ROW_C_le64(name)  uint64_t name;
#define ROW_C_id(name)    uint8_t name[16];
#define ROW_C_hash(name)  uint8_t name[32];
#define ROW_C_name(name)  char name[STREAM_NAME_BYTES];
#define ROW_C_title(name) char name[IMPORT_NAME_BYTES];
#define ROW_MEMBER(kind, name, meaning) ROW_C_##kind(name)
#define ROW_STRUCT(TABLE, noun, tag, meaning) struct noun##_row { ROW_##TABLE(ROW_MEMBER) };
ROW_TABLES(ROW_STRUCT)
#undef ROW_STRUCT
#undef ROW_MEMBER

#define ROW_KIND(TABLE, noun, tag, meaning) ROW_KIND_##TABLE = tag,
enum row_kind { ROW_TABLES(ROW_KIND) };
#undef ROW_KIND

union row {
#define ROW_UNION(TABLE, noun, tag, meaning) struct noun##_row noun;
	ROW_TABLES(ROW_UNION)
#undef ROW_UNION
};

/* row is the struct of that kind (or the union). */
void        row_encode(enum row_kind kind, const void *row, struct writer *w);
/* Whether two rows of that kind say the same. (As structs they may differ in padding and behind the end of a text.) */
bool        row_equal(enum row_kind kind, const void *a, const void *b);
/* ERR_FORMAT: short, long, a text without room or with a NUL, or a value outside its enumeration. row is then unchanged. */
enum err    row_decode(enum row_kind kind, union row *row, const void *bytes, size_t n);
/* Whether a monitor may be called this (MONITOR_NAME_BYTES). */
bool        row_is_monitor_name(const char *name);
/* Whether rows of this kind are lines of the manifest; the others are in the index only. */
bool        row_in_manifest(enum row_kind kind);
/* The name of the kind ("segment"). */
const char *row_word(enum row_kind kind);
/* "kernel", "interface", "spool", "policy", "archive". */
const char *gap_cause_name(enum gap_cause cause);
/* By name; false when there is none. */
bool        row_kind_of(enum row_kind *kind, const char *word, size_t n);
/* Text without the word; returns its length, less than ROW_TEXT_MAX. */
size_t      row_print(enum row_kind kind, const void *row, char text[ROW_TEXT_MAX]);
/* ERR_FORMAT: not the canonical text of such a row. row is then unchanged. */
enum err    row_parse(enum row_kind kind, union row *row, const char *text, size_t n);

/* For the documentation: calls see() for each table and field, table by table. */
typedef void row_see(void *arg, const char *table, char tag, const char *kind, const char *name, const char *meaning);
void        row_walk(row_see *see, void *arg);

#endif
