/* SPDX-License-Identifier: MIT */
/*
 * The nanobenchmarks of Adams and Agesen (ASPLOS 2006), and more of their kind, as a bare-metal
 * guest: a line each, "nano NAME HEX", the cycles of the TSC for 1000 of them, less those of an
 * empty loop, the best of several tries. What this machine has not is "nano-missing NAME REASON".
 *
 * The word "cpus=2" on the command line: there is a second processor, for interrupts between the
 * two. It is a PVH image and needs a serial port, a local APIC and ACPI's power-off at port 0x604;
 * a virtio device behind PCI has its doorbell rung, with nothing in the queue.
 */
#include "vmm/workload/nano.h"
#include "vmm/workload/cpus.h"

#define ROUNDS_MAX    20000u
#define ROUNDS_MIN    100u
#define TRIES         5u
#define CYCLES_WANTED 20000000u /* at most, of a try */
#define PATIENT       3000000000ull

#define MSR_STAR   0xc0000081u
#define MSR_LSTAR  0xc0000082u
#define MSR_FMASK  0xc0000084u
#define PAGE_USER  PAGE_AT
#define PAGE_NONE  (PAGE_AT + 4096)
#define PAGE_OTHER (PAGE_AT + 8192)
#define PAGE_MANY  (PAGE_AT + 0x10000) /* MANY of them */
#define MANY       256u

#define VECTOR_SELF   0x41
#define VECTOR_THERE  0x42
#define VECTOR_BACK   0x43
#define VECTOR_TIMER  0x44
#define DIVIDE_BY_ONE 0xbu

/* Handlers that step over what faulted, two bytes, and that of SYSCALL. */
extern char divide_handler[], fault_handler[], syscall_handler[];
__asm__("divide_handler: addq $2, (%rsp)\n iretq\n"
	"fault_handler: add $8, %rsp\n addq $2, (%rsp)\n iretq\n"
	"syscall_handler: sysretq\n");

/* What runs at level 3, copied to a page of its own, with how often; INT3 comes back. */
extern const uint8_t user_empty[], user_syscall[], user_rounds[], user_end[];
__asm__("user_empty: mov user_rounds(%rip), %ebx\n 1: dec %ebx\n jnz 1b\n int3\n"
	"user_syscall: mov user_rounds(%rip), %ebx\n 1: syscall\n dec %ebx\n jnz 1b\n int3\n"
	".balign 4\n user_rounds: .long 0\n"
	"user_end:\n");

static uint8_t frames[3][4096] __attribute__((aligned(4096)));
static uint32_t rounds = ROUNDS_MAX;

static inline uint64_t tsc_after(void)
{
	__asm__ volatile("lfence" : : : "memory");
	return tsc();
}

/* A function that runs some instructions `rounds` times; RSI and RDI are its operands. */
#define LOOP(name, text)                                                                           \
	static void name(uint64_t rsi, uint64_t rdi)                                               \
	{                                                                                          \
		uint64_t left = rounds;                                                            \
                                                                                                   \
		__asm__ volatile("jmp 1f\n 2: ret\n .p2align 6\n 1: " text "\n dec %0\n jnz 1b"    \
				 : "+r"(left), "+S"(rsi), "+D"(rdi)                                \
				 :                                                                 \
				 : "rax", "rbx", "rcx", "rdx", "memory", "cc");                    \
	}
LOOP(empty, "")
LOOP(in, "in $0x80, %%al")
LOOP(cr8_write, "mov %%rdi, %%cr8")
LOOP(cr3_write, "mov %%rdi, %%cr3")
LOOP(doorbell, "movw $0, (%%rdi)")
LOOP(call_return, "call 2b")
LOOP(cpuid, "xor %%eax, %%eax\n cpuid")
LOOP(read_tsc, "rdtsc")
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
	for (unsigned i = 0; i < 4; i++)
		frames[0][user_rounds - user_empty + i] = (uint8_t)(rounds >> 8 * i);
	trap_catch(go_to_user, 0);
	CHECK_TRAP(3, 0);
}

static uint64_t timed(void (*loop)(uint64_t, uint64_t), uint64_t rsi, uint64_t rdi)
{
	uint64_t begin = tsc_after();

	loop(rsi, rdi);
	return tsc_after() - begin;
}

/* Thousandths of a cycle for one. Where one takes long, fewer are done. */
static uint64_t best_of(void (*loop)(uint64_t, uint64_t), uint64_t rsi, uint64_t rdi)
{
	uint64_t best = ~0ull, took;

	rounds = ROUNDS_MIN;
	took = timed(loop, rsi, rdi);
	rounds = ROUNDS_MAX;
	if (took * (ROUNDS_MAX / ROUNDS_MIN) > CYCLES_WANTED)
		rounds = (uint32_t)(CYCLES_WANTED / (took / ROUNDS_MIN + 1));
	if (rounds < ROUNDS_MIN)
		rounds = ROUNDS_MIN;
	for (unsigned i = 0; i < TRIES; i++) {
		took = timed(loop, rsi, rdi);
		if (took < best)
			best = took;
	}
	return best * 1000 / rounds;
}

static void report(const char *name, uint64_t cycles, uint64_t base)
{
	guest_print("nano ");
	guest_print(name);
	guest_print(" ");
	guest_print_hex(cycles > base ? cycles - base : 0);
	guest_print("\n");
}

static void missing(const char *name, const char *reason)
{
	guest_print("nano-missing ");
	guest_print(name);
	guest_print(" ");
	guest_print(reason);
	guest_print("\n");
}

/* Page table entries, one page after the other. */

static volatile uint64_t *entries;

static void pages_map(uint64_t frame, uint64_t none)
{
	(void)none;
	for (unsigned i = 0; i < MANY; i++) {
		uint64_t at = PAGE_MANY + i * 4096ull;

		entries[i] = frame | 7;
		(void)*(volatile uint8_t *)at;
	}
}

static void pages_protect(uint64_t frame, uint64_t none)
{
	(void)none;
	for (unsigned i = 0; i < MANY; i++) {
		uint64_t at = PAGE_MANY + i * 4096ull;

		entries[i] = frame | 5;
		invlpg(at);
		(void)*(volatile uint8_t *)at;
	}
}

static void pages_unmap(uint64_t frame, uint64_t none)
{
	(void)frame;
	(void)none;
	for (unsigned i = 0; i < MANY; i++) {
		uint64_t at = PAGE_MANY + i * 4096ull;

		entries[i] = 0;
		invlpg(at);
	}
}

static void report_entries(void)
{
	static void (*const changes[])(uint64_t, uint64_t) = {pages_map, pages_protect,
							      pages_unmap};
	static const char *const names[] = {"pte-map", "pte-protect", "pte-unmap"};
	uint64_t best[3] = {~0ull, ~0ull, ~0ull};

	entries = page_entry(PAGE_MANY);
	/* The first of all finds nothing in any cache. */
	for (unsigned i = 0; i < TRIES + 1; i++)
		for (unsigned k = 0; k < 3; k++) {
			uint64_t took = timed(changes[k], (uint64_t)frames[2], 0);

			if (took < best[k])
				best[k] = took;
		}
	for (unsigned k = 0; k < 3; k++)
		report(names[k], best[k] * 1000 / MANY, 0);
}

/* Interrupts: from the write that asks for one until its handler has been. */

static volatile uint32_t came;

#define HANDLER(name, then)                                                                        \
	__attribute__((interrupt)) static void name(struct frame *frame)                           \
	{                                                                                          \
		(void)frame;                                                                       \
		apic_write(APIC_EOI, 0);                                                           \
		then;                                                                              \
	}
HANDLER(on_came, came++)
HANDLER(on_there, apic_send(0, IPI_FIXED | IPI_ASSERT | VECTOR_BACK))

static bool wait_until(uint32_t count)
{
	uint64_t begin = tsc();

	while (came != count)
		if (tsc() - begin > PATIENT)
			return false;
	return true;
}

static void ask_self(void)
{
	apic_send(0, IPI_SELF | IPI_ASSERT | VECTOR_SELF);
}

static void ask_other(void)
{
	apic_send(1, IPI_FIXED | IPI_ASSERT | VECTOR_THERE);
}

static void ask_timer(void)
{
	apic_write(APIC_INITIAL, 1);
}

static void (*ask)(void);
static bool lost;

static void asked(uint64_t rsi, uint64_t rdi)
{
	(void)rsi;
	(void)rdi;
	for (uint32_t i = 0; i < rounds && !lost; i++) {
		uint32_t before = came;

		ask();
		lost = !wait_until(before + 1);
	}
}

static void report_interrupt(const char *name, void (*how)(void))
{
	uint64_t cycles;

	ask = how;
	lost = false;
	interrupts_on();
	cycles = best_of(asked, 0, 0);
	interrupts_off();
	if (lost)
		missing(name, "the interrupt did not come");
	else
		report(name, cycles, 0);
}

static void report_interrupts(void)
{
	gate_set(VECTOR_SELF, on_came, 0, 0x8e);
	gate_set(VECTOR_BACK, on_came, 0, 0x8e);
	gate_set(VECTOR_TIMER, on_came, 0, 0x8e);
	gate_set(VECTOR_THERE, on_there, 0, 0x8e);
	apic_write(APIC_SVR, APIC_ON | 0xff);
	report_interrupt("ipi-self", ask_self);
	apic_write(APIC_DIVIDE, DIVIDE_BY_ONE);
	apic_write(APIC_TIMER, VECTOR_TIMER);
	report_interrupt("timer", ask_timer);
	if (guest_told("cpus=2")) {
		cpus_start();
		report_interrupt("ipi-roundtrip", ask_other);
	} else {
		missing("ipi-roundtrip", "there is one processor");
	}
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
	uint64_t base, entry = (uint64_t)page_entry(PAGE_OTHER), bell;

	guest_setup();
	set_up();
	base = best_of(user, (uint64_t)user_empty, 0);
	report("syscall", best_of(user, (uint64_t)user_syscall, 0), base);
	base = best_of(empty, 0, 0);
	report("in", best_of(in, 0, 0), base);
	bell = nano_doorbell();
	if (bell)
		report("doorbell", best_of(doorbell, 0, bell), base);
	else
		missing("doorbell", "there is no virtio device below 4 GiB");
	report("cr8wr", best_of(cr8_write, 0, 0), base);
	report("cr3wr", best_of(cr3_write, 0, cr3_get()), base);
	report("callret", best_of(call_return, 0, 0), base);
	report("cpuid", best_of(cpuid, 0, 0), base);
	report("rdtsc", best_of(read_tsc, 0, 0), base);
	report("pgfault", best_of(page_fault, PAGE_NONE, 0), base);
	report("divzero", best_of(divide_error, 0, 0), best_of(clear_ecx, 0, 0));
	report("ptemod", best_of(entry_change, 0, entry), base);
	report("ptemod+use", best_of(entry_change_use, PAGE_OTHER, entry), base);
	report_entries();
	report_interrupts();
	guest_end();
}
