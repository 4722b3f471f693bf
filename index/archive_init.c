/* Making an archive. Killed at any moment, it can be done again with the same command:
 *
 *     mkdir dir | .format.tmp, fdatasync, fsync dir | segments/, index/, keystore, owner key, manifest, index | fsync dir
 *         | .format.tmp becomes format, fsync dir
 *
 * A folder with .format.tmp and nothing that is not of this list was never an archive, so nothing in it is of any worth.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io.h"
#include "base/limits.h"
#include "index/archive_dir.h"

/* What init makes in the folder, in the order in which it can be removed. */
static const char *const parts[] = { "index/data.mdb", "index/lock.mdb", "index/", "segments/", "keystore", "owner.key", "manifest",
                                     ARCHIVE_UNFINISHED };
#define PARTS (sizeof parts / sizeof *parts)

/* --- the folder --- */

static bool
is_part(int folder, const char *prefix, const char *entry)
{
	char name[PATH_BYTES];
	struct stat st;
	if (fstatat(folder, entry, &st, AT_SYMLINK_NOFOLLOW) < 0 || (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode)) ||
	    snprintf(name, sizeof name, "%s%s%s", prefix, entry, S_ISDIR(st.st_mode) ? "/" : "") >= (int)sizeof name)
		return false;
	for (size_t i = 0; i < PARTS; i++)
		if (strcmp(name, parts[i]) == 0)
			return true;
	return false;
}

/* Counts the entries of dir/prefix, and those that are none of ours. */
static enum err
folder_count(const char *dir, const char *prefix, unsigned *all, unsigned *foreign)
{
	char path[PATH_BYTES];
	TRY(io_path(path, dir, "%s", prefix));
	DIR *d = opendir(path);
	if (d == NULL)
		return errno == ENOENT && *prefix ? OK : fail_errno("%s", dir);
	for (struct dirent *entry; (entry = readdir(d));) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		++*all;
		*foreign += !is_part(dirfd(d), prefix, entry->d_name);
	}
	closedir(d);
	return OK;
}

/* Empty, or *unfinished: nothing there but what a killed init left. */
static enum err
folder_look(const char *dir, bool *unfinished)
{
	char path[PATH_BYTES];
	unsigned all = 0, foreign = 0;
	TRY(io_path(path, dir, "format"));
	if (access(path, F_OK) == 0)
		return fail(ERR_EXISTS, "%s: already an archive", dir);
	TRY(folder_count(dir, "", &all, &foreign));
	TRY(io_path(path, dir, ARCHIVE_UNFINISHED));
	*unfinished = access(path, F_OK) == 0;
	if (*unfinished && !foreign) {
		TRY(folder_count(dir, "segments/", &all, &foreign));
		TRY(folder_count(dir, "index/", &all, &foreign));
	}
	if (!foreign && (!all || *unfinished))
		return OK;
	uint8_t id[ARCHIVE_ID_BYTES];
	TRY(io_path(path, dir, "manifest"));
	if (access(path, F_OK) == 0 && archive_read_format(dir, "format", id) != OK)
		return ERR_EXISTS; /* with its sentence */
	return fail(ERR_EXISTS, "%s: not empty: name a new folder", dir);
}

/* A folder in an archive would be taken for a part of it. */
static enum err
refuse_inside(const char *dir)
{
	char place[PATH_MAX], above[PATH_BYTES];
	uint8_t id[ARCHIVE_ID_BYTES];
	snprintf(above, sizeof above, "%s", dir);
	char *end = NULL; /* no such place: making it says what is wrong */
	if (realpath(dir, place))
		end = strrchr(place, '/');
	else if (realpath(dirname(above), place))
		end = place + strlen(place);
	for (; end; end = strrchr(place, '/')) {
		*end = 0;
		if (archive_read_format(*place ? place : "/", "format", id) == OK)
			return fail(ERR_USAGE, "%s: lies in the archive %s: name a place outside of it", dir, place);
	}
	return OK;
}

/* Held while an init is at work, so that another does not take its things for a killed one's. */
static enum err
folder_lock(const char *dir, int *lock)
{
	TRY(io_open(lock, dir));
	if (flock(*lock, LOCK_EX | LOCK_NB) == 0)
		return OK;
	return errno == EWOULDBLOCK ? fail(ERR_BUSY, "%s: another init is at work there", dir) : fail_errno("%s: lock", dir);
}

/* --- its parts --- */

static enum err
format_begin(const char *dir, const uint8_t id[ARCHIVE_ID_BYTES])
{
	char path[PATH_BYTES], hex[2 * ARCHIVE_ID_BYTES + 1], line[128];
	TRY(io_path(path, dir, ARCHIVE_UNFINISHED));
	sodium_bin2hex(hex, sizeof hex, id, ARCHIVE_ID_BYTES);
	int n = snprintf(line, sizeof line, ARCHIVE_WORD " %u %s\n", ARCHIVE_VERSION, hex);
	int fd = -1;
	TRY(io_create(&fd, path, 0600));
	enum err e = io_write(fd, line, (size_t)n, path);
	if (e == OK)
		e = io_datasync(fd, path);
	io_close(&fd);
	return e == OK ? io_sync_dir(dir) : e;
}

static enum err
format_end(const char *dir)
{
	char temp[PATH_BYTES], path[PATH_BYTES];
	TRY(io_path(temp, dir, ARCHIVE_UNFINISHED));
	TRY(io_path(path, dir, "format"));
	TRY(io_sync_dir(dir)); /* the names of all that is there come before this one */
	TRY(io_rename(temp, path));
	return io_sync_dir(dir);
}

static enum err
index_create(const char *dir, const char *key_path, const uint8_t id[ARCHIVE_ID_BYTES])
{
	char folder[PATH_BYTES];
	struct keystore *k = NULL;
	struct state_row state = { .version = CATALOGUE_VERSION, .next_segment = 1, .next_stream = 1 };
	uint8_t manifest_key[MANIFEST_KEY_BYTES], catalogue_key[CATALOGUE_KEY_BYTES];
	struct manifest *m = NULL;
	TRY(io_path(folder, dir, "index"));
	TRY(keystore_open(&k, dir, key_path, false));
	keystore_derive(k, ARCHIVE_MANIFEST_LABEL, manifest_key);
	keystore_derive(k, ARCHIVE_CATALOGUE_LABEL, catalogue_key);
	keystore_close(&k);
	enum err e = manifest_create(dir, "manifest", manifest_key, id, state.manifest);
	if (e == OK)
		e = manifest_open(&m, dir, "manifest", manifest_key, id, false);
	if (e == OK) {
		memcpy(state.archive, id, sizeof state.archive);
		state.applied_bytes = manifest_start(m);
		manifest_close(&m);
		e = catalogue_create(folder, catalogue_key, &state);
	}
	sodium_memzero(manifest_key, sizeof manifest_key);
	sodium_memzero(catalogue_key, sizeof catalogue_key);
	return e == OK ? io_sync_dir(folder) : e;
}

static enum err
parts_make(const char *dir, const char *key_path, const uint8_t id[ARCHIVE_ID_BYTES])
{
	char path[PATH_BYTES];
	TRY(format_begin(dir, id));
	TRY(io_path(path, dir, "segments"));
	TRY(io_mkdir(path, 0700));
	TRY(io_path(path, dir, "index"));
	TRY(io_mkdir(path, 0700));
	TRY(keystore_create(dir, key_path, id));
	TRY(index_create(dir, key_path, id));
	TRY(format_end(dir));
	snprintf(path, sizeof path, "%s", dir);
	return io_sync_dir(dirname(path));
}

/* Takes away what an init made that failed or was killed, its owner key outside of the folder included. What stands under the
 * name of the mark goes last, so that this, too, can be killed. */
static void
parts_remove(const char *dir, const char *key_path, bool killed)
{
	char path[PATH_BYTES], mark[PATH_BYTES];
	uint8_t id[ARCHIVE_ID_BYTES];
	if (io_path(path, dir, "format") == OK && io_path(mark, dir, ARCHIVE_UNFINISHED) == OK)
		(void)rename(path, mark);
	if (key_path && archive_read_format(dir, ARCHIVE_UNFINISHED, id) == OK && keystore_owner_begun(key_path, id, killed))
		(void)unlink(key_path);
	for (size_t i = 0; i < PARTS; i++)
		if (snprintf(path, sizeof path, "%s/%s", dir, parts[i]) < (int)sizeof path)
			(void)remove(path);
}

/* With the folder locked. */
static enum err
make_in(const char *dir, const char *key_path)
{
	bool unfinished;
	uint8_t id[ARCHIVE_ID_BYTES];
	char sentence[ERR_TEXT_BYTES];
	TRY(folder_look(dir, &unfinished));
	TRY(archive_refuse_network(dir));
	if (sodium_init() < 0)
		return fail(ERR_IO, "libsodium found no source of random numbers");
	if (unfinished)
		parts_remove(dir, key_path, true);
	randombytes_buf(id, sizeof id);
	enum err e = parts_make(dir, key_path, id);
	if (e == OK)
		return OK;
	snprintf(sentence, sizeof sentence, "%s", err_text()); /* the first error is the one to tell */
	parts_remove(dir, key_path, false);
	return fail(e, "%s", sentence);
}

enum err
archive_init(const char *dir, const char *key_path)
{
	int lock = -1;
	TRY(refuse_inside(dir));
	enum err e = io_mkdir(dir, 0700);
	bool made = e == OK;
	if (e != OK && e != ERR_EXISTS)
		return e;
	e = folder_lock(dir, &lock);
	if (e == OK) {
		e = make_in(dir, key_path);
		if (e != OK && made)
			(void)rmdir(dir);
	}
	io_close(&lock);
	return e;
}
