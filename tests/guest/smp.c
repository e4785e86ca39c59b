/* SPDX-License-Identifier: MIT */
/*
 * Several processors: INIT and SIPI, locked instructions, interrupts among them, TLB shoot-down,
 * code that another one modifies (AMD64 vol. 2, 7.3, 7.6 and 16.5; SDM vol. 3, chapters 9 and 10).
 * The word "cpus=N" says how many there are.
 */
#include <stddef.h>

#include "tests/guest/apic.h"

#define TRAMPOLINE 0x8000ull
#define CPUS_MAX   8
#define PATIENCE   30000000000ull /* of the TSC: about ten seconds */

bool x2apic;

/* Real mode at SIPI's page; 32 bits, 64 bits, and ap_main on a stack of its own. */
extern const char trampoline[], trampoline_end[];
void ap_main(unsigned number);
__asm__(".code16\n"
	"trampoline: mov %cs, %ax\n"
	"mov %ax, %ds\n"
	"mov %ax, seen_cs - trampoline\n"
	"mov %cr0, %eax\n"
	"mov %eax, seen_cr0 - trampoline\n"
	"mov %sp, seen_sp - trampoline\n"
	"lgdtl ap_gdt - trampoline\n"
	"mov %cr0, %eax\n"
	"and $0x9fffffff, %eax\n" /* caches: CD and NW are set after INIT */
	"or $1, %al\n"
	"mov %eax, %cr0\n"
	"ljmpl $0x30, $ap_32\n"
	".balign 8\n"
	"ap_gdt: .word 0x4f\n.long gdt\n"
	".balign 8\n"
	".globl seen_cs, seen_cr0, seen_sp\n"
	"seen_cs: .long 0\nseen_cr0: .long 0\nseen_sp: .long 0xffffffff\n"
	"trampoline_end:\n"
	".code32\n"
	"ap_32: mov $0x10, %eax\n"
	"mov %eax, %ds\n"
	"mov $0x620, %eax\n"
	"mov %eax, %cr4\n"
	"mov $table4, %eax\n"
	"mov %eax, %cr3\n"
	"mov $0xc0000080, %ecx\n"
	"rdmsr\n"
	"or $0x901, %eax\n"
	"wrmsr\n"
	"mov $0x80010031, %eax\n"
	"mov %eax, %cr0\n"
	"ljmp $0x08, $ap_64\n"
	".code64\n"
	"ap_64: mov $0x10, %eax\n"
	"mov %eax, %ds\n"
	"mov %eax, %es\n"
	"mov %eax, %ss\n"
	"mov $1, %edi\n"
	"lock xadd %edi, ap_started\n"
	"inc %edi\n"
	"mov %edi, %eax\n"
	"shl $12, %rax\n"
	"lea ap_stacks(%rax), %rsp\n"
	"lidt idt_pointer\n"
	"call ap_main\n");
extern const char seen_cs[], seen_cr0[], seen_sp[];

uint32_t ap_started; /* how many times, all of them together */
uint8_t ap_stacks[(CPUS_MAX + 8) * 4096] __attribute__((aligned(4096)));

static unsigned cpus = 2, rounds = 10000;

/* Work that all do together. */
static void (*volatile work)(unsigned number);
static volatile uint32_t generation, done, online;

static inline void pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

static bool patient(uint64_t start)
{
	pause();
	return tsc() - start < PATIENCE;
}

/* Wait until *at is `value`; a guest that waits too long has failed. */
static void await(const char *what, volatile uint32_t *at, uint32_t value)
{
	for (uint64_t start = tsc(); *at != value;)
		if (!patient(start)) {
			guest_print(what);
			check_equal(" after a long wait", 0, *at, value);
			guest_end();
		}
}

static void add(volatile uint32_t *at, uint32_t n)
{
	__asm__ volatile("lock addl %1, %0" : "+m"(*at) : "r"(n) : "memory", "cc");
}

void ap_main(unsigned number)
{
	uint32_t seen = generation;

	apic_write(APIC_SVR, APIC_ON | 0xff);
	if (!x2apic) /* which INIT leaves on */
		apic_write(APIC_LDR, 1u << (24 + number));
	add(&online, 1);
	for (;;) {
		interrupts_on();
		while (generation == seen)
			pause();
		seen = generation;
		work(number);
		add(&done, 1);
	}
}

static void together(void (*fn)(unsigned))
{
	done = 0;
	work = fn;
	add(&generation, 1);
	fn(0);
	await("done", &done, cpus - 1);
}

/* All at about the same time, within a piece of work. */
static void meet(void)
{
	static volatile uint32_t waiting, passed;
	uint32_t pass = passed, before = 1;

	__asm__ volatile("lock xaddl %0, %1" : "+r"(before), "+m"(waiting) : : "memory", "cc");
	if (before == cpus - 1) {
		waiting = 0;
		passed = pass + 1;
		return;
	}
	while (passed == pass)
		pause();
}

/* Interrupts among them. */

static volatile uint32_t answers[CPUS_MAX], answered, nmis, flushed;

static unsigned self(void)
{
	return apic_read(APIC_ID) >> (x2apic ? 0 : 24);
}

__attribute__((interrupt)) static void on_call(struct frame *frame)
{
	(void)frame;
	answers[self()]++;
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

static void delay(uint64_t ticks)
{
	for (uint64_t start = tsc(); tsc() - start < ticks;)
		pause();
}

static void start(void)
{
	volatile uint8_t *to = (volatile uint8_t *)TRAMPOLINE;

	for (size_t i = 0; i < (size_t)(trampoline_end - trampoline); i++)
		to[i] = (uint8_t)trampoline[i];
	for (unsigned i = 1; i < cpus; i++) {
		apic_send(i, IPI_INIT | IPI_ASSERT);
		delay(10000000);
		apic_send(i, IPI_STARTUP | IPI_ASSERT | (uint32_t)(TRAMPOLINE >> 12));
		await("online", &online, i);
		/* A second one is for nobody. */
		apic_send(i, IPI_STARTUP | IPI_ASSERT | (uint32_t)(TRAMPOLINE >> 12));
	}
	delay(10000000);
	CHECK(ap_started, cpus - 1);
	CHECK(*(volatile uint16_t *)(TRAMPOLINE + (uint64_t)(seen_cs - trampoline)), 0x800);
	CHECK(*(volatile uint32_t *)(TRAMPOLINE + (uint64_t)(seen_cr0 - trampoline)) & 0x80000001,
	      0);
	CHECK(*(volatile uint16_t *)(TRAMPOLINE + (uint64_t)(seen_sp - trampoline)), 0);
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

static void serialize(void)
{
	uint32_t a = 0, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
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
	for (unsigned i = 2; i <= CPUS_MAX; i++) {
		char word[] = "cpus=0";

		word[5] = (char)('0' + i);
		if (guest_told(word))
			cpus = i;
	}
	if (emulated)
		rounds = 2000;
	gate_set(2, on_nmi, 0, 0x8e);
	gate_set(0x41, on_call, 0, 0x8e);
	gate_set(0x42, on_flush, 0, 0x8e);
	apic_write(APIC_SVR, APIC_ON | 0xff);
	apic_write(APIC_LDR, 1u << 24);
	start();
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
