/* Each duty of the sandbox: what it forbids ends the process or fails, what it needs works. Every case is a child. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "base/io.h"
#include "base/sandbox.h"
#include "tests/support/unit.h"

#define KILLED 1000
#define GATE   SANDBOX_ACCEPT
#define STORE  (SANDBOX_FILES | SANDBOX_ACCEPT | SANDBOX_LOCAL | SANDBOX_THREADS)

static char inside[64], outside[64];
static int listener = -1;

/* Each returns 0 when it could, else errno. */
typedef int act(void);

static int opens_a_file(void) { return open("/etc/passwd", O_RDONLY) < 0 ? errno : 0; }
static int makes_a_tcp_socket(void) { return socket(AF_INET, SOCK_STREAM, 0) < 0 ? errno : 0; }
static int makes_a_raw_socket(void) { return socket(AF_PACKET, SOCK_RAW, 0) < 0 ? errno : 0; }
static int executes(void) { execl("/bin/true", "true", (char *)NULL); return errno; }
static int signals_its_parent(void) { return kill(getppid(), 0) < 0 ? errno : 0; }
static int traces(void) { return ptrace(PTRACE_ATTACH, getppid(), 0, 0) < 0 ? errno : 0; }
static int becomes_root(void) { return setuid(0) < 0 ? errno : 0; }
static int can_be_dumped(void) { return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 ? errno : 0; }
static int mounts(void) { return chroot("/") < 0 ? errno : 0; }

static int
forks(void)
{
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	return pid < 0 ? errno : 0;
}

static int
makes_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED || mprotect(p, 4096, PROT_READ | PROT_EXEC) < 0 ? errno : 0;
}

static int
connects(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	return connect(listener, (struct sockaddr *)&to, sizeof to) < 0 ? errno : 0;
}

static int
computes(void)
{
	int fds[2];
	uint8_t bytes[32];
	struct timespec t;
	if (pipe2(fds, O_CLOEXEC) < 0 || write(fds[1], "x", 1) != 1 || read(fds[0], bytes, 1) != 1)
		return errno;
	for (size_t n = 1; n < 64u << 20; n *= 3) {
		uint8_t *p = malloc(n);
		if (!p)
			return ENOMEM;
		memset(p, 1, n);
		free(p);
	}
	randombytes_buf(bytes, sizeof bytes);
	void *secret = sodium_malloc(100);
	sodium_free(secret);
	clock_gettime(CLOCK_REALTIME, &t);
	nanosleep(&(struct timespec){ .tv_nsec = 1000 }, NULL);
	int e = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };
	epoll_ctl(e, EPOLL_CTL_ADD, fds[0], &event);
	epoll_wait(e, &event, 1, 0);
	char text[64];
	snprintf(text, sizeof text, "%f", 1.5);
	fprintf(stderr, "%s", "");
	return getrandom(bytes, 8, 0) == 8 ? 0 : errno;
}

static int
aborts(void)
{
	signal(SIGABRT, SIG_DFL);
	abort();
}

static int
takes_a_connection(void)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), one = 1;
	if (fd < 0)
		return errno;
	return setsockopt(fd, IPPROTO_TCP, 1, &one, sizeof one) < 0 ? errno : 0;
}

static int
keeps_files(void)
{
	char path[PATH_MAX], other[PATH_MAX];
	int fd = -1;
	snprintf(path, sizeof path, "%s/a", inside);
	snprintf(other, sizeof other, "%s/b", inside);
	if (io_create(&fd, path, 0600) != OK || io_write(fd, "abc", 3, path) != OK || io_datasync(fd, path) != OK ||
	    ftruncate(fd, 1) != 0 || io_rename(path, other) != OK || io_sync_dir(inside) != OK)
		return errno;
	void *map = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return errno;
	struct flock lock = { .l_type = F_WRLCK };
	if (fcntl(fd, F_SETLK, &lock) < 0)
		return errno;
	io_close(&fd);
	return io_unlink(other) == OK ? 0 : errno;
}

static int
reads_elsewhere(void)
{
	return open(outside, O_RDONLY) < 0 ? errno : 0;
}

static int
writes_elsewhere(void)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/new", outside);
	return open(path, O_WRONLY | O_CREAT, 0600) < 0 ? errno : 0;
}

static int
moves_files_out(void)
{
	char path[PATH_MAX], other[PATH_MAX];
	int fd = -1;
	snprintf(path, sizeof path, "%s/mine", inside);
	snprintf(other, sizeof other, "%s/mine", outside);
	if (io_create(&fd, path, 0600) != OK)
		return -1;
	int n = rename(path, other) < 0 ? errno : 0;
	unlink(path);
	return n;
}

static void *
thread(void *arg)
{
	*(int *)arg = 1;
	return NULL;
}

static int
starts_a_thread(void)
{
	pthread_t t;
	int ran = 0, n = pthread_create(&t, NULL, thread, &ran);
	return n ? n : pthread_join(t, NULL) || !ran;
}

static int
listens_locally(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	snprintf(a.sun_path, sizeof a.sun_path, "%s/sock", inside);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 1) < 0)
		return errno;
	return unlink(a.sun_path) < 0 ? errno : 0;
}

static int
eats_memory(void)
{
	void *p = mmap(NULL, 512u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? errno : 0;
}

static int
opens_many(void)
{
	for (int i = 0; i < 200; i++)
		if (epoll_create1(0) < 0)
			return errno;
	return 0;
}

/* KILLED (SIGSYS), -signal, or the act's errno. */
static int
outcome(unsigned calls, act *what)
{
	const char *change[] = { inside, NULL };
	struct sandbox s = { .calls = calls, .change = calls & SANDBOX_FILES ? change : NULL, .memory_bytes = 256u << 20,
		             .files = 100 };
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		fclose(stderr);
		stderr = fopen("/dev/null", "w");
		_exit(sandbox_enter(&s) == OK ? what() & 0xff : 254);
	}
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? KILLED : -WTERMSIG(status);
	return WEXITSTATUS(status);
}

static void
expect(unsigned calls, act *what, const char *name, int wanted)
{
	int got = outcome(calls, what);
	if (got != wanted)
		print_message("%s: got %d, wanted %d\n", name, got, wanted);
	assert_int_equal(got, wanted);
}
#define EXPECT(calls, what, wanted) expect(calls, what, #what, wanted)

static void
the_ingest_process_computes_and_takes_connections_and_nothing_else(void **state)
{
	(void)state;
	EXPECT(GATE, computes, 0);
	EXPECT(GATE, takes_a_connection, EAGAIN);
	EXPECT(GATE, aborts, -SIGABRT);
	EXPECT(GATE, opens_a_file, KILLED);
	EXPECT(GATE, makes_a_tcp_socket, KILLED);
	EXPECT(GATE, connects, KILLED);
	EXPECT(GATE, executes, KILLED);
	EXPECT(GATE, forks, KILLED);
	EXPECT(GATE, starts_a_thread, KILLED);
	EXPECT(GATE, listens_locally, KILLED);
	EXPECT(GATE, traces, KILLED);
	EXPECT(GATE, signals_its_parent, KILLED);
	EXPECT(GATE, makes_code, KILLED);
	EXPECT(GATE, becomes_root, KILLED);
	EXPECT(GATE, can_be_dumped, KILLED);
	EXPECT(GATE, mounts, KILLED);
}

static void
the_store_process_keeps_files_in_its_folder_and_nowhere_else(void **state)
{
	(void)state;
	EXPECT(STORE, computes, 0);
	EXPECT(STORE, keeps_files, 0);
	EXPECT(STORE, starts_a_thread, 0);
	EXPECT(STORE, listens_locally, 0);
	EXPECT(STORE, makes_a_tcp_socket, KILLED);
	EXPECT(STORE, makes_a_raw_socket, KILLED);
	EXPECT(STORE, connects, KILLED);
	EXPECT(STORE, executes, KILLED);
	EXPECT(STORE, forks, KILLED);
	EXPECT(STORE, traces, KILLED);
	EXPECT(STORE, signals_its_parent, KILLED);
	EXPECT(STORE, makes_code, KILLED);
	EXPECT(STORE, becomes_root, KILLED);
}

static void
landlock_keeps_the_store_in_its_folder(void **state)
{
	(void)state;
	if (access("/sys/kernel/security/landlock", F_OK) != 0 && outcome(STORE, reads_elsewhere) == 0)
		skip(); /* a kernel without it: sandbox_enter() says so in the log */
	EXPECT(STORE, reads_elsewhere, EACCES);
	EXPECT(STORE, writes_elsewhere, EACCES);
	EXPECT(STORE, moves_files_out, EACCES);
	EXPECT(STORE, opens_a_file, EACCES);
}

static void
memory_and_descriptors_have_limits(void **state)
{
	(void)state;
	EXPECT(GATE, eats_memory, ENOMEM);
	EXPECT(GATE, opens_many, EMFILE);
}

static void
a_sandbox_that_is_switched_off_says_so_and_still_limits(void **state)
{
	(void)state;
	int fds[2], status;
	char text[512] = "";
	assert_int_equal(pipe(fds), 0);
	pid_t pid = fork();
	if (pid == 0) {
		dup2(fds[1], 2);
		struct sandbox s = { .off = true };
		struct rlimit core;
		if (sandbox_enter(&s) != OK || opens_a_file() != 0 || getrlimit(RLIMIT_CORE, &core) != 0)
			_exit(1);
		_exit(core.rlim_cur == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? 0 : 2);
	}
	close(fds[1]);
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	assert_true(read(fds[0], text, sizeof text - 1) > 0);
	assert_non_null(strstr(text, "no sandbox"));
	close(fds[0]);
}

static void
root_becomes_another_user_for_good(void **state)
{
	(void)state;
	int status;
	if (geteuid() != 0)
		skip();
	pid_t pid = fork();
	if (pid == 0) {
		if (sandbox_user("nobody") != OK)
			_exit(1);
		_exit(geteuid() != 0 && getgid() != 0 && setuid(0) < 0 && sandbox_user("daemon") == ERR_DENIED &&
		              sandbox_user(NULL) == OK ? 0 : 2);
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	assert_int_equal(sandbox_user("no-such-user"), ERR_ABSENT);
	assert_non_null(strstr(err_text(), "no-such-user"));
}

static int
make_places(void **state)
{
	(void)state;
	snprintf(inside, sizeof inside, "/tmp/atoll-inside-XXXXXX");
	snprintf(outside, sizeof outside, "/tmp/atoll-outside-XXXXXX");
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	return !mkdtemp(inside) || !mkdtemp(outside) || bind(listener, (struct sockaddr *)&a, sizeof a) < 0 ||
	       listen(listener, 4) < 0 || sodium_init() < 0;
}

static int
remove_places(void **state)
{
	(void)state;
	return rmdir(inside) | rmdir(outside);
}

int
main(void)
{
	const struct CMUnitTest sanitized[] = {
		cmocka_unit_test(a_sandbox_that_is_switched_off_says_so_and_still_limits),
		cmocka_unit_test(root_becomes_another_user_for_good),
	};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_ingest_process_computes_and_takes_connections_and_nothing_else),
		cmocka_unit_test(the_store_process_keeps_files_in_its_folder_and_nowhere_else),
		cmocka_unit_test(landlock_keeps_the_store_in_its_folder),
		cmocka_unit_test(memory_and_descriptors_have_limits),
		cmocka_unit_test(a_sandbox_that_is_switched_off_says_so_and_still_limits),
		cmocka_unit_test(root_becomes_another_user_for_good),
	};
	if (PROGRAM_IS_SANITIZED) { /* there is none: what sanitizers need is more than any list */
		print_message("skip sandbox sanitizers need more system calls\n");
		return cmocka_run_group_tests(sanitized, make_places, remove_places);
	}
	return cmocka_run_group_tests(tests, make_places, remove_places);
}
