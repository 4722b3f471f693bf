/* A process that has the archive open and serves the control socket; this one asks, well and badly. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/when.h"
#include "index/control.h"
#include "index/monitors.h"
#include "tests/support/make_archive.h"
#include "tests/support/unit.h"

#define MINUTE 60000000000ull

static bool code_only;
static unsigned port;
static char  top[PATH_BYTES], dir[PATH_BYTES], heard_path[PATH_BYTES];
static pid_t server;

static void
add_vitals(void *arg, struct vitals *v)
{
	(void)arg;
	v->started_ns = 5;
	for (uint32_t i = 0; i < v->monitor_count; i++)
		v->monitors[i].records_per_s = 100 + v->monitors[i].id;
}

static void
note_revoked(void *arg, uint32_t monitor)
{
	(void)arg;
	int fd = open(heard_path, O_CREAT | O_WRONLY | O_APPEND, 0600);
	char c = (char)('0' + monitor);
	if (write(fd, &c, 1) != 1)
		abort();
	close(fd);
}

static void
serve(int ready)
{
	struct store *s = NULL;
	struct control *c = NULL;
	if (store_open(&s, dir, NULL) != OK ||
	    control_open(&c, s, &(struct control_hooks){ .vitals = add_vitals, .revoked = note_revoked }) != OK)
		_exit(1);
	if (write(ready, "", 1) != 1)
		_exit(1);
	for (;;) {
		struct pollfd p = { .fd = control_fd(c), .events = POLLIN };
		poll(&p, 1, 200);
		if (control_serve(c) != OK)
			_exit(2);
	}
}

static void
server_start(void)
{
	int ready[2];
	char byte;
	assert_int_equal(pipe(ready), 0);
	server = fork();
	if (server == 0)
		serve(ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
}

static void
server_kill(void)
{
	kill(server, SIGKILL);
	assert_int_equal(waitpid(server, NULL, 0), server);
	server = 0;
}

static int
begin(void **state)
{
	(void)state;
	scratch_make(top);
	if (io_path(dir, top, "a") != OK || io_path(heard_path, top, "heard") != OK || archive_init(dir, NULL) != OK)
		return -1;
	server_start();
	return 0;
}

static int
end(void **state)
{
	(void)state;
	if (server)
		server_kill();
	scratch_remove(top);
	return 0;
}

static int
dial(void)
{
	int fd = -1;
	MUST(control_dial(&fd, dir));
	return fd;
}

static void
the_socket_is_for_its_owner(void **state)
{
	(void)state;
	char path[PATH_BYTES];
	struct stat st;
	MUST(io_path(path, dir, CONTROL_NAME));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	if (getuid() != 0)
		return;
	assert_int_equal(chmod(top, 0755) | chmod(dir, 0755) | chmod(path, 0666), 0); /* and by who asks, not by the mode only */
	pid_t pid = fork();
	if (pid == 0) {
		int fd = -1;
		/* from inside: the folders above may not be open to all */
		if (chdir(dir) != 0 || setgid(65534) != 0 || setuid(65534) != 0 || control_dial(&fd, ".") != OK)
			_exit(9);
		struct vitals v = { 0 };
		_exit(control_ask_monitors(&fd, &v) == ERR_DENIED ? 0 : 8);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void
codes_monitors_and_revocations_go_through_the_server(void **state)
{
	(void)state;
	struct ticket t;
	struct vitals v = { 0 };
	uint64_t expires_ns, now_ns = when_now();
	int fd = dial();
	MUST(control_ask_ticket(&fd, "roof", 15 * MINUTE, &t, &expires_ns, &port));
	assert_int_equal(fd, -1);
	assert_in_range(expires_ns - now_ns, 15 * MINUTE, 16 * MINUTE);
	server_kill();

	struct store *s = NULL; /* enrolled behind its back: that is the ingest process's part */
	struct monitor_row row;
	struct archive_identity identity;
	uint8_t noise[32] = { 1 }, sign[32] = { 2 };
	MUST(store_open(&s, dir, NULL));
	monitors_identity(archive_keystore(store_archive(s)), &identity);
	assert_memory_equal(identity.noise_public, t.archive, 32);
	MUST(monitors_enrol(s, t.secret, noise, sign, when_now(), &row));
	store_close(&s);
	assert_int_equal(control_dial(&fd, dir), END); /* killed: its socket is there, nobody answers */
	server_start();

	fd = dial();
	MUST(control_ask_monitors(&fd, &v));
	assert_int_equal(v.started_ns, 5);
	assert_int_equal(v.monitor_count, 1);
	assert_string_equal(v.monitors[0].name, "roof");
	assert_int_equal(v.monitors[0].records_per_s, 101);
	vitals_fini(&v);
	fd = dial();
	assert_int_equal(control_ask_ticket(&fd, "roof", MINUTE, &t, &expires_ns, &port), ERR_EXISTS);
	assert_non_null(strstr(err_text(), "atoll revoke roof"));
	fd = dial();
	assert_int_equal(control_ask_revoke(&fd, "rof", &code_only), ERR_ABSENT);
	assert_non_null(strstr(err_text(), "did you mean \"roof\""));
	fd = dial();
	MUST(control_ask_revoke(&fd, "roof", &code_only));
	char heard[8] = "";
	int h = open(heard_path, O_RDONLY);
	assert_true(read(h, heard, sizeof heard - 1) >= 0);
	close(h);
	assert_string_equal(heard, "1");
	fd = dial();
	MUST(control_ask_monitors(&fd, &v));
	assert_int_equal(v.monitors[0].state, MONITOR_REVOKED);
	vitals_fini(&v);
}

static void
the_servers_errors_come_back_as_they_are(void **state)
{
	(void)state;
	struct ticket t;
	uint64_t expires_ns;
	int fd = dial();
	assert_int_equal(control_ask_ticket(&fd, "a/b", MINUTE, &t, &expires_ns, &port), ERR_USAGE);
	fd = dial();
	assert_int_equal(control_ask_ticket(&fd, "a", 0, &t, &expires_ns, &port), ERR_USAGE);
	fd = dial();
	assert_int_equal(control_ask_ticket(&fd, "a", UINT64_MAX, &t, &expires_ns, &port), ERR_USAGE);
	fd = dial();
	assert_int_equal(control_ask_revoke(&fd, "a b\nrevoke c", &code_only), ERR_ABSENT);
	assert_int_equal(control_dial(&fd, "/nowhere"), END);
}

/* What comes back for these bytes, up to n of it. */
static size_t
told(const void *bytes, size_t n, char answer[256])
{
	int fd = dial();
	size_t have = 0;
	ssize_t got;
	assert_true(send(fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n);
	shutdown(fd, SHUT_WR);
	while (have < 255 && (got = recv(fd, answer + have, 255 - have, 0)) > 0)
		have += (size_t)got;
	close(fd);
	answer[have] = 0;
	return have;
}

static void
bad_requests_hurt_nobody(void **state)
{
	(void)state;
	char answer[256], longest[2 * CONTROL_LINE_BYTES];
	static const char *const bad[] = { "\n", " \n", "monitors now\n", "ticket\n", "ticket a\n", "ticket a b\n", "ticket a 1 2\n",
		"revoke\n", "revoke a b\n", "revoke  a\n", "delete a\n", "ticket a 99999999999999999999999\n" };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_true(told(bad[i], strlen(bad[i]), answer) > 0);
		assert_true(strncmp(answer, "ok", 2) != 0);
		assert_int_equal(answer[strlen(answer) - 1], '\n');
	}
	memset(longest, 'a', sizeof longest);
	assert_int_equal(told(longest, sizeof longest, answer), 0);
	assert_int_equal(told("", 0, answer), 0);
	assert_int_equal(told("monitors", 8, answer), 0);
	assert_int_equal(told("monitors\nmonitors\n", 18, answer), 0);
	assert_int_equal(told("moni\0tors\n", 10, answer), 0);
	struct vitals v;
	int fd = dial();
	MUST(control_ask_monitors(&fd, &v));
	vitals_fini(&v);
}

static void
silent_clients_do_not_keep_others_out(void **state)
{
	(void)state;
	int idle[CONTROL_CLIENTS_MAX + 4];
	struct vitals v;
	for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
		idle[i] = dial();
	int fd = dial();
	uint64_t began = when_now();
	MUST(control_ask_monitors(&fd, &v)); /* when the first ones were sent away */
	assert_in_range(when_now() - began, CONTROL_NS_MAX / 2, 3 * CONTROL_NS_MAX);
	vitals_fini(&v);
	for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
		close(idle[i]);
}

static void
a_long_path_works(void **state)
{
	(void)state;
	char longer[PATH_BYTES];
	server_kill();
	memset(longer, 0, sizeof longer);
	snprintf(longer, sizeof longer, "%.200s/%0150d", top, 7);
	assert_int_equal(rename(dir, longer), 0);
	snprintf(dir, sizeof dir, "%s", longer);
	server_start();
	struct vitals v;
	int fd = dial();
	MUST(control_ask_monitors(&fd, &v));
	vitals_fini(&v);
}

int
main(void)
{
	if (sodium_init() < 0)
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_socket_is_for_its_owner, begin, end),
		cmocka_unit_test_setup_teardown(codes_monitors_and_revocations_go_through_the_server, begin, end),
		cmocka_unit_test_setup_teardown(the_servers_errors_come_back_as_they_are, begin, end),
		cmocka_unit_test_setup_teardown(bad_requests_hurt_nobody, begin, end),
		cmocka_unit_test_setup_teardown(silent_clients_do_not_keep_others_out, begin, end),
		cmocka_unit_test_setup_teardown(a_long_path_works, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
