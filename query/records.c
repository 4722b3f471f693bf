#include "query/records.h"

#include <stdlib.h>
#include <string.h>

#include "archive/frames.h"
#include "archive/radix.h"
#include "base/crew.h"

/* --- from a block --- */

/* The rest of what is known without the frame. */
static void
take_row(struct record *r, const struct batch *batch, uint32_t row)
{
	const struct flow *flow = &batch->flows[2 * r->conversation + batch->dir[row]];
	r->batch = batch;
	r->row = row;
	r->linktype = batch->links[flow->link].linktype;
	r->iface = batch->links[flow->link].iface;
}

static enum err
take_frame(struct record *r, const struct batch *batch, uint32_t row)
{
	TRY(batch_bytes(batch, row, &r->bytes, &r->cap_len));
	r->linktype = batch_link(batch, row)->linktype;
	r->iface = batch_link(batch, row)->iface;
	return OK;
}

/* Calls see() for each selected record of a block in capture order. */
static enum err
each_record(const struct scan_block *b, bool listing, enum err (*see)(void *arg, const struct record *r), void *arg)
{
	const struct batch *batch = b->batch;
	for (uint32_t i = 0; i < batch->selected_count; i++) {
		uint32_t row = batch->selected[i].row;
		struct record r = {
			.ts_ns = batch->selected[i].time,
			.wire_len = batch->wire_len[row],
			.stream = b->segment->stream,
		};
		r.conversation = batch->selected[i].conversation;
		if (listing && batch->flows[2 * r.conversation].net != NET_RAW)
			take_row(&r, batch, row);
		else
			TRY(take_frame(&r, batch, row));
		TRY(see(arg, &r));
	}
	return OK;
}

/* Rebuilds the frames of all selected records, so that delivering them in order has little left to do. */
static enum err
rebuild_selected(void *arg, unsigned worker, const struct scan_block *b)
{
	(void)arg;
	(void)worker;
	const struct batch *batch = b->batch;
	const uint8_t *bytes;
	uint32_t n;
	for (uint32_t c = 0; c < batch->conversations; c++)
		if (b->conversation[c])
			TRY(batch_bytes(batch, batch->start[c], &bytes, &n));
	return OK;
}

/* --- one stream --- */

static enum err
deliver_records(void *arg, unsigned worker, const struct scan_block *b)
{
	(void)worker;
	const struct records_sink *sink = arg;
	return each_record(b, sink->listing, sink->record, sink->arg);
}

static void
pass_notice(void *arg, const char *sentence)
{
	const struct records_sink *sink = arg;
	sink->notice(sink->arg, sentence);
}

static void
pass_step(void *arg, uint64_t blocks, uint64_t records)
{
	const struct records_sink *sink = arg;
	if (sink->step)
		sink->step(sink->arg, blocks, records);
}

static enum err
run_in_capture_order(struct plan *p, const struct filter *f, unsigned jobs, const struct records_sink *sink,
                     struct scan_counts *counts)
{
	struct scan_sink scan = {
		.columns = records_columns(p, sink->listing),
		.prepare = sink->listing ? NULL : rebuild_selected,
		.deliver = deliver_records,
		.notice = pass_notice,
		.step = pass_step,
		.arg = (void *)sink,
	};
	return scan_run(p, f, jobs, &scan, counts);
}

/* --- several streams, merged --- */

struct pooled {
	struct record record;          /* bytes: NULL; see at */
	uint64_t at;                   /* in the pool's bytes */
};

struct pool {
	const struct records_sink *sink;
	struct pooled *v;
	uint64_t *order, *order_spare;
	uint8_t *bytes;
	uint32_t count;
	uint64_t used;
	bool full;                     /* the window did not fit */
	bool pass_on;                  /* the window is one instant: no need to sort, nor to keep */
};

static enum err
pool_add(void *arg, const struct record *r)
{
	struct pool *pool = arg;
	if (pool->pass_on)
		return pool->sink->record(pool->sink->arg, r);
	if (pool->count == RECORDS_POOL_RECORDS || r->cap_len + FRAMES_SLACK > RECORDS_POOL_BYTES - pool->used) {
		pool->full = true;
		return END;
	}
	struct pooled *e = &pool->v[pool->count++];
	e->record = *r;
	e->at = pool->used;
	memcpy(pool->bytes + pool->used, r->bytes, r->cap_len);
	pool->used += r->cap_len;
	return OK;
}

static enum err
deliver_to_pool(void *arg, unsigned worker, const struct scan_block *b)
{
	(void)worker;
	return each_record(b, false, pool_add, arg);
}

static void
pool_notice(void *arg, const char *sentence)
{
	struct pool *pool = arg;
	pool->sink->notice(pool->sink->arg, sentence);
}

/* By time; the pool was filled stream by stream in capture order, and the sort is stable. */
static enum err
pool_give_out(struct pool *pool, uint64_t window_start)
{
	for (uint32_t i = 0; i < pool->count; i++)
		pool->order[i] = i;
	/* By the low half of the time, then, stable, by the high half. */
	for (unsigned half = 0; half < 2; half++) {
		for (uint32_t i = 0; i < pool->count; i++) {
			uint32_t number = (uint32_t)pool->order[i];
			uint64_t time = pool->v[number].record.ts_ns - window_start;
			pool->order[i] = (uint64_t)(uint32_t)(time >> 32 * half) << 32 | number;
		}
		radix_sort(pool->order, pool->order_spare, pool->count, 32, 64);
	}
	for (uint32_t i = 0; i < pool->count; i++) {
		struct pooled *e = &pool->v[(uint32_t)pool->order[i]];
		e->record.bytes = pool->bytes + e->at;
		TRY(pool->sink->record(pool->sink->arg, &e->record));
	}
	return OK;
}

static enum err
pool_init(struct pool *pool, const struct records_sink *sink)
{
	*pool = (struct pool){
		.sink = sink,
		.v = malloc(RECORDS_POOL_RECORDS * sizeof *pool->v),
		.order = malloc(RECORDS_POOL_RECORDS * sizeof *pool->order),
		.order_spare = malloc(RECORDS_POOL_RECORDS * sizeof *pool->order_spare),
		.bytes = malloc(RECORDS_POOL_BYTES),
	};
	return pool->v && pool->order && pool->order_spare && pool->bytes ? OK : fail(ERR_NOMEM, "out of memory");
}

static void
pool_fini(struct pool *pool)
{
	free(pool->v);
	free(pool->order);
	free(pool->order_spare);
	free(pool->bytes);
}

/* The window [from, until) of all streams into the pool, and out of it. */
static enum err
run_window(struct plan *p, const struct filter *f, unsigned jobs, struct pool *pool, struct span window,
           struct scan_counts *counts)
{
	struct scan_sink scan = {
		.columns = RECORD_COLUMNS,
		.prepare = rebuild_selected,
		.deliver = deliver_to_pool,
		.notice = pool_notice,
		.arg = pool,
	};
	struct scan_counts here = { 0 };
	pool->count = 0;
	pool->used = 0;
	pool->full = false;
	pool->pass_on = window.until_ns - window.from_ns == 1;
	plan_narrow(p, window);
	TRY(scan_run(p, f, jobs, &scan, &here));
	counts->bytes_read += here.bytes_read;
	if (pool->full)
		return OK;
	counts->blocks += here.blocks;
	counts->damaged += here.damaged;
	counts->refused += here.refused;
	counts->records += pool->count;
	return pool_give_out(pool, window.from_ns);
}

static enum err
run_in_time_order(struct plan *p, const struct filter *f, unsigned jobs, const struct records_sink *sink,
                  struct scan_counts *counts)
{
	struct span whole;
	if (!plan_extent(p, &whole))
		return OK;
	struct pool pool;
	enum err e = pool_init(&pool, sink);
	/* In records as the catalogue has them: a filter takes fewer, so that more of them go into a window. */
	uint64_t wanted = RECORDS_POOL_RECORDS / 2, width = plan_even_width(p, whole.from_ns, wanted);
	for (uint64_t at = whole.from_ns; e == OK && at < whole.until_ns;) {
		struct span window = { at, whole.until_ns - at > width ? at + width : whole.until_ns };
		e = run_window(p, f, jobs, &pool, window, counts);
		if (e != OK)
			break;
		if (pool.full) {
			width = (window.until_ns - window.from_ns) / 2;
			wanted = wanted > 1 ? wanted / 2 : 1;
			continue;
		}
		at = window.until_ns;
		if (sink->step)
			sink->step(sink->arg, counts->blocks, counts->records);
		if (pool.count < RECORDS_POOL_RECORDS / 4 && wanted < UINT64_MAX / 2)
			wanted *= 2;
		width = plan_even_width(p, at, wanted);
	}
	pool_fini(&pool);
	return e == END ? OK : e;
}

unsigned
records_columns(const struct plan *p, enum listing listing)
{
	/* Records that are merged outlive their block's batch. */
	if (listing == LISTING_NONE || plan_streams_used(p) > 1)
		return RECORD_COLUMNS;
	return listing == LISTING_SHORT ? LISTING_COLUMNS : FIELDS_COLUMNS;
}

enum err
records_run(struct plan *p, const struct filter *f, unsigned jobs, const struct records_sink *sink,
            struct scan_counts *counts)
{
	if (plan_streams_used(p) <= 1)
		return run_in_capture_order(p, f, jobs, sink, counts);
	/* The pool takes the room of a worker and a half. */
	unsigned n = crew_size(jobs);
	return run_in_time_order(p, f, n < RECORDS_MERGE_JOBS_MAX ? n : RECORDS_MERGE_JOBS_MAX, sink, counts);
}
