/* SPDX-License-Identifier: MIT */
/*
 * A virtio device, apart from its transport (virtio 1.2, chapters 2 and 3): features, status,
 * queues and their life. A device type gives ops; a transport (virtio_pci.h) drives the state.
 */
#ifndef DEVICES_VIRTIO_VIRTIO_H
#define DEVICES_VIRTIO_VIRTIO_H

#include <pthread.h>
#include <stdatomic.h>

#include "devices/virtio/virtqueue.h"
#include "snapshot/codec.h"
#include "vmm/base/log.h"

#define VIRTIO_QUEUES_MAX 64

#define VIRTIO_F_RING_INDIRECT (1ull << 28)
#define VIRTIO_F_EVENT_IDX     (1ull << 29)
#define VIRTIO_F_VERSION_1     (1ull << 32)
/* What every device here can do. */
#define VIRTIO_F_COMMON (VIRTIO_F_RING_INDIRECT | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1)

#define VIRTIO_STATUS_ACKNOWLEDGE 0x01
#define VIRTIO_STATUS_DRIVER      0x02
#define VIRTIO_STATUS_DRIVER_OK   0x04
#define VIRTIO_STATUS_FEATURES_OK 0x08
#define VIRTIO_STATUS_NEEDS_RESET 0x40
#define VIRTIO_STATUS_FAILED      0x80

struct virtio_device;

/*
 * All are called with the transport's lock held, on a vCPU's thread or, while the vCPUs are paused,
 * on the main loop's.
 */
struct virtio_ops {
	const char *name;
	uint16_t id;    /* virtio 1.2, chapter 5 */
	uint32_t class; /* PCI class code */
	unsigned config_size;
	/* Required if config_size: device-specific configuration; the range lies within it. */
	void (*config_read)(void *device, unsigned offset, uint8_t *to, unsigned size);
	/* Optional: without it the configuration is read-only. */
	void (*config_write)(void *device, unsigned offset, const uint8_t *from, unsigned size);
	/*
	 * Required: DRIVER_OK. Make what serves the queues that are enabled; it is paused, though
	 * threads may still be on their way to their rest: they touch nothing. -errno breaks the
	 * device.
	 */
	int (*start)(void *device);
	/*
	 * Required: reset. Called only after a start that succeeded, paused or not. When it
	 * returns, the device touches neither queues nor guest memory.
	 */
	void (*stop)(void *device);
	/*
	 * Required: between start and stop, in turns, resume first. When pause returns, the device
	 * touches neither queues nor guest memory; each chain that it took is published or back in
	 * its queue. Threads and what else is costly to make stay. resume looks at no doorbell: the
	 * caller rings all.
	 */
	void (*resume)(void *device);
	void (*pause)(void *device);
	/*
	 * Required: saved state of this type, as a section of its own with this instance number.
	 * While loading, a device that was saved running is started and paused.
	 */
	void (*state)(void *device, unsigned instance, struct codec *codec);
};

struct virtio_queue {
	struct virtqueue ring;
	uint16_t size_max;
	uint16_t size;
	bool enabled;
	uint64_t desc, avail, used; /* guest-physical */
	int kick_fd;                /* an eventfd, blocking: the guest rang */
	_Atomic uint16_t vector;    /* of the transport */
};

/* How a device reaches its driver. Any thread; takes no lock that is held around start or stop. */
struct virtio_transport_ops {
	void (*queue_interrupt)(void *transport, unsigned queue);
	void (*config_interrupt)(void *transport);
};

struct virtio_device {
	const struct virtio_ops *ops;
	void *device;
	struct guest_memory *memory;
	const struct virtio_transport_ops *transport_ops;
	void *transport;
	uint64_t offered, accepted;
	_Atomic uint8_t status;
	_Atomic uint8_t generation; /* of the device-specific configuration */
	bool running;               /* between start and stop */
	bool paused;                /* while running */
	bool restored;              /* from a saved state, and not resumed since */
	unsigned queue_count;
	struct virtio_queue queue[VIRTIO_QUEUES_MAX];
	struct ratelimit limit;
};

/* `queues` of at most `queue_size` each. -errno where eventfds run out. */
int virtio_init(struct virtio_device *vdev, const struct virtio_ops *ops, void *device,
		struct guest_memory *memory, uint64_t features, unsigned queues,
		uint16_t queue_size);
void virtio_fini(struct virtio_device *vdev);

/* The driver writes the status register (2.1); 0 resets. The transport's lock is held. */
void virtio_status_write(struct virtio_device *vdev, uint8_t status);

/*
 * Quiesce the device, and go on. Nothing happens where it is not running, or is so already. The
 * transport's lock is held, the vCPUs are paused. A reset, or the end, may come in between.
 */
void virtio_pause(struct virtio_device *vdev);
void virtio_resume(struct virtio_device *vdev);

/*
 * Saved state, of a device that is paused. It is loaded into one as after its creation, and then
 * waits for a resume, which rings each queue's doorbell and sends each interrupt once more: what
 * was under way between the guest and the device, in an eventfd or as a message, is in no saved
 * state.
 */
void virtio_state(struct virtio_device *vdev, unsigned instance, struct codec *codec);

/* For devices, on any thread. */

static inline bool virtio_has(const struct virtio_device *vdev, uint64_t feature)
{
	return vdev->accepted & feature;
}

/* Publish what was pushed and interrupt if the driver wants it. */
void virtio_queue_publish(struct virtio_device *vdev, unsigned queue);

/* The driver broke the rules: DEVICE_NEEDS_RESET, said once in the log. */
void virtio_broken(struct virtio_device *vdev, const char *why);

/* The configuration changed. */
void virtio_config_changed(struct virtio_device *vdev);

/* Ring a queue's own doorbell: more is there, and others on the loop come first. */
void virtio_queue_ring(struct virtio_device *vdev, unsigned queue);

/* Forget the rings of a queue whose kick_fd is readable. */
void virtio_queue_drain_kick(struct virtio_device *vdev, unsigned queue);

#endif
