/* SPDX-License-Identifier: MIT */
/*
 * Local APICs, xAPIC and x2APIC, one a vCPU, and the bus that carries messages between them and to
 * them. Source: Intel SDM vol. 3, chapter 11. Thread-safe.
 *
 * Lock order: device, I8259s, I/O APIC, APIC bus, local APIC. No callback but `tsc` and `tsc_khz`
 * is called with a local APIC's lock held; the others may run with those before it in that order.
 */
#ifndef DEVICES_LAPIC_H
#define DEVICES_LAPIC_H

#include "devices/apic_message.h"
#include "vmm/core/cpu_state.h"

#define LAPIC_BASE       0xfee00000u
#define LAPIC_PAGE       0x1000u
#define LAPIC_MSR_FIRST  0x800u
#define LAPIC_MSR_LAST   0x83fu
#define LAPIC_ID_MAX     254u
#define APIC_BUS_MEMBERS 64u

#define LAPIC_BASE_BSP    (1ull << 8)
#define LAPIC_BASE_X2APIC (1ull << 10)
#define LAPIC_BASE_ENABLE (1ull << 11)

struct apic_bus;
struct lapic;

int apic_bus_create(struct apic_bus **out);
/* All members are gone. NULL is allowed. */
void apic_bus_destroy(struct apic_bus *bus);
/* From an I/O APIC or an MSI. Nobody there: it is lost. */
void apic_bus_deliver(struct apic_bus *bus, const struct apic_message *message);

/*
 * Towards the vCPU, from any thread. None may call the sender, a chip or the bus: they note what
 * happened and kick the vCPU. Required but for `tsc` and `tsc_khz`, which are there both or not.
 */
struct lapic_ops {
	/* lapic_pending or lapic_extint may say something else than before. */
	void (*wake)(void *arg);
	void (*nmi)(void *arg);
	/* The engine resets the vCPU on its own thread, calls lapic_init, and waits for SIPI. */
	void (*init)(void *arg);
	/* A vCPU that does not wait for one ignores it. */
	void (*sipi)(void *arg, uint8_t vector);
	/* For ioapic_eoi, which it may call: nothing at all is held. On the vCPU's thread. */
	void (*eoi)(void *arg, uint8_t vector);
	/* lapic_deadline may be earlier than before. */
	void (*changed)(void *arg);
	/* The guest's TSC now, and its rate. Without: no TSC-deadline mode. Must not block. */
	uint64_t (*tsc)(void *arg);
	uint32_t (*tsc_khz)(void *arg);
};

struct lapic_config {
	const struct lapic_ops *ops;
	void *arg;
	uint32_t id;       /* to LAPIC_ID_MAX */
	bool bsp;          /* the bootstrap processor */
	bool virtual_wire; /* LINT0 is ExtINT after a reset, as firmware leaves it; KVM's BSP */
	bool directed_eoi; /* offer to suppress EOI broadcasts; KVM with its I/O APIC does not */
	uint8_t physical_bits; /* of an address; 0: 52 */
};

/* -EEXIST where the bus has that id, -ENOSPC where it is full, -EINVAL for the id. */
int lapic_create(struct apic_bus *bus, const struct lapic_config *config, struct lapic **out);
void lapic_destroy(struct lapic *lapic);
/* As at power-up, and as INIT leaves it: the latter keeps IA32_APIC_BASE. */
void lapic_reset(struct lapic *lapic);
void lapic_init(struct lapic *lapic);

/*
 * The page at IA32_APIC_BASE while in xAPIC mode; else reads give all ones. `offset` below
 * LAPIC_PAGE. Registers are 32 bits at multiples of 16; other writes do nothing.
 */
uint64_t lapic_read(struct lapic *lapic, uint32_t offset, unsigned size);
void lapic_write(struct lapic *lapic, uint32_t offset, unsigned size, uint64_t value);

/* MSRs 0x800 to 0x83f. -EINVAL: #GP, also where it is not in x2APIC mode. */
int lapic_msr_read(struct lapic *lapic, uint32_t index, uint64_t *value);
int lapic_msr_write(struct lapic *lapic, uint32_t index, uint64_t value);

/* IA32_APIC_BASE. -EINVAL: #GP for reserved bits and for transitions that there are none of. */
uint64_t lapic_base(struct lapic *lapic);
int lapic_base_set(struct lapic *lapic, uint64_t value);

/* CR8, 0 to 15. */
uint8_t lapic_cr8(struct lapic *lapic);
void lapic_cr8_set(struct lapic *lapic, uint8_t value);

/* The vector that could be delivered now, or -1. On the vCPU's thread it can only get higher. */
int lapic_pending(struct lapic *lapic);
/* Put it in service. Where there is none it is the spurious vector, and nothing is in service. */
int lapic_acknowledge(struct lapic *lapic);

/* Inputs: LINT0 (0), where the 8259s are, and LINT1 (1), where NMIs are. */
void lapic_lint(struct lapic *lapic, unsigned pin, bool level);
/* Does the 8259s' request pass? Then i8259_acknowledge gives the vector, after this is told. */
bool lapic_extint(struct lapic *lapic);
void lapic_extint_acknowledge(struct lapic *lapic);

/*
 * The timer. deadline: CLOCK_MONOTONIC ns at which lapic_tick has to do something; 0: never. One
 * interrupt stands for all periods that were missed, and periods below LAPIC_TICK_MIN_NS are seen
 * to at that rate. After the guest's TSC was set the deadline is another.
 */
#define LAPIC_TICK_MIN_NS 100000ull
uint64_t lapic_deadline(struct lapic *lapic);
void lapic_tick(struct lapic *lapic);
/* IA32_TSC_DEADLINE: 0, and writes do nothing, where the timer is not in that mode. */
uint64_t lapic_tsc_deadline(struct lapic *lapic);
void lapic_tsc_deadline_set(struct lapic *lapic, uint64_t value);

/*
 * `page` as KVM has it: the id in bits 31 to 24 in x2APIC mode too, ICR's upper half at 0x310, the
 * timer's count at 0x390. Errors not yet in ESR and what drives LINT0 and LINT1 are not in it. Set:
 * -EINVAL and nothing changed for an impossible base or another's id; reserved bits are dropped.
 */
struct lapic_state {
	uint8_t page[CPU_LAPIC_SIZE];
	uint64_t base, tsc_deadline;
};
void lapic_state_get(struct lapic *lapic, struct lapic_state *out);
int lapic_state_set(struct lapic *lapic, const struct lapic_state *in);

#endif
