#include "base/amount.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct unit {
	const char *name;
	uint64_t    of;
};

/* Printed with the largest that divides: the smallest comes first. */
static const struct unit sizes[] = {
	{ "B", 1 },          { "kB", 1000 },          { "KiB", 1u << 10 },     { "MB", 1000000 },        { "MiB", 1u << 20 },
	{ "GB", 1000000000 }, { "GiB", 1u << 30 },     { "TB", 1000000000000 }, { "TiB", 1ull << 40 },
	{ "PB", 1000000000000000 }, { "PiB", 1ull << 50 }, { NULL, 0 },
};

#define SECOND_NS 1000000000ull
static const struct unit durations[] = {
	{ "ns", 1 },         { "us", 1000 },          { "ms", 1000000 },       { "s", SECOND_NS },       { "m", 60 * SECOND_NS },
	{ "h", 3600 * SECOND_NS }, { "d", 86400 * SECOND_NS }, { "w", 604800 * SECOND_NS }, { NULL, 0 },
};

/* The number and its unit; *unit NULL: none was given. False: not of that shape, or too large. */
static bool
amount_parse(uint64_t *value, const char *text, const struct unit *units, const struct unit **unit)
{
	const char *at = text;
	uint64_t v = 0;
	for (; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(v, 10u, &v) || __builtin_add_overflow(v, (uint64_t)(*at - '0'), &v))
			return false;
	if (at == text)
		return false;
	*unit = NULL;
	*value = v;
	if (*at == 0)
		return true;
	if (*at == ' ')
		at++;
	for (const struct unit *u = units; u->name; u++)
		if (strcmp(at, u->name) == 0) {
			*unit = u;
			return !__builtin_mul_overflow(v, u->of, value);
		}
	return false;
}

enum err
size_parse(uint64_t *bytes, const char *text, const char *what)
{
	const struct unit *unit;
	uint64_t v;
	if (!amount_parse(&v, text, sizes, &unit))
		return fail(ERR_USAGE, "%s: \"%.40s\" is not a size, like 500 MB or 64 KiB", what, text);
	*bytes = v;
	return OK;
}

enum err
duration_parse(uint64_t *ns, const char *text, const char *what)
{
	const struct unit *unit;
	uint64_t v;
	if (!amount_parse(&v, text, durations, &unit) || (unit == NULL && v != 0))
		return fail(ERR_USAGE, "%s: \"%.40s\" is not a duration, like 90s, 15m, 6h, 30d or 2w", what, text);
	*ns = v;
	return OK;
}

static const char *
amount_print(char out[AMOUNT_BYTES], uint64_t v, const struct unit *units, const char *blank)
{
	const struct unit *best = units;
	for (const struct unit *u = units; u->name; u++)
		if (v % u->of == 0)
			best = u;
	snprintf(out, AMOUNT_BYTES, "%" PRIu64 "%s%s", v / best->of, blank, best->name);
	return out;
}

const char *
size_print(char out[AMOUNT_BYTES], uint64_t bytes)
{
	if (bytes == 0)
		return snprintf(out, AMOUNT_BYTES, "0"), out;
	return amount_print(out, bytes, sizes, " ");
}

const char *
duration_print(char out[AMOUNT_BYTES], uint64_t ns)
{
	if (ns == 0)
		return snprintf(out, AMOUNT_BYTES, "0"), out;
	return amount_print(out, ns, durations, "");
}
