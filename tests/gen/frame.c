#include "tests/gen/frame.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"

#define PATTERN_BYTES (1u << 24) /* larger than a compressor's window: payload must not be found again */
#define IP_FRAME_MIN  60u /* Ethernet's 64 without the frame check sequence */

static uint8_t  pattern[PATTERN_BYTES];
static uint32_t sums[PATTERN_BYTES / 2 + 1]; /* modulo 2^32: a payload's own sum is less */

void
pattern_fill(uint64_t seed)
{
	for (uint32_t i = 0; i < PATTERN_BYTES; i += 8) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		store_le64(pattern + i, seed ^ seed >> 29);
	}
	for (uint32_t i = 0; i < PATTERN_BYTES / 2; i++)
		sums[i + 1] = sums[i] + load_be16(pattern + 2 * i);
}

uint32_t
pattern_place(uint32_t a, uint32_t b)
{
	return ((a * 2654435761u) ^ (b * 2246822519u)) % (PATTERN_BYTES - TRACE_FRAME_MAX) & ~1u;
}

static uint64_t
pattern_sum(uint32_t at, uint32_t n)
{
	assert(at % 2 == 0 && n <= PATTERN_BYTES && at <= PATTERN_BYTES - n);
	uint64_t sum = sums[at / 2 + n / 2] - sums[at / 2];
	return n % 2 ? sum + ((uint32_t)pattern[at + n - 1] << 8) : sum;
}

static uint64_t
bytes_sum(const uint8_t *p, uint32_t n)
{
	uint64_t sum = 0;
	for (uint32_t i = 0; i + 1 < n; i += 2)
		sum += load_be16(p + i);
	return n % 2 ? sum + ((uint32_t)p[n - 1] << 8) : sum;
}

static uint16_t
folded(uint64_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

static uint8_t *
put_be16(uint8_t *p, uint32_t v)
{
	store_be16(p, (uint16_t)v);
	return p + 2;
}

static uint8_t *
put_mac_header(uint8_t *p, const struct path *path, const uint8_t *dst, uint8_t side)
{
	memcpy(p, dst, 6);
	memcpy(p + 6, path->mac[side], 6);
	p += 12;
	for (unsigned i = 0; i < path->vlans; i++) {
		p = put_be16(p, path->vlans == 2 && i == 0 ? 0x88a8 : 0x8100);
		p = put_be16(p, path->vlan[i]);
	}
	return p;
}

static uint8_t *
put_ip4(uint8_t *p, uint32_t total, uint16_t id, uint16_t frag, uint8_t ttl, uint8_t proto, uint8_t tos, const uint8_t *src,
        const uint8_t *dst, bool alert)
{
	uint32_t header = alert ? 24 : 20;
	p[0] = (uint8_t)(0x40 | header / 4);
	p[1] = tos;
	store_be16(p + 2, (uint16_t)total);
	store_be16(p + 4, id);
	store_be16(p + 6, frag);
	p[8] = ttl;
	p[9] = proto;
	store_be16(p + 10, 0);
	memcpy(p + 12, src, 4);
	memcpy(p + 16, dst, 4);
	if (alert)
		store_be32(p + 20, 0x94040000);
	store_be16(p + 10, (uint16_t)~folded(bytes_sum(p, header)));
	return p + header;
}

/* The tunnel's outer headers around inner bytes of the EtherType given; nothing without a tunnel. */
static uint8_t *
put_tunnel(uint8_t *p, const struct packet *q, uint32_t inner, uint16_t type)
{
	const struct path *path = q->path;
	static const uint8_t extra[] = { [TUNNEL_GRE] = 4, [TUNNEL_GRE_KEY] = 8, [TUNNEL_IPIP] = 0, [TUNNEL_VXLAN] = 30 };
	static const uint8_t protos[] = { [TUNNEL_GRE] = 47, [TUNNEL_GRE_KEY] = 47, [TUNNEL_VXLAN] = 17 };
	uint8_t src[4], dst[4];
	store_be32(src, path->tunnel_ip[q->side]);
	store_be32(dst, path->tunnel_ip[!q->side]);
	uint8_t proto = path->tunnel == TUNNEL_IPIP ? (type == 0x86dd ? 41 : 4) : protos[path->tunnel];
	p = put_ip4(p, 20 + extra[path->tunnel] + inner, 0, 0x4000, 64, proto, 0, src, dst, false);
	if (path->tunnel == TUNNEL_GRE || path->tunnel == TUNNEL_GRE_KEY) {
		p = put_be16(p, path->tunnel == TUNNEL_GRE_KEY ? 0x2000 : 0);
		p = put_be16(p, type);
		if (path->tunnel == TUNNEL_GRE_KEY) {
			store_be32(p, path->tunnel_id);
			p += 4;
		}
	}
	if (path->tunnel != TUNNEL_VXLAN)
		return p;
	p = put_be16(p, 49152 + (q->flow_label & 0x3fff));
	p = put_be16(p, 4789);
	p = put_be16(p, 30 + inner);
	p = put_be16(p, 0);
	store_be32(p, 0x08000000);
	store_be32(p + 4, path->tunnel_id << 8);
	memcpy(p + 8, path->mac[!q->side], 6);
	memcpy(p + 14, path->mac[q->side], 6);
	p[8] |= 2; /* inner addresses are locally administered */
	p[14] |= 2;
	return put_be16(p + 20, type);
}

/* All up to the IP payload of `payload` bytes; fragment tells offset and more flag as in the IPv4 header. */
static uint8_t *
put_headers(uint8_t *p, const struct packet *q, uint32_t payload, uint16_t fragment, bool fragmented)
{
	const struct path *path = q->path;
	uint32_t alert = q->router_alert ? (q->v6 ? 8 : 4) : 0;
	uint32_t header = q->v6 ? 40 + alert + (fragmented ? 8 : 0) : 20 + alert;
	uint16_t type = q->v6 ? 0x86dd : 0x0800;
	bool inside = path->tunnel != TUNNEL_NONE;
	p = put_mac_header(p, path, path->mac[!q->side], q->side);
	p = put_be16(p, path->labels ? 0x8847 : inside ? 0x0800 : type);
	for (unsigned i = 0; i < path->labels; i++, p += 4)
		store_be32(p, path->label[i] << 12 | (i + 1 == path->labels) << 8 | 63);
	if (inside)
		p = put_tunnel(p, q, header + payload, type);
	if (!q->v6) {
		uint8_t *ip = p;
		uint16_t flags = fragmented ? fragment : q->dont_fragment ? 0x4000 : 0;
		p = put_ip4(p, header + payload, q->ip_id, flags, q->ttl, q->proto, q->tos, q->src, q->dst, alert);
		if (q->bad_ip_sum)
			ip[10] ^= 0x55;
		return p;
	}
	store_be32(p, 0x60000000 | (uint32_t)q->tos << 20 | (q->flow_label & 0xfffff));
	store_be16(p + 4, (uint16_t)(header - 40 + payload));
	p[6] = alert ? 0 : fragmented ? 44 : q->proto;
	p[7] = q->ttl;
	memcpy(p + 8, q->src, 16);
	memcpy(p + 24, q->dst, 16);
	p += 40;
	if (alert) {
		static const uint8_t option[8] = { 0, 0, 5, 2, 0, 0, 1, 0 }; /* router alert (MLD), PadN */
		memcpy(p, option, 8);
		p[0] = fragmented ? 44 : q->proto;
		p += 8;
	}
	if (fragmented) {
		p[0] = q->proto;
		p[1] = 0;
		store_be16(p + 2, (uint16_t)((fragment & 0x1fff) << 3 | (fragment & 0x2000 ? 1 : 0)));
		store_be32(p + 4, (uint32_t)q->ip_id * 2654435761u);
		p += 8;
	}
	return p;
}

static void
set_checksum(struct packet *q)
{
	if (q->sum_at == 0)
		return;
	uint8_t *at = q->head + q->sum_at;
	store_be16(at, 0);
	uint32_t total = q->head_len + q->pattern_len;
	uint64_t pseudo = q->pseudo ? bytes_sum(q->src, q->v6 ? 16 : 4) + bytes_sum(q->dst, q->v6 ? 16 : 4) + q->proto + total : 0;
	if (q->checksum == CHECKSUM_ZERO)
		return;
	if (q->checksum == CHECKSUM_PARTIAL) {
		store_be16(at, folded(pseudo));
		return;
	}
	uint64_t sum = pseudo + bytes_sum(q->head, q->head_len) + pattern_sum(q->pattern_at, q->pattern_len);
	uint16_t value = (uint16_t)~folded(sum);
	if (value == 0 && q->proto == 17)
		value = 0xffff;
	store_be16(at, q->checksum == CHECKSUM_BAD ? value ^ 0x1234 : value);
}

/* n bytes of the IP payload from offset `from`: first the head, then the pattern, no more than the trace keeps. */
static void
copy_payload(uint8_t *p, const struct packet *q, uint32_t from, uint32_t n, uint32_t keep)
{
	if (n > keep)
		n = keep;
	uint32_t head = from < q->head_len ? q->head_len - from : 0;
	if (head > n)
		head = n;
	if (head > 0) /* later fragments have none of it */
		memcpy(p, q->head + from, head);
	if (n > head)
		memcpy(p + head, pattern + q->pattern_at + (from + head - q->head_len), n - head);
}

static void
finish(struct trace *t, uint64_t ts_ns, const struct path *path, uint8_t *room, uint32_t n)
{
	if (path->pads && n < IP_FRAME_MIN) {
		memset(room + n, 0, IP_FRAME_MIN - n);
		n = IP_FRAME_MIN;
	}
	trace_packet(t, ts_ns, n);
}

void
packet_send(struct trace *t, uint64_t ts_ns, struct packet *q, uint32_t piece)
{
	set_checksum(q);
	uint32_t total = q->head_len + q->pattern_len;
	piece &= ~7u;
	bool fragmented = piece > 0 && piece < total;
	if (!fragmented)
		piece = total;
	uint32_t from = 0;
	do {
		uint32_t n = total - from < piece ? total - from : piece;
		uint8_t *room = trace_room(t);
		uint16_t fragment = (uint16_t)(from / 8 | (from + n < total ? 0x2000 : 0));
		uint8_t *p = put_headers(room, q, n, fragment, fragmented);
		copy_payload(p, q, from, n, t->snaplen);
		finish(t, ts_ns, q->path, room, (uint32_t)(p - room) + n);
		from += n;
	} while (from < total);
}

void
frame_send(struct trace *t, uint64_t ts_ns, const uint8_t dst[6], const struct path *path, uint8_t side, uint16_t type,
           const uint8_t *bytes, uint32_t n)
{
	uint8_t *room = trace_room(t);
	uint8_t *p = put_be16(put_mac_header(room, path, dst, side), type);
	memcpy(p, bytes, n);
	finish(t, ts_ns, path, room, (uint32_t)(p - room) + n);
}
