/* SPDX-License-Identifier: MIT */
/* Chains to the real device on a loop. All come back, filled in full. */
#include "devices/virtio/rng.h"
#include "tests/fuzz/virtio_guest.h"
#include "vmm/base/loop.h"

/* A device may leave the loop to others before its queue is empty. */
#define TURNS 8

static void serve(struct virtio_guest *g, struct loop *loop)
{
	for (unsigned i = 0; i < TURNS; i++)
		fuzz_loop_turn(loop);
	guest_queue_collect(&g->queue[0], NULL, NULL);
	FUZZ_CHECK(g->queue[0].wild || virtio_guest_broken(g) ||
		   guest_queue_in_flight(&g->queue[0]) == 0);
}

static void start(struct virtio_guest *g, uint8_t shape)
{
	virtio_guest_start(g, shape & 8 ? VIRTIO_F_EVENT_IDX : 0, !(shape & 0x80),
			   (uint16_t)(1u << (shape & 7) % 7), shape >> 4 & 7);
}

static void step(struct input *in, struct virtio_guest *g, struct loop *loop)
{
	uint8_t op = input_u8(in);
	uint16_t old = g->queue[0].avail_index;

	switch (op & 7) {
	case 0:
	case 1:
	case 2:
		if (guest_queue_add_input(&g->queue[0], in))
			virtio_guest_ring_if_asked(g, 0, old);
		break;
	case 3:
		virtio_guest_ring(g, 0);
		break;
	case 4:
		virtio_guest_reset(g);
		start(g, op);
		break;
	case 5:
		if (op & 0x80)
			guest_queue_corrupt(&g->queue[0], in);
		break;
	default:
		if (g->vdev->queue[0].enabled)
			serve(g, loop);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct guest_memory *memory = NULL;
	struct input in = {data, size};
	struct virtio_guest guest;
	struct virtio_rng *rng;
	struct error err = {0};
	struct loop *loop;

	log_set_level(LOG_ERROR);
	FUZZ_CHECK(memory_create(QUEUE_MEMORY, &memory, &err) == 0 && loop_create(&loop) == 0);
	FUZZ_CHECK(virtio_rng_create(memory, loop, &rng) == 0);
	virtio_guest_init(&guest, virtio_rng_device(rng), 1);
	start(&guest, input_u8(&in));
	while (in.left)
		step(&in, &guest, loop);
	fuzz_loop_turn(loop);
	virtio_rng_destroy(rng);
	virtio_guest_fini(&guest);
	loop_destroy(loop);
	memory_destroy(memory);
	return 0;
}
