/* SPDX-License-Identifier: MIT */
/*
 * The pvpanic port: a guest's kernel writes there when it panics. Source: Linux
 * drivers/misc/pvpanic, QEMU docs/specs/pvpanic.
 */
#ifndef DEVICES_PVPANIC_H
#define DEVICES_PVPANIC_H

#include "vmm/core/bus.h"
#include "vmm/core/power.h"

struct pvpanic;

int pvpanic_create(struct bus *pio, uint16_t port, const struct power *power, struct pvpanic **out);
void pvpanic_destroy(struct pvpanic *chip);

#endif
