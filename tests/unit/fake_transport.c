/* SPDX-License-Identifier: MIT */
/* The transport between a virtio device and a test. */
#include "tests/unit/fake_transport.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/unit.h"

/* Far beyond what a slow machine takes: only a lost interrupt gets there. */
#define LOST_MS 20000

static void signal_interrupt(struct fake_transport *t)
{
	uint64_t one = 1;
	ssize_t n = write(t->fd, &one, sizeof(one));

	assert_int_equal(n, sizeof(one));
}

static void queue_interrupt(void *transport, unsigned queue)
{
	struct fake_transport *t = transport;

	atomic_fetch_add(&t->queue_interrupts[queue], 1);
	signal_interrupt(t);
}

static void config_interrupt(void *transport)
{
	struct fake_transport *t = transport;

	atomic_fetch_add(&t->config_interrupts, 1);
	signal_interrupt(t);
}

static const struct virtio_transport_ops ops = {
	.queue_interrupt = queue_interrupt,
	.config_interrupt = config_interrupt,
};

void fake_transport_init(struct fake_transport *t, struct virtio_device *vdev)
{
	*t = (struct fake_transport){.vdev = vdev, .fd = eventfd(0, EFD_CLOEXEC)};
	assert_true(t->fd >= 0);
	vdev->transport_ops = &ops;
	vdev->transport = t;
}

void fake_transport_fini(struct fake_transport *t)
{
	if (t->vdev)
		close(t->fd);
	t->vdev = NULL;
}

bool fake_transport_negotiate(struct fake_transport *t, uint64_t features)
{
	const uint8_t steps[] = {VIRTIO_STATUS_ACKNOWLEDGE, VIRTIO_STATUS_DRIVER,
				 VIRTIO_STATUS_FEATURES_OK};
	uint8_t status = 0;

	t->vdev->accepted = features;
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		status |= steps[i];
		virtio_status_write(t->vdev, status);
	}
	return atomic_load(&t->vdev->status) & VIRTIO_STATUS_FEATURES_OK;
}

void fake_transport_queue(struct fake_transport *t, unsigned queue, const struct driver_ring *ring)
{
	struct virtio_queue *q = &t->vdev->queue[queue];

	q->size = ring->size;
	q->desc = ring->desc;
	q->avail = ring->avail;
	q->used = ring->used;
	q->enabled = true;
}

void fake_transport_driver_ok(struct fake_transport *t)
{
	virtio_status_write(t->vdev, VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER |
					     VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
}

void fake_transport_reset(struct fake_transport *t)
{
	virtio_status_write(t->vdev, 0);
}

void fake_transport_kick(struct fake_transport *t, unsigned queue)
{
	uint64_t one = 1;

	assert_int_equal(write(t->vdev->queue[queue].kick_fd, &one, sizeof(one)), sizeof(one));
}

void fake_transport_wait(struct fake_transport *t)
{
	struct pollfd p = {.fd = t->fd, .events = POLLIN};
	uint64_t count;

	if (poll(&p, 1, LOST_MS) != 1)
		fail_msg("an interrupt was lost");
	assert_int_equal(read(t->fd, &count, sizeof(count)), sizeof(count));
}

void fake_transport_wait_used(struct fake_transport *t, struct driver_ring *ring, uint16_t index)
{
	/* With the event index: interrupt for the last of them. Without, it says nothing. */
	driver_ring_set_used_event(ring, (uint16_t)(index - 1));
	/* Full barrier: the wish is out before the index is read. */
	atomic_thread_fence(memory_order_seq_cst);
	while (driver_ring_used_index(ring) != index)
		fake_transport_wait(t);
}
