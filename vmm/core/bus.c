/* SPDX-License-Identifier: MIT */
/*
 * A bus is a sorted array under a read-write lock. The lock is not held while a device handles an
 * access: a write to a PCI command register adds and removes regions on the very bus.
 */
#include "vmm/core/bus.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/checked.h"

struct bus_region {
	uint64_t base;
	uint64_t length;
	const struct bus_ops *ops;
	void *device;
};

struct bus {
	pthread_rwlock_t lock; /* guards all below; a leaf lock */
	unsigned count;
	unsigned capacity;
	struct bus_region *regions; /* sorted by base, none overlap */
};

int bus_create(struct bus **out)
{
	struct bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return -ENOMEM;
	pthread_rwlock_init(&bus->lock, NULL);
	*out = bus;
	return 0;
}

void bus_destroy(struct bus *bus)
{
	if (!bus)
		return;
	pthread_rwlock_destroy(&bus->lock);
	free(bus->regions);
	free(bus);
}

/* The first region whose base is above `address`. */
static unsigned region_after(const struct bus *bus, uint64_t address)
{
	unsigned low = 0, high = bus->count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (bus->regions[middle].base <= address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int bus_grow(struct bus *bus)
{
	unsigned capacity = bus->capacity ? bus->capacity * 2 : 16;
	struct bus_region *regions;

	if (bus->count < bus->capacity)
		return 0;
	regions = realloc(bus->regions, capacity * sizeof(*regions));
	if (!regions)
		return -ENOMEM;
	bus->regions = regions;
	bus->capacity = capacity;
	return 0;
}

static int bus_insert(struct bus *bus, const struct bus_region *new)
{
	unsigned at = region_after(bus, new->base);
	int ret;

	if (at > 0 && range_overlaps(bus->regions[at - 1].base, bus->regions[at - 1].length,
				     new->base, new->length))
		return -EEXIST;
	if (at < bus->count &&
	    range_overlaps(bus->regions[at].base, bus->regions[at].length, new->base, new->length))
		return -EEXIST;
	ret = bus_grow(bus);
	if (ret)
		return ret;
	memmove(&bus->regions[at + 1], &bus->regions[at],
		(bus->count - at) * sizeof(*bus->regions));
	bus->regions[at] = *new;
	bus->count++;
	return 0;
}

int bus_add(struct bus *bus, uint64_t base, uint64_t length, const struct bus_ops *ops,
	    void *device)
{
	struct bus_region new = {base, length, ops, device};
	uint64_t end;
	int ret;

	assert(ops->read && ops->write);
	if (length == 0 || !checked_add(base, length, &end))
		return -EINVAL;
	pthread_rwlock_wrlock(&bus->lock);
	ret = bus_insert(bus, &new);
	pthread_rwlock_unlock(&bus->lock);
	return ret;
}

void bus_remove(struct bus *bus, uint64_t base, const void *device)
{
	unsigned after;

	pthread_rwlock_wrlock(&bus->lock);
	after = region_after(bus, base);
	if (after > 0 && bus->regions[after - 1].base == base &&
	    bus->regions[after - 1].device == device) {
		memmove(&bus->regions[after - 1], &bus->regions[after],
			(bus->count - after) * sizeof(*bus->regions));
		bus->count--;
	}
	pthread_rwlock_unlock(&bus->lock);
}

static bool bus_find(struct bus *bus, uint64_t address, unsigned size, struct bus_region *out)
{
	bool found = false;
	unsigned after;

	pthread_rwlock_rdlock(&bus->lock);
	after = region_after(bus, address);
	if (after > 0) {
		*out = bus->regions[after - 1];
		found = range_within(address, size, out->base, out->length);
	}
	pthread_rwlock_unlock(&bus->lock);
	return found;
}

uint64_t bus_read(struct bus *bus, uint64_t address, unsigned size)
{
	uint64_t mask = ~0ull >> (64 - 8 * size);
	struct bus_region region;

	assert(size == 1 || size == 2 || size == 4 || size == 8);
	if (!bus_find(bus, address, size, &region))
		return mask;
	return region.ops->read(region.device, address - region.base, size) & mask;
}

void bus_write(struct bus *bus, uint64_t address, unsigned size, uint64_t value)
{
	struct bus_region region;

	assert(size == 1 || size == 2 || size == 4 || size == 8);
	if (bus_find(bus, address, size, &region))
		region.ops->write(region.device, address - region.base, size, value);
}
