#include "tools/intake.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "archive/block.h"
#include "base/crew.h"

/* What a worker of the crew holds: the frames that it has read, then the block made of them. */
struct worker {
	struct frames *frames;
	uint64_t offset;               /* behind them in the trace */
	struct block_encoder *encoder;
	struct block block;
	uint8_t key[BLOCK_KEY_BYTES];
};

/* Frames are read from the trace by one worker at a time, encoded by all at once, and the sealed blocks appended to the
 * segment by one at a time in the order of the trace. */
struct intake {
	struct store *store;
	struct trace *trace;
	const struct intake_options *options;
	struct import_row *import;
	struct intake_result *result;
	uint32_t stream;
	struct worker workers[CREW_MAX];

	/* reading */
	uint64_t skip;                 /* records still to be passed over: an earlier run has them */
	enum err read_error;           /* END, or why reading stopped */
	char read_sentence[ERR_TEXT_BYTES];

	/* writing */
	struct store_segment *segment; /* being filled; NULL */
	uint64_t records;              /* of the trace, with those in the open segment */
	struct segment_totals open;    /* of the open segment */
};

/* --- reading --- */

static void
skip_records(struct intake *in, struct frames *f)
{
	uint32_t n = in->skip < f->count ? (uint32_t)in->skip : f->count;
	memmove(f->v, f->v + n, (f->count - n) * sizeof *f->v);
	f->count -= n;
	in->skip -= n;
}

/* Why the reading stopped is kept: what was read before it is stored first. */
static enum err
read_frames(void *arg, unsigned worker)
{
	struct intake *in = arg;
	struct frames *f = in->workers[worker].frames;
	while (in->read_error == OK) {
		enum err e = trace_fill(in->trace, f); /* looks at the interrupt flag, too */
		in->read_error = e;
		in->workers[worker].offset = trace_offset(in->trace);
		if (e != OK && e != END)
			memcpy(in->read_sentence, err_text(), strlen(err_text()) + 1);
		skip_records(in, f);
		if (f->count > 0)
			return OK;
	}
	return END;
}

static enum err
encode(void *arg, unsigned worker)
{
	struct intake *in = arg;
	struct worker *w = &in->workers[worker];
	TRY(block_encode(w->encoder, w->frames, in->options->headers_only, &w->block));
	randombytes_buf(w->key, sizeof w->key);
	block_seal(w->encoder, &w->block, w->key);
	return OK;
}

/* --- writing --- */

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
append(struct intake *in, const struct worker *worker)
{
	const struct block *b = &worker->block;
	if (!in->segment)
		TRY(store_segment_begin(in->store, in->stream, &in->segment));
	struct segment_writer *w = store_segment_writer(in->segment);
	TRY(segment_append(w, b, worker->key));
	in->records += b->info.records;
	in->open.records += b->info.records;
	in->open.captured_bytes += b->info.captured_bytes;
	in->open.file_bytes += b->stored_bytes;
	return segment_full(w) ? commit(in) : OK;
}

static enum err
append_in_turn(void *arg, unsigned worker, enum err outcome)
{
	struct intake *in = arg;
	TRY(outcome);
	TRY(append(in, &in->workers[worker]));
	if (in->options->step)
		in->options->step(in->options->arg, in->workers[worker].offset, in->records);
	return OK;
}

static enum err
run_workers(struct intake *in)
{
	struct crew_work crew = { .take = read_frames, .work = encode, .deliver = append_in_turn, .arg = in };
	unsigned n = crew_size(in->options->jobs);
	enum err e = OK;
	for (unsigned i = 0; i < n && e == OK; i++) {
		e = frames_open(&in->workers[i].frames, BLOCK_BYTES_MAX);
		if (e == OK)
			e = block_encoder_open(&in->workers[i].encoder);
	}
	if (e == OK)
		e = crew_run(n, &crew);
	for (unsigned i = 0; i < n; i++) {
		frames_close(&in->workers[i].frames);
		block_encoder_close(&in->workers[i].encoder);
		sodium_memzero(in->workers[i].key, sizeof in->workers[i].key);
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
	enum err e = run_workers(&in);
	if (e == OK)
		return finish(&in);
	char sentence[ERR_TEXT_BYTES];
	memcpy(sentence, err_text(), strlen(err_text()) + 1);
	store_segment_abort(s, &in.segment);
	return fail(e, "%s", sentence);
}
