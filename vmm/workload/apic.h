/* SPDX-License-Identifier: MIT */
/* The local APIC, as a page or as MSRs, and handlers of its vectors: for guests with all chips. */
#ifndef TESTS_GUEST_APIC_H
#define TESTS_GUEST_APIC_H

#include "vmm/workload/guest.h"

/* Registers: the offset in the page is 16 times that, the MSR is 0x800 and that. */
enum apic_register {
	APIC_ID = 0x02,
	APIC_VERSION = 0x03,
	APIC_TPR = 0x08,
	APIC_PPR = 0x0a,
	APIC_EOI = 0x0b,
	APIC_LDR = 0x0d,
	APIC_SVR = 0x0f,
	APIC_ISR = 0x10,
	APIC_TMR = 0x18,
	APIC_IRR = 0x20,
	APIC_ESR = 0x28,
	APIC_ICR = 0x30,
	APIC_ICR_HIGH = 0x31,
	APIC_TIMER = 0x32,
	APIC_LINT0 = 0x35,
	APIC_ERROR = 0x37,
	APIC_INITIAL = 0x38,
	APIC_CURRENT = 0x39,
	APIC_DIVIDE = 0x3e,
	APIC_SELF = 0x3f,
};

#define APIC_BASE_MSR 0x1bu
#define APIC_BASE_X2  (1u << 10)
#define APIC_BASE_ON  (1u << 11)
#define APIC_ON       0x100u
#define APIC_MASKED   0x10000u
#define APIC_PERIODIC 0x20000u
#define APIC_DEADLINE 0x40000u
/* ICR. */
#define IPI_FIXED   0x0000u
#define IPI_NMI     0x0400u
#define IPI_INIT    0x0500u
#define IPI_STARTUP 0x0600u
#define IPI_ASSERT  0x4000u
#define IPI_SELF    0x40000u
#define IPI_OTHERS  0xc0000u

struct frame {
	uint64_t rip, cs, rflags, rsp, ss;
};

extern bool x2apic;

static inline uint32_t apic_read(unsigned reg)
{
	if (x2apic)
		return (uint32_t)rdmsr(0x800 + reg);
	return *(volatile uint32_t *)(0xfee00000ull + 16 * reg);
}

static inline void apic_write(unsigned reg, uint32_t value)
{
	if (x2apic)
		wrmsr(0x800 + reg, value);
	else
		*(volatile uint32_t *)(0xfee00000ull + 16 * reg) = value;
}

static inline void apic_send(uint32_t id, uint32_t command)
{
	if (x2apic) {
		/* WRMSR to it does not wait for stores before it. */
		__asm__ volatile("mfence; lfence" : : : "memory");
		wrmsr(0x830, (uint64_t)id << 32 | command);
		return;
	}
	apic_write(APIC_ICR_HIGH, id << 24);
	apic_write(APIC_ICR, command);
}

static inline uint64_t tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

#define interrupts_on()  __asm__ volatile("sti" : : : "memory")
#define interrupts_off() __asm__ volatile("cli" : : : "memory")
#define interrupts_let() __asm__ volatile("sti; nop; cli" : : : "memory")

#endif
