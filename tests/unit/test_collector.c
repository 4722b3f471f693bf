/* tests/collector.py, which was written from docs/wire.md and docs/format.md, against our side of the wire: a little archive in
 * this process, on a loopback port, that takes parcels and opens them but keeps nothing. */
#include "tests/support/unit.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "archive/batch.h"
#include "archive/block_read.h"
#include "archive/parcel.h"
#include "archive/ticket.h"
#include "ingest/session_parts.h"
#include "tests/support/draft.h"
#include "tests/support/make_archive.h"

#define FRAMES        1000u
#define LIFE_NS       60000000000ull /* of one run of the collector */
#define ARGS_MAX      16

extern char **environ;

static char scratch[PATH_BYTES], folder[2 * PATH_BYTES], trace[2 * PATH_BYTES];
static struct frames *frames;

/* The little archive. */
static struct {
	int            listener;
	unsigned       port;
	uint8_t        noise_secret[32], noise_public[32], ingest_secret[32], ingest_public[32], id[16], ticket[16];
	uint8_t        monitor_noise[32], monitor_sign[32];
	bool           enrolled;
	uint64_t       epoch, sequence;
	uint8_t        chain[32];
	uint64_t       records, lost; /* taken */
	/* how it behaves */
	bool           mute;          /* takes parcels, acknowledges none */
	unsigned       refuse_at;     /* refuses the nth parcel of a session with this code */
	enum wire_refusal refusal;
	bool           pauses;        /* says WAIT and GO */
	bool           rekeys;        /* takes a new key for every message */
	/* what came */
	unsigned       parcels, duplicates, reports, goodbyes, strangers;
	char           failure[ERR_TEXT_BYTES];
	struct block_examiner *examiner;
	struct block_decoder  *decoder;
} a;

static uint64_t
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- contents --- */

static void
make_trace(void)
{
	struct draft d;
	uint8_t head[24] = { 0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, [16] = 0xff, 0xff, [20] = 1 }, record[16];
	frames_reset(frames);
	for (uint32_t i = 0; i < FRAMES; i++) {
		draft_start(&d);
		draft_ethernet(&d, 0x0800);
		draft_ip4(&d, 0x0a000000 + i, 0xc6336407, 17, NULL, 0);
		draft_udp(&d, (uint16_t)(1024 + i), 53);
		draft_fill(&d, i % 100);
		draft_finish(&d);
		uint64_t jump = i == 400 ? 7000000000ull : i == 500 ? (uint64_t)-3000000 : 0;
		draft_add(&d, frames, 1700000000000000000ull + i * 1001 + jump, 1)->wire_len += i % 3;
	}
	FILE *f = fopen(trace, "wb");
	assert_non_null(f);
	assert_int_equal(fwrite(head, sizeof head, 1, f), 1);
	for (uint32_t i = 0; i < frames->count; i++) {
		const struct frame *r = &frames->v[i];
		store_le32(record, (uint32_t)(r->ts_ns / 1000000000u));
		store_le32(record + 4, (uint32_t)(r->ts_ns % 1000000000u));
		store_le32(record + 8, r->cap_len);
		store_le32(record + 12, r->wire_len);
		assert_int_equal(fwrite(record, sizeof record, 1, f), 1);
		assert_int_equal(fwrite(frames->bytes + r->at, r->cap_len, 1, f), 1);
	}
	fclose(f);
}

/* The block's records are frames of the trace, one after another; no two of these have the same time. */
static enum err
compare_frames(const struct stored_block *stored)
{
	const struct batch *b;
	uint32_t first = 0;
	TRY(block_load(a.decoder, stored, BATCH_ALL, &b, NULL));
	while (first < FRAMES - 1 && frames->v[first].ts_ns != b->time[0])
		first++;
	for (uint32_t i = 0; i < b->count && first + i < FRAMES; i++) {
		const struct frame *f = &frames->v[first + i];
		uint32_t row = b->row_of[i], n;
		const uint8_t *bytes;
		TRY(batch_bytes(b, row, &bytes, &n));
		if (b->time[i] != f->ts_ns || b->wire_len[row] != f->wire_len || n != f->cap_len ||
		    memcmp(bytes, frames->bytes + f->at, n) != 0 || batch_link(b, row)->linktype != 1)
			return ERR_FORMAT;
	}
	return b->count <= FRAMES - first ? OK : ERR_FORMAT;
}

static enum err
open_block(const struct parcel *p)
{
	uint8_t key[BLOCK_KEY_BYTES];
	struct block block;
	TRY(parcel_open_key(p->sealed_key, a.ingest_public, a.ingest_secret, key));
	TRY(block_examine(a.examiner, p->block, p->block_bytes, key, p->captured_bytes, EXAMINE_ALL, &block));
	if (block.info.records != p->records || block.info.first_ns != p->first_ns || block.info.last_ns != p->last_ns)
		return ERR_FORMAT;
	/* the index sees addresses in frames that are stored whole */
	if (block.ip4_count != p->records + 1 || block.opaque)
		return ERR_FORMAT;
	struct stored_block stored = { .serial = block_serials(1), .info = &block.info, .key = key, .fd = -1, .bytes = p->block };
	return compare_frames(&stored);
}

/* What the store does, in short: ERR_EXISTS: had it; ERR_ABSENT: not the next. */
static enum err
land(const struct parcel *p)
{
	bool loss = p->kind == PARCEL_LOSS;
	uint64_t first = loss ? p->from_sequence : p->sequence;
	if (p->epoch == a.epoch && p->sequence <= a.sequence)
		return p->sequence < a.sequence || memcmp(loss ? p->hash : p->self, a.chain, 32) == 0 ? ERR_EXISTS : ERR_DENIED;
	if (p->epoch < a.epoch || first > (p->epoch > a.epoch ? 1 : a.sequence + 1))
		return ERR_ABSENT;
	if (p->epoch > a.epoch ? !sodium_is_zero(p->previous, 32) : first > a.sequence && memcmp(p->previous, a.chain, 32) != 0)
		return ERR_DENIED;
	if (!loss)
		TRY(open_block(p));
	a.lost += loss ? p->records : 0;
	a.records += p->records;
	a.epoch = p->epoch;
	a.sequence = p->sequence;
	memcpy(a.chain, loss ? p->hash : p->self, 32);
	return OK;
}

/* --- a session --- */

static void
failed(const char *what)
{
	if (a.failure[0] == 0)
		snprintf(a.failure, sizeof a.failure, "%s: %s", what, err_text());
}

static void
say(struct session *s, const struct wire_message *m)
{
	if (a.rekeys)
		s->sent_bytes = SESSION_REKEY_BYTES;
	if (session_send(s, m, now()) != OK)
		failed("send");
}

static enum wire_refusal
admit(void *arg, const uint8_t key[32])
{
	(void)arg;
	return a.enrolled && memcmp(key, a.monitor_noise, 32) == 0 ? WIRE_REFUSAL_NONE : WIRE_REFUSAL_NOT_ENROLLED;
}

static void
take_enrol(struct session *s, const struct wire_enrol *e)
{
	struct wire_message m = { .type = WIRE_TYPE_ENROLLED, .enrolled.monitor = "roof" };
	if (memcmp(e->secret, a.ticket, sizeof a.ticket) != 0) {
		m = (struct wire_message){ .type = WIRE_TYPE_REFUSED,
			                   .refused = { .code = WIRE_REFUSAL_NOT_ENROLLED, .sentence = "no such code" } };
	} else {
		memset(a.ticket, 0xee, sizeof a.ticket); /* once */
		memcpy(a.monitor_noise, session_peer(s), 32);
		memcpy(a.monitor_sign, e->sign_key, 32);
		memcpy(m.enrolled.archive, a.id, 16);
		memcpy(m.enrolled.ingest_key, a.ingest_public, 32);
		a.enrolled = true;
	}
	say(s, &m);
}

static void
refuse(struct session *s, const struct parcel *p, enum wire_refusal code)
{
	struct wire_message m = { .type = WIRE_TYPE_REFUSED,
		                  .refused = { .code = (uint8_t)code, .epoch = p->epoch, .sequence = p->sequence } };
	snprintf(m.refused.stream, sizeof m.refused.stream, "%s", p->stream);
	say(s, &m);
}

static void
take_parcel(struct session *s, const uint8_t *bytes, size_t n, unsigned number)
{
	struct parcel p;
	if (parcel_parse(bytes, n, &p) != OK || parcel_verify(&p) != OK || memcmp(p.monitor, a.monitor_sign, 32) != 0 ||
	    memcmp(p.archive, a.id, 16) != 0) {
		failed("parcel");
		return;
	}
	a.parcels++;
	if (a.refuse_at && number == a.refuse_at) {
		refuse(s, &p, a.refusal);
		return;
	}
	enum err e = land(&p);
	a.duplicates += e == ERR_EXISTS;
	if (e == ERR_ABSENT)
		refuse(s, &p, WIRE_REFUSAL_OUT_OF_ORDER);
	else if (e != OK && e != ERR_EXISTS)
		failed("block");
	struct wire_message m = { .type = WIRE_TYPE_ACK, .ack = { .epoch = a.epoch, .sequence = a.sequence } };
	snprintf(m.ack.stream, sizeof m.ack.stream, "%s", p.stream);
	if (!a.mute && (e == OK || e == ERR_EXISTS))
		say(s, &m);
	if (a.pauses && number % 2) {
		say(s, &(struct wire_message){ .type = WIRE_TYPE_WAIT, .wait = { .milliseconds = 50000, .reason = "a test" } });
		say(s, &(struct wire_message){ .type = WIRE_TYPE_GO });
	}
}

static void
take_event(struct session *s, const struct session_event *event, unsigned *number)
{
	const struct wire_message *in = &event->message;
	struct wire_message m = { 0 };
	uint8_t shared[32];
	if (event->kind == SESSION_WANT_DH) {
		session_dh_done(s, noise_dh(shared, a.noise_secret, event->key) == OK ? shared : NULL);
		return;
	}
	if (event->kind == SESSION_STRANGER) {
		a.strangers++;
		return;
	}
	switch (in->type) {
	case WIRE_TYPE_ENROL:
		take_enrol(s, &in->enrol);
		break;
	case WIRE_TYPE_HELLO:
		m.type = WIRE_TYPE_WELCOME;
		memcpy(m.welcome.archive, a.id, 16);
		memcpy(m.welcome.ingest_key, a.ingest_public, 32);
		say(s, &m);
		break;
	case WIRE_TYPE_FEED_ASK:
		m = (struct wire_message){ .type = WIRE_TYPE_MARK, .mark = { .epoch = a.epoch, .sequence = a.sequence } };
		snprintf(m.mark.stream, sizeof m.mark.stream, "%s", in->feed_ask.stream);
		memcpy(m.mark.chain, a.chain, 32);
		say(s, &m);
		break;
	case WIRE_TYPE_PARCEL:
		take_parcel(s, in->parcel.bytes, in->parcel.bytes_count, ++*number);
		break;
	case WIRE_TYPE_REPORT:
		a.reports++;
		break;
	case WIRE_TYPE_BYE:
		a.goodbyes++;
		session_end(s);
		break;
	default:
		break;
	}
}

/* Moves bytes once; false when the session is over. */
static bool
serve(struct session *s, int fd, unsigned *number)
{
	struct session_event event;
	uint8_t *in;
	const uint8_t *out;
	enum err e = OK;
	size_t room = session_input(s, &in), n = session_output(s, now(), &out);
	struct pollfd p = { fd, (short)((room ? POLLIN : 0) | (n ? POLLOUT : 0)), 0 };
	if (poll(&p, 1, 100) > 0) {
		if (p.revents & (POLLIN | POLLHUP | POLLERR) && room) {
			ssize_t got = recv(fd, in, room, 0);
			session_received(s, got > 0 ? (size_t)got : 0, now());
		}
		if (p.revents & POLLOUT) {
			ssize_t sent = send(fd, out, n, MSG_NOSIGNAL);
			session_sent(s, sent > 0 ? (size_t)sent : 0, now());
		}
	}
	while (e == OK && (e = session_next(s, now(), &event)) == OK)
		take_event(s, &event, number);
	return a.failure[0] == 0 && e == END && session_tick(s, now()) == OK && !session_finished(s);
}

static void
serve_connection(int fd)
{
	struct session *s;
	unsigned number = 0;
	assert_int_equal(session_open_archive(&s, a.noise_public, admit, NULL, now()), OK);
	while (serve(s, fd, &number))
		;
	if (session_finished(s))
		(void)shutdown(fd, SHUT_WR);
	session_close(&s);
	close(fd);
}

/* --- the collector --- */

/* Runs it against the archive; its exit code. */
static int
collect(const char *first, ...)
{
	char script[2 * PATH_BYTES];
	char *argv[ARGS_MAX] = { "/usr/bin/python3", script };
	const char *top = getenv("TOP");
	int count = 2, status = 0;
	pid_t child;
	snprintf(script, sizeof script, "%s/tests/collector.py", top ? top : ".");
	va_list args;
	va_start(args, first);
	for (const char *w = first; w && count < ARGS_MAX - 1; w = va_arg(args, const char *))
		argv[count++] = (char *)(uintptr_t)w;
	va_end(args);
	argv[count] = NULL;
	posix_spawn_file_actions_t quiet;
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", 1, 0);
	if (!getenv("COLLECTOR_SHOWS"))
		posix_spawn_file_actions_addopen(&quiet, 2, "/dev/null", 1, 0);
	assert_int_equal(posix_spawn(&child, argv[0], &quiet, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&quiet);
	uint64_t until = now() + LIFE_NS;
	while (waitpid(child, &status, WNOHANG) == 0) {
		struct pollfd p = { a.listener, POLLIN, 0 };
		if (now() > until)
			kill(child, SIGKILL);
		if (poll(&p, 1, 20) > 0) {
			int fd = accept(a.listener, NULL, NULL);
			if (fd >= 0)
				serve_connection(fd);
		}
	}
	assert_string_equal(a.failure, "");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const char *
url(void)
{
	static char text[64];
	snprintf(text, sizeof text, "atoll://127.0.0.1:%u", a.port);
	return text;
}

static void
make_code(char code[TICKET_CODE_CHARS + 1])
{
	struct ticket t;
	randombytes_buf(a.ticket, sizeof a.ticket);
	memcpy(t.secret, a.ticket, sizeof t.secret);
	memcpy(t.archive, a.noise_public, sizeof t.archive);
	ticket_format(code, &t);
}

static bool
able(void)
{
	return access("/usr/bin/python3", X_OK) == 0 && access("/usr/lib/python3/dist-packages/nacl", R_OK) == 0;
}

static int
begin(void **state)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof at;
	(void)state;
	memset(&a, 0, sizeof a);
	a.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sodium_init() < 0 || bind(a.listener, (struct sockaddr *)&at, n) != 0 || listen(a.listener, 8) != 0 ||
	    getsockname(a.listener, (struct sockaddr *)&at, &n) != 0)
		return -1;
	a.port = ntohs(at.sin_port);
	randombytes_buf(a.noise_secret, 32);
	noise_public(a.noise_public, a.noise_secret);
	crypto_box_keypair(a.ingest_public, a.ingest_secret);
	randombytes_buf(a.id, sizeof a.id);
	scratch_make(scratch);
	snprintf(folder, sizeof folder, "%s/monitor", scratch);
	snprintf(trace, sizeof trace, "%s/trace.pcap", scratch);
	if (frames_open(&frames, 1 << 20) != OK || block_examiner_open(&a.examiner) != OK || block_decoder_open(&a.decoder, NULL) != OK)
		return -1;
	make_trace();
	char code[TICKET_CODE_CHARS + 1];
	make_code(code);
	return collect(folder, "enrol", url(), code, NULL) == 0 && a.enrolled ? 0 : -1;
}

static int
end(void **state)
{
	(void)state;
	close(a.listener);
	frames_close(&frames);
	block_examiner_close(&a.examiner);
	block_decoder_close(&a.decoder);
	scratch_remove(scratch);
	return 0;
}

static void
a_trace_arrives_as_it_was(void **state)
{
	(void)state;
	assert_int_equal(collect("--records", "300", folder, "push", "eth0", trace, NULL), 0);
	assert_int_equal(a.parcels, 4);
	assert_int_equal(a.records, FRAMES);
	assert_int_equal(a.goodbyes, 1);
	assert_int_equal(a.reports, 1);
	/* and again: the chain goes on */
	assert_int_equal(collect("--records", "999", folder, "push", "eth0", trace, NULL), 0);
	assert_int_equal(a.sequence, 6);
	assert_int_equal(a.records, 2 * FRAMES);
	assert_int_equal(a.duplicates, 0);
}

static void
what_was_not_acknowledged_comes_again_without_effect(void **state)
{
	(void)state;
	a.mute = true;
	assert_int_equal(collect("--records", "100", "--stop-after", "6", folder, "push", "eth0", trace, NULL), 0);
	assert_in_range(a.parcels, 1, 6);
	uint64_t before = a.records;
	a.mute = false;
	assert_int_equal(collect(folder, "send", "eth0", NULL), 0);
	assert_int_equal(a.records, FRAMES);
	assert_true(before <= 600);
	assert_int_equal(a.sequence, 10);
	/* an archive that lost its place, as a restored copy: older, then the same */
	assert_int_equal(collect(folder, "send", "eth0", NULL), 0);
	assert_int_equal(a.records, FRAMES);
}

static void
a_refused_parcel_is_sent_again_from_the_mark(void **state)
{
	(void)state;
	a.refuse_at = 3;
	a.refusal = WIRE_REFUSAL_OUT_OF_ORDER;
	a.pauses = true;
	assert_int_equal(collect("--records", "50", folder, "push", "eth0", trace, NULL), 0);
	assert_int_equal(a.records, FRAMES);
	assert_int_equal(a.sequence, 20);
	assert_true(a.parcels > 20);
}

static void
new_keys_for_every_message_change_nothing(void **state)
{
	(void)state;
	a.rekeys = true;
	setenv("COLLECTOR_REKEY_BYTES", "1", 1);
	int status = collect("--records", "200", folder, "push", "eth0", trace, NULL);
	unsetenv("COLLECTOR_REKEY_BYTES");
	assert_int_equal(status, 0);
	assert_int_equal(a.records, FRAMES);
}

static void
dropped_parcels_are_a_loss_and_the_chain_goes_on(void **state)
{
	(void)state;
	assert_int_equal(collect("--records", "100", folder, "spool", "eth0", trace, NULL), 0);
	assert_int_equal(collect("--records", "100", folder, "drop", "eth0", "3", NULL), 0);
	assert_int_equal(collect(folder, "send", "eth0", NULL), 0);
	assert_int_equal(a.parcels, 8);
	assert_int_equal(a.lost, 300);
	assert_int_equal(a.records, FRAMES);
	assert_int_equal(a.sequence, 10);
	/* some of what is dropped had arrived */
	a.mute = true;
	assert_int_equal(collect("--records", "100", "--stop-after", "2", folder, "push", "eth0", trace, NULL), 0);
	a.mute = false;
	assert_int_equal(collect(folder, "drop", "eth0", "4", NULL), 0);
	assert_int_equal(collect(folder, "send", "eth0", NULL), 0);
	assert_int_equal(a.sequence, 20);
}

static void
strangers_and_wrong_codes_are_refused(void **state)
{
	(void)state;
	char code[TICKET_CODE_CHARS + 1], other[2 * PATH_BYTES];
	snprintf(other, sizeof other, "%s/other", scratch);
	make_code(code);
	a.ticket[0] ^= 1;
	assert_int_equal(collect(other, "enrol", url(), code, NULL), 4);
	a.ticket[0] ^= 1;
	code[5] = code[5] == 'a' ? 'b' : 'a';
	assert_int_equal(collect(other, "enrol", url(), code, NULL), 1);
	a.enrolled = false; /* revoked */
	assert_int_equal(collect(folder, "push", "eth0", trace, NULL), 4);
	assert_int_equal(a.strangers, 1);
	assert_int_equal(a.parcels, 0);
	a.enrolled = true;
	a.noise_secret[1] ^= 1; /* somebody else answers */
	assert_int_equal(collect(folder, "send", "eth0", NULL), 1);
	assert_int_equal(a.parcels, 0);
}

static void
a_copied_monitor_notices(void **state)
{
	(void)state;
	assert_int_equal(collect(folder, "push", "eth0", trace, NULL), 0);
	a.sequence += 5;
	assert_int_equal(collect(folder, "push", "eth0", trace, NULL), 1);
	assert_int_equal(a.parcels, 1);
}

static void
a_second_collector_in_python(void **state)
{
	(void)state;
	print_message("skipped: no /usr/bin/python3 with PyNaCl (Debian: python3-nacl)\n");
	skip();
}

int
main(void)
{
	const struct CMUnitTest unable[] = { cmocka_unit_test(a_second_collector_in_python) };
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_trace_arrives_as_it_was, begin, end),
		cmocka_unit_test_setup_teardown(what_was_not_acknowledged_comes_again_without_effect, begin, end),
		cmocka_unit_test_setup_teardown(a_refused_parcel_is_sent_again_from_the_mark, begin, end),
		cmocka_unit_test_setup_teardown(new_keys_for_every_message_change_nothing, begin, end),
		cmocka_unit_test_setup_teardown(dropped_parcels_are_a_loss_and_the_chain_goes_on, begin, end),
		cmocka_unit_test_setup_teardown(strangers_and_wrong_codes_are_refused, begin, end),
		cmocka_unit_test_setup_teardown(a_copied_monitor_notices, begin, end),
	};
	return able() ? cmocka_run_group_tests(tests, NULL, NULL) : cmocka_run_group_tests(unable, NULL, NULL);
}
