#include "query/pool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "archive/frames.h"

/* In the pool's bytes, and behind it the record's. */
struct pooled {
	uint64_t ts_ns;
	uint32_t wire_len, cap_len;
	uint32_t stream, place;
	uint16_t linktype, iface;
};
#define COPY_BYTES 32u /* at once; both sides have FRAMES_SLACK behind */
#define ALIGNED(n) (((n) + 7) & ~7u)

/* Records in order, one behind the other. */
struct run {
	uint32_t at, end;
};

/* The first record left of a run. */
struct head {
	uint64_t ts_ns;
	uint32_t place, run;
};

struct pool {
	uint8_t     *bytes;
	uint32_t     used, count;
	struct run  *runs;
	struct head *heads;        /* a heap, the next record on top */
	uint32_t     run_count, head_count;
	uint64_t     newest_ns;    /* of the record added last */
	uint32_t     newest_place;
};

enum err
pool_open(struct pool **out)
{
	struct pool *p = calloc(1, sizeof *p);
	if (p) {
		p->bytes = malloc(POOL_BYTES + FRAMES_SLACK);
		p->runs = malloc(POOL_RUNS_MAX * sizeof *p->runs);
		p->heads = malloc(POOL_RUNS_MAX * sizeof *p->heads);
	}
	if (!p || !p->bytes || !p->runs || !p->heads) {
		pool_close(&p);
		return fail(ERR_NOMEM, "out of memory");
	}
	*out = p;
	return OK;
}

void
pool_close(struct pool **p)
{
	if (!*p)
		return;
	free((*p)->bytes);
	free((*p)->runs);
	free((*p)->heads);
	free(*p);
	*p = NULL;
}

struct pool_fill
pool_fill(const struct pool *p)
{
	return (struct pool_fill){ p->used, p->count };
}

void
pool_cut(struct pool *p, struct pool_fill fill)
{
	while (p->run_count && p->runs[p->run_count - 1].at >= fill.bytes)
		p->run_count--;
	p->used = fill.bytes;
	p->count = fill.records;
	p->newest_ns = UINT64_MAX; /* what comes next begins a run */
	p->newest_place = UINT32_MAX;
}

static const struct pooled *
pooled_at(const struct pool *p, uint32_t at)
{
	return (const struct pooled *)__builtin_assume_aligned(p->bytes + at, _Alignof(struct pooled));
}

static uint32_t
pooled_bytes(uint32_t cap_len)
{
	return ALIGNED((uint32_t)sizeof(struct pooled) + cap_len);
}

enum err
pool_add(struct pool *p, const struct record *r, uint32_t place)
{
	if (r->cap_len > POOL_BYTES / 2 || pooled_bytes(r->cap_len) > POOL_BYTES - p->used)
		return fail(ERR_LIMIT, "the pool is full");
	if (p->run_count == 0 || r->ts_ns < p->newest_ns || (r->ts_ns == p->newest_ns && place < p->newest_place)) {
		if (p->run_count == POOL_RUNS_MAX)
			return fail(ERR_LIMIT, "the pool is full");
		p->runs[p->run_count++] = (struct run){ p->used, p->used };
	}
	struct pooled head = { r->ts_ns, r->wire_len, r->cap_len, r->stream, place, r->linktype, r->iface };
	memcpy(p->bytes + p->used, &head, sizeof head);
	for (uint32_t i = 0; i < r->cap_len; i += COPY_BYTES) /* most are short: no call for each */
		memcpy(p->bytes + p->used + sizeof head + i, r->bytes + i, COPY_BYTES);
	p->used += pooled_bytes(r->cap_len);
	p->runs[p->run_count - 1].end = p->used;
	p->newest_ns = r->ts_ns;
	p->newest_place = place;
	p->count++;
	return OK;
}

/* --- the heap --- */

static bool
is_before(const struct head *a, const struct head *b)
{
	if (a->ts_ns != b->ts_ns)
		return a->ts_ns < b->ts_ns;
	return a->place != b->place ? a->place < b->place : a->run < b->run;
}

/* Puts h where it belongs at or below this place. */
static void
heap_sift(struct pool *p, uint32_t at, struct head h)
{
	for (uint32_t child; (child = 2 * at + 1) < p->head_count; at = child) {
		child += child + 1 < p->head_count && is_before(&p->heads[child + 1], &p->heads[child]);
		if (is_before(&h, &p->heads[child]))
			break;
		p->heads[at] = p->heads[child];
	}
	p->heads[at] = h;
}

static struct head
head_of(const struct pool *p, uint32_t run)
{
	const struct pooled *first = pooled_at(p, p->runs[run].at);
	return (struct head){ first->ts_ns, first->place, run };
}

static void
heap_make(struct pool *p)
{
	p->head_count = p->run_count;
	for (uint32_t i = 0; i < p->run_count; i++)
		p->heads[i] = head_of(p, i);
	for (uint32_t i = p->run_count / 2; i-- > 0;)
		heap_sift(p, i, p->heads[i]);
}

/* --- giving out --- */

/* Gives out what of the top's run comes before the next head, then sees to the heap. */
static enum err
give_stretch(struct pool *p, uint64_t last_ns, enum err (*see)(void *arg, const struct record *r), void *arg)
{
	struct head h = p->heads[0];
	struct run *run = &p->runs[h.run];
	struct head next = { .ts_ns = UINT64_MAX, .place = UINT32_MAX, .run = UINT32_MAX };
	for (uint32_t i = 1; i < 3 && i < p->head_count; i++)
		if (is_before(&p->heads[i], &next))
			next = p->heads[i];
	do {
		const struct pooled *e = pooled_at(p, run->at);
		struct record r = {
			.ts_ns = e->ts_ns,
			.wire_len = e->wire_len,
			.cap_len = e->cap_len,
			.linktype = e->linktype,
			.iface = e->iface,
			.stream = e->stream,
			.bytes = (const uint8_t *)(e + 1),
		};
		run->at += pooled_bytes(e->cap_len);
		p->count--;
		TRY(see(arg, &r));
		if (run->at == run->end)
			break;
		h = head_of(p, h.run);
	} while (h.ts_ns <= last_ns && is_before(&h, &next));
	if (run->at == run->end || h.ts_ns > last_ns)
		h = p->heads[--p->head_count];
	heap_sift(p, 0, h);
	return OK;
}

/* Moves what is left of each run to the front. */
static void
close_ranks(struct pool *p)
{
	uint32_t used = 0, runs = 0;
	for (uint32_t i = 0; i < p->run_count; i++) {
		struct run r = p->runs[i];
		if (r.at == r.end)
			continue;
		memmove(p->bytes + used, p->bytes + r.at, r.end - r.at);
		p->runs[runs++] = (struct run){ used, used + r.end - r.at };
		used += r.end - r.at;
	}
	p->run_count = runs;
	pool_cut(p, (struct pool_fill){ used, p->count });
}

enum err
pool_give_out(struct pool *p, uint64_t last_ns, enum err (*see)(void *arg, const struct record *r), void *arg)
{
	heap_make(p);
	while (p->head_count && p->heads[0].ts_ns <= last_ns)
		TRY(give_stretch(p, last_ns, see, arg));
	close_ranks(p);
	return OK;
}
