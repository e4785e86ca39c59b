/* SPDX-License-Identifier: MIT */
/*
 * The MC146818 real-time clock with its CMOS memory, on ports 0x70 and 0x71. It runs with the
 * host's clock, shifted by what the guest set. Source: Motorola MC146818A data sheet.
 */
#ifndef DEVICES_MC146818_H
#define DEVICES_MC146818_H

#include "snapshot/codec.h"
#include "vmm/base/loop.h"
#include "vmm/core/vm.h"

#define MC146818_PORT 0x70

struct mc146818;

/* `loop` runs the alarm; it outlives the chip. */
int mc146818_create(struct bus *pio, const struct irq_line *irq, struct loop *loop,
		    struct mc146818 **out);
void mc146818_destroy(struct mc146818 *rtc);
void mc146818_reset(struct mc146818 *rtc);
/* Saved state. The clock goes on with the host's: time that passed in between has passed. */
void mc146818_state(struct mc146818 *rtc, struct codec *codec);

#endif
