#include "tests/support/scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static bool in_memory;

void
scratch_in_memory(void)
{
	struct statvfs room;
	in_memory = access("/dev/shm", W_OK) == 0 && statvfs("/dev/shm", &room) == 0 && room.f_bavail >= (1u << 28) / room.f_frsize;
}

void
scratch_make(char dir[PATH_BYTES])
{
	const char *base = in_memory ? "/dev/shm" : getenv("TMPDIR");
	snprintf(dir, PATH_BYTES, "%s/atoll-test-XXXXXX", base && *base ? base : "/tmp");
	if (mkdtemp(dir) == NULL)
		abort();
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st, (void)type, (void)where;
	return remove(path);
}

void
scratch_remove(const char *dir)
{
	(void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void
scratch_empty(const char *dir)
{
	scratch_remove(dir);
	if (mkdir(dir, 0700) < 0)
		abort();
}

void
scratch_copy(const char *from, const char *to)
{
	char *const argv[] = { (char[]){ "cp" }, (char[]){ "-r" }, (char[]){ "--" }, strdup(from), strdup(to), NULL };
	if (scratch_run(argv, NULL) != 0)
		abort();
	free(argv[3]);
	free(argv[4]);
}

int
scratch_run(char *const argv[], const char *output)
{
	posix_spawn_file_actions_t actions;
	pid_t child;
	int status = -1;
	posix_spawn_file_actions_init(&actions);
	if (output)
		posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (output) /* whose words are not of the test; of the others they say why it failed */
		posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
	bool started = posix_spawnp(&child, argv[0], &actions, NULL, argv, environ) == 0;
	posix_spawn_file_actions_destroy(&actions);
	if (!started || waitpid(child, &status, 0) != child)
		return -1;
	return WIFEXITED(status) && WEXITSTATUS(status) != 127 ? WEXITSTATUS(status) : -1;
}

bool
shared_path(char path[PATH_BYTES], const char *name)
{
	const char *shared = getenv("ATOLL_SHARED");
	snprintf(path, PATH_BYTES, "%s/data/%s", shared && *shared ? shared : "../shared", name);
	if (access(path, R_OK) == 0)
		return true;
	printf("# skipped: no %s\n", path);
	return false;
}

bool
shared_unpack(const char *name, const char *into)
{
	char path[PATH_BYTES];
	if (!shared_path(path, name))
		return false;
	char *const argv[] = { (char[]){ "tar" }, (char[]){ "--zstd" }, (char[]){ "-xf" }, path, (char[]){ "-C" }, strdup(into), NULL };
	if (scratch_run(argv, NULL) != 0)
		abort();
	free(argv[5]);
	return true;
}
