/* SPDX-License-Identifier: MIT */
/*
 * Paging outside long mode: two levels of 32-bit entries with and without 4 MiB pages, and PAE with
 * 2 MiB pages and NX (AMD64 vol. 2, 5.2; SDM vol. 3, 5.3 and 5.4).
 */
#include "tests/guest/legacy.h"

#define COUNT(table) (sizeof(table) / sizeof(table[0]))

#define P  1u
#define W  2u
#define U  4u
#define A  0x20u
#define D  0x40u
#define PS 0x80u

#define CR0_WP  0x10000u
#define CR0_PG  0x80000000u
#define CR4_PSE 0x10u
#define CR4_PAE 0x20u

#define AT     0x40000000u /* the page under test */
#define AT_BIG 0x80000000u /* a large one */

static uint32_t directory[1024] __attribute__((aligned(4096)));
static uint32_t table[1024] __attribute__((aligned(4096)));
static uint64_t pointers[4] __attribute__((aligned(4096)));
static uint64_t middle[3][512] __attribute__((aligned(4096)));
static uint64_t last[512] __attribute__((aligned(4096)));
static uint32_t page[1024] __attribute__((aligned(4096)));

#define ACCESS(name, text) CODE(32, name, #name "_at: " text "\n int3")
ACCESS(load, "mov (%ebx), %eax");
ACCESS(store, "mov %eax, (%ebx)");
ACCESS(execute, "call *%ebx");
ACCESS(push_across, "mov %ebx, %esp\n pushl $0x11223344");

/* Each time: QEMU marks them as accessed, and KVM refuses them then. */
static void pointers_make(void)
{
	UNLESS_EMULATED CHECK(pointers[0] & A, 0);
	for (unsigned i = 0; i < 3; i++)
		pointers[i] = (uint64_t)middle[i] | P;
}

struct access {
	unsigned level;
	bool protect; /* CR0.WP */
	const char *code;
	uint64_t upper, entry; /* bits of the two levels */
	int error;             /* of #PF; -1: none */
	unsigned marks;        /* A and D afterwards, of the last level */
};

static void run(const struct access *a, unsigned i, uint64_t *entry, bool wide)
{
	unsigned failures = guest_failures;
	uint32_t mark;

	job_reset(a->level);
	job.cr0 |= CR0_PG | (a->protect ? CR0_WP : 0);
	job.cr3 = wide ? ADDRESS(pointers) : ADDRESS(directory);
	job.cr4 = wide ? CR4_PAE : CR4_PSE;
	job.ebx = AT;
	page[0] = 0xc3; /* ret */
	pointers_make();
	legacy_run(a->code);
	CHECK(legacy_seen.vector, a->error < 0 ? 3 : 14);
	if (a->error >= 0) {
		/* QEMU forgets P where a reserved bit is at fault. */
		unsigned seen = legacy_seen.error | (emulated && legacy_seen.error & 8);

		CHECK(seen, a->error);
		CHECK(legacy_seen.cr2, AT);
	}
	mark = wide ? (uint32_t)*entry : table[0];
	CHECK(mark & (A | D), a->marks);
	if (guest_failures != failures)
		CHECK(i, -1);
}

/* The first 16 MiB are as they are, for users too. */
static void two_levels(void)
{
	static const struct access cases[] = {
		{0, false, load, P | W, P, -1, A},
		{0, false, load, P | W, 0, 0, 0},
		{0, false, store, P | W, 0, 2, 0},
		{0, false, load, 0, P, 0, 0},
		{0, false, store, P, P, -1, A | D}, /* without WP */
		{0, true, store, P, P | W, 3, 0},
		{0, true, store, P | W, P, 3, 0},
		{0, true, store, P | W, P | W, -1, A | D},
		{3, false, load, P | W, P | W | U, 5, 0},
		{3, false, load, P | W | U, P | W, 5, 0},
		{3, false, load, P | W | U, P | W | U, -1, A},
		{3, false, store, P | W | U, P | U, 7, 0},
		{3, false, store, P | W | U, P | W | U, -1, A | D},
		{3, false, load, P | W | U, U, 4, 0},
		{3, false, execute, P | W, P | W, 5, 0}, /* no bit for fetches without NX */
		{3, false, execute, P | W | U, P | U, -1, A},
	};

	for (unsigned i = 0; i < 4; i++)
		directory[i] = i << 22 | PS | P | W | U;
	for (unsigned i = 0; i < COUNT(cases); i++) {
		directory[AT >> 22] = ADDRESS(table) | (uint32_t)cases[i].upper;
		table[0] = ADDRESS(page) | (uint32_t)cases[i].entry;
		run(&cases[i], i, NULL, false);
	}
}

static void run_big(const char *code, uint32_t address, uint32_t cr4)
{
	job_reset(0);
	job.cr0 |= CR0_PG;
	job.cr3 = cr4 & CR4_PAE ? ADDRESS(pointers) : ADDRESS(directory);
	job.cr4 = cr4;
	job.ebx = address;
	pointers_make();
	legacy_run(code);
}

/* Pages of 4 MiB, and what the bit is without CR4.PSE: nothing. */
static void big_pages(void)
{
	uint32_t inside = ADDRESS(page) & 0x3fffff;

	page[0] = 0x600dcafe;
	directory[AT_BIG >> 22] = (ADDRESS(page) & 0xffc00000) | PS | P | W;
	run_big(load, AT_BIG + inside, CR4_PSE);
	CHECK(legacy_seen.vector, 3);
	CHECK(legacy_seen.eax, 0x600dcafe);
	CHECK(directory[AT_BIG >> 22] & (A | D), A);
	run_big(store, AT_BIG + inside, CR4_PSE);
	CHECK(directory[AT_BIG >> 22] & (A | D), A | D);
	/* Bit 21 is reserved. */
	directory[AT_BIG >> 22] |= 1u << 21;
	run_big(load, AT_BIG, CR4_PSE);
	CHECK(legacy_seen.vector, 14);
	CHECK(legacy_seen.error & ~1u, 8);
	/* Without PSE all of it must go by tables. */
	static uint32_t low_tables[4][1024] __attribute__((aligned(4096)));

	for (unsigned i = 0; i < 4096; i++)
		low_tables[i / 1024][i % 1024] = i << 12 | P | W | U;
	for (unsigned i = 0; i < 4; i++)
		directory[i] = ADDRESS(low_tables[i]) | P | W | U;
	directory[AT_BIG >> 22] = ADDRESS(table) | PS | P | W;
	table[0] = ADDRESS(page) | P | W;
	page[0] = 0x5ca1ab1e;
	run_big(load, AT_BIG, 0);
	CHECK(legacy_seen.vector, 3);
	CHECK(legacy_seen.eax, 0x5ca1ab1e);
	/* A push over two pages of which the lower is not there: nothing is written. */
	table[1] = ADDRESS(page) | P | W | U;
	table[0] = W | U;
	directory[AT_BIG >> 22] = ADDRESS(table) | P | W | U;
	page[0] = 0;
	job_reset(3);
	job.cr0 |= CR0_PG;
	job.cr3 = ADDRESS(directory);
	job.ebx = AT_BIG + 4096 + 2;
	legacy_run(push_across);
	CHECK(legacy_seen.vector, 14);
	CHECK(legacy_seen.error, 6);
	CHECK(legacy_seen.cr2, AT_BIG + 4094);
	CHECK(legacy_seen.esp, job.ebx);
	CHECK(page[0], 0);
}

#define NX (1ull << 63)

/* legacy.S leaves EFER.NXE as it was: set. */
static void pae(void)
{
	static const struct access cases[] = {
		{0, false, load, P | W, P, -1, A},
		{0, false, load, P | W, 0, 0, 0},
		{0, true, store, P, P | W, 3, 0},
		{0, true, store, P | W, P | W, -1, A | D},
		{3, false, store, P | W | U, P | W, 7, 0},
		{3, false, execute, P | W | U, P | W | U, -1, A},
		{3, false, execute, P | W | U, P | W | U | NX, 0x15, 0},
		{3, false, execute, P | W | U | NX, P | W | U, 0x15, 0},
		{0, false, execute, P | W, P | W | NX, 0x11, 0},
		{0, false, execute, P | W, 0, 0x10, 0},
		{3, false, load, P | W | U, P | W | U | NX, -1, A},
		{0, false, load, P | W, P | 1ull << 62, 9, 0}, /* reserved */
		{0, false, load, P | W, P | 1ull << 51, 9, 0},
	};

	for (unsigned i = 0; i < 8; i++)
		middle[0][i] = (uint64_t)i << 21 | PS | P | W | U;
	for (unsigned i = 0; i < COUNT(cases); i++) {
		middle[1][0] = (uint64_t)last | cases[i].upper;
		last[0] = (uint64_t)page | cases[i].entry;
		run(&cases[i], i, last, true);
	}
	/* 2 MiB; bit 13 is reserved there. */
	page[0] = 0x600dcafe;
	middle[2][0] = ((uint64_t)page & ~0x1fffffull) | PS | P | W;
	run_big(load, AT_BIG + (ADDRESS(page) & 0x1fffff), CR4_PAE);
	CHECK(legacy_seen.vector, 3);
	CHECK(legacy_seen.eax, 0x600dcafe);
	CHECK(middle[2][0] & (A | D), A);
	middle[2][0] |= 1u << 13;
	run_big(load, AT_BIG, CR4_PAE);
	CHECK(legacy_seen.vector, 14);
	CHECK(legacy_seen.error & ~1u, 8);
	/* The fourth pointer is not there. */
	run_big(load, 0xc0000000, CR4_PAE);
	CHECK(legacy_seen.vector, 14);
	CHECK(legacy_seen.error, 0);
}

void guest_main(void)
{
	guest_setup();
	legacy_setup();
	two_levels();
	big_pages();
	pae();
	guest_end();
}
