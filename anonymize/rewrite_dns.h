/* DNS messages (RFC 1035) in payload: the structure stays, names become letters x, addresses are mapped, and all other data 0. */
#ifndef ANONYMIZE_REWRITE_DNS_H
#define ANONYMIZE_REWRITE_DNS_H

#include "anonymize/view_parts.h"

/* A message of n captured bytes to out, which has room for n; how many of them are shown. Addresses are those of A and AAAA
 * records and of client subnets (RFC 7871). The transaction's number and all flags and counts stay. */
uint32_t rewrite_dns(struct view_thread *t, const uint8_t *in, uint32_t n, uint8_t *out);

#endif
