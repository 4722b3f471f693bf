/* Whether options and extension headers consist of nothing but what anonymize/header_options.h lets through, told without its code.
 * The rules to rewrite them with put marks where they are called, so that a raw value that got through is seen. */
#ifndef TESTS_SUPPORT_REWRITTEN_H
#define TESTS_SUPPORT_REWRITTEN_H

#include "anonymize/header_options.h"

#define MARK4 0xe4 /* each byte of a mapped IPv4 address, */
#define MARK6 0xe6 /* of an IPv6 address, */
#define MARK_ID 0xf1f1f1f1u /* a fragment's identification */

extern const struct header_rule marking;

bool rewritten_tcp(const uint8_t *p, size_t n, enum tcp_timestamps timestamps);
bool rewritten_ip4(const uint8_t *p, size_t n);
/* raw: the same bytes before. */
bool rewritten_ip6(const uint8_t *p, const uint8_t *raw, size_t n, uint8_t first, struct ip6_chain told);

#endif
