#include "tests/support/faulted.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"

static char shim[2 * PATH_BYTES], self[PATH_BYTES];

bool
faulted_ready(void)
{
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n < 0)
		abort();
	self[n] = 0;
	snprintf(shim, sizeof shim, "%.*s/../shim.so", (int)(strrchr(self, '/') - self), self);
	if (access(shim, R_OK) == 0)
		return true;
	printf("# no %s\n", shim);
	return false;
}

int
faulted_run(const char *archive, const char *ack, const char *fault)
{
	char preload[2 * PATH_BYTES + 16], what[PATH_BYTES + 32], below[PATH_BYTES + 32];
	snprintf(preload, sizeof preload, "LD_PRELOAD=%s", fault ? shim : "");
	snprintf(what, sizeof what, "ATOLL_FAULT=%s", fault ? fault : "");
	snprintf(below, sizeof below, "ATOLL_FAULT_DIR=%s", archive);
	char asan[] = "ASAN_OPTIONS=verify_asan_link_order=0:detect_leaks=0";
	char *const environment[] = { preload, what, below, asan, NULL };
	char *const argv[] = { self, (char[]){ "walk" }, strdup(archive), strdup(ack), NULL };
	posix_spawn_file_actions_t files;
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
	pid_t pid;
	int status = -1;
	if (posix_spawn(&pid, self, &files, NULL, argv, environment) != 0 || waitpid(pid, &status, 0) != pid)
		abort();
	posix_spawn_file_actions_destroy(&files);
	free(argv[2]);
	free(argv[3]);
	return status;
}

long
faulted_steps(const char *archive, const char *ack, const char *scratch)
{
	char fault[PATH_BYTES + 16];
	long steps = 0;
	snprintf(fault, sizeof fault, "count:%s", scratch);
	if (faulted_run(archive, ack, fault) != 0)
		abort();
	FILE *f = fopen(scratch, "r");
	if (!f || fscanf(f, "%ld", &steps) != 1)
		abort();
	fclose(f);
	return steps;
}
