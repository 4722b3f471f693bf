#include "archive/postings.h"

#include <stdlib.h>

void
postings_fini(struct postings *p)
{
	free(p->v);
	free(p->spare);
	*p = (struct postings){ 0 };
}

static enum err
postings_reserve(struct postings *p, uint32_t n)
{
	if (n <= p->room)
		return OK;
	uint32_t room = n + n / 2;
	struct posting *v = realloc(p->v, room * sizeof *v);
	if (v)
		p->v = v;
	struct posting *spare = realloc(p->spare, room * sizeof *spare);
	if (spare)
		p->spare = spare;
	if (!v || !spare)
		return fail(ERR_NOMEM, "out of memory");
	p->room = room;
	return OK;
}

enum err
postings_merge(struct postings *p, const struct posting *add, uint32_t n)
{
	if (n == 0)
		return OK;
	TRY(postings_reserve(p, p->count + n));
	const struct posting *a = p->v, *a_end = a + p->count, *b = add, *b_end = add + n;
	struct posting *out = p->spare;
	while (a < a_end && b < b_end) {
		if (posting_before(a, b)) {
			*out++ = *a++;
		} else if (posting_before(b, a)) {
			*out++ = *b++;
		} else {
			*out = *a++;
			out++->blocks |= b++->blocks;
		}
	}
	memcpy(out, a, (size_t)(a_end - a) * sizeof *out);
	out += a_end - a;
	memcpy(out, b, (size_t)(b_end - b) * sizeof *out);
	out += b_end - b;
	p->count = (uint32_t)(out - p->spare);
	struct posting *swap = p->v;
	p->v = p->spare;
	p->spare = swap;
	return OK;
}

/* A page is 24 streams: 16 byte planes of the key's difference to the key before it, 8 of the block set. Planes that are
 * all zero cost 3 bytes. */
size_t
postings_page_bound(void)
{
	return 24 * pack_bound(POSTINGS_PAGE);
}

void
postings_page_pack(struct packer *pk, const struct posting *v, uint32_t n, struct writer *w)
{
	uint8_t plane[24][POSTINGS_PAGE];
	unsigned __int128 before = 0;
	for (uint32_t i = 0; i < n; i++) {
		unsigned __int128 key = (unsigned __int128)v[i].high << 64 | v[i].low, step = key - before;
		before = key;
		for (unsigned b = 0; b < 16; b++)
			plane[b][i] = (uint8_t)(step >> 8 * b);
		for (unsigned b = 0; b < 8; b++)
			plane[16 + b][i] = (uint8_t)(v[i].blocks >> 8 * b);
	}
	for (unsigned b = 0; b < 24; b++)
		pack(pk, plane[b], n, PACK_PLANE, w);
}

enum err
postings_page_unpack(struct unpacker *u, const uint8_t *p, size_t n, struct posting *out, uint32_t *count)
{
	uint8_t plane[24][POSTINGS_PAGE + PACK_SLACK];
	uint32_t entries = 0;
	struct reader r = reader_of(p, n);
	for (unsigned b = 0; b < 24; b++) {
		uint32_t got = 0;
		TRY(unpack(u, &r, plane[b], POSTINGS_PAGE, &got));
		if (b > 0 && got != entries)
			return fail(ERR_FORMAT, "index page with columns of different lengths");
		entries = got;
	}
	if (!reader_done(&r) || entries == 0)
		return fail(ERR_FORMAT, "index page of the wrong length");
	unsigned __int128 key = 0;
	for (uint32_t i = 0; i < entries; i++) {
		unsigned __int128 step = 0;
		uint64_t blocks = 0;
		for (unsigned b = 0; b < 16; b++)
			step |= (unsigned __int128)plane[b][i] << 8 * b;
		for (unsigned b = 0; b < 8; b++)
			blocks |= (uint64_t)plane[16 + b][i] << 8 * b;
		if (i > 0 && (step == 0 || key + step < key))
			return fail(ERR_FORMAT, "index page out of order");
		key += step;
		out[i] = (struct posting){ (uint64_t)(key >> 64), (uint64_t)key, blocks };
	}
	*count = entries;
	return OK;
}
