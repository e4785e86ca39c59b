/* SPDX-License-Identifier: MIT */
#include "vmm/workload/guest.h"

#define COM1        0x3f8
#define PM1_CONTROL 0x604 /* vmm/machine/board.h */
#define SLEEP_S5    (5u << 10 | 1u << 13)

unsigned guest_failures;
struct task_state task;
struct gate idt[256];
bool emulated, under_kvm;
struct {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed)) idt_pointer = {sizeof(idt) - 1, (uint64_t)idt};

/* Compilers call it for structs. */
void *memcpy(void *to, const void *from, uint64_t size);
void *memcpy(void *to, const void *from, uint64_t size)
{
	void *at = to;

	__asm__ volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(size) : : "memory");
	return to;
}

void guest_print(const char *text)
{
	for (; *text; text++)
		outb(COM1, (uint8_t)*text);
}

void guest_print_hex(uint64_t value)
{
	char text[17];

	for (unsigned i = 0; i < 16; i++)
		text[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
	text[16] = 0;
	guest_print(text);
}

void check_equal(const char *what, unsigned line, uint64_t value, uint64_t expected)
{
	if (value == expected)
		return;
	guest_failures++;
	guest_print("line ");
	guest_print_hex(line);
	guest_print(": ");
	guest_print(what);
	guest_print(" is ");
	guest_print_hex(value);
	guest_print(", not ");
	guest_print_hex(expected);
	guest_print("\n");
}

void gate_set(unsigned vector, const void *target, unsigned ist, unsigned type)
{
	uint64_t at = (uint64_t)target;

	idt[vector] = (struct gate){.low = (uint16_t)at,
				    .selector = KERNEL_CS,
				    .ist = (uint8_t)ist,
				    .type = (uint8_t)type,
				    .middle = (uint16_t)(at >> 16),
				    .high = (uint32_t)(at >> 32)};
}

/* PVH's start info has the command line's address at offset 24. */
bool guest_told(const char *word)
{
	const char *at = (const char *)*(const uint64_t *)(uint64_t)(start_info + 24);

	if (!at)
		return false;
	while (*at) {
		unsigned i = 0;

		while (word[i] && at[i] == word[i])
			i++;
		if (!word[i] && (!at[i] || at[i] == ' '))
			return true;
		while (*at && *at != ' ')
			at++;
		while (*at == ' ')
			at++;
	}
	return false;
}

void guest_setup(void)
{
	static uint8_t stacks[2][8192] __attribute__((aligned(16)));
	uint64_t base = (uint64_t)&task;

	emulated = guest_told("emulated");
	under_kvm = guest_told("kvm");
	/* Both 8259s: nothing, until a test asks for it. */
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	for (unsigned i = 0; i < 32; i++)
		gate_set(i, vectors + 16 * i, 0, i == 3 || i == 4 ? 0xee : 0x8e);
	__asm__ volatile("lidt %0" : : "m"(idt_pointer));
	task.rsp[0] = (uint64_t)(stacks[0] + sizeof(stacks[0]));
	task.ist[0] = (uint64_t)(stacks[1] + sizeof(stacks[1]));
	task.map = sizeof(task);
	gdt[TASK / 8] = (sizeof(task) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 |
			(base >> 24 & 0xff) << 56;
	gdt[TASK / 8 + 1] = base >> 32;
	__asm__ volatile("ltr %w0" : : "r"(TASK));
}

static uint32_t cpuid(uint32_t leaf, unsigned reg)
{
	uint32_t r[4] = {leaf};

	__asm__ volatile("cpuid" : "+a"(r[0]), "=b"(r[1]), "+c"(r[2]), "=d"(r[3]));
	return r[reg];
}

bool vectors_on(void)
{
	const uint32_t wanted = 1u << 26 | 1u << 28; /* XSAVE, AVX */

	__asm__ volatile("fninit");
	if ((cpuid(1, 2) & wanted) != wanted || (cpuid(0xd, 0) & 7) != 7)
		return false;
	cr4_set(cr4_get() | 1u << 18);
	__asm__ volatile("xsetbv" : : "c"(0), "a"(7), "d"(0));
	return true;
}

uint64_t *page_entry(uint64_t address)
{
	static uint64_t second[512] __attribute__((aligned(4096)));
	static uint64_t first[512] __attribute__((aligned(4096)));
	uint64_t *level3 = (uint64_t *)(table4[0] & ~4095ull);

	level3[address >> 30 & 511] = (uint64_t)second | 7;
	second[address >> 21 & 511] = (uint64_t)first | 7;
	return &first[address >> 12 & 511];
}

_Noreturn void guest_end(void)
{
	guest_print(guest_failures ? "failed\n" : "passed\n");
	outw(PM1_CONTROL, SLEEP_S5);
	for (;;)
		__asm__ volatile("cli\n\thlt");
}
