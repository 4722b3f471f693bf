/* Policy files: any bytes give a policy or sentences; what is written of a policy reads back as the same, under the same hash. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "anonymize/policy.h"
#include "base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is told can be shown on a terminal. */
static void
see(void *arg, bool mistake, const char *sentence)
{
	(void)arg;
	(void)mistake;
	if (*sentence == 0 || strpbrk(sentence, "\n\r\x1b"))
		abort();
}

static void
reads_back(const struct policy *p, void (*write)(const struct policy *p, FILE *to), bool whole)
{
	static struct policy again;
	uint8_t a[POLICY_HASH_BYTES], b[POLICY_HASH_BYTES];
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	write(p, f);
	fclose(f);
	if (policy_parse(&again, "again", text, n, see, NULL) != OK || policy_hash(p, a) != OK || policy_hash(&again, b) != OK ||
	    memcmp(a, b, sizeof a) != 0 || (whole && memcmp(p, &again, sizeof again) != 0))
		abort();
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct policy p;
	char *text = malloc(size ? size : 1); /* so that a byte behind its end is seen */
	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	if (policy_parse(&p, "fuzz", text, size, see, NULL) == OK) {
		reads_back(&p, policy_print, true);
		reads_back(&p, policy_canonical, false);
	}
	free(text);
	return 0;
}
