/* Sizes and durations as people write them in options and in the configuration, and the shortest text that reads back. */
#ifndef BASE_AMOUNT_H
#define BASE_AMOUNT_H

#include <stdint.h>

#include "base/err.h"

#define AMOUNT_BYTES 32 /* a printed amount, with the NUL */

/* "0", "4096", "64 KiB", "10GB": a whole number, a blank or none, and B, kB, MB, GB, TB, PB (powers of 1000) or KiB ... PiB. what
 * names it in the message. ERR_USAGE, *bytes unchanged. */
enum err    size_parse(uint64_t *bytes, const char *text, const char *what);
/* "0", "10us", "90s", "15 m", "6h", "30d", "2w" (ns us ms s m h d w): only 0 goes without a unit. ERR_USAGE, *ns unchanged. */
enum err    duration_parse(uint64_t *ns, const char *text, const char *what);

const char *size_print(char out[AMOUNT_BYTES], uint64_t bytes);
const char *duration_print(char out[AMOUNT_BYTES], uint64_t ns);

#endif
