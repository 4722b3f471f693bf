#include "query/bpf.h"

#include <errno.h>
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "query/bpf_run.h"
#include "base/limits.h"

#define SNAPLEN 262144 /* only the number that a match returns, which nobody looks at */
#define SCANNER_BYTES (64u << 10) /* libpcap's takes some 20 KiB */

struct bpf {
	struct bpf_program program;
	bool none, careful;
};

/* A capture handle as tcpdump -r has it. pcap_open_dead() would not do: libpcap then compiles what only a live capture can
 * answer (`inbound` on Ethernet), and takes DLT_ instead of LINKTYPE_ values. */
static enum err
open_handle(uint16_t linktype, pcap_t **out)
{
	uint8_t header[24] = { 0 };
	char error[PCAP_ERRBUF_SIZE];
	store_le32(header, 0xa1b2c3d4);
	store_le16(header + 4, 2);
	store_le16(header + 6, 4);
	store_le32(header + 16, SNAPLEN);
	store_le32(header + 20, linktype);
	FILE *f = fmemopen(header, sizeof header, "rb");
	if (!f)
		return fail(ERR_NOMEM, "filter: no memory to compile it");
	pcap_t *handle = pcap_fopen_offline(f, error);
	if (!handle) {
		fclose(f);
		return fail(ERR_USAGE, "%s", error);
	}
	*out = handle; /* has the header's bytes read, and will not read more */
	return OK;
}

static enum err
make_none(struct bpf_program *p)
{
	p->bf_insns = malloc(sizeof *p->bf_insns); /* pcap_freecode() frees it */
	if (!p->bf_insns)
		return fail(ERR_NOMEM, "filter: no memory to compile it");
	p->bf_len = 1;
	p->bf_insns[0] = (struct bpf_insn){ .code = BPF_RET | BPF_K, .k = 0 };
	return OK;
}

/* libpcap's scanner ends the process when there is no memory for it, or crashes (flex's YY_FATAL_ERROR; a scanner that could
 * not be made is destroyed all the same). So see first that there is some. */
static bool
scanner_has_room(void)
{
	void *room = malloc(SCANNER_BYTES);
	free(room);
	return room != NULL;
}

static enum err
compile_failed(const char *words)
{
	const char *no_memory = strerror(ENOMEM);
	size_t n = strlen(words), m = strlen(no_memory);
	if (n >= m && strcmp(words + n - m, no_memory) == 0)
		return fail(ERR_NOMEM, "filter: no memory to compile it");
	return fail(ERR_USAGE, "%s", words);
}

static enum err
compile(struct bpf **out, uint16_t linktype, const char *expression, int optimise)
{
	struct bpf *b = scanner_has_room() ? calloc(1, sizeof *b) : NULL;
	pcap_t *handle = NULL;
	if (!b)
		return fail(ERR_NOMEM, "filter: no memory to compile it");
	enum err e = open_handle(linktype, &handle);
	if (e == OK && pcap_compile(handle, &b->program, expression, optimise, 0) != 0) {
		const char *words = pcap_geterr(handle);
		b->none = strcmp(words, "expression rejects all packets") == 0;
		e = b->none ? make_none(&b->program) : compile_failed(words);
	}
	if (handle)
		pcap_close(handle);
	if (e != OK) {
		free(b);
		return e;
	}
	b->careful = bpf_jumps_back(b->program.bf_insns, b->program.bf_len) ||
	             bpf_reads_unset(b->program.bf_insns, b->program.bf_len);
	*out = b;
	return OK;
}

/* libpcap's optimiser takes cubic time: 400 hosts 4.5 s, 1000 hosts a minute, and it can not be interrupted. A long
 * expression goes without; the answers are the same. */
static int
is_short(const char *expression)
{
	unsigned words = 0;
	for (const char *p = expression; *p; p++)
		words += *p == ' ' && p[1] != ' ';
	return words <= FILTER_OPTIMISED_WORDS_MAX;
}

enum err
bpf_open(struct bpf **out, uint16_t linktype, const char *expression)
{
	return compile(out, linktype, expression, is_short(expression));
}

enum err
bpf_open_plain(struct bpf **out, uint16_t linktype, const char *expression)
{
	return compile(out, linktype, expression, 0);
}

void
bpf_close(struct bpf **b)
{
	if (!*b)
		return;
	pcap_freecode(&(*b)->program);
	free(*b);
	*b = NULL;
}

bool
bpf_match(const struct bpf *b, const uint8_t *bytes, uint32_t wire_len, uint32_t cap_len)
{
	if (b->careful)
		return bpf_run(b->program.bf_insns, b->program.bf_len, bytes, wire_len, cap_len);
	struct pcap_pkthdr header = { .caplen = cap_len, .len = wire_len };
	return pcap_offline_filter(&b->program, &header, bytes) != 0;
}

const struct bpf_insn *
bpf_code(const struct bpf *b, uint32_t *count)
{
	*count = b->program.bf_len;
	return b->program.bf_insns;
}

bool
bpf_is_none(const struct bpf *b)
{
	return b->none;
}

bool
bpf_same(const struct bpf *a, const struct bpf *b)
{
	return a->program.bf_len == b->program.bf_len &&
	       memcmp(a->program.bf_insns, b->program.bf_insns, a->program.bf_len * sizeof *a->program.bf_insns) == 0;
}

const char *
bpf_linktype_name(uint16_t linktype, char out[80])
{
	pcap_t *handle = NULL;
	snprintf(out, 80, "%u", linktype);
	if (open_handle(linktype, &handle) != OK)
		return out;
	int dlt = pcap_datalink(handle);
	const char *name = pcap_datalink_val_to_name(dlt), *words = pcap_datalink_val_to_description(dlt);
	if (name)
		snprintf(out, 80, "%s (%s)", name, words ? words : "");
	pcap_close(handle);
	return out;
}
