/* The options that choose records, shared by query and export: --from, --until, --stream, --filter, --jobs. */
#ifndef TOOLS_SELECTORS_H
#define TOOLS_SELECTORS_H

#include "base/json.h"
#include "base/options.h"
#include "base/progress.h"
#include "query/plan.h"
#include "query/scan.h"

#define SELECTOR_OPTIONS                                                                                       \
	{ "from", 0, OPTION_TEXT, "T", NULL, "from this time on: RFC 3339, epoch seconds, now-6h" },           \
	{ "until", 0, OPTION_TEXT, "T", NULL, "up to, not including, this time" },                             \
	{ "stream", 's', OPTION_LIST, "NAME", NULL, "only this stream" },                  \
	{ "filter", 'f', OPTION_TEXT, "EXPR", NULL, "pcap-filter expression: \"tcp port 443 and net 10.0.0.0/8\"" }, \
	{ "jobs", 'j', OPTION_COUNT, "N", NULL, "threads (default: one for each processor)" }

#define NOTICES_MAX 20u /* sentences about damage that are shown */

struct selected {
	struct archive *archive;
	struct filter *filter;
	struct plan *plan;
	struct request request;
	struct span span;
	unsigned jobs;
	struct scan_counts counts;
	unsigned notices;
	char last_notice[ERR_TEXT_BYTES];
	struct progress progress;
	bool quiet, streams;           /* streams: some were named */
	const char *verb;
};

/* Opens the archive, compiles the filter, makes the plan. ERR_USAGE, and what archive_open() and plan_open() give. */
enum err selected_open(struct selected *s, const struct given *g, const char *verb);
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
