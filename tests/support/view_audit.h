/* Whether frames of a view show what its policy says, told from the captured frames without the view's code but for single
 * addresses: addresses at their places are mapped, checksums that were right are right for the shown headers and the captured rest,
 * wrong ones are wrong, and structure and numbers are as the policy says. */
#ifndef TESTS_SUPPORT_VIEW_AUDIT_H
#define TESTS_SUPPORT_VIEW_AUDIT_H

#include "anonymize/view_parts.h"
#include "archive/frames.h"

/* A random policy: each rule with any of its values, such that it can be shown as packets. */
struct policy random_policy(uint64_t seed);

/* NULL: all was as it should be; otherwise what was not, valid until the next call. in and shown have the same frames. */
const char *view_audit(const struct view *v, const struct frames *in, const struct frames *shown);

#endif
