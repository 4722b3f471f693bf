#include <stdio.h>
#include <string.h>

#include "base/human.h"
#include "base/when.h"
#include "index/reception.h"
#include "index/store.h"
#include "index/trim.h"
#include "tools/verbs.h"

struct removed {
	uint64_t segments, records;   /* segments: whole ones; records: all */
	uint64_t straddling;          /* segments that lose their earlier part */
};

/* The stream's row; ERR_ABSENT with the near name. */
static enum err
stream_find(struct catalogue *c, const char *name, struct stream_row *row)
{
	enum err e = catalogue_stream_named(c, name, row);
	if (e != ERR_ABSENT)
		return e;
	char shown[STREAM_NAME_BYTES];
	human_text(shown, sizeof shown, name);
	struct stream_row other = { 0 };
	while ((e = catalogue_next_stream(c, &other)) == OK)
		if (options_nearest(name, (const char *const[]){ other.name, NULL }))
			return fail(ERR_ABSENT, "no stream %s; did you mean %s?", shown, other.name);
	return e == END ? fail(ERR_ABSENT, "no stream %s (atoll ls lists them)", shown) : e;
}

/* What a removal would take: the segments that lie before until_ns, and the earlier part of those that straddle it. */
static enum err
count(struct archive *a, uint32_t stream, uint64_t until_ns, struct removed *r)
{
	struct segment_row row = { 0 };
	bool all = until_ns == UINT64_MAX;
	enum err e;
	while ((e = catalogue_next_in_range(archive_catalogue(a), stream, 0, until_ns, &row)) == OK) {
		uint64_t records = row.records;
		if (row.state != SEGMENT_LIVE || (row.first_ns >= until_ns && !all))
			continue;
		if (row.last_ns >= until_ns && !all) {
			TRY(trim_count(a, &row, until_ns, &records));
			r->straddling++;
		} else {
			r->segments++;
		}
		r->records += records;
	}
	return e == END ? OK : e;
}

static enum err
dry_run(const struct given *g, const char *name, uint64_t until_ns, struct removed *r)
{
	struct archive *a = NULL;
	struct stream_row stream;
	TRY(given_archive(&a, g, ARCHIVE_READ));
	enum err e = catalogue_begin(archive_catalogue(a));
	if (e == OK) {
		e = stream_find(archive_catalogue(a), name, &stream);
		if (e == OK)
			e = count(a, stream.id, until_ns, r);
		catalogue_end(archive_catalogue(a));
	}
	archive_close(&a);
	return e;
}

static enum err
remove_whole(struct store *s, uint32_t stream, uint64_t until_ns, struct removed *r)
{
	struct store_removal removal = { 0 };
	enum err e = store_remove(s, stream, until_ns, &removal);
	r->segments += removal.segments;
	r->records += removal.records;
	return e;
}

/* What needs room: what landed becomes segments, of which some may go whole, and those that straddle are written again. */
static enum err
remove_rest(struct store *s, uint32_t stream, uint64_t until_ns, struct removed *r)
{
	struct trim_result trimmed = { 0 };
	enum err e = OK;
	for (bool more = true; e == OK && more;)
		e = reception_tend(s, NULL, 0, true, &more);
	if (e == OK)
		e = remove_whole(s, stream, until_ns, r);
	if (e == OK)
		e = trim_segments(s, &trimmed);
	r->straddling = trimmed.segments;
	r->records += trimmed.records;
	if (e != ERR_FULL)
		return e;
	char sentence[ERR_TEXT_BYTES];
	snprintf(sentence, sizeof sentence, "%s", err_text());
	return fail(e, "%s; %llu packets are gone; removing the others needs room on the disk: the same command goes on then", sentence,
	            (unsigned long long)r->records);
}

static enum err
remove_records(const struct given *g, const char *name, uint64_t until_ns, struct removed *r)
{
	const char *dir;
	struct store *s = NULL;
	struct stream_row stream;
	TRY(given_archive_dir(&dir, g));
	TRY(store_open(&s, dir, given_text(g, "key-file", NULL)));
	struct catalogue *c = archive_catalogue(store_archive(s));
	enum err e = catalogue_begin(c);
	if (e == OK) {
		e = stream_find(c, name, &stream);
		catalogue_end(c);
	}
	if (e == OK)
		e = remove_whole(s, stream.id, until_ns, r);
	if (e == OK)
		e = remove_rest(s, stream.id, until_ns, r);
	store_close(&s);
	return e;
}

static enum err
report(const struct given *g, const char *name, uint64_t until_ns, const struct removed *r)
{
	bool dry = given_flag(g, "dry-run"), all = until_ns == UINT64_MAX;
	if (given_flag(g, "json")) {
		struct json j = report_json();
		json_text(&j, "stream", name);
		report_time(&j, "until", until_ns, !all);
		json_bool(&j, "dry_run", dry);
		json_u64(&j, "packets", r->records);
		json_u64(&j, "segments", r->segments);
		json_u64(&j, "rewritten_segments", r->straddling);
		json_end(&j);
		return json_finish(&j, "standard output");
	}
	if (given_flag(g, "quiet"))
		return OK;
	char shown[STREAM_NAME_BYTES], when[WHEN_TEXT_BYTES] = "", packets[HUMAN_BYTES];
	if (!all)
		when_format(when, until_ns);
	printf("%s %s%s%s: %s packets (%llu segments, and the earlier part of %llu more)\n", dry ? "would remove from" : "removed from",
	       human_text(shown, sizeof shown, name), all ? "" : " before ", when, human_count(packets, r->records),
	       (unsigned long long)r->segments, (unsigned long long)r->straddling);
	return OK;
}

static enum err
run(const struct given *g)
{
	const char *name = given_text(g, "stream", NULL), *until = given_text(g, "until", NULL);
	uint64_t until_ns = UINT64_MAX;
	if (!name || !until)
		return fail(ERR_USAGE, "say what to remove: --stream S --until T (all of it: --until end)");
	if (strcmp(until, "end") != 0)
		TRY(when_parse(&until_ns, until, when_now()));
	struct removed r = { 0 };
	if (given_flag(g, "dry-run"))
		TRY(dry_run(g, name, until_ns, &r));
	else
		TRY(remove_records(g, name, until_ns, &r));
	return report(g, name, until_ns, &r);
}

static const struct option_spec options[] = {
	{ "stream", 's', OPTION_TEXT, "S", NULL, "the stream" },
	{ "until", 0, OPTION_TEXT, "T", NULL, "packets before this time go; end: all" },
	{ "dry-run", 'n', OPTION_FLAG, NULL, NULL, "say what would go, remove nothing" },
	{ 0 },
};

static const struct example examples[] = {
	{ "atoll -A traces rm --stream eth0 --until now-30d --dry-run", "what older than 30 days would go" },
	{ "atoll -A traces rm --stream eth0 --until 2026-01-01T00:00:00Z", "removes all before 2026" },
	{ "atoll -A traces rm --stream eth0 --until end", "removes all of it" },
	{ 0 },
};

const struct verb verb_rm = {
	.name = "rm",
	.summary = "remove a stream's packets before a time, for good",
	.arguments = "",
	.options = { options },
	.details = "The keys of removed segments are destroyed: no copy of the segment files can be read afterwards. A segment with\n"
	           "packets on both sides of T is written again without the earlier ones. Whole segments can be removed on a full disk,\n"
	           "too; for one that is written again there must be room.",
	.examples = examples,
	.run = run,
};
