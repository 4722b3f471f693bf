/* Prints docs/example.policy from the table of settings: `make docs` renews the file by it, `make check` compares. */
#include "anonymize/policy.h"

int
main(void)
{
	policy_example(stdout);
	return ferror(stdout) ? 1 : 0;
}
