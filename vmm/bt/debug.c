/* SPDX-License-Identifier: MIT */
/* Breakpoints. See debug.h. */
#include "vmm/bt/debug.h"

#include "vmm/bt/segment.h"
#include "vmm/bt/system.h"

#define BREAKPOINTS 4u

enum breakpoint_kind { BREAK_CODE, BREAK_WRITE, BREAK_PORT, BREAK_ACCESS };

static enum breakpoint_kind kind_of(const struct engine_vcpu *cpu, unsigned i)
{
	return cpu->dr7 >> (16 + 4 * i) & 3;
}

/* By its local or its global bit; of ports only if CR4.DE gives the kind a meaning. */
static bool is_armed(const struct engine_vcpu *cpu, unsigned i)
{
	return cpu->dr7 >> 2 * i & 3 && (kind_of(cpu, i) != BREAK_PORT || cpu->cr4 & CR4_DE);
}

static unsigned length_of(const struct engine_vcpu *cpu, unsigned i)
{
	static const uint8_t lengths[4] = {1, 2, 8, 4};

	return lengths[cpu->dr7 >> (18 + 4 * i) & 3];
}

/* Do `size` bytes from `address` meet the breakpoint's? Its own address counts in multiples. */
static bool meets(const struct engine_vcpu *cpu, unsigned i, uint64_t address, uint64_t size)
{
	unsigned length = length_of(cpu, i);
	uint64_t first = cpu->db[i] & ~(uint64_t)(length - 1);

	return address <= first + length - 1 && first <= address + size - 1;
}

void debug_update(struct engine_vcpu *cpu)
{
	static const uint8_t check_of[4] = {
		[BREAK_CODE] = CHECK_CODE,
		[BREAK_WRITE] = CHECK_DATA,
		[BREAK_PORT] = CHECK_PORT,
		[BREAK_ACCESS] = CHECK_DATA,
	};
	uint8_t checks = cpu->checks & CHECK_ALIGNMENT;

	for (unsigned i = 0; i < BREAKPOINTS; i++)
		if (is_armed(cpu, i))
			checks |= check_of[kind_of(cpu, i)];
	/* What is in the TLB is not checked. */
	if (checks & CHECK_DATA)
		tlb_flush(cpu, true);
	cpu->checks = checks;
}

void debug_code(struct engine_vcpu *cpu, uint64_t linear)
{
	uint32_t hit = 0;

	if (cpu->rflags & RFLAGS_RF || cpu->shadow == CPU_SHADOW_MOV_SS)
		return;
	for (unsigned i = 0; i < BREAKPOINTS; i++)
		if (is_armed(cpu, i) && kind_of(cpu, i) == BREAK_CODE && cpu->db[i] == linear)
			hit |= 1u << i;
	if (!hit)
		return;
	cpu->dr6 |= hit;
	cpu_fault(cpu, EXCEPTION_DB, NO_ERROR_CODE);
}

void debug_data(struct engine_vcpu *cpu, uint64_t linear, unsigned size, bool write)
{
	for (unsigned i = 0; i < BREAKPOINTS; i++) {
		enum breakpoint_kind kind = kind_of(cpu, i);

		if (is_armed(cpu, i) && (kind == BREAK_ACCESS || (kind == BREAK_WRITE && write)) &&
		    meets(cpu, i, linear, size))
			cpu->debug_pending |= 1u << i;
	}
}

void debug_port(struct engine_vcpu *cpu, uint16_t port, unsigned size)
{
	for (unsigned i = 0; i < BREAKPOINTS; i++)
		if (is_armed(cpu, i) && kind_of(cpu, i) == BREAK_PORT && meets(cpu, i, port, size))
			cpu->debug_pending |= 1u << i;
}

bool debug_in_page(const struct engine_vcpu *cpu, uint64_t linear)
{
	for (unsigned i = 0; i < BREAKPOINTS; i++)
		if (is_armed(cpu, i) && kind_of(cpu, i) & 1 &&
		    meets(cpu, i, linear & ~4095ull, 4096))
			return true;
	return false;
}
