/* SPDX-License-Identifier: MIT */
/*
 * More code than a translator keeps: very many short blocks, blocks of very many accesses, blocks
 * of very many vector instructions; on one processor while others wait or modify code, and on all.
 */
#include "vmm/workload/cpus.h"

#define REGION_AT   0x1000000ull /* 16 MiB: a region for each processor */
#define REGION_SIZE 0x600000ull

#define SHORT_BLOCKS  270000u
#define ACCESS_BLOCKS 9000u
#define VECTOR_BLOCKS 18000u
#define IN_BLOCK      60u

static unsigned part = 1; /* of those figures, one in so many */
static uint64_t counters[CPUS_MAX][8] __attribute__((aligned(64)));

static uint8_t *region(unsigned number)
{
	return (uint8_t *)(REGION_AT + number * REGION_SIZE);
}

static uint8_t *put(uint8_t *at, uint64_t bytes, unsigned count)
{
	__asm__ volatile("mov %1, (%0)" : : "r"(at), "r"(bytes) : "memory");
	return at + count;
}

/* RDI: where the code is; RSI: what RBX is to it; returns RAX and the low half of XMM0. */
uint64_t volume_run(const void *code, void *memory, uint64_t *vector);
__asm__("volume_run: push %rbx\n push %rdx\n mov %rsi, %rbx\n xor %eax, %eax\n pxor %xmm0, %xmm0\n"
	"pcmpeqd %xmm1, %xmm1\n call *%rdi\n pop %rdx\n movq %xmm0, (%rdx)\n pop %rbx\n ret");

/* `count` blocks of `in_block` times an instruction, and a jump to the next block. */
static void volume_make(unsigned number, unsigned count, unsigned in_block, uint64_t insn,
			unsigned length)
{
	uint8_t *at = region(number);

	for (unsigned i = 0; i < count; i++) {
		for (unsigned k = 0; k < in_block; k++)
			at = put(at, insn, length);
		at = put(at, 0x00eb, 2);
	}
	put(at, 0xc3, 1);
}

static void short_blocks(unsigned number)
{
	unsigned count = SHORT_BLOCKS / part;
	uint64_t vector;

	volume_make(number, count, 1, 0xc0ff, 2); /* inc %eax */
	for (unsigned i = 0; i < 2; i++)
		CHECK(volume_run(region(number), 0, &vector), count);
}

static void access_blocks(unsigned number)
{
	unsigned count = ACCESS_BLOCKS / part;
	uint64_t vector, *mine = counters[number];

	mine[1] = 0;
	volume_make(number, count, IN_BLOCK, 0x01084383, 4); /* addl $1, 8(%rbx) */
	for (unsigned i = 1; i <= 2; i++) {
		volume_run(region(number), mine, &vector);
		CHECK(mine[1], i * count * IN_BLOCK);
	}
}

static void vector_blocks(unsigned number)
{
	unsigned count = VECTOR_BLOCKS / part;
	uint32_t sum = 0u - count * IN_BLOCK;
	uint64_t vector;

	volume_make(number, count, IN_BLOCK, 0xc1fe0f66, 4); /* paddd %xmm1, %xmm0 */
	for (unsigned i = 0; i < 2; i++) {
		volume_run(region(number), 0, &vector);
		CHECK(vector, (uint64_t)sum << 32 | sum);
	}
}

volatile uint32_t over;

/* Without a PAUSE: nothing stops a loop but an interrupt. */
static void spin(void)
{
	__asm__ volatile("1: cmpl $0, over\n\tje 1b" : : : "memory", "cc");
}

/* Code written and run in turns, in a page of one's own. */
static void modify(unsigned number)
{
	uint8_t *at = region(number);

	for (uint32_t i = 1; !over; i++) {
		put(at, 0xb8 | (uint64_t)i << 8 | 0xc3ull << 40, 6);
		if (((uint32_t(*)(void))(uint64_t)at)() != i)
			CHECK(i, 0);
	}
}

__attribute__((interrupt)) static void on_call(struct frame *frame)
{
	(void)frame;
	apic_write(APIC_EOI, 0);
}

static void one_and_spinners(unsigned number)
{
	if (number) {
		spin();
		return;
	}
	short_blocks(0);
	over = 1;
}

static void one_and_modifiers(unsigned number)
{
	if (number) {
		modify(number);
		return;
	}
	short_blocks(0);
	over = 1;
}

static void one_and_sleepers(unsigned number)
{
	if (number) {
		interrupts_off();
		while (!over)
			__asm__ volatile("sti; hlt; cli" : : : "memory");
		return;
	}
	access_blocks(0);
	vector_blocks(0);
	over = 1;
	apic_send(0, IPI_OTHERS | IPI_ASSERT | 0x41);
}

static void prepare(unsigned number)
{
	(void)number;
	vectors_on();
}

void guest_main(void)
{
	guest_setup();
	if (emulated)
		part = 20;
	gate_set(0x41, on_call, 0, 0x8e);
	cpus_start();
	together(prepare);
	together(one_and_spinners);
	over = 0;
	together(one_and_modifiers);
	over = 0;
	together(one_and_sleepers);
	together(short_blocks);
	guest_end();
}
