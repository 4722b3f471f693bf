/* Landing files: hostile bytes are refused, or read as records that lie in the file. Checks, seals and hashes are made right
 * here for every other input, so that what lies behind them is reached. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "archive/landing.h"
#include "archive/segment_format.h"

#define INPUT_BYTES_MAX (1u << 16)

static const uint8_t key[SEGMENT_KEY_BYTES] = { 1 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_over(uint8_t *p, size_t n)
{
	short_hash(p, n - 8, p + n - 8);
}

static void
mend_header(uint8_t *p)
{
	store_le32(p, LANDING_MAGIC);
	store_le32(p + 4, LANDING_VERSION);
	check_over(p, LANDING_HEADER_BYTES);
}

/* The parcel's own hashes, as far as it lies in its record. */
static void
mend_parcel(uint8_t *record, uint32_t front_bytes, uint32_t block_bytes, size_t room)
{
	static const size_t block_hash_at = PARCEL_HEADER_BYTES - PARCEL_SEALED_KEY_BYTES - 4 - PARCEL_HASH_BYTES;
	static const size_t parcel_at = LANDING_RECORD_BYTES - 8 - PARCEL_HASH_BYTES;
	uint8_t *front = record + LANDING_PREFIX_BYTES;
	if (front_bytes < PARCEL_HEADER_BYTES || front_bytes > room || block_bytes > room - front_bytes)
		return;
	crypto_generichash(front + block_hash_at, PARCEL_HASH_BYTES, front + front_bytes, block_bytes, NULL, 0);
	crypto_generichash(record + parcel_at, PARCEL_HASH_BYTES, front, front_bytes, NULL, 0);
}

static void
mend_records(uint8_t *p, size_t n)
{
	for (size_t at = LANDING_HEADER_BYTES; n - at > LANDING_PREFIX_BYTES;) {
		uint8_t *record = p + at, block_key[BLOCK_KEY_BYTES];
		uint32_t bytes = load_le32(record + 4), cuts = load_le32(record + 16);
		store_le32(record, LANDING_RECORD_MAGIC);
		mend_parcel(record, load_le32(record + 20), load_le32(record + 24), n - at - LANDING_PREFIX_BYTES);
		check_over(record, LANDING_RECORD_BYTES);
		memcpy(block_key, record + LANDING_RECORD_BYTES, sizeof block_key);
		seal_block_key(key, at, cuts, record, LANDING_RECORD_BYTES, block_key, record + LANDING_RECORD_BYTES);
		if (bytes < LANDING_PREFIX_BYTES || bytes >= n - at)
			return;
		at += bytes;
	}
}

static void
want(bool holds)
{
	if (!holds)
		abort();
}

static void
read_file(struct landing *l, size_t size)
{
	struct landing_entry e;
	uint64_t at = LANDING_HEADER_BYTES, next;
	for (;;) {
		enum err error = landing_read(l, at, &e);
		if (error == OK) {
			struct block_info info = landing_block_info(&e);
			want(e.at == at && e.next > at && e.next <= size);
			want(e.record.block_bytes == 0 || info.at + info.stored_bytes == e.next);
			want((e.parcel.block != NULL) == (e.record.block_bytes != 0));
			want(landing_key(l, at, &e) == OK);
			at = e.next;
			continue;
		}
		if (error == END) {
			want(at == size);
			return;
		}
		want(error == ERR_FORMAT || error == ERR_DENIED);
		if (landing_resync(l, at, &next) != OK)
			return;
		want(next > at && next < size);
		at = next;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static char path[64];
	uint8_t *p;
	struct landing *l = NULL;
	if (size < 1 + LANDING_HEADER_BYTES || size > INPUT_BYTES_MAX)
		return 0;
	if (fd < 0) {
		fd = memfd_create("landing", MFD_CLOEXEC);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		want(fd >= 0 && seal_start() == OK);
	}
	size--;
	p = malloc(size);
	want(p != NULL);
	memcpy(p, data + 1, size);
	if (data[0] & 1)
		mend_header(p);
	if (data[0] & 2)
		mend_records(p, size);
	want(ftruncate(fd, 0) == 0 && pwrite(fd, p, size, 0) == (ssize_t)size);
	free(p);
	if (landing_open(&l, path, key) == OK)
		read_file(l, size);
	landing_close(&l);
	return 0;
}
