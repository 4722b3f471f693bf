#include "base/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/human.h"

#define TERMINAL_EVERY_NS 100000000ull
#define PLAIN_EVERY_NS    10000000000ull

static uint64_t
steady_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void
progress_init(struct progress *p, const char *what, const char *unit, uint64_t total, bool quiet)
{
	const char *terminal = getenv("TERM");
	*p = (struct progress){
		.what = what,
		.unit = unit,
		.total = total,
		.began_ns = steady_ns(),
		.quiet = quiet,
		.terminal = isatty(STDERR_FILENO) && terminal && strcmp(terminal, "dumb") != 0,
	};
	p->shown_ns = p->began_ns;
}

void
progress_step(struct progress *p, uint64_t done, uint64_t items)
{
	if (p->quiet)
		return;
	uint64_t now = steady_ns();
	if (now - p->shown_ns < (p->terminal ? TERMINAL_EVERY_NS : PLAIN_EVERY_NS))
		return;
	p->shown_ns = now;
	p->shown = true;
	double seconds = (double)(now - p->began_ns) / 1e9;
	char what[64], count[HUMAN_BYTES], rate[HUMAN_BYTES], left[HUMAN_BYTES], share[64] = "", eta[64] = "";
	if (p->total > 0 && done <= p->total) {
		snprintf(share, sizeof share, " %.0f %%,", 100.0 * (double)done / (double)p->total);
		if (done > 0)
			snprintf(eta, sizeof eta, ", %s left",
			         human_duration(left, seconds * (double)(p->total - done) / (double)done));
	}
	fprintf(stderr, "%s%s:%s ", p->terminal ? "\r\033[K" : "", human_text(what, sizeof what, p->what), share);
	if (p->unit)
		fprintf(stderr, "%s %s, %s/s", human_count(count, items), p->unit, human_rough(rate, (double)items / seconds));
	else
		fprintf(stderr, "%s, %s/s", human_size(count, items), human_size(rate, (uint64_t)((double)items / seconds)));
	fprintf(stderr, "%s%s", eta, p->terminal ? "" : "\n");
	fflush(stderr);
}

void
progress_fini(struct progress *p)
{
	if (p->shown && p->terminal)
		fputs("\r\033[K", stderr);
	p->shown = false;
}
