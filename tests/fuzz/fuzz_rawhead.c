/* Heads of requests: what is good is good as soon as it is whole and no part of it is refused before; what is good has no byte that
 * ends a line elsewhere, and no NUL. */
#include <stdlib.h>
#include <string.h>

#include "api/rawhead.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t head = 0, again = 0;
	unsigned status = rawhead_check(data, size, &head);
	if (status != RAWHEAD_GOOD)
		return 0;
	if (head > size || head < 4 || memcmp(data + head - 4, "\r\n\r\n", 4) != 0 || memchr(data, 0, head))
		abort();
	if (rawhead_check(data, head, &again) != RAWHEAD_GOOD || again != head)
		abort();
	for (size_t n = head > 64 ? head - 64 : 0; n < head; n++)
		if (rawhead_check(data, n, &again) != RAWHEAD_MORE)
			abort();
	for (size_t i = 0; i < head; i++)
		if ((data[i] == '\n' && (i == 0 || data[i - 1] != '\r')) || (data[i] == '\r' && data[i + 1] != '\n'))
			abort();
	return 0;
}
