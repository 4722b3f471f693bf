#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "index/manifest.h"
#include "tests/support/make_archive.h"
#include "tests/support/unit.h"

static const uint8_t key[MANIFEST_KEY_BYTES] = "manifest key of this test......";
static const uint8_t archive[ARCHIVE_ID_BYTES] = "archive id.....";
static char dir[PATH_BYTES], path[2 * PATH_BYTES];
static uint8_t id[MANIFEST_ID_BYTES];

static int
begin(void **state)
{
	(void)state;
	scratch_make(dir);
	snprintf(path, sizeof path, "%s/manifest", dir);
	return manifest_create(dir, "manifest", key, archive, id) == OK ? 0 : -1;
}

static int
end(void **state)
{
	(void)state;
	scratch_remove(dir);
	return 0;
}

static struct manifest *
opened(struct manifest_scan *scan)
{
	struct manifest *m = NULL;
	assert_int_equal(manifest_open(&m, dir, "manifest", key, archive, true), OK);
	assert_int_equal(manifest_scan(m, manifest_start(m), 0, scan), OK);
	return m;
}

/* Three changes: a stream; two drops; a drop. ends: where each ends. */
static void
fill(uint64_t ends[3])
{
	struct manifest_scan scan;
	struct manifest *m = opened(&scan);
	struct stream_row stream = { .id = 1, .name = "eth0" };
	uint64_t sequence;
	assert_int_equal(manifest_resume(m, &scan), OK);
	assert_int_equal(manifest_add(m, ROW_KIND_STREAM, &stream), OK);
	assert_int_equal(manifest_commit(m, &ends[0], &sequence), OK);
	assert_int_equal(sequence, 1);
	for (uint64_t i = 1; i <= 2; i++)
		assert_int_equal(manifest_add(m, ROW_KIND_DROP, &(struct drop_row){ i }), OK);
	assert_int_equal(manifest_commit(m, &ends[1], &sequence), OK);
	assert_int_equal(sequence, 3);
	assert_int_equal(manifest_add(m, ROW_KIND_DROP, &(struct drop_row){ 99 }), OK);
	manifest_discard(m);
	assert_int_equal(manifest_add(m, ROW_KIND_DROP, &(struct drop_row){ 3 }), OK);
	assert_int_equal(manifest_commit(m, &ends[2], &sequence), OK);
	assert_int_equal(sequence, 4);
	manifest_close(&m);
}

static size_t
load(uint8_t *bytes, size_t room)
{
	FILE *f = fopen(path, "rb");
	size_t n = fread(bytes, 1, room, f);
	fclose(f);
	return n;
}

static void
save(const uint8_t *bytes, size_t n)
{
	FILE *f = fopen(path, "wb");
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	fclose(f);
}

static void
gives_back_the_lines_in_order(void **state)
{
	(void)state;
	uint64_t ends[3];
	struct manifest_scan scan;
	struct manifest_line line;
	fill(ends);
	struct manifest *m = opened(&scan);
	assert_int_equal(scan.good_end, ends[2]);
	assert_int_equal(scan.sequence, 4);
	assert_int_equal(scan.lines, 4);
	assert_int_equal(scan.damaged_lines, 0);
	assert_false(scan.torn);
	manifest_seek(m, manifest_start(m));
	assert_int_equal(manifest_next(m, &line), OK);
	assert_int_equal(line.kind, ROW_KIND_STREAM);
	assert_string_equal(line.row.stream.name, "eth0");
	assert_false(line.more);
	for (uint64_t i = 1; i <= 3; i++) {
		assert_int_equal(manifest_next(m, &line), OK);
		assert_int_equal(line.row.drop.id, i);
		assert_int_equal(line.sequence, i + 1);
		assert_int_equal(line.more, i == 1);
	}
	assert_int_equal(line.end, ends[2]);
	assert_int_equal(manifest_next(m, &line), END);
	manifest_close(&m);
}

static void
a_torn_tail_is_passed_over_and_cut_off(void **state)
{
	(void)state;
	uint64_t ends[3], end_now, sequence;
	uint8_t bytes[8192];
	struct manifest_scan scan;
	fill(ends);
	size_t n = load(bytes, sizeof bytes);
	assert_int_equal(n, ends[2]);
	struct manifest *m = opened(&scan);
	uint64_t start = manifest_start(m);
	manifest_close(&m);
	for (size_t cut = start; cut < n; cut++) {
		uint64_t want = cut >= ends[1] ? ends[1] : cut >= ends[0] ? ends[0] : start;
		save(bytes, cut);
		m = opened(&scan);
		assert_int_equal(scan.good_end, want);
		assert_int_equal(scan.torn, cut != want);
		assert_int_equal(scan.damaged_lines, 0);
		assert_int_equal(manifest_resume(m, &scan), OK);
		assert_int_equal(manifest_add(m, ROW_KIND_DROP, &(struct drop_row){ 5 }), OK);
		assert_int_equal(manifest_commit(m, &end_now, &sequence), OK);
		manifest_close(&m);
		m = opened(&scan);
		assert_false(scan.torn);
		assert_int_equal(scan.damaged_lines, 0);
		assert_int_equal(scan.good_end, end_now);
		manifest_close(&m);
	}
	/* zeros behind the end, as a file system may leave them */
	save(bytes, n);
	memset(bytes + n, 0, 100);
	save(bytes, n + 100);
	m = opened(&scan);
	assert_true(scan.torn);
	assert_int_equal(scan.good_end, ends[2]);
	manifest_close(&m);
}

static void
every_flipped_bit_is_noticed(void **state)
{
	(void)state;
	uint64_t ends[3];
	uint8_t bytes[8192];
	struct manifest_scan scan;
	fill(ends);
	size_t n = load(bytes, sizeof bytes);
	for (size_t bit = 0; bit < n * 8; bit++) {
		struct manifest *m = NULL;
		bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
		save(bytes, n);
		enum err e = manifest_open(&m, dir, "manifest", key, archive, true);
		if (e == OK) {
			assert_int_equal(manifest_scan(m, manifest_start(m), 0, &scan), OK);
			assert_true(scan.damaged_lines > 0 || scan.torn);
			assert_true(scan.torn || scan.sequence == 4);
		} else {
			assert_true(e == ERR_FORMAT || e == ERR_UNSUPPORTED);
		}
		manifest_close(&m);
		bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
	}
}

static void
a_lost_a_moved_and_a_foreign_line_are_noticed(void **state)
{
	(void)state;
	uint64_t ends[3];
	uint8_t bytes[8192], changed[8192];
	struct manifest_scan scan;
	struct manifest *m;
	fill(ends);
	size_t n = load(bytes, sizeof bytes);
	/* without the second change */
	memcpy(changed, bytes, ends[0]);
	memcpy(changed + ends[0], bytes + ends[1], n - ends[1]);
	save(changed, n - (ends[1] - ends[0]));
	m = opened(&scan);
	assert_int_equal(scan.damaged_lines, 1);
	assert_int_equal(scan.damage_at, ends[0]);
	manifest_close(&m);
	/* the last change twice */
	memcpy(changed, bytes, n);
	memcpy(changed + n, bytes + ends[1], n - ends[1]);
	save(changed, n + n - ends[1]);
	m = opened(&scan);
	assert_int_equal(scan.damaged_lines, 1);
	manifest_close(&m);
	/* another key, another archive */
	save(bytes, n);
	assert_int_equal(manifest_open(&m, dir, "manifest", (const uint8_t *)"another key for the same manifest", archive, true),
	                 ERR_FORMAT);
	assert_int_equal(manifest_open(&m, dir, "manifest", key, (const uint8_t *)"another archive.", true), ERR_FORMAT);
	assert_int_equal(manifest_create(dir, "manifest", key, archive, id), ERR_EXISTS);
}

static void
very_long_lines_are_damage(void **state)
{
	(void)state;
	uint64_t ends[3];
	struct manifest_scan scan;
	static uint8_t bytes[400000];
	fill(ends);
	size_t n = load(bytes, sizeof bytes);
	uint8_t tail[1024];
	size_t tail_bytes = n - ends[1];
	memcpy(tail, bytes + ends[1], tail_bytes);
	for (size_t length = 4090; length < 350000; length = length * 3 + 7) {
		memset(bytes + ends[1], 'x', length);
		bytes[ends[1] + length] = '\n';
		memcpy(bytes + ends[1] + length + 1, tail, tail_bytes);
		save(bytes, ends[1] + length + 1 + tail_bytes);
		struct manifest *m = opened(&scan);
		assert_true(scan.damaged_lines >= 1);
		assert_int_equal(scan.damage_at, ends[1]);
		assert_int_equal(scan.sequence, 4);
		assert_false(scan.torn);
		manifest_close(&m);
	}
}

int
main(void)
{
	if (sodium_init() < 0)
		return 1;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(gives_back_the_lines_in_order, begin, end),
		cmocka_unit_test_setup_teardown(a_torn_tail_is_passed_over_and_cut_off, begin, end),
		cmocka_unit_test_setup_teardown(every_flipped_bit_is_noticed, begin, end),
		cmocka_unit_test_setup_teardown(a_lost_a_moved_and_a_foreign_line_are_noticed, begin, end),
		cmocka_unit_test_setup_teardown(very_long_lines_are_damage, begin, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
