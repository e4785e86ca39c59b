/* SPDX-License-Identifier: MIT */
/*
 * Neutral state in and out, field by field. The local APIC belongs to the VM's own
 * part (vm.c).
 */
#include "vmm/bt/state.h"
#include "vmm/bt/debug.h"

#include <errno.h>
#include <string.h>

#include "vmm/base/checked.h"
#include "vmm/bt/fpu.h"
#include "vmm/bt/system.h"

/* MSRs that are saved, in the order in which they are set. */
static const uint32_t msr_list[] = {
	0x10,       0x3b,       0x174,      0x175,      0x176,      0x1a0, 0x277,      0x48,
	0x17a,      0x17b,      0x200,      0x201,      0x202,      0x203, 0x204,      0x205,
	0x206,      0x207,      0x208,      0x209,      0x20a,      0x20b, 0x20c,      0x20d,
	0x20e,      0x20f,      0x250,      0x258,      0x259,      0x268, 0x269,      0x26a,
	0x26b,      0x26c,      0x26d,      0x26e,      0x26f,      0x2ff, 0xc0000081, 0xc0000082,
	0xc0000083, 0xc0000084, 0xc0000102, 0xc0000103, 0xc0010015,
};

static bool is_possible(const struct cpu_state *in)
{
	bool paging = in->cr0 & CR0_PG;

	if (paging && !(in->cr0 & CR0_PE))
		return false;
	if (!!(in->efer & EFER_LMA) != (paging && in->efer & EFER_LME))
		return false;
	if (in->efer & EFER_LMA && !(in->cr4 & CR4_PAE))
		return false;
	return in->msr_count <= CPU_MSRS_MAX && in->rflags & RFLAGS_ONE;
}

int bt_state_set(struct engine_vcpu *cpu, const struct cpu_state *in)
{
	if (!is_possible(in))
		return -EINVAL;
	memcpy(cpu->gpr, in->gpr, sizeof(cpu->gpr));
	memcpy(cpu->segment, in->segment, sizeof(cpu->segment));
	memcpy(cpu->db, in->db, sizeof(cpu->db));
	cpu->rip = in->rip;
	cpu->rflags = in->rflags;
	cpu->tr = in->tr;
	cpu->ldt = in->ldt;
	cpu->gdt = in->gdt;
	cpu->idt = in->idt;
	cpu->cr0 = in->cr0;
	cpu->cr2 = in->cr2;
	cpu->cr4 = in->cr4;
	cpu->cr8 = in->cr8;
	cpu->efer = in->efer;
	cpu->dr6 = in->dr6;
	cpu->dr7 = in->dr7;
	cpu->xcr0 = in->xcr0;
	cpu->halted = in->activity == CPU_HALTED;
	cpu->shadow = in->events.shadow;
	cpu->nmi_masked = in->events.nmi_masked;
	cpu->debug_pending = 0;
	cpu_mode_update(cpu);
	tlb_flush(cpu, true);
	debug_update(cpu);
	if (cpu_set_cr3(cpu, in->cr3) || fpu_state_set(cpu, in))
		return -EINVAL;
	for (unsigned i = 0; i < in->msr_count; i++)
		if (msr_write(cpu, in->msr[i].index, in->msr[i].value))
			return -EINVAL;
	return 0;
}

void bt_state_get(const struct engine_vcpu *cpu, struct cpu_state *out)
{
	memcpy(out->gpr, cpu->gpr, sizeof(out->gpr));
	memcpy(out->segment, cpu->segment, sizeof(out->segment));
	memcpy(out->db, cpu->db, sizeof(out->db));
	out->rip = cpu->rip;
	out->rflags = cpu->rflags;
	out->tr = cpu->tr;
	out->ldt = cpu->ldt;
	out->gdt = cpu->gdt;
	out->idt = cpu->idt;
	out->cr0 = cpu->cr0;
	out->cr2 = cpu->cr2;
	out->cr3 = cpu->cr3;
	out->cr4 = cpu->cr4;
	out->cr8 = cpu->cr8;
	out->efer = cpu->efer;
	out->dr6 = cpu->dr6;
	out->dr7 = cpu->dr7;
	out->xcr0 = cpu->xcr0;
	fpu_state_get(cpu, out);
	out->activity = cpu->halted ? CPU_HALTED : CPU_RUNNING;
	out->events = (struct cpu_events){.shadow = cpu->shadow, .nmi_masked = cpu->nmi_masked};
	out->msr_count = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(msr_list); i++) {
		struct cpu_msr *msr = &out->msr[out->msr_count];

		msr->index = msr_list[i];
		if (msr_read((struct engine_vcpu *)cpu, msr->index, &msr->value) == 0)
			out->msr_count++;
	}
}

static struct cpu_segment reset_segment(unsigned type, bool code_or_data)
{
	return (struct cpu_segment){
		.limit = 0xffff, .type = (uint8_t)type, .s = code_or_data, .present = 1};
}

void bt_state_reset(struct engine_vcpu *cpu)
{
	const struct cpuid_leaf *leaf = cpuid_find(cpu->cpuid, 1, 0);

	memset(cpu->gpr, 0, sizeof(cpu->gpr));
	cpu->gpr[CPU_RDX] = leaf ? leaf->reg[CPUID_EAX] : 0;
	cpu->rip = 0xfff0;
	cpu->rflags = RFLAGS_ONE;
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		cpu->segment[i] = reset_segment(3, true);
	cpu->segment[CPU_CS].type = 11;
	cpu->segment[CPU_CS].selector = 0xf000;
	cpu->segment[CPU_CS].base = 0xffff0000;
	cpu->tr = reset_segment(11, false);
	cpu->ldt = reset_segment(2, false);
	cpu->gdt = cpu->idt = (struct cpu_table){.limit = 0xffff};
	cpu->cr0 = CR0_CD | CR0_NW | CR0_ET;
	cpu->cr2 = cpu->cr3 = cpu->cr4 = cpu->cr8 = cpu->efer = 0;
	memset(cpu->db, 0, sizeof(cpu->db));
	cpu->dr6 = DR6_ONES;
	cpu->dr7 = DR7_ONES;
	cpu->xcr0 = 1;
	memset(&cpu->msr, 0, sizeof(cpu->msr));
	cpu->msr.pat = 0x0007040600070406ull;
	cpu->msr.misc_enable = 1;
	cpu->msr.hwcr = 1u << 24; /* TscFreqSel: the TSC counts at the frequency of P0 */
	fpu_reset(cpu);
	cpu->halted = cpu->nmi_masked = false;
	cpu->shadow = 0;
	cpu->debug_pending = 0;
	for (unsigned i = 0; i < INSN_CACHE; i++)
		cpu->cache[i].gpa = INSN_CACHE_NONE;
	cpu_mode_update(cpu);
	tlb_flush(cpu, true);
	debug_update(cpu);
}
