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
		crypto_generichash(leaves[blocks], SEGMENT_HASH_BYTES, p + footer, n - footer - SEGMENT_TRAILERS_BYTES, NULL, 0);
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
	uint8_t *changed = malloc(n), *first = changed + n - SEGMENT_TRAILERS_BYTES, *last = changed + n - SEGMENT_TRAILER_BYTES;
	assert_non_null(changed);
	for (size_t at = 8; at < SEGMENT_HEADER_BYTES - 8; at++) { /* number, slot, stream, archive */
		size_t trailer_at = at < 24 ? at : SEGMENT_TRAILER_BYTES - 8 - SEGMENT_HASH_BYTES - ARCHIVE_ID_BYTES + at - 24;
		memcpy(changed, p, n);
		changed[at] ^= 1;
		short_hash(changed, SEGMENT_HEADER_BYTES - 8, changed + SEGMENT_HEADER_BYTES - 8);
		write_file(changed, n);
		assert_int_equal(segment_open(&s, path, key), ERR_FORMAT); /* the trailers say something else */
		assert_non_null(strstr(err_text(), "not of one segment"));
		last[trailer_at] ^= 1;
		short_hash(last, SEGMENT_TRAILER_BYTES - 8, last + SEGMENT_TRAILER_BYTES - 8);
		memcpy(first, last, SEGMENT_TRAILER_BYTES);
		write_file(changed, n);
		assert_int_equal(segment_open(&s, path, key), ERR_DENIED);
	}
	free(changed);
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

/* --- golden bytes --- */

static void
add_raw(struct draft *d, uint64_t ts_ns)
{
	draft_finish(d);
	draft_add(d, frames, ts_ns, LINK_RAW);
}

/* A SYN and its answer, UDP with payload, an ICMPv6 echo to itself, and bytes that are no IP. Too little for zstd, whose
 * output may change with its version. */
static void
fill_golden(uint32_t block)
{
	static const uint8_t mss[4] = { 2, 4, 5, 0xb4 };
	struct draft d;
	(void)block;
	draft_start(&d);
	draft_ip4(&d, 0x0a000001, 0x0a000002, PROTO_TCP, NULL, 0);
	draft_tcp(&d, 40000, 443, 1000, 0, 2, mss, 4);
	add_raw(&d, 1700000000000000000);
	draft_start(&d);
	draft_ip4(&d, 0x0a000002, 0x0a000001, PROTO_TCP, NULL, 0);
	draft_tcp(&d, 443, 40000, 5000, 1001, 18, mss, 4);
	add_raw(&d, 1700000000000100000);
	draft_start(&d);
	draft_ip4(&d, 0x0a000001, 0x08080808, PROTO_UDP, NULL, 0);
	draft_udp(&d, 5353, 53);
	draft_put(&d, "abc", 3);
	add_raw(&d, 1700000000000100001);
	draft_start(&d);
	draft_ip6(&d, 1, 1, PROTO_ICMP6);
	draft_icmp(&d, 128, 0, 0x00070001);
	add_raw(&d, 1699999999000000000);
	draft_start(&d);
	draft_put(&d, "no IP", 5);
	draft_add(&d, frames, 1700000001000000000, LINK_RAW)->wire_len = 99;
}

static const char golden[] =
	"4153454701000000887766554433221109000000030000007468652061726368697665277320696470bf65290e060b39424c4b3101010b0005000000"
	"ba02000000000000a0000000010000001b000000020000003d000000030000002000000004000000310000000500000014000000060000001b000000"
	"0700000037000000080000006b0000000a000000150000000b000000230000007671764c92582dc0db7c87c0c8c9635c2708d26272940563e928b68e"
	"4bd492d2245e028ed3e35fd34de0610a3e615daa6fb944c764e9b1584308c0068930b45403f4f9075c75fceee957066e2faf0b07a1dd018f9a71dad7"
	"f90a38d54b6f6a86caf0ede7dc13ff934cadad0c5d1931f1f0015a48a6ada07059d7850ffa2b9b58484e1173d45860a3cafbcfb6152e70f5bbd1eab5"
	"8056bdfa9d8e0320f6fd4c3a60216866d5e814ede1ac0ba8958bdf080189fffef25e29bb085a396ef15b028ec76b37b8a2035aca571cd8fdb5cc97e7"
	"dafdbb85c3205a9eca0883a314f29a807c9c22219f06e12b51e55e4c0cf555f41ab55dafc093f46df0601982d30bb92a346d7247cbe21d24c0cbed3a"
	"ac7d7685b08a0bfb0b72b1df6df1240cf9a9066d4a0490cc582387038ce3071fa75374b850e4214478be016af88c00d1914b7f2874e96c399b8462e7"
	"7f534ff4a37fa25cacc286b127ee3f2c734d59faed1654be5fed778a6e249a331ea3564b0d3a00b8eac1a3280077895cf48f760d5d2a2997f913f80b"
	"9368f91ac3d3dec9d4e8c15b2dfc5b7a7c5b2af34950881ec9ae2e8a3bd69f978fa1be6b7efd9d55170522a819824edff284e6db27f4d72589e4891c"
	"e0c9f1a2abad52ff4cac6b4c710e7f672175587b21b63edf07d03aa4e2ef4f74e2c6eeea861b159059cd1c95dc065123c50fa32f90f9fbad7c1d9150"
	"bb65a6cfdb375fa3e290483c1f571ed032cddab23c6072c0e6d9f7401de98cfc637d4fce52450d98d98150fc53028bd5abfc3075267ad36b7454e925"
	"792c5311a40e4949469ab28d3a436071022f3e3096d75968b03ba16726814142ffd00b93c2d0175439877fe78ce713e9806edfa5f4345dfece4996f4"
	"ad4884bcb25661e28942d5c146f12e7ac91d660b8a08f6a892205230d76eb9b3a08a8353a7ba7c19fe41f06371776aa2f5bf47ddb5ddac0be6e71865"
	"8e4a4ff9062fe3a4d58a79367a1cdfd2bb5302b312ab63f909e1ab740a245664e3b22f0a87702eddb88fce862c64829af3b10c9453647a322b11c92a"
	"0ee41d0c012c2b6da6cdd7f5a5344b512af320e51705afa68c8161e19b81440dd5c9b19b6ee71f9a5b3b1fc01846dacdcb2912650ccd547e236f20d1"
	"f6d4ff89001e6eafc584e79862b26442e76861c2dda0f04d31048d49b07746a407a36451ef4606413823996ab5cdeeb359f44c83cf19a75674029d57"
	"7d427539bd6f2f864edce8fcaaae1db5ad2ac4f17484ba99b9173141de61b33106cfd1d52b3885062963c85b1502115dbc0942303c0030f1f8d81627"
	"ec24d334ea5448067a8aa84d3cbb18b45cecb3ac2942b90a27f14f164534869332440f4a91a8b46e97913591c09c4f3b65b3d3c0791f38f6d57ebe55"
	"11a2aa70588a923259e090ebced0e738ddea152e4490ed82380733fd6da34924dfb16b389556be149d37c84151a5180a830569fcfe98e2ef6adc83e1"
	"eff3d78d12cbefb89bb369de5b51882d20f07b09b35ac4f09a58906acb90408542854b02b9a7fd78777cf661831a1d91355993b72c4754221eea96bb"
	"94be83c036622cfcb552433ef6e8f2d596d428bf1d8757cc61f1ef0845bfff006cfcea217d0187a048173b1814f5473abfa35b2e4f37d3e95297586f"
	"534b7997702c90d951262c91c9e2bc47f20a47addc4a0c251de250146417e908a62cf3b395234c0e5bdb192784229a9abb5201bcaeaea6d0650a4146"
	"b08f871f70880155474fc89cf18683aef2640365e4e29e707ef4a9df67471fa51d43735ad8753b7ba3b7151bcf9900c97f92368156fc401b24eb2ce2"
	"8be87beb935a30386ea4b64c3642350f80bb4f25cdb2799cc64511c6062d0ab764c86c347926702901d76f3c17fee7f7c39b98db235faf480d2408ee"
	"9e91abcbcc214e7ebd850fdf97aff84989554d8974d83bd1958d5087d7ac5d5b79b0f9587a88d62df733bf0356a9fe847d31e8306b2b34e9c0f0ac4b"
	"cd99ac5306a7eea78a0b6ed3c96f7acef6a59eadb6e80febe055f6a4c1750265c2801e0d9869f606335f8b5021d8a202cb9274a1d2d956cbb5107468"
	"da537c76742f13f4f15913bb3c91bdb36d38704bc0d63408aee5c93ed8b616f4f6c03d2322a87f6fdcaca412f0da3956c6326d954d0c033e8e6ceeec"
	"d5b39e740ed127340b33671e107477d42458c308e78541454e440100000088776655443322110900000003000000ea020000000000005a0400000000"
	"0000260100000100000074686520617263686976652773206964b547393da8a0e724a68ed63a445f12e5a1e9af6fa3465e9b3d654ea07abfd53e35fb"
	"85cfeb745a8241454e440100000088776655443322110900000003000000ea020000000000005a040000000000002601000001000000746865206172"
	"63686976652773206964b547393da8a0e724a68ed63a445f12e5a1e9af6fa3465e9b3d654ea07abfd53e35fb85cfeb745a82";

static void
a_small_segment_has_these_bytes(void **state)
{
	(void)state;
	size_t n, expected = (sizeof golden - 1) / 2;
	uint8_t *bytes = malloc(expected + 1);
	assert_non_null(bytes);
	for (size_t i = 0; i < expected; i++) {
		const char pair[3] = { golden[2 * i], golden[2 * i + 1], 0 };
		bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	/* what was written once is read */
	const struct batch *b = NULL;
	write_file(bytes, expected);
	struct segment *s = open_segment();
	okay(segment_check_index(s));
	okay(segment_check_block(s, 0, decoder));
	okay(segment_load(s, 0, decoder, BATCH_ALL, &b, NULL));
	frames_reset(frames);
	fill_golden(0);
	const char *said = trip_compare(frames, false, b);
	if (said)
		fail_msg("%s", said);
	segment_close(&s);
	/* and the same is written: another result is another format, and wants another version number */
	write_segment(fill_golden, 1);
	uint8_t *p = read_file(&n);
	if (n != expected || memcmp(p, bytes, n) != 0) {
		for (size_t i = 0; i < n; i++)
			printf("%s%02x%s", i % 60 == 0 ? "\t\"" : "", p[i], i % 60 == 59 || i + 1 == n ? "\"\n" : "");
		fail_msg("the segment has other bytes than it had: above are the new ones");
	}
	free(p);
	free(bytes);
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
		assert_int_equal(e, ERR_FORMAT);
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
	const char *word; /* in the sentence */
	int block;        /* -1: in none */
	bool copied, seen;/* it is there twice; opening needs it and notes the damage */
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
		map[at] = (struct place){ .word = words[number], .block = number };
	uint32_t chunks = load_le16(p + info->at + 6);
	uint64_t at = info->at + BLOCK_HEADER_BYTES + chunks * BLOCK_CHUNK_BYTES;
	for (uint32_t i = 0; i < chunks; i++) {
		const uint8_t *entry = p + info->at + BLOCK_HEADER_BYTES + i * BLOCK_CHUNK_BYTES;
		for (uint32_t k = 0; k < load_le32(entry + 4); k++)
			map[at++].word = chunk_names[load_le32(entry)];
	}
	assert_int_equal(at, info->at + info->stored_bytes);
}

static uint64_t
map_copy(struct place *map, uint64_t at, size_t n, const char *word, bool seen)
{
	for (size_t i = 0; i < n; i++)
		map[at + i] = (struct place){ .word = word, .block = -1, .copied = true, .seen = seen };
	return at + n;
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
	uint64_t at = load_le64(trailer + 24);
	while (at < load_le64(trailer + 32))
		map[at++].word = " table: ";
	(void)map_copy(map, 0, SEGMENT_HEADER_BYTES, ".seg: the header is damaged", true);
	at = map_copy(map, at, load_le32(trailer + 40), ".seg: the first main page is damaged", true);
	at = map_copy(map, at, load_le32(trailer + 40), ".seg: the second main page is damaged", false);
	at = map_copy(map, at, SEGMENT_TRAILER_BYTES, ".seg: the first trailer is damaged", false);
	at = map_copy(map, at, SEGMENT_TRAILER_BYTES, ".seg: the second trailer is damaged", true);
	assert_int_equal(at, n);
	for (at = 0; at < n; at++)
		assert_non_null(map[at].word);
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
	struct segment_name found;
	okay(segment_read_name(path, &found));
	assert_memory_equal(&found, &name, sizeof name);
	okay(segment_open(&s, path, key));
	assert_memory_equal(segment_name_of(s), &name, sizeof name);
	assert_string_equal(segment_stream_name(s), "eth0");
	if (place->seen)
		assert_non_null(strstr(segment_fault(s), place->word));
	else
		assert_string_equal(segment_fault(s), "");
	for (uint32_t i = 0; i < BLOCKS; i++) {
		if ((int)i == place->block)
			check_damaged_block(s, i, place->word);
		else if (thorough)
			compare_block(s, i);
		else
			okay(segment_check_block(s, i, decoder));
	}
	enum err e = segment_check_index(s);
	if (place->block < 0) {
		assert_int_equal(e, place->copied ? ERR_FORMAT : ERR_DENIED);
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

/* One of each kind may be damaged at the same time; both may not. */
static void
refuses_what_is_damaged_in_both_copies(void **state)
{
	(void)state;
	static const uint8_t other[SEGMENT_KEY_BYTES] = "another key";
	struct segment *s = NULL;
	struct segment_name found;
	size_t n;
	write_segment(fill_mixed, BLOCKS);
	uint8_t *p = read_file(&n);
	size_t trailer = n - SEGMENT_TRAILER_BYTES, main_at = load_le64(p + trailer + 32), main_bytes = load_le32(p + trailer + 40);
	p[9] ^= 1;
	p[main_at + 1] ^= 1;
	p[trailer + 9] ^= 1;
	write_file(p, n);
	assert_int_equal(segment_open(&s, path, other), ERR_DENIED);
	okay(segment_open(&s, path, key));
	assert_non_null(strstr(segment_fault(s), "the header is damaged"));
	for (uint32_t i = 0; i < BLOCKS; i++)
		compare_block(s, i);
	segment_close(&s);
	p[main_at + main_bytes] ^= 1;
	write_file(p, n);
	assert_int_equal(segment_open(&s, path, key), ERR_DENIED);
	assert_non_null(strstr(err_text(), "main page"));
	p[main_at + main_bytes] ^= 1;
	p[trailer - 1] ^= 1;
	write_file(p, n);
	assert_int_equal(segment_open(&s, path, key), ERR_FORMAT);
	assert_int_equal(segment_read_name(path, &found), ERR_FORMAT);
	assert_non_null(strstr(err_text(), "the header is damaged"));
	p[9] ^= 1;
	write_file(p, n);
	assert_int_equal(segment_open(&s, path, key), ERR_FORMAT);
	assert_non_null(strstr(err_text(), "the trailer is damaged"));
	okay(segment_read_name(path, &found));
	assert_null(s);
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
		cmocka_unit_test(a_small_segment_has_these_bytes),
		cmocka_unit_test(refuses_what_is_no_segment),
		cmocka_unit_test(names_the_version_that_it_does_not_know),
		cmocka_unit_test(opens_with_its_own_key_and_name_only),
		cmocka_unit_test(notices_blocks_that_changed_places),
		cmocka_unit_test(refuses_every_truncation_and_every_addition),
		cmocka_unit_test(names_every_flipped_bit_and_reads_the_rest),
		cmocka_unit_test(refuses_what_is_damaged_in_both_copies),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
