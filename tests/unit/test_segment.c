/* Segment files: layout, tables, hash tree, keys; and what becomes of one when its bytes change. */
#include "tests/support/unit.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/block.h"
#include "archive/block_read.h"
#include "archive/dissect.h"
#include "archive/postings.h"
#include "archive/seal.h"
#include "archive/segment_format.h"
#include "base/io.h"
#include "base/sandbox.h"
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
	return block_encoder_open(&encoder) != OK || block_decoder_open(&decoder, NULL) != OK ||
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

/* What somebody who hands over a block may say wrong of it. */
static void (*withhold)(struct block *b);

static struct segment_totals
write_segment(fill_frames *fill, uint32_t blocks)
{
	struct segment_writer *w = NULL;
	struct segment_totals totals = { 0 };
	(void)unlink(path);
	okay(segment_create(&w, path, &name, key, "eth0"));
	for (uint32_t i = 0; i < blocks; i++) {
		struct block b;
		assert_false(segment_full(w));
		frames_reset(frames);
		fill(i);
		okay(block_encode(encoder, frames, false, &b));
		assert_int_equal(segment_block_count(w), i);
		uint8_t block_key[BLOCK_KEY_BYTES] = { (uint8_t)i, 'b' }; /* the same each time, for the golden file */
		block_seal(encoder, &b, block_key);
		if (withhold)
			withhold(&b);
		okay(segment_append(w, &b, block_key));
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
	store_le32(p + 4, SEGMENT_VERSION + 1);
	short_hash(p, SEGMENT_HEADER_BYTES - 8, p + SEGMENT_HEADER_BYTES - 8);
	write_file(p, n);
	assert_int_equal(segment_open(&s, path, key), ERR_UNSUPPORTED);
	assert_int_equal(segment_read_name(path, &found), ERR_UNSUPPORTED);
	assert_non_null(strstr(err_text(), "version 4"));
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

static void no_address(struct block *b) { b->ip4_count--; }
static void no_port(struct block *b) { b->ports++; b->port_count--; }
static void no_protocol(struct block *b) { b->proto_count = 0; }
static void all_opaque(struct block *b) { b->opaque = true; }

static void
another_address(struct block *b)
{
	static uint32_t last;
	last = b->ip4[b->ip4_count - 1] + 1;
	b->ip4 = &last;
	b->ip4_count = 1;
}

static void
notices_tables_that_are_not_those_of_the_records(void **state)
{
	(void)state;
	static void (*const lies[])(struct block *b) = { NULL, no_address, no_port, no_protocol, all_opaque, another_address };
	struct block_examiner *x = NULL;
	okay(block_examiner_open(&x));
	for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
		withhold = lies[i];
		write_segment(fill_own, 3);
		withhold = NULL;
		struct segment *s = open_segment();
		okay(segment_check_index(s));
		okay(segment_check_block(s, 2, decoder));
		assert_int_equal(segment_check_terms(s, x), lies[i] ? ERR_FORMAT : OK);
		segment_close(&s);
	}
	block_examiner_close(&x);
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
	"415345470300000088776655443322110900000003000000746865206172636869766527732069641baf4fb167c64fa2424c4b3103010b0005000000"
	"c6020000010000000000000000000000a0000000010000001b000000020000003f000000030000002000000004000000330000000500000014000000"
	"060000001b0000000700000037000000080000006b0000000a000000150000000b0000002300000068577af9a6bad5113ed7982b5b11ffe1f57fef91"
	"c49b33d66abfe3f2dbec8d569d74746d878aea24dd3d2568c1a81766b5226d6ceee2e0b9d744b281046450a3865f55fcfa3693cbaa740b94460496bb"
	"adb83a6ec4466c5d75a71498f600c4695059e59b871bb6497864bf4422c9b919986f9f55175f924d68b09a326faf0cc39aa0132dce4c5a67373612ba"
	"a2fc1da36f8a6ecf4093617e3a61725568355c1387fb1d370c0aa744293402bb420a10650763994891da91fc3f64713970ee300bae5c2f01f959c33f"
	"d19dafdd8397336d4b94a01e4dc5d501001ee943fe99dfdeec0d19e714ace35145c4077e150ea77acf5508eddffa79e6ac698f737601327ce2926cbf"
	"d939c77efaeb1f7a8fd9b53cb7461b461ba32517024948ac6a0ffd0db0124cba7953cb7a8ad86bbf544c8fa345ed7f95328896607d439b819255b93a"
	"775cf48d9c3d0e1b8e215639770fc8d073f4798ebd39d5f8655d8e4b6295f084b3598df14e47db8147e123db8d357375331fdc7f98aee9e2bc4234c0"
	"1fbbd6b0d33a77532d5ced80c7e827dc7ffc05fa683601930bb22f9f13dd121e7bf4f42c2df827f6aa01406b25097a11352c1327d355a6e03c726de7"
	"42ce970f0cd6192367030ba2c081546ddea594e86b66ab3171b1a11d1e2de992c28ab42d29097b5924615081c688571847d60498fc239ef5a50f2d40"
	"7e0e46e4fb7199f752ba3fd5661bf71f9e328d66cde186bb618087dc3118247bd29087b72f9d4a881d86a8beca56a4803f5bd0b927fbb9120a5e2c84"
	"5a1fbb04498d684a5d2fb47264f16492201fe30dda302d0cd4fa200befac74153ee08e7c18b8b0c9f68e8aa3dbb1c0e4eb7a52aa8dd4c6f0b7542606"
	"01139eb1eead5fcbbfa087ac85263830940b0cc36aaa45726e1fb30dddcfe971b6f7537c9df2292eb8feed732c4fb1b73b7d54c107f4a9465cc8d419"
	"53e81a099ac357beed38456aad992300d5ea1c3749e2c2c79c48d067b1846f5e0a68ca4be47df9c0a4cebe06d2513189fbf5f72aed773d40217d06dc"
	"df3be349fa448595c3cc0e69922ca5e93eede894e0c0672c3b59e58456b31877e17ffd2384073ee2e3b630aa76dc3d463c488586badcf04d9025f74f"
	"915ca2cabfe2b420f861f7f847f97bab3fee78919b261e38524c017603e62dcdaaa403fe1b66d256ad59d6fc4d23699f55774d0dfdba7526cf07edfb"
	"0a044905803b06decf6db49415e0a30abe5ef2298bda7bd1c4127a42ccf83322cdcaf539ab0f1589a9432e789b9904a2c31f81c4ac624f4f36e74ab8"
	"e21d5add65770f7bce8d64ff0378c24e288f3833dc2519a15781c16814f6666f1e66fbdafe69ad5f725ee6cb2f707365774d945e2dc1d36c96c0cacc"
	"59668b08d26272940567e91f3b77b74c05c52095c6ff2d7eccc44de5040a3e615daa6bb825b30ddd81594708c00581c9735600fc0b075c76f42f66ad"
	"f8fab9b80bdd45adf2ab0d66d0d6f90a38d54b6fc687caf3ece6dc12fd934daead77d12e19739ee2c578eab9a04322c6bac9cc5d097b281c849336c2"
	"338812387cb2772d70f09c5878bcc320b4542cf31b52fd043d82da31a9b285ec3eb42836d1e4a60fb90ec280862a47a81a31685c71eba4f5eb331c7e"
	"4c9235743ff7fc8913b3d2ce3f3cdb38d5882b48d9480876f34003629a13d55fbd261366876b3e1b4e13cba213eb1875c288cab987eb0fae6e9aa57f"
	"bd34fef940dec9bd1687f1743f4fd18979734d26b33a56ee1467b49656fe5b7c33e8debcc1e76ad32b392e942c3c9903bfad6d613471165510a69f0d"
	"4a5dfbc4a95130a3f5be7a224d181924830f4a91a8b46e97913591c09c4f3b65b3d3c0791f38f6d57ebe5511a2aa70588a923259e090ebced0e738dd"
	"ea152e4490ed82380733fd6da34924dfb16b38e956be149d37c84151a5180a830569fcfe98e2ef6adc83e1eff3d78d12cbefb89bb369de5b51882d4c"
	"8e5872fa3d92177d7b0ab4b301383d61f5a739217abf4d978a98b2903d09e764734b749f4736221eea96bb9cb68bc836622cfc5f50433ef6e8f2d5f6"
	"d428bf1e8757cc60f0ef0845bfff00d4f1eb017c098fa840173b185e00453abfa35b2e1757d3e95394586f524a7997702c90d9519e2190dce3bc47f2"
	"0a47ad7e1f0f251de250143a4fe908a22df3b394224c0e5bdb192784229a9abd6701bcaeaea6d065a04246b08f871f2ad60155444bc89c77f249fb0b"
	"aa8c3da59c89f9db7536209c0e51f8bb2b867aa8ea20ea975363b889c43f25a795444245dbfa915993e2f82fdf1c97dd41454e440300000088776655"
	"443322110900000003000000f60200000000000066040000000000004b01000001000000746865206172636869766527732069643170726237383eeb"
	"86846471a79ef3e1225984184c837883c1a29d89b1ae3c1a08e7e757d6c13a2941454e440300000088776655443322110900000003000000f6020000"
	"0000000066040000000000004b01000001000000746865206172636869766527732069643170726237383eeb86846471a79ef3e1225984184c837883"
	"c1a29d89b1ae3c1a08e7e757d6c13a29";

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
	for (size_t bit = 0; bit < 8 * n; bit += PROGRAM_IS_SANITIZED ? 9 : 1) { /* some bit of almost every byte */
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

/* Somebody with the key writes a directory that lies: both main pages say so. */
static enum err
open_with_entry(size_t at, unsigned bytes, uint64_t add)
{
	struct segment *s = NULL;
	size_t n;
	write_segment(fill_one, 1);
	uint8_t *p = read_file(&n);
	size_t trailer = n - SEGMENT_TRAILER_BYTES, main_at = load_le64(p + trailer + 32), main_bytes = load_le32(p + trailer + 40);
	uint8_t *main = malloc(main_bytes);
	assert_non_null(main);
	okay(unseal_page(key, &name, 0, p + main_at, main_bytes, main));
	if (bytes == 8)
		store_le64(main + at, load_le64(main + at) + add);
	else
		store_le32(main + at, load_le32(main + at) + (uint32_t)add);
	seal_page(key, &name, 0, main, main_bytes - SEAL_TAG_BYTES, p + main_at);
	seal_page(key, &name, SEGMENT_MAIN_COPY, main, main_bytes - SEAL_TAG_BYTES, p + main_at + main_bytes);
	write_file(p, n);
	free(main);
	free(p);
	enum err e = segment_open(&s, path, key);
	segment_close(&s);
	return e;
}

static void
refuses_a_directory_whose_pages_overlap_or_leave_gaps(void **state)
{
	(void)state;
	/* totals, name, one block; then a count before each table, and a page each of IPv4 addresses, (none of IPv6,) ports */
	const size_t ip4 = 48 + 2 + 4 + BLOCK_ENTRY_BYTES + 4, port = ip4 + 32 + 4 + 4;
	okay(open_with_entry(ip4, 8, 0)); /* as it was */
	static const struct { size_t at; unsigned bytes; } fields[] = { { 16, 8 }, { 24, 4 } }; /* at, sealed_bytes */
	static const uint64_t add[] = { 1, UINT64_MAX, 16, (uint64_t)-16, 1 << 20, UINT64_C(1) << 31 };
	for (size_t f = 0; f < 2; f++)
		for (size_t i = 0; i < sizeof add / sizeof *add; i++) {
			assert_int_equal(open_with_entry(ip4 + fields[f].at, fields[f].bytes, add[i]), ERR_FORMAT);
			assert_non_null(strstr(err_text(), "index directory"));
			assert_int_equal(open_with_entry(port + fields[f].at, fields[f].bytes, add[i]), ERR_FORMAT);
			assert_non_null(strstr(err_text(), "index directory"));
		}
	/* entries: none, and more than a page has; another number within these is found when the page is read */
	assert_int_equal(open_with_entry(ip4 + 28, 4, (uint64_t)-2), ERR_FORMAT);
	assert_int_equal(open_with_entry(ip4 + 28, 4, POSTINGS_PAGE), ERR_FORMAT);
	/* a protocol table of more than 256 */
	const size_t proto = port + 32 + 4;
	assert_int_equal(open_with_entry(proto + 28, 4, 256), ERR_FORMAT);
	assert_non_null(strstr(err_text(), "index directory"));
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
		cmocka_unit_test(notices_tables_that_are_not_those_of_the_records),
		cmocka_unit_test(refuses_every_truncation_and_every_addition),
		cmocka_unit_test(names_every_flipped_bit_and_reads_the_rest),
		cmocka_unit_test(refuses_what_is_damaged_in_both_copies),
		cmocka_unit_test(refuses_a_directory_whose_pages_overlap_or_leave_gaps),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
