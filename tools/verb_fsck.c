#include <stdio.h>

#include "base/human.h"
#include "base/progress.h"
#include "index/fsck.h"
#include "tools/verbs.h"

/* What the callbacks work on. */
struct look {
	struct json     json;
	struct progress progress;
	bool            as_json, opened;
};

static void
open_json(struct look *l)
{
	if (l->opened)
		return;
	l->opened = true;
	l->json = report_json();
	json_array(&l->json, "faults");
}

static void
see(void *arg, const char *sentence)
{
	struct look *l = arg;
	char shown[ERR_TEXT_BYTES];
	progress_fini(&l->progress);
	if (!l->as_json) {
		puts(human_text(shown, sizeof shown, sentence));
		return;
	}
	open_json(l);
	json_text(&l->json, NULL, sentence);
}

static void
step(void *arg, uint64_t done_bytes, uint64_t all_bytes)
{
	struct look *l = arg;
	l->progress.total = all_bytes;
	progress_step(&l->progress, done_bytes, done_bytes);
}

static enum err
print_json(struct look *l, const struct fsck_report *r, const char *error)
{
	struct json *j = &l->json;
	open_json(l);
	json_end(j);
	json_text(j, "error", error);
	if (!error) {
		json_u64(j, "fault_count", r->faults);
		json_u64(j, "repaired", r->repaired);
		json_u64(j, "segments", r->segments);
		json_u64(j, "blocks", r->blocks);
		json_u64(j, "packets", r->records);
		json_u64(j, "landed_parcels", r->landed);
		json_u64(j, "lost_segments", r->lost_segments);
		json_u64(j, "lost_blocks", r->lost_blocks);
		json_u64(j, "lost_packets", r->lost_records);
		json_bool(j, "beside_writer", r->beside_writer);
		json_bool(j, "read_only", r->read_only);
		json_bool(j, "unfinished", r->unfinished);
	}
	json_end(j);
	return json_finish(j, "standard output");
}

static void
print_text(const struct fsck_report *r)
{
	char blocks[HUMAN_BYTES], records[HUMAN_BYTES];
	printf("looked at %llu segments, %s blocks, %s packets: %s\n", (unsigned long long)r->segments,
	       human_count(blocks, r->blocks), human_count(records, r->records), r->faults ? "damaged" : "clean");
	if (r->landed > 0)
		printf("and at %llu parcels of monitors that are not merged into segments yet\n", (unsigned long long)r->landed);
	if (r->beside_writer)
		puts("another process is writing: its newest commits were not looked at");
	if (r->read_only)
		puts("the archive can not be written to: it was looked at as it is, and nothing was changed");
	if (r->unfinished)
		puts("a writer was killed there: the next one will take its last commit into the index");
}

static enum err
verdict(const struct fsck_report *r, bool repair)
{
	unsigned long long faults = r->faults, repaired = r->repaired;
	if (r->faults == 0)
		return OK;
	if (!repair)
		return fail(ERR_FORMAT, "%llu faults: atoll fsck --repair mends what can be made again", faults);
	if (r->lost_segments > 0 || r->lost_blocks > 0 || r->repaired < r->faults)
		return fail(ERR_PARTIAL, "%llu faults, %llu repaired; %llu segments and %llu blocks with %llu packets are lost, the "
		                         "rest can be read", faults, repaired, (unsigned long long)r->lost_segments,
		            (unsigned long long)r->lost_blocks, (unsigned long long)r->lost_records);
	return OK;
}

static enum err
run(const struct given *g)
{
	const char *dir;
	TRY(given_archive_dir(&dir, g));
	struct look look = { .as_json = given_flag(g, "json") };
	progress_init(&look.progress, "fsck", NULL, 0, given_flag(g, "quiet"));
	struct fsck_options options = {
		.repair = given_flag(g, "repair"),
		.quick = given_flag(g, "quick"),
		.see = see,
		.progress = step,
		.arg = &look,
	};
	struct fsck_report r = { 0 };
	enum err e = fsck_run(dir, given_text(g, "key-file", NULL), &options, &r);
	progress_fini(&look.progress);
	if (look.as_json && (e == OK || look.opened))
		TRY(print_json(&look, &r, e == OK ? NULL : err_text()));
	TRY(e);
	if (!look.as_json && !given_flag(g, "quiet"))
		print_text(&r);
	return verdict(&r, options.repair);
}

static const struct option_spec options[] = {
	{ "repair", 0, OPTION_FLAG, NULL, NULL, "make again what can be made again" },
	{ "quick", 0, OPTION_FLAG, NULL, NULL, "index, manifest and keys only, not the packets" },
	{ 0 },
};

static const struct example examples[] = {
	{ "atoll -A traces fsck", "reads everything; one line per fault, naming segment, block and column" },
	{ "atoll -A traces fsck --repair", "and mends the index and the manifest" },
	{ 0 },
};

const struct verb verb_fsck = {
	.name = "fsck",
	.summary = "check every byte, and repair",
	.arguments = "",
	.options = { options },
	.details = "Damaged packets can not be repaired; everything around them stays readable. Header, main page and trailer of\n"
	           "a segment are there twice: one damaged copy costs nothing, and stays, because segment files are never changed.\n"
	           "An archive that can not be written to is looked at as it is, with a temporary index in $TMPDIR.\n"
	           "Exit code 1: faults were found; 3: repaired, but something is lost or stays damaged.",
	.examples = examples,
	.run = run,
};
