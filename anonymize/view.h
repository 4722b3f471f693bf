/* A view: what a policy shows of an archive's records under one key. Made once, read-only, used by all threads; what a thread
 * needs of its own it opens from it.
 *
 * Everything that leaves a block decoder opened with view_packets() is the view's: addresses, ports, link headers, header fields,
 * options, quoted and tunnelled packets, times. Filters are evaluated on that. Only the index knows captured values; what a
 * filter asks of it is translated back here. */
#ifndef ANONYMIZE_VIEW_H
#define ANONYMIZE_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "anonymize/policy.h"
#include "base/err.h"
#include "base/when.h"

#define VIEW_MASTER_BYTES 32u
#define VIEW_KEY_ID_BYTES 16u

struct view;
struct packet_view;

/* policy: copied. master: the archive's anonymization key. epoch: which of the key's epochs it is for, where the policy rotates
 * keys (key_epoch_of()). ERR_USAGE: the policy can not be shown as packets (a scheme has no room in them). ERR_UNSUPPORTED: the
 * machine's arithmetic failed its self-test. ERR_NOMEM. */
enum err view_open(struct view **out, const struct policy *policy, uint64_t epoch, const uint8_t master[VIEW_MASTER_BYTES]);
void     view_close(struct view **v);

const struct policy      *view_policy(const struct view *v);
const struct packet_view *view_packets(const struct view *v);
/* Names the key without telling anything of it: for manifests. */
void view_key_id(const struct view *v, uint8_t id[VIEW_KEY_ID_BYTES]);

/* --- from the view back to what was captured, for the index --- */

/* Where addresses inside this prefix of the view were before: in the prefix that takes its place, or also elsewhere in it (a
 * superset). family 4 or 6; address in network order, IPv4 in the first four bytes. False: it can not be told; all of the
 * index must be looked at. One thread at a time. */
bool view_unmap(const struct view *v, unsigned family, uint8_t address[16], uint8_t *bits);
/* Ports first .. *last of the view were in this range. False: as above. */
bool view_unmap_ports(const struct view *v, uint16_t *first, uint16_t *last);
/* Exactly the captured times that are shown inside this span. */
struct span view_unmap_span(const struct view *v, struct span shown);

#endif
