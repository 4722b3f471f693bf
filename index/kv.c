#include "index/kv.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/io.h"
#include "base/limits.h"
#include "index/pagecheck.h"

#define CHECK_BYTES    4u
#define LOCK_BYTES     8192u /* LMDB's lock.mdb with its 126 readers */
#define SNAPSHOT_TRIES 16 /* a writer must commit twice between two system calls of ours to spoil one */

struct kv {
	MDB_env    *env;
	MDB_txn    *txn;
	MDB_cursor *cursor;
	MDB_dbi     dbi;
	pid_t       pid;
	bool        writable, changing, map_full, stopped;
	uint8_t     check_key[KV_CHECK_KEY_BYTES];
	char        path[PATH_BYTES]; /* of data.mdb */
};

_Static_assert(KV_CHECK_KEY_BYTES == crypto_shorthash_KEYBYTES, "SipHash-2-4");

static enum err
kv_fail(const struct kv *kv, int rc, const char *what)
{
	switch (rc) {
	case MDB_NOTFOUND:
		return fail(ERR_ABSENT, "%s: not in the index", kv->path);
	case MDB_READERS_FULL:
		return fail(ERR_BUSY, "%s: too many programs read this archive: try again later", kv->path);
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
	case MDB_VERSION_MISMATCH:
	case MDB_PANIC:
	case MDB_INCOMPATIBLE:
		return fail(ERR_FORMAT, "%s: index damaged (%s): run atoll rebuild", kv->path, mdb_strerror(rc));
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
		return fail(ERR_LIMIT, "%s: %s: %s", kv->path, what, mdb_strerror(rc));
	default:
		if (rc < 0)
			return fail(ERR_IO, "%s: %s: %s", kv->path, what, mdb_strerror(rc));
		errno = rc;
		return fail_errno("%s: %s", kv->path, what);
	}
}

static void
owned(const struct kv *kv)
{
	assert(kv->pid == getpid() && "LMDB is opened after fork, once per process");
}

/* --- opening --- */

/* LMDB makes lock.mdb with a hole and writes to it through a map: on a full disk that is SIGBUS. So it gets its blocks here,
 * where it is an error. Nothing is opened when it has them: closing the file would drop the locks that this process holds. */
static enum err
lock_room(const char *dir)
{
	char path[PATH_BYTES];
	struct stat st;
	int fd = -1, rc;
	TRY(io_path(path, dir, "lock.mdb"));
	if (stat(path, &st) == 0 && (uint64_t)st.st_blocks * 512 >= LOCK_BYTES)
		return OK;
	enum err e = io_open_write(&fd, path);
	if (e == ERR_ABSENT)
		e = io_create(&fd, path, 0600);
	if (e == ERR_EXISTS) /* made by another process just now */
		e = io_open_write(&fd, path);
	if (e != OK)
		return e;
	do
		rc = fallocate(fd, 0, 0, LOCK_BYTES);
	while (rc < 0 && errno == EINTR);
	if (rc < 0 && errno != EOPNOTSUPP && errno != ENOSYS)
		e = fail_errno("%s", path);
	io_close(&fd);
	return e;
}

enum err
kv_create(const char *dir)
{
	char path[PATH_BYTES];
	TRY(io_path(path, dir, "data.mdb"));
	if (access(path, F_OK) == 0)
		return fail(ERR_EXISTS, "%s: already there", path);
	struct kv kv = { .pid = getpid() };
	memcpy(kv.path, path, sizeof path);
	TRY(lock_room(dir));
	int rc = mdb_env_create(&kv.env);
	if (rc != 0)
		return kv_fail(&kv, rc, "create");
	rc = mdb_env_open(kv.env, dir, MDB_NOTLS, 0600); /* writes both meta pages */
	mdb_env_close(kv.env);
	return rc ? kv_fail(&kv, rc, "create") : OK;
}

/* Checks the pages of the snapshot that kv->txn reads, over a map of the file of our own. */
static enum err
snapshot_check(struct kv *kv, const struct pagecheck_meta *meta, int fd)
{
	uint64_t bytes;
	TRY(io_size(fd, &bytes, kv->path));
	void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return fail_errno("%s: map", kv->path);
	enum err e = pagecheck_trees(meta, map, bytes, kv->writable, kv->path);
	munmap(map, bytes);
	return e;
}

static enum err
pages_check(struct kv *kv, int fd)
{
	int rc = mdb_txn_begin(kv->env, NULL, MDB_RDONLY, &kv->txn);
	if (rc == MDB_READERS_FULL) {
		int dead;
		mdb_reader_check(kv->env, &dead);
		rc = mdb_txn_begin(kv->env, NULL, MDB_RDONLY, &kv->txn);
	}
	if (rc != 0)
		return kv_fail(kv, rc, "read");
	enum err e = OK;
	for (int i = 0; i < SNAPSHOT_TRIES; i++) {
		/* the meta page of our snapshot is overwritten two commits later: then take a newer one */
		struct pagecheck_meta metas[2];
		e = pagecheck_metas(fd, kv->path, metas);
		uint64_t txn = mdb_txn_id(kv->txn);
		if (e == OK && metas[txn & 1].txn == txn) {
			e = snapshot_check(kv, &metas[txn & 1], fd);
			break;
		}
		if (e == OK)
			e = fail(ERR_BUSY, "%s: a writer commits faster than the index can be checked", kv->path);
		mdb_txn_reset(kv->txn);
		rc = mdb_txn_renew(kv->txn);
		if (rc != 0) {
			mdb_txn_abort(kv->txn);
			kv->txn = NULL;
			return kv_fail(kv, rc, "read");
		}
	}
	if (e == OK && (rc = mdb_dbi_open(kv->txn, NULL, 0, &kv->dbi)) != 0)
		e = kv_fail(kv, rc, "open");
	mdb_txn_abort(kv->txn);
	kv->txn = NULL;
	return e;
}

/* The folder may be exchanged for a rebuilt one between LMDB's opening of lock.mdb and of data.mdb. */
static enum err
folder_of(const struct kv *kv, const char *dir, ino_t *inode)
{
	struct stat st;
	if (stat(dir, &st) < 0)
		return fail_errno("%s", kv->path);
	*inode = st.st_ino;
	return OK;
}

bool
kv_is_unseen(const char *dir)
{
	char lock[PATH_BYTES];
	if (io_path(lock, dir, "lock.mdb") != OK)
		return false; /* opening says so */
	return io_read_only(lock) || (access(lock, F_OK) < 0 && io_read_only(dir));
}

static enum err
env_open(struct kv *kv, const char *dir, uint64_t map_bytes)
{
	unsigned flags = MDB_NOTLS | (kv->writable ? 0 : MDB_RDONLY);
	if (!kv->writable && kv_is_unseen(dir))
		flags |= MDB_NOLOCK;
	else
		TRY(lock_room(dir));
	int rc = mdb_env_create(&kv->env);
	if (rc != 0)
		return kv_fail(kv, rc, "open");
	rc = mdb_env_set_mapsize(kv->env, map_bytes);
	if (rc == 0)
		rc = mdb_env_open(kv->env, dir, flags, 0600);
	if (rc == ENOENT)
		return fail(ERR_ABSENT, "%s: index missing: run atoll rebuild", kv->path);
	return rc ? kv_fail(kv, rc, "open") : OK;
}

static enum err
open_checked(struct kv *kv, const char *dir, uint64_t map_bytes)
{
	int fd = -1;
	ino_t before = 0, after = 0;
	enum err e = folder_of(kv, dir, &before);
	if (e == OK)
		e = io_open(&fd, kv->path);
	if (e == ERR_ABSENT)
		return fail(e, "%s: index missing: run atoll rebuild", kv->path);
	if (e != OK)
		return e;
	struct pagecheck_meta metas[2];
	e = pagecheck_metas(fd, kv->path, metas);
	if (e == OK) {
		const struct pagecheck_meta *newest = &metas[metas[1].txn > metas[0].txn];
		uint64_t needed = (newest->last_page + 1) * newest->page_bytes;
		while (map_bytes < needed || map_bytes < newest->map_bytes)
			map_bytes *= 2;
		e = env_open(kv, dir, map_bytes);
	}
	if (e == OK)
		e = pages_check(kv, fd);
	io_close(&fd);
	if (e == OK)
		e = folder_of(kv, dir, &after);
	if (e == OK && before != after)
		e = fail(ERR_BUSY, "%s: the index is being rebuilt: try again", kv->path);
	return e;
}

enum err
kv_open(struct kv **out, const char *dir, const uint8_t check_key[KV_CHECK_KEY_BYTES], const struct kv_options *options)
{
	char path[PATH_BYTES];
	TRY(io_path(path, dir, "data.mdb"));
	struct kv *kv = calloc(1, sizeof *kv);
	if (kv == NULL)
		return fail(ERR_NOMEM, "%s: no memory to open it", path);
	memcpy(kv->path, path, sizeof path);
	memcpy(kv->check_key, check_key, sizeof kv->check_key);
	kv->pid = getpid();
	kv->writable = options->writable;
	enum err e = open_checked(kv, dir, options->map_bytes ? options->map_bytes : KV_MAP_BYTES);
	if (e != OK) {
		kv_close(&kv);
		return e;
	}
	*out = kv;
	return OK;
}

void
kv_close(struct kv **kv)
{
	if (*kv == NULL)
		return;
	owned(*kv);
	kv_end(*kv);
	if ((*kv)->env)
		mdb_env_close((*kv)->env);
	sodium_memzero((*kv)->check_key, sizeof (*kv)->check_key);
	free(*kv);
	*kv = NULL;
}

/* --- reading --- */

static enum err
txn_begin(struct kv *kv, unsigned flags)
{
	owned(kv);
	assert(kv->txn == NULL);
	int rc = mdb_txn_begin(kv->env, NULL, flags, &kv->txn);
	if (rc == MDB_MAP_RESIZED) { /* the writer has grown it */
		rc = mdb_env_set_mapsize(kv->env, 0);
		if (rc == 0)
			rc = mdb_txn_begin(kv->env, NULL, flags, &kv->txn);
	}
	if (rc == MDB_READERS_FULL) {
		int dead;
		mdb_reader_check(kv->env, &dead);
		rc = mdb_txn_begin(kv->env, NULL, flags, &kv->txn);
	}
	if (rc == 0 && (rc = mdb_cursor_open(kv->txn, kv->dbi, &kv->cursor)) != 0)
		mdb_txn_abort(kv->txn);
	if (rc != 0) {
		kv->txn = NULL;
		kv->cursor = NULL;
		return kv_fail(kv, rc, "read");
	}
	return OK;
}

enum err
kv_begin(struct kv *kv)
{
	return txn_begin(kv, MDB_RDONLY);
}

void
kv_end(struct kv *kv)
{
	owned(kv);
	if (kv->cursor)
		mdb_cursor_close(kv->cursor);
	if (kv->txn)
		mdb_txn_abort(kv->txn);
	kv->cursor = NULL;
	kv->txn = NULL;
}

static void
value_check(const struct kv *kv, const void *key, size_t key_bytes, const void *value, size_t n, uint8_t check[CHECK_BYTES])
{
	uint8_t text[1 + KV_KEY_BYTES_MAX + KV_VALUE_BYTES_MAX], hash[crypto_shorthash_BYTES];
	struct writer w = writer_of(text, sizeof text);
	writer_u8(&w, (uint8_t)key_bytes);
	writer_put(&w, key, key_bytes);
	writer_put(&w, value, n);
	assert(writer_ok(&w));
	crypto_shorthash(hash, text, (size_t)(w.at - text), kv->check_key);
	memcpy(check, hash, CHECK_BYTES);
}

enum err
kv_check(struct kv *kv, const void *key, size_t key_bytes, const uint8_t *value, size_t *n)
{
	uint8_t check[CHECK_BYTES];
	if (*n >= CHECK_BYTES && *n - CHECK_BYTES <= KV_VALUE_BYTES_MAX && key_bytes <= KV_KEY_BYTES_MAX) {
		value_check(kv, key, key_bytes, value, *n - CHECK_BYTES, check);
		if (memcmp(check, value + *n - CHECK_BYTES, CHECK_BYTES) == 0) {
			*n -= CHECK_BYTES;
			return OK;
		}
	}
	return fail(ERR_FORMAT, "%s: index damaged (an entry's check): run atoll rebuild", kv->path);
}

enum err
kv_get_raw(struct kv *kv, const void *key, size_t key_bytes, const uint8_t **value, size_t *n)
{
	assert(kv->txn && key_bytes <= KV_KEY_BYTES_MAX);
	MDB_val k = { key_bytes, (void *)(uintptr_t)key }, v; /* LMDB does not write to it */
	int rc = mdb_get(kv->txn, kv->dbi, &k, &v);
	if (rc != 0)
		return kv_fail(kv, rc, "read");
	*value = v.mv_data;
	*n = v.mv_size;
	return OK;
}

enum err
kv_get(struct kv *kv, const void *key, size_t key_bytes, const uint8_t **value, size_t *n)
{
	const uint8_t *found;
	size_t bytes;
	TRY(kv_get_raw(kv, key, key_bytes, &found, &bytes));
	TRY(kv_check(kv, key, key_bytes, found, &bytes));
	*value = found;
	*n = bytes;
	return OK;
}

enum err
kv_find(struct kv *kv, const void *key, size_t key_bytes, bool after, const uint8_t **found, size_t *found_bytes,
        const uint8_t **value, size_t *n)
{
	assert(kv->txn && key_bytes <= KV_KEY_BYTES_MAX);
	MDB_val k = { key_bytes, (void *)(uintptr_t)key }, v;
	int rc = mdb_cursor_get(kv->cursor, &k, &v, MDB_SET_RANGE);
	if (rc == 0 && after && k.mv_size == key_bytes && memcmp(k.mv_data, key, key_bytes) == 0)
		rc = mdb_cursor_get(kv->cursor, &k, &v, MDB_NEXT);
	if (rc == MDB_NOTFOUND)
		return END;
	if (rc != 0)
		return kv_fail(kv, rc, "read");
	*found = k.mv_data;
	*found_bytes = k.mv_size;
	*value = v.mv_data;
	*n = v.mv_size;
	return OK;
}

/* --- changing --- */

static enum err
map_grow(struct kv *kv)
{
	MDB_envinfo info;
	mdb_env_info(kv->env, &info);
	if (info.me_mapsize > KV_MAP_BYTES_MAX / 2)
		return fail(ERR_LIMIT, "%s: index larger than %llu bytes", kv->path, KV_MAP_BYTES_MAX);
	int rc = mdb_env_set_mapsize(kv->env, 2 * info.me_mapsize);
	return rc ? kv_fail(kv, rc, "grow") : OK;
}

/* One try. *full: nothing was changed, the map must grow. */
static enum err
update_once(struct kv *kv, kv_change *change, void *arg, bool *full)
{
	int dead; /* readers that were killed would keep old pages from being used again */
	mdb_reader_check(kv->env, &dead);
	kv->map_full = false;
	TRY(txn_begin(kv, 0));
	kv->changing = true;
	enum err e = change(kv, arg);
	kv->changing = false;
	if (e != OK) {
		*full = kv->map_full;
		kv_end(kv);
		return e;
	}
	mdb_cursor_close(kv->cursor);
	kv->cursor = NULL;
	int rc = mdb_txn_commit(kv->txn);
	kv->txn = NULL;
	*full = rc == MDB_MAP_FULL;
	/* A full disk is met while pages that nothing refers to yet are written: the transaction is as if it had not been. Were
	 * it met later, LMDB would refuse the next one (MDB_PANIC). */
	if (rc != 0 && !*full && rc != ENOSPC && rc != EDQUOT)
		kv->stopped = true;
	return rc ? kv_fail(kv, rc, "commit") : OK;
}

enum err
kv_update(struct kv *kv, kv_change *change, void *arg)
{
	assert(kv->writable);
	for (;;) {
		if (kv->stopped)
			return fail(ERR_IO, "%s: stopped after a failed commit: start again", kv->path);
		bool full = false;
		enum err e = update_once(kv, change, arg, &full);
		if (e == OK || !full)
			return e;
		TRY(map_grow(kv));
	}
}

enum err
kv_put_raw(struct kv *kv, const void *key, size_t key_bytes, const void *value, size_t n)
{
	assert(kv->changing && key_bytes >= 1 && key_bytes <= KV_KEY_BYTES_MAX);
	MDB_val k = { key_bytes, (void *)(uintptr_t)key }, v = { n, (void *)(uintptr_t)value };
	int rc = mdb_put(kv->txn, kv->dbi, &k, &v, 0);
	kv->map_full |= rc == MDB_MAP_FULL;
	return rc ? kv_fail(kv, rc, "write") : OK;
}

enum err
kv_put(struct kv *kv, const void *key, size_t key_bytes, const void *value, size_t n)
{
	uint8_t checked[KV_VALUE_BYTES_MAX + CHECK_BYTES];
	assert(n <= KV_VALUE_BYTES_MAX);
	memcpy(checked, value, n);
	value_check(kv, key, key_bytes, value, n, checked + n);
	return kv_put_raw(kv, key, key_bytes, checked, n + CHECK_BYTES);
}

enum err
kv_delete(struct kv *kv, const void *key, size_t key_bytes)
{
	assert(kv->changing && key_bytes <= KV_KEY_BYTES_MAX);
	MDB_val k = { key_bytes, (void *)(uintptr_t)key };
	int rc = mdb_del(kv->txn, kv->dbi, &k, NULL);
	kv->map_full |= rc == MDB_MAP_FULL;
	return rc ? kv_fail(kv, rc, "delete") : OK;
}
