/* SPDX-License-Identifier: MIT */
/*
 * Guests of the modes before long mode: from 64-bit code into protected, virtual-8086 or real mode,
 * where a piece of code runs until its first trap, and back. Addresses are linear, as everywhere in
 * these guests; paging is off unless the job says otherwise.
 */
#ifndef TESTS_GUEST_LEGACY_H
#define TESTS_GUEST_LEGACY_H

#include <stddef.h>

#include "vmm/workload/guest.h"

/* legacy_gdt; those from SPARE on are the test's own. */
#define L_CODE    0x08 /* flat, 32-bit, level 0 */
#define L_DATA    0x10
#define L_USER    0x1b /* with their RPL */
#define L_USER_DS 0x23
#define L_TSS     0x28
#define L_LOW     0x30 /* 16-bit code and data of 64 KiB */
#define L_LOW_DS  0x38
#define SPARE     0x40
#define SPARE2    0x48
#define SPARE3    0x50
#define SPARE4    0x58
#define L_GDT     32 /* descriptors */

/* Where code of real and virtual-8086 mode lies. */
#define LOW      0x30000u
#define LOW_SEG  0x3000u
#define LOW_CODE 0x4000u /* offset of the code under test */

#define F_IF   (1u << 9)
#define F_TF   (1u << 8)
#define F_NT   (1u << 14)
#define F_VM   (1u << 17)
#define F_IOPL (3u << 12)

/* What to start with. legacy.S knows the order. */
struct legacy_job {
	uint32_t eax, ebx, ecx, edx, esi, edi, ebp;
	uint32_t eip, cs, eflags, esp, ss, es, ds, fs, gs;
	uint32_t cr0, cr3, cr4, ldt, real;
};
extern struct legacy_job job;

/* The trap that ended it. sp and what follows: of the code that trapped, also at level 0. */
struct legacy_trap {
	uint32_t edi, esi, ebp, unused, ebx, edx, ecx, eax;
	uint32_t gs, fs, es, ds; /* in the handler */
	uint32_t vector, error, eip, cs, eflags, esp, ss;
	uint32_t v86_es, v86_ds, v86_fs, v86_gs;
	uint32_t frame; /* where the trap's frame ends, of level 0's stack */
	uint32_t cr0, cr2, tr;
};
extern struct legacy_trap legacy_seen;

struct legacy_tss {
	uint32_t link, esp0, ss0, esp1, ss1, esp2, ss2, cr3, eip, eflags;
	uint32_t gpr[8]; /* eax, ecx, edx, ebx, esp, ebp, esi, edi */
	uint32_t es, cs, ss, ds, fs, gs, ldt;
	uint16_t trap, map;
	uint8_t ports[32], end[4];
};
extern struct legacy_tss legacy_tss;

extern uint64_t legacy_gdt[L_GDT], legacy_idt[256];
extern char legacy_vectors[], legacy_stack_top[], legacy_stack3_top[];

#define ADDRESS(symbol) ((uint32_t)(uintptr_t)(symbol))

/* Attributes: access byte | flags << 8 (4 avl, long, db, g). The limit is as in the descriptor. */
#define DB 0x400u
#define G  0x800u
uint64_t descriptor(uint32_t base, uint32_t limit, unsigned attributes);
uint64_t gate32(uint16_t selector, uint32_t offset, unsigned access, unsigned count);

void legacy_setup(void);
/* Defaults: level 0, flat segments, a stack, interrupts off. */
void job_reset(unsigned level);
/* Run code at `eip` (or the job's) until it traps; the trap is in legacy_seen. */
void legacy_run(const void *code);
/* The same in virtual-8086 mode (flags: IOPL) or real mode: the code is copied to LOW_CODE. */
void v86_run(const void *code, size_t size, uint32_t flags);
void real_run(const void *code, size_t size);

/* Pieces of code: begin at NAME, end at NAME_end; NAME_at is where the trap is to be. */
#define CODE(bits, name, text)                                                                     \
	extern const char name[], name##_at[], name##_end[];                                       \
	__asm__(".code" #bits "\n" #name ": " text "\n" #name "_end:\n.code64\n")
#define SIZE(name) (size_t)(name##_end - name)

void legacy_expect(const char *what, unsigned line, unsigned vector, uint32_t error, uint32_t eip);
#define EXPECT(vector, error, eip)                                                                 \
	legacy_expect(__func__, __LINE__, vector, error, (uint32_t)(uintptr_t)(eip))
#define EXPECT_AT(name, vector, error)                                                             \
	legacy_expect(#name, __LINE__, vector, error, ADDRESS(name##_at))
/* Of code that was copied to LOW_CODE. */
#define EXPECT_LOW(name, vector, error)                                                            \
	legacy_expect(#name, __LINE__, vector, error, (uint32_t)(LOW_CODE + (name##_at - name)))
/* It ended by the INT3 (one byte) at NAME_at. */
#define EXPECT_END(name) legacy_expect(#name, __LINE__, 3, 0, ADDRESS(name##_at) + 1)
#define EXPECT_LOW_END(name)                                                                       \
	legacy_expect(#name, __LINE__, 3, 0, (uint32_t)(LOW_CODE + (name##_at - name) + 1))

#endif
