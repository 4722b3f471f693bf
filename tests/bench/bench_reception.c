/* What the store process does with full blocks: landing, group commit, merging, on one core; beside it the examination, which
 * the ingest process does. Run as bench_reception REAL.pcap LONG.pcap; prints one JSON object per row. The archive is made
 * below TMPDIR. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "archive/block_read.h"
#include "base/io.h"
#include "ingest/trace.h"
#include "tests/support/scratch.h"
#include "tests/support/sender.h"

#define BLOCKS    128 /* of each trace: two segments */
#define PER_GROUP 6   /* what comes in 100 ms at 4 million packets a second */

struct cost {
	double cpu_s, wall_s;
};

struct result {
	uint64_t packets, stored_bytes;
	struct cost examine, land, commit, tend;
	double longest_s; /* step of merging */
};

static double
seconds(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void
start(struct cost *c)
{
	c->cpu_s -= seconds(CLOCK_PROCESS_CPUTIME_ID);
	c->wall_s -= seconds(CLOCK_MONOTONIC);
}

static void
stop(struct cost *c)
{
	c->cpu_s += seconds(CLOCK_PROCESS_CPUTIME_ID);
	c->wall_s += seconds(CLOCK_MONOTONIC);
}

/* Parcels in memory, as the monitor would send them. */
static enum err
parcels_make(const char *path, struct sending *s, struct sent **v, unsigned *n)
{
	struct trace *t = NULL;
	struct frames *f = NULL;
	enum err e = trace_open(&t, path);
	if (e == OK)
		e = frames_open(&f, BLOCK_BYTES_MAX);
	for (*n = 0; *n < BLOCKS && e == OK; ++*n)
		if ((e = trace_fill(t, f)) == OK)
			v[*n] = send_frames(s, f, true);
		else
			break;
	frames_close(&f);
	trace_close(&t);
	return e == END ? OK : e;
}

static enum err
tend(struct store *s, uint64_t now_ns, bool force, struct result *r)
{
	enum err e = OK;
	start(&r->tend);
	for (bool more = true; more && e == OK;) {
		double began = seconds(CLOCK_MONOTONIC);
		e = reception_tend(s, NULL, now_ns, force, &more);
		double took = seconds(CLOCK_MONOTONIC) - began;
		r->longest_s = took > r->longest_s ? took : r->longest_s;
	}
	stop(&r->tend);
	return e;
}

static enum err
receive(struct store *s, const struct sender *m, struct sent *const *v, unsigned n, struct result *r)
{
	struct block_examiner *x = NULL;
	struct block b;
	enum landing_answer answer;
	struct feed_mark mark;
	TRY(block_examiner_open(&x));
	enum err e = OK;
	for (unsigned i = 0; i < n && e == OK; i++) {
		const struct parcel *p = &v[i]->p;
		struct arrival a = { .monitor = m->number, .parcel = p, .key = v[i]->key, .block = &b, .now_ns = i + 1 };
		start(&r->examine);
		e = block_examine(x, p->block, p->block_bytes, v[i]->key, p->captured_bytes, EXAMINE_ALL, &b);
		stop(&r->examine);
		start(&r->land);
		if (e == OK)
			e = store_land(s, &a, &answer, &mark);
		stop(&r->land);
		r->packets += p->records;
		r->stored_bytes += p->block_bytes;
		if (e != OK || i % PER_GROUP != PER_GROUP - 1)
			continue;
		start(&r->commit);
		e = store_land_commit(s);
		stop(&r->commit);
		if (e == OK)
			e = tend(s, i + 1, false, r);
	}
	block_examiner_close(&x);
	return e == OK ? tend(s, n + 1, true, r) : e;
}

static enum err
measure(const char *path, struct result *r)
{
	char top[PATH_BYTES], dir[PATH_BYTES];
	struct store *s = NULL;
	struct sender m;
	struct sending sending;
	struct sent *v[BLOCKS];
	unsigned n = 0;
	*r = (struct result){ 0 };
	scratch_make(top);
	TRY(io_path(dir, top, "a"));
	TRY(archive_init(dir, NULL));
	enum err e = store_open(&s, dir, NULL);
	if (e == OK) {
		sender_open(&m, s, "m", 1);
		sending_begin(&sending, &m, "eth0", 1);
		e = parcels_make(path, &sending, v, &n);
	}
	if (e == OK)
		e = receive(s, &m, v, n, r);
	store_close(&s);
	for (unsigned i = 0; i < n; i++)
		sent_free(&v[i]);
	scratch_remove(top);
	return e;
}

static void
row(const char *name, const char *trace, const struct result *r, struct cost c, const char *aim)
{
	struct rusage usage;
	double ns = 1e9 / (double)r->packets;
	getrusage(RUSAGE_SELF, &usage);
	printf("{\"name\": \"%s, %s\", \"value\": %.2f, \"unit\": \"ns/packet, CPU\", \"peer\": \"wall clock\", \"peer_value\": %.2f, "
	       "\"peak_rss_bytes\": %ld, \"aim\": \"%s\"}\n", name, trace, c.cpu_s * ns, c.wall_s * ns, usage.ru_maxrss * 1024, aim);
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	static const char *const traces[] = { "corpus", "long trace" };
	for (int i = 1; i < argc && i <= 2; i++) {
		struct result r;
		if (measure(argv[i], &r) != OK) {
			fprintf(stderr, "%s\n", err_text());
			return 1;
		}
		struct cost all = { r.land.cpu_s + r.commit.cpu_s + r.tend.cpu_s, r.land.wall_s + r.commit.wall_s + r.tend.wall_s };
		row("examine a block", traces[i - 1], &r, r.examine, "");
		row("land", traces[i - 1], &r, r.land, "");
		row("group commit", traces[i - 1], &r, r.commit, "");
		row("merge", traces[i - 1], &r, r.tend, "");
		printf("{\"name\": \"longest step of merging, %s\", \"value\": %.1f, \"unit\": \"ms\", \"peer\": null, "
		       "\"peer_value\": null, \"peak_rss_bytes\": null, \"aim\": \"50\"}\n", traces[i - 1], r.longest_s * 1e3);
		row("land, commit and merge", traces[i - 1], &r, all, "at most 20");
	}
	sender_release();
	return 0;
}
