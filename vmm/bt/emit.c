/* SPDX-License-Identifier: MIT */
/* Host code. Encodings: AMD64 vol. 3, chapter 1; SDM vol. 2, chapter 2. */
#include "vmm/bt/emit.h"

#include "vmm/bt/decode_impl.h"
#include "vmm/core/cpu_state.h"

#define PREFIX_GS 0x65

#define VEX_NP 0
#define VEX_F3 2
#define VEX_F2 3

static void writes(struct emit *e, unsigned reg)
{
	e->written |= 1u << reg;
}

/* The bits of REX that an operand asks for. */
static unsigned rex_rm(const struct emit_memory *m)
{
	return (m->index != INSN_NO_REGISTER && m->index & 8 ? REX_X : 0) |
	       (m->base != INSN_NO_REGISTER && m->base & 8 ? REX_B : 0);
}

static unsigned rex_reg(unsigned reg)
{
	return reg & 8 ? REX_R : 0;
}

static unsigned scale_bits(unsigned scale)
{
	return scale == 8 ? 3u : scale == 4 ? 2u : scale == 2 ? 1u : 0u;
}

/* ModRM, SIB and displacement. `reg` is the middle field, of which three bits go here. */
static void emit_modrm(struct emit *e, unsigned reg, const struct emit_memory *m)
{
	bool indexed = m->index != INSN_NO_REGISTER, based = m->base != INSN_NO_REGISTER;
	bool small = m->displacement == (int8_t)m->displacement;
	/* RBP and R13 have no form without a displacement. */
	unsigned mod = !based                                             ? 0
		       : m->displacement == 0 && (m->base & 7) != CPU_RBP ? 0
		       : small                                            ? 1
									  : 2;

	reg = (reg & 7) << 3;
	if (!based || indexed || (m->base & 7) == CPU_RSP) {
		emit_byte(e, mod << 6 | reg | 4);
		emit_byte(e, scale_bits(m->scale) << 6 | (indexed ? m->index & 7u : 4u) << 3 |
				     (based ? m->base & 7u : 5u));
	} else {
		emit_byte(e, mod << 6 | reg | (m->base & 7));
	}
	if (mod == 1)
		emit_byte(e, (uint8_t)m->displacement);
	else if (mod == 2 || !based)
		emit_number(e, (uint32_t)m->displacement, 4);
}

/* An instruction of one opcode byte, or of 0F and one (`code` above 0xff), on memory. */
static void emit_on_memory(struct emit *e, unsigned code, unsigned reg, const struct emit_memory *m,
			   unsigned size)
{
	unsigned rex = rex_reg(reg) | rex_rm(m) | (size == 8 ? REX_W : 0);

	if (m->state)
		emit_byte(e, PREFIX_GS);
	if (size == 2)
		emit_byte(e, 0x66);
	/* SPL to DIL want a REX. */
	if (rex || (size == 1 && reg >= CPU_RSP))
		emit_byte(e, 0x40 | rex);
	if (code > 0xff)
		emit_byte(e, code >> 8);
	emit_byte(e, code & 0xff);
	emit_modrm(e, reg, m);
}

void emit_load(struct emit *e, unsigned reg, struct emit_memory from, unsigned size)
{
	writes(e, reg);
	if (size >= 4)
		emit_on_memory(e, 0x8b, reg, &from, size);
	else
		emit_on_memory(e, size == 1 ? 0x0fb6 : 0x0fb7, reg, &from, 4);
}

void emit_store(struct emit *e, struct emit_memory to, unsigned reg, unsigned size)
{
	emit_on_memory(e, size == 1 ? 0x88 : 0x89, reg, &to, size);
}

void emit_move(struct emit *e, unsigned to, unsigned from)
{
	writes(e, to);
	emit_byte(e, 0x40 | REX_W | rex_reg(from) | (to & 8 ? REX_B : 0));
	emit_byte(e, 0x89);
	emit_byte(e, 0xc0 | (from & 7) << 3 | (to & 7));
}

void emit_not(struct emit *e, unsigned reg)
{
	writes(e, reg);
	emit_byte(e, 0x40 | REX_W | (reg & 8 ? REX_B : 0));
	emit_byte(e, 0xf7);
	emit_byte(e, 0xd0 | (reg & 7));
}

void emit_constant(struct emit *e, unsigned reg, uint64_t value)
{
	unsigned b = reg & 8 ? REX_B : 0;

	writes(e, reg);
	if (value <= 0xffffffff) {
		if (b)
			emit_byte(e, 0x40 | b);
		emit_byte(e, 0xb8 | (reg & 7));
		emit_number(e, value, 4);
	} else if ((int64_t)value == (int32_t)value) {
		emit_byte(e, 0x40 | REX_W | b);
		emit_byte(e, 0xc7);
		emit_byte(e, 0xc0 | (reg & 7));
		emit_number(e, value, 4);
	} else {
		emit_byte(e, 0x40 | REX_W | b);
		emit_byte(e, 0xb8 | (reg & 7));
		emit_number(e, value, 8);
	}
}

void emit_store_constant(struct emit *e, struct emit_memory to, int32_t value)
{
	emit_on_memory(e, 0xc7, 0, &to, 8);
	emit_number(e, (uint32_t)value, 4);
}

void emit_lea(struct emit *e, unsigned reg, struct emit_memory m, unsigned size)
{
	writes(e, reg);
	emit_on_memory(e, 0x8d, reg, &m, size);
}

/* VEX of three bytes; `vvvv` 0 where there is none. */
static void emit_vex(struct emit *e, unsigned map, unsigned rex, unsigned vvvv, unsigned prefix)
{
	emit_byte(e, 0xc4);
	emit_byte(e, (~rex & 7) << 5 | map);
	emit_byte(e, (rex & REX_W ? 0x80u : 0u) | (~vvvv & 15) << 3 | prefix);
}

void emit_rorx(struct emit *e, unsigned to, unsigned from, unsigned count, unsigned size)
{
	unsigned rex = rex_reg(to) | (from & 8 ? REX_B : 0) | (size == 8 ? REX_W : 0);

	writes(e, to);
	emit_vex(e, INSN_MAP_0F3A, rex, 0, VEX_F2);
	emit_byte(e, 0xf0);
	emit_byte(e, 0xc0 | (to & 7) << 3 | (from & 7));
	emit_byte(e, count);
}

void emit_extend_16(struct emit *e, unsigned to, unsigned from)
{
	unsigned rex = rex_reg(to) | (from & 8 ? REX_B : 0);

	writes(e, to);
	if (rex)
		emit_byte(e, 0x40 | rex);
	emit_byte(e, 0x0f);
	emit_byte(e, 0xb7);
	emit_byte(e, 0xc0 | (to & 7) << 3 | (from & 7));
}

static void emit_by_mask(struct emit *e, unsigned to, unsigned from, const struct emit_memory *mask,
			 unsigned prefix)
{
	writes(e, to);
	if (mask->state)
		emit_byte(e, PREFIX_GS);
	emit_vex(e, INSN_MAP_0F38, rex_reg(to) | rex_rm(mask) | REX_W, from, prefix);
	emit_byte(e, 0xf5);
	emit_modrm(e, to, mask);
}

void emit_extract(struct emit *e, unsigned to, unsigned from, struct emit_memory mask)
{
	emit_by_mask(e, to, from, &mask, VEX_F3);
}

void emit_deposit(struct emit *e, unsigned to, unsigned from, struct emit_memory mask)
{
	emit_by_mask(e, to, from, &mask, VEX_F2);
}

/* Jumps. */

uint8_t *emit_skip_if_zero(struct emit *e)
{
	emit_byte(e, 0xe3);
	emit_byte(e, 0);
	return e->full ? NULL : e->at - 1;
}

void emit_skip_end(struct emit *e, uint8_t *skip)
{
	if (!e->full)
		*skip = (uint8_t)(e->at - (skip + 1));
}

/* So that a displacement can be changed at once while others run it. */
static void align_displacement(struct emit *e, unsigned ahead)
{
	static const uint8_t nops[4][3] = {{0}, {0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0x00}};
	unsigned missing = (unsigned)-((uintptr_t)e->at + ahead) & 3;

	for (unsigned i = 0; i < missing; i++)
		emit_byte(e, nops[missing][i]);
}

static uint8_t *emit_displacement(struct emit *e)
{
	uint8_t *at = e->at;

	emit_number(e, 0, 4);
	return e->full ? NULL : at;
}

uint8_t *emit_lea_ahead(struct emit *e, unsigned reg)
{
	writes(e, reg);
	align_displacement(e, 3);
	emit_byte(e, 0x40 | REX_W | rex_reg(reg));
	emit_byte(e, 0x8d);
	emit_byte(e, 5 | (reg & 7) << 3);
	return emit_displacement(e);
}

uint8_t *emit_jump(struct emit *e)
{
	align_displacement(e, 1);
	emit_byte(e, 0xe9);
	return emit_displacement(e);
}

uint8_t *emit_jump_if(struct emit *e, unsigned condition)
{
	align_displacement(e, 2);
	emit_byte(e, 0x0f);
	emit_byte(e, 0x80 | condition);
	return emit_displacement(e);
}

void emit_jump_aim(uint8_t *jump, const uint8_t *target)
{
	if (jump)
		*(int32_t *)(void *)jump = (int32_t)(target - (jump + 4));
}

void emit_jump_memory(struct emit *e, struct emit_memory target)
{
	emit_on_memory(e, 0xff, 4, &target, 4);
}

/* A guest's instruction. */

void emit_verbatim(struct emit *e, const struct insn *insn, const uint8_t *raw)
{
	for (unsigned i = 0; i < insn->length; i++)
		emit_byte(e, raw[i]);
}

/* What is to be written: register numbers in full, and the rest of the encoding. */
struct parts {
	const struct insn *insn;
	const uint8_t *raw;
	const struct emit_memory *memory; /* or NULL: rm is a register */
	unsigned reg, rm, vvvv;
};

static unsigned rex_of(const struct parts *p)
{
	unsigned rex = (p->insn->rex & REX_W) | rex_reg(p->reg);

	return rex | (p->memory ? rex_rm(p->memory) : p->rm & 8 ? REX_B : 0u);
}

/* A byte register: SPL to DIL need a REX, AH to BH must not have one. */
static bool is_byte(const struct operand *o)
{
	return o->kind == OPERAND_GPR && o->size == 1;
}

static bool emit_legacy_head(struct emit *e, const struct parts *p)
{
	const struct insn *insn = p->insn;
	unsigned rex = rex_of(p);
	bool high = false, low = false;

	for (unsigned i = 0; i < INSN_OPERANDS; i++) {
		const struct operand *o = &insn->operand[i];

		high |= is_byte(o) && o->reg >= CPU_GPRS;
		low |= is_byte(o) && o->reg >= CPU_RSP && o->reg <= CPU_RDI;
	}
	if (high && rex)
		return false;
	if (p->memory && p->memory->state)
		emit_byte(e, PREFIX_GS);
	if (insn->lock)
		emit_byte(e, 0xf0);
	if (insn->size_prefix)
		emit_byte(e, 0x66);
	if (insn->repeat)
		emit_byte(e, insn->repeat);
	if (rex || low)
		emit_byte(e, 0x40 | rex);
	if (insn->map != INSN_MAP_1BYTE)
		emit_byte(e, 0x0f);
	if (insn->map == INSN_MAP_0F38)
		emit_byte(e, 0x38);
	if (insn->map == INSN_MAP_0F3A)
		emit_byte(e, 0x3a);
	return true;
}

static void emit_vex_head(struct emit *e, const struct parts *p)
{
	/* The byte with W, vvvv, L and the prefix is the last before the opcode in either form. */
	uint8_t last = p->raw[p->insn->modrm_at - 2];

	if (p->memory && p->memory->state)
		emit_byte(e, PREFIX_GS);
	emit_byte(e, 0xc4);
	emit_byte(e, (~rex_of(p) & 7) << 5 | p->insn->map);
	emit_byte(e, (p->insn->rex & REX_W ? 0x80u : 0u) | (~p->vvvv & 15) << 3 | (last & 7));
}

static void emit_immediate(struct emit *e, const struct insn *insn, const uint8_t *raw)
{
	for (unsigned i = insn->immediate_at; i && i < insn->length; i++)
		emit_byte(e, raw[i]);
}

void emit_short(struct emit *e, const struct insn *insn, const uint8_t *raw, unsigned reg)
{
	unsigned rex = insn->rex & (REX_W | REX_B), low = insn->code & 7;
	/* SPL to DIL have one, AH to BH have none. */
	bool wanted = insn->has_rex;

	if (reg != INSN_NO_REGISTER) {
		rex = (rex & REX_W) | (reg & 8 ? REX_B : 0);
		low = reg & 7;
		writes(e, reg);
	}
	if (insn->size_prefix)
		emit_byte(e, 0x66);
	if (rex || wanted)
		emit_byte(e, 0x40 | rex);
	if (insn->map != INSN_MAP_1BYTE)
		emit_byte(e, 0x0f);
	emit_byte(e, (insn->code & ~7u) | low);
	emit_immediate(e, insn, raw);
}

/* Whether the instruction writes it is not looked at. */
static void part_change(struct emit *e, unsigned *part, uint8_t reg)
{
	if (reg == INSN_NO_REGISTER)
		return;
	*part = reg;
	writes(e, reg);
}

bool emit_insn(struct emit *e, const struct insn *insn, const uint8_t *raw,
	       const struct emit_change *change)
{
	bool memory = insn->modrm >> 6 != 3;
	struct parts p = {
		.insn = insn,
		.raw = raw,
		.reg = (insn->modrm >> 3 & 7u) | (insn->rex & REX_R ? 8u : 0u),
		.rm = (insn->modrm & 7u) | (insn->rex & REX_B ? 8u : 0u),
		.vvvv = insn->vvvv,
	};

	if (!insn->has_modrm || insn->encoding == INSN_EVEX || (memory && !change->memory))
		return false;
	if (change->memory)
		p.memory = &change->m;
	part_change(e, &p.reg, change->reg);
	part_change(e, &p.rm, change->rm);
	part_change(e, &p.vvvv, change->vvvv);
	if (insn->encoding == INSN_VEX)
		emit_vex_head(e, &p);
	else if (!emit_legacy_head(e, &p))
		return false;
	emit_byte(e, insn->code);
	if (p.memory)
		emit_modrm(e, p.reg, p.memory);
	else
		emit_byte(e, 0xc0 | (p.reg & 7) << 3 | (p.rm & 7));
	emit_immediate(e, insn, raw);
	return true;
}
