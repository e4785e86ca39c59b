/* SPDX-License-Identifier: MIT */
/*
 * ACPI tables: how the guest finds processors, interrupt controllers, PCI and the power button.
 * Source: ACPI specification 6.4, chapter 5. The DSDT is dsdt.asl, compiled by iasl; its addresses
 * are those of the board.
 */
#ifndef VMM_BOOT_ACPI_H
#define VMM_BOOT_ACPI_H

#include <stdint.h>

#include "vmm/base/error.h"
#include "vmm/core/memory.h"

#define ACPI_GENERATION_SIZE 16u

/* The board, as far as ACPI tells of it. Addresses are guest-physical, ports are I/O ports. */
struct acpi_board {
	unsigned vcpus;
	uint64_t lapic_base, ioapic_base;
	uint64_t ecam_base, ecam_size; /* one bus a MiB, from bus 0 */
	uint16_t pm_event_port, pm_control_port, pm_timer_port, reset_port, gpe_port;
	uint8_t reset_value;
	uint8_t sci_irq;
	uint64_t generation_base; /* of the VM generation ID: in reserved memory, at a multiple of 8
				   */
	uint8_t generation[ACPI_GENERATION_SIZE];
};

/*
 * Write all tables to [at, at + room), and the generation ID, and tell where the RSDP is. -ENOSPC
 * where they do not fit.
 */
int acpi_write(const struct acpi_board *board, struct guest_memory *memory, uint64_t at,
	       uint64_t room, uint64_t *rsdp, struct error *err);

#endif
