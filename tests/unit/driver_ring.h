/* SPDX-License-Identifier: MIT */
/* The driver's half of a split virtqueue, in guest memory (virtio 1.2, 2.7). */
#ifndef TESTS_UNIT_DRIVER_RING_H
#define TESTS_UNIT_DRIVER_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/core/memory.h"

#define DRIVER_NEXT     1u
#define DRIVER_WRITE    2u
#define DRIVER_INDIRECT 4u

struct driver_ring {
	struct guest_memory *memory;
	uint16_t size;
	uint64_t desc, avail, used; /* guest-physical */
	uint16_t next_desc;         /* where the next chain's descriptors go */
	uint16_t offered;           /* the available index */
	uint16_t seen;              /* used elements taken so far */
};

struct driver_buffer {
	uint64_t address;
	uint32_t length;
	bool write; /* the device writes it */
};

/* Lay the three rings out from `at`, zeroed, in a page each and more. */
void driver_ring_init(struct driver_ring *ring, struct guest_memory *memory, uint16_t size,
		      uint64_t at);

/* One descriptor, as it is said, of the table at `table`. */
void driver_desc_put(struct guest_memory *memory, uint64_t table, unsigned index, uint64_t address,
		     uint32_t length, uint16_t flags, uint16_t next);
void driver_ring_desc(struct driver_ring *ring, unsigned index, uint64_t address, uint32_t length,
		      uint16_t flags, uint16_t next);

/* A chain of buffers in the next free descriptors; returns its head. Not offered yet. */
uint16_t driver_ring_chain(struct driver_ring *ring, const struct driver_buffer *buffers,
			   unsigned count);
/* Make a head available, and show it. */
void driver_ring_offer(struct driver_ring *ring, uint16_t head);
/* Both. */
uint16_t driver_ring_add(struct driver_ring *ring, const struct driver_buffer *buffers,
			 unsigned count);

/* The index that the device shows; may be read while it works. */
uint16_t driver_ring_used_index(const struct driver_ring *ring);
/* The next used element; false where there is none. */
bool driver_ring_take(struct driver_ring *ring, uint32_t *id, uint32_t *length);

void driver_ring_set_flags(struct driver_ring *ring, uint16_t flags);
void driver_ring_set_index(struct driver_ring *ring, uint16_t index);
void driver_ring_set_used_event(struct driver_ring *ring, uint16_t event);
uint16_t driver_ring_used_flags(const struct driver_ring *ring);
uint16_t driver_ring_avail_event(const struct driver_ring *ring);

#endif
