/* SPDX-License-Identifier: MIT */
/*
 * The nanobenchmarks of Adams and Agesen (ASPLOS 2006) as a bare-metal guest: a line each,
 * "nano NAME HEX", the cycles of the TSC for 1000 of them, less those of an empty loop, the best of
 * several tries.
 */
#include "tests/guest/guest.h"

#define ROUNDS 20000u
#define TRIES  5u

#define MSR_STAR   0xc0000081u
#define MSR_LSTAR  0xc0000082u
#define MSR_FMASK  0xc0000084u
#define PAGE_USER  PAGE_AT
#define PAGE_NONE  (PAGE_AT + 4096)
#define PAGE_OTHER (PAGE_AT + 8192)

/* Handlers that step over what faulted, two bytes, and that of SYSCALL. */
extern char divide_handler[], fault_handler[], syscall_handler[];
__asm__("divide_handler: addq $2, (%rsp)\n iretq\n"
	"fault_handler: add $8, %rsp\n addq $2, (%rsp)\n iretq\n"
	"syscall_handler: sysretq\n");

/* What runs at level 3, copied to a page of its own; INT3 comes back. */
extern const uint8_t user_empty[], user_syscall[], user_end[];
__asm__("user_empty: mov $20000, %ebx\n 1: dec %ebx\n jnz 1b\n int3\n"
	"user_syscall: mov $20000, %ebx\n 1: syscall\n dec %ebx\n jnz 1b\n int3\n"
	"user_end:\n");
_Static_assert(ROUNDS == 20000, "the loops of level 3 have the number in them");

static uint8_t frames[3][4096] __attribute__((aligned(4096)));

static inline uint64_t tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("lfence; rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* A function that runs some instructions ROUNDS times; RSI and RDI are its operands. */
#define LOOP(name, text)                                                                           \
	static void name(uint64_t rsi, uint64_t rdi)                                               \
	{                                                                                          \
		uint64_t rounds = ROUNDS;                                                          \
                                                                                                   \
		__asm__ volatile("jmp 1f\n 2: ret\n .p2align 6\n 1: " text "\n dec %0\n jnz 1b"    \
				 : "+r"(rounds), "+S"(rsi), "+D"(rdi)                              \
				 :                                                                 \
				 : "rax", "rcx", "rdx", "memory", "cc");                           \
	}
LOOP(empty, "")
LOOP(in, "in $0x80, %%al")
LOOP(cr8_write, "mov %%rdi, %%cr8")
LOOP(call_return, "call 2b")
LOOP(page_fault, "mov (%%rsi), %%eax")
LOOP(clear_ecx, "xor %%ecx, %%ecx")
LOOP(divide_error, "xor %%ecx, %%ecx\n div %%ecx")
LOOP(entry_change, "xorq $0x200, (%%rdi)")
LOOP(entry_change_use, "xorq $0x200, (%%rdi)\n invlpg (%%rsi)\n mov (%%rsi), %%eax")

static const uint8_t *user_code;

static void go_to_user(void *argument)
{
	(void)argument;
	user_run(PAGE_USER + (uint64_t)(user_code - user_empty), PAGE_USER + 4096);
}

static void user(uint64_t rsi, uint64_t rdi)
{
	(void)rdi;
	user_code = (const uint8_t *)rsi;
	trap_catch(go_to_user, 0);
	CHECK_TRAP(3, 0);
}

static uint64_t best_of(void (*loop)(uint64_t, uint64_t), uint64_t rsi, uint64_t rdi)
{
	uint64_t best = ~0ull;

	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t begin = tsc(), took;

		loop(rsi, rdi);
		took = tsc() - begin;
		if (took < best)
			best = took;
	}
	return best;
}

static void report(const char *name, uint64_t cycles, uint64_t base)
{
	guest_print("nano ");
	guest_print(name);
	guest_print(" ");
	guest_print_hex(cycles > base ? (cycles - base) * 1000 / ROUNDS : 0);
	guest_print("\n");
}

static void set_up(void)
{
	table4[0] |= 4;
	*page_entry(PAGE_USER) = (uint64_t)frames[0] | 7;
	*page_entry(PAGE_NONE) = 0;
	*page_entry(PAGE_OTHER) = (uint64_t)frames[1] | 7;
	for (const uint8_t *at = user_empty; at < user_end; at++)
		frames[0][at - user_empty] = *at;
	gate_set(0, divide_handler, 0, 0x8e);
	gate_set(14, fault_handler, 0, 0x8e);
	wrmsr(MSR_STAR, 0x1bull << 48 | (uint64_t)KERNEL_CS << 32);
	wrmsr(MSR_LSTAR, (uint64_t)syscall_handler);
	wrmsr(MSR_FMASK, 0);
}

void guest_main(void)
{
	uint64_t base, entry = (uint64_t)page_entry(PAGE_OTHER);

	guest_setup();
	set_up();
	base = best_of(user, (uint64_t)user_empty, 0);
	report("syscall", best_of(user, (uint64_t)user_syscall, 0), base);
	base = best_of(empty, 0, 0);
	report("in", best_of(in, 0, 0), base);
	report("cr8wr", best_of(cr8_write, 0, 0), base);
	report("callret", best_of(call_return, 0, 0), base);
	report("pgfault", best_of(page_fault, PAGE_NONE, 0), base);
	report("divzero", best_of(divide_error, 0, 0), best_of(clear_ecx, 0, 0));
	report("ptemod", best_of(entry_change, 0, entry), base);
	report("ptemod+use", best_of(entry_change_use, PAGE_OTHER, entry), base);
	guest_end();
}
