#include "index/feed.h"

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

static void
add(uint64_t *sum, uint64_t n)
{
	*sum = n > UINT64_MAX - *sum ? UINT64_MAX : *sum + n;
}

static void
epoch_begin(struct feed_row *f, uint64_t epoch)
{
	if (epoch == f->epoch)
		return;
	add(&f->past_kernel, f->lost_kernel);
	add(&f->past_interface, f->lost_interface);
	add(&f->past_spool, f->lost_spool);
	add(&f->past_policy, f->lost_policy);
	f->lost_kernel = f->lost_interface = f->lost_spool = f->lost_policy = 0;
	f->epoch = epoch;
}

/* A counter of losses never decreases; what it grew by. */
static uint64_t
grown(uint64_t *before, uint64_t now)
{
	uint64_t n = now > *before ? now - *before : 0;
	*before += n;
	return n;
}

uint32_t
feed_apply(struct feed_row *f, const struct parcel *p, uint32_t records, uint64_t last_ns, uint64_t arrived_ns,
           struct gap_row gaps[FEED_GAPS_MAX])
{
	bool loss = p->kind == PARCEL_LOSS;
	uint64_t since_ns = f->last_ns && f->last_ns <= p->last_ns ? f->last_ns : p->first_ns;
	epoch_begin(f, p->epoch);
	uint64_t counts[FEED_GAPS_MAX] = {
		grown(&f->lost_kernel, p->lost_kernel),
		grown(&f->lost_interface, p->lost_interface),
		grown(&f->lost_spool, p->lost_spool),
		grown(&f->lost_policy, p->lost_policy),
	};
	static const uint8_t causes[FEED_GAPS_MAX] = { GAP_KERNEL, GAP_INTERFACE, GAP_SPOOL, GAP_POLICY };
	uint32_t n = 0;
	if (loss && counts[2] < p->records)
		counts[2] = p->records;
	for (uint32_t i = 0; i < FEED_GAPS_MAX; i++)
		if (counts[i])
			gaps[n++] = (struct gap_row){
				.stream = f->stream,
				.epoch = p->epoch,
				.sequence = p->sequence,
				.cause = causes[i],
				.first_ns = loss && causes[i] == GAP_SPOOL ? p->first_ns : since_ns,
				.last_ns = p->last_ns,
				.records = counts[i],
			};
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

void
feed_apply_lost(struct feed_row *f, const struct landed_row *row, const struct gap_row *gaps, uint32_t n, struct gap_row *lost)
{
	epoch_begin(f, row->epoch);
	for (uint32_t i = 0; i < n; i++) {
		uint64_t *counters[] = { NULL, &f->lost_kernel, &f->lost_interface, &f->lost_spool, &f->lost_policy };
		if (gaps[i].cause < sizeof counters / sizeof *counters && counters[gaps[i].cause])
			add(counters[gaps[i].cause], gaps[i].records);
	}
	f->sequence = row->sequence;
	memset(f->chain, 0, sizeof f->chain);
	f->last_ns = row->last_ns > f->last_ns ? row->last_ns : f->last_ns;
	f->arrived_ns = row->arrived_ns;
	f->parcels++;
	f->records += row->records;
	f->lost_archive += row->records;
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
