/* SPDX-License-Identifier: MIT */
/* The interpreter, on the vCPU's own thread. */
#ifndef VMM_BT_INTERP_H
#define VMM_BT_INTERP_H

#include "vmm/bt/segment.h"

/*
 * Carry out instructions, at most so many, until HLT or a debug trap (cpu->halted,
 * cpu->debug_pending). False: the one at cpu->rip raises cpu->fault, and nothing of it was done (of
 * a repetition, what came before).
 */
bool interp_run(struct engine_vcpu *cpu, uint64_t instructions);

/* One instruction, or one turn of a repetition, whatever calls for attention. Returns likewise. */
bool interp_step(struct engine_vcpu *cpu);

/*
 * An instruction that lies at cpu->rip, in 64-bit mode, without any checks (bt_impl.h), or as many
 * turns of a repetition as there are. A fault leaves by cpu->escape.
 */
void interp_one(struct engine_vcpu *cpu, const struct insn *insn);
/* May an interrupt be taken that could not when the batch began? */
bool interp_window_opens(const struct engine_vcpu *cpu);

/* Does the interpreter know what enum insn_id `id` does? */
bool interp_has(unsigned id);

/*
 * Deliver an interrupt or exception; faults on the way become double faults. False: a triple
 * fault, the processor shuts down.
 */
bool interp_deliver(struct engine_vcpu *cpu, unsigned vector, enum interrupt_kind kind,
		    int32_t error);
/* cpu->fault. */
bool interp_deliver_fault(struct engine_vcpu *cpu);
/* #DB for cpu->debug_pending. */
bool interp_deliver_debug(struct engine_vcpu *cpu);

#endif
