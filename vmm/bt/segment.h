/* SPDX-License-Identifier: MIT */
/*
 * Descriptors and segment registers (SDM vol. 3, chapter 3 and 5; AMD64 vol. 2, chapter 4). What
 * faults does not return.
 */
#ifndef VMM_BT_SEGMENT_H
#define VMM_BT_SEGMENT_H

#include "vmm/bt/bt_impl.h"

/* Types of system descriptors. In long mode 32-bit ones are 64-bit. */
enum descriptor_type {
	TYPE_TSS16 = 1,
	TYPE_LDT = 2,
	TYPE_TSS16_BUSY = 3,
	TYPE_CALL16 = 4,
	TYPE_TASK = 5,
	TYPE_INTERRUPT16 = 6,
	TYPE_TRAP16 = 7,
	TYPE_TSS32 = 9,
	TYPE_TSS32_BUSY = 11,
	TYPE_CALL32 = 12,
	TYPE_INTERRUPT32 = 14,
	TYPE_TRAP32 = 15,
};

/* Bits of the type of code and data. */
#define TYPE_ACCESSED    1u
#define TYPE_WRITABLE    2u /* of data */
#define TYPE_READABLE    2u /* of code */
#define TYPE_CONFORMING  4u
#define TYPE_EXPAND_DOWN 4u
#define TYPE_IS_CODE     8u

#define SELECTOR_RPL 3u
#define SELECTOR_LDT 4u

struct descriptor {
	uint64_t low, high; /* high: of those that have 16 bytes */
	uint64_t linear;    /* where it is */
	struct cpu_segment segment;
};

static inline bool is_null(uint16_t selector)
{
	return (selector & ~SELECTOR_RPL) == 0;
}

/* Protected mode, and not virtual-8086. */
static inline bool is_protected(const struct engine_vcpu *cpu)
{
	return cpu->cr0 & CR0_PE && !(cpu->rflags & RFLAGS_VM);
}

struct cpu_segment segment_of(uint16_t selector, uint64_t low);

/*
 * The descriptor of a selector that is not null. False: it is beyond its table. `wide`: system
 * descriptors have 16 bytes here.
 */
bool descriptor_find(struct engine_vcpu *cpu, uint16_t selector, bool wide, struct descriptor *out);
/* The same; beyond the table is `vector` with the selector. */
void descriptor_read(struct engine_vcpu *cpu, uint16_t selector, bool wide, enum exception vector,
		     struct descriptor *out);
/* Set the accessed bit in memory. */
void descriptor_touch(struct engine_vcpu *cpu, struct descriptor *d);
/* Of a system descriptor of 16 bytes. */
uint64_t descriptor_base_64(const struct descriptor *d);

/* A segment register other than CS, as MOV loads it. `vector`: #GP, or #TS in a task switch. */
void segment_load(struct engine_vcpu *cpu, unsigned segment, uint16_t selector,
		  enum exception vector);
/* What real and virtual-8086 mode make of a selector. */
void segment_load_real(struct engine_vcpu *cpu, unsigned segment, uint16_t selector);
/* SS for a level `cpl`, null in long mode. */
void segment_load_stack(struct engine_vcpu *cpu, uint16_t selector, unsigned cpl,
			enum exception vector);
/* CS from a descriptor that was checked. */
void segment_load_code(struct engine_vcpu *cpu, uint16_t selector, unsigned cpl,
		       struct descriptor *d);
/* After a return outwards: data segments that the new level may not have become null. */
void segments_drop(struct engine_vcpu *cpu);

/* The stack for level `cpl` in the task state; long mode has no SS there. #TS if it is not there.
 */
void task_stack(struct engine_vcpu *cpu, unsigned cpl, uint16_t *ss, uint64_t *sp);
/* Interrupt stack `ist` (1 to 7) of long mode. */
uint64_t task_interrupt_stack(struct engine_vcpu *cpu, unsigned ist);

enum task_reason { TASK_JUMP, TASK_CALL, TASK_RETURN };
/* Switch to the task of a TSS descriptor; `error`: an error code to push there, or NO_ERROR_CODE.
 */
void task_switch(struct engine_vcpu *cpu, uint16_t selector, struct descriptor *tss,
		 enum task_reason reason, int32_t error);

enum interrupt_kind {
	INTERRUPT_HARDWARE,
	INTERRUPT_EXCEPTION,
	INTERRUPT_SOFTWARE, /* INT n, INT3, INTO: the gate's privilege counts */
	INTERRUPT_ICEBP,
};
/*
 * Through the vector table or the IDT: cpu->rip becomes the handler's. `back`: where that returns
 * to. `error`: a code that the exception pushes, or NO_ERROR_CODE.
 */
void interrupt_deliver(struct engine_vcpu *cpu, unsigned vector, enum interrupt_kind kind,
		       uint64_t back, int32_t error);

/*
 * From here on a fault puts all registers back that a far transfer changes; memory that was written
 * stays so.
 */
void transaction_begin(struct engine_vcpu *cpu);
void transaction_end(struct engine_vcpu *cpu);

#endif
