#include "anonymize/view.h"

#include <stdlib.h>
#include <string.h>

#include "anonymize/subkey.h"
#include "anonymize/view_packets.h"

#define SHIFT_SECONDS_MAX (4u * 365u * 86400u) /* a secret shift is less than four years */

_Static_assert(VIEW_MASTER_BYTES == SUBKEY_BYTES, "subkeys are made from it");

/* --- keys --- */

struct keys {
	const uint8_t *master;
	struct subkey_scope scope;
};

static enum err
derive(const struct keys *k, const char *field, const char *scheme, unsigned family, void *out, size_t bytes)
{
	uint8_t key[SUBKEY_BYTES];
	enum err e = subkey_derive(key, k->master, &k->scope, field, scheme, family);
	if (e == OK)
		memcpy(out, key, bytes);
	sodium_memzero(key, sizeof key);
	return e;
}

/* A table takes half a millisecond: only those that are used. */
static enum err
derive_table(const struct keys *k, const char *field, enum policy_rule rule, struct port_table *t)
{
	uint8_t key[SUBKEY_BYTES];
	if (rule != POLICY_PERMUTE)
		return OK;
	enum err e = derive(k, field, "permute", 0, key, sizeof key);
	if (e == OK)
		ports_shuffle(t->map, t->back, key);
	sodium_memzero(key, sizeof key);
	return e;
}

static enum err
derive_permutations(struct view *v, const struct keys *k)
{
	uint8_t key[SUBKEY_BYTES];
	TRY(derive_table(k, "port", v->policy.ports_ports, &v->ports));
	TRY(derive_table(k, "ip id", v->policy.ip_id, &v->ip_ids));
	TRY(derive_table(k, "echo id", v->policy.icmp_echo, &v->echo_ids));
	enum err e = derive(k, "vlan", "permute", 0, key, sizeof key);
	if (e == OK) {
		vlans_shuffle(v->vlans.map, v->vlans.back, key);
		e = derive(k, "mac", "permute", 0, key, sizeof key);
	}
	if (e == OK)
		macmap_init(&v->macs, key);
	sodium_memzero(key, sizeof key);
	return e;
}

static enum err
derive_all(struct view *v, const struct keys *k)
{
	const struct policy *p = &v->policy;
	uint64_t seconds;
	TRY(derive(k, "address", scheme_name(p->addresses_ip4.kind), FAMILY_IP4, v->address4, sizeof v->address4));
	TRY(derive(k, "address", scheme_name(p->addresses_ip6.kind), FAMILY_IP6, v->address6, sizeof v->address6));
	TRY(derive(k, "tcp sequence", "shift", 0, v->seq, sizeof v->seq));
	TRY(derive(k, "flow label", "permute", 0, v->label, sizeof v->label));
	TRY(derive(k, "key id", "id", 0, v->key_id, sizeof v->key_id));
	TRY(derive(k, "time", "shift", 0, &seconds, sizeof seconds));
	if (p->time_shift == POLICY_SECRET) {
		uint64_t ns = seconds % SHIFT_SECONDS_MAX * 1000000000u;
		v->time_shift_ns = -(int64_t)ns;
	}
	return derive_permutations(v, k);
}

enum err
view_open(struct view **out, const struct policy *policy, uint64_t epoch, const uint8_t master[VIEW_MASTER_BYTES])
{
	uint8_t hash[POLICY_HASH_BYTES];
	TRY(policy_hash(policy, hash));
	if (sodium_init() < 0)
		return fail(ERR_UNSUPPORTED, "libsodium finds no source of randomness");
	struct view *v = sodium_malloc(sizeof *v); /* a view is mostly keys and tables made from keys */
	if (!v)
		return fail(ERR_NOMEM, "out of memory");
	memset(v, 0, sizeof *v);
	v->policy = *policy;
	v->rules = (struct address_rules){
		.ip4 = policy->addresses_ip4,
		.ip6 = policy->addresses_ip6,
		.keep = {
			[ADDRESS_SPECIAL] = policy->addresses_special == POLICY_KEEP,
			[ADDRESS_MULTICAST] = policy->addresses_multicast == POLICY_KEEP,
			[ADDRESS_PRIVATE] = policy->addresses_private == POLICY_KEEP,
			[ADDRESS_BROADCAST] = policy->addresses_broadcast == POLICY_KEEP,
		},
	};
	struct keys k = {
		.master = master,
		.scope = {
			.dataset = policy->key_dataset.s,
			.epoch = epoch,
			.recipient = policy->key_shared == POLICY_YES ? NULL : policy->key_recipient.s,
			.policy = hash,
		},
	};
	enum err e = derive_all(v, &k);
	if (e == OK) {
		view_packets_fill(v);
		e = addresses_open(&v->addresses, &v->rules, v->address4, v->address6);
	}
	if (e != OK) {
		view_close(&v);
		return e;
	}
	*out = v;
	return OK;
}

void
view_close(struct view **v)
{
	if (!*v)
		return;
	addresses_close(&(*v)->addresses);
	sodium_free(*v); /* wipes */
	*v = NULL;
}

const struct policy *
view_policy(const struct view *v)
{
	return &v->policy;
}

const struct packet_view *
view_packets(const struct view *v)
{
	return &v->packets;
}

void
view_key_id(const struct view *v, uint8_t id[VIEW_KEY_ID_BYTES])
{
	memcpy(id, v->key_id, VIEW_KEY_ID_BYTES);
}

/* --- what one thread has --- */

enum err
view_thread_open(struct view_thread *t, const struct view *v)
{
	*t = (struct view_thread){ .view = v };
	return addresses_open(&t->addresses, &v->rules, v->address4, v->address6);
}

void
view_thread_close(struct view_thread *t)
{
	addresses_close(&t->addresses);
}

/* --- options and extension headers --- */

static void
map4(void *arg, uint8_t address[4])
{
	view_ip4_bytes(arg, address);
}

static void
map6(void *arg, uint8_t address[16])
{
	view_ip6(arg, address);
}

static uint32_t
map_fragment_id(void *arg, uint32_t id)
{
	const struct view_thread *t = arg;
	return view_fragment_id(t->view, id);
}

void
view_ip4_options(struct view_thread *t, uint8_t *p, uint32_t n)
{
	struct header_rule r = { t, map4, map6, map_fragment_id };
	if (t->view->policy.ip_options == POLICY_DROP)
		options_drop(p, n);
	else
		ip4_options_rewrite(p, n, &r);
}

void
view_tcp_options(const struct view *v, uint8_t *p, uint32_t n, bool blank, uint32_t shift)
{
	enum tcp_timestamps timestamps = v->policy.tcp_timestamps == POLICY_DROP ? TCP_TIMESTAMPS_DROP
	                                 : v->policy.tcp_timestamps == POLICY_KEEP && !blank ? TCP_TIMESTAMPS_KEEP
	                                                                                    : TCP_TIMESTAMPS_BLANK;
	if (v->policy.tcp_options == POLICY_DROP)
		options_drop(p, n);
	else
		tcp_options_rewrite(p, n, timestamps, v->policy.tcp_seq != POLICY_ZERO, shift);
}

struct ip6_chain
view_ip6_extensions(struct view_thread *t, uint8_t *p, uint32_t n, uint8_t first)
{
	struct header_rule r = { t, map4, map6, map_fragment_id };
	return ip6_extensions_rewrite(p, n, first, t->view->policy.ip_extensions == POLICY_DROP ? NULL : &r);
}

/* --- back --- */

bool
view_unmap(const struct view *v, unsigned family, uint8_t address[16], uint8_t *bits)
{
	unsigned n = *bits;
	uint32_t ip4 = load_be32(address);
	enum err e = family == FAMILY_IP4 ? addresses_unmap4(v->addresses, &ip4, &n) : addresses_unmap6(v->addresses, address, &n);
	if (family == FAMILY_IP4)
		store_be32(address, ip4);
	*bits = (uint8_t)n;
	return e == OK;
}

bool
view_unmap_ports(const struct view *v, uint16_t *first, uint16_t *last)
{
	switch (v->policy.ports_ports) {
	case POLICY_KEEP:
		return true;
	case POLICY_PERMUTE:
		if (*first == *last)
			*first = *last = v->ports.back[*first];
		return *first == *last;
	default:
		return false;
	}
}

struct span
view_unmap_span(const struct view *v, struct span shown)
{
	return time_unmap_span(&v->packets.time, shown);
}
