/* SPDX-License-Identifier: MIT */
/* Near branches and the stack. Far ones, interrupts and returns from them are in segment.c. */
#include "vmm/bt/handlers.h"
#include "vmm/bt/operand.h"

#define DST (&insn->operand[0])

/* The target is checked before anything changes: #GP outside the code segment. */
static void branch(struct engine_vcpu *cpu, const struct insn *insn, uint64_t target)
{
	target &= size_mask(insn->operand_size);
	if (cpu->mode == DECODE_64 ? !is_canonical(target) : target > cpu->segment[CPU_CS].limit)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	cpu->next_rip = target;
}

static void branch_relative(struct engine_vcpu *cpu, const struct insn *insn)
{
	branch(cpu, insn, cpu->next_rip + insn->immediate);
}

void do_jcc(struct engine_vcpu *cpu, const struct insn *insn)
{
	if (condition_holds(cpu, insn->code))
		branch_relative(cpu, insn);
}

void do_jmp(struct engine_vcpu *cpu, const struct insn *insn)
{
	branch_relative(cpu, insn);
}

void do_jmp_indirect(struct engine_vcpu *cpu, const struct insn *insn)
{
	branch(cpu, insn, operand_get(cpu, insn, DST));
}

static void call(struct engine_vcpu *cpu, const struct insn *insn, uint64_t target)
{
	uint64_t back = cpu->next_rip;

	/* A stack that faults comes before a target that does. */
	stack_probe(cpu, insn->operand_size, insn->operand_size);
	branch(cpu, insn, target);
	stack_push(cpu, insn->operand_size, back);
}

void do_call(struct engine_vcpu *cpu, const struct insn *insn)
{
	call(cpu, insn, cpu->next_rip + insn->immediate);
}

void do_call_indirect(struct engine_vcpu *cpu, const struct insn *insn)
{
	call(cpu, insn, operand_get(cpu, insn, DST));
}

void do_ret(struct engine_vcpu *cpu, const struct insn *insn)
{
	branch(cpu, insn, stack_peek(cpu, 0, insn->operand_size));
	stack_adjust(cpu, insn->operand_size + (int64_t)insn->immediate);
}

void do_loop(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t count = gpr_get(cpu, CPU_RCX, insn->address_size) - 1;
	bool zero = cpu->rflags & RFLAGS_ZF;
	bool taken = (count & size_mask(insn->address_size)) != 0;

	if (insn->opcode->id != INSN_LOOP)
		taken &= zero == (insn->opcode->id == INSN_LOOPE);
	if (taken)
		branch_relative(cpu, insn);
	gpr_set(cpu, CPU_RCX, insn->address_size, count);
}

void do_jcxz(struct engine_vcpu *cpu, const struct insn *insn)
{
	if (gpr_get(cpu, CPU_RCX, insn->address_size) == 0)
		branch_relative(cpu, insn);
}

/* The stack. */

void do_push(struct engine_vcpu *cpu, const struct insn *insn)
{
	stack_push(cpu, insn->operand_size, operand_get(cpu, insn, DST));
}

/* POP to memory that is addressed by rSP: the address is taken after the increment. */
void do_pop(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t value = stack_peek(cpu, 0, DST->size), old = cpu->gpr[CPU_RSP], linear;

	if (DST->kind == OPERAND_GPR) {
		stack_adjust(cpu, DST->size);
		gpr_set(cpu, DST->reg, DST->size, value);
		return;
	}
	stack_adjust(cpu, DST->size);
	linear = operand_offset(cpu, insn);
	cpu->gpr[CPU_RSP] = old; /* what follows may fault */
	linear_write(cpu, segment_linear(cpu, insn->memory.segment, linear, DST->size, true),
		     DST->size, value);
	stack_adjust(cpu, DST->size);
}

void do_pusha(struct engine_vcpu *cpu, const struct insn *insn)
{
	uint64_t old = cpu->gpr[CPU_RSP];
	unsigned size = insn->operand_size;

	for (unsigned i = 0; i < 8; i++)
		stack_probe(cpu, (i + 1) * size, size);
	for (unsigned i = 0; i < 8; i++)
		stack_push(cpu, size, i == CPU_RSP ? old : cpu->gpr[i]);
}

void do_popa(struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;
	uint64_t value[8];

	for (unsigned i = 0; i < 8; i++)
		value[7 - i] = stack_peek(cpu, i * size, size);
	for (unsigned i = 0; i < 8; i++)
		if (i != CPU_RSP)
			gpr_set(cpu, i, size, value[i]);
	stack_adjust(cpu, 8 * (int64_t)size);
}

/* SDM vol. 2, ENTER. Memory is written as it goes, as CPUs do; registers change at the end. */
void do_enter(struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size, level = insn->immediate_2 % 32;
	uint64_t mask = size_mask(cpu->stack_size);
	uint64_t top = cpu->gpr[CPU_RSP] - size, frame = top, link = cpu->gpr[CPU_RBP];

	linear_write(cpu, segment_linear(cpu, CPU_SS, top & mask, size, true), size, link);
	for (unsigned i = 1; i < level; i++) {
		uint64_t value;

		link -= size;
		top -= size;
		value = linear_read(cpu, segment_linear(cpu, CPU_SS, link & mask, size, false),
				    size);
		linear_write(cpu, segment_linear(cpu, CPU_SS, top & mask, size, true), size, value);
	}
	if (level) {
		top -= size;
		linear_write(cpu, segment_linear(cpu, CPU_SS, top & mask, size, true), size, frame);
	}
	top -= insn->immediate;
	/* The new top must be writable, though nothing is written there. */
	linear_probe_write(cpu, segment_linear(cpu, CPU_SS, top & mask, size, true), size);
	gpr_set(cpu, CPU_RBP, size, frame);
	gpr_set(cpu, CPU_RSP, cpu->stack_size, top);
}

void do_leave(struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;
	uint64_t mask = size_mask(cpu->stack_size);
	uint64_t frame = cpu->gpr[CPU_RBP] & mask;
	uint64_t value = linear_read(cpu, segment_linear(cpu, CPU_SS, frame, size, false), size);

	gpr_set(cpu, CPU_RSP, cpu->stack_size, frame + size);
	gpr_set(cpu, CPU_RBP, size, value);
}
