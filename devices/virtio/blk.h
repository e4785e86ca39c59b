/* SPDX-License-Identifier: MIT */
/* virtio-blk: a disk (virtio 1.2, 5.2). Each queue has a thread and a block queue of its own. */
#ifndef DEVICES_VIRTIO_BLK_H
#define DEVICES_VIRTIO_BLK_H

#include "block/block.h"
#include "devices/virtio/virtio.h"

struct virtio_blk;

#define VIRTIO_BLK_SERIAL_SIZE 20

struct virtio_blk_config {
	struct block *block; /* outlives the device */
	unsigned queues;     /* 1 to VIRTIO_BLK_QUEUES_MAX */
	const char *serial;  /* shown by get-id; cut to VIRTIO_BLK_SERIAL_SIZE */
};

#define VIRTIO_BLK_QUEUES_MAX 16

int virtio_blk_create(struct guest_memory *memory, const struct virtio_blk_config *config,
		      struct virtio_blk **out);
/* After its transport. */
void virtio_blk_destroy(struct virtio_blk *blk);
struct virtio_device *virtio_blk_device(struct virtio_blk *blk);

#endif
