/* SPDX-License-Identifier: MIT */
/*
 * virtio-console with several ports (virtio 1.2, 5.3): byte streams with names, which a Linux guest
 * sees as /dev/hvc0 or as /dev/vportNpM. Served on the main loop.
 */
#ifndef DEVICES_VIRTIO_CONSOLE_H
#define DEVICES_VIRTIO_CONSOLE_H

#include "devices/virtio/virtio.h"
#include "vmm/base/loop.h"
#include "vmm/core/chardev.h"

#define VIRTIO_CONSOLE_PORTS_MAX 8
#define VIRTIO_CONSOLE_NAME_MAX  31

struct virtio_console_port {
	const char *name; /* at most VIRTIO_CONSOLE_NAME_MAX bytes; copied */
	bool console;     /* a terminal (hvc), not a plain stream */
	struct chardev backend;
};

struct virtio_console;

int virtio_console_create(struct guest_memory *memory, struct loop *loop,
			  const struct virtio_console_port *ports, unsigned count,
			  struct virtio_console **out);
/* After its transport. */
void virtio_console_destroy(struct virtio_console *console);
struct virtio_device *virtio_console_device(struct virtio_console *console);

/*
 * Input for the guest: takes what there is room for and returns how many bytes; none before the
 * guest opened the port. Any thread.
 */
size_t virtio_console_receive(struct virtio_console *console, unsigned port, const uint8_t *bytes,
			      size_t count);

/* The port's backend is not full any more: serve what waited. Any thread. */
void virtio_console_output_ready(struct virtio_console *console, unsigned port);

/*
 * Write out all that the guest has sent, full backend or not: it returned from its write before we
 * took the bytes, and may have powered off since. The vCPUs are paused.
 */
void virtio_console_drain(struct virtio_console *console);

/* The host's end of a port is closed: the guest reads the rest and then end of file. Any thread. */
void virtio_console_close(struct virtio_console *console, unsigned port);

#endif
