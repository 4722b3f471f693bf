/* The pool of a merge against a plain stable sort: random runs, places and lengths, given out in parts, cut back, full. */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/frames.h"
#include "query/pool.h"

#define MODEL_MAX 60000u

struct model {
	uint64_t ts_ns;
	uint32_t place, number; /* number: in the order of adding; the record's bytes tell it */
};
static struct model model[MODEL_MAX];
static uint32_t model_count, model_next;
static uint32_t stop_at; /* records; 0: never */

static int
by_time(const void *a, const void *b)
{
	const struct model *x = a, *y = b;
	if (x->ts_ns != y->ts_ns)
		return x->ts_ns < y->ts_ns ? -1 : 1;
	if (x->place != y->place)
		return x->place < y->place ? -1 : 1;
	return x->number < y->number ? -1 : 1;
}

static uint64_t
next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static enum err
add(struct pool *p, uint64_t ts_ns, uint32_t place, uint32_t number, uint32_t cap_len)
{
	static uint8_t bytes[POOL_BYTES / 2 + 1 + FRAMES_SLACK];
	memcpy(bytes, &number, sizeof number);
	struct record r = { .ts_ns = ts_ns, .wire_len = number + 7, .cap_len = cap_len, .linktype = (uint16_t)(number % 3), .iface = 5,
		            .stream = place / 4, .bytes = bytes };
	return pool_add(p, &r, place);
}

static enum err
see(void *arg, const struct record *r)
{
	uint32_t number;
	const struct model *m = &model[model_next++];
	(void)arg;
	assert_true(model_next <= model_count);
	memcpy(&number, r->bytes, sizeof number);
	assert_int_equal(number, m->number);
	assert_int_equal(r->ts_ns, m->ts_ns);
	assert_int_equal(r->wire_len, number + 7);
	assert_int_equal(r->linktype, number % 3);
	assert_int_equal(r->iface, 5);
	assert_int_equal(r->stream, m->place / 4);
	return model_next == stop_at ? END : OK;
}

/* Runs of up to `longest` records in order, from all over the window. */
static void
fill(struct pool *p, uint64_t *x, uint32_t n, uint32_t longest, uint64_t from_ns, uint64_t span_ns)
{
	uint32_t number = model_count ? model[0].number : 0;
	for (uint32_t i = 0; i < model_count; i++)
		number = model[i].number > number ? model[i].number : number;
	for (uint32_t place = 0; n > 0; place = (place + 1) % 40) {
		uint32_t run = 1 + (uint32_t)(next_random(x) % longest);
		uint64_t at = from_ns + next_random(x) % span_ns;
		for (; run > 0 && n > 0; run--, n--) {
			model[model_count++] = (struct model){ at, place, ++number };
			assert_int_equal(add(p, at, place, number, 4 + (uint32_t)(next_random(x) % 60)), OK);
			at += next_random(x) % 3;
		}
	}
	qsort(model, model_count, sizeof *model, by_time);
}

static void
give_out(struct pool *p, uint64_t last_ns)
{
	uint32_t due = 0;
	while (due < model_count && model[due].ts_ns <= last_ns)
		due++;
	model_next = 0;
	assert_int_equal(pool_give_out(p, last_ns, see, NULL), OK);
	assert_int_equal(model_next, due);
	assert_int_equal(pool_fill(p).records, model_count - due);
	memmove(model, model + due, (model_count - due) * sizeof *model);
	model_count -= due;
}

static void
gives_out_in_order_what_is_due_and_keeps_the_rest(void **state)
{
	(void)state;
	uint64_t x = 12345;
	for (uint32_t longest = 1; longest <= 10000; longest *= 10) {
		struct pool *p = NULL;
		assert_int_equal(pool_open(&p), OK);
		model_count = 0;
		for (uint32_t round = 0; round < 10; round++) {
			fill(p, &x, 5000, longest, 1000 + 500 * round, 2000);
			give_out(p, 1000 + 500 * round + next_random(&x) % 500);
		}
		give_out(p, UINT64_MAX);
		assert_int_equal(pool_fill(p).bytes, 0);
		pool_close(&p);
	}
}

static void
what_was_added_can_be_taken_back(void **state)
{
	(void)state;
	uint64_t x = 99;
	struct pool *p = NULL;
	assert_int_equal(pool_open(&p), OK);
	model_count = 0;
	for (uint32_t round = 0; round < 10; round++) {
		struct pool_fill before = pool_fill(p);
		for (uint32_t i = 0; i < 3000; i++) /* also some that would go on with the last run */
			assert_int_equal(add(p, 5000 + i / 100, 50, i, 20), OK);
		pool_cut(p, before);
		fill(p, &x, 2000, 30, 1000 + 100 * round, 1000);
		give_out(p, 1000 + 100 * round);
	}
	give_out(p, UINT64_MAX);
	pool_close(&p);
}

static void
says_when_it_is_full(void **state)
{
	(void)state;
	struct pool *p = NULL;
	uint32_t n = 0;
	assert_int_equal(pool_open(&p), OK);
	assert_int_equal(add(p, 1, 0, 0, POOL_BYTES / 2 + 1), ERR_LIMIT);
	while (add(p, 1, 0, n, 1 << 20) == OK)
		n++;
	assert_in_range(n, 62, 63);
	pool_cut(p, (struct pool_fill){ 0 });
	for (n = 0; add(p, UINT64_MAX - n, 0, n, 4) == OK;) /* each begins a run */
		n++;
	assert_int_equal(n, POOL_RUNS_MAX);
	pool_close(&p);
}

static void
stops_when_it_is_told_to(void **state)
{
	(void)state;
	uint64_t x = 5;
	struct pool *p = NULL;
	for (stop_at = 1; stop_at < 100; stop_at += 7) {
		assert_int_equal(pool_open(&p), OK);
		model_count = model_next = 0;
		fill(p, &x, 100, 9, 0, 50);
		assert_int_equal(pool_give_out(p, UINT64_MAX, see, NULL), END);
		assert_int_equal(model_next, stop_at);
		pool_close(&p);
	}
	stop_at = 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_out_in_order_what_is_due_and_keeps_the_rest),
		cmocka_unit_test(what_was_added_can_be_taken_back),
		cmocka_unit_test(says_when_it_is_full),
		cmocka_unit_test(stops_when_it_is_told_to),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
