/* A BPF interpreter for the programs that libpcap's own must not be asked to run:
 *
 * - those that jump backwards (`protochain`): behind an IPv6 authentication header the offset is set instead of added to, so
 *   that a crafted packet leads it in a circle for ever (libpcap issue 1521). Here a circle is noticed and is no match.
 * - those that may read a scratch register that they never wrote (`geneve or tcp`): libpcap then answers by what lies on its
 *   stack. Here such a register is 0, so that the same question has the same answer twice.
 */
#ifndef QUERY_BPF_RUN_H
#define QUERY_BPF_RUN_H

#include <stdbool.h>
#include <stdint.h>

struct bpf_insn;

bool bpf_jumps_back(const struct bpf_insn *code, uint32_t count);
bool bpf_reads_unset(const struct bpf_insn *code, uint32_t count); /* only for programs that never jump back */
/* bpf_filter(3) of libpcap 1.10 for a valid program: true when it returns other than 0. */
bool bpf_run(const struct bpf_insn *code, uint32_t count, const uint8_t *bytes, uint32_t wire_len, uint32_t cap_len);

#endif
