/* Damaged LMDB files: the input is a list of changes to a good file. What pagecheck lets pass, LMDB itself then reads and
 * writes: it must not crash, assert or loop. Each change is five bytes: place (3), kind, value. */
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "index/kv.h"

#define VALUES     400u
#define FILE_BYTES (1u << 20)

static const uint8_t key[KV_CHECK_KEY_BYTES];
static char dir[64], file[96], lock[96];
static uint8_t *good, *bad;
static size_t good_bytes;
static volatile unsigned seen; /* so that values are read, at both ends */

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Keys of several lengths; some values in overflow pages. */
static enum err
put_some(struct kv *kv, void *arg)
{
	uint32_t round = *(uint32_t *)arg;
	static const uint8_t value[9000];
	for (uint32_t i = round; i < VALUES; i += 4) {
		uint8_t k[40] = { 'k' };
		store_be32(k + 1, i);
		TRY(kv_put(kv, k, 5 + i % 30, value, i % 200));
		if (i % 9 == 0) {
			k[0] = 'v';
			TRY(kv_put_raw(kv, k, 5, value, 3000 + (i * 37) % 6000));
		}
	}
	return OK;
}

static enum err
delete_some(struct kv *kv, void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < VALUES; i += 18) {
		uint8_t k[5] = { 'v' };
		store_be32(k + 1, i);
		enum err e = kv_delete(kv, k, 5);
		if (e != OK && e != ERR_ABSENT)
			return e;
	}
	return OK;
}

static void
need(enum err e)
{
	if (e == OK)
		return;
	fprintf(stderr, "%s\n", err_text());
	abort();
}

static void
clean_up(void)
{
	(void)unlink(file);
	(void)unlink(lock);
	(void)rmdir(dir);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	struct kv *kv = NULL;
	snprintf(dir, sizeof dir, "%s/fuzz-pagecheck-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (sodium_init() < 0 || mkdtemp(dir) == NULL)
		abort();
	snprintf(file, sizeof file, "%s/data.mdb", dir);
	snprintf(lock, sizeof lock, "%s/lock.mdb", dir);
	(void)atexit(clean_up);
	need(kv_create(dir));
	need(kv_open(&kv, dir, key, &(struct kv_options){ .writable = true }));
	for (uint32_t round = 0; round < 4; round++)
		need(kv_update(kv, put_some, &round));
	need(kv_update(kv, delete_some, NULL));
	kv_close(&kv);
	good = malloc(FILE_BYTES);
	bad = malloc(FILE_BYTES);
	int fd = open(file, O_RDONLY);
	if (good == NULL || bad == NULL || fd < 0)
		abort();
	ssize_t n = read(fd, good, FILE_BYTES);
	close(fd);
	good_bytes = n > 0 ? (size_t)n : 0;
	return 0;
}

static void
change(const uint8_t c[5])
{
	size_t at = (c[0] | (size_t)c[1] << 8 | (size_t)c[2] << 16) % (good_bytes - 8);
	size_t page = at / 4096 * 4096, other = c[4] * 4096u % good_bytes;
	switch (c[3] % 8) {
	case 0:
		bad[at] = c[4];
		break;
	case 1:
		bad[at] ^= (uint8_t)(1u << (c[4] % 8));
		break;
	case 2:
		store_le16(bad + at, (uint16_t)(load_le16(bad + at) + (int8_t)c[4]));
		break;
	case 3: /* near a page's header, where it hurts */
		bad[page + at % 64] = c[4];
		break;
	case 4:
		store_le16(bad + page + 2 * (at % 32), (uint16_t)(c[4] * 16u));
		break;
	case 5: /* one page in another's place */
		memcpy(bad + page, good + other, 4096);
		break;
	case 6: /* and as if it belonged there */
		memcpy(bad + page, good + other, 4096);
		store_le64(bad + page, page / 4096);
		break;
	case 7: /* a number in a meta page */
		bad[(at & 4096) + 16 + at % 136] = c[4];
		break;
	}
}

static void
use(struct kv *kv, bool writable)
{
	uint8_t k[64] = { 0 };
	size_t k_bytes = 1, entries = 0;
	if (kv_begin(kv) == OK) {
		const uint8_t *found, *value;
		size_t found_bytes, n;
		while (kv_find(kv, k, k_bytes, true, &found, &found_bytes, &value, &n) == OK) {
			if (++entries > 4 * VALUES)
				abort();
			if (found_bytes > sizeof k)
				break;
			seen += n ? value[0] + value[n - 1] : 0;
			(void)kv_check(kv, found, found_bytes, value, &n);
			memcpy(k, found, found_bytes);
			k_bytes = found_bytes;
		}
		kv_end(kv);
	}
	for (uint32_t round = 0; writable && round < 4; round++) {
		(void)kv_update(kv, put_some, &round);
		(void)kv_update(kv, delete_some, NULL);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kv *kv = NULL;
	if (size < 6 || size > 100)
		return 0;
	memcpy(bad, good, good_bytes);
	bool writable = data[0] & 1;
	size_t n = data[0] & 2 ? good_bytes - data[0] / 4 * 4096u % good_bytes : good_bytes;
	for (size_t i = 1; i + 5 <= size; i += 5)
		change(data + i);
	int fd = open(file, O_WRONLY | O_TRUNC);
	if (fd < 0 || write(fd, bad, n) != (ssize_t)n)
		abort();
	close(fd);
	if (kv_open(&kv, dir, key, &(struct kv_options){ .writable = writable }) == OK)
		use(kv, writable);
	kv_close(&kv);
	return 0;
}
