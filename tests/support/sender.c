#include "tests/support/sender.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/block.h"
#include "archive/block_read.h"
#include "query/records.h"

#define US 1000u

static struct frames *frames;
static struct block_encoder *encoder;
static struct block_examiner *examiner;

static void
must(enum err e)
{
	if (e == OK)
		return;
	fprintf(stderr, "sender: %s: %s\n", err_name(e), err_text());
	abort();
}

void
digest_add(struct digest *d, const struct digest *more)
{
	d->records += more->records;
	d->sum += more->sum;
}

static void
digest_record(struct digest *d, uint64_t ts_ns, uint32_t wire_len, const uint8_t *p, uint32_t n)
{
	static const uint8_t key[crypto_shorthash_KEYBYTES] = { 7 };
	uint8_t bytes[256] = { 0 }, hash[crypto_shorthash_BYTES];
	if (n > sizeof bytes - 16)
		abort();
	store_le64(bytes, ts_ns);
	store_le32(bytes + 8, wire_len);
	memcpy(bytes + 16, p, n);
	crypto_shorthash(hash, bytes, 16 + n, key);
	d->records++;
	d->sum += load_le64(hash);
}

void
sender_open(struct sender *m, struct store *s, const char *name, uint8_t seed)
{
	uint8_t seeds[crypto_sign_SEEDBYTES] = { seed }, noise_key[32] = { seed, 1 }, code[TICKET_BYTES];
	struct archive_identity identity;
	struct monitor_row row;
	struct archive *a = store_archive(s);
	*m = (struct sender){ 0 };
	crypto_sign_seed_keypair(m->sign_public, m->sign_secret, seeds);
	monitors_identity(archive_keystore(a), &identity);
	memcpy(m->ingest, identity.ingest_public, sizeof m->ingest);
	archive_id(a, m->archive);
	must(catalogue_begin(archive_catalogue(a)));
	enum err e = monitors_find(archive_catalogue(a), noise_key, &row);
	catalogue_end(archive_catalogue(a));
	if (e == ERR_ABSENT) {
		must(monitors_ticket(s, name, 1, 1000, code));
		e = monitors_enrol(s, code, noise_key, m->sign_public, 2, &row);
	}
	must(e);
	m->number = row.id;
}

void
sending_begin(struct sending *s, const struct sender *m, const char *stream, uint64_t epoch)
{
	*s = (struct sending){ .of = m, .epoch = epoch, .next_ns = epoch * 1000000000000u, .sampled = 1 };
	snprintf(s->stream, sizeof s->stream, "%s", stream);
}

/* Ethernet, IPv4, UDP: 42 bytes. */
static void
frame_add(uint64_t ts_ns, uint32_t n)
{
	static const uint8_t head[42] = {
		0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00,
		0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 0, 198, 51, 100, 7,
		0x10, 0x00, 0, 53, 0, 8, 0, 0,
	};
	uint8_t *p = frames->bytes + frames->used_bytes;
	memcpy(p, head, sizeof head);
	p[18] = (uint8_t)(n >> 8); /* IP id */
	p[19] = (uint8_t)n;
	p[28] = (uint8_t)(n >> 10 & 7);
	p[29] = (uint8_t)(n >> 4);
	frames->v[frames->count++] = (struct frame){
		.ts_ns = ts_ns, .wire_len = 60 + n % 100, .cap_len = sizeof head, .at = frames->used_bytes, .linktype = 1,
	};
	frames->used_bytes += sizeof head;
}

static struct sent *
sent_new(const struct sending *s)
{
	struct sent *x = calloc(1, sizeof *x);
	if (!x)
		abort();
	struct parcel *p = &x->p;
	memcpy(p->archive, s->of->archive, sizeof p->archive);
	memcpy(p->monitor, s->of->sign_public, sizeof p->monitor);
	memcpy(p->previous, s->previous, sizeof p->previous);
	snprintf(p->stream, sizeof p->stream, "%s", s->stream);
	p->epoch = s->epoch;
	p->made_ns = s->next_ns;
	p->first_ns = s->next_ns;
	p->lost_kernel = s->lost_kernel;
	p->lost_interface = s->lost_interface;
	p->lost_spool = s->lost_spool;
	p->lost_policy = s->lost_policy;
	return x;
}

/* A key that is the same each time, and another one for each parcel. */
static void
key_make(struct sent *x)
{
	crypto_generichash(x->key, sizeof x->key, (const uint8_t *)&x->p, offsetof(struct parcel, made_ns), x->p.monitor, 32);
}

struct sent *
send_frames(struct sending *s, const struct frames *f, bool headers_only)
{
	struct sent *x = sent_new(s);
	struct parcel *p = &x->p;
	struct block b;
	if (!encoder)
		must(block_encoder_open(&encoder));
	must(block_encode(encoder, f, headers_only, &b));
	p->kind = PARCEL_BLOCK;
	p->sequence = ++s->sequence;
	p->records = b.info.records;
	p->first_ns = b.info.first_ns;
	p->last_ns = b.info.last_ns;
	p->captured_bytes = b.info.captured_bytes;
	key_make(x);
	block_seal(encoder, &b, x->key);
	x->block = malloc(b.stored_bytes);
	if (!x->block)
		abort();
	memcpy(x->block, b.stored, b.stored_bytes);
	p->block = x->block;
	p->block_bytes = b.stored_bytes;
	parcel_sign(p, s->of->sign_secret, s->of->ingest, x->key, x->front);
	memcpy(s->previous, p->self, sizeof s->previous);
	return x;
}

struct sent *
send_block(struct sending *s, uint32_t records)
{
	struct digest digest = { 0 };
	if (!frames)
		must(frames_open(&frames, BLOCK_BYTES_MAX));
	frames_reset(frames);
	frames->sampled = s->sampled;
	frames->sampler = s->sampler;
	for (uint32_t i = 0; i < records; i++, s->next_ns += US) {
		frame_add(s->next_ns, s->number++);
		const struct frame *f = &frames->v[i];
		digest_record(&digest, f->ts_ns, f->wire_len, frames->bytes + f->at, f->cap_len);
	}
	struct sent *x = send_frames(s, frames, false);
	x->digest = digest;
	return x;
}

struct sent *
send_loss(struct sending *s, uint32_t parcels, uint64_t records)
{
	struct sent *x = sent_new(s);
	struct parcel *p = &x->p;
	p->kind = PARCEL_LOSS;
	p->from_sequence = s->sequence + 1;
	p->sequence = s->sequence += parcels;
	p->records = records;
	s->next_ns += records * US;
	p->last_ns = s->next_ns - US;
	p->lost_spool += s->counts_part;
	s->lost_spool += records;
	if (s->counts_at_once)
		p->lost_spool = s->lost_spool;
	memset(p->hash, 0x55, sizeof p->hash);
	parcel_sign(p, s->of->sign_secret, s->of->ingest, NULL, x->front);
	memcpy(s->previous, p->hash, sizeof s->previous);
	return x;
}

void
sent_free(struct sent **x)
{
	if (!*x)
		return;
	free((*x)->block);
	free(*x);
	*x = NULL;
}

enum err
send_land(struct store *s, const struct sender *m, const struct sent *x, uint64_t now_ns, enum landing_answer *answer,
          struct feed_mark *mark)
{
	struct block b;
	struct arrival a = { .monitor = m->number, .parcel = &x->p, .now_ns = now_ns };
	must(parcel_verify(&x->p));
	if (!examiner)
		must(block_examiner_open(&examiner));
	if (x->block) {
		must(block_examine(examiner, x->block, x->p.block_bytes, x->key, x->p.captured_bytes, EXAMINE_INDEX, &b));
		a.block = &b;
		a.key = x->key;
	}
	return store_land(s, &a, answer, mark);
}

void
sender_release(void)
{
	frames_close(&frames);
	block_encoder_close(&encoder);
	block_examiner_close(&examiner);
}

void
sent_write(const struct sent *x, FILE *f)
{
	uint32_t n[2] = { x->p.front_bytes, x->p.block_bytes };
	if (fwrite(n, sizeof n, 1, f) != 1 || fwrite(x->key, sizeof x->key, 1, f) != 1 ||
	    fwrite(&x->digest, sizeof x->digest, 1, f) != 1 || fwrite(x->front, n[0], 1, f) != 1 ||
	    (n[1] && fwrite(x->block, n[1], 1, f) != 1))
		abort();
}

struct sent *
sent_read(FILE *f)
{
	uint32_t n[2];
	if (fread(n, sizeof n, 1, f) != 1)
		return NULL;
	struct sent *x = calloc(1, sizeof *x);
	if (!x || n[0] > sizeof x->front || fread(x->key, sizeof x->key, 1, f) != 1 ||
	    fread(&x->digest, sizeof x->digest, 1, f) != 1 || fread(x->front, n[0], 1, f) != 1)
		abort();
	must(parcel_parse_front(x->front, n[0], &x->p));
	if (n[1]) {
		x->p.block = x->block = malloc(n[1]);
		if (!x->block || fread(x->block, n[1], 1, f) != 1)
			abort();
	}
	return x;
}

/* --- what an archive has --- */

struct looking {
	struct digest *digest;
	uint64_t *notices;
};

static enum err
take_record(void *arg, const struct record *r)
{
	struct looking *l = arg;
	digest_record(l->digest, r->ts_ns, r->wire_len, r->bytes, r->cap_len);
	return OK;
}

static void
take_notice(void *arg, const char *sentence)
{
	struct looking *l = arg;
	if (!l->notices) {
		fprintf(stderr, "sender: %s\n", sentence);
		abort();
	}
	++*l->notices;
}

enum err
archive_digest(struct archive *a, const char *stream, uint64_t from_ns, uint64_t until_ns, struct digest *d, uint64_t *notices)
{
	struct filter *filter = NULL;
	struct plan *plan = NULL;
	struct request r = { .streams = &stream, .stream_count = stream != NULL, .span = { from_ns, until_ns } };
	struct scan_counts counts = { 0 };
	struct looking l = { d, notices };
	struct records_sink sink = { .record = take_record, .notice = take_notice, .arg = &l };
	*d = (struct digest){ 0 };
	must(filter_open(&filter, "", NULL));
	r.filter = filter;
	enum err e = plan_open(&plan, a, &r);
	if (e == OK)
		e = records_run(plan, filter, 1, &sink, &counts);
	if (e == OK && notices)
		*notices += plan_counts(plan)->segments_missing;
	plan_close(&plan);
	filter_close(&filter);
	return e;
}
