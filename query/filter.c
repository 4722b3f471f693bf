#include "query/filter.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/text.h"
#include "query/filter_parts.h"

#define PLAN_INDEX_BYTES 300 /* of the index terms in the plan's line */

/* LINKTYPE_ values that an expression is tried on until one takes it: an expression that is wrong for all of them is wrong.
 * Ethernet, Linux cooked, raw IP, 802.11 with and without radiotap, SLIP and PPP in both directions, ATM, SS7, PF's log,
 * ARCNET, FDDI, token ring, Linux cooked v2, null, Frame Relay, IP over Fibre Channel, Juniper. */
static const uint16_t tried_linktypes[] = { 1, 113, 101, 105, 127, 9, 204, 123, 11, 140, 139, 141, 117, 7, 10, 6, 276, 0,
	107, 122, 109, 137 };
#define TRIED_COUNT (sizeof tried_linktypes / sizeof tried_linktypes[0])

static enum err
program_of(const char *expression, uint16_t linktype, struct program **out)
{
	struct bpf *bpf = NULL;
	TRY(bpf_open(&bpf, linktype, expression));
	enum err e = program_open(out, &bpf);
	bpf_close(&bpf);
	return e;
}

/* Compiles for one more link type. A refusal is kept as well: it would be the same for the next block. */
static enum err
add_program(const struct filter *f, uint16_t linktype)
{
	struct filter_programs *all = f->programs;
	struct program *made = NULL;
	char name[80], *refusal = NULL;
	if (all->count == LINKTYPES_MAX)
		return fail(ERR_LIMIT, "filter: records of more than %u link types", LINKTYPES_MAX);
	enum err e = program_of(f->expression, linktype, &made);
	if (e == ERR_USAGE && asprintf(&refusal, "filter: not for records of link type %s: %s",
	                               bpf_linktype_name(linktype, name), err_text()) < 0)
		return fail(ERR_NOMEM, "filter: no memory");
	if (e != OK && e != ERR_USAGE)
		return e;
	all->of[all->count].linktype = linktype;
	all->of[all->count].refusal = refusal;
	all->of[all->count++].program = made;
	return OK;
}

enum err
filter_program(const struct filter *f, uint16_t linktype, const struct program **out)
{
	struct filter_programs *all = f->programs;
	enum err e = OK;
	uint32_t i = 0;
	pthread_mutex_lock(&all->lock);
	while (i < all->count && all->of[i].linktype != linktype)
		i++;
	if (i == all->count)
		e = add_program(f, linktype);
	if (e == OK && !all->of[i].program)
		e = fail(ERR_USAGE, "%s", all->of[i].refusal);
	if (e == OK)
		*out = all->of[i].program;
	pthread_mutex_unlock(&all->lock);
	return e;
}

/* What libpcap says of a mistake and what to do about it. */
static const char *
advice(const char *words)
{
	static const struct {
		const char *words, *advice;
	} table[] = {
		{ "non-network bits set", ": set the bits behind the prefix to 0, or write host" },
		{ "Mask syntax for networks only", ": write net instead of host" },
		{ "illegal qualifier of 'port'", ": ports belong to tcp, udp and sctp" },
		{ "'gateway' requires a name", ": gateway needs names of hosts, which are not looked up; write `ether host MAC and "
		                               "not host ADDRESS`" },
		{ "unknown port", ": write its number, or portrange A-B for a range" },
		{ "illegal port number", ": ports are 0 to 65535" },
		{ "unknown ip proto", ": write its number" },
		{ "unknown osi proto", ": write its number" },
		{ "unknown ether proto", ": write its number" },
		{ "mask length must be", "" },
	};
	for (uint32_t i = 0; i < sizeof table / sizeof table[0]; i++)
		if (strstr(words, table[i].words))
			return table[i].advice;
	return "";
}

/* The first leaf that libpcap refuses alone tells where the mistake is. words: libpcap's, for the whole. */
static enum err
refuse(const struct filter *f, uint16_t linktype, const char *words)
{
	for (uint32_t i = 0; i < f->tree.count; i++) {
		const struct term *n = &f->tree.terms[i];
		char *leaf = NULL;
		struct bpf *alone = NULL;
		if (n->kind != TERM_LEAF)
			continue;
		TRY(filter_tree_text(&f->tree, (int32_t)i, &leaf));
		enum err e = bpf_open(&alone, linktype, leaf);
		bool none = e == OK && bpf_is_none(alone);
		free(leaf);
		bpf_close(&alone);
		if (e == ERR_USAGE || none) {
			char own[ERR_TEXT_BYTES];
			snprintf(own, sizeof own, "%s", none ? "no packet can match this" : err_text());
			return fail(ERR_USAGE, "filter, column %u: %s%s", n->at + 1, own, advice(own));
		}
		if (e != OK)
			return e;
	}
	return fail(ERR_USAGE, "filter: %s%s", words, advice(words));
}

/* Compiles for the first link type that takes it. *linktype is that one; the error is Ethernet's. */
static enum err
compile_somewhere(const struct filter *f, uint16_t *linktype, struct bpf **out)
{
	char words[ERR_TEXT_BYTES] = "";
	for (uint32_t i = 0; i < TRIED_COUNT; i++) {
		enum err e = bpf_open(out, tried_linktypes[i], f->expression);
		bool none = e == OK && bpf_is_none(*out);
		if (e == OK && !none) {
			*linktype = tried_linktypes[i];
			return OK;
		}
		if (e != OK && e != ERR_USAGE)
			return e;
		bpf_close(out);
		if (i == 0)
			snprintf(words, sizeof words, "%s", none ? "no packet can match this" : err_text());
	}
	*linktype = tried_linktypes[0];
	return fail(ERR_USAGE, "%s", words);
}

/* A text that filter_parse() refused for its structure, and that has no name libpcap could look up: libpcap decides. Its
 * yes means that we know no structure; its no, that our sentence (which has a column) stands. */
static enum err
ask_libpcap(struct filter *f)
{
	char words[ERR_TEXT_BYTES];
	struct bpf *bpf = NULL;
	uint16_t linktype;
	snprintf(words, sizeof words, "%s", err_text());
	enum err e = compile_somewhere(f, &linktype, &bpf);
	bpf_close(&bpf);
	return e == ERR_USAGE ? fail(ERR_USAGE, "%s", words) : e;
}

/* Whether the written-out form means the same to libpcap: it makes the same program of both. Otherwise our reading of the
 * text counts for nothing. */
static enum err
compare_reading(struct filter *f, uint16_t linktype)
{
	struct bpf *given = NULL, *written = NULL;
	TRY(filter_tree_text(&f->tree, f->tree.root, &f->text));
	enum err e = bpf_open_plain(&given, linktype, f->expression);
	if (e == OK)
		e = bpf_open_plain(&written, linktype, f->text);
	f->indexed = e == OK && bpf_same(given, written);
	bpf_close(&given);
	bpf_close(&written);
	return e == ERR_USAGE ? OK : e;
}

static enum err
compile(struct filter *f, uint16_t *linktype)
{
	struct bpf *bpf = NULL;
	enum err e = compile_somewhere(f, linktype, &bpf);
	if (e == ERR_USAGE) {
		char words[ERR_TEXT_BYTES];
		snprintf(words, sizeof words, "%s", err_text());
		return refuse(f, *linktype, words);
	}
	TRY(e);
	struct program *program = NULL;
	e = program_open(&program, &bpf);
	bpf_close(&bpf);
	TRY(e);
	f->programs->of[0].linktype = *linktype;
	f->programs->of[0].program = program;
	f->programs->count = 1;
	return compare_reading(f, *linktype);
}

/* The columns that flows of a kind ask for, by running them through the program of the link type found. */
static unsigned
sample_columns(struct filter *f, uint16_t linktype, bool *bytes, bool *always)
{
	static const uint8_t ethernet[3][14] = { { [12] = 8 }, { [12] = 0x86, 0xdd }, { [12] = 8, 6 } };
	static const struct flow flows[] = {
		{ .net = NET_IP4, .transport = TRANSPORT_TCP, .proto = 6, .first_proto = 6 },
		{ .net = NET_IP4, .transport = TRANSPORT_UDP, .proto = 17, .first_proto = 17 },
		{ .net = NET_IP6, .transport = TRANSPORT_TCP, .proto = 6, .first_proto = 6 },
		{ .net = NET_IP4, .transport = TRANSPORT_ICMP, .proto = 1, .first_proto = 1 },
		{ .net = NET_RAW },
	};
	const struct program *p;
	struct diagram d;
	unsigned some = 0, every = BATCH_ALL;
	*bytes = *always = true;
	if (linktype != 1 || filter_program(f, linktype, &p) != OK || diagram_init(&d) != OK)
		return 0;
	*bytes = false;
	for (uint32_t i = 0; i < sizeof flows / sizeof flows[0]; i++) {
		const uint8_t *header = ethernet[flows[i].net == NET_IP4 ? 0 : flows[i].net == NET_IP6 ? 1 : 2];
		struct link l = { .linktype = 1, .len = 14, .bytes = header, .macs = 1 };
		uint32_t node = program_fold(p, &d, &l, &flows[i]);
		some |= d.nodes[node].columns;
		if (flows[i].net != NET_RAW) {
			every &= d.nodes[node].columns;
			*bytes |= d.nodes[node].columns & BATCH_BYTES;
			*always &= node == LEAF_BYTES;
		}
	}
	diagram_fini(&d);
	*always &= *bytes;
	f->columns = every;
	return some;
}

static enum err
make_plan(struct filter *f, uint16_t linktype)
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = {
		{ BATCH_WIRE_LEN, ", wire_len" }, { BATCH_TCP_FLAGS, ", tcp_flags" }, { BATCH_IP, ", ip" }, { BATCH_TCP, ", tcp" },
	};
	bool bytes, always;
	unsigned columns = sample_columns(f, linktype, &bytes, &always);
	char *index = NULL;
	struct text text;
	TRY(filter_index_text(f, &index));
	enum err e = text_open(&text, PLAN_INDEX_BYTES + 256);
	if (e != OK) {
		free(index);
		return e;
	}
	FILE *out = text.to;
	if (always) {
		fputs("bpf: all rows", out);
	} else {
		fputs("columns: flows", out);
		for (uint32_t i = 0; i < sizeof names / sizeof names[0]; i++)
			if (columns & names[i].bit && !(names[i].bit == BATCH_WIRE_LEN && columns & BATCH_BYTES))
				fputs(names[i].name, out);
		fputs(bytes ? "; bpf: rows that these leave open" : columns & BATCH_BYTES ? "; bpf: rows not understood" : "", out);
	}
	if (strlen(index) > PLAN_INDEX_BYTES)
		fprintf(out, "; index: %.*s...", PLAN_INDEX_BYTES, index);
	else
		fprintf(out, "; index: %s", *index ? index : "none");
	free(index);
	return text_close(&text, &f->plan);
}

static enum err
open_parsed(struct filter *f, const struct view *view)
{
	bool name;
	uint16_t linktype = tried_linktypes[0];
	enum err e = filter_parse(f->expression, &f->tree, &name);
	if (e == ERR_USAGE && !name) {
		TRY(ask_libpcap(f));
	} else {
		TRY(e);
		TRY(compile(f, &linktype));
	}
	if (!f->text && !(f->text = strdup(f->expression)))
		return fail(ERR_NOMEM, "filter: no memory for its text");
	TRY(filter_find_nets(f, &f->nets));
	if (view)
		filter_see_through(f, view);
	TRY(filter_find_nets(f, &f->index_nets));
	return make_plan(f, linktype);
}

enum err
filter_open(struct filter **out, const char *expression, const struct view *view)
{
	struct filter *f = calloc(1, sizeof *f);
	if (!f || !(f->programs = calloc(1, sizeof *f->programs))) {
		free(f);
		return fail(ERR_NOMEM, "filter: no memory");
	}
	pthread_mutex_init(&f->programs->lock, NULL);
	f->tree.root = -1;
	f->all = !expression || expression[strspn(expression, " \t\r\n")] == '\0';
	f->expression = strdup(f->all ? "" : expression);
	enum err e = f->expression ? OK : fail(ERR_NOMEM, "filter: no memory");
	if (e == OK && f->all) {
		f->text = strdup("");
		f->plan = strdup("all records");
		if (!f->text || !f->plan)
			e = fail(ERR_NOMEM, "filter: no memory");
	} else if (e == OK) {
		e = open_parsed(f, view);
	}
	if (e != OK) {
		filter_close(&f);
		return e;
	}
	*out = f;
	return OK;
}

void
filter_close(struct filter **f)
{
	if (!*f)
		return;
	for (uint32_t i = 0; i < (*f)->programs->count; i++) {
		program_close(&(*f)->programs->of[i].program);
		free((*f)->programs->of[i].refusal);
	}
	pthread_mutex_destroy(&(*f)->programs->lock);
	free((*f)->programs);
	filter_tree_fini(&(*f)->tree);
	free((*f)->expression);
	free((*f)->text);
	free((*f)->plan);
	free((*f)->nets.v);
	free((*f)->index_nets.v);
	free(*f);
	*f = NULL;
}

bool
filter_is_all(const struct filter *f)
{
	return f->all;
}

enum err
filter_is_choosy(const struct filter *f, bool *choosy)
{
	static const uint16_t usual[] = { 1, 113, 276, 101, 0, 127 }; /* Ethernet, Linux cooked, raw IP, null, radiotap */
	*choosy = false;
	for (uint32_t i = 0; i < sizeof usual / sizeof *usual && !*choosy && !f->all; i++) {
		const struct program *p;
		enum err e = filter_program(f, usual[i], &p);
		if (e != OK && e != ERR_USAGE)
			return e;
		*choosy = e == ERR_USAGE;
	}
	return OK;
}

const char *
filter_text(const struct filter *f)
{
	return f->text;
}

const char *
filter_plan(const struct filter *f)
{
	return f->plan;
}

unsigned
filter_columns(const struct filter *f)
{
	return f->columns;
}
