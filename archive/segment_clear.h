/* The parts of a segment file that are in the clear: its header and its two trailers, each with a check of its own. */
#ifndef ARCHIVE_SEGMENT_CLEAR_H
#define ARCHIVE_SEGMENT_CLEAR_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/segment_format.h"
#include "base/err.h"

struct trailer {
#define F(codec, type, field, description) type field;
	SEGMENT_TRAILER(F)
#undef F
	struct segment_name name;
	uint8_t root[SEGMENT_HASH_BYTES];
};

/* The header at the file's start. path is for sentences, as in all of these. ERR_FORMAT: damaged, or not a segment's;
 * ERR_UNSUPPORTED: of another format version. */
enum err clear_header(int fd, const char *path, struct segment_name *name);
/* The SEGMENT_TRAILER_BYTES at p. Errors as above; whether it fits the file is not looked at. */
enum err clear_trailer(const uint8_t *p, const char *path, struct trailer *t);
/* From the two at p, SEGMENT_TRAILERS_BYTES, the last one that is whole; *last: it is the second. */
enum err clear_pick_trailer(const uint8_t *p, const char *path, struct trailer *t, bool *last);

#endif
