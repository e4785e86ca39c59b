/* SPDX-License-Identifier: MIT */
/*
 * An instruction's operands: registers, immediates, and memory through segmentation. Sizes are in
 * bytes. What faults does not return (bt_impl.h).
 */
#ifndef VMM_BT_OPERAND_H
#define VMM_BT_OPERAND_H

#include "vmm/bt/alu.h"
#include "vmm/bt/bt_impl.h"

/* Registers as operands number them: 16 to 19 are AH, CH, DH, BH. */
static inline uint64_t gpr_get(const struct engine_vcpu *cpu, unsigned reg, unsigned size)
{
	if (reg >= CPU_GPRS)
		return cpu->gpr[reg - CPU_GPRS] >> 8 & 0xff;
	return cpu->gpr[reg] & size_mask(size);
}

/* 4 bytes clear the upper half, as the architecture has it. */
static inline void gpr_set(struct engine_vcpu *cpu, unsigned reg, unsigned size, uint64_t value)
{
	if (reg >= CPU_GPRS)
		cpu->gpr[reg - CPU_GPRS] = (cpu->gpr[reg - CPU_GPRS] & ~0xff00ull) | (value & 0xff)
											     << 8;
	else if (size == 8)
		cpu->gpr[reg] = value;
	else if (size == 4)
		cpu->gpr[reg] = (uint32_t)value;
	else if (size == 2)
		cpu->gpr[reg] = (cpu->gpr[reg] & ~0xffffull) | (uint16_t)value;
	else
		cpu->gpr[reg] = (cpu->gpr[reg] & ~0xffull) | (uint8_t)value;
}

/* The offset of a memory operand in its segment, cut to the address size. */
uint64_t operand_offset(const struct engine_vcpu *cpu, const struct insn *insn);

/*
 * The linear address of `size` bytes at `offset`, after the checks of segmentation: #GP, or #SS for
 * the stack segment.
 */
uint64_t segment_linear(struct engine_vcpu *cpu, unsigned segment, uint64_t offset, unsigned size,
			bool write);

/* The same without checks: alignment comes before all else. */
uint64_t operand_address(const struct engine_vcpu *cpu, const struct insn *insn);

/* The linear address of the instruction's memory operand. */
uint64_t operand_linear(struct engine_vcpu *cpu, const struct insn *insn, unsigned size,
			bool write);

/* `bytes` behind a linear address: outside 64-bit mode they wrap at 4 GiB. */
static inline uint64_t linear_after(const struct engine_vcpu *cpu, uint64_t linear, uint64_t bytes)
{
	return cpu->mode == DECODE_64 ? linear + bytes : (linear + bytes) & 0xffffffff;
}

/* Registers, memory, immediates. */
uint64_t operand_get(struct engine_vcpu *cpu, const struct insn *insn, const struct operand *o);
void operand_set(struct engine_vcpu *cpu, const struct insn *insn, const struct operand *o,
		 uint64_t value);

/*
 * Operand `o` becomes fn(operand, b), at once for all other vCPUs if there is a LOCK prefix (or
 * `locked`). Flags are written. Returns what the operand was.
 */
uint64_t operand_modify(struct engine_vcpu *cpu, const struct insn *insn, const struct operand *o,
			alu2_fn *fn, uint64_t b, bool locked);
/* The same at a linear address. */
uint64_t linear_modify(struct engine_vcpu *cpu, uint64_t address, unsigned size, alu2_fn *fn,
		       uint64_t b, bool locked);

/*
 * Compare and exchange, locked, where that is no one place on the host. `value`, if `old` is there.
 * False: it is not. *old is what was there.
 */
bool split_exchange(struct engine_vcpu *cpu, uint64_t address, unsigned size, uint8_t *old,
		    const uint8_t *value);

/* The stack. Addresses wrap at the stack's size. */
void stack_push(struct engine_vcpu *cpu, unsigned size, uint64_t value);
uint64_t stack_pop(struct engine_vcpu *cpu, unsigned size);
/* Could `size` bytes be written `depth` bytes below the top? If not, it faults. */
void stack_probe(struct engine_vcpu *cpu, uint64_t depth, unsigned size);
/* `depth` bytes above the top, without popping. */
uint64_t stack_peek(struct engine_vcpu *cpu, uint64_t depth, unsigned size);
void stack_adjust(struct engine_vcpu *cpu, int64_t bytes);

#endif
