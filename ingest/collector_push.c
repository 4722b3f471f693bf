#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/when.h"
#include "ingest/collector_parts.h"

#define JOBS_MAX 2u /* each has an encoder and frames, 20 MiB: more would not fit 64 MiB */

/* Blocks pass two doors, one worker at a time in each and in the order of the file: reading frames, and appending the parcel.
 * Encoding, between them, runs on all workers at once. */
struct push {
	struct collector *c;
	struct trace *trace;
	const struct push_options *options;
	struct push_result *result;
	unsigned stream;
	uint8_t  source[TRACE_FINGERPRINT_BYTES];

	pthread_mutex_t reading;
	uint64_t read;             /* blocks */
	_Atomic uint64_t read_bytes; /* of the file */
	uint64_t skip;             /* records still to be passed over: they are in parcels */
	enum err read_error;       /* END, or why reading stopped */
	char     read_sentence[ERR_TEXT_BYTES];

	pthread_mutex_t writing;
	pthread_cond_t  turn_changed;
	uint64_t turn;             /* number of the block to append next */
	uint64_t records;          /* of the file, that are in parcels */
	atomic_bool stop;
	enum err error;
	char     sentence[ERR_TEXT_BYTES];
};

struct worker {
	struct push *push;
	pthread_t thread;
	struct frames *frames;
	struct block_encoder *encoder;
};

/* --- the first door --- */

static void
skip_records(struct push *in, struct frames *f)
{
	uint32_t n = in->skip < f->count ? (uint32_t)in->skip : f->count;
	memmove(f->v, f->v + n, (f->count - n) * sizeof *f->v);
	f->count -= n;
	in->skip -= n;
}

static bool
read_frames(struct worker *w, uint64_t *number)
{
	struct push *in = w->push;
	bool got = false;
	pthread_mutex_lock(&in->reading);
	while (in->read_error == OK && !got) {
		enum err e = interrupt_check();
		if (e == OK)
			e = trace_fill(in->trace, w->frames);
		else
			frames_reset(w->frames);
		in->read_error = e;
		in->read_bytes = trace_offset(in->trace);
		if (e != OK && e != END)
			snprintf(in->read_sentence, sizeof in->read_sentence, "%s", err_text());
		skip_records(in, w->frames);
		got = w->frames->count > 0;
	}
	*number = in->read;
	in->read += got;
	pthread_mutex_unlock(&in->reading);
	return got;
}

/* --- the second door --- */

/* Waits for room: a file can be read later, so nothing of it is dropped, whatever the spool's policy is for captures. */
static enum err
append(struct push *in, const struct block *b, const uint8_t key[BLOCK_KEY_BYTES])
{
	struct parcel p = { .made_ns = when_now(), .source_records = in->records + b->info.records };
	memcpy(p.source, in->source, sizeof p.source);
	for (;;) {
		bool room = spool_wait_room(in->c->spool, b->stored_bytes, 200);
		enum err e = room ? collector_put_block(in->c, b, key, in->stream, &p) : ERR_FULL;
		if (e != ERR_FULL)
			return e;
		if (room)
			usleep(200000); /* the disk is full, not the spool */
		TRY(collector_check(in->c));
		TRY(interrupt_check());
	}
}

static void
append_in_turn(struct push *in, uint64_t number, const struct block *b, const uint8_t key[BLOCK_KEY_BYTES], enum err e)
{
	pthread_mutex_lock(&in->writing);
	while (in->turn != number && !in->stop)
		pthread_cond_wait(&in->turn_changed, &in->writing);
	if (!in->stop) {
		if (e == OK)
			e = append(in, b, key);
		if (e != OK) {
			in->stop = true;
			in->error = e;
			snprintf(in->sentence, sizeof in->sentence, "%s", err_text());
		} else {
			in->records += b->info.records;
			in->result->records += b->info.records;
			in->result->captured_bytes += b->info.captured_bytes;
			in->result->stored_bytes += b->stored_bytes;
			in->result->parcels++;
			if (in->options->step)
				in->options->step(in->options->arg, in->read_bytes, in->records);
		}
		in->turn++;
	}
	pthread_cond_broadcast(&in->turn_changed);
	pthread_mutex_unlock(&in->writing);
}

static void *
run_worker(void *arg)
{
	struct worker *w = arg;
	struct push *in = w->push;
	uint8_t key[BLOCK_KEY_BYTES];
	uint64_t number;
	while (!in->stop && read_frames(w, &number)) {
		struct block b;
		enum err e = block_encode(w->encoder, w->frames, in->options->headers_only, &b);
		if (e == OK) {
			randombytes_buf(key, sizeof key);
			block_seal(w->encoder, &b, key);
		}
		append_in_turn(in, number, &b, key, e);
	}
	sodium_memzero(key, sizeof key);
	return NULL;
}

static unsigned
jobs_of(unsigned asked)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n = asked ? asked : processors > 1 ? JOBS_MAX : 1;
	return n < JOBS_MAX ? n : JOBS_MAX;
}

static enum err
run_workers(struct push *in)
{
	struct worker workers[JOBS_MAX] = { 0 };
	unsigned n = jobs_of(in->options->jobs), started = 0;
	enum err e = OK;
	for (unsigned i = 0; i < n && e == OK; i++) {
		workers[i].push = in;
		e = frames_open(&workers[i].frames, PUSH_FRAMES_BYTES);
		if (e == OK)
			e = block_encoder_open(&workers[i].encoder);
	}
	for (unsigned i = 1; i < n && e == OK; i++, started++) /* this thread is worker 0 */
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

/* --- one file --- */

static bool
is_damage(enum err e)
{
	return e == ERR_FORMAT || e == ERR_LIMIT || e == ERR_UNSUPPORTED;
}

static enum err
finish(struct push *in)
{
	if (in->error != OK)
		return fail(in->error, "%s", in->sentence);
	if (in->read_error != END && !is_damage(in->read_error))
		return fail(in->read_error, "%s", in->read_sentence);
	if (in->read_error != END) {
		in->result->damaged = true;
		snprintf(in->result->damage, sizeof in->result->damage, "%s", in->read_sentence);
	}
	return spool_source_end(in->c->spool, in->stream, in->source, in->records);
}

static enum err
run(struct push *in)
{
	pthread_mutex_init(&in->reading, NULL);
	pthread_mutex_init(&in->writing, NULL);
	pthread_cond_init(&in->turn_changed, NULL);
	enum err e = run_workers(in);
	if (e == OK)
		e = finish(in);
	enum err synced = spool_sync(in->c->spool);
	pthread_cond_destroy(&in->turn_changed);
	pthread_mutex_destroy(&in->writing);
	pthread_mutex_destroy(&in->reading);
	return e == OK ? synced : e;
}

/* A pipe can not be read twice: what comes through it is always new. */
static enum err
fingerprint(struct trace *t, uint8_t out[TRACE_FINGERPRINT_BYTES])
{
	bool whole;
	if (!trace_is_stream(t))
		return trace_fingerprint(t, out, &whole);
	randombytes_buf(out, TRACE_FINGERPRINT_BYTES);
	return OK;
}

/* What of it was pushed before. */
static enum err
recall(struct push *in)
{
	struct spool_source known;
	enum err e = spool_source_find(in->c->spool, in->source, &known);
	if (e != OK)
		return e == ERR_ABSENT ? OK : e;
	if (known.complete) {
		in->result->known = !in->options->again;
		in->result->before = in->result->known ? known.records : 0;
		memcpy(in->result->stream, known.stream, sizeof in->result->stream);
		return OK;
	}
	if (strcmp(known.stream, in->options->stream) != 0)
		return fail(ERR_USAGE, "%s: its push into stream \"%s\" was interrupted: go on with --stream %s", trace_name(in->trace),
		            known.stream, known.stream);
	in->skip = in->records = in->result->before = known.records;
	return OK;
}

enum err
collector_push(struct collector *c, const char *path, const struct push_options *o, struct push_result *result)
{
	struct push in = { .c = c, .options = o, .result = result };
	struct trace_stats stats;
	*result = (struct push_result){ 0 };
	snprintf(result->stream, sizeof result->stream, "%s", o->stream);
	TRY(trace_open(&in.trace, path));
	enum err e = fingerprint(in.trace, in.source);
	if (e == OK)
		e = recall(&in);
	if (e == OK && !result->known) {
		e = spool_stream(c->spool, o->stream, &in.stream);
		if (e == OK)
			e = spool_source_begin(c->spool, in.stream, in.source);
		if (e == OK)
			e = run(&in);
	}
	trace_stats(in.trace, &stats);
	result->skipped_blocks = stats.skipped_blocks;
	snprintf(result->format, sizeof result->format, "%s", stats.format);
	trace_close(&in.trace);
	return e;
}
