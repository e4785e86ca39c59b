/* SPDX-License-Identifier: MIT */
/*
 * A bus: an address space in which devices answer. A guest has two, port I/O and memory-mapped
 * I/O. A read that nobody answers gives all ones, a write that nobody takes is lost. Thread-safe:
 * regions may come and go (a guest moves a BAR) while vCPUs access the bus.
 */
#ifndef VMM_CORE_BUS_H
#define VMM_CORE_BUS_H

#include <stdint.h>

/*
 * What a device does with an access. Both are required. `offset` is relative to the region and the
 * access lies wholly within it; `size` is 1, 2, 4 or 8 bytes. Called on a vCPU's thread with
 * nothing held: several vCPUs may call at once, the device locks itself.
 */
struct bus_ops {
	uint64_t (*read)(void *device, uint64_t offset, unsigned size);
	void (*write)(void *device, uint64_t offset, unsigned size, uint64_t value);
};

struct bus;

int bus_create(struct bus **out);
void bus_destroy(struct bus *bus);

/*
 * Let a device answer in [base, base + length). `device` must outlive its region. -EEXIST where
 * another region overlaps, -ENOMEM, -EINVAL for an empty or wrapping range.
 */
int bus_add(struct bus *bus, uint64_t base, uint64_t length, const struct bus_ops *ops,
	    void *device);

/* The device's region that starts at `base`, if it has one. An access under way may still finish.
 */
void bus_remove(struct bus *bus, uint64_t base, const void *device);

/* `size` 1, 2, 4 or 8; the value is in the low bytes. */
uint64_t bus_read(struct bus *bus, uint64_t address, unsigned size);
void bus_write(struct bus *bus, uint64_t address, unsigned size, uint64_t value);

#endif
