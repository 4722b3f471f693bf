/* The view of packets in columns: what a block decoder calls (archive/packet_view.h). */
#include "anonymize/view_packets.h"

#include <stdlib.h>
#include <string.h>

#include "anonymize/rewrite.h"
#include "archive/dissect.h"
#include "archive/pack.h"
#include "base/arena.h"

#define ECHOES 16u /* time stamps of the other side that are remembered while they wait for their echo */

/* Time stamps of one direction, as counts of how often they changed. */
struct ticks {
	uint32_t value[ECHOES], count;
};

struct ports {
	uint16_t src, dst;
};

/* The same bytes may stand behind headers of several kinds, and mean something else there. */
struct shown_string {
	uint32_t generation, at;       /* where in strings */
	uint16_t kind;                 /* IPv6: first next header; IPv4: IP4_OPTIONS */
};
#define IP4_OPTIONS 256u

struct state {
	struct view_thread thread;
	uint32_t generation;           /* of the block */
	/* By flow, as captured. */
	uint32_t *seq_shift;
	struct ports *ports;
	uint32_t flow_room;
	/* Strings as shown, made when first met. */
	struct arena strings;
	struct shown_string *shown[2]; /* by number; [0] of IP headers, [1] of TCP headers */
	/* Of the conversation whose rows are being walked. */
	uint32_t conversation, row;
	struct ticks ticks[2];
};

static void state_close(void *state);

static enum err
state_open(const void *arg, void **out)
{
	const struct view *v = arg;
	struct state *s = calloc(1, sizeof *s);
	if (!s)
		return fail(ERR_NOMEM, "out of memory");
	enum err e = view_thread_open(&s->thread, v);
	s->shown[0] = calloc(STRINGS_MAX, sizeof *s->shown[0]);
	s->shown[1] = calloc(STRINGS_MAX, sizeof *s->shown[1]);
	if (e == OK && (!s->shown[0] || !s->shown[1]))
		e = fail(ERR_NOMEM, "out of memory");
	if (e == OK)
		e = arena_init(&s->strings, 2 * (size_t)STRINGS_MAX * (STRING_BYTES_MAX + PACK_SLACK + 64));
	if (e != OK) {
		state_close(s);
		return e;
	}
	*out = s;
	return OK;
}

static void
state_close(void *state)
{
	struct state *s = state;
	view_thread_close(&s->thread);
	free(s->seq_shift);
	free(s->ports);
	arena_fini(&s->strings);
	free(s->shown[0]);
	free(s->shown[1]);
	free(s);
}

/* --- the dictionary of a block --- */

static enum err
room_for(struct state *s, uint32_t conversations)
{
	if (2 * conversations <= s->flow_room)
		return OK;
	uint32_t room = 2 * conversations;
	free(s->seq_shift);
	free(s->ports);
	s->flow_room = 0;
	s->seq_shift = calloc(room, sizeof *s->seq_shift);
	s->ports = calloc(room, sizeof *s->ports);
	if (!s->seq_shift || !s->ports)
		return fail(ERR_NOMEM, "out of memory");
	s->flow_room = room;
	return OK;
}

/* What is needed of captured values once they are gone from the dictionary. */
static void
keep_captured(struct state *s, const struct packet_dictionary *d, uint32_t number)
{
	const struct flow *f = &d->flows[number];
	s->ports[number] = (struct ports){ f->sport, f->dport };
	if (f->transport != TRANSPORT_TCP)
		return;
	uint8_t src[16], dst[16];
	uint32_t bytes = f->net == NET_IP4 ? 4 : 16;
	if (f->net == NET_IP4) {
		store_be32(src, d->ip4[f->src]);
		store_be32(dst, d->ip4[f->dst]);
	} else {
		memcpy(src, d->ip6[f->src], 16);
		memcpy(dst, d->ip6[f->dst], 16);
	}
	s->seq_shift[number] = view_seq_shift(s->thread.view, src, dst, bytes, f->sport, f->dport);
}

static bool
is_tunnel(uint8_t proto)
{
	return proto == PROTO_IP4_IN || proto == PROTO_IP6_IN || proto == PROTO_GRE;
}

/* Whether anything behind the headers of a conversation may be shown. flow: as captured. */
static bool
may_show_behind(const struct state *s, const struct flow *f)
{
	const struct policy *p = &s->thread.view->policy;
	switch (f->transport) {
	case TRANSPORT_TCP:
		return p->payload_bytes > 0;
	case TRANSPORT_UDP:
		return p->payload_bytes > 0 || (p->tunnels_depth > 0 && (f->sport == PORT_VXLAN || f->dport == PORT_VXLAN));
	case TRANSPORT_ICMP:
	case TRANSPORT_ICMP6:
		/* The two directions have types that answer each other, or the same one. */
		return rewrite_icmp_has_behind(&s->thread, f->net == NET_IP4 ? 4 : 6, (uint8_t)f->sport);
	case TRANSPORT_NONE:
		return p->tunnels_depth > 0 && is_tunnel(f->proto) && !(f->flags & FLOW_FRAGMENT);
	default:
		return false;
	}
}

static enum err
show_links(struct state *s, const struct packet_dictionary *d)
{
	for (uint32_t i = 0; i < d->link_count; i++) {
		struct link *l = &d->links[i];
		uint8_t *bytes = d->link_bytes + (l->bytes - d->link_bytes);
		if (!dissect_knows(l->linktype)) {
			if (s->thread.view->policy.link_unknown == POLICY_REFUSE)
				return fail(ERR_USAGE, "packets of link type %u are not understood, and the policy refuses them; "
				            "leave their streams out, or let it say `unknown = drop` in [link]", l->linktype);
			memset(bytes, 0, l->len);
			continue;
		}
		TRY(rewrite_link(&s->thread, l->linktype, bytes, l->len));
		struct dissection x;
		dissect_link(l->linktype, bytes, l->len, &x);
		l->vlan = x.vlan;
	}
	return OK;
}

static enum err
state_dictionary(void *state, struct packet_dictionary *d)
{
	struct state *s = state;
	TRY(room_for(s, d->conversations));
	s->generation++;
	arena_reset(&s->strings);
	s->conversation = UINT32_MAX;
	for (uint32_t i = 0; i < 2 * d->conversations; i++)
		keep_captured(s, d, i);
	for (uint32_t c = 0; c < d->conversations; c++)
		d->behind[c] = may_show_behind(s, &d->flows[2 * c]);
	TRY(show_links(s, d));
	addresses_map4(s->thread.addresses, d->ip4, d->ip4_count);
	addresses_map6(s->thread.addresses, d->ip6, d->ip6_count);
	for (uint32_t i = 0; i < 2 * d->conversations; i++) {
		struct flow *f = &d->flows[i];
		if (!dissect_knows(d->links[f->link].linktype))
			d->flows[i & ~1u].flags = d->flows[i | 1].flags = f->flags | FLOW_HIDDEN;
		if (f->transport == TRANSPORT_TCP || f->transport == TRANSPORT_UDP || f->transport == TRANSPORT_SCTP) {
			f->sport = view_port(s->thread.view, f->sport);
			f->dport = view_port(s->thread.view, f->dport);
		}
	}
	return OK;
}

/* --- records --- */

/* The string as it is shown, as long as the next one is not asked for; made once in a block, if it is always of one kind. */
static struct packet_string
show_string(struct state *s, struct packet_string in, const struct flow *f, bool tcp)
{
	struct shown_string *x = &s->shown[tcp][in.number];
	uint16_t kind = f->net == NET_IP4 ? IP4_OPTIONS : f->first_proto;
	bool known = x->generation == s->generation;
	if (!known || (x->kind != kind && !tcp)) {
		/* There is room for all that a block can have. */
		uint8_t *p = known ? s->strings.base + x->at : arena_take(&s->strings, in.n + PACK_SLACK);
		memcpy(p, in.p, in.n);
		if (tcp)
			view_tcp_options(s->thread.view, p + 1, in.n - 1, true, 0);
		else if (f->net == NET_IP4)
			view_ip4_options(&s->thread, p, in.n);
		else
			(void)view_ip6_extensions(&s->thread, p, in.n, f->first_proto);
		*x = (struct shown_string){ s->generation, (uint32_t)(p - s->strings.base), kind };
	}
	return (struct packet_string){ s->strings.base + x->at, in.n, in.number };
}

/* The number of a tick of this value; one more when it is a new one. */
static uint32_t
tick(struct ticks *t, uint32_t value)
{
	if (t->count == 0 || t->value[t->count % ECHOES] != value)
		t->value[++t->count % ECHOES] = value;
	return t->count;
}

static uint32_t
echoed_tick(const struct ticks *t, uint32_t value)
{
	for (uint32_t i = 0; i < ECHOES && i < t->count; i++)
		if (t->value[(t->count - i) % ECHOES] == value)
			return t->count - i;
	return 0;
}

static void
show_timestamps(struct state *s, uint32_t flow_number, struct packet_fields *f)
{
	if (s->thread.view->policy.tcp_timestamps == POLICY_KEEP)
		return;
	/* Rows of a conversation come in their order, from the first one, whenever they are asked for. */
	if (s->conversation != flow_number / 2 || f->row <= s->row)
		s->ticks[0].count = s->ticks[1].count = 0;
	s->conversation = flow_number / 2;
	s->row = f->row;
	if (s->thread.view->policy.tcp_timestamps != POLICY_COUNTER || !f->options.timestamp_at)
		return;
	f->tsecr = f->tsecr ? echoed_tick(&s->ticks[f->dir ^ 1], f->tsecr) : 0;
	f->tsval = tick(&s->ticks[f->dir], f->tsval);
}

static void
show_tcp(struct state *s, uint32_t flow_number, const struct flow *flow, struct packet_fields *f)
{
	const struct view *v = s->thread.view;
	f->seq = view_seq(v, f->seq, s->seq_shift[flow_number]);
	f->ack = view_seq(v, f->ack, s->seq_shift[flow_number ^ 1]);
	f->sack_base += s->seq_shift[flow_number ^ 1]; /* of an acknowledgement that is 0, too */
	f->win = view_window(v, f->win);
	f->urg = view_urgent(v, f->urg);
	f->tcp_string = show_string(s, f->tcp_string, flow, true);
	f->options = tcp_options_find(f->tcp_string.p + 1, f->tcp_string.n - 1);
	show_timestamps(s, flow_number, f);
}

static void
state_row(void *state, uint32_t flow_number, const struct flow *flow, struct packet_fields *f)
{
	struct state *s = state;
	const struct view *v = s->thread.view;
	f->tos = view_tos(v, f->tos);
	f->ttl = view_ttl(v, f->ttl);
	if (flow->net == NET_IP4)
		f->ip_id = view_ip_id(v, f->ip_id);
	else
		f->label = view_label(v, f->label);
	if (f->ip_string.n)
		f->ip_string = show_string(s, f->ip_string, flow, false);
	if (flow->transport == TRANSPORT_TCP)
		show_tcp(s, flow_number, flow, f);
	else if (flow->transport == TRANSPORT_ICMP || flow->transport == TRANSPORT_ICMP6)
		f->rest = rewrite_icmp_rest(&s->thread, flow->net == NET_IP4 ? 4 : 6, (uint8_t)flow->sport, f->rest);
	else if (flow->transport == TRANSPORT_SCTP)
		f->rest = 0; /* a verification tag is a secret of its own */
}

static struct rewrite
rewrite_from(struct state *s)
{
	return (struct rewrite){ .thread = &s->thread, .tunnels = (unsigned)s->thread.view->policy.tunnels_depth };
}

static uint32_t
state_behind(void *state, uint32_t flow_number, const struct flow *flow, const struct packet_fields *f, const uint8_t *in,
             uint32_t n, uint8_t *out)
{
	struct state *s = state;
	struct ports ports = s->ports[flow_number];
	switch (flow->transport) {
	case TRANSPORT_TCP:
		return rewrite_payload(rewrite_from(s), ports.src, ports.dst, in, n, out, false);
	case TRANSPORT_UDP:
		return rewrite_behind_udp(rewrite_from(s), ports.src, ports.dst, in, n, out);
	case TRANSPORT_ICMP:
	case TRANSPORT_ICMP6:
		return rewrite_behind_icmp(rewrite_from(s), flow->net == NET_IP4 ? 4 : 6, (uint8_t)flow->sport, in, n, out);
	default:
		return rewrite_tunnel(rewrite_from(s), flow->proto, in, n, out);
	}
}

/* Packets of which the headers were not all there, and what is not IP. */
static uint32_t
state_raw(void *state, const struct link *link, const uint8_t *in, uint32_t n, uint8_t *out)
{
	struct state *s = state;
	switch (link->linktype) {
	case LINK_ETHERNET:
	case LINK_SLL:
	case LINK_SLL2:
		if (link->ethertype == ETHER_IP4 || link->ethertype == ETHER_IP6)
			return rewrite_ip(rewrite_from(s), in, n, out);
		return link->ethertype == ETHER_ARP || link->ethertype == ETHER_RARP ? rewrite_arp(&s->thread, in, n, out) : 0;
	case LINK_NULL:
	case LINK_LOOP:
		return link->len == 4 && load_be32(link->bytes) ? rewrite_ip(rewrite_from(s), in, n, out) : 0;
	default:
		return dissect_knows(link->linktype) ? rewrite_ip(rewrite_from(s), in, n, out) : 0;
	}
}

/* --- the whole --- */

void
view_packets_fill(struct view *v)
{
	const struct policy *p = &v->policy;
	v->packets = (struct packet_view){
		.arg = v,
		.open = state_open,
		.close = state_close,
		.dictionary = state_dictionary,
		.row = state_row,
		.behind = state_behind,
		.raw = state_raw,
		.changes_transport = p->tcp_seq != POLICY_KEEP || p->tcp_window != POLICY_KEEP || p->tcp_timestamps != POLICY_KEEP ||
		                     p->tcp_options != POLICY_KEEP || p->tcp_urgent != POLICY_KEEP || p->icmp_echo != POLICY_KEEP,
		.zero_checksums = p->checksums_checksums != POLICY_ADJUST,
		.time = { v->time_shift_ns, p->time_quantum },
	};
}
