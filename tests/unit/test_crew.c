/* A crew delivers every item once, in the order of taking, whatever the number of workers and however long each item takes, and
 * stops at the first error. */
#include "tests/support/unit.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/crew.h"
#include "base/limits.h"

#define ITEMS 500u
#define NEVER UINT32_MAX

/* Counts to ITEMS. None of it is atomic but what work() touches: the crew must order the rest (ThreadSanitizer sees to it). */
struct items {
	uint32_t    held[CREW_MAX];     /* number of the item that the worker has taken */
	bool        holds[CREW_MAX];
	uint32_t    taken, delivered;
	uint32_t    take_fails, work_fails, deliver_fails; /* at this item; NEVER */
	enum err    with;
	bool        in_take, in_deliver;
	bool        meet;               /* item 0 is worked on until another worker works, too */
	atomic_uint working, most_working;
};

static struct items
items(void)
{
	return (struct items){ .take_fails = NEVER, .work_fails = NEVER, .deliver_fails = NEVER, .with = ERR_FULL };
}

static enum err
say(enum err e, const char *who, uint32_t n)
{
	return e == END ? END : (fail)(e, "%s %u", who, n); /* not cmocka's macro */
}

static enum err
take(void *arg, unsigned worker)
{
	struct items *i = arg;
	assert_false(i->in_take);
	i->in_take = true;
	assert_true(worker < CREW_MAX);
	assert_false(i->holds[worker]);
	enum err e = i->taken == i->take_fails ? say(i->with, "take", i->taken) : i->taken == ITEMS ? END : OK;
	if (e == OK) {
		i->held[worker] = i->taken++;
		i->holds[worker] = true;
	}
	i->in_take = false;
	return e;
}

static enum err
work(void *arg, unsigned worker)
{
	struct items *i = arg;
	uint32_t n = i->held[worker];
	unsigned now = atomic_fetch_add(&i->working, 1) + 1, most = atomic_load(&i->most_working);
	while (now > most && !atomic_compare_exchange_weak(&i->most_working, &most, now))
		;
	/* some items take much longer than others */
	for (uint32_t turns = n % 7 == 0 ? 50 : n % 3; turns > 0; turns--)
		sched_yield();
	if (n % 50 == 0)
		usleep(500);
	for (unsigned ms = 0; n == 0 && i->meet && atomic_load(&i->most_working) < 2 && ms < 20000; ms++)
		usleep(1000);
	atomic_fetch_sub(&i->working, 1);
	return n == i->work_fails ? say(ERR_FORMAT, "work", n) : OK;
}

static enum err
deliver(void *arg, unsigned worker, enum err outcome)
{
	struct items *i = arg;
	assert_false(i->in_deliver);
	i->in_deliver = true;
	uint32_t n = i->held[worker];
	assert_true(i->holds[worker]);
	assert_int_equal(n, i->delivered);
	i->holds[worker] = false;
	i->delivered++;
	enum err e = n == i->deliver_fails ? say(i->with, "deliver", n) : outcome;
	i->in_deliver = false;
	return e;
}

static enum err
run(struct items *i, unsigned workers)
{
	struct crew_work w = { .take = take, .work = work, .deliver = deliver, .arg = i };
	return crew_run(workers, &w);
}

static uint32_t
still_held(const struct items *i)
{
	uint32_t n = 0;
	for (unsigned k = 0; k < CREW_MAX; k++)
		n += i->holds[k];
	return n;
}

static void
delivers_every_item_once_and_in_order_with_any_number_of_workers(void **state)
{
	(void)state;
	for (unsigned workers = 1; workers <= CREW_MAX; workers++)
		for (int round = 0; round < 5; round++) {
			struct items i = items();
			i.meet = workers > 1;
			assert_int_equal(run(&i, workers), OK);
			assert_int_equal(i.delivered, ITEMS);
			assert_int_equal(still_held(&i), 0);
			assert_true(atomic_load(&i.most_working) <= workers);
			if (workers > 1)
				assert_true(atomic_load(&i.most_working) > 1);
		}
}

static void
no_items_is_no_error(void **state)
{
	(void)state;
	struct items i = items();
	i.take_fails = 0;
	i.with = END;
	assert_int_equal(run(&i, CREW_MAX), OK);
	assert_int_equal(i.delivered, 0);
}

static void
an_error_of_deliver_stops_at_once_and_keeps_its_sentence(void **state)
{
	(void)state;
	for (unsigned workers = 1; workers <= CREW_MAX; workers++)
		for (uint32_t at = 0; at < ITEMS; at += 83) {
			struct items i = items();
			i.deliver_fails = at;
			assert_int_equal(run(&i, workers), ERR_FULL);
			assert_memory_equal(err_text(), "deliver ", 8);
			assert_int_equal(i.delivered, at + 1);
			/* what was taken and not delivered is still in the workers' places */
			assert_int_equal(still_held(&i), i.taken - i.delivered);
		}
}

static void
end_of_deliver_stops_without_an_error(void **state)
{
	(void)state;
	for (unsigned workers = 1; workers <= CREW_MAX; workers++) {
		struct items i = items();
		i.deliver_fails = 100;
		i.with = END;
		assert_int_equal(run(&i, workers), OK);
		assert_int_equal(i.delivered, 101);
	}
}

static void
an_error_of_work_reaches_deliver_in_its_turn(void **state)
{
	(void)state;
	for (unsigned workers = 1; workers <= CREW_MAX; workers++) {
		struct items i = items();
		i.work_fails = 70; /* a slow one */
		assert_int_equal(run(&i, workers), ERR_FORMAT);
		assert_string_equal(err_text(), "work 70");
		assert_int_equal(i.delivered, 71);
	}
}

static void
what_was_taken_before_an_error_of_take_is_still_delivered(void **state)
{
	(void)state;
	for (unsigned workers = 1; workers <= CREW_MAX; workers++)
		for (uint32_t at = 0; at < ITEMS; at += 83) {
			struct items i = items();
			i.take_fails = at;
			assert_int_equal(run(&i, workers), ERR_FULL);
			assert_memory_equal(err_text(), "take ", 5);
			assert_int_equal(i.delivered, at);
			assert_int_equal(still_held(&i), 0);
		}
}

static void
the_first_error_wins(void **state)
{
	(void)state;
	for (unsigned workers = 1; workers <= CREW_MAX; workers++) {
		struct items i = items();
		i.work_fails = 98;
		i.take_fails = 99;
		assert_int_equal(run(&i, workers), ERR_FORMAT);
		assert_string_equal(err_text(), "work 98");
		assert_int_equal(i.delivered, 99);
	}
}

static void
a_thread_that_can_not_be_started_is_done_without(void **state)
{
	(void)state;
	pthread_attr_t before, huge;
	assert_int_equal(pthread_getattr_default_np(&before), 0);
	assert_int_equal(pthread_getattr_default_np(&huge), 0);
	assert_int_equal(pthread_attr_setstacksize(&huge, (size_t)1 << 50), 0); /* more than there are addresses */
	assert_int_equal(pthread_setattr_default_np(&huge), 0);
	struct items i = items();
	enum err e = run(&i, CREW_MAX);
	assert_int_equal(pthread_setattr_default_np(&before), 0);
	pthread_attr_destroy(&huge);
	pthread_attr_destroy(&before);
	assert_int_equal(e, OK);
	assert_int_equal(i.delivered, ITEMS);
	assert_int_equal(atomic_load(&i.most_working), 1);
}

static void
a_crew_is_never_larger_than_its_bound(void **state)
{
	(void)state;
	assert_in_range(crew_size(0), 1, CREW_MAX);
	assert_int_equal(crew_size(1), 1);
	assert_int_equal(crew_size(CREW_MAX), CREW_MAX);
	assert_int_equal(crew_size(1000000), CREW_MAX);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delivers_every_item_once_and_in_order_with_any_number_of_workers),
		cmocka_unit_test(no_items_is_no_error),
		cmocka_unit_test(an_error_of_deliver_stops_at_once_and_keeps_its_sentence),
		cmocka_unit_test(end_of_deliver_stops_without_an_error),
		cmocka_unit_test(an_error_of_work_reaches_deliver_in_its_turn),
		cmocka_unit_test(what_was_taken_before_an_error_of_take_is_still_delivered),
		cmocka_unit_test(the_first_error_wins),
		cmocka_unit_test(a_thread_that_can_not_be_started_is_done_without),
		cmocka_unit_test(a_crew_is_never_larger_than_its_bound),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
