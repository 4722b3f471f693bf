/* What can not be together in a policy. Inside of policy_parse() only. */
#ifndef ANONYMIZE_POLICY_CHECK_H
#define ANONYMIZE_POLICY_CHECK_H

#include "anonymize/policy.h"
#include "base/ini.h"

enum {
#define F(section, key, part, type, values, otherwise, sentence) SETTING_##section##_##key,
	POLICY_SETTINGS(F)
#undef F
	POLICY_SETTING_COUNT
};

struct policy_reading {
	struct policy     policy;
	struct ini_faults faults; /* mistakes */
	unsigned          set_on[POLICY_SETTING_COUNT]; /* line, 0: not set */
	policy_see       *see;
	void             *arg;
};

/* Tells contradictions: mistakes count as faults, warnings only go to see(). */
void policy_check(struct policy_reading *r);

#endif
