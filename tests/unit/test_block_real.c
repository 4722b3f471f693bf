/* Blocks of real and of generated traffic there and back, and their columns against tshark's reading. */
#include "tests/support/unit.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "archive/block.h"
#include "archive/dissect.h"
#include "base/bytes.h"
#include "base/sandbox.h"
#include "ingest/trace.h"
#include "tests/support/block_trip.h"
#include "tests/support/scratch.h"

static struct trip *trip;
static struct frames *frames;
static char scratch[PATH_BYTES];

static struct tally {
	uint64_t files, blocks, records, stored_bytes;
	unsigned wrong;
} tally;

static int
open_all(void **state)
{
	(void)state;
	scratch_make(scratch);
	return trip_open(&trip, NULL) != OK || frames_open(&frames, BLOCK_BYTES_MAX) != OK;
}

static int
close_all(void **state)
{
	(void)state;
	trip_close(&trip);
	frames_close(&frames);
	scratch_remove(scratch);
	return 0;
}

/* --- blocks of a file, both ways --- */

#define SHARE (PROGRAM_IS_SANITIZED ? 4 : 1) /* one in so many, with sanitizers */

static void
both_ways(const char *path)
{
	for (unsigned headers_only = 0; headers_only < 2; headers_only++) {
		const char *said = trip_run(trip, frames, headers_only);
		tally.stored_bytes += said ? 0 : trip_stored_bytes(trip);
		tally.blocks++;
		tally.records += frames->count;
		if (said) {
			print_message("# %s: %s%s\n", path, headers_only ? "headers only: " : "", said);
			tally.wrong++;
		}
	}
}

static void
trip_file(const char *path)
{
	struct trace *t = NULL;
	if (trace_open(&t, path) != OK)
		return; /* no trace */
	tally.files++;
	enum err e = OK;
	for (unsigned block = 0; e == OK; block++) {
		e = trace_fill(t, frames);
		if (frames->count > 0 && block % SHARE == 0)
			both_ways(path);
	}
	trace_close(&t);
}

static int
trip_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	static unsigned files;
	(void)st, (void)where;
	if (kind == FTW_F && files++ % SHARE == 0)
		trip_file(path);
	return 0;
}

static void
tell(const char *what)
{
	print_message("# %s: %llu files, %llu blocks, %llu records whole or cut to headers, %llu bytes in segments\n", what,
	              (unsigned long long)tally.files, (unsigned long long)tally.blocks, (unsigned long long)tally.records,
	              (unsigned long long)tally.stored_bytes);
	assert_int_equal(tally.wrong, 0);
	assert_true(tally.records > 0);
	tally = (struct tally){ 0 };
}

/* --- the shared data --- */

static void
keeps_every_record_of_the_real_captures(void **state)
{
	(void)state;
	if (!shared_unpack("pcap/originals-le64k.tar.zst", scratch))
		skip();
	assert_int_equal(nftw(scratch, trip_one, 16, FTW_PHYS), 0);
	tell("real captures");
	scratch_empty(scratch);
}

static void
keeps_every_record_of_the_real_mix(void **state)
{
	(void)state;
	char path[PATH_BYTES], unpacked[PATH_BYTES + 16];
	if (!shared_path(path, "pcap/real-mix-hdr.pcap.zst"))
		skip();
	char zstd[] = "zstd", out[] = "-dcq", window[] = "--long=31";
	char *const argv[] = { zstd, out, window, path, NULL };
	snprintf(unpacked, sizeof unpacked, "%s/mix.pcap", scratch);
	assert_int_equal(scratch_run(argv, unpacked), 0);
	trip_file(unpacked);
	tell("real mix");
	scratch_empty(scratch);
}

/* --- generated traffic --- */

static bool
generate(const char *path, const char *seed, const char *snaplen)
{
	const char *program = getenv("GEN");
	char copy[PATH_BYTES], packets[] = "--packets", count[] = "120000", seed_is[] = "--seed", snap[] = "--snaplen";
	snprintf(copy, sizeof copy, "%s", program && *program ? program : "build/gcc/gen");
	if (access(copy, X_OK) != 0) {
		print_message("skipped: no generator at %s (GEN names it)\n", copy);
		return false;
	}
	char *const argv[] = { copy, packets, count, seed_is, (char *)(uintptr_t)seed, snap, (char *)(uintptr_t)snaplen,
		(char *)(uintptr_t)path, NULL };
	assert_int_equal(scratch_run(argv, NULL), 0);
	return true;
}

static void
keeps_every_record_of_generated_traffic(void **state)
{
	(void)state;
	char path[PATH_BYTES + 16];
	snprintf(path, sizeof path, "%s/gen.pcap", scratch);
	static const char *const cases[][2] = { { "1", "65535" }, { "2", "96" }, { "3", "54" } };
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		if (!generate(path, cases[i][0], cases[i][1]))
			skip();
		trip_file(path);
	}
	tell("generated");
	scratch_empty(scratch);
}

/* --- against tshark --- */

#define FIELDS(F)                                                                                              \
	F(len, "frame.len") F(cap, "frame.cap_len") F(src4, "ip.src") F(dst4, "ip.dst") F(ttl, "ip.ttl")        \
	F(tos, "ip.dsfield") F(ip_len, "ip.len") F(id, "ip.id") F(df, "ip.flags.df") F(mf, "ip.flags.mf")       \
	F(proto, "ip.proto") F(src6, "ipv6.src") F(hlim, "ipv6.hlim") F(plen, "ipv6.plen")                      \
	F(tcp_src, "tcp.srcport") F(tcp_dst, "tcp.dstport") F(seq, "tcp.seq_raw") F(ack, "tcp.ack_raw")         \
	F(win, "tcp.window_size_value") F(flags, "tcp.flags") F(udp_src, "udp.srcport") F(udp_dst, "udp.dstport")
enum field {
#define F(id, text) FIELD_##id,
	FIELDS(F)
#undef F
	FIELD_COUNT
};

static const char *const field_names[FIELD_COUNT] = {
#define F(id, text) text,
	FIELDS(F)
#undef F
};

static struct {
	uint64_t records, values;
	unsigned wrong;
} seen;

/* One value of a record; tshark leaves out what it did not find. */
static void
agree(const char *path, uint32_t record, enum field field, const char *said, uint64_t ours)
{
	char *end = NULL;
	if (!*said)
		return;
	uint64_t theirs = strcmp(said, "True") == 0 ? 1 : strcmp(said, "False") == 0 ? 0 : strtoull(said, &end, 0);
	seen.values++;
	if (theirs == ours)
		return;
	if (seen.wrong++ < 20)
		print_message("# %s: record %u: %s is %s, the column says %llu\n", path, record + 1, field_names[field], said,
		            (unsigned long long)ours);
}

static void
agree_text(const char *path, uint32_t record, enum field field, const char *said, const char *ours)
{
	if (!*said)
		return;
	seen.values++;
	if (strcmp(said, ours) == 0)
		return;
	if (seen.wrong++ < 20)
		print_message("# %s: record %u: %s is %s, the column says %s\n", path, record + 1, field_names[field], said, ours);
}

static void
text_ip4(char text[16], uint32_t a)
{
	snprintf(text, 16, "%u.%u.%u.%u", a >> 24, a >> 16 & 255, a >> 8 & 255, a & 255);
}

static void
agree_net(const char *path, uint32_t i, char *const *said, const struct batch *b, const struct flow *f)
{
	uint32_t row = b->row_of[i];
	char text[16];
	if (f->net == NET_IP4) {
		text_ip4(text, b->ip4[f->src]);
		agree_text(path, i, FIELD_src4, said[FIELD_src4], text);
		text_ip4(text, b->ip4[f->dst]);
		agree_text(path, i, FIELD_dst4, said[FIELD_dst4], text);
		agree(path, i, FIELD_ttl, said[FIELD_ttl], b->ttl[row]);
		agree(path, i, FIELD_tos, said[FIELD_tos], b->tos[row]);
		agree(path, i, FIELD_ip_len, said[FIELD_ip_len], b->ip_len[row]);
		agree(path, i, FIELD_id, said[FIELD_id], b->ip_id[row]);
		agree(path, i, FIELD_df, said[FIELD_df], b->ip_frag[row] >> 14 & 1);
		agree(path, i, FIELD_mf, said[FIELD_mf], b->ip_frag[row] >> 13 & 1);
		agree(path, i, FIELD_proto, said[FIELD_proto], f->proto);
	} else if (f->net == NET_IP6) {
		agree(path, i, FIELD_hlim, said[FIELD_hlim], b->ttl[row]);
		agree(path, i, FIELD_plen, said[FIELD_plen], b->ip_len[row] - 40);
	}
	if (f->transport == TRANSPORT_TCP) {
		agree(path, i, FIELD_tcp_src, said[FIELD_tcp_src], f->sport);
		agree(path, i, FIELD_tcp_dst, said[FIELD_tcp_dst], f->dport);
		agree(path, i, FIELD_seq, said[FIELD_seq], b->tcp_seq[row]);
		agree(path, i, FIELD_ack, said[FIELD_ack], b->tcp_ack[row]);
		agree(path, i, FIELD_win, said[FIELD_win], b->tcp_win[row]);
		if (*said[FIELD_flags]) { /* tshark adds the bits of the byte before */
			char low[16];
			snprintf(low, sizeof low, "%lu", strtoul(said[FIELD_flags], NULL, 0) & 255);
			agree(path, i, FIELD_flags, low, b->tcp_flags[row]);
		}
	} else if (f->transport == TRANSPORT_UDP) {
		agree(path, i, FIELD_udp_src, said[FIELD_udp_src], f->sport);
		agree(path, i, FIELD_udp_dst, said[FIELD_udp_dst], f->dport);
	}
}

static void
agree_line(const char *path, uint32_t i, char *line, const struct batch *b)
{
	char *said[FIELD_COUNT], empty[] = "";
	for (unsigned k = 0; k < FIELD_COUNT; k++) {
		char *value = strsep(&line, "\t\n");
		said[k] = value ? value : empty;
	}
	uint32_t row = b->row_of[i];
	const struct flow *f = &b->flows[2 * batch_conversation(b, row) + b->dir[row]];
	if (!dissect_knows(b->links[f->link].linktype))
		return; /* of some, tshark takes pseudo-headers off the lengths */
	agree(path, i, FIELD_len, said[FIELD_len], b->wire_len[row]);
	agree(path, i, FIELD_cap, said[FIELD_cap], b->cap_len[row]);
	agree_net(path, i, said, b, f);
	seen.records++;
}

static void
agree_batch(const char *path, const char *output, const struct batch *b)
{
	FILE *f = fopen(output, "r");
	char *line = NULL;
	size_t room = 0;
	assert_non_null(f);
	for (uint32_t i = 0; i < b->count && getline(&line, &room, f) > 0; i++)
		agree_line(path, i, line, b);
	free(line);
	fclose(f);
}

static void
agree_batch_of(const char *path, const char *output, struct block_encoder *encoder, struct block_decoder *decoder)
{
	static const uint8_t key[SEGMENT_KEY_BYTES];
	static const struct segment_name name = { .id = 1 };
	struct segment_writer *w = NULL;
	struct segment *s = NULL;
	struct segment_totals totals;
	struct block block;
	const struct batch *b = NULL;
	char file[PATH_BYTES];
	trip_scratch(file, "tshark.seg");
	assert_int_equal(block_encode(encoder, frames, false, &block), OK);
	assert_int_equal(segment_create(&w, file, &name, key, "x"), OK);
	assert_int_equal(segment_seal(w, encoder, &block), OK);
	assert_int_equal(segment_finish(w, &totals), OK);
	segment_writer_close(&w);
	assert_int_equal(segment_open(&s, file, key), OK);
	assert_int_equal(segment_load(s, 0, decoder, BATCH_ALL, &b, NULL), OK);
	agree_batch(path, output, b);
	segment_close(&s);
	(void)unlink(file);
}

/* The first block of the file against what tshark said. */
static void
agree_file(const char *path, const char *output)
{
	struct trace *t = NULL;
	struct block_encoder *encoder = NULL;
	struct block_decoder *decoder = NULL;
	assert_int_equal(trace_open(&t, path), OK);
	(void)trace_fill(t, frames);
	assert_int_equal(block_encoder_open(&encoder), OK);
	assert_int_equal(block_decoder_open(&decoder, NULL), OK);
	if (frames->count > 0)
		agree_batch_of(path, output, encoder, decoder);
	trace_close(&t);
	block_encoder_close(&encoder);
	block_decoder_close(&decoder);
}

/* False: there is no tshark. */
static bool
ask_tshark(const char *path, const char *output)
{
	/* the first value of each field is the outermost header's; nothing put together from several packets */
	static const char *const fixed[] = { "tshark", "-n", "-c", "10000", "-T", "fields", "-E", "occurrence=f", "-o",
		"ip.defragment:FALSE", "-o", "ip.tso_support:FALSE", "-o", "ipv6.defragment:FALSE", "-o", "ip.decode_tos_as_diffserv:TRUE" };
	char *argv[sizeof fixed / sizeof fixed[0] + 2 * FIELD_COUNT + 3];
	size_t n = 0;
	for (size_t i = 0; i < sizeof fixed / sizeof fixed[0]; i++)
		argv[n++] = (char *)(uintptr_t)fixed[i];
	for (unsigned i = 0; i < FIELD_COUNT; i++) {
		argv[n++] = (char *)(uintptr_t)"-e";
		argv[n++] = (char *)(uintptr_t)field_names[i];
	}
	argv[n++] = (char *)(uintptr_t)"-r";
	argv[n++] = (char *)(uintptr_t)path;
	argv[n] = NULL;
	return scratch_run(argv, output) >= 0;
}

static const char *tshark_output;

static int
agree_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	static unsigned files;
	struct trace *t = NULL;
	(void)where;
	/* a part of them: tshark takes long to start */
	bool generated = strstr(path, "/gen.pcap") != NULL;
	if (kind != FTW_F || (!generated && (st->st_size < 5000 || files++ % 24 != 0)) || trace_open(&t, path) != OK)
		return 0;
	trace_close(&t);
	if (ask_tshark(path, tshark_output))
		agree_file(path, tshark_output);
	return 0;
}

static void
columns_are_what_tshark_reads(void **state)
{
	(void)state;
	char path[PATH_BYTES + 16], output[PATH_BYTES + 16];
	char program[] = "tshark", version[] = "--version";
	char *const argv[] = { program, version, NULL };
	if (PROGRAM_IS_SANITIZED || scratch_run(argv, "/dev/null") != 0) {
		print_message("skipped: no tshark here, or a sanitized program, which has the same columns\n");
		skip();
	}
	snprintf(output, sizeof output, "%s.tshark", scratch);
	snprintf(path, sizeof path, "%s/gen.pcap", scratch);
	tshark_output = output;
	bool generated = generate(path, "4", "65535");
	if (!shared_unpack("pcap/originals-le64k.tar.zst", scratch) && !generated)
		skip();
	assert_int_equal(nftw(scratch, agree_one, 16, FTW_PHYS), 0);
	(void)unlink(output);
	scratch_empty(scratch);
	print_message("# %llu values of %llu records\n", (unsigned long long)seen.values, (unsigned long long)seen.records);
	assert_int_equal(seen.wrong, 0);
	assert_true(seen.values > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_every_record_of_generated_traffic),
		cmocka_unit_test(keeps_every_record_of_the_real_captures),
		cmocka_unit_test(keeps_every_record_of_the_real_mix),
		cmocka_unit_test(columns_are_what_tshark_reads),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
