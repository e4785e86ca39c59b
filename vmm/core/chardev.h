/* SPDX-License-Identifier: MIT */
/*
 * A stream of bytes between a device (a UART, a port of a virtio console) and the host. The device
 * has a backend to write to; the host pushes input with the device's own receive function, which
 * takes what there is room for.
 */
#ifndef VMM_CORE_CHARDEV_H
#define VMM_CORE_CHARDEV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All are called on a device's thread with the device's lock held: they must not call back. */
struct chardev_ops {
	/*
	 * The guest wrote. Takes all of it. Does not block, but a backend that has `full` may wait
	 * a moment for its reader rather than lose output. Required.
	 */
	void (*write)(void *arg, const uint8_t *bytes, size_t count);
	/*
	 * Optional: is so much unread on the host that the guest should wait? A device that can
	 * make it wait asks before each write, and is told when that is over (by its own function).
	 */
	bool (*full)(void *arg);
	/* There is room for input again after receive took less than it was given. Required. */
	void (*ready)(void *arg);
};

struct chardev {
	const struct chardev_ops *ops;
	void *arg;
};

static inline void chardev_write(const struct chardev *c, const uint8_t *bytes, size_t count)
{
	c->ops->write(c->arg, bytes, count);
}

static inline bool chardev_full(const struct chardev *c)
{
	return c->ops->full && c->ops->full(c->arg);
}

static inline void chardev_ready(const struct chardev *c)
{
	c->ops->ready(c->arg);
}

#endif
