#include "tests/support/block_trip.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive/block.h"
#include "archive/block_read.h"
#include "archive/dissect.h"
#include "base/bytes.h"
#include "tests/support/plain_parse.h"

struct trip {
	char path[PATH_BYTES];
	struct block_encoder *encoder;
	struct block_decoder *decoder, *piecewise, *selective;
	struct block_examiner *examiner;
	struct segment *segment;
	uint64_t stored_bytes;
	uint32_t runs;
};

static const uint8_t key[SEGMENT_KEY_BYTES] = "a key that is known to everybody";
static const uint8_t block_key[BLOCK_KEY_BYTES] = "and another one for its blocks";
static char sentence[2 * ERR_TEXT_BYTES];

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
#define WANT(call)                                                               \
	do {                                                                     \
		enum err want_ = (call);                                         \
		if (want_ != OK)                                                 \
			return wrong("%s: %s", err_name(want_), err_text());     \
	} while (0)

void
trip_scratch(char path[PATH_BYTES], const char *name)
{
	static unsigned serial;
	const char *base = getenv("TMPDIR");
	if (access("/dev/shm", W_OK) == 0)
		base = "/dev/shm";
	snprintf(path, PATH_BYTES, "%s/atoll-test-%ld-%u-%s", base && *base ? base : "/tmp", (long)getpid(), serial++, name);
}

enum err
trip_open(struct trip **out, const struct packet_view *view)
{
	struct trip *t = calloc(1, sizeof *t);
	if (!t)
		return fail(ERR_NOMEM, "out of memory");
	trip_scratch(t->path, "trip.seg");
	enum err e = block_encoder_open(&t->encoder);
	if (e == OK)
		e = block_decoder_open(&t->decoder, view);
	if (e == OK)
		e = block_decoder_open(&t->piecewise, view);
	if (e == OK)
		e = block_examiner_open(&t->examiner);
	if (e == OK)
		e = block_decoder_open(&t->selective, view);
	if (e != OK)
		trip_close(&t);
	*out = t;
	return e;
}

void
trip_close(struct trip **t)
{
	if (!*t)
		return;
	(void)unlink((*t)->path);
	segment_close(&(*t)->segment);
	block_encoder_close(&(*t)->encoder);
	block_decoder_close(&(*t)->decoder);
	block_decoder_close(&(*t)->piecewise);
	block_examiner_close(&(*t)->examiner);
	block_decoder_close(&(*t)->selective);
	free(*t);
	*t = NULL;
}

uint64_t
trip_stored_bytes(const struct trip *t)
{
	return t->stored_bytes;
}

/* --- one record --- */

static uint32_t
kept_bytes(const struct frames *in, const struct frame *f, bool headers_only)
{
	struct dissection d;
	if (!headers_only)
		return f->cap_len;
	dissect(f->linktype, in->bytes + f->at, f->cap_len, &d);
	return dissect_headers_end(&d, in->bytes + f->at, f->cap_len);
}

static const char *
compare_link(const struct link *l, uint32_t number, const struct plain *x, const struct frame *f, const uint8_t *p)
{
	if (l->linktype != f->linktype || l->iface != f->iface)
		return wrong("record %u: link type %u, interface %u", number, l->linktype, l->iface);
	if (l->len != x->link_bytes || memcmp(l->bytes, p, l->len) != 0)
		return wrong("record %u: link header of %u bytes, expected %u", number, l->len, x->link_bytes);
	unsigned ethertype = x->mpls ? 0x8847 : x->ethertype;
	if (l->ethertype != ethertype || l->vlans != x->vlans || l->vlan != x->vlan || l->mpls != x->mpls ||
	    (l->macs != 0) != x->macs)
		return wrong("record %u: link header read as type %04x, %u tags, VLAN %u, %u labels", number, l->ethertype,
		             l->vlans, l->vlan, l->mpls);
	return NULL;
}

static bool
addresses_agree(const struct batch *b, const struct flow *f, const struct plain *x)
{
	if (f->net == NET_IP4)
		return b->ip4[f->src] == load_be32(x->src) && b->ip4[f->dst] == load_be32(x->dst);
	return f->net != NET_IP6 ||
	       (memcmp(b->ip6[f->src], x->src, 16) == 0 && memcmp(b->ip6[f->dst], x->dst, 16) == 0);
}

static const char *
compare_columns(const struct batch *b, uint32_t row, const struct flow *f, uint32_t number, const struct plain *x)
{
	unsigned flags = (x->fragment ? FLOW_FRAGMENT : 0) | (x->extensions ? FLOW_EXTENSIONS : 0);
	if (f->net != x->net || f->transport != x->transport || f->proto != x->proto || f->first_proto != x->first_proto ||
	    (f->flags & ~FLOW_HIDDEN) != flags)
		return wrong("record %u: net %u, transport %u, proto %u, first %u, flags %u; plainly %u %u %u %u %u", number,
		             f->net, f->transport, f->proto, f->first_proto, f->flags, x->net, x->transport, x->proto,
		             x->first_proto, flags);
	if (!addresses_agree(b, f, x))
		return wrong("record %u: addresses", number);
	if (f->sport != x->sport || f->dport != x->dport)
		return wrong("record %u: ports %u and %u, plainly %u and %u", number, f->sport, f->dport, x->sport, x->dport);
#define COLUMN(column, member)                                                                                 \
	if (b->column[row] != x->member)                                                                       \
		return wrong("record %u: " #column " %u, plainly %u", number, (unsigned)b->column[row], x->member);
	COLUMN(tos, tos)
	COLUMN(ttl, ttl)
	COLUMN(ip_len, ip_len)
	COLUMN(ip_id, ip_id)
	COLUMN(ip_frag, ip_frag)
	COLUMN(tcp_flags, tcp_flags)
	COLUMN(tcp_seq, tcp_seq)
	COLUMN(tcp_ack, tcp_ack)
	COLUMN(tcp_win, tcp_win)
#undef COLUMN
	return NULL;
}

static uint32_t
conversation_at(const struct batch *b, uint32_t row)
{
	uint32_t low = 0, high = b->conversations;
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (b->start[middle] <= row)
			low = middle;
		else
			high = middle;
	}
	return low;
}

static const char *
compare_record(const struct frames *in, uint32_t i, bool headers_only, const struct batch *b)
{
	const struct frame *f = &in->v[i];
	uint32_t row = b->row_of[i], n = 0, want = kept_bytes(in, f, headers_only);
	const uint8_t *p = NULL;
	if (row >= b->count)
		return wrong("record %u: row %u of %u", i, row, b->count);
	WANT(batch_bytes(b, row, &p, &n));
	if (n != want || b->cap_len[row] != want)
		return wrong("record %u: %u bytes, column %u, expected %u", i, n, b->cap_len[row], want);
	for (uint32_t k = 0; k < n; k++)
		if (p[k] != in->bytes[f->at + k])
			return wrong("record %u: byte %u is %02x, was %02x", i, k, p[k], in->bytes[f->at + k]);
	if (b->ts[row] != f->ts_ns || b->time[i] != f->ts_ns || b->wire_len[row] != f->wire_len)
		return wrong("record %u: time %llu was %llu, wire length %u was %u", i, (unsigned long long)b->ts[row],
		             (unsigned long long)f->ts_ns, b->wire_len[row], f->wire_len);
	uint32_t c = conversation_at(b, row);
	if (batch_conversation(b, row) != c || b->dir[row] > 1)
		return wrong("record %u: conversation %u, not %u, direction %u", i, batch_conversation(b, row), c, b->dir[row]);
	struct plain x;
	const struct flow *flow = &b->flows[2 * c + b->dir[row]];
	plain_parse(f->linktype, p, n, &x);
	SAY(compare_link(&b->links[flow->link], i, &x, f, p));
	return compare_columns(b, row, flow, i, &x);
}

const char *
trip_compare(const struct frames *in, bool headers_only, const struct batch *b)
{
	if (b->count != in->count || b->start[0] != 0 || b->start[b->conversations] != b->count)
		return wrong("%u records, were %u", b->count, in->count);
	uint8_t *seen = calloc(1, b->count);
	bool twice = !seen;
	for (uint32_t i = 0; i < b->count && !twice; i++) {
		twice = b->row_of[i] < b->count && seen[b->row_of[i]];
		if (b->row_of[i] < b->count)
			seen[b->row_of[i]] = 1;
	}
	free(seen);
	if (twice)
		return wrong("two records in one row");
	for (uint32_t i = 0; i < in->count; i++)
		SAY(compare_record(in, i, headers_only, b));
	return NULL;
}

/* --- the tables --- */

#define FINDS_MAX 500u /* look-ups of one kind; with more different values than these a part is looked up */

static int
compare_ip4(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

static int
compare_ip6(const void *a, const void *b)
{
	return memcmp(a, b, 16);
}

static uint32_t
stride(uint32_t n)
{
	return n / FINDS_MAX + 1;
}

struct found {
	struct segment *segment;
	uint64_t bit;
	const uint32_t *ip4;      /* all of the segment */
	const uint8_t (*ip6)[16];
	uint32_t ip4_count, ip6_count;
};

static const char *
find_addresses(const struct found *f, const struct batch *b)
{
	uint64_t found = 0;
	for (uint32_t i = 0; i < b->ip4_count; i++)
		if (!bsearch(&b->ip4[i], f->ip4, f->ip4_count, 4, compare_ip4))
			return wrong("address %08x is not in the table", b->ip4[i]);
	for (uint32_t i = 0; i < b->ip6_count; i++)
		if (!bsearch(b->ip6[i], f->ip6, f->ip6_count, 16, compare_ip6))
			return wrong("IPv6 address %u is not in the table", i);
	for (uint32_t i = 0; i < b->ip4_count; i += stride(b->ip4_count)) {
		WANT(segment_find_ip4(f->segment, b->ip4[i], b->ip4[i], &found));
		if (!(found & f->bit))
			return wrong("address %08x is not found", b->ip4[i]);
	}
	for (uint32_t i = 0; i < b->ip6_count; i += stride(b->ip6_count)) {
		WANT(segment_find_ip6(f->segment, b->ip6[i], b->ip6[i], &found));
		if (!(found & f->bit))
			return wrong("IPv6 address %u is not found", i);
	}
	return NULL;
}

static const char *
find_ports(const struct found *f, const struct batch *b)
{
	static bool seen[65536];
	uint32_t count = 0, at = 0;
	memset(seen, 0, sizeof seen);
	for (uint32_t i = 0; i < 2 * b->conversations; i++) {
		const struct flow *flow = &b->flows[i];
		if (flow->transport != TRANSPORT_TCP && flow->transport != TRANSPORT_UDP && flow->transport != TRANSPORT_SCTP)
			continue;
		count += !seen[flow->sport];
		seen[flow->sport] = true;
		count += !seen[flow->dport];
		seen[flow->dport] = true;
	}
	for (uint32_t port = 0; port < 65536; port++) {
		uint64_t found = 0;
		if (!seen[port] || at++ % stride(count) != 0)
			continue;
		WANT(segment_find_port(f->segment, (uint16_t)port, (uint16_t)port, &found));
		if (!(found & f->bit))
			return wrong("port %u is not found", port);
	}
	return NULL;
}

static const char *
find_protos(const struct found *f, const struct batch *b)
{
	bool seen[256] = { false };
	for (uint32_t i = 0; i < 2 * b->conversations; i++)
		if (b->flows[i].net != NET_RAW)
			seen[b->flows[i].proto] = seen[b->flows[i].first_proto] = true;
	for (unsigned proto = 0; proto < 256; proto++) {
		uint64_t found = 0;
		if (!seen[proto])
			continue;
		WANT(segment_find_proto(f->segment, (uint8_t)proto, &found));
		if (!(found & f->bit))
			return wrong("protocol %u is not found", proto);
	}
	return NULL;
}

/* ARP and RARP: the addresses that libpcap's `host` looks at. Of a link type that is not understood: the block must be in
 * every answer. */
static const char *
find_raw(const struct found *f, const struct batch *b, uint32_t row, const struct link *l)
{
	const uint8_t *p = NULL;
	uint32_t n = 0;
	uint64_t found = 0;
	WANT(batch_bytes(b, row, &p, &n));
	if (!dissect_knows(l->linktype)) {
		WANT(segment_find_ip4(f->segment, 0x01020304, 0x01020304, &found));
		return found & f->bit ? NULL : wrong("row %u: of link type %u, and its block is not opaque", row, l->linktype);
	}
	for (unsigned i = 0; i < 2 && (l->ethertype == 0x0806 || l->ethertype == 0x8035); i++) {
		uint32_t at = l->len + (i ? 24u : 14u);
		if (n < at + 4)
			break;
		uint32_t address = load_be32(p + at);
		if (!bsearch(&address, f->ip4, f->ip4_count, 4, compare_ip4))
			return wrong("row %u: an address in ARP is not in the table", row);
	}
	return NULL;
}

const char *
trip_find_all(struct segment *s, uint32_t block, const struct batch *b)
{
	struct found f = { .segment = s, .bit = (uint64_t)1 << block };
	uint32_t looked = 0;
	WANT(segment_all_addresses(s, &f.ip4, &f.ip4_count, &f.ip6, &f.ip6_count));
	SAY(find_addresses(&f, b));
	SAY(find_ports(&f, b));
	SAY(find_protos(&f, b));
	for (uint32_t c = 0; c < b->conversations; c++) {
		const struct flow *flow = &b->flows[2 * c];
		const struct link *l = &b->links[flow->link];
		for (uint32_t row = b->start[c]; flow->net == NET_RAW && row < b->start[c + 1]; row++)
			if (dissect_knows(l->linktype) || looked++ < 3)
				SAY(find_raw(&f, b, row, l));
	}
	return NULL;
}

/* --- one group of columns after another --- */

static const char *
compare_batches(const struct batch *a, const struct batch *b)
{
	if (a->count != b->count || a->conversations != b->conversations || a->link_count != b->link_count)
		return wrong("loaded piece by piece: other counts");
#define SAME(column)                                                                                   \
	if (memcmp(a->column, b->column, a->count * sizeof *a->column) != 0)                           \
		return wrong("loaded piece by piece: other values in " #column);
	SAME(dir)
	SAME(ts)
	SAME(wire_len)
	SAME(cap_len)
	SAME(row_of)
	SAME(time)
	SAME(tcp_flags)
	SAME(tos)
	SAME(ttl)
	SAME(ip_len)
	SAME(ip_id)
	SAME(ip_frag)
	SAME(tcp_seq)
	SAME(tcp_ack)
	SAME(tcp_win)
#undef SAME
	for (uint32_t row = 0; row < a->count; row++) {
		const uint8_t *p = NULL, *q = NULL;
		uint32_t n = 0, m = 0;
		WANT(batch_bytes(a, row, &p, &n));
		WANT(batch_bytes(b, row, &q, &m));
		if (n != m || memcmp(p, q, n) != 0)
			return wrong("loaded piece by piece: other bytes in row %u", row);
	}
	return NULL;
}

/* Each run takes another order. */
static const char *
load_piecewise(struct trip *t, const struct batch *all)
{
	enum { GROUPS = 11 };
	unsigned groups[GROUPS], count = GROUPS;
	uint32_t turn = t->runs++ * 2654435761u;
	const struct batch *b = NULL;
	_Static_assert(BATCH_ALL == (1 << GROUPS) - 1, "a bit for each group of columns");
	for (unsigned i = 0; i < count; i++)
		groups[i] = 1u << i;
	for (unsigned i = count; i > 0; i--) {
		turn = turn * 1664525 + 1013904223;
		unsigned at = (turn >> 8) % i, group = groups[at];
		groups[at] = groups[i - 1];
		WANT(segment_load(t->segment, 0, t->piecewise, group, &b, NULL));
		/* Rows of frames that are not IP can be rebuilt before the rest is there. */
		const uint8_t *p;
		uint32_t n;
		for (uint32_t c = 0; group == BATCH_RAW && c < b->conversations; c++)
			if (b->flows[2 * c].net == NET_RAW)
				WANT(batch_bytes(b, b->start[c], &p, &n));
	}
	return compare_batches(all, b);
}

/* --- rows of some conversations --- */

static const char *
compare_selected(const struct batch *all, const struct batch *b, const struct selection *sel, bool with_bytes)
{
	uint32_t k = 0;
	for (uint32_t i = 0; i < all->count; i++) {
		uint32_t row = all->row_of[i], c = batch_conversation(all, row);
		const uint8_t *p = NULL, *q = NULL;
		uint32_t n = 0, m = 0;
		if (!sel->conversation[c])
			continue;
		if (b->cap_len && (all->cap_len[row] != b->cap_len[row] || all->ttl[row] != b->ttl[row] || all->ip_len[row] != b->ip_len[row] ||
		                   all->ip_id[row] != b->ip_id[row] || all->tcp_seq[row] != b->tcp_seq[row] ||
		                   all->tcp_ack[row] != b->tcp_ack[row] || all->tcp_win[row] != b->tcp_win[row]))
			return wrong("loaded for a selection: other fields in row %u", row);
		if (all->wire_len[row] != b->wire_len[row] || all->dir[row] != b->dir[row] || all->tcp_flags[row] != b->tcp_flags[row])
			return wrong("loaded for a selection: other values in row %u", row);
		if (sel->conversation[c] == 2 && !sel->row[row])
			continue;
		if (k == b->selected_count || b->selected[k].row != row || b->selected[k].conversation != c ||
		    b->selected[k].time != all->time[i])
			return wrong("loaded for a selection: record %u is another", i);
		k++;
		if (!with_bytes && all->flows[2 * c].net != NET_RAW)
			continue;
		WANT(batch_bytes(all, row, &p, &n));
		WANT(batch_bytes(b, row, &q, &m));
		if (n != m || memcmp(p, q, n) != 0)
			return wrong("loaded for a selection: other bytes in row %u", row);
	}
	return k == b->selected_count ? NULL : wrong("loaded for a selection: too many records");
}

/* Each run selects others: no conversation, few, half, all. */
static const char *
load_selected(struct trip *t, const struct batch *all)
{
	const unsigned listing = BATCH_RAW | BATCH_SELECTED | BATCH_WIRE_LEN | BATCH_DIR | BATCH_TCP_FLAGS;
	uint32_t turn = t->runs * 2654435761u, dense = t->runs % 5;
	uint8_t *bytes = malloc(all->conversations + (size_t)all->count);
	struct selection sel = { bytes, bytes + all->conversations };
	const struct batch *b = NULL;
	uint64_t read = 0;
	if (!bytes)
		return "out of memory";
	for (uint32_t i = 0; i < all->conversations + all->count; i++) {
		turn = turn * 1664525 + 1013904223;
		uint32_t draw = turn >> 24;
		bytes[i] = i < all->conversations ? (draw < 1u << 2 * dense ? 1 + (draw & 1) : 0) : draw & 1;
	}
	const char *said = NULL;
	for (unsigned pass = 0; pass < 4 && !said; pass++) {
		/* a filter's column first; then fields, then frames, too */
		unsigned columns = pass == 0 ? BATCH_WIRE_LEN : listing | (pass == 3 ? BATCH_BYTES : 0) |
		                   (pass == 2 ? BATCH_CAP_LEN | BATCH_IP | BATCH_TCP : 0);
		if (segment_load_selected(t->segment, 0, t->selective, columns, &sel, &b, &read) != OK)
			said = wrong("loaded for a selection: %s", err_text());
		else if (pass)
			said = compare_selected(all, b, &sel, pass == 3);
	}
	free(bytes);
	return said;
}

/* --- all of it --- */

static const char *
check_info(const struct frames *in, bool headers_only, const struct block_info *info)
{
	uint64_t wire = 0, captured = 0, first = UINT64_MAX, last = 0;
	for (uint32_t i = 0; i < in->count; i++) {
		const struct frame *f = &in->v[i];
		wire += f->wire_len;
		captured += kept_bytes(in, f, headers_only);
		first = f->ts_ns < first ? f->ts_ns : first;
		last = f->ts_ns > last ? f->ts_ns : last;
	}
	if (info->records != in->count || info->wire_bytes != wire || info->captured_bytes != captured ||
	    info->first_ns != first || info->last_ns != last)
		return wrong("the block's sums are not those of its records");
	return NULL;
}

/* What an archive finds in the block that came from elsewhere is what its encoder knew. */
static const char *
examine(struct trip *t, const struct block *b, enum examine depth)
{
	struct block x;
	const struct block_info *a = &b->info, *i = &x.info;
	WANT(block_examine(t->examiner, b->stored, b->stored_bytes, block_key, a->captured_bytes, depth, &x));
	if (a->records != i->records || a->first_ns != i->first_ns || a->last_ns != i->last_ns ||
	    a->wire_bytes != i->wire_bytes || a->captured_bytes != i->captured_bytes || a->sampled != i->sampled ||
	    a->sampler != i->sampler || a->stored_bytes != i->stored_bytes)
		return wrong("the block examined has other sums than the one encoded");
	if (b->ip4_count != x.ip4_count || memcmp(b->ip4, x.ip4, x.ip4_count * sizeof *x.ip4) != 0 ||
	    b->ip6_count != x.ip6_count || memcmp(b->ip6, x.ip6, x.ip6_count * sizeof *x.ip6) != 0 ||
	    b->port_count != x.port_count || memcmp(b->ports, x.ports, x.port_count * sizeof *x.ports) != 0 ||
	    b->proto_count != x.proto_count || memcmp(b->protos, x.protos, x.proto_count) != 0 || b->opaque != x.opaque)
		return wrong("the block examined has other index terms than the one encoded");
	return NULL;
}

static const char *
write_segment(struct trip *t, struct block *b)
{
	struct segment_name name = { .archive = "the archive's id", .id = 77, .key_slot = 5, .stream = 3 };
	struct segment_writer *w = NULL;
	struct segment_totals totals;
	(void)unlink(t->path);
	WANT(segment_create(&w, t->path, &name, key, "eth0"));
	enum err e = segment_append(w, b, block_key);
	if (e == OK)
		e = segment_finish(w, &totals);
	segment_writer_close(&w);
	WANT(e);
	segment_close(&t->segment);
	enum err opened = segment_open(&t->segment, t->path, key);
	(void)unlink(t->path); /* the segment keeps it open, and a fuzzer never closes */
	WANT(opened);
	const struct segment_totals *have = segment_totals_of(t->segment);
	if (memcmp(have, &totals, sizeof totals) != 0)
		return wrong("the segment opens with other totals than it was written with");
	t->stored_bytes = totals.file_bytes;
	return NULL;
}

const char *
trip_run(struct trip *t, const struct frames *in, bool headers_only)
{
	struct block block;
	const struct batch *b = NULL;
	WANT(block_encode(t->encoder, in, headers_only, &block));
	SAY(check_info(in, headers_only, &block.info));
	block_seal(t->encoder, &block, block_key);
	SAY(examine(t, &block, EXAMINE_INDEX));
	SAY(examine(t, &block, EXAMINE_ALL));
	SAY(write_segment(t, &block));
	SAY(check_info(in, headers_only, segment_blocks(t->segment)));
	WANT(segment_load(t->segment, 0, t->decoder, BATCH_ALL, &b, NULL));
	SAY(trip_compare(in, headers_only, b));
	SAY(trip_find_all(t->segment, 0, b));
	SAY(load_piecewise(t, b));
	SAY(load_selected(t, b));
	WANT(segment_check_block(t->segment, 0, t->decoder));
	return NULL;
}

/* --- of a view --- */

static const char *
collect(const struct batch *b, struct frames *shown)
{
	frames_reset(shown);
	for (uint32_t i = 0; i < b->count; i++) {
		const uint8_t *p;
		uint32_t n, row = b->row_of[i];
		WANT(batch_bytes(b, row, &p, &n));
		if (n > shown->room_bytes - shown->used_bytes)
			return wrong("record %u: no room for what is shown", i);
		const struct link *l = batch_link(b, row);
		shown->v[shown->count++] = (struct frame){
			.ts_ns = b->time[i],
			.wire_len = b->wire_len[row],
			.cap_len = n,
			.at = shown->used_bytes,
			.linktype = l->linktype,
			.iface = l->iface,
		};
		memcpy(shown->bytes + shown->used_bytes, p, n);
		shown->used_bytes += n;
	}
	return NULL;
}

const char *
trip_view(struct trip *t, const struct frames *in, struct frames *shown)
{
	struct block block;
	const struct batch *b = NULL;
	WANT(block_encode(t->encoder, in, false, &block));
	block_seal(t->encoder, &block, block_key);
	SAY(write_segment(t, &block));
	WANT(segment_load(t->segment, 0, t->decoder, BATCH_ALL, &b, NULL));
	SAY(collect(b, shown));
	SAY(trip_compare(shown, false, b));
	SAY(load_piecewise(t, b));
	return load_selected(t, b);
}
