/* Index pages: of any bytes the reader makes sorted entries or nothing; of any entries the writer makes bytes that come back. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "archive/postings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static struct packer *packer;
static struct unpacker *unpacker;

static void
pack_again(const struct posting *v, uint32_t n)
{
	struct posting back[POSTINGS_PAGE];
	uint32_t got = 0;
	uint8_t *page = malloc(postings_page_bound());
	if (!page)
		abort();
	struct writer w = writer_of(page, postings_page_bound());
	postings_page_pack(packer, v, n, &w);
	assert(writer_ok(&w));
	enum err e = postings_page_unpack(unpacker, page, (size_t)(w.at - page), back, &got);
	assert(e == OK && got == n);
	assert(memcmp(back, v, n * sizeof *v) == 0);
	free(page);
}

static void
try_page(const uint8_t *data, size_t n)
{
	struct posting v[POSTINGS_PAGE];
	uint32_t got = 0;
	uint8_t *alone = malloc(n + 1);
	if (!alone)
		abort();
	memcpy(alone, data, n);
	if (postings_page_unpack(unpacker, alone, n, v, &got) == OK) {
		assert(got >= 1 && got <= POSTINGS_PAGE);
		for (uint32_t i = 1; i < got; i++)
			assert(posting_before(&v[i - 1], &v[i]));
		pack_again(v, got);
	}
	free(alone);
}

/* 24 streams from runs of (length, byte), which is what pages are made of. */
static void
try_planes(const uint8_t *data, size_t n)
{
	uint8_t page[24 * (POSTINGS_PAGE + 16)], plane[POSTINGS_PAGE + 1];
	struct writer w = writer_of(page, sizeof page);
	struct reader r = reader_of(data, n);
	uint32_t entries = 1u + reader_le16(&r) % (POSTINGS_PAGE + 1);
	for (unsigned i = 0; i < 24; i++) {
		memset(plane, 0, sizeof plane);
		for (uint32_t at = 0; at < entries && reader_left(&r) >= 2;) {
			uint32_t run = reader_u8(&r);
			uint8_t value = reader_u8(&r);
			if (run == 0)
				break;
			for (; run > 0 && at < entries; run--)
				plane[at++] = value;
		}
		pack(packer, plane, entries, PACK_PLANE, &w);
	}
	try_page(page, (size_t)(w.at - page));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (!packer && (packer_open(&packer) != OK || unpacker_open(&unpacker) != OK))
		abort();
	if (n < 1)
		return 0;
	if (data[0] % 2)
		try_page(data + 1, n - 1);
	else
		try_planes(data + 1, n - 1);
	return 0;
}
