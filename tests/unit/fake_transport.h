/* SPDX-License-Identifier: MIT */
/* A virtio transport that counts interrupts, and a driver's way through the status register. */
#ifndef TESTS_UNIT_FAKE_TRANSPORT_H
#define TESTS_UNIT_FAKE_TRANSPORT_H

#include "devices/virtio/virtio.h"
#include "tests/unit/driver_ring.h"

struct fake_transport {
	struct virtio_device *vdev;
	int fd; /* an eventfd that every interrupt signals */
	_Atomic unsigned queue_interrupts[VIRTIO_QUEUES_MAX];
	_Atomic unsigned config_interrupts;
};

/* Become the transport of `vdev`. */
void fake_transport_init(struct fake_transport *transport, struct virtio_device *vdev);
void fake_transport_fini(struct fake_transport *transport);

/* Up to FEATURES_OK. Returns whether the device took `features`. */
bool fake_transport_negotiate(struct fake_transport *transport, uint64_t features);
/* Hand a ring over; before DRIVER_OK. */
void fake_transport_queue(struct fake_transport *transport, unsigned queue,
			  const struct driver_ring *ring);
void fake_transport_driver_ok(struct fake_transport *transport);
void fake_transport_reset(struct fake_transport *transport);

void fake_transport_kick(struct fake_transport *transport, unsigned queue);

/* Sleep until an interrupt came since the last call. The test fails where none comes. */
void fake_transport_wait(struct fake_transport *transport);
/* Sleep until the device shows used index `index`. */
void fake_transport_wait_used(struct fake_transport *transport, struct driver_ring *ring,
			      uint16_t index);

#endif
