/* The words of pcap-filter(7), cut as libpcap's scanner cuts them: the longest match wins, of equal lengths the earlier
 * rule. A table of words drives scanner, parser and the "did you mean" of the messages.
 */
#ifndef QUERY_FILTER_LEX_H
#define QUERY_FILTER_LEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Single characters ('(', '+', '!' ...) are their own kind; "and", "&&", "or", "||", "not" are WORD_AND, WORD_OR, '!'. */
enum word {
	WORD_END = 256, /* behind the last token */
	WORD_BAD,       /* a character that no rule takes */
	WORD_NUMBER,    /* 80, 0x50, icmp-echo, tcp-syn: value in token.number */
	WORD_NAME,      /* anything else that is spelled like a name; \tcp, too */
	WORD_MAC,       /* 0:1b:21:aa:bb:cc and the other spellings */
	WORD_ARCNET,    /* $1a */
	WORD_IP4,       /* 10.1, 10.1.2, 10.1.2.3 */
	WORD_IP6,
	WORD_AND, WORD_OR,
	WORD_GE, WORD_LE, WORD_NE, WORD_LEFT, WORD_RIGHT,
	WORD_SRC, WORD_DST,
	WORD_HOST, WORD_NET, WORD_MASK, WORD_PORT, WORD_PORTRANGE, WORD_PROTO, WORD_PROTOCHAIN, WORD_GATEWAY,
	WORD_WLAN_ADDRESS, /* addr1 .. addr4, ra, ta */
	WORD_PROTOCOL,  /* ether, ip, tcp, ...: enum protocol in token.number */
	WORD_LESS, WORD_GREATER, WORD_BYTE, WORD_BROADCAST, WORD_MULTICAST, WORD_LEN, WORD_BOUND, WORD_IFINDEX,
	WORD_VLAN, WORD_MPLS, WORD_PPPOED, WORD_PPPOES, WORD_GENEVE,
	WORD_TYPE, WORD_SUBTYPE, WORD_DIR, WORD_LLC,
	WORD_PF_NAME, WORD_PF_RULE, WORD_PF_SUBRULE, WORD_PF_REASON, WORD_PF_ACTION,
	WORD_ALONE,     /* ATM and MTP2 types that stand alone */
	WORD_FIELD,     /* vpi, vci, sio, opc, ...: take a value or a list */
};

enum protocol {
	PROTOCOL_NONE, /* no qualifier */
	PROTOCOL_LINK, PROTOCOL_IP, PROTOCOL_ARP, PROTOCOL_RARP, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP,
	PROTOCOL_IGMP, PROTOCOL_IGRP, PROTOCOL_PIM, PROTOCOL_VRRP, PROTOCOL_IP6, PROTOCOL_ICMP6, PROTOCOL_AH, PROTOCOL_ESP,
	PROTOCOL_OTHER, /* decnet, iso, ipx, ... */
};

struct token {
	uint16_t kind;   /* character or enum word */
	uint32_t at, len;/* in the text */
	uint32_t number; /* WORD_NUMBER: its value; WORD_PROTOCOL: enum protocol */
};

/* Cuts text of n bytes into tokens, the last one WORD_END; *out is malloc'ed. A number too large for 32 bits is
 * ERR_USAGE as in libpcap; ERR_LIMIT when the text is longer than FILTER_TEXT_BYTES_MAX. */
enum err filter_cut(const char *text, struct token **out, uint32_t *count);

/* The keyword closest to the n bytes at word (at most two edits away), or NULL. */
const char *filter_near_word(const char *word, uint32_t n);
/* The i-th keyword, NULL behind the last: for tests. */
const char *filter_word(uint32_t i);

#endif
