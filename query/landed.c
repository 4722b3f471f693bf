#include "query/landed.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

/* What becomes a part. */
struct gathering {
	struct block_info   infos[SEGMENT_BLOCKS_MAX];
	struct landed_block blocks[SEGMENT_BLOCKS_MAX];
	uint8_t            *keys; /* sodium_malloc */
	uint32_t            count;
	struct landed_part  part;
};

void
landed_files_fini(struct landed_files *f)
{
	for (uint32_t i = 0; i < f->count; i++) {
		landing_close(&f->v[i].landing);
		free(f->v[i].fault);
	}
	free(f->v);
	*f = (struct landed_files){ 0 };
}

static bool
is_damage(enum err e)
{
	return e == ERR_FORMAT || e == ERR_DENIED || e == ERR_UNSUPPORTED;
}

static enum err
file_open(struct landed_files *files, struct archive *a, uint64_t id, bool final, struct landed_counts *counts,
          struct landed_file **out)
{
	for (uint32_t i = 0; i < files->count; i++)
		if (files->v[i].row.id == id) {
			*out = &files->v[i];
			return OK;
		}
	struct landed_file f = { 0 };
	enum err e = catalogue_landing(archive_catalogue(a), id, &f.row);
	if (e == OK)
		e = archive_open_landing(a, &f.row, &f.landing);
	if (e == ERR_ABSENT && !final && f.row.state == SEGMENT_LIVE)
		return ERR_BUSY;
	if (e != OK && e != ERR_ABSENT && !is_damage(e))
		return e;
	f.row.id = id;
	counts->missing += e == ERR_ABSENT;
	struct landed_file *v = realloc(files->v, (files->count + 1) * sizeof *v);
	f.fault = is_damage(e) ? strdup(err_text()) : NULL;
	if (v)
		files->v = v;
	if (!v || (is_damage(e) && !f.fault)) {
		landing_close(&f.landing);
		free(f.fault);
		return fail(ERR_NOMEM, "out of memory");
	}
	v[files->count] = f;
	*out = &v[files->count++];
	return OK;
}

/* The first fault stays. */
static enum err
note_fault(struct gathering *g, const char *sentence)
{
	if (g->part.fault)
		return OK;
	g->part.fault = strdup(sentence);
	return g->part.fault ? OK : fail(ERR_NOMEM, "out of memory");
}

static enum err
gather(struct gathering *g, const struct landed_file *file, const struct landed_row *row)
{
	struct landing_entry entry;
	uint32_t i = g->count;
	if (g->part.records == 0 || row->first_ns < g->part.first_ns)
		g->part.first_ns = row->first_ns;
	if (row->last_ns > g->part.last_ns)
		g->part.last_ns = row->last_ns;
	g->part.records += row->records;
	if (!file->landing)
		return note_fault(g, file->fault);
	enum err e = landing_key(file->landing, row->at, &entry);
	if (is_damage(e) || e == END) /* END: cut short */
		return note_fault(g, e == END ? "a landing file is cut short" : err_text());
	TRY(e);
	g->infos[i] = landing_block_info(&entry);
	memcpy(g->keys + i * BLOCK_KEY_BYTES, entry.key, BLOCK_KEY_BYTES);
	sodium_memzero(entry.key, sizeof entry.key);
	g->blocks[i] = (struct landed_block){
		.info = &g->infos[i],
		.key = g->keys + i * BLOCK_KEY_BYTES,
		.fd = landing_fd(file->landing),
		.path = landing_path(file->landing),
	};
	g->count++;
	return OK;
}

/* What was gathered goes to see(). */
static enum err
hand_over(struct gathering *g, uint32_t stream, landed_see *see, void *arg)
{
	struct landed_part part = g->part;
	if (g->count == 0 && !part.fault)
		return OK;
	g->part = (struct landed_part){ 0 };
	enum err e = g->count ? segment_of_landed(&part.segment, stream, g->blocks, g->count) : OK;
	g->count = 0;
	if (e == OK)
		e = see(arg, &part);
	if (e != OK) {
		segment_close(&part.segment);
		free(part.fault);
	}
	return e;
}

static bool
in_span(const struct span *span, const struct landed_row *row)
{
	return row->last_ns >= span->from_ns && (row->first_ns < span->until_ns || span->until_ns == UINT64_MAX);
}

enum err
landed_find(struct landed_files *files, struct archive *a, uint32_t stream, const struct span *span, bool final,
            struct landed_counts *counts, landed_see *see, void *arg)
{
	struct landed_row row = { 0 };
	struct landed_file *file;
	struct gathering g = { 0 };
	enum err e;
	while ((e = catalogue_next_landed_of(archive_catalogue(a), stream, &row)) == OK) {
		if (row.block_bytes == 0)
			continue;
		counts->blocks++;
		counts->records += row.records;
		counts->bytes += row.block_bytes;
		if (!in_span(span, &row)) {
			counts->blocks_by_time++;
			continue;
		}
		if (!g.keys && !(g.keys = sodium_malloc(SEGMENT_BLOCKS_MAX * BLOCK_KEY_BYTES))) {
			e = fail(ERR_NOMEM, "out of memory");
			break;
		}
		e = file_open(files, a, row.landing, final, counts, &file);
		if (e == OK && (file->landing || file->fault))
			e = gather(&g, file, &row);
		if (e == OK && g.count == SEGMENT_BLOCKS_MAX)
			e = hand_over(&g, stream, see, arg);
		if (e != OK)
			break;
	}
	if (e == END)
		e = hand_over(&g, stream, see, arg);
	free(g.part.fault);
	sodium_free(g.keys);
	return e;
}
