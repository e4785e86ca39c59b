/* SPDX-License-Identifier: MIT */
/* The table of formats, and the checks that hold for all of them. */
#include "block/block.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/block_impl.h"
#include "block/file.h"
#include "vmm/base/checked.h"
#include "vmm/base/log.h"

static const struct block_format *const formats[] = {&raw_format, &qcow2_format, &volume_format};

const char *block_format_at(unsigned index)
{
	return index < ARRAY_SIZE(formats) ? formats[index]->name : NULL;
}

int block_open(const char *name, const struct block_options *options, struct block **out,
	       struct error *err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
		struct block *block;
		int ret;

		if (strcmp(formats[i]->name, name) != 0)
			continue;
		ret = formats[i]->open(options, &block, err);
		if (ret)
			return ret;
		block->format = formats[i];
		block->path = strdup(options->path);
		if (!block->path) {
			block_close(block);
			return error_set(err, -ENOMEM, NULL, "disk '%s': out of memory",
					 options->path);
		}
		*out = block;
		return 0;
	}
	return error_set(err, -EINVAL, "use raw or qcow2", "disk '%s': no format is called '%s'",
			 options->path, name);
}

void block_close(struct block *block)
{
	if (!block)
		return;
	free(block->path);
	block->format->close(block);
}

const struct block_info *block_info(const struct block *block)
{
	return &block->info;
}

int block_queue_create(struct block *block, unsigned depth, struct block_queue **out,
		       struct error *err)
{
	int ret = block->format->queue_create(block, depth, out, err);

	if (ret)
		return ret;
	(*out)->block = block;
	(*out)->depth = depth;
	return 0;
}

void block_queue_destroy(struct block_queue *queue)
{
	if (!queue)
		return;
	assert(queue->in_flight == 0);
	queue->block->format->queue_destroy(queue);
}

unsigned block_in_flight(const struct block_queue *queue)
{
	return queue->in_flight;
}

static int request_check(const struct block *block, const struct block_request *request)
{
	bool changes = request->op != BLOCK_READ && request->op != BLOCK_FLUSH;

	if (changes && block->info.read_only)
		return -EROFS;
	if (request->op == BLOCK_FLUSH)
		return 0;
	if (request->offset % BLOCK_SECTOR || request->length % BLOCK_SECTOR ||
	    !range_within(request->offset, request->length, 0, block->info.size))
		return -EINVAL;
	return 0;
}

void block_sync_failed(struct block *block, int result)
{
	if (!atomic_exchange(&block->failed, true))
		log_error("disk '%s': it failed to sync (%s) and takes no more writes; "
			  "mend its storage, then start the guest again",
			  block->path, error_name(result));
}

void block_complete(struct block_queue *queue, struct block_request *request, int result)
{
	if (request->op == BLOCK_FLUSH && result)
		block_sync_failed(queue->block, result);
	queue->in_flight--;
	request->done(request, result);
}

void block_submit(struct block_queue *queue, struct block_request *request)
{
	int ret = request_check(queue->block, request);

	assert(queue->in_flight < queue->depth);
	queue->in_flight++;
	if (ret == 0 && request->op != BLOCK_READ && atomic_load(&queue->block->failed))
		ret = -EIO;
	if (ret == 0 && request->op != BLOCK_FLUSH && request->length == 0)
		block_complete(queue, request, 0);
	else if (ret)
		block_complete(queue, request, ret);
	else
		queue->block->format->submit(queue, request);
}

int block_wait(struct block_queue *queue, int wake_fd, bool block)
{
	return queue->block->format->wait(queue, wake_fd, block);
}

int block_read(struct block *block, uint64_t offset, void *to, size_t length)
{
	struct iovec iov = {.iov_base = to, .iov_len = length};
	struct file_vector vector = {.iov = &iov, .count = 1};

	if (!range_within(offset, length, 0, block->info.size))
		return -EINVAL;
	if (!block->format->read)
		return -EOPNOTSUPP;
	return length ? block->format->read(block, offset, &vector, length) : 0;
}

int block_map(struct block *block, uint64_t offset, uint64_t length, enum block_status *status,
	      uint64_t *run)
{
	if (length == 0 || !range_within(offset, length, 0, block->info.size))
		return -EINVAL;
	*status = BLOCK_DATA;
	*run = length;
	return block->format->map ? block->format->map(block, offset, length, status, run) : 0;
}
