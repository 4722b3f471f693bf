/* Rules on single values: every value, and for times every range of a small clock and the ends of the large one. */
#include "tests/support/unit.h"

#include "anonymize/rules.h"
#include "archive/packet_view.h"

static void
a_ttl_becomes_what_the_sender_began_with(void **state)
{
	(void)state;
	static const uint8_t begins[] = { 32, 64, 128, 255 };
	for (unsigned ttl = 0; ttl < 256; ttl++) {
		unsigned i = 0;
		while (begins[i] < ttl)
			i++;
		assert_int_equal(ttl_bucket((uint8_t)ttl), begins[i]);
	}
}

static void
a_port_becomes_the_first_of_its_range(void **state)
{
	(void)state;
	for (unsigned port = 0; port < 65536; port++)
		assert_int_equal(port_bucket((uint16_t)port), port < 1024 ? port : port < 49152 ? 1024 : 49152);
}

/* Raw times around a place, each within exactly those ranges of the view that its raw range says. */
static void
ranges_around(const struct time_rule *r, uint64_t raw0, uint64_t view0, uint64_t width)
{
	for (uint64_t from = view0; from < view0 + width; from++)
		for (uint64_t until = from; until < view0 + width; until++) {
			struct span raw = time_unmap_span(r, (struct span){ from, until });
			assert_true(raw.from_ns <= raw.until_ns);
			for (uint64_t t = raw0; t < raw0 + width; t++) {
				uint64_t view = time_map(r, t);
				assert_int_equal(t >= raw.from_ns && t < raw.until_ns, view >= from && view < until);
			}
		}
}

static void
a_range_of_the_view_is_the_range_of_raw_times_that_gives_it(void **state)
{
	(void)state;
	static const int64_t shifts[] = { 0, 1, 7, -1, -5, -9 };
	for (size_t s = 0; s < sizeof shifts / sizeof *shifts; s++)
		for (uint64_t quantum = 1; quantum < 8; quantum++) {
			const struct time_rule r = { shifts[s], quantum };
			uint64_t high = UINT64_MAX - 26; /* the last raw time is excluded by every range */
			ranges_around(&r, 0, 0, 24);
			ranges_around(&r, 1000, 1000, 24);
			ranges_around(&r, high, high, 25);
		}
	static const uint64_t extremes[] = { 1, 1000, 3600000000000ull };
	for (size_t q = 0; q < sizeof extremes / sizeof *extremes; q++) {
		ranges_around(&(struct time_rule){ INT64_MAX, extremes[q] }, 0, (uint64_t)INT64_MAX - 12, 24);
		ranges_around(&(struct time_rule){ INT64_MIN, extremes[q] }, (uint64_t)INT64_MAX - 12, 0, 24);
		ranges_around(&(struct time_rule){ -1000000007, extremes[q] }, 1763748245000000000u, 1763748243999999990u, 24);
	}
}

static void
an_open_range_stays_open(void **state)
{
	(void)state;
	const struct time_rule r = { -12345, 1000 };
	struct span raw = time_unmap_span(&r, (struct span){ 0, UINT64_MAX });
	assert_true(raw.from_ns == 0 && raw.until_ns == UINT64_MAX);
	raw = time_unmap_span(&r, (struct span){ 5000, UINT64_MAX });
	assert_true(raw.from_ns == 17345 && raw.until_ns == UINT64_MAX);
	/* no raw time is so late in the view */
	raw = time_unmap_span(&r, (struct span){ UINT64_MAX - 5, UINT64_MAX - 3 });
	assert_true(raw.from_ns == raw.until_ns);
}

static void
times_keep_their_order(void **state)
{
	(void)state;
	const struct time_rule rules[] = { { 5, 3 }, { -5, 3 }, { INT64_MAX, 7 }, { INT64_MIN, 7 }, { 0, 1 } };
	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		uint64_t seed = 42, before = 0, mapped_before = time_map(&rules[i], 0);
		for (unsigned k = 0; k < 10000; k++) {
			seed = seed * 6364136223846793005u + 1442695040888963407u;
			uint64_t t = seed >> (k % 64), mapped = time_map(&rules[i], t);
			assert_true(t < before ? mapped <= mapped_before : mapped >= mapped_before);
			assert_int_equal(mapped % rules[i].quantum_ns, 0);
			before = t;
			mapped_before = mapped;
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ttl_becomes_what_the_sender_began_with),
		cmocka_unit_test(a_port_becomes_the_first_of_its_range),
		cmocka_unit_test(a_range_of_the_view_is_the_range_of_raw_times_that_gives_it),
		cmocka_unit_test(an_open_range_stays_open),
		cmocka_unit_test(times_keep_their_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
