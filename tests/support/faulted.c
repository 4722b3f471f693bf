#include "tests/support/faulted.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/sandbox.h"
#include "tests/support/scratch.h"

#define SANITIZED_STRIDE 13u

static char shim[2 * PATH_BYTES], self[PATH_BYTES];

bool
faulted_begin(struct faulted *w)
{
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n < 0)
		abort();
	self[n] = 0;
	snprintf(shim, sizeof shim, "%.*s/../shim.so", (int)(strrchr(self, '/') - self), self);
	if (access(shim, R_OK) != 0) {
		printf("# no %s\n", shim);
		return false;
	}
	*w = (struct faulted){ 0 };
	scratch_in_memory();
	scratch_make(w->top);
	if (io_path(w->fresh, w->top, "fresh") != OK || io_path(w->archive, w->top, "a") != OK || io_path(w->ack, w->top, "ack") != OK)
		abort();
	close(open(w->ack, O_CREAT | O_WRONLY, 0600));
	return true;
}

void
faulted_end(struct faulted *w)
{
	printf("# %u steps, %u runs\n", w->steps, w->runs);
	scratch_remove(w->top);
}

static int
start(const struct faulted *w, const char *fault, const char *log)
{
	char preload[2 * PATH_BYTES + 16], what[128], below[PATH_BYTES + 32], steps[PATH_BYTES + 32];
	snprintf(preload, sizeof preload, "LD_PRELOAD=%s", fault || log ? shim : "");
	snprintf(what, sizeof what, "ATOLL_FAULT=%s", fault ? fault : "");
	snprintf(below, sizeof below, "ATOLL_FAULT_DIR=%s", w->archive);
	snprintf(steps, sizeof steps, "ATOLL_FAULT_LOG=%s", log ? log : "");
	char asan[] = "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0";
	char *const environment[] = { preload, what, below, steps, asan, NULL };
	char *const argv[] = { self, (char[]){ "walk" }, (char *)w->archive, (char *)w->ack, NULL };
	posix_spawn_file_actions_t files;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
	pid_t pid;
	int status = -1;
	if (posix_spawn(&pid, self, &files, NULL, argv, environment) != 0 || waitpid(pid, &status, 0) != pid)
		abort();
	posix_spawn_file_actions_destroy(&files);
	return status;
}

int
faulted_run(const struct faulted *w, const char *fault)
{
	return start(w, fault, NULL);
}

static void
renew(const struct faulted *w)
{
	scratch_remove(w->archive);
	scratch_copy(w->fresh, w->archive);
	if (truncate(w->ack, 0) < 0)
		abort();
}

void
faulted_count(struct faulted *w)
{
	char log[PATH_BYTES], call[32];
	renew(w);
	if (io_path(log, w->top, "log") != OK || start(w, NULL, log) != 0)
		abort();
	FILE *f = fopen(log, "r");
	if (!f)
		abort();
	while (fscanf(f, "%u %31s %*[^\n]", &w->steps, call) == 2 && w->steps <= FAULTED_STEPS_MAX)
		w->writes[w->steps] = strstr(call, "write") != NULL;
	if (!feof(f))
		abort();
	fclose(f);
}

void
faulted_walk(struct faulted *w, const struct faulted_kind *kinds, unsigned count, faulted_case *each)
{
	char fault[64];
	for (const struct faulted_kind *k = kinds; k < kinds + count; k++) {
		unsigned stride = k->stride * (PROGRAM_IS_SANITIZED ? SANITIZED_STRIDE : 1);
		size_t n = strcspn(k->fault, "+");
		bool parts = strcmp(k->fault, "torn") == 0 || strcmp(k->fault, "short") == 0;
		for (unsigned step = 1 + (unsigned)(k - kinds) % stride, at = 0; step <= w->steps; step++) {
			if ((parts && !w->writes[step]) || at++ % stride != 0)
				continue;
			snprintf(fault, sizeof fault, "%.*s:%u%s", (int)n, k->fault, step, k->fault + n);
			renew(w);
			each(w, fault);
			w->runs++;
		}
	}
}
