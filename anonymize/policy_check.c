#include "anonymize/policy_check.h"

#include <stdio.h>

/* Where a sentence belongs: the line of its setting, when the text has one. */
static void
mistake(struct policy_reading *r, unsigned setting, const char *sentence)
{
	r->faults.line = r->set_on[setting];
	ini_fault(&r->faults, "%s", sentence);
}

static void
see_warning(void *arg, const char *sentence)
{
	const struct policy_reading *r = arg;
	r->see(r->arg, false, sentence);
}

static void
warning(struct policy_reading *r, unsigned setting, const char *sentence)
{
	struct ini_faults aside = { .see = see_warning, .arg = r, .place = r->faults.place, .line = r->set_on[setting] };
	if (r->see)
		ini_fault(&aside, "%s", sentence);
}

static bool
maps_prefixes(struct scheme s)
{
	return s.kind == SCHEME_PFX || s.kind == SCHEME_CRYPTOPAN;
}

static bool
has_pseudonyms(struct scheme s)
{
	return s.kind != SCHEME_DROP && s.kind != SCHEME_TRUNCATE;
}

static void
check_addresses(struct policy_reading *r)
{
	const struct policy *p = &r->policy;
	bool maps4 = maps_prefixes(p->addresses_ip4), maps = maps4 || maps_prefixes(p->addresses_ip6);
	const struct { unsigned setting; enum policy_rule rule; bool good; } kept[] = {
		{ SETTING_addresses_special, p->addresses_special, maps },
		{ SETTING_addresses_multicast, p->addresses_multicast, maps },
		{ SETTING_addresses_private, p->addresses_private, maps },
		{ SETTING_addresses_broadcast, p->addresses_broadcast, maps4 },
	};
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
		if (kept[i].rule == POLICY_KEEP && !kept[i].good)
			mistake(r, kept[i].setting, "keep is for pfx and cryptopan, which can map a prefix onto itself: map");
	if (!scheme_fits(p->addresses_ip4, FAMILY_IP4))
		warning(r, SETTING_addresses_ip4, "ip4: pseudonyms of 128 bits or more have no room in a packet: the export of packets "
		        "is refused");
	if (!scheme_fits(p->addresses_ip6, FAMILY_IP6))
		warning(r, SETTING_addresses_ip6, "ip6: pseudonyms of 256 bits have no room in a packet: the export of packets is "
		        "refused");
	if (p->guards_prefix_hosts && !maps)
		warning(r, SETTING_guards_prefix_hosts, "prefix_hosts does nothing: it cuts pseudonyms of pfx and cryptopan to their "
		        "prefix, and ip4 and ip6 are neither");
	if (p->addresses_internal.count && p->guards_prefix_hosts == 0)
		warning(r, SETTING_addresses_internal, "internal does nothing: it is for the guard prefix_hosts, which is off");
	if (p->link_mac == POLICY_KEEP && maps_prefixes(p->addresses_ip6))
		warning(r, SETTING_link_mac, "mac = keep: a MAC address is the lower half of many IPv6 addresses, so that half of what their "
		        "pseudonyms stand for becomes known; permute does not tell");
}

void
policy_check(struct policy_reading *r)
{
	const struct policy *p = &r->policy;
	bool pseudonyms = has_pseudonyms(p->addresses_ip4) || has_pseudonyms(p->addresses_ip6);
	check_addresses(r);
	if (p->tcp_timestamps != POLICY_DROP && p->tcp_options == POLICY_DROP)
		mistake(r, SETTING_tcp_timestamps, "timestamps are TCP options, which are dropped: options = known, or timestamps = drop");
	if (p->payload_dns == POLICY_MAP && p->payload_bytes == 0)
		mistake(r, SETTING_payload_dns, "dns = map needs payload to stand in: bytes = 512 or more, or dns = drop");
	if (p->payload_bytes)
		warning(r, SETTING_payload_bytes, "payload is copied as it is: names, passwords and addresses in it are shown");
	if (p->key_shared == POLICY_YES && p->key_recipient.s[0])
		warning(r, SETTING_key_recipient, "recipient does nothing: with shared = yes all recipients have the same pseudonyms");
	if (p->time_shift == POLICY_SECRET && p->key_epoch != POLICY_ALL && pseudonyms)
		warning(r, SETTING_key_epoch, "pseudonyms change at midnight of the true time, which shows by how much shift = secret moved "
		        "it: epoch = all");
}
