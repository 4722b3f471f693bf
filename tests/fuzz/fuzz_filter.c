/* The first byte says what: scanner and parser alone, on long texts; or a whole filter, of which the answer by columns for one
 * packet has to be that of libpcap's program. */
#include <stdlib.h>
#include <string.h>

#include "query/bpf.h"
#include "query/filter_parts.h"

#define COMPILED_BYTES_MAX 300 /* libpcap's optimiser takes seconds for long ones */

static const uint8_t tcp[] = {
	0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x08, 0x00, 0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
	0, 80, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x12, 0xff, 0xff, 0, 0, 0, 0,
};

/* The captured bytes are only asked for where the columns do not tell. */
static void
fold(const struct filter *f)
{
	const struct program *p;
	struct diagram d;
	static const struct flow flow = { .net = NET_IP4, .transport = TRANSPORT_TCP, .proto = 6, .first_proto = 6,
		.sport = 80, .dport = 443, .src = 0, .dst = 1 };
	static const uint32_t addresses[] = { 0x0a000001, 0x0a000002 };
	const struct batch b = { .ip4 = addresses, .ip4_count = 2 };
	struct link l = { .linktype = 1, .len = 14, .bytes = tcp, .macs = 1 };
	if (filter_program(f, 1, &p) != OK || diagram_init(&d) != OK)
		return;
	uint32_t node = diagram_of_flow(&d, program_fold(p, &d, &l, &flow), &b, &flow);
	if (node <= LEAF_YES && bpf_match(p->bpf, tcp, 60, sizeof tcp) != (node == LEAF_YES))
		abort();
	diagram_fini(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n == 0)
		return 0;
	char *text = malloc(n);
	if (!text)
		return 0;
	memcpy(text, data + 1, n - 1);
	text[n - 1] = '\0';
	if (data[0] & 1 || strlen(text) > COMPILED_BYTES_MAX) {
		struct filter_tree tree = { .root = -1 };
		bool name;
		char *written = NULL;
		if (filter_parse(text, &tree, &name) == OK && filter_tree_text(&tree, tree.root, &written) == OK)
			free(written);
		filter_tree_fini(&tree);
	} else {
		struct filter *f = NULL;
		if (filter_open(&f, text, NULL) == OK)
			fold(f);
		filter_close(&f);
	}
	free(text);
	return 0;
}
