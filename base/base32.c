#include "base/base32.h"

#include <string.h>

static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";

void
base32_encode(char *text, const void *bytes, size_t n)
{
	const uint8_t *p = bytes;
	uint32_t held = 0;
	unsigned bits = 0;
	for (size_t i = 0; i < n; i++) {
		held = held << 8 | p[i];
		for (bits += 8; bits >= 5; bits -= 5)
			*text++ = alphabet[held >> (bits - 5) & 31];
	}
	if (bits)
		*text++ = alphabet[held << (5 - bits) & 31];
	*text = 0;
}

static int
digit(char c)
{
	return c >= 'a' && c <= 'z' ? c - 'a' : c >= 'A' && c <= 'Z' ? c - 'A' : c >= '2' && c <= '7' ? c - '2' + 26 : -1;
}

enum err
base32_decode(void *bytes, size_t n, const char *text)
{
	uint8_t *p = bytes;
	uint32_t held = 0;
	unsigned bits = 0;
	size_t length = strlen(text);
	if (length != BASE32_CHARS(n))
		return fail(ERR_FORMAT, "has %zu characters, not %zu", length, (size_t)BASE32_CHARS(n));
	for (size_t i = 0; i < length; i++) {
		int d = digit(text[i]);
		if (d < 0)
			return fail(ERR_FORMAT, "character %zu is none of a-z and 2-7", i + 1);
		held = held << 5 | (uint32_t)d;
		bits += 5;
		if (bits >= 8) {
			bits -= 8;
			*p++ = (uint8_t)(held >> bits);
		}
	}
	if (held & ((1u << bits) - 1))
		return fail(ERR_FORMAT, "its last character is another one");
	return OK;
}
