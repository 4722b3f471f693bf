#include "query/losses.h"

#include "index/feed.h"

enum err
losses_next(struct catalogue *c, uint32_t stream, const struct span *span, struct gap_row *row)
{
	struct gap_row next = *row;
	next.stream = stream;
	for (;;) {
		TRY(catalogue_next_gap(c, &next));
		if (next.stream != stream)
			return END;
		if (next.last_ns >= span->from_ns && (next.first_ns < span->until_ns || span->until_ns == UINT64_MAX))
			break;
	}
	*row = next;
	return OK;
}

enum err
losses_find(struct catalogue *c, uint32_t stream, const struct span *span, struct losses *losses)
{
	struct gap_row row = { 0 };
	enum err e;
	while ((e = losses_next(c, stream, span, &row)) == OK) {
		losses->gaps++;
		feed_sum(&losses->packets, row.records);
		feed_sum(&losses->by_cause[row.cause], row.records);
	}
	return e == END ? OK : e;
}
