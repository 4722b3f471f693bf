#include "archive/batch.h"

#include "archive/packet_rows.h"

enum err
batch_bytes(const struct batch *b, uint32_t row, const uint8_t **bytes, uint32_t *n)
{
	return packet_row_bytes(b->decoder, row, bytes, n);
}

const struct link *
batch_link(const struct batch *b, uint32_t row)
{
	return &b->links[b->decoder->link_of[row]];
}
