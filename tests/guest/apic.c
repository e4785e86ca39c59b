/* SPDX-License-Identifier: MIT */
/*
 * The local APIC in both of its modes, the I/O APIC, the 8259s and HLT: AMD64 vol. 2, chapter 16;
 * SDM vol. 3, chapter 11.
 */
#include "vmm/workload/apic.h"

#define IOAPIC    0xfec00000ull
#define PIT_HZ    1193182u
#define PIT_INPUT 0u /* of the I/O APIC: the MADT has no override */

bool x2apic;

/* Handlers: which came, in what order, and where they met the code. */
static volatile unsigned count[256], came, nesting, deepest;
static volatile uint8_t order[32];
static volatile uint64_t met;
static bool no_end; /* the handler leaves EOI to others */

static void took(unsigned vector, const struct frame *frame)
{
	count[vector]++;
	order[came++ % 32] = (uint8_t)vector;
	met = frame->rip;
	if (vector >= 0x40 && !no_end && vector != 0xff)
		apic_write(APIC_EOI, 0);
}

#define HANDLER(vector)                                                                            \
	__attribute__((interrupt)) static void on_##vector(struct frame *frame)                    \
	{                                                                                          \
		took(0x##vector, frame);                                                           \
	}
HANDLER(41)
HANDLER(45)
HANDLER(50)
HANDLER(61)
HANDLER(70)
HANDLER(ff)

__attribute__((interrupt)) static void on_20(struct frame *frame)
{
	took(0x20, frame);
	outb(0x20, 0x20);
}

/* An NMI in an NMI's handler waits for its IRET. */
__attribute__((interrupt)) static void on_nmi(struct frame *frame)
{
	took(2, frame);
	if (++nesting > deepest)
		deepest = nesting;
	if (count[2] == 1)
		apic_send(x2apic ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24,
			  IPI_NMI | IPI_ASSERT);
	/* It would come here. */
	for (unsigned i = 0; i < 100; i++)
		__asm__ volatile("pause");
	nesting--;
}

static void forget(void)
{
	for (unsigned i = 0; i < 256; i++)
		count[i] = 0;
	came = nesting = deepest = 0;
	met = 0;
}

static void send_self(unsigned vector)
{
	apic_send(0, IPI_SELF | IPI_ASSERT | vector);
}

/*
 * Until that vector has come so often, for some fifteen seconds: a machine that is emulated beside
 * others may stand still for one. HLT waits for ever, so it is for what is known to come.
 */
static bool wait_for(unsigned vector, unsigned times, bool halt)
{
	uint64_t start = tsc();

	while (count[vector] < times && tsc() - start < 60000000000ull) {
		if (halt)
			__asm__ volatile("sti; hlt; cli" : : : "memory");
		else
			interrupts_let();
	}
	if (count[vector] < times)
		check_equal("count of that vector", vector, count[vector], times);
	return count[vector] >= times;
}

static bool requested(unsigned vector)
{
	return apic_read(APIC_IRR + vector / 32) >> vector % 32 & 1;
}

/* Where interrupts are taken. */

extern const char after_nop[], after_halt[], after_flags[], after_return[];

static void windows(void)
{
	forget();
	send_self(0x41);
	CHECK(requested(0x41), true);
	CHECK(count[0x41], 0);
	/* STI holds them off for one instruction. */
	__asm__ volatile("sti\n\tnop\n\t.globl after_nop\nafter_nop:\n\tcli" : : : "memory");
	CHECK(count[0x41], 1);
	CHECK(met, after_nop);
	CHECK(requested(0x41), false);
	send_self(0x41);
	__asm__ volatile("sti\n\tcli\n\tnop\n\tnop" : : : "memory");
	CHECK(count[0x41], 1);
	__asm__ volatile("sti\n\thlt\n\t.globl after_halt\nafter_halt:\n\tcli" : : : "memory");
	CHECK(count[0x41], 2);
	CHECK(met, after_halt);
	/* POPF and IRET do not. */
	send_self(0x41);
	__asm__ volatile("pushf\n\torl $0x200, (%%rsp)\n\tpopf\n\t.globl after_flags\n"
			 "after_flags:\n\tcli"
			 :
			 :
			 : "memory");
	CHECK(count[0x41], 3);
	CHECK(met, after_flags);
	send_self(0x41);
	__asm__ volatile("mov %%rsp, %%rcx\n\tmov %%ss, %%eax\n\tpush %%rax\n\tpush %%rcx\n\t"
			 "push $0x202\n\tpush $0x08\n\tpush $after_return\n\tiretq\n\t"
			 ".globl after_return\nafter_return:\n\tcli"
			 :
			 :
			 : "memory", "rax", "rcx");
	CHECK(count[0x41], 4);
	CHECK(met, after_return);
}

static void too_much(void *argument)
{
	__asm__ volatile("mov %0, %%cr8" : : "r"(argument));
}

static void priorities(void)
{
	uint64_t cr8;

	forget();
	apic_write(APIC_TPR, 0x50);
	__asm__ volatile("mov %%cr8, %0" : "=r"(cr8));
	CHECK(cr8, 5);
	CHECK(apic_read(APIC_PPR) & 0xf0, 0x50);
	send_self(0x45);
	interrupts_let();
	CHECK(count[0x45], 0);
	send_self(0x61);
	interrupts_let();
	CHECK(count[0x61], 1);
	/* CR8 is the task priority; lowered, what waited comes at once. */
	interrupts_on();
	__asm__ volatile("mov %0, %%cr8\n\tnop" : : "r"(4ull));
	interrupts_off();
	CHECK(count[0x45], 0); /* its class is 4 */
	interrupts_on();
	__asm__ volatile("mov %0, %%cr8\n\tnop" : : "r"(3ull));
	interrupts_off();
	CHECK(count[0x45], 1);
	CHECK(apic_read(APIC_TPR), 0x30);
	apic_write(APIC_TPR, 0);
	if (!emulated) { /* QEMU drops the upper bits */
		trap_catch(too_much, (void *)16);
		CHECK_TRAP(13, 0);
	}
	/* The higher one first. */
	forget();
	send_self(0x41);
	send_self(0x61);
	send_self(0x61); /* once is enough */
	__asm__ volatile("sti; nop; nop; nop; cli" : : : "memory");
	CHECK(came, 2);
	CHECK(order[0], 0x61);
	CHECK(order[1], 0x41);
	/* One in service holds off its class and those below. */
	forget();
	no_end = true;
	send_self(0x61);
	interrupts_let();
	CHECK(apic_read(APIC_ISR + 3) >> 1 & 1, 1);
	CHECK(apic_read(APIC_PPR) & 0xf0, 0x60);
	send_self(0x45);
	interrupts_let();
	CHECK(came, 1);
	no_end = false;
	apic_write(APIC_EOI, 0);
	interrupts_let();
	CHECK(came, 2);
	CHECK(apic_read(APIC_ISR + 3), 0);
}

static void open_window(void *argument)
{
	(void)argument;
	interrupts_let();
}

/* A gate that is not there: the error code says that the interrupt came from outside. */
static void bad_gate(void)
{
	unsigned external = emulated ? 0 : 1; /* QEMU does not say */

	forget();
	idt[0x41].type &= 0x7f;
	send_self(0x41);
	trap_catch(open_window, 0);
	interrupts_off();
	idt[0x41].type |= 0x80;
	CHECK_TRAP(11, 0x41 * 8 + 2 + external);
	/* It is in service all the same. */
	apic_write(APIC_EOI, 0);
	CHECK(came, 0);
	CHECK(requested(0x41), false);
}

static void nmi(void)
{
	uint32_t id = x2apic ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;

	forget();
	apic_send(id, IPI_NMI | IPI_ASSERT);
	/* IF is clear. */
	for (uint64_t start = tsc(); count[2] < 2 && tsc() - start < 60000000000ull;)
		__asm__ volatile("pause");
	CHECK(count[2], 2);
	CHECK(deepest, 1);
}

static bool has_deadline(void)
{
	uint32_t a = 1, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return c >> 24 & 1;
}

static void timer(void)
{
	uint32_t first, second;

	apic_write(APIC_DIVIDE, 0xb); /* by 1 */
	/* Once. */
	forget();
	apic_write(APIC_TIMER, 0x50);
	apic_write(APIC_INITIAL, 1000000);
	if (!wait_for(0x50, 1, false))
		return;
	CHECK(apic_read(APIC_CURRENT), 0);
	forget();
	apic_write(APIC_INITIAL, 1000000);
	wait_for(0x50, 1, true);
	for (uint64_t start = tsc(); tsc() - start < 10000000;)
		interrupts_let();
	CHECK(count[0x50], 1);
	/* It counts down, masked too. */
	apic_write(APIC_TIMER, 0x50 | APIC_MASKED);
	apic_write(APIC_INITIAL, 0xffffffff);
	first = apic_read(APIC_CURRENT);
	for (unsigned i = 0; i < 1000; i++)
		__asm__ volatile("pause");
	second = apic_read(APIC_CURRENT);
	CHECK(second < first, true);
	CHECK(apic_read(APIC_INITIAL), 0xffffffff);
	apic_write(APIC_INITIAL, 0);
	CHECK(apic_read(APIC_CURRENT), 0);
	/* Again and again. */
	forget();
	apic_write(APIC_TIMER, 0x50 | APIC_PERIODIC);
	apic_write(APIC_INITIAL, 300000);
	if (wait_for(0x50, 2, false))
		wait_for(0x50, 4, true);
	apic_write(APIC_INITIAL, 0);
	interrupts_let();
	first = count[0x50];
	for (uint64_t start = tsc(); tsc() - start < 10000000;)
		interrupts_let();
	CHECK(count[0x50], first);
	CHECK(count[0x41] + count[0xff], 0);
}

static void deadline(void)
{
	uint64_t start;

	if (!has_deadline())
		return;
	forget();
	apic_write(APIC_TIMER, 0x50 | APIC_DEADLINE);
	__asm__ volatile("mfence" : : : "memory");
	/* So far away that it does not pass meanwhile, however busy the host is. */
	start = tsc() + (1ull << 42);
	wrmsr(0x6e0, start);
	CHECK(rdmsr(0x6e0), start);
	start = tsc();
	wrmsr(0x6e0, start + 3000000);
	wait_for(0x50, 1, false);
	CHECK(tsc() - start >= 3000000, true);
	CHECK(rdmsr(0x6e0), 0);
	/* One that has passed. */
	wrmsr(0x6e0, 1);
	wait_for(0x50, 2, false);
	/* 0 disarms. */
	wrmsr(0x6e0, tsc() + 3000000);
	wrmsr(0x6e0, 0);
	for (start = tsc(); tsc() - start < 10000000;)
		interrupts_let();
	CHECK(count[0x50], 2);
	apic_write(APIC_TIMER, APIC_MASKED);
}

/* Disabled by software it takes nothing, and masks its entries. */
static void disabled(void)
{
	forget();
	apic_write(APIC_TIMER, 0x50);
	apic_write(APIC_SVR, 0xff);
	CHECK(apic_read(APIC_TIMER) & APIC_MASKED, APIC_MASKED);
	send_self(0x41);
	interrupts_let();
	CHECK(came, 0);
	apic_write(APIC_TIMER, 0x50);
	CHECK(apic_read(APIC_TIMER) & APIC_MASKED, APIC_MASKED);
	apic_write(APIC_SVR, APIC_ON | 0xff);
	CHECK(apic_read(APIC_TIMER) & APIC_MASKED, APIC_MASKED);
}

/* Vectors below 16. KVM reports none of it: its ESR is always 0. */
static void errors(void)
{
	if (under_kvm)
		return;
	forget();
	apic_write(APIC_ERROR, 0x61);
	apic_write(APIC_ESR, 0);
	CHECK(apic_read(APIC_ESR), 0);
	send_self(5);
	interrupts_let();
	CHECK(count[0x61], 1);
	CHECK(apic_read(APIC_ESR), 0); /* shows by a write */
	apic_write(APIC_ESR, 0);
	CHECK(apic_read(APIC_ESR) & 0x20, 0x20);
	apic_write(APIC_ESR, 0);
	CHECK(apic_read(APIC_ESR), 0);
	apic_write(APIC_ERROR, APIC_MASKED);
}

/* The other chips. */

static void ioapic_set(unsigned reg, uint32_t value)
{
	*(volatile uint32_t *)IOAPIC = reg;
	*(volatile uint32_t *)(IOAPIC + 0x10) = value;
}

static uint32_t ioapic_get(unsigned reg)
{
	*(volatile uint32_t *)IOAPIC = reg;
	return *(volatile uint32_t *)(IOAPIC + 0x10);
}

static void pit_start(unsigned hz)
{
	unsigned divisor = PIT_HZ / hz;

	outb(0x43, 0x34); /* counter 0, both bytes, rate */
	outb(0x40, (uint8_t)divisor);
	outb(0x40, (uint8_t)(divisor >> 8));
}

static void pit_stop(void)
{
	outb(0x43, 0x30); /* waits for a count that does not come */
}

static void ioapic(void)
{
	uint32_t id = x2apic ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;

	forget();
	ioapic_set(0x10 + 2 * PIT_INPUT + 1, id << 24);
	ioapic_set(0x10 + 2 * PIT_INPUT, 0x70);
	pit_start(1000);
	if (wait_for(0x70, 1, false))
		wait_for(0x70, 3, true);
	/* One that is under way gets its EOI, for which KVM's timer waits before it sends another.
	 */
	ioapic_set(0x10 + 2 * PIT_INPUT, 0x70 | APIC_MASKED);
	interrupts_let();
	/* As an NMI, which ends HLT with IF clear. It has no EOI, so of KVM's timer comes one. */
	count[2] = 1; /* on_nmi: no second one */
	ioapic_set(0x10 + 2 * PIT_INPUT, IPI_NMI);
	for (uint64_t start = tsc(); count[2] < 2 && tsc() - start < 60000000000ull;)
		__asm__ volatile("pause");
	CHECK(count[2] >= 2, true);
	if (!under_kvm)
		__asm__ volatile("hlt; hlt" : : : "memory");
	ioapic_set(0x10 + 2 * PIT_INPUT, 0x70 | APIC_MASKED);
	ioapic_set(0x10 + 2 * PIT_INPUT, 0x70);
	/* Masked, its edges are lost. */
	ioapic_set(0x10 + 2 * PIT_INPUT, 0x70 | APIC_MASKED);
	interrupts_let();
	forget();
	for (uint64_t start = tsc(); tsc() - start < 20000000;)
		interrupts_let();
	CHECK(came, 0);
	pit_stop();
}

#define COM1       0x3f8
#define COM1_INPUT 4u
#define REMOTE_IRR 0x4000u

/* The serial port's "transmitter is empty", which stays until it is asked for. */
static void level(void)
{
	uint32_t id = x2apic ? apic_read(APIC_ID) : apic_read(APIC_ID) >> 24;
	unsigned entry = 0x10 + 2 * COM1_INPUT;

	forget();
	inb(COM1 + 2);
	ioapic_set(entry + 1, id << 24);
	ioapic_set(entry, 0x8045);
	outb(COM1 + 4, 8); /* OUT2 lets its interrupts pass */
	no_end = true;
	outb(COM1 + 1, 2);
	interrupts_let();
	CHECK(count[0x45], 1);
	CHECK(ioapic_get(entry) & REMOTE_IRR, REMOTE_IRR);
	CHECK(apic_read(APIC_TMR + 2) >> 5 & 1, 1);
	interrupts_let();
	CHECK(count[0x45], 1);
	/* At its end the level is still there. */
	apic_write(APIC_EOI, 0);
	interrupts_let();
	CHECK(count[0x45], 2);
	/* And now it is not. */
	CHECK(inb(COM1 + 2) & 15, 2);
	apic_write(APIC_EOI, 0);
	interrupts_let();
	CHECK(count[0x45], 2);
	CHECK(ioapic_get(entry) & REMOTE_IRR, 0);
	no_end = false;
	outb(COM1 + 1, 0);
	ioapic_set(entry, APIC_MASKED);
}

/* ExtINT: the 8259's vector, which the local APIC knows nothing of. */
static void i8259(void)
{
	static const uint8_t commands[][2] = {
		{0x20, 0x11}, {0xa0, 0x11}, {0x21, 0x20}, {0xa1, 0x28}, {0x21, 4},
		{0xa1, 2},    {0x21, 1},    {0xa1, 1},    {0x21, 0xff}, {0xa1, 0xff},
	};

	forget();
	for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		outb(commands[i][0], commands[i][1]);
	/*
	 * LINT0 first: KVM (Linux 6.1) does not look at the 8259's output when LINT0 opens, and its
	 * timer still runs. Masked and then not: the timer looks at that, not at what ICW1 does to
	 * the mask.
	 */
	apic_write(APIC_LINT0, 0x700);
	outb(0x21, 0xfe);
	pit_start(1000);
	if (wait_for(0x20, 1, false))
		wait_for(0x20, 3, true);
	CHECK(apic_read(APIC_ISR + 1), 0);
	apic_write(APIC_LINT0, 0x700 | APIC_MASKED);
	interrupts_let();
	forget();
	for (uint64_t start = tsc(); tsc() - start < 20000000;)
		interrupts_let();
	CHECK(came, 0);
	pit_stop();
	outb(0x21, 0xff);
}

static void base_write(void *argument)
{
	wrmsr(APIC_BASE_MSR, (uint64_t)argument);
}
static void msr_get(void *argument)
{
	rdmsr((uint32_t)(uint64_t)argument);
}
static void tpr_high(void *argument)
{
	wrmsr(0x808, (uint64_t)argument);
}

static void all(void)
{
	apic_write(APIC_SVR, APIC_ON | 0xff);
	apic_write(APIC_LINT0, 0x700 | APIC_MASKED);
	CHECK((apic_read(APIC_VERSION) & 0xf0) == 0x10, true);
	windows();
	priorities();
	bad_gate();
	nmi();
	timer();
	deadline();
	disabled();
	errors();
	ioapic();
	level();
	i8259();
}

static void modes(void)
{
	uint64_t base = rdmsr(APIC_BASE_MSR);

	CHECK(base & (APIC_BASE_ON | APIC_BASE_X2), APIC_BASE_ON);
	trap_catch(msr_get, (void *)0x802);
	CHECK_TRAP(13, 0); /* no MSRs in this mode */
	wrmsr(APIC_BASE_MSR, base | APIC_BASE_X2);
	x2apic = true;
	CHECK(apic_read(APIC_ID), 0);
	CHECK(apic_read(APIC_LDR), 1);
	trap_catch(msr_get, (void *)0x80e); /* no DFR */
	CHECK_TRAP(13, 0);
	if (!under_kvm) { /* KVM drops the upper bits */
		trap_catch(tpr_high, (void *)0x100);
		CHECK_TRAP(13, 0);
	}
	/* Not straight back. */
	trap_catch(base_write, (void *)base);
	CHECK_TRAP(13, 0);
	all();
	forget();
	wrmsr(0x83f, 0x41);
	interrupts_let();
	CHECK(count[0x41], 1);
	wrmsr(APIC_BASE_MSR, base & ~(uint64_t)APIC_BASE_ON);
	trap_catch(base_write, (void *)(base | APIC_BASE_X2));
	CHECK(trap_seen.vector, 13); /* nor from there */
	wrmsr(APIC_BASE_MSR, base);
	x2apic = false;
	/* It begins afresh, but for KVM's. */
	if (!under_kvm)
		CHECK(apic_read(APIC_SVR) & APIC_ON, 0);
}

void guest_main(void)
{
	guest_setup();
	gate_set(2, on_nmi, 0, 0x8e);
	gate_set(0x20, on_20, 0, 0x8e);
	gate_set(0x41, on_41, 0, 0x8e);
	gate_set(0x45, on_45, 0, 0x8e);
	gate_set(0x50, on_50, 0, 0x8e);
	gate_set(0x61, on_61, 0, 0x8e);
	gate_set(0x70, on_70, 0, 0x8e);
	gate_set(0xff, on_ff, 0, 0x8e);
	all();
	modes();
	guest_end();
}
