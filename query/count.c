#include "query/count.h"

#include <math.h>

struct counting {
	const struct scan_sink *how;
	struct count *total;
	struct count of[CREW_MAX]; /* of the block that each worker prepared */
};

static uint64_t
sum(const uint32_t *v, uint32_t n)
{
	uint64_t s = 0;
	for (uint32_t i = 0; i < n; i++)
		s += v[i];
	return s;
}

static uint64_t
sum_chosen(const uint32_t *v, const uint8_t *chosen, uint32_t n)
{
	uint64_t s = 0;
	for (uint32_t i = 0; i < n; i++)
		s += chosen[i] ? v[i] : 0;
	return s;
}

static uint64_t
product(uint64_t a, uint64_t b)
{
	uint64_t p;
	return __builtin_mul_overflow(a, b, &p) ? UINT64_MAX : p;
}

static void
add(uint64_t *sum, uint64_t n)
{
	*sum = n > UINT64_MAX - *sum ? UINT64_MAX : *sum + n;
}

double
count_error(const struct count *c)
{
	return 1.96 * sqrt(c->variance);
}

static enum err
prepare(void *arg, unsigned worker, const struct scan_block *b)
{
	struct counting *c = arg;
	struct count *out = &c->of[worker];
	*out = (struct count){ .packets = b->selected };
	if (!b->batch) {
		out->wire_bytes = b->info->wire_bytes;
		return OK;
	}
	const struct batch *batch = b->batch;
	for (uint32_t i = 0; i < batch->conversations; i++) {
		uint32_t row = batch->start[i], rows = batch->start[i + 1] - row;
		if (b->conversation[i] == 1)
			out->wire_bytes += sum(batch->wire_len + row, rows);
		else if (b->conversation[i] == 2)
			out->wire_bytes += sum_chosen(batch->wire_len + row, b->row + row, rows);
	}
	return OK;
}

static enum err
deliver(void *arg, unsigned worker, const struct scan_block *b)
{
	struct counting *c = arg;
	const struct count *of = &c->of[worker];
	uint32_t rate = b->info->sampled;
	c->total->packets += of->packets;
	c->total->wire_bytes += of->wire_bytes;
	add(&c->total->estimated_packets, product(of->packets, rate));
	add(&c->total->estimated_bytes, product(of->wire_bytes, rate));
	if (rate > 1) {
		c->total->sampled += of->packets;
		c->total->variance += (double)of->packets * rate * (rate - 1.0);
		c->total->by_flow |= b->info->sampler == SAMPLER_FLOW;
	}
	return OK;
}

static void
pass_notice(void *arg, const char *sentence)
{
	struct counting *c = arg;
	c->how->notice(c->how->arg, sentence);
}

static void
pass_step(void *arg, uint64_t blocks, uint64_t records)
{
	struct counting *c = arg;
	if (c->how->step)
		c->how->step(c->how->arg, blocks, records);
}

enum err
count_run(struct plan *p, const struct filter *f, unsigned jobs, const struct scan_sink *how, struct count *count,
          struct scan_counts *counts)
{
	struct counting c = { .how = how, .total = count };
	struct scan_sink sink = {
		.columns = COUNT_COLUMNS,
		.no_batch_for_all = true,
		.prepare = prepare,
		.deliver = deliver,
		.notice = pass_notice,
		.step = pass_step,
		.arg = &c,
	};
	return scan_run(p, f, jobs, &sink, counts);
}
