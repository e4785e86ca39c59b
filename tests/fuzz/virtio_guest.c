/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/virtio_guest.h"

#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* In small pieces: a machine that stands still for a while must not look like a loss. */
#define PATIENCE    200u
#define PATIENCE_MS 50

static void signal_fd(int fd)
{
	uint64_t one = 1;

	FUZZ_CHECK(write(fd, &one, sizeof(one)) == sizeof(one));
}

static void queue_interrupt(void *transport, unsigned queue)
{
	struct virtio_guest *g = transport;

	FUZZ_CHECK(queue < g->vdev->queue_count);
	signal_fd(g->interrupt_fd);
}

static void config_interrupt(void *transport)
{
	struct virtio_guest *g = transport;

	atomic_fetch_add(&g->changed, 1);
	signal_fd(g->interrupt_fd);
}

static const struct virtio_transport_ops transport_ops = {
	.queue_interrupt = queue_interrupt,
	.config_interrupt = config_interrupt,
};

void virtio_guest_init(struct virtio_guest *g, struct virtio_device *vdev, unsigned queues)
{
	*g = (struct virtio_guest){.vdev = vdev, .queue_count = queues};
	g->interrupt_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	g->queue = calloc(queues, sizeof(*g->queue));
	FUZZ_CHECK(g->interrupt_fd >= 0 && g->queue && queues <= vdev->queue_count);
	vdev->transport_ops = &transport_ops;
	vdev->transport = g;
}

void virtio_guest_fini(struct virtio_guest *g)
{
	close(g->interrupt_fd);
	free(g->queue);
}

void virtio_guest_start(struct virtio_guest *g, uint64_t features, unsigned enabled, uint16_t size,
			unsigned shift)
{
	struct virtio_device *vdev = g->vdev;
	const uint8_t status =
		VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_FEATURES_OK;

	vdev->accepted = (features & vdev->offered) | VIRTIO_F_VERSION_1;
	for (unsigned i = 0; i < g->queue_count; i++) {
		struct guest_queue *q = &g->queue[i];
		struct virtio_queue *vq = &vdev->queue[i];

		guest_queue_init(q, vdev->memory, i, size, virtio_has(vdev, VIRTIO_F_EVENT_IDX),
				 shift);
		vq->size = size;
		vq->enabled = enabled >> i & 1;
		vq->desc = q->desc;
		vq->avail = q->avail;
		vq->used = q->used;
	}
	virtio_status_write(vdev, status);
	virtio_status_write(vdev, status | VIRTIO_STATUS_DRIVER_OK);
	FUZZ_CHECK(vdev->running && !virtio_guest_broken(g));
}

void virtio_guest_reset(struct virtio_guest *g)
{
	virtio_status_write(g->vdev, 0);
	FUZZ_CHECK(!g->vdev->running && atomic_load(&g->vdev->status) == 0);
}

bool virtio_guest_broken(const struct virtio_guest *g)
{
	return atomic_load(&g->vdev->status) & VIRTIO_STATUS_NEEDS_RESET;
}

void virtio_guest_ring(struct virtio_guest *g, unsigned queue)
{
	signal_fd(g->vdev->queue[queue].kick_fd);
}

void virtio_guest_ring_if_asked(struct virtio_guest *g, unsigned queue, uint16_t old)
{
	if (g->queue[queue].wild || guest_queue_must_ring(&g->queue[queue], old))
		virtio_guest_ring(g, queue);
}

/* Whose fault is it: does the device sleep with a chain to take, or did it not interrupt? */
_Noreturn static void lost(struct virtio_guest *g, unsigned queue)
{
	const struct guest_queue *q = &g->queue[queue];
	const struct virtqueue *ring = &g->vdev->queue[queue].ring;
	struct pollfd p = {.fd = g->vdev->queue[queue].kick_fd, .events = POLLIN};
	const uint8_t *used = memory_at(q->memory, q->used, 4);

	poll(&p, 1, 0);
	fprintf(stderr,
		"queue %u: available %u, taken %u, pushed %u, published %u, used index %u, "
		"collected %u, in flight %u, doorbell %s\n",
		queue, q->avail_index, ring->next_avail, ring->next_used, ring->signalled,
		le16_get(used + 2), q->used_index, guest_queue_in_flight(q),
		p.revents ? "rung" : "silent");
	fuzz_failed("a request came back", __FILE__, __LINE__);
}

static bool interrupted(struct virtio_guest *g)
{
	struct pollfd p = {.fd = g->interrupt_fd, .events = POLLIN};
	uint64_t count;

	for (unsigned i = 0; i < PATIENCE; i++)
		if (poll(&p, 1, PATIENCE_MS) == 1)
			return read(p.fd, &count, sizeof(count)) == sizeof(count);
	return false;
}

void virtio_guest_wait(struct virtio_guest *g, unsigned queue,
		       void (*done)(void *arg, uint16_t head, uint32_t bytes), void *arg)
{
	struct guest_queue *q = &g->queue[queue];

	for (;;) {
		guest_queue_collect(q, done, arg);
		if (q->wild || guest_queue_in_flight(q) == 0 || virtio_guest_broken(g))
			return;
		if (guest_queue_want_interrupt(q))
			continue;
		/* A chain that is under way, and an interrupt that was asked for. */
		if (!interrupted(g))
			lost(g, queue);
	}
}
