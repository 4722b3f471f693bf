#include "query/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/options.h"
#include "query/landed.h"

#define SNAPSHOTS_MAX 16u /* taken until one holds still: each time a whole landing file was merged while planning */

struct plan {
	struct archive *archive;
	struct request request;
	struct plan_stream *streams;
	unsigned stream_count;
	struct candidate {
		struct segment_row row;
		uint32_t stream;
		struct plan_said said;
		struct segment *landed;      /* no segment's row: blocks in landing files */
		char *fault;                 /* of these */
	} *candidates;
	uint32_t candidate_count, candidate_room, next;
	uint64_t records, records_passed; /* of all candidates; of those before next */
	struct span narrowed, starts;    /* plan_narrow() */
	struct plan_counts counts;
	struct losses losses;
	struct landed_files landings;
};

/* --- streams --- */

static enum err
add_stream(struct plan *p, const struct stream_row *row)
{
	struct plan_stream *v = realloc(p->streams, (p->stream_count + 1) * sizeof *v);
	if (!v)
		return fail(ERR_NOMEM, "out of memory");
	p->streams = v;
	v[p->stream_count].id = row->id;
	memcpy(v[p->stream_count].name, row->name, sizeof v->name);
	p->stream_count++;
	return OK;
}

static enum err
no_such_stream(struct catalogue *c, const char *name)
{
	struct stream_row row = { 0 };
	const char *names[64];
	char text[63][STREAM_NAME_BYTES];
	unsigned n = 0;
	while (n < 63 && catalogue_next_stream(c, &row) == OK) {
		memcpy(text[n], row.name, sizeof text[n]);
		names[n] = text[n];
		n++;
	}
	names[n] = NULL;
	const char *near = options_nearest(name, names);
	if (near)
		return fail(ERR_ABSENT, "no stream \"%s\"; did you mean \"%s\"?", name, near);
	return fail(ERR_ABSENT, "no stream \"%s\"; `atoll ls streams` lists them", name);
}

static enum err
find_streams(struct plan *p, struct catalogue *c)
{
	struct stream_row row = { 0 };
	enum err e = OK;
	if (p->request.stream_count == 0) {
		while ((e = catalogue_next_stream(c, &row)) == OK)
			TRY(add_stream(p, &row));
		return e == END ? OK : e;
	}
	for (unsigned i = 0; i < p->request.stream_count; i++) {
		e = catalogue_stream_named(c, p->request.streams[i], &row);
		if (e == ERR_ABSENT)
			return no_such_stream(c, p->request.streams[i]);
		if (e != OK)
			return e;
		bool twice = false;
		for (unsigned k = 0; k < p->stream_count; k++)
			twice |= p->streams[k].id == row.id;
		if (!twice)
			TRY(add_stream(p, &row));
	}
	return OK;
}

/* --- segments --- */

static enum err
may_match(struct plan *p, struct catalogue *c, uint64_t segment, bool *maybe)
{
	const struct filter_net *nets;
	uint32_t n;
	*maybe = true;
	if (!filter_index_nets(p->request.filter, &nets, &n))
		return OK;
	for (uint32_t i = 0; i < n; i++) {
		TRY(catalogue_may_hold(c, segment, nets[i].family, nets[i].bits, nets[i].addr, maybe));
		if (*maybe)
			return OK;
	}
	*maybe = false;
	return OK;
}

static enum err
add_candidate(struct plan *p, const struct segment_row *row, uint32_t stream)
{
	if (p->candidate_count == p->candidate_room) {
		uint32_t room = p->candidate_room ? p->candidate_room * 2 : 16;
		struct candidate *v = realloc(p->candidates, room * sizeof *v);
		if (!v)
			return fail(ERR_NOMEM, "out of memory");
		p->candidates = v;
		p->candidate_room = room;
	}
	p->candidates[p->candidate_count++] = (struct candidate){ .row = *row, .stream = stream };
	return OK;
}

static enum err
find_segments(struct plan *p, struct catalogue *c, uint32_t stream)
{
	struct segment_row row = { 0 };
	struct catalogue_totals totals;
	uint64_t seen = 0;
	enum err e;
	TRY(catalogue_sum(c, p->streams[stream].id, &totals));
	while ((e = catalogue_next_in_range(c, p->streams[stream].id, p->request.span.from_ns, p->request.span.until_ns,
	                                    &row)) == OK) {
		bool maybe = true;
		if (row.state == SEGMENT_LOST) {
			p->counts.segments_missing++;
			continue;
		}
		seen++;
		TRY(may_match(p, c, row.id, &maybe));
		if (maybe)
			TRY(add_candidate(p, &row, stream));
		else
			p->counts.segments_by_address++;
	}
	p->counts.segments += totals.segments;
	p->counts.segments_by_time += totals.segments - seen;
	return e == END ? OK : e;
}

/* --- landed blocks --- */

struct adding {
	struct plan *plan;
	uint32_t stream, first; /* first candidate of this stream */
};

/* Puts it behind those of the stream that start earlier or at the same time. */
static enum err
add_landed(void *arg, struct landed_part *part)
{
	struct adding *adding = arg;
	struct plan *p = adding->plan;
	struct segment_row row = { .stream = p->streams[adding->stream].id, .first_ns = part->first_ns, .last_ns = part->last_ns,
		                   .records = part->records };
	TRY(add_candidate(p, &row, adding->stream));
	uint32_t at = p->candidate_count - 1;
	struct candidate c = p->candidates[at];
	c.landed = part->segment;
	c.fault = part->fault;
	for (; at > adding->first && p->candidates[at - 1].row.first_ns > c.row.first_ns; at--)
		p->candidates[at] = p->candidates[at - 1];
	p->candidates[at] = c;
	return OK;
}

static enum err
find_landed(struct plan *p, uint32_t stream, uint32_t first, bool final)
{
	struct adding adding = { p, stream, first };
	struct landed_counts counts = { 0 };
	TRY(landed_find(&p->landings, p->archive, p->streams[stream].id, &p->request.span, final, &counts, add_landed, &adding));
	p->counts.segments_missing += counts.missing;
	p->counts.blocks += counts.blocks_by_time;
	p->counts.blocks_by_time += counts.blocks_by_time;
	p->counts.landed_blocks += counts.blocks;
	p->counts.landed_records += counts.records;
	p->counts.landed_bytes += counts.bytes;
	return OK;
}

static enum err
find_all(struct plan *p, struct catalogue *c, bool final)
{
	TRY(find_streams(p, c));
	for (uint32_t i = 0; i < p->stream_count; i++) {
		uint32_t first = p->candidate_count;
		TRY(find_segments(p, c, i));
		TRY(find_landed(p, i, first, final));
		TRY(losses_find(c, p->streams[i].id, &p->request.span, &p->losses));
	}
	return OK;
}

static void
forget_all(struct plan *p)
{
	for (uint32_t i = 0; i < p->candidate_count; i++) {
		segment_close(&p->candidates[i].landed);
		free(p->candidates[i].fault);
	}
	landed_files_fini(&p->landings);
	p->candidate_count = 0;
	p->stream_count = 0;
	p->counts = (struct plan_counts){ 0 };
	p->losses = (struct losses){ 0 };
}

enum err
plan_open(struct plan **out, struct archive *a, const struct request *r)
{
	struct plan *p = calloc(1, sizeof *p);
	if (!p)
		return fail(ERR_NOMEM, "out of memory");
	p->archive = a;
	p->request = *r;
	p->narrowed = r->span;
	p->starts = (struct span){ 0, UINT64_MAX };
	struct catalogue *c = archive_catalogue(a);
	enum err e = ERR_BUSY;
	for (unsigned i = 1; i <= SNAPSHOTS_MAX && e == ERR_BUSY; i++) {
		forget_all(p);
		e = catalogue_begin(c);
		if (e != OK)
			break;
		e = find_all(p, c, i == SNAPSHOTS_MAX);
		catalogue_end(c);
	}
	if (e != OK) {
		plan_close(&p);
		return e;
	}
	for (uint32_t i = 0; i < p->candidate_count; i++)
		p->records += p->candidates[i].row.records;
	*out = p;
	return OK;
}

void
plan_close(struct plan **p)
{
	if (!*p)
		return;
	forget_all(*p);
	free((*p)->streams);
	free((*p)->candidates);
	free(*p);
	*p = NULL;
}

unsigned
plan_streams(const struct plan *p, const struct plan_stream **streams)
{
	*streams = p->streams;
	return p->stream_count;
}

const struct view *
plan_view(const struct plan *p)
{
	return p->request.view;
}

const struct plan_counts *
plan_counts(const struct plan *p)
{
	return &p->counts;
}

const struct losses *
plan_losses(const struct plan *p)
{
	return &p->losses;
}

const struct segment_row *
plan_source(const struct plan *p, uint32_t i, uint32_t *stream)
{
	if (i >= p->candidate_count)
		return NULL;
	*stream = p->candidates[i].stream;
	return &p->candidates[i].row;
}

const struct request *
plan_request(const struct plan *p)
{
	return &p->request;
}

void
plan_counts_add(struct plan_counts *sum, const struct plan_counts *c)
{
	sum->segments += c->segments;
	sum->segments_by_time += c->segments_by_time;
	sum->segments_by_address += c->segments_by_address;
	sum->segments_missing += c->segments_missing;
	sum->blocks += c->blocks;
	sum->blocks_by_time += c->blocks_by_time;
	sum->blocks_by_index += c->blocks_by_index;
	sum->blocks_left += c->blocks_left;
	sum->records_left += c->records_left;
	sum->landed_blocks += c->landed_blocks;
	sum->landed_records += c->landed_records;
	sum->landed_bytes += c->landed_bytes;
}

void
plan_rewind(struct plan *p)
{
	p->next = 0;
	p->records_passed = 0;
}

void
plan_narrow(struct plan *p, struct span span, struct span starts)
{
	p->narrowed = span;
	p->starts = starts;
	plan_rewind(p);
}

unsigned
plan_streams_used(const struct plan *p)
{
	unsigned n = 0;
	/* Candidates come stream by stream. */
	for (uint32_t i = 0; i < p->candidate_count; i++)
		n += i == 0 || p->candidates[i].stream != p->candidates[i - 1].stream;
	return n;
}

bool
plan_extent(const struct plan *p, struct span *extent)
{
	uint64_t first = UINT64_MAX, last = 0;
	for (uint32_t i = 0; i < p->candidate_count; i++) {
		const struct segment_row *row = &p->candidates[i].row;
		first = row->first_ns < first ? row->first_ns : first;
		last = row->last_ns > last ? row->last_ns : last;
	}
	if (p->candidate_count == 0)
		return false;
	uint64_t until = last == UINT64_MAX ? last : last + 1;
	extent->from_ns = first > p->request.span.from_ns ? first : p->request.span.from_ns;
	extent->until_ns = until < p->request.span.until_ns ? until : p->request.span.until_ns;
	return extent->from_ns < extent->until_ns;
}

/* Records before this time, if those of each segment were spread evenly over its span. */
static double
records_before(const struct plan *p, uint64_t ns)
{
	double sum = 0;
	for (uint32_t i = 0; i < p->candidate_count; i++) {
		const struct segment_row *row = &p->candidates[i].row;
		if (row->last_ns < ns)
			sum += (double)row->records;
		else if (row->first_ns < ns)
			sum += (double)row->records * (double)(ns - row->first_ns) / ((double)(row->last_ns - row->first_ns) + 1);
	}
	return sum;
}

uint64_t
plan_even_width(const struct plan *p, uint64_t at, uint64_t records)
{
	struct span extent;
	if (!plan_extent(p, &extent) || at >= extent.until_ns)
		return 1;
	double most = records_before(p, at) + (double)records;
	uint64_t low = 1, high = extent.until_ns - at;
	while (low < high) {
		uint64_t middle = low + (high - low + 1) / 2;
		if (records_before(p, at + middle) <= most)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

uint64_t
plan_progress(const struct plan *p, uint64_t scanned, uint64_t *total)
{
	struct span extent;
	*total = p->records;
	uint64_t until_ns = p->narrowed.until_ns < p->starts.until_ns ? p->narrowed.until_ns : p->starts.until_ns;
	if (p->narrowed.from_ns == p->request.span.from_ns && until_ns == p->request.span.until_ns)
		return p->records_passed - p->counts.records_left + scanned;
	if (!plan_extent(p, &extent))
		return *total;
	double before = records_before(p, extent.from_ns);
	*total = (uint64_t)(records_before(p, extent.until_ns) - before);
	return (uint64_t)(records_before(p, until_ns) - before);
}

/* --- blocks --- */

static bool
overlaps(const struct span *span, uint64_t first_ns, uint64_t last_ns)
{
	/* An open end takes the last nanosecond, too. */
	return last_ns >= span->from_ns && (first_ns < span->until_ns || span->until_ns == UINT64_MAX);
}

static enum err
pick_blocks(struct plan *p, struct plan_segment *s)
{
	uint32_t n = segment_totals_of(s->segment)->blocks;
	const struct block_info *info = segment_blocks(s->segment);
	uint64_t in_time = 0, found = 0;
	for (uint32_t i = 0; i < n; i++)
		if (overlaps(&s->span, info[i].first_ns, info[i].last_ns) && overlaps(&p->starts, info[i].first_ns, info[i].first_ns))
			in_time |= (uint64_t)1 << i;
	enum err e = in_time ? filter_blocks(p->request.filter, s->segment, &found) : OK;
	if (e == ERR_FORMAT || e == ERR_DENIED) {
		/* The blocks may well be whole. */
		snprintf(s->fault, sizeof s->fault, "%s", err_text());
		found = in_time;
		e = OK;
	}
	TRY(e);
	s->blocks = in_time & found;
	uint64_t in_time_count = (uint64_t)__builtin_popcountll(in_time);
	uint64_t left = (uint64_t)__builtin_popcountll(s->blocks);
	p->counts.blocks += n;
	p->counts.blocks_by_time += n - in_time_count;
	p->counts.blocks_by_index += in_time_count - left;
	p->counts.blocks_left += left;
	for (uint64_t b = s->blocks; b; b &= b - 1)
		p->counts.records_left += info[__builtin_ctzll(b)].records;
	return OK;
}

static enum err
open_candidate(struct plan *p, struct candidate *c, struct plan_segment **out)
{
	if (c->said.unreadable)
		return OK;
	struct plan_segment *s = calloc(1, sizeof *s);
	if (!s)
		return fail(ERR_NOMEM, "out of memory");
	s->stream = c->stream;
	s->number = (uint32_t)(c - p->candidates);
	s->said = &c->said;
	s->span = p->narrowed;
	if (c->row.hidden_until_ns > s->span.from_ns)
		s->span.from_ns = c->row.hidden_until_ns;
	enum err e = OK;
	s->landed = c->landed || c->fault;
	if (!s->landed)
		e = archive_open_segment(p->archive, &c->row, &s->segment);
	else if (c->landed)
		s->segment = c->landed;
	else
		e = fail(ERR_FORMAT, "%s", c->fault);
	if (e == OK && c->fault)
		snprintf(s->fault, sizeof s->fault, "%s", c->fault);
	if (e == OK)
		e = pick_blocks(p, s);
	if (e == OK && !s->fault[0])
		snprintf(s->fault, sizeof s->fault, "%s", segment_fault(s->segment));
	if (e != OK || s->blocks == 0) {
		plan_release(p, &s);
		c->said.unreadable = e == ERR_FORMAT || e == ERR_DENIED || e == ERR_UNSUPPORTED;
		if (e == ERR_ABSENT) {
			p->counts.segments_missing += !c->said.missing;
			c->said.missing = true;
			return OK;
		}
		return e;
	}
	*out = s;
	return OK;
}

enum err
plan_next(struct plan *p, struct plan_segment **out)
{
	*out = NULL;
	while (!*out && p->next < p->candidate_count) {
		struct candidate *c = &p->candidates[p->next++];
		p->records_passed += c->row.records;
		if (overlaps(&p->narrowed, c->row.first_ns, c->row.last_ns) && overlaps(&p->starts, c->row.first_ns, c->row.last_ns))
			TRY(open_candidate(p, c, out));
	}
	return *out ? OK : END;
}

void
plan_release(struct plan *p, struct plan_segment **s)
{
	(void)p;
	if (!*s)
		return;
	if (!(*s)->landed)
		segment_close(&(*s)->segment);
	free(*s);
	*s = NULL;
}
