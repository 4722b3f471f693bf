#include "base/utf8.h"

#include <stdbool.h>

size_t
utf8_length(const uint8_t *p, size_t n)
{
	static const struct {
		uint8_t first, last, low, high; /* range of the first byte, range of the second */
		uint8_t length;
	} forms[] = {
		{ 0xc2, 0xdf, 0x80, 0xbf, 2 }, { 0xe0, 0xe0, 0xa0, 0xbf, 3 }, { 0xe1, 0xec, 0x80, 0xbf, 3 },
		{ 0xed, 0xed, 0x80, 0x9f, 3 }, { 0xee, 0xef, 0x80, 0xbf, 3 }, { 0xf0, 0xf0, 0x90, 0xbf, 4 },
		{ 0xf1, 0xf3, 0x80, 0xbf, 4 }, { 0xf4, 0xf4, 0x80, 0x8f, 4 },
	};
	if (n > 0 && p[0] < 0x80)
		return 1;
	for (unsigned i = 0; i < sizeof forms / sizeof *forms; i++) {
		if (n < 2 || p[0] < forms[i].first || p[0] > forms[i].last)
			continue;
		size_t length = forms[i].length;
		if (length > n || p[1] < forms[i].low || p[1] > forms[i].high)
			return 0;
		for (size_t k = 2; k < length; k++)
			if ((p[k] & 0xc0) != 0x80)
				return 0;
		return length;
	}
	return 0;
}

size_t
utf8_plain(const uint8_t *p, size_t n)
{
	size_t at = 0;
	while (at < n) {
		size_t length = utf8_length(p + at, n - at);
		bool c1 = length == 2 && p[at] == 0xc2 && p[at + 1] < 0xa0;
		if (length == 0 || p[at] < ' ' || p[at] == 0x7f || c1)
			return at;
		at += length;
	}
	return n;
}
