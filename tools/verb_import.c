#include <stdio.h>
#include <string.h>

#include "base/human.h"
#include "base/progress.h"
#include "base/utf8.h"
#include "base/when.h"
#include "tools/intake.h"
#include "tools/verbs.h"

/* What importing one file came to. */
struct imported {
	const char *file;
	char stream[STREAM_NAME_BYTES];
	char format[64];
	uint8_t print[FINGERPRINT_BYTES];
	bool whole;                    /* print is of all of it; false: of its beginning */
	uint64_t already;              /* records that an earlier run had committed */
	bool there;                    /* it was complete before, in the same stream and cut the same way */
	bool passed_over;              /* then sentence says since when */
	uint64_t skipped_blocks;
	struct intake_result result;
	enum err error;
	char sentence[ERR_TEXT_BYTES];
};

struct show {
	struct progress progress;
};

static void
step(void *arg, uint64_t offset, uint64_t records)
{
	struct show *show = arg;
	progress_step(&show->progress, offset, records);
}

/* The stream that a file goes into without --stream: its name without folder and without the endings of traces, and with "?" for
 * what is no text. */
static void
stream_of_file(char out[STREAM_NAME_BYTES], const char *file)
{
	size_t n;
	const char *base = trace_stem(file, &n);
	if (n > STREAM_NAME_BYTES - 1)
		n = STREAM_NAME_BYTES - 1;
	memcpy(out, base, n);
	out[n] = 0;
	for (size_t at; (at = utf8_plain((const uint8_t *)out, n)) < n;)
		out[at] = '?';
}

_Static_assert(FINGERPRINT_BYTES == TRACE_FINGERPRINT_BYTES && FINGERPRINT_HEAD_BYTES == TRACE_FINGERPRINT_HEAD_BYTES,
               "the store knows what a fingerprint's first half is");

/* The stream to import into. One that will be refused gets the stream it is in, so that no empty one is made for it. */
static enum err
find_stream(const struct given *g, struct store *s, const struct import_row *known, const char *name, uint32_t *stream,
            struct imported *out)
{
	struct catalogue *c = archive_catalogue(store_archive(s));
	struct stream_row there = { 0 };
	if (!known->stream || (known->complete && given_flag(g, "again")))
		return store_stream(s, name, stream);
	TRY(catalogue_begin(c));
	enum err e = catalogue_stream(c, known->stream, &there);
	catalogue_end(c);
	if (e != OK)
		return e;
	bool same = strcmp(there.name, name) == 0;
	*stream = known->complete || same ? known->stream : 0; /* 0: store_import_begin() says what is wrong */
	if (known->complete) {
		out->there = same && (bool)known->headers_only == given_flag(g, "headers-only");
		out->already = known->records;
	}
	return OK;
}

/* Notes the import, or refuses it and says what of the content was compared, where that is not all of it. */
static enum err
begin_import(const struct given *g, struct store *s, struct trace *t, const char *name, struct import_row *import,
             uint32_t *stream, struct imported *out)
{
	struct import_row known = { 0 };
	char sentence[ERR_TEXT_BYTES];
	enum err e = store_import_find(s, out->print, &known);
	if (e != OK && e != ERR_ABSENT)
		return e;
	TRY(find_stream(g, s, &known, name, stream, out));
	e = store_import_begin(s, out->print, trace_name(t), *stream, given_flag(g, "headers-only"), given_flag(g, "again"), import);
	if (e != ERR_EXISTS)
		return e;
	const char *compared = "";
	if (!out->whole || memcmp(known.fingerprint, out->print, sizeof known.fingerprint) != 0)
		compared = " (its first MiB is the same)";
	else if (trace_size(t) > TRACE_FINGERPRINT_WHOLE_BYTES)
		compared = " (its size, both ends and samples between are the same)";
	snprintf(sentence, sizeof sentence, "%s", err_text());
	return fail(e, "%s%s", sentence, compared);
}

static enum err
run_import(const struct given *g, struct store *s, struct trace *t, const char *name, struct imported *out)
{
	struct import_row import;
	struct show show;
	uint32_t stream;
	enum err e = trace_fingerprint(t, out->print, &out->whole);
	if (e == OK)
		e = begin_import(g, s, t, name, &import, &stream, out);
	if (e != OK)
		return fail_prefix(e, "%s: ", trace_name(t));
	out->already = import.records;
	struct intake_options options = {
		.jobs = (unsigned)given_count(g, "jobs", 0),
		.headers_only = given_flag(g, "headers-only"),
		.step = step,
		.arg = &show,
	};
	progress_init(&show.progress, trace_name(t), "packets", trace_size(t), given_flag(g, "quiet"));
	e = intake_run(s, t, stream, &import, &options, &out->result);
	progress_fini(&show.progress);
	if (e == OK && !out->whole) /* now that a stream was read to its end, all of it is known, unless that was damage */
		e = trace_fingerprint(t, out->print, &out->whole);
	if (e == OK)
		e = store_import_finish(s, &import, out->whole ? out->print : import.fingerprint);
	struct trace_stats stats;
	trace_stats(t, &stats);
	out->skipped_blocks = stats.skipped_blocks;
	memcpy(out->format, stats.format, sizeof out->format);
	return e;
}

static enum err
import_file(const struct given *g, struct store *s, struct imported *out)
{
	const char *name = given_text(g, "stream", NULL);
	struct trace *t = NULL;
	if (name)
		snprintf(out->stream, sizeof out->stream, "%s", name);
	else
		stream_of_file(out->stream, out->file);
	TRY(trace_open(&t, out->file));
	enum err e = run_import(g, s, t, name ? name : out->stream, out);
	trace_close(&t);
	return e;
}

static void
print_json(struct json *j, const struct imported *i)
{
	json_object(j, NULL);
	json_text(j, "file", i->file);
	json_text(j, "stream", i->stream);
	json_text(j, "format", *i->format ? i->format : NULL);
	json_u64(j, "packets", i->result.records);
	json_u64(j, "packets_before", i->already);
	json_bool(j, "passed_over", i->passed_over);
	json_u64(j, "captured_bytes", i->result.captured_bytes);
	json_u64(j, "stored_bytes", i->result.stored_bytes);
	json_u64(j, "segments", i->result.segments);
	json_u64(j, "skipped_blocks", i->skipped_blocks);
	json_text(j, "damage", i->result.damaged ? i->result.damage : NULL);
	json_text(j, "error", i->error == OK ? NULL : i->sentence);
	json_end(j);
}

static void
print_line(const struct imported *i, double seconds)
{
	char packets[HUMAN_BYTES], size[HUMAN_BYTES], took[HUMAN_BYTES], rate[HUMAN_BYTES], before[HUMAN_BYTES], file[PATH_BYTES];
	printf("%s: %s packets into stream \"%s\", %s stored, %s, %s packets/s", human_text(file, sizeof file, i->file),
	       human_count(packets, i->result.records), i->stream, human_size(size, i->result.stored_bytes),
	       human_duration(took, seconds), human_rough(rate, seconds > 0 ? (double)i->result.records / seconds : 0));
	if (i->already)
		printf("; went on behind %s packets of an interrupted import", human_count(before, i->already));
	putchar('\n');
}

/* One file: imports, reports, and keeps its sentence. Of several files one that is there is passed over, so that the same
 * command completes what was interrupted; alone it is refused. */
static void
import_and_report(const struct given *g, struct store *s, struct imported *i, struct json *j, bool alone)
{
	uint64_t began = when_now();
	i->error = import_file(g, s, i);
	i->passed_over = i->error == ERR_EXISTS && i->there && !alone;
	if (i->error != OK)
		snprintf(i->sentence, sizeof i->sentence, "%s", err_text());
	if (i->passed_over)
		i->error = OK;
	if (j)
		print_json(j, i);
	else if (i->passed_over && !given_flag(g, "quiet"))
		puts(i->sentence);
	else if ((i->error == OK || i->result.records > 0) && !given_flag(g, "quiet"))
		print_line(i, (double)(when_now() - began) / NS_PER_S);
	fflush(stdout);
	if (i->result.damaged)
		fprintf(stderr, "atoll import: %s\n", i->result.damage);
}

static enum err
import_all(const struct given *g, struct store *s)
{
	const char *const *files;
	unsigned n = given_arguments(g, &files), failed = 0, damaged = 0, good = 0;
	enum err first = OK;
	char sentence[ERR_TEXT_BYTES] = "";
	bool as_json = given_flag(g, "json");
	bool once_more = false;        /* a file was, with --again: the same command would do it yet again */
	char go_on[PATH_BYTES + 64] = "; the same command goes on from here";
	struct json j;
	if (as_json) {
		j = report_json();
		json_array(&j, "imports");
	}
	for (unsigned k = 0; k < n; k++) {
		struct imported i = { .file = files[k] };
		import_and_report(g, s, &i, as_json ? &j : NULL, n == 1);
		/* A file of which nothing can be read is damage like any other. */
		if (i.error == ERR_FORMAT || i.error == ERR_LIMIT || i.error == ERR_UNSUPPORTED) {
			damaged++;
			if (n > 1)
				fprintf(stderr, "atoll import: %s\n", i.sentence);
			else
				memcpy(sentence, i.sentence, sizeof sentence);
			continue;
		}
		damaged += i.result.damaged;
		good += i.error == OK || i.result.records > 0;
		failed += i.error != OK;
		if (i.error == OK) {
			once_more = given_flag(g, "again");
			continue;
		}
		if (first == OK) {
			first = i.error;
			memcpy(sentence, i.sentence, sizeof sentence);
		} else {
			fprintf(stderr, "atoll import: %s\n", i.sentence);
		}
		if (once_more)
			snprintf(go_on, sizeof go_on, "; --again with %s and what follows it goes on from here", files[k]);
		/* These will not go better with the next file. */
		if (i.error == ERR_FULL || i.error == ERR_IO || i.error == ERR_NOMEM || i.error == ERR_INTERRUPTED)
			break;
	}
	if (as_json) {
		json_end(&j);
		json_end(&j);
		TRY(json_finish(&j, "standard output"));
	}
	if (failed && (first == ERR_INTERRUPTED || !good))
		return fail(first, "%s%s", sentence, first == ERR_INTERRUPTED || first == ERR_FULL ? go_on : "");
	if (failed)
		return fail(ERR_PARTIAL, "%s", sentence);
	if (*sentence)
		return fail(ERR_PARTIAL, "%s", sentence); /* the only file, and nothing of it could be read */
	if (damaged)
		return fail(ERR_PARTIAL, "%u of %u files could not be read to the end; what came before is kept", damaged, n);
	return OK;
}

static enum err
run(const struct given *g)
{
	const char *dir;
	struct store *s = NULL;
	const char *stream = given_text(g, "stream", NULL);
	if (stream)
		TRY(store_stream_name(stream));
	TRY(given_archive_dir(&dir, g));
	TRY(store_open(&s, dir, given_text(g, "key-file", NULL)));
	enum err e = import_all(g, s);
	store_close(&s);
	return e;
}

static const struct option_spec options[] = {
	{ "stream", 's', OPTION_TEXT, "NAME", NULL, "the stream to put the packets into (default: the file's name)" },
	{ "headers-only", 0, OPTION_FLAG, NULL, NULL, "cut each packet after its innermost transport header" },
	{ "again", 0, OPTION_FLAG, NULL, NULL, "import a file that was imported before" },
	{ "jobs", 'j', OPTION_COUNT, "N", NULL, "threads that encode (default: one for each processor)" },
	{ 0 },
};

const struct verb verb_import = {
	.name = "import",
	.summary = "store the packets of trace files",
	.arguments = "FILE...",
	.least = 1,
	.most = 1000000,
	.options = { options },
	.details = "Reads pcap and pcapng, also packed with gzip, zstd, xz or lz4; \"-\" is standard input. An import\n"
	           "that was interrupted goes on where it stopped when the command is given again. A file that is in the archive\n"
	           "already is not stored twice: of several files it is passed over, alone or in another stream it is refused\n"
	           "(files of more than 2 MiB are known by samples of their content, a pipe by its first MiB); --again stores it\n"
	           "once more. That goes for removed packets, too: they come back with --again only. What comes before damage in a\n"
	           "file is kept; the exit code is then 3.",
	.examples = (const struct example[]){
		{ "atoll -A DIR import --headers-only --stream eth0 monday.pcap.zst", "headers of one file, as stream eth0" },
		{ "tcpdump -i eth0 -w - | atoll -A DIR import --stream eth0 -", "from a pipe" },
		{ 0 },
	},
	.run = run,
};
