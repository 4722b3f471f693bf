/* Rows of what a stream's segments hold together, kept as segments come and go, so that nobody has to add them up. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "index/catalogue_inside.h"

#define TOTALS(F)                                                                               \
	F(segments) F(lost_segments) F(records) F(wire_bytes) F(captured_bytes) F(file_bytes) F(footer_bytes) F(first_ns) \
	F(last_ns)

enum {
#define F(name) +8
	TOTALS_BYTES = 0 TOTALS(F),
#undef F
};

static enum err
totals_get(struct catalogue *c, uint32_t stream, struct catalogue_totals *t)
{
	struct key k = key32(TAG_TOTALS, stream);
	const uint8_t *value;
	size_t n;
	*t = (struct catalogue_totals){ .first_ns = UINT64_MAX };
	enum err e = kv_get(c->kv, k.bytes, k.n, &value, &n);
	if (e != OK)
		return e == ERR_ABSENT ? OK : e;
	if (n != TOTALS_BYTES)
		return catalogue_damaged("totals");
#define F(name) t->name = load_le64(value), value += 8;
	TOTALS(F)
#undef F
	return OK;
}

static enum err
totals_put(struct catalogue *c, uint32_t stream, const struct catalogue_totals *t)
{
	struct key k = key32(TAG_TOTALS, stream);
	uint8_t bytes[TOTALS_BYTES], *p = bytes;
	if (t->segments == 0 && t->lost_segments == 0) {
		enum err e = kv_delete(c->kv, k.bytes, k.n);
		return e == ERR_ABSENT ? OK : e;
	}
#define F(name) store_le64(p, t->name), p += 8;
	TOTALS(F)
#undef F
	return kv_put(c->kv, k.bytes, k.n, bytes, sizeof bytes);
}

static void
add(struct catalogue_totals *t, const struct segment_row *row)
{
	if (row->state == SEGMENT_LOST)
		t->lost_segments++;
	if (row->state != SEGMENT_LIVE)
		return;
	t->segments++;
	t->records += row->records;
	t->wire_bytes += row->wire_bytes;
	t->captured_bytes += row->captured_bytes;
	t->file_bytes += row->file_bytes;
	t->footer_bytes += row->footer_bytes;
	t->first_ns = row->first_ns < t->first_ns ? row->first_ns : t->first_ns;
	t->last_ns = row->last_ns > t->last_ns ? row->last_ns : t->last_ns;
}

static void
take_off(struct catalogue_totals *t, const struct segment_row *row)
{
	t->segments--;
	t->records -= row->records;
	t->wire_bytes -= row->wire_bytes;
	t->captured_bytes -= row->captured_bytes;
	t->file_bytes -= row->file_bytes;
	t->footer_bytes -= row->footer_bytes;
}

/* Of the stream's live segments, by a look at them: in order of first_ns, so the earliest comes first. */
static enum err
ends_renew(struct catalogue *c, uint32_t stream, bool last, struct catalogue_totals *t)
{
	struct segment_row row = { .id = 0 };
	enum err e;
	t->first_ns = UINT64_MAX;
	t->last_ns = last ? 0 : t->last_ns;
	while ((e = catalogue_next_of_stream(c, stream, &row)) == OK) {
		if (row.state != SEGMENT_LIVE)
			continue;
		t->first_ns = row.first_ns < t->first_ns ? row.first_ns : t->first_ns;
		if (!last)
			return OK;
		t->last_ns = row.last_ns > t->last_ns ? row.last_ns : t->last_ns;
	}
	return e == END ? OK : e;
}

enum err
catalogue_totals_change(struct catalogue *c, const struct segment_row *before, const struct segment_row *after)
{
	uint32_t stream = after ? after->stream : before->stream;
	struct catalogue_totals t;
	bool was = before && before->state == SEGMENT_LIVE, is = after && after->state == SEGMENT_LIVE;
	TRY(totals_get(c, stream, &t));
	if (before && before->state == SEGMENT_LOST)
		t.lost_segments--;
	if (was)
		take_off(&t, before);
	if (was && !is && (before->first_ns == t.first_ns || before->last_ns == t.last_ns))
		TRY(ends_renew(c, stream, before->last_ns == t.last_ns, &t));
	if (after)
		add(&t, after);
	return totals_put(c, stream, &t);
}

enum err
catalogue_sum_segments(struct catalogue *c, uint32_t stream, struct catalogue_totals *t)
{
	struct catalogue_totals of;
	TRY(totals_get(c, stream, &of));
#define F(name) t->name += of.name;
	F(segments) F(lost_segments) F(records) F(wire_bytes) F(captured_bytes) F(file_bytes) F(footer_bytes)
#undef F
	t->first_ns = of.first_ns < t->first_ns ? of.first_ns : t->first_ns;
	t->last_ns = of.last_ns > t->last_ns ? of.last_ns : t->last_ns;
	return OK;
}

enum err
catalogue_totals_check(struct catalogue *c, uint32_t stream)
{
	struct catalogue_totals have, want = { .first_ns = UINT64_MAX };
	struct segment_row row = { .id = 0 };
	enum err e;
	TRY(totals_get(c, stream, &have));
	while ((e = catalogue_next_of_stream(c, stream, &row)) == OK)
		add(&want, &row);
	if (e != END)
		return e;
#define F(name) && have.name == want.name
	return true TOTALS(F) ? OK : catalogue_damaged("what a stream's segments hold together");
#undef F
}

enum err
catalogue_totals_print(uint32_t stream, const uint8_t *value, size_t n, char *line, size_t room)
{
	if (n != TOTALS_BYTES)
		return catalogue_damaged("totals");
	int used = snprintf(line, room, "totals stream=%u", stream);
#define F(name) used += snprintf(line + used, room - (size_t)used, " " #name "=%" PRIu64, load_le64(value)), value += 8;
	TOTALS(F)
#undef F
	return OK;
}
