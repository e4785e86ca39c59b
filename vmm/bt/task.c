/* SPDX-License-Identifier: MIT */
/*
 * The task switch: SDM vol. 3, 8.3. Outside long mode only. The old task is saved before the new
 * one is loaded; from then on faults belong to the new task.
 */
#include "vmm/base/bytes.h"
#include "vmm/bt/debug.h"
#include "vmm/bt/operand.h"
#include "vmm/bt/segment.h"
#include "vmm/bt/system.h"

#define TSS32_SIZE 104u
#define TSS16_SIZE 44u

/* Where things are; the registers are in the order of their numbers. */
struct layout {
	unsigned size, word; /* of all, of a register */
	unsigned cr3;        /* 0: none */
	unsigned ip, flags, gpr, segment, ldt;
	unsigned segment_step, segments;
};

static const struct layout layout32 = {TSS32_SIZE, 4, 28, 32, 36, 40, 72, 96, 4, 6};
static const struct layout layout16 = {TSS16_SIZE, 2, 0, 14, 16, 18, 34, 42, 2, 4};

static const struct layout *layout_of(unsigned type)
{
	return type == TYPE_TSS16 || type == TYPE_TSS16_BUSY ? &layout16 : &layout32;
}

static void task_save(struct engine_vcpu *cpu, uint64_t base, uint64_t flags)
{
	const struct layout *l = layout_of(cpu->tr.type);

	system_write(cpu, base + l->ip, l->word, cpu->next_rip);
	system_write(cpu, base + l->flags, l->word, flags);
	for (unsigned i = 0; i < 8; i++)
		system_write(cpu, base + l->gpr + i * l->word, l->word, cpu->gpr[i]);
	for (unsigned i = 0; i < l->segments; i++)
		system_write(cpu, base + l->segment + i * l->segment_step, 2,
			     cpu->segment[i].selector);
}

struct task {
	uint64_t cr3, ip, flags, gpr[8];
	uint16_t segment[CPU_SEGMENTS], ldt;
	bool trap;
};

static void task_read(struct engine_vcpu *cpu, uint64_t base, const struct layout *l,
		      struct task *t)
{
	*t = (struct task){0};
	if (l->cr3)
		t->cr3 = system_read(cpu, base + l->cr3, 4);
	t->ip = system_read(cpu, base + l->ip, l->word);
	t->flags = system_read(cpu, base + l->flags, l->word);
	for (unsigned i = 0; i < 8; i++)
		t->gpr[i] = system_read(cpu, base + l->gpr + i * l->word, l->word);
	for (unsigned i = 0; i < l->segments; i++)
		t->segment[i] =
			(uint16_t)system_read(cpu, base + l->segment + i * l->segment_step, 2);
	t->ldt = (uint16_t)system_read(cpu, base + l->ldt, 2);
	if (l->word == 4)
		t->trap = system_read(cpu, base + 100, 2) & 1;
}

static void busy_set(struct engine_vcpu *cpu, uint64_t linear, bool busy)
{
	uint64_t byte = system_read(cpu, linear + 5, 1);

	system_write(cpu, linear + 5, 1, busy ? byte | 2 : byte & ~2ull);
}

static void tss_descriptor_check(struct engine_vcpu *cpu, uint16_t selector,
				 const struct descriptor *d, enum task_reason reason)
{
	int32_t error = selector & ~SELECTOR_RPL;
	bool busy = d->segment.type == TYPE_TSS16_BUSY || d->segment.type == TYPE_TSS32_BUSY;
	bool available = d->segment.type == TYPE_TSS16 || d->segment.type == TYPE_TSS32;

	if (d->segment.s || selector & SELECTOR_LDT || !(reason == TASK_RETURN ? busy : available))
		cpu_fault(cpu, reason == TASK_RETURN ? EXCEPTION_TS : EXCEPTION_GP, error);
	if (!d->segment.present)
		cpu_fault(cpu, EXCEPTION_NP, error);
	if (d->segment.limit < layout_of(d->segment.type)->size - 1)
		cpu_fault(cpu, EXCEPTION_TS, error);
}

static void ldt_load(struct engine_vcpu *cpu, uint16_t selector)
{
	int32_t error = selector & ~SELECTOR_RPL;
	struct descriptor d;

	cpu->ldt = (struct cpu_segment){.selector = selector, .unusable = 1};
	if (is_null(selector))
		return;
	if (selector & SELECTOR_LDT)
		cpu_fault(cpu, EXCEPTION_TS, error);
	descriptor_read(cpu, selector, false, EXCEPTION_TS, &d);
	if (d.segment.s || d.segment.type != TYPE_LDT || !d.segment.present)
		cpu_fault(cpu, EXCEPTION_TS, error);
	cpu->ldt = d.segment;
}

static void code_load(struct engine_vcpu *cpu, uint16_t selector)
{
	int32_t error = selector & ~SELECTOR_RPL;
	unsigned rpl = selector & SELECTOR_RPL;
	struct descriptor d;

	if (is_null(selector))
		cpu_fault(cpu, EXCEPTION_TS, 0);
	descriptor_read(cpu, selector, false, EXCEPTION_TS, &d);
	if (!d.segment.s || !(d.segment.type & TYPE_IS_CODE) ||
	    (d.segment.type & TYPE_CONFORMING ? d.segment.dpl > rpl : d.segment.dpl != rpl))
		cpu_fault(cpu, EXCEPTION_TS, error);
	if (!d.segment.present)
		cpu_fault(cpu, EXCEPTION_NP, error);
	segment_load_code(cpu, selector, rpl, &d);
}

/* All selectors first, invisible; then what they name, which may fault. */
static void segments_load(struct engine_vcpu *cpu, const struct task *t)
{
	static const unsigned data[] = {CPU_ES, CPU_DS, CPU_FS, CPU_GS};
	unsigned cpl = t->segment[CPU_CS] & SELECTOR_RPL;

	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		cpu->segment[i] = (struct cpu_segment){.selector = t->segment[i], .unusable = 1};
	if (cpu->rflags & RFLAGS_VM) {
		for (unsigned i = 0; i < CPU_SEGMENTS; i++)
			segment_load_real(cpu, i, t->segment[i]);
		cpu_mode_update(cpu);
		return;
	}
	cpu->segment[CPU_SS].dpl = (uint8_t)cpl;
	cpu_mode_update(cpu);
	ldt_load(cpu, t->ldt);
	segment_load_stack(cpu, t->segment[CPU_SS], cpl, EXCEPTION_TS);
	for (unsigned i = 0; i < 4; i++)
		segment_load(cpu, data[i], t->segment[data[i]], EXCEPTION_TS);
	code_load(cpu, t->segment[CPU_CS]);
	cpu_mode_update(cpu);
}

void task_switch(struct engine_vcpu *cpu, uint16_t selector, struct descriptor *tss,
		 enum task_reason reason, int32_t error)
{
	const struct layout *l = layout_of(tss->segment.type);
	uint64_t base = tss->segment.base, old = cpu->tr.base;
	uint16_t old_selector = cpu->tr.selector;
	uint64_t flags = cpu->rflags;
	struct descriptor old_tss;
	struct task t;

	tss_descriptor_check(cpu, selector, tss, reason);
	descriptor_read(cpu, old_selector, false, EXCEPTION_TS, &old_tss);
	if (reason == TASK_RETURN)
		flags &= ~(uint64_t)RFLAGS_NT;
	task_read(cpu, base, l, &t);
	task_save(cpu, old, flags);
	if (reason != TASK_CALL)
		busy_set(cpu, old_tss.linear, false);
	if (reason != TASK_RETURN)
		busy_set(cpu, tss->linear, true);
	if (reason == TASK_CALL) {
		system_write(cpu, base, 2, old_selector);
		t.flags |= RFLAGS_NT;
	}
	/* The new task's from here on. */
	transaction_end(cpu);
	cpu->tr = tss->segment;
	cpu->tr.type = l == &layout16 ? TYPE_TSS16_BUSY : TYPE_TSS32_BUSY;
	cpu->cr0 |= CR0_TS;
	if (l->cr3 && cpu->cr0 & CR0_PG && cpu_set_cr3(cpu, t.cr3))
		cpu_fault(cpu, EXCEPTION_TS, selector & ~SELECTOR_RPL);
	cpu->rflags = (t.flags & 0x3f7fd5) | RFLAGS_ONE;
	for (unsigned i = 0; i < 8; i++)
		gpr_set(cpu, i, 4, t.gpr[i]);
	cpu->rip = cpu->next_rip = t.ip;
	cpu->dr7 &= ~0x155ull; /* local breakpoints */
	debug_update(cpu);
	cpu->stepping = false;
	segments_load(cpu, &t);
	if (error != NO_ERROR_CODE)
		stack_push(cpu, l->word, (uint64_t)error);
	if (t.ip > cpu->segment[CPU_CS].limit)
		cpu_fault(cpu, EXCEPTION_GP, 0);
	if (t.trap)
		cpu->debug_pending |= DR6_BT;
}
