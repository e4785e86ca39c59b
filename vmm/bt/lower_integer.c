/* SPDX-License-Identifier: MIT */
/*
 * Integer instructions, as themselves: the guest's instruction runs with the registers that the
 * host has for the guest's, and memory where the soft TLB says. A register that stays in memory is
 * loaded before and stored behind.
 */
#include "vmm/bt/decode_impl.h"
#include "vmm/bt/lower.h"

/* What an instruction of ModRM does to the general registers that it names. */
struct place {
	const struct operand *operand; /* NULL: the field names no general register */
	unsigned reg;                  /* the guest's */
	unsigned host;
};

static bool is_general(enum opcode_source s, enum opcode_source a, enum opcode_source b)
{
	return s == a || s == b;
}

/* The operand that a field of the encoding names, if it is a general register. */
static void place_find(const struct insn *insn, enum opcode_source a, enum opcode_source b,
		       struct place *out)
{
	unsigned at = 0;

	*out = (struct place){.host = INSN_NO_REGISTER};
	for (unsigned row = 0; row < OPCODE_OPERANDS && insn->opcode->operand[row]; row++) {
		enum opcode_source source = OPERAND_SOURCE(insn->opcode->operand[row]);
		const struct operand *o;

		if (source == SRC_H && insn->encoding == INSN_LEGACY)
			continue;
		o = &insn->operand[at++];
		if (is_general(source, a, b) && o->kind == OPERAND_GPR) {
			out->operand = o;
			/* AH to DH have the numbers of SPL to DIL. */
			out->reg = o->reg >= CPU_GPRS ? o->reg - CPU_GPRS : o->reg;
		}
	}
}

static bool is_high_byte(const struct place *p)
{
	return p->operand && p->operand->reg >= CPU_GPRS;
}

/* Those that the identity translation takes as they are. */
static bool is_plain(const struct insn *insn)
{
	switch (insn->opcode->id) {
	case INSN_ADD:
	case INSN_OR:
	case INSN_ADC:
	case INSN_SBB:
	case INSN_AND:
	case INSN_SUB:
	case INSN_XOR:
	case INSN_CMP:
	case INSN_TEST:
	case INSN_INC:
	case INSN_DEC:
	case INSN_NEG:
	case INSN_NOT:
	case INSN_MOV:
	case INSN_MOV_IMMEDIATE:
	case INSN_MOVZX:
	case INSN_MOVSX:
	case INSN_XCHG:
	case INSN_XADD:
	case INSN_CMPXCHG:
	case INSN_IMUL:
	case INSN_IMUL_1:
	case INSN_MUL:
	case INSN_ROL:
	case INSN_ROR:
	case INSN_RCL:
	case INSN_RCR:
	case INSN_SHL:
	case INSN_SHR:
	case INSN_SAR:
	case INSN_SHLD:
	case INSN_SHRD:
	case INSN_BSF:
	case INSN_BSR:
	case INSN_TZCNT:
	case INSN_LZCNT:
	case INSN_POPCNT:
	case INSN_ADCX:
	case INSN_ADOX:
	case INSN_ANDN:
	case INSN_BEXTR:
	case INSN_BZHI:
	case INSN_BLSI:
	case INSN_BLSMSK:
	case INSN_BLSR:
	case INSN_MULX:
	case INSN_PDEP:
	case INSN_PEXT:
	case INSN_RORX:
	case INSN_SARX:
	case INSN_SHLX:
	case INSN_SHRX:
	case INSN_SETCC:
	case INSN_CMOVCC:
	case INSN_CRC32:
	case INSN_MOVBE:
		return true;
	/* With a register they may reach any byte. */
	case INSN_BT:
	case INSN_BTS:
	case INSN_BTR:
	case INSN_BTC:
		return insn->modrm >> 6 == 3 || insn->immediate_at;
	default:
		return false;
	}
}

/* Those without ModRM, and without registers that are elsewhere. */
static bool is_verbatim(const struct insn *insn)
{
	switch (insn->opcode->id) {
	case INSN_CBW:
	case INSN_CWD:
	case INSN_SAHF:
	case INSN_LAHF:
	case INSN_CLC:
	case INSN_STC:
	case INSN_CMC:
	case INSN_CLD:
	case INSN_STD:
		return true;
	case INSN_NOP:
		return insn->code == 0x90 && insn->map == INSN_MAP_1BYTE;
	case INSN_ADD:
	case INSN_OR:
	case INSN_ADC:
	case INSN_SBB:
	case INSN_AND:
	case INSN_SUB:
	case INSN_XOR:
	case INSN_CMP:
	case INSN_TEST:
		return true; /* of AL or EAX and an immediate */
	default:
		return false;
	}
}

static bool counts_by_cl(const struct insn *insn)
{
	for (unsigned i = 0; i < OPCODE_OPERANDS; i++)
		if (OPERAND_SOURCE(insn->opcode->operand[i]) == SRC_CX)
			return true;
	return false;
}

static const struct operand *memory_of(const struct insn *insn)
{
	for (unsigned i = 0; i < INSN_OPERANDS; i++)
		if (insn->operand[i].kind == OPERAND_MEMORY)
			return &insn->operand[i];
	return NULL;
}

/* Give a place its host register: itself, or the next that is free. */
static bool place_get(struct lowering *l, struct place *p, const uint8_t *spare, unsigned *used)
{
	if (!p->operand)
		return true;
	if (!is_homed(p->reg)) {
		p->host = host_of(p->reg);
		return true;
	}
	if (spare[*used] == INSN_NO_REGISTER)
		return false;
	p->host = spare[(*used)++];
	emit_load(&l->e, p->host, home_of(p->reg), 8);
	return true;
}

static void place_put(struct lowering *l, const struct place *p)
{
	if (p->operand && is_homed(p->reg) && p->operand->access & OPERAND_WRITE)
		emit_store(&l->e, home_of(p->reg), p->host, 8);
}

static bool lower_plain(struct lowering *l)
{
	const struct insn *insn = l->insn;
	const struct operand *memory = memory_of(insn);
	bool cl = counts_by_cl(insn);
	struct emit_change change = {.rm = INSN_NO_REGISTER, .vvvv = INSN_NO_REGISTER};
	uint8_t spare[4] = {REG_T, REG_H, REG_C, INSN_NO_REGISTER};
	struct place reg, rm, vvvv;
	unsigned used = 0, homed;

	if (!insn->has_modrm || insn->encoding == INSN_EVEX)
		return false;
	place_find(insn, SRC_G, SRC_G, &reg);
	place_find(insn, SRC_E, SRC_R, &rm);
	place_find(insn, SRC_B, SRC_B, &vvvv);
	/* CH is not in RCX, and a register of REX cannot be beside any of them. */
	if (is_high_byte(&reg) || is_high_byte(&rm))
		return false;
	homed = (reg.operand && is_homed(reg.reg)) + (rm.operand && is_homed(rm.reg)) +
		(vvvv.operand && is_homed(vvvv.reg));
	if (homed + cl > (memory ? 1u : 3u) || (memory && memory->size > 8))
		return false;
	if (memory) {
		change.memory = true;
		change.m = lower_memory(l, memory->size, memory->access & OPERAND_WRITE);
		spare[0] = REG_C;
		spare[1] = INSN_NO_REGISTER;
	}
	if (cl) {
		emit_move(&l->e, REG_C, REG_RCX);
		spare[memory ? 0 : 2] = INSN_NO_REGISTER;
	}
	if (!place_get(l, &reg, spare, &used) || !place_get(l, &rm, spare, &used) ||
	    !place_get(l, &vvvv, spare, &used))
		l->e.full = true; /* counted above: it does not come to this */
	change.reg = (uint8_t)reg.host;
	change.rm = (uint8_t)rm.host;
	change.vvvv = (uint8_t)vvvv.host;
	if (!emit_insn(&l->e, insn, l->raw, &change))
		l->e.full = true;
	place_put(l, &reg);
	place_put(l, &rm);
	place_put(l, &vvvv);
	return true;
}

static bool lower_lea(struct lowering *l)
{
	const struct insn *insn = l->insn;
	struct place reg;

	place_find(insn, SRC_G, SRC_G, &reg);
	if (insn->operand_size == 2 || insn->memory.segment >= CPU_FS)
		return false;
	lower_address(l, insn, l->next_rip);
	if (insn->operand_size == 4) { /* MOV T, T of 32 bits */
		emit_lea(&l->e, REG_T, emit_at(REG_T, 0), 4);
	}
	lower_set(l, reg.reg, REG_T);
	return true;
}

/* MOV of an immediate to a register that the opcode names. */
static bool lower_constant(struct lowering *l)
{
	const struct insn *insn = l->insn;
	const struct operand *o = &insn->operand[0];
	uint64_t value = insn->immediate;

	if (o->kind != OPERAND_GPR || o->size < 4 || insn->operand[1].kind != OPERAND_IMMEDIATE)
		return false;
	if (o->size == 4)
		value = (uint32_t)value;
	if (is_homed(o->reg)) {
		emit_constant(&l->e, REG_T, value);
		lower_set(l, o->reg, REG_T);
	} else {
		emit_constant(&l->e, host_of(o->reg), value);
	}
	return true;
}

bool lower_integer(struct lowering *l)
{
	const struct insn *insn = l->insn;

	if (!insn->has_modrm && insn->encoding == INSN_LEGACY && is_verbatim(insn)) {
		for (unsigned i = 0; i < insn->length; i++)
			emit_byte(&l->e, l->raw[i]);
		return true;
	}
	switch (insn->opcode->id) {
	case INSN_LEA:
		return lower_lea(l);
	case INSN_NOP: /* of several bytes */
	case INSN_PREFETCH:
	case INSN_PAUSE:
		return insn->opcode->id != INSN_PAUSE;
	case INSN_MOV_IMMEDIATE:
	case INSN_MOV:
		if (!insn->has_modrm)
			return lower_constant(l);
		break;
	default:
		break;
	}
	return is_plain(insn) && lower_plain(l);
}
