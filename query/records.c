#include "query/records.h"

#include "archive/packet_view.h"
#include "base/crew.h"
#include "query/pool.h"

/* Of a window: four blocks' worth. Half of it was 20 % slower (each opens its decoders), twice of it as well (caches). */
#define WINDOW_RECORDS 262144u

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

/* Calls see() for each selected record of a block in capture order. captured: with the captured time, which a view may not show. */
static enum err
each_record(const struct scan_block *b, bool listing, bool captured, enum err (*see)(void *arg, const struct record *r), void *arg)
{
	const struct batch *batch = b->batch;
	for (uint32_t i = 0; i < batch->selected_count; i++) {
		uint32_t row = batch->selected[i].row;
		struct record r = {
			.ts_ns = captured ? batch->selected[i].captured : batch->selected[i].time,
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
	return each_record(b, sink->listing, false, sink->record, sink->arg);
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

/* Windows of time follow each other. Each reads the blocks that start in it and gives out its records; what these blocks hold
 * behind it stays in the pool, so that a block is read once. Where streams are so many that it does not fit, nothing is kept
 * and blocks are read again for each window. All of it is in captured times; records get that of the view when they are given. */
struct merging {
	const struct records_sink *sink;
	struct plan *plan;
	const struct view *view;
	const struct filter *filter;
	unsigned jobs;
	struct scan_counts *counts;
	struct pool *pool;
	struct span whole;
	bool keeps;                    /* records behind the window stay */
	uint64_t loaded_ns;            /* blocks that start before are in the pool, what is not given out of them */
	bool full;                     /* the window did not fit */
	bool pass_on;                  /* the window is one instant: no need to sort, nor to keep */
	uint32_t place;                /* of the block that is added */
};

static enum err
give(void *arg, const struct record *r)
{
	struct merging *m = arg;
	m->counts->records++;
	if (!m->view)
		return m->sink->record(m->sink->arg, r);
	struct record shown = *r;
	shown.ts_ns = time_map(&view_packets(m->view)->time, r->ts_ns);
	return m->sink->record(m->sink->arg, &shown);
}

static enum err
add(void *arg, const struct record *r)
{
	struct merging *m = arg;
	if (m->pass_on)
		return give(m, r);
	enum err e = pool_add(m->pool, r, m->place);
	if (e == OK)
		return OK;
	m->full = true;
	return END;
}

static enum err
add_block(void *arg, unsigned worker, const struct scan_block *b)
{
	(void)worker;
	struct merging *m = arg;
	m->place = b->segment->number * SEGMENT_BLOCKS_MAX + b->block;
	return each_record(b, false, true, add, m);
}

static void
merging_notice(void *arg, const char *sentence)
{
	const struct merging *m = arg;
	m->sink->notice(m->sink->arg, sentence);
}

/* Reads what the window needs into the pool. */
static enum err
load_window(struct merging *m, struct span window)
{
	struct scan_sink scan = {
		.columns = RECORD_COLUMNS,
		.prepare = rebuild_selected,
		.deliver = add_block,
		.notice = merging_notice,
		.arg = m,
	};
	struct scan_counts here = { 0 };
	m->full = false;
	m->pass_on = !m->keeps && window.until_ns - window.from_ns == 1;
	plan_narrow(m->plan, (struct span){ window.from_ns, m->keeps ? m->whole.until_ns : window.until_ns },
	            (struct span){ m->keeps ? m->loaded_ns : 0, window.until_ns });
	TRY(scan_run(m->plan, m->filter, m->jobs, &scan, &here));
	m->counts->bytes_read += here.bytes_read;
	if (m->full)
		return OK;
	m->counts->blocks += here.blocks;
	m->counts->damaged += here.damaged;
	m->counts->refused += here.refused;
	m->loaded_ns = window.until_ns;
	return OK;
}

/* How many records, as the catalogue has them, the next window is to have: a filter takes fewer of them. When blocks are kept a
 * few at a time do; otherwise the more fit, the fewer blocks are read twice. */
static uint64_t
next_wanted(const struct merging *m, uint64_t wanted, struct pool_fill before)
{
	struct pool_fill now = pool_fill(m->pool);
	if (now.bytes < POOL_BYTES / 4)
		return wanted < UINT64_MAX / 2 && (!m->keeps || now.records - before.records < WINDOW_RECORDS / 2) ? 2 * wanted : wanted;
	return m->keeps ? wanted : (uint64_t)((double)wanted * 0.85 * POOL_BYTES / now.bytes) + 1;
}

/* A window that did not fit is tried again narrower. When that would be too narrow for what is kept, nothing is any more. */
static void
make_room(struct merging *m, struct pool_fill before, uint64_t *wanted)
{
	*wanted = *wanted > 1 ? *wanted / 2 : 1;
	if (m->keeps && *wanted < WINDOW_RECORDS / 16) {
		m->keeps = false;
		*wanted = WINDOW_RECORDS;
		before = (struct pool_fill){ 0 };
	}
	pool_cut(m->pool, before);
}

/* Window after window, as wide as so many records are, if those of each segment are spread evenly over its time. */
static enum err
merge_windows(struct merging *m)
{
	uint64_t wanted = WINDOW_RECORDS, at = m->whole.from_ns, width = plan_even_width(m->plan, at, wanted);
	while (at < m->whole.until_ns) {
		struct span window = { at, m->whole.until_ns - at > width ? at + width : m->whole.until_ns };
		struct pool_fill before = pool_fill(m->pool);
		TRY(load_window(m, window));
		if (m->full) {
			make_room(m, before, &wanted);
			width = (window.until_ns - window.from_ns) / 2;
			continue;
		}
		wanted = next_wanted(m, wanted, before);
		TRY(pool_give_out(m->pool, window.until_ns == m->whole.until_ns ? UINT64_MAX : window.until_ns - 1, give, m));
		at = window.until_ns;
		if (m->sink->step)
			m->sink->step(m->sink->arg, m->counts->blocks, m->counts->records);
		width = plan_even_width(m->plan, at, wanted);
	}
	return OK;
}

static enum err
run_in_time_order(struct plan *p, const struct filter *f, unsigned jobs, const struct records_sink *sink,
                  struct scan_counts *counts)
{
	struct merging m = { .sink = sink, .plan = p, .view = plan_view(p), .filter = f, .jobs = jobs, .counts = counts,
	                     .keeps = true };
	if (!plan_extent(p, &m.whole))
		return OK;
	TRY(pool_open(&m.pool));
	enum err e = merge_windows(&m);
	pool_close(&m.pool);
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
