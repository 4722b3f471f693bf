/* Encoding on one core: frames in memory through parsing, columns, compression and sealing. Beside it the decoder, all
 * columns. Run as bench_encode REAL.pcap LONG.pcap; prints one JSON object per row. Each block counts with the best of
 * PASSES runs, because the machine is shared. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "archive/block.h"
#include "archive/packet_decode.h"
#include "ingest/trace.h"

#define PASSES 5
#define BLOCKS 24 /* of each trace */

struct result {
	uint64_t packets, stored_bytes;
	double encode_s, decode_s;
};

static double
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* All columns of an encoded, not yet sealed block. */
static enum err
decode(struct packet_decoder *d, const struct block *b)
{
	const uint8_t *table = b->stored + BLOCK_HEADER_BYTES, *at = table + b->chunk_count * BLOCK_CHUNK_BYTES;
	const struct batch *batch;
	packet_decoder_begin(d, b->info.records, 1, SAMPLER_ALL);
	for (uint32_t i = 0; i < b->chunk_count; i++) {
		uint32_t bytes = load_le32(table + i * BLOCK_CHUNK_BYTES + 4);
		TRY(packet_decoder_chunk(d, load_le32(table + i * BLOCK_CHUNK_BYTES), at, bytes - 16));
		at += bytes;
	}
	return packet_decode(d, BATCH_ALL, &batch);
}

static enum err
measure_block(struct block_encoder *e, struct packet_decoder *d, const struct frames *f, struct result *r)
{
	static const uint8_t key[BLOCK_KEY_BYTES] = { 1 };
	double encode_s = 1e9, decode_s = 1e9;
	struct block b;
	for (unsigned pass = 0; pass < PASSES; pass++) {
		double began = now();
		TRY(block_encode(e, f, true, &b));
		double encoded = now();
		TRY(decode(d, &b));
		double decoded = now();
		block_seal(e, &b, key);
		double sealed = now();
		double took = encoded - began + sealed - decoded;
		encode_s = took < encode_s ? took : encode_s;
		decode_s = decoded - encoded < decode_s ? decoded - encoded : decode_s;
	}
	r->packets += f->count;
	r->stored_bytes += b.stored_bytes;
	r->encode_s += encode_s;
	r->decode_s += decode_s;
	return OK;
}

static enum err
measure(const char *path, struct result *r)
{
	struct trace *t = NULL;
	struct frames *f = NULL;
	struct block_encoder *e = NULL;
	struct packet_decoder *d = NULL;
	*r = (struct result){ 0 };
	enum err error = trace_open(&t, path);
	if (error == OK)
		error = frames_open(&f, BLOCK_BYTES_MAX);
	if (error == OK)
		error = block_encoder_open(&e);
	if (error == OK)
		error = packet_decoder_open(&d, NULL);
	for (unsigned i = 0; i < BLOCKS && error == OK; i++) {
		error = trace_fill(t, f);
		if (error == OK)
			error = measure_block(e, d, f, r);
	}
	packet_decoder_close(&d);
	block_encoder_close(&e);
	frames_close(&f);
	trace_close(&t);
	return error == END ? OK : error;
}

static void
row(const char *name, const char *trace, double value, const char *aim)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	printf("{\"name\": \"%s, %s\", \"value\": %.0f, \"unit\": \"packets/s\", \"peer\": null, \"peer_value\": null, "
	       "\"peak_rss_bytes\": %ld, \"aim\": \"%s\"}\n", name, trace, value, usage.ru_maxrss * 1024, aim);
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	static const char *const traces[] = { "corpus", "long trace" }, *const aims[] = { "8 M", "6 M" };
	for (int i = 1; i < argc && i <= 2; i++) {
		struct result r;
		if (measure(argv[i], &r) != OK) {
			fprintf(stderr, "%s\n", err_text());
			return 1;
		}
		row("encode and seal, one core", traces[i - 1], (double)r.packets / r.encode_s, aims[i - 1]);
		row("decode all columns, one core", traces[i - 1], (double)r.packets / r.decode_s, "");
	}
	return 0;
}
