#include "query/filter_diagram.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"

#define NODES_FIRST   256u
#define RESTRICT_MAX  512u /* nodes visited for one flow whose tests are mixed with row tests; beyond that BPF */

enum err
diagram_init(struct diagram *d)
{
	*d = (struct diagram){ .room = NODES_FIRST, .bucket_count = 2 * NODES_FIRST };
	d->nodes = calloc(d->room, sizeof *d->nodes);
	d->buckets = calloc(d->bucket_count, sizeof *d->buckets);
	if (!d->nodes || !d->buckets) {
		diagram_fini(d);
		return fail(ERR_NOMEM, "filter: no memory for its tests");
	}
	d->count = LEAF_COUNT;
	d->nodes[LEAF_BYTES].columns = BATCH_BYTES;
	return OK;
}

void
diagram_fini(struct diagram *d)
{
	free(d->nodes);
	free(d->buckets);
	*d = (struct diagram){ 0 };
}

void
diagram_clear(struct diagram *d)
{
	d->count = LEAF_COUNT;
	memset(d->buckets, 0, d->bucket_count * sizeof *d->buckets);
}

static uint32_t
hash_node(const struct test *t, uint32_t yes, uint32_t no)
{
	uint64_t h = (uint64_t)t->column | (uint64_t)t->compare << 8 | (uint64_t)t->shift << 16 | (uint64_t)t->mask << 32;
	h = (h ^ ((uint64_t)t->value << 32 | t->add)) * 0x9e3779b97f4a7c15u;
	h = (h ^ h >> 29 ^ ((uint64_t)yes << 32 | no)) * 0xbf58476d1ce4e5b9u;
	return (uint32_t)(h >> 32);
}

static bool
test_same(const struct test *a, const struct test *b)
{
	return a->column == b->column && a->compare == b->compare && a->shift == b->shift && a->mask == b->mask &&
	       a->add == b->add && a->value == b->value;
}

static bool
diagram_grow(struct diagram *d)
{
	if (d->count >= FILTER_NODES_MAX)
		return false;
	struct node *nodes = realloc(d->nodes, 2 * (size_t)d->room * sizeof *nodes);
	if (!nodes)
		return false;
	d->nodes = nodes;
	uint32_t *buckets = calloc(2 * (size_t)d->bucket_count, sizeof *buckets);
	if (!buckets)
		return false;
	d->room *= 2;
	free(d->buckets);
	d->buckets = buckets;
	d->bucket_count *= 2;
	for (uint32_t i = LEAF_COUNT; i < d->count; i++) {
		uint32_t at = hash_node(&nodes[i].test, nodes[i].yes, nodes[i].no) & (d->bucket_count - 1);
		while (buckets[at])
			at = (at + 1) & (d->bucket_count - 1);
		buckets[at] = 1 + i;
	}
	return true;
}

static uint16_t
batch_column(uint8_t column)
{
	switch (column) {
	case COLUMN_WIRE_LEN:
		return BATCH_WIRE_LEN;
	case COLUMN_TCP_FLAGS:
		return BATCH_TCP_FLAGS;
	case COLUMN_TOS:
	case COLUMN_TTL:
	case COLUMN_IP_LEN:
	case COLUMN_IP_ID:
	case COLUMN_IP_FRAG:
		return BATCH_IP;
	case COLUMN_TCP_SEQ:
	case COLUMN_TCP_ACK:
	case COLUMN_TCP_WIN:
		return BATCH_TCP;
	default:
		return 0;
	}
}

uint32_t
diagram_node(struct diagram *d, const struct test *t, uint32_t yes, uint32_t no)
{
	if (yes == no)
		return yes;
	uint32_t hash = hash_node(t, yes, no), at = hash & (d->bucket_count - 1);
	for (; d->buckets[at]; at = (at + 1) & (d->bucket_count - 1)) {
		const struct node *n = &d->nodes[d->buckets[at] - 1];
		if (n->yes == yes && n->no == no && test_same(&n->test, t))
			return d->buckets[at] - 1;
	}
	if (d->count == d->room) {
		if (!diagram_grow(d))
			return LEAF_BYTES;
		for (at = hash & (d->bucket_count - 1); d->buckets[at];)
			at = (at + 1) & (d->bucket_count - 1);
	}
	const struct node *y = &d->nodes[yes], *n = &d->nodes[no];
	d->nodes[d->count] = (struct node){
		.test = *t,
		.yes = yes,
		.no = no,
		.columns = (uint16_t)(batch_column(t->column) | y->columns | n->columns),
		.flow_below = y->flow_below || n->flow_below || (yes >= LEAF_COUNT && column_of_flow(y->test.column)) ||
		              (no >= LEAF_COUNT && column_of_flow(n->test.column)),
	};
	d->buckets[at] = 1 + d->count;
	return d->count++;
}

uint32_t
column_of(const struct batch *b, const struct flow *f, uint8_t column)
{
	if (column == COLUMN_SPORT)
		return f->sport;
	if (column == COLUMN_DPORT)
		return f->dport;
	uint32_t address = column < COLUMN_DST ? f->src : f->dst;
	uint32_t word = column < COLUMN_DST ? column - COLUMN_SRC : column - COLUMN_DST;
	return f->net == NET_IP4 ? b->ip4[address] : load_be32(b->ip6[address] + 4 * word);
}

/* Answers the flow tests below row tests. *left bounds the work: the same node may be reached on several ways. */
static uint32_t
restrict_node(struct diagram *d, uint32_t at, const struct batch *b, const struct flow *f, uint32_t *left)
{
	if (at < LEAF_COUNT)
		return at;
	if (*left == 0)
		return LEAF_BYTES;
	--*left;
	const struct node n = d->nodes[at]; /* a copy: the table moves when it grows */
	if (column_of_flow(n.test.column))
		return restrict_node(d, test_holds(&n.test, column_of(b, f, n.test.column)) ? n.yes : n.no, b, f, left);
	if (!n.flow_below)
		return at;
	uint32_t yes = restrict_node(d, n.yes, b, f, left);
	uint32_t no = restrict_node(d, n.no, b, f, left);
	return diagram_node(d, &n.test, yes, no);
}

uint32_t
diagram_of_flow(struct diagram *d, uint32_t at, const struct batch *b, const struct flow *f)
{
	while (at >= LEAF_COUNT && column_of_flow(d->nodes[at].test.column)) {
		const struct node *n = &d->nodes[at];
		at = test_holds(&n->test, column_of(b, f, n->test.column)) ? n->yes : n->no;
	}
	if (at < LEAF_COUNT || !d->nodes[at].flow_below)
		return at;
	uint32_t left = RESTRICT_MAX;
	return restrict_node(d, at, b, f, &left);
}
