/* A request as it is made: streams, the text of a filter, times, and under which policy. Without a policy it is one plan. Under a
 * policy whose keys change with time (anonymize/key_epoch.h) it is several, one after the other: each has a view of its own, and
 * with it a filter that looks for this view's addresses. Where keys do not change there is one.
 *
 *	struct epochs *x;
 *	TRY(epochs_open(&x, archive, &asked));          is at the first epoch that has records, if there is one
 *	do
 *		...epochs_plan(x), epochs_filter(x)
 *	while ((e = epochs_next(x)) == OK);             END
 *	epochs_close(&x);
 *
 * Each plan is a snapshot of the catalogue; every record lies in one epoch, so none is seen twice, whatever is merged meanwhile. */
#ifndef QUERY_EPOCHS_H
#define QUERY_EPOCHS_H

#include "query/plan.h"

/* All borrowed. */
struct asked {
	const char *const   *streams; /* names; none: all streams */
	unsigned             stream_count;
	struct span          span;    /* of the times that are shown: under a policy, those of the view */
	const char          *filter;  /* NULL: all; of what is shown */
	const struct policy *policy;  /* with dataset and, unless it is shared, recipient; NULL: what was captured */
};

struct epochs;

/* ERR_USAGE: the filter (also one that is too long), or a policy that can not be shown as packets; as plan_open(), view_open(). */
enum err epochs_open(struct epochs **out, struct archive *a, const struct asked *asked);
void     epochs_close(struct epochs **x);
/* Goes on to the next epoch that has segments to look at; what the calls below gave for the last one is gone. END: there is none,
 * and the last one stays. */
enum err epochs_next(struct epochs *x);

/* Of the present epoch. */
struct plan         *epochs_plan(const struct epochs *x);
const struct filter *epochs_filter(const struct epochs *x);
const struct view   *epochs_view(const struct epochs *x); /* NULL: none */

/* The plan of all records of the streams in the range, whatever the filter, to ask for extent, sources and streams: nothing that
 * depends on the filter, so it tells the same to all. Not for scanning. */
const struct plan   *epochs_whole(const struct epochs *x);
/* Segments and landing files that were missing, once each. */
uint64_t             epochs_missing(const struct epochs *x);

/* What is missing in the range, in the view's times. END of see() stops. */
struct epochs_gap {
	const char    *stream;
	struct span    span;
	enum gap_cause cause;
	uint64_t       packets;
};
enum err epochs_gaps(struct epochs *x, enum err (*see)(void *arg, const struct epochs_gap *gap), void *arg);

#endif
