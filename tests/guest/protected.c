/* SPDX-License-Identifier: MIT */
/*
 * Protected mode without paging: limits and types, loading of segment registers, stacks of both
 * sizes, ports (AMD64 vol. 2, chapter 4; SDM vol. 3, chapters 3 and 6).
 */
#include "tests/guest/legacy.h"

#define COUNT(table) (sizeof(table) / sizeof(table[0]))

#define DATA_RW    0x93
#define DATA_RO    0x91
#define DATA_DOWN  0x97 /* expand-down, writable */
#define CODE_X     0x99
#define CODE_XR    0x9b
#define CODE_CONF  0x9f /* conforming, readable */
#define LEVEL3     0x60
#define NOT_THERE  0x80 /* exclusive or: not present */
#define LDT_SYSTEM 0x82

static uint32_t area[0x4000] __attribute__((aligned(4096)));

static void spare(unsigned selector, uint32_t base, uint32_t limit, unsigned attributes)
{
	legacy_gdt[selector / 8] = descriptor(base, limit, attributes);
}

/* Accesses through FS; whatever the offset, it is the area's first byte in the end. */

CODE(32, load1, "load1_at: mov %fs:(%ebx), %al\n int3");
CODE(32, load2, "load2_at: mov %fs:(%ebx), %ax\n int3");
CODE(32, load4, "load4_at: mov %fs:(%ebx), %eax\n int3");
CODE(32, store1, "store1_at: mov %al, %fs:(%ebx)\n int3");
CODE(32, store4, "store4_at: mov %eax, %fs:(%ebx)\n int3");
CODE(32, modify4, "modify4_at: addl $0, %fs:(%ebx)\n int3");
CODE(32, string4, "mov %ebx, %esi\n mov %esp, %edi\n sub $64, %edi\n string4_at: fs movsl\n int3");

static void accesses(void)
{
	static const struct {
		uint32_t limit;
		unsigned attributes;
		const char *code, *at;
		uint32_t offset;
		bool faults;
	} cases[] = {
#define CASE(limit, attributes, code, offset, faults)                                              \
	{limit, attributes, code, code##_at, offset, faults}
		CASE(0xfff, DATA_RW, load1, 0xfff, false),
		CASE(0xfff, DATA_RW, load1, 0x1000, true),
		CASE(0xfff, DATA_RW, load2, 0xfff, true),
		CASE(0xfff, DATA_RW, load4, 0xffc, false),
		CASE(0xfff, DATA_RW, load4, 0xffd, true),
		CASE(0xfff, DATA_RW, store4, 0xffd, true),
		CASE(0xfff, DATA_RW, modify4, 0xffd, true),
		CASE(0xfff, DATA_RW, string4, 0xffc, false),
		CASE(0xfff, DATA_RW, string4, 0xffd, true),
		CASE(0xfff, DATA_RW, load4, 0xffffffff, true),
		CASE(0, DATA_RW | G, load1, 0xfff, false), /* pages */
		CASE(0, DATA_RW | G, load1, 0x1000, true),
		CASE(0xfff, DATA_DOWN | DB, load1, 0xfff, true),
		CASE(0xfff, DATA_DOWN | DB, load1, 0x1000, false),
		CASE(0xfff, DATA_DOWN | DB, store4, 0xffe, true),
		CASE(0xfff, DATA_DOWN | DB, store1, 0xffffffff, false),
		CASE(0xfff, DATA_DOWN, load1, 0xffff, false), /* to 64 KiB */
		CASE(0xfff, DATA_DOWN, load1, 0x10000, true),
		CASE(0xfff, DATA_DOWN, load2, 0xffff, true),
		CASE(0, DATA_DOWN | DB | G, load1, 0xfff, true),
		CASE(0, DATA_DOWN | DB | G, load1, 0x1000, false),
		CASE(0xfff, DATA_RO, load1, 0, false),
		CASE(0xfff, DATA_RO, store1, 0, true),
		CASE(0xfff, DATA_RO, modify4, 0, true),
		CASE(0xfff, CODE_XR, load1, 0, false),
		CASE(0xfff, CODE_XR, store1, 0, true),
	};

	for (unsigned i = 0; i < COUNT(cases); i++) {
		/* QEMU checks neither limits nor types at an access. */
		if (emulated && cases[i].faults)
			continue;
		spare(SPARE, ADDRESS(area) - cases[i].offset, cases[i].limit, cases[i].attributes);
		job_reset(0);
		job.fs = SPARE;
		job.ebx = cases[i].offset;
		legacy_run(cases[i].code);
		CHECK(legacy_seen.vector, cases[i].faults ? 13 : 3);
		CHECK(legacy_seen.error, 0);
		if (legacy_seen.vector == 13 && legacy_seen.eip != ADDRESS(cases[i].at))
			CHECK(legacy_seen.eip, cases[i].at);
		if ((legacy_seen.vector == 13) != cases[i].faults)
			CHECK(i, -1); /* this one */
	}
	/* A null selector loads, and then nothing can be reached by it. */
	job_reset(0);
	job.fs = 3;
	legacy_run(load1);
	UNLESS_EMULATED EXPECT_AT(load1, 13, 0);
}

/* Loads of segment registers. */

CODE(32, load_fs, "load_fs_at: mov %eax, %fs\n int3");
CODE(32, load_ss, "load_ss_at: mov %eax, %ss\n int3");
CODE(32, load_far, "load_far_at: lfs area, %ecx\n int3");
CODE(32, pop_fs, "push %eax\n pop_fs_at: pop %fs\n int3");

#define FINE 3

static void loads(void)
{
	static const struct {
		unsigned level;
		const char *code, *at;
		uint16_t selector;
		unsigned attributes; /* of SPARE */
		unsigned vector, error;
	} cases[] = {
#undef CASE
#define CASE(level, code, ...) {level, code, code##_at, __VA_ARGS__}
		CASE(0, load_fs, SPARE, DATA_RW, FINE, 0),
		CASE(0, load_fs, SPARE | 3, DATA_RW, 13, SPARE), /* RPL */
		CASE(3, load_fs, SPARE, DATA_RW, 13, SPARE),
		CASE(3, load_fs, SPARE | 3, DATA_RW | LEVEL3, FINE, 0),
		CASE(3, load_fs, SPARE, DATA_RW | LEVEL3, FINE, 0),
		CASE(3, load_fs, SPARE | 3, CODE_CONF, FINE, 0),
		CASE(3, load_fs, SPARE | 3, CODE_XR, 13, SPARE),
		CASE(0, load_fs, SPARE, CODE_XR, FINE, 0),
		CASE(0, load_fs, SPARE, CODE_X, 13, SPARE),
		CASE(0, load_fs, SPARE, DATA_RW ^ NOT_THERE, 11, SPARE),
		CASE(0, load_fs, SPARE, CODE_X ^ NOT_THERE, 13, SPARE), /* the type comes first */
		CASE(0, load_fs, SPARE, LDT_SYSTEM, 13, SPARE),
		CASE(0, load_fs, L_GDT * 8, DATA_RW, 13, L_GDT * 8),
		CASE(0, load_fs, SPARE | 4, DATA_RW, 13, SPARE | 4), /* no LDT */
		CASE(0, load_fs, 2, DATA_RW, FINE, 0),
		CASE(0, pop_fs, SPARE, CODE_X, 13, SPARE),
		CASE(0, pop_fs, SPARE, DATA_RW, FINE, 0),
		CASE(0, load_far, SPARE, CODE_X, 13, SPARE),
		CASE(0, load_ss, 0, DATA_RW, 13, 0),
		CASE(0, load_ss, SPARE | 3, DATA_RW, 13, SPARE),
		CASE(0, load_ss, SPARE, DATA_RW | LEVEL3, 13, SPARE),
		CASE(0, load_ss, SPARE, DATA_RO, 13, SPARE),
		CASE(0, load_ss, SPARE, CODE_XR, 13, SPARE),
		CASE(0, load_ss, SPARE, DATA_RW ^ NOT_THERE, 12, SPARE),
		CASE(0, load_ss, L_GDT * 8, DATA_RW, 13, L_GDT * 8),
		CASE(3, load_ss, 3, DATA_RW, 13, 0),
		CASE(3, load_ss, SPARE | 3, DATA_RW | LEVEL3, FINE, 0),
		CASE(3, load_ss, SPARE, DATA_RW | LEVEL3, 13, SPARE),
	};

	for (unsigned i = 0; i < COUNT(cases); i++) {
		unsigned failures = guest_failures;

		spare(SPARE, 0, 0xfffff, (cases[i].attributes & ~1u) | DB | G);
		job_reset(cases[i].level);
		job.eax = cases[i].selector;
		area[0] = 0x11223344;
		area[1] = cases[i].selector;
		legacy_run(cases[i].code);
		CHECK(legacy_seen.vector, cases[i].vector);
		CHECK(legacy_seen.error, cases[i].error);
		if (cases[i].vector != FINE)
			CHECK(legacy_seen.eip, cases[i].at);
		else if ((cases[i].selector & ~3u) == SPARE) /* accessed: set by the load alone */
			CHECK(legacy_gdt[SPARE / 8] >> 40 & 1, 1);
		if (cases[i].vector != FINE)
			CHECK(legacy_gdt[SPARE / 8] >> 40 & 1, 0);
		if (guest_failures != failures)
			CHECK(i, -1);
	}
}

/* A local table. */

CODE(32, load_local, "load_local_at: mov %eax, %fs\n mov %fs:0, %ecx\n int3");

static void local_table(void)
{
	static uint64_t ldt[4];

	area[0] = 0xfeedf00d;
	ldt[2] = descriptor(ADDRESS(area), 0xfff, DATA_RW);
	spare(SPARE, ADDRESS(ldt), sizeof(ldt) - 1, LDT_SYSTEM);
	job_reset(0);
	job.ldt = SPARE;
	job.eax = 0x14;
	legacy_run(load_local);
	CHECK(legacy_seen.vector, 3);
	CHECK(legacy_seen.ecx, 0xfeedf00d);
	CHECK(legacy_seen.fs, 0x14);
	job.eax = 0x24;
	legacy_run(load_local);
	EXPECT_AT(load_local, 13, 0x24);
	job.eax = 0x4; /* the first of a local table is like any other: not present here */
	legacy_run(load_local);
	EXPECT_AT(load_local, 13, 0x4);
}

/* Stacks at level 3: what instructions do to ESP, by the stack's size and the operand's. */

#define STACK(name, text) CODE(32, name, text "\n" #name "_at: int3")
STACK(push32, "push $1");
STACK(push16, "pushw $1");
STACK(push_segment, "push %fs");
STACK(push_segment16, "pushw %fs");
STACK(pop32, "pop %eax");
STACK(pop16, "pop %ax");
STACK(push_all, "pusha");
STACK(push_all16, "pushaw");
STACK(pop_all, "popa");
STACK(push_flags, "pushf");
STACK(calls, "call 1f\n 1:");
STACK(returns, "call 1f\n jmp 2f\n 1: ret $8\n 2:");
STACK(enter, "mov %esp, %ebp\n enter $16, $0");
STACK(enter2, "mov %esp, %ebp\n enter $16, $2");
STACK(enter16, "mov %esp, %ebp\n .byte 0x66\n enter $16, $0");
STACK(leaves, "mov %esp, %ebp\n sub $32, %esp\n leave");

static void stack_sizes(void)
{
	static const struct {
		const char *code, *end;
		int change;
	} cases[] = {
#undef CASE
#define CASE(name, change) {name, name##_at, change}
		CASE(push32, -4),         CASE(push16, -2),      CASE(push_segment, -4),
		CASE(push_segment16, -2), CASE(pop32, 4),        CASE(pop16, 2),
		CASE(push_all, -32),      CASE(push_all16, -16), CASE(pop_all, 32),
		CASE(push_flags, -4),     CASE(calls, -4),       CASE(returns, 8),
		CASE(enter, -20),         CASE(enter2, -28),     CASE(enter16, -18),
		CASE(leaves, 4),
	};

	/* IRET to a small stack loads SP alone: the upper half is of level 0's ESP. */
	uint32_t upper = ADDRESS(legacy_stack_top - 20) & 0xffff0000;

	for (unsigned i = 0; i < 2 * COUNT(cases); i++) {
		unsigned c = i / 2, failures = guest_failures;
		bool small = i % 2;
		uint32_t esp = small ? upper | 0x8000 : 0x8000;

		spare(SPARE, ADDRESS(area), 0xffff, DATA_RW | LEVEL3 | (small ? 0 : DB));
		job_reset(3);
		job.ss = SPARE | 3;
		job.esp = esp;
		legacy_run(cases[c].code);
		CHECK(legacy_seen.vector, 3);
		CHECK(legacy_seen.eip, cases[c].end + 1);
		CHECK(legacy_seen.esp, esp + (uint32_t)cases[c].change);
		if (guest_failures != failures)
			CHECK(c, -1);
	}
	/* A small one wraps. */
	spare(SPARE, ADDRESS(area), 0xffff, DATA_RW | LEVEL3);
	job_reset(3);
	job.ss = SPARE | 3;
	job.esp = 0;
	legacy_run(push32);
	EXPECT_END(push32);
	CHECK(legacy_seen.esp, upper | 0xfffc);
	CHECK(area[0x3fff], 1);
}

CODE(32, push_limit, "push_limit_at: push %eax\n int3");
CODE(32, by_ebp, "by_ebp_at: mov (%ebp), %eax\n int3");
CODE(32, call_limit, "call_limit_at: call 1f\n 1: int3");
CODE(32, enter_limit, "enter_limit_at: enter $0x100, $0\n int3");
CODE(32, pop_to, "pop_to_at: popl 0xffffff00\n int3");
CODE(16, code_16,
     "push $1\n pushl $1\n push %cs\n call 1f\n 1: mov $0x1234, %ax\n code_16_at: int3");
CODE(16, code_limit, "mov $0x1000, %eax\n code_limit_at: jmp *%eax");

static void stack_limit(unsigned attributes, uint32_t limit, uint32_t esp, const char *code,
			const char *at, unsigned vector)
{
	spare(SPARE, ADDRESS(area), limit, attributes);
	job_reset(3);
	job.ss = SPARE | 3;
	job.esp = job.ebp = esp;
	legacy_run(code);
	CHECK(legacy_seen.vector, vector);
	if (vector == 3)
		return;
	CHECK(legacy_seen.error, 0);
	CHECK(legacy_seen.eip, at);
	CHECK(legacy_seen.esp, esp); /* nothing was pushed */
	CHECK(legacy_seen.ss, SPARE | 3);
}

#define STACK_LIMIT(attributes, limit, esp, code, vector)                                          \
	stack_limit(attributes, limit, esp, code, code##_at, vector)

static void stack_limits(void)
{
	unsigned up = DATA_RW | LEVEL3 | DB, down = DATA_DOWN | LEVEL3 | DB;

	STACK_LIMIT(up, 0xfff, 0x1000, push_limit, 3);
	STACK_LIMIT(down, 0xfff, 0x2000, push_limit, 3);
	job_reset(0);
	spare(SPARE, ADDRESS(code_16), (uint32_t)SIZE(code_16) - 1, CODE_XR);
	job.cs = SPARE;
	job.eip = 0;
	legacy_run(NULL);
	EXPECT(3, 0, code_16_at - code_16 + 1);
	CHECK(legacy_seen.esp, job.esp - 2 - 4 - 2 - 2);
	CHECK(legacy_seen.eax, 0x1234);
	/* QEMU checks no limits. */
	if (emulated)
		return;
	STACK_LIMIT(up, 0xfff, 0x1004, push_limit, 12);
	STACK_LIMIT(up, 0xfff, 0x1001, push_limit, 12);
	STACK_LIMIT(up, 0xfff, 0, push_limit, 12);
	STACK_LIMIT(up, 0xfff, 2, call_limit, 12);
	STACK_LIMIT(up, 0xfff, 0xffd, by_ebp, 12);
	STACK_LIMIT(up, 0xfff, 0x80, enter_limit, 12);
	STACK_LIMIT(down, 0xfff, 0x1003, push_limit, 12);
	STACK_LIMIT(down, 0xfff, 0x1004, push_limit, 3);
	STACK_LIMIT(down, 0xfff, 0x100c, enter_limit, 12);
	job_reset(0);
	spare(SPARE, ADDRESS(code_limit), 0xfff, CODE_XR);
	job.cs = SPARE;
	job.eip = 0;
	legacy_run(NULL);
	EXPECT(13, 0, code_limit_at - code_limit);
	/* A POP to where nothing can be leaves ESP as it was. */
	job_reset(3);
	spare(SPARE, 0, 0xff, DATA_RW | LEVEL3 | DB);
	job.ds = SPARE | 3;
	legacy_run(pop_to);
	EXPECT_AT(pop_to, 13, 0);
	CHECK(legacy_seen.esp, job.esp);
}

/* Ports and what IOPL rules. */

CODE(32, in1, "in1_at: in $0x80, %al\n int3");
CODE(32, in2, "in2_at: in $0x80, %ax\n int3");
CODE(32, in4, "in4_at: in $0x80, %eax\n int3");
CODE(32, in_string,
     "mov $0x80, %edx\n mov %esp, %edi\n xor %ecx, %ecx\n in_string_at: rep insb\n "
     "int3");
CODE(32, clears, "clears_at: cli\n int3");
CODE(32, sets, "sets_at: sti\n nop\n int3");
CODE(32, halts, "halts_at: hlt\n int3");
CODE(32, pops_flags, "push $0x3202\n popf\n pushf\n pop %eax\n pops_flags_at: int3");
CODE(32, returns_flags,
     "push $0x23202\n push %cs\n push $1f\n iret\n 1: pushf\n pop %eax\n "
     "returns_flags_at: int3");

static void port(const char *code, const char *at, unsigned bits, bool faults)
{
	legacy_tss.ports[0x80 / 8] = (uint8_t)bits;
	job_reset(3);
	legacy_run(code);
	legacy_tss.ports[0x80 / 8] = 0xff;
	CHECK(legacy_seen.vector, faults ? 13 : 3);
	if (faults) {
		CHECK(legacy_seen.error, 0);
		CHECK(legacy_seen.eip, at);
	}
}

static void ports(void)
{
	uint64_t old = legacy_gdt[L_TSS / 8];

	port(in1, in1_at, 0xff, true);
	port(in1, in1_at, 0xfe, false);
	port(in2, in2_at, 0xfe, true);
	port(in2, in2_at, 0xfc, false);
	port(in4, in4_at, 0xf8, true);
	port(in4, in4_at, 0xf4, true);
	port(in4, in4_at, 0xf0, false);
	port(in_string, in_string_at, 0xff, true);
	port(in_string, in_string_at, 0xfe, false);
	/* A map that ends too early, or that is not there. */
	legacy_tss.ports[0x80 / 8] = 0;
	legacy_gdt[L_TSS / 8] = descriptor(ADDRESS(&legacy_tss), 104 + 0x80 / 8, 0x89);
	port(in1, in1_at, 0, true);
	legacy_gdt[L_TSS / 8] = descriptor(ADDRESS(&legacy_tss), 104 + 0x80 / 8 + 1, 0x89);
	port(in1, in1_at, 0, false);
	/* A task state of 16 bits has none; its stack for level 0 is a word and a word. */
	legacy_tss.link = 0x7f00u << 16;
	legacy_tss.esp0 = L_DATA;
	legacy_gdt[L_TSS / 8] = descriptor(ADDRESS(&legacy_tss), sizeof(legacy_tss) - 1, 0x81);
	port(in1, in1_at, 0, true);
	CHECK(legacy_seen.frame, 0x7f00 - 8);
	legacy_tss.link = 0;
	legacy_tss.esp0 = ADDRESS(legacy_stack_top);
	legacy_gdt[L_TSS / 8] = old;
	job_reset(3);
	job.eflags |= F_IOPL;
	legacy_run(in1);
	CHECK(legacy_seen.vector, 3);
}

static void privileges(void)
{
	job_reset(3);
	legacy_run(clears);
	EXPECT_AT(clears, 13, 0);
	job_reset(3);
	legacy_run(sets);
	EXPECT_AT(sets, 13, 0);
	job_reset(3);
	legacy_run(halts);
	EXPECT_AT(halts, 13, 0);
	job_reset(3);
	job.eflags |= F_IOPL;
	legacy_run(sets);
	CHECK(legacy_seen.vector, 3);
	CHECK(legacy_seen.eflags & F_IF, F_IF);
	legacy_run(halts);
	EXPECT_AT(halts, 13, 0);
	/* IF and IOPL are not changed, and nothing is said. */
	job_reset(3);
	legacy_run(pops_flags);
	EXPECT_END(pops_flags);
	CHECK(legacy_seen.eax & (F_IF | F_IOPL), 0);
	job_reset(3);
	job.eflags |= F_IOPL;
	legacy_run(pops_flags);
	CHECK(legacy_seen.eax & (F_IF | F_IOPL), F_IF | F_IOPL);
	job_reset(3);
	legacy_run(returns_flags);
	EXPECT_END(returns_flags);
	CHECK(legacy_seen.eax & (F_IF | F_IOPL | F_VM), 0);
}

/* Instructions that ask about selectors. */

CODE(32, lar, "lar %ax, %ecx\n setz %dl\n lar_at: int3");
CODE(32, lsl, "lsl %ax, %ecx\n setz %dl\n lsl_at: int3");
CODE(32, verr, "verr %ax\n setz %dl\n verr_at: int3");
CODE(32, verw, "verw %ax\n setz %dl\n verw_at: int3");
CODE(32, arpl, "arpl %bx, %ax\n setz %dl\n arpl_at: int3");

static void questions(void)
{
	static const struct {
		const char *code;
		unsigned level, attributes;
		bool yes;
		uint32_t result;
	} cases[] = {
		{lar, 0, DATA_RW | DB, true, 0x409300},
		{lar, 3, DATA_RW | DB, false, 0},
		{lar, 3, CODE_CONF | DB, true, 0x409f00},
		{lar, 0, 0x8c, true, 0x008c00}, /* a call gate */
		{lar, 0, 0x8e, false, 0},       /* an interrupt gate */
		{lar, 0, DATA_RW ^ NOT_THERE, true, 0x001300},
		{lsl, 0, DATA_RW, true, 0x234},
		{lsl, 0, DATA_RW | G, true, 0x234fff},
		{lsl, 0, 0x89, true, 0x234},
		{lsl, 0, 0x8c, false, 0},
		{verr, 0, DATA_RW, true, 0},
		{verr, 0, CODE_X, false, 0},
		{verr, 0, CODE_XR, true, 0},
		{verr, 3, CODE_XR, false, 0},
		{verr, 3, CODE_CONF, true, 0},
		{verr, 0, 0x89, false, 0},
		{verw, 0, DATA_RW, true, 0},
		{verw, 0, DATA_RO, false, 0},
		{verw, 0, CODE_XR, false, 0},
		{verw, 3, DATA_RW, false, 0},
		{verw, 3, DATA_RW | LEVEL3, true, 0},
	};

	for (unsigned i = 0; i < COUNT(cases); i++) {
		unsigned failures = guest_failures;

		spare(SPARE, 0, 0x234, cases[i].attributes);
		job_reset(cases[i].level);
		job.eax = SPARE | cases[i].level;
		job.ecx = 0xdead;
		legacy_run(cases[i].code);
		CHECK(legacy_seen.vector, 3);
		CHECK(legacy_seen.edx & 1, cases[i].yes);
		if (cases[i].code == lar || cases[i].code == lsl)
			CHECK(legacy_seen.ecx, cases[i].yes ? cases[i].result : 0xdead);
		if (guest_failures != failures)
			CHECK(i, -1);
	}
	job_reset(0);
	job.eax = 0x41;
	job.ebx = 3;
	legacy_run(arpl);
	CHECK(legacy_seen.eax, 0x43);
	CHECK(legacy_seen.edx & 1, 1);
	job.ebx = 0;
	legacy_run(arpl);
	CHECK(legacy_seen.eax, 0x41);
	CHECK(legacy_seen.edx & 1, 0);
}

void guest_main(void)
{
	guest_setup();
	legacy_setup();
	accesses();
	loads();
	local_table();
	stack_sizes();
	stack_limits();
	ports();
	privileges();
	questions();
	guest_end();
}
