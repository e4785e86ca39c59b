/* SPDX-License-Identifier: MIT */
#ifndef VMM_BT_INTERP_H
#define VMM_BT_INTERP_H

#include "vmm/bt/bt_impl.h"

/*
 * Carry out instructions. False: the one at cpu->rip raises cpu->fault, and nothing of it was done
 * (of a repetition, what came before).
 */
bool interp_run(struct engine_vcpu *cpu, uint64_t instructions);

/* Does the interpreter know what enum insn_id `id` does? */
bool interp_has(unsigned id);

#endif
