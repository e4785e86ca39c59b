/* SPDX-License-Identifier: MIT */
/*
 * What may be accessed changes: pages, CR0.WP, SMEP, SMAP, AC, level, in any order and in code that
 * is warm, measured by the rules of AMD64 vol. 2, 5.6 and SDM vol. 3, 4.6; accessed and dirty bits.
 */
#include "vmm/workload/guest.h"

#define P  1ull
#define W  2ull
#define U  4ull
#define A  0x20ull
#define D  0x40ull
#define G  0x100ull
#define NX (1ull << 63)

#define CR0_WP   (1ull << 16)
#define CR4_PGE  (1ull << 7)
#define CR4_SMEP (1ull << 20)
#define CR4_SMAP (1ull << 21)
#define AC       (1ull << 18)
#define NO_FAULT (~0ull)

#define PAGES   8u
#define USER_AT (PAGE_AT + 0x100000) /* code and stacks of users */

static uint8_t page[PAGES][4096] __attribute__((aligned(4096)));
static uint8_t user_page[4096] __attribute__((aligned(4096)));
static uint64_t *entry;
static uint64_t smap, smep; /* what this CPU has */

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

static void expect(uint64_t error, uint64_t address)
{
	if (error == NO_FAULT) {
		CHECK(trap_seen.vector, -1);
		return;
	}
	CHECK_TRAP(14, error);
	CHECK(trap_seen.cr2, address);
}

/*
 * Supervisor's accesses; users' are code at level 3 that ends in INT3 and has its operand in RSP.
 * Data is at offset 8; at 0 is an INT3, for both.
 */

static void load(void *at)
{
	(void)((volatile uint64_t *)at)[1];
}

static void store(void *at)
{
	((volatile uint64_t *)at)[1] = 1;
}

static void execute(void *at)
{
	((void (*)(void))at)();
}

static void load_ac(void *at)
{
	__asm__ volatile("stac\n\tmov 8(%0), %%rax\n\tclac" : : "r"(at) : "rax", "memory");
}

static void store_ac(void *at)
{
	__asm__ volatile("stac\n\tmov %0, 8(%0)\n\tclac" : : "r"(at) : "memory");
}

static void user_load(void *at)
{
	user_run(USER_AT, (uint64_t)at);
}

static void user_store(void *at)
{
	user_run(USER_AT + 0x40, (uint64_t)at);
}

static void user_execute(void *at)
{
	user_run((uint64_t)at, 0);
}

enum kind { LOAD, STORE, EXECUTE, LOAD_AC, STORE_AC, USER_LOAD, USER_STORE, USER_EXECUTE, KINDS };

static void (*const access[KINDS])(void *) = {
	[LOAD] = load,
	[STORE] = store,
	[EXECUTE] = execute,
	[LOAD_AC] = load_ac,
	[STORE_AC] = store_ac,
	[USER_LOAD] = user_load,
	[USER_STORE] = user_store,
	[USER_EXECUTE] = user_execute,
};

static bool is_user(enum kind kind)
{
	return kind >= USER_LOAD;
}

static bool is_write(enum kind kind)
{
	return kind == STORE || kind == STORE_AC || kind == USER_STORE;
}

static bool is_fetch(enum kind kind)
{
	return kind == EXECUTE || kind == USER_EXECUTE;
}

/* What must come of it: an error code, or NO_FAULT. */
static uint64_t rule(uint64_t bits, enum kind kind)
{
	uint64_t error =
		(is_write(kind) ? 2 : 0) | (is_user(kind) ? 4 : 0) | (is_fetch(kind) ? 16 : 0);
	bool ac = kind == LOAD_AC || kind == STORE_AC, ok;

	if (!(bits & P))
		return error;
	if (is_user(kind))
		ok = bits & U && (!is_write(kind) || bits & W);
	else if (is_fetch(kind))
		ok = !(bits & U && cr4_get() & CR4_SMEP);
	else
		ok = (!(bits & U) || ac || !(cr4_get() & CR4_SMAP)) &&
		     (!is_write(kind) || bits & W || !(cr0_get() & CR0_WP));
	if (is_fetch(kind) && bits & NX)
		ok = false;
	return ok ? NO_FAULT : error | P;
}

static void try(enum kind kind, unsigned which, uint64_t bits)
{
	uint64_t at = PAGE_AT + 4096 * which, error = rule(bits, kind);

	trap_catch(access[kind], (void *)at);
	/* AC would stay. */
	__asm__ volatile("push $2\n\tpopfq" : : : "memory", "cc");
	if (error != NO_FAULT || !(is_user(kind) || is_fetch(kind))) {
		expect(error, is_fetch(kind) ? at : at + 8);
		return;
	}
	CHECK(trap_seen.vector, 3);
	CHECK(trap_seen.cs, is_user(kind) ? USER_CS : KERNEL_CS);
}

static void flush(uint64_t at)
{
	switch (any(4)) {
	case 0:
		cr3_set(cr3_get());
		break;
	case 1:
		cr4_set(cr4_get() ^ CR4_PGE);
		break;
	default:
		invlpg(at);
		break;
	}
}

static uint64_t any_bits(void)
{
	static const uint64_t choices[] = {0,          P,      P | W,      P | U,
					   P | W | U,  P | NX, P | W | NX, P | W | U | NX,
					   P | U | NX, P | W};

	return choices[any(sizeof(choices) / sizeof(choices[0]))];
}

/* Anything in any order, each change with one of the flushes that make it count. */
static void anything(unsigned rounds)
{
	static uint64_t bits[PAGES];

	entry[0] = 0;
	invlpg(PAGE_AT);
	for (unsigned i = 0; i < rounds; i++) {
		unsigned which = any(PAGES);

		switch (any(8)) {
		case 0:
		case 1:
			bits[which] = any_bits();
			entry[which] = bits[which] ? (uint64_t)page[which] | bits[which] : 0;
			flush(PAGE_AT + 4096 * which);
			break;
		case 2:
			cr0_set(cr0_get() ^ CR0_WP);
			break;
		case 3:
			cr4_set(cr4_get() ^ (any(2) ? smap : smep));
			break;
		default:
			break;
		}
		for (unsigned k = 0; k < 3; k++) {
			enum kind kind = any(KINDS);

			which = any(PAGES);
			if (smap || (kind != LOAD_AC && kind != STORE_AC))
				try(kind, which, bits[which]);
		}
	}
	cr0_set(cr0_get() | CR0_WP);
	cr4_set(cr4_get() & ~(smap | smep | CR4_PGE));
}

static void map(uint64_t bits)
{
	entry[0] = (uint64_t)page[0] | bits;
	invlpg(PAGE_AT);
}

/* A right that comes needs no flush: at most one fault tells that the old one was still known. */
static void upgrades(void)
{
	for (unsigned i = 0; i < 50; i++) {
		void *at = (void *)PAGE_AT;

		map(i % 2 ? P | NX : P);
		load(at);
		entry[0] |= W;
		trap_catch(store, at);
		if (trap_seen.vector != (uint64_t)-1)
			expect(3, PAGE_AT + 8);
		trap_catch(store, at);
		CHECK(trap_seen.vector, -1);
		entry[0] &= ~NX;
		trap_catch(execute, at);
		if (trap_seen.vector != 3)
			expect(0x11, PAGE_AT);
		trap_catch(execute, at);
		CHECK(trap_seen.vector, 3);
		/* Not there at all: that is never kept. */
		entry[0] = 0;
		invlpg(PAGE_AT);
		trap_catch(load, at);
		expect(0, PAGE_AT + 8);
		entry[0] = (uint64_t)page[0] | P | W;
		trap_catch(store, at);
		CHECK(trap_seen.vector, -1);
		/* And one that goes, behind the flush. */
		map(P);
		trap_catch(store, at);
		expect(3, PAGE_AT + 8);
	}
}

/* One piece of code that has and loses AC between its accesses. */
uint64_t with_and_without(volatile uint64_t *at);
extern const char without_ac[];
__asm__("with_and_without: stac\n mov 8(%rdi), %rax\n mov %rax, 16(%rdi)\n clac\n"
	"without_ac: mov 8(%rdi), %rax\n ret");

static void run_with_and_without(void *at)
{
	with_and_without(at);
}

static void access_flag(void)
{
	if (!smap)
		return;
	for (unsigned i = 0; i < 50; i++) {
		uint64_t bits = i % 3 == 2 ? P | W : P | W | U;

		map(bits);
		cr4_set(i % 2 ? cr4_get() | smap : cr4_get() & ~smap);
		trap_catch(run_with_and_without, (void *)PAGE_AT);
		expect(i % 2 && bits & U ? 1 : NO_FAULT, PAGE_AT + 8);
		if (trap_seen.vector == 14)
			CHECK(trap_seen.rip, without_ac);
		/* By POPF, too. */
		__asm__ volatile("push %0\n\tpopfq\n\tmov 8(%1), %%rax\n\tpush $2\n\tpopfq"
				 :
				 : "r"(AC | 2), "r"(PAGE_AT)
				 : "rax", "memory", "cc");
		trap_catch(load, (void *)PAGE_AT);
		expect(i % 2 && bits & U ? 1 : NO_FAULT, PAGE_AT + 8);
	}
	cr4_set(cr4_get() & ~smap);
}

/* Bits that were cleared come back with the next access behind a flush, and no others. */
static void marks(void)
{
	for (unsigned i = 0; i < 200; i++) {
		enum kind kind = i % 5 == 4 ? EXECUTE : i % 2 ? STORE : LOAD;
		bool user = i / 10 % 2 && kind != EXECUTE;
		uint64_t *table = (uint64_t *)(table4[0] & ~4095ull);

		store((void *)PAGE_AT);
		load((void *)PAGE_AT);
		entry[0] = (uint64_t)page[0] | P | W | U;
		table4[0] &= ~A;
		table[PAGE_AT >> 30] &= ~A;
		if (i / 20 % 2)
			cr3_set(cr3_get());
		else
			invlpg(PAGE_AT);
		try(user ? kind - LOAD + USER_LOAD : kind, 0, P | W | U);
		CHECK(entry[0] & (A | D), kind == STORE ? A | D : A);
		CHECK(table4[0] & A, A);
		CHECK(table[PAGE_AT >> 30] & A, A);
		/* A page that is known for reading is written to. */
		store((void *)PAGE_AT);
		CHECK(entry[0] & (A | D), A | D);
	}
}

void guest_main(void)
{
	static const uint8_t code_load[] = {0x48, 0x8b, 0x44,
					    0x24, 8,    0xcc}; /* mov 8(%rsp), %rax */
	static const uint8_t code_store[] = {0x48, 0x89, 0x44,
					     0x24, 8,    0xcc}; /* mov %rax, 8(%rsp) */
	uint32_t a = 7, b, c = 0, d;

	guest_setup();
	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	smep = b & 1u << 7 ? CR4_SMEP : 0;
	smap = b & 1u << 20 ? CR4_SMAP : 0;
	/* User pages need the bit at each level. */
	table4[0] |= U;
	entry = page_entry(PAGE_AT);
	*page_entry(USER_AT) = (uint64_t)user_page | P | U;
	for (unsigned i = 0; i < sizeof(code_load); i++) {
		user_page[i] = code_load[i];
		user_page[0x40 + i] = code_store[i];
	}
	for (unsigned i = 0; i < PAGES; i++)
		page[i][0] = 0xcc;
	upgrades();
	access_flag();
	marks();
	anything(emulated ? 2000 : 10000);
	guest_end();
}
