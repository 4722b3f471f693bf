/* A policy: a small INI file (base/ini.h) that says what may be seen of each column. One table gives the struct, parser, check,
 * canonical text, hash, diff, `atoll policy show` and docs/example.policy.
 *
 *     [policy]
 *     version = 1             required
 *     [addresses]
 *     ip4 = pfx
 *
 * What a file does not name has the most private value that there is, so that an empty policy shows next to nothing. Only guards
 * are off by default: they take away from what the rules show, and some need a look at the whole selection first.
 *
 * Three kinds of settings (the column `part` of the table):
 *   rule   says what is seen: these make the canonical text, which is hashed and published with a dataset
 *   words  name things (title, recipient, ...): published, but the same rules in other words are the same policy
 *   own    stay with the archive: networks that the curator knows and the reader shall not
 */
#ifndef ANONYMIZE_POLICY_H
#define ANONYMIZE_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "anonymize/scheme.h"
#include "base/err.h"

#define POLICY_VERSION        1u
#define POLICY_HASH_BYTES     32u
#define POLICY_FILE_BYTES_MAX 65536u
#define POLICY_NAME_BYTES     64u   /* with the NUL */
#define POLICY_TEXT_BYTES     1024u /* with the NUL */
#define POLICY_PREFIXES_MAX   64u
#define POLICY_VALUE_BYTES    4096u /* the longest value as text, with the NUL */
#define POLICY_TRUNCATE4_MAX  24u   /* bits that truncate/N may leave of an IPv4 address: 256 hosts share them, */
#define POLICY_TRUNCATE6_MAX  64u   /* and of an IPv6 address: not the interface identifier */

/* Every word that a rule can be, from private to open: of two rules the later one shows more. */
#define POLICY_RULES(F)                                                                                                          \
	F(REFUSE, "refuse") F(NO, "no") F(DROP, "drop") F(ZERO, "zero") F(BUCKET, "bucket") F(SECRET, "secret") F(DAY, "day")      \
	F(MONTH, "month") F(ALL, "all") F(SHIFT, "shift") F(PERMUTE, "permute") F(COUNTER, "counter") F(KNOWN, "known")            \
	F(MAP, "map") F(ADJUST, "adjust") F(KEEP, "keep") F(NONE, "none") F(YES, "yes")

enum policy_rule {
#define F(id, word) POLICY_##id,
	POLICY_RULES(F)
#undef F
	POLICY_RULE_COUNT
};

/* F(section, key, part, type, values, default, sentence). values is what may be written, for people; for the type rule it is the
 * list itself, from private to open. Other types: scheme4, scheme6 (scheme.h), prefixes, name (A-Z a-z 0-9 . _ - @), text, and
 * numbers: version, depth, bytes, hosts, limit, size (base/amount.h), quantum (ns). */
#define POLICY_SETTINGS(F)                                                                                                       \
	F(policy, version, rule, version, "1", "1", "Of this list of settings. Required, so that a later program does not guess.")  \
	F(policy, name, words, name, "NAME", "", "A short name.")                                                                  \
	F(policy, title, words, text, "TEXT", "", "What it is for, in a sentence.")                                                \
	F(policy, citation, words, text, "TEXT", "", "How a dataset under it is to be cited.")                                     \
	F(addresses, ip4, rule, scheme4, "drop|ndx|det|pfx|cryptopan|truncate/N", "drop", "pfx and cryptopan keep which addresses share a prefix; det and ndx have no room in packets, whose export is refused.") \
	F(addresses, ip6, rule, scheme6, "drop|ndx|det|pfx|cryptopan|truncate/N", "drop", "The same for IPv6, under a key of its own; det has room here, ndx has not.") \
	F(addresses, special, rule, rule, "map|keep", "map", "Loopback, unspecified, link-local, documentation. keep maps the prefix onto itself and shows the top bits of its neighbours.") \
	F(addresses, multicast, rule, rule, "map|keep", "map", "224.0.0.0/4 and ff00::/8. keep shows what is multicast, and the groups' own prefix.") \
	F(addresses, private, rule, rule, "map|keep", "map", "10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 100.64.0.0/10, fc00::/7. keep shows who is behind a NAT.") \
	F(addresses, broadcast, rule, rule, "map|keep", "map", "255.255.255.255.")                                                  \
	F(addresses, internal, own, prefixes, "PREFIX, ...", "", "Your own networks, which the guard prefix_hosts is for; empty: all networks. Never published.") \
	F(key, dataset, words, name, "NAME", "", "Pseudonyms of two datasets are different; `atoll export --dataset` names it if this does not.") \
	F(key, epoch, rule, rule, "day|month|all", "day", "How long a pseudonym lives: every UTC day or month has a key of its own, or one key has all.") \
	F(key, recipient, words, name, "NAME", "", "Pseudonyms for two recipients are different, so that they can not join their copies.") \
	F(key, shared, rule, rule, "no|yes", "no", "yes: all recipients get the same pseudonyms, and can join their copies.")       \
	F(link, mac, rule, rule, "zero|permute|keep", "zero", "permute: each half under a key; the multicast and the local bit stay. A MAC address can stand in an IPv6 address.") \
	F(link, vlan, rule, rule, "zero|permute|keep", "zero", "VLAN identifiers.")                                                  \
	F(link, mpls, rule, rule, "zero|keep", "zero", "MPLS labels.")                                                              \
	F(link, arp, rule, rule, "drop|map", "drop", "ARP: cut behind the link header, or with addresses and MAC addresses mapped.") \
	F(link, unknown, rule, rule, "refuse|drop", "refuse", "Link types that are not understood: refuse the export, or leave their packets out and count them.") \
	F(ports, ports, rule, rule, "zero|bucket|permute|keep", "zero", "bucket: 0 to 1023 stay, then 1024 (registered) or 49152 (dynamic). permute gives itself away by frequency.") \
	F(time, shift, rule, rule, "secret|none", "secret", "secret: all times move by one secret amount, against those who know when something was sent.") \
	F(time, quantum, rule, quantum, "1ns..1h", "1h", "Times are rounded down to a multiple of it.")                              \
	F(ip, ttl, rule, rule, "zero|bucket|keep", "zero", "TTL and hop limit. bucket: what the sender began with, 32, 64, 128 or 255.") \
	F(ip, id, rule, rule, "zero|permute|keep", "zero", "Identification of IPv4 packets and of IPv6 fragments. keep counts a host's packets.") \
	F(ip, tos, rule, rule, "zero|keep", "zero", "DSCP and ECN.")                                                                \
	F(ip, label, rule, rule, "zero|permute|keep", "zero", "IPv6 flow label.")                                                    \
	F(ip, options, rule, rule, "drop|known", "drop", "IPv4 options. known: routes with their addresses mapped; all others become NOP.") \
	F(ip, extensions, rule, rule, "drop|known", "drop", "IPv6 extension headers. drop: their kinds and lengths only. known: their addresses are mapped, options not understood become PadN.") \
	F(tcp, seq, rule, rule, "zero|shift|keep", "zero", "Sequence and acknowledgement numbers. shift: each direction of a connection moves by a secret amount.") \
	F(tcp, window, rule, rule, "zero|keep", "zero", "Receive window.")                                                                         \
	F(tcp, options, rule, rule, "drop|known", "drop", "known: MSS, window scale, SACK, time stamps; all others become NOP.")     \
	F(tcp, timestamps, rule, rule, "drop|counter|keep", "drop", "counter: how often it ticked, from 1 in each connection of a block. keep shows clock skew, which tells machines apart.") \
	F(tcp, urgent, rule, rule, "zero|keep", "zero", "Urgent pointer.")                                                          \
	F(icmp, quotes, rule, rule, "drop|map", "drop", "Packets quoted by ICMP errors: cut, or mapped as if they came alone.")      \
	F(icmp, echo, rule, rule, "zero|permute|keep", "zero", "Identifier of echo requests and replies.")                           \
	F(icmp, nd, rule, rule, "drop|map", "drop", "Neighbour discovery: cut behind the ICMPv6 header, or with addresses, prefixes and MAC addresses mapped.") \
	F(tunnels, depth, rule, depth, "0..4", "0", "How many inner headers are shown (mapped as the outer ones); 0: cut behind the outer.") \
	F(payload, bytes, rule, bytes, "0..65535", "0", "Bytes of payload that are copied as they are, names and passwords included.")  \
	F(payload, dns, rule, rule, "drop|map", "drop", "DNS within these bytes: left out, or with names dropped and addresses mapped.") \
	F(checksums, checksums, rule, rule, "zero|adjust", "zero", "adjust: right stays right; wrong stays wrong, without telling by how much.") \
	F(flow, next_hop, rule, rule, "drop|map|keep", "drop", "Flow records: address of the next router.")                          \
	F(flow, exporter, rule, rule, "drop|map|keep", "drop", "Flow records: address of the router that reported.")                 \
	F(flow, nat, rule, rule, "drop|map|keep", "drop", "Flow records: addresses after translation.")                              \
	F(flow, as, rule, rule, "drop|map|keep", "drop", "Flow records: autonomous systems. keep tells networks that pfx hides.")     \
	F(guards, prefix_hosts, rule, hosts, "0..65535", "0", "An address whose /24 (IPv6: /48) has fewer hosts in the selection is cut to that prefix; 0: off.") \
	F(guards, scanners, rule, rule, "drop|keep", "keep", "drop: hosts that scan are left out; the order of a scan numbers the addresses.") \
	F(guards, minimum_group, rule, hosts, "0..65535", "0", "Aggregated results of fewer distinct hosts are left out; 0: off.")     \
	F(guards, records_max, rule, limit, "0..", "0", "Records that one dataset may have; 0: no limit.")                           \
	F(guards, bytes_max, rule, size, "SIZE", "0", "Bytes that one dataset may have; 0: no limit.")

struct policy_prefix {
	uint8_t family;      /* enum family */
	uint8_t bits;
	uint8_t address[16]; /* network order; zeros behind the prefix */
};

struct policy_prefixes {
	uint32_t count;
	struct policy_prefix list[POLICY_PREFIXES_MAX]; /* ascending, none twice */
};

#define POLICY_C_rule     enum policy_rule
#define POLICY_C_scheme4  struct scheme
#define POLICY_C_scheme6  struct scheme
#define POLICY_C_prefixes struct policy_prefixes
#define POLICY_C_name     struct { char s[POLICY_NAME_BYTES]; }
#define POLICY_C_text     struct { char s[POLICY_TEXT_BYTES]; }
#define POLICY_C_version  uint64_t
#define POLICY_C_depth    uint64_t
#define POLICY_C_bytes    uint64_t
#define POLICY_C_hosts    uint64_t
#define POLICY_C_limit    uint64_t
#define POLICY_C_size     uint64_t
#define POLICY_C_quantum  uint64_t /* ns */

/* policy->link_mac and so on. No pointers: it may be copied. */
struct policy {
#define F(section, key, part, type, values, otherwise, sentence) POLICY_C_##type section##_##key;
	POLICY_SETTINGS(F)
#undef F
};

/* Hears a sentence about a policy, with FILE:LINE where there is one. A mistake makes it unusable, a warning does not. */
typedef void policy_see(void *arg, bool mistake, const char *sentence);

/* Reads a text (n bytes); place is what the sentences call it. see may be NULL. ERR_USAGE: there were mistakes, the first one is
 * the sentence; *out is unchanged then. A policy that was read has no contradictions that are mistakes. ERR_LIMIT, ERR_NOMEM. */
enum err policy_parse(struct policy *out, const char *place, const char *text, size_t n, policy_see *see, void *arg);
/* A preset by its name, or a file: what has a "/" or a "." in it. ERR_ABSENT, with the nearest preset; ERR_IO and as above. */
enum err policy_load(struct policy *out, const char *name, policy_see *see, void *arg);

/* A dataset's or a recipient's name as a policy takes it; what names it in the message. ERR_USAGE, out unchanged. */
enum err policy_name_parse(char out[POLICY_NAME_BYTES], const char *text, const char *what);

/* Policies that come with the program (anonymize/policies/, from private to open); ends with a name NULL. */
struct policy_preset {
	const char *name, *text;
};
extern const struct policy_preset policy_presets[];

/* The rules with their values, in the order of the table: what is hashed, and what is published. Reads back as the same rules. */
void     policy_canonical(const struct policy *p, FILE *to);
/* All settings; reads back as the same policy. */
void     policy_print(const struct policy *p, FILE *to);
/* BLAKE2b-256 of the canonical text: `b2sum -l 256` gives the same. ERR_NOMEM. */
enum err policy_hash(const struct policy *p, uint8_t hash[POLICY_HASH_BYTES]);

/* Each setting in the order of the table. */
struct policy_setting {
	const char *section, *key, *values, *otherwise, *sentence;
	bool        published;
};
typedef enum err policy_walk_see(void *arg, const struct policy_setting *s, const char *value);
enum err policy_walk(const struct policy *p, policy_walk_see *see, void *arg);

/* What b shows compared to a. OTHER: neither more nor less, or it can not be said in general. */
enum policy_change { POLICY_SAME, POLICY_LESS, POLICY_MORE, POLICY_OTHER };
typedef enum err policy_diff_see(void *arg, const struct policy_setting *s, const char *a, const char *b,
                                 enum policy_change change);
/* The settings that differ, in the order of the table; what only names the policy itself, [policy], is passed over. */
enum err policy_diff(const struct policy *a, const struct policy *b, policy_diff_see *see, void *arg);

/* The example file: every setting with its values, its default and what it is. */
void     policy_example(FILE *to);

#endif
