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
void     store_stop(struct store *s);
/* The next number of a segment or landing file. */
uint64_t store_next_id(struct store *s);
/* As store_segment_commit(), with these lines in the same change. Frees *g and the list. */
enum err store_segment_commit_change(struct store *s, struct store_segment **g, struct change *c);
/* The segment is removed by a limit: a tombstone says so. */
enum err store_retire(struct store *s, const struct segment_row *row);

/* What receives from monitors (index/reception.h), NULL until it is needed; closed with the store. */
struct reception;
struct reception **store_reception(struct store *s);
void     reception_close(struct reception **r);

#endif
