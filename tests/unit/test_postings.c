#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

#include "archive/postings.h"
#include "tests/support/filter_cases.h"
#include "tests/support/packing.h"

static uint64_t
random64(struct dice *d)
{
	return (uint64_t)dice_roll(d, UINT32_MAX) << 32 | dice_roll(d, UINT32_MAX);
}

static int
compare(const void *a, const void *b)
{
	return posting_before(a, b) ? -1 : posting_before(b, a);
}

static bool
same_key(const struct posting *a, const struct posting *b)
{
	return a->high == b->high && a->low == b->low;
}

/* n random postings in order, none twice; fewer when keys are few. */
static uint32_t
random_postings(struct dice *d, struct posting *v, uint32_t n, uint32_t keys)
{
	uint32_t kept = 0;
	for (uint32_t i = 0; i < n; i++) {
		v[i] = (struct posting){ 0, dice_roll(d, keys), random64(d) };
		if (keys == UINT32_MAX)
			v[i].high = random64(d);
	}
	qsort(v, n, sizeof *v, compare);
	for (uint32_t i = 0; i < n; i++)
		if (kept == 0 || !same_key(&v[kept - 1], &v[i]))
			v[kept++] = v[i];
	return kept;
}

static void
merging_keeps_order_and_joins_block_sets(void **state)
{
	(void)state;
	struct dice d = { 5 };
	static uint64_t expected[500];
	struct postings p = { 0 };
	struct posting add[300];
	for (unsigned round = 0; round < 40; round++) {
		uint32_t n = random_postings(&d, add, dice_roll(&d, 300), 500);
		assert_int_equal(postings_merge(&p, add, n), OK);
		for (uint32_t i = 0; i < n; i++)
			expected[add[i].low] |= add[i].blocks;
		uint32_t at = 0;
		for (uint32_t k = 0; k < 500; k++) {
			if (!expected[k])
				continue;
			assert_true(at < p.count && p.v[at].low == k && p.v[at].high == 0);
			assert_true(p.v[at++].blocks == expected[k]);
		}
		assert_int_equal(at, p.count);
	}
	postings_fini(&p);
	postings_fini(&p);
}

static void
there_and_back(const struct posting *v, uint32_t n, uint8_t *page, size_t *used)
{
	struct posting back[POSTINGS_PAGE];
	uint32_t got = 0;
	struct writer w = writer_of(page, postings_page_bound());
	postings_page_pack(packer, v, n, &w);
	assert_true(writer_ok(&w));
	*used = (size_t)(w.at - page);
	assert_int_equal(postings_page_unpack(unpacker, page, *used, back, &got), OK);
	assert_int_equal(got, n);
	for (uint32_t i = 0; i < n; i++)
		assert_true(same_key(&v[i], &back[i]) && v[i].blocks == back[i].blocks);
}

static void
pages_of_every_fill_come_back(void **state)
{
	(void)state;
	struct dice d = { 6 };
	struct posting v[POSTINGS_PAGE];
	uint8_t *page = malloc(postings_page_bound());
	size_t used;
	assert_non_null(page);
	for (uint32_t n = 1; n <= POSTINGS_PAGE; n += 1 + n / 3) {
		there_and_back(v, random_postings(&d, v, n, UINT32_MAX), page, &used);
		there_and_back(v, random_postings(&d, v, n, 70000), page, &used);
	}
	const struct posting ends[] = { { 0, 0, 1 }, { 0, UINT64_MAX, 2 }, { 1, 0, UINT64_MAX }, { UINT64_MAX, UINT64_MAX, 0 } };
	there_and_back(ends, 4, page, &used);
	there_and_back(ends + 3, 1, page, &used);
	free(page);
}

static void
refuses_every_truncation_and_reads_every_flipped_bit_in_order(void **state)
{
	(void)state;
	struct dice d = { 9 };
	struct posting v[20], back[POSTINGS_PAGE];
	uint8_t *page = malloc(postings_page_bound());
	size_t used;
	uint32_t got = 0;
	assert_non_null(page);
	there_and_back(v, random_postings(&d, v, 20, 70000), page, &used);
	for (size_t n = 0; n < used; n++) {
		uint8_t *part = malloc(n + 1);
		memcpy(part, page, n);
		assert_int_equal(postings_page_unpack(unpacker, part, n, back, &got), ERR_FORMAT);
		free(part);
	}
	for (size_t bit = 0; bit < 8 * used; bit++) {
		page[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (postings_page_unpack(unpacker, page, used, back, &got) == OK) {
			assert_in_range(got, 1, POSTINGS_PAGE);
			for (uint32_t i = 1; i < got; i++)
				assert_true(posting_before(&back[i - 1], &back[i]));
		}
		page[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	free(page);
}

static void
refuses_columns_of_different_lengths_and_an_empty_page(void **state)
{
	(void)state;
	struct posting back[POSTINGS_PAGE];
	uint8_t page[256];
	uint32_t got = 0;
	struct writer w = writer_of(page, sizeof page);
	for (unsigned plane = 0; plane < 24; plane++)
		pack(packer, NULL, 0, PACK_PLANE, &w);
	assert_int_equal(postings_page_unpack(unpacker, page, (size_t)(w.at - page), back, &got), ERR_FORMAT);
	w = writer_of(page, sizeof page);
	for (unsigned plane = 0; plane < 24; plane++)
		pack(packer, (const uint8_t *)"abc", plane == 23 ? 2 : 3, PACK_PLANE, &w);
	assert_int_equal(postings_page_unpack(unpacker, page, (size_t)(w.at - page), back, &got), ERR_FORMAT);
	w = writer_of(page, sizeof page);
	for (unsigned plane = 0; plane < 24; plane++) /* the same key twice: a step of 0 */
		pack(packer, (const uint8_t *)"\0\0", 2, PACK_PLANE, &w);
	assert_int_equal(postings_page_unpack(unpacker, page, (size_t)(w.at - page), back, &got), ERR_FORMAT);
	uint8_t more[POSTINGS_PAGE + 1] = { 0 };
	w = writer_of(page, sizeof page);
	for (unsigned plane = 0; plane < 24; plane++)
		pack(packer, more, sizeof more, PACK_PLANE, &w);
	assert_int_equal(postings_page_unpack(unpacker, page, (size_t)(w.at - page), back, &got), ERR_FORMAT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(merging_keeps_order_and_joins_block_sets),
		cmocka_unit_test(pages_of_every_fill_come_back),
		cmocka_unit_test(refuses_every_truncation_and_reads_every_flipped_bit_in_order),
		cmocka_unit_test(refuses_columns_of_different_lengths_and_an_empty_page),
	};
	return cmocka_run_group_tests(tests, packing_open, packing_close);
}
