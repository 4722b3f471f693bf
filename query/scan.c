#include "query/scan.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/interrupt.h"

struct scan {
	struct plan *plan;
	const struct filter *filter;
	const struct scan_sink *sink;
	struct scan_counts *counts;
	pthread_mutex_t lock;          /* guards all below */
	pthread_cond_t  turn_changed;
	struct plan_segment *current;  /* blocks are taken from it */
	uint64_t current_left;         /* its blocks not taken yet */
	uint64_t taken, turn;          /* number of the next block to take, and to deliver */
	bool     stop;
	enum err error;
	char     sentence[ERR_TEXT_BYTES]; /* of error */
};

struct worker {
	struct scan *scan;
	unsigned number;
	pthread_t thread;
	struct block_decoder *decoder;
	struct filter_state *filter;
	uint8_t *conversation, *row;   /* a selection cut by time */
	uint64_t bytes_read;
};

struct task {
	struct plan_segment *segment;
	uint32_t block;
	uint64_t number;
};

unsigned
scan_jobs(unsigned asked)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned jobs = asked ? asked : n > 0 ? (unsigned)n : 1;
	return jobs < SCAN_JOBS_MAX ? jobs : SCAN_JOBS_MAX;
}

/* Keeps the first error. Called with the lock held. */
static void
scan_fail(struct scan *s, enum err e)
{
	s->stop = true;
	pthread_cond_broadcast(&s->turn_changed);
	if (e == END || s->error != OK)
		return;
	s->error = e;
	memcpy(s->sentence, err_text(), strnlen(err_text(), ERR_TEXT_BYTES - 1) + 1);
}

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

/* The next block, with the lock held; false when there is none. */
static bool
take(struct scan *s, struct task *t)
{
	while (!s->stop && !s->current_left) {
		if (s->current)
			let_go(s, &s->current);
		enum err e = plan_next(s->plan, &s->current);
		if (is_damage(e)) {
			report_damage(s);
			continue;
		}
		if (e != OK) {
			if (e != END)
				scan_fail(s, e);
			return false;
		}
		s->current->users = 1;
		if (s->current->fault[0] && !s->current->said->fault) {
			s->current->said->fault = true;
			s->counts->damaged++;
			s->sink->notice(s->sink->arg, s->current->fault);
		}
		s->current_left = s->current->blocks;
	}
	if (s->stop)
		return false;
	t->segment = s->current;
	t->segment->users++;
	t->block = (uint32_t)__builtin_ctzll(s->current_left);
	t->number = s->taken++;
	s->current_left &= s->current_left - 1;
	return true;
}

static bool
whole_in_span(const struct span *span, const struct block_info *info)
{
	return info->first_ns >= span->from_ns && (info->last_ns < span->until_ns || span->until_ns == UINT64_MAX);
}

static uint32_t
count_selected(const struct batch *b, const struct selection *sel)
{
	uint32_t n = 0;
	for (uint32_t c = 0; c < b->conversations; c++) {
		if (sel->conversation[c] == 1)
			n += b->start[c + 1] - b->start[c];
		else if (sel->conversation[c] == 2)
			for (uint32_t r = b->start[c]; r < b->start[c + 1]; r++)
				n += sel->row[r];
	}
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
		bool in = b->time[i] >= span->from_ns && (b->time[i] < span->until_ns || span->until_ns == UINT64_MAX);
		w->row[b->row_of[i]] &= in;
	}
	for (uint32_t c = 0; c < b->conversations; c++)
		w->conversation[c] = sel->conversation[c] ? 2 : 0;
	sel->conversation = w->conversation;
}

static enum err
load(struct worker *w, const struct task *t, unsigned columns, const struct batch **b)
{
	return segment_load(t->segment->segment, t->block, w->decoder, columns, b, &w->bytes_read);
}

/* Loads only as much as it takes to know what is selected, then the sink's columns when anything is. */
static enum err
select_records(struct worker *w, const struct task *t, struct scan_block *out)
{
	struct scan *s = w->scan;
	bool whole = whole_in_span(&t->segment->span, out->info);
	unsigned need = 0;
	if (whole && filter_is_all(s->filter) && s->sink->no_batch_for_all) {
		out->selected = out->info->records;
		return OK;
	}
	TRY(load(w, t, 0, &out->batch));
	TRY(filter_flows(w->filter, out->batch, &need));
	if (need) {
		TRY(load(w, t, need, &out->batch));
		TRY(filter_rows(w->filter, out->batch));
	}
	struct selection sel = filter_selection(w->filter);
	out->selected = count_selected(out->batch, &sel);
	if (out->selected && !whole) {
		TRY(load(w, t, BATCH_TIME, &out->batch));
		cut_by_time(w, out->batch, &t->segment->span, &sel);
		out->selected = count_selected(out->batch, &sel);
	} else if (s->sink->by_row) {
		spread_to_rows(w, out->batch, &sel);
	}
	out->conversation = sel.conversation;
	out->row = sel.row;
	return out->selected ? load(w, t, s->sink->columns, &out->batch) : OK;
}

static void
await_turn(struct scan *s, uint64_t number)
{
	while (s->turn != number && !s->stop)
		pthread_cond_wait(&s->turn_changed, &s->lock);
}

/* One block, from taking it to delivering; the lock is held before and after. */
static void
work(struct worker *w, struct task *t)
{
	struct scan *s = w->scan;
	struct scan_block b = {
		.segment = t->segment,
		.block = t->block,
		.info = &segment_blocks(t->segment->segment)[t->block],
	};
	pthread_mutex_unlock(&s->lock);
	enum err e = interrupt_check();
	if (e == OK)
		e = select_records(w, t, &b);
	if (e == OK && b.selected && s->sink->prepare)
		e = s->sink->prepare(s->sink->arg, w->number, &b);
	pthread_mutex_lock(&s->lock);
	await_turn(s, t->number);
	if (!s->stop) {
		if (e == OK && b.selected)
			e = s->sink->deliver(s->sink->arg, w->number, &b);
		struct plan_said *said = t->segment->said;
		uint64_t bit = (uint64_t)1 << t->block;
		if (b.batch && filter_refused(w->filter) && !(said->refused & bit)) {
			said->refused |= bit;
			s->counts->refused++;
			s->sink->notice(s->sink->arg, filter_refused(w->filter));
		}
		if (is_damage(e) && !(said->damaged & bit)) {
			said->damaged |= bit;
			report_damage(s);
		}
		if (e != OK && !is_damage(e))
			scan_fail(s, e);
		s->counts->blocks++;
		s->counts->records += b.info->records;
		if (s->sink->step)
			s->sink->step(s->sink->arg, s->counts->blocks, s->counts->records);
		s->turn++;
		pthread_cond_broadcast(&s->turn_changed);
	}
	let_go(s, &t->segment);
}

static void *
run_worker(void *arg)
{
	struct worker *w = arg;
	struct scan *s = w->scan;
	struct task t;
	pthread_mutex_lock(&s->lock);
	while (take(s, &t))
		work(w, &t);
	s->counts->bytes_read += w->bytes_read;
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

static enum err
worker_init(struct worker *w, struct scan *s, unsigned number)
{
	w->scan = s;
	w->number = number;
	w->conversation = malloc(BLOCK_RECORDS_MAX);
	w->row = malloc(BLOCK_RECORDS_MAX);
	if (!w->conversation || !w->row)
		return fail(ERR_NOMEM, "out of memory");
	TRY(block_decoder_open(&w->decoder));
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
	struct worker workers[SCAN_JOBS_MAX] = { 0 };
	struct scan s = { .plan = p, .filter = f, .sink = sink, .counts = counts };
	pthread_mutex_init(&s.lock, NULL);
	pthread_cond_init(&s.turn_changed, NULL);
	enum err e = OK;
	unsigned n = scan_jobs(jobs), started = 0;
	for (unsigned i = 0; i < n && e == OK; i++)
		e = worker_init(&workers[i], &s, i);
	/* This thread is worker 0; a thread that can not be started is done without. */
	for (unsigned i = 1; i < n && e == OK; i++, started++)
		if (pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]) != 0)
			break;
	if (e == OK)
		run_worker(&workers[0]);
	for (unsigned i = 1; i <= started; i++)
		pthread_join(workers[i].thread, NULL);
	if (s.current)
		let_go(&s, &s.current);
	for (unsigned i = 0; i < n; i++)
		worker_fini(&workers[i]);
	pthread_mutex_destroy(&s.lock);
	pthread_cond_destroy(&s.turn_changed);
	if (e == OK && s.error != OK)
		return fail(s.error, "%s", s.sentence);
	return e;
}
