#include "query/filter_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/text.h"
#include "query/filter_lex.h"
#include "query/filter_value.h"

/* The qualifiers in force: what a bare value inherits. */
struct qualifiers {
	bool     known;
	uint8_t  protocol; /* enum protocol */
	uint16_t type;     /* WORD_HOST ..., or 0 */
	uint32_t from, to; /* their tokens */
};

struct parser {
	const char         *text;
	struct token       *tokens;
	uint32_t            count, at, depth;
	uint32_t           *closing; /* for each '(': the token of its ')', or 0 */
	struct filter_tree *tree;
	bool                name;
};

/* An expression or a list of values: `(80 or 443)` may only stand where a value may. */
enum shape { SHAPE_TERM, SHAPE_VALUE };

static enum err parse_list(struct parser *p, struct qualifiers *q, bool top, enum shape *shape, int32_t *out);

static const struct token *
peek(const struct parser *p)
{
	return &p->tokens[p->at];
}

static uint16_t
kind_at(const struct parser *p, uint32_t i)
{
	return i < p->count ? p->tokens[i].kind : WORD_END;
}

static bool
take(struct parser *p, uint16_t kind)
{
	if (peek(p)->kind != kind)
		return false;
	p->at++;
	return true;
}

/* Says where and what; the hint may be NULL. */
static enum err
unexpected(const struct parser *p, const char *wanted)
{
	const struct token *t = peek(p);
	if (t->kind == WORD_END)
		return fail(ERR_USAGE, "filter, column %u: ends where %s should follow", t->at + 1, wanted);
	uint32_t n = t->len < 60 ? t->len : 60;
	if (t->kind == WORD_BAD)
		return fail(ERR_USAGE, "filter, column %u: the character '%.*s' has no meaning here", t->at + 1, (int)n,
		            p->text + t->at);
	return fail(ERR_USAGE, "filter, column %u: '%.*s' where %s should stand", t->at + 1, (int)n, p->text + t->at, wanted);
}

static enum err
bad_name(struct parser *p, const struct token *t)
{
	const char *word = p->text + t->at;
	int n = (int)(t->len < 60 ? t->len : 60);
	p->name = true;
	if (memchr(word, '.', t->len) && t->len > 3 && (kind_at(p, p->at + 1) == '=' || kind_at(p, p->at + 1) == WORD_NE))
		return fail(ERR_USAGE, "filter, column %u: '%.*s' is Wireshark's display filter language; here write "
		            "`host 10.0.0.1`, `tcp port 443`", t->at + 1, n, word);
	const char *near = filter_near_word(word, t->len);
	if (near)
		return fail(ERR_USAGE, "filter, column %u: unknown word '%.*s'; did you mean '%s'? (names of hosts are not "
		            "looked up)", t->at + 1, n, word, near);
	return fail(ERR_USAGE, "filter, column %u: '%.*s' is no known word, and names of hosts and networks are not looked up: "
	            "write the address", t->at + 1, n, word);
}

/* vlan, mpls and their like move the place where libpcap looks for everything that follows in the text, whatever the
 * operator: in `vlan or host X` and `not vlan and host X`, host is looked for 4 bytes further in untagged records, too,
 * where no table says what there is. A term behind such a word says something only when the word is sure to hold for
 * every match, that is, when only `and` stands between them. */
static void
set_shifts(const struct filter_tree *tree, struct term *t)
{
	if (t->kind == TERM_LEAF) {
		t->shifts = t->shift != SHIFT_NONE;
		t->shifts_hold = true;
		t->shifts_lost = t->shift == SHIFT_LOST;
		return;
	}
	const struct term *left = &tree->terms[t->left];
	if (t->kind == TERM_NOT) {
		t->shifts = left->shifts;
		t->shifts_hold = !left->shifts;
		t->shifts_lost = left->shifts_lost;
		return;
	}
	const struct term *right = &tree->terms[t->right];
	t->shifts = left->shifts || right->shifts;
	t->shifts_hold = t->kind == TERM_AND ? left->shifts_hold && right->shifts_hold : !t->shifts;
	t->shifts_lost = left->shifts_lost || right->shifts_lost;
	t->lost_right = left->shifts_lost || (left->shifts && (t->kind == TERM_OR || !left->shifts_hold));
}

static enum err
add_term(struct parser *p, struct term t, int32_t *out)
{
	struct filter_tree *tree = p->tree;
	set_shifts(tree, &t);
	if (tree->count >= 2 * FILTER_TERMS_MAX)
		return fail(ERR_LIMIT, "filter: more than %u terms (libpcap would take minutes): ask for nets or port ranges, or in "
		            "several goes", FILTER_TERMS_MAX);
	if (tree->count % 64 == 0) {
		struct term *more = realloc(tree->terms, (tree->count + 64) * sizeof *more);
		if (!more)
			return fail(ERR_NOMEM, "filter: no memory for %u terms", tree->count);
		tree->terms = more;
	}
	*out = (int32_t)tree->count;
	tree->terms[tree->count++] = t;
	return OK;
}

/* Appends tokens from .. to (excluded) to the written-out text. */
static enum err
say(struct parser *p, uint32_t from, uint32_t to)
{
	struct filter_tree *tree = p->tree;
	for (uint32_t i = from; i < to; i++) {
		const struct token *t = &p->tokens[i];
		uint32_t room = tree->text_bytes + t->len + 2;
		if (room > tree->text_room) {
			char *more = realloc(tree->text, (size_t)room * 2 + 256);
			if (!more)
				return fail(ERR_NOMEM, "filter: no memory for its text");
			tree->text = more;
			tree->text_room = room * 2 + 256;
		}
		memcpy(tree->text + tree->text_bytes, p->text + t->at, t->len);
		tree->text_bytes += t->len;
		tree->text[tree->text_bytes++] = ' ';
	}
	return OK;
}

/* A leaf of the tokens from .. p->at, with the qualifiers q before them when they stand elsewhere. */
static enum err
add_leaf(struct parser *p, uint32_t from, const struct qualifiers *q, struct term t, int32_t *out)
{
	const struct token *last = &p->tokens[p->at - 1];
	t.kind = TERM_LEAF;
	t.at = p->tokens[from].at;
	t.len = last->at + last->len - t.at;
	t.left = t.right = -1;
	t.say = p->tree->text_bytes;
	if (q)
		TRY(say(p, q->from, q->to));
	TRY(say(p, from, p->at));
	t.say_len = p->tree->text_bytes - t.say - 1;
	return add_term(p, t, out);
}

static const struct term nothing = { .kind = TERM_LEAF, .proto = -1, .left = -1, .right = -1 };

static bool
is_value(uint16_t kind)
{
	return kind == WORD_NUMBER || kind == WORD_NAME || kind == WORD_MAC || kind == WORD_ARCNET || kind == WORD_IP4 ||
	       kind == WORD_IP6;
}

static bool
is_calculation(uint16_t kind)
{
	return (kind < 128 && strchr("+-*/%&|^<>=", kind)) || kind == WORD_LEFT || kind == WORD_RIGHT || kind == WORD_GE ||
	       kind == WORD_LE || kind == WORD_NE;
}

static bool
is_comparison(uint16_t kind)
{
	return kind == '<' || kind == '>' || kind == '=' || kind == WORD_GE || kind == WORD_LE || kind == WORD_NE;
}

/* After a value in a place where a slash or a dash can only be a misspelt network or range. */
static enum err
check_behind_value(struct parser *p, const struct qualifiers *q, uint32_t from)
{
	const struct token *v = &p->tokens[from];
	if (v->kind == WORD_NUMBER && kind_at(p, p->at) == '/' && kind_at(p, p->at + 1) == WORD_NUMBER && v->number < 256) {
		uint32_t bits = p->tokens[p->at + 1].number;
		return fail(ERR_USAGE, "filter, column %u: '%u/%u' is no network here: write %s%u.0.0.0/%u", v->at + 1, v->number,
		            bits, q->type == WORD_NET ? "" : "net ", v->number, bits);
	}
	if ((q->type == WORD_PORT || q->type == WORD_PORTRANGE) && v->kind == WORD_NUMBER &&
	    (kind_at(p, p->at) == ':' || kind_at(p, p->at) == '-') && kind_at(p, p->at + 1) == WORD_NUMBER)
		return fail(ERR_USAGE, "filter, column %u: for a range of ports write portrange %u-%u", v->at + 1, v->number,
		            p->tokens[p->at + 1].number);
	if (is_value(kind_at(p, p->at)))
		return unexpected(p, "'and' or 'or'");
	return OK;
}

/* One value under the qualifiers q; what it implies comes from filter_value.c. */
static enum err
parse_value(struct parser *p, const struct qualifiers *q, int32_t *out)
{
	uint32_t from = p->at;
	const struct token *v = peek(p);
	if (!is_value(v->kind))
		return unexpected(p, "a value");
	bool looked_up = !q->known || q->type == 0 || q->type == WORD_HOST || q->type == WORD_NET || q->type == WORD_GATEWAY;
	if (v->kind == WORD_NAME && looked_up)
		return bad_name(p, v);
	if (!q->known)
		return fail(ERR_USAGE, "filter, column %u: what is '%.*s'? Write host, net or port before it", v->at + 1,
		            (int)(v->len < 60 ? v->len : 60), p->text + v->at);
	p->at++;
	const struct token *more = NULL;
	if ((v->kind == WORD_IP4 || v->kind == WORD_IP6) && peek(p)->kind == '/' && kind_at(p, p->at + 1) == WORD_NUMBER) {
		more = &p->tokens[p->at + 1];
		p->at += 2;
	} else if (v->kind == WORD_IP4 && peek(p)->kind == WORD_MASK && kind_at(p, p->at + 1) == WORD_IP4) {
		more = &p->tokens[p->at + 1];
		p->at += 2;
	}
	TRY(check_behind_value(p, q, from));
	struct term t = nothing;
	filter_value_implies(p->text, q->protocol, q->type, v, more, &t);
	return add_leaf(p, from, q, t, out);
}

/* An operand chain up to a comparison or the end of the calculation. Which operator binds tighter does not matter here: only
 * its extent does, and the protocol of its leftmost operand, the only one that libpcap's gen_arth() checks for. t is NULL
 * where the leftmost operand says nothing. */
static enum err
parse_calculation(struct parser *p, struct term *t)
{
	if (p->depth >= FILTER_DEPTH_MAX)
		return fail(ERR_LIMIT, "filter, column %u: more than %u nested parentheses", peek(p)->at + 1, FILTER_DEPTH_MAX);
	p->depth++;
	for (;;) {
		while (take(p, '-'))
			;
		const struct token *v = peek(p);
		if (take(p, '(')) {
			TRY(parse_calculation(p, t));
			if (!take(p, ')'))
				return unexpected(p, "')'");
		} else if (v->kind == WORD_PROTOCOL) {
			p->at++;
			if (!take(p, '['))
				return unexpected(p, "'['");
			TRY(parse_calculation(p, NULL));
			if (take(p, ':') && !take(p, WORD_NUMBER))
				return unexpected(p, "the number of bytes");
			if (!take(p, ']'))
				return unexpected(p, "']'");
			if (t)
				filter_protocol_implies((uint8_t)v->number, t);
		} else if (v->kind == WORD_NAME) {
			return bad_name(p, v);
		} else if (!take(p, WORD_NUMBER) && !take(p, WORD_LEN)) {
			return unexpected(p, "a number, len or a field such as tcp[13]");
		}
		if (!is_calculation(peek(p)->kind) || is_comparison(peek(p)->kind))
			break;
		p->at++;
		t = NULL;
	}
	p->depth--;
	return OK;
}

static enum err
parse_relation(struct parser *p, int32_t *out)
{
	uint32_t from = p->at;
	struct term t = nothing;
	TRY(parse_calculation(p, &t));
	if (!is_comparison(peek(p)->kind))
		return unexpected(p, "a comparison (=, !=, <, <=, >, >=)");
	p->at++;
	TRY(parse_calculation(p, &t));
	return add_leaf(p, from, NULL, t, out);
}

/* `80`, `(80)`, `((80))` after vlan and its like; none is fine. */
static void
skip_number(struct parser *p)
{
	uint32_t open = 0;
	while (kind_at(p, p->at + open) == '(')
		open++;
	if (kind_at(p, p->at + open) != WORD_NUMBER)
		return;
	for (uint32_t i = 0; i < open; i++)
		if (kind_at(p, p->at + open + 1 + i) != ')')
			return;
	p->at += 2 * open + 1;
}

/* A value, a comparison with a number, or a list in parentheses behind vpi, opc and the like. */
static enum err
skip_field_value(struct parser *p)
{
	if (take(p, '(')) {
		do {
			if (!take(p, WORD_NUMBER))
				return unexpected(p, "a number");
		} while (take(p, WORD_OR));
		return take(p, ')') ? OK : unexpected(p, "')'");
	}
	if (is_comparison(peek(p)->kind))
		p->at++;
	return take(p, WORD_NUMBER) ? OK : unexpected(p, "a number");
}

/* The operands of a word that takes some; *t tells what it does. */
static enum err
parse_operands(struct parser *p, uint16_t word, struct term *t)
{
	switch (word) {
	case WORD_LESS:
	case WORD_GREATER:
	case WORD_IFINDEX:
	case WORD_PF_RULE:
	case WORD_PF_SUBRULE:
		return take(p, WORD_NUMBER) ? OK : unexpected(p, "a number");
	case WORD_BYTE:
		if (!take(p, WORD_NUMBER))
			return unexpected(p, "an offset");
		if (peek(p)->kind >= 128 || !strchr("&|<>=", peek(p)->kind))
			return unexpected(p, "one of & | < > =");
		p->at++;
		return take(p, WORD_NUMBER) ? OK : unexpected(p, "a number");
	case WORD_VLAN:
	case WORD_MPLS:
		t->shift = SHIFT_TAG;
		skip_number(p);
		return OK;
	case WORD_PPPOES:
	case WORD_GENEVE:
		t->shift = SHIFT_LOST;
		skip_number(p);
		return OK;
	case WORD_PPPOED:
	case WORD_BOUND:
	case WORD_ALONE:
		return OK;
	case WORD_FIELD:
		return skip_field_value(p);
	case WORD_LLC:
		if (!take(p, WORD_NAME))
			(void)take(p, WORD_PF_RULE);
		return OK;
	case WORD_PF_NAME:
	case WORD_PF_ACTION:
		return take(p, WORD_NAME) ? OK : unexpected(p, "a name");
	case WORD_PF_REASON:
	case WORD_DIR:
		return take(p, WORD_NAME) || take(p, WORD_NUMBER) ? OK : unexpected(p, "a name or number");
	case WORD_SUBTYPE:
		return take(p, WORD_NAME) ? OK : unexpected(p, "the name of a subtype");
	case WORD_TYPE:
		if (!take(p, WORD_NAME) && !take(p, WORD_NUMBER))
			return unexpected(p, "the name of a type");
		if (take(p, WORD_SUBTYPE) && !take(p, WORD_NAME) && !take(p, WORD_NUMBER))
			return unexpected(p, "the name of a subtype");
		return OK;
	default:
		p->at--;
		return unexpected(p, "a term such as `host 10.0.0.1` or `tcp port 443`");
	}
}

/* src, dst, `src or dst`, `src and dst`, addr1 ... */
static bool
take_direction(struct parser *p)
{
	if (take(p, WORD_WLAN_ADDRESS))
		return true;
	uint16_t first = peek(p)->kind;
	if (first != WORD_SRC && first != WORD_DST)
		return false;
	p->at++;
	uint16_t other = first == WORD_SRC ? WORD_DST : WORD_SRC;
	if ((peek(p)->kind == WORD_OR || peek(p)->kind == WORD_AND) && kind_at(p, p->at + 1) == other)
		p->at += 2;
	return true;
}

static bool
is_type(uint16_t kind)
{
	return kind == WORD_HOST || kind == WORD_NET || kind == WORD_PORT || kind == WORD_PORTRANGE;
}

static enum err parse_unit(struct parser *p, struct qualifiers *q, enum shape *shape, int32_t *out);

/* Qualifiers and the value or values behind them; or a protocol alone; or a word with operands. */
static enum err
parse_primitive(struct parser *p, struct qualifiers *q, int32_t *out)
{
	uint32_t from = p->at;
	struct qualifiers mine = { .known = true, .from = from };
	bool protocol = peek(p)->kind == WORD_PROTOCOL;
	if (protocol)
		mine.protocol = (uint8_t)p->tokens[p->at++].number;
	uint16_t next = peek(p)->kind;
	bool directed = take_direction(p);
	if (is_type(peek(p)->kind) || (!directed && (next == WORD_PROTO || next == WORD_PROTOCHAIN || next == WORD_GATEWAY)))
		mine.type = p->tokens[p->at++].kind;
	if (directed || mine.type) {
		mine.to = p->at;
		*q = mine;
		enum shape shape = SHAPE_VALUE;
		if (peek(p)->kind != '(' && peek(p)->kind != '!')
			return parse_value(p, q, out);
		TRY(parse_unit(p, q, &shape, out));
		return shape == SHAPE_VALUE ? OK : fail(ERR_USAGE, "filter, column %u: only values may stand in these parentheses",
		                                        p->tokens[mine.to].at + 1);
	}
	*q = (struct qualifiers){ 0 };
	struct term t = nothing;
	if (next == WORD_BROADCAST || next == WORD_MULTICAST) {
		p->at++;
	} else if (next == WORD_TYPE || next == WORD_SUBTYPE || next == WORD_DIR) {
		p->at++;
		TRY(parse_operands(p, next, &t));
	} else if (protocol) {
		filter_protocol_implies(mine.protocol, &t);
	} else {
		p->at++;
		TRY(parse_operands(p, next, &t));
	}
	return add_leaf(p, from, NULL, t, out);
}

/* True when a calculation starts here rather than a value, a primitive or a logical parenthesis. */
static bool
starts_calculation(const struct parser *p)
{
	uint16_t kind = peek(p)->kind;
	if (kind == WORD_LEN || kind == '-')
		return true;
	if (kind == WORD_PROTOCOL)
		return kind_at(p, p->at + 1) == '[';
	if (kind == WORD_NUMBER)
		return is_calculation(kind_at(p, p->at + 1));
	return kind == '(' && p->closing[p->at] && is_calculation(kind_at(p, p->closing[p->at] + 1));
}

static enum err
parse_parenthesis(struct parser *p, struct qualifiers *q, enum shape *shape, int32_t *out)
{
	const struct token *open = peek(p);
	struct qualifiers outer = *q, inner = *q;
	p->at++;
	TRY(parse_list(p, &inner, false, shape, out));
	if (peek(p)->kind == WORD_END)
		return fail(ERR_USAGE, "filter, column %u: this parenthesis is never closed", open->at + 1);
	if (!take(p, ')'))
		return unexpected(p, "'and', 'or' or ')'");
	*q = outer;
	return OK;
}

/* One operand of and / or. *q: the qualifiers to inherit, then those that the next one inherits. */
static enum err
parse_unit(struct parser *p, struct qualifiers *q, enum shape *shape, int32_t *out)
{
	if (p->depth >= FILTER_DEPTH_MAX)
		return fail(ERR_LIMIT, "filter, column %u: more than %u nested parentheses", peek(p)->at + 1, FILTER_DEPTH_MAX);
	p->depth++;
	const struct token *first = peek(p);
	*shape = SHAPE_TERM;
	if (take(p, '!')) {
		int32_t child = -1;
		TRY(parse_unit(p, q, shape, &child));
		struct term t = { .kind = TERM_NOT, .proto = -1, .left = child, .right = -1, .at = first->at };
		TRY(add_term(p, t, out));
	} else if (starts_calculation(p)) {
		TRY(parse_relation(p, out));
		*q = (struct qualifiers){ 0 };
	} else if (first->kind == '(') {
		TRY(parse_parenthesis(p, q, shape, out));
	} else if (is_value(first->kind)) {
		TRY(parse_value(p, q, out));
		*shape = SHAPE_VALUE;
	} else if (first->kind == WORD_END || first->kind == WORD_BAD || first->kind < 128) {
		return unexpected(p, "a term such as `host 10.0.0.1` or `tcp port 443`");
	} else {
		TRY(parse_primitive(p, q, out));
	}
	p->depth--;
	return OK;
}

/* Operands joined by and / or, from the left. */
static enum err
parse_list(struct parser *p, struct qualifiers *q, bool top, enum shape *shape, int32_t *out)
{
	uint32_t from = p->at;
	int32_t left = -1;
	TRY(parse_unit(p, q, shape, &left));
	if (top && *shape == SHAPE_VALUE) {
		p->at = from;
		return unexpected(p, "a term such as `host 10.0.0.1` or `tcp port 443`");
	}
	while (peek(p)->kind == WORD_AND || peek(p)->kind == WORD_OR) {
		struct term t = { .proto = -1, .kind = take(p, WORD_AND) ? TERM_AND : TERM_OR, .at = p->tokens[from].at };
		if (t.kind == TERM_OR)
			p->at++;
		const struct token *operand = peek(p);
		enum shape next;
		int32_t right = -1;
		TRY(parse_unit(p, q, &next, &right));
		if (*shape == SHAPE_VALUE && next == SHAPE_TERM)
			return fail(ERR_USAGE, "filter, column %u: parentheses that begin with a value hold values only",
			            operand->at + 1);
		t.left = left;
		t.right = right;
		TRY(add_term(p, t, &left));
	}
	*out = left;
	return OK;
}

static enum err
parse_all(struct parser *p)
{
	uint32_t *open = calloc(p->count, sizeof *open), depth = 0;
	p->closing = calloc(p->count, sizeof *p->closing);
	if (!p->closing || !open) {
		free(open);
		return fail(ERR_NOMEM, "filter: no memory for %u words", p->count);
	}
	for (uint32_t i = 0; i < p->count; i++) {
		if (p->tokens[i].kind == '(')
			open[depth++] = i;
		else if (p->tokens[i].kind == ')' && depth)
			p->closing[open[--depth]] = i;
	}
	free(open);
	struct qualifiers q = { 0 };
	enum shape shape;
	TRY(parse_list(p, &q, true, &shape, &p->tree->root));
	if (peek(p)->kind == ')')
		return fail(ERR_USAGE, "filter, column %u: no parenthesis is open here", peek(p)->at + 1);
	if (peek(p)->kind == WORD_NAME)
		return bad_name(p, peek(p));
	return peek(p)->kind == WORD_END ? OK : unexpected(p, "'and' or 'or'");
}

enum err
filter_parse(const char *text, struct filter_tree *out, bool *name)
{
	struct filter_tree tree = { .root = -1 };
	struct parser p = { .text = text, .tree = &tree };
	*name = true; /* as long as it is not known */
	TRY(filter_cut(text, &p.tokens, &p.count));
	bool names = false;
	for (uint32_t i = 0; i < p.count; i++)
		names |= p.tokens[i].kind == WORD_NAME;
	enum err e = parse_all(&p);
	free(p.tokens);
	free(p.closing);
	*name = p.name || (e != OK && (names || e != ERR_USAGE));
	if (e == OK)
		*out = tree;
	else
		filter_tree_fini(&tree);
	return e;
}

void
filter_tree_fini(struct filter_tree *t)
{
	free(t->terms);
	free(t->text);
	*t = (struct filter_tree){ .root = -1 };
}

/* Every and / or stands in parentheses of its own; the left spine is as long as the expression. */
static void
write_term(const struct filter_tree *t, int32_t i, FILE *f)
{
	const struct term *n = &t->terms[i];
	switch (n->kind) {
	case TERM_LEAF:
		fwrite(t->text + n->say, 1, n->say_len, f);
		return;
	case TERM_NOT:
		fputs("not (", f);
		write_term(t, n->left, f);
		fputc(')', f);
		return;
	default:
		fputc('(', f);
		write_term(t, n->left, f);
		fputs(n->kind == TERM_AND ? ") and (" : ") or (", f);
		write_term(t, n->right, f);
		fputc(')', f);
	}
}

enum err
filter_tree_text(const struct filter_tree *t, int32_t term, char **out)
{
	struct text text;
	enum err e = ERR_LIMIT;
	for (size_t most = FILTER_TREE_TEXT_BYTES; e == ERR_LIMIT && most <= FILTER_TREE_TEXT_BYTES_MAX; most *= 8) {
		TRY(text_open(&text, most));
		write_term(t, term, text.to);
		e = text_close(&text, out);
	}
	return e;
}
