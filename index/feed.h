/* A feed: one stream of one monitor, parcel after parcel. What its row says after a parcel follows from the row before and the
 * parcel alone, so that landing, merging and recovery come to the same rows. */
#ifndef INDEX_FEED_H
#define INDEX_FEED_H

#include "archive/parcel.h"
#include "index/catalogue.h"
#include "index/reception.h"
#include "index/rows.h"

#define FEED_GAPS_MAX 4u /* that one parcel can tell of: kernel, interface, spool, policy */

/* Each packet that is missing stands in one gap row: the sum of a stream's gap rows by cause is what feed_lost() says. What a
 * report or a loss parcel told stands in the row's `ahead` until the parcels' own counters, which are cumulative, have it, too. */

/* Whether the parcel is the next one: LANDED, or what else it is (reception.h). A chain of zeros (its last parcel was damaged
 * here) goes on with any. */
enum landing_answer feed_place(const struct feed_row *f, const struct parcel *p);
/* Whether the feed has come to this place or further. */
bool     feed_reached(const struct feed_row *f, uint64_t epoch, uint64_t sequence);
/* Takes the parcel in; records and last_ns: of its block, 0 for a loss. gaps gets what it tells of losses that was not known;
 * returns how many. */
uint32_t feed_apply(struct feed_row *f, const struct parcel *p, uint32_t records, uint64_t last_ns, uint64_t arrived_ns,
                    struct gap_row gaps[FEED_GAPS_MAX]);
/* Takes in a parcel of which only the row is left, because it was damaged here; *lost: what is missing now. The chain is not
 * known then, nor what it said of losses: the catalogue's gaps have it. */
void     feed_apply_lost(struct feed_row *f, const struct landed_row *row, struct gap_row *lost);
/* Takes in what a report says of losses, when the feed has all parcels that the monitor made: as feed_apply(). */
uint32_t feed_report(struct feed_row *f, const struct feed_report *report, struct gap_row gaps[FEED_GAPS_MAX]);
/* Missing packets by cause, ever. */
uint64_t feed_lost(const struct feed_row *f, enum gap_cause cause);
/* Counts a gap row that comes after the others in f, in the order of their keys. */
void     feed_count_gap(struct feed_row *f, const struct gap_row *gap);
/* counted: a row into which feed_count_gap() put all gaps up to f's place. f gets its numbers of losses; what f's parcels have in
 * their own counters stays. */
void     feed_set_losses(struct feed_row *f, const struct feed_row *counted);
/* No wrapping. */
void     feed_sum(uint64_t *sum, uint64_t n);

#endif
