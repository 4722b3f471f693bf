/* How far a long command is, on stderr: one line that is rewritten ten times a second on a terminal, elsewhere a plain line
 * at most every ten seconds. Not thread-safe: one thread steps. */
#ifndef BASE_PROGRESS_H
#define BASE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what, *unit; /* "import x.pcap", "packets"; borrowed. NULL: bytes, shown as sizes */
	uint64_t total;          /* of what progress_step's done counts (bytes, say); 0: not known, no ETA */
	uint64_t began_ns, shown_ns;
	bool     quiet, terminal, shown;
};

void progress_init(struct progress *p, const char *what, const char *unit, uint64_t total, bool quiet);
/* done of total, and the items of `unit` so far. Cheap: reads the clock, prints when it is time. */
void progress_step(struct progress *p, uint64_t done, uint64_t items);
/* Takes the line off the terminal again. */
void progress_fini(struct progress *p);

#endif
