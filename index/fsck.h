/* Looks at everything in an archive and says what is wrong, one sentence per fault, naming segment, block and column.
 *
 * Format, keystore, manifest (each line), index (each page and row; against the manifest, when no writer is active), segment
 * files (missing, unknown, not the committed one, other totals), keys, segment filters, landing files (missing, unknown, each
 * parcel that waits in them), and each block: authenticated and decoded.
 *
 * When no writer is active it first finishes what a killed one left, as every writer does; that is not a fault.
 *
 * repair: what can be made again is: the index and the manifest from each other and the segments (index/rebuild.h), segments
 * whose file or key is gone are marked lost, unknown files that do not open are renamed to NAME.damaged, and of parcels that
 * can not be read in a landing file a gap is noted. Damaged blocks can
 * not be repaired: they are counted as lost and stay where they are; everything around them can be read.
 */
#ifndef INDEX_FSCK_H
#define INDEX_FSCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct fsck_report {
	uint64_t segments, blocks, records;  /* looked at */
	uint64_t landed;                     /* parcels that wait in landing files: looked at */
	uint64_t faults;                     /* found */
	uint64_t repaired;                   /* of these (0 without repair) */
	uint64_t lost_segments, lost_blocks; /* blocks: of segments that open */
	uint64_t lost_records;               /* in these */
	bool     beside_writer;              /* somebody is writing: the newest commits were not looked at */
	bool     read_only;                  /* nothing can be written there: it was looked at as it is, nothing was finished */
	bool     unfinished;                 /* and a killed writer's last commit is not in the index yet */
};

struct fsck_options {
	bool repair;
	bool quick; /* do not read the blocks */
	void (*see)(void *arg, const char *sentence);               /* a fault; may be NULL */
	void (*progress)(void *arg, uint64_t done_bytes, uint64_t all_bytes); /* may be NULL */
	void *arg;
};

/* An archive that can not be written to is looked at all the same (without repair); the temporary index that this takes lies
 * in $TMPDIR then.
 *
 * OK when it could look, whatever it found: report->faults says. Other errors: it could not (no archive, wrong key, ...). */
enum err fsck_run(const char *dir, const char *key_path, const struct fsck_options *options, struct fsck_report *report);

#endif
