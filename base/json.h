/* A streaming JSON writer (RFC 8259): one document, or one object per line (NDJSON). Strings are taken as hostile bytes:
 * quotes, control bytes, DEL and C1 controls are escaped, each byte that is not UTF-8 becomes U+FFFD, so that every output
 * parses and none of it steers a terminal. Output errors are kept by the FILE: json_finish() reports them once.
 *
 *   struct json j = json_to(stdout, JSON_PRETTY);
 *   json_object(&j, NULL);
 *   json_u64(&j, "packets", 12);
 *   json_end(&j);
 *   TRY(json_finish(&j, "standard output"));
 *
 * key is the member's name inside an object and NULL inside an array or at the top. */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

#define JSON_DEPTH_MAX 32u

enum json_shape { JSON_LINE, JSON_PRETTY };

struct json {
	FILE *to;
	enum json_shape shape;
	unsigned depth;
	uint32_t arrays; /* bit d: the level d is an array */
	bool     empty;  /* nothing written yet on this level */
};

struct json json_to(FILE *to, enum json_shape shape);
void json_object(struct json *j, const char *key);
void json_array(struct json *j, const char *key);
void json_end(struct json *j); /* of the innermost object or array; at the top: ends the line, a next document may follow */
void json_text(struct json *j, const char *key, const char *text); /* NULL gives null */
void json_bytes(struct json *j, const char *key, const void *bytes, size_t n); /* as text */
void json_hex(struct json *j, const char *key, const void *bytes, size_t n);   /* as lower-case hex digits */
void json_u64(struct json *j, const char *key, uint64_t value);
void json_i64(struct json *j, const char *key, int64_t value);
void json_real(struct json *j, const char *key, double value); /* shortest form that reads back; NaN and infinities: null */
void json_bool(struct json *j, const char *key, bool value);
void json_null(struct json *j, const char *key);
/* Flushes. ERR_IO (ERR_FULL, ...) when something could not be written; name is for the message. */
enum err json_finish(struct json *j, const char *name);

#endif
