/* An archive is one folder:
 *
 *     format          one line: "atoll-archive 1 ID"; named so last by init, so a folder with it is complete
 *     keystore        segment keys, wrapped by the owner key (archive/keys.h); its lock is the writer's lock
 *     owner.key       unless --key-file put it elsewhere (the archive does not remember where)
 *     manifest        the log of commits, append only (index/manifest.h)
 *     index/          LMDB: data.mdb, lock.mdb (index/catalogue.h)
 *     control.sock    while a server runs (index/control.h)
 *     clock           when a server that removes records for their age last believed the machine's clock (index/clock.h)
 *     segments/       %016llx.seg; a leading dot and .tmp while one is written
 *     landing/        %016llx.land: parcels of monitors that are not merged into segments yet (index/reception.h); made with
 *                     the first of them
 *
 * What is authoritative for what: a segment file for its records; the manifest for what is committed, removed and imported;
 * the keystore for what can still be read (a removed segment's key is overwritten, so it stays removed whatever is restored
 * or lost). LMDB is authoritative for nothing.
 *
 * One writer at a time, any number of readers beside it. A reader sees the commits up to its catalogue_begin(). A process
 * opens the same archive once at a time (LMDB's rule), after any fork.
 */
#ifndef INDEX_ARCHIVE_DIR_H
#define INDEX_ARCHIVE_DIR_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/keys.h"
#include "archive/landing.h"
#include "archive/segment.h"
#include "base/err.h"
#include "index/catalogue.h"
#include "index/manifest.h"

#define ARCHIVE_VERSION 1u
#define ARCHIVE_WORD    "atoll-archive"
#define ARCHIVE_UNFINISHED ".format.tmp" /* the format file while init is at work, or was killed */

struct archive;

enum archive_access {
	ARCHIVE_READ,  /* beside a writer, if there is one */
	ARCHIVE_WRITE, /* the only writer; finishes first what a killed one left (index/recovery.h) */
	ARCHIVE_BARE,  /* the only writer, format and keystore only: for rebuild and fsck when the rest is damaged */
	ARCHIVE_BARE_READ, /* the same parts, for looking only */
};

/* Makes an archive in dir, which is missing, empty, or holds what a killed init left (that is cleared, with the owner key
 * that it made at key_path); durable on return, and nothing is left there on failure. ERR_EXISTS: an archive, or a folder
 * with anything else in it; ERR_BUSY: another init is at work there; ERR_UNSUPPORTED: on a network file system. key_path
 * NULL: in dir. index/archive_init.c has the order of steps. */
enum err archive_init(const char *dir, const char *key_path);

/* ERR_ABSENT: no archive there, or no owner key (tells --key-file); ERR_UNSUPPORTED: of another version; ERR_DENIED: wrong
 * owner key; ERR_BUSY: held by another writer; ERR_FORMAT: damaged, and what to do. A reader of an archive whose last writer
 * was killed becomes a writer for a moment, to finish that one's commit, when it can. One that may not write to the index's
 * lock file (another user's archive, a read-only file system) keeps writers out while it has the archive open, and can not be
 * opened beside one (ERR_BUSY). */
enum err archive_open(struct archive **out, const char *dir, const char *key_path, enum archive_access access);
void     archive_close(struct archive **a);

/* Whether this process may not write to some part of the archive there. */
bool              archive_is_read_only(const char *dir);

const char       *archive_path(const struct archive *a);
void              archive_id(const struct archive *a, uint8_t id[ARCHIVE_ID_BYTES]);
struct keystore  *archive_keystore(struct archive *a);
struct catalogue *archive_catalogue(struct archive *a); /* NULL when bare */
struct manifest  *archive_manifest(struct archive *a);  /* NULL when bare */
/* For rebuild: hands over opened parts, closed by archive_close() (what was there before is closed now). */
void              archive_set_parts(struct archive *a, struct catalogue *c, struct manifest *m);
/* Keys for manifest and catalogue: keystore_derive() over these words. */
#define ARCHIVE_MANIFEST_LABEL  "manifest"
#define ARCHIVE_CATALOGUE_LABEL "catalogue"

/* What finishing another writer's work came to when this archive was opened; all zero most of the time. */
struct recovery_report {
	uint64_t replayed_lines; /* of the manifest: committed, but not in the index yet */
	uint64_t temps;          /* unfinished segment files removed */
	uint64_t orphans;        /* finished but uncommitted segment files removed */
	uint64_t deleted;        /* removals that were completed */
	uint64_t lost;           /* committed segments whose file or key is gone: now marked so */
	uint64_t keys;           /* keys without a segment destroyed */
	uint64_t landed;         /* parcels of landing files that were not in the index yet */
	uint64_t lost_landings;  /* landing files that are gone or do not open: now marked so */
};
const struct recovery_report *archive_recovered(const struct archive *a);

/* dir/segments/ID.seg and the hidden name while it is written. */
enum err archive_segment_path(const struct archive *a, uint64_t id, char out[PATH_BYTES]);
enum err archive_segment_temp_path(const struct archive *a, uint64_t id, char out[PATH_BYTES]);
enum err archive_segments_folder(const struct archive *a, char out[PATH_BYTES]);
/* The id in a name of that folder; temp says which kind. False for any other name. */
bool     archive_segment_id(const char *name, uint64_t *id, bool *temp);

/* Opens the segment of a catalogue row: key from the keystore, then the file, which must be the committed one (root hash).
 * ERR_ABSENT: its file or key is gone, as after a removal by another process since the snapshot was taken: in a new
 * snapshot the row is gone or SEGMENT_DELETING then, otherwise the segment is lost. ERR_FORMAT, ERR_DENIED: damaged. */
enum err archive_open_segment(struct archive *a, const struct segment_row *row, struct segment **out);

/* dir/landing/ID.land, and the folder. */
enum err archive_landing_path(const struct archive *a, uint64_t id, char out[PATH_BYTES]);
enum err archive_landing_folder(const struct archive *a, char out[PATH_BYTES]);
/* The id in a name of that folder. False for any other name. */
bool     archive_landing_id(const char *name, uint64_t *id);
/* Opens the landing file of a catalogue row. ERR_ABSENT: its file or key is gone, as after all in it was merged since the
 * snapshot was taken: in a new one the row is gone then, otherwise it is lost. ERR_FORMAT, ERR_DENIED: damaged. */
enum err archive_open_landing(struct archive *a, const struct landing_row *row, struct landing **out);

/* Bytes of everything but segments, landing files and owner key: index, manifest, keystore, format. */
enum err archive_index_bytes(const struct archive *a, uint64_t *bytes);

/* The name of the network (or user-space) file system with this statfs f_type, NULL when it is none that is known. LMDB's
 * map and locks are not safe there. */
const char *archive_network_name(uint64_t f_type);

/* ERR_UNSUPPORTED when dir lies on one. */
enum err archive_refuse_network(const char *dir);
/* Reads a format file, dir/NAME. ERR_ABSENT, ERR_FORMAT, ERR_UNSUPPORTED: another version. */
enum err archive_read_format(const char *dir, const char *name, uint8_t id[ARCHIVE_ID_BYTES]);

/* dir/NAME is the folder of a catalogue; opens it with the archive's key. */
enum err archive_open_catalogue(struct archive *a, const char *name, struct catalogue **out);
enum err archive_open_manifest(struct archive *a, const char *name, struct manifest **out);

#endif
