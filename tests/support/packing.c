#include "tests/support/packing.h"

struct packer *packer;
struct unpacker *unpacker;

int
packing_open(void **state)
{
	(void)state;
	return packer_open(&packer) != OK || unpacker_open(&unpacker) != OK;
}

int
packing_close(void **state)
{
	(void)state;
	packer_close(&packer);
	unpacker_close(&unpacker);
	return 0;
}
