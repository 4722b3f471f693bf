/* gen: a deterministic trace of realistic traffic. The same options give the same bytes.
 *
 * A fixed number of conversations is under way at any time; the one whose turn is next sends a packet; one that ends makes
 * room for a new one. A packet's time is its turn's, so that the trace comes out in time order. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/gen/talk.h"

#define TALKS      2048u
#define MEAN_GAP   20000000u           /* ns between the end of a conversation and the start of the next in its place */
#define START_S    1767600000ull       /* 2026-01-05T08:00:00Z */
#define HOSTS_MAX  4000000u

/* A heap of four children per node, the earliest turn on top. */
struct turns {
	uint64_t at[TALKS];
	uint32_t talk[TALKS];
};

struct asked {
	uint64_t packets, seed, start_s;
	uint32_t hosts, snaplen, disorder;
	enum trace_format format;
	const char *path;
};

static void
turns_sift(struct turns *h, uint32_t i)
{
	uint64_t at = h->at[i];
	uint32_t talk = h->talk[i];
	for (;;) {
		uint32_t child = 4 * i + 1, last = child + 4 < TALKS ? child + 4 : TALKS;
		if (child >= TALKS)
			break;
		uint32_t least = child;
		for (uint32_t k = child + 1; k < last; k++)
			if (h->at[k] < h->at[least])
				least = k;
		if (h->at[least] >= at)
			break;
		h->at[i] = h->at[least];
		h->talk[i] = h->talk[least];
		i = least;
	}
	h->at[i] = at;
	h->talk[i] = talk;
}

static void
generate(struct net *n, const struct asked *a)
{
	struct talk *talks = calloc(TALKS, sizeof *talks);
	struct turns *h = calloc(1, sizeof *h);
	if (!talks || !h) {
		perror("gen");
		exit(1);
	}
	uint64_t now = a->start_s * 1000000000u;
	for (uint32_t i = 0; i < TALKS; i++) {
		if (!talk_start_steady(&talks[i], n, i))
			talk_start(&talks[i], n, now);
		h->at[i] = now + chance_exponential(&n->chance, i < 64 ? 1000000 : 2000000000);
		h->talk[i] = i;
	}
	for (uint32_t i = TALKS; i-- > 0;)
		turns_sift(h, i);
	while (n->trace.packets < a->packets) {
		struct talk *t = &talks[h->talk[0]];
		now = h->at[0];
		uint64_t wait = talk_turn(t, n, now);
		if (wait == 0) {
			talk_start(t, n, now);
			wait = 1 + chance_exponential(&n->chance, MEAN_GAP);
		}
		h->at[0] = now + wait;
		turns_sift(h, 0);
	}
	free(talks);
	free(h);
}

static void
usage(FILE *to)
{
	fputs("usage: gen [--packets N] [--seed S] [--hosts H] [--snaplen K] [--start EPOCH] [--disorder PER_MILLION]\n"
	      "           [--format pcap|pcap-us|pcapng] OUT|-\n"
	      "  a deterministic trace of realistic traffic; N is exact up to the fragments of the last packet\n", to);
}

static uint64_t
number(const char *text, uint64_t least, uint64_t most)
{
	char *end;
	uint64_t v = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || v < least || v > most) {
		fprintf(stderr, "gen: %s is not a number from %" PRIu64 " to %" PRIu64 "\n", text, least, most);
		exit(2);
	}
	return v;
}

static enum trace_format
format_named(const char *name)
{
	static const char *const names[] = { [TRACE_PCAP] = "pcap", [TRACE_PCAP_US] = "pcap-us", [TRACE_PCAPNG] = "pcapng" };
	for (unsigned i = 0; i < 3; i++)
		if (strcmp(names[i], name) == 0)
			return (enum trace_format)i;
	fprintf(stderr, "gen: no format %s\n", name);
	exit(2);
}

static struct asked
parse(int argc, char **argv)
{
	struct asked a = { .packets = 100000, .seed = 1, .start_s = START_S, .hosts = 10000, .snaplen = 65535 };
	static const struct option options[] = {
		{ "packets", 1, NULL, 'p' }, { "seed", 1, NULL, 's' }, { "hosts", 1, NULL, 'H' }, { "snaplen", 1, NULL, 'k' },
		{ "start", 1, NULL, 'b' }, { "disorder", 1, NULL, 'd' }, { "format", 1, NULL, 'f' }, { "help", 0, NULL, 'h' }, { 0 },
	};
	for (int o; (o = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
		switch (o) {
		case 'p':
			a.packets = number(optarg, 0, UINT64_MAX);
			break;
		case 's':
			a.seed = number(optarg, 0, UINT64_MAX);
			break;
		case 'H':
			a.hosts = (uint32_t)number(optarg, 2, HOSTS_MAX);
			break;
		case 'k':
			a.snaplen = (uint32_t)number(optarg, 1, 262144);
			break;
		case 'b':
			a.start_s = number(optarg, 1, 4000000000u);
			break;
		case 'd':
			a.disorder = (uint32_t)number(optarg, 0, 1000000);
			break;
		case 'f':
			a.format = format_named(optarg);
			break;
		default:
			usage(o == 'h' ? stdout : stderr);
			exit(o == 'h' ? 0 : 2);
		}
	}
	if (optind + 1 != argc) {
		usage(stderr);
		exit(2);
	}
	a.path = argv[optind];
	return a;
}

int
main(int argc, char **argv)
{
	struct asked a = parse(argc, argv);
	FILE *to = strcmp(a.path, "-") == 0 ? stdout : fopen(a.path, "wb");
	if (!to) {
		perror(a.path);
		return 1;
	}
	setvbuf(to, NULL, _IONBF, 0);
	static struct net n;
	n.chance.state = a.seed * 0x9e3779b97f4a7c15ull + 1;
	pattern_fill(a.seed);
	hosts_open(&n.hosts, a.hosts, &n.chance);
	trace_open(&n.trace, to, a.format, a.snaplen);
	n.trace.disorder = a.disorder;
	generate(&n, &a);
	trace_close(&n.trace);
	hosts_close(&n.hosts);
	return 0;
}
