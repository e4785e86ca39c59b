/* SPDX-License-Identifier: MIT */
/*
 * Chains on all queues of a console with two ports, control messages among them, and input from the
 * host. What the guest writes comes back in the used ring, and input that had to wait is asked for
 * once there are buffers.
 */
#include "devices/virtio/console.h"
#include "tests/fuzz/virtio_guest.h"
#include "vmm/base/loop.h"

#define PORTS       2u
#define QUEUES      (2 * (PORTS + 1))
#define CONTROL_IN  2u
#define CONTROL_OUT 3u
#define F_MULTIPORT (1ull << 1)
#define TURNS       16

struct state {
	struct virtio_guest guest;
	struct virtio_console *console;
	struct loop *loop;
	unsigned ready[PORTS];
	uint64_t written; /* bytes that the guest wrote */
};

static void backend_write(void *arg, const uint8_t *bytes, size_t count)
{
	struct state *s = arg;

	FUZZ_CHECK(bytes && count);
	s->written += count + (bytes[0] ^ bytes[count - 1]) % 2;
}

static void backend_ready(void *arg)
{
	struct state *s = arg;

	s->ready[0]++;
}

static const struct chardev_ops backend_ops = {.write = backend_write, .ready = backend_ready};

/* What goes to the device is always used up; input buffers may wait. */
static void serve(struct state *s)
{
	for (unsigned i = 0; i < TURNS; i++)
		fuzz_loop_turn(s->loop);
	for (unsigned i = 0; i < QUEUES; i++) {
		struct guest_queue *q = &s->guest.queue[i];

		guest_queue_collect(q, NULL, NULL);
		if (i % 2 && s->guest.vdev->queue[i].enabled)
			FUZZ_CHECK(q->wild || virtio_guest_broken(&s->guest) ||
				   guest_queue_in_flight(q) == 0);
	}
}

static void start(struct state *s, uint8_t shape, uint8_t enabled)
{
	uint64_t features = (shape & 8 ? VIRTIO_F_EVENT_IDX : 0) | (shape & 16 ? F_MULTIPORT : 0);

	virtio_guest_start(&s->guest, features, enabled, (uint16_t)(1u << (shape & 7)), shape >> 5);
}

static void chain_add(struct state *s, struct input *in, unsigned queue)
{
	struct guest_queue *q = &s->guest.queue[queue];
	uint16_t old = q->avail_index;

	if (guest_queue_add_input(q, in))
		virtio_guest_ring_if_asked(&s->guest, queue, old);
}

static void control_add(struct state *s, struct input *in)
{
	struct guest_queue *q = &s->guest.queue[CONTROL_OUT];
	uint16_t old = q->avail_index, head;
	uint64_t buffer;
	uint8_t *message;

	if (!guest_queue_begin(q, &head, &buffer))
		return;
	message = memory_at_write(q->memory, buffer, 8);
	le32_put(message, input_u8(in));
	le16_put(message + 4, input_u8(in));
	le16_put(message + 6, input_u8(in));
	guest_queue_piece(q, head, buffer, 8, false);
	if (guest_queue_add(q, head, QUEUE_PIECES))
		virtio_guest_ring_if_asked(&s->guest, CONTROL_OUT, old);
}

static void receive(struct state *s, struct input *in, unsigned port)
{
	static const uint8_t bytes[4096];
	size_t count = input_u16(in) % (sizeof(bytes) + 1);
	struct guest_queue *q = &s->guest.queue[port ? 4 : 0];
	size_t taken = virtio_console_receive(s->console, port, bytes, count);

	FUZZ_CHECK(taken <= count);
	/* A buffer without room is given back as well, and the guest sees it. */
	FUZZ_CHECK(q->wild || q->used_index == s->guest.vdev->queue[port ? 4 : 0].ring.next_used ||
		   s->guest.vdev->queue[port ? 4 : 0].ring.signalled ==
			   s->guest.vdev->queue[port ? 4 : 0].ring.next_used);
}

static void step(struct state *s, struct input *in)
{
	uint8_t op = input_u8(in), shape;
	unsigned queue = op / 8u % QUEUES;

	switch (op & 7) {
	case 0:
	case 1:
		chain_add(s, in, queue);
		break;
	case 2:
		control_add(s, in);
		break;
	case 3:
		receive(s, in, op >> 3 & 1);
		break;
	case 4:
		virtio_guest_ring(&s->guest, queue);
		break;
	case 5:
		if (op & 0x80) {
			guest_queue_corrupt(&s->guest.queue[queue], in);
		} else if (op & 0x40) {
			virtio_guest_reset(&s->guest);
			shape = input_u8(in);
			start(s, shape, input_u8(in));
		} else {
			virtio_console_close(s->console, op >> 3 & 1);
		}
		break;
	default:
		serve(s);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state *s = calloc(1, sizeof(*s));
	struct virtio_console_port ports[PORTS] = {
		{.name = "console", .console = true, .backend = {&backend_ops, s}},
		{.name = "stream", .backend = {&backend_ops, s}},
	};
	struct guest_memory *memory = NULL;
	struct input in = {data, size};
	struct error err = {0};
	uint8_t shape = input_u8(&in);

	log_set_level(LOG_ERROR);
	FUZZ_CHECK(s && memory_create(QUEUES * QUEUE_MEMORY, &memory, &err) == 0);
	FUZZ_CHECK(loop_create(&s->loop) == 0);
	FUZZ_CHECK(virtio_console_create(memory, s->loop, ports, PORTS, &s->console) == 0);
	virtio_guest_init(&s->guest, virtio_console_device(s->console), QUEUES);
	start(s, shape, input_u8(&in));
	while (in.left)
		step(s, &in);
	serve(s);
	virtio_console_destroy(s->console);
	virtio_guest_fini(&s->guest);
	loop_destroy(s->loop);
	memory_destroy(memory);
	free(s);
	return 0;
}
