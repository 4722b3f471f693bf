/* What a filter implies for the index: the set of blocks that can hold a match, and networks one of which every match has
 * an address in. Each is a superset: what is not understood is "all". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "base/text.h"
#include "query/filter_parts.h"

void
filter_net_bounds(const uint8_t *addr, unsigned bits, unsigned bytes, uint8_t *first, uint8_t *last)
{
	for (unsigned i = 0; i < bytes; i++) {
		unsigned kept = bits <= i * 8 ? 0 : bits - i * 8 >= 8 ? 8 : bits - i * 8;
		uint8_t mask = (uint8_t)(0xff00 >> kept);
		first[i] = addr[i] & mask;
		last[i] = first[i] | (uint8_t)~mask;
	}
}

static enum err
leaf_blocks(const struct term *n, struct segment *s, uint64_t all, uint64_t *out)
{
	uint64_t blocks = all, found;
	uint8_t first[16], last[16];
	if (n->family)
		filter_net_bounds(n->addr, n->bits, n->family == 4 ? 4 : 16, first, last);
	if (n->family == 4) {
		TRY(segment_find_ip4(s, load_be32(first), load_be32(last), &found));
		blocks &= found;
	} else if (n->family == 6) {
		TRY(segment_find_ip6(s, first, last, &found));
		blocks &= found;
	}
	if (n->has_port && blocks) {
		TRY(segment_find_port(s, n->first_port, n->last_port, &found));
		blocks &= found;
	}
	if (n->proto >= 0 && blocks) {
		TRY(segment_find_proto(s, (uint8_t)n->proto, &found));
		blocks &= found;
	}
	*out = blocks;
	return OK;
}

static enum err
term_blocks(const struct filter_tree *t, int32_t i, bool lost, struct segment *s, uint64_t all, uint64_t *out)
{
	const struct term *n = &t->terms[i];
	uint64_t left, right;
	if (lost || n->kind == TERM_NOT) {
		*out = all;
		return OK;
	}
	if (n->kind == TERM_LEAF)
		return leaf_blocks(n, s, all, out);
	TRY(term_blocks(t, n->left, false, s, all, &left));
	if (n->kind == TERM_AND && left == 0) {
		*out = 0;
		return OK;
	}
	TRY(term_blocks(t, n->right, n->lost_right, s, all, &right));
	*out = n->kind == TERM_AND ? left & right : left | right;
	return OK;
}

enum err
filter_blocks(const struct filter *f, struct segment *s, uint64_t *blocks)
{
	uint32_t count = segment_totals_of(s)->blocks;
	uint64_t all = count >= 64 ? UINT64_MAX : (1ull << count) - 1, found = all;
	if (f->indexed)
		TRY(term_blocks(&f->tree, f->tree.root, false, s, all, &found));
	*blocks = found;
	return OK;
}

/* The terms whose networks together are required, as a list of leaves; count 0: nothing is required. */
struct needed {
	int32_t *leaves;
	uint32_t count;
};

/* Appends to list; returns how many, 0 when nothing is required. On 0 the list is as it was. */
static uint32_t
term_nets(const struct filter_tree *t, int32_t i, bool lost, struct needed *list)
{
	const struct term *n = &t->terms[i];
	uint32_t start = list->count;
	if (lost || n->kind == TERM_NOT)
		return 0;
	if (n->kind == TERM_LEAF) {
		if (!n->family || n->bits == 0 || list->count >= FILTER_NETS_MAX)
			return 0;
		list->leaves[list->count++] = i;
		return 1;
	}
	uint32_t left = term_nets(t, n->left, false, list);
	if (n->kind == TERM_OR && left == 0)
		return 0;
	uint32_t right = term_nets(t, n->right, n->lost_right, list);
	if (n->kind == TERM_OR && right == 0) {
		list->count = start;
		return 0;
	}
	if (n->kind == TERM_AND && left && right) {
		/* either would do: the one with fewer networks, then with the longer prefix */
		const struct term *a = &t->terms[list->leaves[start]], *b = &t->terms[list->leaves[start + left]];
		bool second = right < left || (right == left && b->bits > a->bits);
		if (second)
			memmove(&list->leaves[start], &list->leaves[start + left], right * sizeof *list->leaves);
		list->count = start + (second ? right : left);
	}
	return list->count - start;
}

enum err
filter_find_nets(const struct filter *f, struct filter_net_set *out)
{
	if (!f->indexed)
		return OK;
	struct needed list = { calloc(FILTER_NETS_MAX, sizeof *list.leaves), 0 };
	if (!list.leaves)
		return fail(ERR_NOMEM, "filter: no memory for its networks");
	uint32_t count = term_nets(&f->tree, f->tree.root, false, &list);
	out->v = count ? calloc(count, sizeof *out->v) : NULL;
	if (count && !out->v) {
		free(list.leaves);
		return fail(ERR_NOMEM, "filter: no memory for its networks");
	}
	for (uint32_t i = 0; i < count; i++) {
		const struct term *n = &f->tree.terms[list.leaves[i]];
		out->v[i].family = n->family;
		out->v[i].bits = n->bits;
		memcpy(out->v[i].addr, n->addr, sizeof n->addr);
	}
	out->count = count;
	out->known = count > 0;
	free(list.leaves);
	return OK;
}

void
filter_see_through(struct filter *f, const struct view *view)
{
	for (uint32_t i = 0; i < f->tree.count; i++) {
		struct term *n = &f->tree.terms[i];
		if (n->kind != TERM_LEAF)
			continue;
		if (n->family && !view_unmap(view, n->family, n->addr, &n->bits))
			n->family = 0;
		n->has_port = n->has_port && view_unmap_ports(view, &n->first_port, &n->last_port);
	}
}

static bool
net_set(const struct filter_net_set *set, const struct filter_net **nets, uint32_t *count)
{
	*nets = set->v;
	*count = set->count;
	return set->known;
}

bool
filter_nets(const struct filter *f, const struct filter_net **nets, uint32_t *count)
{
	return net_set(&f->nets, nets, count);
}

bool
filter_index_nets(const struct filter *f, const struct filter_net **nets, uint32_t *count)
{
	return net_set(&f->index_nets, nets, count);
}

/* Whether this part asks the index for anything; writes it when out is not NULL. */
static bool
write_term(const struct filter_tree *t, int32_t i, bool lost, FILE *out)
{
	const struct term *n = &t->terms[i];
	if (lost || n->kind == TERM_NOT)
		return false;
	if (n->kind == TERM_LEAF) {
		bool asks = n->family || n->has_port || n->proto >= 0;
		if (asks && out)
			fprintf(out, "%.*s", (int)n->say_len, t->text + n->say);
		return asks;
	}
	bool left = write_term(t, n->left, false, NULL), right = write_term(t, n->right, n->lost_right, NULL);
	if (n->kind == TERM_OR && !(left && right))
		return false;
	if (!out)
		return left || right;
	if (left && right)
		fputc('(', out);
	if (left)
		write_term(t, n->left, false, out);
	if (left && right)
		fputs(n->kind == TERM_AND ? " and " : " or ", out);
	if (right)
		write_term(t, n->right, n->lost_right, out);
	if (left && right)
		fputc(')', out);
	return left || right;
}

enum err
filter_index_text(const struct filter *f, char **out)
{
	struct text t;
	enum err e = ERR_LIMIT;
	for (size_t most = FILTER_TREE_TEXT_BYTES; e == ERR_LIMIT && most <= FILTER_TREE_TEXT_BYTES_MAX; most *= 8) {
		TRY(text_open(&t, most));
		if (f->indexed)
			write_term(&f->tree, f->tree.root, false, t.to);
		e = text_close(&t, out);
	}
	return e;
}
