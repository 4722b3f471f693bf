#include "tools/selectors.h"

#include <stdio.h>
#include <string.h>

#include "base/human.h"
#include "tools/verbs.h"

/* --- the policy --- */

/* The name that the option gives where the policy has none. */
static enum err
given_name(char name[POLICY_NAME_BYTES], const struct given *g, const char *option)
{
	const char *text = given_text(g, option, NULL);
	if (!text)
		return OK;
	if (name[0] && strcmp(name, text) != 0)
		return fail(ERR_USAGE, "--%s %s: the policy itself says %s; leave one of them out", option, text, name);
	return policy_name_parse(name, text, option);
}

/* What a guard asks for and is not done must not pass for done. */
static enum err
refuse_guards(const struct policy *p)
{
	if (p->guards_prefix_hosts)
		return fail(ERR_UNSUPPORTED, "the policy asks for prefix_hosts = %llu, which this version can not keep yet: nothing is "
		            "shown; set it to 0 if the dataset may do without", (unsigned long long)p->guards_prefix_hosts);
	if (p->guards_scanners == POLICY_DROP)
		return fail(ERR_UNSUPPORTED, "the policy asks for scanners = drop, which this version can not keep yet: nothing is "
		            "shown; set it to keep if the dataset may do without");
	return OK;
}

static enum err
given_policy(struct policy *p, const struct given *g, const char *name)
{
	TRY(policy_load(p, name, NULL, NULL));
	TRY(refuse_guards(p));
	TRY(given_name(p->key_dataset.s, g, "dataset"));
	if (!p->key_dataset.s[0])
		return fail(ERR_USAGE, "say which dataset this is for: --dataset NAME; pseudonyms of two datasets are different");
	if (p->key_shared == POLICY_YES && given_text(g, "recipient", NULL))
		return fail(ERR_USAGE, "--recipient: under this policy all recipients share their pseudonyms (shared = yes); leave it out");
	TRY(given_name(p->key_recipient.s, g, "recipient"));
	if (p->key_shared != POLICY_YES && !p->key_recipient.s[0])
		return fail(ERR_USAGE, "say whom this is for: --recipient NAME; under this policy each recipient gets pseudonyms of their own");
	return OK;
}

/* --- */

static void
look_at_epoch(struct selected *s)
{
	s->plan = epochs_plan(s->epochs);
	s->filter = epochs_filter(s->epochs);
	s->records_before = s->counts.records;
}

static enum err
open_epochs(struct selected *s, const struct given *g)
{
	struct asked asked = { .span = s->span, .filter = given_text(g, "filter", NULL), .policy = s->viewed ? &s->policy : NULL };
	asked.stream_count = given_list(g, "stream", &asked.streams);
	s->streams = asked.stream_count > 0;
	TRY(epochs_open(&s->epochs, s->archive, &asked));
	look_at_epoch(s);
	return OK;
}

enum err
selected_open(struct selected *s, const struct given *g, const char *policy, const char *verb)
{
	*s = (struct selected){ .jobs = (unsigned)given_count(g, "jobs", 0), .verb = verb, .quiet = given_flag(g, "quiet") };
	TRY(span_parse(&s->span, given_text(g, "from", NULL), given_text(g, "until", NULL), when_now()));
	s->viewed = policy != NULL;
	if (policy)
		TRY(given_policy(&s->policy, g, policy));
	else if (given_text(g, "dataset", NULL) || given_text(g, "recipient", NULL))
		return fail(ERR_USAGE, "--dataset and --recipient go with --policy");
	TRY(given_archive(&s->archive, g, ARCHIVE_READ));
	enum err e = open_epochs(s, g);
	if (e != OK) {
		selected_close(s);
		return e;
	}
	progress_init(&s->progress, verb, "packets", 0, s->quiet);
	return OK;
}

enum err
selected_next(struct selected *s)
{
	TRY(epochs_next(s->epochs));
	look_at_epoch(s);
	return OK;
}

void
selected_close(struct selected *s)
{
	epochs_close(&s->epochs);
	archive_close(&s->archive);
}

static void
end_text(char out[WHEN_TEXT_BYTES], uint64_t ns, bool open)
{
	if (open)
		snprintf(out, WHEN_TEXT_BYTES, "..");
	else
		when_format(out, ns);
}

void
selected_echo(const struct selected *s)
{
	char from[WHEN_TEXT_BYTES], until[WHEN_TEXT_BYTES];
	if (s->quiet || (s->span.from_ns == 0 && s->span.until_ns == UINT64_MAX))
		return;
	end_text(from, s->span.from_ns, s->span.from_ns == 0);
	end_text(until, s->span.until_ns, s->span.until_ns == UINT64_MAX);
	fprintf(stderr, "range [%s, %s)\n", from, until);
}

void
selected_json(const struct selected *s, struct json *j)
{
	report_time(j, "from", s->span.from_ns, s->span.from_ns != 0);
	report_time(j, "until", s->span.until_ns, s->span.until_ns != UINT64_MAX);
}

void
selected_notice(void *arg, const char *sentence)
{
	struct selected *s = arg;
	/* Windows of a merge see the same damage again; and a ruined archive has thousands of blocks. */
	if (strcmp(sentence, s->last_notice) == 0 || s->notices > NOTICES_MAX)
		return;
	snprintf(s->last_notice, sizeof s->last_notice, "%s", sentence);
	progress_fini(&s->progress);
	if (s->notices++ == NOTICES_MAX) {
		fprintf(stderr, "atoll %s: more of these are not shown; atoll fsck names them all\n", s->verb);
		return;
	}
	fprintf(stderr, "atoll %s: %s\n", s->verb, sentence);
}

void
selected_step(void *arg, uint64_t blocks, uint64_t records)
{
	(void)blocks;
	struct selected *s = arg;
	uint64_t done = plan_progress(s->plan, s->counts.records - s->records_before, &s->progress.total);
	struct span whole, now;
	if (s->viewed && s->policy.key_epoch != POLICY_ALL && plan_extent(epochs_whole(s->epochs), &whole) && plan_extent(s->plan, &now)) {
		/* Many plans: in time. */
		s->progress.total = whole.until_ns - whole.from_ns;
		done = now.from_ns - whole.from_ns;
	}
	progress_step(&s->progress, done, records);
}

void
selected_losses_json(const struct selected *s, struct json *j)
{
	const struct losses *l = plan_losses(epochs_whole(s->epochs));
	json_object(j, "gaps");
	json_u64(j, "count", l->gaps);
	json_u64(j, "packets", l->packets);
	for (enum gap_cause cause = GAP_KERNEL; cause < GAP_CAUSES; cause++)
		json_u64(j, gap_cause_name(cause), l->by_cause[cause]);
	json_end(j);
}

/* As the shell wants it, from the options that this verb was given. */
static void
print_ls_gaps(const struct selected *s)
{
	char when[WHEN_TEXT_BYTES], name[STREAM_NAME_BYTES];
	const struct plan_stream *streams;
	unsigned n = plan_streams(epochs_whole(s->epochs), &streams);
	fputs("`atoll ls gaps", stderr);
	for (unsigned i = 0; i < n && s->streams; i++)
		fprintf(stderr, " -s %s", human_text(name, sizeof name, streams[i].name));
	/* Times of a view are not those that `ls gaps` takes. */
	if (s->span.from_ns != 0 && !s->viewed)
		when_format(when, s->span.from_ns), fprintf(stderr, " --from %s", when);
	if (s->span.until_ns != UINT64_MAX && !s->viewed)
		when_format(when, s->span.until_ns), fprintf(stderr, " --until %s", when);
	fputs("` lists them\n", stderr);
}

static void
warn_of_losses(const struct selected *s)
{
	const struct losses *l = plan_losses(epochs_whole(s->epochs));
	char text[HUMAN_BYTES];
	const char *between = "";
	if (l->gaps == 0)
		return;
	fprintf(stderr, "atoll %s: warning: %s gap%s in the range: ", s->verb, human_count(text, l->gaps), l->gaps == 1 ? "" : "s");
	fprintf(stderr, "%s packets lost (", human_count(text, l->packets));
	for (enum gap_cause cause = GAP_KERNEL; cause < GAP_CAUSES; cause++)
		if (l->by_cause[cause]) {
			fprintf(stderr, "%s%s %s", between, gap_cause_name(cause), human_count(text, l->by_cause[cause]));
			between = ", ";
		}
	fputs("); ", stderr);
	print_ls_gaps(s);
}

/* --- a filter that is not for what is there --- */

struct refusals {
	struct selected *selected;
	struct scan_counts counts;
	uint64_t told;
};

static enum err
pass_over(void *arg, unsigned worker, const struct scan_block *b)
{
	(void)arg, (void)worker, (void)b;
	return OK;
}

/* Of a block that the index had ruled out it does not matter whether it can be read. */
static void
notice_refusal(void *arg, const char *sentence)
{
	struct refusals *r = arg;
	if (r->counts.refused > r->told)
		selected_notice(r->selected, sentence);
	r->told = r->counts.refused;
}

/* The index rules out blocks without a look at their link types. When nothing was found, and the filter is refused for some, looks
 * at these: so that the answer is the same with and without the index. Of several epochs at those of the last. */
static enum err
find_refusals(struct selected *s)
{
	const struct plan_counts *c = plan_counts(s->plan);
	struct refusals r = { .selected = s };
	struct scan_sink sink = { .deliver = pass_over, .notice = notice_refusal, .arg = &r };
	struct request request = *plan_request(s->plan);
	struct filter *all = NULL;
	struct plan *plan = NULL;
	bool choosy = false;
	if (c->segments_by_address + c->blocks_by_index > 0)
		TRY(filter_is_choosy(s->filter, &choosy));
	if (!choosy)
		return OK;
	TRY(filter_open(&all, NULL, NULL));
	request.filter = all;
	enum err e = plan_open(&plan, s->archive, &request);
	if (e == OK)
		e = scan_run(plan, s->filter, s->jobs, &sink, &r.counts);
	plan_close(&plan);
	filter_close(&all);
	s->counts.refused += r.counts.refused;
	return e;
}

enum err
selected_outcome(struct selected *s, bool found)
{
	warn_of_losses(s);
	uint64_t missing = epochs_missing(s->epochs);
	if (s->counts.damaged || missing)
		return fail(ERR_PARTIAL,
		            "the answer is incomplete: %llu segments are missing, %llu segments or blocks could not be read: "
		            "atoll fsck names them",
		            (unsigned long long)missing, (unsigned long long)s->counts.damaged);
	if (!found && !s->counts.refused)
		TRY(find_refusals(s));
	if (s->counts.refused && !found)
		return fail(ERR_USAGE, "%s", s->last_notice);
	if (s->counts.refused)
		return fail(ERR_PARTIAL, "the filter is not for the link type of some records; they do not match");
	return found ? OK : fail(ERR_ABSENT, "no packets there");
}
