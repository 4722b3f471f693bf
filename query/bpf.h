/* libpcap's side of the filter: an expression compiled for one link type, exactly as `tcpdump -r FILE EXPR` would for a file
 * of that link type (optimised, netmask 0), and run on bytes.
 */
#ifndef QUERY_BPF_H
#define QUERY_BPF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct bpf;
struct bpf_insn; /* <pcap/bpf.h> */

/* linktype is a LINKTYPE_ value. ERR_USAGE: libpcap refuses the expression for this link type; the sentence is libpcap's
 * alone. Never pass a text with names of hosts or networks: libpcap would ask the network. What libpcap refuses only because
 * no packet can match (`arp` on raw IP, `1 = 2`) is OK here and matches nothing; bpf_is_none() tells. */
enum err bpf_open(struct bpf **out, uint16_t linktype, const char *expression);
/* The same, not optimised: for bpf_same(), as libpcap's optimiser takes time with the cube of the terms (500 hosts: 7 s). */
enum err bpf_open_plain(struct bpf **out, uint16_t linktype, const char *expression);
void     bpf_close(struct bpf **b);

/* bytes holds cap_len of them. Thread-safe. query/bpf_run.h has the cases in which libpcap would
 * never end or answer by chance. */
bool     bpf_match(const struct bpf *b, const uint8_t *bytes, uint32_t wire_len, uint32_t cap_len);
const struct bpf_insn *bpf_code(const struct bpf *b, uint32_t *count); /* borrowed */
bool     bpf_is_none(const struct bpf *b);
bool     bpf_same(const struct bpf *a, const struct bpf *b);

/* "EN10MB (Ethernet)"; static or in out. */
const char *bpf_linktype_name(uint16_t linktype, char out[80]);

#endif
