#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/when.h"
#include "ingest/collector_parts.h"

#define BUFFERS_MAX  (CAPTURE_INTERFACES_MAX + 1)
#define SLICE_MS     100                    /* how long a capture is waited for at once */
#define WAITED_NS    (NS_PER_S / 10)        /* a second in which buffers were waited for so long is one of overload */
#define CALM_MIN_S   10u                    /* so many seconds without overload, and the rate falls again ... */
#define CALM_MAX_S   160u                   /* ... twice as many each time that was too early */
#define ROOM_BYTES   65536u                 /* a spool without room for a small parcel is not encoded for */

struct buffer {
	struct frames *frames;
	unsigned feed;
	uint64_t left_out;      /* by the sampler, before and among these frames */
};

struct live;

/* One interface. */
struct feed {
	struct live    *live;
	struct capture *capture;
	pthread_t       thread;
	unsigned        number, stream;
	struct sampler  sampler;
	struct buffer  *buffer;
	uint64_t        opened_ns;  /* when the first frame came into buffer */
	uint64_t        seen, kept; /* since the last buffer was handed over */
	struct capture_losses losses;
	uint64_t        waited_ns, second_ns;
	uint32_t        base_rate;
	unsigned        calm, calm_wanted;
};

struct live {
	struct collector *c;
	const struct live_options *options;
	struct feed     feeds[CAPTURE_INTERFACES_MAX];
	unsigned        feed_count;
	atomic_uint     running;   /* feeds */
	atomic_bool     stop;

	struct buffer   buffers[BUFFERS_MAX];
	unsigned        buffer_count;
	pthread_mutex_t lock;
	pthread_cond_t  changed;
	struct buffer  *free[BUFFERS_MAX], *full[BUFFERS_MAX]; /* full: first in, first out */
	unsigned        free_count, full_count;

	pthread_t       encoding;
	struct block_encoder *encoder;
	struct log_brake brake;
};

static uint64_t
now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* --- buffers --- */

static void
take_buffer(struct feed *f)
{
	struct live *l = f->live;
	uint64_t began = now_ns();
	pthread_mutex_lock(&l->lock);
	while (l->free_count == 0)
		pthread_cond_wait(&l->changed, &l->lock);
	f->buffer = l->free[--l->free_count];
	pthread_mutex_unlock(&l->lock);
	f->waited_ns += now_ns() - began;
	f->buffer->feed = f->number;
	frames_reset(f->buffer->frames);
	sampler_mark(&f->sampler, f->buffer->frames);
}

static void
hand_over(struct feed *f)
{
	struct live *l = f->live;
	f->buffer->left_out = f->seen - f->kept;
	f->seen = f->kept = 0;
	pthread_mutex_lock(&l->lock);
	l->full[l->full_count++] = f->buffer;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	f->buffer = NULL;
}

static void
give_back(struct live *l, struct buffer *b)
{
	pthread_mutex_lock(&l->lock);
	l->free[l->free_count++] = b;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
}

/* The oldest full buffer; NULL: all feeds ended and there is none. */
static struct buffer *
next_full(struct live *l)
{
	struct buffer *b = NULL;
	pthread_mutex_lock(&l->lock);
	while (l->full_count == 0 && l->running > 0)
		pthread_cond_wait(&l->changed, &l->lock);
	if (l->full_count > 0) {
		b = l->full[0];
		memmove(l->full, l->full + 1, --l->full_count * sizeof *l->full);
	}
	pthread_mutex_unlock(&l->lock);
	return b;
}

/* --- encoding --- */

static void
encode(struct live *l, const struct buffer *b)
{
	const struct feed *f = &l->feeds[b->feed];
	struct spool *spool = collector_spool(l->c);
	struct parcel p = { .made_ns = when_now() };
	spool_lose(spool, f->stream, SPOOL_LOST_POLICY, b->left_out);
	if (b->frames->count == 0)
		return;
	enum err e = spool_wait_room(spool, ROOM_BYTES, 0) ? OK : fail(ERR_FULL, "the spool is full");
	if (e == OK) /* frames were cut when they were captured */
		e = collector_put(l->c, l->encoder, b->frames, false, f->stream, &p);
	if (e == OK)
		return;
	spool_lose(spool, f->stream, SPOOL_LOST_SPOOL, b->frames->count);
	log_braked(&l->brake, LOG_WARNED, "%s: %u packets are lost: %s", capture_name(f->capture), b->frames->count, err_text());
}

static void *
run_encoder(void *arg)
{
	struct live *l = arg;
	for (struct buffer *b; (b = next_full(l));) {
		encode(l, b);
		give_back(l, b);
	}
	return NULL;
}

/* --- shedding --- */

static void
change_rate(struct feed *f, uint32_t rate, const char *why)
{
	if (f->buffer) /* a block has one rate */
		hand_over(f);
	sampler_rate(&f->sampler, rate);
	f->live->c->sampled[f->stream] = rate;
	log_line(LOG_WARNED, "%s: keeping one in %u packets from now on: %s", capture_name(f->capture), rate, why);
}

/* The rate doubles in a second in which packets were dropped or buffers waited for, and halves after many calm ones. */
static void
shed(struct feed *f, bool overload)
{
	uint32_t rate = f->sampler.rate;
	f->calm = overload ? 0 : f->calm + 1;
	if (overload && rate <= SAMPLING_RATE_MAX / 2) {
		if (rate > f->base_rate && f->calm_wanted < CALM_MAX_S)
			f->calm_wanted *= 2;
		change_rate(f, 2 * rate, "it is too much for this machine");
	} else if (f->calm >= f->calm_wanted && rate > f->base_rate) {
		f->calm = 0;
		change_rate(f, rate / 2, "there is room again");
	} else if (f->calm >= CALM_MAX_S) {
		f->calm_wanted = CALM_MIN_S;
	}
}

/* Once a second. */
static void
look_around(struct feed *f)
{
	struct spool *spool = collector_spool(f->live->c);
	struct capture_losses now = f->losses;
	if (capture_losses(f->capture, &now) != OK)
		log_braked(&f->live->brake, LOG_WARNED, "%s", err_text());
	uint64_t kernel = now.kernel - f->losses.kernel;
	spool_lose(spool, f->stream, SPOOL_LOST_KERNEL, kernel);
	spool_lose(spool, f->stream, SPOOL_LOST_INTERFACE, now.interface - f->losses.interface);
	f->losses = now;
	if (f->buffer && f->buffer->frames->count == 0) { /* none was chosen for long */
		spool_lose(spool, f->stream, SPOOL_LOST_POLICY, f->seen - f->kept);
		f->seen = f->kept = 0;
	}
	if (f->live->options->shed)
		shed(f, kernel > 0 || f->waited_ns > WAITED_NS);
	f->waited_ns = 0;
	f->second_ns = now_ns() + NS_PER_S;
}

/* --- capturing --- */

/* OK: go on. */
static enum err
capture_some(struct feed *f)
{
	bool full;
	if (!f->buffer)
		take_buffer(f);
	uint32_t before = f->buffer->frames->count;
	uint64_t now = now_ns(), due = f->opened_ns + COLLECTOR_BLOCK_NS;
	unsigned slice = SLICE_MS;
	if (before > 0 && due < now + SLICE_MS * 1000000ull)
		slice = due > now ? (unsigned)((due - now) / 1000000) : 0;
	enum err e = capture_fill(f->capture, f->buffer->frames, &f->sampler, &f->seen, slice, &full);
	uint32_t after = f->buffer->frames->count;
	f->kept += after - before;
	now = now_ns();
	if (before == 0 && after > 0)
		f->opened_ns = now - slice * 1000000ull; /* at the earliest */
	if (full || (after > 0 && now >= f->opened_ns + COLLECTOR_BLOCK_NS))
		hand_over(f);
	return e;
}

static void *
run_feed(void *arg)
{
	struct feed *f = arg;
	struct live *l = f->live;
	enum err e = OK;
	while (e == OK && !l->stop) {
		e = capture_some(f);
		if (now_ns() >= f->second_ns)
			look_around(f);
	}
	if (e == OK)
		e = capture_some(f); /* what the ring still has */
	if (e == END)
		log_line(LOG_FAILED, "%s: the interface is gone; when it is back, start again to capture it", capture_name(f->capture));
	else if (e != OK)
		log_line(LOG_FAILED, "%s", err_text());
	look_around(f);
	if (f->buffer)
		hand_over(f);
	l->c->sampled[f->stream] = 0;
	pthread_mutex_lock(&l->lock);
	l->running--;
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* --- all of it --- */

static enum err
buffers_open(struct live *l)
{
	uint32_t largest = 0;
	l->buffer_count = l->feed_count + 1;
	for (unsigned i = 0; i < l->feed_count; i++)
		if (capture_snaplen(l->feeds[i].capture) > largest)
			largest = capture_snaplen(l->feeds[i].capture);
	uint32_t room = CAPTURE_FRAMES_BYTES / l->buffer_count;
	room = room > 2 * largest ? room : 2 * largest;
	for (unsigned i = 0; i < l->buffer_count; i++) {
		TRY(frames_open(&l->buffers[i].frames, room));
		l->free[l->free_count++] = &l->buffers[i];
	}
	return block_encoder_open(&l->encoder);
}

static enum err
feed_open(struct live *l, unsigned number, struct capture *capture)
{
	const struct live_options *o = l->options;
	struct feed *f = &l->feeds[number];
	enum sampler_kind kind = o->sampler == SAMPLER_ALL ? SAMPLER_RANDOM : o->sampler;
	*f = (struct feed){ .live = l, .capture = capture, .number = number, .base_rate = o->rate ? o->rate : 1,
		            .calm_wanted = CALM_MIN_S };
	TRY(spool_stream(collector_spool(l->c), capture_name(capture), &f->stream));
	sampler_init(&f->sampler, kind, f->base_rate, o->seed);
	f->second_ns = now_ns() + NS_PER_S;
	l->c->sampled[f->stream] = f->base_rate;
	return OK;
}

static enum err
threads_start(struct live *l)
{
	for (unsigned i = 0; i < l->feed_count; i++)
		if (pthread_create(&l->feeds[i].thread, NULL, run_feed, &l->feeds[i]) != 0) {
			l->running -= l->feed_count - i;
			l->feed_count = i;
			return fail(ERR_NOMEM, "no thread for interface %u", i + 1);
		}
	return OK;
}

static enum err
watch(struct live *l, void (*tick)(void *arg), void *arg)
{
	for (unsigned slices = 0; !interrupt_seen(); slices++) {
		struct timespec slice = { 0, 100000000 };
		nanosleep(&slice, NULL);
		if (l->running == 0)
			return fail(ERR_IO, "no interface is left to capture");
		if (slices % 10 != 0)
			continue;
		TRY(collector_check(l->c));
		if (collector_status_write(l->c) != OK)
			log_braked(&l->brake, LOG_WARNED, "%s", err_text());
		if (tick)
			tick(arg);
	}
	return OK;
}

static enum err
run(struct live *l, void (*tick)(void *arg), void *arg)
{
	char sentence[ERR_TEXT_BYTES] = "";
	l->running = l->feed_count; /* before the encoder looks whether there are any */
	if (pthread_create(&l->encoding, NULL, run_encoder, l) != 0)
		return fail(ERR_NOMEM, "no thread to encode");
	enum err e = threads_start(l);
	if (e == OK)
		e = watch(l, tick, arg);
	if (e != OK)
		snprintf(sentence, sizeof sentence, "%s", err_text());
	l->stop = true;
	for (unsigned i = 0; i < l->feed_count; i++)
		pthread_join(l->feeds[i].thread, NULL);
	pthread_mutex_lock(&l->lock);
	pthread_cond_broadcast(&l->changed);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->encoding, NULL);
	enum err synced = spool_sync(collector_spool(l->c));
	return e != OK ? fail(e, "%s", sentence) : synced;
}

enum err
collector_live(struct collector *c, struct capture *const *captures, unsigned count, const struct live_options *o,
               void (*tick)(void *arg), void *arg)
{
	struct live *l = calloc(1, sizeof *l);
	enum err e = OK;
	if (!l)
		return fail(ERR_NOMEM, "no memory for the captures");
	l->c = c;
	l->options = o;
	l->feed_count = count;
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->changed, NULL);
	for (unsigned i = 0; i < count && e == OK; i++)
		e = feed_open(l, i, captures[i]);
	if (e == OK)
		e = buffers_open(l);
	if (e == OK)
		e = run(l, tick, arg);
	for (unsigned i = 0; i < l->buffer_count; i++)
		frames_close(&l->buffers[i].frames);
	block_encoder_close(&l->encoder);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l);
	return e;
}
