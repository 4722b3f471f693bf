#include "api/rawhead.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

/* One line without its CR LF. */
struct line {
	const uint8_t *at;
	size_t         n;
};

/* Fields of which a request has one at most (RFC 9110 and 6265); those that decide what a request is, and those that readers
 * disagree about when there are two. */
static const char *const singletons[] = {
	"host", "content-length", "content-type", "authorization", "proxy-authorization", "user-agent", "referer", "origin", "from",
	"range", "if-range", "if-modified-since", "if-unmodified-since", "max-forwards", "date", "cookie",
};
#define SINGLETONS (sizeof singletons / sizeof *singletons)
_Static_assert(SINGLETONS <= 32, "seen is one word");
#define HOST 0
#define CONTENT_LENGTH 1

static bool
is_token(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static bool
is_value(uint8_t c)
{
	return c == '\t' || (c >= ' ' && c != 0x7f);
}

/* The line at *at: 1 whole (and *at behind it), 0 not whole yet, -1 a byte that no line has. */
static int
line_take(const uint8_t *bytes, size_t n, size_t *at, struct line *line)
{
	size_t i = *at;
	while (i < n && is_value(bytes[i]))
		i++;
	if (i == n)
		return 0;
	if (bytes[i] != '\r' || (i + 1 < n && bytes[i + 1] != '\n'))
		return -1;
	if (i + 1 == n)
		return 0;
	*line = (struct line){ bytes + *at, i - *at };
	*at = i + 2;
	return 1;
}

static unsigned
request_line(struct line l, bool *http11)
{
	size_t method = 0, target;
	while (method < l.n && is_token(l.at[method]))
		method++;
	if (method == 0 || method == l.n || l.at[method] != ' ')
		return 400;
	const uint8_t *path = l.at + method + 1, *end = l.at + l.n;
	for (target = 0; path + target < end && path[target] > ' ' && path[target] < 0x7f && path[target] != '#'; target++)
		;
	const uint8_t *version = path + target;
	if (target == 0 || end - version != 9 || memcmp(version, " HTTP/", 6) != 0 || version[7] != '.')
		return target > RAWHEAD_TARGET_MAX ? 414 : 400;
	if (version[6] != '1' || (version[8] != '0' && version[8] != '1'))
		return 505;
	*http11 = version[8] == '1';
	if (!((method == 3 && memcmp(l.at, "GET", 3) == 0) || (method == 4 && memcmp(l.at, "HEAD", 4) == 0)))
		return 405;
	if (*path != '/')
		return 400;
	return target > RAWHEAD_TARGET_MAX ? 414 : RAWHEAD_GOOD;
}

static bool
named(struct line l, size_t n, const char *name)
{
	return strlen(name) == n && strncasecmp((const char *)l.at, name, n) == 0;
}

static unsigned
host_check(const uint8_t *value, size_t n)
{
	if (n == 0 || n > 255)
		return 400;
	for (size_t i = 0; i < n; i++)
		if (!((value[i] >= '0' && value[i] <= '9') || (value[i] >= 'A' && value[i] <= 'Z') || (value[i] >= 'a' && value[i] <= 'z') ||
		      memchr(".-_:[]", value[i], 6)))
			return 400;
	return RAWHEAD_GOOD;
}

/* Without blanks before and after. */
static struct line
value_of(struct line l, size_t name)
{
	struct line v = { l.at + name + 1, l.n - name - 1 };
	while (v.n > 0 && (*v.at == ' ' || *v.at == '\t')) {
		v.at++;
		v.n--;
	}
	while (v.n > 0 && (v.at[v.n - 1] == ' ' || v.at[v.n - 1] == '\t'))
		v.n--;
	return v;
}

/* One field; *seen: which singletons there were. */
static unsigned
field(struct line l, uint32_t *seen)
{
	size_t name = 0;
	while (name < l.n && is_token(l.at[name]))
		name++;
	if (name == 0 || name == l.n || l.at[name] != ':') /* a folded line, too */
		return 400;
	struct line v = value_of(l, name);
	if (named(l, name, "transfer-encoding"))
		return 501;
	if (named(l, name, "expect"))
		return 417;
	for (uint32_t i = 0; i < SINGLETONS; i++) {
		if (!named(l, name, singletons[i]))
			continue;
		if (*seen & 1u << i)
			return 400;
		*seen |= 1u << i;
		if (i == HOST)
			return host_check(v.at, v.n);
		if (i == CONTENT_LENGTH && !(v.n == 1 && *v.at == '0'))
			return 413;
	}
	return RAWHEAD_GOOD;
}

unsigned
rawhead_check(const uint8_t *bytes, size_t n, size_t *head_bytes)
{
	struct line l;
	bool http11 = false;
	uint32_t seen = 0;
	size_t at = 0;
	bool long_enough = n >= RAWHEAD_BYTES_MAX;
	if (long_enough)
		n = RAWHEAD_BYTES_MAX;
	int whole = line_take(bytes, n, &at, &l);
	unsigned status = whole > 0 ? request_line(l, &http11) : whole < 0 ? 400 : long_enough ? 414 : RAWHEAD_MORE;
	for (unsigned fields = 0; status == RAWHEAD_GOOD; fields++) {
		whole = line_take(bytes, n, &at, &l);
		if (whole < 0)
			return 400;
		if (whole == 0)
			return long_enough ? 431 : RAWHEAD_MORE;
		if (l.n == 0)
			break;
		status = fields == RAWHEAD_FIELDS_MAX ? 431 : field(l, &seen);
	}
	if (status == RAWHEAD_GOOD && http11 && !(seen & 1u << HOST))
		return 400;
	if (status == RAWHEAD_GOOD)
		*head_bytes = at;
	return status;
}

/* HOST, HOST:PORT, or an IPv6 address in brackets. */
static bool
is_local(struct line v)
{
	char host[256];
	struct in_addr address;
	if (v.n > 0 && *v.at == '[')
		return true;
	size_t n = 0;
	while (n < v.n && v.at[n] != ':')
		n++;
	if (n >= sizeof host)
		return false;
	memcpy(host, v.at, n);
	host[n] = 0;
	return strcasecmp(host, "localhost") == 0 || inet_pton(AF_INET, host, &address) == 1;
}

bool
rawhead_is_local(const uint8_t *bytes, size_t head_bytes)
{
	struct line l;
	size_t at = 0;
	while (line_take(bytes, head_bytes, &at, &l) > 0 && at < head_bytes)
		if (l.n > 5 && l.at[4] == ':' && named(l, 4, "host"))
			return is_local(value_of(l, 4));
	return true;
}
