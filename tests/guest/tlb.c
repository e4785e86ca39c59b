/* SPDX-License-Identifier: MIT */
/*
 * What changes in page tables must be seen after which instruction (AMD64 vol. 2, 5.5; SDM vol. 3,
 * 5.10): INVLPG, CR3, CR4, large pages, permissions.
 */
#include "vmm/workload/guest.h"

#define P (1ull << 0)
#define W (1ull << 1)
#define A (1ull << 5)
#define D (1ull << 6)
#define L (1ull << 7) /* a large page */
#define G (1ull << 8)

#define CR4_PGE (1ull << 7)
#define CR0_WP  (1ull << 16)

#define LARGE_AT 0x180000000ull /* 6 GiB */

static uint64_t page[2][512] __attribute__((aligned(4096)));
static uint64_t *entry;

static uint64_t get(uint64_t address)
{
	return *(volatile uint64_t *)address;
}

static void put(void *address)
{
	*(volatile uint64_t *)address = 0x77;
}

static void load(void *address)
{
	get((uint64_t)address);
}

static void map(unsigned which, uint64_t bits)
{
	*(volatile uint64_t *)entry = (uint64_t)page[which] | bits;
}

static void small_pages(void)
{
	page[0][0] = 10;
	page[1][0] = 11;
	map(0, P | W);
	invlpg(PAGE_AT);
	CHECK(get(PAGE_AT), 10);
	map(1, P | W);
	invlpg(PAGE_AT + 0x123); /* any address of it */
	CHECK(get(PAGE_AT), 11);
	map(0, P | W);
	cr3_set(cr3_get());
	CHECK(get(PAGE_AT), 10);
	/* What was not there is not kept. */
	*entry = 0;
	invlpg(PAGE_AT);
	trap_catch(load, (void *)PAGE_AT);
	CHECK_TRAP(14, 0);
	map(1, P | W);
	CHECK(get(PAGE_AT), 11);
	/* A page that was read is written: D is set now. */
	CHECK(*entry & (A | D), A);
	put((void *)PAGE_AT);
	CHECK(*entry & (A | D), A | D);
	page[1][0] = 11;
}

static void global_pages(void)
{
	cr4_set(cr4_get() | CR4_PGE);
	map(0, P | W | G);
	invlpg(PAGE_AT);
	CHECK(get(PAGE_AT), 10);
	map(1, P | W | G);
	invlpg(PAGE_AT);
	CHECK(get(PAGE_AT), 11);
	map(0, P | W | G);
	cr4_set(cr4_get() & ~CR4_PGE);
	CHECK(get(PAGE_AT), 10);
	/* Without PGE the bit is nothing. */
	map(1, P | W | G);
	cr3_set(cr3_get());
	CHECK(get(PAGE_AT), 11);
	cr4_set(cr4_get() | CR4_PGE);
	CHECK(get(PAGE_AT), 11);
	map(0, P | W);
	invlpg(PAGE_AT);
	cr4_set(cr4_get() & ~CR4_PGE);
}

static void permissions(void)
{
	map(0, P | W);
	invlpg(PAGE_AT);
	put((void *)PAGE_AT);
	map(0, P);
	invlpg(PAGE_AT);
	trap_catch(put, (void *)PAGE_AT);
	CHECK_TRAP(14, 3);
	/* CR0.WP counts at once, both ways. */
	cr0_set(cr0_get() & ~CR0_WP);
	trap_catch(put, (void *)PAGE_AT);
	CHECK(trap_seen.vector, -1);
	cr0_set(cr0_get() | CR0_WP);
	trap_catch(put, (void *)PAGE_AT);
	CHECK_TRAP(14, 3);
	page[0][0] = 10;
}

/* One entry of 2 MiB; INVLPG of any address in it is of all of it. */
static void large_pages(void)
{
	static uint64_t level2[512] __attribute__((aligned(4096)));
	static uint64_t level1[512] __attribute__((aligned(4096)));
	uint64_t *level3 = (uint64_t *)(table4[0] & ~4095ull);
	/* Two that are free: 16 MiB and 18 MiB. */
	volatile uint64_t *first = (uint64_t *)0x1000000, *second = (uint64_t *)0x1200000;
	static const unsigned parts[] = {0, 0x1000, 0x54000, 0x1ff000};

	level3[LARGE_AT >> 30 & 511] = (uint64_t)level2 | 7;
	for (unsigned i = 0; i < 4; i++) {
		first[parts[i] / 8] = 100 + i;
		second[parts[i] / 8] = 200 + i;
	}
	level2[0] = (uint64_t)first | P | W | L;
	for (unsigned i = 0; i < 4; i++)
		CHECK(get(LARGE_AT + parts[i]), 100 + i);
	CHECK(level2[0] & (A | D), A);
	for (unsigned at = 0; at < 4; at++) {
		level2[0] = (uint64_t)(at % 2 ? first : second) | P | W | L;
		invlpg(LARGE_AT + parts[at] + 8);
		for (unsigned i = 0; i < 4; i++)
			CHECK(get(LARGE_AT + parts[i]), (at % 2 ? 100 : 200) + i);
	}
	/* Taken apart into small ones, of which one is elsewhere and one is not there. */
	for (unsigned i = 0; i < 512; i++)
		level1[i] = (0x1000000ull + 4096 * i) | P | W;
	level1[1] = 0x1201000ull | P | W;
	level1[0x54] = 0;
	level2[0] = (uint64_t)level1 | 7;
	invlpg(LARGE_AT);
	CHECK(get(LARGE_AT), 100);
	CHECK(get(LARGE_AT + 0x1000), 201);
	CHECK(get(LARGE_AT + 0x1ff000), 103);
	trap_catch(load, (void *)(LARGE_AT + 0x54000));
	CHECK_TRAP(14, 0);
	/* A table taken away as a whole. */
	level2[0] = 0;
	cr3_set(cr3_get());
	trap_catch(load, (void *)LARGE_AT);
	CHECK_TRAP(14, 0);
	level3[LARGE_AT >> 30 & 511] = 0;
	invlpg(LARGE_AT);
}

/* The same linear address in two address spaces. */
static void spaces(void)
{
	static uint64_t other4[512] __attribute__((aligned(4096)));
	static uint64_t tables[3][512] __attribute__((aligned(4096)));
	uint64_t mine = cr3_get();
	uint64_t at = 0x7f0000000000ull;

	for (unsigned i = 0; i < 512; i++)
		other4[i] = table4[i];
	tables[0][at >> 30 & 511] = (uint64_t)tables[1] | 7;
	tables[1][at >> 21 & 511] = (uint64_t)tables[2] | 7;
	tables[2][at >> 12 & 511] = (uint64_t)page[0] | 7;
	other4[at >> 39 & 511] = (uint64_t)tables[0] | 7;
	for (unsigned i = 0; i < 3000; i++) {
		cr3_set((uint64_t)other4);
		if (get(at) != 10)
			CHECK(get(at), 10);
		cr3_set(mine);
		trap_catch(load, (void *)at);
		if (trap_seen.vector != 14)
			CHECK(trap_seen.vector, 14);
	}
}

void guest_main(void)
{
	guest_setup();
	entry = page_entry(PAGE_AT);
	small_pages();
	global_pages();
	permissions();
	large_pages();
	spaces();
	guest_end();
}
