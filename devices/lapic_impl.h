/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the local APIC share: lapic.c is interrupts and modes, lapic_regs.c what a
 * guest reads and writes, lapic_timer.c the timer, apic_bus.c the messages.
 */
#ifndef DEVICES_LAPIC_IMPL_H
#define DEVICES_LAPIC_IMPL_H

#include <pthread.h>

#include "devices/lapic.h"

/* Registers: the offset in the page is 16 times that, the MSR is LAPIC_MSR_FIRST and that. */
enum lapic_reg {
	REG_ID = 0x02,
	REG_VERSION = 0x03,
	REG_TPR = 0x08,
	REG_APR = 0x09,
	REG_PPR = 0x0a,
	REG_EOI = 0x0b,
	REG_RRD = 0x0c,
	REG_LDR = 0x0d,
	REG_DFR = 0x0e,
	REG_SVR = 0x0f,
	REG_ISR = 0x10, /* eight of each */
	REG_TMR = 0x18,
	REG_IRR = 0x20,
	REG_ESR = 0x28,
	REG_ICR = 0x30,
	REG_ICR_HIGH = 0x31,
	REG_LVT_TIMER = 0x32,
	REG_LVT_THERMAL = 0x33,
	REG_LVT_PERFORMANCE = 0x34,
	REG_LVT_LINT0 = 0x35,
	REG_LVT_LINT1 = 0x36,
	REG_LVT_ERROR = 0x37,
	REG_TIMER_INITIAL = 0x38,
	REG_TIMER_CURRENT = 0x39,
	REG_TIMER_DIVIDE = 0x3e,
	REG_SELF_IPI = 0x3f,
	LAPIC_REGS = 0x40,
};

#define VECTOR_MIN 16u /* below it are the processor's own */

#define SVR_VECTOR       0xffu
#define SVR_ENABLE       (1u << 8)
#define SVR_DIRECTED_EOI (1u << 12)

#define LVT_VECTOR     0xffu
#define LVT_REMOTE_IRR (1u << 14)
#define LVT_LEVEL      (1u << 15)
#define LVT_MASKED     (1u << 16)
#define LVT_PERIODIC   (1u << 17)
#define LVT_DEADLINE   (1u << 18)
#define LVT_TIMER_MODE (LVT_PERIODIC | LVT_DEADLINE)

#define ESR_SEND_VECTOR    (1u << 5)
#define ESR_RECEIVE_VECTOR (1u << 6)
#define ESR_REGISTER       (1u << 7)

/* ICR's destination shorthand. */
enum apic_shorthand { APIC_TO_DESTINATION, APIC_TO_SELF, APIC_TO_ALL, APIC_TO_OTHERS };

/* Callbacks to be made once the lock is free. */
struct lapic_todo {
	bool wake, nmi, init, sipi, eoi, changed, ipi;
	uint8_t sipi_vector, eoi_vector;
	enum apic_shorthand shorthand;
	struct apic_message message; /* for ipi */
};

struct lapic {
	struct apic_bus *bus;
	struct lapic_config config;
	pthread_mutex_t lock; /* guards all below; a leaf lock */
	uint64_t base;
	/* ID, PPR, TIMER_CURRENT and, in x2APIC mode, LDR are computed, not kept here. */
	uint32_t reg[LAPIC_REGS];
	uint32_t errors; /* since ESR was last written */
	bool lint[2];
	bool extint; /* a message of that mode came and was not acknowledged */
	/* The counting timer reaches 0 then (0: it does not run), and starts again if periodic. */
	uint64_t expiry_ns;
	uint64_t fired_ns; /* the last time that it was periodic and fired */
	uint64_t tsc_deadline;
	uint64_t told_ns; /* when that is, as it was told last */
	struct lapic_todo todo;
};

static inline bool lapic_present(const struct lapic *lapic)
{
	return lapic->base & LAPIC_BASE_ENABLE;
}

static inline bool lapic_is_x2apic(const struct lapic *lapic)
{
	return lapic->base & LAPIC_BASE_X2APIC;
}

/* All of these want the lock held, except for lock and the three for the bus. */
void lapic_lock(struct lapic *lapic);
void lapic_unlock(struct lapic *lapic); /* and does what is to do */
void lapic_error(struct lapic *lapic, uint32_t bit);
void lapic_raise(struct lapic *lapic, uint8_t vector, bool level);
void lapic_end(struct lapic *lapic); /* EOI */
uint8_t lapic_ppr(const struct lapic *lapic);
uint32_t lapic_ldr(const struct lapic *lapic);
void lapic_lint0_level(struct lapic *lapic);
uint32_t lapic_mask(const struct lapic *lapic, unsigned reg); /* bits that can be set */

/* Fire if that is due. To be called before anything that the timer depends on changes. */
void lapic_timer_catch_up(struct lapic *lapic);
void lapic_timer_start(struct lapic *lapic, uint32_t count);
uint32_t lapic_timer_current(const struct lapic *lapic);
void lapic_timer_mode_set(struct lapic *lapic, uint32_t lvt);
void lapic_timer_divide_set(struct lapic *lapic, uint32_t value);

/* For the bus. Is it addressed? With its priority for arbitration if it would take a vector. */
bool lapic_addressed(struct lapic *lapic, const struct apic_message *message);
bool lapic_arbitrates(struct lapic *lapic, uint8_t *priority);
void lapic_accept(struct lapic *lapic, const struct apic_message *message);

int apic_bus_join(struct apic_bus *bus, struct lapic *lapic);
void apic_bus_leave(struct apic_bus *bus, const struct lapic *lapic);
void apic_bus_send(struct apic_bus *bus, const struct lapic *from, enum apic_shorthand shorthand,
		   const struct apic_message *message);

#endif
