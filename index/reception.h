/* Reception: parcels of monitors become part of the archive, each exactly once.
 *
 *     store_land() ...  store_land_commit()  -> acknowledge;  reception_tend() now and then
 *
 * A parcel is appended to the landing file (archive/landing.h), which all streams share, so that one fdatasync makes the
 * parcels of all monitors durable; then one LMDB transaction takes in what landed (rows LANDED by stream, epoch and sequence,
 * FEED by stream, GAP). The landing file is the commit point: after a crash its tail is applied again. Landed blocks are
 * in the answers of every query from the commit on.
 *
 * Merging puts the landed blocks of one stream into a segment, in the order of epoch and sequence: full blocks are copied as
 * they are (same stored bytes, same key), small ones are joined into full ones. It happens when a stream has
 * SEGMENT_BLOCKS_MAX full blocks landed, or MERGE_BLOCKS_MAX of any size, or its oldest waits for MERGE_AGE_NS. The segment,
 * the feed's new position (manifest line FEED: merged up to here) and the end of the LANDED rows are one commit. A landing
 * file without waiting blocks is destroyed, key first. What is merged and what is landed is disjoint in every snapshot.
 */
#ifndef INDEX_RECEPTION_H
#define INDEX_RECEPTION_H

#include "archive/block.h"
#include "archive/parcel.h"
#include "base/config.h"
#include "index/monitors.h"
#include "index/store.h"

/* Verified and examined by who calls; nothing here decodes a block (but merging, which reads what landed). */
struct arrival {
	uint32_t             monitor; /* number; parcel->monitor is its key: checked by the caller */
	const struct parcel *parcel;
	const uint8_t       *key;     /* BLOCK_KEY_BYTES; NULL for a loss */
	const struct block  *block;   /* as block_examine() gave it; NULL for a loss */
	uint64_t             now_ns;
};

/* Where a feed stands: what is to come next is sequence + 1 (chained to chain), or sequence 1 of a larger epoch. All zero: it
 * never had a parcel. */
struct feed_mark {
	uint64_t epoch, sequence;
	uint8_t  chain[PARCEL_HASH_BYTES];
};

enum landing_answer {
	LANDED,          /* durable after the next store_land_commit() */
	LANDED_BEFORE,   /* it is there: acknowledge (after the next commit) */
	LANDED_NOT_NEXT, /* parcels before it are missing, or its epoch is over: go on from the mark */
	LANDED_FORK,     /* another parcel has its place: quarantine the monitor */
	LANDED_QUOTA,    /* the stream or the disk is full: later; or the monitor has MONITOR_STREAMS_MAX streams */
};

/* *answer and *mark are set when OK. mark: where the feed stands, with this parcel and the others of the group when it is LANDED
 * or LANDED_BEFORE (acknowledge it after the next commit), else what is certain: as of the last commit. A loss whose first
 * parcels came already is taken, too. Errors stop as in store.h; ERR_FULL: the disk is, nothing of this parcel is kept, and
 * the store goes on; ERR_USAGE: a name that no stream can have; ERR_ABSENT: no such monitor; ERR_LIMIT: STREAMS_MAX. */
enum err store_land(struct store *s, const struct arrival *a, enum landing_answer *answer, struct feed_mark *mark);
/* What a monitor says of one of its streams beside its parcels: packets lost since the epoch began, as in a parcel. */
struct feed_report {
	uint64_t clock_ns; /* the monitor's */
	uint64_t lost_kernel, lost_interface, lost_spool, lost_policy;
};
/* For a report of a monitor that has no parcel of the stream waiting: what it lost since its last one becomes gaps, durable after
 * the next store_land_commit(). What is known is not counted again. *news: it said something new. Errors as store_land(). */
enum err store_report(struct store *s, uint32_t monitor, const char *stream, const struct feed_report *report, bool *news);
/* Makes durable and visible what landed or was reported since the last call; the group commit. Nothing was: nothing happens.
 * ERR_FULL: not all of that is kept (acknowledge none of it; it comes again), and the store goes on. A group may be committed
 * before, by store_land() and reception_tend(); a disk that was full then is told here. */
enum err store_land_commit(struct store *s);
/* Bytes landed since the last commit. */
uint64_t store_landing_bytes(const struct store *s);
/* As of the last commit. */
enum err store_mark(struct store *s, uint32_t monitor, const char *stream, struct feed_mark *mark);

/* Limits of one archive, from the configuration. 0: none. */
struct retention {
	uint64_t age_ns;          /* records older than this are removed, by their own time and that of their segment's file: a
	                           * monitor's clock that is years off makes nothing old, or young for ever */
	uint64_t stream_bytes;    /* stored bytes of a stream, landed blocks included: the oldest segments go first. When there is
	                           * none yet, what landed is merged before its time, and goes then */
	const struct config *config; /* what it says of single streams goes before these two; NULL: nothing */
	uint64_t free_bytes;      /* below so many free bytes on the file system the oldest segments of the largest streams go */
	uint64_t merge_age_ns;    /* what landed waits so long to be merged, at most; 0: MERGE_AGE_NS */
	uint64_t stop_bytes;      /* below so many nothing lands any more (LANDED_QUOTA); reads go on */
	bool     clock_doubtful;  /* nothing is removed for its age */
};

/* One bounded step (at most ~50 ms, and a commit) of merging or retention; *more: there is more to do at once.
 * force: merges everything that landed, whatever its size and age (for tests, rm, and a clean stop). limits may be NULL.
 * ERR_FULL: the disk is; what landed stays where it is, try again later. */
enum err reception_tend(struct store *s, const struct retention *r, uint64_t now_ns, bool force, bool *more);

#endif
