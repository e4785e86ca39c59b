/* SPDX-License-Identifier: MIT */
/*
 * What travels between I/O APIC, MSIs and local APICs. Source: Intel SDM vol. 3, 11.6 (interrupt
 * command register), 11.6.2 (destinations) and 11.11 (message signalled interrupts).
 */
#ifndef DEVICES_APIC_MESSAGE_H
#define DEVICES_APIC_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

/* As redirection entries, the ICR, LVT entries and MSI data number them. */
enum apic_mode {
	APIC_FIXED,
	APIC_LOWEST_PRIORITY,
	APIC_SMI, /* nobody here has an SMM: ignored */
	APIC_RESERVED,
	APIC_NMI,
	APIC_INIT,
	APIC_STARTUP,
	APIC_EXTINT,
};

/* To all, physical or logical. Who has 8 bits for a destination says 0xff: apic_destination. */
#define APIC_BROADCAST 0xffffffffu

struct apic_message {
	uint32_t destination; /* an APIC id, or a logical destination */
	bool logical;
	uint8_t mode; /* enum apic_mode */
	uint8_t vector;
	bool level_triggered;
	bool assert; /* false: INIT's de-assert */
};

static inline uint32_t apic_destination(uint8_t narrow)
{
	return narrow == 0xff ? APIC_BROADCAST : narrow;
}

/*
 * What a write of `data` to `address` asks for; false: that is no message (address bits 31 to 20
 * are not 0xfee, or it de-asserts a level).
 */
bool apic_message_from_msi(uint64_t address, uint32_t data, struct apic_message *out);

#endif
