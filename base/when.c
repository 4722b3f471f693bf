#include "base/when.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define DAY_S            86400u
#define FRACTION_DIGITS  9u
#define OFFSET_HOURS_MAX 23u

/* Where the reading stands, and what the time is so far. */
struct scan {
	const char *text, *at;
};

static enum err
wrong(const struct scan *s, const char *why)
{
	return fail(ERR_USAGE, "time \"%.60s\": %s (write 2026-11-21T18:04:05Z, 1763748245.5 or now-6h)", s->text, why);
}

static bool
digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Exactly `digits` digits. */
static bool
fixed(struct scan *s, unsigned digits, unsigned *value)
{
	unsigned v = 0;
	for (unsigned i = 0; i < digits; i++) {
		if (!digit(s->at[i]))
			return false;
		v = v * 10 + (unsigned)(s->at[i] - '0');
	}
	s->at += digits;
	*value = v;
	return true;
}

/* ".5" as nanoseconds; nothing when there is no point. */
static enum err
fraction(struct scan *s, uint64_t *ns)
{
	*ns = 0;
	if (*s->at != '.' && *s->at != ',')
		return OK;
	s->at++;
	unsigned digits = 0;
	for (; digit(s->at[digits]); digits++) {
		if (digits == FRACTION_DIGITS)
			return wrong(s, "more than nine digits of fraction; a nanosecond is the finest");
		*ns = *ns * 10 + (uint64_t)(s->at[digits] - '0');
	}
	if (digits == 0)
		return wrong(s, "no digits after the point");
	s->at += digits;
	for (; digits < FRACTION_DIGITS; digits++)
		*ns *= 10;
	return OK;
}

static bool
leap_year(unsigned year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* Days since 1970-01-01; the year is 1970 or later. */
static uint64_t
days_of(unsigned year, unsigned month, unsigned day)
{
	static const unsigned before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334 };
	uint64_t past = year - 1;
	uint64_t days = past * 365 + past / 4 - past / 100 + past / 400 - 719162u; /* 719,162 days lie before 1970 */
	return days + before[month - 1] + (month > 2 && leap_year(year)) + day - 1;
}

static enum err
date(struct scan *s, uint64_t *days)
{
	static const unsigned lengths[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	unsigned year, month, day;
	if (!fixed(s, 4, &year) || *s->at++ != '-' || !fixed(s, 2, &month) || *s->at++ != '-' || !fixed(s, 2, &day))
		return wrong(s, "a date is YYYY-MM-DD");
	if (month < 1 || month > 12)
		return wrong(s, "the month is not 01 to 12");
	if (day < 1 || day > lengths[month - 1] + (month == 2 && leap_year(year)))
		return wrong(s, "that month has no such day");
	if (year < 1970)
		return wrong(s, "before 1970");
	if (year > 2554)
		return wrong(s, "after 2554");
	*days = days_of(year, month, day);
	return OK;
}

/* "Z", "+02:00", "-0230" or nothing; seconds to take off the local time. */
static enum err
zone(struct scan *s, int64_t *offset_s)
{
	*offset_s = 0;
	if (*s->at == 'Z' || *s->at == 'z') {
		s->at++;
		return OK;
	}
	if (*s->at == '\0')
		return OK;
	if (*s->at != '+' && *s->at != '-')
		return wrong(s, "after the time comes Z or an offset as +02:00; names of zones are not read");
	int64_t sign = *s->at++ == '-' ? -1 : 1;
	unsigned hours, minutes = 0;
	bool good = fixed(s, 2, &hours);
	if (good && *s->at == ':')
		s->at++;
	good = good && fixed(s, 2, &minutes);
	if (!good || hours > OFFSET_HOURS_MAX || minutes > 59)
		return wrong(s, "an offset is +HH:MM or -HH:MM");
	*offset_s = sign * (int64_t)(hours * 3600 + minutes * 60);
	return OK;
}

static enum err
join(const struct scan *s, uint64_t seconds, uint64_t fraction_ns, uint64_t *ns)
{
	if (__builtin_mul_overflow(seconds, (uint64_t)NS_PER_S, &seconds) ||
	    __builtin_add_overflow(seconds, fraction_ns, ns))
		return wrong(s, "after 2554");
	return OK;
}

static enum err
calendar(struct scan *s, uint64_t *ns)
{
	uint64_t days, fraction_ns = 0;
	TRY(date(s, &days));
	uint64_t seconds = days * DAY_S;
	int64_t offset_s = 0;
	if (*s->at == 'T' || *s->at == 't' || *s->at == ' ') {
		s->at++;
		unsigned hour, minute, second = 0;
		if (!fixed(s, 2, &hour) || *s->at++ != ':' || !fixed(s, 2, &minute))
			return wrong(s, "a time of day is HH:MM:SS");
		if (*s->at == ':') {
			s->at++;
			if (!fixed(s, 2, &second))
				return wrong(s, "a time of day is HH:MM:SS");
			TRY(fraction(s, &fraction_ns));
		}
		if (hour > 23 || minute > 59 || second > 60)
			return wrong(s, "no such time of day");
		if (second == 60)
			fraction_ns = 0; /* POSIX time has no leap second: it is the start of the next minute */
		seconds += hour * 3600 + minute * 60 + second;
		TRY(zone(s, &offset_s));
	} else if (*s->at) {
		return wrong(s, "after the date comes T and the time of day");
	}
	if (offset_s > 0 && (uint64_t)offset_s > seconds)
		return wrong(s, "before 1970");
	return join(s, (uint64_t)((int64_t)seconds - offset_s), fraction_ns, ns);
}

static enum err
epoch(struct scan *s, uint64_t *ns)
{
	uint64_t seconds = 0, fraction_ns;
	for (; digit(*s->at); s->at++)
		if (__builtin_mul_overflow(seconds, (uint64_t)10, &seconds) ||
		    __builtin_add_overflow(seconds, (uint64_t)(*s->at - '0'), &seconds))
			return wrong(s, "after 2554");
	TRY(fraction(s, &fraction_ns));
	return join(s, seconds, fraction_ns, ns);
}

static enum err
relative(struct scan *s, uint64_t now_ns, uint64_t *ns)
{
	*ns = now_ns;
	s->at += strlen("now");
	if (*s->at == '\0')
		return OK;
	char sign = *s->at++;
	if ((sign != '-' && sign != '+') || !digit(*s->at))
		return wrong(s, "after now comes - or +, a number and one of s m h d w");
	uint64_t n = 0;
	for (; digit(*s->at); s->at++)
		if (__builtin_mul_overflow(n, (uint64_t)10, &n) || __builtin_add_overflow(n, (uint64_t)(*s->at - '0'), &n))
			return wrong(s, "that is too far from now");
	static const struct {
		char letter;
		uint64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', DAY_S }, { 'w', 7 * (uint64_t)DAY_S } };
	uint64_t seconds = 0;
	for (unsigned i = 0; i < sizeof units / sizeof *units; i++)
		if (units[i].letter == *s->at)
			seconds = units[i].seconds;
	if (seconds == 0)
		return wrong(s, "the unit is one of s m h d w");
	s->at++;
	uint64_t distance;
	if (__builtin_mul_overflow(n, seconds * NS_PER_S, &distance) ||
	    (sign == '-' ? __builtin_sub_overflow(now_ns, distance, ns) : __builtin_add_overflow(now_ns, distance, ns)))
		return wrong(s, "that is too far from now");
	return OK;
}

enum err
when_parse(uint64_t *ns, const char *text, uint64_t now_ns)
{
	struct scan s = { text, text };
	uint64_t value = 0;
	size_t digits = strspn(text, "0123456789");
	if (*text == '\0')
		return wrong(&s, "nothing written");
	if (strncmp(text, "now", 3) == 0)
		TRY(relative(&s, now_ns, &value));
	else if (digits == 4 && text[digits] == '-')
		TRY(calendar(&s, &value));
	else if (digits > 0)
		TRY(epoch(&s, &value));
	else
		return wrong(&s, "not a time");
	if (*s.at)
		return wrong(&s, "something follows the time");
	*ns = value;
	return OK;
}

enum err
span_parse(struct span *span, const char *from, const char *until, uint64_t now_ns)
{
	struct span got = { 0, UINT64_MAX };
	if (from)
		TRY(when_parse(&got.from_ns, from, now_ns));
	if (until)
		TRY(when_parse(&got.until_ns, until, now_ns));
	if (got.from_ns >= got.until_ns)
		return fail(ERR_USAGE, "the range from %.40s until %.40s is empty: from is inside, until is outside, so until "
		                       "must be later", from ? from : "1970-01-01", until ? until : "2554");
	*span = got;
	return OK;
}

/* v in so many digits, and what comes behind. */
static char *
put_digits(char *to, uint32_t v, unsigned digits, char behind)
{
	for (unsigned i = digits; i > 0; i--, v /= 10)
		to[i - 1] = (char)('0' + v % 10);
	to[digits] = behind;
	return to + digits + 1;
}

void
when_format(char out[WHEN_TEXT_BYTES], uint64_t ns)
{
	/* One for each row of a listing: gmtime_r(), strftime() and snprintf() together took 0.6 us. Days to a date as in H.
	 * Hinnant, "chrono-compatible low-level date algorithms": years start in March, day 0 is 0000-03-01. */
	uint32_t seconds = (uint32_t)(ns / NS_PER_S % DAY_S), day = (uint32_t)(ns / NS_PER_S / DAY_S) + 719468;
	uint32_t era = day / 146097, of_era = day % 146097;
	uint32_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint32_t of_year = of_era - (365 * year + year / 4 - year / 100), march = (5 * of_year + 2) / 153;
	uint32_t month = march < 10 ? march + 3 : march - 9;
	char *at = put_digits(out, year + era * 400 + (month <= 2), 4, '-');
	at = put_digits(at, month, 2, '-');
	at = put_digits(at, of_year - (153 * march + 2) / 5 + 1, 2, 'T');
	at = put_digits(at, seconds / 3600, 2, ':');
	at = put_digits(at, seconds / 60 % 60, 2, ':');
	at = put_digits(at, seconds % 60, 2, '.');
	at = put_digits(at, (uint32_t)(ns % NS_PER_S), FRACTION_DIGITS, 'Z');
	*at = 0;
}

uint64_t
when_now(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t
when_steady(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}
