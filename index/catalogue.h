/* The catalogue: what is in the archive, in LMDB (index/kv.h). It answers which streams, segments and imports there are, and
 * which segments a query must open, without opening one. All of it can be made again from manifest, segments and keystore
 * (index/rebuild.h); the manifest says what is committed, the catalogue follows it.
 *
 * One sorted table, so that a small archive is a few pages. Keys start with a letter, numbers in them are big-endian:
 *
 *     A                              state row
 *     S stream(4)                    stream row
 *     G segment(8)                   segment row
 *     T stream(4) first_ns(8) segment(8)   last_ns(8): the segments of a stream by time
 *     I fingerprint(32)              import row
 *     R line(8)                      removal row (tombstone)
 *     M monitor(4)                   monitor row
 *     K hash(32)                     ticket row
 *     J landing(8)                   landing row: a file that monitors' parcels wait in
 *     L stream(4) epoch(8) sequence(8)  landed row: one of these
 *     E stream(4)                    feed row
 *     e stream(4)                    the same as of what is merged: as the manifest has it
 *     P stream(4) epoch(8) sequence(8) cause(1)  gap row
 *     F segment(8)                   segment filter (index/segfilter.h)
 *     Y stream(4)                    what its segments hold together: 9 numbers (index/catalogue_totals.c)
 *     Z stream(4)                    longest time span of a segment of the stream (8): how far before a range to look
 *
 * Rows are those of index/rows.h, in their byte form.
 *
 * Readers work between catalogue_begin() and catalogue_end(), in one snapshot. One thread, one process (kv.h).
 */
#ifndef INDEX_CATALOGUE_H
#define INDEX_CATALOGUE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "index/rows.h"

#define CATALOGUE_VERSION   3u
#define CATALOGUE_KEY_BYTES 32u /* keystore_derive("catalogue"): checks and segment filters */

struct catalogue;

/* Makes a catalogue that has applied nothing yet in an empty folder; durable. */
enum err catalogue_create(const char *folder, const uint8_t key[CATALOGUE_KEY_BYTES], const struct state_row *state);
/* ERR_ABSENT, ERR_FORMAT ("index damaged: run atoll rebuild"), ERR_UNSUPPORTED (version), ERR_BUSY. map_bytes 0: as usual. */
enum err catalogue_open(struct catalogue **out, const char *folder, const uint8_t key[CATALOGUE_KEY_BYTES], bool writable,
                        uint64_t map_bytes);
void     catalogue_close(struct catalogue **c);
bool     catalogue_is_unseen(const char *folder); /* for a reader: kv_is_unseen() */

/* --- reading --- */
enum err catalogue_begin(struct catalogue *c);
void     catalogue_end(struct catalogue *c);
enum err catalogue_state(struct catalogue *c, struct state_row *row);
/* ERR_ABSENT: no such row. */
enum err catalogue_stream(struct catalogue *c, uint32_t id, struct stream_row *row);
enum err catalogue_stream_named(struct catalogue *c, const char *name, struct stream_row *row);
enum err catalogue_segment(struct catalogue *c, uint64_t id, struct segment_row *row);
enum err catalogue_import(struct catalogue *c, const uint8_t fingerprint[FINGERPRINT_BYTES], struct import_row *row);
/* The next row after the one in *row (zeroed: the first), in the order of ids; END. Rows of all states. Import rows go by
 * fingerprint, removal rows by *line. */
enum err catalogue_next_stream(struct catalogue *c, struct stream_row *row);
enum err catalogue_next_segment(struct catalogue *c, struct segment_row *row);
enum err catalogue_next_import(struct catalogue *c, bool first, struct import_row *row);
enum err catalogue_next_removal(struct catalogue *c, uint64_t *line, struct removal_row *row);

enum err catalogue_monitor(struct catalogue *c, uint32_t id, struct monitor_row *row);
enum err catalogue_next_monitor(struct catalogue *c, struct monitor_row *row);
enum err catalogue_ticket(struct catalogue *c, const uint8_t hash[32], struct ticket_row *row);
enum err catalogue_next_ticket(struct catalogue *c, bool first, struct ticket_row *row);

/* Of landing files (index/reception.h). The next after *row in the order of keys; END. merged: as the manifest has it. */
enum err catalogue_landing(struct catalogue *c, uint64_t id, struct landing_row *row);
enum err catalogue_next_landing(struct catalogue *c, struct landing_row *row);
enum err catalogue_next_landed(struct catalogue *c, struct landed_row *row);
enum err catalogue_next_landed_of(struct catalogue *c, uint32_t stream, struct landed_row *row);
enum err catalogue_feed(struct catalogue *c, uint32_t stream, bool merged, struct feed_row *row);
enum err catalogue_next_feed(struct catalogue *c, bool merged, struct feed_row *row);
enum err catalogue_next_gap(struct catalogue *c, struct gap_row *row);
enum err catalogue_next_merged_gap(struct catalogue *c, struct gap_row *row); /* of those that the manifest has */

/* The segments of a stream that can hold a record in [from_ns, until_ns), by first_ns, then id: zero *row and call until
 * END. Segments being deleted are passed over; lost ones are given (state SEGMENT_LOST: say so, they are missing from the
 * answer). A segment with hidden_until_ns: its records before that time were removed and must not be shown; it is passed
 * over when all of the range is before it. */
enum err catalogue_next_in_range(struct catalogue *c, uint32_t stream, uint64_t from_ns, uint64_t until_ns,
                                 struct segment_row *row);
/* Whether the segment can hold an address of the net (index/segfilter.h). True when there is no filter. */
enum err catalogue_may_hold(struct catalogue *c, uint64_t segment, unsigned family, unsigned bits, const uint8_t addr[16],
                            bool *maybe);
/* The stored filter, borrowed until catalogue_end(). ERR_ABSENT. */
enum err catalogue_filter(struct catalogue *c, uint64_t segment, const uint8_t **filter, size_t *n);

struct catalogue_totals {
	uint64_t streams, segments, lost_segments, records, wire_bytes, captured_bytes, file_bytes, footer_bytes;
	uint64_t first_ns, last_ns; /* both 0 when there are no records */
	uint64_t landed_blocks, landed_records, landed_bytes; /* of these, not merged into segments yet */
	uint64_t missing, left_out; /* records that monitors lost; of these, on purpose: by sampling */
};
/* Sums over the live segments and landed parcels of one stream (0: all). */
enum err catalogue_sum(struct catalogue *c, uint32_t stream, struct catalogue_totals *totals);

/* Reads every entry and checks what belongs together (time index, spans, filters, streams); calls see() with one sentence
 * per fault, and goes on. */
enum err catalogue_check(struct catalogue *c, void (*see)(void *arg, const char *sentence), void *arg);
/* All of it as text, one line per row, in order; filters as hashes. Equal text: logically equal. */
enum err catalogue_dump(struct catalogue *c, FILE *out);

/* --- changing: one durable transaction --- */
/* change may run twice (kv.h). The readers above may be called in it. An error in change undoes it. */
typedef enum err catalogue_change(struct catalogue *c, void *arg);
enum err catalogue_update(struct catalogue *c, catalogue_change *change, void *arg);
enum err catalogue_put_state(struct catalogue *c, const struct state_row *row);
enum err catalogue_put_stream(struct catalogue *c, const struct stream_row *row);
enum err catalogue_put_segment(struct catalogue *c, const struct segment_row *row);
enum err catalogue_put_import(struct catalogue *c, const struct import_row *row);
enum err catalogue_put_removal(struct catalogue *c, uint64_t line, const struct removal_row *row);
enum err catalogue_put_filter(struct catalogue *c, uint64_t segment, const void *filter, size_t n);
enum err catalogue_put_monitor(struct catalogue *c, const struct monitor_row *row);
enum err catalogue_put_ticket(struct catalogue *c, const struct ticket_row *row);
enum err catalogue_forget_ticket(struct catalogue *c, const uint8_t hash[32]); /* ERR_ABSENT */
enum err catalogue_put_landing(struct catalogue *c, const struct landing_row *row);
enum err catalogue_forget_landing(struct catalogue *c, uint64_t id); /* ERR_ABSENT */
enum err catalogue_put_landed(struct catalogue *c, const struct landed_row *row); /* counts in its landing row, too */
enum err catalogue_put_feed(struct catalogue *c, const struct feed_row *row);
/* A feed line of the manifest: what waited up to it is in a segment; its gaps follow as lines of their own. The feed's row becomes
 * the line unless it has come there. */
enum err catalogue_merge_feed(struct catalogue *c, const struct feed_row *line);
enum err catalogue_put_gap(struct catalogue *c, const struct gap_row *row);
/* With what a row of that key has already. */
enum err catalogue_add_gap(struct catalogue *c, const struct gap_row *row);
/* Forgets row, time index entry and filter. ERR_ABSENT. */
enum err catalogue_forget_segment(struct catalogue *c, uint64_t id);

/* The key for segfilter_build(). */
const uint8_t *catalogue_filter_key(const struct catalogue *c);

#endif
