/* Makes the index again: LMDB from manifest, segments and keystore, logically equal to what it was (same catalogue_dump()).
 * With a damaged or missing manifest that one is made again too: from the old index when it is whole, else from the lines
 * that can be read; what no line tells of (import notes, tombstones) is lost then, but no removed segment comes back,
 * because its key is gone.
 *
 * Segment files that the manifest does not know: with a whole manifest they are what an interrupted import left, and are
 * removed; with a damaged one (or when there are more than such an import leaves) they are taken up, if they open.
 *
 * The new index is made beside the old one (index.new) and exchanged with it at the end; killed before, nothing changed, and
 * the next run starts over. Readers that have the old one open finish on it.
 */
#ifndef INDEX_REBUILD_H
#define INDEX_REBUILD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct rebuild_report {
	uint64_t segments, records;           /* in the archive now */
	uint64_t lost_segments, lost_records; /* committed, but file or key is gone or does not open */
	uint64_t landed;                      /* parcels that wait in landing files */
	uint64_t lost_landings;               /* landing files that do not open */
	uint64_t adopted;                     /* segments that the manifest did not know */
	uint64_t unreadable;                  /* files renamed to NAME.damaged: unknown and they do not open */
	uint64_t damaged_lines;               /* of the manifest: what they said is lost unless the old index had it */
	bool     manifest_renewed;
};

/* see() gets a sentence for each loss and adoption (may be NULL). Errors as archive_open(), ERR_BUSY included. */
enum err rebuild_run(const char *dir, const char *key_path, void (*see)(void *arg, const char *sentence), void *arg,
                     struct rebuild_report *report);

#endif
