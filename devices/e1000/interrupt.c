/* SPDX-License-Identifier: MIT */
/*
 * Interrupts: causes, a mask, and the least time between two of them (317453, 13.4.18). The delays
 * that rings have of their own (RDTR, TIDV and their like) pass at once: they are upper bounds of
 * how long a frame may wait.
 */
#include "devices/e1000/e1000_impl.h"
#include "vmm/base/clock.h"

#define THROTTLE_NS 256u /* a unit of ITR */

/* False: it is too early; the thread looks again. */
static bool may_rise(struct i82540em *n)
{
	uint64_t interval = (uint64_t)(n->reg[E1000_ITR] & 0xffff) * THROTTLE_NS, now;

	if (interval == 0)
		return true;
	now = clock_monotonic_ns();
	if (now < n->quiet_until) {
		if (!n->interrupt_waits)
			e1000_kick(n);
		n->interrupt_waits = true;
		return false;
	}
	n->quiet_until = now + interval;
	return true;
}

void e1000_interrupt_update(struct i82540em *n)
{
	bool level = n->reg[E1000_ICR] & n->reg[E1000_IMS];

	if (!level)
		n->interrupt_waits = false;
	if (level == n->level || (level && !may_rise(n)))
		return;
	n->interrupt_waits = false;
	n->level = level;
	pci_intx_set(&n->pci, level);
}

void e1000_interrupt(struct i82540em *n, uint32_t causes)
{
	n->reg[E1000_ICR] |= causes;
	e1000_interrupt_update(n);
}
