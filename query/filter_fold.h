/* libpcap's BPF program, evaluated ahead of time on what the columns say. All flows of one class (same link header as far as
 * the program reads it, same net, transport, protocols and flags) have known bytes at known places: the program is run on
 * these with every other byte unknown, and what it still asks of ports, addresses, lengths, flags becomes a decision
 * diagram. Where it asks for bytes that no column holds, or that may not have been captured (a load behind the captured
 * bytes rejects the packet, whatever stands in the expression), the leaf is LEAF_BYTES: run the program itself.
 *
 * So the answer is libpcap's by construction: the same program, partly run once per class instead of per packet.
 */
#ifndef QUERY_FILTER_FOLD_H
#define QUERY_FILTER_FOLD_H

#include <stdint.h>

#include "archive/batch.h"
#include "query/bpf.h"
#include "query/filter_diagram.h"

#define LINK_BYTES_MAX 256u /* struct link.len is 8 bits */

/* One compiled program and what is known of it. */
struct program {
	struct bpf *bpf;
	uint32_t   *live;  /* per instruction: which registers (bit 0 A, 1 X, 2.. M[]) are still read */
	uint8_t     reads[LINK_BYTES_MAX]; /* 1: an absolute load reads this offset */
	uint8_t     read[LINK_BYTES_MAX];  /* the same as a list, ascending */
	uint32_t    read_count;
	bool        reads_length; /* of the packet on the wire */
};

/* Takes *bpf on success. ERR_NOMEM. */
enum err program_open(struct program **out, struct bpf **bpf);
void     program_close(struct program **p);

/* The diagram of one class; l and f are any of its members. Only offsets with reads[] set are looked at in l->bytes. */
uint32_t program_fold(const struct program *p, struct diagram *d, const struct link *l, const struct flow *f);

#endif
