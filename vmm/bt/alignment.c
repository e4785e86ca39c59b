/* SPDX-License-Identifier: MIT */
/*
 * #AC: with CR0.AM and RFLAGS.AC, at level 3, data must lie at multiples of their size, of 16 bytes
 * at most (AMD64 vol. 2, 8.2.18). It comes before any fault of the page. While it is on, nothing of
 * a user's is kept in the soft TLB, so that every access comes by here; what is exempt from it, and
 * what counts as the size of which instruction, was seen on AMD's (tests/oracle/native.c).
 */
#include "vmm/bt/alignment.h"

#include "vmm/bt/opcode.h"
#include "vmm/bt/operand.h"

bool alignment_is_on(const struct engine_vcpu *cpu)
{
	return cpu->cpl == 3 && cpu->rflags & RFLAGS_AC && cpu->cr0 & CR0_AM;
}

void alignment_check(struct engine_vcpu *cpu, uint64_t linear, unsigned size)
{
	unsigned multiple = size >= 16 ? 16 : size >= 8 ? 8 : size >= 4 ? 4 : size;

	if (linear & (multiple - 1) && alignment_is_on(cpu))
		cpu_fault(cpu, EXCEPTION_AC, 0);
}

bool alignment_is_own(const struct insn *insn)
{
	switch (insn->opcode->id) {
	case INSN_NATIVE:
	case INSN_X87:
	case INSN_GATHER:
	case INSN_SCATTER:
	case INSN_VMASKMOV:
	case INSN_MASKMOV:
	case INSN_SGDT:
	case INSN_SIDT:
	case INSN_SLDT:
	case INSN_STR:
	case INSN_SMSW:
		return true;
	default:
		return false;
	}
}
