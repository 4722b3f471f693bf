/* The keeper's numbers: for `atoll monitors` and /metrics. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "base/when.h"
#include "index/keeper_parts.h"

#define MINUTE_NS 60000000000u

void
keeper_note_parcel(struct keeper *k, struct keeper_monitor *m, const struct parcel *p, uint64_t now_ns)
{
	uint64_t second = now_ns / NS_PER_S;
	size_t slot = second % KEEPER_RATE_SLOTS;
	k->numbers.parcels++;
	m->seen_ns = now_ns;
	m->parcels++;
	m->bytes += p->front_bytes + (uint64_t)p->block_bytes;
	/* what a trace file holds may be years old: then from when the monitor read it */
	uint64_t since_ns = sodium_is_zero(p->source, sizeof p->source) ? p->last_ns : p->made_ns;
	m->lag_ns = now_ns > since_ns ? now_ns - since_ns : 0;
	if (p->kind != PARCEL_BLOCK)
		return;
	m->records += p->records;
	if (m->rate_second[slot] != second) {
		m->rate_second[slot] = second;
		m->rate[slot] = 0;
	}
	m->rate[slot] += p->records;
}

void
keeper_note_clock(struct keeper *k, struct keeper_monitor *m, uint64_t clock_ns)
{
	m->clock_offset_ns = (int64_t)(clock_ns - when_now());
	if (m->clock_offset_ns < (int64_t)CLOCK_AGREES_NS && m->clock_offset_ns > -(int64_t)CLOCK_AGREES_NS)
		keeper_clock_confirmed(k);
}

void
keeper_note_report(struct keeper *k, const struct arrival_report *r, uint64_t now_ns)
{
	struct keeper_monitor *m = &k->monitors[r->monitor];
	struct keeper_stream *s = m->streams;
	m->seen_ns = now_ns;
	keeper_note_clock(k, m, r->clock_ns);
	while (s && strcmp(s->name, r->stream) != 0)
		s = s->next;
	if (!s && m->stream_count < KEEPER_STREAMS_MAX && (s = calloc(1, sizeof *s)) != NULL) {
		memcpy(s->name, r->stream, sizeof s->name);
		s->next = m->streams;
		m->streams = s;
		m->stream_count++;
	}
	if (s)
		s->report = *r;
}

void
keeper_forget_reports(struct keeper *k)
{
	for (uint32_t i = 0; i <= MONITORS_MAX; i++) {
		struct keeper_stream *s = k->monitors[i].streams;
		while (s) {
			struct keeper_stream *next = s->next;
			free(s);
			s = next;
		}
		k->monitors[i].streams = NULL;
	}
}

void
keeper_note_commit(struct keeper *k, uint64_t took_ns)
{
	uint64_t minute = keeper_clock() / MINUTE_NS;
	if (minute != k->slowest_minute) {
		k->slowest_ns[1] = minute == k->slowest_minute + 1 ? k->slowest_ns[0] : 0;
		k->slowest_ns[0] = 0;
		k->slowest_minute = minute;
	}
	if (took_ns > k->slowest_ns[0])
		k->slowest_ns[0] = took_ns;
	k->numbers.commits++;
	k->numbers.commit_ns += took_ns;
}

static void
add_monitor(const struct keeper_monitor *m, struct vitals_monitor *v, uint64_t now_ns)
{
	v->connected = m->session != 0;
	v->clock_offset_ns = (uint64_t)m->clock_offset_ns;
	v->refused = m->refused;
	v->bytes = m->bytes;
	if (m->seen_ns > v->seen_ns)
		v->seen_ns = m->seen_ns;
	if (m->parcels)
		v->lag_ns = m->lag_ns;
	uint64_t sum = 0;
	for (unsigned i = 0; i < KEEPER_RATE_SLOTS; i++)
		if (now_ns / NS_PER_S - m->rate_second[i] < KEEPER_RATE_SLOTS)
			sum += m->rate[i];
	v->records_per_s = sum / KEEPER_RATE_SLOTS;
	for (const struct keeper_stream *s = m->streams; s; s = s->next) {
		v->spool_parcels += s->report.spool_parcels;
		v->spool_bytes += s->report.spool_bytes;
		v->sampled = s->report.sampled > v->sampled ? s->report.sampled : v->sampled;
	}
}

void
keeper_add_vitals(void *arg, struct vitals *v)
{
	struct keeper *k = arg;
	uint64_t now = when_now();
	struct statvfs fs;
	v->started_ns = k->numbers.started_ns;
	v->parcels = k->numbers.parcels;
	v->commits = k->numbers.commits;
	v->commit_ns = k->numbers.commit_ns;
	v->commit_max_ns = k->slowest_ns[0] > k->slowest_ns[1] ? k->slowest_ns[0] : k->slowest_ns[1];
	v->codes_failed = k->numbers.codes_failed;
	v->restarts = k->numbers.restarts;
	v->handshakes = k->handshakes_past + k->gate.handshakes;
	v->handshakes_failed = k->failed_past + k->gate.handshakes_failed;
	v->connections_refused = k->refused_past + k->gate.connections_refused;
	v->stopped = k->hold;
	v->clock_doubtful = k->clock_doubted;
	if (statvfs(k->settings->dir, &fs) == 0) {
		v->disk_free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
		v->disk_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
	}
	v->sessions = 0;
	for (uint32_t i = 0; i < v->monitor_count; i++) {
		struct vitals_monitor *m = &v->monitors[i];
		if (m->id > MONITORS_MAX)
			continue;
		struct keeper_monitor *mine = &k->monitors[m->id];
		mine->stored_bytes = m->stored_bytes;
		add_monitor(mine, m, now);
		v->sessions += mine->session != 0;
	}
}

enum err
keeper_vitals(struct keeper *k, struct vitals *v)
{
	struct catalogue *c = archive_catalogue(store_archive(k->store));
	TRY(catalogue_begin(c));
	enum err e = monitors_vitals(c, v);
	catalogue_end(c);
	if (e == OK)
		keeper_add_vitals(k, v);
	return e;
}
