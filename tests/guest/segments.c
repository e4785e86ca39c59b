/* SPDX-License-Identifier: MIT */
/* Compatibility mode: 32-bit code under the 64-bit kernel; limits, far transfers, what traps say.
 */
#include "vmm/workload/guest.h"

/* Code of CODE32 that begins at `name`; the far return takes us there, on the same stack. */
#define CODE_32(name, text)                                                                        \
	extern const char name##_at[];                                                             \
	void name(void);                                                                           \
	__asm__(".code32\n.globl " #name "\n" #name ": " text "\n.code64\n")

CODE_32(within_limit,
	"mov $0x48, %eax\n mov %eax, %fs\n mov %fs:0xffc, %ecx\n within_limit_at: int3");
CODE_32(beyond_limit, "mov $0x48, %eax\n mov %eax, %fs\n beyond_limit_at: mov %fs:0xffd, %ecx");
CODE_32(code_written, "code_written_at: mov %eax, %cs:0x100000");
CODE_32(stack_limit, "mov $0x48, %eax\n mov %eax, %ss\n mov $0x1002, %esp\n stack_limit_at: push "
		     "%eax");
CODE_32(null_data, "xor %eax, %eax\n mov %eax, %fs\n null_data_at: mov %fs:0, %eax");
CODE_32(divide_32, "xor %edx, %edx\n xor %ecx, %ecx\n divide_32_at: div %ecx");
/* INC and DEC have one byte here; in 64-bit mode that is a prefix. */
CODE_32(short_forms, "xor %eax, %eax\n .byte 0x40, 0x40, 0x48\n mov %eax, short_forms_result\n "
		     "short_forms_at: int3");
CODE_32(to_64, "ljmp $0x08, $to_64_again\n .code64\n to_64_again: mov $0x123456789, %rax\n mov "
	       "%rax, to_64_result\n to_64_at: int3");
/* A far call to the same segment, which returns with a parameter released. */
CODE_32(call_far, "mov %esp, %ebx\n push $7\n lcall $0x30, $call_far_inner\n sub %esp, %ebx\n mov "
		  "%ebx, call_far_result\n call_far_at: int3\n call_far_inner: lret $4");

uint32_t short_forms_result, call_far_result;
uint64_t to_64_result;

/* RETF, with a stack below 4 GiB that 32-bit code can use. */
static void enter_32(void *code)
{
	__asm__ volatile("pushq %0\n\tpushq %1\n\tlretq" : : "i"(CODE32), "r"(code) : "memory");
}

#define CHECK_32(name, number, code)                                                               \
	do {                                                                                       \
		trap_catch(enter_32, (void *)name);                                                \
		CHECK_TRAP(number, code);                                                          \
		CHECK(trap_seen.rip, name##_at);                                                   \
		CHECK(trap_seen.cs, CODE32);                                                       \
	} while (0)

void guest_main(void)
{
	guest_setup();
	trap_catch(enter_32, (void *)within_limit);
	CHECK_TRAP(3, 0);
	CHECK(trap_seen.rip, within_limit_at + 1);
	/* QEMU checks neither limits nor types at an access. */
	if (!emulated) {
		CHECK_32(beyond_limit, 13, 0);
		CHECK_32(code_written, 13, 0);
		CHECK_32(stack_limit, 12, 0);
		CHECK_32(null_data, 13, 0);
	}
	CHECK_32(divide_32, 0, 0);
	trap_catch(enter_32, (void *)short_forms);
	CHECK_TRAP(3, 0);
	CHECK(short_forms_result, 1);
	trap_catch(enter_32, (void *)to_64);
	CHECK_TRAP(3, 0);
	CHECK(trap_seen.cs, KERNEL_CS);
	CHECK(to_64_result, 0x123456789);
	trap_catch(enter_32, (void *)call_far);
	CHECK_TRAP(3, 0);
	CHECK(call_far_result, 0);
	guest_end();
}
