#include "archive/segment_terms.h"

#include <stdlib.h>

enum err
segment_terms_init(struct segment_terms *t)
{
	*t = (struct segment_terms){ .scratch = malloc(2 * BLOCK_RECORDS_MAX * sizeof *t->scratch) };
	return t->scratch ? OK : fail(ERR_NOMEM, "out of memory");
}

void
segment_terms_fini(struct segment_terms *t)
{
	for (unsigned i = 0; i < TABLE_COUNT; i++)
		postings_fini(&t->tables[i]);
	free(t->scratch);
	t->scratch = NULL;
}

enum err
segment_terms_add(struct segment_terms *t, const struct block *b, uint32_t number)
{
	struct posting *v = t->scratch;
	uint64_t bit = (uint64_t)1 << number;
	for (uint32_t i = 0; i < b->ip4_count; i++)
		v[i] = (struct posting){ 0, b->ip4[i], bit };
	TRY(postings_merge(&t->tables[TABLE_IP4], v, b->ip4_count));
	for (uint32_t i = 0; i < b->ip6_count; i++)
		v[i] = posting_of_ip6(b->ip6[i], bit);
	TRY(postings_merge(&t->tables[TABLE_IP6], v, b->ip6_count));
	for (uint32_t i = 0; i < b->port_count; i++)
		v[i] = (struct posting){ 0, b->ports[i], bit };
	TRY(postings_merge(&t->tables[TABLE_PORT], v, b->port_count));
	for (uint32_t i = 0; i < b->proto_count; i++)
		v[i] = (struct posting){ 0, b->protos[i], bit };
	TRY(postings_merge(&t->tables[TABLE_PROTO], v, b->proto_count));
	t->opaque |= b->opaque ? bit : 0;
	return OK;
}
