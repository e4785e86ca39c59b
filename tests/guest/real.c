/* SPDX-License-Identifier: MIT */
/*
 * Real mode: 64 KiB segments, the interrupt vector table, prefixes for 32-bit operands and
 * addresses, "unreal" limits (AMD64 vol. 2, 1.3.2 and 8.6; SDM vol. 3, 21.1).
 */
#include "tests/guest/legacy.h"

#define DATA 0x8000u /* in the low segment */

static volatile uint8_t *low(uint32_t offset)
{
	return (volatile uint8_t *)(uintptr_t)(LOW + offset);
}

/* Limits. In real mode exceptions push no error code. */

CODE(16, word_inside, "mov $0xfffe, %bx\n mov (%bx), %ax\n word_inside_at: int3");
CODE(16, word_across, "mov $0xffff, %bx\n word_across_at: mov (%bx), %ax");
CODE(16, word_stored_across, "mov $0xffff, %bx\n word_stored_across_at: mov %ax, (%bx)");
CODE(16, long_across, "mov $0xfffd, %bx\n long_across_at: mov (%bx), %eax");
CODE(16, stack_across, "mov $0xffff, %bp\n stack_across_at: mov (%bp), %ax");
CODE(16, pop_across, "mov $0xffff, %sp\n pop_across_at: pop %ax");
CODE(16, wide_address, "mov $0x10000, %ebx\n wide_address_at: mov (%ebx), %al");
CODE(16, wide_inside,
     "mov $0x8000, %ebx\n movl $0x12345678, (%ebx)\n mov (%ebx), %ecx\n "
     "wide_inside_at: int3");
/* Addresses of 16 bits wrap: 0xfff0 + 0x20 is 0x10. */
CODE(16, address_wraps,
     "movw $0xabcd, 0x8000\n mov $0xfff0, %bx\n mov 0x8010(%bx), %ax\n "
     "address_wraps_at: int3");
/* It goes on at 0x10000, not at 0, where LOW has INT 0x61. */
CODE(16, beyond_code, "mov $0xffff, %bx\n movb $0x90, (%bx)\n jmp *%bx\n beyond_code_at:");
CODE(16, far_code, "mov $0x10000, %eax\n far_code_at: jmp *%eax");

static void limits(void)
{
	static const struct {
		const char *code, *at;
		uint8_t vector;
	} cases[] = {
#define CASE(name, vector) {name, name##_at, vector}
		CASE(word_across, 13),  CASE(word_stored_across, 13), CASE(long_across, 13),
		CASE(stack_across, 12), CASE(pop_across, 12),         CASE(wide_address, 13),
		CASE(far_code, 13),
	};

	job_reset(0);
	real_run(word_inside, SIZE(word_inside));
	EXPECT_LOW_END(word_inside);
	job_reset(0);
	real_run(wide_inside, SIZE(wide_inside));
	EXPECT_LOW_END(wide_inside);
	CHECK(legacy_seen.ecx, 0x12345678);
	job_reset(0);
	real_run(address_wraps, SIZE(address_wraps));
	EXPECT_LOW_END(address_wraps);
	CHECK(legacy_seen.eax & 0xffff, 0xabcd);
	/* QEMU checks no limits, neither of data nor of code. */
	if (emulated)
		return;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		job_reset(0);
		real_run(cases[i].code, 64);
		legacy_expect("limits", i, cases[i].vector, 0,
			      (uint32_t)(LOW_CODE + (cases[i].at - cases[i].code)));
	}
	job_reset(0);
	real_run(beyond_code, SIZE(beyond_code));
	EXPECT(13, 0, 0);
}

/* Interrupts. */

CODE(16, software, "mov %sp, %cx\n sti\n stc\n int $0x42\n software_at:");
CODE(16, divide, "xor %bx, %bx\n divide_at: div %bx");
CODE(16, overflow, "mov $0x7f, %al\n inc %al\n into\n overflow_at: nop");
CODE(16, bound, "movw $1, 0x8000\n movw $5, 0x8002\n mov $6, %ax\n bound_at: bound %ax, 0x8000");
CODE(16, undefined, "undefined_at: ud2");
CODE(16, hand_made, /* a handler of its own: INT pushes, IRET pops, flags come back */
     "push %ds\n xor %ax, %ax\n mov %sp, %cx\n sti\n int $0x60\n pushf\n pop %ax\n mov %sp, %dx\n"
     "cli\n hand_made_at: int3\n hand_made_handler: pushf\n pop %bx\n iret\n");
CODE(16, far_call,
     "mov %sp, %cx\n push $0x1234\n lcall $0x3400, $far_call_inner - far_call\n "
     "mov %sp, %dx\n far_call_at: int3\n far_call_inner: mov %cs, %bx\n lret $2");
CODE(16, flags_32, "pushfl\n orl $0x30000, (%esp)\n popfl\n pushfl\n pop %eax\n flags_32_at: int3");
CODE(16, selectors, "selectors_at: sldt %ax");
CODE(16, verify, "verify_at: verr %ax");
CODE(16, string,
     "mov $0x8000, %di\n mov $0x11, %al\n mov $0x10004, %ecx\n cld\n rep stosb\n "
     "string_at: int3");
CODE(16, looping, "mov $0x10002, %ecx\n xor %ax, %ax\n 1: inc %ax\n loop 1b\n looping_at: int3");
CODE(16, enter,
     "mov $0x8800, %bp\n mov $0x8700, %sp\n enter $8, $0\n mov %sp, %cx\n mov %bp, %dx\n "
     "leave\n enter_at: int3");

static void interrupts(void)
{
	uint32_t *ivt = (uint32_t *)(uintptr_t)(LOW + 0x3000), old = ivt[0x60];

	job_reset(0);
	real_run(software, SIZE(software));
	EXPECT_LOW(software, 0x42, 0);
	CHECK(legacy_seen.cs, LOW_SEG);
	CHECK(legacy_seen.eflags & (F_IF | 1), F_IF | 1);
	CHECK(legacy_seen.esp, legacy_seen.ecx & 0xffff);
	job_reset(0);
	real_run(divide, SIZE(divide));
	EXPECT_LOW(divide, 0, 0);
	job_reset(0);
	real_run(overflow, SIZE(overflow));
	EXPECT_LOW(overflow, 4, 0);
	job_reset(0);
	real_run(bound, SIZE(bound));
	EXPECT_LOW(bound, 5, 0);
	job_reset(0);
	real_run(undefined, SIZE(undefined));
	EXPECT_LOW(undefined, 6, 0);
	ivt[0x60] = LOW_SEG << 16 | (uint32_t)(LOW_CODE + (hand_made_end - hand_made - 3));
	job_reset(0);
	real_run(hand_made, SIZE(hand_made));
	ivt[0x60] = old;
	EXPECT_LOW_END(hand_made);
	CHECK(legacy_seen.ebx & F_IF, 0);
	CHECK(legacy_seen.eax & F_IF, F_IF);
	CHECK(legacy_seen.ecx & 0xffff, legacy_seen.edx & 0xffff);
}

static void instructions(void)
{
	job_reset(0);
	real_run(far_call, SIZE(far_call));
	EXPECT_LOW_END(far_call);
	CHECK(legacy_seen.ebx & 0xffff, 0x3400);
	CHECK(legacy_seen.edx & 0xffff, legacy_seen.ecx & 0xffff);
	/* VM and RF cannot be set by POPF. */
	job_reset(0);
	real_run(flags_32, SIZE(flags_32));
	EXPECT_LOW_END(flags_32);
	CHECK(legacy_seen.eax & 0x30000, 0);
	job_reset(0);
	real_run(selectors, SIZE(selectors));
	EXPECT_LOW(selectors, 6, 0);
	job_reset(0);
	real_run(verify, SIZE(verify));
	EXPECT_LOW(verify, 6, 0);
	/* CX counts, not ECX. */
	low(DATA + 4)[0] = 0x55;
	job_reset(0);
	real_run(string, SIZE(string));
	EXPECT_LOW_END(string);
	CHECK(low(DATA + 3)[0], 0x11);
	CHECK(low(DATA + 4)[0], 0x55);
	CHECK(legacy_seen.ecx, 0x10000);
	job_reset(0);
	real_run(looping, SIZE(looping));
	EXPECT_LOW_END(looping);
	CHECK(legacy_seen.eax & 0xffff, 2);
	job_reset(0);
	real_run(enter, SIZE(enter));
	EXPECT_LOW_END(enter);
	CHECK(legacy_seen.ecx & 0xffff, 0x8700 - 2 - 8);
	CHECK(legacy_seen.edx & 0xffff, 0x8700 - 2);
	CHECK(legacy_seen.ebp & 0xffff, 0x8800);
	CHECK(legacy_seen.esp, 0x8700);
}

/* FS came out of protected mode with 4 GiB; loading it here changes its base alone. */
CODE(16, unreal,
     "mov $0x100000, %ebx\n xor %ax, %ax\n mov %ax, %fs\n mov %fs:(%ebx), %eax\n "
     "unreal_at: int3");
/* A load in real mode is 16 times the selector, whatever the tables say. */
CODE(16, wrapped, "mov $0xffff, %ax\n mov %ax, %es\n mov %es:0x10, %eax\n wrapped_at: int3");
CODE(16, protected_and_back,
     "mov %cr0, %eax\n or $1, %al\n mov %eax, %cr0\n jmp 1f\n 1: mov $0x38, %dx\n mov %dx, %gs\n "
     "mov %gs, %dx\n and $0xfe, %al\n mov %eax, %cr0\n jmp 1f\n 1: mov $0x3000, %ax\n "
     "mov %ax, %gs\n mov %gs:0x8000, %ecx\n protected_and_back_at: int3");

static void bases(void)
{
	job_reset(0);
	real_run(unreal, SIZE(unreal));
	EXPECT_LOW_END(unreal);
	CHECK(legacy_seen.eax, *(volatile uint32_t *)0x100000);
	job_reset(0);
	real_run(wrapped, SIZE(wrapped));
	EXPECT_LOW_END(wrapped);
	CHECK(legacy_seen.eax, *(volatile uint32_t *)0x100000);
	*(volatile uint32_t *)(uintptr_t)(LOW + DATA) = 0xcafe1234;
	job_reset(0);
	real_run(protected_and_back, SIZE(protected_and_back));
	EXPECT_LOW_END(protected_and_back);
	CHECK(legacy_seen.edx & 0xffff, 0x38);
	CHECK(legacy_seen.ecx, 0xcafe1234);
}

void guest_main(void)
{
	guest_setup();
	legacy_setup();
	limits();
	interrupts();
	instructions();
	bases();
	guest_end();
}
