/* SPDX-License-Identifier: MIT */
/*
 * virtio-blk. A queue's thread takes every chain that is there, submits all of them with one system
 * call, sleeps until a completion or the doorbell, and publishes completions in one batch with at
 * most one interrupt. Sections are of virtio 1.2.
 */
#include "devices/virtio/blk.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/worker.h"
#include "vmm/base/bytes.h"
#include "vmm/base/checked.h"

#define F_SIZE_MAX     (1ull << 1)
#define F_SEG_MAX      (1ull << 2)
#define F_RO           (1ull << 5)
#define F_BLK_SIZE     (1ull << 6)
#define F_FLUSH        (1ull << 9)
#define F_TOPOLOGY     (1ull << 10)
#define F_MQ           (1ull << 12)
#define F_DISCARD      (1ull << 13)
#define F_WRITE_ZEROES (1ull << 14)

/* 5.2.6: request types and status. */
enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11, T_WRITE_ZEROES = 13 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };

#define HEADER_SIZE   16u /* type, reserved, sector */
#define SEGMENT_SIZE  16u /* of discard and write zeroes: sector, count, flags */
#define SEGMENT_UNMAP 1u

#define CONFIG_SIZE 60u
#define QUEUE_SIZE  512u
#define SEG_MAX     (VIRTQUEUE_SIZE_MAX - 2)
/*
 * Bounds on what one request asks of the host: a reset waits for all that is in flight, and so does
 * whoever pauses the vCPU that resets.
 */
#define SIZE_MAX_BYTES    (128u << 10)
#define TRANSFER_MAX      (SEG_MAX * SIZE_MAX_BYTES)
#define RANGE_SECTORS_MAX (1u << 18) /* of one discard or write-zeroes segment: 128 MiB */

struct blk_request {
	struct block_request block;
	struct blk_queue *queue;
	struct blk_request *next_free;
	uint8_t *status;  /* in guest memory */
	uint32_t written; /* bytes that a success writes, status included */
	struct virtqueue_chain chain;
};

struct blk_queue {
	struct virtio_blk *blk;
	unsigned index;
	struct worker worker;
	struct block_queue *block;
	struct blk_request *free;
	unsigned fresh; /* requests from here on were never used, nor their memory touched */
	struct blk_request request[]; /* QUEUE_SIZE */
};

struct virtio_blk {
	struct virtio_device vdev;
	struct block *block;
	unsigned queues;
	uint8_t config[CONFIG_SIZE];
	char serial[VIRTIO_BLK_SERIAL_SIZE + 1];
	struct blk_queue *queue[VIRTIO_BLK_QUEUES_MAX];
};

static uint8_t status_of(int result)
{
	if (result == 0)
		return S_OK;
	return result == -EOPNOTSUPP ? S_UNSUPP : S_IOERR;
}

/* The one way out of a request. */
static void request_finish(struct blk_request *r, int result)
{
	struct blk_queue *q = r->queue;
	struct virtqueue *ring = &q->blk->vdev.queue[q->index].ring;

	*r->status = status_of(result);
	if (result && result != -EOPNOTSUPP)
		log_limited(&q->blk->vdev.limit, LOG_WARN, "virtio-blk %s: a request failed: %s",
			    q->blk->serial, error_name(result));
	virtqueue_written(ring, &r->chain);
	virtqueue_push(ring, r->chain.head, result ? 1 : r->written);
	r->next_free = q->free;
	q->free = r;
}

static void block_done(struct block_request *block, int result)
{
	request_finish((struct blk_request *)block, result);
}

/* The last byte of the writable part is the status; what is before it remains (5.2.6). */
static int status_split(struct blk_request *r)
{
	struct virtqueue_chain *chain = &r->chain;
	struct iovec *last;

	if (chain->in_count == 0)
		return -EPROTO;
	last = &chain->iov[chain->out_count + chain->in_count - 1];
	last->iov_len--;
	r->status = (uint8_t *)last->iov_base + last->iov_len;
	chain->in_bytes--;
	if (last->iov_len == 0)
		chain->in_count--;
	return 0;
}

static int start_transfer(struct blk_request *r, struct iovec *out, unsigned out_count,
			  uint64_t sector, bool write)
{
	struct virtqueue_chain *chain = &r->chain;
	struct block_request *b = &r->block;

	b->op = write ? BLOCK_WRITE : BLOCK_READ;
	b->iov = write ? out : chain->iov + chain->out_count;
	b->iov_count = write ? out_count : chain->in_count;
	b->length = write ? chain->out_bytes - HEADER_SIZE : chain->in_bytes;
	b->durable = write && !virtio_has(&r->queue->blk->vdev, F_FLUSH);
	if (b->length > TRANSFER_MAX || !checked_mul(sector, BLOCK_SECTOR, &b->offset))
		return -EINVAL;
	r->written = write ? 1 : chain->in_bytes + 1;
	block_submit(r->queue->block, b);
	return 0;
}

static int start_range(struct blk_request *r, struct iovec *out, unsigned out_count, uint32_t type)
{
	struct block_request *b = &r->block;
	uint8_t segment[SEGMENT_SIZE];
	uint32_t sectors, flags;

	/* One segment, as the configuration says. */
	if (r->chain.out_bytes != HEADER_SIZE + SEGMENT_SIZE ||
	    iov_take(&out, &out_count, segment, sizeof(segment)) != sizeof(segment))
		return -EINVAL;
	sectors = le32_get(segment + 8);
	flags = le32_get(segment + 12);
	/* 5.2.6.2: unknown flags, and unmap for a discard, are unsupported. */
	if (flags & ~(type == T_WRITE_ZEROES ? SEGMENT_UNMAP : 0u))
		return -EOPNOTSUPP;
	if (sectors > RANGE_SECTORS_MAX ||
	    !checked_mul(le64_get(segment), BLOCK_SECTOR, &b->offset))
		return -EINVAL;
	b->op = type == T_DISCARD ? BLOCK_DISCARD : BLOCK_WRITE_ZEROES;
	b->length = (uint64_t)sectors * BLOCK_SECTOR;
	b->unmap = flags & SEGMENT_UNMAP;
	b->durable = !virtio_has(&r->queue->blk->vdev, F_FLUSH);
	block_submit(r->queue->block, b);
	return 0;
}

static int get_id(struct blk_request *r)
{
	struct iovec *in = r->chain.iov + r->chain.out_count;
	unsigned in_count = r->chain.in_count;

	r->written = 1 + (uint32_t)iov_give(&in, &in_count, r->queue->blk->serial,
					    VIRTIO_BLK_SERIAL_SIZE);
	request_finish(r, 0);
	return 0;
}

/* 0: the request is under way or finished; else it is to be finished with that result. */
static int request_dispatch(struct blk_request *r)
{
	struct iovec *out = r->chain.iov;
	unsigned out_count = r->chain.out_count;
	uint8_t header[HEADER_SIZE];
	uint32_t type;

	if (iov_take(&out, &out_count, header, sizeof(header)) != sizeof(header))
		return -EINVAL;
	type = le32_get(header);
	switch (type) {
	case T_IN:
	case T_OUT:
		return start_transfer(r, out, out_count, le64_get(header + 8), type == T_OUT);
	case T_FLUSH:
		r->block.op = BLOCK_FLUSH;
		block_submit(r->queue->block, &r->block);
		return 0;
	case T_DISCARD:
	case T_WRITE_ZEROES:
		return start_range(r, out, out_count, type);
	case T_GET_ID:
		return get_id(r);
	default:
		return -EOPNOTSUPP;
	}
}

static void request_begin(struct blk_request *r)
{
	int result;

	r->block = (struct block_request){.done = block_done};
	r->written = 1;
	if (status_split(r)) {
		/* Nowhere to put a status: give the chain back, so that no buffer is lost. */
		virtqueue_push(&r->queue->blk->vdev.queue[r->queue->index].ring, r->chain.head, 0);
		r->next_free = r->queue->free;
		r->queue->free = r;
		return;
	}
	result = request_dispatch(r);
	if (result)
		request_finish(r, result);
}

/* A request to use next. There are as many as the ring has entries: a guest that cheats gets NULL.
 */
static struct blk_request *request_peek(struct blk_queue *q)
{
	if (q->free)
		return q->free;
	return q->fresh < q->blk->vdev.queue[q->index].size ? &q->request[q->fresh] : NULL;
}

static void request_claim(struct blk_queue *q, struct blk_request *r)
{
	if (r == q->free)
		q->free = r->next_free;
	else
		q->fresh++;
	r->queue = q;
}

static void queue_take(struct blk_queue *q)
{
	struct virtio_device *vdev = &q->blk->vdev;
	struct virtqueue *ring = &vdev->queue[q->index].ring;

	for (struct blk_request *r = request_peek(q); r; r = request_peek(q)) {
		int ret = virtqueue_pop(ring, &r->chain);

		if (ret < 0)
			virtio_broken(vdev, "a malformed request chain");
		if (ret <= 0)
			return;
		request_claim(q, r);
		request_begin(r);
	}
}

static void queue_serve(struct blk_queue *q)
{
	struct virtio_device *vdev = &q->blk->vdev;
	struct virtio_queue *vq = &vdev->queue[q->index];
	int ret = 0;

	while (ret == 0) {
		bool idle, called = worker_called(&q->worker);

		if (!called) {
			virtqueue_quiet(&vq->ring);
			queue_take(q);
		}
		virtio_queue_publish(vdev, q->index);
		if (called && block_in_flight(q->block) == 0) {
			if (!worker_rest(&q->worker))
				return;
			continue;
		}
		/* Sleep only if no chain came since, and we will be rung for the next one. */
		/* Without a free request only a completion helps. */
		idle = called || !request_peek(q) || !virtqueue_listen(&vq->ring);
		ret = block_wait(q->block, vq->kick_fd, idle);
	}
	virtio_broken(vdev, "the host's io_uring failed");
}

static void queue_main(void *arg)
{
	struct blk_queue *q = arg;
	struct error err = {0};
	char name[16];
	int ret;

	snprintf(name, sizeof(name), "blk%u", q->index);
	pthread_setname_np(pthread_self(), name);
	ret = block_queue_create(q->blk->block, QUEUE_SIZE, &q->block, &err);
	if (ret) {
		char line[sizeof(err.what) + sizeof(err.remedy) + 4];

		error_format(&err, ret, line, sizeof(line));
		log_limited(&q->blk->vdev.limit, LOG_ERROR, "virtio-blk %s: %s", q->blk->serial,
			    line);
		virtio_broken(&q->blk->vdev, "its queue could not be made");
		return;
	}
	queue_serve(q);
	/* After a failure the kernel may still have requests: they keep their ring to the end. */
	if (block_in_flight(q->block) == 0)
		block_queue_destroy(q->block);
	q->block = NULL;
}

static void queues_call(struct virtio_blk *blk, enum worker_wish wish)
{
	for (unsigned i = 0; i < blk->queues; i++) {
		if (!blk->queue[i] || !blk->queue[i]->worker.started)
			continue;
		worker_call(&blk->queue[i]->worker, wish);
		virtio_queue_ring(&blk->vdev, i);
	}
}

static int queue_start(struct virtio_blk *blk, unsigned index)
{
	struct blk_queue *q = blk->queue[index];

	if (!q) {
		q = calloc(1, sizeof(*q) + QUEUE_SIZE * sizeof(q->request[0]));
		if (!q)
			return -ENOMEM;
		q->blk = blk;
		q->index = index;
		blk->queue[index] = q;
	}
	q->free = NULL;
	q->fresh = 0;
	return worker_start(&q->worker, queue_main, q);
}

static void blk_stop(void *device)
{
	struct virtio_blk *blk = device;

	queues_call(blk, WORKER_END);
	for (unsigned i = 0; i < blk->queues; i++)
		if (blk->queue[i])
			worker_join(&blk->queue[i]->worker);
}

static void blk_resume(void *device)
{
	queues_call(device, WORKER_RUN);
}

/* What the host is working on is waited for: all queues at a time. */
static void blk_pause(void *device)
{
	struct virtio_blk *blk = device;

	queues_call(blk, WORKER_REST);
	for (unsigned i = 0; i < blk->queues; i++)
		if (blk->queue[i])
			worker_await(&blk->queue[i]->worker);
}

/* All else is the guest's own or the image's. */
static void blk_state(void *device, unsigned instance, struct codec *c)
{
	const struct virtio_blk *blk = device;
	uint64_t sectors = le64_get(blk->config), saved = sectors;

	codec_begin(c, "virtio-blk", instance, 1);
	codec_u64(c, &saved);
	if (codec_good(c) && saved != sectors)
		codec_fail(c, -EINVAL, "give the guest the disks that it was saved with",
			   "the disk had %llu sectors, this one has %llu",
			   (unsigned long long)saved, (unsigned long long)sectors);
	codec_end(c);
}

static int blk_start(void *device)
{
	struct virtio_blk *blk = device;

	for (unsigned i = 0; i < blk->queues; i++) {
		int ret = blk->vdev.queue[i].enabled ? queue_start(blk, i) : 0;

		if (ret) {
			blk_stop(blk);
			return ret;
		}
	}
	return 0;
}

static void blk_config_read(void *device, unsigned offset, uint8_t *to, unsigned size)
{
	const struct virtio_blk *blk = device;

	memcpy(to, blk->config + offset, size);
}

static const struct virtio_ops blk_ops = {
	.name = "blk",
	.id = 2,
	.class = 0x010000, /* mass storage, SCSI: what a virtio disk is by custom */
	.config_size = CONFIG_SIZE,
	.config_read = blk_config_read,
	.start = blk_start,
	.stop = blk_stop,
	.resume = blk_resume,
	.pause = blk_pause,
	.state = blk_state,
};

/* 5.2.4. */
static void config_fill(struct virtio_blk *blk, const struct block_info *info)
{
	uint8_t *c = blk->config;
	uint32_t block_sectors = info->block_size / BLOCK_SECTOR;

	le64_put(c + 0, info->size / BLOCK_SECTOR);
	le32_put(c + 8, SIZE_MAX_BYTES);
	le32_put(c + 12, SEG_MAX);
	le32_put(c + 20, BLOCK_SECTOR); /* logical blocks */
	/* Topology: what is better aligned goes faster. */
	while ((1u << c[24]) < block_sectors)
		c[24]++;
	le16_put(c + 26, (uint16_t)block_sectors);
	le16_put(c + 34, (uint16_t)blk->queues);
	le32_put(c + 36, RANGE_SECTORS_MAX);
	le32_put(c + 40, 1);
	le32_put(c + 44, block_sectors); /* discard alignment */
	le32_put(c + 48, RANGE_SECTORS_MAX);
	le32_put(c + 52, 1);
	c[56] = 1; /* write zeroes may unmap */
}

int virtio_blk_create(struct guest_memory *memory, const struct virtio_blk_config *config,
		      struct virtio_blk **out)
{
	const struct block_info *info = block_info(config->block);
	uint64_t features = F_SIZE_MAX | F_SEG_MAX | F_BLK_SIZE | F_FLUSH | F_TOPOLOGY | F_MQ;
	struct virtio_blk *blk = calloc(1, sizeof(*blk));
	int ret;

	assert(config->queues >= 1 && config->queues <= VIRTIO_BLK_QUEUES_MAX);
	if (!blk)
		return -ENOMEM;
	features |= info->read_only ? F_RO : F_DISCARD | F_WRITE_ZEROES;
	blk->block = config->block;
	blk->queues = config->queues;
	snprintf(blk->serial, sizeof(blk->serial), "%s", config->serial);
	config_fill(blk, info);
	ret = virtio_init(&blk->vdev, &blk_ops, blk, memory, features, config->queues, QUEUE_SIZE);
	if (ret) {
		free(blk);
		return ret;
	}
	*out = blk;
	return 0;
}

void virtio_blk_destroy(struct virtio_blk *blk)
{
	if (!blk)
		return;
	virtio_fini(&blk->vdev);
	for (unsigned i = 0; i < blk->queues; i++)
		free(blk->queue[i]);
	free(blk);
}

struct virtio_device *virtio_blk_device(struct virtio_blk *blk)
{
	return &blk->vdev;
}
