#include "archive/reframe.h"

#include <string.h>

static enum err
add_row(struct frames *f, const struct batch *b, uint32_t row)
{
	const uint8_t *bytes;
	uint32_t n = 0;
	TRY(batch_bytes(b, row, &bytes, &n));
	if (f->count == BLOCK_RECORDS_MAX || n > f->room_bytes - f->used_bytes)
		return fail(ERR_LIMIT, "a block takes at most %u records with %u bytes", BLOCK_RECORDS_MAX, f->room_bytes);
	const struct link *link = batch_link(b, row);
	f->v[f->count++] = (struct frame){
		.ts_ns = b->ts[row],
		.wire_len = b->wire_len[row],
		.cap_len = n,
		.at = f->used_bytes,
		.linktype = link->linktype,
		.iface = link->iface,
	};
	memcpy(f->bytes + f->used_bytes, bytes, n);
	f->used_bytes += n;
	return OK;
}

enum err
reframe_add(struct frames *f, const struct batch *b, uint64_t from_ns)
{
	uint32_t count = f->count, used_bytes = f->used_bytes;
	enum err e = OK;
	for (uint32_t i = 0; i < b->count && e == OK; i++)
		if (b->ts[b->row_of[i]] >= from_ns)
			e = add_row(f, b, b->row_of[i]);
	if (e != OK) {
		f->count = count;
		f->used_bytes = used_bytes;
		return e;
	}
	f->sampled = b->sampled;
	f->sampler = b->sampler;
	return OK;
}
