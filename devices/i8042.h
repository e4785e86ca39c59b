/* SPDX-License-Identifier: MIT */
/*
 * The 8042 keyboard controller, as much of it as resets a PC: no keyboard or mouse is attached.
 * Source: IBM PC/AT technical reference, keyboard controller commands.
 */
#ifndef DEVICES_I8042_H
#define DEVICES_I8042_H

#include "snapshot/codec.h"
#include "vmm/core/bus.h"
#include "vmm/core/power.h"

struct i8042;

int i8042_create(struct bus *pio, const struct power *power, struct i8042 **out);
void i8042_destroy(struct i8042 *chip);
void i8042_reset(struct i8042 *chip);
void i8042_state(struct i8042 *chip, struct codec *codec); /* saved state */

#endif
