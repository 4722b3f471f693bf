#include "base/human.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

const char *
human_size(char out[HUMAN_BYTES], uint64_t bytes)
{
	static const char *const units[] = { "kB", "MB", "GB", "TB", "PB", "EB" };
	if (bytes < 1000) {
		snprintf(out, HUMAN_BYTES, "%" PRIu64 " B", bytes);
		return out;
	}
	double value = (double)bytes / 1000;
	unsigned unit = 0;
	for (; value >= 999.95 && unit + 1 < sizeof units / sizeof *units; unit++)
		value /= 1000;
	snprintf(out, HUMAN_BYTES, "%.1f %s", value, units[unit]);
	return out;
}

const char *
human_count(char out[HUMAN_BYTES], uint64_t n)
{
	char digits[24];
	int length = snprintf(digits, sizeof digits, "%" PRIu64, n);
	char *at = out;
	for (int i = 0; i < length; i++) {
		if (i > 0 && (length - i) % 3 == 0)
			*at++ = ',';
		*at++ = digits[i];
	}
	*at = '\0';
	return out;
}

const char *
human_rough(char out[HUMAN_BYTES], double n)
{
	static const char *const units[] = { "", " k", " M", " G", " T" };
	unsigned unit = 0;
	for (; n >= 999.5 && unit + 1 < sizeof units / sizeof *units; unit++)
		n /= 1000;
	snprintf(out, HUMAN_BYTES, "%.*f%s", n < 10 && (unit > 0 || n != (double)(int)n) ? 1 : 0, n, units[unit]);
	return out;
}

const char *
human_duration(char out[HUMAN_BYTES], double seconds)
{
	if (seconds < 0)
		seconds = 0;
	if (seconds < 0.9995)
		snprintf(out, HUMAN_BYTES, "%.0f ms", seconds * 1000);
	else if (seconds < 59.95)
		snprintf(out, HUMAN_BYTES, "%.1f s", seconds);
	else if (seconds < 3599.5)
		snprintf(out, HUMAN_BYTES, "%u min %02u s", (unsigned)(seconds + 0.5) / 60, (unsigned)(seconds + 0.5) % 60);
	else if (seconds < 86400)
		snprintf(out, HUMAN_BYTES, "%u h %02u min", (unsigned)seconds / 3600, (unsigned)seconds / 60 % 60);
	else
		snprintf(out, HUMAN_BYTES, "%.0f d %02u h", (double)(uint64_t)(seconds / 86400), (unsigned)(seconds / 3600) % 24);
	return out;
}

const char *
human_text(char *out, size_t n, const char *text)
{
	size_t i = 0;
	for (; text[i] && i + 1 < n; i++) {
		uint8_t c = (uint8_t)text[i];
		bool c1 = (c == 0xc2 && (uint8_t)text[i + 1] < 0xa0); /* the lead byte of a C1 control */
		out[i] = c < 0x20 || c == 0x7f || c1 || c > 0xf4 || c == 0xc0 || c == 0xc1 ? '?' : text[i];
	}
	out[i] = '\0';
	return out;
}

enum err
number_parse(uint64_t *value, const char *text, const char *what)
{
	uint64_t v = 0;
	const char *at = text;
	for (; *at >= '0' && *at <= '9'; at++)
		if (__builtin_mul_overflow(v, (uint64_t)10, &v) || __builtin_add_overflow(v, (uint64_t)(*at - '0'), &v))
			return fail(ERR_USAGE, "%s: %.40s is too large", what, text);
	if (at == text || *at)
		return fail(ERR_USAGE, "%s: \"%.40s\" is not a whole number", what, text);
	*value = v;
	return OK;
}
