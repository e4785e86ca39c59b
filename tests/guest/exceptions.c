/* SPDX-License-Identifier: MIT */
/* Faults, traps and interrupts of 64-bit mode: which, with what error code, from which RIP. */
#include "vmm/workload/guest.h"

/* The instruction at `fn`'s label `at` is what must be reported. */
#define TRAP_AT(name, text)                                                                        \
	extern const char name##_at[], name##_after[];                                             \
	void name(void *argument);                                                                 \
	__asm__(".globl " #name "\n" #name ": " text "\n ret\n")

TRAP_AT(divide, "xor %edx, %edx\n xor %ecx, %ecx\n divide_at: div %ecx\n divide_after:");
TRAP_AT(undefined, "undefined_at: ud2\n undefined_after:");
TRAP_AT(breakpoint, "breakpoint_at: int3\n breakpoint_after:");
TRAP_AT(call_gate_int, "call_gate_int_at: int $0x50\n call_gate_int_after:");
TRAP_AT(noncanonical, "mov $0x8000000000000000, %rax\n noncanonical_at: mov (%rax), %eax\n "
		      "noncanonical_after:");
TRAP_AT(stack_noncanonical,
	"mov %rsp, %rcx\n mov $0x8000000000000000, %rsp\n "
	"stack_noncanonical_at: push %rax\n stack_noncanonical_after: mov %rcx, "
	"%rsp");
TRAP_AT(bad_selector, "mov $0x58, %eax\n bad_selector_at: mov %eax, %ds\n bad_selector_after:");
TRAP_AT(null_stack, "xor %eax, %eax\n mov %eax, %ss\n mov $0x10, %eax\n null_stack_at: mov %eax, "
		    "%ss\n null_stack_after: mov $3, %eax\n mov %eax, %ss");
TRAP_AT(bad_msr, "mov $0xdead, %ecx\n bad_msr_at: rdmsr\n bad_msr_after:");
TRAP_AT(bad_cr4, "mov %cr4, %rax\n bts $31, %rax\n bad_cr4_at: mov %rax, %cr4\n bad_cr4_after:");
TRAP_AT(bad_cr0, "mov %cr0, %rax\n btr $0, %rax\n bad_cr0_at: mov %rax, %cr0\n bad_cr0_after:");
TRAP_AT(unaligned_sse, "lea trap_seen+1(%rip), %rax\n unaligned_sse_at: movaps (%rax), %xmm0\n "
		       "unaligned_sse_after:");
TRAP_AT(single_step, "pushfq\n orl $0x100, (%rsp)\n popfq\n nop\n single_step_at: "
		     "single_step_after: nop\n pushfq\n andl $~0x100, (%rsp)\n popfq");

#define CHECK_AT(name, number, code)                                                               \
	do {                                                                                       \
		trap_catch(name, 0);                                                               \
		CHECK_TRAP(number, code);                                                          \
		CHECK(trap_seen.rip, name##_at);                                                   \
		CHECK(trap_seen.cs, KERNEL_CS);                                                    \
	} while (0)

static void faults(void)
{
	CHECK_AT(divide, 0, 0);
	CHECK(trap_seen.rflags >> 16 & 1, 1); /* RF: a fault */
	CHECK_AT(undefined, 6, 0);
	CHECK_AT(noncanonical, 13, 0);
	CHECK_AT(bad_selector, 13, 0x58);
	CHECK_AT(bad_msr, 13, 0);
	CHECK_AT(bad_cr4, 13, 0);
	CHECK_AT(bad_cr0, 13, 0);
	CHECK_AT(unaligned_sse, 13, 0);
	CHECK_AT(call_gate_int, 13, 0x50 * 8 + 2);
	trap_catch(null_stack, 0);
	CHECK(trap_seen.vector, 12 + 1); /* SS = 3 at level 0 */
}

static void traps(void)
{
	trap_catch(breakpoint, 0);
	CHECK_TRAP(3, 0);
	CHECK(trap_seen.rip, breakpoint_after);
	CHECK(trap_seen.rflags >> 16 & 1, 0);
	trap_catch(single_step, 0);
	CHECK_TRAP(1, 0);
	CHECK(trap_seen.rip, single_step_at);
	uint64_t dr6;
	__asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
	CHECK(dr6 >> 14 & 1, 1);
}

/* With an interrupt stack the frame is there, and aligned. */
static void interrupt_stack(void)
{
	gate_set(6, vectors + 16 * 6, 1, 0x8e);
	trap_catch(undefined, 0);
	CHECK_TRAP(6, 0);
	CHECK(trap_seen.ss, KERNEL_DS);
	gate_set(6, vectors + 16 * 6, 0, 0x8e);
	/* An address that is not canonical there is a stack fault, and that one's is fine. */
	uint64_t old = task.ist[0];

	task.ist[0] = 1ull << 63;
	gate_set(6, vectors + 16 * 6, 1, 0x8e);
	trap_catch(undefined, 0);
	CHECK_TRAP(12, 0);
	task.ist[0] = old;
	gate_set(6, vectors + 16 * 6, 0, 0x8e);
}

/* A gate that is not there, while an exception is delivered: the second one's error code tells. */
static void bad_gates(void)
{
	struct gate old = idt[6];

	idt[6].type &= 0x7f;
	trap_catch(undefined, 0);
	CHECK_TRAP(11, 6 * 8 + 2);
	idt[6].type = 0x85; /* a task gate: not in long mode */
	trap_catch(undefined, 0);
	CHECK_TRAP(13, 6 * 8 + 2);
	idt[6] = old;
	idt[6].selector = KERNEL_DS;
	trap_catch(undefined, 0);
	CHECK_TRAP(13, KERNEL_DS);
	idt[6] = old;
	/* A contributory exception whose handler cannot be reached becomes a double fault. */
	old = idt[0];
	idt[0].type &= 0x7f;
	trap_catch(divide, 0);
	CHECK_TRAP(8, 0);
	idt[0] = old;
}

#define NOWHERE 0x200000000ull

/*
 * A page fault on the way of a contributory exception is delivered by itself; one on the way of a
 * page fault is a double fault (AMD64 vol. 2, table 8-3). QEMU forgets what KVM was delivering.
 */
static void nested_page_faults(void)
{
	uint64_t old = task.ist[1];

	if (emulated)
		return;
	task.ist[1] = NOWHERE;
	gate_set(13, vectors + 16 * 13, 2, 0x8e);
	trap_catch(bad_msr, 0);
	CHECK_TRAP(14, 2);
	CHECK(trap_seen.cr2, NOWHERE - 8);
	CHECK(trap_seen.rip, bad_msr_at);
	gate_set(14, vectors + 16 * 14, 2, 0x8e);
	trap_catch(bad_msr, 0);
	CHECK_TRAP(8, 0);
	CHECK(trap_seen.rip, bad_msr_at);
	gate_set(13, vectors + 16 * 13, 0, 0x8e);
	gate_set(14, vectors + 16 * 14, 0, 0x8e);
	/* Behind a benign one nothing is double. */
	gate_set(6, vectors + 16 * 6, 2, 0x8e);
	trap_catch(undefined, 0);
	CHECK_TRAP(14, 2);
	gate_set(6, vectors + 16 * 6, 0, 0x8e);
	task.ist[1] = old;
}

void guest_main(void)
{
	guest_setup();
	faults();
	traps();
	interrupt_stack();
	bad_gates();
	nested_page_faults();
	guest_end();
}
