/* What a writer does first: it finishes, or takes back, what a killed one left. Every step can itself be interrupted and is
 * done again by the next.
 *
 * The commit of a segment is, in this order,
 *
 *     write .ID.tmp, fdatasync | rename to ID.seg | fsync segments/ | manifest line, fdatasync | LMDB transaction
 *
 * and it counts from the moment that the manifest line is durable. So after a crash
 *   - before the manifest line: the file (hidden or not) was never acknowledged; its records will be imported again. The
 *     file is removed and its key destroyed;
 *   - after it: the line is applied to LMDB (the segment's filter is made from the file).
 * A removal is
 *
 *     manifest lines | LMDB: tombstone, segments SEGMENT_DELETING | keys overwritten | files unlinked, fsync | LMDB: forgotten
 *
 * and goes on from wherever it stopped. Nothing that was removed comes back: the manifest says it is gone and the key is.
 *
 * Landing files are authoritative for what landed: index/recovery_landing.c applies their tails to the index again.
 *
 * A final-named file that the manifest does not know can also mean that an older manifest was restored. A writer leaves at
 * most STORE_OPEN_SEGMENTS_MAX of them, so when there are more, nothing is removed and the archive says so.
 */
#ifndef INDEX_RECOVERY_H
#define INDEX_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "index/archive_dir.h"

/* In an archive with all its parts, opened for writing. Afterwards catalogue, manifest, keystore and segment files agree,
 * but for what is damaged. ERR_FORMAT: the manifest is damaged: "run atoll fsck --repair". */
enum err recovery_run(struct archive *a, struct recovery_report *report);

/* --- its steps, for store and rebuild --- */
/* Puts one manifest line into the catalogue (inside a change) and moves state's next numbers. */
enum err recovery_apply(struct catalogue *c, const struct manifest_line *line, struct state_row *state);
/* Applies the manifest's lines from where the catalogue stands to scan->good_end, in one transaction. */
enum err recovery_replay(struct catalogue *c, struct manifest *m, const struct manifest_scan *scan);
/* Completes deletions; makes missing segment filters, or marks segments that do not open as lost (see(), may be NULL, gets
 * a sentence for each). retry_lost: looks again at segments that were marked lost before, and a full disk is an error: otherwise
 * filters that it has no room for are left to the next writer. */
enum err recovery_settle(struct archive *a, bool retry_lost, void (*see)(void *arg, const char *sentence), void *arg,
                         struct recovery_report *report);
/* Landing files (index/reception.h). What they have behind what the index has is applied to it; a torn tail is cut off; files in
 * which nothing waits any more are destroyed; those that are gone are marked lost. rebuilding: the index is new, so what comes
 * behind a damaged place counts, too, and see() is told of it (may be NULL). */
enum err recovery_landings(struct archive *a, bool rebuilding, void (*see)(void *arg, const char *sentence), void *arg,
                           struct recovery_report *report);
/* Destroys a landing file of which all is merged: key, file, row. Can be interrupted and done again. */
enum err recovery_destroy_landing(struct archive *a, const struct landing_row *row);

/* Removes unknown segment files and temporary ones, and destroys keys without a segment. */
enum err recovery_sweep(struct archive *a, struct recovery_report *report);

/* The filter of an opened segment, malloc'ed. A segment with blocks that libpcap may find addresses in which the segment's
 * table does not list gets one that says yes to everything. */
enum err recovery_filter(struct archive *a, struct segment *s, uint8_t **filter, size_t *n);
/* The row of an opened segment as a commit would write it. */
struct segment_row recovery_row(const struct segment_name *name, const struct segment_totals *totals);

/* Calls each() for the segment files and temporary files of the folder, in no order. */
enum err recovery_files(struct archive *a, enum err (*each)(void *arg, uint64_t id, bool temp), void *arg);

#endif
