/* The differential test: whatever the expression and the records, the selection is what libpcap selects on the captured
 * bytes. FILTER_TRACES (files, separated by spaces), FILTER_RANDOM (expressions) and FILTER_SEED widen it by hand. */
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "archive/segment.h"
#include "base/sandbox.h"
#include "ingest/trace.h"
#include "query/bpf_run.h"
#include "query/filter.h"
#include "tests/support/filter_cases.h"
#include "tests/support/sealed_frames.h"
#include "tests/support/unit.h"

/* with sanitizers: one in so many of the frames, and of the expressions */
#define SHARE       (PROGRAM_IS_SANITIZED ? 8u : 1u)
#define EXPRESSIONS (PROGRAM_IS_SANITIZED ? 3u : 1u)

#define EXPRESSION_BYTES 4096

static const uint16_t linktypes[] = { 1, 1, 1, 101, 12, 113, 276, 0, 108, 14, 228, 229, 105 };
#define SETS (sizeof linktypes / sizeof linktypes[0])

/* How the expressions were answered. */
static struct tally {
	unsigned long runs, flows, columns, bpf, refused, rows, bpf_rows, matches, by_chance;
} tally;

struct oracle {
	uint16_t linktype;
	bool     ok, by_chance;
	struct bpf_program program;
};

/* libpcap's protochain may run in a circle where a next header is 51; query/bpf_run.h. */
static bool
hangs(const char *expression, const struct frames *f, const struct frame *v)
{
	return strstr(expression, "protochain") && memchr(f->bytes + v->at, 51, v->cap_len);
}

/* One block, and where its frames went. */
struct sealed {
	struct segment       *segment;
	struct block_decoder *decoder;
	uint32_t             *row_of, *conversation_of; /* by frame, by row */
};

static void
seal_frames(struct sealed *s, const struct frames *f)
{
	const struct batch *b;
	assert_int_equal(sealed_frames(&s->segment, f, BLOCK_RECORDS_MAX), OK);
	assert_int_equal(block_decoder_open(&s->decoder, NULL), OK);
	assert_int_equal(segment_load(s->segment, 0, s->decoder, BATCH_ORDER, &b, NULL), OK);
	s->row_of = malloc(f->count * sizeof *s->row_of);
	s->conversation_of = malloc(f->count * sizeof *s->conversation_of);
	assert_true(s->row_of && s->conversation_of && b->count == f->count);
	memcpy(s->row_of, b->row_of, f->count * sizeof *s->row_of);
	for (uint32_t c = 0; c < b->conversations; c++)
		for (uint32_t row = b->start[c]; row < b->start[c + 1]; row++)
			s->conversation_of[row] = c;
}

static void
sealed_close(struct sealed *s)
{
	segment_close(&s->segment);
	block_decoder_close(&s->decoder);
	free(s->row_of);
	free(s->conversation_of);
	*s = (struct sealed){ 0 };
}

/* Compares one expression over one batch. Returns false and says so when they differ. */
static bool
check_block(struct filter *filter, const char *expression, const struct frames *f, struct sealed *sealed)
{
	struct filter_state *s = NULL;
	const struct batch *b = NULL;
	struct oracle oracles[32];
	uint32_t oracle_count = 0;
	bool all_ok = true, same = true;
	for (uint32_t i = 0; i < f->count; i++) {
		uint32_t o = 0;
		while (o < oracle_count && oracles[o].linktype != f->v[i].linktype)
			o++;
		if (o == oracle_count && o < 32) {
			oracles[o].linktype = f->v[i].linktype;
			oracles[o].ok = libpcap_compile(expression, f->v[i].linktype, &oracles[o].program);
			all_ok &= oracles[o].ok;
			const struct bpf_program *p = &oracles[o].program;
			oracles[o].by_chance = oracles[o].ok && p->bf_len && !bpf_jumps_back(p->bf_insns, p->bf_len) &&
			                       bpf_reads_unset(p->bf_insns, p->bf_len);
			tally.by_chance += oracles[o].by_chance;
			oracle_count++;
		}
	}
	unsigned need = 0;
	block_decoder_close(&sealed->decoder); /* so that columns of the last expression are not there for this one */
	assert_int_equal(block_decoder_open(&sealed->decoder, NULL), OK);
	assert_int_equal(filter_state_open(&s, filter), OK);
	assert_int_equal(segment_load(sealed->segment, 0, sealed->decoder, filter_columns(filter), &b, NULL), OK);
	enum err e = filter_flows(s, b, &need);
	if (e != OK || (filter_refused(s) == NULL) != all_ok) {
		printf("# `%s` linktype %u: we say %d (%s), libpcap %s\n", expression, f->v[0].linktype, (int)e,
		       e != OK ? err_text() : filter_refused(s) ? filter_refused(s) : "taken", all_ok ? "takes it" : "refuses it");
		same = false;
	}
	tally.refused += filter_refused(s) != NULL;
	if (e == OK && need) {
		assert_int_equal(segment_load(sealed->segment, 0, sealed->decoder, need, &b, NULL), OK);
		assert_int_equal(filter_rows(s, b), OK);
	}
	if (e == OK) {
		bool bytes = need & (BATCH_BYTES | BATCH_RAW);
		tally.runs++;
		tally.rows += b->count;
		tally.flows += need == 0;
		tally.bpf += bytes;
		tally.columns += need && !bytes;
		tally.bpf_rows += filter_state_bytes(s);
	}
	struct selection chosen = filter_selection(s);
	for (uint32_t i = 0; e == OK && same && i < f->count; i++) {
		const struct frame *v = &f->v[i];
		struct pcap_pkthdr h = { .caplen = v->cap_len, .len = v->wire_len };
		uint32_t o = 0, row = sealed->row_of[i];
		uint8_t flow = chosen.conversation[sealed->conversation_of[row]];
		while (oracles[o].linktype != v->linktype)
			o++;
		if (oracles[o].by_chance || (oracles[o].ok && hangs(expression, f, v)))
			continue;
		bool wanted = oracles[o].ok && oracles[o].program.bf_len && pcap_offline_filter(&oracles[o].program, &h, f->bytes + v->at) != 0;
		bool got = flow == 2 ? chosen.row[row] : flow;
		tally.matches += wanted;
		if (wanted != got) {
			printf("# `%s` linktype %u frame %u (%u of %u bytes): libpcap %d, we %d (flow: %u)\n#   ", expression,
			       v->linktype, i, v->cap_len, v->wire_len, wanted, got, flow);
			for (uint32_t k = 0; k < v->cap_len && k < 80; k++)
				printf("%02x", f->bytes[v->at + k]);
			printf("\n#   %s\n", filter_plan(filter));
			const uint8_t *rebuilt;
			uint32_t n;
			if (need & BATCH_BYTES && batch_bytes(b, row, &rebuilt, &n) == OK &&
			    (n != v->cap_len || memcmp(rebuilt, f->bytes + v->at, n) != 0))
				printf("#   its bytes were not rebuilt as they were\n");
			same = false;
		}
	}
	filter_state_close(&s);
	for (uint32_t o = 0; o < oracle_count; o++)
		if (oracles[o].ok)
			pcap_freecode(&oracles[o].program);
	return same;
}

/* All expressions over one set of frames (a share of them: another with the next set); returns how many differ. */
static uint32_t
check_frames(const struct frames *f, struct filter **filters, const char *const *texts, uint32_t count)
{
	static uint32_t turn;
	struct sealed sealed;
	uint32_t wrong = 0;
	if (f->count == 0)
		return 0;
	seal_frames(&sealed, f);
	for (uint32_t i = turn++ % EXPRESSIONS; i < count && wrong < 10; i += EXPRESSIONS)
		wrong += !check_block(filters[i], texts[i], f, &sealed);
	sealed_close(&sealed);
	return wrong;
}

static void
report(const char *what)
{
	printf("# %s: %lu runs of an expression over a batch: %lu by flows alone, %lu with row columns, %lu with BPF for some rows; "
	       "%.2f %% of %lu rows went through BPF, %lu matched; %lu refused for the link type; %lu not compared "
	       "(libpcap reads registers that it did not set)\n",
	       what, tally.runs, tally.flows, tally.columns, tally.bpf, 100.0 * (double)tally.bpf_rows / (double)(tally.rows + 1),
	       tally.rows, tally.matches, tally.refused, tally.by_chance);
	memset(&tally, 0, sizeof tally);
}

/* The listed expressions that are accepted, opened; fails for one that is wrongly accepted or refused. */
struct list {
	char           *text;
	struct listed  *listed;
	struct filter **filters;
	const char    **texts;
	uint32_t        count;
};

static void
open_list(struct list *l)
{
	uint32_t n;
	l->listed = read_expressions(&l->text, &n);
	l->filters = calloc(n, sizeof *l->filters);
	l->texts = calloc(n, sizeof *l->texts);
	l->count = 0;
	uint32_t wrong = 0;
	for (uint32_t i = 0; i < n; i++) {
		struct filter *f = NULL;
		enum err e = filter_open(&f, l->listed[i].text, NULL);
		if ((e == OK) != (l->listed[i].mark != '!')) {
			printf("# `%s`: %s\n", l->listed[i].text, e == OK ? "accepted" : err_text());
			wrong++;
		}
		if (e != OK)
			continue;
		l->filters[l->count] = f;
		l->texts[l->count++] = l->listed[i].text;
	}
	assert_int_equal(wrong, 0);
	assert_true(l->count >= 300);
}

static void
close_list(struct list *l)
{
	for (uint32_t i = 0; i < l->count; i++)
		filter_close(&l->filters[i]);
	free(l->filters);
	free(l->texts);
	free(l->listed);
	free(l->text);
}

static uint64_t
from_environment(const char *name, uint64_t otherwise)
{
	const char *value = getenv(name);
	return value ? strtoull(value, NULL, 10) : otherwise;
}

static void
answers_the_list_like_libpcap_on_made_frames(void **state)
{
	(void)state;
	struct list l;
	struct frames *f;
	struct dice d = { from_environment("FILTER_SEED", 1) };
	uint32_t wrong = 0;
	open_list(&l);
	assert_int_equal(frames_open(&f, 4u << 20), OK);
	for (uint32_t i = 0; i < SETS; i++) {
		frames_reset(f);
		make_frames(f, &d, linktypes[i], 2500 / SHARE);
		wrong += check_frames(f, l.filters, l.texts, l.count);
	}
	/* several link types in one batch */
	frames_reset(f);
	for (uint32_t i = 0; i < 400; i++)
		make_frames(f, &d, linktypes[i % 9], 1);
	wrong += check_frames(f, l.filters, l.texts, l.count);
	report("list on made frames");
	frames_close(&f);
	close_list(&l);
	sealed_frames_release();
	assert_int_equal(wrong, 0);
}

static void
answers_random_expressions_like_libpcap(void **state)
{
	(void)state;
	struct dice d = { from_environment("FILTER_SEED", 2) };
	uint32_t rounds = (uint32_t)from_environment("FILTER_RANDOM", 6000 / SHARE), wrong = 0, refused = 0, taken = 0;
	static char text[EXPRESSION_BYTES];
	struct frames *f;
	assert_int_equal(frames_open(&f, 4u << 20), OK);
	struct sealed sealed = { 0 };
	for (uint32_t i = 0; i < rounds && wrong < 10; i++) {
		if (i % 40 == 0) {
			frames_reset(f);
			make_frames(f, &d, linktypes[i / 40 % SETS], 1500);
			sealed_close(&sealed);
			seal_frames(&sealed, f);
		}
		make_expression(&d, text, sizeof text);
		struct filter *filter = NULL;
		struct bpf_program program;
		enum err e = filter_open(&filter, text, NULL);
		if (e != OK) {
			bool oracle = libpcap_compile(text, 1, &program) && program.bf_len;
			if (oracle)
				pcap_freecode(&program);
			if (oracle || e != ERR_USAGE) {
				printf("# `%s`: libpcap takes it, we do not: %s\n", text, err_text());
				wrong++;
			}
			refused++;
			continue;
		}
		taken++;
		wrong += !check_block(filter, text, f, &sealed);
		filter_close(&filter);
	}
	printf("# %u random expressions, %u refused by both\n", taken, refused);
	report("random");
	sealed_close(&sealed);
	frames_close(&f);
	sealed_frames_release();
	assert_true(taken > rounds / 3);
	assert_int_equal(wrong, 0);
}

/* Slices of one capture: `slice` frames every `skip`. Returns the number of frames, 0 when it can not be read. */
static uint32_t
check_trace(const struct list *l, struct trace *t, uint32_t slice, uint32_t skip, uint32_t *wrong)
{
	struct frames *f, part;
	uint32_t frames = 0;
	assert_int_equal(frames_open(&f, BLOCK_BYTES_MAX), OK);
	for (enum err e = OK; e == OK;) {
		e = trace_fill(t, f);
		for (uint32_t at = 0; at < f->count; at += skip) {
			part = *f;
			part.v += at;
			part.count = f->count - at < slice ? f->count - at : slice;
			*wrong += check_frames(&part, l->filters, l->texts, l->count);
			frames += part.count;
		}
	}
	frames_close(&f);
	return frames;
}

/* The whole file in memory: its window is larger than trace_open() grants an unknown file. NULL when it is not there. */
static uint8_t *
unpack_zstd(const char *path, size_t *n)
{
	FILE *f = fopen(path, "rb");
	if (!f)
		return NULL;
	fseek(f, 0, SEEK_END);
	size_t packed = (size_t)ftell(f);
	uint8_t *from = malloc(packed), *to = NULL;
	rewind(f);
	assert_true(from && fread(from, 1, packed, f) == packed);
	fclose(f);
	unsigned long long size = ZSTD_getFrameContentSize(from, packed);
	if (size < 1u << 30 && (to = malloc(size)) != NULL) {
		*n = ZSTD_decompress(to, size, from, packed);
		assert_false(ZSTD_isError(*n));
	}
	free(from);
	return to;
}

static void
answers_the_list_like_libpcap_on_real_captures(void **state)
{
	(void)state;
	struct list l;
	struct trace *t = NULL;
	uint32_t wrong = 0, frames = 0;
	size_t n = 0;
	char path[4096];
	const char *shared = getenv("ATOLL_SHARED"), *more = getenv("FILTER_TRACES");
	snprintf(path, sizeof path, "%s/data/pcap/real-mix-hdr.pcap.zst", shared ? shared : "../shared");
	open_list(&l);
	uint8_t *real = unpack_zstd(path, &n);
	if (real) {
		assert_int_equal(trace_open_memory(&t, real, n, 0, path), OK);
		frames = check_trace(&l, t, 1000 / SHARE, 65536 * SHARE, &wrong);
		trace_close(&t);
		report("list on the header-only real trace");
	}
	free(real);
	char *names = more ? strdup(more) : NULL, *rest = names;
	for (char *name; names && (name = strsep(&rest, " ")) && wrong < 10;) {
		if (trace_open(&t, name) == OK)
			frames += check_trace(&l, t, 65536, 65536, &wrong);
		else
			printf("# not read: %s\n", err_text());
		trace_close(&t);
	}
	free(names);
	if (more)
		report("list on FILTER_TRACES");
	close_list(&l);
	sealed_frames_release();
	assert_int_equal(wrong, 0);
	if (!frames) {
		printf("# skipped: no real captures (%s)\n", path);
		skip();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_the_list_like_libpcap_on_made_frames),
		cmocka_unit_test(answers_random_expressions_like_libpcap),
		cmocka_unit_test(answers_the_list_like_libpcap_on_real_captures),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
