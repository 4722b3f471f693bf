/* A decision diagram over columns: each node is one comparison of one column, with a node for either outcome; the leaves
 * are no, yes, and "run BPF on the bytes". Equal nodes are one node (as in Bryant's BDDs), so that equal questions of
 * different kinds of flows share an answer and a test that does not matter disappears.
 *
 * A column here is a field of the flow (answered once per flow) or of the row.
 */
#ifndef QUERY_FILTER_DIAGRAM_H
#define QUERY_FILTER_DIAGRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "archive/batch.h"
#include "base/err.h"

enum column {
	/* of a flow; IPv6 addresses as four words, the first one also holds an IPv4 address */
	COLUMN_SPORT, COLUMN_DPORT,
	COLUMN_SRC, COLUMN_DST = COLUMN_SRC + 4,
	/* of a row */
	COLUMN_WIRE_LEN = COLUMN_DST + 4,
	COLUMN_TCP_FLAGS, COLUMN_TOS, COLUMN_TTL, COLUMN_IP_LEN, COLUMN_IP_ID, COLUMN_IP_FRAG, COLUMN_TCP_SEQ, COLUMN_TCP_ACK,
	COLUMN_TCP_WIN,
	COLUMN_COUNT,
};
#define COLUMN_FIRST_OF_ROW COLUMN_WIRE_LEN

enum compare { COMPARE_EQ, COMPARE_GT, COMPARE_GE };

/* ((column >> shift) & mask) + add, compared with value, unsigned 32 bits */
struct test {
	uint8_t  column, compare, shift;
	uint32_t mask, add, value;
};

enum { LEAF_NO, LEAF_YES, LEAF_BYTES, LEAF_COUNT };

struct node {
	struct test test;
	uint32_t    yes, no;     /* nodes */
	uint16_t    columns;     /* BATCH_ bits of all tests below and this one; not those of LEAF_BYTES' program */
	bool        flow_below;  /* a test of a flow column hangs below this one */
};

struct diagram {
	struct node *nodes;      /* the first LEAF_COUNT are the leaves */
	uint32_t     count, room;
	uint32_t    *buckets;    /* 1 + node, 0 empty; a power of two of them */
	uint32_t     bucket_count;
};

enum err diagram_init(struct diagram *d);
void     diagram_fini(struct diagram *d);
void     diagram_clear(struct diagram *d);
/* The node of this test; its one child when both are the same. LEAF_BYTES (always right, only slower) when
 * FILTER_NODES_MAX are there or memory is out. */
uint32_t diagram_node(struct diagram *d, const struct test *t, uint32_t yes, uint32_t no);

static inline bool
column_of_flow(uint8_t column)
{
	return column < COLUMN_FIRST_OF_ROW;
}

static inline bool
test_holds(const struct test *t, uint32_t column)
{
	uint32_t v = ((column >> t->shift) & t->mask) + t->add;
	return t->compare == COMPARE_EQ ? v == t->value : t->compare == COMPARE_GT ? v > t->value : v >= t->value;
}

/* One flow's value of a flow column. */
uint32_t column_of(const struct batch *b, const struct flow *f, uint8_t column);
/* Goes down through the tests of this flow's columns; the result depends on row columns only. */
uint32_t diagram_of_flow(struct diagram *d, uint32_t node, const struct batch *b, const struct flow *f);

#endif
