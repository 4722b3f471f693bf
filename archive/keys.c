#include "archive/keys.h"

#include <assert.h>
#include <errno.h>
#include <libgen.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/io.h"

#define MAGIC           "ATOLLKEY"
#define PROOF_BYTES     32
#define CHECKSUM_BYTES  16
#define OWNER_KEY_BYTES 32
#define OWNER_WORD      "atoll-owner-key-1"
#define OWNER_LINE_BYTES 256
#define SLOT_NONCE_AT   8
#define SLOT_WRAPPED_AT (SLOT_NONCE_AT + crypto_aead_xchacha20poly1305_ietf_NPUBBYTES)
#define SLOT_WRAPPED_BYTES (SEGMENT_KEY_BYTES + crypto_aead_xchacha20poly1305_ietf_ABYTES)
#define NO_SLOT         UINT32_MAX
#define LOCK_TRIES      10    /* a reader that finishes a killed writer's commit holds the lock for some milliseconds: */
#define LOCK_PAUSE_US   20000 /* wait for that, but not for a writer */

#define BYTES_OF(kind, bytes, name, meaning) +(bytes)
_Static_assert(0 KEYSTORE_HEADER(BYTES_OF) == 8 + 4 + 4 + ARCHIVE_ID_BYTES + PROOF_BYTES + CHECKSUM_BYTES, "as encoded");
_Static_assert(0 KEYSTORE_SLOT(BYTES_OF) == SLOT_WRAPPED_AT + SLOT_WRAPPED_BYTES, "as encoded");
_Static_assert(SLOT_WRAPPED_AT + SLOT_WRAPPED_BYTES <= KEYSTORE_SLOT_BYTES, "fits");

struct keystore {
	int      fd;
	bool     writable;
	uint32_t free_slot; /* no empty slot before this one; only when writable */
	uint8_t  archive[ARCHIVE_ID_BYTES];
	uint8_t *keys; /* sodium_malloc'ed: owner key, then the key that wraps */
	char     path[PATH_BYTES];
};

static const uint8_t *owner_key(const struct keystore *k) { return k->keys; }
static uint8_t *wrap_key(const struct keystore *k) { return k->keys + OWNER_KEY_BYTES; }
static uint64_t slot_at(uint32_t slot) { return KEYSTORE_HEADER_BYTES + (uint64_t)slot * KEYSTORE_SLOT_BYTES; }

/* --- the owner key file: one line "atoll-owner-key-1 <archive id> <key> <check>", all in hex --- */

static void
owner_check(uint8_t check[16], const uint8_t archive[ARCHIVE_ID_BYTES], const uint8_t key[OWNER_KEY_BYTES])
{
	crypto_generichash_state h;
	crypto_generichash_init(&h, NULL, 0, 16);
	crypto_generichash_update(&h, archive, ARCHIVE_ID_BYTES);
	crypto_generichash_update(&h, key, OWNER_KEY_BYTES);
	crypto_generichash_final(&h, check, 16);
	sodium_memzero(&h, sizeof h);
}

static enum err
sync_folder_of(const char *path)
{
	char copy[PATH_BYTES];
	snprintf(copy, sizeof copy, "%s", path);
	return io_sync_dir(dirname(copy));
}

static enum err
owner_write(const char *path, const uint8_t archive[ARCHIVE_ID_BYTES], const uint8_t key[OWNER_KEY_BYTES])
{
	int fd = -1;
	TRY(io_create(&fd, path, 0600));
	uint8_t check[16];
	owner_check(check, archive, key);
	char id_hex[2 * ARCHIVE_ID_BYTES + 1], key_hex[2 * OWNER_KEY_BYTES + 1], check_hex[33], line[OWNER_LINE_BYTES];
	sodium_bin2hex(id_hex, sizeof id_hex, archive, ARCHIVE_ID_BYTES);
	sodium_bin2hex(key_hex, sizeof key_hex, key, OWNER_KEY_BYTES);
	sodium_bin2hex(check_hex, sizeof check_hex, check, sizeof check);
	int n = snprintf(line, sizeof line, "%s %s %s %s\n", OWNER_WORD, id_hex, key_hex, check_hex);
	assert(n > 0 && n < (int)sizeof line);
	enum err e = io_write(fd, line, (size_t)n, path);
	if (e == OK)
		e = io_datasync(fd, path);
	if (e == OK)
		e = sync_folder_of(path);
	sodium_memzero(line, sizeof line);
	sodium_memzero(key_hex, sizeof key_hex);
	io_close(&fd);
	if (e != OK)
		(void)unlink(path); /* ours; the first error is the one to tell */
	return e;
}

static bool
hex_field(const char *at, const char *end, uint8_t *out, size_t n)
{
	return end - at == (ptrdiff_t)(2 * n) && sodium_hex2bin(out, n, at, 2 * n, NULL, NULL, NULL) == 0;
}

/* "word hex hex hex\n", exactly. */
static bool
owner_parse(char *line, size_t n, uint8_t archive[ARCHIVE_ID_BYTES], uint8_t *key)
{
	const size_t word = sizeof OWNER_WORD - 1;
	const size_t expected = word + 1 + 32 + 1 + 64 + 1 + 32;
	if (n > expected && line[n - 1] == '\n')
		n--;
	if (n != expected || memcmp(line, OWNER_WORD " ", word + 1) != 0)
		return false;
	const char *id = line + word + 1, *secret = id + 33, *check = secret + 65;
	uint8_t want[16], have[16];
	if (id[32] != ' ' || secret[64] != ' ' || !hex_field(id, id + 32, archive, ARCHIVE_ID_BYTES) ||
	    !hex_field(secret, secret + 64, key, OWNER_KEY_BYTES) || !hex_field(check, check + 32, have, 16))
		return false;
	owner_check(want, archive, key);
	return sodium_memcmp(want, have, sizeof want) == 0;
}

static enum err
owner_read(const char *path, uint8_t archive[ARCHIVE_ID_BYTES], uint8_t *key)
{
	int fd = -1;
	enum err e = io_open(&fd, path);
	if (e == ERR_ABSENT)
		return fail(e, "%s: no owner key here: name its file with --key-file", path);
	if (e != OK)
		return e;
	char line[OWNER_LINE_BYTES];
	size_t got = 0;
	e = io_read(fd, line, sizeof line, &got, path);
	if (e == OK && !owner_parse(line, got, archive, key))
		e = fail(ERR_FORMAT, "%s: not an owner key, or damaged: restore it from a copy", path);
	sodium_memzero(line, sizeof line);
	io_close(&fd);
	return e;
}

bool
keystore_owner_begun(const char *key_path, const uint8_t archive[ARCHIVE_ID_BYTES], bool empty)
{
	struct stat st;
	char id_hex[2 * ARCHIVE_ID_BYTES + 1], want[OWNER_LINE_BYTES], line[OWNER_LINE_BYTES];
	size_t got = 0;
	int fd = -1;
	if (lstat(key_path, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > OWNER_LINE_BYTES || io_open(&fd, key_path) != OK)
		return false;
	enum err e = io_read(fd, line, sizeof line, &got, key_path);
	io_close(&fd);
	sodium_bin2hex(id_hex, sizeof id_hex, archive, ARCHIVE_ID_BYTES);
	size_t n = (size_t)snprintf(want, sizeof want, "%s %s ", OWNER_WORD, id_hex);
	bool begun = e == OK && got >= !empty && memcmp(line, want, got < n ? got : n) == 0;
	sodium_memzero(line, sizeof line);
	return begun;
}

/* --- the keystore's header --- */

static void
derive(const uint8_t key[OWNER_KEY_BYTES], const char *label, uint8_t out[32])
{
	int r = crypto_generichash(out, 32, (const uint8_t *)label, strlen(label), key, OWNER_KEY_BYTES);
	assert(r == 0);
}

static void
header_encode(uint8_t h[KEYSTORE_HEADER_BYTES], const uint8_t archive[ARCHIVE_ID_BYTES], const uint8_t *owner)
{
	memset(h, 0, KEYSTORE_HEADER_BYTES);
	struct writer w = writer_of(h, KEYSTORE_HEADER_BYTES);
	writer_put(&w, MAGIC, 8);
	writer_le32(&w, KEYSTORE_VERSION);
	writer_le32(&w, KEYSTORE_SLOT_BYTES);
	writer_put(&w, archive, ARCHIVE_ID_BYTES);
	uint8_t sum[PROOF_BYTES];
	(void)crypto_generichash(sum, PROOF_BYTES, h, (size_t)(w.at - h), owner, OWNER_KEY_BYTES);
	writer_put(&w, sum, PROOF_BYTES);
	(void)crypto_generichash(sum, CHECKSUM_BYTES, h, (size_t)(w.at - h), NULL, 0);
	writer_put(&w, sum, CHECKSUM_BYTES);
	assert(writer_ok(&w));
}

/* Sets archive; the owner key is checked by the caller, who compares the proof. */
static enum err
header_decode(const uint8_t h[KEYSTORE_HEADER_BYTES], const char *path, uint8_t archive[ARCHIVE_ID_BYTES])
{
	struct reader r = reader_of(h, KEYSTORE_HEADER_BYTES);
	const uint8_t *magic = reader_view(&r, 8);
	uint32_t version = reader_le32(&r), slot_bytes = reader_le32(&r);
	const uint8_t *id = reader_view(&r, ARCHIVE_ID_BYTES);
	(void)reader_view(&r, PROOF_BYTES);
	uint8_t sum[CHECKSUM_BYTES];
	(void)crypto_generichash(sum, CHECKSUM_BYTES, h, (size_t)(r.at - h), NULL, 0);
	const uint8_t *stored = reader_view(&r, CHECKSUM_BYTES);
	assert(reader_ok(&r));
	if (memcmp(magic, MAGIC, 8) != 0)
		return fail(ERR_FORMAT, "%s: not a keystore, or damaged at byte 0: restore it from a copy", path);
	uint8_t rest = 0; /* the room behind the header is zero */
	while (reader_left(&r) > 0)
		rest |= reader_u8(&r);
	if (memcmp(sum, stored, CHECKSUM_BYTES) != 0 || rest != 0)
		return fail(ERR_FORMAT, "%s: header damaged: restore it from a copy", path);
	if (version != KEYSTORE_VERSION || slot_bytes != KEYSTORE_SLOT_BYTES)
		return fail(ERR_UNSUPPORTED, "%s: keystore version %u, this program knows %u", path, version,
		            KEYSTORE_VERSION);
	memcpy(archive, id, ARCHIVE_ID_BYTES);
	return OK;
}

enum err
keystore_create(const char *dir, const char *key_path, const uint8_t archive[ARCHIVE_ID_BYTES])
{
	if (sodium_init() < 0)
		return fail(ERR_IO, "libsodium found no source of random numbers");
	char path[PATH_BYTES], default_key[PATH_BYTES];
	TRY(io_path(path, dir, "keystore"));
	TRY(io_path(default_key, dir, "owner.key"));
	if (key_path == NULL)
		key_path = default_key;
	int fd = -1;
	TRY(io_create(&fd, path, 0600));
	uint8_t key[OWNER_KEY_BYTES], header[KEYSTORE_HEADER_BYTES];
	randombytes_buf(key, sizeof key);
	header_encode(header, archive, key);
	enum err e = io_write(fd, header, sizeof header, path);
	if (e == OK)
		e = io_datasync(fd, path);
	if (e == OK)
		e = io_sync_dir(dir);
	if (e == OK)
		e = owner_write(key_path, archive, key);
	sodium_memzero(key, sizeof key);
	io_close(&fd);
	if (e != OK)
		(void)unlink(path);
	return e;
}

/* Who holds the lock, from the kernel's list ("1: FLOCK ADVISORY WRITE 1234 fd:01:5678 0 EOF"); 0 when it does not say. READ
 * is a keystore_hold(). */
static long
lock_holder(int fd, bool *reads)
{
	struct stat st;
	FILE *f = fopen("/proc/locks", "re");
	if (f == NULL)
		return 0;
	char line[256];
	long holder = 0;
	if (fstat(fd, &st) == 0) {
		while (holder <= 0 && fgets(line, sizeof line, f)) {
			long pid;
			unsigned major_number, minor_number;
			unsigned long inode;
			char kind[8];
			if (sscanf(line, "%*d: FLOCK %*s %7s %ld %x:%x:%lu", kind, &pid, &major_number, &minor_number,
			           &inode) == 5 && inode == (unsigned long)st.st_ino &&
			    makedev(major_number, minor_number) == st.st_dev) {
				holder = pid;
				*reads = strcmp(kind, "READ") == 0;
			}
		}
	}
	fclose(f);
	return holder;
}

static enum err
lock_take(int fd, int how, const char *dir)
{
	int r = -1;
	for (int i = 0; r < 0 && i < LOCK_TRIES; i++) {
		if (i)
			(void)usleep(LOCK_PAUSE_US);
		r = flock(fd, how | LOCK_NB);
		if (r < 0 && errno != EWOULDBLOCK && errno != EINTR)
			break;
	}
	if (r == 0)
		return OK;
	if (errno != EWOULDBLOCK && errno != EINTR)
		return fail_errno("%s: lock", dir);
	bool reads = false;
	long pid = lock_holder(fd, &reads);
	char who[32] = "another process";
	if (pid > 0)
		snprintf(who, sizeof who, "process %ld", pid);
	if (reads)
		return fail(ERR_BUSY, "%s: %s reads this archive and may not write to its lock file, so nobody can write beside it: "
		            "try again when it has ended", dir, who);
	return fail(ERR_BUSY, "%s: %s is writing to this archive: try again when it has ended", dir, who);
}

static enum err
open_parts(struct keystore *k, const char *dir, const char *key_path)
{
	enum err e = k->writable ? io_open_write(&k->fd, k->path) : io_open(&k->fd, k->path);
	if (e == ERR_ABSENT)
		return fail(e, "%s: no keystore: not an archive, or restore the keystore from a copy", k->path);
	if (e != OK)
		return e;
	if (k->writable)
		TRY(lock_take(k->fd, LOCK_EX, dir));
	uint8_t header[KEYSTORE_HEADER_BYTES], mine[KEYSTORE_HEADER_BYTES], key_archive[ARCHIVE_ID_BYTES];
	TRY(io_pread(k->fd, header, sizeof header, 0, k->path));
	TRY(header_decode(header, k->path, k->archive));
	TRY(owner_read(key_path, key_archive, k->keys));
	header_encode(mine, k->archive, owner_key(k));
	if (memcmp(key_archive, k->archive, ARCHIVE_ID_BYTES) != 0 || sodium_memcmp(header, mine, sizeof mine) != 0)
		return fail(ERR_DENIED, "%s: this owner key belongs to another archive: name the right one with --key-file",
		            key_path);
	derive(owner_key(k), "segment keys", wrap_key(k));
	return OK;
}

enum err
keystore_open(struct keystore **out, const char *dir, const char *key_path, bool writable)
{
	if (sodium_init() < 0)
		return fail(ERR_IO, "libsodium found no source of random numbers");
	char default_key[PATH_BYTES];
	TRY(io_path(default_key, dir, "owner.key"));
	struct keystore *k = calloc(1, sizeof *k);
	if (k == NULL)
		return fail(ERR_NOMEM, "%s: no memory for the keystore", dir);
	k->fd = -1;
	k->writable = writable;
	k->keys = sodium_malloc(2 * OWNER_KEY_BYTES);
	enum err e = k->keys ? io_path(k->path, dir, "keystore")
	                     : fail(ERR_NOMEM, "%s: no lockable memory for the keys", dir);
	if (e == OK)
		e = open_parts(k, dir, key_path ? key_path : default_key);
	if (e != OK) {
		keystore_close(&k);
		return e;
	}
	*out = k;
	return OK;
}

void
keystore_close(struct keystore **k)
{
	if (*k == NULL)
		return;
	io_close(&(*k)->fd);
	sodium_free((*k)->keys); /* wipes */
	free(*k);
	*k = NULL;
}

enum err
keystore_hold(struct keystore *k)
{
	return k->writable ? OK : lock_take(k->fd, LOCK_SH, k->path);
}

void
keystore_archive_id(const struct keystore *k, uint8_t archive[ARCHIVE_ID_BYTES])
{
	memcpy(archive, k->archive, ARCHIVE_ID_BYTES);
}

enum err
keystore_slots(struct keystore *k, uint32_t *count)
{
	uint64_t bytes;
	TRY(io_size(k->fd, &bytes, k->path));
	uint64_t slots = bytes < KEYSTORE_HEADER_BYTES ? 0 : (bytes - KEYSTORE_HEADER_BYTES) / KEYSTORE_SLOT_BYTES;
	if (slots >= NO_SLOT)
		return fail(ERR_LIMIT, "%s: %llu bytes: more slots than slot numbers", k->path, (unsigned long long)bytes);
	*count = (uint32_t)slots;
	return OK;
}

/* A slot behind the end of the file is empty. */
static enum err
slot_read(struct keystore *k, uint32_t slot, uint8_t bytes[KEYSTORE_SLOT_BYTES])
{
	uint32_t count;
	TRY(keystore_slots(k, &count));
	if (slot >= count) {
		memset(bytes, 0, KEYSTORE_SLOT_BYTES);
		return OK;
	}
	return io_pread(k->fd, bytes, KEYSTORE_SLOT_BYTES, slot_at(slot), k->path);
}

enum err
keystore_slot(struct keystore *k, uint32_t slot, uint64_t *segment)
{
	uint8_t bytes[KEYSTORE_SLOT_BYTES];
	TRY(slot_read(k, slot, bytes));
	if (sodium_is_zero(bytes, sizeof bytes))
		return fail(ERR_ABSENT, "%s: slot %u is empty", k->path, slot);
	*segment = load_le64(bytes);
	return OK;
}

struct slot_label {
	uint8_t bytes[ARCHIVE_ID_BYTES + 4 + 8];
};

static struct slot_label
slot_label(const struct keystore *k, uint32_t slot, uint64_t segment)
{
	struct slot_label label;
	struct writer w = writer_of(label.bytes, sizeof label.bytes);
	writer_put(&w, k->archive, ARCHIVE_ID_BYTES);
	writer_le32(&w, slot);
	writer_le64(&w, segment);
	assert(writer_ok(&w));
	return label;
}

static enum err
slot_find_empty(struct keystore *k, uint32_t *slot)
{
	uint32_t count;
	TRY(keystore_slots(k, &count));
	for (*slot = k->free_slot; *slot < count; ++*slot) {
		uint8_t bytes[KEYSTORE_SLOT_BYTES];
		TRY(io_pread(k->fd, bytes, sizeof bytes, slot_at(*slot), k->path));
		if (sodium_is_zero(bytes, sizeof bytes))
			return OK;
	}
	return OK;
}

enum err
keystore_add(struct keystore *k, uint64_t segment, uint32_t *slot, uint8_t key[SEGMENT_KEY_BYTES])
{
	assert(k->writable && segment != 0);
	uint32_t at;
	TRY(slot_find_empty(k, &at));
	uint8_t bytes[KEYSTORE_SLOT_BYTES] = { 0 }, fresh[SEGMENT_KEY_BYTES];
	randombytes_buf(fresh, sizeof fresh);
	store_le64(bytes, segment);
	randombytes_buf(bytes + SLOT_NONCE_AT, SLOT_WRAPPED_AT - SLOT_NONCE_AT);
	struct slot_label label = slot_label(k, at, segment);
	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(bytes + SLOT_WRAPPED_AT, NULL, fresh, sizeof fresh, label.bytes,
	                                                 sizeof label.bytes, NULL, bytes + SLOT_NONCE_AT, wrap_key(k));
	enum err e = io_pwrite(k->fd, bytes, sizeof bytes, slot_at(at), k->path);
	if (e == OK)
		e = io_datasync(k->fd, k->path);
	if (e == OK) {
		memcpy(key, fresh, sizeof fresh);
		*slot = at;
		k->free_slot = at + 1;
	}
	sodium_memzero(fresh, sizeof fresh);
	return e;
}

static bool
slot_unwrap(const struct keystore *k, uint32_t slot, uint64_t segment, const uint8_t bytes[KEYSTORE_SLOT_BYTES],
            uint8_t key[SEGMENT_KEY_BYTES])
{
	struct slot_label label = slot_label(k, slot, segment);
	return crypto_aead_xchacha20poly1305_ietf_decrypt(key, NULL, NULL, bytes + SLOT_WRAPPED_AT, SLOT_WRAPPED_BYTES,
	                                                  label.bytes, sizeof label.bytes, bytes + SLOT_NONCE_AT,
	                                                  wrap_key(k)) == 0;
}

enum err
keystore_get(struct keystore *k, uint32_t slot, uint64_t segment, uint8_t key[SEGMENT_KEY_BYTES])
{
	uint8_t bytes[KEYSTORE_SLOT_BYTES], opened[SEGMENT_KEY_BYTES];
	TRY(slot_read(k, slot, bytes));
	if (sodium_is_zero(bytes, sizeof bytes))
		return fail(ERR_ABSENT, "segment %016llx: its key was destroyed (keystore slot %u is empty)",
		            (unsigned long long)segment, slot);
	uint64_t owner = load_le64(bytes); /* true only when the slot opens with it */
	bool opens = slot_unwrap(k, slot, owner, bytes, opened);
	if (opens && owner == segment)
		memcpy(key, opened, sizeof opened);
	sodium_memzero(opened, sizeof opened);
	if (!opens)
		return fail(ERR_DENIED, "segment %016llx: keystore slot %u is damaged: its key does not open",
		            (unsigned long long)segment, slot);
	if (owner != segment)
		return fail(ERR_ABSENT, "segment %016llx: its key was destroyed (keystore slot %u now serves segment %016llx)",
		            (unsigned long long)segment, slot, (unsigned long long)owner);
	return OK;
}

enum err
keystore_shred(struct keystore *k, uint32_t slot)
{
	assert(k->writable);
	static const uint8_t zeros[KEYSTORE_SLOT_BYTES];
	uint8_t bytes[KEYSTORE_SLOT_BYTES];
	TRY(slot_read(k, slot, bytes));
	if (!sodium_is_zero(bytes, sizeof bytes)) {
		sodium_memzero(bytes, sizeof bytes);
		TRY(io_pwrite(k->fd, zeros, sizeof zeros, slot_at(slot), k->path));
	}
	/* also when it reads as zeros: an earlier shred may not have reached the disk */
	TRY(io_datasync(k->fd, k->path));
	if (slot < k->free_slot)
		k->free_slot = slot;
	return OK;
}

void
keystore_derive(const struct keystore *k, const char *label, uint8_t out[32])
{
	derive(owner_key(k), label, out);
}
