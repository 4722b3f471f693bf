#include "query/scan.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/crew.h"
#include "base/interrupt.h"
#include "base/limits.h"

struct worker {
	struct scan *scan;
	struct block_decoder *decoder;
	struct filter_state *filter;
	uint8_t *conversation, *row;   /* of a selection that was cut down */
	uint64_t bytes_read;
	struct plan_segment *segment;  /* of the block that it has taken; NULL: none */
	struct scan_block b;
};

struct scan {
	struct plan *plan;
	const struct filter *filter;
	const struct scan_sink *sink;
	struct worker workers[CREW_MAX];
	pthread_mutex_t lock;          /* plan, segments, counts and sink: taking and delivering both use them */
	struct scan_counts *counts;
	struct plan_segment *current;  /* blocks are taken from it */
	uint64_t current_left;         /* its blocks not taken yet */
};

static bool
is_damage(enum err e)
{
	return e == ERR_FORMAT || e == ERR_DENIED || e == ERR_UNSUPPORTED;
}

static void
report_damage(struct scan *s)
{
	s->counts->damaged++;
	s->sink->notice(s->sink->arg, err_text());
}

static void
let_go(struct scan *s, struct plan_segment **segment)
{
	if (--(*segment)->users == 0)
		plan_release(s->plan, segment);
	*segment = NULL;
}

/* Goes on to the next segment with blocks to look at. END: there is none. */
static enum err
next_segment(struct scan *s)
{
	while (!s->current_left) {
		if (s->current)
			let_go(s, &s->current);
		enum err e = plan_next(s->plan, &s->current);
		if (is_damage(e)) {
			report_damage(s);
			continue;
		}
		if (e != OK)
			return e;
		s->current->users = 1;
		if (s->current->fault[0] && !s->current->said->fault) {
			s->current->said->fault = true;
			s->counts->damaged++;
			s->sink->notice(s->sink->arg, s->current->fault);
		}
		s->current_left = s->current->blocks;
	}
	return OK;
}

static enum err
take(void *arg, unsigned worker)
{
	struct scan *s = arg;
	struct worker *w = &s->workers[worker];
	pthread_mutex_lock(&s->lock);
	enum err e = next_segment(s);
	if (e == OK) {
		uint32_t block = (uint32_t)__builtin_ctzll(s->current_left);
		s->current_left &= s->current_left - 1;
		s->current->users++;
		w->segment = s->current;
		w->b = (struct scan_block){
			.segment = w->segment,
			.block = block,
			.info = &segment_blocks(w->segment->segment)[block],
		};
	}
	pthread_mutex_unlock(&s->lock);
	return e;
}

static bool
whole_in_span(const struct span *span, const struct block_info *info)
{
	return info->first_ns >= span->from_ns && (info->last_ns < span->until_ns || span->until_ns == UINT64_MAX);
}

/* Counts the selected rows, and takes out conversations that a view hides, and those that were looked at and have none: nothing is
 * read for these. */
static uint32_t
settle(struct worker *w, const struct batch *b, struct selection *sel)
{
	uint32_t n = 0;
	for (uint32_t c = 0; c < b->conversations; c++) {
		uint32_t here = 0, what = b->flows[2 * c].flags & FLOW_HIDDEN ? 0 : sel->conversation[c];
		if (what == 1)
			here = b->start[c + 1] - b->start[c];
		for (uint32_t r = b->start[c]; what == 2 && r < b->start[c + 1]; r++)
			here += sel->row[r];
		w->conversation[c] = here ? (uint8_t)what : 0;
		n += here;
	}
	sel->conversation = w->conversation;
	return n;
}

/* The same selection with every row's byte filled in. */
static void
spread_to_rows(struct worker *w, const struct batch *b, struct selection *sel)
{
	memset(w->row, 0, b->count);
	for (uint32_t c = 0; c < b->conversations; c++) {
		uint32_t first = b->start[c], rows = b->start[c + 1] - first;
		if (sel->conversation[c] == 1)
			memset(w->row + first, 1, rows);
		else if (sel->conversation[c] == 2)
			memcpy(w->row + first, sel->row + first, rows);
	}
	sel->row = w->row;
}

/* Takes out of the selection what is not in the time span. */
static void
cut_by_time(struct worker *w, const struct batch *b, const struct span *span, struct selection *sel)
{
	spread_to_rows(w, b, sel);
	for (uint32_t i = 0; i < b->count; i++) {
		bool in = b->captured[i] >= span->from_ns && (b->captured[i] < span->until_ns || span->until_ns == UINT64_MAX);
		w->row[b->row_of[i]] &= in;
	}
	for (uint32_t c = 0; c < b->conversations; c++)
		w->conversation[c] = sel->conversation[c] ? 2 : 0;
	sel->conversation = w->conversation;
}

static enum err
load(struct worker *w, unsigned columns)
{
	return segment_load(w->segment->segment, w->b.block, w->decoder, columns, &w->b.batch, &w->bytes_read);
}

static enum err
load_selected(struct worker *w, unsigned columns, const struct selection *sel)
{
	return segment_load_selected(w->segment->segment, w->b.block, w->decoder, columns, sel, &w->b.batch, &w->bytes_read);
}

/* Loads only as much as it takes to know what is selected, then the sink's columns when anything is. */
static enum err
select_records(struct worker *w)
{
	struct scan *s = w->scan;
	struct scan_block *b = &w->b;
	bool whole = whole_in_span(&w->segment->span, b->info);
	unsigned need = 0;
	if (whole && filter_is_all(s->filter) && s->sink->no_batch_for_all && !plan_view(s->plan)) {
		b->selected = b->info->records;
		return OK;
	}
	TRY(load(w, 0));
	TRY(filter_flows(w->filter, b->batch, &need));
	if (need) {
		struct selection maybe = filter_selection(w->filter);
		TRY(load_selected(w, need, &maybe));
		TRY(filter_rows(w->filter, b->batch));
	}
	struct selection sel = filter_selection(w->filter);
	b->selected = settle(w, b->batch, &sel);
	if (b->selected && !whole) {
		TRY(load(w, BATCH_TIME));
		cut_by_time(w, b->batch, &w->segment->span, &sel);
		b->selected = settle(w, b->batch, &sel);
	} else if (s->sink->by_row) {
		spread_to_rows(w, b->batch, &sel);
	}
	b->conversation = sel.conversation;
	b->row = sel.row;
	return b->selected ? load_selected(w, s->sink->columns, &sel) : OK;
}

static enum err
work(void *arg, unsigned worker)
{
	struct scan *s = arg;
	struct worker *w = &s->workers[worker];
	TRY(interrupt_check());
	enum err e = select_records(w);
	if (e == ERR_USAGE) { /* the view does not take what this stream has */
		const struct plan_stream *streams;
		plan_streams(s->plan, &streams);
		return fail_prefix(e, "stream %s: ", streams[w->segment->stream].name);
	}
	TRY(e);
	return w->b.selected && s->sink->prepare ? s->sink->prepare(s->sink->arg, worker, &w->b) : OK;
}

/* With the lock held. What can not be read is said once, however often the segment is looked at. */
static enum err
deliver_block(struct scan *s, struct worker *w, enum err e)
{
	const struct scan_block *b = &w->b;
	if (e == OK && b->selected)
		e = s->sink->deliver(s->sink->arg, (unsigned)(w - s->workers), b);
	struct plan_said *said = w->segment->said;
	uint64_t bit = (uint64_t)1 << b->block;
	if (b->batch && filter_refused(w->filter) && !(said->refused & bit)) {
		said->refused |= bit;
		s->counts->refused++;
		s->sink->notice(s->sink->arg, filter_refused(w->filter));
	}
	if (is_damage(e) && !(said->damaged & bit)) {
		said->damaged |= bit;
		report_damage(s);
	}
	s->counts->blocks++;
	s->counts->records += b->info->records;
	if (s->sink->step)
		s->sink->step(s->sink->arg, s->counts->blocks, s->counts->records);
	return is_damage(e) ? OK : e;
}

static enum err
deliver(void *arg, unsigned worker, enum err outcome)
{
	struct scan *s = arg;
	pthread_mutex_lock(&s->lock);
	enum err e = deliver_block(s, &s->workers[worker], outcome);
	let_go(s, &s->workers[worker].segment);
	pthread_mutex_unlock(&s->lock);
	return e;
}

static enum err
worker_init(struct worker *w, struct scan *s)
{
	w->scan = s;
	w->conversation = malloc(BLOCK_RECORDS_MAX);
	w->row = malloc(BLOCK_RECORDS_MAX);
	if (!w->conversation || !w->row)
		return fail(ERR_NOMEM, "out of memory");
	const struct view *view = plan_view(s->plan);
	TRY(block_decoder_open(&w->decoder, view ? view_packets(view) : NULL));
	return filter_state_open(&w->filter, s->filter);
}

static void
worker_fini(struct worker *w)
{
	filter_state_close(&w->filter);
	block_decoder_close(&w->decoder);
	free(w->conversation);
	free(w->row);
}

enum err
scan_run(struct plan *p, const struct filter *f, unsigned jobs, const struct scan_sink *sink, struct scan_counts *counts)
{
	struct scan s = { .plan = p, .filter = f, .sink = sink, .counts = counts };
	struct crew_work crew = { .take = take, .work = work, .deliver = deliver, .arg = &s };
	enum err e = OK;
	unsigned n = crew_size(jobs);
	pthread_mutex_init(&s.lock, NULL);
	for (unsigned i = 0; i < n && e == OK; i++)
		e = worker_init(&s.workers[i], &s);
	if (e == OK)
		e = crew_run(n, &crew);
	for (unsigned i = 0; i < n; i++) {
		if (s.workers[i].segment) /* taken, then stopped */
			let_go(&s, &s.workers[i].segment);
		counts->bytes_read += s.workers[i].bytes_read;
		worker_fini(&s.workers[i]);
	}
	if (s.current)
		let_go(&s, &s.current);
	pthread_mutex_destroy(&s.lock);
	return e;
}
