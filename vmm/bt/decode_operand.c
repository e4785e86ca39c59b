/* SPDX-License-Identifier: MIT */
/* The decoder, second part: what a row's operands are in the bytes at hand. */
#include <errno.h>

#include "vmm/base/bytes.h"
#include "vmm/bt/decode_impl.h"
#include "vmm/core/cpu_state.h"

/* Sizes. */

void decode_sizes(struct decoder *d)
{
	struct insn *insn = d->insn;
	const struct opcode *op = insn->opcode;
	bool prefix = d->size_prefix && !(op->match & (P_66 | P_NP));
	bool w = insn->rex & REX_W;

	if (insn->mode == DECODE_64)
		insn->operand_size = w ? 8 : prefix ? 2 : 4;
	else
		insn->operand_size = (insn->mode == DECODE_32) != prefix ? 4 : 2;
	if (insn->encoding != INSN_LEGACY)
		insn->operand_size = w && insn->mode == DECODE_64 ? 8 : 4;
	if (insn->mode == DECODE_64 && op->attributes & A_F64)
		insn->operand_size = 8;
	if (insn->mode == DECODE_64 && op->attributes & A_D64 && insn->operand_size == 4)
		insn->operand_size = 8;
	insn->vector_bytes = 16;
	if (insn->encoding != INSN_LEGACY)
		insn->vector_bytes = (uint16_t)(16u << (d->length_code & 3));
	if (insn->rounding)
		insn->vector_bytes = 64;
}

static unsigned element_bytes(const struct insn *insn)
{
	return insn->rex & REX_W ? 8 : 4;
}

/* In bytes. */
static unsigned size_of(const struct insn *insn, enum opcode_size size)
{
	static const uint16_t fixed[] = {
		[SIZE_B] = 1,   [SIZE_W] = 2,   [SIZE_D] = 4,  [SIZE_Q] = 8,     [SIZE_DQ] = 16,
		[SIZE_QQ] = 32, [SIZE_OQ] = 64, [SIZE_T] = 10, [SIZE_512] = 512,
	};
	bool wide = insn->mode == DECODE_64;

	switch (size) {
	case SIZE_V:
		return insn->operand_size;
	case SIZE_Z:
		return insn->operand_size < 4 ? insn->operand_size : 4;
	case SIZE_Y:
		return wide && insn->rex & REX_W ? 8 : 4;
	case SIZE_N:
		return wide ? 8 : 4;
	case SIZE_X:
		return insn->vector_bytes;
	case SIZE_XH:
		return insn->vector_bytes / 2;
	case SIZE_XQ:
		return insn->vector_bytes / 4;
	case SIZE_XE:
		return insn->vector_bytes / 8;
	case SIZE_FAR:
		return insn->operand_size + 2u;
	case SIZE_DT:
		return wide ? 10 : 6;
	case SIZE_PAIR:
		return insn->operand_size * 2u;
	case SIZE_ENV:
		return insn->operand_size == 2 ? 14 : 28;
	case SIZE_SAVE:
		return insn->operand_size == 2 ? 94 : 108;
	case SIZE_EW:
		return element_bytes(insn);
	default:
		return size < sizeof(fixed) / sizeof(fixed[0]) ? fixed[size] : 0;
	}
}

/* Memory. */

static bool is_memory(const struct insn *insn, enum opcode_source source)
{
	switch (source) {
	case SRC_M:
	case SRC_MV:
		return true;
	case SRC_E:
	case SRC_W:
	case SRC_Q:
	case SRC_KE:
		return modrm_mod(insn) != 3;
	default:
		return false;
	}
}

static unsigned broadcast_bytes(const struct opcode *op)
{
	return op->attributes & A_BC8 ? 8 : 4;
}

/* What a displacement of one byte counts in. */
static unsigned displacement_unit(const struct insn *insn)
{
	const struct opcode *op = insn->opcode;

	if (insn->encoding != INSN_EVEX)
		return 1;
	if (insn->broadcast)
		return broadcast_bytes(op);
	/* VPCOMPRESSB and VPEXPANDB count bytes or words, the others of their kind by W. */
	if (op->attributes & A_N && (insn->code == 0x62 || insn->code == 0x63))
		return insn->rex & REX_W ? 2 : 1;
	if (op->attributes & A_N)
		return element_bytes(insn);
	for (unsigned i = 0; i < OPCODE_OPERANDS; i++)
		if (is_memory(insn, OPERAND_SOURCE(op->operand[i])))
			return size_of(insn, OPERAND_SIZE(op->operand[i]));
	return 1;
}

static int displacement_take(struct decoder *d, unsigned bytes)
{
	struct insn *insn = d->insn;
	uint64_t value;
	int ret;

	if (bytes == 0)
		return 0;
	insn->displacement_at = (uint8_t)d->at;
	insn->displacement_bytes = (uint8_t)bytes;
	ret = decode_take_number(d, bytes, &value);
	if (ret == 0)
		insn->memory.displacement = (int64_t)sign_extend(value, bytes);
	if (ret == 0 && bytes == 1)
		insn->memory.displacement *= displacement_unit(insn);
	return ret;
}

static int memory_take_16(struct decoder *d)
{
	static const uint8_t bases[8] = {CPU_RBX, CPU_RBX, CPU_RBP, CPU_RBP,
					 CPU_RSI, CPU_RDI, CPU_RBP, CPU_RBX};
	static const uint8_t indexes[4] = {CPU_RSI, CPU_RDI, CPU_RSI, CPU_RDI};
	struct insn_memory *m = &d->insn->memory;
	unsigned mod = modrm_mod(d->insn), rm = modrm_rm(d->insn);

	if (mod == 0 && rm == 6)
		return displacement_take(d, 2);
	m->base = bases[rm];
	if (rm < 4)
		m->index = indexes[rm];
	if (m->base == CPU_RBP)
		m->segment = CPU_SS;
	return displacement_take(d, mod);
}

static int sib_take(struct decoder *d, bool vector_index)
{
	struct insn *insn = d->insn;
	struct insn_memory *m = &insn->memory;
	unsigned mod = modrm_mod(insn);
	uint8_t sib, index;
	int ret = decode_take(d, &sib);

	if (ret)
		return ret;
	index = (uint8_t)((sib >> 3 & 7) | (insn->rex & REX_X ? 8 : 0));
	if (vector_index)
		m->index = index | (insn->encoding == INSN_EVEX ? insn->vvvv & 16 : 0);
	else if (index != CPU_RSP)
		m->index = index;
	m->scale = (uint8_t)(1u << (sib >> 6));
	if ((sib & 7) == 5 && mod == 0)
		return displacement_take(d, 4);
	m->base = (uint8_t)((sib & 7) | (insn->rex & REX_B ? 8 : 0));
	if (m->base == CPU_RSP || m->base == CPU_RBP)
		m->segment = CPU_SS;
	return displacement_take(d, mod == 2 ? 4 : mod);
}

static int memory_take(struct decoder *d, bool vector_index)
{
	struct insn *insn = d->insn;
	struct insn_memory *m = &insn->memory;
	unsigned mod = modrm_mod(insn), rm = modrm_rm(insn);

	*m = (struct insn_memory){
		.segment = CPU_DS, .base = INSN_NO_REGISTER, .index = INSN_NO_REGISTER, .scale = 1};
	if (vector_index && (insn->address_size == 2 || rm != 4))
		return -EINVAL;
	if (insn->address_size == 2)
		return memory_take_16(d);
	if (rm == 4)
		return sib_take(d, vector_index);
	if (mod == 0 && rm == 5) {
		if (insn->mode == DECODE_64)
			m->base = INSN_RIP;
		return displacement_take(d, 4);
	}
	m->base = (uint8_t)(rm | (insn->rex & REX_B ? 8 : 0));
	if (m->base == CPU_RBP)
		m->segment = CPU_SS;
	return displacement_take(d, mod == 2 ? 4 : mod);
}

/* What ModRM.rm says if it is memory, with the segment that holds. */
int decode_memory(struct decoder *d)
{
	struct insn *insn = d->insn;
	bool vector_index = false;
	int ret;

	if (!insn->has_modrm || modrm_mod(insn) == 3)
		return 0;
	for (unsigned i = 0; i < OPCODE_OPERANDS; i++)
		vector_index |= OPERAND_SOURCE(insn->opcode->operand[i]) == SRC_MV;
	ret = memory_take(d, vector_index);
	if (insn->segment != INSN_NO_REGISTER)
		insn->memory.segment = insn->segment;
	else if (insn->mode == DECODE_64)
		insn->memory.segment = insn->memory.segment == CPU_SS ? CPU_SS : CPU_DS;
	return ret;
}

/* Operands. */

static int immediate_take(struct decoder *d, unsigned bytes, bool is_signed)
{
	struct insn *insn = d->insn;
	int ret;

	insn->immediate_at = (uint8_t)d->at;
	ret = decode_take_number(d, bytes, &insn->immediate);
	if (ret == 0 && is_signed)
		insn->immediate = sign_extend(insn->immediate, bytes);
	return ret;
}

static void operand_gpr(const struct insn *insn, struct operand *out, unsigned reg)
{
	out->kind = OPERAND_GPR;
	out->reg = (uint8_t)reg;
	/* Without a REX the upper four are the second bytes of the lower. */
	if (out->size == 1 && !insn->has_rex && insn->encoding == INSN_LEGACY && reg >= 4)
		out->reg = (uint8_t)(16 + reg - 4);
}

static int operand_system(struct operand *out, unsigned kind, unsigned reg)
{
	static const uint16_t valid[] = {
		[OPERAND_SEGMENT] = 0x3f,
		[OPERAND_CONTROL] = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 8,
		[OPERAND_DEBUG] = 0xff,
		[OPERAND_MASK] = 0xff,
	};

	out->kind = (uint8_t)kind;
	out->reg = (uint8_t)reg;
	return valid[kind] >> reg & 1 ? 0 : -EINVAL;
}

/* Of registers in ModRM.reg; EVEX extends vector registers by one more bit. */
static int operand_of_reg(const struct decoder *d, enum opcode_source source, struct operand *out)
{
	const struct insn *insn = d->insn;
	unsigned reg = modrm_reg(insn) | (insn->rex & REX_R ? 8 : 0);

	switch (source) {
	case SRC_S:
		return operand_system(out, OPERAND_SEGMENT, modrm_reg(insn));
	case SRC_C:
		return operand_system(out, OPERAND_CONTROL, reg);
	case SRC_D:
		return operand_system(out, OPERAND_DEBUG, reg);
	case SRC_KG:
		return d->high ? -EINVAL : operand_system(out, OPERAND_MASK, reg);
	case SRC_P:
		out->kind = OPERAND_MMX;
		out->reg = (uint8_t)modrm_reg(insn);
		return 0;
	case SRC_V:
		out->kind = OPERAND_VECTOR;
		out->reg = (uint8_t)(reg | d->high);
		return 0;
	default:
		operand_gpr(insn, out, reg);
		return d->high ? -EINVAL : 0;
	}
}

static int operand_of_rm(const struct decoder *d, enum opcode_source source, struct operand *out)
{
	const struct insn *insn = d->insn;
	unsigned rm = modrm_rm(insn) | (insn->rex & REX_B ? 8 : 0);

	if (is_memory(insn, source)) {
		out->kind = OPERAND_MEMORY;
		if (insn->broadcast)
			out->size = (uint16_t)broadcast_bytes(insn->opcode);
		return modrm_mod(insn) == 3 ? -EINVAL : 0;
	}
	if (modrm_mod(insn) != 3)
		return -EINVAL;
	switch (source) {
	case SRC_Q:
	case SRC_N:
		out->kind = OPERAND_MMX;
		out->reg = (uint8_t)modrm_rm(insn);
		return 0;
	case SRC_ST:
		out->kind = OPERAND_X87;
		out->reg = (uint8_t)modrm_rm(insn);
		return 0;
	case SRC_KE:
	case SRC_KR:
		return operand_system(out, OPERAND_MASK, modrm_rm(insn));
	case SRC_W:
	case SRC_U:
		out->kind = OPERAND_VECTOR;
		out->reg = (uint8_t)rm;
		if (insn->encoding == INSN_EVEX && insn->rex & REX_X)
			out->reg |= 16;
		return 0;
	default:
		operand_gpr(insn, out, rm);
		return 0;
	}
}

static int operand_immediate(struct decoder *d, enum opcode_source source, struct operand *out)
{
	struct insn *insn = d->insn;
	uint64_t value;
	int ret;

	switch (source) {
	case SRC_J:
		out->kind = OPERAND_RELATIVE;
		return immediate_take(d, out->size, true);
	case SRC_A:
		out->kind = OPERAND_FAR;
		ret = immediate_take(d, insn->operand_size, false);
		if (ret == 0)
			ret = decode_take_number(d, 2, &value);
		if (ret == 0)
			insn->immediate_2 = (uint32_t)value;
		return ret;
	case SRC_I2:
		out->kind = OPERAND_IMMEDIATE_2;
		ret = decode_take_number(d, out->size, &value);
		if (ret == 0)
			insn->immediate_2 = (uint32_t)value;
		return ret;
	case SRC_L:
		ret = immediate_take(d, 1, false);
		out->kind = OPERAND_VECTOR;
		out->reg = (uint8_t)(insn->immediate >> 4 & (insn->mode == DECODE_64 ? 15 : 7));
		return ret;
	default:
		out->kind = OPERAND_IMMEDIATE;
		return immediate_take(d, out->size, source == SRC_IS);
	}
}

static int operand_moffs(struct decoder *d, struct operand *out)
{
	struct insn *insn = d->insn;
	uint64_t address;
	int ret;

	out->kind = OPERAND_MEMORY;
	insn->displacement_at = (uint8_t)d->at;
	insn->displacement_bytes = insn->address_size;
	ret = decode_take_number(d, insn->address_size, &address);
	if (ret)
		return ret;
	insn->memory = (struct insn_memory){
		.segment = insn->segment != INSN_NO_REGISTER ? insn->segment : CPU_DS,
		.base = INSN_NO_REGISTER,
		.index = INSN_NO_REGISTER,
		.scale = 1,
		.displacement = (int64_t)address};
	return 0;
}

static void operand_fixed(struct insn *insn, enum opcode_source source, struct operand *out)
{
	static const struct {
		uint8_t kind, reg;
	} fixed[] = {
		[SRC_AX] = {OPERAND_GPR, CPU_RAX},    [SRC_CX] = {OPERAND_GPR, CPU_RCX},
		[SRC_DX] = {OPERAND_GPR, CPU_RDX},    [SRC_ST0] = {OPERAND_X87, 0},
		[SRC_V0] = {OPERAND_VECTOR, 0},       [SRC_ONE] = {OPERAND_ONE, 0},
		[SRC_X] = {OPERAND_STRING_SOURCE, 0}, [SRC_Y] = {OPERAND_STRING_TARGET, 0},
	};

	out->kind = fixed[source].kind;
	out->reg = fixed[source].reg;
	if (source == SRC_X)
		insn->memory.segment = insn->segment != INSN_NO_REGISTER ? insn->segment : CPU_DS;
}

static int operand_take(struct decoder *d, uint16_t code, struct operand *out)
{
	struct insn *insn = d->insn;
	enum opcode_source source = OPERAND_SOURCE(code);

	out->access = (uint8_t)OPERAND_ACCESS(code);
	out->size = (uint16_t)size_of(insn, OPERAND_SIZE(code));
	switch (source) {
	case SRC_G:
	case SRC_S:
	case SRC_C:
	case SRC_D:
	case SRC_V:
	case SRC_P:
	case SRC_KG:
		return operand_of_reg(d, source, out);
	case SRC_E:
	case SRC_M:
	case SRC_R:
	case SRC_W:
	case SRC_U:
	case SRC_Q:
	case SRC_N:
	case SRC_KE:
	case SRC_KR:
	case SRC_MV:
	case SRC_ST:
		return operand_of_rm(d, source, out);
	case SRC_I:
	case SRC_IS:
	case SRC_I2:
	case SRC_J:
	case SRC_A:
	case SRC_L:
		return operand_immediate(d, source, out);
	case SRC_Z:
		operand_gpr(insn, out, (insn->code & 7u) | (insn->rex & REX_B ? 8 : 0));
		return 0;
	case SRC_B:
		operand_gpr(insn, out, insn->vvvv);
		return 0;
	case SRC_H:
		out->kind = OPERAND_VECTOR;
		out->reg = insn->vvvv;
		return 0;
	case SRC_KB:
		return operand_system(out, OPERAND_MASK, insn->vvvv & 15);
	case SRC_SEG:
		out->kind = OPERAND_SEGMENT;
		out->reg = insn->code >> 3 & 7;
		return 0;
	case SRC_O:
		return operand_moffs(d, out);
	default:
		operand_fixed(insn, source, out);
		return 0;
	}
}

int decode_operands(struct decoder *d)
{
	struct insn *insn = d->insn;
	const struct opcode *op = insn->opcode;
	unsigned count = 0;

	for (unsigned i = 0; i < OPCODE_OPERANDS && op->operand[i]; i++) {
		int ret;

		if (OPERAND_SOURCE(op->operand[i]) == SRC_H && insn->encoding == INSN_LEGACY) {
			insn->operand[0].access |= OPERAND_READ;
			continue;
		}
		ret = operand_take(d, op->operand[i], &insn->operand[count++]);
		if (ret)
			return ret;
	}
	return 0;
}
