/* SPDX-License-Identifier: MIT */
/*
 * Saving and loading the x87 unit, FXSAVE and MXCSR. AMD64 vol. 2, 11.4 and 11.5; SDM vol. 1, 8.1
 * and 10.5. XSAVE and its kind are in xsave.c.
 *
 * Where the last instruction of x87 and its operand were is known at any time, but FXSAVE and XSAVE
 * tell it only while an exception is pending, and give zeros otherwise: that is how AMD's CPUs have
 * it. FNSTENV tells it always.
 */
#include "vmm/bt/fpu.h"
#include "vmm/bt/alignment.h"

#include "vmm/base/bytes.h"
#include "vmm/bt/decode_impl.h"
#include "vmm/bt/handlers.h"
#include "vmm/bt/native.h"
#include "vmm/bt/operand.h"

#define X87_MASKS   0x3f /* of the control word: all exceptions masked */
#define X87_OPCODE  0x7ff

/* Offsets in an FXSAVE image. */
enum {
	FX_CONTROL = 0,
	FX_STATUS = 2,
	FX_TAGS = 4,
	FX_OPCODE = 6,
	FX_IP = 8,
	FX_DP = 16,
	FX_MXCSR = 24,
	FX_MXCSR_MASK = 28,
	FX_ST = 32,
	FX_XMM = 160,
	FX_END = 416,
	FX_SIZE = 512,
};

unsigned fpu_registers(const struct engine_vcpu *cpu)
{
	return cpu->mode == DECODE_64 ? 16 : 8;
}

/* Pointers have 57 bits. */
static uint64_t pointer_extend(uint64_t pointer)
{
	return (uint64_t)((int64_t)(pointer << 7) >> 7);
}

void fpu_x87_store(const struct vector_state *v, uint8_t *image, bool wide)
{
	memcpy(image, v->x87, FX_MXCSR);
	memcpy(image + FX_ST, v->x87 + FX_ST, FX_XMM - FX_ST);
	if (!(v->x87[FX_STATUS] & X87_SUMMARY)) {
		memset(image + FX_OPCODE, 0, FX_MXCSR - FX_OPCODE);
	} else if (!wide) {
		le32_put(image + FX_IP + 4, v->x87_cs);
		le32_put(image + FX_DP + 4, v->x87_ds);
	}
}

void fpu_x87_load(struct vector_state *v, const uint8_t *image, bool wide)
{
	memcpy(v->x87, image, FX_OPCODE);
	v->x87[FX_TAGS + 1] = 0;
	le16_put(v->x87 + FX_OPCODE, le16_get(image + FX_OPCODE) & X87_OPCODE);
	if (wide) {
		le64_put(v->x87 + FX_IP, pointer_extend(le64_get(image + FX_IP)));
		le64_put(v->x87 + FX_DP, pointer_extend(le64_get(image + FX_DP)));
		v->x87_cs = v->x87_ds = 0;
	} else {
		le64_put(v->x87 + FX_IP, le32_get(image + FX_IP));
		le64_put(v->x87 + FX_DP, le32_get(image + FX_DP));
		v->x87_cs = le16_get(image + FX_IP + 4);
		v->x87_ds = le16_get(image + FX_DP + 4);
	}
	for (unsigned i = FX_ST; i < FX_XMM; i += 16) {
		memcpy(v->x87 + i, image + i, 10);
		memset(v->x87 + i + 10, 0, 6);
	}
	native_x87_settle(v);
}

/* FNINIT, but for the registers, which it leaves alone: they only get other names. */
static void x87_initialise(struct vector_state *v)
{
	uint8_t registers[8][16];

	native_mmx_get(v, registers);
	memcpy(v->x87 + FX_ST, registers, sizeof(registers));
	memset(v->x87, 0, FX_MXCSR);
	le16_put(v->x87 + FX_CONTROL, 0x37f);
	v->x87_cs = v->x87_ds = 0;
}

void fpu_x87_initialise(struct vector_state *v)
{
	x87_initialise(v);
	memset(v->x87 + FX_ST, 0, FX_XMM - FX_ST);
}

/* x87's own formats. */

/* How FNSTENV lays things out. */
struct environment {
	unsigned word;  /* bytes: 2 or 4 */
	bool protected; /* otherwise pointers are linear addresses */
};

static struct environment environment_of(const struct engine_vcpu *cpu, const struct insn *insn)
{
	return (struct environment){
		.word = insn->operand_size == 2 ? 2 : 4,
		.protected = cpu->cr0 & CR0_PE && !(cpu->rflags & RFLAGS_VM),
	};
}

static unsigned environment_size(const struct environment *e)
{
	return 7 * e->word;
}

/* Two bits for each register: valid, zero, special, empty. */
static uint16_t full_tags(const struct vector_state *v)
{
	uint8_t registers[8][16];
	uint16_t tags = 0;

	native_mmx_get(v, registers);
	for (unsigned i = 0; i < 8; i++) {
		uint64_t mantissa = le64_get(registers[i]);
		unsigned exponent = le16_get(registers[i] + 8) & 0x7fff, tag;

		if (!(v->x87[FX_TAGS] >> i & 1))
			tag = 3;
		else if (exponent == 0 && mantissa == 0)
			tag = 1;
		else
			tag = exponent == 0 || exponent == 0x7fff || !(mantissa >> 63) ? 2 : 0;
		tags |= (uint16_t)(tag << 2 * i);
	}
	return tags;
}

static void environment_store(const struct vector_state *v, const struct environment *e,
			      uint8_t *to)
{
	uint64_t ip = le64_get(v->x87 + FX_IP), dp = le64_get(v->x87 + FX_DP);
	uint16_t opcode = le16_get(v->x87 + FX_OPCODE);
	unsigned w = e->word;

	memset(to, 0xff, environment_size(e));
	le16_put(to, le16_get(v->x87 + FX_CONTROL));
	le16_put(to + w, le16_get(v->x87 + FX_STATUS));
	le16_put(to + 2 * w, full_tags(v));
	if (e->protected) {
		le_put(to + 3 * w, w, ip);
		le_put(to + 4 * w, w, v->x87_cs | (uint32_t)opcode << 16);
		le_put(to + 5 * w, w, dp);
		le16_put(to + 6 * w, v->x87_ds);
		return;
	}
	ip += (uint64_t)v->x87_cs << 4;
	dp += (uint64_t)v->x87_ds << 4;
	le16_put(to + 3 * w, (uint16_t)ip);
	le_put(to + 4 * w, w, (ip >> 16 & 0xffff) << 12 | opcode);
	le16_put(to + 5 * w, (uint16_t)dp);
	le_put(to + 6 * w, w, (dp >> 16 & 0xffff) << 12);
}

static void pointers_load(struct vector_state *v, const struct environment *e, const uint8_t *from)
{
	unsigned w = e->word;
	uint64_t ip = le_get(from + 3 * w, w), high = le_get(from + 4 * w, w);
	uint64_t dp = le_get(from + 5 * w, w), opcode = high;

	v->x87_cs = v->x87_ds = 0;
	if (e->protected) {
		v->x87_cs = (uint16_t)high;
		v->x87_ds = le16_get(from + 6 * w);
		opcode = high >> 16;
	} else {
		ip = (ip & 0xffff) | (high >> 12 & 0xffff) << 16;
		dp = (dp & 0xffff) | (le_get(from + 6 * w, w) >> 12 & 0xffff) << 16;
	}
	le64_put(v->x87 + FX_IP, ip);
	le64_put(v->x87 + FX_DP, dp);
	le16_put(v->x87 + FX_OPCODE, opcode & X87_OPCODE);
}

static void environment_load(struct vector_state *v, const struct environment *e,
			     const uint8_t *from)
{
	uint16_t tags = le16_get(from + 2 * e->word), status = le16_get(from + e->word);
	uint8_t registers[8][16];

	native_mmx_get(v, registers);
	le16_put(v->x87 + FX_CONTROL, le16_get(from));
	le16_put(v->x87 + FX_STATUS, status);
	v->x87[FX_TAGS] = 0;
	for (unsigned i = 0; i < 8; i++) {
		if ((tags >> 2 * i & 3) != 3)
			v->x87[FX_TAGS] |= (uint8_t)(1 << i);
		memcpy(v->x87 + FX_ST + (size_t)16 * i, registers[(i + (status >> 11)) & 7], 16);
	}
	pointers_load(v, e, from);
}

static void x87_check(struct engine_vcpu *cpu)
{
	if (cpu->cr0 & (CR0_EM | CR0_TS))
		cpu_fault(cpu, EXCEPTION_NM, NO_ERROR_CODE);
}

/* Of an environment, with or without the registers: its fields are what must be aligned. */
static uint64_t environment_linear(struct engine_vcpu *cpu, const struct insn *insn, unsigned size,
				   bool write)
{
	uint64_t linear = operand_linear(cpu, insn, size, write);

	alignment_check(cpu, linear, insn->operand_size == 2 ? 2 : 4);
	return linear;
}

void do_fnstenv(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct environment e = environment_of(cpu, insn);
	unsigned size = environment_size(&e);
	uint8_t buffer[28];

	x87_check(cpu);
	environment_store(&cpu->vector, &e, buffer);
	linear_write_bytes(cpu, environment_linear(cpu, insn, size, true), buffer, size);
	cpu->vector.x87[FX_CONTROL] |= X87_MASKS;
	native_x87_settle(&cpu->vector);
}

void do_fldenv(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct environment e = environment_of(cpu, insn);
	unsigned size = environment_size(&e);
	uint8_t buffer[28];

	x87_check(cpu);
	native_x87_check(cpu);
	linear_read_bytes(cpu, environment_linear(cpu, insn, size, false), buffer, size);
	environment_load(&cpu->vector, &e, buffer);
	native_x87_settle(&cpu->vector);
}

void do_fnsave(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct environment e = environment_of(cpu, insn);
	unsigned at = environment_size(&e), size = at + 80;
	uint8_t buffer[108];

	x87_check(cpu);
	environment_store(&cpu->vector, &e, buffer);
	for (unsigned i = 0; i < 8; i++, at += 10)
		memcpy(buffer + at, cpu->vector.x87 + FX_ST + (size_t)16 * i, 10);
	linear_write_bytes(cpu, environment_linear(cpu, insn, size, true), buffer, size);
	x87_initialise(&cpu->vector);
}

void do_frstor(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct environment e = environment_of(cpu, insn);
	unsigned at = environment_size(&e), size = at + 80;
	uint8_t buffer[108];

	x87_check(cpu);
	native_x87_check(cpu);
	linear_read_bytes(cpu, environment_linear(cpu, insn, size, false), buffer, size);
	environment_load(&cpu->vector, &e, buffer);
	for (unsigned i = 0; i < 8; i++, at += 10)
		memcpy(cpu->vector.x87 + FX_ST + (size_t)16 * i, buffer + at, 10);
	native_x87_settle(&cpu->vector);
}

void do_fwait(struct engine_vcpu *cpu, const struct insn *insn)
{
	(void)insn;
	if ((cpu->cr0 & (CR0_MP | CR0_TS)) == (CR0_MP | CR0_TS))
		cpu_fault(cpu, EXCEPTION_NM, NO_ERROR_CODE);
	native_x87_check(cpu);
}

/* FXSAVE and FXRSTOR. */

/* Where the image is, after the checks: its whole length counts, even if less is written. */
static uint64_t fx_linear(struct engine_vcpu *cpu, const struct insn *insn, bool write)
{
	uint64_t linear;

	if (cpu->cr0 & (CR0_EM | CR0_TS))
		cpu_fault(cpu, EXCEPTION_NM, NO_ERROR_CODE);
	linear = operand_linear(cpu, insn, FX_SIZE, write);
	alignment_check(cpu, linear, 4);
	if (linear % 16)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	if (write)
		linear_probe_write(cpu, linear, FX_SIZE);
	return linear;
}

static bool is_wide(const struct insn *insn)
{
	return insn->mode == DECODE_64 && insn->rex & REX_W;
}

void do_fxsave(struct engine_vcpu *cpu, const struct insn *insn)
{
	const struct vector_state *v = &cpu->vector;
	uint64_t linear = fx_linear(cpu, insn, true);
	unsigned size = FX_XMM;
	uint8_t image[FX_END];

	fpu_x87_store(v, image, is_wide(insn));
	le32_put(image + FX_MXCSR, v->mxcsr);
	le32_put(image + FX_MXCSR_MASK, cpu->native->layout.mxcsr_mask);
	if (cpu->cr4 & CR4_OSFXSR)
		for (unsigned i = 0; i < fpu_registers(cpu); i++, size += 16)
			memcpy(image + size, v->zmm[i], 16);
	linear_write_bytes(cpu, linear, image, size);
}

void do_fxrstor(struct engine_vcpu *cpu, const struct insn *insn)
{
	struct vector_state *v = &cpu->vector;
	uint64_t linear = fx_linear(cpu, insn, false);
	uint8_t image[FX_SIZE];
	uint32_t mxcsr;

	linear_read_bytes(cpu, linear, image, sizeof(image));
	mxcsr = le32_get(image + FX_MXCSR);
	if (cpu->cr4 & CR4_OSFXSR) {
		if (mxcsr & ~cpu->native->layout.mxcsr_mask)
			cpu_fault(cpu, EXCEPTION_GP, 0);
		v->mxcsr = mxcsr;
		for (unsigned i = 0; i < fpu_registers(cpu); i++)
			memcpy(v->zmm[i], image + FX_XMM + (size_t)16 * i, 16);
	}
	fpu_x87_load(v, image, is_wide(insn));
}

void do_ldmxcsr(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint32_t value;

	native_unit_check(cpu, insn);
	value = (uint32_t)operand_get(cpu, insn, &insn->operand[0]);
	if (value & ~cpu->native->layout.mxcsr_mask)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	cpu->vector.mxcsr = value;
}

void do_stmxcsr(struct engine_vcpu *cpu, const struct insn *insn)
{
	native_unit_check(cpu, insn);
	operand_set(cpu, insn, &insn->operand[0], cpu->vector.mxcsr);
}
