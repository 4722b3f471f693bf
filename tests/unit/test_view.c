/* Frames through views: what comes out agrees with the columns, follows the policy, and is the same however it is asked for. */
#include "tests/support/unit.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/block_read.h"
#include "ingest/trace.h"
#include "tests/support/block_trip.h"
#include "tests/support/canary_frames.h"
#include "tests/support/draft.h"
#include "tests/support/filter_cases.h"
#include "tests/support/frame_places.h"
#include "tests/support/scratch.h"
#include "tests/support/sealed_frames.h"
#include "tests/support/view_audit.h"

static struct frames *in, *shown, *again;
static const uint8_t master[VIEW_MASTER_BYTES] = "the archive's master key";

static int
open_all(void **state)
{
	(void)state;
	return frames_open(&in, 4 << 20) != OK || frames_open(&shown, 4 << 20) != OK || frames_open(&again, 4 << 20) != OK;
}

static int
close_all(void **state)
{
	(void)state;
	frames_close(&in);
	frames_close(&shown);
	frames_close(&again);
	return 0;
}

static struct view *
view_of(const struct policy *p)
{
	struct view *v = NULL;
	MUST(view_open(&v, p, 0, master));
	return v;
}

static struct policy
preset(const char *name)
{
	struct policy p;
	MUST(policy_load(&p, name, NULL, NULL));
	memcpy(p.key_dataset.s, "a dataset", 10);
	memcpy(p.key_recipient.s, "somebody", 9);
	p.link_unknown = POLICY_DROP;
	return p;
}

/* The policy number i: the presets, then random ones. */
static struct policy
some_policy(uint32_t i)
{
	uint32_t presets = 0;
	while (policy_presets[presets].name)
		presets++;
	return i < presets ? preset(policy_presets[i].name) : random_policy(i);
}

/* in through a view to shown, audited. */
static void
through(const struct policy *p, const char *what)
{
	struct view *v = view_of(p);
	struct trip *t = NULL;
	MUST(trip_open(&t, view_packets(v)));
	const char *said = trip_view(t, in, shown);
	if (!said)
		said = view_audit(v, in, shown);
	if (said) {
		policy_print(p, stderr);
		fail_msg("%s: %s", what, said);
	}
	trip_close(&t);
	view_close(&v);
}

static void
shows_generated_frames_as_each_policy_says(void **state)
{
	static const uint16_t types[] = { 1, 1, 1, 113, 276, 0, 108, 101, 12, 228, 229, 147 };
	(void)state;
	for (uint32_t i = 0; i < 60; i++) {
		struct dice d = { 1000 + i };
		struct policy p = some_policy(i);
		char what[64];
		frames_reset(in);
		for (unsigned k = 0; k < sizeof types / sizeof types[0]; k++)
			make_frames(in, &d, types[k], 60);
		snprintf(what, sizeof what, "generated frames under policy %u", i);
		through(&p, what);
	}
}

/* --- the shared data --- */

static struct {
	uint32_t files, records;
} real;

#define SHARE 16u /* one of so many files: a view of its own for each takes milliseconds */

/* Each file under a policy of its own. */
static int
through_file(const char *path, const struct stat *st, int kind, struct FTW *where)
{
	static unsigned seen;
	struct trace *t = NULL;
	(void)st, (void)where;
	if (kind != FTW_F || seen++ % SHARE || trace_open(&t, path) != OK)
		return 0;
	struct policy p = some_policy(real.files++);
	if (trace_fill(t, in) <= END && in->count > 0) {
		through(&p, path);
		real.records += in->count;
	}
	trace_close(&t);
	return 0;
}

static void
shows_real_captures_as_each_policy_says(void **state)
{
	(void)state;
	char scratch[PATH_BYTES];
	scratch_make(scratch);
	bool there = shared_unpack("pcap/originals-le64k.tar.zst", scratch);
	if (there)
		assert_int_equal(nftw(scratch, through_file, 16, FTW_PHYS), 0);
	scratch_remove(scratch);
	if (!there)
		skip();
	print_message("# %u files, %u records\n", real.files, real.records);
	assert_true(real.records > 0);
}

/* --- canaries --- */

static struct canaries canaries;

static const uint8_t *
shown_bytes(const struct frames *f, uint32_t i)
{
	return f->bytes + f->v[i].at;
}

static void
plant_all(uint32_t step)
{
	frames_reset(in);
	canaries = (struct canaries){ .state = 3 };
	canary_frames(in, &canaries);
	canary_cuts(in, 0, step);
}

static void
shows_no_captured_address_under_any_policy(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 24; i++) {
		struct policy p = some_policy(i);
		p.payload_bytes = 0; /* which is copied as it is */
		p.payload_dns = POLICY_DROP;
		p.link_mac = p.link_mac == POLICY_KEEP ? POLICY_PERMUTE : p.link_mac;
		char what[64];
		snprintf(what, sizeof what, "canaries under policy %u", i);
		plant_all(17 + i);
		through(&p, what);
		uint32_t found = canary_find(&canaries, 0, shown->bytes, shown->used_bytes);
		if (found < canaries.count) {
			uint32_t k = 0;
			while (k + 1 < shown->count && canary_find(&canaries, found, shown_bytes(shown, k), shown->v[k].cap_len) != found)
				k++;
			policy_print(&p, stderr);
			fail_msg("%s: number %u of %u bytes is shown in frame %u of link type %u", what, found, canaries.v[found].bytes, k,
			         shown->v[k].linktype);
		}
	}
	print_message("# %u canaries in %u frames\n", canaries.count, in->count);
}

static void
finds_every_canary_in_what_was_captured(void **state)
{
	(void)state;
	plant_all(2000);
	for (uint32_t i = 0; i < canaries.count; i++)
		assert_int_equal(canary_find(&canaries, i, in->bytes, in->used_bytes), i);
}

/* --- checksums --- */

static void
plant_whole(void)
{
	frames_reset(in);
	canaries = (struct canaries){ .state = 3 };
	canary_frames(in, &canaries);
}

/* What a cut packet's view shows, completed with the rest of what was captured of the whole one. */
static void
complete(uint32_t whole, uint32_t cut, const char *what)
{
	static uint8_t p[4096];
	const struct frame *f = &in->v[whole];
	struct frame_places places, now;
	uint32_t n = shown->v[cut].cap_len;
	memcpy(p, shown_bytes(in, whole), f->cap_len);
	memcpy(p, shown_bytes(shown, cut), n);
	frame_places(f->linktype, shown_bytes(in, whole), f->cap_len, shown_bytes(in, whole), &places);
	frame_places(f->linktype, shown_bytes(in, whole), f->cap_len, p, &now);
	for (uint32_t i = 0; i < places.count; i++)
		if (places.v[i].at < n && places.v[i].state != now.v[i].state)
			fail_msg("%s: frame %u of link type %u cut to %u bytes, of which %u are shown: the checksum at %u", what, whole,
			         f->linktype, in->v[cut].cap_len, n, places.v[i].at);
}

static void
completing_a_cut_packet_gives_a_right_checksum(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 16; i++) {
		struct policy p = some_policy(i);
		char what[64];
		snprintf(what, sizeof what, "cut frames under policy %u", i);
		plant_whole();
		uint32_t whole = in->count, k = whole;
		canary_cuts(in, 0, 5 + i % 3);
		through(&p, what);
		for (uint32_t frame = 0; frame < whole && p.checksums_checksums == POLICY_ADJUST; frame++)
			for (; k < in->count && in->v[k].ts_ns == in->v[frame].ts_ns; k++)
				complete(frame, k, what);
	}
}

static uint16_t broken_at[BLOCK_RECORDS_MAX]; /* by frame: the checksum that was */

/* Each checksum that is right made wrong in this way, one at a time. */
static void
break_sums(uint16_t how)
{
	plant_whole();
	memset(broken_at, 0, sizeof broken_at);
	for (uint32_t i = 0, end = in->count; i < end; i++) {
		struct frame_places places;
		const struct frame *f = &in->v[i];
		frame_places(f->linktype, shown_bytes(in, i), f->cap_len, shown_bytes(in, i), &places);
		for (uint32_t k = 0; k < places.count; k++) {
			if (place_bytes(&places.v[k]) != 2 || places.v[k].state != SUM_IS_RIGHT)
				continue;
			broken_at[in->count] = (uint16_t)places.v[k].at;
			struct frame *v = &in->v[in->count++];
			*v = *f;
			v->at = in->used_bytes;
			memcpy(in->bytes + v->at, in->bytes + f->at, f->cap_len);
			in->bytes[v->at + places.v[k].at] ^= (uint8_t)(how >> 8);
			in->bytes[v->at + places.v[k].at + 1] ^= (uint8_t)how;
			in->used_bytes += f->cap_len;
		}
	}
}

static void
a_wrong_checksum_does_not_tell_how_wrong_it_was(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 12; i++) {
		struct policy p = some_policy(i);
		char what[64];
		p.payload_bytes = 0; /* an inner checksum may be payload */
		snprintf(what, sizeof what, "wrong checksums under policy %u", i);
		break_sums(0x1234);
		through(&p, what);
		frames_reset(again);
		memcpy(again->v, shown->v, shown->count * sizeof *shown->v);
		memcpy(again->bytes, shown->bytes, shown->used_bytes);
		again->count = shown->count;
		again->used_bytes = shown->used_bytes;
		break_sums(0x4001);
		through(&p, what);
		assert_int_equal(again->count, shown->count);
		for (uint32_t k = 0; k < shown->count; k++)
			/* one that is not shown is payload, which other checksums cover */
			if (broken_at[k] < shown->v[k].cap_len &&
			    memcmp(shown_bytes(again, k), shown_bytes(shown, k), shown->v[k].cap_len) != 0)
				fail_msg("%s: frame %u of link type %u, checksum at %u of %u shown bytes", what, k, in->v[k].linktype,
				         broken_at[k], shown->v[k].cap_len);
	}
}

/* --- the same again --- */

/* All frames of one block, one after the other. */
static void
block_bytes(struct segment *s, uint32_t block, struct block_decoder *d, struct frames *out)
{
	const struct batch *b = NULL;
	frames_reset(out);
	MUST(segment_load(s, block, d, block % 2 ? BATCH_BYTES | BATCH_TIME : BATCH_ALL, &b, NULL));
	for (uint32_t i = 0; i < b->count; i++) {
		/* rows in another order: frames do not depend on it */
		const uint8_t *p;
		uint32_t n, row = block % 3 ? b->count - 1 - i : i;
		MUST(batch_bytes(b, row, &p, &n));
	}
	for (uint32_t row = 0; row < b->count; row++) {
		const uint8_t *p;
		uint32_t n;
		MUST(batch_bytes(b, row, &p, &n));
		memcpy(out->bytes + out->used_bytes, p, n);
		out->used_bytes += n;
	}
}

static void
a_block_is_the_same_whenever_it_is_asked_for(void **state)
{
	enum { PER_BLOCK = 90 };
	struct segment *s = NULL;
	(void)state;
	plant_whole();
	struct dice dice = { 5 };
	make_frames(in, &dice, 1, 600);
	MUST(sealed_frames(&s, in, PER_BLOCK));
	uint32_t blocks = (in->count + PER_BLOCK - 1) / PER_BLOCK;
	for (uint32_t i = 0; i < 8; i++) {
		struct policy p = some_policy(i);
		struct view *v = view_of(&p);
		struct block_decoder *used = NULL, *fresh = NULL;
		MUST(block_decoder_open(&used, view_packets(v)));
		for (uint32_t block = blocks; block-- > 0;) {
			MUST(block_decoder_open(&fresh, view_packets(v)));
			block_bytes(s, block, fresh, shown);
			block_decoder_close(&fresh);
			block_bytes(s, (block + 3) % blocks, used, again);
			block_bytes(s, block, used, again);
			assert_int_equal(again->used_bytes, shown->used_bytes);
			assert_memory_equal(again->bytes, shown->bytes, shown->used_bytes);
		}
		block_decoder_close(&used);
		view_close(&v);
	}
	segment_close(&s);
	sealed_frames_release();
}

/* --- a connection --- */

static void
add_segment(unsigned side, uint32_t seq, uint32_t ack, uint8_t flags, uint32_t tsval, uint32_t tsecr, uint32_t edge)
{
	struct draft d;
	uint8_t options[24] = { 1, 1, 8, 10, [12] = 1, 1, 5, 10 };
	store_be32(options + 4, tsval);
	store_be32(options + 8, tsecr);
	store_be32(options + 16, edge);
	store_be32(options + 20, edge + 100);
	draft_start(&d);
	draft_ethernet(&d, 0x0800);
	draft_ip4(&d, side ? 0x08080808 : 0x01020304, side ? 0x01020304 : 0x08080808, 6, NULL, 0);
	draft_tcp(&d, side ? 443 : 5555, side ? 5555 : 443, seq, ack, flags, options, edge ? 24 : 12);
	draft_finish(&d);
	draft_add(&d, in, 1000 + in->count, 1);
}

#define TCP_AT(frame, offset) load_be32(shown_bytes(shown, frame) + 34 + (offset))

static void
a_connection_stays_one(void **state)
{
	(void)state;
	struct policy p = preset("research");
	p.tcp_seq = POLICY_SHIFT;
	p.tcp_options = POLICY_KNOWN;
	p.tcp_timestamps = POLICY_COUNTER;
	frames_reset(in);
	add_segment(0, 1000, 0, 0x02, 70000, 0, 0);
	add_segment(1, 9000, 1001, 0x12, 5, 70000, 0);
	add_segment(0, 1001, 9001, 0x10, 70010, 5, 0);
	add_segment(0, 1001, 9001, 0x18, 70010, 5, 9101);
	add_segment(1, 9001, 1101, 0x10, 9, 70010, 0);
	add_segment(0, 1201, 0, 0x04, 70020, 9, 9301); /* nothing acknowledged, and yet edges */
	through(&p, "a connection");
	uint32_t shift = TCP_AT(0, 4) - 1000, back = TCP_AT(1, 4) - 9000;
	assert_true(shift != 0 && back != 0 && shift != back);
	assert_int_equal(TCP_AT(0, 8), 0);
	assert_int_equal(TCP_AT(1, 8), 1001 + shift);
	assert_int_equal(TCP_AT(3, 4), 1001 + shift);
	assert_int_equal(TCP_AT(3, 8), 9001 + back);
	assert_int_equal(TCP_AT(3, 36), 9101 + back);
	assert_int_equal(TCP_AT(3, 40), 9201 + back);
	assert_int_equal(TCP_AT(5, 8), 0);
	assert_int_equal(TCP_AT(5, 36), 9301 + back);
	static const uint32_t ticks[][2] = { { 1, 0 }, { 1, 1 }, { 2, 1 }, { 2, 1 }, { 2, 2 }, { 3, 2 } };
	for (uint32_t i = 0; i < 6; i++) {
		assert_int_equal(TCP_AT(i, 24), ticks[i][0]);
		assert_int_equal(TCP_AT(i, 28), ticks[i][1]);
	}
	p.tcp_seq = POLICY_ZERO;
	through(&p, "a connection without numbers");
	for (uint32_t i = 0; i < 6; i++) {
		assert_int_equal(TCP_AT(i, 4), 0);
		assert_int_equal(TCP_AT(i, 8), 0);
	}
	static const uint8_t nops[10] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
	assert_memory_equal(shown_bytes(shown, 3) + 34 + 34, nops, 10);
}

/* The bytes of one string, once as options of IPv4, once as an extension header of IPv6. */
static void
the_same_bytes_are_read_as_what_they_are(void **state)
{
	static const uint8_t both[8] = { 17, 0, 1, 4, 7, 7, 7, 7 };
	(void)state;
	struct policy p = preset("internal");
	frames_reset(in);
	for (unsigned i = 0; i < 4; i++) {
		struct draft d;
		draft_start(&d);
		draft_ethernet(&d, i & 1 ? 0x86dd : 0x0800);
		if (i & 1) {
			draft_ip6(&d, 1, 2, 44 + 16 * (i > 1)); /* a fragment; destination options */
			draft_put(&d, both, sizeof both);
			draft_transport_here(&d, 17);
		} else {
			draft_ip4(&d, 1, 2, 17, both, sizeof both);
		}
		draft_udp(&d, 1, 2);
		draft_finish(&d);
		draft_add(&d, in, i, 1);
	}
	through(&p, "one string");
	static const uint8_t nops[8] = { 1, 1, 1, 1, 1, 1, 1, 1 }, padding[8] = { 17, 0, 1, 4 };
	assert_memory_equal(shown_bytes(shown, 0) + 34, nops, 8);
	assert_memory_equal(shown_bytes(shown, 2) + 34, nops, 8);
	assert_memory_equal(shown_bytes(shown, 3) + 54, padding, 8);
}

/* --- back --- */

static void
maps_back_what_it_maps(void **state)
{
	(void)state;
	struct dice d = { 77 };
	for (uint32_t i = 0; i < 120; i++) {
		struct policy p = random_policy(i);
		struct view *v = view_of(&p);
		struct view_thread t;
		MUST(view_thread_open(&t, v));
		for (uint32_t k = 0; k < 60; k++) {
			unsigned family = k & 1 ? 6 : 4, bytes = k & 1 ? 16 : 4;
			uint8_t raw[16] = { 0 }, view[16], back[16], bits = (uint8_t)dice_roll(&d, 8 * bytes + 1);
			static const uint8_t starts[] = { 0, 10, 100, 127, 169, 172, 192, 224, 255, 0x20, 0xfe, 0xfd, 0xff };
			for (unsigned b = 0; b < bytes; b++)
				raw[b] = (uint8_t)dice_roll(&d, 256);
			raw[0] = k % 3 ? starts[dice_roll(&d, sizeof starts)] : raw[0];
			memcpy(view, raw, 16);
			if (family == 4)
				view_ip4_bytes(&t, view);
			else
				view_ip6(&t, view);
			memcpy(back, view, 16);
			/* A neighbour that shares so many bits shares as many in the view. */
			struct scheme scheme = family == 4 ? p.addresses_ip4 : p.addresses_ip6;
			if (scheme.kind == SCHEME_PFX || scheme.kind == SCHEME_CRYPTOPAN) {
				unsigned common = dice_roll(&d, 8 * bytes);
				uint8_t near[16] = { 0 };
				for (unsigned b = 0; b < 8 * bytes; b++) {
					unsigned bit = raw[b / 8] >> (7 - b % 8) & 1;
					near[b / 8] |= (uint8_t)((b < common ? bit : b == common ? !bit : dice_roll(&d, 2)) << (7 - b % 8));
				}
				family == 4 ? view_ip4_bytes(&t, near) : view_ip6(&t, near);
				for (unsigned b = 0; b <= common; b++)
					assert_int_equal((near[b / 8] ^ view[b / 8]) >> (7 - b % 8) & 1, b == common);
			}
			/* What is asked for is what the captured address is in. */
			if (!view_unmap(v, family, back, &bits))
				continue;
			for (unsigned b = 0; b < bits; b++)
				assert_int_equal((back[b / 8] ^ raw[b / 8]) >> (7 - b % 8) & 1, 0);
			for (unsigned b = bits; b < 8 * bytes; b++)
				assert_int_equal(back[b / 8] >> (7 - b % 8) & 1, 0);
		}
		view_thread_close(&t);
		view_close(&v);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_generated_frames_as_each_policy_says),
		cmocka_unit_test(shows_real_captures_as_each_policy_says),
		cmocka_unit_test(finds_every_canary_in_what_was_captured),
		cmocka_unit_test(shows_no_captured_address_under_any_policy),
		cmocka_unit_test(completing_a_cut_packet_gives_a_right_checksum),
		cmocka_unit_test(a_block_is_the_same_whenever_it_is_asked_for),
		cmocka_unit_test(a_connection_stays_one),
		cmocka_unit_test(the_same_bytes_are_read_as_what_they_are),
		cmocka_unit_test(maps_back_what_it_maps),
		cmocka_unit_test(a_wrong_checksum_does_not_tell_how_wrong_it_was),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
