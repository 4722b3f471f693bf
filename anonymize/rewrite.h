/* Headers as bytes: packets quoted by ICMP errors, tunnelled or truncated ones, ARP. What a block's columns do not describe goes
 * through here; what they do describe goes through view_packets.c. Both apply the same rules (anonymize/rules.h, view_parts.h).
 *
 * Each function reads n captured bytes at in and writes what is shown of them to out, which has room for n: the same headers at the
 * same places, up to where something is not understood or not to be seen. It returns how many bytes these are. Nothing that was
 * not understood is copied. Reads up to n, writes up to n. */
#ifndef ANONYMIZE_REWRITE_H
#define ANONYMIZE_REWRITE_H

#include <stdint.h>

#include "anonymize/view_parts.h"

/* How far it goes. */
struct rewrite {
	struct view_thread *thread;
	unsigned tunnels;  /* inner headers that may still be shown */
	bool     quoted;   /* inside a quote: no quotes in it */
};

/* An IPv4 or IPv6 packet, from its first byte. */
uint32_t rewrite_ip(struct rewrite w, const uint8_t *in, uint32_t n, uint8_t *out);
/* What follows an IP header whose proto (of the last extension header) is this and that has no header in struct flow: tunnels. */
uint32_t rewrite_tunnel(struct rewrite w, uint8_t proto, const uint8_t *in, uint32_t n, uint8_t *out);
/* What follows the UDP header of a packet between these ports, as captured. */
uint32_t rewrite_behind_udp(struct rewrite w, uint16_t sport, uint16_t dport, const uint8_t *in, uint32_t n, uint8_t *out);
/* Data of TCP or UDP: as many bytes as the policy has copied; of DNS what it says. */
uint32_t rewrite_payload(struct rewrite w, uint16_t sport, uint16_t dport, const uint8_t *in, uint32_t n, uint8_t *out, bool udp);
/* What follows the first 8 bytes of ICMP (version 4) or ICMPv6 (6). */
uint32_t rewrite_behind_icmp(struct rewrite w, unsigned version, uint8_t type, const uint8_t *in, uint32_t n, uint8_t *out);
/* Their bytes 4 to 7, as a number. */
uint32_t rewrite_icmp_rest(struct view_thread *t, unsigned version, uint8_t type, uint32_t rest);
/* Whether rewrite_behind_icmp() could show anything. */
bool     rewrite_icmp_has_behind(const struct view_thread *t, unsigned version, uint8_t type);
/* An Ethernet frame. */
uint32_t rewrite_ethernet(struct rewrite w, const uint8_t *in, uint32_t n, uint8_t *out);
/* ARP and RARP. */
uint32_t rewrite_arp(struct view_thread *t, const uint8_t *in, uint32_t n, uint8_t *out);
/* A link header of n bytes, in place, as dissect_link() reads it; of LINK_NULL and LINK_LOOP a family that is not IP becomes 0.
 * ERR_USAGE: a link type that is not understood. */
enum err rewrite_link(struct view_thread *t, uint16_t linktype, uint8_t *p, uint32_t n);

#endif
