#include "anonymize/policy.h"

#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "anonymize/policy_check.h"
#include "base/amount.h"
#include "base/human.h"
#include "base/options.h"
#include "base/text.h"

enum type {
	TYPE_rule, TYPE_scheme4, TYPE_scheme6, TYPE_prefixes, TYPE_name, TYPE_text, TYPE_version, TYPE_depth, TYPE_bytes, TYPE_hosts,
	TYPE_limit, TYPE_size, TYPE_quantum,
};
enum part { PART_rule, PART_words, PART_own };

static const struct setting {
	struct policy_setting shown;
	enum type type;
	enum part part;
	size_t    at; /* in struct policy */
} settings[] = {
#define F(section, key, part, type, values, otherwise, sentence)                                        \
	{ { #section, #key, values, otherwise, sentence, PART_##part != PART_own }, TYPE_##type, PART_##part, \
	  offsetof(struct policy, section##_##key) },
	POLICY_SETTINGS(F)
#undef F
};
_Static_assert(sizeof settings / sizeof *settings == POLICY_SETTING_COUNT, "policy_check.h counts the same table");

static const struct ini_name setting_names[] = {
#define F(section, key, part, type, values, otherwise, sentence) { #section, #key },
	POLICY_SETTINGS(F)
#undef F
	{ NULL, NULL },
};

static const char *const rules[POLICY_RULE_COUNT] = {
#define F(id, word) word,
	POLICY_RULES(F)
#undef F
};

/* What a number may be, and what a larger one does. */
static const struct number {
	uint64_t least, most;
	bool     endless; /* 0: no limit, so more than any other */
	enum policy_change larger;
} numbers[] = {
	[TYPE_version] = { POLICY_VERSION, POLICY_VERSION, false, POLICY_OTHER },
	[TYPE_depth] = { 0, 4, false, POLICY_MORE },
	[TYPE_bytes] = { 0, 65535, false, POLICY_MORE },
	[TYPE_hosts] = { 0, 65535, false, POLICY_LESS },
	[TYPE_limit] = { 0, UINT64_MAX, true, POLICY_MORE },
	[TYPE_size] = { 0, UINT64_MAX, true, POLICY_MORE },
	[TYPE_quantum] = { 1, 3600ull * 1000000000, false, POLICY_LESS },
};

/* --- values --- */

static enum err
rule_parse(enum policy_rule *out, const struct policy_setting *s, const char *text)
{
	size_t n = strlen(text);
	char shown[64];
	for (const char *at = s->values; *at;) {
		size_t length = strcspn(at, "|");
		if (length == n && memcmp(at, text, n) == 0)
			for (unsigned i = 0; i < POLICY_RULE_COUNT; i++)
				if (strcmp(rules[i], text) == 0) {
					*out = (enum policy_rule)i;
					return OK;
				}
		at += length + (at[length] == '|');
	}
	return fail(ERR_USAGE, "%s: \"%s\" is none of %s", s->key, human_text(shown, sizeof shown, text), s->values);
}

static enum err
scheme_read(struct scheme *out, const char *key, const char *text, enum family family)
{
	unsigned most = family == FAMILY_IP4 ? POLICY_TRUNCATE4_MAX : POLICY_TRUNCATE6_MAX;
	struct scheme s;
	if (scheme_parse(&s, text, family) != OK)
		return fail_prefix(ERR_USAGE, "%s: ", key);
	if (s.kind == SCHEME_TRUNCATE && s.bits > most)
		return fail(ERR_USAGE, "%s: truncate/%u leaves networks so small that they name their hosts; at most truncate/%u", key,
		            s.bits, most);
	if (s.kind == SCHEME_TRUNCATE && s.bits == 0)
		s = (struct scheme){ .kind = SCHEME_DROP };
	*out = s;
	return OK;
}

/* ADDRESS/BITS, ADDRESS */
static enum err
prefix_parse(struct policy_prefix *out, const char *text, const char *what)
{
	struct policy_prefix p = { .family = strchr(text, ':') ? FAMILY_IP6 : FAMILY_IP4 };
	unsigned width = p.family == FAMILY_IP6 ? 128 : 32;
	char address[INET6_ADDRSTRLEN], shown[64];
	uint64_t bits = width;
	size_t n = strcspn(text, "/");
	human_text(shown, sizeof shown, text);
	if (n < sizeof address) {
		memcpy(address, text, n);
		address[n] = 0;
	}
	if (n >= sizeof address || inet_pton(width == 128 ? AF_INET6 : AF_INET, address, p.address) != 1 ||
	    (text[n] == '/' && number_parse(&bits, text + n + 1, what) != OK) || bits > width)
		return fail(ERR_USAGE, "%s: \"%s\" is not a prefix, like 192.0.2.0/24 or 2001:db8::/32", what, shown);
	for (unsigned i = (unsigned)bits; i < width; i++)
		if (p.address[i / 8] & 0x80 >> i % 8)
			return fail(ERR_USAGE, "%s: \"%s\" has bits set behind the first %u", what, shown, (unsigned)bits);
	p.bits = (uint8_t)bits;
	*out = p;
	return OK;
}

static int
prefix_order(const void *a, const void *b)
{
	const struct policy_prefix *p = a, *q = b;
	int order = memcmp(p->address, q->address, sizeof p->address);
	return p->family != q->family ? p->family - q->family : order ? order : p->bits - q->bits;
}

/* PREFIX, PREFIX, ... in any order; those that are the same become one. */
static enum err
prefixes_parse(struct policy_prefixes *out, const char *text, const char *what)
{
	struct policy_prefixes all = { 0 };
	char item[64];
	while (*text) {
		size_t n = strcspn(text, ","), from = strspn(text, " \t"), until = n;
		while (until > from && (text[until - 1] == ' ' || text[until - 1] == '\t'))
			until--;
		if (all.count == POLICY_PREFIXES_MAX)
			return fail(ERR_USAGE, "%s: more than %u prefixes", what, POLICY_PREFIXES_MAX);
		if (from >= until || until - from >= sizeof item)
			return fail(ERR_USAGE, "%s: a list of prefixes is written 192.0.2.0/24, 2001:db8::/32", what);
		memcpy(item, text + from, until - from);
		item[until - from] = 0;
		TRY(prefix_parse(&all.list[all.count++], item, what));
		text += n;
		if (*text == ',' && *++text == 0)
			return fail(ERR_USAGE, "%s: nothing stands behind the last comma", what);
	}
	qsort(all.list, all.count, sizeof *all.list, prefix_order);
	uint32_t kept = 0;
	for (uint32_t i = 0; i < all.count; i++)
		if (kept == 0 || prefix_order(&all.list[kept - 1], &all.list[i]) != 0)
			all.list[kept++] = all.list[i];
	memset(all.list + kept, 0, (all.count - kept) * sizeof *all.list);
	all.count = kept;
	*out = all;
	return OK;
}

/* Into room bytes, zeros behind it. */
static enum err
words_parse(char *out, size_t room, const char *text, const char *what)
{
	size_t n = strlen(text);
	if (n >= room)
		return fail(ERR_USAGE, "%s: longer than %zu bytes", what, room - 1);
	memset(out, 0, room);
	memcpy(out, text, n);
	return OK;
}

/* A part of keys and of file names: what looks the same has to be the same. */
enum err
policy_name_parse(char out[POLICY_NAME_BYTES], const char *text, const char *what)
{
	char shown[64];
	for (const char *at = text; *at; at++)
		if (!(*at >= 'a' && *at <= 'z') && !(*at >= 'A' && *at <= 'Z') && !(*at >= '0' && *at <= '9') && !strchr("._-@", *at))
			return fail(ERR_USAGE, "%s: \"%s\" is not a name: letters of ASCII, digits, . _ - @", what,
			            human_text(shown, sizeof shown, text));
	return words_parse(out, POLICY_NAME_BYTES, text, what);
}

static enum err
quantity_parse(uint64_t *out, const struct setting *s, const char *text)
{
	const struct number *n = &numbers[s->type];
	const char *key = s->shown.key;
	uint64_t v;
	if (s->type == TYPE_quantum)
		TRY(duration_parse(&v, text, key));
	else if (s->type == TYPE_size)
		TRY(size_parse(&v, text, key));
	else
		TRY(number_parse(&v, text, key));
	if (s->type == TYPE_version && v != POLICY_VERSION)
		return fail(ERR_USAGE, "version: %" PRIu64 " is not known to this program, which reads version %u", v, POLICY_VERSION);
	if (v < n->least || v > n->most)
		return fail(ERR_USAGE, "%s: %s is not in %s", key, text, s->shown.values);
	*out = v;
	return OK;
}

static enum err
value_parse(const struct setting *s, struct policy *p, const char *text)
{
	void *at = (char *)p + s->at;
	switch (s->type) {
	case TYPE_rule:
		return rule_parse(at, &s->shown, text);
	case TYPE_scheme4:
		return scheme_read(at, s->shown.key, text, FAMILY_IP4);
	case TYPE_scheme6:
		return scheme_read(at, s->shown.key, text, FAMILY_IP6);
	case TYPE_prefixes:
		return prefixes_parse(at, text, s->shown.key);
	case TYPE_name:
		return policy_name_parse(at, text, s->shown.key);
	case TYPE_text:
		return words_parse(at, POLICY_TEXT_BYTES, text, s->shown.key);
	default:
		return quantity_parse(at, s, text);
	}
}

static void
prefixes_print(const struct policy_prefixes *p, char out[POLICY_VALUE_BYTES])
{
	char address[INET6_ADDRSTRLEN];
	size_t n = 0;
	for (uint32_t i = 0; i < p->count; i++) {
		const struct policy_prefix *one = &p->list[i];
		inet_ntop(one->family == FAMILY_IP6 ? AF_INET6 : AF_INET, one->address, address, sizeof address);
		n += (size_t)snprintf(out + n, POLICY_VALUE_BYTES - n, "%s%s/%u", i ? ", " : "", address, one->bits);
	}
}
_Static_assert(POLICY_PREFIXES_MAX * (INET6_ADDRSTRLEN + 6) < POLICY_VALUE_BYTES, "all prefixes have room in a value");
_Static_assert(POLICY_VALUE_BYTES <= INI_LINE_BYTES_MAX, "a value that was printed is read back");

static const char *
value_print(const struct setting *s, const struct policy *p, char out[POLICY_VALUE_BYTES])
{
	const void *at = (const char *)p + s->at;
	const struct scheme *scheme = at;
	char amount[AMOUNT_BYTES];
	out[0] = 0;
	switch (s->type) {
	case TYPE_rule:
		snprintf(out, POLICY_VALUE_BYTES, "%s", rules[*(const enum policy_rule *)at]);
		break;
	case TYPE_scheme4:
	case TYPE_scheme6:
		snprintf(out, POLICY_VALUE_BYTES, scheme->kind == SCHEME_TRUNCATE ? "%s/%u" : "%s", scheme_name(scheme->kind), scheme->bits);
		break;
	case TYPE_prefixes:
		prefixes_print(at, out);
		break;
	case TYPE_name:
	case TYPE_text:
		snprintf(out, POLICY_VALUE_BYTES, "%s", (const char *)at);
		break;
	case TYPE_quantum:
		snprintf(out, POLICY_VALUE_BYTES, "%s", duration_print(amount, *(const uint64_t *)at));
		break;
	case TYPE_size:
		snprintf(out, POLICY_VALUE_BYTES, "%s", size_print(amount, *(const uint64_t *)at));
		break;
	default:
		snprintf(out, POLICY_VALUE_BYTES, "%" PRIu64, *(const uint64_t *)at);
	}
	return out;
}

/* --- reading --- */

static void
defaults(struct policy *p)
{
	memset(p, 0, sizeof *p);
	for (size_t i = 0; i < POLICY_SETTING_COUNT; i++) {
		enum err e = value_parse(&settings[i], p, settings[i].shown.otherwise);
		assert(e == OK);
	}
}

/* Mistakes of lines and of values. */
static void
lines_read(struct policy_reading *r, struct ini *ini)
{
	while (ini_next(ini)) {
		if (ini->key == NULL) {
			if (!ini_section_known(setting_names, ini->section)) {
				ini_unknown_section(&r->faults, setting_names, ini->section);
				ini_skip_section(ini);
			}
			continue;
		}
		int i = ini_find(&r->faults, setting_names, ini->section, ini->key);
		if (i >= 0 && ini_first(&r->faults, ini->key, &r->set_on[i]) &&
		    value_parse(&settings[i], &r->policy, ini->value) != OK)
			ini_fault(&r->faults, "%s", err_text());
	}
	r->faults.line = 0;
	if (r->set_on[SETTING_policy_version] == 0 && r->faults.count == 0)
		ini_fault(&r->faults, "[policy] version = %u is not there", POLICY_VERSION);
}

static void
see_mistake(void *arg, const char *sentence)
{
	const struct policy_reading *r = arg;
	if (r->see)
		r->see(r->arg, true, sentence);
}

enum err
policy_parse(struct policy *out, const char *place, const char *text, size_t n, policy_see *see, void *arg)
{
	if (n > POLICY_FILE_BYTES_MAX)
		return fail(ERR_LIMIT, "%s: longer than %u bytes", place, POLICY_FILE_BYTES_MAX);
	struct policy_reading *r = calloc(1, sizeof *r);
	struct ini *ini = calloc(1, sizeof *ini);
	enum err e = r && ini ? OK : fail(ERR_NOMEM, "%s: no memory to read it", place);
	if (e == OK) {
		*r = (struct policy_reading){ .see = see, .arg = arg };
		r->faults = (struct ini_faults){ .see = see_mistake, .arg = r, .place = place };
		defaults(&r->policy);
		ini_begin(ini, text, n, &r->faults);
		lines_read(r, ini);
		if (r->faults.count == 0)
			policy_check(r);
		e = ini_verdict(&r->faults, "atoll policy check");
	}
	if (e == OK)
		*out = r->policy;
	free(ini);
	free(r);
	return e;
}

static enum err
preset_absent(const char *name)
{
	const char *names[16], *near;
	char shown[64];
	size_t n = 0;
	for (const struct policy_preset *p = policy_presets; p->name; p++) {
		assert(n < 15);
		names[n++] = p->name;
	}
	names[n] = NULL;
	near = options_nearest(name, names);
	return fail(ERR_ABSENT, "there is no policy \"%s\"%s%s%s (atoll policy ls has them; a file is written with its folder: ./FILE)",
	            human_text(shown, sizeof shown, name), near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

enum err
policy_load(struct policy *out, const char *name, policy_see *see, void *arg)
{
	if (strpbrk(name, "./")) {
		char *text = NULL;
		size_t n = 0;
		TRY(ini_read(name, POLICY_FILE_BYTES_MAX, &text, &n));
		enum err e = policy_parse(out, name, text, n, see, arg);
		free(text);
		return e;
	}
	for (const struct policy_preset *p = policy_presets; p->name; p++)
		if (strcmp(p->name, name) == 0)
			return policy_parse(out, name, p->text, strlen(p->text), see, arg);
	return preset_absent(name);
}

/* --- writing --- */

static void
print(const struct policy *p, bool rules_only, FILE *to)
{
	char value[POLICY_VALUE_BYTES];
	const char *section = "";
	for (const struct setting *s = settings; s < settings + POLICY_SETTING_COUNT; s++) {
		if (rules_only && s->part != PART_rule)
			continue;
		if (strcmp(s->shown.section, section) != 0)
			fprintf(to, "%s[%s]\n", *section ? "\n" : "", s->shown.section);
		section = s->shown.section;
		value_print(s, p, value);
		fprintf(to, "%s =%s%s\n", s->shown.key, *value ? " " : "", value);
	}
}

void
policy_canonical(const struct policy *p, FILE *to)
{
	print(p, true, to);
}

void
policy_print(const struct policy *p, FILE *to)
{
	print(p, false, to);
}

enum err
policy_hash(const struct policy *p, uint8_t hash[POLICY_HASH_BYTES])
{
	struct text t;
	char *text = NULL;
	TRY(text_open(&t, POLICY_FILE_BYTES_MAX));
	policy_canonical(p, t.to);
	TRY(text_close(&t, &text));
	crypto_generichash(hash, POLICY_HASH_BYTES, (const uint8_t *)text, strlen(text), NULL, 0);
	free(text);
	return OK;
}

enum err
policy_walk(const struct policy *p, policy_walk_see *see, void *arg)
{
	char value[POLICY_VALUE_BYTES];
	for (const struct setting *s = settings; s < settings + POLICY_SETTING_COUNT; s++)
		TRY(see(arg, &s->shown, value_print(s, p, value)));
	return OK;
}

void
policy_example(FILE *to)
{
	fputs("# Every setting of a policy with what it may be, from private to open, and its default: a policy that does not name it\n"
	      "# has the most private value; guards are off. docs/anonymization.md says how to choose, `atoll policy show open`\n"
	      "# (research, internal, counts-only) prints one to begin with, `atoll policy check FILE` looks for mistakes and\n"
	      "# contradictions.\n", to);
	const char *section = "";
	for (const struct setting *s = settings; s < settings + POLICY_SETTING_COUNT; s++) {
		const struct policy_setting *w = &s->shown;
		if (strcmp(w->section, section) != 0)
			fprintf(to, "\n[%s]\n", w->section);
		section = w->section;
		fprintf(to, "# %s (%s)\n%s%s =%s%s\n", w->sentence, w->values, s->type == TYPE_version ? "" : "#", w->key,
		        *w->otherwise ? " " : "", w->otherwise);
	}
}

/* --- differences --- */

/* pfx and cryptopan show the same, and what truncate shows is of another kind: the true network. */
static unsigned
scheme_shows(struct scheme s)
{
	static const unsigned shows[] = { [SCHEME_DROP] = 0, [SCHEME_NDX] = 1, [SCHEME_DET] = 2, [SCHEME_PFX] = 3,
		[SCHEME_CRYPTOPAN] = 3, [SCHEME_TRUNCATE] = 4 };
	return shows[s.kind];
}

static enum policy_change
scheme_change(struct scheme a, struct scheme b)
{
	unsigned x = scheme_shows(a), y = scheme_shows(b);
	bool other = x && y && (a.kind == SCHEME_TRUNCATE) != (b.kind == SCHEME_TRUNCATE);
	if (other || (x == y && a.bits == b.bits))
		return POLICY_OTHER;
	return x == y ? (b.bits > a.bits ? POLICY_MORE : POLICY_LESS) : y > x ? POLICY_MORE : POLICY_LESS;
}

static enum policy_change
number_change(const struct number *n, uint64_t a, uint64_t b)
{
	a -= n->endless; /* 0, no limit, becomes the largest */
	b -= n->endless;
	if (n->larger == POLICY_OTHER || b > a)
		return n->larger;
	return n->larger == POLICY_MORE ? POLICY_LESS : POLICY_MORE;
}

static enum policy_change
change_of(const struct setting *s, const void *a, const void *b)
{
	switch (s->type) {
	case TYPE_rule:
		return *(const enum policy_rule *)b > *(const enum policy_rule *)a ? POLICY_MORE : POLICY_LESS;
	case TYPE_scheme4:
	case TYPE_scheme6:
		return scheme_change(*(const struct scheme *)a, *(const struct scheme *)b);
	case TYPE_prefixes:
	case TYPE_name:
	case TYPE_text:
		return POLICY_OTHER;
	default:
		return number_change(&numbers[s->type], *(const uint64_t *)a, *(const uint64_t *)b);
	}
}

enum err
policy_diff(const struct policy *a, const struct policy *b, policy_diff_see *see, void *arg)
{
	char left[POLICY_VALUE_BYTES], right[POLICY_VALUE_BYTES];
	for (const struct setting *s = settings; s < settings + POLICY_SETTING_COUNT; s++) {
		value_print(s, a, left);
		value_print(s, b, right);
		if (strcmp(s->shown.section, "policy") != 0 && strcmp(left, right) != 0)
			TRY(see(arg, &s->shown, left, right, change_of(s, (const char *)a + s->at, (const char *)b + s->at)));
	}
	return OK;
}
