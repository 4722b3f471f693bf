/* Supervision, with roles that are a few lines long. Each test runs supervise() in a child and talks to the roles over a pipe
 * of lines. */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/process.h"
#include "base/sandbox.h"
#include "tests/support/unit.h"

static int said[2]; /* lines from all processes of the test */
static int settings = 1;

__attribute__((format(printf, 1, 2))) static void
say(const char *format, ...)
{
	char line[256];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line, sizeof line - 1, format, args);
	va_end(args);
	line[n++] = '\n';
	if (write(said[1], line, (size_t)n) != n)
		_exit(9);
}

/* The next line within some seconds. */
static const char *
heard(void)
{
	static char line[256];
	size_t n = 0;
	struct pollfd p = { .fd = said[0], .events = POLLIN };
	while (n < sizeof line - 1 && poll(&p, 1, 8000) == 1 && read(said[0], line + n, 1) == 1 && line[n] != '\n')
		n++;
	line[n] = 0;
	return line;
}

/* Reads lines until one starts with word. */
static const char *
heard_of(const char *word)
{
	for (;;) {
		const char *line = heard();
		if (*line == 0 || strncmp(line, word, strlen(word)) == 0)
			return line;
	}
}

/* --- roles --- */

static void
on_link(const char *me, const struct post *p)
{
	char other = 0;
	struct pollfd wait = { .fd = p->fd, .events = POLLIN };
	if (write(p->fd, me, 1) != 1 || poll(&wait, 1, 5000) != 1 || read(p->fd, &other, 1) != 1)
		other = '?';
	say("%s linked with %c", me, other);
	close(p->fd);
}

static enum err
plain(int post, void *arg)
{
	const char *me = arg;
	struct post p;
	say("%s starts %d", me, (int)getpid());
	post_ready(post);
	for (;;) {
		struct pollfd wait = { .fd = post, .events = POLLIN };
		poll(&wait, 1, -1);
		enum err e = post_receive(post, &p);
		if (e == END)
			continue;
		if (e != OK)
			return e;
		if (p.kind == POST_LINK)
			on_link(me, &p);
		if (p.kind == POST_SETTINGS)
			say("%s has %d", me, p.data[0]);
		if (p.kind == POST_STOP) {
			say("%s stops", me);
			return OK;
		}
	}
}

static enum err
looks_around(int post, void *arg)
{
	struct rlimit core;
	int open_fds = 0;
	DIR *d = opendir("/proc/self/fd");
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		open_fds += e->d_name[0] != '.';
	closedir(d);
	char name[17] = "";
	prctl(PR_GET_NAME, name, 0, 0, 0);
	getrlimit(RLIMIT_CORE, &core);
	struct sigaction act;
	sigaction(SIGTERM, NULL, &act);
	/* 0 1 2, said[0] and [1], the post, opendir's own */
	say("fds %d dumpable %d core %d name %s term %s", open_fds - 1, prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), (int)core.rlim_cur, name,
	    act.sa_handler == SIG_IGN ? "ignored" : "not");
	return plain(post, arg);
}

static enum err
refuses(int post, void *arg)
{
	return (fail)(ERR_BUSY, "somebody else has it");
}

static enum err
crashes(int post, void *arg)
{
	raise(SIGKILL);
	return OK;
}

static enum err
stubborn(int post, void *arg)
{
	say("b starts %d", (int)getpid());
	post_ready(post);
	while (pause() < 0)
		continue;
	return OK;
}

/* --- the supervised server --- */

static enum err
next_settings(void *arg)
{
	settings++;
	return OK;
}

/* Its exit code is the outcome of supervise(). */
static pid_t
server(enum err (*a)(int, void *), enum err (*b)(int, void *))
{
	int keep[2] = { said[0], said[1] };
	struct process_role roles[2] = {
		{ .name = "a", .run = a, .arg = (char[]){ "a" }, .links = 2, .keep = keep, .keep_count = 2, .settings = &settings,
		  .settings_bytes = sizeof settings },
		{ .name = "b", .run = b, .arg = (char[]){ "b" }, .links = 1, .keep = keep, .keep_count = 2 },
	};
	pid_t pid = fork();
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (!freopen("/dev/null", "w", stderr))
		_exit(99);
	struct supervision s = { .roles = roles, .count = 2, .reload = next_settings };
	enum err e = supervise(&s);
	say("supervised: %s", e == OK ? "ok" : err_text());
	_exit((int)e);
}

static int
wait_for(pid_t pid)
{
	int status;
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static pid_t
pid_of(const char *line)
{
	return (pid_t)strtol(strrchr(line, ' ') + 1, NULL, 10);
}

/* In whichever order they say so; the numbers are of no interest when NULL. */
static void
both_start(pid_t *a, pid_t *b)
{
	for (unsigned seen = 0; seen != 3;) {
		const char *line = heard();
		assert_string_not_equal(line, "");
		if (strncmp(line, "a starts", 8) == 0) {
			seen |= 1;
			if (a)
				*a = pid_of(line);
		} else if (strncmp(line, "b starts", 8) == 0) {
			seen |= 2;
			if (b)
				*b = pid_of(line);
		}
	}
}

static int
open_pipe(void **state)
{
	(void)state;
	return pipe(said);
}

static int
close_pipe(void **state)
{
	(void)state;
	close(said[0]);
	close(said[1]);
	return 0;
}

/* Until the process is gone; false after five seconds. */
static bool
gone(pid_t pid)
{
	for (int i = 0; i < 500; i++) {
		if (kill(pid, 0) < 0)
			return true;
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	}
	return false;
}

static void
starts_all_and_stops_them_in_the_reverse_order(void **state)
{
	(void)state;
	pid_t pid = server(plain, plain);
	both_start(NULL, NULL);
	kill(pid, SIGTERM);
	assert_string_equal(heard_of("b stops"), "b stops");
	assert_string_equal(heard_of("a stops"), "a stops");
	assert_string_equal(heard_of("supervised"), "supervised: ok");
	assert_int_equal(wait_for(pid), OK);
}

static void
a_child_has_nothing_open_but_what_it_is_given(void **state)
{
	(void)state;
	int stray = dup(0), another = dup(0);
	pid_t pid = server(looks_around, plain);
	char wanted[100];
	snprintf(wanted, sizeof wanted, "fds 6 dumpable %d core 0 name atoll-a term ignored", PROGRAM_IS_SANITIZED);
	assert_string_equal(heard_of("fds"), wanted);
	kill(pid, SIGTERM);
	assert_int_equal(wait_for(pid), OK);
	close(stray);
	close(another);
}

static void
a_killed_child_comes_back_and_is_linked_anew(void **state)
{
	(void)state;
	pid_t pid = server(plain, plain), a = pid_of(heard_of("a starts"));
	heard_of("a linked"); /* before all are up, a death is a failure to start */
	heard_of("b linked");
	for (int round = 0; round < 3; round++) {
		kill(a, SIGKILL);
		const char *line = heard_of("a starts");
		assert_string_not_equal(line, "");
		assert_int_not_equal(pid_of(line), a);
		a = pid_of(line);
		unsigned linked = 0;
		while (linked != 3) {
			line = heard();
			assert_string_not_equal(line, "");
			linked |= strcmp(line, "a linked with b") == 0 ? 1 : strcmp(line, "b linked with a") == 0 ? 2 : 0;
		}
	}
	kill(pid, SIGTERM);
	assert_int_equal(wait_for(pid), OK);
}

static void
children_die_with_their_parent(void **state)
{
	(void)state;
	int status;
	pid_t pid = server(plain, stubborn), a, b;
	both_start(&a, &b);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	assert_true(gone(a));
	assert_true(gone(b));
}

static void
a_role_that_fails_at_its_start_ends_all_with_its_sentence(void **state)
{
	(void)state;
	pid_t pid = server(plain, refuses);
	assert_string_equal(heard_of("supervised"), "supervised: somebody else has it");
	assert_int_equal(wait_for(pid), ERR_BUSY);
	pid = server(crashes, plain);
	assert_string_equal(heard_of("supervised"), "supervised: the process a was killed by signal 9 (Killed) at its start");
	assert_int_equal(wait_for(pid), ERR_IO);
}

static void
a_second_signal_ends_a_stubborn_one(void **state)
{
	(void)state;
	pid_t pid = server(plain, stubborn);
	both_start(NULL, NULL);
	kill(pid, SIGTERM);
	nanosleep(&(struct timespec){ .tv_nsec = 700000000 }, NULL);
	kill(pid, SIGINT);
	assert_string_equal(heard_of("supervised"), "supervised: ok");
	assert_int_equal(wait_for(pid), OK);
}

static void
settings_go_to_the_children_on_sighup(void **state)
{
	(void)state;
	pid_t pid = server(plain, plain);
	both_start(NULL, NULL);
	nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	kill(pid, SIGHUP);
	assert_string_equal(heard_of("a has"), "a has 2");
	kill(pid, SIGHUP);
	assert_string_equal(heard_of("a has"), "a has 3");
	kill(pid, SIGTERM);
	assert_int_equal(wait_for(pid), OK);
}

/* --- systemd --- */

static void
systemd_hears_of_ready_and_stop_on_an_abstract_socket_too(void **state)
{
	(void)state;
	for (int abstract = 0; abstract < 2; abstract++) {
		char name[100], text[600], got[4000] = "";
		struct sockaddr_un a = { .sun_family = AF_UNIX };
		snprintf(name, sizeof name, "%c/tmp/atoll-notify-%d", abstract ? '@' : '/', (int)getpid());
		snprintf(a.sun_path, sizeof a.sun_path, "%s", name);
		if (abstract)
			a.sun_path[0] = 0;
		int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
		socklen_t n = (socklen_t)(sizeof a.sun_family + strlen(name) + !abstract);
		assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
		setenv("NOTIFY_SOCKET", name, 1);
		setenv("WATCHDOG_USEC", "200000", 1);
		pid_t pid = server(plain, plain);
		unsetenv("NOTIFY_SOCKET");
		unsetenv("WATCHDOG_USEC");
		struct pollfd p = { .fd = fd, .events = POLLIN };
		bool killed = false;
		while (!strstr(got, "STOPPING=1") && poll(&p, 1, 8000) == 1) {
			ssize_t got_n = recv(fd, text, sizeof text - 1, 0);
			text[got_n > 0 ? got_n : 0] = 0;
			if (strlen(got) + strlen(text) + 2 < sizeof got)
				snprintf(got + strlen(got), sizeof got - strlen(got), "%s\n", text);
			if (!killed && strstr(got, "READY=1") && strstr(got, "WATCHDOG=1"))
				killed = kill(pid, SIGTERM) == 0;
		}
		assert_non_null(strstr(got, "READY=1\n"));
		assert_non_null(strstr(got, "STATUS=a: "));
		assert_non_null(strstr(got, "STOPPING=1"));
		assert_int_equal(wait_for(pid), OK);
		close(fd);
		if (!abstract)
			unlink(name);
	}
}

static void
a_line_of_the_log_is_one_line(void **state)
{
	(void)state;
	int fds[2], old = dup(2);
	char text[LOG_LINE_BYTES * 2] = "";
	assert_int_equal(pipe(fds), 0);
	dup2(fds[1], 2);
	log_open("test");
	log_line(LOG_WARNED, "name \"%s\" %0*d", "a\nb\x1b[31m\xc3\xa4\\", 3000, 7);
	log_line(LOG_NOTED, "second");
	dup2(old, 2);
	close(old);
	close(fds[1]);
	size_t n = 0;
	for (ssize_t r; (r = read(fds[0], text + n, sizeof text - 1 - n)) > 0;)
		n += (size_t)r;
	close(fds[0]);
	assert_non_null(strstr(text, "warning: name \"a\\x0ab\\x1b[31m\\xc3\\xa4\\\\\" 000"));
	char *end = strchr(text, '\n');
	assert_non_null(end);
	assert_true(end - text < LOG_LINE_BYTES);
	assert_non_null(strstr(end + 1, "second\n"));
	assert_null(strchr(strchr(end + 1, '\n') + 1, '\n'));
}

int
main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_pipe, close_pipe)
	const struct CMUnitTest tests[] = {
		T(starts_all_and_stops_them_in_the_reverse_order),
		T(a_child_has_nothing_open_but_what_it_is_given),
		T(a_killed_child_comes_back_and_is_linked_anew),
		T(children_die_with_their_parent),
		T(a_role_that_fails_at_its_start_ends_all_with_its_sentence),
		T(a_second_signal_ends_a_stubborn_one),
		T(settings_go_to_the_children_on_sighup),
		T(systemd_hears_of_ready_and_stop_on_an_abstract_socket_too),
		cmocka_unit_test(a_line_of_the_log_is_one_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
