/* Points in time and half-open ranges [from, until), as people write them. A time is nanoseconds since 1970-01-01T00:00:00Z
 * without leap seconds, in 64 unsigned bits: up to 2554-07-21. No call here looks at the local time zone. */
#ifndef BASE_WHEN_H
#define BASE_WHEN_H

#include <stdint.h>

#include "base/err.h"

#define WHEN_TEXT_BYTES 32 /* 2026-11-21T18:04:05.123456789Z and the NUL */
#define NS_PER_S        1000000000u

struct span {
	uint64_t from_ns;  /* inside */
	uint64_t until_ns; /* outside; UINT64_MAX: no end */
};

/* Reads one of these:
 *   2026-11-21T18:04:05.123456789+02:00   RFC 3339; T may be a blank, seconds and their fraction may be missing, a missing
 *                                         zone is UTC, second 60 (a leap second) is second 0 of the next minute
 *   2026-11-21                            midnight UTC
 *   1763748245.5                          seconds since 1970, up to nine digits of fraction
 *   now, now-6h, now+5m                   s m h d w, relative to now_ns
 * ERR_USAGE: the sentence quotes the text and says what is wrong with it; *ns is unchanged. */
enum err when_parse(uint64_t *ns, const char *text, uint64_t now_ns);

/* Both ends; NULL is open (0, UINT64_MAX). ERR_USAGE as when_parse, and when the range is empty or backwards. */
enum err span_parse(struct span *span, const char *from, const char *until, uint64_t now_ns);

/* 2026-11-21T18:04:05.123456789Z, always UTC, always nine digits; UINT64_MAX (no end) too is written as the time it is. */
void when_format(char out[WHEN_TEXT_BYTES], uint64_t ns);

/* The clock, ns since 1970. */
uint64_t when_now(void);
uint64_t when_steady(void); /* ns of a clock that is never set; since when is not said */

#endif
