/* Addresses to pseudonyms on one core: each engine on random addresses, each scheme; then the
 * way of an export: dictionaries of the blocks of a trace, and the gather by index. The peer of an engine with instructions
 * is the portable one (nettle) in the same run. Run as bench_anonymize REAL.pcap LONG.pcap; prints one JSON object per row.
 * Each measurement is the best of PASSES. */
#include <arpa/inet.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "anonymize/addrmap.h"
#include "anonymize/prefix_key.h"
#include "archive/block.h"
#include "archive/packet_decode.h"
#include "ingest/trace.h"

enum { PASSES = 50, ADDRESSES4 = 1 << 14, ADDRESSES6 = 1 << 12, ROWS = 1 << 16, BLOCKS = 24 };

static const uint8_t key[ADDRMAP_KEY_BYTES] = { 1, 2, 3 };

static double
now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void
print_row(const char *name, double value, const char *peer, double peer_value, const char *aim)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	printf("{\"name\": \"%s\", \"value\": %.2f, \"unit\": \"Maddresses/s\", ", name, value / 1e6);
	if (peer)
		printf("\"peer\": \"%s\", \"peer_value\": %.2f, ", peer, peer_value / 1e6);
	else
		printf("\"peer\": null, \"peer_value\": null, ");
	printf("\"peak_rss_bytes\": %ld, \"aim\": \"%s\"}\n", usage.ru_maxrss * 1024, aim);
	fflush(stdout);
}

static void *
room(size_t bytes)
{
	void *p = malloc(bytes);
	if (!p)
		abort();
	return p;
}

/* Random addresses per second. */
static double
engine_speed(enum scheme_kind kind, enum family family, const struct prefix_engine *engine)
{
	size_t n = family == FAMILY_IP4 ? ADDRESSES4 : ADDRESSES6, bytes = n * (family == FAMILY_IP4 ? 4 : 16);
	void *in = room(bytes), *out = room(bytes);
	struct addrmap *m = NULL;
	double best = 1e9;
	randombytes_buf(in, bytes);
	if (addrmap_open(&m, (struct scheme){ .kind = kind }, family, key, engine) != OK)
		abort();
	for (unsigned pass = 0; pass < PASSES; pass++) {
		double began = now();
		if (family == FAMILY_IP4)
			addrmap_map4(m, in, out, n);
		else
			addrmap_map6(m, in, out, n);
		double took = now() - began;
		best = took < best ? took : best;
	}
	addrmap_close(&m);
	free(in);
	free(out);
	return (double)n / best;
}

static void
measure_engines(void)
{
	static const struct { enum scheme_kind kind; enum family family; const char *name, *aims[3]; } cases[] = {
		{ SCHEME_CRYPTOPAN, FAMILY_IP4, "Crypto-PAn IPv4", { "25", "8", "6" } },
		{ SCHEME_CRYPTOPAN, FAMILY_IP6, "Crypto-PAn IPv6", { "6.3", "", "" } },
		{ SCHEME_PFX, FAMILY_IP4, "ipcrypt-pfx IPv4", { "11.5", "", "" } },
		{ SCHEME_PFX, FAMILY_IP6, "ipcrypt-pfx IPv6", { "", "", "" } },
	};
	size_t count;
	const struct prefix_engine *const *engines = prefix_engines(&count);
	for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
		double portable = engine_speed(cases[c].kind, cases[c].family, engines[count - 1]);
		for (size_t e = 0; e < count; e++) {
			char name[80];
			if (!engines[e]->usable())
				continue;
			snprintf(name, sizeof name, "%s, random addresses, %s", cases[c].name, engines[e]->name);
			double speed = e + 1 == count ? portable : engine_speed(cases[c].kind, cases[c].family, engines[e]);
			print_row(name, speed, e + 1 == count ? NULL : "portable (nettle)", portable, cases[c].aims[e]);
		}
	}
}

/* The dictionaries of the first blocks of a trace. */
struct dictionaries {
	unsigned  count;
	uint64_t  records;
	uint32_t *ip4[BLOCKS], ip4_count[BLOCKS], ip4_all;
	uint8_t (*ip6[BLOCKS])[16];
	uint32_t  ip6_count[BLOCKS], ip6_all;
};

static enum err
keep(struct dictionaries *d, struct block_encoder *e, struct packet_decoder *p, const struct frames *f)
{
	struct block b;
	const struct batch *batch;
	TRY(block_encode(e, f, true, &b));
	const uint8_t *table = b.stored + BLOCK_HEADER_BYTES, *at = table + b.chunk_count * BLOCK_CHUNK_BYTES;
	packet_decoder_begin(p, b.info.records, 1, SAMPLER_ALL);
	for (uint32_t i = 0; i < b.chunk_count; i++) {
		uint32_t bytes = load_le32(table + i * BLOCK_CHUNK_BYTES + 4);
		TRY(packet_decoder_chunk(p, load_le32(table + i * BLOCK_CHUNK_BYTES), at, bytes - 16));
		at += bytes;
	}
	TRY(packet_decode(p, BATCH_DIR, &batch));
	unsigned i = d->count++;
	d->records += batch->count;
	d->ip4[i] = memcpy(room(batch->ip4_count * 4 + 1), batch->ip4, batch->ip4_count * 4);
	d->ip4_all += d->ip4_count[i] = batch->ip4_count;
	d->ip6[i] = memcpy(room(batch->ip6_count * 16 + 1), batch->ip6, batch->ip6_count * 16);
	d->ip6_all += d->ip6_count[i] = batch->ip6_count;
	return OK;
}

static enum err
collect(struct dictionaries *d, const char *path)
{
	struct trace *t = NULL;
	struct frames *f = NULL;
	struct block_encoder *e = NULL;
	struct packet_decoder *p = NULL;
	*d = (struct dictionaries){ 0 };
	enum err error = trace_open(&t, path);
	if (error == OK)
		error = frames_open(&f, BLOCK_BYTES_MAX);
	if (error == OK)
		error = block_encoder_open(&e);
	if (error == OK)
		error = packet_decoder_open(&p, NULL);
	while (d->count < BLOCKS && error == OK) {
		error = trace_fill(t, f);
		if (error == OK)
			error = keep(d, e, p, f);
	}
	packet_decoder_close(&p);
	block_encoder_close(&e);
	frames_close(&f);
	trace_close(&t);
	return error == END ? OK : error;
}

/* Distinct addresses of all blocks per second, one family. */
static double
dictionary_speed(const struct dictionaries *d, enum scheme_kind kind, enum family family)
{
	uint32_t *out4 = room(2 * BLOCK_RECORDS_MAX * sizeof *out4);
	uint8_t (*out6)[16] = room(2 * BLOCK_RECORDS_MAX * sizeof *out6);
	double best = 1e9;
	struct addrmap *m = NULL;
	if (addrmap_open(&m, (struct scheme){ .kind = kind }, family, key, NULL) != OK)
		abort();
	for (unsigned pass = 0; pass < PASSES; pass++) {
		double began = now();
		for (unsigned i = 0; i < d->count; i++)
			if (family == FAMILY_IP4)
				addrmap_map4(m, d->ip4[i], out4, d->ip4_count[i]);
			else
				addrmap_map6(m, (const uint8_t (*)[16])d->ip6[i], out6, d->ip6_count[i]);
		double took = now() - began;
		best = took < best ? took : best;
	}
	addrmap_close(&m);
	free(out4);
	free(out6);
	return (family == FAMILY_IP4 ? d->ip4_all : d->ip6_all) / best;
}

static void
measure_dictionaries(const char *trace, const char *path)
{
	static const char *const names[] = { [SCHEME_PFX] = "ipcrypt-pfx", [SCHEME_CRYPTOPAN] = "Crypto-PAn" };
	static struct dictionaries d;
	if (collect(&d, path) != OK) {
		fprintf(stderr, "%s\n", err_text());
		exit(1);
	}
	for (enum scheme_kind kind = SCHEME_PFX; kind <= SCHEME_CRYPTOPAN; kind++)
		for (unsigned v6 = 0; v6 < 2; v6++) {
			char name[120];
			enum family family = v6 ? FAMILY_IP6 : FAMILY_IP4;
			if ((v6 ? d.ip6_all : d.ip4_all) < 100)
				continue;
			double random = engine_speed(kind, family, prefix_engine_best());
			snprintf(name, sizeof name, "%s IPv%u dictionaries, %s", names[kind], family, trace);
			print_row(name, dictionary_speed(&d, kind, family), "random addresses", random, "");
		}
	for (unsigned i = 0; i < d.count; i++) {
		free(d.ip4[i]);
		free(d.ip6[i]);
	}
}

/* Both addresses of each record of a block, from a dictionary as large as those of the long trace. */
static void
measure_gather(void)
{
	enum { DISTINCT = 8192, REPEATS = 20 };
	uint32_t *index = room(ROWS * sizeof *index), *out4 = room(ROWS * sizeof *out4);
	uint32_t *mapped4 = room(DISTINCT * sizeof *mapped4);
	uint8_t (*mapped6)[16] = room(DISTINCT * sizeof *mapped6), (*out6)[16] = room(ROWS * sizeof *out6);
	double best4 = 1e9, best6 = 1e9;
	randombytes_buf(mapped4, DISTINCT * sizeof *mapped4);
	randombytes_buf(mapped6, DISTINCT * sizeof *mapped6);
	for (unsigned i = 0; i < ROWS; i++)
		index[i] = randombytes_uniform(DISTINCT);
	for (unsigned pass = 0; pass < PASSES * REPEATS; pass++) {
		double began = now();
		addrmap_gather4(out4, mapped4, index, ROWS);
		double between = now();
		addrmap_gather6(out6, (const uint8_t (*)[16])mapped6, index, ROWS);
		double ended = now();
		best4 = between - began < best4 ? between - began : best4;
		best6 = ended - between < best6 ? ended - between : best6;
	}
	print_row("gather by index, IPv4", ROWS / best4, NULL, 0, "300");
	print_row("gather by index, IPv6", ROWS / best6, NULL, 0, "300");
	free(index);
	free(out4);
	free(mapped4);
	free(mapped6);
	free(out6);
}

int
main(int argc, char **argv)
{
	static const char *const traces[] = { "corpus", "long trace" };
	if (sodium_init() < 0)
		return 1;
	measure_engines();
	for (int i = 1; i < argc && i <= 2; i++)
		measure_dictionaries(traces[i - 1], argv[i]);
	measure_gather();
	return 0;
}
