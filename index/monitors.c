#include "index/monitors.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/human.h"
#include "base/options.h"
#include "base/when.h"
#include "index/change.h"
#include "index/feed.h"

static struct catalogue *catalogue_of(struct store *s) { return archive_catalogue(store_archive(s)); }

void
monitors_identity(struct keystore *k, struct archive_identity *out)
{
	keystore_derive(k, "noise identity", out->noise_secret);
	keystore_derive(k, "ingest", out->ingest_secret);
	(void)crypto_scalarmult_base(out->noise_public, out->noise_secret);
	(void)crypto_scalarmult_base(out->ingest_public, out->ingest_secret);
}

static void
ticket_hash(const uint8_t code[TICKET_BYTES], uint8_t hash[32])
{
	(void)crypto_generichash(hash, 32, code, TICKET_BYTES, NULL, 0);
}

/* A clock that was set back does not make a ticket last longer than it could when it was given. */
static bool
ticket_holds(const struct ticket_row *t, uint64_t now_ns)
{
	return t->expires_ns > now_ns && t->expires_ns - now_ns <= TICKET_TTL_NS_MAX;
}

static enum err
name_check(const char *name)
{
	char shown[MONITOR_NAME_BYTES];
	if (row_is_monitor_name(name))
		return OK;
	return fail(ERR_USAGE, "a monitor's name has 1 to %u of a-z A-Z 0-9 . _ - and starts with a letter, digit or _; \"%s\" is none",
	            MONITOR_NAME_BYTES - 1, human_text(shown, sizeof shown, name));
}

/* ERR_ABSENT, without a sentence for the user. */
static enum err
find_named(struct catalogue *c, const char *name, struct monitor_row *row)
{
	struct monitor_row r = { .id = 0 };
	enum err e;
	while ((e = catalogue_next_monitor(c, &r)) == OK)
		if (strcmp(r.name, name) == 0) {
			*row = r;
			return OK;
		}
	return e == END ? ERR_ABSENT : e;
}

enum err
monitors_find(struct catalogue *c, const uint8_t noise_key[32], struct monitor_row *out)
{
	struct monitor_row r = { .id = 0 };
	enum err e;
	while ((e = catalogue_next_monitor(c, &r)) == OK)
		if (sodium_memcmp(r.noise_key, noise_key, sizeof r.noise_key) == 0) {
			*out = r;
			return OK;
		}
	return e == END ? fail(ERR_ABSENT, "no monitor has this key") : e;
}

/* --- tickets --- */

struct ticketing {
	struct ticket_row row;
	uint64_t          now_ns;
};

/* Forgets tickets that do not hold any more and those of this name; counts what is left, of names that are no monitor's. */
static enum err
tickets_sweep(struct catalogue *c, const char *name, uint64_t now_ns, uint32_t *left)
{
	struct ticket_row t;
	struct monitor_row m;
	enum err e;
	*left = 0;
	for (bool first = true; (e = catalogue_next_ticket(c, first, &t)) == OK; first = false) {
		if (strcmp(t.name, name) == 0 || !ticket_holds(&t, now_ns)) {
			TRY(catalogue_forget_ticket(c, t.hash));
			continue;
		}
		e = find_named(c, t.name, &m);
		if (e != OK && e != ERR_ABSENT)
			return e;
		*left += e == ERR_ABSENT;
	}
	return e == END ? OK : e;
}

static enum err
monitors_count(struct catalogue *c, uint32_t *count)
{
	struct monitor_row m = { .id = 0 };
	enum err e;
	for (*count = 0; (e = catalogue_next_monitor(c, &m)) == OK;)
		++*count;
	return e == END ? OK : e;
}

static enum err
ticket_change(struct catalogue *c, void *arg)
{
	const struct ticketing *t = arg;
	struct monitor_row m;
	uint32_t tickets, count;
	enum err e = find_named(c, t->row.name, &m);
	if (e == OK && m.state == MONITOR_ENROLLED)
		return fail(ERR_EXISTS, "monitor \"%s\" is enrolled: atoll revoke %s first, or choose another name", m.name, m.name);
	if (e != OK && e != ERR_ABSENT)
		return e;
	bool fresh = e == ERR_ABSENT;
	TRY(tickets_sweep(c, t->row.name, t->now_ns, &tickets));
	TRY(monitors_count(c, &count));
	if (fresh && count + tickets >= MONITORS_MAX)
		return fail(ERR_LIMIT, "an archive has at most %u monitors, and codes for them", MONITORS_MAX);
	return catalogue_put_ticket(c, &t->row);
}

enum err
monitors_ticket(struct store *s, const char *name, uint64_t now_ns, uint64_t expires_ns, uint8_t code[TICKET_BYTES])
{
	struct ticketing t = { .now_ns = now_ns };
	uint8_t secret[TICKET_BYTES];
	TRY(store_running(s));
	TRY(name_check(name));
	t.row.expires_ns = expires_ns;
	if (!ticket_holds(&t.row, now_ns))
		return fail(ERR_USAGE, "a code is good for more than nothing and at most 30 days");
	randombytes_buf(secret, sizeof secret);
	ticket_hash(secret, t.row.hash);
	snprintf(t.row.name, sizeof t.row.name, "%s", name);
	enum err e = catalogue_update(catalogue_of(s), ticket_change, &t);
	if (e == OK)
		memcpy(code, secret, sizeof secret);
	sodium_memzero(secret, sizeof secret);
	return e;
}

/* --- enrolment --- */

/* What a code leads to. */
struct enrolment {
	uint8_t            hash[32];
	const uint8_t     *noise_key, *sign_key;
	uint64_t           now_ns;
	struct monitor_row row;
	bool               done; /* before: row is what came of it */
};

static enum err
enrolment_denied(void)
{
	return fail(ERR_DENIED, "this code is not known, was used, or has expired: atoll enroll gives a new one");
}

static bool
keys_equal(const struct enrolment *n, const struct monitor_row *m)
{
	return sodium_memcmp(m->noise_key, n->noise_key, 32) == 0 && sodium_memcmp(m->sign_key, n->sign_key, 32) == 0;
}

/* The row that enrols ticket's monitor, when its name and the keys are free. */
static enum err
enrolment_row(struct catalogue *c, struct enrolment *n, const struct ticket_row *ticket)
{
	struct monitor_row m = { .id = 0 }, old = { .id = 0 };
	uint32_t last = 0;
	enum err e;
	while ((e = catalogue_next_monitor(c, &m)) == OK) {
		last = m.id;
		if (strcmp(m.name, ticket->name) == 0)
			old = m;
		if (sodium_memcmp(m.noise_key, n->noise_key, 32) == 0 || sodium_memcmp(m.sign_key, n->sign_key, 32) == 0)
			return fail(ERR_EXISTS, "its keys are enrolled already, as monitor \"%s\": make new ones", m.name);
	}
	if (e != END)
		return e;
	if (old.id && old.state == MONITOR_ENROLLED)
		return fail(ERR_EXISTS, "monitor \"%s\" is enrolled", old.name);
	if (!old.id && last >= MONITORS_MAX)
		return fail(ERR_LIMIT, "an archive has at most %u monitors", MONITORS_MAX);
	n->row = (struct monitor_row){ .id = old.id ? old.id : last + 1, .state = MONITOR_ENROLLED, .enrolled_ns = n->now_ns,
	                               .changed_ns = n->now_ns };
	memcpy(n->row.noise_key, n->noise_key, 32);
	memcpy(n->row.sign_key, n->sign_key, 32);
	memcpy(n->row.ticket, n->hash, 32);
	memcpy(n->row.name, ticket->name, sizeof n->row.name);
	return OK;
}

static enum err
enrolment_look(struct catalogue *c, struct enrolment *n)
{
	struct ticket_row ticket;
	struct monitor_row m = { .id = 0 };
	enum err e = catalogue_ticket(c, n->hash, &ticket);
	if (e == OK && sodium_memcmp(ticket.hash, n->hash, sizeof ticket.hash) == 0 && ticket_holds(&ticket, n->now_ns))
		return enrolment_row(c, n, &ticket);
	if (e != OK && e != ERR_ABSENT)
		return e;
	while ((e = catalogue_next_monitor(c, &m)) == OK)
		if (m.state == MONITOR_ENROLLED && sodium_memcmp(m.ticket, n->hash, sizeof m.ticket) == 0 && keys_equal(n, &m)) {
			n->row = m;
			n->done = true;
			return OK;
		}
	return e == END ? enrolment_denied() : e;
}

enum err
monitors_enrol(struct store *s, const uint8_t code[TICKET_BYTES], const uint8_t noise_key[32], const uint8_t sign_key[32],
               uint64_t now_ns, struct monitor_row *out)
{
	struct enrolment n = { .noise_key = noise_key, .sign_key = sign_key, .now_ns = now_ns };
	TRY(store_running(s));
	ticket_hash(code, n.hash);
	TRY(catalogue_begin(catalogue_of(s)));
	enum err e = enrolment_look(catalogue_of(s), &n);
	catalogue_end(catalogue_of(s));
	if (e != OK)
		return e;
	if (!n.done) {
		struct change c = { 0 };
		TRY(CHANGE_ADD(&c, MONITOR, &n.row));
		TRY(change_commit(s, &c)); /* the ticket goes with it: recovery_apply() */
	}
	*out = n.row;
	return OK;
}

/* --- the end of a monitor --- */

/* As ERR_ABSENT, with the nearest name. */
static enum err
absent(struct catalogue *c, const char *name)
{
	struct monitor_row m = { .id = 0 };
	char (*names)[MONITOR_NAME_BYTES] = calloc(MONITORS_MAX, sizeof *names), shown[MONITOR_NAME_BYTES];
	const char **list = calloc(MONITORS_MAX + 1, sizeof *list);
	uint32_t n = 0;
	while (names && list && n < MONITORS_MAX && catalogue_next_monitor(c, &m) == OK) {
		snprintf(names[n], sizeof names[n], "%.*s", (int)sizeof names[n] - 1, m.name);
		list[n] = names[n];
		n++;
	}
	const char *near = n ? options_nearest(name, list) : NULL;
	human_text(shown, sizeof shown, name);
	enum err e = near ? fail(ERR_ABSENT, "no monitor \"%s\"; did you mean \"%s\"?", shown, near)
	                  : fail(ERR_ABSENT, "no monitor \"%s\": atoll monitors lists them", shown);
	free(names);
	free(list);
	return e;
}

struct voiding {
	const char *name;
	uint64_t    now_ns;
};

static enum err
void_change(struct catalogue *c, void *arg)
{
	const struct voiding *v = arg;
	uint32_t left;
	return tickets_sweep(c, v->name, v->now_ns, &left);
}

/* Whether a code waits for a monitor of this name. */
static enum err
ticket_named(struct catalogue *c, const char *name, bool *there)
{
	struct ticket_row t;
	enum err e;
	*there = false;
	for (bool first = true; (e = catalogue_next_ticket(c, first, &t)) == OK; first = false)
		*there |= strcmp(t.name, name) == 0;
	return e == END ? OK : e;
}

enum err
monitors_revoke(struct store *s, const char *name, bool *code_only)
{
	struct monitor_row m = { .id = 0 };
	bool ticket;
	TRY(store_running(s));
	TRY(catalogue_begin(catalogue_of(s)));
	enum err e = ticket_named(catalogue_of(s), name, &ticket);
	if (e == OK)
		e = find_named(catalogue_of(s), name, &m);
	if (e == ERR_ABSENT)
		e = ticket ? OK : absent(catalogue_of(s), name);
	catalogue_end(catalogue_of(s));
	*code_only = m.id == 0;
	if (e == OK && ticket)
		e = catalogue_update(catalogue_of(s), void_change, &(struct voiding){ name, when_now() });
	if (e != OK || m.id == 0 || m.state == MONITOR_REVOKED)
		return e;
	struct change c = { 0 };
	m.state = MONITOR_REVOKED;
	m.changed_ns = when_now();
	TRY(CHANGE_ADD(&c, MONITOR, &m));
	return change_commit(s, &c);
}

enum err
monitors_quarantine(struct store *s, uint32_t id, const char *reason)
{
	struct monitor_row m = { .id = 0 };
	TRY(store_running(s));
	TRY(catalogue_begin(catalogue_of(s)));
	enum err e = catalogue_monitor(catalogue_of(s), id, &m);
	catalogue_end(catalogue_of(s));
	if (e != OK || m.state != MONITOR_ENROLLED) /* the first reason stays; revoked is more */
		return e;
	struct change c = { 0 };
	m.state = MONITOR_QUARANTINED;
	m.changed_ns = when_now();
	memset(m.reason, 0, sizeof m.reason);
	human_text(m.reason, sizeof m.reason, reason);
	TRY(CHANGE_ADD(&c, MONITOR, &m));
	return change_commit(s, &c);
}

/* --- numbers --- */

static enum err
vitals_monitors(struct catalogue *c, struct vitals *v)
{
	struct monitor_row m = { .id = 0 };
	struct ticket_row t;
	uint32_t count, codes = 0;
	enum err e;
	TRY(monitors_count(c, &count));
	for (bool first = true; (e = catalogue_next_ticket(c, first, &t)) == OK; first = false)
		codes++;
	if (e != END)
		return e;
	v->monitors = calloc(count + (size_t)codes + 1, sizeof *v->monitors);
	if (v->monitors == NULL)
		return fail(ERR_NOMEM, "no memory for the numbers of %u monitors", count);
	while ((e = catalogue_next_monitor(c, &m)) == OK && v->monitor_count < count) {
		struct vitals_monitor *n = &v->monitors[v->monitor_count++];
		n->id = m.id;
		n->state = m.state;
		snprintf(n->name, sizeof n->name, "%.*s", (int)sizeof n->name - 1, m.name);
		snprintf(n->reason, sizeof n->reason, "%s", m.reason);
	}
	return e == END || e == OK ? OK : e;
}

/* Codes that wait, of monitors that were revoked and of names that are none yet. */
static enum err
vitals_codes(struct catalogue *c, struct vitals *v)
{
	uint64_t now_ns = when_now();
	uint32_t enrolled = v->monitor_count;
	struct ticket_row t;
	enum err e;
	for (bool first = true; (e = catalogue_next_ticket(c, first, &t)) == OK; first = false) {
		struct vitals_monitor *m = v->monitors;
		if (!ticket_holds(&t, now_ns))
			continue;
		while (m < v->monitors + enrolled && strcmp(m->name, t.name) != 0)
			m++;
		if (m == v->monitors + enrolled) {
			if (v->monitor_count == VITALS_MONITORS_MAX)
				break;
			m = &v->monitors[v->monitor_count++];
			m->id = VITALS_INVITED_ID + v->monitor_count;
			m->state = VITALS_INVITED;
			snprintf(m->name, sizeof m->name, "%.*s", (int)sizeof m->name - 1, t.name);
		}
		m->code_expires_ns = t.expires_ns;
	}
	return e == END ? OK : e;
}

/* feeder[stream]: the monitor that feeds it. */
static enum err
vitals_feeds(struct catalogue *c, const struct vitals *v, struct vitals_monitor **feeder)
{
	struct feed_row row = { .stream = 0 };
	enum err e;
	while ((e = catalogue_next_feed(c, false, &row)) == OK) {
		struct vitals_monitor *m = vitals_find(v, row.monitor);
		if (m == NULL || row.stream > STREAMS_MAX)
			continue;
		feeder[row.stream] = m;
		m->seen_ns = row.arrived_ns > m->seen_ns ? row.arrived_ns : m->seen_ns;
		m->last_ns = row.last_ns > m->last_ns ? row.last_ns : m->last_ns;
		m->parcels += row.parcels;
		m->records += row.records;
		feed_sum(&m->lost_kernel, feed_lost(&row, GAP_KERNEL));
		feed_sum(&m->lost_interface, feed_lost(&row, GAP_INTERFACE));
		feed_sum(&m->lost_spool, feed_lost(&row, GAP_SPOOL));
		feed_sum(&m->lost_policy, feed_lost(&row, GAP_POLICY));
		feed_sum(&m->lost_archive, feed_lost(&row, GAP_ARCHIVE));
	}
	return e == END ? OK : e;
}

static struct vitals_monitor *
feeder_of(struct vitals_monitor *const *feeder, uint32_t stream)
{
	return stream <= STREAMS_MAX ? feeder[stream] : NULL;
}

/* What waits in landing files, and the gaps. */
static enum err
vitals_landed(struct catalogue *c, struct vitals *v, struct vitals_monitor *const *feeder)
{
	struct landed_row row = { .stream = 0 };
	struct gap_row gap = { .stream = 0 };
	enum err e;
	while ((e = catalogue_next_landed(c, &row)) == OK) {
		struct vitals_monitor *m = feeder_of(feeder, row.stream);
		v->landed_blocks += row.block_bytes > 0;
		v->landed_bytes += row.front_bytes + (uint64_t)row.block_bytes;
		v->stored_records += row.records;
		if (m == NULL)
			continue;
		m->landed_blocks += row.block_bytes > 0;
		m->stored_records += row.records;
		m->stored_bytes += row.front_bytes + (uint64_t)row.block_bytes;
	}
	while (e == END && (e = catalogue_next_gap(c, &gap)) == OK) {
		struct vitals_monitor *m = feeder_of(feeder, gap.stream);
		if (m)
			m->gaps++;
		e = END;
	}
	return e == END ? OK : e;
}

static enum err
vitals_segments(struct catalogue *c, struct vitals *v, struct vitals_monitor *const *feeder)
{
	struct stream_row stream = { .id = 0 };
	struct catalogue_totals t;
	enum err e;
	while ((e = catalogue_next_stream(c, &stream)) == OK) {
		TRY(catalogue_sum(c, stream.id, &t));
		v->streams++;
		v->segments += t.segments;
		v->stored_records += t.records - t.landed_records;
		v->stored_bytes += t.file_bytes - t.landed_bytes;
		struct vitals_monitor *m = feeder_of(feeder, stream.id);
		if (m == NULL)
			continue;
		m->stored_records += t.records - t.landed_records;
		m->stored_bytes += t.file_bytes - t.landed_bytes;
	}
	return e == END ? OK : e;
}

enum err
monitors_vitals(struct catalogue *c, struct vitals *v)
{
	struct vitals fresh = { 0 };
	struct vitals_monitor **feeder = calloc(STREAMS_MAX + 1, sizeof *feeder);
	enum err e = feeder ? OK : fail(ERR_NOMEM, "no memory for the numbers of monitors");
	if (e == OK)
		e = vitals_monitors(c, &fresh);
	if (e == OK)
		e = vitals_codes(c, &fresh);
	if (e == OK)
		e = vitals_feeds(c, &fresh, feeder);
	if (e == OK)
		e = vitals_segments(c, &fresh, feeder);
	if (e == OK)
		e = vitals_landed(c, &fresh, feeder);
	free(feeder);
	if (e == OK)
		*v = fresh;
	else
		vitals_fini(&fresh);
	return e;
}
