/* Numbers as people read them, and foreign text made safe for a terminal. Each call fills and returns the caller's buffer. */
#ifndef BASE_HUMAN_H
#define BASE_HUMAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define HUMAN_BYTES 32

const char *human_size(char out[HUMAN_BYTES], uint64_t bytes);   /* "964.4 MB", powers of 1000 as disks and links count */
const char *human_count(char out[HUMAN_BYTES], uint64_t n);      /* "10,000,000" */
const char *human_rough(char out[HUMAN_BYTES], double n);        /* "5.1 M": three digits at most, for rates */
const char *human_duration(char out[HUMAN_BYTES], double seconds); /* "12 ms", "3.4 s", "2 min 05 s", "3 d 02 h" */

/* text with control bytes and bytes that are not ASCII or UTF-8 lead and tail bytes as "?"; cut to fit n (1..). */
const char *human_text(char *out, size_t n, const char *text);

/* A whole decimal number, 0..UINT64_MAX; what names it in the message. ERR_USAGE, *value unchanged. */
enum err number_parse(uint64_t *value, const char *text, const char *what);

#endif
