#include "tools/intake.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "archive/block.h"
#include "base/interrupt.h"
#include "query/scan.h"

/* Blocks pass two doors, one worker at a time in each: reading frames from the trace, and appending the sealed block to
 * the segment. Encoding, between them, runs on all workers at once. Both doors are passed in the order of the trace. */
struct intake {
	struct store *store;
	struct trace *trace;
	const struct intake_options *options;
	struct import_row *import;
	struct intake_result *result;
	uint32_t stream;

	pthread_mutex_t reading;
	uint64_t read;                 /* batches read */
	uint64_t skip;                 /* records still to be passed over: an earlier run has them */
	enum err read_error;           /* END, or why reading stopped */
	char read_sentence[ERR_TEXT_BYTES];

	pthread_mutex_t writing;
	pthread_cond_t  turn_changed;
	uint64_t turn;                 /* number of the batch to append next */
	struct store_segment *segment; /* being filled; NULL */
	uint64_t records;              /* of the trace, with those in the open segment */
	struct segment_totals open;    /* of the open segment */
	bool stop;
	enum err error;
	char sentence[ERR_TEXT_BYTES];
};

struct worker {
	struct intake *in;
	pthread_t thread;
	struct frames *frames;
	struct block_encoder *encoder;
};

/* --- the first door --- */

static void
skip_records(struct intake *in, struct frames *f)
{
	uint32_t n = in->skip < f->count ? (uint32_t)in->skip : f->count;
	memmove(f->v, f->v + n, (f->count - n) * sizeof *f->v);
	f->count -= n;
	in->skip -= n;
}

/* The next frames and their number; false when there are none. */
static bool
read_frames(struct worker *w, uint64_t *number)
{
	struct intake *in = w->in;
	bool got = false;
	pthread_mutex_lock(&in->reading);
	while (in->read_error == OK && !got) {
		enum err e = interrupt_check();
		if (e == OK)
			e = trace_fill(in->trace, w->frames);
		else
			frames_reset(w->frames);
		in->read_error = e;
		if (e != OK && e != END)
			memcpy(in->read_sentence, err_text(), strlen(err_text()) + 1);
		skip_records(in, w->frames);
		got = w->frames->count > 0;
	}
	*number = in->read;
	in->read += got;
	pthread_mutex_unlock(&in->reading);
	return got;
}

/* --- the second door --- */

static void
intake_fail(struct intake *in, enum err e)
{
	in->stop = true;
	pthread_cond_broadcast(&in->turn_changed);
	if (in->error != OK)
		return;
	in->error = e;
	memcpy(in->sentence, err_text(), strlen(err_text()) + 1);
}

static enum err
commit(struct intake *in)
{
	struct import_row import = *in->import;
	import.records = in->records;
	TRY(store_segment_commit(in->store, &in->segment, &import));
	*in->import = import;
	in->result->segments++;
	in->result->records += in->open.records;
	in->result->captured_bytes += in->open.captured_bytes;
	in->result->stored_bytes += in->open.file_bytes;
	in->open = (struct segment_totals){ 0 };
	return OK;
}

static enum err
append(struct intake *in, struct block_encoder *encoder, struct block *b)
{
	if (!in->segment)
		TRY(store_segment_begin(in->store, in->stream, &in->segment));
	struct segment_writer *w = store_segment_writer(in->segment);
	TRY(segment_seal(w, encoder, b));
	in->records += b->info.records;
	in->open.records += b->info.records;
	in->open.captured_bytes += b->info.captured_bytes;
	in->open.file_bytes += b->stored_bytes;
	return segment_full(w) ? commit(in) : OK;
}

/* With the lock held before and after. */
static void
append_in_turn(struct intake *in, uint64_t number, struct block_encoder *encoder, struct block *b, enum err e)
{
	while (in->turn != number && !in->stop)
		pthread_cond_wait(&in->turn_changed, &in->writing);
	if (in->stop)
		return;
	if (e == OK)
		e = append(in, encoder, b);
	if (e != OK)
		intake_fail(in, e);
	else if (in->options->step)
		in->options->step(in->options->arg, in->trace, in->records);
	in->turn++;
	pthread_cond_broadcast(&in->turn_changed);
}

static void *
run_worker(void *arg)
{
	struct worker *w = arg;
	struct intake *in = w->in;
	uint64_t number;
	bool stop = false;
	while (!stop && read_frames(w, &number)) {
		struct block b;
		enum err e = block_encode(w->encoder, w->frames, in->options->headers_only, &b);
		pthread_mutex_lock(&in->writing);
		append_in_turn(in, number, w->encoder, &b, e);
		stop = in->stop;
		pthread_mutex_unlock(&in->writing);
	}
	return NULL;
}

static enum err
run_workers(struct intake *in)
{
	struct worker workers[SCAN_JOBS_MAX] = { 0 };
	unsigned n = scan_jobs(in->options->jobs), started = 0;
	enum err e = OK;
	for (unsigned i = 0; i < n && e == OK; i++) {
		workers[i].in = in;
		e = frames_open(&workers[i].frames, BLOCK_BYTES_MAX);
		if (e == OK)
			e = block_encoder_open(&workers[i].encoder);
	}
	/* This thread is worker 0; a thread that can not be started is done without. */
	for (unsigned i = 1; i < n && e == OK; i++, started++)
		if (pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]) != 0)
			break;
	if (e == OK)
		run_worker(&workers[0]);
	for (unsigned i = 1; i <= started; i++)
		pthread_join(workers[i].thread, NULL);
	for (unsigned i = 0; i < n; i++) {
		frames_close(&workers[i].frames);
		block_encoder_close(&workers[i].encoder);
	}
	return e;
}

static bool
is_damage(enum err e)
{
	return e == ERR_FORMAT || e == ERR_LIMIT || e == ERR_UNSUPPORTED;
}

/* Commits what is left after the workers ended, and says how it ended. */
static enum err
finish(struct intake *in)
{
	if (in->error != OK) {
		store_segment_abort(in->store, &in->segment);
		return fail(in->error, "%s", in->sentence);
	}
	if (in->segment)
		TRY(commit(in));
	if (in->read_error == END)
		return OK;
	if (!is_damage(in->read_error))
		return fail(in->read_error, "%s", in->read_sentence);
	in->result->damaged = true;
	memcpy(in->result->damage, in->read_sentence, sizeof in->result->damage);
	return OK;
}

enum err
intake_run(struct store *s, struct trace *t, uint32_t stream, struct import_row *import,
           const struct intake_options *options, struct intake_result *result)
{
	struct intake in = {
		.store = s,
		.trace = t,
		.options = options,
		.import = import,
		.result = result,
		.stream = stream,
		.skip = import->records,
		.records = import->records,
	};
	*result = (struct intake_result){ 0 };
	pthread_mutex_init(&in.reading, NULL);
	pthread_mutex_init(&in.writing, NULL);
	pthread_cond_init(&in.turn_changed, NULL);
	enum err e = run_workers(&in);
	if (e == OK)
		e = finish(&in);
	pthread_cond_destroy(&in.turn_changed);
	pthread_mutex_destroy(&in.writing);
	pthread_mutex_destroy(&in.reading);
	return e;
}
