#include "anonymize/rewrite_dns.h"

#include <string.h>

#define DNS_HEADER_BYTES 12u
#define NAMES_MAX        512u /* labels and pointers in one message */

enum dns_type { DNS_A = 1, DNS_AAAA = 28, DNS_OPT = 41 };
enum { OPTION_CLIENT_SUBNET = 8 };

struct message {
	struct view_thread *t;
	const uint8_t *in;
	uint8_t *out;
	uint32_t n, at; /* bytes before at are shown */
	uint32_t names;
};

static bool
left(const struct message *m, uint32_t n)
{
	return m->n - m->at >= n;
}

/* A name: lengths and pointers stay. False: it goes on behind the message, or makes no sense. */
static bool
show_name(struct message *m)
{
	uint32_t at = m->at;
	while (at < m->n && m->names++ < NAMES_MAX) {
		uint8_t length = m->in[at];
		uint32_t bytes = length >= 0xc0 ? 2 : 1u + length;
		if ((length > 63 && length < 0xc0) || bytes > m->n - at)
			return false;
		memcpy(m->out + at, m->in + at, length >= 0xc0 ? 2 : 1);
		if (length < 0xc0)
			memset(m->out + at + 1, 'x', length);
		at += bytes;
		if (length == 0 || length >= 0xc0) {
			m->at = at;
			return true;
		}
	}
	return false;
}

static bool
show_question(struct message *m)
{
	if (!show_name(m) || !left(m, 4))
		return false;
	memcpy(m->out + m->at, m->in + m->at, 4); /* type and class */
	m->at += 4;
	return true;
}

/* The client subnet option (RFC 7871, section 6): family, two lengths, as much of an address as the first one says. */
static void
show_client_subnet(struct view_thread *t, uint8_t *p, uint32_t n)
{
	uint8_t address[16] = { 0 };
	uint32_t family = n < 4 ? 0 : load_be16(p), most = family == 1 ? 32 : family == 2 ? 128 : 0, bits = n < 4 ? 0 : p[2];
	if (bits > most || n - 4 > most / 8 || most == 0) {
		memset(p, 0, n);
		return;
	}
	memcpy(address, p + 4, n - 4);
	if (family == 1)
		view_ip4_bytes(t, address);
	else
		view_ip6(t, address);
	for (uint32_t i = bits; i < most; i++)
		address[i / 8] &= (uint8_t)~(0x80 >> i % 8);
	memcpy(p + 4, address, n - 4);
}

/* Options of EDNS (RFC 6891), in place. */
static void
show_options(struct view_thread *t, uint8_t *p, uint32_t n)
{
	uint32_t at = 0;
	while (n - at >= 4) {
		uint32_t bytes = load_be16(p + at + 2);
		if (bytes > n - at - 4)
			break;
		if (load_be16(p + at) == OPTION_CLIENT_SUBNET)
			show_client_subnet(t, p + at + 4, bytes);
		else
			memset(p + at + 4, 0, bytes);
		at += 4 + bytes;
	}
	memset(p + at, 0, n - at);
}

static bool
show_record(struct message *m)
{
	if (!show_name(m) || !left(m, 10))
		return false;
	const uint8_t *head = m->in + m->at;
	uint32_t type = load_be16(head), bytes = load_be16(head + 8);
	if (bytes > m->n - m->at - 10)
		return false;
	uint8_t *data = m->out + m->at + 10;
	memcpy(m->out + m->at, head, 10); /* type, class, time to live, length */
	memset(data, 0, bytes);
	if (type == DNS_A && bytes == 4) {
		memcpy(data, head + 10, 4);
		view_ip4_bytes(m->t, data);
	} else if (type == DNS_AAAA && bytes == 16) {
		memcpy(data, head + 10, 16);
		view_ip6(m->t, data);
	} else if (type == DNS_OPT) {
		memcpy(data, head + 10, bytes);
		show_options(m->t, data, bytes);
	}
	m->at += 10 + bytes;
	return true;
}

uint32_t
rewrite_dns(struct view_thread *t, const uint8_t *in, uint32_t n, uint8_t *out)
{
	struct message m = { .t = t, .in = in, .out = out, .n = n, .at = DNS_HEADER_BYTES };
	if (n < DNS_HEADER_BYTES)
		return 0;
	memcpy(out, in, DNS_HEADER_BYTES);
	uint32_t questions = load_be16(in + 4), records = load_be16(in + 6) + load_be16(in + 8) + load_be16(in + 10);
	for (uint32_t i = 0; i < questions; i++)
		if (!show_question(&m))
			return m.at;
	for (uint32_t i = 0; i < records; i++)
		if (!show_record(&m))
			return m.at;
	return m.at;
}
