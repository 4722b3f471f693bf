#include "tests/support/spool_model.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct model_stream *
model_stream(struct model *m, const char *name)
{
	for (unsigned i = 0; i < m->count; i++)
		if (strcmp(m->streams[i].name, name) == 0)
			return &m->streams[i];
	assert(m->count < MODEL_STREAMS);
	struct model_stream *st = &m->streams[m->count++];
	snprintf(st->name, sizeof st->name, "%.63s", name);
	return st;
}

static void
broken(struct model *m, const struct parcel *p, const char *what)
{
	if (!*m->wrong)
		snprintf(m->wrong, sizeof m->wrong, "parcel %llu of %.60s: %s", (unsigned long long)p->sequence, p->stream, what);
}

static void
land(struct model_stream *st, const struct parcel *p, uint64_t first)
{
	const uint8_t *chain = p->kind == PARCEL_LOSS ? p->hash : p->self;
	if (p->epoch != st->epoch)
		memset(st->kind, 0, sizeof st->kind);
	st->epoch = p->epoch;
	st->sequence = p->sequence;
	memcpy(st->chain, chain, sizeof st->chain);
	assert(p->sequence < MODEL_SEQUENCES);
	for (uint64_t i = first; i <= p->sequence; i++)
		st->kind[i] = p->kind;
	memcpy(st->self[p->sequence], chain, sizeof st->chain);
	st->lost[SPOOL_LOST_KERNEL] = p->lost_kernel;
	st->lost[SPOOL_LOST_INTERFACE] = p->lost_interface;
	st->lost[SPOOL_LOST_SPOOL] = p->lost_spool;
	st->lost[SPOOL_LOST_POLICY] = p->lost_policy;
	st->source_records = p->source_records;
	if (p->kind == PARCEL_LOSS) {
		st->losses++;
		st->lost_records += p->records;
		st->lost_from = first;
		st->lost_to = p->sequence;
	} else {
		st->records += p->records;
	}
}

void
model_take(struct model *m, const uint8_t *bytes, uint32_t n)
{
	static const uint8_t zero[PARCEL_HASH_BYTES];
	struct parcel p = { 0 };
	if (parcel_parse(bytes, n, &p) != OK || parcel_verify(&p) != OK) {
		broken(m, &p, err_text());
		return;
	}
	struct model_stream *st = model_stream(m, p.stream);
	uint64_t first = p.kind == PARCEL_LOSS ? p.from_sequence : p.sequence;
	if (p.epoch < st->epoch) {
		broken(m, &p, "of an epoch that is over");
	} else if (p.epoch > st->epoch) {
		if (first != 1 || memcmp(p.previous, zero, sizeof zero) != 0)
			broken(m, &p, "a new epoch that does not begin with its first parcel");
		else
			land(st, &p, first);
	} else if (p.sequence <= st->sequence) {
		st->repeated++;
		if (p.kind == PARCEL_BLOCK && st->kind[p.sequence] == PARCEL_BLOCK &&
		    memcmp(p.self, st->self[p.sequence], sizeof p.self) != 0)
			broken(m, &p, "a fork: another content than before");
	} else if (first != st->sequence + 1) {
		broken(m, &p, "a gap");
	} else if (memcmp(p.previous, st->chain, sizeof st->chain) != 0) {
		broken(m, &p, "a fork: another chain");
	} else if (p.lost_kernel < st->lost[SPOOL_LOST_KERNEL] || p.lost_interface < st->lost[SPOOL_LOST_INTERFACE] ||
	           p.lost_spool < st->lost[SPOOL_LOST_SPOOL] || p.lost_policy < st->lost[SPOOL_LOST_POLICY]) {
		broken(m, &p, "losses decrease");
	} else {
		land(st, &p, first);
	}
}

/* OK, END: no more for now, or what the spool says. */
static enum err
step(struct model *m, struct spool *s, bool acknowledge, void (*taken)(void *arg), void *arg)
{
	const uint8_t *bytes;
	struct spool_stream row;
	uint32_t n;
	unsigned stream;
	enum err e = spool_read(s, &bytes, &n, &stream);
	if (e == ERR_ABSENT) {
		spool_stream_get(s, stream, &row);
		const struct model_stream *st = model_stream(m, (const char *)row.name);
		struct spool_mark mark = { .epoch = st->epoch, .sequence = st->sequence };
		memcpy(mark.chain, st->chain, sizeof mark.chain);
		TRY(spool_resume(s, stream, &mark));
		return step(m, s, acknowledge, taken, arg);
	}
	TRY(e);
	model_take(m, bytes, n);
	if (taken)
		taken(arg);
	spool_stream_get(s, stream, &row);
	const struct model_stream *st = model_stream(m, (const char *)row.name);
	return acknowledge ? spool_acknowledge(s, st->name, st->epoch, st->sequence) : OK;
}

unsigned
model_session(struct model *m, struct spool *s, unsigned most, bool acknowledge, enum err *final, void (*taken)(void *arg),
              void *arg)
{
	unsigned count = 0;
	enum err e = OK;
	spool_rewind(s);
	while (count < most && (e = step(m, s, acknowledge, taken, arg)) == OK)
		count++;
	if (final)
		*final = e == END ? OK : e;
	else if (e != OK && e != END) {
		fprintf(stderr, "spool: %s\n", err_text());
		abort();
	}
	return count;
}

/* --- places --- */

struct identity *
model_identity(void)
{
	static const uint8_t seed[IDENTITY_SEED_BYTES] = "a seed for tests";
	uint8_t secret[32];
	struct identity *id = NULL;
	if (identity_make(&id, seed) != OK)
		abort();
	crypto_generichash(secret, sizeof secret, seed, sizeof seed, NULL, 0);
	noise_public(id->ingest, secret);
	noise_public(id->archive_key, secret);
	memcpy(id->archive, "0123456789abcdef", sizeof id->archive);
	snprintf(id->monitor, sizeof id->monitor, "roof");
	snprintf(id->host, sizeof id->host, "127.0.0.1");
	id->enrolled = true;
	return id;
}

enum err
model_append(struct spool *s, unsigned stream, uint32_t block_bytes, uint64_t records, uint64_t seed)
{
	static const uint8_t key[BLOCK_KEY_BYTES] = { 9 };
	uint8_t from[randombytes_SEEDBYTES] = { 0 }, *block = malloc(block_bytes);
	assert(block);
	memcpy(from, &seed, sizeof seed);
	randombytes_buf_deterministic(block, block_bytes, from);
	struct parcel p = {
		.block = block,
		.block_bytes = block_bytes,
		.records = records,
		.first_ns = 1000 * seed,
		.last_ns = 1000 * seed + 999,
		.captured_bytes = 60 * records,
		.made_ns = 1,
	};
	enum err e = spool_append(s, stream, &p, key);
	free(block);
	return e;
}
