/* The store: the one writer of an archive. Everything that changes an archive goes through it: streams, imports, segments,
 * removals. What a call reports as done is durable; index/recovery.h says what happens when it is killed in between.
 *
 * A commit that fails stops the store: what is on the disk is then not known, so every further change fails with ERR_IO
 * ("stopped after an earlier failure") until the archive is opened again, which sorts it out. Failing before the commit
 * (the disk is full while blocks are appended, say) stops nothing.
 *
 * Used by one thread; only segment writers may be filled by others. Times are ns since 1970 UTC.
 *
 *     store_open(&s, dir, NULL);
 *     store_stream(s, "eth0", &stream);
 *     store_import_begin(s, fingerprint, "x.pcap", stream, false, false, &import);   skip import.records records
 *     store_segment_begin(s, stream, &g);
 *         segment_seal(store_segment_writer(g), encoder, block)
 *         import.records += ...
 *     store_segment_commit(s, &g, &import);                                   and so on with the next segment
 *     store_import_finish(s, &import, fingerprint);
 *     store_close(&s);
 */
#ifndef INDEX_STORE_H
#define INDEX_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/segment.h"
#include "base/err.h"
#include "index/archive_dir.h"
#include "index/rows.h"

#define STORE_OPEN_SEGMENTS_MAX 8u /* written at once; also bounds what a crash leaves */

struct store;
struct store_segment; /* one that is being written */

/* Opens the archive for writing and finishes what an earlier writer left. Errors as archive_open(). */
enum err        store_open(struct store **out, const char *dir, const char *key_path);
void            store_close(struct store **s); /* segments not committed are aborted */
struct archive *store_archive(struct store *s);/* for reading while it is open; the catalogue must not be in a snapshot
                                                * (catalogue_begin) when the store is asked for a change */

/* ERR_USAGE: no name for a stream, that is empty, too long, not UTF-8 or with control characters. */
enum err store_stream_name(const char *name);
/* The number of the stream with this name, made when it is new. As above; ERR_LIMIT: STREAMS_MAX. */
enum err store_stream(struct store *s, const char *name, uint32_t *stream);

/* The import of this content that counts: one to go on with, else a complete one; ERR_ABSENT. The content is known by its
 * fingerprint, or, while the second half of that is zero, by the first half: so is what comes from a stream, until it ended. */
enum err store_import_find(struct store *s, const uint8_t fingerprint[FINGERPRINT_BYTES], struct import_row *row);
/* Notes the import of this content, durable. *import says where to go on: records is 0 for a new one, more for one that was
 * interrupted (then stream and headers_only must be the same: ERR_USAGE names the other). ERR_EXISTS: imported completely
 * before, and the sentence says when and as what, and what of its stream was removed since (removed is not forgotten: only
 * again brings it back); again: imports it once more from the start. */
enum err store_import_begin(struct store *s, const uint8_t fingerprint[FINGERPRINT_BYTES], const char *title, uint32_t stream,
                            bool headers_only, bool again, struct import_row *import);
/* Marks it complete, with import->records as the number of records; durable. From now on it is known by this fingerprint. */
enum err store_import_finish(struct store *s, struct import_row *import, const uint8_t fingerprint[FINGERPRINT_BYTES]);

/* A new segment: id, key, hidden file. ERR_LIMIT: STORE_OPEN_SEGMENTS_MAX are open. */
enum err                   store_segment_begin(struct store *s, uint32_t stream, struct store_segment **out);
struct segment_writer     *store_segment_writer(struct store_segment *g);
const struct segment_name *store_segment_name(const struct store_segment *g);
/* Finishes the file, makes it durable and commits it together with the import's progress (import->records: what is in this
 * segment included; NULL: not of an import). Frees *g, also on failure (then nothing is left of it, or the store stopped).
 * ERR_USAGE: no block was appended. */
enum err store_segment_commit(struct store *s, struct store_segment **g, const struct import_row *import);
/* The same, and in the same transaction the segment `old` goes: for rewriting a segment without its removed records. */
enum err store_segment_replace(struct store *s, struct store_segment **g, uint64_t old);
void     store_segment_abort(struct store *s, struct store_segment **g);

struct store_removal {
	uint64_t segments, records;   /* removed whole */
	uint64_t straddling;          /* segments with records before and after: now hidden up to that time in the catalogue
	                               * (hidden_until_ns), to be rewritten with store_segment_replace() */
};
/* Removes the stream's records before until_ns (UINT64_MAX: all): whole segments at once, keys destroyed. Durable, and complete or
 * completed by the next writer. Goes on a full disk, too (index/reserve.h). *removal is all zero when there was nothing. */
enum err store_remove(struct store *s, uint32_t stream, uint64_t until_ns, struct store_removal *removal);
/* Removes one segment whole (a straddling one of which nothing remains). */
enum err store_drop(struct store *s, uint64_t segment);
/* The next segment after id *row (zeroed: the first) that has hidden records; END. */
enum err store_next_straddling(struct store *s, struct segment_row *row);

#endif
