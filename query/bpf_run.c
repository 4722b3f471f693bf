#include "query/bpf_run.h"

#include <sys/types.h>

#include <pcap/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

struct machine {
	uint32_t a, x, m[BPF_MEMWORDS];
	uint32_t pc;
};

bool
bpf_jumps_back(const struct bpf_insn *code, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (BPF_CLASS(code[i].code) == BPF_JMP && BPF_OP(code[i].code) == BPF_JA && code[i].k >= count - i - 1)
			return true;
	return false;
}

bool
bpf_reads_unset(const struct bpf_insn *code, uint32_t count)
{
	/* backwards: which registers are read from here on before they are written */
	uint16_t *read = calloc((size_t)count + 1, sizeof *read);
	if (!read)
		return true; /* careful costs time only */
	for (uint32_t pc = count; pc-- > 0;) {
		const struct bpf_insn *i = &code[pc];
		uint16_t bit = (uint16_t)(1u << i->k % BPF_MEMWORDS), class = BPF_CLASS(i->code);
		read[pc] = read[pc + 1];
		if (class == BPF_RET)
			read[pc] = 0;
		else if (class == BPF_JMP && BPF_OP(i->code) == BPF_JA)
			read[pc] = i->k < count - pc - 1 ? read[pc + 1 + i->k] : 0;
		else if (class == BPF_JMP)
			read[pc] = (i->jt < count - pc - 1 ? read[pc + 1 + i->jt] : 0) |
			           (i->jf < count - pc - 1 ? read[pc + 1 + i->jf] : 0);
		else if (class == BPF_ST || class == BPF_STX)
			read[pc] &= (uint16_t)~bit;
		else if ((class == BPF_LD || class == BPF_LDX) && BPF_MODE(i->code) == BPF_MEM)
			read[pc] |= bit;
	}
	bool found = read[0] != 0;
	free(read);
	return found;
}

/* False: outside of the captured bytes, or an unknown mode; the packet is rejected. */
static bool
run_load(struct machine *m, const struct bpf_insn *i, const uint8_t *bytes, uint32_t wire_len, uint32_t cap_len)
{
	uint32_t *to = BPF_CLASS(i->code) == BPF_LDX ? &m->x : &m->a;
	uint32_t at = i->k, size = BPF_SIZE(i->code) == BPF_W ? 4 : BPF_SIZE(i->code) == BPF_H ? 2 : 1;
	switch (BPF_MODE(i->code)) {
	case BPF_IMM:
		*to = i->k;
		return true;
	case BPF_LEN:
		*to = wire_len;
		return true;
	case BPF_MEM:
		*to = m->m[i->k % BPF_MEMWORDS];
		return true;
	case BPF_IND:
		at += m->x;
		break;
	case BPF_ABS:
		break;
	case BPF_MSH:
		if (at >= cap_len)
			return false;
		m->x = (bytes[at] & 15u) * 4;
		return true;
	default:
		return false;
	}
	if (size > cap_len || at > cap_len - size)
		return false;
	*to = size == 4 ? load_be32(bytes + at) : size == 2 ? load_be16(bytes + at) : bytes[at];
	return true;
}

/* False: a division by zero, or an unknown operation; the packet is rejected. */
static bool
run_calculation(struct machine *m, const struct bpf_insn *i)
{
	uint32_t k = BPF_SRC(i->code) == BPF_X ? m->x : i->k;
	switch (BPF_OP(i->code)) {
	case BPF_ADD:
		m->a += k;
		return true;
	case BPF_SUB:
		m->a -= k;
		return true;
	case BPF_MUL:
		m->a *= k;
		return true;
	case BPF_DIV:
		m->a = k ? m->a / k : 0;
		return k != 0;
	case BPF_MOD:
		m->a = k ? m->a % k : 0;
		return k != 0;
	case BPF_AND:
		m->a &= k;
		return true;
	case BPF_OR:
		m->a |= k;
		return true;
	case BPF_XOR:
		m->a ^= k;
		return true;
	case BPF_LSH:
		m->a = k < 32 ? m->a << k : 0;
		return true;
	case BPF_RSH:
		m->a = k < 32 ? m->a >> k : 0;
		return true;
	case BPF_NEG:
		m->a = -m->a;
		return true;
	default:
		return false;
	}
}

static bool
jump_holds(const struct machine *m, const struct bpf_insn *i)
{
	uint32_t k = BPF_SRC(i->code) == BPF_X ? m->x : i->k;
	switch (BPF_OP(i->code)) {
	case BPF_JEQ:
		return m->a == k;
	case BPF_JGT:
		return m->a > k;
	case BPF_JGE:
		return m->a >= k;
	default:
		return m->a & k;
	}
}

bool
bpf_run(const struct bpf_insn *code, uint32_t count, const uint8_t *bytes, uint32_t wire_len, uint32_t cap_len)
{
	/* Brent's cycle detection on the states at backward jumps: the state of 2^n jumps ago is kept */
	struct machine m = { 0 }, old = { .pc = UINT32_MAX };
	uint64_t jumps = 0, next = 1;
	while (m.pc < count) {
		const struct bpf_insn *i = &code[m.pc++];
		switch (BPF_CLASS(i->code)) {
		case BPF_LD:
		case BPF_LDX:
			if (!run_load(&m, i, bytes, wire_len, cap_len))
				return false;
			break;
		case BPF_ST:
			m.m[i->k % BPF_MEMWORDS] = m.a;
			break;
		case BPF_STX:
			m.m[i->k % BPF_MEMWORDS] = m.x;
			break;
		case BPF_ALU:
			if (!run_calculation(&m, i))
				return false;
			break;
		case BPF_JMP:
			if (BPF_OP(i->code) != BPF_JA) {
				m.pc += jump_holds(&m, i) ? i->jt : i->jf;
				break;
			}
			m.pc += i->k;
			if (i->k < UINT32_MAX / 2)
				break;
			if (memcmp(&m, &old, sizeof m) == 0)
				return false;
			if (++jumps == next) {
				old = m;
				next *= 2;
			}
			break;
		case BPF_RET:
			return BPF_RVAL(i->code) == BPF_A ? m.a != 0 : i->k != 0;
		default:
			if (BPF_MISCOP(i->code) == BPF_TAX)
				m.x = m.a;
			else
				m.a = m.x;
		}
	}
	return false;
}
