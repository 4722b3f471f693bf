/* Records of any bytes, times and lengths through a block and a segment file: they come back as they were. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/support/block_trip.h"
#include "tests/support/filter_cases.h"

#define RECORD_HEAD_BYTES 8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const uint16_t linktypes[] = { 1, 1, 1, 101, 0, 113, 276, 108, 229, 147 };

/* One frame: head {kind, link type, time step, wire length less the bytes, bytes}, bytes; or a made-up one, or a copy of an
 * earlier one with a byte changed, so that predictions hold and miss. */
static void
add_frame(struct frames *f, struct reader *r, uint64_t *now, struct dice *dice)
{
	const uint8_t *head = reader_view(r, RECORD_HEAD_BYTES);
	if (!head)
		return;
	uint32_t n = head[7], at = f->used_bytes;
	uint16_t linktype = linktypes[head[1] % 10];
	struct frame *v = &f->v[f->count];
	uint64_t step = (uint64_t)load_le16(head + 2) << head[0] / 4 % 64;
	if (head[0] % 4 == 3 && f->count > 0) { /* as before, but for one byte */
		const struct frame *old = &f->v[f->count - 1 - head[1] % f->count];
		memcpy(f->bytes + at, f->bytes + old->at, old->cap_len);
		linktype = old->linktype;
		if (old->cap_len)
			f->bytes[at + n % old->cap_len] ^= head[6];
		n = old->cap_len;
	} else if (head[0] % 4 == 2) {
		dice->state += load_le32(head + 4);
		make_frames(f, dice, linktype, 1);
		n = f->v[f->count - 1].cap_len;
		f->count--;
		f->used_bytes = at;
	} else {
		n = n < reader_left(r) ? n : (uint32_t)reader_left(r);
		const uint8_t *p = reader_view(r, n);
		if (p && n)
			memcpy(f->bytes + at, p, n);
	}
	*now += head[1] & 64 ? 0 - step : step;
	*v = (struct frame){ .ts_ns = *now, .wire_len = n + (head[4] % 4 ? 0 : (uint32_t)(int8_t)head[5] * (1u << head[6] % 28)),
		             .cap_len = n, .at = at, .linktype = linktype, .iface = head[1] & 128 ? head[5] : 0 };
	f->used_bytes += n;
	f->count++;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct trip *trip;
	static struct frames *frames;
	if (!trip && (trip_open(&trip, NULL) != OK || frames_open(&frames, 1 << 20) != OK))
		abort();
	if (n < 1)
		return 0;
	struct reader r = reader_of(data + 1, n - 1);
	struct dice dice = { 1 };
	uint64_t now = (uint64_t)data[0] << 55;
	frames_reset(frames);
	while (reader_left(&r) >= RECORD_HEAD_BYTES && frames->count < 1000 && frames->room_bytes - frames->used_bytes > 1024)
		add_frame(frames, &r, &now, &dice);
	if (frames->count == 0)
		return 0;
	for (unsigned headers_only = 0; headers_only < 2; headers_only++) {
		const char *said = trip_run(trip, frames, headers_only);
		if (said) {
			fprintf(stderr, "%s%s\n", headers_only ? "headers only: " : "", said);
			abort();
		}
	}
	return 0;
}
