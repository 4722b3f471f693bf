#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/io.h"
#include "base/log.h"
#include "base/when.h"
#include "ingest/collector_parts.h"

/* --- making the spool durable --- */

/* One sync after the other for as long as there is something: what is appended during one is the group of the next. */
static void *
run_syncer(void *arg)
{
	struct collector *c = arg;
	pthread_mutex_lock(&c->lock);
	while (!c->stop || c->unsynced) {
		if (!c->unsynced) {
			struct timespec until;
			clock_gettime(CLOCK_MONOTONIC, &until);
			until.tv_sec++; /* the state grows old without appends, too */
			pthread_cond_timedwait(&c->wanted, &c->lock, &until);
		}
		c->unsynced = false;
		pthread_mutex_unlock(&c->lock);
		if (spool_sync(c->spool) == OK)
			sender_wake(c->sender);
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

void
collector_appended(struct collector *c)
{
	pthread_mutex_lock(&c->lock);
	c->unsynced = true;
	pthread_cond_signal(&c->wanted);
	pthread_mutex_unlock(&c->lock);
}

static enum err
syncer_start(struct collector *c)
{
	pthread_condattr_t attributes;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wanted, &attributes);
	pthread_condattr_destroy(&attributes);
	if (pthread_create(&c->syncer, NULL, run_syncer, c) != 0)
		return fail(ERR_NOMEM, "no thread to make the spool durable");
	c->syncing = true;
	return OK;
}

static void
syncer_stop(struct collector *c)
{
	if (c->syncing) {
		pthread_mutex_lock(&c->lock);
		c->stop = true;
		pthread_cond_signal(&c->wanted);
		pthread_mutex_unlock(&c->lock);
		pthread_join(c->syncer, NULL);
	}
	pthread_cond_destroy(&c->wanted);
	pthread_mutex_destroy(&c->lock);
}

/* --- parcels --- */

enum err
collector_put_block(struct collector *c, const struct block *b, const uint8_t key[BLOCK_KEY_BYTES], unsigned stream,
                    struct parcel *p)
{
	p->block = b->stored;
	p->block_bytes = b->stored_bytes;
	p->records = b->info.records;
	p->first_ns = b->info.first_ns;
	p->last_ns = b->info.last_ns;
	p->captured_bytes = b->info.captured_bytes;
	TRY(spool_append(c->spool, stream, p, key));
	collector_appended(c);
	return OK;
}

enum err
collector_put(struct collector *c, struct block_encoder *encoder, const struct frames *f, bool headers_only, unsigned stream,
              struct parcel *p)
{
	struct block b;
	uint8_t key[BLOCK_KEY_BYTES];
	TRY(block_encode(encoder, f, headers_only, &b));
	randombytes_buf(key, sizeof key);
	block_seal(encoder, &b, key);
	enum err e = collector_put_block(c, &b, key, stream, p);
	sodium_memzero(key, sizeof key);
	return e;
}

/* --- opening, closing --- */

static uint32_t
sampled(void *arg, unsigned stream)
{
	struct collector *c = arg;
	return c->sampled[stream];
}

struct spool *
collector_spool(struct collector *c)
{
	return c->spool;
}

enum err
collector_open(struct collector **out, const char *dir, const struct identity *id, const struct spool_options *o)
{
	char path[PATH_BYTES];
	if (!id->enrolled)
		return fail(ERR_ABSENT, "%s: the enrolment was not finished: repeat `atoll-collect enroll` with the same code", dir);
	TRY(io_path(path, dir, "spool"));
	struct collector *c = calloc(1, sizeof *c);
	if (!c)
		return fail(ERR_NOMEM, "no memory for the collector");
	snprintf(c->dir, sizeof c->dir, "%s", dir);
	c->id = id;
	enum err e = spool_open(&c->spool, path, id, o);
	if (e != OK) {
		free(c);
		return e;
	}
	struct sender_options sending = { .identity = id, .spool = c->spool, .window_bytes = o->window_bytes, .sampled = sampled,
		                          .arg = c };
	e = sender_start(&c->sender, &sending);
	if (e != OK) {
		if (spool_close(&c->spool) != OK)
			log_line(LOG_FAILED, "%s", err_text());
		free(c);
		return e;
	}
	e = syncer_start(c);
	*out = c;
	if (e != OK && collector_close(out, 0) != OK)
		log_line(LOG_FAILED, "%s", err_text());
	return e;
}

enum err
collector_check(struct collector *c)
{
	struct sender_status st;
	TRY(spool_sync(c->spool));
	sender_status(c->sender, &st);
	return st.phase == SENDER_OVER ? fail(st.error, "%s", st.sentence) : OK;
}

void
collector_sender_status(struct collector *c, struct sender_status *out)
{
	sender_status(c->sender, out);
}

enum err
collector_close(struct collector **out, unsigned wait_ms)
{
	struct collector *c = *out;
	*out = NULL;
	if (!c)
		return OK;
	syncer_stop(c);
	enum err e = spool_sync(c->spool);
	if (e == OK && wait_ms) {
		sender_wake(c->sender);
		spool_wait_empty(c->spool, wait_ms);
	}
	sender_stop(&c->sender);
	char path[PATH_BYTES];
	if (io_path(path, c->dir, "spool/status") == OK && io_unlink(path) != OK)
		path[0] = 0; /* there was none, or it tells itself that it is old */
	enum err closed = spool_close(&c->spool);
	free(c);
	return e == OK ? closed : e;
}
