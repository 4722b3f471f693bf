#include <string.h>

#include "archive/batch.h"
#include "archive/block.h"
#include "base/bytes.h"
#include "base/io.h"
#include "index/store.h"
#include "index/trim.h"
#include "tests/support/make_archive.h"
#include "tests/support/unit.h"

#define RECORDS 500u
#define BLOCKS  3u /* per segment */
#define T0      1767600000000000000ull

static char folder[PATH_BYTES];

static void
okay(enum err e)
{
	if (e != OK)
		fail_msg("%s", err_text());
}

/* Record i: a UDP packet of its own length, content and link type; times go up with a step back now and then. */
static uint64_t
time_of(uint32_t i)
{
	return T0 + i * 1000000ull - (i % 7 == 3 ? 5500000 : 0);
}

static uint32_t
record_fill(uint8_t *p, uint32_t i)
{
	uint32_t n = 42 + i % 90;
	memset(p, (int)i, n);
	memcpy(p, "\x02\0\0\0\0\1\x02\0\0\0\0\2\x08\0\x45\0", 16);
	store_be16(p + 16, (uint16_t)(n - 14));
	p[22] = 64;
	p[23] = 17;
	store_be32(p + 26, 0x0a000001 + i % 20);
	store_be32(p + 30, 0x0a000101);
	store_be16(p + 34, 1000);
	store_be16(p + 36, 53);
	store_be16(p + 38, (uint16_t)(n - 34));
	return n;
}

static void
segment_write(struct store *s, uint32_t stream, uint32_t first)
{
	struct store_segment *g = NULL;
	struct block_encoder *encoder = NULL;
	struct frames *f = NULL;
	okay(block_encoder_open(&encoder));
	okay(frames_open(&f, 1u << 20));
	okay(store_segment_begin(s, stream, &g));
	for (uint32_t b = 0; b < BLOCKS; b++) {
		frames_reset(f);
		for (uint32_t i = first + b * RECORDS; i < first + (b + 1) * RECORDS; i++) {
			uint32_t n = record_fill(f->bytes + f->used_bytes, i);
			f->v[f->count++] = (struct frame){ time_of(i), n + i % 3, n, f->used_bytes, i % 11 == 5 ? 101 : 1, i % 2 };
			f->used_bytes += n;
		}
		struct block block;
		okay(block_encode(encoder, f, false, &block));
		okay(segment_seal(store_segment_writer(g), encoder, &block));
	}
	okay(store_segment_commit(s, &g, NULL));
	frames_close(&f);
	block_encoder_close(&encoder);
}

/* The segment's records must be all those of [first, last) with a time from from_ns on, in order; returns their number. */
static uint64_t
segment_verify(struct archive *a, const struct segment_row *row, uint32_t first, uint64_t from_ns)
{
	struct segment *g = NULL;
	struct block_decoder *decoder = NULL;
	uint32_t i = first;
	uint64_t seen = 0;
	okay(archive_open_segment(a, row, &g));
	okay(block_decoder_open(&decoder, NULL));
	for (uint32_t b = 0; b < segment_totals_of(g)->blocks; b++) {
		const struct batch *batch;
		okay(segment_load(g, b, decoder, BATCH_ALL, &batch, NULL));
		for (uint32_t k = 0; k < batch->count; k++, i++) {
			uint32_t at = batch->row_of[k], n, c = 0;
			uint8_t wanted[256];
			const uint8_t *bytes;
			while (time_of(i) < from_ns)
				i++;
			while (batch->start[c + 1] <= at)
				c++;
			const struct link *link = &batch->links[batch->flows[2 * c + batch->dir[at]].link];
			uint32_t wanted_n = record_fill(wanted, i);
			okay(batch_bytes(batch, at, &bytes, &n));
			assert_int_equal(n, wanted_n);
			assert_memory_equal(bytes, wanted, n);
			assert_true(batch->ts[at] == time_of(i));
			assert_int_equal(batch->wire_len[at], n + i % 3);
			assert_int_equal(link->linktype, i % 11 == 5 ? 101 : 1);
			assert_int_equal(link->iface, i % 2);
			seen++;
		}
	}
	block_decoder_close(&decoder);
	segment_close(&g);
	return seen;
}

static uint64_t
left_of(uint32_t first, uint32_t last, uint64_t from_ns)
{
	uint64_t n = 0;
	for (uint32_t i = first; i < last; i++)
		n += time_of(i) >= from_ns;
	return n;
}

static struct store *
archive_with_two_segments(uint32_t *stream)
{
	struct store *s = NULL;
	char path[PATH_BYTES];
	okay(io_path(path, folder, "archive"));
	okay(archive_init(path, NULL));
	okay(store_open(&s, path, NULL));
	okay(store_stream(s, "eth0", stream));
	segment_write(s, *stream, 0);
	segment_write(s, *stream, BLOCKS * RECORDS);
	return s;
}

/* Of the segments with records on both sides. */
static void
count_straddling(struct store *s, uint32_t stream, uint64_t until, uint64_t *records)
{
	struct catalogue *c = archive_catalogue(store_archive(s));
	struct segment_row row = { 0 };
	okay(catalogue_begin(c));
	while (catalogue_next_in_range(c, stream, 0, until, &row) == OK)
		if (row.last_ns >= until)
			okay(trim_count(store_archive(s), &row, until, records));
	catalogue_end(c);
}

static void
rewrites_a_segment_without_its_removed_records(void **state)
{
	(void)state;
	uint32_t stream;
	struct store *s = archive_with_two_segments(&stream);
	uint64_t until = time_of(BLOCKS * RECORDS + RECORDS + 100), counted = 0;
	struct store_removal removal;
	struct trim_result trimmed;
	uint64_t went = BLOCKS * RECORDS - left_of(BLOCKS * RECORDS, 2 * BLOCKS * RECORDS, until);
	count_straddling(s, stream, until, &counted);
	assert_int_equal(counted, went);
	okay(store_remove(s, stream, until, &removal));
	assert_int_equal(removal.segments, 1);
	assert_int_equal(removal.straddling, 1);
	okay(trim_segments(s, &trimmed));
	assert_int_equal(trimmed.segments, 1);
	assert_int_equal(trimmed.records, went);

	struct catalogue *c = archive_catalogue(store_archive(s));
	struct segment_row row = { 0 }, live = { 0 };
	unsigned count = 0;
	okay(catalogue_begin(c));
	while (catalogue_next_segment(c, &row) == OK)
		if (row.state == SEGMENT_LIVE) {
			live = row;
			count++;
		}
	catalogue_end(c);
	assert_int_equal(count, 1);
	assert_true(live.hidden_until_ns == 0 && live.first_ns >= until);
	uint64_t wanted = left_of(BLOCKS * RECORDS, 2 * BLOCKS * RECORDS, until);
	assert_int_equal(live.records, wanted);
	assert_int_equal(live.blocks, 2);
	assert_int_equal(segment_verify(store_archive(s), &live, BLOCKS * RECORDS, until), wanted);
	okay(trim_segments(s, &trimmed));
	assert_int_equal(trimmed.segments, 0);
	assert_int_equal(trimmed.records, 0);
	store_close(&s);
}

static void
does_nothing_when_nothing_was_removed(void **state)
{
	(void)state;
	uint32_t stream;
	struct store *s = archive_with_two_segments(&stream);
	struct trim_result trimmed = { 7, 7 };
	okay(trim_segments(s, &trimmed));
	assert_int_equal(trimmed.segments, 0);
	assert_int_equal(trimmed.records, 0);
	store_close(&s);
}

static int
setup(void **state)
{
	(void)state;
	scratch_make(folder);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	scratch_remove(folder);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(rewrites_a_segment_without_its_removed_records, setup, teardown),
		cmocka_unit_test_setup_teardown(does_nothing_when_nothing_was_removed, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
