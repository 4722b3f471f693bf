/* How long a key lives: every UTC day or month of capture has a number, and with it keys of its own (subkey.h), or one key has
 * all. */
#ifndef ANONYMIZE_KEY_EPOCH_H
#define ANONYMIZE_KEY_EPOCH_H

#include <stdint.h>

#include "anonymize/policy.h"
#include "base/when.h"

/* The number of the epoch in which something was captured: days since 1970, months since 1970, or 0. rule: POLICY_DAY,
 * POLICY_MONTH, POLICY_ALL. */
uint64_t    key_epoch_of(enum policy_rule rule, uint64_t captured_ns);
/* All of the epoch that this time is in. */
struct span key_epoch_span(enum policy_rule rule, uint64_t captured_ns);

#endif
