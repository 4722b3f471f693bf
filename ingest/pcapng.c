#include "ingest/pcapng.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "ingest/pseudo.h"

enum {
	BLOCK_IDB = 1,
	BLOCK_PB = 2, /* obsolete packet block */
	BLOCK_SPB = 3,
	BLOCK_EPB = 6,
	BLOCK_SHB = 0x0a0d0d0a, /* reads the same in both byte orders */
};
#define BYTE_ORDER_MAGIC 0x1a2b3c4du

enum { OPTION_END = 0, OPTION_IF_NAME = 2, OPTION_IF_TSRESOL = 9, OPTION_IF_TSOFFSET = 14 };

#define NS_PER_S UINT64_C(1000000000)

/* The body of one block, between its two lengths. */
struct body {
	const uint8_t *bytes;
	uint32_t       n;
	uint32_t       at; /* in frames.bytes */
	bool           swapped;
};

static uint16_t
body16(const struct body *b, uint32_t at)
{
	return b->swapped ? load_be16(b->bytes + at) : load_le16(b->bytes + at);
}

static uint32_t
body32(const struct body *b, uint32_t at)
{
	return b->swapped ? load_be32(b->bytes + at) : load_le32(b->bytes + at);
}

bool
pcapng_magic(const uint8_t first[12])
{
	return load_le32(first) == BLOCK_SHB &&
	       (load_le32(first + 8) == BYTE_ORDER_MAGIC || load_be32(first + 8) == BYTE_ORDER_MAGIC);
}

void
pcapng_fini(struct pcapng *p)
{
	free(p->interfaces);
	*p = (struct pcapng){ 0 };
}

static enum walk
walk_section(struct pcapng *p, struct walker *w, const struct body *b)
{
	if (b->n < 16)
		return walk_damage(w, ERR_FORMAT, "section header block of %u bytes, at least 28 are needed", b->n + 12);
	uint16_t major = body16(b, 4), minor = body16(b, 6);
	if (major != 1)
		return walk_damage(w, ERR_UNSUPPORTED, "pcapng version %u.%u, only 1.x is known", major, minor);
	p->sections++;
	p->interface_first = p->interface_count;
	return WALK_MORE;
}

/* --- interfaces --- */

static void
interface_scale(struct pcapng_interface *i)
{
	i->multiplier = 0;
	i->divisor = 0;
	if (i->tsresol & 0x80)
		return;
	if (i->tsresol <= 9) {
		i->multiplier = 1;
		for (int n = i->tsresol; n < 9; n++)
			i->multiplier *= 10;
	} else if (i->tsresol <= 9 + 19) {
		i->divisor = 1;
		for (int n = 9; n < i->tsresol; n++)
			i->divisor *= 10;
	}
}

static void
interface_name(struct pcapng_interface *i, const uint8_t *name, uint32_t n)
{
	if (n > PCAPNG_NAME_BYTES - 1) {
		n = PCAPNG_NAME_BYTES - 1;
		while (n > 0 && (name[n] & 0xc0) == 0x80) /* not inside a UTF-8 character */
			n--;
	}
	memcpy(i->name, name, n);
	i->name[n] = 0;
}

static enum walk
interface_options(struct pcapng_interface *i, struct walker *w, const struct body *b)
{
	bool resolution_seen = false, offset_seen = false;
	uint32_t at = 8;
	while (b->n - at >= 4) {
		uint16_t code = body16(b, at), size = body16(b, at + 2);
		uint32_t padded = ((uint32_t)size + 3) & ~3u;
		at += 4;
		if (code == OPTION_END)
			break;
		if (padded > b->n - at)
			return walk_damage(w, ERR_FORMAT, "option %u of an interface description claims %u bytes, %u are left",
			                   code, size, b->n - at);
		if (code == OPTION_IF_NAME) {
			interface_name(i, b->bytes + at, size);
		} else if (code == OPTION_IF_TSRESOL) {
			if (size != 1 || resolution_seen)
				return walk_damage(w, ERR_FORMAT, "interface description with a damaged time resolution");
			i->tsresol = b->bytes[at];
			resolution_seen = true;
		} else if (code == OPTION_IF_TSOFFSET) {
			if (size != 8 || offset_seen)
				return walk_damage(w, ERR_FORMAT, "interface description with a damaged time offset");
			i->tsoffset_s = (int64_t)(b->swapped ? load_be64(b->bytes + at) : load_le64(b->bytes + at));
			offset_seen = true;
		}
		at += padded;
	}
	return WALK_MORE;
}

static enum walk
walk_interface(struct pcapng *p, struct walker *w, const struct body *b)
{
	if (b->n < 8)
		return walk_damage(w, ERR_FORMAT, "interface description block of %u bytes, at least 20 are needed",
		                   b->n + 12);
	if (p->interface_count == PCAPNG_INTERFACES_MAX)
		return walk_damage(w, ERR_LIMIT, "more than %u interfaces", PCAPNG_INTERFACES_MAX);
	struct pcapng_interface i = { .linktype = body16(b, 0), .snaplen = body32(b, 4), .tsresol = 6 };
	if (interface_options(&i, w, b) == WALK_DAMAGE)
		return WALK_DAMAGE;
	interface_scale(&i);
	if (p->interface_count == p->interface_room) {
		uint32_t room = p->interface_room ? 2 * p->interface_room : 4;
		struct pcapng_interface *grown = realloc(p->interfaces, room * sizeof *grown);
		if (!grown)
			return walk_damage(w, ERR_NOMEM, "out of memory for interface %u", p->interface_count);
		p->interfaces = grown;
		p->interface_room = room;
	}
	p->interfaces[p->interface_count++] = i;
	return WALK_MORE;
}

/* --- packets --- */

/* The uncommon resolutions and offsets; false: does not fit. */
static bool
time_convert(const struct pcapng_interface *i, uint64_t units, uint64_t *ns, bool *rounded)
{
	unsigned __int128 t;
	*rounded = false;
	if (i->multiplier) {
		t = (unsigned __int128)units * i->multiplier;
	} else if (i->divisor) {
		t = units / i->divisor;
		*rounded = units % i->divisor != 0;
	} else if (i->tsresol & 0x80) {
		unsigned bits = i->tsresol & 0x7f;
		unsigned __int128 scaled = (unsigned __int128)units * NS_PER_S;
		t = scaled >> bits;
		*rounded = t << bits != scaled;
	} else { /* finer than 2^-64 ns: any 64-bit count is less than one */
		t = 0;
		*rounded = units != 0;
	}
	__int128 sum = (__int128)t + (__int128)i->tsoffset_s * (__int128)NS_PER_S;
	if (sum < 0 || sum > UINT64_MAX)
		return false;
	*ns = (uint64_t)sum;
	return true;
}

struct packet {
	uint32_t interface; /* in the section */
	uint64_t units;
	uint32_t cap_len, wire_len;
	uint32_t at;        /* in the block's body */
};

static enum walk
packet_add(struct pcapng *p, struct frames *f, struct walker *w, const struct body *b, const struct packet *k)
{
	if (k->interface >= p->interface_count - p->interface_first)
		return walk_damage(w, ERR_FORMAT, "packet of interface %u, this section describes %u", k->interface,
		                   p->interface_count - p->interface_first);
	if (k->cap_len > b->n - k->at)
		return walk_damage(w, ERR_FORMAT, "packet block claims %u captured bytes, it has room for %u", k->cap_len,
		                   b->n - k->at);
	if (k->cap_len > RECORD_BYTES_MAX)
		return walk_damage(w, ERR_LIMIT, "record of %u captured bytes, more than the limit of %u", k->cap_len,
		                   RECORD_BYTES_MAX);
	struct pcapng_interface *i = &p->interfaces[p->interface_first + k->interface];
	uint64_t ns;
	if (!i->multiplier || i->tsoffset_s || __builtin_mul_overflow(k->units, i->multiplier, &ns)) {
		bool rounded = false;
		if (!time_convert(i, k->units, &ns, &rounded))
			return walk_damage(w, ERR_FORMAT, "packet time outside 1970..2554");
		p->rounded_times += rounded;
	}
	i->records++;
	f->v[f->count++] = (struct frame){
		.ts_ns = ns,
		.wire_len = k->wire_len,
		.cap_len = k->cap_len,
		.at = b->at + k->at,
		.linktype = i->linktype,
		.iface = (uint16_t)(p->interface_first + k->interface),
	};
	w->captured_bytes += k->cap_len;
	w->wire_bytes += k->wire_len;
	if (p->swapped && pseudo_has(i->linktype))
		pseudo_swap(i->linktype, f->bytes + b->at + k->at, k->cap_len);
	return WALK_MORE;
}

static enum walk
walk_packet(struct pcapng *p, struct frames *f, struct walker *w, const struct body *b, bool obsolete)
{
	if (b->n < 20)
		return walk_damage(w, ERR_FORMAT, "packet block of %u bytes, at least 32 are needed", b->n + 12);
	struct packet k = {
		.interface = obsolete ? body16(b, 0) : body32(b, 0),
		.units = (uint64_t)body32(b, 4) << 32 | body32(b, 8),
		.cap_len = body32(b, 12),
		.wire_len = body32(b, 16),
		.at = 20,
	};
	return packet_add(p, f, w, b, &k);
}

/* No time in the file: 1970 (plus the interface's offset, as libpcap). As many bytes as the first interface's snapshot
 * length lets through. */
static enum walk
walk_simple_packet(struct pcapng *p, struct frames *f, struct walker *w, const struct body *b)
{
	if (b->n < 4)
		return walk_damage(w, ERR_FORMAT, "simple packet block of %u bytes, at least 16 are needed", b->n + 12);
	struct packet k = { .wire_len = body32(b, 0), .at = 4 };
	k.cap_len = k.wire_len;
	if (p->interface_count > p->interface_first) {
		uint32_t snaplen = p->interfaces[p->interface_first].snaplen;
		if (snaplen && k.cap_len > snaplen)
			k.cap_len = snaplen;
	}
	return packet_add(p, f, w, b, &k);
}

/* --- blocks --- */

static enum walk
walk_body(struct pcapng *p, struct frames *f, struct walker *w, uint32_t type, const struct body *b)
{
	switch (type) {
	case BLOCK_EPB:
		return walk_packet(p, f, w, b, false);
	case BLOCK_PB:
		return walk_packet(p, f, w, b, true);
	case BLOCK_SPB:
		return walk_simple_packet(p, f, w, b);
	case BLOCK_IDB:
		return walk_interface(p, w, b);
	default:
		return walk_section(p, w, b);
	}
}

static enum walk
walk_more(struct walker *w, uint32_t need_bytes)
{
	w->need_bytes = need_bytes;
	return WALK_MORE;
}

static enum walk
trailer_damage(struct walker *w, uint32_t type, uint32_t total, uint32_t trailer)
{
	return walk_damage(w, ERR_FORMAT, "block of type %u says %u bytes before and %u behind its body", type, total, trailer);
}

/* One whole block at w->at. WALK_MORE with need_bytes 0: done, look at the next. */
static enum walk
walk_block(struct pcapng *p, struct frames *f, struct walker *w)
{
	const uint8_t *at = f->bytes + w->at;
	uint32_t left = w->end - w->at;
	if (left < 12)
		return walk_more(w, 12);
	bool swapped = p->swapped;
	uint32_t type = swapped ? load_be32(at) : load_le32(at);
	if (type == BLOCK_SHB) {
		swapped = load_be32(at + 8) == BYTE_ORDER_MAGIC;
		if (!swapped && load_le32(at + 8) != BYTE_ORDER_MAGIC)
			return walk_damage(w, ERR_FORMAT, "section header without the byte-order magic");
	}
	uint32_t total = swapped ? load_be32(at + 4) : load_le32(at + 4);
	if (total < 12 || total % 4)
		return walk_damage(w, ERR_FORMAT, "block of type %u claims a length of %u bytes", type, total);
	bool wanted = type == BLOCK_EPB || type == BLOCK_SPB || type == BLOCK_PB || type == BLOCK_IDB || type == BLOCK_SHB;
	if (total > left && !wanted) {
		p->skipped_blocks++;
		p->trailer_due = true;
		p->trailer = total;
		w->skip_bytes = total - 4;
		return WALK_SKIP;
	}
	if (total > PCAPNG_BLOCK_BYTES_MAX && wanted)
		return walk_damage(w, ERR_LIMIT, "block of type %u has %u bytes, more than the limit of %u", type, total,
		                   PCAPNG_BLOCK_BYTES_MAX);
	if (total > left)
		return walk_more(w, total);
	uint32_t trailer = swapped ? load_be32(at + total - 4) : load_le32(at + total - 4);
	if (trailer != total)
		return trailer_damage(w, type, total, trailer);
	if (wanted) {
		struct body b = { at + 8, total - 12, w->at + 8, swapped };
		if (type == BLOCK_SHB)
			p->swapped = swapped;
		if (walk_body(p, f, w, type, &b) == WALK_DAMAGE)
			return WALK_DAMAGE;
	} else {
		p->skipped_blocks++;
	}
	w->at += total;
	return walk_more(w, 0);
}

enum walk
pcapng_walk(struct pcapng *p, struct frames *f, struct walker *w)
{
	if (p->trailer_due) {
		if (w->end - w->at < 4)
			return walk_more(w, 4);
		const uint8_t *at = f->bytes + w->at;
		uint32_t trailer = p->swapped ? load_be32(at) : load_le32(at);
		if (trailer != p->trailer)
			return walk_damage(w, ERR_FORMAT, "a skipped block says %u bytes before and %u behind its body",
			                   p->trailer, trailer);
		w->at += 4;
		p->trailer_due = false;
	}
	for (;;) {
		if (f->count == BLOCK_RECORDS_MAX)
			return WALK_FULL;
		enum walk state = walk_block(p, f, w);
		if (state != WALK_MORE || w->need_bytes)
			return state;
	}
}
