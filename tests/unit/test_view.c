/* Frames through views: what comes out agrees with the columns, follows the policy, and is the same however it is asked for. */
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/block_trip.h"
#include "tests/support/canary_frames.h"
#include "tests/support/draft.h"
#include "tests/support/filter_cases.h"
#include "tests/support/frame_places.h"
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_generated_frames_as_each_policy_says),
		cmocka_unit_test(finds_every_canary_in_what_was_captured),
		cmocka_unit_test(shows_no_captured_address_under_any_policy),
		cmocka_unit_test(completing_a_cut_packet_gives_a_right_checksum),
		cmocka_unit_test(a_wrong_checksum_does_not_tell_how_wrong_it_was),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
