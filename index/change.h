/* For the files that make the store (store.c, monitors.c, ...): one change of the archive, that is, lines of the manifest, made
 * durable, then the same rows in the catalogue. */
#ifndef INDEX_CHANGE_H
#define INDEX_CHANGE_H

#include "index/store.h"

struct change {
	struct manifest_line *v;
	size_t                count, room;
	uint64_t              filter_of; /* segment, 0: no filter */
	const uint8_t        *filter;
	size_t                filter_bytes;
	uint64_t              end, sequence;
};

enum err change_add(struct change *c, enum row_kind kind, const void *row, size_t row_bytes);
#define CHANGE_ADD(c, KIND, row) change_add(c, ROW_KIND_##KIND, row, sizeof *(row))

/* Frees the change's list. Any failure after the manifest was touched stops the store. */
enum err change_commit(struct store *s, struct change *c);
/* ERR_IO: the store stopped after an earlier failure. */
enum err store_running(const struct store *s);

#endif
