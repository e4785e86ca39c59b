/* SPDX-License-Identifier: MIT */
/*
 * A driver without a transport: it sets up a virtio device's queues, rings them and sleeps until an
 * interrupt, by the rules of notification suppression. A chain that does not come back is a
 * finding unless the device says that it needs a reset.
 */
#ifndef TESTS_FUZZ_VIRTIO_GUEST_H
#define TESTS_FUZZ_VIRTIO_GUEST_H

#include "devices/virtio/virtio.h"
#include "tests/fuzz/guest_queue.h"

#define GUEST_QUEUES_MAX 8

struct virtio_guest {
	struct virtio_device *vdev;
	int interrupt_fd;         /* an eventfd, all queues' */
	_Atomic unsigned changed; /* configuration interrupts */
	unsigned queue_count;
	struct guest_queue *queue; /* of the device's */
};

/* Becomes the device's transport. */
void virtio_guest_init(struct virtio_guest *g, struct virtio_device *vdev, unsigned queues);
void virtio_guest_fini(struct virtio_guest *g);

/* Queues that are set in `enabled`, all of `size`; features; DRIVER_OK. */
void virtio_guest_start(struct virtio_guest *g, uint64_t features, unsigned enabled, uint16_t size,
			unsigned shift);
void virtio_guest_reset(struct virtio_guest *g);
bool virtio_guest_broken(const struct virtio_guest *g);

void virtio_guest_ring(struct virtio_guest *g, unsigned queue);
/* Ring as far as the device wants it. */
void virtio_guest_ring_if_asked(struct virtio_guest *g, unsigned queue, uint16_t old);
/* Sleep until all of the queue's chains are back or the device is broken. */
void virtio_guest_wait(struct virtio_guest *g, unsigned queue,
		       void (*done)(void *arg, uint16_t head, uint32_t bytes), void *arg);

#endif
