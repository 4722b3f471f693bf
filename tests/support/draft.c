#include "tests/support/draft.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

void
draft_start(struct draft *d)
{
	d->n = d->ip_at = d->l4_at = 0;
	d->version = d->proto = 0;
}

static uint8_t *
draft_room(struct draft *d, uint32_t n)
{
	if (n > DRAFT_BYTES_MAX - d->n)
		abort();
	d->n += n;
	return d->p + d->n - n;
}

void
draft_put(struct draft *d, const void *p, uint32_t n)
{
	if (n)
		memcpy(draft_room(d, n), p, n);
}

void
draft_number(struct draft *d, uint64_t v, unsigned bytes)
{
	uint8_t *p = draft_room(d, bytes);
	while (bytes-- > 0) {
		p[bytes] = (uint8_t)v;
		v >>= 8;
	}
}

void
draft_fill(struct draft *d, uint32_t n)
{
	uint8_t *p = draft_room(d, n);
	for (uint32_t i = 0; i < n; i++)
		p[i] = (uint8_t)(i * 37 + n);
}

void
draft_ethernet(struct draft *d, uint16_t type)
{
	static const uint8_t macs[12] = { 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2 };
	draft_put(d, macs, sizeof macs);
	draft_number(d, type, 2);
}

void
draft_tag(struct draft *d, uint16_t tag, uint16_t type)
{
	draft_number(d, tag, 2);
	draft_number(d, type, 2);
}

static void
ip_here(struct draft *d, uint8_t version)
{
	if (d->version == 0) {
		d->ip_at = d->n;
		d->version = version;
	}
}

void
draft_transport_here(struct draft *d, uint8_t proto)
{
	d->l4_at = d->n;
	d->proto = proto;
}

void
draft_ip4(struct draft *d, uint32_t src, uint32_t dst, uint8_t proto, const void *options, uint32_t n)
{
	bool outermost = d->version == 0;
	ip_here(d, 4);
	draft_number(d, 0x40 | (5 + n / 4), 1);
	draft_number(d, 0, 1);
	draft_number(d, 20 + n, 2); /* inner ones stay at that */
	draft_number(d, 0x1234, 2);
	draft_number(d, 0x4000, 2);
	draft_number(d, 64, 1);
	draft_number(d, proto, 1);
	draft_number(d, 0, 2);
	draft_number(d, src, 4);
	draft_number(d, dst, 4);
	draft_put(d, options, n);
	if (outermost)
		draft_transport_here(d, proto);
}

void
draft_ip6(struct draft *d, uint32_t src, uint32_t dst, uint8_t next)
{
	bool outermost = d->version == 0;
	ip_here(d, 6);
	draft_number(d, 0x60000000, 4);
	draft_number(d, 0, 2);
	draft_number(d, next, 1);
	draft_number(d, 64, 1);
	const uint32_t low[2] = { src, dst };
	for (unsigned i = 0; i < 2; i++) {
		draft_number(d, 0x20010db800000000, 8);
		draft_number(d, low[i], 8);
	}
	if (outermost)
		draft_transport_here(d, next);
}

void
draft_tcp(struct draft *d, uint16_t sport, uint16_t dport, uint32_t seq, uint32_t ack, uint8_t flags, const void *options,
          uint32_t n)
{
	draft_number(d, sport, 2);
	draft_number(d, dport, 2);
	draft_number(d, seq, 4);
	draft_number(d, ack, 4);
	draft_number(d, (5 + n / 4) << 4, 1);
	draft_number(d, flags, 1);
	draft_number(d, 0x2000, 2);
	draft_number(d, 0, 4);
	draft_put(d, options, n);
}

void
draft_udp(struct draft *d, uint16_t sport, uint16_t dport)
{
	draft_number(d, sport, 2);
	draft_number(d, dport, 2);
	draft_number(d, 8, 2);
	draft_number(d, 0, 2);
}

void
draft_icmp(struct draft *d, uint8_t type, uint8_t code, uint32_t rest)
{
	draft_number(d, type, 1);
	draft_number(d, code, 1);
	draft_number(d, 0, 2);
	draft_number(d, rest, 4);
}

/* RFC 1071, byte by byte. */
static uint16_t
checksum(uint32_t sum, const uint8_t *p, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static uint32_t
pseudo_sum(const struct draft *d, uint32_t n)
{
	const uint8_t *addresses = d->p + d->ip_at + (d->version == 4 ? 12 : 8);
	uint16_t sum = checksum(n + d->proto, addresses, d->version == 4 ? 8 : 32);
	return (uint16_t)~sum;
}

void
draft_finish(struct draft *d)
{
	uint8_t *ip = d->p + d->ip_at, *l4 = d->p + d->l4_at;
	uint32_t n = d->n - d->l4_at, sum_at = 0, pseudo = 0;
	if (d->version == 4) {
		store_be16(ip + 2, (uint16_t)(d->n - d->ip_at));
		store_be16(ip + 10, 0);
		store_be16(ip + 10, checksum(0, ip, (ip[0] & 15) * 4u));
	} else if (d->version == 6) {
		store_be16(ip + 4, (uint16_t)(d->n - d->ip_at - 40));
	}
	if (d->proto == 6)
		sum_at = 16;
	else if (d->proto == 17)
		sum_at = 6;
	else if (d->proto == 1 || d->proto == 58)
		sum_at = 2;
	if (sum_at == 0 || n < sum_at + 2)
		return;
	if (d->proto != 1)
		pseudo = pseudo_sum(d, n);
	if (d->proto == 17)
		store_be16(l4 + 4, (uint16_t)n);
	store_be16(l4 + sum_at, 0);
	uint16_t sum = checksum(pseudo, l4, n);
	store_be16(l4 + sum_at, d->proto == 17 && sum == 0 ? 0xffff : sum);
}

struct frame *
draft_add(const struct draft *d, struct frames *f, uint64_t ts_ns, uint16_t linktype)
{
	if (f->count == BLOCK_RECORDS_MAX || d->n > f->room_bytes - f->used_bytes)
		abort();
	struct frame *v = &f->v[f->count++];
	*v = (struct frame){ .ts_ns = ts_ns, .wire_len = d->n, .cap_len = d->n, .at = f->used_bytes, .linktype = linktype };
	memcpy(f->bytes + f->used_bytes, d->p, d->n);
	f->used_bytes += d->n;
	return v;
}
