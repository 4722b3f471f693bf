/* /metrics: base/vitals.h as Prometheus text (exposition format 0.0.4). Names are atoll_NAME and atoll_monitor_NAME, the latter
 * with the label monitor="NAME", which has a bounded alphabet; revoked monitors are left out, and when there are more than
 * METRICS_MONITORS_MAX the last ones are (atoll_monitors_left_out says how many). */
#ifndef API_METRICS_H
#define API_METRICS_H

#include <stddef.h>

#include "base/err.h"
#include "base/vitals.h"

#define METRICS_MONITORS_MAX 1000u
#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* malloc'ed, n bytes with a NUL behind. ERR_NOMEM. */
enum err metrics_text(const struct vitals *v, char **text, size_t *n);

#endif
