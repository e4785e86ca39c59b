/* SPDX-License-Identifier: MIT */
/*
 * The 8254 timer: three counters at 1193182 Hz, and the port at 0x61 with counter 2's gate and
 * output. Sources: Intel 8254 data sheet (order 231164-005); ICH10 data sheet, 13.7.1, for the
 * port. Thread-safe.
 */
#ifndef DEVICES_I8254_H
#define DEVICES_I8254_H

#include <stdbool.h>

#include "vmm/core/bus.h"
#include "vmm/core/cpu_state.h"

#define I8254_PORT         0x40 /* four */
#define I8254_CONTROL_PORT 0x61
#define I8254_HZ           1193182u

#define I8254_FLAG_SPEAKER (1u << 1) /* of chips_state.pit_flags */

/* Edges that come faster are seen to at this rate. */
#define I8254_TICK_MIN_NS 100000ull

struct i8254_config {
	/*
	 * A rising edge of counter 0's output: true, then false. Required; any thread; called with
	 * the chip's lock held: it may lock interrupt controllers, but not call back.
	 */
	void (*irq)(void *arg, bool level);
	/* i8254_deadline may be earlier than before. Required; any thread; nothing is held. */
	void (*changed)(void *arg);
	void *arg;
};

struct i8254;

int i8254_create(struct bus *pio, const struct i8254_config *config, struct i8254 **out);
void i8254_destroy(struct i8254 *pit);
void i8254_reset(struct i8254 *pit);

/*
 * CLOCK_MONOTONIC ns at which i8254_tick has to do something; 0: never. A late tick makes one edge
 * for all periods that have passed; none is made up for.
 */
uint64_t i8254_deadline(struct i8254 *pit);
void i8254_tick(struct i8254 *pit);

/*
 * Get: may make an edge that is due, so ask before the interrupt controllers are asked. `count` is
 * in ticks, 0: none was written since the control word. `load_time` 0 is KVM's counter 0, which
 * does not say: it starts again. Below 0: a one-shot that has expired. Set: -EINVAL and nothing
 * changed for what no 8254 can be in.
 */
void i8254_state_get(struct i8254 *pit, struct pit_channel_state out[3], uint32_t *flags);
int i8254_state_set(struct i8254 *pit, const struct pit_channel_state in[3], uint32_t flags);

#endif
