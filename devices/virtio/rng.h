/* SPDX-License-Identifier: MIT */
/* virtio-rng: the host's random numbers (virtio 1.2, 5.4). */
#ifndef DEVICES_VIRTIO_RNG_H
#define DEVICES_VIRTIO_RNG_H

#include "devices/virtio/virtio.h"
#include "vmm/base/loop.h"

struct virtio_rng;

/* `loop` serves the queue; it outlives the device. */
int virtio_rng_create(struct guest_memory *memory, struct loop *loop, struct virtio_rng **out);
/* After its transport. */
void virtio_rng_destroy(struct virtio_rng *rng);
struct virtio_device *virtio_rng_device(struct virtio_rng *rng);

#endif
