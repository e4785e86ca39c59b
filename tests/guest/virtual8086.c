/* SPDX-License-Identifier: MIT */
/*
 * Virtual-8086 mode without CR4.VME: into it by IRET, out of it by traps, what IOPL rules, ports
 * (AMD64 vol. 2, 2.4 and 8.10; SDM vol. 3, 21.2 and 21.3).
 */
#include "tests/guest/legacy.h"

#define COUNT(table) (sizeof(table) / sizeof(table[0]))

#define V86(name, text) CODE(16, name, text)

V86(clears, "clears_at: cli\n int3");
V86(sets, "sets_at: sti\n int3");
V86(pushes, "pushes_at: pushf\n int3");
V86(pops, "pushw $0\n pops_at: popf\n int3");
V86(pushes32, "pushes32_at: pushfl\n int3");
V86(software, "software_at: int $0x42\n int3");
V86(iret, "pushw $0x3202\n pushw %cs\n pushw $0x4000 + 1f - iret\n iret_at: iret\n 1: int3");
V86(iret_first, "mov $0xffff, %sp\n iret_first_at: iret\n int3"); /* IOPL before the stack */
V86(breakpoint, "breakpoint_at: int3");
V86(overflow, "mov $0x7f, %al\n inc %al\n overflow_at: into\n int3");
V86(halts, "halts_at: hlt\n int3");
V86(control, "control_at: mov %cr0, %eax\n int3");
V86(status, "status_at: smsw %ax\n int3");
V86(tables, "tables_at: lgdtl 0\n int3");
V86(clear_ts, "clear_ts_at: clts\n int3");
V86(local, "local_at: sldt %ax\n int3");
V86(load_local, "load_local_at: lldt %ax\n int3");
V86(verify, "verify_at: verr %ax\n int3");
V86(access, "access_at: lar %ax, %ax\n int3");
V86(adjust, "adjust_at: arpl %ax, %bx\n int3");
V86(divide, "xor %cx, %cx\n divide_at: div %cx\n int3");
V86(undefined, "undefined_at: ud2");
V86(in, "in_at: in $0x80, %al\n int3");
V86(out_wide, "out_wide_at: out %ax, $0x80\n int3");

static void instructions(void)
{
	static const struct {
		const char *code, *at;
		size_t size;
		bool iopl3;
		unsigned vector;

		unsigned length; /* from NAME_at to the EIP that is reported */
	} cases[] = {
#define CASE(name, ...) {name, name##_at, 48, __VA_ARGS__}
		CASE(clears, false, 13, 0),     CASE(clears, true, 3, 2),
		CASE(sets, false, 13, 0),       CASE(sets, true, 3, 2),
		CASE(pushes, false, 13, 0),     CASE(pushes, true, 3, 2),
		CASE(pushes32, false, 13, 0),   CASE(pushes32, true, 3, 3),
		CASE(pops, false, 13, 0),       CASE(pops, true, 3, 2),
		CASE(software, false, 13, 0),   CASE(software, true, 0x42, 2),
		CASE(iret, false, 13, 0),       CASE(iret, true, 3, 2),
		CASE(iret_first, false, 13, 0), CASE(breakpoint, false, 3, 1),
		CASE(breakpoint, true, 3, 1),   CASE(overflow, false, 4, 1),
		CASE(overflow, true, 4, 1),     CASE(halts, true, 13, 0),
		CASE(control, true, 13, 0),     CASE(status, false, 3, 4),
		CASE(tables, true, 13, 0),      CASE(clear_ts, true, 13, 0),
		CASE(local, true, 6, 0),        CASE(load_local, true, 6, 0),
		CASE(verify, true, 6, 0),       CASE(access, true, 6, 0),
		CASE(adjust, true, 6, 0),       CASE(divide, true, 0, 0),
		CASE(undefined, true, 6, 0),    CASE(in, true, 13, 0), /* IOPL does not matter */
		CASE(out_wide, true, 13, 0),
	};

	for (unsigned i = 0; i < COUNT(cases); i++) {
		unsigned failures = guest_failures;
		uint32_t at = (uint32_t)(LOW_CODE + (cases[i].at - cases[i].code));

		job_reset(0);
		v86_run(cases[i].code, cases[i].size, cases[i].iopl3 ? F_IOPL : 0);
		CHECK(legacy_seen.vector, cases[i].vector);
		CHECK(legacy_seen.error, 0);
		CHECK(legacy_seen.eip, at + cases[i].length);
		CHECK(legacy_seen.cs & 0xffff, LOW_SEG);
		CHECK(legacy_seen.eflags & (F_VM | F_IOPL), F_VM | (cases[i].iopl3 ? F_IOPL : 0));
		if (guest_failures != failures)
			CHECK(i, -1);
	}
	CHECK(legacy_seen.v86_ds & 0xffff, LOW_SEG);
}

V86(frame, "mov $0x1111, %ax\n mov %ax, %ds\n mov $0x2222, %ax\n mov %ax, %es\n mov $0x3333, %ax\n"
	   "mov %ax, %fs\n mov $0x4444, %ax\n mov %ax, %gs\n mov $0x3800, %ax\n mov %ax, %ss\n"
	   "mov $0x7000, %sp\n push $0x1234\n frame_at: int3");
V86(bases, "mov $0x3400, %ax\n mov %ax, %es\n mov %es:0x100, %ecx\n movw $7, %cs:0x8000\n "
	   "mov 0x8000, %dx\n bases_at: int3");
V86(flags, "sti\n pushfl\n pop %eax\n pushfl\n andl $~0x3200, (%esp)\n popfl\n pushfl\n pop %ebx\n "
	   "flags_at: int3");

static void state(void)
{
	job_reset(0);
	v86_run(frame, SIZE(frame), 0);
	EXPECT_LOW_END(frame);
	CHECK(legacy_seen.v86_ds & 0xffff, 0x1111);
	CHECK(legacy_seen.v86_es & 0xffff, 0x2222);
	CHECK(legacy_seen.v86_fs & 0xffff, 0x3333);
	CHECK(legacy_seen.v86_gs & 0xffff, 0x4444);
	CHECK(legacy_seen.ss & 0xffff, 0x3800);
	CHECK(legacy_seen.esp & 0xffff, 0x6ffe);
	CHECK(*(volatile uint16_t *)(uintptr_t)0x3effe, 0x1234);
	/* In the handler they are null. */
	CHECK(legacy_seen.ds | legacy_seen.es | legacy_seen.fs | legacy_seen.gs, 0);
	CHECK(legacy_seen.frame, ADDRESS(legacy_stack_top) - 24);
	*(volatile uint32_t *)(uintptr_t)0x34100 = 0xabcd4321;
	job_reset(0);
	v86_run(bases, SIZE(bases), 0);
	EXPECT_LOW_END(bases);
	CHECK(legacy_seen.ecx, 0xabcd4321);
	CHECK(legacy_seen.edx & 0xffff, 7); /* code can be written to */
	job_reset(0);
	v86_run(flags, SIZE(flags), F_IOPL);
	EXPECT_LOW_END(flags);
	CHECK(legacy_seen.eax & (F_VM | F_IOPL | F_IF), F_IOPL | F_IF);
	CHECK(legacy_seen.ebx & (F_VM | F_IOPL | F_IF), F_IOPL);
}

/* Gates: to level 0 and not conforming, or not at all. */
static void gates(void)
{
	static const struct {
		unsigned access;
		uint16_t target;
		unsigned attributes, error;
	} cases[] = {
		{0x8e, L_CODE, 0, 0x42 * 8 + 2},
		{0xee, L_USER, 0, L_USER & ~3u},
		{0xee, SPARE, 0x9f | DB | G, SPARE},
		{0xee, SPARE, 0xbb | DB | G, SPARE}, /* level 1 */
	};
	uint64_t old = legacy_idt[0x42];

	for (unsigned i = 0; i < COUNT(cases); i++) {
		unsigned failures = guest_failures;

		/* QEMU would go to level 1. */
		if (emulated && cases[i].target == SPARE)
			continue;
		legacy_idt[0x42] = gate32(cases[i].target, ADDRESS(legacy_vectors + 16 * 0x42),
					  cases[i].access, 0);
		legacy_gdt[SPARE / 8] = descriptor(0, 0xfffff, cases[i].attributes);
		/* Level 1 has a stack, so that nothing else is wrong. */
		legacy_gdt[SPARE2 / 8] = descriptor(0, 0xfffff, 0xb3 | DB | G);
		legacy_tss.ss1 = SPARE2 | 1;
		legacy_tss.esp1 = ADDRESS(legacy_stack3_top);
		job_reset(0);
		v86_run(software, SIZE(software), F_IOPL);
		EXPECT_LOW(software, 13, cases[i].error);
		if (guest_failures != failures)
			CHECK(i, -1);
	}
	legacy_idt[0x42] = old;
}

static void ports(void)
{
	job_reset(0);
	legacy_tss.ports[0x80 / 8] = 0xfe;
	v86_run(in, SIZE(in), 0);
	CHECK(legacy_seen.vector, 3);
	v86_run(out_wide, SIZE(out_wide), 0);
	EXPECT_LOW(out_wide, 13, 0);
	legacy_tss.ports[0x80 / 8] = 0xfc;
	v86_run(out_wide, SIZE(out_wide), 0);
	CHECK(legacy_seen.vector, 3);
	legacy_tss.ports[0x80 / 8] = 0xff;
}

V86(word_across, "mov $0xffff, %bx\n word_across_at: mov (%bx), %ax");
V86(wide_address, "mov $0x10000, %ebx\n wide_address_at: mov (%ebx), %al");
V86(stack_across, "mov $1, %sp\n stack_across_at: push %ax");
V86(by_bp, "mov $0xffff, %bp\n by_bp_at: mov (%bp), %ax");
V86(far_code, "mov $0x10000, %eax\n far_code_at: jmp *%eax");

/* QEMU checks no limits. */
static void limits(void)
{
	if (emulated)
		return;
	job_reset(0);
	v86_run(word_across, SIZE(word_across), 0);
	EXPECT_LOW(word_across, 13, 0);
	v86_run(wide_address, SIZE(wide_address), 0);
	EXPECT_LOW(wide_address, 13, 0);
	v86_run(stack_across, SIZE(stack_across), 0);
	EXPECT_LOW(stack_across, 12, 0);
	CHECK(legacy_seen.esp & 0xffff, 1);
	v86_run(by_bp, SIZE(by_bp), 0);
	EXPECT_LOW(by_bp, 12, 0);
	v86_run(far_code, SIZE(far_code), 0);
	EXPECT_LOW(far_code, 13, 0);
}

void guest_main(void)
{
	guest_setup();
	legacy_setup();
	instructions();
	state();
	gates();
	ports();
	limits();
	guest_end();
}
