/* SPDX-License-Identifier: MIT */
/*
 * Far transfers: CALL, JMP and RET between segments, through call gates and tasks, and IRET. SDM
 * vol. 3, 6.8 and 8.3, vol. 2 under the instructions' names. State changes as it goes; a fault puts
 * it back (segment.h).
 */
#include "vmm/bt/guest_bytes.h"
#include "vmm/bt/handlers.h"
#include "vmm/bt/operand.h"
#include "vmm/bt/segment.h"

#define DST (&insn->operand[0])

/* RIP in the code segment that is loaded by now. */
static void jump_to(struct engine_vcpu *cpu, uint64_t rip)
{
	if (cpu->mode == DECODE_64 ? !is_canonical(rip) : rip > cpu->segment[CPU_CS].limit)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	cpu->next_rip = rip;
}

/* Code that CALL and JMP may reach without a gate. */
static void code_check(struct engine_vcpu *cpu, uint16_t selector, const struct descriptor *d)
{
	int32_t error = selector & ~SELECTOR_RPL;
	bool conforming = d->segment.type & TYPE_CONFORMING;
	bool ok = conforming ? d->segment.dpl <= cpu->cpl
			     : (selector & SELECTOR_RPL) <= cpu->cpl && d->segment.dpl == cpu->cpl;

	if (!ok || (cpu->long_mode && d->segment.l && d->segment.db))
		cpu_fault(cpu, EXCEPTION_GP, error);
	if (!d->segment.present)
		cpu_fault(cpu, EXCEPTION_NP, error);
}

struct call_gate {
	uint16_t selector;
	uint64_t offset;
	unsigned size;   /* of what is pushed */
	unsigned params; /* words copied to an inner stack */
};

static struct call_gate gate_of(struct engine_vcpu *cpu, const struct descriptor *d)
{
	struct call_gate g = {.selector = (uint16_t)(d->low >> 16),
			      .offset = (d->low & 0xffff) | (d->low >> 32 & 0xffff0000),
			      .size = d->segment.type == TYPE_CALL16 ? 2 : 4,
			      .params = d->low >> 32 & 31};

	if (cpu->long_mode) {
		g.offset |= d->high << 32;
		g.size = 8;
		g.params = 0;
	}
	if (g.size == 2)
		g.offset &= 0xffff;
	return g;
}

static void push_address(struct engine_vcpu *cpu, unsigned size, uint16_t cs, uint64_t rip)
{
	stack_push(cpu, size, cs);
	stack_push(cpu, size, rip);
}

/* To an inner level: a new stack, with the old one's top and parameters on it. */
static void gate_inner(struct engine_vcpu *cpu, const struct call_gate *g, unsigned cpl)
{
	uint16_t old_ss = cpu->segment[CPU_SS].selector, ss;
	uint64_t old_sp = cpu->gpr[CPU_RSP], sp, params[32];

	for (unsigned i = 0; i < g->params; i++)
		params[i] = stack_peek(cpu, i * g->size, g->size);
	task_stack(cpu, cpl, &ss, &sp);
	segment_load_stack(cpu, ss, cpl, EXCEPTION_TS);
	cpu->transaction.stack_error = ss & ~SELECTOR_RPL;
	cpu_mode_update(cpu);
	/* In long mode the new stack is 64 bits wide whatever the code was. */
	if (cpu->long_mode)
		cpu->stack_size = 8;
	gpr_set(cpu, CPU_RSP, cpu->stack_size, sp);
	stack_push(cpu, g->size, old_ss);
	stack_push(cpu, g->size, old_sp);
	for (unsigned i = g->params; i-- > 0;)
		stack_push(cpu, g->size, params[i]);
}

static void through_gate(struct engine_vcpu *cpu, uint16_t selector, const struct descriptor *gate,
			 bool call)
{
	struct call_gate g = gate_of(cpu, gate);
	uint16_t cs = cpu->segment[CPU_CS].selector;
	uint64_t back = cpu->next_rip;
	struct descriptor code;
	unsigned cpl = cpu->cpl;
	int32_t error = g.selector & ~SELECTOR_RPL;

	if (gate->segment.dpl < cpl || gate->segment.dpl < (selector & SELECTOR_RPL))
		cpu_fault(cpu, EXCEPTION_GP, selector & ~SELECTOR_RPL);
	if (!gate->segment.present)
		cpu_fault(cpu, EXCEPTION_NP, selector & ~SELECTOR_RPL);
	if (is_null(g.selector))
		cpu_fault(cpu, EXCEPTION_GP, 0);
	descriptor_read(cpu, g.selector, false, EXCEPTION_GP, &code);
	if (!code.segment.s || !(code.segment.type & TYPE_IS_CODE) || code.segment.dpl > cpl ||
	    (cpu->long_mode && (!code.segment.l || code.segment.db)))
		cpu_fault(cpu, EXCEPTION_GP, error);
	/* JMP does not change levels. */
	if (!call && !(code.segment.type & TYPE_CONFORMING) && code.segment.dpl != cpl)
		cpu_fault(cpu, EXCEPTION_GP, error);
	if (!code.segment.present)
		cpu_fault(cpu, EXCEPTION_NP, error);
	if (call && !(code.segment.type & TYPE_CONFORMING) && code.segment.dpl < cpl) {
		cpl = code.segment.dpl;
		gate_inner(cpu, &g, cpl);
	}
	if (call)
		push_address(cpu, g.size, cs, back);
	segment_load_code(cpu, g.selector, cpl, &code);
	cpu_mode_update(cpu);
	jump_to(cpu, g.offset);
}

static void to_task(struct engine_vcpu *cpu, uint16_t selector, struct descriptor *d, bool call)
{
	int32_t error = selector & ~SELECTOR_RPL;
	struct descriptor tss = *d;
	uint16_t target = selector;

	if (cpu->long_mode || d->segment.dpl < cpu->cpl ||
	    d->segment.dpl < (selector & SELECTOR_RPL))
		cpu_fault(cpu, EXCEPTION_GP, error);
	if (!d->segment.present)
		cpu_fault(cpu, EXCEPTION_NP, error);
	if (d->segment.type == TYPE_TASK) {
		target = (uint16_t)(d->low >> 16);
		descriptor_read(cpu, target, false, EXCEPTION_GP, &tss);
	}
	task_switch(cpu, target, &tss, call ? TASK_CALL : TASK_JUMP, NO_ERROR_CODE);
}

static void far_protected(struct engine_vcpu *cpu, const struct insn *insn, uint16_t selector,
			  uint64_t offset, bool call)
{
	struct descriptor d;

	if (is_null(selector))
		cpu_fault(cpu, EXCEPTION_GP, 0);
	descriptor_read(cpu, selector, cpu->long_mode, EXCEPTION_GP, &d);
	if (d.segment.s && d.segment.type & TYPE_IS_CODE) {
		code_check(cpu, selector, &d);
		if (call)
			push_address(cpu, insn->operand_size, cpu->segment[CPU_CS].selector,
				     cpu->next_rip);
		segment_load_code(cpu, selector, cpu->cpl, &d);
		cpu_mode_update(cpu);
		jump_to(cpu, offset);
		return;
	}
	if (d.segment.s)
		cpu_fault(cpu, EXCEPTION_GP, selector & ~SELECTOR_RPL);
	switch (d.segment.type) {
	case TYPE_CALL16:
		if (cpu->long_mode)
			cpu_fault(cpu, EXCEPTION_GP, selector & ~SELECTOR_RPL);
		through_gate(cpu, selector, &d, call);
		break;
	case TYPE_CALL32:
		through_gate(cpu, selector, &d, call);
		break;
	case TYPE_TASK:
	case TYPE_TSS16:
	case TYPE_TSS32:
		to_task(cpu, selector, &d, call);
		break;
	default:
		cpu_fault(cpu, EXCEPTION_GP, selector & ~SELECTOR_RPL);
	}
}

static void far_transfer(struct engine_vcpu *cpu, const struct insn *insn, uint16_t selector,
			 uint64_t offset, bool call)
{
	transaction_begin(cpu);
	if (is_protected(cpu)) {
		far_protected(cpu, insn, selector, offset, call);
	} else {
		if (call)
			push_address(cpu, insn->operand_size, cpu->segment[CPU_CS].selector,
				     cpu->next_rip);
		if (offset > cpu->segment[CPU_CS].limit)
			cpu_fault(cpu, EXCEPTION_GP, 0);
		segment_load_real(cpu, CPU_CS, selector);
		cpu->next_rip = offset;
	}
	cpu_mode_update(cpu);
	transaction_end(cpu);
}

static bool is_call(const struct insn *insn)
{
	return insn->opcode->id == INSN_CALL_FAR || insn->opcode->id == INSN_CALL_FAR_INDIRECT;
}

void do_far(struct engine_vcpu *cpu, const struct insn *insn)
{
	far_transfer(cpu, insn, (uint16_t)insn->immediate_2, insn->immediate, is_call(insn));
}

void do_far_indirect(struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;
	uint64_t linear = operand_linear(cpu, insn, size + 2, false);
	uint64_t offset = linear_read(cpu, linear, size);

	far_transfer(cpu, insn, (uint16_t)linear_read(cpu, linear_after(cpu, linear, size), 2),
		     offset, is_call(insn));
}

/* Returns. */

/* Code that RET and IRET may return to: never inwards. */
static void return_code(struct engine_vcpu *cpu, uint16_t selector, struct descriptor *d)
{
	int32_t error = selector & ~SELECTOR_RPL;
	unsigned rpl = selector & SELECTOR_RPL;
	bool conforming;

	if (is_null(selector))
		cpu_fault(cpu, EXCEPTION_GP, 0);
	descriptor_read(cpu, selector, false, EXCEPTION_GP, d);
	conforming = d->segment.type & TYPE_CONFORMING;
	if (!d->segment.s || !(d->segment.type & TYPE_IS_CODE) || rpl < cpu->cpl ||
	    (conforming ? d->segment.dpl > rpl : d->segment.dpl != rpl) ||
	    (cpu->long_mode && d->segment.l && d->segment.db))
		cpu_fault(cpu, EXCEPTION_GP, error);
	if (!d->segment.present)
		cpu_fault(cpu, EXCEPTION_NP, error);
}

/* The stack of an outer level. */
static void return_stack(struct engine_vcpu *cpu, uint16_t ss, uint64_t sp, unsigned cpl,
			 const struct descriptor *code)
{
	/* A null SS is for 64-bit code only, below level 3. */
	if (is_null(ss) && !(code->segment.l && cpu->long_mode))
		cpu_fault(cpu, EXCEPTION_GP, 0);
	segment_load_stack(cpu, ss, cpl, EXCEPTION_GP);
	cpu_mode_update(cpu);
	gpr_set(cpu, CPU_RSP, cpu->stack_size, sp);
}

static void ret_protected(struct engine_vcpu *cpu, unsigned size, uint64_t release)
{
	uint64_t rip = stack_peek(cpu, 0, size), sp = 0;
	uint16_t cs = (uint16_t)stack_peek(cpu, size, size), ss = 0;
	unsigned rpl = cs & SELECTOR_RPL;
	bool outer = rpl > cpu->cpl;
	struct descriptor code;

	return_code(cpu, cs, &code);
	if (outer) {
		sp = stack_peek(cpu, 2 * size + release, size);
		ss = (uint16_t)stack_peek(cpu, 3 * size + release, size);
	}
	segment_load_code(cpu, cs, rpl, &code);
	if (outer) {
		return_stack(cpu, ss, sp, rpl, &code);
		segments_drop(cpu);
		stack_adjust(cpu, (int64_t)release);
	} else {
		cpu_mode_update(cpu);
		stack_adjust(cpu, 2 * (int64_t)size + (int64_t)release);
	}
	jump_to(cpu, rip);
}

void do_ret_far(struct engine_vcpu *cpu, const struct insn *insn)
{
	unsigned size = insn->operand_size;

	transaction_begin(cpu);
	if (is_protected(cpu)) {
		ret_protected(cpu, size, insn->immediate);
	} else {
		uint64_t rip = stack_peek(cpu, 0, size);
		uint16_t cs = (uint16_t)stack_peek(cpu, size, size);

		if (rip > cpu->segment[CPU_CS].limit)
			cpu_fault(cpu, EXCEPTION_GP, 0);
		stack_adjust(cpu, 2 * (int64_t)size + (int64_t)insn->immediate);
		segment_load_real(cpu, CPU_CS, cs);
		cpu->next_rip = rip;
	}
	cpu_mode_update(cpu);
	transaction_end(cpu);
}

/* Which flags IRET and POPF may change: SDM vol. 2, IRET. */
uint64_t flags_writable(const struct engine_vcpu *cpu, unsigned size)
{
	uint64_t mask = RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;

	if (size > 2)
		mask |= RFLAGS_AC | RFLAGS_ID;
	if (cpu->cpl == 0)
		mask |= RFLAGS_IOPL;
	if (cpu->cpl <= (cpu->rflags >> 12 & 3))
		mask |= RFLAGS_IF;
	return mask;
}

static void iret_flags(struct engine_vcpu *cpu, uint64_t value, unsigned size, unsigned old_cpl)
{
	uint64_t mask = RFLAGS_ARITHMETIC | RFLAGS_TF | RFLAGS_DF | RFLAGS_NT;

	if (size > 2)
		mask |= RFLAGS_RF | RFLAGS_AC | RFLAGS_ID;
	if (old_cpl == 0)
		mask |= RFLAGS_IOPL | (size > 2 ? RFLAGS_VIF | RFLAGS_VIP : 0);
	if (old_cpl <= (cpu->rflags >> 12 & 3))
		mask |= RFLAGS_IF;
	cpu->rflags = (cpu->rflags & ~mask) | (value & mask) | RFLAGS_ONE;
}

static void iret_to_v86(struct engine_vcpu *cpu, uint64_t rip, uint16_t cs, uint64_t flags)
{
	static const unsigned order[] = {CPU_SS, CPU_ES, CPU_DS, CPU_FS, CPU_GS};
	uint64_t sp = stack_peek(cpu, 12, 4);
	uint16_t selector[5];

	for (unsigned i = 0; i < 5; i++)
		selector[i] = (uint16_t)stack_peek(cpu, 16 + 4 * i, 4);
	cpu->rflags = (flags & 0x3f7fd5) | RFLAGS_ONE | RFLAGS_VM;
	segment_load_real(cpu, CPU_CS, cs);
	for (unsigned i = 0; i < 5; i++)
		segment_load_real(cpu, order[i], selector[i]);
	cpu_mode_update(cpu);
	cpu->gpr[CPU_RSP] = (uint32_t)sp;
	jump_to(cpu, rip & 0xffff);
}

static void iret_protected(struct engine_vcpu *cpu, unsigned size)
{
	uint64_t rip = stack_peek(cpu, 0, size), flags, sp = 0;
	uint16_t cs = (uint16_t)stack_peek(cpu, size, size), ss = 0;
	unsigned rpl = cs & SELECTOR_RPL, old_cpl = cpu->cpl;
	bool from_64 = cpu->mode == DECODE_64, outer;
	struct descriptor code;

	flags = stack_peek(cpu, 2 * size, size);
	if (flags & RFLAGS_VM && size == 4 && cpu->cpl == 0 && !cpu->long_mode) {
		iret_to_v86(cpu, rip, cs, flags);
		return;
	}
	return_code(cpu, cs, &code);
	outer = rpl > cpu->cpl;
	/* 64-bit code's frame always has a stack. */
	if (outer || from_64) {
		sp = stack_peek(cpu, 3 * size, size);
		ss = (uint16_t)stack_peek(cpu, 4 * size, size);
	}
	segment_load_code(cpu, cs, rpl, &code);
	if (outer || from_64) {
		return_stack(cpu, ss, sp, rpl, &code);
		segments_drop(cpu);
	} else {
		cpu_mode_update(cpu);
		stack_adjust(cpu, 3 * (int64_t)size);
	}
	jump_to(cpu, rip);
	iret_flags(cpu, flags, size, old_cpl);
}

/* Of real mode, and of virtual-8086 mode with IOPL 3. */
static void iret_real(struct engine_vcpu *cpu, unsigned size)
{
	bool v86 = cpu->rflags & RFLAGS_VM;
	uint64_t rip, flags;
	uint16_t cs;

	if (v86 && (cpu->rflags & RFLAGS_IOPL) != RFLAGS_IOPL)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	rip = stack_peek(cpu, 0, size);
	cs = (uint16_t)stack_peek(cpu, size, size);
	flags = stack_peek(cpu, 2 * size, size);
	if (rip > cpu->segment[CPU_CS].limit)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	stack_adjust(cpu, 3 * (int64_t)size);
	segment_load_real(cpu, CPU_CS, cs);
	cpu->next_rip = rip;
	iret_flags(cpu, flags, size, v86 ? 3 : 0);
}

static void iret_nested(struct engine_vcpu *cpu)
{
	struct descriptor tss;
	uint16_t back;

	if (cpu->long_mode)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	back = (uint16_t)system_read(cpu, cpu->tr.base, 2);
	if (back & SELECTOR_LDT)
		cpu_fault(cpu, EXCEPTION_TS, back & ~SELECTOR_RPL);
	descriptor_read(cpu, back, false, EXCEPTION_TS, &tss);
	task_switch(cpu, back, &tss, TASK_RETURN, NO_ERROR_CODE);
}

void do_iret(struct engine_vcpu *cpu, const struct insn *insn)
{
	transaction_begin(cpu);
	if (!is_protected(cpu))
		iret_real(cpu, insn->operand_size);
	else if (cpu->rflags & RFLAGS_NT)
		iret_nested(cpu);
	else
		iret_protected(cpu, insn->operand_size);
	cpu_mode_update(cpu);
	transaction_end(cpu);
	cpu->nmi_masked = false;
	guest_fence();
}
