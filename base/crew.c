#include "base/crew.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "base/limits.h"

/* The first error of a door and its sentence. */
struct fault {
	enum err error;
	char     sentence[ERR_TEXT_BYTES];
};

struct crew {
	const struct crew_work *work;
	atomic_bool     stop;          /* set with `delivering` held */

	pthread_mutex_t taking;        /* guards these */
	bool            ended;
	uint64_t        taken;         /* number of the next item */
	struct fault    take;

	pthread_mutex_t delivering;    /* and these */
	pthread_cond_t  turn_changed;
	uint64_t        turn;          /* number of the item to deliver next */
	struct fault    deliver;
};

struct worker {
	struct crew *crew;
	unsigned     number;
	pthread_t    thread;
};

unsigned
crew_size(unsigned asked)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned workers = asked ? asked : n > 0 ? (unsigned)n : 1;
	return workers < CREW_MAX ? workers : CREW_MAX;
}

static void
fault_keep(struct fault *f, enum err e)
{
	if (e == END || f->error != OK)
		return;
	f->error = e;
	snprintf(f->sentence, sizeof f->sentence, "%s", err_text());
}

/* The next item and its number; false when there is none. */
static bool
take(struct worker *w, uint64_t *number)
{
	struct crew *c = w->crew;
	pthread_mutex_lock(&c->taking);
	if (!c->ended && !atomic_load(&c->stop)) {
		enum err e = c->work->take(c->work->arg, w->number);
		fault_keep(&c->take, e);
		c->ended = e != OK;
	} else {
		c->ended = true;
	}
	bool got = !c->ended;
	*number = c->taken;
	c->taken += got;
	pthread_mutex_unlock(&c->taking);
	return got;
}

static void
deliver(struct worker *w, uint64_t number, enum err outcome)
{
	struct crew *c = w->crew;
	pthread_mutex_lock(&c->delivering);
	while (c->turn != number && !atomic_load(&c->stop))
		pthread_cond_wait(&c->turn_changed, &c->delivering);
	if (!atomic_load(&c->stop)) {
		enum err e = c->work->deliver(c->work->arg, w->number, outcome);
		fault_keep(&c->deliver, e);
		if (e != OK)
			atomic_store(&c->stop, true);
		c->turn++;
		pthread_cond_broadcast(&c->turn_changed);
	}
	pthread_mutex_unlock(&c->delivering);
}

static void *
run_worker(void *arg)
{
	struct worker *w = arg;
	uint64_t number;
	while (take(w, &number))
		deliver(w, number, w->crew->work->work(w->crew->work->arg, w->number));
	return NULL;
}

enum err
crew_run(unsigned workers, const struct crew_work *work)
{
	struct crew c = { .work = work };
	struct worker v[CREW_MAX];
	unsigned started = 1;
	assert(workers >= 1 && workers <= CREW_MAX);
	pthread_mutex_init(&c.taking, NULL);
	pthread_mutex_init(&c.delivering, NULL);
	pthread_cond_init(&c.turn_changed, NULL);
	for (unsigned i = 0; i < workers; i++)
		v[i] = (struct worker){ .crew = &c, .number = i };
	while (started < workers && pthread_create(&v[started].thread, NULL, run_worker, &v[started]) == 0)
		started++;
	run_worker(&v[0]);
	for (unsigned i = 1; i < started; i++)
		pthread_join(v[i].thread, NULL);
	pthread_cond_destroy(&c.turn_changed);
	pthread_mutex_destroy(&c.delivering);
	pthread_mutex_destroy(&c.taking);
	const struct fault *f = c.deliver.error != OK ? &c.deliver : &c.take;
	return f->error == OK ? OK : fail(f->error, "%s", f->sentence);
}
