#include "query/filter_layout.h"

#include "query/filter_diagram.h"

static void
add_field(struct region *r, uint32_t at, uint8_t bytes, uint8_t column)
{
	if (r->field_count < LAYOUT_FIELDS)
		r->fields[r->field_count++] = (struct field){
			.at = (uint16_t)at,
			.bytes = bytes,
			.column = column,
			.mask = bytes == 4 ? UINT32_MAX : (1u << bytes * 8) - 1,
		};
}

static void
add_known(struct region *r, uint32_t at, uint8_t known, uint8_t byte)
{
	r->known[at] = known;
	r->byte[at] = byte & known;
}

/* The transport header at `at` of the region; its smallest size is what was surely captured. */
static void
add_transport(struct region *r, uint32_t at, const struct flow *f)
{
	static const uint8_t least[] = {
		[TRANSPORT_TCP] = 20, [TRANSPORT_UDP] = 8, [TRANSPORT_SCTP] = 12, [TRANSPORT_ICMP] = 8, [TRANSPORT_ICMP6] = 8,
	};
	if (f->flags & FLOW_FRAGMENT || f->transport == TRANSPORT_NONE || f->transport >= sizeof least)
		return;
	r->bound = at + least[f->transport];
	if (f->transport == TRANSPORT_ICMP || f->transport == TRANSPORT_ICMP6) {
		add_field(r, at, 1, COLUMN_SPORT);
		add_field(r, at + 1, 1, COLUMN_DPORT);
		return;
	}
	add_field(r, at, 2, COLUMN_SPORT);
	add_field(r, at + 2, 2, COLUMN_DPORT);
	if (f->transport != TRANSPORT_TCP)
		return;
	add_field(r, at + 4, 4, COLUMN_TCP_SEQ);
	add_field(r, at + 8, 4, COLUMN_TCP_ACK);
	add_field(r, at + 13, 1, COLUMN_TCP_FLAGS);
	add_field(r, at + 14, 2, COLUMN_TCP_WIN);
}

static void
add_ip4(struct layout *l, uint32_t at, const struct flow *f)
{
	struct region *r = &l->frame;
	l->ip4_at = at;
	l->later_fragment = f->flags & FLOW_FRAGMENT;
	add_known(r, at, 0xf0, 0x40);
	add_field(r, at + 1, 1, COLUMN_TOS);
	add_field(r, at + 2, 2, COLUMN_IP_LEN);
	add_field(r, at + 4, 2, COLUMN_IP_ID);
	add_field(r, at + 6, 2, COLUMN_IP_FRAG);
	if (!l->later_fragment) /* the 13 bits of the offset are 0: leave them out of the value */
		r->fields[r->field_count - 1].mask = 0xe000;
	add_field(r, at + 8, 1, COLUMN_TTL);
	add_known(r, at + 9, 0xff, f->proto);
	add_field(r, at + 12, 4, COLUMN_SRC);
	add_field(r, at + 16, 4, COLUMN_DST);
	add_transport(&l->transport, 0, f);
	r->bound = at + 20 + l->transport.bound;
}

static void
add_ip6(struct layout *l, uint32_t at, const struct flow *f)
{
	struct region *r = &l->frame;
	add_known(r, at, 0xf0, 0x60);
	add_field(r, at + 4, 2, COLUMN_IP_LEN);
	r->fields[r->field_count - 1].add = (uint32_t)-40; /* the column counts the fixed header, too */
	r->fields[r->field_count - 1].mask = UINT32_MAX;
	add_known(r, at + 6, 0xff, f->first_proto);
	add_field(r, at + 7, 1, COLUMN_TTL);
	for (uint8_t i = 0; i < 4; i++) {
		add_field(r, at + 8 + 4u * i, 4, COLUMN_SRC + i);
		add_field(r, at + 24 + 4u * i, 4, COLUMN_DST + i);
	}
	r->bound = at + 40;
	if (f->flags & FLOW_EXTENSIONS)
		r->bound += 8; /* the smallest extension header */
	else
		add_transport(r, at + 40, f);
}

void
layout_of(struct layout *l, const struct link *link, const uint8_t *reads, const struct flow *f)
{
	*l = (struct layout){ .ip4_at = UINT32_MAX, .frame.bound = link->len };
	for (uint32_t i = 0; i < link->len; i++)
		if (reads[i])
			add_known(&l->frame, i, 0xff, link->bytes[i]);
	if (f->net == NET_IP4)
		add_ip4(l, link->len, f);
	else if (f->net == NET_IP6)
		add_ip6(l, link->len, f);
}

static bool
load_field(const struct field *f, uint32_t at, uint32_t bytes, struct value *out)
{
	if (at < f->at || at + bytes > (uint32_t)f->at + f->bytes)
		return false;
	if (f->add && bytes != f->bytes)
		return false;
	uint8_t shift = (uint8_t)(8 * (f->at + f->bytes - at - bytes));
	uint32_t mask = f->mask >> shift;
	if (!f->add && bytes < 4)
		mask &= (1u << bytes * 8) - 1;
	*out = (struct value){ .kind = VALUE_CONST };
	if (mask)
		*out = (struct value){ VALUE_COLUMN, f->column, shift, 0, mask, f->add };
	return true;
}

bool
layout_load(const struct region *r, uint32_t at, uint32_t bytes, struct value *out)
{
	if (bytes > r->bound || at > r->bound - bytes)
		return false;
	for (uint32_t i = 0; i < r->field_count; i++)
		if (load_field(&r->fields[i], at, bytes, out))
			return true;
	uint32_t known = 0, value = 0;
	for (uint32_t i = at; i < at + bytes; i++) {
		known = known << 8 | (i < LAYOUT_BYTES ? r->known[i] : 0);
		value = value << 8 | (i < LAYOUT_BYTES ? r->byte[i] : 0);
	}
	if (bytes < 4)
		known |= UINT32_MAX << bytes * 8;
	*out = known == UINT32_MAX ? (struct value){ .kind = VALUE_CONST, .add = value }
	                           : (struct value){ .kind = VALUE_UNKNOWN, .mask = known, .add = value };
	return true;
}
