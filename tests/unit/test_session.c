#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ingest/session_parts.h"
#include "tests/support/session_pair.h"
#include "tests/support/unit.h"
#include "tests/support/wire_samples.h"

#define SECOND_NS      1000000000ull
#define HANDSHAKE_SENT_BY_COLLECTOR (WIRE_PREAMBLE_BYTES + SESSION_LENGTH_BYTES + NOISE_FIRST_BYTES)
#define HANDSHAKE_SENT_BY_ARCHIVE   (WIRE_PREAMBLE_BYTES + SESSION_LENGTH_BYTES + NOISE_SECOND_BYTES)

static uint8_t *big; /* PARCEL_BYTES_MAX + 1 bytes */

static int
begin(void **state)
{
	(void)state;
	big = malloc(PARCEL_BYTES_MAX + 1);
	if (big == NULL || sodium_init() < 0)
		return -1;
	for (uint32_t i = 0; i < PARCEL_BYTES_MAX + 1; i++)
		big[i] = (uint8_t)(i * 2654435761u >> 13);
	return 0;
}

static int
end(void **state)
{
	(void)state;
	free(big);
	return 0;
}

static void
connect_pair(struct pair *p)
{
	pair_open(p);
	pair_run(p);
	assert_int_equal(p->e[COLLECTOR], OK);
	assert_int_equal(p->e[ARCHIVE], OK);
	assert_int_equal(p->messages[COLLECTOR][WIRE_TYPE_WELCOME], 1);
}

static struct wire_message
parcel_of(uint32_t n)
{
	return (struct wire_message){ .type = WIRE_TYPE_PARCEL, .parcel = { .bytes = big, .bytes_count = n } };
}

static const struct wire_message bye = { .type = WIRE_TYPE_BYE };
static const struct wire_message report = { .type = WIRE_TYPE_REPORT, .report = { .stream = "eth0", .packets = 5 } };

/* --- in order --- */

static void
converse(struct pair *p)
{
	struct wire_message ask = { .type = WIRE_TYPE_FEED_ASK, .feed_ask = { .stream = "eth0" } }, parcel = parcel_of(200000);
	pair_run(p);
	assert_string_equal(p->last[COLLECTOR].welcome.monitor, "roof");
	assert_memory_equal(session_peer(p->s[ARCHIVE]), p->monitor_public, 32);
	assert_memory_equal(session_peer(p->s[COLLECTOR]), p->archive_public, 32);
	pair_say(p, COLLECTOR, &ask);
	assert_string_equal(p->last[COLLECTOR].mark.stream, "eth0");
	for (unsigned i = 0; i < 3; i++) {
		pair_say(p, COLLECTOR, &parcel);
		assert_false(session_parcel_out(p->s[COLLECTOR]));
		assert_int_equal(p->parcel_sum, pair_sum(0, big, 200000));
		assert_int_equal(p->last[COLLECTOR].type, WIRE_TYPE_ACK);
		assert_int_equal(p->last[COLLECTOR].ack.sequence, i + 1);
		pair_say(p, COLLECTOR, &report);
		assert_int_equal(p->last[ARCHIVE].report.packets, 5);
	}
	pair_say(p, COLLECTOR, &bye);
	assert_int_equal(p->messages[ARCHIVE][WIRE_TYPE_BYE], 1);
	assert_true(session_finished(p->s[ARCHIVE]));
	assert_false(session_finished(p->s[COLLECTOR]));
	pair_feed(p, COLLECTOR, NULL, 0);
	assert_true(session_finished(p->s[COLLECTOR]));
	assert_int_equal(p->e[COLLECTOR], OK);
	assert_int_equal(p->e[ARCHIVE], OK);
}

static void
parcels_travel_and_are_acknowledged(void **state)
{
	(void)state;
	static struct pair p;
	pair_open(&p);
	converse(&p);
	assert_int_equal(p.wants, 2);
	pair_close(&p);
}

static void
pieces_of_any_size_make_no_difference(void **state)
{
	(void)state;
	static const size_t pieces[] = { 1, 2, 3, 17, 4096, 65537, 100000 };
	static struct pair p;
	for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
		pair_open(&p);
		p.piece = pieces[i];
		converse(&p);
		pair_close(&p);
	}
}

static void
messages_of_no_bytes_and_of_the_most(void **state)
{
	(void)state;
	static const uint32_t sizes[] = { 0, 1, 65518, 65519, 65520, 2 * 65519, 1000000, PARCEL_BYTES_MAX };
	static struct pair p;
	connect_pair(&p);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct wire_message m = parcel_of(sizes[i]);
		pair_say(&p, COLLECTOR, &m);
		assert_int_equal(p.parcel_sum, pair_sum(0, big, sizes[i]));
		assert_int_equal(p.messages[COLLECTOR][WIRE_TYPE_ACK], i + 1);
	}
	struct wire_message m = parcel_of(PARCEL_BYTES_MAX + 1);
	assert_int_equal(session_send(p.s[COLLECTOR], &m, p.now_ns), ERR_LIMIT);
	assert_int_equal(p.e[COLLECTOR], OK);
	pair_say(&p, COLLECTOR, &report); /* it goes on */
	assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_REPORT], 1);
	pair_close(&p);
}

static void
messages_may_share_a_frame_and_span_frames(void **state)
{
	(void)state;
	static struct pair p;
	uint8_t bytes[3 * (WIRE_HEAD_BYTES + WIRE_SMALL_BODY_BYTES_MAX + 1000)];
	struct wire_message small = parcel_of(700);
	connect_pair(&p);
	size_t n = wire_whole(&report, bytes);
	n += wire_whole(&small, bytes + n);
	n += wire_whole(&report, bytes + n);
	pair_say_raw(&p, COLLECTOR, bytes, n);
	assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_REPORT], 2);
	assert_int_equal(p.parcel_sum, pair_sum(0, big, 700));
	for (size_t i = 0; i < n; i++)
		pair_say_raw(&p, COLLECTOR, bytes + i, 1);
	for (size_t i = 0; i < n; i += 100)
		pair_say_raw(&p, COLLECTOR, bytes + i, n - i < 100 ? n - i : 100);
	assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_REPORT], 6);
	assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_PARCEL], 3);
	assert_int_equal(p.e[ARCHIVE], OK);
	pair_close(&p);
}

/* --- who may come in --- */

static void
an_unknown_key_may_enrol_once(void **state)
{
	(void)state;
	static struct pair p;
	pair_open(&p);
	p.enrols = true;
	p.admits = WIRE_REFUSAL_NOT_ENROLLED;
	pair_run(&p);
	assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_ENROL], 1);
	assert_int_equal(p.messages[COLLECTOR][WIRE_TYPE_ENROLLED], 1);
	assert_true(session_finished(p.s[COLLECTOR]));
	assert_true(session_finished(p.s[ARCHIVE]));
	assert_memory_equal(session_peer(p.s[ARCHIVE]), p.monitor_public, 32);
	assert_false(session_room(p.s[COLLECTOR], WIRE_TYPE_ENROL));
	pair_close(&p);
}

static void
a_monitor_that_is_not_admitted_is_told_why(void **state)
{
	(void)state;
	static struct pair p;
	pair_open(&p);
	p.admits = WIRE_REFUSAL_REVOKED;
	pair_run(&p);
	assert_int_equal(p.strangers, 1);
	assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_HELLO], 0);
	assert_int_equal(p.last[COLLECTOR].type, WIRE_TYPE_REFUSED);
	assert_int_equal(p.last[COLLECTOR].refused.code, WIRE_REFUSAL_REVOKED);
	assert_true(session_finished(p.s[COLLECTOR]));
	assert_true(session_finished(p.s[ARCHIVE]));
	pair_close(&p);
}

static void
an_enrolment_can_be_refused(void **state)
{
	(void)state;
	static struct pair p;
	struct wire_message no = { .type = WIRE_TYPE_REFUSED, .refused = { .code = WIRE_REFUSAL_NOT_ENROLLED } };
	struct wire_message enrol = { .type = WIRE_TYPE_ENROL };
	pair_open(&p);
	p.silent = true;
	pair_run(&p);
	pair_say(&p, COLLECTOR, &enrol);
	assert_false(session_room(p.s[ARCHIVE], WIRE_TYPE_WELCOME));
	pair_say(&p, ARCHIVE, &no);
	assert_int_equal(p.messages[COLLECTOR][WIRE_TYPE_REFUSED], 1);
	assert_true(session_finished(p.s[COLLECTOR]));
	assert_true(session_finished(p.s[ARCHIVE]));
	pair_close(&p);
}

static void
a_session_can_be_ended_from_the_archive(void **state)
{
	(void)state;
	static struct pair p;
	struct wire_message no = { .type = WIRE_TYPE_REFUSED, .refused = { .code = WIRE_REFUSAL_REVOKED } }, m = parcel_of(5 << 20);
	connect_pair(&p);
	assert_int_equal(session_send(p.s[COLLECTOR], &m, p.now_ns), OK);
	assert_int_equal(session_send(p.s[ARCHIVE], &no, p.now_ns), OK);
	pair_run(&p);
	assert_true(session_finished(p.s[ARCHIVE]));
	assert_true(session_finished(p.s[COLLECTOR]));
	assert_false(session_parcel_out(p.s[COLLECTOR]));
	assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_PARCEL], 0);
	pair_close(&p);
}

static void
a_refused_parcel_does_not_end_it(void **state)
{
	(void)state;
	static struct pair p;
	struct wire_message no = { .type = WIRE_TYPE_REFUSED, .refused = { .code = WIRE_REFUSAL_DAMAGED, .stream = "eth0" } };
	connect_pair(&p);
	pair_say(&p, ARCHIVE, &no);
	pair_say(&p, COLLECTOR, &report);
	assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_REPORT], 1);
	assert_false(session_finished(p.s[ARCHIVE]));
	pair_close(&p);
}

/* --- handshakes that are not --- */

static void
every_truncation_of_the_handshake_ends_both_sides(void **state)
{
	(void)state;
	static struct pair p;
	for (enum pair_side from = COLLECTOR; from <= ARCHIVE; from++) {
		size_t all = from == COLLECTOR ? HANDSHAKE_SENT_BY_COLLECTOR : HANDSHAKE_SENT_BY_ARCHIVE;
		for (size_t n = 0; n <= all; n++) {
			pair_open(&p);
			p.cut[from] = n;
			if (n == 0)
				pair_feed(&p, !from, NULL, 0);
			pair_run(&p);
			if (from == ARCHIVE && n == all) /* the collector believes, and then nothing comes */
				assert_int_equal(p.events[COLLECTOR], 1);
			assert_int_equal(p.e[!from], ERR_IO);
			assert_non_null(strstr(p.why[!from], "closed"));
			assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_HELLO], 0);
			assert_int_equal(p.messages[COLLECTOR][WIRE_TYPE_WELCOME], 0);
			pair_close(&p);
		}
	}
}

static void
every_flipped_bit_of_the_handshake_ends_it(void **state)
{
	(void)state;
	static struct pair p;
	for (enum pair_side from = COLLECTOR; from <= ARCHIVE; from++) {
		size_t all = from == COLLECTOR ? HANDSHAKE_SENT_BY_COLLECTOR : HANDSHAKE_SENT_BY_ARCHIVE;
		for (size_t bit = 0; bit < 8 * all; bit++) {
			pair_open(&p);
			p.flip[from] = bit;
			pair_run(&p);
			assert_true(p.e[COLLECTOR] != OK || p.e[ARCHIVE] != OK);
			assert_null(session_peer(p.s[ARCHIVE]));
			assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_HELLO], 0);
			assert_int_equal(p.messages[COLLECTOR][WIRE_TYPE_WELCOME], 0);
			assert_true(p.why[COLLECTOR][0] != 0 || p.why[ARCHIVE][0] != 0);
			pair_close(&p);
		}
	}
}

static void
a_replayed_first_message_gives_nothing(void **state)
{
	(void)state;
	static struct pair p, q;
	pair_open(&p);
	pair_run(&p);
	pair_say(&p, COLLECTOR, &report);
	pair_open(&q);
	session_close(&q.s[COLLECTOR]);
	pair_feed(&q, ARCHIVE, p.tape[COLLECTOR], HANDSHAKE_SENT_BY_COLLECTOR);
	assert_int_equal(q.e[ARCHIVE], OK);
	assert_int_equal(q.wants, 2);
	assert_int_equal(q.events[ARCHIVE], 2); /* nothing but the wants */
	assert_null(session_peer(q.s[ARCHIVE]));
	const uint8_t *out;
	assert_int_equal(session_output(q.s[ARCHIVE], q.now_ns, &out), HANDSHAKE_SENT_BY_ARCHIVE);
	pair_feed(&q, ARCHIVE, p.tape[COLLECTOR] + HANDSHAKE_SENT_BY_COLLECTOR, p.sent[COLLECTOR] - HANDSHAKE_SENT_BY_COLLECTOR);
	assert_int_equal(q.e[ARCHIVE], ERR_DENIED);
	assert_int_equal(q.events[ARCHIVE], 2);
	assert_null(session_peer(q.s[ARCHIVE]));
	pair_close(&p);
	pair_close(&q);
}

static void
another_archive_key_or_a_refused_dh_ends_it(void **state)
{
	(void)state;
	static struct pair p;
	pair_open(&p);
	p.archive_secret[0] ^= 8; /* whoever answers has another key */
	pair_run(&p);
	assert_int_equal(p.e[ARCHIVE], ERR_DENIED);
	assert_non_null(strstr(p.why[ARCHIVE], "another key"));
	pair_close(&p);
	pair_open(&p);
	p.refuses_dh = true;
	pair_run(&p);
	assert_int_equal(p.e[ARCHIVE], ERR_DENIED);
	assert_int_equal(p.wants, 1);
	pair_close(&p);
}

static void
garbage_ends_the_session_with_a_sentence(void **state)
{
	(void)state;
	static struct pair p;
	static const char *const texts[] = { "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		                             "SSH-2.0-OpenSSH_9.2\r\n",
		                             "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		                             "ATOLLWIR\x02\x00\x03\x00",
		                             "ATOLLWIR\x01\x00\x01\x00\x61\x00",
		                             "ATOLLWIR\x01\x00\x01\x00\xff\xff" };
	static const size_t sizes[] = { 27, 21, 12, 12, 14, 14 };
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		for (enum pair_side to = COLLECTOR; to <= ARCHIVE; to++) {
			pair_open(&p);
			pair_feed(&p, to, (const uint8_t *)texts[i], sizes[i]);
			assert_true(p.e[to] == ERR_FORMAT || p.e[to] == ERR_UNSUPPORTED);
			assert_true(strlen(p.why[to]) > 20);
			struct session_event event;
			uint8_t *in;
			const uint8_t *out;
			assert_int_equal(session_next(p.s[to], p.now_ns, &event), p.e[to]);
			assert_int_equal(session_tick(p.s[to], p.now_ns), p.e[to]);
			assert_int_equal(session_input(p.s[to], &in), 0);
			assert_int_equal(session_output(p.s[to], p.now_ns, &out), 0);
			assert_false(session_finished(p.s[to]));
			pair_close(&p);
		}
}

/* --- frames that are not --- */

/* The bytes that the collector's report makes on the wire, not delivered. */
static size_t
frame_of(struct pair *p, const struct wire_message *m, uint8_t *out, size_t room)
{
	const uint8_t *bytes;
	assert_int_equal(session_send(p->s[COLLECTOR], m, p->now_ns), OK);
	size_t n = session_output(p->s[COLLECTOR], p->now_ns, &bytes);
	assert_in_range(n, 1, room);
	memcpy(out, bytes, n);
	session_sent(p->s[COLLECTOR], n, p->now_ns);
	return n;
}

static void
every_flipped_bit_of_a_frame_ends_the_session(void **state)
{
	(void)state;
	static struct pair p;
	uint8_t frame[4096];
	struct wire_message small = parcel_of(40);
	size_t n = 1;
	for (size_t bit = 0; bit < 8 * n; bit++) {
		connect_pair(&p);
		n = frame_of(&p, &small, frame, sizeof frame);
		frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
		pair_feed(&p, ARCHIVE, frame, n);
		pair_feed(&p, ARCHIVE, NULL, 0);
		assert_true(p.e[ARCHIVE] == ERR_DENIED || p.e[ARCHIVE] == ERR_FORMAT || p.e[ARCHIVE] == ERR_IO);
		assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_PARCEL], 0);
		pair_close(&p);
	}
}

static void
every_truncation_of_frames_ends_the_session(void **state)
{
	(void)state;
	static struct pair p;
	uint8_t frame[4096];
	struct wire_message small = parcel_of(40);
	size_t n = 1;
	for (size_t less = 1; less < n || less == 1; less++) {
		connect_pair(&p);
		n = frame_of(&p, &small, frame, sizeof frame);
		pair_feed(&p, ARCHIVE, frame, n - less);
		assert_int_equal(p.e[ARCHIVE], OK);
		pair_feed(&p, ARCHIVE, NULL, 0);
		assert_int_equal(p.e[ARCHIVE], ERR_IO);
		assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_PARCEL], 0);
		pair_close(&p);
	}
}

static void
lost_repeated_and_exchanged_frames_end_the_session(void **state)
{
	(void)state;
	static struct pair p;
	uint8_t a[4096], b[4096];
	for (unsigned how = 0; how < 3; how++) {
		connect_pair(&p);
		size_t na = frame_of(&p, &report, a, sizeof a), nb = frame_of(&p, &report, b, sizeof b);
		if (how == 1) /* repeated */
			pair_feed(&p, ARCHIVE, a, na), pair_feed(&p, ARCHIVE, a, na);
		else /* lost, exchanged */
			pair_feed(&p, ARCHIVE, b, nb);
		assert_int_equal(p.e[ARCHIVE], ERR_DENIED);
		if (how == 2)
			pair_feed(&p, ARCHIVE, a, na);
		assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_REPORT], how == 1 ? 1 : 0);
		pair_close(&p);
	}
	/* what one side said, sent back to it */
	connect_pair(&p);
	size_t n = frame_of(&p, &report, a, sizeof a);
	pair_feed(&p, COLLECTOR, a, n);
	assert_int_equal(p.e[COLLECTOR], ERR_DENIED);
	pair_close(&p);
}

static void
refuses_frames_without_content_and_large_ones_before_their_time(void **state)
{
	(void)state;
	static struct pair p;
	static const struct {
		uint16_t length;
		enum pair_side to;
		enum err e;
		bool welcome;
	} cases[] = { { 0, ARCHIVE, ERR_FORMAT, true },       { 16, ARCHIVE, ERR_FORMAT, true },   { 16, COLLECTOR, ERR_FORMAT, true },
		      { 65535, ARCHIVE, OK, true },           { 4096, COLLECTOR, OK, true },       { 4097, COLLECTOR, ERR_FORMAT, true },
		      { 4097, ARCHIVE, ERR_FORMAT, false },   { 4096, ARCHIVE, OK, false } };
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t length[2];
		pair_open(&p);
		p.silent = !cases[i].welcome;
		pair_run(&p);
		store_le16(length, cases[i].length);
		pair_feed(&p, cases[i].to, length, 2);
		assert_int_equal(p.e[cases[i].to], cases[i].e);
		pair_close(&p);
	}
}

/* --- messages that do not belong --- */

static void
a_message_out_of_turn_ends_the_session(void **state)
{
	(void)state;
	static struct pair p;
	uint8_t bytes[WIRE_HEAD_BYTES + WIRE_SMALL_BODY_BYTES_MAX + 1000];
	enum { GREETING, ASKED, WELCOMED, AFTER_BYE, STAGES };
	for (unsigned stage = 0; stage < STAGES; stage++)
		for (size_t i = 0; i < wire_type_count; i++)
			for (enum pair_side from = COLLECTOR; from <= ARCHIVE; from++) {
				enum wire_type t = wire_types[i];
				struct wire_message m;
				wire_sample(&m, t, 1);
				pair_open(&p);
				p.silent = stage != WELCOMED && stage != AFTER_BYE;
				pair_run(&p);
				if (stage == ASKED)
					pair_say(&p, COLLECTOR, &(struct wire_message){ .type = WIRE_TYPE_HELLO });
				if (stage == AFTER_BYE)
					p.silent = true, pair_say(&p, COLLECTOR, &bye);
				pair_say_raw(&p, from, bytes, wire_whole(&m, bytes));
				bool both = t == WIRE_TYPE_PING || t == WIRE_TYPE_REKEY, ok = false;
				if (from == COLLECTOR) {
					ok = stage == GREETING ? t == WIRE_TYPE_HELLO || t == WIRE_TYPE_ENROL
					     : stage == ASKED  ? t == WIRE_TYPE_BYE || both
					     : stage == WELCOMED ? both || (t >= WIRE_TYPE_FEED_ASK && t <= WIRE_TYPE_BYE)
					                       : false;
				} else {
					ok = stage == GREETING ? false
					     : stage == ASKED  ? t == WIRE_TYPE_WELCOME || t == WIRE_TYPE_REFUSED || both
					                       : both || (t >= WIRE_TYPE_MARK && t <= WIRE_TYPE_REFUSED);
				}
				assert_int_equal(p.e[!from], ok ? OK : ERR_FORMAT);
				if (!ok)
					assert_non_null(strstr(p.why[!from], "does not belong"));
				pair_close(&p);
			}
}

static void
hostile_messages_of_a_known_monitor_end_its_session(void **state)
{
	(void)state;
	static struct pair p;
	static const struct {
		uint8_t bytes[12];
		size_t n;
		enum err e;
	} cases[] = {
		{ { 1, 0, 0x20, 1, 4 }, 5, ERR_LIMIT }, /* a parcel of 18 MiB and a byte */
		{ { 0xff, 0xff, 0xff, 0xff, 4 }, 5, ERR_LIMIT },
		{ { 1, 8, 0, 0, 5 }, 5, ERR_LIMIT }, /* a report of 2,049 bytes */
		{ { 0, 0, 0, 0, 0 }, 5, ERR_FORMAT },
		{ { 0, 0, 0, 0, 200 }, 5, ERR_FORMAT },
		{ { 0, 0, 0, 0, 3 }, 5, ERR_FORMAT }, /* a question without the name's length */
		{ { 3, 0, 0, 0, 3, 9, 'a', 'b' }, 8, ERR_FORMAT },
		{ { 1, 0, 0, 0, 129, 0 }, 6, ERR_FORMAT }, /* a PING with something in it */
		{ { 0, 0, 0, 0, 130, 0 }, 6, ERR_FORMAT }, /* a REKEY that is not last */
		{ { 0, 0, 0, 0, 4, 0, 0, 0, 0, 4 }, 10, OK },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		connect_pair(&p);
		pair_say_raw(&p, COLLECTOR, cases[i].bytes, cases[i].n);
		assert_int_equal(p.e[ARCHIVE], cases[i].e);
		pair_close(&p);
	}
}

/* --- keys --- */

static void
both_sides_take_new_keys_at_once(void **state)
{
	(void)state;
	static struct pair p;
	struct wire_message m = parcel_of(300000), ack = { .type = WIRE_TYPE_ACK };
	uint8_t keys[2][NOISE_KEY_BYTES];
	connect_pair(&p);
	for (unsigned round = 0; round < 5; round++) {
		for (int side = 0; side < 2; side++) {
			memcpy(keys[side], p.s[side]->send.key, NOISE_KEY_BYTES);
			if (round % 2) /* by bytes */
				p.s[side]->sent_bytes = SESSION_REKEY_BYTES;
		}
		if (round % 2 == 0) { /* by time */
			p.now_ns += SESSION_REKEY_NS;
			session_excuse(p.s[0], p.now_ns);
			session_excuse(p.s[1], p.now_ns);
		}
		assert_int_equal(session_send(p.s[COLLECTOR], &m, p.now_ns), OK);
		assert_int_equal(session_send(p.s[ARCHIVE], &ack, p.now_ns), OK);
		pair_run(&p);
		assert_int_equal(p.e[COLLECTOR], OK);
		assert_int_equal(p.e[ARCHIVE], OK);
		assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_PARCEL], round + 1);
		for (int side = 0; side < 2; side++) {
			assert_memory_not_equal(keys[side], p.s[side]->send.key, NOISE_KEY_BYTES);
			assert_memory_equal(p.s[side]->send.key, p.s[!side]->receive.key, NOISE_KEY_BYTES);
			assert_in_range(p.s[side]->sent_bytes, 1, 300100);
		}
	}
	assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_REKEY], 0); /* nobody's business */
	pair_close(&p);
}

static void
too_many_frames_under_one_key_end_the_session(void **state)
{
	(void)state;
	static struct pair p;
	connect_pair(&p);
	p.s[ARCHIVE]->received_frames = SESSION_REKEY_FRAMES_MAX - 1;
	pair_say(&p, COLLECTOR, &report);
	assert_int_equal(p.e[ARCHIVE], OK);
	pair_say(&p, COLLECTOR, &report);
	assert_int_equal(p.e[ARCHIVE], ERR_LIMIT);
	pair_close(&p);
	connect_pair(&p);
	p.s[ARCHIVE]->received_frames = SESSION_REKEY_FRAMES_MAX - 1;
	p.s[COLLECTOR]->sent_bytes = SESSION_REKEY_BYTES;
	pair_say(&p, COLLECTOR, &report);
	pair_say(&p, COLLECTOR, &report);
	assert_int_equal(p.e[ARCHIVE], OK);
	pair_close(&p);
}

/* --- time --- */

static void
a_slow_handshake_times_out(void **state)
{
	(void)state;
	static struct pair p;
	for (int side = 0; side < 2; side++) {
		pair_open(&p);
		p.silent = true;
		pair_run(&p); /* up to HELLO, which nobody says */
		assert_int_equal(session_deadline(p.s[side]), p.now_ns + SESSION_HANDSHAKE_NS);
		assert_int_equal(session_tick(p.s[side], p.now_ns + SESSION_HANDSHAKE_NS - 1), OK);
		assert_int_equal(session_tick(p.s[side], p.now_ns + SESSION_HANDSHAKE_NS), ERR_IO);
		assert_non_null(strstr(err_text(), "10 s"));
		pair_close(&p);
	}
}

static void
idle_sides_ping_and_stay(void **state)
{
	(void)state;
	static struct pair p;
	connect_pair(&p);
	uint64_t began = p.now_ns;
	while (p.now_ns < began + 600 * SECOND_NS) {
		uint64_t at = session_deadline(p.s[0]), other = session_deadline(p.s[1]);
		p.now_ns = at < other ? at : other;
		assert_int_equal(session_tick(p.s[0], p.now_ns), OK);
		assert_int_equal(session_tick(p.s[1], p.now_ns), OK);
		pair_run(&p);
	}
	assert_int_equal(p.e[0], OK);
	assert_int_equal(p.e[1], OK);
	assert_in_range(p.sent[COLLECTOR], HANDSHAKE_SENT_BY_COLLECTOR, 1500); /* not more than one in 30 s */
	assert_int_equal(session_deadline(p.s[0]), p.now_ns + SESSION_PING_NS);
	pair_close(&p);
}

static void
silence_ends_the_session_unless_it_is_our_own(void **state)
{
	(void)state;
	static struct pair p;
	connect_pair(&p);
	assert_int_equal(session_tick(p.s[ARCHIVE], p.now_ns + SESSION_SILENCE_NS - 1), OK);
	p.now_ns += SESSION_SILENCE_NS;
	session_excuse(p.s[ARCHIVE], p.now_ns);
	session_excuse(p.s[COLLECTOR], p.now_ns);
	assert_int_equal(session_tick(p.s[COLLECTOR], p.now_ns), OK);
	assert_int_equal(session_tick(p.s[ARCHIVE], p.now_ns), OK);
	assert_int_equal(session_tick(p.s[ARCHIVE], p.now_ns + SESSION_SILENCE_NS), ERR_IO);
	assert_non_null(strstr(err_text(), "60 s"));
	pair_close(&p);
}

static void
a_frame_that_never_ends_ends_the_session(void **state)
{
	(void)state;
	static struct pair p;
	uint8_t *in;
	connect_pair(&p);
	uint64_t began = p.now_ns;
	/* a length that was made larger on the way; what comes behind it keeps the peer heard */
	static const uint8_t length[2] = { 0xff, 0xfe };
	struct session_event event;
	for (unsigned i = 0; i < sizeof length; i++) {
		assert_true(session_input(p.s[ARCHIVE], &in) > 0);
		*in = length[i];
		session_received(p.s[ARCHIVE], 1, p.now_ns);
	}
	while (p.now_ns - began < SESSION_FRAME_NS - 1) {
		assert_int_equal(session_next(p.s[ARCHIVE], p.now_ns, &event), END);
		assert_int_equal(session_tick(p.s[ARCHIVE], p.now_ns), OK);
		const uint8_t *out;
		session_sent(p.s[ARCHIVE], session_output(p.s[ARCHIVE], p.now_ns, &out), p.now_ns);
		p.now_ns += SESSION_FRAME_NS / 10;
		assert_true(session_input(p.s[ARCHIVE], &in) > 0);
		*in = 7;
		session_received(p.s[ARCHIVE], 1, p.now_ns);
	}
	assert_int_equal(session_deadline(p.s[ARCHIVE]), began + SESSION_FRAME_NS);
	assert_int_equal(session_tick(p.s[ARCHIVE], p.now_ns), ERR_IO);
	assert_non_null(strstr(err_text(), "not complete"));
	pair_close(&p);
}

static void
a_peer_that_takes_nothing_ends_the_session(void **state)
{
	(void)state;
	static struct pair p;
	struct wire_message ack = { .type = WIRE_TYPE_ACK };
	connect_pair(&p);
	unsigned count = 0;
	while (session_room(p.s[ARCHIVE], WIRE_TYPE_ACK)) {
		assert_int_equal(session_send(p.s[ARCHIVE], &ack, p.now_ns), OK);
		count++;
	}
	assert_in_range(count, 100, 1000);
	assert_int_equal(session_send(p.s[ARCHIVE], &ack, p.now_ns), ERR_BUSY);
	session_excuse(p.s[ARCHIVE], p.now_ns + SESSION_SILENCE_NS);
	assert_int_equal(session_deadline(p.s[ARCHIVE]), p.now_ns + SESSION_SILENCE_NS);
	assert_int_equal(session_tick(p.s[ARCHIVE], p.now_ns + SESSION_SILENCE_NS), ERR_IO);
	assert_non_null(strstr(err_text(), "took nothing"));
	pair_close(&p);
}

/* --- bounds --- */

static void
buffers_are_small_until_welcome_and_given_back(void **state)
{
	(void)state;
	static struct pair p;
	struct wire_message m = parcel_of(PARCEL_BYTES_MAX);
	pair_open(&p);
	p.silent = true;
	pair_run(&p);
	struct session *a = p.s[ARCHIVE];
	assert_in_range(a->input.room + a->body.room, 1, 12 << 10);
	assert_in_range(a->output.room, 1, 17 << 10);
	pair_close(&p);
	connect_pair(&p);
	assert_in_range(p.s[COLLECTOR]->input.room + p.s[COLLECTOR]->body.room, 1, 12 << 10);
	a = p.s[ARCHIVE]; /* thousands of them are open: none takes room for a parcel that it may never send */
	assert_in_range(a->input.room + a->body.room, 1, 140 << 10);
	pair_say(&p, COLLECTOR, &m);
	assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_PARCEL], 1);
	assert_in_range(a->body.room, 1, SESSION_KEEP_BYTES);
	pair_say(&p, COLLECTOR, &m);
	assert_int_equal(p.parcel_sum, pair_sum(0, big, PARCEL_BYTES_MAX));
	pair_close(&p);
}

static void
a_parcel_waits_for_the_wire_and_others_for_it(void **state)
{
	(void)state;
	static struct pair p;
	struct wire_message m = parcel_of(3 << 20);
	const uint8_t *out;
	connect_pair(&p);
	assert_int_equal(session_send(p.s[COLLECTOR], &m, p.now_ns), OK);
	assert_true(session_parcel_out(p.s[COLLECTOR]));
	assert_false(session_room(p.s[COLLECTOR], WIRE_TYPE_PARCEL));
	assert_int_equal(session_send(p.s[COLLECTOR], &m, p.now_ns), ERR_BUSY);
	assert_int_equal(session_send(p.s[COLLECTOR], &report, p.now_ns), ERR_BUSY);
	size_t n = session_output(p.s[COLLECTOR], p.now_ns, &out);
	assert_in_range(n, 65537, SESSION_OUTPUT_BYTES);
	assert_true(session_parcel_out(p.s[COLLECTOR]));
	/* nothing is to be said, so the deadline is not now */
	assert_true(session_deadline(p.s[COLLECTOR]) > p.now_ns + SESSION_PING_NS);
	pair_run(&p);
	assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_PARCEL], 1);
	assert_int_equal(p.parcel_sum, pair_sum(0, big, 3 << 20));
	pair_close(&p);
}

static void
a_closed_connection_is_told_after_what_came_before(void **state)
{
	(void)state;
	static struct pair p;
	uint8_t frame[4096];
	connect_pair(&p);
	size_t n = frame_of(&p, &report, frame, sizeof frame);
	uint8_t *in;
	assert_in_range(n, 1, session_input(p.s[ARCHIVE], &in));
	memcpy(in, frame, n);
	session_received(p.s[ARCHIVE], n, p.now_ns);
	session_received(p.s[ARCHIVE], 0, p.now_ns);
	pair_run(&p);
	assert_int_equal(p.messages[ARCHIVE][WIRE_TYPE_REPORT], 1);
	assert_int_equal(p.e[ARCHIVE], ERR_IO);
	assert_string_equal(p.why[ARCHIVE], "the connection was closed");
	pair_close(&p);
}

static void
what_comes_after_the_end_is_dropped(void **state)
{
	(void)state;
	static struct pair p;
	connect_pair(&p);
	session_end(p.s[ARCHIVE]);
	assert_false(session_room(p.s[ARCHIVE], WIRE_TYPE_ACK));
	pair_feed(&p, ARCHIVE, big, 1 << 20);
	assert_int_equal(p.e[ARCHIVE], OK);
	assert_true(session_finished(p.s[ARCHIVE]));
	pair_close(&p);
	pair_open(&p); /* also in the middle of the handshake */
	session_end(p.s[ARCHIVE]);
	session_dh_done(p.s[ARCHIVE], NULL);
	pair_feed(&p, ARCHIVE, big, 1000);
	assert_null(session_peer(p.s[ARCHIVE]));
	pair_close(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parcels_travel_and_are_acknowledged),
		cmocka_unit_test(pieces_of_any_size_make_no_difference),
		cmocka_unit_test(messages_of_no_bytes_and_of_the_most),
		cmocka_unit_test(messages_may_share_a_frame_and_span_frames),
		cmocka_unit_test(an_unknown_key_may_enrol_once),
		cmocka_unit_test(a_monitor_that_is_not_admitted_is_told_why),
		cmocka_unit_test(an_enrolment_can_be_refused),
		cmocka_unit_test(a_session_can_be_ended_from_the_archive),
		cmocka_unit_test(a_refused_parcel_does_not_end_it),
		cmocka_unit_test(every_truncation_of_the_handshake_ends_both_sides),
		cmocka_unit_test(every_flipped_bit_of_the_handshake_ends_it),
		cmocka_unit_test(a_replayed_first_message_gives_nothing),
		cmocka_unit_test(another_archive_key_or_a_refused_dh_ends_it),
		cmocka_unit_test(garbage_ends_the_session_with_a_sentence),
		cmocka_unit_test(every_flipped_bit_of_a_frame_ends_the_session),
		cmocka_unit_test(every_truncation_of_frames_ends_the_session),
		cmocka_unit_test(lost_repeated_and_exchanged_frames_end_the_session),
		cmocka_unit_test(refuses_frames_without_content_and_large_ones_before_their_time),
		cmocka_unit_test(a_message_out_of_turn_ends_the_session),
		cmocka_unit_test(hostile_messages_of_a_known_monitor_end_its_session),
		cmocka_unit_test(both_sides_take_new_keys_at_once),
		cmocka_unit_test(too_many_frames_under_one_key_end_the_session),
		cmocka_unit_test(a_slow_handshake_times_out),
		cmocka_unit_test(idle_sides_ping_and_stay),
		cmocka_unit_test(silence_ends_the_session_unless_it_is_our_own),
		cmocka_unit_test(a_frame_that_never_ends_ends_the_session),
		cmocka_unit_test(a_peer_that_takes_nothing_ends_the_session),
		cmocka_unit_test(buffers_are_small_until_welcome_and_given_back),
		cmocka_unit_test(a_parcel_waits_for_the_wire_and_others_for_it),
		cmocka_unit_test(a_closed_connection_is_told_after_what_came_before),
		cmocka_unit_test(what_comes_after_the_end_is_dropped),
	};
	return cmocka_run_group_tests(tests, begin, end);
}
