/* Segment files from somebody hostile who has the key: pages, directories, block tables and headers are changed before they
 * are sealed. Opening, looking up and loading answer or refuse, within their bounds.
 *
 * Input: flags, then operations of 8 bytes each: part of the file, kind, place, value.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "archive/batch.h"
#include "archive/block.h"
#include "archive/seal.h"
#include "archive/segment_format.h"
#include "base/io.h"
#include "tests/support/block_trip.h"
#include "tests/support/filter_cases.h"

#define PART_BYTES_MAX 8192u
#define PARTS_MAX      64u
#define BLOCKS         2u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

enum flags { KEEP_CHECKS = 1 /* header and trailer keep the check they had */ };

/* What lies in the file one after another: in the clear, or sealed: a page, or a chunk of a block. */
enum seal_kind { CLEAR, PAGE, CHUNK };
struct part {
	uint32_t n, number;      /* page or chunk */
	uint32_t block, head;    /* of a chunk: its block, and the part with the block's header */
	enum seal_kind sealed;
	uint8_t  p[PART_BYTES_MAX];
};

static const uint8_t key[SEGMENT_KEY_BYTES] = "k";
static const uint8_t block_keys[BLOCKS][BLOCK_KEY_BYTES] = { "first", "second" };
static const struct segment_name name = { .id = 1, .key_slot = 2, .stream = 3 };
static struct part base[PARTS_MAX], parts[PARTS_MAX];
static uint32_t part_count, main_part; /* behind it are its copy, the first and the second trailer */
static struct block_decoder *decoder;

static void
want(enum err e)
{
	if (e == OK)
		return;
	fprintf(stderr, "%s\n", err_text());
	abort();
}

/* --- a real segment in parts --- */

/* what: kind, number, block and head; n bytes as they lie in the file. */
static uint64_t
add_part(const uint8_t *file, uint64_t at, uint32_t n, struct part what)
{
	struct part *x = &base[part_count++];
	assert(part_count <= PARTS_MAX && n <= PART_BYTES_MAX);
	*x = what;
	x->n = x->sealed ? n - SEAL_TAG_BYTES : n;
	if (x->sealed == PAGE)
		want(unseal_page(key, &name, x->number, file + at, n, x->p));
	else if (x->sealed == CHUNK)
		want(unseal_chunk(block_keys[x->block], base[x->head].p, x->number, file + at, n, x->p));
	else
		memcpy(x->p, file + at, n);
	return at + n;
}

static uint64_t
add_block(const uint8_t *file, uint64_t at, uint32_t number)
{
	const uint8_t *table = file + at + BLOCK_HEADER_BYTES;
	uint32_t chunks = load_le16(file + at + 6);
	uint32_t head = part_count;
	at = add_part(file, at, BLOCK_HEADER_BYTES + chunks * BLOCK_CHUNK_BYTES, (struct part){ .sealed = CLEAR });
	for (uint32_t i = 0; i < chunks; i++, table += BLOCK_CHUNK_BYTES)
		at = add_part(file, at, load_le32(table + 4),
		              (struct part){ .sealed = CHUNK, .number = load_le32(table), .block = number, .head = head });
	return at;
}

static void
take_apart(const uint8_t *file, size_t n)
{
	const uint8_t *trailer = file + n - SEGMENT_TRAILER_BYTES;
	uint64_t main_at = load_le64(trailer + 32), at = add_part(file, 0, SEGMENT_HEADER_BYTES, (struct part){ .sealed = CLEAR });
	uint32_t main_bytes = load_le32(trailer + 40);
	uint8_t *main_page = malloc(main_bytes);
	if (!main_page)
		abort();
	for (uint32_t i = 0; i < BLOCKS; i++)
		at = add_block(file, at, i);
	want(unseal_page(key, &name, 0, file + main_at, main_bytes, main_page));
	/* the directories stand at its end: four tables of one page */
	const uint8_t *entry = main_page + main_bytes - SEAL_TAG_BYTES - TABLE_COUNT * (4 + PAGE_ENTRY_BYTES);
	for (uint32_t t = 0; t < TABLE_COUNT; t++, entry += 4 + PAGE_ENTRY_BYTES) {
		assert(load_le32(entry) == 1 && load_le64(entry + 4 + 16) == at);
		at = add_part(file, at, load_le32(entry + 4 + 24), (struct part){ .sealed = PAGE, .number = t + 1 });
	}
	assert(at == main_at);
	main_part = part_count;
	at = add_part(file, at, main_bytes, (struct part){ .sealed = PAGE });
	at = add_part(file, at, main_bytes, (struct part){ .sealed = PAGE, .number = SEGMENT_MAIN_COPY });
	at = add_part(file, at, SEGMENT_TRAILER_BYTES, (struct part){ .sealed = CLEAR });
	(void)add_part(file, at, SEGMENT_TRAILER_BYTES, (struct part){ .sealed = CLEAR });
	free(main_page);
}

static void
make_base(void)
{
	char path[PATH_BYTES];
	struct frames *frames = NULL;
	struct block_encoder *encoder = NULL;
	struct segment_writer *w = NULL;
	struct segment_totals totals;
	struct dice dice = { 5 };
	trip_scratch(path, "base.seg");
	want(frames_open(&frames, 1 << 20));
	want(block_encoder_open(&encoder));
	want(block_decoder_open(&decoder, NULL));
	want(segment_create(&w, path, &name, key, "eth0"));
	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct block b;
		frames_reset(frames);
		make_frames(frames, &dice, i ? 101 : 1, 60);
		want(block_encode(encoder, frames, false, &b));
		block_seal(encoder, &b, block_keys[i]);
		want(segment_append(w, &b, block_keys[i]));
	}
	want(segment_finish(w, &totals));
	segment_writer_close(&w);
	int fd = -1;
	uint8_t *file = malloc(totals.file_bytes);
	if (!file)
		abort();
	want(io_open(&fd, path));
	want(io_pread(fd, file, totals.file_bytes, 0, path));
	io_close(&fd);
	(void)unlink(path);
	take_apart(file, totals.file_bytes);
	free(file);
	frames_close(&frames);
	block_encoder_close(&encoder);
}

/* --- changed, and put together again --- */

static void
change(struct part *x, const uint8_t *op)
{
	uint32_t at = load_le16(op + 2), value = load_le32(op + 4), place = x->n ? at % x->n : 0;
	switch (op[1] % 5) {
	case 0:
		if (x->n)
			x->p[place] = (uint8_t)value;
		break;
	case 1:
		if (x->n)
			x->p[place] ^= (uint8_t)(1u << value % 8);
		break;
	case 2:
		if (x->n >= 4)
			store_le32(x->p + (place <= x->n - 4 ? place : x->n - 4), value);
		break;
	case 3:
		x->n = place;
		break;
	default:
		for (uint32_t more = 1 + value % 600; more > 0 && x->n < PART_BYTES_MAX; more--)
			x->p[x->n++] = (uint8_t)at;
		break;
	}
}

static void
finish_trailer(struct part *x, unsigned flags, bool changed, uint64_t main_at)
{
	if (x->n != SEGMENT_TRAILER_BYTES)
		return;
	if (!changed) {
		store_le64(x->p + 32, main_at);
		store_le32(x->p + 40, parts[main_part].n + SEAL_TAG_BYTES);
	}
	if (!(flags & KEEP_CHECKS))
		short_hash(x->p, SEGMENT_TRAILER_BYTES - 8, x->p + SEGMENT_TRAILER_BYTES - 8);
}

static void
copy_part(struct part *to, const struct part *from)
{
	to->n = from->n;
	memcpy(to->p, from->p, from->n);
}

/* Returns the file in memory. Bit i of changed: part main_part + i was; copies that were not are copies. */
static int
put_together(unsigned flags, unsigned changed)
{
	static uint8_t file[PARTS_MAX * (PART_BYTES_MAX + SEAL_TAG_BYTES)];
	uint64_t at = 0, main_at = 0;
	struct part *header = &parts[0], *last = &parts[main_part];
	if (!(changed & 2))
		copy_part(&last[1], &last[0]);
	if (!(changed & 8))
		copy_part(&last[3], &last[2]);
	if (!(flags & KEEP_CHECKS) && header->n == SEGMENT_HEADER_BYTES)
		short_hash(header->p, SEGMENT_HEADER_BYTES - 8, header->p + SEGMENT_HEADER_BYTES - 8);
	for (uint32_t i = 0; i < part_count; i++) {
		struct part *x = &parts[i];
		if (i == main_part)
			main_at = at;
		if (i >= main_part + 2)
			finish_trailer(x, flags, changed & 12, main_at);
		if (x->sealed == PAGE)
			seal_page(key, &name, x->number, x->p, x->n, file + at);
		else if (x->sealed == CHUNK)
			seal_chunk(block_keys[x->block], parts[x->head].p, x->number, x->p, x->n, file + at);
		else
			memcpy(file + at, x->p, x->n);
		at += x->n + (x->sealed ? SEAL_TAG_BYTES : 0);
	}
	int fd = memfd_create("segment", MFD_CLOEXEC);
	if (fd < 0)
		abort();
	want(io_pwrite(fd, file, at, 0, "memory"));
	return fd;
}

/* --- what it says --- */

static bool
look_up(struct segment *s)
{
	uint64_t all = segment_totals_of(s)->blocks == 64 ? UINT64_MAX : ((uint64_t)1 << segment_totals_of(s)->blocks) - 1;
	uint8_t first[16] = { 0 }, last[16];
	const uint32_t *ip4;
	const uint8_t (*ip6)[16];
	uint32_t ip4_count = 0, ip6_count = 0;
	uint64_t blocks = 0, sum = 0;
	memset(last, 0xff, sizeof last);
	bool ok = segment_find_ip4(s, 0, UINT32_MAX, &blocks) == OK;
	assert((blocks & ~all) == 0);
	ok &= segment_find_ip4(s, 0x0a000001, 0x0a000001, &blocks) == OK;
	ok &= segment_find_ip6(s, first, last, &blocks) == OK;
	ok &= segment_find_port(s, 53, 80, &blocks) == OK;
	ok &= segment_find_proto(s, 6, &blocks) == OK;
	assert((blocks & ~all) == 0);
	if (segment_all_addresses(s, &ip4, &ip4_count, &ip6, &ip6_count) == OK) {
		for (uint32_t i = 0; i < ip4_count; i++)
			sum += ip4[i];
		for (uint32_t i = 0; i < ip6_count; i++)
			sum += ip6[i][15];
	} else {
		ok = false;
	}
	ok &= segment_check_index(s) == OK;
	return ok && sum != 1;
}

static bool
read_blocks(struct segment *s)
{
	bool ok = true;
	for (uint32_t i = 0; i < segment_totals_of(s)->blocks; i++) {
		const struct batch *b = NULL;
		uint64_t bytes = 0;
		ok &= segment_cost(s, i, BATCH_TS | BATCH_TCP_FLAGS, &bytes) == OK;
		ok &= segment_load(s, i, decoder, BATCH_TS | BATCH_TCP_FLAGS, &b, &bytes) == OK;
		ok &= segment_load(s, i, decoder, BATCH_ALL, &b, &bytes) == OK;
		ok &= segment_check_block(s, i, decoder) == OK;
	}
	return ok;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char path[64];
	if (part_count == 0)
		make_base();
	if (n < 1)
		return 0;
	memcpy(parts, base, sizeof parts);
	unsigned flags = data[0];
	bool touched = false;
	unsigned changed = 0;
	for (data++, n--; n >= 8; data += 8, n -= 8) {
		uint32_t part = data[0] < 128 ? data[0] % part_count : main_part + 3 - data[0] % 8; /* most are of the footer */
		change(&parts[part], data);
		touched = true;
		changed |= part >= main_part ? 1u << (part - main_part) : 0;
	}
	int fd = put_together(flags, changed);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	struct segment_name found;
	struct segment *s = NULL;
	bool ok = segment_read_name(path, &found) == OK && segment_open(&s, path, key) == OK;
	ok = ok && look_up(s);
	ok = s && read_blocks(s) && ok;
	assert(ok || touched);
	segment_close(&s);
	close(fd);
	return 0;
}
