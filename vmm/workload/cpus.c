/* SPDX-License-Identifier: MIT */
#include "vmm/workload/cpus.h"

#include <stddef.h>

/* Real mode at SIPI's page; 32 bits, 64 bits, and ap_main on a stack of its own. */
extern const char trampoline_end[];
void ap_main(unsigned number);
__asm__(".code16\n"
	".globl trampoline, trampoline_end\n"
	"trampoline: mov %cs, %ax\n"
	"mov %ax, %ds\n"
	"mov %ax, seen_cs - trampoline\n"
	"mov %cr0, %eax\n"
	"mov %eax, seen_cr0 - trampoline\n"
	"mov %sp, seen_sp - trampoline\n"
	"lgdtl ap_gdt - trampoline\n"
	"mov %cr0, %eax\n"
	"and $0x9fffffff, %eax\n" /* caches: CD and NW are set after INIT */
	"or $1, %al\n"
	"mov %eax, %cr0\n"
	"ljmpl $0x30, $ap_32\n"
	".balign 8\n"
	"ap_gdt: .word 0x4f\n.long gdt\n"
	".balign 8\n"
	".globl seen_cs, seen_cr0, seen_sp\n"
	"seen_cs: .long 0\nseen_cr0: .long 0\nseen_sp: .long 0xffffffff\n"
	"trampoline_end:\n"
	".code32\n"
	"ap_32: mov $0x10, %eax\n"
	"mov %eax, %ds\n"
	"mov $0x620, %eax\n"
	"mov %eax, %cr4\n"
	"mov $table4, %eax\n"
	"mov %eax, %cr3\n"
	"mov $0xc0000080, %ecx\n"
	"rdmsr\n"
	"or $0x901, %eax\n"
	"wrmsr\n"
	"mov $0x80010031, %eax\n"
	"mov %eax, %cr0\n"
	"ljmp $0x08, $ap_64\n"
	".code64\n"
	"ap_64: mov $0x10, %eax\n"
	"mov %eax, %ds\n"
	"mov %eax, %es\n"
	"mov %eax, %ss\n"
	"mov $1, %edi\n"
	"lock xadd %edi, ap_started\n"
	"inc %edi\n"
	"mov %edi, %eax\n"
	"shl $12, %rax\n"
	"lea ap_stacks(%rax), %rsp\n"
	"lidt idt_pointer\n"
	"call ap_main\n");

uint32_t ap_started;
uint8_t ap_stacks[(CPUS_MAX + 8) * 4096] __attribute__((aligned(4096)));

bool x2apic;
unsigned cpus = 2;
void (*volatile work)(unsigned number);
volatile uint32_t generation, done, online;

static bool patient(uint64_t start)
{
	pause();
	return tsc() - start < PATIENCE;
}

void await(const char *what, volatile uint32_t *at, uint32_t value)
{
	for (uint64_t start = tsc(); *at != value;)
		if (!patient(start)) {
			guest_print(what);
			check_equal(" after a long wait", 0, *at, value);
			guest_end();
		}
}

void ap_main(unsigned number)
{
	uint32_t seen = generation;

	apic_write(APIC_SVR, APIC_ON | 0xff);
	if (!x2apic) /* which INIT leaves on */
		apic_write(APIC_LDR, 1u << (24 + number));
	add(&online, 1);
	for (;;) {
		interrupts_on();
		while (generation == seen)
			pause();
		seen = generation;
		work(number);
		add(&done, 1);
	}
}

void together(void (*fn)(unsigned))
{
	done = 0;
	work = fn;
	add(&generation, 1);
	fn(0);
	await("done", &done, cpus - 1);
}

void meet(void)
{
	static volatile uint32_t waiting, passed;
	uint32_t pass = passed, before = 1;

	__asm__ volatile("lock xaddl %0, %1" : "+r"(before), "+m"(waiting) : : "memory", "cc");
	if (before == cpus - 1) {
		waiting = 0;
		passed = pass + 1;
		return;
	}
	while (passed == pass)
		pause();
}

void delay(uint64_t ticks)
{
	for (uint64_t start = tsc(); tsc() - start < ticks;)
		pause();
}

void cpus_start(void)
{
	volatile uint8_t *to = (volatile uint8_t *)TRAMPOLINE;

	for (unsigned i = 2; i <= CPUS_MAX; i++) {
		char word[] = "cpus=0";

		word[5] = (char)('0' + i);
		if (guest_told(word))
			cpus = i;
	}
	apic_write(APIC_SVR, APIC_ON | 0xff);
	if (!x2apic)
		apic_write(APIC_LDR, 1u << 24);
	for (size_t i = 0; i < (size_t)(trampoline_end - trampoline); i++)
		to[i] = (uint8_t)trampoline[i];
	for (unsigned i = 1; i < cpus; i++) {
		apic_send(i, IPI_INIT | IPI_ASSERT);
		delay(10000000);
		apic_send(i, IPI_STARTUP | IPI_ASSERT | (uint32_t)(TRAMPOLINE >> 12));
		await("online", &online, i);
		/* A second one is for nobody. */
		apic_send(i, IPI_STARTUP | IPI_ASSERT | (uint32_t)(TRAMPOLINE >> 12));
	}
	delay(10000000);
}

void serialize(void)
{
	uint32_t a = 0, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d) : : "memory");
}
