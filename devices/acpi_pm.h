/* SPDX-License-Identifier: MIT */
/*
 * ACPI fixed hardware: PM1a event and control blocks, the power-management timer, a reset register,
 * general-purpose events. Source: ACPI specification 6.4, 4.8.
 */
#ifndef DEVICES_ACPI_PM_H
#define DEVICES_ACPI_PM_H

#include "snapshot/codec.h"
#include "vmm/core/power.h"
#include "vmm/core/vm.h"

/* General-purpose events: bits of the GPE block, and methods of the DSDT. */
#define ACPI_PM_GPE_GENERATION 0 /* the VM generation ID changed */
#define ACPI_PM_GPE_REPLACED   1 /* see acpi_pm_replace */

/* Ports from the base on. */
#define ACPI_PM_EVENT       0  /* 4: status, enable */
#define ACPI_PM_CONTROL     4  /* 2 */
#define ACPI_PM_REPLACED    6  /* 1: a bit a NIC; a write of one clears */
#define ACPI_PM_TIMER       8  /* 4 */
#define ACPI_PM_RESET       12 /* 1 */
#define ACPI_PM_GPE         14 /* 2: status, enable */
#define ACPI_PM_PORTS       16
#define ACPI_PM_RESET_VALUE 1

struct acpi_pm;

/* `sci` is level-triggered. `power` is copied. */
int acpi_pm_create(struct bus *pio, uint16_t port, const struct irq_line *sci,
		   const struct power *power, struct acpi_pm **out);
void acpi_pm_destroy(struct acpi_pm *pm);
void acpi_pm_reset(struct acpi_pm *pm);
/* Saved state. The timer goes on from where it was. */
void acpi_pm_state(struct acpi_pm *pm, struct codec *codec);

/* A general-purpose event happened. Any thread. */
void acpi_pm_raise(struct acpi_pm *pm, unsigned event);
/* The NICs of these bits were replaced: the guest is to let its drivers go, and find them anew. */
void acpi_pm_replace(struct acpi_pm *pm, uint8_t nics);
/* Press the power button. Any thread. */
void acpi_pm_press_power_button(struct acpi_pm *pm);

#endif
