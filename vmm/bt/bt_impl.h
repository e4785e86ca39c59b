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

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>

#include "vmm/bt/decode.h"
#include "vmm/bt/insn_id.h"
#include "vmm/bt/mmu.h"
#include "vmm/bt/vm_impl.h"
#include "vmm/bt/windows.h"
#include "vmm/bt/world.h"
#include "vmm/bt/x86.h"
#include "vmm/core/engine.h"

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
	/*
	 * As FXSAVE64 has it; only the x87 part is valid, and MXCSR one that the host takes. The
	 * last instruction and its operand are there whether an exception is pending or not.
	 */
	_Alignas(64) uint8_t x87[512];
	uint64_t x87_header[8];  /* what makes an XSAVE image of it */
	uint16_t x87_cs, x87_ds; /* their selectors */
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
	uint16_t stack_error; /* of #SS: an inner level's stack names its selector */
	uint64_t rsp, rflags;
	struct cpu_segment segment[CPU_SEGMENTS], tr, ldt;
};

/* For RFLAGS.IF; for the end of another one. */
enum cpu_waiting { WAITING_VECTOR = 1, WAITING_NMI = 2 };
/* What the guest wants looked at: breakpoints (debug.h) on three things; alignment.h. */
enum cpu_checks { CHECK_CODE = 1, CHECK_DATA = 2, CHECK_PORT = 4, CHECK_ALIGNMENT = 8 };

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
	uint8_t checks; /* enum cpu_checks; debug_update, too */
	bool long_mode; /* EFER.LMA */

	struct cpu_segment segment[CPU_SEGMENTS];
	struct cpu_segment tr, ldt;
	struct cpu_table gdt, idt;
	uint64_t cr0, cr2, cr3, cr4, cr8, efer;
	uint64_t pdpte[4];
	uint64_t db[4], dr6, dr7;
	uint64_t xcr0;

	struct tlb tlb;
	uint64_t pcid_root[4096]; /* whose translations each context may have, or 0 */
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

	uint32_t debug_pending; /* due behind the instruction: bits of DR6 */
	bool stepping;          /* RFLAGS.TF as it counts for the instruction under way */
	bool halted;

	/* Interrupts. */
	bool nmi_masked;
	uint8_t shadow; /* CPU_SHADOW_x: interrupts wait for one more instruction */

	struct transaction transaction;
	sigjmp_buf escape; /* cpu_fault jumps here */
	struct fault fault;

	struct engine_vm *vm;
	unsigned index;

	/* vcpu.c. What other threads ask for; attention is set behind each. */
	struct lapic *lapic;
	uint64_t lapic_page; /* guest-physical, or ~0: not to be reached by memory */
	struct cpuid_table own_cpuid;
	uint8_t activity; /* enum cpu_activity, but for CPU_HALTED: `halted` */
	_Atomic bool attention;
	/* Right behind it: translated code reads both at once. Our own thread's. */
	uint8_t waiting; /* enum cpu_waiting: what ends a batch once it may be taken */
	_Atomic bool kicked, nmi_pending, init_pending, flush_pending;
	_Atomic bool writes_pending; /* what it knows of where it may write goes */
	_Atomic int sipi_vector;     /* -1: none */
	pthread_mutex_t wait_lock;
	pthread_cond_t wait_changed; /* attention was set; on CLOCK_MONOTONIC */
	uint64_t clock_msr[2];       /* kvmclock.c: wall clock, system time */
	_Atomic uint64_t instructions;

	struct world world; /* of translated code */
	struct window_table windows;
	struct check *check; /* check.c; NULL: translated code is trusted */
	int timer_fd;        /* irq.c, for it */
	uint64_t timer_ns;
	_Atomic bool in_guest;     /* its soft TLBs may be in use */
	_Atomic bool code_changed; /* blocks are invalid that it may know */
	_Atomic bool sampled;      /* what is looked up next is running */
};

/* cpu.c. Leave the instruction by an exception. `error`: its code, or NO_ERROR_CODE. */
_Noreturn void cpu_fault(struct engine_vcpu *cpu, enum exception vector, int32_t error);
_Noreturn void cpu_page_fault(struct engine_vcpu *cpu, uint64_t address, uint32_t error);
/* Mode, privilege and the like have changed. */
void cpu_mode_update(struct engine_vcpu *cpu);

#endif
