#include "tests/support/unit.h"

#include <lz4frame.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/bytes.h"
#include "ingest/inflate.h"

#define PLAIN_BYTES  300000u
#define PACKED_BYTES (2u * PLAIN_BYTES)

enum { GZIP, ZSTD, XZ, LZ4, FORMATS };
static const char *const names[FORMATS] = { "gzip", "zstd", "xz", "lz4" };

static uint8_t plain[PLAIN_BYTES];

/* Text-like: packs to about a third, in several blocks of every format. */
static int
fill_plain(void **state)
{
	(void)state;
	uint32_t x = 1;
	for (size_t i = 0; i < sizeof plain; i++) {
		x = x * 1664525 + 1013904223;
		plain[i] = (uint8_t)("etaoin shrdlu"[(x >> 24) % 13] + (x >> 30 == 3));
	}
	return 0;
}

static size_t
pack_gzip(const void *from, size_t n, uint8_t *to)
{
	z_stream z = { 0 };
	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (Bytef *)(uintptr_t)from;
	z.avail_in = (uInt)n;
	z.next_out = to;
	z.avail_out = PACKED_BYTES;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	size_t packed = z.total_out;
	deflateEnd(&z);
	return packed;
}

static size_t
pack_zstd(const void *from, size_t n, uint8_t *to)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	assert_non_null(c);
	assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1)));
	size_t packed = ZSTD_compress2(c, to, PACKED_BYTES, from, n);
	assert_false(ZSTD_isError(packed));
	ZSTD_freeCCtx(c);
	return packed;
}

static size_t
pack_lz4(const void *from, size_t n, uint8_t *to)
{
	LZ4F_preferences_t p = { .frameInfo = { .contentChecksumFlag = LZ4F_contentChecksumEnabled,
		                                .blockSizeID = LZ4F_max64KB } };
	size_t packed = LZ4F_compressFrame(to, PACKED_BYTES, from, n, &p);
	assert_false(LZ4F_isError(packed));
	return packed;
}

static size_t
pack(int format, const void *from, size_t n, uint8_t *to)
{
	size_t packed = 0;
	switch (format) {
	case GZIP:
		return pack_gzip(from, n, to);
	case ZSTD:
		return pack_zstd(from, n, to);
	case XZ:
		assert_int_equal(lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, NULL, from, n, to, &packed, PACKED_BYTES),
		                 LZMA_OK);
		return packed;
	default:
		return pack_lz4(from, n, to);
	}
}

/* Reads all that comes, step bytes at a time; *e is END or the error, told twice. */
static size_t
drain(struct inflate *s, uint8_t *to, size_t room, size_t step, enum err *e)
{
	size_t done = 0, got = 0;
	for (;;) {
		size_t n = room - done < step ? room - done : step;
		assert_true(n > 0);
		*e = inflate_read(s, to + done, n, &got);
		if (*e != OK)
			break;
		assert_true(got >= 1 && got <= n);
		done += got;
	}
	assert_int_equal(got, 0);
	assert_int_equal(inflate_read(s, to, 1, &got), *e);
	assert_int_equal(got, 0);
	return done;
}

static size_t
unpack(const uint8_t *from, size_t n, size_t piece, size_t step, uint8_t *to, size_t room, enum err *e)
{
	struct inflate *s;
	assert_int_equal(inflate_open_memory(&s, from, n, piece, "packed"), OK);
	size_t got = drain(s, to, room, step, e);
	assert_int_equal(inflate_out_bytes(s), got);
	assert_int_equal(inflate_size(s), n);
	assert_true(inflate_in_bytes(s) <= n);
	if (*e == END)
		assert_int_equal(inflate_in_bytes(s), n);
	inflate_close(&s);
	assert_null(s);
	return got;
}

static void
check_unpacks(const uint8_t *from, size_t n, const uint8_t *want, size_t want_bytes)
{
	static const size_t pieces[] = { 0, 1, 7, 4096 }, steps[] = { 1 << 20, 13, 65536 };
	uint8_t *got = malloc(want_bytes + 2);
	for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++)
		for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
			enum err e;
			assert_int_equal(unpack(from, n, pieces[p], steps[i], got, want_bytes + 2, &e), want_bytes);
			assert_int_equal(e, END);
			assert_memory_equal(got, want, want_bytes);
		}
	free(got);
}

static void
gives_plain_bytes_as_they_are(void **state)
{
	(void)state;
	for (size_t n = 1; n < 20; n++)
		check_unpacks(plain, n, plain, n);
	check_unpacks(plain, sizeof plain, plain, sizeof plain);
	uint8_t byte;
	enum err e;
	assert_int_equal(unpack(plain, 0, 0, 1, &byte, 1, &e), 0);
	assert_int_equal(e, END);
}

static void
unpacks_each_format_and_names_it(void **state)
{
	(void)state;
	uint8_t *packed = malloc(PACKED_BYTES), byte;
	for (int f = 0; f < FORMATS; f++) {
		size_t n = pack(f, plain, sizeof plain, packed), got;
		check_unpacks(packed, n, plain, sizeof plain);
		struct inflate *s;
		assert_int_equal(inflate_open_memory(&s, packed, n, 0, "x"), OK);
		assert_int_equal(inflate_read(s, &byte, 1, &got), OK);
		assert_string_equal(inflate_format(s), names[f]);
		inflate_close(&s);
	}
	free(packed);
}

static void
joins_members_of_any_format_padding_and_skippable_frames(void **state)
{
	(void)state;
	uint8_t *all = malloc(4 * PACKED_BYTES), *one = malloc(PACKED_BYTES);
	size_t n = 0, want = 0, part = 20000;
	for (int f = 0; f < 2 * FORMATS; f++) {
		store_le32(all + n, 0x184D2A50u + (uint32_t)f); /* skippable, 5 bytes */
		store_le32(all + n + 4, 5);
		memset(all + n + 8, 0xee, 5);
		n += 13;
		size_t packed = pack(f % FORMATS, plain + want, part, one);
		memcpy(all + n, one, packed);
		n += packed;
		want += part;
		memset(all + n, 0, (size_t)f * 3);
		n += (size_t)f * 3;
	}
	check_unpacks(all, n, plain, want);
	free(all);
	free(one);
}

static void
delivers_all_before_a_truncation_then_says_where(void **state)
{
	(void)state;
	uint8_t *packed = malloc(PACKED_BYTES), *got = malloc(PLAIN_BYTES + 1);
	for (int f = 0; f < FORMATS; f++) {
		size_t n = pack(f, plain, sizeof plain, packed), least = 0;
		for (size_t cut = 6; cut < n; cut += cut < 64 || cut > n - 64 ? 1 : 997) {
			enum err e;
			size_t done = unpack(packed, cut, 0, PLAIN_BYTES, got, PLAIN_BYTES + 1, &e);
			assert_int_equal(e, ERR_FORMAT);
			assert_non_null(strstr(err_text(), "packed: ends inside"));
			assert_memory_equal(got, plain, done);
			assert_true(done >= least); /* more input never gives less */
			least = done;
		}
		assert_true(least > PLAIN_BYTES - 70000); /* at most one lz4 block was lost */
	}
	free(packed);
	free(got);
}

static void
never_takes_a_flipped_bit_for_the_truth(void **state)
{
	(void)state;
	size_t size = 1000;
	uint8_t *packed = malloc(PACKED_BYTES), *got = malloc(1 << 20);
	for (int f = 0; f < FORMATS; f++) {
		size_t n = pack(f, plain, size, packed);
		for (size_t bit = 48; bit < 8 * n; bit++) {
			packed[bit / 8] ^= (uint8_t)(1u << bit % 8);
			enum err e;
			size_t done = unpack(packed, n, 0, 1 << 20, got, 1 << 20, &e);
			if (e == END) { /* a field that does not matter: gzip's time, file system */
				assert_int_equal(done, size);
				assert_memory_equal(got, plain, size);
			}
			packed[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
	}
	free(packed);
	free(got);
}

static void
keeps_what_zstd_and_lz4_blocks_gave_before_a_damaged_one(void **state)
{
	(void)state;
	uint8_t *packed = malloc(PACKED_BYTES), *got = malloc(1 << 22);
	for (int f = 0; f < FORMATS; f++) {
		size_t n = pack(f, plain, sizeof plain, packed);
		memset(packed + n * 9 / 10, 0xff, 64); /* no decoder goes more than a few MiB on this */
		enum err e;
		size_t done = unpack(packed, n, 0, 1 << 22, got, 1 << 22, &e);
		assert_int_equal(e, ERR_FORMAT);
		/* zstd's first block has 128 KiB; what comes after the damage's start may be nonsense until it is noticed */
		assert_true(done >= PLAIN_BYTES / 3);
		assert_memory_equal(got, plain, PLAIN_BYTES / 3);
	}
	free(packed);
	free(got);
}

static void
refuses_windows_above_the_limit(void **state)
{
	(void)state;
	uint8_t zstd[] = { 0x28, 0xb5, 0x2f, 0xfd, 0, (27 - 10) << 3, 9, 0, 0, 'x' }, got[64];
	enum err e;
	assert_int_equal(unpack(zstd, sizeof zstd, 0, 8, got, 8, &e), 1);
	assert_int_equal(e, END);
	zstd[5] = (28 - 10) << 3;
	assert_int_equal(unpack(zstd, sizeof zstd, 0, 8, got, 8, &e), 0);
	assert_int_equal(e, ERR_LIMIT);
	assert_non_null(strstr(err_text(), "zstd -dc"));

	uint8_t *xz = malloc(PACKED_BYTES);
	size_t n = pack(XZ, plain, 50, xz);
	for (uint8_t size = 28; size <= 30; size++) { /* 64, 96, 128 MiB of dictionary, see the .xz format, 5.3.1 */
		size_t header = 4 * ((size_t)xz[12] + 1);
		uint8_t *lzma2 = memmem(xz + 14, header - 6, "\x21\x01", 2); /* the filter, one byte of properties */
		assert_non_null(lzma2);
		lzma2[2] = size;
		store_le32(xz + 12 + header - 4, lzma_crc32(xz + 12, header - 4, 0));
		unpack(xz, n, 0, 64, got, 64, &e);
		assert_int_equal(e, size == 28 ? END : ERR_LIMIT);
	}
	assert_non_null(strstr(err_text(), "xz -dc"));
	free(xz);
}

static void
says_so_when_other_bytes_follow_packed_ones(void **state)
{
	(void)state;
	uint8_t *packed = malloc(PACKED_BYTES), got[64];
	for (int f = 0; f < FORMATS; f++) {
		size_t n = pack(f, plain, 50, packed);
		memcpy(packed + n, "trailing bytes", 14);
		enum err e;
		assert_int_equal(unpack(packed, n + 14, 0, 64, got, 64, &e), 50);
		assert_int_equal(e, ERR_FORMAT);
		char at[64];
		snprintf(at, sizeof at, "at byte %zu of", n);
		assert_non_null(strstr(err_text(), at));
		assert_non_null(strstr(err_text(), "14 packed bytes remain unread"));
	}
	free(packed);
}

static void
survives_garbage_behind_every_magic(void **state)
{
	(void)state;
	static const uint8_t magics[FORMATS + 1][6] = { { 0x1f, 0x8b, 8 }, { 0x28, 0xb5, 0x2f, 0xfd },
		                                        { 0xfd, '7', 'z', 'X', 'Z' }, { 4, 0x22, 0x4d, 0x18 },
		                                        { 0x50, 0x2a, 0x4d, 0x18 } };
	static const size_t magic_bytes[FORMATS + 1] = { 3, 4, 6, 4, 4 };
	uint8_t bytes[200], *got = malloc(1 << 22);
	uint32_t x = 7;
	for (int round = 0; round < 4000; round++) {
		for (size_t i = 0; i < sizeof bytes; i++) {
			x = x * 1664525 + 1013904223;
			bytes[i] = (uint8_t)(x >> 24);
		}
		memcpy(bytes, magics[round % 5], magic_bytes[round % 5]);
		enum err e;
		unpack(bytes, sizeof bytes, (size_t)round % 11, 1 << 22, got, 1 << 22, &e);
	}
	free(got);
}

static void
ends_early_when_the_file_shrinks_under_it(void **state)
{
	(void)state;
	char path[] = "/tmp/atoll-inflate-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, plain, sizeof plain), sizeof plain);
	struct inflate *s;
	assert_int_equal(inflate_open(&s, path), OK);
	uint8_t *got = malloc(sizeof plain);
	size_t n;
	assert_int_equal(inflate_read(s, got, 100, &n), OK);
	assert_int_equal(ftruncate(fd, 1000), 0);
	enum err e;
	drain(s, got + n, sizeof plain - n, 4096, &e);
	assert_int_equal(inflate_out_bytes(s), 1000);
	assert_memory_equal(got, plain, 1000);
	assert_int_equal(e, END);
	inflate_close(&s);
	close(fd);
	unlink(path);
	free(got);
}

static void
refuses_folders_and_missing_files(void **state)
{
	(void)state;
	struct inflate *s = NULL;
	assert_int_equal(inflate_open(&s, "/tmp"), ERR_USAGE);
	assert_int_equal(inflate_open(&s, "/tmp/atoll-no-such-file"), ERR_ABSENT);
	assert_null(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(gives_plain_bytes_as_they_are),
		cmocka_unit_test(unpacks_each_format_and_names_it),
		cmocka_unit_test(joins_members_of_any_format_padding_and_skippable_frames),
		cmocka_unit_test(delivers_all_before_a_truncation_then_says_where),
		cmocka_unit_test(never_takes_a_flipped_bit_for_the_truth),
		cmocka_unit_test(keeps_what_zstd_and_lz4_blocks_gave_before_a_damaged_one),
		cmocka_unit_test(refuses_windows_above_the_limit),
		cmocka_unit_test(says_so_when_other_bytes_follow_packed_ones),
		cmocka_unit_test(survives_garbage_behind_every_magic),
		cmocka_unit_test(ends_early_when_the_file_shrinks_under_it),
		cmocka_unit_test(refuses_folders_and_missing_files),
	};
	return cmocka_run_group_tests(tests, fill_plain, NULL);
}
