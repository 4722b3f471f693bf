/* What is known of the bytes of one class of flows: constants, places that columns tell, and how many bytes there surely
 * are. Offsets count from the start of the frame; behind an IPv4 header, whose length is not known, from its end.
 */
#ifndef QUERY_FILTER_LAYOUT_H
#define QUERY_FILTER_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/batch.h"

#define LAYOUT_BYTES  384u /* a link header, an IPv6 header and a transport header fit */
#define LAYOUT_FIELDS 24u

/* A value of the machine: a constant, a part of a column, 4 * IHL of the IPv4 header, or not known. */
enum value_kind { VALUE_CONST, VALUE_COLUMN, VALUE_HEADER, VALUE_UNKNOWN };
struct value {
	uint8_t  kind, column, shift, left;
	uint32_t mask; /* COLUMN: (((column >> shift) & mask) << left) + add; UNKNOWN: the bits that are known, in add */
	uint32_t add;  /* CONST: the value; HEADER: 4 * IHL + add */
};

struct field {
	uint16_t at;
	uint8_t  bytes, column;
	uint32_t mask, add;
};

struct region {
	uint32_t bound;              /* bytes from offset 0 that are captured for certain */
	uint8_t  known[LAYOUT_BYTES];/* mask of known bits */
	uint8_t  byte[LAYOUT_BYTES];
	struct field fields[LAYOUT_FIELDS];
	uint32_t field_count;
};

struct layout {
	struct region frame;         /* offsets from the start of the frame */
	struct region transport;     /* offsets from the end of the IPv4 header */
	uint32_t      ip4_at;        /* where the IPv4 header starts, UINT32_MAX without */
	bool          later_fragment;/* the fragment offset is not 0 */
};

/* reads: which bytes of the link header may be taken as known. */
void layout_of(struct layout *l, const struct link *link, const uint8_t *reads, const struct flow *f);
/* Loads 1, 2 or 4 bytes; false when they may not have been captured. */
bool layout_load(const struct region *r, uint32_t at, uint32_t bytes, struct value *out);

#endif
