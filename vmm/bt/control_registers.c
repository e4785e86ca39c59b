/* SPDX-License-Identifier: MIT */
/*
 * Control and debug registers, EFER and XCR0: what may be written to them, and what follows. SDM
 * vol. 3, 2.5, 2.6, 4.1 and 19.2; AMD64 vol. 2, 3.1. A -EINVAL is the guest's #GP.
 */
#include <errno.h>

#include "vmm/base/checked.h"
#include "vmm/bt/debug.h"
#include "vmm/bt/segment.h"
#include "vmm/bt/system.h"

#define CR0_ALL                                                                                    \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)
#define CR0_PAGING (CR0_PG | CR0_WP | CR0_PE)
#define CR4_PAGING (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP)

/* The four entries of PAE paging are read when CR3 is loaded, and not again (SDM vol. 3, 4.4.1). */
static int pdptes_load(struct engine_vcpu *cpu, uint64_t cr3, uint64_t cr0, uint64_t cr4)
{
	uint64_t entry[4];

	if (!(cr0 & CR0_PG) || !(cr4 & CR4_PAE) || cpu->efer & EFER_LME)
		return 0;
	if (memory_read(cpu->vm->config.memory, cr3 & 0xffffffe0, entry, sizeof(entry)))
		return -EINVAL;
	for (unsigned i = 0; i < 4; i++)
		if (entry[i] & 1 && entry[i] & 0xfff00000000001e6ull)
			return -EINVAL;
	for (unsigned i = 0; i < 4; i++)
		cpu->pdpte[i] = entry[i];
	return 0;
}

/* CR0.PG is set or cleared while EFER.LME is set: long mode begins or ends. */
static int long_mode_switch(struct engine_vcpu *cpu, uint64_t cr0)
{
	bool on = cr0 & CR0_PG;

	if (!(cpu->efer & EFER_LME) || on == !!(cpu->cr0 & CR0_PG))
		return 0;
	if (on && (!(cpu->cr4 & CR4_PAE) || cpu->segment[CPU_CS].l))
		return -EINVAL;
	if (!on && cpu->mode == DECODE_64)
		return -EINVAL;
	cpu->efer = on ? cpu->efer | EFER_LMA : cpu->efer & ~(uint64_t)EFER_LMA;
	return 0;
}

int cpu_set_cr0(struct engine_vcpu *cpu, uint64_t value)
{
	uint64_t old = cpu->cr0;
	int ret;

	if (value >> 32 || (value & CR0_PG && !(value & CR0_PE)) ||
	    (value & CR0_NW && !(value & CR0_CD)))
		return -EINVAL;
	value = (value & CR0_ALL) | CR0_ET;
	if (!(value & CR0_PG) && cpu->cr4 & CR4_PCIDE)
		return -EINVAL;
	if ((old ^ value) & CR0_PG) {
		ret = pdptes_load(cpu, cpu->cr3, value, cpu->cr4);
		if (ret == 0)
			ret = long_mode_switch(cpu, value);
		if (ret)
			return ret;
	}
	cpu->cr0 = value;
	if ((old ^ value) & CR0_PAGING)
		tlb_flush(cpu, true);
	cpu_mode_update(cpu);
	return 0;
}

int cpu_set_cr3(struct engine_vcpu *cpu, uint64_t value)
{
	bool keep = false;

	if (cpu->cr4 & CR4_PCIDE) {
		keep = value >> 63;
		value &= ~(1ull << 63);
	}
	if (cpu->long_mode ? value >> 52 : value >> 32)
		return -EINVAL;
	if (pdptes_load(cpu, value, cpu->cr0, cpu->cr4))
		return -EINVAL;
	/* With bit 63 entries may be kept. */
	tlb_switch(cpu, value, keep);
	cpu->cr3 = value;
	return 0;
}

static uint64_t cr4_valid(const struct engine_vcpu *cpu)
{
	static const struct {
		uint32_t bit;
		uint32_t function;
		enum cpuid_register reg;
		uint8_t feature;
	} bits[] = {
		{CR4_VME, 1, CPUID_EDX, 1},     {CR4_PVI, 1, CPUID_EDX, 1},
		{CR4_TSD, 1, CPUID_EDX, 4},     {CR4_DE, 1, CPUID_EDX, 2},
		{CR4_PSE, 1, CPUID_EDX, 3},     {CR4_PAE, 1, CPUID_EDX, 6},
		{CR4_MCE, 1, CPUID_EDX, 7},     {CR4_PGE, 1, CPUID_EDX, 13},
		{CR4_OSFXSR, 1, CPUID_EDX, 24}, {CR4_OSXMMEXCPT, 1, CPUID_EDX, 25},
		{CR4_UMIP, 7, CPUID_ECX, 2},    {CR4_FSGSBASE, 7, CPUID_EBX, 0},
		{CR4_PCIDE, 1, CPUID_ECX, 17},  {CR4_OSXSAVE, 1, CPUID_ECX, 26},
		{CR4_SMEP, 7, CPUID_EBX, 7},    {CR4_SMAP, 7, CPUID_EBX, 20},
	};
	uint64_t valid = CR4_PCE;

	for (unsigned i = 0; i < ARRAY_SIZE(bits); i++)
		if (cpu_has(cpu, bits[i].function, bits[i].reg, bits[i].feature))
			valid |= bits[i].bit;
	return valid;
}

int cpu_set_cr4(struct engine_vcpu *cpu, uint64_t value)
{
	uint64_t old = cpu->cr4;

	if (value & ~cr4_valid(cpu))
		return -EINVAL;
	if (cpu->long_mode && !(value & CR4_PAE))
		return -EINVAL;
	if (value & ~old & CR4_PCIDE && (!cpu->long_mode || cpu->cr3 & 0xfff))
		return -EINVAL;
	if ((old ^ value) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP) &&
	    pdptes_load(cpu, cpu->cr3, cpu->cr0, value))
		return -EINVAL;
	cpu->cr4 = value;
	if ((old ^ value) & CR4_DE)
		debug_update(cpu);
	if ((old ^ value) & CR4_PAGING)
		tlb_flush(cpu, true);
	return 0;
}

int cpu_set_efer(struct engine_vcpu *cpu, uint64_t value)
{
	uint64_t valid = EFER_LMA;

	if (cpu_has(cpu, 0x80000001, CPUID_EDX, 11))
		valid |= EFER_SCE;
	if (cpu_has(cpu, 0x80000001, CPUID_EDX, 29))
		valid |= EFER_LME;
	if (cpu_has(cpu, 0x80000001, CPUID_EDX, 20))
		valid |= EFER_NXE;
	if (value & ~valid || ((cpu->efer ^ value) & EFER_LME && cpu->cr0 & CR0_PG))
		return -EINVAL;
	value = (value & ~(uint64_t)EFER_LMA) | (cpu->efer & EFER_LMA);
	if ((cpu->efer ^ value) & EFER_NXE)
		tlb_flush(cpu, true);
	cpu->efer = value;
	cpu_mode_update(cpu);
	return 0;
}

int cpu_set_xcr0(struct engine_vcpu *cpu, uint64_t value)
{
	const struct cpuid_leaf *leaf = cpuid_find(cpu->cpuid, 0xd, 0);
	uint64_t valid = leaf ? leaf->reg[CPUID_EAX] | (uint64_t)leaf->reg[CPUID_EDX] << 32
			      : XCR0_X87 | XCR0_SSE;
	uint64_t avx512 = value & XCR0_AVX512;

	if (!(value & XCR0_X87) || value & ~valid || (value & XCR0_AVX && !(value & XCR0_SSE)))
		return -EINVAL;
	if (avx512 && (avx512 != XCR0_AVX512 || !(value & XCR0_AVX)))
		return -EINVAL;
	cpu->xcr0 = value;
	return 0;
}

/* DR4 and DR5 are DR6 and DR7, unless CR4.DE. */
uint64_t cpu_get_dr(const struct engine_vcpu *cpu, unsigned number)
{
	if (number < 4)
		return cpu->db[number];
	return number == 6 || number == 4 ? cpu->dr6 : cpu->dr7;
}

int cpu_set_dr(struct engine_vcpu *cpu, unsigned number, uint64_t value)
{
	if (number > 3 && value >> 32)
		return -EINVAL;
	if (number < 4)
		cpu->db[number] = value;
	else if (number == 6 || number == 4)
		cpu->dr6 = (value & 0xe00f) | DR6_ONES;
	else
		cpu->dr7 = (value & 0xffff23ff) | DR7_ONES;
	debug_update(cpu);
	return 0;
}
