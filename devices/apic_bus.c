/* SPDX-License-Identifier: MIT */
/*
 * Who gets a message (SDM vol. 3, 11.6.2). The lowest-priority mode goes to the processor with the
 * lowest PPR, in turn among equals.
 */
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "devices/lapic_impl.h"

/* MSIs (SDM vol. 3, 11.11). */
#define MSI_BASE              0xfeeull
#define MSI_BASE_SHIFT        20
#define MSI_DESTINATION_SHIFT 12
#define MSI_REDIRECTION       (1u << 3)
#define MSI_LOGICAL           (1u << 2)
#define MSI_MODE_SHIFT        8
#define MSI_MODE              7u
#define MSI_ASSERT            (1u << 14)
#define MSI_LEVEL             (1u << 15)

struct apic_bus {
	pthread_rwlock_t lock; /* guards the members; local APICs' locks come after it */
	unsigned count;
	struct lapic *member[APIC_BUS_MEMBERS];
	_Atomic unsigned turn; /* where arbitration among equals starts */
};

bool apic_message_from_msi(uint64_t address, uint32_t data, struct apic_message *out)
{
	uint8_t mode = data >> MSI_MODE_SHIFT & MSI_MODE;

	if (address >> MSI_BASE_SHIFT != MSI_BASE || mode == APIC_RESERVED ||
	    mode == APIC_STARTUP || (data & MSI_LEVEL && !(data & MSI_ASSERT)))
		return false;
	/* The hint asks for one of the destinations (11.11.1). */
	if (mode == APIC_FIXED && address & MSI_REDIRECTION)
		mode = APIC_LOWEST_PRIORITY;
	*out = (struct apic_message){
		.destination = apic_destination((uint8_t)(address >> MSI_DESTINATION_SHIFT)),
		.logical = (address & MSI_LOGICAL) != 0,
		.mode = mode,
		.vector = (uint8_t)data,
		.level_triggered = (data & MSI_LEVEL) != 0,
		.assert = true,
	};
	return true;
}

int apic_bus_create(struct apic_bus **out)
{
	struct apic_bus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return -ENOMEM;
	pthread_rwlock_init(&bus->lock, NULL);
	*out = bus;
	return 0;
}

void apic_bus_destroy(struct apic_bus *bus)
{
	if (!bus)
		return;
	assert(bus->count == 0);
	pthread_rwlock_destroy(&bus->lock);
	free(bus);
}

int apic_bus_join(struct apic_bus *bus, struct lapic *lapic)
{
	int ret = 0;

	pthread_rwlock_wrlock(&bus->lock);
	for (unsigned i = 0; i < bus->count; i++)
		if (bus->member[i]->config.id == lapic->config.id)
			ret = -EEXIST;
	if (ret == 0 && bus->count == APIC_BUS_MEMBERS)
		ret = -ENOSPC;
	if (ret == 0)
		bus->member[bus->count++] = lapic;
	pthread_rwlock_unlock(&bus->lock);
	return ret;
}

void apic_bus_leave(struct apic_bus *bus, const struct lapic *lapic)
{
	pthread_rwlock_wrlock(&bus->lock);
	for (unsigned i = 0; i < bus->count; i++)
		if (bus->member[i] == lapic) {
			bus->member[i] = bus->member[--bus->count];
			break;
		}
	pthread_rwlock_unlock(&bus->lock);
}

static bool is_for(struct lapic *to, const struct lapic *from, enum apic_shorthand shorthand,
		   const struct apic_message *message)
{
	switch (shorthand) {
	case APIC_TO_SELF:
		return to == from;
	case APIC_TO_ALL:
		return true;
	case APIC_TO_OTHERS:
		return to != from;
	default:
		return lapic_addressed(to, message);
	}
}

/* Arbitration (SDM vol. 3, 11.6.2.4). */
static struct lapic *lowest(struct apic_bus *bus, const struct lapic *from,
			    enum apic_shorthand shorthand, const struct apic_message *message)
{
	unsigned first = atomic_fetch_add(&bus->turn, 1);
	struct lapic *best = NULL;
	uint8_t best_priority = 0;

	for (unsigned i = 0; i < bus->count; i++) {
		struct lapic *lapic = bus->member[(first + i) % bus->count];
		uint8_t priority;

		if (!is_for(lapic, from, shorthand, message) || !lapic_arbitrates(lapic, &priority))
			continue;
		if (!best || priority < best_priority) {
			best = lapic;
			best_priority = priority;
		}
	}
	return best;
}

void apic_bus_send(struct apic_bus *bus, const struct lapic *from, enum apic_shorthand shorthand,
		   const struct apic_message *message)
{
	pthread_rwlock_rdlock(&bus->lock);
	if (message->mode == APIC_LOWEST_PRIORITY) {
		struct lapic *to = lowest(bus, from, shorthand, message);

		if (to)
			lapic_accept(to, message);
	} else {
		for (unsigned i = 0; i < bus->count; i++)
			if (is_for(bus->member[i], from, shorthand, message))
				lapic_accept(bus->member[i], message);
	}
	pthread_rwlock_unlock(&bus->lock);
}

void apic_bus_deliver(struct apic_bus *bus, const struct apic_message *message)
{
	apic_bus_send(bus, NULL, APIC_TO_DESTINATION, message);
}
