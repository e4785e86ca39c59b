/* SPDX-License-Identifier: MIT */
/*
 * Integer instructions, as themselves: the guest's instruction runs with the registers that the
 * host has for the guest's, and memory where the soft TLB says. A register that stays in memory is
 * loaded before and stored behind.
 */
#include "vmm/bt/decode_impl.h"
#include "vmm/bt/lower.h"
#include "vmm/bt/native.h"

static bool is_general(enum opcode_source s, enum opcode_source a, enum opcode_source b)
{
	return s == a || s == b;
}

void lower_place_find(const struct insn *insn, enum opcode_source a, enum opcode_source b,
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
static const uint8_t plain[INSN_IDS] = {
	[INSN_ADD] = 1,   [INSN_OR] = 1,     [INSN_ADC] = 1,           [INSN_SBB] = 1,
	[INSN_AND] = 1,   [INSN_SUB] = 1,    [INSN_XOR] = 1,           [INSN_CMP] = 1,
	[INSN_TEST] = 1,  [INSN_INC] = 1,    [INSN_DEC] = 1,           [INSN_NEG] = 1,
	[INSN_NOT] = 1,   [INSN_MOV] = 1,    [INSN_MOV_IMMEDIATE] = 1, [INSN_MOVZX] = 1,
	[INSN_MOVSX] = 1, [INSN_XCHG] = 1,   [INSN_XADD] = 1,          [INSN_CMPXCHG] = 1,
	[INSN_IMUL] = 1,  [INSN_IMUL_1] = 1, [INSN_MUL] = 1,           [INSN_DIV] = 1,
	[INSN_IDIV] = 1,  [INSN_ROL] = 1,    [INSN_ROR] = 1,           [INSN_RCL] = 1,
	[INSN_RCR] = 1,   [INSN_SHL] = 1,    [INSN_SHR] = 1,           [INSN_SAR] = 1,
	[INSN_SHLD] = 1,  [INSN_SHRD] = 1,   [INSN_BSF] = 1,           [INSN_BSR] = 1,
	[INSN_TZCNT] = 1, [INSN_LZCNT] = 1,  [INSN_POPCNT] = 1,        [INSN_ADCX] = 1,
	[INSN_ADOX] = 1,  [INSN_ANDN] = 1,   [INSN_BEXTR] = 1,         [INSN_BZHI] = 1,
	[INSN_BLSI] = 1,  [INSN_BLSMSK] = 1, [INSN_BLSR] = 1,          [INSN_MULX] = 1,
	[INSN_PDEP] = 1,  [INSN_PEXT] = 1,   [INSN_RORX] = 1,          [INSN_SARX] = 1,
	[INSN_SHLX] = 1,  [INSN_SHRX] = 1,   [INSN_SETCC] = 1,         [INSN_CMOVCC] = 1,
	[INSN_CRC32] = 1, [INSN_MOVBE] = 1,
};

static bool is_plain(const struct insn *insn)
{
	switch (insn->opcode->id) {
	/* With a register they may reach any byte. */
	case INSN_BT:
	case INSN_BTS:
	case INSN_BTR:
	case INSN_BTC:
		return insn->modrm >> 6 == 3 || insn->immediate_at;
	default:
		return plain[insn->opcode->id];
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

bool lower_names_cx(const struct insn *insn)
{
	for (unsigned i = 0; i < OPCODE_OPERANDS; i++)
		if (OPERAND_SOURCE(insn->opcode->operand[i]) == SRC_CX)
			return true;
	return false;
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

/* The parts of an instruction with ModRM, and how they are had. */
struct plain {
	const struct operand *memory;
	struct place reg, rm, vvvv;
	bool cl;   /* the count of a shift */
	bool high; /* AH to BH: no register beside it may need a REX */
	bool rcx;  /* of those with `high`: the guest's RCX must be in the host's */
};

static unsigned count_homed(const struct plain *p)
{
	return (p->reg.operand && is_homed(p->reg.reg)) + (p->rm.operand && is_homed(p->rm.reg)) +
	       (p->vvvv.operand && is_homed(p->vvvv.reg));
}

static bool is_rcx(const struct place *p)
{
	return p->operand && p->reg == CPU_RCX;
}

static bool is_written(const struct place *p)
{
	return p->operand && p->operand->access & OPERAND_WRITE;
}

static bool plain_find(const struct insn *insn, struct plain *p)
{
	p->memory = native_memory_operand(insn);
	p->cl = lower_names_cx(insn);
	lower_place_find(insn, SRC_G, SRC_G, &p->reg);
	lower_place_find(insn, SRC_E, SRC_R, &p->rm);
	lower_place_find(insn, SRC_B, SRC_B, &p->vvvv);
	p->high = is_high_byte(&p->reg) || is_high_byte(&p->rm);
	p->rcx = p->high && (is_rcx(&p->reg) || is_rcx(&p->rm));
	if (p->memory && p->memory->size > 8)
		return false;
	if (p->high && p->memory && (p->rcx || p->cl))
		return false;
	return count_homed(p) + p->cl <= (p->memory ? 1u : 3u);
}

static void plain_registers(struct lowering *l, struct plain *p, struct emit_change *change)
{
	uint8_t spare[4] = {GLUE_T, GLUE_H, GLUE_C, INSN_NO_REGISTER};
	unsigned used = 0;

	if (p->memory) {
		spare[0] = p->cl ? INSN_NO_REGISTER : GLUE_C;
		spare[1] = INSN_NO_REGISTER;
	} else if (p->cl) {
		spare[2] = INSN_NO_REGISTER;
	}
	if (p->cl || p->rcx)
		emit_move(&l->e, GLUE_C, HOST_RCX);
	/* plain_find has counted: there are enough. */
	if (!place_get(l, &p->reg, spare, &used) || !place_get(l, &p->rm, spare, &used) ||
	    !place_get(l, &p->vvvv, spare, &used))
		l->e.full = true;
	if (p->rcx && is_rcx(&p->reg))
		p->reg.host = GLUE_C;
	if (p->rcx && is_rcx(&p->rm))
		p->rm.host = GLUE_C;
	change->reg = (uint8_t)(is_high_byte(&p->reg) ? INSN_NO_REGISTER : p->reg.host);
	change->rm = (uint8_t)(is_high_byte(&p->rm) ? INSN_NO_REGISTER : p->rm.host);
	change->vvvv = (uint8_t)p->vvvv.host;
}

/* By itself, whatever it has for operands; ADX is not on each host. */
static bool may_fault(const struct insn *insn)
{
	return insn->opcode->id == INSN_DIV || insn->opcode->id == INSN_IDIV ||
	       insn->opcode->id == INSN_ADCX || insn->opcode->id == INSN_ADOX;
}

static bool lower_plain(struct lowering *l)
{
	const struct insn *insn = l->insn;
	struct emit_change change = {0};
	struct plain p;

	if (!insn->has_modrm || insn->encoding == INSN_EVEX || !plain_find(insn, &p))
		return false;
	if (p.memory) {
		change.memory = true;
		change.m = lower_memory(l, p.memory->size, p.memory->access & OPERAND_WRITE);
		if (p.high) {
			emit_lea(&l->e, GLUE_C, change.m, 8);
			change.m = emit_at(GLUE_C, 0);
		}
	}
	plain_registers(l, &p, &change);
	if (may_fault(insn))
		lower_may_fault(l);
	else
		lower_touch(l);
	if (!emit_insn(&l->e, insn, l->raw, &change))
		l->e.full = true;
	/* MULX's high half is the later of both. */
	place_put(l, &p.vvvv);
	place_put(l, &p.reg);
	place_put(l, &p.rm);
	if (p.rcx &&
	    ((is_rcx(&p.reg) && is_written(&p.reg)) || (is_rcx(&p.rm) && is_written(&p.rm))))
		emit_move(&l->e, HOST_RCX, GLUE_C);
	return true;
}

static bool lower_lea(struct lowering *l)
{
	const struct insn *insn = l->insn;
	struct place reg;

	lower_place_find(insn, SRC_G, SRC_G, &reg);
	if (insn->operand_size == 2 || insn->memory.segment >= CPU_FS)
		return false;
	lower_address(l, insn, l->next_rip);
	if (insn->operand_size == 4) { /* MOV T, T of 32 bits */
		emit_lea(&l->e, GLUE_T, emit_at(GLUE_T, 0), 4);
	}
	lower_set(l, reg.reg, GLUE_T);
	return true;
}

/* MOV of an immediate, XCHG with RAX, BSWAP: the opcode names a register. */
static bool lower_short(struct lowering *l)
{
	const struct insn *insn = l->insn;
	const struct operand *o = &insn->operand[0];
	unsigned reg = o->reg;

	if (insn->has_modrm || o->kind != OPERAND_GPR || insn->operand[1].kind == OPERAND_MEMORY)
		return false;
	if (reg == CPU_GPRS + CPU_RCX) { /* CH */
		emit_move(&l->e, GLUE_C, HOST_RCX);
		emit_short(&l->e, insn, l->raw, INSN_NO_REGISTER);
		emit_move(&l->e, HOST_RCX, GLUE_C);
	} else if (reg >= CPU_GPRS) {
		emit_short(&l->e, insn, l->raw, INSN_NO_REGISTER);
	} else if (is_homed(reg)) {
		emit_load(&l->e, GLUE_T, home_of(reg), 8);
		emit_short(&l->e, insn, l->raw, GLUE_T);
		emit_store(&l->e, home_of(reg), GLUE_T, 8);
	} else {
		emit_short(&l->e, insn, l->raw, host_of(reg));
	}
	return true;
}

bool lower_integer(struct lowering *l)
{
	const struct insn *insn = l->insn;

	if (!insn->has_modrm && insn->encoding == INSN_LEGACY && is_verbatim(insn)) {
		emit_verbatim(&l->e, insn, l->raw);
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
	case INSN_XCHG:
	case INSN_BSWAP:
		if (!insn->has_modrm)
			return lower_short(l);
		break;
	default:
		break;
	}
	return is_plain(insn) && lower_plain(l);
}
