/* SPDX-License-Identifier: MIT */
/*
 * What the files of engine bt share: a vCPU as the interpreter sees it, and how its parts call one
 * another. All of it runs on the vCPU's own thread unless it says otherwise.
 *
 * A fault leaves by cpu_fault, which does not return: it jumps back to the run loop, and the guest
 * is as it was before the instruction. So an instruction does everything that may fault first, and
 * changes registers last.
 */
#ifndef VMM_BT_BT_IMPL_H
#define VMM_BT_BT_IMPL_H

#include <setjmp.h>
#include <stdatomic.h>

#include "vmm/bt/decode.h"
#include "vmm/bt/insn_id.h"
#include "vmm/bt/x86.h"
#include "vmm/core/engine.h"

/* The soft TLB: linear pages to host pages, of pages that are memory and may be accessed so. */
enum tlb_access { TLB_READ, TLB_WRITE, TLB_FETCH, TLB_ACCESSES };
/* For whom: SMAP lets the supervisor touch user pages only while AC is set. */
enum tlb_mode { TLB_SUPERVISOR, TLB_SUPERVISOR_AC, TLB_USER, TLB_MODES };

#define TLB_ENTRIES 256u
#define TLB_GLOBAL  0u           /* as a context: pages of every address space */
#define TLB_NOTHING (1ull << 62) /* a tag that no address has: it would not be canonical */
#define TLB_CONTEXT 0xfffull     /* the low bits of a tag */

struct tlb_entry {
	uint64_t tag; /* linear page | context; an entry that holds nothing has a tag no page has */
	uint8_t *host;
	uint64_t gpa; /* of the page */
};

struct tlb {
	struct tlb_entry entry[TLB_MODES][TLB_ACCESSES][TLB_ENTRIES];
	uint16_t context; /* 1 to 4095: of the present address space */
	/* Linear addresses that large pages have entries for: INVLPG there drops all. Per half. */
	uint64_t large_low[2], large_high[2];
};

/* A fault on its way to delivery. */
struct fault {
	uint8_t vector;
	int32_t error;    /* or NO_ERROR_CODE */
	uint64_t address; /* of a page fault */
};

/* The vector unit: registers in full, whatever the guest has enabled. */
struct vector_state {
	_Alignas(64) uint8_t zmm[32][64];
	uint64_t k[8];
	uint32_t mxcsr;
	_Alignas(16) uint8_t x87[512]; /* as FXSAVE64 has it; only the x87 part is valid */
};

/* Decoded instructions, by guest-physical address. */
#define INSN_CACHE      4096u
#define INSN_CACHE_NONE (~0ull)

struct cached_insn {
	uint64_t gpa; /* of its first byte, or INSN_CACHE_NONE */
	uint8_t bytes[INSN_LENGTH_MAX];
	struct insn insn;
};

/* What a far transfer changes, as it was before: segment.h. */
struct transaction {
	bool open;
	uint64_t rsp, rflags;
	struct cpu_segment segment[CPU_SEGMENTS], tr, ldt;
};

struct engine_vcpu {
	uint64_t gpr[CPU_GPRS];
	uint64_t rip;      /* of the instruction under way, in full */
	uint64_t next_rip; /* where it goes on */
	uint64_t rflags;

	/* Follow from the state below; cpu_mode_update. */
	uint8_t mode;       /* enum decode_mode: what CS says */
	uint8_t stack_size; /* bytes of the stack pointer: 2, 4, 8 */
	uint8_t cpl;
	uint8_t tlb_mode;
	bool long_mode; /* EFER.LMA */

	struct cpu_segment segment[CPU_SEGMENTS];
	struct cpu_segment tr, ldt;
	struct cpu_table gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer;
	uint64_t pdpte[4];
	uint64_t db[4], dr6, dr7;
	uint64_t xcr0;

	struct tlb tlb;
	struct vector_state vector;
	struct cached_insn cache[INSN_CACHE];
	struct cached_insn across; /* one that lies across two pages; never found again */
	struct native *native;

	struct cpuid_table *cpuid; /* what the guest sees; constant */
	struct {
		uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
		uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
		uint64_t tsc_aux, pat, misc_enable, spec_ctrl, hwcr;
		uint64_t mtrr_default, mtrr_variable[16], mtrr_fixed[11];
		uint64_t mcg_status, mcg_ctl;
	} msr;
	uint64_t tsc_offset; /* guest's counter less the host's */
	uint64_t tsc_adjust;

	/* Debug exceptions that are due behind the instruction: bits of DR6. */
	uint32_t debug_pending;
	bool halted;

	/* Interrupts. */
	bool nmi_masked;
	uint8_t shadow; /* CPU_SHADOW_x: interrupts wait for one more instruction */

	struct transaction transaction;
	sigjmp_buf escape; /* cpu_fault jumps here */
	struct fault fault;

	struct engine_vm *vm;
	unsigned index;
};

struct engine_vm {
	struct vm_config config;
};

/* cpu.c */

/* Leave the instruction by an exception. `error`: its code, or NO_ERROR_CODE. */
_Noreturn void cpu_fault(struct engine_vcpu *cpu, enum exception vector, int32_t error);
_Noreturn void cpu_page_fault(struct engine_vcpu *cpu, uint64_t address, uint32_t error);
/* Mode, privilege and the like have changed. */
void cpu_mode_update(struct engine_vcpu *cpu);

/* mmu.c: linear addresses. Each faults as the guest would. */

uint64_t linear_read(struct engine_vcpu *cpu, uint64_t address, unsigned size);
void linear_write(struct engine_vcpu *cpu, uint64_t address, unsigned size, uint64_t value);
/* As the processor itself does it for descriptors and task states, whatever CPL is. */
uint64_t system_read(struct engine_vcpu *cpu, uint64_t address, unsigned size);
void system_write(struct engine_vcpu *cpu, uint64_t address, unsigned size, uint64_t value);
/* Any number of bytes: all pages are checked before the first byte moves. */
void linear_read_bytes(struct engine_vcpu *cpu, uint64_t address, void *to, unsigned size);
void linear_write_bytes(struct engine_vcpu *cpu, uint64_t address, const void *from, unsigned size);
/* Would a write of `size` bytes fault? Then it does. */
void linear_probe_write(struct engine_vcpu *cpu, uint64_t address, unsigned size);
/*
 * The bytes at `address` on the host, or NULL: they are no memory, or in two pages. For writing
 * they are read and written as one.
 */
uint8_t *linear_host(struct engine_vcpu *cpu, uint64_t address, unsigned size,
		     enum tlb_access access);
/* The page of code at `address`: its host address and its guest-physical one. NULL: no memory. */
const uint8_t *linear_fetch(struct engine_vcpu *cpu, uint64_t address, uint64_t *gpa);

void tlb_flush(struct engine_vcpu *cpu, bool global);
void tlb_invalidate(struct engine_vcpu *cpu, uint64_t address);

#endif
