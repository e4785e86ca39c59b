/* SPDX-License-Identifier: MIT */
/* virtio-rng: getrandom(2) straight into the guest's buffers, on the main loop. */
#include "devices/virtio/rng.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

#define QUEUE_SIZE 64
/* A guest that asks for more gets this much and may ask again: it cannot hold up the loop. */
#define REQUEST_MAX 65536u

struct virtio_rng {
	struct virtio_device vdev;
	struct loop_source *kick;
	pthread_mutex_t lock; /* held while the queue is used; guards running */
	bool running;
	struct virtqueue_chain chain;
};

static uint32_t chain_fill(struct virtqueue_chain *chain)
{
	uint32_t filled = 0;

	for (unsigned i = 0; i < chain->in_count && filled < REQUEST_MAX; i++) {
		const struct iovec *v = &chain->iov[chain->out_count + i];
		size_t want = v->iov_len < REQUEST_MAX - filled ? v->iov_len : REQUEST_MAX - filled;
		ssize_t n = getrandom(v->iov_base, want, 0);

		if (n > 0)
			filled += (uint32_t)n;
		if (n < 0 || (size_t)n < want)
			break;
	}
	return filled;
}

static int take_or_listen(struct virtio_rng *rng)
{
	struct virtqueue *ring = &rng->vdev.queue[0].ring;
	int ret = virtqueue_pop(ring, &rng->chain);

	return ret == 0 && virtqueue_listen(ring) ? virtqueue_pop(ring, &rng->chain) : ret;
}

/* One ringful a turn: a guest that refills it as fast as it is served must not hold up the loop. */
static void serve(struct virtio_rng *rng)
{
	struct virtqueue *ring = &rng->vdev.queue[0].ring;
	int ret = 1;

	for (unsigned i = 0; i < ring->size && ret > 0; i++) {
		ret = take_or_listen(rng);
		if (ret > 0) {
			uint32_t written = chain_fill(&rng->chain);

			virtqueue_written(ring, &rng->chain);
			virtqueue_push(ring, rng->chain.head, written);
		}
	}
	virtio_queue_publish(&rng->vdev, 0);
	if (ret < 0)
		virtio_broken(&rng->vdev, "a malformed chain");
	else if (ret > 0)
		virtio_queue_ring(&rng->vdev, 0);
}

static void kicked(void *arg, uint32_t events)
{
	struct virtio_rng *rng = arg;

	(void)events;
	virtio_queue_drain_kick(&rng->vdev, 0);
	pthread_mutex_lock(&rng->lock);
	if (rng->running && rng->vdev.queue[0].enabled)
		serve(rng);
	pthread_mutex_unlock(&rng->lock);
}

static int rng_start(void *device)
{
	(void)device; /* it serves from resume on */
	return 0;
}

static void rng_resume(void *device)
{
	struct virtio_rng *rng = device;

	pthread_mutex_lock(&rng->lock);
	rng->running = true;
	pthread_mutex_unlock(&rng->lock);
}

static void rng_stop(void *device)
{
	struct virtio_rng *rng = device;

	pthread_mutex_lock(&rng->lock);
	rng->running = false;
	pthread_mutex_unlock(&rng->lock);
}

static void rng_state(void *device, unsigned instance, struct codec *c)
{
	(void)device;
	codec_begin(c, "virtio-rng", instance, 1);
	codec_end(c);
}

static const struct virtio_ops rng_ops = {
	.name = "rng",
	.id = 4,
	.class = 0xff0000,
	.start = rng_start,
	.stop = rng_stop,
	.resume = rng_resume,
	.pause = rng_stop,
	.state = rng_state,
};

int virtio_rng_create(struct guest_memory *memory, struct loop *loop, struct virtio_rng **out)
{
	struct virtio_rng *rng = calloc(1, sizeof(*rng));
	int ret;

	if (!rng)
		return -ENOMEM;
	pthread_mutex_init(&rng->lock, NULL);
	ret = virtio_init(&rng->vdev, &rng_ops, rng, memory, 0, 1, QUEUE_SIZE);
	if (ret == 0)
		ret = loop_add_fd(loop, rng->vdev.queue[0].kick_fd, EPOLLIN, kicked, rng,
				  &rng->kick);
	if (ret) {
		virtio_rng_destroy(rng);
		return ret;
	}
	*out = rng;
	return 0;
}

void virtio_rng_destroy(struct virtio_rng *rng)
{
	if (!rng)
		return;
	loop_remove(rng->kick);
	virtio_fini(&rng->vdev);
	pthread_mutex_destroy(&rng->lock);
	free(rng);
}

struct virtio_device *virtio_rng_device(struct virtio_rng *rng)
{
	return &rng->vdev;
}
