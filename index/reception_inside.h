/* The inside of reception, for the files that make it: reception.c (landing), merge.c (from landing files into segments),
 * retention.c. */
#ifndef INDEX_RECEPTION_INSIDE_H
#define INDEX_RECEPTION_INSIDE_H

#include "archive/landing.h"
#include "index/change.h"
#include "index/feed.h"
#include "index/reception.h"

struct merger; /* merge.c */

/* A segment that is being filled from one feed's parcels. */
struct filling {
	struct store_segment *segment;  /* NULL until there is a block */
	struct feed_row       state;    /* as of the last parcel in it */
	struct gap_row       *gaps;     /* what is missing for want of a parcel that could be read; at the commit all gaps */
	uint32_t              gap_count, gap_room;
	uint32_t              parcels;
	struct frames        *join;     /* small blocks on their way into one; NULL until there is one */
	uint64_t              used_ns;  /* when something was last put in */
};

struct feed {
	struct feed_row row;            /* with what landed and is not committed yet */
	struct feed_row durable;
	struct feed_row merged;         /* as of the last parcel in a committed segment; all but stream and monitor zero: none */
	char     name[STREAM_NAME_BYTES]; /* of the stream, as the monitor calls it */
	bool     dirty;                 /* row is ahead of durable */
	bool     pressed;               /* what waits alone is above the stream's limit: merge it, so that it can go */
	uint32_t waiting, full;         /* committed parcels that are not merged, and those of them with full blocks */
	uint64_t oldest_ns;             /* when the first of these came */
	struct filling *ready, *filling;/* one that is full, then the one behind it; either may be NULL */
};

struct group_parcel {
	struct landed_row row;
	struct feed      *feed;
};

struct reception {
	struct store   *store;
	struct landing *landing;        /* appended to; NULL: none yet */
	uint32_t        landing_slot;
	uint64_t        group_at;       /* where in it the present group starts */
	uint64_t        group_bytes;
	struct group_parcel *landed;    /* of the group */
	uint32_t        landed_count, landed_room;
	struct gap_row *gaps;
	uint32_t        gap_count, gap_room;
	struct feed   **feeds;
	uint32_t        feed_count, feed_room;
	uint32_t       *table;          /* by monitor and name: index into feeds plus 1, 0: free */
	uint32_t        table_room;     /* a power of two, at least twice feed_count */
	uint64_t        merge_age_ns;   /* how long the oldest parcel of a feed waits */
	uint32_t        turn;           /* which feed merging looks at next */
	uint32_t        fillings;
	bool            taken_back;     /* a group that who landed it has not committed: store_land_commit() tells */
	bool            quota;          /* nothing lands: too little free on the disk */
	bool            emptied;        /* there may be landing files to destroy */
	uint64_t        retention_ns;   /* when retention looks next */
	struct merger  *merger;         /* buffers, once needed */
};

/* The store's, made when asked for the first time. */
enum err reception_of(struct store *s, struct reception **out);
/* The row of a parcel in a landing file (index/recovery.h uses it, too). */
struct landed_row landed_row_of(uint64_t landing, const struct parcel *p, const struct landing_entry *e);
/* store_land_commit(), in the midst of something else: a full disk is told there again, once. */
enum err group_commit(struct reception *r);
/* Whether a block is copied as it is: two like it would not go into one. */
bool     block_is_full(uint32_t records, uint64_t captured_bytes);
/* How many of the feed wait, from the catalogue. */
enum err feed_recount(struct reception *r, struct feed *f);
enum err gaps_room(struct gap_row **v, uint32_t *room, uint32_t count);

/* --- merge.c --- */
/* A parcel has just landed that follows `before`: puts it into the feed's segment right away when that is at this place. What
 * can not be done now is done later from the landing file. */
void     merge_landed(struct reception *r, struct feed *f, const struct feed_row *before, const struct arrival *a);
/* Gives up what holds parcels that are not durable, or all. */
void     merge_abort(struct reception *r, struct feed *f, bool all);
/* One step of merging; *more: there is more. */
enum err merge_step(struct reception *r, uint64_t now_ns, bool force, bool *more);
void     merger_close(struct merger **m);

/* --- retention.c --- */
enum err retention_step(struct reception *r, const struct retention *limits, uint64_t now_ns, bool *more);

#endif
