/* Whether the machine's clock is believed, by whom it matters to: what a clock that is years ahead calls old would be gone for
 * good, keys and all.
 *
 * DIR/clock holds the time up to which the clock was believed last. A clock that is not more than CLOCK_AHEAD_NS ahead of that,
 * plus the time that the server ran since, is believed; one that is, or when nothing is known yet, as soon as
 * somebody else says so: a monitor whose own clock agrees, or the operator. A clock that is behind makes nothing old.
 */
#ifndef INDEX_CLOCK_H
#define INDEX_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

#define CLOCK_AHEAD_NS  86400000000000ull
#define CLOCK_AGREES_NS 3600000000000ull /* a monitor's clock is not further off than this */

struct clock_trust {
	char     path[PATH_BYTES], temp[PATH_BYTES];
	bool     known;
	int64_t  ahead_ns; /* of the steady clock, when it was believed: the largest */
	uint64_t kept_ns;  /* what the file says; 0: to be written */
};

/* wall: ns since 1970; steady: of a clock that goes on while the machine sleeps. A file that is not there or can not be read is
 * as good as none. ERR_LIMIT: the path is too long. */
enum err clock_open(struct clock_trust *t, const char *dir, uint64_t steady_ns);
/* Somebody else says that it is right. */
void     clock_confirm(struct clock_trust *t, uint64_t wall_ns, uint64_t steady_ns);
/* Whether it is believed. */
bool     clock_believed(struct clock_trust *t, uint64_t wall_ns, uint64_t steady_ns);
/* Writes down, once an hour, that it was believed. Not made durable: at worst somebody has to say so once more. */
enum err clock_keep(struct clock_trust *t, uint64_t wall_ns);

#endif
