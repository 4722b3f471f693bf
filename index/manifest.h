/* The manifest: DIR/manifest, the archive's log of commits, append only. A change is committed when its lines are durable
 * here; LMDB follows (it is an index and can be made again from the manifest, the segments and the keystore).
 *
 * It is text, one row of index/rows.h per line:
 *
 *     atoll-manifest 1 archive=HEX id=HEX .MAC
 *     1 stream id=1 created_ns=... name=eth0 .MAC
 *     2 segment id=1 stream=1 ... +MAC
 *     3 import fingerprint=... .MAC
 *
 * A line starts with its number (1, 2, 3, ... without gap) and ends with a mark and 16 hex digits: the first 8 bytes of
 * BLAKE2b-128, keyed with keystore_derive("manifest"), over the manifest id and the line up to and with the mark. The mark
 * is '+' when the change goes on in the next line and '.' when the line completes it: a change counts whole or not at all.
 * So damage, a lost line and a change by someone without the owner key are all noticed, line by line.
 *
 * stream, import, segment, removal, monitor, feed and gap lines give the row as it is from then on; a drop line ends a segment.
 *
 * A crash in an append leaves a torn tail: bytes after the last complete change with no valid line among them. It was never
 * acknowledged, readers pass over it, and the next writer cuts it off.
 */
#ifndef INDEX_MANIFEST_H
#define INDEX_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/segment.h"
#include "base/err.h"
#include "index/rows.h"

#define MANIFEST_VERSION         1u
#define MANIFEST_KEY_BYTES       32u
#define MANIFEST_LINE_BYTES_MAX  4096u        /* the longest row is about 1,200 bytes of text */
#define MANIFEST_CHANGE_BYTES_MAX (64u << 20) /* one change: a removal of about a million segments */

struct manifest;

/* Makes dir/name, durable (without the folder's entry: io_sync_dir). ERR_EXISTS. id gets a fresh random id. */
enum err manifest_create(const char *dir, const char *name, const uint8_t key[MANIFEST_KEY_BYTES],
                         const uint8_t archive[ARCHIVE_ID_BYTES], uint8_t id[MANIFEST_ID_BYTES]);
/* ERR_ABSENT; ERR_FORMAT: its first line is damaged; ERR_DENIED: it is another archive's; ERR_UNSUPPORTED: version. The key
 * is copied. */
enum err manifest_open(struct manifest **out, const char *dir, const char *name, const uint8_t key[MANIFEST_KEY_BYTES],
                       const uint8_t archive[ARCHIVE_ID_BYTES], bool writable);
void     manifest_close(struct manifest **m);
void     manifest_id(const struct manifest *m, uint8_t id[MANIFEST_ID_BYTES]);
enum err manifest_bytes(const struct manifest *m, uint64_t *bytes); /* the file's size now */
uint64_t manifest_start(const struct manifest *m);                  /* where line 1 starts */

/* --- reading: from any line's start --- */
struct manifest_line {
	uint64_t      sequence;
	uint64_t      start, end; /* file offsets; end is after the newline */
	bool          more;       /* the change goes on in the next line */
	enum row_kind kind;
	union row     row;
};
void     manifest_seek(struct manifest *m, uint64_t at);
/* The next valid line; damaged ones are passed over (manifest_scan() counts them). END; ERR_IO. */
enum err manifest_next(struct manifest *m, struct manifest_line *line);

struct manifest_scan {
	uint64_t good_end;      /* end of the last complete change (or the start, when there is none) */
	uint64_t sequence;      /* of its last line */
	uint64_t lines;         /* valid ones, up to good_end */
	uint64_t damaged_lines; /* before good_end: invalid, or missing from the numbering */
	uint64_t damage_at;     /* offset of the first of them */
	bool     torn;          /* bytes after good_end */
};
/* Reads everything from `at` (a change's start; the line there must have number sequence + 1). */
enum err manifest_scan(struct manifest *m, uint64_t at, uint64_t sequence, struct manifest_scan *scan);

/* --- writing: only in a manifest opened writable, and after manifest_resume() --- */
/* Appends go on at good_end; a torn tail is cut off, durably. */
enum err manifest_resume(struct manifest *m, const struct manifest_scan *scan);
/* Adds a line to the change being made. ERR_LIMIT, ERR_NOMEM. */
enum err manifest_add(struct manifest *m, enum row_kind kind, const void *row);
/* Makes the change durable; *end and *sequence say where the manifest then ends. Any error stops this manifest: whether the
 * change is durable is not known, and all further calls fail with ERR_IO until it is opened again. */
enum err manifest_commit(struct manifest *m, uint64_t *end, uint64_t *sequence);
void     manifest_discard(struct manifest *m); /* the change being made */

/* For tests and the fuzzer: one line without its newline, as of the manifest with this id. ERR_FORMAT. */
enum err manifest_parse_line(const uint8_t key[MANIFEST_KEY_BYTES], const uint8_t id[MANIFEST_ID_BYTES], const char *text,
                             size_t n, struct manifest_line *line);

#endif
