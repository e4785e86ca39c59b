/* SPDX-License-Identifier: MIT */
/*
 * Several processors that generate code, run it, and patch one another's while it runs: by an INT3
 * in the first byte meanwhile, as Linux does (text_poke_bp), and by turns with a serializing
 * instruction (AMD64 vol. 2, 7.6.1; SDM vol. 3, 9.1.3).
 */
#include "vmm/workload/cpus.h"

#define POKED 0xffffffffu /* what a function returns while it is patched */
#define ALIAS PAGE_AT     /* pokes are written there */

static unsigned rounds = 100;
static uint8_t code[CPUS_MAX][4096] __attribute__((aligned(4096)));

static uint64_t returns(uint32_t value)
{
	return 0xb8 | (uint64_t)value << 8 | 0xc3ull << 40; /* mov $value, %eax; ret */
}

static void store_8(void *at, uint64_t value)
{
	__asm__ volatile("mov %1, (%0)" : : "r"(at), "r"(value) : "memory");
}

static uint32_t call(const void *at)
{
	return ((uint32_t(*)(void))(uint64_t)at)();
}

static uint64_t added(volatile uint64_t *at, uint64_t n)
{
	__asm__ volatile("lock xaddq %0, %1" : "+r"(n), "+m"(*at) : : "memory", "cc");
	return n;
}

static volatile uint32_t synced, wrong, version, over;
uint32_t poked; /* how often that was seen */

/* An interrupt serializes where it ends. */
__attribute__((interrupt)) static void on_sync(struct frame *frame)
{
	(void)frame;
	apic_write(APIC_EOI, 0);
	add(&synced, 1);
}

/* The function as a whole is done by the handler: it returns POKED. */
extern const char on_int3[];
__asm__("on_int3: lock incl poked\n mov $0xffffffff, %eax\n addq $4, (%rsp)\n iretq");

static void sync_all(void)
{
	synced = 0;
	apic_send(0, IPI_OTHERS | IPI_ASSERT | 0x42);
	await("all to be synchronized", &synced, cpus - 1);
}

/* The three steps of text_poke_bp; what is written is the operand of the MOV. */
static void poke(uint32_t value)
{
	volatile uint8_t *at = (volatile uint8_t *)ALIAS;

	at[0] = 0xcc;
	serialize();
	sync_all();
	for (unsigned i = 0; i < 4; i++)
		at[1 + i] = (uint8_t)(value >> 8 * i);
	serialize();
	sync_all();
	at[0] = 0xb8;
	serialize();
	sync_all();
}

static void poke_or_run(unsigned number)
{
	interrupts_on();
	if (number == 0) {
		for (uint32_t i = 1; i <= rounds; i++) {
			poke(i);
			version = i;
		}
		over = 1;
		return;
	}
	while (!over) {
		uint32_t least = version, got = call(code[0]);

		if (got != POKED && (got < least || got > least + rounds))
			add(&wrong, 1);
	}
	if (call(code[0]) != rounds)
		add(&wrong, 1);
}

/* One changes the target of a call in one store; all see it behind a serializing instruction. */
static void patch_call(unsigned number)
{
	uint8_t *at = code[1];

	for (uint32_t i = 0; i < rounds; i++) {
		if (number == i % cpus) /* call; ret: the operand is aligned */
			*(volatile uint32_t *)(uint64_t)(at + 4) = 0x100 - 8 + 64 * (i % 8);
		meet();
		serialize();
		if (call(at + 3) != 1000 + i % 8)
			add(&wrong, 1);
		meet();
	}
}

/* Each patches its neighbour's function and is patched, with a token that says so. */
static volatile uint32_t token[CPUS_MAX][16];

static void neighbours(unsigned number)
{
	unsigned next = (number + 1) % cpus;

	for (uint32_t i = 1; i <= rounds; i++) {
		uint32_t value = number << 16 | i;

		store_8(code[next] + 0x800, returns(value));
		token[next][0] = i;
		await("a token", &token[number][0], i);
		serialize();
		value = (number + cpus - 1) % cpus << 16 | i;
		if (call(code[number] + 0x800) != value)
			add(&wrong, 1);
		meet();
	}
}

/*
 * One that the others run all the time is written twice, with nothing in between but time: what
 * they see then is the second, even if some came by meanwhile.
 */
void write_twice(uint8_t *operand, uint32_t first, uint32_t second);
__asm__(".balign 4096\nwrite_twice: mov %edx, %r8d\n mov %esi, (%rdi)\n mov $-1, %rcx\n"
	"xor %edx, %edx\n mov $1, %eax\n .rept 1200\n div %rcx\n .endr\n"
	"mov %r8d, (%rdi)\n ret\n .balign 4096");

static void write_twice_or_run(unsigned number)
{
	uint8_t *at = code[2];

	if (number == 0) {
		for (uint32_t i = 1; i <= 2 * rounds; i++) {
			write_twice(at + 1, 2 * i - 1, 2 * i);
			synced = 0;
			version = i;
			await("all to have run it", &synced, cpus - 1);
		}
		over = 1;
		return;
	}
	for (uint32_t seen = 0; !over;) {
		uint32_t now = version, got;

		serialize();
		got = call(at);
		if (got < 2 * now)
			add(&wrong, 1);
		if (now != seen)
			add(&synced, 1);
		seen = now;
	}
}

/*
 * Generated code of each processor adds to counters of all: they lie beside the code, so that each
 * add is a write to a page of code that another one runs.
 */
static volatile uint64_t *counter(unsigned number, unsigned which)
{
	return (volatile uint64_t *)(uint64_t)(code[number] + 0xc00) + which;
}

/* movabs $counter, %rdx; lock incq (%rdx); for each; ret */
static void make_adder(uint8_t *at, unsigned which)
{
	for (unsigned i = 0; i < cpus; i++) {
		store_8(at, 0xba48);
		store_8(at + 2, (uint64_t)counter(i, which));
		store_8(at + 10, 0x02ff48f0);
		at += 14;
	}
	*at = 0xc3;
}

static void count_beside(unsigned number)
{
	make_adder(code[number] + 0x400, number % 4);
	meet();
	for (unsigned i = 0; i < rounds; i++) {
		call(code[number] + 0x400);
		if (i % 16 == number) /* written anew, as it was */
			make_adder(code[number] + 0x400, number % 4);
	}
}

static void counts_beside(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < cpus; i++)
		for (unsigned which = 0; which < 4; which++)
			*counter(i, which) = 0;
	together(count_beside);
	for (unsigned i = 0; i < cpus; i++)
		for (unsigned which = 0; which < 4; which++)
			sum += *counter(i, which);
	CHECK(sum, (uint64_t)cpus * cpus * rounds);
}

/* Counters in pages of their own, by all kinds of locked instructions, in turns with new code. */
static uint64_t shared[8] __attribute__((aligned(64)));

static void count_and_patch(unsigned number)
{
	uint8_t *at = code[number] + 0x200;

	for (uint32_t i = 1; i <= 10 * rounds; i++) {
		uint64_t old = shared[1];
		bool equal;

		if (i % 8 == 0) {
			store_8(at, returns(i));
			if (call(at) != i)
				add(&wrong, 1);
		}
		added(&shared[0], 1);
		do
			__asm__ volatile("lock cmpxchgq %3, %1\n\tsete %2"
					 : "+a"(old), "+m"(shared[1]), "=q"(equal)
					 : "r"(old + 1)
					 : "memory", "cc");
		while (!equal);
		__asm__ volatile("lock btcq %1, %0"
				 : "+m"(shared[2])
				 : "r"((uint64_t)number)
				 : "memory", "cc");
		__asm__ volatile("lock subq $3, %0" : "+m"(shared[3]) : : "memory", "cc");
	}
}

static void on_all(unsigned number)
{
	(void)number;
	vectors_on();
	*page_entry(ALIAS) = (uint64_t)code[0] | 3;
	invlpg(ALIAS);
}

void guest_main(void)
{
	guest_setup();
	if (emulated)
		rounds = 50;
	gate_set(0x42, on_sync, 0, 0x8e);
	gate_set(3, on_int3, 0, 0x8e);
	cpus_start();
	together(on_all);
	store_8(code[0], returns(0));
	together(poke_or_run);
	CHECK(wrong, 0);
	code[1][3] = 0xe8;
	code[1][8] = 0xc3;
	for (unsigned i = 0; i < 8; i++)
		store_8(code[1] + 0x100 + 64 * i, returns(1000 + i));
	together(patch_call);
	CHECK(wrong, 0);
	version = over = 0;
	store_8(code[2], returns(0));
	together(write_twice_or_run);
	CHECK(wrong, 0);
	together(neighbours);
	CHECK(wrong, 0);
	counts_beside();
	together(count_and_patch);
	CHECK(wrong, 0);
	CHECK(shared[0], 10ull * rounds * cpus);
	CHECK(shared[1], 10ull * rounds * cpus);
	CHECK(shared[2], 0);
	CHECK(shared[3], -30ull * rounds * cpus);
	guest_end();
}
