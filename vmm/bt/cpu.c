/* SPDX-License-Identifier: MIT */
/* What follows from a vCPU's registers, and the way out of an instruction that faults. */
#include <string.h>

#include "vmm/bt/alignment.h"
#include "vmm/bt/segment.h"

void transaction_begin(struct engine_vcpu *cpu)
{
	struct transaction *t = &cpu->transaction;

	t->open = true;
	t->stack_error = 0;
	t->rsp = cpu->gpr[CPU_RSP];
	t->rflags = cpu->rflags;
	memcpy(t->segment, cpu->segment, sizeof(t->segment));
	t->tr = cpu->tr;
	t->ldt = cpu->ldt;
}

void transaction_end(struct engine_vcpu *cpu)
{
	cpu->transaction.open = false;
}

_Noreturn static void leave(struct engine_vcpu *cpu)
{
	struct transaction *t = &cpu->transaction;

	if (t->open) {
		t->open = false;
		cpu->gpr[CPU_RSP] = t->rsp;
		cpu->rflags = t->rflags;
		memcpy(cpu->segment, t->segment, sizeof(t->segment));
		cpu->tr = t->tr;
		cpu->ldt = t->ldt;
		cpu_mode_update(cpu);
	}
	siglongjmp(cpu->escape, 1);
}

_Noreturn void cpu_fault(struct engine_vcpu *cpu, enum exception vector, int32_t error)
{
	cpu->fault = (struct fault){.vector = (uint8_t)vector, .error = error};
	leave(cpu);
}

_Noreturn void cpu_page_fault(struct engine_vcpu *cpu, uint64_t address, uint32_t error)
{
	cpu->fault =
		(struct fault){.vector = EXCEPTION_PF, .error = (int32_t)error, .address = address};
	leave(cpu);
}

/* What the TLB has is not checked. */
static void alignment_update(struct engine_vcpu *cpu)
{
	if (!alignment_is_on(cpu)) {
		cpu->checks &= ~(unsigned)CHECK_ALIGNMENT;
	} else if (!(cpu->checks & CHECK_ALIGNMENT)) {
		cpu->checks |= CHECK_ALIGNMENT;
		tlb_flush(cpu, true);
	}
}

void cpu_mode_update(struct engine_vcpu *cpu)
{
	const struct cpu_segment *cs = &cpu->segment[CPU_CS], *ss = &cpu->segment[CPU_SS];

	cpu->long_mode = cpu->efer & EFER_LMA;
	if (!(cpu->cr0 & CR0_PE)) {
		cpu->cpl = 0;
		cpu->mode = DECODE_16;
	} else if (cpu->rflags & RFLAGS_VM) {
		cpu->cpl = 3;
		cpu->mode = DECODE_16;
	} else {
		cpu->cpl = ss->dpl;
		cpu->mode = cpu->long_mode && cs->l ? DECODE_64 : cs->db ? DECODE_32 : DECODE_16;
	}
	cpu->stack_size = cpu->mode == DECODE_64 ? 8 : ss->db ? 4 : 2;
	if (cpu->cpl == 3)
		cpu->tlb_mode = TLB_USER;
	else
		cpu->tlb_mode = cpu->rflags & RFLAGS_AC ? TLB_SUPERVISOR_AC : TLB_SUPERVISOR;
	alignment_update(cpu);
}
