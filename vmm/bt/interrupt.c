/* SPDX-License-Identifier: MIT */
/*
 * Delivery of interrupts and exceptions: SDM vol. 3, 7.12 to 7.14 and 21.1.4; AMD64 vol. 2, 8.7 to
 * 8.9. State changes as it goes; a fault on the way puts it back (transaction_begin).
 */
#include "vmm/bt/operand.h"
#include "vmm/bt/segment.h"

#define ERROR_IDT 2u

struct gate {
	uint16_t selector;
	uint8_t type, dpl, ist;
	bool present;
	uint64_t offset;
};

struct delivery {
	struct engine_vcpu *cpu;
	unsigned vector;
	bool software;
	int32_t error;   /* to push, or NO_ERROR_CODE */
	uint64_t back;   /* where the handler returns to */
	uint64_t flags;  /* to push */
	unsigned size;   /* of what is pushed: 2, 4, 8 */
	uint16_t cs, ss; /* to push */
	uint64_t sp;
};

static int32_t idt_error(const struct delivery *d)
{
	return (int32_t)(d->vector * 8 + ERROR_IDT);
}

static struct gate gate_read(struct delivery *d)
{
	struct engine_vcpu *cpu = d->cpu;
	unsigned size = cpu->long_mode ? 16 : 8;
	uint64_t at = cpu->idt.base + d->vector * size, low, high = 0;
	struct gate g;

	if (d->vector * size + size - 1 > cpu->idt.limit)
		cpu_fault(cpu, EXCEPTION_GP, idt_error(d));
	if (!cpu->long_mode)
		at &= 0xffffffff;
	low = system_read(cpu, at, 8);
	if (cpu->long_mode)
		high = system_read(cpu, at + 8, 8);
	g = (struct gate){
		.selector = (uint16_t)(low >> 16),
		.type = low >> 40 & 31, /* with the S bit, which must be clear */
		.dpl = low >> 45 & 3,
		.ist = cpu->long_mode ? low >> 32 & 7 : 0,
		.present = low >> 47 & 1,
		.offset = (low & 0xffff) | (low >> 32 & 0xffff0000) | high << 32,
	};
	if (g.type == TYPE_INTERRUPT16 || g.type == TYPE_TRAP16)
		g.offset &= 0xffff;
	return g;
}

static void gate_check(struct delivery *d, const struct gate *g)
{
	struct engine_vcpu *cpu = d->cpu;
	bool known = g->type == TYPE_INTERRUPT32 || g->type == TYPE_TRAP32;

	if (!cpu->long_mode)
		known |= g->type == TYPE_TASK || g->type == TYPE_INTERRUPT16 ||
			 g->type == TYPE_TRAP16;
	if (!known || (d->software && g->dpl < cpu->cpl))
		cpu_fault(cpu, EXCEPTION_GP, idt_error(d));
	if (!g->present)
		cpu_fault(cpu, EXCEPTION_NP, idt_error(d));
}

/* The handler's code segment. */
static void target_read(struct delivery *d, const struct gate *g, struct descriptor *code)
{
	struct engine_vcpu *cpu = d->cpu;
	int32_t error = g->selector & ~SELECTOR_RPL;

	if (is_null(g->selector))
		cpu_fault(cpu, EXCEPTION_GP, 0);
	if (!descriptor_find(cpu, g->selector, false, code))
		cpu_fault(cpu, EXCEPTION_GP, error);
	if (!code->segment.s || !(code->segment.type & TYPE_IS_CODE) ||
	    code->segment.dpl > cpu->cpl)
		cpu_fault(cpu, EXCEPTION_GP, error);
	if (cpu->long_mode && (!code->segment.l || code->segment.db))
		cpu_fault(cpu, EXCEPTION_GP, error);
	if (!code->segment.present)
		cpu_fault(cpu, EXCEPTION_NP, error);
}

static void push(struct delivery *d, uint64_t value)
{
	stack_push(d->cpu, d->size, value);
}

static void push_frame(struct delivery *d, bool stack)
{
	if (stack) {
		push(d, d->ss);
		push(d, d->sp);
	}
	push(d, d->flags);
	push(d, d->cs);
	push(d, d->back);
	if (d->error != NO_ERROR_CODE)
		push(d, (uint64_t)d->error);
}

/* The stack of an inner level. */
static void stack_switch(struct delivery *d, unsigned cpl)
{
	struct engine_vcpu *cpu = d->cpu;
	uint16_t ss;
	uint64_t sp;

	task_stack(cpu, cpl, &ss, &sp);
	/* Virtual-8086 mode ends here: what follows is pushed by the new level. */
	cpu->rflags &= ~(uint64_t)RFLAGS_VM;
	segment_load_stack(cpu, ss, cpl, EXCEPTION_TS);
	cpu->transaction.stack_error = ss & ~SELECTOR_RPL;
	cpu_mode_update(cpu);
	gpr_set(cpu, CPU_RSP, cpu->stack_size, sp);
}

static void flags_after(struct engine_vcpu *cpu, const struct gate *g)
{
	cpu->rflags &= ~(uint64_t)(RFLAGS_TF | RFLAGS_NT | RFLAGS_RF | RFLAGS_VM);
	if (g->type == TYPE_INTERRUPT16 || g->type == TYPE_INTERRUPT32)
		cpu->rflags &= ~(uint64_t)RFLAGS_IF;
}

/* Virtual-8086 mode's segments go on the stack and become null. */
static void push_v86(struct delivery *d)
{
	static const unsigned order[] = {CPU_GS, CPU_FS, CPU_DS, CPU_ES};
	struct engine_vcpu *cpu = d->cpu;

	for (unsigned i = 0; i < 4; i++) {
		push(d, cpu->segment[order[i]].selector);
		cpu->segment[order[i]] = (struct cpu_segment){.unusable = 1};
	}
}

static void deliver_32(struct delivery *d, const struct gate *g, struct descriptor *code)
{
	struct engine_vcpu *cpu = d->cpu;
	bool v86 = cpu->rflags & RFLAGS_VM;
	bool conforming = code->segment.type & TYPE_CONFORMING;
	bool inner = !conforming && code->segment.dpl < cpu->cpl;
	unsigned cpl = inner ? code->segment.dpl : cpu->cpl;

	d->size = g->type == TYPE_INTERRUPT16 || g->type == TYPE_TRAP16 ? 2 : 4;
	if (v86 && (!inner || cpl != 0))
		cpu_fault(cpu, EXCEPTION_GP, g->selector & ~SELECTOR_RPL);
	if (inner)
		stack_switch(d, cpl);
	if (v86)
		push_v86(d);
	push_frame(d, inner);
	if (g->offset > code->segment.limit)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	segment_load_code(cpu, g->selector, cpl, code);
}

static void deliver_64(struct delivery *d, const struct gate *g, struct descriptor *code)
{
	struct engine_vcpu *cpu = d->cpu;
	bool conforming = code->segment.type & TYPE_CONFORMING;
	unsigned cpl = conforming ? cpu->cpl : code->segment.dpl;
	bool inner = cpl < cpu->cpl;
	uint64_t sp = cpu->gpr[CPU_RSP];
	uint16_t ss;

	d->size = 8;
	if (g->ist)
		sp = task_interrupt_stack(cpu, g->ist);
	else if (inner)
		task_stack(cpu, cpl, &ss, &sp);
	segment_load_code(cpu, g->selector, cpl, code);
	if (inner)
		segment_load_stack(cpu, (uint16_t)cpl, cpl, EXCEPTION_TS);
	cpu_mode_update(cpu);
	cpu->gpr[CPU_RSP] = sp & ~15ull;
	push_frame(d, true);
	if (!is_canonical(g->offset))
		cpu_fault(cpu, EXCEPTION_GP, 0);
}

static void deliver_real(struct delivery *d)
{
	struct engine_vcpu *cpu = d->cpu;
	uint32_t entry;

	if (d->vector * 4 + 3 > cpu->idt.limit)
		cpu_fault(cpu, EXCEPTION_GP, NO_ERROR_CODE);
	entry = (uint32_t)system_read(cpu, cpu->idt.base + d->vector * 4, 4);
	d->size = 2;
	d->error = NO_ERROR_CODE;
	push_frame(d, false);
	cpu->rflags &= ~(uint64_t)(RFLAGS_IF | RFLAGS_TF | RFLAGS_AC | RFLAGS_RF);
	segment_load_real(cpu, CPU_CS, (uint16_t)(entry >> 16));
	cpu->next_rip = entry & 0xffff;
}

static void deliver_protected(struct delivery *d)
{
	struct engine_vcpu *cpu = d->cpu;
	struct gate g = gate_read(d);
	struct descriptor code;

	gate_check(d, &g);
	if (g.type == TYPE_TASK) {
		descriptor_read(cpu, g.selector, false, EXCEPTION_GP, &code);
		cpu->next_rip = d->back;
		task_switch(cpu, g.selector, &code, TASK_CALL, d->error);
		return;
	}
	target_read(d, &g, &code);
	if (cpu->long_mode)
		deliver_64(d, &g, &code);
	else
		deliver_32(d, &g, &code);
	flags_after(cpu, &g);
	cpu->next_rip = g.offset;
}

void interrupt_deliver(struct engine_vcpu *cpu, unsigned vector, enum interrupt_kind kind,
		       uint64_t back, int32_t error)
{
	struct delivery d = {
		.cpu = cpu,
		.vector = vector,
		.software = kind == INTERRUPT_SOFTWARE,
		.error = error,
		.back = back,
		.flags = cpu->rflags,
		.cs = cpu->segment[CPU_CS].selector,
		.ss = cpu->segment[CPU_SS].selector,
		.sp = cpu->gpr[CPU_RSP],
	};

	transaction_begin(cpu);
	if (cpu->cr0 & CR0_PE)
		deliver_protected(&d);
	else
		deliver_real(&d);
	cpu_mode_update(cpu);
	transaction_end(cpu);
	cpu->rip = cpu->next_rip;
}
