/* Options of TCP and IPv4 and IPv6 extension headers: the first byte says which, and how. Whatever comes, what is left is only what
 * the rules let through, of the same length, and a second time changes nothing but blank routes. */
#include <stdlib.h>
#include <string.h>

#include "tests/support/rewritten.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As many bytes on the heap, so that one too far is seen. */
static uint8_t *
copy(const uint8_t *p, size_t n)
{
	uint8_t *out = malloc(n ? n : 1);
	if (out == NULL)
		abort();
	memcpy(out, p, n);
	return out;
}

static void
tcp(const uint8_t *raw, size_t n, enum tcp_timestamps timestamps)
{
	uint8_t *p = copy(raw, n), *again;
	tcp_options_rewrite(p, n, timestamps, true, 0);
	again = copy(p, n);
	tcp_options_rewrite(again, n, timestamps, true, 0);
	if (!rewritten_tcp(p, n, timestamps) || memcmp(p, again, n) != 0)
		abort();
	tcp_options_rewrite(again, n, timestamps, true, 77);
	tcp_options_rewrite(again, n, timestamps, true, (uint32_t)-77);
	if (memcmp(p, again, n) != 0)
		abort();
	free(p);
	free(again);
}

static void
ip4(const uint8_t *raw, size_t n)
{
	uint8_t *p = copy(raw, n), *again;
	ip4_options_rewrite(p, n, &marking);
	again = copy(p, n);
	ip4_options_rewrite(again, n, &marking);
	if (!rewritten_ip4(p, n) || memcmp(p, again, n) != 0)
		abort();
	free(p);
	free(again);
}

static void
ip6(const uint8_t *raw, size_t n, uint8_t first)
{
	uint8_t *p = copy(raw, n), *again;
	struct ip6_chain c = ip6_extensions_rewrite(p, n, first, &marking);
	again = copy(p, n);
	struct ip6_chain d = ip6_extensions_rewrite(again, n, first, &marking);
	/* a second time the zero addresses of a route that made no sense are mapped, too */
	if (!rewritten_ip6(p, raw, n, first, c) || !rewritten_ip6(again, p, n, first, d) || (c.whole && c.end != d.end))
		abort();
	free(p);
	free(again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t firsts[] = { 0, 43, 44, 51, 60, 135 };
	if (size == 0)
		return 0;
	switch (data[0] % 3) {
	case 0:
		tcp(data + 1, size - 1, (enum tcp_timestamps)(data[0] / 3 % 3));
		break;
	case 1:
		ip4(data + 1, size - 1);
		break;
	default:
		ip6(data + 1, size - 1, firsts[data[0] / 3 % sizeof firsts]);
	}
	return 0;
}
