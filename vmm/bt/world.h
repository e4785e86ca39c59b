/* SPDX-License-Identifier: MIT */
/*
 * Between the worlds: translated code runs with the guest's registers in the host's, GS at its
 * struct engine_vcpu, and no stack of ours. This is what it finds there besides the registers, and
 * how it is entered and left. On the vCPU's own thread.
 *
 * Registers. A guest's GPR is the host's of the same name, but for four that the glue works with:
 * the guest's RCX is in R10, and its R10, R11 and R15 stay in memory (engine_vcpu.gpr). RCX, R11
 * and R15 are the glue's: RCX since JRCXZ alone tests without touching flags. Flags are the guest's
 * own.
 */
#ifndef VMM_BT_WORLD_H
#define VMM_BT_WORLD_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/bt/lookaside.h"

struct engine_vcpu;
struct engine_vm;
struct block_link;

/* Why translated code was left. */
enum world_exit {
	WORLD_LOOKUP,    /* to exit_rip, of which the code is not known */
	WORLD_INTERPRET, /* the instruction at exit_rip is not translated */
	WORLD_FILL,      /* an access found nothing in the soft TLB: fill_address, fill_what */
	WORLD_ATTENTION, /* engine_vcpu.attention */
	WORLD_INSN,      /* exit_insn, at exit_rip, is the interpreter's; then on at resume */
};

/* Statistics: written on the vCPU's thread, read on any. */
struct world_counts {
	/* Accesses to devices, as elsewhere each would be an exit. */
	_Atomic uint64_t io, mmio, doorbells, apic;
	_Atomic uint64_t lookups;       /* of blocks, that cost a lock */
	_Atomic uint64_t fills;         /* of the soft TLB */
	_Atomic uint64_t window_faults; /* that were for a window */
	_Atomic uint64_t blocks;        /* translated */
	_Atomic uint64_t translate_ns;  /* and how long that took */
};

static inline void world_count(_Atomic uint64_t *count, uint64_t more)
{
	uint64_t now = atomic_load_explicit(count, memory_order_relaxed);

	atomic_store_explicit(count, now + more, memory_order_relaxed);
}

/*
 * The last access that faulted in a window on the guest's own account, and the instruction. When it
 * is run again, the guest has most likely put a page there: it is mapped at once, instead of by a
 * second fault.
 */
struct world_missed {
	uint64_t rip, linear;
	unsigned size; /* 0: none */
	bool write;
};

struct world {
	uint64_t host_rsp, host_flags;
	const uint8_t *target;        /* what entering runs */
	uint64_t exit_reason;         /* enum world_exit */
	uint64_t exit_rip;            /* the guest's */
	struct block_link *exit_link; /* of WORLD_LOOKUP: the jump that may be linked, or NULL */
	const struct insn *exit_insn;
	uint64_t fill_address;
	uint64_t fill_what;                    /* size, and FILL_WRITE */
	const uint8_t *resume;                 /* of WORLD_FILL and WORLD_INSN */
	uint64_t string_source, string_target; /* what RSI and RDI are off by (lower_string.c) */
	uint64_t scratch;                      /* the target of a call whose push may fault */
	/* Vector registers: in memory, not in the host's; may not be used; were, on the way out. */
	uint64_t vectors_away, vectors_unusable, vectors_live;
	uint64_t x87_away, x87_unusable, x87_live; /* likewise */
	uint64_t vectors_back, x87_back;           /* the code that is entered has them already */
	uint64_t back_rsp; /* of code that a signal's handler returns to by a jump */
	const uint8_t *back_rip;
	uint32_t host_mxcsr;
	struct world_missed missed;
	uint64_t page_mask;                            /* what PEXT takes out of an address */
	uint64_t not_if, not_ac, carried, not_carried; /* likewise, of RFLAGS */
	uint64_t sign_mask, mixed_mask;
	/* The branch that led to exit_rip, or 0; what takes back how it moved RSP. */
	uint64_t branch_rip, branch_undo;
	struct fast_tlb *fast[2]; /* of the present mode: to read, to write */
	struct jump_way *jumps;   /* of the present privilege */

	struct lookaside lookaside;
	struct world_counts counts;
	void *signal_stack;
	stack_t thread_stack; /* the thread's own one for signals */
	/*
	 * While code may run: how many parts of the code cache were retired when none was known;
	 * else IN_NO_CODE.
	 */
	_Atomic uint64_t retired;
	uint64_t forgotten; /* likewise, when none was known */
	unsigned full;      /* the part of it that had no room for a block */
};

#define IN_NO_CODE (~0ull)

#define FILL_WRITE 0x100u

int world_create(struct engine_vcpu *cpu);
void world_destroy(struct engine_vcpu *cpu);

/* The thread that is to run it, before it does, and when it is done. */
void world_thread_begin(struct engine_vcpu *cpu);
void world_thread_end(struct engine_vcpu *cpu);
/*
 * From here on, and until there, the soft TLBs are in use: others wait for what they want
 * forgotten. Around whatever reaches the guest's memory by linear addresses.
 */
void world_begin(struct engine_vcpu *cpu);
void world_end(struct engine_vcpu *cpu);
/* As interp_run, until attention is called for; within. */
bool world_run(struct engine_vcpu *cpu);

/* The memory's owner tells: somebody is. Any thread. `arg`: the VM. */
void world_memory_writing(void *arg, uint64_t gpa, uint64_t length);

/*
 * A signal came, with this context: if it is of translated code, that goes on (windows.h), or is
 * left behind it.
 */
bool world_fault(int signal, void *context);
/* Any thread, now and then: what code runs? False: none at all. */
bool world_sample(struct engine_vm *vm);

#endif
