/* SPDX-License-Identifier: MIT */
/*
 * Model-specific registers: AMD64 vol. 2, appendix A; SDM vol. 4. Those that only hold a value are
 * rows of a table; one that is in no table does not exist.
 */
#include <errno.h>
#include <x86intrin.h>

#include "devices/lapic.h"
#include "vmm/base/checked.h"
#include "vmm/bt/segment.h"
#include "vmm/bt/system.h"
#include "vmm/bt/vcpu.h"
#include "vmm/bt/vm_impl.h"

enum msr_rule {
	MSR_ANY,       /* holds what is written */
	MSR_CANONICAL, /* an address */
	MSR_LOW32,     /* the upper half is reserved */
	MSR_PAT,       /* eight memory types */
	MSR_CONSTANT,  /* reads as `value`; the same may be written */
	MSR_DEAF,      /* reads as `value`; anything may be written, to no effect */
};

struct msr_row {
	uint32_t first, count; /* consecutive ones */
	enum msr_rule rule;
	size_t place;   /* in struct engine_vcpu */
	uint64_t value; /* of MSR_CONSTANT and MSR_DEAF */
};

#define PLACE(field) offsetof(struct engine_vcpu, field)

/*
 * IA32_ARCH_CAPABILITIES (SDM vol. 4): flaws of Intel's that a guest need do nothing about. What it
 * would do, page tables of the kernel's own (PTI) and buffers cleared at each way out, is to tables
 * that no CPU walks and instructions that none executes: it guards nothing, and costs the most of
 * all. RDCL, L1D flush, SSB, MDS, page sizes, TAA, MMIO's three, BHI, PBRSB, GDS, RFDS, ITS.
 */
#define ARCH_CAPABILITIES                                                                          \
	(1ull << 0 | 1ull << 3 | 1ull << 4 | 1ull << 5 | 1ull << 6 | 1ull << 8 | 7ull << 13 |      \
	 1ull << 20 | 1ull << 24 | 1ull << 26 | 1ull << 27 | 1ull << 62)

static const struct msr_row rows[] = {
	{0x174, 1, MSR_LOW32, PLACE(msr.sysenter_cs), 0},
	{0x175, 1, MSR_CANONICAL, PLACE(msr.sysenter_esp), 0},
	{0x176, 1, MSR_CANONICAL, PLACE(msr.sysenter_eip), 0},
	{0x277, 1, MSR_PAT, PLACE(msr.pat), 0},
	{0x1a0, 1, MSR_ANY, PLACE(msr.misc_enable), 0},
	{0x48, 1, MSR_LOW32, PLACE(msr.spec_ctrl), 0},
	{0x10a, 1, MSR_CONSTANT, 0, ARCH_CAPABILITIES},
	{0xfe, 1, MSR_CONSTANT, 0, 0x508}, /* MTRRcap: 8 variable ones, fixed, write-combining */
	{0x200, 16, MSR_ANY, PLACE(msr.mtrr_variable), 0},
	{0x250, 1, MSR_ANY, PLACE(msr.mtrr_fixed[0]), 0},
	{0x258, 2, MSR_ANY, PLACE(msr.mtrr_fixed[1]), 0},
	{0x268, 8, MSR_ANY, PLACE(msr.mtrr_fixed[3]), 0},
	{0x2ff, 1, MSR_ANY, PLACE(msr.mtrr_default), 0},
	{0x179, 1, MSR_CONSTANT, 0, 0}, /* MCG_CAP: no banks */
	{0x17a, 1, MSR_ANY, PLACE(msr.mcg_status), 0},
	{0x17b, 1, MSR_ANY, PLACE(msr.mcg_ctl), 0},
	{0x8b, 1, MSR_CONSTANT, 0, 0},  /* microcode revision */
	{0x1d9, 1, MSR_CONSTANT, 0, 0}, /* DEBUGCTL: no branch tracing */
	{0xc0000081, 1, MSR_ANY, PLACE(msr.star), 0},
	{0xc0000082, 1, MSR_CANONICAL, PLACE(msr.lstar), 0},
	{0xc0000083, 1, MSR_CANONICAL, PLACE(msr.cstar), 0},
	{0xc0000084, 1, MSR_LOW32, PLACE(msr.sfmask), 0},
	{0xc0000100, 1, MSR_CANONICAL, PLACE(segment[CPU_FS].base), 0},
	{0xc0000101, 1, MSR_CANONICAL, PLACE(segment[CPU_GS].base), 0},
	{0xc0000102, 1, MSR_CANONICAL, PLACE(msr.kernel_gs_base), 0},
	{0xc0000103, 1, MSR_LOW32, PLACE(msr.tsc_aux), 0},
	{0xc0010015, 1, MSR_ANY, PLACE(msr.hwcr), 0},
	{0xc001001f, 1, MSR_DEAF, 0, 0},     /* NB_CFG: Linux sets a bit */
	{0xc0010010, 1, MSR_CONSTANT, 0, 0}, /* SYSCFG */
	{0xc0010140, 2, MSR_CONSTANT, 0, 0}, /* OSVW: no errata */
};

#define MSR_TSC        0x10u
#define MSR_TSC_ADJUST 0x3bu
#define MSR_EFER       0xc0000080u

static const struct msr_row *row_find(uint32_t index)
{
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++)
		if (index - rows[i].first < rows[i].count)
			return &rows[i];
	return NULL;
}

static uint64_t *row_place(struct engine_vcpu *cpu, const struct msr_row *row, uint32_t index)
{
	char *at = (char *)cpu + row->place + (index - row->first) * sizeof(uint64_t);

	return (uint64_t *)(void *)at;
}

static bool pat_is_valid(uint64_t value)
{
	for (unsigned i = 0; i < 8; i++) {
		uint8_t type = value >> 8 * i & 0xff;

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

static bool rule_allows(const struct msr_row *row, uint64_t value)
{
	switch (row->rule) {
	case MSR_CANONICAL:
		return is_canonical(value);
	case MSR_LOW32:
		return value >> 32 == 0;
	case MSR_PAT:
		return pat_is_valid(value);
	case MSR_CONSTANT:
		return value == row->value;
	default:
		return true;
	}
}

uint64_t cpu_tsc(const struct engine_vcpu *cpu)
{
	return __rdtsc() + cpu->tsc_offset;
}

/*
 * Counters that are in step are read one after the other, and set one after the other: within a
 * second of the first vCPU's they are taken for one counter, as KVM does.
 */
void cpu_tsc_restore(struct engine_vcpu *cpu, uint64_t value)
{
	struct engine_vm *vm = cpu->vm;
	uint64_t now = __rdtsc(), second = vm->tsc_khz * 1000ull;
	uint64_t ahead = value - (now + vm->tsc_offset);

	cpu->tsc_offset = vm->tsc_offset;
	if (cpu->index == 0 || ahead + second > 2 * second)
		cpu->tsc_offset = value - now;
	if (cpu->index == 0)
		vm->tsc_offset = cpu->tsc_offset;
}

/* The local APIC's. */

#define MSR_APIC_BASE    0x1bu
#define MSR_TSC_DEADLINE 0x6e0u

uint64_t cpu_cr8(const struct engine_vcpu *cpu)
{
	return cpu->lapic ? lapic_cr8(cpu->lapic) : cpu->cr8;
}

void cpu_cr8_set(struct engine_vcpu *cpu, uint64_t value)
{
	cpu->cr8 = value;
	if (cpu->lapic)
		lapic_cr8_set(cpu->lapic, (uint8_t)value);
}

/* Where its registers are in memory, after IA32_APIC_BASE changed. */
void cpu_lapic_moved(struct engine_vcpu *cpu)
{
	uint64_t base = lapic_base(cpu->lapic);
	bool mapped = base & LAPIC_BASE_ENABLE && !(base & LAPIC_BASE_X2APIC);

	cpu->lapic_page = mapped ? base & 0xffffffffff000ull : ~0ull;
	tlb_flush(cpu, true);
}

static bool is_lapic_msr(const struct engine_vcpu *cpu, uint32_t index)
{
	return cpu->lapic && (index == MSR_APIC_BASE || index == MSR_TSC_DEADLINE ||
			      (index >= LAPIC_MSR_FIRST && index <= LAPIC_MSR_LAST));
}

static int lapic_msr(struct engine_vcpu *cpu, uint32_t index, uint64_t *value, bool write)
{
	int ret = 0;

	if (index == MSR_APIC_BASE && write) {
		ret = lapic_base_set(cpu->lapic, *value);
		cpu_lapic_moved(cpu);
	} else if (index == MSR_APIC_BASE) {
		*value = lapic_base(cpu->lapic);
	} else if (index == MSR_TSC_DEADLINE && write) {
		lapic_tsc_deadline_set(cpu->lapic, *value);
	} else if (index == MSR_TSC_DEADLINE) {
		*value = lapic_tsc_deadline(cpu->lapic);
	} else if (write) {
		ret = lapic_msr_write(cpu->lapic, index, *value);
	} else {
		ret = lapic_msr_read(cpu->lapic, index, value);
	}
	return ret;
}

int msr_read(struct engine_vcpu *cpu, uint32_t index, uint64_t *value)
{
	const struct msr_row *row = row_find(index);

	if (is_lapic_msr(cpu, index))
		return lapic_msr(cpu, index, value, false);
	if (kvmclock_msr_read(cpu, index, value) == 0)
		return 0;
	if (index == MSR_TSC)
		*value = cpu_tsc(cpu);
	else if (index == MSR_TSC_ADJUST)
		*value = cpu->tsc_adjust;
	else if (index == MSR_EFER)
		*value = cpu->efer;
	else if (!row)
		return -EINVAL;
	else
		*value = row->rule >= MSR_CONSTANT ? row->value : *row_place(cpu, row, index);
	return 0;
}

int msr_write(struct engine_vcpu *cpu, uint32_t index, uint64_t value)
{
	const struct msr_row *row = row_find(index);

	if (is_lapic_msr(cpu, index))
		return lapic_msr(cpu, index, &value, true);
	if (kvmclock_msr_write(cpu, index, value) == 0)
		return 0;
	switch (index) {
	case MSR_TSC:
		/* What the counter is moved by shows in TSC_ADJUST (SDM vol. 3, 18.17.3). */
		cpu->tsc_adjust += value - cpu_tsc(cpu);
		cpu->tsc_offset += value - cpu_tsc(cpu);
		return 0;
	case MSR_TSC_ADJUST:
		cpu->tsc_offset += value - cpu->tsc_adjust;
		cpu->tsc_adjust = value;
		return 0;
	case MSR_EFER:
		return cpu_set_efer(cpu, value);
	default:
		break;
	}
	if (!row || !rule_allows(row, value))
		return -EINVAL;
	if (row->rule < MSR_CONSTANT)
		*row_place(cpu, row, index) = value;
	return 0;
}
