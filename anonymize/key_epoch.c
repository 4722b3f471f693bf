#include "anonymize/key_epoch.h"

#include <time.h>

#define NS_PER_DAY (86400ull * NS_PER_S)

/* The first of a month, counted from 1970. */
static uint64_t
month_start(uint64_t month)
{
	struct tm tm = { .tm_year = 70 + (int)(month / 12), .tm_mon = (int)(month % 12), .tm_mday = 1 };
	uint64_t ns;
	return __builtin_mul_overflow((uint64_t)timegm(&tm), (uint64_t)NS_PER_S, &ns) ? UINT64_MAX : ns;
}

uint64_t
key_epoch_of(enum policy_rule rule, uint64_t captured_ns)
{
	if (rule == POLICY_ALL)
		return 0;
	if (rule == POLICY_DAY)
		return captured_ns / NS_PER_DAY;
	time_t seconds = (time_t)(captured_ns / NS_PER_S);
	struct tm tm;
	gmtime_r(&seconds, &tm);
	return (uint64_t)(tm.tm_year - 70) * 12 + (uint64_t)tm.tm_mon;
}

struct span
key_epoch_span(enum policy_rule rule, uint64_t captured_ns)
{
	uint64_t epoch = key_epoch_of(rule, captured_ns), end;
	if (rule == POLICY_ALL)
		return (struct span){ 0, UINT64_MAX };
	if (rule == POLICY_MONTH)
		return (struct span){ month_start(epoch), month_start(epoch + 1) };
	end = epoch + 1;
	return (struct span){ epoch * NS_PER_DAY, end > UINT64_MAX / NS_PER_DAY ? UINT64_MAX : end * NS_PER_DAY };
}
