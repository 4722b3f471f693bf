#include "query/filter_lex.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"

struct entry {
	const char *word;
	uint16_t    kind;
	uint16_t    number;
};

static const struct entry words[] = {
	{ "dst", WORD_DST, 0 }, { "src", WORD_SRC, 0 },
	{ "link", WORD_PROTOCOL, PROTOCOL_LINK }, { "ether", WORD_PROTOCOL, PROTOCOL_LINK },
	{ "ppp", WORD_PROTOCOL, PROTOCOL_LINK }, { "slip", WORD_PROTOCOL, PROTOCOL_LINK },
	{ "fddi", WORD_PROTOCOL, PROTOCOL_LINK }, { "tr", WORD_PROTOCOL, PROTOCOL_LINK },
	{ "wlan", WORD_PROTOCOL, PROTOCOL_LINK },
	{ "arp", WORD_PROTOCOL, PROTOCOL_ARP }, { "rarp", WORD_PROTOCOL, PROTOCOL_RARP },
	{ "ip", WORD_PROTOCOL, PROTOCOL_IP }, { "sctp", WORD_PROTOCOL, PROTOCOL_SCTP },
	{ "tcp", WORD_PROTOCOL, PROTOCOL_TCP }, { "udp", WORD_PROTOCOL, PROTOCOL_UDP },
	{ "icmp", WORD_PROTOCOL, PROTOCOL_ICMP }, { "igmp", WORD_PROTOCOL, PROTOCOL_IGMP },
	{ "igrp", WORD_PROTOCOL, PROTOCOL_IGRP }, { "pim", WORD_PROTOCOL, PROTOCOL_PIM },
	{ "vrrp", WORD_PROTOCOL, PROTOCOL_VRRP }, { "carp", WORD_PROTOCOL, PROTOCOL_VRRP },
	{ "radio", WORD_PROTOCOL, PROTOCOL_OTHER },
	{ "ip6", WORD_PROTOCOL, PROTOCOL_IP6 }, { "icmp6", WORD_PROTOCOL, PROTOCOL_ICMP6 },
	{ "ah", WORD_PROTOCOL, PROTOCOL_AH }, { "esp", WORD_PROTOCOL, PROTOCOL_ESP },
	{ "atalk", WORD_PROTOCOL, PROTOCOL_OTHER }, { "aarp", WORD_PROTOCOL, PROTOCOL_OTHER },
	{ "decnet", WORD_PROTOCOL, PROTOCOL_OTHER }, { "lat", WORD_PROTOCOL, PROTOCOL_OTHER },
	{ "sca", WORD_PROTOCOL, PROTOCOL_OTHER }, { "moprc", WORD_PROTOCOL, PROTOCOL_OTHER },
	{ "mopdl", WORD_PROTOCOL, PROTOCOL_OTHER }, { "iso", WORD_PROTOCOL, PROTOCOL_OTHER },
	{ "esis", WORD_PROTOCOL, PROTOCOL_OTHER }, { "es-is", WORD_PROTOCOL, PROTOCOL_OTHER },
	{ "isis", WORD_PROTOCOL, PROTOCOL_OTHER }, { "is-is", WORD_PROTOCOL, PROTOCOL_OTHER },
	{ "l1", WORD_PROTOCOL, PROTOCOL_OTHER }, { "l2", WORD_PROTOCOL, PROTOCOL_OTHER },
	{ "iih", WORD_PROTOCOL, PROTOCOL_OTHER }, { "lsp", WORD_PROTOCOL, PROTOCOL_OTHER },
	{ "snp", WORD_PROTOCOL, PROTOCOL_OTHER }, { "csnp", WORD_PROTOCOL, PROTOCOL_OTHER },
	{ "psnp", WORD_PROTOCOL, PROTOCOL_OTHER }, { "clnp", WORD_PROTOCOL, PROTOCOL_OTHER },
	{ "stp", WORD_PROTOCOL, PROTOCOL_OTHER }, { "ipx", WORD_PROTOCOL, PROTOCOL_OTHER },
	{ "netbeui", WORD_PROTOCOL, PROTOCOL_OTHER },
	{ "host", WORD_HOST, 0 }, { "net", WORD_NET, 0 }, { "mask", WORD_MASK, 0 }, { "port", WORD_PORT, 0 },
	{ "portrange", WORD_PORTRANGE, 0 }, { "proto", WORD_PROTO, 0 }, { "protochain", WORD_PROTOCHAIN, 0 },
	{ "gateway", WORD_GATEWAY, 0 },
	{ "type", WORD_TYPE, 0 }, { "subtype", WORD_SUBTYPE, 0 }, { "direction", WORD_DIR, 0 }, { "dir", WORD_DIR, 0 },
	{ "address1", WORD_WLAN_ADDRESS, 0 }, { "addr1", WORD_WLAN_ADDRESS, 0 }, { "address2", WORD_WLAN_ADDRESS, 0 },
	{ "addr2", WORD_WLAN_ADDRESS, 0 }, { "address3", WORD_WLAN_ADDRESS, 0 }, { "addr3", WORD_WLAN_ADDRESS, 0 },
	{ "address4", WORD_WLAN_ADDRESS, 0 }, { "addr4", WORD_WLAN_ADDRESS, 0 }, { "ra", WORD_WLAN_ADDRESS, 0 },
	{ "ta", WORD_WLAN_ADDRESS, 0 },
	{ "less", WORD_LESS, 0 }, { "greater", WORD_GREATER, 0 }, { "byte", WORD_BYTE, 0 },
	{ "broadcast", WORD_BROADCAST, 0 }, { "multicast", WORD_MULTICAST, 0 },
	{ "and", WORD_AND, 0 }, { "or", WORD_OR, 0 }, { "not", '!', 0 },
	{ "len", WORD_LEN, 0 }, { "length", WORD_LEN, 0 }, { "inbound", WORD_BOUND, 0 }, { "outbound", WORD_BOUND, 0 },
	{ "ifindex", WORD_IFINDEX, 0 },
	{ "vlan", WORD_VLAN, 0 }, { "mpls", WORD_MPLS, 0 }, { "pppoed", WORD_PPPOED, 0 }, { "pppoes", WORD_PPPOES, 0 },
	{ "geneve", WORD_GENEVE, 0 },
	{ "lane", WORD_ALONE, 0 }, { "llc", WORD_LLC, 0 }, { "metac", WORD_ALONE, 0 }, { "bcc", WORD_ALONE, 0 },
	{ "oam", WORD_ALONE, 0 }, { "oamf4", WORD_ALONE, 0 }, { "oamf4ec", WORD_ALONE, 0 }, { "oamf4sc", WORD_ALONE, 0 },
	{ "sc", WORD_ALONE, 0 }, { "ilmic", WORD_ALONE, 0 }, { "vpi", WORD_FIELD, 0 }, { "vci", WORD_FIELD, 0 },
	{ "connectmsg", WORD_ALONE, 0 }, { "metaconnect", WORD_ALONE, 0 },
	{ "on", WORD_PF_NAME, 0 }, { "ifname", WORD_PF_NAME, 0 }, { "rset", WORD_PF_NAME, 0 }, { "ruleset", WORD_PF_NAME, 0 },
	{ "rnr", WORD_PF_RULE, 0 }, { "rulenum", WORD_PF_RULE, 0 }, { "srnr", WORD_PF_SUBRULE, 0 },
	{ "subrulenum", WORD_PF_SUBRULE, 0 }, { "reason", WORD_PF_REASON, 0 }, { "action", WORD_PF_ACTION, 0 },
	{ "fisu", WORD_ALONE, 0 }, { "lssu", WORD_ALONE, 0 }, { "lsu", WORD_ALONE, 0 }, { "msu", WORD_ALONE, 0 },
	{ "hfisu", WORD_ALONE, 0 }, { "hlssu", WORD_ALONE, 0 }, { "hmsu", WORD_ALONE, 0 },
	{ "sio", WORD_FIELD, 0 }, { "opc", WORD_FIELD, 0 }, { "dpc", WORD_FIELD, 0 }, { "sls", WORD_FIELD, 0 },
	{ "hsio", WORD_FIELD, 0 }, { "hopc", WORD_FIELD, 0 }, { "hdpc", WORD_FIELD, 0 }, { "hsls", WORD_FIELD, 0 },
	{ "icmptype", WORD_NUMBER, 0 }, { "icmpcode", WORD_NUMBER, 1 }, { "icmp-echoreply", WORD_NUMBER, 0 },
	{ "icmp-unreach", WORD_NUMBER, 3 }, { "icmp-sourcequench", WORD_NUMBER, 4 }, { "icmp-redirect", WORD_NUMBER, 5 },
	{ "icmp-echo", WORD_NUMBER, 8 }, { "icmp-routeradvert", WORD_NUMBER, 9 }, { "icmp-routersolicit", WORD_NUMBER, 10 },
	{ "icmp-timxceed", WORD_NUMBER, 11 }, { "icmp-paramprob", WORD_NUMBER, 12 }, { "icmp-tstamp", WORD_NUMBER, 13 },
	{ "icmp-tstampreply", WORD_NUMBER, 14 }, { "icmp-ireq", WORD_NUMBER, 15 }, { "icmp-ireqreply", WORD_NUMBER, 16 },
	{ "icmp-maskreq", WORD_NUMBER, 17 }, { "icmp-maskreply", WORD_NUMBER, 18 },
	{ "icmp6type", WORD_NUMBER, 0 }, { "icmp6code", WORD_NUMBER, 1 },
	{ "icmp6-destinationunreach", WORD_NUMBER, 1 }, { "icmp6-packettoobig", WORD_NUMBER, 2 },
	{ "icmp6-timeexceeded", WORD_NUMBER, 3 }, { "icmp6-parameterproblem", WORD_NUMBER, 4 },
	{ "icmp6-echo", WORD_NUMBER, 128 }, { "icmp6-echoreply", WORD_NUMBER, 129 },
	{ "icmp6-multicastlistenerquery", WORD_NUMBER, 130 }, { "icmp6-multicastlistenerreportv1", WORD_NUMBER, 131 },
	{ "icmp6-multicastlistenerdone", WORD_NUMBER, 132 }, { "icmp6-routersolicit", WORD_NUMBER, 133 },
	{ "icmp6-routeradvert", WORD_NUMBER, 134 }, { "icmp6-neighborsolicit", WORD_NUMBER, 135 },
	{ "icmp6-neighboradvert", WORD_NUMBER, 136 }, { "icmp6-redirect", WORD_NUMBER, 137 },
	{ "icmp6-routerrenum", WORD_NUMBER, 138 }, { "icmp6-nodeinformationquery", WORD_NUMBER, 139 },
	{ "icmp6-nodeinformationresponse", WORD_NUMBER, 140 }, { "icmp6-ineighbordiscoverysolicit", WORD_NUMBER, 141 },
	{ "icmp6-ineighbordiscoveryadvert", WORD_NUMBER, 142 }, { "icmp6-multicastlistenerreportv2", WORD_NUMBER, 143 },
	{ "icmp6-homeagentdiscoveryrequest", WORD_NUMBER, 144 }, { "icmp6-homeagentdiscoveryreply", WORD_NUMBER, 145 },
	{ "icmp6-mobileprefixsolicit", WORD_NUMBER, 146 }, { "icmp6-mobileprefixadvert", WORD_NUMBER, 147 },
	{ "icmp6-certpathsolicit", WORD_NUMBER, 148 }, { "icmp6-certpathadvert", WORD_NUMBER, 149 },
	{ "icmp6-multicastrouteradvert", WORD_NUMBER, 151 }, { "icmp6-multicastroutersolicit", WORD_NUMBER, 152 },
	{ "icmp6-multicastrouterterm", WORD_NUMBER, 153 },
	{ "tcpflags", WORD_NUMBER, 13 }, { "tcp-fin", WORD_NUMBER, 0x01 }, { "tcp-syn", WORD_NUMBER, 0x02 },
	{ "tcp-rst", WORD_NUMBER, 0x04 }, { "tcp-push", WORD_NUMBER, 0x08 }, { "tcp-ack", WORD_NUMBER, 0x10 },
	{ "tcp-urg", WORD_NUMBER, 0x20 }, { "tcp-ece", WORD_NUMBER, 0x40 }, { "tcp-cwr", WORD_NUMBER, 0x80 },
};
#define WORD_COUNT (sizeof words / sizeof words[0])

/* ASCII only, whatever the locale. */
static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool
is_name(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The lengths of what each rule matches at s (NUL-terminated); 0: nothing. */

static uint32_t
number_length(const char *s)
{
	uint32_t n = 0;
	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X') && is_hex(s[2])) {
		for (n = 3; is_hex(s[n]);)
			n++;
		return n;
	}
	while (is_digit(s[n]))
		n++;
	return n;
}

static uint32_t
name_length(const char *s)
{
	uint32_t n = 0;
	if (s[0] == '\\') {
		for (n = 1; s[n] && !strchr(" !()\n\t", s[n]);)
			n++;
		return n > 1 ? n : 0;
	}
	if (!is_name(s[0]))
		return 0;
	while (is_name(s[n]) || s[n] == '-' || s[n] == '_' || s[n] == '.')
		n++;
	while (n > 1 && (s[n - 1] == '-' || s[n - 1] == '_'))
		n--;
	return n;
}

static uint32_t
ip4_length(const char *s)
{
	uint32_t n = number_length(s), best = 0;
	for (int part = 1; n && part < 4 && s[n] == '.'; part++) {
		uint32_t more = number_length(s + n + 1);
		if (!more)
			break;
		n += 1 + more;
		best = n;
	}
	return best;
}

/* Six groups of one or two hex digits with one separator, three of four, or twelve digits in a row. */
static uint32_t
mac_length(const char *s)
{
	static const char separators[] = ":-.";
	for (const char *c = separators; *c; c++) {
		uint32_t n = 0;
		int group = 0;
		for (; group < 6 && is_hex(s[n]); group++) {
			n += is_hex(s[n + 1]) ? 2 : 1;
			if (group < 5 && s[n] != *c)
				break;
			if (group < 5)
				n++;
		}
		if (group == 6)
			return n;
	}
	uint32_t run = 0;
	while (run < 12 && is_hex(s[run]))
		run++;
	if (run == 12)
		return 12;
	for (uint32_t group = 0; group < 3; group++) {
		for (uint32_t i = 0; i < 4; i++)
			if (!is_hex(s[group * 5 + i]))
				return 0;
		if (group < 2 && s[group * 5 + 4] != '.')
			return 0;
	}
	return 14;
}

/* True when all n bytes are one IPv6 address as RFC 4291, section 2.2, writes it (zones and prefixes are not part). */
static bool
is_ip6(const char *s, uint32_t n)
{
	uint32_t at = 0, groups = 0;
	bool gap = false, tail = false;
	if (n < 2)
		return false;
	if (s[0] == ':' && s[1] != ':')
		return false;
	while (at < n) {
		if (s[at] == ':' && at + 1 < n && s[at + 1] == ':' && !gap) {
			gap = true;
			at += 2;
			continue;
		}
		if (s[at] == ':') {
			if (at == 0 || s[at - 1] == ':' || at + 1 >= n || !is_hex(s[at + 1]))
				return false;
			at++;
		}
		uint32_t digits = 0;
		while (at + digits < n && is_hex(s[at + digits]))
			digits++;
		if (at + digits < n && (s[at + digits] == '.' || s[at + digits] == 'x' || s[at + digits] == 'X')) {
			tail = ip4_length(s + at) == n - at;
			if (!tail)
				return false;
			break;
		}
		if (digits == 0 || digits > 4)
			return false;
		groups++;
		at += digits;
	}
	groups += tail ? 2 : 0;
	return gap ? groups <= 7 : groups == 8;
}

static uint32_t
ip6_length(const char *s)
{
	uint32_t run = 0;
	bool colon = false;
	while (run < 128 && (is_hex(s[run]) || s[run] == ':' || s[run] == '.' || s[run] == 'x' || s[run] == 'X')) {
		colon |= s[run] == ':';
		run++;
	}
	if (!colon)
		return 0;
	for (uint32_t n = run; n >= 2; n--)
		if (is_ip6(s, n))
			return n;
	return 0;
}

/* xx:xx:xx and the like that is no address: libpcap takes it for a wrong Ethernet address. */
static uint32_t
colons_length(const char *s)
{
	uint32_t n = 0, groups = 0, end = 0;
	for (;;) {
		if (!is_hex(s[n]))
			break;
		n += is_hex(s[n + 1]) ? 2 : 1;
		if (++groups >= 3)
			end = n;
		if (s[n] != ':')
			break;
		while (s[n] == ':')
			n++;
	}
	return end;
}

static const struct entry *
find_word(const char *s, uint32_t n)
{
	for (uint32_t i = 0; i < WORD_COUNT; i++)
		if (strlen(words[i].word) == n && memcmp(words[i].word, s, n) == 0)
			return &words[i];
	return NULL;
}

static uint32_t
cut_operator(const char *s, struct token *t)
{
	static const struct {
		char text[3];
		uint16_t kind;
	} pairs[] = {
		{ "&&", WORD_AND }, { "||", WORD_OR }, { ">=", WORD_GE }, { "<=", WORD_LE },
		{ "!=", WORD_NE }, { "==", '=' }, { "<<", WORD_LEFT }, { ">>", WORD_RIGHT },
	};
	for (uint32_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
		if (s[0] == pairs[i].text[0] && s[1] == pairs[i].text[1]) {
			t->kind = pairs[i].kind;
			return 2;
		}
	}
	if (strchr("+-*/%:[]!<>()&|^=", s[0])) {
		t->kind = (uint16_t)s[0];
		return 1;
	}
	if (s[0] == '$' && is_hex(s[1])) {
		t->kind = WORD_ARCNET;
		return is_hex(s[2]) ? 3 : 2;
	}
	t->kind = WORD_BAD;
	return 1;
}

static enum err
number_value(const char *s, uint32_t n, uint32_t at, uint32_t *out)
{
	unsigned base = n > 1 && (s[1] == 'x' || s[1] == 'X') ? 16 : s[0] == '0' ? 8 : 10;
	uint64_t value = 0;
	for (uint32_t i = base == 16 ? 2 : 0; i < n; i++) {
		unsigned digit = is_digit(s[i]) ? (unsigned)(s[i] - '0') : (unsigned)((s[i] | 32) - 'a' + 10);
		if (digit >= base)
			return fail(ERR_USAGE, "filter, column %u: %.*s starts with 0, so it is octal, and %c is no octal digit",
			            at + 1, (int)n, s, s[i]);
		value = value * base + digit;
		if (value > UINT32_MAX)
			return fail(ERR_USAGE, "filter, column %u: %.*s is larger than 32 bits hold", at + 1,
			            (int)(n < 40 ? n : 40), s);
	}
	*out = (uint32_t)value;
	return OK;
}

static enum err
cut_one(const char *text, uint32_t at, struct token *t)
{
	const char *s = text + at;
	*t = (struct token){ .at = at };
	const struct {
		uint32_t n;
		uint16_t kind;
	} rules[] = { /* in the scanner's order */
		{ mac_length(s), WORD_MAC }, { number_length(s), WORD_NUMBER }, { ip4_length(s), WORD_IP4 },
		{ ip6_length(s), WORD_IP6 }, { colons_length(s), WORD_MAC }, { name_length(s), WORD_NAME },
	};
	for (uint32_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
		if (rules[i].n > t->len) {
			t->len = rules[i].n;
			t->kind = rules[i].kind;
		}
	}
	if (t->len == 0) {
		t->len = cut_operator(s, t);
		return OK;
	}
	/* A keyword comes before every other rule of the same length. */
	const struct entry *e = find_word(s, t->len);
	if (e) {
		t->kind = e->kind;
		t->number = e->number;
		return OK;
	}
	return t->kind == WORD_NUMBER ? number_value(s, t->len, at, &t->number) : OK;
}

enum err
filter_cut(const char *text, struct token **out, uint32_t *count)
{
	size_t n = strnlen(text, FILTER_TEXT_BYTES_MAX + 1);
	if (n > FILTER_TEXT_BYTES_MAX)
		return fail(ERR_LIMIT, "filter: longer than %u bytes", FILTER_TEXT_BYTES_MAX);
	struct token *tokens = calloc(n + 1, sizeof *tokens);
	if (!tokens)
		return fail(ERR_NOMEM, "filter: no memory for %zu bytes", n);
	uint32_t used = 0, at = 0;
	while (at < n) {
		if (strchr(" \r\n\t", text[at])) {
			at++;
			continue;
		}
		enum err e = cut_one(text, at, &tokens[used]);
		if (e != OK) {
			free(tokens);
			return e;
		}
		at += tokens[used++].len;
	}
	tokens[used] = (struct token){ .kind = WORD_END, .at = (uint32_t)n };
	*out = tokens;
	*count = used + 1;
	return OK;
}

const char *
filter_word(uint32_t i)
{
	return i < WORD_COUNT ? words[i].word : NULL;
}

/* Edits (insert, delete, replace, swap of neighbours) from a to b, both shorter than 32. */
static uint32_t
edits(const char *a, uint32_t an, const char *b, uint32_t bn)
{
	uint8_t d[33][33];
	for (uint32_t i = 0; i <= an; i++)
		d[i][0] = (uint8_t)i;
	for (uint32_t j = 0; j <= bn; j++)
		d[0][j] = (uint8_t)j;
	for (uint32_t i = 1; i <= an; i++) {
		for (uint32_t j = 1; j <= bn; j++) {
			uint32_t same = tolower((unsigned char)a[i - 1]) == b[j - 1] ? 0 : 1;
			uint32_t best = d[i - 1][j - 1] + same;
			if (d[i - 1][j] + 1u < best)
				best = d[i - 1][j] + 1u;
			if (d[i][j - 1] + 1u < best)
				best = d[i][j - 1] + 1u;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1u < best)
				best = d[i - 2][j - 2] + 1u;
			d[i][j] = (uint8_t)best;
		}
	}
	return d[an][bn];
}

const char *
filter_near_word(const char *word, uint32_t n)
{
	const char *found = NULL;
	uint32_t least = n <= 3 ? 2 : 3; /* short words: one edit, longer ones two */
	if (n == 0 || n > 31)
		return NULL;
	for (uint32_t i = 0; i < WORD_COUNT; i++) {
		uint32_t length = (uint32_t)strlen(words[i].word);
		if (length > 31 || length < 2)
			continue;
		uint32_t distance = edits(word, n, words[i].word, length);
		if (distance < least) {
			least = distance;
			found = words[i].word;
		}
	}
	return found;
}
