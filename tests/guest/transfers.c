/* SPDX-License-Identifier: MIT */
/*
 * Transfers of control in long mode: call gates, far returns and IRET with their frames, SYSCALL
 * and SYSRET, loads of the task register and the local table (AMD64 vol. 2, 4.8, 6.1 and 8.9).
 */
#include "vmm/workload/guest.h"

#define COUNT(table) (sizeof(table) / sizeof(table[0]))

/* Behind what start.S has there is room: see gdt_end. */
#define SPARE   0x50
#define SPARE2  0x60
#define GATE    0x70
#define PRESENT 0x80u

static uint8_t page[4096] __attribute__((aligned(4096)));
static uint64_t user_stack[64] __attribute__((aligned(16)));

struct far_pointer {
	uint64_t offset;
	uint16_t selector;
} __attribute__((packed));
struct far_pointer far_pointer;
uint64_t frame[5], seen[4], saved_rsp;

static void call_gate(const void *target, uint16_t selector, unsigned type, unsigned extra)
{
	uint64_t at = (uint64_t)target;

	gdt[GATE / 8] = (at & 0xffff) | (uint64_t)selector << 16 | (uint64_t)type << 40 |
			(at >> 16 & 0xffff) << 48;
	gdt[GATE / 8 + 1] = at >> 32 | (uint64_t)extra << 40;
	far_pointer = (struct far_pointer){.offset = 0xdeadbeef, .selector = GATE};
}

#define PIECE(name, text)                                                                          \
	extern const char name[], name##_at[];                                                     \
	__asm__(#name ": " text "\n")

/* 48 ff /3: a 64-bit far pointer. */
PIECE(far_call, "far_call_at: .byte 0x48\n lcall *far_pointer\n far_call_after: ud2");
PIECE(landed, "landed_at: int3");
PIECE(gate_target,
      "mov (%rsp), %rax\n mov %rax, seen\n mov 8(%rsp), %rax\n mov %rax, seen + 8\n mov "
      "16(%rsp), %rax\n mov %rax, seen + 16\n mov 24(%rsp), %rax\n mov %rax, seen + 24\n "
      "mov %ss, %eax\n mov %cs, %ecx\n gate_target_at: int3");
PIECE(gate_returns, "gate_returns_at: lretq");
PIECE(returns,
      "mov %rsp, saved_rsp\n push frame + 32\n push frame + 24\n push frame + 16\n push frame + "
      "8\n push frame\n returns_at: iretq");
PIECE(returns_far,
      "mov %rsp, saved_rsp\n push frame + 32\n push frame + 24\n push frame + 8\n push "
      "frame\n returns_far_at: lretq");
PIECE(nested, "pushf\n orl $0x4000, (%rsp)\n popf\n nested_at: iretq");
extern const char far_call_after[];

static void run(void *code)
{
	((void (*)(void))code)();
}

static void run_user(void *code)
{
	user_run((uint64_t)code, (uint64_t)(user_stack + 60));
}

static void trap_is(const char *what, unsigned line, uint64_t vector, uint64_t error,
		    const void *rip)
{
	unsigned failures = guest_failures;

	check_equal("the vector", line, trap_seen.vector, vector);
	check_equal("the error code", line, trap_seen.error, error);
	check_equal("rip", line, trap_seen.rip, (uint64_t)rip);
	if (guest_failures != failures) {
		guest_print(what);
		guest_print("\n");
	}
}
#define TRAP_IS(vector, error, rip) trap_is(__func__, __LINE__, vector, error, rip)

static void call_gates(void)
{
	static const struct {
		unsigned type, extra;
		uint16_t target;
		uint64_t code; /* SPARE, if that is the target */
		uint64_t error;
		unsigned vector;
	} faults[] = {
		{0xe4, 0, KERNEL_CS, 0, GATE, 13}, /* no 16-bit ones */
		{0xe5, 0, KERNEL_CS, 0, GATE, 13}, /* nor tasks */
		{0x8c, 0, KERNEL_CS, 0, GATE, 13}, /* of level 0 */
		{0x6c, 0, KERNEL_CS, 0, GATE, 11}, /* not present */
		{0xec, 1, KERNEL_CS, 0, GATE, 13}, /* a type in the upper half */
		{0xec, 0, 0, 0, 0, 13},
		{0xec, 0, CODE32, 0, CODE32, 13}, /* not 64-bit */
		{0xec, 0, KERNEL_DS, 0, KERNEL_DS, 13},
		{0xec, 0, SPARE, 0x00af1b000000ffff, SPARE, 11},
		{0xec, 0, SPARE, 0x00ef9b000000ffff, SPARE, 13}, /* L and D */
	};

	call_gate(gate_target, KERNEL_CS | 3, 0xec, 0);
	trap_catch(run, (void *)far_call);
	TRAP_IS(3, 0, gate_target_at + 1);
	CHECK(seen[0], far_call_after);
	CHECK(seen[1], KERNEL_CS);
	CHECK(trap_seen.cs, KERNEL_CS);
	/* From level 3: the stack is the task state's, its SS is null, and nothing is copied. */
	trap_catch(run_user, (void *)far_call);
	TRAP_IS(3, 0, gate_target_at + 1);
	CHECK(seen[0], far_call_after);
	CHECK(seen[1], USER_CS);
	CHECK(seen[2], user_stack + 60);
	CHECK(seen[3], USER_DS);
	CHECK(trap_seen.rsp, task.rsp[0] - 32);
	CHECK(trap_seen.ss, 0);
	/* And back. */
	call_gate(gate_returns, KERNEL_CS, 0xec, 0);
	trap_catch(run_user, (void *)far_call);
	TRAP_IS(6, 0, far_call_after);
	CHECK(trap_seen.cs, USER_CS);
	CHECK(trap_seen.ss, USER_DS);
	CHECK(trap_seen.rsp, user_stack + 60);
	for (unsigned i = 0; i < COUNT(faults); i++) {
		call_gate(gate_target, faults[i].target, faults[i].type, faults[i].extra);
		if (faults[i].code)
			gdt[SPARE / 8] = faults[i].code;
		trap_catch(run_user, (void *)far_call);
		trap_is("a call gate", i, faults[i].vector, faults[i].error, far_call_at);
		CHECK(trap_seen.cs, USER_CS);
	}
	/* An offset that is not canonical. QEMU goes there first. */
	if (emulated)
		return;
	call_gate((void *)(1ull << 63), KERNEL_CS, 0xec, 0);
	trap_catch(run_user, (void *)far_call);
	TRAP_IS(13, 0, far_call_at);
}

/* Frames that are returned to. */

static void returns_to(void)
{
	static const uint64_t hole = 1ull << 63;
	static const struct {
		uint16_t cs, ss;
		bool fine;
		uint64_t vector, error;
		bool differs; /* QEMU takes any null SS at level 0 */
	} cases[] = {
		{KERNEL_CS, KERNEL_DS, true, 0, 0, false},
		{KERNEL_CS, 0, true, 0, 0, false}, /* a null SS does below level 3 */
		{KERNEL_CS, 3, false, 13, 0, true},
		{USER_CS, USER_DS, true, 0, 0, false},
		{USER_CS, 0, false, 13, 0, false},
		{USER_CS, 3, false, 13, 0, false},
		{USER_CS, KERNEL_DS, false, 13, KERNEL_DS, false},
		{KERNEL_CS, USER_DS, false, 13, USER_DS & ~3u, false},
		{0, KERNEL_DS, false, 13, 0, false},
		{KERNEL_DS, KERNEL_DS, false, 13, KERNEL_DS, false},
		{KERNEL_CS | 3, USER_DS, false, 13, KERNEL_CS, false},
		{USER_CS & ~3, KERNEL_DS, false, 13, USER_CS & ~3, false},
		{0x1000, KERNEL_DS, false, 13, 0x1000, false},
		{CODE32, KERNEL_DS, true, 0, 0, false},
		{USER_CS32, USER_DS, true, 0, 0, false},
		{CODE32, 0, false, 13, 0, true},
	};

	for (unsigned i = 0; i < COUNT(cases); i++) {
		if (emulated && cases[i].differs)
			continue;
		frame[0] = (uint64_t)landed;
		frame[1] = cases[i].cs;
		frame[2] = 2;
		frame[3] = (uint64_t)(user_stack + 60);
		frame[4] = cases[i].ss;
		trap_catch(run, (void *)returns);
		if (cases[i].fine) {
			trap_is("IRET", i, 3, 0, landed_at + 1);
			CHECK(trap_seen.cs, cases[i].cs);
			CHECK(trap_seen.ss, cases[i].ss);
			CHECK(trap_seen.rsp, user_stack + 60);
		} else {
			trap_is("IRET", i, cases[i].vector, cases[i].error, returns_at);
			CHECK(trap_seen.rsp, saved_rsp - 40);
		}
	}
	frame[0] = hole;
	frame[1] = KERNEL_CS;
	frame[4] = KERNEL_DS;
	/* The instruction faults, not what it returns to, as in QEMU. */
	if (!emulated) {
		trap_catch(run, (void *)returns);
		TRAP_IS(13, 0, returns_at);
		trap_catch(run, (void *)returns_far);
		TRAP_IS(13, 0, returns_far_at);
	}
	/* No nested tasks. */
	trap_catch(run, (void *)nested);
	TRAP_IS(13, 0, nested_at);
	/* RET to level 3 takes the stack as IRET does. */
	frame[0] = (uint64_t)landed;
	frame[1] = USER_CS;
	frame[4] = USER_DS;
	trap_catch(run, (void *)returns_far);
	TRAP_IS(3, 0, landed_at + 1);
	CHECK(trap_seen.cs, USER_CS);
	CHECK(trap_seen.rsp, user_stack + 60);
}

/* Fast system calls. */

PIECE(system_call, "mov $0xd57, %r11d\n stc\n syscall\n system_call_at:");
PIECE(system_target, "mov %rcx, seen\n mov %r11, seen + 8\n pushf\n pop seen + 16\n "
		     "system_target_at: int3");
PIECE(system_returns, "mov $landed, %ecx\n mov $0x3246, %r11d\n system_returns_at: sysretq");
PIECE(system_returns_32, "mov $landed, %ecx\n mov $0x202, %r11d\n sysretl");
PIECE(system_returns_hole, "mov $1, %ecx\n shl $63, %rcx\n mov $0x202, %r11d\n "
			   "system_returns_hole_at: sysretq");
PIECE(user_sysret, "user_sysret_at: sysretq");

static void system_calls(void)
{
	wrmsr(0xc0000081, (uint64_t)KERNEL_CS << 32 | (uint64_t)USER_CS32 << 48);
	wrmsr(0xc0000082, (uint64_t)system_target);
	wrmsr(0xc0000084, 0x201);
	trap_catch(run_user, (void *)system_call);
	TRAP_IS(3, 0, system_target_at + 1);
	CHECK(seen[0], system_call_at);
	CHECK(seen[1] & 0x203, 3);
	CHECK(seen[2] & 0x203, 2);
	CHECK(trap_seen.cs, KERNEL_CS);
	CHECK(trap_seen.ss, KERNEL_DS);
	CHECK(trap_seen.rsp, user_stack + 60);
	trap_catch(run, (void *)system_returns);
	TRAP_IS(3, 0, landed_at + 1);
	CHECK(trap_seen.cs, USER_CS);
	CHECK(trap_seen.ss, USER_DS);
	CHECK(trap_seen.rflags & 0x3ffff, 0x3246);
	trap_catch(run, (void *)system_returns_32);
	TRAP_IS(3, 0, landed_at + 1);
	CHECK(trap_seen.cs, USER_CS32);
	trap_catch(run_user, (void *)user_sysret);
	TRAP_IS(13, 0, user_sysret_at);
	/* AMD faults at the target, as a user; Intel at SYSRET. QEMU goes there. */
	if (!emulated) {
		trap_catch(run, (void *)system_returns_hole);
		CHECK_TRAP(13, 0);
	}
	wrmsr(0xc0000080, rdmsr(0xc0000080) & ~1ull);
	trap_catch(run_user, (void *)system_call);
	CHECK(trap_seen.vector, 6);
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);
}

/* Code that runs over the end of the lower half. */
static void hole(void)
{
	uint64_t last = 0x7ffffffff000ull, *level4 = table4 + (last >> 39 & 511);
	static uint64_t tables[3][512] __attribute__((aligned(4096)));

	*level4 = (uint64_t)tables[0] | 7;
	tables[0][511] = (uint64_t)tables[1] | 7;
	tables[1][511] = (uint64_t)tables[2] | 7;
	tables[2][511] = (uint64_t)page | 7;
	page[4095] = 0x90;
	trap_catch(run, (void *)(last + 4095));
	TRAP_IS(13, 0, (void *)(last + 4096));
}

/* The task register and the local table. */

static void load_task(void *selector)
{
	__asm__ volatile("ltr %w0" : : "r"(selector));
}
static void load_table(void *selector)
{
	__asm__ volatile("lldt %w0" : : "r"(selector));
}
static void load_local(void *selector)
{
	__asm__ volatile("mov %w0, %%fs" : : "r"(selector));
}

static void registers(void)
{
	static uint64_t ldt[4];
	uint64_t at = (uint64_t)ldt;

	trap_catch(load_task, (void *)TASK);
	CHECK_TRAP(13, TASK); /* busy */
	trap_catch(load_task, (void *)KERNEL_DS);
	CHECK_TRAP(13, KERNEL_DS);
	gdt[SPARE / 8] = 0x67 | 0x09ull << 40;
	gdt[SPARE / 8 + 1] = 0;
	trap_catch(load_task, (void *)SPARE);
	CHECK_TRAP(11, SPARE);
	/* QEMU takes both. */
	if (!emulated) {
		trap_catch(load_task, 0);
		CHECK_TRAP(13, 0);
		gdt[SPARE / 8] = 0x67 | 0x81ull << 40; /* a 16-bit one */
		trap_catch(load_task, (void *)SPARE);
		CHECK_TRAP(13, SPARE);
	}
	gdt[SPARE2 / 8] =
		(sizeof(ldt) - 1) | (at & 0xffffff) << 16 | 0x82ull << 40 | (at >> 24 & 0xff) << 56;
	gdt[SPARE2 / 8 + 1] = at >> 32;
	ldt[1] = gdt[KERNEL_DS / 8];
	trap_catch(load_table, (void *)SPARE2);
	CHECK(trap_seen.vector, -1);
	trap_catch(load_local, (void *)0xc);
	CHECK(trap_seen.vector, -1);
	trap_catch(load_local, (void *)0x24);
	CHECK_TRAP(13, 0x24);
	trap_catch(load_table, (void *)KERNEL_DS);
	CHECK_TRAP(13, KERNEL_DS);
	trap_catch(load_table, 0);
	CHECK(trap_seen.vector, -1);
	trap_catch(load_local, (void *)0xc);
	CHECK_TRAP(13, 0xc);
}

/* All that is mapped is a user's as well. */
static void open_to_users(void)
{
	uint64_t *level3 = (uint64_t *)(table4[0] & ~4095ull);

	for (unsigned i = 0; i < 4; i++)
		for (unsigned j = 0; j < 512; j++)
			((uint64_t *)(level3[i] & ~4095ull))[j] |= 4;
	table4[0] |= 4;
	cr3_set(cr3_get());
}

void guest_main(void)
{
	guest_setup();
	open_to_users();
	call_gates();
	returns_to();
	system_calls();
	hole();
	registers();
	guest_end();
}
