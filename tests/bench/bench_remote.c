/* What a packet costs on its way from a monitor into an archive, step by step, on one core: CPU time of each step by itself,
 * with full blocks. Run as bench_remote REAL.pcap LONG.pcap; prints one JSON object per row. Steps that change nothing count
 * with the best of PASSES runs of each block, because the machine is shared; landing and merging are done once. */
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "archive/block_read.h"
#include "archive/parcel.h"
#include "archive/seal.h"
#include "index/monitors.h"
#include "index/reception.h"
#include "ingest/session.h"
#include "ingest/trace.h"
#include "tests/support/make_archive.h"

#define PASSES 5
#define BLOCKS 16                     /* of each trace */
#define PARCELS 64                    /* parcels: as many as a segment has */
#define GROUP_BYTES (8u << 20)        /* committed at once */

enum step { SIGN, VERIFY, INDEX, ALL, SEND, RECEIVE, LAND, COMMIT, MERGE, STEPS };

static const struct { const char *name, *aim; } steps[STEPS] = {
	[SIGN] = { "sign and hash a parcel", "" },
	[VERIFY] = { "verify a parcel", "" },
	[INDEX] = { "examine a block for the index", "35" },
	[ALL] = { "examine a block, every frame", "150" },
	[SEND] = { "session, sending", "" },
	[RECEIVE] = { "session, receiving", "" },
	[LAND] = { "land a parcel", "" },
	[COMMIT] = { "commit what landed", "" },
	[MERGE] = { "merge what landed", "" },
};

/* One block as a monitor sends it. */
struct sample {
	uint8_t *bytes;            /* front and block, as on the wire */
	uint8_t  key[BLOCK_KEY_BYTES], front[PARCEL_FRONT_BYTES_MAX];
	struct parcel parcel;
	uint8_t *block;
};

struct bench {
	struct sample samples[BLOCKS];
	unsigned count;
	uint64_t packets;
	uint8_t  sign_public[PARCEL_MONITOR_BYTES], sign_secret[PARCEL_SIGN_BYTES];
	uint8_t  noise_public[32], noise_secret[32];
	struct archive_identity identity;
	uint8_t  archive[ARCHIVE_ID_BYTES];
	struct block_examiner *examiner;
	double   ns[STEPS];        /* of a packet */
};

static double
now(clockid_t clock)
{
	struct timespec t;
	clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double cpu(void) { return now(CLOCK_PROCESS_CPUTIME_ID); }
static uint64_t steady(void) { return (uint64_t)now(CLOCK_MONOTONIC); }

/* --- the steps that change nothing --- */

static double
best_of(double best, double took)
{
	return best == 0 || took < best ? took : best;
}

static enum err
measure_parcel(struct bench *b, const struct sample *s)
{
	double best[STEPS] = { 0 };
	struct block block;
	for (unsigned pass = 0; pass < PASSES; pass++) {
		struct parcel p = s->parcel;
		uint8_t front[PARCEL_FRONT_BYTES_MAX];
		double t[5] = { cpu() };
		parcel_sign(&p, b->sign_secret, b->identity.ingest_public, s->key, front);
		t[1] = cpu();
		TRY(parcel_verify(&p));
		t[2] = cpu();
		TRY(block_examine(b->examiner, s->block, p.block_bytes, s->key, p.captured_bytes, EXAMINE_INDEX, &block));
		t[3] = cpu();
		TRY(block_examine(b->examiner, s->block, p.block_bytes, s->key, p.captured_bytes, EXAMINE_ALL, &block));
		t[4] = cpu();
		for (enum step i = SIGN; i <= ALL; i++)
			best[i] = best_of(best[i], t[i + 1] - t[i]);
	}
	for (enum step i = SIGN; i <= ALL; i++)
		b->ns[i] += best[i];
	return OK;
}

/* --- sessions: a collector's and an archive's, with memory for a wire --- */

struct wire {
	struct session *collector, *archive;
	uint8_t         archive_secret[32];
	double          sending, receiving;
	bool            came;
};

static enum wire_refusal
admit(void *arg, const uint8_t key[NOISE_KEY_BYTES])
{
	(void)arg, (void)key;
	return WIRE_REFUSAL_NONE;
}

static enum err
answer(struct wire *w, bool archive, const struct session_event *event)
{
	static const struct wire_message hello = { .type = WIRE_TYPE_HELLO }, welcome = { .type = WIRE_TYPE_WELCOME };
	uint8_t shared[32];
	if (event->kind == SESSION_READY)
		return session_send(w->collector, &hello, steady());
	if (event->kind == SESSION_WANT_DH) {
		TRY(noise_dh(shared, w->archive_secret, event->key));
		session_dh_done(w->archive, shared);
		return OK;
	}
	if (archive && event->message.type == WIRE_TYPE_HELLO)
		return session_send(w->archive, &welcome, steady());
	w->came |= archive && event->message.type == WIRE_TYPE_PARCEL;
	return OK;
}

/* Moves what one side has to say to the other; *moved: something was. */
static enum err
move(struct wire *w, bool to_archive, bool *moved)
{
	struct session *from = to_archive ? w->collector : w->archive, *to = to_archive ? w->archive : w->collector;
	struct session_event event;
	const uint8_t *out;
	uint8_t *in;
	double began = cpu();
	size_t n = session_output(from, steady(), &out);
	w->sending += to_archive ? cpu() - began : 0;
	size_t room = session_input(to, &in);
	n = n < room ? n : room;
	if (n) {
		memcpy(in, out, n);
		session_sent(from, n, steady());
	}
	*moved |= n > 0;
	began = cpu();
	if (n)
		session_received(to, n, steady());
	enum err e;
	while ((e = session_next(to, steady(), &event)) == OK) {
		*moved = true;
		TRY(answer(w, to_archive, &event));
	}
	w->receiving += to_archive ? cpu() - began : 0;
	return e == END ? OK : e;
}

static enum err
exchange(struct wire *w)
{
	for (bool moved = true; moved;) {
		moved = false;
		TRY(move(w, true, &moved));
		TRY(move(w, false, &moved));
	}
	return OK;
}

static enum err
measure_sample_session(struct bench *b, struct wire *w, const struct sample *s)
{
	struct wire_message m = { .type = WIRE_TYPE_PARCEL };
	double send = 0, receive = 0;
	m.parcel.bytes = s->bytes;
	m.parcel.bytes_count = s->parcel.front_bytes + s->parcel.block_bytes;
	for (unsigned pass = 0; pass < PASSES; pass++) {
		w->sending = w->receiving = 0;
		w->came = false;
		double began = cpu();
		TRY(session_send(w->collector, &m, steady()));
		w->sending += cpu() - began;
		TRY(exchange(w));
		if (!w->came)
			return fail(ERR_FORMAT, "a parcel did not come through");
		send = best_of(send, w->sending);
		receive = best_of(receive, w->receiving);
	}
	b->ns[SEND] += send;
	b->ns[RECEIVE] += receive;
	return OK;
}

static enum err
measure_sessions(struct bench *b)
{
	struct wire w = { 0 };
	memcpy(w.archive_secret, b->identity.noise_secret, sizeof w.archive_secret);
	enum err e = session_open_collector(&w.collector, b->noise_secret, b->identity.noise_public, steady());
	if (e == OK)
		e = session_open_archive(&w.archive, b->identity.noise_public, admit, NULL, steady());
	if (e == OK)
		e = exchange(&w);
	for (unsigned i = 0; i < b->count && e == OK; i++)
		e = measure_sample_session(b, &w, &b->samples[i]);
	session_close(&w.collector);
	session_close(&w.archive);
	return e;
}

/* --- landing, committing, merging --- */

static enum err
commit(struct bench *b, struct store *s)
{
	double began = cpu();
	TRY(store_land_commit(s));
	b->ns[COMMIT] += cpu() - began;
	return OK;
}

static enum err
land_one(struct bench *b, struct store *s, uint32_t monitor, uint64_t sequence, uint8_t previous[PARCEL_HASH_BYTES])
{
	const struct sample *from = &b->samples[(sequence - 1) % b->count];
	uint8_t front[PARCEL_FRONT_BYTES_MAX];
	struct parcel p = from->parcel;
	struct block block;
	struct feed_mark mark;
	enum landing_answer landed;
	p.sequence = sequence;
	memcpy(p.previous, previous, sizeof p.previous);
	parcel_sign(&p, b->sign_secret, b->identity.ingest_public, from->key, front);
	memcpy(previous, p.self, sizeof p.self);
	TRY(block_examine(b->examiner, p.block, p.block_bytes, from->key, p.captured_bytes, EXAMINE_INDEX, &block));
	struct arrival a = { .monitor = monitor, .parcel = &p, .key = from->key, .block = &block,
		             .now_ns = (uint64_t)now(CLOCK_REALTIME) };
	double began = cpu();
	TRY(store_land(s, &a, &landed, &mark));
	b->ns[LAND] += cpu() - began;
	if (landed != LANDED)
		return fail(ERR_FORMAT, "parcel %u did not land", (unsigned)sequence);
	return store_landing_bytes(s) >= GROUP_BYTES ? commit(b, s) : OK;
}

static enum err
land_all(struct bench *b, struct store *s)
{
	const struct retention keep = { 0 };
	uint8_t code[TICKET_BYTES], previous[PARCEL_HASH_BYTES] = { 0 };
	uint64_t clock = (uint64_t)now(CLOCK_REALTIME), packets = 0;
	struct monitor_row row;
	bool more = true;
	TRY(monitors_ticket(s, "bench", clock, clock + 1000000000, code));
	TRY(monitors_enrol(s, code, b->noise_public, b->sign_public, clock, &row));
	for (uint64_t i = 1; i <= PARCELS; i++) {
		TRY(land_one(b, s, row.id, i, previous));
		packets += b->samples[(i - 1) % b->count].parcel.records;
	}
	TRY(commit(b, s));
	while (more) {
		double began = cpu();
		TRY(reception_tend(s, &keep, (uint64_t)now(CLOCK_REALTIME), true, &more));
		b->ns[MERGE] += cpu() - began;
	}
	for (enum step i = LAND; i <= MERGE; i++) /* as if each sample had landed once */
		b->ns[i] *= (double)b->packets / (double)packets;
	return OK;
}

/* --- samples --- */

static enum err
sample_make(struct bench *b, struct sample *s, struct block_encoder *encoder, const struct frames *f)
{
	struct block block;
	TRY(block_encode(encoder, f, true, &block));
	randombytes_buf(s->key, sizeof s->key);
	block_seal(encoder, &block, s->key);
	struct parcel *p = &s->parcel;
	*p = (struct parcel){ .kind = PARCEL_BLOCK, .epoch = 1, .sequence = 1, .made_ns = 1, .records = block.info.records,
		              .first_ns = block.info.first_ns, .last_ns = block.info.last_ns,
		              .captured_bytes = block.info.captured_bytes, .stream = "eth0" };
	memcpy(p->archive, b->archive, sizeof p->archive);
	memcpy(p->monitor, b->sign_public, sizeof p->monitor);
	s->bytes = malloc(PARCEL_FRONT_BYTES_MAX + (size_t)block.stored_bytes);
	s->block = malloc(block.stored_bytes);
	if (!s->bytes || !s->block)
		return fail(ERR_NOMEM, "no memory");
	memcpy(s->block, block.stored, block.stored_bytes);
	p->block = s->block;
	p->block_bytes = block.stored_bytes;
	parcel_sign(p, b->sign_secret, b->identity.ingest_public, s->key, s->front);
	memcpy(s->bytes, p->front, p->front_bytes);
	memcpy(s->bytes + p->front_bytes, s->block, p->block_bytes);
	b->packets += p->records;
	b->count++;
	return OK;
}

static enum err
samples_make(struct bench *b, const char *path)
{
	struct trace *t = NULL;
	struct frames *f = NULL;
	struct block_encoder *encoder = NULL;
	enum err e = trace_open(&t, path);
	if (e == OK)
		e = frames_open(&f, BLOCK_BYTES_MAX);
	if (e == OK)
		e = block_encoder_open(&encoder);
	while (e == OK && b->count < BLOCKS) {
		e = trace_fill(t, f);
		if (e == OK && f->count == BLOCK_RECORDS_MAX) /* full blocks only */
			e = sample_make(b, &b->samples[b->count], encoder, f);
	}
	block_encoder_close(&encoder);
	frames_close(&f);
	trace_close(&t);
	return e == END && b->count > 0 ? OK : e;
}

static void
print_rows(const struct bench *b, const char *trace)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	for (enum step i = 0; i < STEPS; i++)
		printf("{\"name\": \"%s, %s\", \"value\": %.2f, \"unit\": \"ns/packet\", \"peer\": null, \"peer_value\": null, "
		       "\"peak_rss_bytes\": %ld, \"aim\": \"%s\"}\n", steps[i].name, trace, b->ns[i] / (double)b->packets,
		       usage.ru_maxrss * 1024, steps[i].aim);
	fflush(stdout);
}

static enum err
measure(struct bench *b, const char *path, const char *dir)
{
	struct store *s = NULL;
	TRY(archive_init(dir, NULL));
	TRY(store_open(&s, dir, NULL));
	archive_id(store_archive(s), b->archive);
	monitors_identity(archive_keystore(store_archive(s)), &b->identity);
	crypto_sign_keypair(b->sign_public, b->sign_secret);
	randombytes_buf(b->noise_secret, sizeof b->noise_secret);
	noise_public(b->noise_public, b->noise_secret);
	enum err e = block_examiner_open(&b->examiner);
	if (e == OK)
		e = samples_make(b, path);
	for (unsigned i = 0; i < b->count && e == OK; i++)
		e = measure_parcel(b, &b->samples[i]);
	if (e == OK)
		e = measure_sessions(b);
	if (e == OK)
		e = land_all(b, s);
	block_examiner_close(&b->examiner);
	store_close(&s);
	for (unsigned i = 0; i < b->count; i++) {
		free(b->samples[i].bytes);
		free(b->samples[i].block);
	}
	return e;
}

int
main(int argc, char **argv)
{
	static const char *const traces[] = { "corpus", "long trace" };
	int status = 0;
	if (seal_start() != OK)
		return 1;
	for (int i = 1; i < argc && i <= 2 && status == 0; i++) {
		static struct bench b;
		char folder[PATH_BYTES], dir[PATH_BYTES + 8];
		b = (struct bench){ 0 };
		scratch_make(folder);
		snprintf(dir, sizeof dir, "%s/archive", folder);
		enum err e = measure(&b, argv[i], dir);
		if (e == OK)
			print_rows(&b, traces[i - 1]);
		else
			fprintf(stderr, "%s\n", err_text());
		scratch_remove(folder);
		status = e != OK;
	}
	return status;
}
