/* SPDX-License-Identifier: MIT */
/* Alignment checks, which hardly anybody asks for. */
#ifndef VMM_BT_ALIGNMENT_H
#define VMM_BT_ALIGNMENT_H

#include "vmm/bt/bt_impl.h"

/* Does the guest want them where it is now? */
bool alignment_is_on(const struct engine_vcpu *cpu);
/* #AC if they are on and `size` bytes at the linear address are not aligned. */
void alignment_check(struct engine_vcpu *cpu, uint64_t linear, unsigned size);
/* Is it an instruction that calls alignment_check itself, or is exempt? Others need not know. */
bool alignment_is_own(const struct insn *insn);

#endif
