/* UTF-8, as RFC 3629 has it. */
#ifndef BASE_UTF8_H
#define BASE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The bytes of the character at p (n bytes left), 0 when it is not one: no overlong forms, surrogates or values over
 * U+10FFFF. */
size_t utf8_length(const uint8_t *p, size_t n);
/* Where the first byte is that is not part of a printable text: not UTF-8, or of a control character (C0, DEL, C1). n: none. */
size_t utf8_plain(const uint8_t *p, size_t n);

#endif
