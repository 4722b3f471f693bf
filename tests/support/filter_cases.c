#include "tests/support/filter_cases.h"

#include <pcap/pcap.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

uint32_t
dice_roll(struct dice *d, uint32_t sides)
{
	d->state = d->state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(((d->state >> 32) * sides) >> 32);
}

static uint32_t
pick(struct dice *d, const uint32_t *from, uint32_t n)
{
	return from[dice_roll(d, n)];
}
#define PICK(d, array) pick(d, array, sizeof(array) / sizeof((array)[0]))

static const uint32_t hosts[] = { 0x0a000001, 0x0a000002, 0x0a010203, 0xc0a80101, 0xc0a80106, 0xe00000fb, 0xffffffff,
	0x08080808, 0xac100005, 0x0000000a, 0x00000000, 0x0a010000 };
static const uint32_t ports[] = { 80, 443, 53, 22, 123, 1024, 5060, 6003, 33434, 8080, 0, 65535, 1234 };
static const uint32_t types[] = { 0x0800, 0x0800, 0x0800, 0x0800, 0x86dd, 0x86dd, 0x0806, 0x8035, 0x8100, 0x8100, 0x88a8,
	0x9100, 0x8847, 0x8847, 0x8848, 0x8864, 0x8863, 0x88cc, 0x0026, 0x05dc, 0x0000 };
static const uint32_t protos[] = { 6, 6, 6, 6, 17, 17, 17, 1, 58, 132, 2, 47, 4, 41, 50, 51, 89, 103, 112, 0 };

/* Where the next byte goes; what does not fit is dropped. */
struct pen {
	uint8_t *at, *end;
};

static void
put(struct pen *p, uint32_t value, unsigned bytes)
{
	while (bytes-- > 0)
		if (p->at < p->end)
			*p->at++ = bytes < 4 ? (uint8_t)(value >> (8 * bytes)) : 0;
}

static void
put_host6(struct dice *d, struct pen *p)
{
	static const uint32_t heads[] = { 0x20010db8, 0xfe800000, 0xff020000, 0x00000000 };
	put(p, PICK(d, heads), 4);
	put(p, 0, 4);
	put(p, dice_roll(d, 8) ? 0 : 0xffff, 4);
	put(p, dice_roll(d, 3), 4);
}

static void
put_transport(struct dice *d, struct pen *p, uint32_t proto)
{
	static const uint32_t flags[] = { 2, 18, 16, 24, 17, 4, 20, 0, 255, 1 };
	static const uint32_t icmp[] = { 0, 8, 3, 11, 5, 128, 129, 135, 136, 134 };
	uint32_t options = dice_roll(d, 4) ? 0 : dice_roll(d, 11);
	switch (proto) {
	case 6:
		put(p, PICK(d, ports), 2);
		put(p, PICK(d, ports), 2);
		put(p, dice_roll(d, 3) ? dice_roll(d, 1u << 31) * 2 : 0, 4);
		put(p, dice_roll(d, 3) ? dice_roll(d, 1u << 31) * 2 : 0, 4);
		put(p, (dice_roll(d, 30) ? 5 + options : dice_roll(d, 16)) << 4 | dice_roll(d, 2), 1);
		put(p, PICK(d, flags), 1);
		put(p, dice_roll(d, 4) ? dice_roll(d, 65536) : 0, 2);
		put(p, dice_roll(d, 65536), 2);
		put(p, dice_roll(d, 2), 2);
		for (uint32_t i = 0; i < options; i++)
			put(p, dice_roll(d, 2) ? 0x01010402 : 0, 4);
		break;
	case 17:
	case 132:
		put(p, PICK(d, ports), 2);
		put(p, PICK(d, ports), 2);
		put(p, dice_roll(d, 3) ? dice_roll(d, 600) : 8, 2);
		put(p, dice_roll(d, 3) ? dice_roll(d, 65536) : 0, 2);
		if (proto == 132)
			put(p, dice_roll(d, 65536), 4);
		break;
	default:
		put(p, PICK(d, icmp), 1);
		put(p, dice_roll(d, 5), 1);
		put(p, dice_roll(d, 65536), 2);
		put(p, dice_roll(d, 3), 4);
	}
	for (uint32_t n = dice_roll(d, 3) ? dice_roll(d, 12) : 0; n > 0; n--)
		put(p, dice_roll(d, 3) ? dice_roll(d, 256) : 0, 1);
}

static void
put_ip4(struct dice *d, struct pen *p)
{
	static const uint32_t frags[] = { 0, 0, 0x4000, 0x4000, 0x4000, 0x2000, 0x2001, 0x0064, 0x1fff, 0xe000, 0x8000 };
	static const uint32_t ttls[] = { 64, 64, 128, 255, 1, 2, 63 };
	uint32_t options = dice_roll(d, 6) ? 0 : dice_roll(d, 11), proto = PICK(d, protos);
	put(p, dice_roll(d, 40) ? 0x45 + options : dice_roll(d, 256), 1);
	put(p, dice_roll(d, 2) ? 0 : dice_roll(d, 256), 1);
	put(p, dice_roll(d, 3) ? 20 + dice_roll(d, 1500) : 40, 2);
	put(p, dice_roll(d, 3) ? dice_roll(d, 65536) : 0, 2);
	put(p, PICK(d, frags), 2);
	put(p, PICK(d, ttls), 1);
	put(p, proto, 1);
	put(p, dice_roll(d, 65536), 2);
	put(p, PICK(d, hosts), 4);
	put(p, PICK(d, hosts), 4);
	for (uint32_t i = 0; i < options; i++)
		put(p, dice_roll(d, 3) ? 0x01010101 : 0, 4);
	put_transport(d, p, proto);
}

static void
put_ip6(struct dice *d, struct pen *p)
{
	static const uint32_t ttls[] = { 64, 255, 1, 63 };
	static const uint32_t extensions[] = { 0, 43, 44, 44, 60, 51, 135 };
	uint32_t proto = PICK(d, protos), chain = dice_roll(d, 4) ? 0 : 1 + dice_roll(d, 3);
	uint32_t next = chain ? PICK(d, extensions) : proto;
	put(p, 0x60000000 | (dice_roll(d, 2) ? 0 : dice_roll(d, 1u << 28)), 4);
	put(p, dice_roll(d, 3) ? dice_roll(d, 1500) : 20, 2);
	put(p, next, 1);
	put(p, PICK(d, ttls), 1);
	put_host6(d, p);
	put_host6(d, p);
	while (chain--) {
		uint32_t after = chain ? PICK(d, extensions) : proto;
		put(p, after, 1);
		put(p, next == 44 ? 0 : next == 51 ? 0 : dice_roll(d, 2), 1);
		uint32_t n = next == 44 || next == 51 ? 8 : p->at < p->end && p->at[-1] ? 16 : 8;
		put(p, next == 44 ? (dice_roll(d, 3) ? 0 : dice_roll(d, 65536)) : 0x0104, 2);
		for (uint32_t i = 4; i < n; i++)
			put(p, dice_roll(d, 3), 1);
		next = after;
	}
	put_transport(d, p, proto);
}

static void put_network(struct dice *d, struct pen *p, uint32_t type, unsigned depth);

static void
put_tagged(struct dice *d, struct pen *p, unsigned depth)
{
	static const uint32_t vlans[] = { 1, 100, 200, 4095, 0 };
	put(p, PICK(d, vlans) | dice_roll(d, 8) << 13, 2);
	uint32_t type = PICK(d, types);
	put(p, type, 2);
	put_network(d, p, type, depth);
}

static void
put_network(struct dice *d, struct pen *p, uint32_t type, unsigned depth)
{
	static const uint32_t labels[] = { 16, 100, 200, 0 };
	switch (depth ? type : 0) {
	case 0x0800:
		put_ip4(d, p);
		return;
	case 0x86dd:
		put_ip6(d, p);
		return;
	case 0x8100:
	case 0x88a8:
	case 0x9100:
		put_tagged(d, p, depth - 1);
		return;
	case 0x8847:
	case 0x8848: {
		uint32_t bottom = dice_roll(d, 3) != 0;
		put(p, PICK(d, labels) << 12 | bottom << 8 | 64, 4);
		put_network(d, p, !bottom ? 0x8847 : dice_roll(d, 4) ? 0x0800 : 0x86dd, depth - 1);
		return;
	}
	case 0x8864:
		put(p, 0x11000011, 4);
		put(p, dice_roll(d, 1500), 2);
		put(p, dice_roll(d, 3) ? 0x0021 : 0x0057, 2);
		put_network(d, p, dice_roll(d, 3) ? 0x0800 : 0x86dd, depth - 1);
		return;
	case 0x0806:
	case 0x8035:
		put(p, 0x00010800, 4);
		put(p, 0x06040000 | (1 + dice_roll(d, 2)), 4);
		put(p, 0x0050, 2);
		put(p, 0x56c00008, 4);
		put(p, PICK(d, hosts), 4);
		put(p, 0, 6);
		put(p, PICK(d, hosts), 4);
		return;
	default:
		for (uint32_t n = dice_roll(d, 60); n > 0; n--)
			put(p, dice_roll(d, 3) ? 0 : dice_roll(d, 256), 1);
	}
}

static void
put_mac(struct dice *d, struct pen *p)
{
	static const uint32_t tails[] = { 0x00000000, 0x00000001, 0x56c00008, 0xffffffff, 0x213c4d5e, 0x5e0000fb, 0xc200000e };
	uint32_t tail = PICK(d, tails);
	put(p, tail == 0xffffffff ? 0xffff : tail == 0x5e0000fb ? 0x0100 : tail == 0x213c4d5e ? 0x001b : 0x0050, 2);
	put(p, tail, 4);
}

static void
put_frame(struct dice *d, struct pen *p, uint16_t linktype)
{
	static const uint32_t families[] = { 2, 2, 2, 10, 24, 28, 30, 7 };
	uint32_t type = PICK(d, types), family = PICK(d, families);
	switch (linktype) {
	case 1:
		put_mac(d, p);
		put_mac(d, p);
		put(p, type, 2);
		put_network(d, p, type, 4);
		return;
	case 12:
	case 14:
	case 101:
	case 228:
	case 229:
		put_network(d, p, dice_roll(d, 3) ? 0x0800 : 0x86dd, 4);
		return;
	case 0:
		put(p, dice_roll(d, 4) ? family << 24 : family, 4);
		put_network(d, p, family == 2 ? 0x0800 : family == 7 ? 0 : 0x86dd, 4);
		return;
	case 108:
		put(p, family, 4);
		put_network(d, p, family == 2 ? 0x0800 : family == 7 ? 0 : 0x86dd, 4);
		return;
	case 113:
		put(p, dice_roll(d, 5), 2);
		put(p, 0x00010006, 4);
		put_mac(d, p);
		put(p, 0, 2);
		put(p, type, 2);
		put_network(d, p, type, 4);
		return;
	case 276:
		put(p, type, 2);
		put(p, 0, 2);
		put(p, 1 + dice_roll(d, 2), 4);
		put(p, 0x0001, 2);
		put(p, dice_roll(d, 5), 1);
		put(p, 6, 1);
		put_mac(d, p);
		put(p, 0, 2);
		put_network(d, p, type, 4);
		return;
	default:
		put_network(d, p, 0, 4);
	}
}

void
make_frames(struct frames *f, struct dice *d, uint16_t linktype, uint32_t n)
{
	for (; n > 0 && f->count < BLOCK_RECORDS_MAX && f->room_bytes - f->used_bytes >= 512; n--) {
		struct frame *v = &f->v[f->count++];
		uint8_t *start = f->bytes + f->used_bytes;
		struct pen p = { start, start + 400 };
		put_frame(d, &p, linktype);
		uint32_t length = (uint32_t)(p.at - start);
		if (length && dice_roll(d, 12) == 0) /* snapped */
			length = dice_roll(d, length + 1);
		if (length && dice_roll(d, 12) == 0) /* damaged */
			start[dice_roll(d, length)] ^= (uint8_t)(1u << dice_roll(d, 8));
		*v = (struct frame){ .ts_ns = f->count, .cap_len = length, .at = f->used_bytes, .linktype = linktype,
			             .wire_len = dice_roll(d, 3) ? length : length + dice_roll(d, 1600) };
		f->used_bytes += length;
	}
}

/* --- expressions --- */

struct text {
	char    *out;
	uint32_t room, used;
};

static __attribute__((format(printf, 2, 3))) void
add(struct text *t, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsnprintf(t->out + t->used, t->room - t->used, format, args);
	va_end(args);
	t->used += n > 0 ? (uint32_t)n : 0;
	if (t->used >= t->room)
		t->used = t->room - 1;
}

static const char *
any(struct dice *d, const char *const *of, uint32_t n)
{
	return of[dice_roll(d, n)];
}
#define ANY(d, array) any(d, array, sizeof(array) / sizeof((array)[0]))

static void
add_host(struct dice *d, struct text *t)
{
	static const char *const six[] = { "::", "::1", "fe80::1", "2001:db8::1", "ff02::2", "2001:db8::ffff:0:1" };
	uint32_t h = PICK(d, hosts);
	if (dice_roll(d, 4) == 0)
		add(t, "%s", ANY(d, six));
	else
		add(t, "%u.%u.%u.%u", h >> 24, h >> 16 & 255, h >> 8 & 255, h & 255);
}

static void
add_net(struct dice *d, struct text *t)
{
	static const char *const nets[] = { "10.0.0.0/8", "10", "10.1", "192.168.0.0/16", "0.0.0.0/0", "224.0.0.0/4",
		"10.0.0.0/30", "192.168.1.0 mask 255.255.255.0", "fe80::/10", "2001:db8::/32", "ff00::/8", "::/0", "8.8.8.8/32" };
	add(t, "%s", ANY(d, nets));
}

static void
add_value(struct dice *d, struct text *t, const char *type)
{
	if (strcmp(type, "host") == 0)
		add_host(d, t);
	else if (strcmp(type, "net") == 0)
		add_net(d, t);
	else if (strcmp(type, "portrange") == 0)
		add(t, "%u-%u", PICK(d, ports), PICK(d, ports));
	else
		add(t, "%u", PICK(d, ports));
}

static void
add_calculation(struct dice *d, struct text *t, unsigned depth)
{
	static const char *const layers[] = { "ip", "ip", "ip6", "tcp", "tcp", "udp", "icmp", "icmp6", "ether", "sctp", "arp" };
	static const char *const operators[] = { "+", "-", "&", "&", "&", "|", "<<", ">>", "*", "/", "%", "^" };
	static const uint32_t sizes[] = { 1, 2, 4 };
	switch (dice_roll(d, depth ? 7 : 4)) {
	case 0:
		add(t, "%u", dice_roll(d, 2) ? dice_roll(d, 70) : dice_roll(d, 65536));
		return;
	case 1:
		add(t, "len");
		return;
	case 4:
	case 5:
		add(t, "(");
		add_calculation(d, t, depth - 1);
		add(t, " %s ", ANY(d, operators));
		if (dice_roll(d, 2))
			add(t, "%u", dice_roll(d, 2) ? 1u << dice_roll(d, 16) : dice_roll(d, 31));
		else
			add_calculation(d, t, depth - 1);
		add(t, ")");
		return;
	default:
		add(t, "%s[%u", ANY(d, layers), dice_roll(d, dice_roll(d, 6) ? 21 : 45));
		if (dice_roll(d, 2))
			add(t, ":%u", PICK(d, sizes));
		add(t, "]");
	}
}

static void
add_leaf(struct dice *d, struct text *t)
{
	static const char *const alone[] = { "tcp", "udp", "icmp", "icmp6", "ip", "ip6", "arp", "rarp", "sctp", "igmp", "esp",
		"ether broadcast", "multicast", "ip multicast", "ip6 multicast", "pppoed", "tcp[13] & 2 != 0",
		"tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn", "len > 100", "less 60", "ip[8] = 64", "ip[6:2] & 0x1fff = 0" };
	static const char *const shifts[] = { "vlan", "vlan 100", "vlan", "mpls", "mpls 100", "pppoes", "vlan 1", "geneve" };
	static const char *const protocols[] = { "", "", "", "", "tcp ", "udp ", "ip ", "ip6 ", "arp ", "sctp " };
	static const char *const directions[] = { "", "", "src ", "dst ", "src or dst ", "src and dst " };
	static const char *const kinds[] = { "host", "host", "net", "port", "port", "port", "portrange" };
	static const char *const comparisons[] = { "=", "!=", "<", ">", "<=", ">=", "==" };
	static const char *const numbered[] = { "ip proto", "ip6 proto", "proto", "ether proto" };
	const char *kind = ANY(d, kinds);
	switch (dice_roll(d, 12)) {
	case 0:
	case 1:
		add(t, "%s", ANY(d, alone));
		return;
	case 2:
		add(t, "%s", ANY(d, shifts));
		return;
	case 3:
		add(t, "%s %u", ANY(d, numbered), dice_roll(d, 3) ? PICK(d, protos) : PICK(d, types));
		return;
	case 4:
	case 5:
	case 6:
		add_calculation(d, t, 2);
		add(t, " %s ", ANY(d, comparisons));
		add_calculation(d, t, dice_roll(d, 4) == 0);
		return;
	default:
		add(t, "%s%s%s ", strcmp(kind, "host") && strcmp(kind, "net") ? ANY(d, protocols) : "", ANY(d, directions), kind);
		add_value(d, t, kind);
		for (uint32_t more = dice_roll(d, 4) ? 0 : dice_roll(d, 3); more > 0; more--) {
			add(t, dice_roll(d, 3) ? " or " : " and ");
			add_value(d, t, kind);
		}
	}
}

static void
add_expression(struct dice *d, struct text *t, unsigned depth)
{
	if (depth == 0 || dice_roll(d, 3) == 0) {
		add_leaf(d, t);
		return;
	}
	uint32_t terms = 1 + dice_roll(d, 3);
	for (uint32_t i = 0; i < terms; i++) {
		bool open = dice_roll(d, 3) == 0;
		if (i)
			add(t, dice_roll(d, 2) ? " and " : " or ");
		if (dice_roll(d, 6) == 0)
			add(t, dice_roll(d, 2) ? "not " : "!");
		if (open)
			add(t, "(");
		add_expression(d, t, depth - 1);
		if (open)
			add(t, ")");
	}
}

void
make_expression(struct dice *d, char *out, uint32_t room)
{
	struct text t = { out, room, 0 };
	out[0] = '\0';
	add_expression(d, &t, 1 + dice_roll(d, 3));
}

struct listed *
read_expressions(char **text, uint32_t *count)
{
	char path[4096];
	const char *top = getenv("TOP");
	snprintf(path, sizeof path, "%s/tests/filters/expressions.txt", top ? top : ".");
	FILE *f = fopen(path, "rb");
	size_t n = 0, room = 1 << 20;
	*text = calloc(room, 1);
	struct listed *v = calloc(room / 2, sizeof *v);
	if (!f || !*text || !v || (n = fread(*text, 1, room - 1, f)) == 0)
		abort();
	fclose(f);
	*count = 0;
	for (char *line = *text, *end; line < *text + n; line = end + 1) {
		end = strchr(line, '\n');
		if (!end)
			end = line + strlen(line);
		*end = '\0';
		if (*line == '\0' || *line == '#')
			continue;
		bool marked = (*line == '!' || *line == '?') && line[1] == ' ';
		v[(*count)++] = (struct listed){ marked ? *line : ' ', line + (marked ? 2 : 0) };
	}
	return v;
}

/* --- libpcap --- */

bool
libpcap_compile(const char *expression, uint16_t linktype, struct bpf_program *out)
{
	uint8_t header[24] = { 0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, [18] = 4, [20] = (uint8_t)linktype, (uint8_t)(linktype >> 8) };
	char error[PCAP_ERRBUF_SIZE];
	FILE *f = fmemopen(header, sizeof header, "rb");
	pcap_t *p = f ? pcap_fopen_offline(f, error) : NULL;
	if (!p)
		abort();
	bool ok = pcap_compile(p, out, expression, 1, 0) == 0;
	if (!ok && strcmp(pcap_geterr(p), "expression rejects all packets") == 0) {
		*out = (struct bpf_program){ .bf_len = 0 };
		ok = true;
	}
	pcap_close(p);
	return ok;
}
