/* Recovery of landing files. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/io.h"
#include "index/feed.h"
#include "index/reception_inside.h"
#include "index/recovery.h"

struct landings {
	struct archive         *archive;
	struct recovery_report *report;
	void                  (*see)(void *arg, const char *sentence);
	void                   *arg;
	bool                    rebuilding;
	uint64_t               *ids; /* of rows and files, ascending, each once */
	size_t                  count, room;
};

static enum err
ids_add(struct landings *s, uint64_t id)
{
	if (s->count == s->room) {
		size_t room = s->room ? 2 * s->room : 16;
		uint64_t *ids = realloc(s->ids, room * sizeof *ids);
		if (!ids)
			return fail(ERR_NOMEM, "no memory for a list of %zu landing files", room);
		s->ids = ids;
		s->room = room;
	}
	s->ids[s->count++] = id;
	return OK;
}

static int
by_number(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static enum err
files_list(struct landings *s)
{
	char folder[PATH_BYTES];
	TRY(archive_landing_folder(s->archive, folder));
	DIR *d = opendir(folder);
	if (!d)
		return errno == ENOENT ? OK : fail_errno("%s", folder);
	enum err e = OK;
	struct dirent *entry;
	uint64_t id;
	while (e == OK && (errno = 0, entry = readdir(d)))
		if (archive_landing_id(entry->d_name, &id))
			e = ids_add(s, id);
	if (e == OK && errno)
		e = fail_errno("%s", folder);
	closedir(d);
	return e;
}

static enum err
landings_list(struct landings *s)
{
	struct catalogue *c = archive_catalogue(s->archive);
	struct landing_row row = { 0 };
	enum err e;
	TRY(files_list(s));
	TRY(catalogue_begin(c));
	while ((e = catalogue_next_landing(c, &row)) == OK && (e = ids_add(s, row.id)) == OK)
		;
	catalogue_end(c);
	if (e != END)
		return e;
	if (s->count)
		qsort(s->ids, s->count, sizeof *s->ids, by_number);
	size_t n = 0;
	for (size_t i = 0; i < s->count; i++)
		if (n == 0 || s->ids[n - 1] != s->ids[i])
			s->ids[n++] = s->ids[i];
	s->count = n;
	return OK;
}

/* --- one file --- */

struct tail {
	struct landings   *all;
	struct landing    *landing;
	struct landing_row row;
	uint64_t           end;      /* of what counts */
	uint64_t           parcels;  /* taken in */
	uint64_t           damages, damage_at;
};

/* A parcel behind what the index has. *next false: it does not follow on what is there, and ends the tail. */
static enum err
tail_parcel(struct tail *t, struct catalogue *c, const struct landing_entry *e, bool *next)
{
	const struct landing_record *rec = &e->record;
	struct feed_row feed = { .stream = rec->stream, .monitor = rec->monitor };
	struct gap_row gaps[FEED_GAPS_MAX];
	struct stream_row stream;
	enum err error = catalogue_feed(c, rec->stream, false, &feed);
	if (error != OK && error != ERR_ABSENT)
		return error;
	*next = true;
	if (feed_reached(&feed, e->parcel.epoch, e->parcel.sequence))
		return OK;
	if (!t->all->rebuilding && feed_place(&feed, &e->parcel) != LANDED) {
		*next = false;
		return OK;
	}
	error = catalogue_stream(c, rec->stream, &stream);
	if (error == ERR_ABSENT) /* its line in the manifest was damaged */
		return OK;
	TRY(error);
	struct landed_row row = landed_row_of(t->row.id, &e->parcel, e);
	uint32_t n = feed_apply(&feed, &e->parcel, rec->records, rec->last_ns, rec->arrived_ns, gaps);
	TRY(catalogue_put_landed(c, &row));
	TRY(catalogue_put_feed(c, &feed));
	for (uint32_t i = 0; i < n; i++)
		TRY(catalogue_add_gap(c, &gaps[i]));
	t->parcels++;
	return OK;
}

static enum err
tail_change(struct catalogue *c, void *arg)
{
	struct tail *t = arg;
	uint64_t at = t->row.bytes;
	struct landing_entry entry;
	t->parcels = t->damages = 0;
	t->end = at;
	TRY(catalogue_put_landing(c, &t->row));
	for (bool next = true; next;) {
		enum err e = landing_read(t->landing, at, &entry);
		if (e == OK) {
			e = tail_parcel(t, c, &entry, &next);
			sodium_memzero(entry.key, sizeof entry.key);
			TRY(e);
			if (next)
				t->end = at = entry.next;
			continue;
		}
		if (e != END && e != ERR_FORMAT && e != ERR_DENIED)
			return e;
		if (e == END || !t->all->rebuilding || landing_resync(t->landing, at, &at) != OK)
			break; /* what was not acknowledged may be torn */
		if (t->damages++ == 0)
			t->damage_at = t->end;
	}
	struct landing_row row;
	TRY(catalogue_landing(c, t->row.id, &row)); /* with what waits in it now */
	row.bytes = t->end;
	return catalogue_put_landing(c, &row);
}

static enum err
tail_cut(const struct landing *l, uint64_t end)
{
	int fd = -1;
	if (landing_bytes(l) <= end)
		return OK;
	TRY(io_open_write(&fd, landing_path(l)));
	enum err e = ftruncate(fd, (off_t)end) < 0 ? fail_errno("%s: cut off at byte %" PRIu64, landing_path(l), end) : OK;
	if (e == OK)
		e = io_datasync(fd, landing_path(l));
	io_close(&fd);
	return e;
}

static enum err
tail_apply(struct landings *s, struct landing *l, const struct landing_row *row, bool known)
{
	struct tail t = { .all = s, .landing = l, .row = *row };
	char text[ERR_TEXT_BYTES];
	t.row.state = SEGMENT_LIVE;
	if (landing_bytes(l) > t.row.bytes || t.row.state != row->state || !known) {
		/* who wrote it may have died before this: what the index has counts as durable from now on, and is acknowledged */
		TRY(landing_sync(l));
		TRY(catalogue_update(archive_catalogue(s->archive), tail_change, &t));
		TRY(tail_cut(l, t.end));
	}
	s->report->landed += t.parcels;
	if (t.damages && s->see) {
		snprintf(text, sizeof text, "%s: damaged at byte %" PRIu64 " (%" PRIu64 " places): parcels of monitors that "
		         "waited there are lost; what follows is kept", landing_path(l), t.damage_at, t.damages);
		s->see(s->arg, text);
	}
	return OK;
}

static enum err
put_change(struct catalogue *c, void *arg)
{
	return catalogue_put_landing(c, arg);
}

static enum err
forget_change(struct catalogue *c, void *arg)
{
	const struct landing_row *row = arg;
	enum err e = catalogue_forget_landing(c, row->id);
	return e == ERR_ABSENT ? OK : e;
}

enum err
recovery_destroy_landing(struct archive *a, const struct landing_row *row)
{
	char path[PATH_BYTES];
	uint64_t owner;
	struct landing_row gone = *row;
	enum err e = keystore_slot(archive_keystore(a), row->slot, &owner);
	if (e != OK && e != ERR_ABSENT)
		return e;
	if (e == OK && owner == row->id) /* the slot may serve another by now */
		TRY(keystore_shred(archive_keystore(a), row->slot));
	TRY(archive_landing_path(a, row->id, path));
	e = io_unlink(path);
	if (e != OK && e != ERR_ABSENT)
		return e;
	TRY(archive_landing_folder(a, path));
	e = io_sync_dir(path);
	if (e != OK && e != ERR_ABSENT)
		return e;
	return catalogue_update(archive_catalogue(a), forget_change, &gone);
}

/* A file that the index does not know. In a rebuild that is so with all of them; else its first group was never committed, and
 * nothing in it was acknowledged. *row gets what its header says; ERR_ABSENT: it is gone now, or put aside. */
static enum err
file_unknown(struct landings *s, uint64_t id, struct landing_row *row)
{
	char path[PATH_BYTES], aside[PATH_BYTES], text[ERR_TEXT_BYTES];
	struct landing_name name;
	uint8_t key[SEGMENT_KEY_BYTES];
	TRY(archive_landing_path(s->archive, id, path));
	enum err e = landing_read_name(path, &name);
	if (e == OK && name.id != id)
		e = fail(ERR_FORMAT, "%s: is landing file %016" PRIx64, path, name.id);
	if (e == OK)
		e = keystore_get(archive_keystore(s->archive), name.key_slot, id, key);
	sodium_memzero(key, sizeof key);
	if (e == OK) {
		*row = (struct landing_row){ .id = id, .slot = name.key_slot, .bytes = LANDING_HEADER_BYTES };
		return OK;
	}
	if (e != ERR_ABSENT && e != ERR_FORMAT && e != ERR_DENIED && e != ERR_UNSUPPORTED)
		return e;
	if (!s->rebuilding || e == ERR_ABSENT) { /* without a key: all of it was merged, the key went first */
		TRY(io_unlink(path));
		return ERR_ABSENT;
	}
	s->report->lost_landings++;
	if (s->see) {
		snprintf(text, sizeof text, "unreadable, renamed to NAME.damaged: %.900s", err_text());
		s->see(s->arg, text);
	}
	if (snprintf(aside, sizeof aside, "%s.damaged", path) >= (int)sizeof aside)
		return fail(ERR_LIMIT, "%s: path too long", path);
	TRY(io_rename(path, aside));
	return ERR_ABSENT;
}

static enum err
landing_recover(struct landings *s, uint64_t id)
{
	struct catalogue *c = archive_catalogue(s->archive);
	struct landing *l = NULL;
	struct landing_row row;
	TRY(catalogue_begin(c));
	enum err e = catalogue_landing(c, id, &row);
	bool known = e == OK;
	catalogue_end(c);
	if (e == ERR_ABSENT) {
		e = file_unknown(s, id, &row);
		if (e == ERR_ABSENT)
			return OK;
	}
	TRY(e);
	e = archive_open_landing(s->archive, &row, &l);
	if (e == OK)
		e = tail_apply(s, l, &row, known);
	landing_close(&l);
	if (e != ERR_ABSENT && e != ERR_FORMAT && e != ERR_DENIED && e != ERR_UNSUPPORTED)
		return e;
	if (row.state == SEGMENT_LOST || row.waiting == 0)
		return OK;
	row.state = SEGMENT_LOST;
	s->report->lost_landings++;
	if (s->see)
		s->see(s->arg, err_text());
	return catalogue_update(c, put_change, &row);
}

/* The next one behind *row in which nothing waits; END. */
static enum err
next_empty(struct catalogue *c, struct landing_row *row)
{
	enum err e;
	TRY(catalogue_begin(c));
	do
		e = catalogue_next_landing(c, row);
	while (e == OK && row->waiting > 0);
	catalogue_end(c);
	return e;
}

enum err
recovery_landings(struct archive *a, bool rebuilding, void (*see)(void *arg, const char *sentence), void *arg,
                  struct recovery_report *report)
{
	struct landings s = { .archive = a, .report = report, .see = see, .arg = arg, .rebuilding = rebuilding };
	struct landing_row row = { 0 };
	enum err e = landings_list(&s);
	for (size_t i = 0; i < s.count && e == OK; i++)
		e = landing_recover(&s, s.ids[i]);
	free(s.ids);
	while (e == OK && (e = next_empty(archive_catalogue(a), &row)) == OK)
		e = recovery_destroy_landing(a, &row);
	return e == END ? OK : e;
}
