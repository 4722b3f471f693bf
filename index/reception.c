#include "index/reception.h"

#include <assert.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/io.h"
#include "index/reception_inside.h"
#include "index/recovery.h"

static struct catalogue *catalogue_of(struct reception *r) { return archive_catalogue(store_archive(r->store)); }

bool
block_is_full(uint32_t records, uint64_t captured_bytes)
{
	return records > BLOCK_RECORDS_MAX / 2 || captured_bytes > BLOCK_BYTES_MAX / 2;
}

/* --- feeds --- */

static uint32_t
feed_hash(uint32_t monitor, const char *name)
{
	uint32_t h = 2166136261u ^ monitor * 0x9e3779b1u; /* FNV-1a; monitors are enrolled, and each names its own streams */
	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 16777619u;
	return h ^ h >> 15;
}

/* Where the feed is in the table, or the free place for it. */
static uint32_t *
feed_place_in(const struct reception *r, uint32_t monitor, const char *name)
{
	for (uint32_t i = feed_hash(monitor, name);; i++) {
		uint32_t *place = &r->table[i & (r->table_room - 1)];
		const struct feed *f = *place ? r->feeds[*place - 1] : NULL;
		if (!f || (f->row.monitor == monitor && strcmp(f->name, name) == 0))
			return place;
	}
}

static enum err
feeds_grow(struct reception *r)
{
	if (r->feed_count < r->feed_room)
		return OK;
	uint32_t room = r->feed_room ? 2 * r->feed_room : 16;
	struct feed **feeds = realloc(r->feeds, room * sizeof *feeds);
	if (feeds)
		r->feeds = feeds;
	uint32_t *table = feeds ? calloc(2 * (size_t)room, sizeof *table) : NULL;
	if (!table)
		return fail(ERR_NOMEM, "no memory for %u streams of monitors", room);
	free(r->table);
	r->table = table;
	r->table_room = 2 * room;
	r->feed_room = room;
	for (uint32_t i = 0; i < r->feed_count; i++)
		*feed_place_in(r, r->feeds[i]->row.monitor, r->feeds[i]->name) = i + 1;
	return OK;
}

static enum err
feed_add(struct reception *r, const struct feed_row *row, const struct feed_row *merged, const char *name, struct feed **out)
{
	TRY(feeds_grow(r));
	struct feed *f = calloc(1, sizeof *f);
	if (!f)
		return fail(ERR_NOMEM, "no memory for a stream of a monitor");
	f->row = f->durable = *row;
	f->merged = *merged;
	snprintf(f->name, sizeof f->name, "%s", name);
	uint32_t *place = feed_place_in(r, row->monitor, f->name);
	r->feeds[r->feed_count++] = f;
	*place = r->feed_count;
	if (out)
		*out = f;
	return OK;
}

/* In a snapshot. */
static enum err
feed_count(struct catalogue *c, struct feed *f)
{
	struct landed_row row = { 0 };
	enum err e;
	f->waiting = f->full = 0;
	f->oldest_ns = 0;
	while ((e = catalogue_next_landed_of(c, f->row.stream, &row)) == OK) {
		if (f->waiting++ == 0)
			f->oldest_ns = row.arrived_ns;
		f->full += block_is_full(row.records, row.captured_bytes);
	}
	return e == END ? OK : e;
}

enum err
feed_recount(struct reception *r, struct feed *f)
{
	TRY(catalogue_begin(catalogue_of(r)));
	enum err e = feed_count(catalogue_of(r), f);
	catalogue_end(catalogue_of(r));
	return e;
}

static enum err
feeds_load(struct reception *r)
{
	struct catalogue *c = catalogue_of(r);
	struct feed_row row = { 0 };
	enum err e;
	while ((e = catalogue_next_feed(c, false, &row)) == OK) {
		struct feed_row merged = { .stream = row.stream, .monitor = row.monitor };
		struct stream_row stream;
		struct feed *f;
		e = catalogue_feed(c, row.stream, true, &merged);
		if (e != OK && e != ERR_ABSENT)
			return e;
		TRY(catalogue_stream(c, row.stream, &stream));
		const char *slash = strchr(stream.name, '/');
		TRY(feed_add(r, &row, &merged, slash ? slash + 1 : stream.name, &f));
		TRY(feed_count(c, f));
	}
	return e == END ? OK : e;
}

/* The number of "MONITOR/STREAM", made when new. */
static enum err
feed_stream(struct reception *r, uint32_t monitor, const char *name, uint32_t *stream)
{
	struct monitor_row row;
	char full[STREAM_NAME_BYTES];
	TRY(catalogue_begin(catalogue_of(r)));
	enum err e = catalogue_monitor(catalogue_of(r), monitor, &row);
	catalogue_end(catalogue_of(r));
	if (e != OK)
		return e;
	if (snprintf(full, sizeof full, "%s/%s", row.name, name) >= (int)sizeof full)
		return fail(ERR_USAGE, "a stream's name of more than %zu bytes, monitor and / included", sizeof full - 1);
	return store_stream(r->store, full, stream);
}

static uint32_t
feeds_of(const struct reception *r, uint32_t monitor)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < r->feed_count; i++)
		n += r->feeds[i]->row.monitor == monitor;
	return n;
}

static struct feed *
feed_known(const struct reception *r, uint32_t monitor, const char *name)
{
	uint32_t i = r->table_room ? *feed_place_in(r, monitor, name) : 0;
	return i ? r->feeds[i - 1] : NULL;
}

/* --- opening --- */

static enum err
reception_open(struct store *s, struct reception **out)
{
	struct reception *r = calloc(1, sizeof *r);
	if (!r)
		return fail(ERR_NOMEM, "no memory to receive from monitors");
	r->store = s;
	r->emptied = true;
	enum err e = catalogue_begin(catalogue_of(r));
	if (e == OK)
		e = feeds_load(r);
	catalogue_end(catalogue_of(r));
	if (e != OK) {
		reception_close(&r);
		return e;
	}
	*out = r;
	return OK;
}

enum err
reception_of(struct store *s, struct reception **out)
{
	struct reception **place = store_reception(s);
	TRY(store_running(s));
	if (!*place)
		TRY(reception_open(s, place));
	*out = *place;
	return OK;
}

/* What was not committed was not acknowledged: the next writer takes it up or cuts it off. */
void
reception_close(struct reception **out)
{
	struct reception *r = *out;
	if (!r)
		return;
	for (uint32_t i = 0; i < r->feed_count; i++) {
		merge_abort(r, r->feeds[i], true);
		free(r->feeds[i]);
	}
	merger_close(&r->merger);
	landing_close(&r->landing);
	free(r->feeds);
	free(r->table);
	free(r->landed);
	free(r->gaps);
	free(r);
	*out = NULL;
}

/* --- landing --- */

static enum err
landing_folder(const struct archive *a)
{
	char folder[PATH_BYTES];
	TRY(archive_landing_folder(a, folder));
	enum err e = io_mkdir(folder, 0700);
	if (e == OK)
		return io_sync_dir(archive_path(a));
	return e == ERR_EXISTS ? OK : e;
}

/* A new landing file: its name is durable, its header with the first group. A key without a file, or a file without a row,
 * is what recovery clears away. */
static enum err
landing_begin(struct reception *r)
{
	struct archive *a = store_archive(r->store);
	struct landing_name name = { .id = store_next_id(r->store) };
	uint8_t key[SEGMENT_KEY_BYTES];
	char path[PATH_BYTES], folder[PATH_BYTES], kept[ERR_TEXT_BYTES];
	struct landing *l = NULL;
	archive_id(a, name.archive);
	TRY(landing_folder(a));
	TRY(archive_landing_folder(a, folder));
	TRY(archive_landing_path(a, name.id, path));
	TRY(keystore_add(archive_keystore(a), name.id, &name.key_slot, key));
	enum err e = landing_create(&l, path, &name, key);
	sodium_memzero(key, sizeof key);
	if (e == OK)
		e = io_sync_dir(folder);
	if (e != OK) {
		snprintf(kept, sizeof kept, "%s", err_text());
		if (l && io_unlink(path) != OK)
			store_stop(r->store);
		landing_close(&l);
		if (keystore_shred(archive_keystore(a), name.key_slot) != OK || e == ERR_IO)
			store_stop(r->store);
		return fail(e, "%s", kept);
	}
	landing_close(&r->landing);
	r->landing = l;
	r->landing_slot = name.key_slot;
	r->group_at = landing_bytes(l);
	r->emptied = true;
	return OK;
}

static enum err
room_for(void **v, uint32_t *room, uint32_t count, size_t each)
{
	if (count <= *room)
		return OK;
	uint32_t more = count < 16 ? 16 : 2 * count;
	void *grown = realloc(*v, more * each);
	if (!grown)
		return fail(ERR_NOMEM, "no memory for %u parcels", more);
	*v = grown;
	*room = more;
	return OK;
}

enum err
gaps_room(struct gap_row **v, uint32_t *room, uint32_t count)
{
	void *p = *v;
	TRY(room_for(&p, room, count, sizeof **v));
	*v = p;
	return OK;
}

static enum err
group_room(struct reception *r)
{
	void *p = r->landed;
	TRY(room_for(&p, &r->landed_room, r->landed_count + 1, sizeof *r->landed));
	r->landed = p;
	return gaps_room(&r->gaps, &r->gap_room, r->gap_count + FEED_GAPS_MAX);
}

struct landed_row
landed_row_of(uint64_t landing, const struct parcel *p, const struct landing_entry *e)
{
	const struct landing_record *rec = &e->record;
	return (struct landed_row){
		.stream = rec->stream,
		.epoch = p->epoch,
		.sequence = p->sequence,
		.landing = landing,
		.at = e->at,
		.front_bytes = rec->front_bytes,
		.block_bytes = rec->block_bytes,
		.records = rec->records,
		.first_ns = rec->first_ns,
		.last_ns = rec->last_ns,
		.wire_bytes = rec->wire_bytes,
		.captured_bytes = rec->captured_bytes,
		.sampled = rec->sampled,
		.sampler = rec->sampler,
		.arrived_ns = rec->arrived_ns,
	};
}

static struct feed_mark
mark_of(const struct feed_row *row)
{
	struct feed_mark m = { .epoch = row->epoch, .sequence = row->sequence };
	memcpy(m.chain, row->chain, sizeof m.chain);
	return m;
}

/* A parcel that is the next one. */
static enum err
land(struct reception *r, struct feed *f, const struct arrival *a)
{
	const struct parcel *p = a->parcel;
	const struct block_info *info = a->block ? &a->block->info : NULL;
	struct landing_entry entry;
	if (r->landing && landing_bytes(r->landing) >= LANDING_BYTES_MAX)
		TRY(group_commit(r)); /* a group lies in one file */
	if (!r->landing || landing_bytes(r->landing) >= LANDING_BYTES_MAX)
		TRY(landing_begin(r));
	TRY(group_room(r));
	enum err e = landing_append(r->landing, p, info, a->key, f->row.monitor, f->row.stream, a->now_ns, &entry);
	if (e != OK) {
		if (e != ERR_FULL)
			store_stop(r->store);
		return e;
	}
	r->landed[r->landed_count++] = (struct group_parcel){ landed_row_of(landing_name_of(r->landing)->id, p, &entry), f };
	r->group_bytes += entry.next - entry.at;
	struct feed_row before = f->row;
	r->gap_count += feed_apply(&f->row, p, info ? info->records : 0, info ? info->last_ns : 0, a->now_ns,
	                           r->gaps + r->gap_count);
	f->dirty = true;
	merge_landed(r, f, &before, a);
	return store_running(r->store);
}

enum err
store_land(struct store *s, const struct arrival *a, enum landing_answer *answer, struct feed_mark *mark)
{
	struct reception *r;
	const struct parcel *p = a->parcel;
	assert((p->kind == PARCEL_BLOCK) == (a->block != NULL && a->key != NULL));
	TRY(reception_of(s, &r));
	struct feed *f = feed_known(r, a->monitor, p->stream);
	struct feed_row none = { .monitor = a->monitor };
	enum landing_answer place = feed_place(f ? &f->row : &none, p);
	if (place == LANDED && (r->quota || (!f && feeds_of(r, a->monitor) >= MONITOR_STREAMS_MAX)))
		place = LANDED_QUOTA;
	if (place == LANDED && !f) {
		TRY(feed_stream(r, a->monitor, p->stream, &none.stream));
		TRY(feed_add(r, &none, &none, p->stream, &f));
	}
	if (place == LANDED)
		TRY(land(r, f, a));
	*answer = place;
	*mark = mark_of(!f ? &none : place == LANDED || place == LANDED_BEFORE ? &f->row : &f->durable);
	return OK;
}

enum err
store_mark(struct store *s, uint32_t monitor, const char *stream, struct feed_mark *mark)
{
	struct reception *r;
	TRY(reception_of(s, &r));
	const struct feed *f = feed_known(r, monitor, stream);
	*mark = f ? mark_of(&f->durable) : (struct feed_mark){ 0 };
	return OK;
}

enum err
store_report(struct store *s, uint32_t monitor, const char *stream, const struct feed_report *report, bool *news)
{
	struct reception *r;
	*news = false;
	TRY(reception_of(s, &r));
	struct feed *f = feed_known(r, monitor, stream);
	if (!f || r->quota)
		return OK; /* it will say so again */
	TRY(gaps_room(&r->gaps, &r->gap_room, r->gap_count + FEED_GAPS_MAX));
	uint32_t n = feed_report(&f->row, report, r->gaps + r->gap_count);
	r->gap_count += n;
	f->dirty |= n > 0;
	*news = n > 0;
	return OK;
}

uint64_t
store_landing_bytes(const struct store *s)
{
	const struct reception *r = *store_reception((struct store *)(uintptr_t)s);
	return r ? r->group_bytes : 0;
}

/* --- the group commit --- */

static enum err
put_landing(const struct reception *r, struct catalogue *c)
{
	struct landing_row row = { .id = landing_name_of(r->landing)->id, .slot = r->landing_slot };
	enum err e = catalogue_landing(c, row.id, &row);
	if (e != OK && e != ERR_ABSENT)
		return e;
	row.bytes = landing_bytes(r->landing);
	return catalogue_put_landing(c, &row);
}

static enum err
group_change(struct catalogue *c, void *arg)
{
	struct reception *r = arg;
	if (r->landed_count)
		TRY(put_landing(r, c));
	for (uint32_t i = 0; i < r->landed_count; i++)
		TRY(catalogue_put_landed(c, &r->landed[i].row));
	for (uint32_t i = 0; i < r->feed_count; i++)
		if (r->feeds[i]->dirty)
			TRY(catalogue_put_feed(c, &r->feeds[i]->row));
	for (uint32_t i = 0; i < r->gap_count; i++)
		TRY(catalogue_add_gap(c, &r->gaps[i]));
	return OK;
}

/* The group is durable, or it never was. */
static void
group_end(struct reception *r)
{
	r->landed_count = r->gap_count = 0;
	r->group_bytes = 0;
	r->group_at = r->landing ? landing_bytes(r->landing) : 0;
}

/* Whether the index is as it was before the group: a commit that failed late may have come through. */
static bool
group_is_absent(struct reception *r)
{
	struct feed_row row;
	bool absent = catalogue_begin(catalogue_of(r)) == OK;
	for (uint32_t i = 0; absent && i < r->feed_count; i++) {
		const struct feed *f = r->feeds[i];
		if (!f->dirty)
			continue;
		enum err e = catalogue_feed(catalogue_of(r), f->row.stream, false, &row);
		absent = e == OK ? row_equal(ROW_KIND_FEED, &row, &f->durable) : e == ERR_ABSENT && f->durable.epoch == 0;
	}
	catalogue_end(catalogue_of(r));
	return absent;
}

/* The disk is full: the file is cut back to where the group starts. Returns e with its sentence, or that the store stopped. */
static enum err
group_take_back(struct reception *r, enum err e)
{
	char kept[ERR_TEXT_BYTES];
	snprintf(kept, sizeof kept, "%s", err_text());
	bool sure = e == ERR_FULL && group_is_absent(r);
	if (!sure || (r->landed_count && landing_cut(r->landing, r->group_at) != OK)) {
		store_stop(r->store);
		return fail(e == ERR_FULL ? ERR_IO : e, "%s", kept);
	}
	for (uint32_t i = 0; i < r->feed_count; i++) {
		struct feed *f = r->feeds[i];
		if (f->dirty) {
			f->row = f->durable;
			f->dirty = false;
			merge_abort(r, f, false);
		}
	}
	group_end(r);
	r->taken_back = true;
	return fail(e, "%s", kept);
}

enum err
group_commit(struct reception *r)
{
	if (r->landed_count == 0 && r->gap_count == 0)
		return OK;
	enum err e = r->landed_count ? landing_sync(r->landing) : OK;
	if (e == OK)
		e = catalogue_update(catalogue_of(r), group_change, r);
	if (e != OK)
		return group_take_back(r, e);
	for (uint32_t i = 0; i < r->feed_count; i++) {
		struct feed *f = r->feeds[i];
		if (f->dirty)
			f->durable = f->row;
		f->dirty = false;
	}
	for (uint32_t i = 0; i < r->landed_count; i++) {
		const struct landed_row *row = &r->landed[i].row;
		struct feed *f = r->landed[i].feed;
		if (f->waiting++ == 0)
			f->oldest_ns = row->arrived_ns;
		f->full += block_is_full(row->records, row->captured_bytes);
	}
	group_end(r);
	return OK;
}

enum err
store_land_commit(struct store *s)
{
	struct reception *r;
	TRY(reception_of(s, &r));
	bool taken_back = r->taken_back;
	enum err e = taken_back ? OK : group_commit(r);
	r->taken_back = false;
	if (taken_back)
		return fail(ERR_FULL, "%s: the disk was full: what landed last was taken back", archive_path(store_archive(s)));
	return e;
}

/* --- now and then --- */

enum err
reception_tend(struct store *s, const struct retention *limits, uint64_t now_ns, bool force, bool *more)
{
	struct reception *r;
	bool merging = false, retiring = false;
	*more = false;
	TRY(reception_of(s, &r));
	r->merge_age_ns = limits && limits->merge_age_ns ? limits->merge_age_ns : MERGE_AGE_NS;
	enum err e = merge_step(r, now_ns, force, &merging);
	if (e == OK && limits && !merging)
		e = retention_step(r, limits, now_ns, &retiring);
	*more = merging || retiring;
	return e;
}
