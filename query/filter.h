/* Filters in pcap-filter(7) syntax over batches. The answer is always that of `tcpdump -r FILE EXPR` on the same records:
 * what can be answered from columns is, once per flow where possible; anything else runs libpcap's own BPF program on the
 * rebuilt bytes of just the rows that need it.
 */
#ifndef QUERY_FILTER_H
#define QUERY_FILTER_H

#include <stdbool.h>
#include <stdint.h>

#include "anonymize/view.h"
#include "archive/batch.h"
#include "archive/segment.h"
#include "base/err.h"

struct filter;

/* expression NULL or blank matches everything. view: what the records are shown as, of which the expression speaks (the answer is
 * then that of tcpdump on the exported view); NULL: what was captured. ERR_USAGE: the sentence names the position (column 1..)
 * and, where known, the fix (`net 10/8`: write 10.0.0.0/8). Names of hosts and networks are refused: nothing is ever asked of
 * the network. ERR_LIMIT: longer or deeper than base/limits.h allows. */
enum err filter_open(struct filter **out, const char *expression, const struct view *view);
void     filter_close(struct filter **f);

bool        filter_is_all(const struct filter *f);   /* matches everything */
/* Whether libpcap refuses it for one of the usual link types (`ether host` on raw IP), so that it may come to filter_refused(). */
enum err    filter_is_choosy(const struct filter *f, bool *choosy);
const char *filter_text(const struct filter *f);     /* as normalised, for --explain */
/* Says in one line what runs where ("columns: flows; index: host 10.0.0.1", "bpf: all rows"), for --explain. */
const char *filter_plan(const struct filter *f);

/* Which blocks of a segment can hold a match: a superset, by its address, port and protocol tables. */
enum err filter_blocks(const struct filter *f, struct segment *s, uint64_t *blocks);

/* One required IPv4 or IPv6 network for a segment filter lookup: every match has an address inside one of these nets.
 * Returns false when the filter implies no such set (then no segment can be skipped by address). */
struct filter_net {
	uint8_t family;  /* 4 or 6 */
	uint8_t bits;    /* prefix length */
	uint8_t addr[16];/* network byte order; IPv4 in the first four */
};
bool     filter_nets(const struct filter *f, const struct filter_net **nets, uint32_t *count);
/* The same of what was captured: for the index. */
bool     filter_index_nets(const struct filter *f, const struct filter_net **nets, uint32_t *count);

/* BATCH_ columns that evaluation needs for certain; filter_run may ask for more. */
unsigned filter_columns(const struct filter *f);

/* Per-thread evaluation state (compiled BPF programs per link type, buffers). */
struct filter_state;
enum err filter_state_open(struct filter_state **out, const struct filter *f);
void     filter_state_close(struct filter_state **s);

/* Looks at the flows only (no per-row column needed). *need gets the further BATCH_ bits without which the answer is not
 * complete (0: done). When *need is not 0, load these and call filter_rows(). */
enum err filter_flows(struct filter_state *s, const struct batch *b, unsigned *need);
enum err filter_rows(struct filter_state *s, const struct batch *b);
/* Owned by the state, valid until the next run. */
struct selection filter_selection(const struct filter_state *s);
/* libpcap refuses some expressions for some link types, and all for a few. Records of such a link type do not match; this is
 * the sentence about it, NULL when the batch of the last filter_flows() had none. */
const char *filter_refused(const struct filter_state *s);
/* How many rows' bytes were rebuilt for libpcap's program since filter_state_open(): for tests and --explain. */
uint64_t filter_state_bytes(const struct filter_state *s);

#endif
