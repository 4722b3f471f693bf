/* A feed: one stream of one monitor, parcel after parcel. What its row says after a parcel follows from the row before and the
 * parcel alone, so that landing, merging and recovery come to the same rows. */
#ifndef INDEX_FEED_H
#define INDEX_FEED_H

#include "archive/parcel.h"
#include "index/catalogue.h"
#include "index/reception.h"
#include "index/rows.h"

#define FEED_GAPS_MAX 4u /* that one parcel can tell of: kernel, interface, spool, policy */

/* Whether the parcel is the next one: LANDED, or what else it is (reception.h). A chain of zeros (its last parcel was damaged
 * here) goes on with any. */
enum landing_answer feed_place(const struct feed_row *f, const struct parcel *p);
/* Whether the feed has come to this place or further. */
bool     feed_reached(const struct feed_row *f, uint64_t epoch, uint64_t sequence);
/* Takes the parcel in; records and last_ns: of its block, 0 for a loss. gaps gets what it tells of losses that was not known;
 * returns how many. */
uint32_t feed_apply(struct feed_row *f, const struct parcel *p, uint32_t records, uint64_t last_ns, uint64_t arrived_ns,
                    struct gap_row gaps[FEED_GAPS_MAX]);
/* Takes in a parcel of which only the row is left, because it was damaged here; gaps: what it had told, from the catalogue
 * (each with its cause); *lost: what is missing now. The chain is not known then. */
void     feed_apply_lost(struct feed_row *f, const struct landed_row *row, const struct gap_row *gaps, uint32_t n,
                         struct gap_row *lost);

#endif
