#include "anonymize/scheme.h"

#include <string.h>

static const char *const names[] = { "pfx", "cryptopan", "det", "ndx", "truncate", "drop" };
enum { SCHEMES = sizeof names / sizeof *names };

static unsigned
address_bytes(enum family family)
{
	return family == FAMILY_IP4 ? 4 : 16;
}

/* One to three digits and nothing else; more than any address has for anything else. */
static unsigned
bits_parse(const char *text)
{
	size_t n = strspn(text, "0123456789");
	unsigned bits = 0;
	if (n == 0 || n > 3 || text[n])
		return 999;
	while (*text)
		bits = bits * 10 + (unsigned)(*text++ - '0');
	return bits;
}

enum err
scheme_parse(struct scheme *s, const char *text, enum family family)
{
	unsigned width = address_bytes(family) * 8;
	if (strncmp(text, "truncate/", 9) == 0) {
		unsigned bits = bits_parse(text + 9);
		if (bits > width)
			return fail(ERR_USAGE, "'%s': write truncate/N with N from 0 to %u", text, width);
		*s = (struct scheme){ SCHEME_TRUNCATE, bits };
		return OK;
	}
	for (unsigned i = 0; i < SCHEMES; i++)
		if (i != SCHEME_TRUNCATE && strcmp(text, names[i]) == 0) {
			*s = (struct scheme){ (enum scheme_kind)i, 0 };
			return OK;
		}
	return fail(ERR_USAGE, "'%s' is no address scheme: pfx, cryptopan, det, ndx, truncate/N or drop", text);
}

const char *
scheme_name(enum scheme_kind kind)
{
	return names[kind];
}

unsigned
scheme_bytes(struct scheme s, enum family family)
{
	switch (s.kind) {
	case SCHEME_DET:
		return 16;
	case SCHEME_NDX:
		return 32;
	default:
		return address_bytes(family);
	}
}

bool
scheme_fits(struct scheme s, enum family family)
{
	return scheme_bytes(s, family) == address_bytes(family);
}

bool
scheme_reversible(struct scheme s)
{
	return s.kind != SCHEME_TRUNCATE && s.kind != SCHEME_DROP;
}

bool
scheme_keeps_prefixes(struct scheme s)
{
	return s.kind != SCHEME_DET && s.kind != SCHEME_NDX;
}
