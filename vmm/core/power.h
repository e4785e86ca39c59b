/* SPDX-License-Identifier: MIT */
/*
 * What a guest can ask of its machine by writing to a chip. All are called on a vCPU's thread with
 * the chip's lock held; they return at once and act later, once the vCPUs are paused.
 */
#ifndef VMM_CORE_POWER_H
#define VMM_CORE_POWER_H

struct power_ops {
	void (*off)(void *arg);      /* ACPI S5 */
	void (*reset)(void *arg);    /* any of the reset registers */
	void (*panicked)(void *arg); /* the guest's kernel says that it panicked */
};

struct power {
	const struct power_ops *ops;
	void *arg;
};

#endif
