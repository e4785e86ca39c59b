/* SPDX-License-Identifier: MIT */
/*
 * Between the worlds: translated code runs with the guest's registers in the host's, GS at its
 * struct engine_vcpu, and no stack of ours. This is what it finds there besides the registers, and
 * how it is entered and left. On the vCPU's own thread.
 *
 * Registers. A guest's GPR is the host's of the same name, but for four that the glue works with:
 * the guest's RCX is in R14, and its R11, R14 and R15 stay in memory (engine_vcpu.gpr). RCX, R11
 * and R15 are the glue's: RCX since JRCXZ alone tests without touching flags. Flags are the guest's
 * own.
 */
#ifndef VMM_BT_WORLD_H
#define VMM_BT_WORLD_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/*
 * The soft TLB of translated code: for the page of an address, by its low 16 bits, what to add to a
 * linear address for the host's. A tag is the negated page number, so that a sum of zero is a hit.
 */
#define FAST_ENTRIES 65536u
#define FAST_LOG     16384u

struct fast_tlb {
	uint64_t tag[FAST_ENTRIES];
	uint64_t addend[FAST_ENTRIES];
	unsigned filled;   /* entries in use, by the log; more than FAST_LOG: anything may be */
	bool private_high; /* one of the upper half that is not global */
	uint16_t log[FAST_LOG];
};

/* Known code: the negated address, and where its translation runs. */
#define JUMP_ENTRIES 65536u

struct jump_entry {
	uint64_t tag;
	const uint8_t *code;
};

struct world {
	uint64_t host_rsp, host_flags;
	const uint8_t *target;        /* what entering runs */
	uint64_t exit_reason;         /* enum world_exit */
	uint64_t exit_rip;            /* the guest's */
	struct block_link *exit_link; /* of WORLD_LOOKUP: the jump that may be linked, or NULL */
	const struct insn *exit_insn;
	uint64_t fill_address;
	uint64_t fill_what;    /* size, and FILL_WRITE */
	const uint8_t *resume; /* of WORLD_FILL and WORLD_INSN */
	uint64_t scratch;      /* the target of a call whose push may fault */
	/* Vector registers: in memory, not in the host's; may not be used; were, on the way out. */
	uint64_t vectors_away, vectors_unusable, vectors_live;
	uint64_t x87_away, x87_unusable, x87_live; /* likewise */
	uint64_t vectors_back, x87_back;           /* the code that is entered has them already */
	uint32_t host_mxcsr;
	uint64_t page_mask, jump_mask;                 /* what PEXT takes out of an address */
	uint64_t not_if, not_ac, carried, not_carried; /* likewise, of RFLAGS */
	uint64_t sign_mask, mixed_mask;
	/* The branch that led to exit_rip, or 0; what takes back how it moved RSP. */
	uint64_t branch_rip, branch_undo;
	struct fast_tlb *fast[2]; /* of the present mode: to read, to write */
	struct jump_entry *jumps; /* of the present privilege */

	struct fast_tlb *tlb[3][2]; /* by enum tlb_mode */
	struct jump_table {
		struct jump_entry *entry;
		unsigned count;
		bool private; /* one is not of a global page */
		uint16_t log[JUMP_ENTRIES];
		uint64_t page[1024]; /* a bit a page that one is of, by its number's low bits */
	} jump[2];                   /* the supervisor's, the user's */
	uint64_t cleared;            /* how often translations went */
	void *signal_stack;
	stack_t thread_stack; /* the thread's own one for signals */
	uint64_t emptied;     /* of the code cache, when `jumps` was last empty */
};

#define FILL_WRITE 0x100u

int world_create(struct engine_vcpu *cpu);
void world_destroy(struct engine_vcpu *cpu);

/* The thread that is to run it, before it does, and when it is done. */
void world_thread_begin(struct engine_vcpu *cpu);
void world_thread_end(struct engine_vcpu *cpu);
/* As interp_run, until attention is called for. */
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

/* mmu.c tells: translations of addresses are gone; all that are not global, or all. */
void world_flush(struct engine_vcpu *cpu, bool global);
void world_invalidate(struct engine_vcpu *cpu, uint64_t linear, uint64_t size);

#endif
