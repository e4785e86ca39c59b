/* SPDX-License-Identifier: MIT */
/*
 * Instructions that are not for users: what each raises at level 3 of 64-bit mode, and that memory
 * operands are not looked at before (AMD64 vol. 2, 6.6; vol. 3 under the instructions' names).
 */
#include "vmm/workload/guest.h"

#define COUNT(table) (sizeof(table) / sizeof(table[0]))

#define CR4_TSD  (1ull << 2)
#define CR4_UMIP (1ull << 11)
#define NONE     3 /* the INT3 behind it */

static uint8_t page[4096] __attribute__((aligned(4096)));
static uint64_t *entry;

/* Memory operands are at RSI, which cannot be reached; RAX to RDX are 0. */
#define CODE(...)                                                                                  \
	{                                                                                          \
		__VA_ARGS__, 0xcc                                                                  \
	}

struct instruction {
	const char *name;
	uint8_t vector;
	uint8_t code[8];
};

static const struct instruction cases[] = {
	{"hlt", 13, CODE(0xf4)},
	{"cli", 13, CODE(0xfa)},
	{"sti", 13, CODE(0xfb)},
	{"clts", 13, CODE(0x0f, 0x06)},
	{"lgdt", 13, CODE(0x0f, 0x01, 0x16)},
	{"lidt", 13, CODE(0x0f, 0x01, 0x1e)},
	{"lmsw", 13, CODE(0x0f, 0x01, 0xf0)},
	{"lmsw memory", 13, CODE(0x0f, 0x01, 0x36)},
	{"invlpg", 13, CODE(0x0f, 0x01, 0x3e)},
	{"swapgs", 13, CODE(0x0f, 0x01, 0xf8)},
	{"lldt", 13, CODE(0x0f, 0x00, 0xd0)},
	{"ltr", 13, CODE(0x0f, 0x00, 0xd8)},
	{"ltr memory", 13, CODE(0x0f, 0x00, 0x1e)},
	{"mov cr0", 13, CODE(0x0f, 0x20, 0xc0)},
	{"mov to cr0", 13, CODE(0x0f, 0x22, 0xc0)},
	{"mov cr2", 13, CODE(0x0f, 0x20, 0xd0)},
	{"mov cr3", 13, CODE(0x0f, 0x20, 0xd8)},
	{"mov cr4", 13, CODE(0x0f, 0x20, 0xe0)},
	{"mov cr8", 13, CODE(0x44, 0x0f, 0x20, 0xc0)},
	{"mov dr0", 13, CODE(0x0f, 0x21, 0xc0)},
	{"mov dr7", 13, CODE(0x0f, 0x21, 0xf8)},
	{"mov to dr6", 13, CODE(0x0f, 0x23, 0xf0)},
	{"rdmsr", 13, CODE(0x0f, 0x32)},
	{"wrmsr", 13, CODE(0x0f, 0x30)},
	{"in", 13, CODE(0xe4, 0x80)},
	{"out dx", 13, CODE(0xef)},
	{"insb", 13, CODE(0x6c)},
	{"outsb", 13, CODE(0x6e)}, /* before its memory is looked at */
	{"ud2", 6, CODE(0x0f, 0x0b)},
	{"clac", 6, CODE(0x0f, 0x01, 0xca)},
	{"stac", 6, CODE(0x0f, 0x01, 0xcb)},
	{"mov cr1", 6, CODE(0x0f, 0x20, 0xc8)},
	{"mov to cs", 6, CODE(0x8e, 0xc8)},
	{"int 13", 13, CODE(0xcd, 0x0d)}, /* a gate of level 0 */
	{"int1", 1, CODE(0xf1)},          /* its gate's level does not count */
	{"sgdt", 14, CODE(0x0f, 0x01, 0x06)},
	{"smsw", NONE, CODE(0x0f, 0x01, 0xe0)},
	{"sldt", NONE, CODE(0x0f, 0x00, 0xc0)},
	{"str", NONE, CODE(0x0f, 0x00, 0xc8)},
	{"rdtsc", NONE, CODE(0x0f, 0x31)},
	{"cpuid", NONE, CODE(0x0f, 0xa2)},
	{"pushf", NONE, CODE(0x9c)},
	{"syscall without SCE", 6, CODE(0x0f, 0x05)},
	/* Not in 64-bit mode. */
	{"push es", 6, CODE(0x06)},
	{"aaa", 6, CODE(0x37)},
	{"pusha", 6, CODE(0x60)},
	{"into", 6, CODE(0xce)},
	{"far jump", 6, CODE(0xea, 0, 0, 0, 0, 0)},
	{"lds", 6, CODE(0xc5, 0x06)},
	/* Locked what cannot be. */
	{"lock mov", 6, CODE(0xf0, 0x89, 0x06)},
	{"lock nop", 6, CODE(0xf0, 0x90)},
	{"lock add register", 6, CODE(0xf0, 0x01, 0xc0)},
};

/* QEMU leaves the first two to who intercepts them, and has another order of checks for the third.
 */
static const struct instruction not_emulated[] = {
	{"invd", 13, CODE(0x0f, 0x08)},
	{"wbinvd", 13, CODE(0x0f, 0x09)},
	{"sysret without SCE", 6, CODE(0x48, 0x0f, 0x07)},
};

static const struct {
	const char *name;
	uint64_t cr4;
	uint8_t code[8];
} under_cr4[] = {
	{"sgdt", CR4_UMIP, CODE(0x0f, 0x01, 0x06)}, {"sidt", CR4_UMIP, CODE(0x0f, 0x01, 0x0e)},
	{"smsw", CR4_UMIP, CODE(0x0f, 0x01, 0xe0)}, {"sldt", CR4_UMIP, CODE(0x0f, 0x00, 0xc0)},
	{"str", CR4_UMIP, CODE(0x0f, 0x00, 0xc8)},  {"rdtsc", CR4_TSD, CODE(0x0f, 0x31)},
};

static void as_user(void *argument)
{
	(void)argument;
	__asm__ volatile("push %0\n\tpush %1\n\tpush $2\n\tpush %2\n\tpush %3\n\t"
			 "xor %%eax, %%eax\n\txor %%ecx, %%ecx\n\txor %%edx, %%edx\n\t"
			 "xor %%ebx, %%ebx\n\tmov $0x200000, %%esi\n\tmov %%esi, %%edi\n\tiretq"
			 :
			 : "i"(USER_DS), "r"(PAGE_AT + 4096), "i"(USER_CS), "r"(PAGE_AT)
			 : "memory");
}

static void run(const char *name, const uint8_t *code, unsigned vector)
{
	unsigned failures = guest_failures;

	for (unsigned i = 0; i < 8; i++)
		page[i] = code[i];
	trap_catch(as_user, 0);
	CHECK(trap_seen.vector, vector);
	CHECK(trap_seen.cs, USER_CS);
	if (vector == 13)
		CHECK(trap_seen.error, code[0] == 0xcd ? code[1] * 8 + 2 : 0);
	if (vector == 14)
		CHECK(trap_seen.cr2, 0x200000);
	if (vector != NONE && vector != 1)
		CHECK(trap_seen.rip, PAGE_AT);
	if (guest_failures != failures) {
		guest_print(name);
		guest_print("\n");
	}
}

static bool has_umip(void)
{
	uint32_t a = 7, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return c >> 2 & 1;
}

void guest_main(void)
{
	guest_setup();
	table4[0] |= 4;
	entry = page_entry(PAGE_AT);
	*entry = (uint64_t)page | 7;
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~1ull);
	for (unsigned i = 0; i < COUNT(cases); i++)
		run(cases[i].name, cases[i].code, cases[i].vector);
	for (unsigned i = 0; i < COUNT(not_emulated) && !emulated; i++)
		run(not_emulated[i].name, not_emulated[i].code, not_emulated[i].vector);
	for (unsigned i = 0; i < COUNT(under_cr4); i++) {
		if (under_cr4[i].cr4 == CR4_UMIP && !has_umip())
			continue;
		cr4_set(cr4_get() | under_cr4[i].cr4);
		run(under_cr4[i].name, under_cr4[i].code, 13);
		cr4_set(cr4_get() & ~under_cr4[i].cr4);
	}
	guest_end();
}
