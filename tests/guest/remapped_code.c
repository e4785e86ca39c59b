/* SPDX-License-Identifier: MIT */
/*
 * Code at an address whose translation changes: by INVLPG, CR3, PCIDs, INVPCID; under the code that
 * runs; on page borders; at several addresses at once; for another privilege (AMD64 vol. 2, 5.5;
 * SDM vol. 3, 5.10).
 */
#include "vmm/workload/guest.h"

#define P  1ull
#define W  2ull
#define U  4ull
#define A  0x20ull
#define G  0x100ull
#define NX (1ull << 63)

#define CR4_PGE   (1ull << 7)
#define CR4_PCIDE (1ull << 17)
#define CR4_SMEP  (1ull << 20)
#define NOFLUSH   (1ull << 63)

#define ROUNDS  50u
#define HIGH_AT 0xffff900000000000ull /* in the upper half */

static uint8_t page[4][4096] __attribute__((aligned(4096)));
static uint64_t *entry;

static void store_8(void *at, uint64_t value)
{
	__asm__ volatile("mov %1, (%0)" : : "r"(at), "r"(value) : "memory");
}

/* MOV of a number to EAX, RET. */
static uint64_t returns(uint32_t value)
{
	return 0xb8 | (uint64_t)value << 8 | 0xc3ull << 40;
}

static uint64_t call(uint64_t at)
{
	return ((uint64_t(*)(void))at)();
}

static void execute(void *at)
{
	call((uint64_t)at);
}

static void copy(uint8_t *to, const uint8_t *from, const uint8_t *end)
{
	while (from < end)
		*to++ = *from++;
}

static void set(uint64_t *e, unsigned which, uint64_t bits)
{
	*(volatile uint64_t *)e = (uint64_t)page[which] | bits;
}

static void map(unsigned which, uint64_t bits)
{
	set(entry, which, bits);
	invlpg(PAGE_AT);
}

static uint32_t cpuid(uint32_t leaf, unsigned reg)
{
	uint32_t r[4] = {leaf};

	__asm__ volatile("cpuid" : "+a"(r[0]), "=b"(r[1]), "+c"(r[2]), "=d"(r[3]));
	return r[reg];
}

/* Each page returns its number, at several places: what is found by low bits has them all. */
static void number_pages(void)
{
	for (unsigned i = 0; i < 4; i++)
		for (unsigned at = 0; at < 0x100; at += 0x40)
			store_8(page[i] + at, returns(i));
}

static void other_page(void)
{
	number_pages();
	for (unsigned i = 0; i < ROUNDS; i++) {
		set(entry, i % 3, P);
		if (i / 4 % 2)
			invlpg(PAGE_AT + i);
		else
			cr3_set(cr3_get());
		CHECK(call(PAGE_AT), i % 3);
		CHECK(call(PAGE_AT), i % 3);
	}
	cr4_set(cr4_get() | CR4_PGE);
	for (unsigned i = 0; i < ROUNDS; i++) {
		map(i % 4, P | (i / 4 % 2 ? G : 0));
		CHECK(call(PAGE_AT), i % 4);
		cr3_set(cr3_get());
		CHECK(call(PAGE_AT), i % 4);
	}
	cr4_set(cr4_get() & ~CR4_PGE);
}

/*
 * The page that runs is taken away from under it: what comes behind INVLPG, or the load of CR3, is
 * the other page's. Both begin alike.
 */
uint64_t change_self(uint64_t *entry, uint64_t value);
extern const uint8_t by_invlpg[], by_invlpg_end[], by_cr3[], by_cr3_end[];
__asm__("by_invlpg: mov %rsi, (%rdi)\n lea by_invlpg(%rip), %rax\n invlpg (%rax)\n"
	"mov $0, %eax\n ret\nby_invlpg_end:\n"
	"by_cr3: mov %cr3, %rax\n mov %rsi, (%rdi)\n mov %rax, %cr3\n"
	"mov $0, %eax\n ret\nby_cr3_end:");

static void under_itself(const uint8_t *from, const uint8_t *end)
{
	uint64_t (*fn)(uint64_t *, uint64_t) = (uint64_t(*)(uint64_t *, uint64_t))PAGE_AT;

	for (unsigned i = 0; i < 2; i++) {
		copy(page[i], from, end);
		page[i][end - from - 5] = (uint8_t)(10 + i);
	}
	map(0, P);
	for (unsigned i = 0; i < ROUNDS; i++)
		CHECK(fn(entry, (uint64_t)page[~i % 2] | P), 10 + ~i % 2);
}

/* A loop in one page calls code in another, which is changed within the loop. */
uint64_t call_and_remap(uint64_t *entry, const uint64_t *values, uint64_t count, uint64_t target);
__asm__(".balign 64\ncall_and_remap: push %rbx\n push %r12\n push %r13\n xor %ebx, %ebx\n"
	"mov %rdx, %r12\n mov %rcx, %r13\n"
	"1: mov %r12, %rdx\n and $3, %edx\n mov (%rsi,%rdx,8), %rdx\n mov %rdx, (%rdi)\n"
	"invlpg (%r13)\n call *%r13\n lea (%rbx,%rbx,2), %rbx\n add %rax, %rbx\n dec %r12\n"
	"jnz 1b\n mov %rbx, %rax\n pop %r13\n pop %r12\n pop %rbx\n ret");

static void within_loops(void)
{
	uint64_t values[4], expected = 0;

	number_pages();
	for (unsigned i = 0; i < 4; i++)
		values[i] = (uint64_t)page[i] | P;
	for (unsigned i = 200; i > 0; i--)
		expected = 3 * expected + i % 4;
	CHECK(call_and_remap(entry, values, 200, PAGE_AT), expected);
	CHECK(call_and_remap(entry, values, 200, PAGE_AT), expected);
}

/* Direct jumps from page to page, of which the second changes: JMP, CALL, Jcc, falling through. */
static void jumps_between(void)
{
	static const uint8_t heads[][8] = {
		{0xe9, 0xfb, 0x0f, 0, 0},                   /* jmp +0x1000 from here */
		{0x31, 0xc0, 0x0f, 0x84, 0xf8, 0x0f, 0, 0}, /* xor eax, eax; jz */
		{0xe8, 0xfb, 0x0f, 0, 0, 0xc3},             /* call; ret */
	};

	number_pages();
	for (unsigned head = 0; head < 4; head++) {
		uint64_t from = PAGE_AT;

		if (head < 3) {
			for (unsigned i = 0; i < 8; i++)
				page[3][i] = heads[head][i];
		} else { /* NOPs up to the end */
			from = PAGE_AT + 4096 - 20;
			for (unsigned i = 4096 - 20; i < 4096; i++)
				page[3][i] = 0x90;
		}
		map(3, P);
		for (unsigned i = 0; i < ROUNDS; i++) {
			set(&entry[1], i % 3, P);
			if (i % 2)
				invlpg(PAGE_AT + 4096);
			else
				cr3_set(cr3_get());
			CHECK(call(from), i % 3);
		}
		entry[1] = 0;
		invlpg(PAGE_AT + 4096);
		trap_catch(execute, (void *)from);
		CHECK_TRAP(14, 0x10);
		CHECK(trap_seen.rip, PAGE_AT + 4096);
		CHECK(trap_seen.cr2, PAGE_AT + 4096);
	}
}

/* An instruction in two pages, of which the second is another one, is not there, may not run. */
uint64_t counted;
static void on_border(void)
{
	static const uint8_t head[] = {0x48, 0xff, 0x04, 0x25}; /* incq counted */
	uint64_t from = PAGE_AT + 4096 - 11;
	uint32_t at = (uint32_t)(uint64_t)&counted;

	for (unsigned i = 0; i < 4; i++) {
		page[0][4096 - 11 + i] = head[i];
		page[0][4096 - 7 + i] = (uint8_t)(at >> 8 * i);
	}
	/* MOV of four bytes, two of them here. */
	page[0][4096 - 3] = 0xb8;
	page[0][4096 - 2] = 0x22;
	page[0][4096 - 1] = 0x11;
	for (unsigned i = 1; i < 4; i++)
		store_8(page[i], 0xc30000 | i << 8 | i);
	map(0, P);
	counted = 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned which = 1 + i % 3;

		set(&entry[1], which, P);
		invlpg(PAGE_AT + 4096);
		CHECK(call(from), which << 24 | which << 16 | 0x1122);
		CHECK(call(from), which << 24 | which << 16 | 0x1122);
		set(&entry[1], which, i % 2 ? 0 : P | NX);
		invlpg(PAGE_AT + 4096);
		trap_catch(execute, (void *)from);
		CHECK_TRAP(14, i % 2 ? 0x10 : 0x11);
		CHECK(trap_seen.rip, PAGE_AT + 4096 - 3);
		CHECK(trap_seen.cr2, PAGE_AT + 4096);
		CHECK(counted, 3 * i + 3);
	}
	/* The first page is the one that is not there. */
	set(&entry[1], 1, P);
	set(entry, 0, P | NX);
	invlpg(PAGE_AT);
	trap_catch(execute, (void *)from);
	CHECK_TRAP(14, 0x11);
	CHECK(trap_seen.rip, from);
	CHECK(trap_seen.cr2, from);
}

/* Instructions within instructions. */
static void into_the_middle(void)
{
	/* movabs $0xc300000005b8, %rax; ret: from its third byte on, mov $5, %eax; ret */
	static const uint8_t code[] = {0x48, 0xb8, 0xb8, 5, 0, 0, 0, 0xc3, 0, 0, 0xc3};

	copy(page[0], code, code + sizeof(code));
	copy(page[0] + 4096 - 6, code, code + 6);
	copy(page[1], code + 6, code + sizeof(code));
	map(0, P);
	set(&entry[1], 1, P);
	invlpg(PAGE_AT + 4096);
	for (unsigned i = 0; i < ROUNDS; i++) {
		CHECK(call(PAGE_AT), 0xc300000005b8);
		CHECK(call(PAGE_AT + 2), 5);
		CHECK(call(PAGE_AT + 4096 - 6), 0xc300000005b8);
		CHECK(call(PAGE_AT + 4096 - 4), 5);
	}
}

/* The same bytes at many addresses: what is relative to RIP tells. */
static void many_addresses(void)
{
	/* lea -7(%rip), %rax; call next; next: pop %rcx; sub %rax, %rcx; lea -12(%rax,%rcx), %rax;
	 * ret */
	static const uint8_t code[] = {0x48, 0x8d, 0x05, 0xf9, 0xff, 0xff, 0xff, 0xe8,
				       0,    0,    0,    0,    0x59, 0x48, 0x29, 0xc1,
				       0x48, 0x8d, 0x44, 0x08, 0xf4, 0xc3};

	copy(page[0], code, code + sizeof(code));
	for (unsigned i = 0; i < 32; i++) {
		set(&entry[i], 0, P);
		invlpg(PAGE_AT + 4096 * i);
	}
	for (unsigned i = 0; i < 3 * 32; i++)
		CHECK(call(PAGE_AT + 4096 * (i % 32)), PAGE_AT + 4096 * (i % 32));
	CHECK(call((uint64_t)page[0]), page[0]);
}

/* Code that the supervisor has just run is not for users, and theirs not for it. */

static void to_user(void *rip)
{
	user_run((uint64_t)rip, 0);
}

static void expect_fetch_fault(uint64_t error, uint64_t at)
{
	CHECK_TRAP(14, error);
	CHECK(trap_seen.rip, at);
	CHECK(trap_seen.cr2, at);
}

static void privilege(void)
{
	uint64_t at = PAGE_AT + 4096 + 0x100, smep = cpuid(7, 1) & 1u << 7 ? CR4_SMEP : 0;

	number_pages();
	/* jmp to PAGE_AT; mov of its address, jmp; mov, call */
	page[1][0x100] = 0xe9;
	store_8(page[1] + 0x101, 0xffffffff & (PAGE_AT - (at + 5)));
	for (unsigned i = 0; i < 2; i++) {
		store_8(page[1] + 0x110 + 0x10 * i, 0xb848);
		store_8(page[1] + 0x112 + 0x10 * i, PAGE_AT);
		store_8(page[1] + 0x11a + 0x10 * i, i ? 0xd0ff : 0xe0ff);
	}
	/* mov of a stack's address to rsp; jmp to the call */
	store_8(page[1] + 0x180, 0xbc48);
	store_8(page[1] + 0x182, PAGE_AT + 8192);
	store_8(page[1] + 0x18a, 0x94eb);
	map(0, P);
	set(&entry[1], 1, P | W | U);
	invlpg(at);
	cr4_set(cr4_get() | smep);
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t from = at + 0x10 * (i % 3);

		CHECK(call(PAGE_AT), 0);
		if (i % 3 == 2) { /* its stack is the page's end */
			trap_catch(to_user, (void *)(at + 0x80));
			CHECK_TRAP(14, 0x15);
			CHECK(trap_seen.rip, PAGE_AT);
		} else {
			trap_catch(to_user, (void *)from);
			expect_fetch_fault(0x15, PAGE_AT);
		}
		CHECK(trap_seen.cs, USER_CS);
	}
	/* INT3 in a user's page. */
	page[2][0x200] = 0xcc;
	set(&entry[2], 2, P | U);
	invlpg(PAGE_AT + 8192);
	for (unsigned i = 0; i < ROUNDS; i++) {
		trap_catch(to_user, (void *)(PAGE_AT + 8192 + 0x200));
		CHECK_TRAP(3, 0);
		CHECK(trap_seen.cs, USER_CS);
		trap_catch(execute, (void *)(PAGE_AT + 8192 + 0x200));
		if (smep) {
			expect_fetch_fault(0x11, PAGE_AT + 8192 + 0x200);
		} else {
			CHECK_TRAP(3, 0);
			CHECK(trap_seen.cs, KERNEL_CS);
		}
	}
	cr4_set(cr4_get() & ~smep);
}

/* NX set and cleared; the accessed bit of code that has run before. */
static void marks(void)
{
	number_pages();
	for (unsigned i = 0; i < ROUNDS; i++) {
		map(0, P);
		CHECK(call(PAGE_AT), 0);
		CHECK(*entry & (A | 0x40), A);
		set(entry, 0, P | NX);
		if (i % 2)
			cr3_set(cr3_get());
		else
			invlpg(PAGE_AT);
		trap_catch(execute, (void *)PAGE_AT);
		expect_fetch_fault(0x11, PAGE_AT);
		set(entry, 0, P);
		if (i % 2)
			cr3_set(cr3_get());
		CHECK(call(PAGE_AT), 0);
		CHECK(*entry & A, A);
		set(entry, 0, P);
		if (i % 4 / 2)
			cr3_set(cr3_get());
		else
			invlpg(PAGE_AT);
		CHECK(call(PAGE_AT), 0);
		CHECK(*entry & A, A);
	}
}

/* Two address spaces whose code at one address is not the same, in either half. */

static uint64_t roots[2][512] __attribute__((aligned(4096)));
static uint64_t tables[2][2][512] __attribute__((aligned(4096)));
static uint64_t leaves[2][512] __attribute__((aligned(4096)));
static const uint64_t at_both[2] = {0x7f0000000000ull, HIGH_AT + 0x40};

static void spaces_make(void)
{
	for (unsigned s = 0; s < 2; s++) {
		for (unsigned i = 0; i < 512; i++)
			roots[s][i] = table4[i];
		for (unsigned half = 0; half < 2; half++) {
			uint64_t at = at_both[half];

			roots[s][at >> 39 & 511] = (uint64_t)tables[s][0] | 7;
			tables[s][0][at >> 30 & 511] = (uint64_t)tables[s][1] | 7;
			tables[s][1][at >> 21 & 511] = (uint64_t)leaves[s] | 7;
		}
		set(&leaves[s][0], s, P);
		/* Code that is the same in both, but global or not. */
		set(&leaves[s][1], 2, P | G);
	}
}

static void check_both(unsigned expected)
{
	for (unsigned half = 0; half < 2; half++) {
		CHECK(call(at_both[half]), expected);
		CHECK(call(at_both[half]), expected);
		CHECK(call(at_both[half] + 4096 + 0x80), 2);
	}
}

static void spaces(void)
{
	uint64_t mine = cr3_get();

	number_pages();
	spaces_make();
	for (unsigned pge = 0; pge < 2; pge++) {
		cr4_set(pge ? cr4_get() | CR4_PGE : cr4_get() & ~CR4_PGE);
		for (unsigned i = 0; i < ROUNDS; i++) {
			cr3_set((uint64_t)roots[i % 2]);
			check_both(i % 2);
		}
	}
	cr3_set(mine);
	cr4_set(cr4_get() & ~CR4_PGE);
}

static void invpcid(uint64_t type, uint64_t pcid, uint64_t address)
{
	struct {
		uint64_t pcid, address;
	} what = {pcid, address};

	__asm__ volatile("invpcid %0, %1" : : "m"(what), "r"(type) : "memory");
}

/* The code of a space that is not the present one changes; so it does in both halves. */
static void change_far(unsigned s, unsigned which, unsigned how)
{
	set(&leaves[s][0], which, P);
	if (how >= 2 && how < 6 && !(cpuid(7, 1) & 1u << 10))
		how = 0;
	if (how == 2)
		for (unsigned half = 0; half < 2; half++)
			invpcid(0, s + 1, at_both[half]);
	else if (how > 2 && how < 6)
		invpcid(how - 2, how == 3 ? s + 1 : 0, 0);
	cr3_set((uint64_t)roots[s] | (s + 1) | (how ? NOFLUSH : 0));
	if (how == 1 || how == 6)
		for (unsigned half = 0; half < 2; half++)
			invlpg(at_both[half]);
}

static void contexts(void)
{
	uint64_t mine = cr3_get();

	if (!(cpuid(1, 2) & 1u << 17))
		return;
	number_pages();
	spaces_make();
	cr4_set(cr4_get() | CR4_PGE | CR4_PCIDE);
	for (unsigned i = 0; i < 2; i++)
		cr3_set((uint64_t)roots[i] | (i + 1));
	for (unsigned i = 0; i < 4 * ROUNDS; i++) {
		cr3_set((uint64_t)roots[i % 2] | (i % 2 + 1) | (i % 3 ? NOFLUSH : 0));
		check_both(i % 2);
	}
	for (unsigned i = 0; i < 8 * ROUNDS; i++) {
		unsigned s = i % 2, which = i / 2 % 4;

		cr3_set((uint64_t)roots[!s] | (!s + 1) | NOFLUSH);
		call(at_both[0]);
		call(at_both[1]);
		change_far(s, which, i % 7);
		check_both(which);
	}
	/* The same context for another space, flushed with it. */
	for (unsigned i = 0; i < ROUNDS; i++) {
		set(&leaves[i % 2][0], i % 2, P);
		cr3_set((uint64_t)roots[i % 2] | 5);
		check_both(i % 2);
	}
	cr3_set(mine);
	cr4_set(cr4_get() & ~(CR4_PGE | CR4_PCIDE));
}

void guest_main(void)
{
	guest_setup();
	/* User pages need the bit at each level. */
	table4[0] |= U;
	entry = page_entry(PAGE_AT);
	other_page();
	under_itself(by_invlpg, by_invlpg_end);
	under_itself(by_cr3, by_cr3_end);
	within_loops();
	jumps_between();
	on_border();
	into_the_middle();
	many_addresses();
	privilege();
	marks();
	spaces();
	contexts();
	guest_end();
}
