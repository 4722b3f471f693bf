#include "tests/support/unit.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/interrupt.h"
#include "ingest/trace.h"

/* A file that is being made. */
struct file {
	uint8_t b[1 << 20];
	size_t  n;
	bool    big;
};
static struct file file;
static struct frames *frames, *small;

static int
open_frames(void **state)
{
	(void)state;
	return frames_open(&frames, BLOCK_BYTES_MAX) != OK || frames_open(&small, TRACE_ROOM_BYTES_MIN) != OK;
}

static int
close_frames(void **state)
{
	(void)state;
	frames_close(&frames);
	frames_close(&small);
	return 0;
}

static void
put16(uint16_t v)
{
	(file.big ? store_be16 : store_le16)(file.b + file.n, v);
	file.n += 2;
}

static void
put32(uint32_t v)
{
	(file.big ? store_be32 : store_le32)(file.b + file.n, v);
	file.n += 4;
}

static void
put64(uint64_t v)
{
	(file.big ? store_be64 : store_le64)(file.b + file.n, v);
	file.n += 8;
}

static void
put_bytes(uint8_t first, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		file.b[file.n++] = (uint8_t)(first + i);
}

static void
begin_pcap(bool big, uint32_t magic, uint16_t major, uint16_t minor, uint32_t snaplen, uint32_t network)
{
	file.n = 0;
	file.big = big;
	put32(magic);
	put16(major);
	put16(minor);
	put64(0);
	put32(snaplen);
	put32(network);
}

static void
put_record(uint32_t sec, uint32_t sub, uint32_t first_len, uint32_t second_len, uint32_t bytes)
{
	put32(sec);
	put32(sub);
	put32(first_len);
	put32(second_len);
	put_bytes((uint8_t)sec, bytes);
}

/* pcapng: a block is begun with its type and ended by filling in both lengths. */
static size_t
begin_block(uint32_t type)
{
	size_t at = file.n;
	put32(type);
	put32(0);
	return at;
}

static void
end_block(size_t at)
{
	while ((file.n - at) % 4)
		file.b[file.n++] = 0;
	uint32_t total = (uint32_t)(file.n - at) + 4;
	put32(total);
	(file.big ? store_be32 : store_le32)(file.b + at + 4, total);
}

static void
put_section(bool big)
{
	file.big = big;
	size_t at = begin_block(0x0a0d0d0a);
	put32(0x1a2b3c4d);
	put16(1);
	put16(0);
	put64(UINT64_MAX);
	end_block(at);
}

/* resolution -1: none given. */
static void
put_interface(uint16_t linktype, uint32_t snaplen, const char *name, int resolution, int64_t offset)
{
	size_t at = begin_block(1);
	put16(linktype);
	put16(0);
	put32(snaplen);
	if (name) {
		put16(2);
		put16((uint16_t)strlen(name));
		memcpy(file.b + file.n, name, strlen(name));
		file.n += strlen(name);
		while (file.n % 4)
			file.b[file.n++] = 0;
	}
	if (resolution >= 0) {
		put16(9);
		put16(1);
		file.b[file.n] = (uint8_t)resolution;
		memset(file.b + file.n + 1, 0, 3);
		file.n += 4;
	}
	if (offset) {
		put16(14);
		put16(8);
		put64((uint64_t)offset);
	}
	put32(0);
	end_block(at);
}

static void
put_packet(uint32_t iface, uint64_t units, uint32_t cap_len, uint32_t wire_len, uint8_t first)
{
	size_t at = begin_block(6);
	put32(iface);
	put32((uint32_t)(units >> 32));
	put32((uint32_t)units);
	put32(cap_len);
	put32(wire_len);
	put_bytes(first, cap_len);
	end_block(at);
}

static void
put_old_packet(uint16_t iface, uint64_t units, uint32_t cap_len, uint32_t wire_len, uint8_t first)
{
	size_t at = begin_block(2);
	put16(iface);
	put16(77); /* drops */
	put32((uint32_t)(units >> 32));
	put32((uint32_t)units);
	put32(cap_len);
	put32(wire_len);
	put_bytes(first, cap_len);
	end_block(at);
}

static void
put_simple_packet(uint32_t wire_len, uint32_t bytes, uint8_t first)
{
	size_t at = begin_block(3);
	put32(wire_len);
	put_bytes(first, bytes);
	end_block(at);
}

static void
put_other(uint32_t type, uint32_t bytes)
{
	size_t at = begin_block(type);
	put_bytes(0, bytes);
	end_block(at);
}

/* --- what came out --- */

struct record {
	struct frame f;
	uint64_t hash;
};

struct result {
	struct record *v;
	uint32_t    count;
	enum err    end;
	struct trace_stats stats;
	char        names[8][PCAPNG_NAME_BYTES];
};

static uint64_t
hash_bytes(const uint8_t *p, uint32_t n)
{
	uint64_t h = 14695981039346656037u;
	for (uint32_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 1099511628211u;
	return h;
}

/* The hash of put_bytes(first, n). */
static uint64_t
hash_run(uint8_t first, uint32_t n)
{
	uint64_t h = 14695981039346656037u;
	for (uint32_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)(first + i)) * 1099511628211u;
	return h;
}

static struct result
read_trace(const uint8_t *bytes, size_t n, size_t piece, struct frames *into)
{
	struct result r = { 0 };
	struct trace *t = NULL;
	r.end = trace_open_memory(&t, bytes, n, piece, "trace");
	while (r.end == OK) {
		r.end = trace_fill(t, into);
		assert_true(r.end != OK || into->count > 0);
		r.v = realloc(r.v, (r.count + into->count + 1) * sizeof *r.v);
		for (uint32_t i = 0; i < into->count; i++) {
			const struct frame *f = &into->v[i];
			assert_true(f->at <= into->used_bytes && f->cap_len <= into->used_bytes - f->at);
			r.v[r.count++] = (struct record){ *f, hash_bytes(into->bytes + f->at, f->cap_len) };
		}
		trace_stats(t, &r.stats);
		for (uint32_t i = 0; i < r.stats.interface_count && i < 8; i++)
			memcpy(r.names[i], r.stats.interfaces[i].name, PCAPNG_NAME_BYTES);
	}
	assert_int_equal(r.stats.records, r.count);
	if (t) {
		assert_int_equal(trace_fill(t, into), r.end);
		assert_int_equal(into->count, 0);
	}
	trace_close(&t);
	return r;
}

static void
check_record(const struct record *r, uint64_t ns, uint32_t cap_len, uint32_t wire_len, uint16_t linktype, uint16_t iface,
             uint8_t first)
{
	assert_int_equal(r->f.ts_ns, ns);
	assert_int_equal(r->f.cap_len, cap_len);
	assert_int_equal(r->f.wire_len, wire_len);
	assert_int_equal(r->f.linktype, linktype);
	assert_int_equal(r->f.iface, iface);
	assert_true(r->hash == hash_run(first, cap_len));
}

static void
check_said(const char *words)
{
	if (!strstr(err_text(), words))
		fail_msg("\"%s\" is not in \"%s\"", words, err_text());
}

/* --- pcap --- */

static void
reads_pcap_of_both_byte_orders_and_all_magics(void **state)
{
	(void)state;
	static const struct {
		uint32_t magic, unit, extra;
		const char *format;
	} kinds[] = { { 0xa1b2c3d4, 1000, 0, "pcap" },
		      { 0xa1b23c4d, 1, 0, "pcap nanosecond" },
		      { 0xa1b2cd34, 1000, 8, "pcap modified" } };
	for (int big = 0; big < 2; big++)
		for (size_t k = 0; k < 3; k++) {
			begin_pcap(big, kinds[k].magic, 2, 4, 100, 0xf4000065); /* upper bits: frame check sequence */
			for (uint32_t i = 0; i < 3; i++) {
				put32(4000000000u + i);
				put32(999999);
				put32(10 * i);
				put32(20 * i);
				file.n += kinds[k].extra;
				put_bytes((uint8_t)i, 10 * i);
			}
			struct result r = read_trace(file.b, file.n, 0, frames);
			assert_int_equal(r.end, END);
			assert_int_equal(r.count, 3);
			for (uint32_t i = 0; i < 3; i++)
				check_record(&r.v[i], (4000000000u + i) * UINT64_C(1000000000) + 999999u * kinds[k].unit,
				             10 * i, 20 * i, 101, 0, (uint8_t)i);
			char format[64];
			snprintf(format, sizeof format, "%s%s", kinds[k].format, big ? ", big-endian" : "");
			assert_string_equal(r.stats.format, format);
			assert_int_equal(r.stats.interfaces ? r.stats.interface_count : 0, 1);
			assert_int_equal(r.stats.captured_bytes, 30);
			assert_int_equal(r.stats.wire_bytes, 60);
			free(r.v);
		}
}

static void
carries_microseconds_above_a_million_into_the_second(void **state)
{
	(void)state;
	begin_pcap(false, 0xa1b2c3d4, 2, 4, 100, 1);
	put_record(5, 1000001, 4, 4, 4);
	put_record(5, UINT32_MAX, 4, 2, 4); /* and keeps a captured length above the wire length */
	struct result r = read_trace(file.b, file.n, 0, frames);
	assert_int_equal(r.end, END);
	check_record(&r.v[0], 6000001000, 4, 4, 1, 0, 5);
	check_record(&r.v[1], 5000000000 + UINT32_MAX * UINT64_C(1000), 4, 2, 1, 0, 5);
	free(r.v);
}

static void
exchanges_the_lengths_of_old_versions(void **state)
{
	(void)state;
	static const uint16_t versions[][2] = { { 2, 2 }, { 543, 0 }, { 2, 3 } };
	for (size_t i = 0; i < 3; i++) {
		begin_pcap(false, 0xa1b2c3d4, versions[i][0], versions[i][1], 100, 1);
		put_record(1, 0, 9, 4, 4); /* wire length first */
		if (versions[i][1] == 3)
			put_record(2, 0, 4, 9, 4);
		struct result r = read_trace(file.b, file.n, 0, frames);
		assert_int_equal(r.end, END);
		for (uint32_t k = 0; k < r.count; k++)
			check_record(&r.v[k], (k + 1) * UINT64_C(1000000000), 4, 9, 1, 0, (uint8_t)(k + 1));
		free(r.v);
	}
	struct trace *t = NULL;
	begin_pcap(false, 0xa1b2c3d4, 1, 2, 100, 1);
	assert_int_equal(trace_open_memory(&t, file.b, file.n, 0, "old"), ERR_UNSUPPORTED);
	assert_null(t);
	check_said("old: byte 4: pcap version 1.2");
}

static void
keeps_what_exceeds_the_snapshot_length_but_not_what_can_not_be(void **state)
{
	(void)state;
	begin_pcap(false, 0xa1b2c3d4, 2, 4, 10, 1);
	put_record(1, 0, 30, 30, 30);
	put_record(2, 0, 262145, 262145, 100);
	struct result r = read_trace(file.b, file.n, 0, frames);
	assert_int_equal(r.end, ERR_FORMAT);
	assert_int_equal(r.count, 1);
	check_said("trace: byte 70: record claims 262145 captured bytes");
	check_said("116 bytes from there on were not read");
	free(r.v);
	begin_pcap(false, 0xa1b2c3d4, 2, 4, 0x7fffffff, 1); /* the file says that it may be */
	put_record(1, 0, 262145, 262145, 262145);
	put_record(2, 0, RECORD_BYTES_MAX + 1, 1, 0);
	r = read_trace(file.b, file.n, 0, frames);
	assert_int_equal(r.end, ERR_LIMIT);
	assert_int_equal(r.count, 1);
	check_said("more than the limit");
	free(r.v);
}

/* --- pcapng --- */

static void
make_pcapng(void)
{
	file.n = 0;
	put_section(false);
	put_interface(1, 0, "eth0", -1, 0);
	put_interface(101, 64, "tun\xc3\xbc", 9, 0);
	put_packet(0, 1000001, 7, 60, 10);
	put_other(5, 24); /* interface statistics */
	put_packet(1, 1700000000123456789u, 0, 60, 0);
	put_other(0x80000bad, 400000); /* custom, larger than any read */
	put_old_packet(0, 5, 33, 34, 20);
	put_simple_packet(50, 50, 30);
	put_section(true);
	put_interface(113, 20, NULL, 0x80 | 20, 100);
	put_interface(1, 0, NULL, 12, -50);
	put_interface(1, 0, NULL, 0, 0);
	put_packet(0, (1u << 20) + (1u << 19), 5, 5, 40);
	put_packet(1, UINT64_C(100000000001999), 5, 5, 50);
	put_packet(2, 17, 1, 1, 60);
	put_simple_packet(50, 20, 70); /* cut at the first interface's 20 */
	put_other(4, 0);
}

static void
check_pcapng(const struct result *r)
{
	assert_int_equal(r->end, END);
	assert_int_equal(r->count, 8);
	check_record(&r->v[0], 1000001000, 7, 60, 1, 0, 10);
	check_record(&r->v[1], 1700000000123456789u, 0, 60, 101, 1, 0);
	check_record(&r->v[2], 5000, 33, 34, 1, 0, 20);
	check_record(&r->v[3], 0, 50, 50, 1, 0, 30);
	check_record(&r->v[4], 101500000000, 5, 5, 113, 2, 40);
	check_record(&r->v[5], 50000000001, 5, 5, 1, 3, 50);
	check_record(&r->v[6], 17000000000, 1, 1, 1, 4, 60);
	check_record(&r->v[7], 100000000000, 20, 50, 113, 2, 70);
	assert_int_equal(r->stats.sections, 2);
	assert_int_equal(r->stats.interface_count, 5);
	assert_int_equal(r->stats.skipped_blocks, 3);
	assert_int_equal(r->stats.rounded_times, 1);
	assert_string_equal(r->names[0], "eth0");
	assert_string_equal(r->names[1], "tun\xc3\xbc");
	assert_string_equal(r->names[2], "");
}

static void
reads_pcapng_sections_interfaces_and_all_packet_blocks(void **state)
{
	(void)state;
	make_pcapng();
	struct result r = read_trace(file.b, file.n, 0, frames);
	check_pcapng(&r);
	free(r.v);
}

static void
gives_the_same_records_in_any_pieces_and_rooms(void **state)
{
	(void)state;
	make_pcapng();
	static const size_t pieces[] = { 1, 3, 17, 4096, 100000 };
	for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
		for (int tight = 0; tight < 2; tight++) {
			struct result r = read_trace(file.b, file.n, pieces[i], tight ? small : frames);
			check_pcapng(&r);
			free(r.v);
		}
}

static void
fills_at_most_a_block_and_carries_the_rest_over(void **state)
{
	(void)state;
	uint32_t count = 2 * BLOCK_RECORDS_MAX + 100;
	size_t room = 24 + count * UINT64_C(20);
	uint8_t *bytes = malloc(room);
	begin_pcap(false, 0xa1b23c4d, 2, 4, 100, 1);
	memcpy(bytes, file.b, 24);
	for (uint32_t i = 0; i < count; i++) {
		uint8_t *p = bytes + 24 + i * UINT64_C(20);
		store_le32(p, 0);
		store_le32(p + 4, i);
		store_le32(p + 8, 4);
		store_le32(p + 12, 4);
		store_le32(p + 16, ~i);
	}
	struct trace *t;
	assert_int_equal(trace_open_memory(&t, bytes, room, 0, "long"), OK);
	uint32_t seen = 0, fills = 0;
	while (trace_fill(t, frames) == OK) {
		for (uint32_t i = 0; i < frames->count; i++, seen++) {
			assert_int_equal(frames->v[i].ts_ns, seen);
			assert_int_equal(load_le32(frames->bytes + frames->v[i].at), ~seen);
		}
		fills++;
	}
	assert_int_equal(seen, count);
	assert_int_equal(fills, 3);
	assert_int_equal(trace_offset(t), room);
	assert_int_equal(trace_size(t), room);
	trace_close(&t);
	free(bytes);
}

static void
refuses_times_that_nanoseconds_do_not_hold(void **state)
{
	(void)state;
	static const struct {
		int resolution;
		int64_t offset;
		uint64_t units;
		enum err end;
	} cases[] = {
		{ 0, 0, 18446744073u, END },       { 0, 0, 18446744074u, ERR_FORMAT }, { 9, 0, UINT64_MAX, END },
		{ 9, 1, UINT64_MAX, ERR_FORMAT },  { 9, -1, 999999999, ERR_FORMAT },   { 9, -1, 1000000000, END },
		{ 127, 0, UINT64_MAX, END },       { 0xff, 0, UINT64_MAX, END },       { 0x80, 0, 18446744074u, ERR_FORMAT },
		{ 6, INT64_MIN, 5, ERR_FORMAT },   { 6, INT64_MAX, 5, ERR_FORMAT },    { 28, 0, UINT64_MAX, END },
		{ 29, 0, UINT64_MAX, END },        { 0x80 | 64, 0, UINT64_MAX, END },  { 6, 0, UINT64_MAX, ERR_FORMAT },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		file.n = 0;
		put_section(false);
		put_interface(1, 0, NULL, cases[i].resolution, cases[i].offset);
		put_packet(0, cases[i].units, 4, 4, 0);
		struct result r = read_trace(file.b, file.n, 0, frames);
		assert_int_equal(r.end, cases[i].end);
		if (r.end != END)
			check_said("packet time outside 1970..2554");
		free(r.v);
	}
}

static void
says_what_is_wrong_with_a_pcapng_block(void **state)
{
	(void)state;
	static const struct {
		uint32_t at, value; /* of the file made below */
		const char *said;
	} cases[] = {
		{ 4, 27, "claims a length of 27" },
		{ 4, 8, "claims a length of 8" },
		{ 12, 2, "version 2.0" },
		{ 24, 32, "says 28 bytes before and 32 behind" },
		{ 28 + 4, 16, "says 16 bytes before" },
		{ 60 + 4, 0x7ffffff0, "more than the limit" },
		{ 60 + 8, 1, "packet of interface 1, this section describes 1" },
		{ 60 + 20, 9, "claims 9 captured bytes, it has room for 8" },
		{ 60 + 36, 44, "says 40 bytes before and 44 behind" },
		{ 28 + 18, 200 << 16 | 9, "claims 200 bytes" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		file.n = 0;
		put_section(false);
		put_interface(1, 0, NULL, 6, 0);
		put_packet(0, 5, 8, 8, 0);
		assert_int_equal(file.n, 60 + 40);
		uint32_t at = cases[i].at == 28 + 18 ? 28 + 16 : cases[i].at;
		store_le32(file.b + at, cases[i].value);
		struct result r = read_trace(file.b, file.n, 0, frames);
		assert_true(r.end != END && r.end != OK);
		check_said(cases[i].said);
		assert_int_equal(r.count, 0);
		free(r.v);
	}
}

/* --- damage in general --- */

static void
check_truncations(void)
{
	struct result all = read_trace(file.b, file.n, 0, frames);
	assert_int_equal(all.end, END);
	uint32_t least = 0;
	for (size_t cut = 0; cut < file.n; cut++) {
		struct result r = read_trace(file.b, cut, 0, small);
		assert_true(r.end == ERR_FORMAT || r.end == END);
		assert_true(r.count >= least && r.count <= all.count);
		for (uint32_t i = 0; i < r.count; i++) {
			struct frame got = r.v[i].f, want = all.v[i].f;
			got.at = want.at = 0; /* where it lies may differ */
			assert_memory_equal(&got, &want, sizeof got);
			assert_true(r.v[i].hash == all.v[i].hash);
		}
		least = r.count;
		free(r.v);
	}
	assert_true(least + 1 >= all.count);
	free(all.v);
}

static void
check_flips(void)
{
	for (size_t bit = 0; bit < 8 * file.n; bit++) {
		file.b[bit / 8] ^= (uint8_t)(1u << bit % 8);
		struct result r = read_trace(file.b, file.n, bit % 64, frames);
		free(r.v);
		file.b[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

static void
keeps_all_before_every_truncation_and_survives_every_bit_flip(void **state)
{
	(void)state;
	for (int big = 0; big < 2; big++) {
		begin_pcap(big, 0xa1b2c3d4, 2, 4, 100, 1);
		for (uint32_t i = 0; i < 5; i++)
			put_record(i, i, 7 * i, 9 * i, 7 * i);
		check_truncations();
		check_flips();
		file.n = 0;
		put_section(big);
		put_interface(1, 0, "x", 9, 3);
		put_packet(0, 77, 6, 6, 0);
		put_other(5, 12);
		put_old_packet(0, 77, 6, 6, 0);
		put_section(!big);
		put_interface(1, 30, "y", 6, 0);
		put_simple_packet(9, 9, 0);
		check_truncations();
		check_flips();
	}
}

static void
names_files_that_are_no_traces(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t n;
		const char *said;
	} cases[] = {
		{ "", 0, "empty" },
		{ "\xd4\xc3\xb2\xa1xxx", 7, "ends at byte 7, inside the pcap file header" },
		{ "snoop\0\0\0\0\0\0\2", 12, "Solaris snoop" },
		{ "GMBU\0\2\1\0", 8, "Network Monitor 2" },
		{ "\xaa\xaa\xaa\xaaxxxx", 8, "5View" },
		{ "BZh91AY&SY", 10, "bzip2" },
		{ "\x0a\x0d\x0d\x0a\x1c\0\0\0zzzz", 12, "damaged byte-order magic" },
		{ "hello", 5, "it begins with 68 65 6c 6c 6f" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct trace *t = NULL;
		assert_int_equal(trace_open_memory(&t, cases[i].bytes, cases[i].n, 0, "odd"), ERR_FORMAT);
		assert_null(t);
		check_said("odd: ");
		check_said(cases[i].said);
	}
}

static void
reads_standard_input(void **state)
{
	(void)state;
	make_pcapng();
	int ends[2], input = dup(STDIN_FILENO);
	assert_int_equal(pipe(ends), 0);
	pid_t child = fork();
	if (child == 0) {
		size_t n = 0;
		while (n < file.n) {
			ssize_t w = write(ends[1], file.b + n, file.n - n < 999 ? file.n - n : 999);
			if (w < 0)
				_exit(1);
			n += (size_t)w;
		}
		_exit(0);
	}
	close(ends[1]);
	dup2(ends[0], STDIN_FILENO);
	close(ends[0]);
	struct trace *t;
	assert_int_equal(trace_open(&t, "-"), OK);
	uint32_t count = 0;
	while (trace_fill(t, frames) == OK)
		count += frames->count;
	assert_int_equal(count, 8);
	assert_int_equal(trace_offset(t), file.n);
	assert_int_equal(trace_size(t), 0);
	assert_string_equal(trace_name(t), "standard input");
	trace_close(&t);
	dup2(input, STDIN_FILENO);
	close(input);
}

/* Of a file's bytes as a stream would bring them, in pieces of up to this many. */
static void
stream_print(int fd, size_t pieces, uint8_t out[TRACE_FINGERPRINT_BYTES], uint8_t start[TRACE_FINGERPRINT_BYTES])
{
	struct fingerprint *f = NULL;
	uint8_t *bytes = malloc(pieces);
	bool whole = false, started = false;
	off_t at = 0;
	assert_int_equal(fingerprint_open(&f), OK);
	for (ssize_t n; (n = pread(fd, bytes, pieces, at)) > 0; at += n) {
		fingerprint_see(f, bytes, (size_t)n);
		if (!started && at + n >= (off_t)TRACE_FINGERPRINT_START_BYTES) {
			fingerprint_get(f, start, &whole);
			assert_false(whole);
			started = true;
		}
	}
	fingerprint_see(f, NULL, 0);
	fingerprint_get(f, out, &whole);
	assert_true(whole);
	if (!started)
		memcpy(start, out, TRACE_FINGERPRINT_HEAD_BYTES);
	fingerprint_close(&f);
	free(bytes);
}

static void
fingerprints_tell_files_apart_and_know_streams(void **state)
{
	(void)state;
	char path[] = "/tmp/atoll-trace-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	uint8_t first[TRACE_FINGERPRINT_BYTES], again[TRACE_FINGERPRINT_BYTES], start[TRACE_FINGERPRINT_BYTES];
	static const off_t sizes[] = { 0, 1, 100, 1 << 20, (1 << 20) + 1, (1 << 20) + 4097, 2 << 20, (2 << 20) + 1, 3000001, 50 << 20 };
	static const size_t pieces[] = { 65536, 4095, 1000003, 5 << 20 };
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(ftruncate(fd, sizes[i]), 0);
		for (off_t at = 0; at < sizes[i]; at += 997) /* so that moved bytes are seen */
			assert_int_equal(pwrite(fd, &at, 1, at), 1);
		assert_int_equal(fingerprint_file(fd, path, first), OK);
		for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
			stream_print(fd, pieces[k], again, start);
			assert_memory_equal(first, again, sizeof first);
			assert_memory_equal(first, start, TRACE_FINGERPRINT_HEAD_BYTES);
		}
		off_t places[] = { 0, sizes[i] / 2, sizes[i] - 1 };
		for (size_t k = 0; k < 3 && sizes[i] > 0; k++) {
			/* In the middle of a large file as much as holds one piece for certain. */
			size_t n = k == 1 && sizes[i] > 2 << 20 ? (size_t)(sizes[i] / 32 + 4096) : 1;
			uint8_t *was = malloc(n), *other = malloc(n);
			assert_int_equal(pread(fd, was, n, places[k]), n);
			for (size_t b = 0; b < n; b++)
				other[b] = was[b] ^ 1;
			assert_int_equal(pwrite(fd, other, n, places[k]), n);
			assert_int_equal(fingerprint_file(fd, path, again), OK);
			assert_memory_not_equal(first, again, sizeof first);
			assert_int_equal(memcmp(first, again, TRACE_FINGERPRINT_HEAD_BYTES) == 0, places[k] >= 1 << 20);
			assert_int_equal(pwrite(fd, was, n, places[k]), n);
			free(was);
			free(other);
		}
		assert_int_equal(ftruncate(fd, sizes[i] + 1), 0);
		assert_int_equal(fingerprint_file(fd, path, again), OK);
		assert_memory_not_equal(first, again, sizeof first);
	}
	close(fd);
}

/* What was waited for is read afterwards, also when a signal came meanwhile. */
static void
a_stream_is_known_by_its_start_and_loses_nothing(void **state)
{
	(void)state;
	int ends[2], input = dup(STDIN_FILENO);
	begin_pcap(false, 0xa1b2c3d4, 2, 4, 65535, 1);
	for (uint32_t i = 0; i < 5; i++)
		put_record(i, 0, 60, 60, 60);
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(write(ends[1], file.b, file.n), file.n);
	dup2(ends[0], STDIN_FILENO);
	interrupt_watch();
	pid_t child = fork();
	if (child == 0) { /* without it this would wait for a MiB */
		usleep(100000);
		kill(getppid(), SIGTERM);
		_exit(0);
	}
	struct trace *t = NULL;
	uint8_t print[TRACE_FINGERPRINT_BYTES], zero[TRACE_FINGERPRINT_BYTES] = { 0 };
	bool whole = true;
	assert_int_equal(trace_open(&t, "-"), OK);
	assert_true(trace_is_stream(t));
	assert_int_equal(trace_fingerprint(t, print, &whole), OK);
	assert_false(whole);
	assert_memory_equal(print + TRACE_FINGERPRINT_HEAD_BYTES, zero, sizeof print - TRACE_FINGERPRINT_HEAD_BYTES);
	assert_int_equal(trace_fill(t, frames), ERR_INTERRUPTED);
	assert_int_equal(frames->count, 5);
	trace_close(&t);
	waitpid(child, NULL, 0);
	dup2(input, STDIN_FILENO);
	close(input);
	close(ends[0]);
	close(ends[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_pcap_of_both_byte_orders_and_all_magics),
		cmocka_unit_test(carries_microseconds_above_a_million_into_the_second),
		cmocka_unit_test(exchanges_the_lengths_of_old_versions),
		cmocka_unit_test(keeps_what_exceeds_the_snapshot_length_but_not_what_can_not_be),
		cmocka_unit_test(reads_pcapng_sections_interfaces_and_all_packet_blocks),
		cmocka_unit_test(gives_the_same_records_in_any_pieces_and_rooms),
		cmocka_unit_test(fills_at_most_a_block_and_carries_the_rest_over),
		cmocka_unit_test(refuses_times_that_nanoseconds_do_not_hold),
		cmocka_unit_test(says_what_is_wrong_with_a_pcapng_block),
		cmocka_unit_test(keeps_all_before_every_truncation_and_survives_every_bit_flip),
		cmocka_unit_test(names_files_that_are_no_traces),
		cmocka_unit_test(reads_standard_input),
		cmocka_unit_test(fingerprints_tell_files_apart_and_know_streams),
		cmocka_unit_test(a_stream_is_known_by_its_start_and_loses_nothing), /* last: the signal stays seen */
	};
	return cmocka_run_group_tests(tests, open_frames, close_frames);
}
