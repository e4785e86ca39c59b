/* SPDX-License-Identifier: MIT */
/* The part of a virtio device that all types share. Sections are of virtio 1.2. */
#include "devices/virtio/virtio.h"

#include <assert.h>
#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void queues_reset(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->queue_count; i++) {
		struct virtio_queue *q = &vdev->queue[i];

		q->enabled = false;
		q->size = q->size_max;
		q->desc = q->avail = q->used = 0;
		atomic_store_explicit(&q->vector, 0xffff, memory_order_relaxed);
	}
}

int virtio_init(struct virtio_device *vdev, const struct virtio_ops *ops, void *device,
		struct guest_memory *memory, uint64_t features, unsigned queues,
		uint16_t queue_size)
{
	assert(queues <= VIRTIO_QUEUES_MAX && queue_size <= VIRTQUEUE_SIZE_MAX);
	*vdev = (struct virtio_device){
		.ops = ops,
		.device = device,
		.memory = memory,
		.offered = features | VIRTIO_F_COMMON,
	};
	for (unsigned i = 0; i < queues; i++) {
		vdev->queue[i].size_max = queue_size;
		vdev->queue[i].kick_fd = eventfd(0, EFD_CLOEXEC);
		if (vdev->queue[i].kick_fd < 0) {
			int ret = -errno;

			virtio_fini(vdev);
			return ret;
		}
		vdev->queue_count++;
	}
	queues_reset(vdev);
	return 0;
}

static void device_stop(struct virtio_device *vdev)
{
	if (vdev->running)
		vdev->ops->stop(vdev->device);
	vdev->running = vdev->paused = vdev->restored = false;
}

void virtio_fini(struct virtio_device *vdev)
{
	device_stop(vdev);
	for (unsigned i = 0; i < vdev->queue_count; i++)
		close(vdev->queue[i].kick_fd);
	vdev->queue_count = 0;
}

static void device_reset(struct virtio_device *vdev)
{
	device_stop(vdev);
	vdev->accepted = 0;
	queues_reset(vdev);
	atomic_store(&vdev->status, 0);
}

static int rings_start(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->queue_count; i++) {
		struct virtio_queue *q = &vdev->queue[i];
		int ret;

		if (!q->enabled)
			continue;
		ret = virtqueue_start(&q->ring, vdev->memory, q->size,
				      virtio_has(vdev, VIRTIO_F_EVENT_IDX), q->desc, q->avail,
				      q->used);
		if (ret)
			return ret;
	}
	return 0;
}

static void device_start(struct virtio_device *vdev)
{
	if (rings_start(vdev)) {
		virtio_broken(vdev, "a queue lies outside of memory");
		return;
	}
	if (vdev->ops->start(vdev->device)) {
		virtio_broken(vdev, "the host could not start it");
		return;
	}
	vdev->running = true;
	vdev->ops->resume(vdev->device);
}

/* 3.1.1, 2.2: features must be a subset of the offer, and a modern driver is asked for. */
static bool features_good(const struct virtio_device *vdev)
{
	return !(vdev->accepted & ~vdev->offered) && vdev->accepted & VIRTIO_F_VERSION_1;
}

void virtio_status_write(struct virtio_device *vdev, uint8_t status)
{
	uint8_t old = atomic_load(&vdev->status);

	if (status == 0) {
		device_reset(vdev);
		return;
	}
	/* 2.1.1: the driver must not clear bits; NEEDS_RESET is ours. */
	status = (uint8_t)((status & ~VIRTIO_STATUS_NEEDS_RESET) | old);
	if (status & ~old & VIRTIO_STATUS_FEATURES_OK && !features_good(vdev))
		status &= (uint8_t)~VIRTIO_STATUS_FEATURES_OK;
	if (status & VIRTIO_STATUS_DRIVER_OK && !(status & VIRTIO_STATUS_FEATURES_OK))
		status &= (uint8_t)~VIRTIO_STATUS_DRIVER_OK;
	atomic_fetch_or(&vdev->status, status);
	if (status & ~old & VIRTIO_STATUS_DRIVER_OK)
		device_start(vdev);
}

void virtio_queue_publish(struct virtio_device *vdev, unsigned queue)
{
	if (virtqueue_publish(&vdev->queue[queue].ring))
		vdev->transport_ops->queue_interrupt(vdev->transport, queue);
}

void virtio_broken(struct virtio_device *vdev, const char *why)
{
	uint8_t old = atomic_fetch_or(&vdev->status, VIRTIO_STATUS_NEEDS_RESET);

	if (old & VIRTIO_STATUS_NEEDS_RESET)
		return;
	log_limited(&vdev->limit, LOG_WARN, "virtio-%s: %s; it needs a reset by the guest",
		    vdev->ops->name, why);
	if (old & VIRTIO_STATUS_DRIVER_OK)
		virtio_config_changed(vdev);
}

void virtio_config_changed(struct virtio_device *vdev)
{
	atomic_fetch_add(&vdev->generation, 1);
	vdev->transport_ops->config_interrupt(vdev->transport);
}

void virtio_queue_ring(struct virtio_device *vdev, unsigned queue)
{
	uint64_t one = 1;

	if (write(vdev->queue[queue].kick_fd, &one, sizeof(one)) < 0)
		log_error("virtio-%s: doorbell: %s", vdev->ops->name, error_name(-errno));
}

void virtio_queue_drain_kick(struct virtio_device *vdev, unsigned queue)
{
	uint64_t count;

	if (read(vdev->queue[queue].kick_fd, &count, sizeof(count)) < 0)
		assert(errno == EINTR);
}

void virtio_pause(struct virtio_device *vdev)
{
	if (!vdev->running || vdev->paused)
		return;
	vdev->ops->pause(vdev->device);
	vdev->paused = true;
}

/* Spurious ones do no harm: a driver looks at its rings, and finds nothing or what it had missed.
 */
static void interrupt_all(struct virtio_device *vdev)
{
	for (unsigned i = 0; i < vdev->queue_count; i++)
		if (vdev->queue[i].enabled)
			vdev->transport_ops->queue_interrupt(vdev->transport, i);
	vdev->transport_ops->config_interrupt(vdev->transport);
}

void virtio_resume(struct virtio_device *vdev)
{
	if (!vdev->running || !vdev->paused)
		return;
	vdev->paused = false;
	vdev->ops->resume(vdev->device);
	for (unsigned i = 0; i < vdev->queue_count; i++)
		if (vdev->queue[i].enabled)
			virtio_queue_ring(vdev, i);
	if (vdev->restored)
		interrupt_all(vdev);
	vdev->restored = false;
}
