#include "query/epochs.h"

#include <sodium.h>
#include <stdlib.h>

#include "anonymize/key_epoch.h"
#include "archive/packet_view.h"

#define MASTER_LABEL "anonymization"

struct epochs {
	struct archive *archive;
	struct asked asked;
	struct policy policy;     /* asked.policy points here, or is NULL */
	struct filter *all;       /* of whole */
	struct plan *whole;       /* NULL without a policy: plan is the same */
	uint64_t at;              /* captured time from which on epochs were not looked at yet */
	struct view *view;
	struct filter *filter;
	struct plan *plan;
	uint64_t missing, missing_before; /* when epochs were left; of plan, when it was opened */
};

static struct time_rule
time_rule_of(const struct view *v)
{
	return view_packets(v)->time;
}

static enum err
open_view(const struct epochs *x, uint64_t captured_ns, struct view **out)
{
	uint8_t *master = sodium_malloc(VIEW_MASTER_BYTES);
	if (!master)
		return fail(ERR_NOMEM, "out of memory");
	keystore_derive(archive_keystore(x->archive), MASTER_LABEL, master);
	enum err e = view_open(out, &x->policy, key_epoch_of(x->policy.key_epoch, captured_ns), master);
	sodium_free(master); /* wipes */
	return e;
}

static enum err
open_plan(const struct epochs *x, struct span captured, const struct filter *f, const struct view *v, struct plan **out)
{
	struct request r = { x->asked.streams, x->asked.stream_count, captured, f, v };
	return plan_open(out, x->archive, &r);
}

/* --- one epoch --- */

static void
leave(struct epochs *x)
{
	if (x->plan)
		x->missing += plan_counts(x->plan)->segments_missing - x->missing_before;
	plan_close(&x->plan);
	filter_close(&x->filter);
	view_close(&x->view);
}

static struct span
common(struct span a, struct span b)
{
	struct span both = {
		a.from_ns > b.from_ns ? a.from_ns : b.from_ns,
		a.until_ns < b.until_ns ? a.until_ns : b.until_ns,
	};
	if (both.from_ns > both.until_ns)
		both.from_ns = both.until_ns;
	return both;
}

/* The one that this captured time is in. */
static enum err
enter(struct epochs *x, uint64_t captured_ns)
{
	struct span captured = x->asked.span;
	leave(x);
	if (x->asked.policy) {
		struct span epoch = key_epoch_span(x->policy.key_epoch, captured_ns);
		TRY(open_view(x, captured_ns, &x->view));
		captured = common(epoch, view_unmap_span(x->view, x->asked.span));
		x->at = epoch.until_ns;
	}
	enum err e = filter_open(&x->filter, x->asked.filter, x->view);
	if (e == ERR_LIMIT)
		return ERR_USAGE; /* with its sentence: who asks can make it shorter */
	TRY(e);
	TRY(open_plan(x, captured, x->filter, x->view, &x->plan));
	x->missing_before = plan_counts(x->plan)->segments_missing;
	return OK;
}

/* The first time at or after x->at at which there may be records; UINT64_MAX: none. */
static uint64_t
next_time(const struct epochs *x)
{
	uint64_t next = UINT64_MAX;
	uint32_t stream;
	const struct segment_row *row;
	for (uint32_t i = 0; (row = plan_source(x->whole, i, &stream)); i++) {
		uint64_t first = row->first_ns > row->hidden_until_ns ? row->first_ns : row->hidden_until_ns;
		first = first > x->at ? first : x->at;
		if (first <= row->last_ns && first < next)
			next = first;
	}
	return next;
}

enum err
epochs_next(struct epochs *x)
{
	struct span extent;
	if (!x->asked.policy || x->at == UINT64_MAX)
		return END;
	do {
		uint64_t time = next_time(x);
		if (time == UINT64_MAX)
			return END;
		TRY(enter(x, time));
	} while (!plan_extent(x->plan, &extent) && x->at != UINT64_MAX);
	return OK;
}

/* --- all --- */

/* Secret and of each epoch: then times of two epochs have nothing to do with each other. */
static bool
times_differ(const struct policy *p)
{
	return p->time_shift == POLICY_SECRET && p->key_epoch != POLICY_ALL;
}

static enum err
open_policy(struct epochs *x)
{
	struct span captured = { 0, UINT64_MAX };
	if (times_differ(&x->policy) && (x->asked.span.from_ns != 0 || x->asked.span.until_ns != UINT64_MAX))
		return fail(ERR_USAGE, "the policy moves times by another secret amount in each %s, so that no range of time can be "
		            "asked for: leave out --from and --until, or let it say `epoch = all` in [key]",
		            x->policy.key_epoch == POLICY_DAY ? "day" : "month");
	TRY(filter_open(&x->all, NULL, NULL));
	TRY(enter(x, 0)); /* also to see whether policy and filter are good, when there are no records at all */
	if (!times_differ(&x->policy))
		captured = view_unmap_span(x->view, x->asked.span);
	TRY(open_plan(x, captured, x->all, NULL, &x->whole));
	x->missing = plan_counts(x->whole)->segments_missing;
	x->at = captured.from_ns;
	enum err e = epochs_next(x);
	return e == END ? OK : e;
}

enum err
epochs_open(struct epochs **out, struct archive *a, const struct asked *asked)
{
	struct epochs *x = calloc(1, sizeof *x);
	if (!x)
		return fail(ERR_NOMEM, "out of memory");
	x->archive = a;
	x->asked = *asked;
	if (asked->policy) {
		x->policy = *asked->policy;
		x->asked.policy = &x->policy;
	}
	enum err e = asked->policy ? open_policy(x) : enter(x, 0);
	if (e != OK) {
		epochs_close(&x);
		return e;
	}
	*out = x;
	return OK;
}

void
epochs_close(struct epochs **x)
{
	if (!*x)
		return;
	leave(*x);
	plan_close(&(*x)->whole);
	filter_close(&(*x)->all);
	free(*x);
	*x = NULL;
}

struct plan *
epochs_plan(const struct epochs *x)
{
	return x->plan;
}

const struct filter *
epochs_filter(const struct epochs *x)
{
	return x->filter;
}

const struct view *
epochs_view(const struct epochs *x)
{
	return x->view;
}

const struct plan *
epochs_whole(const struct epochs *x)
{
	return x->whole ? x->whole : x->plan;
}

uint64_t
epochs_missing(const struct epochs *x)
{
	uint64_t now = plan_counts(x->plan)->segments_missing;
	return x->whole ? x->missing + now - x->missing_before : now;
}

/* --- what is missing --- */

struct telling {
	struct epochs *x;
	enum err (*see)(void *arg, const struct epochs_gap *gap);
	void *arg;
	struct view *view; /* of the gap before, where each epoch has times of its own */
	uint64_t epoch;
};

static enum err
rule_for(struct telling *t, uint64_t captured_ns, struct time_rule *rule)
{
	const struct epochs *x = t->x;
	*rule = (struct time_rule){ .quantum_ns = 1 };
	if (!x->view)
		return OK;
	*rule = time_rule_of(x->view);
	if (!times_differ(&x->policy))
		return OK;
	uint64_t epoch = key_epoch_of(x->policy.key_epoch, captured_ns);
	if (!t->view || t->epoch != epoch) {
		view_close(&t->view);
		TRY(open_view(x, captured_ns, &t->view));
		t->epoch = epoch;
	}
	*rule = time_rule_of(t->view);
	return OK;
}

static enum err
tell_gap(struct telling *t, const struct gap_row *row, const char *stream)
{
	struct time_rule rule;
	TRY(rule_for(t, row->first_ns, &rule));
	struct epochs_gap gap = { .stream = stream, .cause = row->cause, .packets = row->records };
	gap.span.from_ns = time_map(&rule, row->first_ns);
	if (__builtin_add_overflow(time_map(&rule, row->last_ns), rule.quantum_ns, &gap.span.until_ns))
		gap.span.until_ns = UINT64_MAX;
	return t->see(t->arg, &gap);
}

static enum err
tell_gaps(struct telling *t, struct catalogue *c)
{
	const struct plan *whole = epochs_whole(t->x);
	const struct plan_stream *streams;
	unsigned n = plan_streams(whole, &streams);
	for (unsigned i = 0; i < n; i++) {
		struct gap_row row = { 0 };
		enum err e;
		while ((e = losses_next(c, streams[i].id, &plan_request(whole)->span, &row)) == OK)
			TRY(tell_gap(t, &row, streams[i].name));
		if (e != END)
			return e;
	}
	return OK;
}

enum err
epochs_gaps(struct epochs *x, enum err (*see)(void *arg, const struct epochs_gap *gap), void *arg)
{
	struct telling t = { .x = x, .see = see, .arg = arg };
	struct catalogue *c = archive_catalogue(x->archive);
	TRY(catalogue_begin(c));
	enum err e = tell_gaps(&t, c);
	catalogue_end(c);
	view_close(&t.view);
	return e == END ? OK : e;
}
