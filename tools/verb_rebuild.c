#include <stdio.h>

#include "base/human.h"
#include "index/rebuild.h"
#include "tools/verbs.h"

static void
see(void *arg, const char *sentence)
{
	(void)arg;
	char shown[ERR_TEXT_BYTES];
	fprintf(stderr, "%s\n", human_text(shown, sizeof shown, sentence));
}

static enum err
print_json(const struct rebuild_report *r)
{
	struct json j = report_json();
	json_u64(&j, "segments", r->segments);
	json_u64(&j, "packets", r->records);
	json_u64(&j, "landed_parcels", r->landed);
	json_u64(&j, "lost_landing_files", r->lost_landings);
	json_u64(&j, "lost_segments", r->lost_segments);
	json_u64(&j, "lost_packets", r->lost_records);
	json_u64(&j, "adopted_segments", r->adopted);
	json_u64(&j, "unreadable_files", r->unreadable);
	json_u64(&j, "damaged_manifest_lines", r->damaged_lines);
	json_bool(&j, "manifest_renewed", r->manifest_renewed);
	json_end(&j);
	return json_finish(&j, "standard output");
}

static enum err
run(const struct given *g)
{
	const char *dir;
	TRY(given_archive_dir(&dir, g));
	struct rebuild_report r = { 0 };
	TRY(rebuild_run(dir, given_text(g, "key-file", NULL), see, NULL, &r));
	char packets[HUMAN_BYTES];
	if (given_flag(g, "json"))
		TRY(print_json(&r));
	else if (!given_flag(g, "quiet"))
		printf("the index is made again: %llu segments, %s packets%s\n", (unsigned long long)r.segments,
		       human_count(packets, r.records), r.manifest_renewed ? "; the manifest, too" : "");
	if (r.lost_segments > 0 || r.damaged_lines > 0 || r.unreadable > 0 || r.lost_landings > 0)
		return fail(ERR_PARTIAL, "%llu segments with %llu packets are lost, %llu unknown files do not open, %llu lines of the "
		                         "manifest were damaged", (unsigned long long)r.lost_segments,
		            (unsigned long long)r.lost_records, (unsigned long long)(r.unreadable + r.lost_landings),
		            (unsigned long long)r.damaged_lines);
	return OK;
}

static const struct example examples[] = {
	{ "atoll -A traces rebuild", "makes the index again from segments, manifest and keys" },
	{ 0 },
};

const struct verb verb_rebuild = {
	.name = "rebuild",
	.summary = "make the index again from the segments",
	.arguments = "",
	.details = "Nothing is lost when it is interrupted: the old index is exchanged for the new one at the end.",
	.examples = examples,
	.run = run,
};
