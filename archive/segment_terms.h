/* The tables of a segment while they are made from the terms of its blocks: by who writes it, and by who checks it. */
#ifndef ARCHIVE_SEGMENT_TERMS_H
#define ARCHIVE_SEGMENT_TERMS_H

#include "archive/block.h"
#include "archive/postings.h"
#include "archive/segment_format.h"

struct segment_terms {
	struct postings tables[TABLE_COUNT];
	uint64_t        opaque;  /* blocks with records that may hold addresses that are not listed, one bit each */
	struct posting *scratch; /* for one block's keys */
};

enum err segment_terms_init(struct segment_terms *t); /* ERR_NOMEM */
void     segment_terms_fini(struct segment_terms *t);
/* number: of the block in the segment. ERR_NOMEM. */
enum err segment_terms_add(struct segment_terms *t, const struct block *b, uint32_t number);

#endif
