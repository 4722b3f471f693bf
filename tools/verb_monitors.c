#include <inttypes.h>
#include <stdio.h>

#include "base/human.h"
#include "base/table.h"
#include "base/when.h"
#include "index/control.h"
#include "index/monitors.h"
#include "tools/verbs.h"

static enum err
vitals_local(const struct given *g, struct vitals *v)
{
	struct archive *a = NULL;
	TRY(given_archive(&a, g, ARCHIVE_READ));
	enum err e = catalogue_begin(archive_catalogue(a));
	if (e == OK) {
		e = monitors_vitals(archive_catalogue(a), v);
		catalogue_end(archive_catalogue(a));
	}
	archive_close(&a);
	return e;
}

/* *running: they come from a server, which knows the sessions. */
static enum err
vitals_get(const struct given *g, struct vitals *v, bool *running)
{
	const char *dir;
	int fd;
	TRY(given_archive_dir(&dir, g));
	enum err e = control_dial(&fd, dir);
	*running = e == OK;
	if (e == END)
		return vitals_local(g, v);
	return e == OK ? control_ask_monitors(&fd, v) : e;
}

static const char *
state_name(const struct vitals_monitor *m)
{
	switch (m->state) {
	case MONITOR_ENROLLED:
		return m->connected ? "connected" : "enrolled";
	case MONITOR_REVOKED:
		return "revoked";
	case VITALS_INVITED:
		return "invited";
	default:
		return "quarantined";
	}
}

static double seconds(uint64_t ns) { return (double)ns / NS_PER_S; }
static double offset(uint64_t ns) { return (double)(int64_t)ns / NS_PER_S; }

/* Numbers of sessions are null when nobody knows them. */
static void
json_known(struct json *j, const char *key, uint64_t value, bool known)
{
	if (known)
		json_u64(j, key, value);
	else
		json_null(j, key);
}

static void
monitor_json(struct json *j, const struct vitals_monitor *m, bool running)
{
	json_object(j, NULL);
	json_text(j, "name", m->name);
	json_text(j, "state", m->state == MONITOR_ENROLLED ? "enrolled" : state_name(m));
	json_text(j, "reason", m->reason[0] ? m->reason : NULL);
	if (running)
		json_bool(j, "connected", m->connected);
	else
		json_null(j, "connected");
	report_time(j, "code_expires", m->code_expires_ns, m->code_expires_ns > 0);
	report_time(j, "last_seen", m->seen_ns, m->seen_ns > 0);
	report_time(j, "last_record", m->last_ns, m->last_ns > 0);
	bool heard = running && m->seen_ns > 0;
	if (heard) {
		json_real(j, "lag_seconds", seconds(m->lag_ns));
		json_real(j, "clock_offset_seconds", offset(m->clock_offset_ns));
	} else {
		json_null(j, "lag_seconds");
		json_null(j, "clock_offset_seconds");
	}
	json_known(j, "records_per_second", m->records_per_s, heard);
	json_u64(j, "records", m->records);
	json_u64(j, "parcels", m->parcels);
	json_known(j, "received_bytes", m->bytes, heard);
	json_u64(j, "stored_records", m->stored_records);
	json_u64(j, "stored_bytes", m->stored_bytes);
	json_u64(j, "lost_kernel", m->lost_kernel);
	json_u64(j, "lost_interface", m->lost_interface);
	json_u64(j, "lost_spool", m->lost_spool);
	json_u64(j, "lost_policy", m->lost_policy);
	json_u64(j, "lost_archive", m->lost_archive);
	json_u64(j, "gaps", m->gaps);
	json_known(j, "refused", m->refused, heard);
	json_known(j, "sampled_one_in", m->sampled, heard && m->sampled > 0);
	json_known(j, "spool_parcels", m->spool_parcels, heard);
	json_known(j, "spool_bytes", m->spool_bytes, heard);
	json_end(j);
}

static enum err
print_json(const struct vitals *v, bool running)
{
	struct json j = report_json();
	json_bool(&j, "server", running);
	json_bool(&j, "clock_doubtful", running && v->clock_doubtful);
	json_array(&j, "monitors");
	for (uint32_t i = 0; i < v->monitor_count; i++)
		monitor_json(&j, &v->monitors[i], running);
	json_end(&j);
	json_end(&j);
	return json_finish(&j, "standard output");
}

struct cells {
	char seen[HUMAN_BYTES + 8], lag[HUMAN_BYTES], rate[HUMAN_BYTES], stored[HUMAN_BYTES], bytes[HUMAN_BYTES], lost[5][HUMAN_BYTES];
	char gaps[HUMAN_BYTES], clock[HUMAN_BYTES + 2], sampled[HUMAN_BYTES];
};

static void
cells_fill(struct cells *c, const struct vitals_monitor *m, bool running)
{
	uint64_t now_ns = when_now();
	const uint64_t lost[5] = { m->lost_kernel, m->lost_interface, m->lost_spool, m->lost_policy, m->lost_archive };
	char text[HUMAN_BYTES];
	bool heard = running && m->seen_ns > 0;
	*c = (struct cells){ .seen = "-", .lag = "-", .rate = "-", .clock = "-", .sampled = "-" };
	human_count(c->stored, m->stored_records);
	human_size(c->bytes, m->stored_bytes);
	human_count(c->gaps, m->gaps);
	for (unsigned i = 0; i < 5; i++)
		human_count(c->lost[i], lost[i]);
	if (m->seen_ns > 0)
		snprintf(c->seen, sizeof c->seen, "%s ago", human_duration(text, seconds(now_ns > m->seen_ns ? now_ns - m->seen_ns : 0)));
	if (!heard)
		return;
	human_duration(c->lag, seconds(m->lag_ns));
	human_rough(c->rate, (double)m->records_per_s);
	double o = offset(m->clock_offset_ns);
	snprintf(c->clock, sizeof c->clock, "%s%s", o < 0 ? "-" : "+", human_duration(text, o < 0 ? -o : o));
	if (m->sampled > 1)
		human_count(c->sampled, m->sampled);
	else if (m->sampled == 1)
		snprintf(c->sampled, sizeof c->sampled, "all");
}

static void
print_code(const struct vitals_monitor *m)
{
	char when[WHEN_TEXT_BYTES];
	if (m->code_expires_ns == 0)
		return;
	when_format(when, m->code_expires_ns);
	printf("%s: a code waits until %.19sZ; atoll revoke %s withdraws it\n", m->name, when, m->name);
}

static enum err
print_table(const struct vitals *v, bool running)
{
	static const char *const heads[] = { "monitor", "state", "last seen", ">lag", ">records/s", ">records", ">stored",
		">lost: kernel", ">interface", ">spool", ">policy", ">archive", ">gaps", ">clock", ">1 in", NULL };
	struct table *t = NULL;
	TRY(table_open(&t, stdout, heads));
	enum err e = OK;
	for (uint32_t i = 0; e == OK && i < v->monitor_count; i++) {
		const struct vitals_monitor *m = &v->monitors[i];
		struct cells c;
		cells_fill(&c, m, running);
		e = table_row(t, (const char *const[]){ m->name, state_name(m), c.seen, c.lag, c.rate, c.stored, c.bytes, c.lost[0],
		                                        c.lost[1], c.lost[2], c.lost[3], c.lost[4], c.gaps, c.clock, c.sampled });
	}
	enum err closed = table_close(&t);
	char shown[VITALS_REASON_BYTES];
	for (uint32_t i = 0; e == OK && i < v->monitor_count; i++)
		print_code(&v->monitors[i]);
	for (uint32_t i = 0; e == OK && i < v->monitor_count; i++)
		if (v->monitors[i].reason[0])
			printf("%s: %s\n", v->monitors[i].name, human_text(shown, sizeof shown, v->monitors[i].reason));
	return e != OK ? e : closed;
}

static enum err
run(const struct given *g)
{
	struct vitals v = { 0 };
	bool running;
	TRY(vitals_get(g, &v, &running));
	enum err e = given_flag(g, "json") ? print_json(&v, running) : print_table(&v, running);
	if (!running && !given_flag(g, "json") && !given_flag(g, "quiet"))
		fprintf(stderr, "no server is running for this archive: sessions are not known\n");
	if (v.clock_doubtful && !given_flag(g, "json") && !given_flag(g, "quiet"))
		fprintf(stderr, "the server does not believe its clock: nothing is removed for its age (its log says more)\n");
	vitals_fini(&v);
	return e;
}

static const struct example examples[] = {
	{ "atoll -A traces monitors", "each monitor: state, last seen, lag, rate, losses by cause, gaps, clock" },
	{ "atoll -A traces monitors --json | jq '.monitors[] | select(.state != \"enrolled\")'", "for a script" },
	{ 0 },
};

const struct verb verb_monitors = {
	.name = "monitors",
	.summary = "list the monitors and how they do",
	.arguments = "",
	.details = "lag: from capture (or reading a file) to commit, of the last parcel. clock: the monitor's minus this\n"
	           "machine's. 1 in: it sends one packet in so many. lost: packets, by cause, as the monitor counts them (policy:\n"
	           "sampling; archive: received, but damaged); ls gaps says when. invited: it\n"
	           "has a code and did not enrol yet. What only a running server knows is \"-\" without one. JSON: docs/json.md.",
	.examples = examples,
	.run = run,
};
