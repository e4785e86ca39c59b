/* SPDX-License-Identifier: MIT */
/*
 * Several processors for a guest: started by INIT and SIPI, they do what the first one asks for.
 * The word "cpus=N" says how many there are.
 */
#ifndef TESTS_GUEST_CPUS_H
#define TESTS_GUEST_CPUS_H

#include "vmm/workload/apic.h"

#define TRAMPOLINE 0x8000ull
#define CPUS_MAX   8
#define PATIENCE   30000000000ull /* of the TSC: about ten seconds */

extern unsigned cpus;
extern uint32_t ap_started; /* how many times, all of them together */
extern const char trampoline[], seen_cs[], seen_cr0[], seen_sp[];

/* Work that all do together: as it stands for the first, and what the others need for it. */
extern void (*volatile work)(unsigned number);
extern volatile uint32_t generation, done, online;

void cpus_start(void);
void together(void (*fn)(unsigned number));
/* All at about the same time, within a piece of work. */
void meet(void);
/* Wait until *at is `value`; a guest that waits too long has failed. */
void await(const char *what, volatile uint32_t *at, uint32_t value);
void delay(uint64_t ticks);
void serialize(void);

static inline unsigned cpu_self(void)
{
	return apic_read(APIC_ID) >> (x2apic ? 0 : 24);
}

static inline void pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

static inline void add(volatile uint32_t *at, uint32_t n)
{
	__asm__ volatile("lock addl %1, %0" : "+m"(*at) : "r"(n) : "memory", "cc");
}

#endif
