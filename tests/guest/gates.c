/* SPDX-License-Identifier: MIT */
/*
 * Transfers between segments and levels of 32-bit protected mode: far jumps, calls and returns,
 * call gates, interrupt gates, SYSENTER (AMD64 vol. 2, 4.11 and 8.7; SDM vol. 3, 6.8 and 7.12).
 */
#include "tests/guest/legacy.h"

#define COUNT(table) (sizeof(table) / sizeof(table[0]))

#define FLAT      0xfffff
#define FLAT_CODE (0x9b | DB | G)
#define CONF      (0x9f | DB | G) /* conforming */
#define DATA      (0x93 | DB | G)
#define LEVEL1    0x20
#define LEVEL3    0x60
#define NOT_THERE 0x80

#define GATE SPARE2 /* the gate; SPARE3 and SPARE4: code and stack of level 1 */

static uint32_t area[1024] __attribute__((aligned(4096)));

struct {
	uint32_t offset;
	uint16_t selector;
} far_pointer;

static void spare(unsigned selector, uint32_t base, uint32_t limit, unsigned attributes)
{
	legacy_gdt[selector / 8] = descriptor(base, limit, attributes);
}

CODE(32, landed, "landed_at: int3");
CODE(32, call, "call_at: lcall *far_pointer\n int3");
CODE(32, jump, "jump_at: ljmp *far_pointer\n int3");

static void transfers(void)
{
	static const struct {
		unsigned level;
		const char *code, *at;
		uint16_t selector;
		unsigned attributes; /* of SPARE */
		unsigned vector, error;
	} cases[] = {
#define CASE(level, code, ...) {level, code, code##_at, __VA_ARGS__}
#define FINE                   3
		CASE(0, jump, SPARE, FLAT_CODE, FINE, 0),
		CASE(0, call, SPARE, FLAT_CODE, FINE, 0),
		CASE(3, jump, SPARE | 3, CONF, FINE, 0),
		CASE(3, call, SPARE | 3, CONF, FINE, 0),
		CASE(3, call, SPARE | 3, FLAT_CODE | LEVEL3, FINE, 0),
		CASE(3, call, SPARE, FLAT_CODE | LEVEL3, FINE, 0),
		CASE(3, call, SPARE | 3, FLAT_CODE, 13, SPARE),
		CASE(3, jump, SPARE | 3, FLAT_CODE, 13, SPARE),
		CASE(0, call, SPARE, FLAT_CODE | LEVEL3, 13, SPARE),
		CASE(0, call, SPARE | 3, FLAT_CODE, 13, SPARE),
		CASE(0, call, SPARE, CONF | LEVEL3, 13, SPARE),
		CASE(0, call, SPARE | 3, CONF, FINE, 0),
		CASE(0, call, SPARE, FLAT_CODE ^ NOT_THERE, 11, SPARE),
		CASE(0, call, SPARE, DATA, 13, SPARE),
		CASE(0, call, SPARE, 0x8e, 13, SPARE), /* an interrupt gate */
		CASE(0, call, SPARE, 0x82, 13, SPARE), /* an LDT */
		CASE(0, call, SPARE, 0x8b, 13, SPARE), /* a task that is busy */
		CASE(0, call, SPARE | 4, FLAT_CODE, 13, SPARE | 4),
		CASE(0, call, L_GDT * 8 + 1, FLAT_CODE, 13, L_GDT * 8),
		CASE(0, call, 1, FLAT_CODE, 13, 0),
		CASE(0, jump, 0, FLAT_CODE, 13, 0),
	};

	for (unsigned i = 0; i < COUNT(cases); i++) {
		unsigned failures = guest_failures;

		spare(SPARE, 0, FLAT, cases[i].attributes & ~1u);
		far_pointer.offset = ADDRESS(landed);
		far_pointer.selector = cases[i].selector;
		job_reset(cases[i].level);
		legacy_run(cases[i].code);
		CHECK(legacy_seen.vector, cases[i].vector);
		CHECK(legacy_seen.error, cases[i].error);
		if (cases[i].vector == FINE) {
			CHECK(legacy_seen.eip, landed_at + 1);
			CHECK(legacy_seen.cs, (cases[i].selector & ~3u) | cases[i].level);
			CHECK(job.esp - legacy_seen.esp, cases[i].code == call ? 8 : 0);
		} else {
			CHECK(legacy_seen.eip, cases[i].at);
			CHECK(legacy_seen.esp, job.esp);
		}
		if (guest_failures != failures)
			CHECK(i, -1);
	}
	/* Beyond the new segment's limit: the old one's fault. */
	spare(SPARE, 0, 0xfff, FLAT_CODE & ~(unsigned)G);
	far_pointer.selector = SPARE;
	job_reset(0);
	legacy_run(call);
	UNLESS_EMULATED EXPECT_AT(call, 13, 0); /* QEMU does not look at what CALL jumps to */
	job_reset(0);
	legacy_run(jump);
	EXPECT_AT(jump, 13, 0);
}

/* Call gates. */

CODE(32, three, "push $1\n push $2\n push $3\n three_at: lcall *far_pointer\n three_after: int3");
CODE(32, comes_back,
     "mov $0x10, %eax\n mov %eax, %ds\n mov $0x23, %eax\n mov %eax, %es\n"
     "comes_back_at: lret $12");
extern const char three_after[];

static void gate(unsigned access, uint16_t selector, const char *target, unsigned count)
{
	legacy_gdt[GATE / 8] = gate32(selector, ADDRESS(target), access, count);
	far_pointer.offset = 0xdeadbeef; /* is not looked at */
	far_pointer.selector = GATE;
}

static void to_inner(void)
{
	uint32_t *stack;
	uint16_t *words;

	gate(0xec, L_CODE | 3, landed, 3);
	job_reset(3);
	legacy_run(three);
	EXPECT(3, 0, landed_at + 1);
	CHECK(legacy_seen.cs, L_CODE);
	stack = (uint32_t *)(uintptr_t)legacy_seen.esp;
	CHECK(stack + 7, legacy_stack_top);
	CHECK(stack[0], three_after);
	CHECK(stack[1] & 0xffff, L_USER);
	CHECK(stack[2], 3);
	CHECK(stack[3], 2);
	CHECK(stack[4], 1);
	CHECK(stack[5], job.esp - 12);
	CHECK(stack[6] & 0xffff, L_USER_DS);
	/* And back: parameters go on both stacks, and segments that are too good become null. */
	gate(0xec, L_CODE, comes_back, 3);
	spare(SPARE, 0, FLAT, CONF);
	job_reset(3);
	job.fs = SPARE;
	legacy_run(three);
	EXPECT(3, 0, three_after + 1);
	CHECK(legacy_seen.cs, L_USER);
	CHECK(legacy_seen.esp, job.esp);
	CHECK(legacy_seen.ds, 0);
	CHECK(legacy_seen.es, L_USER_DS);
	CHECK(legacy_seen.fs, SPARE);
	/* A 16-bit one pushes words, and its offset has 16 bits. QEMU takes all 32. */
	gate(0xe4, SPARE, emulated ? (const char *)(ADDRESS(landed) & 0xffffull) : landed, 2);
	spare(SPARE, ADDRESS(landed) & ~0xffffu, FLAT, FLAT_CODE);
	job_reset(3);
	legacy_run(three);
	EXPECT(3, 0, (ADDRESS(landed_at) & 0xffff) + 1);
	words = (uint16_t *)(uintptr_t)legacy_seen.esp;
	CHECK(words + 6, legacy_stack_top);
	CHECK(words[0], ADDRESS(three_after) & 0xffff);
	CHECK(words[1], L_USER);
	CHECK(words[2], 3);
	CHECK(words[3], 0);
	CHECK(words[4], (job.esp - 12) & 0xffff);
	CHECK(words[5], L_USER_DS);
}

static void gate_faults(void)
{
	static const struct {
		unsigned level;
		const char *code, *at;
		unsigned access; /* of the gate */
		uint16_t target;
		unsigned attributes; /* of SPARE, if that is the target */
		unsigned vector, error;
	} cases[] = {
		CASE(3, call, 0x8c, L_CODE, 0, 13, GATE),
		CASE(3, call, 0x6c, L_CODE, 0, 11, GATE),
		CASE(3, call, 0xec, 0, 0, 13, 0),
		CASE(3, call, 0xec, L_DATA, 0, 13, L_DATA),
		CASE(3, call, 0xec, SPARE, FLAT_CODE ^ NOT_THERE, 11, SPARE),
		CASE(3, call, 0xec, L_GDT * 8, 0, 13, L_GDT * 8),
		CASE(0, call, 0x8c, SPARE, FLAT_CODE | LEVEL3, 13, SPARE),
		CASE(3, jump, 0xec, L_CODE, 0, 13, L_CODE),
		CASE(3, jump, 0xec, SPARE, CONF, FINE, 0),
		CASE(3, call, 0xec, SPARE, CONF, FINE, 0),
		CASE(0, call, 0x8c, L_CODE, 0, FINE, 0),
	};

	for (unsigned i = 0; i < COUNT(cases); i++) {
		unsigned failures = guest_failures;

		/* QEMU goes to level 0. */
		if (emulated && cases[i].code == call && cases[i].attributes == CONF)
			continue;
		gate(cases[i].access, cases[i].target, landed, 0);
		if (cases[i].target == SPARE)
			spare(SPARE, 0, FLAT, cases[i].attributes);
		job_reset(cases[i].level);
		legacy_run(cases[i].code);
		CHECK(legacy_seen.vector, cases[i].vector);
		CHECK(legacy_seen.error, cases[i].error);
		CHECK(legacy_seen.eip, cases[i].vector == FINE ? landed_at + 1 : cases[i].at);
		CHECK(legacy_seen.cs & 3, cases[i].level);
		if (guest_failures != failures)
			CHECK(i, -1);
	}
	/* The selector's RPL counts as well. */
	gate(0x8c, L_CODE, landed, 0);
	far_pointer.selector |= 3;
	job_reset(0);
	legacy_run(call);
	EXPECT_AT(call, 13, GATE);
}

/* Level 1 has the stacks that are bad: what follows from them is level 0's. */

CODE(32, interrupt, "interrupt_at: int $0x50\n int3");

static void level1(uint16_t ss, uint32_t limit, unsigned attributes)
{
	spare(SPARE3, 0, FLAT, FLAT_CODE | LEVEL1);
	spare(SPARE4, ADDRESS(area), limit, attributes);
	legacy_tss.ss1 = ss;
	legacy_tss.esp1 = 0x800;
	gate(0xec, SPARE3, landed, 0);
	legacy_idt[0x50] = gate32(SPARE3, ADDRESS(landed), 0xee, 0);
	job_reset(3);
}

static void inner_stacks(void)
{
	static const struct {
		uint16_t ss;
		uint32_t limit;
		unsigned attributes, vector, error;
		bool differs; /* QEMU checks no limits; a stack that is not there is #TS */
	} cases[] = {
		{SPARE4 | 1, 0xfff, 0x93 | DB | LEVEL1, FINE, 0, false},
		{0, 0xfff, 0x93 | DB | LEVEL1, 10, 0, false},
		{SPARE4, 0xfff, 0x93 | DB | LEVEL1, 10, SPARE4, false}, /* RPL */
		{SPARE4 | 1, 0xfff, 0x93 | DB, 10, SPARE4, false},
		{SPARE4 | 1, 0xfff, 0x91 | DB | LEVEL1, 10, SPARE4, false},
		{SPARE4 | 1, 0xfff, 0x9b | DB | LEVEL1, 10, SPARE4, false},
		{SPARE4 | 1, 0xfff, 0x13 | DB | LEVEL1, 12, SPARE4, true},
		{L_GDT * 8 | 1, 0xfff, 0x13 | DB | LEVEL1, 10, L_GDT * 8, false},
		/* There is no room: AMD64 vol. 3, CALL and INT, "SS.sel as error code". */
		{SPARE4 | 1, 0x700, 0x93 | DB | LEVEL1, 12, SPARE4, true},
		{SPARE4 | 1, 0x7f9, 0x93 | DB | LEVEL1, 12, SPARE4, true},
	};

	for (unsigned i = 0; i < 2 * COUNT(cases); i++) {
		unsigned c = i / 2, failures = guest_failures;
		const char *code = i % 2 ? interrupt : call, *at = i % 2 ? interrupt_at : call_at;

		if (emulated && cases[c].differs)
			continue;
		level1(cases[c].ss, cases[c].limit, cases[c].attributes);
		legacy_run(code);
		CHECK(legacy_seen.vector, cases[c].vector);
		CHECK(legacy_seen.error, cases[c].error);
		if (cases[c].vector == FINE) {
			CHECK(legacy_seen.cs, SPARE3 | 1);
			CHECK(legacy_seen.ss, SPARE4 | 1);
			CHECK(legacy_seen.esp, 0x800 - (i % 2 ? 20 : 16));
			CHECK(area[0x200 - 1], L_USER_DS);
			CHECK(area[0x200 - 2], job.esp);
		} else {
			CHECK(legacy_seen.eip, at);
			CHECK(legacy_seen.cs, L_USER);
			CHECK(legacy_seen.esp, job.esp);
			CHECK(legacy_seen.ds, L_USER_DS);
		}
		if (guest_failures != failures)
			CHECK(i, -1);
	}
	/* A task state that ends before level 1's stack. */
	level1(SPARE4 | 1, 0xfff, 0x93 | DB | LEVEL1);
	legacy_gdt[L_TSS / 8] = descriptor(ADDRESS(&legacy_tss), 0x10, 0x89);
	legacy_run(call);
	EXPECT_AT(call, 10, L_TSS);
	legacy_run(interrupt);
	EXPECT_AT(interrupt, 10, L_TSS);
	legacy_gdt[L_TSS / 8] = descriptor(ADDRESS(&legacy_tss), sizeof(legacy_tss) - 1, 0x89);
}

/* Returns to an outer level, from a frame that the code pushes. */

CODE(32, returns, "push %eax\n push %ebx\n push %ecx\n push $landed\n returns_at: lret");
CODE(32, interrupt_returns,
     "push %eax\n push %ebx\n pushl $2\n push %ecx\n push $landed\n "
     "interrupt_returns_at: iret");
CODE(32, returns16, "pushw $0\n pushw %cx\n pushw %dx\n returns16_at: iretw");

static void returns_outwards(void)
{
	static const struct {
		uint16_t cs, ss;
		unsigned attributes; /* of SPARE */
		unsigned vector, error;
	} cases[] = {
		{L_USER, L_USER_DS, 0, FINE, 0},
		{L_USER, 0, 0, 13, 0},
		{L_USER, L_DATA, 0, 13, L_DATA},
		{L_USER, L_DATA | 3, 0, 13, L_DATA},
		{L_USER, SPARE | 3, (DATA | LEVEL3) ^ NOT_THERE, 12, SPARE},
		{L_USER, SPARE | 3, 0xf1 | DB | G, 13, SPARE}, /* read-only */
		{0, L_USER_DS, 0, 13, 0},
		{3, L_USER_DS, 0, 13, 0},
		{L_DATA, L_USER_DS, 0, 13, L_DATA},
		{L_CODE | 3, L_USER_DS, 0, 13, L_CODE}, /* not conforming: DPL is RPL */
		{SPARE | 3, L_USER_DS, CONF, FINE, 0},
		{SPARE | 1, L_USER_DS, CONF | LEVEL3, 13, SPARE},
		{SPARE | 3, L_USER_DS, (FLAT_CODE | LEVEL3) ^ NOT_THERE, 11, SPARE},
	};

	for (unsigned i = 0; i < 2 * COUNT(cases); i++) {
		unsigned c = i / 2, failures = guest_failures;
		const char *code = i % 2 ? interrupt_returns : returns;

		/* A stack that is not there is #NP in QEMU. */
		if (emulated && cases[c].vector == 12)
			continue;
		spare(SPARE, 0, FLAT, cases[c].attributes);
		job_reset(0);
		job.eax = cases[c].ss;
		job.ebx = ADDRESS(legacy_stack3_top);
		job.ecx = cases[c].cs;
		legacy_run(code);
		CHECK(legacy_seen.vector, cases[c].vector);
		CHECK(legacy_seen.error, cases[c].error);
		if (cases[c].vector == FINE) {
			CHECK(legacy_seen.cs, cases[c].cs);
			CHECK(legacy_seen.esp, legacy_stack3_top);
			CHECK(legacy_seen.ds | legacy_seen.es | legacy_seen.fs | legacy_seen.gs, 0);
		} else {
			CHECK(legacy_seen.eip, i % 2 ? interrupt_returns_at : returns_at);
			CHECK(legacy_seen.esp, job.esp - (i % 2 ? 20 : 16));
			CHECK(legacy_seen.ds, L_DATA);
		}
		if (guest_failures != failures)
			CHECK(i, -1);
	}
	/* Never inwards. */
	job_reset(3);
	job.eax = L_DATA;
	job.ecx = L_CODE;
	legacy_run(returns);
	EXPECT_AT(returns, 13, L_CODE);
	job_reset(3);
	job.eax = L_DATA;
	job.ecx = L_CODE;
	legacy_run(interrupt_returns);
	EXPECT_AT(interrupt_returns, 13, L_CODE);
	/* The 16-bit form leaves the flags' upper half. */
	spare(SPARE, ADDRESS(landed), 0xffff, 0x9b);
	job_reset(0);
	job.ecx = SPARE;
	legacy_run(returns16);
	EXPECT(3, 0, 1);
	CHECK(legacy_seen.esp, job.esp);
}

/* Gates of the IDT. */

static void interrupts(void)
{
	static const struct {
		unsigned level, access;
		uint16_t target;
		unsigned attributes; /* of SPARE */
		unsigned vector, error;
	} cases[] = {
		{3, 0xee, L_CODE, 0, FINE, 0},
		{3, 0xef, L_CODE, 0, FINE, 0}, /* a trap gate */
		{3, 0x8e, L_CODE, 0, 13, 0x50 * 8 + 2},
		{3, 0x6e, L_CODE, 0, 11, 0x50 * 8 + 2},
		{3, 0xec, L_CODE, 0, 13, 0x50 * 8 + 2}, /* a call gate */
		{3, 0xfe, L_CODE, 0, 13, 0x50 * 8 + 2}, /* no system descriptor */
		{3, 0xee, 0, 0, 13, 0},
		{3, 0xee, L_DATA, 0, 13, L_DATA},
		{3, 0xee, SPARE, FLAT_CODE ^ NOT_THERE, 11, SPARE},
		{3, 0xee, SPARE, CONF, FINE, 0}, /* stays at level 3 */
		{0, 0xee, SPARE, FLAT_CODE | LEVEL3, 13, SPARE},
		{0, 0xee, L_CODE | 3, 0, FINE, 0}, /* RPL does not count */
	};

	for (unsigned i = 0; i < COUNT(cases); i++) {
		unsigned failures = guest_failures;

		legacy_idt[0x50] = gate32(cases[i].target, ADDRESS(landed), cases[i].access, 0);
		spare(SPARE, 0, FLAT, cases[i].attributes);
		job_reset(cases[i].level);
		job.eflags |= F_IF | F_NT;
		legacy_run(interrupt);
		CHECK(legacy_seen.vector, cases[i].vector);
		CHECK(legacy_seen.error, cases[i].error);
		if (cases[i].vector == FINE) {
			CHECK(legacy_seen.eip, landed_at + 1);
			CHECK(legacy_seen.cs & 3,
			      (cases[i].target & ~3u) == SPARE ? cases[i].level : 0);
			CHECK(legacy_seen.eflags & (F_IF | F_NT), cases[i].access & 1 ? F_IF : 0);
		} else {
			CHECK(legacy_seen.eip, interrupt_at);
			CHECK(legacy_seen.eflags & (F_IF | F_NT), F_IF | F_NT);
		}
		if (guest_failures != failures)
			CHECK(i, -1);
	}
	/* A 16-bit gate: words. QEMU takes 32 bits of the offset. */
	spare(SPARE, ADDRESS(landed), 0xffff, 0x9b);
	legacy_idt[0x50] = gate32(SPARE, emulated ? 0 : 0x12340000, 0xe6, 0);
	job_reset(3);
	legacy_run(interrupt);
	EXPECT(3, 0, 1);
	CHECK(legacy_seen.esp, legacy_stack_top - 10);
	CHECK(*(uint16_t *)(uintptr_t)legacy_seen.esp, (ADDRESS(interrupt_at) + 2) & 0xffff);
}

/* Fast system calls: AMD has them outside long mode only. */

CODE(32, sysenter, "sysenter_at: sysenter");
CODE(32, sysexit, "sysexit_at: sysexit");

static void fast_calls(void)
{
	wrmsr(0x174, L_CODE);
	wrmsr(0x175, ADDRESS(legacy_stack_top) - 64);
	wrmsr(0x176, ADDRESS(landed));
	job_reset(3);
	job.eflags |= F_IF | F_IOPL;
	legacy_run(sysenter);
	EXPECT(3, 0, landed_at + 1);
	CHECK(legacy_seen.cs, L_CODE);
	CHECK(legacy_seen.esp, legacy_stack_top - 64);
	CHECK(legacy_seen.eflags & (F_IF | F_IOPL), F_IOPL);
	job_reset(0);
	job.ecx = ADDRESS(legacy_stack3_top) - 32;
	job.edx = ADDRESS(landed);
	legacy_run(sysexit);
	EXPECT(3, 0, landed_at + 1);
	CHECK(legacy_seen.cs, (L_CODE + 16) | 3);
	CHECK(legacy_seen.ss, (L_CODE + 24) | 3);
	CHECK(legacy_seen.esp, legacy_stack3_top - 32);
	job_reset(3);
	legacy_run(sysexit);
	EXPECT_AT(sysexit, 13, 0);
	wrmsr(0x174, 0);
	job_reset(3);
	legacy_run(sysenter);
	EXPECT_AT(sysenter, 13, 0);
	job_reset(0);
	legacy_run(sysexit);
	EXPECT_AT(sysexit, 13, 0);
}

void guest_main(void)
{
	guest_setup();
	legacy_setup();
	transfers();
	to_inner();
	gate_faults();
	inner_stacks();
	returns_outwards();
	interrupts();
	fast_calls();
	guest_end();
}
