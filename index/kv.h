/* One LMDB environment with one sorted table of bytes: the only file that calls LMDB. DIR/data.mdb and DIR/lock.mdb.
 *
 * - Opened only after pagecheck found every page in order, so damage gives ERR_FORMAT "index damaged: run atoll rebuild" and
 *   never a crash. Each value carries four bytes of SipHash-2-4 over key and value (kv_put) or checks of its own
 *   (kv_put_raw), for damage that leaves the tree in order.
 * - Every commit is synchronous. When a commit fails for any reason but a full map or a full disk (ERR_FULL: nothing of it
 *   counts), the handle stops: all further updates fail, because LMDB 0.9 would go on over a failed fdatasync.
 * - A full map is grown twofold and the change runs again.
 * - The handle belongs to one thread of the process that opened it (asserted after fork), and a process opens a folder only
 *   once at a time: LMDB's own rule, closing a second handle would drop the first one's locks.
 * - Readers see the state of kv_begin() until kv_end(), whatever a writer in another process commits meanwhile. Keep it
 *   short: pages that a reader may still see are not used again.
 */
#ifndef INDEX_KV_H
#define INDEX_KV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define KV_MAP_BYTES      (16u << 20)  /* address space at first; doubled when full */
#define KV_MAP_BYTES_MAX  (1ull << 40) /* as pagecheck's bound */
#define KV_KEY_BYTES_MAX  64u
#define KV_VALUE_BYTES_MAX 1024u       /* with a check (kv_put); kv_put_raw takes any size */
#define KV_CHECK_KEY_BYTES 16u

struct kv;

struct kv_options {
	bool     writable;
	uint64_t map_bytes; /* 0: KV_MAP_BYTES; tests make it small */
};

/* Makes an empty environment in an existing folder without one. ERR_EXISTS. Not durable before the first update. */
enum err kv_create(const char *dir);
/* ERR_ABSENT: none there; ERR_FORMAT: damaged; ERR_BUSY: no room for another reader. */
enum err kv_open(struct kv **out, const char *dir, const uint8_t check_key[KV_CHECK_KEY_BYTES],
                 const struct kv_options *options);
void     kv_close(struct kv **kv);
/* Whether a reader of this folder may not write to LMDB's lock file, or there is none and none can be made. It then opens
 * the environment unseen by writers, which would take pages away that it reads: the caller keeps them out. */
bool     kv_is_unseen(const char *dir);

/* --- reading: between kv_begin() and kv_end(), or inside a change --- */
enum err kv_begin(struct kv *kv);
void     kv_end(struct kv *kv); /* nothing begun: fine */
/* Values are borrowed until the next put, delete or end. ERR_ABSENT; ERR_FORMAT: the check does not fit. */
enum err kv_get(struct kv *kv, const void *key, size_t key_bytes, const uint8_t **value, size_t *n);
enum err kv_get_raw(struct kv *kv, const void *key, size_t key_bytes, const uint8_t **value, size_t *n);
/* The first entry at (after = false) or after the given key; END. The key found is borrowed like the value; the value is
 * as stored: kv_check() it. */
enum err kv_find(struct kv *kv, const void *key, size_t key_bytes, bool after, const uint8_t **found, size_t *found_bytes,
                 const uint8_t **value, size_t *n);
/* Takes the check off a value that kv_find() gave. ERR_FORMAT. */
enum err kv_check(struct kv *kv, const void *key, size_t key_bytes, const uint8_t *value, size_t *n);

/* --- changing: one synchronous transaction --- */
/* Runs change and commits. change may run again (a full map): it must not keep state outside. Its error aborts. */
typedef enum err kv_change(struct kv *kv, void *arg);
enum err kv_update(struct kv *kv, kv_change *change, void *arg);
enum err kv_put(struct kv *kv, const void *key, size_t key_bytes, const void *value, size_t n);
enum err kv_put_raw(struct kv *kv, const void *key, size_t key_bytes, const void *value, size_t n);
enum err kv_delete(struct kv *kv, const void *key, size_t key_bytes); /* ERR_ABSENT */

#endif
