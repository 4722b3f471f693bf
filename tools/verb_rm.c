#include <stdio.h>
#include <string.h>

#include "base/human.h"
#include "base/when.h"
#include "index/reception.h"
#include "index/store.h"
#include "index/trim.h"
#include "tools/verbs.h"

struct removed {
	uint64_t segments, records, straddling;
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

/* What a removal would take: the segments that lie before until_ns, and those that straddle it. */
static enum err
count(struct catalogue *c, uint32_t stream, uint64_t until_ns, struct removed *r)
{
	struct segment_row row = { 0 };
	enum err e;
	while ((e = catalogue_next_in_range(c, stream, 0, until_ns, &row)) == OK) {
		if (row.state != SEGMENT_LIVE || row.first_ns >= until_ns)
			continue;
		if (row.last_ns >= until_ns) {
			r->straddling++;
			continue;
		}
		r->segments++;
		r->records += row.records;
	}
	return e == END ? OK : e;
}

static enum err
look(struct archive *a, const char *name, uint64_t until_ns, struct stream_row *stream, struct removed *r)
{
	struct catalogue *c = archive_catalogue(a);
	TRY(catalogue_begin(c));
	enum err e = stream_find(c, name, stream);
	if (e == OK)
		e = count(c, stream->id, until_ns, r);
	catalogue_end(c);
	return e;
}

static enum err
dry_run(const struct given *g, const char *name, uint64_t until_ns, struct removed *r)
{
	struct archive *a = NULL;
	struct stream_row stream;
	TRY(given_archive(&a, g, ARCHIVE_READ));
	enum err e = look(a, name, until_ns, &stream, r);
	archive_close(&a);
	return e;
}

static enum err
remove_records(const struct given *g, const char *name, uint64_t until_ns, struct removed *r)
{
	const char *dir;
	TRY(given_archive_dir(&dir, g));
	struct store *s = NULL;
	struct stream_row stream;
	struct store_removal removal = { 0 };
	TRY(store_open(&s, dir, given_text(g, "key-file", NULL)));
	struct removed before = { 0 };
	enum err e = look(store_archive(s), name, until_ns, &stream, &before);
	for (bool more = e == OK; e == OK && more;) /* what landed becomes segments first */
		e = reception_tend(s, NULL, 0, true, &more);
	if (e == OK)
		e = store_remove(s, stream.id, until_ns, &removal);
	if (e == OK)
		e = trim_segments(s, &r->straddling);
	store_close(&s);
	r->segments = removal.segments;
	r->records = removal.records;
	return e;
}

static enum err
report(const struct given *g, const char *name, uint64_t until_ns, const struct removed *r)
{
	bool dry = given_flag(g, "dry-run");
	if (given_flag(g, "json")) {
		struct json j = report_json();
		json_text(&j, "stream", name);
		report_time(&j, "until", until_ns, true);
		json_bool(&j, "dry_run", dry);
		json_u64(&j, "segments", r->segments);
		json_u64(&j, "packets", r->records);
		json_u64(&j, "rewritten_segments", r->straddling);
		json_end(&j);
		return json_finish(&j, "standard output");
	}
	if (given_flag(g, "quiet"))
		return OK;
	char shown[STREAM_NAME_BYTES], when[WHEN_TEXT_BYTES], packets[HUMAN_BYTES];
	when_format(when, until_ns);
	printf("%s %s before %s: %llu segments with %s packets, and the earlier part of %llu more\n",
	       dry ? "would remove from" : "removed from", human_text(shown, sizeof shown, name), when,
	       (unsigned long long)r->segments, human_count(packets, r->records), (unsigned long long)r->straddling);
	return OK;
}

static enum err
run(const struct given *g)
{
	const char *name = given_text(g, "stream", NULL), *until = given_text(g, "until", NULL);
	uint64_t until_ns;
	if (!name || !until)
		return fail(ERR_USAGE, "say what to remove: --stream S --until T (all of it: --until now, or a later time)");
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
	{ "until", 0, OPTION_TEXT, "T", NULL, "packets before this time go" },
	{ "dry-run", 'n', OPTION_FLAG, NULL, NULL, "say what would go, remove nothing" },
	{ 0 },
};

static const struct example examples[] = {
	{ "atoll -A traces rm --stream eth0 --until now-30d --dry-run", "what older than 30 days would go" },
	{ "atoll -A traces rm --stream eth0 --until 2026-01-01T00:00:00Z", "removes all before 2026" },
	{ 0 },
};

const struct verb verb_rm = {
	.name = "rm",
	.summary = "remove a stream's packets before a time, for good",
	.arguments = "",
	.options = { options },
	.details = "The keys of removed segments are destroyed: no copy of the segment files can be read afterwards. A segment with\n"
	           "packets on both sides of T is written again without the earlier ones.",
	.examples = examples,
	.run = run,
};
