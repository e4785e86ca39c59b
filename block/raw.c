/* SPDX-License-Identifier: MIT */
/*
 * Raw images and block devices over io_uring: one ring a queue, requests batched into one system
 * call, which also waits for the queue's eventfd. Two descriptors of the file are registered: reads
 * and writes whose buffers and offset are aligned go by O_DIRECT, the others through the page cache
 * (Linux keeps the two coherent).
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block_impl.h"
#include "block/file.h"
#include "block/ring.h"
#include "vmm/base/checked.h"

#define DEFAULT_ALIGNMENT 4096u
#define RETRIES_MAX       100

/* Places of the registered descriptors. */
enum { FILE_BUFFERED, FILE_DIRECT, FILES };

struct raw_block {
	struct block block;
	int fd[FILES];                               /* the direct one may be -1 */
	uint64_t file_size;                          /* at the time of opening */
	uint32_t memory_alignment, offset_alignment; /* of O_DIRECT */
};

/* What a submission needs until its completion. */
struct raw_slot {
	struct block_request *request;
	uint64_t done_bytes;
	struct iovec *iov; /* what is left of a read or write */
	unsigned iov_count;
	bool buffered;    /* O_DIRECT was refused, whatever the reported alignment */
	bool syncing;     /* zeroes that are to be durable: the fallocate is done, now the fsync */
	unsigned retries; /* of a transfer that the kernel wanted asked for again */
	uint8_t *zeroes;  /* the buffer of a write of zeroes by hand */
	struct raw_slot *next_free;
};

struct raw_queue {
	struct block_queue queue;
	struct ring ring;
	struct raw_slot *free;
	struct raw_slot slot[];
};

static struct raw_block *raw_of(struct block *block)
{
	return (struct raw_block *)block;
}

static int size_check(struct raw_block *raw, const struct block_options *options, struct error *err)
{
	raw->block.info.size = raw->file_size;
	if (options->as_backing) {
		raw->block.info.size = align_up(raw->file_size, BLOCK_SECTOR);
		return 0;
	}
	if (raw->file_size == 0)
		return error_set(err, -EINVAL, "give it a size: truncate -s 10G FILE",
				 "disk '%s': it is empty", options->path);
	if (raw->file_size % BLOCK_SECTOR)
		return error_set(err, -EINVAL,
				 "is it a raw image? if so, extend it: truncate -s %512 FILE",
				 "disk '%s': its size of %llu bytes is no multiple of %u",
				 options->path, (unsigned long long)raw->file_size, BLOCK_SECTOR);
	return 0;
}

/* O_DIRECT is a matter of speed: where it cannot be had, the page cache serves. */
static void file_open_direct(struct raw_block *raw, const struct block_options *options)
{
	char path[32];
	struct statx st;

	raw->memory_alignment = raw->offset_alignment = DEFAULT_ALIGNMENT;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", raw->fd[FILE_BUFFERED]);
	raw->fd[FILE_DIRECT] =
		open(path, (options->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_DIRECT);
	if (raw->fd[FILE_DIRECT] < 0)
		return;
#ifdef STATX_DIOALIGN
	if (statx(raw->fd[FILE_DIRECT], "", AT_EMPTY_PATH, STATX_DIOALIGN, &st) == 0 &&
	    st.stx_mask & STATX_DIOALIGN && st.stx_dio_mem_align && st.stx_dio_offset_align) {
		raw->memory_alignment = st.stx_dio_mem_align;
		raw->offset_alignment = st.stx_dio_offset_align;
	}
#else
	(void)st;
#endif
}

static void raw_close(struct block *block)
{
	struct raw_block *raw = raw_of(block);
	struct flock unlock = {.l_type = F_UNLCK};

	/* A ring lets go of its registered files some time after its end, and the lock with them.
	 */
	if (raw->fd[FILE_BUFFERED] >= 0)
		fcntl(raw->fd[FILE_BUFFERED], F_OFD_SETLK, &unlock);
	for (unsigned i = 0; i < FILES; i++)
		if (raw->fd[i] >= 0)
			close(raw->fd[i]);
	free(raw);
}

static int raw_open(const struct block_options *options, struct block **out, struct error *err)
{
	struct raw_block *raw = calloc(1, sizeof(*raw));
	int ret;

	if (!raw)
		return error_set(err, -ENOMEM, NULL, "disk '%s': out of memory", options->path);
	raw->fd[FILE_BUFFERED] = raw->fd[FILE_DIRECT] = -1;
	ret = file_open(options, &raw->fd[FILE_BUFFERED], &raw->file_size, err);
	if (ret == 0)
		ret = size_check(raw, options, err);
	if (ret) {
		raw_close(&raw->block);
		return ret;
	}
	if (!options->as_backing)
		file_open_direct(raw, options);
	raw->block.info.format = "raw";
	raw->block.info.read_only = options->read_only;
	raw->block.info.block_size =
		raw->fd[FILE_DIRECT] >= 0 ? raw->offset_alignment : BLOCK_SECTOR;
	if (raw->block.info.block_size < BLOCK_SECTOR)
		raw->block.info.block_size = BLOCK_SECTOR;
	*out = &raw->block;
	return 0;
}

/* Without a queue. */

static int raw_read(struct block *block, uint64_t offset, struct file_vector *to, uint64_t length)
{
	const struct raw_block *raw = raw_of(block);
	uint64_t there = raw->file_size > offset ? raw->file_size - offset : 0;
	int ret = 0;

	if (there > length)
		there = length;
	if (there)
		ret = file_read_vector(raw->fd[FILE_BUFFERED], to, there, offset);
	/* What a backing file lacks to a whole sector. */
	if (ret == 0)
		file_vector_zero(to, length - there);
	return ret;
}

static int raw_map(struct block *block, uint64_t offset, uint64_t length, enum block_status *status,
		   uint64_t *run)
{
	const struct raw_block *raw = raw_of(block);
	int fd = raw->fd[FILE_BUFFERED];
	off_t at = lseek(fd, (off_t)offset, SEEK_DATA), end;
	struct stat st;

	*status = BLOCK_DATA;
	*run = length;
	if (at < 0 && errno == ENXIO) {
		/* No data up to the end; but what a file has lost is no hole. */
		if (fstat(fd, &st) < 0 || (uint64_t)st.st_size < raw->file_size)
			return -EIO;
		*status = BLOCK_ZERO;
	} else if (at < 0) {
		/* A block device, or a file system that does not know: all of it is data. */
		return errno == EINVAL || errno == EOPNOTSUPP ? 0 : -errno;
	} else if ((uint64_t)at > offset) {
		*status = BLOCK_ZERO;
		if ((uint64_t)at - offset < length)
			*run = (uint64_t)at - offset;
	} else {
		end = lseek(fd, (off_t)offset, SEEK_HOLE);
		if (end > at && (uint64_t)(end - at) < length)
			*run = (uint64_t)(end - at);
	}
	return 0;
}

/* Queues. */

static int raw_queue_create(struct block *block, unsigned depth, struct block_queue **out,
			    struct error *err)
{
	struct raw_block *raw = raw_of(block);
	unsigned files = raw->fd[FILE_DIRECT] >= 0 ? FILES : 1;
	struct raw_queue *q = calloc(1, sizeof(*q) + depth * sizeof(q->slot[0]));
	int ret;

	if (!q)
		return error_set(err, -ENOMEM, NULL, "disk queue: out of memory");
	/* Each request has one submission in flight at a time. */
	ret = ring_open(&q->ring, depth, err);
	if (ret) {
		free(q);
		return ret;
	}
	ret = io_uring_register_files(&q->ring.uring, raw->fd, files);
	if (ret) {
		ring_close(&q->ring);
		free(q);
		return error_set(err, ret, "raise ulimit -n", "io_uring: register files: %s",
				 error_name(ret));
	}
	for (unsigned i = depth; i-- > 0;) {
		q->slot[i].next_free = q->free;
		q->free = &q->slot[i];
	}
	*out = &q->queue;
	return 0;
}

static void raw_queue_destroy(struct block_queue *queue)
{
	struct raw_queue *q = (struct raw_queue *)queue;

	ring_close(&q->ring);
	free(q);
}

static bool is_aligned(const struct raw_block *raw, const struct raw_slot *slot, uint64_t offset)
{
	if (slot->buffered || raw->fd[FILE_DIRECT] < 0 || offset % raw->offset_alignment)
		return false;
	for (unsigned i = 0; i < slot->iov_count; i++)
		if ((uintptr_t)slot->iov[i].iov_base % raw->memory_alignment ||
		    slot->iov[i].iov_len % raw->offset_alignment)
			return false;
	return true;
}

static void transfer_start(struct raw_queue *q, struct raw_slot *slot)
{
	struct raw_block *raw = raw_of(q->queue.block);
	const struct block_request *r = slot->request;
	uint64_t offset = r->offset + slot->done_bytes;
	int file = is_aligned(raw, slot, offset) ? FILE_DIRECT : FILE_BUFFERED;
	bool write = r->op != BLOCK_READ;
	struct io_uring_sqe *sqe = ring_entry(&q->ring);

	if (slot->iov_count == 1 && write)
		io_uring_prep_write(sqe, file, slot->iov->iov_base, (unsigned)slot->iov->iov_len,
				    offset);
	else if (slot->iov_count == 1)
		io_uring_prep_read(sqe, file, slot->iov->iov_base, (unsigned)slot->iov->iov_len,
				   offset);
	else if (write)
		io_uring_prep_writev(sqe, file, slot->iov, slot->iov_count, offset);
	else
		io_uring_prep_readv(sqe, file, slot->iov, slot->iov_count, offset);
	if (write && r->durable)
		sqe->rw_flags = RWF_DSYNC;
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, slot);
}

static void slot_start(struct raw_queue *q, struct raw_slot *slot)
{
	const struct block_request *r = slot->request;
	struct io_uring_sqe *sqe;
	int mode = FALLOC_FL_KEEP_SIZE;

	if (r->op == BLOCK_READ || r->op == BLOCK_WRITE || slot->zeroes) {
		transfer_start(q, slot);
		return;
	}
	sqe = ring_entry(&q->ring);
	if (r->op == BLOCK_FLUSH || slot->syncing) {
		io_uring_prep_fsync(sqe, FILE_BUFFERED, IORING_FSYNC_DATASYNC);
	} else {
		mode |= r->op == BLOCK_DISCARD || r->unmap ? FALLOC_FL_PUNCH_HOLE
							   : FALLOC_FL_ZERO_RANGE;
		io_uring_prep_fallocate(sqe, FILE_BUFFERED, mode, (off_t)r->offset,
					(off_t)r->length);
	}
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, slot);
}

static void raw_submit(struct block_queue *queue, struct block_request *request)
{
	struct raw_queue *q = (struct raw_queue *)queue;
	struct raw_slot *slot = q->free;

	assert(slot); /* block_submit counts */
	q->free = slot->next_free;
	*slot = (struct raw_slot){
		.request = request, .iov = request->iov, .iov_count = request->iov_count};
	slot_start(q, slot);
}

static void slot_finish(struct raw_queue *q, struct raw_slot *slot, int result)
{
	struct block_request *request = slot->request;

	if (slot->zeroes) {
		free(slot->zeroes);
		free(slot->iov);
	}
	/* A durable write is its own sync. */
	if (result && (slot->syncing || (request->durable && result == -EIO)))
		block_sync_failed(q->queue.block, result);
	slot->next_free = q->free;
	q->free = slot;
	block_complete(&q->queue, request, result);
}

/* Move past what was transferred. */
static void slot_advance(struct raw_slot *slot, size_t bytes)
{
	slot->done_bytes += bytes;
	while (slot->iov_count && bytes >= slot->iov->iov_len) {
		bytes -= slot->iov->iov_len;
		slot->iov++;
		slot->iov_count--;
	}
	if (slot->iov_count) {
		slot->iov->iov_base = (uint8_t *)slot->iov->iov_base + bytes;
		slot->iov->iov_len -= bytes;
	}
}

/* The file system cannot zero a range: write zeroes, a piece at a time. */
#define ZEROES_SIZE 65536u

static int zeroes_next(struct raw_slot *slot)
{
	uint64_t left = slot->request->length - slot->done_bytes;

	if (!slot->zeroes) {
		slot->iov = calloc(1, sizeof(*slot->iov));
		slot->zeroes = aligned_alloc(DEFAULT_ALIGNMENT, ZEROES_SIZE);
		if (!slot->zeroes || !slot->iov) {
			free(slot->iov);
			free(slot->zeroes);
			slot->zeroes = NULL;
			return -ENOMEM;
		}
		memset(slot->zeroes, 0, ZEROES_SIZE);
	}
	slot->iov->iov_base = slot->zeroes;
	slot->iov->iov_len = left < ZEROES_SIZE ? left : ZEROES_SIZE;
	slot->iov_count = 1;
	return 0;
}

static void zeroes_completed(struct raw_queue *q, struct raw_slot *slot, int result)
{
	if (result > 0) {
		slot->done_bytes += (uint64_t)result;
		if (slot->done_bytes == slot->request->length) {
			slot_finish(q, slot, 0);
			return;
		}
	} else if (slot->zeroes) {
		slot_finish(q, slot, result ? result : -EIO);
		return;
	}
	result = zeroes_next(slot);
	if (result)
		slot_finish(q, slot, result);
	else
		slot_start(q, slot);
}

static void transfer_completed(struct raw_queue *q, struct raw_slot *slot, int result)
{
	struct raw_block *raw = raw_of(q->queue.block);

	if ((result == -EINTR || result == -EAGAIN) && slot->retries++ < RETRIES_MAX) {
		slot_start(q, slot);
		return;
	}
	/* The alignment that was reported is not what this file wants. */
	if (result == -EINVAL && is_aligned(raw, slot, slot->request->offset + slot->done_bytes)) {
		slot->buffered = true;
		slot_start(q, slot);
		return;
	}
	if (result <= 0) {
		/* A file that shrank under us ends early: that is a lost sector, not zeroes. */
		slot_finish(q, slot, result ? result : -EIO);
		return;
	}
	slot_advance(slot, (size_t)result);
	if (slot->done_bytes == slot->request->length)
		slot_finish(q, slot, 0);
	else
		slot_start(q, slot);
}

static void slot_completed(struct raw_queue *q, struct raw_slot *slot, int result)
{
	switch (slot->request->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		transfer_completed(q, slot, result);
		break;
	case BLOCK_WRITE_ZEROES:
		if (slot->zeroes || result == -EOPNOTSUPP) {
			zeroes_completed(q, slot, slot->zeroes ? result : 0);
		} else if (result == 0 && slot->request->durable && !slot->syncing) {
			slot->syncing = true;
			slot_start(q, slot);
		} else {
			slot_finish(q, slot, result);
		}
		break;
	default:
		slot_finish(q, slot, result);
		break;
	}
}

static void completed(void *arg, void *slot, int result)
{
	slot_completed(arg, slot, result);
}

static int raw_wait(struct block_queue *queue, int wake_fd, bool block)
{
	struct raw_queue *q = (struct raw_queue *)queue;

	return ring_wait(&q->ring, wake_fd, block, completed, q);
}

const struct block_format raw_format = {
	.name = "raw",
	.open = raw_open,
	.close = raw_close,
	.queue_create = raw_queue_create,
	.queue_destroy = raw_queue_destroy,
	.submit = raw_submit,
	.wait = raw_wait,
	.read = raw_read,
	.map = raw_map,
};
