#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "archive/arrival.h"
#include "archive/seal.h"
#include "base/bytes.h"
#include "tests/support/unit.h"

/* Each message kind, filled with something, goes through a channel and comes out as it was. */
static uint8_t contents[4096];
static uint32_t at;

static uint64_t
some(void)
{
	return 0x9e3779b97f4a7c15u * ++at;
}

#define FILL_u8(to, size, name)    (to)->name = (uint8_t)some();
#define FILL_le32(to, size, name)  (to)->name = (uint32_t)some();
#define FILL_le64(to, size, name)  (to)->name = some();
#define FILL_bytes(to, size, name) memset((to)->name, (int)(some() & 255), size);
#define FILL_text(to, size, name)  memset((to)->name, 'a' + (int)(some() % 26), some() % (size));
#define FILL_view(to, size, name)                                    \
	(to)->name = contents + some() % 1000;                       \
	(to)->name##_count = (uint32_t)(some() % 2000 % ((size) + 1));
#define SAME_u8(a, b, size, name)    assert_int_equal((a)->name, (b)->name);
#define SAME_le32(a, b, size, name)  assert_int_equal((a)->name, (b)->name);
#define SAME_le64(a, b, size, name)  assert_true((a)->name == (b)->name);
#define SAME_bytes(a, b, size, name) assert_memory_equal((a)->name, (b)->name, size);
#define SAME_text(a, b, size, name)  assert_string_equal((a)->name, (b)->name);
#define SAME_view(a, b, size, name)  assert_int_equal((a)->name##_count, (b)->name##_count); \
	assert_memory_equal((a)->name, (b)->name, (b)->name##_count);
#define FILL(kind, size, name, meaning) FILL_##kind(m, size, name)
#define SAME(kind, size, name, meaning) SAME_##kind(a, b, size, name)
#define M(TABLE, noun, kind, to, meaning)                                                              \
	static void fill_##noun(struct arrival_##noun *m) { ARRIVAL_##TABLE(FILL) }                    \
	static void same_##noun(const struct arrival_##noun *a, const struct arrival_##noun *b) { ARRIVAL_##TABLE(SAME) }
ARRIVAL_MESSAGES(M)
#undef M

static void
fill(struct arrival_message *m, unsigned kind)
{
	memset(m, 0, sizeof *m);
	m->kind = (enum arrival_kind)kind;
	switch (kind) {
#define M(TABLE, noun, number, to, meaning) case number: fill_##noun(&m->noun); break;
		ARRIVAL_MESSAGES(M)
#undef M
	}
}

static void
same(const struct arrival_message *a, const struct arrival_message *b)
{
	assert_int_equal(a->kind, b->kind);
	switch (a->kind) {
#define M(TABLE, noun, number, to, meaning) case number: same_##noun(&a->noun, &b->noun); break;
		ARRIVAL_MESSAGES(M)
#undef M
	}
}

static const struct { unsigned kind; enum arrival_to to; } kinds[] = {
#define M(TABLE, noun, number, to, meaning) { number, ARRIVAL_TO_##to },
	ARRIVAL_MESSAGES(M)
#undef M
};
#define KINDS (sizeof kinds / sizeof *kinds)

static struct channel out, in;

static int
open_both(void **state)
{
	(void)state;
	int pair[2];
	for (size_t i = 0; i < sizeof contents; i++)
		contents[i] = (uint8_t)(i * 31);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	channel_init(&out, pair[0], ARRIVAL_MESSAGE_BYTES, 1u << 20);
	channel_init(&in, pair[1], ARRIVAL_MESSAGE_BYTES, 1u << 20);
	return 0;
}

static int
close_both(void **state)
{
	(void)state;
	channel_fini(&out);
	channel_fini(&in);
	return 0;
}

/* The message's bytes, owned by the channel. */
static struct channel_message
carried(const struct arrival_message *m)
{
	struct channel_message c;
	assert_int_equal(arrival_send(&out, m), OK);
	assert_int_equal(channel_receive(&in, &c), OK);
	return c;
}

static void
every_message_comes_out_as_it_went_in(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 50; round++) {
		for (size_t i = 0; i < KINDS; i++) {
			struct arrival_message m, back;
			fill(&m, kinds[i].kind);
			struct channel_message c = carried(&m);
			assert_int_equal(arrival_decode(&c, kinds[i].to, &back), OK);
			same(&back, &m);
		}
	}
}

static void
refuses_messages_for_the_other_side_and_unknown_ones(void **state)
{
	(void)state;
	struct arrival_message m, back = { 0 };
	for (size_t i = 0; i < KINDS; i++) {
		fill(&m, kinds[i].kind);
		struct channel_message c = carried(&m);
		assert_int_equal(arrival_decode(&c, kinds[i].to == ARRIVAL_TO_STORE ? ARRIVAL_TO_INGEST : ARRIVAL_TO_STORE, &back),
		                 ERR_FORMAT);
		c.kind = 200;
		assert_int_equal(arrival_decode(&c, kinds[i].to, &back), ERR_FORMAT);
	}
	assert_int_equal(back.kind, 0);
}

static void
refuses_every_truncation_and_every_longer_one(void **state)
{
	(void)state;
	struct arrival_message m, back;
	for (size_t i = 0; i < KINDS; i++) {
		fill(&m, kinds[i].kind);
		struct channel_message c = carried(&m);
		size_t n = c.n;
		uint8_t *copy = malloc(n + 1);
		memcpy(copy, c.bytes, n);
		copy[n] = 0;
		for (c.bytes = copy, c.n = 0; c.n < n; c.n++)
			assert_int_equal(arrival_decode(&c, kinds[i].to, &back), ERR_FORMAT);
		c.n = n + 1;
		assert_int_equal(arrival_decode(&c, kinds[i].to, &back), ERR_FORMAT);
		free(copy);
	}
}

/* What a changed message still means, it means exactly: it is sent again as the same bytes. */
static void
a_flipped_bit_is_refused_or_another_message(void **state)
{
	(void)state;
	struct arrival_message m, back;
	for (size_t i = 0; i < KINDS; i++) {
		fill(&m, kinds[i].kind);
		struct channel_message c = carried(&m), again;
		size_t n = c.n;
		uint8_t *copy = malloc(n);
		memcpy(copy, c.bytes, n);
		c.bytes = copy;
		for (size_t bit = 0; bit < 8 * (n < 700 ? n : 700); bit++) {
			copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
			if (arrival_decode(&c, kinds[i].to, &back) == OK) {
				again = carried(&back);
				assert_int_equal(again.n, n);
				assert_memory_equal(again.bytes, copy, n);
			}
			copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		free(copy);
	}
}

static void
the_table_of_monitors_comes_entry_by_entry(void **state)
{
	(void)state;
	uint8_t entries[3 * ARRIVAL_MONITOR_BYTES];
	struct arrival_monitor m = { .id = 7, .state = ARRIVAL_STATE_REVOKED, .name = "nord" }, back;
	for (unsigned i = 0; i < 3; i++) {
		m.id = 7 + i;
		m.noise_key[0] = (uint8_t)i;
		arrival_monitor_put(&m, entries + i * ARRIVAL_MONITOR_BYTES);
	}
	struct arrival_monitors all = { .entries = entries, .entries_count = sizeof entries };
	for (unsigned i = 0; i < 3; i++) {
		assert_true(arrival_monitor_at(&all, i, &back));
		assert_int_equal(back.id, 7 + i);
		assert_int_equal(back.noise_key[0], i);
		assert_string_equal((char *)back.name, "nord");
	}
	assert_false(arrival_monitor_at(&all, 3, &back));
	entries[4] = 3; /* no such state */
	assert_false(arrival_monitor_at(&all, 0, &back));
	memset(entries + ARRIVAL_MONITOR_BYTES + 72, 'x', 64); /* a name without end */
	assert_false(arrival_monitor_at(&all, 1, &back));
	entries[2 * ARRIVAL_MONITOR_BYTES + 72] = 0;
	assert_false(arrival_monitor_at(&all, 2, &back));
}

/* --- terms --- */

static uint8_t block[BLOCK_HEADER_BYTES];
static struct parcel parcel;

static struct arrival_parcel
a_parcel(void)
{
	struct writer w = writer_of(block, sizeof block);
	const struct block_header h = { .magic = BLOCK_MAGIC, .version = BLOCK_VERSION, .kind = 1, .chunks = 0, .records = 9,
		                        .stored_bytes = BLOCK_HEADER_BYTES, .sampled = 1, .sampler = 0 };
#define F(codec, type, name, description) writer_##codec(&w, h.name);
	BLOCK_HEADER(F)
#undef F
	parcel = (struct parcel){ .kind = PARCEL_BLOCK, .records = 9, .first_ns = 5, .last_ns = 8, .captured_bytes = 99,
		                  .block_bytes = sizeof block };
	return (struct arrival_parcel){ .block = block, .block_count = sizeof block, .sampled = 1, .wire_bytes = 1234 };
}

static void
a_block_is_what_its_parcel_says_and_its_terms_ascend(void **state)
{
	(void)state;
	static const uint8_t ip4[] = { 1, 0, 0, 10, 0, 0, 0, 11 }, twice[] = { 1, 0, 0, 10, 1, 0, 0, 10 }, ports[] = { 80, 0, 187, 1 },
	                     protos[] = { 6, 17 }, backwards[] = { 17, 6 };
	static uint8_t ip6[48];
	ip6[16] = 1;
	ip6[32] = 2;
	struct arrival_terms t;
	struct block b;
	assert_int_equal(arrival_terms_init(&t), OK);
	struct arrival_parcel m = a_parcel();
	m.ip4 = ip4, m.ip4_count = sizeof ip4, m.ip6 = ip6, m.ip6_count = sizeof ip6;
	m.ports = ports, m.ports_count = sizeof ports, m.protos = protos, m.protos_count = sizeof protos;
	assert_int_equal(arrival_block(&t, &m, &parcel, &b), OK);
	assert_int_equal(b.info.records, 9);
	assert_true(b.info.wire_bytes == 1234 && b.info.captured_bytes == 99 && b.info.first_ns == 5 && b.info.last_ns == 8);
	assert_int_equal(b.ip4_count, 2);
	assert_int_equal(b.ip4[1], 0x0b000000);
	assert_int_equal(b.ip6_count, 3);
	assert_int_equal(b.ports[1], 443);
	assert_int_equal(b.proto_count, 2);

	struct arrival_parcel bad = m;
	bad.ip4 = twice;
	assert_int_equal(arrival_block(&t, &bad, &parcel, &b), ERR_FORMAT);
	bad = m, bad.protos = backwards;
	assert_int_equal(arrival_block(&t, &bad, &parcel, &b), ERR_FORMAT);
	bad = m, bad.ip4_count = 7;
	assert_int_equal(arrival_block(&t, &bad, &parcel, &b), ERR_FORMAT);
	bad = m, bad.ip6 = ip6 + 16, bad.ip6_count = 20;
	assert_int_equal(arrival_block(&t, &bad, &parcel, &b), ERR_FORMAT);
	bad = m, bad.ports_count = 3;
	assert_int_equal(arrival_block(&t, &bad, &parcel, &b), ERR_FORMAT);
	bad = m, bad.opaque = 2;
	assert_int_equal(arrival_block(&t, &bad, &parcel, &b), ERR_FORMAT);
	bad = m, bad.sampled = 2;
	assert_int_equal(arrival_block(&t, &bad, &parcel, &b), ERR_FORMAT);
	bad = m, bad.block_count--;
	assert_int_equal(arrival_block(&t, &bad, &parcel, &b), ERR_FORMAT);
	struct parcel other = parcel;
	other.records = 10;
	assert_int_equal(arrival_block(&t, &m, &other, &b), ERR_FORMAT);
	arrival_terms_fini(&t);
}

int
main(void)
{
	if (seal_start() != OK)
		return 1;
#define T(name) cmocka_unit_test_setup_teardown(name, open_both, close_both)
	const struct CMUnitTest tests[] = {
		T(every_message_comes_out_as_it_went_in),
		T(refuses_messages_for_the_other_side_and_unknown_ones),
		T(refuses_every_truncation_and_every_longer_one),
		T(a_flipped_bit_is_refused_or_another_message),
		cmocka_unit_test(the_table_of_monitors_comes_entry_by_entry),
		cmocka_unit_test(a_block_is_what_its_parcel_says_and_its_terms_ascend),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
