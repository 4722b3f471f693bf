/* Prints docs/atoll.conf from the table of settings: `make docs` renews the file by it, `make check` compares. */
#include "base/config.h"

int
main(void)
{
	config_example(stdout);
	return ferror(stdout) ? 1 : 0;
}
