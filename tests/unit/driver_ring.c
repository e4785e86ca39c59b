/* SPDX-License-Identifier: MIT */
/* A driver as virtio 1.2, 2.7 describes it, and the means to be a bad one. */
#include "tests/unit/driver_ring.h"

#include <assert.h>
#include <string.h>

#include "vmm/base/bytes.h"

static uint8_t *host(const struct driver_ring *ring, uint64_t gpa, uint64_t length)
{
	uint8_t *at = memory_at_write(ring->memory, gpa, length);

	assert(at);
	return at;
}

void driver_ring_init(struct driver_ring *ring, struct guest_memory *memory, uint16_t size,
		      uint64_t at)
{
	*ring = (struct driver_ring){
		.memory = memory,
		.size = size,
		.desc = at,
		.avail = at + 0x1000,
		.used = at + 0x2000,
	};
	memset(host(ring, at, 0x3000), 0, 0x3000);
}

void driver_desc_put(struct guest_memory *memory, uint64_t table, unsigned index, uint64_t address,
		     uint32_t length, uint16_t flags, uint16_t next)
{
	uint8_t *d = memory_at_write(memory, table + 16 * (uint64_t)index, 16);

	assert(d);
	le64_put(d, address);
	le32_put(d + 8, length);
	le16_put(d + 12, flags);
	le16_put(d + 14, next);
}

void driver_ring_desc(struct driver_ring *ring, unsigned index, uint64_t address, uint32_t length,
		      uint16_t flags, uint16_t next)
{
	driver_desc_put(ring->memory, ring->desc, index, address, length, flags, next);
}

uint16_t driver_ring_chain(struct driver_ring *ring, const struct driver_buffer *buffers,
			   unsigned count)
{
	uint16_t head = ring->next_desc % ring->size;

	for (unsigned i = 0; i < count; i++) {
		uint16_t index = ring->next_desc++ % ring->size;
		uint16_t flags = buffers[i].write ? DRIVER_WRITE : 0;

		if (i + 1 < count)
			flags |= DRIVER_NEXT;
		driver_ring_desc(ring, index, buffers[i].address, buffers[i].length, flags,
				 ring->next_desc % ring->size);
	}
	return head;
}

void driver_ring_offer(struct driver_ring *ring, uint16_t head)
{
	le16_put(host(ring, ring->avail + 4 + 2 * (uint64_t)(ring->offered % ring->size), 2), head);
	driver_ring_set_index(ring, ring->offered + 1);
}

uint16_t driver_ring_add(struct driver_ring *ring, const struct driver_buffer *buffers,
			 unsigned count)
{
	uint16_t head = driver_ring_chain(ring, buffers, count);

	driver_ring_offer(ring, head);
	return head;
}

uint16_t driver_ring_used_index(const struct driver_ring *ring)
{
	/* Acquire: the element is there once the index says so. */
	return __atomic_load_n((uint16_t *)(void *)host(ring, ring->used + 2, 2), __ATOMIC_ACQUIRE);
}

bool driver_ring_take(struct driver_ring *ring, uint32_t *id, uint32_t *length)
{
	const uint8_t *element =
		host(ring, ring->used + 4 + 8 * (uint64_t)(ring->seen % ring->size), 8);

	if (driver_ring_used_index(ring) == ring->seen)
		return false;
	ring->seen++;
	*id = le32_get(element);
	*length = le32_get(element + 4);
	return true;
}

void driver_ring_set_flags(struct driver_ring *ring, uint16_t flags)
{
	__atomic_store_n((uint16_t *)(void *)host(ring, ring->avail, 2), flags, __ATOMIC_SEQ_CST);
}

void driver_ring_set_index(struct driver_ring *ring, uint16_t index)
{
	ring->offered = index;
	/* Release: entries before the index. */
	__atomic_store_n((uint16_t *)(void *)host(ring, ring->avail + 2, 2), index,
			 __ATOMIC_RELEASE);
}

void driver_ring_set_used_event(struct driver_ring *ring, uint16_t event)
{
	uint64_t at = ring->avail + 4 + 2 * (uint64_t)ring->size;

	__atomic_store_n((uint16_t *)(void *)host(ring, at, 2), event, __ATOMIC_SEQ_CST);
}

uint16_t driver_ring_used_flags(const struct driver_ring *ring)
{
	return __atomic_load_n((uint16_t *)(void *)host(ring, ring->used, 2), __ATOMIC_SEQ_CST);
}

uint16_t driver_ring_avail_event(const struct driver_ring *ring)
{
	uint64_t at = ring->used + 4 + 8 * (uint64_t)ring->size;

	return __atomic_load_n((uint16_t *)(void *)host(ring, at, 2), __ATOMIC_SEQ_CST);
}
