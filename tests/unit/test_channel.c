#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/channel.h"
#include "tests/support/unit.h"

#define MOST 100000u

static struct channel a, b;
static int pair[2];

static int
open_both(void **state)
{
	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	channel_init(&a, pair[0], MOST, 4 * MOST);
	channel_init(&b, pair[1], MOST, 4 * MOST);
	return 0;
}

static int
close_both(void **state)
{
	(void)state;
	channel_fini(&a);
	channel_fini(&b);
	return 0;
}

static uint32_t
next(uint32_t *x)
{
	return *x = *x * 1664525u + 1013904223u;
}

static void
fill(uint8_t *p, uint32_t n, uint32_t number)
{
	for (uint32_t i = 0; i < n; i++)
		p[i] = (uint8_t)(number * 7 + i * 13);
}

static void
messages_of_all_sizes_come_whole_and_in_order(void **state)
{
	(void)state;
	static uint8_t bytes[MOST], wanted[MOST];
	static uint32_t sizes[4000];
	uint32_t sent = 0, got = 0, x = 1;
	while (sent < 4000) {
		uint32_t n = next(&x) >> 15 & 7 ? x % 300 : x % (MOST + 1), cut = n ? next(&x) % n : 0;
		fill(bytes, n, sent);
		struct channel_part parts[2] = { { bytes, cut }, { bytes + cut, n - cut } };
		enum err e = channel_send(&a, (uint8_t)sent, parts, 2);
		assert_true(e == OK || e == ERR_FULL);
		if (e == OK)
			sizes[sent++] = n;
		if (e == OK)
			assert_int_equal(channel_flush(&a), OK);
		struct channel_message m;
		while (e == ERR_FULL || (next(&x) >> 20 & 3) == 0) {
			assert_int_equal(channel_flush(&a), OK);
			if (channel_receive(&b, &m) != OK)
				break;
			assert_int_equal(m.n, sizes[got]);
			fill(wanted, (uint32_t)m.n, got);
			assert_int_equal(m.kind, (uint8_t)got);
			assert_memory_equal(m.bytes, wanted, m.n);
			got++;
			e = OK;
		}
	}
}

static void
nothing_there_is_not_an_error_and_half_a_message_waits(void **state)
{
	(void)state;
	struct channel_message m;
	uint8_t raw[CHANNEL_HEAD_BYTES + 4] = { 4, 0, 0, 0, 9, 1, 2, 3, 4 };
	assert_int_equal(channel_receive(&b, &m), END);
	for (size_t i = 0; i < sizeof raw; i++) {
		assert_int_equal(channel_receive(&b, &m), END);
		assert_int_equal(write(a.fd, raw + i, 1), 1);
	}
	assert_int_equal(channel_receive(&b, &m), OK);
	assert_int_equal(m.kind, 9);
	assert_int_equal(m.n, 4);
	assert_memory_equal(m.bytes, raw + CHANNEL_HEAD_BYTES, 4);
	assert_int_equal(channel_receive(&b, &m), END);
}

static void
a_message_that_is_too_long_ends_the_channel_before_memory_is_spent(void **state)
{
	(void)state;
	struct channel_message m;
	uint8_t head[CHANNEL_HEAD_BYTES] = { 0 };
	store_le32(head, MOST + 1);
	assert_int_equal(write(a.fd, head, sizeof head), sizeof head);
	assert_int_equal(channel_receive(&b, &m), ERR_LIMIT);
	assert_false(channel_is_open(&b));
	assert_int_equal(channel_receive(&b, &m), ERR_IO);
}

static void
a_full_channel_refuses_and_goes_on_when_there_is_room(void **state)
{
	(void)state;
	static uint8_t bytes[MOST];
	struct channel_part part = { bytes, MOST };
	struct channel_message m;
	unsigned sent = 0, got = 0;
	while (channel_send(&a, 1, &part, 1) == OK)
		sent++;
	assert_true(sent >= 4 && channel_waiting(&a) <= 4 * MOST);
	assert_false(channel_has_room(&a, MOST));
	assert_int_equal(channel_send(&a, 1, &part, 1), ERR_FULL);
	while (got < sent) {
		assert_int_equal(channel_flush(&a), OK);
		got += channel_receive(&b, &m) == OK;
	}
	assert_int_equal(channel_waiting(&a), 0);
	assert_int_equal(channel_send(&a, 1, &part, 1), OK);
}

static void
the_end_of_the_other_side_is_seen_after_its_last_message(void **state)
{
	(void)state;
	struct channel_message m;
	struct channel_part part = { "last", 4 };
	assert_int_equal(channel_send(&a, 5, &part, 1), OK);
	channel_fini(&a);
	assert_int_equal(channel_receive(&b, &m), OK);
	assert_memory_equal(m.bytes, "last", 4);
	assert_int_equal(channel_receive(&b, &m), ERR_IO);
	assert_int_equal(channel_send(&b, 5, &part, 1), ERR_IO);
	assert_int_equal(channel_flush(&b), ERR_IO);
}

static void
an_empty_message_is_one(void **state)
{
	(void)state;
	struct channel_message m;
	assert_int_equal(channel_send(&a, 77, NULL, 0), OK);
	assert_int_equal(channel_receive(&b, &m), OK);
	assert_int_equal(m.kind, 77);
	assert_int_equal(m.n, 0);
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_both, close_both)
	const struct CMUnitTest tests[] = {
		T(messages_of_all_sizes_come_whole_and_in_order),
		T(nothing_there_is_not_an_error_and_half_a_message_waits),
		T(a_message_that_is_too_long_ends_the_channel_before_memory_is_spent),
		T(a_full_channel_refuses_and_goes_on_when_there_is_room),
		T(the_end_of_the_other_side_is_seen_after_its_last_message),
		T(an_empty_message_is_one),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
