/* The store and the ingest process together, as `atoll serve` starts them, with collectors that behave and some that do not. */
#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "archive/seal.h"
#include "base/process.h"
#include "base/when.h"
#include "index/control.h"
#include "index/keeper.h"
#include "index/monitors.h"
#include "ingest/gate.h"
#include "tests/support/tiny_collector.h"
#include "tests/support/unit.h"

#define MONITORS 6u

static bool code_only;
static char dir[64];
static uint16_t port;
static pid_t server;
static uint8_t archive_key[32], codes[MONITORS][16];
static struct tiny who;

static void
nap(unsigned ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL);
}

/* --- the server --- */

static void
serve(int listener, const struct gate_limits *limits)
{
	static struct keeper_settings keeper;
	static struct gate_settings gate;
	snprintf(keeper.dir, sizeof keeper.dir, "%s", dir);
	keeper.ingest = 1;
	keeper.http = 2;
	gate = (struct gate_settings){ .limits = *limits, .listeners = 1, .listener = { listener } };
	const struct process_role roles[2] = {
		{ .name = "store", .run = keeper_run, .arg = &keeper, .links = 2 },
		{ .name = "ingest", .run = gate_run, .arg = &gate, .links = 1, .keep = gate.listener, .keep_count = 1 },
	};
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (!getenv("SERVE_LOG") && !freopen("/dev/null", "w", stderr))
		_exit(99);
	enum err e = supervise(&(struct supervision){ .roles = roles, .count = 2 });
	_exit((int)e);
}

/* The process of this name below the server; 0: none now. */
static pid_t
child(const char *name)
{
	char path[300], comm[32] = "";
	pid_t found = 0;
	DIR *d = opendir("/proc");
	for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
		int parent = 0;
		snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
		FILE *f = e->d_name[0] >= '1' && e->d_name[0] <= '9' ? fopen(path, "r") : NULL;
		if (f && fscanf(f, "%*d (%31[^)]) %*c %d", comm, &parent) == 2 && parent == server && strcmp(comm, name) == 0)
			found = (pid_t)strtol(e->d_name, NULL, 10);
		if (f)
			fclose(f);
	}
	closedir(d);
	return found;
}

static void
start(const struct gate_limits *limits)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(fd, 100), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	port = ntohs(a.sin_port);
	server = fork();
	if (server == 0)
		serve(fd, limits);
	close(fd);
	for (unsigned i = 0; i < 500 && !child("atoll-ingest"); i++)
		nap(10);
}

static int
stop(void)
{
	int status = -1;
	kill(server, SIGTERM);
	waitpid(server, &status, 0);
	return status;
}

/* --- around each test: an archive with tickets m0, m1, ... --- */

static int
open_archive(void **state)
{
	(void)state;
	struct store *s = NULL;
	struct archive_identity id;
	snprintf(dir, sizeof dir, "/tmp/atoll-serve-XXXXXX");
	if (!mkdtemp(dir) || archive_init(dir, NULL) != OK || store_open(&s, dir, NULL) != OK)
		return -1;
	monitors_identity(archive_keystore(store_archive(s)), &id);
	memcpy(archive_key, id.noise_public, 32);
	for (unsigned i = 0; i < MONITORS; i++) {
		char name[16];
		snprintf(name, sizeof name, "m%u", i);
		if (monitors_ticket(s, name, when_now(), when_now() + 3600ull * NS_PER_S, codes[i]) != OK)
			return -1;
	}
	store_close(&s);
	tiny_init(&who, 1, archive_key);
	start(&(struct gate_limits)GATE_LIMITS_DEFAULT);
	return 0;
}

static int
close_archive(void **state)
{
	(void)state;
	char command[100];
	tiny_fini(&who);
	if (stop() != 0)
		return -1;
	char *const rm[] = { "rm", "-r", dir, NULL };
	pid_t pid = fork();
	if (pid == 0)
		execvp("rm", rm);
	waitpid(pid, NULL, 0);
	snprintf(command, sizeof command, "%s", dir);
	return access(command, F_OK) == 0 ? -1 : 0;
}

static uint64_t
records_there(void)
{
	struct archive *a = NULL;
	struct catalogue_totals t;
	assert_int_equal(archive_open(&a, dir, NULL, ARCHIVE_READ), OK);
	assert_int_equal(catalogue_begin(archive_catalogue(a)), OK);
	assert_int_equal(catalogue_sum(archive_catalogue(a), 0, &t), OK);
	catalogue_end(archive_catalogue(a));
	archive_close(&a);
	return t.records;
}

static const char *
state_of(const char *name)
{
	static const char *const words[] = { "enrolled", "revoked", "quarantined" };
	struct vitals v;
	int fd;
	const char *found = "none";
	assert_int_equal(control_dial(&fd, dir), OK);
	assert_int_equal(control_ask_monitors(&fd, &v), OK);
	for (uint32_t i = 0; i < v.monitor_count; i++)
		if (strcmp(v.monitors[i].name, name) == 0)
			found = words[v.monitors[i].state];
	vitals_fini(&v);
	return found;
}

#define EPOCH 1000u
#define TIME  1767600000000000000u

/* --- tests --- */

static void
a_collector_enrols_sends_and_is_acknowledged(void **state)
{
	(void)state;
	struct wire_message m;
	uint64_t slowest = 0;
	assert_true(tiny_enrol(&who, port, codes[0]));
	assert_string_equal(who.name, "m0");
	assert_true(tiny_hello(&who, port));
	assert_true(tiny_ask(&who, "eth0", &m));
	assert_true(m.mark.epoch == 0 && m.mark.sequence == 0);
	for (uint64_t i = 1; i <= 5; i++) {
		tiny_make(&who, "eth0", EPOCH, i, i > 1 ? who.chain : NULL, 100, TIME + i * 1000, TINY_GOOD);
		uint64_t began = when_now();
		assert_true(tiny_deliver(&who, i));
		slowest = when_now() - began > slowest ? when_now() - began : slowest;
		assert_true(records_there() == i * 100);
	}
	print_message("slowest of five single parcels, sent to acknowledged: %.1f ms\n", (double)slowest / 1e6);
	assert_true(tiny_deliver(&who, 5)); /* again: acknowledged, without effect */
	assert_true(tiny_ask(&who, "eth0", &m));
	assert_true(m.mark.epoch == EPOCH && m.mark.sequence == 5);
	assert_memory_equal(m.mark.chain, who.chain, 32);
	assert_true(records_there() == 500);
	assert_false(tiny_enrol(&who, port, codes[0]) && strcmp(who.name, "m0") != 0);
}

static void
strangers_and_used_codes_are_refused(void **state)
{
	(void)state;
	struct wire_message m;
	struct tiny other;
	tiny_init(&other, 2, archive_key);
	struct wire_message hello = { .type = WIRE_TYPE_HELLO, .hello = { .software = "tiny", .streams = 1 } };
	assert_true(tiny_connect(&other, port));
	assert_true(tiny_say(&other, &hello));
	assert_true(tiny_wait(&other, WIRE_TYPE_REFUSED, &m, 5000));
	assert_int_equal(m.refused.code, WIRE_REFUSAL_NOT_ENROLLED);
	assert_true(tiny_enrol(&who, port, codes[0]));
	assert_false(tiny_enrol(&other, port, codes[0]));
	assert_true(tiny_enrol(&other, port, codes[1]));
	uint8_t wrong[32] = { 1, 2, 3 };
	struct tiny misled;
	tiny_init(&misled, 3, wrong);
	assert_false(tiny_connect(&misled, port));
	tiny_fini(&misled);
	tiny_fini(&other);
}

/* Sends one with this fault, first of a stream; the code it is refused with. */
static unsigned
refused_with(enum tiny_fault fault, uint64_t sequence)
{
	struct wire_message m;
	assert_true(tiny_hello(&who, port));
	tiny_make(&who, "eth0", EPOCH, sequence, NULL, 50, TIME, fault);
	assert_true(tiny_send(&who));
	return tiny_wait(&who, WIRE_TYPE_REFUSED, &m, 5000) ? m.refused.code : 0;
}

static void
what_is_wrong_is_refused_by_name_and_nothing_of_it_is_kept(void **state)
{
	(void)state;
	assert_true(tiny_enrol(&who, port, codes[0]));
	assert_int_equal(refused_with(TINY_ARCHIVE, 1), WIRE_REFUSAL_WRONG_ARCHIVE);
	assert_int_equal(refused_with(TINY_MONITOR, 1), WIRE_REFUSAL_WRONG_ARCHIVE);
	assert_int_equal(refused_with(TINY_OTHER_KEY, 1), WIRE_REFUSAL_WRONG_ARCHIVE);
	assert_int_equal(refused_with(TINY_GOOD, 7), WIRE_REFUSAL_OUT_OF_ORDER);
	assert_int_equal(refused_with(TINY_SIGNATURE, 1), WIRE_REFUSAL_DAMAGED);
	assert_int_equal(refused_with(TINY_CLAIM, 1), WIRE_REFUSAL_DAMAGED);
	assert_true(records_there() == 0);
	assert_string_equal(state_of("m0"), "enrolled");
	assert_int_equal(refused_with(TINY_BLOCK, 1), WIRE_REFUSAL_DAMAGED); /* the third */
	assert_true(tiny_ended(&who, 5000));
	assert_string_equal(state_of("m0"), "quarantined");
	assert_false(tiny_hello(&who, port));
	assert_true(records_there() == 0);
}

static void
a_copied_monitor_is_quarantined(void **state)
{
	(void)state;
	struct wire_message m;
	assert_true(tiny_enrol(&who, port, codes[0]));
	assert_true(tiny_hello(&who, port));
	tiny_make(&who, "eth0", EPOCH, 1, NULL, 50, TIME, TINY_GOOD);
	assert_true(tiny_deliver(&who, 1));
	tiny_make(&who, "eth0", EPOCH, 1, NULL, 60, TIME, TINY_GOOD);
	assert_true(tiny_send(&who));
	assert_true(tiny_wait(&who, WIRE_TYPE_REFUSED, &m, 5000));
	assert_int_equal(m.refused.code, WIRE_REFUSAL_QUARANTINED);
	assert_true(tiny_ended(&who, 5000));
	assert_string_equal(state_of("m0"), "quarantined");
	assert_true(records_there() == 50);
}

static void
a_revocation_cuts_the_session_at_once(void **state)
{
	(void)state;
	int fd;
	assert_true(tiny_enrol(&who, port, codes[0]));
	assert_true(tiny_hello(&who, port));
	assert_false(tiny_ended(&who, 200));
	assert_int_equal(control_dial(&fd, dir), OK);
	uint64_t began = when_now();
	assert_int_equal(control_ask_revoke(&fd, "m0", &code_only), OK);
	assert_true(tiny_ended(&who, 5000));
	assert_true(when_now() - began < 5000000000u);
	assert_false(tiny_hello(&who, port));
}

static void
a_newer_session_takes_the_place_of_the_older(void **state)
{
	(void)state;
	struct tiny again;
	assert_true(tiny_enrol(&who, port, codes[0]));
	assert_true(tiny_hello(&who, port));
	tiny_init(&again, 1, archive_key);
	assert_true(tiny_hello(&again, port));
	assert_true(tiny_ended(&who, 5000));
	assert_false(tiny_ended(&again, 200));
	tiny_fini(&again);
}

/* What was acknowledged is there, whoever was killed; the collector goes on from the mark. */
static void
killed_processes_come_back_and_nothing_acknowledged_is_lost(void **state)
{
	(void)state;
	static const char *const names[] = { "atoll-store", "atoll-ingest" };
	struct wire_message m;
	uint64_t sequence = 0;
	uint8_t chain[32] = { 0 };
	assert_true(tiny_enrol(&who, port, codes[0]));
	for (unsigned round = 0; round < 6; round++) {
		bool there = false;
		for (unsigned i = 0; i < 50 && !there; i++) {
			there = tiny_hello(&who, port);
			if (!there)
				nap(100);
		}
		assert_true(there);
		assert_true(tiny_ask(&who, "eth0", &m));
		assert_true(m.mark.sequence == sequence);
		for (unsigned i = 0; i < 4; i++) {
			tiny_make(&who, "eth0", EPOCH, sequence + 1, sequence ? chain : NULL, 30, TIME + sequence, TINY_GOOD);
			assert_true(tiny_deliver(&who, sequence + 1));
			memcpy(chain, who.chain, sizeof chain);
			sequence++;
		}
		pid_t victim = child(names[round % 2]);
		assert_true(victim > 0);
		kill(victim, SIGKILL);
		assert_true(tiny_ended(&who, 5000));
	}
	while (child("atoll-store") == 0 || child("atoll-ingest") == 0)
		nap(50);
	assert_true(records_there() == sequence * 30);
}

/* A server's end is not before what it was given is answered. */
static void
at_the_end_what_is_in_flight_is_answered(void **state)
{
	(void)state;
	struct wire_message m;
	uint64_t acknowledged = 0;
	assert_true(tiny_enrol(&who, port, codes[0]));
	assert_true(tiny_hello(&who, port));
	for (uint64_t i = 1; i <= 20; i++) {
		tiny_make(&who, "eth0", EPOCH, i, i > 1 ? who.chain : NULL, 30, TIME + i, TINY_GOOD);
		assert_true(tiny_send(&who));
	}
	kill(server, SIGTERM);
	while (tiny_wait(&who, WIRE_TYPE_ACK, &m, 3000))
		acknowledged = m.ack.sequence;
	assert_int_equal(stop(), 0);
	assert_true(records_there() == acknowledged * 30);
	tiny_hang_up(&who); /* not into the server's processes */
	start(&(struct gate_limits)GATE_LIMITS_DEFAULT);
	assert_true(tiny_hello(&who, port));
}

static void
garbage_and_silence_harm_nobody(void **state)
{
	(void)state;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fds[60];
	assert_true(tiny_enrol(&who, port, codes[0]));
	assert_true(tiny_hello(&who, port));
	for (unsigned i = 0; i < 60; i++) {
		uint8_t junk[4096];
		fds[i] = socket(AF_INET, SOCK_STREAM, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&to, sizeof to), 0);
		randombytes_buf(junk, sizeof junk);
		if (i % 3 == 1)
			memcpy(junk, "ATOLLWIR\1\0\1\0", 12);
		if (i % 3)
			assert_true(send(fds[i], junk, sizeof junk, MSG_NOSIGNAL) > 0);
	}
	tiny_make(&who, "eth0", EPOCH, 1, NULL, 30, TIME, TINY_GOOD);
	assert_true(tiny_deliver(&who, 1));
	for (unsigned i = 0; i < 60; i++)
		close(fds[i]);
	assert_true(child("atoll-ingest") > 0);
}

/* One monitor that may send 300 kB/s sends more; another is not slowed down. */
static void
a_flood_is_slowed_and_slows_nobody_else(void **state)
{
	(void)state;
	struct tiny quiet;
	struct wire_message m;
	assert_int_equal(stop(), 0);
	struct gate_limits limits = GATE_LIMITS_DEFAULT;
	limits.monitor_bytes = 300000;
	start(&limits);
	tiny_init(&quiet, 2, archive_key);
	assert_true(tiny_enrol(&who, port, codes[0]));
	assert_true(tiny_enrol(&quiet, port, codes[1]));
	assert_true(tiny_hello(&who, port));
	assert_true(tiny_hello(&quiet, port));
	uint64_t began = when_now(), sent = 0, sequence = 0, slowest = 0;
	while (sent < 1200000) {
		tiny_make(&who, "eth0", EPOCH, sequence + 1, sequence ? who.chain : NULL, 5000, TIME + sequence, TINY_GOOD);
		assert_true(tiny_send(&who));
		sequence++;
		sent += who.parcel_bytes;
		if (sequence % 8)
			continue;
		tiny_make(&quiet, "eth0", EPOCH, sequence / 8, sequence > 8 ? quiet.chain : NULL, 10, TIME, TINY_GOOD);
		uint64_t asked = when_now();
		assert_true(tiny_deliver(&quiet, sequence / 8));
		slowest = when_now() - asked > slowest ? when_now() - asked : slowest;
	}
	while (tiny_wait(&who, WIRE_TYPE_ACK, &m, 8000) && m.ack.sequence < sequence)
		continue;
	assert_true(m.ack.sequence == sequence);
	double seconds = (double)(when_now() - began) / NS_PER_S, rate = (double)sent / seconds;
	print_message("flood: %.0f bytes/s of 300000; the other waited at most %.0f ms\n", rate, (double)slowest / 1e6);
	assert_true(rate < 450000);
	assert_true(slowest < 2000000000u);
	tiny_fini(&quiet);
}

int
main(void)
{
	if (seal_start() != OK)
		return 1;
#define T(name) cmocka_unit_test_setup_teardown(name, open_archive, close_archive)
	const struct CMUnitTest tests[] = {
		T(a_collector_enrols_sends_and_is_acknowledged),
		T(strangers_and_used_codes_are_refused),
		T(what_is_wrong_is_refused_by_name_and_nothing_of_it_is_kept),
		T(a_copied_monitor_is_quarantined),
		T(a_revocation_cuts_the_session_at_once),
		T(a_newer_session_takes_the_place_of_the_older),
		T(killed_processes_come_back_and_nothing_acknowledged_is_lost),
		T(at_the_end_what_is_in_flight_is_answered),
		T(garbage_and_silence_harm_nobody),
		T(a_flood_is_slowed_and_slows_nobody_else),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
