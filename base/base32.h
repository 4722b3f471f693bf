/* Base 32 of RFC 4648 section 6 in lower case without padding: what people can paste, type and read out. */
#ifndef BASE_BASE32_H
#define BASE_BASE32_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define BASE32_CHARS(bytes) (((bytes) * 8u + 4u) / 5u) /* without the NUL */

/* n bytes to BASE32_CHARS(n) characters and a NUL. */
void     base32_encode(char *text, const void *bytes, size_t n);
/* Exactly n bytes from the whole text; upper case is taken too. ERR_FORMAT: another length or character, or bits left over
 * that are not zero; bytes is then of no use. */
enum err base32_decode(void *bytes, size_t n, const char *text);

#endif
