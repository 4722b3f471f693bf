/* Segment files: layout, tables, hash tree, keys; and what becomes of one when its bytes change. */
#include "tests/support/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/block.h"
#include "archive/dissect.h"
#include "archive/segment_format.h"
#include "base/io.h"
#include "tests/support/block_trip.h"
#include "tests/support/draft.h"

static struct block_encoder *encoder;
static struct block_decoder *decoder;
static struct frames *frames;
static char path[PATH_BYTES];

static const uint8_t key[SEGMENT_KEY_BYTES] = "a key that is known to everybody";
static const struct segment_name name = { .archive = "the archive's id", .id = 0x1122334455667788, .key_slot = 9, .stream = 3 };

static int
open_all(void **state)
{
	(void)state;
	trip_scratch(path, "segment.seg");
	return block_encoder_open(&encoder) != OK || block_decoder_open(&decoder) != OK ||
	       frames_open(&frames, BLOCK_BYTES_MAX) != OK;
}

static int
close_all(void **state)
{
	(void)state;
	(void)unlink(path);
	block_encoder_close(&encoder);
	block_decoder_close(&decoder);
	frames_close(&frames);
	return 0;
}

static void
okay(enum err e)
{
	if (e != OK)
		fail_msg("%s: %s", err_name(e), err_text());
}

/* --- making segments: fill(block) puts the frames of one block --- */

typedef void fill_frames(uint32_t block);

static struct segment_totals
write_segment(fill_frames *fill, uint32_t blocks)
{
	struct segment_writer *w = NULL;
	struct segment_totals totals = { 0 };
	(void)unlink(path);
	okay(segment_create(&w, path, &name, key, "eth0"));
	for (uint32_t i = 0; i < blocks; i++) {
		const uint8_t *block_key;
		const struct segment_name *block_name;
		struct block b;
		assert_false(segment_full(w));
		frames_reset(frames);
		fill(i);
		okay(block_encode(encoder, frames, false, &b));
		assert_int_equal(segment_next_block(w, &block_key, &block_name), i);
		block_seal(&b, block_key, block_name, i);
		okay(segment_append(w, &b));
	}
	assert_int_equal(segment_full(w), blocks == SEGMENT_BLOCKS_MAX);
	okay(segment_finish(w, &totals));
	segment_writer_close(&w);
	segment_writer_close(&w);
	return totals;
}

static struct segment *
open_segment(void)
{
	struct segment *s = NULL;
	okay(segment_open(&s, path, key));
	return s;
}

static void
add_udp(uint32_t src, uint32_t dst, uint16_t sport, uint16_t dport, uint32_t payload)
{
	struct draft d;
	draft_start(&d);
	draft_ethernet(&d, ETHER_IP4);
	draft_ip4(&d, src, dst, PROTO_UDP, NULL, 0);
	draft_udp(&d, sport, dport);
	draft_fill(&d, payload);
	draft_finish(&d);
	draft_add(&d, frames, 1700000000000000000 + frames->count * 1000ull, LINK_ETHERNET);
}

static void
add_tcp6(uint32_t src, uint32_t dst, uint16_t sport, uint16_t dport)
{
	static const uint8_t options[12] = { 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2 };
	struct draft d;
	draft_start(&d);
	draft_ethernet(&d, ETHER_IP6);
	draft_ip6(&d, src, dst, PROTO_TCP);
	draft_tcp(&d, sport, dport, 77 * frames->count, 5, 24, options, 12);
	draft_fill(&d, 3);
	draft_finish(&d);
	draft_add(&d, frames, 1700000000000000000 + frames->count * 1000ull, LINK_ETHERNET);
}

static void
add_arp(uint32_t sender, uint32_t target)
{
	struct draft d;
	draft_start(&d);
	draft_ethernet(&d, ETHER_ARP);
	draft_number(&d, 0x0001080006040001, 8);
	draft_fill(&d, 6);
	draft_number(&d, sender, 4);
	draft_fill(&d, 6);
	draft_number(&d, target, 4);
	draft_add(&d, frames, 1700000000000000000 + frames->count * 1000ull, LINK_ETHERNET);
}

/* --- tables --- */

/* Block i has of its own: 10.i.0.0 - 10.i.0.149, 198.51.100.i in ARP, 2001:db8::i, UDP port 1000 + i, TCP port 2000 + i. All
 * have 10.99.0.1, UDP port 53 and TCP port 443. Block 40 has a record of an unknown link type. */
static void
fill_own(uint32_t i)
{
	for (uint32_t k = 0; k < 150; k++)
		add_udp(0x0a000000 | i << 16 | k, 0x0a630001, (uint16_t)(1000 + i), 53, k % 5);
	add_tcp6(i, 0x10000, (uint16_t)(2000 + i), 443);
	add_arp(0xc6336400 | i, 0x0a630001);
	if (i == 40)
		frames->v[149].linktype = 147;
}

#define OPAQUE ((uint64_t)1 << 40)

static uint64_t
find_ip4(struct segment *s, uint32_t first, uint32_t last)
{
	uint64_t blocks = 0;
	okay(segment_find_ip4(s, first, last, &blocks));
	return blocks;
}

static uint64_t
find_ip6(struct segment *s, uint32_t first, uint32_t last)
{
	uint8_t a[16] = { 0x20, 1, 0xd, 0xb8 }, b[16] = { 0x20, 1, 0xd, 0xb8 };
	uint64_t blocks = 0;
	store_be32(a + 12, first);
	store_be32(b + 12, last);
	okay(segment_find_ip6(s, a, b, &blocks));
	return blocks;
}

static uint64_t
find_port(struct segment *s, uint16_t first, uint16_t last)
{
	uint64_t blocks = 0;
	okay(segment_find_port(s, first, last, &blocks));
	return blocks;
}

static void
finds_for_every_value_the_blocks_that_hold_it_and_no_others(void **state)
{
	(void)state;
	write_segment(fill_own, SEGMENT_BLOCKS_MAX);
	struct segment *s = open_segment();
	for (uint32_t i = 0; i < SEGMENT_BLOCKS_MAX; i++) {
		uint64_t own = (uint64_t)1 << i | OPAQUE;
		for (uint32_t k = 0; k < 149; k += i % 8 ? 37 : 1)
			assert_true(find_ip4(s, 0x0a000000 | i << 16 | k, 0x0a000000 | i << 16 | k) == own);
		assert_true(find_ip4(s, 0xc6336400 | i, 0xc6336400 | i) == own);
		assert_true(find_ip6(s, i, i) == own);
		assert_true(find_port(s, (uint16_t)(1000 + i), (uint16_t)(1000 + i)) == own);
		assert_true(find_port(s, (uint16_t)(2000 + i), (uint16_t)(2000 + i)) == own);
		/* what is absent */
		assert_true(find_ip4(s, 0x0a000000 | i << 16 | 150, 0x0a000000 | i << 16 | 0xffff) == OPAQUE);
		assert_true(find_ip6(s, 100 + i, 100 + i) == OPAQUE);
		assert_true(find_port(s, (uint16_t)(3000 + i), (uint16_t)(3000 + i)) == OPAQUE);
	}
	assert_true(find_ip4(s, 0x0a630001, 0x0a630001) == UINT64_MAX);
	assert_true(find_port(s, 53, 53) == UINT64_MAX);
	assert_true(find_port(s, 443, 443) == UINT64_MAX);
	uint64_t blocks = 0;
	for (unsigned proto = 0; proto < 256; proto++) {
		okay(segment_find_proto(s, (uint8_t)proto, &blocks));
		assert_true(blocks == (proto == PROTO_UDP || proto == PROTO_TCP ? UINT64_MAX : OPAQUE));
	}
	segment_close(&s);
	segment_close(&s);
}

static void
finds_ranges_across_pages(void **state)
{
	(void)state;
	write_segment(fill_own, SEGMENT_BLOCKS_MAX);
	struct segment *s = open_segment();
	for (uint32_t first = 0; first < SEGMENT_BLOCKS_MAX; first += 5)
		for (uint32_t last = first; last < SEGMENT_BLOCKS_MAX; last += 7) {
			uint64_t expected = OPAQUE;
			for (uint32_t i = first; i <= last; i++)
				expected |= (uint64_t)1 << i;
			assert_true(find_ip4(s, 0x0a000000 | first << 16 | 7, 0x0a000000 | last << 16 | 9) == expected);
			assert_true(find_ip6(s, first, last) == expected);
			assert_true(find_port(s, (uint16_t)(1000 + first), (uint16_t)(1000 + last)) == expected);
		}
	assert_true(find_ip4(s, 0, UINT32_MAX) == UINT64_MAX);
	assert_true(find_ip4(s, 0, 0x09ffffff) == OPAQUE);
	assert_true(find_ip4(s, 0xc6336440, UINT32_MAX) == OPAQUE);
	assert_true(find_ip4(s, 5, 4) == OPAQUE); /* an empty range */
	assert_true(find_port(s, 0, 65535) == UINT64_MAX);
	segment_close(&s);
}

static void
lists_all_addresses_as_the_writer_had_them(void **state)
{
	(void)state;
	const uint32_t *ip4 = NULL;
	const uint8_t (*ip6)[16] = NULL;
	uint32_t ip4_count = 0, ip6_count = 0;
	write_segment(fill_own, 20);
	struct segment *s = open_segment();
	okay(segment_all_addresses(s, &ip4, &ip4_count, &ip6, &ip6_count));
	assert_int_equal(ip4_count, 20 * 150 + 20 + 1);
	assert_int_equal(ip6_count, 21);
	for (uint32_t i = 1; i < ip4_count; i++)
		assert_true(ip4[i - 1] < ip4[i]);
	for (uint32_t i = 1; i < ip6_count; i++)
		assert_true(memcmp(ip6[i - 1], ip6[i], 16) < 0);
	assert_int_equal(ip4[150], 0x0a010000);
	okay(segment_all_addresses(s, &ip4, &ip4_count, &ip6, &ip6_count)); /* once more */
	assert_int_equal(ip4_count, 20 * 150 + 20 + 1);
	segment_close(&s);
}

/* --- reading --- */

static void
reads_blocks_in_any_order_and_tells_what_it_read(void **state)
{
	(void)state;
	enum { BLOCKS = 9 };
	struct segment_totals totals = write_segment(fill_own, BLOCKS);
	struct segment *s = open_segment(), *other = open_segment();
	assert_memory_equal(segment_totals_of(s), &totals, sizeof totals);
	assert_string_equal(segment_stream_name(s), "eth0");
	assert_memory_equal(segment_name_of(s), &name, sizeof name);
	for (uint32_t i = 0; i < 40; i++) {
		uint32_t block = i * 5 % BLOCKS;
		unsigned columns = 1u << i % 11;
		const struct batch *b = NULL;
		uint64_t cost = 0, bytes = 0, again = 0;
		struct segment *from = i % 3 ? s : other;
		okay(segment_cost(from, block, columns, &cost));
		okay(segment_load(from, block, decoder, columns, &b, &bytes));
		assert_int_equal(bytes, cost);
		okay(segment_load(from, block, decoder, columns, &b, &again));
		/* at most the header, to see that a column has no values */
		assert_in_range(again, 0, BLOCK_HEADER_BYTES + CHUNK_COUNT * BLOCK_CHUNK_BYTES);
		okay(segment_load(from, block, decoder, BATCH_ALL, &b, NULL));
		frames_reset(frames);
		fill_own(block);
		const char *said = trip_compare(frames, false, b);
		if (said)
			fail_msg("block %u: %s", block, said);
		okay(segment_check_block(from, block, decoder));
	}
	okay(segment_check_index(s));
	segment_close(&s);
	segment_close(&other);
}

/* RFC 6962, section 2.1, as it is written there. */
static void
tree_hash(uint8_t (*leaves)[SEGMENT_HASH_BYTES], uint32_t n, uint8_t out[SEGMENT_HASH_BYTES])
{
	uint8_t both[1 + 2 * SEGMENT_HASH_BYTES] = { 1 };
	if (n == 1) {
		memcpy(out, leaves[0], SEGMENT_HASH_BYTES);
		return;
	}
	uint32_t k = 1;
	while (2 * k < n)
		k *= 2;
	tree_hash(leaves, k, both + 1);
	tree_hash(leaves + k, n - k, both + 1 + SEGMENT_HASH_BYTES);
	crypto_generichash(out, SEGMENT_HASH_BYTES, both, sizeof both, NULL, 0);
}

static uint8_t *
read_file(size_t *n)
{
	int fd = -1;
	uint64_t bytes = 0;
	okay(io_open(&fd, path));
	okay(io_size(fd, &bytes, path));
	uint8_t *p = malloc(bytes + 1);
	assert_non_null(p);
	okay(io_pread(fd, p, bytes, 0, path));
	io_close(&fd);
	*n = bytes;
	return p;
}

static void
write_file(const uint8_t *p, size_t n)
{
	int fd = -1;
	(void)unlink(path);
	okay(io_create(&fd, path, 0600));
	okay(io_write(fd, p, n, path));
	io_close(&fd);
}

static void
fill_one(uint32_t block)
{
	add_udp(block, 2, 3, 4, block % 7);
}

static void
its_root_is_that_of_rfc_6962_over_blocks_and_footer(void **state)
{
	(void)state;
	for (uint32_t blocks = 1; blocks <= SEGMENT_BLOCKS_MAX; blocks += blocks < 9 ? 1 : 11) {
		uint8_t leaves[SEGMENT_BLOCKS_MAX + 1][SEGMENT_HASH_BYTES], root[SEGMENT_HASH_BYTES];
		struct segment_totals totals = write_segment(fill_one, blocks);
		struct segment *s = open_segment();
		size_t n;
		uint8_t *p = read_file(&n);
		for (uint32_t i = 0; i < blocks; i++) {
			const struct block_info *b = &segment_blocks(s)[i];
			crypto_generichash(leaves[i], SEGMENT_HASH_BYTES, p + b->at, b->stored_bytes, NULL, 0);
		}
		size_t footer = n - totals.footer_bytes;
		crypto_generichash(leaves[blocks], SEGMENT_HASH_BYTES, p + footer, n - footer - SEGMENT_TRAILER_BYTES, NULL, 0);
		tree_hash(leaves, blocks + 1, root);
		assert_memory_equal(root, totals.root, sizeof root);
		okay(segment_check_index(s));
		segment_close(&s);
		free(p);
	}
}

/* --- what is refused --- */

static void
refuses_what_is_no_segment(void **state)
{
	(void)state;
	struct segment_writer *w = NULL;
	struct segment *s = NULL;
	struct segment_name found;
	char long_name[STREAM_NAME_BYTES + 1], long_path[PATH_BYTES + 1];
	memset(long_name, 'x', sizeof long_name - 1);
	long_name[sizeof long_name - 1] = 0;
	memset(long_path, 'y', sizeof long_path - 1);
	long_path[sizeof long_path - 1] = 0;
	write_segment(fill_one, 1);
	assert_int_equal(segment_create(&w, path, &name, key, "eth0"), ERR_EXISTS);
	okay(segment_read_name(path, &found));
	assert_memory_equal(&found, &name, sizeof name);
	(void)unlink(path);
	assert_int_equal(segment_create(&w, path, &name, key, long_name), ERR_LIMIT);
	assert_int_equal(segment_create(&w, long_path, &name, key, "eth0"), ERR_LIMIT);
	assert_int_equal(segment_open(&s, long_path, key), ERR_LIMIT);
	assert_int_equal(segment_open(&s, path, key), ERR_ABSENT);
	write_file((const uint8_t *)"", 0);
	assert_int_equal(segment_open(&s, path, key), ERR_FORMAT);
	assert_int_equal(segment_read_name(path, &found), ERR_FORMAT);
	uint8_t text[4000];
	memset(text, '#', sizeof text);
	write_file(text, sizeof text);
	assert_int_equal(segment_open(&s, path, key), ERR_FORMAT);
	assert_non_null(strstr(err_text(), "not a segment"));
	assert_null(w);
	assert_null(s);
}

static void
names_the_version_that_it_does_not_know(void **state)
{
	(void)state;
	struct segment *s = NULL;
	struct segment_name found;
	size_t n;
	write_segment(fill_one, 1);
	uint8_t *p = read_file(&n);
	store_le32(p + 4, 2);
	short_hash(p, SEGMENT_HEADER_BYTES - 8, p + SEGMENT_HEADER_BYTES - 8);
	write_file(p, n);
	assert_int_equal(segment_open(&s, path, key), ERR_UNSUPPORTED);
	assert_int_equal(segment_read_name(path, &found), ERR_UNSUPPORTED);
	assert_non_null(strstr(err_text(), "version 2"));
	free(p);
}

static void
opens_with_its_own_key_and_name_only(void **state)
{
	(void)state;
	struct segment *s = NULL;
	size_t n;
	write_segment(fill_one, 2);
	for (unsigned bit = 0; bit < 8 * SEGMENT_KEY_BYTES; bit++) {
		uint8_t other[SEGMENT_KEY_BYTES];
		memcpy(other, key, sizeof other);
		other[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(segment_open(&s, path, other), ERR_DENIED);
	}
	uint8_t *p = read_file(&n);
	for (size_t at = 8; at < SEGMENT_HEADER_BYTES - 8; at++) { /* number, slot, stream, archive */
		p[at] ^= 1;
		short_hash(p, SEGMENT_HEADER_BYTES - 8, p + SEGMENT_HEADER_BYTES - 8);
		write_file(p, n);
		assert_int_equal(segment_open(&s, path, key), ERR_DENIED);
		p[at] ^= 1;
	}
	free(p);
}

static void
fill_same(uint32_t block)
{
	(void)block;
	add_udp(1, 2, 3, 4, 5);
}

static void
notices_blocks_that_changed_places(void **state)
{
	(void)state;
	size_t n;
	const struct batch *b = NULL;
	write_segment(fill_same, 3);
	struct segment *s = open_segment();
	struct block_info info[3];
	memcpy(info, segment_blocks(s), sizeof info);
	segment_close(&s);
	assert_int_equal(info[0].stored_bytes, info[2].stored_bytes);
	uint8_t *p = read_file(&n);
	memmove(p + info[0].at, p + info[2].at, info[0].stored_bytes);
	write_file(p, n);
	s = open_segment();
	assert_int_equal(segment_load(s, 0, decoder, BATCH_TS, &b, NULL), ERR_DENIED);
	assert_int_equal(segment_check_block(s, 0, decoder), ERR_DENIED);
	okay(segment_check_block(s, 1, decoder));
	okay(segment_check_block(s, 2, decoder));
	segment_close(&s);
	free(p);
}

/* --- damage --- */

static void
fill_mixed(uint32_t block)
{
	for (uint32_t i = 0; i < 6 + block; i++) {
		add_udp(0x0a000000 | i, 0x0a630001 + block, 1000, 53, i);
		add_tcp6(i % 3, 7, (uint16_t)(2000 + i), 443);
		if (i % 3 == 0)
			add_arp(i, i + 1);
	}
	frames->v[3].cap_len -= 2;
	frames->bytes[frames->v[1].at + 60] ^= 1;
}

#define BLOCKS 3u

static void
compare_block(struct segment *s, uint32_t block)
{
	const struct batch *b = NULL;
	okay(segment_load(s, block, decoder, BATCH_ALL, &b, NULL));
	frames_reset(frames);
	fill_mixed(block);
	const char *said = trip_compare(frames, false, b);
	if (said)
		fail_msg("block %u: %s", block, said);
}

static void
refuses_every_truncation_and_every_addition(void **state)
{
	(void)state;
	size_t n;
	write_segment(fill_mixed, BLOCKS);
	uint8_t *p = read_file(&n);
	for (size_t cut = 0; cut < n; cut++) {
		struct segment *s = NULL;
		assert_int_equal(truncate(path, (off_t)(n - 1 - cut)), 0);
		enum err e = segment_open(&s, path, key);
		assert_true(e == ERR_FORMAT || e == ERR_DENIED);
		assert_non_null(strstr(err_text(), path));
		assert_null(s);
	}
	for (size_t more = 1; more < 200; more += 7) {
		struct segment *s = NULL;
		write_file(p, n);
		assert_int_equal(truncate(path, (off_t)(n + more)), 0);
		assert_int_equal(segment_open(&s, path, key), ERR_FORMAT);
	}
	free(p);
}

/* What a flip at this place must be reported as. */
struct place {
	const char *word; /* in the sentence; NULL: the file does not open */
	int block;        /* -1: in none */
};

static const char *const chunk_names[CHUNK_COUNT] = {
#define F(id, description) "column " #id,
	PACKET_CHUNKS(F)
#undef F
};

static void
map_block(struct place *map, const uint8_t *p, const struct block_info *info, int number)
{
	static char words[BLOCKS][32];
	snprintf(words[number], sizeof words[number], "block %d: ", number);
	for (uint64_t at = info->at; at < info->at + info->stored_bytes; at++)
		map[at] = (struct place){ words[number], number };
	uint32_t chunks = load_le16(p + info->at + 6);
	uint64_t at = info->at + BLOCK_HEADER_BYTES + chunks * BLOCK_CHUNK_BYTES;
	for (uint32_t i = 0; i < chunks; i++) {
		const uint8_t *entry = p + info->at + BLOCK_HEADER_BYTES + i * BLOCK_CHUNK_BYTES;
		for (uint32_t k = 0; k < load_le32(entry + 4); k++)
			map[at++].word = chunk_names[load_le32(entry)];
	}
	assert_int_equal(at, info->at + info->stored_bytes);
}

static struct place *
map_file(const uint8_t *p, size_t n)
{
	struct place *map = calloc(n, sizeof *map);
	assert_non_null(map);
	for (size_t at = 0; at < n; at++)
		map[at].block = -1;
	struct segment *s = open_segment();
	for (uint32_t i = 0; i < BLOCKS; i++)
		map_block(map, p, &segment_blocks(s)[i], (int)i);
	segment_close(&s);
	/* the pages of the tables, before the main page */
	const uint8_t *trailer = p + n - SEGMENT_TRAILER_BYTES;
	for (uint64_t at = load_le64(trailer + 8); at < load_le64(trailer + 16); at++)
		map[at].word = " table: ";
	return map;
}

/* Nothing of a damaged block is wrong: it fails, or what it gives is what was stored. */
static void
check_damaged_block(struct segment *s, uint32_t block, const char *word)
{
	char number[32];
	const struct batch *b = NULL;
	snprintf(number, sizeof number, ".seg: block %u: ", block);
	assert_true(segment_check_block(s, block, decoder) != OK);
	assert_non_null(strstr(err_text(), number));
	assert_non_null(strstr(err_text(), word));
	if (segment_load(s, block, decoder, BATCH_ALL, &b, NULL) == OK)
		compare_block(s, block);
	else
		assert_non_null(strstr(err_text(), number));
}

static void
check_flip(const struct place *place, bool thorough)
{
	struct segment *s = NULL;
	enum err e = segment_open(&s, path, key);
	if (!place->word) {
		assert_true(e == ERR_FORMAT || e == ERR_DENIED);
		assert_non_null(strstr(err_text(), path));
		return;
	}
	okay(e);
	for (uint32_t i = 0; i < BLOCKS; i++) {
		if ((int)i == place->block)
			check_damaged_block(s, i, place->word);
		else if (thorough)
			compare_block(s, i);
		else
			okay(segment_check_block(s, i, decoder));
	}
	e = segment_check_index(s);
	if (place->block < 0) {
		assert_true(e == ERR_DENIED);
		assert_non_null(strstr(err_text(), place->word));
		assert_non_null(strstr(err_text(), path));
	} else {
		okay(e);
	}
	uint64_t blocks = 0;
	if (segment_find_ip4(s, 0x0a630002, 0x0a630002, &blocks) == OK)
		assert_int_equal(blocks, 2);
	segment_close(&s);
}

static void
names_every_flipped_bit_and_reads_the_rest(void **state)
{
	(void)state;
	size_t n;
	int fd = -1;
	write_segment(fill_mixed, BLOCKS);
	uint8_t *p = read_file(&n);
	struct place *map = map_file(p, n);
	okay(io_open_write(&fd, path));
	for (size_t bit = 0; bit < 8 * n; bit++) {
		uint8_t byte = p[bit / 8] ^ (uint8_t)(1u << bit % 8);
		okay(io_pwrite(fd, &byte, 1, bit / 8, path));
		check_flip(&map[bit / 8], bit % 64 == 9);
		okay(io_pwrite(fd, p + bit / 8, 1, bit / 8, path));
	}
	for (uint32_t i = 0; i < BLOCKS; i++) {
		struct segment *s = open_segment();
		compare_block(s, i);
		segment_close(&s);
	}
	print_message("# %zu bytes of segment\n", n);
	io_close(&fd);
	free(map);
	free(p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_for_every_value_the_blocks_that_hold_it_and_no_others),
		cmocka_unit_test(finds_ranges_across_pages),
		cmocka_unit_test(lists_all_addresses_as_the_writer_had_them),
		cmocka_unit_test(reads_blocks_in_any_order_and_tells_what_it_read),
		cmocka_unit_test(its_root_is_that_of_rfc_6962_over_blocks_and_footer),
		cmocka_unit_test(refuses_what_is_no_segment),
		cmocka_unit_test(names_the_version_that_it_does_not_know),
		cmocka_unit_test(opens_with_its_own_key_and_name_only),
		cmocka_unit_test(notices_blocks_that_changed_places),
		cmocka_unit_test(refuses_every_truncation_and_every_addition),
		cmocka_unit_test(names_every_flipped_bit_and_reads_the_rest),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
