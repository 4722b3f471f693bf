#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "archive/block.h"
#include "archive/seal.h"
#include "archive/segment_terms.h"
#include "base/io.h"

#define WRITEBACK_BYTES (4u << 20) /* so many at a time go to the disk while a segment grows, not all at its end */

struct segment_writer {
	char path[PATH_BYTES];
	int fd;
	struct segment_name name;
	char stream_name[STREAM_NAME_BYTES];
	uint8_t *key;              /* sodium_malloc: the segment's, then those of the blocks */
	struct packer *packer;
	struct block_info blocks[SEGMENT_BLOCKS_MAX];
	uint32_t block_count;
	uint64_t at;
	uint64_t written_back;     /* up to here */
	uint64_t settled;          /* ... and that on the disk, up to here */
	struct segment_terms terms;
	struct segment_totals totals;
};

static enum err
write_header(struct segment_writer *w)
{
	uint8_t bytes[SEGMENT_HEADER_BYTES];
	struct writer out = writer_of(bytes, sizeof bytes);
	struct {
#define F(codec, type, name, description) type name;
		SEGMENT_HEADER(F)
#undef F
	} h = { SEGMENT_MAGIC, SEGMENT_VERSION, w->name.id, w->name.key_slot, w->name.stream };
#define F(codec, type, field, description) writer_##codec(&out, h.field);
	SEGMENT_HEADER(F)
#undef F
	writer_put(&out, w->name.archive, ARCHIVE_ID_BYTES);
	short_hash(bytes, SEGMENT_HEADER_BYTES - 8, bytes + SEGMENT_HEADER_BYTES - 8);
	TRY(io_write(w->fd, bytes, sizeof bytes, w->path));
	w->at = sizeof bytes;
	return OK;
}

enum err
segment_create(struct segment_writer **out, const char *path, const struct segment_name *name,
               const uint8_t key[SEGMENT_KEY_BYTES], const char *stream_name)
{
	if (strlen(path) >= PATH_BYTES || strlen(stream_name) >= STREAM_NAME_BYTES)
		return fail(ERR_LIMIT, "%s: path or stream name too long", path);
	TRY(seal_start());
	struct segment_writer *w = calloc(1, sizeof *w);
	if (!w)
		return fail(ERR_NOMEM, "out of memory");
	w->fd = -1;
	w->name = *name;
	memcpy(w->path, path, strlen(path) + 1);
	memcpy(w->stream_name, stream_name, strlen(stream_name) + 1);
	w->key = sodium_malloc(SEGMENT_KEY_BYTES + SEGMENT_BLOCKS_MAX * BLOCK_KEY_BYTES);
	enum err e = w->key ? segment_terms_init(&w->terms) : fail(ERR_NOMEM, "out of memory");
	if (e == OK)
		e = packer_open(&w->packer);
	if (e == OK) {
		memcpy(w->key, key, SEGMENT_KEY_BYTES);
		e = io_create(&w->fd, path, 0600);
	}
	if (e == OK)
		e = write_header(w);
	if (e != OK) {
		segment_writer_close(&w);
		return e;
	}
	*out = w;
	return OK;
}

void
segment_writer_close(struct segment_writer **out)
{
	struct segment_writer *w = *out;
	if (!w)
		return;
	io_close(&w->fd);
	sodium_free(w->key);
	packer_close(&w->packer);
	segment_terms_fini(&w->terms);
	free(w);
	*out = NULL;
}

static uint8_t *
block_key(const struct segment_writer *w, uint32_t block)
{
	return w->key + SEGMENT_KEY_BYTES + block * BLOCK_KEY_BYTES;
}

uint32_t
segment_block_count(const struct segment_writer *w)
{
	return w->block_count;
}

bool
segment_full(const struct segment_writer *w)
{
	uint32_t addresses = w->terms.tables[TABLE_IP4].count + w->terms.tables[TABLE_IP6].count;
	return w->block_count == SEGMENT_BLOCKS_MAX || w->at >= SEGMENT_BYTES_MAX || addresses >= SEGMENT_ADDRESSES_FULL;
}

enum err
segment_append_hashed(struct segment_writer *w, const struct block *b, const uint8_t key[BLOCK_KEY_BYTES],
                      const uint8_t hash[SEGMENT_HASH_BYTES])
{
	assert(w->block_count < SEGMENT_BLOCKS_MAX);
	TRY(segment_terms_add(&w->terms, b, w->block_count));
	TRY(io_write(w->fd, b->stored, b->stored_bytes, w->path));
	memcpy(block_key(w, w->block_count), key, BLOCK_KEY_BYTES);
	struct block_info *info = &w->blocks[w->block_count++];
	*info = b->info;
	info->at = w->at;
	info->stored_bytes = b->stored_bytes;
	memcpy(info->hash, hash, sizeof info->hash);
	w->at += b->stored_bytes;
	if (w->at - w->written_back >= WRITEBACK_BYTES) {
		io_writeback(w->fd, w->written_back, w->at - w->written_back);
		w->written_back = w->at;
	}
	struct segment_totals *t = &w->totals;
	if (t->blocks++ == 0) {
		t->first_ns = info->first_ns;
		t->last_ns = info->last_ns;
	}
	t->first_ns = info->first_ns < t->first_ns ? info->first_ns : t->first_ns;
	t->last_ns = info->last_ns > t->last_ns ? info->last_ns : t->last_ns;
	t->records += info->records;
	t->wire_bytes += info->wire_bytes;
	t->captured_bytes += info->captured_bytes;
	return OK;
}

enum err
segment_settle(struct segment_writer *w, bool *settled)
{
	uint64_t left = w->at - w->settled, n = left < WRITEBACK_BYTES ? left : WRITEBACK_BYTES;
	if (n > 0)
		TRY(io_settle(w->fd, w->settled, n, w->path));
	w->settled += n;
	w->written_back = w->settled > w->written_back ? w->settled : w->written_back;
	*settled = w->settled == w->at;
	return OK;
}

enum err
segment_append(struct segment_writer *w, const struct block *b, const uint8_t key[BLOCK_KEY_BYTES])
{
	uint8_t hash[SEGMENT_HASH_BYTES];
	crypto_generichash(hash, sizeof hash, b->stored, b->stored_bytes, NULL, 0);
	return segment_append_hashed(w, b, key, hash);
}

enum err
segment_seal(struct segment_writer *w, struct block_encoder *e, struct block *b)
{
	uint8_t key[BLOCK_KEY_BYTES];
	randombytes_buf(key, sizeof key);
	block_seal(e, b, key);
	enum err error = segment_append(w, b, key);
	sodium_memzero(key, sizeof key);
	return error;
}

/* Seals the n plain bytes at p, which have room for the tag, and writes them. */
static enum err
write_page(struct segment_writer *w, uint32_t number, uint8_t *p, size_t n, crypto_generichash_state *footer)
{
	seal_page(w->key, &w->name, number, p, n, p);
	crypto_generichash_update(footer, p, n + SEAL_TAG_BYTES);
	TRY(io_write(w->fd, p, n + SEAL_TAG_BYTES, w->path));
	w->at += n + SEAL_TAG_BYTES;
	return OK;
}

static uint32_t
pages_of(const struct segment_writer *w, unsigned table)
{
	return (w->terms.tables[table].count + POSTINGS_PAGE - 1) / POSTINGS_PAGE;
}

static enum err
write_tables(struct segment_writer *w, struct writer *directory, crypto_generichash_state *footer)
{
	static const size_t slack = SEAL_TAG_BYTES;
	uint8_t *page = malloc(postings_page_bound() + slack);
	if (!page)
		return fail(ERR_NOMEM, "out of memory");
	enum err e = OK;
	uint32_t number = 1;
	for (unsigned t = 0; t < TABLE_COUNT && e == OK; t++) {
		const struct postings *table = &w->terms.tables[t];
		writer_le32(directory, pages_of(w, t));
		for (uint32_t first = 0; first < table->count && e == OK; first += POSTINGS_PAGE) {
			uint32_t n = table->count - first < POSTINGS_PAGE ? table->count - first : POSTINGS_PAGE;
			struct writer body = writer_of(page, postings_page_bound());
			postings_page_pack(w->packer, table->v + first, n, &body);
			struct page_entry entry = {
				.high = table->v[first].high,
				.low = table->v[first].low,
				.at = w->at,
				.sealed_bytes = (uint32_t)(body.at - page) + SEAL_TAG_BYTES,
				.entries = n,
			};
#define F(codec, type, name, description) writer_##codec(directory, entry.name);
			PAGE_ENTRY(F)
#undef F
			e = write_page(w, number++, page, (size_t)(body.at - page), footer);
		}
	}
	free(page);
	return e;
}

static enum err
write_footer(struct segment_writer *w, crypto_generichash_state *footer, uint64_t *main_at, uint32_t *main_bytes)
{
	size_t room = 4096 + w->block_count * BLOCK_ENTRY_BYTES + SEAL_TAG_BYTES;
	for (unsigned t = 0; t < TABLE_COUNT; t++)
		room += 4 + pages_of(w, t) * PAGE_ENTRY_BYTES;
	uint8_t *page = malloc(2 * room), *copy = page + room;
	if (!page)
		return fail(ERR_NOMEM, "out of memory");
	struct writer out = writer_of(page, room - SEAL_TAG_BYTES);
	const struct segment_totals *t = &w->totals;
	struct {
#define F(codec, type, name, description) type name;
		SEGMENT_TOTALS(F)
#undef F
	} totals = { t->records, t->wire_bytes, t->captured_bytes, t->first_ns, t->last_ns, w->terms.opaque };
#define F(codec, type, name, description) writer_##codec(&out, totals.name);
	SEGMENT_TOTALS(F)
#undef F
	writer_le16(&out, (uint16_t)strlen(w->stream_name));
	writer_put(&out, w->stream_name, strlen(w->stream_name));
	for (uint32_t i = 0; i < w->block_count; i++) {
#define F(codec, type, name, description) writer_##codec(&out, w->blocks[i].name);
		BLOCK_ENTRY(F)
#undef F
		writer_put(&out, w->blocks[i].hash, SEGMENT_HASH_BYTES);
		writer_put(&out, block_key(w, i), BLOCK_KEY_BYTES);
	}
	enum err e = write_tables(w, &out, footer);
	assert(writer_ok(&out));
	*main_at = w->at;
	size_t n = (size_t)(out.at - page);
	*main_bytes = (uint32_t)n + SEAL_TAG_BYTES;
	memcpy(copy, page, n);
	if (e == OK)
		e = write_page(w, 0, page, n, footer);
	if (e == OK)
		e = write_page(w, SEGMENT_MAIN_COPY, copy, n, footer);
	free(page);
	return e;
}

static enum err
write_trailers(struct segment_writer *w, uint64_t footer_at, uint64_t main_at, uint32_t main_bytes)
{
	uint8_t bytes[SEGMENT_TRAILERS_BYTES];
	struct writer out = writer_of(bytes, SEGMENT_TRAILER_BYTES);
	struct {
#define F(codec, type, name, description) type name;
		SEGMENT_TRAILER(F)
#undef F
	} t = { SEGMENT_TRAILER_MAGIC, SEGMENT_VERSION, w->name.id, w->name.key_slot, w->name.stream, footer_at, main_at,
	        main_bytes, w->block_count };
#define F(codec, type, field, description) writer_##codec(&out, t.field);
	SEGMENT_TRAILER(F)
#undef F
	writer_put(&out, w->name.archive, ARCHIVE_ID_BYTES);
	writer_put(&out, w->totals.root, SEGMENT_HASH_BYTES);
	short_hash(bytes, SEGMENT_TRAILER_BYTES - 8, bytes + SEGMENT_TRAILER_BYTES - 8);
	memcpy(bytes + SEGMENT_TRAILER_BYTES, bytes, SEGMENT_TRAILER_BYTES);
	TRY(io_write(w->fd, bytes, sizeof bytes, w->path));
	w->at += sizeof bytes;
	return OK;
}

enum err
segment_finish(struct segment_writer *w, struct segment_totals *totals)
{
	assert(w->block_count > 0);
	uint8_t leaves[SEGMENT_BLOCKS_MAX + 1][SEGMENT_HASH_BYTES];
	uint64_t footer_at = w->at, main_at = 0;
	uint32_t main_bytes = 0;
	crypto_generichash_state footer;
	crypto_generichash_init(&footer, NULL, 0, SEGMENT_HASH_BYTES);
	TRY(write_footer(w, &footer, &main_at, &main_bytes));
	for (uint32_t i = 0; i < w->block_count; i++)
		memcpy(leaves[i], w->blocks[i].hash, SEGMENT_HASH_BYTES);
	crypto_generichash_final(&footer, leaves[w->block_count], SEGMENT_HASH_BYTES);
	hash_root(leaves, w->block_count + 1, w->totals.root);
	TRY(write_trailers(w, footer_at, main_at, main_bytes));
	TRY(io_datasync(w->fd, w->path));
	w->totals.file_bytes = w->at;
	w->totals.footer_bytes = w->at - footer_at;
	*totals = w->totals;
	return OK;
}
