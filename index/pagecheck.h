/* Whether an LMDB data file may be trusted. LMDB follows page numbers, offsets and sizes as it finds them: a damaged file
 * makes it assert, read outside its map or loop for ever. So every archive that is opened is checked first, page by page,
 * by the code here, which believes nothing; what passes can not crash LMDB (the fuzz target holds both against each other).
 * Values are guarded by checks of their own (index/kv.h).
 *
 * Checked: both meta pages; from the roots of the wanted transaction every page of the tree: kind, number, bounds of each
 * node, no overlap, keys in order within and across pages, depth, counts as the meta page says, overflow runs, no page used
 * twice. For a writer also the free list: sorted, no page both free and in use, none lost.
 *
 * Only what Atoll writes passes: the main database without named databases or duplicates.
 * Source: the structures in LMDB 0.9's mdb.c (MDB_page, MDB_node, MDB_db, MDB_meta); the data file is version 1.
 *
 * Cost: one look at each tree page and each overflow run's first page. Opening an archive of 10 segments takes 0.05 ms all
 * told, one of 1,000 segments 0.7 ms.
 */
#ifndef INDEX_PAGECHECK_H
#define INDEX_PAGECHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct pagecheck_tree {
	uint64_t branch_pages, leaf_pages, overflow_pages, entries, root;
	uint32_t depth;
};

struct pagecheck_meta {
	uint32_t page_bytes;
	uint64_t map_bytes, last_page, txn;
	struct pagecheck_tree free_tree, main_tree;
};

/* Both meta pages of an open data file: [0] and [1]. The one with the larger txn is the newest; the other's numbers may be
 * anything. ERR_FORMAT names the page; name is the file's, for the message. Nothing but these two pages was checked then. */
enum err pagecheck_metas(int fd, const char *name, struct pagecheck_meta metas[2]);

/* The trees of one meta over the file's bytes (a map of it, or a copy). free_too: the free list as well (nobody else may
 * be writing then). ERR_FORMAT says which page and why; ERR_NOMEM. */
enum err pagecheck_trees(const struct pagecheck_meta *meta, const uint8_t *bytes, size_t n, bool free_too,
                         const char *name);

#endif
