/* SPDX-License-Identifier: MIT */
/*
 * Interrupts as fast as they come while code runs, from the timer and from itself: it computes what
 * it computes alone, and none comes where none may. And the same code step by step.
 */
#include "vmm/workload/apic.h"

#define TIMER 0x45
#define SELF  0x46
#define TF    0x100u

bool x2apic;

static unsigned rounds = 3000;
static uint32_t period = 20000; /* of the timer, in its ticks */

/* What handlers see. */
volatile uint64_t came, bad, no_interrupts;
volatile uint64_t forbidden_from, forbidden_to; /* addresses where none is taken */

static void look(const struct frame *frame)
{
	came++;
	if (no_interrupts || !(frame->rflags & 0x200) ||
	    (frame->rip >= forbidden_from && frame->rip < forbidden_to))
		bad++;
	apic_write(APIC_EOI, 0);
}

__attribute__((interrupt)) static void on_timer(struct frame *frame)
{
	look(frame);
}

__attribute__((interrupt)) static void on_self(struct frame *frame)
{
	look(frame);
}

static void timer_start(void)
{
	apic_write(APIC_DIVIDE, 0xb);
	apic_write(APIC_TIMER, APIC_PERIODIC | TIMER);
	apic_write(APIC_INITIAL, period);
}

static void timer_stop(void)
{
	interrupts_off();
	apic_write(APIC_INITIAL, 0);
	interrupts_let();
}

static void interrupt_self(void)
{
	if (x2apic)
		wrmsr(0x83f, SELF);
	else
		apic_write(APIC_ICR, IPI_SELF | IPI_ASSERT | SELF);
}

/*
 * Something that uses all registers, flags over many instructions, the stack, vectors and a
 * repetition, and no more than its argument.
 */
uint64_t compute(uint64_t seed);
uint64_t compute_buffer[64], compute_copy[64];
extern const char compute_after[];
__asm__(".balign 64\ncompute: push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push "
	"%r15\n"
	"mov %rdi, %rax\n mov $0x9e3779b97f4a7c15, %rbx\n lea (%rax,%rbx), %rdx\n"
	"mov %rax, %rbp\n not %rbp\n mov %rdx, %rsi\n bswap %rsi\n mov %rsi, %r8\n"
	"lea 77(%r8,%rbp), %r9\n mov %r9, %r10\n rol $13, %r10\n mov %r10, %r11\n"
	"imul %rbx, %r11\n mov %r11, %r12\n mov %r12, %r13\n mov %r13, %r14\n mov %r14, %r15\n"
	"mov $40, %edi\n"
	"1: add %rax, %rdx\n adc %rbx, %rbp\n adc %rsi, %r8\n adc %r9, %r10\n adc %r11, %r12\n"
	"sbb %r13, %r14\n rcl $1, %r15\n rcr $1, %rax\n pushfq\n andq $0x8d5, (%rsp)\n pop %rcx\n"
	"xor %rcx, %rax\n push %rax\n push %rdx\n push %r15\n call 2f\n pop %r15\n pop %rdx\n"
	"pop %rcx\n add %rcx, %r9\n mul %rbx\n mov %rdi, %rcx\n shl %cl, %r11\n xor %r15, %r11\n"
	"movq %rax, %xmm0\n movq %rdx, %xmm1\n punpcklqdq %xmm1, %xmm0\n paddq %xmm0, %xmm2\n"
	"pshufd $0x1b, %xmm2, %xmm2\n movq %xmm2, %r13\n mov %r13, compute_buffer(,%rdi,8)\n"
	"dec %edi\n jnz 1b\n"
	"mov $compute_buffer, %esi\n mov $compute_copy, %edi\n mov $512, %ecx\n rep movsb\n"
	"mov $compute_copy, %esi\n mov $64, %ecx\n xor %edx, %edx\n"
	"3: lodsq\n add %rax, %rdx\n rol $7, %rdx\n loop 3b\n"
	"lea (%rdx,%r15), %rax\n xor %r14, %rax\n add %r12, %rax\n xor %r10, %rax\n add %r8, %rax\n"
	"pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n"
	"2: add 8(%rsp), %rcx\n lea 1(%rcx,%rcx), %rcx\n xor %rcx, 16(%rsp)\n ret\n"
	"compute_after:");

/* XMM2 is not reset within. */
static uint64_t compute_anew(uint64_t seed)
{
	__asm__ volatile("pxor %%xmm2, %%xmm2" : : : "memory");
	return compute(seed);
}

static void check_storm(const char *what, uint64_t least)
{
	if (came < least || bad) {
		guest_print(what);
		guest_print(": ");
	}
	if (came < least)
		check_equal("interrupts that came", __LINE__, came, least);
	if (bad)
		check_equal("interrupts where none may come", __LINE__, bad, 0);
	came = bad = 0;
}

static void while_computing(void)
{
	timer_start();
	for (unsigned i = 0; i < rounds || came < 2; i++) {
		uint64_t with, without;

		no_interrupts = 1;
		without = compute_anew(i);
		no_interrupts = 0;
		interrupts_on();
		with = compute_anew(i);
		interrupts_off();
		CHECK(with, without);
	}
	timer_stop();
	check_storm("computing", 2);
}

/* Nothing but the timer stops it. */
static void while_spinning(void)
{
	uint64_t count = 0;

	timer_start();
	interrupts_on();
	__asm__ volatile("1: inc %0\n\tcmpq $20, came\n\tjb 1b" : "+r"(count) : : "memory", "cc");
	timer_stop();
	CHECK(count > 0, 1);
	check_storm("spinning", 20);
}

/*
 * Windows in a row. None is taken behind STI, POP SS or MOV SS before one more instruction, and
 * none between CLI and STI, or while POPF keeps IF clear. Where they are: from "shut" to "open".
 */
extern const char sti_shut[], sti_open[], ss_shut[], ss_open[], pop_shut[], pop_open[];
static void in_windows(void)
{
	timer_start();
	for (unsigned i = 0; i < rounds; i++) {
		if (i % 3 == 0)
			interrupt_self();
		forbidden_from = (uint64_t)sti_shut;
		forbidden_to = (uint64_t)sti_open;
		__asm__ volatile("sti\n sti_shut: nop\n sti_open: nop\n cli" : : : "memory");
		no_interrupts = 1;
		__asm__ volatile("sti\n cli\n pushfq\n popfq\n nop\n sti\n cli" : : : "memory");
		no_interrupts = 0;
		if (i % 3 == 1)
			interrupt_self();
		forbidden_from = (uint64_t)ss_shut;
		forbidden_to = (uint64_t)ss_open;
		__asm__ volatile("mov %%ss, %%eax\n sti\n nop\n mov %%eax, %%ss\n ss_shut: nop\n"
				 "ss_open: nop\n mov %%eax, %%ss\n nop\n cli"
				 :
				 :
				 : "rax", "memory");
		if (i % 3 == 2)
			interrupt_self();
		/* POP SS is none of 64-bit mode. POPF opens at once, and shuts. */
		__asm__ volatile("pushfq\n pushfq\n orl $0x200, (%%rsp)\n popfq\n nop\n popfq\n nop"
				 :
				 :
				 : "memory", "cc");
	}
	forbidden_from = forbidden_to = 0;
	timer_stop();
	/* Each that it sent itself, at least. */
	check_storm("windows", rounds);
}

/* One to itself is taken at the next instruction where IF is set; with warm code, each time. */
static void from_itself(void)
{
	interrupts_on();
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t before = came;

		interrupt_self();
		for (unsigned k = 0; k < 1000000 && came == before; k++)
			__asm__ volatile("" : : : "memory");
		CHECK(came, before + 1);
	}
	interrupts_off();
	check_storm("from itself", rounds);
}

static void in_halt(void)
{
	timer_start();
	for (unsigned i = 0; i < rounds / 30; i++) {
		uint64_t before = came;

		__asm__ volatile("sti\n hlt\n cli" : : : "memory");
		CHECK(came > before, 1);
	}
	timer_stop();
	check_storm("halted", rounds / 30);
}

/* Step by step. */

volatile uint64_t steps, last_rip, stuck;
__attribute__((interrupt)) static void on_step(struct frame *frame)
{
	steps++;
	if (frame->rip == last_rip && *(const uint8_t *)frame->rip != 0xf3)
		stuck++;
	last_rip = frame->rip;
}

static uint64_t compute_stepping(uint64_t seed)
{
	uint64_t value;

	__asm__ volatile("pxor %xmm2, %xmm2\n\tpushfq\n\torl $0x100, (%rsp)\n\tpopfq");
	value = compute(seed);
	__asm__ volatile("pushfq\n\tandl $~0x100, (%rsp)\n\tpopfq");
	return value;
}

static void step_by_step(void)
{
	uint64_t first = 0;

	for (unsigned i = 0; i < 20; i++) {
		uint64_t expected = compute_anew(i), value;

		steps = stuck = 0;
		value = compute_stepping(i);
		CHECK(value, expected);
		CHECK(stuck, 0);
		if (i == 0)
			first = steps;
		CHECK(steps, first);
		/* 40 turns of 37 instructions, 512 of one, 64 of 4, and some around them. */
		CHECK(steps >= 40 * 37 + 512 + 64 * 4 + 40 && steps < 40 * 37 + 512 + 64 * 4 + 70,
		      1);
		interrupts_on();
		timer_start();
		CHECK(compute_stepping(i), expected);
		timer_stop();
	}
	came = bad = 0;
}

static void all(void)
{
	while_computing();
	while_spinning();
	in_windows();
	from_itself();
	in_halt();
	step_by_step();
}

void guest_main(void)
{
	guest_setup();
	vectors_on();
	if (emulated) {
		rounds = 300;
		period = 2000000;
	}
	gate_set(TIMER, on_timer, 0, 0x8e);
	gate_set(SELF, on_self, 0, 0x8e);
	gate_set(1, on_step, 0, 0x8e);
	apic_write(APIC_SVR, APIC_ON | 0xff);
	all();
	wrmsr(APIC_BASE_MSR, rdmsr(APIC_BASE_MSR) | APIC_BASE_X2);
	x2apic = true;
	all();
	guest_end();
}
