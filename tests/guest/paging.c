/* SPDX-License-Identifier: MIT */
/* 4-level paging: permissions, error codes, CR2, accessed and dirty bits, SMEP and SMAP, levels. */
#include "vmm/workload/guest.h"

#define P  1ull
#define W  2ull
#define U  4ull
#define A  0x20ull
#define D  0x40ull
#define NX (1ull << 63)

static uint8_t page[4096] __attribute__((aligned(4096)));
static uint64_t *entry;

static void load(void *address)
{
	(void)*(volatile uint64_t *)address;
}

static void store(void *address)
{
	*(volatile uint64_t *)address = 1;
}

static void execute(void *address)
{
	((void (*)(void))address)();
}

static void map(uint64_t bits)
{
	*entry = bits & P ? (uint64_t)page | bits : bits;
	invlpg(PAGE_AT);
}

static void expect(void (*fn)(void *), uint64_t address, int64_t error)
{
	trap_catch(fn, (void *)address);
	if (error < 0) {
		CHECK(trap_seen.vector, -1);
		return;
	}
	CHECK_TRAP(14, error);
	CHECK(trap_seen.cr2, address);
}

static void supervisor(void)
{
	map(0);
	expect(load, PAGE_AT, 0);
	expect(store, PAGE_AT, 2);
	expect(execute, PAGE_AT, 0x10);
	map(P);
	expect(load, PAGE_AT, -1);
	CHECK(*entry & (A | D), A);
	expect(store, PAGE_AT, 3);
	CHECK(*entry & (A | D), A);
	cr0_set(cr0_get() & ~(1ull << 16));
	expect(store, PAGE_AT, -1);
	CHECK(*entry & (A | D), A | D);
	cr0_set(cr0_get() | 1ull << 16);
	map(P | W);
	expect(store, PAGE_AT, -1);
	CHECK(*entry & (A | D), A | D);
	page[0] = 0xc3;
	expect(execute, PAGE_AT, -1);
	map(P | W | NX);
	expect(execute, PAGE_AT, 0x11);
	map(P | W | 1ull << 51);
	/* QEMU, which emulates the testbed's CPU, forgets the bit that says "present" here. */
	trap_catch(load, (void *)PAGE_AT);
	CHECK(trap_seen.vector, 14);
	CHECK(trap_seen.error & 8, 8);
	/* Across two pages: the address of the first byte that faults. */
	map(P | W);
	entry[1] = 0;
	invlpg(PAGE_AT + 4096);
	trap_catch(store, (void *)(PAGE_AT + 4092));
	CHECK_TRAP(14, 2);
	CHECK(trap_seen.cr2, PAGE_AT + 4096);
	CHECK(*(volatile uint32_t *)(PAGE_AT + 4092), 0);
}

static void smep_smap(void)
{
	page[0] = 0xc3;
	map(P | W | U);
	expect(load, PAGE_AT, -1);
	expect(execute, PAGE_AT, -1);
	cr4_set(cr4_get() | 1ull << 20);
	expect(execute, PAGE_AT, 0x11);
	expect(load, PAGE_AT, -1);
	cr4_set(cr4_get() | 1ull << 21);
	expect(load, PAGE_AT, 1);
	expect(store, PAGE_AT, 3);
	__asm__ volatile("stac");
	expect(store, PAGE_AT, -1);
	__asm__ volatile("clac");
	cr4_set(cr4_get() & ~(3ull << 20));
}

static void to_user(void *rip)
{
	user_run((uint64_t)rip, 0);
}

/* What a user does: the code is in the page itself. */
static void user(uint64_t bits, const char *code, unsigned size, uint64_t vector, uint64_t error)
{
	map(P | W);
	for (unsigned i = 0; i < size; i++)
		((volatile uint8_t *)PAGE_AT)[i] = (uint8_t)code[i];
	map(bits);
	trap_catch(to_user, (void *)PAGE_AT);
	CHECK_TRAP(vector, error);
}

static void users(void)
{
	static const char load_kernel[] = "\x8b\x04\x25\x00\x00\x10\x00"; /* mov 0x100000, %eax */
	static const char hlt[] = "\xf4", int3[] = "\xcc", in[] = "\xe4\x80", cli[] = "\xfa";

	user(P | U, load_kernel, 7, 14, 5);
	CHECK(trap_seen.cr2, 0x100000);
	CHECK(trap_seen.cs, USER_CS);
	CHECK(trap_seen.ss, USER_DS);
	user(P, hlt, 1, 14, 0x15);
	user(P | U | NX, hlt, 1, 14, 0x15);
	user(P | U, hlt, 1, 13, 0);
	user(P | U, cli, 1, 13, 0);
	user(P | U, in, 2, 13, 0);
	user(P | U, int3, 1, 3, 0);
	CHECK(trap_seen.rip, PAGE_AT + 1);
}

/* Code that is written over, also through another address. */
static void modified_code(void)
{
	volatile uint8_t *alias = page;
	uint64_t (*fn)(void) = (uint64_t(*)(void))PAGE_AT;

	map(P | W);
	alias[0] = 0xb8; /* mov $1, %eax; ret */
	alias[1] = 1;
	alias[2] = alias[3] = alias[4] = 0;
	alias[5] = 0xc3;
	CHECK(fn(), 1);
	alias[1] = 2;
	CHECK(fn(), 2);
	((volatile uint8_t *)PAGE_AT)[1] = 3;
	CHECK(fn(), 3);
}

void guest_main(void)
{
	guest_setup();
	/* User pages need the bit at each level. */
	table4[0] |= U;
	entry = page_entry(PAGE_AT);
	supervisor();
	smep_smap();
	users();
	modified_code();
	guest_end();
}
