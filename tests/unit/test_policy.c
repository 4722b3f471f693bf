/* Policy files: values, mistakes, contradictions, canonical text, hash, differences, the ones that come with the program. */
#include "tests/support/unit.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "anonymize/policy.h"
#include "base/limits.h"

struct heard {
	unsigned mistakes, warnings;
	char     text[8192];
};

static void
hear(void *arg, bool mistake, const char *sentence)
{
	struct heard *h = arg;
	size_t used = strlen(h->text);
	h->mistakes += mistake;
	h->warnings += !mistake;
	snprintf(h->text + used, sizeof h->text - used, "%s%s", used ? "\n" : "", sentence);
}

/* Read as "[policy]\nversion = 1\n" and text, without a word about it. */
static struct policy
good(const char *text)
{
	struct policy p;
	struct heard h = { 0 };
	char all[8192];
	snprintf(all, sizeof all, "[policy]\nversion = 1\n%s", text);
	enum err e = policy_parse(&p, "x", all, strlen(all), hear, &h);
	if (e != OK || h.text[0])
		print_message("# %s: %s\n", text, h.text);
	assert_int_equal(e, OK);
	assert_string_equal(h.text, "");
	return p;
}

/* What is told about that; the policy is refused when there is a mistake, and then the output is untouched. */
static void
told(const char *text, bool mistake, const char *sentence)
{
	static struct policy p, before;
	struct heard h = { 0 };
	char all[8192];
	snprintf(all, sizeof all, "[policy]\nversion = 1\n%s", text);
	memset(&p, 0xa5, sizeof p);
	memset(&before, 0xa5, sizeof before);
	enum err e = policy_parse(&p, "x", all, strlen(all), hear, &h);
	assert_string_equal(h.text, sentence);
	assert_int_equal(e, mistake ? ERR_USAGE : OK);
	assert_int_equal(h.mistakes, mistake);
	assert_int_equal(h.warnings, !mistake);
	if (mistake) {
		assert_memory_equal(&p, &before, sizeof p);
		assert_string_equal(err_text(), sentence);
	}
}

static char *
written(const struct policy *p, void (*write)(const struct policy *p, FILE *to))
{
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	write(p, f);
	fclose(f);
	return text;
}

static void
an_empty_policy_has_the_most_private_values(void **state)
{
	(void)state;
	struct policy p = good("");
	assert_int_equal(p.addresses_ip4.kind, SCHEME_DROP);
	assert_int_equal(p.addresses_ip6.kind, SCHEME_DROP);
	assert_int_equal(p.ports_ports, POLICY_ZERO);
	assert_int_equal(p.link_unknown, POLICY_REFUSE);
	assert_int_equal(p.time_shift, POLICY_SECRET);
	assert_true(p.time_quantum == 3600000000000ull);
	assert_int_equal(p.payload_bytes, 0);
	assert_int_equal(p.tunnels_depth, 0);
	assert_int_equal(p.addresses_internal.count, 0);
	assert_string_equal(p.policy_name.s, "");
}

static void
every_type_is_read(void **state)
{
	(void)state;
	struct policy p = good("name = my.policy-1\ntitle = a = b # c\n[addresses]\nip4 = truncate/24\nip6 = pfx\nmulticast = keep\n"
	                       "[key]\nepoch=all\n[time]\nquantum = 1500 us\n[tunnels]\ndepth = 4\n[guards]\nprefix_hosts=65535\n"
	                       "records_max = 18446744073709551615\nbytes_max = 10 GB\n"
	                       "[addresses]\ninternal = 2001:db8::/32 ,10.0.0.0/8,10.0.0.0/8, 192.0.2.1,10.0.0.0/9");
	assert_string_equal(p.policy_name.s, "my.policy-1");
	assert_string_equal(p.policy_title.s, "a = b # c");
	assert_int_equal(p.addresses_ip4.kind, SCHEME_TRUNCATE);
	assert_int_equal(p.addresses_ip4.bits, 24);
	assert_int_equal(p.addresses_ip6.kind, SCHEME_PFX);
	assert_int_equal(p.addresses_multicast, POLICY_KEEP);
	assert_true(p.time_quantum == 1500000);
	assert_int_equal(p.tunnels_depth, 4);
	assert_true(p.guards_records_max == UINT64_MAX);
	assert_true(p.guards_bytes_max == 10000000000);
	static const struct policy_prefix wanted[] = {
		{ FAMILY_IP4, 8, { 10 } }, { FAMILY_IP4, 9, { 10 } }, { FAMILY_IP4, 32, { 192, 0, 2, 1 } },
		{ FAMILY_IP6, 32, { 0x20, 0x01, 0x0d, 0xb8 } },
	};
	assert_int_equal(p.addresses_internal.count, 4);
	assert_memory_equal(p.addresses_internal.list, wanted, sizeof wanted);
	p = good("[addresses]\nip4 = truncate/0\n");
	assert_int_equal(p.addresses_ip4.kind, SCHEME_DROP);
}

static void
a_mistake_is_told_with_its_place_and_what_may_be_written(void **state)
{
	(void)state;
	static const struct { const char *text, *sentence; } cases[] = {
		{ "[adresses]\nip4 = pfx\n", "x:3: there is no section [adresses]; did you mean [addresses]?" },
		{ "[addresses]\nipv4 = pfx\n", "x:4: there is no ipv4 in [addresses]; did you mean ip4?" },
		{ "[link]\nttl = keep\n", "x:4: there is no ttl in [link], but in [ip]" },
		{ "[link]\nmac = kept\n", "x:4: mac: \"kept\" is none of zero|permute|keep" },
		{ "[link]\nmac = drop\n", "x:4: mac: \"drop\" is none of zero|permute|keep" },
		{ "[link]\nmac =\n", "x:4: mac: \"\" is none of zero|permute|keep" },
		{ "[link]\nmac = zero|permute\n", "x:4: mac: \"zero|permute\" is none of zero|permute|keep" },
		{ "[link]\nmac = Keep\n", "x:4: mac: \"Keep\" is none of zero|permute|keep" },
		{ "[link]\nmac = keep\nmac = keep\n", "x:5: mac is set on line 4 already" },
		{ "[link]\nmac\n", "x:4: \"mac\" is neither KEY = VALUE nor [SECTION] nor # comment" },
		{ "[link]\nmac = keep\x01\n", "x:4: a control character (byte 11)" },
		{ "title = caf\xe9\n", "x:3: not UTF-8 (byte 12)" },
		{ "name = caf\xc3\xa9\n", "x:3: name: \"caf\xc3\xa9\" is not a name: letters of ASCII, digits, . _ - @" },
		{ "name = a b\n", "x:3: name: \"a b\" is not a name: letters of ASCII, digits, . _ - @" },
		{ "name = 0123456789012345678901234567890123456789012345678901234567890123\n", "x:3: name: longer than 63 bytes" },
		{ "[addresses]\nip4 = truncate/25\n",
		  "x:4: ip4: truncate/25 leaves networks so small that they name their hosts; at most truncate/24" },
		{ "[addresses]\nip6 = truncate/65\n",
		  "x:4: ip6: truncate/65 leaves networks so small that they name their hosts; at most truncate/64" },
		{ "[time]\nquantum = 0\n", "x:4: quantum: 0 is not in 1ns..1h" },
		{ "[time]\nquantum = 61m\n", "x:4: quantum: 61m is not in 1ns..1h" },
		{ "[time]\nquantum = 2d\n", "x:4: quantum: 2d is not in 1ns..1h" },
		{ "[time]\nquantum = 5\n", "x:4: quantum: \"5\" is not a duration, like 90s, 15m, 6h, 30d or 2w" },
		{ "[tunnels]\ndepth = 5\n", "x:4: depth: 5 is not in 0..4" },
		{ "[tunnels]\ndepth = -1\n", "x:4: depth: \"-1\" is not a whole number" },
		{ "[payload]\nbytes = 65536\n", "x:4: bytes: 65536 is not in 0..65535" },
		{ "[guards]\nbytes_max = 1 x\n", "x:4: bytes_max: \"1 x\" is not a size, like 500 MB or 64 KiB" },
		{ "[addresses]\ninternal = 10.0.0.0/33\n",
		  "x:4: internal: \"10.0.0.0/33\" is not a prefix, like 192.0.2.0/24 or 2001:db8::/32" },
		{ "[addresses]\ninternal = 10.0.0.0/\n",
		  "x:4: internal: \"10.0.0.0/\" is not a prefix, like 192.0.2.0/24 or 2001:db8::/32" },
		{ "[addresses]\ninternal = 10.1\n", "x:4: internal: \"10.1\" is not a prefix, like 192.0.2.0/24 or 2001:db8::/32" },
		{ "[addresses]\ninternal = 10.1.0.0/8\n", "x:4: internal: \"10.1.0.0/8\" has bits set behind the first 8" },
		{ "[addresses]\ninternal = fe80::1/127\n", "x:4: internal: \"fe80::1/127\" has bits set behind the first 127" },
		{ "[addresses]\ninternal = 10.0.0.0/8,\n", "x:4: internal: nothing stands behind the last comma" },
		{ "[addresses]\ninternal = , 10.0.0.0/8\n",
		  "x:4: internal: a list of prefixes is written 192.0.2.0/24, 2001:db8::/32" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		told(cases[i].text, true, cases[i].sentence);
}

static void
the_version_is_required_and_known(void **state)
{
	(void)state;
	static const struct { const char *text, *sentence; } cases[] = {
		{ "", "x: [policy] version = 1 is not there" },
		{ "[link]\nmac = keep\n", "x: [policy] version = 1 is not there" },
		{ "[policy]\nversion = 2\n", "x:2: version: 2 is not known to this program, which reads version 1" },
		{ "[policy]\nversion = 0\n", "x:2: version: 0 is not known to this program, which reads version 1" },
		{ "[policy]\nversion = one\n", "x:2: version: \"one\" is not a whole number" },
		{ "version = 1\n", "x:1: version stands in no section" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct policy p;
		struct heard h = { 0 };
		assert_int_equal(policy_parse(&p, "x", cases[i].text, strlen(cases[i].text), hear, &h), ERR_USAGE);
		assert_string_equal(h.text, cases[i].sentence);
	}
}

static void
contradictions_are_mistakes_or_warnings(void **state)
{
	(void)state;
	static const char keep[] = "keep is for pfx and cryptopan, which can map a prefix onto itself: map";
	static const struct { const char *text; bool mistake; const char *line, *sentence; } cases[] = {
		{ "[addresses]\nspecial = keep\n", true, "x:4", keep },
		{ "[addresses]\nip4 = truncate/16\nprivate = keep\n", true, "x:5", keep },
		{ "[addresses]\nip6 = pfx\nbroadcast = keep\n[key]\nepoch = all\n", true, "x:5", keep },
		{ "[addresses]\nip4 = ndx\n", false, "x:4",
		  "ip4: pseudonyms of 128 bits or more have no room in a packet: the export of packets is refused" },
		{ "[addresses]\nip6 = ndx\n[key]\nepoch = all\n", false, "x:4",
		  "ip6: pseudonyms of 256 bits have no room in a packet: the export of packets is refused" },
		{ "[tcp]\ntimestamps = counter\n", true, "x:4",
		  "timestamps are TCP options, which are dropped: options = known, or timestamps = drop" },
		{ "[tcp]\ntimestamps = keep\noptions = drop\n", true, "x:4",
		  "timestamps are TCP options, which are dropped: options = known, or timestamps = drop" },
		{ "[payload]\ndns = map\n", true, "x:4", "dns = map needs payload to stand in: bytes = 512 or more, or dns = drop" },
		{ "[payload]\nbytes = 1\n", false, "x:4", "payload is copied as it is: names, passwords and addresses in it are shown" },
		{ "[key]\nshared = yes\nrecipient = me\n", false, "x:5",
		  "recipient does nothing: with shared = yes all recipients have the same pseudonyms" },
		{ "[addresses]\nip6 = pfx\n[key]\nepoch = month\n", false, "x:6",
		  "pseudonyms change at midnight of the true time, which shows by how much shift = secret moved it: epoch = all" },
		{ "[addresses]\nip4 = cryptopan\n", false, "x",
		  "pseudonyms change at midnight of the true time, which shows by how much shift = secret moved it: epoch = all" },
		{ "[guards]\nprefix_hosts = 4\n", false, "x:4",
		  "prefix_hosts does nothing: it cuts pseudonyms of pfx and cryptopan to their prefix, and ip4 and ip6 are neither" },
		{ "[addresses]\ninternal = 10.0.0.0/8\n", false, "x:4",
		  "internal does nothing: it is for the guard prefix_hosts, which is off" },
		{ "[link]\nmac = keep\n[addresses]\nip6 = pfx\n[key]\nepoch = all\n", false, "x:4",
		  "mac = keep: a MAC address is the lower half of many IPv6 addresses, so that half of what their pseudonyms stand for "
		  "becomes known; permute does not tell" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char sentence[512], text[512];
		snprintf(sentence, sizeof sentence, "%s: %s", cases[i].line, cases[i].sentence);
		snprintf(text, sizeof text, "%s%s", cases[i].text, strstr(cases[i].text, "ip4 = ndx") ? "[time]\nshift = none\n" : "");
		told(text, cases[i].mistake, sentence);
	}
	good("[tcp]\ntimestamps = counter\noptions = known\n[addresses]\nip6 = cryptopan\nspecial = keep\n[key]\nepoch = all\n");
}

static void
limits_hold(void **state)
{
	(void)state;
	char text[8192];
	int used = snprintf(text, sizeof text, "[guards]\nprefix_hosts = 1\n[addresses]\nip4 = pfx\n[key]\nepoch = all\n[addresses]\n"
	                                       "internal = ");
	for (unsigned i = 0; i < POLICY_PREFIXES_MAX; i++)
		used += snprintf(text + used, sizeof text - (size_t)used, "%s2001:1db8:1000:2000:3000:4000:%u:0/112", i ? "," : "", 4096 + i);
	struct policy p = good(text);
	assert_int_equal(p.addresses_internal.count, POLICY_PREFIXES_MAX);
	char *all = written(&p, policy_print);
	struct policy again;
	assert_int_equal(policy_parse(&again, "x", all, strlen(all), NULL, NULL), OK);
	assert_memory_equal(&p, &again, sizeof p);
	free(all);
	snprintf(text + used, sizeof text - (size_t)used, ",10.0.0.0/8");
	told(text, true, "x:10: internal: more than 64 prefixes");
	char *large = malloc(POLICY_FILE_BYTES_MAX + 1);
	memset(large, '\n', POLICY_FILE_BYTES_MAX + 1);
	memcpy(large, "[policy]\nversion=1", 18);
	assert_int_equal(policy_parse(&p, "x", large, POLICY_FILE_BYTES_MAX, NULL, NULL), OK);
	assert_int_equal(policy_parse(&p, "x", large, POLICY_FILE_BYTES_MAX + 1, NULL, NULL), ERR_LIMIT);
	free(large);
}

static void
same_hash(const struct policy *a, const struct policy *b, bool same)
{
	uint8_t x[POLICY_HASH_BYTES], y[POLICY_HASH_BYTES];
	assert_int_equal(policy_hash(a, x), OK);
	assert_int_equal(policy_hash(b, y), OK);
	assert_int_equal(memcmp(x, y, sizeof x) == 0, same);
}

static void
the_hash_is_that_of_the_rules_alone(void **state)
{
	(void)state;
	struct policy a = good("[tcp]\noptions = known\ntimestamps = counter\n[time]\nshift = none\nquantum = 1ms\n");
	struct policy b = good("# a comment\r\n; another\n[time]\nquantum=1000 us\n\n\n[tcp]\n\ttimestamps = counter \n"
	                       "[time]\nshift\t=\tnone\n[link]\nmac = zero\n[tcp]\noptions = known");
	same_hash(&a, &b, true);
	b = good("[policy]\nname = n\ntitle = t\ncitation = c\n[key]\ndataset = d\nrecipient = r\n"
	         "[tcp]\noptions = known\ntimestamps = counter\n[time]\nshift = none\nquantum = 1ms\n");
	same_hash(&a, &b, true);
	b = good("[tcp]\noptions = known\ntimestamps = counter\n[time]\nshift = none\nquantum = 1001us\n");
	same_hash(&a, &b, false);
	/* networks of the curator's own would be guessed from a hash: there are few */
	a = good("[addresses]\nip4 = pfx\n[key]\nepoch = all\n[guards]\nprefix_hosts = 4\n");
	b = good("[addresses]\nip4 = pfx\ninternal = 198.51.100.0/24\n[key]\nepoch = all\n[guards]\nprefix_hosts = 4\n");
	same_hash(&a, &b, true);
	char *text = written(&b, policy_canonical);
	assert_null(strstr(text, "internal"));
	uint8_t hash[POLICY_HASH_BYTES], wanted[POLICY_HASH_BYTES];
	assert_int_equal(policy_hash(&b, hash), OK);
	crypto_generichash(wanted, sizeof wanted, (const uint8_t *)text, strlen(text), NULL, 0);
	assert_memory_equal(hash, wanted, sizeof hash);
	free(text);
}

/* A setting with a value other than its default, for each value of its list. */
struct tries {
	const struct policy *defaults;
	unsigned             tried;
};

static enum err
try_values(void *arg, const struct policy_setting *s, const char *value)
{
	struct tries *t = arg;
	char text[512], words[128], *rest = words, *word;
	assert_string_equal(value, s->otherwise);
	assert_true(*s->sentence && s->sentence[strlen(s->sentence) - 1] == '.');
	snprintf(words, sizeof words, "%s", s->values);
	if (strchr(words, '|') == NULL || strchr(words, '/'))
		return OK;
	for (unsigned i = 0; (word = strsep(&rest, "|")); i++) {
		struct policy p;
		snprintf(text, sizeof text, "[policy]\nversion = 1\n[addresses]\nip4 = pfx\n[tcp]\n%s[payload]\nbytes = 99\n[%s]\n%s = %s\n",
		         strcmp(s->section, "tcp") == 0 && strcmp(s->key, "options") == 0 ? "" : "options = known\n", s->section, s->key,
		         word);
		assert_int_equal(policy_parse(&p, s->key, text, strlen(text), NULL, NULL), OK);
		if (i == 0 && strcmp(s->section, "guards") != 0)
			assert_string_equal(word, s->otherwise); /* the default is the most private */
		t->tried++;
	}
	return OK;
}

static void
every_word_of_every_rule_is_read_and_the_first_is_the_default(void **state)
{
	(void)state;
	struct policy p = good("");
	struct tries t = { .defaults = &p };
	assert_int_equal(policy_walk(&p, try_values, &t), OK);
	assert_true(t.tried > 60);
}

struct changed {
	unsigned count;
	enum policy_change change;
	char text[256];
};

static enum err
see_change(void *arg, const struct policy_setting *s, const char *a, const char *b, enum policy_change change)
{
	struct changed *c = arg;
	c->count++;
	c->change = change;
	snprintf(c->text, sizeof c->text, "%s.%s %s %s", s->section, s->key, a, b);
	return OK;
}

static void
a_difference_has_a_direction(void **state)
{
	(void)state;
	static const struct { const char *section, *key, *a, *b; enum policy_change change; } cases[] = {
		{ "link", "mac", "zero", "permute", POLICY_MORE }, { "link", "mac", "permute", "keep", POLICY_MORE },
		{ "link", "unknown", "refuse", "drop", POLICY_MORE }, { "ports", "ports", "zero", "bucket", POLICY_MORE },
		{ "ports", "ports", "bucket", "permute", POLICY_MORE }, { "time", "shift", "secret", "none", POLICY_MORE },
		{ "time", "quantum", "1h", "1ns", POLICY_MORE }, { "tcp", "seq", "zero", "shift", POLICY_MORE },
		{ "tcp", "seq", "shift", "keep", POLICY_MORE }, { "key", "epoch", "day", "month", POLICY_MORE },
		{ "key", "epoch", "month", "all", POLICY_MORE }, { "key", "shared", "no", "yes", POLICY_MORE },
		{ "checksums", "checksums", "zero", "adjust", POLICY_MORE }, { "tunnels", "depth", "0", "4", POLICY_MORE },
		{ "payload", "bytes", "0", "65535", POLICY_MORE }, { "guards", "prefix_hosts", "5", "0", POLICY_MORE },
		{ "guards", "scanners", "drop", "keep", POLICY_MORE }, { "guards", "minimum_group", "3", "2", POLICY_MORE },
		{ "guards", "records_max", "5", "6", POLICY_MORE }, { "guards", "records_max", "5", "0", POLICY_MORE },
		{ "guards", "records_max", "18446744073709551615", "0", POLICY_MORE }, { "guards", "bytes_max", "1 GB", "0", POLICY_MORE },
		{ "flow", "as", "drop", "map", POLICY_MORE }, { "flow", "as", "map", "keep", POLICY_MORE },
		{ "addresses", "ip4", "drop", "ndx", POLICY_MORE }, { "addresses", "ip4", "ndx", "det", POLICY_MORE },
		{ "addresses", "ip4", "det", "pfx", POLICY_MORE }, { "addresses", "ip4", "drop", "truncate/8", POLICY_MORE },
		{ "addresses", "ip4", "truncate/8", "truncate/9", POLICY_MORE }, { "addresses", "ip4", "pfx", "cryptopan", POLICY_OTHER },
		{ "addresses", "ip4", "pfx", "truncate/8", POLICY_OTHER }, { "addresses", "ip6", "truncate/48", "ndx", POLICY_OTHER },
		{ "key", "recipient", "a", "b", POLICY_OTHER }, { "key", "dataset", "a", "", POLICY_OTHER },
		{ "addresses", "internal", "", "10.0.0.0/8", POLICY_OTHER },
	};
	static const char form[] = "[policy]\nversion = 1\n[%s]\n%s = %s\n";
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct policy a, b;
		struct changed c = { 0 };
		char x[256], y[256], wanted[256];
		snprintf(x, sizeof x, form, cases[i].section, cases[i].key, cases[i].a);
		snprintf(y, sizeof y, form, cases[i].section, cases[i].key, cases[i].b);
		assert_int_equal(policy_parse(&a, "a", x, strlen(x), NULL, NULL), OK);
		assert_int_equal(policy_parse(&b, "b", y, strlen(y), NULL, NULL), OK);
		assert_int_equal(policy_diff(&a, &b, see_change, &c), OK);
		snprintf(wanted, sizeof wanted, "%s.%s %s %s", cases[i].section, cases[i].key, cases[i].a, cases[i].b);
		assert_string_equal(c.text, wanted);
		assert_int_equal(c.count, 1);
		assert_int_equal(c.change, cases[i].change);
		assert_int_equal(policy_diff(&b, &a, see_change, &c), OK);
		assert_int_equal(c.change, cases[i].change == POLICY_MORE ? POLICY_LESS : cases[i].change);
		assert_int_equal(policy_diff(&a, &a, see_change, &c), OK);
		assert_int_equal(c.count, 2);
	}
}

static void
those_that_come_with_the_program_are_in_order(void **state)
{
	(void)state;
	static const char *const names[] = { "counts-only", "open", "research", "internal" };
	unsigned n = 0;
	for (const struct policy_preset *s = policy_presets; s->name; s++, n++) {
		struct policy p, q;
		struct heard h = { 0 };
		assert_string_equal(s->name, names[n]);
		assert_int_equal(policy_load(&p, s->name, hear, &h), OK);
		assert_string_equal(h.text, "");
		assert_string_equal(p.policy_name.s, s->name);
		assert_true(p.policy_title.s[0]);
		assert_int_equal(p.payload_bytes, 0);
		char *text = written(&p, policy_canonical), *all = written(&p, policy_print);
		assert_int_equal(policy_parse(&q, "canonical", text, strlen(text), hear, &h), OK);
		char *again = written(&q, policy_canonical);
		assert_string_equal(again, text);
		same_hash(&p, &q, true);
		free(again);
		assert_int_equal(policy_parse(&q, "all", all, strlen(all), hear, &h), OK);
		assert_memory_equal(&p, &q, sizeof p);
		assert_string_equal(h.text, "");
		free(text);
		free(all);
	}
	assert_int_equal(n, sizeof names / sizeof *names);
}

static void
a_policy_is_loaded_by_name_or_from_a_file(void **state)
{
	(void)state;
	static struct policy p, q;
	char path[] = "/tmp/test-policy-XXXXXX.x", missing[64];
	int fd = mkstemps(path, 2);
	const char *text = policy_presets[0].text;
	assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	assert_int_equal(policy_load(&p, path, NULL, NULL), OK);
	assert_int_equal(policy_load(&q, policy_presets[0].name, NULL, NULL), OK);
	assert_memory_equal(&p, &q, sizeof p);
	assert_int_equal(ftruncate(fd, POLICY_FILE_BYTES_MAX + 1), 0);
	assert_int_equal(policy_load(&p, path, NULL, NULL), ERR_LIMIT);
	close(fd);
	unlink(path);
	assert_int_equal(policy_load(&p, path, NULL, NULL), ERR_ABSENT);
	assert_int_equal(policy_load(&p, "opne", NULL, NULL), ERR_ABSENT);
	assert_non_null(strstr(err_text(), "\"opne\"; did you mean open?"));
	assert_int_equal(policy_load(&p, "", NULL, NULL), ERR_ABSENT);
	snprintf(missing, sizeof missing, "/tmp");
	assert_int_not_equal(policy_load(&p, missing, NULL, NULL), OK);
}

static void
the_example_is_in_order_with_and_without_its_comments(void **state)
{
	(void)state;
	struct policy p, q = good("");
	char *text = NULL;
	size_t n;
	FILE *f = open_memstream(&text, &n);
	policy_example(f);
	fclose(f);
	assert_int_equal(policy_parse(&p, "example", text, n, NULL, NULL), OK);
	assert_memory_equal(&p, &q, sizeof p);
	for (char *at = text; (at = strstr(at, "\n#")); at++)
		if (at[2] != ' ')
			at[1] = ' ';
	assert_int_equal(policy_parse(&p, "example", text, n, NULL, NULL), OK);
	assert_memory_equal(&p, &q, sizeof p);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_policy_has_the_most_private_values),
		cmocka_unit_test(every_type_is_read),
		cmocka_unit_test(a_mistake_is_told_with_its_place_and_what_may_be_written),
		cmocka_unit_test(the_version_is_required_and_known),
		cmocka_unit_test(contradictions_are_mistakes_or_warnings),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(the_hash_is_that_of_the_rules_alone),
		cmocka_unit_test(every_word_of_every_rule_is_read_and_the_first_is_the_default),
		cmocka_unit_test(a_difference_has_a_direction),
		cmocka_unit_test(those_that_come_with_the_program_are_in_order),
		cmocka_unit_test(a_policy_is_loaded_by_name_or_from_a_file),
		cmocka_unit_test(the_example_is_in_order_with_and_without_its_comments),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
