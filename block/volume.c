/* SPDX-License-Identifier: MIT */
/*
 * Volumes of the store (snapshot/volume.h) as disks. A request is cut into pieces, each of blocks
 * that one layer has: a piece is one submission to an io_uring, by O_DIRECT where buffers and
 * offsets are aligned. What the head has is overwritten where it is; whole blocks that it has not
 * are written there and then marked; of parts of blocks the store makes whole ones, on the queue's
 * thread.
 *
 * While a whole block is on its way to become the head's, nobody may make it whole from what is
 * below, and the other way round: `busy` counts the former, by block, or says that the latter is
 * under way.
 */
#include "block/volume.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "block/block_impl.h"
#include "block/file.h"
#include "block/ring.h"
#include "snapshot/root.h"
#include "snapshot/volume.h"
#include "vmm/base/checked.h"
#include "vmm/base/log.h"

#define PIECE_IOV         256u /* a MiB of single pages */
#define PART_IOV          (STORE_BLOCK / 512u)
#define PIECES_EXTRA      64u /* of a queue, besides one for each request */
#define MEMORY_ALIGNMENT  512u
#define BUSY_SLOTS        4096u
#define BUSY_WHOLE        (-1)
#define RETRIES_MAX       100u
#define ZERO_CHUNK_BLOCKS 32768u

struct volume_block {
	struct block block;
	struct store *store;
	struct volume *volume;
	struct block *base;
	_Atomic int busy[BUSY_SLOTS];
};

/* A submission in flight. */
struct piece {
	struct slot *slot;
	struct piece *next_free;
	bool own; /* the slot's, not of those that all share */
	bool write, direct, syncing;
	bool counted; /* its blocks are counted as busy, and are to be marked */
	unsigned retries;
	struct layer *layer;
	uint64_t offset, length, done;
	struct iovec *iov; /* for PIECE_IOV of them */
	unsigned iov_first, iov_count;
};

/* A request until it is done. */
struct slot {
	struct volume_queue *queue;
	struct block_request *request;
	uint64_t at; /* how far it was cut into pieces */
	struct iovec *iov;
	unsigned iov_count;
	size_t iov_offset; /* in the first of them */
	unsigned in_flight;
	int result;
	bool syncing; /* the request's own data is there, what is left is its flush */
	struct volume_flush flush;
	struct piece piece;
	bool piece_used;
	struct slot *next; /* of the free, or of those that wait */
};

struct volume_queue {
	struct block_queue queue;
	struct ring ring;
	struct slot *free;
	struct slot *waiting; /* for pieces, or for a block that is busy */
	struct piece *free_piece;
	struct piece extra[PIECES_EXTRA];
	struct slot slot[]; /* and behind them the parts of all pieces, most never touched */
};

static struct volume_block *volume_block_of(struct block *block)
{
	return (struct volume_block *)block;
}

static struct volume_block *owner(const struct slot *slot)
{
	return volume_block_of(slot->queue->queue.block);
}

struct volume *block_volume(struct block *block)
{
	return block->format == &volume_format ? volume_block_of(block)->volume : NULL;
}

/* Opening. */

static int base_read(void *arg, uint64_t offset, void *bytes, size_t size)
{
	struct volume_block *v = arg;
	uint64_t end = v->base->info.size;
	size_t there = offset >= end ? 0 : end - offset < size ? (size_t)(end - offset) : size;

	memset((uint8_t *)bytes + there, 0, size - there);
	return there ? block_read(v->base, offset, bytes, there) : 0;
}

static int base_open(struct volume_block *v, struct error *err)
{
	const struct volume_base *base = &volume_manifest(v->volume)->base;
	struct block_options options = {.path = base->path, .read_only = true};
	int ret;

	if (!base->path[0])
		return 0;
	ret = block_open(base->format, &options, &v->base, err);
	if (ret)
		return error_prefix(err, ret, "base image");
	volume_base_reader(v->volume, base_read, v);
	return 0;
}

static void volume_block_close(struct block *block)
{
	struct volume_block *v = volume_block_of(block);
	char name[TEXT_NAME_MAX + 1];
	int ret;

	snprintf(name, sizeof(name), "%s", volume_manifest(v->volume)->name);
	ret = volume_close(v->volume);
	if (ret)
		log_error("volume '%s': its last sync failed (%s); mend its storage", name,
			  error_name(ret));
	block_close(v->base);
	free(v);
}

/* One of a snapshot's, which nobody can write to. */
static int root_volume_open(struct volume_block *v, const struct block_options *options,
			    struct error *err)
{
	struct root *root;
	unsigned index;
	int ret;

	if (!options->read_only)
		return error_set(err, -EROFS, "make a volume of it: lodge volume clone",
				 "snapshot '%s': it is only read", options->path);
	root = calloc(1, sizeof(*root));
	if (!root)
		return error_set(err, -ENOMEM, NULL, "snapshot '%s': out of memory", options->path);
	ret = root_find_volume(v->store, options->path, root, &index, err);
	if (ret == 0) {
		ret = volume_open_root(v->store, root, index, &v->volume, err);
		root_clear(root);
	}
	free(root);
	return ret;
}

static int volume_block_open(const struct block_options *options, struct block **out,
			     struct error *err)
{
	struct volume_block *v;
	int ret;

	if (!options->store)
		return error_set(err, -EINVAL, NULL, "volume '%s': no store is open",
				 options->path);
	v = calloc(1, sizeof(*v));
	if (!v)
		return error_set(err, -ENOMEM, NULL, "volume '%s': out of memory", options->path);
	v->store = options->store;
	ret = options->snapshot
		      ? root_volume_open(v, options, err)
		      : volume_open(v->store, options->path, options->read_only, &v->volume, err);
	if (ret == 0)
		ret = base_open(v, err);
	if (ret) {
		volume_close(v->volume);
		free(v);
		return ret;
	}
	v->block.info = (struct block_info){.format = "volume",
					    .size = volume_manifest(v->volume)->size,
					    .block_size = STORE_BLOCK,
					    .read_only = options->read_only};
	*out = &v->block;
	return 0;
}

/* Without a queue. */

static int volume_block_read(struct block *block, uint64_t offset, struct file_vector *to,
			     uint64_t length)
{
	struct volume_block *v = volume_block_of(block);
	uint8_t bytes[16 * STORE_BLOCK];

	while (length) {
		size_t n = length < sizeof(bytes) ? (size_t)length : sizeof(bytes);
		int ret = volume_read(v->volume, offset, n, bytes);

		if (ret)
			return ret;
		file_vector_copy(to, bytes, n);
		offset += n;
		length -= n;
	}
	return 0;
}

static int volume_block_map(struct block *block, uint64_t offset, uint64_t length,
			    enum block_status *status, uint64_t *run)
{
	struct volume_block *v = volume_block_of(block);
	uint64_t first = offset / STORE_BLOCK, end = offset + length, stop;
	struct stack_run found;

	volume_lookup(v->volume, first, (end + STORE_BLOCK - 1) / STORE_BLOCK - first, &found);
	stop = (found.first + found.count) * STORE_BLOCK;
	*run = (stop < end ? stop : end) - offset;
	*status = found.kind == STACK_LAYER ? BLOCK_DATA : BLOCK_ZERO;
	if (found.kind != STACK_BELOW || !v->base || offset >= v->base->info.size)
		return 0;
	if (*run > v->base->info.size - offset)
		*run = v->base->info.size - offset;
	return block_map(v->base, offset, *run, status, run);
}

/* Queues. */

static int volume_queue_create(struct block *block, unsigned depth, struct block_queue **out,
			       struct error *err)
{
	unsigned pieces = depth + PIECES_EXTRA;
	struct volume_queue *q =
		calloc(1, sizeof(*q) + depth * sizeof(q->slot[0]) +
				  (size_t)pieces * PIECE_IOV * sizeof(struct iovec));
	struct iovec *iov;
	int ret;

	(void)block;
	if (!q)
		return error_set(err, -ENOMEM, NULL, "disk queue: out of memory");
	ret = ring_open(&q->ring, pieces, err);
	if (ret) {
		free(q);
		return ret;
	}
	iov = (struct iovec *)(q->slot + depth);
	for (unsigned i = depth; i-- > 0;) {
		q->slot[i].queue = q;
		q->slot[i].piece.iov = iov + (size_t)i * PIECE_IOV;
		q->slot[i].next = q->free;
		q->free = &q->slot[i];
	}
	for (unsigned i = PIECES_EXTRA; i-- > 0;) {
		q->extra[i].iov = iov + (size_t)(depth + i) * PIECE_IOV;
		q->extra[i].next_free = q->free_piece;
		q->free_piece = &q->extra[i];
	}
	*out = &q->queue;
	return 0;
}

static void volume_queue_destroy(struct block_queue *queue)
{
	struct volume_queue *q = (struct volume_queue *)queue;

	ring_close(&q->ring);
	free(q);
}

/* Blocks that are busy. */

static _Atomic int *busy_of(struct volume_block *v, uint64_t block)
{
	return &v->busy[block % BUSY_SLOTS];
}

static void busy_begin(struct volume_block *v, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++) {
		_Atomic int *busy = busy_of(v, i);
		int n = atomic_load(busy);

		/* Whoever makes a block whole is on a thread of his own, and soon done. */
		while (n == BUSY_WHOLE || !atomic_compare_exchange_weak(busy, &n, n + 1)) {
			if (n == BUSY_WHOLE)
				sched_yield();
			n = atomic_load(busy);
		}
	}
}

static void busy_end(struct volume_block *v, uint64_t first, uint64_t count)
{
	for (uint64_t i = first; i < first + count; i++)
		atomic_fetch_sub(busy_of(v, i), 1);
}

/* Pieces. */

static struct piece *piece_get(struct slot *slot)
{
	struct volume_queue *q = slot->queue;
	struct piece *p = NULL;

	if (!slot->piece_used) {
		slot->piece_used = true;
		p = &slot->piece;
	} else if (q->free_piece) {
		p = q->free_piece;
		q->free_piece = p->next_free;
	}
	if (p)
		*p = (struct piece){.slot = slot, .own = p == &slot->piece, .iov = p->iov};
	return p;
}

static void piece_put(struct piece *p)
{
	struct volume_queue *q = p->slot->queue;

	if (p->own) {
		p->slot->piece_used = false;
		return;
	}
	p->next_free = q->free_piece;
	q->free_piece = p;
}

/* At most `length` bytes of the request's buffers, in at most so many parts. */
static void piece_cut(struct piece *p, unsigned most, uint64_t length)
{
	struct slot *slot = p->slot;

	while (p->length < length && p->iov_count < most) {
		const struct iovec *v = slot->iov;
		uint64_t left = v->iov_len - slot->iov_offset, want = length - p->length;
		uint64_t n = left < want ? left : want;

		p->iov[p->iov_count++] =
			(struct iovec){(uint8_t *)v->iov_base + slot->iov_offset, (size_t)n};
		p->length += n;
		slot->iov_offset += (size_t)n;
		if (slot->iov_offset == v->iov_len) {
			slot->iov++;
			slot->iov_count--;
			slot->iov_offset = 0;
		}
	}
	slot->at += p->length;
}

static bool is_aligned(const struct piece *p)
{
	if ((p->offset + p->done) % STORE_BLOCK || (p->length - p->done) % STORE_BLOCK)
		return false;
	for (unsigned i = p->iov_first; i < p->iov_count; i++)
		if ((uintptr_t)p->iov[i].iov_base % MEMORY_ALIGNMENT ||
		    p->iov[i].iov_len % MEMORY_ALIGNMENT)
			return false;
	return true;
}

static void piece_submit(struct piece *p)
{
	struct io_uring_sqe *sqe = ring_entry(&p->slot->queue->ring);
	int fd = p->direct ? layer_descriptor_direct(p->layer) : layer_descriptor(p->layer);
	const struct iovec *iov = p->iov + p->iov_first;
	unsigned count = p->iov_count - p->iov_first;

	if (p->syncing)
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	else if (p->write)
		io_uring_prep_writev(sqe, fd, iov, count, p->offset + p->done);
	else
		io_uring_prep_readv(sqe, fd, iov, count, p->offset + p->done);
	io_uring_sqe_set_data(sqe, p);
}

static void piece_start(struct piece *p)
{
	p->direct = layer_descriptor_direct(p->layer) >= 0 && is_aligned(p);
	p->slot->in_flight++;
	piece_submit(p);
}

static void slot_go_on(struct slot *slot);

static void piece_end(struct piece *p, int result)
{
	struct slot *slot = p->slot;
	struct volume_block *v = owner(slot);
	uint64_t first = p->offset / STORE_BLOCK, count = p->length / STORE_BLOCK;

	if (p->counted) {
		if (result == 0)
			volume_mark(v->volume, first, count);
		busy_end(v, first, count);
	}
	if (result && slot->result == 0)
		slot->result = result;
	slot->in_flight--;
	piece_put(p);
	slot_go_on(slot);
}

static void flush_end(struct piece *p, int result)
{
	struct slot *slot = p->slot;

	result = volume_flush_finish(owner(slot)->volume, &slot->flush, result);
	if (result)
		block_sync_failed(slot->queue->queue.block, result);
	piece_end(p, result);
}

static void piece_completed(void *arg, void *data, int result)
{
	struct piece *p = data;

	(void)arg;
	if (p->syncing) {
		flush_end(p, result);
		return;
	}
	if ((result == -EINTR || result == -EAGAIN) && p->retries++ < RETRIES_MAX) {
		piece_submit(p);
		return;
	}
	/* This file wants another alignment. */
	if (result == -EINVAL && p->direct) {
		p->direct = false;
		piece_submit(p);
		return;
	}
	if (result <= 0) {
		/* A file that shrank under us: lost, not zeroes. */
		piece_end(p, result ? result : -EIO);
		return;
	}
	p->done += (uint64_t)result;
	if (p->done == p->length) {
		piece_end(p, 0);
		return;
	}
	for (size_t n = (size_t)result; n;) {
		struct iovec *v = &p->iov[p->iov_first];
		size_t step = v->iov_len < n ? v->iov_len : n;

		v->iov_base = (uint8_t *)v->iov_base + step;
		v->iov_len -= step;
		n -= step;
		p->iov_first += v->iov_len == 0;
	}
	p->direct = p->direct && is_aligned(p);
	piece_submit(p);
}

/* Reads. */

static int below_read(struct volume_block *v, struct piece *p)
{
	uint64_t at = p->offset;
	int ret = 0;

	for (unsigned i = 0; i < p->iov_count && ret == 0; i++) {
		if (v->base)
			ret = base_read(v, at, p->iov[i].iov_base, p->iov[i].iov_len);
		else
			memset(p->iov[i].iov_base, 0, p->iov[i].iov_len);
		at += p->iov[i].iov_len;
	}
	return ret;
}

/* From `at` on, as far as one layer goes. False: there are no pieces. */
static bool read_next(struct slot *slot)
{
	struct volume_block *v = owner(slot);
	const struct block_request *r = slot->request;
	uint64_t offset = r->offset + slot->at, end = r->offset + r->length, stop;
	struct piece *p = piece_get(slot);
	struct stack_run run;
	int ret = 0;

	if (!p)
		return false;
	volume_lookup(v->volume, offset / STORE_BLOCK,
		      (end + STORE_BLOCK - 1) / STORE_BLOCK - offset / STORE_BLOCK, &run);
	stop = (run.first + run.count) * STORE_BLOCK;
	p->offset = offset;
	piece_cut(p, PIECE_IOV, (stop < end ? stop : end) - offset);
	if (run.kind == STACK_LAYER) {
		p->layer = run.layer;
		piece_start(p);
		return true;
	}
	if (run.kind == STACK_BELOW)
		ret = below_read(v, p);
	for (unsigned i = 0; i < p->iov_count && run.kind == STACK_ZERO; i++)
		memset(p->iov[i].iov_base, 0, p->iov[i].iov_len);
	if (ret && slot->result == 0)
		slot->result = ret;
	piece_put(p);
	return true;
}

/* Writes. */

/* A part of a block that is not the head's. False: it is busy, later. */
static bool write_part(struct slot *slot, uint64_t offset, uint64_t length)
{
	struct volume_block *v = owner(slot);
	_Atomic int *busy = busy_of(v, offset / STORE_BLOCK);
	uint8_t bytes[STORE_BLOCK];
	struct iovec iov[PART_IOV];
	struct piece part = {.slot = slot, .iov = iov};
	int none = 0, ret;
	size_t at = 0;

	if (!atomic_compare_exchange_strong(busy, &none, BUSY_WHOLE))
		return false;
	/* All of it is less than a block, and in as many parts at most as it has sectors. */
	piece_cut(&part, PART_IOV, length);
	for (unsigned i = 0; i < part.iov_count; i++) {
		memcpy(bytes + at, part.iov[i].iov_base, part.iov[i].iov_len);
		at += part.iov[i].iov_len;
	}
	ret = volume_write_partial(v->volume, offset, at, bytes);
	atomic_store(busy, 0);
	if (ret && slot->result == 0)
		slot->result = ret;
	return true;
}

/* How many blocks from `first` on, of `max`, are the head's like the first of them, or are not. */
static uint64_t alike(const struct volume *volume, uint64_t first, uint64_t max, bool *ours)
{
	uint64_t count = 1;

	*ours = volume_is_ours(volume, first, 1);
	if (*ours && volume_is_ours(volume, first, max))
		return max;
	while (count < max && volume_is_ours(volume, first + count, 1) == *ours)
		count++;
	return count;
}

/* How much of the next `want` bytes lies in as many parts as a piece can have. */
static uint64_t reach(const struct slot *slot, uint64_t want)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < slot->iov_count && i < PIECE_IOV && bytes < want; i++)
		bytes += slot->iov[i].iov_len - (i ? 0 : slot->iov_offset);
	return bytes < want ? bytes : want;
}

/* A run of blocks that are the head's, or of whole ones that are not; or a part of one. */
static bool write_next(struct slot *slot)
{
	struct volume_block *v = owner(slot);
	const struct block_request *r = slot->request;
	uint64_t offset = r->offset + slot->at, end = r->offset + r->length;
	uint64_t first = offset / STORE_BLOCK, last = (end - 1) / STORE_BLOCK;
	uint64_t length, to_border = STORE_BLOCK - offset % STORE_BLOCK;
	struct piece *p;
	bool ours;

	length = (first + alike(v->volume, first, last - first + 1, &ours)) * STORE_BLOCK - offset;
	if (length > end - offset)
		length = end - offset;
	if (!ours) {
		length = reach(slot, length);
		length -= length % STORE_BLOCK;
		if (to_border < STORE_BLOCK || length == 0)
			return write_part(slot, offset,
					  to_border < end - offset ? to_border : end - offset);
	}
	p = piece_get(slot);
	if (!p)
		return false;
	if (!ours)
		busy_begin(v, first, length / STORE_BLOCK);
	p->offset = offset;
	p->write = true;
	p->counted = !ours;
	p->layer = volume_head(v->volume);
	piece_cut(p, PIECE_IOV, length);
	piece_start(p);
	return true;
}

/* Zeroes, and what does not matter any more: of that, whole blocks only. */
static bool zero_next(struct slot *slot)
{
	struct volume_block *v = owner(slot);
	const struct block_request *r = slot->request;
	uint64_t offset = r->offset + slot->at, length = r->length - slot->at;
	bool discard = r->op == BLOCK_DISCARD;
	int ret = 0;

	if (length > (uint64_t)ZERO_CHUNK_BLOCKS * STORE_BLOCK)
		length = (uint64_t)ZERO_CHUNK_BLOCKS * STORE_BLOCK - offset % STORE_BLOCK;
	slot->at += length;
	if (discard) {
		uint64_t start = align_up(offset, STORE_BLOCK);

		length = (offset + length) & ~(uint64_t)(STORE_BLOCK - 1);
		length = length > start ? length - start : 0;
		offset = start;
	}
	if (length)
		ret = volume_zero(v->volume, offset, length, discard || r->unmap);
	if (ret && slot->result == 0)
		slot->result = ret;
	return true;
}

/* Requests. */

static void slot_finish(struct slot *slot)
{
	struct volume_queue *q = slot->queue;
	struct block_request *request = slot->request;
	int result = slot->result;

	slot->next = q->free;
	q->free = slot;
	block_complete(&q->queue, request, result);
}

/* False: it failed, there is nothing to wait for. */
static bool flush_start(struct slot *slot)
{
	struct volume_block *v = owner(slot);
	struct piece *p;
	int ret = volume_flush_begin(v->volume, &slot->flush);

	if (ret) {
		slot->result = ret;
		block_sync_failed(&v->block, ret);
		return false;
	}
	p = piece_get(slot); /* its own, as none is in flight */
	p->syncing = true;
	p->layer = volume_head(v->volume);
	slot->in_flight++;
	piece_submit(p);
	return true;
}

static bool slot_next(struct slot *slot)
{
	switch (slot->request->op) {
	case BLOCK_READ:
		return read_next(slot);
	case BLOCK_WRITE:
		return write_next(slot);
	default:
		return zero_next(slot);
	}
}

static void slot_go_on(struct slot *slot)
{
	struct volume_queue *q = slot->queue;
	const struct block_request *r = slot->request;
	bool flush = r->op == BLOCK_FLUSH || (r->durable && r->op != BLOCK_READ);
	uint64_t length = r->op == BLOCK_FLUSH ? 0 : r->length;

	while (slot->result == 0 && slot->at < length)
		if (!slot_next(slot))
			break;
	if (slot->in_flight)
		return;
	if (slot->result == 0 && slot->at < length) {
		slot->next = q->waiting;
		q->waiting = slot;
		return;
	}
	if (slot->result == 0 && flush && !slot->syncing) {
		slot->syncing = true;
		if (flush_start(slot))
			return;
	}
	slot_finish(slot);
}

static void volume_submit(struct block_queue *queue, struct block_request *request)
{
	struct volume_queue *q = (struct volume_queue *)queue;
	struct slot *slot = q->free;

	assert(slot); /* block_submit counts */
	q->free = slot->next;
	*slot = (struct slot){.queue = q,
			      .request = request,
			      .piece.iov = slot->piece.iov,
			      .iov = request->iov,
			      .iov_count = request->iov_count};
	if (request->op != BLOCK_READ)
		slot->result = volume_writable(owner(slot)->volume);
	slot_go_on(slot);
}

static int volume_wait(struct block_queue *queue, int wake_fd, bool block)
{
	struct volume_queue *q = (struct volume_queue *)queue;
	struct slot *slot = q->waiting, *next;
	int ret;

	q->waiting = NULL;
	/* What it waits for may be with another queue, which does not ring. */
	ret = ring_wait(&q->ring, wake_fd, block && !slot, piece_completed, q);
	if (slot && block)
		sched_yield();
	for (; slot; slot = next) {
		next = slot->next;
		slot_go_on(slot);
	}
	return ret;
}

const struct block_format volume_format = {
	.name = "volume",
	.open = volume_block_open,
	.close = volume_block_close,
	.queue_create = volume_queue_create,
	.queue_destroy = volume_queue_destroy,
	.submit = volume_submit,
	.wait = volume_wait,
	.read = volume_block_read,
	.map = volume_block_map,
};
