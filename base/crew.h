/* A crew: workers that take items one at a time, work on them side by side, and deliver them one at a time in the order in
 * which they were taken, so that the outcome does not depend on how many workers there are.
 *
 *     take       one worker at a time: the next item, into that worker's own place
 *     work       all workers at once, each on its own item
 *     deliver    one worker at a time, in the order of taking
 *
 * A worker holds one item from taking it to delivering it: there are never more items than workers, and no queue. take and
 * deliver of different workers may run at the same time: what both touch has a lock of the caller's.
 *
 * The caller's thread is worker 0. A thread that can not be started is done without.
 */
#ifndef BASE_CREW_H
#define BASE_CREW_H

#include "base/err.h"

struct crew_work {
	/* END: there are no more items. An error ends the taking too; what was taken before is still delivered. */
	enum err (*take)(void *arg, unsigned worker);
	enum err (*work)(void *arg, unsigned worker);
	/* outcome is what work gave, err_text() its sentence. OK goes on, END stops, an error stops and is the crew's: nothing is
	 * delivered after either, and an item that was taken and not delivered stays in its worker's place. */
	enum err (*deliver)(void *arg, unsigned worker, enum err outcome);
	void *arg;
};

/* Returns when all workers have ended: OK, or the first error of deliver, else that of take, with its sentence. workers:
 * 1..CREW_MAX. */
enum err crew_run(unsigned workers, const struct crew_work *work);

/* 0 asked: as many as there are processors; at most CREW_MAX. */
unsigned crew_size(unsigned asked);

#endif
