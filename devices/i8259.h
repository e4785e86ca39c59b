/* SPDX-License-Identifier: MIT */
/*
 * The two 8259A interrupt controllers of a PC, cascaded, with the registers that choose edge or
 * level for each line. Sources: Intel 8259A data sheet (order 231468-003), Intel ICH10 data sheet,
 * 5.8 and 13.4, for what a chipset makes of it. Thread-safe.
 */
#ifndef DEVICES_I8259_H
#define DEVICES_I8259_H

#include <stdbool.h>

#include "vmm/core/bus.h"
#include "vmm/core/cpu_state.h"

#define I8259_MASTER_PORT 0x20 /* two ports each */
#define I8259_SLAVE_PORT  0xa0
#define I8259_ELCR_PORT   0x4d0
#define I8259_LINES       16

struct i8259_config {
	/*
	 * The master's INT output, at each change. Required; any thread; called with the chip's
	 * lock held, so it may lock a local or I/O APIC but not call back. An acknowledge lowers
	 * the output, and raises it again where another request waits.
	 */
	void (*intr)(void *arg, bool level);
	void *arg;
};

struct i8259;

int i8259_create(struct bus *pio, const struct i8259_config *config, struct i8259 **out);
void i8259_destroy(struct i8259 *pic);
void i8259_reset(struct i8259 *pic);

/* Drive line 0 to 15. Others, and line 2, which is the cascade, are ignored. */
void i8259_set(struct i8259 *pic, unsigned line, bool level);

/*
 * What a processor's interrupt acknowledge gets: the vector, 0 to 255. Where the request has gone
 * meanwhile it is that of line 7, or of line 15, and nothing is in service (data sheet, "Edge and
 * level triggered modes").
 */
int i8259_acknowledge(struct i8259 *pic);

/* Master, slave. Set: -EINVAL and nothing changed for what no 8259 can be in. */
void i8259_state_get(struct i8259 *pic, struct pic_state out[2]);
int i8259_state_set(struct i8259 *pic, const struct pic_state in[2]);

#endif
