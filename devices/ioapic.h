/* SPDX-License-Identifier: MIT */
/*
 * The I/O APIC: 24 inputs that become messages to local APICs. Sources: Intel 82093AA data sheet
 * (order 290566-001); the EOI register is of ICH10, 13.5.5. Thread-safe.
 */
#ifndef DEVICES_IOAPIC_H
#define DEVICES_IOAPIC_H

#include "devices/apic_message.h"
#include "vmm/core/bus.h"
#include "vmm/core/cpu_state.h"

#define IOAPIC_BASE   0xfec00000u
#define IOAPIC_LENGTH 0x100u

/* What the version register says. KVM's has no EOI register. */
#define IOAPIC_VERSION_82093AA 0x11
#define IOAPIC_VERSION_EOI     0x20

struct ioapic_config {
	/*
	 * Send. Required; any thread; called with the chip's lock held: it may lock local APICs but
	 * not call back (ioapic_eoi included).
	 */
	void (*deliver)(void *arg, const struct apic_message *message);
	void *arg;
	uint8_t version; /* 0: IOAPIC_VERSION_EOI */
};

struct ioapic;

int ioapic_create(struct bus *mmio, const struct ioapic_config *config, struct ioapic **out);
void ioapic_destroy(struct ioapic *ioapic);
/* All entries masked, all inputs low. */
void ioapic_reset(struct ioapic *ioapic);

/* Drive input 0 to 23 (others are ignored). Polarity is not looked at: true is "asserted". */
void ioapic_set(struct ioapic *ioapic, unsigned pin, bool level);

/*
 * A local APIC's EOI of a level-triggered vector. Entries that wait for it may send again, and do
 * so at once if their input is still asserted.
 */
void ioapic_eoi(struct ioapic *ioapic, uint8_t vector);

/*
 * `irr` are the asserted inputs, without edges that are dealt with. After a set they count as just
 * having been asserted, which may send. Set: -EINVAL and nothing changed where base, select, id or
 * irr are none that this chip can have; reserved bits of entries are dropped.
 */
void ioapic_state_get(struct ioapic *ioapic, struct ioapic_state *out);
int ioapic_state_set(struct ioapic *ioapic, const struct ioapic_state *in);

#endif
