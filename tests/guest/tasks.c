/* SPDX-License-Identifier: MIT */
/*
 * Task switches in hardware, outside long mode: by JMP, CALL, IRET and gates; what is saved and
 * loaded; faults on the way, of the old task and of the new (AMD64 vol. 2, chapter 12; SDM vol. 3,
 * 8.3).
 */
#include "tests/guest/legacy.h"

#define COUNT(table) (sizeof(table) / sizeof(table[0]))

#define OTHER   SPARE  /* a task */
#define HANDLER SPARE2 /* one that takes faults of the new task */
#define GATE    SPARE3
#define LOCAL   SPARE4

#define FREE 0x89
#define BUSY 0x8b
#define TS   8u

static struct legacy_tss other, handler;
static uint8_t stacks[2][1024] __attribute__((aligned(16)));

/* Where the vectors of `legacy.S` are, for a task. */
static uint32_t vector_of(unsigned vector)
{
	return ADDRESS(legacy_vectors + 16 * vector);
}

CODE(32, landed, "landed_at: int3");
CODE(32, jump, "jump_at: ljmp $0x40, $0\n jump_after: int3");
CODE(32, call, "call_at: lcall $0x40, $0\n call_after: int3");
CODE(32, through, "through_at: lcall $0x50, $0\n through_after: int3");
CODE(32, interrupt, "interrupt_at: int $0x50\n interrupt_after: int3");
CODE(32, fault, "mov $0x1f8, %eax\n fault_at: mov %eax, %fs\n int3");
CODE(32, goes_back, "goes_back_at: iret\n goes_back_after: int3");
CODE(32, reads, "mov 0x40000000, %eax\n reads_at: int3");
CODE(32, reads_fs, "mov %fs:0, %eax\n reads_fs_at: int3");
extern const char jump_after[], call_after[], through_after[], interrupt_after[], goes_back_after[];

static void task_make(struct legacy_tss *tss, const char *code, unsigned stack)
{
	*tss = (struct legacy_tss){
		.esp0 = ADDRESS(stacks[stack]) + 512,
		.ss0 = L_DATA,
		.eip = ADDRESS(code),
		.eflags = 2,
		.gpr = {0x11, 0x22, 0x33, 0x44, ADDRESS(stacks[stack] + 1024), 0x66, 0x77, 0x88},
		.cs = L_CODE,
		.ss = L_DATA,
		.ds = L_DATA,
		.es = L_DATA,
		.fs = L_USER_DS,
		.gs = 0,
		.map = 104,
	};
}

static unsigned type_of(unsigned selector)
{
	return legacy_gdt[selector / 8] >> 40 & 0xff;
}

static void reset(const char *code)
{
	task_make(&other, code, 0);
	task_make(&handler, landed, 1);
	legacy_gdt[OTHER / 8] = descriptor(ADDRESS(&other), sizeof(other) - 1, FREE);
	legacy_gdt[HANDLER / 8] = descriptor(ADDRESS(&handler), sizeof(handler) - 1, FREE);
	legacy_gdt[GATE / 8] = gate32(OTHER, 0xdeadbeef, 0xe5, 0);
	legacy_tss.link = 0x5555;
	legacy_tss.eip = 0;
	for (unsigned i = 0; i < 256; i++)
		legacy_idt[i] = gate32(L_CODE, vector_of(i), 0xee, 0);
	legacy_idt[0x50] = gate32(OTHER, 0, 0xe5, 0);
	job_reset(0);
	job.eax = 0xaaaa;
	job.edi = 0xdddd;
	job.eflags |= 1;
	job.fs = L_USER_DS;
}

/* What is loaded is in the registers, what is saved in the old task's state. */
static void check_switch(uint32_t eip, uint32_t saved_eip)
{
	EXPECT(3, 0, eip + 1);
	CHECK(legacy_seen.tr, OTHER);
	CHECK(legacy_seen.cr0 & TS, TS);
	CHECK(legacy_seen.eax, 0x11);
	CHECK(legacy_seen.ecx, 0x22);
	CHECK(legacy_seen.edx, 0x33);
	CHECK(legacy_seen.ebx, 0x44);
	CHECK(legacy_seen.ebp, 0x66);
	CHECK(legacy_seen.esi, 0x77);
	CHECK(legacy_seen.edi, 0x88);
	CHECK(legacy_seen.fs, L_USER_DS);
	CHECK(legacy_seen.gs, 0);
	CHECK(legacy_seen.eflags & 1, 0);
	CHECK(legacy_tss.eip, saved_eip);
	CHECK(legacy_tss.gpr[0], 0xaaaa);
	CHECK(legacy_tss.gpr[7], 0xdddd);
	CHECK(legacy_tss.eflags & 1, 1);
	CHECK(legacy_tss.cs & 0xffff, L_CODE);
	CHECK(legacy_tss.fs & 0xffff, L_USER_DS);
	CHECK(type_of(OTHER), BUSY);
}

static void switches(void)
{
	reset(landed);
	legacy_run(jump);
	check_switch(ADDRESS(landed_at), ADDRESS(jump_after));
	CHECK(legacy_tss.gpr[4], job.esp);
	CHECK(legacy_seen.esp, stacks[0] + 1024);
	CHECK(type_of(L_TSS), FREE);
	CHECK(legacy_seen.eflags & F_NT, 0);
	CHECK(other.link, 0);
	reset(landed);
	legacy_run(call);
	check_switch(ADDRESS(landed_at), ADDRESS(call_after));
	CHECK(type_of(L_TSS), BUSY);
	CHECK(legacy_seen.eflags & F_NT, F_NT);
	CHECK(other.link, L_TSS);
	CHECK(legacy_tss.link, 0x5555);
	reset(landed);
	legacy_run(through);
	check_switch(ADDRESS(landed_at), ADDRESS(through_after));
	CHECK(other.link, L_TSS);
	reset(landed);
	legacy_run(interrupt);
	check_switch(ADDRESS(landed_at), ADDRESS(interrupt_after));
	CHECK(other.link, L_TSS);
	CHECK(type_of(L_TSS), BUSY);
	CHECK(legacy_seen.eflags & F_NT, F_NT);
	/* From level 3, by a gate. */
	reset(landed);
	job.cs = L_USER;
	job.ss = job.ds = job.es = job.fs = L_USER_DS;
	job.esp = ADDRESS(legacy_stack3_top);
	legacy_run(interrupt);
	EXPECT(3, 0, landed_at + 1);
	CHECK(legacy_tss.cs & 0xffff, L_USER);
	CHECK(legacy_tss.gpr[4], job.esp);
	/* To level 3. */
	reset(landed);
	other.cs = L_USER;
	other.ss = other.ds = other.es = L_USER_DS;
	legacy_run(jump);
	EXPECT(3, 0, landed_at + 1);
	CHECK(legacy_seen.cs, L_USER);
	CHECK(legacy_seen.frame, ADDRESS(stacks[0]) + 512 - 8);
	/* An exception: its error code is on the new task's stack, EIP is still on the fault. */
	reset(landed);
	legacy_idt[13] = gate32(OTHER, 0, 0x85, 0);
	legacy_run(fault);
	EXPECT(3, 0, landed_at + 1);
	CHECK(legacy_tss.eip, fault_at);
	CHECK(legacy_seen.esp, ADDRESS(stacks[0]) + 1024 - 4);
	CHECK(*(uint32_t *)(uintptr_t)legacy_seen.esp, 0x1f8);
}

static void comes_back(const char *code, const char *after)
{
	reset(goes_back);
	legacy_run(code);
	EXPECT(3, 0, after + 1);
	CHECK(legacy_seen.tr, L_TSS);
	CHECK(type_of(L_TSS), BUSY);
	CHECK(type_of(OTHER), FREE);
	CHECK(other.eip, goes_back_after);
	CHECK(other.eflags & F_NT, 0);
	CHECK(other.link, L_TSS);
	CHECK(legacy_seen.eflags & F_NT, 0);
	CHECK(legacy_seen.eax, 0xaaaa);
	CHECK(legacy_seen.esp, job.esp);
	CHECK(legacy_seen.cr0 & TS, TS);
}

static void returns(void)
{
	comes_back(call, call_after);
	comes_back(through, through_after);
	comes_back(interrupt, interrupt_after);
}

/* The address space and the local table are the task's. */
static void spaces(void)
{
	static uint32_t directory[2][1024] __attribute__((aligned(4096)));
	static uint32_t table[2][1024] __attribute__((aligned(4096)));
	static uint32_t page[2][1024] __attribute__((aligned(4096)));
	static uint64_t ldt[2];

	for (unsigned i = 0; i < 2; i++) {
		for (unsigned j = 0; j < 4; j++)
			directory[i][j] = j << 22 | 0x83;
		directory[i][256] = ADDRESS(table[i]) | 3;
		table[i][0] = ADDRESS(page[i]) | 3;
		page[i][0] = 0x1000 + i;
	}
	reset(reads);
	job.cr0 |= 1u << 31;
	job.cr3 = ADDRESS(directory[0]);
	job.cr4 = 0x10;
	other.cr3 = ADDRESS(directory[1]);
	legacy_run(jump);
	EXPECT_END(reads);
	CHECK(legacy_seen.eax, 0x1001);
	ldt[1] = descriptor(ADDRESS(page[0]), 0xfff, 0x93);
	reset(reads_fs);
	legacy_gdt[LOCAL / 8] = descriptor(ADDRESS(ldt), sizeof(ldt) - 1, 0x82);
	other.ldt = LOCAL;
	other.fs = 0xc;
	legacy_run(jump);
	EXPECT_END(reads_fs);
	CHECK(legacy_seen.eax, 0x1000);
	CHECK(legacy_seen.fs, 0xc);
}

/* A task state of 16 bits: its stack for level 0 is below 64 KiB, where a guest has room. */
#define LOW_STACK 0x7f00u

CODE(16, small, "mov %sp, %bp\n small_at: int3");

static void small_tasks(void)
{
	static struct {
		uint16_t link, sp0, ss0, sp1, ss1, sp2, ss2, ip, flags, gpr[8], es, cs, ss, ds, ldt;
	} tss;

	reset(landed);
	tss.sp0 = LOW_STACK;
	tss.ss0 = L_DATA;
	tss.flags = 2;
	for (uint16_t i = 0; i < 8; i++)
		tss.gpr[i] = (uint16_t)(0x1000 + i);
	tss.cs = LOCAL | 3;
	tss.ss = tss.ds = tss.es = L_USER_DS;
	legacy_gdt[LOCAL / 8] = descriptor(ADDRESS(small), 0xffff, 0xfb);
	legacy_gdt[OTHER / 8] = descriptor(ADDRESS(&tss), sizeof(tss) - 1, 0x81);
	legacy_run(call);
	EXPECT(3, 0, small_at - small + 1);
	CHECK(legacy_seen.tr, OTHER);
	CHECK(legacy_seen.cs, LOCAL | 3);
	CHECK(legacy_seen.eax & 0xffff, 0x1000);
	CHECK(legacy_seen.edi & 0xffff, 0x1007);
	CHECK(legacy_seen.ebp & 0xffff, 0x1004);
	CHECK(legacy_seen.fs | legacy_seen.gs, 0); /* it has none */
	CHECK(legacy_seen.frame, LOW_STACK - 8);
	CHECK(legacy_seen.eflags & F_NT, F_NT);
	CHECK(tss.link, L_TSS);
	CHECK(legacy_tss.eip, call_after);
	CHECK(type_of(OTHER), 0x83);
	/* And by the same way back: it is saved in 16 bits. */
	legacy_gdt[OTHER / 8] = descriptor(ADDRESS(&tss), sizeof(tss) - 1, 0x81);
	legacy_gdt[LOCAL / 8] = descriptor(ADDRESS(goes_back), 0xffff, 0x9b);
	tss.cs = LOCAL;
	tss.ss = tss.ds = tss.es = L_DATA;
	tss.ip = 0;
	tss.gpr[4] = LOW_STACK;
	legacy_run(call);
	EXPECT(3, 0, call_after + 1);
	CHECK(legacy_seen.tr, L_TSS);
	CHECK(tss.ip, goes_back_after - goes_back);
	CHECK(type_of(OTHER), 0x81);
	/* Its limit. */
	reset(landed);
	legacy_gdt[OTHER / 8] = descriptor(ADDRESS(&tss), 42, 0x81);
	legacy_run(call);
	EXPECT_AT(call, 10, OTHER);
}

/* Faults of the old task: nothing has happened yet. */

#define CASE(level, code, ...)                                                                     \
	{                                                                                          \
		level, code, code##_at, __VA_ARGS__                                                \
	}

static void old_faults(void)
{
	static const struct {
		unsigned level;
		const char *code, *at;
		unsigned attributes;
		uint32_t limit;
		unsigned vector, error;
	} cases[] = {
		CASE(0, jump, BUSY, 103, 13, OTHER),
		CASE(0, call, BUSY, 103, 13, OTHER),
		CASE(0, through, BUSY, 103, 13, OTHER),
		CASE(0, jump, FREE ^ 0x80, 103, 11, OTHER),
		CASE(0, interrupt, FREE ^ 0x80, 103, 11, OTHER),
		CASE(0, jump, FREE, 102, 10, OTHER),
		CASE(0, through, FREE, 102, 10, OTHER),
		CASE(3, jump, FREE, 103, 13, OTHER),
		CASE(3, interrupt, BUSY, 103, 13, OTHER),
		CASE(0, interrupt, 0x82, 103, 13, OTHER), /* no task at all */
	};

	for (unsigned i = 0; i < COUNT(cases); i++) {
		unsigned failures = guest_failures;

		reset(landed);
		if (cases[i].level) {
			job.cs = L_USER;
			job.ss = job.ds = job.es = L_USER_DS;
		}
		legacy_gdt[OTHER / 8] =
			descriptor(ADDRESS(&other), cases[i].limit, cases[i].attributes);
		legacy_run(cases[i].code);
		EXPECT(cases[i].vector, cases[i].error, cases[i].at);
		CHECK(legacy_seen.tr, L_TSS);
		CHECK(legacy_seen.cr0 & TS, 0);
		CHECK(type_of(L_TSS), BUSY);
		CHECK(type_of(OTHER), cases[i].attributes);
		CHECK(legacy_tss.eip, 0);
		if (guest_failures != failures)
			CHECK(i, -1);
	}
	/* IRET of a nested task wants a busy one. */
	reset(landed);
	legacy_tss.link = OTHER;
	job.eflags |= F_NT;
	legacy_run(goes_back);
	EXPECT_AT(goes_back, 10, OTHER);
	legacy_tss.link = 0;
	legacy_run(goes_back);
	EXPECT_AT(goes_back, 10, 0);
	legacy_tss.link = OTHER | 4;
	legacy_run(goes_back);
	EXPECT_AT(goes_back, 10, OTHER | 4);
	/* A gate to a gate that is not there. */
	reset(landed);
	legacy_gdt[GATE / 8] = gate32(OTHER, 0, 0x65, 0);
	legacy_run(through);
	EXPECT_AT(through, 11, GATE);
}

/* Faults of the new task: the switch is done, its first instruction is not. */
static void new_faults(void)
{
	static const struct {
		uint16_t cs, ss, ds, ldt;
		unsigned attributes; /* of LOCAL */
		unsigned vector, error;
	} cases[] = {
		{L_CODE, L_DATA, L_DATA, L_DATA, 0, 10, L_DATA}, /* no LDT */
		{L_CODE, L_DATA, L_DATA, L_GDT * 8, 0, 10, L_GDT * 8},
		{L_CODE, L_DATA, L_DATA, LOCAL, 0x02, 10, LOCAL}, /* not present */
		{0, L_DATA, L_DATA, 0, 0, 10, 0},
		{L_DATA, L_DATA, L_DATA, 0, 0, 10, L_DATA},
		{LOCAL, L_DATA, L_DATA, 0, 0x1b | DB | G, 11, LOCAL},
		{LOCAL, L_DATA, L_DATA, 0, 0xfb | DB | G, 10, LOCAL}, /* DPL is not RPL */
		{L_CODE, 0, L_DATA, 0, 0, 10, 0},
		{L_CODE, L_CODE, L_DATA, 0, 0, 10, L_CODE},
		{L_CODE, L_USER_DS, L_DATA, 0, 0, 10, L_USER_DS & ~3u},
		{L_CODE, LOCAL, L_DATA, 0, 0x13 | DB | G, 12, LOCAL},
		{L_CODE, L_DATA, LOCAL, 0, 0x13 | DB | G, 11, LOCAL},
		{L_CODE, L_DATA, LOCAL, 0, 0x99 | DB | G, 10, LOCAL}, /* cannot be read */
		{L_CODE, L_DATA, L_GDT * 8, 0, 0, 10, L_GDT * 8},
		{L_USER, L_USER_DS, L_DATA, 0, 0, 10, L_DATA},
	};

	for (unsigned i = 0; i < COUNT(cases); i++) {
		unsigned failures = guest_failures;

		reset(landed);
		other.cs = cases[i].cs;
		other.ss = cases[i].ss;
		other.ds = cases[i].ds;
		other.ldt = cases[i].ldt;
		other.eflags |= F_IOPL;
		if (cases[i].attributes)
			legacy_gdt[LOCAL / 8] = descriptor(0, 0xfffff, cases[i].attributes);
		/* The handler is a task: the new one may have no stack. */
		legacy_idt[cases[i].vector] = gate32(HANDLER, 0, 0x85, 0);
		handler.eip = vector_of(cases[i].vector);
		legacy_run(jump);
		CHECK(legacy_seen.vector, cases[i].vector);
		CHECK(legacy_seen.error, cases[i].error);
		CHECK(legacy_seen.tr, HANDLER);
		CHECK(handler.link, OTHER);
		CHECK(other.eip, landed);
		CHECK(other.gpr[0], 0x11);
		CHECK(other.eflags & F_IOPL, F_IOPL);
		CHECK(type_of(L_TSS), FREE);
		CHECK(type_of(OTHER), BUSY);
		CHECK(legacy_tss.eip, jump_after);
		if (guest_failures != failures)
			CHECK(i, -1);
	}
	/* With a gate in between the flags are the new task's as well, not the old one's. */
	reset(landed);
	other.ds = L_GDT * 8;
	other.eflags |= F_IOPL;
	legacy_idt[10] = gate32(HANDLER, 0, 0x85, 0);
	handler.eip = vector_of(10);
	job.eflags |= 0x40;
	legacy_idt[6] = gate32(OTHER, 0, 0x85, 0);
	legacy_run("\x0f\x0b");
	CHECK(legacy_seen.vector, 10);
	CHECK(legacy_seen.error & ~1u, L_GDT * 8);
	CHECK(other.eflags & (F_IOPL | 0x41), F_IOPL);
	/* EIP beyond the segment. */
	reset(landed);
	legacy_gdt[LOCAL / 8] = descriptor(0, 0xfff, 0x9b | DB);
	other.cs = LOCAL;
	legacy_run(jump);
	EXPECT(13, 0, landed);
	CHECK(legacy_seen.tr, OTHER);
}

CODE(32, no_stack, "mov $0x40, %eax\n mov %eax, %ss\n mov $2, %esp\n no_stack_at: push %eax");

/* A stack fault whose handler has no stack: a task takes the double fault. */
static void double_fault(void)
{
	reset(landed);
	legacy_gdt[OTHER / 8] = descriptor(0, 0xfff, 0x93 | DB);
	legacy_idt[8] = gate32(HANDLER, 0, 0x85, 0);
	handler.eip = vector_of(8);
	legacy_run(no_stack);
	CHECK(legacy_seen.vector, 8);
	CHECK(legacy_seen.error, 0);
	CHECK(legacy_seen.tr, HANDLER);
	CHECK(handler.link, L_TSS);
	CHECK(legacy_tss.eip, no_stack_at);
	CHECK(legacy_tss.gpr[4], 2);
}

static uint64_t dr6_take(void)
{
	uint64_t value;

	__asm__ volatile("mov %%dr6, %0" : "=r"(value));
	__asm__ volatile("mov %0, %%dr6" : : "r"(0xffff0ff0ull));
	return value;
}

/* The T flag: a debug exception before the first instruction. */
static void trap_flag(void)
{
	reset(landed);
	other.trap = 1;
	dr6_take();
	legacy_run(jump);
	EXPECT(1, 0, landed);
	CHECK(dr6_take() & 0xe00f, 0x8000);
	CHECK(legacy_seen.tr, OTHER);
	/* TF of the new task: after it. */
	reset(landed);
	legacy_idt[3] = gate32(L_CODE, vector_of(3), 0xee, 0);
	task_make(&other, reads_fs, 0);
	other.fs = L_DATA;
	other.eflags |= F_TF;
	legacy_run(jump);
	EXPECT(1, 0, reads_fs_at);
	CHECK(dr6_take() & 0xe00f, 0x4000);
}

void guest_main(void)
{
	guest_setup();
	legacy_setup();
	switches();
	returns();
	spaces();
	small_tasks();
	old_faults();
	/*
	 * KVM carries out task switches of SVM in software: it stops the guest at a fault of the
	 * new task, and knows neither the T flag nor TF there. Nor does QEMU know the T flag.
	 */
	if (!under_kvm) {
		new_faults();
		double_fault();
		trap_flag();
	}
	guest_end();
}
