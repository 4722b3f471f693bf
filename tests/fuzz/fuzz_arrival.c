/* What a taken-over ingest process may send to the store: refused, or it means one message that is sent as the same bytes; a
 * parcel's terms ascend. The first byte is the kind, the second the side. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "archive/arrival.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct arrival_terms terms;
static struct channel out, in;

static void
start(void)
{
	int pair[2];
	if (terms.ip4)
		return;
	if (arrival_terms_init(&terms) != OK || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		abort();
	channel_init(&out, pair[0], ARRIVAL_MESSAGE_BYTES, 1u << 24);
	channel_init(&in, pair[1], ARRIVAL_MESSAGE_BYTES, 1u << 24);
}

static void
look_at_parcel(const struct arrival_parcel *m)
{
	struct parcel p;
	struct block b;
	if (parcel_parse_front(m->front, m->front_count, &p) != OK || arrival_block(&terms, m, &p, &b) != OK)
		return;
	for (uint32_t i = 1; i < b.ip4_count; i++)
		if (b.ip4[i] <= b.ip4[i - 1])
			abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	start();
	struct channel_message c = { .kind = data[0], .bytes = data + 2, .n = size - 2 }, again;
	struct arrival_message m;
	if (arrival_decode(&c, data[1] & 1 ? ARRIVAL_TO_INGEST : ARRIVAL_TO_STORE, &m) != OK)
		return 0;
	if (m.kind == ARRIVAL_KIND_PARCEL)
		look_at_parcel(&m.parcel);
	struct arrival_monitor entry;
	for (uint32_t i = 0; m.kind == ARRIVAL_KIND_MONITORS && arrival_monitor_at(&m.monitors, i, &entry); i++)
		if (!memchr(entry.name, 0, sizeof entry.name))
			abort();
	if (arrival_send(&out, &m) != OK)
		abort();
	enum err e;
	while ((e = channel_receive(&in, &again)) == END)
		if (channel_flush(&out) != OK)
			abort();
	if (e != OK || again.n != c.n || memcmp(again.bytes, c.bytes, c.n) != 0)
		abort();
	return 0;
}
