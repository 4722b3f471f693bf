#include "query/filter_fold.h"

#include <sys/types.h>

#include <pcap/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "query/filter_layout.h"

#define REGISTERS      (2 + BPF_MEMWORDS) /* A, X, M[] */
#define REGISTER_A     0
#define REGISTER_X     1
#define FOLD_STEPS_MAX 100000u /* instructions run for one class; beyond that all of it is BPF */
#define MEMO_MAX       4096u

struct state {
	struct value r[REGISTERS];
};

struct memo {
	uint32_t     pc;   /* 1 + pc, 0 empty */
	uint32_t     node;
	struct state state;/* dead registers zeroed */
};

struct fold {
	const struct program  *program;
	const struct bpf_insn *code;
	uint32_t               count;
	struct layout          layout;
	struct diagram        *diagram;
	struct memo           *memo;  /* the last answer for a place and what is known there; a power of two of them */
	uint32_t               memo_count, steps, depth;
};

/* How one instruction ends. */
enum step { STEP_NEXT, STEP_JUMP, STEP_BRANCH, STEP_LEAF };

struct outcome {
	uint32_t    pc;          /* JUMP: where to */
	uint32_t    leaf;        /* LEAF */
	struct test test;        /* BRANCH */
	bool        flip;        /* BRANCH: the test's yes is the jump's false */
};

/* --- which registers are still needed: backwards over code that only jumps forwards --- */

static uint32_t
live_before(const struct bpf_insn *i, uint32_t after)
{
	uint32_t a = 1u << REGISTER_A, x = 1u << REGISTER_X, m = i->k < BPF_MEMWORDS ? 1u << (2 + i->k) : 0;
	switch (BPF_CLASS(i->code)) {
	case BPF_LD:
		after &= ~a;
		return BPF_MODE(i->code) == BPF_IND ? after | x : BPF_MODE(i->code) == BPF_MEM ? after | m : after;
	case BPF_LDX:
		after &= ~x;
		return BPF_MODE(i->code) == BPF_MEM ? after | m : after;
	case BPF_ST:
		return (after & ~m) | a;
	case BPF_STX:
		return (after & ~m) | x;
	case BPF_ALU:
		return after | a | (BPF_OP(i->code) != BPF_NEG && BPF_SRC(i->code) == BPF_X ? x : 0);
	case BPF_JMP:
		return BPF_OP(i->code) == BPF_JA ? after : after | a | (BPF_SRC(i->code) == BPF_X ? x : 0);
	case BPF_RET:
		return BPF_RVAL(i->code) == BPF_A ? a : 0;
	default:
		return BPF_MISCOP(i->code) == BPF_TAX ? (after & ~x) | a : (after & ~a) | x;
	}
}

enum err
program_open(struct program **out, struct bpf **bpf)
{
	uint32_t count;
	const struct bpf_insn *code = bpf_code(*bpf, &count);
	struct program *p = calloc(1, sizeof *p);
	if (!p || !(p->live = calloc((size_t)count + 1, sizeof *p->live))) {
		free(p);
		return fail(ERR_NOMEM, "filter: no memory for its program");
	}
	for (uint32_t pc = count; pc-- > 0;) {
		const struct bpf_insn *i = &code[pc];
		uint32_t after = p->live[pc + 1];
		if (BPF_CLASS(i->code) == BPF_JMP && BPF_OP(i->code) == BPF_JA) /* backwards (protochain): never folded */
			after = i->k < count - pc - 1 ? p->live[pc + 1 + i->k] : 0;
		else if (BPF_CLASS(i->code) == BPF_JMP)
			after = (i->jt < count - pc - 1 ? p->live[pc + 1 + i->jt] : 0) |
			        (i->jf < count - pc - 1 ? p->live[pc + 1 + i->jf] : 0);
		p->live[pc] = live_before(i, after);
		p->reads_length |= (BPF_CLASS(i->code) == BPF_LD || BPF_CLASS(i->code) == BPF_LDX) && BPF_MODE(i->code) == BPF_LEN;
		if (BPF_CLASS(i->code) == BPF_LD && BPF_MODE(i->code) == BPF_ABS)
			for (uint32_t n = 0; n < 4 && i->k < LINK_BYTES_MAX - n; n++)
				p->reads[i->k + n] |= n == 0 || BPF_SIZE(i->code) == BPF_W || (n == 1 && BPF_SIZE(i->code) == BPF_H);
		if (BPF_CLASS(i->code) == BPF_LDX && BPF_MODE(i->code) == BPF_MSH && i->k < LINK_BYTES_MAX)
			p->reads[i->k] = 1;
	}
	for (uint32_t i = 0; i < LINK_BYTES_MAX; i++)
		if (p->reads[i])
			p->read[p->read_count++] = (uint8_t)i;
	p->bpf = *bpf;
	*bpf = NULL;
	*out = p;
	return OK;
}

void
program_close(struct program **p)
{
	if (!*p)
		return;
	bpf_close(&(*p)->bpf);
	free((*p)->live);
	free(*p);
	*p = NULL;
}

/* --- arithmetic on what is known --- */

static struct value
constant(uint32_t k)
{
	return (struct value){ .kind = VALUE_CONST, .add = k };
}

/* The known bits (mask) and their values (add) of anything. */
static struct value
unknown(uint32_t known, uint32_t bits)
{
	if (known == UINT32_MAX)
		return constant(bits);
	return (struct value){ .kind = VALUE_UNKNOWN, .mask = known, .add = bits & known };
}

static struct value
as_unknown(const struct value *v)
{
	if (v->kind == VALUE_UNKNOWN)
		return *v;
	if (v->kind == VALUE_COLUMN && v->add == 0)
		return (struct value){ .kind = VALUE_UNKNOWN, .mask = ~(v->mask << v->left) };
	return (struct value){ .kind = VALUE_UNKNOWN };
}

static bool
calculate_const(unsigned op, uint32_t a, uint32_t k, uint32_t *out)
{
	switch (op) {
	case BPF_ADD:
		*out = a + k;
		return true;
	case BPF_SUB:
		*out = a - k;
		return true;
	case BPF_MUL:
		*out = a * k;
		return true;
	case BPF_DIV:
	case BPF_MOD:
		if (k == 0)
			return false;
		*out = op == BPF_DIV ? a / k : a % k;
		return true;
	case BPF_AND:
		*out = a & k;
		return true;
	case BPF_OR:
		*out = a | k;
		return true;
	case BPF_XOR:
		*out = a ^ k;
		return true;
	case BPF_LSH:
	case BPF_RSH:
		if (k >= 32)
			return false;
		*out = op == BPF_LSH ? a << k : a >> k;
		return true;
	default:
		return false;
	}
}

/* A part of a column, changed by a constant, when it stays one. */
static bool
calculate_column(unsigned op, struct value *v, uint32_t k)
{
	if (op == BPF_ADD || op == BPF_SUB) {
		v->add += op == BPF_ADD ? k : -k;
		return true;
	}
	if (v->add)
		return false;
	switch (op) {
	case BPF_AND:
		v->mask &= k >> v->left;
		break;
	case BPF_OR:
		if (v->mask << v->left & k)
			return false;
		v->add = k; /* no bit in common: adding is the same */
		return true;
	case BPF_LSH:
		if (k >= 32 || v->left + k >= 32)
			return false;
		v->left += (uint8_t)k;
		v->mask &= UINT32_MAX >> v->left;
		break;
	case BPF_RSH:
		if (k > v->left) {
			if (k - v->left + v->shift >= 32)
				return false;
			v->mask >>= k - v->left;
			v->shift += (uint8_t)(k - v->left);
			v->left = 0;
		} else {
			v->left -= (uint8_t)k;
		}
		break;
	default:
		return false;
	}
	if (v->mask == 0)
		*v = constant(0);
	return true;
}

/* a op k; false: may reject the packet (a division by zero) or is beyond what is modelled. */
static bool
calculate(unsigned op, struct value *a, const struct value *b)
{
	if (b->kind != VALUE_CONST) {
		if (op == BPF_ADD && a->kind == VALUE_CONST && b->kind == VALUE_HEADER) {
			uint32_t k = a->add;
			*a = *b;
			a->add += k;
			return true;
		}
		*a = unknown(0, 0);
		return op != BPF_DIV && op != BPF_MOD && op != BPF_LSH && op != BPF_RSH;
	}
	uint32_t k = b->add;
	if ((op == BPF_DIV || op == BPF_MOD) && k == 0)
		return false;
	if ((op == BPF_LSH || op == BPF_RSH) && k >= 32)
		return false;
	if (a->kind == VALUE_CONST)
		return calculate_const(op, a->add, k, &a->add);
	if (a->kind == VALUE_HEADER && (op == BPF_ADD || op == BPF_SUB)) {
		a->add += op == BPF_ADD ? k : -k;
		return true;
	}
	if (a->kind == VALUE_COLUMN && calculate_column(op, a, k))
		return true;
	struct value u = as_unknown(a);
	if (op == BPF_AND)
		*a = unknown(u.mask | ~k, u.add & k);
	else if (op == BPF_OR)
		*a = unknown(u.mask | k, u.add | k);
	else if (op == BPF_LSH)
		*a = unknown(u.mask << k | ~(UINT32_MAX << k), u.add << k);
	else if (op == BPF_RSH)
		*a = unknown(u.mask >> k | ~(UINT32_MAX >> k), u.add >> k);
	else
		*a = unknown(0, 0);
	return true;
}

/* --- comparisons --- */

enum answer { ANSWER_NO, ANSWER_YES, ANSWER_TEST, ANSWER_BYTES };

static enum answer
answer(bool yes)
{
	return yes ? ANSWER_YES : ANSWER_NO;
}

static enum answer
compare_const(unsigned op, uint32_t a, uint32_t k)
{
	switch (op) {
	case BPF_JEQ:
		return answer(a == k);
	case BPF_JGT:
		return answer(a > k);
	case BPF_JGE:
		return answer(a >= k);
	default:
		return answer(a & k);
	}
}

static enum answer
compare_unknown(unsigned op, const struct value *v, uint32_t k)
{
	uint32_t least = v->add, most = v->add | ~v->mask;
	switch (op) {
	case BPF_JEQ:
		return (v->add ^ k) & v->mask ? ANSWER_NO : ANSWER_BYTES;
	case BPF_JGT:
		return least > k ? ANSWER_YES : most <= k ? ANSWER_NO : ANSWER_BYTES;
	case BPF_JGE:
		return least >= k ? ANSWER_YES : most < k ? ANSWER_NO : ANSWER_BYTES;
	default:
		return v->add & k ? ANSWER_YES : k & ~v->mask ? ANSWER_BYTES : ANSWER_NO;
	}
}

static enum answer
compare_equal(const struct fold *f, const struct value *v, uint32_t k, struct test *t)
{
	k -= v->add;
	if (k & ~(v->mask << v->left))
		return ANSWER_NO;
	if (v->column == COLUMN_IP_FRAG && k == 0 && f->layout.later_fragment && !(0x1fff & ~(v->mask << v->shift)))
		return ANSWER_NO; /* known to have an offset */
	*t = (struct test){ .column = v->column, .compare = COMPARE_EQ, .mask = v->mask << v->shift,
		            .value = k >> v->left << v->shift };
	return ANSWER_TEST;
}

static enum answer
compare_order(unsigned op, const struct value *v, uint32_t k, struct test *t)
{
	uint8_t compare = op == BPF_JGT ? COMPARE_GT : COMPARE_GE;
	if (v->add) {
		if (v->left)
			return ANSWER_BYTES;
	} else {
		/* x << n > k is x > k >> n, and x << n >= k is x >= k / 2^n rounded up */
		uint32_t low = v->left ? k & ~(UINT32_MAX << v->left) : 0;
		k >>= v->left;
		if (compare == COMPARE_GE && low)
			compare = COMPARE_GT;
		if (compare == COMPARE_GT ? v->mask <= k : v->mask < k)
			return ANSWER_NO;
		if (compare == COMPARE_GE && k == 0)
			return ANSWER_YES;
	}
	*t = (struct test){ v->column, compare, v->shift, v->mask, v->add, k };
	return ANSWER_TEST;
}

/* *flip: the test answers the opposite question. */
static enum answer
compare(const struct fold *f, unsigned op, const struct value *v, uint32_t k, struct test *t, bool *flip)
{
	*flip = false;
	if (v->kind == VALUE_CONST)
		return compare_const(op, v->add, k);
	if (v->kind == VALUE_HEADER)
		return ANSWER_BYTES;
	if (v->kind == VALUE_UNKNOWN)
		return compare_unknown(op, v, k);
	if (op == BPF_JEQ)
		return compare_equal(f, v, k, t);
	if (op != BPF_JSET)
		return compare_order(op, v, k, t);
	struct value part = *v;
	if (!calculate_column(BPF_AND, &part, k))
		return ANSWER_BYTES;
	if (part.kind == VALUE_CONST)
		return answer(part.add);
	enum answer zero = compare_equal(f, &part, 0, t);
	*flip = true;
	return zero == ANSWER_NO ? ANSWER_YES : zero == ANSWER_YES ? ANSWER_NO : zero;
}

/* --- running the program --- */

static uint32_t
load_bytes(uint16_t code)
{
	return BPF_SIZE(code) == BPF_W ? 4 : BPF_SIZE(code) == BPF_H ? 2 : 1;
}

static bool
load_indirect(const struct fold *f, const struct bpf_insn *i, const struct value *x, struct value *out)
{
	if (x->kind == VALUE_CONST)
		return layout_load(&f->layout.frame, x->add + i->k, load_bytes(i->code), out);
	if (x->kind != VALUE_HEADER)
		return false;
	uint32_t at = x->add + i->k;
	return at >= f->layout.ip4_at && layout_load(&f->layout.transport, at - f->layout.ip4_at, load_bytes(i->code), out);
}

static bool
step_load(const struct fold *f, const struct bpf_insn *i, struct state *s)
{
	bool to_x = BPF_CLASS(i->code) == BPF_LDX;
	struct value *to = &s->r[to_x ? REGISTER_X : REGISTER_A], v = { 0 };
	switch (BPF_MODE(i->code)) {
	case BPF_IMM:
		*to = constant(i->k);
		return true;
	case BPF_MEM:
		*to = s->r[2 + i->k % BPF_MEMWORDS];
		return true;
	case BPF_LEN:
		*to = (struct value){ .kind = VALUE_COLUMN, .column = COLUMN_WIRE_LEN, .mask = UINT32_MAX };
		return true;
	case BPF_ABS:
		if (!layout_load(&f->layout.frame, i->k, load_bytes(i->code), &v))
			return false;
		break;
	case BPF_IND:
		if (!load_indirect(f, i, &s->r[REGISTER_X], &v))
			return false;
		break;
	case BPF_MSH:
		if (i->k == f->layout.ip4_at) {
			*to = (struct value){ .kind = VALUE_HEADER };
			return true;
		}
		if (!layout_load(&f->layout.frame, i->k, 1, &v))
			return false;
		v = v.kind == VALUE_CONST ? constant((v.add & 15) * 4) : unknown(0xffffffc3, 0);
		break;
	default:
		return false;
	}
	*to = v;
	return true;
}

static enum step
step_branch(const struct fold *f, const struct bpf_insn *i, uint32_t pc, const struct state *s, struct outcome *o)
{
	if (BPF_OP(i->code) == BPF_JA) {
		o->pc = i->k < f->count - pc - 1 ? pc + 1 + i->k : f->count; /* backwards: the end, which is BPF */
		return STEP_JUMP;
	}
	struct value k = BPF_SRC(i->code) == BPF_X ? s->r[REGISTER_X] : constant(i->k);
	enum answer a = ANSWER_BYTES;
	if (k.kind == VALUE_CONST)
		a = compare(f, BPF_OP(i->code), &s->r[REGISTER_A], k.add, &o->test, &o->flip);
	if (a == ANSWER_TEST)
		return STEP_BRANCH;
	o->leaf = LEAF_BYTES;
	o->pc = pc + 1 + (a == ANSWER_YES ? i->jt : i->jf);
	return a == ANSWER_BYTES ? STEP_LEAF : STEP_JUMP;
}

static enum step
step(const struct fold *f, uint32_t pc, struct state *s, struct outcome *o)
{
	const struct bpf_insn *i = &f->code[pc];
	struct value k;
	o->leaf = LEAF_BYTES;
	switch (BPF_CLASS(i->code)) {
	case BPF_LD:
	case BPF_LDX:
		return step_load(f, i, s) ? STEP_NEXT : STEP_LEAF;
	case BPF_ST:
	case BPF_STX:
		s->r[2 + i->k % BPF_MEMWORDS] = s->r[BPF_CLASS(i->code) == BPF_ST ? REGISTER_A : REGISTER_X];
		return STEP_NEXT;
	case BPF_ALU:
		if (BPF_OP(i->code) == BPF_NEG) {
			struct value *a = &s->r[REGISTER_A];
			*a = a->kind == VALUE_CONST ? constant(-a->add) : unknown(0, 0);
			return STEP_NEXT;
		}
		k = BPF_SRC(i->code) == BPF_X ? s->r[REGISTER_X] : constant(i->k);
		return calculate(BPF_OP(i->code), &s->r[REGISTER_A], &k) ? STEP_NEXT : STEP_LEAF;
	case BPF_JMP:
		return step_branch(f, i, pc, s, o);
	case BPF_RET:
		k = BPF_RVAL(i->code) == BPF_A ? s->r[REGISTER_A] : constant(i->k);
		o->leaf = k.kind != VALUE_CONST ? LEAF_BYTES : k.add ? LEAF_YES : LEAF_NO;
		return STEP_LEAF;
	default:
		if (BPF_MISCOP(i->code) == BPF_TAX)
			s->r[REGISTER_X] = s->r[REGISTER_A];
		else
			s->r[REGISTER_A] = s->r[REGISTER_X];
		return STEP_NEXT;
	}
}

static struct memo *
memo_of(const struct fold *f, uint32_t pc, struct state *s)
{
	uint64_t hash = pc * 0x9e3779b97f4a7c15u;
	for (uint32_t i = 0; i < REGISTERS; i++) {
		if (!(f->program->live[pc] >> i & 1))
			s->r[i] = (struct value){ 0 };
		else
			hash = (hash ^ s->r[i].add ^ (uint64_t)s->r[i].mask << 20 ^ (uint64_t)s->r[i].kind << 56 ^
			        (uint64_t)s->r[i].column << 48) * 0xbf58476d1ce4e5b9u;
	}
	return &f->memo[(hash >> 32) & (f->memo_count - 1)];
}

/* The diagram of the program from pc on. Every branch goes one deeper. */
static uint32_t
fold_from(struct fold *f, uint32_t pc, const struct state *from)
{
	struct state s = *from;
	struct outcome o = { 0 };
	if (f->depth >= FILTER_CHAIN_MAX || pc >= f->count)
		return LEAF_BYTES;
	struct memo *m = memo_of(f, pc, &s);
	if (m->pc == pc + 1 && memcmp(&m->state, &s, sizeof s) == 0)
		return m->node;
	const struct state start = s;
	const uint32_t first = pc;
	for (;;) {
		if (pc >= f->count || ++f->steps > FOLD_STEPS_MAX)
			return LEAF_BYTES;
		enum step how = step(f, pc, &s, &o);
		if (how == STEP_LEAF)
			return o.leaf;
		if (how == STEP_BRANCH)
			break;
		pc = how == STEP_NEXT ? pc + 1 : o.pc;
	}
	f->depth++;
	uint32_t yes = fold_from(f, pc + 1 + f->code[pc].jt, &s);
	uint32_t no = fold_from(f, pc + 1 + f->code[pc].jf, &s);
	f->depth--;
	uint32_t node = diagram_node(f->diagram, &o.test, o.flip ? no : yes, o.flip ? yes : no);
	*m = (struct memo){ first + 1, node, start };
	return node;
}

uint32_t
program_fold(const struct program *p, struct diagram *d, const struct link *l, const struct flow *flow)
{
	struct fold f = { .program = p, .diagram = d };
	struct state start = { 0 }; /* bpf_filter() starts with A and X at 0; M[] is never read before it is written */
	f.code = bpf_code(p->bpf, &f.count);
	for (f.memo_count = 16; f.memo_count < f.count && f.memo_count < MEMO_MAX;)
		f.memo_count *= 2;
	f.memo = calloc(f.memo_count, sizeof *f.memo);
	if (!f.memo)
		return LEAF_BYTES;
	for (uint32_t i = 2; i < REGISTERS; i++)
		start.r[i] = unknown(0, 0);
	layout_of(&f.layout, l, p->reads, flow);
	uint32_t node = fold_from(&f, 0, &start);
	free(f.memo);
	return f.steps > FOLD_STEPS_MAX ? LEAF_BYTES : node;
}
