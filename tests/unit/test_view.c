/* Frames through views: what comes out agrees with the columns, follows the policy, and is the same however it is asked for. */
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support/block_trip.h"
#include "tests/support/draft.h"
#include "tests/support/filter_cases.h"
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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_generated_frames_as_each_policy_says),
	};
	return cmocka_run_group_tests(tests, open_all, close_all);
}
