/* A spool that is killed, or whose disk fails, at step N of its file calls, for all N: then opened again and emptied into a model
 * of the archive that took what was sent before. This program runs itself as the victim, behind tests/fault/shim.c. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sandbox.h"
#include "tests/support/scratch.h"
#include "tests/support/spool_model.h"
#include "tests/support/unit.h"

#define ROUNDS       14u
#define PER_ROUND    3u
#define BLOCK        900u
#define DURABLE_MAX  1024u
#define STEPS_MAX    4000u

/* Shared between victim and judge: what the archive took, and what the spool said was durable. */
struct world {
	struct model model;
	unsigned durable_count;
	struct {
		char     stream[SPOOL_NAME_BYTES];
		uint64_t epoch, sequence;
		uint8_t  chain[PARCEL_HASH_BYTES];
	} durable[DURABLE_MAX];
	unsigned appended, lost; /* parcels by the whole victim, in all its lives */
};

static char self[PATH_BYTES], shim[PATH_BYTES];

/* --- the victim --- */

static struct world *
world_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(struct world)) < 0)
		abort();
	struct world *w = mmap(NULL, sizeof *w, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return w == MAP_FAILED ? NULL : w;
}

static enum err
append(struct world *w, struct spool *s, unsigned round, unsigned k, unsigned *pending)
{
	unsigned stream;
	TRY(spool_stream(s, k % 2 ? "eth1" : "eth0", &stream));
	enum err e = model_append(s, stream, BLOCK + 10 * round, 1, 100 * round + k);
	if (e == ERR_FULL) {
		spool_lose(s, stream, SPOOL_LOST_SPOOL, 1);
		w->lost++;
		return OK;
	}
	TRY(e);
	struct spool_stream row;
	spool_stream_get(s, stream, &row);
	unsigned at = w->durable_count + (*pending)++;
	if (at >= DURABLE_MAX)
		abort();
	memcpy(w->durable[at].stream, row.name, sizeof row.name);
	w->durable[at].epoch = row.epoch;
	w->durable[at].sequence = row.sequence;
	memcpy(w->durable[at].chain, row.chain, sizeof row.chain);
	w->appended++;
	return OK;
}

static enum err
live(struct world *w, struct spool *s)
{
	enum err e = OK;
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned pending = 0;
		for (unsigned k = 0; k < PER_ROUND; k++)
			TRY(append(w, s, round, k, &pending));
		TRY(spool_sync(s));
		w->durable_count += pending;
		if (round % 4 == 3)
			model_session(&w->model, s, 5, round % 8 == 3, &e, NULL, NULL);
		TRY(e);
	}
	model_session(&w->model, s, UINT32_MAX, true, &e, NULL, NULL); /* all: the files go, and the state alone remembers */
	return e;
}

/* arguments: victim WORLD DIR stop|oldest live|finish */
static int
victim(char **argv)
{
	struct spool_options o = { 1 << 20, 2048, 4096, SPOOL_STOP };
	struct world *w = world_open(argv[2]);
	struct identity *id = model_identity();
	struct spool *s = NULL;
	if (strcmp(argv[4], "oldest") == 0) {
		o.bytes_max = 20 * 1024;
		o.policy = SPOOL_OLDEST;
	}
	enum err e = spool_open(&s, argv[3], id, &o);
	if (e == OK && strcmp(argv[5], "live") == 0)
		e = live(w, s);
	else if (e == OK) {
		unsigned pending = 0;
		e = append(w, s, 90, 0, &pending);
		if (e == OK)
			e = append(w, s, 90, 1, &pending);
		if (e == OK)
			e = spool_sync(s);
		w->durable_count += e == OK ? pending : 0;
		if (e == OK)
			model_session(&w->model, s, UINT32_MAX, true, &e, NULL, NULL);
	}
	enum err closed = spool_close(&s);
	identity_close(&id);
	if (e == OK)
		e = closed;
	if (e != OK)
		fprintf(stderr, "victim: %s\n", err_text());
	return e == OK ? 0 : 10;
}

/* --- the judge --- */

static int
run_victim(const char *folder, const char *policy, const char *how, const char *fault)
{
	char world[PATH_BYTES], dir[PATH_BYTES];
	snprintf(world, sizeof world, "%.4000s/world", folder);
	snprintf(dir, sizeof dir, "%.4000s/spool", folder);
	pid_t child = fork();
	if (child == 0) {
		int null = open("/dev/null", O_WRONLY);
		dup2(null, 2);
		if (fault) {
			setenv("LD_PRELOAD", shim, 1);
			setenv("ATOLL_FAULT", fault, 1);
			setenv("ATOLL_FAULT_DIR", dir, 1);
		}
		execl(self, self, "victim", world, dir, policy, how, (char *)NULL);
		_exit(126);
	}
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void
judge(const struct world *w, const char *policy, const char *fault)
{
	struct model *m = (struct model *)&w->model;
	if (*m->wrong)
		print_message("%s %s: %s\n", policy, fault, m->wrong);
	assert_string_equal(m->wrong, "");
	for (unsigned i = 0; i < w->durable_count; i++) {
		const struct model_stream *st = model_stream(m, w->durable[i].stream);
		uint64_t sequence = w->durable[i].sequence;
		bool there = st->epoch == w->durable[i].epoch && sequence <= st->sequence &&
		             (st->kind[sequence] == PARCEL_LOSS ||
		              memcmp(st->self[sequence], w->durable[i].chain, PARCEL_HASH_BYTES) == 0);
		if (!there)
			print_message("%s %s: parcel %llu of %s was durable and is not there\n", policy, fault,
			              (unsigned long long)sequence, st->name);
		assert_true(there);
		if (strcmp(policy, "stop") == 0)
			assert_int_equal(st->kind[sequence], PARCEL_BLOCK);
	}
}

/* Returns whether the fault came, so that there may be a later step. */
static bool
one(const char *policy, const char *fault, bool kills)
{
	char folder[PATH_BYTES], path[PATH_BYTES];
	scratch_make(folder);
	int status = run_victim(folder, policy, "live", fault);
	bool came = kills ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : true;
	if (!came && !(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 10)))
		print_message("%s %s: status %d\n", policy, fault, status);
	assert_true(came || WIFEXITED(status));
	if (!kills)
		assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 10));
	status = run_victim(folder, policy, "finish", NULL);
	if (status != 0)
		print_message("%s %s: the next start ended with %d\n", policy, fault, status);
	assert_int_equal(status, 0);
	snprintf(path, sizeof path, "%.4000s/world", folder);
	struct world *w = world_open(path);
	judge(w, policy, fault);
	munmap(w, sizeof *w);
	scratch_remove(folder);
	return came;
}

static unsigned
steps_of(const char *policy)
{
	char folder[PATH_BYTES], fault[PATH_BYTES + 16];
	unsigned n = 0;
	scratch_make(folder);
	snprintf(fault, sizeof fault, "count:%s/steps", folder);
	assert_int_equal(run_victim(folder, policy, "live", fault), 0);
	snprintf(fault, sizeof fault, "%s/steps", folder);
	FILE *f = fopen(fault, "r");
	assert_non_null(f);
	assert_int_equal(fscanf(f, "%u", &n), 1);
	fclose(f);
	scratch_remove(folder);
	return n;
}

static void
walk(const char *policy, const char *mode, const char *later, bool kills, unsigned stride)
{
	char fault[64];
	if (PROGRAM_IS_SANITIZED || access(shim, R_OK) != 0) {
		print_message("skipped: %s\n", PROGRAM_IS_SANITIZED ? "a preloaded library does not go with sanitizers"
		                                                    : "there is no fault shim (make unit builds it)");
		skip();
	}
	unsigned n = steps_of(policy);
	assert_in_range(n, 30, STEPS_MAX);
	for (unsigned i = 1; i <= n; i += stride) {
		snprintf(fault, sizeof fault, "%s:%u%s", mode, i, later);
		one(policy, fault, kills);
	}
}

static void killed_at_every_step(void **state) { (void)state; walk("stop", "kill", "", true, 1); }
static void killed_in_the_middle_of_a_write(void **state) { (void)state; walk("stop", "torn", "", true, 2); }
static void killed_at_every_step_while_dropping(void **state) { (void)state; walk("oldest", "kill", "", true, 2); }
static void killed_after_a_step_while_dropping(void **state) { (void)state; walk("oldest", "after", "", true, 3); }
static void a_disk_that_is_full_for_a_moment(void **state) { (void)state; walk("stop", "errno:ENOSPC", "", false, 2); }
static void a_disk_that_is_full_from_some_step_on(void **state) { (void)state; walk("oldest", "errno:ENOSPC", "+", false, 5); }
static void a_disk_that_fails_once(void **state) { (void)state; walk("stop", "errno:EIO", "", false, 2); }
static void a_disk_that_fails_while_dropping(void **state) { (void)state; walk("oldest", "errno:EIO", "", false, 5); }
static void writes_that_fall_short(void **state) { (void)state; walk("stop", "short", "", false, 5); }

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(killed_at_every_step),
		cmocka_unit_test(killed_in_the_middle_of_a_write),
		cmocka_unit_test(killed_at_every_step_while_dropping),
		cmocka_unit_test(killed_after_a_step_while_dropping),
		cmocka_unit_test(a_disk_that_is_full_for_a_moment),
		cmocka_unit_test(a_disk_that_is_full_from_some_step_on),
		cmocka_unit_test(a_disk_that_fails_once),
		cmocka_unit_test(a_disk_that_fails_while_dropping),
		cmocka_unit_test(writes_that_fall_short),
	};
	if (argc == 6 && strcmp(argv[1], "victim") == 0)
		return victim(argv);
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	self[n < 0 ? 0 : n] = '\0';
	snprintf(shim, sizeof shim, "%.3900s", self);
	char *slash = strrchr(shim, '/');
	snprintf(slash, 32, "/../shim.so");
	scratch_in_memory();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
