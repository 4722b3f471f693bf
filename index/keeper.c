#include "index/keeper.h"

#include <errno.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "archive/seal.h"
#include "base/process.h"
#include "base/sandbox.h"
#include "base/when.h"
#include "index/change.h"
#include "index/keeper_parts.h"

#define LOOK_NS       1000000000u  /* how often the disk, the control socket's clock and old work are looked at */
#define FULL_NS       5000000000u  /* how long nothing lands after the disk was full, at least */
#define FULL_MARGIN   (64u << 20)  /* free bytes more than needed before anything lands again */
#define MEMORY_BYTES  (2ull << 30)
#define FILES         512u

uint64_t
keeper_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- commits --- */

static enum err
commit(struct keeper *k)
{
	uint64_t began = keeper_clock();
	if (k->waiting_count == 0 && store_landing_bytes(k->store) == 0 && !k->reported)
		return OK;
	k->committed_ns = began;
	k->reported = false; /* what is not kept is reported again */
	enum err e = store_land_commit(k->store);
	if (e == ERR_FULL && store_running(k->store) == OK) {
		keeper_answer_waiting(k, false, "the archive's disk is full");
		keeper_hold(k, true, "the archive's disk is full: nothing lands until there is room");
		return OK;
	}
	TRY(e);
	keeper_note_commit(k, keeper_clock() - began);
	keeper_answer_waiting(k, true, "");
	return OK;
}

static bool
commit_is_due(const struct keeper *k, bool idle)
{
	uint64_t now = keeper_clock();
	if (k->waiting_count == 0 && !k->reported)
		return store_landing_bytes(k->store) >= KEEPER_COMMIT_BYTES;
	return now - k->first_waiting_ns >= KEEPER_COMMIT_NS || store_landing_bytes(k->store) >= KEEPER_COMMIT_BYTES ||
	       k->waiting_count >= KEEPER_WAITING_MAX || (idle && now - k->committed_ns >= KEEPER_IDLE_NS);
}

/* --- now and then --- */

/* On while the machine sleeps. */
static uint64_t
boot_clock(void)
{
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void
keeper_clock_confirmed(struct keeper *k)
{
	clock_confirm(&k->clock, when_now(), boot_clock());
}

/* Nothing goes for its age while the clock is not believed. */
static void
look_at_clock(struct keeper *k)
{
	struct retention *r = &k->limits.retention;
	if (r->age_ns == 0 && !(r->config && r->config->stream_count)) {
		k->clock_doubted = false;
		return;
	}
	uint64_t now = when_now();
	r->clock_doubtful = !clock_believed(&k->clock, now, boot_clock());
	if (r->clock_doubtful && !k->clock_doubted)
		log_line(k->clock.known ? LOG_FAILED : LOG_NOTED, "the clock %s: nothing is removed for its age until a monitor "
		         "connects whose clock agrees, or SIGHUP says that it is right",
		         k->clock.known ? "is more than a day ahead of where it was believed last" : "is not confirmed yet");
	if (!r->clock_doubtful && k->clock_doubted)
		log_line(LOG_NOTED, "the clock is believed");
	k->clock_doubted = r->clock_doubtful;
	if (!r->clock_doubtful && clock_keep(&k->clock, now) != OK)
		log_braked(&k->refusals, LOG_WARNED, "that the clock is right can not be written down: %s", err_text());
}

/* A step of merging or retention: in idle time, and once a second (or after each commit, when there is more) without any. */
static enum err
tend(struct keeper *k, bool idle, bool committed)
{
	bool due = keeper_clock() - k->tended_ns >= LOOK_NS;
	if (!due && !(k->tend_more && (idle || committed)))
		return OK;
	if (k->waiting_count && !committed)
		return OK;
	look_at_clock(k);
	enum err e = reception_tend(k->store, &k->limits.retention, when_now(), false, &k->tend_more);
	k->tended_ns = keeper_clock();
	if (e == ERR_FULL && store_running(k->store) == OK) {
		k->tend_more = false;
		log_braked(&k->refusals, LOG_FAILED, "merging waits for room: %s", err_text());
		return OK;
	}
	return e;
}

/* Stops landing before the disk is full, and starts it again. */
static void
look_at_disk(struct keeper *k)
{
	struct statvfs fs;
	if (statvfs(k->settings->dir, &fs) != 0)
		return;
	uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize, stop = k->limits.retention.stop_bytes;
	if (!k->hold && stop && room < stop) {
		char sentence[ARRIVAL_TEXT_BYTES];
		snprintf(sentence, sizeof sentence, "the archive's disk has %llu MB free, less than stop_bytes: nothing lands",
		         (unsigned long long)(room / 1000000));
		keeper_hold(k, true, sentence);
	} else if (k->hold && keeper_clock() - k->hold_since_ns >= FULL_NS && room >= stop && room - stop >= FULL_MARGIN) {
		keeper_hold(k, false, "the archive's disk has room again");
	}
}

static enum err
look(struct keeper *k)
{
	if (keeper_clock() - k->looked_ns < LOOK_NS)
		return OK;
	k->looked_ns = keeper_clock();
	look_at_disk(k);
	if (k->limits.monitor_bytes) { /* to know what is stored of each */
		struct vitals v;
		TRY(keeper_vitals(k, &v));
		vitals_fini(&v);
	}
	return control_serve(k->control);
}

/* --- whom it serves --- */

static void
revoked(void *arg, uint32_t monitor)
{
	struct keeper *k = arg;
	k->monitors_changed = true;
	if (monitor <= MONITORS_MAX)
		k->monitors[monitor].row.state = ARRIVAL_STATE_REVOKED;
}

static void
desk_close(struct keeper *k)
{
	if (!k->desk_open)
		return;
	close(k->desk.fd);
	vitals_desk_fini(&k->desk);
	k->desk_open = false;
}

static void
desk_open(struct keeper *k, int fd)
{
	desk_close(k);
	if (vitals_desk_init(&k->desk, fd) == OK) {
		k->desk_open = true;
		return;
	}
	log_line(LOG_WARNED, "link to the http process: %s", err_text());
	close(fd);
}

static enum err
serve_desk(struct keeper *k)
{
	bool asked = false;
	struct vitals v;
	enum err e = vitals_desk_serve(&k->desk, &asked);
	if (e == OK && asked) {
		TRY(keeper_vitals(k, &v));
		e = vitals_desk_answer(&k->desk, &v);
		vitals_fini(&v);
	}
	if (e != OK)
		desk_close(k);
	return OK;
}

static enum err
read_post(struct keeper *k)
{
	struct post in;
	enum err e;
	while ((e = post_receive(k->post, &in)) == OK) {
		if (in.kind == POST_LINK && in.fd >= 0) {
			k->numbers.restarts = in.code;
			if (in.peer == k->settings->ingest)
				keeper_link_open(k, in.fd);
			else if (in.peer == k->settings->http)
				desk_open(k, in.fd);
			else
				close(in.fd);
			continue;
		}
		if (in.fd >= 0)
			close(in.fd);
		if (in.kind == POST_SETTINGS && in.bytes == sizeof k->limits) {
			memcpy(&k->limits, in.data, sizeof k->limits);
			keeper_clock_confirmed(k);
		}
		k->stopping |= in.kind == POST_STOP;
	}
	return e == END ? OK : e;
}

/* --- the loop --- */

static int
patience(const struct keeper *k, bool idle)
{
	if (!idle || k->tend_more)
		return 0;
	if (k->waiting_count == 0 && !k->reported)
		return (int)(LOOK_NS / 1000000);
	uint64_t now = keeper_clock(), at = k->committed_ns + KEEPER_IDLE_NS;
	return at <= now ? 0 : (int)((at - now) / 1000000 + 1);
}

static enum err
wait_and_serve(struct keeper *k, bool idle)
{
	struct pollfd fds[4] = {
		{ .fd = k->post, .events = POLLIN },
		{ .fd = control_fd(k->control), .events = POLLIN },
		{ .fd = k->desk_open ? k->desk.fd : -1,
		  .events = (short)(POLLIN | (k->desk_open && vitals_desk_pending(&k->desk) ? POLLOUT : 0)) },
		{ .fd = k->ingest.fd, .events = (short)(POLLIN | (channel_waiting(&k->ingest) ? POLLOUT : 0)) },
	};
	if (poll(fds, 4, patience(k, idle)) < 0 && errno != EINTR)
		return fail_errno("poll");
	if (fds[1].revents)
		TRY(control_serve(k->control));
	if (k->desk_open && fds[2].revents)
		TRY(serve_desk(k));
	if (fds[0].revents) /* last: it may replace the links */
		TRY(read_post(k));
	if (channel_is_open(&k->ingest) && channel_waiting(&k->ingest) && channel_flush(&k->ingest) != OK)
		keeper_link_lost(k);
	return k->monitors_changed ? keeper_tell_monitors(k) : OK;
}

static enum err
run(struct keeper *k)
{
	bool idle = true;
	while (!k->stopping) {
		TRY(wait_and_serve(k, idle));
		TRY(keeper_take(k, &idle));
		bool due = commit_is_due(k, idle);
		if (due)
			TRY(commit(k));
		TRY(tend(k, idle, due));
		TRY(look(k));
	}
	return commit(k);
}

static enum err
open_all(struct keeper *k)
{
	const struct keeper_settings *s = k->settings;
	const char *change[] = { s->dir, NULL }, *read[] = { s->key_file, NULL };
	TRY(sandbox_enter(&(struct sandbox){ .calls = SANDBOX_FILES | SANDBOX_ACCEPT | SANDBOX_LOCAL | SANDBOX_THREADS,
	                                     .read = s->key_file[0] ? read : NULL,
	                                     .change = change,
	                                     .memory_bytes = MEMORY_BYTES,
	                                     .files = FILES,
	                                     .off = s->no_sandbox }));
	TRY(seal_start());
	k->secrets = sodium_malloc(sizeof *k->secrets);
	k->monitors = calloc(MONITORS_MAX + 1, sizeof *k->monitors);
	k->waiting = calloc(KEEPER_WAITING_MAX, sizeof *k->waiting);
	if (!k->secrets || !k->monitors || !k->waiting)
		return fail(ERR_NOMEM, "no memory");
	memset(k->secrets, 0, sizeof *k->secrets);
	TRY(arrival_terms_init(&k->terms));
	TRY(clock_open(&k->clock, s->dir, boot_clock()));
	TRY(store_open(&k->store, s->dir, s->key_file[0] ? s->key_file : NULL));
	archive_id(store_archive(k->store), k->archive);
	monitors_identity(archive_keystore(store_archive(k->store)), &k->secrets->identity);
	TRY(keeper_tell_monitors(k));
	return control_open(&k->control, k->store,
	                    &(struct control_hooks){ .arg = k, .vitals = keeper_add_vitals, .revoked = revoked, .port = s->port });
}

static void
close_all(struct keeper *k)
{
	if (channel_is_open(&k->ingest) && channel_flush(&k->ingest) != OK)
		log_line(LOG_NOTED, "%s", err_text());
	control_close(&k->control);
	store_close(&k->store);
	channel_fini(&k->ingest);
	desk_close(k);
	arrival_terms_fini(&k->terms);
	sodium_free(k->secrets);
	if (k->monitors)
		keeper_forget_reports(k);
	free(k->monitors);
	free(k->waiting);
	free(k->told);
	free(k);
}

enum err
keeper_run(int post, void *arg)
{
	struct keeper *k = calloc(1, sizeof *k);
	if (!k)
		return fail(ERR_NOMEM, "no memory");
	k->settings = arg;
	k->limits = k->settings->limits;
	k->post = post;
	k->ingest.fd = -1;
	k->numbers.started_ns = when_now();
	enum err e = open_all(k);
	if (e == OK) {
		post_ready(post);
		e = run(k);
	}
	char sentence[ERR_TEXT_BYTES];
	snprintf(sentence, sizeof sentence, "%s", e == OK ? "" : err_text());
	close_all(k);
	return e == OK ? OK : fail(e, "%s", sentence);
}
