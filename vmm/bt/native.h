/* SPDX-License-Identifier: MIT */
/* Instructions that the host runs on the guest's registers; see native.c. One a vCPU. */
#ifndef VMM_BT_NATIVE_H
#define VMM_BT_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "vmm/bt/bt_impl.h"

struct native_frame;

struct native {
	uint8_t *write, *execute; /* the stubs, seen twice */
	size_t size;
	void (*run)(struct native_frame *frame, const void *stub);
};

int native_create(struct native **out);
void native_destroy(struct native *native);

/* native_memory.c: the instruction's memory operand, or NULL; all that may fault, into `buffer`
 * (128 bytes) what is read; out of it what was written. */
const struct operand *native_memory_operand(const struct insn *insn);
void native_memory_load(struct engine_vcpu *cpu, const struct insn *insn, const struct operand *o,
			uint8_t *buffer);
void native_memory_store(struct engine_vcpu *cpu, const struct insn *insn, const struct operand *o,
			 uint8_t *buffer);

/*
 * A SIGFPE or SIGILL: if this thread is in a stub, the guest gets its exception and this does not
 * return. False: it is not ours. Its handler must have SA_NODEFER.
 */
bool native_fault(const ucontext_t *context);

#endif
