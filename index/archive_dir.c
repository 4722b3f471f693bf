#include "index/archive_dir.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/io.h"
#include "base/limits.h"
#include "index/recovery.h"
#include "index/reserve.h"

struct archive {
	enum archive_access    access;
	uint8_t                id[ARCHIVE_ID_BYTES];
	struct keystore       *keystore;
	struct catalogue      *catalogue;
	struct manifest       *manifest;
	struct recovery_report recovered;
	char                   dir[PATH_BYTES];
};

/* --- where it may lie --- */

const char *
archive_network_name(uint64_t f_type)
{
	static const struct { uint64_t f_type; const char *name; } known[] = {
		{ 0x6969, "NFS" },         { 0x517b, "SMB" },        { 0xff534d42, "CIFS" },   { 0xfe534d42, "SMB2" },
		{ 0x564c, "NCP" },         { 0x5346414f, "AFS" },    { 0x6b414653, "AFS" },    { 0x73757245, "Coda" },
		{ 0x00c36400, "Ceph" },    { 0x01021997, "9P" },     { 0x65735546, "FUSE" },   { 0x0bd00bd0, "Lustre" },
		{ 0x47504653, "GPFS" },    { 0x01161970, "GFS2" },   { 0x7461636f, "OCFS2" },  { 0x19830326, "BeeGFS" },
		{ 0x013111a8, "IBRIX" },   { 0x6c6f6f70, "VBoxSF" }, { 0x786f4256, "VBoxSF" }, { 0xbacbacbc, "VMware" },
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (known[i].f_type == f_type)
			return known[i].name;
	return NULL;
}

enum err
archive_refuse_network(const char *dir)
{
	struct statfs fs;
	if (statfs(dir, &fs) < 0)
		return fail_errno("%s", dir);
	const char *name = archive_network_name((uint32_t)fs.f_type);
	if (name)
		return fail(ERR_UNSUPPORTED, "%s: lies on a network file system (%s), where the index's map and locks are not "
		            "safe: use a local disk", dir, name);
	return OK;
}

/* --- opening --- */

/* Without its format file a folder is no archive yet, or one that lost it: then the manifest knows what was in it. */
static enum err
format_absent(const char *dir)
{
	char path[PATH_BYTES], line[128], hex[2 * ARCHIVE_ID_BYTES + 1];
	size_t got = 0;
	int fd = -1;
	TRY(io_path(path, dir, ARCHIVE_UNFINISHED));
	bool unfinished = access(path, F_OK) == 0;
	TRY(io_path(path, dir, "manifest"));
	if (unfinished || io_open(&fd, path) != OK)
		return fail(ERR_ABSENT, "%s: no archive here: atoll init %s makes one", dir, dir);
	bool read = io_read(fd, line, sizeof line - 1, &got, path) == OK;
	io_close(&fd);
	line[read ? got : 0] = 0;
	if (sscanf(line, "%*s %*u archive=%32[0-9a-f]", hex) != 1 || strlen(hex) != 2 * ARCHIVE_ID_BYTES)
		return fail(ERR_ABSENT, "%s: an archive without its file \"format\", and the manifest is damaged, too: restore both from a "
		            "copy", dir);
	return fail(ERR_ABSENT, "%s: an archive without its file \"format\": restore it from a copy, or with: echo " ARCHIVE_WORD
	            " %u %s > %s/format", dir, ARCHIVE_VERSION, hex, dir);
}

enum err
archive_read_format(const char *dir, const char *name, uint8_t id[ARCHIVE_ID_BYTES])
{
	char path[PATH_BYTES], line[128], hex[2 * ARCHIVE_ID_BYTES + 1];
	uint8_t found[ARCHIVE_ID_BYTES];
	TRY(io_path(path, dir, "%s", name));
	int fd = -1;
	enum err e = io_open(&fd, path);
	if (e == ERR_ABSENT)
		return format_absent(dir);
	if (e != OK)
		return e;
	size_t got = 0;
	e = io_read(fd, line, sizeof line - 1, &got, path);
	io_close(&fd);
	if (e != OK)
		return e;
	line[got] = 0;
	unsigned version;
	if (sscanf(line, ARCHIVE_WORD " %9u", &version) != 1)
		return fail(ERR_FORMAT, "%s: damaged: it should say \"" ARCHIVE_WORD " %u\" and the archive's id", path,
		            ARCHIVE_VERSION);
	if (version != ARCHIVE_VERSION)
		return fail(ERR_UNSUPPORTED, "%s: archive format version %u, this program knows %u: use a newer program", dir,
		            version, ARCHIVE_VERSION);
	char want[128];
	if (sscanf(line, ARCHIVE_WORD " %*u %32[0-9a-f]", hex) != 1 ||
	    sodium_hex2bin(found, sizeof found, hex, strlen(hex), NULL, NULL, NULL) != 0 || strlen(hex) != 32 ||
	    snprintf(want, sizeof want, ARCHIVE_WORD " %u %s\n", version, hex) != (int)got || memcmp(want, line, got) != 0)
		return fail(ERR_FORMAT, "%s: damaged: restore it from a copy", path);
	memcpy(id, found, sizeof found);
	return OK;
}

static bool
writes(const struct archive *a)
{
	return a->access == ARCHIVE_WRITE || a->access == ARCHIVE_BARE;
}

bool
archive_is_read_only(const char *dir)
{
	static const char *const names[] = { ".", "keystore", "manifest", "segments", "index", "index/data.mdb", "index/lock.mdb" };
	char path[PATH_BYTES];
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (io_path(path, dir, "%s", names[i]) == OK && io_read_only(path))
			return true;
	return false;
}

enum err
archive_open_catalogue(struct archive *a, const char *name, struct catalogue **out)
{
	char folder[PATH_BYTES];
	uint8_t key[CATALOGUE_KEY_BYTES];
	TRY(io_path(folder, a->dir, "%s", name));
	keystore_derive(a->keystore, ARCHIVE_CATALOGUE_LABEL, key);
	enum err e = catalogue_open(out, folder, key, writes(a), 0);
	sodium_memzero(key, sizeof key);
	return e;
}

enum err
archive_open_manifest(struct archive *a, const char *name, struct manifest **out)
{
	uint8_t key[MANIFEST_KEY_BYTES];
	keystore_derive(a->keystore, ARCHIVE_MANIFEST_LABEL, key);
	enum err e = manifest_open(out, a->dir, name, key, a->id, writes(a));
	sodium_memzero(key, sizeof key);
	return e;
}

/* *behind: the manifest has more than the index. */
static enum err
parts_open(struct archive *a, bool *behind)
{
	char folder[PATH_BYTES];
	TRY(io_path(folder, a->dir, "index"));
	if (!writes(a) && catalogue_is_unseen(folder))
		TRY(keystore_hold(a->keystore));
	TRY(archive_open_manifest(a, "manifest", &a->manifest));
	TRY(archive_open_catalogue(a, "index", &a->catalogue));
	struct state_row state;
	uint64_t bytes;
	uint8_t manifest[MANIFEST_ID_BYTES];
	TRY(catalogue_begin(a->catalogue));
	enum err e = catalogue_state(a->catalogue, &state);
	catalogue_end(a->catalogue);
	if (e != OK)
		return e;
	/* after the snapshot: the manifest only grows, and it grows first */
	TRY(manifest_bytes(a->manifest, &bytes));
	manifest_id(a->manifest, manifest);
	if (memcmp(state.archive, a->id, sizeof a->id) != 0 || memcmp(state.manifest, manifest, sizeof manifest) != 0)
		return fail(ERR_FORMAT, "%s: the index belongs to another manifest: run atoll rebuild", a->dir);
	if (state.applied_bytes > bytes)
		return fail(ERR_FORMAT, "%s: the manifest ends at byte %" PRIu64 ", but the index followed it to byte %" PRIu64
		            ": damaged or an older copy: run atoll fsck --repair", a->dir, bytes, state.applied_bytes);
	*behind = state.applied_bytes < bytes;
	return OK;
}

/* What finishes a removal, or comes before one, must not want for room. */
static enum err
recover(struct archive *a)
{
	enum err e = recovery_run(a, &a->recovered);
	if (e != ERR_FULL)
		return e;
	TRY(reserve_release(a->dir));
	return recovery_run(a, &a->recovered);
}

static enum err
open_once(struct archive **out, const char *dir, const char *key_path, enum archive_access access, bool *behind)
{
	struct archive *a = calloc(1, sizeof *a);
	if (a == NULL)
		return fail(ERR_NOMEM, "%s: no memory to open it", dir);
	a->access = access;
	int n = snprintf(a->dir, sizeof a->dir, "%s", dir);
	enum err e = n < 0 || n >= (int)sizeof a->dir ? fail(ERR_LIMIT, "%s: path too long", dir)
	                                              : archive_read_format(dir, "format", a->id);
	if (e == OK)
		e = keystore_open(&a->keystore, dir, key_path, writes(a));
	if (e == OK) {
		uint8_t id[ARCHIVE_ID_BYTES];
		keystore_archive_id(a->keystore, id);
		if (memcmp(id, a->id, sizeof id) != 0)
			e = fail(ERR_FORMAT, "%s: the keystore is another archive's: restore the right one from a copy", dir);
	}
	if (e == OK && writes(a))
		e = archive_refuse_network(dir);
	*behind = false;
	if (e == OK && (access == ARCHIVE_READ || access == ARCHIVE_WRITE))
		e = parts_open(a, behind);
	if (e == OK && access == ARCHIVE_WRITE)
		e = recover(a);
	if (e != OK) {
		archive_close(&a);
		return e;
	}
	*out = a;
	return OK;
}

enum err
archive_open(struct archive **out, const char *dir, const char *key_path, enum archive_access access)
{
	bool behind;
	TRY(open_once(out, dir, key_path, access, &behind));
	if (access != ARCHIVE_READ || !behind)
		return OK;
	/* A commit in progress, or one that a killed writer did not finish: finish it unless somebody holds the lock (then it
	 * is in progress) or this process may not write. Either way what the index shows is a consistent earlier state. */
	archive_close(out);
	struct archive *writer = NULL;
	struct recovery_report recovered = { 0 };
	if (open_once(&writer, dir, key_path, ARCHIVE_WRITE, &behind) == OK) {
		recovered = writer->recovered;
		archive_close(&writer);
	}
	TRY(open_once(out, dir, key_path, ARCHIVE_READ, &behind));
	(*out)->recovered = recovered;
	return OK;
}

void
archive_close(struct archive **a)
{
	if (*a == NULL)
		return;
	catalogue_close(&(*a)->catalogue);
	manifest_close(&(*a)->manifest);
	keystore_close(&(*a)->keystore); /* last: it holds the lock */
	free(*a);
	*a = NULL;
}

void
archive_set_parts(struct archive *a, struct catalogue *c, struct manifest *m)
{
	catalogue_close(&a->catalogue);
	manifest_close(&a->manifest);
	a->catalogue = c;
	a->manifest = m;
}

const char *archive_path(const struct archive *a) { return a->dir; }
void archive_id(const struct archive *a, uint8_t id[ARCHIVE_ID_BYTES]) { memcpy(id, a->id, ARCHIVE_ID_BYTES); }
struct keystore *archive_keystore(struct archive *a) { return a->keystore; }
struct catalogue *archive_catalogue(struct archive *a) { return a->catalogue; }
struct manifest *archive_manifest(struct archive *a) { return a->manifest; }
const struct recovery_report *archive_recovered(const struct archive *a) { return &a->recovered; }

/* --- segments --- */

enum err
archive_segments_folder(const struct archive *a, char out[PATH_BYTES])
{
	return io_path(out, a->dir, "segments");
}

enum err
archive_segment_path(const struct archive *a, uint64_t id, char out[PATH_BYTES])
{
	return io_path(out, a->dir, "segments/%016" PRIx64 ".seg", id);
}

enum err
archive_segment_temp_path(const struct archive *a, uint64_t id, char out[PATH_BYTES])
{
	return io_path(out, a->dir, "segments/.%016" PRIx64 ".tmp", id);
}

bool
archive_segment_id(const char *name, uint64_t *id, bool *temp)
{
	bool hidden = name[0] == '.';
	const char *digits = name + hidden;
	if (strspn(digits, "0123456789abcdef") != 16 || strcmp(digits + 16, hidden ? ".tmp" : ".seg") != 0)
		return false;
	*id = strtoull(digits, NULL, 16);
	*temp = hidden;
	return true;
}

enum err
archive_open_segment(struct archive *a, const struct segment_row *row, struct segment **out)
{
	char path[PATH_BYTES];
	uint8_t key[SEGMENT_KEY_BYTES];
	TRY(archive_segment_path(a, row->id, path));
	TRY(keystore_get(a->keystore, row->slot, row->id, key));
	struct segment *s = NULL;
	enum err e = segment_open(&s, path, key);
	sodium_memzero(key, sizeof key);
	if (e != OK)
		return e;
	const struct segment_name *name = segment_name_of(s);
	if (name->id != row->id || name->stream != row->stream || name->key_slot != row->slot ||
	    memcmp(name->archive, a->id, sizeof a->id) != 0 ||
	    memcmp(segment_totals_of(s)->root, row->root, sizeof row->root) != 0) {
		segment_close(&s);
		return fail(ERR_FORMAT, "%s: not the file that was committed (its root hash differs)", path);
	}
	*out = s;
	return OK;
}

/* --- landing files --- */

enum err
archive_landing_folder(const struct archive *a, char out[PATH_BYTES])
{
	return io_path(out, a->dir, "landing");
}

enum err
archive_landing_path(const struct archive *a, uint64_t id, char out[PATH_BYTES])
{
	return io_path(out, a->dir, "landing/%016" PRIx64 ".land", id);
}

bool
archive_landing_id(const char *name, uint64_t *id)
{
	if (strspn(name, "0123456789abcdef") != 16 || strcmp(name + 16, ".land") != 0)
		return false;
	*id = strtoull(name, NULL, 16);
	return true;
}

enum err
archive_open_landing(struct archive *a, const struct landing_row *row, struct landing **out)
{
	char path[PATH_BYTES];
	uint8_t key[SEGMENT_KEY_BYTES];
	struct landing *l = NULL;
	TRY(archive_landing_path(a, row->id, path));
	TRY(keystore_get(a->keystore, row->slot, row->id, key));
	enum err e = landing_open(&l, path, key);
	sodium_memzero(key, sizeof key);
	if (e != OK)
		return e;
	const struct landing_name *name = landing_name_of(l);
	if (name->id != row->id || name->key_slot != row->slot || memcmp(name->archive, a->id, sizeof a->id) != 0) {
		landing_close(&l);
		return fail(ERR_FORMAT, "%s: another landing file than the index knows under this number", path);
	}
	*out = l;
	return OK;
}

enum err
archive_index_bytes(const struct archive *a, uint64_t *bytes)
{
	static const char *const names[] = { "format", "keystore", "manifest", "index/data.mdb" };
	uint64_t sum = 0;
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		char path[PATH_BYTES];
		struct stat st;
		TRY(io_path(path, a->dir, "%s", names[i]));
		if (stat(path, &st) < 0)
			return fail_errno("%s", path);
		sum += (uint64_t)st.st_size;
	}
	*bytes = sum;
	return OK;
}
