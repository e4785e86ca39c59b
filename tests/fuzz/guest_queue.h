/* SPDX-License-Identifier: MIT */
/*
 * The driver's side of a split virtqueue, in QUEUE_MEMORY bytes of its own:
 *
 *   0x000000	descriptors, available ring, used ring, from `shift` on
 *   0x040000	indirect tables, one a head
 *   0x100000	buffers, QUEUE_BUFFER bytes a head
 *
 * It keeps the rules, and checks that the device does, until the target writes to memory as it
 * likes: then `wild` says that only the host's safety is left to check.
 */
#ifndef TESTS_FUZZ_GUEST_QUEUE_H
#define TESTS_FUZZ_GUEST_QUEUE_H

#include "devices/virtio/virtqueue.h"
#include "tests/fuzz/fuzz.h"

#define QUEUE_MEMORY  0x200000u
#define QUEUE_TABLES  0x40000u
#define QUEUE_BUFFERS 0x100000u
#define QUEUE_BUFFER  0x1000u
#define QUEUE_PIECES  16u /* most in a chain */

struct guest_piece {
	uint64_t address;
	uint32_t length;
	bool write; /* by the device */
};

struct guest_chain {
	bool in_flight;
	unsigned descriptors; /* of the queue's table */
	unsigned count;
	struct guest_piece piece[QUEUE_PIECES];
	uint32_t out_bytes, in_bytes;
};

struct guest_queue {
	struct guest_memory *memory;
	uint64_t base; /* of its memory */
	uint16_t size;
	bool event_index;
	bool wild;
	uint64_t desc, avail, used; /* guest-physical */
	uint16_t avail_index;       /* what the device was shown */
	uint16_t used_index;        /* what was collected */
	unsigned free_count;
	uint16_t free[VIRTQUEUE_SIZE_MAX];
	struct guest_chain chain[VIRTQUEUE_SIZE_MAX];
};

/*
 * Empty rings in the `index`th piece of memory. `shift` moves them against page boundaries, as far
 * as alignment allows.
 */
void guest_queue_init(struct guest_queue *q, struct guest_memory *memory, unsigned index,
		      uint16_t size, bool event_index, unsigned shift);

/*
 * The start of a chain: a head and its buffer's address. False: no descriptor is left. Fill in
 * pieces with guest_queue_piece, then add.
 */
bool guest_queue_begin(struct guest_queue *q, uint16_t *head, uint64_t *buffer);
void guest_queue_piece(struct guest_queue *q, uint16_t head, uint64_t address, uint32_t length,
		       bool write);
/* `indirect`: pieces from that one on go into a table. False: too few descriptors; it is dropped.
 */
bool guest_queue_add(struct guest_queue *q, uint16_t head, unsigned indirect);
/* A chain out of the input: pieces of any length, in order or (then it is wild) not. */
bool guest_queue_add_input(struct guest_queue *q, struct input *in);

/* Must the device be rung, since the available index was `old`? */
bool guest_queue_must_ring(struct guest_queue *q, uint16_t old);

/* Take what the device used and check it; `done` (optional) gets each head with its bytes. */
void guest_queue_collect(struct guest_queue *q,
			 void (*done)(void *arg, uint16_t head, uint32_t bytes), void *arg);
/* Ask for an interrupt with the next chain. True: one is there already. */
bool guest_queue_want_interrupt(struct guest_queue *q);
unsigned guest_queue_in_flight(const struct guest_queue *q);

/* Bytes of the input anywhere into memory. */
void guest_queue_corrupt(struct guest_queue *q, struct input *in);

#endif
