#include "tests/support/view_audit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "archive/dissect.h"
#include "tests/support/filter_cases.h"
#include "tests/support/frame_places.h"
#include "tests/support/plain_parse.h"

static char sentence[512];

static __attribute__((format(printf, 1, 2))) const char *
wrong(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(sentence, sizeof sentence, format, args);
	va_end(args);
	return sentence;
}

#define SAY(call)                             \
	do {                                  \
		const char *said_ = (call);   \
		if (said_)                    \
			return said_;         \
	} while (0)

/* --- a policy --- */

static const char *
random_value(struct dice *d, const struct policy_setting *s, char *out, size_t room)
{
	static const char *schemes[] = { "pfx", "cryptopan", "pfx", "truncate/16", "drop", "pfx" };
	static const char *quanta[] = { "1ns", "1us", "1ms", "1h", "7ns" };
	if (strcmp(s->section, "flow") == 0 || strcmp(s->section, "guards") == 0)
		return s->otherwise;
	if (strcmp(s->key, "ip4") == 0 || strcmp(s->key, "ip6") == 0)
		return strcmp(s->key, "ip6") == 0 && dice_roll(d, 6) == 0 ? "det" : schemes[dice_roll(d, 6)];
	if (strcmp(s->key, "quantum") == 0)
		return quanta[dice_roll(d, 5)];
	if (strcmp(s->key, "depth") == 0 || strcmp(s->key, "bytes") == 0) {
		snprintf(out, room, "%u", dice_roll(d, 2) ? 0 : dice_roll(d, strcmp(s->key, "depth") ? 200 : 5));
		return out;
	}
	if (!strchr(s->values, '|') || strchr(s->values, '/') || strcmp(s->key, "version") == 0)
		return s->otherwise;
	uint32_t count = 1;
	for (const char *p = s->values; *p; p++)
		count += *p == '|';
	const char *p = s->values;
	for (uint32_t skip = dice_roll(d, count); skip > 0; skip--)
		p = strchr(p, '|') + 1;
	snprintf(out, room, "%.*s", (int)strcspn(p, "|"), p);
	return out;
}

struct writing {
	FILE *to;
	struct dice dice;
	const char *section;
};

static enum err
write_setting(void *arg, const struct policy_setting *s, const char *value)
{
	struct writing *w = arg;
	char some[64];
	(void)value;
	if (!w->section || strcmp(w->section, s->section) != 0)
		fprintf(w->to, "[%s]\n", s->section);
	w->section = s->section;
	fprintf(w->to, "%s = %s\n", s->key, random_value(&w->dice, s, some, sizeof some));
	return OK;
}

/* False: it contradicts itself. */
static bool
try_policy(struct policy *p, uint64_t seed)
{
	static const char least[] = "[policy]\nversion = 1\n";
	struct writing w = { .dice = { seed } };
	char *text = NULL;
	size_t n = 0;
	w.to = open_memstream(&text, &n);
	if (!w.to || policy_parse(p, "least", least, sizeof least - 1, NULL, NULL) != OK || policy_walk(p, write_setting, &w) != OK)
		abort();
	fclose(w.to);
	enum err e = policy_parse(p, "random", text, n, NULL, NULL);
	free(text);
	return e == OK;
}

struct policy
random_policy(uint64_t seed)
{
	struct policy p;
	while (!try_policy(&p, seed))
		seed += 1u << 20;
	snprintf(p.key_dataset.s, sizeof p.key_dataset.s, "a dataset");
	snprintf(p.key_recipient.s, sizeof p.key_recipient.s, "somebody");
	p.link_unknown = POLICY_DROP;
	return p;
}

/* --- addresses --- */

static void
mask(uint8_t *p, uint32_t n, uint32_t bits)
{
	for (uint32_t i = bits; i < 8 * n; i++)
		p[i / 8] &= (uint8_t)~(0x80 >> i % 8);
}

static bool
is_blank(const uint8_t *p, uint32_t n)
{
	uint8_t any = 0;
	bool ones = true;
	for (uint32_t i = 0; i < n; i++) {
		any |= p[i];
		ones &= p[i] == 1;
	}
	return any == 0 || ones;
}

static const char *
audit_addresses(struct view_thread *t, const uint8_t *in, const uint8_t *out, uint32_t n, const struct frame_places *places)
{
	for (uint32_t i = 0; i < places->count; i++) {
		const struct place_of *x = &places->v[i];
		uint32_t bytes = place_bytes(x);
		uint8_t want[16];
		if (bytes == 2 || x->at >= n)
			continue;
		if (bytes > n - x->at)
			return wrong("the address at %u is cut in two", x->at);
		memcpy(want, in + x->at, bytes);
		if (x->kind == PLACE_IP4)
			view_ip4_bytes(t, want);
		else if (x->kind == PLACE_IP6)
			view_ip6(t, want);
		else
			view_mac(t->view, want);
		mask(want, bytes, x->bits);
		if (memcmp(out + x->at, want, bytes) != 0 && !(x->option && is_blank(out + x->at, bytes)))
			return wrong("the address at %u of %u bytes is not what it is mapped to", x->at, n);
	}
	return NULL;
}

/* --- checksums --- */

static const char *
audit_sums(const struct view *v, uint16_t linktype, const uint8_t *in, uint32_t in_n, const uint8_t *out, uint32_t n,
           const struct frame_places *captured)
{
	static uint8_t complete[BLOCK_BYTES_MAX];
	struct frame_places shown;
	memcpy(complete, in, in_n);
	memcpy(complete, out, n);
	frame_places(linktype, in, in_n, complete, &shown);
	for (uint32_t i = 0; i < captured->count; i++) {
		const struct place_of *a = &captured->v[i], *b = &shown.v[i];
		if (a->kind == PLACE_SUM && v->policy.checksums_checksums != POLICY_ADJUST) {
			if (a->at < n && load_be16(out + a->at) != 0)
				return wrong("the checksum at %u is not 0", a->at);
		} else if (a->at < n && place_bytes(a) == 2 && a->state != b->state) {
			return wrong("the checksum at %u of %u was %d and is %d (%04x, now %04x)", a->at, n, a->state, b->state,
			             load_be16(in + a->at), load_be16(out + a->at));
		}
	}
	return NULL;
}

/* --- numbers --- */

static bool
follows(enum policy_rule rule, unsigned was, unsigned is)
{
	return rule == POLICY_KEEP ? is == was : rule == POLICY_ZERO ? is == 0 : true;
}

static const char *
audit_fields(const struct policy *p, const struct plain *a, const struct plain *b)
{
	if (a->net != b->net || a->transport != b->transport || a->proto != b->proto || a->first_proto != b->first_proto ||
	    a->link_bytes != b->link_bytes || a->transport_at != b->transport_at || a->end != b->end || a->fragment != b->fragment ||
	    a->ip_len != b->ip_len || a->ip_frag != b->ip_frag || a->tcp_flags != b->tcp_flags)
		return wrong("the headers are others: net %u is %u, end %u is %u", a->net, b->net, a->end, b->end);
#define FOLLOWS(rule, member)                                      \
	if (!follows(p->rule, a->member, b->member))               \
		return wrong(#member " %u became %u", (unsigned)a->member, (unsigned)b->member);
	FOLLOWS(ip_ttl, ttl)
	FOLLOWS(ip_tos, tos)
	FOLLOWS(ip_id, ip_id)
	FOLLOWS(tcp_window, tcp_win)
	FOLLOWS(tcp_seq, tcp_seq)
	FOLLOWS(tcp_seq, tcp_ack)
	FOLLOWS(link_vlan, vlan)
	if (a->transport == TRANSPORT_ICMP || a->transport == TRANSPORT_ICMP6) {
		if (a->sport != b->sport || a->dport != b->dport)
			return wrong("another ICMP type");
		return NULL;
	}
	FOLLOWS(ports_ports, sport)
	FOLLOWS(ports_ports, dport)
#undef FOLLOWS
	if (a->tcp_ack == 0 && b->tcp_ack != 0)
		return wrong("an acknowledgement of nothing became one");
	return NULL;
}

static const char *
audit_frame(struct view_thread *t, const struct frames *in, const struct frames *shown, uint32_t i)
{
	const struct frame *f = &in->v[i], *g = &shown->v[i];
	const uint8_t *p = in->bytes + f->at, *q = shown->bytes + g->at;
	struct frame_places places;
	struct plain a, b;
	if (f->linktype != g->linktype || f->iface != g->iface || f->wire_len != g->wire_len || g->cap_len > f->cap_len)
		return wrong("another link type, interface or length");
	if (g->ts_ns != time_map(&t->view->packets.time, f->ts_ns))
		return wrong("another time");
	if (!dissect_knows(f->linktype))
		return g->cap_len ? wrong("bytes of an unknown link type") : NULL;
	plain_parse(f->linktype, p, f->cap_len, &a);
	plain_parse(g->linktype, q, g->cap_len, &b);
	frame_places(f->linktype, p, f->cap_len, p, &places);
	SAY(audit_addresses(t, p, q, g->cap_len, &places));
	SAY(audit_sums(t->view, f->linktype, p, f->cap_len, q, g->cap_len, &places));
	return a.net == NET_RAW ? NULL : audit_fields(&t->view->policy, &a, &b);
}

const char *
view_audit(const struct view *v, const struct frames *in, const struct frames *shown)
{
	struct view_thread t;
	const char *said = NULL;
	if (in->count != shown->count)
		return wrong("%u frames became %u", in->count, shown->count);
	if (view_thread_open(&t, v) != OK)
		return err_text();
	for (uint32_t i = 0; i < in->count && !said; i++) {
		said = audit_frame(&t, in, shown, i);
		if (said) {
			char why[sizeof sentence];
			memcpy(why, sentence, sizeof why);
			wrong("frame %u of link type %u: %.400s", i, in->v[i].linktype, why);
		}
	}
	view_thread_close(&t);
	return said ? sentence : NULL;
}
