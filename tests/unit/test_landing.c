#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/landing.h"
#include "base/io.h"
#include "tests/support/make_archive.h"
#include "tests/support/unit.h"

#define PARCELS 4u

static char folder[PATH_BYTES], path[PATH_BYTES];
static uint8_t key[SEGMENT_KEY_BYTES] = { 1, 2, 3 };
static uint8_t sign_public[32], sign_secret[64], ingest_public[32], ingest_secret[32];
static struct landing_name name = { .archive = "an archive's id", .id = 0x1234, .key_slot = 5 };

struct made {
	struct parcel p;
	uint8_t front[PARCEL_FRONT_BYTES_MAX], key[BLOCK_KEY_BYTES], block[300];
	struct block_info info;
	uint64_t at, next;
} made[PARCELS];

/* Blocks that are none: a landing file does not look into them. The third is a loss. */
static void
make_parcels(void)
{
	for (unsigned i = 0; i < PARCELS; i++) {
		struct made *m = &made[i];
		*m = (struct made){ .p = { .kind = i == 2 ? PARCEL_LOSS : PARCEL_BLOCK, .epoch = 7, .sequence = i + 1, .records = 3,
			.first_ns = 10, .last_ns = 20, .captured_bytes = 30, .from_sequence = i == 2 ? 3 : 0, .stream = "eth0" } };
		memcpy(m->p.monitor, sign_public, sizeof sign_public);
		randombytes_buf_deterministic(m->block, sizeof m->block, (uint8_t[32]){ (uint8_t)i });
		memset(m->key, (int)i + 1, sizeof m->key);
		if (m->p.kind == PARCEL_BLOCK) {
			m->p.block = m->block;
			m->p.block_bytes = 100 + 50 * i;
		}
		m->info = (struct block_info){ .stored_bytes = m->p.block_bytes, .records = 3, .first_ns = 10, .last_ns = 20,
			.wire_bytes = 40, .captured_bytes = 30, .sampled = 2, .sampler = SAMPLER_COUNT };
		parcel_sign(&m->p, sign_secret, ingest_public, m->p.block ? m->key : NULL, m->front);
	}
}

static enum err
append(struct landing *l, struct made *m)
{
	struct landing_entry e;
	bool loss = m->p.kind == PARCEL_LOSS;
	enum err error = landing_append(l, &m->p, loss ? NULL : &m->info, loss ? NULL : m->key, 9, 3, 1000 + m->p.sequence, &e);
	if (error == OK) {
		m->at = e.at;
		m->next = e.next;
	}
	return error;
}

static int
make(void **state)
{
	(void)state;
	struct landing *l = NULL;
	scratch_make(folder);
	MUST(io_path(path, folder, "x.land"));
	make_parcels();
	MUST(landing_create(&l, path, &name, key));
	for (unsigned i = 0; i < PARCELS; i++)
		MUST(append(l, &made[i]));
	MUST(landing_sync(l));
	landing_close(&l);
	return 0;
}

static int
unmake(void **state)
{
	(void)state;
	scratch_remove(folder);
	return 0;
}

static size_t
read_all(uint8_t **bytes)
{
	int fd = open(path, O_RDONLY);
	off_t n = lseek(fd, 0, SEEK_END);
	*bytes = malloc((size_t)n);
	assert_int_equal(pread(fd, *bytes, (size_t)n, 0), n);
	close(fd);
	return (size_t)n;
}

static void
write_all(const uint8_t *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, bytes, n), n);
	close(fd);
}

static void
is_parcel(const struct landing_entry *e, const struct made *m)
{
	assert_int_equal(e->at, m->at);
	assert_int_equal(e->next, m->next);
	assert_int_equal(e->record.monitor, 9);
	assert_int_equal(e->record.stream, 3);
	assert_int_equal(e->record.arrived_ns, 1000 + m->p.sequence);
	assert_memory_equal(e->parcel.self, m->p.self, sizeof m->p.self);
	assert_int_equal(e->parcel.block_bytes, m->p.block_bytes);
	if (m->p.kind == PARCEL_LOSS) {
		assert_null(e->parcel.block);
		assert_true(sodium_is_zero(e->key, sizeof e->key));
		return;
	}
	assert_memory_equal(e->key, m->key, sizeof m->key);
	assert_memory_equal(e->parcel.block, m->block, m->p.block_bytes);
	struct block_info info = landing_block_info(e);
	assert_int_equal(info.at + info.stored_bytes, e->next);
	assert_int_equal(info.sampled, 2);
	assert_memory_equal(info.hash, m->p.hash, sizeof info.hash);
}

/* How many parcels a scan from the start finds before it ends or fails. */
static unsigned
scan(struct landing *l, enum err *end)
{
	struct landing_entry e;
	uint64_t at = LANDING_HEADER_BYTES;
	unsigned n = 0;
	for (; (*end = landing_read(l, at, &e)) == OK; n++, at = e.next) {
		assert_true(n < PARCELS);
		is_parcel(&e, &made[n]);
	}
	return n;
}

static void
what_was_appended_is_read_in_order_and_by_offset(void **state)
{
	(void)state;
	struct landing *l = NULL;
	struct landing_entry e;
	struct landing_name found;
	enum err end;
	MUST(landing_read_name(path, &found));
	assert_int_equal(found.id, name.id);
	assert_int_equal(found.key_slot, name.key_slot);
	assert_memory_equal(found.archive, name.archive, sizeof name.archive);
	MUST(landing_open(&l, path, key));
	assert_int_equal(scan(l, &end), PARCELS);
	assert_int_equal(end, END);
	for (unsigned i = PARCELS; i-- > 0;) {
		MUST(landing_read(l, made[i].at, &e));
		is_parcel(&e, &made[i]);
		MUST(landing_key(l, made[i].at, &e));
		assert_memory_equal(e.key, made[i].p.block ? made[i].key : (uint8_t[32]){ 0 }, sizeof e.key);
	}
	landing_close(&l);
}

static void
a_record_has_these_sizes(void **state)
{
	(void)state;
	assert_int_equal(LANDING_HEADER_BYTES, 44);
	assert_int_equal(LANDING_RECORD_BYTES, 117);
	assert_int_equal(made[0].at, 44);
	assert_int_equal(made[0].next, 44 + 117 + 48 + PARCEL_HEADER_BYTES + 4 + 64 + 100);
}

static void
a_scan_stops_at_every_torn_tail(void **state)
{
	(void)state;
	uint8_t *bytes;
	size_t n = read_all(&bytes);
	for (size_t cut = 0; cut < n; cut++) {
		struct landing *l = NULL;
		enum err end;
		write_all(bytes, cut);
		enum err e = landing_open(&l, path, key);
		if (cut < LANDING_HEADER_BYTES) {
			assert_int_equal(e, ERR_FORMAT);
			continue;
		}
		assert_int_equal(e, OK);
		unsigned whole = 0;
		while (whole < PARCELS && made[whole].next <= cut)
			whole++;
		assert_int_equal(scan(l, &end), whole);
		bool clean = cut == (whole ? made[whole - 1].next : LANDING_HEADER_BYTES);
		assert_int_equal(end, clean ? END : ERR_FORMAT);
		landing_close(&l);
	}
	write_all(bytes, n);
	free(bytes);
}

static void
every_flipped_bit_is_noticed_and_passed_over(void **state)
{
	(void)state;
	uint8_t *bytes;
	size_t n = read_all(&bytes);
	for (size_t bit = 0; bit < 8 * n; bit++) {
		struct landing *l = NULL;
		enum err end;
		uint64_t next = 0;
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		write_all(bytes, n);
		enum err e = landing_open(&l, path, key);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (bit / 8 < LANDING_HEADER_BYTES) {
			assert_int_equal(e, ERR_FORMAT);
			continue;
		}
		assert_int_equal(e, OK);
		unsigned hit = 0;
		while (made[hit].next <= bit / 8)
			hit++;
		assert_int_equal(scan(l, &end), hit);
		assert_true(end == ERR_FORMAT || end == ERR_DENIED);
		assert_non_null(strstr(err_text(), path));
		assert_int_equal(landing_resync(l, made[hit].at, &next), hit + 1 < PARCELS ? OK : END);
		if (hit + 1 < PARCELS)
			assert_int_equal(next, made[hit + 1].at);
		landing_close(&l);
	}
	write_all(bytes, n);
	free(bytes);
}

static void
another_key_opens_nothing(void **state)
{
	(void)state;
	struct landing *l = NULL;
	enum err end;
	uint8_t other[SEGMENT_KEY_BYTES] = { 9 };
	MUST(landing_open(&l, path, other));
	assert_int_equal(scan(l, &end), 0);
	assert_int_equal(end, ERR_DENIED);
	landing_close(&l);
}

static void
a_record_does_not_open_at_another_place(void **state)
{
	(void)state;
	uint8_t *bytes;
	size_t n = read_all(&bytes), moved = (size_t)(made[3].next - made[3].at);
	struct landing *l = NULL;
	enum err end;
	uint8_t *swapped = malloc(n);
	memcpy(swapped, bytes, LANDING_HEADER_BYTES);
	memcpy(swapped + LANDING_HEADER_BYTES, bytes + made[3].at, moved);
	write_all(swapped, LANDING_HEADER_BYTES + moved);
	MUST(landing_open(&l, path, key));
	assert_int_equal(scan(l, &end), 0);
	assert_int_equal(end, ERR_DENIED);
	landing_close(&l);
	write_all(bytes, n);
	free(bytes), free(swapped);
}

static void
what_is_taken_back_is_never_sealed_under_the_same_nonce(void **state)
{
	(void)state;
	char other[PATH_BYTES];
	struct landing *l = NULL;
	struct landing_entry e;
	uint8_t sealed[2][SEALED_BLOCK_KEY_BYTES];
	MUST(io_path(other, folder, "y.land"));
	MUST(landing_create(&l, other, &name, key));
	for (unsigned i = 0; i < 2; i++) {
		struct made again = made[0];
		MUST(append(l, &again));
		assert_int_equal(again.at, LANDING_HEADER_BYTES);
		int fd = open(other, O_RDONLY);
		assert_int_equal(pread(fd, sealed[i], sizeof sealed[i], (off_t)(again.at + LANDING_RECORD_BYTES)), sizeof sealed[i]);
		close(fd);
		if (i == 0)
			MUST(landing_cut(l, LANDING_HEADER_BYTES));
	}
	landing_close(&l);
	assert_memory_not_equal(sealed[0], sealed[1], BLOCK_KEY_BYTES);
	MUST(landing_open(&l, other, key));
	MUST(landing_read(l, LANDING_HEADER_BYTES, &e));
	assert_int_equal(e.record.cuts, 1);
	assert_memory_equal(e.key, made[0].key, sizeof e.key);
	landing_close(&l);
	assert_int_equal(landing_create(&l, other, &name, key), ERR_EXISTS);
}

int
main(void)
{
	if (sodium_init() < 0)
		return 1;
	scratch_in_memory();
	uint8_t seed[32] = { 4 };
	crypto_sign_seed_keypair(sign_public, sign_secret, seed);
	crypto_box_seed_keypair(ingest_public, ingest_secret, seed);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_appended_is_read_in_order_and_by_offset),
		cmocka_unit_test(a_record_has_these_sizes),
		cmocka_unit_test(a_scan_stops_at_every_torn_tail),
		cmocka_unit_test(every_flipped_bit_is_noticed_and_passed_over),
		cmocka_unit_test(another_key_opens_nothing),
		cmocka_unit_test(a_record_does_not_open_at_another_place),
		cmocka_unit_test(what_is_taken_back_is_never_sealed_under_the_same_nonce),
	};
	return cmocka_run_group_tests(tests, make, unmake);
}
