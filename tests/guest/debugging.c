/* SPDX-License-Identifier: MIT */
/*
 * Debugging: single steps, INT1 and INT3, RF, breakpoints of code, data and ports, DR6 and DR7
 * (AMD64 vol. 2, 13.1; SDM vol. 3, 18.2 and 18.3).
 */
#include "vmm/workload/guest.h"

#define COUNT(table) (sizeof(table) / sizeof(table[0]))

#define TF 0x100u
#define RF 0x10000u

#define DR6_BITS 0xe00fu /* B0 to B3, BD, BS, BT */
#define DR6_NONE 0xffff0ff0ull
#define BD       0x2000u
#define BS       0x4000u
#define CR4_DE   8u

#define REGISTER(n)                                                                                \
	static uint64_t dr##n##_get(void)                                                          \
	{                                                                                          \
		uint64_t value;                                                                    \
                                                                                                   \
		__asm__ volatile("mov %%dr" #n ", %0" : "=r"(value));                              \
		return value;                                                                      \
	}                                                                                          \
	static void dr##n##_set(uint64_t value)                                                    \
	{                                                                                          \
		__asm__ volatile("mov %0, %%dr" #n : : "r"(value) : "memory");                     \
	}
REGISTER(0)
REGISTER(1)
REGISTER(6)
REGISTER(7)

/* Debug exceptions as they come. */

struct frame {
	uint64_t rip, cs, rflags, rsp, ss;
};

#define LOG_MAX 64u
static struct {
	uint64_t rip, dr6, rflags;
} log[LOG_MAX];
static unsigned logged;

__attribute__((interrupt)) static void on_debug(struct frame *frame)
{
	uint64_t dr6 = dr6_get();

	if (logged < LOG_MAX) {
		log[logged].rip = frame->rip;
		log[logged].dr6 = dr6 & DR6_BITS;
		log[logged].rflags = frame->rflags;
	} else { /* that is too many */
		dr7_set(0x400);
		frame->rflags &= ~(uint64_t)TF;
	}
	logged++;
	dr6_set(DR6_NONE);
	/* A breakpoint of code must let it pass. */
	frame->rflags |= RF;
}

__attribute__((interrupt)) static void on_breakpoint(struct frame *frame)
{
	(void)frame;
}

/*
 * Pieces of code to be stepped through. STEP stands where a debug exception is to come, which
 * NAME_list has the addresses of.
 */
__asm__(".macro STEP\n 771: .pushsection .rodata\n .quad 771b\n .popsection\n .endm\n"
	".macro STEPS_AT label count\n .pushsection .rodata\n .rept \\count\n .quad \\label\n"
	".endr\n .popsection\n .endm\n");

#define PIECE(name, text)                                                                          \
	extern const uint64_t name##_list[];                                                       \
	void name(void);                                                                           \
	__asm__(".pushsection .rodata\n.balign 8\n" #name "_list:\n.popsection\n" #name            \
		": push %rbx\n" text "\n pop %rbx\n ret\n.pushsection .rodata\n.quad 0\n"          \
		".popsection\n")
#define STEPPED(name, text)                                                                        \
	PIECE(name, "pushf\n orl $0x100, (%rsp)\n popf\n" text "\n pushf\n STEP\n andl $~0x100, "  \
		    "(%rsp)\n STEP\n popf\n STEP\n")

static void check_log(const char *what, const uint64_t *list, uint64_t dr6)
{
	unsigned failures = guest_failures, count = 0;

	for (; list[count]; count++)
		if (count < logged && count < LOG_MAX) {
			CHECK(log[count].rip, list[count]);
			CHECK(log[count].dr6, dr6);
		}
	CHECK(logged, count);
	if (failures != guest_failures) {
		guest_print(what);
		guest_print("\n");
	}
}

#define RUN(name, dr6)                                                                             \
	do {                                                                                       \
		logged = 0;                                                                        \
		name();                                                                            \
		check_log(#name, name##_list, dr6);                                                \
	} while (0)

STEPPED(plain, "nop\n STEP\n xor %eax, %eax\n STEP\n jmp 1f\n ud2\n 1: STEP\n");
STEPPED(move_ss, "mov %ss, %eax\n STEP\n mov %eax, %ss\n nop\n STEP\n nop\n STEP");
STEPPED(interrupts_on, "sti\n STEP\n nop\n STEP\n cli\n STEP");
STEPPED(repeated, "mov $3, %ecx\n STEP\n lea scratch(%rip), %rdi\n STEP\n STEPS_AT 1f 2\n 1: rep "
		  "stosb\n STEP");
STEPPED(repeated_moves, "mov $2, %ecx\n STEP\n lea scratch(%rip), %rdi\n STEP\n mov %rdi, %rsi\n "
			"STEP\n STEPS_AT 1f 1\n 1: rep movsq\n STEP");
STEPPED(repeated_none, "xor %ecx, %ecx\n STEP\n rep stosb\n STEP");
/* The handler runs at full speed; IRET sets TF, which counts from behind the next instruction. */
STEPPED(software, "int3\n nop\n STEP\n nop\n STEP");
STEPPED(identification, "xor %eax, %eax\n STEP\n cpuid\n STEP");
STEPPED(port, "out %al, $0x80\n STEP\n in $0x80, %al\n STEP");
STEPPED(stack, "pushf\n STEP\n popf\n STEP\n push %rax\n STEP\n pop %rax\n STEP");
STEPPED(system_call, "syscall\n STEP");
STEPPED(system_call_stepped, "STEPS_AT target 1\n syscall\n STEPS_AT target+1 1\n STEPS_AT "
			     "target+3 1\n STEPS_AT target+4 1\n STEP");
__asm__("target: nop\n push %r11\n popf\n jmp *%rcx\n");
PIECE(return_sets, "mov %ss, %eax\n push %rax\n lea 8(%rsp), %rax\n push %rax\n push $0x102\n "
		   "push $0x08\n push $1f\n iretq\n 1: nop\n STEP\n pushf\n STEP\n andl $~0x100, "
		   "(%rsp)\n STEP\n popf\n STEP\n");

static volatile uint64_t scratch[16] __attribute__((used, aligned(64)));
extern const char target[];

static void single_steps(void)
{
	RUN(plain, BS);
	RUN(move_ss, BS);
	RUN(interrupts_on, BS);
	/* QEMU makes a turn of its own of seeing that the count is 0. */
	if (!emulated) {
		RUN(repeated, BS);
		RUN(repeated_moves, BS);
	}
	RUN(repeated_none, BS);
	RUN(software, BS);
	RUN(identification, BS);
	RUN(port, BS);
	RUN(stack, BS);
	RUN(return_sets, BS);
	/* What SYSCALL leaves of TF counts. */
	wrmsr(0xc0000081, (uint64_t)KERNEL_CS << 32 | (uint64_t)USER_CS32 << 48);
	wrmsr(0xc0000082, (uint64_t)target);
	wrmsr(0xc0000084, TF);
	RUN(system_call, BS);
	wrmsr(0xc0000084, 0);
	RUN(system_call_stepped, BS);
}

static void to_user_stepped(void *rip)
{
	__asm__ volatile("mov %%rsp, %%rbx\n\t"
			 "mov $0x102, %%r11d\n\t"
			 "sysretq"
			 :
			 : "c"(rip)
			 : "r11", "rbx", "memory");
}

/* SYSRET that sets TF traps at once, before the user's first instruction. */
static void user_steps(void)
{
	static uint8_t page[4096] __attribute__((aligned(4096)));
	struct gate old = idt[1];

	page[0] = 0x90;
	page[1] = 0xcc;
	table4[0] |= 4;
	*page_entry(PAGE_AT) = (uint64_t)page | 7;
	gate_set(1, vectors + 16, 0, 0x8e);
	trap_catch(to_user_stepped, (void *)PAGE_AT);
	idt[1] = old;
	CHECK_TRAP(1, 0);
	CHECK(trap_seen.rip, PAGE_AT);
	CHECK(trap_seen.cs, USER_CS);
	dr6_set(DR6_NONE);
}

PIECE(one_byte, ".byte 0xf1\n STEP\n nop");

/* INT1 is a trap that leaves DR6 alone. */
static void icebp(void)
{
	RUN(one_byte, 0);
	/* Its gate's privilege does not count. */
}

/* Breakpoints. */

#define ENABLE(n) (1ull << 2 * (n))
#define KIND(n, type, length)                                                                      \
	((uint64_t)(type) << (16 + 4 * (n)) | (uint64_t)(length) << (18 + 4 * (n)))
#define EXECUTE    0u
#define WRITE      1u
#define PORT       2u
#define READ_WRITE 3u

PIECE(code, "nop\n STEP\n inc %eax\n nop\n");
PIECE(code_twice, "mov $2, %ecx\n STEPS_AT 1f 1\n 1: nop\n STEPS_AT 1b 1\n loop 1b\n");

/* A fault before the instruction; RF lets it pass once. */
static void code_breakpoints(void)
{
	dr0_set(code_list[0]);
	dr7_set(ENABLE(0) | 0x400);
	RUN(code, 1);
	CHECK(log[0].rflags & RF, 0);
	dr0_set(0);
	dr1_set(code_twice_list[0]);
	dr7_set(ENABLE(1) | 0x400);
	RUN(code_twice, 2);
	/* Not enabled: nothing. */
	dr7_set(0x400);
	logged = 0;
	code_twice();
	CHECK(logged, 0);
	dr1_set(0);
}

#define DATA(name, text) PIECE(name, "lea scratch+16(%rip), %rdi\n mov %rdi, %rsi\n" text)
DATA(write1, "movb $0, (%rdi)\n STEP\n nop");
DATA(write2, "movw $0, (%rdi)\n STEP\n nop");
DATA(write4, "movl $0, (%rdi)\n STEP\n nop");
DATA(write8, "movq $0, (%rdi)\n STEP\n nop");
DATA(write8_before, "movq $0, -4(%rdi)\n STEP\n nop");
DATA(write8_ends, "movq $0, -8(%rdi)\n STEP\n nop");
DATA(write1_last, "movb $0, 7(%rdi)\n STEP\n nop");
DATA(write1_third, "movb $0, 3(%rdi)\n STEP\n nop");
DATA(write1_after, "movb $0, 8(%rdi)\n STEP\n nop");
DATA(read4, "mov (%rdi), %eax\n STEP\n nop");
DATA(modify4, "addl $0, (%rdi)\n STEP\n nop");
DATA(locked4, "lock addl $0, (%rdi)\n STEP\n nop");
DATA(fetch_only, "lea 1f(%rip), %rax\n 1: nop\n nop");
DATA(pushes, "mov %rsp, %rbx\n lea 8(%rdi), %rsp\n push $0\n STEP\n mov %rbx, %rsp");
DATA(writes_string, "lea -4(%rdi), %rdi\n mov $8, %ecx\n STEPS_AT 1f 1\n 1: rep stosb\n nop");

static void data_breakpoints(void)
{
	static const struct {
		const char *name;
		void (*run)(void);
		const uint64_t *list;
		unsigned type, length; /* as in DR7 */
		bool hits;
	} cases[] = {
#define CASE(name, ...) {#name, name, name##_list, __VA_ARGS__}
		CASE(write1, WRITE, 0, true),
		CASE(write2, WRITE, 1, true),
		CASE(write4, WRITE, 3, true),
		CASE(write8, WRITE, 2, true),
		CASE(write8, WRITE, 0, true),
		CASE(write8_before, WRITE, 0, true),
		CASE(write8_ends, WRITE, 2, false),
		CASE(write1_last, WRITE, 2, true),
		CASE(write1_last, WRITE, 3, false),
		CASE(write1_third, WRITE, 3, true),
		CASE(write1_third, WRITE, 1, false),
		CASE(write1_after, WRITE, 2, false),
		CASE(read4, WRITE, 3, false),
		CASE(read4, READ_WRITE, 3, true),
		CASE(write4, READ_WRITE, 3, true),
		CASE(modify4, WRITE, 3, true),
		CASE(modify4, READ_WRITE, 3, true),
		CASE(locked4, WRITE, 3, true),
		CASE(pushes, WRITE, 2, true),
		/* The element that hits is the fifth: the trap comes behind it. */
		CASE(writes_string, WRITE, 0, true),
	};
	static const uint64_t none[1];

	dr0_set((uint64_t)&scratch[2]);
	for (unsigned i = 0; i < COUNT(cases); i++) {
		/* QEMU reports it behind the whole repetition. */
		if (emulated && cases[i].run == writes_string)
			continue;
		dr7_set(ENABLE(0) | KIND(0, cases[i].type, cases[i].length) | 0x400);
		logged = 0;
		cases[i].run();
		dr7_set(0x400);
		check_log(cases[i].name, cases[i].hits ? cases[i].list : none, 1);
	}
	dr0_set(0);
}

PIECE(port_out,
      "mov $0x80, %edx\n out %al, (%dx)\n STEP\n in $0x80, %al\n STEP\n out %al, $0x81\n");

static void port_breakpoints(void)
{
	cr4_set(cr4_get() | CR4_DE);
	dr1_set(0x80);
	dr7_set(ENABLE(1) | KIND(1, PORT, 0) | 0x400);
	RUN(port_out, 2);
	dr7_set(0x400);
	cr4_set(cr4_get() & ~(uint64_t)CR4_DE);
	dr1_set(0);
}

/* The registers. */

PIECE(general_detect, "STEP\n mov %dr7, %rax\n nop");
static void read_dr4(void *argument)
{
	(void)argument;
	__asm__ volatile(".byte 0x0f, 0x21, 0xe0" : : : "rax"); /* mov %dr4, %rax */
}
static void write_dr6_high(void *argument)
{
	dr6_set((uint64_t)argument);
}
static void write_dr7_high(void *argument)
{
	dr7_set((uint64_t)argument);
}

static void registers(void)
{
	uint64_t value;

	dr0_set(0x123456789abcdef0);
	dr1_set(~0ull);
	CHECK(dr0_get(), 0x123456789abcdef0);
	CHECK(dr1_get(), ~0ull);
	dr0_set(0);
	dr1_set(0);
	/* DR7.GD: the access faults, and GD is clear by then. */
	dr7_set(0x2400);
	RUN(general_detect, BD);
	CHECK(dr7_get(), 0x400);
	dr6_set(0);
	CHECK(dr6_get(), DR6_NONE);
	dr6_set(0xffffffff);
	UNLESS_EMULATED /* QEMU lets bit 12 be set */
		CHECK(dr6_get() & 0xfffff7ff, 0xffffe7ff & (DR6_NONE | DR6_BITS | 0x800));
	dr6_set(DR6_NONE);
	dr7_set(0);
	CHECK(dr7_get(), 0x400);
	/* DR4 and DR5 are DR6 and DR7, unless CR4.DE. */
	dr7_set(0x455);
	__asm__ volatile(".byte 0x0f, 0x21, 0xe8" : "=a"(value)); /* mov %dr5, %rax */
	CHECK(value, 0x455);
	dr7_set(0x400);
	cr4_set(cr4_get() | CR4_DE);
	trap_catch(read_dr4, 0);
	CHECK_TRAP(6, 0);
	cr4_set(cr4_get() & ~(uint64_t)CR4_DE);
	trap_catch(read_dr4, 0);
	CHECK(trap_seen.vector, -1);
	trap_catch(write_dr6_high, (void *)(1ull << 32));
	CHECK_TRAP(13, 0);
	trap_catch(write_dr7_high, (void *)(1ull << 32));
	CHECK_TRAP(13, 0);
}

void guest_main(void)
{
	guest_setup();
	gate_set(1, on_debug, 0, 0x8e);
	gate_set(3, on_breakpoint, 0, 0xee);
	dr6_set(DR6_NONE);
	dr7_set(0x400);
	single_steps();
	user_steps();
	icebp();
	registers();
	code_breakpoints();
	data_breakpoints();
	UNLESS_EMULATED port_breakpoints(); /* QEMU has none in a guest of SVM */
	guest_end();
}
