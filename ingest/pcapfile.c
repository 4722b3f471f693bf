#include "ingest/pcapfile.h"

#include "base/bytes.h"
#include "base/limits.h"
#include "ingest/pseudo.h"

enum { LENGTHS_CAPTURED_FIRST, LENGTHS_WIRE_FIRST, LENGTHS_GUESS };

#define MAGIC_MICRO    0xa1b2c3d4u
#define MAGIC_NANO     0xa1b23c4du
#define MAGIC_MODIFIED 0xa1b2cd34u

static bool
magic_known(uint32_t magic)
{
	return magic == MAGIC_MICRO || magic == MAGIC_NANO || magic == MAGIC_MODIFIED;
}

bool
pcapfile_magic(const uint8_t magic[4])
{
	return magic_known(load_le32(magic)) || magic_known(load_be32(magic));
}

enum err
pcapfile_begin(struct pcapfile *p, const uint8_t header[PCAPFILE_HEADER_BYTES])
{
	bool swapped = magic_known(load_be32(header));
	uint32_t magic = swapped ? load_be32(header) : load_le32(header);
	uint16_t major = swapped ? load_be16(header + 4) : load_le16(header + 4);
	uint16_t minor = swapped ? load_be16(header + 6) : load_le16(header + 6);
	if (!magic_known(magic))
		return fail(ERR_FORMAT, "not a pcap header");
	if (major != 2 && !(major == 543 && minor == 0))
		return fail(ERR_UNSUPPORTED, "pcap version %u.%u, only 2.x is known", major, minor);
	*p = (struct pcapfile){
		.swapped = swapped,
		.nanoseconds = magic == MAGIC_NANO,
		.modified = magic == MAGIC_MODIFIED,
		.snaplen = swapped ? load_be32(header + 16) : load_le32(header + 16),
		/* The upper half tells of frame check sequences and is reserved. */
		.linktype = (uint16_t)(swapped ? load_be32(header + 20) : load_le32(header + 20)),
	};
	if (major == 543 || minor < 3)
		p->lengths = LENGTHS_WIRE_FIRST;
	else if (minor == 3) /* some writers of 2.3 had not exchanged them yet */
		p->lengths = LENGTHS_GUESS;
	p->cap_max_bytes = walk_snaplen_max(p->linktype);
	if (p->snaplen <= INT32_MAX && p->snaplen > p->cap_max_bytes)
		p->cap_max_bytes = p->snaplen;
	return OK;
}

static enum walk
length_damage(const struct pcapfile *p, struct walker *w, uint32_t cap_len)
{
	if (cap_len > p->cap_max_bytes)
		return walk_damage(w, ERR_FORMAT, "record claims %u captured bytes, the most possible here is %u", cap_len,
		                   p->cap_max_bytes);
	return walk_damage(w, ERR_LIMIT, "record of %u captured bytes, more than the limit of %u", cap_len,
	                   RECORD_BYTES_MAX);
}

/* The common case (lengths in order, 16-byte headers) is compiled on its own: a walk over short records is bound by the
 * branches of this loop. */
static inline __attribute__((always_inline)) enum walk
walk_records(const struct pcapfile *p, struct frames *f, struct walker *w, bool swapped, bool plain)
{
	const uint32_t header_bytes = plain || !p->modified ? 16 : 24;
	const uint32_t cap_max = p->cap_max_bytes < RECORD_BYTES_MAX ? p->cap_max_bytes : RECORD_BYTES_MAX;
	const uint64_t unit_ns = p->nanoseconds ? 1 : 1000;
	const uint8_t *bytes = f->bytes;
	struct frame *v = f->v;
	uint32_t at = w->at, count = f->count;
	const uint32_t end = w->end;
	uint64_t captured = 0, wire = 0;
	enum walk state;
	for (;;) {
		if (count == BLOCK_RECORDS_MAX) {
			state = WALK_FULL;
			break;
		}
		if (end - at < header_bytes) {
			w->need_bytes = header_bytes;
			state = WALK_MORE;
			break;
		}
		const uint8_t *h = bytes + at;
		uint32_t sec = swapped ? load_be32(h) : load_le32(h);
		uint32_t sub = swapped ? load_be32(h + 4) : load_le32(h + 4);
		uint32_t cap_len = swapped ? load_be32(h + 8) : load_le32(h + 8);
		uint32_t wire_len = swapped ? load_be32(h + 12) : load_le32(h + 12);
		if (!plain && (p->lengths == LENGTHS_WIRE_FIRST || (p->lengths == LENGTHS_GUESS && cap_len > wire_len))) {
			uint32_t other = cap_len;
			cap_len = wire_len;
			wire_len = other;
		}
		if (cap_len > cap_max) {
			w->at = at;
			state = length_damage(p, w, cap_len);
			break;
		}
		if (cap_len > end - at - header_bytes) {
			w->need_bytes = header_bytes + cap_len;
			state = WALK_MORE;
			break;
		}
		v[count++] = (struct frame){
			.ts_ns = sec * (uint64_t)1000000000 + sub * unit_ns,
			.wire_len = wire_len,
			.cap_len = cap_len,
			.at = at + header_bytes,
			.linktype = p->linktype,
		};
		captured += cap_len;
		wire += wire_len;
		at += header_bytes + cap_len;
	}
	f->count = count;
	w->at = at;
	w->captured_bytes += captured;
	w->wire_bytes += wire;
	return state;
}

enum walk
pcapfile_walk(const struct pcapfile *p, struct frames *f, struct walker *w)
{
	bool plain = p->lengths == LENGTHS_CAPTURED_FIRST && !p->modified;
	if (!p->swapped)
		return plain ? walk_records(p, f, w, false, true) : walk_records(p, f, w, false, false);
	uint32_t first = f->count;
	enum walk state = plain ? walk_records(p, f, w, true, true) : walk_records(p, f, w, true, false);
	if (pseudo_has(p->linktype))
		for (uint32_t i = first; i < f->count; i++)
			pseudo_swap(p->linktype, f->bytes + f->v[i].at, f->v[i].cap_len);
	return state;
}
