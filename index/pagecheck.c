#include "index/pagecheck.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/io.h"

/* mdb.c, LMDB 0.9 */
#define PAGE_HEADER_BYTES 16u
#define NODE_HEADER_BYTES 8u
#define META_BYTES        136u
#define META_MAGIC        0xBEEFC0DEu
#define META_VERSION      1u
#define P_BRANCH          0x01u
#define P_LEAF            0x02u
#define P_OVERFLOW        0x04u
#define P_META            0x08u
#define NODE_BIG          0x01u /* F_BIGDATA */
#define FREE_FLAGS        0x08u /* MDB_INTEGERKEY */
#define NO_ROOT           UINT64_MAX
#define KEY_BYTES_MAX     511u
#define DEPTH_MAX         32u   /* CURSOR_STACK */
#define PAGE_BYTES_MIN    4096u /* the smallest page of a machine that runs this */
#define PAGE_BYTES_MAX    65536u
#define FILE_BYTES_MAX    (1ull << 40) /* far more than any catalogue; bounds the bitmap of pages */

struct walk {
	const uint8_t *bytes;
	uint64_t       file_pages, last_page, txn;
	uint32_t       page_bytes;
	uint64_t      *seen; /* one bit per page, 0..last_page */
	const char    *name;
	/* of the tree being walked */
	bool           free_tree;
	struct pagecheck_tree want, have;
	const uint8_t *last_key, *least_key; /* the key before, and what the next must reach (NULL: none) */
	size_t         last_key_bytes, least_key_bytes;
};

static enum err
damaged(const struct walk *w, uint64_t page, const char *why)
{
	return fail(ERR_FORMAT, "%s: index damaged (page %" PRIu64 ": %s): run atoll rebuild", w->name, page, why);
}

/* --- meta pages --- */

static struct pagecheck_tree
tree_read(struct reader *r, uint32_t *pad, uint16_t *flags)
{
	struct pagecheck_tree t;
	*pad = reader_le32(r);
	*flags = reader_le16(r);
	t.depth = reader_le16(r);
	t.branch_pages = reader_le64(r);
	t.leaf_pages = reader_le64(r);
	t.overflow_pages = reader_le64(r);
	t.entries = reader_le64(r);
	t.root = reader_le64(r);
	return t;
}

static bool
tree_is_sane(const struct pagecheck_tree *t, uint64_t last_page)
{
	if (t->root == NO_ROOT)
		return t->depth == 0 && t->entries == 0 && t->branch_pages == 0 && t->leaf_pages == 0 &&
		       t->overflow_pages == 0;
	return t->root >= 2 && t->root <= last_page && t->depth >= 1 && t->depth <= DEPTH_MAX;
}

static bool
meta_decode(const uint8_t *page, uint64_t number, struct pagecheck_meta *m)
{
	struct reader r = reader_of(page, PAGE_HEADER_BYTES + META_BYTES);
	uint64_t page_number = reader_le64(&r);
	(void)reader_le16(&r);
	uint16_t page_flags = reader_le16(&r);
	(void)reader_le32(&r);
	uint32_t magic = reader_le32(&r), version = reader_le32(&r), main_pad;
	(void)reader_le64(&r); /* the address of a fixed map: unused */
	uint16_t free_flags, main_flags;
	m->map_bytes = reader_le64(&r);
	m->free_tree = tree_read(&r, &m->page_bytes, &free_flags);
	m->main_tree = tree_read(&r, &main_pad, &main_flags);
	m->last_page = reader_le64(&r);
	m->txn = reader_le64(&r);
	if (!reader_ok(&r) || page_number != number || page_flags != P_META || magic != META_MAGIC ||
	    version != META_VERSION)
		return false;
	if (m->page_bytes < PAGE_BYTES_MIN || m->page_bytes > PAGE_BYTES_MAX || (m->page_bytes & (m->page_bytes - 1)))
		return false;
	return free_flags == FREE_FLAGS && main_flags == 0 && main_pad == 0;
}

static bool
meta_is_sane(const struct pagecheck_meta *m)
{
	return m->map_bytes <= FILE_BYTES_MAX && m->last_page >= 1 && m->last_page < FILE_BYTES_MAX / m->page_bytes &&
	       tree_is_sane(&m->free_tree, m->last_page) && tree_is_sane(&m->main_tree, m->last_page);
}

enum err
pagecheck_metas(int fd, const char *name, struct pagecheck_meta metas[2])
{
	uint8_t page[PAGE_HEADER_BYTES + META_BYTES];
	struct pagecheck_meta m[2];
	memset(m, 0, sizeof m);
	uint64_t at = 0;
	for (unsigned i = 0; i < 2; i++) {
		enum err e = io_pread(fd, page, sizeof page, at, name);
		if (e == ERR_FORMAT)
			return fail(e, "%s: index damaged (file too short): run atoll rebuild", name);
		if (e != OK)
			return e;
		if (!meta_decode(page, i, &m[i]) || m[i].page_bytes != m[0].page_bytes)
			return fail(ERR_FORMAT, "%s: index damaged (meta page %u): run atoll rebuild", name, i);
		at = m[0].page_bytes;
	}
	/* LMDB writes them in turn: the transaction number says which page it stands on, and the other one's is the one
	 * before (both are 0 in a new file) */
	unsigned newest = m[1].txn > m[0].txn;
	bool in_turn = m[newest].txn == 0 || ((m[newest].txn & 1) == newest && m[!newest].txn == m[newest].txn - 1);
	/* the older one may hold anything else: LMDB puts it half back when writing it failed */
	if (!in_turn || !meta_is_sane(&m[newest]))
		return fail(ERR_FORMAT, "%s: index damaged (meta page %u): run atoll rebuild", name, newest);
	memcpy(metas, m, sizeof m);
	return OK;
}

/* --- trees --- */

/* Marks pages as used; each may be so once. */
static enum err
claim(struct walk *w, uint64_t page, uint64_t count)
{
	if (page < 2 || page > w->last_page || count > w->last_page - page + 1)
		return damaged(w, page, "outside the file");
	for (uint64_t p = page; p < page + count; p++) {
		uint64_t bit = 1ull << (p & 63);
		if (w->seen[p >> 6] & bit)
			return damaged(w, p, "used twice");
		w->seen[p >> 6] |= bit;
	}
	return OK;
}

/* Claims pages that must be there to be read. */
static enum err
page_view(struct walk *w, uint64_t page, uint64_t count, const uint8_t **out)
{
	if (page >= w->file_pages || count > w->file_pages - page)
		return damaged(w, page, "behind the end of the file");
	TRY(claim(w, page, count));
	*out = w->bytes + page * w->page_bytes;
	return load_le64(*out) == page ? OK : damaged(w, page, "carries another number");
}

static int
key_compare(const struct walk *w, const uint8_t *a, size_t a_bytes, const uint8_t *b, size_t b_bytes)
{
	if (w->free_tree) { /* eight bytes each, checked before */
		uint64_t x = load_le64(a), y = load_le64(b);
		return x < y ? -1 : x > y;
	}
	int r = memcmp(a, b, a_bytes < b_bytes ? a_bytes : b_bytes);
	return r ? r : a_bytes < b_bytes ? -1 : a_bytes > b_bytes;
}

struct node {
	const uint8_t *key, *value; /* value: what lies in the page */
	uint32_t       key_bytes, flags;
	uint64_t       value_bytes, child; /* value_bytes as declared: more than what lies in the page when NODE_BIG */
};

static uint32_t
node_count(const uint8_t *page)
{
	return (load_le16(page + 12) - PAGE_HEADER_BYTES) / 2u;
}

static uint16_t
node_at(const uint8_t *page, uint32_t i)
{
	return load_le16(page + PAGE_HEADER_BYTES + 2 * (size_t)i);
}

/* The size a node takes, 0 when it does not fit. */
static uint32_t
node_read(const struct walk *w, const uint8_t *page, bool leaf, uint32_t i, struct node *n)
{
	uint32_t at = node_at(page, i), upper = load_le16(page + 14);
	if (at < upper || (at & 1) || at > w->page_bytes - NODE_HEADER_BYTES)
		return 0;
	const uint8_t *p = page + at;
	uint32_t room = w->page_bytes - at - NODE_HEADER_BYTES;
	uint32_t low = load_le32(p);
	n->flags = load_le16(p + 4);
	n->key_bytes = load_le16(p + 6);
	n->key = p + NODE_HEADER_BYTES;
	n->value = n->key + n->key_bytes;
	n->child = low | (uint64_t)n->flags << 32;
	n->value_bytes = leaf ? low : 0;
	uint64_t inside = !leaf ? 0 : n->flags & NODE_BIG ? 8 : low;
	if (n->key_bytes > room || inside > room - n->key_bytes)
		return 0;
	uint32_t taken = NODE_HEADER_BYTES + n->key_bytes + (uint32_t)inside;
	return (taken + 1) & ~1u;
}

/* Nodes lie side by side from upper to the page's end, in any order. */
static enum err
nodes_check(const struct walk *w, const uint8_t *page, uint64_t number, bool leaf)
{
	uint32_t lower = load_le16(page + 12), upper = load_le16(page + 14);
	if (lower < PAGE_HEADER_BYTES || (lower & 1) || lower > upper || upper > w->page_bytes)
		return damaged(w, number, "bounds");
	uint64_t covered[PAGE_BYTES_MAX / 2 / 64];
	memset(covered, 0, w->page_bytes / 16);
	uint32_t total = 0;
	for (uint32_t i = 0; i < node_count(page); i++) {
		struct node n;
		uint32_t taken = node_read(w, page, leaf, i, &n), at = node_at(page, i);
		if (taken == 0 || taken > w->page_bytes - at)
			return damaged(w, number, "a node outside the page");
		for (uint32_t half = at / 2; half < (at + taken) / 2; half++) {
			if (covered[half >> 6] >> (half & 63) & 1)
				return damaged(w, number, "nodes overlap");
			covered[half >> 6] |= 1ull << (half & 63);
		}
		total += taken;
	}
	return total == w->page_bytes - upper ? OK : damaged(w, number, "room lost between nodes");
}

static enum err
free_list_check(struct walk *w, uint64_t number, const struct node *n, const uint8_t *value)
{
	uint64_t txn = load_le64(n->key);
	if (txn == 0 || txn > w->txn || n->value_bytes < 8 || n->value_bytes % 8)
		return damaged(w, number, "free list entry");
	uint64_t count = load_le64(value), before = UINT64_MAX;
	if (count > n->value_bytes / 8 - 1)
		return damaged(w, number, "free list length");
	for (uint64_t i = 1; i <= count; i++) {
		uint64_t page = load_le64(value + 8 * i);
		if (page >= before)
			return damaged(w, number, "free list order");
		TRY(claim(w, page, 1));
		before = page;
	}
	return OK;
}

static enum err
leaf_node_check(struct walk *w, uint64_t number, const struct node *n)
{
	if (n->key_bytes == 0 || n->key_bytes > KEY_BYTES_MAX || (w->free_tree && n->key_bytes != 8) ||
	    (n->flags & ~NODE_BIG))
		return damaged(w, number, "node of a kind not used here");
	if (w->last_key && key_compare(w, w->last_key, w->last_key_bytes, n->key, n->key_bytes) >= 0)
		return damaged(w, number, "keys out of order");
	if (w->least_key && key_compare(w, w->least_key, w->least_key_bytes, n->key, n->key_bytes) > 0)
		return damaged(w, number, "key before its branch");
	w->last_key = n->key;
	w->last_key_bytes = n->key_bytes;
	w->least_key = NULL;
	w->have.entries++;
	const uint8_t *value = n->value;
	if (n->flags & NODE_BIG) {
		uint64_t first = load_le64(n->value);
		uint64_t needed = (PAGE_HEADER_BYTES - 1 + n->value_bytes) / w->page_bytes + 1;
		const uint8_t *page;
		if (first >= w->file_pages)
			return damaged(w, first, "behind the end of the file");
		uint64_t pages = load_le32(w->bytes + first * w->page_bytes + 12);
		if (pages < needed)
			return damaged(w, first, "overflow run too short");
		TRY(page_view(w, first, pages, &page));
		if (load_le16(page + 10) != P_OVERFLOW)
			return damaged(w, first, "not an overflow page");
		w->have.overflow_pages += pages;
		value = page + PAGE_HEADER_BYTES;
	}
	return w->free_tree ? free_list_check(w, number, n, value) : OK;
}

static enum err
page_walk(struct walk *w, uint64_t number, uint32_t level)
{
	const uint8_t *page;
	TRY(page_view(w, number, 1, &page));
	bool leaf = level == w->want.depth;
	if (load_le16(page + 10) != (leaf ? P_LEAF : P_BRANCH))
		return damaged(w, number, "not the kind of page expected");
	TRY(nodes_check(w, page, number, leaf));
	uint32_t count = node_count(page);
	/* LMDB asserts two children but in the free tree, where it leaves one while it rebalances */
	if (count < (leaf || w->free_tree ? 1u : 2u))
		return damaged(w, number, "too few nodes");
	if (leaf)
		w->have.leaf_pages++;
	else
		w->have.branch_pages++;
	for (uint32_t i = 0; i < count; i++) {
		struct node n;
		(void)node_read(w, page, leaf, i, &n);
		if (leaf) {
			TRY(leaf_node_check(w, number, &n));
			continue;
		}
		if (i > 0) { /* the first key of a branch page is not looked at */
			if (n.key_bytes == 0 || n.key_bytes > KEY_BYTES_MAX || (w->free_tree && n.key_bytes != 8) ||
			    (w->last_key && key_compare(w, w->last_key, w->last_key_bytes, n.key, n.key_bytes) >= 0))
				return damaged(w, number, "branch key out of order");
			w->least_key = n.key;
			w->least_key_bytes = n.key_bytes;
		}
		TRY(page_walk(w, n.child, level + 1));
	}
	return OK;
}

static enum err
tree_walk(struct walk *w, const struct pagecheck_tree *t, bool free_tree)
{
	w->free_tree = free_tree;
	w->want = *t;
	w->have = (struct pagecheck_tree){ .root = t->root, .depth = t->depth };
	w->last_key = w->least_key = NULL;
	if (t->root != NO_ROOT)
		TRY(page_walk(w, t->root, 1));
	const struct pagecheck_tree *have = &w->have;
	if (have->entries != t->entries || have->leaf_pages != t->leaf_pages || have->branch_pages != t->branch_pages ||
	    have->overflow_pages != t->overflow_pages)
		return damaged(w, t->root, "the tree is not as its meta page counts it");
	return OK;
}

/* After both trees and the free list every page is known, once. */
static enum err
all_seen(const struct walk *w)
{
	for (uint64_t p = 2; p <= w->last_page; p++)
		if (!(w->seen[p >> 6] >> (p & 63) & 1))
			return damaged(w, p, "neither used nor free");
	return OK;
}

enum err
pagecheck_trees(const struct pagecheck_meta *meta, const uint8_t *bytes, size_t n, bool free_too, const char *name)
{
	struct walk w = {
		.bytes = bytes,
		.file_pages = n / meta->page_bytes,
		.last_page = meta->last_page,
		.txn = meta->txn,
		.page_bytes = meta->page_bytes,
		.name = name,
	};
	if (!meta_is_sane(meta))
		return fail(ERR_FORMAT, "%s: index damaged (meta page): run atoll rebuild", name);
	w.seen = calloc(meta->last_page / 64 + 1, sizeof *w.seen);
	if (w.seen == NULL)
		return fail(ERR_NOMEM, "%s: no memory to check %" PRIu64 " pages", name, meta->last_page);
	enum err e = tree_walk(&w, &meta->main_tree, false);
	if (e == OK && free_too)
		e = tree_walk(&w, &meta->free_tree, true);
	if (e == OK && free_too)
		e = all_seen(&w);
	free(w.seen);
	return e;
}
