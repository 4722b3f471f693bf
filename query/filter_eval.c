/* Evaluation over batches: each flow's class gives a decision diagram, the flow's own fields take it down to a leaf or to
 * tests of row columns, which are then run over stretches of rows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "query/filter_parts.h"

#define NOT_CLASSIFIED UINT32_MAX
#define CLASSES_MAX    (1u << 16) /* classes or link classes kept over blocks; then all is forgotten */

/* Link headers that the program can not tell apart. */
struct link_class {
	const struct program *program;
	uint16_t linktype;
	uint8_t  len;
	uint16_t used;
	uint8_t  bytes[LINK_BYTES_MAX]; /* used of them: those that the program reads */
};

struct class_entry {
	uint64_t key;  /* 0: empty */
	uint32_t node;
};

struct filter_state {
	const struct filter *filter;
	struct diagram     diagram;
	struct link_class *links;
	uint32_t           link_count, link_room;
	uint32_t          *link_buckets; /* 1 + link class; 2 * link_room */
	struct class_entry*classes;      /* a power of two of them */
	uint32_t           class_count, class_room;
	uint32_t          *link_of;      /* per link of the batch: its class, or NOT_CLASSIFIED */
	uint32_t           link_of_room;
	uint8_t           *near;         /* per IPv4, then per IPv6 address of the batch: 1 inside one of the filter's networks */
	uint32_t           near_room;
	uint32_t          *nodes;        /* per flow: what is left to ask */
	uint8_t           *conversation;
	uint32_t           conversation_room;
	uint8_t           *row;
	uint32_t           row_room;
	uint64_t           bytes_rows;   /* that went through the program itself */
	enum err           failed;       /* of a row's evaluation */
	char               refused[ERR_TEXT_BYTES]; /* see filter_refused() */
};

static void
forget_classes(struct filter_state *s)
{
	s->link_count = s->class_count = 0;
	memset(s->link_buckets, 0, 2 * (size_t)s->link_room * sizeof *s->link_buckets);
	memset(s->classes, 0, s->class_room * sizeof *s->classes);
	diagram_clear(&s->diagram);
}

enum err
filter_state_open(struct filter_state **out, const struct filter *f)
{
	struct filter_state *s = calloc(1, sizeof *s);
	if (!s)
		return fail(ERR_NOMEM, "filter: no memory");
	s->filter = f;
	s->link_room = 64;
	s->class_room = 256;
	s->links = calloc(s->link_room, sizeof *s->links);
	s->link_buckets = calloc(2 * (size_t)s->link_room, sizeof *s->link_buckets);
	s->classes = calloc(s->class_room, sizeof *s->classes);
	enum err e = s->links && s->link_buckets && s->classes ? diagram_init(&s->diagram) : fail(ERR_NOMEM, "filter: no memory");
	if (e != OK) {
		filter_state_close(&s);
		return e;
	}
	*out = s;
	return OK;
}

void
filter_state_close(struct filter_state **s)
{
	if (!*s)
		return;
	diagram_fini(&(*s)->diagram);
	free((*s)->links);
	free((*s)->link_buckets);
	free((*s)->classes);
	free((*s)->link_of);
	free((*s)->near);
	free((*s)->nodes);
	free((*s)->conversation);
	free((*s)->row);
	free(*s);
	*s = NULL;
}

static enum err
reserve(void **p, uint32_t *room, uint32_t want, size_t each)
{
	if (want <= *room)
		return OK;
	void *more = malloc((size_t)want * each);
	if (!more)
		return fail(ERR_NOMEM, "filter: no memory for %u rows", want);
	free(*p);
	*p = more;
	*room = want;
	return OK;
}

static enum err
reserve_batch(struct filter_state *s, const struct batch *b)
{
	TRY(reserve((void **)&s->link_of, &s->link_of_room, b->link_count, sizeof *s->link_of));
	TRY(reserve((void **)&s->near, &s->near_room, b->ip4_count + b->ip6_count + 1, 1));
	TRY(reserve((void **)&s->row, &s->row_room, b->count, 1));
	if (b->conversations > s->conversation_room) {
		uint32_t room = s->conversation_room;
		TRY(reserve((void **)&s->nodes, &room, b->conversations, 2 * sizeof *s->nodes));
		TRY(reserve((void **)&s->conversation, &s->conversation_room, b->conversations, 1));
	}
	return OK;
}

/* --- classes --- */

static const struct program *
program_of_flow(const struct filter_state *s, const struct batch *b, uint32_t flow)
{
	return s->links[s->link_of[b->flows[flow].link]].program;
}

static uint64_t
hash_link(const struct link_class *c)
{
	uint64_t h = (uint64_t)c->linktype << 8 | c->len;
	for (uint32_t i = 0; i < c->used; i++)
		h = (h ^ c->bytes[i]) * 0x9e3779b97f4a7c15u;
	return h ^ h >> 32;
}

static enum err
grow_links(struct filter_state *s)
{
	uint32_t room = 2 * s->link_room;
	struct link_class *links = realloc(s->links, room * sizeof *links);
	if (!links)
		return fail(ERR_NOMEM, "filter: no memory for %u link headers", room);
	s->links = links;
	uint32_t *buckets = calloc(2 * (size_t)room, sizeof *buckets);
	if (!buckets)
		return fail(ERR_NOMEM, "filter: no memory for %u link headers", room);
	free(s->link_buckets);
	s->link_buckets = buckets;
	s->link_room = room;
	for (uint32_t i = 0; i < s->link_count; i++) {
		uint32_t at = (uint32_t)hash_link(&links[i]) & (2 * room - 1);
		while (buckets[at])
			at = (at + 1) & (2 * room - 1);
		buckets[at] = 1 + i;
	}
	return OK;
}

static enum err
classify_link(struct filter_state *s, const struct link *l, const struct program *p, uint32_t *out)
{
	struct link_class c; /* not cleared: bytes[] counts as far as used */
	c.program = p;
	c.linktype = l->linktype;
	c.len = l->len;
	c.used = 0;
	for (uint32_t i = 0; p && i < p->read_count && p->read[i] < l->len; i++)
		c.bytes[c.used++] = l->bytes[p->read[i]];
	uint32_t at = (uint32_t)hash_link(&c) & (2 * s->link_room - 1);
	for (; s->link_buckets[at]; at = (at + 1) & (2 * s->link_room - 1)) {
		const struct link_class *other = &s->links[s->link_buckets[at] - 1];
		if (other->linktype == c.linktype && other->len == c.len && memcmp(other->bytes, c.bytes, c.used) == 0) {
			*out = s->link_buckets[at] - 1;
			return OK;
		}
	}
	if (s->link_count == s->link_room) {
		TRY(grow_links(s));
		at = (uint32_t)hash_link(&c) & (2 * s->link_room - 1);
		while (s->link_buckets[at])
			at = (at + 1) & (2 * s->link_room - 1);
	}
	*out = s->link_count;
	s->links[s->link_count++] = c;
	s->link_buckets[at] = s->link_count;
	return OK;
}

/* *p is NULL when records of this link type do not match. */
static enum err
program_of_linktype(struct filter_state *s, uint16_t linktype, const struct program **p)
{
	enum err e = filter_program(s->filter, linktype, p);
	if (e != ERR_USAGE)
		return e;
	*p = NULL;
	snprintf(s->refused, sizeof s->refused, "%s", err_text());
	return OK;
}

/* Looks at all link types, as refusals are told of; links are classified when a flow asks. */
static enum err
begin_links(struct filter_state *s, const struct batch *b)
{
	const struct program *p;
	uint32_t linktype = UINT32_MAX;
	if (s->link_count > CLASSES_MAX || s->class_count > CLASSES_MAX || s->diagram.count > FILTER_NODES_MAX / 2)
		forget_classes(s);
	memset(s->link_of, 0xff, b->link_count * sizeof *s->link_of);
	for (uint32_t i = 0; i < b->link_count; i++) {
		if (b->links[i].linktype == linktype)
			continue;
		linktype = b->links[i].linktype;
		TRY(program_of_linktype(s, (uint16_t)linktype, &p));
	}
	return OK;
}

static enum err
need_link(struct filter_state *s, const struct batch *b, uint32_t link)
{
	const struct program *p;
	if (s->link_of[link] != NOT_CLASSIFIED)
		return OK;
	TRY(program_of_linktype(s, b->links[link].linktype, &p));
	return classify_link(s, &b->links[link], p, &s->link_of[link]);
}

static uint32_t
class_slot(const struct class_entry *classes, uint32_t room, uint64_t key)
{
	uint32_t at = (uint32_t)((key * 0x9e3779b97f4a7c15u) >> 40) & (room - 1);
	while (classes[at].key && classes[at].key != key)
		at = (at + 1) & (room - 1);
	return at;
}

static enum err
grow_classes(struct filter_state *s)
{
	uint32_t room = 2 * s->class_room;
	struct class_entry *more = calloc(room, sizeof *more);
	if (!more)
		return fail(ERR_NOMEM, "filter: no memory for %u kinds of flows", room);
	for (uint32_t i = 0; i < s->class_room; i++)
		if (s->classes[i].key)
			more[class_slot(more, room, s->classes[i].key)] = s->classes[i];
	free(s->classes);
	s->classes = more;
	s->class_room = room;
	return OK;
}

/* 1: so that a key is never 0 */
static inline uint64_t
class_key(const struct flow *f, uint32_t link_class)
{
	return 1 | (uint64_t)(f->net & 3) << 1 | (uint64_t)(f->transport & 7) << 3 | (uint64_t)f->proto << 8 |
	       (uint64_t)f->first_proto << 16 | (uint64_t)f->flags << 24 | (uint64_t)link_class << 32;
}

static enum err
class_node(struct filter_state *s, const struct batch *b, const struct flow *f, uint64_t key, uint32_t *out)
{
	uint32_t at = class_slot(s->classes, s->class_room, key);
	if (s->classes[at].key) {
		*out = s->classes[at].node;
		return OK;
	}
	if (2 * (s->class_count + 1) > s->class_room) {
		TRY(grow_classes(s));
		at = class_slot(s->classes, s->class_room, key);
	}
	const struct program *p = s->links[s->link_of[f->link]].program;
	uint32_t node = p ? program_fold(p, &s->diagram, &b->links[f->link], f) : LEAF_NO;
	s->classes[at] = (struct class_entry){ key, node };
	s->class_count++;
	*out = node;
	return OK;
}

/* --- networks --- */

/* The addresses first .. end of one family that are inside the net; both families are sorted. */
static void
mark_net(const struct batch *b, const struct filter_net *net, uint8_t *near)
{
	uint32_t n = net->family == 4 ? b->ip4_count : b->ip6_count;
	uint8_t first[16], last[16], address[16];
	filter_net_bounds(net->addr, net->bits, net->family == 4 ? 4 : 16, first, last);
	near += net->family == 4 ? 0 : b->ip4_count;
	uint32_t low = 0, high = n, bytes = net->family == 4 ? 4 : 16;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (net->family == 4)
			store_be32(address, b->ip4[middle]);
		if (memcmp(net->family == 4 ? address : b->ip6[middle], first, bytes) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < n; low++) {
		if (net->family == 4)
			store_be32(address, b->ip4[low]);
		if (memcmp(net->family == 4 ? address : b->ip6[low], last, bytes) > 0)
			break;
		near[low] = 1;
	}
}

/* Whether a conversation can be told from its addresses alone: a match has one in these networks, and what a block's address
 * tables promise of the block (they skip it) holds for a conversation of IP packets as well. */
static bool
mark_nets(struct filter_state *s, const struct batch *b)
{
	const struct filter_net *nets;
	uint32_t n;
	if (!filter_nets(s->filter, &nets, &n))
		return false;
	memset(s->near, 0, b->ip4_count + b->ip6_count);
	for (uint32_t i = 0; i < n; i++)
		mark_net(b, &nets[i], s->near);
	return true;
}

static inline bool
is_near(const struct filter_state *s, const struct batch *b, const struct flow *f)
{
	const uint8_t *near = s->near + (f->net == NET_IP4 ? 0 : b->ip4_count);
	return f->net == NET_RAW || near[f->src] || near[f->dst];
}

/* --- flows --- */

/* False when the two directions were captured on interfaces of different link types. */
static bool
one_program(const struct filter_state *s, const struct batch *b, uint32_t c)
{
	return program_of_flow(s, b, 2 * c) == program_of_flow(s, b, 2 * c + 1);
}

static bool
reads_length(const struct program *p)
{
	return p && p->reads_length;
}

/* What the tests that are left ask for. */
static unsigned
columns_for(const struct filter_state *s, const struct batch *b, uint32_t c, bool lone)
{
	const uint32_t *node = &s->nodes[2 * c];
	unsigned columns = s->diagram.nodes[node[0]].columns | s->diagram.nodes[node[1]].columns;
	if (node[0] != node[1] || (columns & BATCH_BYTES && !lone && !one_program(s, b, c)))
		columns |= BATCH_DIR;
	if (columns & BATCH_BYTES && (reads_length(program_of_flow(s, b, 2 * c)) || reads_length(program_of_flow(s, b, 2 * c + 1))))
		columns |= BATCH_WIRE_LEN;
	/* frames not understood have a chunk of their own: no need to read all others' bytes for them */
	if (columns & BATCH_BYTES && b->flows[2 * c].net == NET_RAW)
		columns = (columns & ~(unsigned)BATCH_BYTES) | BATCH_RAW;
	return columns;
}

enum err
filter_flows(struct filter_state *s, const struct batch *b, unsigned *need)
{
	TRY(reserve_batch(s, b));
	*need = 0;
	s->refused[0] = 0;
	if (s->filter->all) {
		memset(s->conversation, 1, b->conversations);
		return OK;
	}
	TRY(begin_links(s, b));
	bool by_address = mark_nets(s, b);
	uint64_t last_key = 0;
	uint32_t last_node = 0;
	unsigned wanted = 0;
	for (uint32_t c = 0; c < b->conversations; c++) {
		uint32_t node[2];
		if (by_address && !is_near(s, b, &b->flows[2 * c])) {
			s->conversation[c] = 0;
			continue;
		}
		TRY(need_link(s, b, b->flows[2 * c].link));
		TRY(need_link(s, b, b->flows[2 * c + 1].link));
		/* the first record of a conversation has the direction of its first flow: a lone one needs no second */
		bool lone = b->start[c + 1] - b->start[c] == 1;
		for (uint32_t way = 0; way < (lone ? 1 : 2); way++) {
			const struct flow *f = &b->flows[2 * c + way];
			uint64_t key = class_key(f, s->link_of[f->link]);
			if (key != last_key) {
				TRY(class_node(s, b, f, key, &last_node));
				last_key = key;
			}
			node[way] = last_node < LEAF_COUNT ? last_node : diagram_of_flow(&s->diagram, last_node, b, f);
		}
		if (lone)
			node[1] = node[0];
		s->nodes[2 * c] = node[0];
		s->nodes[2 * c + 1] = node[1];
		bool decided = node[0] == node[1] && node[0] <= LEAF_YES;
		s->conversation[c] = decided ? (uint8_t)node[0] : 2;
		if (!decided)
			wanted |= columns_for(s, b, c, lone);
	}
	*need = wanted;
	return OK;
}

/* --- rows --- */

static uint32_t
row_value(const struct batch *b, uint8_t column, uint32_t row)
{
	switch (column) {
	case COLUMN_WIRE_LEN:
		return b->wire_len[row];
	case COLUMN_TCP_FLAGS:
		return b->tcp_flags[row];
	case COLUMN_TOS:
		return b->tos[row];
	case COLUMN_TTL:
		return b->ttl[row];
	case COLUMN_IP_LEN:
		return b->ip_len[row];
	case COLUMN_IP_ID:
		return b->ip_id[row];
	case COLUMN_IP_FRAG:
		return b->ip_frag[row];
	case COLUMN_TCP_SEQ:
		return b->tcp_seq[row];
	case COLUMN_TCP_ACK:
		return b->tcp_ack[row];
	default:
		return b->tcp_win[row];
	}
}

/* The program itself on one row's bytes. */
static uint8_t
row_bytes(struct filter_state *s, const struct batch *b, uint32_t row, const struct program *p)
{
	const uint8_t *bytes;
	uint32_t n;
	if (s->failed != OK)
		return 0;
	s->bytes_rows++;
	s->failed = batch_bytes(b, row, &bytes, &n);
	return s->failed == OK && bpf_match(p->bpf, bytes, p->reads_length ? b->wire_len[row] : n, n);
}

static uint8_t
row_answer(struct filter_state *s, const struct batch *b, uint32_t row, uint32_t node, const struct program *p)
{
	while (node >= LEAF_COUNT) {
		const struct node *n = &s->diagram.nodes[node];
		node = test_holds(&n->test, row_value(b, n->test.column, row)) ? n->yes : n->no;
	}
	return node == LEAF_BYTES ? row_bytes(s, b, row, p) : (uint8_t)node;
}

/* One test over rows first .. end of a column of 1, 2 or 4 bytes; out gets 0 or 1. The compiler makes vector code of it. */
static inline __attribute__((always_inline)) void
scan_rows(const void *column, const uint32_t width, const struct test *t, uint8_t flip, uint32_t first, uint32_t end,
          uint8_t *out)
{
	const uint32_t shift = t->shift, mask = t->mask, add = t->add, value = t->value;
	const uint8_t *v8 = column;
	const uint16_t *v16 = column;
	const uint32_t *v32 = column;
	for (uint32_t i = first; i < end; i++) {
		uint32_t v = width == 1 ? v8[i] : width == 2 ? v16[i] : v32[i];
		v = ((v >> shift) & mask) + add;
		bool holds = t->compare == COMPARE_EQ ? v == value : t->compare == COMPARE_GT ? v > value : v >= value;
		out[i] = (uint8_t)(holds ^ flip);
	}
}

static void
scan_column(const struct batch *b, const struct test *t, uint8_t flip, uint32_t first, uint32_t end, uint8_t *out)
{
	switch (t->column) {
	case COLUMN_WIRE_LEN:
		scan_rows(b->wire_len, 4, t, flip, first, end, out);
		return;
	case COLUMN_TCP_FLAGS:
		scan_rows(b->tcp_flags, 1, t, flip, first, end, out);
		return;
	case COLUMN_TOS:
		scan_rows(b->tos, 1, t, flip, first, end, out);
		return;
	case COLUMN_TTL:
		scan_rows(b->ttl, 1, t, flip, first, end, out);
		return;
	case COLUMN_IP_LEN:
		scan_rows(b->ip_len, 4, t, flip, first, end, out);
		return;
	case COLUMN_IP_ID:
		scan_rows(b->ip_id, 2, t, flip, first, end, out);
		return;
	case COLUMN_IP_FRAG:
		scan_rows(b->ip_frag, 2, t, flip, first, end, out);
		return;
	case COLUMN_TCP_SEQ:
		scan_rows(b->tcp_seq, 4, t, flip, first, end, out);
		return;
	case COLUMN_TCP_ACK:
		scan_rows(b->tcp_ack, 4, t, flip, first, end, out);
		return;
	default:
		scan_rows(b->tcp_win, 2, t, flip, first, end, out);
		return;
	}
}

/* Rows first .. end that have the same tests left. */
static void
select_rows(struct filter_state *s, const struct batch *b, uint32_t node, const struct program *p, uint32_t first, uint32_t end)
{
	if (node == LEAF_BYTES) {
		for (uint32_t i = first; i < end; i++)
			s->row[i] = row_bytes(s, b, i, p);
		return;
	}
	if (node < LEAF_COUNT) {
		memset(s->row + first, (int)node, end - first);
		return;
	}
	const struct node *n = &s->diagram.nodes[node];
	if (n->yes <= LEAF_YES && n->no <= LEAF_YES) {
		scan_column(b, &n->test, n->yes == LEAF_NO, first, end, s->row);
		return;
	}
	for (uint32_t i = first; i < end; i++)
		s->row[i] = row_answer(s, b, i, node, p);
}

/* The rows of one conversation whose directions have different tests left. */
static void
select_by_direction(struct filter_state *s, const struct batch *b, uint32_t c)
{
	const uint32_t *node = &s->nodes[2 * c];
	const struct program *p[2] = { program_of_flow(s, b, 2 * c), program_of_flow(s, b, 2 * c + 1) };
	for (uint32_t i = b->start[c]; i < b->start[c + 1]; i++)
		s->row[i] = row_answer(s, b, i, node[b->dir[i]], p[b->dir[i]]);
}

/* Whether all rows of conversation c have just these tests left, to be run with this program. */
static bool
asks_the_same(const struct filter_state *s, const struct batch *b, uint32_t c, uint32_t node, const struct program *p)
{
	if (s->conversation[c] != 2 || s->nodes[2 * c] != node || s->nodes[2 * c + 1] != node)
		return false;
	if (!(s->diagram.nodes[node].columns & BATCH_BYTES))
		return true;
	bool lone = b->start[c + 1] - b->start[c] == 1;
	return program_of_flow(s, b, 2 * c) == p && (lone || program_of_flow(s, b, 2 * c + 1) == p);
}

enum err
filter_rows(struct filter_state *s, const struct batch *b)
{
	s->failed = OK;
	for (uint32_t c = 0; c < b->conversations && s->failed == OK;) {
		uint32_t node = s->nodes[2 * c], first = c++;
		if (s->conversation[first] != 2)
			continue;
		const struct program *p = program_of_flow(s, b, 2 * first);
		if (!asks_the_same(s, b, first, node, p)) {
			select_by_direction(s, b, first);
			continue;
		}
		/* conversations beside each other that ask the same are one stretch */
		while (c < b->conversations && asks_the_same(s, b, c, node, p))
			c++;
		select_rows(s, b, node, p, b->start[first], b->start[c]);
	}
	return s->failed;
}

struct selection
filter_selection(const struct filter_state *s)
{
	return (struct selection){ s->conversation, s->row };
}

uint64_t
filter_state_bytes(const struct filter_state *s)
{
	return s->bytes_rows;
}

const char *
filter_refused(const struct filter_state *s)
{
	return s->refused[0] ? s->refused : NULL;
}
