/* Small archives for tests: frames, segments committed through the store. */
#ifndef TESTS_SUPPORT_MAKE_ARCHIVE_H
#define TESTS_SUPPORT_MAKE_ARCHIVE_H

#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"
#include "index/store.h"
#include "tests/support/scratch.h"

/* What to commit: blocks x per_block UDP packets, 1 us apart from first_ns, between 10.host.x.y and 198.51.100.7. */
struct test_segment {
	uint64_t first_ns;
	uint32_t blocks, per_block;
	uint8_t  host;
};
/* Encodes, seals, appends and commits; import may be NULL, otherwise its records grow. old: replaces that segment (0: no). */
enum err test_segment_commit(struct store *s, uint32_t stream, const struct test_segment *t, struct import_row *import,
                             uint64_t old);
void     test_archive_release(void); /* buffers */

/* catalogue_dump() of the archive, malloc'ed. NULL (and err_text()) when it does not open. */
char *test_archive_dump(const char *dir, const char *key_path);

#endif
