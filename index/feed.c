#include "index/feed.h"

#include <assert.h>
#include <sodium.h>
#include <string.h>

enum landing_answer
feed_place(const struct feed_row *f, const struct parcel *p)
{
	bool loss = p->kind == PARCEL_LOSS;
	uint64_t first = loss ? p->from_sequence : p->sequence;
	if (p->epoch < f->epoch)
		return LANDED_NOT_NEXT;
	if (p->epoch > f->epoch) {
		if (first != 1)
			return LANDED_NOT_NEXT;
		return sodium_is_zero(p->previous, sizeof p->previous) ? LANDED : LANDED_FORK;
	}
	bool known = !sodium_is_zero(f->chain, sizeof f->chain);
	if (p->sequence < f->sequence)
		return LANDED_BEFORE;
	if (p->sequence == f->sequence)
		return !known || memcmp(loss ? p->hash : p->self, f->chain, sizeof f->chain) == 0 ? LANDED_BEFORE : LANDED_FORK;
	if (first > f->sequence + 1)
		return LANDED_NOT_NEXT;
	if (first == f->sequence + 1)
		return !known || memcmp(p->previous, f->chain, sizeof f->chain) == 0 ? LANDED : LANDED_FORK;
	return LANDED; /* a loss of which some had come already: it was dropped before it was acknowledged */
}

bool
feed_reached(const struct feed_row *f, uint64_t epoch, uint64_t sequence)
{
	return f->epoch > epoch || (f->epoch == epoch && f->sequence >= sequence);
}

void
feed_sum(uint64_t *sum, uint64_t n)
{
	*sum = n > UINT64_MAX - *sum ? UINT64_MAX : *sum + n;
}

/* --- counters of losses --- */

static const uint8_t causes[FEED_GAPS_MAX] = { GAP_KERNEL, GAP_INTERFACE, GAP_SPOOL, GAP_POLICY };

struct counter {
	uint64_t *past, *lost, *ahead;
};

static struct counter
counter_of(struct feed_row *f, uint8_t cause)
{
	switch (cause) {
	case GAP_KERNEL:
		return (struct counter){ &f->past_kernel, &f->lost_kernel, &f->ahead_kernel };
	case GAP_INTERFACE:
		return (struct counter){ &f->past_interface, &f->lost_interface, &f->ahead_interface };
	case GAP_SPOOL:
		return (struct counter){ &f->past_spool, &f->lost_spool, &f->ahead_spool };
	default:
		assert(cause == GAP_POLICY);
		return (struct counter){ &f->past_policy, &f->lost_policy, &f->ahead_policy };
	}
}

static void
epoch_begin(struct feed_row *f, uint64_t epoch)
{
	if (epoch == f->epoch)
		return;
	for (uint32_t i = 0; i < FEED_GAPS_MAX; i++) {
		struct counter c = counter_of(f, causes[i]);
		feed_sum(c.past, *c.lost);
		*c.lost = *c.ahead = 0;
	}
	f->epoch = epoch;
}

/* A parcel's counter never decreases. What it grew by, less what is known already: that is ahead of it. */
static uint64_t
counter_grown(struct feed_row *f, uint8_t cause, uint64_t now)
{
	struct counter c = counter_of(f, cause);
	uint64_t before = *c.lost - *c.ahead;
	uint64_t n = now > before ? now - before : 0;
	uint64_t known = n < *c.ahead ? n : *c.ahead;
	*c.ahead -= known;
	feed_sum(c.lost, n - known);
	return n - known;
}

static void
counter_ahead(struct feed_row *f, uint8_t cause, uint64_t n)
{
	struct counter c = counter_of(f, cause);
	feed_sum(c.lost, n);
	feed_sum(c.ahead, n);
}

uint64_t
feed_lost(const struct feed_row *f, enum gap_cause cause)
{
	struct feed_row row = *f;
	if (cause == GAP_ARCHIVE)
		return f->lost_archive;
	struct counter c = counter_of(&row, cause);
	feed_sum(c.past, *c.lost);
	return *c.past;
}

void
feed_count_gap(struct feed_row *f, const struct gap_row *gap)
{
	epoch_begin(f, gap->epoch);
	if (gap->cause == GAP_ARCHIVE)
		feed_sum(&f->lost_archive, gap->records);
	else
		feed_sum(counter_of(f, gap->cause).lost, gap->records);
}

void
feed_set_losses(struct feed_row *f, const struct feed_row *counted)
{
	struct feed_row sums = *counted;
	epoch_begin(&sums, f->epoch);
	for (uint32_t i = 0; i < FEED_GAPS_MAX; i++) {
		struct counter to = counter_of(f, causes[i]), from = counter_of(&sums, causes[i]);
		uint64_t told = *to.lost - *to.ahead; /* by the parcels' counter */
		*to.past = *from.past;
		*to.lost = *from.lost;
		*to.ahead = *from.lost > told ? *from.lost - told : 0;
	}
}

/* --- parcels and reports --- */

uint32_t
feed_apply(struct feed_row *f, const struct parcel *p, uint32_t records, uint64_t last_ns, uint64_t arrived_ns,
           struct gap_row gaps[FEED_GAPS_MAX])
{
	bool loss = p->kind == PARCEL_LOSS;
	uint64_t since_ns = f->last_ns && f->last_ns <= p->last_ns ? f->last_ns : p->first_ns;
	const uint64_t told[FEED_GAPS_MAX] = { p->lost_kernel, p->lost_interface, p->lost_spool, p->lost_policy };
	uint32_t n = 0;
	epoch_begin(f, p->epoch);
	for (uint32_t i = 0; i < FEED_GAPS_MAX; i++) {
		uint64_t missing = counter_grown(f, causes[i], told[i]), first_ns = since_ns;
		if (loss && causes[i] == GAP_SPOOL && missing < p->records) { /* counters of parcels made later have all of these */
			if (missing == 0 || p->first_ns < since_ns)
				first_ns = p->first_ns;
			counter_ahead(f, causes[i], p->records - missing);
			missing = p->records;
		}
		if (missing)
			gaps[n++] = (struct gap_row){
				.stream = f->stream,
				.epoch = p->epoch,
				.sequence = p->sequence,
				.cause = causes[i],
				.first_ns = first_ns,
				.last_ns = p->last_ns,
				.records = missing,
			};
	}
	f->sequence = p->sequence;
	memcpy(f->chain, loss ? p->hash : p->self, sizeof f->chain);
	memcpy(f->source, p->source, sizeof f->source);
	f->source_records = p->source_records;
	f->last_ns = last_ns > f->last_ns ? last_ns : f->last_ns;
	f->arrived_ns = arrived_ns;
	f->parcels++;
	f->records += records;
	return n;
}

uint32_t
feed_report(struct feed_row *f, const struct feed_report *report, struct gap_row gaps[FEED_GAPS_MAX])
{
	const uint64_t told[FEED_GAPS_MAX] = { report->lost_kernel, report->lost_interface, report->lost_spool, report->lost_policy };
	bool pushed = !sodium_is_zero(f->source, sizeof f->source); /* then its records have times of their own */
	uint32_t n = 0;
	if (f->epoch == 0 || f->sequence == UINT64_MAX)
		return 0;
	for (uint32_t i = 0; i < FEED_GAPS_MAX; i++) {
		uint64_t known = *counter_of(f, causes[i]).lost;
		if (told[i] <= known)
			continue;
		counter_ahead(f, causes[i], told[i] - known);
		gaps[n++] = (struct gap_row){
			.stream = f->stream,
			.epoch = f->epoch,
			.sequence = f->sequence + 1,
			.cause = causes[i],
			.first_ns = f->last_ns,
			.last_ns = pushed || report->clock_ns < f->last_ns ? f->last_ns : report->clock_ns,
			.records = told[i] - known,
		};
	}
	return n;
}

void
feed_apply_lost(struct feed_row *f, const struct landed_row *row, struct gap_row *lost)
{
	epoch_begin(f, row->epoch);
	f->sequence = row->sequence;
	memset(f->chain, 0, sizeof f->chain);
	f->last_ns = row->last_ns > f->last_ns ? row->last_ns : f->last_ns;
	f->arrived_ns = row->arrived_ns;
	f->parcels++;
	f->records += row->records;
	feed_sum(&f->lost_archive, row->records);
	*lost = (struct gap_row){
		.stream = row->stream,
		.epoch = row->epoch,
		.sequence = row->sequence,
		.cause = GAP_ARCHIVE,
		.first_ns = row->first_ns,
		.last_ns = row->last_ns,
		.records = row->records,
	};
}
