#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/vitals.h"
#include "tests/support/unit.h"

static struct vitals
made(uint32_t count)
{
	struct vitals v = { .started_ns = 1, .sessions = 2, .restarts = UINT64_MAX, .monitor_count = count };
	v.monitors = calloc(count + 1, sizeof *v.monitors);
	for (uint32_t i = 0; i < count; i++) {
		struct vitals_monitor *m = &v.monitors[i];
		m->id = 2 * i + 1;
		m->state = (uint8_t)(i % 3);
		snprintf(m->name, sizeof m->name, "m%u", i);
		memset(m->reason, 'r', i % VITALS_REASON_BYTES);
		m->connected = i;
		m->clock_offset_ns = (uint64_t)-(int64_t)i;
		m->spool_bytes = i * 3;
	}
	return v;
}

static void
equal(const struct vitals *a, const struct vitals *b)
{
	assert_int_equal(a->monitor_count, b->monitor_count);
	assert_memory_equal(a, b, offsetof(struct vitals, monitors));
	for (uint32_t i = 0; i < a->monitor_count; i++) {
		assert_memory_equal(&a->monitors[i], &b->monitors[i], sizeof a->monitors[i]);
	}
}

static void
a_message_comes_back(void **state)
{
	(void)state;
	static const uint32_t counts[] = { 0, 1, 300, VITALS_MONITORS_MAX };
	for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
		struct vitals v = made(counts[i]), back = { 0 };
		uint8_t *bytes;
		size_t n;
		assert_int_equal(vitals_encode(&v, &bytes, &n), OK);
		assert_int_equal(vitals_decode(&back, bytes, n), OK);
		equal(&v, &back);
		assert_null(vitals_find(&back, 0));
		assert_null(vitals_find(&back, 2));
		if (counts[i])
			assert_ptr_equal(vitals_find(&back, 2 * counts[i] - 1), &back.monitors[counts[i] - 1]);
		free(bytes);
		vitals_fini(&v);
		vitals_fini(&back);
	}
}

static void
every_truncation_and_what_is_behind_is_refused(void **state)
{
	(void)state;
	struct vitals v = made(3), back = { .sessions = 77 };
	uint8_t *bytes, *more;
	size_t n;
	assert_int_equal(vitals_encode(&v, &bytes, &n), OK);
	for (size_t k = 0; k < n; k++) {
		more = malloc(k + 1); /* so that a read past the end is seen */
		memcpy(more, bytes, k);
		assert_int_equal(vitals_decode(&back, more, k), ERR_FORMAT);
		free(more);
	}
	more = calloc(1, n + 1);
	memcpy(more, bytes, n);
	assert_int_equal(vitals_decode(&back, more, n + 1), ERR_FORMAT);
	for (size_t bit = 0; bit < 8 * n; bit++) { /* any number is a number; nothing else happens */
		memcpy(more, bytes, n);
		more[bit / 8] ^= (uint8_t)(1 << bit % 8);
		struct vitals other = { 0 };
		if (vitals_decode(&other, more, n) == OK)
			vitals_fini(&other);
	}
	assert_int_equal(back.sessions, 77);
	free(more);
	free(bytes);
	vitals_fini(&v);
}

/* The store's side until the other end closes. */
static void
desk_child(int fd, uint32_t count)
{
	struct vitals_desk d;
	if (vitals_desk_init(&d, fd) != OK)
		_exit(1);
	for (;;) {
		struct pollfd p = { .fd = fd, .events = (short)(POLLIN | (vitals_desk_pending(&d) ? POLLOUT : 0)) };
		if (vitals_desk_pending(&d))
			p.events = POLLOUT;
		poll(&p, 1, -1);
		bool asked;
		if (vitals_desk_serve(&d, &asked) == END)
			_exit(0);
		if (asked) {
			struct vitals v = made(count);
			if (vitals_desk_answer(&d, &v) != OK)
				_exit(2);
			vitals_fini(&v);
		}
	}
}

static void
a_question_is_answered_also_with_a_message_longer_than_the_socket(void **state)
{
	(void)state;
	int pair[2], status;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(pair[0]);
		desk_child(pair[1], VITALS_MONITORS_MAX);
	}
	close(pair[1]);
	struct vitals v = made(VITALS_MONITORS_MAX), back;
	struct vitals_asker a;
	vitals_asker_init(&a, pair[0]);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vitals_ask(&a, 5000, &back), OK);
		equal(&v, &back);
		vitals_fini(&back);
	}
	vitals_asker_fini(&a);
	close(pair[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	vitals_fini(&v);
}

static void
a_late_answer_is_taken_by_the_next_question(void **state)
{
	(void)state;
	int pair[2];
	struct vitals v = made(20), back = { 0 };
	struct vitals_asker a;
	uint8_t *bytes, length[4];
	char question[8];
	size_t n;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(vitals_encode(&v, &bytes, &n), OK);
	store_le32(length, (uint32_t)n);
	vitals_asker_init(&a, pair[0]);
	assert_int_equal(vitals_ask(&a, 20, &back), ERR_BUSY);
	assert_int_equal(write(pair[1], length, 3), 3);
	assert_int_equal(vitals_ask(&a, 20, &back), ERR_BUSY);
	assert_int_equal(write(pair[1], length + 3, 1), 1);
	assert_int_equal(write(pair[1], bytes, n - 1), n - 1);
	assert_int_equal(vitals_ask(&a, 20, &back), ERR_BUSY);
	assert_int_equal(write(pair[1], bytes + n - 1, 1), 1);
	assert_int_equal(vitals_ask(&a, 20, &back), OK);
	equal(&v, &back);
	assert_int_equal(read(pair[1], question, sizeof question), 1); /* asked once only */
	vitals_fini(&v);
	vitals_fini(&back);
	vitals_asker_fini(&a);
	free(bytes);
	close(pair[0]);
	close(pair[1]);
}

static void
nonsense_and_a_dead_end_are_errors(void **state)
{
	(void)state;
	int pair[2];
	struct vitals back = { 0 };
	struct vitals_asker a;
	uint8_t huge[4];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	vitals_asker_init(&a, pair[0]);
	store_le32(huge, UINT32_MAX);
	assert_int_equal(write(pair[1], huge, 4), 4);
	assert_int_equal(vitals_ask(&a, 50, &back), ERR_IO);
	vitals_asker_fini(&a);
	vitals_asker_init(&a, pair[0]);
	store_le32(huge, 4);
	assert_int_equal(write(pair[1], huge, 4), 4);
	assert_int_equal(write(pair[1], "junk", 4), 4);
	assert_int_equal(vitals_ask(&a, 50, &back), ERR_IO);
	close(pair[1]);
	assert_int_equal(vitals_ask(&a, 50, &back), ERR_IO);
	vitals_asker_fini(&a);
	close(pair[0]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_message_comes_back),
		cmocka_unit_test(every_truncation_and_what_is_behind_is_refused),
		cmocka_unit_test(a_question_is_answered_also_with_a_message_longer_than_the_socket),
		cmocka_unit_test(a_late_answer_is_taken_by_the_next_question),
		cmocka_unit_test(nonsense_and_a_dead_end_are_errors),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
