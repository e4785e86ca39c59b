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

#define MSR_TSC        0x10u
#define MSR_TSC_ADJUST 0x3bu

#define RFLAGS_ALL 0x3f7fd7u
#define CR0_ALL                                                                                    \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
#define CR4_ALL                                                                                    \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |  \
	 CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE |         \
	 CR4_SMEP | CR4_SMAP)
#define EFER_ALL (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

static bool is_possible_segment(const struct cpu_segment *s)
{
	return s->type < 16 && s->dpl < 4 && s->s < 2 && s->present < 2 && s->avl < 2 && s->l < 2 &&
	       s->db < 2 && s->g < 2 && s->unusable < 2;
}

static bool are_possible_segments(const struct cpu_state *in)
{
	for (unsigned i = 0; i < CPU_SEGMENTS; i++)
		if (!is_possible_segment(&in->segment[i]))
			return false;
	return is_possible_segment(&in->tr) && is_possible_segment(&in->ldt) &&
	       is_canonical(in->segment[CPU_FS].base) && is_canonical(in->segment[CPU_GS].base) &&
	       is_canonical(in->tr.base) && is_canonical(in->ldt.base) &&
	       is_canonical(in->gdt.base) && is_canonical(in->idt.base);
}

/* Control registers and modes. Which features the guest has is not asked: it may use more. */
static bool is_possible_mode(const struct cpu_state *in)
{
	bool paging = in->cr0 & CR0_PG, long_mode = in->efer & EFER_LMA;

	if (in->cr0 & ~(uint64_t)CR0_ALL || in->cr4 & ~(uint64_t)CR4_ALL ||
	    in->efer & ~(uint64_t)EFER_ALL || in->cr8 > 15)
		return false;
	if (paging && !(in->cr0 & CR0_PE))
		return false;
	if (long_mode != (paging && in->efer & EFER_LME))
		return false;
	if (long_mode ? !(in->cr4 & CR4_PAE) || in->rflags & RFLAGS_VM : in->cr4 & CR4_PCIDE)
		return false;
	if (!(long_mode && in->segment[CPU_CS].l) && in->rip >> 32)
		return false;
	return !(in->cr3 >> (long_mode ? 52 : 32));
}

static bool is_possible(const struct cpu_state *in)
{
	return in->msr_count <= CPU_MSRS_MAX && in->rflags & RFLAGS_ONE &&
	       !(in->rflags & ~(uint64_t)RFLAGS_ALL) && !(in->dr6 >> 32) && !(in->dr7 >> 32) &&
	       is_possible_mode(in) && are_possible_segments(in);
}

/*
 * The entries of PAE paging are not in the state: they are read again. If the guest has written
 * there since, and what is there now could not be loaded, none is present.
 */
static void load_cr3(struct engine_vcpu *cpu, uint64_t cr3)
{
	if (cpu_set_cr3(cpu, cr3) == 0)
		return;
	memset(cpu->pdpte, 0, sizeof(cpu->pdpte));
	cpu->cr3 = cr3;
}

/* What KVM has and this guest has not: it is 0, or as KVM makes it and of no effect here. */
static bool is_without_effect(const struct cpu_msr *msr)
{
	static const struct cpu_msr known[] = {
		{0x1a0, 0x1},    /* MISC_ENABLE: fast strings */
		{0x1a0, 0x1800}, /* no BTS, no PEBS */
		{0x1a0, 0x1801},
		{0x4b564d05, 0x1},       /* the host polls before it halts */
		{0xc0010015, 0x1000000}, /* HWCR: the TSC counts at P0's rate */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (msr->index == known[i].index && msr->value == known[i].value)
			return true;
	return msr->value == 0;
}

static int msrs_apply(struct engine_vcpu *cpu, const struct cpu_state *in, struct error *err)
{
	for (unsigned i = 0; i < in->msr_count; i++) {
		uint64_t value = in->msr[i].value;

		/* Not as a guest writes these two: each write changes both. */
		if (in->msr[i].index == MSR_TSC)
			cpu_tsc_restore(cpu, value);
		else if (in->msr[i].index == MSR_TSC_ADJUST)
			cpu->tsc_adjust = value;
		else if (msr_write(cpu, in->msr[i].index, value) && !is_without_effect(&in->msr[i]))
			return error_set(err, -EINVAL, NULL, "MSR 0x%x: 0x%llx is refused",
					 in->msr[i].index, (unsigned long long)value);
	}
	return 0;
}

static int state_apply(struct engine_vcpu *cpu, const struct cpu_state *in, struct error *err)
{
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
	cpu->halted = in->activity == CPU_HALTED;
	cpu->shadow = in->events.shadow;
	cpu->nmi_masked = in->events.nmi_masked;
	cpu->debug_pending = 0;
	cpu_mode_update(cpu);
	tlb_flush(cpu, true);
	debug_update(cpu);
	load_cr3(cpu, in->cr3);
	if (cpu_set_xcr0(cpu, in->xcr0))
		return error_set(err, -EINVAL, "restore it on a host that has as much as its own",
				 "XCR0 0x%llx", (unsigned long long)in->xcr0);
	if (fpu_state_set(cpu, in))
		return error_set(err, -EINVAL, NULL, "XSAVE image");
	return msrs_apply(cpu, in, err);
}

int bt_state_set(struct engine_vcpu *cpu, const struct cpu_state *in, struct error *err)
{
	struct error again = {0};
	struct cpu_state old;
	int ret;

	if (!is_possible(in))
		return error_set(err, -EINVAL, NULL, "registers that cannot be");
	bt_state_get(cpu, &old);
	ret = state_apply(cpu, in, err);
	if (ret)
		state_apply(cpu, &old, &again);
	return ret;
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
