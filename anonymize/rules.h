/* Rules on single values that need no key, each once: for columns, and for the same fields of inner headers. No I/O, nothing that
 * can fail. */
#ifndef ANONYMIZE_RULES_H
#define ANONYMIZE_RULES_H

#include <stdint.h>

#include "base/when.h"

#define PORT_SYSTEM_END  1024u  /* RFC 6335, section 6: system ports are below, */
#define PORT_DYNAMIC     49152u /* and dynamic ones from here on */

/* What the sender began with: systems begin with 32, 64, 128 or 255, and few paths are longer than 31 hops. */
static inline uint8_t
ttl_bucket(uint8_t ttl)
{
	return ttl <= 32 ? 32 : ttl <= 64 ? 64 : ttl <= 128 ? 128 : 255;
}

/* A system port stays; the first registered or the first dynamic one stands for all others. */
static inline uint16_t
port_bucket(uint16_t port)
{
	return port < PORT_SYSTEM_END ? port : port < PORT_DYNAMIC ? PORT_SYSTEM_END : PORT_DYNAMIC;
}

/* Times of a view: moved, then rounded down. It never turns an order around, and stays within 0 and UINT64_MAX. */
struct time_rule {
	int64_t  shift_ns;
	uint64_t quantum_ns; /* 1.. */
};

static inline uint64_t
time_map(const struct time_rule *r, uint64_t ns)
{
	uint64_t moved;
	if (__builtin_add_overflow(ns, r->shift_ns, &moved))
		moved = r->shift_ns < 0 ? 0 : UINT64_MAX;
	return r->quantum_ns == 1 ? moved : moved - moved % r->quantum_ns;
}

/* The least raw time that is `view` or later in the view; UINT64_MAX also when there is none. */
static inline uint64_t
time_unmap(const struct time_rule *r, uint64_t view)
{
	uint64_t beyond = view % r->quantum_ns, up = beyond ? r->quantum_ns - beyond : 0, raw;
	if (view == 0)
		return 0;
	if (__builtin_add_overflow(view, up, &view))
		return UINT64_MAX;
	if (__builtin_sub_overflow(view, r->shift_ns, &raw))
		raw = r->shift_ns < 0 ? UINT64_MAX : 0;
	return raw;
}

/* The raw times whose times in the view are in [from, until), no others. Without any it is empty: from_ns == until_ns. */
static inline struct span
time_unmap_span(const struct time_rule *r, struct span view)
{
	struct span raw = { time_unmap(r, view.from_ns), view.until_ns == UINT64_MAX ? UINT64_MAX : time_unmap(r, view.until_ns) };
	if (raw.from_ns > raw.until_ns) /* backwards as it came */
		raw.from_ns = raw.until_ns;
	return raw;
}

#endif
