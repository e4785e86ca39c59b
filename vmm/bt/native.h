/* SPDX-License-Identifier: MIT */
/* Instructions that the host runs on the guest's registers; see native.c. One a vCPU. */
#ifndef VMM_BT_NATIVE_H
#define VMM_BT_NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <ucontext.h>

#include "vmm/bt/bt_impl.h"
#include "vmm/bt/fpu.h"

struct native_frame;

struct native {
	uint8_t *write, *execute; /* the stubs, seen twice */
	size_t size;
	void (*run)(struct native_frame *frame, const void *stub);
	struct fpu_layout layout;
};

int native_create(struct native **out);
void native_destroy(struct native *native);

/* May the instruction run? #UD and #NM, as its encoding and registers have it. */
void native_unit_check(struct engine_vcpu *cpu, const struct insn *insn);
/* #MF if an earlier instruction of x87 left an exception. */
void native_x87_check(struct engine_vcpu *cpu);
/* The MMX registers, 8 bytes of each. */
void native_mmx_get(const struct vector_state *v, uint8_t mm[8][16]);
/* After x87's control, status or registers came from somewhere: makes of them what the host would.
 */
void native_x87_settle(struct vector_state *v);
/* What any MMX instruction does to the state: top of stack 0, all registers in use. */
void native_mmx_enter(struct vector_state *v);

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

/* Where vector_state.x87 has its status, and what its last instruction was. */
#define X87_AT_STATUS 2
#define X87_AT_OPCODE 6
#define X87_AT_IP     8
#define X87_AT_DP     16
#define X87_SUMMARY   0x80u /* of the status word: an exception is pending */
/* One of x87 that only controls the unit: FLDCW, FNSTCW, FNSTSW, FNCLEX and old ones. */
bool native_is_control(const struct insn *insn);

#endif
