/* SPDX-License-Identifier: MIT */
/*
 * Saved state of what all virtio devices share. Queues are saved as the driver set them up, by
 * guest-physical addresses, and are taken anew when they are loaded, with all checks of a first
 * start. A queue's positions are those of a paused device: what it took it gave back.
 */
#include <assert.h>
#include <errno.h>

#include "devices/virtio/virtio.h"

#define NO_VECTOR 0xffffu

struct queue_fields {
	uint16_t size, vector, next_avail, next_used, signalled;
	bool enabled, broken;
	uint64_t desc, avail, used;
	struct virtqueue ring; /* as loaded, not saved */
};

struct device_fields {
	uint64_t accepted;
	uint8_t status, generation;
	bool running;
	unsigned queues;
	struct queue_fields queue[VIRTIO_QUEUES_MAX];
};

static void fields_get(struct virtio_device *vdev, struct device_fields *f)
{
	f->accepted = vdev->accepted;
	f->status = atomic_load(&vdev->status);
	f->generation = atomic_load(&vdev->generation);
	f->running = vdev->running;
	for (unsigned i = 0; i < f->queues; i++) {
		struct virtio_queue *q = &vdev->queue[i];
		struct queue_fields *to = &f->queue[i];

		*to = (struct queue_fields){
			.size = q->size,
			.vector = atomic_load(&q->vector),
			.enabled = q->enabled,
			.desc = q->desc,
			.avail = q->avail,
			.used = q->used,
		};
		/* Else the ring is what a former driver left. */
		if (!f->running || !q->enabled)
			continue;
		to->next_avail = q->ring.next_avail;
		to->next_used = q->ring.next_used;
		to->signalled = q->ring.signalled;
		to->broken = q->ring.broken;
	}
}

static void queue_code(const struct virtio_device *vdev, struct queue_fields *q, unsigned index,
		       struct codec *c)
{
	codec_u16(c, &q->size);
	codec_u16(c, &q->vector);
	codec_bool(c, &q->enabled);
	codec_bool(c, &q->broken);
	codec_u64(c, &q->desc);
	codec_u64(c, &q->avail);
	codec_u64(c, &q->used);
	codec_u16(c, &q->next_avail);
	codec_u16(c, &q->next_used);
	codec_u16(c, &q->signalled);
	codec_check(c, q->size <= vdev->queue[index].size_max, "size of a queue");
	codec_check(c, q->vector <= vdev->queue_count || q->vector == NO_VECTOR,
		    "interrupt vector of a queue");
}

/* What no driver can bring about, whatever it writes (virtio_status_write). */
static void status_check(const struct virtio_device *vdev, const struct device_fields *f,
			 struct codec *c)
{
	const uint8_t both = VIRTIO_STATUS_DRIVER_OK | VIRTIO_STATUS_FEATURES_OK;

	codec_check(c, !f->running || (f->status & both) == both, "it runs without a driver");
	if (!(f->status & VIRTIO_STATUS_FEATURES_OK))
		return;
	codec_check(c, f->accepted & VIRTIO_F_VERSION_1, "its driver is not a modern one");
	if (f->accepted & ~vdev->offered)
		codec_fail(c, -EINVAL, "give the guest the devices that it was saved with",
			   "its driver uses features 0x%llx, which this device has not got",
			   (unsigned long long)(f->accepted & ~vdev->offered));
}

static void fields_code(const struct virtio_device *vdev, struct device_fields *f,
			unsigned instance, struct codec *c)
{
	codec_begin(c, "virtio", instance, 1);
	codec_u64(c, &f->accepted);
	codec_u8(c, &f->status);
	codec_u8(c, &f->generation);
	codec_bool(c, &f->running);
	codec_count(c, &f->queues, VIRTIO_QUEUES_MAX, "queues");
	if (codec_good(c) && f->queues != vdev->queue_count)
		codec_fail(c, -EINVAL, "give the guest the devices that it was saved with",
			   "it had %u queues, this device has %u", f->queues, vdev->queue_count);
	for (unsigned i = 0; i < f->queues; i++)
		queue_code(vdev, &f->queue[i], i, c);
	status_check(vdev, f, c);
	codec_end(c);
}

/* Into the copy. */
static void rings_take(struct virtio_device *vdev, struct device_fields *f, struct codec *c)
{
	bool event_index = f->accepted & VIRTIO_F_EVENT_IDX;

	for (unsigned i = 0; i < f->queues && f->running; i++) {
		struct queue_fields *q = &f->queue[i];

		if (!q->enabled)
			continue;
		if (virtqueue_start(&q->ring, vdev->memory, q->size, event_index, q->desc, q->avail,
				    q->used))
			codec_fail(c, -EBADMSG, NULL, "queue %u lies outside of memory", i);
		else if (virtqueue_continue(&q->ring, q->next_avail, q->next_used, q->signalled))
			codec_fail(c, -EBADMSG, NULL, "queue %u: an impossible position", i);
		q->ring.broken = q->broken;
	}
}

static void fields_commit(struct virtio_device *vdev, const struct device_fields *f,
			  struct codec *c)
{
	int ret;

	vdev->accepted = f->accepted;
	atomic_store(&vdev->generation, f->generation);
	for (unsigned i = 0; i < f->queues; i++) {
		struct virtio_queue *q = &vdev->queue[i];
		const struct queue_fields *from = &f->queue[i];

		q->size = from->size;
		q->enabled = from->enabled;
		q->desc = from->desc;
		q->avail = from->avail;
		q->used = from->used;
		q->ring = from->ring;
		atomic_store(&q->vector, from->vector);
	}
	atomic_store(&vdev->status, f->status);
	if (!f->running)
		return;
	ret = vdev->ops->start(vdev->device);
	if (ret) {
		codec_fail(c, ret, NULL, "virtio-%s: it cannot be started: %s", vdev->ops->name,
			   error_name(ret));
		return;
	}
	vdev->running = vdev->paused = vdev->restored = true;
}

void virtio_state(struct virtio_device *vdev, unsigned instance, struct codec *c)
{
	struct device_fields f = {.queues = vdev->queue_count};

	assert(codec_loading(c) ? !vdev->running : !vdev->running || vdev->paused);
	if (!codec_loading(c))
		fields_get(vdev, &f);
	fields_code(vdev, &f, instance, c);
	if (codec_loading(c) && codec_good(c))
		rings_take(vdev, &f, c);
	if (codec_loading(c) && codec_good(c))
		fields_commit(vdev, &f, c);
	vdev->ops->state(vdev->device, instance, c);
}
