/* SPDX-License-Identifier: MIT */
/*
 * Several processors: INIT and SIPI, locked instructions, interrupts among them, TLB shoot-down,
 * code that another one modifies (AMD64 vol. 2, 7.3, 7.6 and 16.5; SDM vol. 3, chapters 9 and 10).
 */
#include "vmm/workload/cpus.h"

static unsigned rounds = 10000;

/* Interrupts among them. */

static volatile uint32_t answers[CPUS_MAX], answered, nmis, flushed;

__attribute__((interrupt)) static void on_call(struct frame *frame)
{
	(void)frame;
	answers[cpu_self()]++;
	apic_write(APIC_EOI, 0);
	add(&answered, 1);
}

__attribute__((interrupt)) static void on_flush(struct frame *frame)
{
	(void)frame;
	invlpg(PAGE_AT);
	apic_write(APIC_EOI, 0);
	add(&flushed, 1);
}

__attribute__((interrupt)) static void on_nmi(struct frame *frame)
{
	(void)frame;
	add(&nmis, 1);
}

/* Counters, all at once. */

static struct {
	uint32_t aligned, exchanged, added, locked_plain, swapped_plain;
	volatile uint32_t bit_lock, swap_lock;
	uint8_t bytes[8];
} counters;
static uint8_t split[8192] __attribute__((aligned(4096)));
static uint64_t wide[2] __attribute__((aligned(16)));
#define LINE_AT  60         /* four bytes of one cache line, four of the next */
#define LINE2_AT (128 + 63) /* two bytes */
#define PAGE_END 4092       /* eight bytes over two pages */
#define PAGE2_AT (4096 + 2048)

static uint64_t split_get(unsigned offset)
{
	uint64_t value;

	__asm__ volatile("mov %1, %0" : "=r"(value) : "m"(split[offset]));
	return value;
}

static void count_wide(void)
{
	uint64_t low = wide[0], high = wide[1];
	bool equal;

	do
		__asm__ volatile("mov %%rax, %%rbx\n\tmov %%rdx, %%rcx\n\tadd $1, %%rbx\n\t"
				 "add $3, %%rcx\n\tlock cmpxchg16b %2\n\tsetz %3"
				 : "+a"(low), "+d"(high), "+m"(wide), "=r"(equal)
				 :
				 : "rbx", "rcx", "cc", "memory");
	while (!equal);
}

static void count_under_locks(void)
{
	do
		pause();
	while (__extension__({
		bool was;
		__asm__ volatile("lock btsl $3, %0\n\tsetc %1"
				 : "+m"(counters.bit_lock), "=r"(was)
				 :
				 : "cc", "memory");
		was;
	}));
	counters.locked_plain++;
	__asm__ volatile("lock btrl $3, %0" : "+m"(counters.bit_lock) : : "cc", "memory");
	for (uint32_t one = 1; one;) {
		__asm__ volatile("xchgl %0, %1" : "+r"(one), "+m"(counters.swap_lock) : : "memory");
		if (one)
			pause();
	}
	counters.swapped_plain++;
	__asm__ volatile("" : : : "memory");
	counters.swap_lock = 0;
}

static void count(unsigned number)
{
	meet();
	for (unsigned i = 0; i < rounds; i++) {
		uint32_t one = 1, old = counters.exchanged, before;

		add(&counters.aligned, 1);
		__asm__ volatile("lock addq %1, %0"
				 : "+m"(split[LINE_AT])
				 : "r"(1ull)
				 : "cc", "memory");
		__asm__ volatile("lock incw %0" : "+m"(split[LINE2_AT]) : : "cc", "memory");
		__asm__ volatile("lock addq %1, %0"
				 : "+m"(split[PAGE_END])
				 : "r"(1ull)
				 : "cc", "memory");
		__asm__ volatile("lock xaddl %0, %1"
				 : "+r"(one), "+m"(counters.added)
				 :
				 : "cc", "memory");
		do {
			before = old;
			__asm__ volatile("lock cmpxchgl %2, %1"
					 : "+a"(old), "+m"(counters.exchanged)
					 : "r"(before + 1)
					 : "cc", "memory");
		} while (old != before);
		/* Neighbours in one word. */
		__asm__ volatile("lock incb %0" : "+m"(counters.bytes[number]) : : "cc", "memory");
		count_wide();
		if (i % 16 == 0)
			count_under_locks();
	}
}

static void counts(void)
{
	uint32_t all = cpus * rounds, some = cpus * ((rounds + 15) / 16);

	together(count);
	CHECK(counters.aligned, all);
	CHECK(counters.added, all);
	CHECK(counters.exchanged, all);
	CHECK(counters.locked_plain, some);
	CHECK(counters.swapped_plain, some);
	CHECK(split_get(LINE_AT), all);
	CHECK(split_get(LINE2_AT) & 0xffff, all & 0xffff);
	CHECK(split_get(PAGE_END), all);
	CHECK(wide[0], all);
	CHECK(wide[1], 3ull * all);
	for (unsigned i = 0; i < cpus; i++)
		CHECK(counters.bytes[i], rounds & 0xff);
}

/* Message passing: stores are seen in their order. */
static volatile uint32_t message[64], flag[64];

static void pass(unsigned number)
{
	volatile uint32_t *data = &message[0], *ready = &flag[32];

	for (unsigned i = 1; number < 2 && i <= rounds; i++) {
		if (number == 0) {
			*data = i;
			*ready = i;
		} else {
			uint32_t seen = *ready;

			if (*data < seen) {
				CHECK(*data, seen);
				return;
			}
		}
	}
}

/* Who of two says first that he comes, and looks then, sees the other: with a locked instruction.
 */
static volatile uint32_t mine[2][16], both;

static void rendezvous(unsigned number)
{
	for (unsigned i = 1; i <= rounds / 100; i++) {
		uint32_t other = 0;

		meet();
		if (number < 2) {
			uint32_t value = i;

			__asm__ volatile("xchgl %0, %1"
					 : "+r"(value), "+m"(mine[number][0])
					 :
					 : "memory");
			other = mine[1 - number][0];
			if (other != i)
				add(&both, 1);
		}
		meet();
		/* At most one came too early. */
		if (number == 0) {
			if (both > 1) {
				CHECK(both, 1);
				both = 0;
			}
			both = 0;
		}
		meet();
	}
}

static void calls(void)
{
	uint32_t expected = 0, set = (1u << cpus) - 2;

	answered = nmis = 0;
	for (unsigned i = 0; i < CPUS_MAX; i++)
		answers[i] = 0;
	for (unsigned i = 0; i < 50; i++) {
		for (unsigned to = 1; to < cpus; to++) {
			apic_send(to, IPI_FIXED | IPI_ASSERT | 0x41);
			await("an answer", &answered, ++expected);
			CHECK(answers[to], 2 * i + 1);
		}
		apic_send(0, IPI_OTHERS | IPI_ASSERT | 0x41);
		expected += cpus - 1;
		await("all answers", &answered, expected);
	}
	CHECK(answers[0], 0);
	/* By a set of logical ids; the lowest priority is one of them. */
	apic_send(set, IPI_FIXED | IPI_ASSERT | 0x800 | 0x41);
	expected += cpus - 1;
	await("logical answers", &answered, expected);
	apic_send(set, 0x100 | IPI_ASSERT | 0x800 | 0x41);
	await("one answer", &answered, ++expected);
	delay(10000000);
	CHECK(answered, expected);
	apic_send(1, IPI_NMI | IPI_ASSERT);
	await("an NMI", &nmis, 1);
}

/* All in x2APIC mode: logical ids are given there, of cluster 0 here. */
static void switch_over(unsigned number)
{
	interrupts_off();
	meet();
	wrmsr(APIC_BASE_MSR, rdmsr(APIC_BASE_MSR) | APIC_BASE_X2);
	if (rdmsr(0x802) != number || rdmsr(0x80d) != 1u << number)
		CHECK(rdmsr(0x80d), 1u << number);
	meet();
	if (number == 0)
		x2apic = true;
	meet();
}

/* HLT until called. */
static volatile uint32_t asleep;

static void sleeps(unsigned number)
{
	uint32_t before = answers[number];

	if (number == 0)
		return;
	interrupts_off();
	add(&asleep, 1);
	while (answers[number] == before)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
}

static void wakes(void)
{
	for (unsigned i = 0; i < 20; i++) {
		asleep = 0;
		done = 0;
		work = sleeps;
		add(&generation, 1);
		await("sleepers", &asleep, cpus - 1);
		if (i % 2)
			delay(1000000);
		apic_send(0, IPI_OTHERS | IPI_ASSERT | 0x41);
		await("woken", &done, cpus - 1);
	}
}

/* A page is taken away from under the others: after the shoot-down nobody sees it. */
static volatile uint32_t turn, stale;

static void look(unsigned number)
{
	static uint32_t pages[2][1024] __attribute__((aligned(4096)));
	volatile uint32_t *at = (volatile uint32_t *)PAGE_AT;

	if (number) {
		interrupts_on();
		while (turn <= 100) {
			uint32_t now = turn;

			/* Turns are announced behind the shoot-down of the one before. */
			if (*at < now)
				add(&stale, 1);
		}
		return;
	}
	for (unsigned i = 0; i <= 100; i++) {
		pages[i % 2][0] = i + 1;
		*page_entry(PAGE_AT) = (uint64_t)pages[i % 2] | 3;
		invlpg(PAGE_AT);
		flushed = 0;
		apic_send(0, IPI_OTHERS | IPI_ASSERT | 0x42);
		await("shoot-down", &flushed, cpus - 1);
		turn = i + 1;
	}
}

static void shoot_down(void)
{
	static uint32_t first[1024] __attribute__((aligned(4096)));

	*page_entry(PAGE_AT) = (uint64_t)first | 3;
	invlpg(PAGE_AT);
	together(look);
	CHECK(stale, 0);
}

/* Code that one modifies and others run, each behind a serializing instruction. */
static uint8_t code[4096] __attribute__((aligned(4096)));
static volatile uint32_t version, wrong;

static uint32_t code_run(unsigned offset)
{
	return ((uint32_t(*)(void))(code + offset))();
}

static void code_write(unsigned offset, uint32_t value)
{
	volatile uint8_t *at = code + offset;

	at[0] = 0xb8; /* mov $value, %eax; ret */
	for (unsigned i = 0; i < 4; i++)
		at[1 + i] = (uint8_t)(value >> 8 * i);
	at[5] = 0xc3;
}

static void modify(unsigned number)
{
	for (uint32_t i = 1; i <= 50; i++) {
		if (number == 0) {
			code_write(0, i * 0x01010101);
			version = i;
		}
		meet();
		serialize();
		if (code_run(0) != i * 0x01010101)
			add(&wrong, 1);
		/* And one's own, in a line of the same page. */
		code_write(64 * (number + 1), number << 16 | i);
		serialize();
		if (code_run(64 * (number + 1)) != (number << 16 | i))
			add(&wrong, 1);
		meet();
	}
}

/* INIT stops one that runs; SIPI starts it again. */
static volatile uint32_t beats;

static void beat(unsigned number)
{
	while (number == 1)
		beats++;
}

static void starts(void)
{
	CHECK(ap_started, cpus - 1);
	CHECK(*(volatile uint16_t *)(TRAMPOLINE + (uint64_t)(seen_cs - trampoline)), 0x800);
	CHECK(*(volatile uint32_t *)(TRAMPOLINE + (uint64_t)(seen_cr0 - trampoline)) & 0x80000001,
	      0);
	CHECK(*(volatile uint16_t *)(TRAMPOLINE + (uint64_t)(seen_sp - trampoline)), 0);
}

static void restart(void)
{
	uint32_t before;

	done = 0;
	work = beat;
	add(&generation, 1);
	await("the others", &done, cpus - 2);
	while (!beats)
		pause();
	apic_send(1, IPI_INIT | IPI_ASSERT);
	delay(30000000);
	before = beats;
	delay(10000000);
	CHECK(beats, before);
	CHECK(ap_started, cpus - 1);
	apic_send(1, IPI_STARTUP | IPI_ASSERT | (uint32_t)(TRAMPOLINE >> 12));
	await("online again", &online, cpus);
	CHECK(ap_started, cpus);
}

void guest_main(void)
{
	guest_setup();
	if (emulated)
		rounds = 2000;
	gate_set(2, on_nmi, 0, 0x8e);
	gate_set(0x41, on_call, 0, 0x8e);
	gate_set(0x42, on_flush, 0, 0x8e);
	cpus_start();
	starts();
	counts();
	together(pass);
	together(rendezvous);
	calls();
	wakes();
	together(switch_over);
	calls();
	wakes();
	shoot_down();
	together(modify);
	CHECK(wrong, 0);
	restart();
	guest_end();
}
