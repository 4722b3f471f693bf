/* A packer and an unpacker for the tests of a file; packing_open and packing_close are the group's setup and teardown. */
#ifndef TESTS_SUPPORT_PACKING_H
#define TESTS_SUPPORT_PACKING_H

#include "archive/pack.h"

extern struct packer *packer;
extern struct unpacker *unpacker;

int packing_open(void **state);
int packing_close(void **state);

#endif
