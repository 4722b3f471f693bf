/* The options that choose records and what is shown of them, shared by query, export and policy try: --from, --until, --stream,
 * --filter, --jobs; --policy, --dataset, --recipient. */
#ifndef TOOLS_SELECTORS_H
#define TOOLS_SELECTORS_H

#include "base/json.h"
#include "base/options.h"
#include "base/progress.h"
#include "query/epochs.h"
#include "query/scan.h"

#define SELECTOR_OPTIONS                                                                                       \
	{ "from", 0, OPTION_TEXT, "T", NULL, "from this time on: RFC 3339, epoch seconds, now-6h" },           \
	{ "until", 0, OPTION_TEXT, "T", NULL, "up to, not including, this time" },                             \
	{ "stream", 's', OPTION_LIST, "NAME", NULL, "only this stream" },                  \
	{ "filter", 'f', OPTION_TEXT, "EXPR", NULL, "pcap-filter expression: \"tcp port 443 and net 10.0.0.0/8\"" }, \
	{ "jobs", 'j', OPTION_COUNT, "N", NULL, "threads (default: one for each processor)" },              \
	{ "dataset", 0, OPTION_TEXT, "NAME", NULL, "under a policy that does not name it: pseudonyms of two datasets differ" }, \
	{ "recipient", 0, OPTION_TEXT, "NAME", NULL, "under a policy that wants one: each recipient gets pseudonyms of their own" }
#define POLICY_OPTION \
	{ "policy", 0, OPTION_TEXT, "P", NULL, "show what this policy shows: a name (atoll policy ls) or a file" }

#define NOTICES_MAX 20u /* sentences about damage that are shown */

struct selected {
	struct archive *archive;
	struct epochs *epochs;
	struct plan *plan;             /* of the present epoch, as filter */
	const struct filter *filter;
	struct policy policy;
	bool viewed;                   /* under this policy */
	struct span span;              /* as it is shown */
	uint64_t records_before;       /* counts.records when this epoch began */
	unsigned jobs;
	struct scan_counts counts;
	unsigned notices;
	char last_notice[ERR_TEXT_BYTES];
	struct progress progress;
	bool quiet, streams;           /* streams: some were named */
	const char *verb;
};

/* Reads the policy if there is one (NULL: the owner's view), opens the archive, compiles the filter, makes the plan. Refuses a
 * policy with guards that are not kept here. ERR_USAGE, and what policy_load(), archive_open() and epochs_open() give. */
enum err selected_open(struct selected *s, const struct given *g, const char *policy, const char *verb);
/* Goes on to the next epoch of keys (query/epochs.h); END: that was the last one. */
enum err selected_next(struct selected *s);
void     selected_close(struct selected *s);
/* On stderr unless quiet: the resolved time range, when one was asked for. */
void     selected_echo(const struct selected *s);
/* For the sinks, arg: struct selected. A sentence on stderr (NOTICES_MAX of them); the progress line. */
void     selected_notice(void *arg, const char *sentence);
void     selected_step(void *arg, uint64_t blocks, uint64_t records);
/* After the answer: a warning on stderr when something is missing in the range, which the archive never had. Then ERR_PARTIAL
 * with a sentence when something could not be read; ERR_ABSENT when nothing was found, ERR_USAGE when the filter is not for the
 * link type of what lies there; OK. */
enum err selected_outcome(struct selected *s, bool found);
/* "from" and "until" as RFC 3339, null where open. */
void     selected_json(const struct selected *s, struct json *j);
/* "gaps": what is missing in the range, by cause. */
void     selected_losses_json(const struct selected *s, struct json *j);

#endif
