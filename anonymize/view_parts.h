/* What a view is made of: shared by the files view*.c and rewrite.c, nobody else's. The rules on single values are here and in
 * rules.h, once for headers in columns and headers in bytes. */
#ifndef ANONYMIZE_VIEW_PARTS_H
#define ANONYMIZE_VIEW_PARTS_H

#include <sodium.h>

#include "anonymize/addresses.h"
#include "anonymize/header_options.h"
#include "anonymize/permutation.h"
#include "anonymize/rules.h"
#include "anonymize/view.h"
#include "archive/packet_view.h"
#include "base/bytes.h"

struct view {
	struct policy      policy;
	struct packet_view packets;
	struct address_rules rules;
	struct addresses  *addresses; /* for view_unmap() */
	int64_t time_shift_ns;
	uint8_t key_id[VIEW_KEY_ID_BYTES];
	/* Keys, and tables made from them: wiped on closing. */
	uint8_t address4[ADDRMAP_KEY_BYTES], address6[ADDRMAP_KEY_BYTES];
	uint8_t seq[crypto_shorthash_KEYBYTES], label[crypto_shorthash_KEYBYTES];
	struct macmap macs;
	struct port_table {
		uint16_t map[PORTS], back[PORTS];
	} ports, ip_ids, echo_ids;
	struct vlan_table {
		uint16_t map[VLANS], back[VLANS];
	} vlans;
};

/* What one thread has of a view. */
struct view_thread {
	const struct view *view;
	struct addresses  *addresses;
};

enum err view_thread_open(struct view_thread *t, const struct view *v);
void     view_thread_close(struct view_thread *t);

/* --- addresses --- */

static inline uint32_t
view_ip4(struct view_thread *t, uint32_t a)
{
	addresses_map4(t->addresses, &a, 1);
	return a;
}

static inline void
view_ip4_bytes(struct view_thread *t, uint8_t p[4])
{
	store_be32(p, view_ip4(t, load_be32(p)));
}

static inline void
view_ip6(struct view_thread *t, uint8_t p[16])
{
	addresses_map6(t->addresses, (uint8_t (*)[16])p, 1);
}

static inline void
view_mac(const struct view *v, uint8_t p[6])
{
	if (v->policy.link_mac == POLICY_PERMUTE)
		macmap_map(&v->macs, p, p);
	else if (v->policy.link_mac != POLICY_KEEP)
		memset(p, 0, 6);
}

/* --- numbers --- */

static inline uint16_t
view_port(const struct view *v, uint16_t port)
{
	switch (v->policy.ports_ports) {
	case POLICY_KEEP:
		return port;
	case POLICY_PERMUTE:
		return v->ports.map[port];
	case POLICY_BUCKET:
		return port_bucket(port);
	default:
		return 0;
	}
}

static inline uint8_t
view_ttl(const struct view *v, uint8_t ttl)
{
	return v->policy.ip_ttl == POLICY_KEEP ? ttl : v->policy.ip_ttl == POLICY_BUCKET ? ttl_bucket(ttl) : 0;
}

static inline uint16_t
view_ip_id(const struct view *v, uint16_t id)
{
	return v->policy.ip_id == POLICY_KEEP ? id : v->policy.ip_id == POLICY_PERMUTE ? v->ip_ids.map[id] : 0;
}

/* The identification of IPv6 fragments. */
static inline uint32_t
view_fragment_id(const struct view *v, uint32_t id)
{
	return (uint32_t)view_ip_id(v, (uint16_t)(id >> 16)) << 16 | view_ip_id(v, (uint16_t)id);
}

static inline uint8_t
view_tos(const struct view *v, uint8_t tos)
{
	return v->policy.ip_tos == POLICY_KEEP ? tos : 0;
}

static inline uint32_t
view_label(const struct view *v, uint32_t label)
{
	uint8_t in[4], hash[crypto_shorthash_BYTES];
	if (v->policy.ip_label != POLICY_PERMUTE || label == 0)
		return v->policy.ip_label == POLICY_KEEP ? label : 0;
	store_le32(in, label);
	crypto_shorthash(hash, in, sizeof in, v->label);
	return load_le32(hash) & 0xfffff;
}

static inline uint16_t
view_window(const struct view *v, uint16_t window)
{
	return v->policy.tcp_window == POLICY_KEEP ? window : 0;
}

static inline uint16_t
view_urgent(const struct view *v, uint16_t urgent)
{
	return v->policy.tcp_urgent == POLICY_KEEP ? urgent : 0;
}

static inline uint16_t
view_echo_id(const struct view *v, uint16_t id)
{
	return v->policy.icmp_echo == POLICY_KEEP ? id : v->policy.icmp_echo == POLICY_PERMUTE ? v->echo_ids.map[id] : 0;
}

static inline uint16_t
view_vlan_tag(const struct view *v, uint16_t tci)
{
	uint16_t id = tci & 0xfff, priority = tci & 0xf000;
	return v->policy.link_vlan == POLICY_KEEP ? tci : v->policy.link_vlan == POLICY_PERMUTE ? priority | v->vlans.map[id] : 0;
}

/* By how much sequence numbers of one direction of a connection move. Addresses as captured, of 4 or 16 bytes. */
static inline uint32_t
view_seq_shift(const struct view *v, const uint8_t *src, const uint8_t *dst, uint32_t bytes, uint16_t sport, uint16_t dport)
{
	uint8_t in[36] = { 0 }, hash[crypto_shorthash_BYTES];
	if (v->policy.tcp_seq == POLICY_KEEP)
		return 0;
	memcpy(in, src, bytes);
	memcpy(in + 16, dst, bytes);
	store_be16(in + 32, sport);
	store_be16(in + 34, dport);
	crypto_shorthash(hash, in, sizeof in, v->seq);
	return load_le32(hash);
}

/* 0 is what stands there when there is none (an acknowledgement in a SYN): moved, it would tell the shift. */
static inline uint32_t
view_seq(const struct view *v, uint32_t seq, uint32_t shift)
{
	return seq && v->policy.tcp_seq != POLICY_ZERO ? seq + shift : 0;
}

/* --- options and extension headers, in place --- */

void view_ip4_options(struct view_thread *t, uint8_t *p, uint32_t n);
/* The options of a TCP header. shift: that of acknowledgements, 0 where SACK edges and time stamps are blank. */
void view_tcp_options(const struct view *v, uint8_t *p, uint32_t n, bool blank, uint32_t shift);
struct ip6_chain view_ip6_extensions(struct view_thread *t, uint8_t *p, uint32_t n, uint8_t first);

#endif
