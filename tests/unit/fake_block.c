/* SPDX-License-Identifier: MIT */
/* A block format for tests; it is in no table, blocks of it are made by hand. */
#include "tests/unit/fake_block.h"

#include <poll.h>
#include <unistd.h>

#include "tests/unit/unit.h"

struct fake_queue {
	struct block_queue queue;
	unsigned count;
	struct block_request *request[FAKE_BLOCK_DEPTH];
};

static struct fake_block *fake_of(struct block_queue *queue)
{
	return (struct fake_block *)queue->block;
}

static int queue_create(struct block *block, unsigned depth, struct block_queue **out,
			struct error *err)
{
	struct fake_queue *q = calloc(1, sizeof(*q));

	(void)block;
	(void)depth;
	if (!q)
		return error_set(err, -ENOMEM, NULL, "fake disk queue: out of memory");
	*out = &q->queue;
	return 0;
}

static void queue_destroy(struct block_queue *queue)
{
	free(queue);
}

static void submit(struct block_queue *queue, struct block_request *request)
{
	struct fake_queue *q = (struct fake_queue *)queue;
	struct fake_block *fake = fake_of(queue);

	assert_true(q->count < FAKE_BLOCK_DEPTH);
	fake->last = *request;
	q->request[q->count++] = request;
	atomic_store(&fake->held, q->count);
	atomic_fetch_add(&fake->total, 1);
}

static int wait_queue(struct block_queue *queue, int wake_fd, bool block)
{
	struct fake_queue *q = (struct fake_queue *)queue;
	struct fake_block *fake = fake_of(queue);
	bool holding = atomic_load(&fake->holding);
	struct pollfd p = {.fd = wake_fd, .events = POLLIN};
	bool sleep = block && (holding || q->count == 0);
	uint64_t count;

	if (poll(&p, 1, sleep ? -1 : 0) == 1)
		assert_int_equal(read(wake_fd, &count, sizeof(count)), sizeof(count));
	if (atomic_load(&fake->holding))
		return 0;
	while (q->count) {
		struct block_request *request = q->request[--q->count];

		atomic_store(&fake->held, q->count);
		block_complete(queue, request, atomic_load(&fake->result));
	}
	return 0;
}

static const struct block_format format = {
	.name = "fake",
	.queue_create = queue_create,
	.queue_destroy = queue_destroy,
	.submit = submit,
	.wait = wait_queue,
};

void fake_block_init(struct fake_block *fake, uint64_t size)
{
	*fake = (struct fake_block){
		.block = {.format = &format,
			  .path = "fake",
			  .info = {.format = "fake", .size = size, .block_size = BLOCK_SECTOR}},
	};
}
