#include "archive/batch.h"

#include "archive/packet_rows.h"

uint32_t
batch_conversation(const struct batch *b, uint32_t row)
{
	uint32_t low = 0, high = b->conversations;
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (b->start[middle] <= row)
			low = middle;
		else
			high = middle;
	}
	return low;
}

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
