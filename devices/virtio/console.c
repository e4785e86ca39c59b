/* SPDX-License-Identifier: MIT */
/*
 * virtio-console. Control messages to the guest are not queued but remembered as bits a port, so
 * that a guest that provokes them without taking them costs nothing. Sections are of virtio 1.2.
 */
#include "devices/virtio/console.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"

#define F_MULTIPORT (1ull << 1)

#define CONFIG_SIZE     8u /* columns, rows, ports */
#define CONFIG_PORTS_AT 4u
#define QUEUE_SIZE      128

/* 5.3.2: port 0 has queues 0 and 1, the control queues are 2 and 3, port n has 2n+2 and 2n+3. */
#define QUEUE_CONTROL_IN  2u
#define QUEUE_CONTROL_OUT 3u
#define QUEUES_MAX        (2 * (VIRTIO_CONSOLE_PORTS_MAX + 1))

/* 5.3.6.2: control messages. */
#define CONTROL_SIZE 8u /* port, event, value */
enum {
	EVENT_DEVICE_READY = 0,
	EVENT_PORT_ADD = 1,
	EVENT_PORT_READY = 3,
	EVENT_CONSOLE_PORT = 4,
	EVENT_PORT_OPEN = 6,
	EVENT_PORT_NAME = 7,
};

/* Messages that a port owes the guest, sent in this order. */
enum { OWE_ADD = 1, OWE_CONSOLE = 2, OWE_NAME = 4, OWE_OPEN = 8 };

struct port {
	char name[VIRTIO_CONSOLE_NAME_MAX + 1];
	bool console;
	struct chardev backend;
	unsigned owed;
	bool host_open;
	bool guest_open;
	bool starved;  /* input waits for buffers */
	uint8_t *held; /* output of a queue that is stopped, which the backend has yet to take */
	size_t held_count;
};

struct kick {
	struct virtio_console *console;
	unsigned queue;
	struct loop_source *source;
};

struct virtio_console {
	struct virtio_device vdev;
	struct kick kick[QUEUES_MAX];
	unsigned port_count;
	pthread_mutex_t lock; /* guards all below and the queues; held while a backend is called */
	bool running, paused;
	struct port port[VIRTIO_CONSOLE_PORTS_MAX];
	struct virtqueue_chain chain;
};

static unsigned queue_in(unsigned port)
{
	return port ? 2 * port + 2 : 0;
}

static unsigned queue_out(unsigned port)
{
	return queue_in(port) + 1;
}

static bool multiport(const struct virtio_console *c)
{
	return virtio_has(&c->vdev, F_MULTIPORT);
}

static bool queue_live(const struct virtio_console *c, unsigned queue)
{
	return c->running && !c->paused && c->vdev.queue[queue].enabled;
}

/*
 * More than any driver sends in one piece (Linux: a pipe's worth), and so little that it does not
 * hold up the loop.
 */
#define CHAIN_BYTES_MAX (16u << 20)

/* Take a chain; a broken queue breaks the device. */
static bool take(struct virtio_console *c, unsigned queue)
{
	int ret = virtqueue_pop(&c->vdev.queue[queue].ring, &c->chain);

	if (ret < 0)
		virtio_broken(&c->vdev, "a malformed chain");
	if (ret > 0 && c->chain.out_bytes > CHAIN_BYTES_MAX) {
		virtio_broken(&c->vdev, "a chain that is too long");
		return false;
	}
	return ret > 0;
}

/* The same, asking to be rung where there is none. */
static bool take_or_listen(struct virtio_console *c, unsigned queue)
{
	struct virtqueue *ring = &c->vdev.queue[queue].ring;

	return take(c, queue) || (virtqueue_listen(ring) && take(c, queue));
}

/*
 * A turn on the loop: one ringful or so many bytes. A guest that refills a queue as fast as it is
 * served must not keep the loop from the others.
 */
#define TURN_BYTES (1u << 20)

struct turn {
	bool last; /* nobody comes back */
	unsigned chains;
	uint64_t bytes;
};

/* Take a chain if the turn has room for one; else come back later. */
static bool turn_take(struct virtio_console *c, unsigned queue, struct turn *turn)
{
	if (turn->chains == c->vdev.queue[queue].ring.size ||
	    (turn->bytes >= TURN_BYTES && !turn->last)) {
		virtio_queue_ring(&c->vdev, queue);
		return false;
	}
	if (!take_or_listen(c, queue))
		return false;
	turn->chains++;
	turn->bytes += c->chain.out_bytes;
	return true;
}

/* Control messages to the guest. */

static bool control_send(struct virtio_console *c, unsigned port, uint16_t event, uint16_t value,
			 const char *name)
{
	uint8_t message[CONTROL_SIZE];
	struct iovec *in;
	unsigned count;
	size_t written;

	if (!take_or_listen(c, QUEUE_CONTROL_IN))
		return false;
	le32_put(message, port);
	le16_put(message + 4, event);
	le16_put(message + 6, value);
	in = c->chain.iov + c->chain.out_count;
	count = c->chain.in_count;
	written = iov_give(&in, &count, message, sizeof(message));
	if (name)
		written += iov_give(&in, &count, name, strlen(name));
	virtqueue_push(&c->vdev.queue[QUEUE_CONTROL_IN].ring, c->chain.head, (uint32_t)written);
	return true;
}

static bool owed_send(struct virtio_console *c, unsigned index, unsigned what)
{
	struct port *p = &c->port[index];

	switch (what) {
	case OWE_ADD:
		return control_send(c, index, EVENT_PORT_ADD, 1, NULL);
	case OWE_CONSOLE:
		return control_send(c, index, EVENT_CONSOLE_PORT, 1, NULL);
	case OWE_NAME:
		return control_send(c, index, EVENT_PORT_NAME, 1, p->name);
	default:
		return control_send(c, index, EVENT_PORT_OPEN, p->host_open, NULL);
	}
}

static void control_flush(struct virtio_console *c)
{
	if (!queue_live(c, QUEUE_CONTROL_IN) || !multiport(c))
		return;
	for (unsigned i = 0; i < c->port_count; i++) {
		for (unsigned what = OWE_ADD; what <= OWE_OPEN; what <<= 1) {
			if (!(c->port[i].owed & what))
				continue;
			if (!owed_send(c, i, what))
				goto out;
			c->port[i].owed &= ~what;
		}
	}
out:
	virtio_queue_publish(&c->vdev, QUEUE_CONTROL_IN);
}

/* Control messages from the guest. */

static void port_opened(struct port *p, bool open)
{
	p->guest_open = open;
	if (open && p->starved) {
		p->starved = false;
		chardev_ready(&p->backend);
	}
}

static void control_handle(struct virtio_console *c, const uint8_t *message)
{
	uint32_t index = le32_get(message);
	uint16_t value = le16_get(message + 6);

	switch (le16_get(message + 4)) {
	case EVENT_DEVICE_READY:
		for (unsigned i = 0; i < c->port_count && value; i++)
			c->port[i].owed |= OWE_ADD;
		break;
	case EVENT_PORT_READY:
		if (index < c->port_count && value)
			c->port[index].owed |=
				OWE_NAME | OWE_OPEN | (c->port[index].console ? OWE_CONSOLE : 0);
		break;
	case EVENT_PORT_OPEN:
		if (index < c->port_count)
			port_opened(&c->port[index], value);
		break;
	default:
		break;
	}
}

static void control_serve(struct virtio_console *c)
{
	struct turn turn = {0};

	while (turn_take(c, QUEUE_CONTROL_OUT, &turn)) {
		struct iovec *out = c->chain.iov;
		unsigned count = c->chain.out_count;
		uint8_t message[CONTROL_SIZE];

		if (iov_take(&out, &count, message, sizeof(message)) == sizeof(message))
			control_handle(c, message);
		virtqueue_push(&c->vdev.queue[QUEUE_CONTROL_OUT].ring, c->chain.head, 0);
	}
	virtio_queue_publish(&c->vdev, QUEUE_CONTROL_OUT);
	control_flush(c);
}

/*
 * Output that is held. Linux resets its devices when it powers off: what a slow backend has left in
 * the rings until then was written long ago, and is kept.
 */

#define HELD_MAX   (16u << 20)
#define HELD_PIECE 32768u

static void hold_chain(struct virtio_console *c, struct port *p)
{
	uint8_t *held = NULL;

	if (p->held_count + c->chain.out_bytes <= HELD_MAX)
		held = realloc(p->held, p->held_count + c->chain.out_bytes + 1);
	if (!held) {
		log_error("virtio-console: port '%s': output is lost that nobody has read",
			  p->name);
		return;
	}
	p->held = held;
	for (unsigned i = 0; i < c->chain.out_count; i++) {
		memcpy(held + p->held_count, c->chain.iov[i].iov_base, c->chain.iov[i].iov_len);
		p->held_count += c->chain.iov[i].iov_len;
	}
}

/* All that the queue has. A driver that makes it endless is stopped by what may be held. */
static void output_hold(struct virtio_console *c, unsigned index)
{
	struct port *p = &c->port[index];
	unsigned chains = c->vdev.queue[queue_out(index)].ring.size;

	while (chains-- && take(c, queue_out(index)))
		hold_chain(c, p);
}

static void held_serve(struct port *p, bool regardless)
{
	size_t done = 0;

	while (done < p->held_count && (regardless || !chardev_full(&p->backend))) {
		size_t n = p->held_count - done < HELD_PIECE ? p->held_count - done : HELD_PIECE;

		chardev_write(&p->backend, p->held + done, n);
		done += n;
	}
	p->held_count -= done;
	if (done && p->held_count)
		memmove(p->held, p->held + done, p->held_count);
	if (!p->held_count) {
		free(p->held);
		p->held = NULL;
	}
}

/* Data. */

/* While the backend is full, chains stay in the ring: the guest's writers wait for their buffers.
 */
static void output_serve(struct virtio_console *c, unsigned index, bool regardless)
{
	const struct chardev *backend = &c->port[index].backend;
	unsigned queue = queue_out(index);
	struct turn turn = {.last = regardless};

	held_serve(&c->port[index], regardless);
	if (!queue_live(c, queue))
		return;
	while ((regardless || !chardev_full(backend)) && turn_take(c, queue, &turn)) {
		for (unsigned i = 0; i < c->chain.out_count; i++)
			chardev_write(backend, c->chain.iov[i].iov_base, c->chain.iov[i].iov_len);
		virtqueue_push(&c->vdev.queue[queue].ring, c->chain.head, 0);
	}
	virtio_queue_publish(&c->vdev, queue);
}

static void input_ready(struct virtio_console *c, unsigned index)
{
	struct port *p = &c->port[index];

	if (!p->starved)
		return;
	p->starved = false;
	chardev_ready(&p->backend);
}

static void kicked(void *arg, uint32_t events)
{
	struct kick *kick = arg;
	struct virtio_console *c = kick->console;
	unsigned queue = kick->queue;
	unsigned index = queue < 2 ? 0 : (queue - 2) / 2;

	(void)events;
	virtio_queue_drain_kick(&c->vdev, queue);
	pthread_mutex_lock(&c->lock);
	if (!queue_live(c, queue))
		goto out;
	if (queue == QUEUE_CONTROL_IN)
		control_flush(c);
	else if (queue == QUEUE_CONTROL_OUT)
		control_serve(c);
	else if (queue % 2)
		output_serve(c, index, false);
	else
		input_ready(c, index);
out:
	pthread_mutex_unlock(&c->lock);
}

void virtio_console_output_ready(struct virtio_console *c, unsigned index)
{
	assert(index < c->port_count);
	pthread_mutex_lock(&c->lock);
	output_serve(c, index, false);
	pthread_mutex_unlock(&c->lock);
}

void virtio_console_drain(struct virtio_console *c)
{
	pthread_mutex_lock(&c->lock);
	for (unsigned i = 0; i < c->port_count; i++)
		output_serve(c, i, true);
	pthread_mutex_unlock(&c->lock);
}

/* Without multiport there is port 0 only, and it is open when the driver is there. */
static bool port_listens(const struct virtio_console *c, unsigned index)
{
	if (!queue_live(c, queue_in(index)))
		return false;
	return multiport(c) ? c->port[index].guest_open : index == 0;
}

size_t virtio_console_receive(struct virtio_console *c, unsigned index, const uint8_t *bytes,
			      size_t count)
{
	unsigned queue = queue_in(index);
	struct turn turn = {0};
	size_t taken = 0;

	assert(index < c->port_count);
	pthread_mutex_lock(&c->lock);
	while (taken < count && port_listens(c, index) && turn_take(c, queue, &turn)) {
		struct iovec *in = c->chain.iov + c->chain.out_count;
		unsigned in_count = c->chain.in_count;
		size_t n = iov_give(&in, &in_count, bytes + taken, count - taken);

		virtqueue_written(&c->vdev.queue[queue].ring, &c->chain);
		virtqueue_push(&c->vdev.queue[queue].ring, c->chain.head, (uint32_t)n);
		taken += n;
	}
	/* Also where nothing was taken: a buffer without room goes back, too. */
	if (queue_live(c, queue))
		virtio_queue_publish(&c->vdev, queue);
	if (taken < count)
		c->port[index].starved = true;
	pthread_mutex_unlock(&c->lock);
	return taken;
}

void virtio_console_close(struct virtio_console *c, unsigned index)
{
	assert(index < c->port_count);
	pthread_mutex_lock(&c->lock);
	c->port[index].host_open = false;
	c->port[index].owed |= OWE_OPEN;
	control_flush(c);
	pthread_mutex_unlock(&c->lock);
}

static int console_start(void *device)
{
	struct virtio_console *c = device;

	pthread_mutex_lock(&c->lock);
	c->running = c->paused = true;
	pthread_mutex_unlock(&c->lock);
	return 0;
}

static void console_set_paused(struct virtio_console *c, bool paused)
{
	pthread_mutex_lock(&c->lock);
	c->paused = paused;
	pthread_mutex_unlock(&c->lock);
}

static void console_resume(void *device)
{
	console_set_paused(device, false);
}

static void console_pause(void *device)
{
	console_set_paused(device, true);
}

static void console_stop(void *device)
{
	struct virtio_console *c = device;

	pthread_mutex_lock(&c->lock);
	c->paused = false;
	for (unsigned i = 0; i < c->port_count; i++)
		if (queue_live(c, queue_out(i)))
			output_hold(c, i);
	c->running = false;
	for (unsigned i = 0; i < c->port_count; i++) {
		held_serve(&c->port[i], false);
		c->port[i].owed = 0;
		c->port[i].guest_open = false;
	}
	pthread_mutex_unlock(&c->lock);
}

static void console_config_read(void *device, unsigned offset, uint8_t *to, unsigned size)
{
	const struct virtio_console *c = device;
	uint8_t config[CONFIG_SIZE] = {0};

	le32_put(config + CONFIG_PORTS_AT, c->port_count);
	memcpy(to, config + offset, size);
}

/* Saved state. Input that waits at the backends is the host's and no part of it. */

static void port_code(struct port *p, struct codec *c)
{
	codec_bytes(c, p->name, sizeof(p->name));
	codec_bool(c, &p->console);
	codec_count(c, &p->owed, 2 * OWE_OPEN - 1, "owed messages");
	codec_bool(c, &p->host_open);
	codec_bool(c, &p->guest_open);
	codec_blob(c, &p->held, &p->held_count, HELD_MAX, "output");
}

static void port_check(const struct port *own, const struct port *p, struct codec *c)
{
	if (codec_good(c) &&
	    (memcmp(p->name, own->name, sizeof(p->name)) != 0 || p->console != own->console))
		codec_fail(c, -EINVAL, "give the guest the ports that it was saved with",
			   "it has not got port '%s' in its place", own->name);
}

/* What the driver was told of the host's end holds until it is told otherwise. */
static void port_commit(struct port *own, struct port *p)
{
	own->owed = p->owed | (p->host_open != own->host_open ? OWE_OPEN : 0u);
	own->guest_open = p->guest_open;
	free(own->held);
	own->held = p->held;
	own->held_count = p->held_count;
	p->held = NULL;
	held_serve(own, false);
}

static void console_state(void *device, unsigned instance, struct codec *c)
{
	struct virtio_console *console = device;
	struct port copy[VIRTIO_CONSOLE_PORTS_MAX] = {0};
	unsigned count = console->port_count;

	pthread_mutex_lock(&console->lock);
	if (!codec_loading(c))
		memcpy(copy, console->port, sizeof(copy));
	codec_begin(c, "virtio-console", instance, 1);
	codec_count(c, &count, VIRTIO_CONSOLE_PORTS_MAX, "ports");
	codec_check(c, count == console->port_count, "number of ports");
	for (unsigned i = 0; i < console->port_count; i++) {
		port_code(&copy[i], c);
		port_check(&console->port[i], &copy[i], c);
	}
	codec_end(c);
	for (unsigned i = 0; i < console->port_count && codec_loading(c); i++) {
		if (codec_good(c))
			port_commit(&console->port[i], &copy[i]);
		free(copy[i].held);
	}
	pthread_mutex_unlock(&console->lock);
}

static const struct virtio_ops console_ops = {
	.name = "console",
	.id = 3,
	.class = 0x078000, /* simple communication controller */
	.config_size = CONFIG_SIZE,
	.config_read = console_config_read,
	.start = console_start,
	.stop = console_stop,
	.resume = console_resume,
	.pause = console_pause,
	.state = console_state,
};

static int kicks_add(struct virtio_console *c, struct loop *loop)
{
	for (unsigned i = 0; i < c->vdev.queue_count; i++) {
		struct kick *kick = &c->kick[i];
		int ret;

		*kick = (struct kick){.console = c, .queue = i};
		ret = loop_add_fd(loop, c->vdev.queue[i].kick_fd, EPOLLIN, kicked, kick,
				  &kick->source);
		if (ret)
			return ret;
	}
	return 0;
}

int virtio_console_create(struct guest_memory *memory, struct loop *loop,
			  const struct virtio_console_port *ports, unsigned count,
			  struct virtio_console **out)
{
	struct virtio_console *c = calloc(1, sizeof(*c));
	int ret;

	assert(count >= 1 && count <= VIRTIO_CONSOLE_PORTS_MAX);
	if (!c)
		return -ENOMEM;
	pthread_mutex_init(&c->lock, NULL);
	c->port_count = count;
	for (unsigned i = 0; i < count; i++) {
		snprintf(c->port[i].name, sizeof(c->port[i].name), "%s", ports[i].name);
		c->port[i].console = ports[i].console;
		c->port[i].backend = ports[i].backend;
		c->port[i].host_open = true;
	}
	ret = virtio_init(&c->vdev, &console_ops, c, memory, F_MULTIPORT, 2 * (count + 1),
			  QUEUE_SIZE);
	if (ret == 0)
		ret = kicks_add(c, loop);
	if (ret) {
		virtio_console_destroy(c);
		return ret;
	}
	*out = c;
	return 0;
}

void virtio_console_destroy(struct virtio_console *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < QUEUES_MAX; i++)
		loop_remove(c->kick[i].source);
	virtio_fini(&c->vdev);
	for (unsigned i = 0; i < c->port_count; i++)
		free(c->port[i].held);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

struct virtio_device *virtio_console_device(struct virtio_console *c)
{
	return &c->vdev;
}
