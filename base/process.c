#include "base/process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/interrupt.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/notify.h"
#include "base/sandbox.h"

#define RESTART_NS_MIN 100000000u
#define RESTART_NS_MAX 5000000000u
#define STEADY_NS      10000000000u /* a child that lived so long starts over with the shortest delay */
#define AGAIN_NS       500000000u   /* a signal so long after the first is a second one; programs like timeout(1) send two */
#define POST_HEAD      12u          /* le32 kind, peer, code */
#define POST_AT_ONCE   64u          /* messages taken from one child in a round */

static uint64_t
clock_now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- the post --- */

/* Whether it could be sent; fd -1: none goes with it. */
static bool
post_send(int post, enum post_kind kind, unsigned peer, unsigned code, const void *data, size_t n, int fd)
{
	uint8_t head[POST_HEAD];
	store_le32(head, kind);
	store_le32(head + 4, peer);
	store_le32(head + 8, code);
	struct iovec v[2] = { { head, sizeof head }, { (void *)(uintptr_t)data, n } };
	union { struct cmsghdr align; char bytes[CMSG_SPACE(sizeof(int))]; } room = { 0 };
	struct msghdr h = { .msg_iov = v, .msg_iovlen = n ? 2 : 1 };
	assert(n <= POST_BYTES_MAX);
	if (fd >= 0) {
		h.msg_control = room.bytes;
		h.msg_controllen = sizeof room.bytes;
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof fd);
	}
	ssize_t sent;
	do
		sent = sendmsg(post, &h, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent >= 0;
}

enum err
post_receive(int post, struct post *out)
{
	uint8_t head[POST_HEAD];
	struct iovec v[2] = { { head, sizeof head }, { out->data, POST_BYTES_MAX } };
	union { struct cmsghdr align; char bytes[CMSG_SPACE(sizeof(int))]; } room;
	struct msghdr h = { .msg_iov = v, .msg_iovlen = 2, .msg_control = room.bytes, .msg_controllen = sizeof room.bytes };
	ssize_t n;
	do
		n = recvmsg(post, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return END;
	if (n < 0 || (size_t)n < sizeof head)
		return fail(ERR_IO, "the other end of the post is gone");
	out->kind = (enum post_kind)load_le32(head);
	out->peer = load_le32(head + 4);
	out->code = load_le32(head + 8);
	out->bytes = (size_t)n - sizeof head;
	out->data[out->bytes] = 0;
	out->fd = -1;
	struct cmsghdr *c = CMSG_FIRSTHDR(&h);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(&out->fd, CMSG_DATA(c), sizeof out->fd);
	return OK;
}

void
post_ready(int post)
{
	post_send(post, POST_READY, 0, 0, NULL, 0, -1);
}

void
post_note(int post, const char *format, ...)
{
	char text[256];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	post_send(post, POST_NOTE, 0, 0, text, strlen(text), -1);
}

/* --- the child --- */

void
process_seclude(void)
{
	struct rlimit none = { 0, 0 };
	if (!PROGRAM_IS_SANITIZED) /* their search for leaks traces the process */
		prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	setrlimit(RLIMIT_CORE, &none);
}

static int
compare_ints(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;
	return (x > y) - (x < y);
}

/* Closes all descriptors but 0, 1, 2 and these. */
static void
close_others(const int *keep, unsigned count, int post)
{
	int v[PROCESS_KEEP_MAX + 1];
	unsigned from = 3;
	if (count)
		memcpy(v, keep, count * sizeof *v);
	v[count++] = post;
	qsort(v, count, sizeof *v, compare_ints);
	for (unsigned i = 0; i < count; i++) {
		if (v[i] < (int)from)
			continue;
		if (v[i] > (int)from)
			close_range(from, (unsigned)v[i] - 1, 0);
		from = (unsigned)v[i] + 1;
	}
	close_range(from, ~0u, 0);
}

static _Noreturn void
child(const struct process_role *role, int post, pid_t parent)
{
	static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXFSZ };
	char name[16];
	sigset_t all;
	process_seclude();
	if (getppid() != parent)
		_exit(1); /* it went before we could ask to go with it */
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigfillset(&all);
	sigprocmask(SIG_UNBLOCK, &all, NULL);
	snprintf(name, sizeof name, "atoll-%s", role->name);
	prctl(PR_SET_NAME, name, 0, 0, 0);
	close_others(role->keep, role->keep_count, post);
	log_open(role->name);
	enum err e = role->run(post, role->arg);
	if (e != OK) {
		log_line(LOG_FAILED, "%s", err_text());
		size_t n = strlen(err_text());
		post_send(post, POST_FAILED, 0, e, err_text(), n < POST_BYTES_MAX ? n : POST_BYTES_MAX, -1);
	}
	exit(e == OK ? 0 : 1);
}

/* --- the parent --- */

struct ward {                      /* what the parent knows of a role's process */
	pid_t    pid;              /* 0: not running */
	int      post;
	bool     ready, ready_once, killed;
	uint64_t started_ns, restart_ns, delay_ns, stop_ns;
	enum err failed;           /* what it said */
	char     sentence[ERR_TEXT_BYTES], note[256];
};

struct parent {
	const struct supervision *s;
	struct ward   wards[PROCESS_ROLES_MAX];
	struct notify notify;
	int           signals;
	sigset_t      old_mask;
	bool          up;          /* all were ready once */
	bool          stopping;
	enum err      outcome;
	char          sentence[ERR_TEXT_BYTES];
	uint64_t      alive_ns;
	unsigned      restarts;
	uint64_t      stop_ns;     /* when a signal asked for the end */
};

static void
tell_status(struct parent *p)
{
	char text[512] = "";
	size_t n = 0;
	for (unsigned i = 0; i < p->s->count && n < sizeof text; i++) {
		const struct ward *w = &p->wards[i];
		const char *state = w->pid == 0 ? "down" : !w->ready ? "starting" : w->note[0] ? w->note : "up";
		n += (size_t)snprintf(text + n, sizeof text - n, "%s%s: %s", i ? "; " : "", p->s->roles[i].name, state);
	}
	notify_status(&p->notify, "%s", text);
}

/* A fresh pair between two running processes. */
static void
link_two(struct parent *p, unsigned a, unsigned b)
{
	int pair[2];
	if (p->wards[a].pid == 0 || p->wards[b].pid == 0)
		return;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		log_line(LOG_FAILED, "%s can not be connected with %s: %s", p->s->roles[a].name, p->s->roles[b].name,
		         strerror(errno));
		kill(p->wards[a].pid, SIGKILL); /* tried again with its restart */
		return;
	}
	bool good = post_send(p->wards[a].post, POST_LINK, b, p->restarts, NULL, 0, pair[0]);
	good = post_send(p->wards[b].post, POST_LINK, a, p->restarts, NULL, 0, pair[1]) && good;
	close(pair[0]);
	close(pair[1]);
	if (!good)
		log_line(LOG_WARNED, "%s could not be connected with %s: one of them is ending", p->s->roles[a].name,
		         p->s->roles[b].name);
}

static void
plan_restart(struct ward *w, uint64_t now)
{
	bool steady = w->started_ns && now - w->started_ns >= STEADY_NS;
	w->delay_ns = steady || w->delay_ns == 0 ? RESTART_NS_MIN
	              : w->delay_ns > RESTART_NS_MAX / 2 ? RESTART_NS_MAX : 2 * w->delay_ns;
	w->restart_ns = now + w->delay_ns;
}

static enum err
start(struct parent *p, unsigned i)
{
	struct ward *w = &p->wards[i];
	int pair[2];
	uint64_t now = clock_now();
	w->restart_ns = 0;
	w->ready = w->killed = false;
	w->failed = OK;
	w->sentence[0] = w->note[0] = 0;
	w->stop_ns = 0;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
		plan_restart(w, now);
		return fail_errno("a post for %s", p->s->roles[i].name);
	}
	pid_t parent = getpid(), pid = fork();
	if (pid == 0)
		child(&p->s->roles[i], pair[1], parent);
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		plan_restart(w, now);
		return fail_errno("the process %s could not be started", p->s->roles[i].name);
	}
	w->pid = pid;
	w->post = pair[0];
	w->started_ns = now;
	log_line(LOG_NOTED, "%s started as process %d", p->s->roles[i].name, (int)pid);
	for (unsigned k = 0; k < p->s->count; k++)
		if (p->s->roles[i].links >> k & 1)
			link_two(p, i, k);
	return OK;
}

static void
fail_start(struct parent *p, enum err e, const char *sentence)
{
	if (p->outcome == OK) {
		p->outcome = e;
		snprintf(p->sentence, sizeof p->sentence, "%s", sentence);
	}
	p->stopping = true;
}

static void
read_post(struct parent *p, unsigned i)
{
	struct ward *w = &p->wards[i];
	struct post in;
	for (unsigned k = 0; k < POST_AT_ONCE && w->post >= 0 && post_receive(w->post, &in) == OK; k++) {
		if (in.fd >= 0)
			close(in.fd); /* no child has one to give */
		if (in.kind == POST_READY && !w->ready) {
			w->ready = w->ready_once = true;
		} else if (in.kind == POST_FAILED) {
			w->failed = in.code > OK && in.code <= ERR_PARTIAL ? (enum err)in.code : ERR_IO;
			snprintf(w->sentence, sizeof w->sentence, "%.*s", (int)sizeof w->sentence - 1, (char *)in.data);
		} else if (in.kind == POST_NOTE) {
			snprintf(w->note, sizeof w->note, "%.*s", (int)sizeof w->note - 1, (char *)in.data);
		} else {
			continue;
		}
		tell_status(p);
	}
	bool all = true;
	for (unsigned k = 0; k < p->s->count; k++)
		all = all && p->wards[k].ready;
	if (all && !p->up && !p->stopping) {
		p->up = true;
		notify_ready(&p->notify);
		log_line(LOG_NOTED, "all processes are up");
	}
}

static const char *
ending(char *out, size_t room, int status)
{
	if (WIFEXITED(status))
		snprintf(out, room, "ended with exit code %d", WEXITSTATUS(status));
	else if (WTERMSIG(status) == SIGSYS)
		snprintf(out, room, "was killed for a system call that its sandbox does not allow");
	else
		snprintf(out, room, "was killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	return out;
}

static void
reap(struct parent *p, unsigned i, int status)
{
	struct ward *w = &p->wards[i];
	const char *name = p->s->roles[i].name;
	char words[128];
	read_post(p, i); /* its last words */
	close(w->post);
	w->post = -1;
	w->pid = 0;
	w->ready = false;
	ending(words, sizeof words, status);
	if (p->stopping) {
		bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
		log_line(good || w->killed ? LOG_NOTED : LOG_WARNED, "%s %s", name, words);
	} else if (!p->up && !w->ready_once) {
		snprintf(p->sentence, sizeof p->sentence, "the process %s %s at its start", name, words);
		enum err e = w->failed == OK ? ERR_IO : w->failed;
		char why[ERR_TEXT_BYTES];
		snprintf(why, sizeof why, "%s", w->failed == OK ? p->sentence : w->sentence);
		fail_start(p, e, why);
	} else {
		plan_restart(w, clock_now());
		p->restarts++;
		log_line(LOG_FAILED, "%s %s; it starts again in %u ms", name, words, (unsigned)(w->delay_ns / 1000000));
	}
	tell_status(p);
}

static void
reap_all(struct parent *p)
{
	for (unsigned i = 0; i < p->s->count; i++) {
		int status;
		if (p->wards[i].pid && waitpid(p->wards[i].pid, &status, WNOHANG) == p->wards[i].pid)
			reap(p, i, status);
	}
}

/* The next one to go is the last that runs; true when all are gone. */
static bool
stop_some(struct parent *p, uint64_t now)
{
	for (unsigned i = p->s->count; i-- > 0;) {
		struct ward *w = &p->wards[i];
		if (w->pid == 0)
			continue;
		if (w->stop_ns == 0) {
			w->stop_ns = now;
			bool told = post_send(w->post, POST_STOP, 0, 0, NULL, 0, -1);
			kill(w->pid, told ? SIGTERM : SIGKILL); /* a role may watch for it (base/interrupt.h) instead */
		} else if (!w->killed && now - w->stop_ns >= PROCESS_STOP_NS) {
			w->killed = true;
			log_line(LOG_WARNED, "%s does not end: killed", p->s->roles[i].name);
			kill(w->pid, SIGKILL);
		}
		return false;
	}
	return true;
}

static void
reload(struct parent *p)
{
	if (!p->s->reload || p->stopping)
		return;
	notify_reloading(&p->notify);
	enum err e = p->s->reload(p->s->arg);
	if (e != OK) {
		log_line(LOG_FAILED, "settings stay as they are: %s", err_text());
	} else {
		for (unsigned i = 0; i < p->s->count; i++)
			if (p->wards[i].pid && p->s->roles[i].settings_bytes)
				post_send(p->wards[i].post, POST_SETTINGS, 0, 0, p->s->roles[i].settings,
				          p->s->roles[i].settings_bytes, -1);
		log_line(LOG_NOTED, "settings read again");
	}
	notify_ready(&p->notify);
}

static void
read_signals(struct parent *p)
{
	struct signalfd_siginfo info;
	while (read(p->signals, &info, sizeof info) == (ssize_t)sizeof info) {
		if (info.ssi_signo == SIGHUP) {
			reload(p);
		} else if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) {
			bool again = p->stop_ns && clock_now() - p->stop_ns >= AGAIN_NS;
			for (unsigned i = 0; again && i < p->s->count; i++) {
				p->wards[i].killed = true;
				if (p->wards[i].pid)
					kill(p->wards[i].pid, SIGKILL);
			}
			if (!p->stopping)
				log_line(LOG_NOTED, "stopping");
			notify_stopping(&p->notify);
			p->stopping = true;
			p->stop_ns = p->stop_ns ? p->stop_ns : clock_now();
		}
	}
}

/* Milliseconds until something is to be done without being woken. */
static int
patience(const struct parent *p, uint64_t now)
{
	uint64_t until = now + 60000000000u;
	for (unsigned i = 0; i < p->s->count; i++) {
		const struct ward *w = &p->wards[i];
		uint64_t at = p->stopping ? (w->stop_ns && !w->killed ? w->stop_ns + PROCESS_STOP_NS : 0) : w->restart_ns;
		if (at && at < until)
			until = at;
	}
	if (p->notify.watchdog_ns && p->alive_ns + p->notify.watchdog_ns < until)
		until = p->alive_ns + p->notify.watchdog_ns;
	return until <= now ? 0 : (int)((until - now) / 1000000 + 1);
}

static void
supervise_round(struct parent *p)
{
	struct pollfd fds[PROCESS_ROLES_MAX + 1] = { { .fd = p->signals, .events = POLLIN } };
	for (unsigned i = 0; i < p->s->count; i++)
		fds[i + 1] = (struct pollfd){ .fd = p->wards[i].pid ? p->wards[i].post : -1, .events = POLLIN };
	poll(fds, p->s->count + 1, patience(p, clock_now()));
	read_signals(p);
	for (unsigned i = 0; i < p->s->count; i++)
		if (p->wards[i].pid && fds[i + 1].revents)
			read_post(p, i);
	reap_all(p);
	uint64_t now = clock_now();
	for (unsigned i = 0; i < p->s->count && !p->stopping; i++)
		if (p->wards[i].pid == 0 && p->wards[i].restart_ns <= now && start(p, i) != OK)
			log_line(LOG_FAILED, "%s", err_text());
	if (p->notify.watchdog_ns && now - p->alive_ns >= p->notify.watchdog_ns) {
		p->alive_ns = now;
		notify_alive(&p->notify);
	}
}

static enum err
watch_signals(struct parent *p)
{
	sigset_t wanted;
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGHUP);
	sigaddset(&wanted, SIGCHLD);
	signal(SIGCHLD, SIG_DFL);
	sigprocmask(SIG_BLOCK, &wanted, &p->old_mask);
	p->signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
	return p->signals < 0 ? fail_errno("signals can not be watched") : OK;
}

enum err
supervise(const struct supervision *s)
{
	struct parent p = { .s = s, .signals = -1, .alive_ns = clock_now() };
	assert(s->count >= 1 && s->count <= PROCESS_ROLES_MAX);
	for (unsigned i = 0; i < s->count; i++) {
		assert(s->roles[i].keep_count <= PROCESS_KEEP_MAX && s->roles[i].settings_bytes <= POST_BYTES_MAX);
		p.wards[i].post = -1;
	}
	TRY(watch_signals(&p));
	notify_init(&p.notify);
	p.stopping = interrupt_seen(); /* before signals were watched here */
	for (unsigned i = 0; i < s->count && !p.stopping; i++)
		if (start(&p, i) != OK)
			fail_start(&p, ERR_IO, err_text());
	tell_status(&p);
	while (!p.stopping || !stop_some(&p, clock_now()))
		supervise_round(&p);
	notify_fini(&p.notify);
	close(p.signals);
	sigprocmask(SIG_SETMASK, &p.old_mask, NULL);
	return p.outcome == OK ? OK : fail(p.outcome, "%s", p.sentence);
}
