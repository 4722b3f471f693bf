#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/block.h"
#include "archive/block_read.h"
#include "archive/postings.h"
#include "archive/seal.h"
#include "archive/segment_clear.h"
#include "archive/segment_format.h"
#include "archive/segment_terms.h"
#include "base/io.h"

#define TAIL_BYTES  (32u << 10) /* read at once from the end: trailers and, nearly always, the main pages */
#define MAIN_BYTES_MAX (16u << 20)
#define PAGES_MAX   (64u << 10)

/* Entries of each table at most: what is read of a segment takes no more memory than one that we would write. */
static const uint32_t entries_max[TABLE_COUNT] = {
	[TABLE_IP4] = SEGMENT_ADDRESSES_MAX, [TABLE_IP6] = SEGMENT_ADDRESSES_MAX, [TABLE_PORT] = 65536, [TABLE_PROTO] = 256,
};

struct table {
	struct page_entry *pages;
	uint32_t count, first_number; /* the number its first page is sealed under */
};

struct segment {
	uint64_t serial;             /* number of its first block in block_load() */
	char path[PATH_BYTES];
	int fd;
	uint8_t *key;                /* sodium_malloc: the segment's, then those of the blocks */
	struct segment_name name;
	struct segment_totals totals;
	char stream_name[STREAM_NAME_BYTES];
	struct block_info blocks[SEGMENT_BLOCKS_MAX];
	uint64_t opaque, footer_at, main_at;
	uint32_t main_bytes;
	char fault[ERR_TEXT_BYTES];  /* see segment_fault() */
	struct table tables[TABLE_COUNT];
	struct unpacker *unpacker;
	struct {
		int fd;
		const char *path;
	} *landed;                   /* where each block lies, when they lie in landing files */
	uint32_t *ip4;               /* once asked for */
	uint8_t (*ip6)[16];
};

static enum err
part_damaged(const struct segment *s, const char *part)
{
	return fail(ERR_FORMAT, "%s: the %s is damaged; its copy is whole", s->path, part);
}

/* The first stays. */
static void
note_fault(struct segment *s, const char *part)
{
	(void)part_damaged(s, part);
	if (!s->fault[0])
		snprintf(s->fault, sizeof s->fault, "%s", err_text());
}

/* Opens n sealed bytes in place. */
static enum err
open_page(const struct segment *s, uint32_t number, uint8_t *p, size_t n, const char *what)
{
	enum err e = unseal_page(s->key, &s->name, number, p, n, p);
	return e == OK ? OK : fail_prefix(e, "%s: %s: ", s->path, what);
}

static enum err
parse_tables(struct segment *s, struct reader *r)
{
	uint32_t number = 1;
	uint64_t at = s->footer_at; /* pages lie one behind the other, so that they are never more than the file */
	for (unsigned t = 0; t < TABLE_COUNT; t++) {
		uint32_t entries = 0;
		struct table *table = &s->tables[t];
		table->count = reader_le32(r);
		table->first_number = number;
		if (!reader_ok(r) || table->count > PAGES_MAX || table->count > reader_left(r) / PAGE_ENTRY_BYTES)
			return fail(ERR_FORMAT, "%s: index directory is damaged", s->path);
		table->pages = calloc(table->count + 1, sizeof *table->pages);
		if (!table->pages)
			return fail(ERR_NOMEM, "out of memory");
		for (uint32_t i = 0; i < table->count; i++) {
			struct page_entry *e = &table->pages[i];
#define F(codec, type, name, description) e->name = reader_##codec(r);
			PAGE_ENTRY(F)
#undef F
			if (e->entries == 0 || e->entries > POSTINGS_PAGE || e->entries > entries_max[t] - entries || e->at != at ||
			    e->sealed_bytes <= SEAL_TAG_BYTES || e->sealed_bytes > s->main_at - at ||
			    e->sealed_bytes > postings_page_bound() + SEAL_TAG_BYTES)
				return fail(ERR_FORMAT, "%s: index directory is damaged", s->path);
			entries += e->entries;
			at += e->sealed_bytes;
		}
		number += table->count;
	}
	return at == s->main_at ? OK : fail(ERR_FORMAT, "%s: index directory does not add up", s->path);
}

static uint8_t *
block_key(const struct segment *s, uint32_t block)
{
	return s->key + SEGMENT_KEY_BYTES + block * BLOCK_KEY_BYTES;
}

static enum err
parse_blocks(struct segment *s, struct reader *r)
{
	uint64_t at = SEGMENT_HEADER_BYTES, records = 0;
	for (uint32_t i = 0; i < s->totals.blocks; i++) {
		struct block_info *b = &s->blocks[i];
#define F(codec, type, name, description) b->name = reader_##codec(r);
		BLOCK_ENTRY(F)
#undef F
		const uint8_t *hash = reader_view(r, SEGMENT_HASH_BYTES);
		const uint8_t *key = reader_view(r, BLOCK_KEY_BYTES);
		if (!hash || !key || b->sampled == 0 || b->sampler >= SAMPLER_COUNT_OF || b->at != at || b->records == 0 ||
		    b->records > BLOCK_RECORDS_MAX ||
		    b->stored_bytes < BLOCK_HEADER_BYTES || b->stored_bytes > s->footer_at - at)
			return fail(ERR_FORMAT, "%s: block table is damaged at block %u", s->path, i);
		memcpy(b->hash, hash, SEGMENT_HASH_BYTES);
		memcpy(block_key(s, i), key, BLOCK_KEY_BYTES);
		at += b->stored_bytes;
		records += b->records;
	}
	if (at != s->footer_at || records != s->totals.records)
		return fail(ERR_FORMAT, "%s: block table does not add up", s->path);
	return OK;
}

static enum err
parse_main(struct segment *s, const uint8_t *p, size_t n)
{
	struct reader r = reader_of(p, n);
	struct {
#define F(codec, type, name, description) type name;
		SEGMENT_TOTALS(F)
#undef F
	} t;
#define F(codec, type, name, description) t.name = reader_##codec(&r);
	SEGMENT_TOTALS(F)
#undef F
	s->totals.records = t.records;
	s->totals.wire_bytes = t.wire_bytes;
	s->totals.captured_bytes = t.captured_bytes;
	s->totals.first_ns = t.first_ns;
	s->totals.last_ns = t.last_ns;
	s->opaque = t.opaque;
	uint16_t name_bytes = reader_le16(&r);
	const uint8_t *name = reader_view(&r, name_bytes);
	if (!name || name_bytes >= STREAM_NAME_BYTES)
		return fail(ERR_FORMAT, "%s: footer is damaged", s->path);
	memcpy(s->stream_name, name, name_bytes);
	s->stream_name[name_bytes] = 0;
	TRY(parse_blocks(s, &r));
	TRY(parse_tables(s, &r));
	return reader_done(&r) ? OK : fail(ERR_FORMAT, "%s: footer with bytes left over", s->path);
}

static void
free_tables(struct segment *s)
{
	for (unsigned t = 0; t < TABLE_COUNT; t++) {
		free(s->tables[t].pages);
		s->tables[t] = (struct table){ 0 };
	}
}

static const char *const main_names[2] = { "first main page", "second main page" };
static const uint32_t main_numbers[2] = { 0, SEGMENT_MAIN_COPY };

/* tail holds the last tail_bytes of the file; what is taken from it is used up. */
static enum err
read_main(struct segment *s, unsigned copy, uint8_t *tail, size_t tail_bytes)
{
	uint64_t at = s->main_at + (uint64_t)copy * s->main_bytes, left = s->totals.file_bytes - at;
	uint8_t *page = tail + tail_bytes - left, *large = NULL;
	if (left > tail_bytes) {
		page = large = malloc(s->main_bytes);
		if (!large)
			return fail(ERR_NOMEM, "out of memory");
	}
	enum err e = large ? io_pread(s->fd, large, s->main_bytes, at, s->path) : OK;
	if (e == OK)
		e = open_page(s, main_numbers[copy], page, s->main_bytes, main_names[copy]);
	if (e == OK)
		e = parse_main(s, page, s->main_bytes - SEAL_TAG_BYTES);
	free(large);
	return e;
}

static enum err
take_trailer(struct segment *s, const struct trailer *t)
{
	uint64_t end = s->totals.file_bytes - SEGMENT_TRAILERS_BYTES;
	if (t->main_at > end || 2 * (uint64_t)t->main_bytes != end - t->main_at || t->main_bytes < SEAL_TAG_BYTES ||
	    t->main_bytes > MAIN_BYTES_MAX || t->footer_at > t->main_at || t->blocks == 0 || t->blocks > SEGMENT_BLOCKS_MAX)
		return fail(ERR_FORMAT, "%s: the trailer contradicts the file (cut short?)", s->path);
	memcpy(s->totals.root, t->root, SEGMENT_HASH_BYTES);
	s->totals.blocks = t->blocks;
	s->totals.footer_bytes = s->totals.file_bytes - t->footer_at;
	s->footer_at = t->footer_at;
	s->main_at = t->main_at;
	s->main_bytes = t->main_bytes;
	return OK;
}

/* Header and trailers: one of each kind may be damaged. */
static enum err
read_ends(struct segment *s, const uint8_t *tail, size_t tail_bytes)
{
	struct trailer t;
	bool last;
	enum err header = clear_header(s->fd, s->path, &s->name);
	if (header != OK && header != ERR_FORMAT)
		return header;
	enum err e = clear_pick_trailer(tail + tail_bytes - SEGMENT_TRAILERS_BYTES, s->path, &t, &last);
	if (e == ERR_FORMAT && header == ERR_FORMAT)
		return clear_header(s->fd, s->path, &s->name); /* what it said */
	TRY(e);
	if (header == OK && memcmp(&s->name, &t.name, sizeof t.name) != 0)
		return fail(ERR_FORMAT, "%s: header and trailer are not of one segment", s->path);
	s->name = t.name;
	TRY(take_trailer(s, &t));
	if (header != OK)
		note_fault(s, "header");
	if (!last)
		note_fault(s, "second trailer");
	return OK;
}

static enum err
segment_read(struct segment *s)
{
	uint8_t tail[TAIL_BYTES];
	TRY(io_open(&s->fd, s->path));
	TRY(io_size(s->fd, &s->totals.file_bytes, s->path));
	if (s->totals.file_bytes < SEGMENT_HEADER_BYTES + SEGMENT_TRAILERS_BYTES)
		return fail(ERR_FORMAT, "%s: cut short at %llu bytes", s->path,
		            (unsigned long long)s->totals.file_bytes);
	size_t n = s->totals.file_bytes < TAIL_BYTES ? s->totals.file_bytes : TAIL_BYTES;
	TRY(io_pread(s->fd, tail, n, s->totals.file_bytes - n, s->path));
	TRY(read_ends(s, tail, n));
	enum err e = read_main(s, 0, tail, n);
	if (e == ERR_DENIED || e == ERR_FORMAT) {
		free_tables(s);
		e = read_main(s, 1, tail, n);
		if (e == OK)
			note_fault(s, main_names[0]);
	}
	return e == OK ? unpacker_open(&s->unpacker) : e;
}

/* NULL: no memory. */
static struct segment *
segment_new(void)
{
	struct segment *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->serial = block_serials(SEGMENT_BLOCKS_MAX);
	s->fd = -1;
	s->key = sodium_malloc(SEGMENT_KEY_BYTES + SEGMENT_BLOCKS_MAX * BLOCK_KEY_BYTES);
	if (!s->key) {
		free(s);
		return NULL;
	}
	return s;
}

enum err
segment_open(struct segment **out, const char *path, const uint8_t key[SEGMENT_KEY_BYTES])
{
	if (strlen(path) >= PATH_BYTES)
		return fail(ERR_LIMIT, "%s: path too long", path);
	TRY(seal_start());
	struct segment *s = segment_new();
	if (!s)
		return fail(ERR_NOMEM, "out of memory");
	memcpy(s->path, path, strlen(path) + 1);
	memcpy(s->key, key, SEGMENT_KEY_BYTES);
	enum err e = segment_read(s);
	if (e != OK) {
		segment_close(&s);
		return e;
	}
	*out = s;
	return OK;
}

/* Without tables and with all blocks opaque: so each is in every answer. */
enum err
segment_of_landed(struct segment **out, uint32_t stream, const struct landed_block *v, uint32_t n)
{
	assert(n >= 1 && n <= SEGMENT_BLOCKS_MAX);
	TRY(seal_start());
	struct segment *s = segment_new();
	if (!s || !(s->landed = calloc(n, sizeof *s->landed))) {
		segment_close(&s);
		return fail(ERR_NOMEM, "out of memory");
	}
	struct segment_totals *t = &s->totals;
	t->first_ns = UINT64_MAX;
	s->opaque = UINT64_MAX;
	s->name.stream = stream;
	for (uint32_t i = 0; i < n; i++) {
		const struct block_info *info = v[i].info;
		s->landed[i].fd = v[i].fd;
		s->landed[i].path = v[i].path;
		s->blocks[i] = *info;
		memcpy(block_key(s, i), v[i].key, BLOCK_KEY_BYTES);
		t->first_ns = info->first_ns < t->first_ns ? info->first_ns : t->first_ns;
		t->last_ns = info->last_ns > t->last_ns ? info->last_ns : t->last_ns;
		t->records += info->records;
		t->wire_bytes += info->wire_bytes;
		t->captured_bytes += info->captured_bytes;
		t->file_bytes += info->stored_bytes;
	}
	t->blocks = n;
	*out = s;
	return OK;
}

void
segment_close(struct segment **out)
{
	struct segment *s = *out;
	if (!s)
		return;
	io_close(&s->fd);
	sodium_free(s->key);
	unpacker_close(&s->unpacker);
	free_tables(s);
	free(s->ip4);
	free(s->ip6);
	free(s->landed);
	free(s);
	*out = NULL;
}

const char *
segment_fault(const struct segment *s)
{
	return s->fault;
}

const struct segment_name *
segment_name_of(const struct segment *s)
{
	return &s->name;
}

const struct segment_totals *
segment_totals_of(const struct segment *s)
{
	return &s->totals;
}

const char *
segment_stream_name(const struct segment *s)
{
	return s->stream_name;
}

const struct block_info *
segment_blocks(const struct segment *s)
{
	return s->blocks;
}

/* --- tables --- */

static const char *const table_names[TABLE_COUNT] = { "IPv4 table", "IPv6 table", "port table", "protocol table" };

static enum err
read_page(struct segment *s, unsigned table, uint32_t i, struct posting v[POSTINGS_PAGE], uint32_t *n)
{
	const struct page_entry *e = &s->tables[table].pages[i];
	uint8_t *p = malloc(e->sealed_bytes);
	if (!p)
		return fail(ERR_NOMEM, "out of memory");
	enum err error = io_pread(s->fd, p, e->sealed_bytes, e->at, s->path);
	if (error == OK)
		error = open_page(s, s->tables[table].first_number + i, p, e->sealed_bytes, table_names[table]);
	if (error == OK) {
		error = postings_page_unpack(s->unpacker, p, e->sealed_bytes - SEAL_TAG_BYTES, v, n);
		if (error == OK && *n != e->entries)
			error = fail(ERR_FORMAT, "index page with another number of entries than its directory says");
		if (error != OK)
			error = fail_prefix(error, "%s: %s: ", s->path, table_names[table]);
	}
	free(p);
	return error;
}

static bool
within(const struct posting *v, const struct posting *first, const struct posting *last)
{
	return !posting_before(v, first) && !posting_before(last, v);
}

static enum err
find(struct segment *s, unsigned table, const struct posting *first, const struct posting *last, uint64_t *blocks)
{
	const struct table *t = &s->tables[table];
	struct posting v[POSTINGS_PAGE];
	uint64_t found = s->opaque;
	for (uint32_t i = 0; i < t->count; i++) {
		struct posting begin = { t->pages[i].high, t->pages[i].low, 0 };
		if (posting_before(last, &begin))
			break;
		if (i + 1 < t->count) {
			struct posting next = { t->pages[i + 1].high, t->pages[i + 1].low, 0 };
			if (!posting_before(first, &next))
				continue;
		}
		uint32_t n = 0;
		TRY(read_page(s, table, i, v, &n));
		for (uint32_t k = 0; k < n; k++)
			if (within(&v[k], first, last))
				found |= v[k].blocks;
	}
	uint64_t all = s->totals.blocks == 64 ? UINT64_MAX : ((uint64_t)1 << s->totals.blocks) - 1;
	*blocks = found & all;
	return OK;
}

enum err
segment_find_ip4(struct segment *s, uint32_t first, uint32_t last, uint64_t *blocks)
{
	return find(s, TABLE_IP4, &(struct posting){ 0, first, 0 }, &(struct posting){ 0, last, 0 }, blocks);
}

enum err
segment_find_ip6(struct segment *s, const uint8_t first[16], const uint8_t last[16], uint64_t *blocks)
{
	struct posting a = posting_of_ip6(first, 0), b = posting_of_ip6(last, 0);
	return find(s, TABLE_IP6, &a, &b, blocks);
}

enum err
segment_find_port(struct segment *s, uint16_t first, uint16_t last, uint64_t *blocks)
{
	return find(s, TABLE_PORT, &(struct posting){ 0, first, 0 }, &(struct posting){ 0, last, 0 }, blocks);
}

enum err
segment_find_proto(struct segment *s, uint8_t proto, uint64_t *blocks)
{
	return find(s, TABLE_PROTO, &(struct posting){ 0, proto, 0 }, &(struct posting){ 0, proto, 0 }, blocks);
}

static uint32_t
entries_of(const struct table *t)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < t->count; i++)
		n += t->pages[i].entries;
	return n;
}

enum err
segment_all_addresses(struct segment *s, const uint32_t **ip4, uint32_t *ip4_count,
                      const uint8_t (**ip6)[16], uint32_t *ip6_count)
{
	struct posting v[POSTINGS_PAGE];
	uint32_t at = 0, n = 0;
	if (!s->ip4)
		s->ip4 = malloc((entries_of(&s->tables[TABLE_IP4]) + 1) * sizeof *s->ip4);
	if (!s->ip6)
		s->ip6 = malloc((entries_of(&s->tables[TABLE_IP6]) + 1) * sizeof *s->ip6);
	if (!s->ip4 || !s->ip6)
		return fail(ERR_NOMEM, "out of memory");
	for (uint32_t i = 0; i < s->tables[TABLE_IP4].count; i++) {
		TRY(read_page(s, TABLE_IP4, i, v, &n));
		for (uint32_t k = 0; k < n; k++)
			s->ip4[at++] = (uint32_t)v[k].low;
	}
	*ip4_count = at;
	at = 0;
	for (uint32_t i = 0; i < s->tables[TABLE_IP6].count; i++) {
		TRY(read_page(s, TABLE_IP6, i, v, &n));
		for (uint32_t k = 0; k < n; k++, at++) {
			store_be64(s->ip6[at], v[k].high);
			store_be64(s->ip6[at] + 8, v[k].low);
		}
	}
	*ip6_count = at;
	*ip4 = s->ip4;
	*ip6 = (const uint8_t (*)[16])s->ip6;
	return OK;
}

/* The footer's leaf of the hash tree: all of its stored pages. */
static enum err
hash_footer(struct segment *s, uint8_t hash[SEGMENT_HASH_BYTES])
{
	enum { PIECE = 64 << 10 };
	uint64_t at = s->footer_at, end = s->totals.file_bytes - SEGMENT_TRAILERS_BYTES;
	crypto_generichash_state state;
	uint8_t *piece = malloc(PIECE);
	if (!piece)
		return fail(ERR_NOMEM, "out of memory");
	crypto_generichash_init(&state, NULL, 0, SEGMENT_HASH_BYTES);
	enum err e = OK;
	while (e == OK && at < end) {
		size_t n = end - at < PIECE ? end - at : PIECE;
		e = io_pread(s->fd, piece, n, at, s->path);
		if (e == OK)
			crypto_generichash_update(&state, piece, n);
		at += n;
	}
	crypto_generichash_final(&state, hash, SEGMENT_HASH_BYTES);
	free(piece);
	return e;
}

static enum err
check_mains(struct segment *s)
{
	size_t n = s->main_bytes;
	uint8_t *p = malloc(2 * n);
	if (!p)
		return fail(ERR_NOMEM, "out of memory");
	enum err e = io_pread(s->fd, p, 2 * n, s->main_at, s->path);
	for (unsigned i = 0; i < 2 && e == OK; i++) {
		e = open_page(s, main_numbers[i], p + i * n, n, main_names[i]);
		if (e == ERR_DENIED)
			e = part_damaged(s, main_names[i]);
	}
	if (e == OK && memcmp(p, p + n, n - SEAL_TAG_BYTES) != 0)
		e = fail(ERR_FORMAT, "%s: the main pages are not the same", s->path);
	free(p);
	return e;
}

/* Every copy of what a segment can not be read without. */
static enum err
check_copies(struct segment *s)
{
	static const char *const names[2] = { "first trailer", "second trailer" };
	uint8_t bytes[SEGMENT_TRAILERS_BYTES];
	struct segment_name name;
	struct trailer t;
	enum err e = clear_header(s->fd, s->path, &name);
	if (e == ERR_FORMAT)
		return part_damaged(s, "header");
	TRY(e);
	TRY(check_mains(s));
	TRY(io_pread(s->fd, bytes, sizeof bytes, s->totals.file_bytes - sizeof bytes, s->path));
	for (unsigned i = 0; i < 2; i++) {
		e = clear_trailer(bytes + i * SEGMENT_TRAILER_BYTES, s->path, &t);
		if (e == ERR_FORMAT)
			return part_damaged(s, names[i]);
		TRY(e);
	}
	if (memcmp(bytes, bytes + SEGMENT_TRAILER_BYTES, SEGMENT_TRAILER_BYTES) != 0)
		return fail(ERR_FORMAT, "%s: the trailers are not the same", s->path);
	return OK;
}

enum err
segment_check_index(struct segment *s)
{
	uint8_t leaves[SEGMENT_BLOCKS_MAX + 1][SEGMENT_HASH_BYTES], root[SEGMENT_HASH_BYTES];
	struct posting v[POSTINGS_PAGE];
	assert(!s->landed);
	for (unsigned t = 0; t < TABLE_COUNT; t++)
		for (uint32_t i = 0; i < s->tables[t].count; i++) {
			uint32_t n = 0;
			TRY(read_page(s, t, i, v, &n));
			if (v[0].high != s->tables[t].pages[i].high || v[0].low != s->tables[t].pages[i].low)
				return fail(ERR_FORMAT, "%s: %s: page %u starts with another key than its directory says",
				            s->path, table_names[t], i);
		}
	TRY(check_copies(s));
	for (uint32_t i = 0; i < s->totals.blocks; i++)
		memcpy(leaves[i], s->blocks[i].hash, SEGMENT_HASH_BYTES);
	TRY(hash_footer(s, leaves[s->totals.blocks]));
	hash_root(leaves, s->totals.blocks + 1, root);
	if (memcmp(root, s->totals.root, sizeof root) != 0)
		return fail(ERR_FORMAT, "%s: the footer is not the one that was written (its hash differs)", s->path);
	return OK;
}

/* --- blocks --- */

static struct stored_block
stored_block(const struct segment *s, uint32_t block)
{
	assert(block < s->totals.blocks);
	return (struct stored_block){
		.serial = s->serial + block,
		.info = &s->blocks[block],
		.key = block_key(s, block),
		.fd = s->landed ? s->landed[block].fd : s->fd,
		.path = s->landed ? s->landed[block].path : s->path,
	};
}

static enum err
block_outcome(const struct segment *s, uint32_t block, enum err e)
{
	if (e == OK || e == ERR_USAGE)
		return e; /* a view refuses it: not the file's fault */
	if (s->landed)
		return fail_prefix(e, "%s: block at byte %llu: ", s->landed[block].path,
		                   (unsigned long long)s->blocks[block].at);
	return fail_prefix(e, "%s: block %u: ", s->path, block);
}

enum err
segment_cost(struct segment *s, uint32_t block, unsigned columns, uint64_t *bytes)
{
	struct stored_block b = stored_block(s, block);
	enum err e = block_cost(&b, columns, bytes);
	return block_outcome(s, block, e);
}

enum err
segment_load(struct segment *s, uint32_t block, struct block_decoder *d, unsigned columns, const struct batch **out,
             uint64_t *bytes_read)
{
	struct stored_block b = stored_block(s, block);
	enum err e = block_load(d, &b, columns, out, bytes_read);
	return block_outcome(s, block, e);
}

enum err
segment_load_selected(struct segment *s, uint32_t block, struct block_decoder *d, unsigned columns,
                      const struct selection *sel, const struct batch **out, uint64_t *bytes_read)
{
	struct stored_block b = stored_block(s, block);
	enum err e = block_load_selected(d, &b, columns, sel, out, bytes_read);
	return block_outcome(s, block, e);
}

enum err
segment_check_block(struct segment *s, uint32_t block, struct block_decoder *d)
{
	struct stored_block b = stored_block(s, block);
	enum err e = block_check(d, &b);
	return block_outcome(s, block, e);
}

static enum err
compare_table(struct segment *s, unsigned table, const struct postings *want)
{
	struct posting v[POSTINGS_PAGE];
	uint32_t at = 0, n = 0;
	for (uint32_t i = 0; i < s->tables[table].count; i++) {
		TRY(read_page(s, table, i, v, &n));
		if (n > want->count - at || memcmp(v, want->v + at, n * sizeof *v) != 0)
			return fail(ERR_FORMAT, "%s: %s: not what the records have: searches in it may miss some", s->path, table_names[table]);
		at += n;
	}
	return at == want->count ? OK : fail(ERR_FORMAT, "%s: %s: does not have all that the records have: searches in it may miss some",
	                                     s->path, table_names[table]);
}

enum err
segment_check_terms(struct segment *s, struct block_examiner *x)
{
	struct segment_terms t;
	struct block b;
	assert(!s->landed);
	TRY(segment_terms_init(&t));
	enum err e = OK;
	for (uint32_t i = 0; i < s->totals.blocks && e == OK; i++) {
		struct stored_block stored = stored_block(s, i);
		e = block_outcome(s, i, block_terms(x, &stored, &b));
		if (e == OK)
			e = segment_terms_add(&t, &b, i);
	}
	for (unsigned table = 0; table < TABLE_COUNT && e == OK; table++)
		e = compare_table(s, table, &t.tables[table]);
	if (e == OK && t.opaque != s->opaque)
		e = fail(ERR_FORMAT, "%s: other blocks have records that the tables do not list than it says", s->path);
	segment_terms_fini(&t);
	return e;
}
